//! Blobs that are kept, for longer than beacon nodes do: by this node, for itself and for others.
//!
//! A folder holds a file for each blob, named by its versioned hash in hexadecimal: its 131,072 bytes. A file is there whole or not at all. What it holds is
//! believed as little as what any other source says.

use crate::{
    blobs::{BlobError, BlobSource},
    watcher::L1Block,
};
use alloy_eips::eip4844::BYTES_PER_BLOB;
use alloy_primitives::{B256, Bytes, hex};
use futures_util::future::BoxFuture;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Extension of a file that is being written.
const UNFINISHED: &str = "new";

/// A folder of blobs. May be used by several threads: two that write one blob write the same.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Opens the folder, and makes it where there is none. What a crash left unfinished is removed.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { folder: folder.into() })
    }

    /// Keeps a blob with its versioned hash, unless one is there. It is on disk when this returns.
    ///
    /// # Errors
    /// The file system's.
    pub fn put(&self, hash: B256, blob: &[u8]) -> io::Result<()> {
        let path = self.path(hash);
        if fs::read(&path).is_ok_and(|kept| kept == blob) {
            return Ok(());
        }
        let new = path.with_extension(format!("{:?}.{UNFINISHED}", std::thread::current().id()));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(blob)?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
            // It may not be there.
            let _ = fs::remove_file(new);
            return Err(error);
        }
        File::open(&self.folder)?.sync_all()
    }

    /// The blob with this versioned hash, not checked; none too if its file has another length.
    ///
    /// # Errors
    /// The file system's.
    pub fn get(&self, hash: B256) -> io::Result<Option<Bytes>> {
        match fs::read(self.path(hash)) {
            Ok(blob) => Ok(Some(blob.into()).filter(|blob: &Bytes| blob.len() == BYTES_PER_BLOB)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn path(&self, hash: B256) -> PathBuf {
        self.folder.join(hex::encode(hash))
    }
}

impl BlobSource for Archive {
    fn name(&self) -> &str {
        "this node"
    }

    fn blobs<'a>(&'a self, _: L1Block, hashes: &'a [B256]) -> BoxFuture<'a, Result<Vec<Bytes>, BlobError>> {
        let (archive, hashes) = (Self { folder: self.folder.clone() }, hashes.to_vec());
        let read = move || hashes.iter().filter_map(|hash| archive.get(*hash).transpose()).collect::<io::Result<_>>();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(read).await.map_err(|_| BlobError::Stopping)?;
            read.map_err(BlobError::Archive)
        })
    }
}
