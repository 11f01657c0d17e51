//! Limits that outlive a request: the rate of a client, connections, and calls that take long.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Clients in one of the two generations that are remembered.
const GENERATION: usize = 32_768;

/// A token bucket for each client address, /64 networks being one client.
///
/// Clients are remembered in two generations: whoever calls is in the younger one; once that is full it becomes the elder, and those
/// of the elder who have not called meanwhile are forgotten. So memory is bounded, and strangers, however many, make nobody
/// forgotten who calls at least once while [`GENERATION`] of them appear.
pub(crate) struct RateLimiter {
    /// Calls per second; 0: no limit.
    rate: u32,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    young: HashMap<IpAddr, Bucket>,
    old: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy)]
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
        let mut buckets = self.buckets.lock();
        let bucket = buckets.of(network(client), Bucket { tokens: rate, at: now });
        let earned = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + earned).min(rate);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= calls as f64;
        true
    }
}

impl Buckets {
    /// The bucket of `client`, or `new` for a stranger.
    fn of(&mut self, client: IpAddr, new: Bucket) -> &mut Bucket {
        if self.young.len() >= GENERATION && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(client).or_insert_with(|| old.remove(&client).unwrap_or(new))
    }
}

/// Connections: in all, and of each client address, /64 networks being one client.
pub(crate) struct Connections {
    max: usize,
    all: Arc<Semaphore>,
    /// 0: no limit of its own.
    max_of_client: usize,
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

impl Connections {
    pub(crate) fn new(max: usize, max_of_client: usize) -> Arc<Self> {
        let max = max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Arc::new(Self { max, all: Arc::new(Semaphore::new(max)), max_of_client, by_client: Mutex::default() })
    }

    /// A place for one more connection: of `client`, or of this machine (IPC).
    ///
    /// # Errors
    /// In words for the log, if there is none.
    pub(crate) fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Place, &'static str> {
        let permit = self.all.clone().try_acquire_owned().map_err(|_| "too many connections")?;
        let client = client.filter(|_| self.max_of_client > 0).map(network);
        if let Some(client) = client {
            let mut by_client = self.by_client.lock();
            let open = by_client.entry(client).or_default();
            if *open >= self.max_of_client {
                return Err("too many connections of one client");
            }
            *open += 1;
        }
        Ok(Place { connections: self.clone(), client, _permit: permit })
    }

    /// Waits until every connection has ended.
    pub(crate) async fn ended(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        // Never closed, so it fails never.
        let _ = self.all.acquire_many(all).await;
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.all.available_permits()
    }
}

/// One connection's place.
pub(crate) struct Place {
    connections: Arc<Connections>,
    client: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Whose limits the connection counts against; none on IPC, and where clients are not told apart.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut by_client = self.connections.by_client.lock();
        if let Some(open) = by_client.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                by_client.remove(&client);
            }
        }
    }
}

/// Turns at what takes long: so many at once in all, and of each client half of them, at least one.
///
/// A client's calls wait for each other first, and only the first of them wait for those of other clients. So a client that asks for much, in
/// however many calls, delays others by what it may run at once.
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    of_client: usize,
    clients: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

impl Turns {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self { all: Arc::new(Semaphore::new(max)), of_client: (max / 2).max(1), clients: Mutex::default() })
    }

    /// Waits for a turn of `client`; of nobody, where clients are not told apart.
    ///
    /// # Errors
    /// Never: nothing closes the semaphores.
    pub(crate) async fn take(self: Arc<Self>, client: Option<IpAddr>) -> Result<Turn, AcquireError> {
        let queue = client.map(|client| Queue::join(&self, client));
        let own = match queue.as_ref().and_then(|queue| queue.own.clone()) {
            Some(own) => Some(own.acquire_owned().await?),
            None => None,
        };
        let all = self.all.clone().acquire_owned().await?;
        Ok(Turn { _all: all, _own: own, _queue: queue })
    }
}

