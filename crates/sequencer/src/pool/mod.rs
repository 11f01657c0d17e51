//! The transaction pool: transactions that wait for a block.
//!
//! ```text
//!  raw bytes ─► decode ─► check ─► recover sender ─► read account ─► admit ─► journal ─► listener
//!              └──── on all cores, without a lock ────┘  (new senders)  └ one lock, briefly
//! ```
//!
//! **Order.** A block takes the executable transaction with the highest effective tip, `min(max priority fee, max fee − base fee)`; of equals
//! the one that arrived first; a sender's in nonce order. [`Pool::best`] walks them without sorting: its index holds at every base
//! fee.
//!
//! **Executable or held.** A sender's transactions are executable from the account's nonce up to the first gap, as far as the balance covers the
//! most that all of them may cost: gas, value and the L1 data fee at the current prices. All others are held, and are counted as *queued* in
//! `txpool_` methods. A transaction whose fee cap is below the base fee counts as executable, but no block takes it until the base
//! fee has fallen.
//!
//! **Admission** follows geth, check by check and word by word ([`PoolError`]). The balance must cover the transaction together with the sender's
//! executable ones. A transaction replaces that of its sender and nonce if it raises both fees by 10 %. The fee cap must reach the chain's base fee
//! floor. Blob transactions come with their blobs and proofs, which are checked, and which the pool keeps until a block has the transaction; to replace one
//! takes twice every fee. A sender's transactions in the pool all have blobs or none has; with blobs they are at most 16, without a gap in their nonces.
//! A Jove chain refuses them by name. Other than geth, the pool sets no special limit for accounts with an EIP-7702
//! delegation: to re-check a sender after a block is cheap here.
//!
//! **Limits.** So many transactions of one sender, so many and so many bytes in all. A full pool evicts: first held transactions, the cheapest first, to
//! any executable newcomer and to dearer held ones; then executable ones, the cheapest first, to dearer executable newcomers. A sender's last transaction
//! goes first. Nothing is evicted unless the newcomer is admitted. Transactions with blobs have bytes of their own, and only make room for each other:
//! of the executable ones, first those whose blob fee cap is below the blob base fee go.
//!
//! **The head.** [`Pool::on_block`] must follow once [`Accounts`] answers with the state after the block; its cost is that of the block's changes, not
//! of the pool. Only when the prices of L1 data change is every sender looked at.
//!
//! **Metrics.** Gauges `jove_pool_executable` and `jove_pool_queued`; counters `jove_pool_admitted_total`, `jove_pool_rejected_total` by `kind` and
//! `jove_pool_evicted_total`; histograms `jove_pool_recovery_seconds` (to decode, check and recover one call's transactions) and
//! `jove_pool_wait_seconds` (from arrival to the block that uses the nonce).
//!
//! **Restart.** Accepted transactions are in a journal (see its module), except those that were added with a sender of the caller's
//! choice. Those of blocks that are withdrawn, and return, are in it before the blocks are.

mod best;
mod blob;
mod book;
mod entry;
mod error;
mod index;
mod journal;
mod queue;
#[cfg(test)]
mod tests;

pub use best::Best;
pub use blob::{MAX_BLOB_TRANSACTION_SIZE, Sidecar, transaction_hash};
pub use entry::{MAX_TRANSACTION_SIZE, recover_sender};
pub use error::{PoolError, Shortfall};

use alloy_eips::{Typed2718, eip7594::Encodable7594};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY};
use blob::Proofs;
use book::{Book, Standing};
use entry::{Checker, Entry};
use journal::Journal;
use jove_primitives::{
    Account, ChainSpec, ExecutedBlock,
    block::{L1Prices, RecoveredTransaction},
    transaction::Transaction,
};
use metrics::{counter, gauge, histogram};
use parking_lot::{Condvar, Mutex, RwLock};
use rayon::prelude::*;
use revm::bytecode::eip7702::EIP7702_MAGIC_BYTES;
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Reads accounts at the head. It answers with the state after a block before [`Pool::on_block`] is called with it.
pub trait Accounts: Send + Sync {
    /// The account; the default one where there is none.
    fn account(&self, address: Address) -> Account;
    /// Whether the chain has the transaction with this hash.
    fn is_included(&self, transaction: B256) -> bool;
    /// Code by its Keccak-256, as a recent [`Self::account`] named it.
    fn code(&self, hash: B256) -> Bytes;
}

