//! What consensus asks of the node beside it.

use alloy_primitives::{Address, B256, Bytes};
use jove_avc::{Checkpoint, Content, L1Origin, Tip, ValidatorSet};
use jove_primitives::block::Block;
use std::sync::Arc;

/// Why the chain has no answer now; the same is asked again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChainError(pub String);

/// What execution found.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The chain has the blocks.
    Valid,
    /// One is invalid, and this shows it.
    Invalid(Box<crate::Fraud>),
}

/// The node's chain. Calls block, and come from one thread, but for those that read.
pub trait Chain: Send + Sync + 'static {
    /// Number and hash of the last block.
    fn head(&self) -> (u64, B256);

    /// The hash of a block of the chain.
    fn hash_at(&self, number: u64) -> Option<B256>;

    /// A block of the chain.
    fn block(&self, number: u64) -> Option<Block>;

    /// What was sent to an address in a block of the chain, in order: by whom, and the input. None if there is no such block.
    fn sent_to(&self, number: u64, to: Address) -> Option<Vec<(Address, Bytes)>>;

    /// State root and L1 origin of a block of the chain.
    fn result_at(&self, number: u64) -> Option<(B256, L1Origin)>;

    /// Makes the chain follow blocks, each the parent of the next; the parent of the first is on the chain. All is executed, and compared with this node's own L1.
    ///
    /// # Errors
    /// If that cannot be said yet: L1 does not have an origin as deep as the chain wants it, or the store fails.
    fn execute(&self, blocks: Vec<Block>) -> Result<Verdict, ChainError>;

    /// Begins to seal blocks, or ends it.
    fn lead(&self, on: bool);

    /// Seals an empty block, as a leader.
    fn seal_empty(&self);

    /// Whether it knows work that no certified block covers, blocks above it aside: an executable transaction that has waited for a second, or with
    /// `leading` at all; a message from L1 that is due.
    fn has_work(&self, leading: bool) -> bool;

    /// Most blocks of the chain after `parent`, up to its head, that a checkpoint may have, as [`Self::fits`] says. None if there is none, or the parent is not on the chain.
    fn content(&self, parent: &Tip, ends_epoch: bool) -> Option<Content>;

    /// Whether these blocks of the chain, those after one up to another, may be a checkpoint: they are bounded in gas and bytes, so that batches on L1 have room for them,
    /// and where an epoch ends, a batch may.
    ///
    /// # Errors
    /// If the chain does not have them.
    fn fits(&self, after: u64, last: u64, ends_epoch: bool) -> Result<bool, ChainError>;

    /// The set of an epoch, as L1 has it at an origin; that of the epoch `before` it where L1's makes none.
    ///
    /// # Errors
    /// If this node's L1 does not say.
    fn validators(&self, origin: &L1Origin, before: &Arc<ValidatorSet>) -> Result<Arc<ValidatorSet>, ChainError>;

    /// The validators that were convicted on L1 in the blocks after one origin, up to another: their bonds were taken, for evidence that the registry checked.
    ///
    /// # Errors
    /// If this node's L1 does not say.
    fn convicted(&self, after: &L1Origin, upto: &L1Origin) -> Result<Vec<B256>, ChainError>;

    /// Whether this shows that a checkpoint is invalid.
    fn shows(&self, checkpoint: &Checkpoint, fraud: &crate::Fraud) -> bool;

    /// A block is certified: it and those before it are not withdrawn any more.
    fn certified(&self, digest: B256, checkpoint: &Checkpoint);
}

/// What a peer's message is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// True, and new: others may have it too.
    Good,
    /// Old, known, or nothing that can be judged here: nobody is to blame.
    Idle,
    /// It breaks a rule that whoever passes it on checks: the peer is to blame.
    Bad,
}

/// What becomes of an answer; none if there is none. Says what the answer was worth.
pub type Reply = Box<dyn FnOnce(Option<Bytes>) -> Judgement + Send>;

/// What is given away to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gossip {
    /// [`crate::SealedBlocks`].
    Blocks,
    /// [`crate::Finals`].
    Finals,
}

/// The other nodes. Nothing blocks, and anything may be lost.
pub trait Peers: Send + Sync + 'static {
    /// Sends a message to a validator, on its own stream.
    fn send(&self, to: B256, message: Bytes);

    /// Sends a message to every validator but this one, each on its own stream.
    fn broadcast(&self, message: Bytes);

    /// Gives something away, to everyone.
    fn publish(&self, what: Gossip, bytes: Bytes);

    /// Asks a validator, or whoever may know.
    fn request(&self, of: Option<B256>, request: Bytes, reply: Reply);

    /// The validators of the epoch, and of the next.
    fn set_validators(&self, set: &ValidatorSet, next: &ValidatorSet);
}
