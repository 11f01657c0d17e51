//! Chain specs: chain id, genesis, forks and gas, as one JSON document.

use crate::{
    beacon::Slots,
    fee::GasParams,
    header::Extra,
    predeploys,
    state::{Account, AccountChange, Change, ChangeSet},
};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip1559, eip2935, eip4788, eip7002, eip7251, eip7685::EMPTY_REQUESTS_HASH, eip7825};
use alloy_primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Ethereum's rules at one of its forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names are Ethereum's
pub enum Fork {
    Berlin,
    London,
    Paris,
    Shanghai,
    Cancun,
    Prague,
    Osaka,
}

/// A fork and the block time, in seconds since the Unix epoch, from which it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkActivation {
    /// The fork.
    pub fork: Fork,
    /// First block time under its rules.
    pub timestamp: u64,
}

/// One account of the genesis state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Balance in wei.
    #[serde(default)]
    pub balance: U256,
    /// Nonce.
    #[serde(default)]
    pub nonce: u64,
    /// Code.
    #[serde(default, skip_serializing_if = "bytes_empty")]
    pub code: Bytes,
    /// Storage; zero values are skipped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<U256, B256>,
}

fn max_origin_age() -> u64 {
    12 * 60 * 60
}

fn is_false(value: &bool) -> bool {
    !value
}

fn bytes_empty(bytes: &Bytes) -> bool {
    bytes.is_empty()
}

/// Block 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Accounts. [`ChainSpec::genesis_changes`] adds what every chain has.
    #[serde(default)]
    pub alloc: BTreeMap<Address, GenesisAccount>,
}

/// L1's prices that genesis writes into the L1 attributes, in wei per gas. Both zero: no L1 data fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisL1Prices {
    /// Base fee.
    pub base_fee: U256,
    /// Blob base fee.
    pub blob_base_fee: U256,
}

/// What a chain under Ethereum's rules, a layer 1 for development, has in the place of Jove's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EthereumParams {
    /// Length of a slot, in seconds: each has at most one block.
    pub slot_seconds: u64,
}

/// A chain: what every node of it must agree on before the first block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainSpec {
    /// A name for people.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Forks in ascending order; the first holds from genesis.
    pub forks: Vec<ForkActivation>,
    /// The gas budget.
    pub gas: GasParams,
    /// A chain to develop on: accounts with code may send (EIP-3607 is off), since whoever runs it sends in anyone's name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub development: bool,
    /// Age of a block's L1 origin, in seconds, beyond which it takes no transactions from the pool.
    #[serde(default = "max_origin_age")]
    pub max_origin_age: u64,
    /// L1's prices at genesis.
    #[serde(default)]
    pub l1_prices: GenesisL1Prices,
    /// Set on a chain under Ethereum's rules instead of Jove's. Of the gas budget it has only the block gas limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethereum: Option<EthereumParams>,
    /// Block 0.
    pub genesis: Genesis,
}

