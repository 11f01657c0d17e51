//! Databases beside the chain's own, opened with the same care: made whole or not at all, the end of their journal repaired after a power failure.

use crate::{StorageError, journal, open_database, sync_folder, sync_folders};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::{fs, path::Path};

/// Opens the database in the folder `path`, or makes an empty one, and its keyspaces by name. With `sync`, each of its batches is to be synced before the next is
/// begun. Whoever opens it sees to it that nobody else has it open.
///
/// # Errors
/// [`StorageError::Corrupt`] if it is damaged, or the system's.
pub fn open_beside(path: &Path, keyspaces: &[&str], sync: bool) -> Result<(Database, Vec<Keyspace>), StorageError> {
    let open = |database: &Database| -> fjall::Result<Vec<Keyspace>> {
        keyspaces.iter().map(|name| database.keyspace(name, KeyspaceCreateOptions::default)).collect()
    };
    if !path.try_exists()? {
        let creating = path.with_extension("creating");
        if creating.try_exists()? {
            fs::remove_dir_all(&creating)?;
        }
        fs::create_dir_all(&creating)?;
        let database = open_database(&creating)?;
        drop(open(&database)?);
        database.persist(PersistMode::SyncAll)?;
        drop(database);
        sync_folders(&creating)?;
        fs::rename(&creating, path)?;
        path.parent().map_or(Ok(()), |parent| sync_folder(if parent == "" { ".".as_ref() } else { parent }))?;
    }
    journal::repair(path, sync)?;
    let database = open_database(path)?;
    let keyspaces = open(&database)?;
    Ok((database, keyspaces))
}
