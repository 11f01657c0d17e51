//! The queue over HTTP.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/challenge` | | [`Challenge`], JSON: what a quote is to be over, and a nonce to be signed |
//! | `POST /v1/register/{block}/{nonce}` | [`Attested`], RLP, over this L1 block and the nonce | a session, in words, once L1 has the key |
//! | `POST /v1/zk/register` | [`Pins`], RLP: what its proofs are of | a session, in words, of a prover in zero knowledge, if L1 pins the same |
//! | `POST /v1/lease` | | 200: an input, with the headers `jove-lease` (its token) and `jove-lease-ms`; 204 after a while without work |
//! | `POST /v1/lease/{token}/renew` | | empty |
//! | `POST /v1/lease/{token}/finish` | [`Proved`], RLP; in zero knowledge [`ZkProved`] | empty |
//! | `POST /v1/lease/{token}/fail` | why, in words | empty |
//! | `GET /v1/jobs`, `GET /v1/zk/jobs` | | all jobs of that system, JSON |
//! | `POST /v1/jobs/{index}/retry`, `POST /v1/zk/jobs/{index}/retry` | | empty |
//!
//! Leases are a session's, which the header `jove-session` names: it is of whoever showed that an enclave's key is at hand, whatever its name. Sessions end when the
//! controller does. What goes wrong is held against the machine.
//!
//! Errors are words, with 401 without a good token, 403 for a worker whose proofs were wrong, 404, 409 for a lease that has ended, 422 for what is wrong, 428
//! where the worker's key has to be registered first, 410 for a key whose time is over, 503 for what may be so later.

use crate::{
    Error, Job, Lease, Queue, Refusal, Secret, State as JobState, System, Wanted, ZkProved,
    queue::{Asking, MAX_REASON},
};
use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use alloy_rlp::Decodable;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, State},
    http::{HeaderName, StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use jove_enclave::{Attested, Domain, Proved, keys};
use jove_zk_host::{MAX_STARK, Pins};
use metrics::{counter, gauge};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tower_http::timeout::RequestBodyTimeoutLayer;

/// The header with a session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("jove-session");
/// The header with a lease's token.
pub(crate) const LEASE: HeaderName = HeaderName::from_static("jove-lease");
/// The header with a lease's length, in milliseconds.
pub(crate) const LEASE_MS: HeaderName = HeaderName::from_static("jove-lease-ms");

/// How long a request for work waits for some.
const WAIT: Duration = Duration::from_secs(20);
/// Most bytes of a body: a STARK is most of it.
const MAX_BODY: usize = MAX_STARK + (64 << 10);
/// Most connections at once.
const MAX_CONNECTIONS: usize = 512;
/// Longest that a request's head may take, and silence in its body.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Most sessions: beyond, the one that was not heard of for longest is forgotten.
const MAX_SESSIONS: usize = 1_000;
/// A worker that was not heard of for longer is not there.
const HEARD: Duration = Duration::from_secs(120);
/// How long a nonce may be answered, and most that wait for that.
const NONCE: Duration = Duration::from_secs(300);
const MAX_NONCES: usize = 1_000;
/// A machine whose proofs were wrong so often gets no more work.
const MAX_WRONG: u32 = 3;

/// What a worker's quote has to be over, and what its key is to sign.
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
    /// To be signed; the controller's own.
    #[serde(default)]
    pub nonce: B256,
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
    /// The machine of a key, if L1 takes proofs by it now.
    fn machine(&self, key: Address) -> impl Future<Output = Result<Option<B256>, Refusal>> + Send;
    /// What a job's prover is given: an encoded [`Input`](jove_proving::Input).
    fn input(&self, job: Job) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;
    /// Checks a job's proof, by a key, against what the node knows itself.
    fn check(&self, job: Job, key: Address, proved: Proved) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Checks that L1's verifier pins what a prover in zero knowledge has: it takes no other proofs.
    fn check_pins(&self, pins: Pins) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Checks a job's proof in zero knowledge: L1's verifier takes it for the statement that the node makes itself. Keeps what comes with it.
    fn check_zk(&self, job: Job, proved: ZkProved) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// A worker that has shown its enclave.
#[derive(Clone)]
struct Session {
    /// What it is called in messages, with some of the session's id.
    name: String,
    system: System,
    /// Of an enclave; zero without one.
    key: Address,
    machine: B256,
    seen: Instant,
}

impl Session {
    /// What the queue knows it by.
    fn worker(&self) -> Asking<'_> {
        Asking { session: &self.name, machine: self.machine }
    }
}

