//! One transaction on its way into the pool: decoding, the checks that need no state, and sender recovery.

use super::{
    PooledTransaction,
    blob::{self, Proofs, Sidecar, TYPE_BLOB},
    error::PoolError,
};
use alloy_consensus::{Transaction as _, TxLegacy, crypto::SECP256K1N_HALF, transaction::RlpEcdsaDecodableTx};
use alloy_eips::{Decodable2718, Encodable2718, Typed2718, eip2718::Eip2718Error, eip7594::Encodable7594};
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Header;
use jove_primitives::{
    ChainSpec,
    block::L1Prices,
    fee,
    transaction::{RecoveredTransaction, SignedTransaction, Transaction},
};
use revm::{context_interface::cfg::gas_params::GasParams, primitives::hardfork::SpecId};
use secp256k1::{
    Message,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Most bytes of a transaction's EIP-2718 encoding, without blobs.
pub const MAX_TRANSACTION_SIZE: usize = 128 * 1024;
/// Most bytes of init code (EIP-3860).
const MAX_INIT_CODE_SIZE: usize = 49_152;

/// EIP-2718 type, where its number matters.
const TYPE_SET_CODE: u8 = 4;

/// A transaction that passed every check that needs no state, and what the pool wants to know of it at hand.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pooled: PooledTransaction,
    pub(super) sender: Address,
    pub(super) nonce: u64,
    /// Arrival: the pool counts up, and down for transactions that come back from withdrawn blocks.
    pub(super) seq: u64,
    /// Max priority fee and max fee per gas in wei, for ranking: fees beyond 2^64 − 1 rank as that.
    pub(super) tip: u64,
    pub(super) cap: u64,
    /// Max fee per blob gas, in wei, and blob gas.
    pub(super) blob_cap: u128,
    pub(super) blob_gas: u64,
    /// Blobs and their proofs, exactly with a blob transaction.
    pub(super) sidecar: Option<Arc<Sidecar>>,
    /// Most that gas, blobs and value cost, in wei: the L1 data fee comes on top.
    pub(super) cost: U256,
    /// Least gas that the transaction uses.
    pub(super) min_gas: u64,
    /// Bytes of the EIP-2718 encoding, and of the sidecar.
    pub(super) size: usize,
    pub(super) arrived: Instant,
    /// Whether the signature is the sender's: only then can the transaction be written down and read again.
    pub(super) signed: bool,
    announced: AtomicBool,
}

impl Entry {
    /// What inclusion at this base fee pays above it, in wei per gas: negative if it cannot be included.
    pub(super) fn effective_tip(&self, base_fee: u64) -> i128 {
        i128::from(self.tip).min(i128::from(self.cap) - i128::from(base_fee))
    }

    /// Most that the transaction costs its sender, in wei.
    pub(super) fn total_cost(&self, prices: L1Prices) -> U256 {
        self.cost.saturating_add(fee::data_fee(self.pooled.data_size, prices))
    }

    pub(super) fn transaction(&self) -> &Arc<RecoveredTransaction> {
        &self.pooled.transaction
    }

    pub(super) fn hash(&self) -> B256 {
        self.pooled.hash
    }

    /// Whether the transaction pays 10 % more than `old` for both fees, or twice as much for every fee where there are blobs: geth's rules.
    pub(super) fn may_replace(&self, old: &Self) -> bool {
        let percent = if self.sidecar.is_some() || old.sidecar.is_some() { 200 } else { 110 };
        let bumped = |new: u128, old: u128| {
            let needed = (old / 100).saturating_mul(percent).saturating_add(old % 100 * percent / 100);
            new > old && new >= needed
        };
        let blobs = self.sidecar.is_none() || old.sidecar.is_none() || bumped(self.blob_cap, old.blob_cap);
        let (new, old) = (fees(self.transaction()), fees(old.transaction()));
        blobs && bumped(new.0, old.0) && bumped(new.1, old.1)
    }

    /// Whether it comes with blobs.
    pub(super) fn has_blobs(&self) -> bool {
        self.sidecar.is_some()
    }

    /// True the first time.
    pub(super) fn announce(&self) -> bool {
        !self.announced.swap(true, Ordering::Relaxed)
    }
}

/// Max priority fee and max fee per gas, in wei.
fn fees(transaction: &Transaction) -> (u128, u128) {
    let cap = transaction.max_fee_per_gas();
    (transaction.max_priority_fee_per_gas().unwrap_or(cap), cap)
}

/// Checks transactions as far as that needs no state.
pub(super) struct Checker {
    spec: Arc<ChainSpec>,
    gas: GasParams,
}

impl Checker {
    pub(super) fn new(spec: Arc<ChainSpec>) -> Self {
        // Every fork that a Jove chain may start at prices calldata as Osaka does.
        Self { spec, gas: GasParams::new_spec(SpecId::OSAKA) }
    }

