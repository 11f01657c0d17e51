//! `jove prover`: proves batches for a controller, which is a node with `--prover-listen`, on this machine or another; `jove prover setup` prepares this machine to
//! prove in zero knowledge.

use crate::{
    deploy::runtime,
    enclave,
    node::{shutdown_signal, start_log},
    zk,
};
use jove_enclave::Enclave;
use jove_prover::{Link, Secret, Worker, ZkWorker, run as work, run_zk};
use jove_settlement::http;
use parking_lot::Mutex;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// For a connection to the controller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// By an enclave
    Tee,
    /// In zero knowledge
    Zk,
}

/// For whom, and with what.
#[derive(clap::Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Prepare this machine to prove in zero knowledge: program, parameters, keys; the same command goes on after an interruption
    Setup(zk::Setup),
}

#[derive(clap::Args, Clone, Debug)]
struct Run {
    /// Which proofs
    #[arg(long, env = "JOVE_PROVER_ROLE", value_enum, default_value_t = Role::Tee)]
    role: Role,
    /// URL of the controller
    #[arg(long, env = "JOVE_PROVER_CONTROLLER", value_name = "URL", default_value = "http://127.0.0.1:8590")]
    controller: String,
    /// File with the secret that the controller shares with its provers: 64 hexadecimal digits
    #[arg(long, env = "JOVE_PROVER_SECRET_FILE", value_name = "FILE", required = true)]
    secret_file: Option<PathBuf>,
    /// Name of this prover, of which there must be no other [default: the machine's name and the process's number]
    #[arg(long, env = "JOVE_PROVER_NAME", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    enclave: enclave::Program,
    #[command(flatten)]
    zk: zk::Program,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, env = "JOVE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Proves until it is told to stop; or prepares.
///
/// # Errors
/// In words, if the program or the secret cannot be had.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.command {
        Some(Command::Setup(setup)) => zk::setup(setup),
        None => prove(&options.run),
    }
}

fn prove(options: &Run) -> Result<(), String> {
    start_log(&options.log)?;
    let file = options.secret_file.as_deref().ok_or("which secret? --secret-file")?;
    let secret = Secret::of_file(file, false).map_err(|error| error.to_string())?;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = || format!("{:.40}/{}", machine.trim(), std::process::id());
    let name = options.name.clone().unwrap_or_else(name);
    let link = link(options.controller.clone(), secret, name)?;
    let (tee, zk) = match options.role {
        Role::Tee => (Some(Worker { link, enclave: Arc::new(Mutex::new(options.enclave.start()?)) }), None),
        Role::Zk => (None, Some(ZkWorker { link, backend: options.zk.ready()? })),
    };
    runtime()?.block_on(async {
        let stop = shutdown_signal()?;
        let work = async {
            match (tee, zk) {
                (Some(worker), _) => work(worker).await,
                (_, Some(worker)) => run_zk(worker).await,
                _ => {}
            }
        };
        tokio::select! {
            () = stop => {}
            () = work => {}
        }
        Ok(())
    })
}

/// A way to this controller.
///
/// # Errors
/// In words, if no connection could be made.
pub(crate) fn link(controller: String, secret: Secret, name: String) -> Result<Link, String> {
    secret.token(&name).map_err(|error| error.to_string())?;
    let client = http::client().connect_timeout(CONNECT_TIMEOUT).build();
    let client = client.map_err(|error| error.without_url().to_string())?;
    Ok(Link { controller: controller.trim_end_matches('/').to_owned(), secret, name, client })
}

/// A prover with this enclave.
///
/// # Errors
/// In words, if no connection could be made.
pub(crate) fn worker(controller: String, secret: Secret, name: String, enclave: Enclave) -> Result<Worker, String> {
    Ok(Worker { link: link(controller, secret, name)?, enclave: Arc::new(Mutex::new(enclave)) })
}
