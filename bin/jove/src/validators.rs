//! Validators beside nodes, and nodes that follow validators: where the node, consensus and the network meet.
//!
//! Each validator has a node, keys, a log of votes, an identity in the network and an own view of L1, even where several run in one process.

mod chain;
pub(crate) mod command;
pub(crate) mod era;
mod keys;
pub(crate) mod processes;
mod seed;

use crate::{
    node::start_node,
    options::{Options, Role},
    settle::Settle,
    settlement,
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_sol_types::SolCall as _;
use chain::NodeChain;
pub(crate) use chain::OwnL1;
use era::Era;
use jove_avc::{
    Bls, Domain, Settings, Signer, Timing, ValidatorSet, codec::Wire as _, verify_possession, weights::MAX_SEEDS,
};
use jove_consensus::{Config, Consensus, Finals, Gossip, Judgement, Peers, Reply, SealedBlocks, SeedNode};
use jove_ledger::{Entry, Flag, FlagKind, Flagged, Ledger};
use jove_network::{Event as NetworkEvent, Events, Identity, Multiaddr, Network, Offence, PeerId, To, Topic, Verdict};
use jove_primitives::{
    ChainSpec,
    spec::{GenesisSeed, Validators},
};
use jove_sequencer::{Event, Node, NodeConfig};
use jove_settlement::{
    Key, L1, Wallet,
    contracts::{ValidatorAuthority, ask},
    deploy::write_file,
    validators::{Admission, Founders, Terms, keys as registry_keys, peers_of},
    wallet::Call,
};
use keys::Keys;
use parking_lot::Mutex;
use seed::Seed;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{broadcast, watch},
    task::JoinSet,
};

/// In a validator's data directory: the secret of its keys, and its identity in the network.
const KEY_FILE: &str = "validator.hex";
const PEER_FILE: &str = "peer.key";
/// Beside them on a development chain: where it listens.
const ADDRESS_FILE: &str = "address";
/// Where a validator listens, unless it is told.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/9000", "/ip4/0.0.0.0/udp/9000/quic-v1"];
/// Checkpoints of an epoch, views in a term, and seats of a committee, of a development chain.
pub(crate) const DEV_EPOCH: u64 = 600;
const DEV_TERM: u64 = 64;
const DEV_SEATS: u32 = 64;
/// The least time between two checkpoints of one leader.
const INTERVAL: Duration = Duration::from_millis(100);
/// Peers that a Seed Node has room for, and looks for.
const SEED_PEERS: usize = 512;
/// Most bytes of what shows that checkpoints were invalid; and how often, and how many at once, such checkpoints are looked for.
const FLAGGED_BYTES: u64 = 1 << 30;
const LOOK_FOR_FLAGS: Duration = Duration::from_secs(1);
const FLAGS_AT_ONCE: usize = 64;
/// Transactions of one gossiped message, and how long the first of them waits for others.
const TRANSACTIONS: usize = 256;
const GATHER: Duration = Duration::from_millis(2);
/// Hashes of transactions that came by gossip, and are not gossiped again from here.
const REMEMBERED: usize = 65_536;
/// When L1 is asked again who a validator is in the network.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A running validator, or a node that follows validators.
pub(crate) struct Running {
    /// Its consensus.
    pub(crate) consensus: Arc<Consensus>,
    /// The ledger of blocks that became final; a validator's alone.
    ledger: Option<Arc<Ledger>>,
    /// Its node, if it is not the binary's own.
    node: Option<Arc<Node>>,
    /// What it has of settlement, if that is not the binary's own.
    pub(crate) settle: Option<Settle>,
    _tasks: JoinSet<()>,
}

impl Running {
    /// The ledger of blocks that became final; a validator's alone.
    pub(crate) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }

    /// Ends consensus, then what it led. A node of its own is stopped too.
    pub(crate) fn stop(&self) {
        self.consensus.stop();
        if let Some(node) = &self.node {
            node.stop();
        }
    }
}

/// What a validator, or a node that follows validators, is started with.
pub(crate) struct Start {
    pub(crate) node: Arc<Node>,
    pub(crate) keys: Who,
    pub(crate) identity: Identity,
    pub(crate) places: Places,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) sync: bool,
    pub(crate) votes_from: Option<u64>,
    pub(crate) l1: Option<OwnL1>,
    pub(crate) settle: Option<Settle>,
}

