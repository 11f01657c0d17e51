//! Jove: an Ethereum layer 2 that one binary runs from end to end.

mod attest;
mod bench;
mod bridge;
mod deploy;
mod dev_enclave;
mod enclave;
mod escape;
mod key;
mod l1;
mod ladder;
mod ledger;
mod node;
mod options;
mod prover;
mod settle;
mod settlement;
mod statetest;
mod validators;
mod verify;
mod zk;

use clap::{Parser, Subcommand};
use node::Mode;
use options::Options;
use std::{path::PathBuf, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Jove: an Ethereum layer 2 that one binary runs from end to end.
#[derive(Parser)]
#[command(version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a development chain: funded accounts, development methods, everything on this machine
    Dev(Run),
    /// Run a chain's sequencer
    Node(Run),
    /// Run a layer 1 to develop against: Ethereum's rules, blobs, beacon endpoints
    L1(L1),
    /// Put a chain's contracts on L1 and write its chain file; the same command goes on after an interruption
    Deploy(Box<deploy::Options>),
    /// Print who can do what on a deployed chain, with which delay, in Markdown
    Risks(deploy::RisksOptions),
    /// Enclaves that prove: put in collateral, register keys, see and change what the chain believes
    Attest(Box<attest::Options>),
    /// Move ether and tokens between L1 and the chain
    Bridge(bridge::Options),
    /// Leave a chain that nobody runs any more: halt it on L1, and take what is yours by proof
    Escape(escape::Options),
    /// Start the program that proves batches in a trusted execution environment, and keep it alive
    Enclave(enclave::Options),
    /// Prove batches for a node, on this machine or another
    Prover(Box<prover::Options>),
    /// Verify what is proven of a batch in zero knowledge, by a node's answer or a file
    Verify(verify::Options),
    /// A validator's keys, and where it stands
    Validator(validators::command::Options),
    /// The ledger of final blocks: check proofs and folders without a node, get a proof from one
    Ledger(ledger::Options),
    /// Measure a node in this process: transactions per second, latency, and where the time goes
    Bench(bench::Options),
    /// Run Ethereum state tests from a file or folder
    Statetest {
        /// A JSON file, or a folder of them
        path: PathBuf,
        /// Write the cases into this folder, as inputs of the zkVM's guest that is for checks
        #[arg(long, value_name = "DIR")]
        guest_inputs: Option<PathBuf>,
        /// Write one case in so many
        #[arg(long, value_name = "N", default_value_t = 1, requires = "guest_inputs")]
        one_in: u64,
    },
}

#[derive(clap::Args)]
struct Run {
    /// TOML file with any of the options below
    #[arg(long, env = "JOVE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
struct L1 {
    /// TOML file with any of the options below
    #[arg(long, env = "JOVE_L1_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: l1::Options,
}

fn main() -> ExitCode {
    without_huge_pages();
    let outcome = match Cli::parse().command {
        Command::Dev(run) => run.options.with_file(run.config.as_ref()).and_then(|run| node::run(run, Mode::Dev)),
        Command::Node(run) => run.options.with_file(run.config.as_ref()).and_then(|run| node::run(run, Mode::Node)),
        Command::L1(run) => run.options.with_file(run.config.as_ref()).and_then(l1::run),
        Command::Deploy(options) => deploy::run(&options),
        Command::Risks(options) => deploy::risks(&options),
        Command::Attest(options) => attest::run(&options),
        Command::Bridge(options) => bridge::run(&options),
        Command::Escape(options) => escape::run(&options),
        Command::Enclave(options) => enclave::run(&options),
        Command::Prover(options) => prover::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Validator(options) => validators::command::run(&options),
        Command::Ledger(options) => ledger::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Statetest { path, guest_inputs, one_in } => {
            run_state_tests(&path, guest_inputs.map(|folder| statetest::Inputs::new(folder, one_in)))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jove: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has the system keep this process's memory in small pages. In huge ones a buffer that a client fills with a few bytes takes 2 MiB, of which
/// no budget knows, and memory that is given back piece by piece stays.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        eprintln!("jove: cannot turn huge pages off, idle connections may take more memory than configured: {error}");
    }
}

#[allow(clippy::print_stdout)] // the result is what it prints
fn run_state_tests(path: &std::path::Path, inputs: Option<statetest::Inputs>) -> Result<(), String> {
    let summary = statetest::run(path, inputs.as_ref()).map_err(|error| format!("{}: {error}", path.display()))?;
    for (name, reason) in &summary.failed {
        println!("FAIL {name}: {reason}");
    }
    println!("{} passed, {} failed", summary.passed, summary.failed.len());
    if summary.failed.is_empty() && summary.passed > 0 { Ok(()) } else { Err("state tests failed".into()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn huge_pages_are_turned_off() {
        super::without_huge_pages();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().expect("readable"));
    }
}
