//! A connection's bytes: counted against the limit of connections and the budget of requests, and given up when the other side
//! stops reading, or does not finish what it began to send.

use crate::{
    backlog::{Backlog, Budget, Held, UNANSWERED, held_bytes},
    limits::Place,
};
use axum::body::Bytes;
use parking_lot::Mutex;
use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a write may stand still. What waits behind it holds memory all that time.
const STALL: Duration = Duration::from_secs(20);

/// How long a client may take for one request.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a client's control frame beside its payload: two of the header, four of the mask (RFC 6455, section 5.2).
const CONTROL_HEADER: usize = 6;

/// What a connection has sent and is not answered.
///
/// Over HTTP a body holds room as it is read. On connections that carry one message after another the socket counts what it reads:
/// what came since the last whole message is the unfinished one. What such a connection is read into keeps its size, so the most
/// that was ever unfinished stays held; a whole message is copied out and holds room of its own, until the last of its parts is gone.
#[derive(Clone)]
pub(crate) struct Inbox {
    /// Of whole messages, and HTTP bodies.
    messages: Backlog,
    unfinished: Arc<Mutex<Unfinished>>,
}

struct Unfinished {
    /// Whether the socket counts.
    counts: bool,
    /// How long a message may take; `None`: as long as it likes.
    deadline: Option<Duration>,
    /// Bytes read since the last whole message. Those that were read together with its end are not among them.
    bytes: usize,
    /// Room for the most that `bytes` has been.
    held: Held,
}

impl Inbox {
    /// Of a new connection of `client`.
    pub(crate) fn new(budget: &Budget, client: Option<IpAddr>) -> Self {
        let held = budget.connection(UNANSWERED, client).none();
        let unfinished = Arc::new(Mutex::new(Unfinished { counts: false, deadline: None, bytes: 0, held }));
        Self { messages: budget.connection(UNANSWERED, client), unfinished }
    }

    /// Room for an HTTP body, which grows as it is read.
    pub(crate) fn body(&self) -> Held {
        self.messages.none()
    }

    /// From now on the connection carries messages, each within `deadline` of its first byte.
    pub(crate) fn count(&self, deadline: Option<Duration>) {
        let mut unfinished = self.unfinished.lock();
        (unfinished.counts, unfinished.deadline) = (true, deadline);
    }

    /// A whole message; `None` if there is no room for it.
    pub(crate) fn message(&self, text: &[u8]) -> Option<Bytes> {
        self.unfinished.lock().bytes = 0;
        let held = self.messages.hold(text.len());
        if held.is_none() {
            no_room();
        }
        held.map(|held| held_bytes(text.to_vec(), vec![held]))
    }

    /// A WebSocket's control frame, which may stand within a message.
    pub(crate) fn control(&self, payload: usize) {
        let mut unfinished = self.unfinished.lock();
        unfinished.bytes = unfinished.bytes.saturating_sub(payload + CONTROL_HEADER);
    }

    /// Counts bytes that were read; false if there is no room for them.
    fn read(&self, bytes: usize) -> bool {
        let mut unfinished = self.unfinished.lock();
        if !unfinished.counts {
            return true;
        }
        unfinished.bytes += bytes;
        let more = unfinished.bytes.saturating_sub(unfinished.held.bytes());
        unfinished.held.grow(more)
    }

    /// How long a message that was begun may take, if there is one, and a limit.
    fn deadline(&self) -> Option<Duration> {
        let unfinished = self.unfinished.lock();
        unfinished.deadline.filter(|_| unfinished.bytes > 0)
    }
}

#[cfg(test)]
impl Default for Inbox {
    fn default() -> Self {
        Self::new(&Budget::new(0), None)
    }
}

/// Notes that a request was not taken.
pub(crate) fn no_room() {
    tracing::info!("no room for a request: too many wait to be answered");
    metrics::counter!("jove_rpc_requests_without_room_total").increment(1);
}

/// A socket that holds one place among the connections, whose writes fail once they stand still for [`STALL`], and whose reads fail
/// when there is no room for what came, or when a message is not whole in time.
pub(crate) struct Socket<S> {
    stream: S,
    inbox: Inbox,
    /// Armed while a message is unfinished.
    late: Option<Pin<Box<Sleep>>>,
    /// Armed while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl<S> Socket<S> {
    pub(crate) fn new(stream: S, inbox: Inbox, place: Place) -> Self {
        metrics::gauge!("jove_rpc_connections").increment(1.0);
        Self { stream, inbox, late: None, stalled: None, _place: place }
    }

