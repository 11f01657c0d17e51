//! Runs the simulator over many seeds, on all cores, and prints seeds a second.
//!
//! `simulate [first seed] [count] [--threads N] [--real] [--mutation NAME]`; exits with 1 if a run fails. One seed alone prints its plan and its report.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use jove_avc::Mutation;
use jove_avc::sim::{Plan, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn main() {
    let mut numbers = Vec::new();
    let (mut real, mut threads, mut mutation) = (false, 2, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--real" => real = true,
            "--mutation" => {
                let name = arguments.next().unwrap_or_default();
                mutation = Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
            }
            "--threads" => threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(2),
            number => match number.parse::<u64>() {
                Ok(number) => numbers.push(number),
                Err(_) => {
                    println!("simulate [first seed] [count] [--threads N] [--real] [--mutation NAME]");
                    std::process::exit(2);
                }
            },
        }
    }
    let first = numbers.first().copied().unwrap_or(0);
    let count = numbers.get(1).copied().unwrap_or(10_000);
    if count == 1 {
        println!("{:#?}", Plan { real, mutation, ..Plan::new(first) });
    }
    let next = AtomicU64::new(first);
    let totals = Mutex::new((0_u64, 0_u64, 0_u64, u64::MAX, Vec::new(), [0_u64; 3]));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let plan = Plan { real, mutation, ..Plan::new(seed) };
                    let size = usize::from(plan.validators > 7) + usize::from(plan.validators > 16);
                    let report = run(plan);
                    if count == 1 {
                        println!("{report:#?}");
                    }
                    let mut totals = totals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    totals.0 += report.views;
                    totals.1 += report.events;
                    totals.2 += report.evidence;
                    totals.5[size] += 1;
                    if let Some(violation) = report.violation {
                        println!("seed {seed}: {violation:?}");
                        totals.4.push(seed);
                    } else {
                        totals.3 = totals.3.min(report.views);
                    }
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (views, events, evidence, fewest, failed, sizes) = totals.into_inner().unwrap_or_else(|p| p.into_inner());
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
