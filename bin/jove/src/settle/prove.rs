//! Proving batches, and making final what can be.
//!
//! Proofs by enclaves come from the workers of a controller ([`jove_prover`]); those of test verifiers are made here. What is lacking is what L1's contract does
//! not count now, of the outputs that this node says: not what somebody once proved.

use super::{
    Attempt, Held, Shared,
    commit::is_seen,
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
    contracts::{ProofSystem, Proofs, Rollup, TeeVerifier, ask},
    relayer::{Relayer, Request},
    status::Stage,
    test_proofs::{Judged, Roots, prove, with_proof},
    watcher::{Batch, L1State},
};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Batches that are looked at in one step.
const BATCHES: usize = 64;
/// Proofs in one transaction.
const PROOFS: usize = 24;
/// Openings of blobs in one transaction, which take 400 bytes of it each: nodes take transactions of up to 128 KiB.
const OPENINGS: usize = 96;

/// Sends proofs, from one account.
pub(super) struct Prover {
    relayer: Relayer,
    /// Whether it has batches dropped that nobody can prove.
    drops: bool,
    /// L1's head at the last step: what failed is tried again at another.
    looked: B256,
    /// Proofs in the next transaction: one after a failure, which shows whose it is, and then twice as many each time.
    most: usize,
    /// Whose workers prove by enclaves. Without one, TEE proofs are a test verifier's.
    controller: Option<Arc<Controller<Enclaves>>>,
}

/// A batch that is not final.
struct Open {
    batch: Batch,
    /// The output that it starts from.
    start: B256,
    /// What this node says of it: its roots, none if it is invalid.
    roots: Option<Roots>,
    /// Its output by that.
    output: B256,
    /// Whether L1 has a proof of this output that counts, by an enclave and by zero knowledge.
    evidence: [bool; 2],
}

impl Open {
    fn job(&self) -> Job {
        Job { index: self.batch.header.index, batch: self.batch.hash, start: self.start }
    }

    fn judged<'a>(&'a self, openings: &'a [BlobOpening]) -> Judged<'a> {
        Judged { header: &self.batch.header, blobs: &self.batch.blobs, openings, roots: self.roots }
    }

    fn is_proven(&self) -> bool {
        self.evidence.contains(&true)
    }
}

/// A proof that L1 lacks.
struct Lacking<'a> {
    open: &'a Open,
    system: ProofSystem,
    /// An enclave's.
    signature: Option<Bytes>,
}

impl Prover {
    pub(super) fn new(relayer: Relayer, drops: bool, controller: Option<Arc<Controller<Enclaves>>>) -> Self {
        Self { relayer, drops, looked: B256::ZERO, most: PROOFS, controller }
    }

    /// Looks at L1 and does what is to be done next.
    pub(super) async fn step(&mut self, shared: &Shared) {
        let outcome = match self.relayer.step().await {
            Ok(()) => self.prove(shared).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Prove, outcome.and_then(|()| unstuck(&self.relayer, shared.poll)));
    }

