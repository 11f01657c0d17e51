//! Blocks: derived, executed, sealed, checked.

use crate::{
    arithmetic,
    rules::Rules,
    state::BlockState,
    transaction::{BLOCK_ROOM, ExecuteError, Executed, TransactionError, deposit_env, tx_env},
};
use alloc::{format, vec::Vec};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, Transaction as _, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{
    Typed2718, eip1559::BaseFeeParams, eip2718::Encodable2718, eip2935, eip4788, eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use jove_primitives::{
    Account, ChainSpec, ChangeSet, Fork, Receipt,
    batch::size_bound,
    beacon,
    block::{L1Prices, RecoveredTransaction, receipts_root, transactions_root},
    fee::l1_data_fee,
    header::{Extra, ExtraError, mix_hash, next_excess, time_ms},
    l1::{DEPOSITOR, L1_MIX_HASH_SLOT, L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, MAX_MESSAGE_GAS, Queue},
    predeploys,
    transaction::{DEPOSIT_TX_TYPE_ID, TxDeposit},
};
use revm::{
    Context, Database, DatabaseRef, ExecuteEvm, InspectEvm, Inspector, MainContext,
    context::{
        FrameStack, TxEnv,
        result::{
            EVMError, ExecutionResult, HaltReason, InvalidTransaction, OutOfGasError, Output, ResultGas, SuccessReason,
        },
    },
    handler::{EthPrecompiles, MainnetContext, MainnetEvm, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
};
use thiserror::Error;

/// The EVM as blocks run it.
pub type Evm<DB, I> = MainnetEvm<MainnetContext<BlockState<DB>>, I>;

/// Timestamps and roots that EIP-4788's contract keeps.
const BEACON_ROOTS: u64 = 8_191;

/// What running a block's transactions leaves behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockOutput {
    /// One receipt a transaction.
    pub receipts: Vec<Receipt>,
    /// L1 data fees charged, in wei, one a transaction.
    pub l1_fees: Vec<U256>,
    /// L1's prices as charged.
    pub l1_prices: L1Prices,
    /// Gas used by all transactions.
    pub gas_used: u64,
    /// Blob gas used by all transactions.
    pub blob_gas_used: u64,
    /// What changed in the state.
    pub changes: ChangeSet,
}

/// Why no block can follow a parent, or a header is not the one that follows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The parent's or the block's own `extraData` is not Jove's.
    #[error(transparent)]
    Extra(#[from] ExtraError),
    /// The block's time is before its parent's; under Ethereum's rules, not in a later second.
    #[error("time {time} ms does not follow the parent's, {parent} ms")]
    Time {
        /// The block's time, in ms.
        time: u64,
        /// The parent's time, in ms.
        parent: u64,
    },
    /// The number would overflow.
    #[error("no block number is left")]
    Number,
    /// Blocks of this fork can be run, but not made.
    #[error("blocks of {0:?} are not made here: a chain under Ethereum's rules is at osaka")]
    Fork(Fork),
    /// A field that follows from the parent, or from execution, has another value.
    #[error("header field {0} is wrong")]
    Field(&'static str),
}

/// Why a block is invalid.
#[derive(Debug, Error)]
pub enum BlockError<E> {
    /// Its header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// One of its transactions.
    #[error("transaction {index}: {error}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Why.
        error: TransactionError,
    },
    /// It ends while so many messages from L1 are due and the next would surely fit: a block of messages has as many as fit, and none of another kind comes
    /// before.
    #[error("{0} messages from L1 are due still")]
    MessagesLeft(u64),
    /// Not invalid: the database failed, and nothing is known.
    #[error("database: {0}")]
    Database(E),
}

/// What a block's header needs beside its parent.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext {
    /// Time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Source of `mixHash`: [`mix_source`] of the parent's state, or [`Rules::mix_source`] of the origin that the block steps to.
    pub mix_source: B256,
    /// Whether the block is of messages from L1.
    pub messages: bool,
}

/// The source of `mixHash` of blocks with the same L1 origin as the state `db`.
///
/// # Errors
/// If the database fails.
pub fn mix_source<DB: DatabaseRef>(rules: &Rules, db: &DB) -> Result<B256, DB::Error> {
    Ok(rules.mix_source(db.storage_ref(predeploys::L1_BLOCK, L1_MIX_HASH_SLOT)?.into()))
}

