//! The trie against a plain map and `alloy-trie`.

mod partial;

use crate::{
    AccountProof, Kernel, ProofError, StateTrie,
    node::{Kind, Node, NodeId, Nodes},
};
use alloy_primitives::{Address, B256, Bytes, U256, address, b256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer};
use jove_primitives::{Account, AccountChange, Change, ChangeSet};
use proptest::{collection::vec, option, prelude::*, sample::Index};
use std::collections::BTreeMap;

/// Root of the trie of sorted keys and values, and the proofs of `targets`, by `alloy-trie`.
fn reference(leaves: &BTreeMap<B256, Vec<u8>>, targets: &[B256]) -> (B256, Vec<Vec<Bytes>>) {
    let paths = || targets.iter().map(Nibbles::unpack);
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::from_iter(paths()));
    leaves.iter().for_each(|(key, value)| builder.add_leaf(Nibbles::unpack(key), value));
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let proof = |path: Nibbles| {
        let nodes = nodes.matching_nodes_sorted(&path).into_iter().map(|(_, node)| node);
        // Ours is as geth's: nothing for an empty trie, and no node twice.
        nodes.enumerate().filter(|(i, n)| n[..] != [0x80] && (*i == 0 || n.len() >= 32)).map(|(_, n)| n).collect()
    };
    (root, paths().map(proof).collect())
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelAccount {
    account: Account,
    storage: BTreeMap<U256, U256>,
}

impl ModelAccount {
    fn storage_root(&self) -> B256 {
        let key = |slot: &U256| keccak256(slot.to_be_bytes::<32>());
        let leaves = self.storage.iter().map(|(slot, value)| (key(slot), alloy_rlp::encode(value))).collect();
        reference(&leaves, &[]).0
    }
}

/// The state as plain maps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<Address, ModelAccount>);

impl Model {
    fn root(&self) -> B256 {
        let leaf = |(address, account): (&Address, &ModelAccount)| {
            let Account { nonce, balance, code_hash } = account.account;
            let value = TrieAccount { nonce, balance, code_hash, storage_root: account.storage_root() };
            (keccak256(address), alloy_rlp::encode(value))
        };
        reference(&self.0.iter().map(leaf).collect(), &[]).0
    }

    fn account(&self, address: Address) -> Option<Account> {
        self.0.get(&address).map(|account| account.account)
    }

    fn slot(&self, address: Address, slot: U256) -> U256 {
        self.0.get(&address).and_then(|account| account.storage.get(&slot)).copied().unwrap_or_default()
    }

    /// Applies a step, and returns it as a complete change set.
    fn step(&mut self, step: &Step) -> ChangeSet {
        let mut changes = ChangeSet::default();
        for edit in step {
            let address = address_of(edit.address);
            // A block has one change an account.
            if changes.accounts.contains_key(&address) {
                continue;
            }
            let before = self.0.get(&address).cloned();
            let wiped = edit.wiped || (before.is_none() && edit.nonce.is_some());
            let account = edit.nonce.map(|nonce| Account {
                nonce,
                balance: U256::from(edit.balance),
                code_hash: if edit.balance % 3 == 0 {
                    keccak256(edit.balance.to_be_bytes())
                } else {
                    Account::default().code_hash
                },
            });
            let mut storage: BTreeMap<U256, Change<U256>> = BTreeMap::new();
            let old = before.clone().unwrap_or_default();
            if wiped || account.is_none() {
                let erase = |(slot, value): (&U256, &U256)| (*slot, Change { before: *value, after: U256::ZERO });
                storage.extend(old.storage.iter().map(erase));
            }
            if account.is_some() {
                for (slot, value) in &edit.storage {
                    let (slot, value) = (U256::from(*slot), value_of(*value));
                    let before = old.storage.get(&slot).copied().unwrap_or_default();
                    storage.insert(slot, Change { before, after: value });
                }
            }
            match account {
                None => _ = self.0.remove(&address),
                Some(account) => {
                    let entry = self.0.entry(address).or_default();
                    entry.account = account;
                    for (slot, change) in &storage {
                        if change.after.is_zero() {
                            entry.storage.remove(slot);
                        } else {
                            entry.storage.insert(*slot, change.after);
                        }
                    }
                }
            }
            let account = Change { before: before.map(|before| before.account), after: account };
            changes.accounts.insert(address, AccountChange { account, wiped, storage });
        }
        changes
    }
}

