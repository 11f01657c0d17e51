//! Batches: what L1 holds of the chain's blocks, to the byte.
//!
//! A batch's *data* is what cannot be derived from L1: of each block its time, the steps of its L1 origin and its signed transactions; of the first block its
//! number. [`encode`] makes a stream of bytes of it, [`pack`] puts the stream into blobs, [`decode`] reads them. Any bytes decode to a batch or to one error, in
//! bounded time and memory. Hashes of and around batches are in [`hash`], the form of blobs in [`blob`].
//!
//! # Stream
//!
//! A *varint* is an unsigned integer of at most 64 bits in LEB128 (seven bits a byte, the lowest first; the top bit marks that more follow), as short as it can be.
//! Multi-byte integers are little-endian. The stream is the version, 1, as a byte, three varints:
//! number of the first block, its time in milliseconds since the Unix epoch, number of blocks b (1 to [`MAX_BLOCKS`]); then these columns,
//! then zeros to the end of the last blob. A batch has the fewest blobs that hold its stream.
//!
//! | column | form | contents |
//! |---|---|---|
//! | times | b − 1 integers, 64 bits | milliseconds since the block before |
//! | origin steps | b integers, 64 | L1 blocks by which the origin advances, at most 2³² − 1 |
//! | counts | b integers, 64 | transactions of each block, n in all |
//! | kinds | strip of n | type (below 5) + 8 if it creates a contract + 16 if its input is of words + 32 if it has an access list that is not empty |
//! | nonces | n integers, 64 | |
//! | gas limits | n integers, 64 | |
//! | fee caps | n integers, 128 | gas price or fee cap, in wei per gas |
//! | tips | integers, 128 | priority fee cap of each transaction of types 3 and 4 |
//! | recipients | integers, 64 | reference to the recipient, of each transaction that creates no contract |
//! | values | n numbers | wei |
//! | sizes | n integers, 64 | of the input: in words where it is of words, else in bytes |
//! | selectors | integers, 64 | first four bytes of each input of words, big-endian |
//! | word kinds | strip | 0: number, 1: negative number, 2: address, 3: other; in *word order* |
//! | word addresses | integers, 64 | reference to the address, of each word that is one |
//! | word numbers | numbers | of each word that is one; of a negative one what must be subtracted from 2²⁵⁶ |
//! | words | strip | the 32 bytes of each other word |
//! | inputs | strip | the inputs that are not of words, end to end |
//! | lists | varint ℓ, strip of ℓ | for each transaction: its access list unless it is empty, then its authorization list if it is of type 4; both in RLP, as the transaction's own encoding has them |
//! | addresses | varint r, strip | 20 bytes each: r that are referred to by number, then one for each reference 0 |
//! | parities | ⌈n / 8⌉ bytes | the signatures' y parities, the first in the lowest bit of the first byte; the last byte's other bits are zero |
//! | signatures | 64·n bytes | r ‖ s, big-endian |
//!
//! **Types**: 0 legacy without a chain id (before EIP-155), 1 legacy with one, 2 EIP-2930, 3 EIP-1559, 4 EIP-7702. Chain ids are the chain's own, which the
//! reader knows; those in authorizations are whatever was signed. Blob transactions and L1 messages are not in a batch.
//!
//! **Input of words**: four bytes (the selector), then any number of 32-byte words. *Word order* puts like beside like: such transactions
//! are sorted by selector, then by number of words, then by position in the batch; of each group with equal selector and number of words come all first
//! words, then all second words, and so on.
//!
//! **References** to addresses: 0 takes the next of the addresses that follow the first r (recipients come first, then words), j > 0 is
//! number j − 1 of the first r.
//!
//! **Numbers** are two columns: a strip of exponents, then as many integers of 256 bits, the mantissas. An exponent e up to 77 means mantissa × 10ᵉ, one above
//! mantissa × 2ᵉ⁻⁷⁷; the product is below 2²⁵⁶.
//!
//! **Strip**: bytes whose number the reader knows. None: nothing is written. Else a mode: 0, then the bytes; 1, then the byte that all of them are; 2, then a varint c
//! and c bytes: the blocks of a zstd frame (RFC 8878, §3.1.1.2) whose header, which is left out, says single segment, no dictionary, no
//! checksum, and the strip's length. There are at most 8 + length / 1,024 blocks, and nothing after the last.
//!
//! **Integers**: none: nothing is written. Else a form:
//! - 0, planes: a byte w, at most the integers' size; w strips: the lowest byte of each integer, the second, … the w-th.
//! - 1, variable: a strip with the length of each integer in bytes; a strip with all their bytes.
//! - 4 and 5: 0 and 1 of differences: each integer is the one before (at first 0) plus the difference, modulo 2⁶⁴ or 2¹²⁸; 0, −1, 1, −2, … are
//!   written as 0, 1, 2, 3, … Not for integers of 256 bits.
//! - 2, table: varint t, at most the number of integers; t integers of a form but this; then, of a form but this, 64 bits, the index of each integer among them.
//!
//! What ruzstd 0.9.1 makes of a zstd block is part of this format: blocks that are not as RFC 8878 wants them need not fail, but have one meaning.
//!
//! # Bounds
//!
//! At most [`MAX_BLOBS`] blobs; [`MAX_BLOCKS`] blocks; as many transactions as the stream has room for signatures (12,192); inputs and lists together have at most
//! [`MAX_CONTENT`] bytes. These bound the length of every column before it is read, and with it time and memory: docs/performance.md has the worst case.
//! A stream is no longer than [`STREAM_OVERHEAD`] + [`BLOCK_OVERHEAD`] for each block + the [`size_bound`] of each transaction; a block may have
//! [`MAX_BLOCK_SIZE`] of the latter two.

