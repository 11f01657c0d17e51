//! `jove deploy`: puts a chain's contracts on L1 and writes its chain file. `jove risks`: the risk page of a deployed chain.

use crate::{
    attest::{PolicyOptions, SoftwareKeys, read_bounded},
    key,
    node::start_log,
    options::Span,
    zk,
};
use alloy_primitives::{Address, B256};
use jove_primitives::{
    ChainSpec,
    spec::{BlobFeeUpdate, Settlement},
};
use jove_settlement::{
    L1,
    attestation::Terms,
    blob_fees,
    deploy::{Enclaves, Plan, Settings, ZeroKnowledge, addresses, verifiers, verify, write_file},
    risks::Risks,
    validators::{self, Admission},
};
use jove_tee::{Bundle, bundle::Place, verify::MAX_COLLATERAL};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where the chain file goes.
const OUT: &str = "chain.json";

/// What is done at L1, and where L1 is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// JSON-RPC of a node of L1
    #[arg(
        long,
        env = "JOVE_L1_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9545"
    )]
    l1_url: String,
    #[command(flatten)]
    key: key::Options,
    /// Chain spec to deploy, a JSON file [default: the built-in development chain]
    #[arg(long, env = "JOVE_TEMPLATE", value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Chain file to write: what nodes take as --chain
    #[arg(long, env = "JOVE_CHAIN", value_name = "FILE", default_value = OUT)]
    out: PathBuf,
    /// Deploy for production: refuse test verifiers and delays below the production ones
    #[arg(long)]
    production: bool,
    /// Who may commit [default: the deployer]
    #[arg(long, value_name = "ADDRESS")]
    sequencer: Option<Address>,
    /// The security council [default: the deployer]
    #[arg(long, value_name = "ADDRESS")]
    council: Option<Address>,
    /// Who may propose upgrades to the timelock [default: the deployer]
    #[arg(long, value_name = "ADDRESS")]
    governor: Option<Address>,
    /// Who is paid for the gas of messages from L1 [default: the deployer]
    #[arg(long, value_name = "ADDRESS")]
    fee_recipient: Option<Address>,
    #[command(flatten)]
    validating: Validating,
    #[command(flatten)]
    enclaves: Enclaving,
    /// Verifier of zero-knowledge proofs, there already [default: a test verifier]
    #[arg(long, value_name = "ADDRESS")]
    zk_verifier: Option<Address>,
    /// Folder that `jove prover setup` prepared: a verifier is created that pins its program and key, which are of the guest at hand (JOVE_ZK_GUEST, JOVE_ZK_VM) or refused
    #[arg(long, value_name = "DIR", conflicts_with = "zk_verifier")]
    zk_keys: Option<PathBuf>,
    /// T1: after it without a timely commit anyone may commit [default: 12h]
    #[arg(long, value_name = "TIME")]
    silence_delay: Option<Span>,
    /// T2: after it anyone may commit queued messages alone [default: 3d]
    #[arg(long, value_name = "TIME")]
    message_delay: Option<Span>,
    /// A batch without a proof can be dropped after it [default: 24h]
    #[arg(long, value_name = "TIME")]
    drop_delay: Option<Span>,
    /// Z: the escape can begin after it [default: 21d]
    #[arg(long, value_name = "TIME")]
    escape_delay: Option<Span>,
    /// W: how long one system's proof stays open to contradiction [default: 7d]
    #[arg(long, value_name = "TIME")]
    single_proof_delay: Option<Span>,
    /// Delay of upgrades [default: 30d]
    #[arg(long, value_name = "TIME")]
    timelock_delay: Option<Span>,
    /// Age in L1 blocks of a commit's origin beyond which it counts as silence [default: 3600]
    #[arg(long, value_name = "BLOCKS")]
    origin_lag: Option<u64>,
    /// Lowest price of a unit of L2 gas that is bought on L1, in wei [default: the chain's base fee floor]
    #[arg(long, value_name = "WEI")]
    price_floor: Option<u64>,
    /// L1's blob fee updates: times in seconds and BLOB_BASE_FEE_UPDATE_FRACTIONs [default: by L1's chain id, or as its node says]
    #[arg(long, value_name = "TIME:FRACTION", value_delimiter = ',')]
    blob_fee_updates: Option<Vec<Update>>,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, env = "JOVE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// On which terms operators validate, on a chain whose spec names validators.
