//! Blocks, transactions and receipts.

use super::convert::{self, Receipt, RpcBlock, RpcTransaction, Shown};
use crate::{
    error::RpcError,
    methods::{Call, Methods},
    request::Quantity,
    resolve::Found,
};
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{B256, Bytes, U64};
use jove_primitives::ExecutedBlock;
use std::sync::Arc;

pub(crate) fn register(methods: &mut Methods) {
    methods.read("eth_getBlockByNumber", |call| {
        let (block, full): (BlockNumberOrTag, Option<bool>) = call.args()?;
        get_block(call, block.into(), full.unwrap_or_default())
    });
    methods.read("eth_getBlockByHash", |call| {
        let (hash, full): (B256, Option<bool>) = call.args()?;
        get_block(call, hash.into(), full.unwrap_or_default())
    });
    methods.read("eth_getHeaderByNumber", |call| {
        let (block,): (BlockNumberOrTag,) = call.args()?;
        // The pending block has no header yet: null, as execution-apis has it.
        if block.is_pending() {
            return Ok(None);
        }
        Ok(find(call, block.into())?.map(|found| convert::header(&found.block)))
    });
    methods.read("eth_getHeaderByHash", |call| {
        let (hash,): (B256,) = call.args()?;
        Ok(find(call, hash.into())?.map(|found| convert::header(&found.block)))
    });
    methods.read("eth_getBlockTransactionCountByNumber", |call| {
        let (block,): (BlockNumberOrTag,) = call.args()?;
        Ok(find(call, block.into())?.map(|found| U64::from(found.block.transactions.len())))
    });
    methods.read("eth_getBlockTransactionCountByHash", |call| {
        let (hash,): (B256,) = call.args()?;
        Ok(find(call, hash.into())?.map(|found| U64::from(found.block.transactions.len())))
    });
    // No block has uncles.
    methods.read("eth_getUncleCountByBlockNumber", |call| {
        let (block,): (BlockNumberOrTag,) = call.args()?;
        Ok(find(call, block.into())?.map(|_| U64::ZERO))
    });
    methods.read("eth_getUncleCountByBlockHash", |call| {
        let (hash,): (B256,) = call.args()?;
        Ok(find(call, hash.into())?.map(|_| U64::ZERO))
    });
    methods.quick("eth_getUncleByBlockNumberAndIndex", |call| {
        call.args::<(BlockNumberOrTag, Quantity)>().map(|_| None::<RpcBlock>)
    });
    methods.quick("eth_getUncleByBlockHashAndIndex", |call| call.args::<(B256, Quantity)>().map(|_| None::<RpcBlock>));
    methods.read("eth_getTransactionByHash", get_transaction);
    methods.read("eth_getRawTransactionByHash", get_raw_transaction);
    methods.read("eth_getTransactionByBlockNumberAndIndex", |call| {
        let (block, index): (BlockNumberOrTag, Quantity) = call.args()?;
        Ok(at(call, block.into(), index)?
            .map(|(found, index)| convert::transaction(&found.block, index, found.pending)))
    });
    methods.read("eth_getTransactionByBlockHashAndIndex", |call| {
        let (hash, index): (B256, Quantity) = call.args()?;
        Ok(at(call, hash.into(), index)?.map(|(found, index)| convert::transaction(&found.block, index, found.pending)))
    });
    methods.read("eth_getRawTransactionByBlockNumberAndIndex", |call| {
        let (block, index): (BlockNumberOrTag, Quantity) = call.args()?;
        Ok(at(call, block.into(), index)?.map(|(found, index)| raw(&found.block, index)))
    });
    methods.read("eth_getRawTransactionByBlockHashAndIndex", |call| {
        let (hash, index): (B256, Quantity) = call.args()?;
        Ok(at(call, hash.into(), index)?.map(|(found, index)| raw(&found.block, index)))
    });
    methods.read("eth_getTransactionReceipt", |call| {
        let (hash,): (B256,) = call.args()?;
        Ok(included(call, hash)?.map(|(block, index)| convert::receipt(call.context.node.rules(), &block, index)))
    });
    methods.read("eth_getBlockReceipts", get_block_receipts);
}

/// The block that `id` names. The pending one always is: without transactions it stands empty on the head.
fn find(call: &Call, id: BlockId) -> Result<Option<Found>, RpcError> {
    match call.context.block(id)? {
        Some(found) if id.is_pending() && !found.pending => {
            Ok(Some(Found { block: Arc::new(empty_pending(call)?), pending: true }))
        }
        found => Ok(found),
    }
}

fn get_block(call: &Call, id: BlockId, full: bool) -> Result<Option<Shown>, RpcError> {
    find(call, id)?.map(|found| convert::shown(&found.block, full, found.pending)).transpose()
}

/// The next block, if it were empty. It has no hash yet.
fn empty_pending(call: &Call) -> Result<ExecutedBlock, RpcError> {
    Ok(ExecutedBlock {
        header: call.context.node.next_header()?,
        hash: B256::ZERO,
        transactions: Vec::new(),
        receipts: Vec::new(),
        l1_fees: Vec::new(),
        l1_prices: Default::default(),
    })
}

/// The block and the position of an included transaction.
fn included(call: &Call, hash: B256) -> Result<Option<(Arc<ExecutedBlock>, usize)>, RpcError> {
    let view = call.context.node.storage().view();
    let Some(position) = view.transaction(hash)? else { return Ok(None) };
    let block = view.block(position.block)?.ok_or_else(|| RpcError::internal("a transaction's block is missing"))?;
    Ok(Some((block, position.index as usize)))
}

fn get_transaction(call: &Call) -> Result<Option<RpcTransaction>, RpcError> {
    let (hash,): (B256,) = call.args()?;
    if let Some((block, index)) = included(call, hash)? {
        return Ok(Some(convert::transaction(&block, index, false)));
    }
    if let Some(pooled) = call.context.node.pool().get(hash) {
        return Ok(Some(convert::pooled(&pooled.transaction)));
    }
    // It may have left the pool for a block since the first look.
    Ok(included(call, hash)?.map(|(block, index)| convert::transaction(&block, index, false)))
}

fn get_raw_transaction(call: &Call) -> Result<Option<Bytes>, RpcError> {
    let (hash,): (B256,) = call.args()?;
    if let Some((block, index)) = included(call, hash)? {
        return Ok(Some(raw(&block, index)));
    }
    if let Some(pooled) = call.context.node.pool().get(hash) {
        return Ok(Some(pooled.transaction.inner().encoded_2718().into()));
    }
    Ok(included(call, hash)?.map(|(block, index)| raw(&block, index)))
}

fn raw(block: &ExecutedBlock, index: usize) -> Bytes {
    block.transactions[index].inner().encoded_2718().into()
}

/// The block that `id` names, if it has a transaction at `index`.
fn at(call: &Call, id: BlockId, index: Quantity) -> Result<Option<(Found, usize)>, RpcError> {
    let index = usize::try_from(index.0).unwrap_or(usize::MAX);
    Ok(find(call, id)?.filter(|found| index < found.block.transactions.len()).map(|found| (found, index)))
}

/// As in geth, the pending block has receipts too: what its transactions would come to now.
fn get_block_receipts(call: &Call) -> Result<Option<Vec<Receipt>>, RpcError> {
    let (id,): (BlockId,) = call.args()?;
    Ok(find(call, id)?.map(|found| convert::receipts(call.context.node.rules(), &found.block, found.pending)))
}
