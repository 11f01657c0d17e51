//! `kill -9` at random instants: no block whose receipt was returned is ever lost, and the chain goes on from the same head.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod client;

use client::{Client, Process};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const KILLS: usize = 100;
const CLIENTS: usize = 3;
/// A life is at most this long.
const LIFE_MS: u64 = 600;

#[test]
fn a_killed_node_loses_nothing_it_gave_a_receipt_for() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    println!("seed {seed}");
    let mut random = seed | 1;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let folder = tempfile::tempdir().expect("a folder");
    // Receipts by transaction, and block hashes by number: all that any client was ever told.
    let receipts: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
    let mut heads: HashMap<u64, String> = HashMap::new();
    let started = Instant::now();
    let mut lost_race = 0;

    for kill in 0..KILLS {
        let mut process = Process::start(folder.path(), &[]);
        let client = process.client();
        let height = client.block_number();
        for (number, hash) in &heads {
            assert!(*number <= height, "seed {seed}, kill {kill}: block {number} is gone, the head is {height}");
            assert_eq!(&client.block_hash(*number), hash, "seed {seed}, kill {kill}: block {number} has changed");
        }
        heads.clear();
        heads.insert(height, client.block_hash(height));
        let known = receipts.lock().expect("no panic").clone();
        // All receipts of the last life, a sample of the older ones.
        for (i, (transaction, receipt)) in known.iter().enumerate() {
            let recent = receipt["life"].as_u64() == Some(kill as u64 - 1);
            if recent || i % 50 == kill % 50 {
                let now = client.call("eth_getTransactionReceipt", json!([transaction])).expect("answered");
                assert_eq!(now, receipt["receipt"], "seed {seed}, kill {kill}: {transaction}");
            }
        }

        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..CLIENTS)
            .map(|i| {
                let (client, stop, receipts) = (process.client(), stop.clone(), receipts.clone());
                thread::spawn(move || send_until_killed(&client, i, kill, &stop, &receipts))
            })
            .collect();
        let life = Duration::from_millis(next() % LIFE_MS);
        let born = Instant::now();
        while born.elapsed() < life {
            if let Ok(block) = client.call("eth_getBlockByNumber", json!(["latest", false])) {
                let number = client::number(&block["number"]);
                heads.insert(number, block["hash"].as_str().expect("a hash").to_owned());
            }
            thread::sleep(Duration::from_millis(3));
        }
        process.kill();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            lost_race += usize::from(!sender.join().expect("no panic"));
        }
    }
    let receipts = receipts.lock().expect("no panic").len();
    println!("{KILLS} kills, {receipts} receipts, {lost_race} requests cut off, {:?}", started.elapsed());
    assert!(receipts > KILLS, "the test must have had something to lose: {receipts} receipts");
}

/// Sends and waits for receipts until the process is gone. True if it was told to stop first.
fn send_until_killed(
    client: &Client,
    account: usize,
    life: usize,
    stop: &AtomicBool,
    receipts: &Mutex<HashMap<String, Value>>,
) -> bool {
    let accounts = client.call("eth_accounts", json!([])).unwrap_or_default();
    while !stop.load(Ordering::Relaxed) {
        let transaction = json!({ "from": accounts[account], "to": accounts[9], "value": "0x1", "gas": "0x5208" });
        let Ok(hash) = client.call("eth_sendTransaction", json!([transaction])) else { return false };
        loop {
            match client.call("eth_getTransactionReceipt", json!([hash])) {
                Ok(Value::Null) => thread::sleep(Duration::from_millis(2)),
                Ok(receipt) => {
                    let hash = hash.as_str().expect("a hash").to_owned();
                    receipts.lock().expect("no panic").insert(hash, json!({ "life": life, "receipt": receipt }));
                    break;
                }
                Err(_) => return false,
            }
        }
    }
    true
}
