//! What a validator keeps: its log of words, anchors of epochs, final checkpoints, evidence, what it found invalid.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | log | position (u64) | [`Record`] of the current epoch |
//! | anchors | epoch (u64) | [`Anchor`] |
//! | finals | height (u64) | time in ms (u64), digest, [`Certificate`] if it has its own, [`Checkpoint`] |
//! | digests | digest | height (u64); under `votes_from` the first epoch to vote in |
//! | blocks | number of its last block (u64) | height (u64) |
//! | evidence | position (u64) | [`Evidence`] |
//! | flagged | position (u64) | time in ms (u64), reason (u16), [`Checkpoint`], the bytes of what shows it |
//!
//! Numbers are big-endian. Every write is one synced batch.

use crate::Error;
use alloy_primitives::B256;
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};
use jove_avc::{Anchor, Certificate, Checkpoint, Evidence, Record, codec::Reader, codec::Wire};
use jove_storage::open_beside;
use parking_lot::Mutex;
use std::path::Path;

/// Most proofs of misbehaviour, and most invalid checkpoints, that are kept: of more the first tell enough.
const MOST: u64 = 10_000;

/// Among the digests, and shorter.
const VOTES_FROM: &[u8] = b"votes_from";

/// The database.
pub struct Store {
    database: Database,
    log: Keyspace,
    anchors: Keyspace,
    finals: Keyspace,
    digests: Keyspace,
    blocks: Keyspace,
    evidence: Keyspace,
    flagged: Keyspace,
    sync: bool,
    next: Mutex<Next>,
}

struct Next {
    record: u64,
    evidence: u64,
    flagged: u64,
}

/// A final checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it became final here, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its digest.
    pub digest: B256,
    /// Its own FinalCert; none where a descendant's made it final.
    pub certificate: Option<Certificate>,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
}

/// A checkpoint that was found invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flagged {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What is wrong: [`crate::Reason`], or 0 where it is not known.
    pub reason: u16,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// [`crate::Fraud`], encoded; empty where nothing can be shown to others.
    pub witness: Vec<u8>,
}

impl Wire for Kept {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.at_ms.to_be_bytes());
        self.digest.write(out);
        self.certificate.write(out);
        self.checkpoint.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, jove_avc::Error> {
        Ok(Self {
            at_ms: Wire::read(input)?,
            digest: Wire::read(input)?,
            certificate: Wire::read(input)?,
            checkpoint: Wire::read(input)?,
        })
    }
}

impl Flagged {
    fn write(&self) -> Vec<u8> {
        let mut out = self.at_ms.to_be_bytes().to_vec();
        out.extend(self.reason.to_be_bytes());
        let checkpoint = self.checkpoint.encode();
        out.extend((checkpoint.len() as u32).to_be_bytes());
        out.extend(checkpoint);
        out.extend(&self.witness);
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (at_ms, rest) = bytes.split_first_chunk::<8>()?;
        let (reason, rest) = rest.split_first_chunk::<2>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (checkpoint, witness) = rest.split_at_checked(u32::from_be_bytes(*count) as usize)?;
        Some(Self {
            at_ms: u64::from_be_bytes(*at_ms),
            reason: u16::from_be_bytes(*reason),
            checkpoint: Checkpoint::decode(checkpoint).ok()?,
            witness: witness.to_vec(),
        })
    }
}

fn decode<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, Error> {
    T::decode(bytes).map_err(|_| Error::Corrupt(what))
}

fn number(bytes: &[u8]) -> Result<u64, Error> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| Error::Corrupt("a number"))
}

