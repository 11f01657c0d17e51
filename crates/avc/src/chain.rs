//! Which checkpoint may follow which: accepting proposals, voting on them, and making them.

use crate::core::{Building, Core, Execution, Parent};
use crate::event::Content;
use crate::mutation::Mutation;
use crate::rules::Justified;
use crate::{
    Certificate, Checkpoint, Effect, Kind, MAX_BLOCKS, Message, NextSet, Proposal, Record, Reject, Timer, Tip,
};
use alloy_primitives::B256;
use std::sync::Arc;

enum Finding {
    Accept,
    Wait,
    Refuse,
}

impl Core {
    pub(crate) fn certificate_at(&self, view: u64) -> Option<&Certificate> {
        self.notarized.get(&view).or_else(|| self.final_certificate.as_ref().filter(|last| last.view == view))
    }

    /// Rule 1: whether a proposal of `view` may build on the checkpoint certified in `parent`, or on the start of the epoch.
    fn justified(&self, view: u64, parent: Option<u64>) -> Justified {
        let skip = |term: u64| self.skips.get(&term).map(|lowest| lowest.view);
        self.rules().justified(view, parent, self.final_view(), skip)
    }

    fn tip_of(&self, digest: &B256) -> Option<Tip> {
        if *digest == self.tip.digest {
            return Some(self.tip);
        }
        self.entries.get(digest).map(|entry| Tip::of(&entry.checkpoint, *digest))
    }

    /// Takes a valid proposal of the current view, the first that is.
    pub(crate) fn accept(&mut self) {
        let view = self.view;
        let Some(round) = self.rounds.get(&view) else { return };
        if round.accepted.is_some() && !self.tampering.breaks(Mutation::NotarizeTwice) {
            return;
        }
        for proposal in round.proposals.clone() {
            let digest = proposal.checkpoint.digest();
            if self.rounds.get(&view).is_some_and(|round| round.accepted == Some(digest)) {
                continue;
            }
            match self.examine(&proposal, &digest) {
                Finding::Accept => {
                    if !self.entries.contains_key(&digest) {
                        self.persist(Record::Checkpoint(Box::new(proposal.checkpoint.clone())));
                        self.insert(digest, proposal.checkpoint.clone());
                    }
                    let timer = Timer::Buddy { epoch: self.anchor.epoch, view };
                    self.effects.push(Effect::SetTimer { timer, after: self.settings.timing.buddy });
                    self.rounds.entry(view).or_default().accepted = Some(digest);
                    return;
                }
                Finding::Wait => {}
                Finding::Refuse => {
                    // its slot stays taken, so that a leader costs two checks a view, however often it sends
                }
            }
        }
    }

    fn examine(&mut self, proposal: &Proposal, digest: &B256) -> Finding {
        let certificate = proposal.justification.as_ref();
        match self.justified(proposal.view, certificate.map(|certificate| certificate.view)) {
            Justified::Yes => {}
            Justified::Missing(from) => {
                self.missing = Some(from);
                let leader = self.leader(self.term(proposal.view));
                let peer = self.set.validators()[usize::from(leader)].id;
                self.ask(peer);
                return Finding::Wait;
            }
            Justified::Never => return Finding::Refuse,
        }
        let parent = match certificate {
            None => self.anchor.start,
            Some(certificate) => match self.tip_of(&certificate.digest) {
                Some(tip) => tip,
                None => {
                    self.want(certificate.digest, None);
                    return Finding::Wait;
                }
            },
        };
        if certificate.is_some() && parent.height == self.end() {
            return if parent.digest == *digest { Finding::Accept } else { Finding::Refuse };
        }
        let checkpoint = &proposal.checkpoint;
        let signers = certificate.map(|certificate| certificate.signers).unwrap_or_default();
        let term = self.term(proposal.view);
        let fits = checkpoint.chain_id == self.settings.domain.chain_id
            && checkpoint.era == self.settings.domain.era
            && checkpoint.height == parent.height + 1
            && checkpoint.height <= self.end()
            && checkpoint.view == proposal.view
            && checkpoint.proposer == self.leader(term)
            && checkpoint.proof == proposal.proof
            && checkpoint.parent == parent.digest
            && checkpoint.parent_signers == signers
            && checkpoint.last_number > parent.last_number
            && checkpoint.last_number <= parent.last_number + MAX_BLOCKS
            && checkpoint.origin.number >= parent.origin.number
            && checkpoint.set_version == self.anchor.epoch
            && checkpoint.set_hash == self.set_hash
            && checkpoint.weight_root == self.weight_root
            && checkpoint.evidence_root.is_zero()
            && checkpoint.next.is_some() == (checkpoint.height == self.end());
        if fits { Finding::Accept } else { Finding::Refuse }
    }

