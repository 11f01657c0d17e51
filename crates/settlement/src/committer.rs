//! What is committed next: blocks from the store, cut into batches that follow the last one on L1.
//!
//! The committer only looks at the store and at [`L1State`]: it can be made anew at any time and goes on after the last committed batch. What it
//! asks for is a [`Commit`], whose key names the batch and its parent; whoever sends it must send a key once.
//!
//! On a chain with validators a batch ends where a checkpoint does that has a FinalCert of its own, and at the end of an epoch in any case ([`Ends`]).

use crate::{
    Batcher, Error, Zstd, batcher,
    contracts::Rollup,
    status::{batch_instructions, instructions},
    test_proofs::Roots,
    watcher::{Batch, L1State},
};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use jove_primitives::{
    ExecutedBlock,
    batch::{BlockData, EncodeError, MAX_BLOBS, pack},
    header::{Extra, time_ms},
    l1::{L1_HASH_SLOT, L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::{L1_BLOCK, L2_MESSENGER, OUTBOX_ROOT_SLOT},
};
use jove_storage::{Storage, StorageError, View};
use std::collections::VecDeque;

/// Blocks that are read at once: others may use the thread in between.
const BLOCKS_AT_ONCE: u64 = 10_000;

/// Whether a batch may end with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No: nothing certifies it.
    No,
    /// Yes.
    May,
    /// It does: an epoch ends there.
    Must,
}

/// Where batches may end, and what certifies them.
pub trait Ends: Send {
    /// Whether a batch may end with this block, as far as certificates go.
    ///
    /// # Errors
    /// If what is certified cannot be read.
    fn end(&self, block: u64) -> Result<End, Error>;

    /// What `Rollup` is given with a batch that ends with this block.
    ///
    /// # Errors
    /// If there is no certificate, or it cannot be read.
    fn certificate(&self, block: u64) -> Result<Bytes, Error>;

    /// A batch that begins with one block has no room for all up to another, and may end nowhere before: an end among them that is not known here is looked for.
    ///
    /// # Errors
    /// If what is certified cannot be read.
    fn look_for(&self, _first: u64, _last: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// Of a chain without validators: a batch may end anywhere, and whoever sends it certifies it.
pub struct Anywhere;

impl Ends for Anywhere {
    fn end(&self, _: u64) -> Result<End, Error> {
        Ok(End::May)
    }

    fn certificate(&self, _: u64) -> Result<Bytes, Error> {
        Ok(Bytes::new())
    }
}

/// A batch to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Names the batch: its index, parent and last block. Sent once.
    pub key: String,
    /// Index of the batch.
    pub index: u64,
    /// First block.
    pub first_block: u64,
    /// Last block.
    pub last_block: u64,
    /// What `Rollup` is told of it.
    pub request: Rollup::Commit,
    /// What certifies it.
    pub certificate: Bytes,
    /// Blobs' contents.
    pub blobs: Vec<Blob>,
}

impl Commit {
    /// The operators' call of `Rollup`.
    pub fn call(&self) -> Bytes {
        call(&self.request, &self.certificate)
    }
}

fn call(request: &Rollup::Commit, certificate: &Bytes) -> Bytes {
    Rollup::commitCall { request: request.clone(), certificate: certificate.clone() }.abi_encode().into()
}

/// What is not committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Blocks after the last committed one.
    pub blocks: u64,
    /// Bytes of blobs that they take, about.
    pub bytes: usize,
    /// Time of the first of them, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Whether a transaction or a message from L1 is among them.
    pub busy: bool,
}

/// Cuts batches.
pub struct Committer {
    storage: Storage,
    ends: Box<dyn Ends>,
    chain_id: u64,
    blobs: usize,
    instructions: u64,
    /// The batch that begins before this block ends before it.
    bar: u64,
    /// The committed batch that these follow.
    parent: Option<Batch>,
    ready: VecDeque<batcher::Batch>,
    /// What comes after those that are ready; nothing once a batch has no room for it.
    batcher: Option<Batcher>,
    /// The last block that was read: number and hash.
    last: (u64, B256),
    /// Its L1 origin.
    origin: u64,
    /// Whether messages are due after it.
    due: bool,
    since_ms: Option<u64>,
    /// The last block with a transaction or a message.
    last_busy: u64,
}

