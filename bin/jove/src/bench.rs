//! `jove bench`: what a node does, measured.
//!
//! For every workload, way in and mode, it starts a node with a fresh chain in this process, sets the chain up, and sends
//! transactions that were signed before. It shows transactions per second, from the first handed over to the last in a durable block;
//! latency, from the moment a transaction's batch is handed over to the event of its block; and the time of each stage, from the
//! node's own metrics, divided by the number of transactions. A transaction that is refused or fails ends the run.
//!
//! `--witness` measures instead what it takes to prove the load as a batch ([`witness`]).
//!
//! Sender and node share the machine's cores. The chain is the development chain with a gas budget so large that neither it nor
//! the base fee is a limit; the block gas limit is the same.

mod drive;
mod witness;
mod workload;

use crate::node;
use drive::{Target, drive};
use jove_primitives::ChainSpec;
use jove_rpc::{Server, ServerConfig};
use jove_sequencer::{L1Config, Node, NodeConfig, PoolConfig};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use workload::{Load, Workload};

/// Transactions of one batch while a chain is set up.
const SETUP_BATCH: usize = 100;
/// Batches per second at a fixed rate, unless that makes them larger than asked for: a large batch would wait for itself.
const PACED_BATCHES: u64 = 200;
/// Histograms whose sums are shown: recovery, execution, root, persisting.
const STAGES: [&str; 4] =
    ["jove_pool_recovery_seconds", "jove_execution_seconds", "jove_root_seconds", "jove_persist_seconds"];

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// What the transactions do
    #[arg(long, default_value = "all", value_name = "transfer|erc20|swap|all", value_parser = workloads)]
    workload: Several<Workload>,
    /// How they come in: to the pool at once, or as JSON-RPC batches over HTTP
    #[arg(long, default_value = "all", value_name = "engine|http|all", value_parser = ways)]
    via: Several<Via>,
    /// As fast as they are taken, or at a fixed rate
    #[arg(long, default_value = "all", value_name = "saturate|paced|all", value_parser = modes)]
    mode: Several<Mode>,
    /// Transactions of each run
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    transactions: u32,
    /// Accounts that send them
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    senders: u32,
    /// Most transactions handed over together
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Transactions per second at a fixed rate
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// Whether each block is synced to disk before anyone learns of it
    #[arg(long, default_value_t = true, value_name = "BOOL", action = clap::ArgAction::Set)]
    sync: bool,
    /// Folder for the chains, which are removed in the end [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure what it takes to prove the load as one batch: its witness, and executing on that over executing as a node does
    #[arg(long, conflicts_with_all = ["via", "mode", "rate", "json"])]
    witness: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// One or all of a kind.
#[derive(Clone, Copy, Debug)]
struct Several<T: 'static>(&'static [T]);

fn choose<T: fmt::Display>(all: &'static [T], text: &str) -> Result<Several<T>, String> {
    if text == "all" {
        return Ok(Several(all));
    }
    match all.iter().position(|one| one.to_string() == text) {
        Some(at) => Ok(Several(&all[at..=at])),
        None => Err("there is none of this name".to_owned()),
    }
}

fn workloads(text: &str) -> Result<Several<Workload>, String> {
    choose(Workload::ALL, text)
}

fn ways(text: &str) -> Result<Several<Via>, String> {
    choose(&[Via::Engine, Via::Http], text)
}

fn modes(text: &str) -> Result<Several<Mode>, String> {
    choose(&[Mode::Saturate, Mode::Paced], text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Engine,
    Http,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Http => "http",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Saturate,
    Paced,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Saturate => "saturate",
            Self::Paced => "paced",
        })
    }
}

/// Where and how it was measured.
#[derive(Serialize)]
struct Setting {
    cpu: String,
    cores: usize,
    dir: PathBuf,
    fdatasync_us: f64,
    sync: bool,
    transactions: u32,
    senders: u32,
    batch: u32,
    rate: u64,
    gas_target_per_second: u64,
    block_gas_limit: u64,
}

