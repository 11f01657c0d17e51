//! ECDSA over secp256k1 (recovery, verification) and P-256 (verification, EIP-7951).

use super::curve::{Words, combine, words};
use core::ops::{Mul, Neg};
use openvm_algebra_guest::{DivUnsafe, IntMod, Sqrt, moduli_macros::moduli_declare};
use openvm_ecc_guest::{Group, sw_macros::sw_declare, weierstrass::WeierstrassPoint};

moduli_declare! {
    Secp256k1Coord { modulus = "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F" },
    Secp256k1Scalar { modulus = "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141" },
    P256Coord { modulus = "0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF" },
    P256Scalar { modulus = "0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551" },
}

const SECP256K1_B: Secp256k1Coord =
    Secp256k1Coord::from_const_bytes(little_endian("0000000000000000000000000000000000000000000000000000000000000007"));
const P256_A: P256Coord =
    P256Coord::from_const_bytes(little_endian("FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFC"));
const P256_B: P256Coord =
    P256Coord::from_const_bytes(little_endian("5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B"));

sw_declare! {
    Secp256k1Point { mod_type = Secp256k1Coord, b = SECP256K1_B },
    P256Point { mod_type = P256Coord, a = P256_A, b = P256_B },
}

/// A curve and what its order is the modulus of.
trait Curve {
    type Scalar: IntMod;
    type Point: WeierstrassPoint<Coordinate: IntMod>;

    fn generator() -> Self::Point;
}

struct Secp256k1;

struct P256;

impl Curve for Secp256k1 {
    type Scalar = Secp256k1Scalar;
    type Point = Secp256k1Point;

    fn generator() -> Secp256k1Point {
        const X: Secp256k1Coord = Secp256k1Coord::from_const_bytes(little_endian(
            "79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798",
        ));
        const Y: Secp256k1Coord = Secp256k1Coord::from_const_bytes(little_endian(
            "483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8",
        ));
        // SAFETY: it is on the curve.
        unsafe { Secp256k1Point::from_xy_unchecked(X, Y) }
    }
}

impl Curve for P256 {
    type Scalar = P256Scalar;
    type Point = P256Point;

    fn generator() -> P256Point {
        const X: P256Coord = P256Coord::from_const_bytes(little_endian(
            "6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296",
        ));
        const Y: P256Coord = P256Coord::from_const_bytes(little_endian(
            "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5",
        ));
        // SAFETY: it is on the curve.
        unsafe { P256Point::from_xy_unchecked(X, Y) }
    }
}

/// The key, x ‖ y, whose signature r ‖ s of a prehashed message this is, if R has an odd y or not; none if there is none. A high s is taken: whoever
/// refuses it looks at s. That x of R is r and not r plus the order is what Ethereum's parities say.
pub(crate) fn recover(signature: &[u8; 64], odd: bool, message: &[u8; 32]) -> Option<[u8; 64]> {
    let (r, s) = numbers::<Secp256k1Scalar>(signature)?;
    // r is below the order, which is below the coordinates' modulus.
    let x = Secp256k1Coord::from_be_bytes_unchecked(&signature[..32]);
    let root = (&x * &x * &x + &SECP256K1_B).sqrt()?;
    root.assert_reduced();
    let y = if (root.as_le_bytes()[0] & 1 == 1) == odd { root } else { -root };
    // Its parity is that of the number below the modulus.
    y.assert_reduced();
    if (y.as_le_bytes()[0] & 1 == 1) != odd {
        return None;
    }
    // SAFETY: it is on the curve, by its y.
    let point = unsafe { Secp256k1Point::from_xy_unchecked(x, y) };
    let z = Secp256k1Scalar::from_be_bytes_unchecked(message);
    let (u1, u2) = (-(z.div_unsafe(&r)), s.div_unsafe(&r));
    encode(&endomorphic(&u1, &u2, point)?)
}

