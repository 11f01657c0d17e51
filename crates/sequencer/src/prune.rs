//! Forgetting history and old blobs, in a thread of its own: in bounded steps, between which blocks are committed.

use crate::blobs::Blobs;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use jove_primitives::header::time_ms;
use jove_storage::{Storage, StorageError};
use std::{io, thread::JoinHandle, time::Duration};

/// The thread. It ends with this.
pub(crate) struct Pruner {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// States.
    pub(crate) states: Option<Horizon>,
    /// Blobs that were last put into a block longer ago.
    pub(crate) blobs_older_than: Option<Duration>,
}

/// The state of blocks that are older than a time, in ms, and come before a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    pub(crate) time_ms: u64,
    pub(crate) block: u64,
}

impl Pruner {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has none left.
    pub(crate) fn start(storage: Storage, blobs: Option<Blobs>) -> io::Result<Self> {
        let (orders, taken) = bounded(1);
        let thread = std::thread::Builder::new().name("prune".into());
        let thread = thread.spawn(move || run(&storage, blobs.as_ref(), &taken))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Has something forgotten. While it is at it, it takes no other order.
    pub(crate) fn forget(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.try_send(order);
        }
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        drop(self.orders.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the pruner panicked");
        }
    }
}

fn run(storage: &Storage, blobs: Option<&Blobs>, orders: &Receiver<Order>) {
    while let Ok(Order { states, blobs_older_than }) = orders.recv() {
        // A failure costs disk only.
        if let Some(horizon) = states
            && let Err(error) = prune(storage, horizon, orders)
        {
            tracing::warn!(%error, "cannot prune history");
        }
        if let (Some(blobs), Some(window)) = (blobs, blobs_older_than)
            && let Err(error) = blobs.prune(window)
        {
            tracing::warn!(%error, "cannot remove some of the old blobs");
        }
    }
}

fn prune(storage: &Storage, horizon: Horizon, orders: &Receiver<Order>) -> Result<(), StorageError> {
    let oldest = first_since(storage, horizon.time_ms)?.min(horizon.block);
    while !storage.prune_history(oldest)? {
        if matches!(orders.try_recv(), Err(TryRecvError::Disconnected)) {
            break;
        }
    }
    Ok(())
}

/// The first block with a state that is not older than a time, or the head.
fn first_since(storage: &Storage, horizon_ms: u64) -> Result<u64, StorageError> {
    let view = storage.view();
    let (mut low, mut high) = (view.oldest_state(), view.head_number());
    while low < high {
        let middle = low + (high - low) / 2;
        let time = view.header(middle)?.and_then(|header| time_ms(&header).ok());
        if time.is_some_and(|time| time < horizon_ms) { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}
