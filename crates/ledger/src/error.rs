use std::io;

/// Why a ledger does not open or answer, or a proof is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the ledger open.
    #[error("the ledger is in use by another process")]
    Locked,
    /// The log ends before what its checkpoint covers. Restore the folder from a copy.
    #[error("the ledger was truncated: its checkpoint covers {signed} leaves, and {found} are there")]
    Truncated {
        /// The checkpoint's size.
        signed: u64,
        /// Leaves that are whole.
        found: u64,
    },
    /// Leaves or hashes on disk are not those that were signed. Restore the folder from a copy.
    #[error("the ledger was altered: {0}")]
    Altered(&'static str),
    /// The checkpoint on disk is gone, malformed, or of another key or name.
    #[error("the ledger's checkpoint: {0}")]
    Checkpoint(&'static str),
    /// An append does not continue the ledger: another number than the next, or a height that falls. A caller's mistake.
    #[error("block {number} at height {height} does not continue the ledger")]
    NotNext {
        /// The block.
        number: u64,
        /// Its checkpoint's height.
        height: u64,
    },
    /// A leaf, size or block that the ledger does not have was asked for.
    #[error("not in the ledger: {0}")]
    Unknown(&'static str),
    /// A witness longer than [`crate::MAX_WITNESS`]. A caller's mistake.
    #[error("a witness of {0} bytes")]
    Witness(usize),
    /// A write failed before; the ledger takes no others until it is opened again.
    #[error("the ledger stopped at a failed write")]
    Stopped,
    /// A key or a name of a key that is none.
    #[error("key: {0}")]
    Key(&'static str),
    /// A proof, from outside, does not show what it claims.
    #[error("proof: {0}")]
    Proof(&'static str),
    /// The operating system refused.
    #[error("ledger: {0}")]
    Io(#[from] io::Error),
}
