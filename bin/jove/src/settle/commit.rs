//! Committing batches.

use super::{
    Attempt, Held, Shared,
    certificates::{Certificates, check_era, publish},
    next_attempt, unstuck, weigh,
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, Bytes};
use jove_settlement::{
    Error,
    committer::{Anywhere, Commit, Committer, Ends},
    policy::{Inputs, Policy, Prices},
    relayer::{Mined, Relayer, Request, State, sidecar},
    status::Stage,
    watcher::L1State,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// L1 blocks whose fees a commit is weighed against: most that a node gives at once.
const FEE_HISTORY: u64 = 1024;
/// Most blobs of a batch.
const BLOBS: usize = 6;

/// How far commits have come.
#[derive(Default)]
struct Progress {
    /// Key and index of the one under way.
    sent: Option<(String, u64)>,
    /// L1's head at the last decision.
    decided: B256,
    /// The validators whose keys L1 is known to have.
    published: Option<B256>,
}

/// Commits batches, one after the other.
pub(super) async fn commit_batches(
    shared: Shared,
    mut relayer: Relayer,
    policy: Policy,
    eager: bool,
    instructions: u64,
) {
    let mut l1 = shared.handle.l1.clone();
    let ends: Box<dyn Ends> = match shared.node.is_elected() {
        true => Box::new(Certificates(shared.beside.clone())),
        false => Box::new(Anywhere),
    };
    let committer = Committer::new(shared.node.storage().clone(), ends, shared.node.spec().chain_id, BLOBS);
    let mut committer = committer.bounded(instructions);
    let mut progress = Progress::default();
    loop {
        let stepped = relayer.step().await;
        let outcome = match stepped {
            Ok(()) => commit_next(&shared, &mut relayer, &mut committer, &policy, eager, &mut progress).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Commit, outcome);
        shared.wait(&mut l1).await;
    }
}

async fn commit_next(
    shared: &Shared,
    relayer: &mut Relayer,
    committer: &mut Committer,
    policy: &Policy,
    eager: bool,
    progress: &mut Progress,
) -> Result<(), Held> {
    if let Some(reason) = shared.node.detached() {
        return Err(reason.into());
    }
    let state = shared.l1_state();
    if !state.latest.open {
        return Err(Error::NotOpen.into());
    }
    if state.latest.halted {
        return Err("the escape has begun: no batch is taken any more".into());
    }
    if shared.node.is_elected() {
        check_era(shared, &state)?;
    }
    // What may be withdrawn yet is not committed.
    let upto = if shared.node.is_elected() { shared.node.certified() } else { u64::MAX };
    let backlog = tokio::task::block_in_place(|| committer.collect(&state, upto))?;
    let Some(backlog) = backlog else { return Ok(()) };
    *shared.handle.backlog.lock() = Some(backlog);
    if let Some((key, index)) = progress.sent.clone() {
        match relayer.state(&key) {
            // The watcher has not come that far yet.
            Some(State::Mined(mined) | State::Final(mined))
                if mined.success && state.latest.head < index && !is_seen(&state, &mined) =>
            {
                return Ok(());
            }
            Some(State::Queued | State::Pending { .. }) => {}
            // It failed: the next attempt is made below, once L1 has another head.
            _ => progress.sent = None,
        }
    }
    // One at a time: also one from before a restart.
    if relayer.stuck().is_some() {
        return unstuck(relayer, shared.poll);
    }
    // Nothing that the decision depends on changes before L1's head does.
    if backlog.blocks == 0 || progress.decided == state.latest.block.hash {
        return Ok(());
    }
    let now = shared.node.now_ms();
    let history = shared.l1.fee_history(FEE_HISTORY, BlockNumberOrTag::Latest, &[]).await?;
    let fees = history.base_fee_per_gas.iter().zip(&history.base_fee_per_blob_gas);
    let mut recent: Vec<Prices> =
        fees.map(|(base_fee, blob_base_fee)| Prices { base_fee: *base_fee, blob_base_fee: *blob_base_fee }).collect();
    let decision = policy.decide(&Inputs {
        now: recent.pop().unwrap_or_default(),
        recent: &recent,
        waiting: backlog.bytes as u64,
        age: Duration::from_millis(backlog.since_ms.map_or(0, |since| now.saturating_sub(since))),
        due_in: None,
    });
    progress.decided = state.latest.block.hash;
    tracing::debug!(%decision, blocks = backlog.blocks, bytes = backlog.bytes, "commit policy");
    if !(decision.commits() || eager && backlog.busy) {
        return Ok(());
    }
    let commit = weigh::next_commit(shared, committer, &state, upto).await?;
    let Some(commit) = commit else { return Ok(()) };
    let call = commit.call();
    let Commit { key, index, first_block, last_block, blobs, .. } = commit;
    if shared.node.is_elected() && !publish(shared, relayer, &state, last_block, &mut progress.published).await? {
        return Ok(());
    }
    let Some(Attempt { key, failed }) = next_attempt(relayer, &key, |mined| is_seen(&state, mined)) else {
        return Ok(());
    };
    if failed.is_some() {
        progress.published = None;
    }
    let is_overdue = failed.as_ref().is_some_and(|failed| failed.contains("OverdueMessage"));
    shared.overdue.store(is_overdue, Ordering::Relaxed);
    let count = blobs.len();
    let sidecar = spawn_blocking(move || sidecar(blobs)).await??;
    let kept = sidecar.versioned_hashes().zip(&sidecar.blobs);
    shared.blobs.keep(kept.map(|(hash, blob)| (hash, Bytes::copy_from_slice(blob.as_slice()))).collect()).await;
    let (to, sidecar) = (shared.settlement.rollup, Some(Arc::new(sidecar)));
    let request = Request { key: key.clone(), to, value: Default::default(), data: call, gas_limit: None, sidecar };
    relayer.submit(request)?;
    tracing::info!(batch = index, first_block, last_block, blobs = count, why = %decision, "committing");
    progress.sent = Some((key, index));
    relayer.step().await?;
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}

/// Whether the watcher has seen more than the block that a transaction is in. A batch that is to be committed is not on L1: what was seen of it before was dropped.
pub(super) fn is_seen(state: &L1State, mined: &Mined) -> bool {
    state.latest.block.number > mined.block_number
}
