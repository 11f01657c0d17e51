//! Random chains, and a plain model of the store to compare it with.

#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod disk;
mod format;
mod property;
mod refusals;

use crate::{LogEntry, LogFilter, StorageError, TransactionPosition, View};
use alloy_consensus::{
    Header, Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy, TxType, Typed2718, transaction::Recovered,
};
use alloy_eips::{eip2930::AccessList, eip7702::Authorization};
use alloy_primitives::{Address, B256, Bytes, Log, Signature, TxKind, U256, keccak256};
use jove_primitives::{
    Account, AccountChange, Change, ChangeSet, ExecutedBlock, Receipt, Transaction, block::L1Prices,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
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

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn word(&mut self) -> B256 {
        keccak256(self.next().to_be_bytes())
    }

    /// Zero, small, or of any length.
    fn uint(&mut self) -> U256 {
        match self.below(4) {
            0 => U256::ZERO,
            1 => U256::from(self.below(300)),
            2 => U256::MAX - U256::from(self.below(3)),
            _ => U256::from_be_bytes(self.word().0) >> self.below(256) as usize,
        }
    }

    fn bytes(&mut self, most: u64) -> Bytes {
        let len = self.below(most + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }
}

const ADDRESSES: u64 = 6;
const SLOTS: u64 = 6;

/// One of a few addresses, so that blocks meet again; the first and the last are the ends of the key space.
fn address(index: u64) -> Address {
    match index {
        0 => Address::ZERO,
        5 => Address::repeat_byte(0xff),
        index => Address::from_word(keccak256(index.to_be_bytes())),
    }
}

fn slot(index: u64) -> U256 {
    match index {
        0 => U256::ZERO,
        1 => U256::ONE,
        2 => U256::MAX,
        index => U256::from_be_bytes(keccak256(index.to_le_bytes()).0),
    }
}

fn topic(index: u64) -> B256 {
    B256::repeat_byte(index as u8)
}

/// A transaction of any type, different for each `nonce`.
pub(crate) fn transaction(rng: &mut Rng, nonce: u64) -> Transaction {
    let signature = Signature::new(rng.uint(), rng.uint(), rng.chance(2));
    let (input, value) = (rng.bytes(70), rng.uint());
    let to = if rng.chance(4) { TxKind::Create } else { TxKind::Call(address(rng.below(ADDRESSES))) };
    let access_list = AccessList::default();
    match rng.below(5) {
        0 => {
            let chain_id = rng.chance(2).then_some(5683);
            let tx = TxLegacy { chain_id, nonce, gas_price: 7, gas_limit: 21_000, to, value, input };
            Signed::new_unhashed(tx, signature).into()
        }
        1 => {
            let tx =
                TxEip2930 { chain_id: 5683, nonce, gas_price: 7, gas_limit: 21_000, to, value, access_list, input };
            Signed::new_unhashed(tx, signature).into()
        }
        2 => {
            let tx = TxEip1559 {
                chain_id: 5683,
                nonce,
                max_fee_per_gas: 9,
                to,
                value,
                access_list,
                input,
                ..Default::default()
            };
            Signed::new_unhashed(tx, signature).into()
        }
        3 => {
            let blob_versioned_hashes = vec![rng.word(); 1 + rng.below(3) as usize];
            let tx = TxEip4844 { chain_id: 5683, nonce, value, input, blob_versioned_hashes, ..Default::default() };
            Signed::new_unhashed(tx, signature).into()
        }
        _ => {
            let authorization = Authorization { chain_id: U256::from(5683), address: address(1), nonce };
            let authorization_list = vec![authorization.into_signed(Signature::test_signature())];
            let tx = TxEip7702 { chain_id: 5683, nonce, value, input, authorization_list, ..Default::default() };
            Signed::new_unhashed(tx, signature).into()
        }
    }
}

fn log(rng: &mut Rng) -> Log {
    let topics = (0..rng.below(5)).map(|_| topic(rng.below(4))).collect();
    Log::new_unchecked(address(rng.below(ADDRESSES)), topics, rng.bytes(40))
}

/// The state after a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    accounts: BTreeMap<Address, Account>,
    slots: BTreeMap<(Address, U256), U256>,
}

