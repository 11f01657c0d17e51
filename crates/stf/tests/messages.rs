//! Messages from L1 and the origin that they come with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod chain;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use chain::{ALICE, BOB, Chain, apply, chain, transfer};
use jove_primitives::{
    Account, Fork,
    block::{L1Prices, RecoveredTransaction},
    header::{Extra, mix_hash, time_ms},
    l1::{DEPOSITOR, L1_HASH_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    transaction::{DEPOSIT_TX_TYPE_ID, TxDeposit, deposit},
};
use jove_stf::{
    BlockContext, BlockError, BlockExecutor, BlockOutput, ExecuteError, Rules, TransactionError, execute_block,
    mix_source, next_header, seal,
};
use revm::{DatabaseRef, bytecode::Bytecode, context::result::ExecutionResult, state::AccountInfo};

const CAROL: Address = address!("0000000000000000000000000000000000ca4010");

fn message() -> TxDeposit {
    TxDeposit {
        source_hash: B256::repeat_byte(3),
        from: CAROL,
        to: BOB.into(),
        mint: 100,
        value: U256::from(60),
        gas_limit: 50_000,
        ..Default::default()
    }
}

fn origin(chain: &Chain) -> L1Origin {
    L1Origin {
        number: 20,
        timestamp: chain.genesis.timestamp,
        base_fee: U256::from(77),
        hash: B256::repeat_byte(5),
        blob_base_fee: U256::from(88),
        mix_hash: B256::repeat_byte(6),
        messages: 0,
    }
}

/// A chain at an origin with so many messages due.
fn chain_with(due: u64) -> Chain {
    let mut chain = chain();
    let queue = Queue { consumed: 0, due };
    chain.db.insert_account_storage(L1_BLOCK, L1_QUEUE_SLOT, queue.slot()).expect("in memory");
    chain
}

/// A block of these messages, and what it did.
fn run(chain: &Chain, messages: Vec<TxDeposit>) -> (BlockOutput, Vec<ExecutionResult>) {
    let mut block = block(chain);
    let run = |message| block.execute(&deposit(message)).expect("a message always has its place").result;
    let results = messages.into_iter().map(run).collect();
    (block.finish(), results)
}

fn block(chain: &Chain) -> BlockExecutor<&chain::Db> {
    let context = BlockContext { messages: true, ..chain.at(time_ms(&chain.genesis).expect("ours") + 10) };
    let header = next_header(&chain.rules, &chain.genesis, chain.genesis.hash_slow(), context).expect("follows");
    BlockExecutor::new(&chain.rules, &header, &chain.db).expect("in memory")
}

fn after(output: &BlockOutput, address: Address) -> Account {
    output.changes.accounts.get(&address).and_then(|change| change.account.after).unwrap_or_default()
}

fn refusal(result: Result<jove_stf::Executed, ExecuteError<std::convert::Infallible>>) -> TransactionError {
    match result.expect_err("refused") {
        ExecuteError::Transaction(error) => error,
        ExecuteError::Database(never) => match never {},
    }
}

#[test]
fn a_message_mints_sends_and_pays_nothing_here() {
    let chain = chain_with(2);
    let (output, results) = run(&chain, vec![message(), TxDeposit { mint: 0, value: U256::from(40), ..message() }]);
    assert!(results.iter().all(ExecutionResult::is_success));
    assert_eq!(after(&output, CAROL), Account { nonce: 2, ..Default::default() });
    assert_eq!(after(&output, BOB).balance, U256::from(100));
    assert_eq!(output.gas_used, 42_000);
    assert_eq!(output.l1_fees, [U256::ZERO; 2]);
    let total: U256 = output.changes.accounts.keys().map(|address| after(&output, *address).balance).sum();
    assert_eq!(total, U256::from(100), "nobody is paid a fee");
    assert_eq!(output.receipts[1].tx_type, DEPOSIT_TX_TYPE_ID);
    assert_eq!(output.receipts[1].deposit_nonce, Some(1));
    assert_eq!(output.receipts[1].cumulative_gas_used, 42_000);
}

#[test]
fn what_a_failed_message_minted_stands() {
    let mut chain = chain_with(1);
    // PUSH0 PUSH0 REVERT; INVALID
    for (address, code) in [(BOB, &[0x5f, 0x5f, 0xfd][..]), (ALICE, &[0xfe])] {
        let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
        chain.db.insert_account_info(
            address,
            AccountInfo { code_hash: code.hash_slow(), code: Some(code), ..Default::default() },
        );
    }
    let failures = [
        ("reverted", message(), 21_000..50_000),
        ("halted", TxDeposit { to: ALICE.into(), ..message() }, 50_000..50_001),
        ("without gas for a start", TxDeposit { gas_limit: 20_999, ..message() }, 20_999..21_000),
        (
            "below the data floor",
            TxDeposit { gas_limit: 22_000, input: vec![1; 100].into(), ..message() },
            22_000..22_001,
        ),
        ("worth more than there is", TxDeposit { value: U256::from(101), ..message() }, 50_000..50_001),
    ];
    for (why, message, gas) in failures {
        let (output, results) = run(&chain, vec![message]);
        assert!(!results[0].is_success(), "{why}");
        assert_eq!(
            after(&output, CAROL),
            Account { nonce: 1, balance: U256::from(100), ..Default::default() },
            "{why}"
        );
        assert!(!output.changes.accounts.contains_key(&BOB), "{why}");
        assert!(!output.receipts[0].success, "{why}");
        assert!(gas.contains(&output.gas_used), "{why}: {}", output.gas_used);
    }
}

#[test]
fn a_contract_may_send_and_a_message_may_create() {
    let mut chain = chain_with(1);
    let code = Bytecode::new_raw(Bytes::from_static(&[0x00]));
    chain.db.insert_account_info(
        CAROL,
        AccountInfo { nonce: 7, code_hash: code.hash_slow(), code: Some(code), ..Default::default() },
    );
    // Deploys one byte of code: STOP.
    let input = Bytes::from_static(&[0x60, 1, 0x5f, 0xf3]);
    let create = TxDeposit { to: TxKind::Create, input, gas_limit: 100_000, ..message() };
    let (output, results) = run(&chain, vec![create]);
    assert!(results[0].is_success(), "{:?}", results[0]);
    let created = after(&output, CAROL.create(7));
    assert_eq!(created.balance, U256::from(60));
    assert_ne!(created.code_hash, Account::default().code_hash);
    assert_eq!(output.receipts[0].deposit_nonce, Some(7));
}

#[test]
fn messages_and_signed_transactions_do_not_share_a_block() {
    let chain = chain_with(2);
    let mut of_messages = block(&chain);
    assert_eq!(refusal(of_messages.execute(&transfer(0, U256::ONE))), TransactionError::Mixed);
    let mut of_transactions = chain.block();
    assert_eq!(refusal(of_transactions.execute(&deposit(message()))), TransactionError::Mixed);
    let first = refusal(of_transactions.execute(&transfer(0, U256::ONE)));
    assert_eq!(first, TransactionError::MessagesDue);
    assert!(first.is_passing());
    let rules = Rules::Ethereum { chain_id: 1, fork: Fork::Osaka, development: false, blobs: Vec::new() };
    let mut of_ethereum = BlockExecutor::new(&rules, &chain.genesis, &chain.db).expect("in memory");
    assert_eq!(refusal(of_ethereum.execute(&deposit(message()))), TransactionError::MessageNotAccepted);
    let too_much = TxDeposit { gas_limit: 60_000_000, ..message() };
    let mut full = block(&chain);
    full.execute(&deposit(too_much.clone())).expect("fits");
    full.execute(&deposit(TxDeposit { gas_limit: 100_000_000, ..too_much })).expect_err("the block has no place left");
}

#[test]
fn a_step_to_an_origin_is_in_the_state_and_in_the_header() {
    let chain = chain();
    let origin = L1Origin { messages: 1, ..origin(&chain) };
    let transactions: Vec<RecoveredTransaction> = vec![deposit(origin.attributes(1)), deposit(message())];
    let parent_hash = chain.genesis.hash_slow();
    let time_ms = time_ms(&chain.genesis).expect("ours") + 10;
    let context = BlockContext { time_ms, mix_source: origin.mix_hash, messages: true };
    let header = next_header(&chain.rules, &chain.genesis, parent_hash, context).expect("follows");
    let mut block = BlockExecutor::new(&chain.rules, &header, &chain.db).expect("in memory");
    for transaction in &transactions {
        block.execute(transaction).expect("valid");
    }
    let output = block.finish();
    assert_eq!(output.l1_prices, L1Prices { base_fee: 77, blob_base_fee: 88 });
    assert_eq!(output.gas_used, 21_000, "the attributes use none");
    let header = seal(header, &transactions, &output, B256::repeat_byte(9));
    assert_eq!(header.mix_hash, mix_hash(origin.mix_hash, 1));
    assert!(Extra::decode(&header.extra_data).expect("ours").messages);
    let check = |header, transactions: &[RecoveredTransaction]| {
        execute_block(&chain.rules, &chain.genesis, header, transactions, &chain.db)
    };
    assert_eq!(check(&header, &transactions).expect("valid"), output);
    assert!(matches!(check(&header, &transactions[1..]), Err(BlockError::Transaction { index: 0, .. })));
    assert!(matches!(check(&header, &transactions[..1]), Err(BlockError::MessagesLeft(1))));
    assert!(check(&header, &[]).is_err(), "a block of messages has one");

    let mut db = chain.db.clone();
    apply(&mut db, &output.changes);
    assert_eq!(db.storage_ref(L1_BLOCK, L1_HASH_SLOT), Ok(origin.hash.into()));
    let queue = db.storage_ref(L1_BLOCK, L1_QUEUE_SLOT).map(Queue::from_slot);
    assert_eq!(queue, Ok(Queue { consumed: 1, due: 1 }));
    assert_eq!(mix_source(&chain.rules, &chain.db), Ok(parent_hash));
    assert_eq!(mix_source(&chain.rules, &db), Ok(origin.mix_hash));
    // Later blocks of the same origin use its randomness, and the message's gas does not count.
    let context = BlockContext { time_ms: time_ms + 10, mix_source: origin.mix_hash, messages: false };
    let next = next_header(&chain.rules, &header, header.hash_slow(), context).expect("follows");
    assert_eq!(Extra::decode(&next.extra_data).expect("ours").excess_gas, 0);
}

#[test]
fn a_block_does_not_leave_messages_that_fit() {
    let chain = chain_with(3);
    let check = |messages: Vec<TxDeposit>| {
        let context =
            BlockContext { messages: !messages.is_empty(), ..chain.at(time_ms(&chain.genesis).expect("ours") + 10) };
        let header = next_header(&chain.rules, &chain.genesis, chain.genesis.hash_slow(), context).expect("follows");
        let mut block = BlockExecutor::new(&chain.rules, &header, &chain.db).expect("in memory");
        let messages: Vec<RecoveredTransaction> = messages.into_iter().map(deposit).collect();
        let taken = block.execute_messages(messages.iter().cloned()).expect("they have their place");
        let header = seal(header, &taken, &block.finish(), B256::ZERO);
        let checked = execute_block(&chain.rules, &chain.genesis, &header, &taken, &chain.db);
        (taken.len(), checked.map(|_| ()))
    };
    assert!(matches!(check(vec![message(); 3]), (3, Ok(()))));
    assert!(matches!(check(vec![message(); 2]), (2, Err(BlockError::MessagesLeft(1)))));
    assert!(
        matches!(check(Vec::new()), (0, Err(BlockError::MessagesLeft(3)))),
        "nor is there another block before them"
    );
    // It has more gas than any transaction may use, and uses it all.
    let large = |gas_limit| TxDeposit { gas_limit, ..message() };
    assert!(matches!(check(vec![large(98_000_000)]), (1, Err(BlockError::MessagesLeft(2)))));
    assert!(matches!(check(vec![large(98_000_001)]), (1, Ok(()))), "the next may be too large");
    assert!(matches!(check(vec![large(98_000_001), large(2_000_000)]), (1, Ok(()))), "as it is here");
}

#[test]
fn wrong_attributes_are_refused() {
    let chain = chain();
    let origin = origin(&chain);
    let mut stepped = chain::chain();
    let (output, _) = run(&stepped, vec![origin.attributes(1)]);
    apply(&mut stepped.db, &output.changes);
    let why = |chain: &Chain, attributes: TxDeposit| refusal(block(chain).execute(&deposit(attributes)));
    assert_eq!(why(&chain, origin.attributes(2)), TransactionError::Attributes("malformed"));
    let anything = TxDeposit { from: DEPOSITOR, ..message() };
    assert_eq!(why(&chain, anything), TransactionError::Attributes("malformed"));
    assert_eq!(why(&stepped, origin.attributes(1)), TransactionError::Attributes("not of a later L1 block"));
    let earlier = L1Origin { number: 21, timestamp: origin.timestamp - 1, ..origin };
    assert_eq!(why(&stepped, earlier.attributes(1)), TransactionError::Attributes("not of a later L1 block"));
    let future = L1Origin { timestamp: origin.timestamp + 1, ..origin };
    assert!(
        matches!(why(&chain, future.attributes(1)), TransactionError::Attributes(why) if why.contains("later than this one"))
    );
    let waiting = chain_with(1);
    assert!(
        matches!(why(&waiting, origin.attributes(1)), TransactionError::Attributes(why) if why.contains("messages"))
    );
    let mut stepped = chain_with(1);
    let (output, _) = run(&stepped, vec![message()]);
    apply(&mut stepped.db, &output.changes);
    assert!(matches!(why(&stepped, origin.attributes(1)), TransactionError::Attributes(why) if why.contains("shrunk")));
    let mut second = block(&waiting);
    second.execute(&deposit(message())).expect("valid");
    assert_eq!(refusal(second.execute(&deposit(message()))), TransactionError::NoMessageDue);
    let refused = refusal(second.execute(&deposit(origin.attributes(1))));
    assert_eq!(refused, TransactionError::Attributes("not first in the block"));
}

#[test]
fn far_from_its_origin_a_chain_takes_messages_only() {
    let mut chain = chain();
    let origin = origin(&chain);
    let (output, _) = run(&chain, vec![origin.attributes(1)]);
    apply(&mut chain.db, &output.changes);
    let twelve_hours = 12 * 60 * 60 * 1000;
    for (after_ms, taken) in [(twelve_hours, true), (twelve_hours + 1000, false)] {
        let header = chain.header(after_ms);
        let mut block = BlockExecutor::new(&chain.rules, &header, &chain.db).expect("in memory");
        let result = block.execute(&transfer(0, U256::ONE));
        assert_eq!(result.is_ok(), taken);
        if !taken {
            let error = refusal(result);
            assert_eq!(error, TransactionError::OldOrigin);
            assert!(error.is_passing());
        }
    }
}
