//! `jove escape`: leaving a chain that nobody runs any more. It needs the chain file, a node of L1, and a node of the chain that anyone rebuilt from L1: to begin,
//! only if the rules still make batches final.

use crate::{
    bridge::{L2Chain, Nodes, check_l2, connect, l1_wallet, log_sent, say, words},
    deploy::runtime,
    key,
    node::start_log,
};
use alloy_primitives::{
    Address, Bytes, TxHash, U256,
    utils::{ParseUnits, Unit, format_ether},
};
use jove_settlement::{
    Error, Wallet,
    bridge::Crossing,
    contracts::{Erc20, Phase, ask},
    error::in_words,
    escape::{FinalState, LastBatch, Standing, Waiting},
};

/// Most messages that are named in one command.
const MAX_NAMED: usize = 100;

/// What is done, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    nodes: Nodes,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Say what waits to become final and when the escape can begin; once it has, what an account can take
    Status {
        /// The account
        account: Option<Address>,
        /// Address on L1 of an ERC-20 token to look at; more than one may be named [default: all that the chain has]
        #[arg(long, value_name = "ADDRESS")]
        token: Vec<Address>,
    },
    /// Begin the escape, for good: what the rules allow becomes final, then nothing ever does
    Start {
        #[command(flatten)]
        key: key::Options,
    },
    /// Take what an account has in the last final state: ether, or tokens
    Withdraw(Withdraw),
    /// Take back messages and deposits that the chain did not consume, and token deposits that failed there
    Refund(Refund),
}

#[derive(clap::Args, Clone, Debug)]
struct Withdraw {
    #[command(flatten)]
    key: key::Options,
    /// Address on L1 of an ERC-20 token [default: ether]
    #[arg(long, value_name = "ADDRESS")]
    token: Option<Address>,
    /// Who receives it on L1 [default: the sender]
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    /// The account on the chain: the sender's, or with --print the alias of an L1 contract [default: the sender]
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
    /// Print the call of L1 instead of sending it, for a contract to make: needs --account and --to, and no key
    #[arg(long, requires_all = ["account", "to"])]
    print: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct Refund {
    #[command(flatten)]
    key: key::Options,
    /// Messages by their index, of anyone: they go to their owners [default: all of the key's own, and its failed deposits]
    index: Vec<u64>,
    /// Who receives it on L1, of what is the key's own [default: the sender]
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
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
            Command::Status { account, token } => status(&crossing, l2_chain, *account, token).await,
            Command::Start { key } => start(&crossing, l2_chain, key).await,
            Command::Withdraw(withdraw) => take(&crossing, l2_chain, withdraw).await,
            Command::Refund(refund) => give_back(&crossing, l2_chain, refund).await,
        }
    })
}

/// An error of a question about the last final state, with what helps.
fn state_words(error: Error) -> String {
    let window = matches!(&error, Error::Rpc { method, message, .. } if method == "eth_getProof" && message.contains("proof window"));
    let text = words(error);
    let hint = "try again when L1 has finalized the last final batch, or start that node with a longer --proof-window";
    if window { format!("{text}: {hint}") } else { text }
}

/// An amount in whole units; of a token without decimals, or with more than a number has, in its smallest ones.
fn units(amount: U256, decimals: u8) -> String {
    match Unit::new(decimals) {
        Some(unit) if decimals > 0 => ParseUnits::U256(amount).format_units(unit),
        _ => amount.to_string(),
    }
}

/// An amount of ether or of an L1 token, for people: exact, and by the token's address, since anyone can name a token anything.
async fn amount_of(crossing: &Crossing, token: Option<Address>, amount: U256) -> String {
    let Some(token) = token else { return format!("{} ether", format_ether(amount)) };
    let decimals = ask(&crossing.l1, token, &Erc20::decimalsCall {}).await;
    format!("{} of token {token}", units(amount, decimals.unwrap_or(0)))
}

/// The last final state, once it is certain that the chain's node is one, and has it.
async fn final_state(crossing: &Crossing, l2_chain: L2Chain, last: &LastBatch) -> Result<FinalState, String> {
    check_l2(crossing, l2_chain).await?;
    crossing.final_state(last).await.map_err(words)
}

/// Where the escape stands, if it has begun.
async fn halted(crossing: &Crossing) -> Result<Standing, String> {
    let standing = crossing.standing().await.map_err(words)?;
    if standing.phase == Phase::Halted { Ok(standing) } else { Err(words(Error::NotHalted)) }
}

