//! Following the chain: which blocks came and went since the last look.
//!
//! A [`Follower`] remembers what it has announced. An event that extends it is announced as it is; anything else — an unwinding, or
//! events that were missed — is settled by comparing with the store, which events never run ahead of. So nothing is dropped
//! silently.

use crate::{backlog::Held, error::RpcError, texts::SharedLog};
use alloy_primitives::B256;
use alloy_rpc_types_eth::Log;
use jove_primitives::ExecutedBlock;
use jove_storage::View;
use std::{collections::VecDeque, sync::Arc};

/// Announced blocks that are remembered. Of a deeper unwinding only these are announced as removed.
const REMEMBERED: usize = 4096;

/// Most bytes, about, that are kept for the remembered blocks of one subscriber; of blocks before, no withdrawal is announced.
const MAX_KEPT: usize = 4 << 20;

/// What a subscriber keeps of a block; by default nothing.
pub(crate) trait Kept: Default {
    /// Bytes in memory, about.
    fn bytes(&self) -> usize;
}

impl Kept for () {
    fn bytes(&self) -> usize {
        0
    }
}

impl Kept for Vec<Log> {
    fn bytes(&self) -> usize {
        self.iter().map(log_bytes).sum()
    }
}

impl Kept for Vec<Arc<SharedLog>> {
    fn bytes(&self) -> usize {
        self.iter().map(|shared| log_bytes(&shared.log) + shared.text.len()).sum()
    }
}

/// Bytes of a log in memory, about; in an answer it takes up to four times as many.
pub(crate) fn log_bytes(log: &Log) -> usize {
    size_of::<Log>() + 32 * log.topics().len() + log.data().data.len()
}

/// A block that was announced, and what is kept for the case that it is withdrawn.
pub(crate) struct Announced<K> {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) kept: K,
}

/// What was announced, oldest first; never empty.
pub(crate) struct Follower<K> {
    announced: VecDeque<Announced<K>>,
    kept_bytes: usize,
    /// The room that all of it takes, if it is counted. Where it cannot grow, the oldest is forgotten.
    room: Option<Held>,
}

/// The chain to compare with.
pub(crate) trait Chain {
    fn head_number(&self) -> u64;
    fn hash(&self, number: u64) -> Result<Option<B256>, RpcError>;
}

impl Chain for View {
    fn head_number(&self) -> u64 {
        self.head_number()
    }
    fn hash(&self, number: u64) -> Result<Option<B256>, RpcError> {
        Ok(self.block_hash(number)?)
    }
}

impl<K: Kept> Follower<K> {
    /// Starts after a block, as if it had been announced.
    pub(crate) fn after(number: u64, hash: B256, kept: K) -> Self {
        let kept_bytes = kept.bytes();
        Self { announced: VecDeque::from([Announced { number, hash, kept }]), kept_bytes, room: None }
    }

    /// With what it remembers counted: it takes `room`.
    pub(crate) fn within(self, room: Held) -> Self {
        Self { room: Some(room), ..self }
    }

    /// Number of the last block announced.
    pub(crate) fn last(&self) -> u64 {
        self.announced.back().map_or(0, |last| last.number)
    }

    /// Whether `block` is the next one.
    pub(crate) fn is_next(&self, block: &ExecutedBlock) -> bool {
        self.announced.back().is_some_and(|last| last.hash == block.header.parent_hash)
    }

    /// Whether `block` has been announced and not withdrawn.
    pub(crate) fn knows(&self, block: &ExecutedBlock) -> bool {
        self.announced.iter().rev().any(|announced| announced.hash == block.hash)
    }

    /// Remembers a block as announced.
    pub(crate) fn push(&mut self, number: u64, hash: B256, kept: K) {
        self.kept_bytes += kept.bytes();
        self.announced.push_back(Announced { number, hash, kept });
        let over = |this: &Self| this.announced.len() > REMEMBERED || this.kept_bytes > MAX_KEPT;
        while self.announced.len() > 1 && over(self) {
            self.forget_oldest();
        }
        while !self.fits() {
            if self.announced.len() > 1 {
                self.forget_oldest();
            } else if let Some(last) = self.announced.back_mut() {
                // It must be known; of what it held no withdrawal is announced.
                self.kept_bytes -= std::mem::take(&mut last.kept).bytes();
            }
        }
    }

