//! The queue: on disk before anyone learns of it.

use crate::Error;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use jove_storage::Storage;
use serde::Serialize;
use std::time::Duration;

/// How often a job may fail before it is in quarantine.
pub const ATTEMPTS: u64 = 5;
/// The wait after the first failure; twice as long after each.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Most bytes of a reason that is kept.
pub(crate) const MAX_REASON: usize = 500;

/// A batch that lacks a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its index.
    pub index: u64,
    /// Its hash.
    pub batch: B256,
    /// The output that it starts from.
    pub start: B256,
}

/// What a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: Job,
    /// No other lease has it.
    pub token: u64,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "state")]
pub enum State {
    /// No worker has it.
    Waiting,
    /// A worker has it.
    Leased {
        /// The worker.
        worker: String,
    },
    /// Its proof is here, for L1.
    Proven,
    /// It failed too often.
    Quarantined,
}

impl State {
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting)
    }

    pub(crate) fn is_leased(&self) -> bool {
        matches!(self, Self::Leased { .. })
    }

    pub(crate) fn is_proven(&self) -> bool {
        matches!(self, Self::Proven)
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        matches!(self, Self::Quarantined)
    }
}

/// A job, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// How far it is.
    #[serde(flatten)]
    pub state: State,
    /// How often it failed.
    pub failures: u64,
    /// How it failed last; empty if it did not.
    pub reason: String,
}

/// A job, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
struct Entry {
    job: Job,
    failures: u64,
    reason: String,
    /// No lease before this time, in milliseconds since the Unix epoch.
    not_before: u64,
    /// Of the lease; 0 without one.
    token: u64,
    /// The lease's end.
    deadline: u64,
    worker: String,
    /// Empty while there is none.
    proof: Bytes,
}

#[derive(Clone, Debug, Default, RlpEncodable, RlpDecodable)]
struct Kept {
    /// The last token that was given.
    token: u64,
    entries: Vec<Entry>,
}

/// The queue of one proof system. Times are in milliseconds since the Unix epoch.
pub struct Queue {
    storage: Storage,
    name: String,
    lease: Duration,
    kept: Kept,
}

impl Queue {
    /// The queue that `storage` keeps under a name, with leases of this length.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the store's.
    pub fn open(storage: Storage, name: &str, lease: Duration) -> Result<Self, Error> {
        let name = format!("prover/{name}");
        let kept = match storage.meta(&name)? {
            Some(bytes) => Kept::decode(&mut &bytes[..]).map_err(|_| Error::Damaged(name.clone()))?,
            None => Kept::default(),
        };
        Ok(Self { storage, name, lease, kept })
    }

    /// How long a lease lasts that is not renewed.
    pub fn lease_time(&self) -> Duration {
        self.lease
    }

    /// Takes what lacks a proof now: new jobs wait, those that are not among them any more are forgotten, with their leases.
    /// Whether that changed anything.
    ///
    /// # Errors
    /// The store's; the queue is as before then, as with every function here.
    pub fn want(&mut self, jobs: &[Job]) -> Result<bool, Error> {
        let new = |job: &Job| Entry {
            job: *job,
            failures: 0,
            reason: String::new(),
            not_before: 0,
            token: 0,
            deadline: 0,
            worker: String::new(),
            proof: Bytes::new(),
        };
        let of = |job: &Job| self.kept.entries.iter().find(|entry| entry.job == *job).cloned();
        let entries: Vec<_> = jobs.iter().map(|job| of(job).unwrap_or_else(|| new(job))).collect();
        if entries == self.kept.entries {
            return Ok(false);
        }
        self.keep(Kept { token: self.kept.token, entries })?;
        Ok(true)
    }

    /// The first job that waits, for a worker. A lease that ran out counts as a failure.
    ///
    /// # Errors
    /// The store's.
    pub fn lease(&mut self, worker: &str, now: u64) -> Result<Option<Lease>, Error> {
        let mut kept = self.kept.clone();
        for entry in kept.entries.iter_mut().filter(|entry| entry.token != 0 && entry.deadline <= now) {
            let reason = format!("the lease of worker {:?} ran out", entry.worker);
            entry.fail(&reason, now);
        }
        let free = kept.entries.iter_mut().find(|entry| entry.is_free() && entry.not_before <= now);
        let lease = free.map(|entry| {
            kept.token += 1;
            (entry.token, entry.worker) = (kept.token, worker.into());
            entry.deadline = now + self.lease.as_millis() as u64;
            Lease { job: entry.job, token: entry.token }
        });
        if kept.entries != self.kept.entries {
            self.keep(kept)?;
        }
        Ok(lease)
    }

