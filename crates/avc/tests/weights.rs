//! Weights: bounds, order, what reports can and cannot do; the wire format of reports.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alloy_primitives::{B256, keccak256};
use jove_avc::codec::Wire;
use jove_avc::weights::{LARGEST_CHANGE, MAX_SEEDS, Record, SCORE_ONE, Score, SeedReport, weigh};
use jove_avc::{
    Bitmap, Checkpoint, Domain, Error, KeyedHash, KeyedHashSigner, L1Origin, MAX_VALIDATORS, Validator, ValidatorSet,
    WEIGHT_ONE,
};
use proptest::prelude::*;

const DOMAIN: Domain = Domain { chain_id: 5_683, era: 0 };

fn signer(number: u64) -> KeyedHashSigner {
    KeyedHashSigner { id: B256::with_last_byte(number as u8), number }
}

fn set(ids: impl IntoIterator<Item = u64>, weight: impl Fn(u64) -> u32) -> ValidatorSet {
    let member = |number: u64| {
        let signer = signer(number);
        let (key, vrf) = (signer.public_key(), signer.vrf_key());
        Validator { id: signer.id, key, vrf, weight: weight(number), sequencer: true }
    };
    ValidatorSet::new(ids.into_iter().map(member).collect()).unwrap()
}

fn checkpoint(signers: &[u16]) -> Checkpoint {
    let mut parent_signers = Bitmap::default();
    signers.iter().for_each(|signer| parent_signers.insert(*signer));
    Checkpoint {
        chain_id: 5_683,
        era: 0,
        epoch: 0,
        height: 1,
        view: 0,
        proposer: 0,
        proof: [0; 80],
        parent: B256::ZERO,
        parent_signers,
        last_number: 1,
        last_hash: B256::ZERO,
        state_root: B256::ZERO,
        origin: L1Origin::default(),
        set_version: 0,
        set_hash: B256::ZERO,
        weight_root: B256::ZERO,
        evidence_root: B256::ZERO,
        next: None,
    }
}

fn report(seed: u16, scores: &[(u16, u16)]) -> SeedReport {
    let scores = scores.iter().map(|(validator, score)| Score { validator: *validator, score: *score }).collect();
    SeedReport::new(&DOMAIN, 4, seed, scores, &signer(u64::from(seed) + 1))
}

/// The weights after an epoch of everyone in `set` and `next`, which have the same members.
fn after(set: &ValidatorSet, next: &ValidatorSet, record: &Record, seeds: usize) -> Vec<u32> {
    let mut members = next.validators().to_vec();
    weigh(&mut members, set, next, record, seeds);
    members.iter().map(|member| member.weight).collect()
}

/// An epoch: bitmaps, convictions, reports.
#[derive(Debug, Clone)]
enum Noted {
    Checkpoint(Vec<u16>),
    Convicted(u16),
    Report(u16, Vec<(u16, u16)>),
}

impl Noted {
    fn note(&self, record: &mut Record) {
        match self {
            Self::Checkpoint(signers) => record.checkpoint(&checkpoint(signers)),
            Self::Convicted(validator) => record.convict(*validator),
            Self::Report(seed, scores) => record.report(&report(*seed, scores)),
        }
    }
}

fn noted() -> impl Strategy<Value = Noted> {
    prop_oneof![
        6 => prop::collection::vec(0u16..9, 0..9).prop_map(Noted::Checkpoint),
        1 => (0u16..9).prop_map(Noted::Convicted),
        4 => (0u16..6, prop::collection::vec((0u16..9, 0..=SCORE_ONE), 0..9)).prop_map(|(seed, scores)| Noted::Report(seed, scores)),
    ]
}

