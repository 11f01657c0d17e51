//! Witnesses: what they show is enough, and nothing else is believed.

use super::*;
use crate::{PartialTrie, Reads, WitnessError};

/// A witness of `reads` and `later` steps in the state after `steps`, and what it is of.
struct Case {
    trie: StateTrie,
    model: Model,
    reads: Reads,
    changes: Vec<ChangeSet>,
    bytes: Vec<u8>,
}

fn case(steps: &[Step], later: &[Step], reads: &[(u8, u8)]) -> Case {
    let (mut trie, mut model) = (StateTrie::default(), Model::default());
    for step in steps {
        trie.apply(&model.step(step));
    }
    let mut asked = Reads::new();
    for (address, slot) in reads {
        asked.entry(address_of(*address)).or_default().insert(U256::from(*slot));
    }
    let mut after = model.clone();
    let changes: Vec<ChangeSet> = later.iter().map(|step| incomplete(&after.step(step))).collect();
    let bytes = trie.witness(&asked, &changes);
    Case { trie, model, reads: asked, changes, bytes }
}

/// Slots of some accounts are cleared one after the other, then accounts go, in blocks of their own.
fn removals(cleared: &[(u8, Vec<u8>)], gone: &[u8]) -> Vec<Step> {
    let clear = |(address, slots): &(u8, Vec<u8>)| {
        let storage = slots.iter().map(|slot| (*slot, 0)).collect();
        vec![Edit { address: *address, nonce: Some(1), balance: 1, wiped: false, storage }]
    };
    let remove = |addresses: &[u8]| {
        let edit =
            |address: &u8| Edit { address: *address, nonce: None, balance: 0, wiped: false, storage: Vec::new() };
        addresses.iter().map(edit).collect()
    };
    cleared.iter().map(clear).chain(gone.chunks(20).map(remove)).collect()
}

fn same(part: &PartialTrie, case: &Case) -> Result<(), TestCaseError> {
    for (address, slots) in &case.reads {
        prop_assert_eq!(part.account(*address), Ok(case.model.account(*address)));
        for slot in slots {
            prop_assert_eq!(part.slot(*address, *slot), Ok(case.model.slot(*address, *slot)));
        }
    }
    Ok(())
}

