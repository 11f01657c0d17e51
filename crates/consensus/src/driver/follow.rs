//! What a validator gives away of final checkpoints, and how a node follows that has no streams from validators.

use super::{Driver, Input, Shared};
use crate::{Error, Finals, Gossip, Judgement, Request};
use alloy_primitives::{B256, Bytes};
use jove_avc::{Certificate, Checkpoint, Event, MAX_BLOCKS, MAX_CHECKPOINTS, Message};
use metrics::counter;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Final checkpoints that are given at a time, where that is up to whoever gives.
const AT_A_TIME: usize = 64;
/// How long validators wait for the proposer of a final checkpoint, or another, to give it away.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two questions for final checkpoints, where nothing is gossiped and none was given; and after some were.
const ASK: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// After so long a question counts as lost.
const LOST: Duration = Duration::from_secs(30);

/// What a node knows beyond the streams of validators.
pub(super) struct Following {
    /// Checkpoints that a verified FinalCert covers, above the last final one, by digest: a chain from there on.
    pub(super) heard: HashMap<B256, Checkpoint>,
    /// The highest of them that there ever was.
    height: u64,
    /// What the core asked for, and is here.
    pub(super) answers: VecDeque<Arc<Message>>,
    /// The last FinalCert that was gossiped: epoch and view.
    gossiped: Option<(u64, u64)>,
    /// Checkpoints without a FinalCert of their own, since the last with one.
    uncovered: Vec<Checkpoint>,
    /// What is given away at this time, unless somebody else does before.
    giving: Option<(Instant, Finals)>,
    /// A question for final checkpoints that is not answered yet, and when the next may be asked.
    asked: Option<Instant>,
    not_before: Instant,
}

impl Following {
    pub(super) fn new() -> Self {
        Self {
            heard: HashMap::new(),
            height: 0,
            answers: VecDeque::new(),
            gossiped: None,
            uncovered: Vec::new(),
            giving: None,
            asked: None,
            not_before: Instant::now(),
        }
    }

    /// Answers the core's question for a checkpoint and its ancestors, if that is here.
    pub(super) fn answer(&mut self, digest: &B256) -> bool {
        let mut next = *digest;
        let mut checkpoints = Vec::new();
        while let Some(checkpoint) = self.heard.get(&next)
            && checkpoints.len() < MAX_CHECKPOINTS
        {
            next = checkpoint.parent;
            checkpoints.push(checkpoint.clone());
        }
        let is_here = !checkpoints.is_empty();
        if is_here {
            self.answers.push_back(Arc::new(Message::Checkpoints(checkpoints)));
        }
        is_here
    }
}

impl Shared {
    /// The final checkpoints after a height: of one epoch, under the last FinalCert among the next few, or else the first one there is.
    pub(super) fn finals(&self, after: u64) -> Result<Option<Finals>, Error> {
        let Some(first) = after.checked_add(1) else { return Ok(None) };
        let (mut checkpoints, mut end): (Vec<Checkpoint>, _) = (Vec::new(), None);
        for kept in self.store.finals(first) {
            let kept = kept?;
            let most = if end.is_some() { AT_A_TIME } else { crate::MAX_FINALS };
            let is_next = kept.checkpoint.height == first + checkpoints.len() as u64
                && checkpoints.first().is_none_or(|first| first.epoch == kept.checkpoint.epoch);
            if !is_next || checkpoints.len() >= most {
                break;
            }
            checkpoints.push(kept.checkpoint);
            end = kept.certificate.map(|certificate| (checkpoints.len(), certificate)).or(end);
        }
        Ok(end.map(|(count, certificate)| {
            checkpoints.truncate(count);
            Finals { checkpoints, certificate }
        }))
    }
}

impl Driver {
    /// Whether it has no streams from validators: it is none, neither of this epoch nor of the next.
    pub(super) fn follows(&self) -> bool {
        let anchor = self.core.anchor();
        self.me.is_none_or(|me| anchor.set.index(&me).is_none() && anchor.next.index(&me).is_none())
    }

    // --- final checkpoints that are given away ---

    /// Notes what has just become final here, for those without streams.
    pub(super) fn give_final_away(&mut self, checkpoint: &Checkpoint, certificate: Option<&Certificate>) {
        let following = &mut self.following;
        following.uncovered.push(checkpoint.clone());
        let Some(certificate) = certificate else {
            if following.uncovered.len() > AT_A_TIME {
                // Who lacks these asks for them.
                following.uncovered.remove(0);
            }
            return;
        };
        let mut checkpoints = std::mem::take(&mut following.uncovered);
        let anchor = self.core.anchor();
        let proposer = anchor.set.validators().get(usize::from(checkpoint.proposer)).map(|proposer| proposer.id);
        let is_known = following.gossiped >= Some((certificate.epoch, certificate.view));
        if self.me.is_none() || is_known {
            return;
        }
        let mut at = Instant::now() + if proposer == self.me { Duration::ZERO } else { PATIENCE };
        if let Some((before, finals)) = following.giving.take() {
            let is_parent =
                finals.certificate.digest == checkpoints[0].parent && finals.certificate.epoch == certificate.epoch;
            if is_parent && finals.checkpoints.len() + checkpoints.len() <= AT_A_TIME {
                checkpoints.splice(..0, finals.checkpoints);
            }
            at = at.min(before);
        }
        following.giving = Some((at, Finals { checkpoints, certificate: certificate.clone() }));
    }

