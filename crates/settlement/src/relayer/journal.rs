//! What the relayer has decided, on disk before anyone is told of it.
//!
//! A file of frames, each `length (4 bytes, big-endian) ‖ first 8 bytes of keccak256(payload) ‖ payload`, appended and synced one at a time. So only the
//! last frame can be incomplete; it was never acted upon, and is cut off when the file is opened. A frame that is damaged anywhere else is an error. A
//! payload is a byte for the kind and RLP. The file is written anew, beside itself and then renamed, when most of it is about requests that are done with.

use super::transaction::{Attempt, Request};
use crate::Error;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const HEAD: usize = 12;
/// Most bytes of a payload: six blobs take 823,000.
const MAX_PAYLOAD: usize = 2 << 20;

/// The chain and account that a journal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Chain {
    pub(super) chain_id: u64,
    /// Hash of block 0.
    pub(super) genesis: B256,
    pub(super) account: Address,
}

/// A request that is done with.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Closed {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) digest: B256,
    pub(super) nonce: u64,
    /// The transaction and its final block; zero if it was fenced off.
    pub(super) hash: B256,
    pub(super) block_number: u64,
    pub(super) block_hash: B256,
    pub(super) success: bool,
    pub(super) gas_used: u64,
    /// In wei, blobs included.
    pub(super) cost: u128,
}

#[derive(Clone, Debug)]
pub(super) enum Record {
    Chain(Chain),
    /// A request was taken.
    Queued {
        id: u64,
        at_ms: u64,
        request: Box<Request>,
    },
    /// A transaction for it was signed, its first or a replacement.
    Signed {
        id: u64,
        attempt: Attempt,
    },
    /// It is forgotten; none was signed.
    Forgotten {
        id: u64,
    },
    /// It is done with.
    Closed(Closed),
}

#[derive(RlpEncodable, RlpDecodable)]
struct QueuedFields {
    id: u64,
    at_ms: u64,
    request: Bytes,
}

#[derive(RlpEncodable, RlpDecodable)]
struct SignedFields {
    id: u64,
    raw: Bytes,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Chain(chain) => {
                out.push(0);
                chain.encode(&mut out);
            }
            Self::Queued { id, at_ms, request } => {
                out.push(1);
                QueuedFields { id: *id, at_ms: *at_ms, request: request.encode().into() }.encode(&mut out);
            }
            Self::Signed { id, attempt } => {
                out.push(2);
                SignedFields { id: *id, raw: attempt.encode().into() }.encode(&mut out);
            }
            Self::Forgotten { id } => {
                out.push(3);
                id.encode(&mut out);
            }
            Self::Closed(closed) => {
                out.push(4);
                closed.encode(&mut out);
            }
        }
        out
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, mut rest) = payload.split_first()?;
        let record = match kind {
            0 => Self::Chain(Chain::decode(&mut rest).ok()?),
            1 => {
                let QueuedFields { id, at_ms, request } = QueuedFields::decode(&mut rest).ok()?;
                Self::Queued { id, at_ms, request: Box::new(Request::decode(&request)?) }
            }
            2 => {
                let SignedFields { id, raw } = SignedFields::decode(&mut rest).ok()?;
                Self::Signed { id, attempt: Attempt::decode(&raw)? }
            }
            3 => Self::Forgotten { id: u64::decode(&mut rest).ok()? },
            4 => Self::Closed(Closed::decode(&mut rest).ok()?),
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }

    fn frame(&self) -> Vec<u8> {
        let payload = self.encode();
        let mut frame = Vec::with_capacity(HEAD + payload.len());
        // A payload is far below 4 GiB: a request is checked before it is taken.
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(&keccak256(&payload)[..8]);
        frame.extend_from_slice(&payload);
        frame
    }
}

/// An open journal. After a write that failed nothing is known of the file: every further one fails too.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    len: u64,
    failed: bool,
}

impl Journal {
    /// Opens or creates the journal at `path`, and reads it.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Vec<Record>), Error> {
        let failure = |error: io::Error| Error::Journal { path: path.display().to_string(), reason: error.to_string() };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failure)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failure)?;
        let (records, len) =
            read(&bytes).map_err(|offset| Error::JournalDamaged { path: path.display().to_string(), offset })?;
        if len < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - len, "a last write that was not finished is cut off");
            file.set_len(len as u64).map_err(failure)?;
        }
        file.seek(SeekFrom::Start(len as u64)).map_err(failure)?;
        file.sync_all().map_err(failure)?;
        sync_folder(&path).map_err(failure)?;
        Ok((Self { path, file, len: len as u64, failed: false }, records))
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether a write has failed.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Appends a record; it is on disk when this returns.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), Error> {
        let frame = record.frame();
        self.guarded(|journal| {
            journal.file.write_all(&frame)?;
            journal.file.sync_data()?;
            journal.len += frame.len() as u64;
            Ok(())
        })
    }

    /// Replaces the whole file, in one step.
    pub(super) fn rewrite(&mut self, records: impl Iterator<Item = Record>) -> Result<(), Error> {
        self.guarded(|journal| {
            let beside = journal.path.with_extension("new");
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside)?;
            let mut len = 0;
            for record in records {
                let frame = record.frame();
                file.write_all(&frame)?;
                len += frame.len() as u64;
            }
            file.sync_all()?;
            fs::rename(&beside, &journal.path)?;
            sync_folder(&journal.path)?;
            (journal.file, journal.len) = (file, len);
            Ok(())
        })
    }

    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), Error> {
        let result = if self.failed { Err(io::Error::other("an earlier write failed")) } else { write(self) };
        self.failed = result.is_err();
        result.map_err(|error| Error::Journal { path: self.path.display().to_string(), reason: error.to_string() })
    }
}

