//! The ledger of final blocks.

use crate::{
    Checkpoint, Error, Key, Older, ProofFile, VerifyingKey,
    log::{Log, audit},
};
use alloy_primitives::B256;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The first byte of an entry's encoding.
const TAG: u8 = 1;
/// Bytes of an entry.
const LENGTH: usize = 113;

/// A final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The block's number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The state root after it.
    pub state_root: B256,
    /// The height of the checkpoint that it is in.
    pub height: u64,
    /// That checkpoint's digest.
    pub digest: B256,
}

impl Entry {
    /// The leaf's bytes, as the crate's documentation has them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(TAG);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(self.hash.as_slice());
        bytes.extend_from_slice(self.state_root.as_slice());
        bytes.extend_from_slice(&self.height.to_be_bytes());
        bytes.extend_from_slice(self.digest.as_slice());
        bytes
    }

    /// The entry of a leaf's bytes.
    ///
    /// # Errors
    /// [`Error::Altered`] for bytes that no entry has.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let ([TAG], 113) = (array(&mut rest)?, bytes.len()) else { return Err(Error::Altered("a leaf is no block")) };
        Ok(Self {
            number: u64::from_be_bytes(array(&mut rest)?),
            hash: B256::new(array(&mut rest)?),
            state_root: B256::new(array(&mut rest)?),
            height: u64::from_be_bytes(array(&mut rest)?),
            digest: B256::new(array(&mut rest)?),
        })
    }

    /// Whether this block and checkpoint may come right after another.
    fn follows(&self, before: &Self) -> bool {
        before.number.checked_add(1) == Some(self.number)
            && (self.height > before.height || (self.height == before.height && self.digest == before.digest))
    }
}

pub(crate) fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (bytes, after) = rest.split_first_chunk().ok_or(Error::Altered("a leaf is short"))?;
    *rest = after;
    Ok(*bytes)
}

/// The ledger of final blocks: a leaf each, without gaps. All may read while one appends.
pub struct Ledger {
    log: Log,
    /// The first and the last.
    ends: Mutex<Option<(Entry, Entry)>>,
}

impl Ledger {
    /// Opens the ledger in a folder, or makes an empty one; signs with `key`. See the crate's documentation for what is checked.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Truncated`], [`Error::Altered`], [`Error::Checkpoint`], or the system's.
    pub fn open(folder: &Path, key: Key) -> Result<Self, Error> {
        let log = Log::open(folder, LENGTH, key)?;
        let ends = match log.size().checked_sub(1) {
            None => None,
            Some(last) => Some((Entry::decode(&log.leaf(0)?)?, Entry::decode(&log.leaf(last)?)?)),
        };
        Ok(Self { log, ends: Mutex::new(ends) })
    }

    /// Appends blocks that follow those before: all of them, in one write. They are durable and signed when this returns; of an append that a crash
    /// interrupts, a beginning may be there.
    ///
    /// # Errors
    /// [`Error::NotNext`], and nothing is written; [`Error::Stopped`]; or the system's, and nothing more is taken until the ledger is opened again.
    pub fn append(&self, entries: &[Entry]) -> Result<Checkpoint, Error> {
        let mut ends = self.ends.lock();
        let mut before = ends.map(|(_, last)| last);
        for entry in entries {
            if before.is_some_and(|before| !entry.follows(&before)) {
                return Err(Error::NotNext { number: entry.number, height: entry.height });
            }
            before = Some(*entry);
        }
        let leaves: Vec<Vec<u8>> = entries.iter().map(Entry::encode).collect();
        let checkpoint = self.log.append(&leaves)?;
        if let (Some(first), Some(last)) = (entries.first(), before) {
            *ends = Some((ends.map_or(*first, |(first, _)| first), last));
        }
        Ok(checkpoint)
    }

    /// How many blocks there are.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// The last block, after which the next one comes.
    pub fn last(&self) -> Option<Entry> {
        self.ends.lock().map(|(_, last)| last)
    }

    /// What was signed last.
    pub fn checkpoint(&self) -> Checkpoint {
        self.log.checkpoint()
    }

    /// What the checkpoints are checked with.
    pub fn verifying_key(&self) -> &VerifyingKey {
        self.log.key().verifying_key()
    }

    /// A leaf.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the system's.
    pub fn entry(&self, index: u64) -> Result<Entry, Error> {
        if index >= self.size() {
            return Err(Error::Unknown("a leaf above the last"));
        }
        Entry::decode(&self.log.leaf(index)?)
    }

    /// The number of a block's leaf.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn index_of(&self, block: u64) -> Result<u64, Error> {
        let ends = *self.ends.lock();
        let (first, last) = ends.ok_or(Error::Unknown("the ledger is empty"))?;
        if !(first.number..=last.number).contains(&block) {
            return Err(Error::Unknown("the block is not final, or older than the ledger"));
        }
        Ok(block - first.number)
    }

    /// A proof that the leaf `index` is in the tree of the first `size` leaves.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Altered`] if what is on disk is not what was signed; or the system's.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<B256>, Error> {
        self.log.inclusion(index, size)
    }

    /// A proof that the tree of the first `old` leaves is the beginning of that of the first `new`.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the system's.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<B256>, Error> {
        self.log.consistency(old, new)
    }

    /// A block's place in the ledger as of the last checkpoint; with an older checkpoint of this ledger, that nothing changed since.
    ///
    /// # Errors
    /// As of [`Self::inclusion`]; [`Error::Checkpoint`] if the older one is not this ledger's.
    pub fn prove(&self, block: u64, older: Option<&str>) -> Result<ProofFile, Error> {
        let checkpoint = self.checkpoint();
        let index = self.index_of(block)?;
        let older = match older {
            None => None,
            Some(note) => {
                let old = self.verifying_key().open(note)?;
                if old.size > checkpoint.size {
                    return Err(Error::Checkpoint("the older one is newer"));
                }
                let proof = self.consistency(old.size, checkpoint.size)?;
                Some(Older { checkpoint: note.to_owned(), proof })
            }
        };
        let proof = self.inclusion(index, checkpoint.size)?;
        Ok(ProofFile { checkpoint: checkpoint.note, index, entry: self.entry(index)?, proof, older })
    }

    /// Hashes everything again, and checks that each block follows the one before. Returns the checkpoint that holds.
    ///
    /// # Errors
    /// [`Error::Altered`], or the system's.
    pub fn verify_all(&self) -> Result<Checkpoint, Error> {
        self.log.verify_all(follow())
    }

    /// [`Self::verify_all`] of a folder, by whoever has the verifying key; its owner may append meanwhile.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::Truncated`], [`Error::Altered`], or the system's.
    pub fn audit(folder: &Path, key: &VerifyingKey) -> Result<Checkpoint, Error> {
        audit(folder, LENGTH, key, follow())
    }
}

/// Checks that each block follows the one before.
fn follow() -> impl FnMut(&[u8]) -> Result<(), Error> {
    let mut before: Option<Entry> = None;
    move |leaf| {
        let entry = Entry::decode(leaf)?;
        if before.is_some_and(|before| !entry.follows(&before)) {
            return Err(Error::Altered("a block does not follow the one before"));
        }
        before = Some(entry);
        Ok(())
    }
}