/// Whether it is a signature r ‖ s of a prehashed message by the secp256k1 key x ‖ y.
pub(crate) fn verify_secp256k1(key: &[u8; 64], signature: &[u8; 64], message: &[u8; 32]) -> bool {
    verify::<Secp256k1>(key, signature, message).is_some()
}

/// Whether it is a signature r ‖ s of a prehashed message by the P-256 key x ‖ y.
pub(crate) fn verify_p256(key: &[u8; 64], signature: &[u8; 64], message: &[u8; 32]) -> bool {
    verify::<P256>(key, signature, message).is_some()
}

fn verify<C: Curve>(key: &[u8; 64], signature: &[u8; 64], message: &[u8; 32]) -> Option<()>
where
    for<'a> &'a <C::Point as WeierstrassPoint>::Coordinate:
        Mul<&'a <C::Point as WeierstrassPoint>::Coordinate, Output = <C::Point as WeierstrassPoint>::Coordinate>,
{
    let (r, s) = numbers::<C::Scalar>(signature)?;
    let [x, y] = [0, 32].map(|at| <C::Point as WeierstrassPoint>::Coordinate::from_be_bytes(&key[at..at + 32]));
    // SAFETY: all points of the curve are in the group. On neither is one with coordinates of zero, the machine's identity.
    let key = unsafe { C::Point::from_xy_nonidentity(x?, y?) }?;
    let z = C::Scalar::from_be_bytes_unchecked(message);
    let (u1, u2) = (words(&z.div_unsafe(&s)), words(&r.clone().div_unsafe(&s)));
    let point = combine(&[C::generator(), key], &[u1, u2], 256)?;
    point.x().assert_reduced();
    // A number of the order's field again, below the order.
    let x = C::Scalar::from_le_bytes_unchecked(point.x().as_le_bytes()) + C::Scalar::ZERO;
    (x == r).then_some(())
}

/// r and s; none if one is zero or not below the order.
fn numbers<S: IntMod>(signature: &[u8; 64]) -> Option<(S, S)> {
    let (r, s) = (S::from_be_bytes(&signature[..32])?, S::from_be_bytes(&signature[32..])?);
    (r != S::ZERO && s != S::ZERO).then_some((r, s))
}

fn encode(point: &Secp256k1Point) -> Option<[u8; 64]> {
    point.x().assert_reduced();
    point.y().assert_reduced();
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&point.x().to_be_bytes());
    bytes[32..].copy_from_slice(&point.y().to_be_bytes());
    Some(bytes)
}

/// u1·G + u2·R, by the endomorphism (x, y) ↦ (βx, y), which multiplies by λ: each scalar is k + k'·λ of half the length. None if it is the identity.
///
/// The constants and the bounds of the halves are those of Gallant, Lambert and Vanstone's method for this curve, as in libsecp256k1's `scalar_impl.h`.
fn endomorphic(u1: &Secp256k1Scalar, u2: &Secp256k1Scalar, point: Secp256k1Point) -> Option<Secp256k1Point> {
    const BETA: Secp256k1Coord = Secp256k1Coord::from_const_bytes(little_endian(
        "7AE96A2B657C07106E64479EAC3434E99CF0497512F58995C1396C28719501EE",
    ));
    const BETA_X: Secp256k1Coord = Secp256k1Coord::from_const_bytes(little_endian(
        "BCACE2E99DA01887AB0102B696902325872844067F15E98DA7BBA04400B88FCB",
    ));
    let generator = Secp256k1::generator();
    // SAFETY: both are on the curve.
    let (generator_image, image) = unsafe {
        (
            Secp256k1Point::from_xy_unchecked(BETA_X, generator.y().clone()),
            Secp256k1Point::from_xy_unchecked(&BETA * point.x(), point.y().clone()),
        )
    };
    let ([a, b], [c, d]) = (halves(u1), halves(u2));
    let signed =
        |(scalar, negative): (Words, bool), point: Secp256k1Point| (scalar, if negative { point.neg() } else { point });
    let terms = [signed(a, generator), signed(b, generator_image), signed(c, point), signed(d, image)];
    let scalars = core::array::from_fn(|at| terms[at].0);
    combine(&terms.map(|(_, point)| point), &scalars, HALF)
}

