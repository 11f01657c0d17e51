//! The Merkle-Patricia state trie: in memory, incremental, hashed level by level.
//!
//! [`StateTrie`] is the whole Ethereum state: the account trie and every account's storage trie. Its root is the one that
//! the Yellow Paper (appendix D) gives the same state: keys are Keccak-256 of the address or of the slot (32 bytes,
//! big-endian), values the RLP of the account or of the number, nodes shorter than 32 bytes stand in their parent as
//! they are.
//!
//! ```text
//!        root                one arena of nodes, named by 4-byte ids
//!         │
//!      ┌ branch ┐            branch: 16 children, and the extension above it, folded in
//!      │        │
//!   branch   account ───┐    account leaf: key, account, root of its storage trie
//!    │   │              │
//!  account account    branch
//!                      │   │
//!                    slot slot    slot leaf: key, value
//! ```
//!
//! **Change** ([`StateTrie::apply`]). The keys of a change set are hashed in batches. Each change then walks down and
//! marks, in each branch, which child it went to. What is marked is gathered from the top, and hashed from the bottom:
//! storage tries first, since account leaves hold their roots, all tries' nodes of one level together, eight at a time
//! with AVX-512, four with AVX2, and on all cores where the batch is large. Every node remembers its hash, so that a
//! branch is encoded from its children's.
//!
//! **Snapshot** (`clone`). Nodes live in chunks of 32 that are shared between clones and copied by the first write
//! after. A clone costs a reference count a chunk: about three milliseconds for a million accounts. It is how proofs of
//! old states are made: clone, apply reversed change sets to the clone, prove.
//!
//! **Read** ([`StateTrie::account`], [`StateTrie::slot`]). One hash and a walk of about log₁₆ of the number of accounts
//! steps, without allocation.
//!
//! **Part of it** ([`PartialTrie`]). [`StateTrie::witness`] writes down the nodes that some reads and changes need, and
//! the hashes of what lies beside them; whoever has the root can check that, and read and change no more than it.
//!
//! **Memory**. 152 bytes an account, 104 a slot, and about a third as many branches as leaves, of 104: removed nodes'
//! places are reused ([`StateTrie::memory`]).
//!
//! Without the feature `std` the crate needs only `alloc`: hashing is scalar and on one core.
#![cfg_attr(not(any(test, feature = "std")), no_std)]

extern crate alloc;

mod arena;
mod commit;
mod edit;
mod encode;
mod keccak;
mod node;
mod partial;
mod proof;
#[cfg(test)]
mod tests;

pub use keccak::Kernel;
pub use partial::{Missing, PartialTrie, Reads, WitnessError};
pub use proof::{AccountProof, ProofError, SlotProof};

use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use core::{borrow::Borrow, fmt};
use jove_primitives::{Account, AccountChange, ChangeSet};
use node::{AccountValue, Kind, Miss, Node, NodeId, Nodes};

/// The whole state. `clone` is a cheap snapshot (chunks of nodes are shared and copied on write).
#[derive(Clone)]
pub struct StateTrie {
    nodes: Nodes,
    root: NodeId,
    root_hash: B256,
    kernel: Kernel,
}

/// The empty state.
impl Default for StateTrie {
    fn default() -> Self {
        Self::with_kernel(Kernel::default())
    }
}

impl fmt::Debug for StateTrie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateTrie")
            .field("root", &self.root_hash)
            .field("accounts", &self.len())
            .field("slots", &self.slots())
            .finish_non_exhaustive()
    }
}

impl StateTrie {
    /// The empty state, hashed by a kernel other than the fastest.
    pub fn with_kernel(kernel: Kernel) -> Self {
        Self { nodes: Nodes::default(), root: NodeId::NIL, root_hash: EMPTY_ROOT_HASH, kernel }
    }

    /// Applies a block's changes and returns the new root.
    ///
    /// Only what `changes` says comes after counts: an account that is `None` is removed with all its storage, any other
    /// is set, an empty one too (whether such an account exists is the caller's decision); `wiped` drops the storage
    /// before the slots are set; a slot set to zero is removed.
    ///
    /// # Panics
    ///
    /// Where the state would exceed 2³⁰ accounts, slots or branches (100 GB of memory each).
    pub fn apply(&mut self, changes: &ChangeSet) -> B256 {
        self.apply_all([changes])
    }

