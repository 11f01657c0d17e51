//! Calls on an in-memory state: the development genesis and a few contracts.
#![allow(clippy::expect_used)]

use super::{
    call::{call, create_access_list},
    estimate::estimate,
    outcome::code,
    simulate::{SimulatedBlock, simulate},
    stage::Stage,
    transaction::{CALL_GAS_CAP, tx_env, unsigned},
    transfers::{ETHER, TRANSFER},
};
use crate::error::RpcError;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, Signature, U256, address, hex, keccak256};
use alloy_rpc_types_eth::{TransactionRequest, simulate::SimulatePayload};
use jove_primitives::{ChainSpec, block::RecoveredTransaction, predeploys};
use jove_stf::{BlockContext, BlockExecutor, Rules, next_header};
use revm::{
    bytecode::Bytecode,
    database::{CacheDB, EmptyDB},
    state::AccountInfo,
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The state of the tests.
pub(crate) type Db = CacheDB<EmptyDB>;

/// The first development account, and one that nobody has.
pub(crate) const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
pub(crate) const NOBODY: Address = address!("000000000000000000000000000000000000dead");

pub(crate) fn rules() -> Rules {
    Rules::Jove { spec: Arc::new(ChainSpec::dev()), genesis: B256::repeat_byte(7) }
}

pub(crate) fn genesis() -> Header {
    ChainSpec::dev().genesis_header(B256::ZERO)
}

/// The development genesis with contracts.
pub(crate) fn db(contracts: &[(Address, &[u8])]) -> Db {
    let mut db = Db::default();
    let changes = ChainSpec::dev().genesis_changes();
    for (address, change) in &changes.accounts {
        let account = change.account.after.expect("genesis creates");
        let code = changes.codes.get(&account.code_hash).map(|code| Bytecode::new_raw(code.clone()));
        let info = AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code,
            ..Default::default()
        };
        db.insert_account_info(*address, info);
        for (slot, value) in &change.storage {
            db.insert_account_storage(*address, *slot, value.after).expect("infallible");
        }
    }
    for (address, code) in contracts {
        let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
        let info = AccountInfo { nonce: 1, code_hash: code.hash_slow(), code: Some(code), ..Default::default() };
        db.insert_account_info(*address, info);
    }
    db
}

