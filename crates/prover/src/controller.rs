//! The queue over HTTP.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/challenge` | | [`Challenge`], JSON: what a quote is to be over |
//! | `POST /v1/register/{block}` | [`Attested`], RLP, over this L1 block | empty, once L1 has the key |
//! | `POST /v1/lease` | | 200: an input, with the headers `jove-lease` (its token) and `jove-lease-ms`; 204 after a while without work |
//! | `POST /v1/lease/{token}/renew` | | empty |
//! | `POST /v1/lease/{token}/finish` | [`Proved`], RLP | empty |
//! | `POST /v1/lease/{token}/fail` | why, in words | empty |
//! | `GET /v1/jobs` | | all jobs, JSON |
//! | `POST /v1/jobs/{index}/retry` | | empty |
//!
//! Errors are words, with 401 without a good token, 403 for a worker whose proofs were wrong, 404, 409 for a lease that has ended, 422 for what is wrong, 428
//! where the worker's key has to be registered first, 410 for a key whose time is over, 503 for what may be so later.

use crate::{Error, Job, Lease, Queue, Refusal, Secret, State as JobState, Wanted, queue::MAX_REASON};
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::Decodable;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, State},
    http::{HeaderName, StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jove_enclave::{Attested, Domain, Proved};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// The header with a lease's token.
pub(crate) const LEASE: HeaderName = HeaderName::from_static("jove-lease");
/// The header with a lease's length, in milliseconds.
pub(crate) const LEASE_MS: HeaderName = HeaderName::from_static("jove-lease-ms");

/// How long a request for work waits for some.
const WAIT: Duration = Duration::from_secs(20);
/// Most bytes of a body: a proof of 64 batches of six blobs has a tenth of that.
const MAX_BODY: usize = 1 << 20;
/// Most workers: beyond, the one that was not heard of for longest is forgotten.
const MAX_WORKERS: usize = 1_000;
/// A worker that was wrong so often gets no more work.
const MAX_WRONG: u32 = 3;

/// What a worker's quote has to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// Chain id of L1.
    pub l1_chain_id: u64,
    /// The `AttestationRegistry`.
    pub registry: Address,
    /// Whom proofs pay.
    pub payout: Address,
    /// A recent block of L1.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: B256,
}

impl Challenge {
    /// What keys are for.
    pub fn domain(&self, number: u64) -> Domain {
        Domain { l1_chain_id: self.l1_chain_id, registry: self.registry, number }
    }
}

/// What a controller asks of the node beside it and of L1.
pub trait Chain: Send + Sync + 'static {
    /// What a quote has to be over now.
    fn challenge(&self) -> impl Future<Output = Result<Challenge, Refusal>> + Send;
    /// Has a key registered on L1, whose quote is over this block of L1, and waits until it is.
    fn register(&self, attested: Attested, block_number: u64) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Whether L1 takes proofs by a key now.
    fn is_registered(&self, key: Address) -> impl Future<Output = Result<bool, Refusal>> + Send;
    /// What a job's prover is given: an encoded [`Input`](jove_proving::Input).
    fn input(&self, job: Job) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;
    /// Checks a job's proof, by a key, against what the node knows itself.
    fn check(&self, job: Job, key: Address, proved: Proved) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// A worker that has shown its enclave.
#[derive(Clone, Copy)]
struct Known {
    key: Address,
    /// Proofs of its that were wrong.
    wrong: u32,
    seen: Instant,
}

impl Known {
    fn is_believed(&self) -> bool {
        self.wrong < MAX_WRONG
    }
}

/// Gives jobs to workers, and takes their proofs.
pub struct Controller<C> {
    chain: C,
    secret: Secret,
    queue: Mutex<Queue>,
    workers: Mutex<BTreeMap<String, Known>>,
    /// There may be work now.
    work: Notify,
}

impl<C: Chain> Controller<C> {
    /// A controller of this queue, for workers that know the secret.
    pub fn new(chain: C, secret: Secret, queue: Queue) -> Arc<Self> {
        let (queue, workers) = (Mutex::new(queue), Mutex::default());
        let controller = Self { chain, secret, queue, workers, work: Notify::new() };
        controller.changed();
        Arc::new(controller)
    }

    /// What it asks of node and L1.
    pub fn chain(&self) -> &C {
        &self.chain
    }

    /// Takes what lacks a proof now.
    ///
    /// # Errors
    /// The store's.
    pub fn want(&self, jobs: &[Job]) -> Result<(), Error> {
        // Asked all the time: who waits for work is woken only where there is some.
        if self.queue.lock().want(jobs)? {
            self.changed();
        }
        Ok(())
    }

