//! Sets of hashes compared without sending them: Bloom filters as hints, exact answers.
//!
//! Two nodes hold sets of 32-byte ids: transactions of a mempool, votes of a lattice. One sends what it has as a Bloom filter ([`Have`]); the other
//! answers with its own ids that are not in the filter ([`Lack`]): a filter has no false negatives, so the first node lacks every one of
//! them. A false positive hides an id for one round: each round draws a new seed, and the next one finds it. Both messages go over a
//! [request](crate::Network::request).
//!
//! Large sets are compared in *parts*, by the leading bits of ids, so that a filter fits in a request.
//!
//! For pushing, [`Seen`] keeps what a peer is believed to have: two generations of Bloom filters, and the latest ids exactly. A filter's yes is only a
//! hint: never a reason to keep something from a peer for good. An id is marked after it was validated, or a peer could make a node keep
//! from others what never was. None of this protects from replays: nonces and chain ids do.
//!
//! # Encoding
//! Numbers are big-endian. Have: the byte 1, part bits (1 byte), part (2), seed (16), number of hashes (1), number of words (4), words (8 each): the filter, as
//! `fastbloom` 0.17 has it, with SipHash-1-3 keyed by the seed over the id's 32 bytes. Lack: the byte 1, 1 if there are more else 0, number of ids (4), ids.

use alloy_primitives::{B256, FixedBytes};
use bytes::{Buf, BufMut, Bytes};
use fastbloom::BloomFilter;
use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
};

/// Words of a filter: 56 KiB, which holds [`MAX_IDS`] ids with one false positive in a hundred.
pub const MAX_WORDS: usize = 7_168;
/// Ids in one filter; larger sets are compared in parts.
pub const MAX_IDS: usize = 47_000;
/// Ids in one answer.
pub const MAX_LACK: usize = 32_768;

const VERSION: u8 = 1;
const BITS_PER_ID: usize = 10;
const HASHES: u32 = 7;
const MAX_HASHES: u8 = 32;
const MAX_PART_BITS: u8 = 16;
const HAVE_HEADER: usize = 25;
const LACK_HEADER: usize = 6;

/// A message of a reconciliation that is none. Raised by decoding; its sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of a reconciliation")]
pub struct Malformed;

/// An id, hashed by its bytes alone.
struct Id<'a>(&'a B256);

impl Hash for Id<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.0);
    }
}

/// Which ids a comparison is about: those whose first `bits` bits are `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    bits: u8,
    index: u16,
}

impl Part {
    /// All ids.
    pub const ALL: Self = Self { bits: 0, index: 0 };

    /// The parts to compare a set of `ids` ids in, so that each is about half of [`MAX_IDS`] at most.
    pub fn of(ids: usize) -> impl Iterator<Item = Self> {
        let parts = ids.div_ceil(MAX_IDS / 2).next_power_of_two().min(1 << MAX_PART_BITS);
        let bits = parts.trailing_zeros() as u8;
        (0..parts).map(move |index| Self { bits, index: index as u16 })
    }

    /// Whether it has the id.
    pub fn contains(&self, id: &B256) -> bool {
        let first = u32::from(u16::from_be_bytes([id[0], id[1]]));
        first >> (16 - u32::from(self.bits)) == u32::from(self.index)
    }

    fn decode(bits: u8, index: u16) -> Result<Self, Malformed> {
        let fits = bits <= MAX_PART_BITS && u32::from(index) >> bits == 0;
        if fits { Ok(Self { bits, index }) } else { Err(Malformed) }
    }
}

/// "I have": a filter over a node's ids of one part.
#[derive(Clone, Debug)]
pub struct Have {
    part: Part,
    seed: u128,
    filter: BloomFilter,
}

