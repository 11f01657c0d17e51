//! Writing: committing, unwinding and pruning.

use crate::{
    Head, OLDEST_KEY, PRUNED_KEY, Storage, StorageError, Store, Unwound,
    codec::{self, AccountUndo},
    view,
};
use alloy_primitives::{Address, U256};
use fjall::{OwnedWriteBatch, Readable};
use jove_primitives::{Account, AccountChange, Change, ChangeSet, ExecutedBlock};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

/// Keys after which pruning ends a batch, so that commits wait for one batch at most.
const PRUNE_BATCH_KEYS: usize = 4_000;

impl Storage {
    /// Lists, in `changes`, every slot that its wipes erase, with its value before, and sets the value before of those it already lists.
    /// Called before [`Self::commit`] and before the trie applies.
    ///
    /// # Errors
    /// The database's.
    pub fn complete_wipes(&self, changes: &mut ChangeSet) -> Result<(), StorageError> {
        let head = self.store.head();
        for (address, change) in changes.accounts.iter_mut().filter(|(_, change)| change.wiped) {
            for value in change.storage.values_mut() {
                value.before = U256::ZERO;
            }
            for slot in self.store.slots(&head, *address) {
                let (slot, before) = slot?;
                change.storage.entry(slot).or_default().before = before;
            }
        }
        Ok(())
    }

    /// Appends a block (genesis first): state, history, receipts, indexes: one atomic write, synced. `changes` must be complete, and
    /// its values before those of the head's state.
    ///
    /// # Errors
    /// As [`Self::commit_all`].
    pub fn commit(&self, block: &ExecutedBlock, changes: &ChangeSet) -> Result<(), StorageError> {
        self.commit_all(&[(block, changes)])
    }

    /// Appends blocks that follow each other, as [`Self::commit`] does each: all of them or none, in one atomic write, synced once. Only the first may wipe an account.
    ///
    /// # Errors
    /// [`StorageError::NotNext`], [`StorageError::WrongParent`], [`StorageError::Uneven`] or [`StorageError::IncompleteWipe`] (which a wipe after the first
    /// block is too), and nothing is written; or the database's.
    pub fn commit_all(&self, blocks: &[(&ExecutedBlock, &ChangeSet)]) -> Result<(), StorageError> {
        let store = &*self.store;
        let _writer = store.writer.lock();
        let head = store.head();
        let mut last = head.block;
        for (block, changes) in blocks {
            let number = block.header.number;
            let expected = last.map_or(Some(0), |(last, _)| last.checked_add(1)).unwrap_or(u64::MAX);
            if number != expected {
                return Err(StorageError::NotNext { number, expected });
            }
            if last.is_some_and(|(_, hash)| hash != block.header.parent_hash) {
                return Err(StorageError::WrongParent(number));
            }
            if block.receipts.len() != block.transactions.len() || block.l1_fees.len() != block.transactions.len() {
                return Err(StorageError::Uneven(number));
            }
            let is_first = last == head.block;
            for (address, change) in changes.accounts.iter().filter(|(_, change)| change.wiped) {
                if !is_first {
                    return Err(StorageError::IncompleteWipe(*address));
                }
                for slot in store.slots(&head, *address) {
                    if !change.storage.contains_key(&slot?.0) {
                        return Err(StorageError::IncompleteWipe(*address));
                    }
                }
            }
            last = Some((number, block.hash));
        }

        let keys = |(block, changes): &(&ExecutedBlock, &ChangeSet)| {
            let state = changes.accounts.values().map(|change| 2 + 2 * change.storage.len()).sum::<usize>();
            state + changes.codes.len() + 3 * block.transactions.len() + 4
        };
        let mut batch = store.batch(blocks.iter().map(keys).sum());
        let mut value = Vec::new();
        // A key is written once in a batch: of a value that several blocks change, the last.
        match blocks {
            [(_, changes)] => store.put_flat(&mut batch, changes, &mut value),
            _ => store.put_flat(&mut batch, &merged(blocks), &mut value),
        }
        let mut codes = BTreeSet::new();
        let mut sizes = Vec::with_capacity(blocks.len());
        for (block, changes) in blocks {
            for (hash, code) in changes.codes.iter().filter(|(hash, _)| codes.insert(**hash)) {
                batch.insert(&store.keyspaces.codes, hash.as_slice(), code.as_ref());
            }
            store.put_history(&mut batch, block.header.number, changes, &mut value);
            sizes.push(store.put_block(&mut batch, block, &mut value));
        }
        batch.commit()?;
        for ((block, _), body_bytes) in blocks.iter().zip(sizes) {
            store.cache.insert(Arc::new((*block).clone()), body_bytes);
        }
        store.publish(last, head.oldest);
        Ok(())
    }

