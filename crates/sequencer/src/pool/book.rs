//! What the pool holds: every sender's queue, and the indexes that answer which transaction is best and which is cheapest.

use super::{
    PoolConfig,
    entry::Entry,
    error::{PoolError, Shortfall},
    index::{Index, Walk},
    queue::Queue,
};
use alloy_primitives::{Address, B256};
use jove_primitives::{
    Account,
    block::{L1Prices, RecoveredTransaction},
};
use std::{cmp::Reverse, collections::HashMap, sync::Arc};

/// Bytes that a transaction may take on average when the pool is full, and what small pools have in any case.
const AVERAGE_SIZE: usize = 2 * 1024;
const MIN_CAPACITY: usize = 8 * 1024 * 1024;

/// Most blob transactions of one sender, as in geth.
const MAX_BLOB_TRANSACTIONS: usize = 16;

/// Whether a transaction is new. One that was accepted before, and comes back from the journal or a withdrawn block, may be beyond its sender's
/// balance or behind a gap, and beside others of another kind: it is held until its time comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    New,
    Accepted,
}

pub(super) struct Book {
    max_per_sender: usize,
    max_transactions: usize,
    max_bytes: usize,
    queues: HashMap<Address, Queue>,
    by_hash: HashMap<B256, Arc<Entry>>,
    /// Each sender's next transaction, if it is executable.
    heads: Index<true>,
    /// Each sender's last transaction, without blobs: those that are held, and those that are executable.
    held_tails: Index<false>,
    executable_tails: Index<false>,
    /// Those with blobs among the last transactions, and whether they are executable, by arrival: there are few.
    blob_tails: HashMap<u64, (Arc<Entry>, bool)>,
    executable: usize,
    /// Of transactions without blobs, and of those with.
    plain: Held,
    blobs: Held,
    base_fee: u64,
    blob_base_fee: u128,
    prices: L1Prices,
    /// Counts the heads that the pool has followed: an account read before a change of it is out of date.
    epoch: u64,
    version: u64,
    evicted: u64,
    /// Transactions that have become executable and were not announced yet.
    news: Vec<Arc<RecoveredTransaction>>,
}

/// How many transactions of a kind are in the book, and their bytes.
#[derive(Clone, Copy, Default)]
struct Held {
    count: usize,
    bytes: usize,
}

impl Book {
    pub(super) fn new(config: &PoolConfig, base_fee: u64, prices: L1Prices) -> Self {
        Self {
            max_per_sender: config.max_per_sender,
            max_transactions: config.max_transactions,
            max_bytes: config.max_transactions.saturating_mul(AVERAGE_SIZE).max(MIN_CAPACITY),
            queues: HashMap::new(),
            by_hash: HashMap::new(),
            heads: Index::new(),
            held_tails: Index::new(),
            executable_tails: Index::new(),
            blob_tails: HashMap::new(),
            executable: 0,
            plain: Held::default(),
            blobs: Held::default(),
            base_fee,
            blob_base_fee: 1,
            prices,
            epoch: 0,
            version: 0,
            evicted: 0,
            news: Vec::new(),
        }
    }

    pub(super) fn get(&self, hash: &B256) -> Option<&Arc<Entry>> {
        self.by_hash.get(hash)
    }

    pub(super) fn queue(&self, sender: &Address) -> Option<&Queue> {
        self.queues.get(sender)
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = (&Address, &Queue)> {
        self.queues.iter()
    }

    /// Every transaction, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_hash.values()
    }

