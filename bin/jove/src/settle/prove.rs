//! Proving batches, and making final what can be.
//!
//! Proofs by enclaves and in zero knowledge come from the workers of a controller ([`jove_prover`]); those of test verifiers are made here. What is lacking is what L1's contract does
//! not count now, of the outputs that this node says: not what somebody once proved.

use super::{
    Attempt, Held, Shared,
    commit::is_seen,
    derive::derive,
    enclaves::{Enclaves, register_call},
    next_attempt,
    rescue::job,
    unstuck,
};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use jove_prover::{Controller, Job, System};
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
use std::{collections::BTreeMap, sync::Arc};
use tokio::task::spawn_blocking;

/// Batches that are looked at together.
const BATCHES: u64 = 64;
/// How often one step looks for the first batch that lacks a proof, so many batches further each time.
const WINDOWS: usize = 8;
/// Batches that are made final at once.
const FINAL: u64 = 16;
/// Proofs in one transaction.
const PROOFS: usize = 16;
/// Openings of blobs in one transaction: they take 400 bytes and up to 75,000 gas each. Nodes take transactions of up to 128 KiB, and 2^24 gas.
const OPENINGS: usize = 48;
/// L1 blocks until a proof that was refused is sent again, at first: twice as many each time, up to [`MAX_DOUBLINGS`] times.
const REFUSED: u64 = 1;
const MAX_DOUBLINGS: u32 = 8;

/// Sends proofs, from one account.
pub(super) struct Prover {
    relayer: Relayer,
    /// Whether it has batches dropped that nobody can prove.
    drops: bool,
    /// L1's head at the last step: what failed is tried again at another.
    looked: B256,
    /// Of each system: all batches before this one have its proofs, as of when they were looked at.
    from: [u64; 2],
    /// Proofs in the next transaction: one after a failure, which shows whose it is, and then twice as many each time.
    most: usize,
    /// Proofs that L1 refused.
    refused: BTreeMap<B256, Refused>,
    /// Whose workers prove. Of a system that it has none for, proofs are a test verifier's.
    controller: Option<Arc<Controller<Enclaves>>>,
}

/// What L1 refused.
#[derive(Clone, Copy, Default)]
struct Refused {
    times: u32,
    /// The L1 block until which others go first.
    until: u64,
    /// Whether it was sent again since.
    again: bool,
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
    /// A worker's: an enclave's signature, or a proof in zero knowledge.
    proof: Option<Bytes>,
}

impl Lacking<'_> {
    fn id(&self) -> B256 {
        let Self { open, system, proof } = self;
        let own = proof.as_ref().map_or(&[][..], |proof| &proof[..]);
        keccak256([&open.batch.hash[..], &open.start[..], &[*system as u8], own].concat())
    }
}

const SYSTEMS: [ProofSystem; 2] = [ProofSystem::Tee, ProofSystem::Zk];
/// The same, as workers' queues know them.
pub(super) const QUEUES: [System; 2] = [System::Tee, System::Zk];

impl Prover {
    pub(super) fn new(relayer: Relayer, drops: bool, controller: Option<Arc<Controller<Enclaves>>>) -> Self {
        let (looked, from, refused) = Default::default();
        Self { relayer, drops, looked, from, most: PROOFS, refused, controller }
    }

    /// Looks at L1 and does what is to be done next.
    pub(super) async fn step(&mut self, shared: &Shared) {
        let outcome = match self.relayer.step().await {
            Ok(()) => self.prove(shared).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Prove, outcome.and_then(|()| unstuck(&self.relayer, shared.poll)));
    }

    /// Proves the batches that are not final, by both systems, and makes them so. What keeps it from one thing keeps it from no other.
    ///
    /// # Errors
    /// The first of those.
    async fn prove(&mut self, shared: &Shared) -> Result<(), Held> {
        let state = shared.l1_state();
        if !state.latest.open || state.latest.halted {
            return Ok(());
        }
        let news = self.looked != state.latest.block.hash;
        self.looked = state.latest.block.hash;
        let mut outcome = Ok(());
        let mut note = |result: Result<(), Held>| {
            if outcome.is_ok() {
                outcome = result;
            }
        };
        if news && self.drops {
            note(self.drop_batches(shared, &state).await);
        }
        let systems = enabled(shared).await?;
        let mut open = BTreeMap::new();
        for (number, is_enabled) in systems.into_iter().enumerate() {
            if is_enabled {
                note(self.look(shared, &state, number, &mut open).await);
            }
        }
        if let Some(controller) = self.controller.clone() {
            // What is committed with its proof comes first.
            let ahead = shared.ahead.lock().as_ref().map(|ahead| job(ahead));
            for (number, system) in QUEUES.into_iter().enumerate().filter(|(_, system)| controller.has(*system)) {
                let wanted = open.values().filter(|open| !open.evidence[number]).take(BATCHES as usize).map(Open::job);
                let jobs = ahead.into_iter().chain(wanted.filter(|job| Some(*job) != ahead));
                controller.want(system, &jobs.filter(|_| systems[number]).collect::<Vec<_>>())?;
            }
            if controller.has(System::Tee) {
                note(self.register(&controller).await);
            }
        }
        // What is on its way changes what is lacking.
        if !self.relayer.is_sending() {
            if news {
                note(self.finalize(shared, &state).await);
            }
            note(self.send_proofs(shared, &state, systems, &open).await);
        }
        self.relayer.step().await?;
        outcome
    }

