//! The ledger of what was refused, and why.

use crate::{
    Checkpoint, Error, Key, VerifyingKey,
    blocks::array,
    log::{Log, sync_folder, write_file},
};
use alloy_primitives::{B256, hex, keccak256};
use parking_lot::Mutex;
use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

/// The longest witness, in bytes: as long as one that validators send each other.
pub const MAX_WITNESS: usize = 128 * 1024;
/// The first byte of a flag's encoding.
const TAG: u8 = 2;
/// Bytes of a flag.
const LENGTH: usize = 88;
/// What a witness counts for at least: a file takes so much.
const BLOCK: u64 = 4096;
/// How many of the last flags are known by subject, so that none of them is flagged again.
const RECENT: u64 = 65_536;

/// What a flag is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlagKind {
    /// A transaction; the subject is its hash.
    Transaction = 1,
    /// A block; the subject is its hash.
    Block = 2,
    /// A checkpoint of consensus; the subject is its digest.
    Checkpoint = 3,
    /// A validator that gave two words of which an honest one gives one; the witness is both, the subject its hash.
    Validator = 4,
}

/// Something that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// What it is about.
    pub kind: FlagKind,
    /// Why, in the numbering of whoever refused it.
    pub reason: u16,
    /// The hash of what was refused.
    pub subject: B256,
    /// Keccak-256 of the witness.
    pub witness: B256,
    /// Bytes of the witness.
    pub witness_length: u32,
    /// When, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The height of the last final checkpoint then.
    pub height: u64,
}

impl Flag {
    /// A flag with its witness's hash and length.
    pub fn new(kind: FlagKind, reason: u16, subject: B256, witness: &[u8], time: u64, height: u64) -> Self {
        let witness_length = u32::try_from(witness.len()).unwrap_or(u32::MAX);
        Self { kind, reason, subject, witness: keccak256(witness), witness_length, time, height }
    }

    /// The leaf's bytes, as the crate's documentation has them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&[TAG, self.kind as u8]);
        bytes.extend_from_slice(&self.reason.to_be_bytes());
        bytes.extend_from_slice(self.subject.as_slice());
        bytes.extend_from_slice(self.witness.as_slice());
        bytes.extend_from_slice(&self.witness_length.to_be_bytes());
        bytes.extend_from_slice(&self.time.to_be_bytes());
        bytes.extend_from_slice(&self.height.to_be_bytes());
        bytes
    }

    /// The flag of a leaf's bytes.
    ///
    /// # Errors
    /// [`Error::Altered`] for bytes that no flag has.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        const NONE: Error = Error::Altered("a leaf is no flag");
        let mut rest = bytes;
        let ([TAG, kind], LENGTH) = (array(&mut rest)?, bytes.len()) else { return Err(NONE) };
        let kind = match kind {
            1 => FlagKind::Transaction,
            2 => FlagKind::Block,
            3 => FlagKind::Checkpoint,
            4 => FlagKind::Validator,
            _ => return Err(NONE),
        };
        Ok(Self {
            kind,
            reason: u16::from_be_bytes(array(&mut rest)?),
            subject: B256::new(array(&mut rest)?),
            witness: B256::new(array(&mut rest)?),
            witness_length: u32::from_be_bytes(array(&mut rest)?),
            time: u64::from_be_bytes(array(&mut rest)?),
            height: u64::from_be_bytes(array(&mut rest)?),
        })
    }

    fn place(&self) -> (FlagKind, u16, B256) {
        (self.kind, self.reason, self.subject)
    }
}

/// The ledger of what was refused. Flags stay for ever; of their witnesses the latest are kept, up to a number of bytes.
pub struct Flagged {
    log: Log,
    witnesses: PathBuf,
    /// Bytes of witnesses that are kept.
    budget: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The places of the last flags, in order.
    recent: VecDeque<(FlagKind, u16, B256)>,
    known: HashSet<(FlagKind, u16, B256)>,
    /// Witnesses on disk, oldest first, with their lengths.
    kept: VecDeque<(B256, u64)>,
    bytes: u64,
}