    /// Goes back to block `number`: one atomic write, synced.
    ///
    /// # Errors
    /// [`StorageError::UnknownBlock`] above the head, [`StorageError::Pruned`] below the oldest state, and nothing is written; or the database's.
    pub fn unwind(&self, number: u64) -> Result<Unwound, StorageError> {
        let store = &*self.store;
        let _writer = store.writer.lock();
        let head = store.head();
        let head_number = head.check_state(number)?;
        let mut unwound = Unwound { blocks: Vec::new(), changes: ChangeSet::default() };
        if number == head_number {
            return Ok(unwound);
        }
        let Some(hash) = view::block_hash(store, &head, number)? else {
            return Err(StorageError::Corrupt("a header is missing"));
        };
        let mut batch = store.batch(0);
        unwound.changes = store.changes_back(&head, head_number, number, |block, undo| {
            if undo.account.is_some() {
                let key = codec::account_history_key(undo.address, block);
                batch.remove(&store.keyspaces.account_history, key.as_slice());
            }
            for (slot, _) in &undo.slots {
                let key = codec::slot_history_key(undo.address, *slot, block);
                batch.remove(&store.keyspaces.slot_history, key.as_slice());
            }
        })?;
        store.put_flat(&mut batch, &unwound.changes, &mut Vec::new());
        for removed in (number + 1..=head_number).rev() {
            let block = view::block(store, &head, removed, false)?;
            let block = block.ok_or(StorageError::Corrupt("a block is missing"))?;
            store.remove_block(&mut batch, &block);
            unwound.blocks.push(Arc::unwrap_or_clone(block));
        }
        batch.commit()?;
        store.publish(Some((number, hash)), head.oldest);
        Ok(unwound)
    }

    /// Forgets history, one step of it, and returns whether nothing is left to do: state before `number` can no longer be read, nor unwound to.
    /// Blocks and receipts stay. The first step makes the new horizon durable; each removes a bounded part, so that blocks are
    /// committed in between. What a crash leaves over, the next call removes. A number above the head counts as the head's.
    ///
    /// # Errors
    /// The database's.
    pub fn prune_history(&self, number: u64) -> Result<bool, StorageError> {
        let store = &*self.store;
        let mut writer = store.writer.lock();
        let head = store.head();
        let Some((head_number, _)) = head.block else { return Ok(true) };
        let horizon = number.min(head_number).max(head.oldest);
        if horizon > head.oldest {
            let mut batch = store.batch(1);
            batch.insert(&store.keyspaces.meta, OLDEST_KEY, horizon.to_be_bytes().as_slice());
            batch.commit()?;
            store.publish(head.block, horizon);
            return Ok(writer.pruned >= horizon);
        }
        if writer.pruned >= horizon {
            return Ok(true);
        }
        let mut batch = store.batch(PRUNE_BATCH_KEYS);
        let mut pruned = writer.pruned;
        while pruned < horizon && batch.len() < PRUNE_BATCH_KEYS {
            pruned += 1;
            store.remove_history(&mut batch, &head, pruned)?;
        }
        batch.insert(&store.keyspaces.meta, PRUNED_KEY, pruned.to_be_bytes().as_slice());
        batch.commit()?;
        writer.pruned = pruned;
        store.publish(head.block, head.oldest);
        Ok(pruned >= horizon)
    }
}

/// What blocks that follow each other change together: the values before the first and after the last.
fn merged(blocks: &[(&ExecutedBlock, &ChangeSet)]) -> ChangeSet {
    let mut merged = ChangeSet::default();
    for (address, change) in blocks.iter().flat_map(|(_, changes)| &changes.accounts) {
        match merged.accounts.entry(*address) {
            Entry::Vacant(entry) => {
                entry.insert(change.clone());
            }
            Entry::Occupied(entry) => {
                let all = entry.into_mut();
                all.account.after = change.account.after;
                for (slot, change) in &change.storage {
                    all.storage.entry(*slot).or_insert(*change).after = change.after;
                }
            }
        }
    }
    merged
}

/// An account as it has to become.
#[derive(Default)]
pub(crate) struct Target {
    /// The account itself, if it changed.
    pub(crate) account: Option<Option<Account>>,
    /// The slots that changed.
    pub(crate) slots: BTreeMap<U256, U256>,
}

impl Head {
    /// The head's number, if the state after block `number` can be read.
    pub(crate) fn check_state(&self, number: u64) -> Result<u64, StorageError> {
        match self.block {
            Some((head, _)) if number <= head && number >= self.oldest => Ok(head),
            Some((head, _)) if number <= head => Err(StorageError::Pruned { block: number, oldest: self.oldest }),
            _ => Err(StorageError::UnknownBlock(number)),
        }
    }
}