/// The header of the block after `parent`, whose hash is `parent_hash`: all fields that are known before execution; the others have the
/// values of an empty block.
///
/// # Errors
/// If the time does not follow the parent's, or the parent is not of the rules' kind.
pub fn next_header(
    rules: &Rules,
    parent: &Header,
    parent_hash: B256,
    context: BlockContext,
) -> Result<Header, HeaderError> {
    match rules {
        Rules::Jove { spec, .. } => jove_header(spec, parent, parent_hash, context),
        Rules::Ethereum { .. } => ethereum_header(rules, parent, parent_hash, context.time_ms / 1000),
    }
}

fn jove_header(
    spec: &ChainSpec,
    parent: &Header,
    parent_hash: B256,
    context: BlockContext,
) -> Result<Header, HeaderError> {
    let BlockContext { time_ms, mix_source, messages } = context;
    let parent_time = self::time_ms(parent)?;
    let elapsed = time_ms.checked_sub(parent_time).ok_or(HeaderError::Time { time: time_ms, parent: parent_time })?;
    let excess_gas = next_excess(&spec.gas, parent, elapsed)?;
    let number = parent.number.checked_add(1).ok_or(HeaderError::Number)?;
    Ok(Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: predeploys::SEQUENCER_FEE_VAULT,
        number,
        gas_limit: spec.gas.block_gas_limit,
        timestamp: time_ms / 1000,
        extra_data: Extra { millisecond: (time_ms % 1000) as u16, excess_gas, messages }.encode(),
        mix_hash: mix_hash(mix_source, number),
        base_fee_per_gas: Some(spec.gas.base_fee(excess_gas)),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Default::default()
    })
}

/// What a beacon chain would decide is decided by the parent: its beneficiary and gas limit stay, `mixHash` and `parentBeaconBlockRoot` follow from
/// its hash.
fn ethereum_header(rules: &Rules, parent: &Header, parent_hash: B256, timestamp: u64) -> Result<Header, HeaderError> {
    let fork = rules.fork(timestamp);
    if fork < Fork::Osaka {
        return Err(HeaderError::Fork(fork));
    }
    if timestamp <= parent.timestamp {
        let (time, parent) = (timestamp.saturating_mul(1000), parent.timestamp.saturating_mul(1000));
        return Err(HeaderError::Time { time, parent });
    }
    let number = parent.number.checked_add(1).ok_or(HeaderError::Number)?;
    let base_fee = parent.next_block_base_fee(BaseFeeParams::ethereum());
    let excess = parent.next_block_excess_blob_gas(rules.blob_params(timestamp));
    Ok(Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: parent.beneficiary,
        number,
        gas_limit: parent.gas_limit,
        timestamp,
        extra_data: parent.extra_data.clone(),
        mix_hash: mix_hash(parent_hash, number),
        base_fee_per_gas: Some(base_fee.ok_or(HeaderError::Field("baseFeePerGas"))?),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(excess.ok_or(HeaderError::Field("excessBlobGas"))?),
        parent_beacon_block_root: Some(beacon::block_root(parent_hash)),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Default::default()
    })
}

/// Completes a header from [`next_header`] with what execution gave.
pub fn seal(
    mut header: Header,
    transactions: &[RecoveredTransaction],
    output: &BlockOutput,
    state_root: B256,
) -> Header {
    header.state_root = state_root;
    header.transactions_root = transactions_root(transactions);
    (header.receipts_root, header.logs_bloom) = receipts_root(&output.receipts);
    header.gas_used = output.gas_used;
    header.blob_gas_used = header.blob_gas_used.map(|_| output.blob_gas_used);
    header
}

