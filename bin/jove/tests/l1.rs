//! `jove l1` as a rollup's programs see it: JSON-RPC and beacon endpoints of the real process.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

#[path = "../../../crates/sequencer/tests/blob/mod.rs"]
mod blob;
mod client;

use alloy_primitives::{B256, hex};
use client::{Client, Process, number};
use jove_settlement::{BlobError, Blobs, watcher::L1Block};
use serde_json::{Value, json};
use std::{path::Path, process::Command, thread, time::Duration};

/// A layer 1 that seals what it is asked for: the next slot starts in an hour.
fn start(datadir: &Path, flags: &[&str]) -> Process {
    let process = Process::run("l1", datadir, &[&["--block-time", "1h"], flags].concat());
    while process.client().block_number() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    process
}

fn call(client: &Client, method: &str, params: Value) -> Value {
    client.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
}

fn mine(client: &Client, blocks: u64) {
    call(client, "anvil_mine", json!([blocks]));
}

fn tag(client: &Client, tag: &str) -> u64 {
    number(&call(client, "eth_getBlockByNumber", json!([tag, false]))["number"])
}

fn get(client: &Client, path: &str) -> (u16, Value) {
    let (status, body) = client.get(path).expect("answered");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

fn found(client: &Client, path: &str) -> Value {
    let (status, body) = get(client, path);
    assert_eq!(status, 200, "{path}: {body}");
    body["data"].clone()
}

/// As a derivation does it: from the timestamp, the time of slot 0 and the length of a slot.
fn slot_of(client: &Client, block: &Value) -> u64 {
    let decimal = |value: &Value| value.as_str().expect("a string").parse::<u64>().expect("decimal");
    let start = decimal(&found(client, "/eth/v1/beacon/genesis")["genesis_time"]);
    let seconds = decimal(&found(client, "/eth/v1/config/spec")["SECONDS_PER_SLOT"]);
    (number(&block["timestamp"]) - start) / seconds
}

#[test]
fn a_blob_is_sent_included_and_served_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = start(folder.path(), &["--safe-depth", "0"]);
    let client = process.client();
    assert_eq!(call(&client, "eth_chainId", json!([])), json!("0x384"));
    let (hash, raw) = blob::signed(0, &[2, 5]);
    assert_eq!(call(&client, "eth_sendRawTransaction", json!([raw])), json!(hash));
    mine(&client, 1);
    let receipt = call(&client, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x1"), &json!("0x3")));
    assert_eq!((&receipt["blobGasUsed"], &receipt["blobGasPrice"]), (&json!("0x40000"), &json!("0x1")));
    assert_eq!(receipt.get("l1Fee"), None);
    let sent = call(&client, "eth_getTransactionByHash", json!([hash]));
    assert_eq!(sent["blobVersionedHashes"], json!(blob::hashes(&[2, 5])));
    assert_eq!(sent["maxFeePerBlobGas"], json!("0x3b9aca00"));
    let block = call(&client, "eth_getBlockByNumber", json!([receipt["blockNumber"], false]));
    assert_eq!((&block["blobGasUsed"], &block["excessBlobGas"]), (&json!("0x40000"), &json!("0x0")));

    let slot = slot_of(&client, &block);
    assert!(slot > number(&block["number"]), "slots are not block numbers");
    process.interrupt();
    let process = start(folder.path(), &[]);
    let client = process.client();
    let header = found(&client, &format!("/eth/v1/beacon/headers/{slot}"));
    let root = header["root"].as_str().expect("a root");
    assert_ne!(root, block["hash"]);
    assert_eq!(header["header"]["message"]["slot"], json!(slot.to_string()));
    assert_eq!(header["header"]["message"]["parent_root"], block["parentBeaconBlockRoot"]);
    let both = json!([hex::encode_prefixed(blob::blob(2).0), hex::encode_prefixed(blob::blob(5).0)]);
    for name in [&slot.to_string(), root] {
        assert_eq!(found(&client, &format!("/eth/v1/beacon/blobs/{name}")), both, "{name}");
    }
    let [_, second] = blob::hashes(&[2, 5])[..] else { panic!("two hashes") };
    let one = found(&client, &format!("/eth/v1/beacon/blobs/{slot}?versioned_hashes={second}"));
    assert_eq!(one, json!([both[1]]));
    assert_eq!(found(&client, "/eth/v1/beacon/blobs/genesis"), json!([]));

    // As derivation reads them.
    let sources = Blobs::new([client.url()]).expect("a URL");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let at = L1Block { number: number(&block["number"]), hash: B256::ZERO, timestamp: number(&block["timestamp"]) };
    let read = runtime.block_on(sources.get(at, &blob::hashes(&[5, 2]))).expect("there, and right");
    assert_eq!((&read[0][..], &read[1][..]), (&blob::blob(5)[..], &blob::blob(2)[..]));
    let missing = runtime.block_on(sources.get(at, &blob::hashes(&[1]))).expect_err("another block's");
    assert!(matches!(missing, BlobError::Missing { .. }), "{missing}");
    for (path, status) in [
        // The slot after that of block 0, long ago.
        ("/eth/v1/beacon/blobs/8".into(), 404),
        (format!("/eth/v1/beacon/blobs/{}", u64::MAX), 404),
        (format!("/eth/v1/beacon/blobs/{}", block["hash"].as_str().expect("a hash")), 404),
        ("/eth/v1/beacon/blobs/soon".into(), 400),
        ("/eth/v1/beacon/blobs/+8".into(), 400),
        ("/eth/v1/beacon/headers/0x12".into(), 400),
        ("/eth/v1/beacon/headers?slot=8".into(), 404),
        ("/eth/v1/beacon/headers?slot=soon".into(), 400),
        (format!("/eth/v1/beacon/headers?parent_root={root}"), 404),
        (format!("/eth/v1/beacon/blob_sidecars/{slot}"), 404),
        ("/eth/v2/beacon/blocks/head".into(), 404),
        (format!("/eth/v1/beacon/blobs/{slot}?versioned_hashes=0x12"), 400),
    ] {
        let (found, body) = get(&client, &path);
        assert_eq!((found, &body["code"]), (status, &json!(status)), "{path}");
    }
    for query in [
        String::new(),
        format!("?slot={slot}"),
        format!("?parent_root={}", header["header"]["message"]["parent_root"].as_str().expect("a root")),
    ] {
        let list = found(&client, &format!("/eth/v1/beacon/headers{query}"));
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{query}");
        assert!(query.is_empty() || list[0] == header, "{query}");
    }
    let syncing = found(&client, "/eth/v1/node/syncing");
    assert_eq!((&syncing["is_syncing"], &syncing["sync_distance"]), (&json!(false), &json!("0")));
    assert_eq!(client.get("/eth/v1/node/health").expect("answered").0, 200);
    assert_eq!(found(&client, "/eth/v1/node/version")["version"].as_str().map(|name| &name[..5]), Some("jove/"));
}

#[test]
fn fees_and_tags_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = start(folder.path(), &[]);
    let client = process.client();
    assert_eq!(call(&client, "eth_blobBaseFee", json!([])), json!("0x1"));
    for nonce in [0, 2] {
        for (nonce, seeds) in [(nonce, &[0, 1, 2, 3, 4, 5][..]), (nonce + 1, &[0, 1, 2])] {
            call(&client, "eth_sendRawTransaction", json!([blob::signed(nonce, seeds).1]));
        }
        mine(&client, 1);
    }
    let head = client.block_number();
    let history = call(&client, "eth_feeHistory", json!(["0x3", "latest", [50]]));
    assert_eq!(history["blobGasUsedRatio"], json!([0.0, 1.0, 1.0]));
    assert_eq!(history["baseFeePerBlobGas"], json!(["0x1", "0x1", "0x1", "0x1"]));
    let fees: Vec<u64> = history["baseFeePerGas"].as_array().expect("a list").iter().map(number).collect();
    assert_eq!(fees[0], 875_000_000, "an eighth below the gwei of genesis, which was empty");
    assert!(fees[3] < fees[2] && fees[2] < fees[1]);
    let excess = number(&call(&client, "eth_getBlockByNumber", json!(["pending", false]))["excessBlobGas"]);
    assert_eq!(excess, 6 * 131_072, "a third of 18 blobs, by EIP-7918");

    assert_eq!((tag(&client, "safe"), tag(&client, "finalized")), (head - 2, 0));
    mine(&client, 10);
    let head = client.block_number();
    assert_eq!((tag(&client, "safe"), tag(&client, "finalized")), (head - 2, head - 4));
    let refused = client.call("anvil_reorg", json!([3, []])).expect_err("the safe block is among them").to_string();
    assert!(refused.contains("is safe"), "{refused}");
    let before = client.block_hash(head);
    call(&client, "anvil_reorg", json!([2, []]));
    assert_eq!(client.block_number(), head);
    assert_ne!(client.block_hash(head), before);
    let before = client.block_hash(head);
    call(&client, "jove_reorg", json!([1, true]));
    assert_ne!(client.block_hash(head), before);
}

