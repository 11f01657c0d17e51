//! Replays blocks on their parents' states and traces what runs.
//!
//! A block is replayed once, by [`BlockExecutor`], so that it is the block that it was: the parent's hash in EIP-2935's contract,
//! L1 data fees, what vaults get. A transaction to trace runs twice: first for the tracer, on the very state, what it did thrown
//! away; then for the transactions after it.

use super::tracer::Tracer;
use crate::{
    error::RpcError,
    evm::stage::{Source, Stage},
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use alloy_rpc_types_trace::geth::{GethTrace, TraceResult};
use jove_primitives::{Account, ExecutedBlock, l1::DEPOSITOR, predeploys::L1_BLOCK};
use jove_stf::{BlockExecutor, BlockState, ExecuteError, Rules, deposit_env, tx_env};
use revm::{Database, DatabaseRef, InspectEvm, bytecode::Bytecode, context::TxEnv, state::AccountInfo};
use revm_inspectors::tracing::TransactionContext;
use std::cell::RefCell;

/// Enough to show the L1 attributes as a call, which they are not.
const ATTRIBUTES_GAS: u64 = 1_000_000;

/// A block replayed up to some transaction.
pub(crate) struct Replay<'a, S: Source> {
    block: &'a ExecutedBlock,
    executor: BlockExecutor<S, Tracer>,
    next: usize,
}