    /// When [`Self::lease`] may have something that it has not now, if nothing else happens.
    pub fn next(&self) -> Option<u64> {
        let entries = self.kept.entries.iter().filter(|entry| entry.proof.is_empty() && !entry.is_quarantined());
        entries.map(|entry| if entry.token == 0 { entry.not_before } else { entry.deadline }).min()
    }

    /// Puts a lease's deadline off.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn renew(&mut self, token: u64, now: u64) -> Result<(), Error> {
        let deadline = now + self.lease.as_millis() as u64;
        self.change(token, |entry| entry.deadline = deadline).map(drop)
    }

    /// The job of a worker's lease.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease.
    pub fn job(&self, token: u64, worker: &str) -> Result<Job, Error> {
        let held = |entry: &&Entry| token != 0 && entry.token == token && entry.worker == worker;
        self.kept.entries.iter().find(held).map(|entry| entry.job).ok_or(Error::Stale)
    }

    /// Takes a lease's proof, which ends it.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn finish(&mut self, token: u64, proof: Bytes) -> Result<Job, Error> {
        self.change(token, |entry| (entry.token, entry.proof) = (0, proof))
    }

    /// Ends a lease without a proof.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn fail(&mut self, token: u64, reason: &str, now: u64) -> Result<(), Error> {
        self.change(token, |entry| entry.fail(reason, now)).map(drop)
    }

    /// Ends a lease for which the job is not to blame.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn give_back(&mut self, token: u64) -> Result<(), Error> {
        self.change(token, |entry| entry.token = 0).map(drop)
    }

    /// Ends all leases of a worker: it has begun anew.
    ///
    /// # Errors
    /// The store's.
    pub fn forget(&mut self, worker: &str) -> Result<(), Error> {
        let mut kept = self.kept.clone();
        kept.entries.iter_mut().filter(|entry| entry.worker == worker).for_each(|entry| entry.token = 0);
        if kept.entries == self.kept.entries { Ok(()) } else { self.keep(kept) }
    }

    /// The proofs that are here for L1, in the order of their batches.
    pub fn proofs(&self) -> impl Iterator<Item = (Job, &Bytes)> {
        self.kept.entries.iter().filter(|entry| !entry.proof.is_empty()).map(|entry| (entry.job, &entry.proof))
    }

    /// Throws a job's proof away, since L1 refused it: the job failed.
    ///
    /// # Errors
    /// The store's.
    pub fn reject(&mut self, job: &Job, reason: &str, now: u64) -> Result<(), Error> {
        let mut kept = self.kept.clone();
        for entry in kept.entries.iter_mut().filter(|entry| entry.job == *job && !entry.proof.is_empty()) {
            entry.proof = Bytes::new();
            entry.fail(reason, now);
        }
        self.keep(kept)
    }

    /// Ends the quarantine, or the wait, of a batch's jobs. Whether there are any.
    ///
    /// # Errors
    /// The store's.
    pub fn retry(&mut self, index: u64) -> Result<bool, Error> {
        let mut kept = self.kept.clone();
        let mut found = false;
        for entry in kept.entries.iter_mut().filter(|entry| entry.job.index == index) {
            (entry.failures, entry.not_before, found) = (0, 0, true);
        }
        self.keep(kept)?;
        Ok(found)
    }

    /// All jobs.
    pub fn jobs(&self) -> Vec<Wanted> {
        let jobs = self.kept.entries.iter().map(|entry| Wanted {
            job: entry.job,
            state: match entry {
                _ if !entry.proof.is_empty() => State::Proven,
                _ if entry.token != 0 => State::Leased { worker: entry.worker.clone() },
                _ if entry.is_quarantined() => State::Quarantined,
                _ => State::Waiting,
            },
            failures: entry.failures,
            reason: entry.reason.clone(),
        });
        jobs.collect()
    }

    fn change(&mut self, token: u64, change: impl FnOnce(&mut Entry)) -> Result<Job, Error> {
        let mut kept = self.kept.clone();
        let entry = kept.entries.iter_mut().find(|entry| token != 0 && entry.token == token).ok_or(Error::Stale)?;
        change(entry);
        let job = entry.job;
        self.keep(kept)?;
        Ok(job)
    }

    fn keep(&mut self, kept: Kept) -> Result<(), Error> {
        self.storage.put_meta(&self.name, &alloy_rlp::encode(&kept))?;
        self.kept = kept;
        Ok(())
    }
}

