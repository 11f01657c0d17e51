//! `jove statetest`: runs Ethereum's state tests (the format of execution-spec-tests) on Jove's own state-transition function and trie.
//!
//! Each case is a block of one transaction: [`jove_stf::BlockExecutor`] runs it, [`StateTrie`] folds the changes, and state root, logs hash
//! and expected exception must be those of the test. Then it runs again on the witness of the first run ([`jove_stf::witness`]), and must do the same.
//! That second run can be written down ([`Inputs`]), for a zkVM's guest to do the same.

use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, U64, U256, keccak256};
use jove_executor::TrieReader;
use jove_primitives::{
    Account, AccountChange, Change, ChangeSet, Fork,
    transaction::{RecoveredTransaction, SignedTransaction},
};
use jove_proving::check::{Block, Check, FORKS};
use jove_stf::{BlockExecutor, ExecuteError, Recorder, Rules, StatelessState, TransactionError, Witness};
use jove_trie::StateTrie;
use parking_lot::Mutex;
use rayon::prelude::*;
use revm::{DatabaseRef, bytecode::Bytecode, context::result::InvalidTransaction};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::{Path, PathBuf},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    env: Env,
    pre: BTreeMap<Address, PreAccount>,
    post: BTreeMap<String, Vec<Post>>,
    #[serde(default)]
    config: Config,
}

#[derive(Debug, Deserialize)]
struct PreAccount {
    balance: U256,
    nonce: U64,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    current_coinbase: Address,
    #[serde(default)]
    current_difficulty: U256,
    current_gas_limit: U256,
    current_number: U64,
    current_timestamp: U64,
    current_base_fee: Option<U64>,
    current_random: Option<B256>,
    current_excess_blob_gas: Option<U64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    hash: B256,
    logs: B256,
    txbytes: Bytes,
    expect_exception: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    chainid: Option<U64>,
}

/// What a run of tests came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Cases that passed.
    pub(crate) passed: usize,
    /// Cases that failed: name and reason.
    pub(crate) failed: Vec<(String, String)>,
}

/// Where cases are written down as inputs of a guest ([`Check::Block`]): `NAME.input` each, and `expected.json` with what the guest reveals.
#[derive(Debug)]
pub(crate) struct Inputs {
    folder: PathBuf,
    /// One case in so many is written.
    one_in: u64,
    expected: Mutex<BTreeMap<String, B256>>,
}

impl Inputs {
    /// A folder for them.
    pub(crate) fn new(folder: PathBuf, one_in: u64) -> Self {
        Self { folder, one_in: one_in.max(1), expected: Mutex::default() }
    }

    /// Writes a case, if it is one of those. Which are follows from their names.
    fn add(&self, name: &str, block: impl FnOnce() -> Block, outcome: (B256, &[Log])) -> std::io::Result<()> {
        let id = keccak256(name);
        if !u64::from_be_bytes(*id.first_chunk().unwrap_or(&[0; 8])).is_multiple_of(self.one_in) {
            return Ok(());
        }
        let words = name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' });
        let name: String = words.take(120).chain(id.to_string().chars().take(10)).collect();
        let check = Check::Block(block().into());
        let bytes = check.encode();
        if Check::decode(&bytes).as_ref() != Ok(&check) {
            return Err(std::io::Error::other("its encoding is not read as it was written"));
        }
        std::fs::write(self.folder.join(format!("{name}.input")), bytes)?;
        let mut revealed = outcome.0.to_vec();
        alloy_rlp::encode_list::<Log, Log>(outcome.1, &mut revealed);
        self.expected.lock().insert(name, keccak256(revealed));
        Ok(())
    }

    fn finish(&self) -> std::io::Result<()> {
        std::fs::write(self.folder.join("expected.json"), serde_json::to_vec_pretty(&*self.expected.lock())?)
    }
}

/// Runs every `.json` below `path`, on all cores.
///
/// # Errors
/// If a file or folder cannot be read, or an input not be written.
pub(crate) fn run(path: &Path, inputs: Option<&Inputs>) -> std::io::Result<Summary> {
    if let Some(inputs) = inputs {
        std::fs::create_dir_all(&inputs.folder)?;
    }
    let mut files = Vec::new();
    collect(path, &mut files)?;
    files.sort();
    let outcomes: Vec<(String, Result<(), String>)> =
        files.par_iter().flat_map(|file| run_file(file, inputs)).collect();
    if let Some(inputs) = inputs {
        inputs.finish()?;
    }
    let mut summary = Summary::default();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => summary.passed += 1,
            Err(reason) => summary.failed.push((name, reason)),
        }
    }
    Ok(summary)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "json") {
        files.push(path.to_owned());
    }
    Ok(())
}

