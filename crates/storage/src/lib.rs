//! Durable state, blocks, indexes and history.
//!
//! [`Storage`] is the store. One writer at a time appends blocks ([`Storage::commit`]), takes them back ([`Storage::unwind`]) and forgets
//! history ([`Storage::prune_history`]); any number of readers hold [`View`]s. Each write is one atomic batch of
//! [fjall](https://docs.rs/fjall), which is synced (`fdatasync`) before the call returns.
//!
//! ```text
//!             commit, unwind, prune: one batch, one fdatasync
//!  ChangeSet ───────────────┬──────────────┬────────────────┐
//!  ExecutedBlock            ▼              ▼                ▼
//!                      flat state       history          blocks, indexes
//!                           ▲              ▲                ▲
//!  View ── StateView ───────┴──────────────┘                │
//!    └──── header, block, transaction, logs ────────────────┘
//! ```
//!
//! # State at any block
//! The flat state is that of the head. History has, for each key and each block that changed it, the value *before* that block. So the
//! value after block N is the first value in the key's history above N, and the flat value where there is none. A block's whole change set
//! is kept too, under its number, to undo it.
//!
//! # Views
//! A view is a snapshot of all keyspaces as of one head. It is opened by the writer, after the batch is in and before the next begins,
//! and shared by all who ask until the next head: a clone of an [`Arc`]. (fjall's own `Database::snapshot` may be taken at any time, but in
//! fjall 3.1 a flush or compaction that ends while a batch is being applied raises the visible sequence number past that batch, and a snapshot
//! opened then sees half of it.)
//!
//! # Format
//! A store is a folder with `lock`, held while it is open, and `store`, a fjall database. It is made in `creating`, which is
//! renamed when it is complete. Integers in keys and values are big-endian. A *minimal* number has no leading zero byte; zero is no byte. A
//! *short* number is a length byte and a minimal number of up to 32 bytes. A *varint* is LEB128. Nothing may be left over at
//! the end of a value.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | `format` | u32: this format's version, 1 |
//! | | `oldest` | u64: oldest block whose state can be read; absent: 0 |
//! | | `pruned` | u64: last block whose history is removed; absent: 0 |
//! | | `user/` name | a value of [`Storage::put_meta`] |
//! | `accounts` | address | account |
//! | `slots` | address, slot (32 bytes) | minimal number; absent for zero |
//! | `codes` | Keccak-256 of the code | the code, never removed |
//! | `account_history` | address, block (u64) | account before the block; empty: absent |
//! | `slot_history` | address, slot, block (u64) | minimal number before the block |
//! | `changes` | block (u64) | change set |
//! | `headers` | block (u64) | hash (32 bytes), RLP of the header |
//! | `bodies` | block (u64) | body |
//! | `block_numbers` | block hash | block (u64) |
//! | `transactions` | transaction hash | block (u64), index (u32) |
//! | `unwound` | hash of a block that was unwound, or of a transaction in one | empty; stays though it comes back |
//! | `logs` | kind (1 byte), term (32 bytes), block (u64) | empty |
//!
//! - account: one byte, the balance's length with 0x80 added if there is code; nonce, a varint; balance, minimal; with code, its hash.
//! - change set: for each account that changed or has a slot that did, by address: address; one byte, 1 if the account itself changed,
//!   else 0; if 1, the account before the block after a byte with its length (0: absent); number of slots, a varint; for each slot
//!   that changed, in order, slot and value before the block, short numbers. Block 0 has neither change set nor history.
//! - body: RLP list of receipts, each `[type, success, cumulative gas, [log, …]]`; L1's base fee and blob base fee (u128 each); for each
//!   transaction: sender (20 bytes), L1 data fee, a short number, length of the encoding, a varint, EIP-2718 encoding.
//! - logs: a posting says that the block has a log. Kind 0: of the address in the last 20 bytes of the term; kinds 1 to 4: with the term as its
//!   topic 0 to 3; kind 5, term zero: any.

