//! Following a leader: sealed blocks with their headers, as their maker gives them away. Each is executed and compared with its header before it counts.
//!
//! Blocks that the chain has are passed over; where others are in their place, these are withdrawn first, and their transactions return to the pool. A block that is
//! not what its header says stops the import: those before it stand, and a stateless witness shows what is wrong with it.

use crate::{
    engine::{Engine, Sealed},
    node::{Node, NodeError},
};
use alloy_consensus::Header;
use alloy_primitives::B256;
use jove_primitives::{
    block::Block,
    header::time_ms,
    transaction::{RecoveredTransaction, Transaction, deposit},
};
use jove_stf::{BlockError, Recorder, Witness, batch::Recovered, execute_block};
use jove_storage::StorageError;
use rayon::prelude::*;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Most blocks of a group, and its longest time: then it is written, in one synced write.
const GROUP_BLOCKS: usize = 100;
const GROUP_TIME: Duration = Duration::from_millis(50);

/// A block with the senders of its transactions.
pub(crate) struct Candidate {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    /// None if a signature is none.
    pub(crate) transactions: Option<Vec<RecoveredTransaction>>,
}

/// What came of an import.
#[derive(Clone, Debug)]
pub enum Imported {
    /// The chain has the blocks.
    Valid,
    /// The chain ends before this block.
    Invalid(Box<InvalidBlock>),
}

/// A block that is not what its header says.
#[derive(Clone, Debug)]
pub struct InvalidBlock {
    /// Its number.
    pub number: u64,
    /// What is wrong.
    pub fault: Fault,
    /// The error, in words.
    pub reason: String,
    /// What it is executed on by who has no state: the error shows again. None for a signature that is none, which shows without.
    pub witness: Option<Witness>,
}

/// A block that is not what its header says, and its parent's header.
struct Found<'a> {
    parent: Header,
    block: &'a Candidate,
    fault: Fault,
    reason: String,
}

/// What may be wrong with a sealed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A field of its header is not what parent and execution give.
    Header,
    /// A transaction cannot be part of it.
    Transaction,
    /// A signature is none, or has a high s (EIP-2).
    Signature,
    /// It leaves messages from L1 that are due.
    MessagesLeft,
    /// Its state root.
    StateRoot,
}

impl Node {
    /// Makes the chain follow blocks that another sealed, each the parent of the next; the parent of the first is on the chain, and not below a certified block.
    /// Senders are recovered on all cores before the engine has them. Blocks that are already here cost nothing, and those above the last one stay, unless they
    /// are on another branch.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if the blocks are no chain, their parent is not here, or a certified or finalized block would have to be withdrawn; if the store
    /// fails, or the node is stopping.
    pub fn import(&self, blocks: Vec<Block>) -> Result<Imported, NodeError> {
        let candidates = blocks.into_par_iter().map(Candidate::new).collect();
        self.call(|reply| crate::engine::Command::Import { blocks: candidates, reply })
    }
}

impl Candidate {
    pub(crate) fn new(block: Block) -> Self {
        let hash = block.header.hash_slow();
        let transactions = block.body.transactions.into_par_iter().map(|transaction| match transaction {
            Transaction::Signed(signed) => Recovered::new(&signed).map(Recovered::into_inner),
            Transaction::Deposit(sealed) => Some(deposit(sealed.into_inner())),
        });
        Self { header: block.header, hash, transactions: transactions.collect() }
    }
}

impl Engine {
    pub(crate) fn import(&mut self, blocks: &[Candidate]) -> Result<Imported, NodeError> {
        if self.shared.spec.ethereum.is_some() {
            return Err(NodeError::Invalid("a layer 1 takes no blocks from another".into()));
        }
        if blocks.windows(2).any(|pair| pair[1].header.parent_hash != pair[0].hash) {
            return Err(NodeError::Invalid("the blocks are no chain".into()));
        }
        let view = self.shared.storage.view();
        let mut new = blocks;
        while let Some((first, rest)) = new.split_first()
            && view.block_hash(first.header.number)? == Some(first.hash)
        {
            new = rest;
        }
        let Some(first) = new.first() else { return Ok(Imported::Valid) };
        let unknown = || NodeError::Invalid(format!("the parent of block {} is not here", first.header.number));
        let parent = first.header.number.checked_sub(1).ok_or_else(unknown)?;
        if view.block_hash(parent)? != Some(first.header.parent_hash) {
            return Err(unknown());
        }
        drop(view);
        self.check_certified(parent)?;
        self.unwind(parent, self.withdrawn())?;
        self.follow_blocks(new)
    }

