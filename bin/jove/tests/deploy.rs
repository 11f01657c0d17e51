//! `jove deploy`, `jove risks` and `jove bridge` against a layer 1: real processes, killed at every transaction.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use alloy_primitives::{Address, B256, U256, keccak256};
use client::{
    Client, Process,
    layer1::{Layer1, OWNER, chain_file, jove, refused, stdout},
    number,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
    thread,
    time::Duration,
};

/// Transactions of a deployment: 19 contracts are created, six proxies get their implementations.
const TRANSACTIONS: u64 = 25;
/// Account 1 of the development mnemonic.
const DEPLOYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn call(client: &Client, to: &Value, signature: &str) -> Value {
    let data = format!("0x{}", alloy_primitives::hex::encode(&keccak256(signature)[..4]));
    client.call("eth_call", json!([{ "to": to, "data": data }, "latest"])).expect("answered")
}

#[test]
fn a_deployment_that_is_killed_after_each_transaction_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Layer1::start();
    let first = folder.path().join("whole.json");
    let output = whole.deploy(&first, &["--mnemonic-index", "1"]).output().expect("runs");
    let printed = stdout(&output);
    assert_eq!(whole.nonce(DEPLOYER), TRANSACTIONS);

    let layer1 = Layer1::start();
    let out = folder.path().join("chain.json");
    // Someone else creates one of the contracts first: it is the same at the same address, and taken.
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let created = log.lines().find(|line| line.contains("sent: create Pause")).expect("logged");
    let created: Value = serde_json::from_str(created).expect("a line of JSON");
    let theirs = whole.client().call("eth_getTransactionByHash", json!([created["fields"]["hash"]])).expect("answered");
    let stranger = json!([{ "from": OWNER, "to": theirs["to"], "data": theirs["input"], "gas": theirs["gas"] }]);
    layer1.client().call("eth_sendTransaction", stranger).expect("sent");
    while layer1.nonce(OWNER) == 0 {
        thread::sleep(Duration::from_millis(5));
    }

    let mut kills = 0;
    let again = loop {
        let mut child = layer1
            .deploy(&out, &["--mnemonic-index", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let sent = lines.map_while(Result::ok).find(|line| line.contains("sent: "));
        // A run that finds the chain open sends nothing, and lives to write the file.
        if sent.is_some() && kills < 200 {
            child.kill().expect("a child");
            child.wait().expect("a child");
            kills += 1;
            // It may have been quicker.
            let is_open = || {
                let rollup = &chain_file(&out)["settlement"]["rollup"];
                call(&layer1.client(), rollup, "phase()") == json!(B256::from(U256::ONE))
            };
            assert!(!out.exists() || is_open(), "a chain file without a chain");
            continue;
        }
        break child.wait_with_output().expect("a child");
    };
    // A run that is killed late has sent more than one.
    assert!((2..200).contains(&kills), "{kills} kills");
    assert_eq!(layer1.nonce(DEPLOYER), TRANSACTIONS - 1, "nothing was sent twice, nor what was there");
    let again = stdout(&again);
    let lines = |text: &str| -> Vec<String> {
        // The block of the opening and the file differ.
        let lines = text.lines().skip(1).filter(|line| !line.contains("chain file"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lines(&again), lines(&printed));
    assert_eq!(lines(&again).len(), 12);
    let addresses: BTreeSet<&str> = again.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(addresses.len(), 13);

    let (mut one, mut two) = (chain_file(&first), chain_file(&out));
    let client = layer1.client();
    let settlement = &two["settlement"];
    assert_eq!(call(&client, &settlement["rollup"], "phase()"), json!(B256::from(U256::ONE)));
    // The block that the file names is the one with the opening.
    let topic = keccak256("Opened(bytes32,(bytes32,bytes32,bytes32,uint256))");
    let filter = json!([{ "address": settlement["rollup"], "fromBlock": "0x0", "topics": [topic] }]);
    let logs = client.call("eth_getLogs", filter).expect("answered");
    assert_eq!(logs.as_array().expect("a list").len(), 1);
    assert_eq!(json!(number(&logs[0]["blockNumber"])), settlement["block"]);
    // All ether of the L2's genesis is in the vault.
    let bridge = settlement["bridge"].as_str().expect("an address").to_owned();
    assert_eq!(layer1.balance(&bridge), U256::from(10).pow(U256::from(23)));
    for file in [&mut one, &mut two] {
        file["settlement"]["block"].take();
    }
    assert_eq!(one, two);

    // Again: the same is printed, nothing is sent, and no key is needed; a lost file is written again.
    let content = std::fs::read(&out).expect("the chain file");
    let more = stdout(&layer1.deploy(&out, &[]).output().expect("runs"));
    assert_eq!(more, again);
    assert_eq!(std::fs::read(&out).expect("the chain file"), content);
    std::fs::remove_file(&out).expect("removed");
    let more = stdout(&layer1.deploy(&out, &["--mnemonic-index", "1"]).output().expect("runs"));
    assert_eq!(more, again);
    assert_eq!(std::fs::read(&out).expect("the chain file"), content);
    assert_eq!(layer1.nonce(DEPLOYER), TRANSACTIONS - 1);

    // L1 is reorganised. Without the opening there is no chain; when it comes in a later block, the next run corrects the file.
    let before = chain_file(&out)["settlement"]["block"].as_u64().expect("a number");
    assert_eq!(before, client.block_number(), "the opening was the last transaction");
    let opening = client.call("eth_getRawTransactionByHash", json!([logs[0]["transactionHash"]])).expect("answered");
    client.call("jove_reorg", json!([1, false])).expect("reorganised");
    let error = refused(&layer1.deploy(&out, &[]).output().expect("runs"));
    assert!(error.contains("no chain is open"), "{error}");
    client.call("eth_sendRawTransaction", json!([opening])).expect("sent again");
    while layer1.nonce(DEPLOYER) < TRANSACTIONS - 1 {
        thread::sleep(Duration::from_millis(5));
    }
    let moved = stdout(&layer1.deploy(&out, &[]).output().expect("runs"));
    let after = chain_file(&out)["settlement"]["block"].as_u64().expect("a number");
    assert!(after > before, "{after} after {before}");
    assert!(moved.lines().next().expect("a line").ends_with(&format!("since its block {after}")), "{moved}");
    let mut file = chain_file(&out);
    file["settlement"]["block"].take();
    assert_eq!(file, two);
}

#[test]
fn what_cannot_be_deployed_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("chain.json");
    let layer1 = Layer1::start();
    let poor = "0101010101010101010101010101010101010101010101010101010101010101";
    let error = refused(&layer1.deploy(&out, &[]).env("JOVE_PRIVATE_KEY", poor).output().expect("runs"));
    assert!(error.contains("has 0.0") && error.contains("100000.0") && error.contains("to lock"), "{error}");
    assert!(!error.contains(poor));
    let error = refused(&layer1.deploy(&out, &[]).output().expect("runs"));
    assert!(error.contains("which key?"), "{error}");
    let error = refused(&layer1.deploy(&out, &["--mnemonic-index", "10"]).output().expect("runs"));
    assert!(error.contains("0 to 9"), "{error}");

    // For production.
    let error = refused(&layer1.deploy(&out, &["--production", "--mnemonic-index", "1"]).output().expect("runs"));
    assert!(error.contains("public"), "{error}");
    let template = folder.path().join("template.json");
    let mut spec: Value = serde_json::from_str(&jove_primitives::ChainSpec::dev().to_json()).expect("JSON");
    spec.as_object_mut().expect("an object").remove("development");
    std::fs::write(&template, spec.to_string()).expect("written");
    let production = |flags: &[&str]| {
        let usual = ["--production", "--chain", template.to_str().expect("a path")];
        let mut command = layer1.deploy(&out, &[&usual[..], flags].concat());
        refused(&command.env("JOVE_PRIVATE_KEY", poor).output().expect("runs"))
    };
    let error = production(&[]);
    assert!(error.contains("real verifiers"), "{error}");
    let nobody = ["--tee-verifier", DEPLOYER, "--zk-verifier", DEPLOYER];
    let error = production(&nobody);
    assert!(error.contains("no code"), "{error}");
    let error = production(&[&nobody[..], &["--drop-delay", "1h"]].concat());
    assert!(error.contains("24 hours"), "{error}");

    // A test verifier is one, wherever it comes from.
    let made = folder.path().join("made.json");
    let printed = stdout(&layer1.deploy(&made, &["--mnemonic-index", "1"]).output().expect("runs"));
    let verifier = printed.lines().find(|line| line.contains("TEE verifier")).expect("printed");
    let verifier = verifier.split_whitespace().last().expect("an address");
    let error = production(&["--tee-verifier", verifier, "--zk-verifier", verifier]);
    assert!(error.contains("test verifier"), "{error}");

    // Another chain's file is not written over, and another L1 is noticed.
    let before = std::fs::read(&made).expect("the chain file");
    let mut command = layer1.deploy(&made, &["--mnemonic-index", "1", "--chain", template.to_str().expect("a path")]);
    let error = refused(&command.output().expect("runs"));
    assert!(error.contains("another chain's file"), "{error}");
    assert_eq!(std::fs::read(&made).expect("the chain file"), before);
    let elsewhere = Layer1::start();
    let error = refused(&elsewhere.deploy(&made, &[]).output().expect("runs"));
    assert!(error.contains("no chain is open"), "{error}");
    let mut other = chain_file(&made);
    other["settlement"]["outbox"] = json!(DEPLOYER);
    std::fs::write(&made, other.to_string()).expect("written");
    let error = refused(&layer1.deploy(&made, &[]).output().expect("runs"));
    assert!(error.contains("other contracts"), "{error}");
    assert!(!out.exists());
    assert_eq!(elsewhere.nonce(DEPLOYER), 0);
}

#[test]
fn a_chain_for_production_has_the_production_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let layer1 = Layer1::start();
    let template = folder.path().join("template.json");
    let mut spec: Value = serde_json::from_str(&jove_primitives::ChainSpec::dev().to_json()).expect("JSON");
    spec.as_object_mut().expect("an object").remove("development");
    std::fs::write(&template, spec.to_string()).expect("written");
    // A verifier that answers every question with a word of zeros: it is no test verifier, and that is all that is asked of it here.
    let verifier = layer1.create("0x665f5f5260205ff35f5260076019f3");
    let out = folder.path().join("chain.json");
    let usual = ["--production", "--chain", template.to_str().expect("a path")];
    let verifiers = ["--tee-verifier", &verifier, "--zk-verifier", &verifier];
    let mut command = layer1.deploy(&out, &[&usual[..], &verifiers].concat());
    // Account 1's key.
    let key = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let printed = stdout(&command.env("JOVE_PRIVATE_KEY", key).output().expect("runs"));
    assert!(
        printed.contains(&format!("ZK verifier   {}", verifier.parse::<Address>().expect("an address"))),
        "{printed}"
    );
    assert_eq!(layer1.nonce(DEPLOYER), TRANSACTIONS - 2, "no test verifiers");
    let mut command = jove(&["risks", "--l1-url", &layer1.process.url(), "--chain", out.to_str().expect("a path")]);
    let page = stdout(&command.output().expect("runs"));
    assert!(!page.contains("for tests and") && !page.contains("not deployed for production"), "{page}");
    assert!(page.contains("The council is a single key"), "{page}");
}

#[test]
fn a_deployed_chain_runs_and_its_bridge_takes_deposits() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("chain.json");
    let layer1 = Layer1::start();
    let client = layer1.client();
    let council = "0x000000000000000000000000000000000000c0de";
    let chosen = ["--mnemonic-index", "1", "--council", council, "--silence-delay", "90s"];
    stdout(&layer1.deploy(&out, &chosen).output().expect("runs"));
    let settlement = chain_file(&out)["settlement"].clone();
    let path = out.to_str().expect("a path");

    // The risk page.
    let page = stdout(&jove(&["risks", "--l1-url", &layer1.process.url(), "--chain", path]).output().expect("runs"));
    for words in [
        "# Risks of chain 5683",
        "Both verifiers are for tests",
        "(T1) | 90 seconds |",
        "not deployed for production",
        "The governor is a single key",
        "The sequencer holds another role as well",
        &format!("| council | `{}`, one key |", council.parse::<Address>().expect("an address")),
        &format!("| governor | `{DEPLOYER}`, one key | replace the code"),
        "| executor | anyone |",
        "| 30 days |",
        "(Z) | 21 days |",
        "| Origins |",
        "The bridge holds 100000.0",
        "Batches: 0 committed, 0 proven, 0 final",
    ] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
    assert!(!page.contains("could not be read") && !page.contains("without any delay"), "{page}");
    let rollup = settlement["rollup"].as_str().expect("an address");
    let same = stdout(&jove(&["risks", "--l1-url", &layer1.process.url(), "--rollup", rollup]).output().expect("runs"));
    assert_eq!(same, page);

    // A node takes the file; its genesis is what L1 was told.
    let datadir = tempfile::tempdir().expect("a folder");
    let node = Process::run("dev", datadir.path(), &["--chain", path, "--l1-url", &layer1.process.url()]);
    let opened = client
        .call("eth_getLogs", json!([{ "address": rollup, "fromBlock": "0x0", "topics": [keccak256("Opened(bytes32,(bytes32,bytes32,bytes32,uint256))")] }]))
        .expect("answered");
    let data = opened[0]["data"].as_str().expect("data");
    assert_eq!(data[2..66], node.client().block_hash(0)[2..]);

    // Deposits of exactly what was asked for, and their fee apart.
    let bridge = |flags: &[&str]| {
        let l1 = layer1.process.url();
        let l2 = node.url();
        let mut command = jove(&["bridge", "--chain", path, "--l1-url", &l1, "--l2-url", &l2]);
        command.args(flags).output().expect("runs")
    };
    let vault = settlement["bridge"].as_str().expect("an address");
    let before = layer1.balance(vault);
    let text = stdout(&bridge(&["deposit", "--amount", "1.5", "--mnemonic-index", "2"]));
    let deposited = U256::from(15) * U256::from(10).pow(U256::from(17));
    assert_eq!(layer1.balance(vault) - before, deposited);
    assert!(text.contains("message 0"), "{text}");
    let hash = text.split_whitespace().find(|word| word.starts_with("0x")).expect("a hash").to_owned();
    let runs_as = text.lines().last().and_then(|line| line.split_whitespace().last()).expect("a hash");
    assert_eq!(runs_as.len(), 66);
    stdout(&bridge(&["deposit", "--amount", "7wei", "--to", council, "--gas", "21000", "--mnemonic-index", "2"]));
    assert_eq!(layer1.balance(vault) - before, deposited + U256::from(7));
    assert!(stdout(&bridge(&["status"])).contains("2 queued, "));
    let state = stdout(&bridge(&["status", &hash]));
    assert!(state.contains("message 0 "), "{state}");

    // Tokens: an approval of exactly the amount, then the deposit, which announces the token.
    let artifacts: Value = serde_json::from_str(include_str!("../src/bench/contracts/artifacts.json")).expect("JSON");
    let token = layer1.create(artifacts["Token"].as_str().expect("code"));
    let word =
        |address: &str| alloy_primitives::hex::encode(address.parse::<Address>().expect("an address").into_word());
    let held = |who: &str| -> U256 {
        let data = format!("0x70a08231{}", word(who));
        let balance = client.call("eth_call", json!([{ "to": token, "data": data }, "latest"])).expect("answered");
        balance.as_str().expect("a word").parse().expect("a word")
    };
    let before = layer1.nonce(OWNER);
    stdout(&bridge(&["deposit", "--token", &token, "--amount", "2.5", "--mnemonic-index", "2"]));
    assert_eq!(held(vault), U256::from(25) * U256::from(10).pow(U256::from(17)));
    assert_eq!(layer1.nonce(OWNER), before + 2);
    stdout(&bridge(&["deposit", "--token", &token, "--amount", "1wei", "--mnemonic-index", "2"]));
    assert_eq!(held(vault), U256::from(25) * U256::from(10).pow(U256::from(17)) + U256::ONE);
    let error = refused(&bridge(&["deposit", "--token", &token, "--amount", "1", "--mnemonic-index", "5"]));
    assert!(error.contains("deposit would fail"), "{error}");

    for (flags, words) in [
        (&["deposit", "--amount", "0"][..], "no amount above 0"),
        (&["deposit", "--amount", "2000000"], "would fail"),
        (&["deposit", "--amount", "1", "--gas", "20999"], "InvalidGas"),
        (&["deposit", "--amount", "1wei", "--token", council], "has no allowance"),
        (&["withdraw", "--amount", "1000000"], "would fail"),
        (&["withdraw", "--amount", "1wei", "--token", council], "UnknownToken"),
    ] {
        let error = refused(&bridge(&[flags, &["--mnemonic-index", "3"]].concat()));
        assert!(error.contains(words), "{flags:?}: {error}");
    }
    assert_eq!(layer1.nonce("0x90F79bf6EB2c4f870365E785982E1f101E93b906"), 0, "nothing was sent that would fail");

    // A withdrawal is a message of the messenger's, and waits.
    let text = stdout(&bridge(&["withdraw", "--amount", "0.25", "--mnemonic-index", "4"]));
    assert!(text.contains("message 0"), "{text}");
    let hash = text.split_whitespace().find(|word| word.starts_with("0x")).expect("a hash").to_owned();
    let messenger = json!("0x4200000000000000000000000000000000000016");
    assert_eq!(call(&node.client(), &messenger, "count()"), json!(B256::from(U256::ONE)));
    let unknown = refused(&bridge(&["claim", &B256::repeat_byte(9).to_string(), "--mnemonic-index", "4"]));
    assert!(unknown.contains("is not on the chain"), "{unknown}");
    assert!(hash.len() == 66);
}
