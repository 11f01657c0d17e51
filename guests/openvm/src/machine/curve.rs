//! Sums of multiples of points, on the machine's curve instructions.
//!
//! The machine adds points of different x and doubles points other than the identity. Elsewhere its circuit leaves the result open: a prover could prove
//! any. Signers and callers choose points and scalars, and can make such cases; so each addition compares first. No curve here has a point of order 2, so
//! that a double of a point is one.
//!
//! What the machine computes is congruent to the result, and no more: whoever looks at the bytes of a number, rather than at its residue, must have it checked by
//! `assert_reduced`.

use alloc::vec::Vec;
use openvm_algebra_guest::IntMod;
use openvm_ecc_guest::weierstrass::WeierstrassPoint;

/// Bits of a scalar, in words from the lowest.
pub(crate) type Words = [u32; 8];

/// A sum under way; none is the identity.
#[derive(Clone)]
struct Sum<P>(Option<P>);

impl<P: WeierstrassPoint<Coordinate: IntMod>> Sum<P> {
    #[inline(always)]
    fn double(&mut self) {
        if let Some(sum) = &mut self.0 {
            // SAFETY: it is not the identity, nor is its double; the curve is set up.
            unsafe { sum.double_assign_nonidentity::<false>() }
        }
    }

    /// Adds a point other than the identity.
    #[inline(always)]
    fn add(&mut self, point: &P) {
        let Some(sum) = &mut self.0 else {
            self.0 = Some(point.clone());
            return;
        };
        // SAFETY: the curve is set up, its coordinates with it.
        let (same_x, same_y) = unsafe {
            let same_x = sum.x().eq_impl::<false>(point.x());
            (same_x, same_x && sum.y().eq_impl::<false>(point.y()))
        };
        match (same_x, same_y) {
            // SAFETY: their x differ, and neither is the identity.
            (false, _) => unsafe { sum.add_ne_assign_nonidentity::<false>(point) },
            (true, true) => self.double(),
            (true, false) => self.0 = None,
        }
    }
}

/// The sum of the points times their scalars, of which the lowest `bits` count; none if it is the identity. The points are not.
pub(crate) fn combine<P, const N: usize>(points: &[P; N], scalars: &[Words; N], bits: usize) -> Option<P>
where
    P: WeierstrassPoint<Coordinate: IntMod>,
{
    P::set_up_once();
    // The sums of some of the points, at the number that has their bits.
    let mut sums: Vec<Sum<P>> = Vec::with_capacity(1 << N);
    sums.push(Sum(None));
    for index in 1..1usize << N {
        let mut sum = sums[index & (index - 1)].clone();
        sum.add(&points[index.trailing_zeros() as usize]);
        sums.push(sum);
    }
    let mut sum = Sum(None);
    for word in (0..bits.div_ceil(32)).rev() {
        let count = (bits - 32 * word).min(32);
        let mut rest: [u32; N] = core::array::from_fn(|at| scalars[at][word] << (32 - count));
        for _ in 0..count {
            sum.double();
            let mut index = 0;
            for (at, rest) in rest.iter_mut().enumerate() {
                index |= (*rest >> 31) << at;
                *rest <<= 1;
            }
            if let Some(Sum(Some(point))) = sums.get(index as usize) {
                sum.add(point);
            }
        }
    }
    sum.0
}

/// The words of a number's bytes.
pub(crate) fn words(number: &impl IntMod) -> Words {
    let bytes = number.as_le_bytes();
    core::array::from_fn(|at| {
        u32::from_le_bytes([bytes[4 * at], bytes[4 * at + 1], bytes[4 * at + 2], bytes[4 * at + 3]])
    })
}

/// The words of a big-endian scalar.
pub(crate) fn words_be(bytes: &[u8; 32]) -> Words {
    core::array::from_fn(|at| {
        let at = 28 - 4 * at;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    })
}

/// A scalar times a point, by total additions: for curves that the machine has no instructions of.
pub(crate) fn multiply<P: WeierstrassPoint>(point: &P, scalar: &Words, bits: usize) -> P {
    let mut product = P::IDENTITY;
    for bit in (0..bits).rev() {
        product.double_assign_impl::<true>();
        if scalar[bit / 32] >> (bit % 32) & 1 == 1 {
            product.add_assign_impl::<true>(point);
        }
    }
    product
}
