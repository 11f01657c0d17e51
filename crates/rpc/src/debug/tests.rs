//! Traces of replayed blocks and of calls.
#![allow(clippy::expect_used)]

use super::{
    trace::{Replay, trace_call},
    tracer::Tracer,
};
use crate::{
    error::RpcError,
    evm::{
        tests::{ALICE, Db, NOBODY, at, db, genesis, rules, soon, stage, tx},
        transaction::unsigned,
    },
    methods::to_json,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Signature, U256, hex};
use alloy_rpc_types_trace::geth::GethTrace;
use jove_primitives::{
    ExecutedBlock,
    block::{L1Prices, RecoveredTransaction},
};
use jove_primitives::{
    l1::{DEPOSITOR, L1Origin},
    predeploys::L1_BLOCK,
    transaction::{TxDeposit, deposit},
};
use jove_stf::{BlockContext, BlockExecutor, next_header, seal};
use revm::context::TxEnv;
use serde_json::{Value, json};

fn tracer(options: Value) -> Tracer {
    Tracer::new(serde_json::from_value(options).expect("options"), soon(), 25 << 20).expect("a tracer")
}

fn shown(trace: &GethTrace) -> Value {
    serde_json::to_value(trace).expect("JSON")
}

/// Seals a block of ALICE's transactions on genesis.
fn block(contracts: &[(Address, &[u8])], transactions: &[Value]) -> ExecutedBlock {
    let transactions: Vec<RecoveredTransaction> = transactions
        .iter()
        .enumerate()
        .map(|(nonce, request)| {
            let (nonce, gas_price) = (nonce as u64, 20_000_000);
            let sent = TxEnv { nonce, gas_price, caller: ALICE, ..tx(request.clone()) };
            let sent = TxEnv { gas_limit: sent.gas_limit.min(1_000_000), ..sent };
            RecoveredTransaction::new_unchecked(unsigned(&sent, Signature::test_signature()), ALICE)
        })
        .collect();
    let context = BlockContext { time_ms: genesis().timestamp * 1000 + 10, mix_source: B256::ZERO, messages: false };
    let header: Header = next_header(&rules(), &genesis(), genesis().hash_slow(), context).expect("a child");
    let mut executor = BlockExecutor::new(&rules(), &header, db(contracts)).expect("infallible");
    for transaction in &transactions {
        executor.execute(transaction).expect("valid");
    }
    let output = executor.finish();
    let header = seal(header, &transactions, &output, genesis().state_root);
    ExecutedBlock {
        hash: header.hash_slow(),
        header,
        transactions,
        receipts: output.receipts,
        l1_fees: output.l1_fees,
        l1_prices: output.l1_prices,
    }
}

fn replay<'a>(block: &'a ExecutedBlock, contracts: &[(Address, &[u8])], options: Value) -> Replay<'a, Db> {
    Replay::new(&rules(), block, db(contracts), tracer(options)).expect("infallible")
}

/// slot 0 += 1, then logs its value.
const COUNTER: &[u8] = &hex!("6000546001018060005560005260206000a000");

