//! Nodes on the loopback interface, for tests.
#![allow(dead_code)]

use alloy_primitives::B256;
use bytes::Bytes;
use jove_network::{Chain, Config, Event, Events, Identity, Limits, Multiaddr, Network, Validator};
use std::time::Duration;
use tokio::time::timeout;

pub(crate) const CHAIN: Chain = Chain { id: 7, genesis: B256::repeat_byte(0xab) };
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Only a hang is as long.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) struct Node {
    pub(crate) network: Network,
    pub(crate) events: Events,
    pub(crate) identity: Identity,
    pub(crate) id: B256,
}

/// Limits that nobody honest hits, however slow the machine is; a test sets what it means to hit.
pub(crate) fn limits() -> Limits {
    let patience = LONG / 2;
    Limits {
        per_source: 1_000,
        new_connections: jove_network::Rate::new(1_000, 1_000),
        handshake: patience,
        identify: patience,
        request: patience,
        stall: patience,
        ..Limits::default()
    }
}

pub(crate) fn id(identity: &Identity) -> B256 {
    alloy_primitives::keccak256(identity.peer().to_bytes())
}

impl Node {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(Identity::generate(), change).await
    }

    pub(crate) async fn start_as(identity: Identity, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(identity.clone(), CHAIN);
        config.listen = vec![TCP.parse().unwrap()];
        config.limits = limits();
        change(&mut config);
        let (network, events) = Network::start(config).await.unwrap();
        Self { id: id(&identity), network, events, identity }
    }

    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        self.network.listen_addresses()
    }

    pub(crate) fn validator(&self) -> Validator {
        Validator { id: self.id, peer: self.network.local_peer(), addresses: self.addresses() }
    }

    pub(crate) async fn next(&mut self) -> Event {
        timeout(LONG, self.events.recv()).await.expect("an event in time").expect("a running network")
    }

    /// The next event that `want` makes something of; others are dropped.
    pub(crate) async fn find<T>(&mut self, mut want: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = want(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn connected(&mut self, ids: &[B256]) {
        let mut missing = ids.to_vec();
        while !missing.is_empty() {
            if let Event::Connected(id) = self.next().await {
                missing.retain(|missing| *missing != id);
            }
        }
    }

    pub(crate) async fn disconnected(&mut self, id: B256) {
        self.find(|event| matches!(event, Event::Disconnected(gone) if gone == id).then_some(())).await;
    }

    pub(crate) async fn direct(&mut self, from: B256) -> Bytes {
        self.find(|event| match event {
            Event::Direct { from: sender, bytes } if sender == from => Some(bytes),
            _ => None,
        })
        .await
    }

    /// The next gossip message, accepted.
    pub(crate) async fn gossip(&mut self) -> Bytes {
        self.find(|event| match event {
            Event::Gossip { bytes, verdict, .. } => {
                verdict.accept();
                Some(bytes)
            }
            _ => None,
        })
        .await
    }
}

/// Makes all of them validators of one set, and waits until each hears each.
pub(crate) async fn join(nodes: &mut [&mut Node]) {
    let validators: Vec<_> = nodes.iter().map(|node| node.validator()).collect();
    for node in nodes.iter() {
        node.network.set_validators(validators.clone()).await.unwrap();
    }
    for node in nodes.iter_mut() {
        let others: Vec<_> = validators.iter().map(|validator| validator.id).filter(|id| *id != node.id).collect();
        node.connected(&others).await;
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waited = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(LONG, waited).await.is_ok(), "never: {what}");
}
