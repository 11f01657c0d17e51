//! A batch's stream of bytes in EIP-4844 blobs.
//!
//! A blob is 4,096 elements of 32 bytes, big-endian, each below the order of BLS12-381's scalar field. Jove uses the low 254 bits of each: element i
//! carries bytes 31·i to 31·i + 30 of the blob's part of the stream in its last 31 bytes. The six bits below the first byte's top two carry the part's last
//! 3,072 bytes: elements 4·g to 4·g + 3 carry three bytes, 126,976 + 3·g to 126,976 + 3·g + 2, most significant bits first, as base64
//! does. So a blob holds [`BLOB_CAPACITY`] = 130,048 bytes, and each element's top two bits are zero.
//!
//! A batch has the fewest blobs that hold its stream; what is left of the last one is zero.

use super::DecodeError;
use alloc::{vec, vec::Vec};
use alloy_eips::eip4844::{BYTES_PER_BLOB, Blob, FIELD_ELEMENTS_PER_BLOB};

/// Most blobs in a batch: what Ethereum admits in one transaction (EIP-7594).
pub const MAX_BLOBS: usize = 6;
/// Bytes of the stream that a blob holds.
pub const BLOB_CAPACITY: usize = LOW + 3 * QUADS;

const ELEMENTS: usize = FIELD_ELEMENTS_PER_BLOB as usize;
/// Bytes in the elements' last 31 bytes.
const LOW: usize = 31 * ELEMENTS;
const QUADS: usize = ELEMENTS / 4;

/// The blobs that hold `stream`.
pub fn pack(stream: &[u8]) -> Vec<Blob> {
    let mut blobs = vec![Blob::ZERO; stream.len().div_ceil(BLOB_CAPACITY)];
    for (blob, part) in blobs.iter_mut().zip(stream.chunks(BLOB_CAPACITY)) {
        let (low, high) = part.split_at(part.len().min(LOW));
        for (element, bytes) in blob.chunks_exact_mut(32).zip(low.chunks(31)) {
            element[1..=bytes.len()].copy_from_slice(bytes);
        }
        for (quad, bytes) in blob.chunks_exact_mut(128).zip(high.chunks(3)) {
            let [a, b, c] = [0, 1, 2].map(|i| bytes.get(i).copied().unwrap_or(0));
            quad[0] = a >> 2;
            quad[32] = (a & 3) << 4 | b >> 4;
            quad[64] = (b & 15) << 2 | c >> 6;
            quad[96] = c & 63;
        }
    }
    blobs
}

/// The stream in `blobs`, with the zeros after its end.
///
/// # Errors
/// If there are no blobs or more than [`MAX_BLOBS`], one is not 131,072 bytes long, or an element has one of its top two bits set.
pub fn unpack(blobs: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, DecodeError> {
    if blobs.is_empty() || blobs.len() > MAX_BLOBS {
        return Err(DecodeError::BlobCount(blobs.len()));
    }
    let mut stream = Vec::with_capacity(blobs.len() * BLOB_CAPACITY);
    for blob in blobs {
        let blob = blob.as_ref();
        if blob.len() != BYTES_PER_BLOB {
            return Err(DecodeError::BlobLength(blob.len()));
        }
        for element in blob.chunks_exact(32) {
            if element[0] > 63 {
                return Err(DecodeError::FieldElement);
            }
            stream.extend_from_slice(&element[1..]);
        }
        for quad in blob.chunks_exact(128) {
            let [a, b, c, d] = [quad[0], quad[32], quad[64], quad[96]];
            // Each is below 64: what is shifted out is zero or the neighbour's.
            stream.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
        }
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
    }

    #[test]
    fn streams_of_any_length_come_back() {
        let lengths =
            [1, 30, 31, 32, LOW - 1, LOW, LOW + 1, LOW + 4, BLOB_CAPACITY, BLOB_CAPACITY + 1, 6 * BLOB_CAPACITY];
        for length in lengths {
            let stream = stream(length);
            let blobs = pack(&stream);
            assert_eq!(blobs.len(), length.div_ceil(BLOB_CAPACITY));
            let unpacked = unpack(&blobs).expect("packed blobs");
            assert_eq!(unpacked.len(), blobs.len() * BLOB_CAPACITY);
            assert_eq!(unpacked[..length], stream);
            assert!(unpacked[length..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn every_bit_of_a_blob_counts() {
        let blob = vec![0u8; BYTES_PER_BLOB];
        let zero = unpack(core::slice::from_ref(&blob)).expect("a blob");
        for at in [0, 1, 31, 32, 33, 64, 96, 127, 128, BYTES_PER_BLOB - 32, BYTES_PER_BLOB - 1] {
            for bit in 0..8 {
                let mut other = blob.clone();
                other[at] |= 1 << bit;
                let unpacked = unpack(&[other]);
                if at % 32 == 0 && bit > 5 {
                    assert_eq!(unpacked, Err(DecodeError::FieldElement));
                } else {
                    let unpacked = unpacked.expect("a blob");
                    let different: u32 = unpacked.iter().zip(&zero).map(|(a, b)| (a ^ b).count_ones()).sum();
                    assert_eq!(different, 1);
                }
            }
        }
    }

    #[test]
    fn what_is_no_blob_is_refused() {
        assert_eq!(unpack(&[] as &[Vec<u8>]), Err(DecodeError::BlobCount(0)));
        assert_eq!(unpack(&vec![Blob::ZERO; 7]), Err(DecodeError::BlobCount(7)));
        assert_eq!(unpack(&[vec![0; 131_071]]), Err(DecodeError::BlobLength(131_071)));
    }
}
