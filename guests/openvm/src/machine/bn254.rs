//! BN254, of EIP-196 and EIP-197.

use super::curve::{combine, words_be};
use alloc::vec::Vec;
use openvm_algebra_guest::{Field, IntMod};
use openvm_ecc_guest::{AffinePoint, weierstrass::WeierstrassPoint};
use openvm_pairing::{
    PairingCheck,
    bn254::{Bn254, Fp, Fp2, G1Affine, G2Affine},
};
use revm::precompile::PrecompileHalt;

/// The order of both groups, in words from the lowest.
const ORDER: [u32; 8] =
    [0xF000_0001, 0x43E1_F593, 0x79B9_7091, 0x2833_E848, 0x8181_585D, 0xB850_45B6, 0xE131_A029, 0x3064_4E72];

type Halt = PrecompileHalt;

pub(crate) fn add(first: &[u8], second: &[u8]) -> Result<[u8; 64], Halt> {
    let mut sum = g1(first)?;
    sum.add_assign_impl::<true>(&g1(second)?);
    Ok(encode(&sum))
}

pub(crate) fn multiply(point: &[u8], scalar: &[u8]) -> Result<[u8; 64], Halt> {
    let point = g1(point)?;
    let scalar = scalar.try_into().map_err(|_| Halt::Bn254FieldPointNotAMember)?;
    if is_identity(&point) {
        return Ok([0; 64]);
    }
    Ok(combine(&[point], &[words_be(scalar)], 256).map_or([0; 64], |product| encode(&product)))
}

pub(crate) fn pairing_check(pairs: &[(&[u8], &[u8])]) -> Result<bool, Halt> {
    let (mut first, mut second) = (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
    for (p, q) in pairs {
        let (p, q) = (g1(p)?, g2(q)?);
        // A pairing with an identity is one.
        if let Some(q) = q
            && !is_identity(&p)
        {
            let (x, y) = p.into_coords();
            first.push(AffinePoint::new(x, y));
            second.push(q);
        }
    }
    Ok(first.is_empty() || Bn254::pairing_check(&first, &second).is_ok())
}

fn field(bytes: &[u8]) -> Result<Fp, Halt> {
    Fp::from_be_bytes(bytes).ok_or(Halt::Bn254FieldPointNotAMember)
}

/// A point of the curve, all of which are in the group; zeros are the identity.
fn g1(bytes: &[u8]) -> Result<G1Affine, Halt> {
    let (x, y) = bytes.split_at_checked(32).ok_or(Halt::Bn254FieldPointNotAMember)?;
    // SAFETY: all points of the curve are in the group.
    unsafe { G1Affine::from_xy(field(x)?, field(y)?) }.ok_or(Halt::Bn254AffineGFailedToCreate)
}

/// A point of the group in the twist; none is the identity, which zeros are. Of each coordinate the imaginary part comes first.
fn g2(bytes: &[u8]) -> Result<Option<AffinePoint<Fp2>>, Halt> {
    let [x1, x0, y1, y0] = [0, 32, 64, 96].map(|at| bytes.get(at..at + 32).ok_or(Halt::Bn254FieldPointNotAMember));
    let x = Fp2::new(field(x0?)?, field(x1?)?);
    let y = Fp2::new(field(y0?)?, field(y1?)?);
    if x == <Fp2 as Field>::ZERO && y == <Fp2 as Field>::ZERO {
        return Ok(None);
    }
    // SAFETY: the group is checked next.
    let point = unsafe { G2Affine::from_xy_nonidentity(x, y) }.ok_or(Halt::Bn254AffineGFailedToCreate)?;
    if !is_in_group(&point) {
        return Err(Halt::Bn254AffineGFailedToCreate);
    }
    let (x, y) = point.into_coords();
    Ok(Some(AffinePoint::new(x, y)))
}

/// Whether the group's order times the point is the identity.
fn is_in_group(point: &G2Affine) -> bool {
    let product = super::curve::multiply(point, &ORDER, 254);
    product.x() == &<Fp2 as Field>::ZERO && product.y() == &<Fp2 as Field>::ZERO
}

fn is_identity(point: &G1Affine) -> bool {
    point.x() == &<Fp as IntMod>::ZERO && point.y() == &<Fp as IntMod>::ZERO
}

fn encode(point: &G1Affine) -> [u8; 64] {
    point.x().assert_reduced();
    point.y().assert_reduced();
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&point.x().to_be_bytes());
    bytes[32..].copy_from_slice(&point.y().to_be_bytes());
    bytes
}
