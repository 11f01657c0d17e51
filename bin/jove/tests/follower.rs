//! A node that follows validators, and peers that lie to it: what no quorum certified never becomes its chain, and who passes it on is banned.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use alloy_primitives::B256;
use alloy_rlp::Decodable;
use client::{
    Client, Process,
    chain::{SOMEONE, free_address, init, transfer, until, write},
    number,
};
use jove_avc::{Bitmap, Certificate, Checkpoint, Kind, L1Origin, Seal};
use jove_consensus::{Finals, Request, SealedBlocks};
use jove_network::{Chain, Config, Event, Events, Identity, Multiaddr, Network, To, Topic};
use jove_primitives::{
    ChainSpec,
    block::Block,
    spec::{GenesisValidator, Validators},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A chain with one validator, whose keys are in a folder: its word alone is a quorum's.
fn chain(folder: &Path, address: &str) -> ChainSpec {
    let entry = init(folder, &["--sequencer", "--address", address]);
    let entry: GenesisValidator = serde_json::from_str(&entry).expect("an entry");
    let validators = Validators { epoch_length: 20, term_length: 10, seats: 4, genesis: vec![entry] };
    ChainSpec { validators: Some(validators), ..ChainSpec::dev() }
}

fn balance(client: &Client) -> u64 {
    number(&client.call("eth_getBalance", json!([SOMEONE, "latest"])).expect("answered"))
}

fn metric(client: &Client, name: &str) -> f64 {
    let (_, text) = client.get("/metrics").expect("answered");
    let line = text.lines().find(|line| line.starts_with(name) && line.as_bytes().get(name.len()) == Some(&b' '));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().expect("a number"))
}

/// Whether a transaction is certified, as the node sees it.
fn is_certified(client: &Client, hash: &Value) -> bool {
    let finality = client.call("jove_getFinality", json!([hash])).expect("answered");
    finality["rung"] == "certified" && finality["rungs"]["certified"]["height"].as_u64() > Some(0)
}

/// What a peer does to who believes it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// Answers with a checkpoint of its own making.
    Certificate,
    /// Answers with what is certified, and then with altered blocks.
    Blocks,
    /// Gossips blocks that no leader sealed.
    Seal,
    /// Gossips a checkpoint of its own making.
    Gossip,
}

/// What is true, as the validator gives it.
#[derive(Clone)]
struct Truth {
    finals: Finals,
    blocks: Vec<Block>,
}

fn forged(genesis: B256) -> (SealedBlocks, Finals) {
    let mut block = Block::default();
    block.header.number = 1;
    block.header.parent_hash = genesis;
    block.header.state_root = B256::repeat_byte(0x66);
    block.header.transactions_root = alloy_consensus::constants::EMPTY_ROOT_HASH;
    block.body.withdrawals = Some(Default::default());
    let hash = block.header.hash_slow();
    let seal = Seal { epoch: 0, term: 0, number: 1, hash, signature: [0x66; 48] };
    let checkpoint = Checkpoint {
        chain_id: 5683,
        era: 0,
        epoch: 0,
        height: 1,
        view: 0,
        proposer: 0,
        proof: [0; 80],
        parent: genesis,
        parent_signers: Bitmap::default(),
        last_number: 1,
        last_hash: hash,
        state_root: block.header.state_root,
        origin: L1Origin::default(),
        set_version: 0,
        set_hash: B256::ZERO,
        weight_root: B256::ZERO,
        evidence_root: B256::ZERO,
        next: None,
    };
    let digest = checkpoint.digest();
    let signers = Bitmap::first(1);
    let certificate = Certificate { kind: Kind::Finalize, epoch: 0, view: 0, digest, signers, signature: [0x66; 48] };
    (SealedBlocks { seal, blocks: vec![block] }, Finals { checkpoints: vec![checkpoint], certificate })
}

