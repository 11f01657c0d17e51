//! `eth_call` and `eth_createAccessList`.

use super::{
    outcome,
    stage::{Source, Stage},
};
use crate::error::RpcError;
use alloy_primitives::{Bytes, U256};
use alloy_rpc_types_eth::AccessListResult;
use revm::context::{TxEnv, result::ExecutionResult};
use revm_inspectors::access_list::AccessListInspector;
use std::time::Instant;

/// The return data of a call.
///
/// # Errors
/// As the call fails, in geth's words.
pub(crate) fn call<S: Source>(stage: &mut Stage<S>, tx: TxEnv) -> Result<Bytes, RpcError> {
    match stage.run(tx.clone()) {
        Ok(done) => outcome::output(done.result),
        Err(error) => {
            let error = stage.refusal(error, &tx);
            if error.code != RpcError::SERVER {
                return Err(error);
            }
            let message = format!("err: {} (supplied gas {})", error.message, tx.gas_limit);
            Err(RpcError { message: message.into(), ..error })
        }
    }
}

/// What a call accesses, and the gas that it uses with that as its access list: a list changes what is warm, so that the call
/// may take another path; it is run until the list stays.
///
/// # Errors
/// If the call cannot run at all; one that fails is in the result. A timeout, if no list satisfies.
pub(crate) fn create_access_list<S: Source>(
    stage: &mut Stage<S>,
    mut tx: TxEnv,
    deadline: Instant,
) -> Result<AccessListResult, RpcError> {
    if tx.tx_type == 0 {
        tx.tx_type = 1; // a legacy transaction has no access list
    }
    loop {
        let (result, inspector) = stage.inspect(tx.clone(), AccessListInspector::new(tx.access_list.clone()));
        let list = inspector.into_access_list();
        let done = match result {
            Ok(done) => done.result,
            Err(error) => return Err(stage.refusal(error, &tx)),
        };
        if list == tx.access_list {
            let gas_used = U256::from(done.tx_gas_used());
            let error = match done {
                ExecutionResult::Success { .. } => None,
                ExecutionResult::Revert { .. } => Some("execution reverted".to_owned()),
                ExecutionResult::Halt { reason, .. } => Some(outcome::halt(&reason)),
            };
            return Ok(AccessListResult { access_list: list, gas_used, error });
        }
        if Instant::now() >= deadline {
            return Err(RpcError::timeout());
        }
        tx.access_list = list;
    }
}
