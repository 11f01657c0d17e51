//! A tree in a file: appended to, synced, signed; opened again and checked.

use crate::{Checkpoint, Error, Key, VerifyingKey, check_inclusion, note::MAX_NOTE};
use alloy_primitives::B256;
use parking_lot::{Mutex, RwLock};
use std::{
    cell::RefCell,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use tlog_tiles::{
    EMPTY_HASH, Hash, HashReader, node_hash, prove_record, prove_tree, record_hash, split_stored_hash_index,
    stored_hash_count, stored_hashes, tree_hash,
};

/// How many leaves at the end are hashed again when a ledger is opened.
pub const TAIL: u64 = 1024;
/// Bytes that are read at a time when everything is hashed again.
const CHUNK: u64 = 1 << 20;
const HASH: u64 = 32;

/// An append-only Merkle tree of leaves of one length.
pub(crate) struct Log {
    folder: PathBuf,
    file: File,
    /// Bytes of a leaf.
    leaf: u64,
    key: Key,
    /// The last that was signed: what readers see.
    checkpoint: RwLock<Checkpoint>,
    /// Held by whoever appends; false once a write has failed.
    writer: Mutex<bool>,
    /// Unlocked last.
    _lock: File,
}

impl Log {
    pub(crate) fn open(folder: &Path, leaf: usize, key: Key) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Locked,
            TryLockError::Error(error) => Error::Io(error),
        })?;
        let checkpoint = read_checkpoint(folder)?;
        let path = folder.join("log");
        let exists = path.try_exists()?;
        if !exists && checkpoint.is_some() {
            return Err(Error::Altered("the log is gone"));
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        if !exists {
            file.sync_all()?;
            sync_folder(folder)?;
            folder.parent().map_or(Ok(()), |parent| sync_folder(if parent == "" { ".".as_ref() } else { parent }))?;
        }
        let checkpoint = match checkpoint {
            Some(note) => key.verifying_key().open(&note)?,
            None if file.metadata()?.len() > 0 => return Err(Error::Checkpoint("it is gone")),
            None => {
                let empty = key.sign(0, EMPTY_HASH);
                write_checkpoint(folder, &empty)?;
                empty
            }
        };
        let log = Self {
            folder: folder.to_owned(),
            file,
            leaf: leaf as u64,
            key,
            checkpoint: RwLock::new(checkpoint),
            writer: Mutex::new(true),
            _lock: lock,
        };
        log.recover()?;
        Ok(log)
    }

    /// What was signed last.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.read().clone()
    }

    pub(crate) fn size(&self) -> u64 {
        self.checkpoint.read().size
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    fn offset(&self, index: u64) -> u64 {
        offset(self.leaf, index)
    }

    /// The leaf's bytes, as they are on disk.
    pub(crate) fn leaf(&self, index: u64) -> Result<Vec<u8>, Error> {
        let mut leaf = vec![0; self.leaf as usize];
        self.file.read_exact_at(&mut leaf, self.offset(index))?;
        Ok(leaf)
    }

    /// Appends leaves, in one write. They are durable and signed when this returns.
    pub(crate) fn append(&self, leaves: &[Vec<u8>]) -> Result<Checkpoint, Error> {
        let mut sound = self.writer.lock();
        if !*sound {
            return Err(Error::Stopped);
        }
        let size = self.size();
        if leaves.is_empty() {
            return Ok(self.checkpoint());
        }
        let mut hashes = Hashes::of(self, size);
        let mut bytes = Vec::with_capacity(leaves.len() * (self.leaf + 2 * HASH) as usize);
        for (index, leaf) in (size..).zip(leaves) {
            debug_assert_eq!(leaf.len() as u64, self.leaf);
            let new = hashes.run(|hashes| stored_hashes(index, leaf, hashes))?;
            bytes.extend_from_slice(leaf);
            new.iter().for_each(|hash| bytes.extend_from_slice(&hash.0));
            hashes.new.extend(new);
        }
        let after = size + leaves.len() as u64;
        let root = hashes.run(|hashes| tree_hash(after, hashes))?;
        *sound = false;
        self.file.write_all_at(&bytes, self.offset(size))?;
        self.file.sync_data()?;
        let checkpoint = self.key.sign(after, root);
        write_checkpoint(&self.folder, &checkpoint)?;
        *sound = true;
        *self.checkpoint.write() = checkpoint.clone();
        Ok(checkpoint)
    }

    /// The root of the tree of the first `size` leaves, from the hashes on disk.
    pub(crate) fn root(&self, size: u64) -> Result<Hash, Error> {
        if size > self.size() {
            return Err(Error::Unknown("a size above the ledger's"));
        }
        Hashes::of(self, size).run(|hashes| tree_hash(size, hashes))
    }

    /// A proof that a leaf is in the tree of the first `size`.
    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<B256>, Error> {
        if index >= size || size > self.size() {
            return Err(Error::Unknown("a leaf, or a size above the ledger's"));
        }
        let proof = Hashes::of(self, size).run(|hashes| prove_record(size, index, hashes))?;
        let proof: Vec<B256> = proof.into_iter().map(|hash| B256::new(hash.0)).collect();
        // what the disk has may have changed since it was opened
        let root = B256::new(self.root(size)?.0);
        check_inclusion(&root, size, index, &self.leaf(index)?, &proof)
            .map_err(|_| Error::Altered("a leaf or a hash is not what was signed"))?;
        Ok(proof)
    }

    /// A proof that the tree of the first `old` leaves is the beginning of that of the first `new`.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Vec<B256>, Error> {
        if old > new || new > self.size() {
            return Err(Error::Unknown("a size above the ledger's, or above the newer one"));
        }
        if old == 0 {
            return Ok(Vec::new());
        }
        let proof = Hashes::of(self, new).run(|hashes| prove_tree(new, old, hashes))?;
        Ok(proof.into_iter().map(|hash| B256::new(hash.0)).collect())
    }

    /// Hashes every leaf again, as [`verify`].
    pub(crate) fn verify_all(&self, visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<Checkpoint, Error> {
        let checkpoint = self.checkpoint();
        verify(&self.file, self.leaf, &checkpoint, visit)?;
        Ok(checkpoint)
    }

    /// Checks what was signed, keeps whole records above it, and cuts off what was not written to its end.
    fn recover(&self) -> Result<(), Error> {
        let signed = self.size();
        let length = check_length(&self.file, self.leaf, signed)?;
        if self.checkpoint().root != self.root(signed)?.0 {
            return Err(Error::Altered("the root is not the signed one"));
        }
        for index in signed.saturating_sub(TAIL)..signed {
            if !self.is_whole(index)? {
                return Err(Error::Altered("a leaf or a hash is not what was signed"));
            }
        }
        let mut size = signed;
        while self.offset(size + 1) <= length && self.is_whole(size)? {
            size += 1;
        }
        if self.offset(size) < length {
            tracing::warn!(bytes = length - self.offset(size), "cutting an unfinished append off the ledger");
            self.file.set_len(self.offset(size))?;
        }
        if size > signed || self.offset(size) < length {
            self.file.sync_all()?;
        }
        if size > signed {
            let root = Hashes::of(self, size).run(|hashes| tree_hash(size, hashes))?;
            let checkpoint = self.key.sign(size, root);
            write_checkpoint(&self.folder, &checkpoint)?;
            *self.checkpoint.write() = checkpoint;
        }
        Ok(())
    }

    /// Whether a record's hashes are those of its leaf and of what is before it.
    fn is_whole(&self, index: u64) -> Result<bool, Error> {
        let leaf = self.leaf(index)?;
        let expected = Hashes::of(self, index).run(|hashes| stored_hashes(index, &leaf, hashes))?;
        let mut found = vec![0; expected.len() * HASH as usize];
        self.file.read_exact_at(&mut found, self.offset(index) + self.leaf)?;
        Ok(found.chunks(HASH as usize).eq(expected.iter().map(|hash| &hash.0[..])))
    }
}

