//! The policy over a series of fees.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod fees;

use fees::{Outcome, Rule, SERIES, STARTS, generate, parse, simulate};
use jove_settlement::policy::Policy;

/// Bytes a second: from little, where the deadline decides, to a batch in six minutes.
const RATES: [u64; 4] = [50, 200, 700, 2200];

fn run(rule: Rule, rate: u64) -> Outcome {
    simulate(&parse(SERIES), &Policy::default(), rule, rate)
}

#[test]
fn the_series_is_what_it_is_said_to_be() {
    let series = parse(SERIES);
    assert_eq!(series.len(), 4 * 24 * 60);
    assert!(series == generate());
    // EIP-1559 lets the base fee change by an eighth a block, five blocks a step.
    let most = |from: u128| from * 181 / 100 + 5;
    for pair in series.windows(2) {
        assert!(pair[1].base_fee <= most(pair[0].base_fee) && pair[0].base_fee <= pair[1].base_fee * 195 / 100 + 5);
        assert!(pair[1].blob_base_fee >= 1);
    }
}

#[test]
fn the_deadline_is_never_missed() {
    let policy = Policy::default();
    for rate in RATES {
        let outcome = run(Rule::Policy, rate);
        assert!(outcome.commits > 50 * STARTS as u64, "{rate}: {outcome:?}");
        assert!(outcome.oldest <= policy.deadline.as_secs(), "{rate}: {outcome:?}");
    }
}

#[test]
fn it_saves_against_every_fixed_interval_that_keeps_the_deadline() {
    let policy = Policy::default();
    let longest = policy.deadline.as_secs() - policy.margin.as_secs();
    for rate in RATES {
        let ours = run(Rule::Policy, rate);
        for interval in [600, 1800, longest] {
            let fixed = run(Rule::Interval(interval), rate);
            assert!(ours.gwei_per_kb() < fixed.gwei_per_kb(), "{rate}, {interval}: {ours:?} {fixed:?}");
        }
    }
}
