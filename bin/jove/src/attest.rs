//! `jove attest`: collateral, enclaves' keys, and what a chain believes of them (docs/attestation.md).

mod collateral;
mod quote;

use crate::{
    bridge::{log_sent, say, words},
    deploy::{read_spec, runtime},
    key,
    node::start_log,
    options::Span,
};
use alloy_primitives::{Address, B256, hex};
use jove_primitives::spec::Settlement;
use jove_settlement::{
    Error, L1, Wallet,
    attestation::{
        Enclave, Policy, Registration, Registry, STATUSES,
        change::{Change, Step},
        collateral::stored,
        first_block, status_bits, statuses,
    },
    error::in_words,
};
use jove_tee::{Pki, TcbStatus};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Most bytes of a registration's file: a quote has 16,384 at most, two digits each.
const MAX_REGISTRATION: u64 = 65_536;
/// Most registered keys that are shown: the newest.
const MAX_KEYS: usize = 100;

/// What is done, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    command: Command,
}

/// Which chain's contracts.
#[derive(clap::Args, Clone, Debug)]
struct Where {
    /// The chain file, as jove deploy writes it
    #[arg(long, env = "JOVE_CHAIN", value_name = "FILE", default_value = "chain.json", global = true)]
    chain: PathBuf,
    /// JSON-RPC of a node of L1
    #[arg(
        long,
        env = "JOVE_L1_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9545",
        global = true
    )]
    l1_url: String,
    /// A TeeVerifier that is not in force (yet) [default: the one that the chain's Proofs names]
    #[arg(long, value_name = "ADDRESS", global = true)]
    tee_verifier: Option<Address>,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, env = "JOVE_LOG", value_name = "FILTER", default_value = "info", global = true)]
    log: String,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Say what the chain believes of enclaves, or how one key stands
    Status {
        /// A key, as an address
        key: Option<Address>,
        /// Fail if the key's proofs are refused, or it ends sooner than this: for scheduled checks
        #[arg(long, value_name = "TIME", requires = "key")]
        min_left: Option<Span>,
    },
    /// Register an enclave's key with its quote
    Register {
        #[command(flatten)]
        key: key::Options,
        /// JSON with quote, key, payout and blockNumber
        file: PathBuf,
    },
    /// End a registered key that newer collateral condemns
    Invalidate {
        #[command(flatten)]
        key: key::Options,
        /// The key to end, as an address
        enclave: Address,
    },
    /// What Intel publishes about machines: put it in, look at it, keep it in files
    #[command(subcommand)]
    Collateral(collateral::Command),
    /// Put collateral in before it expires, for as long as this runs
    Keep(collateral::Keep),
    /// Change lists or policy through the timelock: print what to do next, or do it
    #[command(subcommand)]
    Change(ChangeCommand),
    /// For development: make a key, and a quote for it that proves nothing
    Quote(quote::Options),
}

#[derive(clap::Subcommand, Clone, Debug)]
enum ChangeCommand {
    /// Allow a measurement (MRENCLAVE), or forbid it with all keys of such enclaves
    Measurement(Listing),
    /// Allow a signer (MRSIGNER), or forbid it with all keys of its enclaves
    Signer(Listing),
    /// Set the policy: what is not named stays
    Policy {
        #[command(flatten)]
        policy: PolicyOptions,
        #[command(flatten)]
        sending: Sending,
    },
}

#[derive(clap::Args, Clone, Debug)]
struct Listing {
    /// Measurement or signer
    hash: B256,
    /// Take it off the list, in the place of putting it there
    #[arg(long)]
    forbid: bool,
    #[command(flatten)]
    sending: Sending,
}

#[derive(clap::Args, Clone, Debug)]
struct Sending {
    /// Send the next transaction: a governor's proposal, or, once it is due, anyone's execution
    #[arg(long)]
    send: bool,
    #[command(flatten)]
    key: key::Options,
}

