//! Openings of blobs, as [`jove_proving::opening`] has them, on the machine's arithmetic in the blobs' field.
//!
//! A polynomial of degree below n is known by its values at the n-th roots of unity, in bit-reversed order: at 2i and 2i + 1 stand its values a and b at x and −x.
//! With p(X) = e(X²) + X·o(X²), the polynomial e + z·o has the value ((a + b) + (a − b)·z/x) / 2 at x², and at z² the one that p has at z. So each step halves the
//! values and squares z; the halves are divided out at the end. There is no case of its own for a z among the roots, and zeros at the end of a blob cost nothing.

use alloc::vec::Vec;
use alloy_primitives::{B256, keccak256};
use jove_primitives::batch::hash::{Opening, blob_z};
use openvm_algebra_guest::{DivUnsafe, IntMod};
use openvm_pairing::bls12_381::Scalar;

const ELEMENTS: usize = 4096;
const BYTES: usize = 32 * ELEMENTS;

/// The inverses of the 2^k-th primitive roots of unity, k from 1: 7 generates the field's multiplicative group (EIP-4844).
const INVERSE_ROOTS: [[u8; 32]; 12] = include!("blob_roots.in");

/// Opens the blob with this versioned hash and these contents where L1 has it opened; none if the contents are no blob's.
pub fn open(contents: &[u8], versioned_hash: B256) -> Option<Opening> {
    if contents.len() != BYTES {
        return None;
    }
    let contents_hash = keccak256(contents);
    let z = Scalar::from_be_bytes(&blob_z(versioned_hash, contents_hash).to_be_bytes::<32>())?;
    let y = evaluate(contents, z)?;
    y.assert_reduced();
    Some(Opening { contents_hash, y: y.to_be_bytes().into() })
}

/// The value at z.
fn evaluate(contents: &[u8], mut z: Scalar) -> Option<Scalar> {
    let used = contents.chunks_exact(32).rposition(|element| element != [0; 32]).map_or(0, |last| last + 1);
    let mut values: Vec<Scalar> = contents.chunks_exact(32).take(used).map(element).collect::<Option<_>>()?;
    let inverses = inverses(used.div_ceil(2));
    for _ in 0..ELEMENTS.ilog2() {
        if values.len() % 2 == 1 {
            values.push(<Scalar as IntMod>::ZERO);
        }
        let pairs = values.len() / 2;
        for (index, inverse) in inverses.iter().enumerate().take(pairs) {
            let (a, b) = (&values[2 * index], &values[2 * index + 1]);
            let value = (a + b) + (a - b) * &(inverse * &z);
            values[index] = value;
        }
        values.truncate(pairs);
        z = &z * &z;
    }
    let sum = values.into_iter().next().unwrap_or(<Scalar as IntMod>::ZERO);
    Some(sum.div_unsafe(&Scalar::from_u32(ELEMENTS as u32)))
}

/// Big-endian; none if it is not below the order.
fn element(bytes: &[u8]) -> Option<Scalar> {
    let element = Scalar::from_be_bytes_unchecked(bytes);
    (bytes[0] < 0x73 || element.is_reduced()).then_some(element)
}

/// The inverses of the first of the 4,096th roots of unity at even places of the bit-reversed order. The first m are, too, those of the 2m-th roots.
fn inverses(count: usize) -> Vec<Scalar> {
    let mut inverses = Vec::with_capacity(count.next_power_of_two());
    inverses.push(<Scalar as IntMod>::ONE);
    // A bit more of the index adds, to the exponent, the reversed bit.
    for root in INVERSE_ROOTS.iter().skip(1) {
        if inverses.len() >= count {
            break;
        }
        let root = Scalar::from_const_bytes(*root);
        for index in 0..inverses.len() {
            let inverse = &inverses[index] * &root;
            inverses.push(inverse);
        }
    }
    inverses
}
