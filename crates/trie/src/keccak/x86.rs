//! Keccak-f[1600] in the lanes of x86 vector registers (FIPS 202; rate 1088, original Keccak padding done by the caller).

use super::{Lane, RATE};
use alloy_primitives::B256;
use core::arch::x86_64::*;

/// FIPS 202, algorithm 5.
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000000000000001,
    0x0000000000008082,
    0x800000000000808a,
    0x8000000080008000,
    0x000000000000808b,
    0x0000000080000001,
    0x8000000080008081,
    0x8000000000008009,
    0x000000000000008a,
    0x0000000000000088,
    0x0000000080008009,
    0x000000008000000a,
    0x000000008000808b,
    0x800000000000008b,
    0x8000000000008089,
    0x8000000000008003,
    0x8000000000008002,
    0x8000000000000080,
    0x000000000000800a,
    0x800000008000000a,
    0x8000000080008081,
    0x8000000000008080,
    0x0000000080000001,
    0x8000000080008008,
];

/// The `word`-th little-endian word of a block.
#[inline]
fn word(block: &[u8; RATE], word: usize) -> i64 {
    block.as_chunks().0.get(word).map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// Writes one kernel from the vector operations in scope. `lanes[i]` must be padded to `blocks` blocks.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $feature:literal, $width:literal, $vector:ty) => {
        $(#[$doc])*
        #[target_feature(enable = $feature)]
        pub(in crate::keccak) fn $name(lanes: &[Lane; $width], blocks: usize) -> [B256; $width] {
            let mut s = [splat(0); 25];
            for block in 0..blocks {
                let block: [&[u8; RATE]; $width] = core::array::from_fn(|i| &lanes[i][block]);
                for w in 0..RATE / 8 {
                    s[w] = xor(s[w], gather(block, w));
                }
                for constant in ROUND_CONSTANTS {
                    // θ
                    let mut c = [splat(0); 5];
                    for x in 0..5 {
                        c[x] = xor3(xor3(s[x], s[x + 5], s[x + 10]), s[x + 15], s[x + 20]);
                    }
                    for x in 0..5 {
                        let (left, right) = (c[(x + 4) % 5], rol::<1, 63>(c[(x + 1) % 5]));
                        for y in 0..5 {
                            s[x + 5 * y] = xor3(s[x + 5 * y], left, right);
                        }
                    }
                    // ρ and π
                    let b = [
                        s[0],
                        rol::<44, 20>(s[6]),
                        rol::<43, 21>(s[12]),
                        rol::<21, 43>(s[18]),
                        rol::<14, 50>(s[24]),
                        rol::<28, 36>(s[3]),
                        rol::<20, 44>(s[9]),
                        rol::<3, 61>(s[10]),
                        rol::<45, 19>(s[16]),
                        rol::<61, 3>(s[22]),
                        rol::<1, 63>(s[1]),
                        rol::<6, 58>(s[7]),
                        rol::<25, 39>(s[13]),
                        rol::<8, 56>(s[19]),
                        rol::<18, 46>(s[20]),
                        rol::<27, 37>(s[4]),
                        rol::<36, 28>(s[5]),
                        rol::<10, 54>(s[11]),
                        rol::<15, 49>(s[17]),
                        rol::<56, 8>(s[23]),
                        rol::<62, 2>(s[2]),
                        rol::<55, 9>(s[8]),
                        rol::<39, 25>(s[14]),
                        rol::<41, 23>(s[15]),
                        rol::<2, 62>(s[21]),
                    ];
                    // χ
                    for y in 0..5 {
                        for x in 0..5 {
                            s[5 * y + x] = chi(b[5 * y + x], b[5 * y + (x + 1) % 5], b[5 * y + (x + 2) % 5]);
                        }
                    }
                    // ι
                    s[0] = xor(s[0], splat(constant as i64));
                }
            }
            let mut hashes = [B256::ZERO; $width];
            for w in 0..4 {
                // SAFETY: a vector is as many plain 64-bit words.
                let words: [u64; $width] = unsafe { core::mem::transmute::<$vector, [u64; $width]>(s[w]) };
                for (hash, word) in hashes.iter_mut().zip(words) {
                    hash[8 * w..8 * w + 8].copy_from_slice(&word.to_le_bytes());
                }
            }
            hashes
        }
    };
}

pub(in crate::keccak) use avx2::keccak_x4;
pub(in crate::keccak) use avx512::keccak_x8;

mod avx512 {
    use super::*;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(word: i64) -> __m512i {
        _mm512_set1_epi64(word)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn gather(block: [&[u8; RATE]; 8], w: usize) -> __m512i {
        let [a, b, c, d, e, f, g, h] = block.map(|block| word(block, w));
        _mm512_set_epi64(h, g, f, e, d, c, b, a)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor(a: __m512i, b: __m512i) -> __m512i {
        _mm512_xor_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi64::<0x96>(a, b, c)
    }

    /// a ⊕ (¬b ∧ c)
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rol<const LEFT: i32, const RIGHT: i32>(a: __m512i) -> __m512i {
        _mm512_rol_epi64::<LEFT>(a)
    }

    kernel!(
        /// Keccak-256 of eight messages of equally many blocks.
        keccak_x8, "avx512f", 8, __m512i
    );
}

mod avx2 {
    use super::*;

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(word: i64) -> __m256i {
        _mm256_set1_epi64x(word)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn gather(block: [&[u8; RATE]; 4], w: usize) -> __m256i {
        let [a, b, c, d] = block.map(|block| word(block, w));
        _mm256_set_epi64x(d, c, b, a)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        xor(xor(a, b), c)
    }

    /// a ⊕ (¬b ∧ c)
    #[inline]
    #[target_feature(enable = "avx2")]
    fn chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        xor(a, _mm256_andnot_si256(b, c))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rol<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_slli_epi64::<LEFT>(a), _mm256_srli_epi64::<RIGHT>(a))
    }

    kernel!(
        /// Keccak-256 of four messages of equally many blocks.
        keccak_x4, "avx2", 4, __m256i
    );
}
