//! Bytes that the server keeps for its clients, bounded in all.
//!
//! Each kind has a [`Budget`] of the whole server:
//!
//! - *unread*: answers and notifications, until their client has taken them (`max_unread_bytes`);
//! - *unanswered*: requests, from the first byte read until they are answered (`max_unanswered_bytes`, [`crate::io::Inbox`]);
//! - *standing*: filters and log subscriptions ([`crate::filters`]);
//! - *remembered*: what filters keep in case blocks are withdrawn ([`crate::filters`]).
//!
//! A connection has a small allowance of its own first, so that clients, however many and whatever they do, cannot keep others from
//! what is small. Beyond it one client address may take an eighth of the budget ([`SHARES`]), so that a few connections of one client
//! cannot keep others from what is large. What finds no room is not kept: an answer becomes an error, a notification ends its
//! connection, a request is refused. A connection that takes nothing of what waits for it, or does not finish what it began to
//! send, is closed ([`crate::io`]) and gives back what it held.

use axum::body::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes that each connection may leave unread without drawing on the server's budget.
pub(crate) const UNREAD: usize = 256 * 1024;
/// Bytes of requests that each connection may have read and not answered without drawing on the server's budget; and again as many
/// that are read and not yet a whole request.
pub(crate) const UNANSWERED: usize = 64 * 1024;
/// One client address may take one of so many equal shares of a budget.
const SHARES: usize = 8;

/// A budget of the whole server.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Shared>);

struct Shared {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Budget {
    /// Of `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared { max: bytes, taken: Mutex::default() }))
    }

    /// What a new connection of `client` holds, at first nothing: `own` bytes of its own, then the client's share of the budget, or
    /// all of it where clients are not told apart (`None`).
    pub(crate) fn connection(&self, own: usize, client: Option<IpAddr>) -> Backlog {
        Backlog(Arc::new(Connection { own: AtomicUsize::new(own), budget: self.clone(), client }))
    }

    fn draw(&self, client: Option<IpAddr>, bytes: usize) -> bool {
        let Shared { max, taken } = &*self.0;
        let mut taken = taken.lock();
        if bytes > max.saturating_sub(taken.all) {
            return false;
        }
        if let Some(client) = client {
            let before = taken.by_client.get(&client).copied().unwrap_or_default();
            if bytes > (max / SHARES).saturating_sub(before) {
                return false;
            }
            taken.by_client.insert(client, before + bytes);
        }
        taken.all += bytes;
        true
    }

    fn give_back(&self, client: Option<IpAddr>, bytes: usize) {
        let mut taken = self.0.taken.lock();
        taken.all -= bytes;
        if let Some(client) = client
            && let Entry::Occupied(mut of_client) = taken.by_client.entry(client)
        {
            *of_client.get_mut() -= bytes;
            if *of_client.get() == 0 {
                of_client.remove();
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.0.max - self.0.taken.lock().all
    }
}

/// What is kept for one connection.
#[derive(Clone)]
pub(crate) struct Backlog(Arc<Connection>);

struct Connection {
    /// What is left of the connection's own allowance.
    own: AtomicUsize,
    budget: Budget,
    client: Option<IpAddr>,
}

impl Backlog {
    /// Room for nothing yet.
    pub(crate) fn none(&self) -> Held {
        Held { backlog: self.clone(), own: 0, drawn: 0 }
    }

    /// Room for `bytes`, if there is any left.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        let mut held = self.none();
        held.grow(bytes).then_some(held)
    }
}

#[cfg(test)]
impl Default for Backlog {
    fn default() -> Self {
        Budget::new(0).connection(UNREAD, None)
    }
}

/// Room that is given back when it is dropped.
pub(crate) struct Held {
    backlog: Backlog,
    /// Bytes of the connection's own allowance.
    own: usize,
    /// Bytes of the server's budget.
    drawn: usize,
}

impl Held {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.own + self.drawn
    }

