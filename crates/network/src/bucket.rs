//! Token buckets: [`Rate`]s enforced.

use crate::Rate;
use std::time::{Duration, Instant};

/// What may still be spent of a [`Rate`].
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, level: f64::from(rate.burst), at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * f64::from(self.rate.per_second)).min(f64::from(self.rate.burst));
        self.at = self.at.max(now);
    }

    /// Spends `amount` if it is there.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> bool {
        self.fill(now);
        let enough = self.level >= amount;
        if enough {
            self.level -= amount;
        }
        enough
    }

    /// Spends `amount` whether it is there or not; how long to wait until the debt is paid.
    pub(crate) fn spend(&mut self, amount: f64, now: Instant) -> Duration {
        self.fill(now);
        self.level -= amount;
        let debt = (-self.level).max(0.0) / f64::from(self.rate.per_second);
        // an hour stands for any longer wait
        Duration::from_secs_f64(debt.min(3_600.0))
    }

    /// Whether nothing was spent for so long that the bucket can be forgotten.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= f64::from(self.rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::new(10, 5), start);
        assert_eq!((0..20).filter(|_| bucket.take(1.0, start)).count(), 5);
        assert_eq!((0..20).filter(|_| bucket.take(1.0, start + Duration::from_millis(200))).count(), 2);
        assert!(!bucket.is_full(start + Duration::from_millis(300)));
        assert!(bucket.is_full(start + Duration::from_secs(9)));
        // a clock that steps back gives nothing
        assert!(!Bucket::new(Rate::new(10, 5), start + Duration::from_secs(5)).take(6.0, start));
    }

    #[test]
    fn debts_are_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::new(100, 50), start);
        assert_eq!(bucket.spend(50.0, start), Duration::ZERO);
        assert_eq!(bucket.spend(200.0, start), Duration::from_secs(2));
        assert_eq!(bucket.spend(100.0, start + Duration::from_secs(2)), Duration::from_secs(1));
    }
}