impl Store {
    /// History and change set of a block. Genesis has none: nothing is before it.
    fn put_history(&self, batch: &mut OwnedWriteBatch, number: u64, changes: &ChangeSet, value: &mut Vec<u8>) {
        let keyspaces = &self.keyspaces;
        if number == 0 {
            return;
        }
        for (address, change) in &changes.accounts {
            if change.account.before != change.account.after {
                value.clear();
                codec::put_account(change.account.before.as_ref(), value);
                let key = codec::account_history_key(*address, number);
                batch.insert(&keyspaces.account_history, key.as_slice(), value.as_slice());
            }
            for (slot, change) in change.storage.iter().filter(|(_, change)| change.before != change.after) {
                value.clear();
                codec::put_uint_bytes(change.before, value);
                let key = codec::slot_history_key(*address, *slot, number);
                batch.insert(&keyspaces.slot_history, key.as_slice(), value.as_slice());
            }
        }
        value.clear();
        codec::put_undo(changes, value);
        batch.insert(&keyspaces.changes, number.to_be_bytes().as_slice(), value.as_slice());
    }

    /// The values after.
    fn put_flat(&self, batch: &mut OwnedWriteBatch, changes: &ChangeSet, value: &mut Vec<u8>) {
        for (address, change) in &changes.accounts {
            if change.account.before != change.account.after {
                value.clear();
                codec::put_account(change.account.after.as_ref(), value);
                if value.is_empty() {
                    batch.remove(&self.keyspaces.accounts, address.as_slice());
                } else {
                    batch.insert(&self.keyspaces.accounts, address.as_slice(), value.as_slice());
                }
            }
            for (slot, change) in change.storage.iter().filter(|(_, change)| change.before != change.after) {
                let key = codec::slot_key(*address, *slot);
                if change.after.is_zero() {
                    batch.remove(&self.keyspaces.slots, key.as_slice());
                } else {
                    value.clear();
                    codec::put_uint_bytes(change.after, value);
                    batch.insert(&self.keyspaces.slots, key.as_slice(), value.as_slice());
                }
            }
        }
    }

    /// Header, body and indexes. Returns the body's size in bytes.
    fn put_block(&self, batch: &mut OwnedWriteBatch, block: &ExecutedBlock, value: &mut Vec<u8>) -> usize {
        let keyspaces = &self.keyspaces;
        let number = block.header.number;
        let key = number.to_be_bytes();
        batch.insert(&keyspaces.block_numbers, block.hash.as_slice(), key.as_slice());
        for (index, transaction) in (0..).zip(&block.transactions) {
            let position = codec::position_value(number, index);
            batch.insert(&keyspaces.transactions, transaction.tx_hash().as_slice(), position.as_slice());
        }
        for term in codec::log_terms(&block.receipts) {
            batch.insert(&keyspaces.logs, codec::posting_key(term, number).as_slice(), [].as_slice());
        }
        value.clear();
        codec::put_header(&block.header, block.hash, value);
        batch.insert(&keyspaces.headers, key.as_slice(), value.as_slice());
        value.clear();
        codec::put_body(block, value);
        batch.insert(&keyspaces.bodies, key.as_slice(), value.as_slice());
        value.len()
    }

    /// What [`Self::put_block`] wrote, and the change set. The hashes are noted as unwound.
    fn remove_block(&self, batch: &mut OwnedWriteBatch, block: &ExecutedBlock) {
        let keyspaces = &self.keyspaces;
        let number = block.header.number;
        let key = number.to_be_bytes();
        for keyspace in [&keyspaces.headers, &keyspaces.bodies, &keyspaces.changes] {
            batch.remove(keyspace, key.as_slice());
        }
        batch.remove(&keyspaces.block_numbers, block.hash.as_slice());
        batch.insert(&keyspaces.unwound, block.hash.as_slice(), [].as_slice());
        for transaction in &block.transactions {
            batch.remove(&keyspaces.transactions, transaction.tx_hash().as_slice());
            batch.insert(&keyspaces.unwound, transaction.tx_hash().as_slice(), [].as_slice());
        }
        for term in codec::log_terms(&block.receipts) {
            batch.remove(&keyspaces.logs, codec::posting_key(term, number).as_slice());
        }
    }

    /// History and change set of a block.
    fn remove_history(&self, batch: &mut OwnedWriteBatch, head: &Head, number: u64) -> Result<(), StorageError> {
        for undo in self.undo(head, number)? {
            if undo.account.is_some() {
                let key = codec::account_history_key(undo.address, number);
                batch.remove(&self.keyspaces.account_history, key.as_slice());
            }
            for (slot, _) in undo.slots {
                let key = codec::slot_history_key(undo.address, slot, number);
                batch.remove(&self.keyspaces.slot_history, key.as_slice());
            }
        }
        batch.remove(&self.keyspaces.changes, number.to_be_bytes().as_slice());
        Ok(())
    }