    fn follow_blocks(&mut self, blocks: &[Candidate]) -> Result<Imported, NodeError> {
        let mut group = Vec::new();
        let followed = self.fold_blocks(blocks, &mut group);
        // The trie has them: whatever ended it, the store must too.
        self.persist(group)?;
        let Some(found) = followed? else { return Ok(Imported::Valid) };
        let Found { parent, block, fault, reason } = found;
        let witness = match &block.transactions {
            Some(transactions) => Some(self.witness_against(&parent, block, transactions)?),
            None => None,
        };
        Ok(invalid(block, fault, reason, witness))
    }

    /// Executes and folds blocks up to one that is not what its header says, if one is not. What is left in `group` is not persisted yet.
    fn fold_blocks<'a>(
        &mut self,
        blocks: &'a [Candidate],
        group: &mut Vec<Sealed>,
    ) -> Result<Option<Found<'a>>, NodeError> {
        let mut parent = self.shared.head.load().header.clone();
        let mut begun = Instant::now();
        for block in blocks {
            if self.shared.stopping.load(Ordering::Relaxed) {
                return Err(NodeError::Stopped);
            }
            let Some(transactions) = &block.transactions else {
                let reason = "a signature is none, or has a high s".into();
                return Ok(Some(Found { parent, block, fault: Fault::Signature, reason }));
            };
            let executor = &self.shared.executor;
            let outcome =
                self.read_after(group, |reader| Ok(executor.execute(&parent, &block.header, transactions, reader)))?;
            let output = match outcome {
                Ok(output) => output,
                Err(BlockError::Database(error)) => return Err(error.into()),
                Err(error) => {
                    let fault = match &error {
                        BlockError::Header(_) | BlockError::Database(_) => Fault::Header,
                        BlockError::Transaction { .. } => Fault::Transaction,
                        BlockError::MessagesLeft(_) => Fault::MessagesLeft,
                    };
                    return Ok(Some(Found { parent, block, fault, reason: error.to_string() }));
                }
            };
            // What an account's wipe erases is looked up in the store.
            let wipes = output.changes.accounts.values().any(|change| change.wiped);
            if (wipes || group.len() >= GROUP_BLOCKS || begun.elapsed() >= GROUP_TIME) && !group.is_empty() {
                self.persist(std::mem::take(group))?;
            }
            if group.is_empty() {
                begun = Instant::now();
            }
            let sealed = self.fold(block.header.clone(), transactions.clone(), output)?;
            if sealed.block.hash != block.hash {
                let found = sealed.block.header.state_root;
                let before = parent.number;
                // The trie has it already.
                self.shared.folded.write().unwind(&sealed.changes.reversed(), before);
                let reason = format!("state root {}, execution gives {found}", block.header.state_root);
                return Ok(Some(Found { parent, block, fault: Fault::StateRoot, reason }));
            }
            parent = block.header.clone();
            group.push(sealed);
        }
        Ok(None)
    }

    /// What a block after the head is executed on by who has no state.
    fn witness_against(
        &self,
        parent: &Header,
        block: &Candidate,
        transactions: &[RecoveredTransaction],
    ) -> Result<Witness, NodeError> {
        let recorder = Recorder::of_batch();
        let rules = self.shared.executor.rules();
        let executed =
            self.read(|reader| Ok(execute_block(rules, parent, &block.header, transactions, recorder.over(reader))))?;
        let changes: Vec<_> = executed.into_iter().map(|output| output.changes).collect();
        let view = self.shared.storage.view();
        let trie = self.shared.folded.read().trie.clone();
        recorder.finish(&trie, &changes, parent.clone(), |number| {
            Ok(view.header(number)?.ok_or(StorageError::UnknownBlock(number))?)
        })
    }
}

fn invalid(block: &Candidate, fault: Fault, reason: String, witness: Option<Witness>) -> Imported {
    let number = block.header.number;
    tracing::warn!(number, hash = %block.hash, time = time_ms(&block.header).ok(), reason, "a block is not what its header says");
    Imported::Invalid(Box::new(InvalidBlock { number, fault, reason, witness }))
}
