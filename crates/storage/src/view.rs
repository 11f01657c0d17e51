//! Reading: blocks, positions and the state after any block.

use crate::{Head, StorageError, Store, codec};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use fjall::Readable;
use jove_primitives::{Account, AccountChange, Change, ChangeSet, ExecutedBlock};
use revm::{bytecode::Bytecode, state::AccountInfo};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// A consistent view of one committed head. Cheap to clone.
#[derive(Clone)]
pub struct View {
    pub(crate) store: Arc<Store>,
    pub(crate) head: Arc<Head>,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPosition {
    /// Number of its block.
    pub block: u64,
    /// Position within the block.
    pub index: u32,
}

impl View {
    /// Number of the last block in this view; 0 in an empty store.
    pub fn head_number(&self) -> u64 {
        self.head.block.map_or(0, |(number, _)| number)
    }

    /// The header of block `number`; none above the head.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn header(&self, number: u64) -> Result<Option<Header>, StorageError> {
        match self.head.snapshot.get(&self.store.keyspaces.headers, number.to_be_bytes())? {
            Some(value) => Ok(Some(codec::decode_header(&value)?.0)),
            None => Ok(None),
        }
    }

    /// The hash of block `number`; none above the head.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn block_hash(&self, number: u64) -> Result<Option<B256>, StorageError> {
        block_hash(&self.store, &self.head, number)
    }

    /// Block `number`; none above the head. Blocks lately committed or read are not decoded again.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn block(&self, number: u64) -> Result<Option<Arc<ExecutedBlock>>, StorageError> {
        block(&self.store, &self.head, number, true)
    }

    /// The number of the block with this hash, if it is in the chain.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn block_number(&self, hash: B256) -> Result<Option<u64>, StorageError> {
        let number = self.head.snapshot.get(&self.store.keyspaces.block_numbers, hash)?;
        number.map(|number| codec::decode_u64(&number)).transpose()
    }

    /// Where the transaction with this hash is, if it is in the chain.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn transaction(&self, hash: B256) -> Result<Option<TransactionPosition>, StorageError> {
        let Some(value) = self.head.snapshot.get(&self.store.keyspaces.transactions, hash)? else { return Ok(None) };
        let (block, index) = codec::decode_position(&value)?;
        Ok(Some(TransactionPosition { block, index }))
    }

    /// Whether the block with this hash, or the transaction's, was in the chain once, was unwound, and is not there again.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn is_unwound(&self, hash: B256) -> Result<bool, StorageError> {
        let was = self.head.snapshot.contains_key(&self.store.keyspaces.unwound, hash)?;
        Ok(was && self.block_number(hash)?.is_none() && self.transaction(hash)?.is_none())
    }

    /// Oldest block whose state can be read.
    pub fn oldest_state(&self) -> u64 {
        self.head.oldest
    }

    /// The state after block `number`.
    ///
    /// # Errors
    /// [`StorageError::UnknownBlock`] above the head, [`StorageError::Pruned`] below [`Self::oldest_state`].
    pub fn state(&self, number: u64) -> Result<StateView, StorageError> {
        let head = self.head.check_state(number)?;
        Ok(StateView { view: self.clone(), block: number, history: number < head })
    }

    /// What block `number` changed, with the codes that accounts have since.
    ///
    /// # Errors
    /// As [`Self::state`], of genesis too: nothing is before it; [`StorageError::Corrupt`]; or the database's.
    pub fn changes(&self, number: u64) -> Result<ChangeSet, StorageError> {
        self.state(number.checked_sub(1).ok_or(StorageError::UnknownBlock(number))?)?;
        let state = self.state(number)?;
        let mut changes = ChangeSet::default();
        for undo in self.store.undo(&self.head, number)? {
            let after = state.account(undo.address)?;
            let before = undo.account.unwrap_or(after);
            if let Some(Account { code_hash, .. }) = after
                && code_hash != KECCAK256_EMPTY
                && before.map(|account| account.code_hash) != Some(code_hash)
            {
                changes.codes.insert(code_hash, state.code(code_hash)?);
            }
            let mut storage = BTreeMap::new();
            for (slot, before) in undo.slots {
                storage.insert(slot, Change { before, after: state.slot(undo.address, slot)? });
            }
            let wiped = before.is_some() && after.is_none();
            let change = AccountChange { account: Change { before, after }, wiped, storage };
            changes.accounts.insert(undo.address, change);
        }
        Ok(changes)
    }

    /// A change set for a trie: it turns the state after block `from` into that after block `to`, an earlier one. What it says of values before, and
    /// of codes, is empty.
    ///
    /// # Errors
    /// As [`Self::state`]; [`StorageError::Timeout`] at the deadline; [`StorageError::Corrupt`]; or the database's.
    pub fn changes_back(&self, from: u64, to: u64, deadline: Instant) -> Result<ChangeSet, StorageError> {
        self.head.check_state(from)?;
        let state = self.state(to)?;
        let mut seen = 0;
        let targets = self.store.targets(&self.head, from, to, |number, _| {
            if number != seen {
                seen = number;
                return if Instant::now() < deadline { Ok(()) } else { Err(StorageError::Timeout) };
            }
            Ok(())
        })?;
        let mut changes = ChangeSet::default();
        for (address, target) in targets {
            let after = match target.account {
                Some(account) => account,
                None => state.account(address)?,
            };
            let account = Change { before: None, after };
            let storage = target.slots.into_iter().map(|(slot, after)| (slot, Change { before: U256::ZERO, after }));
            changes.accounts.insert(address, AccountChange { account, wiped: false, storage: storage.collect() });
        }
        Ok(changes)
    }
}

