//! What is known of peers, and who is let in.
//!
//! **Known** peers are validators, bootstrap peers and allowed peers: for them there is always room, and bans are short. All others share limits: in all, by
//! direction, and by *source*, which is an IPv4 address or an IPv6 /64 network. A denied peer is never let in, a banned one not until its ban ends.
//!
//! Each peer has a *penalty*, which offences add to and time halves. At the limit the peer is disconnected and banned; bans double with
//! each repetition and outlive connections. Identities cost nothing, so several banned peers of one source close the source to unknown peers.

use crate::{Error, Limits, bucket::Bucket, counters::Counters, identity::replace};
use alloy_primitives::B256;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol as Part, swarm::ConnectionId};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// What a host finds a peer guilty of, after the network had nothing against the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Costs and brings nothing: an empty answer where there should be one, the same thing twice. 2 of 100.
    Useless,
    /// Bytes that no honest node sends: they do not decode. 30 of 100.
    Malformed,
    /// Decodes, and breaks a rule that honest nodes check before they forward. 30 of 100.
    Invalid,
    /// Proof of a lie: a forged signature in its own name, a false answer. 100 of 100: a ban.
    Forged,
}

impl Offence {
    fn penalty(self) -> f64 {
        match self {
            Self::Useless => 2.0,
            Self::Malformed | Self::Invalid => 30.0,
            Self::Forged => 100.0,
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the peer is on the deny list")]
    Denied,
    #[error("the peer is banned")]
    Banned,
    #[error("the network is private")]
    Private,
    #[error("no room for more connections")]
    Full,
    #[error("no room for more connections of this peer")]
    PeerFull,
    #[error("no room for more connections of this address")]
    SourceFull,
    #[error("too many connections at once from this address")]
    SourceFast,
    #[error("peers of this address were banned")]
    SourceBanned,
}

/// What a peer's messages are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spending {
    Gossip,
    Request,
    Control,
}

/// A peer as the network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// Its id.
    pub peer: PeerId,
    /// The validator that it is.
    pub validator: Option<B256>,
    /// The address of one of its connections.
    pub address: Multiaddr,
    /// Whether it dialled us.
    pub inbound: bool,
    /// Its connections.
    pub connections: usize,
    /// The name and version it gives itself; at most 64 printable ASCII characters.
    pub agent: String,
    /// A ping's round trip.
    pub latency: Option<Duration>,
    /// Its penalty; a ban at 100 by default.
    pub penalty: f64,
    /// How long it has been connected.
    pub connected: Duration,
    /// Requests that it answered, and failed to.
    pub answered: (u64, u64),
}

/// Where unknown peers come from, as far as limits go.
pub(crate) type Source = IpAddr;

/// The source of an address: IPv4 as it is, IPv6 by its first 64 bits.
pub(crate) fn source(address: &Multiaddr) -> Option<Source> {
    address.iter().find_map(|part| match part {
        Part::Ip4(ip) => Some(IpAddr::V4(ip)),
        Part::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            None => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
        }),
        _ => None,
    })
}

#[derive(Clone, Debug)]
struct Connection {
    id: ConnectionId,
    address: Multiaddr,
    inbound: bool,
    /// Whether it takes up room of unknown peers.
    counted: bool,
    since: Instant,
}

#[derive(Debug)]
struct Record {
    connections: Vec<Connection>,
    direct: Bucket,
    gossip: Bucket,
    requests: Bucket,
    control: Bucket,
    penalty: f64,
    penalty_at: Instant,
    bans: u32,
    banned_until: Option<Instant>,
    source: Option<Source>,
    identified: bool,
    agent: String,
    latency: Option<Duration>,
    answer_time: f64,
    answered: u64,
    unanswered: u64,
    serving: usize,
    asking: usize,
    gossip_pending: usize,
}

