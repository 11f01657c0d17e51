//! Following L1: blocks that come from batches.
//!
//! All of them are on L1, so none is lost with this machine: they are written in groups, each in one atomic, synced write, and nobody learns of a block before its
//! group is durable. Senders are recovered on all cores before a batch is executed.

use crate::{
    engine::{Engine, Sealed},
    node::NodeError,
};
use alloy_consensus::Header;
use jove_primitives::{
    ExecutedBlock,
    batch::{BatchData, BatchHeader, BlockData, DecodeError},
    header::time_ms,
    l1::{L1_NUMBER_SLOT, L1Origin},
    predeploys::L1_BLOCK,
    transaction::TxDeposit,
};
use jove_stf::{
    BatchError, BatchExecutor, BatchInput, BatchOutput, ExecuteBatchError,
    batch::{DerivedBlock, Recovered, Step},
};
use jove_storage::{StorageError, View};
use rayon::prelude::*;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// A batch as L1 has it. Whoever gives it vouches for origins and messages.
#[derive(Clone, Debug)]
pub struct DerivedBatch {
    /// What was committed.
    pub header: BatchHeader,
    /// What its blobs decode to.
    pub data: Result<BatchData, DecodeError>,
    /// The L1 blocks from the last origin before the batch, without it, to the batch's own, by ascending number; those that it does not step to may be
    /// missing.
    pub origins: Vec<L1Origin>,
    /// The queue's entries of the batch's message range.
    pub messages: Vec<TxDeposit>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Derived {
    /// The chain has its blocks.
    Valid(BatchOutput),
    /// It is invalid: the chain ends at its parent.
    Invalid(BatchError),
}

/// Most blocks of a group.
const GROUP_BLOCKS: usize = 500;
/// A group is written after this time: readers of the state at the head wait for it.
const GROUP_TIME: Duration = Duration::from_millis(100);

type Error = ExecuteBatchError<NodeError>;

impl Engine {
    pub(crate) fn derive(&mut self, batch: &DerivedBatch) -> Result<Derived, NodeError> {
        if self.shared.spec.ethereum.is_some() {
            return Err(NodeError::Invalid("a layer 1 takes no blocks from another".into()));
        }
        let before = self.shared.head.load().hash;
        let number = batch.header.first_block.checked_sub(1);
        let number = number.ok_or_else(|| NodeError::Invalid("a batch starts after block 0".into()))?;
        let parent = self.shared.storage.view().header(number)?;
        let parent = parent.ok_or_else(|| NodeError::Invalid(format!("block {number} has to be derived first")))?;
        match self.follow(batch, &parent) {
            Ok(output) => Ok(Derived::Valid(output)),
            Err(Error::Invalid(error)) => {
                tracing::warn!(batch = batch.header.index, %error, "a batch on L1 is invalid");
                // A sequencer's own blocks stay if none of the batch was executed in their place: an invalid batch will be dropped.
                if !self.shared.config.sequencing || self.shared.head.load().hash != before {
                    // What validators certified stays, whatever a batch has in its place.
                    let number = number.max(self.shared.certified.load(Ordering::Relaxed));
                    self.unwind(number, self.withdrawn())?;
                }
                Ok(Derived::Invalid(error))
            }
            Err(Error::Incomplete(what)) => Err(NodeError::Invalid(format!("the batch comes without {what}"))),
            Err(Error::Database(error)) => Err(error),
        }
    }

    fn follow(&mut self, batch: &DerivedBatch, parent: &Header) -> Result<BatchOutput, Error> {
        let shared = self.shared.clone();
        let DerivedBatch { header, data, origins, messages } = batch;
        let data = data.as_ref().map_err(|error| BatchError::Decode(*error))?;
        let input = BatchInput { header, data, origins, messages };
        let rules = shared.executor.rules();
        let mut executor = BatchExecutor::new(rules, parent, input)?;

        let view = shared.storage.view();
        let last = skip_known(&view, &mut executor, parent, &input).map_err(database)?;
        if executor.is_empty() {
            let state = view.state(last).map_err(|error| database(error.into()))?;
            match executor.execute(&state).map_err(storage)? {
                Step::End(output) => return Ok(output),
                Step::Block(_) => {}
            }
        }
        // What validators certified stays: a batch with the same last block and other contents is invalid, whoever brought it.
        if self.check_certified(last).is_err() {
            let own = view.block_hash(header.last_block).map_err(|error| database(error.into()))?;
            return Err(match own == Some(header.last_block_hash) {
                true => Error::Invalid(BatchError::Differs("what is in the blobs")),
                false => database(NodeError::Invalid("the batch is not of the chain that validators certified".into())),
            });
        }
        drop(view);
        self.unwind(last, self.withdrawn()).map_err(database)?;

        let signed: Vec<_> = executor.remaining().iter().flat_map(|block| &block.transactions).collect();
        let recovered: Vec<Option<Recovered>> = signed.into_par_iter().map(Recovered::new).collect();
        executor.set_recovered(&recovered);
        let mut group = Group { sealed: Vec::new(), begun: Instant::now() };
        let outcome = self.run_batch(&mut executor, &mut group);
        // The trie has them already, whatever came after.
        self.persist(group.sealed).map_err(database)?;
        outcome
    }