struct Liar {
    network: Network,
    address: Multiaddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn peer(genesis: B256, bootstrap: Vec<Multiaddr>) -> (Network, Events) {
    let mut config = Config::new(Identity::generate(), Chain { id: 5683, genesis });
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    config.bootstrap = bootstrap;
    Network::start(config).await.expect("starts")
}

impl Liar {
    async fn start(genesis: B256, lie: Lie, truth: Truth) -> Self {
        let (network, mut events) = peer(genesis, Vec::new()).await;
        let address = network.listen_addresses()[0].clone();
        let (sealed, finals) = forged(genesis);
        let gossips = network.clone();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            let mut round = 0u8;
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        // Each another message, or it would count as one.
                        round = round.wrapping_add(1);
                        let (mut sealed, mut finals) = (sealed.clone(), finals.clone());
                        sealed.seal.signature[47] = round;
                        finals.certificate.signature[47] = round;
                        let published = match lie {
                            Lie::Seal => gossips.publish(Topic::Blocks, sealed.encode().0).await,
                            Lie::Gossip => gossips.publish(Topic::Certificates, finals.encode().0).await,
                            _ => Ok(()),
                        };
                        drop(published);
                    }
                    event = events.recv() => match event {
                        None => return,
                        Some(Event::Request { bytes, responder, .. }) => {
                            let answer = match (lie, Request::decode(&bytes)) {
                                (Lie::Certificate, Some(Request::Finals { .. })) => finals.encode(),
                                (Lie::Blocks, Some(Request::Finals { .. })) => truth.finals.encode(),
                                (Lie::Blocks, Some(Request::Blocks { .. })) => {
                                    let mut blocks = truth.blocks.clone();
                                    // Nobody pays any more, and all headers are as they were.
                                    blocks.iter_mut().for_each(|block| block.body.transactions.clear());
                                    alloy_rlp::encode(blocks).into()
                                }
                                _ => Default::default(),
                            };
                            drop(responder.answer(answer.0));
                        }
                        Some(_) => {}
                    }
                }
            }
        });
        Self { network, address, task }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_believes_quorums_and_its_own_execution() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let (keys, address) = (place("validator"), free_address());
    std::fs::create_dir_all(&keys).expect("made");
    let spec = chain(&keys, &address);
    let open = write(folder.path(), "chain.json", &spec);
    let mut hidden = spec.clone();
    hidden.validators.as_mut().expect("there").genesis[0].addresses.clear();
    let hidden = write(folder.path(), "hidden.json", &hidden);

    let flags = ["--role", "validator", "--chain", &open, "--p2p-listen", &address, "--votes-from", "0"];
    let validator = Process::run("node", &keys, &flags);
    let truth = validator.client();
    let hash = truth.call("eth_sendRawTransaction", transfer(0)).expect("taken");
    until("certified", async || is_certified(&truth, &hash).then_some(())).await;
    let genesis: B256 = truth.block_hash(0).parse().expect("a hash");
    let certified = {
        let peer_id = &spec.validators.as_ref().expect("there").genesis[0].peer;
        let bootstrap = vec![format!("{address}/p2p/{peer_id}").parse().expect("an address")];
        let (network, _events) = peer(genesis, bootstrap).await;
        let ask = async |request: Request| {
            until("an answer", async || network.request(To::Any, request.encode().0).await.ok()).await.1
        };
        let finals = Finals::decode(&ask(Request::Finals { after: 0 }).await).expect("final checkpoints");
        let Checkpoint { last_number, last_hash, .. } = *finals.checkpoints.last().expect("one at least");
        let blocks = ask(Request::Blocks { number: last_number, hash: last_hash, count: 100 }).await;
        let blocks = Vec::<Block>::decode(&mut &blocks[..]).expect("blocks");
        Truth { finals, blocks }
    };
    assert!(certified.blocks.iter().any(|block| !block.body.transactions.is_empty()));

    // Each liar is all that a follower sees of the network.
    for lie in [Lie::Certificate, Lie::Blocks, Lie::Seal, Lie::Gossip] {
        let liar = Liar::start(genesis, lie, certified.clone()).await;
        let bootstrap = liar.address.to_string();
        let flags = ["--chain", &hidden, "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", &bootstrap];
        let follower = Process::run("node", &place(&format!("{lie:?}")), &flags);
        let client = follower.client();
        until("banned", async || (metric(&client, "jove_network_bans_total") >= 1.0).then_some(())).await;
        until("dropped", async || liar.network.peers().is_empty().then_some(())).await;
        assert_eq!((client.block_number(), balance(&client)), (0, 0), "{lie:?}");
        let status = client.call("jove_validators", json!([])).expect("answered")["status"].take();
        assert_eq!((&status["height"], &status["halted"]), (&json!(0), &Value::Null), "{lie:?}");
    }

    // With a liar beside an honest peer it follows the honest one, and passes on what it is given.
    let liar = Liar::start(genesis, Lie::Blocks, certified).await;
    let bootstrap = liar.address.to_string();
    let flags = ["--chain", &open, "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", &bootstrap];
    let datadir = place("follower");
    let mut follower = Process::run("node", &datadir, &flags);
    let client = follower.client();
    until("caught up", async || is_certified_or_unknown(&client, &hash)).await;
    for nonce in 1..=3 {
        let hash = client.call("eth_sendRawTransaction", transfer(nonce)).expect("taken");
        until("certified", async || is_certified_or_unknown(&client, &hash)).await;
    }
    assert_eq!(balance(&client), 4);
    let last = client.block_number();
    assert_eq!(client.block_hash(last), truth.block_hash(last));
    let block = json!([{ "blockNumber": format!("{last:#x}") }]);
    let checkpoint = client.call("jove_getCheckpoint", block).expect("answered");
    assert_eq!(checkpoint["certificate"]["signers"], json!([0]));
    let status = client.call("jove_validators", json!([])).expect("answered")["status"].take();
    assert_eq!((&status["index"], &status["leading"]), (&Value::Null, &json!(false)));

    // Away for a while, it catches up: over several epochs.
    assert_eq!(follower.interrupt(), Some(0));
    drop(follower);
    let (mut nonce, started) = (4, Instant::now());
    let epoch = || truth.call("jove_validators", json!([])).expect("answered")["epoch"].as_u64();
    while epoch() < Some(2) {
        assert!(started.elapsed() < Duration::from_secs(300), "{:?}", epoch());
        truth.call("eth_sendRawTransaction", transfer(nonce)).expect("taken");
        nonce += 1;
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    let hash = truth.call("eth_sendRawTransaction", transfer(nonce)).expect("taken");
    until("certified", async || is_certified(&truth, &hash).then_some(())).await;
    let follower = Process::run("node", &datadir, &["--chain", &open, "--p2p-listen", "/ip4/127.0.0.1/tcp/0"]);
    let client = follower.client();
    until("caught up", async || is_certified_or_unknown(&client, &hash)).await;
    assert_eq!(balance(&client), nonce + 1);

    // Whoever signs weighs more from the next epoch but one on, by a twentieth; all say the same.
    let weight = |client: &Client, epoch: u64| {
        let set = client.call("jove_validators", json!([format!("{epoch:#x}")])).expect("answered");
        set["validators"][0]["weight"].as_f64().expect("a weight")
    };
    assert_eq!(weight(&truth, 1), 1.0);
    let later = weight(&truth, 2);
    assert!(later > 1.049 && later <= 1.05, "{later}");
    assert_eq!((weight(&client, 1), weight(&client, 2)), (1.0, later));
}

/// As [`is_certified`], of a transaction that the node may not have heard of.
fn is_certified_or_unknown(client: &Client, hash: &Value) -> Option<()> {
    let finality = client.call("jove_getFinality", json!([hash])).expect("answered");
    (!finality.is_null() && is_certified(client, hash)).then_some(())
}