pub(crate) fn stage(contracts: &[(Address, &[u8])]) -> Stage<Db> {
    Stage::new(&rules(), &genesis(), db(contracts))
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

pub(crate) fn request(json: Value) -> TransactionRequest {
    serde_json::from_value(json).expect("a request")
}

pub(crate) fn tx(json: Value) -> revm::context::TxEnv {
    tx_env(request(json), &rules(), CALL_GAS_CAP).expect("a valid request")
}

/// A contract's address in these tests.
pub(crate) fn at(n: u8) -> Address {
    Address::with_last_byte(n).create(0)
}

fn run(stage: &mut Stage<Db>, json: Value) -> Result<Bytes, RpcError> {
    call(stage, tx(json))
}

fn word(result: Result<Bytes, RpcError>) -> U256 {
    U256::from_be_slice(&result.expect("the call succeeds"))
}

/// Code that returns what `op` pushes.
fn returns(ops: &[u8]) -> Vec<u8> {
    [ops, &hex!("60005260206000f3")].concat()
}

/// Code that reverts with `data`, at most 255 bytes.
fn reverts(data: &[u8]) -> Vec<u8> {
    let len = data.len() as u8;
    [&[0x60, len, 0x60, 12, 0x60, 0, 0x39, 0x60, len, 0x60, 0, 0xfd], data].concat()
}

fn error_string(text: &str) -> Vec<u8> {
    let mut data = hex!("08c379a0").to_vec();
    data.extend(U256::from(32).to_be_bytes::<32>());
    data.extend(U256::from(text.len()).to_be_bytes::<32>());
    data.extend(text.as_bytes());
    data.resize(4 + 96, 0);
    data
}

#[test]
fn a_revert_gives_its_reason_and_data() {
    let data = error_string("not yours");
    let mut stage = stage(&[(at(1), &reverts(&data)), (at(2), &reverts(&hex!("deadbeef"))), (at(3), &reverts(&[]))]);
    let error = run(&mut stage, json!({"to": at(1)})).expect_err("reverts");
    assert_eq!((error.code, error.message.as_ref()), (3, "execution reverted: not yours"));
    assert_eq!(error.data, Some(json!(hex::encode_prefixed(&data))));
    let error = run(&mut stage, json!({"to": at(2)})).expect_err("reverts");
    assert_eq!((error.code, error.message.as_ref()), (3, "execution reverted"));
    assert_eq!(error.data, Some(json!("0xdeadbeef")));
    assert_eq!(run(&mut stage, json!({"to": at(3)})).expect_err("reverts").data, Some(json!("0x")));
}

#[test]
fn halts_and_refusals_are_in_geths_words() {
    let mut stage = stage(&[
        (at(1), &hex!("fe")),
        (at(2), &hex!("5b600056")),
        (at(3), &hex!("01")),
        (at(4), &hex!("600456")),
        (at(5), &hex!("0c")),
    ]);
    for (to, text) in [
        (at(1), "invalid opcode: INVALID"),
        (at(2), "out of gas"),
        (at(3), "stack underflow"),
        (at(4), "invalid jump destination"),
        (at(5), "invalid opcode"),
    ] {
        let error = run(&mut stage, json!({"to": to})).expect_err(text);
        assert_eq!((error.code, error.message.as_ref()), (-32000, text));
    }
    let refused = |stage: &mut Stage<Db>, json| run(stage, json).expect_err("refused").message.into_owned();
    assert_eq!(
        refused(&mut stage, json!({"from": NOBODY, "to": ALICE, "value": "0x1"})),
        format!(
            "err: insufficient funds for gas * price + value: address {NOBODY} have 0 want 1 (supplied gas 50000000)"
        )
    );
    assert_eq!(
        refused(&mut stage, json!({"from": ALICE, "to": ALICE, "gas": "0x1"})),
        "err: intrinsic gas too low: have 1, want 21000 (supplied gas 1)"
    );
    let text = refused(&mut stage, json!({"from": ALICE, "to": ALICE, "gasPrice": "0x1"}));
    assert!(text.contains("max fee per gas less than block base fee"), "{text}");
    assert!(text.contains("maxFeePerGas: 1, baseFee: 10000000"), "{text}");
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let refused = |json: Value| {
        let error = tx_env(request(json), &rules(), CALL_GAS_CAP).expect_err("refused");
        assert_eq!(error.code, RpcError::INVALID_PARAMS);
        error.message.into_owned()
    };
    assert!(refused(json!({"data": "0x01", "input": "0x02"})).contains("not equal"));
    assert!(refused(json!({"gasPrice": "0x1", "maxFeePerGas": "0x1"})).contains("both gasPrice"));
    assert!(refused(json!({"chainId": "0x1"})).contains("have=1, want=5683"));
    assert!(refused(json!({"maxFeePerBlobGas": "0x1"})).contains("blob transactions"));
    assert!(refused(json!({"type": "0x3"})).contains("blob transactions"));
    assert!(refused(json!({"authorizationList": []})).contains("recipient"));
    let both = tx(json!({"data": "0x01", "input": "0x01", "gas": "0xffffffffffff"}));
    assert_eq!((both.data.as_ref(), both.gas_limit), (&[1][..], CALL_GAS_CAP));
}

#[test]
fn a_call_needs_no_nonce_no_key_and_no_gas_money_but_sees_the_base_fee() {
    let mut stage = stage(&[(at(1), &returns(&[0x48])), (at(2), &returns(&[0x3a])), (at(3), &returns(&[0x32]))]);
    assert_eq!(word(run(&mut stage, json!({"to": at(1), "nonce": "0x99"}))), U256::from(10_000_000));
    assert_eq!(word(run(&mut stage, json!({"to": at(2)}))), U256::ZERO, "gas price");
    assert_eq!(
        word(run(&mut stage, json!({"from": ALICE, "to": at(2), "gasPrice": "0x989681"}))),
        U256::from(10_000_001)
    );
    let origin = run(&mut stage, json!({"from": at(1), "to": at(3)})).expect("a contract may call");
    assert_eq!(Address::from_slice(&origin[12..]), at(1));
}

fn overridden(state: Value, block: Value, contracts: &[(Address, &[u8])]) -> Result<Stage<Db>, RpcError> {
    let state = serde_json::from_value(state).expect("state overrides");
    let block = serde_json::from_value(block).expect("block overrides");
    stage(contracts).with(state, block)
}

#[test]
fn state_overrides_replace_or_amend() {
    let load = returns(&hex!("60003554")); // sload(calldata)
    let slot = |n: u8| B256::with_last_byte(n);
    let mut contracts = db(&[(at(1), &load)]);
    for n in [1, 2] {
        contracts.insert_account_storage(at(1), U256::from(n), U256::from(n * 10)).expect("infallible");
    }
    let read = |overrides: Value, n: u8| {
        let overrides = serde_json::from_value(overrides).expect("overrides");
        let stage = Stage::new(&rules(), &genesis(), contracts.clone()).with(Some(overrides), None);
        word(run(&mut stage.expect("valid"), json!({"to": at(1), "input": slot(n)})))
    };
    assert_eq!(read(json!({}), 1), U256::from(10));
    let diff = json!({at(1).to_string(): {"stateDiff": {slot(1).to_string(): slot(7)}}});
    assert_eq!((read(diff.clone(), 1), read(diff, 2)), (U256::from(7), U256::from(20)));
    let whole = json!({at(1).to_string(): {"state": {slot(1).to_string(): slot(7)}}});
    assert_eq!((read(whole.clone(), 1), read(whole, 2)), (U256::from(7), U256::ZERO));

    let code = |ops: &[u8]| json!(hex::encode_prefixed(returns(ops)));
    let state = json!({NOBODY.to_string(): {"code": code(&[0x47]), "balance": "0x2a", "nonce": "0x5"}});
    let mut stage = overridden(state, json!(null), &[]).expect("valid");
    assert_eq!(word(run(&mut stage, json!({"to": NOBODY}))), U256::from(42), "code and balance");
    assert_eq!(stage.account(NOBODY).expect("infallible").nonce, 5);

    let twice = json!({NOBODY.to_string(): {"state": {}, "stateDiff": {}}});
    let error = overridden(twice, json!(null), &[]).err().expect("refused");
    assert!(error.message.contains("has both 'state' and 'stateDiff'"));
    let bad = json!({NOBODY.to_string(): {"code": "0xef0100"}});
    assert_eq!(overridden(bad, json!(null), &[]).err().expect("refused").code, RpcError::INVALID_PARAMS);
}

#[test]
fn precompiles_can_be_moved_and_replaced() {
    let identity = Address::with_last_byte(4);
    let moved = json!({identity.to_string(): {"movePrecompileToAddress": NOBODY, "code": hex::encode_prefixed(returns(&[0x58]))}});
    let mut stage = overridden(moved, json!(null), &[]).expect("valid");
    assert_eq!(run(&mut stage, json!({"to": NOBODY, "data": "0x1234"})), Ok(Bytes::from_static(&[0x12, 0x34])));
    assert_eq!(word(run(&mut stage, json!({"to": identity, "data": "0x1234"}))), U256::ZERO, "its code runs: PC is 0");

    let code = |overrides: Value| overridden(overrides, json!(null), &[]).err().expect("refused").code;
    assert_eq!(code(json!({identity.to_string(): {"movePrecompileToAddress": identity}})), -38022);
    assert_eq!(code(json!({NOBODY.to_string(): {"movePrecompileToAddress": ALICE}})), RpcError::INVALID_PARAMS);
    let three = Address::with_last_byte(3);
    let same = json!({"movePrecompileToAddress": NOBODY});
    assert_eq!(code(json!({identity.to_string(): same, three.to_string(): same})), -38023);
}

#[test]
fn block_overrides_change_what_calls_see() {
    let hash = B256::repeat_byte(0x55);
    let block = json!({
        "number": "0x64", "time": "0xc8", "gasLimit": "0x12c", "feeRecipient": NOBODY, "prevRandao": hash,
        "baseFeePerGas": "0x190", "blobBaseFee": "0x1f4", "blockHash": {"98": hash},
    });
    let contracts: Vec<(Address, Vec<u8>)> =
        [&[0x43][..], &[0x42], &[0x45], &[0x41], &[0x44], &[0x48], &[0x4a], &hex!("606240")]
            .iter()
            .enumerate()
            .map(|(n, ops)| (at(n as u8), returns(ops)))
            .collect();
    let borrowed: Vec<(Address, &[u8])> = contracts.iter().map(|(address, code)| (*address, &code[..])).collect();
    let mut stage = overridden(json!(null), block, &borrowed).expect("valid");
    let mut read = |n: u8| word(run(&mut stage, json!({"to": at(n)})));
    let hash = U256::from_be_bytes(hash.0);
    assert_eq!((read(0), read(1), read(2)), (U256::from(100), U256::from(200), U256::from(300)));
    assert_eq!((read(3), read(4)), (U256::from_be_slice(NOBODY.as_slice()), hash));
    assert_eq!((read(5), read(6), read(7)), (U256::from(400), U256::from(500), hash));

    let error = |block| overridden(json!(null), block, &[]).err().expect("refused").message.into_owned();
    assert!(error(json!({"beaconRoot": B256::ZERO})).contains("beaconRoot"));
    assert!(error(json!({"number": U256::MAX})).contains("too large"));
    assert!(error(json!({"baseFeePerGas": U256::MAX})).contains("too large"));
}

/// Estimates, sends a transaction with the estimate as its gas limit in a block, and gives the estimate and the gas used.
fn estimate_and_send(contracts: &[(Address, &[u8])], request: Value) -> (u64, u64) {
    let tx = tx(request);
    let mut stage = stage(contracts);
    let max_gas = ChainSpec::dev().gas.max_transaction_gas();
    let gas = estimate(&mut stage, tx.clone(), None, max_gas, soon()).expect("it can be estimated");
    let price = 20_000_000;
    let sent = revm::context::TxEnv { gas_limit: gas, gas_price: price, gas_priority_fee: Some(0), ..tx };
    let transaction = RecoveredTransaction::new_unchecked(unsigned(&sent, Signature::test_signature()), sent.caller);
    let context = BlockContext { time_ms: genesis().timestamp * 1000 + 10, mix_source: B256::ZERO, messages: false };
    let header = next_header(&rules(), &genesis(), genesis().hash_slow(), context);
    let mut block = BlockExecutor::new(&rules(), &header.expect("a child"), db(contracts)).expect("infallible");
    let done = block.execute(&transaction).expect("the transaction is valid");
    assert!(done.result.is_success(), "the estimate {gas} did not suffice: {:?}", done.result);
    (gas, done.result.tx_gas_used())
}

/// Calls `to` with all gas and reverts if that fails. It starts at `offset` of its code.
fn forwards(to: Address, offset: usize) -> Vec<u8> {
    let call = [&hex!("6000600060006000600073")[..], to.as_slice(), &hex!("5af1")].concat();
    let dest = (offset + call.len() + 7) as u8;
    [&call[..], &[0x60, dest], &hex!("57600080fd5b00")].concat()
}

/// Counts down from `n`, about 30 gas a turn.
fn loops(n: u16) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    [&[0x61, high, low][..], &hex!("5b600190038060035700")].concat()
}