impl Record {
    fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            connections: vec![],
            direct: Bucket::new(limits.direct, now),
            gossip: Bucket::new(limits.gossip, now),
            requests: Bucket::new(limits.requests, now),
            control: Bucket::new(limits.control, now),
            penalty: 0.0,
            penalty_at: now,
            bans: 0,
            banned_until: None,
            source: None,
            identified: false,
            agent: String::new(),
            latency: None,
            answer_time: 0.0,
            answered: 0,
            unanswered: 0,
            serving: 0,
            asking: 0,
            gossip_pending: 0,
        }
    }

    fn decay(&mut self, half_life: Duration, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.penalty_at);
        self.penalty *= 0.5f64.powf(passed.as_secs_f64() / half_life.as_secs_f64());
        self.penalty_at = self.penalty_at.max(now);
        self.penalty
    }

    fn banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| until > now)
    }
}

#[derive(Debug)]
struct SourceRecord {
    connections: usize,
    pending: usize,
    fresh: Bucket,
}

/// Peers, lists, limits: shared by the swarm's task and those of streams; nothing waits while it is locked.
pub(crate) struct Peers {
    limits: Limits,
    private: bool,
    allow: BTreeSet<PeerId>,
    deny: BTreeSet<PeerId>,
    configured: (BTreeSet<PeerId>, BTreeSet<PeerId>),
    lists: Option<PathBuf>,
    bootstrap: HashSet<PeerId>,
    validators: HashMap<PeerId, B256>,
    records: HashMap<PeerId, Record>,
    sources: HashMap<Source, SourceRecord>,
    pending: HashMap<ConnectionId, Option<Source>>,
    inbound: usize,
    outbound: usize,
    closing: Vec<PeerId>,
    waker: Option<Waker>,
    counters: Arc<Counters>,
}

const MAX_SOURCES: usize = 16_384;
const MAX_LISTED: usize = 65_536;
const SHORT_BAN: Duration = Duration::from_secs(30);
const SHORT_WAIT: Duration = Duration::from_secs(5);
const LONGEST_BAN: Duration = Duration::from_secs(86_400);

impl Peers {
    pub(crate) fn new(
        config: &crate::Config,
        bootstrap: HashSet<PeerId>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let configured = (config.allow.iter().copied().collect(), config.deny.iter().copied().collect());
        let (mut allow, mut deny): (BTreeSet<PeerId>, BTreeSet<PeerId>) = Default::default();
        if let Some(path) = &config.lists {
            let text = match std::fs::read_to_string(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                other => other.map_err(|source| Error::File { path: path.clone(), source })?,
            };
            for (index, line) in text.lines().enumerate() {
                let mut words = line.split_whitespace();
                let bad = || Error::Lists { path: path.clone(), line: index + 1 };
                let (Some(list), Some(peer), None) = (words.next(), words.next(), words.next()) else {
                    if line.trim().is_empty() {
                        continue;
                    }
                    return Err(bad());
                };
                let peer = peer.parse().map_err(|_| bad())?;
                match list {
                    "allow" => allow.insert(peer),
                    "deny" => deny.insert(peer),
                    _ => return Err(bad()),
                };
            }
        }
        Ok(Self {
            limits: config.limits.clone(),
            private: config.private,
            allow,
            deny,
            configured,
            lists: config.lists.clone(),
            bootstrap,
            validators: HashMap::new(),
            records: HashMap::new(),
            sources: HashMap::new(),
            pending: HashMap::new(),
            inbound: 0,
            outbound: 0,
            closing: vec![],
            waker: None,
            counters,
        })
    }

    // --- lists ---

    /// Puts a peer on one list, or on none: `Some(true)` allows, `Some(false)` denies. What is not in the configuration is kept in the file.
    pub(crate) fn list(&mut self, peer: PeerId, allowed: Option<bool>) -> Result<(), Error> {
        let before = (self.allow.clone(), self.deny.clone());
        self.allow.remove(&peer);
        self.deny.remove(&peer);
        match allowed {
            Some(true) => self.allow.insert(peer),
            Some(false) => self.deny.insert(peer),
            None => true,
        };
        if self.allow.len() + self.deny.len() > MAX_LISTED {
            (self.allow, self.deny) = before;
            return Err(Error::TooLarge { size: MAX_LISTED + 1, max: MAX_LISTED });
        }
        if let Some(path) = &self.lists {
            let lines = self.allow.iter().map(|peer| format!("allow {peer}\n"));
            let text: String = lines.chain(self.deny.iter().map(|peer| format!("deny {peer}\n"))).collect();
            if let Err(source) = replace(path, text.as_bytes(), 0o644) {
                let path = path.clone();
                (self.allow, self.deny) = before;
                return Err(Error::File { path, source });
            }
        }
        if let (Some(true), Some(record)) = (allowed, self.records.get_mut(&peer)) {
            (record.banned_until, record.penalty) = (None, 0.0);
        }
        if self.refused(&peer, Instant::now()).is_some() {
            self.close(peer);
        }
        Ok(())
    }

