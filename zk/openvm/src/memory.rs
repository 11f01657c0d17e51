//! Where large memory comes from.
//!
//! Proving moves hundreds of megabytes at a time. What is large ([`LARGE`] bytes or more) is mapped for itself and goes back at once; the rest is the system's
//! allocator's. Two things keep the process within a bound of memory, so that it needs no swap:
//!
//! - *Keys* are mapped from their files ([`map_file`]): vectors over them cost no memory that the system cannot take back. They are never freed.
//! - Beyond the *budget* ([`set_budget`]), large allocations lie in a file without a name, which is as long as they are: the system writes out what is not in use.
//!
//! Freed pieces of that file are holes at once. Addresses of both are never used again, of which there are enough: each has a range of its own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_void,
    fs::{File, OpenOptions},
    io,
    os::{fd::IntoRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    ptr,
    sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed},
};

/// Allocations of so many bytes are mapped.
const LARGE: usize = 16 << 20;
/// Length of each range of addresses: 8 TiB, below what a file of ext4 may have.
const RANGE: usize = 8 << 40;

/// The allocator of this program.
pub struct Allocator;

/// Addresses that are given out once, in order.
struct Addresses {
    /// Of the first; 0 before it is reserved.
    base: AtomicUsize,
    used: AtomicUsize,
}

impl Addresses {
    const fn new() -> Self {
        Self { base: AtomicUsize::new(0), used: AtomicUsize::new(0) }
    }

    fn reserve(&self) -> io::Result<()> {
        // SAFETY: a new mapping without access, anywhere.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(ptr::null_mut(), RANGE, libc::PROT_NONE, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        self.base.store(base as usize, Relaxed);
        Ok(())
    }

    /// Offset of the next `length` bytes, a whole number of pages.
    fn take(&self, length: usize) -> Option<usize> {
        if self.base.load(Relaxed) == 0 {
            return None;
        }
        let offset = self.used.fetch_add(length, Relaxed);
        (offset <= RANGE - length.min(RANGE)).then_some(offset)
    }

    fn has(&self, address: usize) -> bool {
        let base = self.base.load(Relaxed);
        base != 0 && (base..base + RANGE).contains(&address)
    }
}

static KEYS: Addresses = Addresses::new();
static SPILL: Addresses = Addresses::new();
static SPILL_FILE: AtomicI32 = AtomicI32::new(-1);
static BUDGET: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Large anonymous bytes.
static LARGE_USED: AtomicUsize = AtomicUsize::new(0);

fn pages(bytes: usize) -> usize {
    bytes.next_multiple_of(4096)
}

/// Keeps large allocations beyond `budget` bytes in a file in `folder`.
///
/// # Errors
/// If there can be no such file.
pub fn set_budget(budget: usize, folder: &Path) -> io::Result<()> {
    SPILL.reserve()?;
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder)?;
    file.set_len(RANGE as u64)?;
    SPILL_FILE.store(file.into_raw_fd(), Relaxed);
    BUDGET.store(budget, Relaxed);
    Ok(())
}

/// A file as it is in memory, private to this process, for ever.
///
/// # Errors
/// If it cannot be read or mapped.
pub fn map_file(path: &Path) -> io::Result<&'static mut [u8]> {
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if KEYS.base.load(Relaxed) == 0 {
        KEYS.reserve()?;
    }
    let offset = KEYS.take(pages(length)).ok_or_else(|| io::Error::other("no addresses are left"))?;
    let address = (KEYS.base.load(Relaxed) + offset) as *mut c_void;
    // SAFETY: the addresses are reserved, and given out this once.
    let mapped = unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(
            address,
            length,
            access,
            libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
            file.into_raw_fd(),
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: mapped above, of this length, readable and writable, and never unmapped.
    Ok(unsafe { std::slice::from_raw_parts_mut(mapped.cast(), length) })
}

/// A vector over mapped memory. What it has may be read and written; its end frees nothing, and growing copies it.
///
/// # Panics
/// If the bytes are no whole number of `T`, or not aligned for it.
///
/// # Safety
/// The bytes are by [`map_file`], in no other vector, and hold valid values of `T`.
pub unsafe fn vector<T>(bytes: &'static mut [u8]) -> Vec<T> {
    let (address, count) = (bytes.as_mut_ptr(), bytes.len() / size_of::<T>());
    assert!(KEYS.has(address as usize) && bytes.len() == count * size_of::<T>(), "mapped, and whole");
    assert!((address as usize).is_multiple_of(align_of::<T>()), "aligned");
    // SAFETY: the caller's promise; the allocator knows these addresses.
    unsafe { Vec::from_raw_parts(address.cast(), count, count) }
}

