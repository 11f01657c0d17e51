//! The state trie: updates by kernel against a full rebuild by `alloy-trie`, reads, snapshots, proofs, witnesses.
//!
//! Names carry the sizes; times are a whole batch's, and criterion's throughput is accounts (or reads) a second. The
//! table at the end compares within the run.
#![allow(missing_docs, clippy::unwrap_used)]

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use jove_primitives::{Account, AccountChange, Change, ChangeSet};
use jove_trie::{Kernel, Reads, StateTrie};
use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

const ACCOUNTS: u64 = 1_000_000;
/// A token contract's holders.
const SLOTS: u64 = 200_000;
const TOKEN: Address = Address::repeat_byte(0x70);

fn address(i: u64) -> Address {
    Address::from_slice(&keccak256(i.to_be_bytes())[..20])
}

fn random(i: u64) -> u64 {
    u64::from_be_bytes(keccak256([i, 1].map(u64::to_be_bytes).concat())[..8].try_into().unwrap())
}

fn account(i: u64, salt: u64) -> Account {
    Account { nonce: i % 100, balance: (U256::from(i) << 40) + U256::from(salt), ..Account::default() }
}

fn set(accounts: impl Iterator<Item = u64>, salt: u64) -> ChangeSet {
    let change = |i| {
        let account = Change { before: None, after: Some(account(i, salt)) };
        (address(i), AccountChange { account, ..AccountChange::default() })
    };
    ChangeSet { accounts: accounts.map(change).collect(), ..ChangeSet::default() }
}

fn token(slots: impl Iterator<Item = u64>, salt: u64) -> ChangeSet {
    let value = |i| (U256::from(random(i)), Change { before: U256::ZERO, after: U256::from(i + 1) << (salt % 64) });
    let account = Change { before: None, after: Some(account(1, salt)) };
    let change = AccountChange { account, wiped: false, storage: slots.map(value).collect() };
    ChangeSet { accounts: [(TOKEN, change)].into(), ..ChangeSet::default() }
}

fn state(kernel: Kernel) -> StateTrie {
    let mut trie = StateTrie::with_kernel(kernel);
    for first in (0..ACCOUNTS).step_by(100_000) {
        trie.apply(&set(first..first + 100_000, 0));
    }
    trie.apply(&token(0..SLOTS, 0));
    trie
}

/// What a full rebuild costs: the account trie from sorted hashed keys, which the caller has at hand.
fn rebuild(leaves: &[(B256, TrieAccount)]) -> B256 {
    let mut builder = HashBuilder::default();
    let mut rlp = Vec::new();
    for (key, account) in leaves {
        rlp.clear();
        alloy_rlp::Encodable::encode(account, &mut rlp);
        builder.add_leaf(Nibbles::unpack(key), &rlp);
    }
    builder.root()
}

fn sorted_leaves() -> Vec<(B256, TrieAccount)> {
    let leaf = |i| {
        let Account { nonce, balance, code_hash } = account(i, 0);
        (keccak256(address(i)), TrieAccount { nonce, balance, code_hash, storage_root: EMPTY_ROOT_HASH })
    };
    let mut leaves: Vec<_> = (0..ACCOUNTS).map(leaf).collect();
    leaves.sort_unstable_by_key(|(key, _)| *key);
    leaves
}

/// Change sets to cycle through, so that every application changes something.
fn updates(n: u64) -> Vec<ChangeSet> {
    (1..=8).map(|salt| set((0..n).map(|i| random(i ^ salt << 32) % ACCOUNTS), salt)).collect()
}

