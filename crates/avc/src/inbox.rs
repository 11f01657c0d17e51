//! What a node does with messages: all hostile until they verify.

use crate::core::{Core, Execution};
use crate::mutation::Mutation;
use crate::tally::{Counted, verify_evidence, verify_seals, verify_signature};
use crate::{
    Certificate, Checkpoint, Effect, Evidence, Kind, MAX_CHECKPOINTS, MAX_SKIPS, Message, Proposal, Record, Reject,
    Request, Seal, Vote, buddy_quorum,
};
use alloy_primitives::B256;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many seals of a term are kept to be compared, the highest.
const MAX_SEALS: usize = 4096;
/// For how long, in milliseconds, nothing is verified for a validator that sent a wrong signature: no honest one does.
const DISTRUST: u64 = 60_000;
/// How many digests are asked for at a time.
const MAX_WANTED: usize = 16;

impl Core {
    pub(crate) fn receive(&mut self, from: B256, message: &Message) {
        match message {
            Message::Proposal(proposal) => self.on_proposal(from, proposal),
            Message::Vote(vote) => self.on_vote(from, vote),
            Message::Reject(reject) => self.on_reject(from, reject),
            Message::Certificate(certificate) => self.on_certificate(from, certificate),
            Message::Evidence(evidence) => self.on_evidence(from, evidence),
            Message::Seal(seal) => self.on_seal(seal),
            Message::Request(Request::Certificates { epoch, view }) => self.answer(from, *epoch, *view),
            Message::Request(Request::Ancestry { digest }) => self.serve(from, *digest),
            Message::Checkpoints(checkpoints) => self.on_checkpoints(checkpoints),
        }
    }

    /// Whether something that `from` sent is worth verifying.
    fn trusts(&self, from: &B256) -> bool {
        self.distrusted.get(from).is_none_or(|until| self.now >= *until)
    }

    /// Notes that a validator sent a wrong signature.
    fn distrust(&mut self, from: B256) {
        if self.set.index(&from).is_some() {
            self.distrusted.insert(from, self.now + DISTRUST);
        }
    }

    fn on_vote(&mut self, from: B256, vote: &Vote) {
        if vote.epoch < self.anchor.epoch {
            return self.answer(from, vote.epoch, vote.view);
        }
        if vote.epoch > self.anchor.epoch {
            return self.ask(from);
        }
        if vote.view > self.view + 1 {
            self.ask(from);
        }
        let Some(validator) = self.set.validators().get(usize::from(vote.signer)) else { return };
        if vote.kind == Kind::Proposal || !self.in_window(vote.view) {
            if vote.view < self.view {
                self.answer(from, vote.epoch, vote.view);
            }
            return;
        }
        if (validator.id != from || self.tally.is_suspect(vote.signer)) && !self.tally.has(vote) {
            if !self.trusts(&from) {
                return;
            }
            let statement = self.settings.domain.statement(vote.kind, vote.epoch, vote.view, &vote.digest);
            if !self.scheme.verify(&validator.key, &statement, &vote.signature) {
                return self.distrust(from);
            }
        }
        let behind = vote.view < self.view;
        let counted = self.count(vote);
        // a late vote is no sign that its sender waits; one sent again, or a Skip, is
        if behind && vote.kind != Kind::Finalize && (counted == Counted::Known || vote.kind == Kind::Skip) {
            self.answer(from, vote.epoch, vote.view);
        }
    }

    fn on_certificate(&mut self, from: B256, certificate: &Certificate) {
        if certificate.epoch > self.anchor.epoch {
            return self.ask(from);
        }
        if certificate.epoch < self.anchor.epoch || self.is_known(certificate) {
            return;
        }
        if !self.trusts(&from) || !self.has_signers(certificate) {
            return;
        }
        if self.is_signed(certificate) {
            self.certified(certificate.clone(), Some(from));
        } else {
            self.distrust(from);
        }
    }

