//! Division, modular arithmetic and powers of words of 256 bits, for a [`Machine`] that has instructions for sums, products, shifts, bits and comparisons of them, but not for these.
//!
//! One word by another is divided in short digits, from a reciprocal of 32 bits. Two words by one are by a reciprocal of 128 bits (Möller and Granlund, "Improved division by
//! invariant integers", IEEE Transactions on Computers 60, 2011): two such digits in the divisor, one in the quotient a step. Numbers of several words are divided as in Knuth's algorithm D
//! (The Art of Computer Programming 4.3.1).

#![no_std]

extern crate alloc;

use alloc::{vec, vec::Vec};
use alloy_primitives::U256;
use core::{marker::PhantomData, mem::MaybeUninit};

/// Where a result is put: instructions write to memory, and what is put there needs no copy.
pub type Slot = MaybeUninit<U256>;

/// What a machine does with words, modulo 2^256. Where there is a slot, the result is put there.
pub trait Machine {
    /// The sum.
    fn add<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256;
    /// The difference.
    fn sub<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256;
    /// The product.
    fn mul<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256;
    /// Adds in place.
    fn add_to(a: &mut U256, b: &U256);
    /// Subtracts in place.
    fn take_from(a: &mut U256, b: &U256);
    /// The bits that both have.
    fn and<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256;
    /// Moved up by less than 256 bits.
    fn shl<'s>(slot: &'s mut Slot, a: &U256, bits: usize) -> &'s U256;
    /// Moved down by less than 256 bits.
    fn shr<'s>(slot: &'s mut Slot, a: &U256, bits: usize) -> &'s U256;
    /// Whether the first is less.
    fn lt(a: &U256, b: &U256) -> bool;
}

/// The lower digit.
static LOW: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);
static ZERO: U256 = U256::ZERO;
static ONE: U256 = U256::ONE;
static MAX: U256 = U256::MAX;

const fn slots<const N: usize>() -> [Slot; N] {
    [const { Slot::uninit() }; N]
}

/// The product: higher and lower word.
fn widening_mul<'s, M: Machine>(slots: &'s mut [Slot; 2], a: &U256, b: &U256) -> (&'s U256, &'s U256) {
    let [upper, lower] = slots;
    let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13] = &mut crate::slots();
    let (a1, a0) = (M::shr(s0, a, 128), M::and(s1, a, &LOW));
    let (b1, b0) = (M::shr(s2, b, 128), M::and(s3, b, &LOW));
    let carry = M::shr(s5, M::mul(s4, a0, b0), 128);
    let first = M::add(s7, M::mul(s6, a0, b1), carry);
    let second = M::add(s10, M::and(s8, first, &LOW), M::mul(s9, a1, b0));
    let high = M::add(s13, M::mul(s11, a1, b1), M::shr(s12, first, 128));
    (M::add(upper, high, M::shr(s0, second, 128)), M::mul(lower, a, b))
}

/// Something to divide by, and its reciprocal.
#[derive(Debug)]
struct Divisor<'a, M> {
    /// Moved up until its highest bit is set.
    word: &'a U256,
    /// By so much.
    shift: usize,
    /// floor((β³ - 1) / word) - β, where β is 2^128.
    reciprocal: &'a U256,
    machine: PhantomData<M>,
}

impl<'a, M: Machine> Divisor<'a, M> {
    /// None of zero.
    fn new(slots: &'a mut [Slot; 2], divisor: &U256) -> Option<Self> {
        if divisor.is_zero() {
            return None;
        }
        let [word, slot] = slots;
        let shift = divisor.leading_zeros();
        let word = M::shl(word, divisor, shift);
        Some(Self { reciprocal: reciprocal::<M>(slot, word), word, shift, machine: PhantomData })
    }