/// Makes a file's name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The records, and how many bytes they take; or where the bytes are damaged.
fn read(bytes: &[u8]) -> Result<(Vec<Record>, usize), usize> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(frame) = bytes.get(at..).filter(|frame| !frame.is_empty()) {
        let payload = frame.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = u32::from_be_bytes(*length) as usize;
            let (digest, rest) = rest.split_first_chunk::<8>()?;
            Some((length, digest, rest))
        });
        // A head that is incomplete, or that reached the disk after what follows it.
        let Some((length, digest, rest)) = payload.filter(|(length, ..)| *length > 0) else { break };
        if length > MAX_PAYLOAD {
            return Err(at);
        }
        let Some(payload) = rest.get(..length) else { break };
        if keccak256(payload)[..8] != digest[..] {
            if rest.len() == length {
                break;
            }
            return Err(at);
        }
        records.push(Record::decode(payload).ok_or(at)?);
        at += HEAD + length;
    }
    Ok((records, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    fn records() -> Vec<Record> {
        let signer = crate::Key::new(B256::repeat_byte(1)).expect("a key");
        let request = Request {
            key: "one".into(),
            to: Address::ZERO,
            value: U256::ZERO,
            data: Bytes::from_static(b"abc"),
            gas_limit: None,
            sidecar: None,
        };
        let attempt = super::super::transaction::sign(&signer, &request, 900, 0, 21_000, Default::default());
        let closed = Closed {
            id: 1,
            key: "one".into(),
            digest: request.digest(),
            nonce: 0,
            hash: attempt.hash,
            block_number: 9,
            block_hash: B256::repeat_byte(7),
            success: true,
            gas_used: 21_000,
            cost: (1 << 70) + 5,
        };
        vec![
            Record::Chain(Chain { chain_id: 900, genesis: B256::ZERO, account: signer.address() }),
            Record::Queued { id: 1, at_ms: 5, request: Box::new(request) },
            Record::Signed { id: 1, attempt },
            Record::Forgotten { id: 2 },
            Record::Closed(closed),
        ]
    }

    fn frames(records: &[Record]) -> Vec<Vec<u8>> {
        records.iter().map(Record::frame).collect()
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.journal");
        let (mut journal, read) = Journal::open(path.clone()).expect("created");
        assert!(read.is_empty());
        for record in records() {
            journal.append(&record).expect("written");
        }
        let len = journal.len();
        drop(journal);
        let (mut journal, read) = Journal::open(path.clone()).expect("opened");
        assert_eq!(frames(&read), frames(&records()));
        assert_eq!(journal.len(), len);
        journal.rewrite(records().into_iter().skip(4)).expect("written");
        journal.append(&Record::Forgotten { id: 8 }).expect("written");
        let (_, read) = Journal::open(path).expect("opened");
        assert_eq!(frames(&read), frames(&[records().remove(4), Record::Forgotten { id: 8 }]));
    }

    #[test]
    fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.journal");
        let whole = frames(&records()).concat();
        let last = frames(&records()).pop().expect("frames");
        let kept = whole.len() - last.len();
        for length in kept..whole.len() {
            // What was not written is missing, or zero, or only its head is.
            let missing = whole[..length].to_vec();
            let mut zero = whole.clone();
            zero[length..].fill(0);
            let mut headless = whole.clone();
            headless[kept..(kept + HEAD).max(length)].fill(0);
            for bytes in [missing, zero, headless] {
                fs::write(&path, &bytes).expect("written");
                let (mut journal, read) = Journal::open(path.clone()).expect("opened");
                assert_eq!(read.len(), 4, "{length}");
                journal.append(&Record::Forgotten { id: 3 }).expect("written");
                assert_eq!(Journal::open(path.clone()).expect("opened").1.len(), 5);
            }
        }
    }

    #[test]
    fn damage_elsewhere_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.journal");
        let frames = frames(&records());
        for at in HEAD - 8..frames[0].len() {
            let mut bytes = frames.concat();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("written");
            assert!(matches!(Journal::open(path.clone()), Err(Error::JournalDamaged { offset: 0, .. })), "{at}");
        }
        let unknown = [&[0, 0, 0, 1][..], &keccak256([9])[..8], &[9]].concat();
        fs::write(&path, unknown).expect("written");
        assert!(matches!(Journal::open(path), Err(Error::JournalDamaged { offset: 0, .. })));
    }

    /// Changing the format needs a thought for the journals that are out there.
    #[test]
    fn the_format_is_pinned() {
        let hash = keccak256(frames(&records()).concat());
        assert_eq!(hash.to_string(), "0xe553d6a8911a9370eaad16091a6fefe609fb65604d5dc3d819ba216c83828045");
    }
}
