//! From options to settlement: which L1, which keys, how fast; and for `jove dev` an L1 of its own with the contracts on it.

use crate::{
    dev_enclave::{self, DevEnclave},
    l1,
    node::{Mode, Running, node_config, serve, server_config, start_node},
    options::{Options, Span},
    prover::link,
    settle::{self, Committing, Rescuing, Serving, Settings, Settle},
    validators::{self, Development},
    zk,
};
use jove_primitives::ChainSpec;
use jove_prover::{Secret, ZkWorker, run_zk};
use jove_proving::MAX_INPUT;
use jove_sequencer::{L1Config, Node};
use jove_settlement::{
    Archive, Blobs, Error, L1,
    attestation::{Registry, first_block},
    blob_fees,
    contracts::{TestVerifier, ZkVerifier, ask},
    deploy::{self, Plan},
    origins::Depth,
    policy::Policy,
    status::DebtLimits,
    wallet::Key,
};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Name of the chain file in the data directory of a development chain.
pub(crate) const CHAIN_FILE: &str = "chain.json";
/// Of the development accounts, the one that deploys and commits, and the one that sends proofs.
const OPERATOR: usize = 9;
const PROVER: usize = 8;
/// The one that owns its validators on L1, and the one that brings their evidence there.
const OWNER: usize = 6;
const REPORTER: usize = 5;
/// Between two looks at L1.
const POLL: Duration = Duration::from_secs(2);
const DEV_POLL: Duration = Duration::from_millis(250);
/// Most bytes that provers are given of a batch, unless its one block is more: ten times what a batch of full blobs has. A guest in zero knowledge has 512 MiB of memory
/// for the input, what it reads of it, and the tries.
const MAX_BATCH_INPUT: usize = 96 << 20;
/// Most instructions of a batch, about, unless its one block is more: nine billion gas. An enclave has judged that in ten minutes at fifteen million gas a second;
/// a batch of full blobs has several times less, unless somebody fills it with what is dear to run and short to write.
const MAX_BATCH_INSTRUCTIONS: u64 = 40_000_000_000;
/// Where an operator's key may be, a prover's, and that of who steps in.
const COMMIT_KEY: &str = "JOVE_COMMIT_KEY";
const PROVE_KEY: &str = "JOVE_PROVE_KEY";
const RESCUE_KEY: &str = "JOVE_RESCUE_KEY";
/// And that of a validator's duties besides.
const DUTY_KEY: &str = "JOVE_DUTY_KEY";

/// The key of a development account.
///
/// # Errors
/// If there is none.
pub(crate) fn dev_key(index: usize) -> Result<Key, String> {
    let (_, key) = *jove_rpc::dev_accounts().get(index).ok_or("there is no such development account")?;
    Key::new(key).map_err(|error| error.to_string())
}

/// The L1 of a development chain, unless `--l1-url` names another, and the chain's spec with the contracts on it: deployed now, or before.
///
/// # Errors
/// In words for the operator.
pub(crate) async fn develop(
    options: &Options,
    template: ChainSpec,
    development: Option<&Development>,
    datadir: &Path,
    metrics: &PrometheusHandle,
) -> Result<(Option<Running>, ChainSpec), String> {
    if template.settlement.is_some() {
        return Ok((None, template));
    }
    let (running, url) = match &options.l1_url {
        Some(url) => (None, url.clone()),
        None => {
            let running = start_l1(options, datadir, metrics).await?;
            let url = format!("http://{}", running.server.local_addr());
            (Some(running), url)
        }
    };
    let file = datadir.join(CHAIN_FILE);
    if file.exists() {
        let json = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let spec = ChainSpec::from_json(&json).map_err(|error| format!("{}: {error}", file.display()))?;
        if (ChainSpec { settlement: None, ..spec.clone() }) != template {
            return Err(format!("{} is another chain's: use another --datadir", file.display()));
        }
        return Ok((running, spec));
    }
    let words = |error: jove_settlement::Error| error.to_string();
    let l1 = L1::new(&url).map_err(words)?;
    let key = dev_key(OPERATOR)?;
    let chain_id = l1.chain_id().await.map_err(words)?;
    let blob_fee_updates = blob_fees::ask(&l1, chain_id).await.map_err(words)?;
    let mut settings =
        deploy::Settings { blob_fee_updates, ..deploy::Settings::new(key.address(), &template, chain_id) };
    settings.validators = template.validators.as_ref().map(validators::dev_terms).transpose()?;
    if options.enclave != Some(false) {
        settings.enclaves = deploy::Enclaves::Attested(dev_enclave::terms(datadir)?);
        // Each build of the enclave program is let in by whoever has it, at once.
        (settings.governor, settings.timelock_delay) = (dev_key(dev_enclave::KEEPER)?.address(), 0);
    }
    match zk::Program::by_environment().and_then(|program| program.ready()) {
        Ok(backend) if options.zk == Some(true) => {
            settings.zk = deploy::ZeroKnowledge::Pinned(zk::pins(&backend)?);
        }
        Err(missing) if options.zk == Some(true) => return Err(format!("--zk: {missing}")),
        Ok(_) => tracing::info!(
            "this machine is prepared to prove in zero knowledge, and does with --zk; now a test verifier believes this node"
        ),
        Err(missing) => {
            tracing::info!(missing, "nothing is proven in zero knowledge: a test verifier believes this node")
        }
    }
    let plan = Plan::new(&template, settings, chain_id, key.address()).map_err(words)?;
    tracing::info!(l1 = l1.host(), "deploying the contracts");
    let operator = key.address();
    let spec = plan.run(&l1, key, |what, hash| tracing::debug!(%hash, "sent: {what}")).await.map_err(words)?;
    if let Some(development) = development {
        validators::register_development(development, &spec, &l1, dev_key(OWNER)?, operator).await?;
    }
    deploy::write_file(&file, &spec.to_json()).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((running, spec))
}

