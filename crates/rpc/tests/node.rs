//! The server over a real node: what callers see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use alloy_primitives::{Address, B256, U256, address};
use futures_util::{SinkExt, StreamExt};
use jove_primitives::ChainSpec;
use jove_rpc::{Server, ServerConfig};
use jove_sequencer::{L1Config, Node, NodeConfig, PoolConfig};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

/// Only a hang is as long.
const LONG: Duration = Duration::from_secs(120);
const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const BOB: Address = address!("00000000000000000000000000000000000b0b00");
/// Init code that emits a log of 42 with topic 0xaa, and leaves no code.
const EMITTER: &str = "0x602a60005260aa60206000a100";

struct Chain {
    node: Arc<Node>,
    server: Server,
    http: reqwest::Client,
    directory: tempfile::TempDir,
}

fn config(datadir: &Path, dev: bool) -> NodeConfig {
    NodeConfig {
        datadir: datadir.to_owned(),
        spec: ChainSpec::dev(),
        block_time: Duration::from_millis(10),
        heartbeat: Duration::ZERO,
        sync: false,
        sequencing: true,
        elected: false,
        dev,
        pool: PoolConfig { journal: None, ..Default::default() },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    }
}

/// reqwest has no cryptography of its own, and is built with TLS in this workspace.
fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Chain {
    async fn start(dev: bool) -> Self {
        Self::start_with(dev, ServerConfig::default()).await
    }

    async fn start_with(dev: bool, server: ServerConfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let node = Node::start(config(directory.path(), dev)).expect("the node starts");
        let config = ServerConfig {
            http_addr: ([127, 0, 0, 1], 0).into(),
            ipc_path: Some(directory.path().join("jove.ipc")),
            ..server
        };
        let server = Server::start(node.clone(), config, Vec::new(), axum::Router::new()).expect("the server starts");
        Self { node, server, http: http(), directory }
    }

    async fn post(&self, body: Value) -> Value {
        let url = format!("http://{}/", self.server.local_addr());
        let response = self.http.post(url).json(&body).send().await.expect("answered");
        response.json().await.expect("JSON")
    }

    /// The result, or the error's code, message and data.
    async fn ask(&self, method: &str, params: Value) -> Result<Value, (i64, String, Value)> {
        let answer = self.post(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await;
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err((
                error["code"].as_i64().expect("a code"),
                error["message"].as_str().expect("a message").to_owned(),
                error["data"].clone(),
            )),
        }
    }

    async fn get(&self, method: &str, params: Value) -> Value {
        self.ask(method, params).await.unwrap_or_else(|error| panic!("{method}: {error:?}"))
    }

    async fn refused(&self, method: &str, params: Value) -> (i64, String) {
        let (code, message, _) = self.ask(method, params).await.expect_err("refused");
        (code, message)
    }

    /// Sends from an account of the node; the hash.
    async fn send(&self, transaction: Value) -> Value {
        self.get("eth_sendTransaction", json!([transaction])).await
    }

    /// The receipt, once there is one.
    async fn receipt(&self, hash: &Value) -> Value {
        let start = Instant::now();
        loop {
            let receipt = self.get("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            assert!(start.elapsed() < LONG, "no receipt of {hash}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A signed transfer from Alice.
    async fn signed(&self, nonce: u64) -> Value {
        let transaction =
            json!({"from": ALICE, "to": BOB, "value": "0x1", "nonce": format!("{nonce:#x}"), "gas": "0x5208"});
        self.get("eth_signTransaction", json!([transaction])).await
    }

    async fn socket(&self) -> Socket {
        let url = format!("ws://{}/", self.server.local_addr());
        Socket(tokio_tungstenite::connect_async(url).await.expect("open").0)
    }

    async fn stop(self) -> tempfile::TempDir {
        self.server.stop().await;
        let node = self.node;
        tokio::task::spawn_blocking(move || node.stop()).await.expect("it stops");
        self.directory
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(LONG, self.0.next()).await.expect("in time");
            if let Message::Text(text) = message.expect("open").expect("a message") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        self.0.send(Message::text(call.to_string())).await.expect("sent");
        self.next().await
    }

    /// The next notification of a subscription.
    async fn notified(&mut self, subscription: &Value) -> Value {
        loop {
            let message = self.next().await;
            if message["method"] == "eth_subscription" && &message["params"]["subscription"] == subscription {
                return message["params"]["result"].clone();
            }
        }
    }
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("a quantity, not {value}"));
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a quantity")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_chain_presents_itself() {
    let chain = Chain::start(true).await;
    assert_eq!(chain.get("eth_chainId", json!([])).await, "0x1633");
    assert_eq!(chain.get("net_version", json!([])).await, "5683");
    assert_eq!(chain.get("eth_blockNumber", json!([])).await, "0x0");
    assert_eq!(chain.get("eth_syncing", json!([])).await, false);
    assert_eq!(chain.get("eth_accounts", json!([])).await.as_array().map(Vec::len), Some(10));
    assert!(chain.get("web3_clientVersion", json!([])).await.as_str().expect("text").starts_with("anvil/jove-v"));
    assert_eq!(
        chain.get("web3_sha3", json!(["0x"])).await,
        "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    );
    assert_eq!(chain.get("eth_blobBaseFee", json!([])).await, "0x1");
    let price = number(&chain.get("eth_gasPrice", json!([])).await);
    assert_eq!(price, 10_000_000 * 6 / 5 + 1_000_000, "the floor, a fifth, and a tip");
    let history = chain.get("eth_feeHistory", json!(["0x5", "latest", [10, 90]])).await;
    assert_eq!(history["oldestBlock"], "0x0");
    assert_eq!(history["baseFeePerGas"], json!(["0x989680", "0x989680"]));
    assert_eq!(history["reward"], json!([["0x0", "0x0"]]));
    let modules = chain.get("rpc_modules", json!([])).await;
    assert!(["eth", "net", "web3", "txpool", "evm"].iter().all(|name| modules[name] == "1.0"), "{modules}");
    assert_eq!(chain.get("eth_config", json!([])).await["current"]["chainId"], "0x1633");
    assert_eq!(chain.refused("eth_nothing", json!([])).await.0, -32601);
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_named_by_tag_number_and_hash() {
    let chain = Chain::start(true).await;
    let genesis = chain.get("eth_getBlockByNumber", json!(["earliest", false])).await;
    for tag in ["safe", "finalized", "latest", "0x0"] {
        assert_eq!(chain.get("eth_getBlockByNumber", json!([tag, false])).await, genesis, "{tag}");
    }
    assert_eq!(chain.get("eth_getBlockByHash", json!([genesis["hash"], true])).await["number"], "0x0");
    let pending = chain.get("eth_getBlockByNumber", json!(["pending", true])).await;
    assert_eq!((&pending["number"], &pending["transactions"]), (&json!("0x1"), &json!([])));
    assert_eq!(pending["parentHash"], genesis["hash"]);
    for member in ["hash", "nonce", "miner"] {
        assert_eq!(pending.get(member), Some(&Value::Null), "{member} of the pending block");
        assert!(genesis[member].is_string(), "{member}");
    }
    assert_eq!(chain.get("eth_getBlockReceipts", json!(["pending"])).await, json!([]));
    assert_eq!(chain.get("eth_getHeaderByNumber", json!(["pending"])).await, Value::Null);
    assert_eq!(chain.get("eth_getBlockByNumber", json!(["0x99", false])).await, Value::Null);
    assert_eq!(chain.get("eth_getBlockByHash", json!([B256::ZERO, false])).await, Value::Null);
    assert_eq!(chain.get("eth_getBlockReceipts", json!(["latest"])).await, json!([]));
    assert_eq!(chain.get("eth_getUncleCountByBlockNumber", json!(["latest"])).await, "0x0");
    assert_eq!(chain.get("eth_getBlockTransactionCountByHash", json!([B256::ZERO])).await, Value::Null);
    let header = chain.get("eth_getHeaderByNumber", json!(["latest"])).await;
    assert_eq!((&header["hash"], header.get("transactions")), (&genesis["hash"], None));

    let ether = "0x21e19e0c9bab2400000";
    for block in [
        json!("latest"),
        json!("pending"),
        json!("0x0"),
        json!({"blockNumber": "0x0"}),
        json!({"blockHash": genesis["hash"], "requireCanonical": true}),
    ] {
        assert_eq!(chain.get("eth_getBalance", json!([ALICE, block])).await, ether, "{block}");
    }
    assert_eq!(chain.get("eth_getBalance", json!([ALICE])).await, ether);
    for method in ["eth_getBalance", "eth_getCode", "eth_getTransactionCount"] {
        let beyond = chain.refused(method, json!([ALICE, "0x99"])).await;
        assert_eq!(beyond, (-32000, "header not found".into()), "{method}");
        let unknown = chain.refused(method, json!([ALICE, {"blockHash": B256::ZERO}])).await;
        assert_eq!(unknown, (-32001, "header for hash not found".into()), "{method}");
    }
    assert_eq!(chain.refused("eth_getProof", json!([ALICE, [], "0x99"])).await.0, -32000);
    for params in [
        json!([]),
        json!(["0x12"]),
        json!([ALICE, "newest"]),
        json!([ALICE, "latest", 1]),
        json!([ALICE, {"blockHash": 1}]),
    ] {
        assert_eq!(chain.refused("eth_getBalance", params.clone()).await.0, -32602, "{params}");
    }
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_sent_sealed_and_shown() {
    let chain = Chain::start(true).await;
    let hash = chain.send(json!({"from": ALICE, "to": BOB, "value": "0x2a"})).await;
    let receipt = chain.receipt(&hash).await;
    assert_eq!(
        (&receipt["status"], &receipt["gasUsed"], &receipt["type"]),
        (&json!("0x1"), &json!("0x5208"), &json!("0x2"))
    );
    assert!(receipt["l1Fee"].is_string() && receipt["contractAddress"].is_null());
    let block = &receipt["blockNumber"];
    assert_eq!(chain.get("eth_getBalance", json!([BOB, "latest"])).await, "0x2a");
    assert_eq!(chain.get("eth_getBalance", json!([BOB, "0x0"])).await, "0x0");
    for tag in ["latest", "pending"] {
        assert_eq!(chain.get("eth_getTransactionCount", json!([ALICE, tag])).await, "0x1");
    }
    let transaction = chain.get("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!((&transaction["blockHash"], &transaction["value"]), (&receipt["blockHash"], &json!("0x2a")));
    assert_eq!(chain.get("eth_getTransactionByBlockNumberAndIndex", json!([block, "0x0"])).await, transaction);
    assert_eq!(
        chain.get("eth_getTransactionByBlockHashAndIndex", json!([receipt["blockHash"], "0x0"])).await,
        transaction
    );
    assert_eq!(chain.get("eth_getTransactionByBlockNumberAndIndex", json!([block, "0x1"])).await, Value::Null);
    let raw = chain.get("eth_getRawTransactionByHash", json!([hash])).await;
    assert_eq!(chain.get("eth_getRawTransactionByBlockNumberAndIndex", json!([block, "0x0"])).await, raw);
    assert_eq!(chain.get("eth_getBlockReceipts", json!([block])).await, json!([receipt]));
    let full = chain.get("eth_getBlockByNumber", json!([block, true])).await;
    assert_eq!(full["transactions"], json!([transaction]));
    assert_eq!(chain.get("eth_getBlockTransactionCountByNumber", json!([block])).await, "0x1");

    let proof = chain.get("eth_getProof", json!([BOB, ["0x0"], "latest"])).await;
    assert_eq!((&proof["balance"], &proof["storageProof"][0]["value"]), (&json!("0x2a"), &json!("0x0")));
    assert!(!proof["accountProof"].as_array().expect("nodes").is_empty());
    let slots = vec!["0x0"; 1025];
    assert_eq!(chain.refused("eth_getProof", json!([BOB, slots, "latest"])).await.0, -32602);

    let again = chain.refused("eth_sendRawTransaction", json!([raw])).await;
    assert_eq!(again.0, -32000, "{again:?}");
    assert_eq!(chain.refused("eth_sendRawTransaction", json!(["0x1234"])).await.0, -32000);
    assert_eq!(chain.refused("eth_sendRawTransaction", json!(["nonsense"])).await.0, -32602);
    assert_eq!(
        chain.refused("eth_sendTransaction", json!([{"from": BOB, "to": BOB}])).await,
        (-32000, "unknown account".into())
    );
    let both = json!([{"from": ALICE, "to": BOB, "data": "0x01", "input": "0x02"}]);
    assert_eq!(chain.refused("eth_sendTransaction", both).await.0, -32602);
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_send_answers_with_the_receipt() {
    let chain = Chain::start_with(true, ServerConfig { request_timeout_ms: 5_000, ..Default::default() }).await;
    let raw = chain.signed(0).await;
    let receipt = chain.get("eth_sendRawTransactionSync", json!([raw])).await;
    assert_eq!(receipt["status"], "0x1");
    let again = chain.get("eth_sendRawTransactionSync", json!([raw, 1000])).await;
    assert_eq!(again, receipt, "one that is included is answered at once");
    // Beyond those below: the fees of a second one signed for its place would depend on the time between them.
    let gap = chain.signed(50).await;
    let (code, message, data) = chain.ask("eth_sendRawTransactionSync", json!([gap])).await.expect_err("held back");
    let again = chain.ask("eth_sendRawTransactionSync", json!([gap])).await.expect_err("still held back");
    assert_eq!((again.0, &again.2), (6, &data), "a second send is told the same");
    assert!(code == 6 && message.contains("next nonce is 1") && data == "0x1", "{message} {data}");
    assert_eq!(chain.refused("eth_sendRawTransactionSync", json!(["0x1234"])).await.0, -32000);
    assert_eq!(chain.refused("eth_sendRawTransactionSync", json!([raw, "soon"])).await.0, -32602);

    chain.get("evm_setAutomine", json!([false])).await;
    let waiting = chain.signed(1).await;
    let start = Instant::now();
    let (code, _, data) = chain.ask("eth_sendRawTransactionSync", json!([waiting, 100])).await.expect_err("no block");
    assert!(start.elapsed() < Duration::from_secs(5), "sooner than any request");
    assert_eq!(code, 4);
    let known = chain.get("eth_getTransactionByHash", json!([data])).await;
    assert_eq!(known["nonce"], "0x1", "the error names the transaction");
    let (answer, _) = tokio::join!(chain.ask("eth_sendRawTransactionSync", json!([waiting, 60_000])), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        chain.get("evm_mine", json!([])).await
    });
    assert_eq!(answer.expect("mined meanwhile")["transactionHash"], data);

    // A batch has one deadline, however many sends wait in it and however long each would.
    let mut calls = Vec::new();
    for nonce in 2..42 {
        let raw = chain.signed(nonce).await;
        calls.push(
            json!({"jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransactionSync", "params": [raw, 1500]}),
        );
    }
    let start = Instant::now();
    let answers = chain.post(json!(calls)).await;
    assert!(start.elapsed() < Duration::from_secs(40), "one after the other they take a minute");
    for (call, answer) in calls.iter().zip(answers.as_array().expect("answers")) {
        assert_eq!(call["id"], answer["id"]);
        let code = answer["error"]["code"].as_i64().expect("nothing is mined");
        assert!(code == 4 || code == -32002, "{answer}");
    }
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_sends_is_ingested_in_order() {
    let chain = Chain::start(true).await;
    let mut calls = Vec::new();
    for nonce in 0..50 {
        let raw = chain.signed(nonce).await;
        calls.push(json!({"jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": [raw]}));
    }
    calls.insert(25, json!({"jsonrpc": "2.0", "id": "bad", "method": "eth_sendRawTransaction", "params": ["0x00"]}));
    let answers = chain.post(json!(calls)).await;
    let answers = answers.as_array().expect("answers");
    assert_eq!(answers.len(), 51);
    assert_eq!(answers[25]["error"]["code"], -32000);
    for (call, answer) in calls.iter().zip(answers) {
        assert_eq!(call["id"], answer["id"]);
    }
    let receipt = chain.receipt(&answers[50]["result"]).await;
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(chain.get("eth_getBalance", json!([BOB, "latest"])).await, "0x32");
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_is_the_head_and_the_pool() {
    let chain = Chain::start(true).await;
    chain.get("evm_setAutomine", json!([false])).await;
    let hash = chain.send(json!({"from": ALICE, "to": BOB, "value": "0x7"})).await;
    let later = chain.send(json!({"from": ALICE, "to": BOB, "value": "0x1", "nonce": "0x9"})).await;
    assert_eq!(chain.get("eth_getBalance", json!([BOB, "pending"])).await, "0x7");
    assert_eq!(chain.get("eth_getBalance", json!([BOB, "latest"])).await, "0x0");
    assert_eq!(chain.get("eth_getTransactionCount", json!([ALICE, "pending"])).await, "0x1");
    assert_eq!(chain.get("eth_getTransactionCount", json!([ALICE, "latest"])).await, "0x0");
    let block = chain.get("eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!((&block["number"], &block["transactions"]), (&json!("0x1"), &json!([hash])));
    assert_eq!(block.get("hash"), Some(&Value::Null));
    let full = chain.get("eth_getBlockByNumber", json!(["pending", true])).await;
    assert_eq!((&full["hash"], &full["transactions"][0]["hash"]), (&Value::Null, &hash));
    let receipts = chain.get("eth_getBlockReceipts", json!(["pending"])).await;
    assert_eq!(receipts.as_array().map(Vec::len), Some(1), "as many as transactions: {receipts}");
    assert_eq!((&receipts[0]["transactionHash"], &receipts[0]["blockNumber"]), (&hash, &json!("0x1")));
    assert_eq!(receipts[0].get("blockHash"), Some(&Value::Null));
    assert_eq!(chain.get("eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    assert_eq!(chain.get("eth_getTransactionByHash", json!([hash])).await["blockHash"], Value::Null);
    assert_eq!(chain.get("txpool_status", json!([])).await, json!({"pending": "0x1", "queued": "0x1"}));
    let content = chain.get("txpool_content", json!([])).await;
    let alice = ALICE.to_checksum(None);
    assert_eq!(content["pending"][&alice]["0"]["hash"], hash);
    assert_eq!(content["queued"][&alice]["9"]["hash"], later);
    assert_eq!(chain.get("txpool_contentFrom", json!([ALICE])).await["queued"]["9"]["hash"], later);
    assert_eq!(chain.get("anvil_dropTransaction", json!([later])).await, later);
    assert_eq!(chain.get("txpool_status", json!([])).await["queued"], "0x0");
    chain.get("evm_mine", json!([])).await;
    assert_eq!(chain.receipt(&hash).await["blockNumber"], "0x1");
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_queried_and_polled() {
    let chain = Chain::start(true).await;
    let filter = chain.get("eth_newFilter", json!([{"topics": [format!("0x{:064x}", 0xaa)]}])).await;
    let blocks = chain.get("eth_newBlockFilter", json!([])).await;
    let pending = chain.get("eth_newPendingTransactionFilter", json!([])).await;
    let hash = chain.send(json!({"from": ALICE, "data": EMITTER})).await;
    let receipt = chain.receipt(&hash).await;
    let log = receipt["logs"][0].clone();
    assert_eq!(log["address"], receipt["contractAddress"]);
    assert!(log["blockTimestamp"].is_string());
    for query in [
        json!({"fromBlock": "earliest", "toBlock": "latest"}),
        json!({"fromBlock": "0x0", "toBlock": receipt["blockNumber"], "address": log["address"], "limit": 10, "chainId": {"id": 1}}),
        json!({"fromBlock": "0x0", "address": [log["address"], BOB], "topics": [log["topics"][0]]}),
        json!({"blockHash": receipt["blockHash"]}),
        json!({"fromBlock": receipt["blockNumber"], "toBlock": receipt["blockNumber"], "topics": [[log["topics"][0], B256::ZERO]]}),
    ] {
        assert_eq!(chain.get("eth_getLogs", json!([query])).await, json!([log]), "{query}");
    }
    for query in [json!({"fromBlock": "0x0", "address": BOB}), json!({"fromBlock": "0x0", "topics": [B256::ZERO]})] {
        assert_eq!(chain.get("eth_getLogs", json!([query])).await, json!([]), "{query}");
    }
    for query in [
        json!({"fromBlock": "0x5", "toBlock": "0x1"}),
        json!({"fromBlock": "0x999"}),
        json!({"fromBlock": "0x999", "toBlock": "latest"}),
        json!({"fromBlock": "latest", "toBlock": "earliest"}),
    ] {
        let reversed = chain.refused("eth_getLogs", json!([query])).await;
        assert_eq!(reversed, (-32602, "invalid block range params".into()), "{query}");
    }
    let beyond = chain.refused("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "0xf4240"}])).await;
    assert_eq!(beyond, (-32602, "block range extends beyond current head block".into()));
    let ahead = chain.get("eth_newFilter", json!([{"fromBlock": "0xf4240", "toBlock": "0xf4241", "page": 1}])).await;
    assert_eq!(
        chain.get("eth_getFilterLogs", json!([ahead])).await,
        json!([]),
        "a filter may wait for what is to come"
    );
    assert_eq!(
        chain.refused("eth_getLogs", json!([{"blockHash": B256::ZERO}])).await,
        (-32001, "unknown block".into())
    );
    assert_eq!(chain.refused("eth_getLogs", json!([{"blockHash": B256::ZERO, "fromBlock": "0x1"}])).await.0, -32602);

    assert_eq!(chain.get("eth_getFilterChanges", json!([filter])).await, json!([log]));
    assert_eq!(chain.get("eth_getFilterChanges", json!([filter])).await, json!([]));
    assert_eq!(chain.get("eth_getFilterLogs", json!([filter])).await.as_array().map(Vec::len), Some(1));
    let hashes = chain.get("eth_getFilterChanges", json!([blocks])).await;
    assert!(hashes.as_array().expect("hashes").contains(&receipt["blockHash"]));
    assert_eq!(chain.get("eth_getFilterChanges", json!([pending])).await, json!([hash]));
    assert_eq!(chain.get("eth_uninstallFilter", json!([filter])).await, true);
    assert_eq!(chain.get("eth_uninstallFilter", json!([filter])).await, false);
    assert_eq!(chain.refused("eth_getFilterChanges", json!([filter])).await, (-32000, "filter not found".into()));
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_see_every_block_and_what_is_withdrawn() {
    let chain = Chain::start(true).await;
    let mut socket = chain.socket().await;
    let heads = socket.ask("eth_subscribe", json!(["newHeads"])).await["result"].clone();
    let mut logs_socket = chain.socket().await;
    let logs = logs_socket.ask("eth_subscribe", json!(["logs", {"topics": []}])).await["result"].clone();
    let mut pool_socket = chain.socket().await;
    let pool = pool_socket.ask("eth_subscribe", json!(["newPendingTransactions"])).await["result"].clone();
    let full = pool_socket.ask("eth_subscribe", json!(["newPendingTransactions", true])).await["result"].clone();

    let snapshot = chain.get("evm_snapshot", json!([])).await;
    let genesis = chain.get("eth_getBlockByNumber", json!(["latest", false])).await;
    let hash = chain.send(json!({"from": ALICE, "data": EMITTER})).await;
    let mut seen = Vec::new();
    let mut full_seen = Value::Null;
    while seen.is_empty() || full_seen.is_null() {
        let message = pool_socket.next().await;
        let (id, result) = (&message["params"]["subscription"], &message["params"]["result"]);
        if id == &pool {
            seen.push(result.clone());
        } else if id == &full {
            full_seen = result["hash"].clone();
        }
    }
    assert_eq!((seen, &full_seen), (vec![hash.clone()], &hash));
    let receipt = chain.receipt(&hash).await;
    assert_eq!(logs_socket.notified(&logs).await, receipt["logs"][0]);
    chain.get("anvil_mine", json!(["0x3"])).await;
    let mut parent = genesis["hash"].clone();
    for expected in 1..=4 {
        let head = socket.notified(&heads).await;
        assert_eq!((number(&head["number"]), &head["parentHash"]), (expected, &parent));
        parent = head["hash"].clone();
    }

    assert_eq!(chain.get("evm_revert", json!([snapshot])).await, true);
    let mut removed = receipt["logs"][0].clone();
    removed["removed"] = json!(true);
    assert_eq!(logs_socket.notified(&logs).await, removed);
    chain.get("evm_mine", json!([])).await;
    let mut head = socket.notified(&heads).await;
    // The transaction returned to the pool: it may be sealed before or with the block that was asked for.
    assert_eq!((number(&head["number"]), &head["parentHash"]), (1, &genesis["hash"]));
    while number(&head["number"]) < number(&chain.get("eth_blockNumber", json!([])).await) {
        head = socket.notified(&heads).await;
    }

    assert_eq!(socket.ask("eth_unsubscribe", json!([heads])).await["result"], true);
    assert_eq!(socket.ask("eth_unsubscribe", json!([heads])).await["error"]["code"], -32000);
    assert_eq!(socket.ask("eth_subscribe", json!(["nothing"])).await["error"]["code"], -32602);
    assert_eq!(chain.refused("eth_subscribe", json!(["newHeads"])).await.0, -32000, "HTTP carries no notifications");
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_subscriptions_and_filters_are_bounded_in_bytes() {
    let chain = Chain::start(true).await;
    let topics = |count: usize| -> Vec<String> { (0..count).map(|i| format!("0x{i:064x}")).collect() };
    let two = json!({"topics": [topics(501), topics(500)]});
    assert_eq!(chain.get("eth_getLogs", json!([two])).await, json!([]), "a query may have as many in each position");
    assert_eq!(chain.refused("eth_newFilter", json!([two])).await.0, -32602);
    let mut socket = chain.socket().await;
    assert_eq!(socket.ask("eth_subscribe", json!(["logs", two])).await["error"]["code"], -32602);

    let large = json!({"topics": [topics(1000)]});
    let mut last = Value::Null;
    let refused = loop {
        let answer = socket.ask("eth_subscribe", json!(["logs", large])).await;
        match answer.get("error") {
            None => last = answer["result"].clone(),
            Some(error) => break error["code"].clone(),
        }
        assert!(number(&last) < 100, "they find room for ever");
    };
    assert_eq!(refused, -32005);
    assert_eq!(chain.refused("eth_newFilter", json!([large])).await.0, -32005, "filters draw on the same room");
    assert_eq!(socket.ask("eth_unsubscribe", json!([last])).await["result"], true);
    let start = Instant::now();
    while let Err((code, _, _)) = chain.ask("eth_newFilter", json!([large])).await {
        assert!(code == -32005 && start.elapsed() < LONG, "its room is given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_under_load_miss_nothing() {
    let chain = Chain::start(true).await;
    let mut socket = chain.socket().await;
    let heads = socket.ask("eth_subscribe", json!(["newHeads"])).await["result"].clone();
    // More blocks than the node keeps events for.
    let mining = chain.get("anvil_mine", json!(["0x7d0"]));
    let reading = async {
        let mut parent = Value::Null;
        for expected in 1..=2000 {
            let head = socket.notified(&heads).await;
            assert_eq!(number(&head["number"]), expected);
            assert!(parent.is_null() || parent == head["parentHash"]);
            parent = head["hash"].clone();
        }
    };
    tokio::join!(mining, reading);
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn development_methods_change_time_blocks_and_state() {
    let chain = Chain::start(true).await;
    let snapshot = chain.get("evm_snapshot", json!([])).await;
    assert_eq!(chain.get("anvil_setBalance", json!([BOB, "0x64"])).await, true);
    chain.get("hardhat_setNonce", json!([BOB, "0x5"])).await;
    chain.get("anvil_setCode", json!([BOB, "0x6001"])).await;
    chain.get("hardhat_setStorageAt", json!([BOB, "0x2", format!("0x{:064x}", 3)])).await;
    assert_eq!(chain.get("eth_getBalance", json!([BOB])).await, "0x64");
    assert_eq!(chain.get("eth_getTransactionCount", json!([BOB, "pending"])).await, "0x5");
    assert_eq!(chain.get("eth_getCode", json!([BOB])).await, "0x6001");
    assert_eq!(chain.get("eth_getStorageAt", json!([BOB, "0x2"])).await, format!("0x{:064x}", 3));
    chain.get("anvil_addBalance", json!([BOB, "0x1"])).await;
    assert_eq!(chain.get("eth_getBalance", json!([BOB])).await, "0x65");
    assert_eq!(chain.get("evm_revert", json!([snapshot])).await, true);
    assert_eq!(chain.get("evm_revert", json!([snapshot])).await, false);
    assert_eq!(chain.get("eth_getBalance", json!([BOB])).await, "0x0");

    let before = number(&chain.get("eth_blockNumber", json!([])).await);
    assert_eq!(chain.get("evm_mine", json!([])).await, "0x0");
    chain.get("hardhat_mine", json!(["0x4", "0xa"])).await;
    assert_eq!(number(&chain.get("eth_blockNumber", json!([])).await), before + 5);
    let time = |block: Value| number(&block["timestamp"]);
    let now = time(chain.get("eth_getBlockByNumber", json!(["latest", false])).await);
    chain.get("evm_increaseTime", json!([3600])).await;
    chain.get("evm_mine", json!([])).await;
    let later = time(chain.get("eth_getBlockByNumber", json!(["latest", false])).await);
    assert!(later >= now.saturating_sub(60) + 3600, "{now} {later}");
    chain.get("evm_setNextBlockTimestamp", json!([later + 1000])).await;
    chain.get("evm_mine", json!([])).await;
    assert_eq!(time(chain.get("eth_getBlockByNumber", json!(["latest", false])).await), later + 1000);
    chain.get("evm_mine", json!([{"timestamp": later + 2000, "blocks": 1}])).await;
    assert_eq!(time(chain.get("eth_getBlockByNumber", json!(["latest", false])).await), later + 2000);
    assert_eq!(chain.refused("evm_mine", json!([{"blocks": 1_000_000}])).await.0, -32602);

    let whale = address!("00000000000000000000000000000000c0ffee00");
    chain.get("anvil_setBalance", json!([whale, "0xde0b6b3a7640000"])).await;
    let transfer = json!({"from": whale, "to": BOB, "value": "0x9"});
    assert_eq!(chain.refused("eth_sendTransaction", json!([transfer])).await.0, -32000);
    chain.get("hardhat_impersonateAccount", json!([whale])).await;
    let receipt = chain.receipt(&chain.send(transfer.clone()).await).await;
    assert_eq!(receipt["from"], json!(whale));
    assert_eq!(chain.get("eth_getBalance", json!([BOB])).await, "0x9");
    let shown = chain.get("eth_getTransactionByHash", json!([receipt["transactionHash"]])).await;
    assert_eq!(shown["from"], json!(whale));
    chain.get("anvil_stopImpersonatingAccount", json!([whale])).await;
    assert_eq!(chain.refused("eth_sendTransaction", json!([transfer])).await.0, -32000);

    assert_eq!(chain.get("anvil_getAutomine", json!([])).await, true);
    chain.get("evm_setIntervalMining", json!([1])).await;
    assert_eq!(chain.get("anvil_getAutomine", json!([])).await, false);
    let before = number(&chain.get("eth_blockNumber", json!([])).await);
    let start = Instant::now();
    while number(&chain.get("eth_blockNumber", json!([])).await) == before {
        assert!(start.elapsed() < LONG, "no block each second");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    chain.get("evm_setAutomine", json!([true])).await;
    assert_eq!(chain.get("anvil_nodeInfo", json!([])).await["environment"]["chainId"], "0x1633");
    assert!(chain.get("hardhat_metadata", json!([])).await["latestBlockHash"].is_string());
    assert_eq!(chain.refused("anvil_reset", json!([])).await.0, -32000);
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_signed_for_development_accounts() {
    let chain = Chain::start(true).await;
    // As `cast wallet sign` signs with the first account's key.
    let signature = chain.get("personal_sign", json!(["0x68656c6c6f", ALICE])).await;
    assert_eq!(signature, chain.get("eth_sign", json!([ALICE, "0x68656c6c6f"])).await);
    let bytes = alloy_primitives::hex::decode(signature.as_str().expect("text")).expect("hex");
    let signature = alloy_primitives::Signature::from_raw(&bytes).expect("a signature");
    assert!(bytes.len() == 65 && (27..=28).contains(&bytes[64]) && signature.s() < U256::MAX >> 1);
    assert_eq!(chain.refused("eth_sign", json!([BOB, "0x00"])).await, (-32000, "unknown account".into()));
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_production_chain_has_no_development_methods() {
    let chain = Chain::start(false).await;
    for method in ["evm_mine", "anvil_setBalance", "hardhat_reset", "eth_sendTransaction", "eth_sign", "personal_sign"]
    {
        assert_eq!(chain.refused(method, json!([])).await.0, -32601, "{method}");
    }
    assert_eq!(chain.get("eth_accounts", json!([])).await, json!([]));
    let version = chain.get("web3_clientVersion", json!([])).await;
    assert!(version.as_str().expect("text").starts_with("jove/v"), "{version}");
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipc_has_the_same_methods_and_leaves_no_socket() {
    let chain = Chain::start(true).await;
    let path = chain.directory.path().join("jove.ipc");
    let mut stream = BufReader::new(UnixStream::connect(&path).await.expect("connected"));
    let mut line = String::new();
    stream.write_all(br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#).await.expect("sent");
    stream.read_line(&mut line).await.expect("read");
    assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x1633\"}\n");
    let subscribe = json!({"jsonrpc": "2.0", "id": 2, "method": "eth_subscribe", "params": ["newHeads"]});
    stream.write_all(subscribe.to_string().as_bytes()).await.expect("sent");
    line.clear();
    stream.read_line(&mut line).await.expect("read");
    chain.get("evm_mine", json!([])).await;
    line.clear();
    timeout(LONG, stream.read_line(&mut line)).await.expect("in time").expect("read");
    assert!(line.contains("eth_subscription") && line.contains(r#""number":"0x1""#), "{line}");
    let directory = chain.stop().await;
    line.clear();
    assert_eq!(stream.read_line(&mut line).await.expect("closed"), 0);
    assert!(!directory.path().join("jove.ipc").exists());
}