impl State {
    /// Applies a change set as the trie does.
    fn apply(&mut self, changes: &ChangeSet) {
        for (address, change) in &changes.accounts {
            assert_eq!(change.account.before, self.accounts.get(address).copied(), "account before");
            if change.wiped {
                self.slots.retain(|(owner, _), _| owner != address);
            }
            match change.account.after {
                Some(account) => self.accounts.insert(*address, account),
                None => self.accounts.remove(address),
            };
            for (slot, value) in &change.storage {
                match value.after {
                    U256::ZERO => self.slots.remove(&(*address, *slot)),
                    value => self.slots.insert((*address, *slot), value),
                };
            }
        }
    }

    /// Applies a change set that says nothing of what was before.
    fn apply_after(&mut self, mut changes: ChangeSet) {
        for (address, change) in &mut changes.accounts {
            change.account.before = self.accounts.get(address).copied();
        }
        self.apply(&changes);
    }

    fn slot(&self, address: Address, slot: U256) -> U256 {
        self.slots.get(&(address, slot)).copied().unwrap_or_default()
    }
}

/// Changes of a random block over `state`: accounts made, changed, destroyed and made anew. Wipes are not complete.
fn random_changes(rng: &mut Rng, state: &State) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for _ in 0..rng.below(5) {
        let address = address(rng.below(ADDRESSES));
        let before = state.accounts.get(&address).copied();
        let mut change = AccountChange { account: Change { before, after: before }, ..Default::default() };
        let wiped = before.is_some() && rng.chance(5);
        change.wiped = wiped;
        if before.is_none() || rng.chance(2) || wiped {
            let mut after = Account { nonce: rng.next() >> rng.below(64), balance: rng.uint(), ..Default::default() };
            if rng.chance(2) {
                let code = rng.bytes(100);
                after.code_hash = keccak256(&code);
                changes.codes.insert(after.code_hash, code);
            }
            change.account.after = (!wiped || rng.chance(2)).then_some(after);
        }
        if change.account.after.is_some() {
            for _ in 0..rng.below(5) {
                let slot = slot(rng.below(SLOTS));
                let before = if wiped { rng.uint() } else { state.slot(address, slot) };
                change.storage.insert(slot, Change { before, after: rng.uint() });
            }
        }
        changes.accounts.insert(address, change);
    }
    changes
}

/// A random block on `parent`; the same for the same seed, parent and state.
pub(crate) fn random_block(seed: u64, parent: Option<&ExecutedBlock>, state: &State) -> (ExecutedBlock, ChangeSet) {
    let number = parent.map_or(0, |parent| parent.header.number + 1);
    let rng = &mut Rng(seed ^ number << 32);
    let changes = random_changes(rng, state);
    let count = if number == 0 || rng.chance(3) { 0 } else { rng.below(4) };
    let mut transactions = Vec::new();
    let mut receipts: Vec<Receipt> = Vec::new();
    for _ in 0..count {
        let nonce = rng.next();
        let transaction = transaction(rng, nonce);
        let logs = if rng.chance(2) { Vec::new() } else { (0..rng.below(4)).map(|_| log(rng)).collect() };
        let before = receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used);
        let cumulative_gas_used = before + 21_000 + rng.below(1 << 20);
        receipts.push(Receipt {
            tx_type: transaction.ty(),
            success: rng.chance(2),
            cumulative_gas_used,
            logs,
            deposit_nonce: None,
        });
        transactions.push(Recovered::new_unchecked(transaction, address(rng.below(ADDRESSES))));
    }
    let header = Header {
        number,
        parent_hash: parent.map_or(B256::ZERO, |parent| parent.hash),
        timestamp: 1_700_000_000 + number / 3,
        state_root: rng.word(),
        extra_data: rng.bytes(11),
        base_fee_per_gas: Some(rng.next()),
        withdrawals_root: Some(rng.word()),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(rng.word()),
        ..Default::default()
    };
    let l1_fees = transactions.iter().map(|_| rng.uint()).collect();
    let l1_prices = L1Prices { base_fee: rng.next().into(), blob_base_fee: u128::MAX - u128::from(rng.next()) };
    let hash = header.hash_slow();
    (ExecutedBlock { header, hash, transactions, receipts, l1_fees, l1_prices }, changes)
}

