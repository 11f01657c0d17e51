//! Blobs of sealed blocks, on disk.
//!
//! A folder holds a file for each blob, named by its versioned hash in hexadecimal: the blob (131,072 bytes), its commitment (48), its 128 cell proofs (48
//! each). A file is there, synced, before the block with its transaction is sealed. It stays when the block is withdrawn: what it holds is what its
//! name says, whichever block has it. A file is removed once its blob was last put into a block longer ago than the window.
//!
//! A file of another size, or whose commitment has another versioned hash than its name says, is damaged: a power cut may leave one
//! that was not synced. It is written anew when its blob is put again.

use crate::pool::Sidecar;
use alloy_eips::{
    eip4844::{BYTES_PER_BLOB, BYTES_PER_COMMITMENT, BYTES_PER_PROOF, Blob, Bytes48, kzg_to_versioned_hash},
    eip7594::CELLS_PER_EXT_BLOB,
};
use alloy_primitives::{B256, Bytes, hex};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const FILE_SIZE: usize = BYTES_PER_BLOB + BYTES_PER_COMMITMENT + CELLS_PER_EXT_BLOB * BYTES_PER_PROOF;

/// Extension of a file that is being written.
const UNFINISHED: &str = "new";

#[derive(Clone)]
pub(crate) struct Blobs {
    folder: PathBuf,
    sync: bool,
}

impl Blobs {
    /// Opens the folder, and makes it where there is none. What a crash left unfinished is removed.
    pub(crate) fn open(folder: PathBuf, sync: bool) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { folder, sync })
    }

    /// Keeps the blobs of a transaction with these versioned hashes.
    pub(crate) fn put(&self, hashes: &[B256], sidecar: &Sidecar) -> io::Result<()> {
        let proofs = sidecar.cell_proofs.chunks_exact(CELLS_PER_EXT_BLOB);
        for (((hash, blob), commitment), proofs) in
            hashes.iter().zip(&sidecar.blobs).zip(&sidecar.commitments).zip(proofs)
        {
            let path = self.path(*hash);
            if let Ok(file) = File::options().read(true).write(true).open(&path)
                && is_whole(&file, *hash)?
            {
                file.set_modified(SystemTime::now())?;
                continue;
            }
            let new = path.with_extension(UNFINISHED);
            let mut file = File::create(&new)?;
            file.write_all(blob.as_slice())?;
            file.write_all(commitment.as_slice())?;
            for proof in proofs {
                file.write_all(proof.as_slice())?;
            }
            if self.sync {
                file.sync_all()?;
            }
            fs::rename(new, path)?;
        }
        if self.sync { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    /// The blob with this versioned hash.
    pub(crate) fn get(&self, hash: B256) -> io::Result<Option<Bytes>> {
        let Some(mut contents) = self.read(hash)? else { return Ok(None) };
        contents.truncate(BYTES_PER_BLOB);
        Ok(Some(contents.into()))
    }

    /// The sidecar of a transaction with these versioned hashes, if all of it is here.
    pub(crate) fn sidecar(&self, hashes: &[B256]) -> io::Result<Option<Sidecar>> {
        let mut sidecar = Sidecar::new(Vec::new(), Vec::new(), Vec::new());
        for hash in hashes {
            let Some(contents) = self.read(*hash)? else { return Ok(None) };
            let (blob, rest) = contents.split_at(BYTES_PER_BLOB);
            let (commitment, proofs) = rest.split_at(BYTES_PER_COMMITMENT);
            sidecar.blobs.push(Blob::from_slice(blob));
            sidecar.commitments.push(Bytes48::from_slice(commitment));
            sidecar.cell_proofs.extend(proofs.chunks_exact(BYTES_PER_PROOF).map(Bytes48::from_slice));
        }
        Ok(Some(sidecar))
    }

    /// Removes blobs that were last put into a block longer ago than `window`.
    ///
    /// # Errors
    /// The first error; all other files are seen to nevertheless.
    pub(crate) fn prune(&self, window: Duration) -> io::Result<()> {
        let Some(oldest) = SystemTime::now().checked_sub(window) else { return Ok(()) };
        let mut outcome = Ok(());
        for entry in fs::read_dir(&self.folder)? {
            let removed = entry.and_then(|entry| {
                let old = entry.metadata()?.modified()? < oldest;
                if old { fs::remove_file(entry.path()) } else { Ok(()) }
            });
            outcome = outcome.and(removed);
        }
        outcome
    }

    fn read(&self, hash: B256) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut contents = Vec::with_capacity(FILE_SIZE);
        file.take(FILE_SIZE as u64 + 1).read_to_end(&mut contents)?;
        let whole = contents.len() == FILE_SIZE
            && kzg_to_versioned_hash(&contents[BYTES_PER_BLOB..BYTES_PER_BLOB + BYTES_PER_COMMITMENT]) == hash;
        if whole { Ok(Some(contents)) } else { Err(damaged(&self.path(hash))) }
    }

    fn path(&self, hash: B256) -> PathBuf {
        self.folder.join(hex::encode(hash))
    }
}