fn run_file(file: &Path, inputs: Option<&Inputs>) -> Vec<(String, Result<(), String>)> {
    let tests: BTreeMap<String, Test> = match std::fs::read(file)
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
    {
        Ok(tests) => tests,
        Err(error) => return vec![(file.display().to_string(), Err(error))],
    };
    let mut outcomes = Vec::new();
    for (name, test) in &tests {
        for (fork, posts) in &test.post {
            for (index, post) in posts.iter().enumerate() {
                let name = format!("{name} [{fork} {index}]");
                let outcome = run_case(&name, test, fork, post, inputs);
                outcomes.push((name, outcome));
            }
        }
    }
    outcomes
}

fn run_case(name: &str, test: &Test, fork: &str, post: &Post, inputs: Option<&Inputs>) -> Result<(), String> {
    let fork: Fork = serde_json::from_value(fork.to_lowercase().into()).map_err(|_| format!("unknown fork {fork}"))?;
    let pre = pre_state(&test.pre);
    let mut trie = StateTrie::default();
    trie.apply(&pre);
    let chain_id = test.config.chainid.map_or(1, |id| id.to());
    let header = header(&test.env);
    let rules = Rules::Ethereum { chain_id, fork, development: false, blobs: Vec::new() };
    let code = |hash: B256| {
        let bytes = pre.codes.get(&hash).cloned().unwrap_or_default();
        Ok::<_, Infallible>(Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes)))
    };
    let hash = |number: u64| Ok::<_, Infallible>(block_hash(number));
    let recorder = Recorder::default();
    let reader = recorder.over(TrieReader { trie: &trie, code, block_hash: hash });
    let (exception, changes, logs) = match execute(&rules, &header, &post.txbytes, reader) {
        Ok((changes, logs)) => (None, changes, logs),
        Err(exception) => (Some(exception), ChangeSet::default(), Vec::new()),
    };
    let before = trie.root();
    let witness = match exception {
        None => Some(stateless(&rules, &header, &post.txbytes, &trie, recorder, &changes)?),
        Some(_) => None,
    };
    match (&post.expect_exception, &exception) {
        (None, None) => {}
        (Some(expected), Some(names)) if expected.split('|').any(|e| names.contains(&short(e))) => {}
        (expected, got) => return Err(format!("expected exception {expected:?}, got {got:?}")),
    }
    let root = trie.apply(&changes);
    if root != post.hash {
        return Err(format!("state root {root}, expected {}", post.hash));
    }
    let logs_hash = keccak256(alloy_rlp::encode(&logs));
    if logs_hash != post.logs {
        return Err(format!("logs hash {logs_hash}, expected {}", post.logs));
    }
    if let (Some(inputs), Some(witness)) = (inputs, witness) {
        let fork = FORKS.iter().position(|other| *other == fork).unwrap_or_default() as u8;
        let transaction = post.txbytes.clone();
        let block = || Block { chain_id, fork, header, transaction, root: before, witness };
        inputs.add(name, block, (root, &logs)).map_err(|error| format!("not written: {error}"))?;
    }
    Ok(())
}

fn short(exception: &str) -> &str {
    exception.trim().trim_start_matches("TransactionException.")
}

fn pre_state(accounts: &BTreeMap<Address, PreAccount>) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for (address, account) in accounts {
        let code_hash = keccak256(&account.code);
        changes.codes.insert(code_hash, account.code.clone());
        let after = Account { nonce: account.nonce.to(), balance: account.balance, code_hash };
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let storage = slots.map(|(slot, value)| (*slot, Change { before: U256::ZERO, after: *value })).collect();
        let account = Change { before: None, after: Some(after) };
        changes.accounts.insert(*address, AccountChange { account, wiped: false, storage });
    }
    changes
}

fn header(env: &Env) -> Header {
    // A header that has excess blob gas has these too: it has no encoding without them.
    let cancun = env.current_excess_blob_gas.is_some();
    Header {
        beneficiary: env.current_coinbase,
        difficulty: env.current_difficulty,
        number: env.current_number.to(),
        gas_limit: env.current_gas_limit.saturating_to(),
        timestamp: env.current_timestamp.to(),
        mix_hash: env.current_random.unwrap_or_default(),
        base_fee_per_gas: env.current_base_fee.map(|fee| fee.to()),
        withdrawals_root: cancun.then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: cancun.then_some(0),
        excess_blob_gas: env.current_excess_blob_gas.map(|gas| gas.to()),
        ..Default::default()
    }
}

/// The tests' clients name block n by the hash of its number in decimal.
fn block_hash(number: u64) -> B256 {
    keccak256(number.to_string())
}

/// The changes and logs of a case's block, or the names that its transaction's error has in the tests.
fn execute<DB: DatabaseRef>(
    rules: &Rules,
    header: &Header,
    raw: &[u8],
    db: DB,
) -> Result<(ChangeSet, Vec<Log>), Vec<&'static str>> {
    let transaction = SignedTransaction::decode_2718_exact(raw).map_err(|_| undecodable(raw))?;
    let signer = transaction.recover_signer().map_err(|_| vec!["INVALID_SIGNATURE_VRS"])?;
    let transaction = RecoveredTransaction::new_unchecked(transaction.into(), signer);
    let mut block = BlockExecutor::new(rules, header, db).map_err(|_| vec!["the database failed"])?;
    match block.execute(&transaction) {
        Ok(_) => {
            let output = block.finish();
            let logs = output.receipts.into_iter().flat_map(|receipt| receipt.logs).collect();
            Ok((output.changes, logs))
        }
        Err(ExecuteError::Transaction(error)) => Err(exceptions(&error)),
        Err(ExecuteError::Database(_)) => Err(vec!["the database failed"]),
    }
}

