//! Blocks from L1: a full node's all, and a sequencer's where others committed in its place.

use super::{Held, Invalid, Shared, prove::Prover, rescue::Rescuer};
use alloy_primitives::{Bytes, U64};
use jove_primitives::{batch::decode, l1::L1Origin};
use jove_sequencer::{Derived, DerivedBatch, Effects};
use jove_settlement::{
    Error, L1,
    origins::origin_at,
    status::Stage,
    watcher::{self, Batch, L1State},
};
use jove_storage::View;
use std::{pin::pin, time::Duration};

/// Most bytes that a batch's blocks and effects may have: its data are at most six blobs.
const MAX_EFFECTS: usize = 256 << 20;
/// How often a long batch says how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// A full node's: follows L1, proves with `prover`, and steps in with `rescuer`.
pub(super) async fn follow(shared: Shared, mut prover: Option<Prover>, mut rescuer: Option<Rescuer>) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        let rescuing = rescuer.as_ref().is_some_and(Rescuer::is_rescuing);
        // Blocks that this node made itself wait to be found on L1.
        let outcome = if rescuing { Ok(false) } else { next(&shared).await };
        let again = matches!(outcome, Ok(true));
        let outcome = outcome.and_then(|_| shared.invalid()?.map_or(Ok(()), |reason| Err(reason.into())));
        shared.status(Stage::Derive, outcome);
        if again {
            continue;
        }
        if let Some(rescuer) = &mut rescuer {
            rescuer.step(&shared).await;
        }
        if let Some(prover) = &mut prover {
            prover.step(&shared).await;
        }
        shared.wait(&mut l1).await;
    }
}

/// The last committed batch whose last block this node has.
pub(super) fn derived(state: &L1State, view: &View) -> Result<Option<Batch>, Error> {
    let mut index = match state.batch_of_block(view.head_number())? {
        Some(batch) => batch.header.index,
        None => state.latest.head,
    };
    loop {
        let Some(batch) = state.batch(index)? else { return Ok(None) };
        if view.block_hash(batch.header.last_block)? == Some(batch.header.last_block_hash) {
            return Ok(Some(batch));
        }
        let Some(before) = index.checked_sub(1) else { return Ok(None) };
        index = before;
    }
}

/// Says how far the chain is.
fn report(shared: &Shared) {
    if let Some(progress) = shared.handle.progress(shared.node.head().header.number) {
        tracing::info!("rebuilding from L1: {progress}");
    }
}

/// Derives the next batch that this node does not have. Whether there was something to do: not beyond an invalid batch, which waits to be dropped.
pub(super) async fn next(shared: &Shared) -> Result<bool, Held> {
    let state = shared.l1_state();
    if !state.latest.open {
        return Err(Error::NotOpen.into());
    }
    let view = shared.node.storage().view();
    let parent = derived(&state, &view)?.ok_or(Error::WrongChain)?;
    let index = parent.header.index + 1;
    let Some(batch) = state.batch(index)? else {
        let last = parent.header.last_block;
        if view.head_number() > last && !shared.node.is_sequencing() {
            tracing::warn!(to = last, "batches were dropped on L1: their blocks are withdrawn");
            shared.node(move |node| node.unwind(last)).await?;
            return Ok(true);
        }
        shared.handle.rebuild.done();
        return Ok(false);
    };
    if shared.is_invalid(&batch) {
        shared.handle.rebuild.done();
        return Ok(false);
    }
    shared.handle.rebuild.batch(index, view.head_number());
    drop(view);
    derive(shared, &state, &batch, &parent).await?;
    Ok(true)
}

/// Takes over the blocks of a batch that is final, with what they did by another node's word. L1 has had it proven that they lead to the last one's hash, and nothing
/// else has that hash: nobody is believed.
///
/// # Errors
/// If the other node does not have them, or says something else than what they did; if the store fails.
async fn adopt(shared: &Shared, peer: &L1, batch: &Batch) -> Result<(), Held> {
    let (mut next, last) = (batch.header.first_block, batch.header.last_block);
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while next <= last {
        let left = last - next + 1;
        let told: Vec<Bytes> = peer.request("jove_getEffects", (U64::from(next), U64::from(left))).await?;
        bytes += told.iter().map(|one| one.len()).sum::<usize>();
        if told.is_empty() || told.len() as u64 > left || bytes > MAX_EFFECTS {
            return Err(format!("it tells of {} blocks from {next} on, in {bytes} bytes", told.len()).into());
        }
        next += told.len() as u64;
        for one in told {
            blocks.push(alloy_rlp::decode_exact::<Effects>(&one)?);
        }
    }
    let hash = batch.header.last_block_hash;
    shared.node(move |node| node.adopt(blocks, hash)).await
}

