//! Blocks under Ethereum's rules, as a layer 1 for development makes them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_consensus::{Header, SignableTransaction, TxEip4844};
use alloy_eips::{eip2718::Encodable2718, eip2935, eip4788};
use alloy_primitives::{Address, B256, Signature, U256};
use chain::{ALICE, BOB, Db, apply, transfer};
use jove_primitives::{
    ChainSpec, Fork, Transaction, beacon::block_root, block::RecoveredTransaction, spec::BlobSchedule,
};
use jove_stf::{
    BlockContext, BlockError, BlockExecutor, ExecuteError, HeaderError, Rules, TransactionError, execute_block,
    next_header, seal,
};

const BLOB: u64 = 131_072;
const GWEI: u64 = 1_000_000_000;
/// Of the transactions in these tests.
const CHAIN: u64 = 5683;
const RULES: Rules = Rules::Ethereum { chain_id: CHAIN, fork: Fork::Osaka, development: false, blobs: Vec::new() };

fn genesis() -> (Header, Db) {
    let spec = ChainSpec::l1(CHAIN, 12);
    let mut db = Db::default();
    apply(&mut db, &spec.genesis_changes());
    (spec.genesis_header(B256::repeat_byte(1)), db)
}

fn after(parent: &Header) -> Result<Header, HeaderError> {
    at(parent, (parent.timestamp + 12) * 1000)
}

fn at(parent: &Header, time_ms: u64) -> Result<Header, HeaderError> {
    let context = BlockContext { time_ms, mix_source: B256::ZERO, messages: false };
    next_header(&RULES, parent, parent.hash_slow(), context)
}

fn blobs(nonce: u64, count: usize, max_fee_per_blob_gas: u128) -> RecoveredTransaction {
    let mut hash = B256::repeat_byte(7);
    hash[0] = 1;
    let tx = TxEip4844 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2 * u128::from(GWEI),
        max_priority_fee_per_gas: 1_000,
        to: BOB,
        blob_versioned_hashes: vec![hash; count],
        max_fee_per_blob_gas,
        ..Default::default()
    };
    RecoveredTransaction::new_unchecked(tx.into_signed(Signature::test_signature()).into(), ALICE)
}

fn rich_transfer(nonce: u64) -> RecoveredTransaction {
    let mut tx = match transfer(nonce, U256::from(7)).into_inner() {
        Transaction::Signed(signed) => signed.as_eip1559().expect("a transfer is").tx().clone(),
        Transaction::Deposit(_) => unreachable!("a transfer is signed"),
    };
    tx.max_fee_per_gas = 2 * u128::from(GWEI);
    RecoveredTransaction::new_unchecked(tx.into_signed(Signature::test_signature()).into(), ALICE)
}

/// The vectors of geth's `TestCalcBaseFee`, with 20 million gas a block.
#[test]
fn the_base_fee_moves_as_eip_1559_says() {
    let (genesis, _) = genesis();
    for (gas_used, base_fee) in [(10_000_000, GWEI), (9_000_000, 987_500_000), (11_000_000, 1_012_500_000)] {
        let parent = Header { gas_limit: 20_000_000, gas_used, ..genesis.clone() };
        assert_eq!(after(&parent).expect("follows").base_fee_per_gas, Some(base_fee), "{gas_used}");
    }
}