#[derive(clap::Args, Clone, Debug)]
struct Validating {
    /// Who admits operators: "timelock", "everyone" (a bond is enough), or an account [default: timelock]
    #[arg(long, value_name = "WHO", value_parser = admission)]
    admission: Option<Admission>,
    /// Least bond of a validator, in wei [default: 32 ETH]
    #[arg(long, value_name = "WEI")]
    min_bond: Option<u128>,
    /// How long a bond stays after its validator has left [default: 21d]
    #[arg(long, value_name = "TIME")]
    unbonding: Option<Span>,
    /// Who gets what is slashed [default: the timelock]
    #[arg(long, value_name = "ADDRESS")]
    slash_treasury: Option<Address>,
    /// Create a vault that pays this much to the proposer of each final batch's last checkpoint, in wei
    #[arg(long, value_name = "WEI")]
    batch_reward: Option<u128>,
}

impl Validating {
    fn chosen(&self, template: &ChainSpec) -> Result<Option<validators::Terms>, String> {
        let Some(named) = &template.validators else {
            let Self { admission, min_bond, unbonding, slash_treasury, batch_reward } = self;
            let none = admission.is_none() && min_bond.is_none() && unbonding.is_none();
            if none && slash_treasury.is_none() && batch_reward.is_none() {
                return Ok(None);
            }
            return Err("terms for validators, but the chain spec names none (validators.genesis)".into());
        };
        let founders = validators::Founders::of(named).map_err(|error| error.to_string())?;
        let defaults = validators::Terms::new(founders);
        let unbonding = match self.unbonding {
            Some(Span(time)) if time.subsec_nanos() > 0 => return Err("--unbonding must be whole seconds".into()),
            Some(Span(time)) => time.as_secs(),
            None => defaults.unbonding,
        };
        Ok(Some(validators::Terms {
            admission: self.admission.unwrap_or(defaults.admission),
            min_bond: self.min_bond.unwrap_or(defaults.min_bond),
            unbonding,
            treasury: self.slash_treasury,
            reward: self.batch_reward,
            ..defaults
        }))
    }
}

fn admission(text: &str) -> Result<Admission, String> {
    match text {
        "timelock" => Ok(Admission::Timelock),
        "everyone" => Ok(Admission::Everyone),
        text => text
            .parse()
            .map(Admission::Account)
            .map_err(|_| format!("{text:?} is not \"timelock\", \"everyone\" or an address")),
    }
}

/// Which enclaves may prove at first.
#[derive(clap::Args, Clone, Debug)]
struct Enclaving {
    /// Verifier of proofs from enclaves, there already [default: a test verifier; in production one that is created, under Intel's root]
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["tee_root", "tee_measurement", "tee_signer", "tee_statuses", "tee_min_evaluation", "tee_max_age", "tee_key_lifetime"])]
    tee_verifier: Option<Address>,
    /// Create the contracts of attestation under this root: "intel"; for development "software", or a certificate's file (DER or PEM)
    #[arg(long, value_name = "ROOT")]
    tee_root: Option<String>,
    #[command(flatten)]
    keys: SoftwareKeys,
    /// Measurements (MRENCLAVE) of the programs that may prove; by the timelock later
    #[arg(long, value_name = "HASH", value_delimiter = ',')]
    tee_measurement: Vec<B256>,
    /// Their signers (MRSIGNER) [default with --tee-root software: those of software quotes]
    #[arg(long, value_name = "HASH", value_delimiter = ',')]
    tee_signer: Vec<B256>,
    #[command(flatten)]
    policy: PolicyOptions,
}

impl Enclaving {
    fn chosen(&self, production: bool) -> Result<Enclaves, String> {
        if let Some(verifier) = self.tee_verifier {
            return Ok(Enclaves::Verifier(verifier));
        }
        let root = match self.tee_root.as_deref() {
            Some(root) => root,
            None if production => "intel",
            None if self.tee_measurement.is_empty() && self.tee_signer.is_empty() && self.policy.is_default() => {
                return Ok(Enclaves::Test);
            }
            None => return Err("which root do enclaves attest under? --tee-root".into()),
        };
        let mut signers = self.tee_signer.clone();
        let certificate = match root {
            "intel" => jove_tee::verify::INTEL_ROOT.to_vec(),
            "software" => {
                if signers.is_empty() {
                    signers.push(jove_tee::software::SIGNER);
                }
                self.keys.pki()?.root
            }
            file => root_certificate(Path::new(file))?,
        };
        let terms = Terms::new(certificate);
        let policy = self.policy.on(terms.policy.clone())?;
        Ok(Enclaves::Attested(Terms { policy, measurements: self.tee_measurement.clone(), signers, ..terms }))
    }
}