/// A turn. It ends when it is dropped.
pub(crate) struct Turn {
    _all: OwnedSemaphorePermit,
    // The permit goes before the queue that it is of.
    _own: Option<OwnedSemaphorePermit>,
    _queue: Option<Queue>,
}

/// A client's calls that run or wait. The last to leave takes the queue away.
struct Queue {
    turns: Arc<Turns>,
    client: IpAddr,
    own: Option<Arc<Semaphore>>,
}

impl Queue {
    fn join(turns: &Arc<Turns>, client: IpAddr) -> Self {
        let mut clients = turns.clients.lock();
        let own = clients.entry(client).or_insert_with(|| Arc::new(Semaphore::new(turns.of_client))).clone();
        Self { turns: turns.clone(), client, own: Some(own) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut clients = self.turns.clients.lock();
        self.own = None;
        if let Entry::Occupied(own) = clients.entry(self.client)
            && Arc::strong_count(own.get()) == 1
        {
            own.remove();
        }
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
    fn a_flood_of_strangers_frees_nobody_and_takes_bounded_memory() {
        let limiter = RateLimiter::new(1);
        let now = Instant::now();
        let held: IpAddr = "192.0.2.1".parse().expect("an address");
        assert!(limiter.take(held, 1, now) && !limiter.take(held, 1, now));
        for i in 0..200_000u32 {
            assert!(limiter.take(IpAddr::from(i.to_be_bytes()), 1, now), "a stranger is admitted");
            if i % 1000 == 0 {
                assert!(!limiter.take(held, 1, now), "after {i} strangers");
            }
            let buckets = limiter.buckets.lock();
            assert!(buckets.young.len() + buckets.old.len() <= 2 * GENERATION);
        }
        let one: IpAddr = "2001:db8::1".parse().expect("an address");
        let other: IpAddr = "2001:db8::2".parse().expect("an address");
        assert!(limiter.take(one, 1, now) && !limiter.take(other, 1, now), "one network is one client");
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_cannot_take_every_turn() {
        let turns = Turns::new(4);
        let (a, b) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let take = |client| tokio::time::timeout(Duration::from_secs(1), turns.clone().take(client));
        let two = [take(a).await.expect("a turn").expect("open"), take(a).await.expect("a turn").expect("open")];
        assert!(take(a).await.is_err(), "half of them are its own");
        // Many that wait do not stand before another client's, or before nobody's.
        let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(turns.clone().take(a))).collect();
        tokio::task::yield_now().await;
        let others = [take(b).await.expect("a turn").expect("open"), take(None).await.expect("a turn").expect("open")];
        assert!(take(b).await.is_err(), "there are no more");
        drop((two, others));
        for one in waiting {
            drop(one.await.expect("no panic").expect("open"));
        }
        assert!(turns.clients.lock().is_empty(), "nobody is remembered who waits for nothing");
        assert_eq!(turns.all.available_permits(), 4);
        let one = Turns::new(1);
        assert!(one.clone().take(a).await.is_ok() && one.take(None).await.is_ok(), "one at least");
    }

    #[test]
    fn connections_are_bounded_in_all_and_by_client() {
        let connections = Connections::new(4, 2);
        let (a, b) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let one = connections.admit(a).expect("room");
        assert_eq!(one.client(), a);
        let _two = connections.admit(a).expect("room");
        assert_eq!(connections.admit(a).err(), Some("too many connections of one client"));
        let _three = connections.admit(b).expect("another client");
        let _four = connections.admit(None).expect("IPC is no client's");
        assert_eq!(connections.admit(None).err(), Some("too many connections"));
        drop(one);
        let _again = connections.admit(a).expect("its place is free again");
        drop((_again, _two, _three, _four));
        assert!(connections.by_client.lock().is_empty());
        assert_eq!(connections.free(), 4);
        let unlimited = Connections::new(4, 0);
        let held: Vec<_> = (0..4).filter_map(|_| unlimited.admit(a).ok()).collect();
        assert!(held.len() == 4 && held.iter().all(|place| place.client().is_none()));
    }
}
