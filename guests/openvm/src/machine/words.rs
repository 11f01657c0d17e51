//! The EVM's arithmetic on the machine's instructions for words of 256 bits.

use alloy_primitives::U256;
use jove_stf::Arithmetic;
use jove_words::{Machine, Slot};
use openvm_bigint_guest::{INT256_FUNCT3, Int256Funct7, OPCODE};

/// The machine's words: in memory a `U256` is as its instructions want it, the lowest byte first.
#[derive(Debug)]
pub(super) struct Words;

/// How far words are moved, as words.
static DISTANCES: [U256; 256] = {
    let mut distances = [U256::ZERO; 256];
    let mut bits = 0;
    while bits < 256 {
        distances[bits] = U256::from_limbs([bits as u64, 0, 0, 0]);
        bits += 1;
    }
    distances
};

// Reads two words, then writes one, which may be either of them. All are aligned: they come from references.
macro_rules! instruction {
    ($which:ident, $to:expr, $a:expr, $b:expr) => {
        openvm_custom_insn::custom_insn_r!(
            opcode = OPCODE,
            funct3 = INT256_FUNCT3,
            funct7 = Int256Funct7::$which as u8,
            rd = In $to,
            rs1 = In $a,
            rs2 = In $b
        )
    };
}

// Into a slot.
macro_rules! put {
    ($which:ident, $slot:expr, $a:expr, $b:expr) => {{
        let (slot, a, b): (&mut Slot, &U256, &U256) = ($slot, $a, $b);
        instruction!($which, slot.as_mut_ptr(), a, b);
        // SAFETY: the instruction has written it.
        unsafe { slot.assume_init_ref() }
    }};
}

impl Machine for Words {
    #[inline(always)]
    fn add<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
        put!(Add, slot, a, b)
    }

    #[inline(always)]
    fn sub<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
        put!(Sub, slot, a, b)
    }

    #[inline(always)]
    fn mul<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
        put!(Mul, slot, a, b)
    }

    #[inline(always)]
    fn add_to(a: &mut U256, b: &U256) {
        instruction!(Add, &raw mut *a, &raw const *a, b);
    }

    #[inline(always)]
    fn take_from(a: &mut U256, b: &U256) {
        instruction!(Sub, &raw mut *a, &raw const *a, b);
    }

    #[inline(always)]
    fn and<'s>(slot: &'s mut Slot, a: &U256, b: &U256) -> &'s U256 {
        put!(And, slot, a, b)
    }

    #[inline(always)]
    fn shl<'s>(slot: &'s mut Slot, a: &U256, bits: usize) -> &'s U256 {
        put!(Sll, slot, a, &DISTANCES[bits])
    }

    #[inline(always)]
    fn shr<'s>(slot: &'s mut Slot, a: &U256, bits: usize) -> &'s U256 {
        put!(Srl, slot, a, &DISTANCES[bits])
    }

    #[inline(always)]
    fn lt(a: &U256, b: &U256) -> bool {
        let mut slot = Slot::uninit();
        put!(Sltu, &mut slot, a, b).as_limbs()[0] != 0
    }
}

impl Arithmetic for Words {
    fn mul(&self, a: &U256, b: &mut U256) {
        instruction!(Mul, &raw mut *b, a, &raw const *b);
    }

    fn div(&self, a: &U256, b: &mut U256) {
        jove_words::div::<Self>(a, b);
    }

    fn rem(&self, a: &U256, b: &mut U256) {
        jove_words::rem::<Self>(a, b);
    }

    fn add_mod(&self, a: &U256, b: &U256, modulus: &mut U256) {
        jove_words::add_mod::<Self>(a, b, modulus);
    }

    fn mul_mod(&self, a: &U256, b: &U256, modulus: &mut U256) {
        jove_words::mul_mod::<Self>(a, b, modulus);
    }

    fn pow(&self, base: &U256, exponent: &mut U256) {
        *exponent = jove_words::pow::<Self>(base, exponent);
    }
}
