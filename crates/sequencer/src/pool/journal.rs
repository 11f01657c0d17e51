//! The pool on disk: what lets accepted transactions survive a restart.
//!
//! The file starts with the 8 bytes `JOVEPOL1`. Records follow: the length of a transaction's EIP-2718 encoding (u32, little-endian), the
//! first 8 bytes of the encoding's Keccak-256, the encoding; of a blob transaction it is the network form, blobs included. Each batch of accepted transactions is appended by one write before their senders learn of
//! it; the operating system decides when it reaches the disk. Included and dropped transactions stay until the file is rewritten with
//! what the pool holds: when it has grown to twice that, and at a clean stop.
//!
//! A reader stops at the first record that is cut off or whose hash does not match: a crash tears at most the end. What is read
//! goes through all checks again but one: blobs were proven before they were written down.

use super::{
    blob::{self, MAX_BLOB_TRANSACTION_SIZE},
    entry::Entry,
};
use alloy_eips::Encodable2718;
use alloy_primitives::{Bytes, keccak256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

const MAGIC: [u8; 8] = *b"JOVEPOL1";
const RECORD_HEADER: usize = 12;
/// Size below which the file is not rewritten.
pub(super) const MIN_REWRITE: u64 = 16 * 1024 * 1024;
/// Pause after a failed write.
const RETRY: Duration = Duration::from_secs(10);

pub(super) struct Journal {
    path: PathBuf,
    /// Absent until the first rewrite, and after a failure.
    file: Option<File>,
    size: u64,
    rewrite_at: u64,
    retry_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl Journal {
    /// A journal at `path`, to be read and then rewritten.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, size: 0, rewrite_at: MIN_REWRITE, retry_at: None, buffer: Vec::new() }
    }

    /// Hands the transactions in the file to `each`, up to `max_bytes` of them, in the order in which they were written.
    ///
    /// # Errors
    /// If there is a file that cannot be read. Damage is no error: what follows it is lost, and logged.
    pub(super) fn read(&self, max_bytes: u64, each: impl FnMut(Bytes)) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        let read = read_records(BufReader::new(file).take(max_bytes), each)?;
        if read < len {
            tracing::warn!(path = %self.path.display(), bytes = len - read, "the end of the pool's journal is damaged or too long");
        }
        Ok(())
    }

    /// Appends accepted transactions. Whether it is time to rewrite the file.
    pub(super) fn append(&mut self, entries: &[Arc<Entry>]) -> bool {
        let Some(file) = &mut self.file else {
            return self.retry_at.is_none_or(|at| at <= Instant::now());
        };
        self.buffer.clear();
        for entry in entries {
            encode(entry, &mut self.buffer);
        }
        if let Err(error) = file.write_all(&self.buffer) {
            self.fail(&error);
            return false;
        }
        self.size += self.buffer.len() as u64;
        self.size >= self.rewrite_at
    }

    /// Replaces the file by one with these transactions only. `sync` waits for the disk.
    ///
    /// # Errors
    /// If the disk refuses. The journal tries again when transactions arrive later.
    pub(super) fn rewrite(&mut self, entries: &[Arc<Entry>], sync: bool) -> io::Result<()> {
        match write_new(&self.path, entries, sync) {
            Ok((file, size)) => {
                (self.file, self.size, self.retry_at) = (Some(file), size, None);
                self.rewrite_at = MIN_REWRITE.max(size.saturating_mul(2));
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "cannot write the pool's journal: a restart would lose transactions");
        // The end may be torn: nothing can be appended to it.
        self.file = None;
        self.retry_at = Some(Instant::now() + RETRY);
    }
}

fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; RECORD_HEADER]);
    let body = out.len();
    let hash = match &entry.sidecar {
        None => {
            entry.transaction().encode_2718(out);
            entry.hash()
        }
        Some(sidecar) => {
            blob::encode(entry.transaction(), sidecar, out);
            keccak256(&out[body..])
        }
    };
    // The pool takes no transaction beyond a megabyte.
    let len = (out.len() - body) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..body].copy_from_slice(&hash[..8]);
}

fn write_new(path: &Path, entries: &[Arc<Entry>], sync: bool) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut out = BufWriter::new(OpenOptions::new().create(true).write(true).truncate(true).open(&new)?);
    out.write_all(&MAGIC)?;
    let mut size = MAGIC.len() as u64;
    let mut record = Vec::new();
    for entry in entries {
        record.clear();
        encode(entry, &mut record);
        out.write_all(&record)?;
        size += record.len() as u64;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&new, path)?;
    Ok((file, size))
}

/// Reads records until the end or the first that is damaged. Returns the bytes of the sound part.
fn read_records(mut from: impl Read, mut each: impl FnMut(Bytes)) -> io::Result<u64> {
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut from, &mut magic)? || magic != MAGIC {
        return Ok(0);
    }
    let mut sound = MAGIC.len() as u64;
    let mut header = [0; RECORD_HEADER];
    while fill(&mut from, &mut header)? {
        let [a, b, c, d, hash @ ..] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_BLOB_TRANSACTION_SIZE {
            break;
        }
        let mut encoded = vec![0; len];
        if !fill(&mut from, &mut encoded)? || keccak256(&encoded)[..8] != hash {
            break;
        }
        each(encoded.into());
        sound += (RECORD_HEADER + len) as u64;
    }
    Ok(sound)
}

/// Fills the buffer; false if the end comes first.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
