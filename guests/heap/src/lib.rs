//! The guests' heap.
//!
//! The machine has 512 MiB of addresses, and its own allocator never frees: a batch of two thousand blocks, or a few transactions that recurse, would use them up, and
//! could not be proven. This one frees, in a bounded number of instructions a call, whatever was allocated before. Blocks of up to [`SMALL`] bytes are kept in
//! lists by their size, so that one costs about ten instructions; what is larger comes from TLSF (`rlsf`), which joins neighbours again. It is given memory piece by
//! piece, from low addresses on: a proof is of all memory up to the highest address that was ever written.

#![no_std]

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr::{self, NonNull},
};
use rlsf::Tlsf;

/// Bytes of the largest block that is kept in a list.
const SMALL: usize = 1024;
/// Sizes of such blocks are multiples of this, and their addresses too.
const STEP: usize = 16;
/// Bytes that such blocks are cut from at a time.
const CHUNK: usize = 16 * 1024;
/// Bytes that TLSF is given at a time, at least.
const PIECE: usize = 256 * 1024;
/// TLSF's first level: sizes up to the largest there are.
const SIZES: usize = usize::BITS as usize - rlsf::GRANULARITY.trailing_zeros() as usize;

/// The heap of a machine with one thread. Empty until [`LlffHeap::init`]. The name is the one that `openvm-platform` uses.
pub struct LlffHeap(UnsafeCell<Heap>);

// SAFETY: the machine has one thread, and nothing interrupts it.
unsafe impl Sync for LlffHeap {}

impl LlffHeap {
    /// A heap without memory: nothing can be allocated.
    #[must_use]
    pub const fn empty() -> Self {
        let free = [ptr::null_mut(); SMALL / STEP + 1];
        Self(UnsafeCell::new(Heap { free, chunk: (0, 0), large: Tlsf::new(), has_pool: false, rest: (0, 0) }))
    }

    /// Gives it its memory, once.
    ///
    /// # Safety
    /// The `size` bytes from address `start` on are nobody else's, for as long as the heap is there.
    pub unsafe fn init(&self, start: usize, size: usize) {
        // SAFETY: one thread, and no other reference outlives its call.
        unsafe { (*self.0.get()).rest = (start, start + size) };
    }
}

// SAFETY: a block is cut from memory that TLSF gave out, of at least its size and alignment, and is in a list only while it is free.
unsafe impl GlobalAlloc for LlffHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no other reference outlives its call.
        unsafe { (*self.0.get()).alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the caller's word that the block was given out for this layout.
        unsafe { (*self.0.get()).dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the caller's word for the layout that comes of it.
        unsafe {
            let new = Layout::from_size_align_unchecked(size, layout.align());
            let heap = &mut *self.0.get();
            match (list(layout), list(new)) {
                (Some(old), Some(new)) if old == new => return block,
                (None, None) => {
                    if let Some(moved) = heap.large.reallocate(NonNull::new_unchecked(block), new) {
                        return moved.as_ptr();
                    }
                }
                _ => {}
            }
            let moved = heap.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                heap.dealloc(block, layout);
            }
            moved
        }
    }
}

struct Heap {
    /// Free blocks of each size, the first of each; a block's first word is the next one's address.
    free: [*mut u8; SMALL / STEP + 1],
    /// What is left of the memory that small blocks are cut from: from, to.
    chunk: (usize, usize),
    large: Tlsf<'static, usize, u32, SIZES, 32>,
    /// Whether TLSF has memory: what it is given then follows that.
    has_pool: bool,
    /// The memory that was not used yet: from, to.
    rest: (usize, usize),
}

/// Which list has blocks of a layout; none if it is large.
#[inline]
fn list(layout: Layout) -> Option<usize> {
    (layout.size() <= SMALL && layout.align() <= STEP).then(|| layout.size().div_ceil(STEP))
}

