//! Blocks of a Jove chain: what they charge, whom they pay, what they refuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod chain;

use alloy_consensus::{Header, SignableTransaction, TxEip4844, TxLegacy};
use alloy_eips::{eip2718::Encodable2718, eip2935};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use chain::{ALICE, BOB, chain, transfer};
use jove_primitives::{
    ChangeSet, Transaction,
    batch::BLOB_CAPACITY,
    block::{L1Prices, RecoveredTransaction},
    fee::l1_data_fee,
    header::{Extra, mix_hash, time_ms},
    predeploys::{BASE_FEE_VAULT, L1_FEE_VAULT, SEQUENCER_FEE_VAULT},
};
use jove_stf::{
    BlockError, BlockExecutor, ExecuteError, HeaderError, TransactionError, execute_block, next_header, seal,
};
fn balance(changes: &ChangeSet, address: Address) -> U256 {
    changes.accounts[&address].account.after.expect("exists").balance
}

#[test]
fn a_header_follows_from_its_parent() {
    let chain = chain();
    let header = chain.header(1234);
    assert_eq!(header.number, 1);
    assert_eq!(header.timestamp, chain.genesis.timestamp + 1);
    assert_eq!(Extra::decode(&header.extra_data), Ok(Extra { millisecond: 234, excess_gas: 0, messages: false }));
    assert_eq!(header.mix_hash, mix_hash(chain.genesis.hash_slow(), 1));
    assert_eq!(header.beneficiary, SEQUENCER_FEE_VAULT);
    assert_eq!(header.base_fee_per_gas, Some(10_000_000));

    let parent = time_ms(&chain.genesis).expect("ours");
    let early = next_header(&chain.rules, &chain.genesis, B256::ZERO, chain.at(parent - 1));
    assert_eq!(early, Err(HeaderError::Time { time: parent - 1, parent }));

    let busy = Header { gas_used: 1_000_000_000, ..chain.genesis.clone() };
    let header = next_header(&chain.rules, &busy, B256::ZERO, chain.at(parent)).expect("equal times are allowed");
    assert_eq!(Extra::decode(&header.extra_data).expect("ours").excess_gas, 1_000_000_000);
    assert!(header.base_fee_per_gas > Some(12_000_000));
}

#[test]
fn fees_go_to_the_vaults_and_nothing_is_burned() {
    let chain = chain();
    let mut block = chain.block();
    let tx = transfer(0, U256::from(7));
    let executed = block.execute(&tx).expect("valid");
    let prices = L1Prices { base_fee: 1_000_000_000, blob_base_fee: 1_000_000 };
    assert_eq!(executed.l1_fee, l1_data_fee(&tx.inner().encoded_2718(), prices));
    assert!(!executed.l1_fee.is_zero());
    let output = block.finish();
    assert_eq!(output.l1_prices, prices);
    assert_eq!(output.gas_used, 21_000);
    assert_eq!(output.receipts.len(), 1);
    let changes = &output.changes;
    assert_eq!(balance(changes, BOB), U256::from(7));
    assert_eq!(balance(changes, SEQUENCER_FEE_VAULT), U256::from(21_000 * 1_000));
    assert_eq!(balance(changes, BASE_FEE_VAULT), U256::from(21_000u64 * 10_000_000));
    assert_eq!(balance(changes, L1_FEE_VAULT), executed.l1_fee);
    let total = |after: bool| -> U256 {
        let accounts = changes.accounts.values().map(|change| &change.account);
        accounts.filter_map(|a| if after { a.after } else { a.before }).map(|account| account.balance).sum()
    };
    assert_eq!(total(true), total(false));
}

#[test]
fn the_parents_hash_is_in_the_history_contract() {
    let chain = chain();
    let changes = chain.block().finish().changes;
    let history = &changes.accounts[&eip2935::HISTORY_STORAGE_ADDRESS];
    assert_eq!(history.storage[&U256::ZERO].after, U256::from_be_bytes(chain.genesis.hash_slow().0));
    assert_eq!(changes.accounts.len(), 1);
}

