//! The fault plans of AVC's simulator through commonware's `simplex`, and both compared: forks, and views to progress after the heal.
//!
//! `jove-simplex [first seed] [count]`; exits with 1 on a fork or if a network does not go on. Times are virtual.
//!
//! # What is the same
//! Of each seed's [`Plan`]: n; who is Byzantine, and of which manner; the length of a term; which partitions there are, when, and on which side each node
//! is; which honest nodes crash, when, for how long, and which of them loses its log; how much is lost before the heal; when that is. After it, what
//! every message takes on average, 32 ms. Byzantine leaders propose a block that is invalid about one time in seven. Signatures are a stand-in's.
//!
//! *Progress* is the same for both: all honest nodes have a final height (a finalized view) above every one that any of them had at the heal. Counted are
//! the highest view that one of them has entered since, skipped ones included, and the time.
//!
//! # What is not
//! - What only AVC's simulator has is off, in both: spares and with them changes of sets, idle views, doubled messages, slow votes of one kind, certificates that
//!   the adversary forms from honest votes, muted buddies, parents of long ago. Its replays, false witnesses and withheld data stay on, against AVC alone.
//! - Links: AVC's simulator draws each message's delay, and messages overtake each other. The network here delivers in order, with a normal delay of the same mean
//!   before the heal; so a late message also holds up what is behind it, beyond the heal too.
//! - Twins are two engines with one key, each heard by its own half, as in AVC's simulator. A withholding node, and a twin, lose 15 % of what they send, always;
//!   there they choose by kind what they hide. What is equivocation here gets nobody disconnected, and twins answer no requests for certificates.
//! - Leaders: here all validators in turn, in an order drawn from the seed; in AVC those that registered to sequence, drawn by weight.
//! - Timers: here 1 s for a proposal, 1.5 s for a certificate, each fixed; in AVC 1.5 s, growing to 8 s while nothing is final and shrinking after. AVC's nodes also tell each
//!   other their certificates when the network heals, and change epochs every few heights.
//! - Here blocks take 10 ms to build and to verify, and nothing else; AVC's take as long, and its log has a disk that takes 8 ms a write. Data is always at hand here.
//!
//! So forks compare, and views do roughly. Times show orders of magnitude.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(clippy::expect_used, reason = "a simulation of a wrong plan may end with a panic")]

mod network;

use jove_avc::sim::{Manner, Plan, Violation, run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What one run of one protocol came to.
struct Outcome {
    fork: bool,
    /// Why it failed, if it did; a fork is a failure.
    failure: Option<String>,
    /// From the heal to progress: views, milliseconds.
    recovery: Option<(u64, u64)>,
}

/// One seed.
struct Pair {
    plan: Plan,
    avc: Outcome,
    simplex: Outcome,
}

/// A row of the table: its name, which plans are in it.
type Class = (&'static str, fn(&Plan) -> bool);

const CLASSES: [Class; 9] = [
    ("all", |_| true),
    ("n ≤ 7", |plan| plan.validators <= 7),
    ("n 10–16", |plan| (10..=16).contains(&plan.validators)),
    ("n ≥ 19", |plan| plan.validators >= 19),
    ("twins", |plan| plan.byzantine.contains(&Manner::Twins)),
    ("no twins", |plan| !plan.byzantine.contains(&Manner::Twins)),
    ("partitions", |plan| !plan.partitions.is_empty()),
    ("crashes", |plan| !plan.crashes.is_empty()),
    ("a log is lost", |plan| plan.lost_log.is_some()),
];

/// A seed's plan, without what the other network cannot do.
fn plan_of(seed: u64) -> Plan {
    Plan {
        spares: 0,
        sparse: false,
        duplicates: 0,
        slow: None,
        forging: 0,
        mute_buddies: false,
        oldest_parent: false,
        ..Plan::new(seed)
    }
}

fn avc(plan: Plan) -> Outcome {
    let report = run(plan);
    Outcome {
        fork: matches!(report.violation, Some(Violation::Fork(_))),
        failure: report.violation.map(|violation| format!("{violation:?}")),
        recovery: report.recovery,
    }
}

/// A panic of what is simulated is a failure of that run.
fn caught(run: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Outcome {
        fork: false,
        failure: Some("it panicked".into()),
        recovery: None,
    })
}

/// The value below or at which so many of a hundred are.
fn percentile(sorted: &[u64], of: usize) -> String {
    let at = (sorted.len() * of).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or("–".into(), u64::to_string)
}

fn row(class: &str, protocol: &str, outcomes: &[&Outcome]) {
    let forks = outcomes.iter().filter(|outcome| outcome.fork).count();
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some() && !outcome.fork).count();
    let (mut views, mut times): (Vec<u64>, Vec<u64>) = outcomes.iter().filter_map(|outcome| outcome.recovery).unzip();
    views.sort_unstable();
    times.sort_unstable();
    let cells = [&views, &times].map(|sorted| [50, 99, 100].map(|of| percentile(sorted, of)).join(" | "));
    println!("| {class} | {} | {protocol} | {forks} | {failures} | {} | {} |", outcomes.len(), cells[0], cells[1]);
}

fn main() -> ExitCode {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|argument| argument.parse::<u64>()).collect();
    let (first, count) = match numbers.as_deref() {
        Ok([]) => (0, 100),
        Ok([first]) => (*first, 1),
        Ok([first, count]) => (*first, *count),
        _ => {
            println!("jove-simplex [first seed] [count]");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    let mut pairs = Vec::new();
    for seed in first..first.saturating_add(count) {
        let plan = plan_of(seed);
        let pair = Pair { avc: caught(|| avc(plan.clone())), simplex: caught(|| network::run(plan.clone())), plan };
        for (protocol, outcome) in [("AVC", &pair.avc), ("simplex", &pair.simplex)] {
            if let Some(failure) = &outcome.failure {
                println!("seed {seed}, {protocol}: {failure}");
                failed = true;
            }
        }
        pairs.push(pair);
    }
    println!("| plans | seeds | | forks | other failures | views p50 | p99 | max | ms p50 | p99 | max |");
    println!("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (class, includes) in CLASSES {
        let included: Vec<&Pair> = pairs.iter().filter(|pair| includes(&pair.plan)).collect();
        if !included.is_empty() {
            row(class, "AVC", &included.iter().map(|pair| &pair.avc).collect::<Vec<_>>());
            row(class, "simplex", &included.iter().map(|pair| &pair.simplex).collect::<Vec<_>>());
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