async fn start_l1(options: &Options, datadir: &Path, metrics: &PrometheusHandle) -> Result<Running, String> {
    let datadir = datadir.join("l1");
    std::fs::create_dir_all(&datadir).map_err(|error| format!("{}: {error}", datadir.display()))?;
    let options = Options {
        http_port: Some(options.l1_http_port.unwrap_or(l1::PORT)),
        history: Some(Span(Duration::from_secs(86_400))),
        ..options.clone()
    };
    let mode = Mode::L1(Box::new(ChainSpec::l1(l1::CHAIN_ID, 1)), L1Config::default());
    let Mode::L1(spec, _) = &mode else { return Err("not an L1".into()) };
    let config =
        node_config(&options, ChainSpec { development: true, ..spec.as_ref().clone() }, datadir.clone(), &mode);
    let node = start_node(config).await?;
    let routes = jove_rpc::beacon_router(node.clone());
    let server = serve(&node, server_config(&options, &datadir), Vec::new(), routes, metrics)?;
    Ok(Running { node, server })
}

/// Starts what settles the chain, if its spec says where. `l1_url` is that of an L1 of the chain's own.
///
/// # Errors
/// In words for the operator.
pub(crate) async fn start(
    options: &Options,
    mode: &Mode,
    node: Arc<Node>,
    l1_url: Option<String>,
    datadir: &Path,
) -> Result<Option<Settle>, String> {
    let Some(settlement) = node.spec().settlement.clone() else { return Ok(None) };
    let dev = matches!(mode, Mode::Dev);
    let url = options.l1_url.clone().or(l1_url).ok_or("which L1? --l1-url names its JSON-RPC")?;
    let words = |error: jove_settlement::Error| error.to_string();
    let l1 = L1::new(&url).map_err(words)?;
    let beacons = options.l1_beacon_url.clone();
    let blobs = Blobs::new(beacons.clone().unwrap_or_else(|| vec![url])).map_err(|error| match beacons {
        Some(_) => format!("--l1-beacon-url: {error}"),
        None => format!("--l1-url, asked for blobs too without --l1-beacon-url: {error}"),
    })?;
    let depth = match options.l1_depth.unwrap_or(u64::from(dev)) {
        0 => Depth::Finalized,
        blocks => Depth::Blocks(blocks),
    };
    if depth != Depth::Finalized && node.is_elected() && !node.spec().development {
        return Err("--l1-depth: what validators certify is not withdrawn, so it rests on what L1 has finalized".into());
    }
    let commit = match dev {
        true => Some(dev_key(OPERATOR)?),
        false => key("commit", options.commit_key_file.as_deref(), COMMIT_KEY)?,
    };
    let commit = commit.filter(|_| node.is_sequencing());
    let deadline = options.commit_deadline.map_or(Duration::from_secs(if dev { 600 } else { 3_600 }), |span| span.0);
    if deadline < Duration::from_secs(1) {
        return Err(format!("--commit-deadline {deadline:?}: L1 takes batches in seconds"));
    }
    let usual = Policy::default();
    let policy = Policy { deadline, margin: deadline / 10, tick: usual.tick.min(deadline / 10), ..usual };
    let instructions = options.max_batch_instructions.unwrap_or(MAX_BATCH_INSTRUCTIONS);
    let most_input =
        options.max_batch_input.map_or(MAX_BATCH_INPUT, |most| usize::try_from(most).unwrap_or(usize::MAX));
    if most_input > MAX_INPUT {
        return Err(format!("--max-batch-input {most_input}: provers take {MAX_INPUT} at most"));
    }
    let prove = match key("prove", options.prove_key_file.as_deref(), PROVE_KEY)? {
        None if dev => Some(dev_key(PROVER)?),
        prove => prove,
    };
    let [tee, zk_verifier] = deploy::verifiers(&l1, settlement.proofs).await.map_err(words)?;
    let is_test = async |verifier| ask(&l1, verifier, &TestVerifier::isTestCall {}).await.map_err(words);
    let zk_proven = prove.is_some() && !is_test_verifier(&l1, zk_verifier).await.map_err(words)?;
    let registry = match Registry::of_verifier(&l1, tee).await {
        Ok(registry) => Some(registry),
        Err(Error::NoRegistry { .. }) => None,
        Err(error) => return Err(words(error)),
    };
    match (dev, &registry, options.enclave) {
        (true, None, Some(true)) => {
            return Err("this chain was begun without enclaves, and stays so: leave --enclave out, or begin another chain with --datadir".into());
        }
        (true, None, None) => {
            tracing::info!(
                "this chain was begun without enclaves, and stays so: a test verifier believes what this node says"
            );
        }
        (true, Some(_), Some(false)) => {
            tracing::info!(
                "--enclave false: this chain is proven by enclaves, and batches wait for one behind --prover-listen"
            );
        }
        _ => {}
    }
    if dev && options.zk == Some(true) && !zk_proven {
        return Err("this chain was begun without proofs in zero knowledge, and stays so: leave --zk out, or begin another chain with --datadir".into());
    }
    let listen = options.prover_listen.or(dev.then_some(SocketAddr::from(([127, 0, 0, 1], 0))));
    if prove.is_some() && registry.is_none() && !is_test(tee).await? {
        return Err("this chain's verifier of enclaves is neither of attestation nor a test verifier".into());
    }
    let (by_enclaves, by_provers) = (registry.is_some(), registry.is_some() || zk_proven);
    let enclaves = match (by_provers && prove.is_some(), listen) {
        (true, Some(address)) => {
            let listener = TcpListener::bind(address).map_err(|error| format!("--prover-listen {address}: {error}"))?;
            let file = options.prover_secret_file.clone().unwrap_or_else(|| datadir.join("prover.hex"));
            let secret = Secret::of_file(&file, true).map_err(|error| error.to_string())?;
            Some(Serving { tee: by_enclaves, zk: zk_proven, listener, secret })
        }
        (true, None) => {
            return Err("this chain is proven by enclaves, or in zero knowledge: --prover-listen says where provers get batches".into());
        }
        (false, _) if options.prover_listen.is_some() => {
            return Err(
                "--prover-listen is for a node with a key to prove with, on a chain that is proven by others than itself"
                    .into(),
            );
        }
        (false, _) => None,
    };
    if commit.as_ref().zip(prove.as_ref()).is_some_and(|(commit, prove)| commit.address() == prove.address()) {
        return Err("the keys to commit and to prove with must be of two accounts: L1 takes blobs or other transactions of one, not both".into());
    }
    let rescue = key("rescue", options.rescue_key_file.as_deref(), RESCUE_KEY)?;
    if let Some(rescue) = &rescue {
        if node.is_sequencing() && !node.is_elected() {
            return Err("a key to rescue with is for full nodes, and for those on a chain with validators".into());
        }
        if commit.as_ref().is_some_and(|commit| commit.address() == rescue.address()) {
            return Err("the keys to rescue and to commit with must be of two accounts: each sends its own transactions in order".into());
        }
        let prove = prove.as_ref().ok_or("a key to rescue with needs one to prove with: --prove-key-file")?;
        if prove.address() == rescue.address() {
            return Err("the keys to rescue and to prove with must be of two accounts: L1 takes blobs or other transactions of one, not both".into());
        }
    }
    let duties = match key("attend to duties", options.duty_key_file.as_deref(), DUTY_KEY)? {
        None if dev && node.is_elected() => Some(dev_key(REPORTER)?),
        duties => duties,
    };
    let duties = duties.filter(|_| node.is_elected());
    let others = [&commit, &prove, &rescue].map(|key| key.as_ref().map(Key::address));
    if duties.as_ref().is_some_and(|duties| others.contains(&Some(duties.address()))) {
        return Err("a validator's duties want an account of their own, not one that commits or proves".into());
    }
    let seconds = |span: Option<Span>, default: u64| span.map_or(default, |span| span.0.as_secs());
    let limits = DebtLimits {
        uncommitted_bytes: options.max_uncommitted_bytes.unwrap_or(if dev || commit.is_none() { 0 } else { 64 << 20 }),
        uncommitted_seconds: seconds(options.max_uncommitted, if dev || commit.is_none() { 0 } else { 12 * 3_600 }),
        unproven_gas: options.max_unproven.unwrap_or(0),
    };
    let folder = datadir.join("blobs");
    let archive = match options.blob_archive.unwrap_or(false) {
        true => Some(Archive::open(&folder).map_err(|error| format!("{}: {error}", folder.display()))?),
        false => None,
    };
    let settings = Settings {
        l1,
        blobs,
        archive: archive.map(Arc::new),
        depth,
        // Validators vote on what they have seen of L1 themselves.
        poll: if dev || node.is_elected() && node.spec().development { DEV_POLL } else { POLL },
        // A proof in zero knowledge takes minutes, whatever is in the batch: each has more, and its deadline says when it is committed.
        commit: commit.map(|signer| Committing { signer, policy, eager: dev && !zk_proven, instructions }),
        most_input,
        prove,
        enclaves,
        rescue: rescue.map(|signer| Rescuing { signer, deadline, instructions }),
        duties,
        limits,
        effects: options.sync_by_proof.as_ref().map(|url| L1::new(url).map_err(words)).transpose()?,
        folder: datadir.join("relayer"),
        proofs: datadir.join("proofs"),
    };
    let serving = settings.enclaves.as_ref().map(|serving| (serving.listener.local_addr(), serving.secret.clone()));
    let mut settle = settle::start(node, settings)?;
    if let (true, true, Some((Ok(controller), secret))) = (dev, zk_proven, &serving) {
        match zk::Program::by_environment().and_then(|program| program.ready()) {
            Ok(backend) => {
                let link = link(format!("http://{controller}"), secret.clone(), "zk".into())?;
                settle.also(run_zk(ZkWorker { link, backend }));
            }
            Err(missing) => {
                tracing::warn!(missing, "batches wait for a prover in zero knowledge behind --prover-listen")
            }
        }
    }
    let own = dev && options.enclave != Some(false);
    if let (true, Some((address, secret)), Some(registry)) = (own, serving, registry) {
        let controller = address.map_err(|error| error.to_string())?;
        let (first, datadir) = (first_block(settlement.block), datadir.to_owned());
        settle.also(DevEnclave { registry, first, controller, secret, datadir }.run());
    }
    Ok(Some(settle))
}

