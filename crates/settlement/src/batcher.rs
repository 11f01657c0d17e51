//! Blocks are collected and cut into batches that fill their blobs.
//!
//! How long a batch's stream is shows only when it is encoded, which is work for all its blocks. So each block is counted by its bound
//! ([`size_bound`]), which is cheap, times what blocks of this batch have really taken of theirs. When the blobs might be full, the batch is encoded:
//! - it fits, with much room: the estimate is mended, and more blocks may come;
//! - it fits, with less room than [`SLACK`]: it is cut there;
//! - it does not fit: fewer blocks are tried, by interpolation and bisection, until those that fit leave less room than [`SLACK`] or one more does not fit.
//!
//! A batch is encoded three to five times, however many blocks it has.
//!
//! A batch may not end everywhere: messages from L1 that are due must all be in it. So blocks come in *units* that stay together, and a batch is cut
//! between them.
//!
//! What a batch costs to prove may be bounded too ([`Batcher::bounded`]): then it ends before the unit with which it would cost more. And it may have to end before
//! a block ([`Batcher::ending_before`]).

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
    /// How many units they are: a batch of one cannot end earlier.
    pub units: usize,
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
    /// Of complete units.
    blocks: Vec<BlockData>,
    /// Number of blocks in the first k units, for each k.
    ends: Vec<usize>,
    /// Sum of the bounds of the first k units, for each k.
    bounds: Vec<usize>,
    content: usize,
    /// What each block costs to prove, and all of them.
    costs: Vec<u64>,
    cost: u64,
    /// Most that a batch costs to prove.
    most: u64,
    /// The batch that begins before this block ends before it.
    bar: u64,
    /// The unit under way.
    open: Vec<BlockData>,
    open_costs: Vec<u64>,
    /// The first units that have been encoded and fit.
    known: Prefix,
    encodings: u64,
}

