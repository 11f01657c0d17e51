//! BLS12-381, of EIP-2537 and EIP-4844. Maps to the curve are not here: revm's own serve.

use super::curve::{Words, combine, multiply, words, words_be};
use alloc::vec::Vec;
use openvm_algebra_guest::{Field, IntMod, Sqrt};
use openvm_ecc_guest::{AffinePoint, CyclicGroup, weierstrass::WeierstrassPoint};
use openvm_pairing::{
    PairingCheck,
    bls12_381::{Bls12_381, Fp, Fp2, G1Affine, G2Affine, Scalar},
};
use revm::precompile::{
    PrecompileHalt,
    bls12_381::{G1Point, G1PointScalar, G2Point, G2PointScalar},
};

/// The order of both groups, in words from the lowest.
const ORDER: Words =
    [0x0000_0001, 0xFFFF_FFFF, 0xFFFE_5BFE, 0x53BD_A402, 0x09A1_D805, 0x3339_D808, 0x299D_7D48, 0x73ED_A753];

type Halt = PrecompileHalt;

pub(crate) fn g1_add(first: &G1Point, second: &G1Point) -> Result<[u8; 96], Halt> {
    let mut sum = g1(first)?;
    sum.add_assign_impl::<true>(&g1(second)?);
    Ok(encode_g1(&sum))
}

pub(crate) fn g2_add(first: &G2Point, second: &G2Point) -> Result<[u8; 192], Halt> {
    let mut sum = g2(first)?;
    sum.add_assign_impl::<true>(&g2(second)?);
    Ok(encode_g2(&sum))
}

pub(crate) fn g1_msm(pairs: &mut dyn Iterator<Item = Result<G1PointScalar, Halt>>) -> Result<[u8; 96], Halt> {
    let mut sum = G1Affine::IDENTITY;
    for pair in pairs {
        let (point, scalar) = pair?;
        let point = g1_in_group(&point)?;
        if !is_identity(&point)
            && let Some(product) = combine(&[point], &[words_be(&scalar)], 256)
        {
            sum.add_assign_impl::<true>(&product);
        }
    }
    Ok(encode_g1(&sum))
}

pub(crate) fn g2_msm(pairs: &mut dyn Iterator<Item = Result<G2PointScalar, Halt>>) -> Result<[u8; 192], Halt> {
    let mut sum = G2Affine::IDENTITY;
    for pair in pairs {
        let (point, scalar) = pair?;
        let point = g2_in_group(&point)?;
        sum.add_assign_impl::<true>(&multiply(&point, &words_be(&scalar), 256));
    }
    Ok(encode_g2(&sum))
}

pub(crate) fn pairing_check(pairs: &[(G1Point, G2Point)]) -> Result<bool, Halt> {
    let mut points = Vec::with_capacity(pairs.len());
    for (p, q) in pairs {
        points.push((g1_in_group(p)?, g2_in_group(q)?));
    }
    Ok(is_one(points))
}

/// EIP-4844: whether the polynomial committed to has the value y at z. Commitment and proof are compressed points.
pub(crate) fn verify_kzg_proof(z: &[u8; 32], y: &[u8; 32], commitment: &[u8; 48], proof: &[u8; 48]) -> bool {
    verify(z, y, commitment, proof).is_some_and(|valid| valid)
}

fn verify(z: &[u8; 32], y: &[u8; 32], commitment: &[u8; 48], proof: &[u8; 48]) -> Option<bool> {
    let (z, y) = (Scalar::from_be_bytes(z)?, Scalar::from_be_bytes(y)?);
    let (commitment, proof) = (decompress(commitment)?, decompress(proof)?);
    // e(C − y·G₁ + z·π, −G₂) · e(π, τ·G₂) = 1
    let mut sum = commitment;
    if let Some(product) = combine(&[G1Affine::NEG_GENERATOR], &[words(&y)], 255) {
        sum.add_assign_impl::<true>(&product);
    }
    if !is_identity(&proof)
        && let Some(product) = combine(&[proof.clone()], &[words(&z)], 255)
    {
        sum.add_assign_impl::<true>(&product);
    }
    let point = |[x0, x1, y0, y1]: [[u8; 48]; 4]| {
        let [x0, x1, y0, y1] = [x0, x1, y0, y1].map(|bytes| Fp::from_be_bytes_unchecked(&bytes));
        // SAFETY: both are points of the group.
        unsafe { G2Affine::from_xy_unchecked(Fp2::new(x0, x1), Fp2::new(y0, y1)) }
    };
    let [minus_generator, tau] = POINTS.map(point);
    Some(is_one([(sum, minus_generator), (proof, tau)].into()))
}

