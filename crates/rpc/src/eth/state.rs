//! Accounts and storage.

use crate::{
    error::RpcError,
    methods::{Call, Methods},
    resolve,
};
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;

/// Most slots that one `eth_getProof` may ask for, as in geth.
const MAX_PROOF_SLOTS: usize = 1024;

pub(crate) fn register(methods: &mut Methods) {
    methods.read("eth_getBalance", |call| {
        let (address, block): (Address, Option<BlockId>) = call.args()?;
        Ok(call.context.state(block)?.state.account(address)?.map_or(U256::ZERO, |account| account.balance))
    });
    methods.read("eth_getCode", |call| {
        let (address, block): (Address, Option<BlockId>) = call.args()?;
        let state = call.context.state(block)?.state;
        match state.account(address)? {
            Some(account) if account.code_hash != KECCAK256_EMPTY => Ok(state.code(account.code_hash)?),
            _ => Ok(Bytes::new()),
        }
    });
    methods.read("eth_getStorageAt", |call| {
        let (address, slot, block): (Address, JsonStorageKey, Option<BlockId>) = call.args()?;
        Ok(B256::from(call.context.state(block)?.state.slot(address, slot.as_b256().into())?))
    });
    methods.read("eth_getTransactionCount", |call| {
        let (address, block): (Address, Option<BlockId>) = call.args()?;
        let pooled =
            block.is_some_and(|block| block.is_pending()).then(|| call.context.node.pool().next_nonce(address));
        let nonce = match pooled.flatten() {
            Some(nonce) => nonce,
            None => call.context.state(block)?.state.account(address)?.map_or(0, |account| account.nonce),
        };
        Ok(U64::from(nonce))
    });
    methods.heavy("eth_getProof", get_proof);
}

fn get_proof(call: &Call) -> Result<EIP1186AccountProofResponse, RpcError> {
    let (address, keys, block): (Address, Vec<JsonStorageKey>, Option<BlockId>) = call.args()?;
    if keys.len() > MAX_PROOF_SLOTS {
        return Err(RpcError::invalid_params(format!("too many storage keys: at most {MAX_PROOF_SLOTS}")));
    }
    // The pending block has no root to prove against: the head stands for it.
    let view = call.context.node.storage().view();
    let block = block.unwrap_or_default();
    let number =
        resolve::sealed_number(&view, call.context.node.tags(), block)?.ok_or_else(|| RpcError::no_block(block))?;
    let slots: Vec<U256> = keys.iter().map(|key| key.as_b256().into()).collect();
    let proof = call.context.node.prove(number, address, &slots)?;
    let account = proof.account.unwrap_or_default();
    let storage_proof = keys
        .into_iter()
        .zip(proof.slots)
        .map(|(key, slot)| EIP1186StorageProof { key, value: slot.value, proof: slot.proof })
        .collect();
    Ok(EIP1186AccountProofResponse {
        address,
        balance: account.balance,
        code_hash: account.code_hash,
        nonce: account.nonce,
        storage_hash: proof.storage_root,
        account_proof: proof.proof,
        storage_proof,
    })
}
