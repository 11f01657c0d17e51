//! Keccak-256 of many short messages, several at a time: each 64-bit lane of a vector register holds one message's
//! state. The kernel is chosen at run time by what the CPU has; without `std` there is only the scalar one.

use alloc::boxed::Box;
use alloy_primitives::{B256, keccak256};
use core::fmt;

#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod x86;

/// Bytes that Keccak-256 absorbs in one permutation.
const RATE: usize = 136;
/// Blocks of the longest message that is hashed in lanes: a full branch takes four. Longer ones go the scalar way.
const MAX_BLOCKS: usize = 4;
/// Messages of the widest kernel.
const MAX_WIDTH: usize = 8;

/// One message, padded.
type Lane = [[u8; RATE]; MAX_BLOCKS];

/// A way to compute Keccak-256. One exists only where the CPU can run it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Isa);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Isa {
    Scalar,
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Avx2,
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Avx512,
}

impl Kernel {
    /// One message at a time: `alloy_primitives::keccak256`. Runs everywhere.
    pub const SCALAR: Self = Self(Isa::Scalar);

    /// The kernels that this CPU can run, slowest first; never empty.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        let vector = [
            std::is_x86_feature_detected!("avx2").then_some(Self(Isa::Avx2)),
            std::is_x86_feature_detected!("avx512f").then_some(Self(Isa::Avx512)),
        ];
        #[cfg(not(all(feature = "std", target_arch = "x86_64")))]
        let vector = [None; 0];
        core::iter::once(Self::SCALAR).chain(vector.into_iter().flatten())
    }

    /// Messages hashed at once.
    fn width(self) -> usize {
        match self.0 {
            Isa::Scalar => 1,
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Isa::Avx2 => 4,
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Isa::Avx512 => 8,
        }
    }
}

/// The fastest.
impl Default for Kernel {
    fn default() -> Self {
        Self::available().last().unwrap_or(Self::SCALAR)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Isa::Scalar => "scalar",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Isa::Avx2 => "avx2",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Isa::Avx512 => "avx512",
        })
    }
}

/// Messages of one number of blocks that wait for company.
struct Queue {
    lanes: [Lane; MAX_WIDTH],
    /// The caller's tag and the length of each message in `lanes`.
    messages: [(usize, usize); MAX_WIDTH],
    len: usize,
}

/// Collects messages until a kernel's lanes are full.
pub(crate) struct Batch {
    kernel: Kernel,
    /// By number of blocks, from one. 17 KB, so not on the stack.
    queues: Box<[Queue]>,
}

impl Batch {
    pub(crate) fn new(kernel: Kernel) -> Self {
        let queue = || Queue { lanes: [[[0; RATE]; MAX_BLOCKS]; MAX_WIDTH], messages: [(0, 0); MAX_WIDTH], len: 0 };
        let queues = if kernel == Kernel::SCALAR { 0 } else { MAX_BLOCKS };
        Self { kernel, queues: (0..queues).map(|_| queue()).collect() }
    }

    #[cfg(feature = "std")]
    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Adds a message. `sink` gets the tags and hashes of the messages that are hashed now: this and earlier ones, or
    /// none.
    pub(crate) fn push(&mut self, tag: usize, message: &[u8], sink: &mut impl FnMut(usize, B256)) {
        // Padding takes at least one byte.
        let last = message.len() / RATE;
        let Some(queue) = self.queues.get_mut(last) else {
            return sink(tag, keccak256(message));
        };
        let lane = queue.lanes[queue.len].as_flattened_mut();
        lane[..message.len()].copy_from_slice(message);
        let padded = (last + 1) * RATE;
        lane[message.len()..padded].fill(0);
        lane[message.len()] = 1;
        lane[padded - 1] |= 0x80;
        queue.messages[queue.len] = (tag, message.len());
        queue.len += 1;
        if queue.len == self.kernel.width() {
            queue.hash(self.kernel, last + 1, sink);
        }
    }

    /// Hashes the messages that still wait.
    pub(crate) fn finish(&mut self, sink: &mut impl FnMut(usize, B256)) {
        for (i, queue) in self.queues.iter_mut().enumerate() {
            queue.hash(self.kernel, i + 1, sink);
        }
    }
}

impl Queue {
    #[cfg_attr(not(all(feature = "std", target_arch = "x86_64")), allow(unused_variables))]
    fn hash(&mut self, kernel: Kernel, blocks: usize, sink: &mut impl FnMut(usize, B256)) {
        let len = core::mem::take(&mut self.len);
        match (len, kernel.0) {
            (0, _) => {}
            // A vector permutation takes as long as a scalar one: alone, the better scalar code wins.
            (1, _) | (_, Isa::Scalar) => {
                for (lane, (tag, len)) in self.lanes.iter().zip(self.messages).take(len) {
                    sink(tag, keccak256(&lane.as_flattened()[..len]));
                }
            }
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            (_, isa) => {
                // What earlier messages left in unused lanes is hashed along and dropped.
                let (half, _) = self.lanes.split_at(4);
                let mut hashes = [B256::ZERO; MAX_WIDTH];
                if isa == Isa::Avx512 {
                    // SAFETY: this kernel exists only where the CPU has AVX-512F.
                    hashes = unsafe { x86::keccak_x8(&self.lanes, blocks) };
                } else if let Ok(lanes) = half.try_into() {
                    // SAFETY: this kernel exists only where the CPU has AVX2.
                    hashes[..4].copy_from_slice(&unsafe { x86::keccak_x4(lanes, blocks) });
                }
                self.messages[..len].iter().zip(hashes).for_each(|((tag, _), hash)| sink(*tag, hash));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash_all(kernel: Kernel, messages: &[Vec<u8>]) -> Vec<B256> {
        let mut hashes = vec![B256::ZERO; messages.len()];
        let mut calls = 0;
        let mut sink = |i: usize, hash| {
            hashes[i] = hash;
            calls += 1;
        };
        let mut batch = Batch::new(kernel);
        messages.iter().enumerate().for_each(|(i, message)| batch.push(i, message, &mut sink));
        batch.finish(&mut sink);
        batch.finish(&mut sink);
        assert_eq!(calls, messages.len(), "each message is hashed once");
        hashes
    }

    #[test]
    fn every_length_agrees_with_scalar() {
        // Lengths around every block border meet every other in a batch, full lanes and part-filled ones.
        let messages: Vec<Vec<u8>> =
            (0..1000).map(|len| (0..len).map(|i| (i * 31 + len * 7) as u8).collect()).collect();
        let expected: Vec<B256> = messages.iter().map(keccak256).collect();
        for kernel in Kernel::available() {
            assert_eq!(hash_all(kernel, &messages), expected, "{kernel:?}");
        }
    }

    #[test]
    fn fastest_kernel_is_last() {
        let widths: Vec<usize> = Kernel::available().map(Kernel::width).collect();
        assert!(widths.is_sorted() && widths[0] == 1);
        assert_eq!(Kernel::default().width(), widths[widths.len() - 1]);
    }

    proptest! {
        #[test]
        fn kernels_agree(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1000), 0..40)) {
            let expected: Vec<B256> = messages.iter().map(keccak256).collect();
            for kernel in Kernel::available() {
                prop_assert_eq!(hash_all(kernel, &messages), expected.clone(), "{:?}", kernel);
            }
        }
    }
}
