//! Nodes and how they are laid out: 4-byte ids, two kinds of leaves, branches that carry the extension above them.

use crate::arena::Slab;
use alloy_primitives::{B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use jove_primitives::Account;

/// Nibbles in a key.
pub(crate) const KEY_NIBBLES: usize = 64;

/// Names a node: two bits of kind, thirty of index into the kind's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

/// A [`NodeId`] taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing: an absent child, an empty trie.
    Nil,
    Branch(u32),
    Account(u32),
    Slot(u32),
    /// A subtree of which only the hash is known ([`crate::PartialTrie`]).
    Hidden(u32),
}

impl NodeId {
    pub(crate) const NIL: Self = Self(u32::MAX);
    const INDEX_BITS: u32 = 30;
    /// Nodes of one kind, at most.
    pub(crate) const LIMIT: u32 = 1 << Self::INDEX_BITS;

    #[inline]
    pub(crate) fn new(node: Node) -> Self {
        match node {
            Node::Nil => Self::NIL,
            Node::Branch(index) => Self(index),
            Node::Account(index) => Self(1 << Self::INDEX_BITS | index),
            Node::Slot(index) => Self(2 << Self::INDEX_BITS | index),
            Node::Hidden(index) => Self(3 << Self::INDEX_BITS | index),
        }
    }

    #[inline]
    pub(crate) fn node(self) -> Node {
        let index = self.0 & (Self::LIMIT - 1);
        match self.0 >> Self::INDEX_BITS {
            0 => Node::Branch(index),
            1 => Node::Account(index),
            2 => Node::Slot(index),
            _ if self == Self::NIL => Node::Nil,
            _ => Node::Hidden(index),
        }
    }

    /// The id as a number, for sets of nodes.
    pub(crate) fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn is_nil(self) -> bool {
        self == Self::NIL
    }
}

/// How a parent names a child: the Keccak-256 of the child's RLP, or that RLP itself where it is shorter than a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    bytes: [u8; 32],
    /// 32 for a hash, less for RLP, 0 for a node not hashed yet.
    len: u8,
}

impl Reference {
    pub(crate) fn hash(hash: B256) -> Self {
        Self { bytes: hash.0, len: 32 }
    }

    /// The reference to a node whose RLP is shorter than 32 bytes; `None` for a longer one, which must be hashed.
    pub(crate) fn embed(rlp: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        (rlp.len() < 32).then(|| {
            bytes[..rlp.len()].copy_from_slice(rlp);
            Self { bytes, len: rlp.len() as u8 }
        })
    }

    #[inline]
    pub(crate) fn is_hash(&self) -> bool {
        self.len == 32
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The node's RLP where it is embedded.
    #[inline]
    pub(crate) fn embedded(&self) -> &[u8] {
        &self.bytes[..self.len as usize & 31]
    }

    /// Bytes that the reference takes in the parent.
    #[inline]
    pub(crate) fn rlp_len(&self) -> usize {
        self.len as usize + self.is_hash() as usize
    }

    /// The hash of the node as the root of a trie: roots are hashed whatever their size.
    pub(crate) fn root(&self) -> B256 {
        if self.is_hash() { B256::new(self.bytes) } else { keccak256(self.embedded()) }
    }
}

/// A branch, and the extension above it where the paths below share nibbles. No path is stored: every key below has it.
#[derive(Clone, Copy)]
pub(crate) struct Branch {
    pub(crate) children: [NodeId; 16],
    /// Of the extension, where there is one, else of the branch.
    pub(crate) reference: Reference,
    /// Children that changed since they were last hashed.
    pub(crate) dirty: u16,
    /// The nibble of the key where this node begins; `start < depth` means an extension over `start..depth`.
    pub(crate) start: u8,
    /// The nibble of the key that chooses the child.
    pub(crate) depth: u8,
}

impl Default for Branch {
    fn default() -> Self {
        Self { children: [NodeId::NIL; 16], reference: Reference::default(), dirty: 0, start: 0, depth: 0 }
    }
}

impl Branch {
    /// The one child of a branch that has lost all others.
    pub(crate) fn only_child(&self) -> Option<NodeId> {
        let mut children = self.children.iter().filter(|child| !child.is_nil());
        match (children.next(), children.next()) {
            (Some(only), None) => Some(*only),
            _ => None,
        }
    }

