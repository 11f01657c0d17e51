//! Validator sets, their quorums, and the weighted draw; integers only, so that every node draws the same.

use crate::codec::{Reader, Wire, write_list};
use crate::{Error, PublicKey, VrfKey};
use alloy_primitives::{B256, keccak256};
use sha2::{Digest as _, Sha256};

/// The most validators that a set may have.
pub const MAX_VALIDATORS: usize = 200;
/// A weight of 1.0. Weights are in `[WEIGHT_ONE, 2 · WEIGHT_ONE]`, so that no share of the nodes holds twice that share of the seats.
pub const WEIGHT_ONE: u32 = 1 << 16;

/// A set of validators' indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bitmap([u64; 4]);

impl Bitmap {
    /// The first `count` indices.
    pub fn first(count: usize) -> Self {
        let mut all = Self::default();
        (0..count).for_each(|index| all.insert(index as u16));
        all
    }

    /// Adds an index below [`MAX_VALIDATORS`].
    pub fn insert(&mut self, index: u16) {
        self.0[usize::from(index) / 64] |= 1 << (index % 64);
    }

    /// Whether the index is in it.
    pub fn contains(&self, index: u16) -> bool {
        usize::from(index) < MAX_VALIDATORS && self.0[usize::from(index) / 64] >> (index % 64) & 1 == 1
    }

    /// How many indices are in it.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// What both have.
    pub fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// Its indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..MAX_VALIDATORS as u16).filter(|index| self.contains(*index))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_VALIDATORS.div_ceil(8) {
            return Err(Error::Bound { what: "bitmap" });
        }
        if bytes.last() == Some(&0) {
            return Err(Error::NotCanonical { what: "bitmap" });
        }
        let mut words = [0; 4];
        for (index, byte) in bytes.iter().enumerate() {
            words[index / 8] |= u64::from(*byte) << (index % 8 * 8);
        }
        Ok(Self(words))
    }
}

/// One validator of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Its registered id; also what it is called as a peer.
    pub id: B256,
    /// The BLS key of its votes; its proof of possession was checked at registration.
    pub key: PublicKey,
    /// The key of its VRF.
    pub vrf: VrfKey,
    /// In fixed point, see [`WEIGHT_ONE`]. Steers who is drawn, never a quorum.
    pub weight: u32,
    /// Whether it also registered to lead terms.
    pub sequencer: bool,
}

impl Wire for Validator {
    fn write(&self, out: &mut Vec<u8>) {
        self.id.write(out);
        self.key.write(out);
        self.vrf.write(out);
        self.weight.write(out);
        self.sequencer.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: Wire::read(input)?,
            key: Wire::read(input)?,
            vrf: Wire::read(input)?,
            weight: Wire::read(input)?,
            sequencer: Wire::read(input)?,
        })
    }
}

/// The validators of one epoch, V_e, with their weights, W_e; ordered by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Vec<Validator>,
}

impl ValidatorSet {
    /// Orders and checks a set. Errors: [`Error::Set`].
    pub fn new(mut validators: Vec<Validator>) -> Result<Self, Error> {
        validators.sort_by_key(|validator| validator.id);
        Self::checked(validators)
    }