#[test]
fn an_estimate_suffices_where_calls_hold_gas_back() {
    let (inner, middle) = (loops(20_000), forwards(at(1), 0));
    let outer = forwards(at(2), 0);
    let contracts: &[(Address, &[u8])] = &[(at(1), &inner), (at(2), &middle), (at(3), &outer)];
    let (gas, used) = estimate_and_send(contracts, json!({"from": ALICE, "to": at(3)}));
    assert!(used > 500_000, "the loop runs: {used}");
    assert!(gas > used, "two calls hold 1/64 back: {gas} {used}");
    assert!(gas < used + used / 20, "but not much more: {gas} {used}");
}

#[test]
fn an_estimate_suffices_where_refunds_come_after_the_fact() {
    // Sets ten slots to 1 and back to 0: the refund is capped at a fifth.
    let mut code = Vec::new();
    for value in [1, 0] {
        for slot in 0..10 {
            code.extend([0x60, value, 0x60, slot, 0x55]);
        }
    }
    let (gas, used) = estimate_and_send(&[(at(1), &code)], json!({"from": ALICE, "to": at(1)}));
    assert!(gas > used + used / 8, "more is needed than is used in the end: {gas} {used}");
}

#[test]
fn estimates_of_simple_transactions_are_exact_or_near() {
    assert_eq!(estimate_and_send(&[], json!({"from": ALICE, "to": NOBODY, "value": "0x1"})), (21_000, 21_000));
    let (gas, used) = estimate_and_send(&[], json!({"from": ALICE, "to": NOBODY, "data": Bytes::from(vec![1; 1000])}));
    assert_eq!(used, 21_000 + 1000 * 40, "EIP-7623's floor");
    assert!((used..used + used / 50).contains(&gas), "{gas}");
    let creation = json!({"from": ALICE, "data": hex::encode_prefixed(hex!("6020600060003960206000f3"))});
    let (gas, used) = estimate_and_send(&[], creation);
    assert!((used..used + used / 50).contains(&gas), "{gas} {used}");
    let list = json!({"from": ALICE, "to": NOBODY, "accessList": [{"address": NOBODY, "storageKeys": [B256::ZERO]}]});
    let (gas, used) = estimate_and_send(&[], list);
    assert!(used > 21_000 && (used..used + used / 50).contains(&gas), "{gas} {used}");
    let authorization =
        json!({"chainId": "0x1633", "address": NOBODY, "nonce": "0x0", "yParity": "0x0", "r": "0x1", "s": "0x1"});
    let (gas, used) =
        estimate_and_send(&[], json!({"from": ALICE, "to": NOBODY, "authorizationList": [authorization]}));
    assert!(used >= 46_000 && (used..used + used / 50).contains(&gas), "{gas} {used}");
}

