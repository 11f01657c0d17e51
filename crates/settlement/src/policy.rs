//! When to commit a batch.
//!
//! A commit costs gas, whatever is in it, and a fee for each blob, full or not. Waiting spreads both over more bytes and may meet lower fees; a deadline ends it.
//! [`Policy::decide`] is a pure function of what is known at an L1 block. It compares
//!
//! - what a byte costs if the batch is committed *now*: `cost(fees now, blobs of the bytes that wait) / bytes that wait`, with
//! - what it would cost at the end of the wait, if by then there is as much as the present rate brings, and fees are as they were at the *q*-quantile
//!   of recent blocks: `cost(fees, blobs then) / bytes then`,
//!
//! and commits if now is not dearer. With *x* the part of the wait that is over, q = q₁ · x²: at first only the lowest price will do, in the end one that is low.
//! Bytes beyond a full batch wait for the next one, and count like time: x is the larger of the age's part of the wait and the backlog's part of
//! [`Policy::max_backlog`].
//!
//! Whatever fees are, it commits [`Policy::margin`] before the deadline, which is what the relayer has to get the transaction mined. The deadline is never later than
//! another that the caller names, such as that of a forced message.

use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use jove_primitives::batch::{BLOB_CAPACITY, MAX_BLOBS};
use std::{fmt, time::Duration};

/// Denominator of quantiles and of parts of the wait.
const WHOLE: u128 = 1_000_000;

/// What L1 charges in a block, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// Base fee, per gas.
    pub base_fee: u128,
    /// Blob base fee, per blob gas.
    pub blob_base_fee: u128,
}

/// The settings.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A block is committed before it is older than this.
    pub deadline: Duration,
    /// What is left of it when a commit is sent at the latest. Below the deadline.
    pub margin: Duration,
    /// Longest time between two decisions: an L1 slot or two.
    pub tick: Duration,
    /// Gas of a commit.
    pub gas: u64,
    /// Gas of each blob in it, besides blob gas.
    pub gas_per_blob: u64,
    /// Tip, in wei per gas.
    pub tip: u128,
    /// Most blobs of a batch.
    pub blobs: usize,
    /// Bytes that may wait; as many are never waited for, whatever fees are. More than a batch's.
    pub max_backlog: u64,
    /// q₁, in millionths.
    pub last_quantile: u32,
}

impl Default for Policy {
    /// An hour, 6 minutes of which are the margin; 24 s between decisions; what `Rollup.commit` takes; 0.1 gwei; 6 blobs; 4 batches; 30 %.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3600),
            margin: Duration::from_secs(360),
            tick: Duration::from_secs(24),
            gas: 143_000,
            gas_per_blob: 600,
            tip: 100_000_000,
            blobs: MAX_BLOBS,
            max_backlog: 4 * (MAX_BLOBS * BLOB_CAPACITY) as u64,
            last_quantile: 300_000,
        }
    }
}

/// What is known when a decision is due.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Prices of the block to come.
    pub now: Prices,
    /// Prices of recent blocks, in any order: of some times the deadline, so that the beginning of a surge does not look cheap, and its end does.
    pub recent: &'a [Prices],
    /// Bytes of blob data that wait, compressed. 0: nothing does.
    pub waiting: u64,
    /// Age of the oldest block that waits.
    pub age: Duration,
    /// Time until something else must be committed, if anything must.
    pub due_in: Option<Duration>,
}

/// What to do, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit now.
    Commit(Why),
    /// Wait for the next L1 block.
    Wait(Why),
}

impl Decision {
    /// Whether to commit.
    pub fn commits(&self) -> bool {
        matches!(self, Self::Commit(_))
    }
}

/// The reason of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing waits.
    Empty,
    /// Any later might be after the deadline.
    Deadline,
    /// More waits than may.
    Backlog,
    /// There is nothing to compare with.
    NoHistory,
    /// The price: now, and what it may be at most at this point of the wait, both in wei per byte; and the part of the wait that is over, in millionths.
    Price {
        /// Now.
        now: u128,
        /// At most.
        limit: u128,
        /// Of the wait.
        waited: u32,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, why) = match self {
            Self::Commit(why) => ("commit", why),
            Self::Wait(why) => ("wait", why),
        };
        write!(f, "{verdict}: ")?;
        match why {
            Why::Empty => f.write_str("nothing waits"),
            Why::Deadline => f.write_str("the deadline is near"),
            Why::Backlog => f.write_str("too much waits"),
            Why::NoHistory => f.write_str("no recent fees to compare with"),
            Why::Price { now, limit, waited } => {
                write!(f, "{now} wei a byte, at most {limit} after {} % of the wait", waited / 10_000)
            }
        }
    }
}

