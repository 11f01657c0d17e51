//! `jove bridge`: deposits, withdrawals, and what became of them.

use crate::{
    deploy::{read_spec, runtime},
    key,
    node::start_log,
    options::Span,
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, TxHash, U256, utils::format_ether};
use alloy_sol_types::SolEvent;
use jove_primitives::predeploys;
use jove_settlement::{
    Error, L1, Wallet,
    bridge::{Crossing, Deposit, Withdrawal, deposits, messages},
    contracts::{Bridge, Erc20, Inbox, L2Bridge, Outbox, Pause, Phase, Rollup, ask},
    deploy::genesis,
    wallet::{Call, Receipt},
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Time between two looks at the chains while waiting.
const POLL: Duration = Duration::from_millis(500);
/// Gas that a withdrawal's call on L1 gets at least: an account without code needs none.
const CALL_GAS: u64 = 0;

/// What is done, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    nodes: Nodes,
    #[command(subcommand)]
    command: Command,
}

/// Where the two sides of a chain are.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Nodes {
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
    /// JSON-RPC of a node of the chain
    #[arg(
        long,
        env = "JOVE_L2_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8545",
        global = true
    )]
    l2_url: String,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, env = "JOVE_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub(crate) log: String,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Move ether or tokens from L1 to the chain
    Deposit(Transfer),
    /// Move ether or tokens from the chain to L1
    Withdraw(Transfer),
    /// Execute a withdrawal on L1 that is final, or try it again
    Claim(Claim),
    /// Have L1 take the root that proves a final withdrawal for good, and print the call that executes it: for claims that take long to sign
    Keep {
        #[command(flatten)]
        key: key::Options,
        /// The withdrawal's transaction on the chain
        hash: TxHash,
    },
    /// Say what became of a deposit or withdrawal, or how the bridge is
    Status {
        /// The transaction, on L1 or on the chain
        hash: Option<TxHash>,
    },
}

#[derive(clap::Args, Clone, Debug)]
struct Transfer {
    #[command(flatten)]
    key: key::Options,
    /// How much: 1.5 is ether or whole tokens, 1500wei the smallest unit
    #[arg(long)]
    amount: String,
    /// Address on L1 of an ERC-20 token [default: ether]
    #[arg(long, value_name = "ADDRESS")]
    token: Option<Address>,
    /// Who receives it [default: the sender]
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    /// Gas for the call of the recipient, if it is a contract that takes ether [default: 100000 of a deposit, none of a withdrawal]
    #[arg(long, value_name = "GAS", conflicts_with = "token")]
    gas: Option<u64>,
    /// Wait until it has arrived; of a withdrawal, execute it on L1 then
    #[arg(long)]
    wait: bool,
    /// Longest wait [default: 1h for a deposit, 30d for a withdrawal]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
}

#[derive(clap::Args, Clone, Debug)]
struct Claim {
    #[command(flatten)]
    key: key::Options,
    /// The withdrawal's transaction on the chain
    hash: TxHash,
    /// Wait until it is final
    #[arg(long)]
    wait: bool,
    /// Longest wait
    #[arg(long, value_name = "TIME", default_value = "30d")]
    timeout: Span,
}

/// Runs one command.
///
/// # Errors
/// In words for the user.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    start_log(&options.nodes.log)?;
    runtime()?.block_on(async {
        let (crossing, l2_chain) = connect(&options.nodes)?;
        match &options.command {
            Command::Deposit(transfer) => deposit(&crossing, l2_chain, transfer).await,
            Command::Withdraw(transfer) => withdraw(&crossing, l2_chain, transfer).await,
            Command::Claim(claim) => {
                let wallet = l1_wallet(&crossing, &claim.key).await?;
                check_l2(&crossing, l2_chain).await?;
                let wait = claim.wait.then_some(claim.timeout.0);
                execute(&crossing, &wallet, claim.hash, wait).await
            }
            Command::Keep { key, hash } => {
                let wallet = l1_wallet(&crossing, key).await?;
                check_l2(&crossing, l2_chain).await?;
                keep(&crossing, &wallet, *hash).await
            }
            Command::Status { hash: Some(hash) } => status(&crossing, l2_chain, *hash).await,
            Command::Status { hash: None } => overview(&crossing).await,
        }
    })
}

