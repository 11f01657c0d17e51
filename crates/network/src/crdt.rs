//! State that only grows, and is the same whatever order it arrives in.
//!
//! A [`Join`] takes the least upper bound of two states: commutative, associative, idempotent (tested on random states). So replicas that exchange
//! states, or parts of them, in any order and any number of times, agree. All states here are bounded, and so built that the bound does not break these laws.
//!
//! | state | of | bound |
//! |---|---|---|
//! | [`Max`] | one value: the greatest | one |
//! | [`Least`] | a set: the N least values | N |
//! | [`Window`] | a map whose keys have heights; a floor that rises | heights from the floor up to a width; the values' bounds |
//! | [`Best`] | a map: the entries of the N greatest values | N |
//!
//! What Jove has of them: [`Votes`] (two digests of one signer are evidence), evidence and flagged things ([`Least`] by hash, or a [`Window`] by epoch),
//! [`Offers`] (a mempool: the best fee for each sender and nonce; what a block included is removed by its nonce, not by a tombstone). Order, balances and
//! weights are never such states. What comes from a peer is validated before it is joined.

use alloy_primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet};

/// A state with a least upper bound.
pub trait Join {
    /// Makes this the least upper bound of both. Whether it changed.
    fn join(&mut self, other: &Self) -> bool;
}

/// The greatest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Max<T>(pub T);

impl<T: Ord + Clone> Join for Max<T> {
    fn join(&mut self, other: &Self) -> bool {
        let grows = other.0 > self.0;
        if grows {
            self.0 = other.0.clone();
        }
        grows
    }
}

/// The N least of all values ever added. (What is dropped is greater than N others, now and later: the bound keeps the laws.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Least<T, const N: usize>(BTreeSet<T>);

impl<T, const N: usize> Default for Least<T, N> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord, const N: usize> Least<T, N> {
    /// Adds a value. Whether it stayed and was new.
    pub fn insert(&mut self, value: T) -> bool {
        if self.0.len() >= N && self.0.last().is_none_or(|last| value > *last) {
            return false;
        }
        let new = self.0.insert(value);
        if self.0.len() > N {
            self.0.pop_last();
        }
        new
    }

    /// The values, rising.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Ord + Clone, const N: usize> Join for Least<T, N> {
    fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for value in &other.0 {
            changed |= self.insert(value.clone());
        }
        changed
    }
}

/// Where a key stands in a [`Window`].
pub trait Height {
    /// Its height: an order in which what is below the floor no longer matters.
    fn height(&self) -> (u64, u64);
}

/// A map of joined values whose keys lie between a floor, which only rises, and a width above it.
///
/// Heights are (epoch, view). Of the floor's epoch, views from the floor to `width` above it are in; of the next epoch, views up to `width`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window<K, V> {
    floor: (u64, u64),
    width: u64,
    entries: BTreeMap<((u64, u64), K), V>,
}

impl<K: Height + Ord + Clone, V: Join + Default> Window<K, V> {
    /// Empty, from (0, 0). All replicas must have the same width.
    pub fn new(width: u64) -> Self {
        Self { floor: (0, 0), width, entries: BTreeMap::new() }
    }

    /// Whether entries of this height are kept now.
    pub fn admits(&self, height: (u64, u64)) -> bool {
        let (epoch, view) = self.floor;
        let above = match height.0.checked_sub(epoch) {
            Some(0) => height.1.checked_sub(view),
            Some(1) => Some(height.1),
            _ => None,
        };
        above.is_some_and(|above| above < self.width)
    }

    /// Joins a value into a key's. `None` if the key is outside of the window.
    pub fn join_at(&mut self, key: K, value: &V) -> Option<bool> {
        let height = key.height();
        self.admits(height).then(|| self.entries.entry((height, key)).or_default().join(value))
    }

    /// Raises the floor: what is below is forgotten, here and in whatever is joined.
    pub fn raise(&mut self, floor: (u64, u64)) {
        if floor > self.floor {
            self.floor = floor;
            self.entries.retain(|(height, _), _| *height >= floor);
        }
    }

    /// The floor.
    pub fn floor(&self) -> (u64, u64) {
        self.floor
    }

    /// A key's value.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(&(key.height(), key.clone()))
    }

    /// The entries, by height.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.entries.iter().map(|((_, key), value)| (key, value))
    }
}

