//! Stepping in where the operators leave a message waiting: blocks of messages, committed and proven in one transaction.

use super::{Held, Shared, unstuck};
use alloy_primitives::{B256, keccak256};
use jove_primitives::batch::hash::MESSAGES_ALONE;
use jove_settlement::{
    contracts::ProofSystem,
    origins::{self, Depth, Step},
    relayer::{Relayer, Request, State},
    rescue::{rescue, waiting},
    status::Stage,
    watcher::{Batch, L1State},
};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Commits queued messages alone, from an account of its own.
pub(super) struct Rescuer {
    relayer: Relayer,
    /// How deep in L1 a message is that is stepped in for.
    depth: Depth,
    made: Option<Made>,
    /// Whose proof the next batch has: the other one's, where one is refused.
    system: ProofSystem,
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
    /// The request that commits them, once it is sent.
    key: Option<String>,
}

impl Rescuer {
    pub(super) fn new(relayer: Relayer, depth: Depth) -> Self {
        Self { relayer, depth, made: None, system: ProofSystem::Tee, looked: B256::ZERO }
    }

    /// Whether blocks of this node's own making wait for L1.
    pub(super) fn is_rescuing(&self) -> bool {
        self.made.is_some()
    }

    /// Looks at L1 and does what is to be done next.
    pub(super) async fn step(&mut self, shared: &Shared) {
        let outcome = match self.relayer.step().await {
            Ok(()) => self.rescue(shared).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Rescue, outcome.and_then(|()| unstuck(&self.relayer, shared.poll)));
    }

    async fn rescue(&mut self, shared: &Shared) -> Result<(), Held> {
        let state = shared.l1_state();
        if !state.latest.open || state.latest.halted {
            return Ok(());
        }
        if let Some(failed) = self.check(shared, &state)? {
            self.made = None;
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

    /// Forgets the blocks that were made once they are on L1, or cannot be any more. Why their commit failed, if it did.
    fn check(&mut self, shared: &Shared, state: &L1State) -> Result<Option<String>, Held> {
        let Some(made) = &self.made else { return Ok(None) };
        let index = made.parent.header.index;
        let parent = state.batch(index)?.map(|batch| batch.hash);
        let next = state.batch(index + 1)?;
        let kept = shared.node.storage().view().block_hash(made.last.0)? == Some(made.last.1);
        // Its own batch is there, or somebody else's with messages: what this one would send reverts.
        let done = next
            .is_some_and(|next| next.header.last_block_hash == made.last.1 || next.header.version == MESSAGES_ALONE);
        if parent != Some(made.parent.hash) || !kept || done {
            if let Some(key) = &made.key {
                self.relayer.withdraw(key)?;
            }
            self.made = None;
            return Ok(None);
        }
        let Some(key) = &made.key else { return Ok(None) };
        let failure = match self.relayer.state(key) {
            Some(State::Refused(revert)) => format!("the batch of messages would revert: {revert}"),
            Some(State::Mined(mined) | State::Final(mined)) if !mined.success => {
                format!("the batch of messages reverted in transaction {}", mined.hash)
            }
            Some(State::Displaced { .. } | State::Fenced { .. }) | None => {
                "the batch of messages was displaced by another transaction of the account".into()
            }
            Some(_) => return Ok(None),
        };
        self.system = match self.system {
            ProofSystem::Tee => ProofSystem::Zk,
            ProofSystem::Zk => ProofSystem::Tee,
        };
        Ok(Some(failure))
    }

    /// Makes the blocks, if a message has waited for too long.
    async fn make(&mut self, shared: &Shared, state: L1State) -> Result<(), Held> {
        if self.looked == state.latest.block.hash {
            return Ok(());
        }
        self.looked = state.latest.block.hash;
        let Some(waiting) = waiting(&shared.l1, &shared.settlement, &state).await? else { return Ok(()) };
        if state.latest.block.timestamp < waiting.overdue_at || self.relayer.stuck().is_some() {
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
        self.made = Some(Made { parent, last, timestamp, key: None });
        Ok(())
    }

    /// Commits the blocks that were made.
    async fn commit(&mut self, shared: &Shared, state: L1State) -> Result<(), Held> {
        let Some(made) = &mut self.made else { return Ok(()) };
        let (node, parent, payout) = (shared.node.clone(), made.parent.clone(), self.relayer.signer().address());
        let system = self.system;
        let work = move || rescue(&node.storage().view(), node.spec(), &state, &parent, system, payout);
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
}
