//! `eth_simulateV1`: blocks that might follow a block.
//!
//! Each simulated block follows the one before it, or the base: its parent hash, number and time, base fee and gas limit are
//! what overrides say, or follow from its parent. Numbers ascend, by default by one, and gaps are filled with empty blocks; there
//! are 256 blocks at most. Times do not fall, by default they grow by a second: Jove's, unlike Ethereum's, may be equal. State
//! overrides hold from their block on; a precompile is moved for its block only.
//!
//! Without `validation` a call needs no fitting nonce and the base fee is zero unless overridden; with it, both are checked.
//! A sender is never asked to be no contract. No L1 data fee is charged: nobody signed, and nothing goes to L1. All calls together
//! have [`CALL_GAS_CAP`] gas.
//!
//! A header's state root is zero, since nothing is folded for a simulation; the other roots are those of the transactions (with a
//! zero signature) and receipts, and hashes are those of the headers as shown.

use super::{
    outcome::{self, code},
    stage::{Source, Stage, history_slot},
    transaction::{CALL_GAS_CAP, tx_env, unsigned},
    transfers::TransferLogs,
};
use crate::error::RpcError;
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, Sealable, Transaction as _, Typed2718, constants::EMPTY_WITHDRAWALS,
};
use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{B256, Bytes, Log, Signature, U256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::{
    Block, BlockOverrides, BlockTransactions, TransactionRequest,
    simulate::{MAX_SIMULATE_BLOCKS, SimBlock, SimCallResult, SimulateError, SimulatePayload},
};
use jove_primitives::{
    Account, Receipt, Transaction,
    block::{RecoveredTransaction, receipts_root, transactions_root},
    header::{Extra, mix_hash, next_excess},
    predeploys,
};
use jove_stf::{BlockContext, Rules, mix_source, next_header};
use revm::{
    DatabaseCommit,
    context::{
        Transaction as _, TxEnv,
        result::{EVMError, ExecutionResult, ResultAndState},
    },
};
use std::time::Instant;

/// A simulated block as the caller sees it.
pub(crate) type SimulatedBlock =
    alloy_rpc_types_eth::simulate::SimulatedBlock<Block<alloy_rpc_types_eth::Transaction<Transaction>>>;

/// Runs the blocks of `payload` on `state`, the state after `base`.
///
/// # Errors
/// The codes of execution-apis where a block or a call cannot be; a call that fails is in the result. A timeout.
pub(crate) fn simulate<S: Source>(
    payload: SimulatePayload,
    rules: &Rules,
    base: &Header,
    base_hash: B256,
    state: S,
    deadline: Instant,
) -> Result<Vec<SimulatedBlock>, RpcError> {
    let SimulatePayload { block_state_calls, trace_transfers, validation, return_full_transactions } = payload;
    let blocks = plan(block_state_calls, base)?;
    let mut stage = Stage::new(rules, base, state);
    stage.free = !validation;
    stage.db.cache.block_hashes.insert(U256::from(base.number), base_hash);
    let mut simulation = Simulation {
        rules,
        stage,
        parent: base.clone(),
        parent_hash: base_hash,
        gas_left: CALL_GAS_CAP,
        trace_transfers,
        validation,
        full: return_full_transactions,
        deadline,
    };
    blocks.into_iter().map(|block| simulation.block(block)).collect()
}

/// A block that was asked for, or fills a gap.
struct Planned {
    number: u64,
    time: u64,
    block: SimBlock,
}

/// Puts the blocks in order and fills the gaps.
fn plan(blocks: Vec<SimBlock>, base: &Header) -> Result<Vec<Planned>, RpcError> {
    if blocks.is_empty() {
        return Err(RpcError::invalid_params("empty input"));
    }
    let too_many = || RpcError::new(code::TOO_MANY_BLOCKS, "too many blocks");
    if blocks.len() as u64 > MAX_SIMULATE_BLOCKS {
        return Err(too_many());
    }
    let mut planned = Vec::with_capacity(blocks.len());
    let (mut number, mut time) = (base.number, base.timestamp);
    for block in blocks {
        let overrides = block.block_overrides.as_ref();
        let wanted = match overrides.and_then(|overrides| overrides.number) {
            Some(wanted) => u64::try_from(wanted).map_err(|_| too_many())?,
            None => number.checked_add(1).ok_or_else(too_many)?,
        };
        if wanted <= number {
            let text = format!("block numbers must be in order: {wanted} <= {number}");
            return Err(RpcError::new(code::BLOCK_NUMBER, text));
        }
        if wanted - base.number > MAX_SIMULATE_BLOCKS {
            return Err(too_many());
        }
        while number + 1 < wanted {
            number += 1;
            time = time.saturating_add(1);
            planned.push(Planned { number, time, block: SimBlock::default() });
        }
        number = wanted;
        let wanted = overrides.and_then(|overrides| overrides.time).unwrap_or(time.saturating_add(1));
        if wanted < time {
            let text = format!("block timestamps must be in order: {wanted} < {time}");
            return Err(RpcError::new(code::BLOCK_TIME, text));
        }
        time = wanted;
        planned.push(Planned { number, time, block });
    }
    Ok(planned)
}

struct Simulation<'a, S> {
    rules: &'a Rules,
    stage: Stage<S>,
    parent: Header,
    parent_hash: B256,
    gas_left: u64,
    trace_transfers: bool,
    validation: bool,
    full: bool,
    deadline: Instant,
}

