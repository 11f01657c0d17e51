//! The state that blocks run on: accounts and slots from the trie in memory, code and block hashes from where they are kept.

use alloy_primitives::{Address, B256, Bytes, U256, map::B256Map};
use jove_trie::StateTrie;
use parking_lot::RwLock;
use revm::{DatabaseRef, bytecode::Bytecode, database_interface::DBErrorMarker, state::AccountInfo};

/// Most contracts whose analysed code is kept, of at most 24 KiB each.
const MAX_CODES: usize = 10_000;

/// Analysed code by hash, shared by all blocks.
#[derive(Debug, Default)]
pub struct CodeCache(RwLock<B256Map<Bytecode>>);

impl CodeCache {
    /// The code with this hash, loaded by `load` when it is not here yet.
    ///
    /// # Errors
    /// What `load` gives.
    pub fn get<E>(&self, hash: B256, load: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytecode, E> {
        if let Some(code) = self.0.read().get(&hash) {
            return Ok(code.clone());
        }
        let bytes = load()?;
        let code = Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes));
        let mut codes = self.0.write();
        if codes.len() >= MAX_CODES {
            codes.clear();
        }
        codes.insert(hash, code.clone());
        Ok(code)
    }
}

/// The head state as [`jove_stf`] reads it.
#[derive(Clone)]
pub struct TrieReader<'a, C, H> {
    /// Accounts and slots.
    pub trie: &'a StateTrie,
    /// Code by hash.
    pub code: C,
    /// Block hash by number.
    pub block_hash: H,
}

impl<E, C, H> DatabaseRef for TrieReader<'_, C, H>
where
    E: DBErrorMarker,
    C: Fn(B256) -> Result<Bytecode, E>,
    H: Fn(u64) -> Result<B256, E>,
{
    type Error = E;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, E> {
        Ok(self.trie.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, E> {
        (self.code)(hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, E> {
        Ok(self.trie.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, E> {
        (self.block_hash)(number)
    }
}
