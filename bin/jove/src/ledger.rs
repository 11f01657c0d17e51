//! The ledger of final blocks: its methods, and `jove ledger`, which checks it without a node.

use crate::deploy::runtime;
use alloy_primitives::U64;
use jove_ledger::{Error, Ledger, MAX_PROOF_FILE, ProofFile, VerifyingKey};
use jove_rpc::{Extension, ExtensionError};
use jove_settlement::L1;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is done.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Check a proof, or a ledger's whole folder, without a node
    Verify {
        /// A file of `jove ledger export`, or a ledger's folder
        path: PathBuf,
        /// The ledger's key, as jove_getLedgerCheckpoint names it; from somebody you trust, not from the file
        #[arg(long, env = "JOVE_LEDGER_KEY", value_name = "NAME+ID+KEY")]
        key: String,
    },
    /// Print the proof that a block is in a node's ledger
    Export {
        /// The block's number
        block: u64,
        /// A file of an earlier export: prove too that nothing was changed since
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,
        /// JSON-RPC of a node of the chain
        #[arg(
            long,
            env = "JOVE_L2_URL",
            hide_env_values = true,
            value_name = "URL",
            default_value = "http://127.0.0.1:8545"
        )]
        l2_url: String,
    },
}

/// Runs the command.
///
/// # Errors
/// In words for the user.
#[allow(clippy::print_stdout)] // the result is what it prints
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.command {
        Command::Verify { path, key } => {
            let key: VerifyingKey = key.parse().map_err(|error: Error| error.to_string())?;
            println!("{}", verify(path, &key)?);
        }
        Command::Export { block, since, l2_url } => {
            let older = since.as_ref().map(|path| read(path)).transpose()?.map(|file| file.checkpoint);
            let node = L1::new(l2_url).map_err(|error| error.to_string())?;
            let asked = async { node.request("jove_getInclusionProof", (U64::from(*block), older)).await };
            let proof: ProofFile = runtime()?.block_on(asked).map_err(|error| error.to_string())?;
            println!("{}", serde_json::to_string_pretty(&proof).map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<ProofFile, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut json = Vec::new();
    let file = File::open(path).map_err(|error| failed(&error))?;
    file.take(MAX_PROOF_FILE as u64 + 1).read_to_end(&mut json).map_err(|error| failed(&error))?;
    ProofFile::from_json(&json).map_err(|error| failed(&error))
}

/// Checks a file or a folder. What it shows, in words.
fn verify(path: &Path, key: &VerifyingKey) -> Result<String, String> {
    let failed = |error: Error| format!("{}: {error}", path.display());
    if path.is_dir() {
        let checkpoint = Ledger::audit(path, key).map_err(failed)?;
        return Ok(format!("{} blocks, root {}: all are what {key} signed", checkpoint.size, checkpoint.root));
    }
    let file = read(path)?;
    let checkpoint = file.verify(key).map_err(failed)?;
    let entry = &file.entry;
    let since = match &file.older {
        Some(older) => {
            let old = key.open(&older.checkpoint).map_err(failed)?;
            format!("; nothing was changed since it had {}", old.size)
        }
        None => String::new(),
    };
    Ok(format!(
        "block {} {} with state root {} is final, in checkpoint {} {}: leaf {} of {}, signed by {key}{since}",
        entry.number, entry.hash, entry.state_root, entry.height, entry.digest, file.index, checkpoint.size,
    ))
}

/// The methods of a node with a ledger, or one without, whose chain has no validators.
pub(crate) fn methods(ledger: Option<Arc<Ledger>>) -> Vec<Extension> {
    let method = |name, run: fn(&Ledger, &[Value]) -> Result<Value, ExtensionError>| {
        let ledger = ledger.clone();
        let run = move |params: Vec<Value>| match &ledger {
            Some(ledger) => run(ledger, &params),
            None => Err(ExtensionError::Params("this node is no validator, and keeps no ledger".to_owned())),
        };
        Extension { name, run: Arc::new(run) }
    };
    vec![
        method("jove_getLedgerCheckpoint", |ledger, params| {
            args::<0>(params)?;
            let checkpoint = ledger.checkpoint();
            Ok(json!({
                "size": checkpoint.size,
                "root": checkpoint.root,
                "checkpoint": checkpoint.note,
                "key": ledger.verifying_key().to_string(),
            }))
        }),
        method("jove_getInclusionProof", |ledger, params| {
            args::<2>(params)?;
            let block: U64 = argument(params, 0)?;
            let older: Option<String> = argument(params, 1)?;
            let proof = ledger.prove(block.to(), older.as_deref()).map_err(refusal)?;
            serde_json::to_value(proof).map_err(|error| ExtensionError::Internal(error.to_string()))
        }),
        method("jove_getConsistencyProof", |ledger, params| {
            args::<2>(params)?;
            let old: U64 = argument(params, 0)?;
            let new: Option<U64> = argument(params, 1)?;
            let new = new.map_or_else(|| ledger.size(), |new| new.to());
            let proof = ledger.consistency(old.to(), new).map_err(refusal)?;
            Ok(json!({ "old": old.to::<u64>(), "new": new, "proof": proof }))
        }),
    ]
}

/// Who is to blame: the asker, or the ledger.
fn refusal(error: Error) -> ExtensionError {
    match error {
        Error::Unknown(_) | Error::Checkpoint(_) => ExtensionError::Params(error.to_string()),
        _ => ExtensionError::Internal(error.to_string()),
    }
}

fn args<const MOST: usize>(params: &[Value]) -> Result<(), ExtensionError> {
    if params.len() > MOST {
        return Err(ExtensionError::Params(format!("too many arguments, want at most {MOST}")));
    }
    Ok(())
}

/// A parameter; one that is missing reads as null.
fn argument<T: DeserializeOwned>(params: &[Value], index: usize) -> Result<T, ExtensionError> {
    T::deserialize(params.get(index).unwrap_or(&Value::Null))
        .map_err(|error| ExtensionError::Params(format!("invalid argument {index}: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use alloy_primitives::{B256, keccak256};
    use jove_ledger::{Entry, Key, check_consistency};

    fn entries(from: u64, count: u64) -> Vec<Entry> {
        let entry = |number: u64| Entry {
            number,
            hash: keccak256(number.to_be_bytes()),
            state_root: B256::repeat_byte(2),
            height: number,
            digest: keccak256(b"checkpoint"),
        };
        (from..from + count).map(entry).collect()
    }

    #[test]
    fn what_the_methods_answer_is_verified_offline() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new("jove.test/5683/blocks", &[5; 32]).unwrap();
        let ledger = Arc::new(Ledger::open(&folder.path().join("ledger"), key).unwrap());
        ledger.append(&entries(1, 20)).unwrap();
        let methods = methods(Some(ledger.clone()));
        let ask = |name: &str, params: Value| {
            let method = methods.iter().find(|method| method.name == name).unwrap();
            (method.run)(params.as_array().unwrap().clone())
        };
        let old = ask("jove_getLedgerCheckpoint", json!([])).unwrap();
        ledger.append(&entries(21, 9)).unwrap();
        let new = ask("jove_getLedgerCheckpoint", json!([])).unwrap();
        assert_eq!((old["size"].as_u64(), new["size"].as_u64()), (Some(20), Some(29)));

        let proof = ask("jove_getInclusionProof", json!(["0x7", old["checkpoint"]])).unwrap();
        let path = folder.path().join("proof.json");
        std::fs::write(&path, serde_json::to_vec(&proof).unwrap()).unwrap();
        let key: VerifyingKey = new["key"].as_str().unwrap().parse().unwrap();
        let said = verify(&path, &key).unwrap();
        assert!(said.starts_with("block 7 0x") && said.contains("leaf 6 of 29"), "{said}");
        assert!(said.ends_with("since it had 20"), "{said}");
        let said = verify(&folder.path().join("ledger"), &key).unwrap();
        assert!(said.starts_with("29 blocks"), "{said}");
        let mut lie = proof;
        lie["entry"]["stateRoot"] = json!(B256::ZERO);
        std::fs::write(&path, serde_json::to_vec(&lie).unwrap()).unwrap();
        assert!(verify(&path, &key).unwrap_err().contains("the leaf is not in the tree"));
        std::fs::write(&path, vec![b' '; MAX_PROOF_FILE + 1]).unwrap();
        assert!(verify(&path, &key).unwrap_err().contains("too long"));

        let consistency = ask("jove_getConsistencyProof", json!([20])).unwrap();
        let hashes: Vec<B256> = serde_json::from_value(consistency["proof"].clone()).unwrap();
        let root = |answer: &Value| serde_json::from_value::<B256>(answer["root"].clone()).unwrap();
        check_consistency(&root(&old), 20, &root(&new), 29, &hashes).unwrap();

        for (name, params) in [
            ("jove_getLedgerCheckpoint", json!([1])),
            ("jove_getInclusionProof", json!([])),
            ("jove_getInclusionProof", json!([30])),
            ("jove_getInclusionProof", json!([0])),
            ("jove_getInclusionProof", json!([7, "no note"])),
            ("jove_getConsistencyProof", json!([20, 30])),
            ("jove_getConsistencyProof", json!([20, 19])),
            ("jove_getConsistencyProof", json!([-1])),
        ] {
            assert!(matches!(ask(name, params.clone()), Err(ExtensionError::Params(_))), "{name} {params}");
        }
    }

    #[test]
    fn a_chain_without_validators_says_so() {
        for method in methods(None) {
            let Err(ExtensionError::Params(text)) = (method.run)(Vec::new()) else { panic!("{}", method.name) };
            assert!(text.contains("no ledger"), "{text}");
        }
    }
}
