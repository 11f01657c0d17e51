//! Plain transactions from one key: signed here, sent, waited for.
//!
//! For what a person starts and watches: a deployment, a deposit, a withdrawal. Nothing is kept on disk; whoever is interrupted looks at the chain and
//! goes on ([`Wallet::settle`] first). Batches are sent by a relayer, which never gives up.

use crate::{Error, L1};
use alloy_consensus::{SignableTransaction, Signed, TxEip1559};
use alloy_eips::{BlockNumberOrTag, eip2718::Encodable2718, eip7825};
use alloy_primitives::{Address, B256, Bytes, Signature, TxHash, U64, U256, hex, keccak256};
use alloy_rpc_types_eth::{Log, TransactionRequest};
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use serde::Deserialize;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Longest wait for a transaction to be mined.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Waits between two looks at the chain: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// The highest tip, in wei per gas: a node that asks for more would have the account pay it.
pub const MAX_TIP: u128 = 10_000_000_000;

/// Tip where the node names none, in wei per gas.
const DEFAULT_TIP: u128 = 1_000_000_000;

/// A secp256k1 key and its address. Printing it shows the address alone.
#[derive(Clone)]
pub struct Key {
    secret: SecretKey,
    address: Address,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.address).finish()
    }
}

impl Key {
    /// The key with these 32 bytes.
    ///
    /// # Errors
    /// [`Error::Key`] if they are zero, or not below the order of the curve.
    pub fn new(secret: B256) -> Result<Self, Error> {
        let secret = SecretKey::from_secret_bytes(secret.0).map_err(|_| Error::Key)?;
        let public = PublicKey::from_secret_key(&secret).serialize_uncompressed();
        Ok(Self { secret, address: Address::from_raw_public_key(&public[1..]) })
    }

    /// The key in 64 hexadecimal digits, with `0x` before them or not, white space around them or not.
    ///
    /// # Errors
    /// [`Error::Key`], which does not repeat the text.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let bytes: [u8; 32] = hex::decode_to_array(text.trim()).map_err(|_| Error::Key)?;
        Self::new(bytes.into())
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The transaction, signed.
    pub fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> Signed<T> {
        let hash = transaction.signature_hash();
        let signature = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.secret);
        let (recovery, bytes) = signature.serialize_compact();
        transaction.into_signed(Signature::from_bytes_and_parity(&bytes, recovery.to_u8() & 1 == 1))
    }
}

/// A call that a transaction makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it does, for people: `deposit`, `create Inbox`.
    pub what: String,
    /// The account that is called.
    pub to: Address,
    /// Wei that goes along.
    pub value: U256,
    /// Its data.
    pub data: Bytes,
}

/// What of a receipt matters here. Unlike Ethereum's it may be a deposit's.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The transaction.
    pub transaction_hash: TxHash,
    /// 1 if it succeeded.
    pub status: U64,
    /// The block that it is in.
    pub block_number: U64,
    /// Gas that it used.
    pub gas_used: U64,
    /// What it logged.
    pub logs: Vec<Log>,
}

impl Receipt {
    /// Whether the transaction succeeded.
    pub fn succeeded(&self) -> bool {
        self.status == U64::ONE
    }

    /// The receipt of a transaction on the chain that `node` serves, if it is in a block.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn of(node: &L1, hash: TxHash) -> Result<Option<Self>, Error> {
        let method = "eth_getTransactionReceipt";
        let receipt: Option<Self> = node.request(method, (hash,)).await?;
        match receipt {
            Some(receipt) if receipt.transaction_hash != hash => {
                Err(Error::Malformed { method: method.into(), reason: "another transaction's receipt".into() })
            }
            receipt => Ok(receipt),
        }
    }

    /// The receipt, once there is one.
    ///
    /// # Errors
    /// [`Error::NotMined`] if there is none after `patience`, or as [`L1::request`].
    pub async fn wait(node: &L1, hash: TxHash, patience: Duration) -> Result<Self, Error> {
        let mut poll = Poll::new();
        loop {
            if let Some(receipt) = Self::of(node, hash).await? {
                return Ok(receipt);
            }
            if !poll.wait(patience).await {
                return Err(Error::NotMined { hash, host: node.host().into(), seconds: patience.as_secs() });
            }
        }
    }
}

/// Looks at a chain, often at first.
pub(crate) struct Poll {
    started: Instant,
    next: Duration,
}

impl Poll {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), next: POLL.0 }
    }

    /// Waits until the next look is due; false once it began `patience` ago.
    pub(crate) async fn wait(&mut self, patience: Duration) -> bool {
        if self.started.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 3 / 2).min(POLL.1);
        true
    }
}

/// A key on a chain.
#[derive(Clone, Debug)]
pub struct Wallet {
    node: L1,
    key: Key,
    chain_id: u64,
}

