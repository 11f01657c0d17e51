//! Where peers are looked for, and which addresses are believed.
//!
//! Peers are found by Kademlia, `/jove/CHAIN/GENESIS/kad/1`, whose tables hold peers and no records. While a node has fewer than
//! [`Limits::target_peers`](crate::Limits::target_peers), it dials its bootstrap peers and walks to random places of the table, which connects it to peers on the
//! way. The pause between walks doubles while they find nobody, from 1 s to 60 s.
//!
//! A peer says itself where it listens. It is believed for no address that is nearer than the peer is: one on the internet cannot make this
//! node dial into its own local network.

use crate::direct::jitter;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol as Part};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// When to try again: pauses that double.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    at: Instant,
    pause: Duration,
}

impl Backoff {
    pub(crate) fn new(now: Instant) -> Self {
        Self { at: now, pause: FIRST }
    }

    /// Whether it is time; if so, the next time is set.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + jitter(self.pause);
            self.pause = (self.pause * 2).min(LONGEST);
        }
        due
    }

    /// Something changed: the next time is near.
    pub(crate) fn soon(&mut self, now: Instant) {
        self.pause = self.pause.min(FIRST * 4);
        self.at = self.at.min(now + jitter(self.pause));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Loopback,
    Private,
    Global,
}

fn reach(address: &Multiaddr) -> Option<Reach> {
    let ip = address.iter().next().and_then(|part| match part {
        Part::Ip4(ip) => Some(IpAddr::V4(ip)),
        Part::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)),
        _ => None,
    });
    match (ip, address.iter().next()?) {
        (None, Part::Dns(_) | Part::Dns4(_) | Part::Dns6(_)) => Some(Reach::Global),
        (None, _) => None,
        (Some(ip), _) if ip.is_unspecified() || ip.is_multicast() => None,
        (Some(ip), _) if ip.is_loopback() => Some(Reach::Loopback),
        (Some(IpAddr::V4(ip)), _) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            let near = ip.is_private() || ip.is_link_local() || shared;
            (!ip.is_broadcast()).then_some(if near { Reach::Private } else { Reach::Global })
        }
        (Some(IpAddr::V6(ip)), _) => {
            let near = ip.is_unique_local() || ip.is_unicast_link_local();
            Some(if near { Reach::Private } else { Reach::Global })
        }
    }
}

/// Whether a peer connected from `from` is believed that it listens on `address`.
pub(crate) fn reachable(address: &Multiaddr, from: Option<&Multiaddr>) -> bool {
    match (reach(address), from.and_then(reach)) {
        (Some(said), Some(seen)) => said >= seen,
        // a connection by name, or by something else than IP: as from the internet
        (Some(said), None) => said == Reach::Global,
        (None, _) => false,
    }
}

/// The address with `/p2p/PEER` at its end.
pub(crate) fn with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr {
    match address.iter().last() {
        Some(Part::P2p(_)) => address,
        _ => address.with(Part::P2p(peer)),
    }
}

/// The address without `/p2p/PEER` at its end.
pub(crate) fn strip_peer(mut address: Multiaddr) -> Multiaddr {
    if let Some(Part::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// The peer that must answer at an address.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Part::P2p(peer) => Some(peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_believed_about_nearer_addresses() {
        let address = |text: &str| text.parse::<Multiaddr>().unwrap();
        let cases = [
            ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/9", true),
            ("/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/9", false),
            ("/ip4/10.0.0.2/tcp/1", "/ip4/192.168.0.1/tcp/9", true),
            ("/ip4/10.0.0.2/tcp/1", "/ip4/8.8.8.8/tcp/9", false),
            ("/ip4/100.64.0.2/tcp/1", "/ip4/8.8.8.8/tcp/9", false),
            ("/ip6/fd00::1/udp/1/quic-v1", "/ip6/2001:db8::1/udp/1/quic-v1", false),
            ("/ip6/::1/tcp/1", "/ip4/8.8.8.8/tcp/9", false),
            ("/ip6/::ffff:127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/9", false),
            ("/ip4/8.8.4.4/tcp/1", "/ip4/8.8.8.8/tcp/9", true),
            ("/ip4/8.8.4.4/tcp/1", "/ip4/127.0.0.1/tcp/9", true),
            ("/dns4/example.org/tcp/1", "/ip4/8.8.8.8/tcp/9", true),
            ("/ip4/0.0.0.0/tcp/1", "/ip4/127.0.0.1/tcp/9", false),
            ("/ip4/224.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/9", false),
            ("/memory/1", "/ip4/127.0.0.1/tcp/9", false),
        ];
        for (said, from, believed) in cases {
            assert_eq!(reachable(&address(said), Some(&address(from))), believed, "{said} from {from}");
        }
        assert!(!reachable(&address("/ip4/10.0.0.2/tcp/1"), None));
        assert!(!reachable(&Multiaddr::empty(), None));
    }

    #[test]
    fn pauses_double_to_a_minute() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(now);
        let mut tries = 0;
        for _ in 0..3_600 {
            tries += usize::from(backoff.due(now));
            now += Duration::from_secs(1);
        }
        assert!((40..=70).contains(&tries), "{tries}");
        backoff.soon(now);
        assert!(!backoff.due(now) && backoff.due(now + Duration::from_secs(7)));
    }

    #[test]
    fn peers_of_addresses() {
        let peer = PeerId::random();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let full = with_peer(address.clone(), peer);
        assert_eq!(peer_of(&full), Some(peer));
        assert_eq!(with_peer(full.clone(), PeerId::random()), full);
        assert_eq!(strip_peer(full), address);
        assert_eq!(peer_of(&address), None);
    }
}