    /// What undoes a block's changes.
    pub(crate) fn undo(&self, head: &Head, number: u64) -> Result<Vec<AccountUndo>, StorageError> {
        let value = head.snapshot.get(&self.keyspaces.changes, number.to_be_bytes())?;
        codec::decode_undo(&value.ok_or(StorageError::Corrupt("a change set is missing"))?)
    }

    /// What the state after block `from` has to become for it to be that after block `to`, an earlier one. `visit` sees every block's undoing, newest
    /// first, and may end it.
    pub(crate) fn targets(
        &self,
        head: &Head,
        from: u64,
        to: u64,
        mut visit: impl FnMut(u64, &AccountUndo) -> Result<(), StorageError>,
    ) -> Result<BTreeMap<Address, Target>, StorageError> {
        let mut targets: BTreeMap<Address, Target> = BTreeMap::new();
        for number in (to + 1..=from).rev() {
            for undo in self.undo(head, number)? {
                visit(number, &undo)?;
                let target = targets.entry(undo.address).or_default();
                target.account = undo.account.or(target.account);
                target.slots.extend(undo.slots);
            }
        }
        Ok(targets)
    }

    /// One change set from the state of the head, block `from`, back to the state after block `to`. `visit` sees every block's undoing, newest first.
    fn changes_back(
        &self,
        head: &Head,
        from: u64,
        to: u64,
        mut visit: impl FnMut(u64, &AccountUndo),
    ) -> Result<ChangeSet, StorageError> {
        let targets = self.targets(head, from, to, |number, undo| {
            visit(number, undo);
            Ok(())
        })?;
        let mut changes = ChangeSet::default();
        for (address, target) in targets {
            let before = view::flat_account(self, head, address)?;
            let after = target.account.unwrap_or(before);
            let mut storage = BTreeMap::new();
            for (slot, after) in target.slots {
                let before = view::flat_slot(self, head, address, slot)?;
                if before != after {
                    storage.insert(slot, Change { before, after });
                }
            }
            if before != after || !storage.is_empty() {
                // Where the account comes to be absent, all its slots are in the change sets that made them.
                let wiped = before.is_some() && after.is_none();
                changes.accounts.insert(address, AccountChange { account: Change { before, after }, wiped, storage });
            }
        }
        Ok(changes)
    }

    /// The slots of an account in the head's state, in order.
    pub(crate) fn slots(
        &self,
        head: &Head,
        address: Address,
    ) -> impl Iterator<Item = Result<(U256, U256), StorageError>> + use<> {
        let slots = head.snapshot.prefix(&self.keyspaces.slots, address);
        slots.map(|slot| {
            let (key, value) = slot.into_inner()?;
            view::decode_slot(&key, &value).map(|(_, slot, value)| (slot, value))
        })
    }
}

impl Storage {
    /// Every account in address order, with its slots in order: what the trie is rebuilt from at start. It holds one account and one slot in memory.
    ///
    /// # Errors
    /// `visit`'s, at once; [`StorageError::Corrupt`]; or the database's.
    pub fn for_each_account(
        &self,
        mut visit: impl FnMut(
            Address,
            Account,
            &mut dyn Iterator<Item = Result<(U256, U256), StorageError>>,
        ) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let head = self.store.head();
        let mut slots = head
            .snapshot
            .iter(&self.store.keyspaces.slots)
            .map(|slot| {
                let (key, value) = slot.into_inner()?;
                view::decode_slot(&key, &value)
            })
            .peekable();
        for account in head.snapshot.iter(&self.store.keyspaces.accounts) {
            let (key, value) = account.into_inner()?;
            let address =
                Address::try_from(&*key).map_err(|_| StorageError::Corrupt("an address of other than 20 bytes"))?;
            let account =
                codec::decode_account(&value)?.ok_or(StorageError::Corrupt("an absent account in the state"))?;
            // Errors pass to whoever reads next.
            while slots.next_if(|slot| slot.as_ref().is_ok_and(|slot| slot.0 < address)).is_some() {}
            let mut own = std::iter::from_fn(|| {
                let slot = slots.next_if(|slot| slot.as_ref().map_or(true, |slot| slot.0 == address))?;
                Some(slot.map(|(_, slot, value)| (slot, value)))
            });
            visit(address, account, &mut own)?;
            // What `visit` left unread.
            for slot in own {
                slot?;
            }
        }
        Ok(())
    }
}