/// The pool's limits.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Most transactions of one sender.
    pub max_per_sender: usize,
    /// Most transactions without blobs in all. Their encodings may take 2 KiB on average, and 8 MiB in any case; transactions with blobs may take as
    /// much again, with them.
    pub max_transactions: usize,
    /// The journal's file; `None`: a restart forgets the pool.
    pub journal: Option<PathBuf>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { max_per_sender: 1024, max_transactions: 100_000, journal: None }
    }
}

/// A transaction in the pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PooledTransaction {
    /// The transaction and its sender.
    pub transaction: Arc<RecoveredTransaction>,
    /// Its hash.
    pub hash: B256,
    /// What the L1 data fee is measured by ([`jove_primitives::fee::data_size`]).
    pub data_size: u64,
}

/// What a block takes, and what it charges.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Base fee, in wei per gas.
    pub base_fee: u64,
    /// Gas it may use.
    pub gas: u64,
    /// Blob base fee, in wei per blob gas.
    pub blob_base_fee: u128,
    /// Blob gas it may use.
    pub blob_gas: u64,
}

type Listener = dyn Fn(&[Arc<RecoveredTransaction>]) + Send + Sync;

/// Transactions admitted under one lock.
const ADMIT_AT_ONCE: usize = 256;
/// Bytes of the journal that are in memory at once, about, beside the pool.
const READ_AT_ONCE: usize = 16 * 1024 * 1024;
/// Fewest transactions for which a core is woken up.
const RECOVER_ALONE: usize = 4;
/// Times that accounts are read without the lock before they are read with it.
const MAX_READS: usize = 3;
/// Arrivals count up from here.
const FIRST_SEQ: u64 = 1 << 63;

/// The transaction pool.
pub struct Pool {
    checker: Checker,
    accounts: Arc<dyn Accounts>,
    book: Mutex<Book>,
    /// Locked before the book where both are.
    journal: Option<Mutex<Journal>>,
    listener: RwLock<Option<Arc<Listener>>>,
    closed: RwLock<Option<Arc<str>>>,
    next_seq: AtomicU64,
    /// Transactions that come back from withdrawn blocks arrived before all others.
    first_seq: AtomicU64,
    work: Mutex<bool>,
    work_arrived: Condvar,
}

/// A sender at the head.
#[derive(Clone, Copy, Default)]
struct Sender {
    account: Account,
    /// Bytes of code, if it is a contract: EIP-3607 lets it send nothing. A delegation (EIP-7702) is none.
    code_len: Option<usize>,
}

/// Transactions of blocks that are about to be withdrawn ([`Pool::returning`]).
#[derive(Default)]
pub struct Returning(Vec<Result<Arc<Entry>, PoolError>>);

/// What came of adding transactions.
struct Added {
    results: Vec<Result<B256, PoolError>>,
    admitted: Vec<Arc<Entry>>,
}

impl Pool {
    /// An empty pool, or what a journal holds of an earlier one. Until the first block, fees are as at genesis; [`Self::set_fees`] corrects them.
    ///
    /// # Errors
    /// If the journal cannot be read or written. Damage in it is logged and no error.
    pub fn new(spec: Arc<ChainSpec>, config: PoolConfig, accounts: Arc<dyn Accounts>) -> io::Result<Arc<Self>> {
        let prices = L1Prices {
            base_fee: spec.l1_prices.base_fee.saturating_to(),
            blob_base_fee: spec.l1_prices.blob_base_fee.saturating_to(),
        };
        let pool = Arc::new(Self {
            book: Mutex::new(Book::new(&config, spec.gas.base_fee_floor, prices)),
            checker: Checker::new(spec),
            accounts,
            journal: config.journal.map(|path| Mutex::new(Journal::new(path))),
            listener: RwLock::new(None),
            closed: RwLock::new(None),
            next_seq: AtomicU64::new(FIRST_SEQ),
            first_seq: AtomicU64::new(FIRST_SEQ),
            work: Mutex::new(false),
            work_arrived: Condvar::new(),
        });
        pool.load()?;
        Ok(pool)
    }

    /// Decodes, recovers (many at once, on all cores), checks and adds signed transactions in their EIP-2718 encoding. One result each, in order.
    pub fn add_raw(&self, raw: &[Bytes]) -> Vec<Result<B256, PoolError>> {
        if let Some(closed) = self.closed() {
            return vec![Err(closed); raw.len()];
        }
        let started = Instant::now();
        let checked = self.check_raw(raw, Proofs::Unchecked);
        histogram!("jove_pool_recovery_seconds").record(started.elapsed());
        let added = self.admit(checked, Standing::New);
        self.write_down(&added.admitted);
        self.report(&added.results);
        added.results
    }

