//! A peer that keeps no rules, written on libp2p itself.
#![allow(dead_code)]

use crate::common::{CHAIN, TCP, until};
use jove_network::{Identity, Multiaddr, Topic};
use libp2p::{
    PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    futures::StreamExt,
    gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode},
    identify,
    identity::Keypair,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

#[derive(NetworkBehaviour)]
struct Behaviour {
    stream: libp2p_stream::Behaviour,
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
}

pub(crate) struct Hostile {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    pub(crate) control: libp2p_stream::Control,
    publish: mpsc::UnboundedSender<(IdentTopic, Vec<u8>)>,
    dial: mpsc::UnboundedSender<Multiaddr>,
    /// Connections now, and those that ended or failed.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) ended: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn protocol(name: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("{}/{name}", CHAIN.prefix())).unwrap()
}

/// The version that nodes of the chain identify themselves with.
pub(crate) fn version() -> String {
    format!("{}/1", CHAIN.prefix())
}

pub(crate) fn topic(topic: Topic) -> IdentTopic {
    IdentTopic::new(format!("{}/{}/1", CHAIN.prefix(), topic.name()))
}

impl Hostile {
    pub(crate) async fn start(version: &str) -> Self {
        Self::start_as(Keypair::generate_ed25519(), version).await
    }

    pub(crate) async fn start_as(keypair: Keypair, version: &str) -> Self {
        let peer = keypair.public().to_peer_id();
        let identify = identify::Config::new(version.to_owned(), keypair.public());
        let config = gossipsub::ConfigBuilder::default()
            .validation_mode(ValidationMode::Anonymous)
            .message_id_fn(|message| gossipsub::MessageId::new(&message.data))
            .max_transmit_size(64 << 20)
            .heartbeat_interval(Duration::from_millis(100))
            .heartbeat_initial_delay(Duration::from_millis(10))
            .build()
            .unwrap();
        let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).unwrap();
        for name in Topic::ALL {
            gossip.subscribe(&topic(name)).unwrap();
        }
        let stream = libp2p_stream::Behaviour::new();
        let control = stream.new_control();
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Behaviour { stream, identify: identify::Behaviour::new(identify), gossip })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        swarm.listen_on(TCP.parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let (publish, publishing) = mpsc::unbounded_channel();
        let (dial, dialling) = mpsc::unbounded_channel();
        let (open, ended): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let task = tokio::spawn(run(swarm, publishing, dialling, open.clone(), ended.clone()));
        Self { peer, address, control, publish, dial, open, ended, task }
    }

    /// Connects, and waits until the connection is there or refused.
    pub(crate) async fn dial(&self, address: &Multiaddr) -> bool {
        let ended = self.ended.load(Ordering::SeqCst);
        self.dial.send(address.clone()).unwrap();
        until("dialled", || self.open.load(Ordering::SeqCst) > 0 || self.ended.load(Ordering::SeqCst) > ended).await;
        self.open.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn publish(&self, to: Topic, bytes: Vec<u8>) {
        drop(self.publish.send((topic(to), bytes)));
    }

    pub(crate) async fn stream(&self, peer: PeerId, name: StreamProtocol) -> Option<Stream> {
        let mut control = self.control.clone();
        // of two connections one may be closing
        for _ in 0..3 {
            let opening = control.open_stream(peer, name.clone());
            if let Ok(stream) = tokio::time::timeout(Duration::from_secs(20), opening).await.ok()? {
                return Some(stream);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    pub(crate) fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    mut publish: mpsc::UnboundedReceiver<(IdentTopic, Vec<u8>)>,
    mut dial: mpsc::UnboundedReceiver<Multiaddr>,
    open: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
) {
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } => drop(open.fetch_add(1, Ordering::SeqCst)),
                SwarmEvent::ConnectionClosed { .. } => {
                    open.fetch_sub(1, Ordering::SeqCst);
                    ended.fetch_add(1, Ordering::SeqCst);
                }
                SwarmEvent::OutgoingConnectionError { .. } => drop(ended.fetch_add(1, Ordering::SeqCst)),
                _ => {}
            },
            Some((topic, bytes)) = publish.recv() => drop(swarm.behaviour_mut().gossip.publish(topic, bytes)),
            Some(address) = dial.recv() => drop(swarm.dial(address)),
        }
    }
}

/// A keypair that a node can be started with too.
pub(crate) fn identity() -> (Keypair, Identity) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer");
    let identity = Identity::load_or_create(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let bytes = alloy_primitives::hex::decode(text.trim()).unwrap();
    (Keypair::from_protobuf_encoding(&bytes).unwrap(), identity)
}
