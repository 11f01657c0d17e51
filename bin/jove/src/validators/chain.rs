//! The node beside consensus: its blocks, and its own view of L1.

use crate::settle::Settle;
use alloy_consensus::{Header, Transaction as _};
use alloy_primitives::{Address, B256, Bytes};
use jove_avc::{Checkpoint, Content, L1Origin as Origin, MAX_BLOCKS, Tip, ValidatorSet};
use jove_consensus::{Chain, ChainError, Fraud, Reason, Verdict};
use jove_primitives::{
    ExecutedBlock,
    batch::{BLOB_CAPACITY, BLOCK_OVERHEAD, MAX_BLOBS, STREAM_OVERHEAD, size_bound},
    block::Block,
    header::Extra,
    l1::L1Origin,
    spec::Settlement,
    transaction::{Transaction, TxDeposit},
};
use jove_sequencer::{Fault, Imported, MAX_READS_PER_SECOND, Node};
use jove_settlement::{
    Blobs, L1,
    origins::{Depth, origin_at},
    validators::{set_at, slashed},
    watcher::{self, L1State},
};
use jove_storage::View;
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::watch};

/// A transaction that waits for longer in a pool is work for everyone: its leader may be asleep.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most that the blocks of a checkpoint take of a batch's stream, in bytes: two checkpoints have room in a batch. A block alone may take more, and has room too.
const BYTES: usize = MAX_BLOBS / 2 * BLOB_CAPACITY - STREAM_OVERHEAD;

/// What a node knows of L1 by itself.
pub(crate) struct OwnL1 {
    pub(crate) l1: L1,
    pub(crate) state: watch::Receiver<L1State>,
    pub(crate) settlement: Settlement,
    pub(crate) depth: Depth,
    pub(crate) blobs: Arc<Blobs>,
}

impl OwnL1 {
    /// What `settle` knows of the L1 that the node's chain settles on.
    pub(crate) fn new(node: &Node, l1: L1, settle: &Settle, depth: Depth) -> Option<Self> {
        let settlement = node.spec().settlement.clone()?;
        let (state, blobs) = (settle.handle.l1.clone(), settle.blobs.clone());
        Some(Self { l1, state, settlement, depth, blobs })
    }
}

/// The node's chain.
pub(crate) struct NodeChain {
    pub(crate) node: Arc<Node>,
    pub(crate) l1: Option<OwnL1>,
    pub(crate) runtime: Handle,
    /// Since when the pool has had something for the block after this one.
    pub(crate) waiting: Mutex<Option<(u64, Instant)>>,
}

fn error(error: impl std::fmt::Display) -> ChainError {
    ChainError(error.to_string())
}

impl NodeChain {
    fn view(&self) -> View {
        self.node.storage().view()
    }

    fn gas(&self) -> u64 {
        self.node.spec().gas.max_per_second()
    }

    /// Whether a batch may end after a block of the chain. On a chain that settles nowhere none does, and any might.
    fn place(&self, view: &View, number: u64) -> Result<Place, ChainError> {
        let (origin, queue) = origin_at(view, number).map_err(error)?;
        let known = self.l1.is_none() || origin.number > 0;
        Ok(if known && !queue.is_due() { Place::End } else { Place::Within })
    }

    /// Whether a block consumes what this node's L1 has. `consumed` is how many messages the chain had consumed before it, and becomes how many after.
    fn is_of_l1(&self, header: &Header, transactions: &[Transaction], consumed: &mut u64) -> Result<bool, ChainError> {
        let mut deposits: Vec<&TxDeposit> = transactions.iter().map_while(Transaction::as_deposit).collect();
        if deposits.is_empty() {
            return Ok(true);
        }
        let Some(own) = &self.l1 else { return Ok(false) };
        let state = own.state.borrow().clone();
        if let Some(claimed) = L1Origin::from_attributes(deposits[0], header.number) {
            deposits.remove(0);
            if claimed.number > own.depth.target(&state) {
                return Err(ChainError(format!("L1 block {} is not deep enough yet", claimed.number)));
            }
            let found = self.runtime.block_on(own.l1.header(claimed.number)).map_err(error)?;
            let found = found.ok_or_else(|| ChainError(format!("L1 does not have block {}", claimed.number)))?;
            let messages = state.messages_up_to(claimed.number).map_err(error)?;
            if watcher::origin(&own.settlement, &found, messages) != claimed {
                return Ok(false);
            }
        }
        let end = *consumed + deposits.len() as u64;
        let own = state.deposits(*consumed, end).map_err(error)?;
        // Which may be on L1 all the same: this node may be behind.
        if own.len() < deposits.len() {
            return Err(ChainError(format!("L1's messages before {end} are not known here yet")));
        }
        *consumed = end;
        Ok(own.len() == deposits.len() && own.iter().zip(deposits).all(|(own, one)| own == one))
    }
}