impl Policy {
    /// Bytes of a full batch.
    pub fn capacity(&self) -> u64 {
        (self.blobs * BLOB_CAPACITY) as u64
    }

    /// What committing `bytes` costs, in wei, at `prices`. Of more than a batch's bytes only a batch's are.
    pub fn cost(&self, bytes: u64, prices: Prices) -> u128 {
        let blobs = u128::from(bytes.min(self.capacity()).div_ceil(BLOB_CAPACITY as u64));
        let gas = u128::from(self.gas).saturating_add(blobs.saturating_mul(self.gas_per_blob.into()));
        let execution = gas.saturating_mul(prices.base_fee.saturating_add(self.tip));
        execution.saturating_add((blobs * u128::from(DATA_GAS_PER_BLOB)).saturating_mul(prices.blob_base_fee))
    }

    /// Whether to commit.
    pub fn decide(&self, inputs: &Inputs<'_>) -> Decision {
        let &Inputs { now, recent, waiting, age, due_in } = inputs;
        if waiting == 0 {
            return Decision::Wait(Why::Empty);
        }
        // How old the oldest block may become before a commit is sent.
        let own = self.deadline.saturating_sub(self.margin);
        let other = due_in.map(|due| age.saturating_add(due.saturating_sub(self.margin)));
        let wait = other.map_or(own, |other| own.min(other));
        if age.saturating_add(self.tick) >= wait {
            return Decision::Commit(Why::Deadline);
        }
        if waiting >= self.max_backlog {
            return Decision::Commit(Why::Backlog);
        }
        if recent.is_empty() {
            return Decision::Wait(Why::NoHistory);
        }

        let (age_ms, wait_ms) = (age.as_millis(), wait.as_millis());
        let batch = waiting.min(self.capacity());
        let backlog = u128::from(waiting - batch) * WHOLE / u128::from(self.max_backlog.saturating_sub(batch).max(1));
        // Both are below 1: it has neither waited long enough nor is there too much.
        let waited = (age_ms.saturating_mul(WHOLE) / wait_ms).max(backlog).min(WHOLE);
        // What there is by then, at the present rate.
        let then = u128::from(waiting).saturating_mul(wait_ms) / age_ms.max(1);
        let then = u64::try_from(then).unwrap_or(u64::MAX).clamp(batch, self.capacity().max(batch));

        let quantile = u128::from(self.last_quantile).min(WHOLE) * (waited * waited / WHOLE) / WHOLE;
        let mut costs: Vec<u128> = recent.iter().map(|prices| self.cost(then, *prices)).collect();
        let rank = ((costs.len() - 1) as u128 * quantile / WHOLE) as usize;
        let (_, at_quantile, _) = costs.select_nth_unstable(rank);

        let now = self.cost(batch, now) / u128::from(batch);
        let limit = *at_quantile / u128::from(then);
        let why = Why::Price { now, limit, waited: waited as u32 };
        if now <= limit { Decision::Commit(why) } else { Decision::Wait(why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GWEI: u128 = 1_000_000_000;

    fn prices(base: u128, blob: u128) -> Prices {
        Prices { base_fee: base * GWEI / 10, blob_base_fee: blob * GWEI / 10 }
    }

    fn inputs(now: Prices, recent: &[Prices], waiting: u64, age: u64) -> Inputs<'_> {
        Inputs { now, recent, waiting, age: Duration::from_secs(age), due_in: None }
    }

    #[test]
    fn a_commit_costs_what_its_blobs_do() {
        let policy = Policy { gas: 100, gas_per_blob: 10, tip: 1, ..Default::default() };
        let at = Prices { base_fee: 4, blob_base_fee: 2 };
        let blob = BLOB_CAPACITY as u64;
        assert_eq!(policy.cost(1, at), 110 * 5 + 131_072 * 2);
        assert_eq!(policy.cost(blob, at), policy.cost(1, at));
        assert_eq!(policy.cost(blob + 1, at), 120 * 5 + 2 * 131_072 * 2);
        assert_eq!(policy.cost(u64::MAX, at), policy.cost(6 * blob, at));
        assert_eq!(policy.cost(1, Prices { base_fee: u128::MAX, blob_base_fee: u128::MAX }), u128::MAX);
    }

    #[test]
    fn the_deadline_wins_over_any_price() {
        let policy = Policy::default();
        let (cheap, dear) = ([prices(1, 1)], prices(9000, 9000));
        let last = 3600 - 360 - 24;
        assert_eq!(policy.decide(&inputs(dear, &cheap, 1, last)), Decision::Commit(Why::Deadline));
        assert!(!policy.decide(&inputs(dear, &cheap, 1, last - 60)).commits());
        assert_eq!(policy.decide(&inputs(dear, &cheap, 0, u64::MAX)), Decision::Wait(Why::Empty));
        assert_eq!(policy.decide(&inputs(dear, &[], 1, 5)), Decision::Wait(Why::NoHistory));
        // Another deadline comes first.
        let due = |due| Inputs { due_in: Some(Duration::from_secs(due)), ..inputs(dear, &cheap, 1, 100) };
        assert_eq!(policy.decide(&due(380)), Decision::Commit(Why::Deadline));
        assert!(!policy.decide(&due(2000)).commits());
    }

    #[test]
    fn a_backlog_is_not_kept() {
        let policy = Policy::default();
        let recent: Vec<Prices> = (1..=100).map(|price| prices(price, price)).collect();
        let full = policy.capacity();
        // The dearer it is, the more must wait.
        assert!(policy.decide(&inputs(prices(1, 1), &recent, full, 60)).commits());
        assert!(!policy.decide(&inputs(prices(5, 5), &recent, full, 60)).commits());
        assert!(policy.decide(&inputs(prices(20, 20), &recent, full * 7 / 2, 60)).commits());
        assert!(!policy.decide(&inputs(prices(25, 25), &recent, full * 7 / 2, 60)).commits());
        let most = policy.max_backlog;
        assert_eq!(policy.decide(&inputs(prices(200, 200), &recent, most, 60)), Decision::Commit(Why::Backlog));
    }

    #[test]
    fn patience_ends_with_the_wait() {
        let policy = Policy::default();
        let recent: Vec<Prices> = (1..=100).map(|price| prices(price, price)).collect();
        let full = policy.capacity();
        let dearest = |age: u64| {
            (1..=100).rev().find(|price| policy.decide(&inputs(prices(*price, *price), &recent, full, age)).commits())
        };
        let by_age: Vec<Option<u128>> = [60, 800, 1600, 2400, 3200].into_iter().map(dearest).collect();
        assert!(by_age.is_sorted() && by_age[0] == Some(1) && by_age[4] == Some(29), "{by_age:?}");
        // A batch that is hardly filled waits, at a price at which a full one goes.
        assert!(policy.decide(&inputs(prices(1, 1), &recent, full, 60)).commits());
        assert!(!policy.decide(&inputs(prices(1, 1), &recent, full / 60, 60)).commits());
    }

    proptest! {
        /// Any numbers give a decision, and none is to wait when it is too late.
        #[test]
        fn decisions_are_total(
            now: (u128, u128), recent: Vec<(u128, u128)>, waiting: u64, age: u64, due: Option<u64>,
            deadline: u32, margin: u32, tick: u32, max_backlog: u64, blobs in 1usize..7, last_quantile: u32,
        ) {
            let prices = |(base_fee, blob_base_fee)| Prices { base_fee, blob_base_fee };
            let seconds = |seconds: u32| Duration::from_secs(seconds.into());
            let policy = Policy {
                deadline: seconds(deadline), margin: seconds(margin), tick: seconds(tick),
                max_backlog, blobs, last_quantile, ..Default::default()
            };
            let recent: Vec<Prices> = recent.into_iter().map(prices).collect();
            let inputs = Inputs {
                now: prices(now), recent: &recent, waiting, age: Duration::from_secs(age), due_in: due.map(Duration::from_secs),
            };
            let decision = policy.decide(&inputs);
            let late = age.saturating_add(margin.into()).saturating_add(tick.into()) >= deadline.into();
            prop_assert!(!decision.to_string().is_empty());
            prop_assert!(decision.commits() || !late || waiting == 0);
        }
    }
}
