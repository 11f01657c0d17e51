//! Proving batches, making final what can be, and stepping in where the operators leave a message waiting.
//!
//! The proofs are those of test verifiers: a chain whose verifiers want real ones has provers of its own.

use super::{Held, Shared};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use jove_sequencer::Node;
use jove_settlement::{
    BlobOpening, Error,
    blobs::opening,
    committer::roots,
    contracts::{ProofSystem, Proofs, Rollup, ask},
    origins::{self, Depth, Step},
    relayer::{Relayer, Request, State},
    rescue::{rescue, waiting},
    status::Stage,
    test_proofs::{Judged, Roots, prove},
    watcher::{Batch, L1State},
};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Sends proofs, from one account.
pub(super) struct Prover {
    relayer: Relayer,
    /// How deep in L1 a message is that is stepped in for; none: this node does not step in.
    depth: Option<Depth>,
    made: Option<Made>,
    /// L1's head at the last look for something to make final.
    looked: B256,
    /// L1's head at the last look for a message that waits.
    considered: B256,
}

/// Blocks of messages that this node made, to be committed.
struct Made {
    /// The batch that they follow.
    parent: Batch,
    /// The last of them.
    last: (u64, B256),
    /// Its time, in seconds.
    timestamp: u64,
    /// The request that commits them, once it is sent.
    key: Option<String>,
}

impl Prover {
    pub(super) fn new(relayer: Relayer, depth: Option<Depth>) -> Self {
        Self { relayer, depth, made: None, looked: B256::ZERO, considered: B256::ZERO }
    }

    /// Whether blocks of this node's own making wait for L1.
    pub(super) fn is_rescuing(&self) -> bool {
        self.made.is_some()
    }

    /// Looks at L1 and does what is to be done next.
    pub(super) async fn step(&mut self, shared: &Shared) {
        let stepped = self.relayer.step().await;
        if let Some(depth) = self.depth {
            let outcome = self.rescue(shared, depth).await;
            shared.status(Stage::Rescue, outcome);
        }
        let outcome = match stepped {
            Ok(()) => self.prove(shared).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Prove, outcome);
    }

    /// Proves the first batch that is not final, by both systems.
    async fn prove(&mut self, shared: &Shared) -> Result<(), Held> {
        let state = shared.l1_state();
        if state.latest.halted {
            return Ok(());
        }
        let index = state.latest.last_final + 1;
        let (Some(parent), Some(batch)) = (state.batch(index - 1)?, state.batch(index)?) else { return Ok(()) };
        let start = parent.settled.ok_or(Error::NotFinal)?.output;
        let view = shared.node.storage().view();
        let ours = view.block_hash(batch.header.last_block)? == Some(batch.header.last_block_hash);
        let roots = match shared.is_invalid(&batch) {
            true => None,
            false if ours => Some(roots(&view, batch.header.last_block)?),
            false if !shared.node.is_sequencing() => return Ok(()), // not derived yet
            false => return Err(Error::Diverged { index, block: batch.header.last_block }.into()),
        };
        drop(view);
        let mut opened: Option<Vec<BlobOpening>> = None;
        for (system, done) in [(ProofSystem::Tee, batch.attested), (ProofSystem::Zk, batch.proven)] {
            let key = format!("prove/{index}/{system:?}/{:x}", keccak256([batch.hash, start].concat()));
            match self.relayer.state(&key) {
                _ if done.is_some() => continue,
                Some(State::Refused(revert)) => return Err(format!("the proof would revert: {revert}").into()),
                Some(_) => continue,
                None => {}
            }
            let openings = match &mut opened {
                Some(openings) => openings,
                none => none.insert(openings(shared, &batch).await?),
            };
            let judged = Judged { header: &batch.header, blobs: &batch.blobs, openings, roots };
            let proof = prove(system, start, judged, self.relayer.signer().address());
            self.submit(shared, key, Rollup::proveCall { proof }.abi_encode())?;
        }
        if self.looked != state.latest.block.hash && batch.attested.or(batch.proven).is_some() {
            self.looked = state.latest.block.hash;
            self.finalize(shared, &batch, start, roots).await?;
        }
        Ok(self.relayer.step().await?)
    }

