//! What the ledger costs: `cargo bench -p jove-ledger`. It lies in the system's folder for temporary files, and every append is synced to its disk.

#![allow(clippy::unwrap_used)] // a bench may panic

use alloy_primitives::{B256, keccak256};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jove_ledger::{Entry, Key, Ledger, check_inclusion};
use std::hint::black_box;

fn entries(from: u64, count: u64) -> Vec<Entry> {
    let entry = |number: u64| Entry {
        number,
        hash: keccak256(number.to_be_bytes()),
        state_root: B256::repeat_byte(1),
        height: number,
        digest: B256::ZERO,
    };
    (from..from + count).map(entry).collect()
}

fn ledger(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("jove.bench/blocks", &[1; 32]).unwrap();
    let ledger = Ledger::open(folder.path(), key.clone()).unwrap();
    let mut group = c.benchmark_group("ledger");
    group.sample_size(20);
    for batch in [1, 10, 100, 1000] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("append/batch={batch}"), |b| {
            b.iter(|| ledger.append(&entries(ledger.size(), batch)).unwrap());
        });
    }
    while ledger.size() < 1_000_000 {
        ledger.append(&entries(ledger.size(), 50_000)).unwrap();
    }
    let size = ledger.size();
    let root = ledger.checkpoint().root;
    let mut index = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("inclusion/leaves=1e6", |b| {
        b.iter(|| {
            index = (index + 7_919) % size;
            black_box(ledger.inclusion(index, size).unwrap())
        });
    });
    group.bench_function("consistency/leaves=1e6", |b| {
        b.iter(|| {
            index = (index + 7_919) % size;
            black_box(ledger.consistency(index + 1, size).unwrap())
        });
    });
    let (leaf, proof) = (ledger.entry(12_345).unwrap().encode(), ledger.inclusion(12_345, size).unwrap());
    group.bench_function("check_inclusion/leaves=1e6", |b| {
        b.iter(|| check_inclusion(&root, size, 12_345, black_box(&leaf), &proof).unwrap());
    });
    group.sample_size(10);
    group.throughput(Throughput::Elements(size));
    group.bench_function("verify_all/leaves=1e6", |b| b.iter(|| ledger.verify_all().unwrap()));
    drop(ledger);
    group.bench_function("open/leaves=1e6", |b| b.iter(|| Ledger::open(folder.path(), key.clone()).unwrap().size()));
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