    /// BuddyVote, Notarize, or Skip of what is invalid: rule 1.
    pub(crate) fn vote(&mut self) {
        let view = self.view;
        let Some(me) = self.me else { return };
        let Some(round) = self.rounds.get(&view) else { return };
        let Some(digest) = round.accepted else { return };
        let buddy = round.committee.is_some_and(|committee| committee.contains(me));
        let (soft, late, rejected) = (round.soft.contains(&digest), round.buddies_late, round.rejected);
        let Some(entry) = self.entries.get(&digest) else { return };
        match entry.execution.clone() {
            Execution::Invalid { reason, witness } => {
                if self.tampering.breaks(Mutation::NoSkipOfInvalid) {
                    return;
                }
                if buddy && !rejected && !witness.is_empty() {
                    self.rounds.entry(view).or_default().rejected = true;
                    let reject = Reject { epoch: self.anchor.epoch, view, digest, reason, witness };
                    self.broadcast(Message::Reject(Box::new(reject)));
                }
                self.skip();
            }
            Execution::Waiting | Execution::Running if !self.tampering.breaks(Mutation::VoteUnexecuted) => {}
            _ => {
                let skipped = self.skipped(view) && !self.tampering.breaks(Mutation::NotarizeAfterSkip);
                if skipped || !self.may_vote() {
                    return;
                }
                if buddy && !self.sent(Kind::Buddy, view) {
                    self.cast(Kind::Buddy, view, digest);
                }
                if self.view != view {
                    return;
                }
                let soft = soft || self.rounds.get(&view).is_some_and(|round| round.soft.contains(&digest));
                let late = late && !self.tampering.breaks(Mutation::NoBuddyTimer);
                let new = self.rules().may_notarize(view, self.said(view)) && !self.notarized_already(view, &digest);
                if (soft || late) && new {
                    self.cast(Kind::Notarize, view, digest);
                    if self.tampering.breaks(Mutation::FinalizeUncertified) && !self.sent(Kind::Finalize, view) {
                        self.cast(Kind::Finalize, view, digest);
                    }
                }
            }
        }
    }

    fn notarized_already(&self, view: u64, digest: &B256) -> bool {
        let mut votes = self.own.get(&view).into_iter().flat_map(|own| &own.votes);
        votes.any(|vote| vote.kind == Kind::Notarize && vote.digest == *digest)
    }

    // --- leading ---

    /// Asks the host for blocks, or proposes the end of the epoch again, when this node leads the current view.
    pub(crate) fn lead(&mut self) {
        let view = self.view;
        let proposed = self.own.get(&view).is_some_and(|own| own.proposal.is_some());
        let leader = self.leader(self.term(view));
        if proposed || !self.may_vote() || self.me != Some(leader) || self.skipped(view) {
            return;
        }
        let Some(parent) = self.choose(view) else { return };
        let last = parent.tip.height == self.end() && parent.certificate.is_some();
        if parent.tip.digest != self.tip.digest && !self.empty_timer {
            self.empty_timer = true;
            let timer = Timer::Empty { epoch: self.anchor.epoch, view };
            self.effects.push(Effect::SetTimer { timer, after: self.settings.timing.empty });
        }
        if last {
            if (self.is_first(view) || self.empty_due)
                && let Some(entry) = self.entries.get(&parent.tip.digest)
            {
                let checkpoint = Checkpoint::clone(&entry.checkpoint);
                self.propose(checkpoint, parent.certificate);
            }
            return;
        }
        let empty = self.empty_due && parent.tip.digest != self.tip.digest;
        if !self.is_executed(&parent.tip.digest) || !(self.work || empty) {
            return;
        }
        if self.building.as_ref().is_some_and(|building| building.view == view && (building.empty || !empty)) {
            return;
        }
        let (height, digest) = (parent.tip.height + 1, parent.tip.digest);
        self.building = Some(Building { view, parent, empty });
        let (epoch, last) = (self.anchor.epoch, height == self.end());
        self.effects.push(Effect::Build { epoch, view, height, parent: digest, empty, last });
    }

