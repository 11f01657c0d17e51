//! Direct messages: from each validator to each other, in order, over streams that are kept open.
//!
//! Each validator opens one stream to every other, `/jove/CHAIN/GENESIS/direct/1`, and sends on it; it receives on the stream that the other opened. The
//! receiving side first writes one byte, 1: it takes messages. It does so only if the connection's peer is a validator of its set, and
//! takes one stream from each: a new one replaces the old. Then come messages ([`frame`]); anything too large, or written by the
//! receiving side, ends the stream.
//!
//! A validator that is not there is redialled, first after 200 ms, then each time twice as long, to 20 s, with jitter. Meanwhile, and while it
//! does not read, its messages wait in a bounded queue, and the oldest are dropped and counted: consensus sends again what still matters.

use crate::{
    Error, Event, Limits,
    counters::Counters,
    events::Delivery,
    frame,
    node::Command,
    peers::{Offence, Peers},
    streams::Protocol,
};
use alloy_primitives::{B256, FixedBytes};
use bytes::Bytes;
use futures_util::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{sleep, timeout},
};

/// What the receiving side writes first.
const ACCEPTED: u8 = 1;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LEAST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// A stream that lasted so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(5);

/// Messages waiting for one validator.
pub(crate) struct Outbox {
    queue: Mutex<(VecDeque<Bytes>, usize)>,
    ready: Notify,
    /// Set off when a connection appears: try now.
    pub(crate) wake: Notify,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::default(), ready: Notify::new(), wake: Notify::new() }
    }

    /// Adds a message; how many old ones gave way.
    pub(crate) fn push(&self, bytes: Bytes, limits: &Limits) -> u64 {
        let mut dropped = 0;
        {
            let (queue, size) = &mut *self.queue.lock();
            *size += bytes.len();
            queue.push_back(bytes);
            while queue.len() > limits.direct_queue || *size > limits.direct_queue_size {
                let Some(oldest) = queue.pop_front() else { break };
                *size -= oldest.len();
                dropped += 1;
            }
        }
        self.ready.notify_one();
        dropped
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.lock().0.len()
    }

    fn pop(&self) -> Option<Bytes> {
        let (queue, size) = &mut *self.queue.lock();
        let bytes = queue.pop_front()?;
        *size -= bytes.len();
        Some(bytes)
    }

    async fn next(&self) -> Bytes {
        loop {
            if let Some(bytes) = self.pop() {
                return bytes;
            }
            self.ready.notified().await;
        }
    }
}

/// What all tasks of direct streams share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) peers: Arc<Mutex<Peers>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) delivery: Delivery,
    pub(crate) limits: Arc<Limits>,
    /// Validators whose stream takes messages.
    pub(crate) open: Arc<AtomicUsize>,
}

/// Counts an open stream, also when its task is stopped.
struct OpenGuard(Arc<AtomicUsize>);

