//! Development methods: time, mining, snapshots, and changes to the state from outside, under the names of Ganache, anvil and
//! Hardhat. They exist only on a development chain.

use crate::{
    error::RpcError,
    methods::{Call, Methods},
    net,
    request::Quantity,
};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use jove_sequencer::{Amendment, Node};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::AbortHandle;

/// Most blocks of one call.
const MAX_BLOCKS: u64 = 10_000;

/// What the development methods remember beside the node.
#[derive(Default)]
pub(crate) struct Dev {
    impersonated: RwLock<HashSet<Address>>,
    impersonate_all: AtomicBool,
    /// The task of `evm_setIntervalMining`.
    interval: Mutex<Option<AbortHandle>>,
}

impl Dev {
    /// Whether transactions of `address` need no signature.
    pub(crate) fn is_impersonated(&self, address: Address) -> bool {
        self.impersonate_all.load(Ordering::Relaxed) || self.impersonated.read().contains(&address)
    }

    fn set_interval(&self, task: Option<AbortHandle>) {
        if let Some(before) = std::mem::replace(&mut *self.interval.lock(), task) {
            before.abort();
        }
    }

    /// Ends interval mining.
    pub(crate) fn stop(&self) {
        self.set_interval(None);
    }
}

pub(crate) fn register(methods: &mut Methods) {
    methods.read("evm_snapshot", |call| {
        call.no_args()?;
        Ok(U64::from(dev(call)?.snapshot()?))
    });
    methods.read("evm_revert", |call| {
        let (id,): (Quantity,) = call.args()?;
        Ok(dev(call)?.revert(id.0)?)
    });
    methods.read("evm_mine", evm_mine);
    methods.read("evm_increaseTime", |call| {
        let (seconds,): (Quantity,) = call.args()?;
        Ok(dev(call)?.increase_time(seconds.0)?)
    });
    methods.read("evm_setNextBlockTimestamp", |call| {
        let (seconds,): (Quantity,) = call.args()?;
        Ok(dev(call)?.set_next_timestamp(seconds.0)?)
    });
    methods.read("anvil_setBlockTimestampInterval", |call| {
        let (seconds,): (Quantity,) = call.args()?;
        Ok(dev(call)?.set_block_interval(Some(seconds.0))?)
    });
    methods.read("anvil_removeBlockTimestampInterval", |call| {
        call.no_args()?;
        dev(call)?.set_block_interval(None)?;
        Ok(true)
    });
    methods.read("evm_setAutomine", |call| {
        let (on,): (bool,) = call.args()?;
        call.context.dev.set_interval(None);
        dev(call)?.set_automine(on);
        Ok(())
    });
    methods.read("evm_setIntervalMining", |call| {
        let (seconds,): (Quantity,) = call.args()?;
        set_interval_mining(call, seconds.0)
    });
    methods.read("evm_setAccountNonce", set_nonce);
    methods.read("jove_reorg", |call| {
        let (depth, keep): (Quantity, Option<bool>) = call.args()?;
        Ok(dev(call)?.reorg(depth.0, keep.unwrap_or_default())?)
    });
    methods.read("anvil_reorg", |call| {
        // As anvil's own tools send it: the depth and, always, a list of transactions for the new blocks.
        let (depth, transactions): (Quantity, Option<Vec<Value>>) = call.args()?;
        if transactions.is_some_and(|transactions| !transactions.is_empty()) {
            return Err(RpcError::server("transactions of the new blocks cannot be named: send them to the pool"));
        }
        Ok(dev(call)?.reorg(depth.0, false)?)
    });

    methods.read("anvil_mine", |call| mine_many(call, 0));
    methods.read("hardhat_mine", |call| mine_many(call, 1));
    both(methods, ["anvil_setBalance", "hardhat_setBalance"], set_balance);
    both(methods, ["anvil_setNonce", "hardhat_setNonce"], set_nonce);
    both(methods, ["anvil_setCode", "hardhat_setCode"], |call| {
        let (address, code): (Address, Bytes) = call.args()?;
        amend(call, Amendment::Code(address, code))
    });
    both(methods, ["anvil_setStorageAt", "hardhat_setStorageAt"], |call| {
        let (address, slot, value): (Address, U256, U256) = call.args()?;
        amend(call, Amendment::Slot(address, slot, value))
    });
    methods.read("anvil_addBalance", |call| {
        let (address, more): (Address, U256) = call.args()?;
        let balance = call.context.state(None)?.state.account(address)?.map_or(U256::ZERO, |account| account.balance);
        amend(call, Amendment::Balance(address, balance.saturating_add(more)))
    });
    both(methods, ["anvil_impersonateAccount", "hardhat_impersonateAccount"], |call| {
        let (address,): (Address,) = call.args()?;
        call.context.dev.impersonated.write().insert(address);
        Ok(true)
    });
    both(methods, ["anvil_stopImpersonatingAccount", "hardhat_stopImpersonatingAccount"], |call| {
        let (address,): (Address,) = call.args()?;
        Ok(call.context.dev.impersonated.write().remove(&address))
    });
    both(methods, ["anvil_autoImpersonateAccount", "hardhat_autoImpersonateAccount"], |call| {
        let (on,): (bool,) = call.args()?;
        call.context.dev.impersonate_all.store(on, Ordering::Relaxed);
        Ok(true)
    });
    both(methods, ["anvil_getAutomine", "hardhat_getAutomine"], |call| {
        call.no_args()?;
        Ok(dev(call)?.automine())
    });
    methods.read("hardhat_dropTransaction", |call| {
        let (hash,): (B256,) = call.args()?;
        Ok(call.context.node.pool().drop_transaction(hash))
    });
    methods.read("anvil_dropTransaction", |call| {
        let (hash,): (B256,) = call.args()?;
        Ok(call.context.node.pool().drop_transaction(hash).then_some(hash))
    });
    methods.read("anvil_dropAllTransactions", |call| {
        call.no_args()?;
        let (pending, queued) = call.context.node.pool().content();
        for pooled in pending.iter().chain(&queued) {
            call.context.node.pool().drop_transaction(pooled.hash);
        }
        Ok(())
    });
    methods.read("anvil_nodeInfo", node_info);
    for name in ["anvil_metadata", "hardhat_metadata"] {
        methods.read(name, metadata);
    }
    both(methods, ["anvil_reset", "hardhat_reset"], |_| {
        Err(RpcError::server(
            "reset is not supported: take a snapshot and revert to it, or start with an empty data directory",
        ))
    });
}