proptest! {
    #[test]
    fn weights_stay_in_bounds_and_move_little(
        notes in prop::collection::vec(noted(), 0..40), weights in prop::collection::vec(WEIGHT_ONE..=2 * WEIGHT_ONE, 7), seeds in 0usize..8,
    ) {
        let before = set(1..8, |number| weights[number as usize - 1]);
        let mut record = Record::new(7);
        notes.iter().for_each(|noted| noted.note(&mut record));
        let after = after(&before, &before, &record, seeds);
        for (index, (weight, before)) in after.iter().zip(&weights).enumerate() {
            prop_assert!((WEIGHT_ONE..=2 * WEIGHT_ONE).contains(weight));
            let convicted = notes.iter().any(|noted| matches!(noted, Noted::Convicted(who) if usize::from(*who) == index));
            prop_assert!(weight.abs_diff(*before) <= before / LARGEST_CHANGE || (convicted && *weight == WEIGHT_ONE));
            prop_assert!(!convicted || *weight == WEIGHT_ONE);
        }
    }

    #[test]
    fn the_order_of_notes_does_not_matter(notes in prop::collection::vec(noted(), 0..30), swaps in prop::collection::vec((any::<u16>(), any::<u16>()), 30)) {
        let mut shuffled = notes.clone();
        for (a, b) in swaps.into_iter().filter(|_| !notes.is_empty()) {
            shuffled.swap(usize::from(a) % notes.len(), usize::from(b) % notes.len());
        }
        let record = |notes: &[Noted]| {
            let mut record = Record::new(7);
            notes.iter().for_each(|noted| noted.note(&mut record));
            record
        };
        prop_assert_eq!(record(&notes), record(&shuffled));
    }

    /// Fewer than two thirds change nothing, whatever they say.
    #[test]
    fn few_reports_have_no_effect(seeds in 1usize..30, scores in prop::collection::vec(0..=SCORE_ONE, 30), weight in WEIGHT_ONE..=2 * WEIGHT_ONE) {
        let before = set(1..5, |_| weight);
        let mut record = Record::new(4);
        record.checkpoint(&checkpoint(&[0, 1, 2]));
        let without = after(&before, &before, &record, seeds);
        let enough = (2 * seeds).div_ceil(3);
        for (seed, score) in scores.iter().enumerate().take(enough - 1) {
            record.report(&report(seed as u16, &[(0, *score), (3, SCORE_ONE)]));
            prop_assert_eq!(record.median(0, seeds), None);
        }
        // said twice, or by nobody
        if enough > 1 {
            record.report(&report(0, &[(0, scores[0]), (3, SCORE_ONE)]));
        }
        record.report(&report(seeds as u16, &[(0, 0)]));
        prop_assert_eq!(&after(&before, &before, &record, seeds), &without);
        record.report(&report(enough as u16 - 1, &[(0, scores[enough - 1])]));
        prop_assert!(record.median(0, seeds).is_some());
        // who contradicts itself gave none
        record.report(&report(enough as u16 - 1, &[(0, scores[enough - 1]), (1, 1)]));
        prop_assert_eq!(record.median(0, seeds), None);
    }

    /// Less than a third of the Seed Nodes cannot move the median out of what the others say, whoever of them is silent.
    #[test]
    fn a_minority_of_liars_stays_within_the_honest(
        seeds in 1usize..40, honest in prop::collection::vec(0..=SCORE_ONE, 40), lies in prop::collection::vec(0..=SCORE_ONE, 40), silent in 0usize..40,
    ) {
        let liars = (seeds - 1) / 3;
        let mut record = Record::new(1);
        let mut said = Vec::new();
        for seed in 0..seeds {
            if seed < liars {
                record.report(&report(seed as u16, &[(0, lies[seed])]));
            } else if seed < seeds - silent % (seeds / 3 + 1) {
                record.report(&report(seed as u16, &[(0, honest[seed])]));
                said.push(honest[seed]);
            }
        }
        if let Some(median) = record.median(0, seeds) {
            let (low, high) = (said.iter().min().unwrap(), said.iter().max().unwrap());
            prop_assert!((low..=high).contains(&&median), "{} of {:?}", median, said);
        }
    }

    #[test]
    fn reports_from_outside_decode_to_one_encoding_or_to_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), seed: u16, scores in prop::collection::vec((0u16..300, 0u16..1100), 0..210)) {
        if let Ok(report) = SeedReport::decode(&bytes) {
            prop_assert_eq!(report.encode(), bytes);
        }
        let made = report(seed, &scores);
        match SeedReport::decode(&made.encode()) {
            Ok(report) => prop_assert_eq!(report, made),
            Err(error) => {
                let known = usize::from(seed) < MAX_SEEDS
                    && made.scores.len() <= MAX_VALIDATORS
                    && made.scores.iter().all(|score| usize::from(score.validator) < MAX_VALIDATORS && score.score <= SCORE_ONE);
                prop_assert!(!known, "{}", error);
            }
        }
    }
}

