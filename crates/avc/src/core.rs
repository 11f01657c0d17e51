//! The state machine: what a node knows of its epoch, and what certificates, timers and final checkpoints do to it. How messages are taken is in
//! `inbox`, how checkpoints are proposed and accepted in `chain`.

use crate::mutation::{Mutation, Tampering};
use crate::rules::Rules;
use crate::tally::{Counted, Tally};
use crate::{
    Anchor, Bitmap, Certificate, Checkpoint, Domain, Effect, Error, Event, Kind, Message, NextSet, Outcome, Proposal,
    Record, Request, Scheme, Seal, Signer, Timer, Tip, ValidatorSet, Vote,
};
use alloy_primitives::B256;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many views ahead, and behind, votes are kept.
pub(crate) const WINDOW: u64 = 64;
/// How many terms ahead the first view is kept too.
pub(crate) const TERMS_AHEAD: u64 = 4;
/// How many NotarizeCerts above the last FinalCert are kept.
const MAX_NOTARIZED: usize = 512;

/// Times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A view's first timeout.
    pub base: u64,
    /// Its largest: more than `buddy`, four hops and the execution of a full checkpoint.
    pub cap: u64,
    /// T_buddy: how long a validator waits for a BuddyCert before it notarizes without.
    pub buddy: u64,
    /// After how long a leader with nothing to seal helps its parent to become final.
    pub empty: u64,
    /// The least time between two answers, or two questions, to one peer.
    pub gap: u64,
}

/// What all validators of a chain agree on beforehand, and the times, which each may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The chain.
    pub domain: Domain,
    /// L: heights in an epoch.
    pub epoch_length: u64,
    /// T: views in a term.
    pub term_length: u64,
    /// k: seats in a committee; all validators where there are fewer.
    pub seats: usize,
    /// Times.
    pub timing: Timing,
}

/// What this node did in a view.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) votes: Vec<Vote>,
    pub(crate) proposal: Option<Arc<Message>>,
}

/// What this node knows of a view.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) proposals: Vec<Arc<Proposal>>,
    pub(crate) accepted: Option<B256>,
    pub(crate) committee: Option<Bitmap>,
    pub(crate) soft: Vec<B256>,
    pub(crate) buddies_late: bool,
    pub(crate) rejected: bool,
    pub(crate) witnesses: Vec<B256>,
}

/// Where a checkpoint's execution stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Execution {
    Waiting,
    Running,
    Valid(Option<Arc<ValidatorSet>>),
    Invalid { reason: u16, witness: Vec<u8> },
}

pub(crate) struct Entry {
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) execution: Execution,
}

/// A parent to build on: its certificate, none at the start of an epoch, and what a child must know of it.
#[derive(Clone)]
pub(crate) struct Parent {
    pub(crate) certificate: Option<Certificate>,
    pub(crate) tip: Tip,
}

pub(crate) struct Building {
    pub(crate) view: u64,
    pub(crate) parent: Parent,
    pub(crate) empty: bool,
}

