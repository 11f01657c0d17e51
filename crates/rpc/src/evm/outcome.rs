//! What came of a call, in the words that geth's users know.

use crate::error::RpcError;
use alloy_primitives::{Bytes, U256};
use revm::context::{
    TxEnv,
    result::{ExecutionResult, HaltReason, InvalidTransaction, OutOfGasError},
};

/// The codes of execution-apis for a transaction that cannot run.
pub(crate) mod code {
    pub(crate) const NONCE_TOO_LOW: i32 = -38010;
    pub(crate) const NONCE_TOO_HIGH: i32 = -38011;
    pub(crate) const BASE_FEE_TOO_LOW: i32 = -38012;
    pub(crate) const INTRINSIC_GAS: i32 = -38013;
    pub(crate) const INSUFFICIENT_FUNDS: i32 = -38014;
    pub(crate) const BLOCK_GAS_LIMIT: i32 = -38015;
    pub(crate) const BLOCK_NUMBER: i32 = -38020;
    pub(crate) const BLOCK_TIME: i32 = -38021;
    pub(crate) const SENDER_IS_CONTRACT: i32 = -38024;
    pub(crate) const INITCODE_SIZE: i32 = -38025;
    pub(crate) const TOO_MANY_BLOCKS: i32 = -38026;
    pub(crate) const HALTED: i32 = -32015;
}

/// The return data of a call that succeeded.
///
/// # Errors
/// Code 3 with the return data if it reverted, -32000 if it halted.
pub(crate) fn output(result: ExecutionResult) -> Result<Bytes, RpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(RpcError::server(halt(&reason))),
    }
}

/// Why the EVM halted.
pub(crate) fn halt(reason: &HaltReason) -> String {
    let text = match reason {
        HaltReason::OutOfGas(OutOfGasError::InvalidOperand) => "gas uint64 overflow",
        HaltReason::OutOfGas(_) => "out of gas",
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode",
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID",
        HaltReason::InvalidJump => "invalid jump destination",
        HaltReason::StackUnderflow => "stack underflow",
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)",
        HaltReason::OutOfOffset => "return data out of bounds",
        HaltReason::CreateCollision => "contract address collision",
        HaltReason::PrecompileError => "precompiled failed",
        HaltReason::PrecompileErrorWithContext(why) => return why.clone(),
        HaltReason::NonceOverflow => "nonce uint64 overflow",
        HaltReason::CreateContractSizeLimit => "max code size exceeded",
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded",
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => "write protection",
        HaltReason::OverflowPayment | HaltReason::OutOfFunds => "insufficient balance for transfer",
        HaltReason::CallTooDeep => "max call depth exceeded",
    };
    text.to_owned()
}

/// Why a transaction cannot run at all: -32000 and geth's words.
pub(crate) fn refused(error: &InvalidTransaction, tx: &TxEnv, base_fee: u64) -> RpcError {
    RpcError::server(explain(error, tx, base_fee).1)
}

/// Code of execution-apis and geth's words.
pub(crate) fn explain(error: &InvalidTransaction, tx: &TxEnv, base_fee: u64) -> (i32, String) {
    use InvalidTransaction as E;
    let from = tx.caller;
    let price = tx.gas_price;
    match error {
        E::NonceTooLow { tx, state } => {
            (code::NONCE_TOO_LOW, format!("nonce too low: address {from}, tx: {tx} state: {state}"))
        }
        E::NonceTooHigh { tx, state } => {
            (code::NONCE_TOO_HIGH, format!("nonce too high: address {from}, tx: {tx} state: {state}"))
        }
        E::NonceOverflowInTransaction => {
            (code::NONCE_TOO_HIGH, format!("nonce has max value: address {from}, nonce: {}", tx.nonce))
        }
        E::GasPriceLessThanBasefee => (
            code::BASE_FEE_TOO_LOW,
            format!(
                "max fee per gas less than block base fee: address {from}, maxFeePerGas: {price}, baseFee: {base_fee}"
            ),
        ),
        E::PriorityFeeGreaterThanMaxFee => (
            RpcError::INVALID_PARAMS,
            format!(
                "max priority fee per gas higher than max fee per gas: address {from}, maxPriorityFeePerGas: {}, maxFeePerGas: {price}",
                tx.gas_priority_fee.unwrap_or(0)
            ),
        ),
        E::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            (code::INTRINSIC_GAS, format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}"))
        }
        E::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => (
            code::INTRINSIC_GAS,
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}"),
        ),
        E::LackOfFundForMaxFee { fee, balance } => (code::INSUFFICIENT_FUNDS, insufficient(tx, balance, fee)),
        E::OverflowPaymentInTransaction => (
            code::INSUFFICIENT_FUNDS,
            format!("insufficient funds for gas * price + value: address {from} required balance exceeds 256 bits"),
        ),
        E::CallerGasLimitMoreThanBlock => (code::BLOCK_GAS_LIMIT, "gas limit reached".to_owned()),
        E::TxGasLimitGreaterThanCap { gas_limit, cap } => {
            (code::BLOCK_GAS_LIMIT, format!("transaction gas limit too high (cap: {cap}, tx: {gas_limit})"))
        }
        E::RejectCallerWithCode => (code::SENDER_IS_CONTRACT, format!("sender not an eoa: address {from}")),
        E::CreateInitCodeSizeLimit => {
            (code::INITCODE_SIZE, format!("max initcode size exceeded: code size {}", tx.data.len()))
        }
        E::EmptyAuthorizationList => {
            (RpcError::INVALID_PARAMS, format!("EIP-7702 transaction with empty auth list (sender {from})"))
        }
        other => (RpcError::SERVER, other.to_string()),
    }
}

fn insufficient(tx: &TxEnv, have: &U256, want: &U256) -> String {
    format!("insufficient funds for gas * price + value: address {} have {have} want {want}", tx.caller)
}