    /// Proves the batches that are not final, by both systems, and makes them so.
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
        let open = open_batches(shared, &state).await?;
        if let Some(controller) = self.controller.clone() {
            let wanted: Vec<_> = open.iter().filter(|open| !open.evidence[0]).map(Open::job).collect();
            controller.want(&wanted)?;
            self.register(&controller).await?;
        }
        // What is on its way changes what is lacking.
        if !self.relayer.is_sending() {
            if news {
                self.finalize(shared, &open).await?;
            }
            self.send_proofs(shared, &state, &open, news).await?;
        }
        Ok(self.relayer.step().await?)
    }

    /// The proofs that L1 lacks and this node has, in the order that L1 takes them: each batch's predecessor has one, there or here.
    fn lacking<'a>(&self, open: &'a [Open]) -> Vec<Lacking<'a>> {
        let signatures = self.controller.as_ref().map(|controller| controller.proofs());
        let (mut lacking, mut openings) = (Vec::new(), 0);
        for open in open {
            let before = lacking.len();
            for (system, done) in [ProofSystem::Tee, ProofSystem::Zk].into_iter().zip(open.evidence) {
                let mut signature = None;
                if let (ProofSystem::Tee, Some(signatures)) = (system, &signatures) {
                    signature = signatures.iter().find(|(job, _)| *job == open.job()).map(|(_, own)| own.clone());
                    if signature.is_none() {
                        continue;
                    }
                }
                if done {
                    continue;
                }
                openings += open.batch.blobs.len();
                if lacking.len() == self.most || (openings > OPENINGS && !lacking.is_empty()) {
                    return lacking;
                }
                lacking.push(Lacking { open, system, signature });
            }
            if lacking.len() == before && !open.is_proven() {
                break;
            }
        }
        lacking
    }

    /// Sends the proofs that L1 lacks, in one transaction.
    ///
    /// # Errors
    /// How that failed before, if it did.
    async fn send_proofs(&mut self, shared: &Shared, state: &L1State, open: &[Open], news: bool) -> Result<(), Held> {
        let lacking = self.lacking(open);
        let [first, others @ ..] = &lacking[..] else { return Ok(()) };
        let mut parts = Vec::new();
        for Lacking { open, system, signature } in &lacking {
            parts.extend([&open.batch.hash[..], &open.start[..], &[*system as u8]].concat());
            parts.extend(signature.iter().flatten());
        }
        let key = format!("prove/{}/{:x}", first.open.batch.header.index, keccak256(parts));
        // What was taken once and is lacking counts no more: their verifier is another.
        let attempt = next_attempt(&self.relayer, &key, |mined| is_seen(state, mined));
        let Some(Attempt { key, failed }) = attempt else { return Ok(()) };
        if let Some(reason) = &failed
            && (!others.is_empty() || !news)
        {
            self.most = 1;
            return Err(reason.clone().into());
        }
        let payout = self.relayer.signer().address();
        let mut list = Vec::with_capacity(lacking.len());
        let mut opened: Option<(B256, Vec<BlobOpening>)> = None;
        for Lacking { open, system, signature } in lacking {
            let openings = match opened.take() {
                Some((batch, openings)) if batch == open.batch.hash => openings,
                _ => openings(shared, &open.batch).await?,
            };
            let judged = open.judged(&openings);
            if let (Some(signature), Some(controller)) = (&signature, &self.controller)
                && let Some(reason) = refusal(shared, judged.statement(open.start, payout), signature).await?
            {
                // Another is made: this one's key has ended.
                controller.reject(&open.job(), &reason)?;
                return Err(format!("an enclave's proof of batch {}: {reason}", open.batch.header.index).into());
            }
            list.push(match signature {
                Some(signature) => with_proof(system, open.start, judged, payout, signature),
                None => prove(system, open.start, judged, payout),
            });
            opened = Some((open.batch.hash, openings));
        }
        self.most = (2 * self.most).min(PROOFS);
        self.submit(shared, key, Rollup::proveCall { list }.abi_encode())?;
        failed.map_or(Ok(()), |failed| Err(failed.into()))
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

    /// Makes batches final that can be: where one proof stood unopposed for long enough, where a predecessor held up their proofs, or where they came during a
    /// pause. An invalid one is dropped by that.
    async fn finalize(&mut self, shared: &Shared, open: &[Open]) -> Result<(), Held> {
        let mut roots = Vec::new();
        for Open { batch, start, roots: own, output, .. } in open.iter().take_while(|open| open.is_proven()) {
            let call = Proofs::isSettledCall { batchHash: batch.hash, previous: *start, output: *output };
            if !ask(&shared.l1, shared.settlement.proofs, &call).await? {
                break;
            }
            roots.push(Rollup::Roots {
                invalid: own.is_none(),
                stateRoot: own.map_or(B256::ZERO, |roots| roots.state),
                outboxRoot: own.map_or(B256::ZERO, |roots| roots.outbox),
            });
        }
        let (Some(first), Some(last)) = (open.first(), roots.len().checked_sub(1)) else { return Ok(()) };
        let key = format!("finalize/{}/{last}", first.batch.header.index);
        let call = Rollup::finalizeCall { roots }.abi_encode();
        self.submit_if_possible(shared, key, &first.batch, call).await
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

/// The batches that are not final, in order, as far as this node knows what to say of them.
async fn open_batches(shared: &Shared, state: &L1State) -> Result<Vec<Open>, Held> {
    let last = state.latest.last_final;
    let Some(parent) = state.batch(last)? else { return Ok(Vec::new()) };
    let first = parent.settled.ok_or(Error::NotFinal)?.output;
    let mut start = first;
    let mut open: Vec<Open> = Vec::new();
    for index in (last + 1..=state.latest.head).take(BATCHES) {
        let Some(batch) = state.batch(index)? else { break };
        let Some(roots) = judge(shared, &batch).await? else { break };
        let output = Judged { header: &batch.header, blobs: &batch.blobs, openings: &[], roots }.output(start);
        open.push(Open { batch, start, roots, output, evidence: [false; 2] });
        if roots.is_none() {
            break;
        }
        start = output;
    }
    let outputs: Vec<_> = open.iter().map(|open| (open.batch.hash, open.output)).collect();
    for (open, evidence) in open.iter_mut().zip(evidence(shared, first, &outputs).await?) {
        open.evidence = evidence;
    }
    Ok(open)
}

/// What L1 counts now for the outputs of the batches after the last final one: of each, whether an enclave's proof and whether one by zero knowledge.
///
/// # Errors
/// If L1 cannot be asked.
pub(super) async fn evidence(shared: &Shared, start: B256, outputs: &[(B256, B256)]) -> Result<Vec<[bool; 2]>, Error> {
    if outputs.is_empty() {
        return Ok(Vec::new());
    }
    let (batch_hashes, outputs) = outputs.iter().copied().unzip();
    let call = Proofs::evidenceOfCall { start, batchHashes: batch_hashes, outputs };
    let Proofs::evidenceOfReturn { tee, zk } = ask(&shared.l1, shared.settlement.proofs, &call).await?;
    Ok(tee.into_iter().zip(zk).map(|(tee, zk)| [!tee.is_zero(), zk]).collect())
}

/// Why L1 does not hear an enclave's proof of a statement, whatever the batch; none if it does.
///
/// # Errors
/// If L1 cannot be asked.
async fn refusal(shared: &Shared, statement: B256, proof: &Bytes) -> Result<Option<String>, Error> {
    let Shared { l1, settlement, .. } = shared;
    let system = ask(l1, settlement.proofs, &Proofs::systemOfCall { system: ProofSystem::Tee as u8 }).await?;
    let call = TeeVerifier::verifyCall { statement, proof: proof.clone() };
    let prover = match ask(l1, system.verifier, &call).await {
        Ok(prover) => prover,
        Err(error) => return error.revert().map(|revert| Some(revert.to_string())).ok_or(error),
    };
    let TeeVerifier::Prover { key, platform, vendor } = prover;
    let is_barred = ask(l1, settlement.proofs, &Proofs::isBarredCall { key, platform, vendor }).await?;
    Ok(is_barred.then(|| format!("{key}, or its machine, is barred")))
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
