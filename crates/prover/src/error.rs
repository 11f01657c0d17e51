//! Why something is not done.

use jove_storage::StorageError;
use thiserror::Error;

/// Why a queue, a controller or a worker does not go on.
#[derive(Debug, Error)]
pub enum Error {
    /// What was kept of the queue cannot be read.
    #[error("what the store holds of the queue {0:?} is damaged")]
    Damaged(String),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A secret's file is not 32 bytes in hexadecimal, or cannot be read or made.
    #[error("the secret: {0}")]
    Secret(String),
    /// The controller is not at this URL, or answers what it should not.
    #[error("the controller: {0}")]
    Controller(String),
    /// The controller refuses what this worker brings: again it would, too.
    #[error("the controller refuses: {0}")]
    Refused(String),
    /// The controller finds that wrong which this worker brings: made once more in another way, it may be right.
    #[error("the controller finds it wrong: {0}")]
    Wrong(String),
    /// The controller wants the worker's key registered (again).
    #[error("the controller has no key of this worker")]
    Unregistered,
    /// L1 takes no proofs by this key any more, but may by the enclave's next one.
    #[error("the key's time is over")]
    Over,
    /// No worker proves by this system here: the chain's verifier takes none of its proofs, or this node makes them itself.
    #[error("nobody proves by this system here")]
    NoQueue,
    /// The lease is another's now.
    #[error("the lease has ended")]
    Stale,
    /// A proof in zero knowledge cannot be made.
    #[error(transparent)]
    Zk(#[from] jove_zk_host::Error),
    /// The enclave does not do its work.
    #[error("the enclave: {0}")]
    Enclave(#[from] jove_enclave::Error),
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Controller(error.without_url().to_string())
    }
}

/// Why a [`Chain`](crate::Chain) does not take what a worker brings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The worker is wrong: another may be right.
    #[error("{0}")]
    Wrong(String),
    /// The key's time is over: another key may be registered.
    #[error("{0}")]
    Over(String),
    /// The chain cannot say now. Later it can.
    #[error("{0}")]
    Later(String),
}
