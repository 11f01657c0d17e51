//! `jove validator`: keys of a validator or a Seed Node, a validator's place on L1, and where it stands.

use super::{keys::Keys, seed};
use crate::{
    deploy::{read_spec, runtime},
    key,
};
use alloy_primitives::{Address, B256, Bytes, U256, utils::parse_ether};
use alloy_sol_types::SolCall;
use jove_network::Identity;
use jove_primitives::spec::{GenesisSeed, GenesisValidator};
use jove_settlement::{
    L1, Wallet,
    contracts::{ValidatorAuthority, ValidatorRegistry, ask},
    validators::keys,
    wallet::Call,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a validator's keys, where there are none, and print what a chain file says of it (validators.genesis; of a Seed Node: seeds)
    Init {
        /// Make a Seed Node's keys: it reports on validators, and its account pays for that
        #[arg(long, conflicts_with = "sequencer")]
        seed: bool,
        /// Data directory of the validator, or Seed Node
        #[arg(long, env = "JOVE_DATADIR", value_name = "DIR")]
        datadir: PathBuf,
        /// It makes blocks too, when its turn comes
        #[arg(long)]
        sequencer: bool,
        /// Where others reach it, such as /dns4/validator.example/tcp/9000; may be repeated
        #[arg(long, value_name = "MULTIADDR")]
        address: Vec<jove_network::Multiaddr>,
    },
    /// Register on L1 with a bond: the validator is in the set of the epoch after the next
    Register {
        #[command(flatten)]
        place: OnL1,
        #[command(flatten)]
        role: OnDuty,
        /// The bond, in ether [default: the least that the chain asks for]
        #[arg(long, value_name = "ETHER", value_parser = ether)]
        bond: Option<U256>,
    },
    /// Change keys, peer id, operator, or whether it makes blocks, on L1
    Update {
        #[command(flatten)]
        place: OnL1,
        #[command(flatten)]
        role: OnDuty,
    },
    /// Leave: the validator is out of the set of the epoch after the next. It votes until then
    Exit {
        #[command(flatten)]
        place: OnL1,
    },
    /// Take the bond back, once it is free
    Withdraw {
        #[command(flatten)]
        place: OnL1,
    },
    /// Take what L1 owes to the account: shares of bonds of those whom it reported
    Claim {
        #[command(flatten)]
        place: OnL1,
    },
    /// Print where a validator stands
    Status {
        /// JSON-RPC of its node
        #[arg(long, env = "JOVE_RPC_URL", default_value = "http://127.0.0.1:8545", value_name = "URL")]
        rpc_url: String,
    },
}

/// Which validator, on which L1, by which account.
#[derive(clap::Args)]
struct OnL1 {
    /// Data directory of the validator, with its keys
    #[arg(long, env = "JOVE_DATADIR", value_name = "DIR")]
    datadir: PathBuf,
    /// The chain file, as jove deploy writes it
    #[arg(long, env = "JOVE_CHAIN", value_name = "FILE", default_value = "chain.json")]
    chain: PathBuf,
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
}

/// What a validator registers besides its keys.
#[derive(clap::Args)]
struct OnDuty {
    /// It makes blocks too, when its turn comes
    #[arg(long)]
    sequencer: bool,
    /// The account that brings batches to L1, if it makes blocks [default: the account that registers]
    #[arg(long, value_name = "ADDRESS")]
    operator: Option<Address>,
}

fn ether(text: &str) -> Result<U256, String> {
    parse_ether(text).map_err(|error| format!("{text:?} is not an amount of ether: {error}"))
}

/// A validator's keys, and its identity in the network.
fn secrets(datadir: &Path, key_file: &str) -> Result<(Keys, Identity), String> {
    let keys = Keys::of_file(&datadir.join(key_file))?;
    let identity = Identity::load_or_create(&datadir.join(super::PEER_FILE)).map_err(|error| error.to_string())?;
    Ok((keys, identity))
}

