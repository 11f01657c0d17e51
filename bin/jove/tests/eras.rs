//! A chain with validators whose operators are silent: strangers commit what is certified, and then a message that nobody committed; a new era begins there, on every
//! node, whatever was certified above; and in it L1 takes certified batches again.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use alloy_primitives::{Address, B256, Bytes, U256, address, hex};
use alloy_sol_types::SolCall;
use client::{
    Client, Process,
    chain::{free_address, init, transfer, until, write},
    layer1::{chain_file, jove, stdout},
    number,
};
use jove_primitives::{
    ChainSpec,
    spec::{GenesisValidator, Validators},
};
use jove_settlement::contracts::{Inbox, ValidatorAuthority};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Who gets what the message sends.
const FORCED: Address = address!("00000000000000000000000000000000000f0e01");
/// Development accounts: who sends the message, who owns the validator, and who operates it.
const SENDER: usize = 3;
const OWNER: &str = "2";
const OPERATOR: usize = 9;
/// Of the validator's node, and of the full node, who proves and who steps in.
const BESIDE: [usize; 2] = [8, 7];
const FULL: [usize; 2] = [5, 4];

struct World {
    folder: tempfile::TempDir,
    l1: Process,
    chain: String,
    address: String,
}

impl World {
    /// A chain with one validator, whose word alone is a quorum's, on an L1 with short delays.
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let (keys, address) = (place("validator"), free_address());
        std::fs::create_dir_all(&keys).expect("made");
        let entry = init(&keys, &["--sequencer", "--address", &address]);
        let entry: GenesisValidator = serde_json::from_str(&entry).expect("an entry");
        let validators = Validators { epoch_length: 500, term_length: 10, seats: 4, genesis: vec![entry] };
        let spec = ChainSpec { development: true, validators: Some(validators), ..ChainSpec::dev() };
        let template = write(folder.path(), "template.json", &spec);
        let l1 = Process::run("l1", &place("l1"), &[]);
        let chain = place("chain.json").display().to_string();
        let mut deploy = jove(&["deploy", "--l1-url", &l1.url(), "--out", &chain, "--mnemonic-index", "1"]);
        deploy.args(["--chain", &template, "--admission", "everyone", "--min-bond", "5"]);
        deploy.args(["--silence-delay", "1s", "--message-delay", "3s", "--drop-delay", "1h"]);
        stdout(&deploy.args(["--single-proof-delay", "10m", "--escape-delay", "1h"]).output().expect("it runs"));
        let world = Self { folder, l1, chain, address };
        // Whom an era begins with.
        let (datadir, operator) = (keys.display().to_string(), account(OPERATOR).0.to_string());
        let mut register = jove(&["validator", "register", "--datadir", &datadir, "--chain", &world.chain]);
        register.args(["--l1-url", &world.l1.url(), "--mnemonic-index", OWNER, "--sequencer", "--operator", &operator]);
        stdout(&register.output().expect("it runs"));
        world
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The flag that gives a node an account's key.
    fn key(&self, flag: &str, index: usize) -> String {
        let file = self.place(&format!("key{index}"));
        std::fs::write(&file, account(index).1.to_string()).expect("written");
        format!("--{flag}-key-file={}", file.display())
    }

    fn node(&self, name: &str, flags: &[&str]) -> Process {
        let url = self.l1.url();
        let common = ["--chain", &self.chain, "--l1-url", &url, "--l1-depth", "1", "--commit-deadline", "1s"];
        Process::run("node", &self.place(name), &[&common[..], flags].concat())
    }

    fn validator(&self, flags: &[&str]) -> Process {
        let own = ["--role", "validator", "--p2p-listen", &self.address, "--votes-from", "0"];
        self.node("validator", &[&own[..], flags].concat())
    }

    fn named(&self, contract: &str) -> Value {
        chain_file(self.chain.as_ref())["settlement"][contract].clone()
    }

    fn epoch(&self, era: u64) -> ValidatorAuthority::Epoch {
        let data = Bytes::from(ValidatorAuthority::epochAtCall { era, epoch: 0 }.abi_encode());
        let call = json!([{ "to": self.named("authority"), "data": data }, "latest"]);
        let answer = self.l1.client().call("eth_call", call).expect("answered");
        let answer = hex::decode(answer.as_str().expect("bytes")).expect("bytes");
        ValidatorAuthority::epochAtCall::abi_decode_returns(&answer).expect("an epoch")
    }

    /// Queues a message.
    fn force(&self) {
        let call = Inbox::sendCall {
            to: FORCED,
            isCreation: false,
            mint: U256::ZERO,
            value: U256::from(3),
            gas: 21_000,
            data: Bytes::new(),
        };
        let (from, data) = (account(SENDER).0, Bytes::from(call.abi_encode()));
        let value = U256::from(100_000_000_000_000_000_u64);
        let message = json!([{ "from": from, "to": self.named("inbox"), "value": value, "data": data }]);
        self.l1.client().call("eth_sendTransaction", message).expect("sent");
    }
}

fn account(index: usize) -> (Address, B256) {
    jove_rpc::dev_accounts()[index]
}

