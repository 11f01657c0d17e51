//! The queue: on disk before anyone learns of it.

use crate::Error;
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use jove_storage::Storage;
use serde::Serialize;
use std::time::Duration;

/// How often a machine may fail a job before it counts no more against it, and how often it takes if it is the only one, before the job is in quarantine.
pub const ATTEMPTS: u64 = 5;
/// Machines that have to fail a job before it is in quarantine, where there are as many.
pub const WITNESSES: u64 = 3;
/// A worker that is not heard of any more was perhaps killed: so many times are a failure.
const LOSSES: u64 = 4;
/// The wait after a machine's first failure, for that machine; twice as long after each.
const BACK_OFF: u64 = 1_000;
/// Doublings at most.
const MAX_DOUBLINGS: u64 = 6;
/// How long a job is in quarantine, unless an operator ends it.
const QUARANTINE: u64 = 3_600_000;
/// A lease that was taken longer ago is not renewed.
const MAX_HELD: u64 = 3_600_000;
/// The same in zero knowledge: a day.
const MAX_HELD_ZK: u64 = 86_400_000;
/// Most bytes of a reason that is kept.
pub(crate) const MAX_REASON: usize = 500;

/// A way to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// By enclaves.
    Tee,
    /// In zero knowledge.
    Zk,
}

impl System {
    /// Its queue's name in the store.
    fn name(self) -> &'static str {
        match self {
            Self::Tee => "tee",
            Self::Zk => "zk",
        }
    }
}

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

/// Who asks for work.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Whose lease it is: one at a time.
    pub session: &'a str,
    /// Whose failures these are, however many sessions it has.
    pub machine: B256,
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
    /// How often it failed, whoever had it.
    pub failures: u64,
    /// How often whoever had it was heard of no more.
    pub losses: u64,
    /// Why it is where it is; empty if nothing happened.
    pub reason: String,
}

/// A job, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
struct Entry {
    job: Job,
    records: Vec<Record>,
    reason: String,
    /// How often there was no input.
    stalls: u64,
    /// No lease before this time, in milliseconds since the Unix epoch, as all times.
    not_before: u64,
    /// When its quarantine ends; 0 without one.
    quarantine: u64,
    /// Of the lease; 0 without one.
    token: u64,
    /// When the lease was taken.
    since: u64,
    /// The lease's end.
    deadline: u64,
    session: String,
    machine: B256,
    /// Empty while there is none.
    proof: Bytes,
}

/// What a machine did with a job.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
struct Record {
    machine: B256,
    failures: u64,
    losses: u64,
    /// It has the job not before this time.
    not_before: u64,
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
    /// Longest that a job is held, in milliseconds.
    max_held: u64,
    kept: Kept,
}