    /// The allowed and the denied peers, of configuration and file.
    pub(crate) fn lists(&self) -> (Vec<PeerId>, Vec<PeerId>) {
        (
            self.allow.union(&self.configured.0).copied().collect(),
            self.deny.union(&self.configured.1).copied().collect(),
        )
    }

    pub(crate) fn set_validators(&mut self, validators: HashMap<PeerId, B256>) {
        self.validators = validators;
        if self.private {
            let now = Instant::now();
            let refused: Vec<_> = self.connected().filter(|peer| self.refused(peer, now).is_some()).collect();
            refused.into_iter().for_each(|peer| self.close(peer));
        }
    }

    pub(crate) fn validator(&self, peer: &PeerId) -> Option<B256> {
        self.validators.get(peer).copied()
    }

    /// The peer that a validator is.
    pub(crate) fn peer(&self, validator: &B256) -> Option<PeerId> {
        self.validators.iter().find(|(_, id)| *id == validator).map(|(peer, _)| *peer)
    }

    fn known(&self, peer: &PeerId) -> bool {
        self.validators.contains_key(peer)
            || self.bootstrap.contains(peer)
            || self.allow.contains(peer)
            || self.configured.0.contains(peer)
    }

    /// Why no connection with the peer may be, whatever room there is.
    pub(crate) fn refused(&self, peer: &PeerId, now: Instant) -> Option<Refusal> {
        if self.deny.contains(peer) || self.configured.1.contains(peer) {
            Some(Refusal::Denied)
        } else if self.records.get(peer).is_some_and(|record| record.banned(now)) {
            Some(Refusal::Banned)
        } else if self.private && !self.known(peer) {
            Some(Refusal::Private)
        } else {
            None
        }
    }

    // --- connections ---

