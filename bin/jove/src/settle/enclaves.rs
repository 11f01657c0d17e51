//! What provers are given to prove, and what of theirs is believed.

use super::{
    Shared,
    derive::gather,
    prove::{judge, openings, refusal},
};
use crate::verify::BatchProof;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use jove_enclave::{Attested, Proved, keys};
use jove_prover::{Chain, Challenge, Job, Refusal, ZkProved};
use jove_proving::{Batch, Committed, Input};
use jove_settlement::{
    Error,
    attestation::{Registration, Registry},
    contracts::{AttestationRegistry, ProofSystem, Proofs, ZkVerifier, ask},
    deploy::verifiers,
    test_proofs::Judged,
    watcher,
};
use jove_tee::quote::Quote;
use jove_zk_host::Pins;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::{task::spawn_blocking, time::sleep};

/// How long a worker waits for its key to be on L1.
const REGISTERING: Duration = Duration::from_secs(100);
/// How long the registry is believed to be the one in force.
const REGISTRY: Duration = Duration::from_secs(60);

/// The node and L1, as a controller of enclaves sees them.
pub(crate) struct Enclaves {
    shared: Shared,
    /// Whom proofs pay: who sends them.
    payout: Address,
    /// With when it was asked for.
    registry: Mutex<Option<(Registry, Instant)>>,
    /// To be sent.
    registrations: Mutex<Vec<Registration>>,
    /// The keys that this node has registered, with when it began, by the certificates of their machines: each costs it a million gas.
    machines: Mutex<BTreeMap<B256, (Address, Instant)>>,
}

impl Enclaves {
    pub(super) fn new(shared: Shared, payout: Address) -> Self {
        let (registry, registrations, machines) = Default::default();
        Self { shared, payout, registry, registrations, machines }
    }

    /// The registry of the verifier in force.
    async fn registry(&self) -> Result<Registry, Error> {
        let known = self.registry.lock().clone();
        if let Some((registry, _)) = known.filter(|(_, asked)| asked.elapsed() < REGISTRY) {
            return Ok(registry);
        }
        let Shared { l1, settlement, .. } = &self.shared;
        let registry = Registry::of_chain(l1, settlement.proofs).await?;
        *self.registry.lock() = Some((registry.clone(), Instant::now()));
        Ok(registry)
    }

    /// What is to be sent to the registry, and its address.
    pub(super) async fn registrations(&self) -> Result<(Address, Vec<Registration>), Error> {
        let registry = self.registry().await?.contracts().registry;
        Ok((registry, std::mem::take(&mut *self.registrations.lock())))
    }
}

/// The call that registers a key.
pub(super) fn register_call(registration: &Registration) -> Bytes {
    let Registration { quote, key, payout, block_number } = registration.clone();
    AttestationRegistry::registerCall { quote, key, payout, blockNumber: block_number }.abi_encode().into()
}

fn later(error: impl ToString) -> Refusal {
    Refusal::Later(error.to_string())
}

fn wrong(reason: impl ToString) -> Refusal {
    Refusal::Wrong(reason.to_string())
}

impl Chain for Enclaves {
    async fn challenge(&self) -> Result<Challenge, Refusal> {
        let registry = self.registry().await.map_err(later)?;
        let binding = registry.binding(Address::ZERO, self.payout).await.map_err(later)?;
        Ok(Challenge {
            l1_chain_id: binding.chain_id,
            registry: binding.registry,
            payout: self.payout,
            block_number: binding.block_number,
            block_hash: binding.block_hash,
            nonce: B256::ZERO,
        })
    }

    async fn register(&self, attested: Attested, block_number: u64) -> Result<(), Refusal> {
        let registry = self.registry().await.map_err(later)?;
        let Attested { key, quote, .. } = attested;
        if let Some(enclave) = registry.enclave(key).await.map_err(later)? {
            return match enclave.refusal {
                Some(reason) => Err(Refusal::Over(reason)),
                // Another key of this machine would be refused as well.
                None if self.machine(key).await?.is_none() => {
                    Err(wrong("the chain has barred this key, or its machine"))
                }
                None => Ok(()),
            };
        }
        let machine = keccak256(Quote::parse(&quote).map_err(wrong)?.pck_chain);
        self.reserve(machine, key).await?;
        let registration = Registration { quote, key, payout: self.payout, block_number };
        let call = register_call(&registration);
        match self.shared.l1.call(registry.contracts().registry, call, BlockNumberOrTag::Latest).await {
            Ok(_) => self.registrations.lock().push(registration),
            Err(error) => {
                self.machines.lock().remove(&machine);
                let revert = error.revert().map(wrong);
                return Err(revert.unwrap_or_else(|| later(error)));
            }
        }
        for _ in 0..REGISTERING.as_secs() {
            sleep(Duration::from_secs(1)).await;
            if self.machine(key).await?.is_some() {
                return Ok(());
            }
        }
        Err(later("the key is not on L1 yet"))
    }

