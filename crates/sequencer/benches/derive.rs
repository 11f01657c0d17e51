//! How fast a full node rebuilds a chain from its batches: decoded, recovered, executed, folded, sealed and on disk.
//!
//! A sequencer makes the chains; a node with an empty disk derives them, every write synced. Transfers among 500 accounts. What blobs cost to fetch and to decode is not in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a bench may panic and print

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, Bytes, Signature, U256, keccak256};
use jove_primitives::{
    ChainSpec, Transaction,
    batch::{BatchData, BatchHeader, BlockData, hash},
    spec::GenesisAccount,
    transaction::SignedTransaction,
};
use jove_sequencer::{Derived, DerivedBatch, L1Config, Node, NodeConfig, PoolConfig};
use jove_stf::batch::block_data;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const ACCOUNTS: u64 = 500;
/// Blocks in a batch.
const BATCH: u64 = 500;

struct Account {
    secret: SecretKey,
    address: Address,
}

fn accounts() -> Vec<Account> {
    let account = |n: u64| {
        let secret = SecretKey::from_secret_bytes(keccak256(n.to_be_bytes()).0).unwrap();
        let public = PublicKey::from_secret_key(&secret).serialize_uncompressed();
        Account { secret, address: Address::from_raw_public_key(&public[1..]) }
    };
    (0..ACCOUNTS).map(account).collect()
}

fn config(datadir: &Path, accounts: &[Account], sequencing: bool) -> NodeConfig {
    let mut spec = ChainSpec::dev();
    let rich = GenesisAccount { balance: U256::from(10).pow(U256::from(21)), ..Default::default() };
    spec.genesis.alloc.extend(accounts.iter().map(|account| (account.address, rich.clone())));
    spec.gas.target_per_second = 1 << 40;
    spec.gas.block_gas_limit = 1 << 40;
    NodeConfig {
        datadir: datadir.to_owned(),
        spec,
        block_time: Duration::from_millis(10),
        heartbeat: Duration::ZERO,
        sync: !sequencing,
        sequencing,
        elected: false,
        dev: true,
        pool: PoolConfig { journal: None, ..Default::default() },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    }
}

fn transfer(from: &Account, nonce: u64, to: Address) -> Bytes {
    let unsigned = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        to: to.into(),
        value: U256::from(1),
        ..Default::default()
    };
    let digest = Message::from_digest(unsigned.signature_hash().0);
    let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(digest, &from.secret).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1);
    Transaction::from(unsigned.into_signed(signature)).encoded_2718().into()
}

/// A chain of so many blocks with so many transactions each, as batches.
fn chain(accounts: &[Account], blocks: u64, transactions: u64) -> Vec<DerivedBatch> {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(config(folder.path(), accounts, true)).unwrap();
    node.dev().unwrap().set_automine(false);
    let mut sent = 0;
    for _ in 0..blocks {
        let raw: Vec<Bytes> = (sent..sent + transactions)
            .map(|n| {
                let to = accounts[(n * 7 + 3) as usize % accounts.len()].address;
                transfer(&accounts[(n % ACCOUNTS) as usize], n / ACCOUNTS, to)
            })
            .collect();
        sent += transactions;
        assert!(node.pool().add_raw(&raw).iter().all(Result::is_ok));
        node.dev().unwrap().mine(1, 0).unwrap();
    }
    let view = node.storage().view();
    assert_eq!(view.head_number(), blocks);
    let batch = |first: u64| {
        let last = (first + BATCH - 1).min(blocks);
        let executed: Vec<_> = (first..=last).map(|number| view.block(number).unwrap().unwrap()).collect();
        let blocks: Vec<BlockData> = executed.iter().map(|block| block_data(block, &mut 0).unwrap()).collect();
        let end = &executed[executed.len() - 1];
        let header = BatchHeader {
            version: hash::ORDINARY,
            parent_block_hash: executed[0].header.parent_hash,
            last_block_hash: end.hash,
            first_block: first,
            last_block: last,
            last_timestamp: end.header.timestamp,
            ..Default::default()
        };
        // As they come out of a decoder: nothing is remembered of them.
        let fresh =
            |block: BlockData| BlockData { transactions: block.transactions.iter().map(decoded).collect(), ..block };
        let data = Ok(BatchData { first_block: first, blocks: blocks.into_iter().map(fresh).collect() });
        DerivedBatch { header, data, origins: Vec::new(), messages: Vec::new() }
    };
    (1..=blocks).step_by(BATCH as usize).map(batch).collect()
}

fn decoded(transaction: &SignedTransaction) -> SignedTransaction {
    SignedTransaction::decode_2718(&mut &transaction.encoded_2718()[..]).unwrap()
}

/// Blocks and transactions a second.
fn derive(accounts: &[Account], batches: &[DerivedBatch]) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let node: Arc<Node> = Node::start(config(folder.path(), accounts, false)).unwrap();
    let blocks: usize = batches.iter().map(|batch| batch.data.as_ref().unwrap().blocks.len()).sum();
    let started = Instant::now();
    for batch in batches {
        match node.derive(batch.clone()).unwrap() {
            Derived::Valid(output) => assert_eq!(output.block_hash, batch.header.last_block_hash),
            Derived::Invalid(error) => panic!("{error}"),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let view = node.storage().view();
    let transactions: usize =
        (1..=view.head_number()).map(|n| view.block(n).unwrap().unwrap().transactions.len()).sum();
    (blocks as f64 / seconds, transactions as f64 / seconds)
}

fn main() {
    let accounts = accounts();
    println!("| blocks | transactions in each | blocks a second | transactions a second |");
    println!("|---:|---:|---:|---:|");
    for (blocks, transactions) in [(4_000, 0), (3_000, 2), (1_500, 20), (100, 500)] {
        let batches = chain(&accounts, blocks, transactions);
        let mut runs: Vec<(f64, f64)> = (0..3).map(|_| derive(&accounts, &batches)).collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (per_block, per_transaction) = runs[1];
        println!("| {blocks} | {transactions} | {per_block:.0} | {per_transaction:.0} |");
    }
}
