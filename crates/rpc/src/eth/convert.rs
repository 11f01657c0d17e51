//! From the chain's types to those of the answers.

use crate::error::RpcError;
use alloy_consensus::{Sealed, Transaction as _, Typed2718, transaction::TransactionInfo};
use alloy_primitives::{Bloom, U8, U64, U256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Filter, Header, Log, TransactionReceipt, Withdrawals};
use jove_primitives::{
    ExecutedBlock, Transaction,
    receipt::DEPOSIT_RECEIPT_VERSION,
    transaction::{DEPOSIT_TX_TYPE_ID, RecoveredTransaction},
};
use jove_stf::Rules;
use jove_storage::LogEntry;
use serde::Serialize;
use serde_json::Value;

/// A transaction as `eth_getTransactionByHash` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcTransaction {
    #[serde(flatten)]
    inner: alloy_rpc_types_eth::Transaction<Transaction>,
    /// What a message from L1 does not name itself, shown as the OP Stack's nodes show it.
    #[serde(flatten)]
    deposit: Option<DepositTransaction>,
}

/// Of a message from L1: its sender's nonce, and the version of its receipt.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DepositTransaction {
    nonce: U64,
    deposit_receipt_version: U8,
}

/// What a receipt says of execution; of a message from L1 also what the OP Stack's nodes show.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptBody {
    r#type: U8,
    status: U8,
    cumulative_gas_used: U64,
    logs: Vec<Log>,
    logs_bloom: Bloom,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_nonce: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_receipt_version: Option<U8>,
}

/// A block as `eth_getBlockByNumber` shows it.
pub(crate) type RpcBlock = Block<RpcTransaction>;

/// A block as its answer shows it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    Sealed(Box<RpcBlock>),
    /// Without a hash, a nonce and a miner, as geth shows it.
    Pending(Value),
}

/// A receipt, with the data fee as the OP Stack's nodes show it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    #[serde(flatten)]
    inner: TransactionReceipt<ReceiptBody>,
    /// Of a block of Jove's; Ethereum has no such fee.
    #[serde(flatten)]
    data_fee: Option<DataFee>,
}

/// What a transaction's data cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataFee {
    /// L1 data fee paid, in wei.
    l1_fee: U256,
    /// L1 base fee that it was computed from.
    l1_gas_price: U256,
    /// L1 blob base fee that it was computed from.
    l1_blob_base_fee: U256,
}

/// The header, with its hash; `size` is the whole block's.
pub(crate) fn header(block: &ExecutedBlock) -> Header {
    Header::from_consensus(Sealed::new_unchecked(block.header.clone(), block.hash), None, Some(U256::from(size(block))))
}

/// Bytes of the block in RLP.
fn size(block: &ExecutedBlock) -> usize {
    let list = |payload: usize| alloy_rlp::length_of_length(payload) + payload;
    let transactions: usize = block.transactions.iter().map(|transaction| transaction.inner().length()).sum();
    // Two empty lists, of uncles and withdrawals, are a byte each.
    list(block.header.length() + list(transactions) + 2)
}

/// The block, with whole transactions if `full`, otherwise with their hashes.
pub(crate) fn block(block: &ExecutedBlock, full: bool, pending: bool) -> RpcBlock {
    let transactions = if full {
        BlockTransactions::Full((0..block.transactions.len()).map(|index| transaction(block, index, pending)).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|transaction| *transaction.inner().tx_hash()).collect())
    };
    Block { header: header(block), uncles: Vec::new(), transactions, withdrawals: Some(Withdrawals::default()) }
}

/// The block as an answer: of the pending one, what it will only have once it is sealed is null.
///
/// # Errors
/// An internal error if the block does not serialize.
pub(crate) fn shown(executed: &ExecutedBlock, full: bool, pending: bool) -> Result<Shown, RpcError> {
    let block = block(executed, full, pending);
    if !pending {
        return Ok(Shown::Sealed(Box::new(block)));
    }
    let mut value = serde_json::to_value(block).map_err(RpcError::internal)?;
    for member in ["hash", "nonce", "miner"] {
        value[member] = Value::Null;
    }
    Ok(Shown::Pending(value))
}

/// A transaction of a block. In the pending block it has no place yet.
pub(crate) fn transaction(block: &ExecutedBlock, index: usize, pending: bool) -> RpcTransaction {
    let transaction = &block.transactions[index];
    let is_deposit = transaction.ty() == DEPOSIT_TX_TYPE_ID;
    let info = TransactionInfo {
        hash: Some(*transaction.inner().tx_hash()),
        index: (!pending).then_some(index as u64),
        block_hash: (!pending).then_some(block.hash),
        block_number: (!pending).then_some(block.header.number),
        // A message from L1 pays no gas price.
        base_fee: block.header.base_fee_per_gas.filter(|_| !is_deposit),
        block_timestamp: (!pending).then_some(block.header.timestamp),
    };
    RpcTransaction {
        inner: alloy_rpc_types_eth::Transaction::from_transaction(transaction.clone(), info),
        deposit: is_deposit.then(|| DepositTransaction {
            nonce: U64::from(block.receipts[index].deposit_nonce.unwrap_or_default()),
            deposit_receipt_version: U8::from(DEPOSIT_RECEIPT_VERSION),
        }),
    }
}

