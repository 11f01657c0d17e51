//! A simulation of committing over a series of L1 fees.
//!
//! `recorded.csv` is Ethereum's: time, base fee and blob base fee in wei of every tenth block from 24,390,421 to 24,395,121, 5 February 2026, 11:46 UTC to 03:32 the
//! next day, under BPO2. It has three surges, from 0.4 to 45 gwei, and is no usual day. The blob fees follow from the blocks' `excessBlobGas` (BigQuery's public
//! `crypto_ethereum.blocks`, as `Chainscore/score-da` on GitHub has it), the base fees from what a batch would have cost in the block, which
//! `linoscope/taiko-fee-simulator` on GitHub took from a node's `eth_feeHistory`.
//!
//! `made_up.csv` has a line for each minute of four days: base fee and blob base fee, in wei. It is **not** a recording.
//! Both fees follow Ethereum's rules block by block (EIP-1559; EIP-4844 with EIP-7918's reserve price, target 14 and maximum 21 blobs); the demand is
//! made up: a daily cycle, a slow drift, hours and minutes of rush, noise, all from a seed, and demand falls as fees rise. `examples/policy.rs` made
//! it (`generate`), simulates other files, and records real series from any Ethereum node (`record`).
#![allow(dead_code)] // neither user needs all of it

use alloy_eips::eip4844::fake_exponential;
use jove_primitives::{batch::BLOB_CAPACITY, block::L1Prices, fee::data_fee};
use jove_settlement::policy::{Decision, Inputs, Policy, Prices, Why};
use std::{collections::VecDeque, time::Duration};

/// Seconds between two lines of a series.
pub(crate) const STEP: u64 = 60;
/// Steps of fees that the policy is shown: 1,024 blocks, as many as a node gives at once.
pub(crate) const WINDOW: usize = 204;

/// Times that a series is simulated, begun five steps apart.
pub(crate) const STARTS: usize = 12;

/// The series that is made up.
pub(crate) const MADE_UP: &str = include_str!("made_up.csv");
/// The series that is Ethereum's, with times.
const RECORDED: &str = include_str!("recorded.csv");

/// Steps by which the prices that users are charged by are older than the moment: L1's finality takes two epochs and more, 13 to 19 minutes.
const LAG: usize = 16;

/// Ethereum's series: at each minute, the last block that is recorded.
pub(crate) fn recorded() -> Vec<Prices> {
    let blocks: Vec<(u64, Prices)> = RECORDED
        .lines()
        .filter_map(|line| {
            let (time, prices) = line.split_once(',')?;
            Some((time.parse().ok()?, *parse(prices).first()?))
        })
        .collect();
    let (first, last) = (blocks[0].0, blocks[blocks.len() - 1].0);
    let at = |time: u64| blocks[blocks.partition_point(|block| block.0 <= time) - 1].1;
    (first..=last).step_by(STEP as usize).map(at).collect()
}

/// Lines of two numbers of wei; others, such as a heading, are left out.
pub(crate) fn parse(text: &str) -> Vec<Prices> {
    text.lines()
        .filter_map(|line| {
            let (base_fee, blob_base_fee) = line.split_once(',')?;
            Some(Prices { base_fee: base_fee.trim().parse().ok()?, blob_base_fee: blob_base_fee.trim().parse().ok()? })
        })
        .collect()
}

/// How often something commits.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Every so many seconds, or when a batch is full.
    Interval(u64),
    /// As the policy decides.
    Policy,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) commits: u64,
    pub(crate) bytes: u64,
    /// Wei.
    pub(crate) cost: u128,
    /// Oldest age of a block when it was mined, in seconds.
    pub(crate) oldest: u64,
    /// Commits because of the deadline.
    pub(crate) forced: u64,
    pub(crate) blobs: u64,
    /// What users were charged for these bytes, in wei.
    pub(crate) charged: u128,
}

impl Outcome {
    /// Gwei per kilobyte.
    pub(crate) fn gwei_per_kb(&self) -> f64 {
        self.cost as f64 / 1e6 / self.bytes as f64
    }

    /// What users were charged, for each wei that L1 took.
    pub(crate) fn balance(&self) -> f64 {
        self.charged as f64 / self.cost as f64
    }

    /// Part of the blobs that was filled.
    pub(crate) fn fill(&self) -> f64 {
        self.bytes as f64 / (self.blobs * BLOB_CAPACITY as u64) as f64
    }
}

/// A generator of numbers that is the same everywhere (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Simulates committing what a chain makes at `rate` bytes a second on average (half of it at night, one and a half by day). A commit is mined one to four minutes
/// after it is decided, and paid at the prices of that time. Users are charged for `size` millionths of a byte for each byte, when it is made, at the prices of
/// [`LAG`] steps before. All of it [`STARTS`] times, begun at different minutes, so that no rule is lucky with its commits' times.
pub(crate) fn simulate(series: &[Prices], policy: &Policy, rule: Rule, rate: u64, size: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for start in 0..STARTS {
        run(series, policy, rule, rate, size, WINDOW + start * 5, &mut outcome);
    }
    outcome
}