#[test]
fn blobs_are_refused_by_name() {
    let chain = chain();
    let tx = TxEip4844 {
        chain_id: 5683,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000,
        to: BOB,
        blob_versioned_hashes: vec![B256::repeat_byte(1)],
        max_fee_per_blob_gas: 1,
        ..Default::default()
    };
    let tx = Transaction::from(tx.into_signed(Signature::test_signature()));
    let error = chain.block().execute(&RecoveredTransaction::new_unchecked(tx, ALICE)).expect_err("refused");
    assert!(error.to_string().contains("blob transactions (EIP-4844) are not accepted"), "{error}");
}

#[test]
fn an_invalid_transaction_leaves_no_trace() {
    let chain = chain();
    let mut with = chain.block();
    let mut without = chain.block();
    for block in [&mut with, &mut without] {
        block.execute(&transfer(0, U256::from(1))).expect("valid");
    }
    let everything = U256::from(10_000) * U256::from(10).pow(U256::from(18));
    let error = |tx: &RecoveredTransaction, with: &mut BlockExecutor<&chain::Db>| match with.execute(tx) {
        Err(ExecuteError::Transaction(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(error(&transfer(1, everything), &mut with), TransactionError::InsufficientFunds { .. }));
    assert!(matches!(error(&transfer(0, U256::ZERO), &mut with), TransactionError::Evm(_)));
    assert!(error(&transfer(9, U256::ZERO), &mut with).is_passing());
    let low_gas =
        TxLegacy { chain_id: Some(5683), nonce: 1, gas_limit: 20_999, gas_price: 100_000_000, ..Default::default() };
    let low_gas = Transaction::from(low_gas.into_signed(Signature::test_signature()));
    assert!(matches!(error(&RecoveredTransaction::new_unchecked(low_gas, ALICE), &mut with), TransactionError::Evm(_)));
    for block in [&mut with, &mut without] {
        block.execute(&transfer(1, U256::from(2))).expect("valid");
    }
    assert_eq!(with.finish(), without.finish());
}

#[test]
fn the_l1_fee_must_be_covered_beyond_gas_and_value() {
    let chain = chain();
    let tx = transfer(0, U256::ZERO);
    let prices = L1Prices { base_fee: 1_000_000_000, blob_base_fee: 1_000_000 };
    let cost = U256::from(21_000u64 * 100_000_000) + l1_data_fee(&tx.inner().encoded_2718(), prices);
    for (balance, valid) in [(cost - U256::ONE, false), (cost, true)] {
        let mut block = chain.block();
        let state = block.state();
        let account = state.account(ALICE).expect("in memory").expect("exists");
        state.set_account(ALICE, jove_primitives::Account { balance, ..account }).expect("in memory");
        assert_eq!(block.execute(&tx).is_ok(), valid);
    }
}

#[test]
fn a_spent_gas_budget_refuses_transactions() {
    let chain = chain();
    let parent = Header {
        extra_data: Extra { excess_gas: 64 * 500_000_000, ..Default::default() }.encode(),
        gas_used: 21_000,
        ..chain.genesis.clone()
    };
    let time = time_ms(&parent).expect("ours");
    let header = next_header(&chain.rules, &parent, parent.hash_slow(), chain.at(time)).expect("follows");
    let mut block = BlockExecutor::new(&chain.rules, &header, &chain.db).expect("in memory");
    block.execute(&transfer(0, U256::ZERO)).map(drop).expect_err("the fee is too low by far");
    let rich = TxLegacy {
        chain_id: Some(5683),
        gas_limit: 21_000,
        gas_price: 1 << 40,
        to: TxKind::Call(BOB),
        ..Default::default()
    };
    let mut nonce = 0;
    let mut next = || {
        let tx = TxLegacy { nonce, ..rich.clone() };
        nonce += 1;
        RecoveredTransaction::new_unchecked(Transaction::from(tx.into_signed(Signature::test_signature())), ALICE)
    };
    block.execute(&next()).expect("the excess is at its most, nothing was used in this block");
    let error = block.execute(&next()).expect_err("refused");
    assert!(matches!(error, ExecuteError::Transaction(TransactionError::ExcessGas)));
}

#[test]
fn a_block_has_room_for_what_fits_into_four_blobs() {
    let chain = chain();
    let mut block = chain.block();
    let data = |nonce, length| {
        let tx = TxLegacy {
            chain_id: Some(5683),
            nonce,
            gas_limit: 10_000_000,
            gas_price: 100_000_000,
            to: TxKind::Call(BOB),
            input: vec![1; length].into(),
            ..Default::default()
        };
        RecoveredTransaction::new_unchecked(Transaction::from(tx.into_signed(Signature::test_signature())), ALICE)
    };
    let refusal = |block: &mut BlockExecutor<&chain::Db>, tx: &RecoveredTransaction| match block.execute(tx) {
        Err(ExecuteError::Transaction(error)) => error,
        other => panic!("{other:?}"),
    };
    let whole = 4 * BLOB_CAPACITY;
    let error = refusal(&mut block, &data(0, whole));
    assert!(matches!(error, TransactionError::BlockSize { .. }) && !error.is_passing(), "no block has room for it");
    for nonce in 0..4 {
        block.execute(&data(nonce, whole / 5)).expect("has room");
    }
    let error = refusal(&mut block, &data(4, whole / 5));
    assert!(matches!(error, TransactionError::BlockSize { .. }) && error.is_passing(), "another block has room for it");
    block.execute(&data(4, whole / 6)).expect("has room");
    assert_eq!(block.finish().receipts.len(), 5);
}

#[test]
fn a_sealed_block_checks_out_and_an_altered_one_does_not() {
    let chain = chain();
    let header = chain.header(10);
    let mut block = BlockExecutor::new(&chain.rules, &header, &chain.db).expect("in memory");
    let transactions = vec![transfer(0, U256::from(5)), transfer(1, U256::from(6))];
    for tx in &transactions {
        block.execute(tx).expect("valid");
    }
    let output = block.finish();
    let sealed = seal(header, &transactions, &output, B256::repeat_byte(9));
    let check = |header: &Header, transactions: &[RecoveredTransaction]| {
        execute_block(&chain.rules, &chain.genesis, header, transactions, &chain.db)
    };
    assert_eq!(check(&sealed, &transactions).expect("valid"), output);

    type Alter = fn(&mut Header);
    let alterations: [(&str, Alter); 13] = [
        ("parentHash", |h| h.parent_hash = B256::ZERO),
        ("number", |h| h.number = 2),
        ("baseFeePerGas", |h| h.base_fee_per_gas = Some(1)),
        ("gasLimit", |h| h.gas_limit += 1),
        ("gasUsed", |h| h.gas_used += 1),
        ("transactionsRoot", |h| h.transactions_root = B256::ZERO),
        ("receiptsRoot", |h| h.receipts_root = B256::ZERO),
        ("logsBloom", |h| h.logs_bloom.0[0] = 1),
        ("mixHash", |h| h.mix_hash = B256::ZERO),
        ("extraData", |h| h.extra_data = Extra { millisecond: 10, excess_gas: 1, messages: false }.encode()),
        ("beneficiary", |h| h.beneficiary = BOB),
        ("nonce", |h| h.nonce = [1; 8].into()),
        ("withdrawalsRoot", |h| h.withdrawals_root = None),
    ];
    for (field, alter) in alterations {
        let mut altered = sealed.clone();
        alter(&mut altered);
        assert!(matches!(check(&altered, &transactions), Err(BlockError::Header(_))), "{field}");
    }
    let mut no_extra = sealed.clone();
    no_extra.extra_data = Bytes::new();
    assert!(matches!(check(&no_extra, &transactions), Err(BlockError::Header(HeaderError::Field("extraData")))));
    no_extra.extra_data = Bytes::from_static(b"geth");
    assert!(matches!(check(&no_extra, &transactions), Err(BlockError::Header(HeaderError::Extra(_)))));
    assert!(matches!(check(&sealed, &transactions[..1]), Err(BlockError::Header(_))));
    let swapped = [transactions[1].clone(), transactions[0].clone()];
    assert!(matches!(check(&sealed, &swapped), Err(BlockError::Transaction { index: 0, .. })));
}