impl Have {
    /// Over those of `ids` that are in the part, with a seed nobody knows before. More than [`MAX_IDS`] only make for more false positives.
    pub fn new<'a>(part: Part, ids: impl IntoIterator<Item = &'a B256>) -> Self {
        Self::with_seed(part, ids, u128::from_be_bytes(FixedBytes::random().0))
    }

    fn with_seed<'a>(part: Part, ids: impl IntoIterator<Item = &'a B256>, seed: u128) -> Self {
        let ids: Vec<&B256> = ids.into_iter().filter(|id| part.contains(id)).collect();
        let words = (ids.len() * BITS_PER_ID).div_ceil(64).clamp(1, MAX_WORDS);
        let mut filter = BloomFilter::from_vec(vec![0; words]).seed(&seed).hashes(HASHES);
        for id in ids {
            filter.insert(&Id(id));
        }
        Self { part, seed, filter }
    }

    /// Which ids it is about.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Whether its sender may have the id; `false` is certain.
    pub fn may_contain(&self, id: &B256) -> bool {
        self.filter.contains(&Id(id))
    }

    /// Its bytes, at most 57,369.
    pub fn encode(&self) -> Bytes {
        let words = self.filter.as_slice();
        let mut out = Vec::with_capacity(HAVE_HEADER + words.len() * 8);
        out.put_u8(VERSION);
        out.put_u8(self.part.bits);
        out.put_u16(self.part.index);
        out.put_u128(self.seed);
        out.put_u8(self.filter.num_hashes() as u8);
        out.put_u32(words.len() as u32);
        words.iter().for_each(|word| out.put_u64(*word));
        out.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() < HAVE_HEADER || bytes.get_u8() != VERSION {
            return Err(Malformed);
        }
        let part = Part::decode(bytes.get_u8(), bytes.get_u16())?;
        let seed = bytes.get_u128();
        let hashes = bytes.get_u8();
        let words = bytes.get_u32() as usize;
        if !(1..=MAX_HASHES).contains(&hashes) || !(1..=MAX_WORDS).contains(&words) || bytes.len() != words * 8 {
            return Err(Malformed);
        }
        let words: Vec<u64> = (0..words).map(|_| bytes.get_u64()).collect();
        Ok(Self { part, seed, filter: BloomFilter::from_vec(words).seed(&seed).hashes(u32::from(hashes)) })
    }
}

/// "You lack": ids that the asking node certainly does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The ids, at most [`MAX_LACK`].
    pub ids: Vec<B256>,
    /// Whether there are more: ask again.
    pub more: bool,
}

impl Lack {
    /// The answer of a node that has `mine`; at most `max` ids.
    pub fn answer<'a>(have: &Have, mine: impl IntoIterator<Item = &'a B256>, max: usize) -> Self {
        let max = max.min(MAX_LACK);
        let mut lacking = mine.into_iter().filter(|id| have.part.contains(id) && !have.may_contain(id));
        let ids = lacking.by_ref().take(max).copied().collect();
        Self { ids, more: lacking.next().is_some() }
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(LACK_HEADER + self.ids.len() * 32);
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.more));
        out.put_u32(self.ids.len() as u32);
        self.ids.iter().for_each(|id| out.put_slice(&id.0));
        out.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() < LACK_HEADER || bytes.get_u8() != VERSION {
            return Err(Malformed);
        }
        let more = match bytes.get_u8() {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let ids = bytes.get_u32() as usize;
        if ids > MAX_LACK || bytes.len() != ids * 32 {
            return Err(Malformed);
        }
        Ok(Self { ids: bytes.chunks_exact(32).map(B256::from_slice).collect(), more })
    }
}

/// Whether a peer has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Certainly nothing is known of it: send it.
    No,
    /// A filter says so, and may err: announce the id, do not send the thing.
    Probably,
    /// It sent or was sent it.
    Yes,
}

/// What a peer is believed to have, in bounded memory.
#[derive(Debug)]
pub struct Seen {
    /// The filter being filled, and the one before it.
    filters: [BloomFilter; 2],
    /// Ids in the first filter.
    filled: usize,
    filter_ids: usize,
    /// The latest ids, exactly, in two generations as well.
    exact: [HashSet<B256>; 2],
    exact_ids: usize,
}

impl Seen {
    /// Remembers the latest `filter_ids` to twice as many ids by filter (1.8 bytes each, one false positive in a thousand), and the latest `exact_ids` to twice as
    /// many exactly.
    pub fn new(filter_ids: usize, exact_ids: usize) -> Self {
        let seed = u128::from_be_bytes(FixedBytes::random().0);
        let filter = || BloomFilter::with_false_pos(0.001).seed(&seed).expected_items(filter_ids.max(1));
        Self {
            filters: [filter(), filter()],
            filled: 0,
            filter_ids: filter_ids.max(1),
            exact: Default::default(),
            exact_ids: exact_ids.max(1),
        }
    }

    /// The peer has a thing that is valid.
    pub fn mark(&mut self, id: &B256) {
        if self.filled >= self.filter_ids {
            self.filters.swap(0, 1);
            self.filters[0].clear();
            self.filled = 0;
        }
        if !self.filters[0].insert(&Id(id)) {
            self.filled += 1;
        }
        if self.exact[0].len() >= self.exact_ids {
            self.exact.swap(0, 1);
            self.exact[0].clear();
        }
        self.exact[0].insert(*id);
    }