/// A status that a policy can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed(TcbStatus);

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = STATUSES.into_iter().find(|status| status.to_string().eq_ignore_ascii_case(text));
        found.map(Self).ok_or_else(|| format!("{text:?} is none of {}", names(&STATUSES)))
    }
}

fn names(statuses: &[TcbStatus]) -> String {
    statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is believed of a quote besides that it is genuine.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PolicyOptions {
    /// TCB statuses that are allowed [default: UpToDate]
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    tee_statuses: Option<Vec<Allowed>>,
    /// Least tcbEvaluationDataNumber of collateral [default: 0]
    #[arg(long, value_name = "NUMBER")]
    tee_min_evaluation: Option<u32>,
    /// Greatest age of collateral, the root's yearly revocation list included [default: as long as it is valid]
    #[arg(long, value_name = "TIME")]
    tee_max_age: Option<Span>,
    /// For how long a key is registered, 180 days at most [default: 30d]
    #[arg(long, value_name = "TIME")]
    tee_key_lifetime: Option<Span>,
}

impl PolicyOptions {
    pub(crate) fn is_default(&self) -> bool {
        let Self { tee_statuses, tee_min_evaluation, tee_max_age, tee_key_lifetime } = self;
        tee_statuses.is_none() && tee_min_evaluation.is_none() && tee_max_age.is_none() && tee_key_lifetime.is_none()
    }

    /// A policy with what is named here in the place of what it has.
    pub(crate) fn on(&self, mut policy: Policy) -> Result<Policy, String> {
        if let Some(allowed) = &self.tee_statuses {
            let allowed: Vec<TcbStatus> = allowed.iter().map(|status| status.0).collect();
            policy.statuses = status_bits(&allowed).map_err(words)?;
        }
        policy.minEvaluation = self.tee_min_evaluation.unwrap_or(policy.minEvaluation);
        let times = [
            ("--tee-max-age", &mut policy.maxAge, self.tee_max_age),
            ("--tee-key-lifetime", &mut policy.lifetime, self.tee_key_lifetime),
        ];
        for (name, seconds, chosen) in times {
            if let Some(Span(time)) = chosen {
                *seconds = u32::try_from(time.as_secs()).map_err(|_| format!("{name} is too long"))?;
            }
        }
        Ok(policy)
    }
}

/// Where the development root's seed is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SoftwareKeys {
    /// Folder with the seed of the development root, made where there is none [default: ~/.jove/tee]
    #[arg(long, env = "JOVE_TEE_KEYS", value_name = "DIR")]
    tee_keys: Option<PathBuf>,
}

impl SoftwareKeys {
    /// The development root: **not Intel's**.
    pub(crate) fn pki(&self) -> Result<Pki, String> {
        let folder = match &self.tee_keys {
            Some(folder) => folder.clone(),
            None => {
                let home = std::env::home_dir();
                home.ok_or("there is no home directory: --tee-keys says where the seed is")?.join(".jove").join("tee")
            }
        };
        Pki::open(&folder).map_err(|error| error.to_string())
    }
}

/// A file of at most so many bytes.
pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most { Err(format!("{}: longer than {most} bytes", path.display())) } else { Ok(bytes) }
}

/// A chain's contracts, and where to find their events.
struct Chain {
    settlement: Settlement,
    registry: Registry,
}

impl Chain {
    async fn open(place: &Where) -> Result<Self, String> {
        let settlement = read_spec(&place.chain)?.settlement;
        let settlement = settlement.ok_or_else(|| format!("{}: the chain settles nowhere", place.chain.display()))?;
        let l1 = L1::new(&place.l1_url).map_err(|error| format!("--l1-url: {error}"))?;
        let found = l1.chain_id().await.map_err(words)?;
        if found != settlement.chain_id {
            return Err(words(Error::WrongL1 { expected: settlement.chain_id, found }));
        }
        let registry = match place.tee_verifier {
            Some(verifier) => Registry::of_verifier(&l1, verifier).await,
            None => Registry::of_chain(&l1, settlement.proofs).await,
        };
        let registry = registry.map_err(words)?;
        if place.tee_verifier.is_none() && settlement.attestation != Some(registry.contracts()) {
            tracing::warn!(
                "the chain file names other contracts of attestation than the chain: jove deploy corrects it"
            );
        }
        Ok(Self { settlement, registry })
    }

