//! Where nodes live: slabs of small chunks, shared between snapshots and copied on write.

use alloc::{sync::Arc, vec::Vec};

/// Nodes a chunk. Small chunks make the copy after a snapshot cheap, large ones the snapshot itself.
const CHUNK: usize = 32;

/// A growable array of `T` with a free list. Cloning it copies one pointer a chunk; a write to a chunk that a clone
/// still shares copies that chunk first.
#[derive(Clone)]
pub(crate) struct Slab<T> {
    chunks: Vec<Arc<[T; CHUNK]>>,
    /// Indices given out so far: the chunks hold nothing of meaning from here on.
    used: u32,
    /// Indices given back.
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), used: 0, free: Vec::new() }
    }
}

impl<T: Copy + Default> Slab<T> {
    #[inline]
    pub(crate) fn get(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut T {
        &mut Arc::make_mut(&mut self.chunks[index as usize / CHUNK])[index as usize % CHUNK]
    }

    /// Stores a value, below `limit` of them.
    pub(crate) fn add(&mut self, value: T, limit: u32) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            // A billion nodes fill 100 GB: memory ends long before the ids do.
            assert!(self.used < limit, "the trie holds more nodes than it has ids");
            if self.used as usize == self.chunks.len() * CHUNK {
                self.chunks.push(Arc::new([T::default(); CHUNK]));
            }
            self.used += 1;
            self.used - 1
        });
        *self.get_mut(index) = value;
        index
    }

    /// Gives an index back. Nothing may refer to it any more.
    pub(crate) fn remove(&mut self, index: u32) {
        self.free.push(index);
    }

    /// Values stored.
    pub(crate) fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    /// Bytes held, those shared with snapshots included.
    pub(crate) fn memory(&self) -> usize {
        self.chunks.len() * (size_of::<[T; CHUNK]>() + 2 * size_of::<usize>())
            + self.chunks.capacity() * size_of::<usize>()
            + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuses_what_was_given_back() {
        let mut slab = Slab::<u64>::default();
        let ids: Vec<u32> = (0..100).map(|i| slab.add(i, u32::MAX)).collect();
        let memory = slab.memory();
        ids.iter().for_each(|id| slab.remove(*id));
        assert_eq!(slab.len(), 0);
        let mut again: Vec<u32> = (0..100).map(|i| slab.add(i + 1000, u32::MAX)).collect();
        again.sort_unstable();
        assert_eq!(again, ids);
        assert_eq!(slab.len(), 100);
        assert!(slab.memory() <= memory + 128 * size_of::<u32>(), "only the free list may have grown");
    }

    #[test]
    fn clones_do_not_see_each_other() {
        let mut slab = Slab::<u64>::default();
        let id = slab.add(1, u32::MAX);
        let mut copy = slab.clone();
        *slab.get_mut(id) = 2;
        assert_eq!((*slab.get(id), *copy.get(id)), (2, 1));
        *copy.get_mut(id) = 3;
        assert_eq!((*slab.get(id), *copy.get(id)), (2, 3));
    }

    #[test]
    #[should_panic(expected = "more nodes than it has ids")]
    fn stops_at_its_limit() {
        let mut slab = Slab::<u64>::default();
        (0..3).for_each(|i| _ = slab.add(i, 2));
    }
}
