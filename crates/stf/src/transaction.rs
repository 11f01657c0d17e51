//! One transaction: what the EVM is given, and why it may be refused.

use alloc::{boxed::Box, string::String, vec::Vec};
use alloy_consensus::{Transaction as _, crypto::secp256k1::recover_signer};
use alloy_eips::{
    Typed2718,
    eip7702::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization},
};
use alloy_primitives::U256;
use jove_primitives::{
    batch::{BLOCK_OVERHEAD, MAX_BLOCK_SIZE},
    transaction::{RecoveredTransaction, TxDeposit},
};
use revm::{
    context::{
        TxEnv,
        result::{ExecutionResult, InvalidTransaction},
    },
    context_interface::either::Either,
};
use thiserror::Error;

/// What transactions may take of a batch in one block, in bytes.
pub(crate) const BLOCK_ROOM: usize = MAX_BLOCK_SIZE - BLOCK_OVERHEAD;

/// What an included transaction did, beside its receipt.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The EVM's result: output and gas. Its logs have moved into the receipt.
    pub result: ExecutionResult,
    /// L1 data fee charged, in wei.
    pub l1_fee: U256,
}

/// Why a transaction cannot be part of a block. Nothing of it happened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// Ethereum's rules refuse it.
    #[error("{0}")]
    Evm(InvalidTransaction),
    /// It carries blobs, which Jove has no place for.
    #[error("transaction type not supported: blob transactions (EIP-4844) are not accepted on this chain")]
    BlobsNotAccepted,
    /// It is a message from L1, which Ethereum's rules do not know.
    #[error("transaction type not supported: messages from L1 are for Jove chains")]
    MessageNotAccepted,
    /// A block is of messages from L1 or of signed transactions, as its header says; this is one of the other kind.
    #[error("a message from L1 and a signed transaction cannot share a block")]
    Mixed,
    /// The block's L1 origin is too old for transactions of the pool. They may be included once the chain has caught up with L1.
    #[error("the chain's L1 origin is too old")]
    OldOrigin,
    /// Messages from L1 are due before signed transactions. It may be included once they are consumed.
    #[error("messages from L1 are due first")]
    MessagesDue,
    /// No message from L1 is due: the L1 origin names no more.
    #[error("no message from L1 is due")]
    NoMessageDue,
    /// The L1 attributes are not first in the block, or not of a later L1 block than the last, or of one that is later than the block; or messages are due still.
    #[error("the L1 attributes are wrong: {0}")]
    Attributes(&'static str),
    /// Its gas limit is more than the block has left. It may fit into the next block.
    #[error("gas limit {limit} is more than the {left} that the block has left")]
    BlockGas {
        /// The transaction's gas limit.
        limit: u64,
        /// Gas left in the block.
        left: u64,
    },
    /// Its blobs are more than the block has room for. They may fit into the next block.
    #[error("blob gas {needed} is more than the {left} that the block has left")]
    BlobGas {
        /// Blob gas of the transaction.
        needed: u64,
        /// Blob gas left in the block.
        left: u64,
    },
    /// L1's blobs have no room for what the block would hold with it ([`jove_primitives::batch::MAX_BLOCK_SIZE`]). It may fit into the next block.
    #[error("the transaction may take {size} bytes of a batch, more than the {left} that the block has left")]
    BlockSize {
        /// What it takes at most, in bytes.
        size: usize,
        /// What the block has left, in bytes.
        left: usize,
    },
    /// The chain has used 64 seconds of its gas target ahead of time. It may be included once time has passed.
    #[error("the chain's gas budget is exhausted")]
    ExcessGas,
    /// The balance does not cover gas, value and the L1 data fee.
    #[error("insufficient funds for gas * price + value + L1 data fee: balance {balance}, tx cost {cost}")]
    InsufficientFunds {
        /// The sender's balance, in wei.
        balance: Box<U256>,
        /// What it must cover, in wei.
        cost: Box<U256>,
    },
    /// A precompile or the EVM itself failed beyond a halt. It cannot be included.
    #[error("{0}")]
    Fatal(String),
}

impl TransactionError {
    /// Whether the transaction may become valid without a change of the sender's account: another block may take it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::BlockGas { .. } | Self::BlobGas { .. } | Self::ExcessGas | Self::OldOrigin | Self::MessagesDue => {
                true
            }
            Self::BlockSize { size, .. } => *size <= BLOCK_ROOM,
            Self::Evm(error) => {
                use InvalidTransaction::{BlobGasPriceGreaterThanMax, GasPriceLessThanBasefee, NonceTooHigh};
                matches!(error, GasPriceLessThanBasefee | BlobGasPriceGreaterThanMax { .. } | NonceTooHigh { .. })
            }
            _ => false,
        }
    }
}

/// Why a transaction was not executed.
#[derive(Debug, Error)]
pub enum ExecuteError<E> {
    /// The transaction is invalid here.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The database failed: nothing is known of the transaction.
    #[error("database: {0}")]
    Database(E),
}

/// revm's form of a message from L1, sent at `nonce`: its gas is bought on L1.
pub fn deposit_env(deposit: &TxDeposit, nonce: u64) -> TxEnv {
    TxEnv {
        caller: deposit.from,
        gas_limit: deposit.gas_limit,
        gas_price: 0,
        kind: deposit.to,
        value: deposit.value,
        data: deposit.input.clone(),
        nonce,
        chain_id: None,
        ..Default::default()
    }
}

/// revm's form of a signed transaction.
pub fn tx_env(transaction: &RecoveredTransaction) -> TxEnv {
    TxEnv {
        tx_type: transaction.ty(),
        caller: transaction.signer(),
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        blob_hashes: transaction.blob_versioned_hashes().map(<[_]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: transaction.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list: transaction
            .authorization_list()
            .map(|list| list.iter().map(|signed| Either::Right(recovered(signed))).collect::<Vec<_>>())
            .unwrap_or_default(),
    }
}

/// An authorization with its authority, recovered the way that senders are: revm's own way cannot be given to a zkVM's accelerators. None if the signature is no
/// signature, or has a high s (EIP-7702).
fn recovered(signed: &SignedAuthorization) -> RecoveredAuthorization {
    let authority =
        signed.signature().ok().and_then(|signature| recover_signer(&signature, signed.signature_hash()).ok());
    let authority = authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
    RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority)
}