    /// The parent to build on: the highest certified checkpoint, if that is justified.
    fn choose(&mut self, view: u64) -> Option<Parent> {
        if self.tampering.oldest_parent()
            && let Some(parent) = self.oldest(view)
        {
            return Some(parent);
        }
        let notarized = self.notarized.range(..view).next_back().map(|(_, certificate)| certificate);
        let last = self.final_certificate.as_ref();
        let certificate = [notarized, last].into_iter().flatten().max_by_key(|certificate| certificate.view).cloned();
        match self.justified(view, certificate.as_ref().map(|certificate| certificate.view)) {
            Justified::Yes => {}
            Justified::Missing(from) => {
                self.missing = Some(from);
                let peer = self.next_peer();
                self.ask(peer);
                return None;
            }
            Justified::Never => return None,
        }
        let Some(certificate) = certificate else {
            return Some(Parent { certificate: None, tip: self.anchor.start });
        };
        match self.tip_of(&certificate.digest) {
            Some(tip) => Some(Parent { certificate: Some(certificate), tip }),
            None => {
                self.want(certificate.digest, None);
                None
            }
        }
    }

    /// An adversary's choice: the oldest parent it knows, on its own views' first chance to fork.
    fn oldest(&self, view: u64) -> Option<Parent> {
        if self.tip.digest == self.anchor.start.digest && self.is_first(view) {
            return Some(Parent { certificate: None, tip: self.anchor.start });
        }
        let from = if self.is_first(view) { 0 } else { self.first(self.term(view)) };
        let last = self.final_certificate.iter().filter(|last| last.view >= from);
        let candidates = last.chain(self.notarized.range(from..view).map(|(_, certificate)| certificate));
        { candidates }.find_map(|certificate| {
            let tip = self.tip_of(&certificate.digest).filter(|tip| self.is_executed(&tip.digest))?;
            Some(Parent { certificate: Some(certificate.clone()), tip })
        })
    }

    pub(crate) fn built(&mut self, view: u64, content: Content) {
        let proposed = self.own.get(&view).is_some_and(|own| own.proposal.is_some());
        if view != self.view || proposed || self.skipped(view) || !self.may_vote() {
            return;
        }
        let (Some(building), Some(me), Some(signer)) =
            (self.building.take_if(|building| building.view == view), self.me, self.signer.clone())
        else {
            return;
        };
        let Parent { certificate, tip } = building.parent;
        if content.last_number <= tip.last_number || content.last_number > tip.last_number + MAX_BLOCKS {
            return;
        }
        let checkpoint = Checkpoint {
            chain_id: self.settings.domain.chain_id,
            era: self.settings.domain.era,
            epoch: self.anchor.epoch,
            height: tip.height + 1,
            view,
            proposer: me,
            proof: signer.vrf_prove(&self.settings.domain.vrf_input(&self.anchor.seed, view)),
            parent: tip.digest,
            parent_signers: certificate.as_ref().map(|certificate| certificate.signers).unwrap_or_default(),
            last_number: content.last_number,
            last_hash: content.last_hash,
            state_root: content.state_root,
            origin: content.origin,
            set_version: self.anchor.epoch,
            set_hash: self.set_hash,
            weight_root: self.weight_root,
            evidence_root: content.evidence_root,
            next: content.next.as_deref().map(NextSet::of),
        };
        let digest = checkpoint.digest();
        self.insert(digest, checkpoint.clone());
        if let Some(entry) = self.entries.get_mut(&digest) {
            entry.execution = Execution::Valid(content.next);
        }
        self.propose(checkpoint, certificate);
    }

    fn propose(&mut self, checkpoint: Checkpoint, justification: Option<Certificate>) {
        let Some(signer) = self.signer.clone() else { return };
        let (epoch, view) = (self.anchor.epoch, self.view);
        let digest = checkpoint.digest();
        let proof = signer.vrf_prove(&self.settings.domain.vrf_input(&self.anchor.seed, view));
        let signature = signer.sign(&self.settings.domain.statement(Kind::Proposal, epoch, view, &digest));
        let proposal = Proposal { view, proof, checkpoint, justification, signature };
        let message = Arc::new(Message::Proposal(Box::new(proposal.clone())));
        self.persist(Record::Proposal(Box::new(proposal.clone())));
        self.effects.push(Effect::Broadcast(message.clone()));
        if self.tampering.breaks(Mutation::SendBeforeLog) {
            let last = self.effects.len() - 1;
            self.effects.swap(last - 1, last);
        }
        self.own.entry(view).or_default().proposal = Some(message);
        self.hold(Arc::new(proposal));
        self.accept();
        self.vote();
    }
}
