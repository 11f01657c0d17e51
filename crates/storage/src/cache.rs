//! Blocks lately committed or read, so that they are not decoded again and again.

use alloy_primitives::{B256, map::B256Map};
use jove_primitives::ExecutedBlock;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Most bytes of encoded blocks; decoded they take some four times that.
const MAX_BYTES: usize = 16 << 20;
/// Most blocks.
const MAX_BLOCKS: usize = 4096;

/// Blocks by hash, the oldest entry out first. A hash names one block whatever the chain does, so nothing is ever stale.
#[derive(Default)]
pub(crate) struct BlockCache(Mutex<Blocks>);

#[derive(Default)]
struct Blocks {
    by_hash: B256Map<Arc<ExecutedBlock>>,
    /// Hash and encoded size, oldest first.
    order: VecDeque<(B256, usize)>,
    bytes: usize,
}

impl BlockCache {
    pub(crate) fn get(&self, hash: B256) -> Option<Arc<ExecutedBlock>> {
        self.0.lock().by_hash.get(&hash).cloned()
    }

    #[cfg(test)]
    pub(crate) fn clear(&self) {
        *self.0.lock() = Blocks::default();
    }

    /// Adds a block whose encoding has `bytes` bytes.
    pub(crate) fn insert(&self, block: Arc<ExecutedBlock>, bytes: usize) {
        let hash = block.hash;
        let mut out = Vec::new(); // dropped after the lock
        let mut blocks = self.0.lock();
        if bytes > MAX_BYTES || blocks.by_hash.insert(hash, block).is_some() {
            return;
        }
        blocks.order.push_back((hash, bytes));
        blocks.bytes += bytes;
        while blocks.bytes > MAX_BYTES || blocks.order.len() > MAX_BLOCKS {
            let Some((hash, bytes)) = blocks.order.pop_front() else { break };
            blocks.bytes -= bytes;
            out.extend(blocks.by_hash.remove(&hash));
        }
        drop(blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_the_newest() {
        let cache = BlockCache::default();
        let block = |number: u64| {
            let header = alloy_consensus::Header { number, ..Default::default() };
            let (transactions, receipts, l1_fees) = Default::default();
            let hash = header.hash_slow();
            Arc::new(ExecutedBlock { header, hash, transactions, receipts, l1_fees, l1_prices: Default::default() })
        };
        for number in 0..40 {
            cache.insert(block(number), MAX_BYTES / 16);
            cache.insert(block(number), MAX_BYTES / 16); // again: once only
        }
        let kept: Vec<u64> = (0..40).filter(|number| cache.get(block(*number).hash).is_some()).collect();
        assert_eq!(kept, (24..40).collect::<Vec<_>>());
        cache.insert(block(99), MAX_BYTES + 1);
        assert!(cache.get(block(99).hash).is_none(), "larger than the cache");
        for number in 100..100 + 2 * MAX_BLOCKS as u64 {
            cache.insert(block(number), 1);
        }
        assert_eq!(cache.0.lock().by_hash.len(), MAX_BLOCKS);
        assert_eq!(cache.0.lock().bytes, MAX_BLOCKS);
    }
}