    /// Whether there is room for what is remembered. The last block itself was there when the room was made.
    fn fits(&mut self) -> bool {
        let bytes = self.kept_bytes + (self.announced.len().saturating_sub(1)) * size_of::<Announced<K>>();
        self.room.as_mut().is_none_or(|room| room.resize(bytes))
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.announced.pop_front() {
            self.kept_bytes -= oldest.kept.bytes();
        }
    }

    /// How many of the last blocks are not in `chain` any more.
    pub(crate) fn stale(&self, chain: &impl Chain) -> Result<usize, RpcError> {
        for (stale, last) in self.announced.iter().rev().enumerate() {
            if last.number <= chain.head_number() && chain.hash(last.number)? == Some(last.hash) {
                return Ok(stale);
            }
        }
        Ok(self.announced.len())
    }

    /// Number of the block after which `chain` goes on once so many of the last are taken back.
    pub(crate) fn last_without(&self, stale: usize, chain: &impl Chain) -> u64 {
        match self.announced.iter().rev().nth(stale) {
            Some(last) => last.number,
            None => {
                let oldest = self.announced.front().map_or(0, |oldest| oldest.number);
                oldest.saturating_sub(1).min(chain.head_number())
            }
        }
    }

    /// Takes back so many of the last blocks, newest first. Afterwards the blocks after [`Self::last`] are to be announced.
    pub(crate) fn take_back(&mut self, stale: usize, chain: &impl Chain) -> Result<Vec<Announced<K>>, RpcError> {
        let number = self.last_without(stale, chain);
        let hash = chain.hash(number)?.unwrap_or_default();
        let withdrawn: Vec<Announced<K>> =
            self.announced.drain(self.announced.len().saturating_sub(stale)..).rev().collect();
        self.kept_bytes -= withdrawn.iter().map(|block| block.kept.bytes()).sum::<usize>();
        if self.announced.is_empty() {
            // Unwound deeper than we remember: go on from below the oldest block that we knew.
            tracing::warn!("the chain was unwound by more blocks than a subscriber is told of");
            self.push(number, hash, K::default());
        }
        self.fits();
        Ok(withdrawn)
    }