    /// The first block in which events are looked for.
    fn first(&self) -> u64 {
        first_block(self.settlement.block)
    }

    async fn wallet(&self, key: &key::Options) -> Result<Wallet, String> {
        Wallet::new(self.registry.l1().clone(), key.key()?).await.map_err(words)
    }
}

/// Runs one command.
///
/// # Errors
/// In words for the user.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    start_log(&options.place.log)?;
    runtime()?.block_on(async {
        if let Command::Collateral(collateral::Command::Fetch(fetch)) = &options.command {
            return collateral::fetch(fetch).await;
        }
        let chain = Chain::open(&options.place).await?;
        match &options.command {
            Command::Status { key: None, .. } => overview(&chain).await,
            Command::Status { key: Some(key), min_left } => one(&chain, *key, *min_left).await,
            Command::Register { key, file } => register(&chain, key, file).await,
            Command::Invalidate { key, enclave } => {
                let wallet = chain.wallet(key).await?;
                let ended = chain.registry.invalidate(&wallet, *enclave, log_sent).await.map_err(words)?;
                say(&line(&ended));
                Ok(())
            }
            Command::Collateral(command) => collateral::run(&chain, command).await,
            Command::Keep(keep) => collateral::keep(&chain, keep).await,
            Command::Change(command) => change(&chain, command).await,
            Command::Quote(options) => quote::run(&chain, options).await,
        }
    })
}

async fn register(chain: &Chain, key: &key::Options, file: &Path) -> Result<(), String> {
    let json = read_bounded(file, MAX_REGISTRATION)?;
    let registration: Registration =
        serde_json::from_slice(&json).map_err(|error| format!("{}: {error}", file.display()))?;
    let wallet = chain.wallet(key).await?;
    let (enclave, gas) = chain.registry.register(&wallet, &registration, log_sent).await.map_err(words)?;
    match gas {
        Some(gas) => say(&format!("registered, for {gas} gas")),
        None => say("registered before"),
    }
    say(&line(&enclave));
    Ok(())
}

/// A key on one line.
fn line(enclave: &Enclave) -> String {
    let Enclave { key, measurement, platform, fmspc, .. } = enclave;
    let state = match (&enclave.refusal, enclave.left()) {
        (Some(why), _) => format!("refused: {why}"),
        (None, left) => format!("ends in {}", in_words(left.unwrap_or(0))),
    };
    format!("{key}  {state}\n  measurement {measurement}, machine {platform} of kind {}", hex::encode_upper(fmspc))
}

async fn one(chain: &Chain, key: Address, min_left: Option<Span>) -> Result<(), String> {
    let enclave = chain.registry.enclave(key).await.map_err(words)?.ok_or_else(|| words(Error::UnknownKey(key)))?;
    say(&line(&enclave));
    let Some(Span(least)) = min_left else { return Ok(()) };
    match enclave.left() {
        Some(left) if left >= least.as_secs() => Ok(()),
        _ => Err("the enclave has to make a new key, and have it registered".into()),
    }
}

