//! Accounts that a development chain signs for: those of the mnemonic `test test test test test test test test test test test junk`,
//! derived at `m/44'/60'/0'/0/0..9`. Their keys are public knowledge: anvil and Hardhat print them. Nothing of this exists on any other chain.

use crate::{
    error::RpcError,
    eth::fees,
    methods::{Call, Methods},
    request,
};
use alloy_consensus::{EthereumTxEnvelope, EthereumTypedTransaction, SignableTransaction, TxEip4844, TypedTransaction};
use alloy_dyn_abi::TypedData;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U64, U256, b256, eip191_hash_message, keccak256};
use alloy_rpc_types_eth::TransactionRequest;
use jove_primitives::block::RecoveredTransaction;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use serde_json::Value;
use std::sync::LazyLock;

const KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

struct Account {
    address: Address,
    key: SecretKey,
}

static ACCOUNTS: LazyLock<Vec<Account>> = LazyLock::new(|| {
    KEYS.iter()
        .filter_map(|key| SecretKey::from_secret_bytes(key.0).ok())
        .map(|key| {
            let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
            Account { address: Address::from_slice(&keccak256(&public[1..])[12..]), key }
        })
        .collect()
});

/// The ten accounts that a development chain funds and signs for: addresses and private keys, in the mnemonic's order.
pub fn dev_accounts() -> Vec<(Address, B256)> {
    addresses().into_iter().zip(KEYS).collect()
}

/// The ten addresses, in the mnemonic's order.
pub(crate) fn addresses() -> Vec<Address> {
    ACCOUNTS.iter().map(|account| account.address).collect()
}

pub(crate) fn register(methods: &mut Methods) {
    methods.heavy("eth_sendTransaction", send_transaction);
    methods.heavy("eth_signTransaction", sign_transaction);
    methods.quick("eth_sign", |call| {
        let (address, message): (Address, Bytes) = call.args()?;
        sign(address, eip191_hash_message(message)).map(encoded)
    });
    methods.quick("personal_sign", |call| {
        // A password may follow; these accounts have none.
        let (message, address, _): (Bytes, Address, Option<Value>) = call.args()?;
        sign(address, eip191_hash_message(message)).map(encoded)
    });
    for name in ["eth_signTypedData_v4", "eth_signTypedData"] {
        methods.quick(name, |call| {
            let (address, data): (Address, Value) = call.args()?;
            sign(address, typed_data_hash(data)?).map(encoded)
        });
    }
}

/// The hash that EIP-712 signs. Some wallets send the data as a string of JSON.
fn typed_data_hash(data: Value) -> Result<B256, RpcError> {
    let invalid = |error: String| RpcError::invalid_params(format!("invalid typed data: {error}"));
    let data: TypedData = match data {
        Value::String(text) => serde_json::from_str(&text),
        data => serde_json::from_value(data),
    }
    .map_err(|error| invalid(error.to_string()))?;
    data.eip712_signing_hash().map_err(|error| invalid(error.to_string()))
}

fn sign(address: Address, hash: B256) -> Result<Signature, RpcError> {
    let account = ACCOUNTS.iter().find(|account| account.address == address);
    let account = account.ok_or_else(|| RpcError::server("unknown account"))?;
    let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &account.key);
    let (recovery, bytes) = signature.serialize_compact();
    Ok(Signature::from_bytes_and_parity(&bytes, recovery.to_u8() & 1 == 1))
}

/// r ‖ s ‖ v, with v 27 or 28.
fn encoded(signature: Signature) -> Bytes {
    signature.as_bytes().into()
}

fn send_transaction(call: &Call) -> Result<B256, RpcError> {
    let (request,): (TransactionRequest,) = call.args()?;
    let transaction = complete_and_sign(call, request)?;
    let pool = call.context.node.pool();
    if call.context.dev.is_impersonated(transaction.signer()) {
        if let Some(dev) = call.context.node.dev() {
            dev.detach("impersonation")?;
        }
        return Ok(pool.add(transaction)?);
    }
    match pool.add_raw(&[transaction.inner().encoded_2718().into()]).pop() {
        Some(result) => Ok(result?),
        None => Err(RpcError::internal("the pool gave no answer")),
    }
}

