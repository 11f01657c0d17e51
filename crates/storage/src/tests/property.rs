//! Random histories against the model, and views while the writer works.

use super::{Model, Rng, address, random_block};
use crate::{Options, Storage, StorageError, View};
use alloy_primitives::U256;
use jove_primitives::{Account, AccountChange, Change, ChangeSet, ExecutedBlock};
use proptest::prelude::*;
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Memtables that are flushed every few blocks.
pub(crate) const TINY: u64 = 8 << 10;

#[derive(Clone, Debug)]
enum Op {
    /// Blocks with these seeds.
    Commit(Vec<u64>),
    /// The same, in as few writes as may be.
    CommitAll(Vec<u64>),
    /// So many blocks back.
    Unwind(u64),
    /// To so many blocks below the head.
    Prune(u64),
    Reopen,
    Meta(String, Vec<u8>),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => prop::collection::vec(any::<u64>(), 1..8).prop_map(Op::Commit),
        4 => prop::collection::vec(any::<u64>(), 1..8).prop_map(Op::CommitAll),
        3 => (0u64..8).prop_map(Op::Unwind),
        1 => (0u64..12).prop_map(Op::Prune),
        1 => Just(Op::Reopen),
        1 => ("[a-c]{0,2}", prop::collection::vec(any::<u8>(), 0..5)).prop_map(|(key, value)| Op::Meta(key, value)),
    ];
    prop::collection::vec(op, 1..20)
}

/// Commits the block that `seed` makes, in store and model.
pub(crate) fn commit(storage: &Storage, model: &mut Model, seed: u64) {
    let (block, mut changes) = model.next_block(seed);
    let completed = model.completed(&changes);
    storage.complete_wipes(&mut changes).unwrap();
    assert_eq!(changes, completed);
    storage.commit(&block, &changes).unwrap();
    model.commit(block, &changes);
}

/// Commits the blocks that `seeds` make, in one write, up to one that wipes an account, which must be the first. How many.
pub(crate) fn commit_all(storage: &Storage, model: &mut Model, seeds: &[u64]) -> usize {
    let mut blocks: Vec<(ExecutedBlock, ChangeSet)> = Vec::new();
    for seed in seeds {
        let (block, mut changes) = model.next_block(*seed);
        if changes.accounts.values().any(|change| change.wiped) {
            if !blocks.is_empty() {
                // What is refused changes nothing.
                let before = blocks.iter().map(|(block, changes)| (block, changes));
                let refused = storage.commit_all(&before.chain([(&block, &changes)]).collect::<Vec<_>>());
                assert!(matches!(refused, Err(StorageError::IncompleteWipe(_))), "{refused:?}");
                break;
            }
            storage.complete_wipes(&mut changes).unwrap();
        }
        model.commit(block.clone(), &changes);
        blocks.push((block, changes));
    }
    let all: Vec<_> = blocks.iter().map(|(block, changes)| (block, changes)).collect();
    storage.commit_all(&all).unwrap();
    all.len()
}

fn open(path: &Path) -> Storage {
    Storage::open_with_memtables(path, Options::default(), TINY).unwrap()
}

fn run(ops: Vec<Op>) {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path());
    let mut model = Model::default();
    let mut meta = std::collections::BTreeMap::new();
    let mut older: Vec<(View, Model)> = vec![(storage.view(), model.clone())];
    for (seed, op) in (0..).zip(ops) {
        match op {
            Op::Commit(seeds) => seeds.into_iter().for_each(|seed| commit(&storage, &mut model, seed)),
            Op::CommitAll(mut seeds) => {
                while !seeds.is_empty() {
                    let written = commit_all(&storage, &mut model, &seeds);
                    seeds.drain(..written);
                }
            }
            Op::Unwind(back) => unwind(&storage, &mut model, back),
            Op::Prune(keep) => {
                let number = model.head().unwrap_or(0).saturating_sub(keep);
                while !storage.prune_history(number).unwrap() {}
                model.prune(number);
            }
            Op::Reopen => {
                older.clear();
                drop(storage);
                storage = open(folder.path());
            }
            Op::Meta(key, value) => {
                storage.put_meta(&key, &value).unwrap();
                meta.insert(key, value);
            }
        }
        assert_eq!(storage.head_number(), model.head());
        model.check(&storage.view(), seed);
        model.check_stream(&storage, &mut Rng(seed));
        for key in ["", "a", "b", "c", "aa", "bc"] {
            assert_eq!(storage.meta(key).unwrap().as_ref(), meta.get(key));
        }
        older.push((storage.view(), model.clone()));
        if let Some((view, model)) = older.get(seed as usize % older.len()) {
            model.check(view, seed);
        }
    }
    older.iter().for_each(|(view, model)| model.check(view, 0));
}

