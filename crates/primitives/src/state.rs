//! Accounts, and the change sets that blocks leave behind.

use alloc::collections::BTreeMap;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};

/// What the state says of an account, its storage apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent, or contracts created by a contract.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Keccak-256 of the code; [`KECCAK256_EMPTY`] without code.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY }
    }
}

impl Account {
    /// Empty as EIP-161 defines it: no nonce, no balance, no code. Such an account is not in the state.
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK256_EMPTY
    }
}

/// A value before and after a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<T> {
    /// The value that the block found.
    pub before: T,
    /// The value that it left.
    pub after: T,
}

impl<T> Change<T> {
    fn reversed(self) -> Self {
        Self { before: self.after, after: self.before }
    }
}

/// What a block did to one account. `None` is an account that does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The account itself.
    pub account: Change<Option<Account>>,
    /// The account's old storage is gone as a whole: `storage` starts from nothing. It happens where an account is
    /// destroyed, before Cancun, or created over leftover storage. [`ChangeSet`]s that the store has completed list every
    /// erased slot in `storage` too, with `after` zero.
    pub wiped: bool,
    /// Slots whose value changed; zero is an absent slot.
    pub storage: BTreeMap<U256, Change<U256>>,
}

/// All that a block changed in the state: enough to apply it, and, once the store has completed its wipes, to undo it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Accounts with a change of their own or in their storage.
    pub accounts: BTreeMap<Address, AccountChange>,
    /// Code created in the block, by its Keccak-256. Code is never removed.
    pub codes: BTreeMap<B256, Bytes>,
}

impl ChangeSet {
    /// The change set that undoes this one. Wipes must be complete (every erased slot listed).
    pub fn reversed(&self) -> Self {
        let accounts = self
            .accounts
            .iter()
            .map(|(address, change)| {
                let storage = change.storage.iter().map(|(slot, value)| (*slot, value.reversed())).collect();
                let wiped = change.account.before.is_none();
                (*address, AccountChange { account: change.account.reversed(), wiped, storage })
            })
            .collect();
        Self { accounts, codes: BTreeMap::new() }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}