/// Gives jobs to workers, and takes their proofs.
pub struct Controller<C> {
    chain: C,
    secret: Secret,
    /// Of each system that is proven by workers.
    queues: [Option<Mutex<Queue>>; 2],
    sessions: Mutex<BTreeMap<B256, Session>>,
    nonces: Mutex<BTreeMap<B256, Instant>>,
    /// How often a machine's proofs were wrong.
    wrong: Mutex<BTreeMap<B256, u32>>,
    /// There may be work now.
    work: Notify,
}

impl<C: Chain> Controller<C> {
    /// A controller of these queues, for workers that know the secret.
    pub fn new(chain: C, secret: Secret, tee: Option<Queue>, zk: Option<Queue>) -> Arc<Self> {
        let queues = [tee, zk].map(|queue| queue.map(Mutex::new));
        let (sessions, nonces, wrong) = (Mutex::default(), Mutex::default(), Mutex::default());
        let controller = Self { chain, secret, queues, sessions, nonces, wrong, work: Notify::new() };
        controller.changed();
        Arc::new(controller)
    }

    /// Whether workers prove by this system.
    pub fn has(&self, system: System) -> bool {
        self.queues[system as usize].is_some()
    }

    fn check(&self, system: System) -> Result<(), Error> {
        if self.has(system) { Ok(()) } else { Err(Error::NoQueue) }
    }

