//! The policy over a series of fees.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod fees;

use fees::{MADE_UP, Outcome, Rule, STARTS, generate, parse, recorded, simulate};
use jove_settlement::policy::{Policy, Prices};

/// Bytes a second: from little, where the deadline decides, to a batch in six minutes.
const RATES: [u64; 4] = [50, 200, 700, 2200];

fn run(series: &[Prices], rule: Rule, rate: u64) -> Outcome {
    simulate(series, &Policy::default(), rule, rate, 1_000_000)
}

#[test]
fn the_series_is_what_it_is_said_to_be() {
    let series = parse(MADE_UP);
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
fn the_recorded_series_is_ethereums() {
    let series = recorded();
    assert_eq!(series.len(), 947);
    assert_eq!(series[0], Prices { base_fee: 940_691_560, blob_base_fee: 54_853_949 });
    assert_eq!(series[946], Prices { base_fee: 373_971_117, blob_base_fee: 24_366_662 });
    // EIP-7918: the blob base fee cannot stay far below a sixteenth of the base fee.
    assert!(series.iter().all(|prices| prices.blob_base_fee * 16 * 10 > prices.base_fee));
    assert_eq!(series.iter().map(|prices| prices.base_fee / 1_000_000_000).max(), Some(44));
}

#[test]
fn the_deadline_is_never_missed() {
    let policy = Policy::default();
    for series in [parse(MADE_UP), recorded()] {
        for rate in RATES {
            let outcome = run(&series, Rule::Policy, rate);
            assert!(outcome.commits > STARTS as u64 * series.len() as u64 / 100, "{rate}: {outcome:?}");
            assert!(outcome.oldest <= policy.deadline.as_secs(), "{rate}: {outcome:?}");
        }
    }
}

#[test]
fn it_saves_against_fixed_intervals_that_keep_the_deadline() {
    let policy = Policy::default();
    let longest = policy.deadline.as_secs() - policy.margin.as_secs();
    for series in [parse(MADE_UP), recorded()] {
        for rate in RATES {
            let ours = run(&series, Rule::Policy, rate);
            for interval in [600, 1800, longest] {
                let fixed = run(&series, Rule::Interval(interval), rate);
                // Where an hour fills no batch, the longest interval is nearly as good.
                let most = if interval == longest && rate < 700 { 1.03 } else { 1.0 };
                assert!(ours.gwei_per_kb() < fixed.gwei_per_kb() * most, "{rate}, {interval}: {ours:?} {fixed:?}");
            }
        }
    }
}
