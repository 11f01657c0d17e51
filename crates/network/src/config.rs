//! Settings and limits.

use crate::Identity;
use alloy_primitives::{B256, hex};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use std::{path::PathBuf, time::Duration};

/// What a node of the network is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's key.
    pub identity: Identity,
    /// The chain: peers of another are dropped.
    pub chain: Chain,
    /// Addresses to listen on, such as `/ip4/0.0.0.0/tcp/9000` and `/ip4/0.0.0.0/udp/9000/quic-v1`.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this node. If any are given, only these are told to peers; otherwise the addresses listened on.
    pub external: Vec<Multiaddr>,
    /// Peers to find the others through; each ends with `/p2p/PEER`.
    pub bootstrap: Vec<Multiaddr>,
    /// Peers always let in, beside those of the file of lists.
    pub allow: Vec<PeerId>,
    /// Peers never let in, beside those of the file of lists; stronger than `allow`.
    pub deny: Vec<PeerId>,
    /// The file that keeps what [`allow`](crate::Network::allow) and [`deny`](crate::Network::deny) change. Without it they last until the node stops.
    pub lists: Option<PathBuf>,
    /// Only validators, bootstrap peers and allowed peers are let in.
    pub private: bool,
    /// Whether to subscribe to [`Topic::Transactions`](crate::Topic::Transactions) and so on; none means all.
    pub topics: Vec<crate::Topic>,
    /// What peers may cost.
    pub limits: Limits,
}

impl Config {
    /// A node of `chain` on no address, without peers.
    pub fn new(identity: Identity, chain: Chain) -> Self {
        Self {
            identity,
            chain,
            listen: vec![],
            external: vec![],
            bootstrap: vec![],
            allow: vec![],
            deny: vec![],
            lists: None,
            private: false,
            topics: vec![],
            limits: Limits::default(),
        }
    }
}

/// Which chain a network is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its id.
    pub id: u64,
    /// The hash of its genesis block.
    pub genesis: B256,
}

impl Chain {
    /// `/jove/ID/GENESIS`, the genesis hash's first eight bytes in hexadecimal: what every name of the network begins with.
    pub fn prefix(&self) -> String {
        format!("/jove/{}/{}", self.id, hex::encode(&self.genesis[..8]))
    }

    /// A protocol's name.
    pub(crate) fn protocol(&self, name: &str) -> StreamProtocol {
        // the prefix begins with a slash, which is all that is asked of a name
        StreamProtocol::try_from_owned(format!("{}/{name}", self.prefix()))
            .unwrap_or(StreamProtocol::new("/jove/invalid"))
    }
}

/// A validator's place in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The id that the host knows it by.
    pub id: B256,
    /// The peer that it is: the holder of the key behind this id, proven by each connection's handshake.
    pub peer: PeerId,
    /// Where to dial it; may be empty, then peers are asked.
    pub addresses: Vec<Multiaddr>,
}

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// What comes back each second.
    pub per_second: u32,
    /// What may be spent at once after a pause.
    pub burst: u32,
}

impl Rate {
    /// `per_second`, and `burst` at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// What peers may cost. Everything that a peer can make grow has a number here; sizes are bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Peers that the node looks for. Validators count.
    pub target_peers: usize,
    /// Inbound connections of unknown peers. Validators, bootstrap and allowed peers are known; they do not count, and always have room.
    pub inbound: usize,
    /// Outbound connections to unknown peers.
    pub outbound: usize,
    /// Connections of one peer.
    pub per_peer: usize,
    /// Connections of unknown peers, and handshakes, of one IPv4 address or IPv6 /64 network.
    pub per_source: usize,
    /// Handshakes under way, all sources together.
    pub pending: usize,
    /// New connections of one source.
    pub new_connections: Rate,
    /// Banned peers of one source that close it to unknown peers until their bans end.
    pub banned_per_source: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a peer has to identify itself.
    pub identify: Duration,

    /// Bytes that one connection may send; above that it is read no faster.
    pub bandwidth: Rate,
    /// Streams that one connection may open; above that they wait.
    pub streams: Rate,
    /// Direct messages of one validator; above that they wait.
    pub direct: Rate,
    /// Gossip messages of one peer; above that they are ignored and the peer's penalty grows.
    pub gossip: Rate,
    /// Requests of one peer; above that they are reset and the peer's penalty grows.
    pub requests: Rate,
    /// Identifications of one peer; above that they are ignored and its penalty grows.
    pub control: Rate,