/// Why a chain spec cannot be used. The message names the field.
#[derive(Debug, Error)]
pub enum SpecError {
    /// Not JSON, or not a chain spec.
    #[error("chain spec: {0}")]
    Json(#[from] serde_json::Error),
    /// No fork holds at genesis, or they do not ascend.
    #[error("chain spec: forks must ascend and the first must hold at the genesis timestamp")]
    Forks,
    /// A fork whose rules Jove's blocks cannot have.
    #[error("chain spec: a Jove chain starts at osaka, not {0:?}")]
    ForkTooOld(Fork),
    /// The genesis timestamp is in milliseconds, perhaps.
    #[error("chain spec: genesis.timestamp must be in seconds, before the year 10000")]
    Timestamp,
    /// A gas parameter outside its range.
    #[error("chain spec: gas.{0}")]
    Gas(&'static str),
    /// A setting that Ethereum's rules have no place for.
    #[error("chain spec: under Ethereum's rules {0}")]
    Ethereum(&'static str),
    /// An account that genesis itself defines.
    #[error("chain spec: genesis.alloc may not set {0}, which every chain has")]
    Reserved(Address),
}

/// The last second of the year 9999.
const MAX_TIMESTAMP: u64 = 253_402_300_799;

/// Most gas of a message from L1: what a block must have place for.
pub const MAX_MESSAGE_GAS: u64 = 2_000_000;
/// Balance of each development account on [`ChainSpec::l1`]: a million ether, in wei.
const L1_BALANCE: U256 = U256::from_limbs([
    1_000_000_000_000_000_000_000_000u128 as u64,
    (1_000_000_000_000_000_000_000_000u128 >> 64) as u64,
    0,
    0,
]);
/// Most gas of a block under Ethereum's rules: at 10 gas for the cheapest byte (EIP-7623) it is below the 8 MiB of EIP-7934.
const MAX_ETHEREUM_BLOCK_GAS: u64 = 75_000_000;
/// Longest slot, in seconds.
const MAX_SLOT_SECONDS: u64 = 3_600;

/// Arachnid's deterministic deployment proxy, which `forge` and others expect.
const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
const CREATE2_DEPLOYER_CODE: [u8; 69] = hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// The getters of the L1 attributes, as `e2e/contracts` compiles them.
const L1_BLOCK_ARTIFACT: &str = include_str!("../../../contracts/artifacts/L1Block.json");

/// A compiled contract, of which only the code that it has once deployed is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: Bytes,
}

impl ChainSpec {
    /// The built-in development chain: the ten accounts of the mnemonic `test test test test test test test test test test test junk` hold
    /// 10,000 ether each.
    pub fn dev() -> Self {
        #[allow(clippy::expect_used)] // a constant, and a test reads it
        Self::from_json(include_str!("dev.json")).expect("the built-in chain spec is valid")
    }

    /// A layer 1 for development: Ethereum's rules at Osaka, blocks of 60 million gas, the ten accounts of [`Self::dev`] with a million ether each.
    pub fn l1(chain_id: u64, slot_seconds: u64) -> Self {
        let mut spec = Self::dev();
        spec.name = "Layer 1 for development".into();
        spec.chain_id = chain_id;
        spec.l1_prices = GenesisL1Prices::default();
        spec.ethereum = Some(EthereumParams { slot_seconds });
        spec.gas = GasParams {
            target_per_second: 30_000_000,
            block_gas_limit: 60_000_000,
            transaction_gas_limit_cap: Some(eip7825::MAX_TX_GAS_LIMIT_OSAKA),
            base_fee_floor: 1,
        };
        spec.genesis.alloc.values_mut().for_each(|account| account.balance = L1_BALANCE);
        spec
    }

    /// Reads and checks a chain spec.
    ///
    /// # Errors
    /// If it is not JSON of the right shape, or a value is outside its range.
    pub fn from_json(json: &str) -> Result<Self, SpecError> {
        let spec: Self = serde_json::from_str(json)?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), SpecError> {
        let first = self.forks.first().ok_or(SpecError::Forks)?;
        if first.timestamp > self.genesis.timestamp
            || !self.forks.is_sorted_by(|a, b| a.timestamp < b.timestamp && a.fork < b.fork)
        {
            return Err(SpecError::Forks);
        }
        if self.genesis.timestamp > MAX_TIMESTAMP {
            return Err(SpecError::Timestamp);
        }
        if first.fork < Fork::Osaka {
            return Err(SpecError::ForkTooOld(first.fork));
        }
        self.check_ethereum()?;
        let gas = &self.gas;
        if !(1_000_000..=1 << 50).contains(&gas.target_per_second) {
            return Err(SpecError::Gas("targetPerSecond must be from 10^6 to 2^50"));
        }
        if gas.block_gas_limit < MAX_MESSAGE_GAS || gas.block_gas_limit > gas.max_per_second() {
            return Err(SpecError::Gas("blockGasLimit must be from 2 * 10^6 to twice targetPerSecond"));
        }
        if gas.transaction_gas_limit_cap.is_some_and(|cap| cap < 1_000_000) {
            return Err(SpecError::Gas("transactionGasLimitCap must be at least 10^6, or null"));
        }
        if !(1..=1 << 40).contains(&gas.base_fee_floor) {
            return Err(SpecError::Gas("baseFeeFloor must be from 1 to 2^40"));
        }
        match self.common_accounts().into_keys().find(|address| self.genesis.alloc.contains_key(address)) {
            Some(address) => Err(SpecError::Reserved(address)),
            None => Ok(()),
        }
    }

    fn check_ethereum(&self) -> Result<(), SpecError> {
        let Some(EthereumParams { slot_seconds }) = self.ethereum else { return Ok(()) };
        if !(1..=MAX_SLOT_SECONDS).contains(&slot_seconds) {
            return Err(SpecError::Ethereum("slotSeconds must be from 1 to 3600"));
        }
        if self.forks.len() > 1 {
            return Err(SpecError::Ethereum("forks must be osaka alone"));
        }
        if self.gas.block_gas_limit > MAX_ETHEREUM_BLOCK_GAS {
            return Err(SpecError::Ethereum("gas.blockGasLimit must be at most 75,000,000 (EIP-7934)"));
        }
        if self.gas.transaction_gas_limit_cap != Some(eip7825::MAX_TX_GAS_LIMIT_OSAKA) {
            return Err(SpecError::Ethereum("gas.transactionGasLimitCap must be 16,777,216 (EIP-7825)"));
        }
        if self.l1_prices != GenesisL1Prices::default() {
            return Err(SpecError::Ethereum("there is no L1 data fee: leave l1Prices out"));
        }
        Ok(())
    }

    /// The slots of a chain under Ethereum's rules.
    pub fn slots(&self) -> Option<Slots> {
        let seconds = self.ethereum?.slot_seconds;
        Some(Slots { genesis: self.genesis.timestamp, seconds })
    }

    /// The fork at a block time, in seconds.
    pub fn fork(&self, timestamp: u64) -> Fork {
        let active = self.forks.iter().take_while(|activation| activation.timestamp <= timestamp);
        active.last().map_or(Fork::Osaka, |activation| activation.fork)
    }

    /// What every chain has at block 0: EIP-2935's history contract and the deterministic deployer; then the L1 attributes, or the other system contracts
    /// of Ethereum. Those of EIP-7002 and EIP-7251 are as they were deployed: until the end of a block calls them, which never happens here, they
    /// take no requests.
    fn common_accounts(&self) -> BTreeMap<Address, GenesisAccount> {
        let slot = |value: U256| B256::from(value);
        let l1_block = [
            (predeploys::L1_BASE_FEE_SLOT, slot(self.l1_prices.base_fee)),
            (predeploys::L1_BLOB_BASE_FEE_SLOT, slot(self.l1_prices.blob_base_fee)),
        ];
        #[allow(clippy::expect_used)] // a constant, and a test reads it
        let artifact: Artifact = serde_json::from_str(L1_BLOCK_ARTIFACT).expect("the compiled contract is valid");
        let contract =
            |code: &[u8]| GenesisAccount { nonce: 1, code: Bytes::copy_from_slice(code), ..Default::default() };
        let inhibited =
            |code: &[u8]| GenesisAccount { storage: [(U256::ZERO, B256::repeat_byte(0xff))].into(), ..contract(code) };
        let mut accounts = BTreeMap::from([
            (eip2935::HISTORY_STORAGE_ADDRESS, contract(&eip2935::HISTORY_STORAGE_CODE)),
            (CREATE2_DEPLOYER, contract(&CREATE2_DEPLOYER_CODE)),
        ]);
        if self.ethereum.is_none() {
            let account = GenesisAccount { storage: l1_block.into(), ..contract(&artifact.deployed_bytecode) };
            accounts.insert(predeploys::L1_BLOCK, account);
            return accounts;
        }
        let withdrawals = inhibited(&eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE);
        let consolidations = inhibited(&eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE);
        accounts.insert(eip4788::BEACON_ROOTS_ADDRESS, contract(&eip4788::BEACON_ROOTS_CODE));
        accounts.insert(eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, withdrawals);
        accounts.insert(eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, consolidations);
        accounts
    }

    /// The state at block 0, as a change from nothing.
    pub fn genesis_changes(&self) -> ChangeSet {
        let mut changes = ChangeSet::default();
        for (address, account) in self.genesis.alloc.iter().chain(&self.common_accounts()) {
            let code_hash =
                if account.code.is_empty() { Account::default().code_hash } else { keccak256(&account.code) };
            let after = Account { nonce: account.nonce, balance: account.balance, code_hash };
            let storage: BTreeMap<U256, Change<U256>> = account
                .storage
                .iter()
                .filter(|(_, value)| !value.is_zero())
                .map(|(slot, value)| (*slot, Change { before: U256::ZERO, after: (*value).into() }))
                .collect();
            if after.is_empty() && storage.is_empty() {
                continue;
            }
            if !account.code.is_empty() {
                changes.codes.insert(code_hash, account.code.clone());
            }
            let account = Change { before: None, after: Some(after) };
            changes.accounts.insert(*address, AccountChange { account, wiped: false, storage });
        }
        changes
    }

    /// The header of block 0, over the root of [`Self::genesis_changes`].
    pub fn genesis_header(&self, state_root: B256) -> Header {
        let (beneficiary, extra_data, base_fee) = match self.ethereum {
            Some(_) => (Address::ZERO, Bytes::new(), eip1559::INITIAL_BASE_FEE),
            None => (predeploys::SEQUENCER_FEE_VAULT, Extra::default().encode(), self.gas.base_fee(0)),
        };
        Header {
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary,
            state_root,
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            gas_limit: self.gas.block_gas_limit,
            timestamp: self.genesis.timestamp,
            extra_data,
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Default::default()
        }
    }

    /// What decides how blocks up to a time (in seconds) are run and is not in the genesis block, as words of 32 bytes: chain id, gas target a second,
    /// block gas limit, transaction gas limit cap (0: none), base fee floor, the origin's maximal age, 1 for a development chain, then each fork
    /// that holds by then, counted from Berlin = 0, and its time; under Ethereum's rules at last the length of a slot.
    pub fn config(&self, timestamp: u64) -> Vec<u8> {
        let gas = &self.gas;
        let cap = gas.transaction_gas_limit_cap.unwrap_or(0);
        let fixed =
            [self.chain_id, gas.target_per_second, gas.block_gas_limit, cap, gas.base_fee_floor, self.max_origin_age];
        let forks = self.forks.iter().take_while(|activation| activation.timestamp <= timestamp);
        let forks = forks.flat_map(|activation| [activation.fork as u64, activation.timestamp]);
        let slot = self.ethereum.map(|ethereum| ethereum.slot_seconds);
        let words = fixed.into_iter().chain([self.development.into()]).chain(forks).chain(slot);
        words.flat_map(|word| B256::from(U256::from(word)).0).collect()
    }

    /// The same spec without the L1 data fee.
    pub fn without_l1_fee(mut self) -> Self {
        self.l1_prices = GenesisL1Prices::default();
        self
    }

    /// The spec as JSON, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_dev_spec_is_valid_and_survives_a_round_trip() {
        let spec = ChainSpec::dev();
        assert_eq!(spec.chain_id, 5683);
        assert_eq!(spec.fork(spec.genesis.timestamp), Fork::Osaka);
        assert_eq!(spec.genesis.alloc.len(), 10);
        assert_eq!(ChainSpec::from_json(&spec.to_json()).expect("valid"), spec);
        let changes = spec.genesis_changes();
        assert_eq!(changes.accounts.len(), 13);
        assert_eq!(changes.accounts[&predeploys::L1_BLOCK].storage.len(), 2);
        assert_eq!(changes.codes.len(), 3);
        assert_eq!(spec.without_l1_fee().genesis_changes().accounts[&predeploys::L1_BLOCK].storage.len(), 0);
    }

    #[test]
    fn a_config_is_all_that_blocks_so_far_depend_on() {
        let spec = ChainSpec::dev();
        let (now, later) = (1_000, 5_000);
        let mut upgraded = spec.clone();
        upgraded.forks.push(ForkActivation { fork: Fork::Osaka, timestamp: later });
        assert_eq!(spec.config(now), upgraded.config(now));
        assert_ne!(spec.config(later), upgraded.config(later));
        let edits: [fn(&mut ChainSpec); 8] = [
            |spec| spec.max_origin_age += 1,
            |spec| spec.chain_id += 1,
            |spec| spec.gas.target_per_second += 1,
            |spec| spec.gas.block_gas_limit += 1,
            |spec| spec.gas.transaction_gas_limit_cap = None,
            |spec| spec.gas.base_fee_floor += 1,
            |spec| spec.development = !spec.development,
            |spec| spec.forks[0].fork = Fork::Prague,
        ];
        for edit in edits {
            let mut other = spec.clone();
            edit(&mut other);
            assert_ne!(spec.config(now), other.config(now));
        }
    }

    #[test]
    fn a_layer_1_has_ethereums_genesis() {
        let spec = ChainSpec::l1(900, 12);
        assert_eq!(ChainSpec::from_json(&spec.to_json()).expect("valid"), spec);
        assert_eq!(spec.slots(), Some(Slots { genesis: spec.genesis.timestamp, seconds: 12 }));
        assert_eq!(L1_BALANCE, U256::from(10).pow(U256::from(24)));
        let header = spec.genesis_header(B256::ZERO);
        assert!(header.extra_data.is_empty());
        assert_eq!(header.base_fee_per_gas, Some(1_000_000_000));
        let changes = spec.genesis_changes();
        let code = |address: Address| {
            let account = changes.accounts[&address].account.after.expect("exists");
            assert_eq!(account.nonce, 1);
            changes.codes[&account.code_hash].len()
        };
        assert_eq!(code(eip4788::BEACON_ROOTS_ADDRESS), 97);
        for address in [eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS]
        {
            assert!(code(address) > 400);
            assert_eq!(changes.accounts[&address].storage[&U256::ZERO].after, U256::MAX, "it takes no requests");
        }
        assert!(!changes.accounts.contains_key(&predeploys::L1_BLOCK));
        assert_ne!(spec.config(0), ChainSpec::l1(900, 1).config(0), "slots are part of the rules");

        let edits: [fn(&mut ChainSpec); 5] = [
            |spec| spec.ethereum = Some(EthereumParams { slot_seconds: 0 }),
            |spec| spec.gas.block_gas_limit = 100_000_000,
            |spec| spec.gas.transaction_gas_limit_cap = None,
            |spec| spec.l1_prices.base_fee = U256::ONE,
            |spec| spec.forks.push(ForkActivation { fork: Fork::Osaka, timestamp: u64::MAX }),
        ];
        for edit in edits {
            let mut other = spec.clone();
            edit(&mut other);
            assert!(ChainSpec::from_json(&other.to_json()).is_err());
        }
    }

    #[test]
    fn bad_specs_are_refused_by_name() {
        let json = ChainSpec::dev().to_json();
        let edited = |from: &str, to: &str| {
            assert!(json.contains(from), "{from}");
            ChainSpec::from_json(&json.replacen(from, to, 1)).expect_err("refused").to_string()
        };
        assert!(edited("\"osaka\"", "\"prague\"").contains("starts at osaka"));
        assert!(edited("\"targetPerSecond\": 500000000", "\"targetPerSecond\": 0").contains("targetPerSecond"));
        assert!(edited("\"name\"", "\"nom\"").contains("unknown field `nom`"));
        assert!(edited("1767225600", "1767225600000").contains("in seconds"));
        let reserved = format!("\"{CREATE2_DEPLOYER}\": {{}}, \"0xf39f");
        assert!(edited("\"0xf39f", &reserved.to_lowercase()).contains("every chain has"));
    }
}
