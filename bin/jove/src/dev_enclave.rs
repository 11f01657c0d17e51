//! The enclave of a development chain: `jove dev` proves by this executable itself, quoted under a root in the data directory, **which is not Intel's: its quotes
//! prove nothing**.
//!
//! The node serves before any of it begins, and goes on whatever comes of it. In order: the program is started and says its measurement; collateral is put in;
//! the measurement is put on L1's list, where it is not yet (a chain begins with none, and each build of the program has another), which takes no time, as
//! the timelock of such a chain has no delay; then it proves as any other prover, for the node's controller. With no batch to prove all of them wait.

use crate::{prover::worker, settlement::dev_key};
use alloy_primitives::{B256, keccak256};
use jove_enclave::{Enclave, Launch, Quotes};
use jove_prover::Secret;
use jove_settlement::{
    Error, Wallet,
    attestation::{
        Registry, Terms,
        change::{Change, Step},
        keeper::{Keeper, Source},
    },
    contracts::{AttestationRegistry, Pccs, ask},
    error::in_words,
    wallet::Call,
};
use jove_tee::{Pki, software::SIGNER};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// The development account that pays for collateral, and governs: no other transactions are its.
pub(crate) const KEEPER: usize = 7;
/// Where in the data directory the root is.
const TEE: &str = "tee";
/// Longest that a batch may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// Between two looks at collateral, and how long before its end it is renewed.
const COLLATERAL_ROUND: Duration = Duration::from_secs(600);
const COLLATERAL_MARGIN: Duration = Duration::from_secs(5 * 86_400);
/// After something failed.
const PAUSE: Duration = Duration::from_secs(10);

/// What is believed of enclaves where a development chain begins: quotes of the root in the data directory, of no program yet.
///
/// # Errors
/// In words, if the root cannot be made.
pub(crate) fn terms(datadir: &Path) -> Result<Terms, String> {
    let pki = Pki::open(&datadir.join(TEE)).map_err(|error| error.to_string())?;
    Ok(Terms { signers: vec![SIGNER], ..Terms::new(pki.root) })
}

/// The enclave of a development chain, and whom it works for.
pub(crate) struct DevEnclave {
    /// The chain's contracts of attestation.
    pub(crate) registry: Registry,
    /// The first L1 block with their events.
    pub(crate) first: u64,
    /// Where the node's controller listens.
    pub(crate) controller: SocketAddr,
    /// What it shares with its provers.
    pub(crate) secret: Secret,
    /// The node's data directory.
    pub(crate) datadir: PathBuf,
}

/// Why it does not prove.
enum Held {
    /// It may later.
    Now(String),
    /// It never will on this chain.
    Always(String),
}

impl From<Error> for Held {
    fn from(error: Error) -> Self {
        Self::Now(error.to_string())
    }
}

impl DevEnclave {
    /// Proves, for as long as this runs. What keeps it from that is said, and tried again.
    pub(crate) async fn run(self) {
        let mut said = String::new();
        let (enclave, wallet, keeper) = loop {
            match self.prepare().await {
                Ok(ready) => break ready,
                Err(Held::Always(reason)) => {
                    tracing::error!(reason, "batches are not proven by an enclave of this node; all else goes on");
                    return;
                }
                Err(Held::Now(reason)) if reason == said => {}
                Err(Held::Now(reason)) => {
                    tracing::error!(reason, "batches are not proven by an enclave of this node yet; all else goes on");
                    said = reason;
                }
            }
            tokio::time::sleep(PAUSE).await;
        };
        match worker(format!("http://{}", self.controller), self.secret, "dev".into(), enclave) {
            Ok(worker) => drop(tokio::join!(jove_prover::run(worker), keep(keeper, wallet))),
            Err(error) => tracing::error!(error, "batches are not proven by an enclave of this node"),
        }
    }

    /// The program, running and on L1's list, and whoever keeps its collateral.
    async fn prepare(&self) -> Result<(Enclave, Wallet, Keeper), Held> {
        let keys = self.datadir.join(TEE);
        let registry = &self.registry;
        let pki = Pki::open(&keys).map_err(|error| Held::Now(error.to_string()))?;
        let root = ask(registry.l1(), registry.contracts().pccs, &Pccs::rootHashCall {}).await?;
        if root != keccak256(&pki.root) {
            let keys = keys.display();
            return Err(Held::Always(format!(
                "this chain believes quotes of another root than that in {keys}: `jove prover` proves for it, where that root is"
            )));
        }
        let (enclave, measurement) = start(keys).await?;
        let key = dev_key(KEEPER).map_err(Held::Now)?;
        let wallet = Wallet::new(registry.l1().clone(), key).await?;
        // What was sent before a restart comes first.
        wallet.settle().await?;
        let source = Source::Software { pki: Box::new(pki), revoked: Vec::new() };
        let keeper = Keeper::new(registry.clone(), source, &[], self.first, COLLATERAL_MARGIN);
        keeper.round(&wallet, |call, hash| tracing::debug!(%hash, "sent: {}", call.what)).await?;
        self.allow(&wallet, measurement).await?;
        Ok((enclave, wallet, keeper))
    }

    /// Has a program let in.
    async fn allow(&self, wallet: &Wallet, measurement: B256) -> Result<(), Held> {
        let registry = &self.registry;
        let is_allowed = AttestationRegistry::isMeasurementAllowedCall { measurement };
        let change = Change::Measurement(measurement, true);
        let late = |delay: String| {
            Held::Always(format!(
                "this build of the program has measurement {measurement}, which is not on the chain's list, and its timelock lets it in {delay}: begin another chain with \
                 --datadir, or see `jove attest change`"
            ))
        };
        while !ask(registry.l1(), registry.contracts().registry, &is_allowed).await? {
            let call: Call = match change.step(registry).await? {
                Step::Done => break,
                Step::Wait(due) => return Err(late(format!("at {due} s of Unix time"))),
                Step::Propose(_, delay) if delay > 0 => {
                    return Err(late(format!("{} after it was proposed", in_words(delay))));
                }
                Step::Propose(call, _) | Step::Execute(call) => call,
            };
            wallet.send(&[call], |call, hash| tracing::debug!(%hash, "sent: {}", call.what)).await?;
        }
        tracing::info!(%measurement, "L1 lets this build of the enclave program prove");
        Ok(())
    }
}

/// Starts the program; its measurement.
async fn start(keys: PathBuf) -> Result<(Enclave, B256), Held> {
    let launch = Launch::own(&Quotes::Software { keys, machine: 0 });
    let mut enclave = Enclave::new(launch, DEADLINE);
    let started = spawn_blocking(move || enclave.hello().map(|hello| (enclave, hello.measurement))).await;
    let words = |error: String| Held::Now(format!("the enclave program: {error}"));
    started.map_err(|error| words(error.to_string()))?.map_err(|error| words(error.to_string()))
}

/// Keeps collateral fresh.
async fn keep(keeper: Keeper, wallet: Wallet) {
    loop {
        tokio::time::sleep(COLLATERAL_ROUND).await;
        if let Err(error) = keeper.round(&wallet, |call, hash| tracing::debug!(%hash, "sent: {}", call.what)).await {
            tracing::warn!(%error, "collateral");
        }
    }
}