#[test]
fn an_estimate_fails_as_the_call_does() {
    let failing = |request: Value, asked: Option<u64>, contracts: &[(Address, &[u8])]| {
        let max_gas = ChainSpec::dev().gas.max_transaction_gas();
        let error = estimate(&mut stage(contracts), tx(request), asked, max_gas, soon()).expect_err("fails");
        (error.code, error.message.into_owned())
    };
    let revert = reverts(&error_string("no"));
    let contracts: &[(Address, &[u8])] = &[(at(1), &revert), (at(2), &hex!("5b600056")), (at(3), &hex!("fe"))];
    assert_eq!(failing(json!({"to": at(1)}), None, contracts), (3, "execution reverted: no".into()));
    assert_eq!(
        failing(json!({"to": at(2)}), None, contracts),
        (-32000, "gas required exceeds allowance (16777216)".into())
    );
    assert_eq!(
        failing(json!({"to": at(2)}), Some(30_000), contracts),
        (-32000, "gas required exceeds allowance (30000)".into())
    );
    assert_eq!(failing(json!({"to": at(3)}), None, contracts), (-32000, "invalid opcode: INVALID".into()));
    let (code, text) = failing(json!({"from": NOBODY, "to": ALICE, "value": "0x1"}), None, &[]);
    assert_eq!(code, -32000);
    assert!(text.starts_with("failed with 16777216 gas: insufficient funds for gas * price + value"), "{text}");
}

