//! Rules 1 to 4 as functions: what a node may say, given what it said and what is certified. The core asks them before it votes, and so does the model
//! that is checked exhaustively (`examples/model`): they are written down once.
//!
//! What a node said is an iterator of (view, kind), of one epoch, in any order.

use crate::Kind;
use crate::mutation::{Mutation, Tampering};

/// Whether a parent may have a child in a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Justified {
    /// It may.
    Yes,
    /// Not by what is known here: the SkipCert of the term of this first view is missing.
    Missing(u64),
    /// Whatever is known besides.
    Never,
}

/// The rules of a chain; outside of simulations and models, none of them broken.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// T: views in a term.
    pub term_length: u64,
    /// The rule that is broken.
    pub tampering: Tampering,
}

impl Rules {
    /// The term of a view.
    pub fn term(&self, view: u64) -> u64 {
        view / self.term_length
    }

    /// The first view of a term.
    pub fn first(&self, term: u64) -> u64 {
        term * self.term_length
    }

    /// Whether a view is the first of its term.
    pub fn is_first(&self, view: u64) -> bool {
        view.is_multiple_of(self.term_length)
    }

    /// Whether Skip(u), u ≤ view, of the view's term was sent.
    pub fn skipped(&self, view: u64, mut said: impl Iterator<Item = (u64, Kind)>) -> bool {
        let first = self.first(self.term(view));
        said.any(|(of, kind)| kind == Kind::Skip && (first..=view).contains(&of))
    }

    /// Rule 1: whether the node's own words allow Notarize in its current view; the same again is the caller's to notice.
    pub fn may_notarize(&self, view: u64, said: impl Iterator<Item = (u64, Kind)> + Clone) -> bool {
        let again = said.clone().any(|word| word == (view, Kind::Notarize));
        (!again || self.tampering.breaks(Mutation::NotarizeTwice))
            && (!self.skipped(view, said) || self.tampering.breaks(Mutation::NotarizeAfterSkip))
    }

    /// Rule 2: whether the node's own words allow Finalize of what is notarized in a view.
    pub fn may_finalize(&self, view: u64, said: impl Iterator<Item = (u64, Kind)> + Clone) -> bool {
        !said.clone().any(|word| word == (view, Kind::Finalize))
            && (!self.skipped(view, said) || self.tampering.breaks(Mutation::FinalizeAfterSkip))
    }

    /// Rule 3: the views of which a node sends Skip in its current one, on its timer or for what is invalid: that view, if its own words allow it.
    pub fn skips(&self, view: u64, said: impl Iterator<Item = (u64, Kind)> + Clone) -> Vec<u64> {
        if self.tampering.breaks(Mutation::NoSkip) {
            return Vec::new();
        }
        let mut views = Vec::new();
        if self.tampering.breaks(Mutation::SkipAhead) && !self.is_first(view + 1) {
            views.push(view + 1);
        } else {
            if self.tampering.breaks(Mutation::SkipAfterVote) && !self.is_first(view) {
                views.push(view - 1);
            }
            let end = self.first(self.term(view) + 1);
            let contradicts = |(of, kind): (u64, Kind)| {
                (kind == Kind::Finalize && (view..end).contains(&of))
                    || (kind == Kind::Notarize && (view + 1..end).contains(&of))
            };
            if !said.clone().any(contradicts) {
                views.push(view);
            }
        }
        views.retain(|view| !said.clone().any(|word| word == (*view, Kind::Skip)));
        views
    }

    /// Rules 1 and 6: whether a proposal of `view` may build on what is certified in `parent`, or on the start of the epoch. `last` is the view of the
    /// highest FinalCert of the epoch that is held, if one is, and `skip` gives the lowest SkipCert that is held of a term.
    pub fn justified(
        &self,
        view: u64,
        parent: Option<u64>,
        last: Option<u64>,
        skip: impl Fn(u64) -> Option<u64>,
    ) -> Justified {
        let term = self.term(view);
        let skipped_from = |from: u64| match (from..term).find(|between| skip(*between) != Some(self.first(*between))) {
            None => Justified::Yes,
            Some(missing) => Justified::Missing(self.first(missing)),
        };
        let Some(parent) = parent else {
            if last.is_some() || !self.is_first(view) {
                return Justified::Never;
            }
            if self.tampering.breaks(Mutation::EpochStartWithoutSkips) {
                return Justified::Yes;
            }
            return skipped_from(0);
        };
        let of = self.term(parent);
        if parent >= view || last.is_some_and(|last| parent < last) {
            return Justified::Never;
        }
        if of == term {
            let any = self.tampering.breaks(Mutation::AnyParentWithinTerm);
            return if parent + 1 == view || any { Justified::Yes } else { Justified::Never };
        }
        if !self.is_first(view) {
            return Justified::Never;
        }
        if self.tampering.breaks(Mutation::AnyParentAcrossTerms) {
            return Justified::Yes;
        }
        let ended = self.is_first(parent + 1) || skip(of).is_some_and(|skip| skip <= parent + 1);
        if ended { skipped_from(of + 1) } else { Justified::Missing(self.first(of)) }
    }

    /// Rule 4: the view that a certificate leads to, from any lower one.
    pub fn leads_to(&self, kind: Kind, view: u64) -> u64 {
        match kind {
            Kind::Notarize | Kind::Finalize => view + 1,
            Kind::Skip => self.first(self.term(view) + 1),
            Kind::Proposal | Kind::Buddy => view,
        }
    }
}
