//! Chain specs: chain id, genesis, forks and gas, as one JSON document.

mod config;

use crate::{
    beacon::Slots,
    fee::{GasParams, fake_exponential},
    header::Extra,
    l1::L1Origin,
    predeploys,
    state::{Account, AccountChange, Change, ChangeSet},
};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip1559, eip2935, eip4788, eip7002, eip7251, eip7685::EMPTY_REQUESTS_HASH, eip7691, eip7825};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EthereumParams {
    /// Length of a slot, in seconds: each has at most one block.
    pub slot_seconds: u64,
    /// Forks that change blob parameters only (EIP-7892), in ascending order. Before the first, Osaka's hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blob_schedule: Vec<BlobSchedule>,
}

/// How many blobs a block has and how fast their price moves, from a time on: the fields of EIP-7840, with the time of EIP-7892.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlobSchedule {
    /// First block time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Blobs of a block at which their price stands still.
    pub target: u64,
    /// Most blobs of a block.
    pub max: u64,
    /// `BLOB_BASE_FEE_UPDATE_FRACTION`, in blob gas.
    pub base_fee_update_fraction: u64,
}

/// How fast L1's blob base fee moves, from a time on (EIP-7892). L1's own schedule: it decides what the L1 attributes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlobFeeUpdate {
    /// First L1 block time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// `BLOB_BASE_FEE_UPDATE_FRACTION`, in blob gas.
    pub fraction: u64,
}

/// The L1 that a chain settles on, and its contracts there (docs/settlement.md). `jove deploy` writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settlement {
    /// EIP-155 chain id of the L1.
    pub chain_id: u64,
    /// L1's blob fee updates, in ascending order; the first holds from the beginning.
    pub blob_fee_updates: Vec<BlobFeeUpdate>,
    /// The L1 block in which the chain was opened: nothing of it is in an earlier one.
    pub block: u64,
    /// The chain of batches.
    pub rollup: Address,
    /// What was proven.
    pub proofs: Address,
    /// The queue of messages.
    pub inbox: Address,
    /// The vault. L2's genesis names it.
    pub bridge: Address,
    /// Executes messages from L2.
    pub outbox: Address,
    /// Pays after a halt.
    pub escape_hatch: Address,
    /// Says who may commit.
    pub authority: Address,
    /// Pays those who propose (docs/validators.md); absent where there is no such vault. No rule of the chain depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_vault: Option<Address>,
    /// The delay before any change.
    pub timelock: Address,
    /// The council's pause.
    pub pause: Address,
    /// Hashes of L1 blocks.
    pub origins: Address,
    /// How enclaves attest; absent where the verifier of their proofs does not ask a registry, and in older files. No rule of the chain depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
}

/// The contracts that say which enclaves may prove (docs/attestation.md), as they were when the file was written: the timelock may replace them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attestation {
    /// `Pccs`: the collateral.
    pub pccs: Address,
    /// `DcapVerifier`: whether a quote is genuine.
    pub dcap: Address,
    /// `AttestationRegistry`: the keys of enclaves.
    pub registry: Address,
    /// `TeeVerifier`: whether a registered key has signed.
    pub tee_verifier: Address,
}

impl Settlement {
    /// The blob base fee that an L1 block names by its time, in seconds, and `excessBlobGas`, in wei per blob gas (EIP-4844).
    pub fn blob_base_fee(&self, timestamp: u64, excess_blob_gas: u64) -> u128 {
        let holds = |update: &&BlobFeeUpdate| update.timestamp <= timestamp;
        let update = self.blob_fee_updates.iter().rfind(holds).or(self.blob_fee_updates.first());
        let fraction = update.map_or(eip7691::BLOB_GASPRICE_UPDATE_FRACTION_PECTRA as u64, |update| update.fraction);
        let excess = excess_blob_gas.min(fraction.saturating_mul(MAX_BLOB_FEE_EXPONENT));
        fake_exponential(1, excess, fraction.max(1)).saturating_to()
    }

