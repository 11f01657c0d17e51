//! Ledgers against an independent implementation of RFC 6962, altered ones, and power failures.

#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
#[path = "../../../storage/src/tests/disk.rs"]
mod disk;

use crate::{
    Entry, Error, Flag, FlagKind, Flagged, Key, Ledger, MAX_PROOF, MAX_PROOF_FILE, MAX_WITNESS, ProofFile, TAIL,
    check_consistency, check_inclusion,
};
use alloy_primitives::{B256, hex, keccak256};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

fn key() -> Key {
    Key::new("jove.test/5683/blocks", &[42; 32]).unwrap()
}

/// Block `number`, four to a checkpoint.
fn entry(number: u64) -> Entry {
    let word = |salt: u64| keccak256([number.to_be_bytes(), salt.to_be_bytes()].concat());
    let height = number / 4;
    Entry { number, hash: word(1), state_root: word(2), height, digest: keccak256(height.to_be_bytes()) }
}

fn entries(from: u64, count: u64) -> Vec<Entry> {
    (from..from + count).map(entry).collect()
}

fn made(folder: &Path, from: u64, count: u64) -> Ledger {
    let ledger = Ledger::open(folder, key()).unwrap();
    ledger.append(&entries(from, count)).unwrap();
    ledger
}

type Oracle = MemoryBackedTree<Sha256, Vec<u8>>;

fn hashes(bytes: &[u8]) -> Vec<B256> {
    bytes.chunks(32).map(B256::from_slice).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn trees_and_proofs_are_those_of_another_implementation(
        batches in prop::collection::vec(1u64..40, 1..8), first in 0u64..1000, picks in prop::collection::vec(any::<u64>(), 12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), key()).unwrap();
        let mut oracle = Oracle::new();
        let mut next = first;
        let mut roots = vec![(0, ledger.checkpoint().root)];
        for (turn, batch) in batches.iter().enumerate() {
            let batch = entries(next, *batch);
            batch.iter().for_each(|entry| oracle.push(entry.encode()));
            next += batch.len() as u64;
            let checkpoint = ledger.append(&batch).unwrap();
            prop_assert_eq!(checkpoint.root, B256::from_slice(oracle.root().as_bytes()));
            prop_assert_eq!(checkpoint.size, oracle.len());
            prop_assert_eq!(&ledger.verifying_key().open(&checkpoint.note).unwrap(), &checkpoint);
            roots.push((checkpoint.size, checkpoint.root));
            if turn % 3 == 2 {
                drop(ledger);
                ledger = Ledger::open(folder.path(), key()).unwrap();
                prop_assert_eq!(ledger.checkpoint(), checkpoint);
            }
        }
        prop_assert_eq!(ledger.verify_all().unwrap(), ledger.checkpoint());
        prop_assert_eq!(ledger.last(), Some(entry(next - 1)));
        let (size, root) = *roots.last().unwrap();
        for pick in &picks {
            let index = pick % size;
            let proof = ledger.inclusion(index, size).unwrap();
            prop_assert_eq!(&proof, &hashes(oracle.prove_inclusion(index as usize).as_bytes()));
            let leaf = entry(first + index).encode();
            check_inclusion(&root, size, index, &leaf, &proof).unwrap();
            // anything else does not pass
            let mut wrong = proof.clone();
            if let Some(hash) = wrong.get_mut(*pick as usize % proof.len().max(1)) {
                hash.0[7] ^= 1;
                prop_assert!(check_inclusion(&root, size, index, &leaf, &wrong).is_err());
            }
            prop_assert!(check_inclusion(&root, size, index, &entry(first + index + 1).encode(), &proof).is_err());
            prop_assert!(check_inclusion(&root, size, (index + 1) % size, &leaf, &proof).is_err() || size == 1);
            prop_assert!(check_inclusion(&root, size, index + size, &leaf, &proof).is_err());
            let (old, old_root) = roots[*pick as usize % roots.len()];
            let proof = ledger.consistency(old, size).unwrap();
            check_consistency(&old_root, old, &root, size, &proof).unwrap();
            prop_assert!(check_consistency(&old_root, old, &entry(1).hash, size, &proof).is_err() || old == 0);
            prop_assert!(check_consistency(&entry(1).hash, old, &root, size, &proof).is_err());
            if old > 0 && old < size {
                prop_assert_eq!(&proof, &hashes(oracle.prove_consistency((size - old) as usize).as_bytes()));
                prop_assert!(check_consistency(&old_root, old, &root, size, &proof[1..]).is_err());
            }
        }
    }

    #[test]
    fn proofs_from_outside_are_answered(
        size in any::<u64>(), index in any::<u64>(), leaf in prop::collection::vec(any::<u8>(), 0..200), hashes in prop::collection::vec(any::<[u8; 32]>(), 0..140),
        json in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let proof: Vec<B256> = hashes.into_iter().map(B256::new).collect();
        prop_assert!(check_inclusion(&B256::ZERO, size, index, &leaf, &proof).is_err());
        prop_assert!(check_consistency(&B256::ZERO, index, &B256::repeat_byte(1), size, &proof).is_err());
        prop_assert!(ProofFile::from_json(&json).is_err());
    }
}

