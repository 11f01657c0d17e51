//! Tests of the pool as a whole, and what they share.

mod admission;
mod blobs;
mod head;
mod journal;
mod model;
mod recovery;

use super::{Accounts, Pool, PoolConfig, PoolError, PooledTransaction, Returning};
use alloy_consensus::{Header, SignableTransaction, Signed, TxEip1559, transaction::RlpEcdsaEncodableTx};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use jove_primitives::{
    Account, ChainSpec, ExecutedBlock,
    block::{L1Prices, RecoveredTransaction, Transaction},
};
use parking_lot::Mutex;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
};

pub(super) const CHAIN_ID: u64 = 5683;
/// The development chain's lowest base fee.
pub(super) const FLOOR: u64 = 10_000_000;
pub(super) const ETHER: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// A key pair by number.
#[derive(Clone, Copy)]
pub(super) struct Key {
    secret: SecretKey,
    pub(super) address: Address,
}

pub(super) fn key(n: u64) -> Key {
    let secret = SecretKey::from_secret_bytes(keccak256(n.to_be_bytes()).0).expect("a hash is a key");
    let public = PublicKey::from_secret_key(&secret).serialize_uncompressed();
    Key { secret, address: Address::from_raw_public_key(&public[1..]) }
}

impl Key {
    pub(super) fn sign_hash(&self, hash: B256) -> Signature {
        let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.secret)
            .serialize_compact();
        Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1)
    }

    pub(super) fn sign<T>(&self, transaction: T) -> Transaction
    where
        T: SignableTransaction<Signature> + RlpEcdsaEncodableTx,
        Transaction: From<Signed<T>>,
    {
        let signature = self.sign_hash(transaction.signature_hash());
        transaction.into_signed(signature).into()
    }

    /// A plain transfer with its fees in units of the fee floor, encoded.
    pub(super) fn transfer(&self, nonce: u64, tip: u64, cap: u64) -> Bytes {
        self.sign(transfer(nonce, tip, cap)).encoded_2718().into()
    }
}

/// A plain transfer of one wei to nobody. Fees are in units of the fee floor.
pub(super) fn transfer(nonce: u64, tip: u64, cap: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: u128::from(FLOOR) * u128::from(cap),
        max_priority_fee_per_gas: u128::from(FLOOR) * u128::from(tip),
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::ONE,
        ..Default::default()
    }
}

/// The head state.
#[derive(Default)]
pub(super) struct State {
    /// Hashes of transactions in blocks.
    included: Mutex<HashSet<B256>>,
    accounts: Mutex<HashMap<Address, Account>>,
    codes: Mutex<HashMap<B256, Bytes>>,
}

impl Accounts for State {
    fn is_included(&self, transaction: B256) -> bool {
        self.included.lock().contains(&transaction)
    }

    fn account(&self, address: Address) -> Account {
        self.accounts.lock().get(&address).copied().unwrap_or_default()
    }

    fn code(&self, hash: B256) -> Bytes {
        self.codes.lock().get(&hash).cloned().unwrap_or_default()
    }
}

/// A pool on a chain of which a test says what happens.
pub(super) struct Chain {
    pub(super) state: Arc<State>,
    pub(super) pool: Arc<Pool>,
}

pub(super) fn chain() -> Chain {
    chain_with(PoolConfig::default())
}

/// Every key up to 100 has an ether.
pub(super) fn chain_with(config: PoolConfig) -> Chain {
    chain_of(ChainSpec::dev().without_l1_fee(), config)
}

pub(super) fn chain_of(spec: ChainSpec, config: PoolConfig) -> Chain {
    let state = Arc::new(State::default());
    static RICH: LazyLock<Vec<Address>> = LazyLock::new(|| (0..100).map(|n| key(n).address).collect());
    for address in &*RICH {
        state.accounts.lock().insert(*address, Account { balance: ETHER, ..Account::default() });
    }
    let pool = Pool::new(Arc::new(spec), config, state.clone()).expect("no journal, or one that can be read");
    Chain { state, pool }
}

impl Chain {
    pub(super) fn add(&self, raw: Bytes) -> Result<B256, PoolError> {
        self.pool.add_raw(&[raw]).swap_remove(0)
    }

    pub(super) fn set(&self, address: Address, account: Account) {
        self.state.accounts.lock().insert(address, account);
    }

    pub(super) fn set_code(&self, address: Address, code: &[u8]) {
        let code_hash = keccak256(code);
        self.state.codes.lock().insert(code_hash, Bytes::copy_from_slice(code));
        let account = self.state.account(address);
        self.set(address, Account { code_hash, ..account });
    }

    /// Seals a block of these transactions, of which each costs its sender a wei, and with changes of other accounts.
    pub(super) fn seal(
        &self,
        transactions: &[PooledTransaction],
        others: &[(Address, Account)],
        prices: L1Prices,
    ) -> ExecutedBlock {
        let mut changed: HashMap<Address, Account> = others.iter().copied().collect();
        for pooled in transactions {
            let sender = pooled.transaction.signer();
            let account = changed.entry(sender).or_insert_with(|| self.state.account(sender));
            account.nonce += 1;
            account.balance -= U256::ONE;
        }
        for (address, account) in &changed {
            self.set(*address, *account);
        }
        let block = block(transactions.iter().map(|pooled| (*pooled.transaction).clone()).collect(), prices);
        self.pool.on_block(&block, changed, FLOOR);
        block
    }

    /// Hashes of the best transactions at a base fee in units of the floor.
    pub(super) fn best(&self, base_fee: u64) -> Vec<B256> {
        self.pool.best(base_fee * FLOOR).map(|pooled| pooled.hash).collect()
    }

    pub(super) fn insert(&self, raw: Bytes) -> B256 {
        self.add(raw).expect("admitted")
    }
}

pub(super) fn block(transactions: Vec<RecoveredTransaction>, l1_prices: L1Prices) -> ExecutedBlock {
    let header = Header::default();
    ExecutedBlock {
        hash: header.hash_slow(),
        header,
        transactions,
        receipts: Vec::new(),
        l1_fees: Vec::new(),
        l1_prices,
    }
}

pub(super) fn hashes(pooled: &[PooledTransaction]) -> Vec<B256> {
    pooled.iter().map(|pooled| pooled.hash).collect()
}