/// Which chain the L2 node has to have.
#[derive(Clone, Copy)]
pub(crate) struct L2Chain {
    id: u64,
    genesis: B256,
    /// State root of genesis.
    pub(crate) genesis_state: B256,
}

pub(crate) fn connect(nodes: &Nodes) -> Result<(Crossing, L2Chain), String> {
    let spec = read_spec(&nodes.chain)?;
    let Rollup::Genesis { blockHash, stateRoot, .. } = genesis(&spec);
    let l2_chain = L2Chain { id: spec.chain_id, genesis: blockHash, genesis_state: stateRoot };
    let settlement = spec.settlement.ok_or_else(|| format!("{}: the chain settles nowhere", nodes.chain.display()))?;
    let l1 = L1::new(&nodes.l1_url).map_err(|error| format!("--l1-url: {error}"))?;
    let l2 = L1::new(&nodes.l2_url).map_err(|error| format!("--l2-url: {error}"))?;
    Ok((Crossing { l1, l2, settlement }, l2_chain))
}

pub(crate) fn words(error: Error) -> String {
    error.to_string()
}

pub(crate) async fn l1_wallet(crossing: &Crossing, key: &key::Options) -> Result<Wallet, String> {
    let wallet = Wallet::new(crossing.l1.clone(), key.key()?).await.map_err(words)?;
    let expected = crossing.settlement.chain_id;
    if wallet.chain_id() != expected {
        return Err(words(Error::WrongL1 { expected, found: wallet.chain_id() }));
    }
    Ok(wallet)
}

/// Checks that the L2 node's is the chain file's chain, and not another of the same number: what is sent to that one's bridge is lost.
pub(crate) async fn check_l2(crossing: &Crossing, expected: L2Chain) -> Result<(), String> {
    let found = crossing.l2.chain_id().await.map_err(words)?;
    if found != expected.id {
        return Err(format!("--l2-url is chain {found}, the chain file's is {}", expected.id));
    }
    match crossing.l2.header(0).await.map_err(words)? {
        Some(genesis) if genesis.hash() == expected.genesis => Ok(()),
        _ => {
            Err(format!("--l2-url is another chain {found}: its genesis is not {}, the chain file's", expected.genesis))
        }
    }
}

/// Wei, or a token's smallest unit.
fn amount(text: &str, decimals: u8) -> Result<U256, String> {
    let wrong = || format!("{text:?} is no amount above 0 such as 1.5 (of {decimals} decimals) or 1500wei");
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if let Some(number) = text.strip_suffix("wei") {
        digits(number).then(|| number.to_owned())
    } else {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let places = usize::from(decimals);
        let trimmed = fraction.trim_end_matches('0');
        let fits = digits(whole) && digits(fraction) && trimmed.len() <= places;
        fits.then(|| format!("{whole}{trimmed:0<places$}"))
    };
    let number = number.and_then(|number| U256::from_str_radix(&number, 10).ok());
    number.filter(|number| !number.is_zero()).ok_or_else(wrong)
}

async fn transfer_amount(crossing: &Crossing, transfer: &Transfer) -> Result<U256, String> {
    let Some(token) = transfer.token else { return amount(&transfer.amount, 18) };
    let decimals = match ask(&crossing.l1, token, &Erc20::decimalsCall {}).await {
        Ok(decimals) => decimals,
        Err(error) if transfer.amount.ends_with("wei") => {
            tracing::debug!(%error, "the token has no decimals");
            0
        }
        Err(error) => return Err(format!("{error}; give the amount in the token's smallest unit, as 1500wei")),
    };
    amount(&transfer.amount, decimals)
}

pub(crate) fn log_sent(call: &Call, hash: TxHash) {
    tracing::info!(%hash, "sent: {}", call.what);
}

#[allow(clippy::print_stdout)] // the result is what it prints
pub(crate) fn say(text: &str) {
    println!("{text}");
}

