//! Batches: which blocks follow from what L1 holds.
//!
//! A batch's data ([`jove_primitives::batch`]) have of each block its time, the steps of its L1 origin and its signed transactions; L1 has the origins and
//! the message queue. With the parent's state these determine every block:
//! - one with origin steps starts with the attributes of the origin that many L1 blocks on;
//! - as long as messages are due, it has the next messages of the queue, as many as fit ([`BlockExecutor::execute_messages`]), and no signed transaction;
//! - any other has the data's signed transactions, all of which must be valid.
//!
//! ```text
//! BatchExecutor::new ──► execute ──► the caller folds the changes, seals ──► advance ─┐
//!                          ▲  │                                                       │
//!                          │  └─► after the last block: BatchOutput                   │
//!                          └──────────────────────────────────────────────────────────┘
//! ```
//!
//! The caller keeps the state: it gives [`BatchExecutor::execute`] the state after the last block, and memory is bounded by a block. Node, enclave and
//! zkVM guest walk the same path. A batch is valid or there is a [`BatchError`], and then its output is INVALID
//! ([`jove_primitives::batch::hash::invalid_output_hash`]). What the batch's header says is compared too, but for what L1 has from elsewhere: version
//! known, number and hash of the block before, last block with number, hash and time, message range, L1 origin.
//!
//! The caller vouches for its input: that the origins are those of L1's chain, that each says how many messages the queue held at its end, and that the
//! messages are the queue's. What is lacking of them is [`ExecuteBatchError::Incomplete`] and says nothing of the batch.

use crate::{
    block::{BlockContext, BlockExecutor, BlockOutput, HeaderError, mix_source, next_header},
    rules::Rules,
    transaction::{ExecuteError, TransactionError},
};
use alloc::{boxed::Box, vec::Vec};
use alloy_consensus::{Header, transaction::SignerRecoverable};
use alloy_primitives::B256;
use jove_primitives::{
    ExecutedBlock,
    batch::{BatchData, BatchHeader, BlockData, DecodeError, hash},
    header::{ExtraError, time_ms},
    l1::{L1_HASH_SLOT, L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::{L1_BLOCK, L2_MESSENGER, OUTBOX_ROOT_SLOT},
    transaction::{RecoveredTransaction, SignedTransaction, Transaction, TxDeposit, deposit},
};
use revm::DatabaseRef;
use thiserror::Error;

/// A batch, and what L1 has for it.
#[derive(Clone, Copy, Debug)]
pub struct BatchInput<'a> {
    /// What was committed.
    pub header: &'a BatchHeader,
    /// What its blobs decode to.
    pub data: &'a BatchData,
    /// The L1 blocks that it steps to, by ascending number; may have more.
    pub origins: &'a [L1Origin],
    /// The queue's entries from the header's `first_message` on; may have more than are due.
    pub messages: &'a [TxDeposit],
}

/// A transaction of a batch with its sender. Only its signature makes one: nobody's word is taken for a sender.
#[derive(Clone, Debug)]
pub struct Recovered(RecoveredTransaction);

impl Recovered {
    /// Recovers the sender; none if the signature is no signature, or has a high s (EIP-2).
    pub fn new(transaction: &SignedTransaction) -> Option<Self> {
        // It refuses a high s.
        let sender = transaction.recover_signer().ok()?;
        // The copy keeps the hash, once it is known.
        transaction.tx_hash();
        Some(Self(RecoveredTransaction::new_unchecked(Transaction::Signed(transaction.clone()), sender)))
    }

    /// The transaction.
    pub fn into_inner(self) -> RecoveredTransaction {
        self.0
    }
}

