//! `jove-zk`: proves in zero knowledge, with OpenVM.
//!
//! Each stage is a command, and so a process of its own: it reads what the stage before left in the job's folder, leaves its own there, whole or not at all, and
//! gives all its memory back. What is there is not made again, so whatever was interrupted goes on. On standard output there is a JSON object a line: how far a
//! stage is, and at its end what came of it, its seconds and its peak of memory. `jove` starts the stages; nothing here waits for a person. Whoever writes into a folder has
//! it alone meanwhile, by a lock on its file `lock`.
//!
//! ```text
//! commit ─ params ─ root-key ─ sample ─ circuit        once: what is in the folder of keys
//! execute                                              without proving
//! app ─► aggregate ─► root ─► wrap                     a job: input ─► segments ─► one STARK ─► the same under another hash ─► the proof for Ethereum
//!             └─► verify
//! ```

mod error;
mod files;
mod memory;
mod params;
mod stark;
mod verifier;
mod vm;
mod wrap;

use clap::{Parser, Subcommand};
pub use error::Error;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use vm::{Keys, Program};

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

/// How long a stage waits for another one in its folder: one whose `jove` was killed is about to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prove in zero knowledge, stage by stage.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Memory for what is large, in GiB; more than that lies in a file [default: what is available less 2]
    #[arg(long, global = true, value_name = "GIB")]
    memory: Option<usize>,
    /// Where that file is
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    spill: PathBuf,
    /// Stop when standard input ends, so that this ends with whoever started it
    #[arg(long, global = true)]
    stop_with_stdin: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the program on each of these inputs, without proving
    Execute {
        #[command(flatten)]
        program: Program,
        /// What its hash maps are seeded with
        #[arg(long, default_value_t = 0)]
        seed: u32,
        /// What the program reads
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
    },
    /// Prove the segments of an execution
    App {
        #[command(flatten)]
        program: Program,
        /// The job's folder
        job: PathBuf,
    },
    /// Make one STARK of the segments' proofs
    Aggregate {
        #[command(flatten)]
        program: Program,
        /// The job's folder
        job: PathBuf,
    },
    /// Verify a STARK, and tell its statement
    Verify {
        /// What `commit` wrote of the program
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The proof
        proof: PathBuf,
    },
    /// Prove the STARK's verification under the hash of the circuit
    Root {
        #[command(flatten)]
        program: Program,
        #[command(flatten)]
        keys: Keys,
        /// The job's folder
        job: PathBuf,
    },
    /// Make the proof that Ethereum verifies
    Wrap {
        #[command(flatten)]
        keys: Keys,
        /// The job's folder
        job: PathBuf,
    },
    /// Write what STARKs of the program are verified with, and tell the commitments of program and VM
    Commit {
        #[command(flatten)]
        program: Program,
        /// The file
        key: PathBuf,
    },
    /// Take a ceremony's parameters, or make unsafe ones for development
    Params {
        #[command(flatten)]
        keys: Keys,
        /// The ceremony's file: kzg_bn254_23.srs
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Make the root's key
    RootKey {
        #[command(flatten)]
        program: Program,
        #[command(flatten)]
        keys: Keys,
    },
    /// Prove a program that does nothing, to make the circuit from
    Sample {
        #[command(flatten)]
        program: Program,
        #[command(flatten)]
        keys: Keys,
    },
    /// Make the circuit's key
    Circuit {
        #[command(flatten)]
        keys: Keys,
    },
    /// Print the contract that the library generates for the circuit, or the protocol that it is of
    Generated {
        #[command(flatten)]
        keys: Keys,
        /// The protocol, as JSON
        #[arg(long)]
        protocol: bool,
    },
}

impl Command {
    /// The folder that it writes into.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::App { job, .. } | Self::Aggregate { job, .. } | Self::Root { job, .. } | Self::Wrap { job, .. } => {
                Some(job.as_path())
            }
            Self::Params { keys, .. }
            | Self::RootKey { keys, .. }
            | Self::Sample { keys, .. }
            | Self::Circuit { keys } => Some(keys.keys.as_path()),
            Self::Commit { key, .. } => key.parent(),
            Self::Execute { .. } | Self::Verify { .. } | Self::Generated { .. } => None,
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    const GIB: usize = 1 << 30;
    let _lock = cli.command.folder().map(|folder| files::lock(folder, PATIENCE)).transpose()?;
    let budget = cli.memory.map_or_else(|| memory::available().saturating_sub(2 * GIB), |memory| memory * GIB);
    memory::set_budget(budget, &cli.spill).map_err(Error::Memory)?;
    match cli.command {
        Command::Execute { program, seed, inputs } => stark::execute(&program, seed, &inputs),
        Command::App { program, job } => stark::app(&program, &job),
        Command::Aggregate { program, job } => stark::aggregate(&program, &job),
        Command::Verify { key, proof } => stark::verify(&key, &proof),
        Command::Root { program, keys, job } => stark::root(&program, &keys, &job),
        Command::Wrap { keys, job } => wrap::wrap(&keys, &job),
        Command::Commit { program, key } => stark::commit(&program, &key),
        Command::Params { keys, file: Some(file) } => params::import(&keys, &file),
        Command::Params { keys, file: None } => params::make(&keys),
        Command::RootKey { program, keys } => stark::root_key(&program, &keys),
        Command::Sample { program, keys } => wrap::sample(&program, &keys),
        Command::Circuit { keys } => wrap::circuit(&keys),
        Command::Generated { keys, protocol } => wrap::generated(&keys, protocol),
    }
}

/// Ends this process once standard input has ended, without a word: whoever could hear it is gone.
fn end_with_input() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::exit(1);
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.stop_with_stdin {
        std::thread::spawn(end_with_input);
    }
    if let Err(error) = files::take_output() {
        eprintln!("jove-zk: standard output: {error}");
        return ExitCode::FAILURE;
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jove-zk: {error}");
            ExitCode::FAILURE
        }
    }
}