    /// A transaction from its EIP-2718 encoding, or from the network form of a blob transaction, its sender not yet recovered.
    pub(super) fn decode(&self, raw: &[u8]) -> Result<(Transaction, Option<Sidecar>), PoolError> {
        if matches!(*raw, [TYPE_BLOB, _, ..]) {
            if !self.takes_blobs() {
                return Err(PoolError::BlobsNotAccepted);
            }
            return blob::decode(raw).map(|(transaction, sidecar)| (transaction, Some(sidecar)));
        }
        self.decode_plain(raw).map(|transaction| (transaction, None))
    }

    fn takes_blobs(&self) -> bool {
        self.spec.ethereum.is_some()
    }

    fn decode_plain(&self, raw: &[u8]) -> Result<Transaction, PoolError> {
        let typed = match *raw {
            [1 | 2 | TYPE_SET_CODE, _, ..] => true,
            [0x80..=0xff, ..] => false,
            [_, _, ..] => return Err(PoolError::TypeNotSupported),
            _ => return Err(PoolError::TooShort),
        };
        if raw.len() > MAX_TRANSACTION_SIZE {
            return Err(PoolError::Oversized { size: raw.len(), limit: MAX_TRANSACTION_SIZE });
        }
        let mut rest = raw;
        let transaction = if typed {
            Transaction::decode_2718(&mut rest).map_err(|error| match error {
                _ if is_set_code_create(raw) => PoolError::SetCodeCreate,
                Eip2718Error::RlpError(error) => PoolError::Rlp(error),
                _ => PoolError::TypeNotSupported,
            })?
        } else {
            // The envelope's own decoder would not say what is wrong.
            SignedTransaction::Legacy(TxLegacy::rlp_decode_signed(&mut rest).map_err(PoolError::Rlp)?).into()
        };
        if !rest.is_empty() {
            return Err(PoolError::Rlp(alloy_rlp::Error::UnexpectedLength));
        }
        if transaction.chain_id().is_none() {
            return Err(PoolError::NotReplayProtected);
        }
        Ok(transaction)
    }

    /// Checks a decoded transaction and recovers its sender, in geth's order of checks.
    pub(super) fn signed(
        &self,
        transaction: Transaction,
        sidecar: Option<Sidecar>,
        proofs: Proofs,
        seq: u64,
        now: Instant,
    ) -> Result<Entry, PoolError> {
        let size = self.check_limits(&transaction)?;
        let sender = recover_sender(&transaction)?;
        let transaction = RecoveredTransaction::new_unchecked(transaction, sender);
        let entry = self.entry(transaction, sidecar, size, true, seq, now)?;
        if let (Proofs::Unchecked, Some(sidecar)) = (proofs, &entry.sidecar) {
            blob::check_proofs(sidecar)?;
        }
        Ok(entry)
    }

    /// Checks a transaction whose sender is known: `signed` says whether its signature says the same. Its sidecar, if it has one, is proven.
    pub(super) fn recovered(
        &self,
        transaction: RecoveredTransaction,
        sidecar: Option<Sidecar>,
        signed: bool,
        seq: u64,
        now: Instant,
    ) -> Result<Entry, PoolError> {
        let size = self.check_limits(&transaction)?;
        self.entry(transaction, sidecar, size, signed, seq, now)
    }

    /// The checks that come before the sender's recovery. Returns the size.
    fn check_limits(&self, transaction: &Transaction) -> Result<usize, PoolError> {
        match transaction.as_signed() {
            None => return Err(PoolError::TypeNotSupported),
            Some(SignedTransaction::Eip4844(_)) if !self.takes_blobs() => return Err(PoolError::BlobsNotAccepted),
            Some(_) => {}
        }
        let size = transaction.encode_2718_len();
        if size > MAX_TRANSACTION_SIZE {
            return Err(PoolError::Oversized { size, limit: MAX_TRANSACTION_SIZE });
        }
        let init_code = if transaction.is_create() { transaction.input().len() } else { 0 };
        if init_code > MAX_INIT_CODE_SIZE {
            return Err(PoolError::InitCodeSize { size: init_code, limit: MAX_INIT_CODE_SIZE });
        }
        let gas = transaction.gas_limit();
        if let Some(cap) = self.spec.gas.transaction_gas_limit_cap.filter(|cap| gas > *cap) {
            return Err(PoolError::GasLimitTooHigh { cap, gas });
        }
        if gas > self.spec.gas.block_gas_limit {
            return Err(PoolError::ExceedsBlockGasLimit);
        }
        let (tip, cap) = fees(transaction);
        if tip > cap {
            return Err(PoolError::TipAboveFeeCap);
        }
        match transaction.chain_id() {
            Some(have) if have != self.spec.chain_id => Err(PoolError::ChainId { have, want: self.spec.chain_id }),
            _ => Ok(size),
        }
    }

