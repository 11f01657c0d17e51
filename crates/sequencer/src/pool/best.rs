//! Executable transactions in the order in which a block takes them.

use super::{Pool, PooledTransaction, entry::Entry, index::Walk};
use std::sync::Arc;

/// Executable transactions: those that pay the highest effective tip first, the earlier of equals first, each sender's in nonce order.
///
/// Which senders there are, and what their next transactions are, is as of [`Pool::best`]; the transactions after those are looked up as
/// the walk reaches them. Taking k of n transactions costs O(k log n).
pub struct Best {
    pool: Arc<Pool>,
    base_fee: u64,
    walk: Walk<true>,
    /// The last transaction, unless its sender's others are to be skipped.
    last: Option<Arc<Entry>>,
}

impl Best {
    pub(super) fn new(pool: Arc<Pool>, base_fee: u64, walk: Walk<true>) -> Self {
        Self { pool, base_fee, walk, last: None }
    }

    /// Leaves out the other transactions of the last one's sender: it did not fit, or it failed, and they stand on it.
    pub fn skip_sender(&mut self) {
        self.last = None;
    }

    pub(super) fn next_entry(&mut self) -> Option<Arc<Entry>> {
        if let Some(last) = self.last.take()
            && let Some(next) = self.pool.executable_after(&last)
        {
            self.walk.push(&next);
        }
        let entry = self.walk.next().filter(|entry| entry.cap >= self.base_fee)?;
        self.last = Some(entry.clone());
        Some(entry)
    }
}

impl Iterator for Best {
    type Item = PooledTransaction;

    fn next(&mut self) -> Option<PooledTransaction> {
        self.next_entry().map(|entry| entry.pooled.clone())
    }
}