impl<K: Height + Ord + Clone, V: Join + Default + Clone> Join for Window<K, V> {
    /// Both floors are raised to the higher. An entry above its own window is above no later one, so only floors take entries away.
    fn join(&mut self, other: &Self) -> bool {
        let before = self.floor;
        self.raise(other.floor);
        let mut changed = self.floor != before;
        for ((height, key), value) in &other.entries {
            if *height >= self.floor {
                let entry = self.entries.entry((*height, key.clone()));
                let new = matches!(entry, std::collections::btree_map::Entry::Vacant(_));
                changed |= entry.or_default().join(value) | new;
            }
        }
        changed
    }
}

/// The entries of the N greatest values; of each key the greatest value, ties by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Best<K, V, const N: usize> {
    values: BTreeMap<K, V>,
    order: BTreeSet<(V, K)>,
}

impl<K, V, const N: usize> Default for Best<K, V, N> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: Ord + Clone, const N: usize> Best<K, V, N> {
    /// Offers a value for a key. Whether it is the key's value now, and was not before.
    pub fn offer(&mut self, key: K, value: V) -> bool {
        if let Some(old) = self.values.get(&key) {
            if *old >= value {
                return false;
            }
            self.order.remove(&(old.clone(), key.clone()));
        } else if self.values.len() >= N {
            let entry = (value, key);
            if self.order.first().is_none_or(|least| entry < *least) {
                return false;
            }
            if let Some((_, least)) = self.order.pop_first() {
                self.values.remove(&least);
            }
            let (value, key) = entry;
            return self.put(key, value);
        }
        self.put(key, value)
    }

    fn put(&mut self, key: K, value: V) -> bool {
        self.order.insert((value.clone(), key.clone()));
        self.values.insert(key, value);
        true
    }

    /// Keeps only some: those that what is final has not settled. Not a join: each replica derives it from the same finality.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.values.retain(|key, value| keep(key, value));
        self.order.retain(|(_, key)| self.values.contains_key(key));
    }

    /// A key's value.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// The entries, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.values.iter()
    }
}

impl<K: Ord + Clone, V: Ord + Clone, const N: usize> Join for Best<K, V, N> {
    fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (key, value) in &other.values {
            changed |= self.offer(key.clone(), value.clone());
        }
        changed
    }
}

/// What a vote is for, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoteKey {
    /// The epoch.
    pub epoch: u64,
    /// The view.
    pub view: u64,
    /// The kind of message.
    pub kind: u8,
    /// The signer's index in the epoch's set.
    pub signer: u16,
}

impl Height for VoteKey {
    fn height(&self) -> (u64, u64) {
        (self.epoch, self.view)
    }
}

/// The vote lattice: for each epoch, view, kind and signer its digests, at most two, each with a signature. With n validators and k kinds it is at most
/// 4·n·k·width entries of a digest and a signature. Signatures must be unique, as BLS ones are: two on one digest would take both places.
pub type Votes<S> = Window<VoteKey, Least<(B256, S), 2>>;

impl<S: Ord + Clone> Votes<S> {
    /// Pairs of votes of one kind, signer, epoch and view on different digests.
    pub fn conflicts(&self) -> impl Iterator<Item = (&VoteKey, [&(B256, S); 2])> {
        self.iter().filter_map(|(key, votes)| {
            let mut votes = votes.iter();
            match (votes.next(), votes.next()) {
                (Some(first), Some(second)) if first.0 != second.0 => Some((key, [first, second])),
                _ => None,
            }
        })
    }
}