    async fn machine(&self, key: Address) -> Result<Option<B256>, Refusal> {
        let Shared { l1, settlement, .. } = &self.shared;
        let registry = self.registry().await.map_err(later)?;
        let enclave = registry.enclave(key).await.map_err(later)?;
        if enclave.is_none_or(|enclave| enclave.refusal.is_some()) {
            return Ok(None);
        }
        let call = AttestationRegistry::proverOfCall { key };
        let prover = ask(l1, registry.contracts().registry, &call).await.map_err(later)?;
        let AttestationRegistry::Prover { key, platform, vendor } = prover;
        let is_barred = ask(l1, settlement.proofs, &Proofs::isBarredCall { key, platform, vendor }).await;
        Ok((!is_barred.map_err(later)?).then_some(platform))
    }

    async fn input(&self, job: Job) -> Result<Vec<u8>, Refusal> {
        let shared = &self.shared;
        let (batch, parent) = self.batch(&job)?;
        let (derived, contents) = gather(shared, &shared.l1_state(), &batch, &parent).await.map_err(later)?;
        let origins = self.headers(&batch, &parent, derived.origins.first().map(|origin| origin.number)).await?;
        let mut messages = Vec::new();
        for index in batch.header.first_message..batch.header.end_message {
            let message = shared.l1_state().message(index).map_err(later)?;
            messages.push(message.ok_or_else(|| later("L1 is behind"))?.entry());
        }
        let (node, payout, weighed) = (shared.node.clone(), self.payout, shared.weighed.clone());
        let work = move || {
            let witness = match weighed.witness(&batch.header, &contents) {
                Some(witness) => witness,
                None => node.witness_of(&derived)?,
            };
            let committed = |batch: &watcher::Batch| Committed { header: batch.header, blobs: batch.blobs.clone() };
            let batch = Batch { committed: committed(&batch), contents, origins, messages, witness };
            let config = node.spec().config(u64::MAX).into();
            Ok(Input { payout, config, parent: committed(&parent), batches: vec![batch] }.encode())
        };
        let made = spawn_blocking(work).await.map_err(later)?;
        made.map_err(|error: jove_sequencer::NodeError| later(error))
    }

    async fn check(&self, job: Job, key: Address, proved: Proved) -> Result<(), Refusal> {
        let (batch, _) = self.batch(&job)?;
        let roots =
            judge(&self.shared, &batch).await.map_err(later)?.ok_or_else(|| later("the batch is not derived yet"))?;
        let opened = openings(&self.shared, &batch).await.map_err(later)?;
        let own = Judged { header: &batch.header, blobs: &batch.blobs, openings: &opened, roots };
        let outcome = match &proved.outcomes[..] {
            [outcome] => outcome,
            _ => return Err(wrong("it is not of one batch")),
        };
        let is_own = outcome.batch == batch.hash
            && outcome.output == own.output(job.start)
            && proved.start == job.start
            && proved.payout == self.payout
            && (proved.chain_id, proved.rollup) == (batch.header.chain_id, batch.header.rollup)
            && proved.openings.iter().eq(opened.iter().map(|opening| &opening.opening));
        if !is_own {
            return Err(wrong(format!("output {} is not this node's for batch {}", outcome.output, job.index)));
        }
        let domain = self.challenge().await?.domain(0);
        let signer = keys::signer(keys::digest(&domain, proved.statement()), &proved.signature);
        match signer {
            Some(signer) if signer == key && proved.key == key => Ok(()),
            _ => Err(wrong("its signature is not the registered key's")),
        }
    }

