//! Execution without a transaction: `eth_call`, `eth_estimateGas`, `eth_createAccessList`, `eth_simulateV1`.
//!
//! All of them run on the state after a block (`latest` if none is named) with that block's number, time and base fee, as geth
//! does; estimates and access lists after `latest` or `pending` run in a block to come, a second later at least, so that they suffice. State overrides (`balance`, `nonce`, `code`, `state`, `stateDiff`, `movePrecompileToAddress`) and block overrides
//! change what they find.
//!
//! **Time is bounded by gas**: a call gets [`CALL_GAS_CAP`] at most, all calls of a simulation together get as much, an
//! estimate is a few such calls with a look at the clock between them.

mod call;
mod estimate;
pub(crate) mod outcome;
mod simulate;
pub(crate) mod stage;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transaction;
mod transfers;

use crate::{
    error::RpcError,
    methods::{Call, Methods},
};
use alloy_eips::BlockId;
use alloy_primitives::{Bytes, U64};
use alloy_rpc_types_eth::{
    AccessListResult, BlockOverrides, TransactionRequest, simulate::SimulatePayload, state::StateOverride,
};
use jove_sequencer::State;
use stage::Stage;
use transaction::{CALL_GAS_CAP, tx_env};

/// A call, where it runs, and what it finds changed.
type CallArgs = (TransactionRequest, Option<BlockId>, Option<StateOverride>, Option<BlockOverrides>);

pub(crate) fn register(methods: &mut Methods) {
    methods.heavy("eth_call", eth_call);
    methods.heavy("eth_estimateGas", eth_estimate_gas);
    methods.heavy("eth_createAccessList", eth_create_access_list);
    methods.heavy("eth_simulateV1", eth_simulate_v1);
}

fn eth_call(call: &Call) -> Result<Bytes, RpcError> {
    let (request, block, state, overrides): CallArgs = call.args()?;
    let tx = tx_env(request, call.context.node.rules(), CALL_GAS_CAP)?;
    let mut stage = stage_at(call, block)?.with(state, overrides)?;
    call::call(&mut stage, tx)
}

fn eth_estimate_gas(call: &Call) -> Result<U64, RpcError> {
    let (request, block, state, overrides): CallArgs = call.args()?;
    let spec = call.context.node.spec();
    let asked = request.gas;
    let tx = tx_env(request, call.context.node.rules(), CALL_GAS_CAP)?;
    let mut stage = stage_after(call, block)?.with(state, overrides)?;
    estimate::estimate(&mut stage, tx, asked, spec.gas.max_transaction_gas(), call.deadline).map(U64::from)
}

fn eth_create_access_list(call: &Call) -> Result<AccessListResult, RpcError> {
    let (request, block, state, overrides): CallArgs = call.args()?;
    let tx = tx_env(request, call.context.node.rules(), CALL_GAS_CAP)?;
    let mut stage = stage_after(call, block)?.with(state, overrides)?;
    call::create_access_list(&mut stage, tx, call.deadline)
}

fn eth_simulate_v1(call: &Call) -> Result<Vec<simulate::SimulatedBlock>, RpcError> {
    let (payload, block): (SimulatePayload, Option<BlockId>) = call.args()?;
    let resolved = call.context.state(block)?;
    let hash = if resolved.pending { resolved.header.hash_slow() } else { resolved.hash };
    simulate::simulate(payload, call.context.node.rules(), &resolved.header, hash, resolved.state, call.deadline)
}

/// Where a call runs: in the block that was named. An empty pool's `pending` is the next block, on the head's state.
fn stage_at(call: &Call, block: Option<BlockId>) -> Result<Stage<State>, RpcError> {
    let resolved = call.context.state(block)?;
    let is_next = block.is_some_and(|block| block.is_pending()) && !resolved.pending;
    let header = if is_next { call.context.node.next_header()? } else { resolved.header };
    Ok(Stage::new(call.context.node.rules(), &header, resolved.state))
}

/// Where a transaction that is still to be sent would run: after `latest` and `pending` in a block to come, in a later second than the last,
/// since what a contract does may depend on the time that has passed. After any other block as [`stage_at`].
fn stage_after(call: &Call, block: Option<BlockId>) -> Result<Stage<State>, RpcError> {
    let id = block.unwrap_or_default();
    if !id.is_latest() && !id.is_pending() {
        return stage_at(call, block);
    }
    let resolved = call.context.state(block)?;
    let last = resolved.header.timestamp;
    let mut header = if resolved.pending { resolved.header } else { call.context.node.next_header()? };
    header.timestamp = header.timestamp.max(last.saturating_add(1));
    Ok(Stage::new(call.context.node.rules(), &header, resolved.state))
}
