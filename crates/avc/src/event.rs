//! What goes in and what comes out.

use crate::{Anchor, Certificate, Checkpoint, Evidence, L1Origin, Message, Record, ValidatorSet};
use alloy_primitives::B256;
use std::sync::Arc;

/// What happened. Every event comes with the host's monotonic time in milliseconds.
#[derive(Debug, Clone)]
pub enum Event {
    /// The node runs; once, before anything else.
    Start,
    /// A peer sent a message; decoded, and from whom the authenticated stream says.
    Message {
        /// The peer's validator id.
        from: B256,
        /// The message.
        message: Arc<Message>,
    },
    /// A stream to a peer was opened.
    Connected(B256),
    /// A timer ran out.
    Timer(Timer),
    /// Whether the host knows work that no final checkpoint covers: a sealed block, a transaction pooled for over a second, a forced message.
    Work(bool),
    /// The answer to [`Effect::Build`]: blocks after the parent, executed.
    Built {
        /// The view of the question.
        view: u64,
        /// What they come to.
        content: Box<Content>,
    },
    /// The answer to [`Effect::Execute`], given once the data is held.
    Executed {
        /// The checkpoint.
        digest: B256,
        /// What came out.
        outcome: Outcome,
    },
    /// The answer to [`Effect::CheckWitness`].
    Witnessed {
        /// The checkpoint.
        digest: B256,
        /// Whether the witness shows that it is invalid.
        invalid: bool,
    },
    /// The host wants a block sealed; answered by [`Effect::Sealed`] if this node leads the current term.
    Seal {
        /// Its number.
        number: u64,
        /// Its hash.
        hash: B256,
    },
}

/// What a leader's blocks come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The last block's number.
    pub last_number: u64,
    /// The last block's hash.
    pub last_hash: B256,
    /// The state root after it.
    pub state_root: B256,
    /// Its L1 origin.
    pub origin: L1Origin,
    /// [`Checkpoint::evidence_root`].
    pub evidence_root: B256,
    /// At an epoch's last height: the set two epochs on.
    pub next: Option<Arc<ValidatorSet>>,
}

/// What execution found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The blocks come to exactly this checkpoint.
    Valid {
        /// At an epoch's last height: the set two epochs on, as this node has it from its own state.
        next: Option<Arc<ValidatorSet>>,
    },
    /// They do not.
    Invalid {
        /// What is wrong, in the executor's numbering.
        reason: u16,
        /// What shows it; at most [`crate::MAX_WITNESS`] bytes.
        witness: Vec<u8>,
    },
}

/// A timer, named by what it is for; setting it again is a new one, and those for what has passed are ignored when they run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The view takes too long.
    View {
        /// The epoch.
        epoch: u64,
        /// The view.
        view: u64,
    },
    /// The buddies take too long.
    Buddy {
        /// The epoch.
        epoch: u64,
        /// The view.
        view: u64,
    },
    /// The leader's parent is still not final.
    Empty {
        /// The epoch.
        epoch: u64,
        /// The view.
        view: u64,
    },
}

/// What the host is to do, in this order. A [`Effect::Persist`] is on disk before any message after it leaves.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Append to the log.
    Persist(Box<Record>),
    /// Send to every validator.
    Broadcast(Arc<Message>),
    /// Send to one.
    Send {
        /// The peer's validator id.
        to: B256,
        /// The message.
        message: Arc<Message>,
    },
    /// Run a timer.
    SetTimer {
        /// Which.
        timer: Timer,
        /// For how many milliseconds.
        after: u64,
    },
    /// This node leads: hand over blocks after this parent, as soon as there are any, as [`Event::Built`].
    Build {
        /// The epoch.
        epoch: u64,
        /// The view.
        view: u64,
        /// The checkpoint's height.
        height: u64,
        /// The parent's digest.
        parent: B256,
        /// Seal an empty block now if there is no other.
        empty: bool,
        /// Whether it is the epoch's last height, so that the set two epochs on is wanted.
        last: bool,
    },
    /// Fetch the checkpoint's blocks and execute them on its parent, which was executed; answered by [`Event::Executed`].
    Execute {
        /// The digest.
        digest: B256,
        /// The checkpoint.
        checkpoint: Arc<Checkpoint>,
    },
    /// Check a witness of invalidity; answered by [`Event::Witnessed`].
    CheckWitness {
        /// The digest.
        digest: B256,
        /// The checkpoint.
        checkpoint: Arc<Checkpoint>,
        /// In the executor's numbering.
        reason: u16,
        /// The witness.
        witness: Vec<u8>,
    },
    /// A view was entered. At the first view of a term, sealed blocks of earlier leaders that the new leader does not propose are withdrawn.
    Entered {
        /// The epoch.
        epoch: u64,
        /// The view.
        view: u64,
        /// The term's leader.
        leader: B256,
    },
    /// A checkpoint has its BuddyCert: soft confirmation, which may still be withdrawn.
    Soft {
        /// The view.
        view: u64,
        /// The digest.
        digest: B256,
    },
    /// A checkpoint is final and executed here; heights come in order. The certificate is its own, or none where a descendant's made it final.
    Final {
        /// The digest.
        digest: B256,
        /// The checkpoint.
        checkpoint: Arc<Checkpoint>,
        /// The FinalCert.
        certificate: Option<Certificate>,
    },
    /// A validator misbehaved, and this proves it.
    Evidence(Box<Evidence>),
    /// A block was sealed, and its seal is in the log.
    Sealed(crate::Seal),
    /// An epoch was entered; the log before its anchor may be dropped.
    Epoch(Box<Anchor>),
    /// Send a peer the checkpoint of this digest and its ancestors from the store of final ones, newest first, as [`Message::Checkpoints`].
    ServeAncestry {
        /// The peer.
        to: B256,
        /// The newest one's digest.
        digest: B256,
    },
    /// Send a peer the FinalCert of the last checkpoint of an epoch that is over.
    ServeEpochEnd {
        /// The peer.
        to: B256,
        /// The epoch.
        epoch: u64,
    },
    /// What is certified is invalid by this node's own execution: its state is wrong, or more than F validators are Byzantine. It votes no more.
    Halt {
        /// The checkpoint.
        digest: B256,
    },
}