impl Queue {
    /// The queue that `storage` keeps of a system, with leases of this length. Earlier leases are void: their sessions have ended with whoever had the queue.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the store's.
    pub fn open(storage: Storage, system: System, lease: Duration) -> Result<Self, Error> {
        let name = format!("prover/{}", system.name());
        let max_held = if system == System::Zk { MAX_HELD_ZK } else { MAX_HELD };
        let mut kept = match storage.meta(&name)? {
            Some(bytes) => Kept::decode(&mut &bytes[..]).map_err(|_| Error::Damaged(name.clone()))?,
            None => Kept::default(),
        };
        kept.entries.iter_mut().for_each(|entry| entry.token = 0);
        Ok(Self { storage, name, lease, max_held, kept })
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
            records: Vec::new(),
            reason: String::new(),
            stalls: 0,
            not_before: 0,
            quarantine: 0,
            token: 0,
            since: 0,
            deadline: 0,
            session: String::new(),
            machine: B256::ZERO,
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

    /// The first job that waits, for a worker, where there are so many machines. What the worker held is no longer its own.
    ///
    /// # Errors
    /// The store's.
    pub fn lease(&mut self, worker: Asking<'_>, machines: u64, now: u64) -> Result<Option<Lease>, Error> {
        let mut kept = self.kept.clone();
        for entry in kept.entries.iter_mut().filter(|entry| entry.token != 0) {
            if entry.deadline <= now {
                entry.lose("its lease ran out", machines, now);
            } else if entry.session == worker.session {
                entry.lose("it asked for another job", machines, now);
            }
        }
        let is_free =
            |entry: &&mut Entry| entry.token == 0 && entry.free_at(worker.machine).is_some_and(|at| at <= now);
        let lease = kept.entries.iter_mut().find(is_free).map(|entry| {
            kept.token += 1;
            (entry.token, entry.session, entry.machine) = (kept.token, worker.session.into(), worker.machine);
            (entry.since, entry.deadline) = (now, now + self.lease.as_millis() as u64);
            Lease { job: entry.job, token: entry.token }
        });
        if kept.entries != self.kept.entries {
            self.keep(kept)?;
        }
        Ok(lease)
    }

    /// When [`Self::lease`] may have something for a machine that it has not now, if nothing else happens.
    pub fn next(&self, machine: B256) -> Option<u64> {
        let at = |entry: &Entry| if entry.token == 0 { entry.free_at(machine) } else { Some(entry.deadline) };
        self.kept.entries.iter().filter_map(at).min()
    }

    /// Puts a lease's deadline off.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease, or where it was taken an hour ago (in zero knowledge: a day); the store's.
    pub fn renew(&mut self, token: u64, now: u64) -> Result<(), Error> {
        let deadline = now + self.lease.as_millis() as u64;
        let held = self.kept.entries.iter().find(|entry| token != 0 && entry.token == token).ok_or(Error::Stale)?;
        if now.saturating_sub(held.since) > self.max_held {
            return Err(Error::Stale);
        }
        self.change(token, |entry| entry.deadline = deadline).map(drop)
    }

    /// The job of a session's lease.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease.
    pub fn job(&self, token: u64, session: &str) -> Result<Job, Error> {
        let held = |entry: &&Entry| token != 0 && entry.token == token && entry.session == session;
        self.kept.entries.iter().find(held).map(|entry| entry.job).ok_or(Error::Stale)
    }

    /// Takes a lease's proof, which ends it.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn finish(&mut self, token: u64, proof: Bytes) -> Result<Job, Error> {
        self.change(token, |entry| (entry.token, entry.proof) = (0, proof))
    }

