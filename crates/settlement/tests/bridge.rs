//! Withdrawals on their way, and wallets, against nodes that say whatever a test wants.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolError};
use axum::{Router, routing::post};
use jove_primitives::{spec::Settlement, transaction::SignedTransaction};
use jove_settlement::{
    Error, Key, L1, L1Config, Wallet,
    bridge::{Crossing, Withdrawal, outbox_root},
    contracts::{Inbox, MessageStatus, Outbox, Rollup, message_leaf},
    outbox::FinalRoots,
    wallet::Call,
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

type Answer = Arc<dyn Fn(&str, &Value) -> Result<Value, Value> + Send + Sync>;

/// A node that answers by a function of method and parameters.
async fn node(answer: impl Fn(&str, &Value) -> Result<Value, Value> + Send + Sync + 'static) -> L1 {
    let answer: Answer = Arc::new(answer);
    let handler = move |body: String| async move {
        let question: Value = serde_json::from_str(&body).expect("JSON");
        let mut reply = json!({ "jsonrpc": "2.0", "id": question["id"] });
        match answer(question["method"].as_str().expect("a method"), &question["params"]) {
            Ok(result) => reply["result"] = result,
            Err(error) => reply["error"] = error,
        }
        reply.to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    let config = L1Config { retries: 0, timeout: Duration::from_secs(60), ..L1Config::default() };
    L1::with_config(&format!("http://{address}"), config).expect("a URL")
}

fn message() -> Outbox::Message {
    Outbox::Message {
        nonce: 5,
        sender: Address::repeat_byte(1),
        target: Address::repeat_byte(2),
        value: U256::from(3),
        gas: 4,
        data: Bytes::new(),
    }
}

/// What the L1 of a test says.
#[derive(Clone, Copy)]
struct Said {
    status: MessageStatus,
    is_final: bool,
    is_kept: bool,
}

/// What the L2 node says of the batch with this outbox root.
fn batch(outbox_root: B256) -> Value {
    let [last_block_hash, state_root] = [4, 5].map(B256::repeat_byte);
    json!({ "index": 3, "lastBlockHash": last_block_hash, "stateRoot": state_root, "outboxRoot": outbox_root })
}

/// A chain whose L2 node gives `proof`.
async fn crossing(said: Said, proof: Value) -> Crossing {
    let settlement =
        Settlement { outbox: Address::repeat_byte(7), rollup: Address::repeat_byte(8), ..Default::default() };
    let l1 = node(move |method, params| {
        assert_eq!(method, "eth_call");
        let input: Bytes = serde_json::from_value(params[0]["input"].clone()).expect("input");
        let word = match input[..4].try_into().expect("a selector") {
            Outbox::statusCall::SELECTOR => said.status as u64,
            Rollup::isFinalCall::SELECTOR => {
                let Rollup::isFinalCall { index, lastBlockHash, stateRoot, .. } =
                    Rollup::isFinalCall::abi_decode(&input).expect("the call");
                assert_eq!((index, lastBlockHash, stateRoot), (3, B256::repeat_byte(4), B256::repeat_byte(5)));
                said.is_final.into()
            }
            Outbox::keptCall::SELECTOR => said.is_kept.into(),
            _ => panic!("another call"),
        };
        Ok(json!(B256::from(U256::from(word))))
    });
    let l2 = node(move |method, params| {
        assert_eq!((method, params), ("jove_getWithdrawalProof", &json!([B256::repeat_byte(9), "0x1"])));
        Ok(proof.clone())
    });
    Crossing { l1: l1.await, l2: l2.await, settlement }
}

#[tokio::test]
async fn a_withdrawal_is_as_l1_says() {
    let (message, hash) = (message(), B256::repeat_byte(9));
    let siblings: [B256; 32] = std::array::from_fn(|level| keccak256([level as u8]));
    let root = outbox_root(message_leaf(&message), message.nonce, &siblings);
    let proof = json!({ "final": batch(root), "proof": siblings, "status": "final", "batch": 1 });
    let none = json!({ "final": null, "proof": null, "status": "committed", "batch": 1 });
    let open = Said { status: MessageStatus::None, is_final: true, is_kept: false };
    let ask = async |said: Said, proof: &Value| crossing(said, proof.clone()).await.withdrawal(hash, 1, &message).await;

    match ask(open, &proof).await.expect("answered") {
        Withdrawal::Ready(proven) => {
            assert_eq!((json!(proven.batch), proven.siblings), (batch(root), siblings));
            let [last_block, state] = [4, 5].map(B256::repeat_byte);
            let expected = Outbox::Final { index: 3, lastBlockHash: last_block, stateRoot: state, outboxRoot: root };
            let call = Outbox::executeCall::abi_decode(&proven.call_data()).expect("the call");
            assert_eq!((call.message, call.batch, call.proof), (message.clone(), expected, siblings));
        }
        other => panic!("{other:?}"),
    }
    let passed = Said { is_final: false, ..open };
    assert_eq!(ask(passed, &proof).await.expect("answered"), Withdrawal::Behind { index: 3 }, "not that it waits");
    let kept = Said { is_kept: true, ..passed };
    assert!(matches!(ask(kept, &proof).await.expect("answered"), Withdrawal::Ready(_)), "its root is taken for good");
    assert_eq!(ask(open, &none).await.expect("answered"), Withdrawal::Waiting);
    assert_eq!(ask(open, &Value::Null).await.expect("answered"), Withdrawal::Waiting);
    let failed = Said { status: MessageStatus::Failed, ..open };
    assert_eq!(ask(failed, &none).await.expect("answered"), Withdrawal::CallFailed);
    let executed = Said { status: MessageStatus::Executed, ..open };
    assert_eq!(ask(executed, &none).await.expect("answered"), Withdrawal::Executed);

    // A node that lies: another root, a proof that is too short, one of another message.
    let mut other = siblings;
    other[31] = B256::ZERO;
    for lie in [
        json!({ "final": batch(B256::ZERO), "proof": siblings }),
        json!({ "final": batch(root), "proof": siblings[..31] }),
        json!({ "final": batch(root), "proof": other }),
    ] {
        assert!(matches!(ask(open, &lie).await, Err(Error::Proof { nonce: 5 })), "{lie}");
    }
    let torn = json!({ "final": { "index": 3, "outboxRoot": root }, "proof": siblings });
    assert!(matches!(ask(open, &torn).await, Err(Error::Malformed { .. })));
}

/// A chain for a wallet: takes transactions, loses or refuses them as it is told.
#[derive(Default)]
struct Chain {
    sent: Vec<Bytes>,
}

fn key() -> Key {
    Key::new(B256::repeat_byte(1)).expect("valid")
}

fn call() -> Call {
    Call { what: "poke".into(), to: Address::repeat_byte(2), value: U256::ZERO, data: Bytes::new() }
}

/// A wallet on a chain where `eth_estimateGas`, `eth_sendRawTransaction` and receipts' status are the test's.
async fn wallet(
    estimate: Result<Value, Value>,
    refusal: Option<Value>,
    known: bool,
    status: &'static str,
) -> (Wallet, Arc<Mutex<Chain>>) {
    let chain = Arc::new(Mutex::new(Chain::default()));
    let kept = chain.clone();
    let l1 = node(move |method, params| {
        let header: alloy_rpc_types_eth::Header<alloy_consensus::Header> =
            alloy_rpc_types_eth::Header::new(alloy_consensus::Header {
                base_fee_per_gas: Some(7),
                ..Default::default()
            });
        match method {
            "eth_chainId" => Ok(json!("0x384")),
            "eth_getBlockByNumber" => {
                let mut block = serde_json::to_value(&header).expect("JSON");
                (block["transactions"], block["uncles"]) = (json!([]), json!([]));
                Ok(block)
            }
            "eth_maxPriorityFeePerGas" => Err(json!({ "code": -32601, "message": "no such method" })),
            "eth_getTransactionCount" => Ok(json!("0x9")),
            "eth_estimateGas" => estimate.clone(),
            "eth_sendRawTransaction" => {
                let raw: Bytes = serde_json::from_value(params[0].clone()).expect("bytes");
                let hash = keccak256(&raw);
                kept.lock().expect("not poisoned").sent.push(raw);
                refusal.clone().map_or_else(|| Ok(json!(hash)), Err)
            }
            "eth_getTransactionByHash" => Ok(if known { json!({ "hash": params[0] }) } else { Value::Null }),
            "eth_getTransactionReceipt" => Ok(json!({
                "transactionHash": params[0], "status": status, "blockNumber": "0x1", "gasUsed": "0x5208", "logs": [],
            })),
            other => panic!("{other}"),
        }
    });
    (Wallet::new(l1.await, key()).await.expect("a wallet"), chain)
}

#[tokio::test]
async fn a_wallet_sends_in_order_and_waits() {
    let (wallet, chain) = wallet(Ok(json!("0x5208")), None, false, "0x1").await;
    let mut heard = Vec::new();
    let receipts = wallet.send(&[call(), call()], |_, hash| heard.push(hash)).await.expect("sent");
    let hashes: Vec<B256> = chain.lock().expect("not poisoned").sent.iter().map(keccak256).collect();
    assert_eq!(heard, hashes);
    assert_eq!(receipts.iter().map(|receipt| receipt.transaction_hash).collect::<Vec<_>>(), hashes);
    assert_ne!(hashes[0], hashes[1], "each has a nonce of its own");
}

#[tokio::test]
async fn what_would_fail_is_not_sent_and_is_named() {
    let data = Bytes::from(Inbox::InvalidGas { gas: 1, least: U256::from(21_000) }.abi_encode());
    let revert = json!({ "code": 3, "message": "execution reverted", "data": data });
    let (wallet, chain) = wallet(Err(revert), None, false, "0x1").await;
    let error = wallet.send(&[call()], |_, _| {}).await.expect_err("refused").to_string();
    assert!(error.contains("poke would fail: InvalidGas") && error.contains("21000"), "{error}");
    assert!(chain.lock().expect("not poisoned").sent.is_empty());
}

#[tokio::test]
async fn a_transaction_that_the_node_has_already_is_sent() {
    let already = json!({ "code": -32000, "message": "already known" });
    let (known, _) = wallet(Ok(json!("0x5208")), Some(already.clone()), true, "0x1").await;
    known.send(&[call()], |_, _| {}).await.expect("it is there");
    let (unknown, _) = wallet(Ok(json!("0x5208")), Some(already), false, "0x1").await;
    let error = unknown.send(&[call()], |_, _| {}).await.expect_err("it is not").to_string();
    assert!(error.contains("already known"), "{error}");
    let (failed, _) = wallet(Ok(json!("0x5208")), None, false, "0x0").await;
    let error = failed.send(&[call()], |_, _| {}).await.expect_err("it failed").to_string();
    assert!(error.contains("poke failed in transaction"), "{error}");
}

#[tokio::test]
async fn a_root_is_kept_once() {
    let said = Said { status: MessageStatus::None, is_final: true, is_kept: false };
    let batch: FinalRoots = serde_json::from_value(batch(B256::repeat_byte(6))).expect("a batch");
    let (wallet, node) = wallet(Ok(json!("0x5208")), None, false, "0x1").await;
    let kept = crossing(Said { is_kept: true, ..said }, Value::Null).await;
    assert!(!kept.keep(&wallet, batch, |_, _| {}).await.expect("it is"));
    assert!(node.lock().expect("not poisoned").sent.is_empty());
    let passes = crossing(said, Value::Null).await;
    assert!(passes.keep(&wallet, batch, |_, _| {}).await.expect("sent"));
    let sent = node.lock().expect("not poisoned").sent.clone();
    assert_eq!(sent.len(), 1);
    let transaction = SignedTransaction::decode_2718_exact(&sent[0]).expect("a transaction");
    assert_eq!(transaction.to(), Some(passes.settlement.outbox));
    let call = Outbox::keepCall::abi_decode(transaction.input()).expect("the call");
    assert_eq!(call.batch, Outbox::Final::from(batch));
}
