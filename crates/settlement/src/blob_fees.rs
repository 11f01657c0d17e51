//! How fast L1's blob base fee moves, and when that changes (EIP-7892): what a chain is deployed with.

use crate::{Error, L1};
use alloy_eips::{
    eip7691,
    eip7892::{BPO1_BASE_UPDATE_FRACTION, BPO2_BASE_UPDATE_FRACTION},
};
use jove_primitives::spec::BlobFeeUpdate;
use serde::Deserialize;

/// `BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE` (EIP-7691).
const PRAGUE_FRACTION: u64 = eip7691::BLOB_GASPRICE_UPDATE_FRACTION_PECTRA as u64;

/// The blob fee updates of an L1 with this chain id, as far as they are set: Ethereum's (EIP-7691, then the forks "blob parameters only" of EIP-7892), and
/// elsewhere EIP-7691's alone.
pub fn known(l1: u64) -> Vec<BlobFeeUpdate> {
    // Mainnet's from EIP-8134 and EIP-8135, those of Sepolia and Hoodi from their published configurations.
    let forks = match l1 {
        1 => [1_765_290_071, 1_767_747_671],
        11_155_111 => [1_761_017_184, 1_761_607_008],
        560_048 => [1_762_365_720, 1_762_955_544],
        _ => return vec![BlobFeeUpdate { timestamp: 0, fraction: PRAGUE_FRACTION }],
    };
    let times = [0, forks[0], forks[1]].into_iter();
    times
        .zip([PRAGUE_FRACTION, BPO1_BASE_UPDATE_FRACTION, BPO2_BASE_UPDATE_FRACTION])
        .map(|(timestamp, fraction)| BlobFeeUpdate { timestamp, fraction })
        .collect()
}

/// One of the forks in the answer of `eth_config` (EIP-7910), as far as it is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ForkConfig {
    activation_time: u64,
    blob_schedule: Option<ForkBlobs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ForkBlobs {
    base_fee_update_fraction: u64,
}

#[derive(Deserialize)]
struct ForkConfigs {
    current: ForkConfig,
    next: Option<ForkConfig>,
    last: Option<ForkConfig>,
}

/// The blob fee updates of the L1 behind `l1`: those of [`known`] for Ethereum's networks; for another what its node says of now and of what is to
/// come (`eth_config`, EIP-7910), if it says anything.
///
/// # Errors
/// If the node cannot be reached.
pub async fn ask(l1: &L1, chain_id: u64) -> Result<Vec<BlobFeeUpdate>, Error> {
    let known = known(chain_id);
    if known.len() > 1 {
        return Ok(known);
    }
    match l1.request::<ForkConfigs>("eth_config", [(); 0]).await {
        Ok(configs) => Ok(updates_of(configs).unwrap_or(known)),
        Err(error) if error.is_transient() => Err(error),
        // The method is young.
        Err(_) => Ok(known),
    }
}

/// None, if it cannot be what the chain is under.
fn updates_of(configs: ForkConfigs) -> Option<Vec<BlobFeeUpdate>> {
    let ForkConfigs { current, next, last } = configs;
    let mut updates = vec![BlobFeeUpdate { timestamp: 0, fraction: current.blob_schedule?.base_fee_update_fraction }];
    for fork in [next, last].into_iter().flatten() {
        let (timestamp, fraction) = (fork.activation_time, fork.blob_schedule?.base_fee_update_fraction);
        let before = updates[updates.len() - 1];
        if timestamp > before.timestamp && fraction != before.fraction {
            updates.push(BlobFeeUpdate { timestamp, fraction });
        }
    }
    updates.iter().all(|update| (1 << 16..=1 << 40).contains(&update.fraction)).then_some(updates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_fee_updates_are_what_a_node_says() {
        let fork = |time: u64, fraction: u64| serde_json::json!({"activationTime": time, "blobSchedule": {"baseFeeUpdateFraction": fraction, "max": 9, "target": 6}});
        let updates = |current, next, last| {
            let json = serde_json::json!({"current": current, "next": next, "last": last});
            let updates = updates_of(serde_json::from_value(json).expect("a config"))?;
            Some(updates.iter().map(|update| (update.timestamp, update.fraction)).collect::<Vec<_>>())
        };
        let null = serde_json::Value::Null;
        let (now, bpo1, bpo2) = (fork(50, 5_007_716), fork(100, 8_346_193), fork(200, 11_684_671));
        assert_eq!(updates(now.clone(), null.clone(), null.clone()), Some(vec![(0, 5_007_716)]));
        assert_eq!(updates(now.clone(), bpo1.clone(), bpo1.clone()), Some(vec![(0, 5_007_716), (100, 8_346_193)]));
        let all = vec![(0, 5_007_716), (100, 8_346_193), (200, 11_684_671)];
        assert_eq!(updates(now.clone(), bpo1, bpo2), Some(all));
        assert_eq!(updates(now.clone(), fork(100, 0), null.clone()), None, "no such fraction");
        assert_eq!(updates(serde_json::json!({"activationTime": 0, "blobSchedule": null}), null.clone(), null), None);
    }
}
