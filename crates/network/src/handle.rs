//! The host's handle.

use crate::{
    Config, Error, Events, Limits, Offence, PeerInfo, Stats, Topic, Validator,
    counters::Counters,
    direct::{self, Outbox},
    discovery::{peer_of, strip_peer},
    events::Delivery,
    exchange::{self, Server},
    node::{Command, Node, Shared},
    peers::Peers,
    streams::Protocol,
};
use alloy_primitives::B256;
use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// Whom a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// This peer.
    Peer(PeerId),
    /// This validator.
    Validator(B256),
    /// The connected peer that promises most: few open questions, low penalty, quick answers so far.
    Any,
}

/// A running node of the network; clones are handles to the same. It stops when the last is dropped.
#[derive(Clone)]
pub struct Network {
    local: PeerId,
    commands: mpsc::Sender<Command>,
    peers: Arc<Mutex<Peers>>,
    counters: Arc<Counters>,
    delivery: Delivery,
    limits: Arc<Limits>,
    outboxes: Arc<RwLock<HashMap<B256, Arc<Outbox>>>>,
    addresses: Arc<RwLock<Vec<Multiaddr>>>,
}

impl Network {
    /// Starts a node: when this returns it listens. Needs tokio's runtime.
    ///
    /// # Errors
    /// What in the configuration does not work: [`Error::Config`], [`Error::BootstrapWithoutPeer`], [`Error::Lists`], [`Error::File`],
    /// [`Error::Listen`], [`Error::Transport`].
    pub async fn start(config: Config) -> Result<(Self, Events), Error> {
        if let Some(problem) = config.limits.problem() {
            return Err(Error::Config(problem.to_owned()));
        }
        let local = config.identity.peer();
        let mut bootstrap = vec![];
        for address in &config.bootstrap {
            let peer = peer_of(address).ok_or_else(|| Error::BootstrapWithoutPeer(address.clone()))?;
            // a list that is the same for all nodes may name this one
            if peer != local {
                bootstrap.push((peer, strip_peer(address.clone())));
            }
        }
        let counters = Arc::new(Counters::new());
        let known = bootstrap.iter().map(|(peer, _)| *peer).collect();
        let peers = Arc::new(Mutex::new(Peers::new(&config, known, counters.clone())?));
        let limits = Arc::new(config.limits.clone());
        let (delivery, events) = Delivery::new(limits.events, limits.events_size);
        let (commands, receiver) = mpsc::channel(256);
        let network = Self {
            local,
            commands,
            peers: peers.clone(),
            counters: counters.clone(),
            delivery: delivery.clone(),
            limits: limits.clone(),
            outboxes: Arc::default(),
            addresses: Arc::default(),
        };
        let server = Server {
            peers: peers.clone(),
            counters: counters.clone(),
            delivery: delivery.clone(),
            limits: limits.clone(),
            places: Arc::new(Semaphore::new(limits.serving)),
            answers: Arc::new(Semaphore::new(limits.answers_size)),
        };
        let shared = Shared {
            direct: direct::Shared { peers, counters, delivery, limits, open: Arc::default() },
            outboxes: network.outboxes.clone(),
            addresses: network.addresses.clone(),
        };
        let node = Node::new(config, shared, bootstrap, server, receiver, network.commands.downgrade()).await?;
        tokio::spawn(node.run());
        Ok((network, events))
    }

    /// This node's peer id.
    pub fn local_peer(&self) -> PeerId {
        self.local
    }

