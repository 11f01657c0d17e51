//! `eth_config`: the rules in force and those to come ([EIP-7910](https://eips.ethereum.org/EIPS/eip-7910)).

use crate::{
    error::RpcError,
    methods::{Call, Methods},
};
use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, U64};
use jove_primitives::{ChainSpec, Fork};
use jove_stf::Rules;
use serde::Serialize;
use std::collections::BTreeMap;

/// Precompiled contracts in the order of their addresses, from 1.
const PRECOMPILES: [&str; 17] = [
    "ECREC",
    "SHA256",
    "RIPEMD160",
    "ID",
    "MODEXP",
    "BN254_ADD",
    "BN254_MUL",
    "BN254_PAIRING",
    "BLAKE2F",
    "KZG_POINT_EVALUATION",
    "BLS12_G1ADD",
    "BLS12_G1MSM",
    "BLS12_G2ADD",
    "BLS12_G2MSM",
    "BLS12_PAIRING_CHECK",
    "BLS12_MAP_FP_TO_G1",
    "BLS12_MAP_FP2_TO_G2",
];
/// How many of them Cancun has; before, one less.
const CANCUN_PRECOMPILES: usize = 10;
/// Address of P256VERIFY, since Osaka.
const P256VERIFY: u64 = 0x100;

pub(crate) fn register(methods: &mut Methods) {
    methods.read("eth_config", config);
}