/// The DER of a root's certificate in a file.
fn root_certificate(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: String| format!("{}: {error}", path.display());
    let bytes = read_bounded(path, MAX_COLLATERAL as u64)?;
    let mut bundle = Bundle::default();
    bundle.add(&bytes).map_err(|error| failed(error.to_string()))?;
    match &bundle.certificates[..] {
        [root] if root.place == Place::Root => Ok(root.der.clone()),
        _ => Err(failed("not the certificate of a root of attestation alone".into())),
    }
}

/// `TIME:FRACTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Update(BlobFeeUpdate);

impl FromStr for Update {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once(':').and_then(|(time, fraction)| Some((time.parse().ok()?, fraction.parse().ok()?)));
        let (timestamp, fraction) = numbers.ok_or_else(|| format!("{text:?} is not TIME:FRACTION, two numbers"))?;
        Ok(Self(BlobFeeUpdate { timestamp, fraction }))
    }
}

/// Where a deployed chain is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RisksOptions {
    /// JSON-RPC of a node of L1
    #[arg(
        long,
        env = "JOVE_L1_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9545"
    )]
    l1_url: String,
    /// The chain file
    #[arg(long, env = "JOVE_CHAIN", value_name = "FILE", conflicts_with = "rollup", default_value = OUT)]
    chain: PathBuf,
    /// Address of the chain's Rollup on L1, in the place of a chain file
    #[arg(long, value_name = "ADDRESS")]
    rollup: Option<Address>,
}

impl Options {
    /// The verifier of zero-knowledge proofs.
    fn zk(&self) -> Result<ZeroKnowledge, String> {
        match (self.zk_verifier, &self.zk_keys) {
            (Some(verifier), _) => Ok(ZeroKnowledge::Verifier(verifier)),
            (None, Some(keys)) => zk::pins_of(keys).map(ZeroKnowledge::Pinned),
            (None, None) => Ok(ZeroKnowledge::Test),
        }
    }

    fn template(&self) -> Result<ChainSpec, String> {
        match &self.chain {
            Some(path) => read_spec(path),
            // As `jove dev` runs it.
            None => Ok(ChainSpec { development: true, ..ChainSpec::dev() }),
        }
    }

    fn settings(&self, deployer: Address, template: &ChainSpec, l1: u64) -> Result<Settings, String> {
        let mut settings = Settings::new(deployer, template, l1);
        settings.production = self.production;
        settings.enclaves = self.enclaves.chosen(self.production)?;
        settings.zk = self.zk()?;
        settings.validators = self.validating.chosen(template)?;
        if settings.validators.is_some() && self.sequencer.is_some() {
            return Err("--sequencer is for chains without validators: those of them that sequence commit".into());
        }
        let roles = [
            (&mut settings.sequencer, self.sequencer),
            (&mut settings.council, self.council),
            (&mut settings.governor, self.governor),
            (&mut settings.fee_recipient, self.fee_recipient),
        ];
        for (role, chosen) in roles {
            *role = chosen.unwrap_or(*role);
        }
        let delays = [
            ("silence", &mut settings.silence_delay, self.silence_delay),
            ("message", &mut settings.message_delay, self.message_delay),
            ("drop", &mut settings.drop_delay, self.drop_delay),
            ("escape", &mut settings.escape_delay, self.escape_delay),
            ("single-proof", &mut settings.single_proof_delay, self.single_proof_delay),
            ("timelock", &mut settings.timelock_delay, self.timelock_delay),
        ];
        for (name, delay, chosen) in delays {
            let Some(Span(time)) = chosen else { continue };
            if time.subsec_nanos() > 0 {
                return Err(format!("--{name}-delay must be whole seconds"));
            }
            *delay = time.as_secs();
        }
        settings.origin_lag = self.origin_lag.unwrap_or(settings.origin_lag);
        settings.price_floor = self.price_floor.unwrap_or(settings.price_floor);
        if let Some(updates) = &self.blob_fee_updates {
            settings.blob_fee_updates = updates.iter().map(|update| update.0).collect();
        }
        Ok(settings)
    }
}

/// Reads a chain spec.
pub(crate) fn read_spec(path: &Path) -> Result<ChainSpec, String> {
    let json = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    ChainSpec::from_json(&json).map_err(|error| format!("{}: {error}", path.display()))
}

