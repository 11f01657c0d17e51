//! Errors, each by its name, and the answers at the edges.

use super::{Model, Rng, address, property::commit, random_block, slot, topic};
use crate::{LogFilter, OLDEST_KEY, Options, Storage, StorageError, codec};
use alloy_consensus::Typed2718;
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, Log, U256, keccak256};
use jove_primitives::{Account, AccountChange, Change, ChangeSet, Receipt};
use revm::{DatabaseRef, bytecode::Bytecode};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

fn open(path: &Path) -> Result<Storage, StorageError> {
    Storage::open(path, Options::default())
}

/// A store of `count` random blocks.
fn store_of(path: &Path, count: u64) -> (Storage, Model) {
    let (storage, mut model) = (open(path).unwrap(), Model::default());
    for seed in 0..count {
        commit(&storage, &mut model, seed);
    }
    (storage, model)
}

#[test]
fn a_block_that_does_not_follow_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, mut model) = (open(folder.path()).unwrap(), Model::default());
    let (genesis, none) = (random_block(1, None, &Default::default()).0, ChangeSet::default());
    let (first, _) = random_block(1, Some(&genesis), &Default::default());
    let refused = |block, changes| storage.commit(block, changes).unwrap_err();
    assert!(matches!(refused(&first, &none), StorageError::NotNext { number: 1, expected: 0 }));
    storage.commit(&genesis, &none).unwrap();
    model.commit(genesis.clone(), &none);
    assert!(matches!(refused(&genesis, &none), StorageError::NotNext { number: 0, expected: 1 }));
    let (stranger, _) = random_block(2, Some(&random_block(3, None, &Default::default()).0), &Default::default());
    assert!(matches!(refused(&stranger, &none), StorageError::WrongParent(1)));
    let mut uneven = first.clone();
    uneven.l1_fees.push(U256::ZERO);
    assert!(matches!(refused(&uneven, &none), StorageError::Uneven(1)));
    model.check(&storage.view(), 0);

    let account = Change { before: None, after: Some(Account::default()) };
    let value = Change { before: U256::ZERO, after: U256::ONE };
    let mut changes = ChangeSet::default();
    let change = AccountChange { account, wiped: false, storage: [(U256::ONE, value)].into() };
    changes.accounts.insert(address(1), change);
    storage.commit(&first, &changes).unwrap();
    model.commit(first.clone(), &changes);
    let mut wipe = ChangeSet::default();
    let account = Change { before: account.after, after: None };
    wipe.accounts.insert(address(1), AccountChange { account, wiped: true, ..Default::default() });
    let (second, _) = random_block(1, Some(&first), &Default::default());
    assert!(matches!(refused(&second, &wipe), StorageError::IncompleteWipe(of) if of == address(1)));
    model.check(&storage.view(), 0);
}

#[test]
fn a_store_is_opened_once_and_in_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, model) = store_of(folder.path(), 3);
    assert!(matches!(open(folder.path()), Err(StorageError::Locked)));
    storage.store.keyspaces.meta.insert("format", 2u32.to_be_bytes()).unwrap();
    drop(storage);
    let refused = open(folder.path()).err().unwrap();
    assert!(matches!(refused, StorageError::UnknownFormat(2)));
    assert_eq!(refused.to_string(), "the store has format 2; this program reads format 1");
    let database = crate::open_database(&folder.path().join("store")).unwrap();
    let meta = database.keyspace("meta", Default::default).unwrap();
    meta.insert("format", codec::FORMAT.to_be_bytes()).unwrap();
    drop((meta, database));
    model.check(&open(folder.path()).unwrap().view(), 0);
}