/// The state after one block. Implements [`revm::DatabaseRef`]. Cheap to clone.
#[derive(Clone)]
pub struct StateView {
    view: View,
    block: u64,
    /// Whether the block is below the view's head, so that later changes have to be undone.
    history: bool,
}

impl StateView {
    /// Number of the block after which this is the state.
    pub fn block_number(&self) -> u64 {
        self.block
    }

    /// An account; none if it does not exist.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn account(&self, address: Address) -> Result<Option<Account>, StorageError> {
        let View { store, head } = &self.view;
        if self.history {
            let from = codec::account_history_key(address, self.block + 1);
            let to = codec::account_history_key(address, u64::MAX);
            if let Some(entry) = head.snapshot.range(&store.keyspaces.account_history, from..=to).next() {
                return codec::decode_account(&entry.value()?);
            }
        }
        flat_account(store, head, address)
    }

    /// The value of a slot; zero if it is absent.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or the database's.
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, StorageError> {
        let View { store, head } = &self.view;
        if self.history {
            let from = codec::slot_history_key(address, slot, self.block + 1);
            let to = codec::slot_history_key(address, slot, u64::MAX);
            if let Some(entry) = head.snapshot.range(&store.keyspaces.slot_history, from..=to).next() {
                return codec::decode_uint(&entry.value()?);
            }
        }
        flat_slot(store, head, address, slot)
    }

    /// The code with this hash; empty for the hash of nothing.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if no account ever had it, or the database's.
    pub fn code(&self, hash: B256) -> Result<Bytes, StorageError> {
        if hash == KECCAK256_EMPTY || hash.is_zero() {
            return Ok(Bytes::new());
        }
        let View { store, head } = &self.view;
        let code = head.snapshot.get(&store.keyspaces.codes, hash)?;
        Ok(Bytes::copy_from_slice(&code.ok_or(StorageError::Corrupt("a code is missing"))?))
    }
}

pub(crate) fn flat_account(store: &Store, head: &Head, address: Address) -> Result<Option<Account>, StorageError> {
    match head.snapshot.get(&store.keyspaces.accounts, address)? {
        Some(value) => codec::decode_account(&value),
        None => Ok(None),
    }
}

pub(crate) fn flat_slot(store: &Store, head: &Head, address: Address, slot: U256) -> Result<U256, StorageError> {
    match head.snapshot.get(&store.keyspaces.slots, codec::slot_key(address, slot))? {
        Some(value) => codec::decode_uint(&value),
        None => Ok(U256::ZERO),
    }
}

/// An entry of the flat state's slots: address, slot, value.
pub(crate) fn decode_slot(key: &[u8], value: &[u8]) -> Result<(Address, U256, U256), StorageError> {
    let key: &[u8; 52] = key.try_into().map_err(|_| StorageError::Corrupt("a slot's key of other than 52 bytes"))?;
    Ok((Address::from_slice(&key[..20]), U256::from_be_slice(&key[20..]), codec::decode_uint(value)?))
}

pub(crate) fn block_hash(store: &Store, head: &Head, number: u64) -> Result<Option<B256>, StorageError> {
    if let Some((head, hash)) = head.block
        && head == number
    {
        return Ok(Some(hash));
    }
    let value = head.snapshot.get(&store.keyspaces.headers, number.to_be_bytes())?;
    value.map(|value| codec::decode_header_hash(&value)).transpose()
}

/// Block `number`, from the cache or decoded, and then `keep`t there.
pub(crate) fn block(
    store: &Store,
    head: &Head,
    number: u64,
    keep: bool,
) -> Result<Option<Arc<ExecutedBlock>>, StorageError> {
    let Some(header) = head.snapshot.get(&store.keyspaces.headers, number.to_be_bytes())? else { return Ok(None) };
    if let Some(block) = store.cache.get(codec::decode_header_hash(&header)?) {
        return Ok(Some(block));
    }
    let (header, hash) = codec::decode_header(&header)?;
    let body = head.snapshot.get(&store.keyspaces.bodies, number.to_be_bytes())?;
    let body = body.ok_or(StorageError::Corrupt("a body is missing"))?;
    let block = Arc::new(codec::Body::new(&body)?.into_block(header, hash)?);
    if keep {
        store.cache.insert(block.clone(), body.len());
    }
    Ok(Some(block))
}

impl revm::database_interface::DBErrorMarker for StorageError {}

impl revm::DatabaseRef for StateView {
    type Error = StorageError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StorageError> {
        let account = self.account(address)?;
        Ok(account.map(|Account { nonce, balance, code_hash }| AccountInfo {
            nonce,
            balance,
            code_hash,
            code: None,
            ..Default::default()
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StorageError> {
        let code = self.code(code_hash)?;
        // Code that only begins like a delegation is older than EIP-3541.
        Ok(Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code)))
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, StorageError> {
        self.slot(address, index)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StorageError> {
        if number > self.block {
            return Ok(B256::ZERO);
        }
        Ok(self.view.block_hash(number)?.unwrap_or_default())
    }
}
