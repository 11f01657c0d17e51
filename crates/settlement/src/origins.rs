//! Which L1 origin the chain steps to next, and which messages it consumes.
//!
//! A sequencer steps to the deepest L1 block that its setting allows, with all messages up to it. Where L1 was reorganised below the origins that the
//! chain has named already, which takes a smaller depth than L1's finality, the chain goes back to before the first origin that L1 no longer has.

use crate::{
    Error, L1,
    watcher::{self, L1Block, L1State},
};
use alloy_primitives::B256;
use jove_primitives::{
    l1::{L1_HASH_SLOT, L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    spec::Settlement,
    transaction::TxDeposit,
};
use jove_storage::{Storage, View};

/// Messages that are consumed in one step, unless one L1 block has more.
const MESSAGES_AT_ONCE: u64 = 1_000;

/// L1 blocks that are looked at for one that is not in the future.
const EARLIER: usize = 64;

/// How deep in L1 an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// L1 has finalized it.
    Finalized,
    /// It is the last of so many L1 blocks at the head: 1 is the head. For development, since what L1 reorganises the chain must unwind.
    Blocks(u64),
}

impl Depth {
    /// The last L1 block that is deep enough.
    pub fn target(self, state: &L1State) -> u64 {
        match self {
            Self::Finalized => state.finalized.block.number,
            Self::Blocks(blocks) => state.latest.block.number.saturating_sub(blocks.saturating_sub(1)),
        }
    }
}

/// The last committed block, if the message after it can be consumed now, and is not consumed right after it. `Rollup` refuses a batch without an overdue message: a
/// sequencer that has more blocks before the message than a batch holds goes back there, and consumes it before anything else.
///
/// # Errors
/// If the store fails.
pub fn before_message(state: &L1State, view: &View, depth: Depth) -> Result<Option<u64>, Error> {
    let Some(head) = state.batch(state.latest.head)? else { return Ok(None) };
    let (number, end) = (head.header.last_block, head.header.end_message);
    let is_deep = state.message(end)?.is_some_and(|message| message.l1_block <= depth.target(state));
    if !is_deep || view.head_number() <= number || origin_at(view, number + 1)?.1.consumed > end {
        return Ok(None);
    }
    Ok(Some(number))
}

/// What the chain does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: there is no later origin.
    Wait,
    /// It steps to an origin, or has not consumed the messages of the last one yet.
    Consume {
        /// The origin.
        origin: Option<L1Origin>,
        /// The messages that are due then.
        messages: Vec<TxDeposit>,
    },
    /// It withdraws the blocks above this one: their L1 origins are not on L1 any more.
    Unwind(u64),
}

/// What a chain does next whose head is that of `storage`, or would be block `after` there, at this time in milliseconds since the Unix epoch.
///
/// # Errors
/// If L1 cannot be reached or does not have yet what the chain consumed; if the store fails.
pub async fn next_step(
    l1: &L1,
    settlement: &Settlement,
    state: &L1State,
    storage: &Storage,
    after: Option<u64>,
    depth: Depth,
    now_ms: u64,
) -> Result<Step, Error> {
    let view = storage.view();
    let head = after.unwrap_or(view.head_number());
    let (origin, queue) = origin_at(&view, head)?;
    if !is_canonical(l1, state, origin).await? {
        return Ok(Step::Unwind(last_canonical(l1, state, &view, head).await?));
    }
    if queue.is_due() {
        let messages = state.deposits(queue.consumed, queue.due)?;
        if messages.len() as u64 != queue.due - queue.consumed {
            return Err(Error::L1Behind { number: state.latest.block.number, finalized: origin.number });
        }
        return Ok(Step::Consume { origin: None, messages });
    }
    let target = depth.target(state);
    // Not all messages of years at once.
    let target = match state.message(queue.consumed + MESSAGES_AT_ONCE)? {
        Some(message) if message.l1_block < target => message.l1_block,
        _ => target,
    };
    if !state.latest.open {
        return Ok(Step::Wait);
    }
    // A block of this chain is not before its origin: where L1's clock is ahead, an earlier block will do.
    let mut header = None;
    for target in (origin.number + 1..=target).rev().take(EARLIER) {
        let found = l1.header(target).await?.ok_or(Error::UnknownL1Block(target))?;
        if target == state.latest.block.number && found.hash() != state.latest.block.hash {
            return Err(Error::L1Reorganised(target));
        }
        if found.timestamp.saturating_mul(1000) <= now_ms {
            header = Some(found);
            break;
        }
    }
    let Some(header) = header.filter(|header| header.timestamp >= origin.timestamp) else { return Ok(Step::Wait) };
    let end = state.messages_up_to(header.number)?;
    let messages = state.deposits(queue.consumed, end)?;
    Ok(Step::Consume { origin: Some(watcher::origin(settlement, &header, end)), messages })
}

/// The L1 origin after L2 block `number`, all zero before there is one, and how far the queue was consumed then.
///
/// # Errors
/// If the store fails, or the state is pruned.
pub fn origin_at(view: &View, number: u64) -> Result<(L1Block, Queue), Error> {
    let state = view.state(number)?;
    let slot = |slot| state.slot(L1_BLOCK, slot);
    let (number, timestamp) = L1Origin::numbers(slot(L1_NUMBER_SLOT)?);
    let hash: B256 = slot(L1_HASH_SLOT)?.into();
    Ok((L1Block { number, hash, timestamp }, Queue::from_slot(slot(L1_QUEUE_SLOT)?)))
}

async fn is_canonical(l1: &L1, state: &L1State, origin: L1Block) -> Result<bool, Error> {
    if origin.number == 0 || origin == state.latest.block {
        return Ok(true);
    }
    // A node that is behind says nothing.
    if origin.number > state.latest.block.number {
        let behind = Error::L1Behind { number: state.latest.block.number, finalized: origin.number };
        return match l1.header(origin.number).await? {
            Some(header) => Ok(header.hash() == origin.hash),
            None => Err(behind),
        };
    }
    let header = l1.header(origin.number).await?.ok_or(Error::UnknownL1Block(origin.number))?;
    Ok(header.hash() == origin.hash)
}

/// The last block whose origin L1 still has.
async fn last_canonical(l1: &L1, state: &L1State, view: &View, head: u64) -> Result<u64, Error> {
    let (mut low, mut high) = (0, head);
    // `low` is canonical, `high` is not.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_canonical(l1, state, origin_at(view, middle)?.0).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
