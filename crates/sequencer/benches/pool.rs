//! What the pool costs: admission, split into recovery and the rest, and taking the best.
//!
//! `add_raw` runs recovery on all cores, so that its time is less than the sum of its parts on more than one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a bench may panic and print

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jove_primitives::{Account, ChainSpec, block::RecoveredTransaction, block::Transaction};
use jove_sequencer::pool::{Accounts, Pool, PoolConfig, recover_sender};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use std::{hint::black_box, sync::Arc};

const FLOOR: u128 = 10_000_000;
const BATCH: u64 = 1000;
const LARGE: u64 = 50_000;

/// Everyone has an ether.
struct Rich;

impl Accounts for Rich {
    fn is_included(&self, _: B256) -> bool {
        false
    }

    fn account(&self, _: Address) -> Account {
        Account { balance: U256::from(1_000_000_000_000_000_000u64), ..Account::default() }
    }

    fn code(&self, _: B256) -> Bytes {
        Bytes::new()
    }
}

fn pool() -> Arc<Pool> {
    Pool::new(Arc::new(ChainSpec::dev()), PoolConfig::default(), Arc::new(Rich)).expect("no journal")
}

fn transfer(n: u64) -> TxEip1559 {
    let tip = u128::from(u64::from_be_bytes(keccak256(n.to_be_bytes())[..8].try_into().expect("eight bytes"))) % FLOOR;
    TxEip1559 {
        chain_id: 5683,
        gas_limit: 21_000,
        max_fee_per_gas: 2 * FLOOR + tip / 2,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::with_last_byte(1)),
        value: U256::from(n),
        ..Default::default()
    }
}

fn signed(n: u64) -> Transaction {
    let secret = SecretKey::from_secret_bytes(keccak256(n.to_be_bytes()).0).expect("a hash is a key");
    let transfer = transfer(n);
    let message = Message::from_digest(transfer.signature_hash().0);
    let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(message, &secret).serialize_compact();
    transfer.into_signed(Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1)).into()
}

/// A transaction of a sender of its own.
fn unsigned(n: u64) -> RecoveredTransaction {
    let signed = transfer(n).into_signed(Signature::test_signature()).into();
    RecoveredTransaction::new_unchecked(signed, Address::from_word(keccak256(n.to_be_bytes())))
}

fn admission(c: &mut Criterion) {
    let transactions: Vec<Transaction> = (0..BATCH).map(signed).collect();
    let raw: Vec<Bytes> = transactions.iter().map(|transaction| transaction.encoded_2718().into()).collect();
    let recovered: Vec<RecoveredTransaction> = (0..BATCH).map(unsigned).collect();
    let mut group = c.benchmark_group("pool");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("add_raw/n=1000", |b| {
        b.iter_batched(pool, |pool| assert!(pool.add_raw(&raw).iter().all(Result::is_ok)), BatchSize::LargeInput);
    });
    group.bench_function("recover/n=1000,cores=1", |b| {
        b.iter(|| transactions.iter().for_each(|transaction| drop(black_box(recover_sender(transaction)))));
    });
    group.bench_function("add/n=1000,cores=1", |b| {
        let add = |(pool, transactions): (Arc<Pool>, Vec<RecoveredTransaction>)| {
            assert!(transactions.into_iter().all(|transaction| pool.add(transaction).is_ok()));
            pool
        };
        b.iter_batched(|| (pool(), recovered.clone()), add, BatchSize::LargeInput);
    });
    group.finish();
}

fn best(c: &mut Criterion) {
    let pool = pool();
    for n in 0..LARGE {
        pool.add(unsigned(n)).expect("admitted");
    }
    let mut group = c.benchmark_group("pool");
    group.throughput(Throughput::Elements(500));
    let mut base_fee = FLOOR as u64;
    group.bench_function("best/k=500,n=50000", |b| {
        b.iter(|| {
            // Another base fee each time, as in blocks.
            base_fee = FLOOR as u64 + (base_fee + 12_345) % FLOOR as u64;
            assert_eq!(pool.best(base_fee).take(500).count(), 500);
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut n = LARGE;
    group.bench_function("add/n=1,pool=50000", |b| {
        b.iter_batched(
            || {
                n += 1;
                unsigned(n)
            },
            |transaction| {
                let hash = pool.add(transaction).expect("admitted");
                pool.discard(hash);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, admission, best);
criterion_main!(benches);