/// Bits of a scalar's halves.
const HALF: usize = 129;

/// k and k' with k + k'·λ = the scalar, as magnitudes of at most 129 bits, with whether they are negative.
fn halves(scalar: &Secp256k1Scalar) -> [(Words, bool); 2] {
    const LAMBDA: Secp256k1Scalar = Secp256k1Scalar::from_const_bytes(little_endian(
        "5363AD4CC05C30E0A5261C028812645A122E22EA20816678DF02967C1B23BD72",
    ));
    const MINUS_B1: Secp256k1Scalar = Secp256k1Scalar::from_const_bytes(little_endian(
        "00000000000000000000000000000000E4437ED6010E88286F547FA90ABFE4C3",
    ));
    const MINUS_B2: Secp256k1Scalar = Secp256k1Scalar::from_const_bytes(little_endian(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFE8A280AC50774346DD765CDA83DB1562C",
    ));
    // b2 and −b1 over the order, times 2^384, in words from the lowest.
    const G1: Words =
        [0x45DB_B031, 0xE893_209A, 0x71E8_CA7F, 0x3DAA_8A14, 0x9284_EB15, 0xE86C_90E4, 0xA7D4_6BCD, 0x3086_D221];
    const G2: Words =
        [0x8AC4_7F71, 0x1571_B4AE, 0x9DF5_06C6, 0x2212_08AC, 0x0ABF_E4C4, 0x6F54_7FA9, 0x010E_8828, 0xE443_7ED6];
    let whole = words(scalar);
    let second = rounded(&whole, &G1) * &MINUS_B1 + rounded(&whole, &G2) * &MINUS_B2;
    let first = scalar - &(&second * &LAMBDA);
    // Any numbers with that sum give the same point, however they were come by: so nothing is to be checked here but their lengths.
    [first, second].map(|half| {
        let negative = half.as_le_bytes()[17..].iter().any(|byte| *byte != 0);
        let half = words(&if negative { -half } else { half });
        assert!(
            half[4] < 1 << (HALF - 128) && half[5..].iter().all(|word| *word == 0),
            "a half of a scalar is too long"
        );
        (half, negative)
    })
}

/// The product over 2^384, rounded: at most 128 bits.
fn rounded(a: &Words, b: &Words) -> Secp256k1Scalar {
    let mut product = [0u32; 16];
    for (at, a) in a.iter().enumerate() {
        let mut carry = 0;
        for (b, digit) in b.iter().zip(&mut product[at..]) {
            // At most (2³² − 1)² + 2·(2³² − 1) < 2⁶⁴.
            let sum = u64::from(*a) * u64::from(*b) + u64::from(*digit) + carry;
            (*digit, carry) = (sum as u32, sum >> 32);
        }
        product[at + 8] = carry as u32;
    }
    let mut carry = product[11] >> 31;
    let mut bytes = [0; 32];
    for (digit, bytes) in product[12..].iter().zip(bytes.chunks_exact_mut(4)) {
        let (sum, over) = digit.overflowing_add(carry);
        carry = over.into();
        bytes.copy_from_slice(&sum.to_le_bytes());
    }
    Secp256k1Scalar::from_const_bytes(bytes)
}

/// A big-endian number of 64 hexadecimal digits.
const fn little_endian(digits: &str) -> [u8; 32] {
    const fn digit(digit: u8) -> u8 {
        match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'F' => digit - b'A' + 10,
            _ => panic!("not a digit"),
        }
    }
    let digits = digits.as_bytes();
    assert!(digits.len() == 64, "64 digits");
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[31 - at] = digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}
