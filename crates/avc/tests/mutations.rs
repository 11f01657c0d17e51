//! Rules put back into earlier wordings, or left out one by one: the simulator must catch each. The seed named is the first that does; if the simulator
//! changes, a later one may.
//!
//! Four are not caught, because nothing that the simulator checks depends on them alone:
//! - `NotarizeAfterSkip`: rules 2 and 3 already keep a FinalCert(v) and a SkipCert(u), u ≤ v, apart, and so every parent that a SkipCert justifies
//!   is at or above each final view of its term: the model finds no fork without it either (`tests/model.rs`). The clause keeps NotarizeCerts above a SkipCert, which
//!   would be thrown away, from being made.
//! - `NoSkipOfInvalid`, `NoSkipOnEntry`: the view's timer does the same, later.
//! - `NoRelay`: certificates are sent again at each expiry, and formed by everyone from votes.

use jove_avc::Mutation;
use jove_avc::sim::{Plan, Violation, run};

/// How many seeds are tried from the first on.
const TRIES: u64 = 300;

fn caught(mutation: Mutation, plan: fn(u64) -> Plan, first: u64, expected: fn(&Violation) -> bool) {
    for seed in first..first + TRIES {
        let report = run(Plan { mutation: Some(mutation), ..plan(seed) });
        if report.violation.as_ref().is_some_and(expected) {
            assert_eq!(run(plan(seed)).violation, None, "the same run, with all rules");
            return;
        }
    }
    panic!("{mutation:?} was not caught in {TRIES} seeds");
}

fn fork(violation: &Violation) -> bool {
    matches!(violation, Violation::Fork(_))
}

fn stall(violation: &Violation) -> bool {
    matches!(violation, Violation::Stall(_))
}

fn validity(violation: &Violation) -> bool {
    matches!(violation, Violation::Validity(_))
}

fn equivocation(violation: &Violation) -> bool {
    matches!(violation, Violation::Equivocation(_))
}

macro_rules! caught {
    ($($name:ident: $mutation:ident, $plan:ident, $first:literal, $expected:ident;)*) => {
        $(#[test] fn $name() { caught(Mutation::$mutation, Plan::$plan, $first, $expected); })*
    };
}

caught! {
    // the paper's rule
    buddies_alone_fork: BuddiesFinalize, new, 26, fork;
    // earlier wordings
    skip_outside_of_the_current_view_stalls: SkipAhead, new, 0, stall;
    skip_after_a_later_vote_forks: SkipAfterVote, new, 100, fork;
    an_epoch_begun_without_skips_forks: EpochStartWithoutSkips, new, 20, fork;
    lower_skips_ignored_stall: LowerSkipIgnored, new, 33, stall;
    timers_stopped_by_what_is_notarized_stall: NotarizedIsIdle, new, 4, stall;
    // each rule dropped
    sending_before_logging_equivocates: SendBeforeLog, new, 29, equivocation;
    voting_without_a_log_equivocates: VoteWithoutLog, forgetful, 8, equivocation;
    voting_unexecuted_certifies_the_invalid: VoteUnexecuted, new, 21, validity;
    any_parent_across_terms_forks: AnyParentAcrossTerms, new, 19, fork;
    any_parent_within_a_term_forks: AnyParentWithinTerm, new, 600, fork;
    two_notarizations_fork: NotarizeTwice, new, 289, fork;
    waiting_for_buddies_forever_stalls: NoBuddyTimer, new, 3, stall;
    finalizing_the_uncertified_stalls: FinalizeUncertified, new, 1, stall;
    finalizing_after_a_skip_forks: FinalizeAfterSkip, new, 13, fork;
    never_skipping_stalls: NoSkip, new, 0, stall;
    never_sending_again_stalls: NoResend, new, 1, stall;
    never_answering_stalls: NoAnswer, new, 5, stall;
    never_asking_stalls: NoFetch, new, 0, stall;
    a_notarized_end_of_an_epoch_forks: NotarizedEndsEpoch, new, 13, fork;
    an_epoch_without_an_end_is_noticed: EpochWithoutEnd, new, 0, validity;
    a_smaller_quorum_forks: SmallQuorum, new, 192, fork;
    a_larger_quorum_stalls: LargeQuorum, new, 2, stall;
}