    /// Where others reach this node, each address with `/p2p/PEER`: the external addresses if some were given, else those listened on.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.addresses.read().clone()
    }

    /// Says who the validators are, this node among them or not. If it is, direct streams to all others are opened, kept open, and
    /// redialled; streams of those who left are closed.
    ///
    /// # Errors
    /// [`Error::Config`] if two have one id or one peer: nothing changed. [`Error::Stopped`].
    pub async fn set_validators(&self, validators: Vec<Validator>) -> Result<(), Error> {
        let ids: HashSet<_> = validators.iter().map(|validator| validator.id).collect();
        let peers: HashSet<_> = validators.iter().map(|validator| validator.peer).collect();
        if ids.len() < validators.len() || peers.len() < validators.len() {
            return Err(Error::Config("two validators have one id or one peer".to_owned()));
        }
        let (reply, done) = oneshot::channel();
        self.command(Command::SetValidators { validators, reply }).await?;
        done.await.map_err(|_| Error::Stopped)
    }

    /// Queues a message for a validator. While it does not read, the oldest of its messages are dropped.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::UnknownValidator`].
    pub fn send(&self, to: B256, bytes: Bytes) -> Result<(), Error> {
        self.check_direct(&bytes)?;
        let outboxes = self.outboxes.read();
        let outbox = outboxes.get(&to).ok_or(Error::UnknownValidator(to))?;
        self.counters.direct_dropped.add(outbox.push(bytes, &self.limits));
        Ok(())
    }

    /// Queues a message for every other validator.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn broadcast(&self, bytes: Bytes) -> Result<(), Error> {
        self.check_direct(&bytes)?;
        for outbox in self.outboxes.read().values() {
            self.counters.direct_dropped.add(outbox.push(bytes.clone(), &self.limits));
        }
        Ok(())
    }

    fn check_direct(&self, bytes: &Bytes) -> Result<(), Error> {
        let max = self.limits.direct_size;
        if bytes.len() > max { Err(Error::TooLarge { size: bytes.len(), max }) } else { Ok(()) }
    }

    /// Gossips a message.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Duplicate`], [`Error::NoSubscriber`], [`Error::Congested`], [`Error::Stopped`].
    pub async fn publish(&self, topic: Topic, bytes: Bytes) -> Result<(), Error> {
        let max = self.limits.gossip_size;
        if bytes.len() > max {
            return Err(Error::TooLarge { size: bytes.len(), max });
        }
        let (reply, done) = oneshot::channel();
        self.command(Command::Publish { topic, bytes, reply }).await?;
        done.await.map_err(|_| Error::Stopped)?
    }

    /// Asks, and waits for the answer: who gave it, and its bytes, at most [`Limits::answer_size`]. May be dropped at any time.
    ///
    /// # Errors
    /// [`Error::NoPeer`], [`Error::UnknownValidator`], [`Error::NotConnected`], [`Error::TooLarge`], [`Error::Timeout`], [`Error::Refused`],
    /// [`Error::Busy`], [`Error::Unsupported`], [`Error::Connection`], [`Error::Stopped`].
    pub async fn request(&self, to: To, bytes: Bytes) -> Result<(PeerId, Bytes), Error> {
        let max = self.limits.request_size;
        if bytes.len() > max {
            return Err(Error::TooLarge { size: bytes.len(), max });
        }
        let peer = match to {
            To::Peer(peer) => peer,
            To::Validator(id) => self.peers.lock().peer(&id).ok_or(Error::UnknownValidator(id))?,
            To::Any => self.peers.lock().best(Instant::now()).ok_or(Error::NoPeer)?,
        };
        let mut asking = Asking::new(self, peer);
        let exchange = async {
            let (reply, stream) = oneshot::channel();
            self.command(Command::Open { peer, protocol: Protocol::Request, reply }).await?;
            let stream = stream.await.map_err(|_| Error::NotConnected(peer))??;
            exchange::ask(stream, &bytes, &self.limits).await
        };
        let answer = timeout(self.limits.request, exchange).await.unwrap_or(Err(Error::Timeout));
        match &answer {
            Ok(_) => asking.answered(),
            Err(Error::Timeout | Error::Connection(_)) => self.report(peer, Offence::Useless),
            Err(Error::TooLarge { .. }) => self.report(peer, Offence::Malformed),
            Err(_) => {}
        }
        answer.map(|bytes| (peer, bytes))
    }

    /// The host found something wrong with what a peer sent: its penalty grows; at the limit it is disconnected and banned for a while.
    pub fn report(&self, peer: PeerId, offence: Offence) {
        self.peers.lock().report(&peer, offence, Instant::now());
    }

    /// Always lets the peer in, ends its ban, and keeps that in the file of lists.
    ///
    /// # Errors
    /// [`Error::File`]: nothing changed. [`Error::TooLarge`]: the lists are full.
    pub fn allow(&self, peer: PeerId) -> Result<(), Error> {
        self.peers.lock().list(peer, Some(true))
    }

    /// Disconnects the peer, never lets it in again, and keeps that in the file of lists.
    ///
    /// # Errors
    /// As [`allow`](Self::allow).
    pub fn deny(&self, peer: PeerId) -> Result<(), Error> {
        self.peers.lock().list(peer, Some(false))
    }

    /// Takes the peer off both lists, except as far as the configuration names it.
    ///
    /// # Errors
    /// As [`allow`](Self::allow).
    pub fn unlist(&self, peer: PeerId) -> Result<(), Error> {
        self.peers.lock().list(peer, None)
    }

    /// The allowed and the denied peers.
    pub fn lists(&self) -> (Vec<PeerId>, Vec<PeerId>) {
        self.peers.lock().lists()
    }

    /// The connected peers, by id.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.peers.lock().infos(Instant::now())
    }

    /// Counters since the start, and what is held now. The same numbers are metrics.
    pub fn stats(&self) -> Stats {
        self.peers.lock().gauges(Instant::now());
        self.counters.queued.set(self.outboxes.read().values().map(|outbox| outbox.len()).sum());
        self.counters.undelivered.set(self.delivery.undelivered());
        self.counters.stats()
    }

    async fn command(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::Stopped)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("local", &self.local).finish_non_exhaustive()
    }
}

/// An open question; closed in the peer's record also when nobody waits for the answer any more.
struct Asking<'a> {
    network: &'a Network,
    peer: PeerId,
    began: Instant,
    answered: bool,
}

impl<'a> Asking<'a> {
    fn new(network: &'a Network, peer: PeerId) -> Self {
        network.peers.lock().asking(&peer);
        Self { network, peer, began: Instant::now(), answered: false }
    }

    fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let counters = &self.network.counters;
        let counter = if self.answered { &counters.requests_answered } else { &counters.requests_unanswered };
        counter.one();
        self.network.peers.lock().asked(&self.peer, self.answered.then(|| self.began.elapsed()));
    }
}