    fn checked(validators: Vec<Validator>) -> Result<Self, Error> {
        if validators.is_empty() || validators.len() > MAX_VALIDATORS {
            return Err(Error::Set("its size"));
        }
        if validators.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            return Err(Error::Set("an id twice, or out of order"));
        }
        let mut keys: Vec<_> = validators.iter().map(|validator| validator.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Set("a key twice"));
        }
        if validators.iter().any(|validator| !(WEIGHT_ONE..=2 * WEIGHT_ONE).contains(&validator.weight)) {
            return Err(Error::Set("a weight outside of [1, 2]"));
        }
        if !validators.iter().any(|validator| validator.sequencer) {
            return Err(Error::Set("nobody to lead"));
        }
        Ok(Self { validators })
    }

    /// The members, by index.
    pub fn validators(&self) -> &[Validator] {
        &self.validators
    }

    /// n.
    pub fn size(&self) -> usize {
        self.validators.len()
    }

    /// F = ⌊(n−1)/3⌋: how many may be Byzantine.
    pub fn faults(&self) -> usize {
        (self.size() - 1) / 3
    }

    /// Q = n − F: what notarizes, skips and finalizes.
    pub fn quorum(&self) -> usize {
        self.size() - self.faults()
    }

    /// The index of an id.
    pub fn index(&self, id: &B256) -> Option<u16> {
        self.validators.binary_search_by_key(id, |validator| validator.id).ok().map(|index| index as u16)
    }

    /// Binds ids, keys and who may lead; what L1 stores of a set.
    pub fn hash(&self) -> B256 {
        let mut bytes = b"jove/avc/1/set".to_vec();
        for validator in &self.validators {
            validator.id.write(&mut bytes);
            validator.key.write(&mut bytes);
            validator.vrf.write(&mut bytes);
            validator.sequencer.write(&mut bytes);
        }
        keccak256(bytes)
    }

    /// Binds the weights.
    pub fn weight_root(&self) -> B256 {
        let mut bytes = b"jove/avc/1/weights".to_vec();
        self.validators.iter().for_each(|validator| validator.weight.write(&mut bytes));
        keccak256(bytes)
    }

    /// The leader of a term: a weighted draw among those who registered to sequence.
    pub fn leader(&self, seed: &[u8; 32], term: u64) -> u16 {
        let weights: Vec<u64> =
            self.validators.iter().map(|v| if v.sequencer { u64::from(v.weight) } else { 0 }).collect();
        let mut key = b"jove/avc/1/leader".to_vec();
        key.extend(seed);
        key.extend(term.to_be_bytes());
        Draw::new(&key).weighted(&weights)
    }

    /// The committee of a view: `seats` distinct validators, drawn one after another by weight among those not yet drawn. All of them where
    /// there are not more than seats.
    pub fn committee(&self, output: &[u8; 64], seats: usize) -> Bitmap {
        if seats >= self.size() {
            return Bitmap::first(self.size());
        }
        let mut weights: Vec<u64> = self.validators.iter().map(|v| u64::from(v.weight)).collect();
        let mut key = b"jove/avc/1/buddies".to_vec();
        key.extend(output);
        let mut draw = Draw::new(&key);
        let mut committee = Bitmap::default();
        for _ in 0..seats {
            let index = draw.weighted(&weights);
            weights[usize::from(index)] = 0;
            committee.insert(index);
        }
        committee
    }
}

/// q = ⌈2k/3⌉: the seats that a BuddyCert needs.
pub fn buddy_quorum(seats: usize) -> usize {
    (2 * seats).div_ceil(3)
}

impl Wire for ValidatorSet {
    fn write(&self, out: &mut Vec<u8>) {
        write_list(&self.validators, out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Self::checked(input.list(MAX_VALIDATORS, "validators")?)
    }
}

/// Uniform numbers from SHA-256 in counter mode: block i is SHA-256(SHA-256(key) ‖ i), of which the first eight bytes, big-endian, are the number.
struct Draw {
    key: [u8; 32],
    counter: u64,
}

impl Draw {
    fn new(key: &[u8]) -> Self {
        Self { key: Sha256::digest(key).into(), counter: 0 }
    }

    fn next(&mut self) -> u64 {
        let block = Sha256::new().chain_update(self.key).chain_update(self.counter.to_be_bytes()).finalize();
        self.counter += 1;
        block.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// An index, by weight; numbers above the last whole multiple of the sum are rejected. The sum is not zero: sets have a sequencer, and
    /// fewer seats than members.
    fn weighted(&mut self, weights: &[u64]) -> u16 {
        let sum: u64 = weights.iter().sum();
        let limit = u64::MAX - u64::MAX % sum;
        let mut point = loop {
            let number = self.next();
            if number < limit {
                break number % sum;
            }
        };
        for (index, weight) in weights.iter().enumerate() {
            if point < *weight {
                return index as u16;
            }
            point -= weight;
        }
        unreachable!("the point is below the sum of the weights")
    }
}