#[test]
fn weights_follow_the_rule() {
    let one = WEIGHT_ONE;
    let (now, next) = (set(1..5, |_| one), set(1..6, |number| if number == 2 { 2 * one } else { one + one / 2 }));
    let mut record = Record::new(4);
    // the first of the epoch has no bitmap; validator 0 is in all of the others, 1 in half, 2 in none
    record.checkpoint(&checkpoint(&[]));
    record.checkpoint(&checkpoint(&[0, 1, 3]));
    record.checkpoint(&checkpoint(&[0, 3]));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|index| record.participation(index)),
        [Some(1000), Some(500), Some(0), Some(1000), None]
    );
    record.convict(3);
    let up = one + one / 2 + (one + one / 2) / 20;
    let down = one + one / 2 - (one + one / 2) / 20;
    assert_eq!(after(&now, &next, &record, 3), [up, 2 * one - one / 10, down, one, one + one / 2]);
    // reports lower a score and never raise one
    (0..3).for_each(|seed| record.report(&report(seed, &[(0, 100), (2, 1000)])));
    assert_eq!(after(&now, &next, &record, 3), [down, 2 * one - one / 10, down, one, one + one / 2]);
    // who is new has one; who leaves is not asked for
    let mut members = set([4, 9], |_| 2 * one).validators().to_vec();
    weigh(&mut members, &now, &next, &record, 3);
    assert_eq!(members.iter().map(|member| member.weight).collect::<Vec<_>>(), [one, one]);
    // no bitmap, no change
    assert_eq!(after(&now, &now, &Record::new(4), 0), [one; 4]);
}

/// Whoever always takes part comes from 1 to 2 in time, and goes back.
#[test]
fn weights_reach_both_ends() {
    let mut record = Record::new(4);
    record.checkpoint(&checkpoint(&[0]));
    let first = set(1..5, |_| WEIGHT_ONE);
    let mut weights = [WEIGHT_ONE, 2 * WEIGHT_ONE, 2 * WEIGHT_ONE, 2 * WEIGHT_ONE].to_vec();
    for _ in 0..16 {
        let next = set(1..5, |number| weights[number as usize - 1]);
        weights = after(&first, &next, &record, 0);
    }
    assert_eq!(weights, [2 * WEIGHT_ONE, WEIGHT_ONE, WEIGHT_ONE, WEIGHT_ONE]);
}

#[test]
fn a_report_is_its_seed_nodes() {
    let seeds = [signer(1).public_key(), signer(2).public_key()];
    let made = report(1, &[(3, 900), (1, 7), (3, 800)]);
    assert_eq!(made.scores.iter().map(|score| (score.validator, score.score)).collect::<Vec<_>>(), [(1, 7), (3, 800)]);
    assert!(made.verify(&DOMAIN, &seeds, &KeyedHash));
    assert!(!made.verify(&DOMAIN, &seeds[..1], &KeyedHash));
    assert!(!made.verify(&Domain { era: 1, ..DOMAIN }, &seeds, &KeyedHash));
    assert!(!SeedReport { seed: 0, ..made.clone() }.verify(&DOMAIN, &seeds, &KeyedHash));
    assert!(!SeedReport { epoch: 5, ..made.clone() }.verify(&DOMAIN, &seeds, &KeyedHash));
    let mut other = made.clone();
    other.scores[0].score = 8;
    assert!(!other.verify(&DOMAIN, &seeds, &KeyedHash));
    assert_ne!(made.hash(), other.hash());
    let mut twice = made.encode();
    // validator 1 again in the place of 3
    twice[8 + 2 + 2 + 4 + 1] = 1;
    assert_eq!(SeedReport::decode(&twice), Err(Error::NotCanonical { what: "scores" }));
    let many = (0..MAX_VALIDATORS as u16 + 1).map(|validator| Score { validator, score: 1 }).collect();
    let many = SeedReport { scores: many, ..made };
    assert_eq!(SeedReport::decode(&many.encode()), Err(Error::Bound { what: "scores" }));
}

#[test]
fn reports_are_pinned() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut all = Vec::new();
    for _ in 0..4096 {
        let count = next() % 20;
        let scores = (0..count).map(|_| ((next() % 200) as u16, (next() % 1001) as u16)).collect::<Vec<_>>();
        let made = report((next() % 256) as u16, &scores);
        assert_eq!(SeedReport::decode(&made.encode()).unwrap(), made);
        all.extend(made.encode());
        all.extend(made.statement(&DOMAIN));
    }
    assert_eq!(keccak256(all).to_string(), "0xbbb3e28e05103bfadd8d369560c10c182985351ac9a976d3ea6c700735413a80");
}
