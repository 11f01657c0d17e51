//! The verifiable random function of RFC 9381, ciphersuite ECVRF-EDWARDS25519-SHA512-TAI (suite string 0x03).
//!
//! Inputs are public here (a seed and a view), so that hashing to the curve by trying and incrementing, whose time depends on the input, tells nobody
//! anything. The RFC's key validation (section 5.4.5) is on: keys of small order are refused. Numbers are little-endian, as RFC 8032 has
//! them.
//!
//! ```text
//! x, prefix = the halves of SHA-512(secret), x clamped        Y = x·B
//! H = the first point, counter by counter, that SHA-512(3 ‖ 1 ‖ Y ‖ input ‖ counter ‖ 0)[..32] encodes, times 8
//! Γ = x·H      k = SHA-512(prefix ‖ H) mod q
//! c = SHA-512(3 ‖ 2 ‖ Y ‖ H ‖ Γ ‖ k·B ‖ k·H ‖ 0)[..16]      s = k + c·x mod q
//! proof = Γ ‖ c ‖ s                                          β = SHA-512(3 ‖ 3 ‖ 8·Γ ‖ 0)
//! ```

use crate::crypto::{VrfKey, VrfOutput, VrfProof};
use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};

const SUITE: u8 = 3;

/// A secret key: the scalar, what nonces are made from, and the public key.
pub struct SecretKey {
    scalar: Scalar,
    prefix: [u8; 32],
    public: VrfKey,
}

impl SecretKey {
    /// From 32 secret bytes, as Ed25519 derives its keys.
    pub fn new(secret: &[u8; 32]) -> Self {
        let hash: [u8; 64] = Sha512::digest(secret).into();
        let (mut scalar, mut prefix) = ([0; 32], [0; 32]);
        scalar.copy_from_slice(&hash[..32]);
        prefix.copy_from_slice(&hash[32..]);
        let scalar = Scalar::from_bytes_mod_order(clamp_integer(scalar));
        let public = (&scalar * ED25519_BASEPOINT_TABLE).compress().to_bytes();
        Self { scalar, prefix, public }
    }

    /// The public key.
    pub fn public_key(&self) -> VrfKey {
        self.public
    }

    /// Proves the output on an input.
    pub fn prove(&self, input: &[u8]) -> VrfProof {
        let point = hash_to_curve(&self.public, input);
        let encoded = point.compress().to_bytes();
        let gamma = self.scalar * point;
        let nonce = Sha512::new().chain_update(self.prefix).chain_update(encoded).finalize();
        let nonce = Scalar::from_bytes_mod_order_wide(&nonce.into());
        let challenge = challenge(&self.public, &point, &gamma, &(&nonce * ED25519_BASEPOINT_TABLE), &(nonce * point));
        let response = nonce + scalar_of(&challenge) * self.scalar;
        let mut proof = [0; 80];
        proof[..32].copy_from_slice(&gamma.compress().to_bytes());
        proof[32..48].copy_from_slice(&challenge);
        proof[48..].copy_from_slice(&response.to_bytes());
        proof
    }
}

fn scalar_of(challenge: &[u8; 16]) -> Scalar {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(challenge);
    Scalar::from_bytes_mod_order(bytes)
}

/// A point from its one canonical encoding.
fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (point.compress().0 == *bytes).then_some(point)
}

/// Tries counters until a hash is a point; each is with one chance in two, so that all 256 fail with 2^-256.
fn hash_to_curve(public: &VrfKey, input: &[u8]) -> EdwardsPoint {
    for counter in 0..=u8::MAX {
        let hash: [u8; 64] = Sha512::new()
            .chain_update([SUITE, 1])
            .chain_update(public)
            .chain_update(input)
            .chain_update([counter, 0])
            .finalize()
            .into();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&hash[..32]);
        if let Some(point) = point(&bytes) {
            return point.mul_by_cofactor();
        }
    }
    unreachable!("256 hashes in a row are no points")
}

fn challenge(key: &VrfKey, h: &EdwardsPoint, gamma: &EdwardsPoint, u: &EdwardsPoint, v: &EdwardsPoint) -> [u8; 16] {
    let mut hash = Sha512::new().chain_update([SUITE, 2]).chain_update(key);
    for point in [h, gamma, u, v] {
        hash.update(point.compress().to_bytes());
    }
    let hash: [u8; 64] = hash.chain_update([0]).finalize().into();
    let mut challenge = [0; 16];
    challenge.copy_from_slice(&hash[..16]);
    challenge
}

fn output_of(gamma: &EdwardsPoint) -> VrfOutput {
    let gamma = gamma.mul_by_cofactor().compress().to_bytes();
    Sha512::new().chain_update([SUITE, 3]).chain_update(gamma).chain_update([0]).finalize().into()
}

fn parts(proof: &VrfProof) -> Option<(EdwardsPoint, [u8; 16], Scalar)> {
    let (mut gamma, mut challenge, mut response) = ([0; 32], [0; 16], [0; 32]);
    gamma.copy_from_slice(&proof[..32]);
    challenge.copy_from_slice(&proof[32..48]);
    response.copy_from_slice(&proof[48..]);
    Some((point(&gamma)?, challenge, Option::from(Scalar::from_canonical_bytes(response))?))
}

/// The output that a proof proves for a key and an input; none if it does not.
pub fn verify(key: &VrfKey, input: &[u8], proof: &VrfProof) -> Option<VrfOutput> {
    let public = point(key).filter(|public| !public.is_small_order())?;
    let (gamma, expected, response) = parts(proof)?;
    let h = hash_to_curve(key, input);
    let factor = scalar_of(&expected);
    let u = &response * ED25519_BASEPOINT_TABLE - factor * public;
    let v = response * h - factor * gamma;
    (challenge(key, &h, &gamma, &u, &v) == expected).then(|| output_of(&gamma))
}

/// The output of a proof that was verified before.
pub fn output(proof: &VrfProof) -> Option<VrfOutput> {
    parts(proof).map(|(gamma, _, _)| output_of(&gamma))
}
