//! Proofs that test verifiers believe, for chains under development: of the right statement, by nobody.
//!
//! All but the proof itself is as `Rollup.prove` wants it of any prover: outputs from this node's own blocks, openings of the real blobs.

use crate::{
    blobs::BlobOpening,
    contracts::{ProofSystem, Rollup, test_proof},
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
pub use jove_primitives::batch::hash::Roots;
use jove_primitives::batch::{
    BatchHeader,
    hash::{invalid_output_hash, output_hash, statement},
};

/// A batch, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// What its hash covers besides its blobs.
    pub header: &'a BatchHeader,
    /// Versioned hashes of its blobs.
    pub blobs: &'a [B256],
    /// Openings of these blobs.
    pub openings: &'a [BlobOpening],
    /// The roots after it; none if it is invalid.
    pub roots: Option<Roots>,
}

impl Judged<'_> {
    /// Its output, after the output `start`.
    pub fn output(&self, start: B256) -> B256 {
        let hash = self.header.hash(self.blobs);
        match self.roots {
            Some(roots) => output_hash(hash, self.header.last_block_hash, roots.state, roots.outbox),
            None => invalid_output_hash(hash, start),
        }
    }

    /// The statement of a proof of it after the output `start`, which pays `payout`.
    pub fn statement(&self, start: B256, payout: Address) -> B256 {
        let BatchHeader { chain_id, rollup, .. } = *self.header;
        let opened: Vec<_> = self.openings.iter().map(|opening| opening.opening).collect();
        statement(chain_id, rollup, start, payout, &[self.output(start)], &opened)
    }
}

/// A system's proof of one batch after the output `start`, which pays `payout`, for its test verifier.
pub fn prove(system: ProofSystem, start: B256, batch: Judged<'_>, payout: Address) -> Rollup::Proof {
    let statement = batch.statement(start, payout);
    let proof = match system {
        ProofSystem::Tee => {
            let key = Address::from_word(keccak256("jove.test.enclave.key"));
            test_proof(statement, key, keccak256("jove.test.enclave.machine"), 0)
        }
        ProofSystem::Zk => test_proof(statement, Address::ZERO, B256::ZERO, 0),
    };
    with_proof(system, start, batch, payout, proof)
}

/// What `Rollup.prove` takes: what [`prove`] gives, with a proof for another verifier.
pub fn with_proof(system: ProofSystem, start: B256, batch: Judged<'_>, payout: Address, proof: Bytes) -> Rollup::Proof {
    let openings = batch.openings.iter().map(|opening| Rollup::Opening {
        contentsHash: opening.opening.contents_hash,
        y: opening.opening.y,
        commitment: Bytes::copy_from_slice(opening.commitment.as_slice()),
        proof: Bytes::copy_from_slice(opening.proof.as_slice()),
    });
    let roots = batch.roots.unwrap_or(Roots { state: B256::ZERO, outbox: B256::ZERO });
    let claim = Rollup::Claim {
        batch: (*batch.header).into(),
        blobs: batch.blobs.to_vec(),
        openings: openings.collect(),
        invalid: batch.roots.is_none(),
        stateRoot: roots.state,
        outboxRoot: roots.outbox,
    };
    Rollup::Proof { system: system as u8, start, payout, claims: vec![claim], proof }
}
