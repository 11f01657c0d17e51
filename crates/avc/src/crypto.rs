//! Signatures and the VRF, behind two traits: what anyone can check, and what only the key's holder can do.
//!
//! [`Bls`](crate::Bls) is what nodes use. [`KeyedHash`] is a stand-in for mass simulation: it has the same shape and proves nothing to anyone who
//! does not trust the simulator.

use alloy_primitives::B256;
use std::hash::Hasher;

/// A BLS public key: a compressed point of G2.
pub type PublicKey = [u8; 96];
/// A BLS signature: a compressed point of G1.
pub type Signature = [u8; 48];
/// A VRF public key: a compressed point of edwards25519.
pub type VrfKey = [u8; 32];
/// A VRF proof: gamma, c, s.
pub type VrfProof = [u8; 80];
/// A VRF output, β.
pub type VrfOutput = [u8; 64];

/// What anyone can check. Keys come from validator sets, whose proofs of possession were checked at registration.
pub trait Scheme: Send + Sync {
    /// Whether one signature is by one key.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
    /// The sum of signatures; none if one of them is no signature at all.
    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature>;
    /// Whether a sum of signatures is by exactly these keys, all on one message.
    fn verify_aggregate(&self, keys: &[&PublicKey], message: &[u8], signature: &Signature) -> bool;
    /// The output that a proof proves, if it does.
    fn vrf_verify(&self, key: &VrfKey, input: &[u8], proof: &VrfProof) -> Option<VrfOutput>;
    /// The output of a proof that was verified before.
    fn vrf_output(&self, proof: &VrfProof) -> Option<VrfOutput>;
}

/// What only the holder of a validator's keys can do.
pub trait Signer: Send + Sync {
    /// The validator's id.
    fn id(&self) -> B256;
    /// Signs.
    fn sign(&self, message: &[u8]) -> Signature;
    /// Proves the VRF's output on an input.
    fn vrf_prove(&self, input: &[u8]) -> VrfProof;
}

/// The stand-in: SipHash of key and message; sums are wrapping sums. Anyone can forge it.
pub struct KeyedHash;

/// A key of the stand-in.
pub struct KeyedHashSigner {
    /// The validator's id.
    pub id: B256,
    /// Its number, which is the key.
    pub number: u64,
}

impl KeyedHashSigner {
    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        let mut key = [0; 96];
        key[..8].copy_from_slice(&self.number.to_be_bytes());
        key
    }

    /// The VRF's public key.
    pub fn vrf_key(&self) -> VrfKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.number.to_be_bytes());
        key
    }
}

#[allow(deprecated, reason = "the one hasher of the standard library whose output is fixed: SipHash-2-4")]
fn keyed_hash(key: &[u8], message: &[u8]) -> u64 {
    let mut hasher = std::hash::SipHasher::new();
    hasher.write(&key[..8]);
    hasher.write(message);
    hasher.finish()
}

fn padded<const N: usize>(number: u64) -> [u8; N] {
    let mut out = [0; N];
    out[..8].copy_from_slice(&number.to_be_bytes());
    out
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Scheme for KeyedHash {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        padded(keyed_hash(key, message)) == *signature
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        Some(padded(signatures.iter().fold(0, |sum: u64, signature| sum.wrapping_add(number(signature)))))
    }

    fn verify_aggregate(&self, keys: &[&PublicKey], message: &[u8], signature: &Signature) -> bool {
        padded(keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(keyed_hash(*key, message)))) == *signature
    }

    fn vrf_verify(&self, key: &VrfKey, input: &[u8], proof: &VrfProof) -> Option<VrfOutput> {
        if padded(keyed_hash(key, input)) == *proof { self.vrf_output(proof) } else { None }
    }

    fn vrf_output(&self, proof: &VrfProof) -> Option<VrfOutput> {
        Some(padded(number(proof)))
    }
}

impl Signer for KeyedHashSigner {
    fn id(&self) -> B256 {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Signature {
        padded(keyed_hash(&self.public_key(), message))
    }

    fn vrf_prove(&self, input: &[u8]) -> VrfProof {
        padded(keyed_hash(&self.vrf_key(), input))
    }
}