    fn queue(&self, system: System) -> Result<MutexGuard<'_, Queue>, Error> {
        Ok(self.queues[system as usize].as_ref().ok_or(Error::NoQueue)?.lock())
    }

    /// What it asks of node and L1.
    pub fn chain(&self) -> &C {
        &self.chain
    }

    /// Takes what lacks a proof by a system now.
    ///
    /// # Errors
    /// The store's; [`Error::NoQueue`].
    pub fn want(&self, system: System, jobs: &[Job]) -> Result<(), Error> {
        // Asked all the time: who waits for work is woken only where there is some.
        if self.queue(system)?.want(jobs)? {
            self.changed();
        }
        Ok(())
    }

    /// The proofs that are here for L1, in the order of their batches: enclaves' signatures, or proofs in zero knowledge.
    pub fn proofs(&self, system: System) -> Vec<(Job, Bytes)> {
        let proofs = |queue: MutexGuard<'_, Queue>| queue.proofs().map(|(job, proof)| (job, proof.clone())).collect();
        self.queue(system).map(proofs).unwrap_or_default()
    }

    /// Throws a job's proof away, since L1 does not hear its key any more, or has another verifier.
    ///
    /// # Errors
    /// The store's; [`Error::NoQueue`].
    pub fn reject(&self, system: System, job: &Job, reason: &str) -> Result<(), Error> {
        self.queue(system)?.reject(job, reason, now())?;
        counter!("jove_prover_failures_total").increment(1);
        self.changed();
        Ok(())
    }

    /// All jobs of a system.
    pub fn jobs(&self, system: System) -> Vec<Wanted> {
        self.queue(system).map(|queue| queue.jobs(now())).unwrap_or_default()
    }

    /// What it serves.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/challenge", get(challenge::<C>))
            .route("/v1/register/{block}/{nonce}", post(register::<C>))
            .route("/v1/zk/register", post(register_zk::<C>))
            .route("/v1/lease", post(lease::<C>))
            .route("/v1/lease/{token}/renew", post(renew::<C>))
            .route("/v1/lease/{token}/finish", post(finish::<C>))
            .route("/v1/lease/{token}/fail", post(fail::<C>))
            .route("/v1/jobs", get(jobs::<C, false>))
            .route("/v1/zk/jobs", get(jobs::<C, true>))
            .route("/v1/jobs/{index}/retry", post(retry::<C, false>))
            .route("/v1/zk/jobs/{index}/retry", post(retry::<C, true>))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(RequestBodyTimeoutLayer::new(READ_TIMEOUT))
            .with_state(self.clone())
    }

    /// Serves it, until this is dropped. Who is slow, or one connection too many, is cut off.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (router, places) = (self.router(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a prover's connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let service = TowerToHyperService::new(router.clone());
            connections.spawn(async move {
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
                if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!(%error, "a prover's connection ended");
                }
                drop(place);
            });
        }
    }

    fn changed(&self) {
        for (system, prefix) in [(System::Tee, ""), (System::Zk, "zk_")] {
            let jobs = self.jobs(system);
            for (name, is) in [
                ("waiting", JobState::is_waiting as fn(&JobState) -> bool),
                ("leased", JobState::is_leased),
                ("proven", JobState::is_proven),
                ("quarantined", JobState::is_quarantined),
            ] {
                let count = jobs.iter().filter(|job| is(&job.state)).count();
                gauge!(format!("jove_prover_{prefix}jobs"), "state" => name).set(count as f64);
            }
        }
        self.work.notify_waiters();
    }

    /// Whose session this is, if it may have work.
    async fn session(&self, id: B256) -> Result<Session, Failure> {
        let found = self.sessions.lock().get_mut(&id).map(|found| {
            found.seen = Instant::now();
            found.clone()
        });
        let session = found.ok_or_else(Failure::unregistered)?;
        if self.is_wrong(session.machine) {
            return Err(Failure::not_believed());
        }
        if session.system == System::Zk {
            return Ok(session);
        }
        match self.chain.machine(session.key).await? {
            Some(machine) if machine == session.machine => Ok(session),
            _ => Err(Failure::unregistered()),
        }
    }

    fn is_wrong(&self, machine: B256) -> bool {
        self.wrong.lock().get(&machine).is_some_and(|times| *times >= MAX_WRONG)
    }

    /// Begins a session.
    fn begin(&self, name: &str, system: System, key: Address, machine: B256) -> B256 {
        let id = B256::random();
        let name = format!("{name} #{}", hex::encode(&id[..4]));
        let mut sessions = self.sessions.lock();
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, known)| known.seen).map(|(id, _)| *id);
            oldest.and_then(|oldest| sessions.remove(&oldest));
        }
        sessions.insert(id, Session { name, system, key, machine, seen: Instant::now() });
        id
    }

    /// Machines that were heard of lately, of a system.
    fn machines(&self, system: System) -> u64 {
        let sessions = self.sessions.lock();
        let heard = sessions.values().filter(|session| session.system == system && session.seen.elapsed() < HEARD);
        heard.map(|session| session.machine).collect::<BTreeSet<_>>().len() as u64
    }

    /// A nonce that is good for one registration.
    fn nonce(&self) -> B256 {
        let mut nonces = self.nonces.lock();
        nonces.retain(|_, made| made.elapsed() < NONCE);
        if nonces.len() >= MAX_NONCES {
            let oldest = nonces.iter().min_by_key(|(_, made)| **made).map(|(nonce, _)| *nonce);
            oldest.and_then(|oldest| nonces.remove(&oldest));
        }
        let nonce = B256::random();
        nonces.insert(nonce, Instant::now());
        nonce
    }

    /// Does something for whoever holds a lease, which does not run out meanwhile.
    async fn while_held<T>(&self, system: System, token: u64, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        let pause = self.queue(system)?.lease_time() / 3;
        loop {
            match timeout(pause, &mut work).await {
                Ok(done) => return Ok(done),
                // Of a lease that has ended, whoever asks next learns.
                Err(_) => drop(self.queue(system)?.renew(token, now())),
            }
        }
    }

    /// A job for a worker, once there is one.
    async fn next(&self, system: System, worker: Asking<'_>) -> Result<Option<Lease>, Error> {
        let end = Instant::now() + WAIT;
        loop {
            let work = self.work.notified();
            let machines = self.machines(system);
            let (leased, next) = {
                let mut queue = self.queue(system)?;
                (queue.lease(worker, machines, now())?, queue.next(worker.machine))
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

impl<C: Chain> FromRequestParts<Arc<Controller<C>>> for Session {
    type Rejection = Failure;

    /// The one that a request names, with a token beside it.
    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller<C>>) -> Result<Self, Failure> {
        Caller::from_request_parts(parts, controller).await?;
        let id = parts.headers.get(SESSION).and_then(|value| value.to_str().ok()?.parse().ok());
        controller.session(id.ok_or_else(Failure::unregistered)?).await
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
            Error::NoQueue => StatusCode::UNPROCESSABLE_ENTITY,
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
    let challenge = controller.chain.challenge().await?;
    Ok(Json(Challenge { nonce: controller.nonce(), ..challenge }))
}

async fn register<C: Chain>(
    State(controller): At<C>,
    Caller(name): Caller,
    Path((block, nonce)): Path<(u64, B256)>,
    body: axum::body::Bytes,
) -> Result<String, Failure> {
    controller.check(System::Tee)?;
    let attested: Attested = decode(&body).ok_or_else(Failure::malformed)?;
    let key = attested.key;
    let is_asked = controller.nonces.lock().remove(&nonce).is_some_and(|made| made.elapsed() < NONCE);
    if !is_asked || keys::signer(keys::session_digest(nonce), &attested.signature) != Some(key) {
        return Err(Refusal::Wrong("the nonce is not signed by the key, or not of now".into()).into());
    }
    controller.chain.register(attested, block).await?;
    let machine = controller.chain.machine(key).await?.ok_or_else(Failure::unregistered)?;
    if controller.is_wrong(machine) {
        return Err(Failure::not_believed());
    }
    let session = controller.begin(&name, System::Tee, key, machine);
    tracing::info!(worker = name, %key, "a prover's enclave is registered");
    controller.changed();
    Ok(session.to_string())
}

/// Whoever knows the secret may prove in zero knowledge: its name is its machine's. A proof shows by itself what it is, but an hour late: so whose would be refused
/// gets no work.
async fn register_zk<C: Chain>(
    State(controller): At<C>,
    Caller(name): Caller,
    body: axum::body::Bytes,
) -> Result<String, Failure> {
    controller.check(System::Zk)?;
    let machine = keccak256(&name);
    if controller.is_wrong(machine) {
        return Err(Failure::not_believed());
    }
    let pins: Pins = decode(&body).ok_or_else(Failure::malformed)?;
    controller.chain.check_pins(pins).await?;
    let session = controller.begin(&name, System::Zk, Address::ZERO, machine);
    tracing::info!(worker = name, "a prover in zero knowledge is here");
    controller.changed();
    Ok(session.to_string())
}

async fn lease<C: Chain>(State(controller): At<C>, session: Session) -> Result<Response, Failure> {
    let system = session.system;
    let Some(Lease { job, token }) = controller.next(system, session.worker()).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let input = match controller.while_held(system, token, controller.chain.input(job)).await? {
        Ok(input) => input,
        Err(refusal) => {
            tracing::warn!(batch = job.index, %refusal, "a batch has no input for provers");
            controller.queue(system)?.stall(token, &refusal.to_string(), now())?;
            controller.changed();
            return Err(refusal.into());
        }
    };
    let mut queue = controller.queue(system)?;
    queue.renew(token, now())?;
    let headers = [(LEASE, token.to_string()), (LEASE_MS, queue.lease_time().as_millis().to_string())];
    tracing::debug!(batch = job.index, worker = session.name, token, "leased");
    Ok((headers, input).into_response())
}

async fn renew<C: Chain>(State(controller): At<C>, session: Session, Path(token): Path<u64>) -> Result<(), Failure> {
    let mut queue = controller.queue(session.system)?;
    queue.job(token, &session.name)?;
    Ok(queue.renew(token, now())?)
}

async fn finish<C: Chain>(
    State(controller): At<C>,
    session: Session,
    Path(token): Path<u64>,
    body: axum::body::Bytes,
) -> Result<(), Failure> {
    let system = session.system;
    let job = controller.queue(system)?.job(token, &session.name)?;
    let chain = &controller.chain;
    let malformed = || (Bytes::new(), Err(Refusal::Wrong("the body is malformed".into())));
    let (proof, checked) = match system {
        System::Tee => match decode::<Proved>(&body) {
            Some(proved) => {
                let signature = proved.signature.clone();
                (signature, controller.while_held(system, token, chain.check(job, session.key, proved)).await?)
            }
            None => malformed(),
        },
        System::Zk => match decode::<ZkProved>(&body) {
            Some(proved) => {
                let proof = proved.proof.clone();
                (proof, controller.while_held(system, token, chain.check_zk(job, proved)).await?)
            }
            None => malformed(),
        },
    };
    if let Err(refusal) = checked {
        if let Refusal::Wrong(reason) = &refusal {
            tracing::error!(batch = job.index, worker = session.name, reason, "a worker's proof is wrong");
            counter!("jove_prover_wrong_total").increment(1);
            *controller.wrong.lock().entry(session.machine).or_default() += 1;
            // Not the batch's fault: another worker may have it at once.
            let given_back = controller.queue(system)?.give_back(token);
            controller.changed();
            given_back?;
        }
        return Err(refusal.into());
    }
    controller.queue(system)?.finish(token, proof)?;
    counter!("jove_prover_proofs_total").increment(1);
    controller.changed();
    Ok(())
}

async fn fail<C: Chain>(
    State(controller): At<C>,
    session: Session,
    Path(token): Path<u64>,
    body: axum::body::Bytes,
) -> Result<(), Failure> {
    let reason = String::from_utf8_lossy(&body[..body.len().min(MAX_REASON)]);
    let machines = controller.machines(session.system);
    {
        let mut queue = controller.queue(session.system)?;
        let job = queue.job(token, &session.name)?;
        tracing::warn!(batch = job.index, worker = session.name, %reason, "a batch was not proven");
        queue.fail(token, &reason, machines, now())?;
    }
    counter!("jove_prover_failures_total").increment(1);
    controller.changed();
    Ok(())
}

const fn system(zk: bool) -> System {
    if zk { System::Zk } else { System::Tee }
}

async fn jobs<C: Chain, const ZK: bool>(State(controller): At<C>, _: Caller) -> Json<Vec<Wanted>> {
    Json(controller.jobs(system(ZK)))
}

async fn retry<C: Chain, const ZK: bool>(
    State(controller): At<C>,
    _: Caller,
    Path(index): Path<u64>,
) -> Result<(), Failure> {
    let found = controller.queue(system(ZK))?.retry(index)?;
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
