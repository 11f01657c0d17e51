//! Log queries.
//!
//! A posting list has, for one address or one topic at one position, the blocks with such a log. A filter wants a block in some list of
//! *each* of its constraints: its addresses, its topics at each position; one without constraints wants the blocks with any log. So the
//! query moves through the constraints in turn, each seeking the first block not below where the others are, and reads the receipts of the
//! blocks on which all agree. What it costs depends on the matches of the sparsest constraint, not on the length of the range.

use crate::{
    StorageError, View,
    codec::{self, Body, LogTerm},
};
use alloy_primitives::{Address, B256, Log};
use fjall::{Iter, Readable};
use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// Postings that are passed one by one before the list is searched instead.
const STEPS: usize = 16;

/// Which logs: as `eth_getLogs`. Empty `addresses` or an empty topic list match everything.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// First block.
    pub from: u64,
    /// Last block; beyond the head, the head.
    pub to: u64,
    /// The log is of one of these addresses.
    pub addresses: Vec<Address>,
    /// The log's topic at each position is one of these. A log without a topic at a position matches only an empty list there.
    pub topics: [Vec<B256>; 4],
}

/// A log and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Number of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Seconds.
    pub block_timestamp: u64,
    /// Hash of its transaction.
    pub transaction_hash: B256,
    /// Position of its transaction within the block.
    pub transaction_index: u32,
    /// Position within the block.
    pub log_index: u32,
    /// The log.
    pub log: Log,
}

impl View {
    /// The logs that match `filter`, in order.
    ///
    /// # Errors
    /// [`StorageError::TooManyResults`] if there are more than `limit`; [`StorageError::Timeout`] if `deadline` passes before the end;
    /// [`StorageError::Corrupt`]; or the database's.
    pub fn logs(&self, filter: &LogFilter, limit: usize, deadline: Instant) -> Result<Vec<LogEntry>, StorageError> {
        let mut entries = Vec::new();
        let Some((head, _)) = self.head.block else { return Ok(entries) };
        let filter = Filter::new(filter, head);
        if filter.from > filter.to {
            return Ok(entries);
        }
        let mut constraints = filter.constraints(self, deadline)?;
        let mut from = filter.from;
        while let Some(block) = agree(&mut constraints, from, deadline)? {
            self.collect(block, &filter, limit, &mut entries)?;
            match block.checked_add(1) {
                Some(next) if next <= filter.to => from = next,
                _ => break,
            }
        }
        Ok(entries)
    }

    /// Appends the logs of one block that match.
    fn collect(
        &self,
        number: u64,
        filter: &Filter,
        limit: usize,
        entries: &mut Vec<LogEntry>,
    ) -> Result<(), StorageError> {
        let missing = StorageError::Corrupt("a block with logs is missing");
        let key = number.to_be_bytes();
        let Some(body) = self.head.snapshot.get(&self.store.keyspaces.bodies, key)? else { return Err(missing) };
        let body = Body::new(&body)?;
        let mut block = None;
        let mut log_index = 0;
        for (index, receipt) in body.receipts.iter().enumerate() {
            let mut transaction_hash = None;
            for log in &receipt.logs {
                if filter.matches(log) {
                    if entries.len() >= limit {
                        return Err(StorageError::TooManyResults(limit));
                    }
                    let (block_timestamp, block_hash) = match block {
                        Some(block) => block,
                        None => {
                            let header = self.head.snapshot.get(&self.store.keyspaces.headers, key)?;
                            let Some(header) = header else { return Err(missing) };
                            let (header, hash) = codec::decode_header(&header)?;
                            *block.insert((header.timestamp, hash))
                        }
                    };
                    let transaction_hash = match transaction_hash {
                        Some(hash) => hash,
                        None => *transaction_hash.insert(body.transaction_hash(index)?),
                    };
                    entries.push(LogEntry {
                        block_number: number,
                        block_hash,
                        block_timestamp,
                        transaction_hash,
                        transaction_index: index as u32, // a block's gas bounds it
                        log_index,
                        log: log.clone(),
                    });
                }
                log_index += 1;
            }
        }
        Ok(())
    }
}

/// A [`LogFilter`] within the chain, its lists sorted and without doubles.
struct Filter {
    from: u64,
    to: u64,
    addresses: Vec<Address>,
    topics: [Vec<B256>; 4],
}

