//! The machine's instructions behind the hooks.

mod blob;
mod bls12_381;
mod bn254;
mod curve;
mod ecdsa;
mod keccak;
mod seed;
mod words;

use alloc::{sync::Arc, vec::Vec};
use alloy_consensus::crypto::{CryptoProvider, RecoveryError, install_default_provider};
use alloy_primitives::{Address, keccak256};
use jove_proving::{Input, InputError, Judgement};
use revm::precompile::{
    Crypto, PrecompileHalt,
    bls12_381::{G1Point, G1PointScalar, G2Point, G2PointScalar},
};

pub use blob::open;
pub use seed::seeds;

include!(concat!(env!("OUT_DIR"), "/openvm_init.rs"));

/// Judges batches with blobs opened by the machine. [`install`] comes first.
///
/// # Errors
/// As [`jove_proving::judge`].
pub fn judge(input: &Input) -> Result<Judgement, InputError> {
    jove_proving::judge_with(input, open)
}

/// Seeds hash maps, and puts the machine's accelerators behind the hooks of alloy, revm and `jove_stf`: before anything else. It reads the first of what the machine is given, a word
/// that the prover has drawn.
pub fn install() {
    seed::take();
    // Whoever came first: nobody.
    let _ = install_default_provider(Arc::new(Accelerated));
    let _ = revm::precompile::install_crypto(Accelerated);
    let _ = jove_stf::install_arithmetic(&words::Words);
}

/// The machine's accelerators.
#[derive(Clone, Copy, Debug)]
struct Accelerated;

impl CryptoProvider for Accelerated {
    fn recover_signer_unchecked(&self, signature: &[u8; 65], message: &[u8; 32]) -> Result<Address, RecoveryError> {
        let [signature @ .., parity] = signature;
        let key = match parity {
            0 | 1 => ecdsa::recover(signature, *parity == 1, message),
            _ => None,
        };
        key.map(|key| address(&key)).ok_or_else(RecoveryError::new)
    }

    fn verify_and_compute_signer_unchecked(
        &self,
        key: &[u8; 65],
        signature: &[u8; 64],
        message: &[u8; 32],
    ) -> Result<Address, RecoveryError> {
        let [kind, key @ ..] = key;
        let valid = *kind == 4 && ecdsa::verify_secp256k1(key, signature, message);
        valid.then(|| address(key)).ok_or_else(RecoveryError::new)
    }
}

fn address(key: &[u8; 64]) -> Address {
    Address::from_word(keccak256(key))
}

impl Crypto for Accelerated {
    fn modexp(&self, base: &[u8], exponent: &[u8], modulus: &[u8]) -> Result<Vec<u8>, PrecompileHalt> {
        Ok(jove_words::mod_exp::<words::Words>(base, exponent, modulus))
    }

    fn sha256(&self, input: &[u8]) -> [u8; 32] {
        openvm_sha2::Sha256::digest(input)
    }

    fn bn254_g1_add(&self, first: &[u8], second: &[u8]) -> Result<[u8; 64], PrecompileHalt> {
        bn254::add(first, second)
    }

    fn bn254_g1_mul(&self, point: &[u8], scalar: &[u8]) -> Result<[u8; 64], PrecompileHalt> {
        bn254::multiply(point, scalar)
    }

    fn bn254_pairing_check(&self, pairs: &[(&[u8], &[u8])]) -> Result<bool, PrecompileHalt> {
        bn254::pairing_check(pairs)
    }

    fn secp256k1_ecrecover(
        &self,
        signature: &[u8; 64],
        parity: u8,
        message: &[u8; 32],
    ) -> Result<[u8; 32], PrecompileHalt> {
        let key = match parity {
            0 | 1 => ecdsa::recover(signature, parity == 1, message),
            _ => None,
        };
        let key = key.ok_or(PrecompileHalt::Secp256k1RecoverFailed)?;
        Ok(address(&key).into_word().0)
    }

    fn secp256r1_verify_signature(&self, message: &[u8; 32], signature: &[u8; 64], key: &[u8; 64]) -> bool {
        ecdsa::verify_p256(key, signature, message)
    }

    fn verify_kzg_proof(
        &self,
        z: &[u8; 32],
        y: &[u8; 32],
        commitment: &[u8; 48],
        proof: &[u8; 48],
    ) -> Result<(), PrecompileHalt> {
        let valid = bls12_381::verify_kzg_proof(z, y, commitment, proof);
        if valid { Ok(()) } else { Err(PrecompileHalt::BlobVerifyKzgProofFailed) }
    }

    fn bls12_381_g1_add(&self, first: G1Point, second: G1Point) -> Result<[u8; 96], PrecompileHalt> {
        bls12_381::g1_add(&first, &second)
    }

    fn bls12_381_g1_msm(
        &self,
        pairs: &mut dyn Iterator<Item = Result<G1PointScalar, PrecompileHalt>>,
    ) -> Result<[u8; 96], PrecompileHalt> {
        bls12_381::g1_msm(pairs)
    }

    fn bls12_381_g2_add(&self, first: G2Point, second: G2Point) -> Result<[u8; 192], PrecompileHalt> {
        bls12_381::g2_add(&first, &second)
    }

    fn bls12_381_g2_msm(
        &self,
        pairs: &mut dyn Iterator<Item = Result<G2PointScalar, PrecompileHalt>>,
    ) -> Result<[u8; 192], PrecompileHalt> {
        bls12_381::g2_msm(pairs)
    }

    fn bls12_381_pairing_check(&self, pairs: &[(G1Point, G2Point)]) -> Result<bool, PrecompileHalt> {
        bls12_381::pairing_check(pairs)
    }
}
