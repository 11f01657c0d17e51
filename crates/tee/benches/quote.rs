//! Quotes: made in software, parsed, verified with collateral as short as it gets and with Intel's.
#![allow(missing_docs, clippy::unwrap_used)]

use alloy_primitives::B256;
use criterion::{Criterion, criterion_group, criterion_main};
use jove_tee::{Pki, Platform, Policy, Quote, QuoteSource, Software, TcbStatus, software::SIGNER, verify::INTEL_ROOT};
use std::hint::black_box;

fn quotes(c: &mut Criterion) {
    let mut group = c.benchmark_group("tee");
    let (pki, machine) = (Pki::from_seed(&[1; 32]).unwrap(), Platform::development(0));
    let source = Software::new(&pki, machine.clone(), B256::ZERO).unwrap();
    let quote = source.quote([1; 64]).unwrap();
    let collateral = pki.collateral(&machine, 1_800_000_000).unwrap();
    let policy = Policy::strict(pki.root.clone(), B256::ZERO, SIGNER);
    group.bench_function("pki", |b| b.iter(|| Pki::from_seed(black_box(&[1; 32])).unwrap()));
    group.bench_function("quote/source=software", |b| b.iter(|| source.quote(black_box([1; 64])).unwrap()));
    group.bench_function("parse", |b| b.iter(|| Quote::parse(black_box(&quote)).unwrap()));
    group.bench_function("verify/root=development,levels=1", |b| {
        b.iter(|| policy.check(black_box(&quote), &collateral, 1_800_000_001).unwrap());
    });
    let quote = include_bytes!("../tests/samples/sgx_quote");
    let collateral = serde_json::from_slice(include_bytes!("../tests/samples/sgx_quote_collateral.json")).unwrap();
    let report = Quote::parse(quote).unwrap().report;
    let policy = Policy {
        statuses: vec![TcbStatus::ConfigurationAndSWHardeningNeeded],
        ..Policy::strict(INTEL_ROOT.to_vec(), report.mrenclave, report.mrsigner)
    };
    group.bench_function("verify/root=intel,levels=11", |b| {
        b.iter(|| policy.check(black_box(quote), &collateral, 1_750_409_000).unwrap());
    });
    group.finish();
}

criterion_group!(benches, quotes);
criterion_main!(benches);