async fn deposit(crossing: &Crossing, l2_chain: L2Chain, transfer: &Transfer) -> Result<(), String> {
    let wallet = l1_wallet(crossing, &transfer.key).await?;
    if transfer.wait {
        check_l2(crossing, l2_chain).await?;
    }
    let amount = transfer_amount(crossing, transfer).await?;
    let to = transfer.to.unwrap_or(wallet.address());
    let call = match transfer.token {
        None => crossing.deposit_ether(to, amount, transfer.gas.unwrap_or(100_000)).await.map_err(words)?,
        Some(token) => {
            let (approvals, call) = crossing.deposit_token(wallet.address(), token, to, amount).await.map_err(words)?;
            for approval in approvals {
                wallet.send(&[approval], log_sent).await.map_err(words)?;
            }
            call
        }
    };
    let receipts = wallet.send(&[call], log_sent).await.map_err(words)?;
    let receipt = receipts.first().ok_or("nothing was sent")?;
    let queued = deposits(crossing.settlement.inbox, receipt);
    let deposit = queued.first().ok_or("the deposit's transaction queued no message")?;
    say(&format!("deposited in {} on L1, message {}", receipt.transaction_hash, deposit.index));
    say(&format!("runs on the chain as {}", deposit.hash));
    if !transfer.wait {
        return Ok(());
    }
    let patience = transfer.timeout.map_or(Duration::from_secs(3600), |span| span.0);
    let deadline = Instant::now() + patience;
    loop {
        let arrived = match Receipt::of(&crossing.l2, deposit.hash).await {
            Ok(receipt) => receipt,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "waiting");
                None
            }
            Err(error) => return Err(words(error)),
        };
        if let Some(arrived) = arrived {
            let (text, fine) = outcome(deposit, &arrived);
            say(&text);
            return if fine { Ok(()) } else { Err("the deposit failed on the chain".into()) };
        }
        if Instant::now() >= deadline {
            return Err(format!("not on the chain yet; later: jove bridge status {}", receipt.transaction_hash));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What became of a deposit that has run, and whether that is what was meant.
fn outcome(deposit: &Deposit, receipt: &Receipt) -> (String, bool) {
    let block = receipt.block_number;
    if !receipt.succeeded() {
        let kept = deposit.transaction.mint;
        return (
            format!(
                "message {} failed in block {block}; {} ether are with {} on the chain",
                deposit.index,
                format_ether(kept),
                deposit.transaction.from
            ),
            false,
        );
    }
    let failed = receipt.logs.iter().filter(|log| log.address() == predeploys::L2_BRIDGE);
    if let Some(failed) = failed.filter_map(|log| L2Bridge::DepositFailed::decode_log_validate(&log.inner).ok()).next()
    {
        let L2Bridge::DepositFailed { id, l1Token, from, amount, .. } = failed.data;
        let back =
            format!("sendBack({id}, {l1Token}, {from}, {amount}) of {} returns the tokens", predeploys::L2_BRIDGE);
        return (format!("the recipient did not take message {} in block {block}; {back}", deposit.index), false);
    }
    (format!("message {} has arrived in block {block}", deposit.index), true)
}

async fn withdraw(crossing: &Crossing, l2_chain: L2Chain, transfer: &Transfer) -> Result<(), String> {
    check_l2(crossing, l2_chain).await?;
    let l2_wallet = Wallet::new(crossing.l2.clone(), transfer.key.key()?).await.map_err(words)?;
    // Asked now: who cannot claim later should not have to learn it later.
    let l1_wallet = match transfer.wait {
        true => Some(l1_wallet(crossing, &transfer.key).await?),
        false => None,
    };
    let amount = transfer_amount(crossing, transfer).await?;
    let to = transfer.to.unwrap_or(l2_wallet.address());
    let call = match transfer.token {
        None => crossing.withdraw_ether(to, amount, transfer.gas.unwrap_or(CALL_GAS)),
        Some(token) => crossing.withdraw_token(token, to, amount),
    };
    let receipts = l2_wallet.send(&[call], log_sent).await.map_err(words)?;
    let receipt = receipts.first().ok_or("nothing was sent")?;
    let sent = messages(receipt);
    let message = sent.first().ok_or("the withdrawal's transaction sent no message")?;
    let hash = receipt.transaction_hash;
    say(&format!("withdrawn in {hash} on the chain, message {}", message.nonce));
    match l1_wallet {
        Some(wallet) => {
            let patience = transfer.timeout.map_or(Duration::from_secs(30 * 24 * 3600), |span| span.0);
            execute(crossing, &wallet, hash, Some(patience)).await
        }
        None => {
            say(&format!("once it is final: jove bridge claim {hash}"));
            Ok(())
        }
    }
}

/// Executes all messages of an L2 transaction on L1, as soon as they are final if `wait` says how long to wait.
async fn execute(crossing: &Crossing, wallet: &Wallet, hash: TxHash, wait: Option<Duration>) -> Result<(), String> {
    let sent = sent_messages(crossing, hash).await?;
    let started = Instant::now();
    for (position, message) in sent.iter().enumerate() {
        let nonce = message.nonce;
        let success = loop {
            let why = match crossing.withdrawal(hash, position, message).await {
                Ok(Withdrawal::Executed) => {
                    say(&format!("message {nonce} was executed before"));
                    break true;
                }
                Ok(Withdrawal::CallFailed) => break crossing.retry(wallet, message, log_sent).await.map_err(words)?,
                Ok(Withdrawal::Ready(proven)) => {
                    break crossing.claim(wallet, &proven, log_sent).await.map_err(words)?;
                }
                Ok(waits @ (Withdrawal::Waiting | Withdrawal::Behind { .. })) => stands(&waits),
                Err(error) if error.is_transient() && wait.is_some() => {
                    tracing::warn!(%error, "waiting");
                    format!("was asked about in vain: {error}")
                }
                Err(error) => return Err(words(error)),
            };
            if wait.is_none_or(|patience| started.elapsed() >= patience) {
                return Err(format!("message {nonce} {why}; later: jove bridge claim {hash}"));
            }
            tokio::time::sleep(POLL).await;
        };
        if !success {
            return Err(format!("the call of message {nonce} failed on L1; again: jove bridge claim {hash}"));
        }
        say(&format!("message {nonce} is executed on L1"));
    }
    Ok(())
}

/// Has L1 keep the root that proves the messages of an L2 transaction, and prints the calls that execute them: the node proves by later batches later.
async fn keep(crossing: &Crossing, wallet: &Wallet, hash: TxHash) -> Result<(), String> {
    for (position, message) in sent_messages(crossing, hash).await?.iter().enumerate() {
        let nonce = message.nonce;
        let proven = match crossing.withdrawal(hash, position, message).await.map_err(words)? {
            Withdrawal::Ready(proven) => proven,
            // Neither needs a proof.
            done @ (Withdrawal::Executed | Withdrawal::CallFailed) => {
                say(&format!("message {nonce} {}", stands(&done)));
                continue;
            }
            waits => return Err(format!("message {nonce} {}; later: jove bridge keep {hash}", stands(&waits))),
        };
        let root = proven.batch.outbox_root;
        say(&match crossing.keep(wallet, proven.batch, log_sent).await.map_err(words)? {
            true => format!("root {root} of batch {} is kept on L1 now", proven.batch.index),
            false => format!("root {root} is kept on L1 already: nothing was sent"),
        });
        say(&format!("this call executes message {nonce}, from any account, and does not expire:"));
        say(&format!("to    {}\ndata  {}", crossing.settlement.outbox, proven.call_data()));
    }
    Ok(())
}

async fn sent_messages(crossing: &Crossing, hash: TxHash) -> Result<Vec<Outbox::Message>, String> {
    let receipt = Receipt::of(&crossing.l2, hash).await.map_err(words)?;
    let receipt = receipt.ok_or_else(|| words(Error::NotOurs { hash, reason: "is not on the chain" }))?;
    let sent = messages(&receipt);
    if sent.is_empty() { Err(words(Error::NotOurs { hash, reason: "sent no message to L1" })) } else { Ok(sent) }
}

async fn status(crossing: &Crossing, l2_chain: L2Chain, hash: TxHash) -> Result<(), String> {
    check_l2(crossing, l2_chain).await?;
    if let Some(receipt) = Receipt::of(&crossing.l1, hash).await.map_err(words)? {
        let queued = deposits(crossing.settlement.inbox, &receipt);
        if queued.is_empty() {
            return Err(words(Error::NotOurs { hash, reason: "queued no message for the chain" }));
        }
        for deposit in &queued {
            match Receipt::of(&crossing.l2, deposit.hash).await.map_err(words)? {
                Some(arrived) => say(&outcome(deposit, &arrived).0),
                None => say(&format!("message {} is queued on L1, and not on the chain yet", deposit.index)),
            }
        }
        return Ok(());
    }
    for (position, message) in sent_messages(crossing, hash).await?.iter().enumerate() {
        let withdrawal = crossing.withdrawal(hash, position, message).await.map_err(words)?;
        say(&format!("message {} {}", message.nonce, stands(&withdrawal)));
    }
    Ok(())
}

/// Where a message to L1 stands, after its name.
fn stands(withdrawal: &Withdrawal) -> String {
    match withdrawal {
        Withdrawal::Waiting => "is not final yet".into(),
        Withdrawal::Behind { index } => format!(
            "cannot be claimed now: the node proves by batch {index}, whose root L1 has let go of, or does not know yet; \
             ask again when the node has caught up with L1's finality"
        ),
        Withdrawal::Ready(_) => "is final: claim executes it".into(),
        Withdrawal::CallFailed => "failed on L1: claim tries it again".into(),
        Withdrawal::Executed => "is executed on L1".into(),
    }
}

async fn overview(crossing: &Crossing) -> Result<(), String> {
    let Crossing { l1, settlement, .. } = crossing;
    let rollup = settlement.rollup;
    let read = async {
        let found = l1.chain_id().await?;
        if found != settlement.chain_id {
            return Err(Error::WrongL1 { expected: settlement.chain_id, found });
        }
        let phase = match Phase::from_number(ask(l1, rollup, &Rollup::phaseCall {}).await?) {
            Some(Phase::Open) => "open",
            Some(Phase::Halted) => "halted: the escape has begun",
            _ => "not open",
        };
        let head = ask(l1, rollup, &Rollup::headIndexCall {}).await?;
        let proven = ask(l1, rollup, &Rollup::provenIndexCall {}).await?;
        let last = ask(l1, rollup, &Rollup::finalIndexCall {}).await?;
        let queued = ask(l1, settlement.inbox, &Inbox::lengthCall {}).await?;
        let consumed = ask(l1, rollup, &Rollup::finalMessageCall {}).await?;
        let paused = ask(l1, settlement.pause, &Pause::pausedCall {}).await?;
        let price = ask(l1, settlement.inbox, &Inbox::quoteCall { gas: 100_000 }).await?;
        let token = Bridge::quoteCall { callGas: 0, first: true, dataLength: U256::ZERO };
        let token = ask(l1, settlement.bridge, &token).await?;
        let holdings = l1.balance(settlement.bridge, BlockNumberOrTag::Latest).await?;
        Ok(format!(
            "chain            {phase}{}\n\
             batches          {head} committed, {proven} proven, {last} final\n\
             messages         {queued} queued, {consumed} consumed by final batches\n\
             the bridge holds {} ether\n\
             a deposit costs  {} ether; of a new token {} ether",
            if paused { ", paused: no deposits with a value, nothing becomes final" } else { "" },
            format_ether(holdings),
            format_ether(price),
            format_ether(token),
        ))
    };
    say(&read.await.map_err(words)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let wei = |text: &str, decimals| amount(text, decimals).ok().map(|amount| amount.to_string());
        let is =
            |text: &str, decimals, expected: &str| assert_eq!(wei(text, decimals).as_deref(), Some(expected), "{text}");
        is("1.5", 18, "1500000000000000000");
        is("1", 18, "1000000000000000000");
        is("0.000000000000000001", 18, "1");
        is("1500wei", 18, "1500");
        is("2.50", 1, "25");
        is("7", 0, "7");
        is("7.0", 0, "7");
        for bad in [
            "",
            "0",
            "0.0",
            "-1",
            "+1",
            ".5",
            "1.",
            "1e3",
            "1,5",
            "1_0",
            "0wei",
            "wei",
            "1.5wei",
            "0.0000000000000000001",
        ] {
            assert_eq!(wei(bad, 18), None, "{bad}");
        }
        assert_eq!(wei("0.5", 0), None);
        assert_eq!(wei(&"9".repeat(80), 18), None, "beyond 256 bits");
        assert_eq!(wei("1", 255), None, "beyond 256 bits");
    }
}