impl Allocator {
    /// Zeroed memory of at least [`LARGE`] bytes; null if there is none.
    fn map(size: usize) -> *mut u8 {
        let length = pages(size);
        let file = SPILL_FILE.load(Relaxed);
        let spills = LARGE_USED.fetch_add(length, Relaxed) + length > BUDGET.load(Relaxed) && file >= 0;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = if spills {
            LARGE_USED.fetch_sub(length, Relaxed);
            let Some(offset) = SPILL.take(length) else { return ptr::null_mut() };
            let address = (SPILL.base.load(Relaxed) + offset) as *mut c_void;
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: the addresses are reserved, and given out this once; so is this piece of the file.
            unsafe { libc::mmap(address, length, access, flags, file, offset as libc::off_t) }
        } else {
            // SAFETY: a new mapping, anywhere.
            unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) }
        };
        if mapped == libc::MAP_FAILED { ptr::null_mut() } else { mapped.cast() }
    }

    fn unmap(address: *mut u8, size: usize) {
        let length = pages(size);
        if SPILL.has(address as usize) {
            let offset = address as usize - SPILL.base.load(Relaxed);
            // SAFETY: what was mapped there is given back by its owner; the addresses stay reserved.
            unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
                libc::mmap(address.cast(), length, libc::PROT_NONE, flags, -1, 0);
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                libc::fallocate(SPILL_FILE.load(Relaxed), mode, offset as libc::off_t, length as libc::off_t);
            }
        } else {
            LARGE_USED.fetch_sub(length, Relaxed);
            // SAFETY: mapped by `map` with this length, and given back by its owner.
            unsafe { libc::munmap(address.cast(), length) };
        }
    }
}

// SAFETY: large memory is mapped for itself, at addresses of pages; all else is the system's allocator's. Which of them it was follows from the size, and
// from the address where that is a key's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && layout.align() <= 4096 {
            return Self::map(layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && layout.align() <= 4096 {
            return Self::map(layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if KEYS.has(address as usize) {
            return;
        }
        if layout.size() >= LARGE && layout.align() <= 4096 {
            return Self::unmap(address, layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(address, layout) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let small = layout.size() < LARGE && size < LARGE;
        if small && !KEYS.has(address as usize) {
            // SAFETY: the caller's promise.
            return unsafe { System.realloc(address, layout, size) };
        }
        let large = layout.size() >= LARGE && size >= LARGE && layout.align() <= 4096;
        if large && !KEYS.has(address as usize) && !SPILL.has(address as usize) {
            LARGE_USED.fetch_add(pages(size), Relaxed);
            LARGE_USED.fetch_sub(pages(layout.size()), Relaxed);
            // SAFETY: mapped by `map` with the old length, and given back by its owner for the new one.
            let moved =
                unsafe { libc::mremap(address.cast(), pages(layout.size()), pages(size), libc::MREMAP_MAYMOVE) };
            return if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() };
        }
        // SAFETY: the caller's promise: `size` is not zero, and does not overflow with this alignment.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(address, new, layout.size().min(size));
                self.dealloc(address, layout);
            }
            new
        }
    }
}

/// Most memory that this process had so far, in MiB: all of it, that of mapped files included.
pub fn peak() -> u64 {
    field("/proc/self/status", "VmHWM:") >> 10
}

/// Memory that can be had now, in bytes.
pub fn available() -> usize {
    (field("/proc/meminfo", "MemAvailable:") as usize) << 10
}

fn field(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_budget_lies_in_a_file_and_keys_are_not_freed() {
        let folder = std::env::temp_dir();
        set_budget(0, &folder).unwrap();
        let mut spilled = vec![0_u8; LARGE];
        assert!(SPILL.has(spilled.as_ptr() as usize));
        spilled[LARGE - 1] = 7;
        spilled.push(8);
        assert_eq!((spilled[LARGE - 1], spilled[LARGE], spilled.len()), (7, 8, LARGE + 1));
        drop(spilled);

        let path = folder.join(format!("jove-zk-memory-{}", std::process::id()));
        std::fs::write(&path, 5_u64.to_le_bytes()).unwrap();
        for _ in 0..2 {
            // SAFETY: any eight bytes are a number.
            let mut vector: Vec<u64> = unsafe { vector(map_file(&path).unwrap()) };
            vector[0] += 1;
            vector.push(1);
            assert_eq!(vector, [6, 1]);
        }
        std::fs::remove_file(path).unwrap();
        assert!(peak() > 0 && available() > 0);
    }
}
