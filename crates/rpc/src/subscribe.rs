//! `eth_subscribe` and `eth_unsubscribe`, on WebSocket and IPC.
//!
//! When blocks are withdrawn, the logs that were sent are sent again with `removed: true`, and the new heads and logs follow.

use crate::{
    backlog::Held,
    error::RpcError,
    eth::{
        convert,
        logs::{self, FilterObject},
    },
    follow::Follower,
    methods::{Call, Context, Methods, to_json},
    request::Quantity,
    session::{Link, Peer},
    texts::SharedLog,
};
use alloy_primitives::U64;
use alloy_rpc_types_eth::{Filter, Log, pubsub::SubscriptionKind};
use axum::body::Bytes;
use jove_primitives::ExecutedBlock;
use jove_sequencer::Event;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Blocks that are read from the store before their notifications leave.
const CHUNK: usize = 32;

pub(crate) fn register(methods: &mut Methods) {
    methods.wait("eth_subscribe", subscribe);
    methods.quick("eth_unsubscribe", |call| {
        let (id,): (Quantity,) = call.args()?;
        let (_, peer) = connection(call)?;
        if peer.unsubscribe(id.0) { Ok(true) } else { Err(RpcError::server("subscription not found")) }
    });
}

/// The connection, if it can carry subscriptions.
fn connection(call: &Call) -> Result<(&Link, &Arc<Peer>), RpcError> {
    let link = call.link.as_ref();
    link.and_then(|link| Some((link, link.peer.as_ref()?)))
        .ok_or_else(|| RpcError::server("notifications not supported: use WebSocket or IPC"))
}

/// What a subscriber of the chain is sent of each block.
enum Feed {
    Heads,
    Logs {
        filter: Box<Filter>,
        /// The room that the filter takes.
        _held: Option<Held>,
    },
}

async fn subscribe(call: Call) -> Result<U64, RpcError> {
    let (kind, details): (SubscriptionKind, Option<Value>) = call.args()?;
    let (link, of) = connection(&call)?;
    let (context, peer) = (call.context.clone(), of.clone());
    let invalid = |error: serde_json::Error| RpcError::invalid_params(format!("invalid argument 1: {error}"));
    // Events from now on; the head is read after, so that nothing lies between. Both before the answer: what is sealed after that is announced.
    let events = context.node.events();
    let head = context.node.head();
    let follower = || Follower::after(head.header.number, head.hash, Vec::new());
    let id = match kind {
        SubscriptionKind::NewHeads => of.subscribe(link, |id| {
            follow(context, Subscriber { id, peer, feed: Feed::Heads, follower: follower() }, events)
        }),
        SubscriptionKind::Logs => {
            let details = details.unwrap_or_else(|| Value::Object(Default::default()));
            let FilterObject(filter) = serde_json::from_value(details).map_err(invalid)?;
            logs::check_standing(&filter)?;
            let held = call.context.filters.hold(link.counts_for, logs::alternatives(&filter))?;
            let feed = Feed::Logs { filter: Box::new(filter), _held: held };
            of.subscribe(link, |id| follow(context, Subscriber { id, peer, feed, follower: follower() }, events))
        }
        SubscriptionKind::NewPendingTransactions => {
            let full: bool = details.map_or(Ok(false), serde_json::from_value).map_err(invalid)?;
            of.subscribe(link, |id| pending(peer, id, events, full))
        }
        // The node has nothing to catch up with: it says so once.
        SubscriptionKind::Syncing => of.subscribe(link, |id| async move {
            peer.notify(id, Bytes::from_static(b"false"));
            std::future::pending().await
        }),
        SubscriptionKind::TransactionReceipts => {
            return Err(RpcError::invalid_params("no \"transactionReceipts\" subscription in eth namespace"));
        }
    };
    id.map(U64::from).ok_or_else(|| RpcError::limit("too many subscriptions on this connection"))
}

