//! Filters that are polled. A filter that nobody asked for five minutes is gone.
//!
//! Filters and log subscriptions stand in memory: their addresses and topics together take at most [`MAX_BYTES`], and what filters
//! remember of blocks, in case they are withdrawn, at most [`MAX_REMEMBERED`]. Of each total one client address has an eighth
//! ([`crate::backlog`]), and one client address has at most [`MAX_OF_CLIENT`] filters. A filter that finds no room to remember
//! forgets its oldest blocks: should those be withdrawn, it does not say so.

use crate::{
    backlog::{Budget, Held},
    error::RpcError,
    eth::{
        convert,
        logs::{self, FilterObject},
    },
    follow::{Follower, Kept},
    methods::{Call, Methods},
    watch::Watch,
};
use alloy_primitives::{B256, U128};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, FilterChanges, Log};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a filter lives without being asked.
const IDLE: Duration = Duration::from_secs(300);
/// Most blocks that one answer names; the rest follows in the next. A filter that lived to be asked has at most 30,000 behind it.
const MAX_BLOCKS: u64 = 100_000;

/// Most filters of one client address.
const MAX_OF_CLIENT: usize = 1000;
/// Most bytes, about, of the addresses and topics of all filters and log subscriptions.
const MAX_BYTES: usize = 64 << 20;
/// Most bytes, about, of what filters remember of blocks: hashes, and logs.
const MAX_REMEMBERED: usize = 64 << 20;
/// Bytes of an address or topic of a filter, about: its place in a hash table, and its bloom of 256 bytes.
const ALTERNATIVE_BYTES: usize = 320;

/// What `eth_getFilterChanges` answers.
type Changes = FilterChanges<convert::RpcTransaction>;

pub(crate) fn register(methods: &mut Methods) {
    methods.read("eth_newFilter", new_log_filter);
    methods.quick("eth_newBlockFilter", |call| {
        call.no_args()?;
        let head = call.context.node.head();
        let room = call.context.filters.memory(client(call));
        add(call, Kind::Blocks(Follower::after(head.header.number, head.hash, ()).within(room)))
    });
    methods.quick("eth_newPendingTransactionFilter", |call| {
        let (full,): (Option<bool>,) = call.args()?;
        let position = call.context.watch.add_filter();
        let kind = Kind::Pending { position, full: full.unwrap_or_default() };
        add(call, kind).inspect_err(|_| call.context.watch.remove_filter())
    });
    methods.quick("eth_uninstallFilter", |call| {
        let (id,): (U128,) = call.args()?;
        Ok(call.context.filters.remove(id, &call.context.watch))
    });
    methods.heavy("eth_getFilterChanges", |call| {
        let (id,): (U128,) = call.args()?;
        let filter = call.context.filters.get(id)?;
        let mut kind = filter.lock();
        kind.changes(call)
    });
    methods.heavy("eth_getFilterLogs", |call| {
        let (id,): (U128,) = call.args()?;
        let filter = match &*call.context.filters.get(id)?.lock() {
            Kind::Logs { filter, .. } => filter.clone(),
            _ => return Err(not_found()),
        };
        logs::query_so_far(call, &filter)
    });
}

fn add(call: &Call, kind: Kind) -> Result<U128, RpcError> {
    call.context.filters.add(kind, client(call), &call.context.watch)
}

/// Whose filter a call makes.
fn client(call: &Call) -> Option<IpAddr> {
    call.link.as_ref().and_then(|link| link.counts_for)
}

fn not_found() -> RpcError {
    RpcError::server("filter not found")
}

fn new_log_filter(call: &Call) -> Result<U128, RpcError> {
    let (FilterObject(filter),): (FilterObject,) = call.args()?;
    logs::check_standing(&filter)?;
    if matches!(filter.block_option, FilterBlockOption::AtBlockHash(_)) {
        return Err(RpcError::invalid_params("a filter cannot be bound to a block hash: use eth_getLogs"));
    }
    let head = call.context.node.head();
    let room = call.context.filters.memory(client(call));
    let follower = Follower::after(head.header.number, head.hash, Vec::new()).within(room);
    add(call, Kind::Logs { filter: Box::new(filter), follower })
}

/// What a filter asks for, and where it stands.
enum Kind {
    Blocks(Follower<()>),
    Logs { filter: Box<Filter>, follower: Follower<Vec<Log>> },
    Pending { position: u64, full: bool },
}