pub mod blob;
mod column;
mod decode;
mod encode;
pub mod hash;
mod number;
#[cfg(test)]
mod tests;
mod word;

pub use blob::{BLOB_CAPACITY, MAX_BLOBS, pack};
pub use decode::{decode, decode_stream};
pub use encode::{content_size, encode, size_bound};
pub use hash::BatchHeader;

use crate::transaction::SignedTransaction;
use alloc::vec::Vec;
use thiserror::Error;

/// Most blocks in a batch.
pub const MAX_BLOCKS: usize = 65_536;
/// Most bytes of inputs, access lists and authorization lists ([`content_size`]) in a batch.
pub const MAX_CONTENT: usize = 8 << 20;
/// Most bytes of a batch's stream.
pub const MAX_STREAM: usize = MAX_BLOBS * BLOB_CAPACITY;
/// What a stream has at most besides its blocks, in bytes: head, forms and modes, lengths.
pub const STREAM_OVERHEAD: usize = 256;
/// What a block takes of a stream at most besides its transactions, in bytes.
pub const BLOCK_OVERHEAD: usize = 24;
/// Most bytes that a block may take of a stream, by [`BLOCK_OVERHEAD`] and the [`size_bound`] of its transactions: alone it has room in four blobs.
pub const MAX_BLOCK_SIZE: usize = 4 * BLOB_CAPACITY - STREAM_OVERHEAD;

const VERSION: u8 = 1;

/// Bits of a transaction's kind.
mod kind {
    pub(super) const LEGACY_UNPROTECTED: u8 = 0;
    pub(super) const LEGACY: u8 = 1;
    pub(super) const EIP2930: u8 = 2;
    pub(super) const EIP1559: u8 = 3;
    pub(super) const EIP7702: u8 = 4;
    pub(super) const TYPE: u8 = 7;
    pub(super) const CREATION: u8 = 8;
    pub(super) const WORDS: u8 = 16;
    pub(super) const ACCESS_LIST: u8 = 32;
    pub(super) const ALL: u8 = 63;
}

/// Kinds of words.
mod word_kind {
    pub(super) const NUMBER: u8 = 0;
    pub(super) const NEGATIVE: u8 = 1;
    pub(super) const ADDRESS: u8 = 2;
    pub(super) const OTHER: u8 = 3;
}

/// What L1 holds of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockData {
    /// Time in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// L1 blocks by which its L1 origin is ahead of its parent's.
    pub origin_steps: u32,
    /// Its signed transactions, in order: all but the messages from L1.
    pub transactions: Vec<SignedTransaction>,
}

/// What L1 holds of consecutive blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchData {
    /// Number of the first block.
    pub first_block: u64,
    /// The blocks, at least one.
    pub blocks: Vec<BlockData>,
}

