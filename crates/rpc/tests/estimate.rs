//! What `eth_estimateGas` says suffices: a transaction with exactly that limit and the fees that the chain quotes is taken and succeeds, L1 data fee
//! included, also when L1 has become dearer meanwhile. Where the balance is short, that is what is said, before anything is sent.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use jove_primitives::{ChainSpec, Transaction, block::L1Prices, fee::l1_data_fee, l1::L1Origin, spec::GenesisL1Prices};
use jove_rpc::{Server, ServerConfig};
use jove_sequencer::{L1Config, Node, NodeConfig, PoolConfig};
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};

const CHAIN_ID: u64 = 5683;
const GWEI: u64 = 1_000_000_000;

/// Stores the second word of its input in as many slots as the first says.
const STORE: &[u8] = &hex!("5f355b801560145760203581556001900360025 65b00");
/// Calls the address in the first word of its input with the rest and all gas and value, and reverts where that fails.
const FORWARD: &[u8] = &hex!("602036038060205f375f5f825f345f355af1601857 5f5ffd5b00");
/// Reverts with less than 100,000 gas left.
const HUNGRY: &[u8] = &hex!("5a620186a010600c57 5f5ffd5b00");
/// Returns all its gas but what a loop of 200 hashes takes.
const HASH: &[u8] = &hex!("60c85b8015601357 5f5f2050 60019003600256 5b00");

struct Signer {
    key: SecretKey,
    address: Address,
}

impl Signer {
    fn new(seed: u64) -> Self {
        let key = SecretKey::from_secret_bytes(keccak256(seed.to_be_bytes()).0).unwrap();
        let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
        Self { key, address: Address::from_slice(&keccak256(&public[1..])[12..]) }
    }

    fn sign(&self, hash: B256) -> Signature {
        let (parity, rs) =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.key).serialize_compact();
        Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1)
    }
}

/// A transaction before its gas limit is known.
#[derive(Clone, Debug)]
struct Shape {
    name: &'static str,
    /// EIP-2718.
    kind: u8,
    to: Option<Address>,
    value: U256,
    input: Bytes,
    access_list: AccessList,
    authorizations: Vec<SignedAuthorization>,
}

impl Shape {
    fn call(name: &'static str, to: Address, input: impl Into<Bytes>) -> Self {
        let (value, access_list) = (U256::ZERO, AccessList::default());
        Self { name, kind: 2, to: Some(to), value, input: input.into(), access_list, authorizations: Vec::new() }
    }

    fn request(&self, from: Address, fees: Option<(u64, u64)>) -> Value {
        let mut request = json!({"from": from, "value": self.value, "input": self.input});
        if let Some(to) = self.to {
            request["to"] = json!(to);
        }
        if self.kind == 1 {
            request["accessList"] = json!(self.access_list);
        }
        if self.kind == 4 {
            request["authorizationList"] = json!(self.authorizations);
        }
        if let Some((cap, tip)) = fees {
            if self.kind < 2 {
                request["gasPrice"] = json!(U256::from(cap));
            } else {
                request["maxFeePerGas"] = json!(U256::from(cap));
                request["maxPriorityFeePerGas"] = json!(U256::from(tip));
            }
        }
        request
    }

    fn signed(&self, signer: &Signer, nonce: u64, gas_limit: u64, (cap, tip): (u64, u64)) -> Bytes {
        let Self { kind, to, value, input, access_list, authorizations, .. } = self.clone();
        let to_kind = to.map_or(TxKind::Create, TxKind::Call);
        let (max_fee_per_gas, max_priority_fee_per_gas) = (u128::from(cap), u128::from(tip));
        let chain_id = CHAIN_ID;
        let transaction: Transaction = match kind {
            0 => {
                let tx = TxLegacy {
                    chain_id: Some(chain_id),
                    nonce,
                    gas_price: max_fee_per_gas,
                    gas_limit,
                    to: to_kind,
                    value,
                    input,
                };
                let signature = signer.sign(tx.signature_hash());
                tx.into_signed(signature).into()
            }
            1 => {
                let gas_price = max_fee_per_gas;
                let tx = TxEip2930 { chain_id, nonce, gas_price, gas_limit, to: to_kind, value, access_list, input };
                let signature = signer.sign(tx.signature_hash());
                tx.into_signed(signature).into()
            }
            4 => {
                let tx = TxEip7702 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to: to.unwrap(),
                    value,
                    access_list,
                    authorization_list: authorizations,
                    input,
                };
                let signature = signer.sign(tx.signature_hash());
                tx.into_signed(signature).into()
            }
            _ => {
                let tx = TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to: to_kind,
                    value,
                    access_list,
                    input,
                };
                let signature = signer.sign(tx.signature_hash());
                tx.into_signed(signature).into()
            }
        };
        transaction.encoded_2718().into()
    }
}

