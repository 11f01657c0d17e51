//! Batches: encoding, decoding, and what of decoding is the blobs' form alone.
//!
//! Names carry the corpus and the number of transactions; throughput is transactions a second.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/corpora/mod.rs"]
mod corpora;

use corpora::{CHAIN_ID, Corpus, traffic};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jove_primitives::batch::{BlockData, blob, decode, encode, pack};
use jove_settlement::Zstd;
use std::hint::black_box;

fn batches(c: &mut Criterion) {
    for (corpus, most) in [(Corpus::A, 10_000), (Corpus::B, 8_000), (Corpus::C, 7_000)] {
        for transactions in [most / 100, most] {
            let blocks: Vec<BlockData> = traffic(corpus).take(transactions / 20).collect();
            let mut zstd = Zstd::new().expect("libzstd");
            let stream = encode(1, &blocks, CHAIN_ID, &mut zstd).expect("encodes");
            let blobs = pack(&stream);
            let name = format!("corpus={corpus:?},txs={transactions}");
            let mut group = c.benchmark_group("primitives");
            group.throughput(Throughput::Elements(transactions as u64));
            group.bench_function(BenchmarkId::new("decode_batch", &name), |b| {
                b.iter(|| decode(black_box(&blobs), CHAIN_ID).expect("decodes"));
            });
            group.bench_function(BenchmarkId::new("unpack_blobs", &name), |b| {
                b.iter(|| blob::unpack(black_box(&blobs)).expect("blobs"));
            });
            group.sample_size(10);
            group.bench_function(BenchmarkId::new("encode_batch", &name), |b| {
                b.iter(|| encode(1, black_box(&blocks), CHAIN_ID, &mut zstd).expect("encodes"));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, batches);
criterion_main!(benches);
