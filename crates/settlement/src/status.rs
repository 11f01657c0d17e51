//! What settlement is at, and what holds it up.
//!
//! Each stage says when it gets on and when it does not; who asks learns which stage is blocked, since when and why. A head that silently stalls is what
//! operators of rollups complain of most.

use crate::{committer::Backlog, outbox::Outbox, watcher::L1State};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
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
    /// Stepping in for operators who leave a message waiting.
    Rescue,
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
    /// Batches that are committed and not final.
    pub unproven_batches: u64,
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
    /// What may wait.
    pub limits: DebtLimits,
}

impl Handle {
    /// Why no more transactions may be taken: a debt beyond its limit, in words for the sender.
    pub fn debt(&self, now_ms: u64) -> Option<String> {
        let DebtLimits { uncommitted_bytes, uncommitted_seconds, unproven_batches } = self.limits;
        let over = |value: u64, limit: u64| limit > 0 && value > limit;
        let backlog = self.backlog.lock().unwrap_or_default();
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
        let waiting = self.unproven();
        over(waiting, unproven_batches)
            .then(|| format!("max_unproven: {waiting} batches wait for proofs, the limit is {unproven_batches}"))
    }

    /// Batches that are committed and not final.
    pub fn unproven(&self) -> u64 {
        let l1 = self.l1.borrow();
        l1.latest.head.saturating_sub(l1.latest.last_final)
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
        if was.as_ref().is_none_or(|was| was.reason != reason) {
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
