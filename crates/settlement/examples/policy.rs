//! What committing costs by the policy and at fixed intervals, over a series of L1 fees.
//!
//! ```text
//! cargo run --release -p jove-settlement --example policy                      Ethereum's fees of 16 hours (tests/fees says which)
//! cargo run --release -p jove-settlement --example policy -- made-up           four days that are made up
//! cargo run --release -p jove-settlement --example policy -- simulate FILE     another: lines of base fee, blob base fee, in wei, a minute apart
//! cargo run --release -p jove-settlement --example policy -- record URL HOURS  the fees of an Ethereum node's last hours, every fifth block
//! cargo run --release -p jove-settlement --example policy -- generate          the made-up series, made again
//! ```
#![allow(clippy::print_stdout)] // its purpose

#[path = "../tests/fees/mod.rs"]
mod fees;

use alloy_eips::BlockNumberOrTag;
use fees::{MADE_UP, Rule, STARTS, STEP, generate, parse, recorded, simulate};
use jove_settlement::{
    L1,
    policy::{Policy, Prices},
};

/// Blocks of 12 s in a step.
const BLOCKS: u64 = STEP / 12;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => table(&recorded()),
        ["made-up"] => table(&parse(MADE_UP)),
        ["simulate", file] => table(&parse(&std::fs::read_to_string(file).map_err(|error| error.to_string())?)),
        ["generate"] => {
            print(&generate());
            Ok(())
        }
        ["record", url, hours] => {
            let hours: u64 = hours.parse().map_err(|_| "HOURS is a number")?;
            let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
            let series = runtime.block_on(record(url, hours)).map_err(|error| error.to_string())?;
            print(&series);
            Ok(())
        }
        _ => Err("usage: policy [made-up | simulate FILE | record URL HOURS | generate]".into()),
    }
}

fn print(series: &[Prices]) {
    println!("base_fee,blob_base_fee");
    for prices in series {
        println!("{},{}", prices.base_fee, prices.blob_base_fee);
    }
}

/// Every fifth block, the oldest first.
async fn record(url: &str, hours: u64) -> Result<Vec<Prices>, jove_settlement::Error> {
    let l1 = L1::new(url)?;
    let head = l1.block_number().await?;
    let mut series = Vec::new();
    let mut next = head.saturating_sub(hours * 3600 / 12);
    while next <= head {
        let newest = head.min(next + 1000 - 1);
        let history = l1.fee_history(newest - next + 1, BlockNumberOrTag::Number(newest), &[]).await?;
        let prices = history.base_fee_per_gas.iter().zip(&history.base_fee_per_blob_gas);
        let steps = prices.take((newest - next + 1) as usize).step_by(BLOCKS as usize);
        series.extend(steps.map(|(base, blob)| Prices { base_fee: *base, blob_base_fee: *blob }));
        next = newest + 1;
    }
    Ok(series)
}

fn table(series: &[Prices]) -> Result<(), String> {
    if series.len() < 3 * fees::WINDOW {
        return Err("a series is at least ten hours long".into());
    }
    let policy = Policy::default();
    let longest = policy.deadline.as_secs() - policy.margin.as_secs();
    println!("| bytes a second | rule | commits | by deadline | fill | oldest block | gwei a kB | saving |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for rate in [50, 200, 700, 2200] {
        let best = simulate(series, &policy, Rule::Policy, rate, 1_000_000);
        let rules = [("every 10 min", 600), ("every 30 min", 1800), ("every 54 min", longest)];
        for (name, interval) in rules {
            row(rate, name, &simulate(series, &policy, Rule::Interval(interval), rate, 1_000_000), best.gwei_per_kb());
        }
        row(rate, "policy", &best, best.gwei_per_kb());
    }
    Ok(())
}

fn row(rate: u64, rule: &str, outcome: &fees::Outcome, best: f64) {
    let cost = outcome.gwei_per_kb();
    println!(
        "| {rate} | {rule} | {} | {} | {:.0} % | {} min | {cost:.0} | {:.1} % |",
        outcome.commits / STARTS as u64,
        outcome.forced / STARTS as u64,
        outcome.fill() * 100.0,
        outcome.oldest / 60,
        (1.0 - best / cost) * 100.0
    );
}