fn unwind(storage: &Storage, model: &mut Model, back: u64) {
    let Some(head) = model.head() else {
        assert!(matches!(storage.unwind(back), Err(StorageError::UnknownBlock(_))));
        return;
    };
    assert!(matches!(storage.unwind(head + 1), Err(StorageError::UnknownBlock(_))));
    let number = head.saturating_sub(back);
    if number < model.oldest {
        assert!(matches!(storage.unwind(number), Err(StorageError::Pruned { .. })));
        return;
    }
    let unwound = storage.unwind(number).unwrap();
    let mut state = (*model.state()).clone();
    let blocks: Vec<_> = model.blocks[number as usize + 1..].iter().rev().map(|block| (**block).clone()).collect();
    model.unwind(number);
    state.apply(&unwound.changes);
    assert_eq!(state, *model.state(), "the old head's state, turned back");
    assert_eq!(unwound.blocks, blocks);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_as_the_model(ops in ops()) {
        run(ops);
    }
}

/// Four hundred blocks: tables are flushed and compacted below the history.
#[test]
fn a_long_history_reads_as_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path());
    let mut model = Model::default();
    let rng = &mut Rng(7);
    for round in 0..8 {
        for _ in 0..50 {
            commit(&storage, &mut model, rng.next());
        }
        let view = storage.view();
        let as_of = model.clone();
        unwind(&storage, &mut model, 10);
        as_of.check(&view, round);
        drop(view);
        if round % 3 == 2 {
            while !storage.prune_history(round * 30).unwrap() {}
            model.prune(round * 30);
            drop(storage);
            storage = open(folder.path());
        }
        model.check(&storage.view(), round);
    }
}

/// Every block sets all accounts, and as many slots, to its number; readers must never see two numbers.
#[test]
fn a_view_never_shows_half_a_commit() {
    const ACCOUNTS: u64 = 48;
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let done = AtomicBool::new(false);
    let owner = address(1);
    let account = |number: u64| Account { nonce: number, ..Default::default() };
    let (mut block, _) = random_block(1, None, &Default::default());
    let changes = |number: u64| {
        let mut changes = ChangeSet::default();
        for index in 0..ACCOUNTS {
            let before = number.checked_sub(1);
            let value = Change { before: U256::from(before.unwrap_or(0)), after: U256::from(number) };
            let account = Change { before: before.map(account), after: Some(account(number)) };
            let change = AccountChange { account, wiped: false, storage: [(U256::from(index), value)].into() };
            changes.accounts.insert(owner.create(index), change);
        }
        changes
    };
    storage.commit(&block, &changes(0)).unwrap();
    let read = |storage: &Storage| {
        let view = if std::env::var("RAW").is_ok() {
            use fjall::Readable;
            let snapshot = storage.store.database.snapshot();
            let (key, value) = snapshot.last_key_value(&storage.store.keyspaces.headers).unwrap().into_inner().unwrap();
            let block =
                Some((crate::codec::decode_u64(&key).unwrap(), crate::codec::decode_header_hash(&value).unwrap()));
            View { store: storage.store.clone(), head: std::sync::Arc::new(crate::Head { block, oldest: 0, snapshot }) }
        } else {
            storage.view()
        };
        let head = view.head_number();
        for number in [head, head.saturating_sub(3)] {
            let state = view.state(number).unwrap();
            for index in 0..ACCOUNTS {
                let address = owner.create(index);
                assert_eq!(state.account(address).unwrap(), Some(account(number)));
                assert_eq!(state.slot(address, U256::from(index)).unwrap(), U256::from(number));
            }
        }
        assert_eq!(view.header(head + 1).unwrap(), None);
        view.block(head).unwrap().unwrap().header.number
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    read(&storage);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        for number in 1..=1500 {
            block = random_block(number, Some(&block), &Default::default()).0;
            storage.commit(&block, &changes(number)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(read(&storage), 1500);
    // Memtables are flushed meanwhile, in the background.
    let started = std::time::Instant::now();
    while storage.store.keyspaces.accounts.table_count() == 0 {
        assert!(started.elapsed().as_secs() < 120, "no memtable was flushed");
        std::thread::yield_now();
    }
}
