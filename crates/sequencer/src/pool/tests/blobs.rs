//! Blob transactions: what is checked, what it takes to replace one, which a block takes, and the journal.

#[path = "../../../tests/blob/mod.rs"]
mod blob;

use super::*;
use crate::pool::{Room, Sidecar, transaction_hash};
use alloy_consensus::TxEip4844;
use alloy_eips::eip4844::{BlobTransactionSidecar, Bytes48};
use alloy_primitives::address;
use blob::{network_form, sidecar, sign, signed, transaction};
use std::collections::HashSet;

const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const BLOB: u64 = 131_072;
/// A block without limits of its own.
const ROOM: Room = Room { base_fee: 1, gas: u64::MAX, blob_base_fee: 1, blob_gas: 9 * BLOB };

fn l1(config: PoolConfig) -> Chain {
    let chain = chain_of(ChainSpec::l1(900, 1), config);
    chain.set(ALICE, Account { balance: ETHER, ..Account::default() });
    chain
}

fn refused(tx: TxEip4844, sidecar: Sidecar) -> String {
    l1(PoolConfig::default()).add(network_form(tx, sidecar).1).expect_err("refused").to_string()
}

#[test]
fn a_proven_blob_transaction_is_admitted_whole() {
    let chain = l1(PoolConfig::default());
    let (hash, raw) = signed(0, &[0, 1]);
    assert_eq!(chain.add(raw.clone()), Ok(hash));
    assert_eq!(chain.add(raw), Err(PoolError::AlreadyKnown));
    assert_eq!(chain.pool.sidecar(&hash).as_deref(), Some(&sidecar(&[0, 1])));
    let pooled = chain.pool.get(hash).expect("there");
    assert_eq!(pooled.transaction.encoded_2718()[0], 3);
    assert!(pooled.transaction.encoded_2718().len() < 300, "without its blobs");
    assert_eq!(chain.pool.candidates(ROOM).len(), 1);
}

#[test]
fn what_a_sidecar_lacks_is_named_as_geth_names_it() {
    let tx = || transaction(0, &[0, 1]);
    let both = || sidecar(&[0, 1]);
    let text = refused(TxEip4844 { max_fee_per_blob_gas: 0, ..tx() }, both());
    assert_eq!(text, "transaction gas price below minimum: blob fee cap 0, minimum needed 1");
    let none = TxEip4844 { blob_versioned_hashes: Vec::new(), ..tx() };
    assert_eq!(refused(none, sidecar(&[])), "blobless blob transaction");
    let seven = TxEip4844 { blob_versioned_hashes: vec![B256::ZERO; 7], ..tx() };
    assert_eq!(refused(seven, both()), "transaction blob limit exceeded: blob count 7, limit 6");
    assert_eq!(refused(tx(), sidecar(&[0])), "invalid number of 1 blob commitments compared to 2 blob hashes");
    let mut short = both();
    short.blobs.pop();
    assert_eq!(refused(tx(), short), "invalid number of 1 blobs compared to 2 commitments");
    let mut short = both();
    short.cell_proofs.pop();
    assert_eq!(refused(tx(), short), "sidecar format error: invalid number of 255 blob proofs expected 256");
    let text = refused(tx(), sidecar(&[1, 0]));
    assert!(
        text.starts_with("blob 0: computed hash 0x01") && text.contains(" mismatches transaction one 0x01"),
        "{text}"
    );
}

#[test]
fn blobs_must_be_what_their_commitments_commit_to() {
    let edits: [fn(&mut Sidecar); 5] = [
        |sidecar| sidecar.blobs[1].0[31] ^= 1,
        |sidecar| sidecar.blobs.swap(0, 1),
        |sidecar| sidecar.cell_proofs.swap(0, 1),
        |sidecar| sidecar.blobs[0].0[0] = 0xff, // no field element
        |sidecar| sidecar.cell_proofs[7] = Bytes48::repeat_byte(0x55), // no point
    ];
    for edit in edits {
        let mut wrong = sidecar(&[0, 1]);
        edit(&mut wrong);
        let text = refused(transaction(0, &[0, 1]), wrong);
        assert!(text.starts_with("KZG verification error: "), "{text}");
    }
}