#[test]
fn the_blob_schedule_changes_at_its_time() {
    let (genesis, _) = genesis();
    let change = genesis.timestamp + 12;
    let bpo = BlobSchedule { timestamp: change, target: 10, max: 15, base_fee_update_fraction: 8_346_193 };
    let rules = Rules::Ethereum { chain_id: CHAIN, fork: Fork::Osaka, development: false, blobs: vec![bpo] };
    let excess = 100_000_000;
    let parent = Header { excess_blob_gas: Some(excess), blob_gas_used: Some(9 * BLOB), ..genesis.clone() };
    let header = |rules: &Rules| {
        let context = BlockContext { time_ms: change * 1000, mix_source: B256::ZERO, messages: false };
        next_header(rules, &parent, parent.hash_slow(), context).expect("follows")
    };
    let price = |rules: &Rules, header: &Header| {
        let seen = rules.block_env(header).blob_excess_gas_and_price.expect("blobs have a price").blob_gasprice;
        assert_eq!(seen, rules.blob_params(header.timestamp).calc_blob_fee(header.excess_blob_gas.unwrap()));
        seen
    };
    // The second before, Osaka's; at its time, its own: e^(10^8 / 5,007,716) and e^(10^8 / 8,346,193).
    assert_eq!(price(&rules, &parent), 470_442_149);
    assert_eq!(price(&rules, &Header { timestamp: change, ..parent.clone() }), 159_773);
    // Nine blobs are above the old target, and below the new one.
    assert_eq!(header(&RULES).excess_blob_gas, Some(excess + 3 * BLOB));
    assert_eq!(
        header(&rules).excess_blob_gas,
        Some(excess + 9 * BLOB * 5 / 15),
        "EIP-7918: the price is below its floor"
    );
    let cheap = Header { base_fee_per_gas: Some(7), ..parent.clone() };
    let context = BlockContext { time_ms: change * 1000, mix_source: B256::ZERO, messages: false };
    let after = next_header(&rules, &cheap, cheap.hash_slow(), context).expect("follows");
    assert_eq!(after.excess_blob_gas, Some(excess - BLOB));
    for (time, blobs) in [(change - 1, 9), (change, 15), (u64::MAX, 15)] {
        assert_eq!(rules.blob_params(time).max_blob_gas_per_block(), blobs * BLOB, "{time}");
        assert_eq!(rules.cfg_env(time).max_blobs_per_tx, Some(6));
    }
}

/// Computed from the pseudo-code of EIP-4844 and EIP-7918 with the amounts of EIP-7691: target 6, at most 9, fraction 5,007,716.
#[test]
fn the_blob_fee_moves_as_eips_4844_7691_and_7918_say() {
    let params = RULES.blob_params(0);
    for (excess, fee) in [(0, 1), (3_471_085, 1), (3_471_088, 2), (10 << 20, 8), (100_000_000, 470_442_149)] {
        assert_eq!(params.calc_blob_fee(excess), fee, "{excess}");
    }
    let (genesis, _) = genesis();
    for (excess, blobs, base_fee, next) in [
        (0, 5, GWEI, 0),
        // Below EIP-7918's floor, a sixteenth of the base fee, the excess never falls.
        (0, 6, GWEI, 2 * BLOB),
        (0, 9, GWEI, 3 * BLOB),
        (1_000_000, 0, GWEI, 1_000_000),
        (1_000_000, 0, 7, 1_000_000 - 6 * BLOB),
        (100_000_000, 9, GWEI, 100_000_000 + 3 * BLOB),
        (100_000_000, 0, GWEI, 100_000_000 - 6 * BLOB),
    ] {
        let parent = Header {
            excess_blob_gas: Some(excess),
            blob_gas_used: Some(blobs * BLOB),
            base_fee_per_gas: Some(base_fee),
            ..genesis.clone()
        };
        assert_eq!(after(&parent).expect("follows").excess_blob_gas, Some(next), "{excess} {blobs} {base_fee}");
    }
}

#[test]
fn a_header_follows_from_its_parent() {
    let (genesis, _) = genesis();
    let header = after(&genesis).expect("follows");
    assert_eq!(header.number, 1);
    assert!(header.extra_data.is_empty());
    assert_eq!(header.gas_limit, genesis.gas_limit);
    assert_eq!(header.parent_beacon_block_root, Some(block_root(genesis.hash_slow())));
    assert_ne!(header.mix_hash, after(&header).expect("follows").mix_hash);
    let error = at(&genesis, genesis.timestamp * 1000 + 999).expect_err("in the same second");
    assert!(matches!(error, HeaderError::Time { .. }), "{error}");
    let prague = Rules::Ethereum { chain_id: CHAIN, fork: Fork::Prague, development: false, blobs: Vec::new() };
    let context = BlockContext { time_ms: u64::MAX, mix_source: B256::ZERO, messages: false };
    assert_eq!(next_header(&prague, &genesis, B256::ZERO, context), Err(HeaderError::Fork(Fork::Prague)));
}

#[test]
fn a_block_stores_its_parents_hash_and_beacon_root() {
    let (genesis, db) = genesis();
    let header = after(&genesis).expect("follows");
    let changes = BlockExecutor::new(&RULES, &header, &db).expect("in memory").finish().changes;
    let history = &changes.accounts[&eip2935::HISTORY_STORAGE_ADDRESS].storage;
    assert_eq!(history[&U256::ZERO].after, U256::from_be_bytes(genesis.hash_slow().0));
    let roots = &changes.accounts[&eip4788::BEACON_ROOTS_ADDRESS].storage;
    let slot = header.timestamp % 8_191;
    assert_eq!(roots[&U256::from(slot)].after, U256::from(header.timestamp));
    assert_eq!(roots[&U256::from(slot + 8_191)].after, U256::from_be_bytes(block_root(genesis.hash_slow()).0));
    assert_eq!(changes.accounts.len(), 2);
}

