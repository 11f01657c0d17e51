//! What the watcher makes of L1's events: as they come, after reorganisations, after restarts, and when a node leaves some out.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, LogData, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use axum::{Json, Router, extract::State as Extract, routing::post};
use jove_primitives::{
    ChainSpec,
    batch::BatchHeader,
    predeploys::EMPTY_OUTBOX_ROOT,
    spec::{BlobFeeUpdate, Settlement},
};
use jove_settlement::{
    Error, L1, L1Config,
    contracts::{Inbox, ProofSystem, Rollup},
    watcher::{Batch, L1State, Watcher, genesis_batch},
};
use jove_storage::{Options, Storage};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

const GENESIS: B256 = B256::repeat_byte(9);
const ROLLUP: Address = Address::repeat_byte(1);
const INBOX: Address = Address::repeat_byte(2);

/// An L1 that a test writes block by block.
#[derive(Default)]
struct Chain {
    blocks: Vec<(Header, Vec<(Address, LogData)>)>,
    finalized: usize,
    chain_id: u64,
    /// A log of this index in the chain is left out.
    hidden: Option<usize>,
    salt: u8,
}

impl Chain {
    fn push(&mut self, logs: Vec<(Address, LogData)>) {
        let number = self.blocks.len() as u64;
        let parent_hash = self.blocks.last().map_or(B256::ZERO, |(header, _)| header.hash_slow());
        let extra_data = Bytes::from(vec![self.salt]);
        let header = Header { number, parent_hash, timestamp: 1_000 + number, extra_data, ..Default::default() };
        self.blocks.push((header, logs));
    }

    /// Replaces the last blocks by empty ones.
    fn reorganise(&mut self, depth: usize) {
        self.salt += 1;
        self.blocks.truncate(self.blocks.len() - depth);
        (0..depth).for_each(|_| self.push(Vec::new()));
    }

    /// The queue's length and rolling hash after a block.
    fn queue(&self, hash: B256) -> (u64, B256) {
        let upto = self.blocks.iter().position(|(header, _)| header.hash_slow() == hash).unwrap();
        let (mut length, mut rolling) = (0, B256::ZERO);
        for (header, logs) in &self.blocks[..=upto] {
            for event in logs.iter().filter_map(|(_, log)| Inbox::MessageQueued::decode_log_data(log).ok()) {
                let words =
                    (event.index, header.number, event.from, event.to, event.isCreation, event.mint, event.value);
                let entry = keccak256([words.abi_encode(), (event.gas, keccak256(&event.data)).abi_encode()].concat());
                rolling = keccak256([rolling, entry].concat());
                length += 1;
            }
        }
        (length, rolling)
    }

    fn answer(&self, method: &str, params: &Value) -> Value {
        let header = |header: &Header| {
            let mut value = serde_json::to_value(header).unwrap();
            value["hash"] = json!(header.hash_slow());
            value["uncles"] = json!([]);
            value["transactions"] = json!([]);
            value
        };
        match method {
            "eth_chainId" => json!(format!("{:#x}", self.chain_id)),
            "eth_getBlockByNumber" => {
                let index = match params[0].as_str().unwrap() {
                    "latest" => self.blocks.len() - 1,
                    "finalized" => self.finalized,
                    number => usize::from_str_radix(&number[2..], 16).unwrap(),
                };
                self.blocks.get(index).map_or(Value::Null, |(found, _)| header(found))
            }
            "eth_getBlockByHash" => {
                let found = self.blocks.iter().find(|(found, _)| json!(found.hash_slow()) == params[0]);
                found.map_or(Value::Null, |(found, _)| header(found))
            }
            "eth_getLogs" => {
                let bound = |name: &str| usize::from_str_radix(&params[0][name].as_str().unwrap()[2..], 16).unwrap();
                let (from, to) = (bound("fromBlock"), bound("toBlock"));
                let mut logs = Vec::new();
                let mut count = 0;
                for (index, (header, events)) in self.blocks.iter().enumerate() {
                    for (address, data) in events {
                        let shown = self.hidden != Some(count) && (from..=to).contains(&index);
                        count += 1;
                        if shown {
                            logs.push(json!({
                                "address": address, "topics": data.topics(), "data": data.data,
                                "blockNumber": format!("{:#x}", header.number), "blockHash": header.hash_slow(),
                                "transactionHash": keccak256(header.hash_slow()), "transactionIndex": "0x0",
                                "logIndex": format!("{:#x}", count), "removed": false,
                            }));
                        }
                    }
                }
                json!(logs)
            }
            "eth_call" => {
                let hash: B256 = params[1]["blockHash"].as_str().unwrap().parse().unwrap();
                let (length, rolling) = self.queue(hash);
                let input: Bytes = serde_json::from_value(params[0]["input"].clone()).unwrap();
                let answer = match input[..4] == Inbox::lengthCall::SELECTOR {
                    true => U256::from(length).abi_encode(),
                    false => rolling.abi_encode(),
                };
                json!(Bytes::from(answer))
            }
            other => panic!("{other}"),
        }
    }
}