struct Chain {
    node: Arc<Node>,
    client: reqwest::Client,
    url: String,
    prices: L1Prices,
    l1_blocks: u64,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Chain {
    fn start() -> Self {
        // reqwest has no cryptography of its own, and is built with TLS in this workspace.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let prices = L1Prices { base_fee: u128::from(30 * GWEI), blob_base_fee: u128::from(2 * GWEI) };
        let mut spec = ChainSpec::dev();
        spec.l1_prices =
            GenesisL1Prices { base_fee: U256::from(prices.base_fee), blob_base_fee: U256::from(prices.blob_base_fee) };
        let config = NodeConfig {
            datadir: folder.path().join("data"),
            spec,
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
        let node = Node::start(config).unwrap();
        let config = ServerConfig { http_addr: SocketAddr::from(([127, 0, 0, 1], 0)), ..Default::default() };
        let server = Server::start(node.clone(), config, Vec::new(), axum::Router::new()).unwrap();
        let url = format!("http://{}", server.local_addr());
        let client = reqwest::Client::new();
        Self { node, client, url, prices, l1_blocks: 0, _server: server, _folder: folder }
    }

    async fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let mut answer: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        match answer.get("error") {
            Some(error) => Err(error["message"].as_str().unwrap().to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    async fn number(&self, method: &str, params: Value) -> u64 {
        let value = self.ask(method, params.clone()).await.unwrap_or_else(|error| panic!("{method} {params}: {error}"));
        serde_json::from_value::<U256>(value).unwrap().to()
    }

    async fn set_balance(&self, address: Address, balance: U256) {
        self.ask("anvil_setBalance", json!([address, balance])).await.unwrap();
    }

    /// Cap and tip as wallets ask for them.
    async fn fees(&self) -> (u64, u64) {
        (self.number("eth_gasPrice", json!([])).await, self.number("eth_maxPriorityFeePerGas", json!([])).await)
    }

    async fn estimate(&self, request: Value) -> Result<u64, String> {
        Ok(serde_json::from_value::<U256>(self.ask("eth_estimateGas", json!([request])).await?).unwrap().to())
    }

    async fn send(&self, raw: &Bytes) -> Result<Value, String> {
        self.ask("eth_sendRawTransactionSync", json!([raw, 60_000])).await
    }

    /// An L1 origin whose prices are higher by the most that one L1 block can raise them (EIP-1559; EIP-4844 with EIP-7691's numbers).
    fn raise_prices(&mut self) {
        self.prices.base_fee += self.prices.base_fee / 8;
        self.prices.blob_base_fee = self.prices.blob_base_fee * 10_817 / 10_000 + 1;
        self.l1_blocks += 1;
        let origin = L1Origin {
            number: self.l1_blocks,
            timestamp: self.node.now_ms() / 1000,
            base_fee: U256::from(self.prices.base_fee),
            hash: B256::with_last_byte(self.l1_blocks as u8),
            blob_base_fee: U256::from(self.prices.blob_base_fee),
            mix_hash: B256::repeat_byte(9),
            messages: 0,
        };
        self.node.consume(Some(origin), Vec::new()).unwrap();
    }

    async fn deploy(&self, deployer: &Signer, code: &[u8]) -> Address {
        let length = code.len() as u8;
        let init = [&[0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3], code].concat();
        let shape = Shape { to: None, ..Shape::call("deploy", Address::ZERO, init) };
        let nonce = self.number("eth_getTransactionCount", json!([deployer.address])).await;
        let receipt = self.send(&shape.signed(deployer, nonce, 1_000_000, self.fees().await)).await.unwrap();
        assert_eq!(receipt["status"], "0x1");
        serde_json::from_value(receipt["contractAddress"].clone()).unwrap()
    }
}

fn words(words: &[U256]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
}

fn word(address: Address) -> U256 {
    address.into_word().into()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    (0u64..).flat_map(|i| keccak256(i.to_be_bytes()).0).take(length).collect()
}

/// Transactions of all kinds; `seed` makes their amounts, and other slots are written with each.
fn shapes(sender: &Signer, [store, forward, hungry, hash]: [Address; 4], nonce: u64, seed: u64) -> Vec<Shape> {
    let n = U256::from(1 + seed % 7);
    let set = words(&[n, U256::from(seed + 1)]);
    let clear = words(&[n, U256::ZERO]);
    let through = |targets: &[Address], input: &[u8]| {
        [words(&targets.iter().copied().map(word).collect::<Vec<_>>()), input.to_vec()].concat()
    };
    let init = [&hex!("6001600055600a600c600039600a6000f3")[..], &noise(500)].concat();
    let other = Signer::new(1_000 + seed);
    let delegate = |signer: &Signer, nonce| {
        let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: store, nonce };
        let signature = signer.sign(authorization.signature_hash());
        authorization.into_signed(signature)
    };
    let slots = (0..3).map(|slot| B256::from(U256::from(slot))).collect();
    let list = AccessList(vec![AccessListItem { address: store, storage_keys: slots }]);
    vec![
        Shape {
            value: U256::from(seed),
            ..Shape::call("a transfer", Address::repeat_byte(seed as u8 | 1), Bytes::new())
        },
        Shape { kind: 0, value: U256::from(7), ..Shape::call("a legacy transfer", other.address, Bytes::new()) },
        Shape::call("new slots", store, set.clone()),
        Shape::call("a refund", store, clear.clone()),
        Shape { kind: 1, access_list: list, ..Shape::call("an access list", store, set.clone()) },
        Shape::call("all gas but a 64th", forward, through(&[store], &set)),
        Shape::call("a refund behind four calls", forward, through(&[forward, forward, forward, store], &clear)),
        Shape { value: U256::from(3), ..Shape::call("value through a call", forward, through(&[other.address], &[])) },
        Shape::call("more gas than it uses", hungry, Bytes::new()),
        Shape::call("the same, behind a call", forward, through(&[hungry], &[])),
        Shape::call("a loop", hash, Bytes::new()),
        Shape { to: None, ..Shape::call("a creation", Address::ZERO, init) },
        Shape { to: None, value: U256::from(1), ..Shape::call("a creation without code", Address::ZERO, Bytes::new()) },
        Shape {
            kind: 4,
            authorizations: vec![delegate(sender, nonce + 1)],
            ..Shape::call("delegating oneself", sender.address, set.clone())
        },
        Shape {
            kind: 4,
            authorizations: vec![delegate(&other, 0), delegate(sender, 10_000)],
            ..Shape::call("delegating another", other.address, set.clone())
        },
        Shape::call("many zeros", store, [words(&[U256::ZERO]), vec![0; 20_000]].concat()),
        Shape::call("many other bytes", store, [words(&[U256::ZERO]), noise(20_000)].concat()),
        Shape::call("many bytes and work", store, [set, noise(3_000)].concat()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_suffices() {
    let mut chain = Chain::start();
    let rich = U256::from(10).pow(U256::from(20));
    let deployer = Signer::new(0);
    chain.set_balance(deployer.address, rich).await;
    let mut contracts = [Address::ZERO; 4];
    for (address, code) in contracts.iter_mut().zip([STORE, FORWARD, HUNGRY, HASH]) {
        *address = chain.deploy(&deployer, code).await;
    }
    for round in 0..6u64 {
        for index in 0..18 {
            // Whoever delegates goes on with code.
            let sender = Signer::new(1 + round % 2 + 2 * index as u64);
            let nonce = chain.number("eth_getTransactionCount", json!([sender.address])).await;
            let shape = shapes(&sender, contracts, nonce, 13 * round + index as u64)[index].clone();
            let what = format!("{}, round {round}", shape.name);
            chain.set_balance(sender.address, rich).await;
            let fees = chain.fees().await;
            // With prices and without, it is the same.
            let gas = chain.estimate(shape.request(sender.address, None)).await.expect(&what);
            assert_eq!(chain.estimate(shape.request(sender.address, Some(fees))).await, Ok(gas), "{what}");
            if round % 2 == 1 && chain.l1_blocks < 60 {
                chain.raise_prices();
            }
            let raw = shape.signed(&sender, nonce, gas, fees);
            // The last wei counts.
            let fee = l1_data_fee(&raw, chain.prices);
            assert!(fee > U256::ZERO);
            let cost = U256::from(gas) * U256::from(fees.0) + shape.value + fee;
            chain.set_balance(sender.address, cost - U256::ONE).await;
            let refused = chain.send(&raw).await.expect_err(&what);
            let short = format!(
                "insufficient funds for gas * price + value: balance {}, tx cost {cost}, overshot 1",
                cost - U256::ONE
            );
            assert_eq!(refused, short, "{what}");
            chain.set_balance(sender.address, cost).await;
            let receipt = chain.send(&raw).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(receipt["status"], "0x1", "{what}");
            assert_eq!(serde_json::from_value::<U256>(receipt["l1Fee"].clone()).unwrap(), fee, "{what}");
        }
    }
}

/// Whatever a balance is: either the estimate says that it is short, or the transaction with that limit is taken and succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_balance_is_said_at_the_estimate() {
    let chain = Chain::start();
    let sender = Signer::new(77);
    let rich = U256::from(10).pow(U256::from(20));
    chain.set_balance(sender.address, rich).await;
    let store = chain.deploy(&sender, STORE).await;
    let (mut short, mut taken) = (0, 0);
    for (step, shape) in [
        Shape { value: U256::from(5), ..Shape::call("a transfer", Address::repeat_byte(1), Bytes::new()) },
        Shape::call("new slots", store, words(&[U256::from(3), U256::from(8)])),
        Shape::call("data", store, [words(&[U256::ZERO]), noise(2_000)].concat()),
    ]
    .iter()
    .flat_map(|shape| (0u64..24).map(move |step| (step, shape)))
    {
        let nonce = chain.number("eth_getTransactionCount", json!([sender.address])).await;
        let fees = chain.fees().await;
        chain.set_balance(sender.address, rich).await;
        let gas = chain.estimate(shape.request(sender.address, Some(fees))).await.unwrap();
        let fee = l1_data_fee(&shape.signed(&sender, nonce, gas, fees), chain.prices);
        let execution = U256::from(gas) * U256::from(fees.0);
        // From nothing to all of it and a third of the data fee more.
        let balance = (shape.value + execution + fee + fee / U256::from(3)) * U256::from(step) / U256::from(23);
        chain.set_balance(sender.address, balance).await;
        match chain.estimate(shape.request(sender.address, Some(fees))).await {
            Err(error) => {
                assert!(
                    balance < shape.value + execution + fee + fee / U256::from(3),
                    "{}, {step}: {error}",
                    shape.name
                );
                let known = ["insufficient funds", "gas required exceeds allowance"];
                assert!(known.iter().any(|words| error.starts_with(words)), "{}, {step}: {error}", shape.name);
                short += 1;
            }
            Ok(limit) => {
                let raw = shape.signed(&sender, nonce, limit, fees);
                let receipt = chain.send(&raw).await.unwrap_or_else(|error| panic!("{}, {step}: {error}", shape.name));
                assert_eq!(receipt["status"], "0x1", "{}, {step}", shape.name);
                taken += 1;
            }
        }
    }
    assert!(short > 20 && taken >= 3, "{short} {taken}");

    // The data fee alone is missing.
    let shape = Shape { value: U256::from(5), ..Shape::call("a transfer", Address::repeat_byte(1), Bytes::new()) };
    let fees = chain.fees().await;
    chain.set_balance(sender.address, U256::from(21_000) * U256::from(fees.0) + shape.value).await;
    let error = chain.estimate(shape.request(sender.address, Some(fees))).await.unwrap_err();
    assert!(error.contains("insufficient funds") || error.contains("exceeds allowance"), "{error}");
    chain.set_balance(sender.address, U256::from(6)).await;
    let error = chain.estimate(shape.request(sender.address, Some(fees))).await.unwrap_err();
    assert!(error.starts_with("insufficient funds for transfer and its L1 data fee"), "{error}");
}
