//! Numbers as people write them: few significant digits and an exponent.

use super::word::Word;
use alloc::vec::Vec;
use alloy_primitives::U256;

/// Highest exponent of ten: 10⁷⁷ is below 2²⁵⁶, 10⁷⁸ is not.
const MAX_DECIMAL: u8 = 77;
const TEN: U256 = U256::from_limbs([10, 0, 0, 0]);

/// Exponent and mantissa of a number: all of its decimal zeros are in the exponent, or all of its binary ones if that makes the mantissa shorter.
pub(super) fn split(number: U256) -> (u8, U256) {
    if number.is_zero() {
        return (0, number);
    }
    let (mut exponent, mut decimal) = (0, number);
    loop {
        let (quotient, digit) = decimal.div_rem(TEN);
        if !digit.is_zero() {
            break;
        }
        decimal = quotient;
        exponent += 1;
    }
    let zeros = number.trailing_zeros().min(usize::from(u8::MAX - MAX_DECIMAL));
    let binary = number >> zeros;
    if binary.length() < decimal.length() { (MAX_DECIMAL + zeros as u8, binary) } else { (exponent, decimal) }
}

/// Powers of ten.
pub(super) struct Powers(Vec<U256>);

impl Powers {
    pub(super) fn new() -> Self {
        let powers = core::iter::successors(Some(U256::ONE), |power| Some(*power * TEN));
        Self(powers.take(usize::from(MAX_DECIMAL) + 1).collect())
    }

    /// The number with this exponent and mantissa, if it is below 2²⁵⁶.
    pub(super) fn join(&self, exponent: u8, mantissa: U256) -> Option<U256> {
        if exponent == 0 || mantissa.is_zero() {
            return Some(mantissa);
        }
        if let Some(power) = self.0.get(usize::from(exponent)) {
            return mantissa.checked_mul(*power);
        }
        let zeros = usize::from(exponent - MAX_DECIMAL);
        (mantissa.bit_len() + zeros <= 256).then(|| mantissa << zeros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::uint;

    #[test]
    fn numbers_come_back() {
        let powers = Powers::new();
        let mut numbers = alloc::vec![U256::ZERO, U256::MAX, U256::MAX - U256::ONE];
        for bit in 0..256 {
            numbers.extend([U256::ONE << bit, U256::MAX >> bit, uint!(0x12345678_U256) << bit]);
        }
        for exponent in 0..78 {
            numbers.push(TEN.pow(U256::from(exponent)));
        }
        for number in numbers {
            let (exponent, mantissa) = split(number);
            assert_eq!(powers.join(exponent, mantissa), Some(number));
            assert!(mantissa.length() <= number.length());
        }
        assert_eq!(split(uint!(1_230_000_U256)), (4, U256::from(123)));
        assert_eq!(split(uint!(0x1230000000000000000000_U256)), (77 + 76, U256::from(0x123)));
    }

    #[test]
    fn numbers_above_256_bits_are_refused() {
        let powers = Powers::new();
        assert_eq!(powers.join(77, U256::from(2)), None);
        assert_eq!(powers.join(77, U256::ONE), Some(TEN.pow(U256::from(77))));
        assert_eq!(powers.join(255, U256::ONE << 78), None);
        assert_eq!(powers.join(255, U256::ONE << 77), Some(U256::ONE << 255));
        assert_eq!(powers.join(255, U256::ZERO), Some(U256::ZERO));
    }
}
