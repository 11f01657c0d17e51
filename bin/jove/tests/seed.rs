//! A Seed Node: validators that know nobody's address find each other through it, and its reports weigh.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use client::{
    Client, Process,
    chain::{free_address, init, transfer, until, write},
    number,
};
use jove_primitives::{
    ChainSpec,
    spec::{GenesisSeed, GenesisValidator, Validators},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Checkpoints of an epoch.
const EPOCH: u64 = 120;

/// The weights of an epoch's validators, by id; none before it is entered.
fn weights(client: &Client, epoch: u64) -> Option<Vec<(String, f64)>> {
    let set = client.call("jove_validators", json!([format!("{epoch:#x}")])).expect("answered");
    let validators = set["validators"].as_array()?;
    let one = |one: &Value| (one["id"].as_str().expect("an id").to_owned(), one["weight"].as_f64().expect("a weight"));
    Some(validators.iter().map(one).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_find_each_other_through_a_seed_node_whose_reports_weigh() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let addresses: Vec<String> = (0..4).map(|_| free_address()).collect();
    let mut genesis: Vec<GenesisValidator> = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        // Only the third says where it is.
        let flags: &[&str] = if index == 2 { &["--sequencer", "--address", address] } else { &["--sequencer"] };
        let entry = init(&place(&index.to_string()), flags);
        genesis.push(serde_json::from_str(&entry).expect("an entry"));
    }
    let seed_address = free_address();
    let entry = init(&place("seed"), &["--seed", "--address", &seed_address]);
    let seed: GenesisSeed = serde_json::from_str(&entry).expect("an entry");
    let account = seed.account;
    // The third answers no question of the Seed Node.
    std::fs::write(place("2").join("peers.json"), format!("deny {}\n", seed.peer)).expect("written");
    let ids: Vec<String> = genesis.iter().map(|one| one.id.to_string()).collect();
    let mut spec = ChainSpec::dev();
    let funds = spec.genesis.alloc.values().next().expect("an account").clone();
    spec.genesis.alloc.insert(account, funds);
    spec.validators = Some(Validators { epoch_length: EPOCH, term_length: 16, seats: 4, genesis });
    spec.seeds = vec![seed];
    let chain = write(folder.path(), "chain.json", &spec);

    let flags = ["--role", "seed", "--chain", &chain, "--p2p-listen", &seed_address];
    let seed = Process::run("node", &place("seed"), &flags);
    // Of four validators three run: a quorum, and no more.
    let run = |index: usize| {
        let flags = ["--role", "validator", "--chain", &chain, "--p2p-listen", &addresses[index], "--votes-from", "0"];
        Process::run("node", &place(&index.to_string()), &flags)
    };
    let validators: Vec<Process> = (0..3).map(run).collect();
    let client = validators[0].client();
    let first = client.call("eth_sendRawTransaction", transfer(0)).expect("taken");
    let is_certified = async || {
        let finality = client.call("jove_getFinality", json!([first])).expect("answered");
        (finality["rung"] == "certified").then_some(())
    };
    until("certified", is_certified).await;

    let (mut nonce, started) = (1, Instant::now());
    let status = || client.call("jove_validators", json!([])).expect("answered")["status"].take();
    let reports = || number(&client.call("eth_getTransactionCount", json!([account, "latest"])).expect("answered"));
    while weights(&client, 2).is_none() {
        assert!(started.elapsed() < Duration::from_secs(480), "{}", status());
        // Without work the chain stands still: its first epoch does not end before the Seed Node has reported on it.
        if status()["height"].as_u64() < Some(EPOCH * 3 / 4) || reports() > 0 {
            client.call("eth_sendRawTransaction", transfer(nonce)).expect("taken");
            nonce += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let found = weights(&client, 2).expect("entered");
    for (id, weight) in &found {
        let index = ids.iter().position(|one| one == id).expect("one of them");
        // Two sign and answer, the third only signs, the fourth is not there.
        let is_right = if index < 2 { *weight > 1.0 && *weight <= 1.05 } else { *weight == 1.0 };
        assert!(is_right, "validator {index}: {weight}");
    }
    let same = async |client: &Client| weights(client, 2).filter(|weights| *weights == found).map(drop);
    let (second, follower) = (validators[1].client(), seed.client());
    until("the second says the same", async || same(&second).await).await;
    until("and so does the Seed Node", async || same(&follower).await).await;
}
