//! Proving batches, and making final what can be.
//!
//! Proofs by enclaves come from the workers of a controller ([`jove_prover`]); those of test verifiers are made here.

use super::{
    Attempt, Held, Shared,
    derive::derive,
    enclaves::{Enclaves, register_call},
    next_attempt, unstuck,
};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use jove_prover::{Controller, Job};
use jove_settlement::{
    BlobOpening, Error,
    blobs::opening,
    committer::roots,
    contracts::{ProofSystem, Proofs, Rollup, ask},
    relayer::{Relayer, Request},
    status::Stage,
    test_proofs::{Judged, Roots, prove, with_proof},
    watcher::{Batch, L1State},
};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Batches that are looked at in one step.
const BATCHES: usize = 64;

/// Sends proofs, from one account.
pub(super) struct Prover {
    relayer: Relayer,
    /// Whether it has batches dropped that nobody can prove.
    drops: bool,
    /// L1's head at the last step: what failed is tried again at another.
    looked: B256,
    /// Whose workers prove by enclaves. Without one, TEE proofs are a test verifier's.
    controller: Option<Arc<Controller<Enclaves>>>,
}

impl Prover {
    pub(super) fn new(relayer: Relayer, drops: bool, controller: Option<Arc<Controller<Enclaves>>>) -> Self {
        Self { relayer, drops, looked: B256::ZERO, controller }
    }

    /// Looks at L1 and does what is to be done next.
    pub(super) async fn step(&mut self, shared: &Shared) {
        let outcome = match self.relayer.step().await {
            Ok(()) => self.prove(shared).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Prove, outcome.and_then(|()| unstuck(&self.relayer, shared.poll)));
    }

    /// Proves the batches that are not final, by both systems: each once its predecessor has a proof, final or not.
    async fn prove(&mut self, shared: &Shared) -> Result<(), Held> {
        let state = shared.l1_state();
        if !state.latest.open || state.latest.halted {
            return Ok(());
        }
        let news = self.looked != state.latest.block.hash;
        self.looked = state.latest.block.hash;
        if news && self.drops {
            self.drop_batches(shared, &state).await?;
        }
        if let Some(controller) = self.controller.clone() {
            controller.want(&wanted(shared, &state).await?)?;
            self.register(&controller).await?;
        }
        let last = state.latest.last_final;
        let Some(parent) = state.batch(last)? else { return Ok(()) };
        let mut start = parent.settled.ok_or(Error::NotFinal)?.output;
        let mut failed = None;
        for index in (last + 1..=state.latest.head).take(BATCHES) {
            let Some(batch) = state.batch(index)? else { break };
            let Some(roots) = judge(shared, &batch).await? else { break };
            let proven = batch.attested.or(batch.proven).is_some();
            if proven && news && index == last + 1 {
                self.finalize(shared, &batch, start, roots).await?;
            }
            if let Some(failure) = self.prove_batch(shared, &batch, start, roots, news).await? {
                failed.get_or_insert(failure);
            }
            if !proven || roots.is_none() {
                break;
            }
            start = Judged { header: &batch.header, blobs: &batch.blobs, openings: &[], roots }.output(start);
        }
        self.relayer.step().await?;
        failed.map_or(Ok(()), |failed| Err(failed.into()))
    }

    /// Sends a batch's proofs that L1 lacks. How one failed before, if one did.
    async fn prove_batch(
        &mut self,
        shared: &Shared,
        batch: &Batch,
        start: B256,
        roots: Option<Roots>,
        news: bool,
    ) -> Result<Option<String>, Held> {
        let (mut failed, mut opened) = (None, None);
        for (system, done) in [(ProofSystem::Tee, batch.attested), (ProofSystem::Zk, batch.proven)] {
            let index = batch.header.index;
            if done.is_some() {
                continue;
            }
            let enclaves = self.controller.clone().filter(|_| system == ProofSystem::Tee);
            let job = Job { index, batch: batch.hash, start };
            let signature = match &enclaves {
                None => None,
                Some(controller) => match controller.proofs().into_iter().find(|(proven, _)| *proven == job) {
                    Some((_, signature)) => Some(signature),
                    None => continue,
                },
            };
            let parts =
                [&batch.hash[..], &start[..], signature.as_ref().map_or(&[][..], |signature| &signature[..])].concat();
            let key = format!("prove/{index}/{system:?}/{:x}", keccak256(parts));
            let Some(Attempt { key, failed: before }) = next_attempt(&self.relayer, &key, |_| false) else { continue };
            if let (Some(controller), Some(reason)) = (&enclaves, &before) {
                // Another is made: this one's key may have ended.
                controller.reject(&job, reason)?;
                failed = failed.or(before);
                continue;
            }
            let again = before.is_some();
            failed = failed.or(before);
            if again && !news {
                continue;
            }
            let openings = match &mut opened {
                Some(openings) => openings,
                none => none.insert(openings(shared, batch).await?),
            };
            let judged = Judged { header: &batch.header, blobs: &batch.blobs, openings, roots };
            let payout = self.relayer.signer().address();
            let proof = match signature {
                Some(signature) => with_proof(system, start, judged, payout, signature),
                None => prove(system, start, judged, payout),
            };
            self.submit(shared, key, Rollup::proveCall { proof }.abi_encode())?;
        }
        Ok(failed)
    }

