//! What hash maps are seeded with.
//!
//! Whoever knows it can choose addresses and slots that all meet in one place of a map, which then costs with the square of their number. Nothing is random in the
//! machine, so the prover draws a number for it: no statement depends on that. `foldhash` makes its first seeds of the stack's address, and all others of
//! those before, so the stack is moved by that number, once.

use alloy_primitives::map::foldhash::{
    SharedSeed,
    fast::{FoldHasher, RandomState},
};
use core::{
    arch::asm,
    hash::{BuildHasher, Hasher},
    hint::black_box,
};

/// Places that the stack can be moved to, so many bytes apart (RISC-V's calling convention): half of the stack.
const PLACES: u32 = 1 << 16;
const APART: u32 = 16;

/// Reads the prover's number, and seeds all hash maps with it: before there is any.
pub(super) fn take() {
    let distance = openvm::io::read::<u32>() % PLACES * APART;
    // SAFETY: below the stack there is a megabyte and more that nobody uses yet; the callee keeps s2, as the convention says, and so the stack comes back.
    unsafe {
        asm!(
            "sub sp, sp, s2",
            "jalr ra, {first}",
            "add sp, sp, s2",
            first = in(reg) first as extern "C" fn(),
            in("s2") distance,
            clobber_abi("C"),
        );
    }
}

extern "C" fn first() {
    black_box(RandomState::default());
}

/// Hashes by the seed that all maps share, and by one that a map has for itself: for tests that neither is what another number gives.
pub fn seeds() -> [u8; 32] {
    let mut shared = FoldHasher::with_seed(0, SharedSeed::global_random());
    shared.write_u64(1);
    let mut seeds = [0; 32];
    seeds[..8].copy_from_slice(&shared.finish().to_le_bytes());
    let mut own = RandomState::default().build_hasher();
    own.write_u64(1);
    seeds[8..16].copy_from_slice(&own.finish().to_le_bytes());
    seeds
}
