//! A model of the voting rules, for `stateright` to visit every state of: rules 1, 2, 3, 4 and 6, as [`jove_avc::rules`] has them, and nothing else.
//!
//! Four validators, one Byzantine. The network is a soup: what honest validators said, each only once, and since the adversary has a signature of its own for everything, a
//! certificate can be shown to any node at any time as soon as Q − F honest validators voted for it. So messages are lost, late, doubled and out of order in
//! every way there is, certificates are withheld from some and shown to others, and every leader is the adversary's. A node takes steps only where it votes: the
//! certificates that lead it to a view are shown to it just then. What it does not vote on changes nothing for anybody.
//!
//! In each view there are one or two proposals. Two are all that three honest validators can notarize one of; one is enough where nobody notarizes twice and a quorum is a
//! quorum, since a vote for what is not notarized binds its sender and helps nobody: without it there is all that there is with it. In an epoch's last height a
//! proposal is the same block again. Honest validators are alike, so states that differ by who is who are one.
//!
//! A Finalize and a Skip of one node exclude each other whatever comes first, and nothing but the end of an epoch follows from a Finalize. So, unless
//! `explicit`, those on blocks within an epoch are not steps: a block counts as final as soon as Q − F honest validators could still finalize it. With `explicit`
//! each Finalize is a step; the test compares both where the state space is small.

use jove_avc::rules::{Justified, Rules};
use jove_avc::{Kind, Mutation, Tampering};
use stateright::{Model, Property};

/// Honest validators.
const HONEST: usize = 3;
/// The most views of an epoch.
pub(crate) const VIEWS: usize = 6;
/// Proposals in a view.
const SLOTS: usize = 2;
/// Epochs.
const EPOCHS: usize = 2;

/// A place of a proposal: 0 is genesis, and 1 + (epoch · VIEWS + view) · SLOTS + slot all others.
pub(crate) type Place = u8;
const GENESIS: Place = 0;

fn place(epoch: usize, view: usize, slot: usize) -> Place {
    (1 + (epoch * VIEWS + view) * SLOTS + slot) as Place
}

/// What is proposed in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) enum Content {
    /// Nothing yet.
    #[default]
    None,
    /// A new block on the one in this place, or on the start of the epoch.
    New(Place),
    /// The end of the epoch once more, as it is certified in this place.
    Again(Place),
}

/// What an honest node said of a view: for each slot Notarize and Finalize, and Skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Words {
    notarize: [bool; SLOTS],
    finalize: [bool; SLOTS],
    skip: bool,
}

/// An honest node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Node {
    epoch: u8,
    /// The view of its last step.
    view: u8,
    /// The block that its epoch began with.
    start: Place,
    words: [[Words; VIEWS]; EPOCHS],
}

/// All that was said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    nodes: [Node; HONEST],
    contents: [[[Content; SLOTS]; VIEWS]; EPOCHS],
}

/// One step of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It notarizes the proposal in a place, which is this.
    Notarize { node: usize, view: usize, slot: usize, content: Content },
    /// It skips, being in this view.
    Skip { node: usize, view: usize },
    /// It finalizes what is notarized in a place.
    Finalize { node: usize, view: usize, slot: usize },
    /// It goes to the next epoch, which begins with the block in this place.
    Enter { node: usize, end: Place },
}

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// T.
    pub(crate) term_length: u64,
    /// Proposals in a view: 1 or 2.
    pub(crate) slots: usize,
    /// Views of each epoch; none of the second are none of it.
    pub(crate) views: [usize; EPOCHS],
    /// L.
    pub(crate) epoch_length: u64,
    /// Each Finalize is a step.
    pub(crate) explicit: bool,
    /// The rule that everyone breaks.
    pub(crate) mutation: Option<Mutation>,
}

impl Bounds {
    fn rules(&self) -> Rules {
        Rules {
            term_length: self.term_length,
            tampering: Tampering { mutation: self.mutation, ..Tampering::default() },
        }
    }

    fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Honest votes that a certificate needs: Q − F, of n = 3F + 1 = 4.
    fn needed(&self) -> usize {
        let quorum = HONEST + 1 - 1;
        quorum - 1 - usize::from(self.breaks(Mutation::SmallQuorum))
    }

    fn end(&self, epoch: usize) -> u64 {
        if self.breaks(Mutation::EpochWithoutEnd) { u64::MAX } else { (epoch as u64 + 1) * self.epoch_length }
    }
}

impl Node {
    fn said(&self, epoch: usize) -> impl Iterator<Item = (u64, Kind)> + Clone + '_ {
        self.words[epoch].iter().enumerate().flat_map(|(view, words)| {
            let kinds = [
                (words.notarize != [false; SLOTS], Kind::Notarize),
                (words.finalize != [false; SLOTS], Kind::Finalize),
                (words.skip, Kind::Skip),
            ];
            kinds.into_iter().filter(|(said, _)| *said).map(move |(_, kind)| (view as u64, kind))
        })
    }
}