/// What a store should hold.
#[derive(Clone, Default)]
pub(crate) struct Model {
    blocks: Vec<Arc<ExecutedBlock>>,
    /// The state after each block.
    states: Vec<Arc<State>>,
    /// Blocks that were unwound.
    gone: Vec<Arc<ExecutedBlock>>,
    codes: BTreeMap<B256, Bytes>,
    oldest: u64,
}

impl Model {
    pub(crate) fn head(&self) -> Option<u64> {
        self.blocks.len().checked_sub(1).map(|head| head as u64)
    }

    fn state(&self) -> Arc<State> {
        self.states.last().cloned().unwrap_or_default()
    }

    /// A block to follow, with its changes, wipes incomplete.
    pub(crate) fn next_block(&self, seed: u64) -> (ExecutedBlock, ChangeSet) {
        random_block(seed, self.blocks.last().map(|block| &**block), &self.state())
    }

    pub(crate) fn commit(&mut self, block: ExecutedBlock, changes: &ChangeSet) {
        let mut state = (*self.state()).clone();
        state.apply(changes);
        self.states.push(Arc::new(state));
        self.blocks.push(Arc::new(block));
        self.codes.extend(changes.codes.clone());
    }

    pub(crate) fn unwind(&mut self, number: u64) {
        self.states.truncate(number as usize + 1);
        self.gone.extend(self.blocks.drain(number as usize + 1..).rev());
    }

    pub(crate) fn prune(&mut self, number: u64) {
        if let Some(head) = self.head() {
            self.oldest = self.oldest.max(number.min(head));
        }
    }

    /// `changes` with every slot that its wipes erase.
    fn completed(&self, changes: &ChangeSet) -> ChangeSet {
        let (mut changes, state) = (changes.clone(), self.state());
        for (address, change) in changes.accounts.iter_mut().filter(|(_, change)| change.wiped) {
            for value in change.storage.values_mut() {
                value.before = U256::ZERO;
            }
            for ((_, slot), value) in state.slots.iter().filter(|((owner, _), _)| owner == address) {
                change.storage.entry(*slot).or_default().before = *value;
            }
        }
        changes
    }

