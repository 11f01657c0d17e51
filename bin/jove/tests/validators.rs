//! A chain with validators: deployed on a layer 1, whose precompiles then check a registration and a FinalCert; and running, while who validates changes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::SolCall;
use client::{
    Client, Process, free_port,
    layer1::{Layer1, OWNER, chain_file, jove, refused, stdout},
};
use jove_avc::{
    Bitmap, Bls, BlsSigner, Certificate, Checkpoint, Domain, Kind, L1Origin, Message, Scheme, Signer, ValidatorSet,
    Vote, codec::Wire, l1,
};
use jove_network::{Identity, Multiaddr, Network, PeerId};
use jove_primitives::{
    ChainSpec,
    spec::{GenesisValidator, Validators},
};
use jove_settlement::{
    contracts::ValidatorAuthority,
    validators::{Founders, keys},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

const DEPLOYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn signers() -> Vec<BlsSigner> {
    let secret = |name: &str, number: u64| keccak256(format!("{name} {number}"));
    let signer = |n| BlsSigner::new(secret("id", n), &secret("votes", n)[..], &secret("vrf", n).0).unwrap();
    let mut signers: Vec<_> = (0..4).map(signer).collect();
    signers.sort_by_key(Signer::id);
    signers
}

fn genesis(signers: &[BlsSigner]) -> Validators {
    let entry = |signer: &BlsSigner| GenesisValidator {
        id: signer.id(),
        key: Bytes::copy_from_slice(&signer.public_key()),
        possession: Bytes::copy_from_slice(&signer.prove_possession()),
        vrf: signer.vrf_key().into(),
        sequencer: true,
        peer: String::new(),
        addresses: Vec::new(),
        owner: Some(OWNER.parse().unwrap()),
    };
    Validators { epoch_length: 8, term_length: 4, seats: 4, genesis: signers.iter().map(entry).collect() }
}

/// Writes the development chain's spec with these validators.
fn template(path: &Path, validators: Validators) {
    let spec = ChainSpec { development: true, validators: Some(validators), ..ChainSpec::dev() };
    std::fs::write(path, spec.to_json()).unwrap();
}

/// Block 7 as a final checkpoint of epoch 0 that all but the last have signed, as a commit carries it.
fn certificate(chain_id: u64, signers: &[BlsSigner], set: &ValidatorSet) -> Vec<u8> {
    let checkpoint = Checkpoint {
        chain_id,
        era: 0,
        epoch: 0,
        height: 1,
        view: 3,
        proposer: 0,
        proof: signers[0].vrf_prove(b"a view"),
        parent: B256::repeat_byte(1),
        parent_signers: Bitmap::default(),
        last_number: 7,
        last_hash: B256::repeat_byte(7),
        state_root: B256::repeat_byte(2),
        origin: L1Origin { number: 1, hash: B256::repeat_byte(3) },
        set_version: 0,
        set_hash: set.hash(),
        weight_root: set.weight_root(),
        evidence_root: B256::ZERO,
        next: None,
    };
    let digest = checkpoint.digest();
    let statement = Domain { chain_id, era: 0 }.statement(Kind::Finalize, 0, 3, &digest);
    let signatures: Vec<_> = signers[..3].iter().map(|signer| signer.sign(&statement)).collect();
    let signature = Bls::default().aggregate(&signatures).unwrap();
    let signers = Bitmap::first(3);
    let certificate = Certificate { kind: Kind::Finalize, epoch: 0, view: 3, digest, signers, signature };
    l1::certificate(&checkpoint, &certificate, 4).unwrap()
}

#[test]
fn a_layer_1_checks_what_validators_sign() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let signers = signers();
    let (file, wrong) = (path("template.json"), path("wrong.json"));
    template(&file, genesis(&signers));
    let layer1 = Layer1::start();
    let client = layer1.client();

    // A spec with a key whose holder is not known is refused before anything is sent.
    let mut stolen = genesis(&signers);
    stolen.genesis[0].possession = stolen.genesis[1].possession.clone();
    template(&wrong, stolen);
    let flags = ["--mnemonic-index", "1", "--chain", &text(&wrong)];
    assert!(refused(&layer1.deploy(&path("chain.json"), &flags).output().unwrap()).contains("possession"));
    let flags = ["--mnemonic-index", "1", "--min-bond", "5"];
    assert!(refused(&layer1.deploy(&path("chain.json"), &flags).output().unwrap()).contains("names none"));
    assert_eq!(layer1.nonce(DEPLOYER), 0);

    let flags = ["--mnemonic-index", "1", "--chain", &text(&file), "--batch-reward", "1000", "--min-bond", "5"];
    let printed = stdout(&layer1.deploy(&path("chain.json"), &flags).output().unwrap());
    assert!(printed.contains("RewardVault"), "{printed}");
    let sent = layer1.nonce(DEPLOYER);
    stdout(&layer1.deploy(&path("chain.json"), &flags).output().unwrap());
    assert_eq!(layer1.nonce(DEPLOYER), sent, "it is deployed already");
    let chain = chain_file(&path("chain.json"));
    let (authority, rollup) = (&chain["settlement"]["authority"], &chain["settlement"]["rollup"]);
    assert!(chain["settlement"]["rewardVault"].is_string());
    let ask = |from: &Value, data: Vec<u8>| {
        client.call("eth_call", json!([{ "from": from, "to": authority, "data": Bytes::from(data) }, "latest"]))
    };

    // The keys of the first set are there.
    let set = Founders::of(&genesis(&signers)).unwrap().set;
    let call = ValidatorAuthority::keysOfCall { setHash: set.hash() };
    let answer = ask(&json!(OWNER), call.abi_encode()).unwrap();
    let kept = ValidatorAuthority::keysOfCall::abi_decode_returns(&hex::decode(answer.as_str().unwrap()).unwrap());
    assert!(!kept.unwrap().points.is_zero());

    // One that was named registers; the contract checks the possession of its key.
    let registered = keys(&signers[0], true, Bytes::from_static(b"a peer")).unwrap();
    let register =
        ValidatorAuthority::registerCall { id: signers[0].id(), operator: OWNER.parse().unwrap(), keys: registered }
            .abi_encode();
    let register = json!([{ "from": OWNER, "to": authority, "value": "0x5", "data": Bytes::from(register) }]);
    let hash = client.call("eth_sendTransaction", register).unwrap();
    assert_eq!(client.receipt(&hash)["status"], "0x1");

    // A FinalCert of three of four certifies block 7, and no other; its sender is an operator.
    let chain_id = chain["chainId"].as_u64().unwrap();
    let certificate = Bytes::from(certificate(chain_id, &signers, &set));
    let check = |last: u64| {
        let call = ValidatorAuthority::checkCall {
            committer: OWNER.parse().unwrap(),
            era: 0,
            firstBlock: 1,
            lastBlock: last,
            lastBlockHash: B256::repeat_byte(7),
            certificate: certificate.clone(),
        };
        ask(rollup, call.abi_encode())
    };
    assert_eq!(check(7).unwrap(), json!(B256::from(U256::ONE)));
    assert!(check(8).is_err());

    let risks = stdout(
        &jove(&["risks", "--l1-url", &layer1.process.url(), "--chain", &text(&path("chain.json"))]).output().unwrap(),
    );
    assert!(risks.contains("| validators | 1, each with a bond of 0.000000000000000005 ETH"), "{risks}");
    assert!(risks.contains("| admission | "), "{risks}");
}

