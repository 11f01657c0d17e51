//! Reading, inserting and removing. What an edit touches is marked dirty, from the leaf up to the root's child; the
//! caller marks the root.
//!
//! A read needs no paths: it follows the nibbles that the branches ask for, and the leaf it meets has the key or no leaf
//! has. An insert compares paths where an extension is, and puts a branch where they part. A remove that leaves a branch
//! with one child puts the child in the branch's place: begun further up, the child takes the branch's nibbles, and the
//! nibble that chose it, into its own path.

use crate::node::{Branch, KEY_NIBBLES, Kind, Node, NodeId, Nodes, fork, nibble};
use alloc::{vec, vec::Vec};
use alloy_primitives::{B256, U256};

/// Where a node hangs: a branch and the nibble in it.
type Link = Option<(u32, usize)>;

impl Nodes {
    /// The leaf of `key`, or nil.
    #[inline]
    pub(crate) fn find(&self, root: NodeId, key: &B256) -> NodeId {
        let mut id = root;
        loop {
            let found = match id.node() {
                Node::Branch(index) => {
                    let branch = self.branches.get(index);
                    id = branch.children[nibble(key, branch.depth as usize)];
                    continue;
                }
                Node::Nil => return NodeId::NIL,
                Node::Account(index) => &self.accounts.get(index).key,
                Node::Slot(index) => &self.slots.get(index).key,
            };
            return if found == key { id } else { NodeId::NIL };
        }
    }

    /// The leaf of `key`, made where there is none (with an empty value), its path marked dirty.
    pub(crate) fn entry(&mut self, root: &mut NodeId, key: &B256, kind: Kind) -> NodeId {
        let mut link: Link = None;
        let mut id = *root;
        let mut start = 0;
        loop {
            let parting = match id.node() {
                Node::Nil => {
                    let leaf = self.new_leaf(kind, *key, start);
                    self.hang(root, link, leaf);
                    return leaf;
                }
                Node::Branch(index) => {
                    let branch = self.branches.get(index);
                    let depth = branch.depth as usize;
                    let parting = if start == depth { depth } else { fork(self.any_key(id), key, start, depth) };
                    if parting == depth {
                        let nibble = nibble(key, depth);
                        let branch = self.branches.get_mut(index);
                        branch.dirty |= 1 << nibble;
                        id = branch.children[nibble];
                        link = Some((index, nibble));
                        start = depth + 1;
                        continue;
                    }
                    parting
                }
                Node::Account(_) | Node::Slot(_) => {
                    let other = self.any_key(id);
                    if other == key {
                        return id;
                    }
                    fork(other, key, start, KEY_NIBBLES)
                }
            };
            let (old, new) = (nibble(self.any_key(id), parting), nibble(key, parting));
            self.set_start(id, parting + 1);
            let leaf = self.new_leaf(kind, *key, parting + 1);
            let mut branch = Branch { start: start as u8, depth: parting as u8, ..Branch::default() };
            branch.children[old] = id;
            branch.children[new] = leaf;
            branch.dirty = 1 << old | 1 << new;
            let branch = self.new_branch(branch);
            self.hang(root, link, branch);
            return leaf;
        }
    }

    /// Removes the leaf of `key` and marks its path dirty; touches nothing where there is none. An account's storage
    /// must have been dropped.
    pub(crate) fn remove(&mut self, root: &mut NodeId, key: &B256) {
        let leaf = self.find(*root, key);
        if leaf.is_nil() {
            return;
        }
        self.free(leaf);
        let (mut above, mut link): (Link, Link) = (None, None);
        let mut id = *root;
        while let Node::Branch(index) = id.node() {
            let branch = self.branches.get_mut(index);
            let nibble = nibble(key, branch.depth as usize);
            branch.dirty |= 1 << nibble;
            id = branch.children[nibble];
            (above, link) = (link, Some((index, nibble)));
        }
        let Some((index, nibble)) = link else {
            *root = NodeId::NIL;
            return;
        };
        let branch = self.branches.get_mut(index);
        branch.children[nibble] = NodeId::NIL;
        branch.dirty &= !(1 << nibble);
        let start = branch.start as usize;
        if let Some(child) = branch.only_child() {
            self.branches.remove(index);
            self.set_start(child, start);
            self.hang(root, above, child);
        }
    }

    /// Sets a slot in the storage trie below `root`; zero removes it.
    pub(crate) fn set_slot(&mut self, root: &mut NodeId, key: &B256, value: U256) {
        if value.is_zero() {
            self.remove(root, key);
        } else if let Node::Slot(index) = self.entry(root, key, Kind::Slot).node() {
            self.slots.get_mut(index).value = value;
        }
    }

    /// Drops a whole trie and, below accounts, their storage.
    pub(crate) fn drop_trie(&mut self, root: &mut NodeId) {
        let mut stack: Vec<NodeId> = vec![core::mem::replace(root, NodeId::NIL)];
        while let Some(id) = stack.pop() {
            match id.node() {
                Node::Branch(index) => stack.extend(self.branches.get(index).children.iter().filter(|c| !c.is_nil())),
                Node::Account(index) => stack.push(self.accounts.get(index).value.storage),
                Node::Slot(_) | Node::Nil => {}
            }
            self.free(id);
        }
    }

    fn hang(&mut self, root: &mut NodeId, link: Link, id: NodeId) {
        match link {
            None => *root = id,
            Some((index, nibble)) => self.branches.get_mut(index).children[nibble] = id,
        }
    }
}