async fn overview(chain: &Chain) -> Result<(), String> {
    let registry = &chain.registry;
    let contracts = registry.contracts();
    let read = async {
        let policy = registry.policy().await?;
        let lists = registry.lists(chain.first()).await?;
        let keys = registry.registrations(chain.first()).await?;
        let mut enclaves = Vec::new();
        for registered in keys.iter().rev().take(MAX_KEYS) {
            enclaves.extend(registry.enclave(registered.key).await?);
        }
        let collateral = stored(registry, &[], chain.first()).await?;
        Ok((policy, lists, keys.len(), enclaves, collateral))
    };
    let (policy, lists, count, enclaves, collateral) = read.await.map_err(words)?;
    let root = if collateral.is_test { "a development root, not Intel's: quotes prove nothing" } else { "Intel's" };
    say(&format!("registry     {}, verifier {}", contracts.registry, contracts.tee_verifier));
    say(&format!("root         {root}"));
    let age = match policy.maxAge {
        u32::MAX => "as long as they are valid".into(),
        age => format!("for {}", in_words(age.into())),
    };
    say(&format!(
        "policy       {}; collateral counts {age}, from evaluation {} on; a key lives for {}",
        names(&statuses(policy.statuses)),
        policy.minEvaluation,
        in_words(policy.lifetime.into())
    ));
    if !lists.complete {
        say("lists        the registry is older than the chain by more than a week: there may be more than these");
    }
    for (name, list) in [("measurement", &lists.measurements), ("signer", &lists.signers)] {
        if list.is_empty() && lists.complete {
            say(&format!("{name:<12} none is allowed: no key can be registered"));
        }
        for hash in list {
            say(&format!("{name:<12} {hash}"));
        }
    }
    say("collateral");
    collateral::print(&collateral);
    say(&format!("keys         {count} registered{}", if count > MAX_KEYS { ", the newest:" } else { "" }));
    for enclave in &enclaves {
        say(&line(enclave));
    }
    Ok(())
}

async fn change(chain: &Chain, command: &ChangeCommand) -> Result<(), String> {
    let (change, sending) = match command {
        ChangeCommand::Measurement(listing) => (Change::Measurement(listing.hash, !listing.forbid), &listing.sending),
        ChangeCommand::Signer(listing) => (Change::Signer(listing.hash, !listing.forbid), &listing.sending),
        ChangeCommand::Policy { policy, sending } => {
            let current = chain.registry.policy().await.map_err(words)?;
            (Change::Policy(policy.on(current)?), sending)
        }
    };
    let what = change.describe();
    let (call, then) = match change.step(&chain.registry).await.map_err(words)? {
        Step::Done => {
            say(&format!("done: {what}"));
            return Ok(());
        }
        Step::Wait(due) => {
            say(&format!("proposed: {what}; due at {due} s of Unix time, then: the same command again"));
            return Ok(());
        }
        Step::Propose(call, delay) => (call, format!("due {} later, then: the same command again", in_words(delay))),
        Step::Execute(call) => (call, "it is in force at once".to_owned()),
    };
    if sending.send {
        let wallet = chain.wallet(&sending.key).await?;
        wallet.send(std::slice::from_ref(&call), log_sent).await.map_err(words)?;
        say(&format!("sent: {}; {then}", call.what));
    } else {
        say(&format!("next: {}; {then}\n  to   {}\n  data {}", call.what, call.to, call.data));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        policy: PolicyOptions,
    }

    fn policy(flags: &[&str]) -> Result<Policy, String> {
        let cli = Cli::try_parse_from([&["x"], flags].concat()).map_err(|error| error.to_string())?;
        cli.policy.on(Policy { statuses: 1, minEvaluation: 5, maxAge: 100, lifetime: 1000 })
    }

    #[test]
    fn a_policy_changes_where_it_is_named() {
        assert_eq!(policy(&[]), Ok(Policy { statuses: 1, minEvaluation: 5, maxAge: 100, lifetime: 1000 }));
        let flags = ["--tee-statuses", "UpToDate,swhardeningneeded", "--tee-max-age", "2d"];
        let changed = Policy { statuses: 3, minEvaluation: 5, maxAge: 172_800, lifetime: 1000 };
        assert_eq!(policy(&flags), Ok(changed));
        for bad in [&["--tee-statuses", "Revoked"], &["--tee-statuses", ""], &["--tee-max-age", "50000d"]] {
            assert!(policy(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_has_a_bound() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "12345").expect("written");
        assert_eq!(read_bounded(file.path(), 5).expect("read"), b"12345");
        assert!(read_bounded(file.path(), 4).expect_err("refused").contains("longer"));
    }
}
