//! The `eth_` namespace, execution apart.

mod blocks;
mod config;
pub(crate) mod convert;
pub(crate) mod fees;
pub(crate) mod logs;
pub(crate) mod send;
mod state;

use crate::methods::{Call, Methods};
use crate::{accounts, error::RpcError};
use alloy_primitives::{Address, U64};

pub(crate) fn register(methods: &mut Methods) {
    methods.quick("eth_chainId", |call| call.no_args().map(|()| U64::from(call.context.node.spec().chain_id)));
    // As `latest` is read: whoever has a receipt has its block.
    methods.quick("eth_blockNumber", |call| {
        call.no_args().map(|()| U64::from(call.context.node.storage().view().head_number()))
    });
    // The node has no other to catch up with.
    methods.quick("eth_syncing", |call| call.no_args().map(|()| false));
    methods.quick("eth_coinbase", |call| call.no_args().map(|()| call.context.node.head().header.beneficiary));
    methods.quick("eth_accounts", unlocked_accounts);
    blocks::register(methods);
    config::register(methods);
    fees::register(methods);
    logs::register(methods);
    send::register(methods);
    state::register(methods);
}

/// The development accounts on a development chain, otherwise none.
fn unlocked_accounts(call: &Call) -> Result<Vec<Address>, RpcError> {
    call.no_args()?;
    Ok(if call.context.node.dev().is_some() { accounts::addresses() } else { Vec::new() })
}
