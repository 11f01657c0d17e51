//! An L1 that does what a test wants: it mines, reorganises, forgets, and loses questions and answers.
//!
//! It has one account that matters and one contract, whose call data is two numbers: how many commits there must have been, and the name of this one. With the
//! guard on, a commit succeeds only if the first number is right, as in `Rollup.commit`.

use alloy_consensus::{
    Header, Transaction as _,
    transaction::{PooledTransaction, Recovered},
};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, TxHash, U64, U256, keccak256};
use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
use jove_primitives::transaction::SignedTransaction;
use jove_settlement::{
    Key, L1, L1Config, Relayer, RelayerConfig, SealedHeader,
    relayer::{Fees, Request},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::Notify;

pub(crate) const CHAIN_ID: u64 = 900;
pub(crate) const GWEI: u128 = 1_000_000_000;
pub(crate) const CAPS: Fees =
    Fees { max_fee_per_gas: 40 * GWEI, max_priority_fee_per_gas: 8 * GWEI, max_fee_per_blob_gas: 20 * GWEI };

/// What happens to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered.
    None,
    /// It is lost.
    Drop,
    /// Its answer is lost.
    Lose,
    /// A transaction arrives when the next block is mined; anything else is lost.
    Late,
    /// It arrives twice, and the second answer is seen.
    Twice,
    /// Whoever asks dies before it arrives.
    DieBefore,
    /// Whoever asks dies before the answer arrives.
    DieAfter,
}

/// A transaction that came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) raw: Bytes,
    pub(crate) hash: TxHash,
    pub(crate) transaction: SignedTransaction,
}

impl Received {
    fn read(raw: Bytes) -> Option<Self> {
        let pooled = PooledTransaction::decode_2718_exact(&raw).ok()?;
        let hash = *pooled.tx_hash();
        let transaction = match pooled {
            PooledTransaction::Eip1559(signed) => SignedTransaction::Eip1559(signed),
            PooledTransaction::Eip4844(signed) => {
                let (tx, signature, hash) = signed.into_parts();
                assert_eq!(tx.sidecar.versioned_hashes().collect::<Vec<_>>(), tx.tx.blob_versioned_hashes);
                SignedTransaction::Eip4844(alloy_consensus::Signed::new_unchecked(tx.tx, signature, hash))
            }
            _ => return None,
        };
        Some(Self { raw, hash, transaction })
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.transaction.nonce()
    }

    /// How many commits there must have been, and the name of this one.
    pub(crate) fn commit(&self) -> (u64, u64) {
        numbers(self.transaction.input())
    }

    pub(crate) fn fees(&self) -> Fees {
        Fees {
            max_fee_per_gas: self.transaction.max_fee_per_gas(),
            max_priority_fee_per_gas: self.transaction.max_priority_fee_per_gas().expect("of type 2 or 3"),
            max_fee_per_blob_gas: self.transaction.max_fee_per_blob_gas().unwrap_or(0),
        }
    }

    /// All but nonce and fees.
    fn payload(&self) -> (Option<Address>, U256, Bytes, Vec<B256>) {
        let blobs = self.transaction.blob_versioned_hashes().unwrap_or_default().to_vec();
        (self.transaction.to(), self.transaction.value(), self.transaction.input().clone(), blobs)
    }
}

fn numbers(data: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from_be_bytes(data[at..at + 8].try_into().expect("eight bytes"));
    (number(0), number(8))
}

struct Block {
    header: SealedHeader,
    transactions: Vec<(Received, bool)>,
    /// After it.
    nonce: u64,
    /// Names, in order, up to it.
    commits: Vec<u64>,
}

type Script = Box<dyn FnMut(u64, &str) -> Fault + Send>;

/// What happens to the chain.
pub(crate) type Before = fn(&mut State);

pub(crate) struct State {
    blocks: Vec<Block>,
    /// By nonce.
    pub(crate) pool: BTreeMap<u64, Received>,
    pub(crate) received: Vec<Received>,
    late: Vec<Bytes>,
    pub(crate) calls: u64,
    script: Script,
    pub(crate) base_fee: u128,
    pub(crate) finality: u64,
    pub(crate) guard: bool,
    /// Words with which transactions are refused.
    pub(crate) refuse: Option<&'static str>,
    salt: u64,
    /// What happens to the chain right before the question with this number.
    pub(crate) before: Option<(u64, Before)>,
}