mod beside;
mod cache;
mod codec;
mod commit;
mod journal;
mod logs;
#[cfg(test)]
mod tests;
mod view;

pub use beside::open_beside;
pub use logs::{LogEntry, LogFilter};
pub use view::{StateView, TransactionPosition, View};

use alloy_primitives::{Address, B256};
use cache::BlockCache;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
    config::FilterPolicy,
};
use jove_primitives::{ChangeSet, ExecutedBlock};
use parking_lot::{Mutex, RwLock};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::Arc,
};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// fdatasync before a write returns (default true). Without it the latest blocks may be lost with the machine's power, but not with the process.
    pub sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync: true }
    }
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The state of a block below the horizon of [`Storage::prune_history`] was asked for, or an unwinding to it. Ask for a later block.
    #[error("state of block {block} is pruned; the oldest is {oldest}")]
    Pruned {
        /// The block asked for.
        block: u64,
        /// The oldest block whose state can be read.
        oldest: u64,
    },
    /// A block above the head was asked for, or any block of an empty store.
    #[error("block {0} is not in the chain")]
    UnknownBlock(u64),
    /// A log query matches more than its limit. Narrow the range or the filter.
    #[error("query returned more than {0} results")]
    TooManyResults(usize),
    /// A query's deadline passed. Narrow the range or the filter, or ask for a later block.
    #[error("query timed out")]
    Timeout,
    /// A block to commit does not have the number after the head's, or the first block is not block 0. A caller's mistake.
    #[error("block {number} does not follow: expected block {expected}")]
    NotNext {
        /// The block's number.
        number: u64,
        /// The number after the head's.
        expected: u64,
    },
    /// The parent of a block to commit is not the head. A caller's mistake.
    #[error("the parent of block {0} is not the head")]
    WrongParent(u64),
    /// A block to commit has other numbers of transactions, receipts and L1 fees. A caller's mistake.
    #[error("block {0} has other numbers of transactions, receipts and L1 fees")]
    Uneven(u64),
    /// A change set to commit wipes an account without listing all its slots: [`Storage::complete_wipes`] was not called. A caller's mistake.
    #[error("the change set wipes {0} without listing all of its storage")]
    IncompleteWipe(Address),
    /// The store was written by another version of this program. Use that version, or start with an empty folder.
    #[error("the store has format {0}; this program reads format {format}", format = codec::FORMAT)]
    UnknownFormat(u32),
    /// Another process has the store open.
    #[error("the store is in use by another process")]
    Locked,
    /// Bytes on disk that this store did not write. Restore the folder from a copy, or sync it anew.
    #[error("the store is corrupt: {0}")]
    Corrupt(&'static str),
    /// The operating system refused, when the store was opened.
    #[error("store: {0}")]
    Io(#[from] io::Error),
    /// The database refused. After a failed write it takes no others: open the store again.
    #[error("store: {0}")]
    Fjall(#[from] fjall::Error),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    store: Arc<Store>,
}

/// What `unwind` took back.
#[derive(Debug)]
pub struct Unwound {
    /// Blocks removed, newest first.
    pub blocks: Vec<ExecutedBlock>,
    /// One change set that turns the old head's state into the new head's (apply it to the trie).
    pub changes: ChangeSet,
}

/// What [`Storage`] and its views share.
struct Store {
    keyspaces: Keyspaces,
    /// The head that new views see.
    head: RwLock<Arc<Head>>,
    /// Held by whoever writes.
    writer: Mutex<Writer>,
    cache: BlockCache,
    sync: bool,
    database: Database,
    /// Unlocked last.
    _lock: File,
}

/// What only the writer needs to know.
struct Writer {
    /// Last block whose history is removed.
    pruned: u64,
}

/// A committed head and the snapshot of everything as of it.
struct Head {
    /// Number and hash of the last block; none in an empty store.
    block: Option<(u64, B256)>,
    /// Oldest block whose state can be read.
    oldest: u64,
    snapshot: Snapshot,
}

/// Names of the internal values in `meta`.
const FORMAT_KEY: &str = "format";
const OLDEST_KEY: &str = "oldest";
const PRUNED_KEY: &str = "pruned";
const USER_PREFIX: &str = "user/";

/// Memory for each keyspace's newest writes, in bytes.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// Journal on disk before the keyspaces that hold it back are flushed: what a start has to replay at most, nearly.
const JOURNAL_BYTES: u64 = 256 << 20;
/// Memory for blocks of the database's files.
const CACHE_BYTES: u64 = 128 << 20;

/// The tables of the crate's documentation.
struct Keyspaces {
    meta: Keyspace,
    accounts: Keyspace,
    slots: Keyspace,
    codes: Keyspace,
    account_history: Keyspace,
    slot_history: Keyspace,
    changes: Keyspace,
    headers: Keyspace,
    bodies: Keyspace,
    block_numbers: Keyspace,
    transactions: Keyspace,
    unwound: Keyspace,
    logs: Keyspace,
}

impl Keyspaces {
    fn open(database: &Database, memtable: u64) -> fjall::Result<Self> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
        let point = |name: &str| database.keyspace(name, options);
        // A filter says whether a table has a key; whoever looks for the first key after another has no use for it.
        let range = |name: &str| database.keyspace(name, || options().filter_policy(FilterPolicy::disabled()));
        Ok(Self {
            meta: point("meta")?,
            accounts: point("accounts")?,
            slots: point("slots")?,
            codes: point("codes")?,
            account_history: range("account_history")?,
            slot_history: range("slot_history")?,
            changes: range("changes")?,
            headers: range("headers")?,
            bodies: range("bodies")?,
            block_numbers: point("block_numbers")?,
            transactions: point("transactions")?,
            unwound: point("unwound")?,
            logs: range("logs")?,
        })
    }
}

impl Storage {
    /// Opens the store in the folder `path`, or makes an empty one.
    ///
    /// # Errors
    /// [`StorageError::Locked`], [`StorageError::UnknownFormat`], [`StorageError::Corrupt`], or the system's.
    pub fn open(path: &Path, options: Options) -> Result<Self, StorageError> {
        Self::open_with_memtables(path, options, MEMTABLE_BYTES)
    }

    /// [`Self::open`] with memtables so small, in a test, that they are flushed.
    fn open_with_memtables(path: &Path, options: Options, memtable: u64) -> Result<Self, StorageError> {
        let (store, creating) = (path.join("store"), path.join("creating"));
        fs::create_dir_all(path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StorageError::Locked,
            TryLockError::Error(error) => StorageError::Io(error),
        })?;
        if !store.try_exists()? {
            create(&creating, memtable)?;
            fs::rename(&creating, &store)?;
            sync_folder(path)?;
            path.parent().map_or(Ok(()), |parent| sync_folder(if parent == "" { ".".as_ref() } else { parent }))?;
        }
        journal::repair(&store, options.sync)?;

        let database = open_database(&store)?;
        if !database.keyspace_exists("meta") {
            return Err(StorageError::Corrupt("it has no meta keyspace"));
        }
        let keyspaces = Keyspaces::open(&database, memtable)?;
        let format = keyspaces.meta.get(FORMAT_KEY)?;
        match format.as_deref().map(<[u8; 4]>::try_from) {
            Some(Ok(format)) if u32::from_be_bytes(format) == codec::FORMAT => {}
            Some(Ok(format)) => return Err(StorageError::UnknownFormat(u32::from_be_bytes(format))),
            _ => return Err(StorageError::Corrupt("it has no format version")),
        }

        let snapshot = database.snapshot();
        let block = match snapshot.last_key_value(&keyspaces.headers) {
            Some(last) => {
                let (key, value) = last.into_inner()?;
                Some((codec::decode_u64(&key)?, codec::decode_header_hash(&value)?))
            }
            None => None,
        };
        let number = |key: &str| snapshot.get(&keyspaces.meta, key)?.map_or(Ok(0), |value| codec::decode_u64(&value));
        let (oldest, pruned) = (number(OLDEST_KEY)?, number(PRUNED_KEY)?);
        let store = Store {
            keyspaces,
            head: RwLock::new(Arc::new(Head { block, oldest, snapshot })),
            writer: Mutex::new(Writer { pruned }),
            cache: BlockCache::default(),
            sync: options.sync,
            database,
            _lock: lock,
        };
        Ok(Self { store: Arc::new(store) })
    }

    /// Last committed block's number, or None in a store without genesis.
    pub fn head_number(&self) -> Option<u64> {
        self.store.head().block.map(|(number, _)| number)
    }

    /// A consistent read view of everything as of one committed head; later commits do not show in it. It costs a nanosecond's
    /// lock and two reference counts. As long as it lives the store keeps what later blocks overwrite, so let it go.
    pub fn view(&self) -> View {
        View { store: self.store.clone(), head: self.store.head() }
    }

    /// Keeps a small value of the node's own (settlement's cursor, flags) under `key`: atomic, synced. At most 1,024 bytes of key.
    ///
    /// # Errors
    /// The database's; an `InvalidInput` if the key is longer.
    pub fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        self.put_metas([(key, value)])
    }

    /// Keeps several such values, all of them or none.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    pub fn put_metas<K: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), StorageError> {
        let _writer = self.store.writer.lock();
        let mut batch = self.store.batch(1);
        for (key, value) in entries {
            if key.as_ref().len() > 1024 {
                return Err(StorageError::Io(io::ErrorKind::InvalidInput.into()));
            }
            batch.insert(&self.store.keyspaces.meta, user_key(key.as_ref()).as_str(), value.as_ref());
        }
        Ok(batch.commit()?)
    }

    /// The value that was last kept under `key`.
    ///
    /// # Errors
    /// The database's.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.store.keyspaces.meta.get(user_key(key))?.map(|value| value.to_vec()))
    }
}