    /// Adds a transaction whose sender is known (development: impersonation). A contract may be the sender, and a restart forgets it.
    ///
    /// # Errors
    /// If the pool refuses it.
    pub fn add(&self, transaction: RecoveredTransaction) -> Result<B256, PoolError> {
        if let Some(closed) = self.closed() {
            return Err(closed);
        }
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        let entry = self.checker.recovered(transaction, None, false, seq, Instant::now());
        let mut added = self.admit(vec![entry.map(Arc::new)], Standing::New);
        self.report(&added.results);
        added.results.swap_remove(0)
    }

    /// Takes no transactions from outside, for this reason, until it is called without one. What the pool holds stays, and blocks take it.
    pub fn set_closed(&self, reason: Option<&str>) {
        *self.closed.write() = reason.map(Into::into);
    }

    fn closed(&self) -> Option<PoolError> {
        self.closed.read().clone().map(PoolError::Closed)
    }

    /// The transaction of this hash.
    pub fn get(&self, hash: B256) -> Option<PooledTransaction> {
        self.book.lock().get(&hash).map(|entry| entry.pooled.clone())
    }

    /// The nonce after a sender's executable transactions; `None` if the pool has none of that sender.
    pub fn next_nonce(&self, sender: Address) -> Option<u64> {
        self.book.lock().queue(&sender).map(|queue| queue.next_nonce())
    }

    /// How many transactions are executable, and how many held.
    pub fn status(&self) -> (usize, usize) {
        self.book.lock().status()
    }

    /// All transactions by sender and nonce: the executable, and the held.
    pub fn content(&self) -> (Vec<PooledTransaction>, Vec<PooledTransaction>) {
        let mut entries: Vec<(Arc<Entry>, bool)> = {
            let book = self.book.lock();
            book.queues()
                .flat_map(|(_, queue)| queue.iter().map(|(entry, executable)| (entry.clone(), executable)))
                .collect()
        };
        entries.sort_unstable_by_key(|(entry, _)| (entry.sender, entry.nonce));
        split(entries)
    }

    /// A sender's transactions by nonce: the executable, and the held.
    pub fn content_from(&self, sender: Address) -> (Vec<PooledTransaction>, Vec<PooledTransaction>) {
        let book = self.book.lock();
        let entries = book.queue(&sender).into_iter().flat_map(|queue| queue.iter());
        split(entries.map(|(entry, executable)| (entry.clone(), executable)))
    }

    /// The executable transactions that a block with this base fee can take, in its order.
    pub fn best(self: &Arc<Self>, base_fee: u64) -> Best {
        let walk = self.book.lock().walk(base_fee);
        Best::new(self.clone(), base_fee, walk)
    }

    /// The first of [`Self::best`]: as many as might fit into a block, if each used as little gas as it can. Whose blobs do not fit, or do not pay, is left
    /// out.
    pub fn candidates(self: &Arc<Self>, room: Room) -> Vec<Arc<RecoveredTransaction>> {
        let mut best = self.best(room.base_fee);
        let (mut gas, mut blob_gas) = (room.gas, room.blob_gas);
        let mut candidates = Vec::new();
        while let Some(entry) = best.next_entry() {
            if entry.sidecar.is_some() {
                if entry.blob_gas > blob_gas || entry.blob_cap < room.blob_base_fee {
                    best.skip_sender();
                    continue;
                }
                blob_gas -= entry.blob_gas;
            }
            let Some(rest) = gas.checked_sub(entry.min_gas) else { break };
            gas = rest;
            candidates.push(entry.transaction().clone());
        }
        candidates
    }

    /// The blobs and proofs of a blob transaction in the pool.
    pub fn sidecar(&self, hash: &B256) -> Option<Arc<Sidecar>> {
        self.book.lock().get(hash)?.sidecar.clone()
    }

    /// Whether a block with this base fee can take a transaction.
    pub fn has_executable(&self, base_fee: u64) -> bool {
        self.highest_fee_cap().is_some_and(|cap| cap >= base_fee)
    }

    /// The base fee, in wei per gas, above which no block can take a transaction; `None` if none is executable at any.
    pub fn highest_fee_cap(&self) -> Option<u64> {
        self.book.lock().highest_cap()
    }

    /// Changes whenever the executable transactions do.
    pub fn version(&self) -> u64 {
        self.book.lock().version()
    }

