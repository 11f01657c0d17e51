//! Blocks are collected and cut into batches that fill their blobs.
//!
//! How long a batch's stream is shows only when it is encoded, which is work for all its blocks. So each block is counted by its bound
//! ([`size_bound`]), which is cheap, times what blocks of this batch have really taken of theirs. When the blobs might be full, the batch is encoded:
//! - it fits, with much room: the estimate is mended, and more blocks may come;
//! - it fits, with less room than [`SLACK`]: it is cut there;
//! - it does not fit: fewer blocks are tried, by interpolation and bisection, until those that fit leave less room than [`SLACK`] or one more does not fit.
//!
//! A batch is encoded three to five times, however many blocks it has.

use crate::Zstd;
use jove_primitives::batch::{
    BLOB_CAPACITY, BLOCK_OVERHEAD, BlockData, EncodeError, MAX_BLOBS, MAX_BLOCKS, MAX_CONTENT, content_size, encode,
    size_bound,
};
use std::mem::take;

/// A batch with less room left than this, in bytes, is full.
pub const SLACK: usize = 2048;

/// Blocks that have been cut into a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of the first block.
    pub first_block: u64,
    /// The blocks.
    pub blocks: Vec<BlockData>,
    /// Their encoding: [`jove_primitives::batch::pack`] makes blobs of it.
    pub stream: Vec<u8>,
}

/// Collects consecutive blocks.
pub struct Batcher {
    chain_id: u64,
    /// Most bytes of a stream.
    capacity: usize,
    zstd: Zstd,
    first_block: u64,
    blocks: Vec<BlockData>,
    /// Sum of the bounds of the first k blocks, for each k.
    bounds: Vec<usize>,
    content: usize,
    /// The first blocks that have been encoded and fit.
    known: Prefix,
    encodings: u64,
}

/// So many blocks have this stream.
#[derive(Default)]
struct Prefix {
    blocks: usize,
    stream: Vec<u8>,
}

impl Batcher {
    /// A batcher for the chain `chain_id`, from block `first_block` on, whose batches have at most `blobs` blobs (1 to [`MAX_BLOBS`]; a block
    /// may need four).
    pub fn new(chain_id: u64, first_block: u64, blobs: usize, zstd: Zstd) -> Self {
        Self {
            chain_id,
            capacity: blobs.clamp(1, MAX_BLOBS) * BLOB_CAPACITY,
            zstd,
            first_block,
            blocks: Vec::new(),
            bounds: vec![0],
            content: 0,
            known: Prefix::default(),
            encodings: 0,
        }
    }

    /// Adds the next block. Once the batch is full, it is returned, and what did not fit begins the next one.
    ///
    /// # Errors
    /// If the blocks cannot be encoded, or one alone has no room in the blobs: nothing that `stf` accepts, given four blobs.
    pub fn push(&mut self, block: BlockData) -> Result<Option<Batch>, EncodeError> {
        let content: usize = block.transactions.iter().map(content_size).sum();
        let limit = self.blocks.len() == MAX_BLOCKS || self.content + content > MAX_CONTENT;
        let full = if limit { self.flush()? } else { None };
        self.add(block, content);
        if full.is_some() || self.estimate() <= self.capacity {
            return Ok(full);
        }
        let length = self.encode(self.blocks.len())?;
        if length + SLACK > self.capacity { self.flush_from(length).map(Some) } else { Ok(None) }
    }

    /// Ends the batch, full or not: returns it, and nothing if there are no blocks. Blocks can be left that did not fit: flush again.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> Result<Option<Batch>, EncodeError> {
        if self.blocks.is_empty() {
            return Ok(None);
        }
        let length = match &self.known {
            Prefix { blocks, stream } if *blocks == self.blocks.len() => stream.len(),
            _ => self.encode(self.blocks.len())?,
        };
        self.flush_from(length).map(Some)
    }

    /// Number of blocks that have not left in a batch.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes of the stream that these blocks will take, about. Before the first of them are encoded it is a bound.
    pub fn estimate(&self) -> usize {
        let Prefix { blocks, stream } = &self.known;
        let (known, all) = (self.bounds[*blocks], self.bounds[self.blocks.len()]);
        if *blocks == 0 { all } else { stream.len() + scale(all - known, stream.len(), known) }
    }

    /// How often blocks have been encoded.
    pub fn encodings(&self) -> u64 {
        self.encodings
    }

    fn add(&mut self, block: BlockData, content: usize) {
        self.content += content;
        let bound = BLOCK_OVERHEAD + block.transactions.iter().map(size_bound).sum::<usize>();
        self.bounds.push(self.bounds[self.blocks.len()] + bound);
        self.blocks.push(block);
    }

    /// The length of the first `count` blocks' stream; if they fit, they are known.
    fn encode(&mut self, count: usize) -> Result<usize, EncodeError> {
        self.encodings += 1;
        let stream = encode(self.first_block, &self.blocks[..count], self.chain_id, &mut self.zstd)?;
        let length = stream.len();
        if length <= self.capacity {
            self.known = Prefix { blocks: count, stream };
        }
        Ok(length)
    }

    /// Cuts as many blocks as fit, given the length of them all.
    fn flush_from(&mut self, length: usize) -> Result<Batch, EncodeError> {
        let (mut above, mut above_length) = (self.blocks.len(), length);
        let mut interpolate = true;
        while above_length > self.capacity && above - self.known.blocks > 1 {
            let (below, below_length) = (self.known.blocks, self.known.stream.len());
            if below > 0 && self.capacity - below_length < SLACK {
                break;
            }
            let middle = if interpolate {
                let wanted = self.capacity - SLACK / 2 - below_length;
                let (low, high) = (self.bounds[below], self.bounds[above]);
                let bound = low + scale(wanted, high - low, above_length.saturating_sub(below_length).max(1));
                self.bounds.partition_point(|sum| *sum <= bound).saturating_sub(1)
            } else {
                (below + above) / 2
            };
            interpolate = !interpolate;
            let middle = middle.clamp(below + 1, above - 1);
            let middle_length = self.encode(middle)?;
            if middle_length > self.capacity {
                (above, above_length) = (middle, middle_length);
            }
        }
        if self.known.blocks == 0 {
            return Err(EncodeError::BlockSize(self.first_block));
        }
        Ok(self.cut())
    }

    /// The blocks that are known to fit; what is after them begins the next batch.
    fn cut(&mut self) -> Batch {
        let Prefix { blocks: count, stream } = take(&mut self.known);
        let left = self.blocks.split_off(count);
        let batch = Batch { first_block: self.first_block, blocks: take(&mut self.blocks), stream };
        self.first_block += count as u64;
        self.bounds.truncate(1);
        self.content = 0;
        for block in left {
            let content = block.transactions.iter().map(content_size).sum();
            self.add(block, content);
        }
        batch
    }
}

/// `value` · `numerator` / `denominator`. All are lengths: their product is far below 2¹²⁸.
fn scale(value: usize, numerator: usize, denominator: usize) -> usize {
    let scaled = value as u128 * numerator as u128 / denominator.max(1) as u128;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}