    fn logs(&self, filter: &LogFilter) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        for block in &self.blocks {
            if block.header.number < filter.from || block.header.number > filter.to {
                continue;
            }
            let mut log_index = 0;
            for (index, receipt) in block.receipts.iter().enumerate() {
                for log in &receipt.logs {
                    let topics_match = filter.topics.iter().enumerate().all(|(position, wanted)| {
                        wanted.is_empty() || wanted.iter().any(|topic| log.topics().get(position) == Some(topic))
                    });
                    if topics_match && (filter.addresses.is_empty() || filter.addresses.contains(&log.address)) {
                        entries.push(LogEntry {
                            block_number: block.header.number,
                            block_hash: block.hash,
                            block_timestamp: block.header.timestamp,
                            transaction_hash: *block.transactions[index].tx_hash(),
                            transaction_index: index as u32,
                            log_index,
                            log: log.clone(),
                        });
                    }
                    log_index += 1;
                }
            }
        }
        entries
    }

    /// Asserts that `view` shows all of the model and nothing else.
    pub(crate) fn check(&self, view: &View, seed: u64) {
        let rng = &mut Rng(seed);
        let Some(head) = self.head() else {
            assert_eq!(view.header(0).unwrap(), None);
            assert!(matches!(view.state(0), Err(StorageError::UnknownBlock(0))));
            return;
        };
        assert_eq!(view.head_number(), head);
        for block in &self.blocks {
            let number = block.header.number;
            assert_eq!(view.header(number).unwrap().as_ref(), Some(&block.header));
            assert_eq!(view.block_hash(number).unwrap(), Some(block.hash));
            assert_eq!(view.block(number).unwrap().as_deref(), Some(&**block));
            assert_eq!(view.block_number(block.hash).unwrap(), Some(number));
            for (index, transaction) in (0..).zip(&block.transactions) {
                let position = TransactionPosition { block: number, index };
                assert_eq!(view.transaction(*transaction.tx_hash()).unwrap(), Some(position));
            }
        }
        assert_eq!(view.header(head + 1).unwrap(), None);
        assert_eq!(view.block_hash(head + 1).unwrap(), None);
        assert!(view.block(head + 1).unwrap().is_none());
        for block in &self.blocks {
            assert!(!view.is_unwound(block.hash).unwrap());
        }
        for block in &self.gone {
            assert_eq!(view.block_number(block.hash).unwrap(), None);
            assert!(view.is_unwound(block.hash).unwrap());
            for transaction in &block.transactions {
                assert_eq!(view.transaction(*transaction.tx_hash()).unwrap(), None);
                assert!(view.is_unwound(*transaction.tx_hash()).unwrap());
            }
        }
        self.check_state(view, head);
        self.check_logs(view, head, rng);
    }

    fn check_state(&self, view: &View, head: u64) {
        assert_eq!(view.oldest_state(), self.oldest);
        assert!(matches!(view.state(head + 1), Err(StorageError::UnknownBlock(_))));
        let deadline = Instant::now() + Duration::from_secs(600);
        let back = |from, to| view.changes_back(from, to, deadline);
        assert!(matches!(back(head + 1, head), Err(StorageError::UnknownBlock(_))));
        for number in 0..self.oldest {
            assert!(matches!(view.state(number), Err(StorageError::Pruned { .. })));
            assert!(matches!(back(head, number), Err(StorageError::Pruned { .. })));
        }
        for number in self.oldest..=head {
            let (state, expected) = (view.state(number).unwrap(), &self.states[number as usize]);
            for address in (0..ADDRESSES).map(address) {
                assert_eq!(state.account(address).unwrap(), expected.accounts.get(&address).copied());
                for slot in (0..SLOTS).map(slot) {
                    assert_eq!(state.slot(address, slot).unwrap(), expected.slot(address, slot));
                }
            }
            let mut older = (*self.state()).clone();
            older.apply_after(back(head, number).unwrap());
            assert_eq!(&older, &**expected, "the head's state, turned back to block {number}");
            let middle = number + (head - number) / 2;
            let mut older = (*self.states[middle as usize]).clone();
            older.apply_after(back(middle, number).unwrap());
            assert_eq!(&older, &**expected, "the state after block {middle}, turned back to block {number}");
        }
        let state = view.state(head).unwrap();
        for (hash, code) in &self.codes {
            assert_eq!(&state.code(*hash).unwrap(), code);
        }
    }

    fn check_logs(&self, view: &View, head: u64, rng: &mut Rng) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for _ in 0..8 {
            let from = rng.below(head + 2);
            let to = if rng.chance(4) { u64::MAX } else { rng.below(head + 2) };
            let addresses = (0..rng.below(3)).map(|_| address(rng.below(ADDRESSES))).collect();
            let topics = [0; 4].map(|_| (0..rng.below(6).saturating_sub(3)).map(|_| topic(rng.below(4))).collect());
            let filter = LogFilter { from, to, addresses, topics };
            let expected = self.logs(&filter);
            assert_eq!(view.logs(&filter, expected.len(), deadline).unwrap(), expected, "{filter:?}");
            if let Some(limit) = expected.len().checked_sub(1) {
                let refused = view.logs(&filter, limit, deadline);
                assert!(matches!(refused, Err(StorageError::TooManyResults(refused)) if refused == limit));
            }
        }
    }

    /// Asserts that the store streams the model's state.
    pub(crate) fn check_stream(&self, storage: &crate::Storage, rng: &mut Rng) {
        let mut streamed = State::default();
        let mut partly = Vec::new();
        let stream = storage.for_each_account(|address, account, slots| {
            assert!(streamed.accounts.last_key_value().is_none_or(|(last, _)| *last < address), "in order");
            streamed.accounts.insert(address, account);
            let mut before = None;
            while !rng.chance(10) {
                let Some(slot) = slots.next() else { return Ok(()) };
                let (slot, value) = slot?;
                assert!(before.replace(slot) < Some(slot), "in order");
                streamed.slots.insert((address, slot), value);
            }
            partly.push(address); // the visitor may stop reading an account's slots
            Ok(())
        });
        stream.unwrap();
        let mut expected = (*self.state()).clone();
        expected.slots.retain(|key, _| !partly.contains(&key.0) || streamed.slots.contains_key(key));
        assert_eq!(streamed, expected);
    }
}

/// All transaction types of Ethereum.
pub(crate) const TYPES: [TxType; 5] =
    [TxType::Legacy, TxType::Eip2930, TxType::Eip1559, TxType::Eip4844, TxType::Eip7702];
