//! The weighted draw: the same everywhere, and no bias beyond noise. Limits are five standard deviations, seeds are fixed.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alloy_primitives::B256;
use jove_avc::{Validator, ValidatorSet, WEIGHT_ONE};

fn set(weights: &[u32]) -> ValidatorSet {
    let validators = weights.iter().enumerate().map(|(index, weight)| {
        let mut key = [0; 96];
        key[0] = index as u8;
        Validator { id: B256::with_last_byte(index as u8), key, vrf: [0; 32], weight: *weight, sequencer: index != 2 }
    });
    ValidatorSet::new(validators.collect()).unwrap()
}

fn output(number: u32) -> [u8; 64] {
    let mut output = [0; 64];
    output[..4].copy_from_slice(&number.to_be_bytes());
    output
}

#[test]
fn leaders_are_drawn_by_weight_among_sequencers() {
    let weights = [WEIGHT_ONE, 2 * WEIGHT_ONE, 2 * WEIGHT_ONE, 3 * WEIGHT_ONE / 2, WEIGHT_ONE];
    let set = set(&weights);
    let (draws, total) = (100_000, f64::from(WEIGHT_ONE) * 5.5);
    let mut counts = [0_u32; 5];
    (0..draws).for_each(|term| counts[usize::from(set.leader(&[3; 32], term))] += 1);
    assert_eq!(counts[2], 0, "who did not register never leads");
    for index in [0, 1, 3, 4] {
        let share = f64::from(weights[index]) / total;
        let (mean, deviation) = (share * draws as f64, (draws as f64 * share * (1.0 - share)).sqrt());
        assert!((f64::from(counts[index]) - mean).abs() < 5.0 * deviation, "{index}: {counts:?}");
    }
}

/// Exact inclusion probabilities for two seats: p_i = w_i/W · (1 + Σ_{j≠i} w_j/(W − w_j)).
#[test]
fn committees_are_distinct_and_drawn_by_weight() {
    let weights = [WEIGHT_ONE, 2 * WEIGHT_ONE, 3 * WEIGHT_ONE / 2, WEIGHT_ONE, 2 * WEIGHT_ONE, WEIGHT_ONE];
    let set = set(&weights);
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let (draws, mut counts) = (100_000, [0_u32; 6]);
    for number in 0..draws {
        let committee = set.committee(&output(number), 2);
        assert_eq!(committee.count(), 2);
        committee.iter().for_each(|index| counts[usize::from(index)] += 1);
    }
    for (index, weight) in weights.iter().enumerate() {
        let others: f64 = weights
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .fold(0.0, |sum, (_, other)| sum + f64::from(*other) / (total - f64::from(*other)));
        let chance = f64::from(*weight) / total * (1.0 + others);
        let (mean, deviation) = (chance * f64::from(draws), (f64::from(draws) * chance * (1.0 - chance)).sqrt());
        assert!((f64::from(counts[index]) - mean).abs() < 5.0 * deviation, "{index}: {counts:?}, expected {mean}");
    }
}

#[test]
fn equal_weights_give_uniform_committees() {
    // χ² over 40 validators, 8 seats: 39 degrees of freedom; inclusions of a draw are negatively correlated, so the statistic is scaled by (n−1)/(n−k)
    let set = set(&[WEIGHT_ONE; 40]);
    let (draws, mut counts) = (50_000_u32, [0_u32; 40]);
    for number in 0..draws {
        set.committee(&output(number), 8).iter().for_each(|index| counts[usize::from(index)] += 1);
    }
    let expected = f64::from(draws) * 8.0 / 40.0;
    let squares: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    let statistic = squares * 39.0 / 32.0;
    assert!((39.0 - 5.0 * 78_f64.sqrt()..39.0 + 5.0 * 78_f64.sqrt()).contains(&statistic), "χ² = {statistic}");
}

#[test]
fn draws_are_pinned() {
    let set = set(&[WEIGHT_ONE; 100]);
    let leaders: Vec<u16> = (0..8).map(|term| set.leader(&[1; 32], term)).collect();
    let committee: Vec<u16> = set.committee(&output(1), 8).iter().collect();
    assert_eq!(leaders, LEADERS);
    assert_eq!(committee, COMMITTEE);
    assert_eq!(set.committee(&output(1), 100).count(), 100);
    assert_eq!(set.committee(&output(1), 500).count(), 100);
}

/// Computed by a second implementation, in Python, from the documentation of the draw.
const LEADERS: [u16; 8] = [70, 77, 27, 42, 19, 74, 55, 40];
const COMMITTEE: [u16; 8] = [12, 17, 27, 31, 60, 65, 69, 94];
