//! Whole networks under the simulator. `cargo run --release -p jove-avc --example simulate` runs ten thousand seeds.

use jove_avc::sim::{Plan, run};

#[test]
fn networks_agree_and_go_on() {
    for seed in 1_000_000..1_000_040 {
        let report = run(Plan::new(seed));
        assert_eq!(report.violation, None, "seed {seed}");
        assert!(report.views >= 20 && report.epoch >= 1, "seed {seed}: {report:?}");
    }
}

#[test]
fn networks_with_real_cryptography_agree() {
    for seed in 0..1 {
        let plan = Plan { real: true, ..Plan::sized(seed, 4) };
        assert_eq!(run(plan).violation, None, "seed {seed}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 5, 8] {
        let (first, second) = (run(Plan::new(seed)), run(Plan::new(seed)));
        assert_eq!((first.trace, first.events, first.views), (second.trace, second.events, second.views));
        assert_ne!(first.trace, run(Plan::new(seed + 100)).trace);
    }
}

#[test]
fn twins_are_found_out() {
    let found: u64 = (0..10).map(|seed| run(Plan::new(seed)).evidence).sum();
    assert!(found > 0);
}
