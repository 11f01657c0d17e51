//! What is sent: a chain spec, the transactions that set it up, and the load, all signed in advance.
//!
//! - **transfer**: 1 wei from each sender to another one, in turn.
//! - **erc20**: OpenZeppelin's ERC-20, from each sender to another one who holds tokens.
//! - **swap**: each sender trades on one constant-product pair, in alternating directions (`contracts/Pair.sol`).

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use jove_primitives::{ChainSpec, Transaction, spec::GenesisAccount};
use rayon::prelude::*;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use std::{collections::HashMap, fmt};

/// Gas per second that the base fee allows for: so much that neither it nor the budget is ever the limit.
const TARGET_PER_SECOND: u64 = 1 << 40;
/// Wei per gas, a hundred times the floor.
const MAX_FEE: u128 = 1_000_000_000;
/// Wei per gas.
const TIP: u128 = 1_000_000;
/// Accounts that one `fund` call pays: its gas stays below EIP-7825's cap.
const FUND_AT_ONCE: usize = 200;
/// Creation bytecode by name; `e2e/artifacts` makes it.
const ARTIFACTS: &str = include_str!("contracts/artifacts.json");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    Transfer,
    Erc20,
    Swap,
}

impl Workload {
    pub(super) const ALL: &'static [Self] = &[Self::Transfer, Self::Erc20, Self::Swap];
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transfer => "transfer",
            Self::Erc20 => "erc20",
            Self::Swap => "swap",
        })
    }
}

/// A signed transaction in its EIP-2718 encoding.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) hash: B256,
    pub(super) raw: Bytes,
}

/// A chain and what is sent to it.
pub(super) struct Load {
    pub(super) spec: ChainSpec,
    /// Transactions that come first; each group once the one before is in blocks.
    pub(super) setup: [Vec<Signed>; 2],
    /// What is measured. Sender `i % senders` sends transaction `i`, in the order of nonces.
    pub(super) transactions: Vec<Signed>,
}

struct Account {
    key: SecretKey,
    address: Address,
    chain_id: u64,
}

impl Account {
    fn new(index: usize, chain_id: u64) -> Result<Self, String> {
        let seed = [b"jove bench sender".as_slice(), &(index as u64).to_be_bytes()].concat();
        let key = SecretKey::from_secret_bytes(keccak256(seed).0).map_err(|error| format!("key {index}: {error}"))?;
        let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
        Ok(Self { key, address: Address::from_slice(&keccak256(&public[1..])[12..]), chain_id })
    }

    fn sign(&self, nonce: u64, to: TxKind, value: u64, input: Bytes, gas_limit: u64) -> Signed {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: MAX_FEE,
            max_priority_fee_per_gas: TIP,
            to,
            value: U256::from(value),
            input,
            ..Default::default()
        };
        let digest = Message::from_digest(transaction.signature_hash().0);
        let (recovery, bytes) = RecoverableSignature::sign_ecdsa_recoverable(digest, &self.key).serialize_compact();
        let signature = Signature::from_bytes_and_parity(&bytes, recovery.to_u8() & 1 == 1);
        let transaction = Transaction::from(transaction.into_signed(signature));
        Signed { hash: *transaction.tx_hash(), raw: transaction.encoded_2718().into() }
    }
}

