//! A connection that stays open: WebSocket and IPC.
//!
//! Requests of one connection run side by side, a few at a time; answers leave as they are ready, through a queue. A request keeps
//! its place until its answer is written, so that a client that does not read is not read from; a notification does not wait: a
//! client for which too much is queued is disconnected. What is queued holds room ([`crate::backlog`]) until it is written.

use crate::{
    backlog::{Backlog, Held},
    dispatch::{self, Answer, Backend, Caller, Client},
};
use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;

/// Requests of one connection that run, or wait to be written, at once.
const WIDTH: usize = 8;

/// Bytes that a queued message takes beside its text, about.
const OVERHEAD: usize = 128;

/// A message on its way out.
pub(crate) struct Message {
    /// JSON text.
    pub(crate) text: Vec<u8>,
    /// The room that it takes.
    pub(crate) held: Vec<Held>,
    /// The place of the request that it answers; none for a notification.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// What waits to be written.
enum Queued {
    Answer(Message),
    /// The text around the result, which subscribers share, is made when it is written.
    Notification {
        subscription: u64,
        result: Bytes,
        held: Held,
    },
}

/// The server's end of an open connection.
pub(crate) struct Peer {
    /// Bounded by the room that what is in it holds.
    out: mpsc::UnboundedSender<Queued>,
    backlog: Backlog,
    /// Bytes of notifications in the queue.
    queued: AtomicUsize,
    max_queued_bytes: usize,
    subscriptions: Mutex<HashMap<u64, AbortHandle>>,
    max_subscriptions: usize,
    next_subscription: AtomicU64,
    /// Cancelled when the connection is to end.
    closed: CancellationToken,
}

impl Peer {
    fn new(
        config: &crate::ServerConfig,
        backlog: Backlog,
        closed: CancellationToken,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Queued>) {
        let (out, receiver) = mpsc::unbounded_channel();
        let peer = Self {
            out,
            backlog,
            queued: AtomicUsize::new(0),
            max_queued_bytes: config.max_response_bytes,
            subscriptions: Mutex::default(),
            max_subscriptions: config.max_subscriptions,
            next_subscription: AtomicU64::new(1),
            closed,
        };
        (Arc::new(peer), receiver)
    }

    /// Queues a notification, `result` being JSON text; false if the connection is at its end. One that finds no room ends it.
    pub(crate) fn notify(&self, subscription: u64, result: Bytes) -> bool {
        let bytes = result.len() + OVERHEAD;
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed);
        if queued.saturating_add(bytes) <= self.max_queued_bytes
            && let Some(held) = self.backlog.hold(bytes)
        {
            return self.out.send(Queued::Notification { subscription, result, held }).is_ok();
        }
        if !self.closed.is_cancelled() {
            tracing::info!(queued, "disconnecting a subscriber that reads too slowly");
            metrics::counter!("jove_rpc_slow_subscribers_total").increment(1);
            self.closed.cancel();
        }
        false
    }

    fn answer(&self, answer: Answer, place: OwnedSemaphorePermit) {
        if let Some(text) = answer.body {
            // Fails only when the writer is gone, and then the connection is too.
            let _ = self.out.send(Queued::Answer(Message { text, held: answer.held, place: Some(place) }));
        }
    }

    /// Starts a subscription: `run` is given its id and starts once the id has been answered. `None` if there are too many.
    pub(crate) fn subscribe<F>(self: &Arc<Self>, link: &Link, run: impl FnOnce(u64) -> F) -> Option<u64>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut subscriptions = self.subscriptions.lock();
        if subscriptions.len() >= self.max_subscriptions || self.closed.is_cancelled() {
            return None;
        }
        let id = self.next_subscription.fetch_add(1, Ordering::Relaxed);
        let (start, started) = oneshot::channel();
        let work = run(id);
        let peer = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            if started.await.is_ok() {
                work.await;
            }
            if let Some(peer) = peer.upgrade() {
                peer.unsubscribe(id);
            }
        });
        subscriptions.insert(id, task.abort_handle());
        link.starts.lock().push(start);
        metrics::gauge!("jove_rpc_subscriptions").increment(1.0);
        Some(id)
    }

    /// Ends a subscription; false if there is none of this id.
    pub(crate) fn unsubscribe(&self, id: u64) -> bool {
        let Some(task) = self.subscriptions.lock().remove(&id) else { return false };
        task.abort();
        metrics::gauge!("jove_rpc_subscriptions").decrement(1.0);
        true
    }

    fn end(&self) {
        self.closed.cancel();
        let ids: Vec<u64> = self.subscriptions.lock().keys().copied().collect();
        for id in ids {
            self.unsubscribe(id);
        }
    }
}

