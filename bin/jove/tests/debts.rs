//! A debt beyond its limit closes the pool by name, and is shown: the real process with an L1 of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use client::Process;
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Only a hang is as long.
const LONG: Duration = Duration::from_secs(300);

#[test]
fn what_waits_for_proofs_closes_the_pool_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::run("dev", folder.path(), &["--l1-http-port", "0", "--max-unproven", "1"]);
    let client = process.client();
    let transfer = json!([{
        "from": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "to": "0x00000000000000000000000000000000000b0b00",
        "value": "0x1", "gas": "0x5208",
    }]);
    let started = Instant::now();
    // Each is committed, and waits some L1 blocks for its proofs: they may be there before the debt is asked for, and the next brings another.
    let (refusal, debts) = loop {
        if let Err(error) = client.call("eth_sendTransaction", transfer.clone()) {
            let debts = client.call("jove_syncStatus", json!([])).expect("answered")["debts"].clone();
            if debts["unproven"]["gas"].as_u64() > Some(1) {
                break (error.to_string(), debts);
            }
        }
        assert!(started.elapsed() < LONG, "never refused");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(refusal.contains("transactions are not accepted: max_unproven: "), "{refusal}");
    assert!(refusal.contains("gas waits for proofs, the limit is 1"), "{refusal}");
    let (_, metrics) = client.get("/metrics").expect("answered");
    assert!(metrics.contains("jove_unproven_gas "), "{metrics}");
    assert_eq!(debts["limits"]["unprovenGas"], 1, "{debts}");
    for field in ["batches", "blocks", "bytes", "gas", "instructions", "since"] {
        assert!(debts["unproven"].get(field).is_some(), "{field}: {debts}");
    }
    // Proven, it opens again.
    while let Err(error) = client.call("eth_sendTransaction", transfer.clone()) {
        assert!(error.to_string().contains("max_unproven"), "{error}");
        assert!(started.elapsed() < LONG, "never taken again");
        thread::sleep(Duration::from_millis(200));
    }
}
