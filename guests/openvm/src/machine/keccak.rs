//! Keccak-256 for alloy's `native-keccak`, on the machine's permutation.

use openvm_keccak256_guest::{KECCAK_RATE as RATE, native_keccakf, native_xorin};

/// The permutation's state, aligned as the instructions want it.
#[repr(C, align(4))]
struct State([u8; 200]);

/// A block, aligned likewise.
#[repr(C, align(4))]
struct Block([u8; RATE]);

/// Writes the Keccak-256 hash of `length` bytes to `output`.
///
/// # Safety
/// There are `length` bytes at `bytes`, and room for 32 at `output`.
#[unsafe(no_mangle)]
unsafe extern "C" fn native_keccak256(bytes: *const u8, length: usize, output: *mut u8) {
    // SAFETY: the caller vouches for it.
    let bytes = unsafe { core::slice::from_raw_parts(bytes, length) };
    let mut state = State([0; 200]);
    let blocks = bytes.chunks_exact(RATE);
    let last = blocks.remainder();
    if length < RATE {
        // The state is zero: the block goes in as it is.
        state.0[..last.len()].copy_from_slice(last);
        state.0[last.len()] = 1;
        state.0[RATE - 1] |= 0x80;
    } else {
        for block in blocks {
            absorb(&mut state, block);
        }
        let mut block = Block([0; RATE]);
        block.0[..last.len()].copy_from_slice(last);
        block.0[last.len()] = 1;
        block.0[RATE - 1] |= 0x80;
        // SAFETY: both have that many bytes, and are aligned.
        unsafe { native_xorin(state.0.as_mut_ptr(), block.0.as_ptr(), RATE) };
    }
    // SAFETY: the state has 200 bytes, the output 32.
    unsafe {
        native_keccakf(state.0.as_mut_ptr());
        core::ptr::copy_nonoverlapping(state.0.as_ptr(), output, 32);
    }
}

/// XORs in a full block, and permutes.
fn absorb(state: &mut State, block: &[u8]) {
    let mut aligned = Block([0; RATE]);
    let mut at = block.as_ptr();
    if !at.addr().is_multiple_of(4) {
        aligned.0.copy_from_slice(block);
        at = aligned.0.as_ptr();
    }
    // SAFETY: both have that many bytes, and are aligned.
    unsafe {
        native_xorin(state.0.as_mut_ptr(), at, RATE);
        native_keccakf(state.0.as_mut_ptr());
    }
}