#[test]
fn what_nobody_wrote_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, _) = store_of(folder.path(), 20);
    let keyspaces = &storage.store.keyspaces;
    let corrupt = |error: StorageError| assert!(matches!(error, StorageError::Corrupt(_)), "{error}");
    let (account, word) = (address(1), B256::repeat_byte(9));
    keyspaces.accounts.insert(**account, [0xff]).unwrap();
    keyspaces.slots.insert(codec::slot_key(account, slot(1)), [0, 1]).unwrap();
    keyspaces.slots.insert([1; 51], [1]).unwrap();
    keyspaces.account_history.insert(codec::account_history_key(account, 4), [1]).unwrap();
    keyspaces.slot_history.insert(codec::slot_history_key(account, slot(1), 4), [0]).unwrap();
    keyspaces.block_numbers.insert(*word, [1]).unwrap();
    keyspaces.transactions.insert(*word, [1]).unwrap();
    keyspaces.changes.insert(5u64.to_be_bytes(), [1]).unwrap();
    keyspaces.headers.insert(6u64.to_be_bytes(), [1]).unwrap();
    keyspaces.bodies.insert(7u64.to_be_bytes(), [1]).unwrap();
    keyspaces.bodies.remove(8u64.to_be_bytes()).unwrap();
    keyspaces.logs.insert(codec::posting_key(codec::ANY_LOG, 8), []).unwrap();
    storage.store.cache.clear();
    let (head, oldest) = (storage.store.head().block, 0);
    storage.store.publish(head, oldest);
    let view = storage.view();
    let (now, then) = (view.state(19).unwrap(), view.state(3).unwrap());
    corrupt(now.account(account).unwrap_err());
    corrupt(now.slot(account, slot(1)).unwrap_err());
    corrupt(then.account(account).unwrap_err());
    corrupt(then.slot(account, slot(1)).unwrap_err());
    corrupt(now.code(word).unwrap_err());
    corrupt(view.block_number(word).unwrap_err());
    corrupt(view.transaction(word).unwrap_err());
    corrupt(view.changes_back(10, 4, soon()).err().unwrap());
    corrupt(view.header(6).unwrap_err());
    corrupt(view.block_hash(6).unwrap_err());
    corrupt(view.block(7).unwrap_err());
    corrupt(view.block(8).unwrap_err());
    let deadline = Instant::now() + Duration::from_secs(120);
    corrupt(view.logs(&LogFilter { to: 9, ..Default::default() }, 1000, deadline).unwrap_err());
    let streamed = storage.for_each_account(|_, _, slots| {
        for slot in slots {
            slot?;
        }
        Ok(())
    });
    corrupt(streamed.unwrap_err());
    corrupt(storage.unwind(4).unwrap_err());
    corrupt((0..2).find_map(|_| storage.prune_history(10).err()).unwrap());
    keyspaces.meta.insert(OLDEST_KEY, [1]).unwrap();
    drop((view, now, then, storage));
    corrupt(open(folder.path()).err().unwrap());
}

/// Bytes of the newest journal, up to the last that is not zero.
fn journal(path: &Path) -> (fs::File, Vec<u8>) {
    let path = path.join("store/0.jnl");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    (fs::File::options().write(true).open(path).unwrap(), bytes)
}

#[test]
fn a_hole_in_the_last_batch_is_cut_off_and_one_before_it_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, older) = store_of(folder.path(), 10);
    let (block, mut changes) = older.next_block(99);
    storage.complete_wipes(&mut changes).unwrap();
    let code: Bytes = vec![7; 20_000].into();
    changes.codes.insert(keccak256(&code), code);
    storage.commit(&block, &changes).unwrap();
    drop(storage);
    let (file, bytes) = journal(folder.path());
    let at = bytes.windows(20_000).position(|window| window == [7; 20_000]).unwrap() + 5000;
    file.write_all_at(&[0; 4096], at as u64).unwrap();
    let alone = crate::open_database(&folder.path().join("store"));
    let mismatch = fjall::JournalRecoveryError::ChecksumMismatch;
    assert!(matches!(alone, Err(fjall::Error::JournalRecovery(error)) if error == mismatch), "fjall alone refuses");
    let storage = open(folder.path()).unwrap();
    older.check(&storage.view(), 0);
    storage.commit(&block, &changes).unwrap();
    let (next, _) = random_block(1, Some(&block), &Default::default());
    storage.commit(&next, &ChangeSet::default()).unwrap();
    drop(storage);
    file.write_all_at(&[0; 4096], at as u64).unwrap();
    assert!(matches!(open(folder.path()), Err(StorageError::Corrupt(_))), "a batch is whole after the hole");
    let storage = Storage::open(folder.path(), Options { sync: false }).unwrap();
    older.check(&storage.view(), 0);
}

#[test]
fn log_queries_are_bounded_in_results_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).unwrap();
    let mut block = random_block(0, None, &Default::default()).0;
    // Each block has a log, of its own topic; every hundredth has an address in common.
    for number in 0..1000u64 {
        if number > 0 {
            block = random_block(0, Some(&block), &Default::default()).0;
        }
        let transaction = super::transaction(&mut Rng(number), number);
        let emitter = if number % 100 == 7 { address(1) } else { address(2) };
        let own = keccak256(number.to_be_bytes());
        let log = Log::new_unchecked(emitter, vec![topic(1), own], Bytes::new());
        let receipt = Receipt { tx_type: transaction.ty(), logs: vec![log], ..Default::default() };
        block.receipts = vec![receipt];
        block.transactions = vec![alloy_consensus::transaction::Recovered::new_unchecked(transaction, address(3))];
        block.l1_fees = vec![U256::ZERO];
        storage.commit(&block, &ChangeSet::default()).unwrap();
    }
    let view = storage.view();
    let soon = || Instant::now() + Duration::from_secs(120);
    let all = LogFilter { to: u64::MAX, ..Default::default() };
    assert_eq!(view.logs(&all, 1000, soon()).unwrap().len(), 1000);
    assert!(matches!(view.logs(&all, 999, soon()), Err(StorageError::TooManyResults(999))));
    assert!(matches!(view.logs(&all, 1000, Instant::now()), Err(StorageError::Timeout)));
    let sparse = LogFilter { addresses: vec![address(1), address(1), address(4)], ..all.clone() };
    let blocks = |filter: &LogFilter| {
        let entries = view.logs(filter, 1000, soon()).unwrap();
        entries.iter().map(|entry| entry.block_number).collect::<Vec<_>>()
    };
    let expected: Vec<u64> = (7..1000).step_by(100).collect();
    assert_eq!(blocks(&sparse), expected);
    let topics = |topics: [Vec<B256>; 4]| LogFilter { topics, ..sparse.clone() };
    let own = |number: u64| keccak256(number.to_be_bytes());
    assert_eq!(blocks(&topics([vec![topic(1)], vec![], vec![], vec![]])), expected);
    assert_eq!(blocks(&topics([vec![topic(1)], vec![own(307), own(308), own(907)], vec![], vec![]])), [307, 907]);
    assert_eq!(blocks(&topics([vec![], vec![topic(1)], vec![], vec![]])), [0; 0], "topics are by position");
    assert_eq!(blocks(&topics([vec![], vec![], vec![topic(1)], vec![]])), [0; 0], "and logs have two");
    assert_eq!(blocks(&LogFilter { from: 107, to: 207, ..sparse.clone() }), [107, 207]);
    assert_eq!(blocks(&LogFilter { from: 208, to: 207, ..sparse.clone() }), [0; 0]);
    assert_eq!(blocks(&LogFilter { from: 1000, ..all }), [0; 0]);
    let many = LogFilter { topics: [vec![], (0..5000).map(own).collect(), vec![], vec![]], ..sparse };
    assert_eq!(blocks(&many), expected);
}