/// Whether a batch on L1 may end after a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It may.
    End,
    /// Messages are due, or the chain knows no L1 block yet.
    Within,
}

/// What blocks take of a checkpoint.
#[derive(Default)]
struct Weight {
    gas: u64,
    /// Of blocks of messages, which L1 bounds.
    message_gas: u64,
    /// Most that they take of a batch's stream.
    bytes: usize,
    /// What they read, as far as their leader built them.
    reads: usize,
}

impl Weight {
    /// Adds a block; whether it is one of messages from L1.
    fn add(&mut self, block: &ExecutedBlock) -> Result<bool, ChainError> {
        let messages = Extra::decode(&block.header.extra_data).map_err(error)?.messages;
        let gas = if messages { &mut self.message_gas } else { &mut self.gas };
        *gas = gas.saturating_add(block.header.gas_used);
        let signed = block.transactions.iter().filter_map(|transaction| transaction.inner().as_signed());
        self.bytes += BLOCK_OVERHEAD + signed.map(size_bound).sum::<usize>();
        Ok(messages)
    }

    /// Whether a leader ends a checkpoint before the last of them.
    fn is_enough(&self, gas: u64) -> bool {
        self.exceeds(gas, true) || self.reads > MAX_READS_PER_SECOND
    }

    /// Whether it is too much, blocks of messages included or not.
    fn exceeds(&self, gas: u64, messages: bool) -> bool {
        let message_gas = if messages { self.message_gas } else { 0 };
        self.gas.saturating_add(message_gas) > gas || self.bytes > BYTES
    }
}

impl Chain for NodeChain {
    fn head(&self) -> (u64, B256) {
        let head = self.node.head();
        (head.header.number, head.hash)
    }

    fn hash_at(&self, number: u64) -> Option<B256> {
        self.view().block_hash(number).ok().flatten()
    }

    fn block(&self, number: u64) -> Option<Block> {
        self.view().block(number).ok().flatten().map(|block| block.to_block())
    }

    fn sent_to(&self, number: u64, to: Address) -> Option<Vec<(Address, Bytes)>> {
        let block = self.view().block(number).ok().flatten()?;
        let sent = block.transactions.iter().filter(|transaction| transaction.to() == Some(to));
        Some(sent.map(|transaction| (transaction.signer(), transaction.input().clone())).collect())
    }

    fn result_at(&self, number: u64) -> Option<(B256, Origin)> {
        let view = self.view();
        let header = view.header(number).ok().flatten()?;
        let (origin, _) = origin_at(&view, number).ok()?;
        Some((header.state_root, Origin { number: origin.number, hash: origin.hash }))
    }

