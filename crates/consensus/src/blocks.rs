//! Blocks that are not certified yet, of all branches, by hash: what peers gave, and what the chain withdrew.

use alloy_primitives::{B256, map::B256Map};
use jove_primitives::block::Block;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most blocks, and most bytes of transactions, that are kept. The highest numbers go first: what is lacking is asked for again.
const MOST: usize = 4096;
const MOST_BYTES: usize = 256 << 20;

/// A bounded set of blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    by_hash: B256Map<(Arc<Block>, usize)>,
    by_number: BTreeSet<(u64, B256)>,
    bytes: usize,
    /// Blocks up to this one are not kept.
    floor: u64,
}

impl Blocks {
    /// Keeps a block under its hash; false if it was there, or is too low.
    pub fn insert(&mut self, hash: B256, block: Block) -> bool {
        let number = block.header.number;
        if number <= self.floor || self.by_hash.contains_key(&hash) {
            return false;
        }
        let size = alloy_rlp::Encodable::length(&block);
        self.bytes += size;
        self.by_number.insert((number, hash));
        self.by_hash.insert(hash, (Arc::new(block), size));
        while self.by_hash.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, highest)) = self.by_number.pop_last() else { break };
            self.forget(highest);
        }
        true
    }

    fn forget(&mut self, hash: B256) {
        if let Some((_, size)) = self.by_hash.remove(&hash) {
            self.bytes -= size;
        }
    }

    /// The block with this hash.
    pub fn get(&self, hash: &B256) -> Option<Arc<Block>> {
        self.by_hash.get(hash).map(|(block, _)| block.clone())
    }

    /// Blocks up to this one are certified: they are forgotten.
    pub fn certified(&mut self, number: u64) {
        self.floor = self.floor.max(number);
        while let Some((lowest, hash)) = self.by_number.first().copied()
            && lowest <= number
        {
            self.by_number.pop_first();
            self.forget(hash);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::Header;

    fn block(number: u64) -> Block {
        Block { header: Header { number, ..Default::default() }, body: Default::default() }
    }

    #[test]
    fn what_is_certified_is_forgotten_and_the_highest_go_first() {
        let mut blocks = Blocks::default();
        for number in 1..=MOST as u64 + 10 {
            blocks.insert(B256::from(alloy_primitives::U256::from(number)), block(number));
        }
        assert_eq!(blocks.len(), MOST);
        let hash = |number: u64| B256::from(alloy_primitives::U256::from(number));
        assert!(blocks.get(&hash(1)).is_some() && blocks.get(&hash(MOST as u64 + 1)).is_none());
        blocks.certified(MOST as u64 - 1);
        assert_eq!(blocks.len(), 1);
        assert!(!blocks.insert(hash(5), block(5)), "below what is certified");
        blocks.certified(MOST as u64);
        assert!(blocks.is_empty() && blocks.bytes == 0);
    }
}
