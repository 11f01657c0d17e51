//! What the network tells its host, and the bounded way there.

use crate::{Topic, exchange::Responder, gossip::Verdict};
use alloy_primitives::B256;
use bytes::Bytes;
use libp2p::PeerId;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Something that the host should know.
#[derive(Debug)]
pub enum Event {
    /// The direct stream to a validator takes messages. What it missed before is the host's to send again.
    Connected(B256),
    /// The direct stream to a validator ended; it is redialled. Not said of validators that leave the set.
    Disconnected(B256),
    /// A validator's message, in the order it sent them. Its id is as true as the handshake: the peer holds the key behind it.
    Direct {
        /// The validator.
        from: B256,
        /// Its message, at most [`Limits::direct_size`](crate::Limits::direct_size) bytes.
        bytes: Bytes,
    },
    /// A message of a topic. It goes on to other peers only if the host accepts it.
    Gossip {
        /// The topic.
        topic: Topic,
        /// The peer that forwarded it; its author is for the content to prove.
        from: PeerId,
        /// At most [`Limits::gossip_size`](crate::Limits::gossip_size) bytes.
        bytes: Bytes,
        /// What the host says of it. Dropped, it means ignore.
        verdict: Verdict,
    },
    /// A peer asks.
    Request {
        /// The peer.
        from: PeerId,
        /// At most [`Limits::request_size`](crate::Limits::request_size) bytes.
        bytes: Bytes,
        /// Where the answer goes. Dropped, it means refuse.
        responder: Responder,
    },
}

/// The host's end: events in order. While it does not take them, validators' streams wait, and gossip is ignored.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Queued>);

impl Events {
    /// The next event; `None` once the network has stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.recv().await.map(|queued| queued.event)
    }

    /// The next event, if one is there.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.0.try_recv().ok().map(|queued| queued.event)
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug)]
struct Queued {
    event: Event,
    /// Its bytes' room, given back when the host takes the event.
    _room: OwnedSemaphorePermit,
}

/// The network's end: bounded in events and in bytes. Who waits is served in order, so one flooding peer has one share.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    events: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    size: usize,
}

impl Delivery {
    pub(crate) fn new(events: usize, size: usize) -> (Self, Events) {
        let (sender, receiver) = mpsc::channel(events);
        (Self { events: sender, room: Arc::new(Semaphore::new(size)), size }, Events(receiver))
    }

    /// Waits for room. Nothing happens once the host is gone.
    pub(crate) async fn send(&self, event: Event, size: usize) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.clone().acquire_many_owned(size).await {
            drop(self.events.send(Queued { event, _room: room }).await);
        }
    }

    /// Whether there was room.
    pub(crate) fn try_send(&self, event: Event, size: usize) -> bool {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(size) else { return false };
        self.events.try_send(Queued { event, _room: room }).is_ok()
    }

    /// Bytes that the host has not taken.
    pub(crate) fn undelivered(&self) -> usize {
        self.size.saturating_sub(self.room.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(byte: u8) -> Event {
        Event::Direct { from: B256::repeat_byte(byte), bytes: Bytes::new() }
    }

    #[tokio::test]
    async fn bounded_in_events_and_bytes() {
        let (delivery, mut events) = Delivery::new(2, 100);
        assert!(delivery.try_send(direct(1), 60));
        assert!(!delivery.try_send(direct(2), 60), "bytes");
        assert!(delivery.try_send(direct(3), 40));
        assert_eq!(delivery.undelivered(), 100);
        assert!(!delivery.try_send(direct(4), 0), "events");
        assert!(matches!(events.recv().await, Some(Event::Direct { from, .. }) if from == B256::repeat_byte(1)));
        assert_eq!(delivery.undelivered(), 40);

        // a waiting sender goes before one that only tries
        let waiting = tokio::spawn({
            let delivery = delivery.clone();
            async move { delivery.send(direct(5), 100).await }
        });
        tokio::task::yield_now().await;
        assert!(!delivery.try_send(direct(6), 61));
        assert!(events.try_recv().is_some());
        assert!(matches!(events.recv().await, Some(Event::Direct { from, .. }) if from == B256::repeat_byte(5)));
        waiting.await.unwrap();
        drop(delivery);
        assert!(events.recv().await.is_none());
    }
}