/// Only a hang is as long: epochs may be waited for.
const LONG: Duration = Duration::from_secs(480);
/// Validators of the development chain of the test, and how many checkpoints an epoch has.
const VALIDATORS: usize = 5;
const EPOCH: &str = "10";
/// The development account that owns them on L1.
const OF_VALIDATORS: &str = "6";

/// A running chain with its L1.
struct World {
    folder: tempfile::TempDir,
    l1: Client,
    l2: Process,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let (count, l1) = (VALIDATORS.to_string(), port.to_string());
        let flags = ["--validators", &count, "--epoch-length", EPOCH, "--l1-http-port", &l1, "--enclave", "false"];
        let l2 = Process::run("dev", folder.path(), &flags);
        Self { folder, l1: Client::at(port), l2 }
    }

    fn chain(&self) -> ChainSpec {
        ChainSpec::from_json(&std::fs::read_to_string(self.folder.path().join("chain.json")).unwrap()).unwrap()
    }

    /// What the contract of validators says.
    fn ask<C: SolCall>(&self, call: &C) -> C::Return {
        let authority = self.chain().settlement.unwrap().authority;
        let call = json!([{ "to": authority, "data": Bytes::from(call.abi_encode()) }, "latest"]);
        let answer = self.l1.call("eth_call", call).unwrap();
        C::abi_decode_returns(&hex::decode(answer.as_str().unwrap()).unwrap()).unwrap()
    }

    fn validators(&self) -> Value {
        self.l2.client().call("jove_validators", json!([])).unwrap()
    }

    /// The ids of the epoch under way.
    fn ids(&self) -> Vec<B256> {
        let answer = self.validators();
        answer["validators"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().parse().unwrap())
            .collect()
    }

    /// Has the chain go on until something is so.
    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < LONG, "{what}: {}", self.validators());
            let transfer = json!([{ "from": OWNER, "to": DEPLOYER, "value": "0x1" }]);
            let _ = self.l2.client().call("eth_sendTransaction", transfer);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// `jove validator` with the keys in a folder.
    fn validator(&self, command: &str, folder: &Path, flags: &[&str]) -> String {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (chain, l1) = (text(&self.folder.path().join("chain.json")), self.l1.url());
        let folder = text(folder);
        let common = ["validator", command, "--datadir", &folder, "--chain", &chain, "--l1-url", &l1];
        let flags = [&common[..], &["--mnemonic-index", OF_VALIDATORS], flags].concat();
        stdout(&jove(&flags).output().unwrap())
    }

    fn folder(&self, index: usize) -> std::path::PathBuf {
        self.folder.path().join("validators").join(index.to_string())
    }
}