impl State {
    fn count(&self, said: impl Fn(&Node) -> bool) -> usize {
        self.nodes.iter().filter(|node| said(node)).count()
    }

    fn content(&self, at: Place) -> Content {
        match at.checked_sub(1).map(usize::from) {
            None => Content::None,
            Some(at) => self.contents[at / (VIEWS * SLOTS)][at / SLOTS % VIEWS][at % SLOTS],
        }
    }

    /// Where a block was first proposed.
    fn block(&self, at: Place) -> Place {
        match self.content(at) {
            Content::Again(before) => self.block(before),
            _ => at,
        }
    }

    fn parent(&self, block: Place) -> Option<Place> {
        match self.content(block) {
            Content::New(parent) => Some(self.block(parent)),
            _ => None,
        }
    }

    fn height(&self, block: Place) -> u64 {
        self.parent(block).map_or(0, |parent| 1 + self.height(parent))
    }

    fn is_on(&self, block: Place, ancestor: Place) -> bool {
        block == ancestor || self.parent(block).is_some_and(|parent| self.is_on(parent, ancestor))
    }

    fn notarized(&self, bounds: &Bounds, epoch: usize, view: usize, slot: usize) -> bool {
        self.count(|node| node.words[epoch][view].notarize[slot]) >= bounds.needed()
    }

    /// The lowest view of a term that a SkipCert can be formed of.
    fn skip(&self, bounds: &Bounds, epoch: usize, term: u64) -> Option<u64> {
        let rules = bounds.rules();
        (rules.first(term)..rules.first(term + 1).min(VIEWS as u64))
            .find(|view| self.count(|node| node.words[epoch][*view as usize].skip) >= bounds.needed())
    }

    /// Whether a FinalCert of what is in a place can be formed; with `late`, from what honest nodes may still send, too.
    fn is_final(&self, bounds: &Bounds, epoch: usize, view: usize, slot: usize, late: bool) -> bool {
        let certified = self.notarized(bounds, epoch, view, slot);
        let voters = self.count(|node| {
            node.words[epoch][view].finalize[slot]
                || (late && certified && bounds.rules().may_finalize(view as u64, node.said(epoch)))
        });
        voters >= bounds.needed()
    }

    /// Every block of which a FinalCert can be formed.
    fn finals(&self, bounds: &Bounds) -> Vec<Place> {
        let mut finals = Vec::new();
        for epoch in 0..EPOCHS {
            for view in 0..bounds.views[epoch] {
                for slot in 0..bounds.slots {
                    if self.contents[epoch][view][slot] != Content::None
                        && self.is_final(bounds, epoch, view, slot, !bounds.explicit)
                    {
                        finals.push(self.block(place(epoch, view, slot)));
                    }
                }
            }
        }
        finals
    }

    /// Two final blocks, neither of which is built on the other.
    pub(crate) fn fork(&self, bounds: &Bounds) -> bool {
        let finals = self.finals(bounds);
        finals.iter().any(|a| finals.iter().any(|b| !self.is_on(*a, *b) && !self.is_on(*b, *a)))
    }

    /// The views that a node can be led to, from where it is, and that one.
    fn reachable(&self, bounds: &Bounds, node: &Node) -> Vec<usize> {
        let (rules, epoch) = (bounds.rules(), usize::from(node.epoch));
        let mut found = vec![u64::from(node.view)];
        let mut next = 0;
        while let Some(view) = found.get(next).copied() {
            next += 1;
            for later in view..bounds.views[epoch] as u64 {
                if (0..bounds.slots).any(|slot| self.notarized(bounds, epoch, later as usize, slot)) {
                    found.push(rules.leads_to(Kind::Notarize, later));
                }
                if let Some(skip) = self.skip(bounds, epoch, rules.term(later)) {
                    found.push(rules.leads_to(Kind::Skip, skip));
                }
            }
            found.retain(|view| *view < bounds.views[epoch] as u64);
            let mut seen = Vec::new();
            found.retain(|view| {
                !seen.contains(view) && {
                    seen.push(*view);
                    true
                }
            });
        }
        found.into_iter().map(|view| view as usize).collect()
    }

    /// Whether a node in this view accepts a proposal: what `examine` of the core asks.
    fn acceptable(&self, bounds: &Bounds, node: &Node, view: usize, content: Content) -> bool {
        let epoch = usize::from(node.epoch);
        let (on, again) = match content {
            Content::None => return false,
            Content::New(on) => (on, false),
            Content::Again(on) => (on, true),
        };
        let start = on == node.start && !again;
        let parent = (!start).then(|| usize::from(on.wrapping_sub(1)) / SLOTS % VIEWS);
        if let Some(parent) = parent {
            let slot = usize::from(on.wrapping_sub(1)) % SLOTS;
            let ours = on != GENESIS && usize::from(on - 1) / (VIEWS * SLOTS) == epoch;
            if !ours || !self.notarized(bounds, epoch, parent, slot) {
                return false;
            }
            if (self.height(self.block(on)) == bounds.end(epoch)) != again {
                return false;
            }
        }
        let skip = |term| self.skip(bounds, epoch, term);
        bounds.rules().justified(view as u64, parent.map(|parent| parent as u64), None, skip) == Justified::Yes
    }

