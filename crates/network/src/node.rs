//! The swarm's task: it alone drives connections, gossip and discovery; streams have tasks of their own.

use crate::{
    Config, Error, Event, Topic, Validator,
    counters::Counters,
    direct::{self, Outbox},
    discovery::{Backoff, reachable, strip_peer, with_peer},
    events::Delivery,
    exchange::Server,
    gate::Gate,
    gossip::{self, Given, Gossip, Verdict},
    peers::{Offence, Peers, Spending},
    streams::{Names, Opened, Protocol, Reply, Streams},
    transport,
};
use alloy_primitives::B256;
use bytes::Bytes;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    futures::StreamExt,
    gossipsub::{self, MessageAcceptance, MessageId, PublishError, TopicHash},
    identify, kad, ping,
    swarm::{
        DialError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

const TICK: Duration = Duration::from_millis(500);
/// How long an idle connection is kept: gossip and discovery reuse it.
const IDLE: Duration = Duration::from_secs(300);
/// How much of a penalty counts in gossip's score: so little that a peer is heard until it is banned, whenever that is counted.
const SCORED: f64 = 0.3;
/// Addresses of a peer that are believed and kept.
const MAX_ADDRESSES: usize = 8;

/// What handles and tasks ask of the swarm's task.
pub(crate) enum Command {
    /// A stream to a peer that is connected; a validator that is not is dialled, for the next time.
    Open { peer: PeerId, protocol: Protocol, reply: Reply },
    /// Gossip.
    Publish { topic: Topic, bytes: Bytes, reply: oneshot::Sender<Result<(), Error>> },
    /// Who is who.
    SetValidators { validators: Vec<Validator>, reply: oneshot::Sender<()> },
}

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    gate: Gate,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    gossip: Gossip,
    streams: Streams,
}

/// A validator that this node sends to.
struct Seat {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    outbox: Arc<Outbox>,
    task: AbortHandle,
    /// When others may be asked where it is.
    lookup: Backoff,
}

/// A gossip message that waits for its verdict.
struct Pending {
    id: MessageId,
    from: PeerId,
    until: Instant,
}

/// What the handle shares with the task.
pub(crate) struct Shared {
    pub(crate) direct: direct::Shared,
    pub(crate) outboxes: Arc<RwLock<HashMap<B256, Arc<Outbox>>>>,
    pub(crate) addresses: Arc<RwLock<Vec<Multiaddr>>>,
}

pub(crate) struct Node {
    swarm: Swarm<Behaviour>,
    peers: Arc<Mutex<Peers>>,
    counters: Arc<Counters>,
    delivery: Delivery,
    server: Server,
    direct: direct::Shared,
    outboxes: Arc<RwLock<HashMap<B256, Arc<Outbox>>>>,
    addresses: Arc<RwLock<Vec<Multiaddr>>>,
    config: Arc<Config>,
    version: String,
    kad_name: String,
    topics: HashMap<TopicHash, Topic>,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::WeakSender<Command>,
    verdicts: (mpsc::Sender<Given>, mpsc::Receiver<Given>),
    pending: HashMap<u64, Pending>,
    next_verdict: u64,
    seats: HashMap<B256, Seat>,
    readers: HashMap<PeerId, AbortHandle>,
    tasks: JoinSet<()>,
    bootstrap: Vec<(PeerId, Multiaddr)>,
    backoff: HashMap<PeerId, Backoff>,
    lookup: Backoff,
    found: usize,
}