impl State {
    fn note(&mut self, flag: &Flag) {
        self.known.insert(flag.place());
        self.recent.push_back(flag.place());
        if self.recent.len() as u64 > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Flagged {
    /// Opens the ledger in a folder, or makes an empty one; signs with `key`, and keeps so many bytes of witnesses, each counted as 4,096 at least.
    ///
    /// # Errors
    /// As of [`crate::Ledger::open`].
    pub fn open(folder: &Path, key: Key, budget: u64) -> Result<Self, Error> {
        let log = Log::open(folder, LENGTH, key)?;
        let witnesses = folder.join("witnesses");
        if !witnesses.try_exists()? {
            fs::create_dir_all(&witnesses)?;
            sync_folder(folder)?;
        }
        let mut state = State::default();
        for index in log.size().saturating_sub(RECENT)..log.size() {
            state.note(&Flag::decode(&log.leaf(index)?)?);
        }
        let mut found = Vec::new();
        for file in fs::read_dir(&witnesses)? {
            let file = file?;
            let metadata = file.metadata()?;
            match file.file_name().to_str().and_then(|name| name.parse::<B256>().ok()) {
                Some(hash) => found.push((metadata.modified()?, hash, metadata.len())),
                // what a crash left of a write
                None => fs::remove_file(file.path())?,
            }
        }
        found.sort_unstable();
        for (_, hash, length) in found {
            state.kept.push_back((hash, length.max(BLOCK)));
            state.bytes += length.max(BLOCK);
        }
        Ok(Self { log, witnesses, budget, state: Mutex::new(state) })
    }

    /// Appends flags with their witnesses, but for those whose kind, reason and subject are among the last 65,536; in one write. Returns how many were new.
    ///
    /// # Errors
    /// [`Error::Witness`], and nothing is written; or as of [`crate::Ledger::append`].
    pub fn append(&self, flags: &[(Flag, &[u8])]) -> Result<usize, Error> {
        if let Some((_, witness)) = flags.iter().find(|(_, witness)| witness.len() > MAX_WITNESS) {
            return Err(Error::Witness(witness.len()));
        }
        let mut state = self.state.lock();
        let mut seen = HashSet::new();
        let new: Vec<&(Flag, &[u8])> = flags
            .iter()
            .filter(|(flag, _)| !state.known.contains(&flag.place()) && seen.insert(flag.place()))
            .collect();
        // the witness first: a flag whose witness was lost would be worse than a witness without its flag
        for (flag, witness) in &new {
            self.keep(&mut state, flag.witness, witness)?;
        }
        self.log.append(&new.iter().map(|(flag, _)| flag.encode()).collect::<Vec<_>>())?;
        new.iter().for_each(|(flag, _)| state.note(flag));
        Ok(new.len())
    }

    fn keep(&self, state: &mut State, hash: B256, witness: &[u8]) -> Result<(), Error> {
        let length = (witness.len() as u64).max(BLOCK);
        if witness.is_empty() || length > self.budget || state.kept.iter().any(|(kept, _)| *kept == hash) {
            return Ok(());
        }
        while state.bytes + length > self.budget
            && let Some((oldest, length)) = state.kept.pop_front()
        {
            match fs::remove_file(self.witnesses.join(name(&oldest))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => state.bytes -= length,
            }
        }
        write_file(&self.witnesses, &name(&hash), witness)?;
        state.kept.push_back((hash, length));
        state.bytes += length;
        Ok(())
    }

    /// How many flags there are.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// What was signed last.
    pub fn checkpoint(&self) -> Checkpoint {
        self.log.checkpoint()
    }

    /// What the checkpoints are checked with.
    pub fn verifying_key(&self) -> &VerifyingKey {
        self.log.key().verifying_key()
    }

    /// A flag.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the system's.
    pub fn flag(&self, index: u64) -> Result<Flag, Error> {
        if index >= self.size() {
            return Err(Error::Unknown("a leaf above the last"));
        }
        Flag::decode(&self.log.leaf(index)?)
    }

    /// The witness of this hash, if it is still kept.
    ///
    /// # Errors
    /// [`Error::Altered`] if its file has other bytes; or the system's.
    pub fn witness(&self, hash: &B256) -> Result<Option<Vec<u8>>, Error> {
        match fs::read(self.witnesses.join(name(hash))) {
            Ok(witness) if keccak256(&witness) == *hash => Ok(Some(witness)),
            Ok(_) => Err(Error::Altered("a witness is not what was signed")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`crate::Ledger::inclusion`].
    ///
    /// # Errors
    /// As there.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<B256>, Error> {
        self.log.inclusion(index, size)
    }

    /// As [`crate::Ledger::consistency`].
    ///
    /// # Errors
    /// As there.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<B256>, Error> {
        self.log.consistency(old, new)
    }

    /// Hashes everything again, and the witnesses that are kept.
    ///
    /// # Errors
    /// [`Error::Altered`], or the system's.
    pub fn verify_all(&self) -> Result<Checkpoint, Error> {
        let checkpoint = self.log.verify_all(|leaf| Flag::decode(leaf).map(drop))?;
        let kept: Vec<B256> = self.state.lock().kept.iter().map(|(hash, _)| *hash).collect();
        for hash in kept {
            self.witness(&hash)?;
        }
        Ok(checkpoint)
    }
}

fn name(hash: &B256) -> String {
    hex::encode(hash)
}