/// A mempool's view: for each sender and nonce the best fee and, for equal ones, the greatest hash; the N best of all.
pub type Offers<const N: usize> = Best<(Address, u64), (u128, B256), N>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined<T: Join + Clone>(a: &T, b: &T) -> T {
        let mut state = a.clone();
        state.join(b);
        state
    }

    fn laws<T: Join + Clone + PartialEq + std::fmt::Debug>(a: &T, b: &T, c: &T) {
        assert_eq!(joined(a, b), joined(b, a), "commutative");
        assert_eq!(joined(&joined(a, b), c), joined(a, &joined(b, c)), "associative");
        assert_eq!(joined(a, a), *a, "idempotent");
        let mut both = joined(a, b);
        assert!(!both.join(a) && !both.join(b), "an upper bound, and says that nothing changed");
        assert_eq!(a.clone().join(b), joined(a, b) != *a, "says whether it changed");
    }

    type Cell = Window<VoteKey, Least<(B256, u8), 2>>;

    fn window() -> impl Strategy<Value = Cell> {
        let step = (0u64..4, 0u64..12, 0u8..2, 0u16..3, 0u8..4, 0u8..2, prop::bool::weighted(0.1));
        prop::collection::vec(step, 0..60).prop_map(|steps| {
            let mut state = Cell::new(6);
            for (epoch, view, kind, signer, digest, signature, raise) in steps {
                if raise {
                    state.raise((epoch, view));
                } else {
                    let mut vote = Least::default();
                    vote.insert((B256::repeat_byte(digest), signature));
                    state.join_at(VoteKey { epoch, view, kind, signer }, &vote);
                }
            }
            state
        })
    }

    fn best() -> impl Strategy<Value = Best<u8, u8, 5>> {
        prop::collection::vec((0u8..12, 0u8..20), 0..30).prop_map(|offers| {
            let mut state = Best::default();
            offers.into_iter().for_each(|(key, value)| {
                state.offer(key, value);
            });
            state
        })
    }

    fn least() -> impl Strategy<Value = Least<u8, 4>> {
        prop::collection::vec(0u8..20, 0..20).prop_map(|values| {
            let mut state = Least::default();
            values.into_iter().for_each(|value| {
                state.insert(value);
            });
            state
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn max_is_a_lattice(a: u8, b: u8, c: u8) {
            laws(&Max(a), &Max(b), &Max(c));
        }

        #[test]
        fn least_is_a_lattice(a in least(), b in least(), c in least()) {
            laws(&a, &b, &c);
        }

        #[test]
        fn window_is_a_lattice(a in window(), b in window(), c in window()) {
            laws(&a, &b, &c);
        }

        #[test]
        fn best_is_a_lattice(a in best(), b in best(), c in best()) {
            laws(&a, &b, &c);
        }

        #[test]
        fn order_and_repetition_do_not_matter(
            (offers, mixed) in prop::collection::vec((0u8..12, 0u8..20), 0..40)
                .prop_flat_map(|offers| (Just(offers.clone()), Just(offers).prop_shuffle()))
        ) {
            let fill = |offers: &[(u8, u8)]| {
                let mut state = Best::<u8, u8, 5>::default();
                offers.iter().for_each(|(key, value)| {
                    state.offer(*key, *value);
                });
                state
            };
            let twice = [&mixed[..], &offers[..]].concat();
            prop_assert_eq!(fill(&offers), fill(&twice));
        }

        #[test]
        fn states_are_bounded(state in window(), other in window(), offers in best()) {
            let both = joined(&state, &other);
            // two epochs of six views, two kinds, three signers
            prop_assert!(both.iter().len() <= 2 * 6 * 2 * 3);
            prop_assert!(both.iter().all(|(_, votes)| votes.len() <= 2));
            prop_assert!(both.iter().all(|(key, _)| both.admits(key.height())));
            prop_assert!(offers.iter().len() <= 5 && offers.order.len() == offers.values.len());
        }
    }

    #[test]
    fn equivocation_shows_itself() {
        let key = VoteKey { epoch: 1, view: 2, kind: 3, signer: 4 };
        let vote = |digest, signature: u8| {
            let mut vote = Least::default();
            vote.insert((B256::repeat_byte(digest), signature));
            vote
        };
        let mut state = Votes::<u8>::new(10);
        state.raise((1, 0));
        assert_eq!(state.join_at(key, &vote(7, 1)), Some(true));
        assert_eq!(state.join_at(key, &vote(7, 1)), Some(false));
        assert_eq!(state.conflicts().count(), 0);
        let mut other = Votes::<u8>::new(10);
        other.raise((1, 0));
        other.join_at(key, &vote(9, 2));
        state.join(&other);
        let (found, [first, second]) = state.conflicts().next().unwrap();
        assert_eq!((*found, first.0, second.0), (key, B256::repeat_byte(7), B256::repeat_byte(9)));
        assert_eq!(state.join_at(VoteKey { view: 10, ..key }, &vote(1, 1)), None, "above the window");
        state.raise((1, 3));
        assert_eq!(state.iter().len(), 0);
        assert!(!state.join(&other), "below the floor");
    }

    #[test]
    fn what_is_final_leaves_without_tombstones() {
        let mut offers = Offers::<3>::default();
        let sender = Address::repeat_byte(1);
        for (nonce, fee) in [(0, 5), (1, 3), (1, 4), (2, 9), (3, 1)] {
            offers.offer((sender, nonce), (fee, B256::ZERO));
        }
        assert_eq!(offers.get(&(sender, 1)), Some(&(4, B256::ZERO)));
        assert_eq!(offers.get(&(sender, 3)), None, "the least fee had no room");
        offers.retain(|(_, nonce), _| *nonce >= 2);
        assert_eq!(offers.iter().len(), 1);
        assert!(offers.offer((sender, 3), (1, B256::ZERO)));
    }
}