impl<'a, S: Source> Replay<'a, S> {
    /// Starts to replay `block` on `parent`, the state after its parent.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn new(rules: &Rules, block: &'a ExecutedBlock, parent: S, tracer: Tracer) -> Result<Self, RpcError> {
        let executor = BlockExecutor::with_inspector(rules, &block.header, parent, tracer).map_err(Into::into)?;
        Ok(Self { block, executor, next: 0 })
    }

    /// Runs the transactions before `index`.
    ///
    /// # Errors
    /// If there are fewer, one does not run (then the store is corrupt), the time is over, or the store fails.
    pub(crate) fn run_to(&mut self, index: usize) -> Result<(), RpcError> {
        while self.next < index {
            self.executor.evm().inspector.check_time()?;
            let transaction = self.block.transactions.get(self.next).ok_or_else(|| {
                RpcError::server(format!("transaction index {index} out of range for block {}", self.block.hash))
            })?;
            self.executor.execute(transaction).map_err(|error| match error {
                ExecuteError::Database(error) => error.into(),
                ExecuteError::Transaction(error) => {
                    RpcError::internal(format!("transaction {} of block {}: {error}", self.next, self.block.hash))
                }
            })?;
            self.next += 1;
        }
        Ok(())
    }

    /// Traces the next transaction, which then is still the next one.
    ///
    /// # Errors
    /// If it hits a bound of the tracer, there is none, or the store fails.
    pub(crate) fn trace_next(&mut self) -> Result<GethTrace, RpcError> {
        let index = self.next;
        let out_of_range = || RpcError::server(format!("transaction index {index} out of range"));
        let transaction = self.block.transactions.get(index).ok_or_else(out_of_range)?;
        let l1_fee = self.block.l1_fees.get(index).copied().unwrap_or_default();
        let sender = transaction.signer();
        let deposit = transaction.inner().as_deposit();
        // The L1 attributes run no code: what is there is only for readers.
        let silenced = if sender == DEPOSITOR { L1_BLOCK } else { sender };

        let before = self.executor.state().account(silenced).map_err(Into::into)?.unwrap_or_default();
        let mint = deposit.map_or(U256::ZERO, |deposit| U256::from(deposit.mint));
        let balance = before.balance.saturating_sub(l1_fee).saturating_add(mint);
        let code_hash = if sender == DEPOSITOR { KECCAK256_EMPTY } else { before.code_hash };
        let prepared = Account { balance, code_hash, ..before };
        let tx = match deposit {
            Some(deposit) if sender == DEPOSITOR => TxEnv { gas_limit: ATTRIBUTES_GAS, ..deposit_env(deposit, 0) },
            Some(deposit) => deposit_env(deposit, before.nonce),
            None => tx_env(transaction),
        };
        self.set_account(silenced, before, prepared)?;
        let evm = self.executor.evm();
        evm.inspector.reset()?;
        let rules = (evm.ctx.cfg.disable_eip3607, evm.ctx.cfg.disable_base_fee);
        if deposit.is_some() {
            (evm.ctx.cfg.disable_eip3607, evm.ctx.cfg.disable_base_fee) = (true, true);
        }
        let result = evm.inspect_tx(tx.clone());
        (evm.ctx.cfg.disable_eip3607, evm.ctx.cfg.disable_base_fee) = rules;
        self.set_account(silenced, prepared, before)?;

        let place = TransactionContext {
            block_hash: (!self.block.hash.is_zero()).then_some(self.block.hash),
            tx_index: Some(index),
            tx_hash: Some(*transaction.tx_hash()),
        };
        let evm = self.executor.evm();
        let block = evm.ctx.block.clone();
        match result {
            Ok(result) => {
                let db = Peek(RefCell::new(&mut evm.ctx.journaled_state.database));
                evm.inspector.result(place, &tx, &block, &result, db)
            }
            Err(error) => Err(evm.inspector.failure(error, &tx, block.basefee)),
        }
    }

    /// Traces every transaction.
    ///
    /// # Errors
    /// If the block as a whole hits a bound of the tracer, or the store fails.
    pub(crate) fn trace_all(mut self) -> Result<Vec<TraceResult>, RpcError> {
        let count = self.block.transactions.len();
        let mut traces = Vec::with_capacity(count);
        for (index, transaction) in self.block.transactions.iter().enumerate() {
            self.run_to(index)?;
            let tx_hash = Some(*transaction.tx_hash());
            traces.push(match self.trace_next() {
                Ok(result) => TraceResult::Success { result, tx_hash },
                // A message from L1 is in its block even if the EVM would not begin to run it.
                Err(error) if transaction.inner().as_deposit().is_some() && error.code == RpcError::SERVER => {
                    TraceResult::Error { error: error.message.into_owned(), tx_hash }
                }
                Err(error) => return Err(error),
            });
        }
        Ok(traces)
    }

    /// The state as it stands.
    pub(crate) fn state(&mut self) -> impl Source + '_
    where
        S::Error: Into<RpcError>,
    {
        Peek(RefCell::new(self.executor.state()))
    }

    fn set_account(&mut self, address: Address, now: Account, account: Account) -> Result<(), RpcError> {
        if now == account {
            return Ok(());
        }
        self.executor.state().set_account(address, account).map_err(Into::into)
    }
}

/// Traces a call on a stage.
///
/// # Errors
/// If the call cannot run, it hits a bound of the tracer, or the store fails.
pub(crate) fn trace_call<S: Source>(stage: &mut Stage<S>, tx: TxEnv, tracer: Tracer) -> Result<GethTrace, RpcError> {
    let (result, mut tracer) = stage.inspect(tx.clone(), tracer);
    match result {
        Ok(result) => tracer.result(TransactionContext::default(), &tx, &stage.block, &result, &stage.db),
        Err(error) => Err(tracer.failure(error, &tx, stage.block.basefee)),
    }
}

/// A block's state, to read only. It caches what it reads, hence the cell.
struct Peek<'a, DB>(RefCell<&'a mut BlockState<DB>>);

impl<DB: DatabaseRef> DatabaseRef for Peek<'_, DB> {
    type Error = DB::Error;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DB::Error> {
        self.0.borrow_mut().basic(address)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DB::Error> {
        self.0.borrow_mut().code_by_hash(code_hash)
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, DB::Error> {
        self.0.borrow_mut().storage(address, index)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DB::Error> {
        self.0.borrow_mut().block_hash(number)
    }
}