    /// A step: a quotient of one digit and the remainder, of three digits by two. The upper two are less than the divisor. The quotient is modulo β; what is above that
    /// digit is nothing.
    fn step<'s>(&self, slots: &'s mut [Slot; 2], upper: &U256, next: &U256) -> (&'s U256, &'s U256) {
        let [quotient, rest] = slots;
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10] = &mut crate::slots();
        let estimate = M::add(s2, M::mul(s1, self.reciprocal, M::shr(s0, upper, 128)), upper);
        let (digit, low) = (M::shr(s3, estimate, 128), M::and(s4, estimate, &LOW));
        let lower = M::add(s6, M::shl(s5, upper, 128), next);
        let left = M::sub(s9, M::sub(s8, lower, M::mul(s7, digit, self.word)), self.word);
        let (digit, left) = match M::lt(M::shr(s10, left, 128), low) {
            true => (M::add(s0, digit, &ONE), left),
            false => (digit, M::add(s0, left, self.word)),
        };
        match M::lt(left, self.word) {
            true => (M::and(quotient, digit, &LOW), M::add(rest, left, &ZERO)),
            false => (M::and(quotient, M::add(s1, digit, &ONE), &LOW), M::sub(rest, left, self.word)),
        }
    }

    /// Quotient and remainder of two words by the divisor as it is moved up. The upper word is less than that.
    fn divide<'s>(
        &self,
        quotient: &'s mut Slot,
        left: &'s mut Slot,
        upper: &U256,
        lower: &U256,
    ) -> (&'s U256, &'s U256) {
        let [s0, s1, s2, s3] = &mut crate::slots();
        let (first, second) = (&mut crate::slots(), &mut crate::slots());
        let (next, last) = (M::shr(s0, lower, 128), M::and(s1, lower, &LOW));
        let both = M::add(s3, M::shl(s2, upper, 128), next);
        // Most often the first digit is zero.
        let (high, rest) = match is_digit(upper) && M::lt(both, self.word) {
            true => (&ZERO, both),
            false => self.step(first, upper, next),
        };
        let (low, rest) = self.step(second, rest, last);
        (M::add(quotient, M::shl(s0, high, 128), low), M::add(left, rest, &ZERO))
    }

    /// The remainder of two words.
    fn rem_wide<'s>(&self, slot: &'s mut Slot, upper: &U256, lower: &U256) -> &'s U256 {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = &mut crate::slots();
        // All three, moved up.
        let (high, middle, lower) = match self.shift {
            0 => (&ZERO, upper, lower),
            shift => {
                let back = 256 - shift;
                let middle = M::add(s2, M::shl(s0, upper, shift), M::shr(s1, lower, back));
                (M::shr(s3, upper, back), middle, M::shl(s4, lower, shift))
            }
        };
        let middle = match high.is_zero() && M::lt(middle, self.word) {
            true => middle,
            false => self.divide(s5, s6, high, middle).1,
        };
        M::shr(slot, self.divide(s7, s0, middle, lower).1, self.shift)
    }
}

/// floor((β³ - 1) / word) - β of a word whose highest bit is set, by the paper's algorithm 6.
fn reciprocal<'s, M: Machine>(slot: &'s mut Slot, word: &U256) -> &'s U256 {
    let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9] = &mut slots();
    let (high, low) = (M::shr(s0, word, 128), M::and(s1, word, &LOW));
    let [t0, t1, t2] = &mut slots();
    let (mut less, first) = (0, digit_reciprocal::<M>(t2, high));
    let mut rest = M::and(s4, M::add(s3, M::mul(s2, high, first), low), &LOW);
    if M::lt(rest, low) {
        less = 1;
        if !M::lt(rest, high) {
            less = 2;
            rest = M::sub(s5, rest, high);
        }
        rest = M::and(s7, M::sub(s6, rest, high), &LOW);
    }
    let second = M::sub(t0, first, &SMALL[less]);
    let product = M::mul(s2, second, low);
    let upper = M::shr(s3, product, 128);
    let sum = M::and(s9, M::add(s8, rest, upper), &LOW);
    let less = match M::lt(sum, upper) {
        false => 0,
        true if M::lt(M::add(t1, M::shl(s6, sum, 128), M::and(s0, product, &LOW)), word) => 1,
        true => 2,
    };
    M::sub(slot, second, &SMALL[less])
}