/// Why a batch is invalid: for everyone and for ever.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The blobs are not a batch.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The header's version is unknown.
    #[error("version {0} of a batch is unknown")]
    Version(u8),
    /// A field of the header has another value than the chain before the batch, or its blocks, give it.
    #[error("{0} differs from what the header says")]
    Differs(&'static str),
    /// A block steps to an L1 block after the header's origin, or to none at all.
    #[error("block {block}: {steps} steps lead beyond the batch's L1 origin")]
    OriginSteps {
        /// The block's number.
        block: u64,
        /// Its steps.
        steps: u32,
    },
    /// A block steps to an origin or has messages due, and the data have signed transactions for it.
    #[error("block {block}: signed transactions where messages from L1 come first")]
    Mixed {
        /// The block's number.
        block: u64,
    },
    /// A block of a batch of messages alone has signed transactions.
    #[error("block {block}: signed transactions in a batch of messages alone")]
    NotAlone {
        /// The block's number.
        block: u64,
    },
    /// A transaction's signature is no signature, or has a high s (EIP-2).
    #[error("block {block}, transaction {index}: invalid signature")]
    Signature {
        /// The block's number.
        block: u64,
        /// Position in the block.
        index: usize,
    },
    /// No block of this time can follow its parent.
    #[error("block {block}: {error}")]
    Header {
        /// The block's number.
        block: u64,
        /// Why.
        error: HeaderError,
    },
    /// A transaction, message or L1 attributes cannot be part of the block.
    #[error("block {block}, transaction {index}: {error}")]
    Transaction {
        /// The block's number.
        block: u64,
        /// Position in the block.
        index: usize,
        /// Why.
        error: TransactionError,
    },
    /// The batch ends before all messages are consumed that are due at its origin.
    #[error("the batch leaves {0} messages from L1 that are due")]
    MessagesLeft(u64),
}

/// Why a batch was not executed.
#[derive(Debug, Error)]
pub enum ExecuteBatchError<E> {
    /// The batch is invalid.
    #[error(transparent)]
    Invalid(#[from] BatchError),
    /// The caller has not given all that the batch needs: nothing is known of it.
    #[error("the input lacks {0}")]
    Incomplete(&'static str),
    /// The database failed: nothing is known of the batch.
    #[error("database: {0}")]
    Database(E),
}

/// What a valid batch leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOutput {
    /// Hash of the last block.
    pub block_hash: B256,
    /// State root of the last block.
    pub state_root: B256,
    /// Root of the tree of messages to L1.
    pub outbox_root: B256,
    /// Messages from L1 consumed since genesis.
    pub consumed: u64,
}

impl BatchOutput {
    /// The output hash of the batch with this hash.
    pub fn hash(&self, batch_hash: B256) -> B256 {
        hash::output_hash(batch_hash, self.block_hash, self.state_root, self.outbox_root)
    }
}

/// A block that follows, executed, not sealed: [`crate::seal`] does that, once the changes are folded.
#[derive(Debug)]
pub struct DerivedBlock {
    /// The header, as [`next_header`] gives it.
    pub header: Header,
    /// The transactions in order.
    pub transactions: Vec<RecoveredTransaction>,
    /// What they did.
    pub output: BlockOutput,
}

/// What comes next in a batch.
#[derive(Debug)]
pub enum Step {
    /// A block.
    Block(Box<DerivedBlock>),
    /// Its end: the batch is valid.
    End(BatchOutput),
}

/// A batch under way.
#[derive(Debug)]
pub struct BatchExecutor<'a> {
    rules: &'a Rules,
    input: BatchInput<'a>,
    parent: Header,
    parent_hash: B256,
    /// Position of the next block in the data.
    next: usize,
    /// Of the signed transactions from some block on.
    recovered: &'a [Option<Recovered>],
}

impl<'a> BatchExecutor<'a> {
    /// Starts a batch after the block `parent`.
    ///
    /// # Errors
    /// If the version is unknown, or header, data and parent do not belong together.
    pub fn new(rules: &'a Rules, parent: &Header, input: BatchInput<'a>) -> Result<Self, BatchError> {
        let BatchInput { header, data, .. } = input;
        if header.version != hash::ORDINARY && header.version != hash::MESSAGES_ALONE {
            return Err(BatchError::Version(header.version));
        }
        let parent_hash = parent.hash_slow();
        let count = u64::try_from(data.blocks.len()).unwrap_or(u64::MAX);
        let checks = [
            ("parent block hash", header.parent_block_hash == parent_hash),
            ("first block", parent.number.checked_add(1) == Some(header.first_block)),
            ("first block of the data", data.first_block == header.first_block),
            ("last block", count > 0 && header.first_block.checked_add(count - 1) == Some(header.last_block)),
        ];
        check(checks)?;
        // For known blocks too, which are not executed again.
        let signed = |(_, data): &(u64, &BlockData)| !data.transactions.is_empty();
        if header.version == hash::MESSAGES_ALONE
            && let Some((block, _)) = (header.first_block..).zip(&data.blocks).find(signed)
        {
            return Err(BatchError::NotAlone { block });
        }
        Ok(Self { rules, input, parent: parent.clone(), parent_hash, next: 0, recovered: &[] })
    }

