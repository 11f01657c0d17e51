//! What the store costs: `cargo bench -p jove-storage`.
//!
//! The stores lie in the system's folder for temporary files, so that `sync=true` measures its disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a bench may panic and print

use alloy_consensus::{Header, Signed, TxEip1559, Typed2718, transaction::Recovered};
use alloy_primitives::{Address, B256, Bytes, Log, Signature, TxKind, U256, keccak256};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jove_primitives::{
    Account, AccountChange, Change, ChangeSet, ExecutedBlock, Receipt, Transaction, block::L1Prices,
};
use jove_storage::{LogFilter, Options, Storage};
use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

const ACCOUNTS: u64 = 100_000;
const TRANSFERS: u64 = 200;
/// Blocks of the store that is queried for logs.
const BLOCKS: u64 = 100_000;

fn address(index: u64) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

fn transfer(nonce: u64, to: Address) -> Transaction {
    let tx = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000,
        to: TxKind::Call(to),
        value: U256::from(1_000_000_000),
        ..Default::default()
    };
    let word = |salt: u64| U256::from_be_bytes(keccak256((nonce ^ salt << 56).to_be_bytes()).0);
    let transaction = Signed::new_unhashed(tx, Signature::new(word(1), word(2), false));
    transaction.hash(); // as a block has it that comes from the pool
    transaction.into()
}

/// A chain of blocks of transfers.
struct Chain {
    storage: Storage,
    head: Option<ExecutedBlock>,
    accounts: BTreeMap<Address, Account>,
    nonce: u64,
    _folder: tempfile::TempDir,
}

impl Chain {
    fn new(sync: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Options { sync }).unwrap();
        Self { storage, head: None, accounts: BTreeMap::new(), nonce: 0, _folder: folder }
    }

    fn seal(&self, transactions: Vec<(Transaction, Vec<Log>)>) -> ExecutedBlock {
        let number = self.head.as_ref().map_or(0, |head| head.header.number + 1);
        let header = Header {
            number,
            parent_hash: self.head.as_ref().map_or(B256::ZERO, |head| head.hash),
            timestamp: number / 100,
            extra_data: Bytes::from_static(&[1; 11]),
            base_fee_per_gas: Some(10_000_000),
            withdrawals_root: Some(B256::ZERO),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(B256::ZERO),
            ..Default::default()
        };
        let l1_fees = vec![U256::from(82_812_310_000u64); transactions.len()];
        let mut receipts: Vec<Receipt> = Vec::new();
        let mut recovered = Vec::new();
        for (transaction, logs) in transactions {
            let cumulative_gas_used = 21_000 * (receipts.len() as u64 + 1);
            receipts.push(Receipt {
                tx_type: transaction.ty(),
                success: true,
                cumulative_gas_used,
                logs,
                deposit_nonce: None,
            });
            recovered.push(Recovered::new_unchecked(transaction, address(self.nonce)));
        }
        let l1_prices = L1Prices { base_fee: 1_000_000_000, blob_base_fee: 1 };
        let hash = header.hash_slow();
        ExecutedBlock { header, hash, transactions: recovered, receipts, l1_fees, l1_prices }
    }

    /// Every account at genesis.
    fn genesis(&mut self) {
        let account = Account { nonce: 1, balance: U256::from(10).pow(U256::from(21)), ..Default::default() };
        self.accounts = (0..ACCOUNTS).map(|index| (address(index), account)).collect();
        let created = |address: &Address| {
            let account = Change { before: None, after: Some(account) };
            (*address, AccountChange { account, ..Default::default() })
        };
        let changes = ChangeSet { accounts: self.accounts.keys().map(created).collect(), ..Default::default() };
        let block = self.seal(Vec::new());
        self.storage.commit(&block, &changes).unwrap();
        self.head = Some(block);
    }

    /// A block of transfers, each between two accounts of its own.
    fn next(&mut self) -> (ExecutedBlock, ChangeSet) {
        let (mut transactions, mut changes) = (Vec::new(), ChangeSet::default());
        for _ in 0..TRANSFERS {
            let (from, to) = (2 * self.nonce % ACCOUNTS, (2 * self.nonce + 1) % ACCOUNTS);
            for (index, sent) in [(from, 1), (to, 0)] {
                let account = self.accounts.get_mut(&address(index)).unwrap();
                let before = Some(*account);
                account.nonce += sent;
                account.balance += U256::from(7);
                let account = Change { before, after: Some(*account) };
                changes.accounts.insert(address(index), AccountChange { account, ..Default::default() });
            }
            transactions.push((transfer(self.nonce, address(to)), Vec::new()));
            self.nonce += 1;
        }
        (self.seal(transactions), changes)
    }

    fn commit(&mut self, block: ExecutedBlock, changes: &ChangeSet) {
        self.storage.commit(&block, changes).unwrap();
        self.head = Some(block);
    }
}