    /// The L1 origin that an L1 block is: its header and hash, and how many messages the queue held at its end.
    pub fn origin(&self, header: &Header, hash: B256, messages: u64) -> L1Origin {
        L1Origin {
            number: header.number,
            timestamp: header.timestamp,
            base_fee: U256::from(header.base_fee_per_gas.unwrap_or(0)),
            hash,
            blob_base_fee: U256::from(self.blob_base_fee(header.timestamp, header.excess_blob_gas.unwrap_or(0))),
            mix_hash: header.mix_hash,
            messages,
        }
    }
}

/// Who certifies the chain's blocks, and how they take turns (docs/consensus.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Validators {
    /// Checkpoints of an epoch.
    pub epoch_length: u64,
    /// Views of a term: each has one leader.
    pub term_length: u64,
    /// Seats of a committee of buddies; all validators where there are fewer.
    pub seats: u32,
    /// The validators of epochs 0 and 1.
    pub genesis: Vec<GenesisValidator>,
}

/// A validator of the first two epochs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisValidator {
    /// Its operator's id.
    pub id: B256,
    /// The BLS12-381 key of its votes: 96 bytes, a compressed point of G2.
    pub key: Bytes,
    /// A signature of that key by itself: 48 bytes, a compressed point of G1.
    pub possession: Bytes,
    /// The key of its VRF: a compressed point of edwards25519.
    pub vrf: B256,
    /// Whether it makes blocks too, when its turn comes.
    pub sequencer: bool,
    /// Its peer id in the network.
    pub peer: String,
    /// Where it is reached; may be empty.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The account on L1 that may register as it without being admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Address>,
}