/// −G₂ and τ·G₂ of Ethereum's ceremony, each as x and y, the real part before the imaginary one.
const POINTS: [[[u8; 48]; 4]; 2] = include!("kzg_points.in");

/// Whether the product of the pairings is one. The points are of the groups.
fn is_one(pairs: Vec<(G1Affine, G2Affine)>) -> bool {
    let (mut first, mut second) = (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
    for (p, q) in pairs {
        // A pairing with an identity is one.
        if !is_identity(&p) && !is_identity_2(&q) {
            let ((x, y), (u, v)) = (p.into_coords(), q.into_coords());
            first.push(AffinePoint::new(x, y));
            second.push(AffinePoint::new(u, v));
        }
    }
    first.is_empty() || Bls12_381::pairing_check(&first, &second).is_ok()
}

fn field(bytes: &[u8; 48]) -> Result<Fp, Halt> {
    Fp::from_be_bytes(bytes).ok_or(Halt::NonCanonicalFp)
}

/// A point of the curve; zeros are the identity.
fn g1((x, y): &G1Point) -> Result<G1Affine, Halt> {
    // SAFETY: who needs the group checks it.
    unsafe { G1Affine::from_xy(field(x)?, field(y)?) }.ok_or(Halt::Bls12381G1NotOnCurve)
}

fn g1_in_group(point: &G1Point) -> Result<G1Affine, Halt> {
    let point = g1(point)?;
    if is_in_group(&point) { Ok(point) } else { Err(Halt::Bls12381G1NotInSubgroup) }
}

/// Whether the group's order times the point is the identity.
fn is_in_group(point: &G1Affine) -> bool {
    is_identity(point) || combine(&[point.clone()], &[ORDER], 255).is_none()
}

/// A point of the twist; zeros are the identity.
fn g2((x0, x1, y0, y1): &G2Point) -> Result<G2Affine, Halt> {
    let (x, y) = (Fp2::new(field(x0)?, field(x1)?), Fp2::new(field(y0)?, field(y1)?));
    // SAFETY: who needs the group checks it.
    unsafe { G2Affine::from_xy(x, y) }.ok_or(Halt::Bls12381G2NotOnCurve)
}

fn g2_in_group(point: &G2Point) -> Result<G2Affine, Halt> {
    let point = g2(point)?;
    if is_identity_2(&multiply(&point, &ORDER, 255)) { Ok(point) } else { Err(Halt::Bls12381G2NotInSubgroup) }
}

fn is_identity(point: &G1Affine) -> bool {
    point.x() == &<Fp as IntMod>::ZERO && point.y() == &<Fp as IntMod>::ZERO
}

fn is_identity_2(point: &G2Affine) -> bool {
    point.x() == &<Fp2 as Field>::ZERO && point.y() == &<Fp2 as Field>::ZERO
}

/// A compressed point of the group: x, and in its top bits that it is compressed, that it is the identity, that y is the larger of the two.
fn decompress(bytes: &[u8; 48]) -> Option<G1Affine> {
    const COMPRESSED: u8 = 0x80;
    const IDENTITY: u8 = 0x40;
    const LARGER: u8 = 0x20;
    let mut x = *bytes;
    let flags = x[0] & (COMPRESSED | IDENTITY | LARGER);
    x[0] ^= flags;
    match flags {
        _ if flags & COMPRESSED == 0 => return None,
        _ if flags & IDENTITY != 0 => return (flags & LARGER == 0 && x == [0; 48]).then_some(G1Affine::IDENTITY),
        _ => {}
    }
    let x = Fp::from_be_bytes(&x)?;
    let y = (&x * &x * &x + &Fp::from_u8(4)).sqrt()?;
    let minus_y = -&y;
    y.assert_reduced();
    minus_y.assert_reduced();
    let larger = y.to_be_bytes() > minus_y.to_be_bytes();
    let y = if larger == (flags & LARGER != 0) { y } else { minus_y };
    // SAFETY: it is on the curve, by its y; the group is checked next.
    let point = unsafe { G1Affine::from_xy_unchecked(x, y) };
    is_in_group(&point).then_some(point)
}

fn encode_g1(point: &G1Affine) -> [u8; 96] {
    let mut bytes = [0; 96];
    encode([point.x(), point.y()], &mut bytes);
    bytes
}

fn encode_g2(point: &G2Affine) -> [u8; 192] {
    let mut bytes = [0; 192];
    encode([&point.x().c0, &point.x().c1, &point.y().c0, &point.y().c1], &mut bytes);
    bytes
}

fn encode<const N: usize>(numbers: [&Fp; N], bytes: &mut [u8]) {
    for (number, bytes) in numbers.into_iter().zip(bytes.chunks_exact_mut(48)) {
        number.assert_reduced();
        bytes.copy_from_slice(&number.to_be_bytes());
    }
}