    fn is_known(&self, certificate: &Certificate) -> bool {
        let view = certificate.view;
        match certificate.kind {
            Kind::Proposal => true,
            Kind::Buddy => self.rounds.get(&view).is_none_or(|round| round.soft.contains(&certificate.digest)),
            Kind::Notarize => self.notarized.contains_key(&view) || self.final_view().is_some_and(|last| view <= last),
            Kind::Skip => {
                let term = self.term(view);
                self.skips.get(&term).is_some_and(|lowest| lowest.view <= view)
                    || self.final_view().is_some_and(|last| term < self.term(last))
            }
            Kind::Finalize => self.final_view().is_some_and(|last| view <= last),
        }
    }

    /// Whether a certificate of this epoch names its quorum; a BuddyCert whose committee is unknown does not.
    fn has_signers(&self, certificate: &Certificate) -> bool {
        match certificate.kind {
            Kind::Proposal => false,
            Kind::Buddy => {
                let committee = self.rounds.get(&certificate.view).and_then(|round| round.committee);
                committee.is_some_and(|committee| {
                    certificate.signers.and(&committee) == certificate.signers
                        && certificate.signers.count() >= buddy_quorum(committee.count())
                })
            }
            _ => certificate.signers.count() >= self.quorum(),
        }
    }

    fn is_signed(&self, certificate: &Certificate) -> bool {
        verify_signature(certificate, &self.settings.domain, &self.set, &*self.scheme)
    }

    fn on_proposal(&mut self, from: B256, proposal: &Proposal) {
        let (epoch, view) = (proposal.checkpoint.epoch, proposal.view);
        if epoch > self.anchor.epoch || (epoch == self.anchor.epoch && view > self.view + 1) {
            self.ask(from);
        }
        if epoch != self.anchor.epoch || view < self.view || !self.in_window(view) {
            return;
        }
        let digest = proposal.checkpoint.digest();
        let held = self.rounds.get(&view).map_or(&[][..], |round| &round.proposals);
        if held.len() >= 2 || held.iter().any(|held| held.checkpoint.digest() == digest) {
            return;
        }
        let leader = self.leader(self.term(view));
        let validator = &self.set.validators()[usize::from(leader)];
        // The justification is not signed: from anyone else, another one could take the place of the leader's.
        if validator.id != from || !self.trusts(&from) {
            return;
        }
        if let Some(certificate) = &proposal.justification {
            let fits = matches!(certificate.kind, Kind::Notarize | Kind::Finalize)
                && certificate.epoch == epoch
                && certificate.view < view;
            if !fits || !self.has_signers(certificate) {
                return;
            }
        }
        let statement = self.settings.domain.statement(Kind::Proposal, epoch, view, &digest);
        let input = self.settings.domain.vrf_input(&self.anchor.seed, view);
        let is_right = self.scheme.verify(&validator.key, &statement, &proposal.signature)
            && self.scheme.vrf_verify(&validator.vrf, &input, &proposal.proof).is_some()
            && proposal.justification.as_ref().is_none_or(|certificate| {
                let known = self.certificate_at(certificate.view).is_some_and(|known| known == certificate);
                known || self.is_signed(certificate)
            });
        if !is_right {
            return self.distrust(from);
        }
        let vote = Vote { kind: Kind::Proposal, epoch, view, digest, signer: leader, signature: proposal.signature };
        self.count(&vote);
        self.hold(Arc::new(proposal.clone()));
        if let Some(certificate) = &proposal.justification {
            self.certified(certificate.clone(), Some(from));
        }
    }

    /// Keeps a proposal whose signature and VRF proof are right, and draws its view's committee.
    pub(crate) fn hold(&mut self, proposal: Arc<Proposal>) {
        let view = proposal.view;
        let committee =
            self.scheme.vrf_output(&proposal.proof).map(|output| self.set.committee(&output, self.settings.seats));
        let digest = proposal.checkpoint.digest();
        let round = self.rounds.entry(view).or_default();
        round.committee = committee;
        round.proposals.push(proposal);
        self.certify(Kind::Buddy, view, &digest);
    }

