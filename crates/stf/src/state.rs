//! The state as a block under way sees it: a database, and what the block has changed so far.

use alloc::collections::BTreeMap;
use alloy_primitives::{
    Address, B256, U256,
    map::{AddressMap, B256Map, Entry, HashMap},
};
use jove_primitives::{Account, AccountChange, Change, ChangeSet};
use revm::{
    Database, DatabaseRef,
    bytecode::Bytecode,
    state::{AccountInfo, EvmState},
};

/// A database with a block's changes over it.
#[derive(Debug)]
pub struct BlockState<DB> {
    db: DB,
    accounts: AddressMap<CachedAccount>,
    codes: B256Map<Bytecode>,
}

#[derive(Debug, Default)]
struct CachedAccount {
    account: Change<Option<Account>>,
    /// The database's storage of this account no longer counts.
    wiped: bool,
    slots: HashMap<U256, Change<U256>>,
}

impl CachedAccount {
    fn remove(&mut self) {
        // Storage can only be there where an account is or was.
        self.wiped |= self.account.before.is_some();
        for change in self.slots.values_mut() {
            change.after = U256::ZERO;
        }
        self.account.after = None;
    }
}

impl<DB: DatabaseRef> BlockState<DB> {
    /// Nothing changed yet.
    pub fn new(db: DB) -> Self {
        Self { db, accounts: AddressMap::default(), codes: B256Map::default() }
    }

    fn load(&mut self, address: Address) -> Result<&mut CachedAccount, DB::Error> {
        match self.accounts.entry(address) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let account = self.db.basic_ref(address)?.map(|info| Account {
                    nonce: info.nonce,
                    balance: info.balance,
                    code_hash: info.code_hash,
                });
                let account = Change { before: account, after: account };
                Ok(entry.insert(CachedAccount { account, ..Default::default() }))
            }
        }
    }

    /// The account as it stands.
    ///
    /// # Errors
    /// If the database fails.
    pub fn account(&mut self, address: Address) -> Result<Option<Account>, DB::Error> {
        Ok(self.load(address)?.account.after)
    }

    /// Sets an account outside of any transaction; an empty one is removed (EIP-161), its storage with it.
    ///
    /// # Errors
    /// If the database fails.
    pub fn set_account(&mut self, address: Address, account: Account) -> Result<(), DB::Error> {
        let cached = self.load(address)?;
        if account.is_empty() {
            cached.remove();
        } else {
            cached.account.after = Some(account);
        }
        Ok(())
    }

    /// Adds to a balance outside of any transaction.
    ///
    /// # Errors
    /// If the database fails.
    pub fn credit(&mut self, address: Address, amount: U256) -> Result<(), DB::Error> {
        if amount.is_zero() {
            return Ok(());
        }
        let mut account = self.account(address)?.unwrap_or_default();
        account.balance = account.balance.saturating_add(amount);
        self.set_account(address, account)
    }

    /// Writes a slot outside of any transaction.
    ///
    /// # Errors
    /// If the database fails.
    pub fn set_slot(&mut self, address: Address, slot: U256, value: U256) -> Result<(), DB::Error> {
        self.storage(address, slot)?;
        if let Some(change) = self.load(address)?.slots.get_mut(&slot) {
            change.after = value;
        }
        Ok(())
    }

    /// Sets an account's code outside of any transaction.
    ///
    /// # Errors
    /// If the database fails.
    pub fn set_code(&mut self, address: Address, code: Bytecode) -> Result<(), DB::Error> {
        let mut account = self.account(address)?.unwrap_or_default();
        account.code_hash = code.hash_slow();
        self.codes.insert(account.code_hash, code);
        self.set_account(address, account)
    }

    /// Takes over what one transaction did.
    ///
    /// # Errors
    /// If the database fails.
    pub fn commit(&mut self, state: EvmState) -> Result<(), DB::Error> {
        for (address, account) in state {
            if !account.is_touched() {
                continue;
            }
            let destroyed = account.is_selfdestructed();
            let created = account.is_created();
            let cached = self.load(address)?;
            let code_before = cached.account.after.map(|account| account.code_hash);
            if destroyed || created {
                cached.remove();
            }
            if destroyed {
                continue;
            }
            for (slot, value) in account.storage {
                if value.is_changed() || created {
                    // A slot of a fresh account was never read from the database: zero, unless the account was wiped,
                    // and then the store knows better.
                    cached.slots.entry(slot).or_default().after = value.present_value();
                }
            }
            let info = account.info;
            let after = Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash };
            let code_changed = code_before.is_none_or(|before| before != after.code_hash);
            cached.account.after = (!after.is_empty()).then_some(after);
            if code_changed
                && let Some(code) = info.code
                && !code.is_empty()
            {
                self.codes.insert(after.code_hash, code);
            }
        }
        Ok(())
    }

    /// Everything that changed.
    pub fn into_changes(self) -> ChangeSet {
        let mut changes = ChangeSet::default();
        for (address, cached) in self.accounts {
            let CachedAccount { account, wiped, slots } = cached;
            let storage: BTreeMap<U256, Change<U256>> =
                slots.into_iter().filter(|(_, slot)| slot.before != slot.after).collect();
            if account.before == account.after && storage.is_empty() && !wiped {
                continue;
            }
            let old_code = account.before.map(|before| before.code_hash);
            if let Some(after) = account.after
                && old_code != Some(after.code_hash)
                && let Some(code) = self.codes.get(&after.code_hash)
            {
                changes.codes.insert(after.code_hash, code.original_bytes());
            }
            changes.accounts.insert(address, AccountChange { account, wiped, storage });
        }
        changes
    }
}

impl<DB: DatabaseRef> Database for BlockState<DB> {
    type Error = DB::Error;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, DB::Error> {
        let Some(account) = self.account(address)? else { return Ok(None) };
        Ok(Some(AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, DB::Error> {
        match self.codes.get(&code_hash) {
            Some(code) => Ok(code.clone()),
            None => self.db.code_by_hash_ref(code_hash),
        }
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, DB::Error> {
        let cached = self.load(address)?;
        if let Some(change) = cached.slots.get(&slot) {
            return Ok(change.after);
        }
        if cached.wiped || cached.account.before.is_none() {
            cached.slots.insert(slot, Change::default());
            return Ok(U256::ZERO);
        }
        let value = self.db.storage_ref(address, slot)?;
        self.load(address)?.slots.insert(slot, Change { before: value, after: value });
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, DB::Error> {
        self.db.block_hash_ref(number)
    }
}
