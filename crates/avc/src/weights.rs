//! Weights: W_{e+2} from W_{e+1} and what the final digests of e bind. A pure function, in integers, the same on every node.
//!
//! **Participation.** Each checkpoint's digest binds the bitmap of its parent's NotarizeCert. Of those bitmaps in the final checkpoints of epoch e, its last one
//! aside, which carries the outcome, that are not empty, the share that has a validator of V_e is its participation, in thousandths, rounded down.
//!
//! **Reports.** Each Seed Node may report on each validator of V_e once an epoch: a score in thousandths, in a transaction of its account to [`REPORTS`], in a block of a
//! checkpoint of e, the last one aside. A score counts for a
//! validator if at least two thirds of the Seed Nodes gave one: the median, the lower of two. A Seed Node whose reports of an epoch differ gave none. So
//! with less than a third of the Seed Nodes Byzantine, the median lies between two honest scores.
//!
//! **The rule.** A validator's score is its participation, or the median of its reports if that is lower. Its weight goes towards 1 + score, by at most a
//! twentieth of what it is (rounded down), and stays in \[1, 2\]. Who was not in V_e, or of whose epoch no bitmap is known, keeps its weight; who is new has 1. Who
//! was convicted in e has 1 at once, and its place in V_{e+2} is the registry's to take: L1 has taken its bond, for evidence that the contract there checked, in a block after
//! the L1 origin of the last checkpoint of e − 1, up to that of e's.
//!
//! Weights steer who is drawn, never a quorum: what they could leak at most is in the range (`WEIGHT_ONE`).

use crate::codec::{Reader, Wire, write_list};
use crate::{
    Bitmap, Checkpoint, Domain, Error, MAX_VALIDATORS, PublicKey, Scheme, Signature, Signer, Validator, ValidatorSet,
    WEIGHT_ONE,
};
use alloy_primitives::{Address, B256, address, keccak256};
use std::collections::BTreeMap;

/// Where reports are sent: the last 20 bytes of keccak256("jove/avc/1/reports"). Nothing is there; the transaction's input is the report's encoding.
pub const REPORTS: Address = address!("ac61168544207fa989d6e8846e9526d3b44d68fb");
/// A score of 1, in thousandths.
pub const SCORE_ONE: u16 = 1000;
/// The most Seed Nodes.
pub const MAX_SEEDS: usize = 256;
/// A weight changes by at most one part in so many an epoch.
pub const LARGEST_CHANGE: u32 = 20;

/// A Seed Node's score of one validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Index in V_e.
    pub validator: u16,
    /// Reliability in thousandths, at most [`SCORE_ONE`].
    pub score: u16,
}

impl Wire for Score {
    fn write(&self, out: &mut Vec<u8>) {
        self.validator.write(out);
        self.score.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let (validator, score) = (Wire::read(input)?, Wire::read(input)?);
        if score > SCORE_ONE {
            return Err(Error::Bound { what: "score" });
        }
        Ok(Self { validator, score })
    }
}

/// What a Seed Node says of an epoch's validators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedReport {
    /// The epoch that it is about.
    pub epoch: u64,
    /// The Seed Node's index in the list that is frozen with the epoch's set.
    pub seed: u16,
    /// Scores, by ascending validator; none of those it does not know.
    pub scores: Vec<Score>,
    /// Over [`SeedReport::statement`].
    pub signature: Signature,
}

impl SeedReport {
    /// Signs a report. Scores are put in order; of two of one validator the lower stays.
    pub fn new(domain: &Domain, epoch: u64, seed: u16, mut scores: Vec<Score>, signer: &dyn Signer) -> Self {
        scores.sort_unstable_by_key(|score| (score.validator, score.score));
        scores.dedup_by_key(|score| score.validator);
        let mut report = Self { epoch, seed, scores, signature: [0; 48] };
        report.signature = signer.sign(&report.statement(domain));
        report
    }

    /// The bytes that a report signs.
    pub fn statement(&self, domain: &Domain) -> Vec<u8> {
        let mut out = b"jove/avc/1/report".to_vec();
        [domain.chain_id, domain.era, self.epoch].iter().for_each(|number| number.write(&mut out));
        self.seed.write(&mut out);
        write_list(&self.scores, &mut out);
        out
    }

    /// Whether it is by the Seed Node that it names, among these.
    pub fn verify(&self, domain: &Domain, seeds: &[PublicKey], scheme: &dyn Scheme) -> bool {
        let key = seeds.get(usize::from(self.seed));
        key.is_some_and(|key| scheme.verify(key, &self.statement(domain), &self.signature))
    }

    /// What blocks call it by.
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }
}