async fn status(
    crossing: &Crossing,
    l2_chain: L2Chain,
    account: Option<Address>,
    tokens: &[Address],
) -> Result<(), String> {
    let standing = crossing.standing().await.map_err(words)?;
    let Standing { phase, now, last, head, messages, .. } = &standing;
    let halted = *phase == Phase::Halted;
    say(&format!("chain     {}", if halted { "halted: the escape has begun" } else { "open" }));
    say(&format!("final     batch {} of {head}, up to block {}", last.index, last.block));
    if let Some(state_root) = last.state_root {
        say(&format!("          state root {state_root}"));
    }
    let ago = |waiting: Waiting| format!("{} for {}", waiting.index, in_words(now.saturating_sub(waiting.since)));
    if halted {
        let left = messages.end.saturating_sub(messages.start);
        say(&match left {
            0 => "messages  all were consumed".into(),
            1 => format!("messages  {} was not consumed", messages.start),
            _ => format!("messages  {} to {} were not consumed", messages.start, messages.end - 1),
        });
    } else {
        let waits = [standing.batch.map(|batch| format!("batch {}", ago(batch)))]
            .into_iter()
            .chain([standing.message.map(|message| format!("message {}", ago(message)))]);
        let waits: Vec<_> = waits.flatten().collect();
        say(&format!("waits     {}", if waits.is_empty() { "nothing".into() } else { waits.join(", ") }));
        say(&match standing.due() {
            None => format!("escape    never while nothing waits; after {} of waiting", in_words(standing.delay)),
            Some(due) if due <= *now => "escape    can begin: jove escape start".into(),
            Some(due) => format!("escape    in {}, unless something becomes final", in_words(due - now)),
        });
    }
    match account {
        Some(account) if halted => holdings(crossing, l2_chain, &standing, account, tokens).await,
        Some(_) => {
            say("nothing can be taken before the escape has begun");
            Ok(())
        }
        None => Ok(()),
    }
}

/// What an account can take.
async fn holdings(
    crossing: &Crossing,
    l2_chain: L2Chain,
    standing: &Standing,
    account: Address,
    tokens: &[Address],
) -> Result<(), String> {
    let state = &final_state(crossing, l2_chain, &standing.last).await?;
    let tokens = match tokens {
        [] => crossing.tokens(state).await.map_err(words)?,
        tokens => tokens.to_vec(),
    };
    let done = |done: bool, word: &str| if done { format!(", {word} already") } else { String::new() };
    for token in [None].into_iter().chain(tokens.into_iter().map(Some)) {
        let holding = crossing.holding(state, account, token).await.map_err(state_words)?;
        if holding.amount.is_zero() && token.is_some() {
            continue;
        }
        let taken = crossing.is_taken(account, token).await.map_err(words)?;
        say(&format!("has       {}{}", amount_of(crossing, token, holding.amount).await, done(taken, "taken")));
    }
    for (message, refunded) in crossing.pending_of(standing, account).await.map_err(words)? {
        let amount = amount_of(crossing, message.token, message.amount).await;
        say(&format!("message   {} of {amount}{}", message.entry.index, done(refunded, "refunded")));
    }
    for (deposit, refunded) in crossing.failed_deposits(state, account).await.map_err(state_words)? {
        let amount = amount_of(crossing, Some(deposit.token), deposit.amount).await;
        say(&format!("failed    deposit {} of {amount}{}", deposit.id, done(refunded, "refunded")));
    }
    Ok(())
}

async fn start(crossing: &Crossing, l2_chain: L2Chain, key: &key::Options) -> Result<(), String> {
    let wallet = l1_wallet(crossing, key).await?;
    let made_final = crossing.start_escape(&wallet, l2_chain.genesis_state, log_sent).await.map_err(state_words)?;
    let standing = halted(crossing).await?;
    say(&format!("the escape has begun; batches that became final with it: {made_final}"));
    let LastBatch { index, block, state_root, .. } = standing.last;
    say(&format!("final for ever: batch {index}, block {block}, state root {}", state_root.unwrap_or_default()));
    Ok(())
}