#[test]
fn proofs_of_great_sizes_end() {
    let proof = vec![B256::repeat_byte(3); MAX_PROOF];
    for size in [u64::MAX, 1 << 63, (1 << 63) + 1] {
        for index in [0, 1, size / 2, size - 1] {
            assert!(matches!(check_inclusion(&B256::ZERO, size, index, &[], &proof), Err(Error::Proof(_))));
            assert!(matches!(check_consistency(&B256::ZERO, index, &B256::ZERO, size, &proof), Err(Error::Proof(_))));
        }
    }
    let long = vec![B256::ZERO; MAX_PROOF + 1];
    assert!(matches!(check_inclusion(&B256::ZERO, 9, 1, &[], &long), Err(Error::Proof("it is too long"))));
}

#[test]
fn only_what_follows_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = made(folder.path(), 7, 9);
    for wrong in [
        vec![entry(15)],
        vec![entry(17)],
        vec![entry(16), entry(18)],
        vec![Entry { height: 3, ..entry(16) }],
        vec![Entry { height: 3, digest: entry(15).digest, ..entry(16) }, Entry { height: 2, ..entry(17) }],
        // of one height there is one checkpoint
        vec![entry(16), Entry { digest: B256::ZERO, ..entry(17) }],
    ] {
        assert!(matches!(ledger.append(&wrong), Err(Error::NotNext { .. })), "{wrong:?}");
    }
    assert_eq!((ledger.size(), ledger.last()), (9, Some(entry(15))));
    assert_eq!(ledger.append(&[]).unwrap(), ledger.checkpoint());
    assert_eq!(ledger.append(&[entry(16)]).unwrap().size, 10);
    assert_eq!(ledger.index_of(7).unwrap(), 0);
    assert_eq!(ledger.entry(9).unwrap(), entry(16));
    for unknown in [6, 17, u64::MAX] {
        assert!(matches!(ledger.index_of(unknown), Err(Error::Unknown(_))));
    }
    assert!(matches!(ledger.inclusion(10, 10), Err(Error::Unknown(_))));
    assert!(matches!(ledger.inclusion(0, 11), Err(Error::Unknown(_))));
    assert!(matches!(ledger.consistency(4, 11), Err(Error::Unknown(_))));
    assert!(matches!(ledger.consistency(4, 3), Err(Error::Unknown(_))));
    assert!(matches!(Ledger::open(folder.path(), key()), Err(Error::Locked)));
}

