//! How a relayer behaves, and what it says.

use super::{Fees, journal::Closed};
use crate::Revert;
use alloy_primitives::{B256, TxHash};
use alloy_rpc_types_eth::TransactionReceipt;
use std::time::{Duration, SystemTime};

const GWEI: u128 = 1_000_000_000;

/// How a relayer behaves.
#[derive(Clone, Copy, Debug)]
pub struct RelayerConfig {
    /// Fees are never above these.
    pub caps: Fees,
    /// Tips are never below this, in wei per gas, but for the cap.
    pub min_priority_fee: u128,
    /// Blocks that a transaction may wait before it is replaced.
    pub bump_blocks: u64,
    /// Blocks that a foreign transaction may wait at the account's nonce before it is replaced.
    pub foreign_blocks: u64,
    /// Blocks upon a block that make it final; none: L1's `finalized` tag says.
    pub confirmations: Option<u64>,
    /// Most requests under way: those that are mined and not final included.
    pub max_open: usize,
    /// Between two looks at L1 in [`Relayer::send`](super::Relayer::send).
    pub poll: Duration,
    /// The journal is written anew when it is longer than this, in bytes, and mostly about requests that are done with.
    pub journal_bytes: u64,
}

impl Default for RelayerConfig {
    /// At most 500 gwei of gas, 50 of tip, 1,000 of blob gas; replaced after 4 blocks, foreign ones after 50; `finalized`; 256 requests under way; 64 MiB.
    fn default() -> Self {
        Self {
            caps: Fees {
                max_fee_per_gas: 500 * GWEI,
                max_priority_fee_per_gas: 50 * GWEI,
                max_fee_per_blob_gas: 1_000 * GWEI,
            },
            min_priority_fee: GWEI / 10,
            bump_blocks: 4,
            foreign_blocks: 50,
            confirmations: None,
            max_open: 256,
            poll: Duration::from_secs(2),
            journal_bytes: 64 << 20,
        }
    }
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mined {
    /// Its nonce.
    pub nonce: u64,
    /// Its hash.
    pub hash: TxHash,
    /// The block's number.
    pub block_number: u64,
    /// The block's hash.
    pub block_hash: B256,
    /// Whether it did what it was for; otherwise it reverted.
    pub success: bool,
    /// Gas used.
    pub gas_used: u64,
    /// What it cost, blobs included, in wei.
    pub cost: u128,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// No transaction is signed yet: others wait, or L1 cannot be asked.
    Queued,
    /// A transaction is signed, and sent until its nonce is used.
    Pending {
        /// Its nonce.
        nonce: u64,
        /// Hashes of the transaction and its replacements, the latest last.
        hashes: Vec<TxHash>,
    },
    /// It is in a block that may still be reorganised away.
    Mined(Mined),
    /// A transaction that is not ours is mined at its nonce, in a block that may still be reorganised away.
    Displaced {
        /// The nonce.
        nonce: u64,
    },
    /// It would revert; no transaction was signed. The same key may be submitted again.
    Refused(Revert),
    /// It is in a final block.
    Final(Mined),
    /// A final transaction that is not ours has its nonce: it will never be mined.
    Fenced {
        /// The nonce.
        nonce: u64,
    },
}

impl State {
    /// Whether there is nothing to wait for but finality.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Queued | Self::Pending { .. })
    }
}

/// What waits longest, since when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Key of the request.
    pub key: String,
    /// When the request was submitted.
    pub since: SystemTime,
    /// Why it is not mined.
    pub reason: Reason,
}

/// Why a request is not mined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It was not looked at yet, or those before it wait.
    #[error("its turn has not come")]
    Turn,
    /// It was sent, and is not in a block yet.
    #[error("it is not in a block yet")]
    NotMined,
    /// It cannot be replaced: a fee would pass its cap. Raise the caps, or wait.
    #[error("its fees are at their caps ({} gwei of gas, {} of blob gas)", .0.max_fee_per_gas / GWEI, .0.max_fee_per_blob_gas / GWEI)]
    Caps(Fees),
    /// The node refuses it, in these words: often the account's balance is too low.
    #[error("the node refuses it: {0}")]
    Rejected(String),
    /// A transaction that is not ours waits at the account's next nonce.
    #[error("a transaction that is not ours waits at nonce {0}")]
    Foreign(u64),
    /// One that is not ours was mined at the nonce of a request.
    #[error("a transaction that is not ours was mined at nonce {0}")]
    Displaced(u64),
    /// L1 could not be asked, or its answers make no sense.
    #[error("{0}")]
    L1(String),
}

impl Mined {
    pub(super) fn new(nonce: u64, receipt: &TransactionReceipt) -> Self {
        let blobs = u128::from(receipt.blob_gas_used.unwrap_or(0)).saturating_mul(receipt.blob_gas_price.unwrap_or(0));
        Self {
            nonce,
            hash: receipt.transaction_hash,
            block_number: receipt.block_number.unwrap_or_default(),
            block_hash: receipt.block_hash.unwrap_or_default(),
            success: receipt.status(),
            gas_used: receipt.gas_used,
            cost: u128::from(receipt.gas_used).saturating_mul(receipt.effective_gas_price).saturating_add(blobs),
        }
    }
}

impl From<&Closed> for Mined {
    fn from(closed: &Closed) -> Self {
        Self {
            nonce: closed.nonce,
            hash: closed.hash,
            block_number: closed.block_number,
            block_hash: closed.block_hash,
            success: closed.success,
            gas_used: closed.gas_used,
            cost: closed.cost,
        }
    }
}
