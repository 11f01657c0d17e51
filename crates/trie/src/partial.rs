//! Part of the state, checked against its root: what a prover executes on.
//!
//! A witness is the state trie in preorder, as far as some reads and changes go; of what lies beside, the hashes. It has
//! no hash of what it shows: the reader computes them from the leaves up, and compares the root. So nothing in a witness can be
//! superfluous or contradictory: another byte is another root, or no trie.
//!
//! ```text
//! trie    := 00                                          empty
//!          | 01 hash                                     hidden: the Keccak-256 of its root node
//!          | 02 node                                     shown
//! node    := 00 length path mask hidden child*           branch, below an extension over `length` nibbles (1 byte)
//!          | 01 path account                             leaf of the state trie
//!          | 01 path number                              leaf of a storage trie: the slot's value
//! child   := hash | node                                 one for each bit of `mask`, from the lowest; a hash where `hidden` has the bit as well
//! account := flags number(nonce) number(balance) [hash] [trie]     bit 0 of flags: code hash, not that of no code; bit 1: storage
//! number  := length bytes                                big-endian, without leading zeros; 0 to 32 bytes
//! path    := bytes                                       two nibbles each, an odd one first, alone in its byte's lower half; a leaf's to the key's end
//! ```
//!
//! `mask` and `hidden` are 2 bytes each, big-endian. A child that is embedded in its parent (shorter than 32 bytes) is always shown.

