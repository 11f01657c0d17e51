//! Transactions in order of what they pay, at any base fee.
//!
//! A transaction's effective tip is `min(tip, cap − base fee)`, and the base fee is another in every block. With the *threshold*
//! `cap − tip`, a transaction pays its whole tip while the base fee is at most its threshold, and `cap − base fee` above. So a tree in
//! order of thresholds falls, at a base fee, into two parts: in the upper one transactions rank by `tip`, in the lower one by `cap`. Each
//! node knows the best tip and the best cap below it, and a walk from the root meets transactions best first: O(log n) each, and a new
//! base fee costs nothing.
//!
//! The tree is a treap. Its nodes are shared with the walks that were started before a change, and copied where both need them.

use super::entry::Entry;
use std::{
    cmp::Ordering,
    collections::{BinaryHeap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

/// Transactions by effective tip: `DEAREST` first and the earliest of equals, or cheapest first and the latest of equals.
pub(super) struct Index<const DEAREST: bool> {
    root: Link,
    /// Makes the tree's shape unpredictable, and so its depth logarithmic whatever is inserted.
    random: RandomState,
}

type Link = Option<Arc<Node>>;

/// A fee, negated where the cheapest is first, and the arrival to settle ties. Greater is better.
type Rank = (u64, u64);

/// Threshold and arrival: the order of the tree.
type Key = (u64, u64);

#[derive(Clone)]
struct Node {
    entry: Arc<Entry>,
    /// Above the weights of both children.
    weight: u64,
    /// Best of the subtree by tip.
    tip: Rank,
    /// Best of the subtree by cap.
    cap: Rank,
    left: Link,
    right: Link,
}

impl<const DEAREST: bool> Index<DEAREST> {
    pub(super) fn new() -> Self {
        Self { root: None, random: RandomState::new() }
    }

    /// Adds an entry that the index does not hold.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let (tip, cap) = (rank::<DEAREST>(entry.tip, entry.seq), rank::<DEAREST>(entry.cap, entry.seq));
        let weight = self.random.hash_one(entry.seq);
        insert::<DEAREST>(&mut self.root, Node { entry, weight, tip, cap, left: None, right: None });
    }

    /// Takes an entry out; whether it was there.
    pub(super) fn remove(&mut self, entry: &Entry) -> bool {
        remove::<DEAREST>(&mut self.root, key(entry))
    }

    /// The entries in order at a base fee, as they are now.
    pub(super) fn walk(&self, base_fee: u64) -> Walk<DEAREST> {
        let mut walk = Walk { base_fee, steps: BinaryHeap::new() };
        let mut link = &self.root;
        while let Some(node) = link {
            let (side, whole) = if key(&node.entry).0 >= base_fee {
                link = &node.left;
                (Side::Tip, &node.right)
            } else {
                link = &node.right;
                (Side::Cap, &node.left)
            };
            walk.push_entry(&node.entry);
            walk.push_tree(whole, side);
        }
        walk
    }

    /// The highest cap.
    pub(super) fn highest_cap(&self) -> Option<u64> {
        const { assert!(DEAREST) };
        self.root.as_ref().map(|node| node.cap.0)
    }
}

fn key(entry: &Entry) -> Key {
    (entry.cap - entry.tip, entry.seq)
}

fn rank<const DEAREST: bool>(fee: u64, seq: u64) -> Rank {
    if DEAREST { (fee, !seq) } else { (!fee, seq) }
}

impl Node {
    /// Sets what the node knows of its subtree.
    fn update<const DEAREST: bool>(&mut self) {
        self.tip = rank::<DEAREST>(self.entry.tip, self.entry.seq);
        self.cap = rank::<DEAREST>(self.entry.cap, self.entry.seq);
        for child in [&self.left, &self.right].into_iter().flatten() {
            self.tip = self.tip.max(child.tip);
            self.cap = self.cap.max(child.cap);
        }
    }
}

fn insert<const DEAREST: bool>(link: &mut Link, mut new: Node) {
    match link {
        Some(node) if node.weight >= new.weight => {
            let node = Arc::make_mut(node);
            node.tip = node.tip.max(new.tip);
            node.cap = node.cap.max(new.cap);
            let child = if key(&new.entry) < key(&node.entry) { &mut node.left } else { &mut node.right };
            insert::<DEAREST>(child, new);
        }
        _ => {
            (new.left, new.right) = split::<DEAREST>(link.take(), key(&new.entry));
            new.update::<DEAREST>();
            *link = Some(Arc::new(new));
        }
    }
}

fn remove<const DEAREST: bool>(link: &mut Link, at: Key) -> bool {
    let Some(node) = link else { return false };
    let order = at.cmp(&key(&node.entry));
    let node = Arc::make_mut(node);
    let found = match order {
        Ordering::Equal => {
            *link = merge::<DEAREST>(node.left.take(), node.right.take());
            return true;
        }
        Ordering::Less => remove::<DEAREST>(&mut node.left, at),
        Ordering::Greater => remove::<DEAREST>(&mut node.right, at),
    };
    node.update::<DEAREST>();
    found
}

/// The nodes below a key, and those from it.
fn split<const DEAREST: bool>(link: Link, at: Key) -> (Link, Link) {
    let Some(mut shared) = link else { return (None, None) };
    let node = Arc::make_mut(&mut shared);
    if key(&node.entry) < at {
        let (below, from) = split::<DEAREST>(node.right.take(), at);
        node.right = below;
        node.update::<DEAREST>();
        (Some(shared), from)
    } else {
        let (below, from) = split::<DEAREST>(node.left.take(), at);
        node.left = from;
        node.update::<DEAREST>();
        (below, Some(shared))
    }
}

/// One tree of two, all keys of the first below all of the second.
fn merge<const DEAREST: bool>(first: Link, second: Link) -> Link {
    let (mut first, mut second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (one, other) => return one.or(other),
    };
    if first.weight > second.weight {
        let node = Arc::make_mut(&mut first);
        node.right = merge::<DEAREST>(node.right.take(), Some(second));
        node.update::<DEAREST>();
        Some(first)
    } else {
        let node = Arc::make_mut(&mut second);
        node.left = merge::<DEAREST>(Some(first), node.left.take());
        node.update::<DEAREST>();
        Some(second)
    }
}

/// Entries of an index, best first, as they were when the walk began. Others may be added on the way.
pub(super) struct Walk<const DEAREST: bool> {
    base_fee: u64,
    steps: BinaryHeap<Step>,
}

struct Step {
    /// Effective tip, negated where the cheapest is first, and the tie: of the entry, or of the best in the tree.
    score: (i128, u64),
    to: To,
}

enum To {
    Entry(Arc<Entry>),
    Tree(Arc<Node>, Side),
}

/// What the nodes of a tree rank by at the walk's base fee.
#[derive(Clone, Copy)]
enum Side {
    Tip,
    Cap,
}

impl<const DEAREST: bool> Walk<DEAREST> {
    /// Adds an entry to those still to come.
    pub(super) fn push(&mut self, entry: &Arc<Entry>) {
        self.push_entry(entry);
    }

    fn push_entry(&mut self, entry: &Arc<Entry>) {
        let tip = entry.effective_tip(self.base_fee);
        let score = if DEAREST { (tip, !entry.seq) } else { (-tip, entry.seq) };
        self.steps.push(Step { score, to: To::Entry(entry.clone()) });
    }

    fn push_tree(&mut self, link: &Link, side: Side) {
        let Some(node) = link else { return };
        let (rank, base_fee) = match side {
            Side::Tip => (node.tip, 0),
            Side::Cap => (node.cap, self.base_fee),
        };
        let score = if DEAREST {
            (i128::from(rank.0) - i128::from(base_fee), rank.1)
        } else {
            (i128::from(base_fee) - i128::from(!rank.0), rank.1)
        };
        self.steps.push(Step { score, to: To::Tree(node.clone(), side) });
    }
}

impl<const DEAREST: bool> Iterator for Walk<DEAREST> {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            match self.steps.pop()?.to {
                To::Entry(entry) => return Some(entry),
                To::Tree(node, side) => {
                    self.push_entry(&node.entry);
                    self.push_tree(&node.left, side);
                    self.push_tree(&node.right, side);
                }
            }
        }
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.cmp(&other.score)
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.score == other.score
    }
}

impl Eq for Step {}