/// The secrets of a validator's folder, as its node derives them.
fn signer(folder: &Path) -> BlsSigner {
    let seed: B256 = std::fs::read_to_string(folder.join("validator.hex")).unwrap().trim().parse().unwrap();
    let derive = |what: &str| keccak256([b"jove/validator/", what.as_bytes(), seed.as_slice()].concat());
    BlsSigner::new(derive("id"), derive("votes").as_slice(), &derive("vrf").0).unwrap()
}

/// A second holder of a validator's keys joins the network and tells everyone that it notarizes two checkpoints of one view, until it is slashed.
async fn sign_twice(world: &World, folder: &Path) -> Network {
    let spec = world.chain();
    let genesis = world.l2.client().call("eth_getBlockByNumber", json!(["0x0", false])).unwrap();
    let chain = jove_network::Chain { id: spec.chain_id, genesis: genesis["hash"].as_str().unwrap().parse().unwrap() };
    let mut config = jove_network::Config::new(Identity::load_or_create(&folder.join("peer.key")).unwrap(), chain);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let (network, mut events) = Network::start(config).await.unwrap();
    let members = spec.validators.unwrap().genesis.into_iter().map(|one| jove_network::Validator {
        id: one.id,
        peer: one.peer.parse::<PeerId>().unwrap(),
        addresses: one.addresses.iter().map(|address| address.parse::<Multiaddr>().unwrap()).collect(),
    });
    network.set_validators(members.collect()).await.unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });

    let (signer, domain) = (signer(folder), Domain { chain_id: spec.chain_id, era: 0 });
    let is_slashed = || world.ask(&ValidatorAuthority::memberOfCall { id: signer.id() }).slashed;
    let started = Instant::now();
    while !is_slashed() && started.elapsed() < LONG {
        let status = world.validators();
        let (epoch, view) =
            (status["status"]["epoch"].as_u64().unwrap(), status["status"]["view"].as_u64().unwrap() + 3);
        let index = world.ids().iter().position(|id| *id == signer.id());
        let Some(index) = index else { break };
        for digest in [B256::repeat_byte(1), B256::repeat_byte(2)] {
            let signature = signer.sign(&domain.statement(Kind::Notarize, epoch, view, &digest));
            let vote = Vote { kind: Kind::Notarize, epoch, view, digest, signer: index as u16, signature };
            network.broadcast(Message::Vote(vote).encode().into()).unwrap();
        }
        let transfer = json!([{ "from": OWNER, "to": DEPLOYER, "value": "0x1" }]);
        let _ = world.l2.client().call("eth_sendTransaction", transfer);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    network
}

#[test]
fn who_validates_follows_l1() {
    let world = World::start();
    let genesis = world.ids();
    assert_eq!(genesis.len(), VALIDATORS);
    let registered = world.ask(&ValidatorAuthority::sizeCall {});
    assert_eq!(registered, U256::from(VALIDATORS), "a development chain's are on L1 from the beginning");

    // One signs twice: the others' nodes see it, and its bond is gone.
    let twice = signer(&world.folder(4)).id();
    let bond = world.ask(&ValidatorAuthority::memberOfCall { id: twice }).bond;
    assert!(!bond.is_zero());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let network = runtime.block_on(sign_twice(&world, &world.folder(4)));
    world.until("slashed", || world.ask(&ValidatorAuthority::memberOfCall { id: twice }).slashed);
    assert!(world.ask(&ValidatorAuthority::memberOfCall { id: twice }).bond.is_zero());
    let reporter: Address = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc".parse().unwrap();
    let share = world.ask(&ValidatorAuthority::owedCall { account: reporter });
    assert_eq!(share, U256::from(bond) / U256::from(10), "a tenth is the reporter's");
    drop(network);

    // Another leaves, and one that has no node yet registers: three of four validate on.
    let left = signer(&world.folder(3)).id();
    assert!(world.validator("exit", &world.folder(3), &[]).contains("left"));
    let new = tempfile::tempdir().unwrap();
    let init = jove(&["validator", "init", "--datadir", new.path().to_str().unwrap()]);
    let entry: Value = serde_json::from_str(&stdout(&{ init }.output().unwrap())).unwrap();
    let joined: B256 = entry["id"].as_str().unwrap().parse().unwrap();
    assert!(world.validator("register", new.path(), &["--bond", "2"]).contains(&joined.to_string()));

    let mut expected: Vec<B256> = genesis.iter().copied().filter(|id| *id != twice && *id != left).collect();
    expected.push(joined);
    expected.sort();
    world.until("the set changes", || world.ids() == expected);
    let epoch = world.validators()["status"]["epoch"].as_u64().unwrap();
    assert!(epoch >= 2);

    // Its checkpoints are certified, and L1 takes their batches with the keys of the new set.
    let height = world.validators()["status"]["height"].as_u64().unwrap();
    world.until("certified", || world.validators()["status"]["height"].as_u64().unwrap() > height + 2);
    let known = || world.ask(&ValidatorAuthority::epochAtCall { era: 0, epoch });
    world.until("committed", || !known().points.is_zero());
    assert_ne!(known().setHash, Founders::of(&world.chain().validators.unwrap()).unwrap().set.hash());
    assert_eq!(world.validators()["status"]["halted"], Value::Null);
}