impl Filter {
    fn new(filter: &LogFilter, head: u64) -> Self {
        let mut addresses = filter.addresses.clone();
        addresses.sort_unstable();
        addresses.dedup();
        let topics = filter.topics.clone().map(|mut topics| {
            topics.sort_unstable();
            topics.dedup();
            topics
        });
        Self { from: filter.from, to: filter.to.min(head), addresses, topics }
    }

    fn matches(&self, log: &Log) -> bool {
        let topic_matches = |(position, wanted): (usize, &Vec<B256>)| {
            wanted.is_empty() || log.topics().get(position).is_some_and(|topic| wanted.binary_search(topic).is_ok())
        };
        (self.addresses.is_empty() || self.addresses.binary_search(&log.address).is_ok())
            && self.topics.iter().enumerate().all(topic_matches)
    }

    fn constraints<'a>(&self, view: &'a View, deadline: Instant) -> Result<Vec<AnyOf<'a>>, StorageError> {
        let mut terms: Vec<Vec<LogTerm>> = Vec::new();
        terms.push(self.addresses.iter().map(|address| codec::address_term(*address)).collect());
        for (position, topics) in self.topics.iter().enumerate() {
            terms.push(topics.iter().map(|topic| codec::topic_term(position, *topic)).collect());
        }
        terms.retain(|terms| !terms.is_empty());
        if terms.is_empty() {
            terms.push(vec![codec::ANY_LOG]);
        }
        terms.into_iter().map(|terms| AnyOf::new(view, terms, self.from, self.to, deadline)).collect()
    }
}

/// The first block from `from` on that is in all constraints.
fn agree(constraints: &mut [AnyOf<'_>], from: u64, deadline: Instant) -> Result<Option<u64>, StorageError> {
    let mut block = from;
    loop {
        let mut agreed = true;
        for constraint in &mut *constraints {
            match constraint.seek(block, deadline)? {
                None => return Ok(None),
                Some(next) if next > block => {
                    block = next;
                    agreed = false;
                }
                Some(_) => {}
            }
        }
        if agreed {
            return Ok(Some(block));
        }
    }
}

/// The blocks that are in any of some posting lists.
struct AnyOf<'a> {
    lists: Vec<Postings<'a>>,
    /// The block at which each list stands; lists that ended are not here.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a> AnyOf<'a> {
    fn new(view: &'a View, terms: Vec<LogTerm>, from: u64, to: u64, deadline: Instant) -> Result<Self, StorageError> {
        let mut any = Self { lists: Vec::with_capacity(terms.len()), heads: BinaryHeap::with_capacity(terms.len()) };
        for term in terms {
            check(deadline)?;
            let mut list = Postings::new(view, term, from, to);
            if let Some(block) = list.next()? {
                any.heads.push(Reverse((block, any.lists.len())));
                any.lists.push(list);
            }
        }
        Ok(any)
    }

    /// The first block not below `block`.
    fn seek(&mut self, block: u64, deadline: Instant) -> Result<Option<u64>, StorageError> {
        check(deadline)?;
        while let Some(Reverse((head, list))) = self.heads.peek().copied() {
            if head >= block {
                return Ok(Some(head));
            }
            check(deadline)?;
            self.heads.pop();
            if let Some(next) = self.lists[list].seek(block)? {
                self.heads.push(Reverse((next, list)));
            }
        }
        Ok(None)
    }
}

fn check(deadline: Instant) -> Result<(), StorageError> {
    if Instant::now() > deadline { Err(StorageError::Timeout) } else { Ok(()) }
}

/// One posting list, read in order.
struct Postings<'a> {
    view: &'a View,
    term: LogTerm,
    to: u64,
    rest: Iter,
}

impl<'a> Postings<'a> {
    fn new(view: &'a View, term: LogTerm, from: u64, to: u64) -> Self {
        Self { view, term, to, rest: Self::range(view, term, from, to) }
    }

    fn range(view: &View, term: LogTerm, from: u64, to: u64) -> Iter {
        let range = codec::posting_key(term, from)..=codec::posting_key(term, to);
        view.head.snapshot.range(&view.store.keyspaces.logs, range)
    }

    fn next(&mut self) -> Result<Option<u64>, StorageError> {
        self.rest.next().map(|posting| codec::block_of_key(&posting.key()?)).transpose()
    }

    /// The next posting not below `block`.
    fn seek(&mut self, block: u64) -> Result<Option<u64>, StorageError> {
        for _ in 0..STEPS {
            match self.next()? {
                Some(next) if next < block => {}
                found => return Ok(found),
            }
        }
        if block > self.to {
            return Ok(None);
        }
        self.rest = Self::range(self.view, self.term, block, self.to);
        self.next()
    }
}