impl OpenGuard {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps a stream to the validator open and sends what is in its outbox, until stopped.
pub(crate) async fn keep(
    shared: Shared,
    validator: B256,
    peer: PeerId,
    outbox: Arc<Outbox>,
    commands: mpsc::WeakSender<Command>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (reply, stream) = oneshot::channel();
        let Some(sender) = commands.upgrade() else { return };
        if sender.send(Command::Open { peer, protocol: Protocol::Direct, reply }).await.is_err() {
            return;
        }
        drop(sender);
        if let Ok(Ok(stream)) = stream.await {
            let began = Instant::now();
            if let Err(error) = send(&shared, validator, &outbox, stream).await {
                tracing::debug!(%peer, %validator, %error, "direct stream ended");
            }
            if began.elapsed() >= GOOD {
                pause = FIRST_PAUSE;
            }
        }
        // however often a peer comes and goes
        sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = sleep(jitter(pause)) => {}
            () = outbox.wake.notified() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between one and one and a half times as long.
pub(crate) fn jitter(pause: Duration) -> Duration {
    let [random] = FixedBytes::<1>::random().0;
    pause + pause * u32::from(random) / 512
}

async fn send(shared: &Shared, validator: B256, outbox: &Outbox, stream: Stream) -> Result<(), Error> {
    let limits = &shared.limits;
    let (mut answers, messages) = stream.split();
    // the name of the protocol travels with the first bytes: flushed, or nobody would answer
    let mut messages = BufWriter::with_capacity(32 << 10, messages);
    let mut first = [0];
    let accepted = async {
        messages.flush().await?;
        answers.read_exact(&mut first).await
    };
    timeout(limits.stall, accepted).await.map_err(|_| Error::Timeout)??;
    if first != [ACCEPTED] {
        return Err(Error::Refused);
    }
    let _open = OpenGuard::new(&shared.open);
    shared.delivery.send(Event::Connected(validator), 0).await;
    let sending = async {
        loop {
            let mut next = Some(outbox.next().await);
            while let Some(bytes) = next {
                timeout(frame::patience(bytes.len(), limits.stall), frame::write(&mut messages, &bytes))
                    .await
                    .map_err(|_| Error::Timeout)??;
                shared.counters.direct_sent.one();
                next = outbox.pop();
            }
            timeout(limits.stall, messages.flush()).await.map_err(|_| Error::Timeout)??;
        }
    };
    let mut more = [0];
    let ended = tokio::select! {
        ended = sending => ended,
        // the other side has no more to say: an end, or bytes, mean that the stream is over
        _ = answers.read(&mut more) => Ok(()),
    };
    shared.delivery.send(Event::Disconnected(validator), 0).await;
    ended
}

/// Reads what a validator sends, until its stream ends.
pub(crate) async fn receive(shared: Shared, from: B256, peer: PeerId, stream: Stream) {
    let limits = &shared.limits;
    match read(&shared, from, peer, stream).await {
        Err(Error::TooLarge { size, max }) => {
            tracing::warn!(%peer, validator = %from, size, max, "direct message too large");
            shared.counters.direct_malformed.one();
            shared.peers.lock().report(&peer, Offence::Malformed, Instant::now());
        }
        Err(Error::Timeout) => {
            tracing::debug!(%peer, validator = %from, stall = ?limits.stall, "direct message stood still");
            shared.counters.direct_malformed.one();
        }
        Err(error) => tracing::debug!(%peer, validator = %from, %error, "direct stream ended"),
        Ok(never) => match never {},
    }
}

async fn read(
    shared: &Shared,
    from: B256,
    peer: PeerId,
    mut stream: Stream,
) -> Result<std::convert::Infallible, Error> {
    let limits = &shared.limits;
    let accept = async {
        stream.write_all(&[ACCEPTED]).await?;
        stream.flush().await
    };
    timeout(limits.stall, accept).await.map_err(|_| Error::Timeout)??;
    loop {
        let bytes = frame::read(&mut stream, limits.direct_size, limits.stall).await?;
        shared.counters.direct_received.one();
        let size = bytes.len();
        shared.delivery.send(Event::Direct { from, bytes }, size).await;
        let wait = shared.peers.lock().spend_direct(&peer, Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_give_way() {
        let limits = Limits { direct_queue: 3, direct_queue_size: 10, ..Limits::default() };
        let outbox = Outbox::new();
        for byte in 0..5u8 {
            let dropped = outbox.push(Bytes::copy_from_slice(&[byte]), &limits);
            assert_eq!(dropped, u64::from(byte >= 3));
        }
        assert_eq!(outbox.len(), 3);
        assert_eq!(outbox.next().await, vec![2]);
        assert_eq!(outbox.push(Bytes::from(vec![9; 9]), &limits), 1, "bytes count too");
        assert_eq!(outbox.next().await, vec![4]);
        assert_eq!(outbox.next().await, vec![9; 9]);
        assert!(outbox.pop().is_none());
        assert_eq!(outbox.queue.lock().1, 0);
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        for _ in 0..1_000 {
            let pause = jitter(FIRST_PAUSE);
            assert!(pause >= FIRST_PAUSE && pause <= FIRST_PAUSE * 3 / 2);
        }
    }
}