    /// Ends a lease without a proof: its machine, of which there are so many, failed.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn fail(&mut self, token: u64, reason: &str, machines: u64, now: u64) -> Result<(), Error> {
        self.change(token, |entry| entry.fail(reason, machines, now)).map(drop)
    }

    /// Ends a lease whose worker is not believed: another may have the job at once.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn give_back(&mut self, token: u64) -> Result<(), Error> {
        self.change(token, |entry| entry.token = 0).map(drop)
    }

    /// Ends a lease for whose job there is no input now: nobody has it for a while.
    ///
    /// # Errors
    /// [`Error::Stale`] without such a lease; the store's.
    pub fn stall(&mut self, token: u64, reason: &str, now: u64) -> Result<(), Error> {
        let stall = |entry: &mut Entry| {
            entry.not_before = now + (BACK_OFF << entry.stalls.min(MAX_DOUBLINGS));
            entry.stalls += 1;
            entry.end(reason);
        };
        self.change(token, stall).map(drop)
    }

    /// The proofs that are here for L1, in the order of their batches.
    pub fn proofs(&self) -> impl Iterator<Item = (Job, &Bytes)> {
        self.kept.entries.iter().filter(|entry| !entry.proof.is_empty()).map(|entry| (entry.job, &entry.proof))
    }

    /// Throws a job's proof away, since L1 does not hear whoever made it any more.
    ///
    /// # Errors
    /// The store's.
    pub fn reject(&mut self, job: &Job, reason: &str, now: u64) -> Result<(), Error> {
        let mut kept = self.kept.clone();
        for entry in kept.entries.iter_mut().filter(|entry| entry.job == *job && !entry.proof.is_empty()) {
            entry.proof = Bytes::new();
            entry.not_before = now + BACK_OFF;
            entry.end(reason);
        }
        self.keep(kept)
    }

    /// Forgets all that went wrong with a batch's jobs. Whether there are any.
    ///
    /// # Errors
    /// The store's.
    pub fn retry(&mut self, index: u64) -> Result<bool, Error> {
        let mut kept = self.kept.clone();
        let mut found = false;
        for entry in kept.entries.iter_mut().filter(|entry| entry.job.index == index) {
            entry.records.clear();
            (entry.stalls, entry.not_before, entry.quarantine, found) = (0, 0, 0, true);
        }
        self.keep(kept)?;
        Ok(found)
    }

    /// All jobs.
    pub fn jobs(&self, now: u64) -> Vec<Wanted> {
        let jobs = self.kept.entries.iter().map(|entry| Wanted {
            job: entry.job,
            state: match entry {
                _ if !entry.proof.is_empty() => State::Proven,
                _ if entry.token != 0 => State::Leased { worker: entry.session.clone() },
                _ if entry.quarantine > now => State::Quarantined,
                _ => State::Waiting,
            },
            failures: entry.records.iter().map(|record| record.failures).sum(),
            losses: entry.records.iter().map(|record| record.losses).sum(),
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
    /// When a machine may have it, if it is not leased; never while there is a proof.
    fn free_at(&self, machine: B256) -> Option<u64> {
        let own = self.records.iter().find(|record| record.machine == machine).map_or(0, |record| record.not_before);
        self.proof.is_empty().then_some(own.max(self.not_before).max(self.quarantine))
    }

    fn fail(&mut self, reason: &str, machines: u64, now: u64) {
        let record = self.record();
        record.not_before = now + (BACK_OFF << record.failures.min(MAX_DOUBLINGS));
        record.failures += 1;
        self.end(reason);
        self.weigh(machines, now);
    }

    fn lose(&mut self, why: &str, machines: u64, now: u64) {
        self.record().losses += 1;
        self.end(&format!("{}: {why}", self.session));
        self.weigh(machines, now);
    }

    /// Of the machine that has it.
    fn record(&mut self) -> &mut Record {
        let machine = self.machine;
        let at = self.records.iter().position(|record| record.machine == machine);
        let at = at.unwrap_or_else(|| {
            self.records.push(Record { machine, failures: 0, losses: 0, not_before: 0 });
            self.records.len() - 1
        });
        &mut self.records[at]
    }

    fn end(&mut self, reason: &str) {
        self.token = 0;
        self.reason = reason[..reason.floor_char_boundary(MAX_REASON)].into();
    }

    /// Puts it in quarantine once enough machines have failed it. One alone cannot, where there are others.
    fn weigh(&mut self, machines: u64, now: u64) {
        let most = ATTEMPTS * LOSSES;
        let weight: u64 = self.records.iter().map(|record| (record.failures * LOSSES + record.losses).min(most)).sum();
        if weight >= most * machines.clamp(1, WITNESSES) {
            tracing::error!(
                batch = self.job.index,
                reason = self.reason,
                "a batch cannot be proven: it is in quarantine"
            );
            // From then on it begins anew.
            self.records.clear();
            self.quarantine = now + QUARANTINE;
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

    /// The only session of a machine of its name.
    fn worker(session: &str) -> Asking<'_> {
        Asking { session, machine: alloy_primitives::keccak256(session) }
    }

    fn open(folder: &TempDir) -> Queue {
        let options = Options { sync: false };
        let storage = Storage::open(folder.path(), options).unwrap();
        Queue::open(storage, System::Tee, Duration::from_millis(LEASE)).unwrap()
    }

    fn queue(jobs: impl IntoIterator<Item = u64>) -> (TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = open(&folder);
        queue.want(&jobs.into_iter().map(job).collect::<Vec<_>>()).unwrap();
        (folder, queue)
    }

    fn states(queue: &Queue) -> Vec<State> {
        queue.jobs(0).into_iter().map(|job| job.state).collect()
    }

    #[test]
    fn jobs_go_to_one_worker_each() {
        let (_folder, mut queue) = queue([1, 2]);
        let first = queue.lease(worker("a"), 3, 0).unwrap().unwrap();
        let second = queue.lease(worker("b"), 3, 0).unwrap().unwrap();
        assert_eq!((first.job.index, second.job.index), (1, 2));
        assert_eq!(queue.lease(worker("c"), 3, 0).unwrap(), None);
        assert_eq!(queue.next(worker("c").machine), Some(LEASE));
        assert_eq!(queue.finish(second.token, "p".into()).unwrap(), job(2));
        assert_eq!(states(&queue), [State::Leased { worker: "a".into() }, State::Proven]);
        assert_eq!(queue.proofs().map(|(job, _)| job.index).collect::<Vec<_>>(), [2]);
        // L1 has it.
        assert!(queue.want(&[job(1), job(3)]).unwrap());
        assert!(!queue.want(&[job(1), job(3)]).unwrap());
        assert_eq!(states(&queue), [State::Leased { worker: "a".into() }, State::Waiting]);
        assert_eq!(queue.job(first.token, "a").unwrap(), job(1));
        // A worker has one at a time.
        let other = queue.lease(worker("a"), 3, 0).unwrap().unwrap();
        assert_eq!((other.job.index, queue.job(first.token, "a").is_err()), (1, true));
        assert_eq!(queue.jobs(0)[0].losses, 1);
    }

    #[test]
    fn a_worker_that_was_thought_dead_does_nothing() {
        let (_folder, mut queue) = queue([1]);
        let old = queue.lease(worker("a"), 2, 0).unwrap().unwrap();
        queue.renew(old.token, 500).unwrap();
        assert_eq!(queue.lease(worker("b"), 2, LEASE).unwrap(), None);
        // It ran out: another has it at once.
        let new = queue.lease(worker("b"), 2, 500 + LEASE).unwrap().unwrap();
        assert!(new.token > old.token);
        for outcome in [
            queue.renew(old.token, 0),
            queue.finish(old.token, "p".into()).map(drop),
            queue.fail(old.token, "", 2, 0),
            queue.give_back(old.token),
            queue.stall(old.token, "", 0),
            queue.job(old.token, "a").map(drop),
            queue.job(new.token, "a").map(drop),
            queue.renew(0, 0),
        ] {
            assert!(matches!(outcome, Err(Error::Stale)));
        }
        assert_eq!(queue.jobs(0)[0].reason, "a: its lease ran out");
        queue.finish(new.token, "p".into()).unwrap();
        assert!(matches!(queue.finish(new.token, "q".into()), Err(Error::Stale)));
    }

    #[test]
    fn nobody_holds_a_job_for_ever() {
        let (_folder, mut queue) = queue([1]);
        let lease = queue.lease(worker("a"), 1, 0).unwrap().unwrap();
        let mut now = 0;
        while now <= MAX_HELD {
            queue.renew(lease.token, now).unwrap();
            now += LEASE / 2;
        }
        assert!(matches!(queue.renew(lease.token, now), Err(Error::Stale)));
        assert!(queue.lease(worker("b"), 2, now + LEASE).unwrap().is_some());
    }

    /// Until a worker gets no lease, it fails each that it gets. The last time.
    fn fail_all(queue: &mut Queue, worker: &str, workers: u64, mut now: u64) -> u64 {
        while let Some(next) = queue.next(self::worker(worker).machine).filter(|next| *next < now + QUARANTINE / 2) {
            now = now.max(next);
            let lease = queue.lease(self::worker(worker), workers, now).unwrap().unwrap();
            queue.fail(lease.token, "no", workers, now).unwrap();
            if queue.jobs(now)[0].failures > 30 {
                break;
            }
        }
        now
    }

    #[test]
    fn a_poison_batch_lets_others_pass() {
        let (_folder, mut queue) = queue([1]);
        let now = fail_all(&mut queue, "a", 1, 0);
        assert_eq!(now, 15_000, "after 1, 2, 4 and 8 s");
        queue.want(&[job(1), job(2)]).unwrap();
        assert_eq!(
            queue.jobs(now).into_iter().map(|job| job.state).collect::<Vec<_>>(),
            [State::Quarantined, State::Waiting]
        );
        assert_eq!(queue.lease(worker("a"), 1, now).unwrap().unwrap().job.index, 2);
        // It ends by an operator, or by itself.
        assert!(queue.retry(1).unwrap() && !queue.retry(7).unwrap());
        assert_eq!(queue.lease(worker("b"), 2, now).unwrap().unwrap().job.index, 1);
        let (_folder, mut queue) = self::queue([1]);
        let now = fail_all(&mut queue, "a", 1, 0);
        assert_eq!(queue.next(worker("a").machine), Some(now + QUARANTINE));
        assert!(queue.lease(worker("a"), 1, now + QUARANTINE).unwrap().is_some());
    }

    #[test]
    fn one_bad_worker_takes_no_job_from_the_others() {
        let (_folder, mut queue) = queue([1]);
        // However often it fails.
        let now = fail_all(&mut queue, "bad", 2, 0);
        assert!(queue.jobs(now)[0].failures > 30);
        // Another has the job at once, also where that one failed a moment ago.
        assert_eq!(states(&queue), [State::Waiting]);
        let lease = queue.lease(worker("good"), 2, now).unwrap().unwrap();
        queue.fail(lease.token, "out of memory, once", 2, now).unwrap();
        let lease = queue.lease(worker("good"), 2, now + BACK_OFF).unwrap().unwrap();
        queue.finish(lease.token, "p".into()).unwrap();
        // Two of two that fail are enough, as are three of many.
        for workers in [2, 3, 100] {
            let (_folder, mut queue) = self::queue([1]);
            let mut now = 0;
            for worker in ["a", "b", "c"].into_iter().take(workers.min(3) as usize) {
                assert_eq!(queue.jobs(now)[0].state, State::Waiting);
                for _ in 0..ATTEMPTS {
                    now = now.max(queue.next(self::worker(worker).machine).unwrap());
                    let lease = queue.lease(self::worker(worker), workers, now).unwrap().unwrap();
                    queue.fail(lease.token, "no", workers, now).unwrap();
                }
            }
            assert_eq!(queue.jobs(now)[0].state, State::Quarantined);
        }
    }

    #[test]
    fn deaths_count_less_than_failures() {
        let (_folder, mut queue) = queue([1]);
        for death in 0..ATTEMPTS * LOSSES {
            // The one before has run out.
            assert!(queue.lease(worker("a"), 1, death * LEASE).unwrap().is_some());
            assert_eq!(queue.jobs(0)[0].losses, death);
        }
        // Whatever kills its prover each time is in quarantine at last.
        let now = ATTEMPTS * LOSSES * LEASE;
        assert_eq!(queue.lease(worker("a"), 1, now).unwrap(), None);
        assert_eq!(queue.jobs(now)[0].state, State::Quarantined);
    }

    #[test]
    fn sessions_of_one_machine_work_side_by_side_and_are_one_witness() {
        let (_folder, mut queue) = queue([1, 2]);
        let sessions = ["x", "y", "z"].map(|session| Asking { session, machine: B256::ZERO });
        let first = queue.lease(sessions[0], 1, 0).unwrap().unwrap();
        let second = queue.lease(sessions[1], 1, 0).unwrap().unwrap();
        assert_eq!((first.job.index, second.job.index), (1, 2));
        assert!(queue.job(first.token, "x").is_ok() && queue.job(first.token, "y").is_err());
        queue.fail(first.token, "no", 2, 0).unwrap();
        // Under no name it has the job before the machine may.
        assert_eq!(queue.lease(sessions[2], 2, 0).unwrap(), None);
        assert_eq!(queue.lease(worker("another"), 2, 0).unwrap().unwrap().job.index, 1);
    }

    #[test]
    fn what_is_no_fault_of_the_job_does_not_count() {
        let (_folder, mut queue) = queue([1, 2]);
        let lease = queue.lease(worker("a"), 1, 0).unwrap().unwrap();
        queue.give_back(lease.token).unwrap();
        // Without an input nobody has it for a while, longer each time; others go on.
        let mut now = 0;
        for wait in [1_000, 2_000, 4_000] {
            let lease = queue.lease(worker("a"), 1, now).unwrap().unwrap();
            assert_eq!(lease.job.index, 1);
            queue.stall(lease.token, "no input", now).unwrap();
            let lease = queue.lease(worker("b"), 2, now).unwrap().unwrap();
            assert_eq!(lease.job.index, 2);
            queue.give_back(lease.token).unwrap();
            now += wait;
        }
        let jobs = queue.jobs(now);
        assert_eq!((jobs[0].failures, jobs[0].losses, jobs[0].reason.as_str()), (0, 0, "no input"));
        let lease = queue.lease(worker("a"), 1, now).unwrap().unwrap();
        queue.finish(lease.token, "p".into()).unwrap();
        queue.reject(&job(1), "the key has ended", now).unwrap();
        assert_eq!((queue.jobs(now)[0].failures, queue.proofs().count()), (0, 0));
        assert_eq!(queue.lease(worker("a"), 1, now + BACK_OFF).unwrap().unwrap().job.index, 1);
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
                    Step::Want(jobs) => drop(queue.want(&jobs.into_iter().map(job).collect::<Vec<_>>()).unwrap()),
                    Step::Lease(worker) => {
                        if let Some(lease) = queue.lease(self::worker(&worker.to_string()), 3, now).unwrap() {
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
                    Step::Fail(at) => drop(queue.fail(pick(at), "no", 3, now)),
                    Step::Pass(time) => now += time,
                    Step::Restart => {
                        let mut before = queue.jobs(now);
                        drop(queue);
                        queue = open(&folder);
                        // All but leases, which end.
                        before.iter_mut().filter(|job| job.state.is_leased()).for_each(|job| job.state = State::Waiting);
                        prop_assert_eq!(queue.jobs(now), before);
                    }
                }
                let held = given.iter().filter(|(lease, holder)| queue.job(lease.token, holder).is_ok());
                let jobs: Vec<_> = held.map(|(lease, _)| lease.job.index).collect();
                prop_assert_eq!(jobs.iter().collect::<BTreeSet<_>>().len(), jobs.len());
            }
        }
    }
}
