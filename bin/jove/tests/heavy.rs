//! What blocks read is weighed before they are committed: the real process, with an L1 and an enclave of its own, whose provers are to be given little.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use client::{Client, Process};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

/// Only a hang is as long.
const LONG: Duration = Duration::from_secs(300);

/// A transaction of the first account, in a block of its own: its hash and receipt.
fn send(client: &Client, to: Option<&Value>, data: &str) -> (Value, Value) {
    let mut transaction =
        json!({ "from": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "data": data, "gas": "0x4c4b40" });
    if let Some(to) = to {
        transaction["to"] = to.clone();
    }
    let hash = client.call("eth_sendTransaction", json!([transaction])).expect("sent");
    let receipt = client.receipt(&hash);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    (hash, receipt)
}

/// Waits until a transaction has come so far, and says where it is.
fn reaches(client: &Client, hash: &Value, rung: &str) -> Value {
    let started = Instant::now();
    loop {
        let finality = client.call("jove_getFinality", json!([hash])).expect("answered");
        if finality["rungs"][rung].is_object() {
            return finality;
        }
        assert!(started.elapsed() < LONG, "{hash} is not {rung}: {finality}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_batch_ends_before_it_is_too_much_for_provers() {
    let folder = tempfile::tempdir().expect("a folder");
    // A blob and what else is small, and 38,000 bytes of witness.
    let process = Process::run("dev", folder.path(), &["--l1-http-port", "0", "--max-batch-input", "235000"]);
    let client = process.client();
    // Asks for the length of a contract's code; and four contracts of 20,000 bytes.
    let (_, reader) = send(&client, None, "0x645f353b50005f526005601bf3");
    let long: Vec<_> = (1..=4).map(|byte| send(&client, None, &format!("0x60{byte:02x}5f53614e205ff3"))).collect();
    // Code that a batch makes is not part of its witness.
    reaches(&client, &long[3].0, "committed");
    let reads: Vec<Value> = long
        .iter()
        .map(|(_, receipt)| {
            let address = receipt["contractAddress"].as_str().expect("an address");
            send(&client, Some(&reader["contractAddress"]), &format!("0x{:0>64}", &address[2..])).0
        })
        .collect();
    let batch = |hash: &Value| reaches(&client, hash, "committed")["batch"].as_u64().expect("an index");
    let batches: BTreeSet<u64> = reads.iter().map(batch).collect();
    assert_eq!(batches.len(), reads.len(), "two are too much for one: {batches:?}");
    // The enclave takes what was made while it was weighed.
    reads.iter().for_each(|hash| drop(reaches(&client, hash, "attested")));
}
