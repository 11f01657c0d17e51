//! Who proves what: a durable queue of batches, and workers that lease them.
//!
//! ```text
//! Queue        what is to be proven, who has it, what failed; on disk before anyone learns of it
//! Controller   the queue over HTTP, for workers that show a token; asks a [`Chain`] for inputs, and checks what comes back
//! worker       an enclave's host: has its key registered, leases, proves, brings the proof
//! zk           the same in zero knowledge: nothing is registered, since a proof shows by itself what it is
//! ```
//!
//! # A job's way
//! A batch without a proof waits; a worker leases it; the worker's proof is checked against the node's own execution; L1 takes it, and the job is gone. A lease has
//! a *deadline*, which its holder puts off while it works, and a *fencing token*, which no other lease ever has: what comes with another token than the
//! job's last is refused, so a worker that was thought dead does nothing. A machine that fails a job has it again after a while, twice as long each time; others have it
//! at once. Once [`ATTEMPTS`] failures are by each of as many machines as there are, or by [`WITNESSES`] of them, a job is in *quarantine* for an hour, or until
//! an operator ends that; others go on. A worker that dies with a job fails it by a quarter. A job without an input waits, and nobody is blamed.
//!
//! # Who may
//! Requests carry a token as Ethereum's Engine API has it: a JWT, HS256, by a secret of 32 bytes that controller and workers share, issued not longer than a
//! minute ago. Bodies travel as they are: over a network, put TLS in front. A worker's enclave is attested before it gets a job: its key is registered on L1,
//! which checks the quote, and it signs a nonce of the controller's. What follows is a session of that key: nobody else who has the secret can take or finish its
//! jobs; whatever its name, what it does is its machine's. A machine whose proofs were wrong three times gets no more until the controller begins anew; L1 would not have had them.

mod auth;
mod controller;
mod error;
mod link;
mod queue;
mod worker;
mod zk;

pub use auth::Secret;
pub use controller::{Chain, Challenge, Controller};
pub use error::{Error, Refusal};
pub use link::Link;
pub use queue::{ATTEMPTS, Asking, Job, Lease, Queue, State, System, WITNESSES, Wanted};
pub use worker::{Worker, run};
pub use zk::{ZkProved, ZkWorker, run_zk};
