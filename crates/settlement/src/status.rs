//! What settlement is at, and what holds it up.
//!
//! Each stage says when it gets on and when it does not; who asks learns which stage is blocked, since when and why. A head that silently stalls is what
//! operators of rollups complain of most.
//!
//! **Debts.** What is executed and not committed, and what is committed and not final, may outrun L1 and the provers. Both are counted and bounded: beyond a limit
//! no transactions are taken, and the refusal names the debt. What waits for proofs is counted in gas, of which every block has a count that anyone can
//! check. What proving it costs is an estimate, [`Unproven::instructions`].

use crate::{
    Error,
    committer::Backlog,
    outbox::Outbox,
    watcher::{Batch, L1State},
};
use alloy_primitives::B256;
use jove_primitives::{batch::BLOB_CAPACITY, header::time_ms};
use jove_storage::{StorageError, View};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// A part of settlement that can be held up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Reading L1.
    Watch,
    /// Stepping to L1 origins and consuming messages.
    Consume,
    /// Rebuilding blocks from L1.
    Derive,
    /// Committing batches.
    Commit,
    /// Proving batches.
    Prove,
    /// Stepping in for operators who do not commit, or leave a message waiting.
    Rescue,
    /// Bringing evidence against validators to L1, and claims of rewards.
    Duties,
}

/// Why a stage does not get on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
    /// Why, in words for the operator.
    pub reason: String,
}

/// What may wait before the pool is closed. Zero: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DebtLimits {
    /// Bytes of blobs that are not committed.
    pub uncommitted_bytes: u64,
    /// Age of the oldest block that is not committed, in seconds.
    pub uncommitted_seconds: u64,
    /// Gas that is committed and not final.
    pub unproven_gas: u64,
}

/// Instructions of the guest for what is in each batch, for each of its blobs, and for each block, as `guests/budget.json` has them measured.
const BATCH_INSTRUCTIONS: u64 = 2_710_000;
const BLOB_INSTRUCTIONS: u64 = 2_940_000;
const BLOCK_INSTRUCTIONS: u64 = 93_000;
/// The same for each 1,000 gas: a transfer, of 21,000, takes 92,000. Contracts' gas takes less as a rule; a contract may make it take more.
const INSTRUCTIONS_PER_KILOGAS: u64 = 4_380;

/// What is committed and not final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unproven {
    /// Batches.
    pub batches: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Bytes of their blobs, filled or not.
    pub bytes: u64,
    /// Gas that their blocks used.
    pub gas: u64,
    /// Time of the first of these blocks, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
}

impl Unproven {
    /// Instructions that proving it takes, about: for transfers; other gas may take more or less.
    pub fn instructions(&self) -> u64 {
        let blobs = self.bytes.div_ceil(BLOB_CAPACITY as u64);
        let batches = self.batches.saturating_mul(BATCH_INSTRUCTIONS);
        let frames = batches.saturating_add(blobs.saturating_mul(BLOB_INSTRUCTIONS));
        instructions(self.blocks, self.gas).saturating_add(frames)
    }
}

/// Instructions that proving so many blocks with so much gas takes, about, their batch and its blobs ([`batch_instructions`]) apart: for transfers; other gas may take
/// more or less.
pub fn instructions(blocks: u64, gas: u64) -> u64 {
    let gas = (gas / 1_000).saturating_mul(INSTRUCTIONS_PER_KILOGAS);
    blocks.saturating_mul(BLOCK_INSTRUCTIONS).saturating_add(gas)
}

/// Instructions that a batch of so many full blobs takes beside its blocks, about.
pub fn batch_instructions(blobs: usize) -> u64 {
    BATCH_INSTRUCTIONS.saturating_add(BLOB_INSTRUCTIONS.saturating_mul(blobs as u64))
}

/// Blocks that [`Counter::count`] reads at once: it is called again soon.
const BLOCKS_AT_ONCE: u64 = 100_000;

/// Sums up what waits for proofs: each batch's blocks are read once.
#[derive(Debug, Default)]
pub struct Counter(BTreeMap<u64, Counted>);

#[derive(Debug)]
struct Counted {
    hash: B256,
    gas: u64,
    since_ms: u64,
}

