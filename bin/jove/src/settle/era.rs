//! Following L1 into a new era, on a node in the network of validators. Once the batch of messages alone that began it is final on L1, what validators certified above its parent
//! is void: consensus ends, the chain goes to that root, and all begins anew from there. Each step is done again after a crash, until the era is kept.

use super::{Held, Shared, derive};
use crate::validators::era::Era;
use jove_avc::L1Origin;
use jove_primitives::batch::hash::MESSAGES_ALONE;
use jove_settlement::{
    Error,
    status::Stage,
    validators::set_at,
    watcher::{Batch, L1State},
};
use tokio::{sync::watch, task::spawn_blocking};

/// Blocks that are withdrawn at a time.
const STEP: u64 = 1_000;

/// Waits for the next era, and goes there.
pub(super) async fn follow(shared: Shared, began: watch::Sender<bool>) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        let outcome = step(&shared).await;
        let is_there = matches!(outcome, Ok(true));
        shared.status(Stage::Derive, outcome.map(drop));
        if is_there {
            began.send_replace(true);
            return;
        }
        shared.wait(&mut l1).await;
    }
}

/// Whether the chain is at the root of a new era, and that is kept.
async fn step(shared: &Shared) -> Result<bool, Held> {
    let Some(consensus) = shared.beside.get() else { return Ok(false) };
    let state = shared.l1_state();
    let era = state.finalized.era;
    if !state.latest.open || state.latest.halted || era <= consensus.era() {
        return Ok(false);
    }
    let is_root = |batch: &Batch| {
        let is_final = batch.committed.block_number <= state.finalized.block.number;
        batch.header.era == era && batch.header.version == MESSAGES_ALONE && is_final
    };
    let first = first_of(&state, consensus.era() + 1)?;
    let root = first_of(&state, era)?.filter(is_root);
    let (Some(first), Some(root)) = (first, root) else {
        return Err(format!("the batch that began era {era} was dropped on L1: the chain waits for another").into());
    };
    let ending = consensus.clone();
    spawn_blocking(move || ending.stop()).await?;
    go_to(shared, first.header.first_block.saturating_sub(1), &root).await?;
    let origin = L1Origin { number: root.header.origin_number, hash: root.header.origin_hash };
    let set = set_at(&shared.l1, shared.settlement.authority, &origin).await?;
    let set = set.ok_or_else(|| format!("nobody validates, or leads, in era {era}: the chain waits for another"))?;
    let (block, validators) = (root.header.last_block, set.size());
    Era::of_batch(&root, set).keep(&shared.node)?;
    tracing::warn!(
        era,
        block,
        validators,
        "L1 has begun a new era from messages alone: what was certified above is void"
    );
    Ok(true)
}

/// The first batch of an era, or of a later one.
fn first_of(state: &L1State, era: u64) -> Result<Option<Batch>, Error> {
    let (mut low, mut high) = (0, state.latest.head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match state.batch(middle)? {
            Some(batch) if batch.header.era < era => low = middle + 1,
            _ => high = middle,
        }
    }
    state.batch(low)
}

/// Has the chain end with a root; it leaves what was certified after block `fork`.
async fn go_to(shared: &Shared, fork: u64, root: &Batch) -> Result<(), Held> {
    let (last, hash) = (root.header.last_block, root.header.last_block_hash);
    let node = &shared.node;
    node.void_certified(fork);
    // Days of blocks may have to go: in steps, each of which is held in memory.
    while node.storage().view().block_hash(last)? != Some(hash) && node.head().header.number > fork {
        let to = fork.max(node.head().header.number.saturating_sub(STEP));
        shared.node(move |node| node.unwind(to)).await?;
    }
    while node.storage().view().block_hash(last)? != Some(hash) {
        if !derive::next(shared).await? {
            let why = shared.invalid()?;
            return Err(why.unwrap_or_else(|| format!("no batches on L1 lead to block {last}")).into());
        }
    }
    // Where later batches are final already, the chain stays there.
    if node.head().header.number > last && node.tags().finalized <= last {
        shared.node(move |node| node.unwind(last)).await?;
    }
    Ok(())
}
