//! BLS12-381 signatures, signatures in G1 and keys in G2, and the VRF of RFC 9381: what nodes use.
//!
//! The ciphersuite is `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_` of draft-irtf-cfrg-bls-signature: aggregates over one message are safe only
//! because every key comes with a proof of possession, a signature of the key itself under another domain
//! (`BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_`). [`verify_possession`] checks it at registration, and key and signature are checked to
//! be in their subgroups.

use crate::crypto::{PublicKey, Scheme, Signature, Signer, VrfKey, VrfOutput, VrfProof};
use crate::{Error, MAX_VALIDATORS, vrf};
use alloy_primitives::B256;
use blst::BLST_ERROR;
use blst::min_sig;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

const VOTES: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
const POSSESSION: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// Keys of two epochs' sets, and those of evidence about earlier ones.
const MAX_KEYS: usize = 8 * MAX_VALIDATORS;

/// The scheme of nodes. Decompressed keys are kept: a key costs a square root and a subgroup check once.
#[derive(Default)]
pub struct Bls {
    keys: RwLock<HashMap<PublicKey, min_sig::PublicKey>>,
}

impl Bls {
    fn key(&self, bytes: &PublicKey) -> Option<min_sig::PublicKey> {
        if let Some(key) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(bytes) {
            return Some(*key);
        }
        let key = min_sig::PublicKey::key_validate(bytes).ok()?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(*bytes, key);
        Some(key)
    }
}

/// A signature that is in its subgroup and not zero.
fn signature(bytes: &Signature) -> Option<min_sig::Signature> {
    min_sig::Signature::sig_validate(bytes, true).ok()
}

impl Scheme for Bls {
    fn verify(&self, key: &PublicKey, message: &[u8], bytes: &Signature) -> bool {
        let (Some(key), Some(signature)) = (self.key(key), signature(bytes)) else { return false };
        signature.verify(false, message, VOTES, &[], &key, false) == BLST_ERROR::BLST_SUCCESS
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        let points: Vec<_> = signatures.iter().map(signature).collect::<Option<_>>()?;
        let sum = min_sig::AggregateSignature::aggregate(&points.iter().collect::<Vec<_>>(), false).ok()?;
        Some(sum.to_signature().to_bytes())
    }

    fn verify_aggregate(&self, keys: &[&PublicKey], message: &[u8], bytes: &Signature) -> bool {
        let points: Option<Vec<_>> = keys.iter().map(|key| self.key(key)).collect();
        let (Some(points), Some(signature)) = (points, signature(bytes)) else { return false };
        let points: Vec<_> = points.iter().collect();
        signature.fast_aggregate_verify(false, message, VOTES, &points) == BLST_ERROR::BLST_SUCCESS
    }

    fn vrf_verify(&self, key: &VrfKey, input: &[u8], proof: &VrfProof) -> Option<VrfOutput> {
        vrf::verify(key, input, proof)
    }

    fn vrf_output(&self, proof: &VrfProof) -> Option<VrfOutput> {
        vrf::output(proof)
    }
}

/// A validator's keys.
pub struct BlsSigner {
    id: B256,
    votes: min_sig::SecretKey,
    vrf: vrf::SecretKey,
}

impl BlsSigner {
    /// Keys from two secrets of their own, at least 32 bytes of entropy each. Errors: [`Error::Crypto`] if the first is shorter than 32 bytes.
    pub fn new(id: B256, votes: &[u8], vrf: &[u8; 32]) -> Result<Self, Error> {
        let votes = min_sig::SecretKey::key_gen(votes, &[]).map_err(|_| Error::Crypto("secret too short"))?;
        Ok(Self { id, votes, vrf: vrf::SecretKey::new(vrf) })
    }

    /// The key of votes.
    pub fn public_key(&self) -> PublicKey {
        self.votes.sk_to_pk().to_bytes()
    }

    /// The key of the VRF.
    pub fn vrf_key(&self) -> VrfKey {
        self.vrf.public_key()
    }

    /// Proves that the secret of the key of votes is known.
    pub fn prove_possession(&self) -> Signature {
        self.votes.sign(&self.public_key(), POSSESSION, &[]).to_bytes()
    }
}

impl Signer for BlsSigner {
    fn id(&self) -> B256 {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.votes.sign(message, VOTES, &[]).to_bytes()
    }

    fn vrf_prove(&self, input: &[u8]) -> VrfProof {
        self.vrf.prove(input)
    }
}

/// What registration checks: that the key is a point of the subgroup other than zero, and that its holder knows the secret. Errors: [`Error::Crypto`].
pub fn verify_possession(key: &PublicKey, proof: &Signature) -> Result<(), Error> {
    let point = min_sig::PublicKey::key_validate(key).map_err(|_| Error::Crypto("no valid key"))?;
    let proof = signature(proof).ok_or(Error::Crypto("no valid signature"))?;
    if proof.verify(false, key, POSSESSION, &[], &point, false) == BLST_ERROR::BLST_SUCCESS {
        Ok(())
    } else {
        Err(Error::Crypto("possession is not proven"))
    }
}