impl Committer {
    /// A committer of the chain in the store, whose batches have at most `blobs` blobs.
    pub fn new(storage: Storage, ends: Box<dyn Ends>, chain_id: u64, blobs: usize) -> Self {
        let blobs = blobs.clamp(4, MAX_BLOBS);
        let (ready, batcher) = (VecDeque::new(), None);
        Self {
            storage,
            ends,
            chain_id,
            blobs,
            instructions: u64::MAX,
            bar: 0,
            parent: None,
            ready,
            batcher,
            last: (0, B256::ZERO),
            origin: 0,
            due: false,
            since_ms: None,
            last_busy: 0,
        }
    }

    /// The same, whose batches take at most so many instructions to prove in zero knowledge, about ([`instructions`], and [`batch_instructions`] of all blobs that they
    /// may have); a block that takes more is a batch alone.
    pub fn bounded(self, instructions: u64) -> Self {
        Self { instructions, ..self }
    }

    /// Reads blocks that are new since the last call. Once they are all read, says what waits; before, nothing: call again.
    ///
    /// # Errors
    /// [`Error::Diverged`] if this chain is not the one on L1; [`Error::NoRoom`] if the next batch may not end as soon as it has to. If a block cannot be encoded, or
    /// the store fails.
    pub fn collect(&mut self, l1: &L1State, upto: u64) -> Result<Option<Backlog>, Error> {
        let view = self.storage.view();
        let head = l1.batch(l1.latest.head)?.ok_or(Error::NotOpen)?;
        let last = head.header.last_block;
        if view.block_hash(last)? != Some(head.header.last_block_hash) {
            return Err(Error::Diverged { index: head.header.index, block: last });
        }
        // Blocks that were withdrawn are not committed.
        if view.block_hash(self.last.0)? != Some(self.last.1) {
            (self.parent, self.bar) = (None, 0);
        }
        if self.parent.as_ref().map(|parent| parent.hash) != Some(head.hash) {
            self.follow(&view, head)?;
        }
        let mut head = view.head_number().min(upto);
        if let Some(first) = self.batcher.as_ref().map(Batcher::next_block) {
            let end = first + BLOCKS_AT_ONCE - 1;
            for number in first..=head.min(end) {
                let block = view.block(number)?.ok_or(StorageError::UnknownBlock(number))?;
                // `Rollup` takes no block of L1's future.
                if block.header.timestamp > l1.latest.block.timestamp {
                    head = number - 1;
                    break;
                }
                let (data, origin) = block_data(&block, self.origin)?;
                let due = match Extra::decode(&block.header.extra_data)?.messages {
                    true => Queue::from_slot(view.state(number)?.slot(L1_BLOCK, L1_QUEUE_SLOT)?).is_due(),
                    false => self.due,
                };
                // `Rollup` takes no batch that leaves a due message, or names no L1 block. Where that fails, the block is read again: nothing is noted before.
                let end = if !due && origin > 0 { self.ends.end(number)? } else { End::No };
                let attributes = usize::from(origin != self.origin);
                if block.transactions.len() > attributes {
                    self.last_busy = number;
                }
                (self.origin, self.due, self.last) = (origin, due, (number, block.hash));
                if let Err(error) = self.push(data, instructions(1, block.header.gas_used), end) {
                    self.no_room(number, error)?;
                    head = number;
                    break;
                }
            }
            if end < head {
                return Ok(None);
            }
        }
        let full: usize = self.ready.iter().map(|batch| batch.stream.len()).sum();
        Ok(Some(Backlog {
            blocks: view.head_number().min(upto).saturating_sub(last),
            bytes: full + self.batcher.as_ref().map_or(0, Batcher::estimate),
            since_ms: self.since(&view, last)?,
            busy: self.last_busy > last,
        }))
    }