impl Entry {
    fn is_quarantined(&self) -> bool {
        self.failures >= ATTEMPTS
    }

    fn is_free(&self) -> bool {
        self.token == 0 && self.proof.is_empty() && !self.is_quarantined()
    }

    fn fail(&mut self, reason: &str, now: u64) {
        self.not_before = now + ((BACK_OFF.as_millis() as u64) << self.failures.min(ATTEMPTS));
        self.failures += 1;
        self.token = 0;
        self.reason = reason[..reason.floor_char_boundary(MAX_REASON)].into();
        if self.is_quarantined() {
            tracing::error!(batch = self.job.index, reason, "a batch cannot be proven: it is in quarantine");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jove_storage::Options;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use tempfile::TempDir;

    const LEASE: u64 = 1_000;

    fn job(index: u64) -> Job {
        Job { index, batch: B256::with_last_byte(index as u8), start: B256::ZERO }
    }

    fn open(folder: &TempDir) -> Queue {
        let options = Options { sync: false };
        let storage = Storage::open(folder.path(), options).unwrap();
        Queue::open(storage, "tee", Duration::from_millis(LEASE)).unwrap()
    }

    fn queue(jobs: impl IntoIterator<Item = u64>) -> (TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = open(&folder);
        queue.want(&jobs.into_iter().map(job).collect::<Vec<_>>()).unwrap();
        (folder, queue)
    }

    fn states(queue: &Queue) -> Vec<State> {
        queue.jobs().into_iter().map(|job| job.state).collect()
    }

    #[test]
    fn jobs_go_to_one_worker_each() {
        let (_folder, mut queue) = queue([1, 2]);
        let first = queue.lease("a", 0).unwrap().unwrap();
        let second = queue.lease("b", 0).unwrap().unwrap();
        assert_eq!((first.job.index, second.job.index), (1, 2));
        assert_eq!(queue.lease("c", 0).unwrap(), None);
        assert_eq!(queue.next(), Some(LEASE));
        assert_eq!(queue.finish(second.token, "p".into()).unwrap(), job(2));
        assert_eq!(states(&queue), [State::Leased { worker: "a".into() }, State::Proven]);
        assert_eq!(queue.proofs().map(|(job, _)| job.index).collect::<Vec<_>>(), [2]);
        // L1 has it.
        queue.want(&[job(1), job(3)]).unwrap();
        assert_eq!(states(&queue), [State::Leased { worker: "a".into() }, State::Waiting]);
        assert_eq!(queue.job(first.token, "a").unwrap(), job(1));
    }

    #[test]
    fn a_worker_that_was_thought_dead_does_nothing() {
        let (_folder, mut queue) = queue([1]);
        let old = queue.lease("a", 0).unwrap().unwrap();
        queue.renew(old.token, 500).unwrap();
        assert_eq!(queue.lease("b", LEASE).unwrap(), None);
        // It ran out: a failure, and a wait.
        assert_eq!(queue.lease("b", 500 + LEASE).unwrap(), None);
        let new = queue.lease("b", 500 + LEASE + 1_000).unwrap().unwrap();
        assert!(new.token > old.token);
        for outcome in [
            queue.renew(old.token, 0),
            queue.finish(old.token, "p".into()).map(drop),
            queue.fail(old.token, "", 0),
            queue.give_back(old.token),
            queue.job(old.token, "a").map(drop),
            queue.job(new.token, "a").map(drop),
            queue.renew(0, 0),
        ] {
            assert!(matches!(outcome, Err(Error::Stale)));
        }
        assert_eq!(queue.jobs()[0].reason, "the lease of worker \"a\" ran out");
        queue.finish(new.token, "p".into()).unwrap();
        assert!(matches!(queue.finish(new.token, "q".into()), Err(Error::Stale)));
    }

    #[test]
    fn a_poison_batch_lets_others_pass() {
        let (_folder, mut queue) = queue([1, 2]);
        let mut now = 0;
        for attempt in 0..ATTEMPTS {
            let lease = queue.lease("a", now).unwrap().unwrap();
            assert_eq!(lease.job.index, 1);
            queue.fail(lease.token, "no", now).unwrap();
            assert_eq!(queue.jobs()[0].failures, attempt + 1);
            now += 1_000 << attempt;
        }
        assert_eq!(states(&queue), [State::Quarantined, State::Waiting]);
        assert_eq!(queue.lease("a", now + 1_000_000).unwrap().unwrap().job.index, 2);
        assert!(queue.retry(1).unwrap() && !queue.retry(7).unwrap());
        assert_eq!(queue.lease("a", now).unwrap().unwrap().job.index, 1);
    }

    #[test]
    fn what_is_no_fault_of_the_job_does_not_count() {
        let (_folder, mut queue) = queue([1]);
        let lease = queue.lease("a", 0).unwrap().unwrap();
        queue.give_back(lease.token).unwrap();
        let lease = queue.lease("a", 0).unwrap().unwrap();
        queue.forget("b").unwrap();
        assert!(queue.job(lease.token, "a").is_ok());
        queue.forget("a").unwrap();
        assert!(queue.job(lease.token, "a").is_err());
        assert_eq!(queue.jobs()[0].failures, 0);
        let lease = queue.lease("a", 0).unwrap().unwrap();
        queue.finish(lease.token, "p".into()).unwrap();
        queue.reject(&job(1), "L1 says no", 0).unwrap();
        assert_eq!((queue.jobs()[0].failures, queue.proofs().count()), (1, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(BTreeSet<u64>),
        Lease(u8),
        Renew(usize),
        Finish(usize),
        Fail(usize),
        Pass(u64),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::btree_set(0u64..6, 0..6).prop_map(Step::Want),
            (0u8..3).prop_map(Step::Lease),
            any::<usize>().prop_map(Step::Renew),
            any::<usize>().prop_map(Step::Finish),
            any::<usize>().prop_map(Step::Fail),
            (0u64..3_000).prop_map(Step::Pass),
            Just(Step::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever happens: a token is given once, a job has one lease at most, and what was said is so after a restart.
        #[test]
        fn leases_are_exclusive(steps in prop::collection::vec(step(), 1..60)) {
            let (folder, mut queue) = queue([0, 1, 2]);
            let (mut now, mut given) = (0, Vec::<(Lease, String)>::new());
            for step in steps {
                let pick = |at: usize| given.get(at % given.len().max(1)).map_or(0, |(lease, _)| lease.token);
                match step {
                    Step::Want(jobs) => queue.want(&jobs.into_iter().map(job).collect::<Vec<_>>()).unwrap(),
                    Step::Lease(worker) => {
                        if let Some(lease) = queue.lease(&worker.to_string(), now).unwrap() {
                            prop_assert!(given.iter().all(|(old, _)| old.token < lease.token));
                            // The job's earlier leases are void.
                            for (old, holder) in given.iter().filter(|(old, _)| old.job == lease.job) {
                                prop_assert!(queue.job(old.token, holder).is_err());
                            }
                            given.push((lease, worker.to_string()));
                        }
                    }
                    Step::Renew(at) => drop(queue.renew(pick(at), now)),
                    Step::Finish(at) => drop(queue.finish(pick(at), "p".into())),
                    Step::Fail(at) => drop(queue.fail(pick(at), "no", now)),
                    Step::Pass(time) => now += time,
                    Step::Restart => {
                        let before = (queue.jobs(), queue.next());
                        drop(queue);
                        queue = open(&folder);
                        prop_assert_eq!((queue.jobs(), queue.next()), before);
                    }
                }
                let held = given.iter().filter(|(lease, holder)| queue.job(lease.token, holder).is_ok());
                let jobs: Vec<_> = held.map(|(lease, _)| lease.job.index).collect();
                prop_assert_eq!(jobs.iter().collect::<BTreeSet<_>>().len(), jobs.len());
            }
        }
    }
}
