//! Stepping in where the operators leave a message waiting: blocks of messages, committed and proven in one transaction. And how such a transaction is sent.
//!
//! Its proof is made like any other: by a prover behind this node's controller, which gets the batch though L1 does not have it, or as a test verifier believes it.

use super::{
    Attempt, Held, Shared,
    commit::is_seen,
    enclaves::Enclaves,
    next_attempt,
    prove::{QUEUES, enabled, refusal},
    unstuck,
};
use alloy_primitives::{Address, B256, keccak256};
use jove_primitives::batch::hash::MESSAGES_ALONE;
use jove_prover::{Controller, Job};
use jove_settlement::{
    contracts::ProofSystem,
    origins::{self, Depth, Step},
    relayer::{Relayer, Request, State},
    rescue::{Ahead, waiting},
    status::Stage,
    watcher::{Batch, L1State},
};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Sends batches with their proofs, from an account of its own.
pub(super) struct Sender {
    pub(super) relayer: Relayer,
    /// Whose workers prove. Of a system that it has none for, proofs are a test verifier's.
    controller: Option<Arc<Controller<Enclaves>>>,
    /// Whom workers' proofs pay.
    payout: Address,
    /// Whose proof comes first: the other one's, where one was refused.
    system: ProofSystem,
}

fn other(system: ProofSystem) -> ProofSystem {
    match system {
        ProofSystem::Tee => ProofSystem::Zk,
        ProofSystem::Zk => ProofSystem::Tee,
    }
}

/// What a prover is asked for.
pub(super) fn job(ahead: &Ahead) -> Job {
    Job { index: ahead.batch.header.index, batch: ahead.batch.hash, start: ahead.start }
}

impl Sender {
    pub(super) fn new(relayer: Relayer, controller: Option<Arc<Controller<Enclaves>>>, payout: Address) -> Self {
        Self { relayer, controller, payout, system: ProofSystem::Tee }
    }

    /// Sends a batch that waits ahead of L1; the request's key.
    ///
    /// # Errors
    /// That there is no proof of it yet, among others.
    pub(super) async fn send(&mut self, shared: &Shared, ahead: &Ahead) -> Result<String, Held> {
        let (index, job) = (ahead.batch.header.index, job(ahead));
        let enabled = enabled(shared).await?;
        for system in [self.system, other(self.system)].into_iter().filter(|system| enabled[*system as usize]) {
            let queue = QUEUES[system as usize];
            let (payout, proof) = match self.controller.as_ref().filter(|controller| controller.has(queue)) {
                None => (self.relayer.signer().address(), None),
                Some(controller) => {
                    let proofs = controller.proofs(queue).into_iter();
                    let Some((_, proof)) = { proofs }.find(|(of, _)| *of == job) else { continue };
                    let statement = ahead.statement(self.payout);
                    if let Some(reason) = refusal(shared, system, statement, &proof).await? {
                        controller.reject(queue, &job, &reason)?;
                        return Err(format!("a worker's proof of batch {index}: {reason}").into());
                    }
                    (self.payout, Some(proof))
                }
            };
            let data = ahead.call(system, payout, proof);
            let name = format!("rescue/{index}/{:x}", keccak256(&data));
            let state = shared.l1_state();
            let attempt = next_attempt(&self.relayer, &name, |mined| is_seen(&state, mined));
            // None: it is on its way.
            let Some(Attempt { key, .. }) = attempt else { return Ok(name) };
            let (to, sidecar) = (shared.settlement.rollup, Some(ahead.sidecar.clone()));
            let request = Request { key: key.clone(), to, value: Default::default(), data, gas_limit: None, sidecar };
            self.relayer.submit(request)?;
            self.relayer.step().await?;
            return Ok(key);
        }
        Err(format!("batch {index} can be committed by anyone, and waits for its proof").into())
    }

    /// Why a request failed, if it did: the next one has another system's proof.
    pub(super) fn failure(&mut self, key: &str) -> Option<String> {
        let failure = match self.relayer.state(key) {
            Some(State::Refused(revert)) => format!("the batch would revert: {revert}"),
            Some(State::Mined(mined) | State::Final(mined)) if !mined.success => {
                format!("the batch reverted in transaction {}", mined.hash)
            }
            Some(State::Displaced { .. } | State::Fenced { .. }) | None => {
                "the batch was displaced by another transaction of the account".into()
            }
            Some(_) => return None,
        };
        self.system = other(self.system);
        Some(failure)
    }
}

/// Commits queued messages alone.
pub(super) struct Rescuer {
    sender: Sender,
    /// How deep in L1 a message is that is stepped in for.
    depth: Depth,
    made: Option<Made>,
    /// L1's head at the last look for a message that waits.
    looked: B256,
}

/// Blocks of messages that this node made, to be committed.
struct Made {
    /// The batch that they follow.
    parent: Batch,
    /// The last of them.
    last: (u64, B256),
    /// Its time, in seconds.
    timestamp: u64,
    /// The batch of them, once L1's time is theirs.
    ahead: Option<Arc<Ahead>>,
    /// The request that commits it, once it is sent.
    key: Option<String>,
}

impl Rescuer {
    pub(super) fn new(sender: Sender, depth: Depth) -> Self {
        Self { sender, depth, made: None, looked: B256::ZERO }
    }

    /// Whether blocks of this node's own making wait for L1.
    pub(super) fn is_rescuing(&self) -> bool {
        self.made.is_some()
    }