#[test]
fn other_forms_are_refused_and_a_jove_chain_refuses_all() {
    let chain = l1(PoolConfig::default());
    let tx = transaction(0, &[0]);
    let signature = sign(tx.signature_hash());
    let bare: Bytes = tx.clone().into_signed(signature).encoded_2718().into();
    assert_eq!(chain.add(bare), Err(PoolError::MissingSidecar));
    let (blobs, commitments) = (sidecar(&[0]).blobs, sidecar(&[0]).commitments);
    let old = BlobTransactionSidecar::new(blobs, commitments.clone(), commitments);
    let old: Bytes = tx.with_sidecar(old).into_signed(signature).encoded_2718().into();
    let error = chain.add(old).expect_err("refused");
    assert_eq!(error.to_string(), "sidecar format error: unexpected sidecar version, want: 1, got: 0");

    let (_, raw) = signed(0, &[0]);
    assert_eq!(chain_of(ChainSpec::dev(), PoolConfig::default()).add(raw.clone()), Err(PoolError::BlobsNotAccepted));
    for cut in [2, 3, 10, 400, raw.len() / 2, raw.len() - 1] {
        let cut = raw.slice(..cut);
        assert!(matches!(chain.add(cut), Err(PoolError::Rlp(_))));
    }
    let long = [raw.as_ref(), &[0]].concat();
    assert!(matches!(chain.add(long.into()), Err(PoolError::Rlp(_))));
    let huge = vec![3; super::super::MAX_BLOB_TRANSACTION_SIZE + 1];
    assert!(matches!(chain.add(huge.into()), Err(PoolError::Oversized { .. })));
}

#[test]
fn a_hash_leaves_the_blobs_out() {
    let (hash, raw) = signed(5, &[2]);
    assert_eq!(transaction_hash(&raw), hash);
    let plain = key(1).transfer(0, 1, 2);
    assert_eq!(transaction_hash(&plain), keccak256(&plain));
    for cut in 0..100 {
        transaction_hash(&raw[..cut]);
    }
}

#[test]
fn to_replace_one_takes_twice_every_fee() {
    let chain = l1(PoolConfig::default());
    let old = transaction(0, &[0]);
    chain.insert(network_form(old.clone(), sidecar(&[0])).1);
    let double = TxEip4844 {
        max_fee_per_gas: 2 * old.max_fee_per_gas,
        max_priority_fee_per_gas: 2 * old.max_priority_fee_per_gas,
        max_fee_per_blob_gas: 2 * old.max_fee_per_blob_gas,
        blob_versioned_hashes: blob::hashes(&[1]),
        ..old.clone()
    };
    let short: [fn(&mut TxEip4844); 3] =
        [|tx| tx.max_fee_per_gas -= 1, |tx| tx.max_priority_fee_per_gas -= 1, |tx| tx.max_fee_per_blob_gas -= 1];
    for edit in short {
        let mut tx = double.clone();
        edit(&mut tx);
        assert_eq!(chain.add(network_form(tx, sidecar(&[1])).1), Err(PoolError::ReplacementUnderpriced));
    }
    // One without blobs does not take its place, whatever it pays.
    assert_eq!(chain.add(plain(0, 400)), Err(PoolError::AddressReserved));
    let hash = chain.insert(network_form(double, sidecar(&[1])).1);
    assert_eq!(chain.pool.status(), (1, 0));
    assert!(chain.pool.sidecar(&hash).is_some());
}

/// Alice's transfer with these percents of a blob transaction's fees, and no blobs.
fn plain(nonce: u64, percent: u128) -> Bytes {
    let blobs = transaction(nonce, &[0]);
    let tx = TxEip1559 {
        chain_id: 900,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: blobs.max_fee_per_gas * percent / 100,
        max_priority_fee_per_gas: blobs.max_priority_fee_per_gas * percent / 100,
        to: TxKind::Call(ALICE),
        ..Default::default()
    };
    let signature = sign(tx.signature_hash());
    Transaction::from(tx.into_signed(signature)).encoded_2718().into()
}

#[test]
fn a_sender_has_blobs_or_none() {
    let chain = l1(PoolConfig::default());
    chain.insert(signed(0, &[0]).1);
    let error = chain.add(plain(1, 100)).expect_err("beside one with blobs");
    assert_eq!(error.to_string(), "address already reserved");
    chain.insert(signed(1, &[1]).1);
    let taken: Vec<PooledTransaction> = chain.pool.best(1).collect();
    chain.seal(&taken, &[], L1Prices::default());
    chain.insert(plain(2, 100));
    assert_eq!(chain.add(signed(3, &[2]).1), Err(PoolError::AddressReserved), "the other way round");
    assert_eq!(chain.add(signed(2, &[2]).1), Err(PoolError::AddressReserved), "nor in its place");
    chain.insert(plain(4, 100));
}