    /// The proofs that are here for L1, in the order of their batches.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn proofs(&self) -> Result<Vec<(Job, Proved)>, Error> {
        let queue = self.queue.lock();
        let proofs = queue.proofs().map(|(job, proof)| decode(proof).map(|proof| (job, proof)));
        proofs.collect::<Option<_>>().ok_or_else(|| Error::Damaged("proofs".into()))
    }

    /// Throws a job's proof away, since L1 refused it.
    ///
    /// # Errors
    /// The store's.
    pub fn reject(&self, job: &Job, reason: &str) -> Result<(), Error> {
        self.queue.lock().reject(job, reason, now())?;
        counter!("jove_prover_failures_total").increment(1);
        self.changed();
        Ok(())
    }

    /// All jobs.
    pub fn jobs(&self) -> Vec<Wanted> {
        self.queue.lock().jobs()
    }

    /// What it serves.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/challenge", get(challenge::<C>))
            .route("/v1/register/{block}", post(register::<C>))
            .route("/v1/lease", post(lease::<C>))
            .route("/v1/lease/{token}/renew", post(renew::<C>))
            .route("/v1/lease/{token}/finish", post(finish::<C>))
            .route("/v1/lease/{token}/fail", post(fail::<C>))
            .route("/v1/jobs", get(jobs::<C>))
            .route("/v1/jobs/{index}/retry", post(retry::<C>))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }

    fn changed(&self) {
        let jobs = self.jobs();
        for (name, is) in [
            ("waiting", JobState::is_waiting as fn(&JobState) -> bool),
            ("leased", JobState::is_leased),
            ("proven", JobState::is_proven),
            ("quarantined", JobState::is_quarantined),
        ] {
            let count = jobs.iter().filter(|job| is(&job.state)).count();
            gauge!("jove_prover_jobs", "state" => name).set(count as f64);
        }
        self.work.notify_waiters();
    }

    /// The key of a worker that may have work.
    async fn key_of(&self, worker: &str) -> Result<Address, Failure> {
        let known = self.workers.lock().get_mut(worker).map(|known| {
            known.seen = Instant::now();
            *known
        });
        let Some(known) = known else { return Err(Failure::unregistered()) };
        if !known.is_believed() {
            return Err(Failure::not_believed());
        }
        let key = known.key;
        if self.chain.is_registered(key).await? { Ok(key) } else { Err(Failure::unregistered()) }
    }

    /// Takes a worker in, with its key.
    fn know(&self, worker: &str, key: Address) {
        let mut workers = self.workers.lock();
        let (wrong, seen) = (workers.get(worker).map_or(0, |known| known.wrong), Instant::now());
        workers.insert(worker.into(), Known { key, wrong, seen });
        if workers.len() > MAX_WORKERS {
            let oldest = workers.iter().min_by_key(|(_, known)| known.seen).map(|(name, _)| name.clone());
            oldest.and_then(|name| workers.remove(&name));
        }
    }

    /// A job for a worker, once there is one.
    async fn next(&self, worker: &str) -> Result<Option<Lease>, Error> {
        let end = Instant::now() + WAIT;
        loop {
            let work = self.work.notified();
            let (leased, next) = {
                let mut queue = self.queue.lock();
                (queue.lease(worker, now())?, queue.next())
            };
            if leased.is_some() {
                self.changed();
                return Ok(leased);
            }
            let in_ms = next.map_or(u64::MAX, |next| next.saturating_sub(now()).max(10));
            let until = Instant::now() + Duration::from_millis(in_ms).min(WAIT);
            let _ = timeout_at(until.min(end), work).await;
            if Instant::now() >= end {
                return Ok(None);
            }
        }
    }

    /// The job of a lease, if this worker holds it.
    fn held(&self, worker: &str, token: u64) -> Result<Job, Error> {
        self.queue.lock().job(token, worker)
    }
}

/// The worker that a request's token names.
struct Caller(String);

impl<C: Chain> FromRequestParts<Arc<Controller<C>>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller<C>>) -> Result<Self, Failure> {
        let token = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let worker = token.and_then(|token| controller.secret.worker(token));
        worker.map(Self).ok_or(Failure(StatusCode::UNAUTHORIZED, "a token by the controller's secret is needed".into()))
    }
}

/// A status, and words.
struct Failure(StatusCode, String);

impl Failure {
    fn unregistered() -> Self {
        Self(StatusCode::PRECONDITION_REQUIRED, "register a key first".into())
    }

    fn not_believed() -> Self {
        Self(StatusCode::FORBIDDEN, "this worker's proofs were wrong".into())
    }