    /// A handshake begins.
    pub(crate) fn knock(&mut self, id: ConnectionId, address: &Multiaddr, now: Instant) -> Result<(), Refusal> {
        if self.pending.len() >= self.limits.pending {
            return Err(Refusal::Full);
        }
        let from = source(address);
        if let Some(from) = from {
            if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&from) {
                return Err(Refusal::Full);
            }
            let limits = &self.limits;
            let record = self.sources.entry(from).or_insert_with(|| SourceRecord {
                connections: 0,
                pending: 0,
                fresh: Bucket::new(limits.new_connections, now),
            });
            if !record.fresh.take(1.0, now) {
                return Err(Refusal::SourceFast);
            }
            if record.pending >= limits.per_source {
                return Err(Refusal::SourceFull);
            }
            record.pending += 1;
        }
        self.pending.insert(id, from);
        Ok(())
    }

    /// A handshake ended, well or not.
    pub(crate) fn knocked(&mut self, id: ConnectionId) {
        if let Some(Some(from)) = self.pending.remove(&id)
            && let Some(record) = self.sources.get_mut(&from)
        {
            record.pending = record.pending.saturating_sub(1);
        }
    }

    /// Whether a connection with the peer, now authenticated, has room.
    pub(crate) fn admit(
        &mut self,
        peer: &PeerId,
        address: &Multiaddr,
        inbound: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = self.refused(peer, now) {
            return Err(refusal);
        }
        if self.records.get(peer).map_or(0, |record| record.connections.len()) >= self.limits.per_peer {
            return Err(Refusal::PeerFull);
        }
        if self.known(peer) {
            return Ok(());
        }
        let (open, limit) =
            if inbound { (self.inbound, self.limits.inbound) } else { (self.outbound, self.limits.outbound) };
        if open >= limit {
            return Err(Refusal::Full);
        }
        if let (Some(from), true) = (source(address), inbound) {
            if self.sources.get(&from).map_or(0, |record| record.connections) >= self.limits.per_source {
                return Err(Refusal::SourceFull);
            }
            let banned = self.records.values().filter(|record| record.source == Some(from) && record.banned(now));
            if banned.count() >= self.limits.banned_per_source {
                return Err(Refusal::SourceBanned);
            }
        }
        Ok(())
    }

    /// A connection is there.
    pub(crate) fn connected_by(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: Multiaddr,
        inbound: bool,
        now: Instant,
    ) {
        let counted = !self.known(&peer);
        let from = source(&address);
        if counted {
            if inbound {
                self.inbound += 1
            } else {
                self.outbound += 1
            }
            if let (Some(from), true) = (from, inbound) {
                let limits = &self.limits;
                self.sources
                    .entry(from)
                    .or_insert_with(|| SourceRecord {
                        connections: 0,
                        pending: 0,
                        fresh: Bucket::new(limits.new_connections, now),
                    })
                    .connections += 1;
            }
        }
        let record = self.records.entry(peer).or_insert_with(|| Record::new(&self.limits, now));
        if record.connections.is_empty() {
            record.identified = false;
        }
        record.source = from;
        record.connections.push(Connection { id, address, inbound, counted, since: now });
        self.counters.connections.one();
    }

    /// A connection is gone. Whether it was the peer's last.
    pub(crate) fn disconnected(&mut self, id: ConnectionId, peer: &PeerId) -> bool {
        let Some(record) = self.records.get_mut(peer) else { return true };
        let Some(index) = record.connections.iter().position(|connection| connection.id == id) else {
            return record.connections.is_empty();
        };
        let connection = record.connections.swap_remove(index);
        let last = record.connections.is_empty();
        if connection.counted {
            let open = if connection.inbound { &mut self.inbound } else { &mut self.outbound };
            *open = open.saturating_sub(1);
            if let (Some(from), true) = (source(&connection.address), connection.inbound)
                && let Some(record) = self.sources.get_mut(&from)
            {
                record.connections = record.connections.saturating_sub(1);
            }
        }
        last
    }

    /// Whether there is room for one more outbound connection to an unknown peer.
    pub(crate) fn outbound_room(&self) -> bool {
        self.outbound < self.limits.outbound
    }

    fn connected(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.records.iter().filter(|(_, record)| !record.connections.is_empty()).map(|(peer, _)| *peer)
    }

    /// How many peers are connected.
    pub(crate) fn connected_peers(&self) -> usize {
        self.connected().count()
    }

    /// The address of one of the peer's connections.
    pub(crate) fn address(&self, peer: &PeerId) -> Option<Multiaddr> {
        self.records.get(peer)?.connections.first().map(|connection| connection.address.clone())
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.records.get(peer).is_some_and(|record| !record.connections.is_empty())
    }

    /// Peers to be disconnected; remembers whom to wake when there are more.
    pub(crate) fn take_closing(&mut self, waker: &Waker) -> Vec<PeerId> {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        std::mem::take(&mut self.closing)
    }

    /// Disconnects the peer.
    pub(crate) fn close(&mut self, peer: PeerId) {
        if self.is_connected(&peer) && !self.closing.contains(&peer) {
            self.closing.push(peer);
            if let Some(waker) = &self.waker {
                waker.wake_by_ref();
            }
        }
    }

    // --- conduct ---

    /// Adds an offence; bans at the limit.
    pub(crate) fn report(&mut self, peer: &PeerId, offence: Offence, now: Instant) {
        self.punish(peer, offence.penalty(), now);
    }

    fn punish(&mut self, peer: &PeerId, amount: f64, now: Instant) {
        let Some(record) = self.records.get_mut(peer) else { return };
        let penalty = record.decay(self.limits.half_life, now) + amount;
        record.penalty = penalty;
        if penalty >= self.limits.penalty {
            record.penalty = 0.0;
            let factor = 1u32.checked_shl(record.bans).unwrap_or(u32::MAX);
            self.ban(peer, self.limits.ban.saturating_mul(factor).min(LONGEST_BAN), now);
        }
    }

    fn ban(&mut self, peer: &PeerId, time: Duration, now: Instant) {
        let time = if self.known(peer) { time.min(SHORT_BAN) } else { time };
        if let Some(record) = self.records.get_mut(peer) {
            record.bans = record.bans.saturating_add(1);
            record.banned_until = now.checked_add(time);
            self.counters.bans.one();
            tracing::warn!(%peer, seconds = time.as_secs(), "banned");
        }
        self.close(*peer);
    }

    /// The peer belongs to another chain: out for a ban's time; for a short one where the chain has the same id, since it may come into another era before this node, or
    /// after.
    pub(crate) fn foreign(&mut self, peer: &PeerId, same_id: bool, now: Instant) {
        self.counters.foreign.one();
        let time = if same_id { self.limits.ban.min(SHORT_WAIT) } else { self.limits.ban };
        if let Some(record) = self.records.get_mut(peer) {
            record.banned_until = now.checked_add(time);
        }
        self.close(*peer);
    }

    /// Charges one message to the peer's rate. If it is above, a burst's worth of messages too many is a ban.
    pub(crate) fn spend(&mut self, peer: &PeerId, what: Spending, now: Instant) -> bool {
        let Some(record) = self.records.get_mut(peer) else { return false };
        let (bucket, burst) = match what {
            Spending::Gossip => (&mut record.gossip, self.limits.gossip.burst),
            Spending::Request => (&mut record.requests, self.limits.requests.burst),
            Spending::Control => (&mut record.control, self.limits.control.burst),
        };
        let enough = bucket.take(1.0, now);
        if !enough {
            self.punish(peer, self.limits.penalty / f64::from(burst), now);
        }
        enough
    }

    /// Charges one direct message to the validator's rate; how long it has to wait before the next.
    pub(crate) fn spend_direct(&mut self, peer: &PeerId, now: Instant) -> Duration {
        self.records.get_mut(peer).map_or(Duration::ZERO, |record| record.direct.spend(1.0, now))
    }

    /// Takes one of the places for gossip that waits for a verdict.
    pub(crate) fn hold_gossip(&mut self, peer: &PeerId) -> bool {
        let limit = self.limits.verdicts_per_peer;
        self.records.get_mut(peer).is_some_and(|record| {
            let room = record.gossip_pending < limit;
            record.gossip_pending += usize::from(room);
            room
        })
    }

    pub(crate) fn release_gossip(&mut self, peer: &PeerId) {
        if let Some(record) = self.records.get_mut(peer) {
            record.gossip_pending = record.gossip_pending.saturating_sub(1);
        }
    }

    /// Takes one of the places for requests being served.
    pub(crate) fn hold_serving(&mut self, peer: &PeerId) -> bool {
        let limit = self.limits.serving_per_peer;
        self.records.get_mut(peer).is_some_and(|record| {
            let room = record.serving < limit;
            record.serving += usize::from(room);
            room
        })
    }

    pub(crate) fn release_serving(&mut self, peer: &PeerId) {
        if let Some(record) = self.records.get_mut(peer) {
            record.serving = record.serving.saturating_sub(1);
        }
    }

    // --- what peers say and do ---

    /// The peer identified itself.
    pub(crate) fn identified(&mut self, peer: &PeerId, agent: &str) {
        if let Some(record) = self.records.get_mut(peer) {
            record.identified = true;
            record.agent = agent.chars().filter(char::is_ascii_graphic).take(64).collect();
        }
    }

    pub(crate) fn latency(&mut self, peer: &PeerId, latency: Duration) {
        if let Some(record) = self.records.get_mut(peer) {
            record.latency = Some(latency);
        }
    }

    /// The peer to ask when any will do: identified, with the fewest questions open, the lowest penalty, the best record of answers.
    pub(crate) fn best(&mut self, now: Instant) -> Option<PeerId> {
        let half_life = self.limits.half_life;
        let price = |record: &mut Record| {
            let failures = record.unanswered as f64 / (record.answered + record.unanswered + 1) as f64;
            let time = if record.answered > 0 {
                record.answer_time
            } else {
                record.latency.map_or(0.1, |latency| latency.as_secs_f64())
            };
            record.asking as f64 + record.decay(half_life, now) / 10.0 + failures * 4.0 + time
        };
        self.records
            .iter_mut()
            .filter(|(_, record)| record.identified && !record.connections.is_empty())
            .map(|(peer, record)| (*peer, price(record)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(peer, _)| peer)
    }

    pub(crate) fn asking(&mut self, peer: &PeerId) {
        if let Some(record) = self.records.get_mut(peer) {
            record.asking += 1;
        }
    }

    /// A question ended: with an answer after so long, or without.
    pub(crate) fn asked(&mut self, peer: &PeerId, answered: Option<Duration>) {
        let Some(record) = self.records.get_mut(peer) else { return };
        record.asking = record.asking.saturating_sub(1);
        match answered {
            Some(time) => {
                record.answered += 1;
                record.answer_time = record.answer_time * 0.8 + time.as_secs_f64() * 0.2;
                // old failures weigh less with each answer
                record.unanswered -= record.unanswered / 8;
            }
            None => record.unanswered += 1,
        }
    }

    pub(crate) fn infos(&mut self, now: Instant) -> Vec<PeerInfo> {
        let half_life = self.limits.half_life;
        let mut infos: Vec<_> = self
            .records
            .iter_mut()
            .filter_map(|(peer, record)| {
                let first = record.connections.first()?.clone();
                Some(PeerInfo {
                    peer: *peer,
                    validator: self.validators.get(peer).copied(),
                    inbound: first.inbound,
                    connections: record.connections.len(),
                    agent: record.agent.clone(),
                    latency: record.latency,
                    penalty: record.decay(half_life, now),
                    connected: now.saturating_duration_since(first.since),
                    answered: (record.answered, record.unanswered),
                    address: first.address,
                })
            })
            .collect();
        infos.sort_by_key(|info| info.peer);
        infos
    }

    /// Now and then: drops who does not identify itself, forgets what no longer matters, sets gauges.
    pub(crate) fn tick(&mut self, now: Instant) {
        let (half_life, patience) = (self.limits.half_life, self.limits.identify);
        let silent: Vec<_> = self
            .records
            .iter()
            .filter(|(_, record)| !record.identified)
            .filter(|(_, record)| record.connections.iter().any(|c| now.saturating_duration_since(c.since) > patience))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in silent {
            self.counters.unidentified.one();
            self.close(peer);
        }
        self.records.retain(|_, record| {
            let idle = record.connections.is_empty() && record.serving == 0 && record.gossip_pending == 0;
            let fresh_ban =
                record.banned_until.is_some_and(|until| until.checked_add(half_life).is_none_or(|end| end > now));
            let mut buckets = [&mut record.direct, &mut record.gossip, &mut record.requests, &mut record.control];
            // or a new connection would be a new allowance
            let spent = buckets.iter_mut().any(|bucket| !bucket.is_full(now));
            !idle || spent || record.asking > 0 || fresh_ban || record.decay(half_life, now) >= 1.0
        });
        self.forget_most(now);
        self.sources.retain(|_, record| record.connections > 0 || record.pending > 0 || !record.fresh.is_full(now));
        self.gauges(now);
    }

    pub(crate) fn gauges(&self, now: Instant) {
        self.counters.peers.set(self.connected_peers());
        self.counters.banned.set(self.records.values().filter(|record| record.banned(now)).count());
        self.counters.remembered.set(self.records.len());
    }

    /// Keeps no more than the limit of peers that are away: those go first whose bans end first.
    fn forget_most(&mut self, now: Instant) {
        let mut away: Vec<_> = self
            .records
            .iter()
            .filter(|(_, record)| record.connections.is_empty())
            .map(|(peer, record)| (record.banned_until.unwrap_or(now), *peer))
            .collect();
        if let Some(excess) = away.len().checked_sub(self.limits.remembered).filter(|&excess| excess > 0) {
            away.sort();
            away.iter().take(excess).for_each(|(_, peer)| drop(self.records.remove(peer)));
        }
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
