//! Two sets of hashes compared by Bloom filter: the time, and the bytes against sending all ids.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use alloy_primitives::{B256, keccak256};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jove_network::reconcile::{Have, Lack, MAX_LACK, Part, Seen};
use std::collections::HashSet;

fn ids(range: std::ops::Range<u32>) -> Vec<B256> {
    range.map(|number| keccak256(number.to_be_bytes())).collect()
}

/// Rounds until nothing lacks; the bytes of all messages.
fn converge(mine: &[B256], theirs: &[B256]) -> (usize, usize) {
    let mut known: HashSet<B256> = mine.iter().copied().collect();
    let (mut bytes, mut rounds) = (0, 0);
    while !theirs.iter().all(|id| known.contains(id)) {
        for part in Part::of(known.len()) {
            let have = Have::new(part, &known).encode();
            let lack = Lack::answer(&Have::decode(&have).unwrap(), theirs, MAX_LACK).encode();
            bytes += have.len() + lack.len();
            known.extend(Lack::decode(&lack).unwrap().ids);
        }
        rounds += 1;
    }
    (bytes, rounds)
}

fn benches(criterion: &mut Criterion) {
    println!("ids, lacking: bytes by filter (rounds) against all ids = share");
    for (total, lacking) in [(1_000, 10), (10_000, 10), (10_000, 100), (10_000, 1_000), (100_000, 1_000)] {
        let theirs = ids(0..total);
        let mine = &theirs[lacking..];
        let (bytes, rounds) = converge(mine, &theirs);
        let all = theirs.len() * 32;
        println!("{total:>7}, {lacking:>5}: {bytes:>8} ({rounds}) / {all:>8} = {:.3}", bytes as f64 / all as f64);
    }
    let theirs = ids(0..10_000);
    let mut group = criterion.benchmark_group("reconcile");
    group.bench_function(BenchmarkId::new("have", "ids=10000"), |bench| {
        bench.iter(|| Have::new(Part::ALL, &theirs[100..]).encode());
    });
    let have = Have::new(Part::ALL, &theirs[100..]);
    group.bench_function(BenchmarkId::new("answer", "ids=10000,lacking=100"), |bench| {
        bench.iter(|| Lack::answer(&have, &theirs, MAX_LACK).encode());
    });
    let mut seen = Seen::new(100_000, 4_096);
    let mut next = 0;
    group.bench_function("seen::mark", |bench| {
        bench.iter(|| {
            next = (next + 1) % theirs.len();
            seen.mark(&theirs[next]);
        });
    });
    group.finish();
}

criterion_group!(reconcile, benches);
criterion_main!(reconcile);
