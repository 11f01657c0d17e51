//! Bytes that wait for their clients to read them.
//!
//! An answer stays in memory until its client has taken it. Each connection has a small allowance of its own ([`OWN`]); an answer
//! or notification beyond it draws on a budget of the whole server (`max_unread_bytes`). So clients that ask and do not read cannot
//! fill the memory, however many they are, nor keep others from small answers. What finds no room is not kept: an answer
//! becomes an error, a notification ends its connection. A connection that takes nothing for a while is closed
//! ([`crate::io`]) and gives back what it held.

use axum::body::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that each connection may leave unread without drawing on the server's budget.
const OWN: usize = 256 * 1024;

/// Room that is given back when it is dropped.
pub(crate) type Held = OwnedSemaphorePermit;

/// The server's budget.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// Of `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// The backlog of a new connection.
    pub(crate) fn connection(&self) -> Backlog {
        Backlog { own: Arc::new(Semaphore::new(OWN)), all: self.0.clone() }
    }

    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.0.available_permits()
    }
}

/// What one connection has not read yet.
#[derive(Clone)]
pub(crate) struct Backlog {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Backlog {
    /// Room for `bytes`, if there is any left.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        let bytes = u32::try_from(bytes).ok()?;
        let own = self.own.clone().try_acquire_many_owned(bytes).ok();
        own.or_else(|| self.all.clone().try_acquire_many_owned(bytes).ok())
    }
}

#[cfg(test)]
impl Default for Backlog {
    fn default() -> Self {
        Budget::new(0).connection()
    }
}

/// Bytes that give their room back when the last of their clones is gone.
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
        let budget = Budget::new(1000 + OWN);
        let (one, other) = (budget.connection(), budget.connection());
        let own = one.hold(OWN).expect("its own");
        assert_eq!(budget.left(), 1000 + OWN);
        let drawn = one.hold(OWN).expect("from the budget");
        assert_eq!(budget.left(), 1000);
        assert!(one.hold(1001).is_none(), "the budget is used up");
        assert!(other.hold(1001).is_some(), "another's own room is left to it");
        drop(own);
        assert!(one.hold(OWN).is_some());
        let text = held_bytes(b"x".to_vec(), vec![drawn]);
        let clone = text.clone();
        drop(text);
        assert_eq!(budget.left(), 1000, "a clone is still waiting");
        drop(clone);
        assert_eq!(budget.left(), 1000 + OWN);
        assert!(one.hold(usize::MAX).is_none());
    }
}
