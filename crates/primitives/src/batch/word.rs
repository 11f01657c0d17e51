//! Integers of columns: their bytes, and differences between them.

use alloy_primitives::U256;

/// An unsigned integer of a column.
pub(super) trait Word: Copy + Default + Ord {
    /// Its size.
    const BYTES: usize;
    /// Whether a column of them may hold differences.
    const DIFFERENCES: bool;

    /// Byte `index`, 0 being the least significant.
    fn byte(self, index: usize) -> u8;
    /// Sets the bits of `byte` in byte `index`.
    fn or_byte(&mut self, index: usize, byte: u8);
    /// Bytes without the leading zeros.
    fn length(self) -> usize;
    /// `self` − `previous` modulo 2^bits, its sign in the lowest bit: 0, −1, 1, −2, … are 0, 1, 2, 3, …
    fn difference(self, previous: Self) -> Self;
    /// The integer with this difference from `previous`.
    fn advance(difference: Self, previous: Self) -> Self;
}

macro_rules! word {
    ($type:ty, $signed:ty) => {
        impl Word for $type {
            const BYTES: usize = size_of::<Self>();
            const DIFFERENCES: bool = true;

            fn byte(self, index: usize) -> u8 {
                (self >> (8 * index)) as u8
            }

            fn or_byte(&mut self, index: usize, byte: u8) {
                *self |= Self::from(byte) << (8 * index);
            }

            fn length(self) -> usize {
                Self::BYTES - self.leading_zeros() as usize / 8
            }

            fn difference(self, previous: Self) -> Self {
                let difference = self.wrapping_sub(previous) as $signed;
                ((difference << 1) ^ (difference >> (Self::BITS - 1))) as Self
            }

            fn advance(difference: Self, previous: Self) -> Self {
                previous.wrapping_add((difference >> 1) ^ (difference & 1).wrapping_neg())
            }
        }
    };
}

word!(u64, i64);
word!(u128, i128);

impl Word for U256 {
    const BYTES: usize = 32;
    const DIFFERENCES: bool = false;

    fn byte(self, index: usize) -> u8 {
        (self.as_limbs()[index / 8] >> (8 * (index % 8))) as u8
    }

    fn or_byte(&mut self, index: usize, byte: u8) {
        let limbs = self.as_limbs();
        let mut limbs = [limbs[0], limbs[1], limbs[2], limbs[3]];
        limbs[index / 8] |= u64::from(byte) << (8 * (index % 8));
        *self = Self::from_limbs(limbs);
    }

    fn length(self) -> usize {
        self.bit_len().div_ceil(8)
    }

    fn difference(self, _: Self) -> Self {
        self
    }

    fn advance(difference: Self, _: Self) -> Self {
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Word + core::fmt::Debug>(values: &[T]) {
        for value in values {
            let mut copy = T::default();
            for index in 0..value.length() {
                copy.or_byte(index, value.byte(index));
            }
            assert_eq!(copy, *value);
            assert!(value.length() == 0 || value.byte(value.length() - 1) != 0);
            for previous in values {
                assert_eq!(T::advance(value.difference(*previous), *previous), *value);
            }
        }
    }

    #[test]
    fn bytes_and_differences_come_back() {
        check(&[0u64, 1, 2, 255, 256, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX]);
        check(&[0u128, 1, 2, 255, 256, u128::MAX / 2, u128::MAX / 2 + 1, u128::MAX - 1, u128::MAX]);
        check(&[U256::ZERO, U256::ONE, U256::from(256), U256::MAX / U256::from(3), U256::MAX]);
        assert_eq!([5u64, 4, 6, 3, 7].map(|value| value.difference(5)), [0, 1, 2, 3, 4]);
    }
}