    /// Waits until a transaction becomes executable, [`Self::wake`] is called, or the time is up; at once if either has happened since the last call. False if
    /// the time is up. For one waiting thread.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let mut work = self.work.lock();
        self.work_arrived.wait_while_for(&mut work, |work| !*work, timeout);
        std::mem::take(&mut *work)
    }

    /// Ends a [`Self::wait_for_work`].
    pub fn wake(&self) {
        *self.work.lock() = true;
        self.work_arrived.notify_one();
    }

    /// Sets what is called with the transactions that have become executable: each once, without a lock held.
    pub fn set_listener(&self, listener: impl Fn(&[Arc<RecoveredTransaction>]) + Send + Sync + 'static) {
        *self.listener.write() = Some(Arc::new(listener));
    }

    /// Sets the next block's base fee and the prices of L1 data.
    pub fn set_fees(&self, next_base_fee: u64, prices: L1Prices) {
        let mut book = self.book.lock();
        book.next_epoch(next_base_fee);
        book.set_prices(prices);
        drop(book);
        self.publish();
    }

    /// Sets the next block's blob base fee, in wei.
    pub fn set_blob_base_fee(&self, fee: u128) {
        self.book.lock().set_blob_base_fee(fee);
    }

    /// Follows the head to its next block: `changed` are the accounts that the block changed, as it left them. Included and outdated transactions go.
    pub fn on_block(
        &self,
        block: &ExecutedBlock,
        changed: impl IntoIterator<Item = (Address, Account)>,
        next_base_fee: u64,
    ) {
        let mut gone = Vec::new();
        let mut book = self.book.lock();
        book.next_epoch(next_base_fee);
        for (address, account) in changed {
            gone.extend(book.follow(address, account));
        }
        book.set_prices(block.l1_prices);
        drop(book);
        let wait = histogram!("jove_pool_wait_seconds");
        let now = Instant::now();
        for entry in gone {
            wait.record(now.saturating_duration_since(entry.arrived));
        }
        self.publish();
    }

    /// Follows the head back from withdrawn blocks: every sender's account is read anew. `prices` were those of the oldest of the blocks.
    pub fn on_unwound(&self, prices: L1Prices, next_base_fee: u64) {
        let senders: Vec<Address> = {
            let mut book = self.book.lock();
            book.next_epoch(next_base_fee);
            book.set_prices(prices);
            book.queues().map(|(sender, _)| *sender).collect()
        };
        // Whoever joins from here on reads the new head.
        for sender in senders {
            let account = self.accounts.account(sender);
            self.book.lock().follow(sender, account);
        }
        self.publish();
    }

    /// What returns to the pool when these blocks, oldest first, are withdrawn: to be written down before ([`Self::save`]), and readmitted after.
    /// `sidecar` finds the blobs of a blob transaction again. They were proven when they came in, and are not proven again; those whose blobs are
    /// lost, or are more than the pool has room for, do not return.
    pub fn returning(
        &self,
        blocks: &[Arc<ExecutedBlock>],
        sidecar: impl Fn(&Transaction) -> Option<Sidecar>,
    ) -> Returning {
        let mut room = self.book.lock().max_bytes();
        let mut found = |transaction: &Transaction| {
            let sidecar = if transaction.is_eip4844() && room > 0 { sidecar(transaction) } else { None };
            room = room.saturating_sub(sidecar.as_ref().map_or(0, Encodable7594::encode_7594_len));
            sidecar
        };
        let transactions = blocks.iter().flat_map(|block| &block.transactions);
        let transactions: Vec<(&RecoveredTransaction, Option<Sidecar>)> =
            transactions.map(|transaction| (transaction, found(transaction))).collect();
        let count = transactions.len() as u64;
        let first = self.first_seq.fetch_sub(count, Ordering::Relaxed) - count;
        let now = Instant::now();
        let entry = |(i, (transaction, sidecar)): (usize, (&RecoveredTransaction, Option<Sidecar>))| {
            let seq = first + i as u64;
            let signed = recover_sender(transaction).is_ok_and(|sender| sender == transaction.signer());
            self.checker.recovered(transaction.clone(), sidecar, signed, seq, now).map(Arc::new)
        };
        Returning(transactions.into_par_iter().with_min_len(RECOVER_ALONE).enumerate().map(entry).collect())
    }

    /// After [`Self::on_unwound`]: the transactions of the withdrawn blocks return in their order, ahead of all others.
    pub fn readmit(&self, returning: Returning) {
        let added = self.admit(returning.0, Standing::Accepted);
        self.write_down(&added.admitted);
        for error in added.results.iter().filter_map(|result| result.as_ref().err()) {
            tracing::debug!(%error, "a withdrawn block's transaction does not return to the pool");
        }
    }

    /// Forgets a transaction that turned out invalid. Its sender's later ones are held.
    pub fn discard(&self, hash: B256) {
        self.drop_transaction(hash);
    }

    /// Forgets a transaction; whether there was one. Its sender's later ones are held.
    pub fn drop_transaction(&self, hash: B256) -> bool {
        let dropped = self.book.lock().remove(&hash).is_some();
        self.publish();
        dropped
    }

    /// Writes the journal anew, with what the pool holds and what is to return to it, no more, and waits for the disk. A failure is logged.
    pub fn save(&self, returning: &Returning) {
        // It logs its failure itself.
        let _ = self.rewrite(&returning.0, true);
    }

    /// The executable transaction after another of the same sender.
    fn executable_after(&self, entry: &Entry) -> Option<Arc<Entry>> {
        self.book.lock().queue(&entry.sender)?.get_executable(entry.nonce + 1).cloned()
    }

    /// Reads the journal's transactions and starts a new journal with those that hold.
    fn load(&self) -> io::Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        // Twice what the pool may hold, as the journal may have grown to.
        let max_bytes = 4 * self.book.lock().max_bytes() as u64 + journal::MIN_REWRITE;
        let mut batch = Vec::with_capacity(ADMIT_AT_ONCE);
        let (mut bytes, mut lost) = (0, 0);
        let mut add = |batch: &mut Vec<Bytes>| {
            let added = self.admit(self.check_raw(batch, Proofs::Checked), Standing::Accepted);
            lost += added.results.iter().filter(|result| result.is_err()).count();
            batch.clear();
        };
        let mut included = 0;
        journal.lock().read(max_bytes, |raw| {
            // Most of a busy chain's journal is in blocks: no sender is recovered for that.
            if self.accounts.is_included(transaction_hash(&raw)) {
                included += 1;
                return;
            }
            bytes += raw.len();
            batch.push(raw);
            if batch.len() == ADMIT_AT_ONCE || bytes >= READ_AT_ONCE {
                add(&mut batch);
                bytes = 0;
            }
        })?;
        add(&mut batch);
        let (executable, held) = self.status();
        if executable + held + lost > 0 {
            tracing::info!(executable, held, included, outdated = lost, "transaction pool restored");
        }
        self.rewrite(&[], false)
    }

    /// Decodes and checks raw transactions, as far as that needs no state, on all cores.
    fn check_raw(&self, raw: &[Bytes], proofs: Proofs) -> Vec<Result<Arc<Entry>, PoolError>> {
        let first = self.next_seq.fetch_add(raw.len() as u64, Ordering::Relaxed);
        let now = Instant::now();
        let check = |(i, raw): (usize, &Bytes)| {
            let (transaction, sidecar) = self.checker.decode(raw)?;
            if self.book.lock().get(transaction.tx_hash()).is_some() {
                return Err(PoolError::AlreadyKnown);
            }
            self.checker.signed(transaction, sidecar, proofs, first + i as u64, now).map(Arc::new)
        };
        if raw.len() <= RECOVER_ALONE {
            return raw.iter().enumerate().map(check).collect();
        }
        raw.par_iter().with_min_len(RECOVER_ALONE).enumerate().map(check).collect()
    }

    /// Admits checked transactions, in order for each sender, and tells whoever listens.
    fn admit(&self, checked: Vec<Result<Arc<Entry>, PoolError>>, standing: Standing) -> Added {
        let mut admitted = Vec::with_capacity(checked.len());
        let mut results: Vec<Result<B256, PoolError>> =
            checked.iter().map(|result| result.as_ref().map(|entry| entry.hash()).map_err(Clone::clone)).collect();
        let entries: Vec<(usize, &Arc<Entry>)> =
            checked.iter().enumerate().filter_map(|(i, result)| Some((i, result.as_ref().ok()?))).collect();
        for chunk in entries.chunks(ADMIT_AT_ONCE) {
            self.admit_chunk(chunk, standing, &mut results, &mut admitted);
        }
        self.publish();
        Added { results, admitted }
    }

    /// Accounts of senders that are new to the pool are read without the lock. Should the head have moved meanwhile, they are read again, and
    /// with the lock once that has happened [`MAX_READS`] times.
    fn admit_chunk(
        &self,
        chunk: &[(usize, &Arc<Entry>)],
        standing: Standing,
        results: &mut [Result<B256, PoolError>],
        admitted: &mut Vec<Arc<Entry>>,
    ) {
        let mut waiting: Vec<(usize, &Arc<Entry>)> = chunk.to_vec();
        let mut senders: HashMap<Address, Sender> = HashMap::new();
        let mut reads = 0;
        let mut read_at = None;
        loop {
            let mut book = self.book.lock();
            if read_at != Some(book.epoch()) {
                senders.clear();
            }
            waiting.retain(|(i, entry)| {
                if book.queue(&entry.sender).is_none() && !senders.contains_key(&entry.sender) {
                    if reads < MAX_READS {
                        return true;
                    }
                    senders.insert(entry.sender, self.read_sender(entry.sender));
                }
                let sender = senders.get(&entry.sender).copied().unwrap_or_default();
                let result = match sender.code_len {
                    Some(code_len) if entry.signed => Err(PoolError::SenderNotEoa { sender: entry.sender, code_len }),
                    _ => book.admit((*entry).clone(), sender.account, standing),
                };
                match result {
                    Ok(()) => admitted.push((*entry).clone()),
                    Err(error) => results[*i] = Err(error),
                }
                false
            });
            read_at = Some(book.epoch());
            drop(book);
            if waiting.is_empty() {
                return;
            }
            reads += 1;
            for (_, entry) in &waiting {
                senders.entry(entry.sender).or_insert_with(|| self.read_sender(entry.sender));
            }
        }
    }

    fn read_sender(&self, sender: Address) -> Sender {
        let account = self.accounts.account(sender);
        let code_len = (account.code_hash != KECCAK256_EMPTY)
            .then(|| self.accounts.code(account.code_hash))
            .filter(|code| !code.is_empty() && !code.starts_with(EIP7702_MAGIC_BYTES))
            .map(|code| code.len());
        Sender { account, code_len }
    }

    /// Announces what has become executable, and shows the pool's size.
    fn publish(&self) {
        let (news, (executable, held), evicted) = {
            let mut book = self.book.lock();
            (book.take_news(), book.status(), book.take_evicted())
        };
        gauge!("jove_pool_executable").set(executable as f64);
        gauge!("jove_pool_queued").set(held as f64);
        if evicted > 0 {
            counter!("jove_pool_evicted_total").increment(evicted);
        }
        if news.is_empty() {
            return;
        }
        self.wake();
        let listener = self.listener.read().clone();
        if let Some(listener) = listener {
            listener(&news);
        }
    }

    /// Counts what came of transactions from outside.
    fn report(&self, results: &[Result<B256, PoolError>]) {
        let mut kinds: HashMap<&'static str, u64> = HashMap::new();
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            *kinds.entry(error.kind()).or_default() += 1;
        }
        let refused: u64 = kinds.values().sum();
        counter!("jove_pool_admitted_total").increment(results.len() as u64 - refused);
        for (kind, count) in kinds {
            counter!("jove_pool_rejected_total", "kind" => kind).increment(count);
        }
    }

    /// Appends admitted transactions to the journal, and rewrites it when it has grown.
    fn write_down(&self, admitted: &[Arc<Entry>]) {
        let Some(journal) = &self.journal else { return };
        let signed: Vec<Arc<Entry>> = admitted.iter().filter(|entry| entry.signed).cloned().collect();
        if !signed.is_empty() && journal.lock().append(&signed) {
            // It logs its failure itself.
            let _ = self.rewrite(&[], false);
        }
    }

    fn rewrite(&self, returning: &[Result<Arc<Entry>, PoolError>], sync: bool) -> io::Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        // Under the journal's lock: what is appended later comes after what is in the pool now.
        let mut journal = journal.lock();
        let returning = returning.iter().flatten();
        let mut entries: Vec<Arc<Entry>> =
            self.book.lock().entries().chain(returning).filter(|entry| entry.signed).cloned().collect();
        entries.sort_unstable_by_key(|entry| entry.seq);
        journal.rewrite(&entries, sync)
    }
}

/// The executable and the held.
fn split(entries: impl IntoIterator<Item = (Arc<Entry>, bool)>) -> (Vec<PooledTransaction>, Vec<PooledTransaction>) {
    let (executable, held): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, executable)| *executable);
    let pooled =
        |entries: Vec<(Arc<Entry>, bool)>| entries.into_iter().map(|(entry, _)| entry.pooled.clone()).collect();
    (pooled(executable), pooled(held))
}
