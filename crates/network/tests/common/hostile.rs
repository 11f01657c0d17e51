//! A peer that keeps no rules, written on libp2p itself.
#![allow(dead_code)]

use crate::common::{CHAIN, LONG, TCP, until};
use jove_network::{Identity, Multiaddr, Topic};
use libp2p::{
    PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    futures::StreamExt,
    gossipsub::{self, IdentTopic, MessageAuthenticity, PublishError, ValidationMode},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use libp2p_stream::OpenStreamError;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
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
    connections: Connections,
    task: tokio::task::JoinHandle<()>,
}

/// By peer: connections now, and those that ended or failed.
type Connections = Arc<Mutex<HashMap<PeerId, (usize, usize)>>>;

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
        let connections = Connections::default();
        let task = tokio::spawn(run(swarm, publishing, dialling, connections.clone()));
        Self { peer, address, control, publish, dial, connections, task }
    }

    /// Connections with a peer now, and those that ended or failed.
    fn with(&self, peer: PeerId) -> (usize, usize) {
        self.connections.lock().get(&peer).copied().unwrap_or_default()
    }

    /// Connects, and waits until a connection with that peer is there, or one was refused.
    pub(crate) async fn dial(&self, address: &Multiaddr) -> bool {
        let Some(Protocol::P2p(peer)) = address.iter().last() else { panic!("{address} names no peer") };
        let (_, ended) = self.with(peer);
        self.dial.send(address.clone()).unwrap();
        until("dialled", || self.with(peer).0 > 0 || self.with(peer).1 > ended).await;
        self.with(peer).0 > 0
    }

    /// Publishes, as soon as somebody has subscribed.
    pub(crate) fn publish(&self, to: Topic, bytes: Vec<u8>) {
        drop(self.publish.send((topic(to), bytes)));
    }

    /// A stream; none if the peer does not speak the protocol, or is connected no more.
    pub(crate) async fn stream(&self, peer: PeerId, name: StreamProtocol) -> Option<Stream> {
        let mut control = self.control.clone();
        let opening = async {
            while self.with(peer).0 > 0 {
                match control.open_stream(peer, name.clone()).await {
                    Ok(stream) => return Some(stream),
                    Err(OpenStreamError::UnsupportedProtocol(_)) => return None,
                    // of two connections one may be closing
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            None
        };
        tokio::time::timeout(LONG, opening).await.ok()?
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().values().map(|(open, _)| open).sum()
    }
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    mut publish: mpsc::UnboundedReceiver<(IdentTopic, Vec<u8>)>,
    mut dial: mpsc::UnboundedReceiver<Multiaddr>,
    connections: Connections,
) {
    let mut waiting: VecDeque<(IdentTopic, Vec<u8>)> = VecDeque::new();
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    connections.lock().entry(peer_id).or_default().0 += 1;
                }
                SwarmEvent::ConnectionClosed { peer_id, .. } => {
                    let mut connections = connections.lock();
                    let (open, ended) = connections.entry(peer_id).or_default();
                    *open -= 1;
                    *ended += 1;
                }
                SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), .. } => {
                    connections.lock().entry(peer).or_default().1 += 1;
                }
                _ => {}
            },
            Some(message) = publish.recv() => waiting.push_back(message),
            Some(address) = dial.recv() => drop(swarm.dial(address)),
        }
        while let Some((topic, bytes)) = waiting.front() {
            let published = swarm.behaviour_mut().gossip.publish(topic.clone(), bytes.clone());
            if matches!(published, Err(PublishError::NoPeersSubscribedToTopic)) {
                break;
            }
            waiting.pop_front();
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