fn sign_transaction(call: &Call) -> Result<Bytes, RpcError> {
    let (request,): (TransactionRequest,) = call.args()?;
    Ok(complete_and_sign(call, request)?.inner().encoded_2718().into())
}

/// Fills in what the caller left open — sender, nonce, chain, fees, gas — and signs.
fn complete_and_sign(call: &Call, mut request: TransactionRequest) -> Result<RecoveredTransaction, RpcError> {
    request::normalize_input(&mut request)?;
    let chain_id = call.context.node.spec().chain_id;
    if request.chain_id.is_some_and(|id| id != chain_id) {
        return Err(RpcError::invalid_params(format!(
            "chainId does not match node's (have={:?}, want={chain_id})",
            request.chain_id
        )));
    }
    let from = *request.from.get_or_insert_with(|| ACCOUNTS[0].address);
    let impersonated = call.context.dev.is_impersonated(from);
    if !impersonated && !ACCOUNTS.iter().any(|account| account.address == from) {
        return Err(RpcError::server("unknown account"));
    }
    request.chain_id = Some(chain_id);
    if request.to.is_none() {
        if request.input.input.as_ref().is_none_or(|input| input.is_empty()) {
            return Err(RpcError::invalid_params("contract creation without any data provided"));
        }
        request.to = Some(TxKind::Create);
    }
    if request.nonce.is_none() {
        let pooled = call.context.node.pool().next_nonce(from);
        let state = || call.context.state(None)?.state.account(from).map_err(RpcError::from);
        request.nonce = Some(match pooled {
            Some(nonce) => nonce,
            None => state()?.map_or(0, |account| account.nonce),
        });
    }
    complete_fees(call, &mut request)?;
    if request.gas.is_none() {
        let estimate = call.context.methods.call_within(call, "eth_estimateGas", &(&request, "pending"))?;
        let gas: U64 = serde_json::from_slice(&estimate).map_err(RpcError::internal)?;
        request.gas = Some(gas.to());
    }
    let unsigned = build(request)?;
    let signature = if impersonated { impersonation(from) } else { sign(from, unsigned.signature_hash())? };
    Ok(RecoveredTransaction::new_unchecked(EthereumTxEnvelope::new_unhashed(unsigned, signature).into(), from))
}