    /// Looks at L1 and does what is to be done next.
    pub(super) async fn step(&mut self, shared: &Shared) {
        let outcome = match self.sender.relayer.step().await {
            Ok(()) => self.rescue(shared).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Rescue, outcome.and_then(|()| unstuck(&self.sender.relayer, shared.poll)));
    }

    async fn rescue(&mut self, shared: &Shared) -> Result<(), Held> {
        let state = shared.l1_state();
        if !state.latest.open || state.latest.halted {
            return Ok(());
        }
        if let Some(failed) = self.check(shared, &state)? {
            self.forget(shared);
            return Err(failed.into());
        }
        match &self.made {
            Some(Made { key: Some(_), .. }) => Ok(()),
            // `Rollup` takes no block of L1's future.
            Some(made) if made.timestamp > state.latest.block.timestamp => Ok(()),
            Some(_) => self.commit(shared, state).await,
            None => self.make(shared, state).await,
        }
    }

    fn forget(&mut self, shared: &Shared) {
        self.made = None;
        *shared.ahead.lock() = None;
    }

    /// Forgets the blocks that were made once they are on L1, or cannot be any more. Why their commit failed, if it did.
    fn check(&mut self, shared: &Shared, state: &L1State) -> Result<Option<String>, Held> {
        let Some(made) = &self.made else { return Ok(None) };
        let index = made.parent.header.index;
        let parent = state.batch(index)?.map(|batch| batch.hash);
        let next = state.batch(index + 1)?;
        let kept = shared.node.storage().view().block_hash(made.last.0)? == Some(made.last.1);
        // Its own batch is there, or somebody else's with messages: what this one would send reverts.
        let done = next
            .as_ref()
            .is_some_and(|next| next.header.last_block_hash == made.last.1 || next.header.version == MESSAGES_ALONE);
        // The operators have committed the message meanwhile: that batch is proven first, unless it is invalid.
        let head = state.batch(state.latest.head)?;
        let taken = made.key.is_none()
            && head.is_some_and(|head| head.header.end_message > made.parent.header.end_message)
            && next.as_ref().is_some_and(|next| !shared.is_invalid(next));
        if parent != Some(made.parent.hash) || !kept || done || taken {
            if let Some(key) = &made.key {
                self.sender.relayer.withdraw(key)?;
            }
            self.forget(shared);
            return Ok(None);
        }
        let Some(key) = made.key.clone() else { return Ok(None) };
        Ok(self.sender.failure(&key))
    }

    /// Makes the blocks, if a message has waited for too long.
    async fn make(&mut self, shared: &Shared, state: L1State) -> Result<(), Held> {
        if self.looked == state.latest.block.hash {
            return Ok(());
        }
        self.looked = state.latest.block.hash;
        let Some(waiting) = waiting(&shared.l1, &shared.settlement, &state).await? else { return Ok(()) };
        if state.latest.block.timestamp < waiting.overdue_at || self.sender.relayer.stuck().is_some() {
            return Ok(());
        }
        let Some(parent) = state.batch(waiting.proven)? else { return Ok(()) };
        let view = shared.node.storage().view();
        if view.block_hash(parent.header.last_block)? != Some(parent.header.last_block_hash) {
            return Err(format!("a message is overdue: batch {} has to be derived first", waiting.proven).into());
        }
        // A batch after it that has the message is proven first, unless it is invalid.
        let head = state.batch(state.latest.head)?;
        let takes = head.is_some_and(|head| head.header.end_message > parent.header.end_message);
        let next = state.batch(waiting.proven + 1)?;
        if takes && next.is_some_and(|next| !shared.is_invalid(&next)) {
            return Err(format!("a message is overdue: batch {} is not proven yet", waiting.proven + 1).into());
        }
        let last = parent.header.last_block;
        if view.head_number() > last {
            shared.node(move |node| node.unwind(last)).await?;
        }
        let (node, settlement) = (&shared.node, &shared.settlement);
        let step =
            origins::next_step(&shared.l1, settlement, &state, node.storage(), None, self.depth, node.now_ms()).await?;
        let messages = match step {
            Step::Consume { origin, messages } if !messages.is_empty() => Some((origin, messages)),
            _ => None,
        };
        let (origin, messages) = messages.ok_or("a message is overdue, and not deep enough in L1 yet")?;
        tracing::warn!(messages = messages.len(), after = last, "messages have waited for too long: stepping in");
        shared.node(move |node| node.consume(origin, messages)).await?;
        let head = shared.node.head();
        let (last, timestamp) = ((head.header.number, head.hash), head.header.timestamp);
        self.made = Some(Made { parent, last, timestamp, ahead: None, key: None });
        Ok(())
    }

    /// Commits the blocks that were made, once there is a proof.
    async fn commit(&mut self, shared: &Shared, state: L1State) -> Result<(), Held> {
        let Some(made) = &mut self.made else { return Ok(()) };
        let ahead = match &made.ahead {
            Some(ahead) => ahead.clone(),
            None => {
                let (node, parent) = (shared.node.clone(), made.parent.clone());
                let work = move || Ahead::messages(&node.storage().view(), node.spec(), &state, &parent);
                let ahead = Arc::new(spawn_blocking(work).await??);
                tracing::info!(
                    batch = ahead.batch.header.index,
                    end = ahead.batch.header.end_message,
                    "committing queued messages alone"
                );
                *shared.ahead.lock() = Some(ahead.clone());
                made.ahead.insert(ahead).clone()
            }
        };
        made.key = Some(self.sender.send(shared, &ahead).await?);
        Ok(())
    }
}