    /// Executable and held transactions.
    pub(super) fn status(&self) -> (usize, usize) {
        (self.executable, self.by_hash.len() - self.executable)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Most bytes of transactions without blobs that the pool holds; and as many again of those with.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Senders' next transactions, best first.
    pub(super) fn walk(&self, base_fee: u64) -> Walk<true> {
        self.heads.walk(base_fee)
    }

    /// The highest fee cap among senders' next transactions.
    pub(super) fn highest_cap(&self) -> Option<u64> {
        self.heads.highest_cap()
    }

    pub(super) fn take_news(&mut self) -> Vec<Arc<RecoveredTransaction>> {
        std::mem::take(&mut self.news)
    }

    /// How many transactions were evicted since the last call.
    pub(super) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// Begins to follow another head.
    pub(super) fn next_epoch(&mut self, base_fee: u64) {
        self.epoch += 1;
        self.base_fee = base_fee;
        self.version += 1;
    }

    /// Sets the blob base fee, in wei: whose cap is below is the first to go.
    pub(super) fn set_blob_base_fee(&mut self, fee: u128) {
        self.blob_base_fee = fee;
    }

    /// Sets the prices of L1 data: what every sender can pay for changes with them.
    pub(super) fn set_prices(&mut self, prices: L1Prices) {
        if prices == self.prices {
            return;
        }
        self.prices = prices;
        let senders: Vec<Address> = self.queues.keys().copied().collect();
        for sender in senders {
            self.change(sender, None, |queue| queue.settle(prices));
        }
    }

    /// Follows an account's change, if it is a sender's. Returns its transactions whose nonce is used up.
    pub(super) fn follow(&mut self, sender: Address, account: Account) -> Vec<Arc<Entry>> {
        if !self.queues.contains_key(&sender) {
            return Vec::new();
        }
        let prices = self.prices;
        let used = self.change(sender, None, |queue| queue.follow(account, prices));
        for entry in &used {
            self.forget(entry);
        }
        used
    }

    pub(super) fn remove(&mut self, hash: &B256) -> Option<Arc<Entry>> {
        let entry = self.by_hash.get(hash)?.clone();
        self.change(entry.sender, None, |queue| queue.remove(entry.nonce));
        self.forget(&entry);
        Some(entry)
    }

    /// Adds a transaction if the rules allow it. `account` is the sender's at the head; needed if the pool has none of the sender's.
    pub(super) fn admit(&mut self, entry: Arc<Entry>, account: Account, standing: Standing) -> Result<(), PoolError> {
        if self.by_hash.contains_key(&entry.hash()) {
            return Err(PoolError::AlreadyKnown);
        }
        let new = Queue::new(account);
        let queue = self.queues.get(&entry.sender).unwrap_or(&new);
        if entry.nonce < queue.nonce() {
            return Err(PoolError::NonceTooLow { next: queue.nonce(), nonce: entry.nonce });
        }
        if standing == Standing::New {
            check_kind(queue, &entry)?;
            self.check_funds(queue, &entry)?;
        }
        let old = queue.get(entry.nonce).cloned();
        if let Some(old) = &old
            && !entry.may_replace(old)
        {
            return Err(PoolError::ReplacementUnderpriced);
        }
        let crowded = old.is_none() && queue.len() >= self.max_per_sender;
        let last = match queue.tail() {
            _ if !crowded => None,
            // A transaction that may fill the gap goes before one that waits behind it.
            Some((last, false)) if last.nonce > entry.nonce => Some(last.clone()),
            _ => return Err(PoolError::AccountLimit { pooled: queue.len() }),
        };
        let executable = queue.would_execute(&entry, self.prices);
        let account = queue.account();
        self.make_room(&entry, executable, last.as_ref().or(old.as_ref()))?;
        if let Some(last) = last {
            self.remove(&last.hash());
        }
        self.put(entry, account);
        Ok(())
    }

    fn check_funds(&self, queue: &Queue, entry: &Entry) -> Result<(), PoolError> {
        let (balance, cost, queued) = (queue.balance(), entry.total_cost(self.prices), queue.spent(self.prices));
        let shortfall = if cost > balance {
            Shortfall::Transaction { balance, cost }
        } else if let Some(old) = queue.get_executable(entry.nonce) {
            let bump = cost.saturating_sub(old.total_cost(self.prices));
            if queued.saturating_add(bump) <= balance {
                return Ok(());
            }
            Shortfall::Replacement { balance, queued, bump }
        } else {
            if queued.saturating_add(cost) <= balance {
                return Ok(());
            }
            Shortfall::Sum { balance, queued, cost }
        };
        Err(PoolError::InsufficientFunds(Box::new(shortfall)))
    }

    /// Evicts what is cheaper than a newcomer until it fits, or nothing. `leaving` is a transaction that goes when the newcomer comes.
    ///
    /// Only transactions of the newcomer's kind, with blobs or without, go. Held transactions go before executable ones, and of a sender the last
    /// goes first, so that no gap arises.
    fn make_room(&mut self, entry: &Entry, executable: bool, leaving: Option<&Arc<Entry>>) -> Result<(), PoolError> {
        let mut evicted = Vec::new();
        let failure = loop {
            let leaving = leaving.filter(|leaving| self.by_hash.contains_key(&leaving.hash()));
            let leaving = leaving.filter(|leaving| leaving.has_blobs() == entry.has_blobs());
            let held = if entry.has_blobs() { self.blobs } else { self.plain };
            let count = held.count - usize::from(leaving.is_some());
            let bytes = held.bytes - leaving.map_or(0, |leaving| leaving.size);
            // There are few with blobs: their bytes alone are limited.
            let counted = entry.has_blobs() || count < self.max_transactions;
            if counted && bytes + entry.size <= self.max_bytes {
                self.evicted += evicted.len() as u64;
                return Ok(());
            }
            let victim = match self.victim(entry, executable) {
                Ok(victim) => victim,
                Err(error) => break error,
            };
            let account = self.queues.get(&victim.sender).map(Queue::account).unwrap_or_default();
            self.remove(&victim.hash());
            evicted.push((victim, account));
        };
        for (entry, account) in evicted.into_iter().rev() {
            self.put(entry, account);
        }
        Err(failure)
    }

    /// The transaction that is the next to go for a newcomer.
    fn victim(&self, entry: &Entry, executable: bool) -> Result<Arc<Entry>, PoolError> {
        let victim =
            if entry.has_blobs() { self.blob_victim(entry, executable) } else { self.plain_victim(entry, executable) }?;
        if victim.sender == entry.sender && victim.nonce < entry.nonce {
            // The newcomer stands on it.
            return Err(PoolError::Full);
        }
        Ok(victim)
    }

    fn plain_victim(&self, entry: &Entry, executable: bool) -> Result<Arc<Entry>, PoolError> {
        let cheapest = |tails: &Index<false>| tails.walk(self.base_fee).next();
        let cheaper = |victim: &Entry| victim.effective_tip(self.base_fee) < entry.effective_tip(self.base_fee);
        match cheapest(&self.held_tails) {
            Some(victim) if executable || cheaper(&victim) => Ok(victim),
            Some(_) => Err(PoolError::Underpriced),
            None => match cheapest(&self.executable_tails) {
                Some(_) if !executable => Err(PoolError::FutureReplacesPending),
                Some(victim) if cheaper(&victim) => Ok(victim),
                Some(_) => Err(PoolError::Underpriced),
                None => Err(PoolError::Full),
            },
        }
    }

    /// Whose blob fee cap is below the blob base fee waits for another time, and goes before all that could be in the next block.
    fn blob_victim(&self, entry: &Entry, executable: bool) -> Result<Arc<Entry>, PoolError> {
        let worth = |entry: &Entry, executable: bool| {
            (executable, entry.blob_cap >= self.blob_base_fee, entry.effective_tip(self.base_fee))
        };
        let tails = self.blob_tails.values();
        match tails.min_by_key(|(tail, executable)| (worth(tail, *executable), Reverse(tail.seq))) {
            None => Err(PoolError::Full),
            Some((tail, of_tail)) if worth(tail, *of_tail) < worth(entry, executable) => Ok(tail.clone()),
            Some((_, true)) if !executable => Err(PoolError::FutureReplacesPending),
            Some(_) => Err(PoolError::Underpriced),
        }
    }

    /// Adds a transaction that has passed all rules, and forgets the one that it replaces.
    fn put(&mut self, entry: Arc<Entry>, account: Account) {
        let prices = self.prices;
        let held = self.held(&entry);
        held.count += 1;
        held.bytes += entry.size;
        self.by_hash.insert(entry.hash(), entry.clone());
        let replaced = self.change(entry.sender, Some(account), |queue| queue.insert(entry, prices));
        if let Some(replaced) = replaced {
            self.forget(&replaced);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        if self.by_hash.remove(&entry.hash()).is_some() {
            let held = self.held(entry);
            held.count -= 1;
            held.bytes -= entry.size;
        }
    }

    fn held(&mut self, entry: &Entry) -> &mut Held {
        if entry.has_blobs() { &mut self.blobs } else { &mut self.plain }
    }

    /// Changes a sender's queue and brings the indexes in line. A sender the pool does not know starts from `account`.
    fn change<T: Default>(
        &mut self,
        sender: Address,
        account: Option<Account>,
        act: impl FnOnce(&mut Queue) -> T,
    ) -> T {
        let queue = match account {
            Some(account) => self.queues.entry(sender).or_insert_with(|| Queue::new(account)),
            None => match self.queues.get_mut(&sender) {
                Some(queue) => queue,
                None => return T::default(),
            },
        };
        let ends = |queue: &Queue| {
            (
                queue.head().cloned(),
                queue.tail().map(|(entry, executable)| (entry.clone(), executable)),
                queue.executable(),
            )
        };
        let (head_before, tail_before, executable_before) = ends(queue);
        let result = act(queue);
        let (head, tail, executable) = ends(queue);

        self.news.extend(queue.take_news().iter().map(|entry| entry.transaction().clone()));
        if queue.is_empty() {
            self.queues.remove(&sender);
        }
        self.executable = self.executable + executable - executable_before;
        if executable > 0 || executable_before > 0 {
            self.version += 1;
        }
        let seq = |entry: &Option<Arc<Entry>>| entry.as_ref().map(|entry| entry.seq);
        if seq(&head_before) != seq(&head) {
            if let Some(entry) = head_before {
                self.heads.remove(&entry);
            }
            if let Some(entry) = head {
                self.heads.insert(entry);
            }
        }
        let place =
            |tail: &Option<(Arc<Entry>, bool)>| tail.as_ref().map(|(entry, executable)| (entry.seq, *executable));
        if place(&tail_before) != place(&tail) {
            match tail_before {
                Some((entry, _)) if entry.has_blobs() => drop(self.blob_tails.remove(&entry.seq)),
                Some((entry, executable)) => drop(self.tails(executable).remove(&entry)),
                None => {}
            }
            match tail {
                Some((entry, executable)) if entry.has_blobs() => {
                    self.blob_tails.insert(entry.seq, (entry, executable));
                }
                Some((entry, executable)) => self.tails(executable).insert(entry),
                None => {}
            }
        }
        result
    }

    fn tails(&mut self, executable: bool) -> &mut Index<false> {
        if executable { &mut self.executable_tails } else { &mut self.held_tails }
    }
}

/// geth's rules for where there are blobs, which are dear to move: a sender's transactions all have them or none has, and with them they are few
/// and without a gap.
fn check_kind(queue: &Queue, entry: &Entry) -> Result<(), PoolError> {
    if queue.has_any(!entry.has_blobs()) {
        return Err(PoolError::AddressReserved);
    }
    if !entry.has_blobs() {
        return Ok(());
    }
    let gap = queue.first_gap();
    if entry.nonce > gap {
        return Err(PoolError::NonceTooHigh { nonce: entry.nonce, gap });
    }
    if queue.get(entry.nonce).is_none() && queue.len() >= MAX_BLOB_TRANSACTIONS {
        return Err(PoolError::AccountLimit { pooled: queue.len() });
    }
    Ok(())
}