    fn run_batch(&mut self, executor: &mut BatchExecutor<'_>, group: &mut Group) -> Result<BatchOutput, Error> {
        loop {
            if self.shared.stopping.load(Ordering::Relaxed) {
                return Err(database(NodeError::Stopped));
            }
            let step = self.read_after(&group.sealed, |reader| Ok(executor.execute(&reader))).map_err(database)?;
            let DerivedBlock { header, transactions, output } = match step.map_err(storage)? {
                Step::Block(block) => *block,
                Step::End(output) => return Ok(output),
            };
            // What an account's wipe erases is looked up in the store.
            let wipes = output.changes.accounts.values().any(|change| change.wiped);
            let full = group.sealed.len() >= GROUP_BLOCKS || group.begun.elapsed() >= GROUP_TIME;
            if (wipes || full) && !group.sealed.is_empty() {
                self.persist(std::mem::take(&mut group.sealed)).map_err(database)?;
            }
            if group.sealed.is_empty() {
                group.begun = Instant::now();
            }
            let sealed = self.fold(header, transactions, output).map_err(database)?;
            executor.advance(&sealed.block.header);
            group.sealed.push(sealed);
        }
    }
}

/// Blocks that are executed and not written yet.
struct Group {
    sealed: Vec<Sealed>,
    /// When the first of them was.
    begun: Instant,
}

fn database(error: NodeError) -> Error {
    Error::Database(error)
}

fn storage(error: ExecuteBatchError<StorageError>) -> Error {
    match error {
        ExecuteBatchError::Invalid(error) => Error::Invalid(error),
        ExecuteBatchError::Incomplete(what) => Error::Incomplete(what),
        ExecuteBatchError::Database(error) => Error::Database(error.into()),
    }
}

/// Passes the blocks of the batch that the chain has already, and returns the last one's number, or the parent's. A stored block is the result of what it was
/// made from: where that is equal on the same parent, so are the blocks.
fn skip_known(
    view: &View,
    executor: &mut BatchExecutor<'_>,
    parent: &Header,
    input: &BatchInput<'_>,
) -> Result<u64, NodeError> {
    let mut number = parent.number;
    let state = view.state(number)?;
    let (mut origin, _) = L1Origin::numbers(state.slot(L1_BLOCK, L1_NUMBER_SLOT)?);
    let mut messages = input.messages;
    for data in &input.data.blocks {
        let Some(block) = view.block(number + 1)? else { break };
        if !is_made_from(&block, data, input.origins, &mut origin, &mut messages)? {
            break;
        }
        executor.advance(&block.header);
        number += 1;
    }
    Ok(number)
}

/// Whether a block was made from this data. `origin` is the number of the last L1 origin, `messages` are those not consumed yet.
fn is_made_from(
    block: &ExecutedBlock,
    data: &BlockData,
    origins: &[L1Origin],
    origin: &mut u64,
    messages: &mut &[TxDeposit],
) -> Result<bool, NodeError> {
    if time_ms(&block.header)? != data.time_ms {
        return Ok(false);
    }
    let mut transactions = &block.transactions[..];
    if data.origin_steps > 0 {
        *origin = origin.saturating_add(data.origin_steps.into());
        let attributes = origins
            .binary_search_by_key(origin, |one| one.number)
            .ok()
            .and_then(|index| origins.get(index))
            .map(|one| one.attributes(block.header.number));
        match (transactions.split_first(), attributes) {
            (Some((first, rest)), Some(attributes)) if first.inner().as_deposit() == Some(&attributes) => {
                transactions = rest;
            }
            _ => return Ok(false),
        }
    }
    let deposits = transactions.iter().map_while(|one| one.inner().as_deposit()).count();
    let (deposits, signed) = transactions.split_at(deposits);
    let Some((own, rest)) = messages.split_at_checked(deposits.len()) else { return Ok(false) };
    *messages = rest;
    Ok(deposits.iter().zip(own).all(|(one, message)| one.inner().as_deposit() == Some(message))
        && signed.iter().map(|one| one.tx_hash()).eq(data.transactions.iter().map(|one| one.tx_hash())))
}
