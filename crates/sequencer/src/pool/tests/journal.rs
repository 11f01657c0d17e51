//! Restarts.

use super::{super::journal::MIN_REWRITE, *};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

struct Disk {
    _dir: TempDir,
    path: PathBuf,
}

fn disk() -> Disk {
    let dir = TempDir::new().expect("a temporary directory");
    Disk { path: dir.path().join("pool.journal"), _dir: dir }
}

impl Disk {
    fn config(&self) -> PoolConfig {
        PoolConfig { journal: Some(self.path.clone()), ..PoolConfig::default() }
    }

    fn chain(&self) -> Chain {
        chain_with(self.config())
    }

    fn chain_on(&self, state: Arc<State>) -> Chain {
        let spec = Arc::new(ChainSpec::dev().without_l1_fee());
        Chain { pool: Pool::new(spec, self.config(), state.clone()).expect("readable"), state }
    }

    /// With one rich account.
    fn chain_rich(&self) -> Chain {
        let state = Arc::new(State::default());
        state.accounts.lock().insert(key(1).address, Account { balance: U256::MAX, ..Account::default() });
        self.chain_on(state)
    }
}

#[test]
fn a_restart_restores_the_pool() {
    let disk = disk();
    let chain = disk.chain();
    let mut raw: Vec<Bytes> = (0..300).map(|i| key(i % 30).transfer(i / 30, i % 5, 9)).collect();
    raw.push(key(50).transfer(9, 1, 9));
    assert!(chain.pool.add_raw(&raw).iter().all(Result::is_ok));
    let unsigned = Transaction::from(transfer(0, 1, 2).into_signed(Signature::test_signature()));
    let impersonated =
        chain.pool.add(RecoveredTransaction::new_unchecked(unsigned, key(60).address)).expect("admitted");
    let mut order = chain.best(1);
    assert_eq!(order.len(), 301);
    order.retain(|hash| *hash != impersonated);

    // After a crash, and after clean stops.
    for clean in [false, true, true] {
        if clean {
            chain.pool.save(&Returning::default());
        }
        let restarted = disk.chain();
        assert_eq!(restarted.pool.status(), (300, 1));
        assert_eq!(restarted.best(1), order, "order of arrival included");
        assert!(restarted.pool.get(impersonated).is_none());
        restarted.pool.save(&Returning::default());
    }
}

#[test]
fn what_was_included_meanwhile_is_not_restored() {
    let disk = disk();
    let old = disk.chain();
    for nonce in 0..5 {
        old.insert(key(1).transfer(nonce, 1, 9));
        old.insert(key(2).transfer(nonce, 1, 9));
    }
    let state = Arc::new(State::default());
    state.accounts.lock().insert(key(1).address, Account { balance: ETHER, nonce: 3, ..Account::default() });
    state.accounts.lock().insert(key(2).address, Account { balance: ETHER, nonce: 7, ..Account::default() });
    let restarted = disk.chain_on(state);
    assert_eq!(restarted.pool.status(), (2, 0));
    assert_eq!(restarted.pool.next_nonce(key(1).address), Some(5));
}

#[test]
fn a_torn_end_loses_only_what_it_tears() {
    let disk = disk();
    let hashes: Vec<B256> = {
        let chain = disk.chain();
        (0..3).map(|nonce| chain.insert(key(1).transfer(nonce, 1, 9))).collect()
    };
    let whole = fs::read(&disk.path).expect("written");
    let record = (whole.len() - 8) / 3;
    for len in 0..=whole.len() {
        fs::write(&disk.path, &whole[..len]).expect("writable");
        let records = len.saturating_sub(8) / record;
        let chain = disk.chain();
        assert_eq!(chain.best(1), hashes[..records], "{len} bytes");
        // What follows the damage is readable again.
        let next = chain.insert(key(2).transfer(0, 1, 9));
        assert!(disk.chain().pool.get(next).is_some(), "{len} bytes");
    }
}

#[test]
fn garbage_is_tolerated() {
    let disk = disk();
    {
        let chain = disk.chain();
        for nonce in 0..3 {
            chain.insert(key(1).transfer(nonce, 1, 9));
        }
    }
    let whole = fs::read(&disk.path).expect("written");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&disk.path, damaged).expect("writable");
        let record = (whole.len() - 8) / 3;
        assert_eq!(disk.chain().pool.status(), (at.saturating_sub(8) / record, 0), "byte {at}");
    }
    for garbage in [&b""[..], b"JOVE", &[0xff; 1000], b"JOVEPOL1\xff\xff\xff\xff", b"JOVEPOL1\x00\x00\x00\x00"] {
        fs::write(&disk.path, garbage).expect("writable");
        assert_eq!(disk.chain().pool.status(), (0, 0));
    }
    // A sound record of something that is no transaction is passed over.
    let mut records = whole[..8].to_vec();
    records.extend(3u32.to_le_bytes());
    records.extend(&keccak256([1, 2, 3])[..8]);
    records.extend([1, 2, 3]);
    records.extend(&whole[8..]);
    fs::write(&disk.path, records).expect("writable");
    assert_eq!(disk.chain().pool.status(), (3, 0));
}

#[test]
fn restored_transactions_may_wait_for_funds() {
    let disk = disk();
    let hash = disk.chain().insert(key(1).transfer(0, 1, 9));
    let pool = disk.chain_on(Arc::new(State::default())).pool;
    assert_eq!(pool.status(), (0, 1));
    pool.on_block(
        &block(Vec::new(), L1Prices::default()),
        [(key(1).address, Account { balance: ETHER, ..Account::default() })],
        FLOOR,
    );
    assert_eq!(hashes(&pool.content().0), [hash]);
}

#[test]
fn the_journal_does_not_outgrow_the_pool() {
    let disk = disk();
    let alice = key(1);
    let chain = disk.chain_rich();
    let mut last = B256::ZERO;
    let (mut largest, mut fee, mut rewritten) = (0, u128::from(FLOOR), false);
    for _ in 0..140 {
        fee = fee * 11 / 10 + 1;
        let replacement = TxEip1559 {
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: fee,
            input: vec![0; 130_000].into(),
            gas_limit: 1_400_000,
            ..transfer(0, 0, 0)
        };
        last = chain.insert(alice.sign(replacement).encoded_2718().into());
        let size = fs::metadata(&disk.path).expect("there").len();
        rewritten |= size < largest;
        largest = largest.max(size);
    }
    assert!(rewritten && largest < MIN_REWRITE + 200_000, "{largest}");
    assert_eq!(hashes(&disk.chain_rich().pool.content().0), [last]);
}

#[test]
fn a_journal_that_cannot_be_written_is_an_error_at_start_only() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("missing").join("pool.journal");
    let config = PoolConfig { journal: Some(path), ..PoolConfig::default() };
    let state = Arc::new(State::default());
    assert!(Pool::new(Arc::new(ChainSpec::dev()), config, state).is_err());

    let disk = disk();
    let chain = disk.chain();
    // The directory disappears: rewriting fails, adding does not.
    fs::remove_dir_all(disk.path.parent().expect("it has one")).expect("removable");
    chain.pool.save(&Returning::default());
    chain.insert(key(1).transfer(0, 1, 9));
    assert_eq!(chain.pool.status(), (1, 0));
}