/// Runs a sealed block on its parent's state and compares all but the state root, which is the caller's to fold from the changes.
///
/// Where a block of messages ends depends on the message after it, which is not seen here: a block that has room for less than the largest message
/// ([`MAX_MESSAGE_GAS`]) may end early. [`crate::batch`] has the queue, and leaves no choice.
///
/// # Errors
/// If the block is invalid, or the database fails.
pub fn execute_block<DB: DatabaseRef>(
    rules: &Rules,
    parent: &Header,
    header: &Header,
    transactions: &[RecoveredTransaction],
    db: DB,
) -> Result<BlockOutput, BlockError<DB::Error>> {
    let parent_hash = parent.hash_slow();
    let first = transactions.first().and_then(|first| first.inner().as_deposit());
    let context = BlockContext {
        time_ms: time_ms(header).map_err(HeaderError::from)?,
        mix_source: match first.and_then(|first| L1Origin::from_attributes(first, header.number)) {
            Some(origin) => rules.mix_source(origin.mix_hash),
            None => mix_source(rules, &db).map_err(BlockError::Database)?,
        },
        messages: first.is_some(),
    };
    let expected = next_header(rules, parent, parent_hash, context)?;
    let mut block = BlockExecutor::new(rules, &expected, db).map_err(BlockError::Database)?;
    for (index, transaction) in transactions.iter().enumerate() {
        block.execute(transaction).map_err(|error| match error {
            ExecuteError::Transaction(error) => BlockError::Transaction { index, error },
            ExecuteError::Database(error) => BlockError::Database(error),
        })?;
    }
    if let Some(left) = block.messages_left() {
        return Err(BlockError::MessagesLeft(left));
    }
    let output = block.finish();
    let expected = seal(expected, transactions, &output, header.state_root);
    match first_difference(header, &expected) {
        Some(field) => Err(HeaderError::Field(field).into()),
        None => Ok(output),
    }
}

fn first_difference(a: &Header, b: &Header) -> Option<&'static str> {
    let fields = [
        ("parentHash", a.parent_hash == b.parent_hash),
        ("number", a.number == b.number),
        ("extraData", a.extra_data == b.extra_data),
        ("baseFeePerGas", a.base_fee_per_gas == b.base_fee_per_gas),
        ("mixHash", a.mix_hash == b.mix_hash),
        ("gasLimit", a.gas_limit == b.gas_limit),
        ("gasUsed", a.gas_used == b.gas_used),
        ("blobGasUsed", a.blob_gas_used == b.blob_gas_used),
        ("excessBlobGas", a.excess_blob_gas == b.excess_blob_gas),
        ("parentBeaconBlockRoot", a.parent_beacon_block_root == b.parent_beacon_block_root),
        ("transactionsRoot", a.transactions_root == b.transactions_root),
        ("receiptsRoot", a.receipts_root == b.receipts_root),
        ("logsBloom", a.logs_bloom == b.logs_bloom),
        ("another", a == b),
    ];
    fields.into_iter().find_map(|(name, equal)| (!equal).then_some(name))
}

/// A block under way.
///
/// `I` is an inspector for [`Self::inspect`]; `()` where none is wanted.
#[derive(Debug)]
pub struct BlockExecutor<DB: DatabaseRef, I = ()> {
    evm: Evm<DB, I>,
    jove: Option<JoveBlock>,
    max_blob_gas: u64,
    encoded: Vec<u8>,
    output: BlockOutput,
}

#[derive(Clone, Copy, Debug)]
struct JoveBlock {
    excess_gas: u64,
    max_excess: u64,
    /// Whether it is of messages from L1.
    messages: bool,
    /// Number and timestamp of its L1 origin; zeros while there is none.
    origin: (u64, u64),
    queue: Queue,
    /// Whether the origin is too old for transactions of the pool.
    old_origin: bool,
    /// What signed transactions may take of a batch still, in bytes.
    room: usize,
}

impl<DB: DatabaseRef> BlockExecutor<DB> {
    /// Starts a block: `header` as [`next_header`] gives it, or any Ethereum header; `db` is the parent's state.
    ///
    /// # Errors
    /// If the database fails.
    pub fn new(rules: &Rules, header: &Header, db: DB) -> Result<Self, DB::Error> {
        Self::with_inspector(rules, header, db, ())
    }
}

