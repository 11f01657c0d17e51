//! The pool and the chain's head: order, blocks, unwinding, and who is told.

use super::*;
use crate::pool::Room;
use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

#[test]
fn equals_are_served_in_the_order_of_arrival() {
    let chain = chain();
    let raw: Vec<Bytes> = (0..40).map(|n| key(99 - n).transfer(0, 3, 9)).collect();
    let order: Vec<B256> = raw.iter().map(keccak256).collect();
    // In one batch and one by one.
    chain.pool.add_raw(&raw[..20]);
    for raw in &raw[20..] {
        chain.insert(raw.clone());
    }
    assert_eq!(chain.best(1), order);
    // At a base fee that caps all tips the order stays; dearer ones come first, cheaper ones last.
    assert_eq!(chain.best(8), order);
    let dearer = chain.insert(key(1).transfer(0, 4, 9));
    let cheaper = chain.insert(key(2).transfer(0, 2, 9));
    let best = chain.best(1);
    assert_eq!((best[0], best[41]), (dearer, cheaper));
    assert_eq!(best[1..41], order);
}

#[test]
fn the_order_follows_the_base_fee() {
    let chain = chain();
    let tipper = chain.insert(key(1).transfer(0, 5, 6));
    let capper = chain.insert(key(2).transfer(0, 2, 20));
    assert_eq!(chain.best(1), [tipper, capper]);
    assert_eq!(chain.best(4), [tipper, capper], "both tip 2: the first comes first");
    assert_eq!(chain.best(5), [capper, tipper]);
    assert_eq!(chain.best(6), [capper, tipper]);
    assert_eq!(chain.best(7), [capper], "the other is held by its fee cap");
    assert!(chain.best(21).is_empty());
    assert!(chain.pool.has_executable(20 * FLOOR) && !chain.pool.has_executable(20 * FLOOR + 1));
    assert_eq!(chain.pool.highest_fee_cap(), Some(20 * FLOOR));
}

#[test]
fn a_sender_is_left_out_on_request_and_behind_what_cannot_pay() {
    let chain = chain();
    let a: Vec<B256> = (0..3).map(|nonce| chain.insert(key(1).transfer(nonce, 9 - nonce, 9))).collect();
    let b: Vec<B256> = (0..2).map(|nonce| chain.insert(key(2).transfer(nonce, 5, 9))).collect();
    let mut best = chain.pool.best(0);
    assert_eq!(best.next().map(|pooled| pooled.hash), Some(a[0]));
    best.skip_sender();
    assert_eq!(best.map(|pooled| pooled.hash).collect::<Vec<_>>(), b);
    // A transaction whose cap is too low holds the dearer ones behind it.
    chain.insert(key(3).transfer(0, 1, 2));
    chain.insert(key(3).transfer(1, 9, 9));
    assert_eq!(chain.best(3).len(), 5);
    assert_eq!(chain.best(2).len(), 7);
}

#[test]
fn a_walk_outlives_changes() {
    let chain = chain();
    let first = chain.insert(key(1).transfer(0, 9, 9));
    let second = chain.insert(key(2).transfer(0, 8, 9));
    let third = chain.insert(key(2).transfer(1, 7, 9));
    let mut best = chain.pool.best(0);
    assert_eq!(best.next().map(|pooled| pooled.hash), Some(first));
    // Late comers of new senders wait for the next walk; followers are met.
    chain.insert(key(3).transfer(0, 9, 9));
    let follower = chain.insert(key(1).transfer(1, 9, 9));
    chain.pool.discard(third);
    assert_eq!(best.map(|pooled| pooled.hash).collect::<Vec<_>>(), [follower, second]);
}

#[test]
fn candidates_fill_the_gas_and_no_more() {
    let chain = chain();
    let all: Vec<B256> = (0..10).map(|n| chain.insert(key(n).transfer(0, 9, 9))).collect();
    let candidates = |gas| {
        chain
            .pool
            .candidates(Room { base_fee: FLOOR, gas, ..Room::default() })
            .iter()
            .map(|tx| *tx.tx_hash())
            .collect::<Vec<_>>()
    };
    assert_eq!(candidates(21_000 * 4 + 20_999), all[..4]);
    assert!(candidates(20_999).is_empty());
    assert_eq!(candidates(u64::MAX), all);
}

