//! Whether the L1 data fee pays for what L1 takes: users are charged as `jove_primitives::fee` says, at prices that the chain has learned of from L1 by then; the
//! operator commits as the policy decides, and pays for its transactions' gas, tip and blobs.
//!
//! What transactions are charged for and how many bytes they take is measured on batches as the batcher cuts them, of the corpora; the fees are those of
//! `fees`. The table is in docs/performance.md: `cargo test --release --workspace --test balance -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod corpora;
mod fees;

use alloy_eips::eip2718::Encodable2718;
use corpora::{CHAIN_ID, Corpus, traffic};
use fees::{MADE_UP, Rule, parse, recorded, simulate};
use jove_primitives::{batch::MAX_BLOBS, fee::data_size};
use jove_settlement::{
    Batcher, Zstd,
    policy::{Policy, Prices},
};

/// Of a full batch of a corpus: bytes a transaction, and for how many millionths of a byte users are charged for each.
fn measure(corpus: Corpus) -> (f64, u64) {
    let mut batcher = Batcher::new(CHAIN_ID, 1, MAX_BLOBS, Zstd::new().unwrap());
    let batch = traffic(corpus).find_map(|block| batcher.push(block, 0, true).unwrap()).unwrap();
    let transactions = batch.blocks.iter().flat_map(|block| &block.transactions);
    let sizes: Vec<u64> = transactions.map(|transaction| data_size(&transaction.encoded_2718())).collect();
    let bytes = batch.stream.len() as u64;
    (bytes as f64 / sizes.len() as f64, sizes.iter().sum::<u64>() / bytes)
}

/// Bytes a second. With 200 an hour nearly fills a batch; with more it does.
const RATES: [u64; 5] = [50, 200, 700, 2200, 8000];

/// Commits when a batch is full or nearly as old as it may get: what the fee is set for.
const PLAIN: Rule = Rule::Interval(3_240);

fn balances(series: &[Prices], rule: Rule, size: u64) -> Vec<f64> {
    RATES.iter().map(|rate| simulate(series, &Policy::default(), rule, *rate, size).balance()).collect()
}

#[test]
fn users_pay_what_l1_takes() {
    let mut rows = Vec::new();
    println!("| fees | commits | corpus | bytes a transaction | 50 B/s | 200 B/s | 700 B/s | 2200 B/s | 8000 B/s |");
    for (name, series) in [("Ethereum's", recorded()), ("made up", parse(MADE_UP))] {
        for corpus in [Corpus::A, Corpus::B, Corpus::C] {
            let (bytes, size) = measure(corpus);
            for (commits, rule) in [("when full, or after 54 min", PLAIN), ("by the policy", Rule::Policy)] {
                let balances = balances(&series, rule, size);
                let row: String = balances.iter().map(|balance| format!(" {balance:.2} |")).collect();
                println!("| {name} | {commits} | {corpus:?} | {bytes:.1} |{row}");
                rows.push((format!("{name}, {commits}"), corpus, rule, balances));
            }
        }
    }
    for (name, corpus, rule, balances) in rows {
        for (rate, balance) in RATES.into_iter().zip(balances) {
            let (least, most) = match (corpus, rate) {
                // A commit an hour is shared by few.
                (_, 50) => (0.25, 0.50),
                (_, 200) => (0.80, 1.25),
                (Corpus::A, _) => (1.05, 1.25),
                (Corpus::B, _) => (0.92, 1.05),
                (Corpus::C, _) => (1.00, 1.12),
            };
            // What the policy saves is the operator's: on a day of surges it is much.
            let most = if matches!(rule, Rule::Policy) { 2.0 * most } else { most };
            assert!((least..=most).contains(&balance), "{name}, {corpus:?}, {rate} bytes a second: {balance}");
        }
    }
}
