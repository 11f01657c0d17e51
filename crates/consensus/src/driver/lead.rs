//! Leading: when there is something to propose, what is asked of the chain for it, and the blocks that are given away.

use super::{Building, Driver, LOOK, RETRY};
use crate::{
    Error, Gossip, SealedBlocks,
    reports::Range,
    worker::{Epoch, Job},
};
use alloy_primitives::B256;
use jove_avc::{Content, Event, MAX_BLOCKS, Seal, weights};
use jove_primitives::block::Block;
use std::time::{Duration, Instant};

/// How far blocks may be ahead of the last certified one before their leader seals no more: what nobody certifies may be withdrawn.
const AHEAD: Duration = Duration::from_secs(30);

impl Driver {
    pub(super) fn build(&mut self) -> Result<(), Error> {
        let stalled = self.is_stalled();
        let Some(building) = &mut self.building else { return Ok(()) };
        if building.asked || building.not_before > Instant::now() {
            return Ok(());
        }
        let Building { view, parent, empty, last, .. } = *building;
        if self.shared.chain.hash_at(parent.last_number) == Some(parent.last_hash) {
            building.asked = true;
            let ends = if last { Some(self.epoch_until(parent.digest)?) } else { None };
            let lead = !stalled;
            if lead && !self.leading {
                self.published = parent.last_number;
            }
            self.leading = lead;
            let _ = self.jobs.send(Job::Build { view, parent, lead, empty, ends });
        } else {
            building.not_before = Instant::now() + RETRY;
            // The parent was executed once, and another branch since.
            match self.gather(parent.last_number, parent.last_hash) {
                Ok(_) if self.importing => {}
                Ok(blocks) => {
                    self.importing = true;
                    let _ = self.jobs.send(Job::Import(blocks));
                }
                Err(lacking) => self.fetch(lacking, self.core.tip().last_number, None),
            }
        }
        Ok(())
    }

    /// The epoch up to a checkpoint of it, whose ancestors are all known or kept here.
    pub(super) fn epoch_until(&self, parent: B256) -> Result<Box<Epoch>, Error> {
        let anchor = self.core.anchor();
        let mut record = weights::Record::new(anchor.set.size());
        let mut blocks: Vec<Range> = Vec::new();
        let mut digest = parent;
        while digest != anchor.start.digest {
            let kept = match self.known.get(&digest) {
                Some(_) => None,
                None => self.shared.store.by_digest(digest)?,
            };
            let checkpoint =
                self.known.get(&digest).map(|known| &**known).or(kept.as_ref().map(|kept| &kept.checkpoint));
            let checkpoint = checkpoint.ok_or(Error::Corrupt("a checkpoint of the epoch is missing"))?;
            record.checkpoint(checkpoint);
            let (epoch, last) = (anchor.epoch, checkpoint.last_number);
            if let Some(child) = blocks.last_mut() {
                child.first = last + 1;
            }
            blocks.push(Range { digest, epoch, first: last, last });
            digest = checkpoint.parent;
        }
        if let Some(lowest) = blocks.last_mut() {
            lowest.first = anchor.start.last_number + 1;
        }
        let (set, next, start) = (anchor.set.clone(), anchor.next.clone(), anchor.start.origin);
        Ok(Box::new(Epoch { set, next, start, record, blocks }))
    }

    pub(super) fn on_built(&mut self, view: u64, content: Option<Box<Content>>) -> Result<(), Error> {
        let Some(building) = self.building.as_mut().filter(|building| building.view == view) else { return Ok(()) };
        match content {
            Some(content) => {
                self.building = None;
                self.last_built = Some(Instant::now());
                self.handle(Event::Built { view, content })
            }
            None => {
                building.asked = false;
                building.not_before = Instant::now() + LOOK;
                Ok(())
            }
        }
    }

    pub(super) fn new_head(&mut self, number: u64, hash: B256) -> Result<(), Error> {
        if let Some(building) = &mut self.building {
            let soonest = self.last_built.map_or_else(Instant::now, |last| last + self.interval);
            building.not_before = building.not_before.min(soonest);
        }
        if self.leading && number > self.published {
            self.handle(Event::Seal { number, hash })?;
        }
        Ok(())
    }

    pub(super) fn look_for_work(&mut self) -> Result<(), Error> {
        if self.follows() {
            return Ok(());
        }
        let (head, _) = self.shared.chain.head();
        let is_ahead = head > self.core.tip().last_number;
        self.ahead = if is_ahead { self.ahead.or_else(|| Some(Instant::now())) } else { None };
        if self.leading && self.is_stalled() {
            tracing::warn!(block = head, "no quorum has certified a block for 30 s: no more are sealed until one does");
            self.stop_leading();
        }
        let work = is_ahead || self.shared.chain.has_work(self.status_leads());
        if work != self.work {
            self.work = work;
            self.handle(Event::Work(work))?;
        }
        Ok(())
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.ahead.is_some_and(|since| since.elapsed() >= AHEAD)
    }

    pub(super) fn status_leads(&self) -> bool {
        self.shared.status.lock().leading
    }

    pub(super) fn stop_leading(&mut self) {
        if std::mem::take(&mut self.leading) {
            let _ = self.jobs.send(Job::Follow);
        }
    }

    /// Gives away the blocks up to a sealed one that were not given away before.
    pub(super) fn give_away(&mut self, seal: Seal) {
        let first = (self.published + 1).max(seal.number.saturating_sub(MAX_BLOCKS - 1));
        let blocks: Option<Vec<Block>> = (first..=seal.number).map(|number| self.shared.chain.block(number)).collect();
        if let Some(blocks) = blocks
            && blocks.last().is_some_and(|last| last.header.hash_slow() == seal.hash)
        {
            self.published = seal.number;
            self.peers.publish(Gossip::Blocks, SealedBlocks { seal, blocks }.encode());
        }
    }
}