impl Counter {
    /// What waits for proofs as L1 is. Blocks that this node does not have yet, and those beyond what is read at once, count without their gas.
    ///
    /// # Errors
    /// If the store fails.
    pub fn count(&mut self, l1: &L1State, view: &View) -> Result<Unproven, Error> {
        let indices = l1.latest.last_final + 1..=l1.latest.head;
        self.0.retain(|index, _| indices.contains(index));
        let mut unproven = Unproven::default();
        let mut room = BLOCKS_AT_ONCE;
        for index in indices {
            let Some(batch) = l1.batch(index)? else { break };
            let (first, last) = (batch.header.first_block, batch.header.last_block);
            let blocks = last.saturating_add(1).saturating_sub(first);
            unproven.batches += 1;
            unproven.blocks = unproven.blocks.saturating_add(blocks);
            unproven.bytes = unproven.bytes.saturating_add((batch.blobs.len() * BLOB_CAPACITY) as u64);
            if self.0.get(&index).is_none_or(|counted| counted.hash != batch.hash) {
                self.0.remove(&index);
                let is_here = view.block_hash(last)? == Some(batch.header.last_block_hash);
                if blocks > 0 && is_here && (blocks <= room || room == BLOCKS_AT_ONCE) {
                    room = room.saturating_sub(blocks);
                    self.0.insert(index, count(view, first, last, batch.hash)?);
                }
            }
            if let Some(Counted { gas, since_ms, .. }) = self.0.get(&index) {
                unproven.gas = unproven.gas.saturating_add(*gas);
                unproven.since_ms = unproven.since_ms.or(Some(*since_ms));
            }
        }
        Ok(unproven)
    }
}

fn count(view: &View, first: u64, last: u64, hash: B256) -> Result<Counted, Error> {
    let mut counted = Counted { hash, gas: 0, since_ms: 0 };
    for number in first..=last {
        let header = view.header(number)?.ok_or(StorageError::UnknownBlock(number))?;
        if number == first {
            counted.since_ms = time_ms(&header)?;
        }
        counted.gas = counted.gas.saturating_add(header.gas_used);
    }
    Ok(counted)
}

/// What others may ask of settlement. Clones are of the same.
#[derive(Clone)]
pub struct Handle {
    /// What L1 says.
    pub l1: watch::Receiver<L1State>,
    /// What each stage is at.
    pub status: Status,
    /// Messages to L1, as far as they are final.
    pub outbox: Outbox,
    /// What is not committed, where this node commits.
    pub backlog: Arc<Mutex<Option<Backlog>>>,
    /// What is committed and not final.
    pub unproven: Arc<Mutex<Unproven>>,
    /// Which proofs L1 counts of batches that are not final, by batch hash: an enclave's, one by zero knowledge.
    pub evidence: Arc<Mutex<BTreeMap<B256, [bool; 2]>>>,
    /// How far the chain is rebuilt from L1.
    pub rebuild: Rebuild,
    /// What may wait.
    pub limits: DebtLimits,
}

impl Handle {
    /// How far the chain, whose head is block `head`, is rebuilt; none if it has all that L1 has, or what L1 has cannot be read.
    pub fn progress(&self, head: u64) -> Option<Progress> {
        let l1 = self.l1.borrow().clone();
        let last = l1.batch(l1.latest.head).ok()??;
        self.rebuild.progress(head, last.header.index, last.header.last_block)
    }

    /// A batch without the proofs that L1 once took and does not count: those that are contradicted, or of a verifier that was replaced, and those of which that
    /// is not known. A final one keeps all.
    pub fn with_evidence(&self, mut batch: Batch) -> Batch {
        if batch.settled.is_none() {
            let [attested, proven] = self.evidence.lock().get(&batch.hash).copied().unwrap_or_default();
            batch.attested = batch.attested.filter(|_| attested);
            batch.proven = batch.proven.filter(|_| proven);
        }
        batch
    }

    /// Why no more transactions may be taken: a debt beyond its limit, in words for the sender.
    pub fn debt(&self, now_ms: u64) -> Option<String> {
        self.limits.exceeded(&self.backlog.lock().unwrap_or_default(), &self.unproven.lock(), now_ms)
    }
}

impl DebtLimits {
    /// The first debt beyond its limit, by name.
    fn exceeded(&self, backlog: &Backlog, unproven: &Unproven, now_ms: u64) -> Option<String> {
        let &Self { uncommitted_bytes, uncommitted_seconds, unproven_gas } = self;
        let over = |value: u64, limit: u64| limit > 0 && value > limit;
        let age = backlog.since_ms.map_or(0, |since| now_ms.saturating_sub(since) / 1000);
        if over(backlog.bytes as u64, uncommitted_bytes) {
            return Some(format!(
                "max_uncommitted: {} bytes wait for L1, the limit is {uncommitted_bytes}",
                backlog.bytes
            ));
        }
        if over(age, uncommitted_seconds) {
            return Some(format!(
                "max_uncommitted: a block has waited {age} s for L1, the limit is {uncommitted_seconds}"
            ));
        }
        let waiting = unproven.gas;
        over(waiting, unproven_gas)
            .then(|| format!("max_unproven: {waiting} gas waits for proofs, the limit is {unproven_gas}"))
    }
}