impl<DB: DatabaseRef, I> BlockExecutor<DB, I> {
    /// Like [`BlockExecutor::new`], with an inspector.
    ///
    /// # Errors
    /// If the database fails.
    pub fn with_inspector(rules: &Rules, header: &Header, db: DB, inspector: I) -> Result<Self, DB::Error> {
        let mut state = BlockState::new(db);
        if rules.fork(header.timestamp) >= Fork::Prague {
            store_parent_hash(&mut state, header)?;
        }
        let mut output = BlockOutput::default();
        let jove = match rules {
            Rules::Jove { spec, .. } => {
                output.l1_prices = l1_prices(&mut state)?;
                let Extra { excess_gas, messages, .. } = Extra::decode(&header.extra_data).unwrap_or_default();
                let origin = L1Origin::numbers(state.storage(predeploys::L1_BLOCK, L1_NUMBER_SLOT)?);
                let age = header.timestamp.saturating_sub(origin.1);
                let old_origin = origin.0 > 0 && age > spec.max_origin_age;
                let queue = Queue::from_slot(state.storage(predeploys::L1_BLOCK, L1_QUEUE_SLOT)?);
                let max_excess = spec.gas.max_excess();
                Some(JoveBlock { excess_gas, max_excess, messages, origin, queue, old_origin, room: BLOCK_ROOM })
            }
            Rules::Ethereum { .. } => {
                store_beacon_root(&mut state, header)?;
                None
            }
        };
        let max_blob_gas = rules.blob_params(header.timestamp).max_blob_gas_per_block();
        let cfg = rules.cfg_env(header.timestamp);
        let mut instruction = EthInstructions::new_mainnet_with_spec(cfg.spec);
        arithmetic::replace(&mut instruction);
        let evm = Evm {
            inspector,
            instruction,
            precompiles: EthPrecompiles::new(cfg.spec),
            // Frames as they are called for: eight in advance, as revm's builder has them, are 300 KB a block.
            frame_stack: FrameStack::new(),
            ctx: Context::mainnet().with_db(state).with_cfg(cfg).with_block(rules.block_env(header)),
        };
        Ok(Self { evm, jove, max_blob_gas, encoded: Vec::new(), output })
    }

    /// Runs a transaction, and keeps what it did.
    ///
    /// # Errors
    /// If it is invalid at this point of the block; then nothing happened. If the database fails.
    pub fn execute(&mut self, transaction: &RecoveredTransaction) -> Result<Executed, ExecuteError<DB::Error>> {
        self.run(transaction, |evm, tx| evm.transact_one(tx))
    }

    /// Gas used so far.
    pub fn gas_used(&self) -> u64 {
        self.output.gas_used
    }

    /// Receipts so far, one for each transaction that ran.
    pub fn receipts(&self) -> &[Receipt] {
        &self.output.receipts
    }

    /// How many messages are due that should have been in this block; none if it may end here.
    fn messages_left(&self) -> Option<u64> {
        let JoveBlock { messages, queue, .. } = self.jove?;
        let room = self.evm.ctx.block.gas_limit.saturating_sub(self.output.gas_used);
        (queue.is_due() && (!messages || room >= MAX_MESSAGE_GAS)).then(|| queue.due - queue.consumed)
    }

    /// The state as it stands.
    pub fn state(&mut self) -> &mut BlockState<DB> {
        &mut self.evm.ctx.journaled_state.database
    }

    /// The EVM: configuration, block, inspector.
    pub fn evm(&mut self) -> &mut Evm<DB, I> {
        &mut self.evm
    }

    /// Ends the block.
    pub fn finish(mut self) -> BlockOutput {
        self.output.changes = self.evm.ctx.journaled_state.database.into_changes();
        self.output
    }

    fn run(
        &mut self,
        transaction: &RecoveredTransaction,
        transact: impl FnOnce(&mut Evm<DB, I>, TxEnv) -> Result<ExecutionResult, EVMError<DB::Error, InvalidTransaction>>,
    ) -> Result<Executed, ExecuteError<DB::Error>> {
        let left = self.evm.ctx.block.gas_limit.saturating_sub(self.output.gas_used);
        let is_message = transaction.inner().as_deposit().is_some();
        if transaction.gas_limit() > left && (is_message || transaction.gas_limit() <= self.evm.ctx.block.gas_limit) {
            return Err(TransactionError::BlockGas { limit: transaction.gas_limit(), left }.into());
        }
        let (needed, left) = (blob_gas(transaction), self.max_blob_gas.saturating_sub(self.output.blob_gas_used));
        if needed > left && needed <= self.max_blob_gas {
            return Err(TransactionError::BlobGas { needed, left }.into());
        }
        match transaction.inner().as_deposit() {
            Some(deposit) => self.run_deposit(deposit, transact),
            None => self.run_signed(transaction, transact),
        }
    }

