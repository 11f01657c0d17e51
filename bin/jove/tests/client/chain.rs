//! A chain with validators, and what is done on it.

use super::free_port;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Signature, U256, address, hex};
use jove_primitives::{ChainSpec, Transaction};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Only a hang is as long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Who is paid.
pub(crate) const SOMEONE: Address = address!("00000000000000000000000000000000000f0c01");

/// Makes keys in a folder; what a chain file says of them.
pub(crate) fn init(folder: &Path, flags: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_jove"))
        .args(["validator", "init", "--datadir"])
        .arg(folder)
        .args(flags)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An address of the network that is free.
pub(crate) fn free_address() -> String {
    format!("/ip4/127.0.0.1/tcp/{}", free_port())
}

/// Writes a chain file; its path.
pub(crate) fn write(folder: &Path, name: &str, spec: &ChainSpec) -> String {
    let file = folder.join(name);
    std::fs::write(&file, spec.to_json()).expect("written");
    file.display().to_string()
}

/// The parameters that send one wei to [`SOMEONE`], from the first development account.
pub(crate) fn transfer(nonce: u64) -> Value {
    let secret = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let secret = SecretKey::from_secret_bytes(secret).expect("a key");
    let unsigned = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000_000,
        to: SOMEONE.into(),
        value: U256::from(1),
        ..Default::default()
    };
    let digest = Message::from_digest(unsigned.signature_hash().0);
    let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(digest, &secret).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1);
    json!([hex::encode_prefixed(Transaction::from(unsigned.into_signed(signature)).encoded_2718())])
}