/// Runs a case again on what the first run read, alone: it must do the same. Gives that.
fn stateless(
    rules: &Rules,
    header: &Header,
    raw: &[u8],
    trie: &StateTrie,
    recorder: Recorder,
    changes: &ChangeSet,
) -> Result<Witness, String> {
    let Ok(witness) = recorder
        .finish(trie, std::slice::from_ref(changes), Header::default(), |_| Ok::<_, Infallible>(Header::default()));
    let hashes = (header.number.saturating_sub(256)..header.number).map(|number| (number, block_hash(number)));
    let mut state = StatelessState::with_hashes(&witness, trie.root(), hashes.collect())
        .map_err(|error| format!("the witness: {error}"))?;
    let again = execute(rules, header, raw, &state).map_err(|names| format!("on the witness: {names:?}"))?;
    if again.0 != *changes {
        return Err("another outcome on the witness".into());
    }
    let root = state.apply(changes).map_err(|error| format!("on the witness: {error}"))?;
    let mut whole = trie.clone();
    if whole.apply(changes) != root {
        return Err("another root on the witness".into());
    }
    Ok(witness)
}

/// A type-3 or type-4 transaction without a recipient has no encoding.
fn undecodable(raw: &[u8]) -> Vec<&'static str> {
    match raw.first() {
        Some(3) => vec!["TYPE_3_TX_CONTRACT_CREATION", "TYPE_3_TX_PRE_FORK"],
        Some(4) => vec!["TYPE_4_TX_CONTRACT_CREATION"],
        _ => vec!["undecodable"],
    }
}

fn exceptions(error: &TransactionError) -> Vec<&'static str> {
    use InvalidTransaction as Invalid;
    let TransactionError::Evm(error) = error else { return Vec::new() };
    match error {
        Invalid::LackOfFundForMaxFee { .. } | Invalid::OverflowPaymentInTransaction => {
            vec!["INSUFFICIENT_ACCOUNT_FUNDS"]
        }
        Invalid::CallGasCostMoreThanGasLimit { .. } => vec!["INTRINSIC_GAS_TOO_LOW"],
        Invalid::GasFloorMoreThanGasLimit { .. } => vec!["INTRINSIC_GAS_BELOW_FLOOR_GAS_COST", "INTRINSIC_GAS_TOO_LOW"],
        Invalid::RejectCallerWithCode => vec!["SENDER_NOT_EOA"],
        Invalid::BlobVersionNotSupported => vec!["TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH"],
        Invalid::TxGasLimitGreaterThanCap { .. } => vec!["GAS_LIMIT_EXCEEDS_MAXIMUM"],
        Invalid::CallerGasLimitMoreThanBlock => vec!["GAS_ALLOWANCE_EXCEEDED"],
        Invalid::BlobGasPriceGreaterThanMax { .. } => vec!["INSUFFICIENT_MAX_FEE_PER_BLOB_GAS"],
        Invalid::GasPriceLessThanBasefee => vec!["INSUFFICIENT_MAX_FEE_PER_GAS"],
        Invalid::PriorityFeeGreaterThanMaxFee => vec!["PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS"],
        Invalid::EmptyBlobs => vec!["TYPE_3_TX_ZERO_BLOBS"],
        Invalid::TooManyBlobs { .. } => {
            vec!["TYPE_3_TX_BLOB_COUNT_EXCEEDED", "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED"]
        }
        Invalid::BlobCreateTransaction => vec!["TYPE_3_TX_CONTRACT_CREATION"],
        Invalid::Eip4844NotSupported
        | Invalid::BlobVersionedHashesNotSupported
        | Invalid::MaxFeePerBlobGasNotSupported => vec!["TYPE_3_TX_PRE_FORK"],
        Invalid::EmptyAuthorizationList => vec!["TYPE_4_EMPTY_AUTHORIZATION_LIST"],
        Invalid::Eip7702NotSupported | Invalid::AuthorizationListNotSupported => vec!["TYPE_4_TX_PRE_FORK"],
        Invalid::CreateInitCodeSizeLimit => vec!["INITCODE_SIZE_EXCEEDED"],
        Invalid::NonceTooLow { .. } => vec!["NONCE_MISMATCH_TOO_LOW"],
        Invalid::NonceTooHigh { .. } => vec!["NONCE_MISMATCH_TOO_HIGH"],
        Invalid::NonceOverflowInTransaction => vec!["NONCE_IS_MAX"],
        Invalid::InvalidChainId | Invalid::MissingChainId => vec!["INVALID_CHAINID"],
        _ => Vec::new(),
    }
}