/// Makes zstd frames: the encoder's only part that needs a foreign library.
pub trait Compressor {
    /// About how long [`compress`](Self::compress) makes `bytes`: never less. Called more often, on the same bytes in many forms; should be quick.
    fn estimate(&mut self, bytes: &[u8]) -> usize;

    /// `bytes` as one zstd frame: single segment, with its content size, without dictionary or checksum, which is how libzstd compresses what is given at
    /// once and fits into its window. Nothing if they had better be left as they are; another frame means the same.
    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>>;
}

/// Why blocks cannot be encoded. Blocks that `stf` accepts can.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// There are no blocks, or more than [`MAX_BLOCKS`].
    #[error("a batch has 1 to {MAX_BLOCKS} blocks, not {0}")]
    BlockCount(usize),
    /// The last block's number is more than 64 bits.
    #[error("the last block's number is above 2^64 - 1")]
    BlockNumber,
    /// A block is earlier than the one before.
    #[error("block {0} of the batch is earlier than the block before")]
    Time(usize),
    /// A transaction carries blobs.
    #[error("a batch holds no blob transactions")]
    BlobTransaction,
    /// A transaction is signed for another chain.
    #[error("a transaction is for chain {0}, the batch for chain {1}")]
    ChainId(u64, u64),
    /// A block alone, the one with this number, is longer than the blobs it should go into. `stf` refuses blocks above [`MAX_BLOCK_SIZE`].
    #[error("block {0} does not fit into the blobs of a batch")]
    BlockSize(u64),
    /// Inputs and lists are more than [`MAX_CONTENT`]: cut the batch between blocks.
    #[error("inputs and lists have {0} bytes, more than {MAX_CONTENT}")]
    Content(usize),
}

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the module has them
pub enum Column {
    Head,
    Times,
    OriginSteps,
    Counts,
    Kinds,
    Nonces,
    GasLimits,
    FeeCaps,
    Tips,
    Recipients,
    Values,
    Sizes,
    Selectors,
    WordKinds,
    WordAddresses,
    WordNumbers,
    Words,
    Inputs,
    Lists,
    Addresses,
    Parities,
    Signatures,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There is no blob, or more than [`MAX_BLOBS`].
    #[error("a batch has 1 to {MAX_BLOBS} blobs, not {0}")]
    BlobCount(usize),
    /// What is given as a blob has another length than 131,072.
    #[error("a blob has 131072 bytes, not {0}")]
    BlobLength(usize),
    /// An element of a blob has one of its top two bits set.
    #[error("a field element of a blob is above 254 bits")]
    FieldElement,
    /// The stream's version is not 1.
    #[error("version {0} of the stream is unknown")]
    Version(u8),
    /// The stream ends within a column.
    #[error("{0:?}: the stream ends")]
    Truncated(Column),
    /// A varint has more than 64 bits or is longer than it must be.
    #[error("{0:?}: malformed varint")]
    Varint(Column),
    /// A strip has an unknown mode.
    #[error("{0:?}: unknown mode {1} of a strip")]
    Mode(Column, u8),
    /// A strip's zstd blocks are malformed, too many, or hold another number of bytes than the strip has.
    #[error("{0:?}: zstd blocks do not hold the strip")]
    Zstd(Column),
    /// A column of integers has an unknown form, or one that it may not have.
    #[error("{0:?}: form {1} is not one of this column")]
    Form(Column, u8),
    /// Integers have more bytes than the column's have.
    #[error("{0:?}: integers of {1} bytes")]
    Width(Column, usize),
    /// A reference or an index names nothing.
    #[error("{0:?}: a reference to nothing")]
    Index(Column),
    /// An entry is outside of its range.
    #[error("{0:?}: out of range")]
    Range(Column),
    /// Inputs and lists are more than [`MAX_CONTENT`].
    #[error("inputs and lists have more than {MAX_CONTENT} bytes")]
    Content,
    /// The lists are not the RLP that the transactions need.
    #[error("lists are malformed")]
    Lists,
    /// Something that is not zero follows the last column, or a whole blob of zeros does.
    #[error("bytes after the end")]
    Trailing,
}
