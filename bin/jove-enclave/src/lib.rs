//! The program that proves batches inside a trusted execution environment.
//!
//! It has a signing key that nobody else knows, gets quotes for it from the machine, and signs the statement of a proof once it has judged the batches
//! ([`jove_proving`]). It reads requests on its standard input and writes an answer to each on its standard output ([`protocol`]): it has no network, no
//! threads but those that recover signatures, and keeps nothing between requests but its root secret.
//!
//! ```text
//!  host ── attest: L1 chain, registry, payout, recent block ──►  quote of the key      ──► AttestationRegistry, once
//!       ── prove: L1 chain, registry, input ─────────────────►  judge, then a signature ──► TeeVerifier, each proof
//! ```
//!
//! Nothing that comes from the host is believed, and nothing that it says can make the program sign what is not so: a wrong L1 chain, registry or payout
//! gives another key, which is registered nowhere; a wrong input gives an error, or a statement that L1 does not have.
//!
//! # The key
//! The *root secret* is the machine's sealing key for this program's measurement where it has one ([`QuoteSource::sealing_key`]): SGX's, or in development
//! what stands for it. Where it has none it is random, and lasts as long as the process. From it follows a key for each use ([`keys`]): so a key is the same
//! after a restart, there is no file to keep, to lose or to roll back, and a program of another measurement has other keys.
//!
//! # Measurement
//! What runs is measured by the platform: for SGX the pages that Gramine loads, by [`MANIFEST`]; the software source takes SHA-256 of the executable and that
//! manifest. `.ci/measure` checks that two builds of the executable at two places are the same bytes. `jove` can run the same program in its own executable
//! (`jove enclave --inside`), for development: then the measurement is that executable's.
//!
//! [`QuoteSource::sealing_key`]: jove_tee::QuoteSource::sealing_key

pub mod error;
#[cfg(feature = "host")]
pub mod host;
pub mod keys;
pub mod program;
pub mod protocol;
pub mod quotes;

pub use error::Error;
#[cfg(feature = "host")]
pub use host::{Enclave, Launch};
pub use program::{Program, run};
pub use protocol::{Attest, Attested, Domain, Hello, Outcome, Proved};
pub use quotes::Quotes;

/// The template of the manifest that Gramine runs the program by.
pub const MANIFEST: &str = include_str!("../jove-enclave.manifest.template");