    /// The checks that come after the sender's recovery, but for a sidecar's proofs.
    fn entry(
        &self,
        transaction: RecoveredTransaction,
        sidecar: Option<Sidecar>,
        size: usize,
        signed: bool,
        seq: u64,
        arrived: Instant,
    ) -> Result<Entry, PoolError> {
        let nonce = transaction.nonce();
        if nonce == u64::MAX {
            return Err(PoolError::NonceMax);
        }
        let min_gas = self.min_gas(&transaction)?;
        let (tip, cap) = fees(&transaction);
        let needed = self.spec.gas.base_fee_floor;
        if cap < u128::from(needed) {
            return Err(PoolError::BelowFloor { fee: cap, needed });
        }
        if transaction.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(PoolError::EmptyAuthorizationList);
        }
        if transaction.is_eip4844() {
            blob::check(&transaction, sidecar.as_ref().ok_or(PoolError::MissingSidecar)?)?;
        }
        let encoded = transaction.encoded_2718();
        let gas_cost = U256::from(transaction.gas_limit()).saturating_mul(U256::from(cap));
        let blob_cap = transaction.max_fee_per_blob_gas().unwrap_or(0);
        let blob_gas = transaction.blob_gas_used().unwrap_or(0);
        let blob_cost = U256::from(blob_gas).saturating_mul(U256::from(blob_cap));
        Ok(Entry {
            sender: transaction.signer(),
            nonce,
            seq,
            tip: u64::try_from(tip).unwrap_or(u64::MAX),
            cap: u64::try_from(cap).unwrap_or(u64::MAX),
            blob_cap,
            blob_gas,
            cost: gas_cost.saturating_add(blob_cost).saturating_add(transaction.value()),
            min_gas,
            size: size + sidecar.as_ref().map_or(0, Encodable7594::encode_7594_len),
            sidecar: sidecar.map(Arc::new),
            arrived,
            signed,
            announced: AtomicBool::new(false),
            pooled: PooledTransaction {
                hash: *transaction.tx_hash(),
                data_size: fee::data_size(&encoded),
                transaction: Arc::new(transaction),
            },
        })
    }

    /// The gas that a transaction uses at least, if its limit covers that.
    fn min_gas(&self, transaction: &Transaction) -> Result<u64, PoolError> {
        let list = transaction.access_list();
        let slots: usize = list.map_or(0, |list| list.iter().map(|item| item.storage_keys.len()).sum());
        let least = self.gas.initial_tx_gas(
            transaction.input(),
            transaction.is_create(),
            list.map_or(0, |list| list.len()) as u64,
            slots as u64,
            transaction.authorization_list().map_or(0, <[_]>::len) as u64,
            None,
        );
        let (gas, intrinsic, floor) = (transaction.gas_limit(), least.initial_total_gas(), least.floor_gas());
        if gas < intrinsic {
            return Err(PoolError::IntrinsicGas { gas, needed: intrinsic });
        }
        if gas < floor {
            return Err(PoolError::FloorDataGas { gas, needed: floor });
        }
        Ok(intrinsic.max(floor))
    }
}

/// Whether bytes that do not decode are an EIP-7702 transaction without a recipient. It has no place for none, so that it is malformed
/// rather than invalid; its sender deserves the reason.
fn is_set_code_create(raw: &[u8]) -> bool {
    let [TYPE_SET_CODE, body @ ..] = raw else { return false };
    let Ok(mut fields) = Header::decode_bytes(&mut &*body, true) else { return false };
    // Chain id, nonce, both fees and the gas limit come first.
    let skipped = (0..5).all(|_| Header::decode_bytes(&mut fields, false).is_ok());
    skipped && fields.first() == Some(&alloy_rlp::EMPTY_STRING_CODE)
}

/// The address whose key signed a transaction, by libsecp256k1. It does for signatures with a low s (EIP-2), all others it refuses.
///
/// # Errors
/// [`PoolError::InvalidSignature`].
pub fn recover_sender(transaction: &Transaction) -> Result<Address, PoolError> {
    let transaction = transaction.as_signed().ok_or(PoolError::TypeNotSupported)?;
    let signature = transaction.signature();
    if signature.s() > SECP256K1N_HALF {
        return Err(PoolError::InvalidSignature);
    }
    let parity = if signature.v() { RecoveryId::One } else { RecoveryId::Zero };
    let public_key = RecoverableSignature::from_compact(&signature.as_bytes()[..64], parity)
        .and_then(|signature| signature.recover(Message::from_digest(transaction.signature_hash().0)))
        .map_err(|_| PoolError::InvalidSignature)?;
    // Without the first byte, which says that it is uncompressed.
    Ok(Address::from_raw_public_key(&public_key.serialize_uncompressed()[1..]))
}
