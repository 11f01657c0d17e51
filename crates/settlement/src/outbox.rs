//! Messages to L1, and the proofs that `Outbox` takes.
//!
//! The L2 messenger keeps an append-only Keccak tree of depth 32 with absent leaves zero (docs/settlement.md). Every complete subtree is the same in
//! all later trees, so its root is kept in the store once it is known to be final; a proof is then a walk, whatever the number of messages.
//!
//! | key in the store | value |
//! |---|---|
//! | `outbox/cursor` | last L2 block whose messages are in, messages so far: u64 each, big-endian |
//! | `outbox/` level in 2, index in 8 hexadecimal digits | root of a complete subtree; level 0 is the leaves |

use crate::{
    Error,
    contracts::{L2Messenger, Outbox as L1Outbox, message_leaf},
};
use alloy_primitives::{B256, Log, keccak256};
use alloy_sol_types::SolEvent;
use jove_primitives::predeploys::L2_MESSENGER;
use jove_storage::{LogFilter, Storage};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Depth of the tree.
pub const DEPTH: usize = 32;
/// L2 blocks whose messages are read at once.
const RANGE: u64 = 10_000;
/// Most messages of so many blocks: more than they have gas for.
const MESSAGES: usize = 1 << 24;
/// Longest that a range may take.
const TIME: Duration = Duration::from_secs(60);

/// The tree of messages, as far as they are final. One at a time may [`extend`](Self::extend) it.
#[derive(Clone)]
pub struct Outbox {
    storage: Storage,
}

impl Outbox {
    /// The tree that is kept in this store.
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// The last block whose messages are in the tree, and their number.
    ///
    /// # Errors
    /// If the store fails.
    pub fn cursor(&self) -> Result<(u64, u64), Error> {
        let Some(bytes) = self.storage.meta(CURSOR_KEY)? else { return Ok((0, 0)) };
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| Error::Kept(CURSOR_KEY.into()))?;
        let [block, count] = [0, 8].map(|at| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(number)
        });
        Ok((block, count))
    }

    /// Takes in the messages of blocks up to `block`, which must be final on L1.
    ///
    /// # Errors
    /// If the store fails, or its logs are not the messenger's.
    pub fn extend(&self, block: u64) -> Result<(), Error> {
        let (mut last, mut count) = self.cursor()?;
        while last < block {
            let end = block.min(last + RANGE);
            let filter = LogFilter {
                from: last + 1,
                to: end,
                addresses: vec![L2_MESSENGER],
                topics: [vec![L2Messenger::MessageSent::SIGNATURE_HASH], Vec::new(), Vec::new(), Vec::new()],
            };
            let mut nodes = BTreeMap::new();
            for entry in self.storage.view().logs(&filter, MESSAGES, Instant::now() + TIME)? {
                let sent = message(&entry.log).filter(|(message, _)| message.nonce == count);
                let (_, leaf) = sent.ok_or_else(|| Error::Kept("the messenger's logs".into()))?;
                self.append(&mut nodes, count, leaf)?;
                count += 1;
            }
            self.keep(nodes, end, count)?;
            last = end;
        }
        Ok(())
    }

    fn keep(&self, nodes: BTreeMap<(usize, u64), B256>, block: u64, count: u64) -> Result<(), Error> {
        let nodes = nodes.into_iter().map(|((level, index), node)| (node_key(level, index), node.to_vec()));
        let cursor = [(CURSOR_KEY.to_owned(), [block.to_be_bytes(), count.to_be_bytes()].concat())];
        Ok(self.storage.put_metas(nodes.chain(cursor))?)
    }

    fn append(&self, nodes: &mut BTreeMap<(usize, u64), B256>, index: u64, leaf: B256) -> Result<(), Error> {
        let (mut node, mut index, mut level) = (leaf, index, 0);
        nodes.insert((0, index), node);
        while index % 2 == 1 {
            let left = match nodes.get(&(level, index - 1)) {
                Some(left) => *left,
                None => self.node(level, index - 1)?,
            };
            node = keccak256([left, node].concat());
            (index, level) = (index / 2, level + 1);
            nodes.insert((level, index), node);
        }
        Ok(())
    }

    fn node(&self, level: usize, index: u64) -> Result<B256, Error> {
        let key = node_key(level, index);
        let bytes = self.storage.meta(&key)?.and_then(|bytes| B256::try_from(&bytes[..]).ok());
        bytes.ok_or(Error::Kept(key))
    }

    /// The root of the tree of the first `count` messages, and the siblings of the leaf at `index` in it, from the leaf up.
    ///
    /// # Errors
    /// [`Error::NotFinal`] if the tree has fewer messages, or the index is not among them. If the store fails.
    pub fn prove(&self, index: u64, count: u64) -> Result<(B256, [B256; DEPTH]), Error> {
        if index >= count || count > self.cursor()?.1 {
            return Err(Error::NotFinal);
        }
        let zeros = zeros();
        let mut proof = [B256::ZERO; DEPTH];
        for (level, sibling) in proof.iter_mut().enumerate() {
            *sibling = self.subtree(&zeros, level, (index >> level) ^ 1, count)?;
        }
        Ok((self.subtree(&zeros, DEPTH, 0, count)?, proof))
    }

    /// The root of a subtree of the tree of `count` messages: complete, empty, or the one in between on its level.
    fn subtree(&self, zeros: &[B256; DEPTH + 1], level: usize, index: u64, count: u64) -> Result<B256, Error> {
        let (first, end) = (index << level, (index + 1) << level);
        if first >= count {
            return Ok(zeros[level]);
        }
        if end <= count {
            return self.node(level, index);
        }
        let left = self.subtree(zeros, level - 1, 2 * index, count)?;
        let right = self.subtree(zeros, level - 1, 2 * index + 1, count)?;
        Ok(keccak256([left, right].concat()))
    }
}