/// floor((β² - 1) / digit) - β of a digit whose highest bit is set: by Newton's iteration from below.
fn digit_reciprocal<'s, M: Machine>(slot: &'s mut Slot, digit: &U256) -> &'s U256 {
    // 2^256 / digit with 14, then 28 bits.
    let top = digit.as_limbs()[1] >> 32;
    let seed = u64::from(u32::MAX / ((top as u32 >> 16) + 1));
    let error = (1_u64 << 48) - seed * (top + 1);
    let seed = (seed << 14) + ((seed * (error >> 4)) >> 30);
    let start = U256::from_limbs([0, seed << 34, seed >> 30, 0]);
    // 56, then 112, then all but a unit.
    let [s0, s1, s2] = &mut slots();
    let inverse = better::<M>(s0, &start, digit, 129, 127);
    let inverse = better::<M>(s1, inverse, digit, 129, 127);
    let inverse = better::<M>(s2, inverse, digit, 66, 190);
    let [s3, s4] = &mut slots();
    let (mut rest, mut units) = (*M::sub(s4, &MAX, M::mul(s3, inverse, digit)), 0);
    while !M::lt(&rest, digit) {
        units += 1;
        rest = *M::sub(s4, &rest, digit);
    }
    // So many units more, and β less.
    M::add(slot, inverse, &U256::from_limbs([units, 0, u64::MAX, u64::MAX]))
}

/// A step of that iteration. The error moved down by `before`, the product by `after`: 256 together, so that the product is no more than a word.
#[inline(always)]
fn better<'s, M: Machine>(slot: &'s mut Slot, inverse: &U256, digit: &U256, before: usize, after: usize) -> &'s U256 {
    let [s0, s1, s2, s3, s4] = &mut slots();
    let error = M::shr(s2, M::sub(s1, &ZERO, M::mul(s0, inverse, digit)), before);
    M::add(slot, inverse, M::shr(s4, M::mul(s3, inverse, error), after))
}

/// `a / b`, put into `b`; zero where that is zero.
pub fn div<M: Machine>(a: &U256, b: &mut U256) {
    if is_short(b) {
        *b = a.checked_div(*b).unwrap_or_default();
        return;
    }
    let (mut quotient, mut rest) = (ZERO, *a);
    divide::<M>(&mut quotient, &mut rest, b);
    *b = quotient;
}

/// `a % b`, put into `b`; zero where that is zero.
pub fn rem<M: Machine>(a: &U256, b: &mut U256) {
    if is_short(b) {
        *b = a.checked_rem(*b).unwrap_or_default();
        return;
    }
    let (mut quotient, mut rest) = (ZERO, *a);
    divide::<M>(&mut quotient, &mut rest, b);
    *b = rest;
}

/// Whether dividing by it takes less without instructions for words: it is no longer than a limb.
fn is_short(divisor: &U256) -> bool {
    let [_, second, third, fourth] = *divisor.as_limbs();
    second | third | fourth == 0
}

/// Whether it has no more than 128 bits.
fn is_digit(word: &U256) -> bool {
    let [.., third, fourth] = *word.as_limbs();
    third | fourth == 0
}

