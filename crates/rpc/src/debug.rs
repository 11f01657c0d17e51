//! `debug_`: traces, and blocks, transactions and receipts in their encodings.

#[cfg(test)]
mod tests;
mod trace;
mod tracer;

use crate::{
    error::RpcError,
    evm::{
        stage::Stage,
        transaction::{CALL_GAS_CAP, tx_env},
    },
    methods::{Call, Methods},
    resolve::Found,
};
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace, TraceResult};
use jove_primitives::ExecutedBlock;
use jove_sequencer::State;
use trace::{Replay, trace_call};
use tracer::Tracer;

pub(crate) fn register(methods: &mut Methods) {
    methods.heavy("debug_traceTransaction", trace_transaction);
    methods.heavy("debug_traceCall", trace_a_call);
    methods.heavy("debug_traceBlockByNumber", trace_block_by_number);
    methods.heavy("debug_traceBlockByHash", trace_block_by_hash);
    methods.read("debug_getRawHeader", raw_header);
    methods.read("debug_getRawBlock", raw_block);
    methods.read("debug_getRawReceipts", raw_receipts);
    methods.read("debug_getRawTransaction", raw_transaction);
}

fn tracer(call: &Call, options: Option<GethDebugTracingOptions>) -> Result<Tracer, RpcError> {
    Tracer::new(options.unwrap_or_default(), call.deadline, call.context.config.max_response_bytes)
}

fn trace_transaction(call: &Call) -> Result<GethTrace, RpcError> {
    let (hash, options): (B256, Option<GethDebugTracingOptions>) = call.args()?;
    let tracer = tracer(call, options)?;
    let view = call.context.node.storage().view();
    let place = view.transaction(hash)?.ok_or_else(|| RpcError::server("transaction not found"))?;
    let block = found(call, BlockNumberOrTag::Number(place.block).into())?.block;
    let mut replay = replay(call, &block, tracer)?;
    replay.run_to(place.index as usize)?;
    replay.trace_next()
}

fn trace_a_call(call: &Call) -> Result<GethTrace, RpcError> {
    let (request, id, options): (TransactionRequest, Option<BlockId>, Option<GethDebugTracingCallOptions>) =
        call.args()?;
    let GethDebugTracingCallOptions { tracing_options, state_overrides, block_overrides, tx_index } =
        options.unwrap_or_default();
    let tx = tx_env(request, call.context.node.rules(), CALL_GAS_CAP)?;
    let tracer = tracer(call, Some(tracing_options.clone()))?;
    let id = id.unwrap_or_default();
    match tx_index {
        None => {
            let resolved = call.context.state(Some(id))?;
            let mut stage = Stage::new(call.context.node.rules(), &resolved.header, resolved.state)
                .with(state_overrides, block_overrides)?;
            trace_call(&mut stage, tx, tracer)
        }
        Some(index) => {
            let block = found(call, id)?.block;
            let mut replay = replay(call, &block, self::tracer(call, Some(tracing_options))?)?;
            replay.run_to(usize::try_from(index).unwrap_or(usize::MAX))?;
            let mut stage = Stage::new(call.context.node.rules(), &block.header, replay.state())
                .with(state_overrides, block_overrides)?;
            trace_call(&mut stage, tx, tracer)
        }
    }
}

fn trace_block_by_number(call: &Call) -> Result<Vec<TraceResult>, RpcError> {
    let (tag, options): (BlockNumberOrTag, Option<GethDebugTracingOptions>) = call.args()?;
    trace_block(call, tag.into(), options)
}

fn trace_block_by_hash(call: &Call) -> Result<Vec<TraceResult>, RpcError> {
    let (hash, options): (B256, Option<GethDebugTracingOptions>) = call.args()?;
    trace_block(call, hash.into(), options)
}

fn trace_block(
    call: &Call,
    id: BlockId,
    options: Option<GethDebugTracingOptions>,
) -> Result<Vec<TraceResult>, RpcError> {
    let tracer = tracer(call, options)?;
    let block = found(call, id)?.block;
    replay(call, &block, tracer)?.trace_all()
}

/// Starts to replay a block on the state before it.
fn replay<'a>(call: &Call, block: &'a ExecutedBlock, tracer: Tracer) -> Result<Replay<'a, State>, RpcError> {
    let view = call.context.node.storage().view();
    let parent = block.header.number.checked_sub(1).ok_or_else(|| RpcError::server("genesis is not traceable"))?;
    if view.block_hash(parent)? != Some(block.header.parent_hash) {
        return Err(RpcError::header_not_found()); // the chain was unwound meanwhile
    }
    Replay::new(call.context.node.rules(), block, view.state(parent)?.into(), tracer)
}

fn found(call: &Call, id: BlockId) -> Result<Found, RpcError> {
    call.context.block(id)?.ok_or_else(|| RpcError::no_block(id))
}

fn raw_header(call: &Call) -> Result<Bytes, RpcError> {
    let (id,): (BlockId,) = call.args()?;
    Ok(alloy_rlp::encode(&found(call, id)?.block.header).into())
}

fn raw_block(call: &Call) -> Result<Bytes, RpcError> {
    let (id,): (BlockId,) = call.args()?;
    Ok(alloy_rlp::encode(found(call, id)?.block.to_block()).into())
}

fn raw_receipts(call: &Call) -> Result<Vec<Bytes>, RpcError> {
    let (id,): (BlockId,) = call.args()?;
    let block = found(call, id)?.block;
    Ok(block.receipts.iter().map(|receipt| receipt.with_bloom(receipt.bloom()).encoded_2718().into()).collect())
}

/// A transaction of the chain or of the pool; empty if there is none, as geth does.
fn raw_transaction(call: &Call) -> Result<Bytes, RpcError> {
    let (hash,): (B256,) = call.args()?;
    let view = call.context.node.storage().view();
    if let Some(place) = view.transaction(hash)?
        && let Some(block) = view.block(place.block)?
        && let Some(transaction) = block.transactions.get(place.index as usize)
    {
        return Ok(transaction.inner().encoded_2718().into());
    }
    let pooled = call.context.node.pool().get(hash);
    Ok(pooled.map(|pooled| pooled.transaction.inner().encoded_2718().into()).unwrap_or_default())
}