#[test]
fn what_the_sender_can_pay_bounds_an_estimate_and_leaves_the_l1_fee() {
    let price = 20_000_000u64;
    let with_balance = |balance: u64| {
        let mut stage = stage(&[]);
        stage.credit(NOBODY, U256::from(balance)).expect("infallible");
        let request = json!({"from": NOBODY, "to": ALICE, "value": "0x1", "gasPrice": U256::from(price)});
        estimate(&mut stage, tx(request), None, 1 << 24, soon()).map_err(|error| error.message.into_owned())
    };
    let gas = 21_000 * price;
    assert_eq!(with_balance(0), Err("insufficient funds for transfer".into()));
    assert_eq!(with_balance(1), Err("insufficient funds for transfer".into()));
    let error = with_balance(gas + 1).expect_err("nothing is left for L1");
    assert!(error.starts_with("gas required exceeds allowance ("), "{error}");
    // What suffices for the estimate suffices for the block, whatever the signature.
    let mut enough = gas + 1;
    while with_balance(enough).is_err() {
        enough += price;
    }
    let mut funded = db(&[]);
    funded.insert_account_info(NOBODY, AccountInfo::from_balance(U256::from(enough)));
    let sent = tx(json!({"from": NOBODY, "to": ALICE, "value": "0x1", "gasPrice": U256::from(price), "gas": "0x5208"}));
    let signature = Signature::new(U256::from_be_bytes(keccak256("r").0), U256::from_be_bytes(keccak256("s").0), true);
    let transaction = RecoveredTransaction::new_unchecked(unsigned(&sent, signature), NOBODY);
    let context = BlockContext { time_ms: genesis().timestamp * 1000, mix_source: B256::ZERO, messages: false };
    let header = next_header(&rules(), &genesis(), B256::ZERO, context).expect("a child");
    let mut block = BlockExecutor::new(&rules(), &header, funded).expect("infallible");
    let done = block.execute(&transaction).expect("the balance covers it");
    assert!(done.l1_fee > U256::ZERO);
    assert!(enough - gas < 2 * done.l1_fee.saturating_to::<u64>(), "and little more: {enough}");
}