/// Starts what a validator beside others in one process has of settlement: its own view of L1, and what it consumes when it leads.
///
/// # Errors
/// In words for the operator.
pub(crate) fn follow(node: Arc<Node>, l1: L1, depth: Depth, blobs: &Blobs, folder: &Path) -> Result<Settle, String> {
    let settings = Settings {
        l1,
        blobs: blobs.clone(),
        archive: None,
        depth,
        poll: DEV_POLL,
        commit: None,
        most_input: MAX_BATCH_INPUT,
        prove: None,
        enclaves: None,
        rescue: None,
        duties: None,
        limits: DebtLimits { uncommitted_bytes: 0, uncommitted_seconds: 0, unproven_gas: 0 },
        effects: None,
        folder: folder.join("relayer"),
        proofs: folder.join("proofs"),
    };
    settle::start(node, settings)
}

/// Whether a verifier of zero-knowledge proofs believes whoever claims something. One of parameters whose secret is known says that it is a test, and yet
/// takes nothing but proofs.
///
/// # Errors
/// If L1 cannot be asked.
async fn is_test_verifier(l1: &L1, verifier: alloy_primitives::Address) -> Result<bool, Error> {
    match ask(l1, verifier, &ZkVerifier::programCall {}).await {
        Ok(_) => Ok(false),
        Err(error) if error.revert().is_some() => Ok(true),
        Err(_) => ask(l1, verifier, &TestVerifier::isTestCall {}).await,
    }
}

/// The key to do something with, from a file or else the environment.
fn key(what: &str, file: Option<&Path>, variable: &str) -> Result<Option<Key>, String> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => match std::env::var(variable) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    Key::from_hex(&text).map(Some).map_err(|error| format!("the key to {what} with: {error}"))
}