    /// Passes progress on; turns a wait that lasts too long into an error.
    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stalled.as_mut().poll(context));
        tracing::info!("disconnecting a client that does not read its answers");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> Drop for Socket<S> {
    fn drop(&mut self) {
        metrics::gauge!("jove_rpc_connections").decrement(1.0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.inbox.deadline().is_none() {
            this.late = None;
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
        if !this.inbox.read(buffer.filled().len().saturating_sub(before)) {
            no_room();
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        if let Some(deadline) = this.inbox.deadline() {
            let late = this.late.get_or_insert_with(|| Box::pin(sleep(deadline)));
            if late.as_mut().poll(context).is_ready() {
                tracing::info!("disconnecting a client that does not finish its request");
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, poll)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch(context, poll)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(context);
        this.watch(context, poll)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Connections;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        time::{Instant, timeout},
    };

    #[tokio::test(start_paused = true)]
    async fn a_write_that_stands_still_fails_and_frees_its_place() {
        let places = Connections::new(1, 0);
        let place = places.admit(None).expect("a place");
        let (ours, theirs) = tokio::io::duplex(16);
        let mut socket = Socket::new(ours, Inbox::default(), place);
        socket.write_all(&[0; 16]).await.expect("there is room");
        let error = socket.write_all(&[0; 16]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(places.free(), 0);
        drop((socket, theirs));
        assert_eq!(places.free(), 1);
    }

    /// A socket that counts, and its other end.
    fn counting(budget: &Budget) -> (Socket<DuplexStream>, Inbox, DuplexStream) {
        let place = Connections::new(1, 0).admit(None).expect("a place");
        let inbox = Inbox::new(budget, None);
        inbox.count(Some(READ_TIMEOUT));
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (Socket::new(ours, inbox.clone(), place), inbox, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_not_finished_in_time_fails() {
        let (mut socket, inbox, mut theirs) = counting(&Budget::new(0));
        let mut buffer = [0; 100];
        let idle = timeout(10 * READ_TIMEOUT, socket.read(&mut buffer)).await;
        assert!(idle.is_err(), "one that sends nothing has begun nothing");
        // Whole messages, however far apart, and what is between them.
        for _ in 0..3 {
            theirs.write_all(&[0; 50]).await.expect("sent");
            assert_eq!(socket.read(&mut buffer).await.expect("in time"), 50);
            assert!(inbox.message(&buffer[..40]).is_some());
            theirs.write_all(&[0; 10]).await.expect("sent");
            assert_eq!(socket.read(&mut buffer).await.expect("in time"), 10);
            inbox.control(4);
            assert!(timeout(2 * READ_TIMEOUT, socket.read(&mut buffer)).await.is_err(), "nothing is unfinished");
        }
        // Bytes that come, or control frames among them, win no time.
        let start = Instant::now();
        let error = loop {
            theirs.write_all(&[0; 12]).await.expect("sent");
            match timeout(READ_TIMEOUT / 10, socket.read(&mut buffer)).await {
                Ok(Ok(_)) => inbox.control(0),
                Ok(Err(error)) => break error,
                Err(_) => {}
            }
            tokio::time::sleep(READ_TIMEOUT / 10).await;
            assert!(start.elapsed() < 2 * READ_TIMEOUT);
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= READ_TIMEOUT);
    }

    #[tokio::test]
    async fn what_is_read_holds_room() {
        const MESSAGE: usize = 2 * UNANSWERED;
        let budget = Budget::new(3 * MESSAGE);
        let (mut socket, inbox, mut theirs) = counting(&budget);
        let mut buffer = vec![0; MESSAGE];
        let mut send = async |socket: &mut Socket<DuplexStream>, bytes: usize| {
            theirs.write_all(&vec![b' '; bytes]).await.expect("sent");
            socket.read_exact(&mut buffer[..bytes]).await.map(|_| buffer[..bytes].to_vec())
        };
        send(&mut socket, UNANSWERED).await.expect("its own");
        assert_eq!(budget.left(), 3 * MESSAGE);
        let text = send(&mut socket, UNANSWERED).await.expect("room");
        assert_eq!(budget.left(), 3 * MESSAGE - UNANSWERED, "an unfinished message draws on the budget");
        let small = inbox.message(&text).expect("its own room");
        let message = inbox.message(&[text.clone(), text].concat()).expect("room");
        let left = 2 * MESSAGE - UNANSWERED;
        assert_eq!(budget.left(), left, "so does one that is not answered");
        for _ in 0..10 {
            let text = send(&mut socket, MESSAGE).await.expect("what was read into before");
            drop(inbox.message(&text).expect("room"));
            assert_eq!(budget.left(), left);
        }
        let part = message.slice(1..2);
        drop((small, message));
        assert_eq!(budget.left(), left, "a part of it is still in use");
        drop(part);
        assert_eq!(budget.left(), 3 * MESSAGE - UNANSWERED);
        let error = loop {
            match send(&mut socket, MESSAGE).await {
                Ok(_) => assert!(budget.left() > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        drop((socket, inbox));
        assert_eq!(budget.left(), 3 * MESSAGE);
    }
}