impl Node {
    /// A node that listens; [`run`](Self::run) it.
    pub(crate) async fn new(
        config: Config,
        shared: Shared,
        bootstrap: Vec<(PeerId, Multiaddr)>,
        server: Server,
        commands: mpsc::Receiver<Command>,
        sender: mpsc::WeakSender<Command>,
    ) -> Result<Self, Error> {
        let limits = &config.limits;
        let local = config.identity.peer();
        let direct = shared.direct;
        let version = format!("{}/1", config.chain.prefix());
        let kad_protocol = config.chain.protocol("kad/1");
        let kad_name = kad_protocol.as_ref().to_owned();
        let kad = {
            let mut kad_config = kad::Config::new(kad_protocol);
            kad_config
                // peers only: nobody's records are kept
                .set_record_filtering(kad::StoreInserts::FilterBoth)
                .set_caching(kad::Caching::Disabled)
                .set_kbucket_inserts(kad::BucketInserts::Manual)
                .set_query_timeout(Duration::from_secs(20));
            let mut kad = kad::Behaviour::with_config(local, kad::store::MemoryStore::new(local), kad_config);
            kad.set_mode(Some(kad::Mode::Server));
            kad
        };
        let identify = identify::Behaviour::new(
            identify::Config::new(version.clone(), config.identity.keypair().public())
                .with_agent_version(concat!("jove/", env!("CARGO_PKG_VERSION")).to_owned())
                .with_push_listen_addr_updates(true)
                .with_hide_listen_addrs(!config.external.is_empty()),
        );
        let subscribed = if config.topics.is_empty() { Topic::ALL.to_vec() } else { config.topics.clone() };
        let (gossip, topics) = gossip::build(&config.chain, &subscribed, limits)?;
        let names = Names { direct: config.chain.protocol("direct/1"), request: config.chain.protocol("request/1") };
        let refused = direct.counters.clone();
        let behaviour = Behaviour {
            gate: Gate::new(direct.peers.clone(), move || refused.refused.one()),
            identify,
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(15))),
            kad,
            gossip,
            streams: Streams::new(names),
        };
        let swarm_config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE)
            .with_max_negotiating_inbound_streams(32);
        let mut swarm = Swarm::new(transport::build(&config.identity, limits)?, behaviour, local, swarm_config);
        listen(&mut swarm, &config.listen).await?;
        for address in &config.external {
            swarm.add_external_address(address.clone());
        }
        let verdicts = mpsc::channel(limits.verdicts);
        let node = Self {
            peers: direct.peers.clone(),
            counters: direct.counters.clone(),
            delivery: direct.delivery.clone(),
            server,
            direct,
            outboxes: shared.outboxes,
            addresses: shared.addresses,
            config: Arc::new(config),
            version,
            kad_name,
            topics,
            commands,
            sender,
            verdicts,
            pending: HashMap::new(),
            next_verdict: 0,
            seats: HashMap::new(),
            readers: HashMap::new(),
            tasks: JoinSet::new(),
            bootstrap,
            backoff: HashMap::new(),
            lookup: Backoff::new(Instant::now()),
            found: 0,
            swarm,
        };
        node.note_addresses();
        Ok(node)
    }

    /// Runs until every handle is dropped.
    pub(crate) async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some((key, acceptance)) = self.verdicts.1.recv() => self.on_verdict(key, acceptance),
                _ = tick.tick() => self.on_tick(Instant::now()),
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
    }

    fn note_addresses(&self) {
        let external = &self.config.external;
        let local = *self.swarm.local_peer_id();
        let known: Vec<_> =
            if external.is_empty() { self.swarm.listeners().collect() } else { external.iter().collect() };
        *self.addresses.write() = known.into_iter().map(|address| with_peer(address.clone(), local)).collect();
    }

    // --- what handles ask ---

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Open { peer, protocol, reply } => {
                if self.swarm.is_connected(&peer) {
                    self.swarm.behaviour_mut().streams.open(peer, protocol, reply);
                } else {
                    drop(reply.send(Err(Error::NotConnected(peer))));
                    if protocol == Protocol::Direct {
                        self.dial_validator(peer);
                    }
                }
            }
            Command::Publish { topic, bytes, reply } => {
                let topic = topic.ident(&self.config.chain);
                let published = match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
                    Ok(_) => {
                        self.counters.gossip_published.one();
                        Ok(())
                    }
                    Err(PublishError::Duplicate) => Err(Error::Duplicate),
                    Err(PublishError::NoPeersSubscribedToTopic) => Err(Error::NoSubscriber),
                    Err(PublishError::AllQueuesFull(_)) => Err(Error::Congested),
                    Err(error) => Err(Error::Transport(error.to_string())),
                };
                drop(reply.send(published));
            }
            Command::SetValidators { validators, reply } => {
                self.set_validators(validators);
                let _ = reply.send(());
            }
        }
    }

    fn set_validators(&mut self, validators: Vec<Validator>) {
        let local = *self.swarm.local_peer_id();
        let ours = validators.iter().any(|validator| validator.peer == local);
        self.peers.lock().set_validators(validators.iter().map(|v| (v.peer, v.id)).collect());

        let members: HashMap<PeerId, B256> = validators.iter().map(|v| (v.peer, v.id)).collect();
        self.readers.retain(|peer, reader| {
            let stays = ours && members.contains_key(peer);
            if !stays {
                reader.abort();
            }
            stays
        });
        // only validators have direct streams: others would be refused
        let wanted: HashMap<B256, Validator> =
            validators.into_iter().filter(|v| ours && v.peer != local).map(|v| (v.id, v)).collect();
        self.seats.retain(|id, seat| {
            let stays = wanted.get(id).is_some_and(|validator| validator.peer == seat.peer);
            if !stays {
                seat.task.abort();
            }
            stays
        });
        for (id, validator) in wanted {
            match self.seats.entry(id) {
                Entry::Occupied(mut seat) => {
                    seat.get_mut().addresses = validator.addresses;
                    seat.get().outbox.wake.notify_one();
                }
                Entry::Vacant(seat) => {
                    let outbox = Arc::new(Outbox::new());
                    let keep =
                        direct::keep(self.direct.clone(), id, validator.peer, outbox.clone(), self.sender.clone());
                    seat.insert(Seat {
                        peer: validator.peer,
                        addresses: validator.addresses,
                        outbox,
                        task: self.tasks.spawn(keep),
                        lookup: Backoff::new(Instant::now()),
                    });
                }
            }
        }
        *self.outboxes.write() = self.seats.iter().map(|(id, seat)| (*id, seat.outbox.clone())).collect();
    }

    fn dial_validator(&mut self, peer: PeerId) {
        let Some(seat) = self.seats.values().find(|seat| seat.peer == peer) else { return };
        let addresses = seat.addresses.clone();
        if let Err(DialError::NoAddresses) = self.dial(peer, addresses) {
            self.look_for(peer);
        }
    }

    /// Asks others where a validator is, with pauses: a search dials whom it hears of, and each dial that fails comes back here.
    fn look_for(&mut self, peer: PeerId) {
        let seat = self.seats.values_mut().find(|seat| seat.peer == peer);
        if seat.is_some_and(|seat| seat.lookup.due(Instant::now())) {
            self.swarm.behaviour_mut().kad.get_closest_peers(peer);
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), DialError> {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        self.swarm.dial(options)
    }

    // --- what the swarm says ---

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(opened)) => self.on_stream(opened),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.on_identify(peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, result: Ok(latency), .. })) => {
                self.peers.lock().latency(&peer, latency);
            }
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                if let Some(seat) = self.seats.values_mut().find(|seat| seat.peer == peer_id) {
                    seat.lookup = Backoff::new(Instant::now());
                    seat.outbox.wake.notify_one();
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "disconnected");
                self.lookup.soon(Instant::now());
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                tracing::debug!(%peer, %error, "dial failed");
                self.counters.dials_failed.one();
                if let DialError::WrongPeerId { obtained, address } = error {
                    tracing::warn!(want = %peer, got = %obtained, %address, "another peer answers there");
                    self.swarm.behaviour_mut().kad.remove_address(&peer, &strip_peer(address));
                }
                // it may have moved
                self.look_for(peer);
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => self.note_addresses(),
            SwarmEvent::ListenerClosed { reason: Err(error), addresses, .. } => {
                tracing::error!(%error, ?addresses, "no longer listening");
                self.note_addresses();
            }
            _ => {}
        }
    }

    fn on_stream(&mut self, Opened { peer, protocol, stream }: Opened) {
        let now = Instant::now();
        match protocol {
            Protocol::Direct => {
                let Some(from) = self.peers.lock().validator(&peer).filter(|_| !self.seats.is_empty()) else {
                    self.counters.direct_refused.one();
                    return;
                };
                let reader = self.tasks.spawn(direct::receive(self.direct.clone(), from, peer, stream));
                if let Some(old) = self.readers.insert(peer, reader) {
                    old.abort();
                }
                // who sends to us takes messages too, most likely
                if let Some(seat) = self.seats.get(&from) {
                    seat.outbox.wake.notify_one();
                }
            }
            Protocol::Request => {
                let allowed = self.peers.lock().spend(&peer, Spending::Request, now);
                match self.server.place(peer).filter(|_| allowed) {
                    Some(place) => drop(self.tasks.spawn(self.server.clone().serve(place, stream))),
                    None => self.counters.requests_throttled.one(),
                }
            }
        }
    }

    fn on_identify(&mut self, peer: PeerId, info: identify::Info) {
        let now = Instant::now();
        let from = {
            let mut peers = self.peers.lock();
            if !peers.spend(&peer, Spending::Control, now) {
                self.counters.control_throttled.one();
                return;
            }
            if info.protocol_version != self.version {
                tracing::info!(%peer, theirs = %info.protocol_version.escape_default(), "a peer of another chain");
                let same_id = info.protocol_version.starts_with(&format!("/jove/{}/", self.config.chain.id));
                peers.foreign(&peer, same_id, now);
                return;
            }
            peers.identified(&peer, &info.agent_version);
            peers.address(&peer)
        };
        self.backoff.remove(&peer);
        if !info.protocols.iter().any(|protocol| protocol.as_ref() == self.kad_name) {
            return;
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        // what it said before is void, or its addresses would pile up
        kad.remove_peer(&peer);
        let addresses = info.listen_addrs.into_iter().filter(|address| reachable(address, from.as_ref()));
        for address in addresses.take(MAX_ADDRESSES) {
            kad.add_address(&peer, address);
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: from, message_id: id, message } = event else { return };
        let now = Instant::now();
        let refused = match self.topics.get(&message.topic) {
            None => Some(&self.counters.gossip_throttled),
            Some(_) if !self.peers.lock().spend(&from, Spending::Gossip, now) => Some(&self.counters.gossip_throttled),
            Some(_) if self.pending.len() >= self.config.limits.verdicts => Some(&self.counters.gossip_overflow),
            Some(_) if !self.peers.lock().hold_gossip(&from) => Some(&self.counters.gossip_throttled),
            Some(&topic) => {
                let key = self.next_verdict;
                self.next_verdict += 1;
                let verdict = Verdict::new(key, self.verdicts.0.clone());
                let bytes = Bytes::from(message.data);
                let size = bytes.len();
                // in before it is sent: the verdict may be as fast as this task
                let until = now + self.config.limits.verdict;
                self.pending.insert(key, Pending { id: id.clone(), from, until });
                if self.delivery.try_send(Event::Gossip { topic, from, bytes, verdict }, size) {
                    self.counters.gossip_received.one();
                    return;
                }
                // the verdict that was dropped just now finds nothing
                self.pending.remove(&key);
                self.peers.lock().release_gossip(&from);
                Some(&self.counters.gossip_overflow)
            }
        };
        if let Some(counter) = refused {
            counter.one();
            self.swarm.behaviour_mut().gossip.report_message_validation_result(&id, &from, MessageAcceptance::Ignore);
        }
    }

    fn on_verdict(&mut self, key: u64, acceptance: MessageAcceptance) {
        let Some(Pending { id, from, .. }) = self.pending.remove(&key) else { return };
        {
            let mut peers = self.peers.lock();
            peers.release_gossip(&from);
            match acceptance {
                MessageAcceptance::Accept => self.counters.gossip_accepted.one(),
                MessageAcceptance::Reject => {
                    self.counters.gossip_rejected.one();
                    peers.report(&from, Offence::Invalid, Instant::now());
                }
                MessageAcceptance::Ignore => {}
            }
        }
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&id, &from, acceptance);
    }

    // --- twice a second ---

    fn on_tick(&mut self, now: Instant) {
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.until <= now).map(|(key, _)| *key).collect();
        for key in late {
            self.counters.gossip_late.one();
            self.on_verdict(key, MessageAcceptance::Ignore);
        }
        self.readers.retain(|_, reader| !reader.is_finished());
        self.score(now);
        let connected = {
            let mut peers = self.peers.lock();
            peers.tick(now);
            peers.connected_peers()
        };
        self.seek_peers(connected, now);

        let gossip = &self.swarm.behaviour().gossip;
        let mesh = gossip.topics().map(|topic| gossip.mesh_peers(topic).count()).min().unwrap_or(0);
        self.counters.mesh.set(mesh);
        self.counters.verdicts.set(self.pending.len());
        self.counters.validators.set(self.direct.open.load(Ordering::Relaxed));
    }

    /// Penalties count in gossip's scores; a gossip score at the bottom, without them, is an offence.
    fn score(&mut self, now: Instant) {
        let infos = self.peers.lock().infos(now);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let mut worst = vec![];
        for info in infos {
            let counted = SCORED * info.penalty;
            gossip.set_application_score(&info.peer, -counted);
            if gossip.peer_score(&info.peer).is_some_and(|score| score + counted < gossip::GRAYLIST) {
                worst.push(info.peer);
            }
        }
        let mut peers = self.peers.lock();
        worst.iter().for_each(|peer| peers.report(peer, Offence::Invalid, now));
    }

    /// Dials bootstrap peers and looks for others while there are too few.
    fn seek_peers(&mut self, connected: usize, now: Instant) {
        if connected < self.found {
            self.lookup.soon(now);
        } else if connected > self.found {
            self.lookup = Backoff::new(now);
        }
        self.found = connected;
        if connected >= self.config.limits.target_peers {
            return;
        }
        let missing: HashSet<PeerId> = {
            let peers = self.peers.lock();
            let wanted = self.bootstrap.iter().map(|(peer, _)| *peer);
            wanted.filter(|peer| !peers.is_connected(peer) && peers.refused(peer, now).is_none()).collect()
        };
        for peer in missing {
            if self.backoff.entry(peer).or_insert_with(|| Backoff::new(now)).due(now) {
                let addresses = self.bootstrap.iter().filter(|(p, _)| *p == peer).map(|(_, a)| a.clone()).collect();
                drop(self.dial(peer, addresses));
            }
        }
        if connected > 0 && self.peers.lock().outbound_room() && self.lookup.due(now) {
            // a walk to a random place of the table: the peers on the way are dialled
            self.swarm.behaviour_mut().kad.get_closest_peers(PeerId::random());
        }
    }
}

/// Listens, and waits until each address is bound.
async fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<(), Error> {
    let mut waiting = HashMap::new();
    for address in addresses {
        let failed = |reason: String| Error::Listen { address: address.clone(), reason };
        let listener = swarm.listen_on(address.clone()).map_err(|error| failed(error.to_string()))?;
        waiting.insert(listener, address.clone());
    }
    let bound = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } => drop(waiting.remove(&listener_id)),
                SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                    if let Some(address) = waiting.remove(&listener_id) {
                        let reason = reason.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
                        return Err(Error::Listen { address, reason });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    };
    match tokio::time::timeout(Duration::from_secs(10), bound).await {
        Ok(bound) => bound,
        Err(_) => {
            let address = waiting.into_values().next().unwrap_or_else(Multiaddr::empty);
            Err(Error::Listen { address, reason: "not bound in time".to_owned() })
        }
    }
}
