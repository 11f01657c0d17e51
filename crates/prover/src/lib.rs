//! Who proves what: a durable queue of batches, and workers that lease them.
//!
//! ```text
//! Queue        what is to be proven, who has it, what failed; on disk before anyone learns of it
//! Controller   the queue over HTTP, for workers that show a token; asks a [`Chain`] for inputs, and checks what comes back
//! worker       an enclave's host: has its key registered, leases, proves, brings the proof
//! ```
//!
//! # A job's way
//! A batch without a proof waits; a worker leases it; the worker's proof is checked against the node's own execution; L1 takes it, and the job is gone. A lease has
//! a *deadline*, which its holder puts off while it works, and a *fencing token*, which no other lease ever has: what comes with another token than the
//! job's last is refused, so a worker that was thought dead does nothing. A job that fails waits for a while, twice as long each time, and after
//! [`ATTEMPTS`] failures it is in *quarantine*: workers get it no more until an operator says so, and others go on.
//!
//! # Who may
//! Requests carry a token as Ethereum's Engine API has it: a JWT, HS256, by a secret of 32 bytes that controller and workers share, issued not longer than a
//! minute ago, which names the worker. Bodies travel as they are: over a network, put TLS in front. A worker's enclave is attested before it gets a job: its
//! key is registered on L1, which checks the quote.

mod auth;
mod controller;
mod error;
mod queue;
mod worker;

pub use auth::Secret;
pub use controller::{Chain, Challenge, Controller};
pub use error::{Error, Refusal};
pub use queue::{ATTEMPTS, Job, Lease, Queue, State, Wanted};
pub use worker::{Worker, run};