#[test]
fn an_access_list_names_what_a_call_touches() {
    // sload(1); balance(0xdead); then forwards to at(2), which sstores slot 2.
    let inner = hex!("600160025500");
    let touching = hex!("6001545061dead3150");
    let outer = [&touching[..], &forwards(at(2), touching.len())].concat();
    let mut stage = stage(&[(at(1), &outer), (at(2), &inner), (at(3), &reverts(&[]))]);
    let list = create_access_list(&mut stage, tx(json!({"from": ALICE, "to": at(1)})), soon()).expect("a list");
    assert_eq!(list.error, None);
    let mut expected = vec![
        json!({"address": at(1), "storageKeys": [B256::with_last_byte(1)]}),
        json!({"address": at(2), "storageKeys": [B256::with_last_byte(2)]}),
        json!({"address": NOBODY, "storageKeys": []}),
    ];
    let mut shown = serde_json::to_value(&list.access_list).expect("JSON").as_array().expect("an array").clone();
    let key = |item: &Value| item["address"].as_str().expect("an address").to_lowercase();
    shown.sort_by_key(key);
    expected.sort_by_key(key);
    let normal = |items: &[Value]| serde_json::to_string(items).expect("JSON").to_lowercase();
    assert_eq!(normal(&shown), normal(&expected));
    // The gas is that of the call with the list.
    let mut with_list = tx(json!({"from": ALICE, "to": at(1)}));
    with_list.access_list = list.access_list;
    let used = stage.run(with_list).expect("it runs").result.tx_gas_used();
    assert_eq!(list.gas_used, U256::from(used));

    let failed = create_access_list(&mut stage, tx(json!({"from": ALICE, "to": at(3)})), soon()).expect("a list");
    assert_eq!(failed.error.as_deref(), Some("execution reverted"));
    let shown = serde_json::to_value(&failed).expect("JSON");
    assert!(shown["gasUsed"].as_str().is_some_and(|gas| gas.starts_with("0x")), "{shown}");
}

fn simulated(payload: Value, contracts: &[(Address, &[u8])]) -> Result<Vec<SimulatedBlock>, RpcError> {
    let payload: SimulatePayload = serde_json::from_value(payload).expect("a payload");
    simulate(payload, &rules(), &genesis(), genesis().hash_slow(), db(contracts), soon())
}

fn refused(payload: Value) -> (i32, String) {
    let error = simulated(payload, &[]).expect_err("refused");
    (error.code, error.message.into_owned())
}

#[test]
fn simulated_blocks_are_a_chain() {
    let blocks = simulated(
        json!({"blockStateCalls": [
            {"calls": [{"from": ALICE, "to": NOBODY, "value": "0x5"}]},
            {"blockOverrides": {"number": "0x4"}, "calls": [{"to": at(1)}, {"to": at(2)}]},
            {"blockOverrides": {"time": U256::from(genesis().timestamp + 4)}, "stateOverrides": {at(1).to_string(): {"code": "0x"}}},
        ]}),
        // blockhash(2), and the balance of NOBODY
        &[(at(1), &returns(&hex!("600240"))), (at(2), &returns(&hex!("61dead31")))],
    )
    .expect("it simulates");
    let header = |n: usize| &blocks[n].inner.header;
    assert_eq!(blocks.len(), 5, "two fill the gap");
    for n in 0..5 {
        let parent = if n == 0 { genesis().hash_slow() } else { header(n - 1).hash };
        assert_eq!(header(n).inner.parent_hash, parent);
        assert_eq!(header(n).hash, header(n).inner.hash_slow());
        assert_eq!(header(n).inner.number, n as u64 + 1);
        assert_eq!(header(n).inner.base_fee_per_gas, Some(0));
    }
    let times: Vec<u64> = (0..5).map(|n| header(n).inner.timestamp - genesis().timestamp).collect();
    assert_eq!(times, [1, 2, 3, 4, 4], "a second each, or equal");
    assert_eq!(header(0).inner.gas_used, 21_000);
    assert_eq!(blocks[3].calls[0].return_data, Bytes::copy_from_slice(header(1).hash.as_slice()));
    assert_eq!(U256::from_be_slice(&blocks[3].calls[1].return_data), U256::from(5), "state carries over");
    let shown = serde_json::to_value(&blocks[0]).expect("JSON");
    assert_eq!(shown["calls"][0]["status"], "0x1");
    assert_eq!(shown["calls"][0]["gasUsed"], "0x5208");
    assert_eq!(shown["transactions"].as_array().map(Vec::len), Some(1));
    assert!(shown["transactions"][0].is_string() && shown["size"].is_string() && shown["hash"].is_string(), "{shown}");
    assert_eq!(shown["withdrawals"], json!([]));
}