#[test]
fn a_proof_file_says_what_is_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = made(folder.path(), 0, 50);
    let old = ledger.checkpoint();
    ledger.append(&entries(50, 30)).unwrap();
    let file = ledger.prove(33, Some(&old.note)).unwrap();
    let json = serde_json::to_vec(&file).unwrap();
    let read = ProofFile::from_json(&json).unwrap();
    assert_eq!(read, file);
    assert_eq!(read.verify(ledger.verifying_key()).unwrap(), ledger.checkpoint());
    assert_eq!(read.entry, entry(33));
    // an older checkpoint of another history
    let elsewhere = tempfile::tempdir().unwrap();
    let forked = Ledger::open(elsewhere.path(), key()).unwrap();
    forked.append(&entries(100, 50)).unwrap();
    let mut lie = file.clone();
    lie.older.as_mut().unwrap().checkpoint = forked.checkpoint().note;
    assert!(matches!(lie.verify(ledger.verifying_key()), Err(Error::Proof(_))));
    let mut lie = file.clone();
    lie.entry.state_root = B256::ZERO;
    assert!(matches!(lie.verify(ledger.verifying_key()), Err(Error::Proof(_))));
    let stranger = Key::new("jove.test/5683/blocks", &[43; 32]).unwrap();
    assert!(matches!(file.verify(stranger.verifying_key()), Err(Error::Checkpoint(_))));
    assert!(matches!(ledger.prove(80, None), Err(Error::Unknown(_))));
    assert!(matches!(forked.prove(120, Some(&ledger.checkpoint().note)), Err(Error::Checkpoint(_))));
    let long = [json, vec![b' '; MAX_PROOF_FILE]].concat();
    assert!(matches!(ProofFile::from_json(&long), Err(Error::Proof("the file is too long"))));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["log", "checkpoint"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// Every place in a small ledger's files, flipped; every length, cut.
#[test]
fn whatever_is_altered_or_cut_off_is_noticed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let checkpoint = made(&whole, 1, 11).checkpoint();
    let log = fs::read(whole.join("log")).unwrap();
    let altered = folder.path().join("altered");
    copy(&whole, &altered);
    let path = altered.join("log");
    for place in 0..log.len() {
        let mut bytes = log.clone();
        bytes[place] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Ledger::open(&altered, key()), Err(Error::Altered(_))), "byte {place}");
    }
    for length in 0..log.len() {
        fs::write(&path, &log[..length]).unwrap();
        let error = Ledger::open(&altered, key()).err();
        assert!(matches!(error, Some(Error::Truncated { signed: 11, found }) if found < 11), "{length}: {error:?}");
    }
    fs::write(&path, &log).unwrap();
    assert_eq!(Ledger::open(&altered, key()).unwrap().checkpoint(), checkpoint);
    let note = fs::read(whole.join("checkpoint")).unwrap();
    for place in 0..note.len() {
        let mut bytes = note.clone();
        bytes[place] ^= 0x01;
        fs::write(altered.join("checkpoint"), bytes).unwrap();
        assert!(matches!(Ledger::open(&altered, key()), Err(Error::Checkpoint(_))), "byte {place} of the checkpoint");
    }
    fs::remove_file(altered.join("checkpoint")).unwrap();
    assert!(matches!(Ledger::open(&altered, key()), Err(Error::Checkpoint(_))));
    copy(&whole, &altered);
    fs::remove_file(&path).unwrap();
    assert!(matches!(Ledger::open(&altered, key()), Err(Error::Altered(_))));
    let stranger = Key::new("jove.test/5683/blocks", &[43; 32]).unwrap();
    assert!(matches!(Ledger::open(&whole, stranger), Err(Error::Checkpoint(_))));
}

/// What lies far from the end is found when everything is hashed again, and no proof of it is given out.
#[test]
fn old_leaves_that_were_altered_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let count = TAIL + 500;
    drop(made(folder.path(), 0, count));
    let path = folder.path().join("log");
    let log = fs::read(&path).unwrap();
    let offset = |index: u64| (index * 113 + 32 * tlog_tiles::stored_hash_count(index)) as usize;
    for (index, place) in [(0, 5), (37, 113 + 4), (301, 60), (375, 113 + 32 + 9)] {
        let mut bytes = log.clone();
        bytes[offset(index) + place] ^= 1;
        fs::write(&path, bytes).unwrap();
        let opened = Ledger::open(folder.path(), key());
        let ledger = opened.unwrap();
        assert!(matches!(ledger.verify_all(), Err(Error::Altered(_))), "leaf {index}");
        let audit = Ledger::audit(folder.path(), key().verifying_key());
        assert!(matches!(audit, Err(Error::Altered(_))), "leaf {index}");
        if place < 113 {
            assert!(matches!(ledger.inclusion(index, count), Err(Error::Altered(_))));
        }
    }
    // an altered tail does not open
    let mut bytes = log.clone();
    bytes[offset(count - TAIL) + 60] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Ledger::open(folder.path(), key()), Err(Error::Altered(_))));
    fs::write(&path, &log).unwrap();
    let ledger = Ledger::open(folder.path(), key()).unwrap();
    assert_eq!(ledger.verify_all().unwrap().size, count);
    // an auditor reads along
    assert_eq!(Ledger::audit(folder.path(), key().verifying_key()).unwrap(), ledger.checkpoint());
    fs::write(&path, &log[..log.len() - 1]).unwrap();
    let audit = Ledger::audit(folder.path(), key().verifying_key());
    assert!(matches!(audit, Err(Error::Truncated { found, .. }) if found == count - 1));
}

/// A signed ledger with leaves that do not follow each other, which this program would not write.
#[test]
fn gaps_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let log = crate::log::Log::open(folder.path(), 113, key()).unwrap();
    log.append(&[entry(1).encode(), entry(3).encode()]).unwrap();
    drop(log);
    assert!(matches!(Ledger::open(folder.path(), key()).unwrap().verify_all(), Err(Error::Altered(_))));
}

