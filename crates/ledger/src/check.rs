//! What a client does with proofs: functions without a store.

use crate::{Checkpoint, Entry, Error, VerifyingKey};
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use tlog_tiles::{EMPTY_HASH, Hash, check_record, check_tree, record_hash};

/// The most hashes in a proof: two for each level of the largest tree.
pub const MAX_PROOF: usize = 128;
/// The longest [`ProofFile`] that is read, in bytes.
pub const MAX_PROOF_FILE: usize = 64 * 1024;

fn hashes(proof: &[B256]) -> Result<Vec<Hash>, Error> {
    if proof.len() > MAX_PROOF {
        return Err(Error::Proof("it is too long"));
    }
    Ok(proof.iter().map(|hash| Hash(hash.0)).collect())
}

/// Checks that a leaf is at `index` in the tree of this size and root.
///
/// # Errors
/// [`Error::Proof`].
pub fn check_inclusion(root: &B256, size: u64, index: u64, leaf: &[u8], proof: &[B256]) -> Result<(), Error> {
    check_record(&hashes(proof)?, size, Hash(root.0), index, record_hash(leaf))
        .map_err(|_| Error::Proof("the leaf is not in the tree"))
}

/// Checks that the tree of `old_size` leaves and root `old_root` is the beginning of that of `size` and `root`. The empty tree is the beginning of all.
///
/// # Errors
/// [`Error::Proof`].
pub fn check_consistency(old_root: &B256, old_size: u64, root: &B256, size: u64, proof: &[B256]) -> Result<(), Error> {
    const NO: Error = Error::Proof("the older tree is not the beginning of the newer");
    if old_size == 0 {
        return if *old_root == EMPTY_HASH.0 && proof.is_empty() { Ok(()) } else { Err(NO) };
    }
    check_tree(&hashes(proof)?, size, Hash(root.0), old_size, Hash(old_root.0)).map_err(|_| NO)
}

/// A block's place in the ledger, in JSON; what `jove_getInclusionProof` answers, and what is checked offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProofFile {
    /// The signed note that the proof is against.
    pub checkpoint: String,
    /// The leaf's number, from 0.
    pub index: u64,
    /// The leaf.
    pub entry: Entry,
    /// The proof of inclusion.
    pub proof: Vec<B256>,
    /// That nothing was changed since an older checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Older>,
}

/// An older checkpoint, and the proof that its tree is the beginning of the newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Older {
    /// The signed note.
    pub checkpoint: String,
    /// The proof of consistency.
    pub proof: Vec<B256>,
}

impl ProofFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Proof`] if it is too long or malformed.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_PROOF_FILE {
            return Err(Error::Proof("the file is too long"));
        }
        serde_json::from_slice(json).map_err(|_| Error::Proof("the file is malformed"))
    }

    /// Checks signatures and proofs. The key must come from somewhere else than the file. Returns the checkpoint that was signed.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] or [`Error::Proof`].
    pub fn verify(&self, key: &VerifyingKey) -> Result<Checkpoint, Error> {
        let checkpoint = key.open(&self.checkpoint)?;
        check_inclusion(&checkpoint.root, checkpoint.size, self.index, &self.entry.encode(), &self.proof)?;
        if let Some(older) = &self.older {
            let old = key.open(&older.checkpoint)?;
            check_consistency(&old.root, old.size, &checkpoint.root, checkpoint.size, &older.proof)?;
        }
        Ok(checkpoint)
    }
}
