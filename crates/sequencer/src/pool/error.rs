//! Why the pool refuses a transaction.

use alloy_primitives::{Address, B256, U256};
use std::sync::Arc;

/// A rejection. Texts are those of geth, which tools and people know; [`PoolError::code`] is the JSON-RPC code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The node takes no transactions now; the text says why and what it waits for ([`super::Pool::set_closed`]). Send it later, or to another node.
    #[error("transactions are not accepted: {0}")]
    Closed(Arc<str>),
    /// The pool holds this very transaction. Nothing needs to be done.
    #[error("already known")]
    AlreadyKnown,
    /// Nothing, or a type byte alone.
    #[error("typed transaction too short")]
    TooShort,
    /// The bytes are no transaction. The text says what the decoder met.
    #[error("rlp: {0}")]
    Rlp(alloy_rlp::Error),
    /// A type that this chain does not know.
    #[error("transaction type not supported")]
    TypeNotSupported,
    /// It carries blobs, which this chain has no place for, with their sidecar or without.
    #[error("transaction type not supported: blob transactions (EIP-4844) are not accepted on this chain")]
    BlobsNotAccepted,
    /// A blob transaction as blocks carry it, or of a sender who was not asked for a signature. Send it in its network form.
    #[error("missing sidecar in blob transaction")]
    MissingSidecar,
    /// A sidecar without cell proofs (EIP-4844 before EIP-7594).
    #[error("sidecar format error: unexpected sidecar version, want: 1, got: {got}")]
    SidecarVersion {
        /// The version it has; 0 for one that names none.
        got: u8,
    },
    /// It would pay nothing for its blobs.
    #[error("transaction gas price below minimum: blob fee cap 0, minimum needed 1")]
    BlobFeeTooLow,
    /// A blob transaction without blobs.
    #[error("blobless blob transaction")]
    Blobless,
    /// More blobs than a transaction may have (EIP-7594).
    #[error("transaction blob limit exceeded: blob count {count}, limit {limit}")]
    BlobLimit {
        /// Its blobs.
        count: usize,
        /// Most blobs.
        limit: usize,
    },
    /// The sidecar has another number of commitments than the transaction has versioned hashes.
    #[error("invalid number of {commitments} blob commitments compared to {hashes} blob hashes")]
    CommitmentCount {
        /// Commitments in the sidecar.
        commitments: usize,
        /// Versioned hashes in the transaction.
        hashes: usize,
    },
    /// The sidecar has another number of blobs than of commitments.
    #[error("invalid number of {blobs} blobs compared to {commitments} commitments")]
    BlobCount {
        /// Blobs in the sidecar.
        blobs: usize,
        /// Commitments in the sidecar.
        commitments: usize,
    },
    /// The sidecar has not 128 cell proofs for each blob.
    #[error("sidecar format error: invalid number of {proofs} blob proofs expected {expected}")]
    ProofCount {
        /// Cell proofs in the sidecar.
        proofs: usize,
        /// What there must be.
        expected: usize,
    },
    /// A commitment has another versioned hash than the transaction names.
    #[error("blob {index}: computed hash {computed} mismatches transaction one {hash}")]
    CommitmentHash {
        /// The blob's position.
        index: usize,
        /// The commitment's versioned hash.
        computed: B256,
        /// The transaction's.
        hash: B256,
    },
    /// The proofs do not prove the blobs, or something is no field element or no point.
    #[error("KZG verification error: {0}")]
    Kzg(String),
    /// An EIP-7702 transaction without a recipient.
    #[error("EIP-7702 transaction cannot be used to create contract")]
    SetCodeCreate,
    /// An EIP-7702 transaction that authorizes nothing.
    #[error("EIP-7702 transaction with empty auth list")]
    EmptyAuthorizationList,
    /// Larger than a transaction may be.
    #[error("oversized data: transaction size {size}, limit {limit}")]
    Oversized {
        /// Bytes of its EIP-2718 encoding.
        size: usize,
        /// Most bytes.
        limit: usize,
    },
    /// Init code beyond EIP-3860's limit.
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    InitCodeSize {
        /// Bytes of init code.
        size: usize,
        /// Most bytes.
        limit: usize,
    },
    /// A gas limit beyond EIP-7825's cap.
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas})")]
    GasLimitTooHigh {
        /// The cap.
        cap: u64,
        /// The transaction's gas limit.
        gas: u64,
    },
    /// A gas limit that fits into no block.
    #[error("exceeds block gas limit")]
    ExceedsBlockGasLimit,
    /// It would tip more than it would pay at all.
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFeeCap,
    /// It is not bound to a chain (EIP-155), so that anyone could send it on another.
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    NotReplayProtected,
    /// It is signed for another chain.
    #[error("invalid sender: invalid chain id for signer: have {have} want {want}")]
    ChainId {
        /// The chain it is for.
        have: u64,
        /// This chain.
        want: u64,
    },
    /// Its signature is no signature, or has a high s (EIP-2).
    #[error("invalid sender: invalid transaction v, r, s values")]
    InvalidSignature,
    /// The last nonce, which no account may use (EIP-2681).
    #[error("nonce has max value")]
    NonceMax,
    /// The nonce is used already.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The sender's nonce at the head.
        next: u64,
        /// The transaction's.
        nonce: u64,
    },
    /// Less gas than is charged before anything runs.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas {
        /// The transaction's gas limit.
        gas: u64,
        /// Least gas.
        needed: u64,
    },
    /// Less gas than EIP-7623's floor for its data.
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")]
    FloorDataGas {
        /// The transaction's gas limit.
        gas: u64,
        /// Least gas.
        needed: u64,
    },
    /// The fee is below what the base fee can ever be. Send it with a higher one.
    #[error("transaction underpriced: max fee per gas {fee}, minimum needed {needed}")]
    BelowFloor {
        /// The transaction's max fee per gas, in wei.
        fee: u128,
        /// The chain's lowest base fee, in wei.
        needed: u64,
    },
    /// The pool is full and holds nothing cheaper. Send it with a higher fee, or later.
    #[error("transaction underpriced")]
    Underpriced,
    /// The sender's transaction of this nonce is in the pool, and this one does not pay 10 % more for both fees; where one of them has blobs, twice as
    /// much for every fee.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// The pool is full, and this transaction, which is not executable yet, would displace one that is.
    #[error("future transaction tries to replace pending")]
    FutureReplacesPending,
    /// The pool is full and cannot make room for this transaction.
    #[error("txpool is full")]
    Full,
    /// The sender has transactions with blobs in the pool and this one has none, or the other way round. Wait until those are in a block: geth
    /// keeps a sender's either in one pool or in the other, and replaces none across.
    #[error("address already reserved")]
    AddressReserved,
    /// A blob transaction behind a nonce that is missing. Send that one first.
    #[error("nonce too high: tx nonce {nonce}, gapped nonce {gap}")]
    NonceTooHigh {
        /// The transaction's nonce.
        nonce: u64,
        /// The first that is missing.
        gap: u64,
    },
    /// The sender has as many transactions in the pool as it may.
    #[error("account limit exceeded: pooled {pooled} txs")]
    AccountLimit {
        /// Its transactions in the pool.
        pooled: usize,
    },
    /// The balance does not cover gas, value and the L1 data fee.
    #[error("insufficient funds for gas * price + value: {0}")]
    InsufficientFunds(Box<Shortfall>),
    /// The sender is a contract (EIP-3607). An EIP-7702 delegation is none.
    #[error("sender not an eoa: address {sender}, len(code): {code_len}")]
    SenderNotEoa {
        /// The sender.
        sender: Address,
        /// Bytes of its code.
        code_len: usize,
    },
}

