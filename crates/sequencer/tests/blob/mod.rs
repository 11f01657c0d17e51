//! Blob transactions for tests: real commitments and proofs under Ethereum's trusted setup, encoded by alloy.
#![allow(dead_code)] // not every test uses all of it

use alloy_consensus::{SignableTransaction, TxEip4844};
use alloy_eips::{
    eip2718::Encodable2718,
    eip4844::{Blob, Bytes48},
    eip7594::BlobTransactionSidecarEip7594,
};
use alloy_primitives::{B256, Bytes, Signature, address, hex};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use std::sync::LazyLock;

/// A blob that is none of another seed: its field elements are small.
pub(crate) fn blob(seed: u8) -> Blob {
    let mut blob = Blob::ZERO;
    for (index, element) in blob.0.chunks_exact_mut(32).enumerate() {
        element[28..30].copy_from_slice(&(index as u16).to_be_bytes());
        element[31] = seed;
    }
    blob
}

/// Six blobs, proven once: that takes a second.
static PROVEN: LazyLock<BlobTransactionSidecarEip7594> = LazyLock::new(|| {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let blobs: Vec<Blob> = (0..6).map(blob).collect();
    let (mut commitments, mut proofs) = (Vec::new(), Vec::new());
    for blob in &blobs {
        let blob = c_kzg::Blob::new(blob.0);
        let commitment = settings.blob_to_kzg_commitment(&blob).expect("field elements");
        commitments.push(Bytes48::from(commitment.to_bytes().into_inner()));
        let (_, cell_proofs) = settings.compute_cells_and_kzg_proofs(&blob).expect("field elements");
        proofs.extend(cell_proofs.iter().map(|proof| Bytes48::from(proof.to_bytes().into_inner())));
    }
    BlobTransactionSidecarEip7594::new(blobs, commitments, proofs)
});

/// The sidecar of [`blob`]s with these seeds, below 6.
pub(crate) fn sidecar(seeds: &[u8]) -> BlobTransactionSidecarEip7594 {
    let at = |seed: &u8| usize::from(*seed);
    BlobTransactionSidecarEip7594::new(
        seeds.iter().map(|seed| PROVEN.blobs[at(seed)]).collect(),
        seeds.iter().map(|seed| PROVEN.commitments[at(seed)]).collect(),
        seeds.iter().flat_map(|seed| &PROVEN.cell_proofs[128 * at(seed)..][..128]).copied().collect(),
    )
}

/// Versioned hashes of the [`blob`]s with these seeds.
pub(crate) fn hashes(seeds: &[u8]) -> Vec<B256> {
    sidecar(seeds).versioned_hashes().collect()
}

/// A transaction with these blobs, of the first development account on chain 900, not signed.
pub(crate) fn transaction(nonce: u64, seeds: &[u8]) -> TxEip4844 {
    TxEip4844 {
        chain_id: 900,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: address!("00000000000000000000000000000000000b0b00"),
        blob_versioned_hashes: hashes(seeds),
        max_fee_per_blob_gas: 1_000_000_000,
        ..Default::default()
    }
}

/// The first development account's signature.
pub(crate) fn sign(hash: B256) -> Signature {
    let secret = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let secret = SecretKey::from_secret_bytes(secret).expect("a key");
    let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &secret);
    let (parity, rs) = signature.serialize_compact();
    Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1)
}

/// Hash and network form of a transaction with a sidecar.
pub(crate) fn network_form(tx: TxEip4844, sidecar: BlobTransactionSidecarEip7594) -> (B256, Bytes) {
    let signature = sign(tx.signature_hash());
    let signed = tx.with_sidecar(sidecar).into_signed(signature);
    (*signed.hash(), signed.encoded_2718().into())
}

/// Hash and network form of [`transaction`].
pub(crate) fn signed(nonce: u64, seeds: &[u8]) -> (B256, Bytes) {
    network_form(transaction(nonce, seeds), sidecar(seeds))
}