type Shared = Arc<Mutex<Chain>>;

async fn serve(chain: Shared) -> L1 {
    async fn answer(Extract(chain): Extract<Shared>, Json(request): Json<Value>) -> Json<Value> {
        let result = chain.lock().unwrap().answer(request["method"].as_str().unwrap(), &request["params"]);
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(chain);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = L1Config { retries: 0, timeout: Duration::from_secs(5), ..Default::default() };
    L1::with_config(&url, config).unwrap()
}

fn spec() -> Arc<ChainSpec> {
    let settlement = Settlement {
        chain_id: 7,
        block: 1,
        rollup: ROLLUP,
        inbox: INBOX,
        blob_fee_updates: vec![BlobFeeUpdate { timestamp: 0, fraction: 5_007_716 }],
        ..Default::default()
    };
    Arc::new(ChainSpec { settlement: Some(settlement), ..ChainSpec::dev() })
}

fn genesis() -> BatchHeader {
    let spec = spec();
    genesis_batch(&spec, spec.settlement.as_ref().unwrap(), GENESIS)
}

fn opened() -> (Address, LogData) {
    let genesis_event = Rollup::Genesis {
        blockHash: GENESIS,
        stateRoot: B256::repeat_byte(3),
        outboxRoot: EMPTY_OUTBOX_ROOT,
        supply: U256::ZERO,
    };
    (ROLLUP, Rollup::Opened { batchHash: genesis().hash(&[]), genesis: genesis_event }.encode_log_data())
}

fn queued(index: u64) -> (Address, LogData) {
    let event = Inbox::MessageQueued {
        index,
        from: Address::repeat_byte(0xa),
        to: Address::repeat_byte(0xb),
        isCreation: false,
        mint: U256::from(index),
        value: U256::from(index),
        gas: 21_000 + index,
        data: Bytes::from(vec![index as u8; 3]),
    };
    (INBOX, event.encode_log_data())
}

fn header(index: u64, last_block: u64) -> BatchHeader {
    let last_block_hash = B256::repeat_byte(last_block as u8);
    BatchHeader { index, first_block: last_block, last_block, last_block_hash, ..genesis() }
}

fn committed(header: BatchHeader) -> (Address, LogData) {
    let blobs = vec![B256::repeat_byte(header.index as u8)];
    let batch_hash = header.hash(&blobs);
    let event = Rollup::BatchCommitted { index: header.index, batchHash: batch_hash, batch: header.into(), blobs };
    (ROLLUP, event.encode_log_data())
}

fn proven(system: ProofSystem, first: u64, last: u64) -> (Address, LogData) {
    let prover = Rollup::Prover { key: Address::ZERO, platform: B256::ZERO, vendor: 0 };
    let event = Rollup::ProofAccepted { system: system as u8, first, last, payout: Address::ZERO, prover };
    (ROLLUP, event.encode_log_data())
}

fn dropped(index: u64, head: u64) -> (Address, LogData) {
    (ROLLUP, Rollup::BatchesDropped { index, head }.encode_log_data())
}

fn settled(index: u64) -> (Address, LogData) {
    let hash = B256::repeat_byte(7);
    let event =
        Rollup::BatchFinal { index, batchHash: hash, output: hash, stateRoot: hash, outboxRoot: EMPTY_OUTBOX_ROOT };
    (ROLLUP, event.encode_log_data())
}

/// An open chain with three messages in two blocks, and two batches.
fn chain() -> Shared {
    let mut chain = Chain { chain_id: 7, ..Default::default() };
    chain.push(Vec::new());
    chain.push(vec![opened(), queued(0)]);
    chain.push(vec![queued(1), queued(2)]);
    chain.push(vec![committed(header(1, 4))]);
    chain.push(vec![committed(header(2, 9)), proven(ProofSystem::Tee, 1, 2)]);
    Arc::new(Mutex::new(chain))
}

fn watcher(l1: &L1, folder: &Path) -> Watcher {
    let storage = Storage::open(folder, Options { sync: false }).unwrap();
    Watcher::new(l1.clone(), spec(), GENESIS, storage).unwrap()
}

fn state(watcher: &Watcher) -> L1State {
    watcher.state().borrow().clone()
}

fn index(batch: Option<Batch>) -> Option<u64> {
    batch.map(|batch| batch.header.index)
}

#[tokio::test]
async fn events_become_a_queue_and_batches() {
    let (folder, chain) = (tempfile::tempdir().unwrap(), chain());
    let l1 = serve(chain.clone()).await;
    let mut watcher = watcher(&l1, folder.path());
    assert!(!state(&watcher).latest.open);
    assert!(watcher.poll().await.unwrap());
    assert!(!watcher.poll().await.unwrap(), "nothing is new");
    let seen = state(&watcher);
    assert_eq!((seen.latest.open, seen.latest.head, seen.latest.messages), (true, 2, 3));
    assert_eq!([0, 1, 2, 5].map(|block| seen.messages_up_to(block).unwrap()), [0, 1, 3, 3]);
    let deposits = seen.deposits(1, 9).unwrap();
    assert_eq!(deposits.iter().map(|deposit| deposit.gas_limit).collect::<Vec<_>>(), [21_001, 21_002]);
    let blocks = [0, 1, 4, 5, 9, 10];
    let batches = blocks.map(|block| index(seen.batch_of_block(block).unwrap()));
    assert_eq!(batches, [Some(0), Some(1), Some(1), Some(2), Some(2), None]);
    let batch = seen.batch(1).unwrap().unwrap();
    assert_eq!((batch.committed.block_number, batch.committed.timestamp), (3, 1_003));
    assert_eq!(batch.attested.unwrap().block_number, 4);
    assert_eq!((batch.proven, batch.settled), (None, None));
    assert_eq!(seen.tags().unwrap(), (9, 0));

    // The second is dropped and another takes its place; the first becomes final.
    let logs = vec![dropped(2, 2), committed(header(2, 6)), proven(ProofSystem::Zk, 1, 1), settled(1)];
    chain.lock().unwrap().push(logs);
    assert!(watcher.poll().await.unwrap());
    let seen = state(&watcher);
    assert_eq!((seen.latest.head, seen.latest.last_final), (2, 1));
    assert_eq!(index(seen.batch_of_block(6).unwrap()), Some(2));
    let again = seen.batch(2).unwrap().unwrap();
    assert_eq!((again.header.last_block, again.attested), (6, None), "another batch has no proof yet");
    assert!(seen.batch(1).unwrap().unwrap().settled.is_some());
    assert_eq!(seen.tags().unwrap(), (6, 0), "final, but not in a finalized block");
}

#[tokio::test]
async fn what_l1_takes_back_is_gone_and_what_it_finalized_is_kept() {
    let (folder, chain) = (tempfile::tempdir().unwrap(), chain());
    let l1 = serve(chain.clone()).await;
    let mut first = watcher(&l1, folder.path());
    chain.lock().unwrap().finalized = 2;
    first.poll().await.unwrap();
    assert_eq!((state(&first).finalized.messages, state(&first).finalized.head), (3, 0));
    chain.lock().unwrap().reorganise(2);
    assert!(first.poll().await.unwrap());
    let seen = state(&first);
    assert_eq!((seen.latest.head, seen.latest.messages), (0, 3));
    assert_eq!(index(seen.batch_of_block(4).unwrap()), None);
    assert_eq!(seen.message(2).unwrap().unwrap().deposit.gas_limit, 21_002);

    // A new one goes on at the cursor: it does not ask for what is below.
    drop((first, seen));
    chain.lock().unwrap().push(vec![committed(header(1, 4)), settled(1)]);
    chain.lock().unwrap().blocks[1].1.clear();
    let mut second = watcher(&l1, folder.path());
    assert!(second.poll().await.is_err(), "the contract's queue is another now");
    chain.lock().unwrap().blocks[1].1 = vec![opened(), queued(0)];
    chain.lock().unwrap().finalized = 5;
    second.poll().await.unwrap();
    let seen = state(&second);
    assert_eq!((seen.finalized.head, seen.finalized.last_final, seen.finalized.block.number), (1, 1, 5));
    assert_eq!(seen.tags().unwrap(), (4, 4));
    assert_eq!(index(seen.batch(0).unwrap()), Some(0));
    drop((second, seen));
    let third = watcher(&l1, folder.path());
    assert_eq!(state(&third).tags().unwrap(), (4, 4), "known before L1 is asked");
}

#[tokio::test]
async fn an_event_that_is_left_out_is_noticed() {
    let chain = chain();
    let l1 = serve(chain.clone()).await;
    // The last message: only the contract shows that there is one more. Another: the next has a wrong index.
    for (hidden, last) in [(3, true), (1, false), (2, false)] {
        let folder = tempfile::tempdir().unwrap();
        chain.lock().unwrap().hidden = Some(hidden);
        let error = watcher(&l1, folder.path()).poll().await.unwrap_err();
        match last {
            true => assert!(matches!(error, Error::Queue { found: 2, length: 3, .. }), "{error}"),
            false => assert!(matches!(error, Error::NotTheContracts("Inbox")), "{error}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    chain.lock().unwrap().hidden = None;
    chain.lock().unwrap().chain_id = 8;
    let error = watcher(&l1, folder.path()).poll().await.unwrap_err();
    assert!(matches!(error, Error::WrongL1 { found: 8, expected: 7 }), "{error}");
}
