//! Proofs of accounts and slots, as `eth_getProof` gives them (EIP-1186), of presence and of absence.
//!
//! A proof is the RLP of the nodes on the way from the root to the key, as far as they go: to the key's leaf, or to the
//! node that shows its absence (a branch with no child there, another key's leaf, an extension that leads elsewhere).
//! Nodes that are embedded in their parent are not listed again. The proof of an empty trie is empty.

use crate::{
    StateTrie,
    encode::NodeRlp,
    node::{Node, NodeId, Nodes, Reference, fork, nibble},
};
use alloc::{boxed::Box, vec::Vec};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieAccount,
    proof::{ProofVerificationError, verify_proof},
};
use jove_primitives::Account;

/// Proof of an account and some of its slots, as `eth_getProof` gives it (EIP-1186).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account; `None` where it does not exist.
    pub account: Option<Account>,
    /// Root of its storage trie; that of the empty trie where it has none or does not exist.
    pub storage_root: B256,
    /// RLP nodes from the state root down.
    pub proof: Vec<Bytes>,
    /// The slots asked for, in the order of the question.
    pub slots: Vec<SlotProof>,
}

/// Proof of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The slot.
    pub slot: U256,
    /// Its value; zero when absent.
    pub value: U256,
    /// RLP nodes from the storage root down.
    pub proof: Vec<Bytes>,
}

/// Why a proof does not hold. The caller must not believe anything that it says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The nodes do not lead from the state root to the claimed account, or to its absence.
    #[error("the account's proof does not hold: {0}")]
    Account(Box<ProofVerificationError>),
    /// The account is claimed absent, and yet with storage.
    #[error("an absent account cannot have the storage root {0}")]
    StorageRoot(B256),
    /// The nodes do not lead from the storage root to the claimed value, or to its absence.
    #[error("the proof of slot {slot} does not hold: {error}")]
    Slot {
        /// The first slot whose proof does not hold.
        slot: U256,
        /// What is wrong with it.
        error: Box<ProofVerificationError>,
    },
}

impl AccountProof {
    /// Checks every claim against a state root that the caller trusts.
    pub fn verify(&self, root: B256, address: Address) -> Result<(), ProofError> {
        if self.account.is_none() && self.storage_root != EMPTY_ROOT_HASH {
            return Err(ProofError::StorageRoot(self.storage_root));
        }
        let account = self.account.map(|Account { nonce, balance, code_hash }| {
            alloy_rlp::encode(TrieAccount { nonce, balance, code_hash, storage_root: self.storage_root })
        });
        let key = Nibbles::unpack(keccak256(address));
        verify_proof(root, key, account, &self.proof).map_err(|error| ProofError::Account(error.into()))?;
        for SlotProof { slot, value, proof } in &self.slots {
            let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
            let value = (!value.is_zero()).then(|| alloy_rlp::encode(value));
            verify_proof(self.storage_root, key, value, proof)
                .map_err(|error| ProofError::Slot { slot: *slot, error: error.into() })?;
        }
        Ok(())
    }
}

impl StateTrie {
    /// Proves an account and some of its slots, present or absent.
    pub fn prove(&self, address: Address, slots: &[U256]) -> AccountProof {
        let key = keccak256(address);
        let value = self.value(self.nodes.find(self.root, &key));
        let storage = value.map_or(NodeId::NIL, |value| value.storage);
        let slots = slots.iter().map(|slot| {
            let key = keccak256(slot.to_be_bytes::<32>());
            SlotProof { slot: *slot, value: self.slot_value(storage, &key), proof: self.nodes.prove(storage, &key) }
        });
        AccountProof {
            account: value.map(|value| value.account),
            storage_root: self.nodes.root_hash(storage),
            slots: slots.collect(),
            proof: self.nodes.prove(self.root, &key),
        }
    }
}

impl Nodes {
    /// The nodes from a root towards a key. All must have been hashed.
    pub(crate) fn prove(&self, root: NodeId, key: &B256) -> Vec<Bytes> {
        let mut proof = Vec::new();
        let mut list = |rlp: &[u8]| {
            if proof.is_empty() || rlp.len() >= 32 {
                proof.push(Bytes::copy_from_slice(rlp));
            }
        };
        let mut rlp = NodeRlp::new();
        let mut id = root;
        while !id.is_nil() {
            let node = rlp.node(self, id);
            let Node::Branch(index) = id.node() else {
                list(node);
                break;
            };
            let branch = self.branches.get(index);
            let (start, depth) = (branch.start as usize, branch.depth as usize);
            if start < depth {
                let reference = Reference::embed(node).unwrap_or_else(|| Reference::hash(keccak256(node)));
                let path = self.any_key(id);
                list(rlp.extension(path, start, depth, &reference));
                if fork(path, key, start, depth) < depth {
                    break;
                }
            }
            list(rlp.node(self, id));
            id = branch.children[nibble(key, depth)];
        }
        proof
    }
}