    /// Runs a message from L1. It always has its place in the block: where it fails, even because it is invalid, what it minted stands, its
    /// sender's nonce rises, and nothing else happens.
    fn run_deposit(
        &mut self,
        deposit: &TxDeposit,
        transact: impl FnOnce(&mut Evm<DB, I>, TxEnv) -> Result<ExecutionResult, EVMError<DB::Error, InvalidTransaction>>,
    ) -> Result<Executed, ExecuteError<DB::Error>> {
        let block = self.jove.ok_or(TransactionError::MessageNotAccepted)?;
        if !block.messages {
            return Err(TransactionError::Mixed.into());
        }
        if deposit.from == DEPOSITOR {
            return self.step_origin(block, deposit);
        }
        if !block.queue.is_due() {
            return Err(TransactionError::NoMessageDue.into());
        }
        self.set_queue(block, Queue { consumed: block.queue.consumed + 1, ..block.queue })?;
        let mint = U256::from(deposit.mint);
        self.state().credit(deposit.from, mint).map_err(ExecuteError::Database)?;
        let account = self.state().account(deposit.from).map_err(ExecuteError::Database)?.unwrap_or_default();
        let rules = (self.evm.ctx.cfg.disable_eip3607, self.evm.ctx.cfg.disable_base_fee);
        // L1 has checked who sends it, and sold it its gas.
        (self.evm.ctx.cfg.disable_eip3607, self.evm.ctx.cfg.disable_base_fee) = (true, true);
        let result = transact(&mut self.evm, deposit_env(deposit, account.nonce));
        (self.evm.ctx.cfg.disable_eip3607, self.evm.ctx.cfg.disable_base_fee) = rules;
        let changes = self.evm.finalize();
        let mut result = match result {
            Ok(result) => {
                self.state().commit(changes).map_err(ExecuteError::Database)?;
                result
            }
            Err(EVMError::Database(error)) => return Err(ExecuteError::Database(error)),
            Err(error) => {
                let nonce = account.nonce.saturating_add(1);
                self.state().set_account(deposit.from, Account { nonce, ..account }).map_err(ExecuteError::Database)?;
                let reason = match error {
                    EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { .. }) => HaltReason::OutOfFunds,
                    _ => HaltReason::OutOfGas(OutOfGasError::Basic),
                };
                let gas = ResultGas::default().with_total_gas_spent(deposit.gas_limit);
                ExecutionResult::Halt { reason, gas, logs: Vec::new() }
            }
        };
        self.record(DEPOSIT_TX_TYPE_ID, &mut result, U256::ZERO, Some(account.nonce));
        Ok(Executed { result, l1_fee: U256::ZERO })
    }

    fn set_queue(&mut self, block: JoveBlock, queue: Queue) -> Result<(), ExecuteError<DB::Error>> {
        self.jove = Some(JoveBlock { queue, ..block });
        self.state().set_slot(predeploys::L1_BLOCK, L1_QUEUE_SLOT, queue.slot()).map_err(ExecuteError::Database)
    }

    /// Writes the L1 attributes, as the module [`jove_primitives::l1`] says.
    fn step_origin(&mut self, block: JoveBlock, deposit: &TxDeposit) -> Result<Executed, ExecuteError<DB::Error>> {
        let wrong = |why| Err(TransactionError::Attributes(why).into());
        let (number, time) = (self.evm.ctx.block.number.saturating_to(), self.evm.ctx.block.timestamp);
        let Some(origin) = L1Origin::from_attributes(deposit, number) else { return wrong("malformed") };
        if !self.output.receipts.is_empty() {
            return wrong("not first in the block");
        }
        if origin.number <= block.origin.0 || origin.timestamp < block.origin.1 {
            return wrong("not of a later L1 block");
        }
        if U256::from(origin.timestamp) > time {
            return wrong("of an L1 block that is later than this one");
        }
        if block.queue.is_due() {
            return wrong("before the messages of the last origin");
        }
        if origin.messages < block.queue.due {
            return wrong("of a queue that has shrunk");
        }
        self.set_queue(block, Queue { due: origin.messages, ..block.queue })?;
        let nonce = self.state().account(DEPOSITOR).map_err(ExecuteError::Database)?.unwrap_or_default().nonce;
        for (slot, value) in origin.slots() {
            self.state().set_slot(predeploys::L1_BLOCK, slot, value).map_err(ExecuteError::Database)?;
        }
        self.output.l1_prices =
            L1Prices { base_fee: origin.base_fee.saturating_to(), blob_base_fee: origin.blob_base_fee.saturating_to() };
        let mut result = ExecutionResult::Success {
            reason: SuccessReason::Stop,
            gas: ResultGas::default(),
            logs: Vec::new(),
            output: Output::Call(Bytes::new()),
        };
        self.record(DEPOSIT_TX_TYPE_ID, &mut result, U256::ZERO, Some(nonce));
        Ok(Executed { result, l1_fee: U256::ZERO })
    }

    fn record(&mut self, tx_type: u8, result: &mut ExecutionResult, l1_fee: U256, deposit_nonce: Option<u64>) {
        self.output.gas_used = self.output.gas_used.saturating_add(result.tx_gas_used());
        self.output.receipts.push(Receipt {
            tx_type,
            success: result.is_success(),
            cumulative_gas_used: self.output.gas_used,
            logs: core::mem::take(logs_mut(result)),
            deposit_nonce,
        });
        self.output.l1_fees.push(l1_fee);
    }

    fn run_signed(
        &mut self,
        transaction: &RecoveredTransaction,
        transact: impl FnOnce(&mut Evm<DB, I>, TxEnv) -> Result<ExecutionResult, EVMError<DB::Error, InvalidTransaction>>,
    ) -> Result<Executed, ExecuteError<DB::Error>> {
        let sender = transaction.signer();
        let size = self.jove.and(transaction.inner().as_signed()).map_or(0, size_bound);
        let charged = match self.jove {
            Some(block) if size > block.room => {
                return Err(TransactionError::BlockSize { size, left: block.room }.into());
            }
            Some(block) => self.charge_l1_fee(block, transaction)?,
            None => None,
        };
        let mut result = match transact(&mut self.evm, tx_env(transaction)) {
            Ok(result) => result,
            Err(error) => {
                // What the journal has cached of the sender is short of the L1 fee.
                let _ = self.evm.finalize();
                if let Some((before, _)) = charged {
                    self.state().set_account(sender, before).map_err(ExecuteError::Database)?;
                }
                return Err(match error {
                    EVMError::Database(error) => ExecuteError::Database(error),
                    EVMError::Transaction(error) => TransactionError::Evm(error).into(),
                    EVMError::Header(error) => TransactionError::Fatal(format!("{error}")).into(),
                    EVMError::Custom(error) => TransactionError::Fatal(error).into(),
                    EVMError::CustomAny(error) => TransactionError::Fatal(format!("{error}")).into(),
                });
            }
        };
        let changes = self.evm.finalize();
        let l1_fee = charged.map_or(U256::ZERO, |(_, fee)| fee);
        let gas_used = result.tx_gas_used();
        let base_fee = U256::from(self.evm.ctx.block.basefee);
        if let Some(block) = &mut self.jove {
            block.room -= size;
        }
        let pays_vaults = self.jove.is_some();
        let state = self.state();
        state.commit(changes).map_err(ExecuteError::Database)?;
        if pays_vaults {
            let burned = base_fee.saturating_mul(U256::from(gas_used));
            state.credit(predeploys::BASE_FEE_VAULT, burned).map_err(ExecuteError::Database)?;
            state.credit(predeploys::L1_FEE_VAULT, l1_fee).map_err(ExecuteError::Database)?;
        }
        self.record(transaction.ty(), &mut result, l1_fee, None);
        self.output.blob_gas_used += blob_gas(transaction);
        Ok(Executed { result, l1_fee })
    }

    /// Takes the L1 data fee from the sender. Gives the account before it and the fee, or nothing where data is free.
    fn charge_l1_fee(
        &mut self,
        block: JoveBlock,
        transaction: &RecoveredTransaction,
    ) -> Result<Option<(Account, U256)>, ExecuteError<DB::Error>> {
        if transaction.is_eip4844() {
            return Err(TransactionError::BlobsNotAccepted.into());
        }
        if block.messages {
            return Err(TransactionError::Mixed.into());
        }
        if block.queue.is_due() {
            return Err(TransactionError::MessagesDue.into());
        }
        if block.old_origin {
            return Err(TransactionError::OldOrigin.into());
        }
        if block.excess_gas.saturating_add(self.output.gas_used) > block.max_excess {
            return Err(TransactionError::ExcessGas.into());
        }
        if self.output.l1_prices == L1Prices::default() {
            return Ok(None);
        }
        self.encoded.clear();
        transaction.inner().encode_2718(&mut self.encoded);
        let fee = l1_data_fee(&self.encoded, self.output.l1_prices);
        let sender = transaction.signer();
        let account = self.state().account(sender).map_err(ExecuteError::Database)?.unwrap_or_default();
        let gas = U256::from(transaction.max_fee_per_gas()).saturating_mul(U256::from(transaction.gas_limit()));
        let cost = gas.saturating_add(transaction.value()).saturating_add(fee);
        // A wrong nonce is the better reason to give.
        let Some(balance) = account.balance.checked_sub(fee).filter(|_| account.balance >= cost) else {
            if transaction.nonce() == account.nonce {
                let (balance, cost) = (account.balance.into(), cost.into());
                return Err(TransactionError::InsufficientFunds { balance, cost }.into());
            }
            return Ok(None);
        };
        self.state().set_account(sender, Account { balance, ..account }).map_err(ExecuteError::Database)?;
        Ok(Some((account, fee)))
    }
}

