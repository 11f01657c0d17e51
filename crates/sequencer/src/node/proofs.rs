//! What the trie of an earlier block shows: proofs for callers, witnesses for provers.

use super::{Node, NodeError};
use alloy_consensus::Header;
use alloy_primitives::{Address, U256};
use jove_stf::{Recorder, Witness, execute_block};
use jove_storage::{StorageError, View};
use jove_trie::{AccountProof, StateTrie};
use std::time::{Duration, Instant};

/// Longest that [`Node::prove`] may take: to wait for the trie and the store to name the same head, for another's proof of an older block, and for
/// the way back to that block.
const PROOF_TIME: Duration = Duration::from_secs(10);
/// The same for [`Node::witness`], which nobody waits for at the other end of a connection.
const WITNESS_TIME: Duration = Duration::from_secs(120);

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
        let view = self.shared.storage.view();
        let before = first.checked_sub(1).ok_or_else(|| NodeError::Invalid("genesis has no witness".into()))?;
        let before = known(&view, before)?;
        let (recorder, mut changes, mut parent) = (Recorder::of_batch(), Vec::new(), before.clone());
        for number in first..=last {
            let block = view.block(number)?.ok_or(StorageError::UnknownBlock(number))?;
            let state = recorder.over(view.state(number - 1)?);
            let output = execute_block(self.rules(), &parent, &block.header, &block.transactions, state);
            let failed = |error| NodeError::Invalid(format!("block {number} does not run again: {error}"));
            changes.push(output.map_err(failed)?.changes);
            parent = block.header.clone();
        }
        let trie = self.trie_after(&before, Instant::now() + WITNESS_TIME)?;
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

fn known(view: &View, number: u64) -> Result<Header, NodeError> {
    Ok(view.header(number)?.ok_or(StorageError::UnknownBlock(number))?)
}