/// Whether a file has the right size, and the commitment of this versioned hash.
fn is_whole(file: &File, hash: B256) -> io::Result<bool> {
    if file.metadata()?.len() != FILE_SIZE as u64 {
        return Ok(false);
    }
    let mut commitment = [0; BYTES_PER_COMMITMENT];
    file.read_exact_at(&mut commitment, BYTES_PER_BLOB as u64)?;
    Ok(kzg_to_versioned_hash(&commitment) == hash)
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar(bytes: &[u8]) -> (Vec<B256>, Sidecar) {
        let hashes = bytes.iter().map(|byte| kzg_to_versioned_hash(&[*byte; BYTES_PER_COMMITMENT])).collect();
        let blobs = bytes.iter().map(|byte| Blob::repeat_byte(*byte)).collect();
        let commitments = bytes.iter().map(|byte| Bytes48::repeat_byte(*byte)).collect();
        let proofs = bytes.iter().flat_map(|byte| (0..128).map(|cell| Bytes48::repeat_byte(*byte ^ cell)));
        (hashes, Sidecar::new(blobs, commitments, proofs.collect()))
    }

    #[test]
    fn what_is_put_is_found_again_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(folder.path().join("blobs"), true).expect("made");
        let (hashes, both) = sidecar(&[1, 2]);
        assert_eq!(blobs.sidecar(&hashes).expect("readable"), None);
        blobs.put(&hashes, &both).expect("written");
        blobs.put(&hashes[1..], &sidecar(&[2]).1).expect("again");
        assert_eq!(blobs.get(hashes[1]).expect("readable").expect("there")[..], [2; BYTES_PER_BLOB]);
        assert_eq!(blobs.sidecar(&hashes).expect("readable"), Some(both));
        assert_eq!(blobs.get(B256::repeat_byte(3)).expect("readable"), None);
        assert_eq!(blobs.sidecar(&[hashes[0], B256::repeat_byte(3)]).expect("readable"), None, "all or nothing");

        let path = blobs.path(hashes[0]);
        fs::write(&path, [0; 5]).expect("written");
        assert!(blobs.get(hashes[0]).is_err(), "a file that is cut off is no blob");
        blobs.put(&hashes[..1], &sidecar(&[1]).1).expect("written anew");
        assert!(blobs.get(hashes[0]).expect("readable").is_some());
        // As a power cut leaves a file whose length is on disk and whose bytes are not.
        fs::write(&path, vec![0; FILE_SIZE]).expect("written");
        assert!(blobs.get(hashes[0]).is_err() && blobs.sidecar(&hashes).is_err(), "nor is one of zeros");
        blobs.put(&hashes[..1], &sidecar(&[1]).1).expect("written anew");
        assert_eq!(blobs.get(hashes[0]).expect("readable").expect("there")[..], [1; BYTES_PER_BLOB]);
    }

    #[test]
    fn what_a_crash_left_unfinished_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(folder.path().to_owned(), false).expect("there");
        let (hashes, one) = sidecar(&[1]);
        blobs.put(&hashes, &one).expect("written");
        let unfinished = folder.path().join("0123.new");
        fs::write(&unfinished, [0; 5]).expect("written");
        let blobs = Blobs::open(folder.path().to_owned(), false).expect("there");
        assert!(!unfinished.exists() && blobs.get(hashes[0]).expect("readable").is_some());
    }

    #[test]
    fn what_cannot_be_removed_keeps_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(folder.path().to_owned(), false).expect("there");
        let (hashes, all) = sidecar(&[1, 2, 3, 4, 5]);
        blobs.put(&hashes, &all).expect("written");
        // Folders are not removed as files are, whoever runs the test.
        for name in ["a", "b", "c"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(blobs.prune(Duration::from_millis(1)).is_err());
        assert!(hashes.iter().all(|hash| matches!(blobs.get(*hash), Ok(None))));
    }

    #[test]
    fn only_what_no_block_took_for_the_window_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(folder.path().to_owned(), false).expect("there");
        let (hashes, three) = sidecar(&[1, 2, 3]);
        blobs.put(&hashes, &three).expect("written");
        for hash in &hashes[..2] {
            let file = File::options().write(true).open(blobs.path(*hash)).expect("there");
            file.set_modified(SystemTime::now() - Duration::from_secs(100)).expect("set");
        }
        blobs.put(&hashes[1..2], &sidecar(&[2]).1).expect("put into a block again");
        blobs.prune(Duration::from_secs(50)).expect("pruned");
        blobs.prune(Duration::MAX).expect("pruned");
        let left: Vec<bool> = hashes.iter().map(|hash| blobs.get(*hash).expect("readable").is_some()).collect();
        assert_eq!(left, [false, true, true]);
    }
}
