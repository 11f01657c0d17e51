//! What gas costs next.
//!
//! A quote (`eth_gasPrice`) is the next block's base fee and a fifth, so that it stays valid through a second of full load, which
//! raises the base fee by an eighth, plus a tip. The tip is small and constant while there is room, since all pay their way in; once the last
//! blocks used nearly all gas that a second may hold, it is what most of their transactions paid. Jove's blocks carry no blobs:
//! the blob base fee is 1 wei, as on the OP Stack. Under Ethereum's rules both fees are Ethereum's.

use crate::{
    error::RpcError,
    methods::{Call, Context, Methods},
    request::Quantity,
    resolve,
};
use alloy_consensus::{Header, Transaction};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::U256;
use alloy_rpc_types_eth::FeeHistory;
use jove_primitives::{ExecutedBlock, header};

/// The tip while there is room, in wei per gas.
const MIN_TIP: u128 = 1_000_000;
/// Blocks that the tip is suggested from.
const TIP_BLOCKS: u64 = 20;
/// Share of transactions, in percent, that paid less than a suggested tip.
const TIP_PERCENTILE: usize = 60;
/// Most blocks in a fee history, as in geth.
const MAX_HISTORY: u64 = 1024;
/// Most percentiles in a fee history, as in geth.
const MAX_PERCENTILES: usize = 100;

pub(crate) fn register(methods: &mut Methods) {
    methods.read("eth_gasPrice", |call| {
        call.no_args()?;
        gas_price(&call.context).map(U256::from)
    });
    methods.read("eth_maxPriorityFeePerGas", |call| {
        call.no_args()?;
        suggested_tip(&call.context).map(U256::from)
    });
    methods.read("eth_blobBaseFee", |call| {
        call.no_args()?;
        Ok(U256::from(blob_base_fee(&call.context, &call.context.node.next_header()?)))
    });
    methods.heavy("eth_feeHistory", fee_history);
}

/// Base fee of a block that is sealed now, in wei per gas.
pub(crate) fn next_base_fee(context: &Context) -> Result<u64, RpcError> {
    Ok(context.node.next_header()?.base_fee_per_gas.unwrap_or_default())
}

/// Blob base fee of a block with this header, in wei per blob gas.
fn blob_base_fee(context: &Context, header: &Header) -> u128 {
    let params = context.node.rules().blob_params(header.timestamp);
    params.calc_blob_fee(header.excess_blob_gas.unwrap_or_default())
}

/// A legacy gas price that the chain will take.
pub(crate) fn gas_price(context: &Context) -> Result<u128, RpcError> {
    Ok(with_margin(next_base_fee(context)?).saturating_add(suggested_tip(context)?))
}

/// The base fee and a fifth, rounded up.
fn with_margin(base_fee: u64) -> u128 {
    (u128::from(base_fee) * 6).div_ceil(5)
}

/// A tip for the next block, in wei per gas.
pub(crate) fn suggested_tip(context: &Context) -> Result<u128, RpcError> {
    let view = context.node.storage().view();
    let head = view.head_number();
    let first = head.saturating_sub(TIP_BLOCKS - 1).max(1);
    let mut headers = Vec::new();
    for number in first..=head {
        headers.extend(view.header(number)?);
    }
    if !is_congested(&headers, context.node.spec().gas.max_per_second()) {
        return Ok(MIN_TIP);
    }
    let mut tips = Vec::new();
    for header in &headers {
        if let Some(block) = view.block(header.number)? {
            tips.extend(tips_of(&block));
        }
    }
    Ok(percentile(&mut tips, TIP_PERCENTILE).unwrap_or(MIN_TIP).max(MIN_TIP))
}

/// Whether blocks in a row used at least nine tenths of the gas that their time could hold.
fn is_congested(headers: &[Header], max_per_second: u64) -> bool {
    let [first, .., last] = headers else { return false };
    let time = |header| header::time_ms(header).unwrap_or_default();
    let elapsed = u128::from(time(last).saturating_sub(time(first)).max(1));
    let used: u128 = headers[1..].iter().map(|header| u128::from(header.gas_used)).sum();
    used * 1000 * 10 >= u128::from(max_per_second) * elapsed * 9
}

fn tips_of(block: &ExecutedBlock) -> impl Iterator<Item = u128> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    block.transactions.iter().map(move |transaction| transaction.effective_tip_per_gas(base_fee).unwrap_or_default())
}

fn percentile(values: &mut [u128], percent: usize) -> Option<u128> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) * percent / 100).copied()
}