    /// Final checkpoints that somebody passes on.
    pub(super) fn on_finals(&mut self, finals: Finals) -> Result<Judgement, Error> {
        let anchor = self.core.anchor();
        let Certificate { epoch, view, .. } = finals.certificate;
        if epoch != anchor.epoch {
            if epoch > anchor.epoch {
                self.following.not_before = Instant::now();
            }
            let ended_it = anchor.certificate.as_ref() == Some(&finals.certificate);
            return Ok(if ended_it { Judgement::Good } else { Judgement::Idle });
        }
        if self.following.gossiped >= Some((epoch, view)) {
            return Ok(Judgement::Idle);
        }
        if !finals.verify(&self.shared.domain, &anchor.set, &*self.shared.scheme) {
            return Ok(Judgement::Bad);
        }
        self.following.gossiped = Some((epoch, view));
        self.following.giving.take_if(|(_, giving)| giving.certificate.view <= view);
        self.take_finals(finals)?;
        Ok(Judgement::Good)
    }

    /// Takes verified final checkpoints of this epoch, if they follow what is known here.
    fn take_finals(&mut self, finals: Finals) -> Result<(), Error> {
        let tip = *self.core.tip();
        let Finals { checkpoints, certificate } = finals;
        let mut new = checkpoints.into_iter().filter(|checkpoint| checkpoint.height > tip.height).peekable();
        let Some(first) = new.peek() else { return Ok(()) };
        let parent = &first.parent;
        let following = &mut self.following;
        if *parent != tip.digest && !following.heard.contains_key(parent) && !self.known.contains_key(parent) {
            following.not_before = Instant::now();
            return Ok(());
        }
        following.not_before = Instant::now() + ASK;
        for checkpoint in new {
            following.height = checkpoint.height;
            following.heard.insert(checkpoint.digest(), checkpoint);
        }
        self.handle(Event::Message { from: B256::ZERO, message: Arc::new(Message::Certificate(certificate)) })
    }

    // --- following ---

    /// Gives away what is due, and asks for final checkpoints where this node follows and has executed all that it knows of.
    pub(super) fn follow_on(&mut self) {
        let now = Instant::now();
        if let Some((_, finals)) = self.following.giving.take_if(|(at, _)| *at <= now) {
            let heard = (finals.certificate.epoch, finals.certificate.view);
            self.following.gossiped = self.following.gossiped.max(Some(heard));
            self.peers.publish(Gossip::Finals, finals.encode());
        }
        let tip = *self.core.tip();
        let is_asked = self.following.asked.is_some_and(|since| since.elapsed() < LOST);
        if !self.follows() || is_asked || self.following.not_before > now || self.following.height > tip.height {
            return;
        }
        self.following.asked = Some(now);
        self.following.not_before = now + ASK;
        counter!("jove_consensus_syncs_total").increment(1);
        let inputs = self.inputs.clone();
        let (epoch, set) = (self.core.anchor().epoch, self.core.anchor().set.clone());
        let shared = self.shared.clone();
        let reply = Box::new(move |answer: Option<Bytes>| {
            let Some(answer) = answer.filter(|answer| !answer.is_empty()) else {
                let _ = inputs.try_send(Input::Synced(None));
                return Judgement::Idle;
            };
            // The epoch's set, and its start, are known: so is who may sign what follows.
            let finals = Finals::decode(&answer).filter(|finals| {
                let first = &finals.checkpoints[0];
                finals.certificate.epoch == epoch
                    && first.height == tip.height + 1
                    && first.parent == tip.digest
                    && finals.verify(&shared.domain, &set, &*shared.scheme)
            });
            let judgement = if finals.is_some() { Judgement::Good } else { Judgement::Bad };
            let _ = inputs.try_send(Input::Synced(finals));
            judgement
        });
        self.peers.request(None, Request::Finals { after: tip.height }.encode(), reply);
    }

    /// The answer to that.
    pub(super) fn on_synced(&mut self, finals: Option<Finals>) -> Result<(), Error> {
        self.following.asked = None;
        let Some(finals) = finals else { return Ok(()) };
        let epoch = finals.certificate.epoch;
        if epoch == self.core.anchor().epoch {
            self.take_finals(finals)?;
            // There may be more.
            self.following.not_before = Instant::now() + ASK_AGAIN;
        }
        Ok(())
    }

    /// In place of one block that is lacking, the last of those after it that are final and may be had with it in one answer.
    pub(super) fn with_those_after(&self, lacking: (u64, B256)) -> (u64, B256) {
        let most = self.core.tip().last_number + MAX_BLOCKS;
        let heard = self.following.heard.values().map(|checkpoint| (checkpoint.last_number, checkpoint.last_hash));
        heard.filter(|(number, _)| *number > lacking.0 && *number <= most).max().unwrap_or(lacking)
    }
}
