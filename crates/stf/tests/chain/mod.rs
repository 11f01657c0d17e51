//! The development chain in memory, for tests.
#![allow(dead_code)] // not every test uses all of it

use alloy_consensus::{Header, SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Signature, TxKind, U256, address};
use jove_primitives::{ChainSpec, ChangeSet, block::RecoveredTransaction, header::time_ms};
use jove_stf::{BlockContext, BlockExecutor, Rules, next_header};
use revm::{
    bytecode::Bytecode,
    database::{CacheDB, EmptyDB},
    state::AccountInfo,
};
use std::sync::Arc;

pub(crate) const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
pub(crate) const BOB: Address = address!("00000000000000000000000000000000000b0b00");

pub(crate) type Db = CacheDB<EmptyDB>;

/// The development chain at its genesis.
pub(crate) struct Chain {
    pub(crate) rules: Rules,
    pub(crate) genesis: Header,
    pub(crate) db: Db,
}

pub(crate) fn chain() -> Chain {
    let spec = Arc::new(ChainSpec::dev());
    let genesis = spec.genesis_header(B256::repeat_byte(1));
    let mut db = Db::default();
    let changes = spec.genesis_changes();
    apply(&mut db, &changes);
    Chain { rules: Rules::Jove { genesis: genesis.hash_slow(), spec }, genesis, db }
}

pub(crate) fn apply(db: &mut Db, changes: &ChangeSet) {
    for (address, change) in &changes.accounts {
        let after = change.account.after.unwrap_or_default();
        let code = changes.codes.get(&after.code_hash).map(|code| Bytecode::new_raw(code.clone()));
        let info = AccountInfo {
            balance: after.balance,
            nonce: after.nonce,
            code_hash: after.code_hash,
            account_id: None,
            code,
        };
        db.insert_account_info(*address, info);
        for (slot, value) in &change.storage {
            db.insert_account_storage(*address, *slot, value.after).expect("in memory");
        }
    }
}

impl Chain {
    /// The context of a block of signed transactions before there is an L1 origin.
    pub(crate) fn at(&self, time_ms: u64) -> BlockContext {
        BlockContext { time_ms, mix_source: self.genesis.hash_slow(), messages: false }
    }

    pub(crate) fn header(&self, after_ms: u64) -> Header {
        let time = time_ms(&self.genesis).expect("ours") + after_ms;
        next_header(&self.rules, &self.genesis, self.genesis.hash_slow(), self.at(time)).expect("follows")
    }

    pub(crate) fn block(&self) -> BlockExecutor<&Db> {
        BlockExecutor::new(&self.rules, &self.header(10), &self.db).expect("in memory")
    }
}

pub(crate) fn transfer(nonce: u64, value: U256) -> RecoveredTransaction {
    let tx = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000,
        max_priority_fee_per_gas: 1_000,
        to: TxKind::Call(BOB),
        value,
        ..Default::default()
    };
    RecoveredTransaction::new_unchecked(tx.into_signed(Signature::test_signature()).into(), ALICE)
}
