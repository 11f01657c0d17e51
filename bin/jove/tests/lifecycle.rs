//! An operator's view of the process: options, health, metrics, a clean stop, a restart.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use client::Process;
use serde_json::{Value, json};
use std::{process::Command, thread, time::Duration};

#[test]
fn a_stopped_node_resumes_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start(folder.path(), &["--heartbeat", "20ms"]);
    let client = process.client();
    while client.block_number() < 3 {
        thread::sleep(Duration::from_millis(5));
    }
    let (status, health) = client.get("/health").expect("answered");
    let health: Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((status, &health["status"], &health["chainId"]), (200, &json!("ok"), &json!(5683)));
    let (status, metrics) = client.get("/metrics").expect("answered");
    assert_eq!(status, 200);
    for metric in [
        "jove_height",
        "jove_base_fee_wei",
        "jove_block_interval_seconds",
        "jove_execution_seconds",
        "jove_root_seconds",
        "jove_persist_seconds",
        "jove_rpc_requests_total{method=\"eth_blockNumber\"}",
        "jove_pool_executable",
    ] {
        assert!(metrics.contains(metric), "{metric} is not in\n{metrics}");
    }
    let hash = client.block_hash(3);
    assert_eq!(process.interrupt(), Some(0));
    assert!(!folder.path().join("jove.ipc").exists());

    let process = Process::start(folder.path(), &[]);
    assert!(process.client().block_number() >= 3);
    assert_eq!(process.client().block_hash(3), hash);
}

#[test]
fn flags_override_the_environment_and_that_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jove.toml");
    let run = |toml: &str, env: Option<&str>, flags: &[&str]| {
        std::fs::write(&file, toml).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jove"));
        command.args(["node", "--config"]).arg(&file).args(flags);
        if let Some(value) = env {
            command.env("JOVE_CHAIN", value);
        }
        let output = command.output().expect("the binary runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // The chain spec's file is named in the error: it tells which source won.
    assert!(run("", None, &[]).contains("--chain FILE names its chain spec"));
    assert!(run("chain = \"from-file\"", None, &[]).contains("from-file"));
    assert!(run("chain = \"from-file\"", Some("from-env"), &[]).contains("from-env"));
    assert!(run("chain = \"from-file\"", Some("from-env"), &["--chain", "from-flag"]).contains("from-flag"));
    assert!(run("chian = \"typo\"", None, &[]).contains("chian"));
    assert!(run("block_time = \"10parsecs\"", None, &[]).contains("10parsecs"));
}