impl<DB: DatabaseRef, I> BlockExecutor<DB, I>
where
    I: Inspector<MainnetContext<BlockState<DB>>, EthInterpreter>,
{
    /// Like [`Self::execute`], with the inspector watching.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn inspect(&mut self, transaction: &RecoveredTransaction) -> Result<Executed, ExecuteError<DB::Error>> {
        self.run(transaction, |evm, tx| evm.inspect_one_tx(tx))
    }
}

fn logs_mut(result: &mut ExecutionResult) -> &mut Vec<alloy_primitives::Log> {
    use ExecutionResult::{Halt, Revert, Success};
    match result {
        Success { logs, .. } | Revert { logs, .. } | Halt { logs, .. } => logs,
    }
}

/// EIP-2935: the parent's hash goes into the history contract, where the chain has it. It is written as the system call would write
/// it, without running the contract.
fn store_parent_hash<DB: DatabaseRef>(state: &mut BlockState<DB>, header: &Header) -> Result<(), DB::Error> {
    let address = eip2935::HISTORY_STORAGE_ADDRESS;
    let Some(parent) = header.number.checked_sub(1) else { return Ok(()) };
    let has_code = state.account(address)?.is_some_and(|account| account.code_hash != Account::default().code_hash);
    if !has_code {
        return Ok(());
    }
    let slot = U256::from(parent % eip2935::HISTORY_SERVE_WINDOW as u64);
    state.set_slot(address, slot, header.parent_hash.into())
}

