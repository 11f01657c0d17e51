//! One reader of the node's events, for those that wait for a receipt and for the filters that ask what became pending.

use crate::methods::Context;
use alloy_primitives::B256;
use jove_primitives::{ExecutedBlock, block::RecoveredTransaction};
use jove_sequencer::Event;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    oneshot,
};
use tokio_util::sync::CancellationToken;

/// Transactions that are remembered for filters; a filter that asks too rarely misses older ones.
const REMEMBERED: usize = 65_536;

/// Where a transaction was included.
pub(crate) type Inclusion = (Arc<ExecutedBlock>, usize);

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Watch {
    waiting: Mutex<HashMap<B256, Vec<oneshot::Sender<Inclusion>>>>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// Filters that want to know.
    filters: usize,
    /// Position of the first transaction remembered.
    first: u64,
    transactions: VecDeque<Arc<RecoveredTransaction>>,
}

impl Watch {
    /// Is sent the block that includes `hash`, from now on.
    pub(crate) fn inclusion(&self, hash: B256) -> oneshot::Receiver<Inclusion> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().entry(hash).or_default().push(sender);
        receiver
    }

    /// Forgets those who no longer wait for `hash`.
    pub(crate) fn forget(&self, hash: B256) {
        let mut waiting = self.waiting.lock();
        if let Some(senders) = waiting.get_mut(&hash) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(&hash);
            }
        }
    }

    fn included(&self, block: &Arc<ExecutedBlock>) {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        for (index, transaction) in block.transactions.iter().enumerate() {
            for sender in waiting.remove(transaction.inner().tx_hash()).unwrap_or_default() {
                // Whoever gave up does not care.
                let _ = sender.send((block.clone(), index));
            }
        }
    }

    /// Looks in the store for everything that is waited for: events were missed.
    fn recover(&self, context: &Context) {
        let hashes: Vec<B256> = self.waiting.lock().keys().copied().collect();
        let view = context.node.storage().view();
        for hash in hashes {
            let block = match view.transaction(hash) {
                Ok(Some(position)) => view.block(position.block),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match block {
                Ok(Some(block)) => self.included(&block),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "cannot look up a transaction that is waited for"),
            }
        }
    }

    /// One more filter asks for pending transactions; its first position.
    pub(crate) fn add_filter(&self) -> u64 {
        let mut pending = self.pending.lock();
        pending.filters += 1;
        pending.first + pending.transactions.len() as u64
    }

    /// One less.
    pub(crate) fn remove_filter(&self) {
        let mut pending = self.pending.lock();
        pending.filters = pending.filters.saturating_sub(1);
        if pending.filters == 0 {
            pending.first += pending.transactions.len() as u64;
            pending.transactions = VecDeque::new();
        }
    }

    /// The transactions from `position` on, and the position after them.
    pub(crate) fn pending_since(&self, position: u64) -> (Vec<Arc<RecoveredTransaction>>, u64) {
        let pending = self.pending.lock();
        let skip = usize::try_from(position.saturating_sub(pending.first)).unwrap_or(usize::MAX);
        let next = pending.first + pending.transactions.len() as u64;
        (pending.transactions.iter().skip(skip).cloned().collect(), next)
    }

    fn became_pending(&self, transaction: Arc<RecoveredTransaction>) {
        let mut pending = self.pending.lock();
        if pending.filters == 0 {
            return;
        }
        pending.transactions.push_back(transaction);
        if pending.transactions.len() > REMEMBERED {
            pending.transactions.pop_front();
            pending.first += 1;
        }
    }
}

/// Reads events until `stop`.
pub(crate) async fn run(context: Arc<Context>, mut events: Receiver<Event>, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(Event::Block(block)) => context.watch.included(&block),
            Ok(Event::Transaction(transaction)) => context.watch.became_pending(transaction),
            Ok(Event::Unwound(_)) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "reading events too slowly, looking in the store");
                let context = context.clone();
                let recovered = tokio::task::spawn_blocking(move || context.watch.recover(&context)).await;
                if let Err(error) = recovered {
                    tracing::error!(%error, "looking in the store failed");
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{EthereumTypedTransaction, TxLegacy};
    use alloy_primitives::{Address, Signature, U256};

    fn transaction(nonce: u64) -> RecoveredTransaction {
        let unsigned = EthereumTypedTransaction::Legacy(TxLegacy { nonce, ..Default::default() });
        let signature = Signature::new(U256::ONE, U256::ONE, false);
        RecoveredTransaction::new_unchecked(
            jove_primitives::transaction::SignedTransaction::new_unhashed(unsigned, signature).into(),
            Address::ZERO,
        )
    }

    #[test]
    fn whoever_waits_is_told_once() {
        let watch = Watch::default();
        let hash = *transaction(1).inner().tx_hash();
        let (mut one, mut two) = (watch.inclusion(hash), watch.inclusion(hash));
        let gave_up = watch.inclusion(*transaction(7).inner().tx_hash());
        drop(gave_up);
        watch.forget(*transaction(7).inner().tx_hash());
        let block = Arc::new(ExecutedBlock {
            header: Default::default(),
            hash: B256::ZERO,
            transactions: vec![transaction(0), transaction(1)],
            receipts: Vec::new(),
            l1_fees: Vec::new(),
            l1_prices: Default::default(),
        });
        watch.included(&block);
        assert_eq!(one.try_recv().expect("told").1, 1);
        assert_eq!(two.try_recv().expect("told").1, 1);
        assert!(watch.waiting.lock().is_empty());
    }

    #[test]
    fn pending_transactions_are_remembered_only_for_filters() {
        let watch = Watch::default();
        watch.became_pending(Arc::new(transaction(0)));
        let start = watch.add_filter();
        assert!(watch.pending_since(start).0.is_empty());
        for nonce in 0..REMEMBERED as u64 + 10 {
            watch.became_pending(Arc::new(transaction(nonce)));
        }
        let (transactions, next) = watch.pending_since(start);
        assert_eq!(transactions.len(), REMEMBERED);
        assert_eq!(transactions[0].inner(), transaction(10).inner(), "the oldest are gone");
        assert!(watch.pending_since(next).0.is_empty());
        watch.remove_filter();
        assert!(watch.pending_since(start).0.is_empty());
        watch.became_pending(Arc::new(transaction(1)));
        assert_eq!(watch.add_filter(), next);
    }
}