#[test]
fn blob_transactions_of_a_sender_are_few_and_without_a_gap() {
    let chain = l1(PoolConfig::default());
    let error = chain.add(signed(1, &[0]).1).expect_err("a gap");
    assert_eq!(error.to_string(), "nonce too high: tx nonce 1, gapped nonce 0");
    for nonce in 0..16 {
        chain.insert(signed(nonce, &[0]).1);
    }
    assert_eq!(chain.add(signed(18, &[0]).1), Err(PoolError::NonceTooHigh { nonce: 18, gap: 16 }));
    let error = chain.add(signed(16, &[0]).1).expect_err("one too many");
    assert_eq!(error.to_string(), "account limit exceeded: pooled 16 txs");
    let dear = transaction(15, &[0]);
    let dear = TxEip4844 {
        max_fee_per_gas: 2 * dear.max_fee_per_gas,
        max_priority_fee_per_gas: 2 * dear.max_priority_fee_per_gas,
        max_fee_per_blob_gas: 2 * dear.max_fee_per_blob_gas,
        ..dear
    };
    chain.insert(network_form(dear, sidecar(&[0])).1);
    assert_eq!(chain.pool.status(), (16, 0), "a replacement is not one more");
}

/// A transaction of key `n` with six blobs: ten of them fill the smallest pool.
fn large(n: u64, tip: u128, blob_cap: u128) -> Bytes {
    let seeds = [0, 1, 2, 3, 4, 5];
    let tx = TxEip4844 { max_priority_fee_per_gas: tip, max_fee_per_blob_gas: blob_cap, ..transaction(0, &seeds) };
    let signature = key(n).sign_hash(tx.signature_hash());
    tx.with_sidecar(sidecar(&seeds)).into_signed(signature).encoded_2718().into()
}

#[test]
fn blobs_make_room_only_for_each_other_and_who_pays_too_little_for_them_goes_first() {
    let chain = l1(PoolConfig { max_transactions: 100, ..Default::default() });
    let plain = |n: u64| {
        let tx =
            TxEip1559 { chain_id: 900, gas_limit: 1_400_000, input: vec![0; 130_900].into(), ..transfer(0, 0, 200) };
        key(n).sign(tx).encoded_2718().into()
    };
    // Alice's cap is too low, and her tip the highest of all.
    let low = TxEip4844 {
        max_priority_fee_per_gas: 2_000_000_000,
        max_fee_per_blob_gas: 6,
        ..transaction(0, &[0, 1, 2, 3, 4, 5])
    };
    let low = chain.insert(network_form(low, sidecar(&[0, 1, 2, 3, 4, 5])).1);
    let mut hashes: Vec<B256> = (1..10).map(|n| chain.insert(large(n, 1_000_000 + u128::from(n), 100))).collect();
    assert_eq!(chain.pool.status(), (10, 0));
    // Sixty-four without blobs fill their own bytes, whatever they tip.
    for n in 20..84 {
        chain.insert(plain(n));
    }
    assert_eq!(chain.pool.status(), (74, 0));
    assert_eq!(chain.add(plain(84)), Err(PoolError::Underpriced), "none goes for one that pays as much");

    chain.pool.set_blob_base_fee(7);
    assert_eq!(
        chain.add(large(10, 1_000_000_000, 6)),
        Err(PoolError::Underpriced),
        "it would wait as well, and tips less"
    );
    hashes.push(chain.insert(large(10, 1_000_000, 7)));
    assert!(chain.pool.get(low).is_none(), "what waits for blobs to cost less goes first");
    assert!(hashes.iter().all(|hash| chain.pool.get(*hash).is_some()));
    // Of those that could be included, the cheapest.
    assert_eq!(chain.add(large(11, 1_000_000, 100)), Err(PoolError::Underpriced));
    chain.insert(large(11, 1_000_001, 100));
    assert!(chain.pool.get(hashes[9]).is_none());
    assert_eq!(chain.pool.status(), (74, 0));
}

#[test]
fn blobs_cost_what_they_may_cost_at_most() {
    let chain = l1(PoolConfig::default());
    let tx = TxEip4844 { max_fee_per_blob_gas: u128::from(u64::MAX), ..transaction(0, &[0]) };
    let error = chain.add(network_form(tx, sidecar(&[0])).1).expect_err("an ether is not enough");
    assert!(matches!(error, PoolError::InsufficientFunds(_)), "{error}");
}

#[test]
fn a_block_takes_what_fits_and_pays_and_the_others_wait() {
    let chain = l1(PoolConfig::default());
    let hashes: Vec<B256> = [&[0, 1, 2, 3, 4, 5][..], &[0, 1, 2, 3], &[4]]
        .into_iter()
        .zip(0..)
        .map(|(seeds, nonce)| chain.insert(signed(nonce, seeds).1))
        .collect();
    let plain = chain.insert(key(1).sign(TxEip1559 { chain_id: 900, ..transfer(0, 1, 200) }).encoded_2718().into());
    let taken = |room: Room| chain.pool.candidates(room).iter().map(|tx| *tx.tx_hash()).collect::<HashSet<_>>();
    assert_eq!(taken(ROOM), HashSet::from([hashes[0], plain]), "ten do not fit, and what comes after them waits");
    assert_eq!(taken(Room { blob_gas: 10 * BLOB, ..ROOM }), HashSet::from([hashes[0], hashes[1], plain]));
    let cap = transaction(0, &[]).max_fee_per_blob_gas;
    assert_eq!(taken(Room { blob_base_fee: cap, ..ROOM }).len(), 2);
    assert_eq!(taken(Room { blob_base_fee: cap + 1, ..ROOM }), HashSet::from([plain]));
    assert_eq!(chain.pool.status(), (4, 0));
}