impl Heap {
    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let Some(list) = list(layout) else {
            return self.large(layout);
        };
        let block = self.free[list];
        if block.is_null() {
            return self.cut(list * STEP);
        }
        // SAFETY: a free block begins with the next one's address, and is aligned for it.
        self.free[list] = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    #[inline]
    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        match list(layout) {
            // SAFETY: the block is free from now on, aligned, and of at least `STEP` bytes.
            Some(list) => unsafe {
                block.cast::<*mut u8>().write(self.free[list]);
                self.free[list] = block;
            },
            // SAFETY: the caller's word that the block was given out, by TLSF as it is large.
            None => unsafe { self.large.deallocate(NonNull::new_unchecked(block), layout.align()) },
        }
    }

    /// A large block, of more memory if there is none in what TLSF has.
    fn large(&mut self, layout: Layout) -> *mut u8 {
        loop {
            if let Some(block) = self.large.allocate(layout) {
                return block.as_ptr();
            }
            // TLSF looks among blocks that are larger by a thirty-second, and has a header on each.
            let (from, to) = self.rest;
            let wanted = layout.size() + layout.size() / 16 + layout.align() + 1024;
            let piece = wanted.next_multiple_of(PIECE).min(to - from);
            let Some(memory) = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(from)) else {
                return ptr::null_mut();
            };
            let memory = NonNull::slice_from_raw_parts(memory, piece);
            // SAFETY: the memory is the heap's, and nobody has it yet. It follows what TLSF was given before.
            let taken = unsafe {
                if self.has_pool {
                    self.large.append_free_block_ptr(memory)
                } else {
                    self.large.insert_free_block_ptr(memory).map_or(0, |taken| taken.get())
                }
            };
            if taken == 0 {
                return ptr::null_mut();
            }
            (self.has_pool, self.rest.0) = (true, from + taken);
        }
    }

    /// A small block that was none before.
    #[cold]
    fn cut(&mut self, size: usize) -> *mut u8 {
        let (mut from, to) = self.chunk;
        if to - from < size {
            let rest = to - from;
            if rest > 0 {
                let block = ptr::with_exposed_provenance_mut::<u8>(from);
                // SAFETY: nobody has the chunk's rest: it is a free block of that size from now on.
                unsafe { block.cast::<*mut u8>().write(self.free[rest / STEP]) };
                self.free[rest / STEP] = block;
            }
            let Ok(layout) = Layout::from_size_align(CHUNK, STEP) else { return ptr::null_mut() };
            let chunk = self.large(layout);
            if chunk.is_null() {
                self.chunk = (0, 0);
                return chunk;
            }
            from = chunk.expose_provenance();
            self.chunk.1 = from + CHUNK;
        }
        self.chunk.0 = from + size;
        ptr::with_exposed_provenance_mut(from)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::{vec, vec::Vec};

    /// A heap, and its memory.
    fn heap(bytes: usize) -> (LlffHeap, Vec<u128>) {
        let mut memory = vec![0_u128; bytes / 16];
        let heap = LlffHeap::empty();
        // SAFETY: the memory is the heap's, and the test keeps it.
        unsafe { heap.init(memory.as_mut_ptr().expose_provenance(), bytes) };
        (heap, memory)
    }

    /// Numbers that look random (xorshift).
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 88_172_645_463_325_252_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        }
    }

    #[test]
    fn blocks_are_apart_aligned_and_keep_their_bytes() {
        let (heap, memory) = heap(8 << 20);
        let all = memory.as_ptr_range();
        let mut number = numbers();
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let check = |(block, layout, byte): (*mut u8, Layout, u8)| {
            // SAFETY: the block is that large.
            let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
            assert!(bytes.iter().all(|one| *one == byte));
        };
        for round in 0..40_000 {
            let byte = u8::try_from(round % 251).unwrap();
            let size = 1 + if number(8) == 0 { number(40_000) } else { number(1_100) };
            match number(3) {
                0 if !blocks.is_empty() => {
                    let one = blocks.swap_remove(number(blocks.len()));
                    check(one);
                    // SAFETY: given out for this layout, and not used any more.
                    unsafe { heap.dealloc(one.0, one.1) };
                }
                1 if !blocks.is_empty() => {
                    let at = number(blocks.len());
                    let (block, layout, old) = blocks[at];
                    // SAFETY: given out for this layout; its new one is below.
                    let moved = unsafe { heap.realloc(block, layout, size) };
                    assert!(!moved.is_null());
                    let new = Layout::from_size_align(size, layout.align()).unwrap();
                    check((moved, Layout::from_size_align(size.min(layout.size()), 1).unwrap(), old));
                    // SAFETY: the block is that large.
                    unsafe { moved.write_bytes(byte, size) };
                    blocks[at] = (moved, new, byte);
                }
                _ if blocks.len() < 200 => {
                    let layout = Layout::from_size_align(size, 1 << number(7)).unwrap();
                    // SAFETY: it has a size.
                    let block = unsafe { heap.alloc(layout) };
                    assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
                    assert!(block >= all.start as *mut u8 && block < all.end as *mut u8);
                    // SAFETY: the block is that large.
                    unsafe { block.write_bytes(byte, size) };
                    blocks.push((block, layout, byte));
                }
                _ => {}
            }
        }
        blocks.into_iter().for_each(check);
    }

    #[test]
    fn what_is_freed_is_had_again() {
        let (heap, _memory) = heap(1 << 20);
        for size in [1, 16, 17, 1_000, 1_024, 1_025, 32_768, 500_000] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // A hundred times the memory there is, whatever sizes came before.
            for _ in 0..100 * (1 << 20) / size {
                // SAFETY: it has a size, and goes back as it came.
                unsafe {
                    let block = heap.alloc(layout);
                    assert!(!block.is_null(), "{size}");
                    heap.dealloc(block, layout);
                }
            }
        }
    }

    #[test]
    fn memory_is_used_from_its_beginning_on() {
        let (heap, memory) = heap(16 << 20);
        let last = |layout| {
            // SAFETY: it has a size.
            let block = unsafe { heap.alloc(layout) };
            assert!(!block.is_null());
            block.addr() + layout.size() - memory.as_ptr().addr()
        };
        assert!(last(Layout::from_size_align(8, 8).unwrap()) < PIECE);
        assert!(last(Layout::from_size_align(2_000, 8).unwrap()) < PIECE);
        // Nor has it touched what is beyond.
        let touched = memory.iter().rposition(|word| *word != 0).unwrap() * 16;
        assert!(touched < PIECE, "{touched}");
        assert!(last(Layout::from_size_align(3 << 20, 4096).unwrap()) < (3 << 20) + 3 * PIECE);
        // To its end: what is left is not lost because it is less than a piece.
        assert!(last(Layout::from_size_align(11 << 20, 8).unwrap()) < 16 << 20);
    }

    #[test]
    fn an_empty_or_full_heap_gives_nothing() {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: they have a size.
        unsafe {
            assert!(LlffHeap::empty().alloc(layout(8)).is_null());
            assert!(LlffHeap::empty().alloc(layout(8_000)).is_null());
            let (heap, _memory) = heap(256 << 10);
            assert!(heap.alloc(layout(300_000)).is_null());
            let mut given = 0;
            while !heap.alloc(layout(64)).is_null() {
                given += 1;
            }
            assert!((256 << 10) / 64 * 3 / 4 < given && given <= (256 << 10) / 64, "{given}");
            assert!(heap.alloc(layout(64)).is_null(), "again");
        }
    }
}