impl Store {
    /// Opens the database in a folder, or makes an empty one. Without `sync` a power cut may lose words that left: for development alone.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn open(path: &Path, sync: bool) -> Result<Self, Error> {
        let names = ["log", "anchors", "finals", "digests", "blocks", "evidence", "flagged"];
        let (database, keyspaces) = open_beside(path, &names, sync)?;
        let [log, anchors, finals, digests, blocks, evidence, flagged]: [Keyspace; 7] =
            keyspaces.try_into().map_err(|_| Error::Corrupt("keyspaces"))?;
        let next = Mutex::new(Next { record: 0, evidence: 0, flagged: 0 });
        let store = Self { database, log, anchors, finals, digests, blocks, evidence, flagged, sync, next };
        {
            let mut next = store.next.lock();
            next.record = store.after_last(&store.log)?;
            next.evidence = store.after_last(&store.evidence)?;
            next.flagged = store.after_last(&store.flagged)?;
        }
        Ok(store)
    }

    fn after_last(&self, keyspace: &Keyspace) -> Result<u64, Error> {
        match keyspace.last_key_value() {
            Some(last) => Ok(number(&last.key()?)? + 1),
            None => Ok(0),
        }
    }

    fn batch(&self) -> OwnedWriteBatch {
        let mode = if self.sync { PersistMode::SyncData } else { PersistMode::Buffer };
        OwnedWriteBatch::with_capacity(self.database.clone(), 8).durability(Some(mode))
    }

    /// The log, in order; empty where there is none.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn log(&self) -> Result<Vec<Record>, Error> {
        self.log.iter().map(|entry| decode(&entry.value()?, "a record of the log")).collect()
    }

    /// Begins the log, and keeps from which epoch on this validator may vote.
    pub(crate) fn append_first(&self, records: &[Record], votes_from: u64) -> Result<(), Error> {
        let mut batch = self.batch();
        batch.insert(&self.digests, VOTES_FROM, votes_from.to_be_bytes());
        batch.commit()?;
        self.append(records)
    }

    /// From which epoch on this validator may vote; 0 unless it was said otherwise when the log was begun.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn votes_from(&self) -> Result<u64, Error> {
        self.digests.get(VOTES_FROM)?.map_or(Ok(0), |bytes| number(&bytes))
    }

    /// Adds to the log: all of it or nothing. What is before an anchor is forgotten.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn append(&self, records: &[Record]) -> Result<(), Error> {
        let mut next = self.next.lock();
        let mut batch = self.batch();
        let first = next.record;
        for (position, record) in (first..).zip(records) {
            batch.insert(&self.log, position.to_be_bytes(), record.encode());
            if let Record::Anchor(anchor) = record {
                batch.insert(&self.anchors, anchor.epoch.to_be_bytes(), anchor.encode());
                for entry in self.log.range(..position.to_be_bytes()) {
                    batch.remove(&self.log, entry.key()?);
                }
                (first..position).for_each(|position| batch.remove(&self.log, position.to_be_bytes()));
            }
        }
        batch.commit()?;
        next.record = first + records.len() as u64;
        Ok(())
    }

    /// Keeps a final checkpoint.
    pub(crate) fn put_final(&self, kept: &Kept) -> Result<(), Error> {
        let height = kept.checkpoint.height.to_be_bytes();
        let mut batch = self.batch();
        batch.insert(&self.finals, height, kept.encode());
        batch.insert(&self.digests, kept.digest.as_slice(), height);
        batch.insert(&self.blocks, kept.checkpoint.last_number.to_be_bytes(), height);
        Ok(batch.commit()?)
    }

    /// Keeps a proof of misbehaviour.
    pub(crate) fn put_evidence(&self, evidence: &Evidence) -> Result<(), Error> {
        let mut next = self.next.lock();
        if next.evidence < MOST {
            let mut batch = self.batch();
            batch.insert(&self.evidence, next.evidence.to_be_bytes(), evidence.encode());
            batch.commit()?;
            next.evidence += 1;
        }
        Ok(())
    }

    /// Keeps an invalid checkpoint.
    pub(crate) fn put_flagged(&self, flagged: &Flagged) -> Result<(), Error> {
        let mut next = self.next.lock();
        if next.flagged < MOST {
            let mut batch = self.batch();
            batch.insert(&self.flagged, next.flagged.to_be_bytes(), flagged.write());
            batch.commit()?;
            next.flagged += 1;
        }
        Ok(())
    }

    /// The anchor of an epoch that was entered.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn anchor(&self, epoch: u64) -> Result<Option<Anchor>, Error> {
        self.anchors.get(epoch.to_be_bytes())?.map(|bytes| decode(&bytes, "an anchor")).transpose()
    }

    /// The last anchor.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn last_anchor(&self) -> Result<Option<Anchor>, Error> {
        let Some(last) = self.anchors.last_key_value() else { return Ok(None) };
        decode(&last.value()?, "an anchor").map(Some)
    }

    /// The final checkpoint of a height.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn at_height(&self, height: u64) -> Result<Option<Kept>, Error> {
        self.finals.get(height.to_be_bytes())?.map(|bytes| decode(&bytes, "a final checkpoint")).transpose()
    }

    /// Final checkpoints from a height on.
    pub(crate) fn finals(&self, from: u64) -> impl Iterator<Item = Result<Kept, Error>> {
        self.finals.range(from.to_be_bytes()..).map(|entry| decode(&entry.value()?, "a final checkpoint"))
    }

    /// The last final checkpoint.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn last(&self) -> Result<Option<Kept>, Error> {
        let Some(last) = self.finals.last_key_value() else { return Ok(None) };
        decode(&last.value()?, "a final checkpoint").map(Some)
    }

    /// The final checkpoint with this digest.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn by_digest(&self, digest: B256) -> Result<Option<Kept>, Error> {
        let Some(height) = self.digests.get(digest)? else { return Ok(None) };
        self.at_height(number(&height)?)
    }

    /// The final checkpoint that holds a block.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn of_block(&self, block: u64) -> Result<Option<Kept>, Error> {
        // Up to where its epoch 0 begins, blocks are of other eras' checkpoints.
        if self.anchor(0)?.is_some_and(|first| block <= first.start.last_number && block > 0) {
            return Ok(None);
        }
        let Some(entry) = self.blocks.range(block.to_be_bytes()..).next() else { return Ok(None) };
        self.at_height(number(&entry.value()?)?)
    }

    /// The first final checkpoint from a height on that has a certificate of its own: that is the certificate of all before it.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn certified_from(&self, height: u64) -> Result<Option<Kept>, Error> {
        for entry in self.finals.range(height.to_be_bytes()..) {
            let kept: Kept = decode(&entry.value()?, "a final checkpoint")?;
            if kept.certificate.is_some() {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// Proofs of misbehaviour from a position on, at most so many.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn evidence(&self, from: u64, most: usize) -> Result<Vec<Evidence>, Error> {
        let entries = self.evidence.range(from.to_be_bytes()..).take(most);
        entries.map(|entry| decode(&entry.value()?, "evidence")).collect()
    }

    /// Invalid checkpoints from a position on, at most so many.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn flagged(&self, from: u64, most: usize) -> Result<Vec<Flagged>, Error> {
        let entries = self.flagged.range(from.to_be_bytes()..).take(most);
        entries.map(|entry| Flagged::read(&entry.value()?).ok_or(Error::Corrupt("a flagged checkpoint"))).collect()
    }
}