    async fn check_pins(&self, Pins { program, machine, key }: Pins) -> Result<(), Refusal> {
        let Shared { l1, settlement, .. } = &self.shared;
        let [_, verifier] = verifiers(l1, settlement.proofs).await.map_err(later)?;
        let pinned = (
            ask(l1, verifier, &ZkVerifier::programCall {}).await.map_err(later)?,
            ask(l1, verifier, &ZkVerifier::machineCall {}).await.map_err(later)?,
        );
        if pinned != (program, machine) {
            return Err(wrong(format!(
                "L1 pins program {:#x} in machine {:#x}, and this prover has program {program:#x} in machine {machine:#x}",
                pinned.0, pinned.1
            )));
        }
        let pinned = ask(l1, verifier, &ZkVerifier::keyCall {}).await.map_err(later)?;
        if pinned != key {
            return Err(wrong(format!(
                "L1 pins the circuit's key {}, and this prover has {}: of another circuit, or of other parameters",
                keccak256(&pinned),
                keccak256(&key)
            )));
        }
        Ok(())
    }

    async fn check_zk(&self, job: Job, ZkProved { proof, stark }: ZkProved) -> Result<(), Refusal> {
        let (batch, _) = self.batch(&job)?;
        let roots =
            judge(&self.shared, &batch).await.map_err(later)?.ok_or_else(|| later("the batch is not derived yet"))?;
        let opened = openings(&self.shared, &batch).await.map_err(later)?;
        let own = Judged { header: &batch.header, blobs: &batch.blobs, openings: &opened, roots };
        let statement = own.statement(job.start, self.payout);
        match refusal(&self.shared, ProofSystem::Zk, statement, &proof).await.map_err(later)? {
            None => {}
            Some(reason) => return Err(wrong(format!("L1 does not take it for batch {}: {reason}", job.index))),
        }
        // For whoever asks for it, who checks it. Without it the proof is as good for L1.
        let kept = BatchProof {
            header: batch.header,
            blobs: batch.blobs.clone(),
            openings: opened.iter().map(Into::into).collect(),
            start: job.start,
            payout: self.payout,
            roots: roots.map(Into::into),
            proof,
            stark,
        };
        let folder = self.shared.proofs.clone();
        if let Err(error) = spawn_blocking(move || kept.keep(&folder)).await.map_err(later)? {
            tracing::warn!(batch = job.index, %error, "a proof in zero knowledge cannot be kept");
        }
        Ok(())
    }
}

impl Enclaves {
    /// Notes that a machine's key is being registered: of each machine one, until that counts no more.
    async fn reserve(&self, machine: B256, key: Address) -> Result<(), Refusal> {
        let before = self.machines.lock().get(&machine).copied();
        if let Some((other, since)) = before.filter(|(other, _)| *other != key)
            && (since.elapsed() < REGISTERING || self.machine(other).await?.is_some())
        {
            return Err(wrong(format!("the key {other} of this machine counts: this node pays for one at a time")));
        }
        let mut machines = self.machines.lock();
        if machines.get(&machine).copied() != before {
            return Err(later("another key of this machine is being registered"));
        }
        machines.insert(machine, (key, Instant::now()));
        Ok(())
    }

    /// A job's batch and the one before it, while L1 has them, or is to have the first.
    fn batch(&self, job: &Job) -> Result<(watcher::Batch, watcher::Batch), Refusal> {
        let state = self.shared.l1_state();
        let ahead = self.shared.ahead.lock().as_ref().map(|ahead| ahead.batch.clone());
        let on_l1 = state.batch(job.index).map_err(later)?;
        let batch = on_l1.into_iter().chain(ahead).find(|batch| batch.hash == job.batch);
        let parent = job.index.checked_sub(1).and_then(|parent| state.batch(parent).ok().flatten());
        batch.zip(parent).ok_or_else(|| later("the batch is not on L1 any more"))
    }

    /// L1's headers after the parent's origin, or from the first one's where that has none, up to the batch's.
    async fn headers(
        &self,
        batch: &watcher::Batch,
        parent: &watcher::Batch,
        first: Option<u64>,
    ) -> Result<Vec<alloy_consensus::Header>, Refusal> {
        let last = batch.header.origin_number;
        let first = match parent.header.origin_number {
            0 => first.unwrap_or(last + 1),
            origin => origin + 1,
        };
        let mut headers = Vec::new();
        for number in first..=last {
            let header = self.shared.l1.header(number).await.map_err(later)?;
            headers.push(header.ok_or_else(|| later(Error::UnknownL1Block(number)))?.into_inner());
        }
        Ok(headers)
    }
}