/// One node's consensus. See the crate's documentation for the rules.
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) scheme: Arc<dyn Scheme>,
    pub(crate) signer: Option<Arc<dyn Signer>>,
    pub(crate) tampering: Tampering,
    pub(crate) votes_from: u64,
    pub(crate) now: u64,
    pub(crate) effects: Vec<Effect>,
    pub(crate) halted: bool,
    pub(crate) work: bool,
    pub(crate) timeout: u64,
    pub(crate) rotation: u64,
    pub(crate) answered: BTreeMap<B256, u64>,
    pub(crate) served: BTreeMap<B256, u64>,
    pub(crate) asked: BTreeMap<B256, u64>,
    /// Until when nothing is verified for these validators.
    pub(crate) distrusted: BTreeMap<B256, u64>,

    // of the epoch
    pub(crate) anchor: Anchor,
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) set_hash: B256,
    pub(crate) weight_root: B256,
    pub(crate) me: Option<u16>,
    outputs: Sha256,
    pub(crate) leaders: BTreeMap<u64, u16>,
    pub(crate) tip: Tip,
    pub(crate) final_certificate: Option<Certificate>,
    pub(crate) notarized: BTreeMap<u64, Certificate>,
    pub(crate) skips: BTreeMap<u64, Certificate>,
    pub(crate) entries: BTreeMap<B256, Entry>,
    pub(crate) wanted: Vec<B256>,
    /// When what is wanted was last asked for again.
    fetched: u64,
    pub(crate) own: BTreeMap<u64, Own>,
    pub(crate) own_seals: BTreeMap<(u64, u64), Seal>,
    pub(crate) seals: BTreeMap<(u64, u64), Seal>,
    pub(crate) tally: Tally,

    // of the view
    pub(crate) view: u64,
    pub(crate) rounds: BTreeMap<u64, Round>,
    pub(crate) building: Option<Building>,
    pub(crate) empty_timer: bool,
    pub(crate) empty_due: bool,
    /// The first view of a term whose SkipCert a proposal, or this leader, needs.
    pub(crate) missing: Option<u64>,
    timer_on: bool,
}

impl Core {
    /// A node with the log it left behind, whose first record is an [`Record::Anchor`]: for a node that never ran, the anchor of genesis alone.
    ///
    /// `votes_from` is the first epoch that it may vote in: 0, unless its log was lost, and then one above every epoch that it may have
    /// voted in. Without a signer, or outside of the epoch's set, a node follows and does not vote.
    ///
    /// Errors: [`Error::Log`] if there is no anchor.
    pub fn new(
        settings: Settings,
        scheme: Arc<dyn Scheme>,
        signer: Option<Arc<dyn Signer>>,
        votes_from: u64,
        log: &[Record],
        tampering: Tampering,
    ) -> Result<Self, Error> {
        let start = log.iter().rposition(|record| matches!(record, Record::Anchor(_)));
        let (Some(start), true) = (start, settings.epoch_length > 0 && settings.term_length > 0) else {
            return Err(Error::Log("no anchor"));
        };
        let Record::Anchor(anchor) = &log[start] else { return Err(Error::Log("no anchor")) };
        let anchor = Anchor::clone(anchor);
        let mut core = Self {
            settings,
            scheme,
            signer,
            tampering,
            votes_from,
            now: 0,
            effects: Vec::new(),
            halted: false,
            work: false,
            timeout: settings.timing.base,
            rotation: 0,
            answered: BTreeMap::new(),
            served: BTreeMap::new(),
            asked: BTreeMap::new(),
            distrusted: BTreeMap::new(),
            set: anchor.set.clone(),
            set_hash: anchor.set.hash(),
            weight_root: anchor.set.weight_root(),
            me: None,
            outputs: Sha256::new(),
            leaders: BTreeMap::new(),
            tip: anchor.start,
            final_certificate: None,
            notarized: BTreeMap::new(),
            skips: BTreeMap::new(),
            entries: BTreeMap::new(),
            wanted: Vec::new(),
            fetched: 0,
            own: BTreeMap::new(),
            own_seals: BTreeMap::new(),
            seals: BTreeMap::new(),
            tally: Tally::default(),
            view: 0,
            rounds: BTreeMap::new(),
            building: None,
            empty_timer: false,
            empty_due: false,
            missing: None,
            timer_on: false,
            anchor,
        };
        core.begin_epoch();
        for record in &log[start + 1..] {
            core.restore(record);
        }
        core.wanted.clear();
        Ok(core)
    }

    /// Takes one event at a time, in milliseconds of a clock that does not go back, and says what is to be done, in order.
    pub fn handle(&mut self, now: u64, event: Event) -> Vec<Effect> {
        self.now = self.now.max(now);
        match event {
            Event::Start => self.start(),
            Event::Message { from, message } => self.receive(from, &message),
            Event::Connected(peer) => {
                self.send(peer, Message::Request(Request::Certificates { epoch: self.anchor.epoch, view: self.view }));
                self.answer_now(peer, self.anchor.epoch, 0);
            }
            Event::Timer(timer) => self.expired(timer),
            Event::Work(work) => self.work = work,
            Event::Built { view, content } => self.built(view, *content),
            Event::Executed { digest, outcome } => self.executed(digest, outcome),
            Event::Witnessed { digest, invalid } => self.witnessed(digest, invalid),
            Event::Seal { number, hash } => self.seal(number, hash),
        }
        self.advance();
        std::mem::take(&mut self.effects)
    }