use crate::{
    StateTrie,
    node::{AccountValue, Branch, Hidden, KEY_NIBBLES, Leaf, Miss, Node, NodeId, Nodes, Reference, fork, nibble},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use core::borrow::Borrow;
use jove_primitives::{Account, AccountChange, ChangeSet};

/// Accounts that were read, present or not, and of each the slots.
pub type Reads = BTreeMap<Address, BTreeSet<U256>>;

const EMPTY: u8 = 0;
const HIDDEN: u8 = 1;
const SHOWN: u8 = 2;
const BRANCH: u8 = 0;
const LEAF: u8 = 1;
const WITH_CODE: u8 = 1;
const WITH_STORAGE: u8 = 2;

/// Why bytes are no witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// They end too early.
    #[error("the witness ends in the middle of a node")]
    Short,
    /// More bytes follow the trie.
    #[error("{0} bytes follow the witness")]
    Left(usize),
    /// No trie has such a node.
    #[error("the witness has no trie: {0}")]
    Malformed(&'static str),
}

/// A read or a change needs a node that the witness does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the witness does not show the node at {0}…")]
pub struct Missing(
    /// Begins as the hashed keys below that node do.
    pub B256,
);

/// Part of a state: what a witness shows of it.
#[derive(Clone, Debug)]
pub struct PartialTrie(StateTrie);

impl PartialTrie {
    /// Reads a witness: any bytes give a trie or an error, in time and memory proportional to them. Of the trie, nothing is to be believed before its
    /// [`root`](Self::root) was compared.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WitnessError> {
        let mut trie = StateTrie::default();
        let mut reader = Reader { bytes, nodes: &mut trie.nodes };
        trie.root = reader.trie(true)?;
        if !reader.bytes.is_empty() {
            return Err(WitnessError::Left(reader.bytes.len()));
        }
        trie.root_hash = trie.nodes.commit(trie.root, trie.kernel);
        Ok(Self(trie))
    }

    /// The state root.
    pub fn root(&self) -> B256 {
        self.0.root()
    }

    /// The account, or `None` where it does not exist.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn account(&self, address: Address) -> Result<Option<Account>, Missing> {
        Ok(self.value(address)?.map(|value| value.account))
    }

    /// The value of an account's slot; zero when absent.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, Missing> {
        let Some(value) = self.value(address)? else { return Ok(U256::ZERO) };
        match self.find(value.storage, &keccak256(slot.to_be_bytes::<32>()))?.node() {
            Node::Slot(index) => Ok(self.0.nodes.slots.get(index).value),
            _ => Ok(U256::ZERO),
        }
    }

    /// Applies a block's changes, as [`StateTrie::apply`] does, and returns the new root.
    ///
    /// # Errors
    /// [`Missing`]: what the trie holds then is of no use.
    pub fn apply(&mut self, changes: &ChangeSet) -> Result<B256, Missing> {
        if !changes.is_empty() {
            self.0.edit(changes).map_err(|miss| self.missing(miss))?;
            self.0.root_hash = self.0.nodes.commit(self.0.root, self.0.kernel);
        }
        Ok(self.0.root_hash)
    }

    /// The witness of the same state that hides the `index`-th of the nodes shown here, in preorder, with all below it; the same witness if the node is embedded
    /// in its parent; none beyond the last. For tests of what misses it.
    pub fn hiding(&self, index: usize) -> Option<Vec<u8>> {
        let mut nodes = Vec::new();
        self.0.list(self.0.root, &mut nodes);
        let hidden = nodes.get(index)?;
        let shown = nodes.iter().filter(|node| *node != hidden).copied().collect();
        let mut bytes = Vec::new();
        self.0.write_trie(&shown, self.0.root, &mut bytes);
        Some(bytes)
    }

    fn value(&self, address: Address) -> Result<Option<&AccountValue>, Missing> {
        Ok(self.0.value(self.find(self.0.root, &keccak256(address))?))
    }

    /// The leaf of `key`, or nil. A key that was looked for in vain has its way shown as it was; after a removal, the way may lead to what is hidden elsewhere:
    /// there it is as little.
    fn find(&self, root: NodeId, key: &B256) -> Result<NodeId, Missing> {
        let nodes = &self.0.nodes;
        let id = nodes.find(root, key);
        let Node::Hidden(index) = id.node() else { return Ok(id) };
        let (mut above, mut start) = (root, 0);
        while let Node::Branch(index) = above.node() {
            let branch = nodes.branches.get(index);
            start = branch.depth as usize + 1;
            above = branch.children[nibble(key, start - 1)];
        }
        match fork(&nodes.hidden.get(index).key, key, 0, start) == start {
            true => Err(self.missing(Miss(index))),
            false => Ok(NodeId::NIL),
        }
    }

    fn missing(&self, Miss(index): Miss) -> Missing {
        Missing(self.0.nodes.hidden.get(index).key)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    nodes: &'a mut Nodes,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], WitnessError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(WitnessError::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, WitnessError> {
        Ok(self.take(1)?[0])
    }

    fn mask(&mut self) -> Result<u16, WitnessError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn hash(&mut self) -> Result<B256, WitnessError> {
        Ok(B256::from_slice(self.take(32)?))
    }

    fn number(&mut self) -> Result<U256, WitnessError> {
        let length = self.byte()?;
        if length > 32 {
            return Err(WitnessError::Malformed("a number of more than 32 bytes"));
        }
        let bytes = self.take(length.into())?;
        match bytes.first() {
            Some(0) => Err(WitnessError::Malformed("a number with leading zeros")),
            _ => Ok(U256::from_be_slice(bytes)),
        }
    }

    /// Sets the nibbles `from..to` of a key.
    fn path(&mut self, key: &mut B256, from: usize, to: usize) -> Result<(), WitnessError> {
        let count = to - from;
        let bytes = self.take(count.div_ceil(2))?;
        let odd = count % 2;
        if odd == 1 && bytes[0] > 15 {
            return Err(WitnessError::Malformed("a path with a nibble too many"));
        }
        for index in 0..count {
            let byte = bytes[(index + odd) / 2];
            let nibble = if (index + odd).is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            set_nibble(key, from + index, nibble);
        }
        Ok(())
    }

    /// The state trie, or an account's storage.
    fn trie(&mut self, state: bool) -> Result<NodeId, WitnessError> {
        match self.byte()? {
            EMPTY => Ok(NodeId::NIL),
            HIDDEN => {
                let reference = Reference::hash(self.hash()?);
                Ok(self.nodes.new_hidden(Hidden { key: B256::ZERO, reference }))
            }
            SHOWN => self.node(state, B256::ZERO, 0),
            _ => Err(WitnessError::Malformed("an unknown kind of trie")),
        }
    }

    /// The node that begins at nibble `start` of keys that begin as `key` does. Nodes are at most 64 deep, twice.
    fn node(&mut self, state: bool, mut key: B256, start: usize) -> Result<NodeId, WitnessError> {
        match self.byte()? {
            BRANCH => {
                let depth = start + usize::from(self.byte()?);
                if depth >= KEY_NIBBLES {
                    return Err(WitnessError::Malformed("a branch below the end of keys"));
                }
                self.path(&mut key, start, depth)?;
                let (mask, hidden) = (self.mask()?, self.mask()?);
                if mask.count_ones() < 2 || hidden & !mask != 0 {
                    return Err(WitnessError::Malformed("a branch of fewer than two children"));
                }
                let mut branch = Branch { start: start as u8, depth: depth as u8, ..Branch::default() };
                branch.dirty = mask & !hidden;
                for nibble in (0..16).filter(|nibble| mask & 1 << nibble != 0) {
                    let mut key = key;
                    set_nibble(&mut key, depth, nibble as u8);
                    branch.children[nibble] = if hidden & 1 << nibble == 0 {
                        self.node(state, key, depth + 1)?
                    } else {
                        let reference = Reference::hash(self.hash()?);
                        self.nodes.new_hidden(Hidden { key, reference })
                    };
                }
                Ok(self.nodes.new_branch(branch))
            }
            LEAF => {
                self.path(&mut key, start, KEY_NIBBLES)?;
                let start = start as u8;
                if !state {
                    let value = self.number()?;
                    if value.is_zero() {
                        return Err(WitnessError::Malformed("a slot of value zero"));
                    }
                    let leaf = Leaf { key, value, start, ..Leaf::default() };
                    return Ok(NodeId::new(Node::Slot(self.nodes.slots.add(leaf, NodeId::LIMIT))));
                }
                let value = self.account()?;
                let leaf = Leaf { key, value, start, ..Leaf::default() };
                Ok(NodeId::new(Node::Account(self.nodes.accounts.add(leaf, NodeId::LIMIT))))
            }
            _ => Err(WitnessError::Malformed("an unknown kind of node")),
        }
    }

    fn account(&mut self) -> Result<AccountValue, WitnessError> {
        let flags = self.byte()?;
        if flags & !(WITH_CODE | WITH_STORAGE) != 0 {
            return Err(WitnessError::Malformed("an unknown kind of account"));
        }
        let nonce = u64::try_from(self.number()?);
        let nonce = nonce.map_err(|_| WitnessError::Malformed("a nonce of more than 8 bytes"))?;
        let balance = self.number()?;
        let code_hash = if flags & WITH_CODE != 0 { self.hash()? } else { KECCAK256_EMPTY };
        let storage = if flags & WITH_STORAGE != 0 { self.trie(false)? } else { NodeId::NIL };
        Ok(AccountValue { account: Account { nonce, balance, code_hash }, storage, storage_dirty: true })
    }
}

