//! A validator: AVC's core ([`jove_avc`]) with a clock, a disk, peers and a chain.
//!
//! ```text
//!  peers ──► messages, sealed blocks ──► driver: one thread, the core ──► log, synced ──► peers
//!                                          │    ▲
//!                                   execute, build, check
//!                                          ▼    │
//!                                        worker: one thread ──► Chain: the node's engine and its own view of L1
//! ```
//!
//! The driver takes what has come, gives it to the core, writes what the core wants kept in one synced write, and only then lets its words out: so a crash at any
//! instant leaves a log that knows every word that left. What takes long (execution, checking witnesses) is the worker's.
//!
//! # Blocks
//! The leader of a term seals blocks as work comes, and gives each away under its seal; the others execute them at once, so that a proposal, which names blocks by their
//! last hash, finds them executed. What a node lacks it asks of its peers, by number and hash; blocks are taken by their hash alone, so that it does not
//! matter who has them. Blocks above the last certified one are kept in memory too ([`Blocks`]), those that were withdrawn among them, since another branch may win.
//!
//! A new leader's chain may hold blocks above the parent that it has to build on, of the leader before it: it proposes them first. Where the parent is on another
//! branch, it goes there, and what it leaves is withdrawn.
//!
//! # Nodes that follow
//! A node without a signer, or outside of the epoch's set and the next, has no streams from validators and does not vote. It takes what validators gossip, sealed
//! blocks and final checkpoints under their FinalCert ([`Finals`]), and asks any peer for what it lacks: the final checkpoints after its last one, then their
//! blocks. Nobody is believed: a FinalCert is verified with the epoch's set before anything is done with what it covers, a block counts by the hash that a final
//! checkpoint leads to, its body by its header, and all of it is executed. So its chain's last block is always a certified one. What does not verify is blamed on
//! who passed it on ([`Judgement`]).
//!
//! The proposer of a final checkpoint gives it away; where nobody has heard of it half a second later, others do.
//!
//! Whoever catches up gets one FinalCert for many checkpoints, and one that a descendant's overtook is not waited for. L1 wants that of the checkpoint with which a
//! batch ends: where that is lacking, peers are asked ([`Consensus::look_for_certificates`]).
//!
//! # Invalid checkpoints
//! A validator that finds a block invalid says so with what shows it to anyone ([`Fraud`]): the headers from the checkpoint's last block down to the invalid one, that
//! one's transactions, and the state that it is executed on. It is checked without a node's state, and kept.
//!
//! # What is kept
//! The log of the core ([`jove_avc::Record`]), of the current epoch; the anchors of all epochs; every final checkpoint with its certificate, where it has one of
//! its own; evidence. All in one database of its own, never part of a snapshot: a node that has lost it does not vote in epochs in which it may have voted.
#![forbid(unsafe_code)]

mod blocks;
mod chain;
mod driver;
mod fraud;
mod reports;
mod store;
mod wire;
mod worker;

pub use blocks::Blocks;
pub use chain::{Chain, ChainError, Gossip, Judgement, Peers, Reply, Verdict};
pub use driver::{Certified, Config, Consensus, Status};
pub use fraud::{Fraud, Reason};
pub use reports::SeedNode;
pub use store::{Flagged, Kept, Store};
pub use wire::{Finals, MAX_ANSWER, MAX_FINALS, Request, SealedBlocks};

/// Why consensus does not start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed. What it holds is known again after a restart.
    #[error("the log of votes: {0}")]
    Database(#[from] fjall::Error),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] jove_storage::StorageError),
    /// What the database holds is not what was written.
    #[error("the log of votes is damaged: {0}")]
    Corrupt(&'static str),
    /// The core refuses the log.
    #[error(transparent)]
    Core(#[from] jove_avc::Error),
    /// There is no log, and it was not said from which epoch on this validator may vote: it may have voted before. Say one above every epoch that it may have voted
    /// in; 0 for a validator that never ran.
    #[error("there is no log of votes: say from which epoch on this validator may vote")]
    NoLog,
    /// A block that validators certified is invalid here: the node's state or its L1 is damaged, or L1 has taken back what they held to be final. It does not go on with
    /// what it has: begin with an empty chain, and keep the log of votes.
    #[error(
        "block {0}, which validators certified, is invalid here: this node's state or its L1 is damaged, or L1 has taken back what they held to be final"
    )]
    Invalid(u64),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
