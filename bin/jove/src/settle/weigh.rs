//! What provers would be given of a batch is weighed before it is committed: a batch that is too much for them would be on L1 for nothing, until it is dropped.
//!
//! What it weighs shows once its blocks are run again and what they read is written down, as it is for provers. Those are given what was made here.

use super::{Held, Shared};
use alloy_primitives::{B256, Keccak256};
use alloy_rlp::Encodable;
use jove_primitives::batch::BatchHeader;
use jove_sequencer::TooHeavy;
use jove_settlement::{
    Error,
    committer::{Commit, Committer},
    watcher::L1State,
};
use jove_stf::Witness;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    task::{block_in_place, spawn_blocking},
    time::timeout,
};

/// Most bytes of witnesses that are kept for provers.
const KEPT: usize = 256 << 20;
/// How long a batch's blocks may run again: it ends earlier where they take longer, for provers have no more time.
const RUN: Duration = Duration::from_secs(30);
/// How long weighing may take in all before the batch is committed as it is: a commit that nobody can prove is dropped after a day, and without commits the chain
/// stops sooner.
const PATIENCE: Duration = Duration::from_secs(180);
/// Bytes of an input for each of its blobs, for each header of L1 at most, and for what is small.
const BLOB: usize = 131_072 + 4;
const HEADER: usize = 800;
const SMALL: usize = 64 << 10;

/// The batches that this node has weighed last.
pub(super) struct Weighed {
    /// Most bytes of an input.
    most: usize,
    /// Most bytes of witnesses that are kept.
    room: usize,
    kept: Mutex<Kept>,
    /// One batch at a time: what was given up may go on in its thread.
    turn: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    last: Option<B256>,
    /// By their batches' names, the oldest first.
    witnesses: VecDeque<(B256, Witness)>,
}