fn flag(index: u64, witness: &[u8]) -> Flag {
    let kinds = [FlagKind::Transaction, FlagKind::Block, FlagKind::Checkpoint, FlagKind::Validator];
    let kind = kinds[index as usize % 4];
    Flag::new(kind, index as u16, keccak256(index.to_be_bytes()), witness, 1_700_000_000_000 + index, index / 3)
}

#[test]
fn flags_are_kept_with_their_witnesses() {
    let folder = tempfile::tempdir().unwrap();
    let flagged = Flagged::open(folder.path(), key(), 40_000).unwrap();
    let witness = |index: u64| vec![index as u8; 9_000 + index as usize];
    for index in 0..6 {
        assert_eq!(flagged.append(&[(flag(index, &witness(index)), &witness(index))]).unwrap(), 1);
    }
    // the latest witnesses only, all flags
    let kept = |flagged: &Flagged| -> Vec<bool> {
        (0..6).map(|index| flagged.witness(&keccak256(witness(index))).unwrap().is_some()).collect()
    };
    assert_eq!(kept(&flagged), [false, false, true, true, true, true]);
    assert_eq!(flagged.witness(&keccak256(witness(5))).unwrap().unwrap(), witness(5));
    // the same again, and one twice in a batch
    let again = [flag(5, b"other"), flag(6, b""), flag(6, b"")];
    assert_eq!(flagged.append(&again.map(|flag| (flag, &b""[..]))).unwrap(), 1);
    assert_eq!(flagged.size(), 7);
    let long = vec![0; MAX_WITNESS + 1];
    assert!(matches!(flagged.append(&[(flag(9, &long), &long)]), Err(Error::Witness(_))));
    let checkpoint = flagged.checkpoint();
    drop(flagged);
    fs::write(folder.path().join("witnesses/half.new"), "half").unwrap();
    let flagged = Flagged::open(folder.path(), key(), 40_000).unwrap();
    assert_eq!(flagged.checkpoint(), checkpoint);
    assert_eq!(kept(&flagged), [false, false, true, true, true, true]);
    assert_eq!(flagged.append(&[(flag(3, b""), &b""[..])]).unwrap(), 0, "known from before");
    assert_eq!(flagged.flag(4).unwrap(), flag(4, &witness(4)));
    assert!(matches!(flagged.flag(7), Err(Error::Unknown(_))));
    let proof = flagged.inclusion(4, 7).unwrap();
    check_inclusion(&checkpoint.root, 7, 4, &flag(4, &witness(4)).encode(), &proof).unwrap();
    assert_eq!(flagged.verify_all().unwrap(), checkpoint);
    assert!(!folder.path().join("witnesses/half.new").exists());
    let path: PathBuf = folder.path().join("witnesses").join(hex::encode(keccak256(witness(5))));
    fs::write(&path, "altered").unwrap();
    assert!(matches!(flagged.verify_all(), Err(Error::Altered(_))));
    fs::remove_file(path).unwrap();
    assert_eq!(flagged.witness(&keccak256(witness(5))).unwrap(), None);
}

#[test]
fn leaves_decode_to_what_was_encoded() {
    for index in 0..200 {
        assert_eq!(Entry::decode(&entry(index).encode()).unwrap(), entry(index));
        let flag = flag(index, &[index as u8]);
        assert_eq!(Flag::decode(&flag.encode()).unwrap(), flag);
        assert!(Entry::decode(&flag.encode()).is_err() && Flag::decode(&entry(index).encode()).is_err());
        let mut unknown = flag.encode();
        unknown[1] = 5;
        assert!(Flag::decode(&unknown).is_err());
    }
    for length in 0..113 {
        assert!(Entry::decode(&entry(1).encode()[..length]).is_err());
    }
}

/// The format on disk and of leaves and notes: a change here makes ledgers that exist unreadable, and needs another name.
#[test]
fn the_format_is_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = made(&folder.path().join("blocks"), 3, 300);
    let flagged = Flagged::open(&folder.path().join("flagged"), key(), 1 << 20).unwrap();
    for index in 0..50 {
        flagged.append(&[(flag(index, &[index as u8; 40]), &[index as u8; 40])]).unwrap();
    }
    let mut all = Sha256::new();
    for path in ["blocks/log", "blocks/checkpoint", "flagged/log", "flagged/checkpoint"] {
        all.update(fs::read(folder.path().join(path)).unwrap());
    }
    all.update(serde_json::to_vec(&ledger.prove(77, None).unwrap()).unwrap());
    all.update(ledger.verifying_key().to_string());
    assert_eq!(hex::encode(all.finalize()), "f043e4b8796cfa46b173e9e23f83a700280f6b8d11f7666c1d99f3bb9e421344");
}
