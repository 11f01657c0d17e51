//! Calls, estimates, simulations and traces over HTTP, on a running development node.
#![allow(clippy::expect_used)]

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use jove_primitives::ChainSpec;
use jove_rpc::{Server, ServerConfig};
use jove_sequencer::{L1Config, Node, NodeConfig, PoolConfig};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const ALICE: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
/// slot 0 += 1, logs the value and returns it.
const COUNTER: &[u8] = &hex!("6000546001018060005560005260206000a060206000f3");

struct Chain {
    client: reqwest::Client,
    url: String,
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

impl Chain {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = NodeConfig {
            datadir: folder.path().join("data"),
            spec: ChainSpec::dev(),
            block_time: Duration::from_millis(10),
            heartbeat: Duration::ZERO,
            sync: false,
            sequencing: true,
            elected: false,
            dev: true,
            pool: PoolConfig { journal: None, ..Default::default() },
            history: None,
            proof_window: Duration::from_secs(600),
            l1: L1Config::default(),
        };
        let node = Node::start(config).expect("the node starts");
        let config = ServerConfig { http_addr: SocketAddr::from(([127, 0, 0, 1], 0)), ..Default::default() };
        let server = Server::start(node, config, Vec::new(), axum::Router::new()).expect("the server starts");
        let url = format!("http://{}", server.local_addr());
        // reqwest has no cryptography of its own, and is built with TLS in this workspace.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { client: reqwest::Client::new(), url, server: Some(server), _folder: folder }
    }