/// Median time of ten calls.
fn median(mut call: impl FnMut(usize)) -> Duration {
    let mut times: Vec<Duration> = (0..10)
        .map(|i| {
            let start = Instant::now();
            call(i);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[5]
}

fn benches(c: &mut Criterion) {
    let mut table = String::new();
    let mut tries: Vec<(Kernel, StateTrie)> = Kernel::available().map(|kernel| (kernel, state(kernel))).collect();

    let leaves = sorted_leaves();
    let start = Instant::now();
    black_box(rebuild(&leaves));
    let full = start.elapsed();
    drop(leaves);
    table += &format!("alloy-trie rebuild of {ACCOUNTS} accounts: {full:.2?}\n");

    let mut group = c.benchmark_group("trie::apply");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for n in [100, 1000, 10_000] {
        let updates = updates(n);
        let mut scalar = None;
        for (kernel, trie) in &mut tries {
            let mut i = 0;
            group.throughput(Throughput::Elements(n));
            group.bench_function(
                BenchmarkId::from_parameter(format!("accounts={ACCOUNTS},updates={n},kernel={kernel:?}")),
                |b| {
                    b.iter(|| {
                        i += 1;
                        trie.apply(&updates[i % updates.len()])
                    })
                },
            );
            let time = median(|i| _ = black_box(trie.apply(&updates[i % updates.len()])));
            let scalar = *scalar.get_or_insert(time);
            table += &format!(
                "{n} of {ACCOUNTS} accounts, {kernel:?}: {:.2} µs an account, {:.2} times scalar, {:.0} times a rebuild\n",
                time.as_secs_f64() * 1e6 / n as f64,
                scalar.as_secs_f64() / time.as_secs_f64(),
                full.as_secs_f64() / time.as_secs_f64(),
            );
        }
    }
    for n in [1000, 10_000] {
        let updates: Vec<ChangeSet> =
            (1..=8).map(|salt| token((0..n).map(|i| random(i ^ salt << 32) % SLOTS), salt)).collect();
        group.throughput(Throughput::Elements(n));
        for (kernel, trie) in &mut tries {
            let mut i = 0;
            group.bench_function(
                BenchmarkId::from_parameter(format!("slots={SLOTS},updates={n},kernel={kernel:?}")),
                |b| {
                    b.iter(|| {
                        i += 1;
                        trie.apply(&updates[i % updates.len()])
                    })
                },
            );
        }
    }
    group.finish();

    let (_, mut trie) = tries.pop().unwrap();
    drop(tries);
    let mut group = c.benchmark_group("trie");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.bench_function(format!("clone/accounts={ACCOUNTS}"), |b| b.iter(|| trie.clone()));
    let first = updates(100);
    group.bench_function(format!("apply_after_clone/accounts={ACCOUNTS},updates=100"), |b| {
        let mut i = 0;
        b.iter_batched(
            || trie.clone(),
            |mut snapshot| {
                i += 1;
                snapshot.apply(&first[i % first.len()]);
                snapshot
            },
            BatchSize::PerIteration,
        )
    });
    let addresses: Vec<Address> = (0..1 << 16).map(|i| address(random(i) % ACCOUNTS)).collect();
    let slots: Vec<U256> = (0..1 << 16).map(|i| U256::from(random(random(i) % SLOTS))).collect();
    let mut i = 0;
    let mut next = || {
        i = (i + 1) % addresses.len();
        i
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("account/accounts={ACCOUNTS}"), |b| b.iter(|| trie.account(addresses[next()])));
    group.bench_function(format!("slot/slots={SLOTS}"), |b| b.iter(|| trie.slot(TOKEN, slots[next()])));
    group.bench_function(format!("prove/accounts={ACCOUNTS},slots=1"), |b| {
        b.iter(|| trie.prove(addresses[next()], &slots[..1]))
    });
    group.finish();

    // Of each three neighbours two go, so that most of what is left moves up: a witness has to show it.
    let mut slots: Vec<u64> = (0..SLOTS).collect();
    slots.sort_unstable_by_key(|i| keccak256(U256::from(random(*i)).to_be_bytes::<32>()));
    let mut first = None;
    for n in [1000, 10_000, 100_000] {
        let gone = slots.iter().enumerate().filter(|(place, _)| place % 3 != 0).map(|(_, i)| *i).take(n);
        let mut removals = token(gone, 0);
        let change = removals.accounts.get_mut(&TOKEN).unwrap();
        change.storage.values_mut().for_each(|value| value.after = U256::ZERO);
        let time = median(|_| _ = black_box(trie.witness(&Reads::new(), [&removals]))).as_secs_f64() * 1e6 / n as f64;
        let ratio = time / *first.get_or_insert(time);
        table += &format!("witness of {n} removals: {time:.2} µs each, {ratio:.2} times those of 1000\n");
    }

    let clone = median(|_| drop(black_box(trie.clone())));
    let memory = trie.memory() as f64 / 1e6;
    table += &format!("clone and drop of {ACCOUNTS} accounts and {SLOTS} slots ({memory:.0} MB): {clone:.2?}\n");
    let before = trie.memory();
    trie.apply(&set(0..1000, 99));
    assert_eq!(trie.memory(), before, "updates take no memory");
    eprintln!("\n{table}");
    // Peak memory, where the system says it.
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| eprintln!("{line}"));
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