    fn execute(&self, blocks: Vec<Block>) -> Result<Verdict, ChainError> {
        let Some(first) = blocks.first() else { return Ok(Verdict::Valid) };
        let parent = first.header.number.saturating_sub(1);
        let mut consumed = origin_at(&self.view(), parent).map_err(error)?.1.consumed;
        let mut invalid = None;
        for (index, block) in blocks.iter().enumerate() {
            if !self.is_of_l1(&block.header, &block.body.transactions, &mut consumed)? {
                invalid = Some(index);
                break;
            }
        }
        // Those before it may be invalid too, and that is what shows first.
        let count = invalid.unwrap_or(blocks.len());
        let fraud = |reason, block: &Block, state| {
            Ok(Verdict::Invalid(Box::new(Fraud {
                reason,
                headers: vec![block.header.clone()],
                transactions: block.body.transactions.clone(),
                state,
            })))
        };
        match self.node.import(blocks[..count].to_vec()).map_err(error)? {
            Imported::Valid => {}
            Imported::Invalid(found) => {
                let reason = match found.fault {
                    Fault::Header => Reason::Header,
                    Fault::Transaction => Reason::Transaction,
                    Fault::Signature => Reason::Signature,
                    Fault::MessagesLeft => Reason::MessagesLeft,
                    Fault::StateRoot => Reason::StateRoot,
                };
                let block = blocks.iter().find(|block| block.header.number == found.number);
                return fraud(reason, block.unwrap_or(first), found.witness);
            }
        }
        match invalid {
            Some(index) => fraud(Reason::L1, &blocks[index], None),
            None => Ok(Verdict::Valid),
        }
    }

    fn lead(&self, on: bool) {
        if let Err(error) = self.node.lead(on) {
            tracing::debug!(%error, on, "cannot begin or end to lead");
        }
    }

    fn seal_empty(&self) {
        if let Err(error) = self.node.seal() {
            tracing::debug!(%error, "no empty block is sealed");
        }
    }

    fn has_work(&self, leading: bool) -> bool {
        let head = self.node.head().header.number;
        let fee = self.node.next_header().ok().and_then(|header| header.base_fee_per_gas).unwrap_or(0);
        let executable = self.node.pool().has_executable(fee);
        let mut waiting = self.waiting.lock();
        if !executable {
            *waiting = None;
        } else if waiting.is_none_or(|(number, _)| number != head) {
            *waiting = Some((head, Instant::now()));
        }
        let late = waiting.is_some_and(|(_, since)| since.elapsed() >= PATIENCE);
        drop(waiting);
        let due = || {
            let own = self.l1.as_ref()?;
            let state = own.state.borrow().clone();
            let target = own.depth.target(&state);
            let (origin, queue) = origin_at(&self.view(), head).ok()?;
            // Before its first origin the chain takes no transactions.
            let begins = origin.number == 0 && target > 0;
            let is_due = |message: watcher::Message| message.l1_block <= target;
            Some(state.latest.open && (begins || state.message(queue.consumed).ok().flatten().is_some_and(is_due)))
        };
        late || executable && leading || due().unwrap_or(false)
    }

    fn content(&self, parent: &Tip, ends_epoch: bool) -> Option<Content> {
        let view = self.view();
        if view.block_hash(parent.last_number).ok()? != Some(parent.last_hash) {
            return None;
        }
        let mut weight = Weight::default();
        let (mut last, mut whole) = (None, None);
        let mut place = self.place(&view, parent.last_number).ok()?;
        for number in parent.last_number + 1..=view.head_number().min(parent.last_number + MAX_BLOCKS) {
            let block = view.block(number).ok().flatten()?;
            let messages = weight.add(&block).ok()?;
            weight.reads = weight.reads.saturating_add(self.node.reads(number));
            // The messages of an L1 block have room where an epoch ends: a batch does not end before they do.
            if last.is_some() && weight.is_enough(self.gas()) && !(ends_epoch && whole.is_none()) {
                break;
            }
            if messages {
                place = self.place(&view, number).ok()?;
            }
            if place == Place::End {
                whole = Some(block.clone());
            }
            last = Some(block);
        }
        let last = if ends_epoch { whole? } else { whole.or(last)? };
        if ends_epoch && !self.fits(parent.last_number, last.header.number, true).ok()? {
            return None;
        }
        let (origin, _) = origin_at(&view, last.header.number).ok()?;
        Some(Content {
            last_number: last.header.number,
            last_hash: last.hash,
            state_root: last.header.state_root,
            origin: Origin { number: origin.number, hash: origin.hash },
            evidence_root: B256::ZERO,
            next: None,
        })
    }