    /// Gives what was recovered beforehand, on many cores, of all signed transactions from the next block on, in their order. What is missing, and what is another
    /// transaction's, is recovered here.
    pub fn set_recovered(&mut self, recovered: &'a [Option<Recovered>]) {
        self.recovered = recovered;
    }

    /// The signed transactions from the next block on, block by block.
    pub fn remaining(&self) -> &'a [BlockData] {
        self.input.data.blocks.get(self.next..).unwrap_or_default()
    }

    /// Blocks that the batch still has.
    pub fn len(&self) -> usize {
        self.input.data.blocks.len() - self.next
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs the next block on `db`, the state after the last one; after the last of the batch, its output.
    ///
    /// # Errors
    /// If the batch is invalid, the input incomplete, or the database fails.
    pub fn execute<DB: DatabaseRef>(&self, db: &DB) -> Result<Step, ExecuteBatchError<DB::Error>> {
        let slot = |slot| db.storage_ref(L1_BLOCK, slot).map_err(ExecuteBatchError::Database);
        let (origin, _) = L1Origin::numbers(slot(L1_NUMBER_SLOT)?);
        let queue = Queue::from_slot(slot(L1_QUEUE_SLOT)?);
        if self.next == 0 && queue.consumed != self.input.header.first_message {
            return Err(BatchError::Differs("first message").into());
        }
        let Some(data) = self.input.data.blocks.get(self.next) else {
            let origin_hash = B256::from(slot(L1_HASH_SLOT)?);
            return self.end(db, (origin, origin_hash), queue).map(Step::End);
        };

        // Times do not fall: no block is later than what L1 has let pass as the last one's time.
        if data.time_ms / 1000 > self.input.header.last_timestamp {
            return Err(BatchError::Differs("last timestamp").into());
        }
        let block = self.parent.number.saturating_add(1);
        let origin = self.step(block, origin, data.origin_steps)?;
        // If messages of the last origin are due, the attributes will be refused.
        let queue = match origin {
            Some(origin) if !queue.is_due() => Queue { due: origin.messages, ..queue },
            _ => queue,
        };
        let messages = origin.is_some() || queue.is_due();
        if messages && !data.transactions.is_empty() {
            return Err(BatchError::Mixed { block }.into());
        }
        let mix_source = match origin {
            Some(origin) => self.rules.mix_source(origin.mix_hash),
            None => mix_source(self.rules, db).map_err(ExecuteBatchError::Database)?,
        };
        let context = BlockContext { time_ms: data.time_ms, mix_source, messages };
        let header = next_header(self.rules, &self.parent, self.parent_hash, context)
            .map_err(|error| BatchError::Header { block, error })?;
        let mut executor = BlockExecutor::new(self.rules, &header, db).map_err(ExecuteBatchError::Database)?;
        let transactions = if messages {
            let attributes = origin.map(|origin| deposit(origin.attributes(block)));
            let due = self.due(queue)?.iter().cloned().map(deposit);
            match executor.execute_messages(attributes.into_iter().chain(due)) {
                Ok(transactions) => transactions,
                Err(error) => return Err(refused(block, executor.receipts().len(), error)),
            }
        } else {
            let mut transactions = Vec::with_capacity(data.transactions.len());
            for (index, transaction) in data.transactions.iter().enumerate() {
                let known = self.recovered.get(index).and_then(Option::as_ref);
                let known = known.filter(|known| known.0.tx_hash() == transaction.tx_hash()).cloned();
                let known = known.or_else(|| Recovered::new(transaction));
                let Recovered(transaction) = known.ok_or(BatchError::Signature { block, index })?;
                executor.execute(&transaction).map_err(|error| refused(block, index, error))?;
                transactions.push(transaction);
            }
            transactions
        };
        Ok(Step::Block(Box::new(DerivedBlock { header, transactions, output: executor.finish() })))
    }

    /// The block that [`Self::execute`] gave is sealed; so is one that is known to be what it would give.
    pub fn advance(&mut self, sealed: &Header) {
        if let Some(done) = self.remaining().first() {
            self.recovered = self.recovered.get(done.transactions.len()..).unwrap_or_default();
            self.next += 1;
            self.parent_hash = sealed.hash_slow();
            self.parent = sealed.clone();
        }
    }

    /// The origin so many L1 blocks after the last.
    fn step<E>(&self, block: u64, last: u64, steps: u32) -> Result<Option<&'a L1Origin>, ExecuteBatchError<E>> {
        if steps == 0 {
            return Ok(None);
        }
        let number = last.checked_add(steps.into()).filter(|number| *number <= self.input.header.origin_number);
        let number = number.ok_or(BatchError::OriginSteps { block, steps })?;
        let origins = self.input.origins;
        match origins.binary_search_by_key(&number, |origin| origin.number) {
            Ok(index) => Ok(origins.get(index)),
            Err(_) => Err(ExecuteBatchError::Incomplete("an L1 origin")),
        }
    }

    /// The messages that are due.
    fn due<E>(&self, queue: Queue) -> Result<&'a [TxDeposit], ExecuteBatchError<E>> {
        let BatchInput { header, messages, .. } = self.input;
        if queue.due > header.end_message {
            return Err(BatchError::Differs("end message").into());
        }
        let position = |index: u64| usize::try_from(index.checked_sub(header.first_message)?).ok();
        let range = position(queue.consumed).zip(position(queue.due.max(queue.consumed)));
        let due = range.and_then(|(first, end)| messages.get(first..end));
        due.ok_or(ExecuteBatchError::Incomplete("messages of the L1 queue"))
    }

    fn end<DB: DatabaseRef>(
        &self,
        db: &DB,
        origin: (u64, B256),
        queue: Queue,
    ) -> Result<BatchOutput, ExecuteBatchError<DB::Error>> {
        if queue.is_due() {
            return Err(BatchError::MessagesLeft(queue.due - queue.consumed).into());
        }
        let header = self.input.header;
        let checks = [
            ("origin number", header.origin_number == origin.0),
            ("origin hash", header.origin_hash == origin.1),
            ("end message", header.end_message == queue.consumed),
            ("last timestamp", header.last_timestamp == self.parent.timestamp),
            ("last block hash", header.last_block_hash == self.parent_hash),
        ];
        check(checks)?;
        let outbox_root = db.storage_ref(L2_MESSENGER, OUTBOX_ROOT_SLOT).map_err(ExecuteBatchError::Database)?;
        Ok(BatchOutput {
            block_hash: self.parent_hash,
            state_root: self.parent.state_root,
            outbox_root: outbox_root.into(),
            consumed: queue.consumed,
        })
    }
}