impl Weighed {
    /// Batches whose inputs have at most so many bytes. Whether this node's provers are given them.
    pub(super) fn new(most: usize, proves: bool) -> Self {
        Self { most, room: if proves { KEPT } else { 0 }, kept: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// The witness of a batch on L1, if it was made here before. The contents are those of its blobs.
    pub(super) fn witness(&self, header: &BatchHeader, contents: &[impl AsRef<[u8]>]) -> Option<Witness> {
        if self.kept.lock().witnesses.is_empty() {
            return None;
        }
        let BatchHeader { parent_batch_hash, last_block_hash, origin_hash, end_message, .. } = *header;
        let name = name([parent_batch_hash, last_block_hash, origin_hash], end_message, contents);
        let kept = self.kept.lock();
        kept.witnesses.iter().find(|(of, _)| *of == name).map(|(_, witness)| witness.clone())
    }

    fn is_last(&self, name: B256) -> bool {
        self.kept.lock().last == Some(name)
    }

    fn keep(&self, name: B256, witness: Option<Witness>) {
        let mut kept = self.kept.lock();
        kept.last = Some(name);
        kept.witnesses.retain(|(of, _)| *of != name);
        kept.witnesses.extend(witness.map(|witness| (name, witness)));
        while kept.witnesses.iter().map(|(_, witness)| witness.size()).sum::<usize>() > self.room {
            kept.witnesses.pop_front();
        }
    }
}

/// Names a batch by all that its witness depends on: the batch before it, its last block, the hash of its L1 origin, how far it is through the queue, and its blobs'
/// contents.
fn name(hashes: [B256; 3], end_message: u64, contents: &[impl AsRef<[u8]>]) -> B256 {
    let mut hasher = Keccak256::new();
    hashes.iter().for_each(|hash| hasher.update(hash));
    hasher.update(end_message.to_be_bytes());
    contents.iter().for_each(|blob| hasher.update(blob));
    hasher.finalize()
}

/// What is committed next: a batch that provers can take. One that they cannot ends before the block that is too much; it is committed as it is only where it
/// cannot end earlier.
///
/// # Errors
/// If what provers would be given cannot be made; as [`Committer::next_commit`].
pub(super) async fn next_commit(
    shared: &Shared,
    committer: &mut Committer,
    state: &L1State,
    upto: u64,
) -> Result<Option<Commit>, Held> {
    loop {
        let Some(commit) = block_in_place(|| committer.next_commit())? else { return Ok(None) };
        let request = &commit.request;
        let hashes = [request.parentBatchHash, request.lastBlockHash, request.originHash];
        let name = block_in_place(|| name(hashes, request.endMessage, &commit.blobs));
        if shared.weighed.is_last(name) {
            return Ok(Some(commit));
        }
        let beside = block_in_place(|| beside(state, &commit))?;
        let most = shared.weighed.most.saturating_sub(beside);
        let (first_block, last_block) = (commit.first_block, commit.last_block);
        let made = match timeout(PATIENCE, weigh(shared, first_block, last_block, most)).await {
            Ok(Ok(made)) => made,
            unknown => {
                let error = match unknown {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("it takes more than {} s", PATIENCE.as_secs()),
                };
                tracing::warn!(
                    batch = commit.index,
                    first_block,
                    last_block,
                    error,
                    "a batch is not weighed before it is committed"
                );
                shared.weighed.keep(name, None);
                return Ok(Some(commit));
            }
        };
        let TooHeavy { size, fits } = match made {
            Ok(witness) => {
                shared.weighed.keep(name, Some(witness));
                return Ok(Some(commit));
            }
            // What is beside the witness is too much by itself: half of the blocks have less of it.
            Err(heavy) if most == 0 => TooHeavy { fits: first_block + (last_block - first_block) / 2, ..heavy },
            Err(heavy) => heavy,
        };
        let bytes = size.saturating_add(beside);
        if !committer.end_before(fits.max(first_block) + 1) {
            tracing::warn!(
                batch = commit.index,
                first_block,
                last_block,
                bytes,
                "a batch is more than provers are to be given, and cannot end earlier"
            );
            shared.weighed.keep(name, None);
            return Ok(Some(commit));
        }
        tracing::info!(
            batch = commit.index,
            first_block,
            last_block,
            bytes,
            fits,
            "a batch would be more than provers are to be given, or have time for: it ends earlier"
        );
        while block_in_place(|| committer.collect(state, upto))?.is_none() {}
    }
}

/// The witness of these blocks, in a thread of its own; an error while that has another.
async fn weigh(
    shared: &Shared,
    first: u64,
    last: u64,
    most: usize,
) -> Result<Result<Witness, TooHeavy>, Box<dyn std::error::Error + Send + Sync>> {
    let turn = shared.weighed.turn.clone().try_acquire_owned()?;
    let node = shared.node.clone();
    let weighing = spawn_blocking(move || {
        let made = node.witness_within(first, last, most, RUN);
        drop(turn);
        made
    });
    Ok(weighing.await??)
}

/// Bytes that a batch's input has at most beside its witness.
fn beside(state: &L1State, commit: &Commit) -> Result<usize, Error> {
    let mut bytes = SMALL + commit.blobs.len() * BLOB;
    let Some(parent) = state.batch(commit.index - 1)? else { return Ok(bytes) };
    let (origin, message) = (parent.header.origin_number, parent.header.end_message);
    // After a batch without an origin, headers begin with the first one that a block steps to.
    if origin > 0 {
        let headers = commit.request.originNumber.saturating_sub(origin);
        bytes = bytes.saturating_add(usize::try_from(headers).unwrap_or(usize::MAX).saturating_mul(HEADER));
    }
    for index in message..commit.request.endMessage {
        bytes += state.message(index)?.map_or(0, |message| message.entry().length());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;

    fn witness(bytes: usize) -> Witness {
        Witness { state: vec![1; bytes].into(), ..Default::default() }
    }

    fn header(number: u64) -> BatchHeader {
        BatchHeader { parent_batch_hash: B256::from(alloy_primitives::U256::from(number)), ..Default::default() }
    }

    fn name_of(header: &BatchHeader, contents: &[Bytes]) -> B256 {
        name([header.parent_batch_hash, header.last_block_hash, header.origin_hash], header.end_message, contents)
    }

    #[test]
    fn witnesses_are_kept_for_provers_of_the_same_batch() {
        let (weighed, contents) = (Weighed::new(1_000, true), [Bytes::from_static(b"blob")]);
        let batch = header(1);
        assert_eq!(weighed.witness(&batch, &contents), None);
        weighed.keep(name_of(&batch, &contents), Some(witness(10)));
        assert!(weighed.is_last(name_of(&batch, &contents)));
        assert_eq!(weighed.witness(&batch, &contents), Some(witness(10)));
        let others = [
            BatchHeader { last_block_hash: B256::repeat_byte(1), ..batch },
            BatchHeader { origin_hash: B256::repeat_byte(1), ..batch },
            BatchHeader { end_message: 1, ..batch },
            header(2),
        ];
        for other in others {
            assert_eq!(weighed.witness(&other, &contents), None);
        }
        assert_eq!(weighed.witness(&batch, &[Bytes::from_static(b"bloc")]), None);

        // One that is too heavy has none, and is not weighed again.
        weighed.keep(name_of(&header(2), &contents), None);
        assert!(weighed.is_last(name_of(&header(2), &contents)));
        assert_eq!(weighed.witness(&header(2), &contents), None);
        assert_eq!(weighed.witness(&batch, &contents), Some(witness(10)), "provers may be at it");
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let contents = [Bytes::new()];
        let keep = |weighed: &Weighed, number, bytes| {
            weighed.keep(name_of(&header(number), &contents), Some(witness(bytes)));
        };
        let small = Weighed { room: 1_000, ..Weighed::new(1_000, true) };
        (0..5).for_each(|number| keep(&small, number, 300));
        let kept: Vec<u64> = (0..5).filter(|number| small.witness(&header(*number), &contents).is_some()).collect();
        assert_eq!(kept, [2, 3, 4]);
        keep(&small, 4, 300);
        assert!(small.witness(&header(2), &contents).is_some(), "the same again takes no more");
        keep(&small, 5, 2_000);
        assert!((0..6).all(|number| small.witness(&header(number), &contents).is_none()));

        let nobody = Weighed::new(1_000, false);
        keep(&nobody, 1, 10);
        assert!(nobody.is_last(name_of(&header(1), &contents)));
        assert_eq!(nobody.witness(&header(1), &contents), None);
    }
}