#[test]
fn a_block_takes_what_it_includes_and_what_it_outdates() {
    let chain = chain();
    let alice = key(1);
    for nonce in 0..5 {
        chain.insert(alice.transfer(nonce, 1, 9));
    }
    chain.insert(key(2).transfer(0, 2, 9));
    let included: Vec<PooledTransaction> = chain.pool.best(FLOOR).take(3).collect();
    let version = chain.pool.version();
    chain.seal(&included, &[], L1Prices::default());
    assert_ne!(chain.pool.version(), version);
    assert_eq!(chain.pool.status(), (3, 0));
    assert!(included.iter().all(|pooled| chain.pool.get(pooled.hash).is_none()));
    // Another transaction with the same nonces was included elsewhere.
    let account = Account { nonce: 4, ..chain.state.account(alice.address) };
    chain.seal(&[], &[(alice.address, account)], L1Prices::default());
    assert_eq!(chain.pool.status(), (1, 0));
    // The nonce goes beyond everything, then back: nothing is left to come back.
    let account = Account { nonce: 9, ..account };
    chain.seal(&[], &[(alice.address, account)], L1Prices::default());
    assert_eq!(chain.pool.status(), (0, 0));
    assert_eq!(chain.pool.next_nonce(alice.address), None);
}

#[test]
fn the_balance_decides_what_is_executable() {
    let chain = chain();
    let alice = key(1);
    let cost = U256::from(420_000_000_001u64);
    let all: Vec<B256> = (0..4).map(|nonce| chain.insert(alice.transfer(nonce, 1, 2))).collect();
    let account = chain.state.account(alice.address);
    for (balance, executable) in
        [(cost * U256::from(3), 3), (cost * U256::from(3) - U256::ONE, 2), (U256::ZERO, 0), (ETHER, 4)]
    {
        chain.seal(&[], &[(alice.address, Account { balance, ..account })], L1Prices::default());
        assert_eq!(chain.pool.status(), (executable, 4 - executable));
        assert_eq!(chain.best(1), all[..executable]);
    }
    // Development: a nonce that goes back makes a gap.
    let later = Account { nonce: 2, ..account };
    chain.seal(&[], &[(alice.address, later)], L1Prices::default());
    chain.seal(&[], &[(alice.address, account)], L1Prices::default());
    assert_eq!(chain.pool.status(), (0, 2));
    chain.seal(&[], &[(alice.address, later)], L1Prices::default());
    assert_eq!(chain.best(1), all[2..]);
}

#[test]
fn withdrawn_transactions_return_in_order_and_first() {
    let chain = chain();
    let (alice, bob) = (key(1), key(2));
    let genesis = [alice, bob].map(|key| (key.address, chain.state.account(key.address)));
    let a0 = chain.insert(alice.transfer(0, 1, 9));
    let b0 = chain.insert(bob.transfer(0, 1, 9));
    let a1 = chain.insert(alice.transfer(1, 1, 9));
    let take = |n| chain.pool.best(FLOOR).take(n).collect::<Vec<_>>();
    let first = chain.seal(&take(2), &[], L1Prices::default());
    let second = chain.seal(&take(1), &[], L1Prices::default());
    assert_eq!(chain.pool.status(), (0, 0));
    let c0 = chain.insert(key(3).transfer(0, 1, 9));
    let a2 = chain.insert(alice.transfer(2, 1, 9));

    for (address, account) in genesis {
        chain.set(address, account);
    }
    let returning = chain.pool.returning(&[first.into(), second.into()], |_| None);
    chain.pool.on_unwound(L1Prices::default(), FLOOR);
    chain.pool.readmit(returning);
    assert_eq!(chain.pool.status(), (5, 0));
    assert_eq!(chain.best(1), [a0, b0, a1, c0, a2]);
}

