//! From a caller's request to what the EVM runs, and to the transaction that it would be.

use crate::{error::RpcError, request::normalize_input};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_primitives::{Address, Signature, TxKind};
use alloy_rpc_types_eth::TransactionRequest;
use jove_primitives::Transaction;
use jove_stf::Rules;
use revm::{context::TxEnv, context_interface::either::Either};

/// Most gas a call may use, unless a transaction may have more: it bounds the time that one takes.
pub(crate) const CALL_GAS_CAP: u64 = 50_000_000;

/// revm's form of a request. Its gas limit is at most `gas_cap`, and that without one. Blobs, where the rules know them, are named by their hashes
/// or come with it; without a price they cost what the block asks.
///
/// # Errors
/// -32602 where the request contradicts itself or the chain.
pub(crate) fn tx_env(mut request: TransactionRequest, rules: &Rules, gas_cap: u64) -> Result<TxEnv, RpcError> {
    normalize_input(&mut request)?;
    let chain_id = rules.chain_id();
    let TransactionRequest {
        from,
        to,
        gas_price,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        max_fee_per_blob_gas,
        gas,
        value,
        input,
        nonce,
        chain_id: wanted_chain,
        access_list,
        transaction_type,
        blob_versioned_hashes,
        sidecar,
        authorization_list,
    } = request;
    let has_blobs = max_fee_per_blob_gas.is_some()
        || blob_versioned_hashes.is_some()
        || sidecar.is_some()
        || transaction_type == Some(3);
    if has_blobs && matches!(rules, Rules::Jove { .. }) {
        let text = "transaction type not supported: blob transactions (EIP-4844) are not accepted on this chain";
        return Err(RpcError::invalid_params(text));
    }
    if gas_price.is_some() && (max_fee_per_gas.is_some() || max_priority_fee_per_gas.is_some()) {
        let text = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified";
        return Err(RpcError::invalid_params(text));
    }
    if let Some(wanted) = wanted_chain
        && wanted != chain_id
    {
        let text = format!("chainId does not match node's (have={wanted}, want={chain_id})");
        return Err(RpcError::invalid_params(text));
    }
    let kind = to.unwrap_or(TxKind::Create);
    if has_blobs && (kind.is_create() || gas_price.is_some() || authorization_list.is_some()) {
        let text = "a blob transaction has a recipient, no gasPrice and no authorizationList";
        return Err(RpcError::invalid_params(text));
    }
    if authorization_list.is_some() && kind.is_create() {
        return Err(RpcError::invalid_params("EIP-7702 transaction without a recipient"));
    }
    let tx_type = match (&authorization_list, gas_price, &access_list) {
        _ if has_blobs => 3,
        (Some(_), ..) => 4,
        (None, Some(_), None) => 0,
        (None, Some(_), Some(_)) => 1,
        (None, None, _) => 2,
    };
    Ok(TxEnv {
        tx_type,
        caller: from.unwrap_or(Address::ZERO),
        gas_limit: gas.unwrap_or(gas_cap).min(gas_cap),
        gas_price: gas_price.or(max_fee_per_gas).unwrap_or(0),
        kind,
        value: value.unwrap_or_default(),
        data: input.input.unwrap_or_default(),
        nonce: nonce.unwrap_or(0),
        chain_id: Some(chain_id),
        access_list: access_list.unwrap_or_default(),
        gas_priority_fee: (matches!(tx_type, 2 | 3) || (tx_type == 4 && gas_price.is_none()))
            .then_some(max_priority_fee_per_gas.unwrap_or(0)),
        blob_hashes: blob_versioned_hashes
            .or_else(|| sidecar.map(|sidecar| sidecar.versioned_hashes().collect()))
            .unwrap_or_default(),
        max_fee_per_blob_gas: max_fee_per_blob_gas.unwrap_or(0),
        authorization_list: authorization_list.unwrap_or_default().into_iter().map(Either::Left).collect(),
    })
}

/// The transaction that would be sent, with `signature` in place of the sender's.
pub(crate) fn unsigned(tx: &TxEnv, signature: Signature) -> Transaction {
    let TxEnv { nonce, gas_limit, value, .. } = *tx;
    let (to, input, access_list) = (tx.kind, tx.data.clone(), tx.access_list.clone());
    let chain_id = tx.chain_id.unwrap_or_default();
    let (max_fee_per_gas, max_priority_fee_per_gas) = (tx.gas_price, tx.gas_priority_fee.unwrap_or(0));
    let gas_price = tx.gas_price;
    match (tx.tx_type, to) {
        (0, _) => TxLegacy { chain_id: tx.chain_id, nonce, gas_price, gas_limit, to, value, input }
            .into_signed(signature)
            .into(),
        (1, _) => TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
            .into_signed(signature)
            .into(),
        (3, TxKind::Call(to)) => TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            blob_versioned_hashes: tx.blob_hashes.clone(),
            max_fee_per_blob_gas: tx.max_fee_per_blob_gas,
            input,
        }
        .into_signed(signature)
        .into(),
        (4, TxKind::Call(to)) => {
            let authorization_list = tx.authorization_list.iter().filter_map(|one| one.clone().left()).collect();
            TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                authorization_list,
                input,
            }
            .into_signed(signature)
            .into()
        }
        _ => TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }
        .into_signed(signature)
        .into(),
    }
}