/// A connection as one of its requests sees it.
#[derive(Clone)]
pub(crate) struct Link {
    /// Where it can carry subscriptions.
    pub(crate) peer: Option<Arc<Peer>>,
    /// Whose limits it counts against; see [`Client`].
    pub(crate) counts_for: Option<IpAddr>,
    /// Subscriptions that start once this request has been answered.
    starts: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
}

impl Link {
    /// As a request of `client` sees it; `peer` if the connection stays open.
    pub(crate) fn new(client: &Client, peer: Option<Arc<Peer>>) -> Self {
        Self { peer, counts_for: client.counts_for, starts: Arc::default() }
    }

    fn start(&self) {
        for start in self.starts.lock().drain(..) {
            // Fails only for a subscription that has ended already.
            let _ = start.send(());
        }
    }
}

/// Serves a connection until either side ends it. `requests` ends with a `None` if there is no room for the next one. `write` sends
/// queued messages out, and returns when it cannot.
pub(crate) async fn serve<B, S, W>(
    backend: B,
    client: Client,
    stop: &CancellationToken,
    mut requests: S,
    write: impl FnOnce(Outbox) -> W,
) where
    B: Backend,
    S: Stream<Item = Option<Bytes>> + Unpin,
    W: Future<Output = ()> + Send + 'static,
{
    let closed = stop.child_token();
    let (peer, messages) = Peer::new(backend.config(), client.backlog.clone(), closed.clone());
    let outbox = Outbox { messages, peer: peer.clone(), closed: closed.clone() };
    let mut writer = tokio::spawn(write(outbox));
    let places = Arc::new(Semaphore::new(WIDTH));
    loop {
        let place = tokio::select! {
            () = closed.cancelled() => break,
            _ = &mut writer => break,
            place = places.clone().acquire_owned() => place,
        };
        let request = tokio::select! {
            () = closed.cancelled() => break,
            _ = &mut writer => break,
            request = requests.next() => request,
        };
        let Ok(place) = place else { break };
        let Some(request) = request.flatten() else {
            // A client may close its sending half and still read: what it asked for is answered first.
            drop(place);
            let width = u32::try_from(WIDTH).unwrap_or(u32::MAX);
            tokio::select! {
                () = closed.cancelled() => {}
                _ = &mut writer => {}
                _ = places.acquire_many(width) => {}
            }
            break;
        };
        let (backend, client, peer, closed) = (backend.clone(), client.clone(), peer.clone(), closed.clone());
        tokio::spawn(async move {
            let link = Link::new(&client, Some(peer.clone()));
            let caller = Caller { client, link: Some(link.clone()) };
            let work = async {
                peer.answer(dispatch::handle(&backend, request, caller).await, place);
                link.start();
            };
            tokio::select! {
                () = work => {}
                () = closed.cancelled() => {}
            }
        });
    }
    peer.end();
    // The writer sees the end too; it says goodbye where the transport has a word for it.
    if !writer.is_finished() && tokio::time::timeout(std::time::Duration::from_secs(1), &mut writer).await.is_err() {
        writer.abort();
    }
}

/// Messages on their way out.
pub(crate) struct Outbox {
    messages: mpsc::UnboundedReceiver<Queued>,
    peer: Arc<Peer>,
    closed: CancellationToken,
}

impl Outbox {
    /// The next message; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let queued = tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            queued = self.messages.recv() => queued,
        }?;
        match queued {
            Queued::Answer(message) => Some(message),
            Queued::Notification { subscription, result, held } => {
                self.peer.queued.fetch_sub(result.len() + OVERHEAD, Ordering::Relaxed);
                Some(Message { text: notification(subscription, &result), held: vec![held], place: None })
            }
        }
    }

    /// Ends the connection.
    pub(crate) fn end(&self) {
        self.closed.cancel();
    }
}

/// The text of a notification. A subscription's id is a quantity.
fn notification(subscription: u64, result: &[u8]) -> Vec<u8> {
    let head = format!(
        r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{subscription:#x}","result":"#
    );
    [head.as_bytes(), result, b"}}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_has_the_form_that_clients_expect() {
        let text = String::from_utf8(notification(10, br#""x""#)).expect("text");
        let expected = r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0xa","result":"x"}}"#;
        assert_eq!(text, expected);
    }
}