impl Store {
    fn head(&self) -> Arc<Head> {
        self.head.read().clone()
    }

    /// A batch that its commit writes as one and, if the store is opened so, syncs.
    fn batch(&self, capacity: usize) -> OwnedWriteBatch {
        let mode = if self.sync { PersistMode::SyncData } else { PersistMode::Buffer };
        OwnedWriteBatch::with_capacity(self.database.clone(), capacity).durability(Some(mode))
    }

    /// Shows what was committed to new views. Called with the writer's lock held, so that the snapshot has no batch in part.
    fn publish(&self, block: Option<(u64, B256)>, oldest: u64) {
        let head = Head { block, oldest, snapshot: self.database.snapshot() };
        let before = std::mem::replace(&mut *self.head.write(), Arc::new(head));
        drop(before); // outside the lock: it may be the last to hold its snapshot
    }
}

fn user_key(key: &str) -> String {
    format!("{USER_PREFIX}{key}")
}

fn open_database(path: &Path) -> fjall::Result<Database> {
    Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES)
        // The journal is synced more often than it grows by a page, and `journal` reads it.
        .journal_compression(CompressionType::None)
        .open()
}

/// Makes an empty store in the folder `path`, whatever a crash has left there.
fn create(path: &Path, memtable: u64) -> Result<(), StorageError> {
    if path.try_exists()? {
        fs::remove_dir_all(path)?;
    }
    let database = open_database(path)?;
    let keyspaces = Keyspaces::open(&database, memtable)?;
    keyspaces.meta.insert(FORMAT_KEY, codec::FORMAT.to_be_bytes().as_slice())?;
    database.persist(PersistMode::SyncAll)?;
    Ok(sync_folders(path)?)
}

/// Makes the names in a folder, and in all below it, durable. (fjall 3.1 does not sync the folder in which it makes its keyspaces.)
fn sync_folders(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(path)
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