/// A Seed Node: others find the network through it, and it reports how reliable validators are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisSeed {
    /// The BLS12-381 key of its reports: 96 bytes, a compressed point of G2.
    pub key: Bytes,
    /// A signature of that key by itself: 48 bytes, a compressed point of G1.
    pub possession: Bytes,
    /// The account that sends its reports, and pays for them.
    pub account: Address,
    /// Its peer id in the network.
    pub peer: String,
    /// Where it is reached.
    #[serde(default)]
    pub addresses: Vec<String>,
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
    /// Where the chain settles; absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<Settlement>,
    /// Who certifies its blocks; absent: one sequencer makes them, and nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validators: Option<Validators>,
    /// Its Seed Nodes, at most 256; on a chain with validators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<GenesisSeed>,
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
    /// What is said of L1 cannot be.
    #[error("chain spec: settlement.{0}")]
    Settlement(&'static str),
    /// Bytes that encode no rules ([`ChainSpec::from_config`]).
    #[error("chain config: {0}")]
    Config(&'static str),
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
/// Logarithm of the highest blob base fee that is told from higher ones: e⁸⁸ wei are 10²⁰ ether.
const MAX_BLOB_FEE_EXPONENT: u64 = 88;
/// Most blobs of a block under Ethereum's rules: what those who read them from a beacon node take at once.
const MAX_BLOCK_BLOBS: u64 = 128;
/// Largest update fraction of a blob fee, in blob gas.
const MAX_BLOB_FRACTION: u64 = 1 << 40;
/// Longest slot, in seconds.
const MAX_SLOT_SECONDS: u64 = 3_600;

/// Arachnid's deterministic deployment proxy, which `forge` and others expect.
const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
const CREATE2_DEPLOYER_CODE: [u8; 69] = hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// Contracts that are in place at genesis, as `e2e/contracts` compiles them.
mod artifact {
    pub(super) const L1_BLOCK: &str = include_str!("../../../contracts/artifacts/L1Block.json");
    pub(super) const L2_MESSENGER: &str = include_str!("../../../contracts/artifacts/L2Messenger.json");
    pub(super) const L2_BRIDGE: &str = include_str!("../../../contracts/artifacts/L2Bridge.json");
}

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
        spec.ethereum = Some(EthereumParams { slot_seconds, blob_schedule: Vec::new() });
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
        self.check_rules()?;
        match self.common_accounts().into_keys().find(|address| self.genesis.alloc.contains_key(address)) {
            Some(address) => Err(SpecError::Reserved(address)),
            None => Ok(()),
        }
    }

    /// All but the accounts of genesis.
    fn check_rules(&self) -> Result<(), SpecError> {
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
        if let Some(settlement) = &self.settlement {
            let updates = &settlement.blob_fee_updates;
            if updates.is_empty() || updates.iter().any(|update| !(1 << 16..=1 << 40).contains(&update.fraction)) {
                return Err(SpecError::Settlement("blobFeeUpdates: at least one, with a fraction from 2^16 to 2^40"));
            }
            if !updates.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
                return Err(SpecError::Settlement("blobFeeUpdates must ascend"));
            }
        }
        Ok(())
    }

    fn check_ethereum(&self) -> Result<(), SpecError> {
        let Some(EthereumParams { slot_seconds, blob_schedule }) = &self.ethereum else { return Ok(()) };
        if !(1..=MAX_SLOT_SECONDS).contains(slot_seconds) {
            return Err(SpecError::Ethereum("slotSeconds must be from 1 to 3600"));
        }
        if !blob_schedule.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
            return Err(SpecError::Ethereum("ethereum.blobSchedule must ascend"));
        }
        if blob_schedule.iter().any(|at| !(1..=at.max).contains(&at.target) || at.max > MAX_BLOCK_BLOBS) {
            return Err(SpecError::Ethereum("ethereum.blobSchedule: a target from 1 to max, and max at most 128"));
        }
        // A smaller one would let the price jump beyond what a number holds.
        let fractions = blob_schedule.iter().map(|at| at.base_fee_update_fraction);
        let osaka = eip7691::BLOB_GASPRICE_UPDATE_FRACTION_PECTRA as u64;
        if !core::iter::once(osaka).chain(fractions).chain([MAX_BLOB_FRACTION]).is_sorted() {
            let why =
                "ethereum.blobSchedule: baseFeeUpdateFraction starts at 5,007,716, never falls and is at most 2^40";
            return Err(SpecError::Ethereum(why));
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
        if self.settlement.is_some() {
            return Err(SpecError::Ethereum("there is no L1 to settle on: leave settlement out"));
        }
        Ok(())
    }

    /// The slots of a chain under Ethereum's rules.
    pub fn slots(&self) -> Option<Slots> {
        let seconds = self.ethereum.as_ref()?.slot_seconds;
        Some(Slots { genesis: self.genesis.timestamp, seconds })
    }

    /// The fork at a block time, in seconds.
    pub fn fork(&self, timestamp: u64) -> Fork {
        let active = self.forks.iter().take_while(|activation| activation.timestamp <= timestamp);
        active.last().map_or(Fork::Osaka, |activation| activation.fork)
    }

    /// What every chain has at block 0: EIP-2935's history contract and the deterministic deployer; then the L1 attributes, the messenger and the L2 bridge, or
    /// the other system contracts of Ethereum. Those of EIP-7002 and EIP-7251 are as they were deployed: until the end of a block calls them, which never happens here, they
    /// take no requests.
    fn common_accounts(&self) -> BTreeMap<Address, GenesisAccount> {
        let slot = |value: U256| B256::from(value);
        let l1_block = [
            (predeploys::L1_BASE_FEE_SLOT, slot(self.l1_prices.base_fee)),
            (predeploys::L1_BLOB_BASE_FEE_SLOT, slot(self.l1_prices.blob_base_fee)),
        ];
        #[allow(clippy::expect_used)] // a constant, and a test reads it
        let compiled = |artifact: &str, storage: &[(U256, B256)]| {
            let artifact: Artifact = serde_json::from_str(artifact).expect("the compiled contract is valid");
            let storage = storage.iter().copied().collect();
            GenesisAccount { nonce: 1, code: artifact.deployed_bytecode, storage, ..Default::default() }
        };
        let contract =
            |code: &[u8]| GenesisAccount { nonce: 1, code: Bytes::copy_from_slice(code), ..Default::default() };
        let inhibited =
            |code: &[u8]| GenesisAccount { storage: [(U256::ZERO, B256::repeat_byte(0xff))].into(), ..contract(code) };
        let mut accounts = BTreeMap::from([
            (eip2935::HISTORY_STORAGE_ADDRESS, contract(&eip2935::HISTORY_STORAGE_CODE)),
            (CREATE2_DEPLOYER, contract(&CREATE2_DEPLOYER_CODE)),
        ]);
        if self.ethereum.is_none() {
            let outbox = [(predeploys::OUTBOX_ROOT_SLOT, predeploys::EMPTY_OUTBOX_ROOT)];
            let l1_bridge = self.settlement.as_ref().map_or(Address::ZERO, |settlement| settlement.bridge);
            let bridge = [(predeploys::L1_BRIDGE_SLOT, l1_bridge.into_word())];
            accounts.insert(predeploys::L1_BLOCK, compiled(artifact::L1_BLOCK, &l1_block));
            accounts.insert(predeploys::L2_MESSENGER, compiled(artifact::L2_MESSENGER, &outbox));
            accounts.insert(predeploys::L2_BRIDGE, compiled(artifact::L2_BRIDGE, &bridge));
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
        let (beneficiary, extra_data, base_fee) = match &self.ethereum {
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

    /// The sum of all balances at genesis, in wei, which the bridge on L1 locks.
    pub fn genesis_supply(&self) -> U256 {
        self.genesis.alloc.values().fold(U256::ZERO, |sum, account| sum.saturating_add(account.balance))
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
        assert_eq!(changes.accounts.len(), 15);
        assert_eq!(changes.accounts[&predeploys::L1_BLOCK].storage.len(), 2);
        assert_eq!(changes.accounts[&predeploys::L2_BRIDGE].storage.len(), 0);
        assert_eq!(changes.codes.len(), 5);
        assert_eq!(spec.without_l1_fee().genesis_changes().accounts[&predeploys::L1_BLOCK].storage.len(), 0);
    }

    fn settlement() -> Settlement {
        let update = |timestamp, fraction| BlobFeeUpdate { timestamp, fraction };
        let blob_fee_updates = vec![update(0, 5_007_716), update(1000, 8_346_193)];
        Settlement { bridge: Address::repeat_byte(7), blob_fee_updates, ..Default::default() }
    }

    #[test]
    fn the_blob_base_fee_is_l1s() {
        let settlement = settlement();
        assert_eq!(settlement.blob_base_fee(0, 0), 1);
        assert!(settlement.blob_base_fee(0, u64::MAX) > 1 << 126, "and no overflow");
        assert_eq!(settlement.blob_base_fee(999, 100_000_000), 470_442_149); // e^(10^8 / 5,007,716)
        assert_eq!(settlement.blob_base_fee(1000, 100_000_000), 159_773); // e^(10^8 / 8,346,193)
        type Edit = fn(&mut Vec<BlobFeeUpdate>);
        let spec = |edit: Edit| {
            let mut settlement = settlement.clone();
            edit(&mut settlement.blob_fee_updates);
            let spec = ChainSpec { settlement: Some(settlement), ..ChainSpec::dev() };
            (ChainSpec::from_json(&spec.to_json()).is_ok(), spec.config_hash())
        };
        let (valid, hash) = spec(|_| ());
        assert!(valid);
        let edits: [(Edit, bool); 4] = [
            (Vec::clear, false),
            (|updates| updates.reverse(), false),
            (|updates| updates[0].fraction = 0, false),
            (|updates| updates[1].fraction += 1, true),
        ];
        for (edit, valid) in edits {
            let (was, other) = spec(edit);
            assert_eq!(was, valid);
            assert_ne!(other, hash);
        }
    }

    #[test]
    fn attestation_may_be_named_and_changes_no_rule() {
        let without = ChainSpec { settlement: Some(settlement()), ..ChainSpec::dev() };
        assert!(!without.to_json().contains("attestation"), "as older versions wrote it");
        let attestation = Some(Attestation { registry: Address::repeat_byte(9), ..Default::default() });
        let with = ChainSpec { settlement: Some(Settlement { attestation, ..settlement() }), ..without.clone() };
        assert!(with.to_json().contains("\"teeVerifier\""));
        assert_eq!(ChainSpec::from_json(&with.to_json()).expect("valid"), with);
        assert_eq!(with.config_hash(), without.config_hash());
        assert_eq!(with.genesis_changes().accounts, without.genesis_changes().accounts);
    }

    #[test]
    fn genesis_names_the_bridge_and_the_empty_outbox() {
        let settlement = settlement();
        let spec = ChainSpec { settlement: Some(settlement.clone()), ..ChainSpec::dev() };
        assert_eq!(ChainSpec::from_json(&spec.to_json()).expect("valid"), spec);
        let changes = spec.genesis_changes();
        let slot = |address, slot| B256::from(changes.accounts[&address].storage[&slot].after);
        assert_eq!(slot(predeploys::L2_BRIDGE, predeploys::L1_BRIDGE_SLOT), settlement.bridge.into_word());
        let root = (0..32).fold(B256::ZERO, |root, _| keccak256([root, root].concat()));
        assert_eq!(slot(predeploys::L2_MESSENGER, predeploys::OUTBOX_ROOT_SLOT), root);
        assert_eq!(spec.genesis_supply(), U256::from(10).pow(U256::from(23)));
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

        let edits: [fn(&mut ChainSpec); 6] = [
            |spec| spec.settlement = Some(Settlement::default()),
            |spec| spec.ethereum = Some(EthereumParams { slot_seconds: 0, blob_schedule: Vec::new() }),
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
    fn a_blob_schedule_ascends_and_is_part_of_the_rules() {
        let at = |timestamp, target, max, base_fee_update_fraction| BlobSchedule {
            timestamp,
            target,
            max,
            base_fee_update_fraction,
        };
        let bpo = [at(2_000_000_000, 10, 15, 8_346_193), at(2_000_086_400, 14, 21, 11_684_671)];
        let with = |schedule: &[BlobSchedule]| {
            let ethereum = Some(EthereumParams { slot_seconds: 12, blob_schedule: schedule.to_vec() });
            ChainSpec { ethereum, ..ChainSpec::l1(900, 12) }
        };
        let spec = with(&bpo);
        let json = spec.to_json();
        assert!(json.contains("\"baseFeeUpdateFraction\": 11684671"), "{json}");
        assert_eq!(ChainSpec::from_json(&json).expect("valid"), spec);
        let plain = ChainSpec::l1(900, 12);
        assert_eq!(spec.config(1_999_999_999), plain.config(1_999_999_999), "what is to come may be added");
        for time in [2_000_000_000, 2_000_086_400] {
            assert_ne!(spec.config(time), plain.config(time));
        }
        assert_ne!(spec.config(2_000_086_400), with(&bpo[..1]).config(2_000_086_400));
        for bad in [
            &[bpo[1], bpo[0]][..],
            &[bpo[0], bpo[0]],
            &[at(0, 10, 9, 8_346_193)],
            &[at(0, 0, 9, 8_346_193)],
            &[at(0, 10, 129, 8_346_193)],
            &[at(0, 10, 15, 5_007_715)],
            &[at(0, 10, 15, (1 << 40) + 1)],
            &[at(0, 14, 21, 11_684_671), at(1, 14, 21, 11_684_670)],
        ] {
            let error = ChainSpec::from_json(&with(bad).to_json()).expect_err("refused").to_string();
            assert!(error.contains("blobSchedule"), "{error}");
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
