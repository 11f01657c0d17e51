//! The adversary: sees all, forms certificates, replays, lies.

use super::{Simulation, What};
use crate::{Bitmap, Certificate, Kind, Message, Reject, Signature, Vote, buddy_quorum};
use std::sync::Arc;

/// Whom formed certificates come from: a node that no wrong signature has discredited.
const NOBODY: usize = 255;

impl Simulation {
    /// Sees what is sent, and forms what certificates it can from honest votes.
    pub(super) fn observe(&mut self, from: usize, message: &Message) {
        match message {
            Message::Proposal(proposal) => {
                if self.checker.is_honest(from) {
                    self.checker.proposed(from, proposal);
                }
                self.learn(from, &proposal.checkpoint);
                self.note_committee(proposal);
            }
            Message::Vote(vote) if self.checker.is_honest(from) => {
                if let Some(voters) = self.checker.voted(from, vote) {
                    self.form(vote, voters);
                }
            }
            _ => {}
        }
    }

    fn note_committee(&mut self, proposal: &crate::Proposal) {
        if let Some(output) = self.scheme.vrf_output(&proposal.proof) {
            let set = self.set(proposal.checkpoint.epoch);
            let committee = set.committee(&output, self.plan.seats);
            self.committees.insert((proposal.checkpoint.epoch, proposal.view), committee);
        }
    }

    fn form(&mut self, vote: &Vote, voters: u64) {
        if self.plan.byzantine.is_empty() || self.plan.forging == 0 {
            return;
        }
        let key = (vote.kind, vote.epoch, vote.view, vote.digest);
        let honest = self.signatures.entry(key).or_default();
        honest.push((vote.signer, vote.signature));
        let byzantine = self.plan.byzantine.len();
        let buddies = vote.kind == Kind::Buddy;
        if buddies && self.plan.mute_buddies {
            return;
        }
        if !buddies && voters.count_ones() as usize + byzantine != self.checker.quorum().max(byzantine + 1) {
            return;
        }
        let mut signatures = honest.clone();
        let set = self.set(vote.epoch);
        let committee = self.committees.get(&(vote.epoch, vote.view)).copied();
        let statement = self.settings.domain.statement(vote.kind, vote.epoch, vote.view, &vote.digest);
        for signer in self.signers.iter().take(byzantine) {
            if let Some(index) = set.index(&signer.id()) {
                signatures.push((index, signer.sign(&statement)));
            }
        }
        if buddies {
            let Some(committee) = committee else { return };
            signatures.retain(|(signer, _)| committee.contains(*signer));
            if signatures.len() != buddy_quorum(committee.count()) {
                return;
            }
        }
        let mut signers = Bitmap::default();
        signatures.iter().for_each(|(signer, _)| signers.insert(*signer));
        let list: Vec<Signature> = signatures.iter().map(|(_, signature)| *signature).collect();
        let Some(signature) = self.scheme.aggregate(&list) else { return };
        let certificate = Certificate {
            kind: vote.kind,
            epoch: vote.epoch,
            view: vote.view,
            digest: vote.digest,
            signers,
            signature,
        };
        let message = Arc::new(Message::Certificate(certificate));
        for to in 0..self.instances.len() {
            if self.random.chance(self.plan.forging) {
                let most = if self.random.chance(500) { 20 } else { 4_000 };
                let delay = self.random.within(1, most);
                self.schedule(self.now + delay, What::Deliver { to, from: NOBODY, message: message.clone() });
            }
        }
    }

    /// Replays, false witnesses, and in some runs wrong signatures, which cost a node the others' trust.
    pub(super) fn mischief(&mut self) {
        let forges = self.plan.seed.is_multiple_of(4);
        self.schedule(self.now + 300, What::Mischief);
        if self.plan.byzantine.is_empty() || self.memory.is_empty() {
            return;
        }
        for _ in 0..3 {
            let index = self.random.below(self.memory.len() as u64) as usize;
            let to = self.random.below(self.instances.len() as u64) as usize;
            let mut message = Message::clone(&self.memory[index]);
            match &mut message {
                Message::Vote(vote) if forges && self.random.chance(500) => vote.signature[7] ^= 1,
                Message::Certificate(certificate) if forges && self.random.chance(300) => certificate.view += 1,
                Message::Proposal(proposal) if self.random.chance(300) => {
                    let reject = Reject {
                        epoch: proposal.checkpoint.epoch,
                        view: proposal.view,
                        digest: proposal.checkpoint.digest(),
                        reason: 1,
                        witness: vec![0],
                    };
                    message = Message::Reject(Box::new(reject));
                }
                _ => {}
            }
            let from = self.random.below(self.plan.byzantine.len() as u64) as usize;
            self.schedule(self.now + 1, What::Deliver { to, from, message: Arc::new(message) });
        }
    }
}