impl Wire for SeedReport {
    fn write(&self, out: &mut Vec<u8>) {
        self.epoch.write(out);
        self.seed.write(out);
        write_list(&self.scores, out);
        self.signature.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let (epoch, seed) = (Wire::read(input)?, u16::read(input)?);
        if usize::from(seed) >= MAX_SEEDS {
            return Err(Error::Bound { what: "Seed Node" });
        }
        let scores: Vec<Score> = input.list(MAX_VALIDATORS, "scores")?;
        if scores.windows(2).any(|pair| pair[0].validator >= pair[1].validator) {
            return Err(Error::NotCanonical { what: "scores" });
        }
        if scores.last().is_some_and(|last| usize::from(last.validator) >= MAX_VALIDATORS) {
            return Err(Error::Bound { what: "validator" });
        }
        Ok(Self { epoch, seed, scores, signature: Wire::read(input)? })
    }
}

/// What the final digests of an epoch bind of its validators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// In how many of the bitmaps each validator is, by index.
    signed: Vec<u32>,
    /// How many bitmaps there are.
    bitmaps: u32,
    /// Who was convicted.
    convicted: Bitmap,
    /// What each Seed Node said; none if it contradicted itself.
    reports: BTreeMap<u16, Option<Vec<Score>>>,
}

impl Record {
    /// Of an epoch with so many validators, before its first checkpoint.
    pub fn new(validators: usize) -> Self {
        let signed = vec![0; validators.min(MAX_VALIDATORS)];
        Self { signed, bitmaps: 0, convicted: Bitmap::default(), reports: BTreeMap::new() }
    }

    /// Notes a final checkpoint of the epoch.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        if checkpoint.parent_signers == Bitmap::default() {
            return;
        }
        self.bitmaps = self.bitmaps.saturating_add(1);
        for signer in checkpoint.parent_signers.iter() {
            if let Some(signed) = self.signed.get_mut(usize::from(signer)) {
                *signed = signed.saturating_add(1);
            }
        }
    }

    /// Notes who was convicted in the epoch.
    pub fn convict(&mut self, validator: u16) {
        if usize::from(validator) < self.signed.len() {
            self.convicted.insert(validator);
        }
    }

    /// Notes a report in a final block of the epoch, which was verified and is about it.
    pub fn report(&mut self, report: &SeedReport) {
        let said = self.reports.entry(report.seed).or_insert_with(|| Some(report.scores.clone()));
        if said.as_ref().is_some_and(|said| *said != report.scores) {
            *said = None;
        }
    }

    /// A validator's participation, in thousandths; none if there is no bitmap.
    pub fn participation(&self, validator: u16) -> Option<u16> {
        let signed = u64::from(*self.signed.get(usize::from(validator))?);
        let share = (signed * u64::from(SCORE_ONE)).checked_div(u64::from(self.bitmaps))?;
        Some(share.min(u64::from(SCORE_ONE)) as u16)
    }

    /// The median of a validator's scores, if two thirds of `seeds` Seed Nodes gave one.
    pub fn median(&self, validator: u16, seeds: usize) -> Option<u16> {
        let said = self.reports.range(..seeds.min(MAX_SEEDS) as u16).filter_map(|(_, scores)| {
            let scores = scores.as_ref()?;
            let index = scores.binary_search_by_key(&validator, |score| score.validator).ok()?;
            Some(scores[index].score.min(SCORE_ONE))
        });
        let mut said: Vec<u16> = said.collect();
        if said.is_empty() || said.len() * 3 < seeds * 2 {
            return None;
        }
        said.sort_unstable();
        Some(said[(said.len() - 1) / 2])
    }

    /// The weight of a validator of V_e after one of W_{e+1}.
    fn after(&self, weight: u32, validator: u16, seeds: usize) -> u32 {
        if self.convicted.contains(validator) {
            return WEIGHT_ONE;
        }
        let Some(participation) = self.participation(validator) else { return weight };
        let score = self.median(validator, seeds).map_or(participation, |median| median.min(participation));
        let target = WEIGHT_ONE + WEIGHT_ONE * u32::from(score) / u32::from(SCORE_ONE);
        let step = weight / LARGEST_CHANGE;
        target.clamp(weight - step, weight + step).clamp(WEIGHT_ONE, 2 * WEIGHT_ONE)
    }
}

/// W_{e+2}: gives the members of V_{e+2} their weights. `set` is V_e, `next` V_{e+1} with W_{e+1}, `seeds` how many Seed Nodes there are.
pub fn weigh(members: &mut [Validator], set: &ValidatorSet, next: &ValidatorSet, record: &Record, seeds: usize) {
    for member in members {
        let before = next.index(&member.id).map_or(WEIGHT_ONE, |index| next.validators()[usize::from(index)].weight);
        member.weight = set.index(&member.id).map_or(before, |index| record.after(before, index, seeds));
    }
}