/// A block under way.
#[derive(Default)]
struct Body {
    transactions: Vec<RecoveredTransaction>,
    receipts: Vec<Receipt>,
    gas_used: u64,
    log_count: u64,
}

impl<S: Source> Simulation<'_, S> {
    fn block(&mut self, planned: Planned) -> Result<SimulatedBlock, RpcError> {
        let Planned { number, time, block } = planned;
        let overrides = block.block_overrides.unwrap_or_default();
        let mut header = self.header(number, time, &overrides)?;
        self.stage.enter(self.rules, &header);
        self.stage.cfg.disable_nonce_check = !self.validation;
        let BlockOverrides { blob_base_fee, block_hash, .. } = overrides;
        self.stage.override_block(BlockOverrides { blob_base_fee, block_hash, ..Default::default() })?;
        if let Some(state) = block.state_overrides {
            self.stage.override_state(state)?;
        }
        self.store_parent_hash(&header)?;

        let mut body = Body::default();
        let mut calls = Vec::with_capacity(block.calls.len().min(1 << 12));
        for request in block.calls {
            calls.push(self.call(&header, request, &mut body)?);
        }

        header.gas_used = body.gas_used;
        let blob_gas = |transaction: &RecoveredTransaction| transaction.blob_gas_used().unwrap_or_default();
        header.blob_gas_used = Some(body.transactions.iter().map(blob_gas).sum());
        header.transactions_root = transactions_root(&body.transactions);
        (header.receipts_root, header.logs_bloom) = receipts_root(&body.receipts);
        let hash = header.hash_slow();
        for log in calls.iter_mut().flat_map(|call: &mut SimCallResult| &mut call.logs) {
            log.block_hash = Some(hash);
        }
        self.stage.db.cache.block_hashes.insert(U256::from(number), hash);
        (self.parent, self.parent_hash) = (header.clone(), hash);
        Ok(SimulatedBlock { inner: self.shown(header, hash, body.transactions), calls })
    }

    fn header(&self, number: u64, time: u64, overrides: &BlockOverrides) -> Result<Header, RpcError> {
        let Rules::Jove { spec, .. } = self.rules else { return self.ethereum_header(time, overrides) };
        let parent = &self.parent;
        let before = Extra::decode(&parent.extra_data).unwrap_or_default();
        let keeps_phase = overrides.time.is_none() || time == parent.timestamp;
        let millisecond = if keeps_phase { before.millisecond } else { 0 };
        let elapsed = (time - parent.timestamp)
            .saturating_mul(1000)
            .saturating_add(millisecond.into())
            .saturating_sub(before.millisecond.into());
        let excess_gas = next_excess(&spec.gas, parent, elapsed).unwrap_or(0);
        let source = mix_source(self.rules, &self.stage.db).map_err(RpcError::internal)?;
        let base_fee = match overrides.base_fee {
            Some(fee) => {
                u64::try_from(fee).map_err(|_| RpcError::invalid_params("block override baseFeePerGas is too large"))?
            }
            None if self.validation => spec.gas.base_fee(excess_gas),
            None => 0,
        };
        Ok(Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
            difficulty: overrides.difficulty.unwrap_or_default(),
            number,
            gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
            timestamp: time,
            extra_data: Extra { millisecond, excess_gas, messages: false }.encode(),
            mix_hash: overrides.random.unwrap_or_else(|| mix_hash(source, number)),
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(overrides.beacon_root.unwrap_or_default()),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            state_root: B256::ZERO,
            ..Default::default()
        })
    }

    fn ethereum_header(&self, time: u64, overrides: &BlockOverrides) -> Result<Header, RpcError> {
        let context = BlockContext { time_ms: time.saturating_mul(1000), mix_source: B256::ZERO, messages: false };
        let header = next_header(self.rules, &self.parent, self.parent_hash, context)
            .map_err(|error| RpcError::new(code::BLOCK_TIME, error.to_string()))?;
        let base_fee = match overrides.base_fee {
            Some(fee) => Some(
                u64::try_from(fee)
                    .map_err(|_| RpcError::invalid_params("block override baseFeePerGas is too large"))?,
            ),
            None if self.validation => header.base_fee_per_gas,
            None => Some(0),
        };
        Ok(Header {
            beneficiary: overrides.coinbase.unwrap_or(header.beneficiary),
            difficulty: overrides.difficulty.unwrap_or_default(),
            gas_limit: overrides.gas_limit.unwrap_or(header.gas_limit),
            mix_hash: overrides.random.unwrap_or(header.mix_hash),
            parent_beacon_block_root: overrides.beacon_root.or(header.parent_beacon_block_root),
            base_fee_per_gas: base_fee,
            ..header
        })
    }

    /// EIP-2935, as every block does.
    fn store_parent_hash(&mut self, header: &Header) -> Result<(), RpcError> {
        if self.stage.account(HISTORY_STORAGE_ADDRESS)?.code_hash == Account::default().code_hash {
            return Ok(());
        }
        let (slot, value) = (history_slot(header.number.saturating_sub(1)), header.parent_hash.into());
        self.stage.db.insert_account_storage(HISTORY_STORAGE_ADDRESS, slot, value).map_err(Into::into)
    }

    fn call(
        &mut self,
        header: &Header,
        request: TransactionRequest,
        body: &mut Body,
    ) -> Result<SimCallResult, RpcError> {
        if Instant::now() >= self.deadline {
            return Err(RpcError::timeout());
        }
        let left = header.gas_limit.saturating_sub(body.gas_used);
        let gas = request.gas.unwrap_or(left);
        if gas > left {
            let text = format!("block gas limit reached: {} >= {}", body.gas_used, header.gas_limit);
            return Err(RpcError::new(code::BLOCK_GAS_LIMIT, text));
        }
        let nonce = request.nonce;
        let mut tx = tx_env(TransactionRequest { gas: Some(gas), ..request }, self.rules, self.gas_left)?;
        tx.nonce = match nonce {
            Some(nonce) => nonce,
            None => self.stage.account(tx.caller)?.nonce,
        };
        let transaction = unsigned(&tx, Signature::new(U256::ZERO, U256::ZERO, false));
        let (done, logs) = self.run(&tx)?;
        let ResultAndState { result, state } = done;
        self.stage.db.commit(state);
        let gas = *result.gas();
        self.gas_left = self.gas_left.saturating_sub(gas.tx_gas_used());
        self.pay_base_fee(&tx, gas.tx_gas_used())?;

        let hash = *transaction.tx_hash();
        let logs = logs
            .into_iter()
            .enumerate()
            .map(|(index, inner)| alloy_rpc_types_eth::Log {
                inner,
                block_hash: None,
                block_number: Some(header.number),
                block_timestamp: Some(header.timestamp),
                transaction_hash: Some(hash),
                transaction_index: Some(body.transactions.len() as u64),
                log_index: Some(body.log_count + index as u64),
                removed: false,
            })
            .collect::<Vec<_>>();
        body.log_count += logs.len() as u64;
        body.gas_used = body.gas_used.saturating_add(gas.tx_gas_used());
        body.receipts.push(Receipt {
            tx_type: transaction.ty(),
            success: result.is_success(),
            cumulative_gas_used: body.gas_used,
            logs: if result.is_success() { result.logs().to_vec() } else { Vec::new() },
            deposit_nonce: None,
        });
        body.transactions.push(RecoveredTransaction::new_unchecked(transaction, tx.caller));

        let (status, error) = (result.is_success(), failure(&result));
        Ok(SimCallResult {
            return_data: result.into_output().unwrap_or_default(),
            logs,
            gas_used: gas.tx_gas_used(),
            max_used_gas: Some(gas.total_gas_spent().max(gas.floor_gas())),
            status,
            error,
        })
    }

    /// Runs a call. Its logs are empty if it failed.
    fn run(&mut self, tx: &TxEnv) -> Result<(ResultAndState, Vec<Log>), RpcError> {
        let (result, traced) = if self.trace_transfers {
            let (result, inspector) = self.stage.inspect(tx.clone(), TransferLogs::default());
            (result, Some(inspector.into_logs()))
        } else {
            (self.stage.run(tx.clone()), None)
        };
        match result {
            Ok(done) => {
                let logs = match traced {
                    Some(logs) => logs,
                    None if done.result.is_success() => done.result.logs().to_vec(),
                    None => Vec::new(),
                };
                Ok((done, logs))
            }
            Err(EVMError::Transaction(error)) => {
                let (code, text) = outcome::explain(&error, tx, self.stage.block.basefee);
                Err(RpcError::new(code, text))
            }
            Err(error) => Err(self.stage.refusal(error, tx)),
        }
    }

    /// The base fee that the sender paid goes to the vault, as in a block. Under Ethereum's rules it is burned.
    fn pay_base_fee(&mut self, tx: &TxEnv, gas_used: u64) -> Result<(), RpcError> {
        if matches!(self.rules, Rules::Ethereum { .. }) {
            return Ok(());
        }
        let base_fee = u128::from(self.stage.block.basefee);
        let paid = tx.effective_gas_price(base_fee).min(base_fee);
        let amount = U256::from(paid).saturating_mul(U256::from(gas_used));
        self.stage.credit(predeploys::BASE_FEE_VAULT, amount)
    }

    fn shown(
        &self,
        header: Header,
        hash: B256,
        transactions: Vec<RecoveredTransaction>,
    ) -> Block<alloy_rpc_types_eth::Transaction<Transaction>> {
        let (number, time, base_fee) = (header.number, header.timestamp, header.base_fee_per_gas.unwrap_or(0));
        let body = alloy_consensus::BlockBody {
            transactions: transactions.iter().map(|transaction| transaction.inner()).collect::<Vec<_>>(),
            ommers: Vec::new(),
            withdrawals: Some(Default::default()),
        };
        let size = alloy_consensus::Block { header: header.clone(), body }.length();
        let transactions = if self.full {
            let shown = transactions.into_iter().enumerate().map(|(index, transaction)| {
                let price = alloy_consensus::Transaction::effective_gas_price(transaction.inner(), Some(base_fee));
                alloy_rpc_types_eth::Transaction {
                    inner: transaction,
                    block_hash: Some(hash),
                    block_number: Some(number),
                    transaction_index: Some(index as u64),
                    effective_gas_price: Some(price),
                    block_timestamp: Some(time),
                }
            });
            BlockTransactions::Full(shown.collect())
        } else {
            BlockTransactions::Hashes(transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
        };
        let header = header.seal_unchecked(hash);
        Block {
            header: alloy_rpc_types_eth::Header::from_consensus(header, None, Some(U256::from(size))),
            uncles: Vec::new(),
            transactions,
            withdrawals: Some(Default::default()),
        }
    }
}

/// The error of a call that ran and failed.
fn failure(result: &ExecutionResult) -> Option<SimulateError> {
    match result {
        ExecutionResult::Success { .. } => None,
        ExecutionResult::Revert { output, .. } => {
            let error = RpcError::reverted(output);
            let data: Option<Bytes> = Some(output.clone());
            Some(SimulateError { code: error.code, message: error.message.into_owned(), data })
        }
        ExecutionResult::Halt { reason, .. } => {
            Some(SimulateError { code: code::HALTED, message: outcome::halt(reason), data: None })
        }
    }
}