/// A transaction of the pool.
pub(crate) fn pooled(transaction: &RecoveredTransaction) -> RpcTransaction {
    let info = TransactionInfo { hash: Some(*transaction.inner().tx_hash()), ..Default::default() };
    RpcTransaction {
        inner: alloy_rpc_types_eth::Transaction::from_transaction(transaction.clone(), info),
        deposit: None,
    }
}

/// The receipt of the transaction at `index`.
pub(crate) fn receipt(rules: &Rules, block: &ExecutedBlock, index: usize) -> Receipt {
    let first_log = block.receipts[..index].iter().map(|receipt| receipt.logs.len()).sum();
    receipt_from(rules, block, index, first_log, false)
}

/// The receipts of all transactions. Those of the pending block name no block hash.
pub(crate) fn receipts(rules: &Rules, block: &ExecutedBlock, pending: bool) -> Vec<Receipt> {
    let mut first_log = 0;
    (0..block.receipts.len())
        .map(|index| {
            let receipt = receipt_from(rules, block, index, first_log, pending);
            first_log += block.receipts[index].logs.len();
            receipt
        })
        .collect()
}

fn receipt_from(rules: &Rules, block: &ExecutedBlock, index: usize, first_log: usize, pending: bool) -> Receipt {
    let block_hash = (!pending).then_some(block.hash);
    let (transaction, receipt) = (&block.transactions[index], &block.receipts[index]);
    let hash = *transaction.inner().tx_hash();
    let log = |(position, log): (usize, &alloy_primitives::Log)| Log {
        inner: log.clone(),
        block_hash,
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(hash),
        transaction_index: Some(index as u64),
        log_index: Some((first_log + position) as u64),
        removed: false,
    };
    let blob_gas_used = transaction.blob_gas_used();
    let blob_params = rules.blob_params(block.header.timestamp);
    let nonce = receipt.deposit_nonce.unwrap_or_else(|| transaction.nonce());
    let inner = TransactionReceipt {
        inner: ReceiptBody {
            r#type: U8::from(receipt.tx_type),
            status: U8::from(receipt.success),
            cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
            logs: receipt.logs.iter().enumerate().map(log).collect(),
            logs_bloom: receipt.bloom(),
            deposit_nonce: receipt.deposit_nonce.map(U64::from),
            deposit_receipt_version: receipt.deposit_nonce.map(|_| U8::from(DEPOSIT_RECEIPT_VERSION)),
        },
        transaction_hash: hash,
        transaction_index: Some(index as u64),
        block_hash,
        block_number: Some(block.header.number),
        gas_used: block.gas_used(index),
        effective_gas_price: transaction.effective_gas_price(block.header.base_fee_per_gas),
        blob_gas_used,
        blob_gas_price: blob_gas_used.and(block.header.blob_fee(blob_params)),
        from: transaction.signer(),
        to: transaction.to(),
        contract_address: transaction.is_create().then(|| transaction.signer().create(nonce)),
    };
    let data_fee = matches!(rules, Rules::Jove { .. }).then(|| DataFee {
        l1_fee: block.l1_fees.get(index).copied().unwrap_or_default(),
        l1_gas_price: U256::from(block.l1_prices.base_fee),
        l1_blob_base_fee: U256::from(block.l1_prices.blob_base_fee),
    });
    Receipt { inner, data_fee }
}

/// A log from the index.
pub(crate) fn log(entry: LogEntry) -> Log {
    Log {
        inner: entry.log,
        block_hash: Some(entry.block_hash),
        block_number: Some(entry.block_number),
        block_timestamp: Some(entry.block_timestamp),
        transaction_hash: Some(entry.transaction_hash),
        transaction_index: Some(entry.transaction_index.into()),
        log_index: Some(entry.log_index.into()),
        removed: false,
    }
}

/// All logs of a block.
pub(crate) fn logs(block: &ExecutedBlock) -> Vec<Log> {
    matching_logs(block, &Filter::default())
}

/// The logs of a block that `filter` lets through.
pub(crate) fn matching_logs(block: &ExecutedBlock, filter: &Filter) -> Vec<Log> {
    if !filter.matches_bloom(block.header.logs_bloom) {
        return Vec::new();
    }
    let hashes = block.transactions.iter().map(|transaction| *transaction.inner().tx_hash());
    filter.matching_block_logs(
        alloy_eips::BlockNumHash { number: block.header.number, hash: block.hash },
        block.header.timestamp,
        hashes.zip(&block.receipts),
        false,
    )
}

#[cfg(test)]
#[path = "convert_tests.rs"]
pub(crate) mod tests;