/// Sends the first account's next transfer, once the node takes any.
async fn send(client: &Client, nonce: u64) -> Value {
    until("taken", async || client.call("eth_sendRawTransaction", transfer(nonce)).ok()).await
}

fn finality(client: &Client, hash: &Value) -> Value {
    client.call("jove_getFinality", json!([hash])).unwrap_or_default()
}

async fn certified(client: &Client, hash: &Value) {
    until("certified", async || finality(client, hash)["rungs"]["certified"].is_object().then_some(())).await;
}

async fn committed(client: &Client, hash: &Value) -> Value {
    let batch = until("committed", async || finality(client, hash)["batch"].as_u64()).await;
    client.call("jove_getBatch", json!([batch])).expect("answered")
}

fn era(client: &Client) -> Option<u64> {
    client.call("jove_validators", json!([])).ok()?["era"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_commit_what_is_certified_and_a_message_begins_an_era() {
    let world = World::start();
    let keys = |[prove, rescue]: [usize; 2]| [world.key("prove", prove), world.key("rescue", rescue)];

    // T1: no operator commits, and the validator's node does in their place.
    let flags = keys(BESIDE);
    let mut validator = world.validator(&flags.each_ref().map(String::as_str));
    let client = validator.client();
    let first = send(&client, 0).await;
    certified(&client, &first).await;
    let batch = committed(&client, &first).await;
    assert_eq!((&batch["header"]["era"], &batch["header"]["version"]), (&json!(0), &json!(1)), "{batch}");
    let transaction = json!([batch["committed"]["transactionHash"]]);
    let transaction = world.l1.client().call("eth_getTransactionByHash", transaction).expect("answered");
    let sender: Address = transaction["from"].as_str().expect("a sender").parse().expect("an address");
    assert_eq!(sender, account(BESIDE[1]).0, "by the account that steps in");
    until("proven", async || (finality(&client, &first)["rung"] == "final").then_some(())).await;

    // Then nobody does. What the validator certifies is above what L1 has.
    assert_eq!(validator.interrupt(), Some(0));
    let mut validator = world.validator(&[]);
    let follower = world.node("follower", &["--p2p-listen", "/ip4/127.0.0.1/tcp/0"]);
    let (client, beside) = (validator.client(), follower.client());
    let lost = send(&client, 1).await;
    certified(&client, &lost).await;
    certified(&beside, &lost).await;
    let receipt = client.call("eth_getTransactionReceipt", json!([lost])).expect("answered");
    let withdrawn = receipt["blockHash"].clone();
    assert_eq!(finality(&client, &lost)["batch"], Value::Null);

    // T2: a message waits for too long, and a stranger's full node commits it alone.
    world.force();
    let flags = keys(FULL);
    let flags = [&["--role", "full", "--from-l1"][..], &flags.each_ref().map(String::as_str)].concat();
    let stranger = world.node("stranger", &flags);
    let on_l1 = |client: &Client| {
        let status = client.call("jove_syncStatus", json!([])).ok()?;
        status["l1"]["latest"]["era"].as_u64()
    };
    until("a new era on L1", async || (on_l1(&stranger.client()) == Some(1)).then_some(())).await;
    // A validator that is killed in the middle goes on from there.
    validator.kill();
    let mut validator = world.validator(&[]);
    for client in [validator.client(), beside.clone()] {
        until("the new era", async || (era(&client) == Some(1)).then_some(())).await;
        let balance = json!([FORCED, "latest"]);
        until("the message", async || {
            let balance = client.call("eth_getBalance", balance.clone()).ok()?;
            (number(&balance) == 3).then_some(())
        })
        .await;
        // What was certified above the root is withdrawn; its transactions come again, and are certified in this era.
        certified(&client, &lost).await;
        assert_eq!(finality(&client, &withdrawn)["rung"], "unwound");
        let checkpoint = client.call("jove_getCheckpoint", json!(["latest"])).expect("answered");
        assert_eq!(checkpoint["era"], 1);
        let status = client.call("jove_validators", json!([])).expect("answered")["status"].take();
        assert_eq!((&status["halted"], &status["failed"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(world.epoch(1).firstBlock.to::<u64>(), 0, "L1 was not told yet with whom the era begins");

    // An operator is back: it shows L1 the era's validators, and commits.
    assert_eq!(validator.interrupt(), Some(0));
    let validator = world.validator(&[&world.key("commit", OPERATOR)]);
    let client = validator.client();
    let batch = committed(&client, &lost).await;
    assert_eq!((&batch["header"]["era"], &batch["header"]["version"]), (&json!(1), &json!(1)), "{batch}");
    assert_ne!(world.epoch(1).firstBlock.to::<u64>(), 0);
    let hash = |client: &Client| {
        client.call("eth_getTransactionReceipt", json!([lost])).ok()?["blockHash"].as_str().map(str::to_owned)
    };
    let own = hash(&client).expect("there");
    for other in [beside, stranger.client()] {
        until("the same chain", async || (hash(&other).as_ref() == Some(&own)).then_some(())).await;
    }
}
