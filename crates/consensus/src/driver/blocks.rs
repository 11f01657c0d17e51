//! Blocks: those that the leader seals, and those that checkpoints need.

use super::{Driver, Input, Judge, RETRY, Waiting};
use crate::{Error, Fraud, Judgement, Request, SealedBlocks, wire::decode_blocks, worker::Job};
use alloy_primitives::{B256, Bytes};
use jove_avc::{Event, MAX_BLOCKS, Message, Outcome};
use jove_primitives::block::Block;
use metrics::counter;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// After so long a question counts as lost, and is asked again.
const LOST: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn on_blocks(&mut self, sealed: SealedBlocks, judge: Judge) -> Result<(), Error> {
        let SealedBlocks { seal, blocks } = sealed;
        self.handle(Event::Message { from: B256::ZERO, message: Arc::new(Message::Seal(seal.clone())) })?;
        if !self.core.has_seal(&seal) {
            judge(if self.core.is_forged(&seal) { Judgement::Bad } else { Judgement::Idle });
            return Ok(());
        }
        judge(Judgement::Good);
        let mut cache = self.shared.blocks.lock();
        let mut new = false;
        for block in blocks {
            new |= cache.insert(block.header.hash_slow(), block);
        }
        drop(cache);
        let (_, view) = self.core.position();
        if new && !self.follows() && seal.term == view / self.core.term_length() {
            self.import_next();
        }
        Ok(())
    }

    /// Has the leader's blocks executed that follow the chain's last, before a proposal names them.
    pub(super) fn import_next(&mut self) {
        let Some((number, hash)) = self.core.last_seal() else { return };
        let (head, head_hash) = self.shared.chain.head();
        let waits = self.importing || self.import_again.is_some_and(|again| again > Instant::now());
        if self.leading || waits || number <= head || number - head > MAX_BLOCKS {
            return;
        }
        if let Ok(blocks) = self.gather(number, hash)
            && blocks.first().is_some_and(|first| first.header.parent_hash == head_hash)
        {
            self.importing = true;
            let _ = self.jobs.send(Job::Import(blocks));
        }
    }

    /// The blocks from the chain to this one, oldest first; else the number and hash of one that is lacking.
    pub(super) fn gather(&self, number: u64, hash: B256) -> Result<Vec<Block>, (u64, B256)> {
        let cache = self.shared.blocks.lock();
        let (mut blocks, mut number, mut hash) = (Vec::new(), number, hash);
        while self.shared.chain.hash_at(number) != Some(hash) {
            let block = cache.get(&hash).filter(|block| block.header.number == number).ok_or((number, hash))?;
            (number, hash) = (number.checked_sub(1).ok_or((number, hash))?, block.header.parent_hash);
            blocks.push(Block::clone(&block));
        }
        blocks.reverse();
        Ok(blocks)
    }

    /// Asks for blocks from this one down to another, unless that was asked just now.
    pub(super) fn fetch(&mut self, (number, hash): (u64, B256), after: u64, of: Option<B256>) {
        if self.fetching.get(&hash).is_some_and(|since| since.elapsed() < LOST) {
            return;
        }
        self.fetching.retain(|_, since| since.elapsed() < LOST);
        self.fetching.insert(hash, Instant::now());
        counter!("jove_consensus_fetches_total").increment(1);
        let inputs = self.inputs.clone();
        let count = number.saturating_sub(after).clamp(1, MAX_BLOCKS);
        let request = Request::Blocks { number, hash, count }.encode();
        let reply = Box::new(move |answer: Option<Bytes>| {
            let (blocks, judgement) = match answer.map(|answer| decode_blocks(&answer, hash)) {
                Some(Some(blocks)) if !blocks.is_empty() => (blocks, Judgement::Good),
                Some(None) => (Vec::new(), Judgement::Bad),
                _ => (Vec::new(), Judgement::Idle),
            };
            let _ = inputs.try_send(Input::Fetched { hash, blocks });
            judgement
        });
        self.peers.request(of, request, reply);
    }

    /// Executes what waits and has its blocks; asks for those that are lacking. What follows the last final checkpoint waits for the chain to have that.
    pub(super) fn retry(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.strayed.is_some() {
            return self.return_to_final(now);
        }
        for mut one in std::mem::take(&mut self.waiting) {
            if one.not_before > now || !self.core.wants(&one.digest) {
                self.waiting.push(one);
                continue;
            }
            let Some(parent) = self.tip_of(&one.checkpoint.parent) else {
                one.not_before = now + RETRY;
                self.waiting.push(one);
                continue;
            };
            match self.gather(one.checkpoint.last_number, one.checkpoint.last_hash) {
                Ok(blocks) => {
                    let Waiting { digest, checkpoint, .. } = one;
                    let ends = match checkpoint.next {
                        Some(_) => Some(self.epoch_until(checkpoint.parent)?),
                        None => None,
                    };
                    self.running.insert(digest, checkpoint.clone());
                    let after = (parent.last_number, parent.last_hash);
                    let _ = self.jobs.send(Job::Execute { digest, checkpoint, after, blocks, ends });
                }
                Err(lacking) => {
                    let lacking = self.with_those_after(lacking);
                    let proposer = self.core.anchor().set.validators().get(usize::from(one.checkpoint.proposer));
                    // The proposer first, then whoever may have it.
                    let fresh = self.proposed.get(&one.digest).is_some_and(|(since, _)| since.elapsed() < 2 * RETRY);
                    let of = proposer.map(|one| one.id).filter(|id| fresh && Some(*id) != self.me);
                    self.fetch(lacking, self.core.tip().last_number, of);
                    one.not_before = now + RETRY;
                    self.waiting.push(one);
                }
            }
        }
        Ok(())
    }

    pub(super) fn on_executed(&mut self, digest: B256, outcome: Outcome, fraud: Option<Fraud>) -> Result<(), Error> {
        if let Some(checkpoint) = self.running.remove(&digest)
            && let Outcome::Invalid { reason, witness } = &outcome
        {
            debug_assert!(fraud.is_some());
            self.view.invalid |= self.view.digest == Some(digest);
            self.flag(&checkpoint, *reason, witness.clone())?;
        }
        self.view.executed |= self.view.digest == Some(digest);
        self.handle(Event::Executed { digest, outcome })
    }
}
