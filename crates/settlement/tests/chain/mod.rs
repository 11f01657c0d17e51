//! An L1 that a test writes block by block, with the events of a chain's contracts.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, LogData, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolEventInterface, SolValue};
use axum::{Json, Router, extract::State as Extract, routing::post};
use jove_primitives::{
    ChainSpec,
    batch::BatchHeader,
    predeploys::EMPTY_OUTBOX_ROOT,
    spec::{BlobFeeUpdate, Settlement},
};
use jove_settlement::{
    L1, L1Config,
    contracts::{Inbox, ProofSystem, Rollup},
    watcher::{L1State, Watcher, genesis_batch},
};
use jove_storage::{Options, Storage};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

pub const GENESIS: B256 = B256::repeat_byte(9);
pub const ROLLUP: Address = Address::repeat_byte(1);
pub const INBOX: Address = Address::repeat_byte(2);

/// An L1 that a test writes block by block.
#[derive(Default)]
pub struct Chain {
    pub blocks: Vec<(Header, Vec<(Address, LogData)>)>,
    pub finalized: usize,
    pub chain_id: u64,
    /// A log of this index in the chain is left out.
    pub hidden: Option<usize>,
    pub salt: u8,
}

impl Chain {
    pub fn push(&mut self, logs: Vec<(Address, LogData)>) {
        let number = self.blocks.len() as u64;
        let parent_hash = self.blocks.last().map_or(B256::ZERO, |(header, _)| header.hash_slow());
        let extra_data = Bytes::from(vec![self.salt]);
        let header = Header { number, parent_hash, timestamp: 1_000 + number, extra_data, ..Default::default() };
        self.blocks.push((header, logs));
    }

    /// Replaces the last blocks by empty ones.
    pub fn reorganise(&mut self, depth: usize) {
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

    /// The batches' hashes from genesis on, the last final one's index, the era, and whether the escape has begun, after a block.
    fn batches(&self, hash: B256) -> (Vec<B256>, u64, u32, bool) {
        let upto = self.blocks.iter().position(|(header, _)| header.hash_slow() == hash).unwrap();
        let (mut batches, mut last_final, mut era, mut halted) = (Vec::new(), 0, 0, false);
        for (_, log) in self.blocks[..=upto].iter().flat_map(|(_, logs)| logs) {
            use Rollup::RollupEvents as Event;
            match Rollup::RollupEvents::decode_raw_log(log.topics(), &log.data) {
                Ok(Event::Opened(event)) => batches.push(event.batchHash),
                Ok(Event::BatchCommitted(event)) => batches.push(event.batchHash),
                Ok(Event::BatchesDropped(event)) => batches.truncate(event.index as usize),
                Ok(Event::BatchFinal(event)) => last_final = event.index,
                Ok(Event::EraBegun(event)) => era = event.era,
                Ok(Event::EscapeStarted(_)) => halted = true,
                _ => {}
            }
        }
        (batches, last_final, era, halted)
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
                // An L1 node keeps no old states.
                let recent = [self.blocks.len() - 1, self.finalized];
                assert!(recent.iter().any(|number| self.blocks[*number].0.hash_slow() == hash));
                let (length, rolling) = self.queue(hash);
                let input: Bytes = serde_json::from_value(params[0]["input"].clone()).unwrap();
                let (batches, last_final, era, halted) = self.batches(hash);
                let answer = match input[..4].try_into().unwrap() {
                    Inbox::lengthCall::SELECTOR => U256::from(length).abi_encode(),
                    Inbox::queueHashCall::SELECTOR => rolling.abi_encode(),
                    Rollup::headIndexCall::SELECTOR => U256::from(batches.len() - 1).abi_encode(),
                    Rollup::finalIndexCall::SELECTOR => U256::from(last_final).abi_encode(),
                    Rollup::eraCall::SELECTOR => U256::from(era).abi_encode(),
                    Rollup::phaseCall::SELECTOR => {
                        U256::from(u8::from(!batches.is_empty()) + u8::from(halted)).abi_encode()
                    }
                    Rollup::batchAtCall::SELECTOR => {
                        let batch = *batches.last().unwrap();
                        (batch, B256::ZERO, [0u64; 4]).abi_encode_params()
                    }
                    other => panic!("{other:?}"),
                };
                json!(Bytes::from(answer))
            }
            other => panic!("{other}"),
        }
    }
}

pub type Shared = Arc<Mutex<Chain>>;

pub async fn serve(chain: Shared) -> L1 {
    async fn answer(Extract(chain): Extract<Shared>, Json(request): Json<Value>) -> Json<Value> {
        let result = chain.lock().unwrap().answer(request["method"].as_str().unwrap(), &request["params"]);
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(chain);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = L1Config { retries: 0, timeout: Duration::from_secs(60), ..Default::default() };
    L1::with_config(&url, config).unwrap()
}

pub fn spec() -> Arc<ChainSpec> {
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

pub fn genesis() -> BatchHeader {
    let spec = spec();
    genesis_batch(&spec, spec.settlement.as_ref().unwrap(), GENESIS)
}

pub fn opened() -> (Address, LogData) {
    let genesis_event = Rollup::Genesis {
        blockHash: GENESIS,
        stateRoot: B256::repeat_byte(3),
        outboxRoot: EMPTY_OUTBOX_ROOT,
        supply: U256::ZERO,
    };
    (ROLLUP, Rollup::Opened { batchHash: genesis().hash(&[]), genesis: genesis_event }.encode_log_data())
}

pub fn queued(index: u64) -> (Address, LogData) {
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

pub fn header(index: u64, last_block: u64) -> BatchHeader {
    let last_block_hash = B256::repeat_byte(last_block as u8);
    BatchHeader { index, first_block: last_block, last_block, last_block_hash, ..genesis() }
}

pub fn committed(header: BatchHeader) -> (Address, LogData) {
    let blobs = vec![B256::repeat_byte(header.index as u8)];
    let batch_hash = header.hash(&blobs);
    let event = Rollup::BatchCommitted { index: header.index, batchHash: batch_hash, batch: header.into(), blobs };
    (ROLLUP, event.encode_log_data())
}

pub fn proven(system: ProofSystem, first: u64, last: u64) -> (Address, LogData) {
    let prover = Rollup::Prover { key: Address::ZERO, platform: B256::ZERO, vendor: 0 };
    let event = Rollup::ProofAccepted { system: system as u8, first, last, payout: Address::ZERO, prover };
    (ROLLUP, event.encode_log_data())
}

pub fn dropped(index: u64, head: u64) -> (Address, LogData) {
    (ROLLUP, Rollup::BatchesDropped { index, head }.encode_log_data())
}

pub fn settled(index: u64) -> (Address, LogData) {
    let hash = B256::repeat_byte(7);
    let event =
        Rollup::BatchFinal { index, batchHash: hash, output: hash, stateRoot: hash, outboxRoot: EMPTY_OUTBOX_ROOT };
    (ROLLUP, event.encode_log_data())
}

pub fn watcher(l1: &L1, folder: &Path) -> Watcher {
    let storage = Storage::open(folder, Options { sync: false }).unwrap();
    Watcher::new(l1.clone(), spec(), GENESIS, storage).unwrap()
}

pub fn state(watcher: &Watcher) -> L1State {
    watcher.state().borrow().clone()
}