    async fn answer(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let text = request.send().await.expect("an answer").text().await.expect("text");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params.clone()).await;
        assert_eq!(answer.get("error"), None, "{method} {params}");
        answer["result"].clone()
    }

    async fn fail(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.answer(method, params.clone()).await;
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} {params} succeeds: {answer}"));
        (error["code"].as_i64().expect("a code"), error["message"].as_str().expect("a message").to_owned())
    }

    /// Sends from ALICE and waits for the receipt.
    async fn send(&self, mut request: Value) -> Value {
        request["from"] = json!(ALICE);
        let hash = self.ask("eth_sendTransaction", json!([request])).await;
        let started = Instant::now();
        loop {
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{request} is never included");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Deploys `code` and gives its address.
    async fn deploy(&self, code: &[u8]) -> Value {
        let len = code.len() as u8;
        let init = [&[0x60, len, 0x60, 12, 0x60, 0, 0x39, 0x60, len, 0x60, 0, 0xf3], code].concat();
        let receipt = self.send(json!({"data": hex::encode_prefixed(init)})).await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt["contractAddress"].clone()
    }
}

fn word(n: u64) -> String {
    format!("0x{n:064x}")
}

fn bytes(value: &Value) -> Bytes {
    serde_json::from_value(value.clone()).expect("bytes")
}

fn number(value: &Value) -> U256 {
    serde_json::from_value(value.clone()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_see_the_chain_as_it_was_and_is() {
    let mut chain = Chain::start();
    let counter = chain.deploy(COUNTER).await;
    let request = json!({"from": ALICE, "to": counter});
    let block = chain.send(json!({"to": counter, "gas": "0x186a0"})).await["blockNumber"].clone();

    assert_eq!(chain.ask("eth_call", json!([request])).await, word(2));
    assert_eq!(chain.ask("eth_call", json!([request, "pending"])).await, word(2));
    assert_eq!(chain.ask("eth_call", json!([request, block])).await, word(2));
    let before = number(&block) - U256::from(1);
    assert_eq!(chain.ask("eth_call", json!([request, before])).await, word(1), "history");
    assert_eq!(chain.ask("eth_call", json!([request, "earliest"])).await, "0x", "no code yet");
    let overrides = json!({counter.as_str().expect("an address"): {"stateDiff": {word(0): word(40)}}});
    assert_eq!(chain.ask("eth_call", json!([request, "latest", overrides])).await, word(41));
    assert_eq!(chain.ask("eth_call", json!([request, "latest", null, {"number": "0x1"}])).await, word(2));
    assert_eq!(chain.fail("eth_call", json!([request, "0xffffff"])).await, (-32000, "header not found".into()));
    assert_eq!(chain.fail("eth_call", json!([])).await.0, -32602);
    assert_eq!(chain.fail("eth_call", json!([{"to": counter, "data": "0x01", "input": "0x02"}])).await.0, -32602);

    // What is estimated suffices, now and with a price.
    let gas = chain.ask("eth_estimateGas", json!([request])).await;
    let priced = json!({"from": ALICE, "to": counter, "maxFeePerGas": "0x3b9aca00"});
    assert_eq!(chain.ask("eth_estimateGas", json!([priced])).await, gas);
    let receipt = chain.send(json!({"to": counter, "gas": gas})).await;
    assert_eq!(receipt["status"], "0x1");
    let list = chain.ask("eth_createAccessList", json!([request])).await;
    assert_eq!(list["accessList"][0]["storageKeys"], json!([word(0)]), "{list}");

    let payload = json!({"blockStateCalls": [{"calls": [request, request]}, {"calls": [request]}]});
    let blocks = chain.ask("eth_simulateV1", json!([payload, "latest"])).await;
    assert_eq!(blocks[1]["calls"][0]["returnData"], word(5), "{blocks}");
    let head = chain.ask("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!((&blocks[0]["parentHash"], &blocks[1]["parentHash"]), (&head["hash"], &blocks[0]["hash"]));
    if let Some(server) = chain.server.take() {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_transactions_trace_as_they_ran() {
    let chain = Chain::start();
    let counter = chain.deploy(COUNTER).await;
    let mut receipts = Vec::new();
    for _ in 0..3 {
        receipts.push(chain.send(json!({"to": counter, "gas": "0x186a0"})).await);
    }
    for (index, receipt) in receipts.iter().enumerate() {
        let hash = &receipt["transactionHash"];
        let calls = chain.ask("debug_traceTransaction", json!([hash, {"tracer": "callTracer"}])).await;
        assert_eq!(calls["gasUsed"], receipt["gasUsed"]);
        assert_eq!((&calls["to"], &calls["output"]), (&counter, &json!(word(index as u64 + 1))));
        let steps = chain.ask("debug_traceTransaction", json!([hash])).await;
        assert_eq!(U256::from(steps["gas"].as_u64().expect("gas")), number(&receipt["gasUsed"]));
        assert_eq!((&steps["failed"], &steps["returnValue"]), (&json!(false), &json!(word(index as u64 + 1))));

        let options = json!({"tracer": "prestateTracer", "tracerConfig": {"diffMode": true}});
        let diff = chain.ask("debug_traceTransaction", json!([hash, options])).await;
        let balance = |side: &str| number(&diff[side][ALICE]["balance"]);
        let gas = number(&receipt["gasUsed"]) * number(&receipt["effectiveGasPrice"]);
        assert_eq!(balance("pre") - balance("post"), gas + number(&receipt["l1Fee"]), "{diff}");
        let after = chain.ask("eth_getBalance", json!([ALICE, receipt["blockNumber"]])).await;
        assert_eq!(balance("post"), number(&after), "no other transaction of hers is in the block");

        for (method, id) in
            [("debug_traceBlockByNumber", &receipt["blockNumber"]), ("debug_traceBlockByHash", &receipt["blockHash"])]
        {
            let traces = chain.ask(method, json!([id, {"tracer": "callTracer"}])).await;
            let position = number(&receipt["transactionIndex"]).to::<usize>();
            assert_eq!(traces[position], json!({"txHash": hash, "result": calls}));
        }
    }
    let call = json!({"to": counter});
    let traced = chain.ask("debug_traceCall", json!([call, "latest", {"tracer": "callTracer"}])).await;
    assert_eq!(traced["output"], word(4));
    let inside = json!({"tracer": "callTracer", "txIndex": receipts[1]["transactionIndex"]});
    let traced = chain.ask("debug_traceCall", json!([call, receipts[1]["blockNumber"], inside])).await;
    assert_eq!(traced["output"], word(2), "before the second");

    let unknown = json!([B256::ZERO]);
    assert_eq!(chain.fail("debug_traceTransaction", unknown).await, (-32000, "transaction not found".into()));
    assert_eq!(
        chain.fail("debug_traceBlockByNumber", json!(["0x0"])).await,
        (-32000, "genesis is not traceable".into())
    );
    assert_eq!(chain.fail("debug_traceBlockByNumber", json!(["0xffffff"])).await.0, -32000);
    let script = json!([receipts[0]["transactionHash"], {"tracer": "{step: function() {}}"}]);
    assert_eq!(chain.fail("debug_traceTransaction", script).await.0, -32602);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_encodings_hash_to_what_the_chain_says() {
    let chain = Chain::start();
    let counter = chain.deploy(COUNTER).await;
    let receipt = chain.send(json!({"to": counter, "gas": "0x186a0"})).await;
    let (number, hash) = (&receipt["blockNumber"], &receipt["blockHash"]);
    let header = bytes(&chain.ask("debug_getRawHeader", json!([number])).await);
    assert_eq!(json!(keccak256(&header)), *hash);
    let block = bytes(&chain.ask("debug_getRawBlock", json!([hash])).await);
    let block: jove_primitives::Block = alloy_rlp::Decodable::decode(&mut &block[..]).expect("a block");
    assert_eq!(json!(block.header.hash_slow()), *hash);
    let transaction = bytes(&chain.ask("debug_getRawTransaction", json!([receipt["transactionHash"]])).await);
    assert_eq!(json!(keccak256(&transaction)), receipt["transactionHash"]);
    assert_eq!(chain.ask("debug_getRawTransaction", json!([B256::ZERO])).await, "0x");
    let receipts = chain.ask("debug_getRawReceipts", json!([number])).await;
    assert_eq!(receipts.as_array().map(Vec::len), Some(block.body.transactions.len()));
    let encoded: Vec<Bytes> = serde_json::from_value(receipts).expect("receipts");
    let root = alloy_consensus::proofs::ordered_trie_root_with_encoder(&encoded, |receipt, out| {
        out.extend_from_slice(receipt)
    });
    assert_eq!(root, block.header.receipts_root);
    assert_eq!(chain.fail("debug_getRawHeader", json!(["0xffffff"])).await.0, -32000);
    let _: Address = serde_json::from_value(counter).expect("an address");
}

/// Stores a word in a new slot, once a second.
const EACH_SECOND: &[u8] = &hex!("5f544214600e57425f5560014255" "5b00");

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_suffices_when_time_has_passed() {
    let chain = Chain::start();
    let contract = chain.deploy(EACH_SECOND).await;
    let first = chain.send(json!({"to": contract, "gas": "0x30d40"})).await;
    assert_eq!(first["status"], "0x1");
    for tag in [json!(null), json!("latest"), json!("pending")] {
        let estimate = chain.ask("eth_estimateGas", json!([{"to": contract}, tag])).await;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let sent = chain.send(json!({"to": contract, "gas": estimate})).await;
        assert_eq!(sent["status"], "0x1", "{tag}");
        assert!(number(&sent["gasUsed"]) > U256::from(40_000), "it stored");
    }
}
