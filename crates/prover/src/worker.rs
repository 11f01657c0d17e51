//! An enclave's host.

use crate::{
    Challenge, Error, Secret,
    controller::{LEASE, LEASE_MS, SESSION},
};
use alloy_primitives::Address;
use jove_enclave::{Attest, Attested, Domain, Enclave, Proved};
use jove_proving::{Input, MAX_INPUT};
use parking_lot::Mutex;
use reqwest::{Client, Method, Response, StatusCode};
use std::{sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// Longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The same for a lease: an input may be long in the making.
const LEASE_TIMEOUT: Duration = Duration::from_secs(1_200);
/// After a failure of the controller or the enclave.
const PAUSE: Duration = Duration::from_secs(2);
/// Doublings at most of the pause after failures in a row.
const MAX_DOUBLINGS: u32 = 5;
/// Most keys of an enclave that L1 may have forgotten.
const MAX_KEYS: u64 = 1_000;
/// Shortest lease that is believed, in milliseconds: a third of it lies between two renewals.
const MIN_LEASE: u64 = 300;
/// Most bytes of an error's words.
const MAX_WORDS: usize = 500;

/// A worker: one enclave, one job at a time.
#[derive(Clone)]
pub struct Worker {
    /// The controller's URL, without a slash at its end.
    pub controller: String,
    /// What it shares with the controller.
    pub secret: Secret,
    /// Its name, in messages.
    pub name: String,
    /// For the controller's URL.
    pub client: Client,
    /// The enclave.
    pub enclave: Arc<Mutex<Enclave>>,
}

/// A job, leased.
struct Leased {
    token: u64,
    time: Duration,
    input: Vec<u8>,
}

/// Works, for ever: what fails is tried again. Where this is dropped, the enclave is killed: nothing waits for what it was proving.
pub async fn run(worker: Worker) {
    let _stopper = worker.enclave.lock().stopper();
    let mut said = String::new();
    loop {
        match worker.work().await {
            Ok(()) | Err(Error::Unregistered) => said.clear(),
            Err(error) => {
                let error = error.to_string();
                if error == said {
                    tracing::debug!(worker = worker.name, error, "a prover is still held up");
                } else {
                    tracing::warn!(worker = worker.name, error, "a prover is held up");
                    said = error;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Worker {
    /// Has a key registered, and proves by it while L1 takes it.
    async fn work(&self) -> Result<(), Error> {
        let mut number = 0;
        let (domain, key, session) = loop {
            let answer = self.ask(Method::GET, "challenge", "", Vec::new()).await?;
            let challenge: Challenge = answer.json().await?;
            let domain = challenge.domain(number);
            let attested = self.attest(challenge, domain).await?;
            let path = format!("register/{}/{}", challenge.block_number, challenge.nonce);
            match self.ask(Method::POST, &path, "", alloy_rlp::encode(&attested)).await {
                Ok(answer) => break (domain, attested.key, answer.text().await?),
                Err(Error::Over) if number < MAX_KEYS => number += 1,
                Err(error) => return Err(error),
            }
        };
        tracing::info!(worker = self.name, %key, "this prover's enclave is registered on L1");
        let mut failures = 0;
        loop {
            let leased = match self.lease(&session).await {
                Ok(Some(leased)) => leased,
                Ok(None) => continue,
                // There is no input now, or nobody: the session stays.
                Err(Error::Controller(error)) => {
                    tracing::debug!(worker = self.name, error, "no work for a prover");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.prove(domain, key, &session, leased).await? {
                true => failures = 0,
                // Another may do better.
                false => {
                    tokio::time::sleep(PAUSE * (1 << failures.min(MAX_DOUBLINGS))).await;
                    failures += 1;
                }
            }
        }
    }

    async fn attest(&self, challenge: Challenge, domain: Domain) -> Result<Attested, Error> {
        let Challenge { payout, block_number, block_hash, nonce, .. } = challenge;
        let attest = Attest { domain, payout, block_number, block_hash, nonce };
        self.enclave(move |enclave| enclave.attest(&attest)).await
    }

    async fn lease(&self, session: &str) -> Result<Option<Leased>, Error> {
        let mut response = self.ask(Method::POST, "lease", session, Vec::new()).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let number = |name| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let (Some(token), Some(time)) = (number(LEASE), number(LEASE_MS)) else {
            return Err(Error::Controller("its answer has no lease".into()));
        };
        let mut input = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            input.extend_from_slice(&chunk);
            if input.len() > MAX_INPUT {
                return Err(Error::Controller("its input is longer than an input is".into()));
            }
        }
        Ok(Some(Leased { token, time: Duration::from_millis(time.max(MIN_LEASE)), input }))
    }

    /// Proves, while it holds the lease, and brings the proof or says why there is none. Whether there is one.
    async fn prove(&self, domain: Domain, key: Address, session: &str, leased: Leased) -> Result<bool, Error> {
        let Leased { token, time, input } = leased;
        let mut proving = Box::pin(self.enclave(move |enclave| {
            let input = Input::decode(&input).map_err(|error| error.to_string());
            Ok(input.and_then(|input| enclave.prove(&domain, &input).map_err(|error| error.to_string())))
        }));
        let proved: Result<Proved, String> = loop {
            match tokio::time::timeout(time / 3, &mut proving).await {
                Ok(proved) => break proved?,
                // Where it is another's now, this one's work is for nothing; the enclave does one thing at a time, so its end is awaited.
                Err(_) => drop(self.end(token, session, "renew", Vec::new()).await),
            }
        };
        let (what, body) = match proved {
            Ok(proved) if proved.key == key => ("finish", alloy_rlp::encode(&proved)),
            // The enclave began anew with another key.
            Ok(_) => return Err(Error::Unregistered),
            Err(reason) => ("fail", reason.into_bytes()),
        };
        // While the controller is away it is tried again: then it is in time, or the lease is another's.
        loop {
            match self.end(token, session, what, body.clone()).await {
                Ok(()) => return Ok(what == "finish"),
                Err(Error::Controller(error)) => {
                    tracing::warn!(worker = self.name, error, "a proof waits for the controller");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error @ (Error::Stale | Error::Refused(_))) => {
                    tracing::warn!(worker = self.name, %error, "a proof was not taken");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn end(&self, token: u64, session: &str, what: &str, body: Vec<u8>) -> Result<(), Error> {
        self.ask(Method::POST, &format!("lease/{token}/{what}"), session, body).await.map(drop)
    }

    async fn enclave<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Enclave) -> Result<T, jove_enclave::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let enclave = self.enclave.clone();
        let done = spawn_blocking(move || work(&mut enclave.lock())).await;
        Ok(done.map_err(|_| jove_enclave::Error::Answer)??)
    }

    async fn ask(&self, method: Method, path: &str, session: &str, body: Vec<u8>) -> Result<Response, Error> {
        let limit = if path == "lease" { LEASE_TIMEOUT } else { TIMEOUT };
        let request = self.client.request(method, format!("{}/v1/{path}", self.controller)).timeout(limit);
        let request = request.bearer_auth(self.secret.token(&self.name)?).header(SESSION, session);
        let mut response = request.body(body).send().await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::CONFLICT => Err(Error::Stale),
            StatusCode::GONE => Err(Error::Over),
            StatusCode::PRECONDITION_REQUIRED => Err(Error::Unregistered),
            status => {
                let first = response.chunk().await.ok().flatten().unwrap_or_default();
                let words = String::from_utf8_lossy(&first[..first.len().min(MAX_WORDS)]).into_owned();
                let words = format!("{status}: {words}");
                Err(if status.is_client_error() { Error::Refused(words) } else { Error::Controller(words) })
            }
        }
    }
}