    fn malformed() -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, "the body is malformed".into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Stale => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Over(_) => StatusCode::GONE,
            Refusal::Later(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, refusal.to_string())
    }
}

type At<C> = State<Arc<Controller<C>>>;

async fn challenge<C: Chain>(State(controller): At<C>, _: Caller) -> Result<Json<Challenge>, Failure> {
    Ok(Json(controller.chain.challenge().await?))
}

async fn register<C: Chain>(
    State(controller): At<C>,
    Caller(worker): Caller,
    Path(block): Path<u64>,
    body: axum::body::Bytes,
) -> Result<(), Failure> {
    let attested: Attested = decode(&body).ok_or_else(Failure::malformed)?;
    let key = attested.key;
    if controller.workers.lock().get(&worker).is_some_and(|known| !known.is_believed()) {
        return Err(Failure::not_believed());
    }
    controller.chain.register(attested, block).await?;
    controller.know(&worker, key);
    // It has nothing of what it had before.
    controller.queue.lock().forget(&worker)?;
    tracing::info!(worker, %key, "a prover's enclave is registered");
    controller.changed();
    Ok(())
}

async fn lease<C: Chain>(State(controller): At<C>, Caller(worker): Caller) -> Result<Response, Failure> {
    controller.key_of(&worker).await?;
    let Some(Lease { job, token }) = controller.next(&worker).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let input = match controller.chain.input(job).await {
        Ok(input) => input,
        Err(refusal) => {
            let mut queue = controller.queue.lock();
            match &refusal {
                Refusal::Wrong(reason) => queue.fail(token, reason, now())?,
                Refusal::Over(_) | Refusal::Later(_) => queue.give_back(token)?,
            }
            return Err(refusal.into());
        }
    };
    let mut queue = controller.queue.lock();
    queue.renew(token, now())?;
    let headers = [(LEASE, token.to_string()), (LEASE_MS, queue.lease_time().as_millis().to_string())];
    tracing::debug!(batch = job.index, worker, token, "leased");
    Ok((headers, input).into_response())
}

async fn renew<C: Chain>(
    State(controller): At<C>,
    Caller(worker): Caller,
    Path(token): Path<u64>,
) -> Result<(), Failure> {
    controller.held(&worker, token)?;
    Ok(controller.queue.lock().renew(token, now())?)
}

async fn finish<C: Chain>(
    State(controller): At<C>,
    Caller(worker): Caller,
    Path(token): Path<u64>,
    body: axum::body::Bytes,
) -> Result<(), Failure> {
    let job = controller.held(&worker, token)?;
    let key = controller.key_of(&worker).await?;
    let checked = match decode::<Proved>(&body) {
        Some(proved) => controller.chain.check(job, key, proved).await,
        None => Err(Refusal::Wrong("the body is malformed".into())),
    };
    if let Err(refusal) = checked {
        if let Refusal::Wrong(reason) = &refusal {
            tracing::error!(batch = job.index, worker, reason, "a worker's proof is wrong");
            counter!("jove_prover_wrong_total").increment(1);
            if let Some(known) = controller.workers.lock().get_mut(&worker) {
                known.wrong += 1;
            }
            // Not the batch's fault: another worker may have it at once.
            controller.queue.lock().give_back(token)?;
            controller.changed();
        }
        return Err(refusal.into());
    }
    controller.queue.lock().finish(token, Bytes::from(body))?;
    counter!("jove_prover_proofs_total").increment(1);
    controller.changed();
    Ok(())
}

async fn fail<C: Chain>(
    State(controller): At<C>,
    Caller(worker): Caller,
    Path(token): Path<u64>,
    body: axum::body::Bytes,
) -> Result<(), Failure> {
    let job = controller.held(&worker, token)?;
    let reason = String::from_utf8_lossy(&body[..body.len().min(MAX_REASON)]);
    tracing::warn!(batch = job.index, worker, %reason, "a batch was not proven");
    controller.queue.lock().fail(token, &reason, now())?;
    counter!("jove_prover_failures_total").increment(1);
    controller.changed();
    Ok(())
}

async fn jobs<C: Chain>(State(controller): At<C>, _: Caller) -> Json<Vec<Wanted>> {
    Json(controller.jobs())
}

async fn retry<C: Chain>(State(controller): At<C>, _: Caller, Path(index): Path<u64>) -> Result<(), Failure> {
    let found = controller.queue.lock().retry(index)?;
    controller.changed();
    if found { Ok(()) } else { Err(Failure(StatusCode::NOT_FOUND, format!("batch {index} waits for no proof"))) }
}

/// One value, and nothing more.
fn decode<T: Decodable>(mut bytes: &[u8]) -> Option<T> {
    let value = T::decode(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
