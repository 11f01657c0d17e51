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
        if let Some(what) = self.backend.lacking() {
            return Err(jove_zk_host::Error::Lacking(what).into());
        }
        let session = self.link.ask(Method::POST, "zk/register", "", Vec::new()).await?.text().await?;
        tracing::info!(worker = self.link.name, "this prover in zero knowledge has a controller");
        loop {
            match self.link.lease(&session).await {
                Ok(Some(leased)) => self.prove(&session, leased).await?,
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
    /// and what is done of the job is there if it comes again.
    async fn prove(&self, session: &str, Leased { token, time, input }: Leased) -> Result<(), Error> {
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
                Err(_) => {
                    // After any other error the controller may be back before the lease ends.
                    let renewed = self.link.end(token, session, "renew", Vec::new()).await;
                    if let Err(error @ (Error::Stale | Error::Unregistered)) = renewed {
                        return Err(error);
                    }
                }
            }
        };
        let (what, body) = match proven {
            Ok(proven) => ("finish", alloy_rlp::encode(ZkProved { proof: proven.proof, stark: proven.stark })),
            Err(error) => ("fail", error.to_string().into_bytes()),
        };
        if !self.link.report(token, session, what, body).await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