/// Another address or slot is shown as it is, or not at all.
fn never_wrong(part: &PartialTrie, model: &Model, addresses: u8, slots: u8) -> Result<(), TestCaseError> {
    for address in (0..addresses).map(address_of) {
        if let Ok(account) = part.account(address) {
            prop_assert_eq!(account, model.account(address));
        }
        for slot in (0..slots).map(U256::from) {
            if let Ok(value) = part.slot(address, slot) {
                prop_assert_eq!(value, model.slot(address, slot));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_witness_is_enough(
        steps in vec(edits(60, 12), 1..12),
        later in vec(edits(60, 12), 0..5),
        reads in vec((0..60u8, 0..12u8), 0..20),
    ) {
        let mut case = case(&steps, &later, &reads);
        let mut part = PartialTrie::decode(&case.bytes).expect("a trie");
        prop_assert_eq!(part.root(), case.trie.root());
        same(&part, &case)?;
        never_wrong(&part, &case.model, 60, 12)?;
        for (step, changes) in later.iter().zip(case.changes.clone()) {
            prop_assert_eq!(part.apply(&changes), Ok(case.trie.apply(&changes)));
            case.model.step(step);
            same(&part, &case)?;
            never_wrong(&part, &case.model, 60, 12)?;
        }
    }

    #[test]
    fn removals_need_what_is_beside(
        steps in vec(edits(200, 30), 8..16),
        gone in vec(0..200u8, 1..150),
        cleared in vec((0..200u8, vec(0..30u8, 1..30)), 1..30),
    ) {
        let later = removals(&cleared, &gone);
        let mut case = case(&steps, &later, &[]);
        let mut part = PartialTrie::decode(&case.bytes).expect("a trie");
        for changes in case.changes.clone() {
            prop_assert_eq!(part.apply(&changes), Ok(case.trie.apply(&changes)));
        }
    }

    #[test]
    fn what_moves_up_hides_nothing_from_reads(
        slots in vec(any::<u8>(), 3..6),
        cleared in vec(any::<Index>(), 1..3),
        reads in vec(any::<u8>(), 1..20),
    ) {
        // Few slots: where one goes, others move to where absent ones were looked for.
        let edit = |storage| vec![Edit { address: 1, nonce: Some(1), balance: 1, wiped: false, storage }];
        let steps = [edit(slots.iter().map(|slot| (*slot, 200)).collect())];
        let later: Vec<Step> = cleared.iter().map(|index| edit(vec![(*index.get(&slots), 0)])).collect();
        let reads: Vec<(u8, u8)> = reads.into_iter().map(|slot| (1, slot)).collect();
        let mut case = case(&steps, &later, &reads);
        let mut part = PartialTrie::decode(&case.bytes).expect("a trie");
        for (step, changes) in later.iter().zip(case.changes.clone()) {
            prop_assert_eq!(part.apply(&changes), Ok(case.trie.apply(&changes)));
            case.model.step(step);
            same(&part, &case)?;
        }
    }

    #[test]
    fn removals_are_shown_no_more_than_they_need(
        steps in vec(edits(40, 30), 2..6),
        cleared in vec((0..40u8, vec(0..30u8, 1..30)), 1..6),
        gone in vec(0..40u8, 0..20),
    ) {
        let later = removals(&cleared, &gone);
        let case = case(&steps, &later, &[]);
        let part = PartialTrie::decode(&case.bytes).expect("a trie");
        for index in 0.. {
            let Some(bytes) = part.hiding(index) else { break };
            let mut other = PartialTrie::decode(&bytes).expect("a trie");
            // What is changed was read before.
            let read = |address: &Address, change: &AccountChange| {
                other.account(*address).is_err() || change.storage.keys().any(|slot| other.slot(*address, *slot).is_err())
            };
            let read = case.changes.iter().flat_map(|changes| &changes.accounts).any(|(address, change)| read(address, change));
            let misses = read || case.changes.iter().any(|changes| other.apply(changes).is_err());
            prop_assert_eq!(misses, bytes != case.bytes, "node {}", index);
        }
    }

    #[test]
    fn any_bytes_are_a_trie_or_an_error(bytes in vec(prop_oneof![0..3u8, any::<u8>()], 0..400)) {
        if let Ok(part) = PartialTrie::decode(&bytes) {
            let _ = (part.account(Address::ZERO), part.slot(Address::ZERO, U256::ZERO));
            let change = AccountChange::default();
            let _ = part.clone().apply(&ChangeSet { accounts: [(Address::ZERO, change)].into(), ..Default::default() });
        }
    }
}

#[test]
fn every_altered_byte_is_noticed() {
    let edit = |address: u8| Edit {
        address,
        nonce: Some(u64::from(address)),
        balance: u64::from(address) * 1000,
        wiped: false,
        storage: (0..address % 7).map(|slot| (slot, 100 + slot)).collect(),
    };
    let steps: Vec<Step> = vec![(0..40).map(edit).collect()];
    let case = case(&steps, &[vec![edit(3), edit(50)]], &[(5, 1), (6, 2), (77, 0)]);
    assert!(case.bytes.len() > 500);
    for index in 0..case.bytes.len() {
        for bit in 0..8 {
            let mut bytes = case.bytes.clone();
            bytes[index] ^= 1 << bit;
            let root = PartialTrie::decode(&bytes).map(|part| part.root());
            assert_ne!(root, Ok(case.trie.root()), "byte {index}, bit {bit}");
        }
        assert!(PartialTrie::decode(&case.bytes[..index]).is_err());
    }
    let longer = [case.bytes, vec![0]].concat();
    assert_eq!(PartialTrie::decode(&longer).map(|_| ()), Err(WitnessError::Left(1)));
}

#[test]
fn each_node_can_be_hidden() {
    let edit = |address: u8| Edit {
        address,
        nonce: Some(u64::from(address)),
        balance: u64::from(address) * 1000,
        wiped: false,
        storage: (0..address % 7).map(|slot| (slot, 100 + slot)).collect(),
    };
    let steps: Vec<Step> = vec![(0..40).map(edit).collect()];
    let reads = [(5, 1), (6, 2), (77, 0)];
    let case = case(&steps, &[], &reads);
    let part = PartialTrie::decode(&case.bytes).unwrap();
    let mut missed = 0;
    for index in 0.. {
        let Some(bytes) = part.hiding(index) else { break };
        let other = PartialTrie::decode(&bytes).expect("a trie");
        assert_eq!(other.root(), part.root(), "of the same state");
        let misses = |(address, slot): &(u8, u8)| other.slot(address_of(*address), U256::from(*slot)).is_err();
        let misses = reads.iter().any(misses);
        assert_eq!(misses, bytes != case.bytes, "node {index} is on the way of a read");
        missed += usize::from(misses);
    }
    assert!(missed > 5);
}

#[test]
fn a_witness_of_nothing_is_a_hash() {
    let edit = Edit { address: 1, nonce: Some(1), balance: 1, wiped: false, storage: Vec::new() };
    let case = case(&[vec![edit]], &[], &[]);
    assert_eq!(case.bytes.len(), 33);
    let part = PartialTrie::decode(&case.bytes).unwrap();
    assert_eq!(part.root(), case.trie.root());
    assert!(part.account(address_of(1)).is_err());
    let empty = StateTrie::default();
    let none: [ChangeSet; 0] = [];
    let part = PartialTrie::decode(&empty.witness(&Reads::new(), &none)).unwrap();
    assert_eq!((part.root(), part.account(address_of(1))), (EMPTY_ROOT_HASH, Ok(None)));
}

#[test]
fn depth_is_bounded() {
    // A branch in a branch in a branch, deeper than keys are long.
    let bytes: Vec<u8> = std::iter::once(2).chain([0, 0, 0, 3, 0, 0].repeat(70)).collect();
    assert_eq!(PartialTrie::decode(&bytes).map(|_| ()), Err(WitnessError::Malformed("a branch below the end of keys")));
}
