//! Hashing what changed, level by level.
//!
//! The dirty nodes are gathered from the root down, one level of branches after the other, in all storage tries at
//! once; then hashed from the leaves up: storage leaves, storage branches deepest first, account leaves (which hold the
//! storage roots), account branches deepest first. No node of a batch needs another of the same batch, so that a batch
//! fills the lanes of the vector unit, and large ones the cores.

use crate::{
    encode::NodeRlp,
    keccak::{Batch, Kernel},
    node::{Node, NodeId, Nodes, Reference},
};
use alloc::{vec, vec::Vec};
use alloy_primitives::B256;

/// Items from which a batch is spread over the pool: below, waking other threads costs more than they save.
#[cfg(feature = "std")]
const PARALLEL: usize = 512;

/// Nodes whose children are loaded together.
const LOOKAHEAD: usize = 8;

/// Dirty nodes of one trie, or of many.
struct Dirty {
    /// By level, the root's first.
    branches: Vec<Vec<NodeId>>,
    leaves: Vec<NodeId>,
}

impl Nodes {
    /// Hashes the dirty nodes below `root`, which is dirty itself, and returns the root hash.
    pub(crate) fn commit(&mut self, root: NodeId, kernel: Kernel) -> B256 {
        let accounts = self.gather(vec![root]);
        let storage = accounts.leaves.iter().filter_map(|id| match id.node() {
            Node::Account(index) => Some(self.accounts.get(index).value).filter(|value| value.storage_dirty),
            _ => None,
        });
        let slots = self.gather(storage.map(|value| value.storage).collect());
        let mut batch = Batch::new(kernel);
        for dirty in [slots, accounts] {
            self.hash_nodes(&dirty.leaves, &mut batch);
            dirty.branches.iter().rev().for_each(|level| self.hash_nodes(level, &mut batch));
        }
        self.root_hash(root)
    }

    fn gather(&self, mut level: Vec<NodeId>) -> Dirty {
        let mut dirty = Dirty { branches: Vec::new(), leaves: Vec::new() };
        while !level.is_empty() {
            let (mut branches, mut next) = (Vec::new(), Vec::new());
            for id in level {
                match id.node() {
                    Node::Branch(index) => {
                        branches.push(id);
                        next.extend(self.branches.get(index).dirty_children());
                    }
                    Node::Account(_) | Node::Slot(_) => dirty.leaves.push(id),
                    // What is hidden stays as it is.
                    Node::Nil | Node::Hidden(_) => {}
                }
            }
            dirty.branches.push(branches);
            level = next;
        }
        dirty
    }

    /// Hashes nodes that need nothing of each other.
    fn hash_nodes(&mut self, ids: &[NodeId], batch: &mut Batch) {
        let mut references = self.references(ids, batch);
        // An extension names its branch, and so is hashed after it. They are rare: keys are hashes.
        let mut rlp = NodeRlp::new();
        let mut extensions = Vec::new();
        for (i, id) in ids.iter().enumerate() {
            if let Node::Branch(index) = id.node() {
                let branch = self.branches.get(index);
                let (start, depth) = (branch.start as usize, branch.depth as usize);
                if start < depth {
                    let node = rlp.extension(self.any_key(*id), start, depth, &references[i]);
                    refer(i, node, batch, &mut |i, reference| extensions.push((i, reference)));
                }
            }
        }
        batch.finish(&mut |i, hash| extensions.push((i, Reference::hash(hash))));
        extensions.into_iter().for_each(|(i, reference)| references[i] = reference);
        ids.iter().zip(references).for_each(|(id, reference)| self.set_reference(*id, reference));
    }

    /// References to leaves, and to branches without the extensions above them.
    fn references(&self, ids: &[NodeId], batch: &mut Batch) -> Vec<Reference> {
        let mut references = vec![Reference::default(); ids.len()];
        let hash = |ids: &[NodeId], references: &mut [Reference], batch: &mut Batch| {
            let mut rlp = NodeRlp::new();
            let mut i = 0;
            for ids in ids.chunks(LOOKAHEAD) {
                let mut payloads = [0; LOOKAHEAD];
                ids.iter().zip(&mut payloads).for_each(|(id, payload)| *payload = self.payload(*id));
                for (id, payload) in ids.iter().zip(payloads) {
                    let node = rlp.node_of(self, *id, payload);
                    refer(i, node, batch, &mut |i, reference| references[i] = reference);
                    i += 1;
                }
            }
            batch.finish(&mut |i, hash| references[i] = Reference::hash(hash));
        };
        #[cfg(feature = "std")]
        if ids.len() >= PARALLEL {
            use rayon::prelude::*;
            let share = share(ids.len());
            let kernel = batch.kernel();
            let tasks = ids.par_chunks(share).zip(references.par_chunks_mut(share));
            tasks.for_each(|(ids, references)| hash(ids, references, &mut Batch::new(kernel)));
            return references;
        }
        hash(ids, &mut references, batch);
        references
    }
}

/// Hands the reference to a node to `sink`: at once where the node is short, else when its batch is hashed.
fn refer(i: usize, rlp: &[u8], batch: &mut Batch, sink: &mut impl FnMut(usize, Reference)) {
    match Reference::embed(rlp) {
        Some(reference) => sink(i, reference),
        None => batch.push(i, rlp, &mut |i, hash| sink(i, Reference::hash(hash))),
    }
}

/// The Keccak-256 of each item.
pub(crate) fn hash_keys<const N: usize>(kernel: Kernel, items: &[[u8; N]]) -> Vec<B256> {
    let mut keys = vec![B256::ZERO; items.len()];
    let hash = |items: &[[u8; N]], keys: &mut [B256]| {
        let mut batch = Batch::new(kernel);
        items.iter().enumerate().for_each(|(i, item)| batch.push(i, item, &mut |i, hash| keys[i] = hash));
        batch.finish(&mut |i, hash| keys[i] = hash);
    };
    #[cfg(feature = "std")]
    if items.len() >= PARALLEL {
        use rayon::prelude::*;
        let share = share(items.len());
        items.par_chunks(share).zip(keys.par_chunks_mut(share)).for_each(|(items, keys)| hash(items, keys));
        return keys;
    }
    hash(items, &mut keys);
    keys
}

/// Items a task, for about four tasks a thread.
#[cfg(feature = "std")]
fn share(items: usize) -> usize {
    (items / (4 * rayon::current_num_threads())).max(PARALLEL / 4).next_multiple_of(8)
}