impl Kind {
    /// What is new since the last call.
    fn changes(&mut self, call: &Call) -> Result<Changes, RpcError> {
        match self {
            Self::Blocks(follower) => {
                let view = call.context.node.storage().view();
                follower.withdraw(&view)?;
                let to = view.head_number().min(follower.last().saturating_add(MAX_BLOCKS));
                let mut hashes: Vec<B256> = Vec::new();
                for number in follower.last() + 1..=to {
                    call.check_deadline()?;
                    let hash = view.block_hash(number)?.ok_or_else(RpcError::header_not_found)?;
                    hashes.push(hash);
                }
                let first = to + 1 - hashes.len() as u64;
                for (number, hash) in (first..).zip(&hashes) {
                    follower.push(number, *hash, ());
                }
                Ok(FilterChanges::Hashes(hashes))
            }
            Self::Logs { filter, follower } => log_changes(call, filter, follower).map(FilterChanges::Logs),
            Self::Pending { position, full } => {
                let (transactions, next) = call.context.watch.pending_since(*position);
                *position = next;
                Ok(if *full {
                    FilterChanges::Transactions(transactions.iter().map(|t| convert::pooled(t)).collect())
                } else {
                    FilterChanges::Hashes(transactions.iter().map(|t| *t.inner().tx_hash()).collect())
                })
            }
        }
    }
}

/// Logs that were withdrawn, newest first, then those that are new: of all blocks since the last call, or of as many as fit
/// into one answer. What cannot be delivered now is found again by the next call: nothing is taken back before.
fn log_changes(call: &Call, filter: &Filter, follower: &mut Follower<Vec<Log>>) -> Result<Vec<Log>, RpcError> {
    let view = call.context.node.storage().view();
    let stale = follower.stale(&view)?;
    let first = follower.last_without(stale, &view) + 1;
    let mut last = view.head_number();
    let (from, to) = filter.extract_block_range();
    let (from, to) = (from.unwrap_or(0).max(first), to.unwrap_or(u64::MAX));
    let new = loop {
        if from > to.min(last) {
            break Vec::new();
        }
        match logs::query_range(call, &view, filter, from, to.min(last)) {
            Err(error) if error.code == RpcError::LIMIT && from < last => last = from + (to.min(last) - from) / 2,
            Err(error) if error.code == RpcError::LIMIT => {
                let block = view.block(from)?.ok_or_else(RpcError::header_not_found)?;
                break convert::matching_logs(&block, filter);
            }
            // What does not fit into an answer stays for the next call.
            Ok(logs) if from < last && 4 * logs.bytes() > call.context.config.max_response_bytes => {
                last = from + (to.min(last) - from) / 2;
            }
            result => break result?,
        }
    };
    let hashes: Vec<B256> = (first..=last)
        .map(|number| view.block_hash(number)?.ok_or_else(RpcError::header_not_found))
        .collect::<Result<_, _>>()?;
    let mut changes = Vec::new();
    for block in follower.take_back(stale, &view)? {
        changes.extend(block.kept.into_iter().rev().map(|log| Log { removed: true, ..log }));
    }
    let mut rest = new.as_slice();
    for (number, hash) in (first..).zip(hashes) {
        let (kept, later) = rest.split_at(rest.iter().take_while(|log| log.block_number == Some(number)).count());
        follower.push(number, hash, kept.to_vec());
        rest = later;
    }
    changes.extend(new);
    Ok(changes)
}

/// All filters by id.
pub(crate) struct Filters {
    max: usize,
    room: Budget,
    remembered: Budget,
    /// Ids are random, so that nobody asks for another's filter by chance.
    ids: RandomState,
    filters: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    installed: u64,
    by_id: HashMap<U128, Installed>,
}

struct Installed {
    kind: Arc<Mutex<Kind>>,
    pending: bool,
    asked: Instant,
    client: Option<IpAddr>,
    _held: Option<Held>,
}

impl Filters {
    pub(crate) fn new(max: usize) -> Self {
        let (room, remembered) = (Budget::new(MAX_BYTES), Budget::new(MAX_REMEMBERED));
        Self { max, room, remembered, ids: RandomState::new(), filters: Mutex::default() }
    }

    /// Room for a filter or subscription of `client` with so many addresses and topics. Without any it takes none: it is small, and how many
    /// there may be is limited.
    ///
    /// # Errors
    /// -32005 if there is none.
    pub(crate) fn hold(&self, client: Option<IpAddr>, alternatives: usize) -> Result<Option<Held>, RpcError> {
        if alternatives == 0 {
            return Ok(None);
        }
        let held = self.room.connection(0, client).hold(alternatives.saturating_mul(ALTERNATIVE_BYTES));
        held.map(Some).ok_or_else(|| RpcError::limit("too many addresses and topics in filters and subscriptions"))
    }

    /// What a filter of `client` remembers in: room for nothing yet.
    fn memory(&self, client: Option<IpAddr>) -> Held {
        self.remembered.connection(0, client).none()
    }

