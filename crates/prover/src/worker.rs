//! An enclave's host.

use crate::{
    Challenge, Error,
    link::{Leased, Link, PAUSE},
};
use alloy_primitives::Address;
use jove_enclave::{Attest, Attested, Domain, Enclave, Proved};
use jove_proving::Input;
use parking_lot::Mutex;
use reqwest::Method;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Doublings at most of the pause after failures in a row.
const MAX_DOUBLINGS: u32 = 5;
/// Most keys of an enclave that L1 may have forgotten.
const MAX_KEYS: u64 = 1_000;
/// A worker: one enclave, one job at a time.
#[derive(Clone)]
pub struct Worker {
    /// Its controller.
    pub link: Link,
    /// The enclave.
    pub enclave: Arc<Mutex<Enclave>>,
}

/// Works, for ever: what fails is tried again. Where this is dropped, the enclave is killed: nothing waits for what it was proving.
pub async fn run(worker: Worker) {
    let _stopper = worker.enclave.lock().stopper();
    worker.link.for_ever(|| worker.work()).await
}

impl Worker {
    /// Has a key registered, and proves by it while L1 takes it.
    async fn work(&self) -> Result<(), Error> {
        let mut number = 0;
        let (domain, key, session) = loop {
            let answer = self.link.ask(Method::GET, "challenge", "", Vec::new()).await?;
            let challenge: Challenge = answer.json().await?;
            let domain = challenge.domain(number);
            let attested = self.attest(challenge, domain).await?;
            let path = format!("register/{}/{}", challenge.block_number, challenge.nonce);
            match self.link.ask(Method::POST, &path, "", alloy_rlp::encode(&attested)).await {
                Ok(answer) => break (domain, attested.key, answer.text().await?),
                Err(Error::Over) if number < MAX_KEYS => number += 1,
                Err(error) => return Err(error),
            }
        };
        tracing::info!(worker = self.link.name, %key, "this prover's enclave is registered on L1");
        let mut failures = 0;
        loop {
            let leased = match self.link.lease(&session).await {
                Ok(Some(leased)) => leased,
                Ok(None) => continue,
                // There is no input now, or nobody: the session stays.
                Err(Error::Controller(error)) => {
                    tracing::debug!(worker = self.link.name, error, "no work for a prover");
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
                Err(_) => drop(self.link.end(token, session, "renew", Vec::new()).await),
            }
        };
        let (what, body) = match proved {
            Ok(proved) if proved.key == key => ("finish", alloy_rlp::encode(&proved)),
            // The enclave began anew with another key.
            Ok(_) => return Err(Error::Unregistered),
            Err(reason) => ("fail", reason.into_bytes()),
        };
        match self.link.report(token, session, what, body).await {
            Ok(()) => Ok(what == "finish"),
            Err(Error::Stale | Error::Refused(_) | Error::Wrong(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn enclave<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Enclave) -> Result<T, jove_enclave::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let enclave = self.enclave.clone();
        let done = spawn_blocking(move || work(&mut enclave.lock())).await;
        Ok(done.map_err(|_| jove_enclave::Error::Answer)??)
    }
}