/// A subscriber of the chain.
struct Subscriber {
    id: u64,
    peer: Arc<Peer>,
    feed: Feed,
    /// Keeps the logs that were sent of each block.
    follower: Follower<Vec<Arc<SharedLog>>>,
}

impl Subscriber {
    /// Sends what belongs to the next block; false if the connection is at its end.
    fn announce(&mut self, context: &Context, block: &ExecutedBlock) -> Result<bool, RpcError> {
        let mut sent = Vec::new();
        let alive = match &self.feed {
            Feed::Heads => self.peer.notify(self.id, context.texts.head(block)?),
            Feed::Logs { filter, .. } => {
                if filter.matches_bloom(block.header.logs_bloom) {
                    let logs = context.texts.logs(block)?;
                    sent.extend(logs.iter().filter(|shared| filter.rpc_matches(&shared.log)).cloned());
                }
                sent.iter().all(|shared| self.peer.notify(self.id, shared.text.clone()))
            }
        };
        self.follower.push(block.header.number, block.hash, sent);
        Ok(alive)
    }

    /// Compares with the store: says what was withdrawn, and announces a few of the blocks that are missing. Whether there are more, or
    /// `None` if the connection is at its end.
    fn catch_up(&mut self, context: &Context) -> Result<Option<bool>, RpcError> {
        let view = context.node.storage().view();
        for block in self.follower.withdraw(&view)? {
            for shared in block.kept.into_iter().rev() {
                let removed = Log { removed: true, ..shared.log.clone() };
                if !self.peer.notify(self.id, to_json(&removed, usize::MAX)?.into()) {
                    return Ok(None);
                }
            }
        }
        for _ in 0..CHUNK {
            let next = self.follower.last() + 1;
            if next > view.head_number() {
                return Ok(Some(false));
            }
            let block = view.block(next)?.ok_or_else(|| RpcError::internal("a block is missing"))?;
            if !self.announce(context, &block)? {
                return Ok(None);
            }
        }
        Ok(Some(true))
    }
}

async fn follow(context: Arc<Context>, mut subscriber: Subscriber, mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::Block(block)) if subscriber.follower.is_next(&block) => {
                match subscriber.announce(&context, &block) {
                    Ok(true) => continue,
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(?error, "a subscription ends");
                        return;
                    }
                }
            }
            Ok(Event::Block(block)) if subscriber.follower.knows(&block) => continue,
            Ok(Event::Transaction(_)) => continue,
            Ok(Event::Block(_) | Event::Unwound(_)) => {}
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a subscriber missed events, reading the store"),
            Err(RecvError::Closed) => return,
        }
        loop {
            // Subscribers that lag read the store in turn with everyone else who does.
            let Ok(place) = context.reads.clone().acquire_owned().await else { return };
            let context = context.clone();
            let caught_up = tokio::task::spawn_blocking(move || {
                let caught_up = subscriber.catch_up(&context);
                drop(place);
                (subscriber, caught_up)
            });
            match caught_up.await {
                Ok((same, Ok(Some(more)))) => {
                    subscriber = same;
                    if !more {
                        break;
                    }
                }
                Ok((_, Ok(None))) => return,
                Ok((_, Err(error))) => {
                    tracing::error!(?error, "a subscription ends: the store cannot be read");
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "a subscription ends");
                    return;
                }
            }
        }
    }
}

/// A subscriber of the pool. What it misses under load is gone: such a transaction is old news by then.
async fn pending(peer: Arc<Peer>, id: u64, mut events: Receiver<Event>, full: bool) {
    loop {
        match events.recv().await {
            Ok(Event::Transaction(transaction)) => {
                let text = if full {
                    to_json(&convert::pooled(&transaction), usize::MAX)
                } else {
                    to_json(transaction.inner().tx_hash(), usize::MAX)
                };
                // What does not serialize has been logged.
                if let Ok(text) = text
                    && !peer.notify(id, text.into())
                {
                    return;
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::info!(missed, "a subscriber of pending transactions missed some")
            }
            Err(RecvError::Closed) => return,
        }
    }
}