fn set_nibble(key: &mut B256, index: usize, nibble: u8) {
    let byte = &mut key.0[index / 2];
    *byte = if index.is_multiple_of(2) { *byte & 15 | nibble << 4 } else { *byte & 0xf0 | nibble };
}

impl StateTrie {
    /// Writes down what is needed to check that this is the state's root, to read `reads`, and to apply `changes`, one block's after the
    /// other: for [`PartialTrie::decode`].
    pub fn witness(&self, reads: &Reads, changes: impl IntoIterator<Item = impl Borrow<ChangeSet>> + Clone) -> Vec<u8> {
        let mut shown = BTreeSet::new();
        for (address, slots) in reads {
            self.show(&mut shown, *address, slots);
        }
        for changes in changes.clone() {
            for (address, change) in &changes.borrow().accounts {
                self.show(&mut shown, *address, change.storage.keys());
            }
        }
        // A removal needs more than that.
        let mut trial = Trial { whole: self, shown, part: Self::with_kernel(self.kernel), sources: BTreeMap::new() };
        trial.part.root = trial.copy(self.root);
        for changes in changes {
            trial.edit(changes.borrow());
        }
        let mut bytes = Vec::new();
        self.write_trie(&trial.shown, self.root, &mut bytes);
        bytes
    }