/// What a balance does not cover, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// The transaction by itself.
    #[error("balance {balance}, tx cost {cost}, overshot {}", cost.saturating_sub(*balance))]
    Transaction {
        /// The sender's balance.
        balance: U256,
        /// What the transaction may cost at most.
        cost: U256,
    },
    /// The transaction together with the sender's executable ones.
    #[error("balance {balance}, queued cost {queued}, tx cost {cost}, overshot {}", queued.saturating_add(*cost).saturating_sub(*balance))]
    Sum {
        /// The sender's balance.
        balance: U256,
        /// What the executable transactions may cost at most.
        queued: U256,
        /// What the transaction may cost at most.
        cost: U256,
    },
    /// The transaction in the place of the one that it replaces.
    #[error("balance {balance}, queued cost {queued}, tx bumped {bump}, overshot {}", queued.saturating_add(*bump).saturating_sub(*balance))]
    Replacement {
        /// The sender's balance.
        balance: U256,
        /// What the executable transactions may cost at most.
        queued: U256,
        /// By how much that would rise.
        bump: U256,
    },
}

impl PoolError {
    /// JSON-RPC error code: geth's for an error without one of its own.
    pub fn code(&self) -> i32 {
        -32000
    }

    /// A short name, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::AlreadyKnown => "already_known",
            Self::TooShort | Self::Rlp(_) => "malformed",
            Self::TypeNotSupported | Self::BlobsNotAccepted => "type_not_supported",
            Self::MissingSidecar
            | Self::SidecarVersion { .. }
            | Self::BlobFeeTooLow
            | Self::Blobless
            | Self::BlobLimit { .. }
            | Self::CommitmentCount { .. }
            | Self::BlobCount { .. }
            | Self::ProofCount { .. }
            | Self::CommitmentHash { .. }
            | Self::Kzg(_) => "blobs",
            Self::SetCodeCreate | Self::EmptyAuthorizationList => "set_code",
            Self::Oversized { .. } | Self::InitCodeSize { .. } => "oversized",
            Self::GasLimitTooHigh { .. } | Self::ExceedsBlockGasLimit => "gas_limit",
            Self::TipAboveFeeCap => "tip_above_fee_cap",
            Self::NotReplayProtected | Self::ChainId { .. } => "chain_id",
            Self::InvalidSignature => "invalid_signature",
            Self::NonceMax | Self::NonceTooLow { .. } => "nonce_too_low",
            Self::IntrinsicGas { .. } | Self::FloorDataGas { .. } => "intrinsic_gas",
            Self::BelowFloor { .. } | Self::Underpriced => "underpriced",
            Self::ReplacementUnderpriced => "replacement_underpriced",
            Self::FutureReplacesPending | Self::Full => "full",
            Self::AddressReserved => "address_reserved",
            Self::NonceTooHigh { .. } => "nonce_too_high",
            Self::AccountLimit { .. } => "account_limit",
            Self::InsufficientFunds(_) => "insufficient_funds",
            Self::SenderNotEoa { .. } => "sender_not_eoa",
        }
    }
}