fn state(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    for sync in [true, false] {
        let mut chain = Chain::new(sync);
        chain.genesis();
        group.throughput(Throughput::Elements(TRANSFERS));
        group.bench_function(format!("commit/transfers={TRANSFERS},sync={sync}"), |bencher| {
            bencher.iter_custom(|blocks| {
                let mut spent = Duration::ZERO;
                for _ in 0..blocks {
                    let (block, changes) = chain.next();
                    let start = Instant::now();
                    chain.storage.commit(&block, &changes).unwrap();
                    spent += start.elapsed();
                    chain.head = Some(block);
                }
                spent
            });
        });
        if sync {
            continue;
        }
        while chain.storage.view().head_number() < 1100 {
            let (block, changes) = chain.next();
            chain.commit(block, &changes);
        }
        let view = chain.storage.view();
        let head = view.head_number();
        group.throughput(Throughput::Elements(1));
        for back in [0, 1000] {
            let state = view.state(head - back).unwrap();
            let mut index = 0;
            group.bench_function(format!("account/back={back}"), |bencher| {
                bencher.iter(|| {
                    index = (index + 7919) % ACCOUNTS;
                    black_box(state.account(address(index)).unwrap())
                });
            });
        }
        group.bench_function("view", |bencher| bencher.iter(|| black_box(chain.storage.view())));
        group.bench_function("block/cached=true", |bencher| bencher.iter(|| black_box(view.block(head).unwrap())));
        let deadline = Instant::now() + Duration::from_secs(3600);
        group.bench_function("changes_back/blocks=1000", |bencher| {
            bencher.iter(|| black_box(view.changes_back(head, head - 1000, deadline).unwrap()));
        });
        let start = Instant::now();
        drop(view);
        let unwound = chain.storage.unwind(head - 100).unwrap();
        println!("storage/unwind/blocks=100: {:?} for {} accounts", start.elapsed(), unwound.changes.accounts.len());
    }
    group.finish();
}

fn logs(criterion: &mut Criterion) {
    let mut chain = Chain::new(false);
    let (token, rare) = (address(1), address(2));
    let transferred = keccak256("Transfer(address,address,uint256)");
    let start = Instant::now();
    for number in 0..BLOCKS {
        // Every tenth block has logs: of one token, all to and from others; each ten-thousandth one of a rare contract.
        let mut transactions = Vec::new();
        if number % 10 == 0 {
            let topics = vec![transferred, address(number).into_word(), address(number + 1).into_word()];
            let emitter = if number % 10_000 == 0 { rare } else { token };
            let log = Log::new_unchecked(emitter, topics, Bytes::from_static(&[1; 32]));
            transactions.push((transfer(number, token), vec![log]));
        }
        let block = chain.seal(transactions);
        chain.commit(block, &ChangeSet::default());
    }
    println!("storage/commit/blocks={BLOCKS},sync=false: {:?} a block", start.elapsed() / BLOCKS as u32);
    let view = chain.storage.view();
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    let all = LogFilter { to: u64::MAX, topics: [vec![transferred], vec![], vec![], vec![]], ..Default::default() };
    let mut query = |name: &str, filter: LogFilter, matches: usize| {
        group.bench_function(format!("logs/blocks={BLOCKS},{name},matches={matches}"), |bencher| {
            bencher.iter(|| {
                let found = view.logs(&filter, 10_000, Instant::now() + Duration::from_secs(60)).unwrap();
                assert_eq!(found.len(), matches);
            });
        });
    };
    let recipient = [vec![transferred], vec![], vec![address(70_011).into_word()], vec![]];
    query("address and topic", LogFilter { addresses: vec![rare], ..all.clone() }, 10);
    query("address, topic, recipient", LogFilter { addresses: vec![token], topics: recipient, ..all.clone() }, 1);
    query("address of no log", LogFilter { addresses: vec![address(3)], ..all.clone() }, 0);
    query("topic", all, 10_000);
    group.finish();
}

criterion_group!(benches, state, logs);
criterion_main!(benches);