    fn fits(&self, after: u64, last: u64, ends_epoch: bool) -> Result<bool, ChainError> {
        let view = self.view();
        let mut weight = Weight::default();
        for number in after + 1..=last {
            let block = view.block(number).map_err(error)?;
            weight.add(block.as_ref().ok_or_else(|| ChainError(format!("block {number} is not here")))?)?;
        }
        Ok((last == after + 1 || !weight.exceeds(self.gas(), false))
            && (!ends_epoch || self.place(&view, last)? == Place::End))
    }

    fn validators(&self, origin: &Origin, before: &Arc<ValidatorSet>) -> Result<Arc<ValidatorSet>, ChainError> {
        let Some(own) = &self.l1 else { return Ok(before.clone()) };
        // Before its first origin a chain knows no registry.
        if origin.number == 0 {
            return Ok(before.clone());
        }
        let found = self.runtime.block_on(set_at(&own.l1, own.settlement.authority, origin)).map_err(error)?;
        Ok(match found {
            Some(set) => Arc::new(set),
            None => {
                tracing::warn!(l1_block = origin.number, "nobody validates by L1's registry: the set stays");
                before.clone()
            }
        })
    }

    fn convicted(&self, after: &Origin, upto: &Origin) -> Result<Vec<B256>, ChainError> {
        let Some(own) = &self.l1 else { return Ok(Vec::new()) };
        let first = own.settlement.block.max(after.number + 1);
        self.runtime.block_on(slashed(&own.l1, own.settlement.authority, first, upto)).map_err(error)
    }

    fn shows(&self, checkpoint: &Checkpoint, fraud: &Fraud) -> bool {
        if fraud.reason != Reason::L1 {
            return fraud.shows(self.node.rules(), checkpoint);
        }
        let Some((header, transactions)) = fraud.block(checkpoint) else { return false };
        // Where its place in the queue is known here.
        let view = self.view();
        let parent = header.number.saturating_sub(1);
        if view.block_hash(parent).ok().flatten() != Some(header.parent_hash) {
            return false;
        }
        let Ok((_, queue)) = origin_at(&view, parent) else { return false };
        let mut consumed = queue.consumed;
        self.is_of_l1(header, transactions, &mut consumed).is_ok_and(|is_of_l1| !is_of_l1)
    }

    fn certified(&self, _digest: B256, checkpoint: &Checkpoint) {
        self.node.set_certified(checkpoint.last_number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jove_primitives::block::L1Prices;

    fn block(messages: bool, gas_used: u64) -> ExecutedBlock {
        let extra_data = Extra { millisecond: 0, excess_gas: 0, messages }.encode();
        ExecutedBlock {
            header: Header { gas_used, extra_data, ..Default::default() },
            hash: B256::ZERO,
            transactions: Vec::new(),
            receipts: Vec::new(),
            l1_fees: Vec::new(),
            l1_prices: L1Prices::default(),
        }
    }

    #[test]
    fn blocks_of_messages_are_bounded_by_l1() {
        let mut weight = Weight::default();
        assert!(!weight.add(&block(false, 60)).expect("a block"));
        assert!(weight.add(&block(true, 60)).expect("a block"));
        assert!(weight.exceeds(100, true) && !weight.exceeds(100, false));
        weight.add(&block(false, 60)).expect("a block");
        assert!(weight.exceeds(100, false), "120 of others'");
        let mut many = Weight { bytes: BYTES, ..Default::default() };
        assert!(!many.exceeds(100, true));
        many.add(&block(false, 0)).expect("a block");
        assert!(many.exceeds(100, false), "a batch has room for two checkpoints, as bytes go");
    }

    #[test]
    fn a_leader_ends_checkpoints_before_they_are_too_much_for_provers() {
        let many = Weight { reads: MAX_READS_PER_SECOND, ..Default::default() };
        assert!(!many.is_enough(100));
        let many = Weight { reads: MAX_READS_PER_SECOND + 1, ..Default::default() };
        assert!(many.is_enough(100) && !many.exceeds(100, true), "others take it all the same");
        assert!(Weight { message_gas: 101, ..Default::default() }.is_enough(100));
    }
}