fn counted() -> (Vec<(Address, &'static [u8])>, ExecutedBlock) {
    let contracts = vec![(at(1), COUNTER)];
    let requests = [json!({"to": NOBODY, "value": "0x5"}), json!({"to": at(1)}), json!({"to": at(1)})];
    let block = block(&contracts, &requests);
    assert!(block.l1_fees.iter().all(|fee| !fee.is_zero()), "the development chain charges for L1");
    (contracts, block)
}

fn quantity(value: &Value) -> U256 {
    value.as_str().expect("a quantity").parse().expect("a number")
}

fn lower(address: Address) -> String {
    format!("{address:#x}")
}

#[test]
fn a_replay_is_the_block_that_it_was() {
    let (contracts, block) = counted();
    let traces = replay(&block, &contracts, json!({"tracer": "callTracer"})).trace_all().expect("traced");
    assert_eq!(traces.len(), 3);
    for (index, trace) in traces.iter().enumerate() {
        assert_eq!(trace.tx_hash(), Some(*block.transactions[index].tx_hash()));
        let trace = shown(trace.success().expect("a trace"));
        assert_eq!(quantity(&trace["gasUsed"]), U256::from(block.gas_used(index)), "{index}");
    }
    // One by one, from the middle, and all at once are the same.
    let mut one = replay(&block, &contracts, json!({"tracer": "callTracer"}));
    one.run_to(2).expect("replayed");
    assert_eq!(Some(&one.trace_next().expect("traced")), traces[2].success());
    assert_eq!(Some(&one.trace_next().expect("traced")), traces[2].success(), "a trace leaves nothing behind");
    assert!(one.run_to(3).is_ok());
    assert!(one.trace_next().expect_err("no fourth").message.contains("out of range"));
}

#[test]
fn the_prestate_is_that_before_the_transaction_and_diffs_hold_the_l1_fee() {
    let (contracts, block) = counted();
    let trace = |config: Value| {
        let options = json!({"tracer": "prestateTracer", "tracerConfig": config});
        let mut replay = replay(&block, &contracts, options);
        replay.run_to(2).expect("replayed");
        shown(&replay.trace_next().expect("traced"))
    };
    let slot = format!("0x{:064x}", 0);
    let pre = trace(json!({}));
    let counter = &pre[lower(at(1))];
    assert_eq!(counter["storage"][&slot], format!("0x{:064x}", 1), "{pre}");
    assert_eq!(counter["code"], hex::encode_prefixed(COUNTER));
    let before = quantity(&pre[lower(ALICE)]["balance"]);
    assert_eq!(pre[lower(ALICE)]["nonce"], 2);
    assert_eq!(trace(json!({"disableCode": true}))[lower(at(1))].get("code"), None);

    let diff = trace(json!({"diffMode": true}));
    assert_eq!(diff["post"][lower(at(1))]["storage"][&slot], format!("0x{:064x}", 2), "{diff}");
    assert_eq!(diff["pre"][lower(ALICE)]["balance"], format!("{before:#x}"));
    assert_eq!(diff["post"][lower(ALICE)]["nonce"], 3);
    let after = quantity(&diff["post"][lower(ALICE)]["balance"]);
    let gas = U256::from(block.gas_used(2)) * U256::from(10_000_000); // the base fee: no tip
    assert_eq!(before - after, gas + block.l1_fees[2]);
}

fn call(contracts: &[(Address, &[u8])], request: Value, options: Value) -> Result<Value, RpcError> {
    trace_call(&mut stage(contracts), tx(request), tracer(options)).map(|trace| shown(&trace))
}

#[test]
fn struct_logs_have_geths_shape() {
    let request = json!({"from": ALICE, "to": at(1), "gas": "0x186a0"});
    let trace = call(&[(at(1), COUNTER)], request.clone(), json!({})).expect("traced");
    assert_eq!((&trace["failed"], &trace["returnValue"]), (&json!(false), &json!("0x")));
    let logs = trace["structLogs"].as_array().expect("steps");
    assert_eq!(logs[0], json!({"pc": 0, "op": "PUSH1", "gas": 79000, "gasCost": 3, "depth": 1, "stack": []}));
    let slot = |n: u8| format!("0x{n:064x}");
    let expected = json!({
        "pc": 2, "op": "SLOAD", "gas": 78997, "gasCost": 2100, "depth": 1, "stack": ["0x0"],
        "storage": {slot(0): slot(0)},
    });
    assert_eq!(logs[1], expected);
    let sstore = logs.iter().find(|log| log["op"] == "SSTORE").expect("a step");
    assert_eq!(sstore["storage"], json!({slot(0): slot(1)}));
    assert_eq!((&sstore["stack"], &sstore["gasCost"]), (&json!(["0x1", "0x1", "0x0"]), &json!(20_000)));
    assert_eq!(logs.last().expect("a step")["op"], "STOP");
    let ops: Vec<&str> = logs.iter().map(|log| log["op"].as_str().expect("a name")).collect();
    assert_eq!(ops.len(), 13, "{ops:?}");

    let options = json!({"enableMemory": true, "disableStack": true, "disableStorage": true, "limit": 11});
    let trace = call(&[(at(1), COUNTER)], request, options).expect("traced");
    let logs = trace["structLogs"].as_array().expect("steps");
    assert_eq!(logs.len(), 11);
    assert_eq!((logs[1].get("storage"), logs[1].get("stack")), (None, None));
    assert_eq!(logs[10]["memory"], json!([format!("0x{:064x}", 1)]));
}

/// Calls `to` with the data `12345678`, and reverts with what it returned.
fn relay(to: Address) -> Vec<u8> {
    [&hex!("631234567860e01b6000526000600060046000600073")[..], to.as_slice(), &hex!("5af1503d6000803e3d6000fd")]
        .concat()
}

#[test]
fn call_frames_have_geths_shape() {
    let relay = relay(at(1));
    let returning = hex!("602a60005260206000f3");
    let contracts: &[(Address, &[u8])] = &[(at(1), &returning), (at(2), &relay)];
    let request = json!({"from": ALICE, "to": at(2), "gas": "0x186a0"});
    let options = json!({"tracer": "callTracer"});
    let trace = call(contracts, request.clone(), options).expect("traced");
    let answer = format!("0x{:064x}", 42);
    assert_eq!(trace["type"], "CALL");
    assert_eq!((&trace["from"], &trace["to"]), (&json!(lower(ALICE)), &json!(lower(at(2)))));
    assert_eq!((&trace["gas"], &trace["value"], &trace["input"]), (&json!("0x186a0"), &json!("0x0"), &json!("0x")));
    assert_eq!((&trace["error"], &trace["output"]), (&json!("execution reverted"), &json!(answer)));
    let inner = &trace["calls"][0];
    assert_eq!(trace["calls"].as_array().map(Vec::len), Some(1));
    assert_eq!((&inner["from"], &inner["to"]), (&json!(lower(at(2))), &json!(lower(at(1)))));
    assert_eq!((&inner["input"], &inner["output"]), (&json!("0x12345678"), &json!(answer)));
    assert_eq!((inner.get("error"), inner.get("calls")), (None, None));

    let top = call(contracts, request.clone(), json!({"tracer": "callTracer", "tracerConfig": {"onlyTopCall": true}}));
    assert_eq!(top.expect("traced").get("calls"), None);
    let selectors = call(contracts, request.clone(), json!({"tracer": "4byteTracer"})).expect("traced");
    assert_eq!(selectors, json!({"0x12345678-0": 1}));
    assert_eq!(call(contracts, request.clone(), json!({"tracer": "noopTracer"})), Ok(json!({})));
    let both =
        json!({"tracer": "muxTracer", "tracerConfig": {"4byteTracer": null, "callTracer": {"onlyTopCall": true}}});
    let both = call(contracts, request, both).expect("traced");
    assert_eq!(both["4byteTracer"], json!({"0x12345678-0": 1}));
    assert_eq!(both["callTracer"]["type"], "CALL");

    let logs = call(
        &[(at(1), COUNTER)],
        json!({"to": at(1)}),
        json!({"tracer": "callTracer", "tracerConfig": {"withLog": true}}),
    );
    let log = &logs.expect("traced")["logs"][0];
    assert_eq!(
        (&log["address"], &log["topics"], &log["data"]),
        (&json!(lower(at(1))), &json!([]), &json!(format!("0x{:064x}", 1)))
    );
}

#[test]
fn traces_too_large_or_too_long_are_given_up() {
    let endless = hex!("5b600056");
    // sstore(n, n) for n = 1, 2, ...: every step shows all slots so far.
    let stores = hex!("60005b600101808055600256").to_vec();
    let contracts: &[(Address, &[u8])] = &[(at(1), &endless), (at(2), &stores)];
    for (to, options) in [
        (at(1), json!({"timeout": "100s"})),
        (at(1), json!({"timeout": "100s", "disableStack": true, "disableStorage": true})),
        (at(2), json!({"timeout": "100s", "disableStack": true})),
    ] {
        let error = call(contracts, json!({"to": to}), options).expect_err("too large");
        assert_eq!(error.code, RpcError::LIMIT, "{error:?}");
    }
    let limited = call(contracts, json!({"to": at(1)}), json!({"limit": 5})).expect("a limit bounds it");
    assert_eq!(limited["structLogs"].as_array().map(Vec::len), Some(5));
    assert_eq!(limited["failed"], true);
    for tracer in ["callTracer", "noopTracer", "prestateTracer"] {
        let options = json!({"tracer": tracer, "timeout": "1ms"});
        let error = call(contracts, json!({"to": at(1)}), options).expect_err("too long");
        assert_eq!((error.code, error.message.as_ref()), (RpcError::TIMEOUT, "execution timeout"), "{tracer}");
    }
}

#[test]
fn the_code_of_touched_accounts_counts() {
    let large = vec![0; 20_000];
    let mut touching: Vec<u8> = Vec::new();
    let mut contracts: Vec<(Address, &[u8])> = Vec::new();
    for n in 10..40 {
        contracts.push((at(n), &large));
        touching.extend([&[0x73][..], at(n).as_slice(), &[0x31, 0x50]].concat());
    }
    contracts.push((at(1), &touching));
    let trace = |max_bytes: usize, options: Value| {
        let options = serde_json::from_value(options).expect("options");
        let tracer = Tracer::new(options, soon(), max_bytes).expect("a tracer");
        trace_call(&mut stage(&contracts), tx(json!({"to": at(1)})), tracer)
    };
    let with_code = json!({"tracer": "prestateTracer"});
    assert_eq!(trace(1_000_000, with_code.clone()).expect_err("too large").code, RpcError::LIMIT);
    assert!(trace(2_000_000, with_code).is_ok());
    let without = json!({"tracer": "prestateTracer", "tracerConfig": {"disableCode": true}});
    assert!(trace(1_000_000, without).is_ok());
}

#[test]
fn a_call_can_be_traced_inside_a_block() {
    let (contracts, block) = counted();
    let options = json!({"tracer": "prestateTracer"});
    for (index, value) in [(0, 0), (1, 0), (2, 1), (3, 2)] {
        let mut replay = replay(&block, &contracts, json!({}));
        replay.run_to(index).expect("replayed");
        let mut stage = crate::evm::stage::Stage::new(&rules(), &block.header, replay.state());
        let trace = trace_call(&mut stage, tx(json!({"to": at(1)})), tracer(options.clone())).expect("traced");
        let slot = format!("0x{:064x}", 0);
        assert_eq!(shown(&trace)[lower(at(1))]["storage"][&slot], format!("0x{value:064x}"), "{index}");
    }
    let mut replay = replay(&block, &contracts, json!({}));
    assert!(replay.run_to(4).expect_err("out of range").message.contains("out of range"));
}

#[test]
fn the_deepest_call_tree_fits_the_stack_of_a_thread() {
    // Calls itself with all the gas there is.
    let recursion = hex!("60006000600060006000305af1").to_vec();
    let contracts: &[(Address, &[u8])] = &[(at(1), &recursion)];
    let tracer = tracer(json!({"tracer": "callTracer"}));
    let trace = trace_call(&mut stage(contracts), tx(json!({"to": at(1)})), tracer).expect("traced");
    let json = to_json(&trace, 25 << 20).expect("it serializes");
    let depth = json.windows(9).filter(|window| window == b"\"calls\":[").count();
    assert!(depth > 400, "{depth}");
}

#[test]
fn l1_prices_are_those_of_the_block() {
    let (_, block) = counted();
    assert_ne!(block.l1_prices, L1Prices::default());
}

#[test]
fn messages_from_l1_are_traced_as_they_ran() {
    let origin = L1Origin { number: 1, timestamp: genesis().timestamp, messages: 3, ..Default::default() };
    let message = |to: Address, gas_limit: u64| TxDeposit {
        from: NOBODY,
        to: to.into(),
        mint: 9,
        value: U256::from(9),
        gas_limit,
        ..Default::default()
    };
    // Nobody but a message may send as a contract, or pay no fee.
    let contracts: Vec<(Address, &[u8])> = vec![(at(1), COUNTER), (NOBODY, &[0x00])];
    let messages = [origin.attributes(1), message(at(1), 100_000), message(at(1), 20_000), message(at(2), 30_000)];
    let transactions: Vec<RecoveredTransaction> = messages.into_iter().map(deposit).collect();
    let mix_source = rules().mix_source(origin.mix_hash);
    let context = BlockContext { time_ms: genesis().timestamp * 1000 + 10, mix_source, messages: true };
    let header: Header = next_header(&rules(), &genesis(), genesis().hash_slow(), context).expect("a child");
    let mut executor = BlockExecutor::new(&rules(), &header, db(&contracts)).expect("infallible");
    for transaction in &transactions {
        executor.execute(transaction).expect("it has its place");
    }
    let output = executor.finish();
    let header = seal(header, &transactions, &output, genesis().state_root);
    let block = ExecutedBlock {
        hash: header.hash_slow(),
        header,
        transactions,
        receipts: output.receipts,
        l1_fees: output.l1_fees,
        l1_prices: output.l1_prices,
    };
    let traces = replay(&block, &contracts, json!({"tracer": "callTracer"})).trace_all().expect("traced");
    let traces = serde_json::to_value(traces).expect("JSON");
    let attributes = &traces[0]["result"];
    assert_eq!((&attributes["from"], &attributes["to"]), (&json!(DEPOSITOR), &json!(L1_BLOCK)));
    assert_eq!(attributes["error"], Value::Null, "{attributes}");
    let counted = &traces[1]["result"];
    assert_eq!((&counted["value"], &counted["error"]), (&json!("0x9"), &Value::Null));
    assert_eq!(counted["gasUsed"], json!(U256::from(block.gas_used(1))));
    assert!(traces[2]["error"].is_string(), "{}", traces[2]);
    assert_eq!(traces[3]["result"]["error"], Value::Null, "{}", traces[3]);
}