    /// Takes back what is not in `chain`, newest first.
    pub(crate) fn withdraw(&mut self, chain: &impl Chain) -> Result<Vec<Announced<K>>, RpcError> {
        self.take_back(self.stale(chain)?, chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlog::Budget;

    /// Hashes by number.
    struct Fake(Vec<u8>);

    impl Chain for Fake {
        fn head_number(&self) -> u64 {
            self.0.len() as u64 - 1
        }
        fn hash(&self, number: u64) -> Result<Option<B256>, RpcError> {
            Ok(self.0.get(number as usize).map(|byte| B256::repeat_byte(*byte)))
        }
    }

    fn follow(hashes: &[(u64, u8)]) -> Follower<()> {
        let mut follower = Follower::after(hashes[0].0, B256::repeat_byte(hashes[0].1), ());
        for (number, byte) in &hashes[1..] {
            follower.push(*number, B256::repeat_byte(*byte), ());
        }
        follower
    }

    fn numbers(announced: &[Announced<()>]) -> Vec<u64> {
        announced.iter().map(|block| block.number).collect()
    }

    #[test]
    fn nothing_is_withdrawn_while_the_chain_grows() {
        let mut follower = follow(&[(1, 11), (2, 12)]);
        assert!(follower.withdraw(&Fake(vec![10, 11, 12, 13, 14])).expect("readable").is_empty());
        assert_eq!(follower.last(), 2);
    }

    #[test]
    fn an_unwinding_withdraws_newest_first() {
        let mut follower = follow(&[(1, 11), (2, 12), (3, 13)]);
        let withdrawn = follower.withdraw(&Fake(vec![10, 11, 92, 93, 94])).expect("readable");
        assert_eq!(numbers(&withdrawn), [3, 2]);
        assert_eq!(follower.last(), 1);
        let mut follower = follow(&[(1, 11), (2, 12), (3, 13)]);
        assert_eq!(numbers(&follower.withdraw(&Fake(vec![10, 11])).expect("readable")), [3, 2], "a shorter chain");
    }

    #[test]
    fn an_unwinding_deeper_than_memory_goes_on_from_there() {
        let mut follower = follow(&[(3, 13), (4, 14)]);
        let withdrawn = follower.withdraw(&Fake(vec![10, 91, 92, 93, 94])).expect("readable");
        assert_eq!(numbers(&withdrawn), [4, 3]);
        assert_eq!(follower.last(), 2, "3 and 4 are announced anew");
        let mut follower = follow(&[(3, 13), (4, 14)]);
        follower.withdraw(&Fake(vec![10])).expect("readable");
        assert_eq!(follower.last(), 0);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut follower = follow(&[(0, 1)]);
        for number in 1..10_000 {
            follower.push(number, B256::ZERO, ());
        }
        assert_eq!(follower.announced.len(), REMEMBERED);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let log = Log {
            inner: alloy_primitives::Log::new_unchecked(Default::default(), vec![], vec![0; 1 << 20].into()),
            ..Default::default()
        };
        let mut follower = Follower::after(0, B256::ZERO, Vec::new());
        for number in 1..100 {
            follower.push(number, B256::ZERO, vec![log.clone()]);
            assert!(follower.kept_bytes <= MAX_KEPT);
        }
        assert_eq!(follower.announced.len(), 3);
        follower.push(100, B256::ZERO, vec![log; 10]);
        assert_eq!(follower.announced.len(), 1, "the last block is always known");
    }

    #[test]
    fn what_is_remembered_takes_room_and_the_oldest_goes_where_there_is_none() {
        const BLOCK: usize = size_of::<Announced<Vec<Log>>>();
        let log = Log {
            inner: alloy_primitives::Log::new_unchecked(Default::default(), vec![], vec![0; 1000].into()),
            ..Default::default()
        };
        let (bytes, budget) = (log_bytes(&log), Budget::new(10_000));
        let mut followers: Vec<_> = (0..2)
            .map(|_| Follower::after(0, B256::ZERO, Vec::new()).within(budget.connection(0, None).none()))
            .collect();
        for number in 1..100u8 {
            for follower in &mut followers {
                follower.push(number.into(), B256::repeat_byte(number), vec![log.clone()]);
            }
            let held: usize = followers.iter().map(|one| one.kept_bytes + (one.announced.len() - 1) * BLOCK).sum();
            assert_eq!(budget.left(), 10_000 - held);
        }
        assert!(budget.left() < bytes + BLOCK, "what there is is used");
        assert!(followers.iter().all(|follower| follower.last() == 99));

        // One block of more than there is room for: it is known, and nothing is kept of it.
        followers[0].push(100, B256::repeat_byte(100), vec![log.clone(); 20]);
        assert_eq!((followers[0].last(), followers[0].announced.len(), followers[0].kept_bytes), (100, 1, 0));
        let chain = Fake((0..100).collect());
        let withdrawn = followers[0].withdraw(&chain).expect("readable");
        assert!(withdrawn.len() == 1 && withdrawn[0].kept.is_empty());

        // What is taken back gives back its room.
        let known = followers[1].announced.len();
        assert_eq!(followers[1].withdraw(&Fake((0..99).collect())).expect("readable").len(), 1);
        assert_eq!(budget.left(), 10_000 - (known - 1) * bytes - (known - 2) * BLOCK);
        drop(followers);
        assert_eq!(budget.left(), 10_000);
    }
}
