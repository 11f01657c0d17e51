//! The voting rules, checked in every state within bounds. `cargo run --release -p jove-avc --example model` goes deeper.

#[path = "../examples/model/model.rs"]
mod model;

use jove_avc::Mutation;
use model::Bounds;
use stateright::{Checker, HasDiscoveries, Model};

/// Two terms of two views.
const TERMS: Bounds =
    Bounds { term_length: 2, slots: 1, views: [4, 0], epoch_length: 100, explicit: false, mutation: None };
/// Terms of one view, an epoch that ends at height 1, and the next: with two views in one of them.
const EPOCHS: [Bounds; 2] = [
    Bounds { term_length: 1, views: [2, 1], epoch_length: 1, ..TERMS },
    Bounds { term_length: 1, views: [1, 2], epoch_length: 1, ..TERMS },
];
/// A term of three views.
const TERM: Bounds = Bounds { term_length: 3, views: [3, 0], ..TERMS };
/// Two proposals in each view of a term.
const TWO: Bounds = Bounds { slots: 2, views: [2, 0], ..TERMS };

/// Visits every state, or as many as it takes to find a fork, and says whether there is one.
fn forks(bounds: Bounds) -> bool {
    let checker = bounds.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.discovery("no fork").is_some()
}

#[test]
fn no_state_has_a_fork() {
    for bounds in [TERMS, EPOCHS[0], EPOCHS[1], TERM, TWO] {
        let checker = bounds.checker().threads(2).spawn_bfs().join();
        assert!(checker.unique_state_count() > 500, "{bounds:?}: {}", checker.unique_state_count());
        checker.assert_no_discovery("no fork");
        // and the model is not empty
        if bounds.views[0] > bounds.term_length as usize {
            checker.assert_any_discovery("a term ends by a SkipCert and the next finalizes on what it notarized");
        }
        checker.assert_any_discovery("the next epoch finalizes");
    }
}

/// Each rule that safety needs, dropped: there is a fork. Finalize is a step of its own, since some of these let a node skip what it finalized.
#[test]
fn each_rule_dropped_forks() {
    let dropped = [
        (Mutation::AnyParentAcrossTerms, TERMS),
        (Mutation::AnyParentWithinTerm, TERM),
        (Mutation::NotarizeTwice, TWO),
        (Mutation::FinalizeAfterSkip, TERMS),
        (Mutation::SkipAfterVote, TERMS),
        (Mutation::SmallQuorum, TWO),
        (Mutation::EpochStartWithoutSkips, EPOCHS[1]),
        (Mutation::NotarizedEndsEpoch, EPOCHS[0]),
        (Mutation::EpochWithoutEnd, EPOCHS[0]),
    ];
    for (mutation, bounds) in dropped {
        assert!(forks(Bounds { mutation: Some(mutation), explicit: true, ..bounds }), "{mutation:?}");
    }
}

/// These keep no fork away: others do what they would.
#[test]
fn some_rules_dropped_do_not_fork() {
    for mutation in [Mutation::NotarizeAfterSkip, Mutation::FinalizeUncertified, Mutation::SkipAhead] {
        let bounds = Bounds { views: [3, 0], explicit: true, mutation: Some(mutation), ..TERMS };
        assert!(!forks(bounds), "{mutation:?}");
    }
}

/// What a node may still finalize says as much as each Finalize as a step.
#[test]
fn late_finalizes_find_what_explicit_ones_do() {
    let small = Bounds { views: [3, 0], ..TERMS };
    let of = |mutation, bounds: Bounds| Bounds { mutation: Some(mutation), ..bounds };
    for bounds in [
        small,
        of(Mutation::AnyParentAcrossTerms, small),
        of(Mutation::FinalizeAfterSkip, small),
        of(Mutation::NotarizeTwice, TWO),
        of(Mutation::SmallQuorum, TWO),
        of(Mutation::AnyParentWithinTerm, TERM),
    ] {
        assert_eq!(forks(bounds), forks(Bounds { explicit: true, ..bounds }), "{bounds:?}");
    }
}