    /// Sends the registrations of enclaves that wait for it.
    async fn register(&mut self, controller: &Controller<Enclaves>) -> Result<(), Held> {
        let (to, registrations) = match controller.chain().registrations().await {
            Ok(waiting) => waiting,
            Err(error) => return Err(error.into()),
        };
        for registration in registrations {
            let data = register_call(&registration);
            let key = format!("register/{}/{:x}", registration.key, keccak256(&data));
            let Some(Attempt { key, .. }) = next_attempt(&self.relayer, &key, |_| false) else { continue };
            self.relayer.submit(Request {
                key,
                to,
                value: Default::default(),
                data,
                gas_limit: None,
                sidecar: None,
            })?;
        }
        Ok(())
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
        let given = Rollup::Roots {
            invalid: roots.is_none(),
            stateRoot: roots.map_or(B256::ZERO, |roots| roots.state),
            outboxRoot: roots.map_or(B256::ZERO, |roots| roots.outbox),
        };
        let call = Rollup::finalizeCall { roots: vec![given] }.abi_encode();
        self.submit_if_possible(shared, format!("finalize/{}", batch.header.index), batch, call).await
    }

    /// Has batches dropped that nobody can prove, once the rules allow it.
    async fn drop_batches(&mut self, shared: &Shared, state: &L1State) -> Result<(), Held> {
        let Some(head) = state.batch(state.latest.head)? else { return Ok(()) };
        let ours = shared.node.storage().view().block_hash(head.header.last_block)?;
        if ours == Some(head.header.last_block_hash) {
            return Ok(());
        }
        let call = Rollup::dropCall {}.abi_encode();
        self.submit_if_possible(shared, format!("drop/{}", head.header.index), &head, call).await
    }

    /// Sends a call about a batch that the rules may not allow yet, if they do: not during a pause, not too early, not again.
    async fn submit_if_possible(
        &mut self,
        shared: &Shared,
        key: String,
        batch: &Batch,
        call: Vec<u8>,
    ) -> Result<(), Held> {
        let rollup = shared.settlement.rollup;
        let key = format!("{key}/{:x}", batch.committed.transaction_hash);
        let Some(Attempt { key, .. }) = next_attempt(&self.relayer, &key, |_| false) else { return Ok(()) };
        match shared.l1.call(rollup, call.clone().into(), alloy_eips::BlockNumberOrTag::Latest).await {
            Ok(_) => self.submit(shared, key, call),
            Err(Error::Rpc { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn submit(&mut self, shared: &Shared, key: String, data: Vec<u8>) -> Result<(), Held> {
        let (to, data) = (shared.settlement.rollup, Bytes::from(data));
        let request = Request { key, to, value: Default::default(), data, gas_limit: None, sidecar: None };
        Ok(self.relayer.submit(request)?)
    }
}

/// The batches that lack an enclave's proof, in order, as far as this node knows what they start from.
async fn wanted(shared: &Shared, state: &L1State) -> Result<Vec<Job>, Held> {
    let last = state.latest.last_final;
    let Some(parent) = state.batch(last)? else { return Ok(Vec::new()) };
    let mut start = parent.settled.ok_or(Error::NotFinal)?.output;
    let mut jobs = Vec::new();
    for index in (last + 1..=state.latest.head).take(BATCHES) {
        let Some(batch) = state.batch(index)? else { break };
        let Some(roots) = judge(shared, &batch).await? else { break };
        if batch.attested.is_none() {
            jobs.push(Job { index, batch: batch.hash, start });
        }
        if roots.is_none() {
            break;
        }
        start = Judged { header: &batch.header, blobs: &batch.blobs, openings: &[], roots }.output(start);
    }
    Ok(jobs)
}

/// The roots after a batch, none if it is invalid; nothing if this node does not know yet. That its blobs hold this node's blocks is not believed for their
/// hash: they are read.
///
/// # Errors
/// [`Error::Diverged`] on a sequencer whose chain is another; if L1, the blobs' source or the store fail.
pub(super) async fn judge(shared: &Shared, batch: &Batch) -> Result<Option<Option<Roots>>, Held> {
    let (index, last) = (batch.header.index, batch.header.last_block);
    let is_ours =
        || Ok::<_, Error>(shared.node.storage().view().block_hash(last)? == Some(batch.header.last_block_hash));
    if !shared.is_invalid(batch) && is_ours()? && !shared.is_derived(batch) {
        let state = shared.l1_state();
        let parent = index.checked_sub(1).map_or(Ok(None), |parent| state.batch(parent))?;
        let parent = parent.ok_or(Error::WrongChain)?;
        derive(shared, &state, batch, &parent).await?;
    }
    if shared.is_invalid(batch) {
        return Ok(Some(None));
    }
    if is_ours()? {
        return Ok(Some(Some(roots(&shared.node.storage().view(), last)?)));
    }
    match shared.node.is_sequencing() {
        true => Err(Error::Diverged { index, block: last }.into()),
        false => Ok(None),
    }
}

/// Of a sequencer that proves: beside its other tasks.
pub(super) async fn prove_batches(shared: Shared, mut prover: Prover) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        prover.step(&shared).await;
        shared.wait(&mut l1).await;
    }
}

pub(super) async fn openings(shared: &Shared, batch: &Batch) -> Result<Vec<BlobOpening>, Held> {
    let contents = shared.blobs.get(batch.committed.block(), &batch.blobs).await?;
    let work = move || contents.iter().map(|contents| opening(contents)).collect::<Result<Vec<_>, _>>();
    Ok(spawn_blocking(work).await??)
}
