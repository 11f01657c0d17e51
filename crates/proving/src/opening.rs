//! Openings of blobs: contents hash and y, without a trusted setup.
//!
//! A blob's elements are the values of a polynomial of degree below 4,096 at the 4,096th roots of unity, in bit-reversed order (EIP-4844). At any other point
//! z it is y = (z^4096 − 1) / 4096 · Σ fᵢ · ωᵢ / (z − ωᵢ), the barycentric formula that the consensus specifications have, too. That the blob with some versioned
//! hash has this value at z is for L1 to check, by its KZG proof.

use alloc::vec::Vec;
use alloy_eips::eip4844::{BYTES_PER_BLOB, FIELD_ELEMENTS_PER_BLOB};
use alloy_primitives::{B256, U256, keccak256};
use ark_bls12_381::Fr;
use ark_ff::{AdditiveGroup, BigInt, FftField, Field, PrimeField, batch_inversion};
use jove_primitives::batch::hash::{Opening, blob_z};

/// Opens the blob with this versioned hash and these contents where L1 has it opened; none if the contents are no blob's: 131,072 bytes in elements below
/// the field's order.
pub fn open(contents: &[u8], versioned_hash: B256) -> Option<Opening> {
    let contents_hash = keccak256(contents);
    let y = evaluate(contents, blob_z(versioned_hash, contents_hash))?;
    Some(Opening { contents_hash, y: y.into() })
}

/// The value of a blob's polynomial at z; none if the contents are no blob's or z is not below the field's order.
pub fn evaluate(contents: &[u8], z: U256) -> Option<U256> {
    if contents.len() != BYTES_PER_BLOB {
        return None;
    }
    let z = Fr::from_bigint(BigInt::new(z.into_limbs()))?;
    let elements: Vec<Fr> = contents.chunks_exact(32).map(element).collect::<Option<_>>()?;
    let root = Fr::get_root_of_unity(FIELD_ELEMENTS_PER_BLOB)?;
    let points = core::iter::successors(Some(Fr::ONE), |point| Some(*point * root));
    let points: Vec<Fr> = points.take(elements.len()).collect();
    // The element of the i-th point.
    let of_point =
        |index: usize| elements[(index as u16).reverse_bits() as usize >> (16 - FIELD_ELEMENTS_PER_BLOB.ilog2())];
    if let Some(index) = points.iter().position(|point| *point == z) {
        return Some(to_integer(of_point(index)));
    }
    let mut inverses: Vec<Fr> = points.iter().map(|point| z - point).collect();
    batch_inversion(&mut inverses);
    let terms = points.iter().zip(&inverses).enumerate();
    let sum = terms.fold(Fr::ZERO, |sum, (index, (point, inverse))| sum + of_point(index) * point * inverse);
    let scale = (z.pow([FIELD_ELEMENTS_PER_BLOB]) - Fr::ONE) * Fr::from(FIELD_ELEMENTS_PER_BLOB).inverse()?;
    Some(to_integer(sum * scale))
}

/// Big-endian; none if it is not below the order.
fn element(bytes: &[u8]) -> Option<Fr> {
    Fr::from_bigint(BigInt::new(U256::from_be_slice(bytes).into_limbs()))
}

fn to_integer(element: Fr) -> U256 {
    U256::from_limbs(element.into_bigint().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;
    use jove_primitives::batch::hash::BLS_MODULUS;

    /// Contents of elements that follow from a seed; some are the largest and the smallest.
    fn contents(seed: u64) -> Vec<u8> {
        let element = |index: u64| match index % 100 {
            17 => BLS_MODULUS - U256::ONE,
            18 => U256::ZERO,
            _ => U256::from_be_bytes(keccak256([seed.to_be_bytes(), index.to_be_bytes()].concat()).0) % BLS_MODULUS,
        };
        (0..FIELD_ELEMENTS_PER_BLOB).flat_map(|index| element(index).to_be_bytes::<32>()).collect()
    }

    #[test]
    fn values_are_those_of_the_kzg_library() {
        let settings = c_kzg::ethereum_kzg_settings(0);
        for seed in 0..3 {
            let contents = contents(seed);
            let blob = c_kzg::Blob::from_bytes(&contents).expect("a blob");
            let commitment = settings.blob_to_kzg_commitment(&blob).expect("commits").to_bytes();
            let versioned_hash = alloy_eips::eip4844::kzg_to_versioned_hash(commitment.as_slice());
            let opening = open(&contents, versioned_hash).expect("a blob");
            assert_eq!(opening.contents_hash, keccak256(&contents));
            let z = blob_z(versioned_hash, opening.contents_hash);
            let bytes = c_kzg::Bytes32::new(z.to_be_bytes());
            let (proof, y) = settings.compute_kzg_proof(&blob, &bytes).expect("opens");
            assert_eq!(B256::new(*y), opening.y, "seed {seed}");
            let y = c_kzg::Bytes32::new(opening.y.0);
            assert!(settings.verify_kzg_proof(&commitment, &bytes, &y, &proof.to_bytes()).expect("well-formed"));
        }
    }

    #[test]
    fn at_a_root_of_unity_it_is_the_element() {
        let contents = contents(7);
        // EIP-4844: 7 generates the field; the second point of the domain in bit-reversed order is −1.
        let element = |at: usize| U256::from_be_slice(&contents[32 * at..][..32]);
        assert_eq!(evaluate(&contents, U256::ONE), Some(element(0)));
        assert_eq!(evaluate(&contents, BLS_MODULUS - U256::ONE), Some(element(1)));
        let exponent = (BLS_MODULUS - U256::ONE) / U256::from(FIELD_ELEMENTS_PER_BLOB);
        let root = U256::from(7).pow_mod(exponent, BLS_MODULUS);
        assert_eq!(evaluate(&contents, root), Some(element(2048)));
    }

    #[test]
    fn a_constant_is_itself_everywhere() {
        let contents = U256::from(42).to_be_bytes::<32>().repeat(4096);
        for z in [U256::ZERO, U256::ONE, U256::from(5), BLS_MODULUS - U256::from(2)] {
            assert_eq!(evaluate(&contents, z), Some(U256::from(42)));
        }
        assert_eq!(evaluate(&contents, BLS_MODULUS), None);
    }

    #[test]
    fn what_is_no_blob_is_refused() {
        let mut contents = contents(1);
        assert_eq!(open(&contents[..BYTES_PER_BLOB - 1], B256::ZERO), None);
        assert_eq!(open(&[&contents[..], &[0]].concat(), B256::ZERO), None);
        assert_eq!(open(&[], B256::ZERO), None);
        for at in [0, 2048, 4095] {
            let before = contents.clone();
            for (element, valid) in [
                (BLS_MODULUS - U256::ONE, true),
                (BLS_MODULUS, false),
                (U256::MAX, false),
                (U256::from_be_bytes(hex!("8000000000000000000000000000000000000000000000000000000000000000")), false),
            ] {
                contents[32 * at..][..32].copy_from_slice(&element.to_be_bytes::<32>());
                assert_eq!(open(&contents, B256::ZERO).is_some(), valid, "{element} at {at}");
            }
            contents = before;
        }
    }
}
