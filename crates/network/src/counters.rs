//! What happened, counted: for [`Network::stats`](crate::Network::stats) and for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that is a metric too.
pub(crate) struct Counter {
    value: AtomicU64,
    metric: metrics::Counter,
}

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.value.fetch_add(amount, Ordering::Relaxed);
        self.metric.increment(amount);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }
}

/// A number of now that is a metric too.
pub(crate) struct Gauge {
    value: AtomicU64,
    metric: metrics::Gauge,
}

impl Gauge {
    pub(crate) fn set(&self, value: usize) {
        self.value.store(value as u64, Ordering::Relaxed);
        self.metric.set(value as f64);
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $kind:ident = $metric:literal $make:ident,)*) => {
        /// What the network has done and holds since its start; the metric's name is in parentheses.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* #[doc = concat!("(`", $metric, "`)")] pub $name: u64,)*
        }

        /// The live numbers behind [`Stats`].
        pub(crate) struct Counters {
            $(pub(crate) $name: $kind,)*
        }

        impl Counters {
            pub(crate) fn new() -> Self {
                Self { $($name: $kind { value: AtomicU64::new(0), metric: metrics::$make!($metric) },)* }
            }

            pub(crate) fn stats(&self) -> Stats {
                Stats { $($name: self.$name.value.load(Ordering::Relaxed),)* }
            }
        }
    };
}

numbers! {
    /// Peers connected.
    peers: Gauge = "jove_network_peers" gauge,
    /// Validators whose direct stream takes our messages.
    validators: Gauge = "jove_network_validators" gauge,
    /// Peers banned now.
    banned: Gauge = "jove_network_banned" gauge,
    /// Peers in the mesh of the topic that has the fewest.
    mesh: Gauge = "jove_network_mesh_peers" gauge,
    /// Direct messages waiting to be sent.
    queued: Gauge = "jove_network_direct_queued" gauge,
    /// Gossip messages waiting for the host's verdict.
    verdicts: Gauge = "jove_network_verdicts_pending" gauge,
    /// Events waiting for the host, in bytes of their messages.
    undelivered: Gauge = "jove_network_events_bytes" gauge,
    /// Peers remembered, connected or not.
    remembered: Gauge = "jove_network_peers_remembered" gauge,
    /// Connections let in or made.
    connections: Counter = "jove_network_connections_total" counter,
    /// Connections refused by a limit or a list.
    refused: Counter = "jove_network_connections_refused_total" counter,
    /// Peers dialled in vain.
    dials_failed: Counter = "jove_network_dials_failed_total" counter,
    /// Peers dropped that belong to another chain.
    foreign: Counter = "jove_network_peers_foreign_total" counter,
    /// Peers dropped that did not identify themselves.
    unidentified: Counter = "jove_network_peers_unidentified_total" counter,
    /// Bans.
    bans: Counter = "jove_network_bans_total" counter,
    /// Direct messages sent.
    direct_sent: Counter = "jove_network_direct_sent_total" counter,
    /// Direct messages received.
    direct_received: Counter = "jove_network_direct_received_total" counter,
    /// Direct messages dropped because their validator did not read.
    direct_dropped: Counter = "jove_network_direct_dropped_total" counter,
    /// Direct streams refused: not of a validator.
    direct_refused: Counter = "jove_network_direct_refused_total" counter,
    /// Direct streams closed for what came over them.
    direct_malformed: Counter = "jove_network_direct_malformed_total" counter,
    /// Gossip messages received and handed to the host.
    gossip_received: Counter = "jove_network_gossip_received_total" counter,
    /// Gossip messages published.
    gossip_published: Counter = "jove_network_gossip_published_total" counter,
    /// Gossip messages accepted by the host and forwarded.
    gossip_accepted: Counter = "jove_network_gossip_accepted_total" counter,
    /// Gossip messages rejected by the host.
    gossip_rejected: Counter = "jove_network_gossip_rejected_total" counter,
    /// Gossip messages ignored because their peer sent too many.
    gossip_throttled: Counter = "jove_network_gossip_throttled_total" counter,
    /// Gossip messages ignored because the host has no room for more.
    gossip_overflow: Counter = "jove_network_gossip_overflow_total" counter,
    /// Gossip messages that the host gave no verdict on in time.
    gossip_late: Counter = "jove_network_gossip_late_total" counter,
    /// Requests served.
    requests_served: Counter = "jove_network_requests_served_total" counter,
    /// Requests reset: too many of a peer, or in all.
    requests_throttled: Counter = "jove_network_requests_throttled_total" counter,
    /// Requests given up: malformed, too slow, or not answered.
    requests_failed: Counter = "jove_network_requests_failed_total" counter,
    /// Requests made and answered.
    requests_answered: Counter = "jove_network_requests_answered_total" counter,
    /// Requests made in vain.
    requests_unanswered: Counter = "jove_network_requests_unanswered_total" counter,
    /// Identifications ignored: too many of a peer.
    control_throttled: Counter = "jove_network_control_throttled_total" counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let counters = Counters::new();
        counters.bans.one();
        counters.bans.add(2);
        counters.peers.set(5);
        assert_eq!(counters.stats(), Stats { bans: 3, peers: 5, ..Stats::default() });
    }
}