    /// Whether the peer has it.
    pub fn knows(&self, id: &B256) -> Knowledge {
        if !self.filters.iter().any(|filter| filter.contains(&Id(id))) {
            Knowledge::No
        } else if self.exact.iter().any(|ids| ids.contains(id)) {
            Knowledge::Yes
        } else {
            Knowledge::Probably
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    fn ids(range: std::ops::Range<u32>) -> Vec<B256> {
        range.map(|number| keccak256(number.to_be_bytes())).collect()
    }

    #[test]
    fn every_answer_is_truly_lacking_and_rounds_find_all() {
        let (mine, theirs) = (ids(0..5_000), ids(400..5_600));
        let mut known: HashSet<B256> = mine.iter().copied().collect();
        let mut rounds = 0;
        while !theirs.iter().all(|id| known.contains(id)) {
            let have = Have::decode(&Have::new(Part::ALL, &known).encode()).unwrap();
            let lack = Lack::decode(&Lack::answer(&have, &theirs, 10_000).encode()).unwrap();
            assert!(lack.ids.iter().all(|id| !known.contains(id)), "no false negatives");
            known.extend(lack.ids);
            rounds += 1;
            assert!(rounds < 20);
        }
    }

    #[test]
    fn parts_split_the_ids() {
        let all = ids(0..2_000);
        assert_eq!(Part::of(0).collect::<Vec<_>>(), [Part::ALL]);
        assert_eq!(Part::of(MAX_IDS / 2).count(), 1);
        for count in [100_000, 3_000_000] {
            let parts: Vec<_> = Part::of(count).collect();
            assert!(count / parts.len() <= MAX_IDS / 2);
            assert!(all.iter().all(|id| parts.iter().filter(|part| part.contains(id)).count() == 1));
        }
        let part = Part::of(100_000).nth(3).unwrap();
        let have = Have::new(part, &all[..1_000]);
        let lack = Lack::answer(&have, &all, MAX_LACK);
        assert!(!lack.ids.is_empty() && lack.ids.iter().all(|id| part.contains(id)));
    }

    #[test]
    fn answers_are_bounded() {
        let mine = ids(0..100);
        let lack = Lack::answer(&Have::new(Part::ALL, []), &mine, 30);
        assert_eq!((lack.ids.len(), lack.more), (30, true));
        let lack = Lack::answer(&Have::new(Part::ALL, []), &mine, 100);
        assert_eq!((lack.ids.len(), lack.more), (100, false));
        let large = Have::new(Part::ALL, &ids(0..60_000));
        assert!(large.encode().len() <= 57_369);
    }

    #[test]
    fn garbage_is_refused() {
        let good = Have::new(Part::of(100_000).nth(3).unwrap(), &ids(0..50)).encode();
        assert!(Have::decode(&good).is_ok());
        for length in 0..good.len() {
            assert!(Have::decode(&good[..length]).is_err());
        }
        // version, part bits, part index, number of hashes, number of words
        for (at, byte) in [(0, 0), (1, 17), (2, 0xff), (20, 0), (20, 33), (21, 0xff), (24, 0)] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            assert!(Have::decode(&bad).is_err(), "{at}");
        }
        let good = Lack { ids: ids(0..3), more: false }.encode();
        for length in 0..good.len() {
            assert!(Lack::decode(&good[..length]).is_err());
        }
        for (at, byte) in [(0, 9), (1, 2), (2, 0xff), (5, 2)] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            assert!(Lack::decode(&bad).is_err(), "{at}");
        }
    }

    #[test]
    fn the_format_stays() {
        let mut all = vec![];
        for round in 0..200u32 {
            let part = Part::of(30_000 * round as usize).last().unwrap();
            let have = Have::with_seed(part, &ids(0..round * 7), u128::from(round) << 64 | 5);
            all.extend_from_slice(&have.encode());
            let lack = Lack { ids: ids(0..round), more: round % 2 == 1 };
            all.extend_from_slice(&lack.encode());
        }
        assert_eq!(keccak256(&all).to_string(), "0x21c84d7e34d3ca03b8d8638ff83a44eec943210505357817129691bebdf1ce0b");
    }

    #[test]
    fn a_peers_knowledge_is_bounded_and_never_lost_early() {
        let mut seen = Seen::new(1_000, 100);
        let all = ids(0..10_000);
        assert_eq!(seen.knows(&all[0]), Knowledge::No);
        for (index, id) in all.iter().enumerate() {
            seen.mark(id);
            assert!(seen.exact[0].len() <= 100 && seen.exact[1].len() <= 100);
            assert!(seen.filled <= 1_000);
            assert!(all[index.saturating_sub(99)..=index].iter().all(|id| seen.knows(id) == Knowledge::Yes));
        }
        assert!(all[9_100..9_700].iter().all(|id| seen.knows(id) == Knowledge::Probably));
        let unknown = all[..5_000].iter().filter(|id| seen.knows(id) == Knowledge::No).count();
        assert!(unknown > 4_900, "{unknown}");
        // a false positive is never a yes
        assert!(ids(20_000..60_000).iter().all(|id| seen.knows(id) != Knowledge::Yes));
    }
}