/// EIP-4788: the parent's beacon root goes into its contract, where header and chain have them. It is written as the system call would
/// write it, without running the contract.
fn store_beacon_root<DB: DatabaseRef>(state: &mut BlockState<DB>, header: &Header) -> Result<(), DB::Error> {
    let (address, Some(root)) = (eip4788::BEACON_ROOTS_ADDRESS, header.parent_beacon_block_root) else { return Ok(()) };
    let has_code = state.account(address)?.is_some_and(|account| account.code_hash != Account::default().code_hash);
    if !has_code {
        return Ok(());
    }
    let slot = header.timestamp % BEACON_ROOTS;
    state.set_slot(address, U256::from(slot), U256::from(header.timestamp))?;
    state.set_slot(address, U256::from(slot + BEACON_ROOTS), root.into())
}

fn blob_gas(transaction: &RecoveredTransaction) -> u64 {
    transaction.blob_gas_used().unwrap_or(0)
}

fn l1_prices<DB: DatabaseRef>(state: &mut BlockState<DB>) -> Result<L1Prices, DB::Error> {
    let mut read = |slot| {
        let address: Address = predeploys::L1_BLOCK;
        Database::storage(state, address, slot).map(|value| value.saturating_to())
    };
    Ok(L1Prices {
        base_fee: read(predeploys::L1_BASE_FEE_SLOT)?,
        blob_base_fee: read(predeploys::L1_BLOB_BASE_FEE_SLOT)?,
    })
}