#[test]
fn the_base_fee_and_the_blob_fee_are_burned() {
    let (genesis, db) = genesis();
    let header = after(&genesis).expect("follows");
    let base_fee = header.base_fee_per_gas.expect("set");
    let mut block = BlockExecutor::new(&RULES, &header, &db).expect("in memory");
    block.execute(&rich_transfer(0)).expect("valid");
    block.execute(&blobs(1, 6, 1)).expect("valid");
    let output = block.finish();
    assert_eq!((output.gas_used, output.blob_gas_used), (42_000, 6 * BLOB));
    let balance = |address: Address| output.changes.accounts[&address].account.after.expect("exists").balance;
    let tips = U256::from(42_000 * 1_000);
    assert_eq!(balance(Address::ZERO), tips, "the beneficiary gets the tips");
    assert_eq!(balance(BOB), U256::from(7));
    let before = output.changes.accounts[&ALICE].account.before.expect("exists").balance;
    let burned = U256::from(42_000 * base_fee + 6 * BLOB);
    assert_eq!(before - balance(ALICE), U256::from(7) + tips + burned);
}

#[test]
fn a_block_has_room_for_nine_blobs_and_a_transaction_for_six() {
    let (genesis, db) = genesis();
    let header = after(&genesis).expect("follows");
    let mut block = BlockExecutor::new(&RULES, &header, &db).expect("in memory");
    block.execute(&blobs(0, 6, 1)).expect("valid");
    let refused = |outcome: Result<_, ExecuteError<_>>| match outcome {
        Err(ExecuteError::Transaction(error)) => error,
        other => panic!("{other:?}"),
    };
    let full = refused(block.execute(&blobs(1, 4, 1)));
    assert_eq!(full, TransactionError::BlobGas { needed: 4 * BLOB, left: 3 * BLOB });
    assert!(full.is_passing());
    block.execute(&blobs(1, 3, 1)).expect("it fits");
    assert_eq!(block.finish().blob_gas_used, 9 * BLOB);

    let mut block = BlockExecutor::new(&RULES, &header, &db).expect("in memory");
    assert!(!refused(block.execute(&blobs(0, 7, 1))).is_passing(), "more than a transaction may have");

    let dear = Header { excess_blob_gas: Some(10 << 20), ..header };
    let mut block = BlockExecutor::new(&RULES, &dear, &db).expect("in memory");
    assert!(refused(block.execute(&blobs(0, 1, 7))).is_passing(), "the fee may fall");
    block.execute(&blobs(0, 1, 8)).expect("it pays");
}

#[test]
fn a_sealed_block_is_checked_to_the_field() {
    let (genesis, db) = genesis();
    let header = after(&genesis).expect("follows");
    let transactions = vec![blobs(0, 2, 1), rich_transfer(1)];
    let mut block = BlockExecutor::new(&RULES, &header, &db).expect("in memory");
    for transaction in &transactions {
        block.execute(transaction).expect("valid");
    }
    let output = block.finish();
    let sealed = seal(header, &transactions, &output, B256::repeat_byte(9));
    assert_eq!(sealed.blob_gas_used, Some(2 * BLOB));
    assert_eq!(transactions[0].inner().encoded_2718()[0], 3);
    assert_eq!(execute_block(&RULES, &genesis, &sealed, &transactions, &db).expect("valid"), output);
    type Edit = fn(&mut Header);
    let edits: [(Edit, &str); 4] = [
        (|header| header.blob_gas_used = Some(0), "blobGasUsed"),
        (|header| header.excess_blob_gas = Some(1), "excessBlobGas"),
        (|header| header.parent_beacon_block_root = Some(B256::ZERO), "parentBeaconBlockRoot"),
        (|header| header.mix_hash = B256::ZERO, "mixHash"),
    ];
    for (edit, field) in edits {
        let mut other = sealed.clone();
        edit(&mut other);
        match execute_block(&RULES, &genesis, &other, &transactions, &db) {
            Err(BlockError::Header(HeaderError::Field(found))) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}