impl Load {
    /// Signs `count` transactions of `senders` accounts, on all cores.
    pub(super) fn sign(workload: Workload, count: usize, senders: usize) -> Result<Self, String> {
        let mut spec = ChainSpec::dev();
        spec.name = "Jove benchmark".to_owned();
        spec.gas.target_per_second = TARGET_PER_SECOND;
        let accounts: Vec<Account> =
            (0..=senders).into_par_iter().map(|i| Account::new(i, spec.chain_id)).collect::<Result<_, _>>()?;
        let ether = U256::from(1_000_000_000_000_000_000u64);
        for account in &accounts {
            let funded = GenesisAccount { balance: ether * U256::from(1_000_000u64), ..Default::default() };
            spec.genesis.alloc.insert(account.address, funded);
        }

        let (deployer, accounts) = accounts.split_last().ok_or("there are no senders")?;
        let contracts = [0, 1, 2].map(|nonce| deployer.address.create(nonce));
        let [token, _, pair] = contracts;
        let setup = setup(workload, deployer, accounts, contracts)?;
        let first_nonce = if workload == Workload::Swap { 2 } else { 0 };
        let transaction = |i: usize| {
            let (sender, round) = (i % accounts.len(), i / accounts.len());
            let (nonce, account) = (first_nonce + round as u64, &accounts[sender]);
            let other = accounts[(sender + 1 + round) % accounts.len()].address;
            match workload {
                Workload::Transfer => account.sign(nonce, other.into(), 1, Bytes::new(), 21_000),
                Workload::Erc20 => {
                    let input = call("transfer(address,uint256)", &[word(other), U256::ONE]);
                    account.sign(nonce, token.into(), 0, input, 100_000)
                }
                Workload::Swap => {
                    let amount = U256::from(1_000_000_000_000_000u64);
                    let direction = U256::from((sender + round) % 2);
                    let words = [direction, amount, U256::ONE, word(account.address)];
                    account.sign(nonce, pair.into(), 0, call("swap(bool,uint256,uint256,address)", &words), 250_000)
                }
            }
        };
        let transactions = (0..count).into_par_iter().map(transaction).collect();
        Ok(Self { spec, setup, transactions })
    }
}

/// Deploys and funds what a workload needs: first the deployer's transactions, then the senders'.
fn setup(
    workload: Workload,
    deployer: &Account,
    senders: &[Account],
    [token0, token1, pair]: [Address; 3],
) -> Result<[Vec<Signed>; 2], String> {
    if workload == Workload::Transfer {
        return Ok([Vec::new(), Vec::new()]);
    }
    let artifacts: HashMap<String, Bytes> = serde_json::from_str(ARTIFACTS).map_err(|error| error.to_string())?;
    let code = |name: &str| artifacts.get(name).cloned().ok_or_else(|| format!("artifacts.json has no {name}"));
    // Tokens with 18 decimals: a million for the pair of each, as many for each sender.
    let million = U256::from(10u64).pow(U256::from(24u64));
    let approve = || call("approve(address,uint256)", &[word(pair), U256::MAX]);

    let mut calls: Vec<(TxKind, Bytes)> = vec![(TxKind::Create, code("Token")?)];
    let mut tokens = vec![token0];
    if workload == Workload::Swap {
        let arguments = [word(token0), word(token1)].map(|word| word.to_be_bytes::<32>()).concat();
        let create_pair = [&code("Pair")?[..], &arguments[..]].concat();
        calls.push((TxKind::Create, code("Token")?));
        calls.push((TxKind::Create, create_pair.into()));
        calls.push((token0.into(), approve()));
        calls.push((token1.into(), approve()));
        calls.push((pair.into(), call("deposit(uint256,uint256)", &[million, million])));
        tokens.push(token1);
    }
    for token in &tokens {
        for chunk in senders.chunks(FUND_AT_ONCE) {
            let mut words = vec![U256::from(64u64), million, U256::from(chunk.len())];
            words.extend(chunk.iter().map(|sender| word(sender.address)));
            calls.push(((*token).into(), call("fund(address[],uint256)", &words)));
        }
    }
    let deployment = calls
        .into_iter()
        .enumerate()
        .map(|(nonce, (to, input))| deployer.sign(nonce as u64, to, 0, input, 12_000_000))
        .collect();
    let approvals = match workload {
        Workload::Swap => senders
            .iter()
            .flat_map(|sender| {
                let approval = |(nonce, token): (usize, &Address)| {
                    sender.sign(nonce as u64, (*token).into(), 0, approve(), 100_000)
                };
                tokens.iter().enumerate().map(approval).collect::<Vec<_>>()
            })
            .collect(),
        _ => Vec::new(),
    };
    Ok([deployment, approvals])
}

fn word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}

/// Calldata of a function whose arguments take these words.
fn call(signature: &str, words: &[U256]) -> Bytes {
    let mut data = keccak256(signature.as_bytes())[..4].to_vec();
    for word in words {
        data.extend_from_slice(&word.to_be_bytes::<32>());
    }
    data.into()
}