/// What a node is, with its keys.
pub(crate) enum Who {
    /// It votes.
    Validator(Keys),
    /// It reports on those who do.
    Seed(Keys),
    /// It follows them.
    Follower,
}

/// Where a node is in the network.
#[derive(Default)]
pub(crate) struct Places {
    /// Where it listens.
    pub(crate) listen: Vec<Multiaddr>,
    /// Where others reach it, if that is not where it listens.
    pub(crate) external: Vec<Multiaddr>,
    /// Peers that it finds others through, beside the validators of the chain spec.
    pub(crate) bootstrap: Vec<Multiaddr>,
}

impl Places {
    /// What an operator says.
    fn of(options: &Options) -> Self {
        let listen = match &options.p2p_listen {
            Some(addresses) => addresses.clone(),
            None => LISTEN.iter().filter_map(|address| address.parse().ok()).collect(),
        };
        let given = |addresses: &Option<Vec<Multiaddr>>| addresses.clone().unwrap_or_default();
        Self { listen, external: given(&options.p2p_external), bootstrap: given(&options.bootstrap) }
    }
}

/// The chain's Seed Nodes.
///
/// # Errors
/// In words for the operator: a key that is none, or whose possession is not proven; too many.
fn seeds(seeds: &[GenesisSeed]) -> Result<Vec<SeedNode>, String> {
    if seeds.len() > MAX_SEEDS {
        return Err(format!("more than {MAX_SEEDS} Seed Nodes"));
    }
    let nodes = seeds.iter().enumerate().map(|(index, seed)| {
        let words = |what: &str| format!("Seed Node {index}: {what}");
        let key = <[u8; 96]>::try_from(&seed.key[..]).map_err(|_| words("its key is not of 96 bytes"))?;
        let possession = <[u8; 48]>::try_from(&seed.possession[..])
            .map_err(|_| words("its proof of possession is not of 48 bytes"))?;
        verify_possession(&key, &possession).map_err(|error| words(&error.to_string()))?;
        Ok(SeedNode { key, account: seed.account })
    });
    nodes.collect()
}

/// What all validators of a chain agree on in an era.
fn settings(spec: &ChainSpec, validators: &Validators, era: u64) -> Settings {
    Settings {
        domain: Domain { chain_id: spec.chain_id, era },
        epoch_length: validators.epoch_length,
        term_length: validators.term_length,
        seats: validators.seats as usize,
        timing: Timing { base: 2_000, cap: 16_000, buddy: 600, empty: 1_000, gap: 100 },
    }
}

/// Who is who in the network, and since which block of L1: 0 in the chain spec.
type Directory = HashMap<B256, (u64, jove_network::Validator)>;

fn directory(validators: &Validators) -> Result<Directory, String> {
    let entries = validators.genesis.iter().map(|one| {
        let peer = one.peer.parse::<PeerId>().map_err(|error| format!("validator {}: peer: {error}", one.id))?;
        let addresses = one.addresses.iter().map(|address| address.parse::<Multiaddr>());
        let addresses =
            addresses.collect::<Result<_, _>>().map_err(|error| format!("validator {}: address: {error}", one.id))?;
        Ok((one.id, (0, jove_network::Validator { id: one.id, peer, addresses })))
    });
    entries.collect()
}