#[test]
fn simulated_calls_that_fail_say_why_and_others_go_on() {
    let revert = reverts(&error_string("no"));
    let blocks = simulated(
        json!({"returnFullTransactions": true, "blockStateCalls": [{"calls": [
            {"from": ALICE, "to": at(1)}, {"from": ALICE, "to": at(2), "gas": "0x7530"}, {"from": ALICE, "to": NOBODY},
        ]}]}),
        &[(at(1), &revert), (at(2), &hex!("fe"))],
    )
    .expect("it simulates");
    let shown = serde_json::to_value(&blocks[0]).expect("JSON");
    let calls = &shown["calls"];
    assert_eq!(calls[0]["status"], "0x0");
    assert_eq!(calls[0]["error"]["code"], 3);
    assert_eq!(calls[0]["error"]["message"], "execution reverted: no");
    assert_eq!(calls[0]["error"]["data"], calls[0]["returnData"]);
    assert_eq!(calls[1]["error"], json!({"code": -32015, "message": "invalid opcode: INVALID"}));
    assert_eq!(calls[1]["gasUsed"], "0x7530");
    assert_eq!((&calls[2]["status"], &calls[2]["error"]), (&json!("0x1"), &Value::Null));
    let transactions = shown["transactions"].as_array().expect("full transactions");
    assert_eq!(transactions[2]["nonce"], "0x2", "a failed transaction has a nonce too");
    assert_eq!(transactions[0]["from"].as_str().map(str::to_lowercase), Some(format!("{ALICE:#x}")));
    assert_eq!(transactions[1]["blockHash"], shown["hash"]);
}

#[test]
fn simulations_are_refused_with_the_codes_of_execution_apis() {
    let one = |calls: Value| json!({"validation": true, "blockStateCalls": [{"calls": calls}]});
    let fees = |mut call: Value| {
        call["maxFeePerGas"] = json!("0x3b9aca00");
        json!([call])
    };
    let state = json!({ALICE.to_string(): {"nonce": "0x5"}});
    let nonce = |n: &str| {
        refused(json!({"validation": true, "blockStateCalls": [{"stateOverrides": state,
            "calls": fees(json!({"from": ALICE, "to": NOBODY, "nonce": n}))}]}))
    };
    assert_eq!(nonce("0x4"), (code::NONCE_TOO_LOW, format!("nonce too low: address {ALICE}, tx: 4 state: 5")));
    assert_eq!(nonce("0x6"), (code::NONCE_TOO_HIGH, format!("nonce too high: address {ALICE}, tx: 6 state: 5")));
    assert_eq!(refused(one(json!([{"from": ALICE, "to": NOBODY}]))).0, code::BASE_FEE_TOO_LOW);
    assert_eq!(refused(one(fees(json!({"from": ALICE, "to": NOBODY, "gas": "0x5207"})))).0, code::INTRINSIC_GAS);
    assert_eq!(refused(one(fees(json!({"from": NOBODY, "to": ALICE})))).0, code::INSUFFICIENT_FUNDS);
    let (number, text) = refused(one(fees(json!({"from": ALICE, "to": ALICE, "gas": "0x5f5e101"}))));
    assert_eq!((number, text.as_str()), (code::BLOCK_GAS_LIMIT, "block gas limit reached: 0 >= 100000000"));
    let unfunded = json!({"blockStateCalls": [{"calls": [{"from": NOBODY, "to": ALICE, "value": "0x1"}]}]});
    assert_eq!(refused(unfunded).0, code::INSUFFICIENT_FUNDS, "value is checked without validation too");

    let blocks = |overrides: Value| json!({"blockStateCalls": overrides});
    let number = |n: u64| json!({"blockOverrides": {"number": U256::from(n)}});
    assert_eq!(refused(blocks(json!([number(2), number(2)]))).0, code::BLOCK_NUMBER);
    assert_eq!(refused(blocks(json!([number(0)]))).0, code::BLOCK_NUMBER);
    let time = json!({"blockOverrides": {"time": U256::from(genesis().timestamp - 1)}});
    assert_eq!(refused(blocks(json!([time]))).0, code::BLOCK_TIME);
    assert_eq!(refused(blocks(json!([number(257)]))), (code::TOO_MANY_BLOCKS, "too many blocks".into()));
    assert_eq!(refused(blocks(json!(vec![json!({}); 257]))).0, code::TOO_MANY_BLOCKS);
    assert_eq!(refused(blocks(json!([number(u64::MAX)]))).0, code::TOO_MANY_BLOCKS);
    assert_eq!(refused(blocks(json!([]))), (RpcError::INVALID_PARAMS, "empty input".into()));
    assert_eq!(simulated(blocks(json!([number(256)])), &[]).expect("just fits").len(), 256);
}

