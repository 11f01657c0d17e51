//! Reading, inserting and removing. What an edit touches is marked dirty, from the leaf up to the root's child; the
//! caller marks the root.
//!
//! A read needs no paths: it follows the nibbles that the branches ask for, and the leaf it meets has the key or no leaf
//! has. An insert compares paths where an extension is, and puts a branch where they part. A remove that leaves a branch
//! with one child puts the child in the branch's place: begun further up, the child takes the branch's nibbles, and the
//! nibble that chose it, into its own path.

use crate::node::{Branch, KEY_NIBBLES, Kind, Miss, Node, NodeId, Nodes, fork, nibble};
use alloc::{vec, vec::Vec};
use alloy_primitives::{B256, U256};

/// Where a node hangs: a branch and the nibble in it.
type Link = Option<(u32, usize)>;

impl Nodes {
    /// The leaf of `key`, or nil; where it would be in a hidden subtree, that.
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
                Node::Nil | Node::Hidden(_) => return id,
                Node::Account(index) => &self.accounts.get(index).key,
                Node::Slot(index) => &self.slots.get(index).key,
            };
            return if found == key { id } else { NodeId::NIL };
        }
    }

    /// The leaf of `key`, made where there is none (with an empty value), its path marked dirty.
    pub(crate) fn entry(&mut self, root: &mut NodeId, key: &B256, kind: Kind) -> Result<NodeId, Miss> {
        let mut link: Link = None;
        let mut id = *root;
        let mut start = 0;
        loop {
            let parting = match id.node() {
                Node::Nil => {
                    let leaf = self.new_leaf(kind, *key, start);
                    self.hang(root, link, leaf);
                    return Ok(leaf);
                }
                Node::Hidden(index) => return Err(Miss(index)),
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
                        return Ok(id);
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
            return Ok(leaf);
        }
    }

    /// Removes the leaf of `key` and marks its path dirty; touches nothing where there is none. An account's storage
    /// must have been dropped.
    pub(crate) fn remove(&mut self, root: &mut NodeId, key: &B256) -> Result<(), Miss> {
        let leaf = match self.find(*root, key) {
            id if id.is_nil() => return Ok(()),
            id => id,
        };
        if let Node::Hidden(index) = leaf.node() {
            return Err(Miss(index));
        }
        self.check_sibling(*root, key)?;
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
            return Ok(());
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
        Ok(())
    }

    /// The leaf of `key` can only be removed if what would take the place of its branch is known.
    fn check_sibling(&self, root: NodeId, key: &B256) -> Result<(), Miss> {
        match self.sibling(root, key).node() {
            Node::Hidden(index) => Err(Miss(index)),
            _ => Ok(()),
        }
    }

    /// What a removal of `key`'s leaf would put in the place of the branch above it: nil if there is no such branch, or others remain in it.
    pub(crate) fn sibling(&self, root: NodeId, key: &B256) -> NodeId {
        let (mut id, mut last) = (root, None);
        while let Node::Branch(index) = id.node() {
            let branch = self.branches.get(index);
            let nibble = nibble(key, branch.depth as usize);
            id = branch.children[nibble];
            last = Some((branch, nibble));
        }
        let Some((branch, nibble)) = last else { return NodeId::NIL };
        let mut others = branch.children.iter().enumerate().filter(|(i, child)| *i != nibble && !child.is_nil());
        match (others.next(), others.next()) {
            (Some((_, only)), None) => *only,
            _ => NodeId::NIL,
        }
    }

    /// Sets a slot in the storage trie below `root`; zero removes it.
    pub(crate) fn set_slot(&mut self, root: &mut NodeId, key: &B256, value: U256) -> Result<(), Miss> {
        if value.is_zero() {
            self.remove(root, key)?;
        } else if let Node::Slot(index) = self.entry(root, key, Kind::Slot)?.node() {
            self.slots.get_mut(index).value = value;
        }
        Ok(())
    }

    /// Drops a whole trie and, below accounts, their storage.
    pub(crate) fn drop_trie(&mut self, root: &mut NodeId) {
        let mut stack: Vec<NodeId> = vec![core::mem::replace(root, NodeId::NIL)];
        while let Some(id) = stack.pop() {
            match id.node() {
                Node::Branch(index) => stack.extend(self.branches.get(index).children.iter().filter(|c| !c.is_nil())),
                Node::Account(index) => stack.push(self.accounts.get(index).value.storage),
                Node::Slot(_) | Node::Hidden(_) | Node::Nil => {}
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
