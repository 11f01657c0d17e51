//! Runs blocks: a block in, results and a change set out.
//!
//! The rule of what a block does is [`jove_stf`]'s. This crate decides how it is run on a machine: from which state reader, with which
//! caches, in which order of work. [`Executor::build`] makes a block of the candidates that turn out valid;
//! [`Executor::execute`] checks a sealed one. Both run serially.

mod reader;

use alloy_consensus::{Header, Transaction as _};
use alloy_primitives::{Address, B256, map::HashSet};
use jove_primitives::block::RecoveredTransaction;
use jove_stf::{BlockError, BlockExecutor, BlockOutput, ExecuteError, Recorder, Rules, TransactionError};
use revm::DatabaseRef;
use std::sync::Arc;

pub use reader::{CodeCache, TrieReader};

/// Most that a block reads before it takes another transaction, in bytes of a prover's witness, about ([`Recorder::weight`]).
const MAX_READS: usize = 32 << 20;

/// Runs blocks under one chain's rules.
#[derive(Clone, Debug)]
pub struct Executor {
    rules: Rules,
    max_reads: usize,
}

/// A block built from candidates, not sealed.
#[derive(Debug)]
pub struct Built {
    /// The candidates that the block holds, in order.
    pub transactions: Vec<RecoveredTransaction>,
    /// What they did.
    pub output: BlockOutput,
    /// What they read, in bytes of a prover's witness, about ([`Recorder::weight`]).
    pub reads: usize,
    /// Candidates that are invalid and will stay so, by hash.
    pub rejected: Vec<(B256, TransactionError)>,
}

impl Executor {
    /// An executor for one chain.
    pub fn new(rules: Rules) -> Self {
        Self { rules, max_reads: MAX_READS }
    }

    /// The same, whose blocks take no further transaction once they have read so much.
    pub fn with_max_reads(self, max_reads: usize) -> Self {
        Self { max_reads, ..self }
    }

    /// The rules it runs under.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Runs `candidates` in order on `db`, the state of the parent, under a `header` from [`jove_stf::next_header`], until `gas` is used, or so much is read.
    ///
    /// A candidate that does not fit or is not valid is left out, and with it all later ones of its sender. Whoever proves the block is given all that it reads: once
    /// that is much, the others are left for the next block. Gas does not bound it well, since a byte of code that is asked for its length costs a tenth of a unit.
    ///
    /// # Errors
    /// If the database fails.
    pub fn build<DB: DatabaseRef>(
        &self,
        header: &Header,
        candidates: &[Arc<RecoveredTransaction>],
        gas: u64,
        most_reads: usize,
        db: DB,
    ) -> Result<Built, DB::Error> {
        let reads = Recorder::default();
        let mut block = BlockExecutor::new(&self.rules, header, reads.over(db))?;
        let mut transactions = Vec::with_capacity(candidates.len());
        let mut rejected = Vec::new();
        let mut left_out: HashSet<Address> = HashSet::default();
        for candidate in candidates {
            if reads.weight() >= most_reads.min(self.max_reads) {
                break;
            }
            if left_out.contains(candidate.signer_ref()) {
                continue;
            }
            let fits = candidate.gas_limit() <= gas.saturating_sub(block.gas_used());
            let error = match fits.then(|| block.execute(candidate)) {
                Some(Ok(_)) => {
                    transactions.push(RecoveredTransaction::clone(candidate));
                    continue;
                }
                Some(Err(ExecuteError::Database(error))) => return Err(error),
                Some(Err(ExecuteError::Transaction(error))) => Some(error),
                None => None,
            };
            left_out.insert(candidate.signer());
            if let Some(error) = error.filter(|error| !error.is_passing()) {
                rejected.push((*candidate.tx_hash(), error));
            }
        }
        let output = block.finish();
        Ok(Built { transactions, output, reads: reads.weight(), rejected })
    }

    /// Runs messages from L1 in order on `db`, the state of the parent, as far as the block has place for them.
    ///
    /// # Errors
    /// If the first that does not run is refused for another reason than its place, or the database fails.
    pub fn build_messages<DB: DatabaseRef>(
        &self,
        header: &Header,
        messages: &[RecoveredTransaction],
        db: DB,
    ) -> Result<Built, ExecuteError<DB::Error>> {
        let reads = Recorder::default();
        let mut block = BlockExecutor::new(&self.rules, header, reads.over(db)).map_err(ExecuteError::Database)?;
        let transactions = block.execute_messages(messages.iter().cloned())?;
        let output = block.finish();
        Ok(Built { transactions, output, reads: reads.weight(), rejected: Vec::new() })
    }

    /// Runs a sealed block on the state of its parent and checks it, its state root apart.
    ///
    /// # Errors
    /// If the block is invalid, or the database fails.
    pub fn execute<DB: DatabaseRef>(
        &self,
        parent: &Header,
        header: &Header,
        transactions: &[RecoveredTransaction],
        db: DB,
    ) -> Result<BlockOutput, BlockError<DB::Error>> {
        jove_stf::execute_block(&self.rules, parent, header, transactions, db)
    }
}