/// Registers a method under both its names.
fn both(methods: &mut Methods, names: [&'static str; 2], run: fn(&Call) -> Result<bool, RpcError>) {
    for name in names {
        methods.read(name, run);
    }
}

fn dev(call: &Call) -> Result<jove_sequencer::Dev<'_>, RpcError> {
    call.context.node.dev().ok_or_else(|| RpcError::server("this is no development chain"))
}

fn amend(call: &Call, amendment: Amendment) -> Result<bool, RpcError> {
    dev(call)?.amend(vec![amendment])?;
    Ok(true)
}

fn set_balance(call: &Call) -> Result<bool, RpcError> {
    let (address, balance): (Address, U256) = call.args()?;
    amend(call, Amendment::Balance(address, balance))
}

fn set_nonce(call: &Call) -> Result<bool, RpcError> {
    let (address, nonce): (Address, Quantity) = call.args()?;
    amend(call, Amendment::Nonce(address, nonce.0))
}

/// The parameter of `evm_mine`: a time in seconds, or this.
#[derive(Deserialize)]
#[serde(untagged)]
enum Mine {
    At(Quantity),
    With { timestamp: Option<Quantity>, blocks: Option<Quantity> },
}

fn evm_mine(call: &Call) -> Result<&'static str, RpcError> {
    let (options,): (Option<Mine>,) = call.args()?;
    let (timestamp, blocks) = match options {
        None => (None, None),
        Some(Mine::At(timestamp)) => (Some(timestamp), None),
        Some(Mine::With { timestamp, blocks }) => (timestamp, blocks),
    };
    if let Some(timestamp) = timestamp {
        dev(call)?.set_next_timestamp(timestamp.0)?;
    }
    mine(call, blocks.map_or(1, |blocks| blocks.0), 0)?;
    Ok("0x0")
}