/// One account's part in a block.
#[derive(Clone, Debug)]
struct Edit {
    address: u8,
    /// `None` removes the account.
    nonce: Option<u64>,
    balance: u64,
    wiped: bool,
    storage: Vec<(u8, u8)>,
}

type Step = Vec<Edit>;

fn address_of(index: u8) -> Address {
    Address::with_last_byte(index)
}

/// Values of every length, small ones and zero often.
fn value_of(seed: u8) -> U256 {
    match seed {
        0..96 => U256::ZERO,
        96..160 => U256::from(seed - 95),
        _ => U256::MAX >> (8 * (seed as usize % 32)),
    }
}

fn edits(addresses: u8, slots: u8) -> impl Strategy<Value = Step> {
    let edit = (
        0..addresses,
        option::weighted(0.8, 0..3u64),
        prop_oneof![0..4u64, any::<u64>()],
        prop::bool::weighted(0.1),
        vec((0..slots, any::<u8>()), 0..12),
    );
    let edit =
        edit.prop_map(|(address, nonce, balance, wiped, storage)| Edit { address, nonce, balance, wiped, storage });
    vec(edit, 0..12)
}

/// Reads and proofs of every address and slot of a small universe.
fn check(trie: &StateTrie, model: &Model, addresses: u8, slots: u8) -> Result<(), TestCaseError> {
    prop_assert_eq!(trie.root(), model.root());
    prop_assert_eq!(trie.len(), model.0.len());
    prop_assert_eq!(trie.slots(), model.0.values().map(|account| account.storage.len()).sum::<usize>());
    let slots: Vec<U256> = (0..slots).map(U256::from).collect();
    for address in (0..addresses).map(address_of) {
        prop_assert_eq!(trie.account(address), model.account(address));
        let proof = trie.prove(address, &slots);
        prop_assert_eq!(proof.account, model.account(address));
        prop_assert_eq!(proof.storage_root, model.0.get(&address).map_or(EMPTY_ROOT_HASH, |a| a.storage_root()));
        for (slot, proof) in slots.iter().zip(&proof.slots) {
            prop_assert_eq!(trie.slot(address, *slot), model.slot(address, *slot));
            prop_assert_eq!((proof.slot, proof.value), (*slot, model.slot(address, *slot)));
        }
        prop_assert_eq!(proof.verify(trie.root(), address), Ok(()));
    }
    Ok(())
}

/// Every node that is not free can be reached, and every node is clean.
fn check_nodes(trie: &StateTrie) -> Result<(), TestCaseError> {
    let (mut branches, mut leaves) = (0, 0);
    let mut stack = vec![trie.root];
    while let Some(id) = stack.pop() {
        match id.node() {
            Node::Nil => {}
            Node::Branch(index) => {
                let branch = trie.nodes.branches.get(index);
                prop_assert!(branch.only_child().is_none() && branch.dirty == 0);
                stack.extend(branch.children);
                branches += 1;
            }
            Node::Account(index) => {
                let value = trie.nodes.accounts.get(index).value;
                prop_assert!(!value.storage_dirty);
                stack.push(value.storage);
                leaves += 1;
            }
            Node::Slot(_) => leaves += 1,
            Node::Hidden(_) => prop_assert!(false, "nothing of the whole state is hidden"),
        }
    }
    prop_assert_eq!(trie.nodes.branches.len(), branches);
    prop_assert_eq!(trie.len() + trie.slots(), leaves);
    Ok(())
}

