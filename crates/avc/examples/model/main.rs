//! Visits every state of the voting rules within bounds, and prints what it found.
//!
//! `model [--views N] [--next N] [--term T] [--epoch L] [--proposals 1|2] [--explicit] [--mutation NAME] [--threads N]`: N views of the first epoch and of the next, at most six of each. Exits with 1 if
//! there is a fork. States take about 100 bytes each.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod model;

use jove_avc::Mutation;
use model::{Bounds, VIEWS};
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Instant;

fn main() {
    let mut bounds =
        Bounds { term_length: 2, slots: 1, views: [4, 0], epoch_length: 100, explicit: false, mutation: None };
    let mut threads = 2;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse::<usize>().ok());
        let known = match argument.as_str() {
            "--views" => number().filter(|views| *views <= VIEWS).map(|views| bounds.views[0] = views),
            "--next" => number().filter(|views| *views <= VIEWS).map(|views| bounds.views[1] = views),
            "--term" => number().filter(|length| *length > 0).map(|length| bounds.term_length = length as u64),
            "--epoch" => number().filter(|length| *length > 0).map(|length| bounds.epoch_length = length as u64),
            "--proposals" => number().filter(|slots| (1..=2).contains(slots)).map(|slots| bounds.slots = slots),
            "--threads" => number().map(|number| threads = number),
            "--explicit" => {
                bounds.explicit = true;
                Some(())
            }
            "--mutation" => {
                let name = arguments.next().unwrap_or_default();
                bounds.mutation = Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
                bounds.mutation.map(drop)
            }
            _ => None,
        };
        if known.is_none() {
            println!(
                "model [--views N] [--next N] [--term T] [--epoch L] [--proposals 1|2] [--explicit] [--mutation NAME] [--threads N]"
            );
            std::process::exit(2);
        }
    }
    let begun = Instant::now();
    let checker = bounds.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{bounds:?}: {} states, {} of them distinct, {} steps deep, in {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
    );
    let fork = checker.discovery("no fork");
    match &fork {
        None => println!("no fork"),
        Some(path) => path.clone().into_actions().iter().for_each(|step| println!("  {step:?}")),
    }
    for property in bounds.properties().iter().skip(1) {
        let found = if checker.discovery(property.name).is_some() { "yes" } else { "never" };
        println!("{}: {found}", property.name);
    }
    if fork.is_some() {
        std::process::exit(1);
    }
}
