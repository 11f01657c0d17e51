//! What must hold, seen from outside: every vote that an honest node ever sent, and whatever the adversary could make of them.

use super::plan::Plan;
use crate::{Checkpoint, Kind, Mutation, Proposal, Vote};
use alloy_primitives::B256;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a run knows of a checkpoint.
pub(crate) struct Fact {
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) valid: bool,
    /// Nodes that hold its data, a bit each.
    pub(crate) held: u64,
    /// Honest nodes that executed it.
    pub(crate) executed: u64,
    /// Transactions in it and before it.
    pub(crate) transactions: u64,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Two FinalCerts, real or formable, on different checkpoints of one height.
    Fork(String),
    /// A final checkpoint that is invalid, of the wrong epoch, or executed by fewer than F+1 honest nodes.
    Validity(String),
    /// An honest node said two things that are evidence.
    Equivocation(String),
    /// No progress after healing.
    Stall(String),
    /// A node halted, or restarted with a log that it does not take.
    Broken(String),
}

pub(crate) struct Checker {
    honest_from: usize,
    mutation: Option<Mutation>,
    epoch_length: u64,
    term_length: u64,
    faults: usize,
    quorum: usize,
    byzantine: usize,
    votes: HashMap<(Kind, u64, u64, B256), u64>,
    said: HashMap<(usize, Kind, u64, u64), B256>,
    finals: BTreeMap<u64, B256>,
    pub(crate) facts: HashMap<B256, Fact>,
    pub(crate) violation: Option<Violation>,
}

impl Checker {
    pub(crate) fn new(plan: &Plan) -> Self {
        let faults = (plan.validators - 1) / 3;
        let quorum = plan.validators - faults;
        Self {
            honest_from: plan.byzantine.len(),
            mutation: plan.mutation,
            epoch_length: plan.epoch_length,
            term_length: plan.term_length,
            faults,
            quorum: quorum - usize::from(plan.mutation == Some(Mutation::SmallQuorum)),
            byzantine: plan.byzantine.len(),
            votes: HashMap::new(),
            said: HashMap::new(),
            finals: BTreeMap::new(),
            facts: HashMap::new(),
            violation: None,
        }
    }

    pub(crate) fn quorum(&self) -> usize {
        self.quorum
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// A vote of an honest node left it. Returns the honest voters for the same, if this one is new.
    pub(crate) fn voted(&mut self, node: usize, vote: &Vote) -> Option<u64> {
        let mutated = matches!(self.mutation, Some(Mutation::NotarizeTwice));
        let said = *self.said.entry((node, vote.kind, vote.epoch, vote.view)).or_insert(vote.digest);
        if said != vote.digest && !mutated {
            self.violate(Violation::Equivocation(format!("node {node}: {vote:?}")));
        }
        let term = vote.view / self.term_length;
        let (first, end) = (term * self.term_length, (term + 1) * self.term_length);
        let sent = |kind, from, to| (from..to).any(|view| self.said.contains_key(&(node, kind, vote.epoch, view)));
        let contradicts = match vote.kind {
            Kind::Notarize | Kind::Finalize => sent(Kind::Skip, first, vote.view + 1),
            Kind::Skip => sent(Kind::Finalize, vote.view, end) || sent(Kind::Notarize, vote.view + 1, end),
            Kind::Proposal | Kind::Buddy => false,
        };
        let excused = matches!(
            self.mutation,
            Some(
                Mutation::NotarizeAfterSkip
                    | Mutation::FinalizeAfterSkip
                    | Mutation::SkipAfterVote
                    | Mutation::SkipAhead
            )
        );
        // a vote sent again says nothing new
        let again =
            self.votes.get(&(vote.kind, vote.epoch, vote.view, vote.digest)).is_some_and(|v| v >> node & 1 == 1);
        if contradicts && !excused && !again {
            self.violate(Violation::Equivocation(format!("node {node}, against its earlier votes: {vote:?}")));
        }
        let voters = self.votes.entry((vote.kind, vote.epoch, vote.view, vote.digest)).or_default();
        if *voters >> node & 1 == 1 {
            return None;
        }
        *voters |= 1 << node;
        let voters = *voters;
        if vote.kind == Kind::Finalize && voters.count_ones() as usize + self.byzantine >= self.quorum {
            self.is_final(vote.digest);
        }
        Some(voters)
    }

    /// A proposal of an honest node left it.
    pub(crate) fn proposed(&mut self, node: usize, proposal: &Proposal) {
        let digest = proposal.checkpoint.digest();
        let place = (node, Kind::Proposal, proposal.checkpoint.epoch, proposal.view);
        if *self.said.entry(place).or_insert(digest) != digest {
            self.violate(Violation::Equivocation(format!("node {node}: two proposals in view {}", proposal.view)));
        }
    }

    /// A FinalCert of this checkpoint exists or could be formed.
    pub(crate) fn is_final(&mut self, digest: B256) {
        let mut digest = digest;
        let needed = if self.byzantine == 0 { 1 } else { self.faults + 1 };
        while let Some(fact) = self.facts.get(&digest) {
            let height = fact.checkpoint.height;
            match self.finals.insert(height, digest) {
                Some(known) if known == digest => return,
                Some(known) => {
                    return self.violate(Violation::Fork(format!("height {height}: {known} and {digest}")));
                }
                None => {}
            }
            if !fact.valid || fact.checkpoint.epoch != (height - 1) / self.epoch_length {
                return self.violate(Violation::Validity(format!("height {height}, valid: {}", fact.valid)));
            }
            if (fact.executed.count_ones() as usize) < needed {
                return self.violate(Violation::Validity(format!("height {height}: executed {:b}", fact.executed)));
            }
            digest = fact.checkpoint.parent;
        }
    }

    pub(crate) fn is_honest(&self, node: usize) -> bool {
        node >= self.honest_from
    }
}