/// So many units have this stream.
#[derive(Default)]
struct Prefix {
    units: usize,
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
            ends: vec![0],
            bounds: vec![0],
            content: 0,
            costs: Vec::new(),
            cost: 0,
            most: u64::MAX,
            bar: 0,
            open: Vec::new(),
            open_costs: Vec::new(),
            known: Prefix::default(),
            encodings: 0,
        }
    }

    /// The same, whose batches cost at most `most` to prove, in the unit of [`Self::push`]; a unit of blocks that costs more is a batch alone.
    pub fn bounded(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// The same, of which no batch has blocks both before this one and from it on, but where they are of one unit: that is a batch alone.
    pub fn ending_before(self, bar: u64) -> Self {
        Self { bar, ..self }
    }

    /// Adds the next block, which costs so much to prove; `end` says whether a batch may end with it. Once the batch is full, it is returned, and what did not
    /// fit begins the next one.
    ///
    /// # Errors
    /// If the blocks cannot be encoded, or a unit alone has no room in the blobs: nothing that `stf` accepts, given four blobs and units of one block
    /// with signed transactions.
    pub fn push(&mut self, block: BlockData, cost: u64, end: bool) -> Result<Option<Batch>, EncodeError> {
        self.open.push(block);
        self.open_costs.push(cost);
        if !end {
            return Ok(None);
        }
        let (unit, costs) = (take(&mut self.open), take(&mut self.open_costs));
        let content: usize = unit.iter().map(content).sum();
        let count = self.blocks.len() + unit.len();
        let limit = count > MAX_BLOCKS
            || self.first_block < self.bar && self.first_block + count as u64 > self.bar
            || self.content + content > MAX_CONTENT
            || costs.iter().fold(self.cost, |sum, cost| sum.saturating_add(*cost)) > self.most;
        let full = if limit { self.flush()? } else { None };
        self.add(unit.into_iter().zip(costs));
        if full.is_some() || self.estimate() <= self.capacity {
            return Ok(full);
        }
        let length = self.encode(self.units())?;
        if length + SLACK > self.capacity { self.flush_from(length).map(Some) } else { Ok(None) }
    }

    /// Ends the batch, full or not, at its last complete unit: returns it, and nothing if there is none. Blocks can be left that did not fit: flush again.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> Result<Option<Batch>, EncodeError> {
        if self.blocks.is_empty() {
            return Ok(None);
        }
        let length = match &self.known {
            Prefix { units, stream } if *units == self.units() => stream.len(),
            _ => self.encode(self.units())?,
        };
        self.flush_from(length).map(Some)
    }

    /// Number of the block that is pushed next.
    pub fn next_block(&self) -> u64 {
        self.first_block + (self.blocks.len() + self.open.len()) as u64
    }

    fn units(&self) -> usize {
        self.ends.len() - 1
    }

    /// Number of blocks that have not left in a batch.
    pub fn len(&self) -> usize {
        self.blocks.len() + self.open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the stream that these blocks will take, about. Before the first of them are encoded it is a bound.
    pub fn estimate(&self) -> usize {
        let Prefix { units, stream } = &self.known;
        let (known, all) = (self.bounds[*units], self.bounds[self.units()]);
        if *units == 0 { all } else { stream.len() + scale(all - known, stream.len(), known) }
    }

    /// How often blocks have been encoded.
    pub fn encodings(&self) -> u64 {
        self.encodings
    }

    fn add(&mut self, unit: impl IntoIterator<Item = (BlockData, u64)>) {
        let mut bound = self.bounds[self.units()];
        for (block, cost) in unit {
            self.content += content(&block);
            bound += BLOCK_OVERHEAD + block.transactions.iter().map(size_bound).sum::<usize>();
            self.blocks.push(block);
            self.costs.push(cost);
            self.cost = self.cost.saturating_add(cost);
        }
        self.bounds.push(bound);
        self.ends.push(self.blocks.len());
    }

    /// The length of the first `count` units' stream; if they fit, they are known.
    fn encode(&mut self, count: usize) -> Result<usize, EncodeError> {
        self.encodings += 1;
        let stream = encode(self.first_block, &self.blocks[..self.ends[count]], self.chain_id, &mut self.zstd)?;
        let length = stream.len();
        if length <= self.capacity {
            self.known = Prefix { units: count, stream };
        }
        Ok(length)
    }

    /// Cuts as many units as fit, given the length of them all.
    fn flush_from(&mut self, length: usize) -> Result<Batch, EncodeError> {
        let (mut above, mut above_length) = (self.units(), length);
        let mut interpolate = true;
        while above_length > self.capacity && above - self.known.units > 1 {
            let (below, below_length) = (self.known.units, self.known.stream.len());
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
        if self.known.units == 0 {
            return Err(EncodeError::BlockSize(self.first_block));
        }
        Ok(self.cut())
    }

    /// The units that are known to fit; what is after them begins the next batch.
    fn cut(&mut self) -> Batch {
        let Prefix { units, stream } = take(&mut self.known);
        let count = self.ends[units];
        let mut left = self.blocks.split_off(count).into_iter().zip(self.costs.split_off(count));
        let ends = self.ends.split_off(units);
        let batch = Batch { first_block: self.first_block, blocks: take(&mut self.blocks), units, stream };
        self.first_block += count as u64;
        self.ends.truncate(1);
        self.bounds.truncate(1);
        (self.content, self.cost) = (0, 0);
        self.costs.clear();
        for ends in ends.windows(2) {
            self.add(left.by_ref().take(ends[1] - ends[0]));
        }
        batch
    }
}

fn content(block: &BlockData) -> usize {
    block.transactions.iter().map(content_size).sum()
}

/// `value` · `numerator` / `denominator`. All are lengths: their product is far below 2¹²⁸.
fn scale(value: usize, numerator: usize, denominator: usize) -> usize {
    let scaled = value as u128 * numerator as u128 / denominator.max(1) as u128;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}