    /// Adds a filter of `client`; of nobody, if clients are not told apart.
    fn add(&self, kind: Kind, client: Option<IpAddr>, watch: &Watch) -> Result<U128, RpcError> {
        let mut table = self.filters.lock();
        let idle: Vec<U128> =
            table.by_id.iter().filter(|(_, filter)| filter.asked.elapsed() >= IDLE).map(|(id, _)| *id).collect();
        for id in idle {
            table.remove(id, watch);
        }
        if table.by_id.len() >= self.max {
            return Err(RpcError::limit("too many filters"));
        }
        let of_client = || table.by_id.values().filter(|filter| filter.client == client).count();
        if client.is_some() && of_client() >= MAX_OF_CLIENT {
            return Err(RpcError::limit("too many filters of one client"));
        }
        let alternatives = if let Kind::Logs { filter, .. } = &kind { logs::alternatives(filter) } else { 0 };
        let held = self.hold(client, alternatives)?;
        table.installed += 1;
        let half = |salt: u64| u128::from(self.ids.hash_one((table.installed, salt)));
        let id = U128::from(half(0) << 64 | half(1));
        let pending = matches!(kind, Kind::Pending { .. });
        let kind = Arc::new(Mutex::new(kind));
        table.by_id.insert(id, Installed { kind, pending, asked: Instant::now(), client, _held: held });
        Ok(id)
    }

    fn get(&self, id: U128) -> Result<Arc<Mutex<Kind>>, RpcError> {
        let mut table = self.filters.lock();
        let filter = table.by_id.get_mut(&id).filter(|filter| filter.asked.elapsed() < IDLE).ok_or_else(not_found)?;
        filter.asked = Instant::now();
        Ok(filter.kind.clone())
    }

    fn remove(&self, id: U128, watch: &Watch) -> bool {
        self.filters.lock().remove(id, watch)
    }
}

impl Table {
    fn remove(&mut self, id: U128, watch: &Watch) -> bool {
        let Some(filter) = self.by_id.remove(&id) else { return false };
        if filter.pending {
            watch.remove_filter();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_bounded_and_expire() {
        let (filters, watch) = (Filters::new(2), Watch::default());
        let blocks = || Kind::Blocks(Follower::after(0, B256::ZERO, ()));
        let one = filters.add(blocks(), None, &watch).expect("room");
        let two = filters.add(blocks(), None, &watch).expect("room");
        assert_ne!(one, two);
        assert_eq!(filters.add(blocks(), None, &watch).expect_err("full").code, RpcError::LIMIT);
        assert!(filters.remove(one, &watch) && !filters.remove(one, &watch));
        assert_eq!(filters.get(one).err(), Some(not_found()));
        filters.get(two).expect("there");
        let Some(long_ago) = Instant::now().checked_sub(IDLE) else { return };
        filters.filters.lock().by_id.get_mut(&two).expect("there").asked = long_ago;
        assert_eq!(filters.get(two).err(), Some(not_found()));
        filters.add(blocks(), None, &watch).expect("room");
        filters.add(blocks(), None, &watch).expect("the expired one made room");
    }

    #[test]
    fn one_client_cannot_lock_out_others() {
        let (filters, watch) = (Filters::new(2 * MAX_OF_CLIENT), Watch::default());
        let (a, b) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let blocks = || Kind::Blocks(Follower::after(0, B256::ZERO, ()));
        let first = filters.add(blocks(), a, &watch).expect("room");
        for _ in 1..MAX_OF_CLIENT {
            filters.add(blocks(), a, &watch).expect("room");
        }
        assert_eq!(filters.add(blocks(), a, &watch).expect_err("its share").code, RpcError::LIMIT);
        filters.add(blocks(), b, &watch).expect("another has room");
        assert!(filters.remove(first, &watch));
        filters.add(blocks(), a, &watch).expect("its place is free again");
    }

    #[test]
    fn filters_are_bounded_in_bytes() {
        let (filters, watch) = (Filters::new(10_000), Watch::default());
        let large = || {
            let topics: Vec<B256> = (0..1000u64).map(|i| alloy_primitives::U256::from(i).into()).collect();
            let follower = Follower::after(0, B256::ZERO, Vec::new());
            Kind::Logs { filter: Box::new(Filter::new().event_signature(topics)), follower }
        };
        let clients = (1..=20u8).map(|i| Some(IpAddr::from([10, 0, 0, i])));
        let mut installed = Vec::new();
        for client in clients {
            let before = installed.len();
            let error = loop {
                match filters.add(large(), client, &watch) {
                    Ok(id) => installed.push(id),
                    Err(error) => break error,
                }
                assert!(installed.len() < 1000);
            };
            assert_eq!(error.code, RpcError::LIMIT);
            assert!((installed.len() - before) * 1000 * ALTERNATIVE_BYTES <= MAX_BYTES / 8);
        }
        assert!(installed.len() * 1000 * ALTERNATIVE_BYTES <= MAX_BYTES);
        assert!(installed.len() > 150, "{}", installed.len());
        assert!(filters.hold(None, 1000).is_err(), "subscriptions count too");
        let blocks = Kind::Blocks(Follower::after(0, B256::ZERO, ()));
        filters.add(blocks, None, &watch).expect("what has no addresses and topics needs no room");
        assert!(filters.remove(installed[0], &watch) && filters.hold(None, 1000).is_ok());
    }
}
