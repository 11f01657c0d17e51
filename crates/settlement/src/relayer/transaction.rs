//! What the relayer signs: requests, fees, and transactions with their sidecars.

use crate::{Error, wallet::Key};
use alloy_consensus::{Signed, Transaction as _, TxEip1559, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::{
    eip2718::{Decodable2718, Encodable2718},
    eip2930::AccessList,
    eip4844::{Blob, Bytes48},
    eip7594::{BlobTransactionSidecarEip7594, CELLS_PER_EXT_BLOB, Decodable7594, Encodable7594},
};
use alloy_primitives::{Address, B256, Bytes, TxHash, TxKind, U256, keccak256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use alloy_rpc_types_eth::TransactionRequest;
use jove_primitives::{batch::MAX_BLOBS, transaction::SignedTransaction};
use std::sync::Arc;

/// Blobs with their commitments, and 128 cell proofs each.
pub type Sidecar = BlobTransactionSidecarEip7594;

/// Longest key of a request, in bytes.
pub const MAX_KEY: usize = 128;
/// Most bytes of call data: pools take no transaction above 128 KiB.
pub const MAX_DATA: usize = 120 * 1024;

/// Commits to blobs and proves their cells, about 0.2 s of a core each: not for a thread that serves others.
///
/// # Errors
/// [`Error::Kzg`] if a blob has an element that is not below the field's modulus; [`Error::Request`] if there are more than [`MAX_BLOBS`], or none.
pub fn sidecar(blobs: Vec<Blob>) -> Result<Sidecar, Error> {
    if blobs.is_empty() || blobs.len() > MAX_BLOBS {
        return Err(Error::Request("a transaction has 1 to 6 blobs"));
    }
    let kzg = |error: c_kzg::Error| Error::Kzg(format!("{error:?}"));
    let settings = c_kzg::ethereum_kzg_settings(0);
    let mut commitments = Vec::with_capacity(blobs.len());
    let mut proofs = Vec::with_capacity(blobs.len() * CELLS_PER_EXT_BLOB);
    for blob in &blobs {
        let blob = c_kzg::Blob::new(blob.0);
        let commitment = settings.blob_to_kzg_commitment(&blob).map_err(kzg)?;
        commitments.push(Bytes48::from(commitment.to_bytes().into_inner()));
        let (_, cells) = settings.compute_cells_and_kzg_proofs(&blob).map_err(kzg)?;
        proofs.extend(cells.iter().map(|proof| Bytes48::from(proof.to_bytes().into_inner())));
    }
    Ok(Sidecar::new(blobs, commitments, proofs))
}

/// What is to be sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the request, for ever: two requests with one key are one, and lead to one transaction at most. 1 to [`MAX_KEY`] bytes.
    pub key: String,
    /// The contract.
    pub to: Address,
    /// In wei.
    pub value: U256,
    /// Call data, at most [`MAX_DATA`] bytes.
    pub data: Bytes,
    /// Gas limit; by default the node's estimate and a quarter more.
    pub gas_limit: Option<u64>,
    /// The blobs, if it carries any: see [`sidecar`].
    pub sidecar: Option<Arc<Sidecar>>,
}

/// A request as the journal has it.
#[derive(RlpEncodable, RlpDecodable)]
struct Stored {
    key: String,
    to: Address,
    value: U256,
    data: Bytes,
    /// 0: none.
    gas_limit: u64,
    /// Fields of the sidecar, version first, in RLP; empty: none.
    sidecar: Bytes,
}

impl Request {
    /// # Errors
    /// [`Error::Request`].
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.key.is_empty() || self.key.len() > MAX_KEY {
            return Err(Error::Request("a key has 1 to 128 bytes"));
        }
        if self.data.len() > MAX_DATA {
            return Err(Error::Request("call data is longer than 120 KiB"));
        }
        if self.gas_limit == Some(0) {
            return Err(Error::Request("a gas limit is above 0"));
        }
        let Some(sidecar) = &self.sidecar else { return Ok(()) };
        let count = sidecar.blobs.len();
        let whole = sidecar.commitments.len() == count && sidecar.cell_proofs.len() == count * CELLS_PER_EXT_BLOB;
        if count == 0 || count > MAX_BLOBS || !whole {
            return Err(Error::Request("a sidecar has 1 to 6 blobs, each with a commitment and 128 cell proofs"));
        }
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut sidecar = Vec::new();
        if let Some(blobs) = &self.sidecar {
            sidecar.reserve(blobs.encode_7594_len());
            blobs.encode_7594(&mut sidecar);
        }
        alloy_rlp::encode(Stored {
            key: self.key.clone(),
            to: self.to,
            value: self.value,
            data: self.data.clone(),
            gas_limit: self.gas_limit.unwrap_or(0),
            sidecar: sidecar.into(),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = alloy_rlp::decode_exact(bytes).ok()?;
        let mut fields = &stored.sidecar[..];
        let sidecar = match fields.is_empty() {
            true => None,
            false => Some(Arc::new(Sidecar::decode_7594(&mut fields).ok()?)),
        };
        let request = Self {
            key: stored.key,
            to: stored.to,
            value: stored.value,
            data: stored.data,
            gas_limit: (stored.gas_limit > 0).then_some(stored.gas_limit),
            sidecar,
        };
        (fields.is_empty() && request.check().is_ok()).then_some(request)
    }

    /// Versioned hashes of the blobs.
    pub fn blob_hashes(&self) -> Vec<B256> {
        self.sidecar.iter().flat_map(|sidecar| sidecar.versioned_hashes()).collect()
    }

    /// What must be equal for two requests with one key to be one: recipient, value, call data and blobs.
    pub(super) fn digest(&self) -> B256 {
        let mut bytes = Vec::new();
        self.to.encode(&mut bytes);
        self.value.encode(&mut bytes);
        self.data.encode(&mut bytes);
        self.blob_hashes().encode(&mut bytes);
        keccak256(bytes)
    }

    /// The call that shows what the transaction would do. Without fees: it is asked what it does, not whether it is worth its price.
    pub(super) fn call(&self, from: Address) -> TransactionRequest {
        let hashes = self.blob_hashes();
        TransactionRequest {
            from: Some(from),
            to: Some(TxKind::Call(self.to)),
            value: Some(self.value),
            input: self.data.clone().into(),
            gas: self.gas_limit,
            blob_versioned_hashes: (!hashes.is_empty()).then_some(hashes),
            ..Default::default()
        }
    }
}

/// What a transaction pays at most, in wei per gas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fees {
    /// Base fee and tip together.
    pub max_fee_per_gas: u128,
    /// Tip.
    pub max_priority_fee_per_gas: u128,
    /// Blob base fee; 0 without blobs.
    pub max_fee_per_blob_gas: u128,
}

impl Fees {
    /// None above its cap, and the tip not above the fee it is a part of.
    pub(super) fn capped(self, caps: &Self) -> Self {
        let max_fee_per_gas = self.max_fee_per_gas.min(caps.max_fee_per_gas);
        Self {
            max_fee_per_gas,
            max_priority_fee_per_gas: self
                .max_priority_fee_per_gas
                .min(caps.max_priority_fee_per_gas)
                .min(max_fee_per_gas),
            max_fee_per_blob_gas: self.max_fee_per_blob_gas.min(caps.max_fee_per_blob_gas),
        }
    }

    /// What pools take as a replacement, and no less than `market`; none if a fee would be above its cap. Pools want 10 % more, and of blob transactions twice as
    /// much, of each fee.
    pub(super) fn bumped(self, market: Self, caps: &Self, blobs: bool) -> Option<Self> {
        let raise = |fee: u128| {
            let raised = if blobs { fee.checked_mul(2)? } else { fee.checked_add(fee.div_ceil(8))? };
            Some(raised.max(fee.checked_add(1)?))
        };
        let least = Self {
            max_fee_per_gas: raise(self.max_fee_per_gas)?,
            max_priority_fee_per_gas: raise(self.max_priority_fee_per_gas)?,
            max_fee_per_blob_gas: if blobs { raise(self.max_fee_per_blob_gas)? } else { 0 },
        };
        let within = least.max_fee_per_gas <= caps.max_fee_per_gas
            && least.max_priority_fee_per_gas <= caps.max_priority_fee_per_gas
            && least.max_fee_per_blob_gas <= caps.max_fee_per_blob_gas;
        if !within {
            return None;
        }
        let market = market.capped(caps);
        let max_fee_per_gas = least.max_fee_per_gas.max(market.max_fee_per_gas);
        Some(Self {
            max_fee_per_gas,
            max_priority_fee_per_gas: least
                .max_priority_fee_per_gas
                .max(market.max_priority_fee_per_gas)
                .min(max_fee_per_gas),
            max_fee_per_blob_gas: least.max_fee_per_blob_gas.max(if blobs { market.max_fee_per_blob_gas } else { 0 }),
        })
    }
}

/// Signs a request with nonce and fees. The signature depends on nothing else (RFC 6979).
pub(super) fn sign(key: &Key, request: &Request, chain_id: u64, nonce: u64, gas_limit: u64, fees: Fees) -> Attempt {
    let Fees { max_fee_per_gas, max_priority_fee_per_gas, max_fee_per_blob_gas } = fees;
    let Request { to, value, ref data, .. } = *request;
    let (input, access_list) = (data.clone(), AccessList::default());
    let transaction: SignedTransaction = match &request.sidecar {
        None => key
            .sign(TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: TxKind::Call(to),
                value,
                access_list,
                input,
            })
            .into(),
        Some(_) => key
            .sign(TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                blob_versioned_hashes: request.blob_hashes(),
                max_fee_per_blob_gas,
                input,
            })
            .into(),
    };
    Attempt { hash: *transaction.tx_hash(), transaction }
}