#[test]
fn a_simulation_as_a_whole_has_bounded_gas() {
    let endless = hex!("5b600056");
    let calls = vec![json!({"from": ALICE, "to": at(1), "gas": "0x2faf080"}); 2];
    let error = simulated(json!({"blockStateCalls": [{"calls": calls}]}), &[(at(1), &endless)]).expect_err("too much");
    assert_eq!(
        (error.code, error.message.as_ref()),
        (code::INTRINSIC_GAS, "intrinsic gas too low: have 0, want 21000")
    );
}

#[test]
fn validation_makes_senders_pay_and_the_vault_is_paid() {
    let call = json!({"from": ALICE, "to": at(1), "maxFeePerGas": "0x3b9aca00"});
    let balance = [&[0x73][..], predeploys::BASE_FEE_VAULT.as_slice(), &[0x31]].concat();
    let blocks = simulated(
        json!({"validation": true, "blockStateCalls": [{"calls": [call, call]}]}),
        &[(at(1), &returns(&balance))],
    )
    .expect("it simulates");
    assert_eq!(blocks[0].inner.header.inner.base_fee_per_gas, Some(10_000_000));
    let paid = U256::from_be_slice(&blocks[0].calls[1].return_data);
    assert_eq!(paid, U256::from(blocks[0].calls[0].gas_used) * U256::from(10_000_000));
}

#[test]
fn transfers_show_as_logs_unless_their_frame_fails() {
    // Sends 3 wei to calldata's address, logs (LOG0 of nothing), and reverts where calldata has a second word.
    let sends = hex!("6000600060006000600360003561fffff15060006000a0602035601e57005b600080fd");
    let word = |address: Address| hex::encode(address.into_word());
    let plain = format!("0x{}", word(NOBODY));
    let failing = format!("0x{}{}", word(NOBODY), word(NOBODY));
    let payload = |trace: bool| {
        json!({"traceTransfers": trace, "blockStateCalls": [{"calls": [
            {"from": ALICE, "to": at(1), "value": "0x9", "data": plain},
            {"from": ALICE, "to": at(1), "value": "0x9", "data": failing},
            {"from": ALICE, "to": NOBODY, "value": "0x1"},
        ]}]})
    };
    let blocks = simulated(payload(true), &[(at(1), &sends)]).expect("it simulates");
    let calls = &blocks[0].calls;
    assert_eq!((calls[0].status, calls[1].status, calls[2].status), (true, false, true), "{calls:?}");
    let logs: Vec<_> = calls[0].logs.iter().map(|log| (log.inner.address, log.log_index)).collect();
    assert_eq!(logs, [(ETHER, Some(0)), (ETHER, Some(1)), (at(1), Some(2))], "in order of events");
    let inner = &calls[0].logs[1].inner;
    assert_eq!(inner.topics(), [TRANSFER, at(1).into_word(), NOBODY.into_word()]);
    assert_eq!(U256::from_be_slice(&inner.data.data), U256::from(3));
    assert!(calls[1].logs.is_empty(), "a failed call has no logs");
    assert_eq!((calls[2].logs.len(), calls[2].logs[0].log_index), (1, Some(3)));
    assert_eq!(calls[2].logs[0].block_hash, Some(blocks[0].inner.header.hash));

    let plain = simulated(payload(false), &[(at(1), &sends)]).expect("it simulates");
    assert_eq!(plain[0].calls.iter().map(|call| call.logs.len()).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(plain[0].inner.header.hash, blocks[0].inner.header.hash, "receipts hold real logs only");
}
