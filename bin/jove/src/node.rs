//! `jove dev`, `jove node` and `jove l1`: from options to a running node, and back down on Ctrl-C.

use crate::{
    ladder, ledger,
    options::{Options, Role, Span},
    settlement,
    validators::{self, Development, OwnL1, processes::Processes},
};
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use jove_avc::MAX_VALIDATORS;
use jove_primitives::ChainSpec;
use jove_rpc::{Extension, Server, ServerConfig};
use jove_sequencer::{L1Config, Node, NodeConfig, PoolConfig};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    io::IsTerminal,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// How often the recorder drops what it no longer needs.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// The mnemonic of the development accounts.
const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// What a node is run for.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// A development chain.
    Dev,
    /// A chain of its own.
    Node,
    /// A layer 1 to develop against, with this chain where no file names another.
    L1(Box<ChainSpec>, L1Config),
}

impl Mode {
    /// Whether development methods are there.
    fn is_dev(&self) -> bool {
        !matches!(self, Self::Node)
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// In words for the operator, if it cannot start or has failed.
pub(crate) fn run(mut options: Options, mode: Mode) -> Result<(), String> {
    start_log(options.log.as_deref().unwrap_or("info,fjall=warn,lsm_tree=warn"))?;
    let metrics = start_metrics()?;
    let template = chain_spec(&options, &mode)?;
    check_roles(&options, &mode)?;
    let datadir = match options.datadir.clone() {
        Some(datadir) => datadir,
        None => default_datadir(&template, &mode)?,
    };
    std::fs::create_dir_all(&datadir).map_err(|error| format!("{}: {error}", datadir.display()))?;
    // Heard from the first moment on, so that an early Ctrl-C is clean as well, and between two lives of a node.
    let listening = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let listening = listening.map_err(|error| format!("cannot start the runtime: {error}"))?;
    let stop = {
        let _context = listening.enter();
        let (signal, input) = (shutdown_signal()?, end_of_input(options.stop_with_stdin.unwrap_or(false)));
        let (stopped, stop) = watch::channel(false);
        listening.spawn(async move {
            tokio::select! {
                () = signal => {}
                () = input => {}
            }
            stopped.send_replace(true);
        });
        stop
    };
    let mut anew = false;
    loop {
        let began = Instant::now();
        let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start the runtime: {error}"))?;
        let life = live(&options, &mode, template.clone(), &datadir, &metrics, stop.clone());
        match runtime.block_on(life) {
            Ok(Ended::Stopped) => return Ok(()),
            // With this life's runtime ends whatever was left of it. What the operator said of a lost log was said of that era's.
            Ok(Ended::Era) => {
                tracing::info!("starting anew, in the era that L1 has begun");
                (anew, options.votes_from) = (true, None);
            }
            // A node that runs waits for L1: so does one that was running.
            Err(error) if anew && began.elapsed() < AGAIN_WITHIN => {
                tracing::error!(%error, "cannot start in the new era: once more in a while");
                let mut stop = stop.clone();
                let waited = async { tokio::time::timeout(AGAIN, stop.wait_for(|stop| *stop)).await.is_err() };
                if !runtime.block_on(waited) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// How soon a start in a new era is tried again that failed; and how long after a start nothing else has failed than that.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// Why a node's life ended.
enum Ended {
    /// It was told to stop.
    Stopped,
    /// L1 has begun a new era: another life goes on from there.
    Era,
}

/// Runs a node until it is told to stop, or L1 begins a new era.
async fn live(
    options: &Options,
    mode: &Mode,
    template: ChainSpec,
    datadir: &Path,
    metrics: &PrometheusHandle,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, String> {
    let stop = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stop);
    let started = async {
        let (template, development) = elect(options, template, datadir, mode)?;
        let (l1, spec) = match mode {
            Mode::Dev if settles(options, &template) => {
                settlement::develop(options, template, development.as_ref(), datadir, metrics).await?
            }
            _ => (None, template),
        };
        let config = node_config(options, spec, datadir.to_owned(), mode);
        let node = start_node(config.clone()).await?;
        let l1_url = l1.as_ref().map(|l1: &Running| format!("http://{}", l1.server.local_addr()));
        let settle = settlement::start(options, mode, node.clone(), l1_url.clone(), datadir).await?;
        let handle = settle.as_ref().map(|settle| settle.handle.clone());
        let own = settle.as_ref().and_then(|settle| {
            let (l1, depth) = settle.l1.clone();
            OwnL1::new(&node, l1, settle, depth)
        });
        let (validators, processes) = match development {
            Some(development) if options.processes.unwrap_or(false) => {
                let processes = Processes::start(&development, options, &config, l1_url)?;
                (validators::start_development(development, 1, &node, &config, own).await?, processes)
            }
            Some(development) => {
                let all = usize::MAX;
                (validators::start_development(development, all, &node, &config, own).await?, Processes::default())
            }
            None if joins_network(options, mode, node.spec())? => {
                (vec![validators::start_one(options, &node, &config, own).await?], Processes::default())
            }
            None => (Vec::new(), Processes::default()),
        };
        let consensus = validators.first().map(|first| first.consensus.clone());
        if let (Some(settle), Some(consensus)) = (&settle, &consensus) {
            settle.stand_beside(consensus.clone());
        }
        let proofs = settle.as_ref().map(|settle| settle.proofs.clone());
        let mut methods = ladder::methods(node.clone(), handle, consensus, proofs);
        methods.extend(ledger::methods(validators.first().and_then(validators::Running::ledger)));
        let archive = settle.as_ref().and_then(|settle| settle.archive.clone());
        let routes = match archive {
            Some(archive) => jove_rpc::archive_router(move |hash| archive.get(hash)),
            None => jove_rpc::beacon_router(node.clone()),
        };
        let server = serve(&node, server_config(options, datadir), methods, routes, metrics)?;
        Ok::<_, String>((l1, settle, validators, processes, Running { node, server }))
    };
    let (l1, settle, validators, mut processes, l2) = tokio::select! {
        () = &mut stop => return Ok(Ended::Stopped),
        started = started => started?,
    };
    announce(&l2, l1.as_ref(), datadir, mode);
    let mut upkeep = tokio::time::interval(METRICS_UPKEEP);
    let ended = {
        let era = async {
            for settle in settle.iter().chain(validators.iter().filter_map(|one| one.settle.as_ref())) {
                settle.era().await;
            }
        };
        tokio::pin!(era);
        loop {
            tokio::select! {
                () = &mut stop => break Ok(Ended::Stopped),
                () = &mut era, if settle.is_some() => break Ok(Ended::Era),
                _ = upkeep.tick() => {
                    metrics.run_upkeep();
                    processes.look();
                    if !l2.node.is_running() || l1.as_ref().is_some_and(|l1| !l1.node.is_running()) {
                        break Err("the engine stopped; the log says why".to_owned());
                    }
                }
            }
        }
    };
    tracing::info!("stopping");
    let stopped = tokio::task::spawn_blocking(move || {
        validators.iter().for_each(validators::Running::stop);
        validators
    });
    drop(stopped.await);
    processes.stop().await;
    drop(settle);
    l2.stop().await?;
    if let Some(l1) = l1 {
        l1.stop().await?;
    }
    ended
}

/// A node and its server.
pub(crate) struct Running {
    pub(crate) node: Arc<Node>,
    pub(crate) server: Server,
}

impl Running {
    async fn stop(self) -> Result<(), String> {
        self.server.stop().await;
        tokio::task::spawn_blocking(move || self.node.stop()).await.map_err(|error| error.to_string())
    }
}

/// Starts a node.
///
/// # Errors
/// In words for the operator.
pub(crate) async fn start_node(config: NodeConfig) -> Result<Arc<Node>, String> {
    let started = tokio::task::spawn_blocking(move || Node::start(config)).await;
    started.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Serves a node: JSON-RPC, health, metrics, and `routes`, those of blobs.
///
/// # Errors
/// In words for the operator.
pub(crate) fn serve(
    node: &Arc<Node>,
    config: ServerConfig,
    methods: Vec<Extension>,
    routes: Router,
    metrics: &PrometheusHandle,
) -> Result<Server, String> {
    let extra = Router::new()
        .route("/health", get(health))
        .with_state(node.clone())
        .merge(routes)
        .merge(Router::new().route("/metrics", get(render_metrics)).with_state(metrics.clone()));
    Server::start(node.clone(), config, methods, extra).map_err(|error| error.to_string())
}

/// Gives a development chain its validators, if it is to have any.
fn elect(
    options: &Options,
    mut spec: ChainSpec,
    datadir: &Path,
    mode: &Mode,
) -> Result<(ChainSpec, Option<Development>), String> {
    let count = options.validators.unwrap_or(0);
    if count == 0 {
        return Ok((spec, None));
    }
    if !matches!(mode, Mode::Dev) {
        return Err("--validators is for jove dev: the chain spec of a node says who the validators are".into());
    }
    let sequencers = options.sequencers.unwrap_or(2).min(count);
    if count > MAX_VALIDATORS || sequencers == 0 {
        return Err(format!("--validators is at most {MAX_VALIDATORS}, --sequencers at least 1"));
    }
    let epoch = options.epoch_length.unwrap_or(validators::DEV_EPOCH);
    if epoch == 0 {
        return Err("--epoch-length is at least 1".into());
    }
    if let Some(settlement) = &spec.settlement {
        return Err(format!("the chain file's validators are those of {}: leave --validators out", settlement.rollup));
    }
    let development = validators::develop(count, sequencers, epoch, datadir, &mut spec)?;
    Ok((spec, Some(development)))
}

/// Whether the chain settles somewhere.
fn settles(options: &Options, spec: &ChainSpec) -> bool {
    !options.no_settlement.unwrap_or(false) && spec.ethereum.is_none()
}

/// Whether a node is in the network of its chain's validators: as one, or as one that follows them.
///
/// # Errors
/// In words, if the chain has no such role.
fn joins_network(options: &Options, mode: &Mode, spec: &ChainSpec) -> Result<bool, String> {
    match options.role {
        Some(Role::Validator | Role::Seed) => Ok(true),
        Some(Role::Sequencer) if spec.validators.is_some() => {
            Err("on this chain validators say who makes blocks: --role validator, or no role to follow them".into())
        }
        None => Ok(matches!(mode, Mode::Node) && spec.validators.is_some()),
        Some(_) => Ok(false),
    }
}

fn check_roles(options: &Options, mode: &Mode) -> Result<(), String> {
    let full = options.role == Some(Role::Full);
    if options.no_settlement == Some(true) && !matches!(mode, Mode::Dev) {
        return Err("--no-settlement is for jove dev: the chain spec of a node says where it settles".into());
    }
    if options.enclave.is_some() && !matches!(mode, Mode::Dev) {
        return Err("--enclave is for jove dev: a node with --prover-listen gets proofs from `jove prover`".into());
    }
    if options.processes == Some(true) && options.validators.unwrap_or(0) == 0 {
        return Err("--processes is for jove dev with --validators".into());
    }
    if matches!(options.role, Some(Role::Validator | Role::Seed)) && !matches!(mode, Mode::Node) {
        return Err("--role validator and --role seed are for jove node: jove dev has --validators".into());
    }
    if options.zk.is_some() && !matches!(mode, Mode::Dev) {
        return Err("--zk is for jove dev: a node with --prover-listen gets proofs from `jove prover --role zk`".into());
    }
    if options.sync_by_proof.is_some() && !full {
        return Err("--sync-by-proof is for a full node: --role full --from-l1".into());
    }
    match (mode, full, options.from_l1.unwrap_or(false)) {
        (Mode::Node, true, true) | (_, false, false) => Ok(()),
        (Mode::Node, true, false) => Err("a full node takes its blocks from L1: --from-l1".into()),
        (Mode::Node, false, true) => Err("only a full node is rebuilt from L1: --role full".into()),
        _ => Err("--role full and --from-l1 are for jove node".into()),
    }
}

pub(crate) fn start_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init()
    } else {
        builder.json().init()
    }
    Ok(())
}

pub(crate) fn start_metrics() -> Result<PrometheusHandle, String> {
    let seconds = [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0];
    // Of checkpoints, in steps of a hundredth: what they take is compared with targets.
    let hundredths: Vec<f64> = (1..=60).map(|step| f64::from(step) / 100.0).chain([0.8, 1.0, 2.0, 5.0, 10.0]).collect();
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("jove_consensus_soft_seconds".into()), &hundredths)
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("jove_consensus_final_seconds".into()), &hundredths)
        })
        .and_then(|builder| builder.install_recorder())
        .map_err(|error| format!("metrics: {error}"))
}

fn chain_spec(options: &Options, mode: &Mode) -> Result<ChainSpec, String> {
    let dev = mode.is_dev();
    let no_l1_fee = options.no_l1_fee.unwrap_or(false);
    if no_l1_fee && !dev {
        return Err("--no-l1-fee is for development chains; set l1Prices in the chain spec".into());
    }
    let mut spec = match &options.chain {
        Some(path) => {
            let json = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            ChainSpec::from_json(&json).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => match mode {
            Mode::Dev => ChainSpec::dev(),
            Mode::L1(spec, _) => spec.as_ref().clone(),
            Mode::Node => return Err("which chain? --chain FILE names its chain spec".into()),
        },
    };
    if spec.ethereum.is_some() != matches!(mode, Mode::L1(..)) {
        return Err("jove l1 runs chains under Ethereum's rules, jove dev and jove node those under Jove's".into());
    }
    spec.development |= dev;
    Ok(if no_l1_fee { spec.without_l1_fee() } else { spec })
}

fn default_datadir(spec: &ChainSpec, mode: &Mode) -> Result<PathBuf, String> {
    let home = std::env::home_dir().ok_or("there is no home directory: --datadir says where to keep the chain")?;
    let name = match mode {
        Mode::Dev => "dev".to_owned(),
        Mode::Node => spec.chain_id.to_string(),
        Mode::L1(..) => "l1".to_owned(),
    };
    Ok(home.join(".jove").join(name))
}

pub(crate) fn node_config(options: &Options, spec: ChainSpec, datadir: PathBuf, mode: &Mode) -> NodeConfig {
    let span = |option: Option<Span>, default: Duration| option.map_or(default, |span| span.0);
    let history = span(options.history, Duration::ZERO);
    NodeConfig {
        elected: spec.validators.is_some(),
        spec,
        block_time: span(options.block_time, Duration::from_millis(10)),
        heartbeat: span(options.heartbeat, Duration::from_secs(60)),
        sync: options.sync.unwrap_or(true),
        sequencing: options.role != Some(Role::Full),
        dev: mode.is_dev(),
        pool: PoolConfig {
            max_per_sender: options.pool_per_sender.unwrap_or(1024),
            max_transactions: options.pool_size.unwrap_or(100_000),
            journal: Some(datadir.join("pool.rlp")),
        },
        history: (!history.is_zero()).then_some(history),
        proof_window: span(options.proof_window, Duration::from_secs(600)),
        l1: match mode {
            Mode::L1(_, l1) => l1.clone(),
            _ => L1Config::default(),
        },
        datadir,
    }
}

pub(crate) fn server_config(options: &Options, datadir: &Path) -> ServerConfig {
    let address = options.http_addr.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut config = ServerConfig {
        http_addr: SocketAddr::new(address, options.http_port.unwrap_or(8545)),
        ipc_path: Some(datadir.join("jove.ipc")),
        ..Default::default()
    };
    if let Some(origins) = &options.http_cors {
        config.cors_origins.clone_from(origins);
    }
    if let Some(hosts) = &options.http_hosts {
        config.allowed_hosts.clone_from(hosts);
    }
    if let Some(rate) = options.rate_limit {
        config.rate_limit = rate;
    }
    if let Some(bytes) = options.max_request {
        config.max_body_bytes = bytes;
    }
    if let Some(most) = options.connections {
        config.max_connections = most;
    }
    if let Some(most) = options.connections_per_address {
        config.max_connections_per_address = most;
    }
    if let Some(bytes) = options.max_unread {
        config.max_unread_bytes = bytes;
    }
    if let Some(bytes) = options.max_unanswered {
        config.max_unanswered_bytes = bytes;
    }
    if let Some(time) = options.request_time {
        config.request_timeout_ms = u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX);
    }
    config
}

/// Ends on Ctrl-C, or when the system asks the process to stop.
pub(crate) fn shutdown_signal() -> Result<impl Future<Output = ()>, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends when standard input does, if that is wanted.
async fn end_of_input(is_wanted: bool) {
    let (ended, end) = tokio::sync::oneshot::channel();
    if is_wanted {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = ended.send(());
        });
        let _ = end.await;
    } else {
        std::future::pending::<()>().await;
    }
}