    /// Makes a batch final that can be: where one proof stood unopposed for long enough, or the proofs came during a pause. Of an invalid one, drops it.
    async fn finalize(
        &mut self,
        shared: &Shared,
        batch: &Batch,
        start: B256,
        roots: Option<Roots>,
    ) -> Result<(), Held> {
        let judged = Judged { header: &batch.header, blobs: &batch.blobs, openings: &[], roots };
        let call = Proofs::isSettledCall { batchHash: batch.hash, previous: start, output: judged.output(start) };
        if !ask(&shared.l1, shared.settlement.proofs, &call).await? {
            return Ok(());
        }
        let rollup = shared.settlement.rollup;
        let given = Rollup::Roots {
            invalid: roots.is_none(),
            stateRoot: roots.map_or(B256::ZERO, |roots| roots.state),
            outboxRoot: roots.map_or(B256::ZERO, |roots| roots.outbox),
        };
        let call = Rollup::finalizeCall { roots: vec![given] };
        if ask(&shared.l1, rollup, &call).await.is_err() {
            return Ok(()); // paused, or done meanwhile
        }
        let committed = batch.committed.transaction_hash;
        self.submit(shared, format!("finalize/{}/{committed:x}", batch.header.index), call.abi_encode())
    }

    /// Sees to it that messages from L1 are consumed which the operators leave waiting.
    async fn rescue(&mut self, shared: &Shared, depth: Depth) -> Result<(), Held> {
        let state = shared.l1_state();
        if !state.latest.open || state.latest.halted {
            return Ok(());
        }
        if let Some(made) = &self.made
            && !stands(made, &state, &shared.node, &self.relayer)?
        {
            self.made = None;
        }
        match &self.made {
            Some(Made { key: Some(_), .. }) => Ok(()),
            // `Rollup` takes no block of L1's future.
            Some(made) if made.timestamp > state.latest.block.timestamp => Ok(()),
            Some(_) => self.commit(shared, state).await,
            None => self.make(shared, state, depth).await,
        }
    }

    /// Makes the blocks, if a message has waited for too long.
    async fn make(&mut self, shared: &Shared, state: L1State, depth: Depth) -> Result<(), Held> {
        if self.considered == state.latest.block.hash {
            return Ok(());
        }
        self.considered = state.latest.block.hash;
        self.drop_batches(shared, &state).await?;
        let Some(waiting) = waiting(&shared.l1, &shared.settlement, &state).await? else { return Ok(()) };
        if state.latest.block.timestamp < waiting.overdue_at || self.relayer.stuck().is_some() {
            return Ok(());
        }
        let Some(parent) = state.batch(waiting.proven)? else { return Ok(()) };
        let view = shared.node.storage().view();
        // A batch after it that is valid is proven first, and may have the message.
        let next = state.batch(waiting.proven + 1)?;
        if view.block_hash(parent.header.last_block)? != Some(parent.header.last_block_hash)
            || next.is_some_and(|next| !shared.is_invalid(&next))
        {
            return Ok(());
        }
        let last = parent.header.last_block;
        if view.head_number() > last {
            shared.node(move |node| node.unwind(last)).await?;
        }
        let (node, settlement) = (&shared.node, &shared.settlement);
        let step = origins::next_step(&shared.l1, settlement, &state, node.storage(), depth, node.now_ms()).await?;
        let Step::Consume { origin, messages } = step else { return Ok(()) };
        if messages.is_empty() {
            return Ok(());
        }
        tracing::warn!(messages = messages.len(), after = last, "messages have waited for too long: stepping in");
        shared.node(move |node| node.consume(origin, messages)).await?;
        let head = shared.node.head();
        let (last, timestamp) = ((head.header.number, head.hash), head.header.timestamp);
        self.made = Some(Made { parent, last, timestamp, key: None });
        Ok(())
    }

