//! Proofs that test verifiers believe, for chains under development: of the right statement, by nobody.
//!
//! All but the proof itself is as `Rollup.prove` wants it of any prover: outputs from this node's own blocks, openings of the real blobs.

use crate::{
    blobs::BlobOpening,
    contracts::{ProofSystem, Rollup, test_proof},
    watcher::Batch,
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use jove_primitives::batch::{
    BatchHeader,
    hash::{output_hash, statement},
};

/// State root and outbox root after a batch's last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Of the state.
    pub state: B256,
    /// Of the messages to L1.
    pub outbox: B256,
}

/// The output of a valid batch.
pub fn output(batch: &Batch, roots: Roots) -> B256 {
    output_hash(batch.hash, batch.header.last_block_hash, roots.state, roots.outbox)
}

/// The call of `Rollup` that proves `batch`, after the output `start`, by a system; `openings` are those of its blobs. It pays `payout`.
pub fn prove(
    system: ProofSystem,
    batch: &Batch,
    start: B256,
    roots: Roots,
    openings: &[BlobOpening],
    payout: Address,
) -> Bytes {
    let BatchHeader { chain_id, rollup, .. } = batch.header;
    let opened: Vec<_> = openings.iter().map(|opening| opening.opening).collect();
    let statement = statement(chain_id, rollup, start, payout, &[output(batch, roots)], &opened);
    let proof = match system {
        ProofSystem::Tee => {
            let key = Address::from_word(keccak256("jove.test.enclave.key"));
            test_proof(statement, key, keccak256("jove.test.enclave.machine"), 0)
        }
        ProofSystem::Zk => test_proof(statement, Address::ZERO, B256::ZERO, 0),
    };
    let openings = openings.iter().map(|opening| Rollup::Opening {
        contentsHash: opening.opening.contents_hash,
        y: opening.opening.y,
        commitment: Bytes::copy_from_slice(opening.commitment.as_slice()),
        proof: Bytes::copy_from_slice(opening.proof.as_slice()),
    });
    let claim = Rollup::Claim {
        batch: batch.header.into(),
        blobs: batch.blobs.clone(),
        openings: openings.collect(),
        invalid: false,
        stateRoot: roots.state,
        outboxRoot: roots.outbox,
    };
    let proof = Rollup::Proof { system: system as u8, start, payout, claims: vec![claim], proof };
    Rollup::proveCall { proof }.abi_encode().into()
}
