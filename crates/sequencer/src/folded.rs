//! The trie at the head, and snapshots of it on the way there.
//!
//! A proof of an older block needs the trie of that block: a later trie, taken back by the changes between the two. Where few keys change, the
//! head's own will do. On a busy chain the way back is long, so snapshots are kept, a few for the whole proof window. A snapshot shares with the
//! head what has not changed since.

use alloy_primitives::B256;
use jove_primitives::ChangeSet;
use jove_trie::StateTrie;
use std::collections::VecDeque;

/// Changed keys after which a snapshot is worth its memory: to take back as many is a matter of a second.
const SNAPSHOT_AFTER: usize = 500_000;
/// Snapshots in a proof window, at most.
const SNAPSHOTS: u64 = 4;

/// The trie, and the block whose state it holds.
pub(crate) struct Folded {
    pub(crate) trie: StateTrie,
    pub(crate) number: u64,
    snapshots: VecDeque<Snapshot>,
    /// Keys changed since the last snapshot.
    changed: usize,
    snapshot_after: usize,
    /// How far back proofs reach, in milliseconds.
    window: u64,
}

struct Snapshot {
    number: u64,
    time_ms: u64,
    trie: StateTrie,
}

impl Folded {
    /// `trie` has the state after block `number`; `window` is how far back proofs reach, in milliseconds.
    pub(crate) fn new(trie: StateTrie, number: u64, window: u64) -> Self {
        Self { trie, number, snapshots: VecDeque::new(), changed: 0, snapshot_after: SNAPSHOT_AFTER, window }
    }

    /// Folds the changes of block `number`, and returns its state root.
    pub(crate) fn fold(&mut self, changes: &ChangeSet, number: u64, time_ms: u64) -> B256 {
        let oldest = time_ms.saturating_sub(self.window);
        self.snapshots.retain(|snapshot| snapshot.time_ms >= oldest);
        let last = self.snapshots.back().map_or(0, |snapshot| snapshot.time_ms);
        if self.changed >= self.snapshot_after
            && self.number > 0
            && time_ms - last.min(time_ms) >= self.window / SNAPSHOTS
        {
            // Its time is that of the block after: it serves blocks up to its own.
            self.snapshots.push_back(Snapshot { number: self.number, time_ms, trie: self.trie.clone() });
            self.changed = 0;
        }
        self.changed += changes.accounts.values().map(|change| 1 + change.storage.len()).sum::<usize>();
        self.number = number;
        self.trie.apply(changes)
    }

    /// Goes back to block `number` by the changes that lead there, and returns its state root.
    pub(crate) fn unwind(&mut self, changes: &ChangeSet, number: u64) -> B256 {
        self.snapshots.retain(|snapshot| snapshot.number <= number);
        self.number = number;
        self.trie.apply(changes)
    }

    /// The oldest trie that is not older than block `number`, and its block.
    pub(crate) fn at_or_after(&self, number: u64) -> (StateTrie, u64) {
        match self.snapshots.iter().find(|snapshot| snapshot.number >= number) {
            Some(snapshot) => (snapshot.trie.clone(), snapshot.number),
            None => (self.trie.clone(), self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, U256};
    use jove_primitives::{Account, AccountChange, Change};

    fn touch(n: u64) -> ChangeSet {
        let account = Account { nonce: n, balance: U256::from(n), ..Default::default() };
        let change = AccountChange { account: Change { before: None, after: Some(account) }, ..Default::default() };
        ChangeSet { accounts: [(Address::left_padding_from(&n.to_be_bytes()), change)].into(), ..Default::default() }
    }

    #[test]
    fn snapshots_are_kept_for_the_window_and_no_more_than_a_few() {
        let mut folded = Folded { snapshot_after: 2, ..Folded::new(StateTrie::default(), 0, 1_000) };
        let mut roots = vec![folded.trie.root()];
        for number in 1..=300 {
            roots.push(folded.fold(&touch(number), number, 10 * number));
            assert!(folded.snapshots.len() as u64 <= SNAPSHOTS + 1, "{}", folded.snapshots.len());
        }
        // 100 blocks a window, a snapshot each 25.
        for number in 201..=300 {
            let (trie, found) = folded.at_or_after(number);
            assert!((number..=number + 26).contains(&found), "{number}: {found}");
            assert_eq!(trie.root(), roots[found as usize]);
        }
        let (_, found) = folded.at_or_after(1);
        assert!(found >= 199, "old snapshots are let go");
    }

    #[test]
    fn few_changes_need_no_snapshot_and_unwinding_drops_those_above() {
        let mut idle = Folded::new(StateTrie::default(), 0, 1_000);
        let mut busy = Folded { snapshot_after: 1, ..Folded::new(StateTrie::default(), 0, 1_000) };
        for number in 1..=100 {
            idle.fold(&touch(number), number, 100 * number);
            busy.fold(&touch(number), number, 100 * number);
        }
        assert!(idle.snapshots.is_empty());
        assert!(busy.snapshots.iter().any(|snapshot| snapshot.number > 95));
        busy.unwind(&ChangeSet::default(), 95);
        assert!(!busy.snapshots.is_empty() && busy.snapshots.iter().all(|snapshot| snapshot.number <= 95));
        assert_eq!(busy.at_or_after(95).1, 95);
    }
}
