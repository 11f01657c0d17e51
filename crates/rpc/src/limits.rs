//! Limits that outlive a request: the rate of a client.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

/// Clients that are remembered; beyond, those whose allowance is whole again are forgotten.
const REMEMBERED: usize = 10_000;

/// A token bucket for each client address, /64 networks being one client.
pub(crate) struct RateLimiter {
    /// Calls per second; 0: no limit.
    rate: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimiter {
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes `calls` at `now`. A batch may overdraw an allowance that is not used up; its debt is paid first.
    pub(crate) fn take(&self, client: IpAddr, calls: usize, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        let rate = f64::from(self.rate);
        let refill = |bucket: &Bucket| {
            let earned = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
            (bucket.tokens + earned).min(rate)
        };
        let mut buckets = self.buckets.lock();
        if buckets.len() >= REMEMBERED {
            buckets.retain(|_, bucket| refill(bucket) < rate);
            if buckets.len() >= REMEMBERED {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(network(client)).or_insert(Bucket { tokens: rate, at: now });
        bucket.tokens = refill(bucket);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= calls as f64;
        true
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_client_is_held_to_its_rate() {
        let limiter = RateLimiter::new(10);
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let start = Instant::now();
        assert!((0..10).all(|_| limiter.take(a, 1, start)));
        assert!(!limiter.take(a, 1, start));
        assert!(limiter.take(b, 1, start), "another client is not held");
        assert!(limiter.take(a, 1, start + Duration::from_millis(100)));
        assert!(!limiter.take(a, 1, start + Duration::from_millis(100)));
        let later = start + Duration::from_secs(60);
        assert!(limiter.take(a, 100, later), "a batch may overdraw");
        assert!(!limiter.take(a, 1, later + Duration::from_secs(5)), "and its debt is paid first");
        assert!(limiter.take(a, 1, later + Duration::from_secs(10)));
        assert!(RateLimiter::new(0).take(a, usize::MAX, start));
    }

    #[test]
    fn the_memory_is_bounded() {
        let limiter = RateLimiter::new(1);
        let now = Instant::now();
        for i in 0..50_000u32 {
            limiter.take(IpAddr::from(i.to_be_bytes()), 1, now);
        }
        assert!(limiter.buckets.lock().len() <= REMEMBERED);
        let one: IpAddr = "2001:db8::1".parse().expect("an address");
        let other: IpAddr = "2001:db8::2".parse().expect("an address");
        assert!(limiter.take(one, 1, now) && !limiter.take(other, 1, now), "one network is one client");
    }
}