fn complete_fees(call: &Call, request: &mut TransactionRequest) -> Result<(), RpcError> {
    let legacy = matches!(request.transaction_type, Some(0 | 1)) || request.gas_price.is_some();
    if legacy && request.has_eip1559_fields() {
        return Err(RpcError::invalid_params("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
    }
    if legacy {
        if request.gas_price.is_none() {
            request.gas_price = Some(fees::gas_price(&call.context)?);
        }
        return Ok(());
    }
    let base_fee = u128::from(fees::next_base_fee(&call.context)?);
    let tip = match (request.max_priority_fee_per_gas, request.max_fee_per_gas) {
        (Some(tip), _) => tip,
        (None, cap) => fees::suggested_tip(&call.context)?.min(cap.unwrap_or(u128::MAX)),
    };
    let cap = request.max_fee_per_gas.unwrap_or_else(|| base_fee.saturating_mul(2).saturating_add(tip));
    if cap < tip {
        return Err(RpcError::invalid_params(format!("maxFeePerGas ({cap}) < maxPriorityFeePerGas ({tip})")));
    }
    request.max_priority_fee_per_gas = Some(tip);
    request.max_fee_per_gas = Some(cap);
    Ok(())
}

/// The transaction that a completed request describes.
fn build(request: TransactionRequest) -> Result<EthereumTypedTransaction<TxEip4844>, RpcError> {
    if request.has_eip4844_fields() || request.transaction_type == Some(3) {
        return Err(RpcError::server("blob transactions are not supported"));
    }
    let built = request.build_typed_tx();
    match built.map_err(|_| RpcError::invalid_params("the transaction's fields do not make a transaction"))? {
        TypedTransaction::Legacy(transaction) => Ok(EthereumTypedTransaction::Legacy(transaction)),
        TypedTransaction::Eip2930(transaction) => Ok(EthereumTypedTransaction::Eip2930(transaction)),
        TypedTransaction::Eip1559(transaction) => Ok(EthereumTypedTransaction::Eip1559(transaction)),
        TypedTransaction::Eip7702(transaction) => Ok(EthereumTypedTransaction::Eip7702(transaction)),
        TypedTransaction::Eip4844(_) => Err(RpcError::server("blob transactions are not supported")),
    }
}

/// What an impersonated sender has for a signature. Its r is the address and its s is 1, so that equal transactions of different
/// senders have different hashes. It is no valid signature of anyone: recovery is never asked.
fn impersonation(from: Address) -> Signature {
    Signature::new(U256::from_be_bytes(from.into_word().0), U256::ONE, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::transaction::SignerRecoverable;
    use jove_primitives::ChainSpec;

    #[test]
    fn the_keys_are_those_of_the_funded_accounts() {
        let mut ours = addresses();
        ours.sort();
        assert_eq!(ours, ChainSpec::dev().genesis.alloc.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn signatures_recover_to_their_account() {
        let from = addresses()[3];
        let hash = eip191_hash_message("hello");
        assert_eq!(sign(from, hash).expect("ours").recover_address_from_prehash(&hash).expect("valid"), from);
        assert_eq!(sign(Address::ZERO, hash).expect_err("not ours").message, "unknown account");
        let request: TransactionRequest = serde_json::from_value(serde_json::json!({
            "from": from, "to": Address::ZERO, "nonce": "0x0", "gas": "0x5208", "chainId": "0x1633",
            "maxFeePerGas": "0x2", "maxPriorityFeePerGas": "0x1",
        }))
        .expect("a request");
        let unsigned = build(request).expect("complete");
        let signature = sign(from, unsigned.signature_hash()).expect("ours");
        let signed = EthereumTxEnvelope::<TxEip4844>::new_unhashed(unsigned, signature);
        assert_eq!(signed.recover_signer().expect("valid"), from);
    }

    /// The example of EIP-712, whose hash the EIP's own test pins.
    #[test]
    fn typed_data_hashes_as_the_eip_says() {
        let data = serde_json::json!({
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}
                ],
                "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
                "Mail": [
                    {"name": "from", "type": "Person"}, {"name": "to", "type": "Person"},
                    {"name": "contents", "type": "string"}
                ]
            },
            "primaryType": "Mail",
            "domain": {
                "name": "Ether Mail", "version": "1", "chainId": 1,
                "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"
            },
            "message": {
                "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
                "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
                "contents": "Hello, Bob!"
            }
        });
        let expected = b256!("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
        assert_eq!(typed_data_hash(data.clone()), Ok(expected));
        assert_eq!(typed_data_hash(Value::String(data.to_string())), Ok(expected));
        for bad in [Value::Null, Value::String("{".into()), serde_json::json!({"types": {}})] {
            assert_eq!(typed_data_hash(bad).expect_err("refused").code, RpcError::INVALID_PARAMS);
        }
    }

    #[test]
    fn impersonated_senders_have_hashes_of_their_own() {
        let transaction = |from: Address| {
            let unsigned = EthereumTypedTransaction::Legacy(Default::default());
            *EthereumTxEnvelope::<TxEip4844>::new_unhashed(unsigned, impersonation(from)).hash()
        };
        assert_ne!(transaction(Address::ZERO), transaction(Address::repeat_byte(1)));
    }

    #[test]
    fn blob_transactions_are_refused_by_name() {
        let request = TransactionRequest { transaction_type: Some(3), ..Default::default() };
        assert_eq!(build(request).expect_err("refused").message, "blob transactions are not supported");
    }
}
