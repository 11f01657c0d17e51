//! Runs the simulator over many seeds, on all cores, and prints seeds a second.
//!
//! `simulate [first seed] [count] [--threads N] [--real] [--forgetful] [--mutation NAME]`; exits with 1 if a run fails. One seed alone prints its plan and its report.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use jove_avc::Mutation;
use jove_avc::sim::{Plan, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What all runs came to.
#[derive(Default)]
struct Totals {
    views: u64,
    events: u64,
    evidence: u64,
    fewest: u64,
    failed: Vec<u64>,
    sizes: [u64; 3],
}

fn main() {
    let mut numbers = Vec::new();
    let mut plan_of: fn(u64) -> Plan = Plan::new;
    let (mut real, mut threads, mut mutation) = (false, 2, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--real" => real = true,
            "--forgetful" => plan_of = Plan::forgetful,
            "--mutation" => {
                let name = arguments.next().unwrap_or_default();
                mutation = Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
            }
            "--threads" => threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(2),
            number => match number.parse::<u64>() {
                Ok(number) => numbers.push(number),
                Err(_) => {
                    println!("simulate [first seed] [count] [--threads N] [--real] [--forgetful] [--mutation NAME]");
                    std::process::exit(2);
                }
            },
        }
    }
    let first = numbers.first().copied().unwrap_or(0);
    let count = numbers.get(1).copied().unwrap_or(10_000);
    if count == 1 {
        println!("{:#?}", Plan { real, mutation, ..plan_of(first) });
    }
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals { fewest: u64::MAX, ..Totals::default() });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let plan = Plan { real, mutation, ..plan_of(seed) };
                    let size = usize::from(plan.validators > 7) + usize::from(plan.validators > 16);
                    let report = run(plan);
                    if count == 1 {
                        println!("{report:#?}");
                    }
                    let mut totals = totals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    totals.views += report.views;
                    totals.events += report.events;
                    totals.evidence += report.evidence;
                    totals.sizes[size] += 1;
                    if let Some(violation) = report.violation {
                        println!("seed {seed}: {violation:?}");
                        totals.failed.push(seed);
                    } else {
                        totals.fewest = totals.fewest.min(report.views);
                    }
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let Totals { views, events, evidence, fewest, failed, sizes } =
        totals.into_inner().unwrap_or_else(|p| p.into_inner());
    println!(
        "{count} seeds (n ≤ 7: {}, 10–16: {}, 19–31: {}) in {seconds:.1} s on {threads} threads: {:.1} seeds/s; {views} views, at \
         least {fewest} a seed; {events} events; {evidence} proofs of misbehaviour; {} failed {failed:?}",
        sizes[0],
        sizes[1],
        sizes[2],
        count as f64 / seconds,
        failed.len(),
    );
    if !failed.is_empty() {
        std::process::exit(1);
    }
}