    /// Shows the way to an account, and to some of its slots.
    fn show<'a>(&self, shown: &mut BTreeSet<u32>, address: Address, slots: impl IntoIterator<Item = &'a U256>) {
        self.show_way(shown, self.root, &keccak256(address));
        let value = self.value(self.nodes.find(self.root, &keccak256(address)));
        let storage = value.map_or(NodeId::NIL, |value| value.storage);
        for slot in slots {
            self.show_way(shown, storage, &keccak256(slot.to_be_bytes::<32>()));
        }
    }

    fn show_way(&self, shown: &mut BTreeSet<u32>, mut id: NodeId, key: &B256) {
        loop {
            if !id.is_nil() {
                shown.insert(id.raw());
            }
            let Node::Branch(index) = id.node() else { return };
            let branch = self.nodes.branches.get(index);
            let (start, depth) = (branch.start as usize, branch.depth as usize);
            if fork(self.nodes.any_key(id), key, start, depth) < depth {
                return; // the key is not below
            }
            id = branch.children[nibble(key, depth)];
        }
    }

    fn is_shown(&self, shown: &BTreeSet<u32>, id: NodeId) -> bool {
        shown.contains(&id.raw()) || !self.nodes.reference(id).is_hash()
    }

    /// The nodes at and below one that are shown, in preorder.
    fn list(&self, id: NodeId, nodes: &mut Vec<u32>) {
        match id.node() {
            Node::Hidden(_) | Node::Nil => return,
            _ => nodes.push(id.raw()),
        }
        match id.node() {
            Node::Branch(index) => {
                self.nodes.branches.get(index).children.iter().for_each(|child| self.list(*child, nodes));
            }
            Node::Account(index) => self.list(self.nodes.accounts.get(index).value.storage, nodes),
            _ => {}
        }
    }

    fn write_trie(&self, shown: &BTreeSet<u32>, root: NodeId, bytes: &mut Vec<u8>) {
        if root.is_nil() {
            bytes.push(EMPTY);
        } else if self.is_shown(shown, root) {
            bytes.push(SHOWN);
            self.write_node(shown, root, bytes);
        } else {
            bytes.push(HIDDEN);
            bytes.extend(self.nodes.root_hash(root));
        }
    }

    fn write_node(&self, shown: &BTreeSet<u32>, id: NodeId, bytes: &mut Vec<u8>) {
        match id.node() {
            Node::Branch(index) => {
                let branch = self.nodes.branches.get(index);
                let (start, depth) = (branch.start as usize, branch.depth as usize);
                bytes.extend([BRANCH, (depth - start) as u8]);
                write_path(self.nodes.any_key(id), start, depth, bytes);
                let mask_of = |is: &dyn Fn(NodeId) -> bool| {
                    let bits = branch.children.iter().enumerate().filter(|(_, child)| !child.is_nil() && is(**child));
                    bits.fold(0u16, |mask, (nibble, _)| mask | 1 << nibble)
                };
                bytes.extend(mask_of(&|_| true).to_be_bytes());
                bytes.extend(mask_of(&|child| !self.is_shown(shown, child)).to_be_bytes());
                for child in branch.children.iter().filter(|child| !child.is_nil()) {
                    if self.is_shown(shown, *child) {
                        self.write_node(shown, *child, bytes);
                    } else {
                        bytes.extend(self.nodes.reference(*child).bytes());
                    }
                }
            }
            Node::Account(index) => {
                let leaf = self.nodes.accounts.get(index);
                let AccountValue { account, storage, .. } = leaf.value;
                let with_code = account.code_hash != KECCAK256_EMPTY;
                bytes.push(LEAF);
                write_path(&leaf.key, leaf.start as usize, KEY_NIBBLES, bytes);
                bytes.push(if with_code { WITH_CODE } else { 0 } | if storage.is_nil() { 0 } else { WITH_STORAGE });
                write_number(U256::from(account.nonce), bytes);
                write_number(account.balance, bytes);
                if with_code {
                    bytes.extend(account.code_hash);
                }
                if !storage.is_nil() {
                    self.write_trie(shown, storage, bytes);
                }
            }
            Node::Slot(index) => {
                let leaf = self.nodes.slots.get(index);
                bytes.push(LEAF);
                write_path(&leaf.key, leaf.start as usize, KEY_NIBBLES, bytes);
                write_number(leaf.value, bytes);
            }
            Node::Hidden(_) | Node::Nil => {}
        }
    }
}

/// The part of a trie that a witness shows, changed without hashing anything: what a change misses is shown, too.
struct Trial<'a> {
    whole: &'a StateTrie,
    shown: BTreeSet<u32>,
    part: StateTrie,
    /// What `part` hides, in `whole`.
    sources: BTreeMap<u32, NodeId>,
}