    /// The epoch and the view.
    pub fn position(&self) -> (u64, u64) {
        (self.anchor.epoch, self.view)
    }

    /// T: views in a term.
    pub fn term_length(&self) -> u64 {
        self.settings.term_length
    }

    /// Whether this seal was verified and is kept.
    pub fn has_seal(&self, seal: &Seal) -> bool {
        self.seals.get(&(seal.term, seal.number)) == Some(seal)
    }

    /// Number and hash of the last block of the current term whose seal is kept.
    pub fn last_seal(&self) -> Option<(u64, B256)> {
        let term = self.term(self.view);
        self.seals.range((term, 0)..=(term, u64::MAX)).next_back().map(|(_, seal)| (seal.number, seal.hash))
    }

    /// The last final checkpoint that was executed here.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Where the epoch began.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    // --- restart ---

    fn restore(&mut self, record: &Record) {
        match record {
            Record::Anchor(_) => {}
            Record::Vote(vote) => {
                self.view = self.view.max(vote.view);
                self.tally.add(vote);
                self.own.entry(vote.view).or_default().votes.push(vote.clone());
            }
            Record::Proposal(proposal) => {
                self.view = self.view.max(proposal.view);
                self.insert(proposal.checkpoint.digest(), proposal.checkpoint.clone());
                self.own.entry(proposal.view).or_default().proposal =
                    Some(Arc::new(Message::Proposal(proposal.clone())));
                self.hold(Arc::new(Proposal::clone(proposal)));
            }
            Record::Checkpoint(checkpoint) => self.insert(checkpoint.digest(), Checkpoint::clone(checkpoint)),
            Record::Certificate(certificate) => match certificate.kind {
                Kind::Notarize => {
                    self.view = self.view.max(certificate.view + 1);
                    self.notarized.insert(certificate.view, certificate.clone());
                }
                Kind::Skip => {
                    let term = self.term(certificate.view);
                    self.view = self.view.max(self.first(term + 1));
                    let lowest = self.skips.entry(term).or_insert_with(|| certificate.clone());
                    if certificate.view < lowest.view {
                        *lowest = certificate.clone();
                    }
                }
                Kind::Finalize => {
                    self.view = self.view.max(certificate.view + 1);
                    if self.final_certificate.as_ref().is_none_or(|highest| highest.view < certificate.view) {
                        self.final_certificate = Some(certificate.clone());
                    }
                }
                Kind::Proposal | Kind::Buddy => {}
            },
            Record::Seal(seal) => {
                self.own_seals.insert((seal.term, seal.number), seal.clone());
            }
        }
    }

    fn start(&mut self) {
        self.entered();
        let peer = self.next_peer();
        self.ask(peer);
    }

    // --- arithmetic of terms and epochs ---

    /// The rules that this node follows.
    pub(crate) fn rules(&self) -> Rules {
        Rules { term_length: self.settings.term_length, tampering: self.tampering }
    }

    pub(crate) fn term(&self, view: u64) -> u64 {
        self.rules().term(view)
    }

    pub(crate) fn first(&self, term: u64) -> u64 {
        self.rules().first(term)
    }

    pub(crate) fn is_first(&self, view: u64) -> bool {
        self.rules().is_first(view)
    }

    pub(crate) fn end(&self) -> u64 {
        if self.tampering.breaks(Mutation::EpochWithoutEnd) {
            return u64::MAX;
        }
        (self.anchor.epoch + 1) * self.settings.epoch_length
    }