    fn on_reject(&mut self, from: B256, reject: &Reject) {
        if (reject.epoch, reject.view) != self.position() || reject.witness.is_empty() {
            return;
        }
        let Some(round) = self.rounds.get_mut(&reject.view) else { return };
        let Some(entry) = self.entries.get(&reject.digest) else { return };
        let open = matches!(entry.execution, Execution::Waiting | Execution::Running);
        if round.accepted != Some(reject.digest)
            || !open
            || round.witnesses.contains(&from)
            || self.set.index(&from).is_none()
        {
            return;
        }
        round.witnesses.push(from);
        self.effects.push(Effect::CheckWitness {
            digest: reject.digest,
            checkpoint: entry.checkpoint.clone(),
            reason: reject.reason,
            witness: reject.witness.clone(),
        });
    }

    fn on_evidence(&mut self, from: B256, evidence: &Evidence) {
        if evidence.epoch() != self.anchor.epoch || !self.trusts(&from) {
            return;
        }
        let signer = match evidence {
            Evidence::Votes(a, _) => a.signer,
            Evidence::Seals(a, _) => self.set.leader(&self.anchor.seed, a.term),
        };
        if usize::from(signer) >= self.set.size() || self.tally.is_accused(signer) {
            return;
        }
        let (domain, set, scheme) = (&self.settings.domain, &*self.set, &*self.scheme);
        if verify_evidence(evidence, domain, set, scheme)
            || verify_seals(evidence, domain, set, &self.anchor.seed, scheme)
        {
            self.tally.accuse(signer);
            self.effects.push(Effect::Evidence(Box::new(evidence.clone())));
        } else {
            self.distrust(from);
        }
    }

    // --- seals ---

    /// Whether a seal is by its term's leader; none of terms that are not compared now.
    fn is_leaders(&mut self, seal: &Seal) -> Option<bool> {
        let term = self.term(self.view);
        if seal.epoch != self.anchor.epoch || seal.term > term + 1 || seal.term + 1 < term {
            return None;
        }
        let leader = self.leader(seal.term);
        let statement = self.settings.domain.seal_statement(seal.epoch, seal.term, seal.number, &seal.hash);
        Some(self.scheme.verify(&self.set.validators()[usize::from(leader)].key, &statement, &seal.signature))
    }

    /// Whether a seal names a term whose leader did not sign it: no node that knows the epoch passes it on.
    pub fn is_forged(&mut self, seal: &Seal) -> bool {
        self.is_leaders(seal) == Some(false)
    }

    fn on_seal(&mut self, seal: &Seal) {
        if self.is_leaders(seal) != Some(true) {
            return;
        }
        let leader = self.leader(seal.term);
        match self.seals.get(&(seal.term, seal.number)) {
            Some(known) => {
                if let Some(evidence) = Evidence::of_seals(known, seal)
                    && self.tally.accuse(leader)
                {
                    self.effects.push(Effect::Evidence(Box::new(evidence.clone())));
                    self.broadcast(Message::Evidence(Box::new(evidence)));
                }
            }
            None => {
                self.seals.insert((seal.term, seal.number), seal.clone());
                let of_term = (seal.term, 0)..=(seal.term, u64::MAX);
                if self.seals.len() > MAX_SEALS
                    && self.seals.range(of_term.clone()).count() > MAX_SEALS
                    && let Some(lowest) = self.seals.range(of_term).next().map(|(key, _)| *key)
                {
                    self.seals.remove(&lowest);
                }
            }
        }
    }

    /// Seals a block of the current term, once per number; asked again for the same block, gives the same seal again.
    pub(crate) fn seal(&mut self, number: u64, hash: B256) {
        let (epoch, term) = (self.anchor.epoch, self.term(self.view));
        let leader = self.leader(term);
        if self.me != Some(leader) || !self.may_vote() {
            return;
        }
        if let Some(seal) = self.own_seals.get(&(term, number)) {
            if seal.hash == hash {
                self.effects.push(Effect::Sealed(seal.clone()));
            }
            return;
        }
        let Some(signer) = &self.signer else { return };
        let signature = signer.sign(&self.settings.domain.seal_statement(epoch, term, number, &hash));
        let seal = Seal { epoch, term, number, hash, signature };
        self.own_seals.retain(|(of, _), _| *of == term);
        self.own_seals.insert((term, number), seal.clone());
        self.persist(Record::Seal(seal.clone()));
        self.effects.push(Effect::Sealed(seal));
    }

    // --- asking and answering ---