/// A transaction that was signed, and perhaps sent.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) hash: TxHash,
    pub(super) transaction: SignedTransaction,
}

impl Attempt {
    pub(super) fn decode(raw: &[u8]) -> Option<Self> {
        let transaction = SignedTransaction::decode_2718_exact(raw).ok()?;
        Some(Self { hash: *transaction.tx_hash(), transaction })
    }

    /// Without a sidecar.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.transaction.encoded_2718()
    }

    pub(super) fn nonce(&self) -> u64 {
        self.transaction.nonce()
    }

    pub(super) fn fees(&self) -> Fees {
        Fees {
            max_fee_per_gas: self.transaction.max_fee_per_gas(),
            max_priority_fee_per_gas: self.transaction.max_priority_fee_per_gas().unwrap_or(0),
            max_fee_per_blob_gas: self.transaction.max_fee_per_blob_gas().unwrap_or(0),
        }
    }

    /// What is sent to a node: of a blob transaction the network form, `0x03 ‖ rlp([transaction, 1, blobs, commitments, cell proofs])`.
    pub(super) fn network_form(&self, sidecar: Option<&Arc<Sidecar>>) -> Vec<u8> {
        let (SignedTransaction::Eip4844(signed), Some(sidecar)) = (&self.transaction, sidecar) else {
            return self.encode();
        };
        let with_sidecar = TxEip4844WithSidecar::from_tx_and_sidecar(signed.tx().clone(), sidecar.as_ref().clone());
        Signed::new_unchecked(with_sidecar, *signed.signature(), self.hash).encoded_2718()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GWEI: u128 = 1_000_000_000;

    fn fees(fee: u128, tip: u128, blob: u128) -> Fees {
        Fees { max_fee_per_gas: fee, max_priority_fee_per_gas: tip, max_fee_per_blob_gas: blob }
    }

    fn request(sidecar: Option<Arc<Sidecar>>) -> Request {
        Request {
            key: "commit 7".into(),
            to: Address::repeat_byte(1),
            value: U256::from(5),
            data: Bytes::from_static(b"data"),
            gas_limit: None,
            sidecar,
        }
    }

    #[test]
    fn replacements_are_what_pools_want_and_never_above_the_caps() {
        let caps = fees(100 * GWEI, 10 * GWEI, 50 * GWEI);
        let old = fees(8 * GWEI, GWEI, 0);
        assert_eq!(old.bumped(fees(0, 0, 0), &caps, false), Some(fees(9 * GWEI, GWEI + GWEI / 8, 0)));
        // The market is ahead.
        assert_eq!(old.bumped(fees(20 * GWEI, GWEI, 7), &caps, false), Some(fees(20 * GWEI, GWEI + GWEI / 8, 0)));
        assert_eq!(old.bumped(fees(900 * GWEI, 0, 0), &caps, false).map(|f| f.max_fee_per_gas), Some(100 * GWEI));
        let blob = fees(8 * GWEI, GWEI, 1);
        assert_eq!(blob.bumped(fees(0, 0, 0), &caps, true), Some(fees(16 * GWEI, 2 * GWEI, 2)));
        // One fee at its cap is enough to wait.
        for (old, blobs) in [
            (fees(95 * GWEI, GWEI, 0), false),
            (fees(8 * GWEI, 9 * GWEI, 0), false),
            (fees(51 * GWEI, GWEI, 1), true),
            (fees(8 * GWEI, GWEI, 26 * GWEI), true),
            (fees(u128::MAX, 0, 0), false),
            (fees(0, 0, u128::MAX), true),
        ] {
            assert_eq!(old.bumped(fees(0, 0, 0), &caps, blobs), None, "{old:?}");
        }
        // Nothing is raised by nothing.
        assert_eq!(fees(0, 0, 0).bumped(fees(0, 0, 0), &caps, true), Some(fees(1, 1, 1)));
        assert_eq!(fees(200 * GWEI, 90 * GWEI, 90 * GWEI).capped(&caps), caps);
        assert_eq!(fees(GWEI, 90 * GWEI, 0).capped(&caps), fees(GWEI, GWEI, 0));
    }

    #[test]
    fn requests_survive_the_journal() {
        let blob = |seed: u8| Blob::repeat_byte(seed);
        let sidecar = Sidecar::new(
            vec![blob(1), blob(2)],
            vec![Bytes48::repeat_byte(3); 2],
            vec![Bytes48::repeat_byte(4); 2 * CELLS_PER_EXT_BLOB],
        );
        for sidecar in [None, Some(Arc::new(sidecar))] {
            let mut request = request(sidecar);
            assert!(Request::decode(&request.encode()).as_ref() == Some(&request));
            request.gas_limit = Some(9);
            let bytes = request.encode();
            assert!(Request::decode(&bytes).as_ref() == Some(&request));
            assert!(Request::decode(&bytes[..bytes.len() - 1]).is_none());
            assert!(Request::decode(&[bytes, vec![0]].concat()).is_none());
        }
    }

    #[test]
    fn requests_are_bounded() {
        let bad = |change: fn(&mut Request)| {
            let mut request = request(None);
            change(&mut request);
            assert!(matches!(request.check(), Err(Error::Request(_))));
        };
        bad(|request| request.key = String::new());
        bad(|request| request.key = "k".repeat(MAX_KEY + 1));
        bad(|request| request.data = vec![0; MAX_DATA + 1].into());
        bad(|request| request.gas_limit = Some(0));
        bad(|request| request.sidecar = Some(Arc::default()));
        assert!(request(None).check().is_ok());
        assert!(matches!(sidecar(vec![]), Err(Error::Request(_))));
        assert!(matches!(sidecar(vec![Blob::ZERO; 7]), Err(Error::Request(_))));
        assert!(matches!(sidecar(vec![Blob::repeat_byte(0xff)]), Err(Error::Kzg(_))));
    }

    #[test]
    fn keys_are_not_shown() {
        let key = B256::repeat_byte(0x11);
        let signer = Key::new(key).expect("a key");
        // The address of this key, as `cast wallet address` gives it.
        assert_eq!(signer.address().to_string(), "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
        assert!(!format!("{signer:?}").contains("1111"));
        assert!(matches!(Key::new(B256::ZERO), Err(Error::Key)));
    }

    #[test]
    fn signing_twice_gives_the_same_bytes() {
        let signer = Key::new(B256::repeat_byte(0x11)).expect("a key");
        let sidecar = Arc::new(sidecar(vec![Blob::ZERO]).expect("proven"));
        for request in [request(None), request(Some(sidecar))] {
            let signed = || sign(&signer, &request, 900, 3, 21_000, fees(9, 1, 5));
            let (one, two) = (signed(), signed());
            assert_eq!(one.encode(), two.encode());
            let decoded = Attempt::decode(&one.encode()).expect("decodes");
            assert_eq!((decoded.hash, decoded.nonce()), (one.hash, 3));
            assert_eq!(decoded.hash, keccak256(one.encode()));
            assert_eq!(decoded.fees().max_fee_per_gas, 9);
            let sent = one.network_form(request.sidecar.as_ref());
            match &request.sidecar {
                None => assert_eq!(sent, one.encode()),
                Some(_) => {
                    assert_eq!(decoded.fees().max_fee_per_blob_gas, 5);
                    let pooled =
                        alloy_consensus::transaction::PooledTransaction::decode_2718_exact(&sent).expect("decodes");
                    assert_eq!(*pooled.tx_hash(), one.hash);
                    assert_eq!(pooled.blob_versioned_hashes(), Some(&request.blob_hashes()[..]));
                }
            }
        }
    }
}