    /// The children that changed since they were last hashed.
    pub(crate) fn dirty_children(&self) -> impl Iterator<Item = NodeId> {
        let mut dirty = self.dirty;
        core::iter::from_fn(move || {
            let nibble = dirty.trailing_zeros() as usize;
            (dirty != 0).then(|| {
                dirty &= dirty - 1;
                self.children[nibble]
            })
        })
    }
}

/// A leaf.
#[derive(Clone, Copy, Default)]
pub(crate) struct Leaf<V> {
    /// The whole hashed key.
    pub(crate) key: B256,
    pub(crate) value: V,
    pub(crate) reference: Reference,
    /// The nibble of the key where this node begins.
    pub(crate) start: u8,
}

/// A subtree that is not here.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hidden {
    /// Begins as all keys below do, up to the nibble where the subtree begins; zeros from there on.
    pub(crate) key: B256,
    pub(crate) reference: Reference,
}

/// An edit or a read came to a subtree that is not here, the one with this index. A read that failed changed nothing, nor did a removal; an insertion
/// may have marked its way dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Miss(pub(crate) u32);

/// What an account's leaf holds.
#[derive(Clone, Copy)]
pub(crate) struct AccountValue {
    pub(crate) account: Account,
    /// Root of the storage trie.
    pub(crate) storage: NodeId,
    /// Whether the storage trie changed since it was last hashed.
    pub(crate) storage_dirty: bool,
}

impl Default for AccountValue {
    fn default() -> Self {
        let account = Account { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY };
        Self { account, storage: NodeId::NIL, storage_dirty: false }
    }
}

/// Which trie a leaf is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Account,
    Slot,
}

/// All nodes of all tries.
#[derive(Clone, Default)]
pub(crate) struct Nodes {
    pub(crate) branches: Slab<Branch>,
    pub(crate) accounts: Slab<Leaf<AccountValue>>,
    pub(crate) slots: Slab<Leaf<U256>>,
    pub(crate) hidden: Slab<Hidden>,
}

impl Nodes {
    pub(crate) fn new_branch(&mut self, branch: Branch) -> NodeId {
        NodeId::new(Node::Branch(self.branches.add(branch, NodeId::LIMIT)))
    }

    pub(crate) fn new_leaf(&mut self, kind: Kind, key: B256, start: usize) -> NodeId {
        let start = start as u8;
        NodeId::new(match kind {
            Kind::Account => Node::Account(self.accounts.add(Leaf { key, start, ..Leaf::default() }, NodeId::LIMIT)),
            Kind::Slot => Node::Slot(self.slots.add(Leaf { key, start, ..Leaf::default() }, NodeId::LIMIT)),
        })
    }

    pub(crate) fn new_hidden(&mut self, hidden: Hidden) -> NodeId {
        // The last index of this kind is that of nil.
        NodeId::new(Node::Hidden(self.hidden.add(hidden, NodeId::LIMIT - 1)))
    }

    /// Gives one node's place back.
    pub(crate) fn free(&mut self, id: NodeId) {
        match id.node() {
            Node::Nil => {}
            Node::Branch(index) => self.branches.remove(index),
            Node::Account(index) => self.accounts.remove(index),
            Node::Slot(index) => self.slots.remove(index),
            Node::Hidden(index) => self.hidden.remove(index),
        }
    }

