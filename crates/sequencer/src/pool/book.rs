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
use std::{collections::HashMap, sync::Arc};

/// Bytes that a transaction may take on average when the pool is full, and what small pools have in any case.
const AVERAGE_SIZE: usize = 2 * 1024;
const MIN_CAPACITY: usize = 8 * 1024 * 1024;

/// Whether transactions beyond the sender's balance are refused, as geth does, or held: those that were accepted before are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Funds {
    Required,
    Awaited,
}

pub(super) struct Book {
    max_per_sender: usize,
    max_transactions: usize,
    max_bytes: usize,
    queues: HashMap<Address, Queue>,
    by_hash: HashMap<B256, Arc<Entry>>,
    /// Each sender's next transaction, if it is executable.
    heads: Index<true>,
    /// Each sender's last transaction: those that are held, and those that are executable.
    held_tails: Index<false>,
    executable_tails: Index<false>,
    executable: usize,
    bytes: usize,
    base_fee: u64,
    prices: L1Prices,
    /// Counts the heads that the pool has followed: an account read before a change of it is out of date.
    epoch: u64,
    version: u64,
    evicted: u64,
    /// Transactions that have become executable and were not announced yet.
    news: Vec<Arc<RecoveredTransaction>>,
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
            executable: 0,
            bytes: 0,
            base_fee,
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

    /// Most bytes of transactions that the pool holds.
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
    pub(super) fn admit(&mut self, entry: Arc<Entry>, account: Account, funds: Funds) -> Result<(), PoolError> {
        if self.by_hash.contains_key(&entry.hash()) {
            return Err(PoolError::AlreadyKnown);
        }
        let new = Queue::new(account);
        let queue = self.queues.get(&entry.sender).unwrap_or(&new);
        if entry.nonce < queue.nonce() {
            return Err(PoolError::NonceTooLow { next: queue.nonce(), nonce: entry.nonce });
        }
        if funds == Funds::Required {
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
    /// Held transactions go before executable ones, and of a sender the last goes first, so that no gap arises.
    fn make_room(&mut self, entry: &Entry, executable: bool, leaving: Option<&Arc<Entry>>) -> Result<(), PoolError> {
        let mut evicted = Vec::new();
        let failure = loop {
            let leaving = leaving.filter(|leaving| self.by_hash.contains_key(&leaving.hash()));
            let count = self.by_hash.len() - usize::from(leaving.is_some());
            let bytes = self.bytes - leaving.map_or(0, |leaving| leaving.size);
            if count < self.max_transactions && bytes + entry.size <= self.max_bytes {
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
        let cheapest = |tails: &Index<false>| tails.walk(self.base_fee).next();
        let cheaper = |victim: &Entry| victim.effective_tip(self.base_fee) < entry.effective_tip(self.base_fee);
        let victim = match cheapest(&self.held_tails) {
            Some(victim) if executable || cheaper(&victim) => victim,
            Some(_) => return Err(PoolError::Underpriced),
            None => match cheapest(&self.executable_tails) {
                Some(_) if !executable => return Err(PoolError::FutureReplacesPending),
                Some(victim) if cheaper(&victim) => victim,
                Some(_) => return Err(PoolError::Underpriced),
                None => return Err(PoolError::Full),
            },
        };
        if victim.sender == entry.sender && victim.nonce < entry.nonce {
            // The newcomer stands on it.
            return Err(PoolError::Full);
        }
        Ok(victim)
    }

    /// Adds a transaction that has passed all rules, and forgets the one that it replaces.
    fn put(&mut self, entry: Arc<Entry>, account: Account) {
        let prices = self.prices;
        self.bytes += entry.size;
        self.by_hash.insert(entry.hash(), entry.clone());
        let replaced = self.change(entry.sender, Some(account), |queue| queue.insert(entry, prices));
        if let Some(replaced) = replaced {
            self.forget(&replaced);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        if self.by_hash.remove(&entry.hash()).is_some() {
            self.bytes -= entry.size;
        }
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
            if let Some((entry, executable)) = tail_before {
                self.tails(executable).remove(&entry);
            }
            if let Some((entry, executable)) = tail {
                self.tails(executable).insert(entry);
            }
        }
        result
    }

    fn tails(&mut self, executable: bool) -> &mut Index<false> {
        if executable { &mut self.executable_tails } else { &mut self.held_tails }
    }
}