/// Derives a batch, and notes whether it is valid.
pub(super) async fn derive(shared: &Shared, state: &L1State, batch: &Batch, parent: &Batch) -> Result<(), Held> {
    let index = batch.header.index;
    if let Some(peer) = shared.effects.as_ref().filter(|_| index <= state.finalized.last_final) {
        match adopt(shared, peer, batch).await {
            Ok(()) => {
                metrics::counter!("jove_adopted_batches_total").increment(1);
                report(shared);
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(batch = index, from = peer.host(), %error, "a final batch is executed after all: what it did was not told")
            }
        }
    }
    let (derived, _) = gather(shared, state, batch, parent).await?;
    let origins = derived.origins.clone();
    let mut work = pin!(shared.node(move |node| node.derive(derived)));
    let outcome = loop {
        match tokio::time::timeout(REPORT, &mut work).await {
            Ok(outcome) => break outcome?,
            Err(_) => report(shared),
        }
    };
    match outcome {
        Derived::Valid(_) => {
            report(shared);
            let mut derived = shared.derived.lock();
            // Those that are final are not asked for any more.
            *derived = derived.split_off(&state.latest.last_final);
            derived.insert(index, batch.hash);
        }
        Derived::Invalid(error) => {
            // Not for what L1 answered in the middle of a reorganisation, or wrongly.
            check_l1(shared, state, batch, &origins).await?;
            tracing::warn!(batch = index, %error, "a batch on L1 is invalid: it waits to be dropped");
            *shared.invalid.lock() = Some(Invalid { index, hash: batch.hash, reason: error.to_string() });
        }
    }
    Ok(())
}

/// What a batch is derived from, and the contents of its blobs. A batch that names origins beyond its own gets none of them.
pub(super) async fn gather(
    shared: &Shared,
    state: &L1State,
    batch: &Batch,
    parent: &Batch,
) -> Result<(DerivedBatch, Vec<Bytes>), Held> {
    let header = batch.header;
    let contents = shared.contents(batch).await?;
    let data = decode(&contents, header.chain_id);
    let mut origins: Vec<L1Origin> = Vec::new();
    let mut number = origin_at(&shared.node.storage().view(), parent.header.last_block)?.0.number;
    for steps in data.iter().flat_map(|data| &data.blocks).map(|block| block.origin_steps).filter(|steps| *steps > 0) {
        number = number.saturating_add(steps.into());
        if number > header.origin_number {
            break;
        }
        let header = shared.l1.header(number).await?.ok_or(Error::UnknownL1Block(number))?;
        origins.push(watcher::origin(&shared.settlement, &header, state.messages_up_to(number)?));
    }
    let messages = state.deposits(header.first_message, header.end_message)?;
    Ok((DerivedBatch { header, data, origins, messages }, contents))
}

/// Checks that the messages and L1 blocks which a batch was derived from are those that it names: the queue's rolling hash, and a chain of headers down from
/// its origin.
///
/// # Errors
/// [`Error::L1Reorganised`] if they are not; if L1 cannot be reached.
async fn check_l1(shared: &Shared, state: &L1State, batch: &Batch, origins: &[L1Origin]) -> Result<(), Error> {
    let header = &batch.header;
    for (index, hash) in
        [(header.first_message, header.queue_hash_before), (header.end_message, header.queue_hash_after)]
    {
        if state.queue_hash(index)? != Some(hash) {
            return Err(Error::L1Reorganised(header.origin_number));
        }
    }
    let (mut number, mut hash) = (header.origin_number, header.origin_hash);
    for origin in origins.iter().rev() {
        while number > origin.number {
            let above = shared.l1.header(hash).await?.ok_or(Error::L1Reorganised(number))?;
            (number, hash) = (number - 1, above.parent_hash);
        }
        if hash != origin.hash {
            return Err(Error::L1Reorganised(origin.number));
        }
    }
    Ok(())
}