    /// Adds the next block to those that are not cut yet.
    fn push(&mut self, block: BlockData, cost: u64, end: End) -> Result<(), EncodeError> {
        let Some(batcher) = &mut self.batcher else { return Ok(()) };
        self.ready.extend(batcher.push(block, cost, end != End::No)?);
        while end == End::Must
            && let Some(batch) = batcher.flush()?
        {
            self.ready.push_back(batch);
        }
        Ok(())
    }

    /// What is not cut yet has no room in a batch: that has to end before, where nothing is known that certifies an end. It is read again, once the batches that
    /// are ready are on L1.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if none is.
    fn no_room(&mut self, last: u64, error: EncodeError) -> Result<(), Error> {
        let Some(batcher) = self.batcher.take() else { return Ok(()) };
        let first = batcher.next_block() - batcher.len() as u64;
        let none_is_ready = self.ready.is_empty();
        if none_is_ready {
            self.parent = None;
        }
        self.ends.look_for(first, last)?;
        if none_is_ready { Err(Error::NoRoom { first, last, error }) } else { Ok(()) }
    }

    fn since(&mut self, view: &View, last: u64) -> Result<Option<u64>, Error> {
        if self.since_ms.is_none()
            && let Some(header) = view.header(last + 1)?
        {
            self.since_ms = Some(time_ms(&header)?);
        }
        Ok(self.since_ms)
    }

    /// Begins after another batch. What is cut already stays if it follows that one.
    fn follow(&mut self, view: &View, parent: Batch) -> Result<(), Error> {
        let next = parent.header.last_block + 1;
        let follows = self.parent.as_ref().is_some_and(|was| was.hash == parent.header.parent_batch_hash);
        let first = self.ready.front().map(|batch| batch.first_block + batch.blocks.len() as u64);
        let more = self.ready.len() > 1 || self.batcher.is_some();
        if follows && first == Some(next) && more {
            self.ready.pop_front();
        } else {
            self.ready.clear();
            let instructions = self.instructions.saturating_sub(batch_instructions(self.blobs));
            let batcher = Batcher::new(self.chain_id, next, self.blobs, Zstd::new()?);
            self.batcher = Some(batcher.bounded(instructions).ending_before(self.bar));
            let numbers = view.state(parent.header.last_block)?.slot(L1_BLOCK, L1_NUMBER_SLOT)?;
            self.origin = L1Origin::numbers(numbers).0;
            self.due = false;
            self.last = (parent.header.last_block, parent.header.last_block_hash);
        }
        self.since_ms = None;
        self.parent = Some(parent);
        Ok(())
    }

    /// The next batch, full or not; nothing if no block waits that could end one, or the chain knows no L1 block yet. The same as long as L1's head is.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if it may not end as soon as it has to. If the blocks cannot be encoded, or the store fails.
    pub fn next_commit(&mut self) -> Result<Option<Commit>, Error> {
        if self.ready.is_empty()
            && let Some(batcher) = &mut self.batcher
        {
            match batcher.flush() {
                Ok(batch) => self.ready.extend(batch),
                Err(error) => self.no_room(self.last.0, error)?,
            }
        }
        let (Some(parent), Some(batch)) = (&self.parent, self.ready.front()) else { return Ok(None) };
        let last_block = batch.first_block + batch.blocks.len() as u64 - 1;
        let Some(request) = request(&self.storage.view(), parent, last_block)? else { return Ok(None) };
        let index = parent.header.index + 1;
        let certificate = self.ends.certificate(last_block)?;
        Ok(Some(Commit {
            key: format!("commit/{index}/{:x}", keccak256(call(&request, &certificate))),
            index,
            first_block: batch.first_block,
            last_block,
            request,
            certificate,
            blobs: pack(&batch.stream),
        }))
    }

    /// The next batch is to end before this block: collect again, to have it cut anew. Whether it can; not where it is one block, or where nothing is known that
    /// certifies an end before.
    pub fn end_before(&mut self, block: u64) -> bool {
        let ends_later = |batch: &batcher::Batch| block < batch.first_block + batch.blocks.len() as u64;
        let can = self.ready.front().is_some_and(|batch| batch.units > 1 && ends_later(batch));
        if can {
            (self.parent, self.bar) = (None, block);
        }
        can
    }
}