fn mine_many(call: &Call, default_interval: u64) -> Result<Option<()>, RpcError> {
    let (blocks, interval): (Option<Quantity>, Option<Quantity>) = call.args()?;
    mine(call, blocks.map_or(1, |blocks| blocks.0), interval.map_or(default_interval, |seconds| seconds.0))?;
    Ok(None)
}

fn mine(call: &Call, blocks: u64, interval: u64) -> Result<(), RpcError> {
    if blocks > MAX_BLOCKS {
        return Err(RpcError::invalid_params(format!("at most {MAX_BLOCKS} blocks at once")));
    }
    Ok(dev(call)?.mine(blocks, interval)?)
}

/// Seals a block every so many seconds, and none in between; 0 ends it.
fn set_interval_mining(call: &Call, seconds: u64) -> Result<(), RpcError> {
    if seconds == 0 {
        call.context.dev.set_interval(None);
        return Ok(());
    }
    let every = Duration::from_secs(seconds.min(u32::MAX.into()));
    dev(call)?.set_automine(false);
    let task = tokio::spawn(mine_every(call.context.node.clone(), every));
    call.context.dev.set_interval(Some(task.abort_handle()));
    Ok(())
}

async fn mine_every(node: Arc<Node>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let node = node.clone();
        let mined = tokio::task::spawn_blocking(move || node.dev().map(|dev| dev.mine(1, 0))).await;
        if !matches!(mined, Ok(Some(Ok(())))) {
            tracing::warn!("interval mining ends");
            return;
        }
    }
}

fn node_info(call: &Call) -> Result<Value, RpcError> {
    call.no_args()?;
    let (node, head) = (&call.context.node, call.context.node.head());
    Ok(json!({
        "currentBlockNumber": U64::from(head.header.number),
        "currentBlockTimestamp": head.header.timestamp,
        "currentBlockHash": head.hash,
        "hardFork": node.spec().fork(head.header.timestamp),
        "transactionOrder": "fees",
        "environment": {
            "baseFee": U256::from(head.header.base_fee_per_gas.unwrap_or_default()),
            "chainId": U64::from(node.spec().chain_id),
            "gasLimit": U64::from(head.header.gas_limit),
            "gasPrice": U256::from(crate::eth::fees::gas_price(&call.context)?),
        },
        "forkConfig": {"forkUrl": null, "forkBlockNumber": null, "forkRetryBackoff": null},
    }))
}

fn metadata(call: &Call) -> Result<Value, RpcError> {
    call.no_args()?;
    let (node, head) = (&call.context.node, call.context.node.head());
    Ok(json!({
        "clientVersion": net::client_version(call),
        "chainId": node.spec().chain_id,
        "instanceId": node.storage().view().block_hash(0)?,
        "latestBlockNumber": head.header.number,
        "latestBlockHash": head.hash,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impersonation_is_by_address_or_for_all() {
        let dev = Dev::default();
        let (a, b) = (Address::repeat_byte(1), Address::repeat_byte(2));
        dev.impersonated.write().insert(a);
        assert!(dev.is_impersonated(a) && !dev.is_impersonated(b));
        dev.impersonate_all.store(true, Ordering::Relaxed);
        assert!(dev.is_impersonated(b));
    }

    #[test]
    fn evm_mine_takes_a_time_or_options() {
        let parse = |json: &str| serde_json::from_str::<Mine>(json);
        assert!(matches!(parse("5"), Ok(Mine::At(Quantity(5)))));
        assert!(matches!(parse("\"0x5\""), Ok(Mine::At(Quantity(5)))));
        let with = parse(r#"{"blocks":3}"#);
        assert!(matches!(with, Ok(Mine::With { timestamp: None, blocks: Some(Quantity(3)) })));
        assert!(parse("true").is_err());
    }
}
