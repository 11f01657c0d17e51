//! Ethereum's state tests, the small set in the repository, through the binary. `.ci/run` runs all of them.
//!
//! The files are from the `tests` release of execution-spec-tests of April 2026 (MIT), without what the runner does not read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use std::{path::Path, process::Command};

fn run(path: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_jove")).arg("statetest").arg(path).output().expect("the binary runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_small_set_passes() {
    let (success, output) = run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_tests"));
    assert!(success && output.ends_with("65 passed, 0 failed\n"), "{output}");
}

#[test]
fn a_wrong_root_or_exception_fails() {
    let file = "tests/state_tests/osaka/eip7825_transaction_gas_limit_cap/test_tx_gas_limit_cap_exceeded.json";
    let json = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("in the repository");
    let folder = tempfile::tempdir().expect("a folder");
    let exception = "TransactionException.GAS_LIMIT_EXCEEDS_MAXIMUM";
    assert!(json.contains(exception));
    let root = json.find("\"hash\":\"0x").expect("a root") + 10;
    let mut wrong_root = json.clone();
    wrong_root.replace_range(root..root + 8, "deadbeef");
    for wrong in [json.replace(exception, "TransactionException.NONCE_IS_MAX"), wrong_root, "{".into()] {
        std::fs::write(folder.path().join("wrong.json"), wrong).expect("written");
        let (success, output) = run(folder.path());
        assert!(!success && !output.contains(" 0 failed"), "{output}");
    }
}
