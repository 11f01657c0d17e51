//! `net_`, `web3_` and `rpc_`.

use crate::methods::{Call, Methods};
use alloy_primitives::{B256, Bytes, U64, keccak256};
use std::collections::BTreeMap;

pub(crate) fn register(methods: &mut Methods) {
    methods.quick("net_version", |call| call.no_args().map(|()| call.context.node.spec().chain_id.to_string()));
    methods.quick("net_listening", |call| call.no_args().map(|()| true));
    methods.quick("net_peerCount", |call| call.no_args().map(|()| U64::ZERO));
    methods.quick("web3_clientVersion", |call| call.no_args().map(|()| client_version(call)));
    methods.quick("web3_sha3", |call| {
        let (data,): (Bytes,) = call.args()?;
        Ok::<B256, _>(keccak256(data))
    });
    methods.quick("rpc_modules", |call| {
        call.no_args()?;
        let namespaces = call.context.methods.names().filter_map(|name| name.split_once('_'));
        Ok(namespaces.map(|(namespace, _)| (namespace, "1.0")).collect::<BTreeMap<_, _>>())
    });
}

/// Name and version. A development chain calls itself anvil's kin: by that, tools know that the development methods are there.
pub(crate) fn client_version(call: &Call) -> String {
    let version = env!("CARGO_PKG_VERSION");
    if call.context.node.dev().is_some() {
        return format!("anvil/jove-v{version}");
    }
    let (os, arch, rust) = (std::env::consts::OS, std::env::consts::ARCH, env!("CARGO_PKG_RUST_VERSION"));
    format!("jove/v{version}/{os}-{arch}/rust{rust}")
}