/// The L1. Clones are the same.
#[derive(Clone)]
pub(crate) struct Scripted {
    state: Arc<Mutex<State>>,
    died: Arc<Notify>,
    url: String,
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        Self::start_with_genesis(0).await
    }

    pub(crate) async fn start_with_genesis(salt: u64) -> Self {
        let genesis = Header { timestamp: 1000, base_fee_per_gas: Some(GWEI as u64), ..header(0, B256::ZERO, salt) };
        let block = Block { header: SealedHeader::new(genesis), transactions: vec![], nonce: 0, commits: vec![] };
        let state = State {
            blocks: vec![block],
            pool: BTreeMap::new(),
            received: vec![],
            late: vec![],
            calls: 0,
            script: Box::new(|_, _| Fault::None),
            base_fee: GWEI,
            finality: 4,
            guard: true,
            refuse: None,
            salt,
            before: None,
        };
        let (state, died) = (Arc::new(Mutex::new(state)), Arc::new(Notify::new()));
        let (inner, notify) = (state.clone(), died.clone());
        let answer = move |body: String| async move {
            let question: Value = serde_json::from_str(&body).expect("JSON");
            let method = question["method"].as_str().expect("a method");
            let (fault, answer) = inner.lock().expect("not poisoned").ask(method, &question["params"]);
            match fault {
                Fault::DieBefore | Fault::DieAfter => {
                    notify.notify_one();
                    std::future::pending().await
                }
                Fault::Drop | Fault::Lose | Fault::Late => StatusCode::BAD_GATEWAY.into_response(),
                Fault::None | Fault::Twice => {
                    let mut answer = answer;
                    answer["id"] = question["id"].clone();
                    answer.to_string().into_response()
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let router = Router::new().route("/", post(answer)).layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { state, died, url }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub(crate) fn script(&self, script: impl FnMut(u64, &str) -> Fault + Send + 'static) {
        self.state().script = Box::new(script);
    }

    pub(crate) fn client(&self) -> L1 {
        let config = L1Config {
            connect_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
            retries: 0,
            backoff: Duration::ZERO,
            max_answer: 1 << 20,
        };
        L1::with_config(&self.url, config).expect("a client")
    }

    pub(crate) fn open(&self, folder: &Path) -> Relayer {
        self.try_open(folder).expect("opened")
    }

    pub(crate) fn try_open(&self, folder: &Path) -> Result<Relayer, jove_settlement::Error> {
        Relayer::open(self.client(), signer(), config(), folder)
    }

    /// One step; `false` if the relayer died in it. Failures of L1 are part of the play.
    pub(crate) async fn step(&self, relayer: &mut Relayer) -> bool {
        tokio::select! {
            biased;
            () = self.died.notified() => false,
            result = relayer.step() => {
                if let Err(error) = result {
                    assert!(error.is_transient(), "{error}");
                }
                true
            }
        }
    }

    /// One step that must succeed.
    pub(crate) async fn good_step(&self, relayer: &mut Relayer) {
        relayer.step().await.expect("a good step");
    }

    /// A block with what the pool has and it may include; or an empty one.
    pub(crate) fn mine(&self, include: bool) {
        self.state().mine(include);
    }

    /// Replaces the last blocks by as many empty ones, but no final one. Their transactions go back to the pool, or are forgotten with all others.
    pub(crate) fn reorganise(&self, depth: usize, keep: bool) {
        let mut state = self.state();
        let depth = depth.min(state.blocks.len() - 1).min(state.finality as usize - 1);
        state.reorganise(depth, keep);
    }

    /// Names of the commits on the chain.
    pub(crate) fn commits(&self) -> Vec<u64> {
        self.state().head().commits.clone()
    }

    /// What must hold of everything that one relayer has ever sent.
    pub(crate) fn check_sent(&self) {
        let state = self.state();
        let mut by_name = BTreeMap::new();
        for sent in &state.received {
            let Fees { max_fee_per_gas, max_priority_fee_per_gas, max_fee_per_blob_gas } = sent.fees();
            assert!(max_fee_per_gas <= CAPS.max_fee_per_gas, "{sent:?}");
            assert!(max_priority_fee_per_gas <= CAPS.max_priority_fee_per_gas, "{sent:?}");
            assert!(max_fee_per_blob_gas <= CAPS.max_fee_per_blob_gas, "{sent:?}");
            let (nonce, payload) = by_name.entry(sent.commit().1).or_insert((sent.nonce(), sent.payload()));
            assert_eq!(*nonce, sent.nonce(), "one nonce for a request");
            assert_eq!(*payload, sent.payload(), "one payload for a request");
        }
    }
}

impl State {
    pub(crate) fn reorganise(&mut self, depth: usize, keep: bool) {
        let withdrawn: Vec<Block> = self.blocks.drain(self.blocks.len() - depth..).collect();
        for (transaction, _) in withdrawn.into_iter().flat_map(|block| block.transactions) {
            self.pool.insert(transaction.nonce(), transaction);
        }
        if !keep {
            self.pool.clear();
        }
        self.salt += 1;
        for _ in 0..depth {
            self.mine(false);
        }
    }

    fn head(&self) -> &Block {
        self.blocks.last().expect("at least genesis")
    }

    fn mine(&mut self, include: bool) {
        for raw in std::mem::take(&mut self.late) {
            let _ = self.take(&raw);
        }
        let parent = self.head();
        let (number, mut nonce, mut commits) = (parent.header.number + 1, parent.nonce, parent.commits.clone());
        let header = Header {
            timestamp: parent.header.timestamp + 12,
            base_fee_per_gas: Some(self.base_fee as u64),
            ..header(number, parent.header.hash(), self.salt)
        };
        let mut transactions = vec![];
        while let Some(next) =
            self.pool.get(&nonce).filter(|next| include && next.fees().max_fee_per_gas >= self.base_fee)
        {
            let (parent, name) = next.commit();
            let success = !self.guard || parent == commits.len() as u64;
            if success {
                commits.push(name);
            }
            transactions.push((next.clone(), success));
            nonce += 1;
        }
        self.pool.retain(|waiting, _| *waiting >= nonce);
        self.blocks.push(Block { header: SealedHeader::new(header), transactions, nonce, commits });
    }

    fn ask(&mut self, method: &str, params: &Value) -> (Fault, Value) {
        if let Some((_, happen)) = self.before.take_if(|(call, _)| *call == self.calls) {
            happen(self);
        }
        let fault = (self.script)(self.calls, method);
        self.calls += 1;
        match fault {
            Fault::Drop | Fault::DieBefore => return (fault, Value::Null),
            Fault::Late => {
                if method == "eth_sendRawTransaction" {
                    self.late.push(serde_json::from_value(params[0].clone()).expect("bytes"));
                }
                return (fault, Value::Null);
            }
            Fault::Twice => {
                let _ = self.answer(method, params);
            }
            Fault::None | Fault::Lose | Fault::DieAfter => {}
        }
        let answer = match self.answer(method, params) {
            Ok(result) => json!({"jsonrpc": "2.0", "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "error": error}),
        };
        (fault, answer)
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let hash = || serde_json::from_value::<B256>(params[0].clone()).expect("a hash");
        Ok(match method {
            "eth_chainId" => json!(U64::from(CHAIN_ID)),
            "eth_maxPriorityFeePerGas" => json!(U256::from(GWEI)),
            "eth_blobBaseFee" => json!(U256::from(GWEI)),
            "eth_getBlockByNumber" => match self.block(&params[0]) {
                Some(block) => json!(alloy_rpc_types_eth::Header::from_sealed(block.header.clone())),
                None => Value::Null,
            },
            "eth_getTransactionCount" => {
                assert_eq!(params[0], json!(signer().address()));
                let pending = params[1] == "pending";
                let block = if pending { Some(self.head()) } else { self.block(&params[1]) };
                let Some(block) = block else {
                    return Err(json!({"code": -32000, "message": "hash is not currently canonical"}));
                };
                let mut nonce = block.nonce;
                while pending && self.pool.contains_key(&nonce) {
                    nonce += 1;
                }
                json!(U64::from(nonce))
            }
            "eth_getTransactionReceipt" => {
                let hash = hash();
                let found = self.blocks.iter().find_map(|block| {
                    Some((block, block.transactions.iter().find(|(transaction, _)| transaction.hash == hash)?))
                });
                found.map_or(Value::Null, |(block, (transaction, success))| receipt(block, transaction, *success))
            }
            "eth_getTransactionByHash" => {
                let hash = hash();
                let mined =
                    self.blocks.iter().flat_map(|block| &block.transactions).map(|(transaction, _)| transaction);
                let found = mined.chain(self.pool.values()).find(|transaction| transaction.hash == hash);
                found.map_or(Value::Null, |found| {
                    json!(alloy_rpc_types_eth::Transaction {
                        inner: Recovered::new_unchecked(found.transaction.clone(), signer().address()),
                        block_hash: None,
                        block_number: None,
                        transaction_index: None,
                        effective_gas_price: None,
                        block_timestamp: None,
                    })
                })
            }
            "eth_estimateGas" => {
                let data: Bytes = serde_json::from_value(params[0]["input"].clone()).expect("call data");
                let (parent, _) = numbers(&data);
                let count = self.head().commits.len() as u64;
                if self.guard && parent != count {
                    let data: Bytes = [&keccak256("WrongParent(bytes32)")[..4], &U256::from(count).to_be_bytes::<32>()]
                        .concat()
                        .into();
                    return Err(json!({"code": 3, "message": "execution reverted", "data": data}));
                }
                json!(U64::from(100_000))
            }
            "eth_sendRawTransaction" => {
                let raw: Bytes = serde_json::from_value(params[0].clone()).expect("bytes");
                json!(self.take(&raw).map_err(|message| json!({"code": -32000, "message": message}))?)
            }
            other => panic!("{other} was not expected"),
        })
    }

    fn block(&self, name: &Value) -> Option<&Block> {
        let number = match name.as_str() {
            Some("latest") => self.head().header.number,
            Some("finalized") => self.head().header.number.saturating_sub(self.finality),
            Some(number) => number.parse::<U64>().expect("a number").to(),
            None => {
                let hash: B256 = serde_json::from_value(name["blockHash"].clone()).expect("a hash");
                return self.blocks.iter().find(|block| block.header.hash() == hash);
            }
        };
        self.blocks.get(number as usize)
    }

    /// The rules of geth's pools.
    fn take(&mut self, raw: &Bytes) -> Result<TxHash, &'static str> {
        let sent = Received::read(raw.clone()).ok_or("rlp: it does not decode")?;
        if let Some(words) = self.refuse {
            return Err(words);
        }
        self.received.push(sent.clone());
        if sent.nonce() < self.head().nonce {
            return Err("nonce too low");
        }
        if let Some(known) = self.pool.get(&sent.nonce()) {
            if known.hash == sent.hash {
                return Err("already known");
            }
            let blobs = sent.transaction.blob_versioned_hashes().is_some();
            let enough = |old: u128, new: u128| new >= if blobs { 2 * old } else { old * 110 / 100 };
            let (old, new) = (known.fees(), sent.fees());
            let pays = enough(old.max_fee_per_gas, new.max_fee_per_gas)
                && enough(old.max_priority_fee_per_gas, new.max_priority_fee_per_gas)
                && enough(old.max_fee_per_blob_gas, new.max_fee_per_blob_gas);
            if !pays {
                return Err("replacement transaction underpriced");
            }
        }
        let hash = sent.hash;
        self.pool.insert(sent.nonce(), sent);
        Ok(hash)
    }
}

fn header(number: u64, parent: B256, salt: u64) -> Header {
    Header {
        number,
        parent_hash: parent,
        extra_data: salt.to_be_bytes().into(),
        gas_limit: 60_000_000,
        ..Default::default()
    }
}

fn receipt(block: &Block, transaction: &Received, success: bool) -> Value {
    json!({
        "type": U64::from(transaction.transaction.encoded_2718()[0]),
        "status": U64::from(success),
        "cumulativeGasUsed": "0x186a0",
        "gasUsed": "0x186a0",
        "effectiveGasPrice": "0x3b9aca00",
        "logs": [],
        "logsBloom": alloy_primitives::Bloom::ZERO,
        "transactionHash": transaction.hash,
        "transactionIndex": "0x0",
        "blockHash": block.header.hash(),
        "blockNumber": U64::from(block.header.number),
        "from": signer().address(),
        "to": transaction.transaction.to(),
        "contractAddress": null,
    })
}

pub(crate) fn signer() -> Key {
    Key::new(B256::repeat_byte(0x42)).expect("a key")
}

pub(crate) fn config() -> RelayerConfig {
    RelayerConfig {
        caps: CAPS,
        bump_blocks: 3,
        foreign_blocks: 5,
        max_open: 8,
        poll: Duration::from_millis(1),
        // Small, so that the journal is written anew all the time.
        journal_bytes: 4096,
        ..Default::default()
    }
}

pub(crate) fn key(name: u64) -> String {
    format!("commit {name}")
}

/// A commit after `parent` others.
pub(crate) fn commit(parent: u64, name: u64) -> Request {
    Request {
        key: key(name),
        to: Address::repeat_byte(0x0c),
        value: U256::ZERO,
        data: [parent.to_be_bytes(), name.to_be_bytes()].concat().into(),
        gas_limit: None,
        sidecar: None,
    }
}