impl<DB: DatabaseRef> BlockExecutor<DB> {
    /// Runs messages from L1 in order, as many as the block has place for, and returns these. It is the rule of where a block of messages ends.
    ///
    /// # Errors
    /// If the first that does not run is refused for another reason than its place, or has none in an empty block; if the database fails.
    pub fn execute_messages(
        &mut self,
        messages: impl IntoIterator<Item = RecoveredTransaction>,
    ) -> Result<Vec<RecoveredTransaction>, ExecuteError<DB::Error>> {
        let mut taken = Vec::new();
        for message in messages {
            match self.execute(&message) {
                Ok(_) => taken.push(message),
                Err(ExecuteError::Transaction(TransactionError::BlockGas { .. })) if !taken.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}

/// What L1 will hold of a sealed block. `origin` is the number of its parent's L1 origin, and becomes that of its own.
///
/// # Errors
/// If its `extraData` is not Jove's.
pub fn block_data(block: &ExecutedBlock, origin: &mut u64) -> Result<BlockData, ExtraError> {
    let first = block.transactions.first().and_then(|first| first.inner().as_deposit());
    let stepped = first.and_then(|first| L1Origin::from_attributes(first, block.header.number));
    let steps = stepped.map_or(0, |stepped| stepped.number.saturating_sub(*origin));
    *origin = stepped.map_or(*origin, |stepped| stepped.number);
    Ok(BlockData {
        time_ms: time_ms(&block.header)?,
        // No L1 has more blocks.
        origin_steps: u32::try_from(steps).unwrap_or(u32::MAX),
        transactions: block.transactions.iter().filter_map(|one| one.inner().as_signed().cloned()).collect(),
    })
}

fn refused<E>(block: u64, index: usize, error: ExecuteError<E>) -> ExecuteBatchError<E> {
    match error {
        ExecuteError::Transaction(error) => BatchError::Transaction { block, index, error }.into(),
        ExecuteError::Database(error) => ExecuteBatchError::Database(error),
    }
}

fn check<const N: usize>(checks: [(&'static str, bool); N]) -> Result<(), BatchError> {
    match checks.into_iter().find(|(_, equal)| !equal) {
        Some((field, _)) => Err(BatchError::Differs(field)),
        None => Ok(()),
    }
}