/// Divides by what has more than 31 bits: leaves in `rest` what is left of it, and adds the quotient to the other. By digits of up to 28 bits: the longer the quotient, the longer it takes.
fn divide<M: Machine>(quotient: &mut U256, rest: &mut U256, divisor: &U256) {
    if M::lt(rest, divisor) {
        return;
    }
    let length = bits(divisor);
    let mut left = bits(rest) - length;
    if left > 0 {
        let [s0, s1] = &mut slots();
        let inverse = u64::from(short_reciprocal(highest::<M>(s0, divisor, length)));
        while left > 0 {
            // The rest is less than twice the divisor moved as far up. So these are at most 32 bits; the digit is never too large, and less than 7 / 2^31 * 2^width + 1 short: with 28 bits 1.875, less than two.
            let high = highest::<M>(s0, rest, left + length);
            let width = left.min(28);
            left -= width;
            let digit = U256::from((u64::from(high) * inverse) >> (62 - width));
            let digit = M::shl(s0, &digit, left);
            M::add_to(quotient, digit);
            M::take_from(rest, M::mul(s1, digit, divisor));
        }
        if M::lt(rest, divisor) {
            return;
        }
    }
    M::add_to(quotient, &ONE);
    M::take_from(rest, divisor);
}

/// The length of a word. In halves of limbs: counting zeros is some thirty instructions for each of a machine of 32 bits.
fn bits(word: &U256) -> usize {
    for (at, limb) in word.as_limbs().iter().enumerate().rev() {
        for (half, more) in [((limb >> 32) as u32, 64), (*limb as u32, 32)] {
            if half != 0 {
                return 64 * at + more - half.leading_zeros() as usize;
            }
        }
    }
    0
}

/// floor(2^62 / (high + 1)) of a number of 31 bits. A machine of 32 bits has no instruction to divide more than those.
fn short_reciprocal(high: u32) -> u32 {
    let more = u64::from(high) + 1;
    // 2^47 / more from below with 14 bits, then Newton's iteration, then all but at most seven units.
    let seed = u64::from(u32::MAX / ((more >> 15) as u32 + 1));
    let error = (1 << 47) - seed * more;
    let mut inverse = (seed << 15) + ((seed * error) >> 32);
    let mut rest = (1 << 62) - inverse * more;
    while rest >= more {
        rest -= more;
        inverse += 1;
    }
    inverse as u32
}

/// A word less than `2^(length + 1)` without its lowest `length - 31` bits.
fn highest<M: Machine>(slot: &mut Slot, word: &U256, length: usize) -> u32 {
    M::shr(slot, word, length - 31).as_limbs()[0] as u32
}

/// `(a + b) % modulus`, put into `modulus`; zero where that is zero.
pub fn add_mod<M: Machine>(a: &U256, b: &U256, modulus: &mut U256) {
    // Both are less, most often.
    if M::lt(a, modulus) && M::lt(b, modulus) {
        let [s0, s1] = &mut slots();
        let sum = M::add(s0, a, b);
        let less = !M::lt(sum, a) && M::lt(sum, modulus);
        *modulus = if less { *sum } else { *M::sub(s1, sum, modulus) };
        return;
    }
    *modulus = a.add_mod(*b, *modulus);
}

/// `(a * b) % modulus`, put into `modulus`; zero where that is zero.
pub fn mul_mod<M: Machine>(a: &U256, b: &U256, modulus: &mut U256) {
    let (product, own, result) = (&mut slots(), &mut slots(), &mut Slot::uninit());
    if is_digit(a) && is_digit(b) {
        return rem::<M>(M::mul(result, a, b), modulus);
    }
    let (upper, lower) = widening_mul::<M>(product, a, b);
    if upper.is_zero() {
        return rem::<M>(lower, modulus);
    }
    *modulus = Divisor::<M>::new(own, modulus).map_or(ZERO, |divisor| *divisor.rem_wide(result, upper, lower));
}

/// `base ^ exponent`, modulo 2^256.
pub fn pow<M: Machine>(base: &U256, exponent: &U256) -> U256 {
    let Some(highest) = exponent.bit_len().checked_sub(1) else { return ONE };
    let [square, product] = &mut slots();
    let mut power = *base;
    for bit in (0..highest).rev() {
        let square = M::mul(square, &power, &power);
        power = match exponent.bit(bit) {
            true => *M::mul(product, square, base),
            false => *square,
        };
    }
    power
}

