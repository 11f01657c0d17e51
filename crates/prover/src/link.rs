//! A worker's way to its controller.

use crate::{
    Error, Secret,
    controller::{LEASE, LEASE_MS, SESSION},
};
use jove_proving::MAX_INPUT;
use reqwest::{Client, Method, Response, StatusCode};
use std::{future::Future, time::Duration};

/// Longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The same for a lease: an input may be long in the making.
const LEASE_TIMEOUT: Duration = Duration::from_secs(1_200);
/// After a failure of the controller or the worker.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);
/// Shortest lease that is believed, in milliseconds: a third of it lies between two renewals.
const MIN_LEASE: u64 = 300;
/// Most bytes of an error's words.
const MAX_WORDS: usize = 500;

/// A worker's controller, and what the worker is called there.
#[derive(Clone)]
pub struct Link {
    /// The controller's URL, without a slash at its end.
    pub controller: String,
    /// What it shares with the controller.
    pub secret: Secret,
    /// Its name, in messages.
    pub name: String,
    /// For the controller's URL.
    pub client: Client,
}

/// A job, leased.
pub(crate) struct Leased {
    pub(crate) token: u64,
    pub(crate) time: Duration,
    pub(crate) input: Vec<u8>,
}

impl Link {
    /// Works, for ever: what fails is tried again, and said once.
    pub(crate) async fn for_ever<F: Future<Output = Result<(), Error>>>(&self, work: impl Fn() -> F) {
        let mut said = String::new();
        loop {
            match work().await {
                Ok(()) | Err(Error::Unregistered) => said.clear(),
                Err(error) => {
                    let error = error.to_string();
                    if error == said {
                        tracing::debug!(worker = self.name, error, "a prover is still held up");
                    } else {
                        tracing::warn!(worker = self.name, error, "a prover is held up");
                        said = error;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) async fn lease(&self, session: &str) -> Result<Option<Leased>, Error> {
        let mut response = self.ask(Method::POST, "lease", session, Vec::new()).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let number = |name| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let (Some(token), Some(time)) = (number(LEASE), number(LEASE_MS)) else {
            return Err(Error::Controller("its answer has no lease".into()));
        };
        let length = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        // It is not doubled, time and again, as it comes.
        let mut input = Vec::with_capacity(length.min(MAX_INPUT));
        while let Some(chunk) = response.chunk().await? {
            input.extend_from_slice(&chunk);
            if input.len() > MAX_INPUT {
                return Err(Error::Controller("its input is longer than an input is".into()));
            }
        }
        Ok(Some(Leased { token, time: Duration::from_millis(time.max(MIN_LEASE)), input }))
    }

    /// Brings a proof (`finish`), or why there is none (`fail`). While the controller is away it is tried again: then it is in time, or the lease is another's.
    pub(crate) async fn report(&self, token: u64, session: &str, what: &str, body: Vec<u8>) -> Result<(), Error> {
        loop {
            match self.end(token, session, what, body.clone()).await {
                Err(Error::Controller(error)) => {
                    tracing::warn!(worker = self.name, error, "a proof waits for the controller");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(worker = self.name, %error, "a proof was not taken");
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    pub(crate) async fn end(&self, token: u64, session: &str, what: &str, body: Vec<u8>) -> Result<(), Error> {
        self.ask(Method::POST, &format!("lease/{token}/{what}"), session, body).await.map(drop)
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        session: &str,
        body: Vec<u8>,
    ) -> Result<Response, Error> {
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
                Err(match status {
                    StatusCode::UNPROCESSABLE_ENTITY => Error::Wrong(words),
                    _ if status.is_client_error() => Error::Refused(words),
                    _ => Error::Controller(words),
                })
            }
        }
    }
}