/// Starts a validator, or a node that follows validators.
///
/// # Errors
/// In words for the operator.
pub(crate) async fn start(start: Start) -> Result<Running, String> {
    let Start { node, keys, identity, places, folder, sync, votes_from, l1, settle } = start;
    let spec = node.spec().clone();
    let validators = spec.validators.as_ref().ok_or("this chain has no validators")?;
    let set = Arc::new(Founders::of(validators).map_err(|error| error.to_string())?.set);
    let hash = node.storage().view().block_hash(0).map_err(|error| error.to_string())?.unwrap_or_default();
    let era = Era::kept(&node)?.unwrap_or_else(|| Era::first(spec.chain_id, hash, &set));
    let root = era.start.start;
    if era.number > 0 {
        if node.storage().view().block_hash(root.last_number).map_err(|error| error.to_string())?
            != Some(root.last_hash)
        {
            return Err(format!(
                "era {} begins after block {} {}: the chain does not have it",
                era.number, root.last_number, root.last_hash
            ));
        }
        // L1 has made it final.
        node.set_certified(root.last_number);
    }
    let chain = jove_network::Chain { id: spec.chain_id, genesis: root.digest };
    let directory = directory(validators)?;
    let mut config = jove_network::Config::new(identity, chain);
    (config.listen, config.external, config.bootstrap) = (places.listen, places.external, places.bootstrap);
    config.lists = Some(folder.join("peers.json"));
    let local = config.identity.peer();
    let reachable = |one: &jove_network::Validator| {
        let with_peer = |address: &Multiaddr| format!("{address}/p2p/{}", one.peer).parse().ok();
        one.addresses.iter().filter_map(with_peer).collect::<Vec<Multiaddr>>()
    };
    for seed in spec.seeds.iter().filter(|seed| seed.peer != local.to_string()) {
        let with_peer = |address: &String| format!("{address}/p2p/{}", seed.peer).parse::<Multiaddr>();
        let addresses = seed.addresses.iter().map(with_peer).collect::<Result<Vec<_>, _>>();
        config.bootstrap.extend(addresses.map_err(|error| format!("the Seed Node {}: {error}", seed.peer))?);
    }
    if matches!(keys, Who::Seed(_)) {
        (config.limits.target_peers, config.limits.inbound) = (SEED_PEERS, SEED_PEERS);
    }
    let others = directory.values().map(|(_, one)| one).filter(|one| one.peer != local);
    config.bootstrap.extend(others.flat_map(reachable));
    let (network, events) = Network::start(config).await.map_err(|error| format!("network: {error}"))?;
    let voter = if let Who::Validator(keys) = &keys { Some(keys) } else { None };
    let signer = voter.map(Keys::signer).transpose()?.map(|signer| Arc::new(signer) as Arc<dyn Signer>);
    let ledgers = voter.map(|keys| Ledgers::open(&folder, keys, spec.chain_id, &era)).transpose()?.map(Arc::new);
    let settings = settings(&spec, validators, era.number);
    let begun = era.is_begun(&node)?;
    let votes_from = match votes_from {
        None if !begun => era.votes_from(&folder, sync)?,
        // Without a log it does not start then: that was lost.
        said => said,
    };
    let seed = match &keys {
        Who::Seed(keys) => {
            let (network, node) = (network.clone(), node.clone());
            Some(Seed::new(keys, &spec.seeds, settings.domain, settings.epoch_length, network, node)?)
        }
        _ => None,
    };
    let runtime = Handle::current();
    let registry = l1.as_ref().map(|own| (own.l1.clone(), own.settlement.authority));
    let chain = Arc::new(NodeChain { node: node.clone(), l1, runtime: runtime.clone(), waiting: Mutex::new(None) });
    let (sets, chosen) = watch::channel(None);
    let peers = Arc::new(Wire { network: network.clone(), runtime, sets });
    let config = Config {
        settings,
        seeds: seeds(&spec.seeds)?,
        folder: era.place(&folder, era::LOG),
        genesis: era.start.clone(),
        sync,
        votes_from,
        interval: INTERVAL,
    };
    let consensus =
        tokio::task::spawn_blocking(move || Consensus::start(config, Arc::new(Bls::default()), signer, chain, peers));
    let consensus = consensus.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if !begun {
        era.begin(&node)?;
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(meet(chosen, network.clone(), directory, registry));
    let ledger = ledgers.as_ref().map(|ledgers| ledgers.blocks.clone());
    if let Some(ledgers) = ledgers {
        tasks.spawn(ledgers.keep(consensus.clone(), node.clone()));
    }
    if let Some(seed) = seed {
        tasks.spawn(seed.run(consensus.clone()));
    }
    let gossiped = Arc::new(Mutex::new(Remembered::default()));
    tasks.spawn(from_network(events, consensus.clone(), node.clone(), gossiped.clone()));
    tasks.spawn(from_node(node.events(), consensus.clone(), node, network, gossiped));
    if let Some(settle) = &settle {
        settle.stand_beside(consensus.clone());
    }
    Ok(Running { consensus, ledger, node: None, settle, _tasks: tasks })
}

/// What became final, and what was refused: each in a ledger that only grows.
struct Ledgers {
    blocks: Arc<Ledger>,
    /// The first block of the era.
    first: u64,
    flagged: Flagged,
    /// How many invalid checkpoints, and proofs of misbehaviour, were looked at since the start.
    seen: Mutex<(u64, u64)>,
}

impl Ledgers {
    fn open(folder: &Path, keys: &Keys, chain_id: u64, era: &Era) -> Result<Self, String> {
        let key = |what: &str, of: &str| {
            let name = format!("jove.{chain_id}.{}.{what}{of}", alloy_primitives::hex::encode(&keys.id()[..4]));
            jove_ledger::Key::new(&name, &keys.ledger(what)).map_err(|error| error.to_string())
        };
        let words = |what: &str, error: jove_ledger::Error| format!("{}: {error}", folder.join(what).display());
        // Its name is in all that it signs: no ledger takes back what another has.
        let of = if era.number == 0 { String::new() } else { format!(".{}", era.number) };
        let blocks = Ledger::open(&era.place(folder, "ledger"), key("blocks", &of)?);
        let blocks = blocks.map_err(|error| words("ledger", error))?;
        let flagged = Flagged::open(&folder.join("flagged"), key("flagged", "")?, FLAGGED_BYTES);
        let flagged = flagged.map_err(|error| words("flagged", error))?;
        let first = era.start.start.last_number + 1;
        Ok(Self { blocks: Arc::new(blocks), first, flagged, seen: Mutex::default() })
    }

    /// Adds what has become final, and what was found invalid, now and from now on. A crash in between leaves less, and the next start goes on from there.
    async fn keep(self: Arc<Self>, consensus: Arc<Consensus>, node: Arc<Node>) {
        let mut certified = consensus.certified();
        loop {
            let (ledgers, from, node) = (self.clone(), consensus.clone(), node.clone());
            let kept = tokio::task::spawn_blocking(move || ledgers.catch_up(&from, &node)).await;
            if let Ok(Err(error)) | Err(error) = kept.map_err(|error| error.to_string()) {
                tracing::error!(error, "the ledger cannot be kept");
            }
            match tokio::time::timeout(LOOK_FOR_FLAGS, certified.recv()).await {
                Ok(Err(broadcast::error::RecvError::Closed)) => return,
                _ => while certified.try_recv().is_ok() {},
            }
        }
    }

    fn catch_up(&self, consensus: &Consensus, node: &Node) -> Result<(), String> {
        let store = consensus.store();
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let first = self.blocks.last().map_or(self.first, |last| last.number + 1);
        let mut height = match store.of_block(first).map_err(|error| words(&error))? {
            Some(kept) => kept.checkpoint.height,
            None => u64::MAX,
        };
        let mut first = first;
        while height < u64::MAX
            && let Some(kept) = store.at_height(height).map_err(|error| words(&error))?
        {
            let view = node.storage().view();
            // The chain may be on another branch for a moment: what is in the ledger stays there.
            let last = view.block_hash(kept.checkpoint.last_number).map_err(|error| words(&error))?;
            if last != Some(kept.checkpoint.last_hash) {
                return Ok(());
            }
            let mut entries = Vec::new();
            for number in first..=kept.checkpoint.last_number {
                let header = view.header(number).map_err(|error| words(&error))?;
                let hash = view.block_hash(number).map_err(|error| words(&error))?;
                let (Some(header), Some(hash)) = (header, hash) else { return Ok(()) };
                let (height, digest) = (kept.checkpoint.height, kept.digest);
                entries.push(Entry { number, hash, state_root: header.state_root, height, digest });
            }
            self.blocks.append(&entries).map_err(|error| words(&error))?;
            first = kept.checkpoint.last_number + 1;
            height += 1;
        }
        // What is there already is not added again.
        let mut seen = self.seen.lock();
        for one in store.flagged(seen.0, FLAGS_AT_ONCE).map_err(|error| words(&error))? {
            let digest = one.checkpoint.digest();
            let flag =
                Flag::new(FlagKind::Checkpoint, one.reason, digest, &one.witness, one.at_ms, one.checkpoint.height);
            self.flagged.append(&[(flag, &one.witness)]).map_err(|error| words(&error))?;
            seen.0 += 1;
        }
        for evidence in store.evidence(seen.1, FLAGS_AT_ONCE).map_err(|error| words(&error))? {
            let witness = evidence.encode();
            let subject = keccak256(&witness);
            let flag = Flag::new(FlagKind::Validator, 0, subject, &witness, node.now_ms(), consensus.status().height);
            self.flagged.append(&[(flag, &witness)]).map_err(|error| words(&error))?;
            seen.1 += 1;
        }
        Ok(())
    }
}

/// The network, as consensus sees it.
struct Wire {
    network: Network,
    runtime: Handle,
    sets: watch::Sender<Sets>,
}

impl Peers for Wire {
    fn send(&self, to: B256, message: Bytes) {
        if let Err(error) = self.network.send(to, message.0) {
            tracing::trace!(%error, "a message is not sent");
        }
    }

    fn broadcast(&self, message: Bytes) {
        if let Err(error) = self.network.broadcast(message.0) {
            tracing::warn!(%error, "a message is not sent");
        }
    }

    fn publish(&self, what: Gossip, bytes: Bytes) {
        let network = self.network.clone();
        let topic = match what {
            Gossip::Blocks => Topic::Blocks,
            Gossip::Finals => Topic::Certificates,
        };
        self.runtime.spawn(async move {
            if let Err(error) = network.publish(topic, bytes.0).await {
                tracing::debug!(%error, ?what, "not gossiped");
            }
        });
    }

    fn request(&self, of: Option<B256>, request: Bytes, reply: Reply) {
        let network = self.network.clone();
        self.runtime.spawn(async move {
            let to = of.map_or(To::Any, To::Validator);
            match network.request(to, request.0).await {
                Ok((peer, bytes)) => {
                    // Reading an answer may take a pairing, and the hashes of many blocks.
                    let judged = tokio::task::spawn_blocking(move || reply(Some(Bytes(bytes)))).await;
                    if matches!(judged, Ok(Judgement::Bad)) {
                        tracing::warn!(%peer, "a false answer");
                        network.report(peer, Offence::Forged);
                    }
                }
                Err(error) => {
                    tracing::trace!(%error, "no answer");
                    reply(None);
                }
            }
        });
    }

    fn set_validators(&self, set: &ValidatorSet, next: &ValidatorSet) {
        self.sets.send_replace(Some((set.clone(), next.clone())));
    }
}

/// Who validates in this epoch, and in the next.
type Sets = Option<(ValidatorSet, ValidatorSet)>;

/// Tells the network who the validators are: those of the chain spec, and those that registered on L1 later, with the peer ids that they gave there.
async fn meet(
    mut sets: watch::Receiver<Sets>,
    network: Network,
    mut directory: Directory,
    registry: Option<(L1, Address)>,
) {
    loop {
        let Some((set, next)) = sets.borrow_and_update().clone() else {
            if sets.changed().await.is_err() {
                return;
            }
            continue;
        };
        acquaint(&network, &directory, &set, &next).await;
        let mut complete = true;
        if let Some((l1, authority)) = &registry {
            for set in [&set, &next] {
                match peers_of(l1, *authority, set).await {
                    Ok(peers) => {
                        peers.iter().for_each(|(id, since, peer)| introduce(&mut directory, *id, *since, peer))
                    }
                    Err(error) => {
                        tracing::debug!(%error, "L1 does not say who is who yet");
                        complete = false;
                    }
                }
            }
            acquaint(&network, &directory, &set, &next).await;
        }
        let changed = match complete {
            true => sets.changed().await,
            false => tokio::time::timeout(ASK_AGAIN, sets.changed()).await.unwrap_or(Ok(())),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Notes the peer that L1 names for a validator. Where it is reached the chain spec says, if it is the same.
fn introduce(directory: &mut Directory, id: B256, since: u64, peer: &[u8]) {
    match PeerId::from_bytes(peer) {
        Ok(peer) if directory.get(&id).is_some_and(|(_, one)| one.peer == peer) => {}
        Ok(peer) => drop(directory.insert(id, (since, jove_network::Validator { id, peer, addresses: Vec::new() }))),
        Err(error) => tracing::debug!(%error, %id, "a validator registered what is no peer id"),
    }
}

/// Has the network connect with those who are known. A peer id that two claim is the one's who claimed it first.
async fn acquaint(network: &Network, directory: &Directory, set: &ValidatorSet, next: &ValidatorSet) {
    let members = set.validators().iter().chain(next.validators());
    let mut members: Vec<_> = members.filter_map(|member| directory.get(&member.id)).collect();
    members.sort_by_key(|(since, one)| (*since, one.id));
    let mut peers = HashSet::new();
    let members = members.into_iter().filter(|(_, one)| peers.insert(one.peer)).map(|(_, one)| one.clone());
    if let Err(error) = network.set_validators(members.collect()).await {
        tracing::error!(%error, "the network does not take the validators");
    }
}

/// The hashes that were seen last.
#[derive(Default)]
struct Remembered {
    hashes: HashSet<B256>,
    order: VecDeque<B256>,
}

impl Remembered {
    fn insert(&mut self, hash: B256) {
        if self.hashes.insert(hash) {
            self.order.push_back(hash);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.hashes.remove(&oldest);
            }
        }
    }
}

/// Says to the network what a gossiped message was worth.
fn pass(verdict: Verdict, judged: Judgement) {
    match judged {
        Judgement::Good => verdict.accept(),
        Judgement::Idle => verdict.ignore(),
        Judgement::Bad => verdict.reject(),
    }
}

async fn from_network(
    mut events: Events,
    consensus: Arc<Consensus>,
    node: Arc<Node>,
    gossiped: Arc<Mutex<Remembered>>,
) {
    while let Some(event) = events.recv().await {
        match event {
            NetworkEvent::Connected(validator) => consensus.on_connected(validator),
            NetworkEvent::Disconnected(validator) => tracing::debug!(%validator, "a validator's stream ended"),
            NetworkEvent::Direct { from, bytes } => {
                if !consensus.on_message(from, &bytes) {
                    tracing::warn!(validator = %from, "a message that no validator sends");
                }
            }
            NetworkEvent::Gossip { topic: Topic::Blocks, bytes, verdict, .. } => match SealedBlocks::decode(&bytes) {
                None => verdict.reject(),
                Some(sealed) => consensus.on_blocks(sealed, move |judged| pass(verdict, judged)),
            },
            NetworkEvent::Gossip { topic: Topic::Certificates, bytes, verdict, .. } => match Finals::decode(&bytes) {
                None => verdict.reject(),
                Some(finals) => consensus.on_finals(finals, move |judged| pass(verdict, judged)),
            },
            NetworkEvent::Gossip { topic: Topic::Transactions, bytes, verdict, .. } => {
                match Vec::<Bytes>::decode(&mut &*bytes) {
                    Ok(transactions) if !transactions.is_empty() && transactions.len() <= TRANSACTIONS => {
                        for transaction in &transactions {
                            gossiped.lock().insert(keccak256(transaction));
                        }
                        let pool = node.pool().clone();
                        tokio::task::spawn_blocking(move || {
                            let added = pool.add_raw(&transactions);
                            if added.iter().any(Result::is_ok) { verdict.accept() } else { verdict.ignore() }
                        });
                    }
                    _ => verdict.reject(),
                }
            }
            NetworkEvent::Request { bytes, responder, .. } => {
                let consensus = consensus.clone();
                tokio::task::spawn_blocking(move || match consensus.serve(&bytes) {
                    Some(answer) => drop(responder.answer(answer.0)),
                    None => responder.refuse(),
                });
            }
        }
    }
}

async fn from_node(
    mut events: broadcast::Receiver<Event>,
    consensus: Arc<Consensus>,
    node: Arc<Node>,
    network: Network,
    gossiped: Arc<Mutex<Remembered>>,
) {
    let mut waiting: Vec<Bytes> = Vec::new();
    loop {
        let event = if waiting.is_empty() {
            events.recv().await
        } else {
            match tokio::time::timeout(GATHER, events.recv()).await {
                Ok(event) if waiting.len() < TRANSACTIONS => event,
                other => {
                    let mut out = Vec::new();
                    alloy_rlp::encode_list::<Bytes, Bytes>(&std::mem::take(&mut waiting), &mut out);
                    if let Err(error) = network.publish(Topic::Transactions, out.into()).await {
                        tracing::debug!(%error, "transactions are not gossiped");
                    }
                    match other {
                        Ok(event) => event,
                        Err(_) => continue,
                    }
                }
            }
        };
        match event {
            Ok(Event::Block(block)) => consensus.on_head(block.header.number, block.hash),
            Ok(Event::Unwound(blocks)) => {
                let blocks = blocks.iter().map(|block| (block.hash, block.to_block())).collect();
                let consensus = consensus.clone();
                let told = tokio::task::spawn_blocking(move || consensus.on_withdrawn(blocks)).await;
                if let Err(error) = told {
                    tracing::error!(%error, "consensus is not told of withdrawn blocks");
                }
            }
            Ok(Event::Transaction(transaction)) => {
                if !gossiped.lock().hashes.contains(transaction.tx_hash()) {
                    waiting.push(alloy_eips::eip2718::Encodable2718::encoded_2718(transaction.inner()).into());
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let head = node.head();
                consensus.on_head(head.header.number, head.hash);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Starts what `options` describe beside a node on a chain with validators: a validator, or a node that follows them.
///
/// # Errors
/// In words for the operator.
pub(crate) async fn start_one(
    options: &Options,
    node: &Arc<Node>,
    config: &NodeConfig,
    l1: Option<OwnL1>,
) -> Result<Running, String> {
    let folder = config.datadir.clone();
    let file = |name| options.validator_key_file.clone().unwrap_or_else(|| folder.join(name));
    let keys = match options.role {
        Some(Role::Validator) => Who::Validator(Keys::of_file(&file(KEY_FILE))?),
        Some(Role::Seed) => Who::Seed(Keys::of_file(&file(seed::KEY_FILE))?),
        _ => Who::Follower,
    };
    let identity = Identity::load_or_create(&folder.join(PEER_FILE)).map_err(|error| error.to_string())?;
    let (sync, votes_from, places) = (config.sync, options.votes_from, Places::of(options));
    start(Start { node: node.clone(), keys, identity, places, folder, sync, votes_from, l1, settle: None }).await
}

/// The bond of a development chain's validators, how long it stays, what a batch's proposer is paid, and what the vault begins with; in wei and seconds.
const DEV_BOND: u128 = 1_000_000_000_000_000_000;
const DEV_UNBONDING: u64 = 3_600;
const DEV_REWARD: u128 = 1_000_000_000_000_000;
const DEV_REWARDS: u128 = 1_000_000_000_000_000_000;

/// On which terms a development chain's validators are on L1.
///
/// # Errors
/// None with keys of their own making.
pub(crate) fn dev_terms(validators: &Validators) -> Result<Terms, String> {
    let founders = Founders::of(validators).map_err(|error| error.to_string())?;
    Ok(Terms {
        admission: Admission::Everyone,
        min_bond: DEV_BOND,
        unbonding: DEV_UNBONDING,
        reward: Some(DEV_REWARD),
        ..Terms::new(founders)
    })
}

/// Registers a development chain's validators on L1, those that are not there yet; batches come from `operator`. Funds the vault of rewards.
///
/// # Errors
/// In words for the developer.
pub(crate) async fn register_development(
    development: &Development,
    spec: &ChainSpec,
    l1: &L1,
    owner: Key,
    operator: Address,
) -> Result<(), String> {
    let words = |error: jove_settlement::Error| error.to_string();
    let (Some(settlement), Some(validators)) = (&spec.settlement, &spec.validators) else { return Ok(()) };
    let mut calls = Vec::new();
    for ((keys, identity), entry) in development.members.iter().zip(&validators.genesis) {
        let call = ValidatorAuthority::memberOfCall { id: entry.id };
        if !ask(l1, settlement.authority, &call).await.map_err(words)?.owner.is_zero() {
            continue;
        }
        let registered = registry_keys(&keys.signer()?, entry.sequencer, identity.peer().to_bytes().into());
        let call = ValidatorAuthority::registerCall { id: entry.id, operator, keys: registered.map_err(words)? };
        let what = format!("register validator {}", entry.id);
        let (to, value, data) = (settlement.authority, U256::from(DEV_BOND), call.abi_encode().into());
        calls.push(Call { what, to, value, data });
    }
    if let Some(vault) = settlement.reward_vault
        && l1.balance(vault, BlockNumberOrTag::Latest).await.map_err(words)?.is_zero()
    {
        let value = U256::from(DEV_REWARDS);
        calls.push(Call { what: "fund the vault of rewards".into(), to: vault, value, data: Bytes::new() });
    }
    let wallet = Wallet::new(l1.clone(), owner).await.map_err(words)?;
    wallet.settle().await.map_err(words)?;
    wallet.send(&calls, |call, hash| tracing::debug!(%hash, "sent: {}", call.what)).await.map_err(words)?;
    Ok(())
}

/// What the validators of a development chain are: keys and identities, each in a folder of its own.
pub(crate) struct Development {
    members: Vec<(Keys, Identity)>,
    listen: Vec<Multiaddr>,
}

/// Makes or reads the keys of a development chain's validators, and puts them into its spec.
///
/// # Errors
/// In words for the operator.
pub(crate) fn develop(
    count: usize,
    sequencers: usize,
    epoch_length: u64,
    datadir: &Path,
    spec: &mut ChainSpec,
) -> Result<Development, String> {
    let (mut members, mut entries, mut listen, mut held) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let folder = folder(datadir, index);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let keys = Keys::of_file(&folder.join(KEY_FILE))?;
        let identity = Identity::load_or_create(&folder.join(PEER_FILE)).map_err(|error| error.to_string())?;
        let address = address(&folder.join(ADDRESS_FILE), identity.peer(), &mut held)?;
        let mut entry = keys.entry(&identity, index < sequencers)?;
        entry.addresses = vec![address.to_string()];
        entries.push(entry);
        members.push((keys, identity));
        listen.push(address);
    }
    let (term_length, seats) = (DEV_TERM, DEV_SEATS);
    spec.validators = Some(Validators { epoch_length, term_length, seats, genesis: entries });
    Ok(Development { members, listen })
}

/// Where a validator of a development chain listens: as before, or on a port that is free now, and below those that the system gives to whoever asks for any, so
/// that it is free again at the next start. `held` keeps such ports until all are chosen.
fn address(file: &Path, peer: PeerId, held: &mut Vec<std::net::TcpListener>) -> Result<Multiaddr, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    if file.exists() {
        let text = std::fs::read_to_string(file).map_err(failed)?;
        return text.trim().parse().map_err(|_| format!("{}: not an address", file.display()));
    }
    // Each peer looks from another one on.
    let hash = keccak256(peer.to_bytes());
    let first = u16::from_be_bytes([hash[0], hash[1]]);
    let mut ports = (0..0x4000).map(|number| 0x4000 | (first.wrapping_add(number) & 0x3fff));
    let bind = |port| Some((port, std::net::TcpListener::bind(("127.0.0.1", port)).ok()?));
    let (port, socket) = ports.find_map(bind).ok_or("no free port")?;
    held.push(socket);
    let text = format!("/ip4/127.0.0.1/tcp/{port}");
    write_file(file, &text).map_err(failed)?;
    text.parse().map_err(|_| format!("{text}: not an address"))
}

/// Where a development chain's validator keeps what is its own.
pub(crate) fn folder(datadir: &Path, index: usize) -> std::path::PathBuf {
    datadir.join("validators").join(index.to_string())
}

/// Starts validators of a development chain, as many as are to run in this process: the first beside `node`, with its view of L1, the others with nodes and
/// views of their own.
///
/// # Errors
/// In words for the operator.
pub(crate) async fn start_development(
    development: Development,
    count: usize,
    node: &Arc<Node>,
    config: &NodeConfig,
    first: Option<OwnL1>,
) -> Result<Vec<Running>, String> {
    let mut running = Vec::new();
    let other = first.as_ref().map(|own| (own.l1.clone(), own.depth, own.blobs.clone()));
    let mut first = Some(first);
    for (index, (keys, identity)) in development.members.into_iter().take(count).enumerate() {
        let folder = folder(&config.datadir, index);
        let (node, l1, settle) = match first.take() {
            Some(l1) => (node.clone(), l1, None),
            None => {
                let mut config = config.clone();
                config.datadir = folder.clone();
                config.pool.journal = None;
                let node = start_node(config).await?;
                let (l1, settle) = match other.clone() {
                    Some((l1, depth, blobs)) => {
                        let settle = settlement::follow(node.clone(), l1.clone(), depth, &blobs, &folder)?;
                        (OwnL1::new(&node, l1, &settle, depth), Some(settle))
                    }
                    None => (None, None),
                };
                (node, l1, settle)
            }
        };
        let places = Places { listen: vec![development.listen[index].clone()], ..Default::default() };
        let (sync, votes_from, keys) = (config.sync, Some(0), Who::Validator(keys));
        let start = Start { node, keys, identity, places, folder, sync, votes_from, l1, settle };
        let own = (index > 0).then(|| start.node.clone());
        running.push(Running { node: own, ..self::start(start).await? });
    }
    Ok(running)
}
