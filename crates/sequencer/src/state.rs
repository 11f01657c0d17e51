//! State to read and execute on: a block's, or the pending block's.

use alloy_primitives::{Address, B256, Bytes, U256};
use jove_primitives::{Account, ChangeSet};
use jove_storage::{StateView, StorageError};
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};
use std::sync::Arc;

/// The state after a block, with changes over it where that block is pending. Cheap to clone.
#[derive(Clone)]
pub struct State {
    view: StateView,
    over: Option<Arc<ChangeSet>>,
}

impl State {
    pub(crate) fn with_changes(view: StateView, changes: ChangeSet) -> Self {
        Self { view, over: Some(Arc::new(changes)) }
    }

    /// The account, if it exists.
    ///
    /// # Errors
    /// If the store fails or the state is pruned.
    pub fn account(&self, address: Address) -> Result<Option<Account>, StorageError> {
        match self.over.as_ref().and_then(|over| over.accounts.get(&address)) {
            Some(change) => Ok(change.account.after),
            None => self.view.account(address),
        }
    }

    /// A slot's value; zero where there is none.
    ///
    /// # Errors
    /// If the store fails or the state is pruned.
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, StorageError> {
        if let Some(change) = self.over.as_ref().and_then(|over| over.accounts.get(&address)) {
            if let Some(value) = change.storage.get(&slot) {
                return Ok(value.after);
            }
            if change.wiped {
                return Ok(U256::ZERO);
            }
        }
        self.view.slot(address, slot)
    }

    /// Code by its Keccak-256.
    ///
    /// # Errors
    /// If the store fails or has no such code.
    pub fn code(&self, hash: B256) -> Result<Bytes, StorageError> {
        match self.over.as_ref().and_then(|over| over.codes.get(&hash)) {
            Some(code) => Ok(code.clone()),
            None => self.view.code(hash),
        }
    }
}

impl From<StateView> for State {
    fn from(view: StateView) -> Self {
        Self { view, over: None }
    }
}

impl DatabaseRef for State {
    type Error = StorageError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StorageError> {
        Ok(self.account(address)?.map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, StorageError> {
        match self.over.as_ref().and_then(|over| over.codes.get(&hash)) {
            Some(code) => {
                Ok(Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code.clone())))
            }
            None => self.view.code_by_hash_ref(hash),
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StorageError> {
        self.slot(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StorageError> {
        self.view.block_hash_ref(number)
    }
}
