//! A connection that stays open: WebSocket and IPC.
//!
//! Requests of one connection run side by side, a few at a time; answers leave as they are ready, through a bounded queue. A
//! request keeps its place until its answer is written, so that a client that does not read is not read from; a notification does
//! not wait: a client that lets the queue fill up is disconnected.

use crate::dispatch::{self, Backend, Caller};
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

/// A message on its way out.
pub(crate) struct Message {
    /// JSON text.
    pub(crate) text: Vec<u8>,
    /// The place of the request that it answers; none for a notification.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// The server's end of an open connection.
pub(crate) struct Peer {
    out: mpsc::Sender<Message>,
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
    fn new(config: &crate::ServerConfig, closed: CancellationToken) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (out, receiver) = mpsc::channel(config.max_queued_notifications.max(WIDTH));
        let peer = Self {
            out,
            queued: AtomicUsize::new(0),
            max_queued_bytes: config.max_response_bytes,
            subscriptions: Mutex::default(),
            max_subscriptions: config.max_subscriptions,
            next_subscription: AtomicU64::new(1),
            closed,
        };
        (Arc::new(peer), receiver)
    }

    /// Queues a notification; false if the connection is at its end. A full queue ends it.
    pub(crate) fn notify(&self, message: Vec<u8>) -> bool {
        let length = message.len();
        let queued = self.queued.fetch_add(length, Ordering::Relaxed);
        if queued.saturating_add(length) <= self.max_queued_bytes
            && self.out.try_send(Message { text: message, place: None }).is_ok()
        {
            return true;
        }
        if !self.closed.is_cancelled() {
            tracing::info!(queued, "disconnecting a subscriber that reads too slowly");
            metrics::counter!("jove_rpc_slow_subscribers_total").increment(1);
            self.closed.cancel();
        }
        false
    }

    async fn answer(&self, text: Vec<u8>, place: OwnedSemaphorePermit) {
        // Fails only when the writer is gone, and then the connection is too.
        drop(self.out.send(Message { text, place: Some(place) }).await);
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
    pub(crate) peer: Arc<Peer>,
    /// Subscriptions that start once this request has been answered.
    starts: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
}

impl Link {
    fn new(peer: &Arc<Peer>) -> Self {
        Self { peer: peer.clone(), starts: Arc::default() }
    }

    fn start(&self) {
        for start in self.starts.lock().drain(..) {
            // Fails only for a subscription that has ended already.
            let _ = start.send(());
        }
    }
}

/// Serves a connection until either side ends it. `write` sends queued messages out, and returns when it cannot.
pub(crate) async fn serve<B, S, W>(
    backend: B,
    ip: Option<IpAddr>,
    stop: &CancellationToken,
    mut requests: S,
    write: impl FnOnce(Outbox) -> W,
) where
    B: Backend,
    S: Stream<Item = Bytes> + Unpin,
    W: Future<Output = ()> + Send + 'static,
{
    let closed = stop.child_token();
    let (peer, messages) = Peer::new(backend.config(), closed.clone());
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
        let Some(request) = request else {
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
        let (backend, peer, closed) = (backend.clone(), peer.clone(), closed.clone());
        tokio::spawn(async move {
            let link = Link::new(&peer);
            let caller = Caller { ip, link: Some(link.clone()) };
            let work = async {
                let answer = dispatch::handle(&backend, request, caller).await;
                if let Some(body) = answer.body {
                    peer.answer(body, place).await;
                }
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
    messages: mpsc::Receiver<Message>,
    peer: Arc<Peer>,
    closed: CancellationToken,
}

impl Outbox {
    /// The next message; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let message = tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            message = self.messages.recv() => message,
        }?;
        if message.place.is_none() {
            self.peer.queued.fetch_sub(message.text.len(), Ordering::Relaxed);
        }
        Some(message)
    }

    /// Ends the connection.
    pub(crate) fn end(&self) {
        self.closed.cancel();
    }
}