impl OnL1 {
    /// Sends one call of the chain's registry, which `call` makes of the validator's id, the keys that it registers and the account.
    #[allow(clippy::print_stdout)] // what was asked for
    fn send<C: SolCall>(
        &self,
        what: &str,
        sequencer: bool,
        value: impl AsyncFnOnce(&L1, Address) -> Result<U256, jove_settlement::Error>,
        call: impl FnOnce(B256, ValidatorRegistry::Keys, Address) -> C,
    ) -> Result<(), String> {
        let words = |error: jove_settlement::Error| error.to_string();
        let spec = read_spec(&self.chain)?;
        let settlement = spec.settlement.filter(|_| spec.validators.is_some());
        let authority = settlement.ok_or("the chain file names no validators on L1")?.authority;
        if !self.datadir.join(super::KEY_FILE).exists() {
            return Err(format!("{}: there are no keys; jove validator init makes them", self.datadir.display()));
        }
        let (secrets, identity) = secrets(&self.datadir, super::KEY_FILE)?;
        let peer = Bytes::from(identity.peer().to_bytes());
        let registered = keys(&secrets.signer()?, sequencer, peer).map_err(words)?;
        let key = self.key.key()?;
        let data = call(secrets.id(), registered, key.address()).abi_encode().into();
        runtime()?.block_on(async {
            let wallet = Wallet::new(L1::new(&self.l1_url).map_err(words)?, key).await.map_err(words)?;
            let value = value(wallet.node(), authority).await.map_err(words)?;
            let call = Call { what: what.into(), to: authority, value, data };
            let receipts = wallet.send(&[call], |_, _| {}).await.map_err(words)?;
            for receipt in receipts {
                let (id, hash) = (secrets.id(), receipt.transaction_hash);
                println!("{what}: validator {id}, L1 block {}, transaction {hash}", receipt.block_number);
            }
            Ok(())
        })
    }
}

async fn nothing(_: &L1, _: Address) -> Result<U256, jove_settlement::Error> {
    Ok(U256::ZERO)
}

/// Runs it.
///
/// # Errors
/// In words for the operator, which never repeat a secret.
#[allow(clippy::print_stdout)] // what was asked for
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.command {
        Command::Init { seed, datadir, sequencer, address } => {
            std::fs::create_dir_all(datadir).map_err(|error| format!("{}: {error}", datadir.display()))?;
            let addresses = address.iter().map(ToString::to_string).collect();
            let entry = if *seed {
                let (keys, identity) = secrets(datadir, seed::KEY_FILE)?;
                serde_json::to_string_pretty(&GenesisSeed { addresses, ..keys.seed_entry(&identity)? })
            } else {
                let (keys, identity) = secrets(datadir, super::KEY_FILE)?;
                serde_json::to_string_pretty(&GenesisValidator { addresses, ..keys.entry(&identity, *sequencer)? })
            };
            println!("{}", entry.map_err(|error| error.to_string())?);
            Ok(())
        }
        Command::Register { place, role, bond } => {
            let bond = async |l1: &L1, authority| match bond {
                Some(bond) => Ok(*bond),
                None => ask(l1, authority, &ValidatorAuthority::minBondCall {}).await,
            };
            place.send("registered", role.sequencer, bond, |id, keys, account| ValidatorAuthority::registerCall {
                id,
                operator: role.operator.unwrap_or(account),
                keys,
            })
        }
        Command::Update { place, role } => place.send("updated", role.sequencer, nothing, |id, keys, account| {
            ValidatorAuthority::updateCall { id, operator: role.operator.unwrap_or(account), keys }
        }),
        Command::Exit { place } => place.send("left", false, nothing, |id, _, _| ValidatorAuthority::exitCall { id }),
        Command::Withdraw { place } => {
            place.send("withdrawn", false, nothing, |id, _, _| ValidatorAuthority::withdrawCall { id })
        }
        Command::Claim { place } => place.send("claimed", false, nothing, |_, _, _| ValidatorAuthority::claimCall {}),
        Command::Status { rpc_url } => {
            let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
            let answer: Value = runtime
                .block_on(async { L1::new(rpc_url)?.request("jove_validators", json!([])).await })
                .map_err(|error| error.to_string())?;
            let status = &answer["status"];
            let text = |value: &Value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            for (name, value) in [
                ("era", &answer["era"]),
                ("epoch", &status["epoch"]),
                ("view", &status["view"]),
                ("height", &status["height"]),
                ("certified block", &status["block"]),
                ("index", &status["index"]),
                ("leading", &status["leading"]),
                ("signed last", &status["signers"]),
                ("quorum", &answer["quorum"]),
                ("views skipped", &status["skipped"]),
                ("why", &status["whySkipped"]),
                ("halted", &status["halted"]),
                ("failed", &status["failed"]),
            ] {
                println!("{name:<16} {}", text(value));
            }
            Ok(())
        }
    }
}