/// `base ^ exponent % modulus` of big-endian numbers (EIP-198). The result has no zeros in front.
pub fn mod_exp<M: Machine>(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let mut modulus = words(modulus);
    let Some(shift) = modulus.last().map(U256::leading_zeros) else { return Vec::new() };
    // Modulo a multiple of it, whose highest bit is set.
    move_up::<M>(&mut modulus, shift);
    let Some(modulus) = Modulus::<M>::new(modulus) else { return Vec::new() };
    let base = modulus.rem(words(base));
    let mut power = modulus.rem(vec![ONE]);
    // Four bits at a time, where there are many.
    let bits =
        8 * exponent.len() - exponent.iter().position(|byte| *byte != 0).map_or(8 * exponent.len(), |zeros| 8 * zeros);
    let width = if bits > 64 { 4 } else { 1 };
    let mut powers = vec![power.clone(), base];
    for index in 2..1 << width {
        powers.push(modulus.mul(&powers[index - 1], &powers[1]));
    }
    let mut started = false;
    for byte in &exponent[exponent.len() - bits / 8..] {
        for at in (0..8 / width).rev() {
            let digit = usize::from(byte >> (at * width)) % (1 << width);
            if started {
                for _ in 0..width {
                    power = modulus.mul(&power, &power);
                }
            }
            if digit > 0 {
                power = if started { modulus.mul(&power, &powers[digit]) } else { powers[digit].clone() };
                started = true;
            }
        }
    }
    // Modulo it alone: moved up, then down again.
    power.push(U256::ZERO);
    move_up::<M>(&mut power, shift);
    let mut rest = modulus.rem(power);
    move_down::<M>(&mut rest, shift);
    let mut bytes = Vec::with_capacity(32 * rest.len());
    rest.iter().rev().for_each(|word| bytes.extend(word.to_be_bytes::<32>()));
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.split_off(zeros)
}

/// The words of a big-endian number, the lowest first; the last one is not zero.
fn words(bytes: &[u8]) -> Vec<U256> {
    let mut words: Vec<U256> = bytes.rchunks(32).map(U256::from_be_slice).collect();
    while words.last().is_some_and(U256::is_zero) {
        words.pop();
    }
    words
}

/// Moves a number up by less than a word; what is beyond its highest word is lost.
fn move_up<M: Machine>(number: &mut [U256], shift: usize) {
    let [s0, s1, s2] = &mut slots();
    for at in (0..number.len()).rev() {
        let below = if at == 0 || shift == 0 { &ZERO } else { M::shr(s0, &number[at - 1], 256 - shift) };
        number[at] = *M::add(s2, M::shl(s1, &number[at], shift), below);
    }
}

/// Moves a number down by less than a word.
fn move_down<M: Machine>(number: &mut [U256], shift: usize) {
    let [s0, s1, s2] = &mut slots();
    for at in 0..number.len() {
        let above = number.get(at + 1).filter(|_| shift > 0).map_or(&ZERO, |word| M::shl(s0, word, 256 - shift));
        number[at] = *M::add(s2, M::shr(s1, &number[at], shift), above);
    }
}

/// A number of words whose highest bit is set.
struct Modulus<M> {
    words: Vec<U256>,
    /// Of its highest word.
    reciprocal: U256,
    machine: PhantomData<M>,
}

impl<M: Machine> Modulus<M> {
    fn new(words: Vec<U256>) -> Option<Self> {
        let slots = &mut slots();
        let reciprocal = *Divisor::<M>::new(slots, words.last()?)?.reciprocal;
        Some(Self { words, reciprocal, machine: PhantomData })
    }

