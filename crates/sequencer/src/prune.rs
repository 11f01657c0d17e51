//! Forgetting history, in a thread of its own: in bounded steps, between which blocks are committed.

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use jove_primitives::header::time_ms;
use jove_storage::{Storage, StorageError};
use std::{io, thread::JoinHandle};

/// The thread. It ends with this.
pub(crate) struct Pruner {
    horizons: Option<Sender<u64>>,
    thread: Option<JoinHandle<()>>,
}

impl Pruner {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has none left.
    pub(crate) fn start(storage: Storage) -> io::Result<Self> {
        let (horizons, requests) = bounded(1);
        let thread = std::thread::Builder::new().name("prune".into()).spawn(move || run(&storage, &requests))?;
        Ok(Self { horizons: Some(horizons), thread: Some(thread) })
    }

    /// Has the state of blocks older than a time (ms) forgotten. While it is at it, it takes no other order.
    pub(crate) fn forget_before(&self, horizon_ms: u64) {
        if let Some(horizons) = &self.horizons {
            let _ = horizons.try_send(horizon_ms);
        }
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        drop(self.horizons.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the pruner panicked");
        }
    }
}

fn run(storage: &Storage, horizons: &Receiver<u64>) {
    while let Ok(horizon) = horizons.recv() {
        // A failure costs disk only.
        if let Err(error) = prune(storage, horizon, horizons) {
            tracing::warn!(%error, "cannot prune history");
        }
    }
}

fn prune(storage: &Storage, horizon_ms: u64, horizons: &Receiver<u64>) -> Result<(), StorageError> {
    let oldest = first_since(storage, horizon_ms)?;
    while !storage.prune_history(oldest)? {
        if horizons.try_recv() == Err(TryRecvError::Disconnected) {
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