/// How far the chain is rebuilt from L1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The batch under way.
    pub batch: u64,
    /// The last batch on L1.
    pub of_batches: u64,
    /// The chain's head.
    pub block: u64,
    /// The last block on L1.
    pub of_blocks: u64,
    /// Of these blocks.
    pub percent: f64,
    /// Blocks a second since this began.
    pub blocks_per_second: f64,
    /// Seconds until it is done, at that rate; none before there is one.
    pub eta_seconds: Option<u64>,
}

/// Measures how fast the chain is rebuilt. Clones are of the same.
#[derive(Clone, Default)]
pub struct Rebuild(Arc<Mutex<Option<Begun>>>);

#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    /// The chain's head then.
    block: u64,
    batch: u64,
}

impl Rebuild {
    /// Batch `batch` is under way, after block `head`.
    pub fn batch(&self, batch: u64, head: u64) {
        let mut begun = self.0.lock();
        *begun = Some(match *begun {
            Some(begun) if begun.block <= head => Begun { batch, ..begun },
            _ => Begun { at: Instant::now(), block: head, batch },
        });
    }

    /// There is nothing left to rebuild.
    pub fn done(&self) {
        *self.0.lock() = None;
    }

    /// How far it is, with the chain at block `head`; none if nothing is rebuilt.
    pub fn progress(&self, head: u64, of_batches: u64, of_blocks: u64) -> Option<Progress> {
        let Begun { at, block: first, batch } = (*self.0.lock())?;
        Some(progress(batch, of_batches, (first, head, of_blocks), at.elapsed()))
    }
}

/// `blocks`: the first, the one that is reached, the last.
fn progress(batch: u64, of_batches: u64, blocks: (u64, u64, u64), elapsed: Duration) -> Progress {
    let (first, block, last) = blocks;
    let blocks_per_second = block.saturating_sub(first) as f64 / elapsed.as_secs_f64().max(1e-3);
    let left = last.saturating_sub(block);
    Progress {
        batch,
        of_batches,
        block,
        of_blocks: last,
        percent: 100.0 * block.min(last) as f64 / last.max(1) as f64,
        blocks_per_second,
        eta_seconds: (blocks_per_second > 0.0).then(|| (left as f64 / blocks_per_second).ceil() as u64),
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { batch, of_batches, block, of_blocks, percent, blocks_per_second, eta_seconds } = self;
        write!(
            f,
            "batch {batch} of {of_batches}, block {block} of {of_blocks} ({percent:.1} %), {blocks_per_second:.0} blocks/s"
        )?;
        eta_seconds.map_or(Ok(()), |seconds| write!(f, ", {seconds} s left"))
    }
}

/// The stages. Clones are of the same.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<BTreeMap<Stage, Option<Blocked>>>>);

impl Status {
    /// The stage gets on, or has nothing to do.
    pub fn running(&self, stage: Stage) {
        let was = self.0.lock().insert(stage, None);
        if let Some(Some(was)) = was {
            tracing::info!(?stage, was = was.reason, "settlement goes on");
        }
    }

    /// The stage does not get on, for this reason: the time counts from the first of such calls.
    pub fn blocked(&self, stage: Stage, reason: impl ToString) {
        let reason = reason.to_string();
        let mut stages = self.0.lock();
        let was = stages.get(&stage).cloned().flatten();
        // A number in it may change with every block.
        let words = |reason: &str| reason.replace(|c: char| c.is_ascii_hexdigit(), "");
        if was.as_ref().is_none_or(|was| words(&was.reason) != words(&reason)) {
            tracing::warn!(?stage, reason, "settlement is held up");
        }
        let since = was.map_or_else(now_ms, |was| was.since);
        stages.insert(stage, Some(Blocked { since, reason }));
    }