    fn due(times: &mut BTreeMap<B256, u64>, peer: B256, now: u64, gap: u64) -> bool {
        match times.get(&peer) {
            Some(last) if now < *last + gap => false,
            _ => {
                times.insert(peer, now);
                true
            }
        }
    }

    /// Asks a peer for the certificates that lead on from here, not too often.
    pub(crate) fn ask(&mut self, peer: B256) {
        if self.tampering.breaks(Mutation::NoFetch) {
            return;
        }
        if Self::due(&mut self.asked, peer, self.now, self.settings.timing.gap) {
            let view = self.missing.unwrap_or(self.view);
            self.send(peer, Message::Request(Request::Certificates { epoch: self.anchor.epoch, view }));
        }
    }

    /// Sends the certificates that lead on from a view, not too often.
    pub(crate) fn answer(&mut self, peer: B256, epoch: u64, view: u64) {
        if !self.tampering.breaks(Mutation::NoAnswer)
            && Self::due(&mut self.answered, peer, self.now, self.settings.timing.gap)
        {
            self.answer_now(peer, epoch, view);
        }
    }

    pub(crate) fn answer_now(&mut self, peer: B256, epoch: u64, view: u64) {
        if epoch + 1 < self.anchor.epoch {
            self.effects.push(Effect::ServeEpochEnd { to: peer, epoch });
        } else if epoch < self.anchor.epoch {
            if let Some(certificate) = self.anchor.certificate.clone() {
                self.send(peer, Message::Certificate(certificate));
            }
        } else if epoch == self.anchor.epoch {
            let term = self.term(view);
            let mut certificates: Vec<_> = self.skips.range(term..).take(MAX_SKIPS).map(|(_, c)| c.clone()).collect();
            certificates.extend(self.notarized.last_key_value().map(|(_, certificate)| certificate.clone()));
            certificates.extend(self.final_certificate.clone());
            certificates.into_iter().for_each(|certificate| self.send(peer, Message::Certificate(certificate)));
        }
    }

    /// Notes that a certified checkpoint is missing, and asks for it.
    pub(crate) fn want(&mut self, digest: B256, from: Option<B256>) {
        if digest == self.tip.digest || self.entries.contains_key(&digest) || self.wanted.contains(&digest) {
            return;
        }
        if self.wanted.len() >= MAX_WANTED {
            // what is still needed is wanted again
            self.wanted.remove(0);
        }
        self.wanted.push(digest);
        if !self.tampering.breaks(Mutation::NoFetch) {
            let peer = from.unwrap_or_else(|| self.next_peer());
            self.send(peer, Message::Request(Request::Ancestry { digest }));
        }
    }

    fn serve(&mut self, peer: B256, digest: B256) {
        if !Self::due(&mut self.served, peer, self.now, self.settings.timing.gap / 16) {
            return;
        }
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        let mut next = digest;
        while let Some(entry) = self.entries.get(&next)
            && checkpoints.len() < MAX_CHECKPOINTS
        {
            checkpoints.push(Checkpoint::clone(&entry.checkpoint));
            next = entry.checkpoint.parent;
        }
        if checkpoints.is_empty() {
            self.effects.push(Effect::ServeAncestry { to: peer, digest });
        } else {
            self.send(peer, Message::Checkpoints(checkpoints));
        }
    }

    fn on_checkpoints(&mut self, checkpoints: &[Checkpoint]) {
        for checkpoint in checkpoints.iter().take(MAX_CHECKPOINTS) {
            let digest = checkpoint.digest();
            if !self.wanted.contains(&digest) || checkpoint.epoch != self.anchor.epoch {
                return;
            }
            self.persist(Record::Checkpoint(Box::new(checkpoint.clone())));
            self.insert(digest, checkpoint.clone());
            if checkpoint.height > self.tip.height + 1 {
                let parent = checkpoint.parent;
                let more = checkpoints.last().is_some_and(|last| last.height < checkpoint.height);
                if more && !self.entries.contains_key(&parent) && !self.wanted.contains(&parent) {
                    self.wanted.push(parent);
                } else {
                    // of another peer: each serves so much at a time
                    self.want(parent, None);
                }
            }
        }
    }
}