    fn top(&self) -> Divisor<'_, M> {
        let word = &self.words[self.words.len() - 1];
        Divisor { word, shift: 0, reciprocal: &self.reciprocal, machine: PhantomData }
    }

    /// A product modulo it, of numbers that are less than it and have as many words. So the upper half of their product is less than it, too.
    fn mul(&self, a: &[U256], b: &[U256]) -> Vec<U256> {
        if let ([a], [b]) = (a, b) {
            let (wide, [s0, s1]) = (&mut slots(), &mut slots());
            let (upper, lower) = widening_mul::<M>(wide, a, b);
            return vec![*self.top().divide(s0, s1, upper, lower).1];
        }
        let mut product = vec![ZERO; a.len() + b.len()];
        for (at, a) in a.iter().enumerate() {
            let mut carry = ZERO;
            for (b, word) in b.iter().zip(&mut product[at..]) {
                let ([s0, s1], wide) = (&mut slots(), &mut slots());
                let (upper, lower) = widening_mul::<M>(wide, a, b);
                let sum = M::add(s0, lower, &carry);
                M::add_to(word, sum);
                let over = usize::from(M::lt(sum, lower)) + usize::from(M::lt(word, sum));
                // It fits: the product of two words and two words more are two words.
                carry = *M::add(s1, upper, &SMALL[over]);
            }
            product[at + b.len()] = carry;
        }
        self.reduce(product)
    }

    /// The remainder, of as many words as it has.
    fn rem(&self, mut number: Vec<U256>) -> Vec<U256> {
        number.resize(number.len().max(self.words.len()) + 1, ZERO);
        self.reduce(number)
    }

    /// The same of a number whose upper words, as many as it has, are less than it.
    fn reduce(&self, mut number: Vec<U256>) -> Vec<U256> {
        let (length, top) = (self.words.len(), self.top());
        for at in (length..number.len()).rev() {
            let (row, [s0, s1]) = (&mut number[at - length..=at], &mut slots());
            // At most two more than the quotient's word.
            let digit = match M::lt(&row[length], top.word) {
                true => top.divide(s0, s1, &row[length], &row[length - 1]).0,
                false => &MAX,
            };
            let (mut carry, mut borrow) = (ZERO, false);
            for (word, own) in row.iter_mut().zip(&self.words) {
                let ([s0, s1], wide) = (&mut slots(), &mut slots());
                let (upper, lower) = widening_mul::<M>(wide, digit, own);
                let sum = M::add(s0, lower, &carry);
                carry = *M::add(s1, upper, &SMALL[usize::from(M::lt(sum, lower))]);
                borrow = take::<M>(word, sum, borrow);
            }
            borrow = take::<M>(&mut row[length], &carry, borrow);
            // The word was too large.
            while borrow {
                let mut over = false;
                for (word, own) in row.iter_mut().zip(&self.words) {
                    over = put::<M>(word, own, over);
                }
                borrow = !put::<M>(&mut row[length], &ZERO, over);
            }
        }
        number.truncate(length);
        number
    }
}

/// What sums carry.
static SMALL: [U256; 3] = [U256::ZERO, U256::ONE, U256::from_limbs([2, 0, 0, 0])];

/// Adds to a word what is given and what is carried, and tells whether that is one more word.
fn put<M: Machine>(word: &mut U256, more: &U256, carry: bool) -> bool {
    M::add_to(word, more);
    let over = M::lt(word, more);
    if carry {
        M::add_to(word, &ONE);
    }
    over || carry && word.is_zero()
}