/// A runtime for a command that ends by itself.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))
}

/// Deploys, or goes on with a deployment, or looks whether the deployed chain is there.
///
/// # Errors
/// In words for the operator.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    start_log(&options.log)?;
    if options.production && options.key.is_public() {
        return Err("a production chain is not deployed with a key that is public: leave --mnemonic-index out".into());
    }
    let template = options.template()?;
    let out = &options.out;
    let made = match out.exists() {
        true => {
            let made = read_spec(out)?;
            if (ChainSpec { settlement: None, ..made.clone() }) != template {
                return Err(format!("{} is another chain's file: name a new one with --out", out.display()));
            }
            Some(made)
        }
        false => None,
    };
    runtime()?.block_on(async {
        let l1 = L1::new(&options.l1_url).map_err(|error| error.to_string())?;
        let spec = match &made {
            Some(made) => {
                let spec = verify(&l1, made).await.map_err(|error| format!("{}: {error}", out.display()))?;
                tracing::info!("deployed already: nothing was sent");
                spec
            }
            None => deploy(&l1, options, &template).await?,
        };
        if made.as_ref() != Some(&spec) {
            write_file(out, &spec.to_json()).map_err(|error| format!("{}: {error}", out.display()))?;
        }
        let settlement = spec.settlement.as_ref().ok_or("the chain file has no settlement")?;
        let verifiers = verifiers(&l1, settlement.proofs).await.map_err(|error| error.to_string())?;
        print(&spec, settlement, verifiers, out);
        Ok(())
    })
}

async fn deploy(l1: &L1, options: &Options, template: &ChainSpec) -> Result<ChainSpec, String> {
    let key = options.key.key()?;
    let chain_id = l1.chain_id().await.map_err(|error| error.to_string())?;
    let mut settings = options.settings(key.address(), template, chain_id)?;
    if options.blob_fee_updates.is_none() {
        let updates = blob_fees::ask(l1, chain_id).await.map_err(|error| error.to_string())?;
        settings.blob_fee_updates = updates;
    }
    let plan = Plan::new(template, settings, chain_id, key.address()).map_err(|error| error.to_string())?;
    let progress = |what: &str, hash| tracing::info!(%hash, "sent: {what}");
    plan.run(l1, key, progress).await.map_err(|error| error.to_string())
}

#[allow(clippy::print_stdout)] // the result is what it prints
fn print(spec: &ChainSpec, settlement: &Settlement, [tee, zk]: [Address; 2], out: &Path) {
    let Settlement { chain_id, block, .. } = settlement;
    println!(
        "{}, chain id {}, settles on the L1 with chain id {chain_id} since its block {block}",
        spec.name, spec.chain_id
    );
    for (name, address) in addresses(settlement).into_iter().chain([("TEE verifier", tee), ("ZK verifier", zk)]) {
        println!("  {name:<13} {address}");
    }
    println!("  {:<13} {}", "chain file", out.display());
}

/// Prints the risk page.
///
/// # Errors
/// In words, if the contracts cannot be read.
#[allow(clippy::print_stdout)] // the result is what it prints
pub(crate) fn risks(options: &RisksOptions) -> Result<(), String> {
    let rollup = match options.rollup {
        Some(rollup) => rollup,
        None => {
            let settlement = read_spec(&options.chain)?.settlement;
            settlement.ok_or_else(|| format!("{}: the chain settles nowhere", options.chain.display()))?.rollup
        }
    };
    runtime()?.block_on(async {
        let l1 = L1::new(&options.l1_url).map_err(|error| error.to_string())?;
        let risks = Risks::read(&l1, rollup).await.map_err(|error| error.to_string())?;
        print!("{}", risks.to_markdown());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admissions_are_named() {
        assert_eq!(admission("timelock"), Ok(Admission::Timelock));
        assert_eq!(admission("everyone"), Ok(Admission::Everyone));
        let account = Address::repeat_byte(7);
        assert_eq!(admission(&account.to_string()), Ok(Admission::Account(account)));
        assert!(admission("council").is_err());
    }

    #[test]
    fn updates_are_two_numbers() {
        assert_eq!("0:5007716".parse(), Ok(Update(BlobFeeUpdate { timestamp: 0, fraction: 5_007_716 })));
        for bad in ["", ":", "1", "1:", ":1", "1:2:3", "-1:2", "0x1:2"] {
            assert!(bad.parse::<Update>().is_err(), "{bad}");
        }
    }
}
