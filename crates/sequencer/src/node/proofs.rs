//! What the trie of an earlier block shows: proofs for callers, witnesses for provers.

use super::{Node, NodeError};
use crate::derive::DerivedBatch;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, map::B256Map};
use jove_stf::{BatchExecutor, BatchInput, ExecuteBatchError, Recorder, Witness, batch::Step, execute_block, seal};
use jove_storage::{StorageError, View};
use jove_trie::{AccountProof, StateTrie};
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Longest that [`Node::prove`] may take: to wait for the trie and the store to name the same head, for another's proof of an older block, and for
/// the way back to that block.
const PROOF_TIME: Duration = Duration::from_secs(10);
/// The same for [`Node::witness`], which nobody waits for at the other end of a connection.
const WITNESS_TIME: Duration = Duration::from_secs(120);
/// Blocks that have read so many times what they may, by [`Recorder::weight`], are not followed further. That is an estimate: of a trie, much that is read is shared.
const ESTIMATE: usize = 4;

/// Blocks of which a prover would be given more than so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHeavy {
    /// The witness's length; where blocks are far too heavy, or take too long, that of the first of them.
    pub size: usize,
    /// The block with which it may be short enough, if it ends there; before the first one, if that alone is too heavy.
    pub fits: u64,
}

impl Node {
    /// Proof of an account and some of its slots in the state after block `number` (EIP-1186).
    ///
    /// Proofs of the head come from the trie; for an older block, a snapshot of the trie is taken back by the changes in between, for one caller at
    /// a time.
    ///
    /// # Errors
    /// If the block is unknown, outside of the proof window and not the finalized one, or pruned; [`StorageError::Timeout`] if the way back is too long.
    pub fn prove(&self, number: u64, address: Address, slots: &[U256]) -> Result<AccountProof, NodeError> {
        let deadline = Instant::now() + PROOF_TIME;
        let view = loop {
            let view = self.shared.storage.view();
            let folded = self.shared.folded.read();
            if folded.number == view.head_number() {
                if folded.number == number {
                    return Ok(folded.trie.prove(address, slots));
                }
                break view;
            }
            // The head is between trie and disk.
            drop(folded);
            if Instant::now() > deadline {
                return Err(StorageError::Timeout.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let header = known(&view, number)?;
        let time = jove_primitives::header::time_ms(&header)?;
        let age = self.head().time_ms.saturating_sub(time);
        // Whoever escapes proves what the last final state has, however old that is.
        if u128::from(age) > self.shared.config.proof_window.as_millis() && number != self.tags().finalized {
            return Err(NodeError::OutsideProofWindow(number));
        }
        Ok(self.trie_after(&header, deadline)?.prove(address, slots))
    }

    /// What the blocks `first` to `last` are executed on by who has no state: they are run again, one after the other, and all that they read is written
    /// down. It costs about what executing them serially does, beside the engine.
    ///
    /// # Errors
    /// If a block is unknown, or the state before is pruned; [`StorageError::Timeout`] if the way back is too long.
    pub fn witness(&self, first: u64, last: u64) -> Result<Witness, NodeError> {
        let made = self.witness_within(first, last, usize::MAX, Duration::MAX)?;
        made.map_err(|heavy| NodeError::Invalid(format!("a witness of {} bytes", heavy.size)))
    }

    /// The same, if it has at most `most` bytes. Else where blocks from `first` on may end, so that it has: ask again. It depends on the blocks alone, unless
    /// they run for longer than `time`: then fewer of them do not.
    ///
    /// # Errors
    /// As [`Self::witness`].
    pub fn witness_within(
        &self,
        first: u64,
        last: u64,
        most: usize,
        time: Duration,
    ) -> Result<Result<Witness, TooHeavy>, NodeError> {
        let started = Instant::now();
        let view = self.shared.storage.view();
        let before = first.checked_sub(1).ok_or_else(|| NodeError::Invalid("genesis has no witness".into()))?;
        let before = known(&view, before)?;
        let (recorder, mut changes, mut parent) = (Recorder::of_batch(), Vec::new(), before.clone());
        let (mut weights, mut end) = (Vec::new(), before.number);
        let in_time = |end: u64| end < first || started.elapsed() < time;
        while end < last && recorder.weight() / ESTIMATE <= most && in_time(end) {
            let number = end + 1;
            let block = view.block(number)?.ok_or(StorageError::UnknownBlock(number))?;
            let state = recorder.over(view.state(end)?);
            let output = execute_block(self.rules(), &parent, &block.header, &block.transactions, state);
            let failed = |error| NodeError::Invalid(format!("block {number} does not run again: {error}"));
            changes.push(output.map_err(failed)?.changes);
            recorder.advance(&changes[changes.len() - 1]);
            weights.push(recorder.weight());
            (parent, end) = (block.header.clone(), number);
        }
        let trie = self.trie_after(&before, Instant::now() + WITNESS_TIME)?;
        let witness = recorder.finish(&trie, &changes, before, |number| known(&view, number))?;
        let size = witness.size();
        Ok(match size <= most {
            true if end == last => Ok(witness),
            // With some to spare, so that they are in time when they are run again.
            true if !in_time(end) => Err(TooHeavy { size, fits: first + (end - first) / 4 * 3 }),
            true => Err(TooHeavy { size, fits: end }),
            false => Err(TooHeavy { size, fits: first - 1 + fitting(&weights, size, most) }),
        })
    }

    /// What a batch on L1 is executed on by who has no state, valid or not, whether this chain has its blocks or others: it is executed on the state after
    /// its parent, and all that it reads is written down; of an invalid one, up to where that shows.
    ///
    /// # Errors
    /// As [`Self::witness`]; if the block before the batch is another one here, or the batch comes without what it needs from L1.
    pub fn witness_of(&self, batch: &DerivedBatch) -> Result<Witness, NodeError> {
        let DerivedBatch { header, data, origins, messages } = batch;
        let view = self.shared.storage.view();
        let before = header.first_block.saturating_sub(1);
        let before = known(&view, before)?;
        if before.hash_slow() != header.parent_block_hash {
            return Err(NodeError::Invalid(format!("block {} is not the one before the batch", before.number)));
        }
        let trie = self.trie_after(&before, Instant::now() + WITNESS_TIME)?;
        let (recorder, mut changes) = (Recorder::of_batch(), Vec::new());
        if let Ok(data) = data
            && let input = (BatchInput { header, data, origins, messages })
            && let Ok(mut executor) = BatchExecutor::new(self.rules(), &before, input)
        {
            let mut state =
                Replayed { trie: trie.clone(), view: &view, codes: B256Map::default(), hashes: BTreeMap::new() };
            loop {
                let block = match executor.execute(&recorder.over(&state)) {
                    Ok(Step::Block(block)) => *block,
                    Ok(Step::End(_)) | Err(ExecuteBatchError::Invalid(_)) => break,
                    Err(ExecuteBatchError::Incomplete(what)) => {
                        return Err(NodeError::Invalid(format!("the batch comes without {what}")));
                    }
                    Err(ExecuteBatchError::Database(error)) => return Err(error.into()),
                };
                let root = state.trie.apply(&block.output.changes);
                let sealed = seal(block.header, &block.transactions, &block.output, root);
                executor.advance(&sealed);
                state.hashes.insert(sealed.number, sealed.hash_slow());
                state.codes.extend(block.output.changes.codes.iter().map(|(hash, code)| (*hash, code.clone())));
                recorder.advance(&block.output.changes);
                changes.push(block.output.changes);
            }
        }
        recorder.finish(&trie, &changes, before, |number| known(&view, number))
    }

    /// The trie after a block that is not the head, or no more.
    fn trie_after(&self, header: &Header, deadline: Instant) -> Result<StateTrie, NodeError> {
        let number = header.number;
        let _alone = self.rewinding.try_lock_until(deadline).ok_or(StorageError::Timeout)?;
        loop {
            let view = self.shared.storage.view();
            let (mut trie, from) = self.shared.folded.read().at_or_after(number);
            if from <= view.head_number() {
                trie.apply(&view.changes_back(from, number, deadline)?);
                if trie.root() == header.state_root {
                    return Ok(trie);
                }
                // Blocks were withdrawn in the middle of it.
                if view.header(number)?.is_none_or(|now| now.state_root != header.state_root) {
                    return Err(StorageError::UnknownBlock(number).into());
                }
            }
            if Instant::now() > deadline {
                return Err(StorageError::Timeout.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The state after blocks that are not in the store, on top of those that are.
struct Replayed<'a> {
    trie: StateTrie,
    view: &'a View,
    codes: B256Map<Bytes>,
    hashes: BTreeMap<u64, B256>,
}

impl DatabaseRef for Replayed<'_> {
    type Error = StorageError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StorageError> {
        Ok(self.trie.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, StorageError> {
        let code = match self.codes.get(&hash) {
            Some(code) => code.clone(),
            // Whoever had it at whatever block: codes stay.
            None => self.view.state(self.view.head_number())?.code(hash)?,
        };
        Ok(Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code)))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StorageError> {
        Ok(self.trie.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StorageError> {
        match self.hashes.get(&number) {
            Some(hash) => Ok(*hash),
            None => Ok(self.view.block_hash(number)?.unwrap_or_default()),
        }
    }
}

/// How many of the first blocks may have a witness of `most` bytes, fewer than all, if that of them all has `size`; `weights` are what they have read after each.
fn fitting(weights: &[usize], size: usize, most: usize) -> u64 {
    let Some((all, others)) = weights.split_last() else { return 0 };
    // Less than it may be, since weights are estimates.
    let wanted = *all as u128 * (most as u128 / 16 * 15) / size.max(1) as u128;
    others.partition_point(|weight| *weight as u128 <= wanted) as u64
}

fn known(view: &View, number: u64) -> Result<Header, NodeError> {
    Ok(view.header(number)?.ok_or(StorageError::UnknownBlock(number))?)
}