/// The change set as a block leaves it, before the store completes it: erased slots are not listed.
fn incomplete(changes: &ChangeSet) -> ChangeSet {
    let mut changes = changes.clone();
    for change in changes.accounts.values_mut() {
        if change.wiped || change.account.after.is_none() {
            change.storage.retain(|_, value| !value.after.is_zero());
        }
    }
    changes
}

fn history(steps: &[Step], addresses: u8, slots: u8) -> Result<(), TestCaseError> {
    let mut tries: Vec<StateTrie> = Kernel::available().map(StateTrie::with_kernel).collect();
    let mut by_incomplete = StateTrie::default();
    let (mut model, mut before) = (Model::default(), Vec::new());
    for step in steps {
        before.push((tries[0].clone(), model.clone()));
        let changes = model.step(step);
        for trie in &mut tries {
            let root = trie.apply(&changes);
            prop_assert_eq!(root, trie.root());
            prop_assert_eq!(root, model.root());
        }
        check(&tries[0], &model, addresses, slots)?;
        check_nodes(&tries[0])?;
        prop_assert_eq!(by_incomplete.apply(&incomplete(&changes)), model.root());
        check_nodes(&by_incomplete)?;
    }
    // The whole history at once.
    let mut replay = Model::default();
    let all: Vec<ChangeSet> = steps.iter().map(|step| replay.step(step)).collect();
    let mut at_once = StateTrie::default();
    prop_assert_eq!(at_once.apply_all(&all), tries[0].root());
    check_nodes(&at_once)?;
    // Back again, step by step; the snapshots kept on the way have not moved.
    for (changes, (snapshot, model)) in all.iter().zip(&before).rev() {
        let root = tries[0].apply(&changes.reversed());
        prop_assert_eq!(root, model.root());
        check(&tries[0], model, addresses, slots)?;
        check_nodes(&tries[0])?;
        prop_assert_eq!(snapshot.root(), root);
        check(snapshot, model, addresses, slots)?;
    }
    prop_assert_eq!(at_once.apply_all(all.iter().rev().map(ChangeSet::reversed)), EMPTY_ROOT_HASH);
    prop_assert!(at_once.is_empty() && at_once.slots() == 0);
    check_nodes(&at_once)
}

/// A key all of whose nibbles but four are fixed, so that paths are long, forks deep and leaves short.
fn crafted_key(seed: u16) -> B256 {
    let mut key = [0xaa; 32];
    // Where the four free nibbles stand: at the top, in the middle, and at the end, where nodes are embedded.
    key[0] = if seed & 0x8000 == 0 { 0xaa } else { 0xab };
    key[15] = (seed >> 8) as u8 & 0x13;
    key[30] = (seed >> 4) as u8 & 0x33;
    key[31] = seed as u8;
    B256::new(key)
}