impl Trial<'_> {
    /// As [`StateTrie::edit`], in its order; slot by slot, so that a miss costs no more than one slot's edit again.
    fn edit(&mut self, changes: &ChangeSet) {
        let keyed = changes.accounts.iter().map(|(address, change)| (keccak256(address), change));
        let mut accounts: Vec<_> = keyed.collect();
        accounts.sort_unstable_by_key(|(key, _)| *key);
        for (key, change) in accounts {
            let mut one = AccountChange { account: change.account, wiped: change.wiped, ..AccountChange::default() };
            self.edit_account(&key, &one, &[]);
            if change.account.after.is_none() {
                continue; // its storage went with it
            }
            one.wiped = false;
            let keyed = change.storage.iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), slot, value));
            let mut slots: Vec<_> = keyed.collect();
            slots.sort_unstable_by_key(|(key, ..)| *key);
            for (slot_key, slot, value) in slots {
                one.storage = [(*slot, *value)].into();
                self.edit_account(&key, &one, &[slot_key]);
            }
        }
    }

    fn edit_account(&mut self, key: &B256, change: &AccountChange, slots: &[B256]) {
        while let Err(Miss(index)) = self.part.edit_account(key, change, slots) {
            self.show(key, index);
        }
    }

    /// Shows what an edit of an account missed, among the accounts or in its storage.
    fn show(&mut self, account: &B256, index: u32) {
        let hidden = NodeId::new(Node::Hidden(index));
        let key = self.part.nodes.hidden.get(index).key;
        let source = self.sources.remove(&index).unwrap_or(NodeId::NIL);
        self.shown.insert(source.raw());
        let copied = self.copy(source);
        let StateTrie { nodes, root, .. } = &mut self.part;
        if nodes.replace(root, &key, hidden, copied) {
            return;
        }
        if let Node::Account(leaf) = nodes.find(*root, account).node() {
            let mut storage = nodes.accounts.get(leaf).value.storage;
            if nodes.replace(&mut storage, &key, hidden, copied) {
                nodes.accounts.get_mut(leaf).value.storage = storage;
                return;
            }
        }
        unreachable!("an edit misses what is on its way");
    }

    /// Copies what is shown, at and below a node, into the part.
    fn copy(&mut self, id: NodeId) -> NodeId {
        if id.is_nil() {
            return id;
        }
        let nodes = &self.whole.nodes;
        if !self.whole.is_shown(&self.shown, id) {
            let hidden = Hidden { key: *nodes.any_key(id), reference: *nodes.reference(id) };
            let copied = self.part.nodes.new_hidden(hidden);
            if let Node::Hidden(index) = copied.node() {
                self.sources.insert(index, id);
            }
            return copied;
        }
        match id.node() {
            Node::Branch(index) => {
                let mut branch = *nodes.branches.get(index);
                for child in &mut branch.children {
                    *child = self.copy(*child);
                }
                self.part.nodes.new_branch(branch)
            }
            Node::Account(index) => {
                let mut leaf = *nodes.accounts.get(index);
                leaf.value.storage = self.copy(leaf.value.storage);
                NodeId::new(Node::Account(self.part.nodes.accounts.add(leaf, NodeId::LIMIT)))
            }
            Node::Slot(index) => {
                NodeId::new(Node::Slot(self.part.nodes.slots.add(*nodes.slots.get(index), NodeId::LIMIT)))
            }
            Node::Hidden(_) | Node::Nil => id,
        }
    }
}

impl Nodes {
    /// Puts a node in the place of another, which is on the way to `key`; whether that is there.
    fn replace(&mut self, root: &mut NodeId, key: &B256, old: NodeId, new: NodeId) -> bool {
        let mut at = root;
        while *at != old {
            let Node::Branch(index) = at.node() else { return false };
            let branch = self.branches.get_mut(index);
            at = &mut branch.children[nibble(key, branch.depth as usize)];
        }
        *at = new;
        self.free(old);
        true
    }
}

fn write_path(key: &B256, from: usize, to: usize, bytes: &mut Vec<u8>) {
    let odd = (to - from) % 2;
    if odd == 1 {
        bytes.push(nibble(key, from) as u8);
    }
    let pairs = (from + odd..to).step_by(2);
    bytes.extend(pairs.map(|index| (nibble(key, index) << 4 | nibble(key, index + 1)) as u8));
}

fn write_number(value: U256, bytes: &mut Vec<u8>) {
    let length = value.byte_len();
    bytes.push(length as u8);
    bytes.extend(&value.to_be_bytes::<32>()[32 - length..]);
}
