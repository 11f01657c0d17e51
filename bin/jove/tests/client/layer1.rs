//! A layer 1 in a process of its own, and the commands that talk to it.
#![allow(dead_code)] // each test uses a part

use super::{Client, Process, number};
use alloy_primitives::U256;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Account 2, which owns what a test creates besides.
pub(crate) const OWNER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

/// A layer 1 that mines what waits as soon as it sees it.
pub(crate) struct Layer1 {
    pub(crate) process: Process,
    stop: Arc<AtomicBool>,
    miner: Option<thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Layer1 {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The next slot starts in an hour: blocks come when they are asked for.
        let process = Process::run("l1", folder.path(), &["--block-time", "1h"]);
        let (client, stop) = (process.client(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let miner = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let waiting =
                    client.call("txpool_status", json!([])).is_ok_and(|status| number(&status["pending"]) > 0);
                if waiting {
                    let _ = client.call("anvil_mine", json!([1]));
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { process, stop, miner: Some(miner), _folder: folder }
    }

    pub(crate) fn client(&self) -> Client {
        self.process.client()
    }

    pub(crate) fn nonce(&self, address: &str) -> u64 {
        number(&self.client().call("eth_getTransactionCount", json!([address, "latest"])).expect("answered"))
    }

    pub(crate) fn balance(&self, address: &str) -> U256 {
        let balance = self.client().call("eth_getBalance", json!([address, "latest"])).expect("answered");
        balance.as_str().expect("a quantity").parse().expect("a quantity")
    }

    /// Creates a contract; its address.
    pub(crate) fn create(&self, code: &str) -> String {
        let client = self.client();
        let create = json!([{ "from": OWNER, "data": code, "gas": "0x2dc6c0" }]);
        let hash = client.call("eth_sendTransaction", create).expect("sent");
        let receipt = client.receipt(&hash);
        assert_eq!(receipt["status"], "0x1");
        receipt["contractAddress"].as_str().expect("an address").to_owned()
    }

    /// `jove deploy` with these flags after the usual ones.
    pub(crate) fn deploy(&self, out: &Path, flags: &[&str]) -> Command {
        let mut command = jove(&["deploy", "--l1-url", &self.process.url(), "--out", out.to_str().expect("a path")]);
        command.args(flags);
        command
    }
}

impl Drop for Layer1 {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(miner) = self.miner.take() {
            let _ = miner.join();
        }
    }
}

pub(crate) fn jove(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jove"));
    command.args(arguments).env_remove("JOVE_PRIVATE_KEY").env_remove("JOVE_CHAIN");
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub(crate) fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last().expect("a reason").to_owned()
}

pub(crate) fn chain_file(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("the chain file")).expect("JSON")
}
