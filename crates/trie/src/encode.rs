//! The RLP of nodes, written into a buffer of fixed size.
//!
//! A node's length is computed before the node is written, not only for the header: a branch is encoded from its
//! children, which lie anywhere in memory. The loads of the first pass are independent and overlap, for several nodes if
//! the caller asks for their lengths first, and the second finds everything in the cache.

use crate::node::{AccountValue, KEY_NIBBLES, Leaf, Node, NodeId, Nodes, Reference, nibble};
use alloy_primitives::{B256, U256};

/// The longest node: a branch of sixteen hashes.
const SIZE: usize = 3 + 16 * 33 + 1;
const EMPTY_STRING: u8 = 0x80;
const EMPTY_LIST: u8 = 0xc0;

/// A node being written.
pub(crate) struct NodeRlp {
    bytes: [u8; SIZE],
    end: usize,
}

impl NodeRlp {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; SIZE], end: 0 }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.end] = byte;
        self.end += 1;
    }

    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.bytes[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Begins a list of a payload's length.
    fn begin(&mut self, payload: usize) {
        self.end = 0;
        match payload {
            0..56 => self.byte(EMPTY_LIST + payload as u8),
            56..256 => self.slice(&[EMPTY_LIST + 56, payload as u8]),
            _ => self.slice(&[EMPTY_LIST + 57, (payload >> 8) as u8, payload as u8]),
        }
    }

    #[inline]
    fn word(&mut self, word: &[u8; 32]) {
        self.byte(EMPTY_STRING + 32);
        self.slice(word);
    }

    #[inline]
    fn child(&mut self, reference: &Reference) {
        if reference.is_hash() { self.word(reference.bytes()) } else { self.slice(reference.embedded()) }
    }

    fn uint(&mut self, value: U256) {
        let bytes = value.to_be_bytes::<32>();
        match uint_len(value) {
            1 if value.is_zero() => self.byte(EMPTY_STRING),
            1 => self.byte(bytes[31]),
            len => {
                self.byte(EMPTY_STRING + len as u8 - 1);
                self.slice(&bytes[33 - len..]);
            }
        }
    }

    /// The nibbles `from..to` of a key with their flag ("hex prefix", Yellow Paper appendix C).
    fn path(&mut self, key: &B256, from: usize, to: usize, leaf: bool) {
        let odd = (to - from) % 2;
        let flag = if leaf { 0x20 } else { 0 };
        // A path of one byte is less than 0x80, and so its own RLP.
        let len = 1 + (to - from) / 2;
        if len > 1 {
            self.byte(EMPTY_STRING + len as u8);
        }
        self.byte(if odd == 1 { flag | 0x10 | nibble(key, from) as u8 } else { flag });
        let from = from + odd;
        if from.is_multiple_of(2) {
            self.slice(&key[from / 2..to / 2]);
        } else {
            (from..to).step_by(2).for_each(|i| self.byte((nibble(key, i) << 4 | nibble(key, i + 1)) as u8));
        }
    }

    /// A node: for a branch below an extension, the branch.
    pub(crate) fn node(&mut self, nodes: &Nodes, id: NodeId) -> &[u8] {
        self.node_of(nodes, id, nodes.payload(id))
    }

    /// A node whose [`Nodes::payload`] is known.
    pub(crate) fn node_of(&mut self, nodes: &Nodes, id: NodeId, payload: usize) -> &[u8] {
        self.begin(payload);
        match id.node() {
            // The caller has none: the root of an empty trie is never encoded, nor what is hidden.
            Node::Nil | Node::Hidden(_) => {}
            Node::Branch(index) => {
                for child in nodes.branches.get(index).children {
                    if child.is_nil() {
                        self.byte(EMPTY_STRING);
                    } else {
                        self.child(nodes.reference(child));
                    }
                }
                self.byte(EMPTY_STRING);
            }
            Node::Account(index) => self.account(nodes, nodes.accounts.get(index)),
            Node::Slot(index) => {
                let leaf = nodes.slots.get(index);
                self.path(&leaf.key, leaf.start as usize, KEY_NIBBLES, true);
                // The value is itself RLP, in a string of its own unless it is one small byte.
                let len = uint_len(leaf.value);
                if len > 1 {
                    self.byte(EMPTY_STRING + len as u8);
                }
                self.uint(leaf.value);
            }
        }
        debug_assert_eq!(self.end, payload + 1 + (payload >= 56) as usize + (payload >= 256) as usize);
        &self.bytes[..self.end]
    }

    fn account(&mut self, nodes: &Nodes, leaf: &Leaf<AccountValue>) {
        let account = &leaf.value.account;
        self.path(&leaf.key, leaf.start as usize, KEY_NIBBLES, true);
        // Two hashes make the value longer than 55 bytes: one length byte for the list, one for the string around it.
        let len = account_len(&leaf.value) as u8;
        self.slice(&[EMPTY_STRING + 56, len + 2, EMPTY_LIST + 56, len]);
        self.uint(U256::from(account.nonce));
        self.uint(account.balance);
        self.word(&nodes.root_hash(leaf.value.storage));
        self.word(&account.code_hash);
    }

    /// The extension above a branch: the nibbles `from..to` of a key, and the reference to the branch.
    pub(crate) fn extension(&mut self, key: &B256, from: usize, to: usize, branch: &Reference) -> &[u8] {
        self.begin(path_len(from, to) + branch.rlp_len());
        self.path(key, from, to, false);
        self.child(branch);
        &self.bytes[..self.end]
    }
}

impl Nodes {
    /// Length of a node's RLP without the list's header.
    pub(crate) fn payload(&self, id: NodeId) -> usize {
        match id.node() {
            Node::Nil | Node::Hidden(_) => 0,
            Node::Branch(index) => {
                let child = |child: &NodeId| if child.is_nil() { 1 } else { self.reference(*child).rlp_len() };
                1 + self.branches.get(index).children.iter().map(child).sum::<usize>()
            }
            Node::Account(index) => {
                let leaf = self.accounts.get(index);
                path_len(leaf.start as usize, KEY_NIBBLES) + 4 + account_len(&leaf.value)
            }
            Node::Slot(index) => {
                let leaf = self.slots.get(index);
                let len = uint_len(leaf.value);
                path_len(leaf.start as usize, KEY_NIBBLES) + len + (len > 1) as usize
            }
        }
    }
}

/// Bytes of a number's RLP.
fn uint_len(value: U256) -> usize {
    if value < U256::from(EMPTY_STRING) { 1 } else { 1 + value.byte_len() }
}

/// Bytes of a path's RLP.
fn path_len(from: usize, to: usize) -> usize {
    let len = 1 + (to - from) / 2;
    len + (len > 1) as usize
}

/// Length of an account's payload.
fn account_len(value: &AccountValue) -> usize {
    uint_len(U256::from(value.account.nonce)) + uint_len(value.account.balance) + 2 * 33
}