/// Takes from a word what is given and what is borrowed, and tells whether that was too much.
fn take<M: Machine>(word: &mut U256, less: &U256, borrow: bool) -> bool {
    let below = M::lt(word, less);
    M::take_from(word, less);
    let none = borrow && word.is_zero();
    if borrow {
        M::take_from(word, &ONE);
    }
    below || none
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// This machine's own.
    struct Native;

    impl Machine for Native {
        fn add<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
            slot.write(a.wrapping_add(*b))
        }
        fn sub<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
            slot.write(a.wrapping_sub(*b))
        }
        fn mul<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
            slot.write(a.wrapping_mul(*b))
        }
        fn add_to(a: &mut U256, b: &U256) {
            *a = a.wrapping_add(*b);
        }
        fn take_from(a: &mut U256, b: &U256) {
            *a = a.wrapping_sub(*b);
        }
        fn and<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
            slot.write(a & b)
        }
        fn shl<'s>(slot: &'s mut Slot, a: &U256, bits: usize) -> &'s U256 {
            assert!(bits < 256);
            slot.write(*a << bits)
        }
        fn shr<'s>(slot: &'s mut Slot, a: &U256, bits: usize) -> &'s U256 {
            assert!(bits < 256);
            slot.write(*a >> bits)
        }
        fn lt(a: &U256, b: &U256) -> bool {
            a < b
        }
    }

    /// Words of all lengths, of random bits, of ones, with long runs, near powers of two.
    fn word() -> impl Strategy<Value = U256> {
        let limb = || prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(1), Just(1 << 63), Just(u64::MAX - 1)];
        let limbs = [limb(), limb(), limb(), limb()].prop_map(U256::from_limbs);
        let near = (0..257_usize, 0..5_u64).prop_map(|(bit, less)| {
            let power = if bit == 256 { U256::ZERO } else { U256::ONE << bit };
            power.wrapping_sub(U256::from(less))
        });
        (prop_oneof![3 => limbs, 1 => near], 0..256_usize, any::<bool>())
            .prop_map(|(word, shift, short)| if short { word >> shift } else { word })
    }

    /// Numbers of up to so many bytes, some with zeros in front or ones in them.
    fn number(most: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), Just(0), Just(0xff)];
        let run = (byte.clone(), 0..40_usize).prop_map(|(byte, length)| vec![byte; length]);
        let part = prop_oneof![proptest::collection::vec(byte, 0..40), run];
        proptest::collection::vec(part, 0..8).prop_map(move |parts| {
            let mut bytes = parts.concat();
            bytes.truncate(most);
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn words_are_divided_and_multiplied(a in word(), b in word(), n in word()) {
            let product = &mut slots();
            let (upper, lower) = widening_mul::<Native>(product, &a, &b);
            let wide: alloy_primitives::U512 = a.widening_mul(b);
            let limbs = [*lower.as_limbs(), *upper.as_limbs()].concat();
            prop_assert_eq!(&limbs[..], &wide.as_limbs()[..]);
            let of = |work: &dyn Fn(&mut U256)| {
                let mut last = n;
                work(&mut last);
                last
            };
            prop_assert_eq!(of(&|n| add_mod::<Native>(&a, &b, n)), a.add_mod(b, n));
            prop_assert_eq!(of(&|n| mul_mod::<Native>(&a, &b, n)), a.mul_mod(b, n));
            let (quotient, rest) = if n.is_zero() { (ZERO, ZERO) } else { a.div_rem(n) };
            prop_assert_eq!((of(&|n| div::<Native>(&a, n)), of(&|n| rem::<Native>(&a, n))), (quotient, rest));
            prop_assert_eq!(pow::<Native>(&a, &b), a.pow(b));
        }

        #[test]
        fn a_word_is_divided_where_it_is_close_to_a_multiple(n in word(), q in word(), off in 0..3_u64) {
            let n = n.max(ONE);
            let a = n.wrapping_mul(q >> n.bit_len().min(255)).wrapping_add(U256::from(off)).wrapping_sub(ONE);
            let (mut quotient, mut rest) = (n, n);
            div::<Native>(&a, &mut quotient);
            rem::<Native>(&a, &mut rest);
            prop_assert_eq!((quotient, rest), a.div_rem(n));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn powers_are_another_librarys(base in number(200), exponent in number(24), modulus in number(200)) {
            let expected = aurora_engine_modexp::modexp(&base, &exponent, &modulus);
            let zeros = expected.iter().take_while(|byte| **byte == 0).count();
            prop_assert_eq!(&mod_exp::<Native>(&base, &exponent, &modulus)[..], &expected[zeros..]);
        }
    }
}