    /// Holds room for `bytes` more; false if there is not so much left.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Connection { own, budget, client } = &*self.backlog.0;
        if own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok() {
            self.own += bytes;
            return true;
        }
        let drawn = budget.draw(*client, bytes);
        if drawn {
            self.drawn += bytes;
        }
        drawn
    }

    /// Holds room for `bytes` in all; false, and nothing changes, if there is not so much left.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        let Some(less) = self.bytes().checked_sub(bytes) else { return self.grow(bytes - self.bytes()) };
        let Connection { own, budget, client } = &*self.backlog.0;
        let drawn = less.min(self.drawn);
        if drawn > 0 {
            budget.give_back(*client, drawn);
            self.drawn -= drawn;
        }
        own.fetch_add(less - drawn, Ordering::Relaxed);
        self.own -= less - drawn;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Connection { own, budget, client } = &*self.backlog.0;
        own.fetch_add(self.own, Ordering::Relaxed);
        if self.drawn > 0 {
            budget.give_back(*client, self.drawn);
        }
    }
}

/// Bytes that give their room back when the last of their clones and parts is gone.
pub(crate) fn held_bytes(text: Vec<u8>, held: Vec<Held>) -> Bytes {
    struct Owner {
        text: Vec<u8>,
        _held: Vec<Held>,
    }
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.text
        }
    }
    Bytes::from_owner(Owner { text, _held: held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_room_of_its_own_and_draws_on_the_rest() {
        const OWN: usize = UNREAD;
        let budget = Budget::new(1000 + OWN);
        let (one, other) = (budget.connection(OWN, None), budget.connection(OWN, None));
        let own = one.hold(OWN).expect("its own");
        assert_eq!(budget.left(), 1000 + OWN);
        let drawn = one.hold(OWN).expect("from the budget");
        assert_eq!(budget.left(), 1000);
        assert!(one.hold(1001).is_none(), "the budget is used up");
        assert!(other.hold(1001).is_some(), "another's own room is left to it");
        drop(own);
        assert!(one.hold(OWN).is_some());
        let text = held_bytes(b"xyz".to_vec(), vec![drawn]);
        let part = text.slice(1..2);
        drop(text);
        assert_eq!(budget.left(), 1000, "a part is still waiting");
        drop(part);
        assert_eq!(budget.left(), 1000 + OWN);
        assert!(one.hold(usize::MAX).is_none());
        assert!(one.hold(OWN).is_some() && budget.left() == 1000 + OWN, "what found no room took none");
    }

    #[test]
    fn room_grows_and_shrinks() {
        let budget = Budget::new(800);
        let mut held = budget.connection(50, Some([10, 0, 0, 1].into())).none();
        for (bytes, left) in [(40, 800), (140, 700), (20, 800), (120, 700), (60, 760), (0, 800)] {
            assert!(held.resize(bytes), "{bytes}");
            assert_eq!((held.bytes(), budget.left()), (bytes, left));
        }
        assert!(held.resize(100) && !held.resize(201) && held.bytes() == 100, "what finds no room changes nothing");
        drop(held);
        assert_eq!(budget.left(), 800);
    }

    #[test]
    fn one_client_holds_an_eighth_at_most() {
        let budget = Budget::new(800);
        let (a, b) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        // Its connections share.
        let mut held = budget.connection(0, a).hold(60).expect("room");
        let rest = budget.connection(0, a).hold(40).expect("room");
        assert!(!held.grow(1) && budget.connection(0, a).hold(1).is_none());
        assert!(budget.connection(0, b).hold(101).is_none(), "more than a share");
        let others = budget.connection(0, b).hold(100).expect("another's share");
        let local = budget.connection(0, None).hold(600).expect("who is no client's has no share");
        assert!(budget.connection(0, Some([10, 0, 0, 3].into())).hold(1).is_none(), "nothing is left");
        drop(rest);
        assert!(held.grow(40) && held.bytes() == 100);
        drop((held, others, local));
        assert_eq!(budget.left(), 800);
        assert!(budget.0.taken.lock().by_client.is_empty());
    }
}
