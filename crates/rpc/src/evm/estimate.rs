//! `eth_estimateGas`: the least gas limit, within 1.5 %, with which a call succeeds.
//!
//! The search is geth's. The first run has all the gas that the call may have: the least of the request's own limit, the most that the
//! chain takes in one transaction, [`CALL_GAS_CAP`], and what the sender can pay for beyond the value and the L1 data fee, if the
//! request names a price. If that fails, so does the estimate. The gas it used, before refunds and with what calls hold back
//! (1/64), is the first guess; bisection between a limit known to fail and one known to succeed does the rest. So the answer is always
//! a limit that was seen to succeed on the very state.

use super::{
    outcome,
    stage::{Source, Stage, needs_more_gas},
    transaction::{CALL_GAS_CAP, unsigned},
};
use crate::error::RpcError;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Signature, TxKind, U256};
use jove_primitives::{Account, block::L1Prices, fee::l1_data_fee, predeploys};
use revm::{
    Database,
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason},
    },
};
use std::time::Instant;

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call with value hands its callee for free: a run short of it fails although the gas was used.
const CALL_STIPEND: u64 = 2_300;
/// How far above the least limit an estimate may be: 1.5 %, in thousandths.
const ERROR_RATIO: u64 = 15;

/// The estimate for `tx`, whose own gas limit is what the request asks for, if anything. `max_gas` is the most that the chain takes
/// in one transaction.
///
/// # Errors
/// As the call fails with all the gas it may have; a timeout.
pub(crate) fn estimate<S: Source>(
    stage: &mut Stage<S>,
    tx: TxEnv,
    asked: Option<u64>,
    max_gas: u64,
    deadline: Instant,
) -> Result<u64, RpcError> {
    let asked = asked.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(u64::MAX);
    let mut high = asked.min(max_gas).min(CALL_GAS_CAP).min(allowance(stage, &tx)?);

    if tx.data.is_empty()
        && high >= TRANSFER_GAS
        && let TxKind::Call(to) = tx.kind
        && stage.account(to)?.code_hash == Account::default().code_hash
        && matches!(succeeds(stage, &tx, TRANSFER_GAS), Ok(true))
    {
        return Ok(TRANSFER_GAS);
    }

    let result = match stage.run(TxEnv { gas_limit: high, ..tx.clone() }) {
        Ok(done) => done.result,
        Err(error) if needs_more_gas(&error) => return Err(exceeds(high)),
        Err(error) => {
            let error = stage.refusal(error, &tx);
            return Err(RpcError { message: format!("failed with {high} gas: {}", error.message).into(), ..error });
        }
    };
    if let ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } = result {
        return Err(exceeds(high));
    }
    let gas = *result.gas();
    outcome::output(result)?;

    let mut low = gas.tx_gas_used().saturating_sub(1);
    let most_used = gas.total_gas_spent().max(gas.floor_gas());
    let mut guess = most_used.saturating_add(CALL_STIPEND).saturating_mul(64) / 63;
    while low + 1 < high {
        if (high - low).saturating_mul(1000) < high.saturating_mul(ERROR_RATIO) {
            break;
        }
        if guess <= low || guess >= high {
            // Most calls need little more than they use: look low first.
            guess = (low + (high - low) / 2).min(low.saturating_mul(2).max(low + 1));
        }
        if Instant::now() >= deadline {
            return Err(RpcError::timeout());
        }
        if succeeds(stage, &tx, guess)? {
            high = guess;
        } else {
            low = guess;
        }
        guess = 0;
    }
    Ok(high)
}

fn exceeds(gas: u64) -> RpcError {
    RpcError::server(format!("gas required exceeds allowance ({gas})"))
}

fn succeeds<S: Source>(stage: &mut Stage<S>, tx: &TxEnv, gas_limit: u64) -> Result<bool, RpcError> {
    match stage.run(TxEnv { gas_limit, ..tx.clone() }) {
        Ok(done) => Ok(done.result.is_success()),
        Err(error) if needs_more_gas(&error) => Ok(false),
        Err(error) => Err(stage.refusal(error, tx)),
    }
}

/// Gas that the sender can pay for; without bound where the call names no price.
fn allowance<S: Source>(stage: &mut Stage<S>, tx: &TxEnv) -> Result<u64, RpcError> {
    if tx.gas_price == 0 {
        return Ok(u64::MAX);
    }
    let balance = stage.account(tx.caller)?.balance;
    let l1_fee = max_l1_fee(stage, tx)?;
    let left = balance
        .checked_sub(tx.value)
        .filter(|left| !left.is_zero())
        .ok_or_else(|| RpcError::server("insufficient funds for transfer"))?;
    let left = left.checked_sub(l1_fee).ok_or_else(|| {
        RpcError::server(format!(
            "insufficient funds for transfer and its L1 data fee: it may take {l1_fee} wei, {left} are left"
        ))
    })?;
    Ok(u64::try_from(left / U256::from(tx.gas_price)).unwrap_or(u64::MAX))
}

/// The L1 data fee of the transaction once it is signed: its signature, gas limit and nonce are taken to be such that nothing
/// compresses.
fn max_l1_fee<S: Source>(stage: &mut Stage<S>, tx: &TxEnv) -> Result<U256, RpcError> {
    let mut price = |slot| -> Result<u128, RpcError> {
        let value = stage.db.storage(predeploys::L1_BLOCK, slot).map_err(Into::into)?;
        Ok(value.saturating_to())
    };
    let prices = L1Prices {
        base_fee: price(predeploys::L1_BASE_FEE_SLOT)?,
        blob_base_fee: price(predeploys::L1_BLOB_BASE_FEE_SLOT)?,
    };
    // Every byte of these differs from its neighbours.
    let word =
        |first: u8| U256::from_be_bytes(std::array::from_fn::<u8, 32, _>(|i| first.wrapping_add(i as u8 * 7) | 1));
    let signature = Signature::new(word(0x83), word(0x35), true);
    let largest = TxEnv { gas_limit: u64::MAX - 0x0123_4567_89ab, nonce: tx.nonce.max(1 << 24), ..tx.clone() };
    Ok(l1_data_fee(&unsigned(&largest, signature).encoded_2718(), prices))
}
