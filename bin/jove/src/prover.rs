//! `jove prover`: proves batches for a controller, which is a node with `--prover-listen`, on this machine or another.

use crate::{
    deploy::runtime,
    enclave,
    node::{shutdown_signal, start_log},
};
use jove_enclave::Enclave;
use jove_prover::{Secret, Worker, run as work};
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
}

/// For whom, and with what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which proofs
    #[arg(long, env = "JOVE_PROVER_ROLE", value_enum, default_value_t = Role::Tee)]
    role: Role,
    /// URL of the controller
    #[arg(long, env = "JOVE_PROVER_CONTROLLER", value_name = "URL", default_value = "http://127.0.0.1:8590")]
    controller: String,
    /// File with the secret that the controller shares with its provers: 64 hexadecimal digits
    #[arg(long, env = "JOVE_PROVER_SECRET_FILE", value_name = "FILE")]
    secret_file: PathBuf,
    /// Name of this prover, of which there must be no other [default: the machine's name and the process's number]
    #[arg(long, env = "JOVE_PROVER_NAME", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    enclave: enclave::Program,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, env = "JOVE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Proves until it is told to stop.
///
/// # Errors
/// In words, if the program or the secret cannot be had.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    start_log(&options.log)?;
    let Role::Tee = options.role;
    let secret = Secret::of_file(&options.secret_file, false).map_err(|error| error.to_string())?;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = || format!("{:.40}/{}", machine.trim(), std::process::id());
    let name = options.name.clone().unwrap_or_else(name);
    let worker = worker(options.controller.clone(), secret, name, options.enclave.start()?)?;
    runtime()?.block_on(async {
        let stop = shutdown_signal()?;
        tokio::select! {
            () = stop => {}
            () = work(worker) => {}
        }
        Ok(())
    })
}

/// A prover with this enclave.
///
/// # Errors
/// In words, if no connection could be made.
pub(crate) fn worker(controller: String, secret: Secret, name: String, enclave: Enclave) -> Result<Worker, String> {
    secret.token(&name).map_err(|error| error.to_string())?;
    let client = http::client().connect_timeout(CONNECT_TIMEOUT).build();
    let client = client.map_err(|error| error.without_url().to_string())?;
    let controller = controller.trim_end_matches('/').to_owned();
    Ok(Worker { controller, secret, name, client, enclave: Arc::new(Mutex::new(enclave)) })
}