    pub(crate) fn leader(&mut self, term: u64) -> u16 {
        if let Some(leader) = self.leaders.get(&term) {
            return *leader;
        }
        let leader = self.set.leader(&self.anchor.seed, term);
        self.leaders.insert(term, leader);
        leader
    }

    pub(crate) fn quorum(&self) -> usize {
        let change = if self.tampering.breaks(Mutation::SmallQuorum) { -1 } else { 0 }
            + if self.tampering.breaks(Mutation::LargeQuorum) { 1 } else { 0 };
        self.set.quorum().saturating_add_signed(change)
    }

    pub(crate) fn in_window(&self, view: u64) -> bool {
        let ahead =
            view < self.view + WINDOW || (self.is_first(view) && self.term(view) <= self.term(self.view) + TERMS_AHEAD);
        ahead && view + WINDOW >= self.view
    }

    pub(crate) fn final_view(&self) -> Option<u64> {
        self.final_certificate.as_ref().map(|certificate| certificate.view)
    }

    // --- this node's own votes ---

    pub(crate) fn may_vote(&self) -> bool {
        let over = self.final_certificate.as_ref().is_some_and(|certificate| {
            self.entries.get(&certificate.digest).is_some_and(|entry| entry.checkpoint.height >= self.end())
        });
        self.me.is_some() && !self.halted && !over && self.anchor.epoch >= self.votes_from
    }

    pub(crate) fn sent(&self, kind: Kind, view: u64) -> bool {
        self.own.get(&view).is_some_and(|own| own.votes.iter().any(|vote| vote.kind == kind))
    }