/// Answer of `eth_config`.
#[derive(Debug, PartialEq, Serialize)]
struct Config {
    current: ForkConfig,
    next: Option<ForkConfig>,
    last: Option<ForkConfig>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ForkConfig {
    activation_time: u64,
    /// Of a chain under Ethereum's rules: Jove's blocks carry no blobs.
    blob_schedule: Option<BlobSchedule>,
    chain_id: U64,
    fork_id: Bytes,
    /// Address by name, as execution-apis has it.
    precompiles: BTreeMap<String, Address>,
    system_contracts: BTreeMap<String, Address>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlobSchedule {
    base_fee_update_fraction: u128,
    max: u64,
    target: u64,
}

fn config(call: &Call) -> Result<Config, RpcError> {
    call.no_args()?;
    let genesis = call.context.node.storage().view().block_hash(0)?.ok_or_else(RpcError::header_not_found)?;
    Ok(config_at(call.context.node.spec(), genesis, call.context.node.head().header.timestamp))
}

fn config_at(spec: &ChainSpec, genesis: B256, time: u64) -> Config {
    let current = spec.forks.iter().rposition(|activation| activation.timestamp <= time).unwrap_or_default();
    let at = |index: usize| spec.forks.get(index).map(|_| fork_config(spec, genesis, index));
    let last = spec.forks.len().saturating_sub(1);
    Config {
        current: fork_config(spec, genesis, current),
        next: at(current + 1),
        last: (last > current).then(|| fork_config(spec, genesis, last)),
    }
}

fn fork_config(spec: &ChainSpec, genesis: B256, index: usize) -> ForkConfig {
    let (fork, timestamp) = spec.forks.get(index).map_or((Fork::Osaka, 0), |at| (at.fork, at.timestamp));
    let count = match fork {
        Fork::Prague | Fork::Osaka => PRECOMPILES.len(),
        Fork::Cancun => CANCUN_PRECOMPILES,
        _ => CANCUN_PRECOMPILES - 1,
    };
    let address = |number: u64| Address::left_padding_from(&number.to_be_bytes());
    let mut precompiles: BTreeMap<String, Address> =
        PRECOMPILES[..count].iter().zip(1..).map(|(name, number)| ((*name).to_owned(), address(number))).collect();
    if fork >= Fork::Osaka {
        precompiles.insert("P256VERIFY".to_owned(), address(P256VERIFY));
    }
    let passed = spec.forks[..=index.min(spec.forks.len().saturating_sub(1))].iter().map(|at| at.timestamp);
    let fork_id = fork_hash(genesis, passed.filter(|time| *time > spec.genesis.timestamp));
    ForkConfig {
        activation_time: if timestamp <= spec.genesis.timestamp { 0 } else { timestamp },
        blob_schedule: spec.ethereum.map(|_| blob_schedule(fork)),
        chain_id: U64::from(spec.chain_id),
        fork_id: fork_id.to_be_bytes().to_vec().into(),
        precompiles,
        system_contracts: system_contracts(spec),
    }
}

fn blob_schedule(fork: Fork) -> BlobSchedule {
    let rules = Rules::Ethereum { chain_id: 0, fork, development: false };
    let params = rules.blob_params(0);
    BlobSchedule {
        base_fee_update_fraction: params.update_fraction,
        max: params.max_blob_count,
        target: params.target_blob_count,
    }
}

fn system_contracts(spec: &ChainSpec) -> BTreeMap<String, Address> {
    let mut contracts = vec![("HISTORY_STORAGE_ADDRESS", eip2935::HISTORY_STORAGE_ADDRESS)];
    if spec.ethereum.is_some() {
        contracts.push(("BEACON_ROOTS_ADDRESS", eip4788::BEACON_ROOTS_ADDRESS));
        let (name, address) = ("WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS", eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS);
        contracts.push((name, address));
        let (name, address) =
            ("CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS", eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS);
        contracts.push((name, address));
    }
    contracts.into_iter().map(|(name, address)| (name.to_owned(), address)).collect()
}

/// The fork hash of EIP-2124 and EIP-6122: CRC-32 of the genesis hash and the times of the forks passed since.
fn fork_hash(genesis: B256, forks: impl Iterator<Item = u64>) -> u32 {
    let crc = genesis.iter().fold(!0, |crc, byte| crc32_step(crc, *byte));
    !forks.flat_map(u64::to_be_bytes).fold(crc, crc32_step)
}

/// One byte of CRC-32 with the IEEE polynomial, reflected.
fn crc32_step(crc: u32, byte: u8) -> u32 {
    (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, b256};
    use jove_primitives::spec::ForkActivation;

    #[test]
    fn fork_hashes_are_those_of_mainnet() {
        // Vectors of EIP-2124: Frontier, then Homestead at block 1,150,000, then the DAO fork at 1,920,000.
        let genesis = b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");
        assert_eq!(fork_hash(genesis, [].into_iter()), 0xfc64_ec04);
        assert_eq!(fork_hash(genesis, [1_150_000].into_iter()), 0x97c2_c34c);
        assert_eq!(fork_hash(genesis, [1_150_000, 1_920_000].into_iter()), 0x91d1_f948);
    }

    #[test]
    fn a_layer_1_says_what_blobs_cost_and_which_contracts_it_has() {
        let config = config_at(&ChainSpec::l1(900, 1), B256::ZERO, 0).current;
        let schedule = BlobSchedule { base_fee_update_fraction: 5_007_716, max: 9, target: 6 };
        assert_eq!(config.blob_schedule, Some(schedule));
        assert_eq!(config.system_contracts.len(), 4);
        assert_eq!(config_at(&ChainSpec::dev(), B256::ZERO, 0).current.blob_schedule, None);
    }

    #[test]
    fn the_current_and_the_next_fork_are_told_apart() {
        let mut spec = ChainSpec::dev();
        let now = spec.genesis.timestamp + 100;
        let config = config_at(&spec, B256::ZERO, now);
        assert_eq!(config.current.activation_time, 0);
        assert_eq!(config.current.precompiles["P256VERIFY"], address!("0000000000000000000000000000000000000100"));
        assert_eq!(config.current.precompiles.len(), 18);
        assert_eq!((config.next, config.last), (None, None));
        spec.forks.insert(0, ForkActivation { fork: Fork::Prague, timestamp: 0 });
        spec.forks[1].timestamp = now + 1;
        let config = config_at(&spec, B256::ZERO, now);
        assert!(!config.current.precompiles.contains_key("P256VERIFY"));
        let next = config.next.expect("Osaka is to come");
        assert_eq!(next.activation_time, now + 1);
        assert_ne!(next.fork_id, config.current.fork_id);
        assert_eq!(config.last, Some(next));
    }
}