    /// What the adversary can propose to a node in this view.
    fn proposals(&self, bounds: &Bounds, node: &Node, view: usize) -> Vec<Content> {
        let epoch = usize::from(node.epoch);
        let mut all = vec![Content::New(node.start)];
        for parent in 0..view {
            for slot in 0..bounds.slots {
                if self.notarized(bounds, epoch, parent, slot) {
                    let at = place(epoch, parent, slot);
                    all.extend([Content::New(at), Content::Again(at)]);
                }
            }
        }
        all.retain(|content| self.acceptable(bounds, node, view, *content));
        all
    }
}

impl Model for Bounds {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State { nodes: Default::default(), contents: Default::default() }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let rules = self.rules();
        for (index, node) in state.nodes.iter().enumerate() {
            if index > 0 && state.nodes[index - 1] == *node {
                // whoever is alike does alike
                continue;
            }
            let epoch = usize::from(node.epoch);
            for view in state.reachable(self, node) {
                if rules.may_notarize(view as u64, node.said(epoch)) {
                    for slot in 0..self.slots {
                        let there = state.contents[epoch][view][slot];
                        if node.words[epoch][view].notarize[slot] {
                            continue;
                        }
                        if there != Content::None {
                            if state.acceptable(self, node, view, there) {
                                steps.push(Step::Notarize { node: index, view, slot, content: there });
                            }
                        } else if slot == 0 || state.contents[epoch][view][slot - 1] != Content::None {
                            for content in state.proposals(self, node, view) {
                                steps.push(Step::Notarize { node: index, view, slot, content });
                            }
                        }
                    }
                }
                if !rules.skips(view as u64, node.said(epoch)).is_empty() {
                    steps.push(Step::Skip { node: index, view });
                }
            }
            for view in 0..self.views[epoch] {
                for slot in 0..self.slots {
                    let block = state.block(place(epoch, view, slot));
                    let ends = self.views[1] > 0
                        && epoch == 0
                        && state.contents[epoch][view][slot] != Content::None
                        && state.height(block) == self.epoch_length;
                    let certified = state.notarized(self, epoch, view, slot)
                        || (self.breaks(Mutation::FinalizeUncertified) && node.words[epoch][view].notarize[slot]);
                    if (ends || self.explicit) && certified && rules.may_finalize(view as u64, node.said(epoch)) {
                        steps.push(Step::Finalize { node: index, view, slot });
                    }
                    let over = state.is_final(self, epoch, view, slot, false)
                        || (self.breaks(Mutation::NotarizedEndsEpoch) && state.notarized(self, epoch, view, slot));
                    if ends && over {
                        steps.push(Step::Enter { node: index, end: block });
                    }
                }
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut state = state.clone();
        match step {
            Step::Notarize { node, view, slot, content } => {
                let node = &mut state.nodes[node];
                let epoch = usize::from(node.epoch);
                node.view = view as u8;
                node.words[epoch][view].notarize[slot] = true;
                state.contents[epoch][view][slot] = content;
            }
            Step::Skip { node, view } => {
                let node = &mut state.nodes[node];
                let epoch = usize::from(node.epoch);
                node.view = view as u8;
                for skipped in self.rules().skips(view as u64, node.said(epoch)) {
                    node.words[epoch].get_mut(skipped as usize)?.skip = true;
                }
            }
            Step::Finalize { node, view, slot } => {
                let node = &mut state.nodes[node];
                node.words[usize::from(node.epoch)][view].finalize[slot] = true;
                // it holds the certificate, which leads on
                let to = self.rules().leads_to(Kind::Notarize, view as u64) as u8;
                node.view = node.view.max(to);
            }
            Step::Enter { node, end } => {
                let node = &mut state.nodes[node];
                (node.epoch, node.view, node.start) = (1, 0, end);
            }
        }
        state.nodes.sort_unstable();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no fork", |bounds: &Bounds, state: &State| !state.fork(bounds)),
            Property::sometimes(
                "a term ends by a SkipCert and the next finalizes on what it notarized",
                |bounds: &Bounds, state: &State| {
                    let term = bounds.term_length;
                    if bounds.epoch_length < 2 {
                        return true; // of an epoch of one height nothing but its end is notarized
                    }
                    state.skip(bounds, 0, 0).is_some()
                        && state.finals(bounds).iter().any(|block| {
                            let at = usize::from(block.saturating_sub(1)) / SLOTS;
                            at < VIEWS
                                && at as u64 >= term
                                && state.parent(*block).is_some_and(|parent| parent != GENESIS)
                        })
                },
            ),
            Property::sometimes("the next epoch finalizes", |bounds: &Bounds, state: &State| {
                bounds.views[1] == 0 || state.finals(bounds).iter().any(|block| usize::from(*block) > VIEWS * SLOTS)
            }),
        ]
    }
}
