//! Blob transactions (EIP-4844) in their network form, with a sidecar of cell proofs (EIP-7594).
//!
//! The network form is `0x03 ‖ rlp([transaction, 1, blobs, commitments, cell proofs])`; the transaction in it is what blocks carry. Blobs do not
//! enter blocks: the header commits to them by their versioned hashes, and whoever has them proves them by their commitments. All of it is
//! checked before a transaction enters the pool, in geth's words, the costly part last: the proofs, once for each sidecar. What comes back
//! from the journal, or from withdrawn blocks, was proven when it came in.

use super::PoolError;
use alloy_consensus::{
    Transaction as _, TxEip4844,
    transaction::{RlpEcdsaDecodableTx, RlpEcdsaEncodableTx},
};
use alloy_eips::{
    eip4844::kzg_to_versioned_hash,
    eip7594::{
        BlobTransactionSidecarEip7594, CELLS_PER_EXT_BLOB, Decodable7594, Encodable7594, MAX_BLOBS_PER_TX_FUSAKA,
    },
};
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Header};
use jove_primitives::transaction::{SignedTransaction, Transaction};

/// Blobs, their commitments, and 128 cell proofs each, of one transaction.
pub type Sidecar = BlobTransactionSidecarEip7594;

/// EIP-2718 type.
pub(super) const TYPE_BLOB: u8 = 3;
/// Most bytes of a transaction in its network form, as in geth: six blobs take 823,000.
pub const MAX_BLOB_TRANSACTION_SIZE: usize = 1024 * 1024;

/// A transaction and its sidecar from the network form.
pub(super) fn decode(raw: &[u8]) -> Result<(Transaction, Sidecar), PoolError> {
    if raw.len() > MAX_BLOB_TRANSACTION_SIZE {
        return Err(PoolError::Oversized { size: raw.len(), limit: MAX_BLOB_TRANSACTION_SIZE });
    }
    let mut rest = &raw[1..];
    if !is_network_form(rest) {
        TxEip4844::rlp_decode_signed(&mut rest).map_err(PoolError::Rlp)?;
        return Err(PoolError::MissingSidecar);
    }
    let mut fields = Header::decode_bytes(&mut rest, true).map_err(PoolError::Rlp)?;
    let signed = TxEip4844::rlp_decode_signed(&mut fields).map_err(PoolError::Rlp)?;
    // The sidecars of EIP-4844 itself start with the list of blobs.
    let version = match fields.first() {
        Some(0xc0..) => 0,
        _ => u8::decode(&mut &*fields).map_err(PoolError::Rlp)?,
    };
    if version != 1 {
        return Err(PoolError::SidecarVersion { got: version });
    }
    let sidecar = Sidecar::decode_7594(&mut fields).map_err(PoolError::Rlp)?;
    if !fields.is_empty() || !rest.is_empty() {
        return Err(PoolError::Rlp(alloy_rlp::Error::UnexpectedLength));
    }
    Ok((SignedTransaction::Eip4844(signed).into(), sidecar))
}

/// Appends the network form. Of another transaction there is none: nothing is appended.
pub(super) fn encode(transaction: &Transaction, sidecar: &Sidecar, out: &mut Vec<u8>) {
    let Some(SignedTransaction::Eip4844(signed)) = transaction.as_signed() else { return };
    let (tx, signature) = (signed.tx(), signed.signature());
    out.push(TYPE_BLOB);
    let payload_length = tx.rlp_encoded_length_with_signature(signature) + sidecar.encode_7594_len();
    Header { list: true, payload_length }.encode(out);
    tx.rlp_encode_signed(signature, out);
    sidecar.encode_7594(out);
}

/// The hash of a signed transaction in its EIP-2718 encoding, or in the network form of a blob transaction. Bytes that are no transaction have one too.
pub fn transaction_hash(raw: &[u8]) -> B256 {
    network_body(raw).map_or_else(|| keccak256(raw), |body| keccak256([&[TYPE_BLOB], body].concat()))
}