impl Wallet {
    /// The key on the chain that `node` serves.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn new(node: L1, key: Key) -> Result<Self, Error> {
        let chain_id = node.chain_id().await?;
        Ok(Self { node, key, chain_id })
    }

    /// The chain's node.
    pub fn node(&self) -> &L1 {
        &self.node
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The most that a transaction pays now, and its tip, in wei per gas: the head's base fee may double, and the tip is at most [`MAX_TIP`], whatever the node
    /// asks for. What is paid is the chain's own base fee and the tip.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn fees(&self) -> Result<(u128, u128), Error> {
        let head = self.node.header(BlockNumberOrTag::Latest).await?;
        let base = head.and_then(|head| head.base_fee_per_gas).unwrap_or(0);
        let tip = match self.node.priority_fee().await {
            Ok(tip) => tip.min(MAX_TIP),
            Err(Error::Rpc { .. }) => DEFAULT_TIP, // not all nodes have the method
            Err(error) => return Err(error),
        };
        Ok((u128::from(base).saturating_mul(2).saturating_add(tip), tip))
    }

    /// Returns once no transaction of the account waits: what an interrupted run has sent is then on the chain.
    ///
    /// # Errors
    /// [`Error::Waiting`] if some still wait after a quarter of an hour, or as [`L1::request`].
    pub async fn settle(&self) -> Result<(), Error> {
        let mut poll = Poll::new();
        loop {
            let pending = self.node.nonce(self.address(), BlockNumberOrTag::Pending).await?;
            let mined = self.node.nonce(self.address(), BlockNumberOrTag::Latest).await?;
            if pending <= mined {
                return Ok(());
            }
            if !poll.wait(PATIENCE).await {
                return Err(Error::Waiting { address: self.address(), count: pending - mined });
            }
        }
    }

    /// Sends calls that do not need each other's effects, in order, a transaction each, and waits until all are mined. `sent` hears of each as it is sent.
    /// A call that would fail is not sent.
    ///
    /// # Errors
    /// [`Error::Reverts`] if a call would fail, [`Error::Failed`] if it did, [`Error::NotMined`], or as [`L1::request`]. Earlier calls may have
    /// taken place.
    pub async fn send(&self, calls: &[Call], mut sent: impl FnMut(&Call, TxHash)) -> Result<Vec<Receipt>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let (max_fee, tip) = self.fees().await?;
        let first = self.node.nonce(self.address(), BlockNumberOrTag::Pending).await?;
        let mut hashes = Vec::with_capacity(calls.len());
        for (nonce, call) in (first..).zip(calls) {
            let transaction = self.key.sign(TxEip1559 {
                chain_id: self.chain_id,
                nonce,
                gas_limit: self.gas_limit(call).await?,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to: call.to.into(),
                value: call.value,
                input: call.data.clone(),
                ..Default::default()
            });
            let hash = *transaction.hash();
            if let Err(refusal) = self.node.send_raw(&transaction.encoded_2718()).await {
                // The same transaction may have come before, or the node have taken it and not said so.
                if self.node.request::<Option<serde_json::Value>>("eth_getTransactionByHash", (hash,)).await?.is_none()
                {
                    return Err(refusal);
                }
            }
            sent(call, hash);
            hashes.push(hash);
        }
        let mut receipts = Vec::with_capacity(calls.len());
        for (call, hash) in calls.iter().zip(hashes) {
            let receipt = Receipt::wait(&self.node, hash, PATIENCE).await?;
            if !receipt.succeeded() {
                return Err(Error::Failed { what: call.what.clone(), hash });
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    /// A fifth more than the call needs now.
    async fn gas_limit(&self, call: &Call) -> Result<u64, Error> {
        let mut request = TransactionRequest::default().from(self.address()).to(call.to).value(call.value);
        request.input = call.data.clone().into();
        let gas = self.node.estimate_gas(&request).await.map_err(|error| match error {
            error @ Error::Rpc { .. } => {
                let reason = error.revert().map_or_else(|| error.to_string(), |revert| revert.to_string());
                Error::Reverts { what: call.what.clone(), reason }
            }
            error => error,
        })?;
        Ok(gas.saturating_add(gas / 5).min(eip7825::MAX_TX_GAS_LIMIT_OSAKA.max(gas)))
    }
}

/// The address that a contract with this creation code has if `creator` makes it with this salt (EIP-1014).
pub fn create2_address(creator: Address, salt: B256, creation_code: &[u8]) -> Address {
    creator.create2(salt, keccak256(creation_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::address;

    #[test]
    fn a_key_is_read_and_never_shown() {
        // Account 0 of the well-known development mnemonic.
        let text = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let key = Key::from_hex(&format!(" {text}\n")).expect("valid");
        assert_eq!(key.address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert!(!format!("{key:?}").contains("ac0974"));
        assert_eq!(Key::from_hex(&text[2..]).expect("valid").address(), key.address());
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for bad in ["", "0x", &text[..64], &format!("{text}00"), &"0".repeat(64), order, "hunter2"] {
            let error = Key::from_hex(bad).expect_err("refused").to_string();
            assert!(bad.is_empty() || bad == "0x" || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn what_is_signed_has_its_sender() {
        let key = Key::new(B256::repeat_byte(1)).expect("valid");
        let signed = key.sign(TxEip1559 { chain_id: 1, nonce: 7, ..Default::default() });
        let hash = signed.signature_hash();
        assert_eq!(signed.signature().recover_address_from_prehash(&hash).expect("valid"), key.address());
    }

    #[test]
    fn addresses_are_eip_1014s() {
        // From the EIP's examples.
        let creator = address!("deadbeef00000000000000000000000000000000");
        let code = hex!("00");
        assert_eq!(create2_address(creator, B256::ZERO, &code), address!("B928f69Bb1D91Cd65274e3c79d8986362984fDA3"));
    }
}