fn fee_history(call: &Call) -> Result<FeeHistory, RpcError> {
    let (count, newest, percentiles): (Quantity, BlockNumberOrTag, Option<Vec<f64>>) = call.args()?;
    let percentiles = percentiles.unwrap_or_default();
    check_percentiles(&percentiles)?;
    let view = call.context.node.storage().view();
    let newest = resolve::sealed_number(&view, call.context.node.tags(), BlockId::Number(newest))?
        .ok_or_else(|| RpcError::server("request beyond head block"))?;
    let count = count.0.min(MAX_HISTORY).min(newest.saturating_add(1));
    if count == 0 {
        return Ok(FeeHistory::default());
    }
    let oldest = newest + 1 - count;

    let mut history = FeeHistory { oldest_block: oldest, ..Default::default() };
    let mut rewards = Vec::new();
    for number in oldest..=newest {
        call.check_deadline()?;
        let header = if percentiles.is_empty() {
            view.header(number)?.ok_or_else(RpcError::header_not_found)?
        } else {
            let block = view.block(number)?.ok_or_else(RpcError::header_not_found)?;
            rewards.push(rewards_of(&block, &percentiles));
            block.header.clone()
        };
        history.base_fee_per_gas.push(header.base_fee_per_gas.unwrap_or_default().into());
        history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit.max(1) as f64);
        history.base_fee_per_blob_gas.push(blob_base_fee(&call.context, &header));
        let max_blob_gas = call.context.node.rules().blob_params(header.timestamp).max_blob_gas_per_block();
        let blob_gas_used = header.blob_gas_used.unwrap_or_default();
        history.blob_gas_used_ratio.push(blob_gas_used as f64 / max_blob_gas as f64);
    }
    let after = match view.header(newest + 1)? {
        Some(header) => header,
        None => call.context.node.next_header()?,
    };
    history.base_fee_per_gas.push(after.base_fee_per_gas.unwrap_or_default().into());
    history.base_fee_per_blob_gas.push(blob_base_fee(&call.context, &after));
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    Ok(history)
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), RpcError> {
    if percentiles.len() > MAX_PERCENTILES {
        return Err(RpcError::invalid_params(format!("over the query limit of {MAX_PERCENTILES} percentiles")));
    }
    let in_range = percentiles.iter().all(|percent| (0.0..=100.0).contains(percent));
    if !in_range || !percentiles.is_sorted_by(|one, next| one < next) {
        return Err(RpcError::invalid_params("invalid reward percentile: they must ascend strictly from 0 to 100"));
    }
    Ok(())
}

/// The tips at the percentiles of a block's gas.
fn rewards_of(block: &ExecutedBlock, percentiles: &[f64]) -> Vec<u128> {
    let mut tips: Vec<(u128, u64)> =
        tips_of(block).enumerate().map(|(index, tip)| (tip, block.gas_used(index))).collect();
    if tips.is_empty() {
        return vec![0; percentiles.len()];
    }
    tips.sort_unstable();
    let mut at = 0;
    let mut gas = tips[0].1;
    percentiles
        .iter()
        .map(|percent| {
            let threshold = (block.header.gas_used as f64 * percent / 100.0) as u64;
            while gas < threshold && at + 1 < tips.len() {
                at += 1;
                gas = gas.saturating_add(tips[at].1);
            }
            tips[at].0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::convert::tests::sample_block;
    use jove_primitives::header::Extra;

    #[test]
    fn a_quote_outlives_a_second_of_full_load() {
        let gas = jove_primitives::ChainSpec::dev().gas;
        for excess in [0, 1, 123_456_789, gas.target_per_second * 7, gas.max_excess()] {
            let after = gas.base_fee(gas.next_excess(excess, gas.max_per_second(), 1000));
            assert!(with_margin(gas.base_fee(excess)) >= u128::from(after), "{excess}");
        }
        assert_eq!(with_margin(1), 2, "rounded up");
    }

    #[test]
    fn tips_rise_only_when_blocks_fill() {
        let header = |ms: u64, gas_used| Header {
            timestamp: ms / 1000,
            gas_used,
            extra_data: Extra { millisecond: (ms % 1000) as u16, excess_gas: 0, messages: false }.encode(),
            ..Default::default()
        };
        let row = |gas: u64| (0..10).map(|i| header(5000 + i * 10, gas)).collect::<Vec<_>>();
        assert!(is_congested(&row(10_000_000), 1_000_000_000));
        assert!(!is_congested(&row(8_000_000), 1_000_000_000));
        assert!(!is_congested(&row(10_000_000)[..1], 1_000_000_000));
        assert!(!is_congested(&[], 1_000_000_000));
        assert_eq!(percentile(&mut [5, 1, 4, 2, 3], 60), Some(3));
        assert_eq!(percentile(&mut [], 60), None);
    }

    #[test]
    fn percentiles_must_ascend_within_range() {
        assert!(check_percentiles(&[0.0, 50.0, 100.0]).is_ok());
        for bad in [vec![-1.0], vec![101.0], vec![50.0, 49.0], vec![50.0, 50.0], vec![f64::NAN], vec![0.0; 101]] {
            assert!(check_percentiles(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rewards_are_weighed_by_gas() {
        // Tips of 2 and 1 gwei, with 21,000 and 79,000 gas.
        let block = sample_block();
        assert_eq!(
            rewards_of(&block, &[0.0, 79.0, 80.0, 100.0]),
            [1_000_000_000, 1_000_000_000, 2_000_000_000, 2_000_000_000]
        );
        let empty = ExecutedBlock { transactions: Vec::new(), receipts: Vec::new(), ..block };
        assert_eq!(rewards_of(&empty, &[1.0, 2.0]), [0, 0]);
    }
}