/// Where a record begins, in bytes, among leaves of this length.
fn offset(leaf: u64, index: u64) -> u64 {
    index * leaf + stored_hash_count(index) * HASH
}

/// Checks a folder's log against its checkpoint, by this key, without writing; its owner may append meanwhile.
pub(crate) fn audit(
    folder: &Path,
    leaf: usize,
    key: &VerifyingKey,
    visit: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Checkpoint, Error> {
    let note = read_checkpoint(folder)?.ok_or(Error::Checkpoint("it is gone"))?;
    let checkpoint = key.open(&note)?;
    verify(&File::open(folder.join("log"))?, leaf as u64, &checkpoint, visit)?;
    Ok(checkpoint)
}

/// Hashes every leaf again, compares each hash on disk, and the root with the signed one; `visit` sees each leaf.
fn verify(
    file: &File,
    leaf: u64,
    checkpoint: &Checkpoint,
    mut visit: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    check_length(file, leaf, checkpoint.size)?;
    // of each level, the last subtree that waits for its sibling
    let mut open: Vec<Option<Hash>> = Vec::new();
    let mut index = 0;
    while index < checkpoint.size {
        let until = checkpoint.size.min(index + (CHUNK / (leaf + HASH)).max(1));
        let mut chunk = vec![0; (offset(leaf, until) - offset(leaf, index)) as usize];
        file.read_exact_at(&mut chunk, offset(leaf, index))?;
        let mut rest = &chunk[..];
        for index in index..until {
            let bytes = take(&mut rest, leaf as usize)?;
            visit(bytes)?;
            let mut hash = record_hash(bytes);
            let mut level = 0;
            loop {
                if take(&mut rest, HASH as usize)? != hash.0 {
                    return Err(Error::Altered("a leaf or a hash is not what was signed"));
                }
                if open.len() <= level {
                    open.push(None);
                }
                match open[level].take() {
                    Some(left) if index >> level & 1 == 1 => hash = node_hash(left, hash),
                    _ => break open[level] = Some(hash),
                }
                level += 1;
            }
        }
        index = until;
    }
    let root = open.into_iter().flatten().reduce(|right, left| node_hash(left, right)).unwrap_or(EMPTY_HASH);
    if checkpoint.root == root.0 { Ok(()) } else { Err(Error::Altered("the root is not the signed one")) }
}

/// Whether a file has so many leaves. Returns its length.
fn check_length(file: &File, leaf: u64, signed: u64) -> Result<u64, Error> {
    let length = file.metadata()?.len();
    if signed > length / leaf || offset(leaf, signed) > length {
        let most = signed.min(length / leaf + 1);
        let found = (0..most).rev().find(|size| offset(leaf, *size) <= length).unwrap_or(0);
        return Err(Error::Truncated { signed, found });
    }
    Ok(length)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Error> {
    let (bytes, after) = rest.split_at_checked(count).ok_or(Error::Altered("a record is not whole"))?;
    *rest = after;
    Ok(bytes)
}

/// The hashes of a log: those on disk, and those of an append under way.
struct Hashes<'a> {
    log: &'a Log,
    /// The number of the first new one.
    first: u64,
    new: Vec<Hash>,
    /// What the disk answered where it did not give a hash.
    failed: RefCell<Option<io::Error>>,
}

impl<'a> Hashes<'a> {
    /// With those of the first `size` leaves on disk.
    fn of(log: &'a Log, size: u64) -> Self {
        Self { log, first: stored_hash_count(size), new: Vec::new(), failed: RefCell::new(None) }
    }

    /// The tree's arithmetic on them.
    fn run<T>(&self, work: impl FnOnce(&Self) -> Result<T, tlog_tiles::tlog::Error>) -> Result<T, Error> {
        work(self).map_err(|_| self.failed.take().map_or(Error::Altered("a hash is missing"), Error::Io))
    }
}

impl HashReader for Hashes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::tlog::Error> {
        let read = |index: u64| {
            if let Some(new) = index.checked_sub(self.first) {
                return self.new.get(new as usize).copied().ok_or(tlog_tiles::tlog::Error::IndexesNotInTree);
            }
            let (level, n) = split_stored_hash_index(index);
            let by = ((n + 1) << level) - 1;
            let at = self.log.offset(by) + self.log.leaf + u64::from(level) * HASH;
            let mut hash = [0; 32];
            self.log.file.read_exact_at(&mut hash, at).map_err(|error| {
                self.failed.replace(Some(error));
                tlog_tiles::tlog::Error::IndexesNotInTree
            })?;
            Ok(Hash(hash))
        };
        indexes.iter().map(|index| read(*index)).collect()
    }
}

fn read_checkpoint(folder: &Path) -> Result<Option<String>, Error> {
    let path = folder.join("checkpoint");
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) if metadata.len() > MAX_NOTE as u64 => return Err(Error::Checkpoint("it is too long")),
        Ok(_) => {}
    }
    String::from_utf8(fs::read(path)?).map(Some).map_err(|_| Error::Checkpoint("it is not text"))
}

/// Replaces the checkpoint on disk, as one step.
fn write_checkpoint(folder: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    write_file(folder, "checkpoint", checkpoint.note.as_bytes())
}

/// Writes a file that is there whole or not at all, and durable when this returns.
pub(crate) fn write_file(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, folder.join(name))?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