    /// One direct message.
    pub direct_size: usize,
    /// Direct messages waiting for one validator; the oldest are dropped.
    pub direct_queue: usize,
    /// Their bytes.
    pub direct_queue_size: usize,
    /// One gossip message.
    pub gossip_size: usize,
    /// Gossip messages waiting for a verdict.
    pub verdicts: usize,
    /// Of these, from one peer.
    pub verdicts_per_peer: usize,
    /// How long a verdict may take. Gossip keeps a message for about five seconds, so more is of no use.
    pub verdict: Duration,
    /// One request.
    pub request_size: usize,
    /// One answer.
    pub answer_size: usize,
    /// Answers being written, all together.
    pub answers_size: usize,
    /// Requests being served.
    pub serving: usize,
    /// Of these, for one peer.
    pub serving_per_peer: usize,
    /// How long a request, from opening to the answer's last byte, may take the asking side.
    pub request: Duration,
    /// How long the writing or reading of one message, or the wait for a host's answer, may stand still.
    pub stall: Duration,
    /// Events that the host has not taken yet.
    pub events: usize,
    /// Their bytes.
    pub events_size: usize,

    /// The penalty at which a peer is banned. [`Offence`](crate::Offence) has the prices.
    pub penalty: f64,
    /// In this time half of a penalty is forgotten.
    pub half_life: Duration,
    /// The first ban; each later one is twice as long, up to a day. Known peers are never out for more than 30 s.
    pub ban: Duration,
    /// Peers remembered for their penalties and bans while they are not connected.
    pub remembered: usize,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_peers: 24,
            inbound: 96,
            outbound: 48,
            per_peer: 4,
            per_source: 48,
            pending: 128,
            new_connections: Rate::new(5, 100),
            banned_per_source: 4,
            handshake: Duration::from_secs(10),
            identify: Duration::from_secs(15),

            bandwidth: Rate::new(32 << 20, 64 << 20),
            streams: Rate::new(200, 400),
            direct: Rate::new(2_000, 8_000),
            gossip: Rate::new(4_000, 8_000),
            requests: Rate::new(50, 200),
            control: Rate::new(1, 20),

            direct_size: MIB,
            direct_queue: 4_096,
            direct_queue_size: 16 * MIB,
            gossip_size: MIB,
            verdicts: 2_048,
            verdicts_per_peer: 512,
            verdict: Duration::from_secs(4),
            request_size: 64 << 10,
            answer_size: 8 * MIB,
            answers_size: 64 * MIB,
            serving: 128,
            serving_per_peer: 8,
            request: Duration::from_secs(20),
            stall: Duration::from_secs(10),
            events: 1_024,
            events_size: 64 * MIB,

            penalty: 100.0,
            half_life: Duration::from_secs(300),
            ban: Duration::from_secs(600),
            remembered: 4_096,
        }
    }
}

impl Limits {
    /// What cannot work, in words.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let sizes = [self.direct_size, self.gossip_size, self.request_size, self.answer_size];
        let rates = [self.new_connections, self.bandwidth, self.streams, self.direct, self.gossip, self.requests];
        let counts = [self.per_peer, self.pending, self.direct_queue, self.verdicts, self.serving, self.events];
        if sizes.iter().any(|&size| size == 0 || size > 64 * MIB) {
            return Some("limits: the size of a message is 1 byte to 64 MiB");
        }
        if self.events_size < self.direct_size.max(self.gossip_size).max(self.request_size) {
            return Some("limits: events_size is less than one message");
        }
        if self.events_size > u32::MAX as usize || self.answers_size > u32::MAX as usize {
            return Some("limits: events_size and answers_size are below 4 GiB");
        }
        if self.answers_size < self.answer_size || self.direct_queue_size < self.direct_size {
            return Some("limits: a queue is smaller than one message");
        }
        if rates.iter().any(|rate| rate.per_second == 0 || rate.burst == 0) || counts.contains(&0) {
            return Some("limits: a rate or a count is zero");
        }
        if self.penalty.is_nan() || self.penalty <= 0.0 || self.half_life.is_zero() {
            return Some("limits: penalty and half_life are above zero");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_chain() {
        let chain = Chain { id: 7, genesis: B256::repeat_byte(0xab) };
        assert_eq!(chain.protocol("direct/1").as_ref(), "/jove/7/abababababababab/direct/1");
        let other = Chain { id: 7, genesis: B256::repeat_byte(0xac) };
        assert_ne!(chain.prefix(), other.prefix());
    }

    #[test]
    fn defaults_work_and_nonsense_is_refused() {
        assert_eq!(Limits::default().problem(), None);
        let cases: [fn(&mut Limits); 6] = [
            |limits| limits.direct_size = 0,
            |limits| limits.events_size = 10,
            |limits| limits.answers_size = 1,
            |limits| limits.gossip = Rate::new(0, 1),
            |limits| limits.serving = 0,
            |limits| limits.penalty = f64::NAN,
        ];
        for spoil in cases {
            let mut limits = Limits::default();
            spoil(&mut limits);
            assert!(limits.problem().is_some());
        }
    }
}