#[test]
fn the_state_is_a_database_of_revm() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, model) = store_of(folder.path(), 30);
    let view = storage.view();
    let state = view.state(20).unwrap();
    let expected = &model.states[20];
    for address in (0..6).map(address) {
        let info = state.basic_ref(address).unwrap();
        let account = info.map(|info| {
            assert!(info.code.is_none());
            let code = state.code_by_hash_ref(info.code_hash).unwrap();
            assert_eq!(code.original_bytes(), model.codes.get(&info.code_hash).cloned().unwrap_or_default());
            Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash }
        });
        assert_eq!(account, expected.accounts.get(&address).copied());
        assert_eq!(state.storage_ref(address, slot(2)).unwrap(), expected.slot(address, slot(2)));
    }
    assert_eq!(state.block_hash_ref(20).unwrap(), model.blocks[20].hash);
    assert_eq!(state.block_hash_ref(21).unwrap(), B256::ZERO, "not yet at this block");
    assert_eq!(state.block_hash_ref(u64::MAX).unwrap(), B256::ZERO);
    assert_eq!(state.code_by_hash_ref(KECCAK256_EMPTY).unwrap(), Bytecode::default());
    assert_eq!(state.code(B256::ZERO).unwrap(), Bytes::new());
    assert_eq!(state.block_number(), 20);

    let delegation = Bytecode::new_eip7702(address(1)).original_bytes();
    let like_one = Bytes::from_static(&[0xef, 0x01, 0x00, 0x01]);
    for code in [delegation, like_one] {
        storage.store.keyspaces.codes.insert(*keccak256(&code), code.as_ref()).unwrap();
        storage.store.publish(storage.store.head().block, 0);
        let state = storage.view().state(29).unwrap();
        assert_eq!(state.code_by_hash_ref(keccak256(&code)).unwrap().original_bytes(), code);
    }
}

#[test]
fn an_empty_store_has_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).unwrap();
    assert_eq!(storage.head_number(), None);
    let view = storage.view();
    assert_eq!((view.head_number(), view.oldest_state()), (0, 0));
    assert_eq!(view.block_hash(0).unwrap(), None);
    assert!(matches!(view.changes_back(0, 0, soon()), Err(StorageError::UnknownBlock(0))));
    assert!(matches!(storage.unwind(0), Err(StorageError::UnknownBlock(0))));
    assert!(storage.prune_history(9).unwrap());
    let filter = LogFilter { to: u64::MAX, ..Default::default() };
    assert!(view.logs(&filter, 0, Instant::now()).unwrap().is_empty());
    storage.for_each_account(|_, _, _| unreachable!()).unwrap();
    assert!(storage.put_meta(&"k".repeat(1025), b"").is_err());
    storage.put_meta(&"k".repeat(1024), b"v").unwrap();
    assert_eq!(storage.meta(&"k".repeat(1024)).unwrap().as_deref(), Some(b"v".as_slice()));
    assert_eq!(storage.meta("format").unwrap(), None, "internal values are not the user's");
    drop(view);
    drop(storage);
    let mut model = Model::default();
    let storage = open(folder.path()).unwrap();
    commit(&storage, &mut model, 1);
    model.check(&storage.view(), 1);
}

#[test]
fn a_way_back_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, _) = store_of(folder.path(), 5);
    assert!(matches!(storage.view().changes_back(4, 0, Instant::now()), Err(StorageError::Timeout)));
    storage.view().changes_back(4, 0, soon()).unwrap();
}