    /// Has batches dropped that nobody can prove, once the rules allow it.
    async fn drop_batches(&mut self, shared: &Shared, state: &L1State) -> Result<(), Held> {
        let Some(head) = state.batch(state.latest.head)? else { return Ok(()) };
        let view = shared.node.storage().view();
        let ours = view.block_hash(head.header.last_block)? == Some(head.header.last_block_hash);
        let (rollup, call) = (shared.settlement.rollup, Rollup::dropCall {});
        if ours || ask(&shared.l1, rollup, &call).await.is_err() {
            return Ok(());
        }
        let committed = head.committed.transaction_hash;
        self.submit(shared, format!("drop/{}/{committed:x}", head.header.index), call.abi_encode())
    }

    /// Commits the blocks that were made.
    async fn commit(&mut self, shared: &Shared, state: L1State) -> Result<(), Held> {
        let Some(made) = &mut self.made else { return Ok(()) };
        let (node, parent, payout) = (shared.node.clone(), made.parent.clone(), self.relayer.signer().address());
        let work = move || rescue(&node.storage().view(), node.spec(), &state, &parent, payout);
        let batch = spawn_blocking(work).await??;
        let index = batch.header.index;
        let key = format!("rescue/{index}/{:x}", keccak256(&batch.call));
        tracing::info!(batch = index, end = batch.header.end_message, "committing queued messages alone");
        made.key = Some(key.clone());
        let (to, sidecar) = (shared.settlement.rollup, Some(Arc::new(batch.sidecar)));
        let request = Request { key, to, value: Default::default(), data: batch.call, gas_limit: None, sidecar };
        self.relayer.submit(request)?;
        Ok(self.relayer.step().await?)
    }

    fn submit(&mut self, shared: &Shared, key: String, data: Vec<u8>) -> Result<(), Held> {
        let (to, data) = (shared.settlement.rollup, Bytes::from(data));
        let request = Request { key, to, value: Default::default(), data, gas_limit: None, sidecar: None };
        Ok(self.relayer.submit(request)?)
    }
}

/// Whether the blocks can still become the next batch. Once they have, they came from L1 like others.
fn stands(made: &Made, state: &L1State, node: &Node, relayer: &Relayer) -> Result<bool, Held> {
    let index = made.parent.header.index;
    let parent = state.batch(index)?.map(|batch| batch.hash);
    let next = state.batch(index + 1)?;
    if parent != Some(made.parent.hash) || next.is_some_and(|next| next.header.last_block_hash == made.last.1) {
        return Ok(false);
    }
    if node.storage().view().block_hash(made.last.0)? != Some(made.last.1) {
        return Ok(false);
    }
    let Some(key) = &made.key else { return Ok(true) };
    Ok(match relayer.state(key) {
        Some(State::Refused(revert)) => {
            tracing::warn!(%revert, "the batch of messages would revert");
            false
        }
        Some(State::Mined(mined) | State::Final(mined)) => mined.success,
        Some(State::Displaced { .. } | State::Fenced { .. }) | None => false,
        Some(State::Queued | State::Pending { .. }) => true,
    })
}

/// Of a sequencer that proves: beside its other tasks.
pub(super) async fn prove_batches(shared: Shared, mut prover: Prover) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        prover.step(&shared).await;
        shared.wait(&mut l1).await;
    }
}

async fn openings(shared: &Shared, batch: &Batch) -> Result<Vec<BlobOpening>, Held> {
    let contents = shared.blobs.get(batch.committed.block(), &batch.blobs).await?;
    let work = move || contents.iter().map(|contents| opening(contents)).collect::<Result<Vec<_>, _>>();
    Ok(spawn_blocking(work).await??)
}
