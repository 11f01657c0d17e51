//! What goes wrong in a run, all of it drawn from the seed.

use crate::{Kind, Mutation};

/// SplitMix64: the whole run's only source of chance.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x6A09_E667_F3BC_C908)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True this often in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// How a Byzantine validator acts; all of them sign whatever helps to form a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Sends nothing of its own.
    Silent,
    /// One core, of whose messages some are withheld.
    Withholding,
    /// Two cores with one key, each heard by its own half of the network.
    Twins,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// n.
    pub validators: usize,
    /// Honest nodes beyond n, of which others sit out in each epoch.
    pub spares: usize,
    /// The Byzantine nodes and their manners: node i is Byzantine if i is below their count.
    pub byzantine: Vec<Manner>,
    /// Byzantine leaders build on the oldest parent they can name.
    pub oldest_parent: bool,
    /// k.
    pub seats: usize,
    /// L.
    pub epoch_length: u64,
    /// T.
    pub term_length: u64,
    /// When the network heals, in milliseconds.
    pub heal: u64,
    /// Messages lost before that, in a thousand.
    pub loss: u64,
    /// Messages delivered twice, in a thousand.
    pub duplicates: u64,
    /// The longest delay before the heal.
    pub delay: u64,
    /// Before the heal, votes of this kind, and their certificates, are slow.
    pub slow: Option<Kind>,
    /// Partitions: from when, until when, and for each node on which side it is.
    pub partitions: Vec<(u64, u64, u64)>,
    /// Crashes of honest nodes: when, which, for how long.
    pub crashes: Vec<(u64, usize, u64)>,
    /// The node that loses its log in each of its crashes.
    pub lost_log: Option<usize>,
    /// Buddy votes and BuddyCerts never arrive.
    pub mute_buddies: bool,
    /// How often, in a thousand, a certificate that the adversary can form is sent to a node.
    pub forging: u64,
    /// Transactions come seldom, so that views are idle.
    pub sparse: bool,
    /// Everyone runs with this rule broken.
    pub mutation: Option<Mutation>,
    /// BLS and ECVRF instead of the stand-in.
    pub real: bool,
}

impl Plan {
    /// The plan of a seed. Of twenty seeds in a row, 14 have n ≤ 7, five 10 to 16, one 19 to 31.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let validators = match seed % 20 {
            0..14 => random.within(4, 7),
            14..19 => random.within(10, 16),
            _ => random.within(19, 31),
        };
        Self::sized(seed, validators as usize)
    }

    /// The plan of a seed with that many validators.
    pub fn sized(seed: u64, validators: usize) -> Self {
        Self::drawn(seed, validators, false)
    }

    /// A plan with a node that loses its log, again and again.
    pub fn forgetful(seed: u64) -> Self {
        Self::drawn(seed, 4 + (seed % 4) as usize, true)
    }

    fn drawn(seed: u64, validators: usize, lost: bool) -> Self {
        let mut random = Random::new(!seed);
        let spares = random.below(3) as usize;
        let faults = (validators - 1) / 3;
        let lost = faults > 0 && (random.chance(80) || lost);
        let count = faults - usize::from(lost);
        let byzantine: Vec<Manner> = (0..count)
            .map(|_| match random.below(10) {
                0..2 => Manner::Silent,
                2..5 => Manner::Withholding,
                _ => Manner::Twins,
            })
            .collect();
        let seats = match random.below(3) {
            0 => 4,
            1 => validators.div_ceil(2),
            _ => validators.min(64),
        };
        let heal = random.within(6_000, 20_000);
        let total = validators + spares;
        let partitions = (0..random.below(4))
            .map(|_| {
                let from = random.below(heal);
                (from, from + random.within(500, 6_000), random.next())
            })
            .collect();
        let mut crashes: Vec<(u64, usize, u64)> = (0..random.below(2 + validators as u64))
            .map(|_| {
                let node = random.within(count as u64, total as u64 - 1) as usize;
                (random.below(heal - 1_000), node, random.within(50, 4_000))
            })
            .collect();
        if random.chance(150) {
            // a power cut: everyone at once
            let at = random.below(heal - 2_000);
            crashes.extend((count..total).map(|node| (at, node, 1_000)));
        }
        let mut lost_log = None;
        if lost {
            lost_log = Some(count);
            crashes.extend((0..10).map(|_| (random.within(400, heal - 1_000), count, random.within(20, 1_500))));
        }
        let hostile = random.chance(300);
        let plan = Self {
            seed,
            validators,
            spares,
            byzantine,
            oldest_parent: random.chance(400),
            seats,
            epoch_length: random.within(6, 12),
            term_length: random.within(2, 6),
            heal,
            loss: random.below(3) * random.below(120),
            duplicates: random.below(80),
            delay: random.within(50, 2_500),
            slow: match random.below(6) {
                0 => Some(Kind::Notarize),
                1 => Some(Kind::Skip),
                2 | 3 => Some(Kind::Finalize),
                _ => None,
            },
            partitions,
            crashes,
            lost_log,
            mute_buddies: random.chance(100),
            forging: random.below(3) * 150,
            sparse: random.chance(300),
            mutation: None,
            real: false,
        };
        if hostile { plan.hostile(&mut random) } else { plan }
    }

    /// Made for forks: short terms and epochs, slow votes, an adversary at its best.
    fn hostile(mut self, random: &mut Random) -> Self {
        self.byzantine.iter_mut().for_each(|manner| *manner = Manner::Twins);
        self.oldest_parent = true;
        self.epoch_length = random.within(2, 6);
        self.term_length = random.within(1, 4);
        self.heal = 20_000;
        self.loss = random.below(40);
        self.delay = random.within(1_000, 5_000);
        self.slow = Some(
            [Kind::Finalize, Kind::Finalize, Kind::Finalize, Kind::Notarize, Kind::Skip][random.below(5) as usize],
        );
        self.forging = random.within(100, 600);
        self.partitions.truncate(1);
        self
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.validators + self.spares
    }

    /// Whether a partition keeps what the one node sends from the other, at a time in milliseconds. Never after the heal.
    pub fn cut(&self, now: u64, from: usize, to: usize) -> bool {
        now < self.heal
            && self
                .partitions
                .iter()
                .any(|(start, end, sides)| (*start..*end).contains(&now) && (sides >> from & 1) != (sides >> to & 1))
    }

    /// Which of two twins a node hears, 0 or 1; the halves change every three seconds.
    pub fn side(&self, now: u64, node: usize) -> u64 {
        (node as u64).wrapping_mul(0x9E37_79B9).wrapping_add(now / 3_000 * 31 + self.seed) >> 3 & 1
    }
}
