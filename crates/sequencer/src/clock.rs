//! The chain's clock: the machine's, which development may move.

use crate::node::NodeError;
use parking_lot::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// Farthest that the clock may be ahead of the machine's, in milliseconds: a thousand years.
const MAX_AHEAD: i64 = 31_556_952_000_000;

/// All times are in milliseconds since the Unix epoch.
#[derive(Default)]
pub(crate) struct Clock(Mutex<Settings>);

#[derive(Default)]
struct Settings {
    /// How far the clock is ahead of the machine's, in milliseconds.
    ahead: i64,
    /// Time asked for the next block.
    next: Option<u64>,
    /// Milliseconds from each block to the next, whatever the clock says.
    interval: Option<u64>,
}

fn machine() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// The latest time that a block may have.
fn latest() -> u64 {
    machine().saturating_add(MAX_AHEAD).unsigned_abs()
}

impl Settings {
    fn now(&self) -> u64 {
        u64::try_from(machine().saturating_add(self.ahead)).unwrap_or(0)
    }

    fn asked(&self, parent: u64) -> Option<u64> {
        let by_interval = || self.interval.map(|interval| parent.saturating_add(interval).min(latest()).max(parent));
        self.next.or_else(by_interval)
    }
}

impl Clock {
    /// The time.
    pub(crate) fn now(&self) -> u64 {
        self.0.lock().now()
    }

    /// How far the clock is ahead of the machine's.
    pub(crate) fn ahead(&self) -> i64 {
        self.0.lock().ahead
    }

    /// Sets how far the clock is ahead of the machine's; returns how far that is at most.
    pub(crate) fn set_ahead(&self, ms: i64) -> i64 {
        let ahead = ms.min(MAX_AHEAD);
        self.0.lock().ahead = ahead;
        ahead
    }

    /// Moves the clock; returns how far it is ahead in all.
    pub(crate) fn advance(&self, ms: i64) -> i64 {
        let mut settings = self.0.lock();
        settings.ahead = settings.ahead.saturating_add(ms).min(MAX_AHEAD);
        settings.ahead
    }

    /// Asks for a time for the next block.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if it is more than a thousand years ahead.
    pub(crate) fn ask(&self, time: u64) -> Result<(), NodeError> {
        if time > latest() {
            return Err(NodeError::Invalid(format!("the time {} is too far ahead", time / 1000)));
        }
        self.0.lock().next = Some(time);
        Ok(())
    }

    /// Withdraws what was asked for, and returns it.
    pub(crate) fn take_asked(&self) -> Option<u64> {
        self.0.lock().next.take()
    }

    /// Sets the time from each block to the next; `None`: as the clock goes.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if time would stand: gas is budgeted by it.
    pub(crate) fn set_interval(&self, ms: Option<u64>) -> Result<(), NodeError> {
        if ms == Some(0) {
            return Err(NodeError::Invalid("the interval must be a second at least".into()));
        }
        self.0.lock().interval = ms;
        Ok(())
    }

    /// The time of a block after one of time `parent`: what was asked for, else the clock's. It is earlier than the parent's where the chain is ahead of the
    /// clock.
    pub(crate) fn block_time(&self, parent: u64) -> u64 {
        let settings = self.0.lock();
        settings.asked(parent).unwrap_or_else(|| settings.now())
    }

    /// A block of time `time` was sealed: what was asked for is done, and the clock is not behind it.
    pub(crate) fn reach(&self, time: u64) {
        let mut settings = self.0.lock();
        settings.next = None;
        let behind = i64::try_from(time.saturating_sub(settings.now())).unwrap_or(i64::MAX);
        settings.ahead = settings.ahead.saturating_add(behind).min(MAX_AHEAD);
    }

    /// A block of time `time` was sealed after one of time `parent`: if that time was asked for, the clock goes on from there.
    pub(crate) fn sealed(&self, parent: u64, time: u64) {
        let mut settings = self.0.lock();
        if settings.asked(parent) == Some(time) {
            settings.next = None;
            let behind = i64::try_from(time).unwrap_or(i64::MAX).saturating_sub_unsigned(settings.now());
            settings.ahead = settings.ahead.saturating_add(behind).min(MAX_AHEAD);
        }
    }
}