/// What `Rollup` is told of the batch after `parent` that ends with `last_block`; nothing before the chain knows an L1 block.
fn request(view: &View, parent: &Batch, last_block: u64) -> Result<Option<Rollup::Commit>, Error> {
    let header = view.header(last_block)?.ok_or(StorageError::UnknownBlock(last_block))?;
    let state = view.state(last_block)?;
    let origin_number = L1Origin::numbers(state.slot(L1_BLOCK, L1_NUMBER_SLOT)?).0;
    Ok((origin_number > 0).then_some(Rollup::Commit {
        parentBatchHash: parent.hash,
        lastBlockHash: header.hash_slow(),
        lastBlock: last_block,
        lastTimestamp: header.timestamp,
        endMessage: Queue::from_slot(state.slot(L1_BLOCK, L1_QUEUE_SLOT)?).consumed,
        originNumber: origin_number,
        originHash: state.slot(L1_BLOCK, L1_HASH_SLOT)?.into(),
    }))
}

/// All blocks after a batch in one batch: what `Rollup` is told, and the blobs. For few blocks, such as those of messages alone.
///
/// # Errors
/// If the blocks need more blobs than a batch has, or the chain knows no L1 block yet; if the store fails.
pub fn single(view: &View, parent: &Batch, chain_id: u64) -> Result<(Rollup::Commit, Vec<Blob>), Error> {
    let (first, last) = (parent.header.last_block + 1, view.head_number());
    let numbers = view.state(parent.header.last_block)?.slot(L1_BLOCK, L1_NUMBER_SLOT)?;
    let mut origin = L1Origin::numbers(numbers).0;
    let mut batcher = Batcher::new(chain_id, first, MAX_BLOBS, Zstd::new()?);
    for number in first..=last {
        let block = view.block(number)?.ok_or(StorageError::UnknownBlock(number))?;
        let (data, stepped) = block_data(&block, origin)?;
        origin = stepped;
        if batcher.push(data, 0, number == last)?.is_some() {
            return Err(EncodeError::BlockSize(number).into());
        }
    }
    let batch = batcher.flush()?.filter(|batch| first + batch.blocks.len() as u64 == last + 1);
    let batch = batch.ok_or(EncodeError::BlockSize(first))?;
    let request = request(view, parent, last)?.ok_or(Error::UnknownL1Block(0))?;
    Ok((request, pack(&batch.stream)))
}

/// What L1 holds of a block, after a block with L1 origin `origin`; and its own origin.
fn block_data(block: &ExecutedBlock, origin: u64) -> Result<(BlockData, u64), Error> {
    let number = block.header.number;
    let first = block.transactions.first().and_then(|first| first.inner().as_deposit());
    let stepped = first.and_then(|first| L1Origin::from_attributes(first, number));
    let stepped = stepped.map_or(origin, |stepped| stepped.number);
    let steps = stepped.checked_sub(origin).and_then(|steps| u32::try_from(steps).ok());
    let data = BlockData {
        time_ms: time_ms(&block.header)?,
        origin_steps: steps.ok_or(Error::Diverged { index: 0, block: number })?,
        transactions: block.transactions.iter().filter_map(|tx| tx.inner().as_signed().cloned()).collect(),
    };
    Ok((data, stepped))
}

/// What a batch's output is made of besides its batch: state root and outbox root after its last block, as this node has them.
///
/// # Errors
/// If the store does not have the block or its state.
pub fn roots(view: &View, last_block: u64) -> Result<Roots, Error> {
    let header = view.header(last_block)?.ok_or(StorageError::UnknownBlock(last_block))?;
    let outbox: U256 = view.state(last_block)?.slot(L2_MESSENGER, OUTBOX_ROOT_SLOT)?;
    Ok(Roots { state: header.state_root, outbox: outbox.into() })
}