    /// All stages that there are, with what blocks them.
    pub fn stages(&self) -> BTreeMap<Stage, Option<Blocked>> {
        self.0.lock().clone()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_a_rate_and_an_end() {
        let half = progress(3, 9, (100, 600, 1_100), Duration::from_secs(5));
        assert_eq!((half.blocks_per_second, half.eta_seconds), (100.0, Some(5)));
        assert_eq!(half.to_string(), "batch 3 of 9, block 600 of 1100 (54.5 %), 100 blocks/s, 5 s left");
        let none = progress(1, 9, (0, 0, 1_100), Duration::ZERO);
        assert_eq!((none.percent, none.blocks_per_second, none.eta_seconds), (0.0, 0.0, None));
        let beyond = progress(9, 9, (5, 1_200, 1_100), Duration::from_secs(1));
        assert_eq!((beyond.percent, beyond.eta_seconds), (100.0, Some(0)));
        assert_eq!(progress(0, 0, (9, 0, 0), Duration::MAX).percent, 0.0);

        let rebuild = Rebuild::default();
        assert_eq!(rebuild.progress(5, 9, 100), None);
        rebuild.batch(4, 5);
        rebuild.batch(5, 30);
        let now = rebuild.progress(50, 9, 100).expect("under way");
        assert_eq!((now.batch, now.block, now.percent), (5, 50, 50.0));
        assert!(now.blocks_per_second > 0.0);
        // Blocks were withdrawn: it begins anew.
        rebuild.batch(4, 2);
        assert_eq!(rebuild.progress(2, 9, 100).expect("under way").blocks_per_second, 0.0);
        rebuild.done();
        assert_eq!(rebuild.progress(50, 9, 100), None);
    }

    #[test]
    fn debts_are_refused_by_name() {
        let limits = DebtLimits { uncommitted_bytes: 100, uncommitted_seconds: 60, unproven_gas: 1_000_000 };
        let backlog = Backlog { blocks: 3, bytes: 100, since_ms: Some(5_000), busy: true };
        let unproven = Unproven { batches: 2, blocks: 9, bytes: 0, gas: 1_000_000, since_ms: Some(1) };
        assert_eq!(limits.exceeded(&backlog, &unproven, 65_999), None, "at the limit it is not beyond");
        let exceeded = |backlog, unproven, now| limits.exceeded(&backlog, &unproven, now).unwrap();
        let many = exceeded(Backlog { bytes: 101, ..backlog }, unproven, 5_000);
        assert_eq!(many, "max_uncommitted: 101 bytes wait for L1, the limit is 100");
        let old = exceeded(backlog, unproven, 66_000);
        assert_eq!(old, "max_uncommitted: a block has waited 61 s for L1, the limit is 60");
        let busy = exceeded(backlog, Unproven { gas: 1_000_001, ..unproven }, 5_000);
        assert_eq!(busy, "max_unproven: 1000001 gas waits for proofs, the limit is 1000000");
        let most = Backlog { bytes: usize::MAX, since_ms: Some(0), ..backlog };
        let all = Unproven { gas: u64::MAX, blocks: u64::MAX, ..unproven };
        assert_eq!(DebtLimits::default().exceeded(&most, &all, u64::MAX), None, "without limits");
        assert_eq!(all.instructions(), u64::MAX, "no overflow");
        assert_eq!(Unproven { blocks: 1, gas: 42_000, ..Default::default() }.instructions(), 93_000 + 42 * 4_380);
        let batch = Unproven { batches: 1, blocks: 1, bytes: 2 * BLOB_CAPACITY as u64, ..Default::default() };
        assert_eq!(batch.instructions(), instructions(1, 0) + batch_instructions(2));
    }

    /// What is estimated is what was measured, to five in a hundred.
    #[test]
    fn estimates_are_of_the_guests_budget() {
        let budget: BTreeMap<String, u64> =
            serde_json::from_str(include_str!("../../../guests/budget.json")).expect("figures by name");
        for (name, estimate) in [
            ("a batch of one empty block", BATCH_INSTRUCTIONS),
            ("opening a full blob", BLOB_INSTRUCTIONS),
            ("each further empty block", BLOCK_INSTRUCTIONS),
            ("a transfer", 21 * INSTRUCTIONS_PER_KILOGAS),
        ] {
            let measured = budget[name];
            assert!(estimate.abs_diff(measured) * 20 <= measured, "{name}: {measured} measured, {estimate} estimated");
        }
    }

    #[test]
    fn a_stage_is_blocked_since_the_first_time_it_said_so() {
        let status = Status::default();
        status.running(Stage::Watch);
        status.blocked(Stage::Commit, "the fee is high");
        let since = status.stages()[&Stage::Commit].as_ref().expect("blocked").since;
        std::thread::sleep(std::time::Duration::from_millis(3));
        status.blocked(Stage::Commit, "L1 cannot be reached");
        let stages = status.stages();
        assert_eq!(stages[&Stage::Commit], Some(Blocked { since, reason: "L1 cannot be reached".into() }));
        assert_eq!(stages[&Stage::Watch], None);
        status.running(Stage::Commit);
        assert_eq!(status.stages()[&Stage::Commit], None);
    }
}