async fn take(crossing: &Crossing, l2_chain: L2Chain, withdraw: &Withdraw) -> Result<(), String> {
    let wallet = match withdraw.print {
        true => None,
        false => Some(l1_wallet(crossing, &withdraw.key).await?),
    };
    let own = wallet.as_ref().map(Wallet::address);
    let account = withdraw.account.or(own).ok_or("which account? --account names it")?;
    let to = withdraw.to.or(own).ok_or("to whom? --to names it")?;
    let last = halted(crossing).await?.last;
    let state = final_state(crossing, l2_chain, &last).await?;
    let holding = crossing.holding(&state, account, withdraw.token).await.map_err(state_words)?;
    let amount = amount_of(crossing, withdraw.token, holding.amount).await;
    if holding.amount.is_zero() {
        return Err(format!("{account} has {amount} in the last final state: there is nothing to take"));
    }
    if crossing.is_taken(account, withdraw.token).await.map_err(words)? {
        return Err(format!("{amount} of {account} was taken already"));
    }
    let data = holding.call_data(to);
    match wallet {
        None => {
            say(&format!("to    {}\ndata  {data}", crossing.settlement.escape_hatch));
            Ok(())
        }
        Some(wallet) => pay(crossing, &wallet, data, &format!("{amount} of {account}"), to).await,
    }
}

/// Has the contract pay, and says so.
async fn pay(crossing: &Crossing, wallet: &Wallet, data: Bytes, what: &str, to: Address) -> Result<(), String> {
    let mut hash = TxHash::ZERO;
    let sent = |call: &_, sent| {
        log_sent(call, sent);
        hash = sent;
    };
    crossing.take(wallet, &format!("taking {what}"), data, sent).await.map_err(words)?;
    say(&format!("{what} is paid to {to} in {hash}"));
    Ok(())
}

async fn give_back(crossing: &Crossing, l2_chain: L2Chain, refund: &Refund) -> Result<(), String> {
    if refund.index.len() > MAX_NAMED {
        return Err(format!("at most {MAX_NAMED} messages at once"));
    }
    let wallet = l1_wallet(crossing, &refund.key).await?;
    let own = wallet.address();
    let standing = halted(crossing).await?;
    let recipient = |owner: Address| if owner == own { refund.to.unwrap_or(own) } else { owner };
    let mut messages = Vec::new();
    for index in &refund.index {
        let message = crossing.pending(*index).await.map_err(words)?;
        if refund.to.is_some() && message.owner != own {
            return Err(format!("message {index} is {}'s: it goes to no other address", message.owner));
        }
        messages.push(message);
    }
    let mut failed = Vec::new();
    if refund.index.is_empty() {
        let mine = crossing.pending_of(&standing, own).await.map_err(words)?;
        messages.extend(mine.into_iter().filter(|(_, refunded)| !refunded).map(|(message, _)| message));
        // Messages need no node of the chain.
        let proven = async {
            let state = final_state(crossing, l2_chain, &standing.last).await?;
            crossing.failed_deposits(&state, own).await.map_err(state_words)
        };
        match proven.await {
            Ok(found) => failed.extend(found.into_iter().filter(|(_, refunded)| !refunded).map(|(deposit, _)| deposit)),
            Err(error) => tracing::warn!(error, "deposits that failed on the chain are not looked for"),
        }
        if messages.is_empty() && failed.is_empty() {
            return Err(format!("there is nothing to refund to {own}"));
        }
    }
    for message in messages {
        let to = recipient(message.owner);
        let amount = amount_of(crossing, message.token, message.amount).await;
        let what = format!("message {} with {amount}", message.entry.index);
        pay(crossing, &wallet, message.call_data(to), &what, to).await?;
    }
    for deposit in failed {
        let to = recipient(deposit.owner);
        let amount = amount_of(crossing, Some(deposit.token), deposit.amount).await;
        pay(crossing, &wallet, deposit.call_data(to), &format!("failed deposit {} of {amount}", deposit.id), to)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(units(U256::from(1_500_000), 6), "1.500000");
        assert_eq!(units(U256::from(7), 0), "7");
        assert_eq!(units(U256::MAX, 0), U256::MAX.to_string());
        assert_eq!(units(U256::from(1), 18), "0.000000000000000001");
        assert_eq!(units(U256::from(3), 255), "3");
    }

    #[test]
    fn a_short_proof_window_is_named() {
        let error = |method: &str| Error::Rpc {
            method: method.into(),
            code: -32000,
            message: "block 9 is outside of the proof window".into(),
            data: None,
        };
        assert!(state_words(error("eth_getProof")).contains("--proof-window"));
        assert!(!state_words(error("eth_call")).contains("--proof-window"));
    }
}