#[test]
fn calls_may_name_blobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = start(folder.path(), &[]);
    let client = process.client();
    let request = json!({
        "from": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "to": "0x00000000000000000000000000000000000b0b00",
        "blobVersionedHashes": blob::hashes(&[0]),
        "maxFeePerBlobGas": "0x1",
    });
    assert_eq!(call(&client, "eth_estimateGas", json!([request])), json!("0x5208"));
    let mut cheap = request.clone();
    cheap["maxFeePerBlobGas"] = Value::Null;
    assert_eq!(call(&client, "eth_call", json!([cheap])), json!("0x"), "without a price blobs cost what they cost");
    let payload = json!({"blockStateCalls": [{"calls": [request]}, {}]});
    let simulated = call(&client, "eth_simulateV1", json!([payload, "latest"]));
    assert_eq!(simulated[0]["blobGasUsed"], json!("0x20000"));
    assert_eq!(simulated[0]["calls"][0]["status"], json!("0x1"));
    // BLOBHASH(0) of a call with a blob, returned by code that overrides put there.
    let code = json!({"0x00000000000000000000000000000000000b0b00": {"code": "0x60004960005260206000f3"}});
    let output = call(&client, "eth_call", json!([request, "latest", code]));
    assert_eq!(output, json!(blob::hashes(&[0])[0]));
    let config = call(&client, "eth_config", json!([]));
    assert_eq!(config["current"]["blobSchedule"]["max"], json!(9));
}

#[test]
fn what_cannot_be_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    for (flags, what) in [
        (&["--block-time", "1500ms"][..], "whole seconds"),
        (&["--safe-depth", "5", "--finalized-depth", "4"], "what is final is safe"),
        (&["--chain", "missing.json"], "missing.json"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jove"));
        let output = command.args(["l1", "--datadir"]).arg(folder.path()).args(flags).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(what), "{text}");
    }
    let spec = folder.path().join("spec.json");
    std::fs::write(&spec, jove_primitives::ChainSpec::l1(900, 1).to_json()).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jove"));
    let output = command.args(["node", "--chain"]).arg(&spec).output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("jove l1"));
}