/// One run.
#[derive(Serialize)]
struct Row {
    workload: String,
    via: String,
    mode: String,
    tps: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    blocks: usize,
    transactions_per_block: f64,
    /// Of each transaction on average, in wall-clock time: one number for each of [`STAGES`].
    stages_us: [f64; STAGES.len()],
}

/// Runs what was asked for and prints it.
///
/// # Errors
/// In words, if a node does not start, or a transaction is refused or fails.
#[allow(clippy::print_stdout)] // the result is what it prints
pub(crate) fn run(options: &Options) -> Result<(), String> {
    node::start_log("warn")?;
    let metrics = node::start_metrics()?;
    let runtime = Runtime::new().map_err(|error| format!("cannot start the runtime: {error}"))?;
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    if options.witness {
        println!("{}", witness::run(options, &dir, &runtime)?);
        return Ok(());
    }
    let fdatasync = fdatasync_median(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut gas = None;
    let mut rows = Vec::new();
    for workload in options.workload.0 {
        eprintln!("{workload}: signing {} transactions", options.transactions);
        let load = Load::sign(*workload, options.transactions as usize, options.senders as usize)?;
        gas = Some(load.spec.gas);
        for via in options.via.0 {
            for mode in options.mode.0 {
                eprintln!("{workload}, {via}, {mode}");
                let row = measure(options, &dir, &runtime, &metrics, &load, *via, *mode);
                let (tps, latencies, blocks, stages_us) =
                    row.map_err(|error| format!("{workload}, {via}, {mode}: {error}"))?;
                rows.push(Row {
                    workload: workload.to_string(),
                    via: via.to_string(),
                    mode: mode.to_string(),
                    tps,
                    latency_p50_ms: quantile_ms(&latencies, 50),
                    latency_p99_ms: quantile_ms(&latencies, 99),
                    latency_max_ms: quantile_ms(&latencies, 100),
                    blocks,
                    transactions_per_block: latencies.len() as f64 / blocks.max(1) as f64,
                    stages_us,
                });
            }
        }
    }
    let setting = Setting {
        cpu: cpu_model(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        dir,
        fdatasync_us: micros(fdatasync),
        sync: options.sync,
        transactions: options.transactions,
        senders: options.senders,
        batch: options.batch,
        rate: options.rate,
        gas_target_per_second: gas.map_or(0, |gas| gas.target_per_second),
        block_gas_limit: gas.map_or(0, |gas| gas.block_gas_limit),
    };
    if options.json {
        let result = serde_json::json!({ "setting": setting, "rows": rows });
        println!("{result:#}");
    } else {
        println!("{}", table(&setting, &rows));
    }
    Ok(())
}

type Measured = (f64, Vec<Duration>, usize, [f64; STAGES.len()]);

/// Starts a node, sets its chain up, and sends it the load: transactions per second, latencies, blocks, stages.
fn measure(
    options: &Options,
    dir: &Path,
    runtime: &Runtime,
    metrics: &PrometheusHandle,
    load: &Load,
    via: Via,
    mode: Mode,
) -> Result<Measured, String> {
    let folder = tempfile::Builder::new().prefix("jove-bench.").tempdir_in(dir).map_err(|error| error.to_string())?;
    let (count, senders) = (load.transactions.len(), options.senders as usize);
    let node = start_node(options, folder.path(), &load.spec, count)?;
    let engine = Target::Engine(node.clone());
    for transactions in &load.setup {
        drive(&node, runtime.handle(), &engine, transactions, 1, SETUP_BATCH, None)
            .map_err(|error| format!("setup: {error}"))?;
    }

    let (target, server) = match via {
        Via::Engine => (engine, None),
        Via::Http => {
            let server = start_server(&node, runtime, options.batch as usize)?;
            (Target::Http(format!("http://{}", server.local_addr())), Some(server))
        }
    };
    let (batch, rate) = match mode {
        Mode::Saturate => (options.batch, None),
        Mode::Paced => {
            let small = u32::try_from(options.rate / PACED_BATCHES).unwrap_or(u32::MAX);
            (small.clamp(1, options.batch), Some(options.rate))
        }
    };
    let before = stages(metrics);
    let outcome = drive(&node, runtime.handle(), &target, &load.transactions, senders, batch as usize, rate);
    let after = stages(metrics);
    if let Some(server) = server {
        runtime.block_on(server.stop());
    }
    node.stop();
    let outcome = outcome?;

    let tps = count as f64 / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut each = [0.0; STAGES.len()];
    for (i, micros) in each.iter_mut().enumerate() {
        *micros = (after[i] - before[i]) * 1e6 / count as f64;
    }
    Ok((tps, outcome.latencies, outcome.blocks, each))
}

/// A node with room for `count` transactions in its pool.
fn start_node(options: &Options, folder: &Path, spec: &ChainSpec, count: usize) -> Result<Arc<Node>, String> {
    Node::start(NodeConfig {
        datadir: folder.to_owned(),
        spec: spec.clone(),
        block_time: Duration::from_millis(10),
        heartbeat: Duration::ZERO,
        sync: options.sync,
        sequencing: true,
        elected: false,
        dev: false,
        // Room for all of them.
        pool: PoolConfig {
            max_per_sender: count + 1_000,
            max_transactions: 2 * count + 10_000,
            journal: Some(folder.join("pool.rlp")),
        },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    })
    .map_err(|error| error.to_string())
}

fn start_server(node: &Arc<Node>, runtime: &Runtime, batch: usize) -> Result<Server, String> {
    let defaults = ServerConfig::default();
    let config = ServerConfig {
        http_addr: ([127, 0, 0, 1], 0).into(),
        max_batch: defaults.max_batch.max(batch),
        max_body_bytes: defaults.max_body_bytes.max(batch * 2048),
        ..defaults
    };
    let _within = runtime.enter();
    Server::start(node.clone(), config, Vec::new(), axum::Router::new()).map_err(|error| error.to_string())
}

/// Seconds that each stage has taken so far.
fn stages(metrics: &PrometheusHandle) -> [f64; STAGES.len()] {
    let text = metrics.render();
    STAGES.map(|name| {
        let sum = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("_sum ")?.trim().parse().ok());
        sum.unwrap_or(0.0)
    })
}

/// The latency that `percent` of all do not exceed (nearest rank).
fn quantile_ms(ascending: &[Duration], percent: usize) -> f64 {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Median time that the disk under `dir` takes to make a small append durable.
fn fdatasync_median(dir: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile_in(dir)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        file.write_all(&[7; 256])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// A Markdown table, and what it was measured on.
fn table(setting: &Setting, rows: &[Row]) -> String {
    let mut text = format!(
        "{}, {} cores; blocks {}; fdatasync of a small append {:.0} µs (median) in {}.\n\
         {} transactions by {} senders, in batches of {} over 4 lanes; paced: {} per second. Sender and node share the cores.\n\
         Block time 10 ms, block gas limit {} Mgas; the gas target, {} Ggas/s, is set so high that it is no limit.\n\n\
         | workload | via | mode | TPS | p50 ms | p99 ms | max ms | blocks | tx/block | recovery µs | execution µs | root µs | persist µs |\n\
         |---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        setting.cpu,
        setting.cores,
        if setting.sync { "synced" } else { "not synced" },
        setting.fdatasync_us,
        setting.dir.display(),
        setting.transactions,
        setting.senders,
        setting.batch,
        setting.rate,
        setting.block_gas_limit / 1_000_000,
        setting.gas_target_per_second / 1_000_000_000,
    );
    for row in rows {
        let [recovery, execution, root, persist] = row.stages_us;
        text.push_str(&format!(
            "| {} | {} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {:.0} | {recovery:.1} | {execution:.1} | {root:.1} | {persist:.1} |\n",
            row.workload,
            row.via,
            row.mode,
            row.tps,
            row.latency_p50_ms,
            row.latency_p99_ms,
            row.latency_max_ms,
            row.blocks,
            row.transactions_per_block,
        ));
    }
    text.push_str("\nStages are wall-clock time divided by the number of transactions; recovery runs on all cores, aside of blocks.");
    text
}