#[test]
fn withdrawn_transactions_return_beyond_what_the_balance_bears_together() {
    let chain = chain();
    let alice = key(1);
    let mut blocks = Vec::new();
    // Each may cost 0.6 ether, and costs a wei.
    let large = |nonce| {
        let value = ETHER / U256::from(10) * U256::from(6);
        alice.sign(TxEip1559 { value, ..transfer(nonce, 1, 2) }).encoded_2718().into()
    };
    for nonce in 0..2 {
        chain.insert(large(nonce));
        blocks.push(Arc::new(chain.seal(&chain.pool.best(FLOOR).collect::<Vec<_>>(), &[], L1Prices::default())));
    }
    chain.set(alice.address, Account { balance: ETHER, ..Account::default() });
    let returning = chain.pool.returning(&blocks, |_| None);
    chain.pool.on_unwound(blocks[0].l1_prices, FLOOR);
    chain.pool.readmit(returning);
    assert_eq!(chain.pool.status(), (1, 1));
    assert!(matches!(chain.add(large(2)), Err(PoolError::InsufficientFunds(_))));
}

#[test]
fn listeners_learn_of_each_transaction_once_when_it_is_executable() {
    let chain = chain();
    let heard: Arc<Mutex<Vec<B256>>> = Arc::default();
    let (to, pool) = (heard.clone(), chain.pool.clone());
    chain.pool.set_listener(move |transactions| {
        // No lock is held: the pool can be asked.
        assert!(pool.status().0 >= transactions.len());
        to.lock().extend(transactions.iter().map(|transaction| *transaction.tx_hash()));
    });
    let alice = key(1);
    let second = chain.insert(alice.transfer(1, 1, 9));
    assert!(heard.lock().is_empty());
    let first = chain.insert(alice.transfer(0, 1, 9));
    assert_eq!(*heard.lock(), [first, second]);
    let account = chain.state.account(alice.address);
    chain.seal(&[], &[(alice.address, Account { balance: U256::ZERO, ..account })], L1Prices::default());
    chain.seal(&[], &[(alice.address, account)], L1Prices::default());
    assert_eq!(heard.lock().len(), 2);
    let replacement = chain.insert(alice.transfer(0, 2, 10));
    assert_eq!(heard.lock()[2..], [replacement]);
}

#[test]
fn work_wakes_who_waits_for_it() {
    let chain = chain();
    assert!(!chain.pool.wait_for_work(Duration::ZERO));
    chain.insert(key(1).transfer(1, 1, 9));
    assert!(!chain.pool.wait_for_work(Duration::ZERO), "nothing is executable");
    chain.insert(key(1).transfer(0, 1, 9));
    assert!(chain.pool.wait_for_work(Duration::ZERO));
    assert!(!chain.pool.wait_for_work(Duration::ZERO), "known by now");
    let pool = chain.pool.clone();
    let waiter = thread::spawn(move || {
        let started = Instant::now();
        (pool.wait_for_work(Duration::from_secs(60)), started.elapsed())
    });
    thread::sleep(Duration::from_millis(20));
    chain.insert(key(2).transfer(0, 1, 9));
    let (woken, after) = waiter.join().expect("no panic");
    assert!(woken && after < Duration::from_secs(30));
}

/// Many threads add while blocks are sealed: every transaction is included once, each sender's in nonce order.
#[test]
fn nothing_is_lost_or_doubled_among_threads() {
    const THREADS: u64 = 4;
    const SENDERS: u64 = 6;
    const EACH: u64 = 40;
    let chain = chain();
    let total = (THREADS * SENDERS * EACH) as usize;
    let mut included: Vec<PooledTransaction> = Vec::new();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let pool = chain.pool.clone();
            scope.spawn(move || {
                for nonce in 0..EACH {
                    let batch: Vec<Bytes> =
                        (0..SENDERS).map(|n| key(thread * SENDERS + n).transfer(nonce, nonce % 7, 9)).collect();
                    for result in pool.add_raw(&batch) {
                        result.expect("admitted");
                    }
                }
            });
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while included.len() < total {
            assert!(Instant::now() < deadline, "{} of {total} included", included.len());
            let taken: Vec<PooledTransaction> = chain.pool.best(FLOOR).take(50).collect();
            chain.seal(&taken, &[], L1Prices::default());
            included.extend(taken);
        }
    });
    assert_eq!(chain.pool.status(), (0, 0));
    let distinct: HashSet<B256> = included.iter().map(|pooled| pooled.hash).collect();
    assert_eq!(distinct.len(), total);
    let mut next: HashMap<Address, u64> = HashMap::new();
    for pooled in &included {
        let next = next.entry(pooled.transaction.signer()).or_default();
        assert_eq!(alloy_consensus::Transaction::nonce(&**pooled.transaction), *next);
        *next += 1;
    }
}