fn run(series: &[Prices], policy: &Policy, rule: Rule, rate: u64, size: u64, start: usize, outcome: &mut Outcome) {
    let mut random = Random(7);
    // Bytes by the time they were made, with what was charged for a million of them.
    let mut queue: VecDeque<(u64, u64, u128)> = VecDeque::new();
    let mut waiting = 0;
    let mut last_commit = start as u64 * STEP;
    // The time at which a commit under way is mined, and whether it was forced.
    let mut mined_at: Option<u64> = None;
    for step in start..series.len() {
        let now = step as u64 * STEP;
        let prices = series[step];
        if mined_at.is_some_and(|at| at <= now) {
            mined_at = None;
            let mut room = policy.capacity();
            outcome.commits += 1;
            outcome.cost += policy.cost(waiting, prices);
            outcome.blobs += waiting.min(room).div_ceil(BLOB_CAPACITY as u64);
            outcome.oldest = outcome.oldest.max(queue.front().map_or(0, |(since, ..)| now - since));
            while let Some((_, bytes, charged)) = queue.front_mut() {
                let taken = room.min(*bytes);
                (*bytes, room, waiting) = (*bytes - taken, room - taken, waiting - taken);
                outcome.bytes += taken;
                outcome.charged += *charged * u128::from(taken) / 1_000_000;
                if *bytes > 0 {
                    break;
                }
                queue.pop_front();
            }
        }
        // Half at midnight, one and a half times at noon.
        let hour = (now / 3600) % 24;
        let made = rate * STEP * (6 + hour.min(24 - hour)) / 12;
        let Prices { base_fee, blob_base_fee } = series[step - LAG];
        let charged = data_fee(size * 1_000_000, L1Prices { base_fee, blob_base_fee });
        queue.push_back((now, made, charged.to()));
        waiting += made;
        if mined_at.is_some() {
            continue;
        }
        let age = queue.front().map_or(0, |(since, ..)| now - since);
        let decision = match rule {
            Rule::Interval(interval) => {
                if now - last_commit >= interval || waiting >= policy.capacity() {
                    Decision::Commit(Why::NoHistory)
                } else {
                    Decision::Wait(Why::NoHistory)
                }
            }
            Rule::Policy => policy.decide(&Inputs {
                now: prices,
                recent: &series[step - WINDOW..step],
                waiting,
                age: Duration::from_secs(age),
                due_in: None,
            }),
        };
        if decision.commits() {
            outcome.forced += u64::from(decision == Decision::Commit(Why::Deadline));
            last_commit = now;
            // Mostly in the next block or two; now and then it takes long.
            let delay = if random.next().is_multiple_of(20) { 4 } else { 1 };
            mined_at = Some(now + delay * STEP);
        }
    }
}

/// The series of [`MADE_UP`]. Nothing but IEEE 754's exact operations: it is the same everywhere.
pub(crate) fn generate() -> Vec<Prices> {
    const DAYS: u64 = 4;
    const SLOT: u64 = 12;
    const GWEI: f64 = 1e9;
    const GAS_LIMIT: f64 = 60e6;
    // BPO2: target, maximum, update fraction; EIP-7918: BLOB_BASE_COST.
    const BLOB_TARGET: u64 = 14;
    const BLOB_MAX: u64 = 21;
    const BLOB_FRACTION: u128 = 11_684_671;
    const BLOB_GAS: u64 = 131_072;
    const BLOB_BASE_COST: f64 = 8192.0;

    let mut random = Random(2026);
    let (mut base, mut excess) = (1.5 * GWEI, 0u64);
    let (mut drift, mut rush, mut minute_rush) = (0.0, 0.0, 0.0);
    let mut series = Vec::new();
    for slot in 0..DAYS * 86_400 / SLOT {
        let time = slot * SLOT;
        let blob_base_fee = fake_exponential(1, excess.into(), BLOB_FRACTION);
        let blob_fee = blob_base_fee as f64;
        if time.is_multiple_of(STEP) {
            series.push(Prices { base_fee: base as u128, blob_base_fee });
        }
        // What is wanted, at any price: 1 is the target at the usual one.
        // 1 at midnight, -1 at noon.
        let day = 4.0 * ((time % 86_400) as f64 / 86_400.0 - 0.5).abs() - 1.0;
        drift = drift * 0.9995 + (random.unit() - 0.5) * 0.04;
        rush *= 0.999;
        minute_rush *= 0.9;
        if random.unit() < 1.0 / 1800.0 {
            rush += random.unit() * 1.2;
        }
        if random.unit() < 1.0 / 60.0 {
            minute_rush += random.unit() * 1.5;
        }
        let wanted = (0.9 - 0.5 * day + drift + rush + minute_rush).max(0.05);
        // Demand falls with the root of the price.
        let usual = 1.5 * GWEI;
        let noise = 0.4 + 1.2 * random.unit();
        let used = (wanted * noise * (usual / base).sqrt()).clamp(0.0, 2.0) * GAS_LIMIT / 2.0;
        // EIP-1559.
        let target = GAS_LIMIT / 2.0;
        let next_base = (base + base * (used - target) / target / 8.0).max(1.0);
        // EIP-4844: blobs are wanted for what they cost together with their transactions' gas.
        let usual_blob = 0.2 * GWEI;
        let wanted_blobs = 14.0 * (0.75 - 0.2 * day + drift / 2.0 + rush / 2.0) * (0.5 + random.unit());
        let blobs = (wanted_blobs * (usual_blob / blob_fee.max(0.2 * usual_blob)).sqrt()) as u64;
        let blobs = blobs.min(BLOB_MAX);
        // EIP-7918: below the reserve price the excess does not fall.
        excess = if BLOB_BASE_COST * base > BLOB_GAS as f64 * blob_fee {
            excess + blobs * BLOB_GAS * (BLOB_MAX - BLOB_TARGET) / BLOB_MAX
        } else {
            (excess + blobs * BLOB_GAS).saturating_sub(BLOB_TARGET * BLOB_GAS)
        };
        base = next_base;
    }
    series
}
