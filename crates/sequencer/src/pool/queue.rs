//! One sender's transactions, in nonce order.
//!
//! The transactions from the account's nonce on, without a gap, are *executable* as far as the balance covers all of them together; the
//! rest is *held*: until a gap is filled or the balance has grown.

use super::entry::Entry;
use alloy_primitives::U256;
use jove_primitives::{Account, block::L1Prices, fee};
use std::{collections::BTreeMap, sync::Arc};

/// A sender's account and its transactions: all nonces are at least the account's.
pub(super) struct Queue {
    nonce: u64,
    balance: U256,
    transactions: BTreeMap<u64, Arc<Entry>>,
    /// How many of the transactions, from the first, are executable.
    executable: usize,
    spent: Spent,
    /// Transactions that have become executable for the first time.
    news: Vec<Arc<Entry>>,
}

/// What the executable transactions cost together at most. Their L1 data fee is taken of the sum of their sizes, so that new prices change
/// nothing here; it is at most a wei a transaction above the sum of their fees.
#[derive(Clone, Copy, Default)]
struct Spent {
    cost: U256,
    data_size: u64,
}

impl Spent {
    fn plus(self, entry: &Entry) -> Option<Self> {
        let data_size = self.data_size.checked_add(entry.pooled.data_size)?;
        Some(Self { cost: self.cost.checked_add(entry.cost)?, data_size })
    }

    /// Without an entry that is in the sum.
    fn minus(self, entry: &Entry) -> Self {
        Self { cost: self.cost - entry.cost, data_size: self.data_size - entry.pooled.data_size }
    }

    fn total(self, prices: L1Prices) -> U256 {
        self.cost.saturating_add(fee::data_fee(self.data_size, prices))
    }
}

impl Queue {
    pub(super) fn new(account: Account) -> Self {
        Self {
            nonce: account.nonce,
            balance: account.balance,
            transactions: BTreeMap::new(),
            executable: 0,
            spent: Spent::default(),
            news: Vec::new(),
        }
    }

    /// The account's nonce.
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(super) fn balance(&self) -> U256 {
        self.balance
    }

    pub(super) fn account(&self) -> Account {
        Account { nonce: self.nonce, balance: self.balance, ..Account::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    pub(super) fn executable(&self) -> usize {
        self.executable
    }

    /// The nonce after the executable transactions.
    pub(super) fn next_nonce(&self) -> u64 {
        self.nonce.saturating_add(self.executable as u64)
    }

    /// The first nonce of which there is no transaction.
    pub(super) fn first_gap(&self) -> u64 {
        let taken = self.transactions.keys().zip(self.nonce..).take_while(|(nonce, next)| *nonce == next).count();
        self.nonce.saturating_add(taken as u64)
    }

    /// Whether some have blobs, or some have none, as `blobs` says: of the first and the last. Others between them returned from withdrawn blocks.
    pub(super) fn has_any(&self, blobs: bool) -> bool {
        let (first, last) = (self.transactions.values().next(), self.transactions.values().next_back());
        first.into_iter().chain(last).any(|entry| entry.has_blobs() == blobs)
    }

    pub(super) fn get(&self, nonce: u64) -> Option<&Arc<Entry>> {
        self.transactions.get(&nonce)
    }

    /// The transaction of a nonce, if it is executable.
    pub(super) fn get_executable(&self, nonce: u64) -> Option<&Arc<Entry>> {
        self.transactions.get(&nonce).filter(|_| nonce < self.next_nonce())
    }

    /// All transactions in nonce order, and whether they are executable.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Entry>, bool)> {
        self.transactions.values().enumerate().map(|(position, entry)| (entry, position < self.executable))
    }

    /// The transaction that is next to be included, if it is executable.
    pub(super) fn head(&self) -> Option<&Arc<Entry>> {
        self.transactions.values().next().filter(|_| self.executable > 0)
    }

    /// The last transaction, and whether it is executable.
    pub(super) fn tail(&self) -> Option<(&Arc<Entry>, bool)> {
        Some((self.transactions.values().next_back()?, self.executable == self.transactions.len()))
    }

    /// What the executable transactions cost together at most.
    pub(super) fn spent(&self, prices: L1Prices) -> U256 {
        self.spent.total(prices)
    }

    /// Whether a transaction would be executable.
    pub(super) fn would_execute(&self, entry: &Entry, prices: L1Prices) -> bool {
        if entry.nonce > self.next_nonce() {
            return false;
        }
        let later = self.transactions.range(entry.nonce..self.next_nonce().max(entry.nonce));
        let before = later.fold(self.spent, |spent, (_, later)| spent.minus(later));
        before.plus(entry).is_some_and(|spent| spent.total(prices) <= self.balance)
    }

    /// Adds a transaction whose nonce is at least the account's, and returns the one whose place it takes.
    pub(super) fn insert(&mut self, entry: Arc<Entry>, prices: L1Prices) -> Option<Arc<Entry>> {
        self.truncate(entry.nonce);
        let replaced = self.transactions.insert(entry.nonce, entry);
        self.settle(prices);
        replaced
    }

    pub(super) fn remove(&mut self, nonce: u64) -> Option<Arc<Entry>> {
        self.truncate(nonce);
        self.transactions.remove(&nonce)
    }

    /// Follows the account: returns the transactions whose nonce is used up.
    pub(super) fn follow(&mut self, account: Account, prices: L1Prices) -> Vec<Arc<Entry>> {
        let mut used = Vec::new();
        if account.nonce < self.nonce {
            self.truncate(0);
        }
        while let Some(first) = self.transactions.first_entry().filter(|first| *first.key() < account.nonce) {
            let entry = first.remove();
            if self.executable > 0 {
                self.executable -= 1;
                self.spent = self.spent.minus(&entry);
            }
            used.push(entry);
        }
        (self.nonce, self.balance) = (account.nonce, account.balance);
        self.settle(prices);
        used
    }

    /// Makes executable what is, as far as the balance and prices go, and no more.
    pub(super) fn settle(&mut self, prices: L1Prices) {
        while self.executable > 0 && self.spent.total(prices) > self.balance {
            self.truncate(self.next_nonce() - 1);
        }
        for (nonce, entry) in self.transactions.range(self.next_nonce()..) {
            if *nonce != self.nonce.saturating_add(self.executable as u64) {
                break;
            }
            match self.spent.plus(entry) {
                Some(spent) if spent.total(prices) <= self.balance => self.spent = spent,
                _ => break,
            }
            self.executable += 1;
            if entry.announce() {
                self.news.push(entry.clone());
            }
        }
    }

    /// Transactions that have become executable for the first time since the last call.
    pub(super) fn take_news(&mut self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut self.news)
    }

    /// Holds the transactions from a nonce on.
    fn truncate(&mut self, nonce: u64) {
        while self.executable > 0 && self.next_nonce() > nonce {
            self.executable -= 1;
            if let Some(entry) = self.transactions.get(&self.next_nonce()) {
                self.spent = self.spent.minus(entry);
            }
        }
    }
}
