//! Blocks.

pub use crate::{
    receipt::Receipt,
    transaction::{RecoveredTransaction, Transaction},
};

use crate::receipt::ReceiptWithBloom;
use alloc::vec::Vec;
use alloy_consensus::{Header, proofs, transaction::Recovered};
use alloy_primitives::{B256, Bloom, U256};

/// A block as Ethereum encodes it.
pub type Block = alloy_consensus::Block<Transaction>;

/// What the chain knew of L1's prices, in wei per gas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L1Prices {
    /// Base fee of the L1 origin.
    pub base_fee: u128,
    /// Blob base fee of the L1 origin.
    pub blob_base_fee: u128,
}

/// A sealed block with all that running it left behind, the state apart. It is what is stored and announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutedBlock {
    /// The sealed header.
    pub header: Header,
    /// Its Keccak-256.
    pub hash: B256,
    /// The transactions in order, with their senders.
    pub transactions: Vec<RecoveredTransaction>,
    /// One receipt a transaction.
    pub receipts: Vec<Receipt>,
    /// The L1 data fee that each transaction paid, in wei.
    pub l1_fees: Vec<U256>,
    /// L1's prices as this block charged them.
    pub l1_prices: L1Prices,
}

impl ExecutedBlock {
    /// The block as Ethereum encodes it.
    pub fn to_block(&self) -> Block {
        let transactions = self.transactions.iter().map(|transaction| transaction.inner().clone()).collect();
        let body =
            alloy_consensus::BlockBody { transactions, ommers: Vec::new(), withdrawals: Some(Default::default()) };
        Block { header: self.header.clone(), body }
    }

    /// Gas that the transaction at `index` used.
    pub fn gas_used(&self, index: usize) -> u64 {
        let before = index.checked_sub(1).map_or(0, |i| self.receipts[i].cumulative_gas_used);
        self.receipts[index].cumulative_gas_used.saturating_sub(before)
    }
}

/// Root of the transaction trie, by the position of each.
pub fn transactions_root(transactions: &[RecoveredTransaction]) -> B256 {
    let transactions: Vec<&Transaction> = transactions.iter().map(Recovered::inner).collect();
    proofs::calculate_transaction_root(&transactions)
}

/// Root of the receipt trie, and the bloom of all logs.
pub fn receipts_root(receipts: &[Receipt]) -> (B256, Bloom) {
    let with_bloom: Vec<ReceiptWithBloom<'_>> =
        receipts.iter().map(|receipt| receipt.with_bloom(receipt.bloom())).collect();
    let bloom = with_bloom.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.bloom);
    (proofs::calculate_receipt_root(&with_bloom), bloom)
}
