//! A prover in zero knowledge.

use crate::{
    Error,
    link::{Leased, Link, PAUSE},
};
use alloy_primitives::Bytes;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use jove_zk_host::{Backend, Progress};
use parking_lot::Mutex;
use reqwest::Method;

/// What a prover in zero knowledge brings.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ZkProved {
    /// What L1 takes.
    pub proof: Bytes,
    /// The aggregated STARK, which nodes verify.
    pub stark: Bytes,
}

/// A worker: one back end, one job at a time.
pub struct ZkWorker<B> {
    /// Its controller.
    pub link: Link,
    /// What makes the proofs.
    pub backend: B,
}

/// Works, for ever: what fails is tried again, from where it was. Where this is dropped, the stage under way is killed.
pub async fn run_zk<B: Backend>(worker: ZkWorker<B>) {
    worker.link.for_ever(|| worker.work()).await
}

impl<B: Backend> ZkWorker<B> {
    async fn work(&self) -> Result<(), Error> {
        let mut session = self.register().await?;
        tracing::info!(worker = self.link.name, "this prover in zero knowledge has a controller");
        let mut next = None;
        loop {
            let leased = match next.take() {
                Some(leased) => leased,
                None => self.lease(&session).await?,
            };
            next = self.prove(&mut session, leased).await?;
        }
    }

    /// A session, for what L1 has to pin to take this prover's proofs.
    async fn register(&self) -> Result<String, Error> {
        if let Some(what) = self.backend.lacking() {
            return Err(jove_zk_host::Error::Lacking(what).into());
        }
        let pins = alloy_rlp::encode(self.backend.pins()?);
        Ok(self.link.ask(Method::POST, "zk/register", "", pins).await?.text().await?)
    }

    /// A job, once there is one.
    async fn lease(&self, session: &str) -> Result<Leased, Error> {
        loop {
            match self.link.lease(session).await {
                Ok(Some(leased)) => return Ok(leased),
                Ok(None) => {}
                // There is no input now, or nobody: the session stays.
                Err(Error::Controller(error)) => {
                    tracing::debug!(worker = self.link.name, error, "no work for a prover");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Proves while it holds the lease, and brings the proof or says why there is none. Where the lease has ended, the proof is for nothing: the stage is killed,
    /// and what is done of the job is there if it comes again. Gives what it has leased instead of the job, if that was so.
    async fn prove(
        &self,
        session: &mut String,
        Leased { mut token, mut time, input }: Leased,
    ) -> Result<Option<Leased>, Error> {
        let said = Mutex::new(("", 0));
        let progress = |now: Progress| {
            let mut said = said.lock();
            // A tenth at a time.
            if *said != (now.stage, now.percent / 10) {
                *said = (now.stage, now.percent / 10);
                let left = now.left.map(|left| format!("{} s", left.as_secs())).unwrap_or_default();
                tracing::info!(stage = now.stage, percent = now.percent, left, "proving in zero knowledge");
            }
        };
        let mut proving = std::pin::pin!(self.backend.prove(&input, &progress));
        let proven = loop {
            match tokio::time::timeout(time / 3, &mut proving).await {
                Ok(proven) => break proven,
                Err(_) => match self.link.end(token, session, "renew", Vec::new()).await {
                    Err(error @ Error::Stale) => return Err(error),
                    // The controller began anew, without leases. It gives the same job first, as a rule: the stage goes on meanwhile.
                    Err(Error::Unregistered) => {
                        // It may be away again, or L1 be, which it asks: a stage may be minutes from its end, and is not killed for that.
                        let anew = async {
                            loop {
                                let leased = match self.register().await {
                                    Ok(new) => {
                                        *session = new;
                                        self.lease(session).await
                                    }
                                    Err(error) => Err(error),
                                };
                                match leased {
                                    Err(Error::Controller(_) | Error::Unregistered) => tokio::time::sleep(PAUSE).await,
                                    other => return other,
                                }
                            }
                        };
                        let next = tokio::select! {
                            next = anew => next?,
                            // What came of it is there for whoever leases it.
                            _ = &mut proving => return Ok(None),
                        };
                        if next.input != input {
                            return Ok(Some(next));
                        }
                        (token, time) = (next.token, next.time);
                    }
                    // After any other error the controller may be back before the lease ends.
                    _ => {}
                },
            }
        };
        let (what, body) = match proven {
            Ok(proven) => ("finish", alloy_rlp::encode(ZkProved { proof: proven.proof, stark: proven.stark })),
            Err(error) => ("fail", error.to_string().into_bytes()),
        };
        match self.link.report(token, session, what, body).await {
            Ok(()) if what == "finish" => {}
            Ok(()) | Err(Error::Stale | Error::Refused(_)) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                // L1 may pin something else by now, which registering anew shows. What was refused is not to come back.
                if matches!((what, &error), ("finish", Error::Wrong(_))) {
                    self.backend.forget(&input)?;
                }
                return Err(error);
            }
        }
        Ok(None)
    }
}
