//! `primitives`, `trie`, `stf` and `proving` without std, allocator and panic handler included: no I/O, no clock, no threads can be in them.
#![no_std]

use core::{
    alloc::{GlobalAlloc, Layout},
    panic::PanicInfo,
};
use jove_primitives as _;
use jove_proving as _;
use jove_stf as _;
use jove_trie as _;

struct NoMemory;

// SAFETY: null is what an allocator without memory answers.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