    /// A key below the node: all of them agree up to the node's `depth`. Must not be called on an empty trie.
    pub(crate) fn any_key(&self, mut id: NodeId) -> &B256 {
        loop {
            match id.node() {
                Node::Branch(index) => {
                    let children = &self.branches.get(index).children;
                    id = children.iter().copied().find(|child| !child.is_nil()).unwrap_or(NodeId::NIL);
                }
                Node::Account(index) => return &self.accounts.get(index).key,
                Node::Slot(index) => return &self.slots.get(index).key,
                Node::Hidden(index) => return &self.hidden.get(index).key,
                Node::Nil => unreachable!("a branch has children"),
            }
        }
    }

    /// Moves the nibble where a node begins.
    pub(crate) fn set_start(&mut self, id: NodeId, start: usize) {
        let start = start as u8;
        match id.node() {
            // What is hidden is never moved: it would have to be known.
            Node::Nil | Node::Hidden(_) => {}
            Node::Branch(index) => self.branches.get_mut(index).start = start,
            Node::Account(index) => self.accounts.get_mut(index).start = start,
            Node::Slot(index) => self.slots.get_mut(index).start = start,
        }
    }

    pub(crate) fn reference(&self, id: NodeId) -> &Reference {
        const NONE: &Reference = &Reference { bytes: [0; 32], len: 0 };
        match id.node() {
            Node::Nil => NONE,
            Node::Branch(index) => &self.branches.get(index).reference,
            Node::Account(index) => &self.accounts.get(index).reference,
            Node::Slot(index) => &self.slots.get(index).reference,
            Node::Hidden(index) => &self.hidden.get(index).reference,
        }
    }

    /// Stores the reference to a node that was just hashed: it is clean from here on.
    pub(crate) fn set_reference(&mut self, id: NodeId, reference: Reference) {
        match id.node() {
            Node::Nil | Node::Hidden(_) => {}
            Node::Branch(index) => {
                let branch = self.branches.get_mut(index);
                branch.reference = reference;
                branch.dirty = 0;
            }
            Node::Account(index) => {
                let leaf = self.accounts.get_mut(index);
                leaf.reference = reference;
                leaf.value.storage_dirty = false;
            }
            Node::Slot(index) => self.slots.get_mut(index).reference = reference,
        }
    }

    /// The root hash of a trie whose nodes have all been hashed.
    pub(crate) fn root_hash(&self, root: NodeId) -> B256 {
        if root.is_nil() { EMPTY_ROOT_HASH } else { self.reference(root).root() }
    }
}

/// The `index`-th nibble of a key, 0 being the highest.
#[inline]
pub(crate) fn nibble(key: &B256, index: usize) -> usize {
    let byte = key.0[index / 2];
    (if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 }) as usize
}

/// The first nibble in `from..to` where the keys part, or `to`.
pub(crate) fn fork(a: &B256, b: &B256, from: usize, to: usize) -> usize {
    (from..to).find(|i| nibble(a, *i) != nibble(b, *i)).unwrap_or(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        for node in [
            Node::Nil,
            Node::Branch(0),
            Node::Account(7),
            Node::Slot(NodeId::LIMIT - 1),
            Node::Hidden(NodeId::LIMIT - 2),
        ] {
            assert_eq!(NodeId::new(node).node(), node);
        }
    }

    #[test]
    fn nodes_stay_small() {
        // Memory and cache misses are the trie's cost: growth here should be a decision.
        assert_eq!((size_of::<Branch>(), size_of::<Leaf<U256>>(), size_of::<Leaf<AccountValue>>()), (104, 104, 152));
    }

    #[test]
    fn paths_fork_where_nibbles_differ() {
        let (a, b) = (B256::repeat_byte(0x11), B256::with_last_byte(0x12));
        assert_eq!(fork(&a, &b, 0, 64), 0);
        assert_eq!(fork(&a, &a, 3, 64), 64);
        assert_eq!(fork(&B256::ZERO, &b, 0, 64), 62);
        assert_eq!(fork(&B256::ZERO, &b, 0, 60), 60);
        assert_eq!((nibble(&b, 62), nibble(&b, 63)), (1, 2));
    }
}