    /// What this node said in the term of a view.
    pub(crate) fn said(&self, view: u64) -> impl Iterator<Item = (u64, Kind)> + Clone + '_ {
        let term = self.term(view);
        let views = self.own.range(self.first(term)..self.first(term + 1));
        views.flat_map(|(view, own)| own.votes.iter().map(|vote| (*view, vote.kind)))
    }

    /// Whether Skip(u), u ≤ view, of the view's term was sent.
    pub(crate) fn skipped(&self, view: u64) -> bool {
        self.rules().skipped(view, self.said(view))
    }

    pub(crate) fn cast(&mut self, kind: Kind, view: u64, digest: B256) {
        let (Some(signer), Some(me)) = (&self.signer, self.me) else { return };
        let epoch = self.anchor.epoch;
        let signature = signer.sign(&self.settings.domain.statement(kind, epoch, view, &digest));
        let vote = Vote { kind, epoch, view, digest, signer: me, signature };
        self.own.entry(view).or_default().votes.push(vote.clone());
        if self.tampering.breaks(Mutation::SendBeforeLog) {
            self.broadcast(Message::Vote(vote.clone()));
            self.persist(Record::Vote(vote.clone()));
        } else {
            self.persist(Record::Vote(vote.clone()));
            self.broadcast(Message::Vote(vote.clone()));
        }
        self.count(&vote);
    }

    /// Rule 2.
    fn finalize(&mut self, view: u64, digest: B256) {
        if self.may_vote() && self.rules().may_finalize(view, self.said(view)) {
            self.cast(Kind::Finalize, view, digest);
        }
    }

    /// Rule 3, for the current view.
    pub(crate) fn skip(&mut self) {
        if self.may_vote() {
            for view in self.rules().skips(self.view, self.said(self.view)) {
                self.cast(Kind::Skip, view, B256::ZERO);
            }
        }
    }

    /// Counts a vote of this epoch, and takes the certificate that it completes.
    pub(crate) fn count(&mut self, vote: &Vote) -> Counted {
        if let Some(evidence) = self.tally.evidence(vote, &self.settings.domain, &self.set, &*self.scheme) {
            self.effects.push(Effect::Evidence(Box::new(evidence.clone())));
            self.broadcast(Message::Evidence(Box::new(evidence)));
        }
        let counted = self.tally.add(vote);
        if counted == Counted::New {
            self.certify(vote.kind, vote.view, &vote.digest);
        }
        counted
    }

    pub(crate) fn certify(&mut self, kind: Kind, view: u64, digest: &B256) {
        let (counted, quorum) = match kind {
            Kind::Proposal => return,
            Kind::Buddy => match self.rounds.get(&view).and_then(|round| round.committee) {
                Some(committee) => (committee, crate::buddy_quorum(committee.count())),
                None => return,
            },
            _ => (Bitmap::first(self.set.size()), self.quorum()),
        };
        let certificate = self.tally.certificate(
            self.anchor.epoch,
            view,
            kind,
            digest,
            &counted,
            quorum,
            &self.settings.domain,
            &self.set,
            &*self.scheme,
        );
        if let Some(certificate) = certificate {
            self.certified(certificate, None);
        }
    }

    // --- certificates: rule 4 ---

    /// Takes a verified certificate of this epoch.
    pub(crate) fn certified(&mut self, certificate: Certificate, from: Option<B256>) {
        let (view, digest) = (certificate.view, certificate.digest);
        match certificate.kind {
            Kind::Proposal => {}
            Kind::Buddy => {
                let round = self.rounds.entry(view).or_default();
                if !round.soft.contains(&digest) {
                    round.soft.push(digest);
                    self.effects.push(Effect::Soft { view, digest });
                }
                if self.tampering.breaks(Mutation::BuddiesFinalize) {
                    self.finalized(Certificate { kind: Kind::Finalize, ..certificate }, from);
                }
            }
            Kind::Notarize => {
                if self.final_view().is_some_and(|last| view <= last) || self.notarized.contains_key(&view) {
                    return;
                }
                self.persist(Record::Certificate(certificate.clone()));
                self.notarized.insert(view, certificate.clone());
                if self.notarized.len() > MAX_NOTARIZED {
                    self.notarized.pop_first();
                }
                self.want(digest, from);
                self.finalize(view, digest);
                self.move_to(self.rules().leads_to(Kind::Notarize, view), certificate.clone());
                if self.tampering.breaks(Mutation::NotarizedEndsEpoch) && self.height_of(&digest) == Some(self.end()) {
                    self.finalized(Certificate { kind: Kind::Finalize, ..certificate }, from);
                }
            }
            Kind::Skip => {
                let term = self.term(view);
                if self.final_view().is_some_and(|last| term < self.term(last)) {
                    return;
                }
                if self.tampering.breaks(Mutation::LowerSkipIgnored) && view < self.view {
                    return;
                }
                if self.skips.get(&term).is_none_or(|lowest| view < lowest.view) {
                    self.persist(Record::Certificate(certificate.clone()));
                    self.skips.insert(term, certificate.clone());
                    self.move_to(self.rules().leads_to(Kind::Skip, view), certificate);
                }
            }
            Kind::Finalize => self.finalized(certificate, from),
        }
    }

    fn height_of(&self, digest: &B256) -> Option<u64> {
        self.entries.get(digest).map(|entry| entry.checkpoint.height)
    }

    fn finalized(&mut self, certificate: Certificate, from: Option<B256>) {
        let view = certificate.view;
        if self.final_view().is_some_and(|last| view <= last) {
            return;
        }
        self.persist(Record::Certificate(certificate.clone()));
        self.want(certificate.digest, from);
        self.final_certificate = Some(certificate.clone());
        self.notarized = self.notarized.split_off(&view);
        self.skips = self.skips.split_off(&self.term(view));
        self.move_to(self.rules().leads_to(Kind::Finalize, view), certificate);
    }

    /// Enters a later view, and relays the certificate that leads there.
    fn move_to(&mut self, view: u64, certificate: Certificate) {
        if view <= self.view {
            return;
        }
        if !self.tampering.breaks(Mutation::NoRelay) {
            self.broadcast(Message::Certificate(certificate));
        }
        self.view = view;
        self.entered();
    }

    fn entered(&mut self) {
        let (epoch, view) = (self.anchor.epoch, self.view);
        self.building = None;
        self.empty_timer = false;
        self.empty_due = false;
        self.missing = None;
        self.timer_on = false;
        self.rounds = self.rounds.split_off(&view.saturating_sub(2));
        self.tally.prune(view.saturating_sub(WINDOW));
        let term = self.term(view);
        self.leaders = self.leaders.split_off(&term.saturating_sub(1));
        self.seals.retain(|(of, _), _| *of + 1 >= term);
        let leader = self.leader(term);
        let leader = self.set.validators()[usize::from(leader)].id;
        self.effects.push(Effect::Entered { epoch, view, leader });
        if self.skipped(view) && !self.tampering.breaks(Mutation::NoSkipOnEntry) {
            self.skip();
        }
        // Others may lead it on before its timer ever runs out.
        if !self.wanted.is_empty() && self.now >= self.fetched + self.settings.timing.base {
            self.fetch();
        }
    }

    // --- timers: rule 5 ---

    /// Whether anything is known that no final checkpoint covers.
    fn has_work(&self) -> bool {
        let last = self.final_view();
        let notarized = self.notarized.last_key_value().is_some_and(|(view, _)| last.is_none_or(|last| *view > last));
        if self.tampering.breaks(Mutation::NotarizedIsIdle) {
            return self.work && !notarized;
        }
        let behind = self.final_certificate.as_ref().is_some_and(|certificate| certificate.digest != self.tip.digest);
        let proposed = self.rounds.get(&self.view).is_some_and(|round| !round.proposals.is_empty());
        self.work || notarized || behind || proposed
    }

    fn run_timer(&mut self) {
        if !self.timer_on && self.has_work() {
            self.timer_on = true;
            let timer = Timer::View { epoch: self.anchor.epoch, view: self.view };
            self.effects.push(Effect::SetTimer { timer, after: self.timeout });
        }
    }

    fn expired(&mut self, timer: Timer) {
        let here = (self.anchor.epoch, self.view);
        match timer {
            Timer::View { epoch, view } if (epoch, view) == here && self.timer_on => {
                self.timer_on = false;
                if !self.has_work() {
                    return;
                }
                self.skip();
                if self.position() == here && !self.tampering.breaks(Mutation::NoResend) {
                    self.resend();
                }
                // Even where its own Skip, the last of a quorum, has just led it on: else a slow node asks for nothing again.
                self.fetch();
                self.timeout = (self.timeout * 3 / 2).min(self.settings.timing.cap);
            }
            Timer::Buddy { epoch, view } if (epoch, view) == here => {
                self.rounds.entry(view).or_default().buddies_late = true;
            }
            Timer::Empty { epoch, view } if (epoch, view) == here => self.empty_due = true,
            _ => {}
        }
    }

    /// What lets others follow, again.
    fn resend(&mut self) {
        let mut again: Vec<Arc<Message>> = Vec::new();
        if let Some(own) = self.own.get(&self.view) {
            again.extend(own.proposal.clone());
            again.extend(own.votes.iter().map(|vote| Arc::new(Message::Vote(vote.clone()))));
        }
        let votes = self.own.range(..self.view).rev().flat_map(|(_, own)| &own.votes);
        if let Some(vote) = { votes }.find(|vote| vote.kind == Kind::Finalize) {
            again.push(Arc::new(Message::Vote(vote.clone())));
        }
        let certificates = [
            self.notarized.last_key_value().map(|(_, certificate)| certificate),
            self.skips.last_key_value().map(|(_, certificate)| certificate),
            self.final_certificate.as_ref().or(self.anchor.certificate.as_ref()),
        ];
        again.extend(certificates.into_iter().flatten().map(|c| Arc::new(Message::Certificate(c.clone()))));
        self.effects.extend(again.into_iter().map(Effect::Broadcast));
    }

    /// Asks for what is missing, of another peer each time.
    fn fetch(&mut self) {
        if self.tampering.breaks(Mutation::NoFetch) {
            return;
        }
        self.fetched = self.now;
        let peer = self.next_peer();
        self.ask(peer);
        for digest in self.wanted.clone() {
            let peer = self.next_peer();
            self.send(peer, Message::Request(Request::Ancestry { digest }));
        }
    }

    // --- executing and becoming final ---

    pub(crate) fn insert(&mut self, digest: B256, checkpoint: Checkpoint) {
        self.wanted.retain(|wanted| *wanted != digest);
        if checkpoint.height > self.tip.height && !self.entries.contains_key(&digest) {
            let entry = Entry { checkpoint: Arc::new(checkpoint), execution: Execution::Waiting };
            self.entries.insert(digest, entry);
        }
    }

    fn executed(&mut self, digest: B256, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(&digest) else { return };
        if entry.execution != Execution::Running {
            return;
        }
        entry.execution = match outcome {
            Outcome::Valid { next } if next.as_deref().map(NextSet::of) == entry.checkpoint.next => {
                Execution::Valid(next)
            }
            // another set than this node's: there is nothing that a peer could check
            Outcome::Valid { .. } => Execution::Invalid { reason: 0, witness: Vec::new() },
            Outcome::Invalid { reason, witness } => Execution::Invalid { reason, witness },
        };
    }

    fn witnessed(&mut self, digest: B256, invalid: bool) {
        if let Some(entry) = self.entries.get_mut(&digest)
            && invalid
            && matches!(entry.execution, Execution::Waiting | Execution::Running)
        {
            entry.execution = Execution::Invalid { reason: 0, witness: Vec::new() };
        }
    }

    pub(crate) fn is_executed(&self, digest: &B256) -> bool {
        *digest == self.tip.digest
            || self.entries.get(digest).is_some_and(|entry| matches!(entry.execution, Execution::Valid(_)))
    }

    /// Whether a checkpoint's execution is wanted now: it is accepted in the current view, certified, or an ancestor of one that is. What is not is a
    /// proposal of the past, whose blocks would take the place of others.
    pub fn wants(&self, digest: &B256) -> bool {
        let Some(height) = self.height_of(digest) else { return false };
        let accepted = self.rounds.get(&self.view).and_then(|round| round.accepted);
        let certified = self.final_certificate.iter().chain(self.notarized.values()).map(|last| last.digest);
        accepted.into_iter().chain(certified).any(|mut descendant| {
            while descendant != *digest
                && let Some(entry) = self.entries.get(&descendant).filter(|entry| entry.checkpoint.height > height)
            {
                descendant = entry.checkpoint.parent;
            }
            descendant == *digest
        })
    }

    /// Does whatever has become possible.
    fn advance(&mut self) {
        loop {
            let before = (self.anchor.epoch, self.view, self.tip.height);
            self.settle();
            self.accept();
            self.execute();
            self.vote();
            self.lead();
            if before == (self.anchor.epoch, self.view, self.tip.height) {
                break;
            }
        }
        self.run_timer();
    }

    fn execute(&mut self) {
        let ready: Vec<B256> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.execution == Execution::Waiting && self.is_executed(&entry.checkpoint.parent))
            .map(|(digest, _)| *digest)
            .collect();
        for digest in ready {
            if let Some(entry) = self.entries.get_mut(&digest) {
                entry.execution = Execution::Running;
                self.effects.push(Effect::Execute { digest, checkpoint: entry.checkpoint.clone() });
            }
        }
    }

    /// Makes final what the highest FinalCert covers, in the order of heights, as far as it is executed.
    fn settle(&mut self) {
        let Some(certificate) = self.final_certificate.clone() else { return };
        let mut path = Vec::new();
        let mut digest = certificate.digest;
        while digest != self.tip.digest {
            let Some(entry) = self.entries.get(&digest) else {
                self.want(digest, None);
                return;
            };
            path.push(digest);
            if entry.checkpoint.height == self.tip.height + 1 && entry.checkpoint.parent != self.tip.digest {
                self.halt(digest);
                return;
            }
            digest = entry.checkpoint.parent;
        }
        for digest in path.into_iter().rev() {
            let Some(entry) = self.entries.get(&digest) else { return };
            match &entry.execution {
                Execution::Valid(next) => {
                    let (checkpoint, next) = (entry.checkpoint.clone(), next.clone());
                    let own = (digest == certificate.digest).then(|| certificate.clone());
                    self.apply(digest, checkpoint, own);
                    if self.tip.height == (self.anchor.epoch + 1) * self.settings.epoch_length
                        && let Some(next) = next
                    {
                        self.end_epoch(certificate, next);
                        return;
                    }
                }
                Execution::Invalid { .. } => {
                    self.halt(digest);
                    return;
                }
                Execution::Waiting | Execution::Running => return,
            }
        }
    }

    fn halt(&mut self, digest: B256) {
        if !self.halted {
            self.halted = true;
            self.effects.push(Effect::Halt { digest });
        }
    }

    fn apply(&mut self, digest: B256, checkpoint: Arc<Checkpoint>, certificate: Option<Certificate>) {
        self.tip = Tip::of(&checkpoint, digest);
        if let Some(output) = self.scheme.vrf_output(&checkpoint.proof) {
            self.outputs.update(output);
        }
        self.entries.retain(|_, entry| entry.checkpoint.height > checkpoint.height);
        self.wanted.clear();
        let open: Vec<B256> = self.notarized.values().map(|certificate| certificate.digest).collect();
        open.into_iter().for_each(|digest| self.want(digest, None));
        self.timeout = (self.timeout * 2 / 3).max(self.settings.timing.base);
        self.effects.push(Effect::Final { digest, checkpoint, certificate });
    }

    // --- epochs: rule 6 ---

    fn end_epoch(&mut self, certificate: Certificate, next: Arc<ValidatorSet>) {
        self.anchor = Anchor {
            epoch: self.anchor.epoch + 1,
            start: self.tip,
            certificate: Some(certificate.clone()),
            set: self.anchor.next.clone(),
            next,
            seed: std::mem::take(&mut self.outputs).finalize().into(),
        };
        self.persist(Record::Anchor(Box::new(self.anchor.clone())));
        self.effects.push(Effect::Epoch(Box::new(self.anchor.clone())));
        self.broadcast(Message::Certificate(certificate));
        self.begin_epoch();
        self.entered();
        // Others may be epochs ahead, and idle: nobody would say so.
        if !self.tampering.breaks(Mutation::NoFetch) {
            self.broadcast(Message::Request(Request::Certificates { epoch: self.anchor.epoch, view: 0 }));
        }
    }

    fn begin_epoch(&mut self) {
        self.set = self.anchor.set.clone();
        self.set_hash = self.set.hash();
        self.weight_root = self.set.weight_root();
        self.me = self.signer.as_ref().and_then(|signer| self.set.index(&signer.id()));
        self.outputs = Sha256::new();
        self.outputs.update(self.anchor.seed);
        self.leaders.clear();
        self.tip = self.anchor.start;
        self.final_certificate = None;
        self.notarized.clear();
        self.skips.clear();
        self.entries.clear();
        self.wanted.clear();
        self.own.clear();
        self.own_seals.clear();
        self.seals.clear();
        self.tally = Tally::default();
        self.view = 0;
        self.rounds.clear();
        self.answered.clear();
        self.asked.clear();
        self.served.clear();
    }

    // --- effects ---

    pub(crate) fn persist(&mut self, record: Record) {
        self.effects.push(Effect::Persist(Box::new(record)));
    }

    pub(crate) fn broadcast(&mut self, message: Message) {
        self.effects.push(Effect::Broadcast(Arc::new(message)));
    }

    pub(crate) fn send(&mut self, to: B256, message: Message) {
        self.effects.push(Effect::Send { to, message: Arc::new(message) });
    }

    pub(crate) fn next_peer(&mut self) -> B256 {
        let size = self.set.size() as u64;
        self.rotation += 1;
        let mut index = (u64::from(self.me.unwrap_or(0)) + self.rotation) % size;
        if Some(index as u16) == self.me {
            self.rotation += 1;
            index = (index + 1) % size;
        }
        self.set.validators()[index as usize].id
    }
}