    /// Applies change sets one after the other and returns the root after the last. Cheaper than one by one: nothing is
    /// hashed twice.
    ///
    /// # Panics
    ///
    /// As [`Self::apply`].
    pub fn apply_all(&mut self, changes: impl IntoIterator<Item = impl Borrow<ChangeSet>>) -> B256 {
        let mut changed = false;
        for changes in changes {
            changed |= !changes.borrow().is_empty();
            self.edit(changes.borrow()).unwrap_or_else(|_| unreachable!("nothing of the whole state is hidden"));
        }
        if changed {
            self.root_hash = self.nodes.commit(self.root, self.kernel);
        }
        self.root_hash
    }

    /// Changes the nodes, and leaves those on the way dirty.
    fn edit(&mut self, changes: &ChangeSet) -> Result<(), Miss> {
        let addresses: Vec<[u8; 20]> = changes.accounts.keys().map(|address| address.into_array()).collect();
        let slots = changes.accounts.values().flat_map(|change| change.storage.keys());
        let slots: Vec<[u8; 32]> = slots.map(|slot| slot.to_be_bytes()).collect();
        let (addresses, slots) = (commit::hash_keys(self.kernel, &addresses), commit::hash_keys(self.kernel, &slots));
        let mut edits = Vec::with_capacity(addresses.len());
        let mut first = 0;
        for (key, change) in addresses.into_iter().zip(changes.accounts.values()) {
            let end = first + change.storage.len();
            edits.push((key, change, first..end));
            first = end;
        }
        // In the trie's order, keys that follow each other share their way, and nodes made together lie together.
        edits.sort_unstable_by_key(|(key, ..)| *key);
        for (key, change, range) in edits {
            self.edit_account(&key, change, &slots[range])?;
        }
        Ok(())
    }

    /// `slots` are the hashed keys of the changed slots.
    fn edit_account(&mut self, key: &B256, change: &AccountChange, slots: &[B256]) -> Result<(), Miss> {
        let Some(account) = change.account.after else {
            let mut storage = self.value(self.nodes.find(self.root, key)).map_or(NodeId::NIL, |value| value.storage);
            self.nodes.remove(&mut self.root, key)?;
            self.nodes.drop_trie(&mut storage);
            return Ok(());
        };
        let leaf = self.nodes.entry(&mut self.root, key, Kind::Account)?;
        let Some(mut storage) = self.value(leaf).map(|value| value.storage) else {
            return Ok(());
        };
        if change.wiped {
            self.nodes.drop_trie(&mut storage);
        }
        let mut slots: Vec<_> = slots.iter().zip(change.storage.values()).collect();
        slots.sort_unstable_by_key(|(key, _)| *key);
        let mut edited = Ok(());
        for (key, value) in slots {
            edited = self.nodes.set_slot(&mut storage, key, value.after);
            if edited.is_err() {
                break;
            }
        }
        if let Node::Account(index) = leaf.node() {
            let value = &mut self.nodes.accounts.get_mut(index).value;
            let storage_dirty = value.storage_dirty | change.wiped | !change.storage.is_empty();
            *value = AccountValue { account, storage, storage_dirty };
        }
        edited
    }

    fn value(&self, leaf: NodeId) -> Option<&AccountValue> {
        match leaf.node() {
            Node::Account(index) => Some(&self.nodes.accounts.get(index).value),
            _ => None,
        }
    }

    fn slot_value(&self, storage: NodeId, key: &B256) -> U256 {
        match self.nodes.find(storage, key).node() {
            Node::Slot(index) => self.nodes.slots.get(index).value,
            _ => U256::ZERO,
        }
    }

    /// The state root.
    pub fn root(&self) -> B256 {
        self.root_hash
    }

    /// The account, or `None` where it does not exist.
    pub fn account(&self, address: Address) -> Option<Account> {
        self.value(self.nodes.find(self.root, &keccak256(address))).map(|value| value.account)
    }

    /// The value of an account's slot; zero when absent.
    pub fn slot(&self, address: Address, slot: U256) -> U256 {
        match self.value(self.nodes.find(self.root, &keccak256(address))) {
            Some(value) if !value.storage.is_nil() => {
                self.slot_value(value.storage, &keccak256(slot.to_be_bytes::<32>()))
            }
            _ => U256::ZERO,
        }
    }

    /// Accounts in the state.
    pub fn len(&self) -> usize {
        self.nodes.accounts.len()
    }

    /// Whether there is no account.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots in the state, of all accounts.
    pub fn slots(&self) -> usize {
        self.nodes.slots.len()
    }

    /// Bytes of memory held, those shared with snapshots included.
    pub fn memory(&self) -> usize {
        self.nodes.branches.memory() + self.nodes.accounts.memory() + self.nodes.slots.memory()
    }
}