async fn health(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let head = node.head();
    let running = node.is_running();
    let body = serde_json::json!({
        "status": if running { "ok" } else { "stopped" },
        "chainId": node.spec().chain_id,
        "block": head.header.number,
        "hash": head.hash,
        "ageMs": node.now_ms().saturating_sub(head.time_ms),
    });
    (if running { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

pub(crate) async fn render_metrics(State(metrics): State<PrometheusHandle>) -> String {
    metrics.render()
}

#[allow(clippy::print_stdout)] // what a developer wants to copy
fn announce(running: &Running, l1: Option<&Running>, datadir: &Path, mode: &Mode) {
    let Running { node, server } = running;
    let (head, url) = (node.head(), server.local_addr());
    tracing::info!(chain = %node.spec().name, chain_id = node.spec().chain_id, block = head.header.number, rpc = %url, datadir = %datadir.display(), "ready");
    if !mode.is_dev() {
        return;
    }
    println!("\n  {}, chain id {}, block {}\n", node.spec().name, node.spec().chain_id, head.header.number);
    println!("  RPC      http://{url}  ws://{url}");
    println!("  IPC      {}", datadir.join("jove.ipc").display());
    if matches!(mode, Mode::L1(..)) {
        println!("  Beacon   http://{url}");
    }
    println!("  Metrics  http://{url}/metrics   Health  http://{url}/health\n");
    if let Some(settlement) = &node.spec().settlement {
        if let Some(l1) = l1 {
            let (l1_url, chain_id) = (l1.server.local_addr(), l1.node.spec().chain_id);
            println!("  Layer 1  http://{l1_url}, chain id {chain_id}, beacon endpoints too");
        }
        println!("  Rollup   {}   Inbox  {}", settlement.rollup, settlement.inbox);
        println!("  Bridge   {}   Outbox {}", settlement.bridge, settlement.outbox);
        println!("  Chain    {}\n", datadir.join(settlement::CHAIN_FILE).display());
    }
    let ether = if matches!(mode, Mode::L1(..)) { 1_000_000 } else { 10_000 };
    println!("  Accounts, with {ether} ether each at genesis. Their keys are public: never use them elsewhere.");
    println!("  Mnemonic: {MNEMONIC}\n");
    for (i, (address, key)) in jove_rpc::dev_accounts().into_iter().enumerate() {
        println!("  ({i}) {address}  {key}");
    }
    println!();
}