#[test]
fn a_restart_keeps_the_blobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || PoolConfig { journal: Some(folder.path().join("pool.rlp")), ..Default::default() };
    let chain = l1(config());
    let (hash, raw) = signed(0, &[0, 1]);
    chain.insert(raw);
    let plain = key(1).sign(TxEip1559 { chain_id: 900, ..transfer(0, 1, 2) }).encoded_2718();
    chain.insert(plain.into());
    // As appended, and as rewritten.
    for _ in 0..2 {
        let state = chain.state.clone();
        let again = Pool::new(Arc::new(ChainSpec::l1(900, 1)), config(), state).expect("readable");
        assert_eq!(again.status(), (2, 0));
        assert_eq!(again.sidecar(&hash).as_deref(), Some(&sidecar(&[0, 1])));
    }
}

/// A sidecar of another blob, whose proofs prove nothing.
fn unproven() -> Sidecar {
    let mut sidecar = sidecar(&[3]);
    sidecar.blobs[0].0[31] ^= 1;
    sidecar
}

#[test]
fn a_withdrawn_blocks_blobs_return_if_they_are_found() {
    for found in [true, false] {
        let chain = l1(PoolConfig::default());
        let hash = chain.insert(signed(0, &[3]).1);
        let pooled = chain.pool.get(hash).expect("there");
        let before = chain.state.account(ALICE);
        let block = Arc::new(chain.seal(&[pooled], &[], L1Prices::default()));
        assert_eq!(chain.pool.status(), (0, 0));
        chain.set(ALICE, before);
        // What was proven when it came in is not proven again.
        let returning = chain.pool.returning(&[block], |_| found.then(unproven));
        chain.pool.on_unwound(L1Prices::default(), 1);
        chain.pool.readmit(returning);
        assert_eq!(chain.pool.sidecar(&hash).is_some(), found);
    }
}

#[test]
fn a_crash_while_blocks_are_withdrawn_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || PoolConfig { journal: Some(folder.path().join("pool.rlp")), ..Default::default() };
    let chain = l1(config());
    let withdrawn = chain.insert(signed(0, &[0]).1);
    let before = chain.state.account(ALICE);
    let pooled = chain.pool.get(withdrawn).expect("there");
    let block = Arc::new(chain.seal(&[pooled], &[], L1Prices::default()));
    let waiting = chain.insert(signed(1, &[1]).1);
    chain.pool.save(&chain.pool.returning(&[block], |_| Some(sidecar(&[0]))));
    // Before the blocks are withdrawn, and after: a start writes down what it found, so each has the file as it was.
    let file = folder.path().join("pool.rlp");
    let written = std::fs::read(&file).expect("readable");
    let restart = || {
        std::fs::write(&file, &written).expect("written");
        let pool = Pool::new(Arc::new(ChainSpec::l1(900, 1)), config(), chain.state.clone()).expect("readable");
        pool.best(1).map(|pooled| pooled.hash).collect::<Vec<_>>()
    };
    assert_eq!(restart(), [waiting]);
    chain.set(ALICE, before);
    assert_eq!(restart(), [withdrawn, waiting]);
}

#[test]
fn a_restart_takes_what_was_proven_as_proven_and_leaves_out_what_is_in_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || PoolConfig { journal: Some(folder.path().join("pool.rlp")), ..Default::default() };
    let chain = l1(config());
    let hash = chain.insert(signed(0, &[3]).1);
    let before = chain.state.account(ALICE);
    let pooled = chain.pool.get(hash).expect("there");
    let block = Arc::new(chain.seal(&[pooled], &[], L1Prices::default()));
    chain.set(ALICE, before);
    chain.pool.save(&chain.pool.returning(&[block], |_| Some(unproven())));
    let restart = || Pool::new(Arc::new(ChainSpec::l1(900, 1)), config(), chain.state.clone()).expect("readable");
    assert_eq!(restart().sidecar(&hash).as_deref(), Some(&unproven()));
    // Known by its hash, not by that of its network form.
    chain.state.included.lock().insert(hash);
    assert_eq!(restart().status(), (0, 0));
}