fn check_crafted(
    nodes: &mut Nodes,
    root: NodeId,
    model: &BTreeMap<B256, U256>,
    kernel: Kernel,
) -> Result<(), TestCaseError> {
    let targets: Vec<B256> = (0..64).map(|i| crafted_key(i * 1031)).chain(model.keys().copied()).collect();
    let leaves = model.iter().map(|(key, value)| (*key, alloy_rlp::encode(value))).collect();
    let (expected, proofs) = reference(&leaves, &targets);
    let found = if root.is_nil() { EMPTY_ROOT_HASH } else { nodes.commit(root, kernel) };
    prop_assert_eq!(found, expected);
    for (key, expected) in targets.iter().zip(proofs) {
        let value = match nodes.find(root, key).node() {
            Node::Slot(index) => Some(nodes.slots.get(index).value),
            _ => None,
        };
        prop_assert_eq!(value, model.get(key).copied());
        let proof = nodes.prove(root, key);
        let value = value.map(alloy_rlp::encode);
        let verified = alloy_trie::proof::verify_proof(found, Nibbles::unpack(key), value, &proof);
        prop_assert_eq!(verified, Ok(()));
        prop_assert_eq!(proof, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_of_few_accounts(steps in vec(edits(6, 10), 1..12)) {
        history(&steps, 6, 10)?;
    }

    #[test]
    fn random_histories_of_many_accounts(steps in vec(vec(edits(255, 40), 1..12), 1..4)) {
        let steps: Vec<Step> = steps.into_iter().map(|steps| steps.concat()).collect();
        history(&steps, 255, 0)?;
    }

    #[test]
    fn long_shared_prefixes(
        batches in vec(vec((any::<u16>(), any::<u8>()), 1..30), 1..10),
        mask in prop_oneof![Just(0x800fu16), Just(0x0333), Just(0x00ff), Just(0xffff)],
        removals in vec(any::<Index>(), 0..40),
    ) {
        let kernel = Kernel::default();
        let (mut nodes, mut root, mut model) = (Nodes::default(), NodeId::NIL, BTreeMap::new());
        for batch in batches {
            for (seed, value) in batch {
                let (key, value) = (crafted_key(seed & mask), value_of(value));
                nodes.set_slot(&mut root, &key, value).unwrap();
                if value.is_zero() { model.remove(&key) } else { model.insert(key, value) };
            }
            check_crafted(&mut nodes, root, &model, kernel)?;
        }
        for removal in removals {
            if !model.is_empty() {
                let key = *removal.get(&model.keys().copied().collect::<Vec<_>>());
                nodes.set_slot(&mut root, &key, U256::ZERO).unwrap();
                model.remove(&key);
                check_crafted(&mut nodes, root, &model, kernel)?;
            }
        }
        prop_assert_eq!(nodes.slots.len(), model.len());
        nodes.drop_trie(&mut root);
        prop_assert_eq!((nodes.branches.len(), nodes.slots.len()), (0, 0));
    }

    #[test]
    fn snapshots_are_isolated_both_ways(first in edits(20, 10), ours in edits(20, 10), theirs in edits(20, 10)) {
        let (mut trie, mut model) = (StateTrie::default(), Model::default());
        trie.apply(&model.step(&first));
        let (mut fork, mut fork_model) = (trie.clone(), model.clone());
        let frozen = trie.clone();
        let frozen_model = model.clone();
        trie.apply(&model.step(&ours));
        fork.apply(&fork_model.step(&theirs));
        for (trie, model) in [(&trie, &model), (&fork, &fork_model), (&frozen, &frozen_model)] {
            check(trie, model, 20, 10)?;
            check_nodes(trie)?;
        }
    }

    #[test]
    fn altered_proofs_do_not_verify(step in edits(10, 10), index in any::<Index>(), byte in any::<Index>(), flip in 1..=255u8) {
        let (mut trie, mut model) = (StateTrie::default(), Model::default());
        trie.apply(&model.step(&step));
        for address in (0..10).map(address_of) {
            let honest = trie.prove(address, &[U256::from(1)]);
            let mut proofs = vec![honest.clone(); 6];
            proofs[0].account = match honest.account {
                None => Some(Account::default()),
                Some(account) => Some(Account { nonce: account.nonce + 1, ..account }),
            };
            proofs[1].storage_root = B256::repeat_byte(1);
            proofs[2].slots[0].value += U256::from(1);
            if !honest.proof.is_empty() {
                let node = index.index(honest.proof.len());
                let mut bytes = honest.proof[node].to_vec();
                bytes[byte.index(honest.proof[node].len())] ^= flip;
                proofs[3].proof[node] = bytes.into();
                proofs[4].proof.pop();
                proofs[5].proof.push(honest.proof[0].clone());
            } else {
                proofs.truncate(3);
            }
            for proof in proofs {
                prop_assert!(proof.verify(trie.root(), address).is_err());
            }
        }
    }
}

/// A state large enough for the parallel paths, in one block and over many.
#[test]
fn large_batches_agree_with_small_ones() {
    let account = |i: u64| Account { nonce: i, balance: U256::from(i) << 40, ..Account::default() };
    let address = |i: u64| Address::from_slice(&keccak256(i.to_be_bytes())[..20]);
    let change = |i: u64| {
        let slots = if i.is_multiple_of(100) { 50 } else { i % 3 };
        let storage =
            (0..slots).map(|slot| (U256::from(slot), Change { before: U256::ZERO, after: U256::from(i + 1) }));
        let account = Change { before: None, after: Some(account(i)) };
        (address(i), AccountChange { account, wiped: false, storage: storage.collect() })
    };
    let set =
        |range: core::ops::Range<u64>| ChangeSet { accounts: range.map(change).collect(), ..ChangeSet::default() };
    let mut model = Model::default();
    for (address, change) in set(0..6000).accounts {
        let storage = change.storage.iter().map(|(slot, value)| (*slot, value.after)).collect();
        model.0.insert(address, ModelAccount { account: change.account.after.unwrap_or_default(), storage });
    }
    for kernel in Kernel::available() {
        let mut at_once = StateTrie::with_kernel(kernel);
        assert_eq!(at_once.apply(&set(0..6000)), model.root(), "{kernel:?}");
        let mut stepwise = StateTrie::with_kernel(kernel);
        (0..6000).step_by(100).for_each(|i| _ = stepwise.apply(&set(i..i + 100)));
        assert_eq!(stepwise.root(), at_once.root(), "{kernel:?}");
        let all = set(0..6000);
        let empty = ChangeSet::reversed(&all);
        assert_eq!(at_once.apply(&empty), EMPTY_ROOT_HASH);
        assert_eq!((at_once.len(), at_once.slots(), at_once.nodes.branches.len()), (0, 0, 0));
    }
}

#[test]
fn churn_does_not_grow_memory() {
    let set = |seed: u64| {
        let change = |i: u64| {
            let storage = (0..4).map(|slot| (U256::from(slot), Change { before: U256::ZERO, after: U256::from(seed) }));
            let account = Change { before: None, after: Some(Account { nonce: seed, ..Account::default() }) };
            let address = Address::from_slice(&keccak256([seed, i].map(u64::to_be_bytes).concat())[..20]);
            (address, AccountChange { account, wiped: true, storage: storage.collect() })
        };
        ChangeSet { accounts: (0..1000).map(change).collect(), ..ChangeSet::default() }
    };
    let mut trie = StateTrie::default();
    let mut high = 0;
    for seed in 0..30 {
        trie.apply(&set(seed));
        if seed > 0 {
            trie.apply(&set(seed - 1).reversed());
        }
        assert_eq!((trie.len(), trie.slots()), (1000, if seed == 0 { 0 } else { 4000 }));
        match seed {
            0..3 => high = trie.memory(),
            // Random keys need a few branches more or less.
            _ => assert!(trie.memory() < high * 11 / 10, "{} > {high} in round {seed}", trie.memory()),
        }
    }
}

#[test]
fn empty_state() {
    let mut trie = StateTrie::default();
    assert_eq!(trie.root(), b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"));
    assert_eq!(trie.apply(&ChangeSet::default()), trie.root());
    let proof = trie.prove(Address::ZERO, &[U256::ZERO]);
    assert!(proof.account.is_none() && proof.proof.is_empty() && proof.slots[0].proof.is_empty());
    assert_eq!(proof.storage_root, EMPTY_ROOT_HASH);
    assert_eq!(proof.verify(trie.root(), Address::ZERO), Ok(()));
    let forged = AccountProof { storage_root: B256::ZERO, ..proof };
    assert_eq!(forged.verify(trie.root(), Address::ZERO), Err(ProofError::StorageRoot(B256::ZERO)));
    // Removing what is not there.
    let gone = AccountChange { account: Change { before: None, after: None }, wiped: true, storage: BTreeMap::new() };
    assert_eq!(trie.apply(&ChangeSet { accounts: [(Address::ZERO, gone)].into(), ..Default::default() }), trie.root());
}

#[test]
fn an_empty_account_is_kept_as_given() {
    let mut trie = StateTrie::default();
    let change =
        AccountChange { account: Change { before: None, after: Some(Account::default()) }, ..AccountChange::default() };
    let address = address_of(1);
    let root = trie.apply(&ChangeSet { accounts: [(address, change)].into(), ..Default::default() });
    let model = Model([(address, ModelAccount::default())].into());
    assert_eq!((root, trie.account(address)), (model.root(), Some(Account::default())));
}

/// Storage whose whole trie is one deep pair of tiny leaves: branch in extension in account.
#[test]
fn embedded_nodes_stand_in_their_parent() {
    let (mut nodes, mut root) = (Nodes::default(), NodeId::NIL);
    let keys = [0x10, 0x11].map(|last| {
        let mut key = [0x77; 32];
        key[31] = last;
        B256::new(key)
    });
    for key in keys {
        nodes.set_slot(&mut root, &key, U256::from(1)).unwrap();
    }
    let leaves = keys.map(|key| (key, vec![1])).into();
    let (expected, _) = reference(&leaves, &[]);
    assert_eq!(nodes.commit(root, Kernel::default()), expected);
    let proof = nodes.prove(root, &keys[0]);
    assert_eq!(proof.len(), 1, "the branch is embedded in the extension, the leaves in the branch");
    // A third, elsewhere: the extension moves below a branch.
    let other = B256::repeat_byte(0x76);
    nodes.set_slot(&mut root, &other, U256::from(1)).unwrap();
    let mut leaves: BTreeMap<B256, Vec<u8>> = leaves;
    leaves.insert(other, vec![1]);
    assert_eq!(nodes.commit(root, Kernel::default()), reference(&leaves, &[]).0);
}

#[test]
fn entry_finds_what_it_made() {
    let (mut nodes, mut root) = (Nodes::default(), NodeId::NIL);
    let keys: Vec<B256> = (0..200u16).map(|i| keccak256(i.to_be_bytes())).collect();
    let ids: Vec<NodeId> = keys.iter().map(|key| nodes.entry(&mut root, key, Kind::Account).unwrap()).collect();
    for (key, id) in keys.iter().zip(ids) {
        assert_eq!(nodes.find(root, key), id);
        assert_eq!(nodes.entry(&mut root, key, Kind::Account), Ok(id));
    }
    assert_eq!(nodes.find(root, &keccak256([9; 3])), NodeId::NIL);
}

/// The state after `test_clz_initcode_context[fork_Osaka]` of execution-spec-tests
/// (tests/osaka/eip7939_count_leading_zeros), and its root there.
#[test]
fn root_of_a_known_state() {
    let account = |nonce, balance: u128, storage: &[u64]| {
        let account = Account { nonce, balance: U256::from(balance), ..Account::default() };
        let storage = storage.iter().enumerate().map(|(slot, value)| (U256::from(slot), U256::from(*value)));
        let storage = storage.map(|(slot, after)| (slot, Change { before: U256::ZERO, after })).collect();
        AccountChange { account: Change { before: None, after: Some(account) }, wiped: false, storage }
    };
    let accounts = [
        (address!("450a1758601aa7c3a1468a5b0f98767e067d954a"), account(1, 0x3635c9adc5de89f95e, &[])),
        (address!("426f6627f18990f61c31d04d9e2a2f8112454425"), account(1, 0, &[0xff, 0xfe, 0xbf, 0x7f])),
        (address!("2adc25665018aa1fe0e6bc666dac8fc2697ff9ba"), account(0, 0x069b97, &[])),
    ];
    let mut trie = StateTrie::default();
    let root = trie.apply(&ChangeSet { accounts: accounts.into(), ..ChangeSet::default() });
    assert_eq!(root, b256!("c19004db32070ee28d66f19278195abbca46c5469fcd6fd91c8323f3be2baacd"));
}
