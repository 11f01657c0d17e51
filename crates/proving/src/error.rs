//! Why an input proves nothing.

use alloc::boxed::Box;
use jove_primitives::spec::SpecError;
use jove_stf::StatelessError;
use thiserror::Error;

/// Why an input is of no use. It says nothing of the batches: make a better one.
#[derive(Debug, Error)]
pub enum InputError {
    /// The bytes encode no input, or are more than [`MAX_INPUT`](crate::MAX_INPUT).
    #[error("the bytes encode no input: {0}")]
    Encoding(&'static str),
    /// The config is no chain's that settles on L1.
    #[error(transparent)]
    Config(#[from] SpecError),
    /// There is no batch, or more than [`MAX_BATCHES`](crate::MAX_BATCHES).
    #[error("a proof is of 1 to 64 batches, not {0}")]
    Range(usize),
    /// A batch follows an invalid one. Prove up to that.
    #[error("the batch before is invalid: no batch follows it")]
    AfterInvalid,
    /// A field is not what L1 gives a batch after the one before: the batch, the parent or the config is another one.
    #[error("{0} is not what follows the batch before")]
    Differs(&'static str),
    /// There are more or fewer contents than versioned hashes.
    #[error("{contents} contents for {hashes} blobs")]
    BlobCount {
        /// Versioned hashes.
        hashes: usize,
        /// Contents.
        contents: usize,
    },
    /// Contents are not those of any blob: another length than 131,072 bytes, or an element that is not below the field's order.
    #[error("the contents of blob {0} are no blob's")]
    NotABlob(usize),
    /// The L1 headers are not the chain from the parent's origin to the batch's.
    #[error("the L1 headers do not lead to the batch's origin: {0}")]
    Origins(&'static str),
    /// The messages are not those of the batch's range.
    #[error("the messages do not have the queue's hash")]
    Messages,
    /// An origin has no randomness, and the genesis hash is not known here.
    #[error("an L1 origin has a mixHash of zero, which is proven from the first batch on alone")]
    Randomness,
    /// The witness is of another state, or lacks something that the batch needs.
    #[error(transparent)]
    Witness(#[from] StatelessError),
    /// The input lacks something else that the batch needs.
    #[error("the input lacks {0}")]
    Incomplete(&'static str),
    /// What is wrong with the batch at this index.
    #[error("batch {0}: {1}")]
    Batch(u64, #[source] Box<Self>),
}