/// What the output of a final batch is made of besides its hash, as `jove_getWithdrawalProof` gives it: L1 keeps outputs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinalRoots {
    /// Index of the batch.
    pub index: u64,
    /// The hash of its last block.
    pub last_block_hash: B256,
    /// State root after it.
    pub state_root: B256,
    /// Root of the messages to L1 after it.
    pub outbox_root: B256,
}

impl From<FinalRoots> for L1Outbox::Final {
    fn from(roots: FinalRoots) -> Self {
        let FinalRoots { index, last_block_hash, state_root, outbox_root } = roots;
        Self { index, lastBlockHash: last_block_hash, stateRoot: state_root, outboxRoot: outbox_root }
    }
}

/// The message to L1 that a log of the L2 messenger is, and its leaf; nothing if it is none.
pub fn message(log: &Log) -> Option<(L1Outbox::Message, B256)> {
    if log.address != L2_MESSENGER {
        return None;
    }
    let sent = L2Messenger::MessageSent::decode_log(log).ok()?.data;
    let message = L1Outbox::Message {
        nonce: sent.nonce,
        sender: sent.sender,
        target: sent.target,
        value: sent.value,
        gas: sent.gas,
        data: sent.data,
    };
    let leaf = message_leaf(&message);
    (leaf == sent.leaf).then_some((message, leaf))
}

const CURSOR_KEY: &str = "outbox/cursor";

fn node_key(level: usize, index: u64) -> String {
    format!("outbox/{level:02x}/{index:08x}")
}

/// Roots of empty trees of each depth.
fn zeros() -> [B256; DEPTH + 1] {
    let mut zeros = [B256::ZERO; DEPTH + 1];
    for level in 0..DEPTH {
        zeros[level + 1] = keccak256([zeros[level], zeros[level]].concat());
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;
    use jove_primitives::predeploys::EMPTY_OUTBOX_ROOT;
    use jove_storage::Options;

    /// The root, by the definition.
    fn root(leaves: &[B256]) -> B256 {
        let mut level = leaves.to_vec();
        for zero in &zeros()[..DEPTH] {
            if level.len() % 2 == 1 {
                level.push(*zero);
            }
            level = level.chunks(2).map(|pair| keccak256(pair.concat())).collect();
            if level.is_empty() {
                level.push(keccak256([*zero, *zero].concat()));
            }
        }
        level[0]
    }

    #[test]
    fn every_proof_in_every_tree_leads_to_its_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::new(Storage::open(folder.path(), Options { sync: false }).expect("opens"));
        assert_eq!(zeros()[DEPTH], EMPTY_OUTBOX_ROOT);
        assert_eq!(root(&[]), EMPTY_OUTBOX_ROOT);
        let leaves: Vec<B256> = (0..21u64).map(|n| keccak256(n.to_be_bytes())).collect();
        // In three steps, as blocks come.
        for range in [0..1, 1..8, 8..21] {
            let mut nodes = BTreeMap::new();
            for index in range.clone() {
                outbox.append(&mut nodes, index as u64, leaves[index]).expect("appended");
            }
            outbox.keep(nodes, 7, range.end as u64).expect("kept");
        }
        for count in 1..=leaves.len() {
            for index in 0..count {
                let (found, proof) = outbox.prove(index as u64, count as u64).expect("there");
                assert_eq!(found, root(&leaves[..count]));
                let walked = proof.iter().enumerate().fold(leaves[index], |node, (level, sibling)| {
                    let pair = if index >> level & 1 == 1 { [*sibling, node] } else { [node, *sibling] };
                    keccak256(pair.concat())
                });
                assert_eq!(walked, found);
            }
        }
        assert!(matches!(outbox.prove(3, 3), Err(Error::NotFinal)));
        assert!(matches!(outbox.prove(0, 22), Err(Error::NotFinal)));
    }
}