/// The transaction within a network form, in RLP.
fn network_body(raw: &[u8]) -> Option<&[u8]> {
    let (&TYPE_BLOB, mut rest) = raw.split_first()? else { return None };
    if !is_network_form(rest) {
        return None;
    }
    let fields = Header::decode_bytes(&mut rest, true).ok()?;
    let mut after = fields;
    Header::decode_bytes(&mut after, true).ok()?;
    fields.get(..fields.len() - after.len())
}

/// Whether the first field of a list is a list: the transaction, not its chain id.
fn is_network_form(mut list: &[u8]) -> bool {
    Header::decode_bytes(&mut list, true).is_ok_and(|fields| fields.first().is_some_and(|first| *first >= 0xc0))
}

/// Checks a transaction of type 3 against its sidecar, but for the proofs.
pub(super) fn check(transaction: &Transaction, sidecar: &Sidecar) -> Result<(), PoolError> {
    let hashes = transaction.blob_versioned_hashes().unwrap_or_default();
    if transaction.max_fee_per_blob_gas().unwrap_or_default() == 0 {
        return Err(PoolError::BlobFeeTooLow);
    }
    if hashes.is_empty() {
        return Err(PoolError::Blobless);
    }
    let (count, limit) = (hashes.len(), MAX_BLOBS_PER_TX_FUSAKA as usize);
    if count > limit {
        return Err(PoolError::BlobLimit { count, limit });
    }
    let Sidecar { blobs, commitments, cell_proofs } = sidecar;
    if commitments.len() != count {
        return Err(PoolError::CommitmentCount { commitments: commitments.len(), hashes: count });
    }
    if blobs.len() != count {
        return Err(PoolError::BlobCount { blobs: blobs.len(), commitments: count });
    }
    let expected = count * CELLS_PER_EXT_BLOB;
    if cell_proofs.len() != expected {
        return Err(PoolError::ProofCount { proofs: cell_proofs.len(), expected });
    }
    for (index, (commitment, hash)) in commitments.iter().zip(hashes).enumerate() {
        let computed = kzg_to_versioned_hash(commitment.as_slice());
        if computed != *hash {
            return Err(PoolError::CommitmentHash { index, computed, hash: *hash });
        }
    }
    Ok(())
}

/// What is known of a sidecar's proofs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proofs {
    /// Nothing: it comes from outside.
    Unchecked,
    /// They were checked when it came in.
    Checked,
}

/// Checks the proofs, which takes ten milliseconds a blob.
pub(super) fn check_proofs(sidecar: &Sidecar) -> Result<(), PoolError> {
    match cells_are_proven(sidecar) {
        Ok(true) => Ok(()),
        Ok(false) => Err(PoolError::Kzg("cell proofs do not match the blobs".into())),
        Err(error) => Err(PoolError::Kzg(format!("{error:?}"))),
    }
}

/// Whether every blob is what its commitment commits to, by the proofs of all its cells.
fn cells_are_proven(sidecar: &Sidecar) -> Result<bool, c_kzg::Error> {
    // Tables would speed up proving, not verifying.
    let settings = c_kzg::ethereum_kzg_settings(0);
    let indices: Vec<u64> = (0..CELLS_PER_EXT_BLOB as u64).collect();
    let proofs = sidecar.cell_proofs.chunks_exact(CELLS_PER_EXT_BLOB);
    for ((blob, commitment), proofs) in sidecar.blobs.iter().zip(&sidecar.commitments).zip(proofs) {
        let cells = settings.compute_cells(&c_kzg::Blob::new(blob.0))?;
        let commitments = vec![c_kzg::Bytes48::new(commitment.0); CELLS_PER_EXT_BLOB];
        let proofs: Vec<c_kzg::Bytes48> = proofs.iter().map(|proof| c_kzg::Bytes48::new(proof.0)).collect();
        if !settings.verify_cell_kzg_proof_batch(&commitments, &indices, cells.as_ref(), &proofs)? {
            return Ok(false);
        }
    }
    Ok(true)
}
