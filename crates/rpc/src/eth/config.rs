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
    let times = activations(spec);
    let current = times.iter().rposition(|activation| *activation <= time).unwrap_or_default();
    let at = |index: usize| times.get(..=index).map(|passed| fork_config(spec, genesis, passed));
    let last = times.len().saturating_sub(1);
    Config {
        current: fork_config(spec, genesis, times.get(..=current).unwrap_or_default()),
        next: at(current + 1),
        last: if last > current { at(last) } else { None },
    }
}

/// When rules change: forks, and those of EIP-7892 that change what blobs cost.
fn activations(spec: &ChainSpec) -> Vec<u64> {
    let blobs = spec.ethereum.iter().flat_map(|ethereum| &ethereum.blob_schedule).map(|at| at.timestamp);
    let mut times: Vec<u64> = spec.forks.iter().map(|at| at.timestamp).chain(blobs).collect();
    times.sort_unstable();
    times.dedup();
    times
}

/// The rules from the last of the times on that have `passed`.
fn fork_config(spec: &ChainSpec, genesis: B256, passed: &[u64]) -> ForkConfig {
    let timestamp = passed.last().copied().unwrap_or_default();
    let fork = spec.fork(timestamp);
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
    let fork_id = fork_hash(genesis, passed.iter().copied().filter(|time| *time > spec.genesis.timestamp));
    ForkConfig {
        activation_time: if timestamp <= spec.genesis.timestamp { 0 } else { timestamp },
        blob_schedule: spec.ethereum.as_ref().map(|ethereum| {
            let (chain_id, blobs) = (spec.chain_id, ethereum.blob_schedule.clone());
            blob_schedule(&Rules::Ethereum { chain_id, fork, development: spec.development, blobs }, timestamp)
        }),
        chain_id: U64::from(spec.chain_id),
        fork_id: fork_id.to_be_bytes().to_vec().into(),
        precompiles,
        system_contracts: system_contracts(spec),
    }
}

fn blob_schedule(rules: &Rules, timestamp: u64) -> BlobSchedule {
    let params = rules.blob_params(timestamp);
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
    fn changes_of_blob_parameters_are_forks() {
        let mut spec = ChainSpec::l1(900, 12);
        let now = spec.genesis.timestamp + 100;
        let at = |timestamp, target, max, base_fee_update_fraction| jove_primitives::spec::BlobSchedule {
            timestamp,
            target,
            max,
            base_fee_update_fraction,
        };
        let schedule = vec![at(now + 1, 10, 15, 8_346_193), at(now + 9, 14, 21, 11_684_671)];
        spec.ethereum.as_mut().expect("a layer 1").blob_schedule = schedule;
        let before = config_at(&spec, B256::ZERO, now);
        let blobs = |config: &ForkConfig| config.blob_schedule.as_ref().map(|blobs| (blobs.target, blobs.max));
        assert_eq!(blobs(&before.current), Some((6, 9)));
        let (next, last) = (before.next.expect("to come"), before.last.expect("to come"));
        assert_eq!((next.activation_time, blobs(&next)), (now + 1, Some((10, 15))));
        assert_eq!((last.activation_time, blobs(&last)), (now + 9, Some((14, 21))));
        assert_eq!(last.blob_schedule.as_ref().map(|blobs| blobs.base_fee_update_fraction), Some(11_684_671));
        assert!(before.current.fork_id != next.fork_id && next.fork_id != last.fork_id);
        let after = config_at(&spec, B256::ZERO, now + 9);
        assert_eq!((after.current, after.next, after.last), (last, None, None));
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