    /// Adds the first batches that lack a system's proofs to `open`, and some after them.
    ///
    /// # Errors
    /// What keeps it from looking further; what it found before is there.
    async fn look(
        &mut self,
        shared: &Shared,
        state: &L1State,
        system: usize,
        open: &mut BTreeMap<u64, Open>,
    ) -> Result<(), Held> {
        let first = state.latest.last_final + 1;
        // What was looked at before may count no more, or be another batch: from time to time all are looked at again.
        if self.from[system] < first
            || self.from[system] > state.latest.head + 1
            || state.latest.block.number.is_multiple_of(BATCHES)
        {
            self.from[system] = first;
        }
        for _ in 0..WINDOWS {
            let from = self.from[system];
            let (found, outcome) = open_batches(shared, state, from, BATCHES).await?;
            let lacks = found.iter().find(|open| !open.evidence[system]).map(|open| open.batch.header.index);
            let next = from + found.len() as u64;
            self.from[system] = lacks.unwrap_or(next);
            if lacks.is_some() {
                open.extend(found.into_iter().map(|open| (open.batch.header.index, open)));
            }
            outcome?;
            if lacks.is_some() || next > state.latest.head || next == from {
                break;
            }
        }
        Ok(())
    }

    /// The proofs that L1 lacks and this node has, in the order that L1 takes them: each batch's predecessor has one, there or here.
    fn lacking<'a>(&self, state: &L1State, systems: [bool; 2], open: &'a BTreeMap<u64, Open>) -> Vec<Lacking<'a>> {
        let proofs = QUEUES.map(|system| {
            let controller = self.controller.as_ref().filter(|controller| controller.has(system));
            controller.map(|controller| controller.proofs(system))
        });
        let (mut lacking, mut openings) = (Vec::new(), 0);
        // Whether the predecessor has a proof; one that was not looked at has.
        let (mut before, mut reaches) = (0, true);
        for (index, open) in open {
            reaches |= before + 1 != *index;
            before = *index;
            if !reaches {
                continue;
            }
            let mut is_proven = open.is_proven();
            for (number, system) in SYSTEMS.into_iter().enumerate() {
                if open.evidence[number] || !systems[number] {
                    continue;
                }
                let mut proof = None;
                if let Some(proofs) = &proofs[number] {
                    proof = proofs.iter().find(|(job, _)| *job == open.job()).map(|(_, own)| own.clone());
                    if proof.is_none() {
                        continue;
                    }
                }
                let one = Lacking { open, system, proof };
                if self.refused.get(&one.id()).is_some_and(|refused| refused.until > state.latest.block.number) {
                    continue;
                }
                openings += open.batch.blobs.len();
                if lacking.len() == self.most || (openings > OPENINGS && !lacking.is_empty()) {
                    return lacking;
                }
                lacking.push(one);
                is_proven = true;
            }
            reaches = is_proven;
        }
        lacking
    }

    /// Sends the proofs that L1 lacks, in one transaction.
    ///
    /// # Errors
    /// How that failed before, if it did.
    async fn send_proofs(
        &mut self,
        shared: &Shared,
        state: &L1State,
        systems: [bool; 2],
        open: &BTreeMap<u64, Open>,
    ) -> Result<(), Held> {
        let lacking = self.lacking(state, systems, open);
        let ids: Vec<B256> = lacking.iter().map(Lacking::id).collect();
        let Some(first) = lacking.first() else { return Ok(()) };
        let key = format!("prove/{}/{:x}", first.open.batch.header.index, keccak256(ids.concat()));
        // What was taken once and is lacking counts no more: their verifier is another.
        let attempt = next_attempt(&self.relayer, &key, |mined| is_seen(state, mined));
        let Some(Attempt { key, failed }) = attempt else { return Ok(()) };
        if let Some(reason) = failed {
            if ids.len() > 1 {
                self.most = 1;
                return Err(reason.into());
            }
            let known = self.refused.entry(ids[0]).or_default();
            if known.times == 0 || known.again {
                return self.refuse(state, ids[0], reason);
            }
            // Its time has come again.
            known.again = true;
        }
        let payout = self.relayer.signer().address();
        let mut list = Vec::with_capacity(lacking.len());
        let mut opened: Option<(B256, Vec<BlobOpening>)> = None;
        for Lacking { open, system, proof } in lacking {
            let openings = match opened.take() {
                Some((batch, openings)) if batch == open.batch.hash => openings,
                _ => openings(shared, &open.batch).await?,
            };
            let judged = open.judged(&openings);
            if let (Some(proof), Some(controller)) = (&proof, &self.controller)
                && let Some(reason) = refusal(shared, system, judged.statement(open.start, payout), proof).await?
            {
                // Another is made: this one's key has ended, or the verifier is another.
                controller.reject(QUEUES[system as usize], &open.job(), &reason)?;
                return Err(format!("a worker's proof of batch {}: {reason}", open.batch.header.index).into());
            }
            list.push(match proof {
                Some(proof) => with_proof(system, open.start, judged, payout, proof),
                None => prove(system, open.start, judged, payout),
            });
            opened = Some((open.batch.hash, openings));
        }
        self.most = (2 * self.most).min(PROOFS);
        self.submit(shared, key, Rollup::proveCall { list }.abi_encode())
    }

    /// Lets others go before a proof that L1 refuses.
    ///
    /// # Errors
    /// Always: the reason.
    fn refuse(&mut self, state: &L1State, id: B256, reason: String) -> Result<(), Held> {
        let now = state.latest.block.number;
        // Those whose time came long ago are of batches that are no more.
        self.refused.retain(|_, refused| refused.until + (REFUSED << (MAX_DOUBLINGS + 1)) > now || refused.times == 0);
        let refused = self.refused.entry(id).or_default();
        refused.until = now + (REFUSED << refused.times.min(MAX_DOUBLINGS));
        (refused.times, refused.again) = (refused.times + 1, false);
        Err(reason.into())
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
    async fn finalize(&mut self, shared: &Shared, state: &L1State) -> Result<(), Held> {
        let (open, _) = open_batches(shared, state, state.latest.last_final + 1, FINAL).await?;
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

/// Which systems L1 takes proofs of now.
///
/// # Errors
/// If L1 cannot be asked.
pub(super) async fn enabled(shared: &Shared) -> Result<[bool; 2], Error> {
    let mut enabled = [false; 2];
    for (enabled, system) in enabled.iter_mut().zip(SYSTEMS) {
        let call = Proofs::systemOfCall { system: system as u8 };
        *enabled = !ask(&shared.l1, shared.settlement.proofs, &call).await?.disabled;
    }
    Ok(enabled)
}

/// Up to `count` batches from one on that is not final, in order, as far as this node knows what to say of them, and what keeps it from going on, if something
/// does.
///
/// # Errors
/// If L1 or the store fails.
async fn open_batches(
    shared: &Shared,
    state: &L1State,
    from: u64,
    count: u64,
) -> Result<(Vec<Open>, Result<(), Held>), Held> {
    let nothing = (Vec::new(), Ok(()));
    let Some(parent) = from.checked_sub(1).map_or(Ok(None), |parent| state.batch(parent))? else { return Ok(nothing) };
    let first = match parent.settled {
        Some(settled) => settled.output,
        None => match judge(shared, &parent).await? {
            Some(Some(roots)) => {
                Judged { header: &parent.header, blobs: &parent.blobs, openings: &[], roots: Some(roots) }
                    .output(B256::ZERO)
            }
            // An invalid one has no successors.
            _ => return Ok(nothing),
        },
    };
    let (mut start, mut outcome) = (first, Ok(()));
    let mut open: Vec<Open> = Vec::new();
    for index in from..=state.latest.head.min(from.saturating_add(count - 1)) {
        let Some(batch) = state.batch(index)? else { break };
        let roots = match judge(shared, &batch).await {
            Ok(Some(roots)) => roots,
            Ok(None) => break,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        };
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
    Ok((open, outcome))
}

/// What L1 counts now for the outputs of consecutive batches, the first after the output `start`: of each, whether an enclave's proof and whether one by zero knowledge.
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

/// Why L1 does not hear a proof of a statement, whatever the batch; none if it does.
///
/// # Errors
/// If L1 cannot be asked.
pub(super) async fn refusal(
    shared: &Shared,
    system: ProofSystem,
    statement: B256,
    proof: &Bytes,
) -> Result<Option<String>, Error> {
    let Shared { l1, settlement, .. } = shared;
    let state = ask(l1, settlement.proofs, &Proofs::systemOfCall { system: system as u8 }).await?;
    let call = TeeVerifier::verifyCall { statement, proof: proof.clone() };
    let prover = match ask(l1, state.verifier, &call).await {
        Ok(prover) => prover,
        Err(error) => return error.revert().map(|revert| Some(revert.to_string())).ok_or(error),
    };
    if system == ProofSystem::Zk {
        return Ok(None);
    }
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
    let contents = shared.contents(batch).await?;
    let work = move || contents.iter().map(|contents| opening(contents)).collect::<Result<Vec<_>, _>>();
    Ok(spawn_blocking(work).await??)
}
