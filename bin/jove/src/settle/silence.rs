//! Stepping in where the operators do not commit: a batch that validators certified, committed and proven in one transaction. Of a node on a chain with validators, which
//! has its FinalCert.

use super::{
    Held, Shared,
    certificates::{Certificates, check_era, publish},
    rescue::Sender,
    unstuck, weigh,
};
use alloy_primitives::{B256, keccak256};
use jove_settlement::{
    committer::Committer,
    rescue::{Ahead, Silent, silent},
    status::Stage,
    watcher::L1State,
};
use std::{sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// Most blobs of a batch.
const BLOBS: usize = 6;
/// How many turns there are, drawn anew for each batch, and how long one is: three L1 blocks.
const TURNS: u64 = 8;
const TURN: Duration = Duration::from_secs(36);

/// Commits in the operators' place.
pub(super) struct Silence {
    sender: Sender,
    committer: Committer,
    /// How old the oldest block is then, at least: operators too wait for more.
    deadline: Duration,
    waiting: Option<Waiting>,
    /// The validators whose keys L1 is known to have.
    published: Option<B256>,
    /// L1's head at the last look.
    looked: B256,
}

/// A batch under way.
struct Waiting {
    ahead: Arc<Ahead>,
    /// The request that commits it, once it is sent.
    key: Option<String>,
}

impl Silence {
    pub(super) fn new(shared: &Shared, sender: Sender, deadline: Duration, instructions: u64) -> Self {
        let (node, ends) = (&shared.node, Box::new(Certificates(shared.beside.clone())));
        let committer = Committer::new(node.storage().clone(), ends, node.spec().chain_id, BLOBS);
        let (waiting, published, looked) = (None, None, B256::ZERO);
        Self { sender, committer: committer.bounded(instructions), deadline, waiting, published, looked }
    }

    /// Looks at L1 again and again, and does what is to be done.
    pub(super) async fn stand_by(mut self, shared: Shared) {
        let mut l1 = shared.handle.l1.clone();
        loop {
            let outcome = match self.sender.relayer.step().await {
                Ok(()) => self.step(&shared).await,
                Err(error) => Err(error.into()),
            };
            shared.status(Stage::Rescue, outcome.and_then(|()| unstuck(&self.sender.relayer, shared.poll)));
            shared.wait(&mut l1).await;
        }
    }

    async fn step(&mut self, shared: &Shared) -> Result<(), Held> {
        if let Some(reason) = shared.node.detached() {
            return Err(reason.into());
        }
        let state = shared.l1_state();
        if !state.latest.open || state.latest.halted {
            return Ok(());
        }
        if let Err(held) = check_era(shared, &state) {
            // What L1 began anew has another parent: what is under way is not proven any more.
            self.check(shared, &state)?;
            self.forget(shared);
            return Err(held);
        }
        if let Some(failed) = self.check(shared, &state)? {
            self.forget(shared);
            return Err(failed.into());
        }
        if self.waiting.is_none() {
            self.look(shared, &state).await?;
        }
        if let Some(waiting) = &mut self.waiting
            && waiting.key.is_none()
        {
            waiting.key = Some(self.sender.send(shared, &waiting.ahead).await?);
        }
        Ok(())
    }

    fn forget(&mut self, shared: &Shared) {
        self.waiting = None;
        *shared.ahead.lock() = None;
    }

    /// Forgets the batch once it, or another, is on L1, or this chain has other blocks. Why its commit failed, if it did.
    fn check(&mut self, shared: &Shared, state: &L1State) -> Result<Option<String>, Held> {
        let Some(waiting) = &self.waiting else { return Ok(None) };
        let header = &waiting.ahead.batch.header;
        let head = state.batch(state.latest.head)?.map(|head| head.hash);
        let kept = shared.node.storage().view().block_hash(header.last_block)? == Some(header.last_block_hash);
        if head != Some(header.parent_batch_hash) || !kept {
            if let Some(key) = &waiting.key {
                self.sender.relayer.withdraw(key)?;
            }
            self.forget(shared);
            return Ok(None);
        }
        let Some(key) = waiting.key.clone() else { return Ok(None) };
        Ok(self.sender.failure(&key))
    }

    /// Cuts a batch, if anyone may commit it now.
    async fn look(&mut self, shared: &Shared, state: &L1State) -> Result<(), Held> {
        // What may be withdrawn yet is not committed.
        let upto = shared.node.certified();
        let backlog = tokio::task::block_in_place(|| self.committer.collect(state, upto))?;
        let Some(backlog) = backlog.filter(|backlog| backlog.blocks > 0) else { return Ok(()) };
        // Nothing else that is looked at changes before L1's head does.
        if self.looked == state.latest.block.hash || self.sender.relayer.is_sending() {
            return Ok(());
        }
        self.looked = state.latest.block.hash;
        let age = backlog.since_ms.map_or(0, |since| shared.node.now_ms().saturating_sub(since));
        if Duration::from_millis(age) < self.deadline {
            return Ok(());
        }
        let Silent { proven, silent_at } = silent(&shared.l1, &shared.settlement).await?;
        let last = state.latest.head;
        // Whoever steps in, one of them is first: the others see its batch, and pay for none that reverts.
        let head = state.batch(last)?.map(|head| head.hash).unwrap_or_default();
        let account = self.sender.relayer.signer().address();
        let turn = u64::from(keccak256([account.as_slice(), head.as_slice()].concat())[0]) % TURNS;
        let wait = if shared.node.spec().development { 0 } else { turn * TURN.as_secs() };
        if state.latest.block.timestamp < silent_at + wait
            || Duration::from_millis(age) < self.deadline + Duration::from_secs(wait)
        {
            return Ok(());
        }
        if proven < last {
            return Err(format!("anyone can commit now: batch {last} is not proven yet").into());
        }
        let commit = weigh::next_commit(shared, &mut self.committer, state, upto).await?;
        let Some(commit) = commit else { return Ok(()) };
        let relayer = &mut self.sender.relayer;
        if !publish(shared, relayer, state, commit.last_block, &mut self.published).await? {
            return Ok(());
        }
        let Some(parent) = state.batch(commit.index - 1)? else { return Ok(()) };
        let (first_block, last_block) = (commit.first_block, commit.last_block);
        let (node, state) = (shared.node.clone(), state.clone());
        let work = move || Ahead::certified(&node.storage().view(), node.spec(), &state, &parent, commit);
        let ahead = Arc::new(spawn_blocking(work).await??);
        let batch = ahead.batch.header.index;
        tracing::warn!(batch, first_block, last_block, "the operators do not commit: stepping in");
        *shared.ahead.lock() = Some(ahead.clone());
        self.waiting = Some(Waiting { ahead, key: None });
        Ok(())
    }
}
