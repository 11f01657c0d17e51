//! A validator on a chain in memory, among validators that the test plays.
#![allow(clippy::unwrap_used)] // a test may panic

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use jove_avc::{
    Anchor, Bitmap, Certificate, Checkpoint, Content, Domain, KeyedHash, KeyedHashSigner, Kind, L1Origin, Message,
    NextSet, Proposal, Reject, Scheme as _, Seal, Settings, Signer as _, Timing, Tip, Validator, ValidatorSet,
    WEIGHT_ONE, codec::Wire as _,
};
use jove_consensus::{
    Chain, ChainError, Config, Consensus, Error, Fraud, Gossip, Judgement, Peers, Reason, Reply, Request, SealedBlocks,
    Verdict,
};
use jove_primitives::block::Block;
use parking_lot::{Condvar, Mutex};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Only a hang is as long.
const LONG: Duration = Duration::from_secs(120);
const GENESIS: B256 = B256::repeat_byte(7);
const SETTINGS: Settings = Settings {
    domain: Domain { chain_id: 9, era: 0 },
    epoch_length: 10,
    term_length: 2,
    seats: 4,
    // nothing runs out
    timing: Timing { base: 600_000, cap: 600_000, buddy: 600_000, empty: 600_000, gap: 100 },
};

/// What waits while it is closed.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: Mutex<bool>,
}

impl Gate {
    fn close(&self) {
        *self.closed.lock() = true;
    }

    fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock();
        *self.waiting.lock() = *closed;
        self.opened.wait_while(&mut closed, |closed| *closed);
    }

    fn has_somebody(&self) -> bool {
        *self.waiting.lock()
    }
}

/// Blocks in memory.
#[derive(Default)]
struct Fake {
    blocks: Mutex<Vec<Block>>,
    /// Whether it was given blocks that do not follow its own: a node would compare them with messages that are not theirs.
    misled: Mutex<bool>,
    /// Of execution.
    gate: Gate,
    /// What was called certified, and what the chain had there.
    certified: Mutex<Vec<(B256, Option<B256>)>>,
    /// How often the driver looked at its head.
    looks: AtomicUsize,
    /// By L1.
    convicted: Mutex<Vec<B256>>,
    /// Whether it finds all blocks invalid.
    damaged: Mutex<bool>,
}

impl Fake {
    fn set(&self, blocks: Vec<Block>) {
        *self.blocks.lock() = blocks;
    }
}

impl Chain for Fake {
    fn head(&self) -> (u64, B256) {
        if std::thread::current().name() == Some("consensus") {
            self.looks.fetch_add(1, Ordering::SeqCst);
        }
        let blocks = self.blocks.lock();
        blocks.last().map_or((0, GENESIS), |last| (last.header.number, last.header.hash_slow()))
    }

    fn hash_at(&self, number: u64) -> Option<B256> {
        match number.checked_sub(1) {
            None => Some(GENESIS),
            Some(index) => self.blocks.lock().get(index as usize).map(|block| block.header.hash_slow()),
        }
    }

    fn block(&self, number: u64) -> Option<Block> {
        self.blocks.lock().get(number.checked_sub(1)? as usize).cloned()
    }

    fn sent_to(&self, number: u64, _: Address) -> Option<Vec<(Address, Bytes)>> {
        self.block(number).map(|_| Vec::new())
    }

    fn result_at(&self, number: u64) -> Option<(B256, L1Origin)> {
        Some((self.block(number)?.header.state_root, L1Origin::default()))
    }

    fn execute(&self, new: Vec<Block>) -> Result<Verdict, ChainError> {
        let Some(first) = new.first() else { return Ok(Verdict::Valid) };
        if *self.damaged.lock() {
            let headers = vec![first.header.clone()];
            let fraud = Fraud { reason: Reason::L1, headers, transactions: Vec::new(), state: None };
            return Ok(Verdict::Invalid(Box::new(fraud)));
        }
        let parent = first.header.number - 1;
        let follows = || self.hash_at(parent) == Some(first.header.parent_hash);
        *self.misled.lock() |= !follows();
        self.gate.pass();
        if !follows() {
            return Err(ChainError("no parent".into()));
        }
        let mut blocks = self.blocks.lock();
        blocks.truncate(parent as usize);
        blocks.extend(new);
        Ok(Verdict::Valid)
    }

    fn lead(&self, _: bool) {}

    fn seal_empty(&self) {}

    fn has_work(&self, _: bool) -> bool {
        false
    }

    fn content(&self, _: &Tip, _: bool) -> Option<Content> {
        None
    }

    fn fits(&self, _: u64, _: u64, _: bool) -> Result<bool, ChainError> {
        Ok(true)
    }

    fn validators(&self, _: &L1Origin, before: &Arc<ValidatorSet>) -> Result<Arc<ValidatorSet>, ChainError> {
        Ok(before.clone())
    }

    fn convicted(&self, _: &L1Origin, _: &L1Origin) -> Result<Vec<B256>, ChainError> {
        Ok(self.convicted.lock().clone())
    }

    fn shows(&self, _: &Checkpoint, _: &Fraud) -> bool {
        true
    }

    fn certified(&self, _: B256, checkpoint: &Checkpoint) {
        self.certified.lock().push((checkpoint.last_hash, self.hash_at(checkpoint.last_number)));
    }
}

/// Peers that give blocks when the test says so.
#[derive(Default)]
struct Others {
    /// Blocks that are there to be had.
    given: Mutex<Vec<Block>>,
    /// Questions without an answer yet.
    asked: Mutex<Vec<(B256, Reply)>>,
    /// Those for certificates.
    asked_for_certificates: Mutex<Vec<(Request, Reply)>>,
    /// What was said to all.
    said: Mutex<Vec<Message>>,
    /// Of messages.
    gate: Gate,
}

impl Others {
    fn answer(block: &Block, reply: Reply) {
        reply(Some(alloy_rlp::encode(vec![block.clone()]).into()));
    }

    /// Gives a block from now on, to those who asked before too.
    fn give(&self, block: &Block) {
        self.given.lock().push(block.clone());
        let hash = block.header.hash_slow();
        for (asked, reply) in std::mem::take(&mut *self.asked.lock()) {
            if asked == hash {
                Self::answer(block, reply);
            }
        }
    }
}

impl Peers for Others {
    fn send(&self, _: B256, _: Bytes) {
        self.gate.pass();
    }

    fn broadcast(&self, message: Bytes) {
        self.gate.pass();
        self.said.lock().push(Message::decode(&message).unwrap());
    }

    fn publish(&self, _: Gossip, _: Bytes) {}

    fn request(&self, _: Option<B256>, request: Bytes, reply: Reply) {
        let hash = match Request::decode(&request) {
            Some(Request::Blocks { hash, .. }) => hash,
            Some(request @ Request::Certificates { .. }) => {
                self.asked_for_certificates.lock().push((request, reply));
                return;
            }
            _ => return,
        };
        let given = self.given.lock().iter().find(|block| block.header.hash_slow() == hash).cloned();
        match given {
            Some(block) => Self::answer(&block, reply),
            None => self.asked.lock().push((hash, reply)),
        }
    }

    fn set_validators(&self, _: &ValidatorSet, _: &ValidatorSet) {}
}

fn signer(node: u8) -> KeyedHashSigner {
    KeyedHashSigner { id: B256::with_last_byte(node), number: u64::from(node) + 1 }
}

fn set() -> Arc<ValidatorSet> {
    let validators = (0..4).map(|node| {
        let signer = signer(node);
        let (key, vrf) = (signer.public_key(), signer.vrf_key());
        Validator { id: signer.id, key, vrf, weight: 2 * WEIGHT_ONE, sequencer: true }
    });
    Arc::new(ValidatorSet::new(validators.collect()).unwrap())
}

/// Who leads a term.
fn leader(term: u64) -> u8 {
    set().leader(&[0; 32], term) as u8
}

/// The validator that is not played: one that leads neither of the first two terms.
fn own() -> u8 {
    (0..4).find(|node| ![leader(0), leader(1)].contains(node)).unwrap()
}

fn start(folder: &Path, chain: &Arc<Fake>, peers: &Arc<Others>) -> Arc<Consensus> {
    start_with(SETTINGS, folder, chain, peers)
}

fn start_with(settings: Settings, folder: &Path, chain: &Arc<Fake>, peers: &Arc<Others>) -> Arc<Consensus> {
    let tip = Tip { height: 0, digest: GENESIS, last_number: 0, last_hash: GENESIS, origin: L1Origin::default() };
    let genesis = Anchor { epoch: 0, start: tip, certificate: None, set: set(), next: set(), seed: [0; 32] };
    let config = Config {
        settings,
        seeds: Vec::new(),
        genesis,
        folder: folder.to_owned(),
        sync: false,
        votes_from: Some(0),
        interval: Duration::ZERO,
    };
    Consensus::start(config, Arc::new(KeyedHash), Some(Arc::new(signer(own()))), chain.clone(), peers.clone()).unwrap()
}

fn block(number: u64, parent_hash: B256, extra: &'static [u8]) -> Block {
    let header = Header { number, parent_hash, extra_data: extra.into(), ..Default::default() };
    let withdrawals = Some(Default::default());
    Block { header, body: alloy_consensus::BlockBody { withdrawals, ..Default::default() } }
}

/// The first checkpoint, of one block, proposed in the first view of a term.
fn proposal(term: u64, last: &Block) -> Proposal {
    proposal_with(term, last, None)
}

/// The same, with the set two epochs on where it ends the epoch.
fn proposal_with(term: u64, last: &Block, next: Option<NextSet>) -> Proposal {
    let (view, node) = (term * SETTINGS.term_length, leader(term));
    let signer = signer(node);
    let proof = signer.vrf_prove(&SETTINGS.domain.vrf_input(&[0; 32], view));
    let checkpoint = Checkpoint {
        chain_id: SETTINGS.domain.chain_id,
        era: SETTINGS.domain.era,
        epoch: 0,
        height: 1,
        view,
        proposer: u16::from(node),
        proof,
        parent: GENESIS,
        parent_signers: Bitmap::default(),
        last_number: last.header.number,
        last_hash: last.header.hash_slow(),
        state_root: last.header.state_root,
        origin: L1Origin::default(),
        set_version: 0,
        set_hash: set().hash(),
        weight_root: set().weight_root(),
        evidence_root: B256::ZERO,
        next,
    };
    let statement = SETTINGS.domain.statement(Kind::Proposal, 0, view, &checkpoint.digest());
    Proposal { view, proof, checkpoint, justification: None, signature: signer.sign(&statement) }
}

/// The second checkpoint, in the view after the first.
fn after(first: &Proposal, notarized: Certificate, last: &Block) -> Proposal {
    let (view, signer) = (first.view + 1, signer(leader(0)));
    let proof = signer.vrf_prove(&SETTINGS.domain.vrf_input(&[0; 32], view));
    let checkpoint = Checkpoint {
        height: 2,
        view,
        proof,
        parent: first.checkpoint.digest(),
        parent_signers: notarized.signers,
        last_number: last.header.number,
        last_hash: last.header.hash_slow(),
        ..first.checkpoint.clone()
    };
    let statement = SETTINGS.domain.statement(Kind::Proposal, 0, view, &checkpoint.digest());
    Proposal { view, proof, checkpoint, justification: Some(notarized), signature: signer.sign(&statement) }
}

fn ask(block: &Block) -> Bytes {
    Request::Blocks { number: block.header.number, hash: block.header.hash_slow(), count: 1 }.encode()
}

fn certificate(kind: Kind, view: u64, digest: B256) -> Message {
    let others: Vec<u8> = (0..4).filter(|node| *node != own()).collect();
    let statement = SETTINGS.domain.statement(kind, 0, view, &digest);
    let signatures: Vec<_> = others.iter().map(|node| signer(*node).sign(&statement)).collect();
    let mut signers = Bitmap::default();
    others.iter().for_each(|node| signers.insert(u16::from(*node)));
    let signature = KeyedHash.aggregate(&signatures).unwrap();
    Message::Certificate(Certificate { kind, epoch: 0, view, digest, signers, signature })
}

fn say(consensus: &Consensus, node: u8, message: Message) {
    assert!(consensus.on_message(B256::with_last_byte(node), &message.encode()));
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the driver has made jobs of all that it was told: in each round it takes what there is, looks at the chain, and makes jobs.
fn settled(chain: &Fake) {
    let before = chain.looks.load(Ordering::SeqCst);
    until("the driver goes on", || chain.looks.load(Ordering::SeqCst) >= before + 5);
}

/// A proposal whose blocks are withheld, the end of its term, and another that is notarized in the next.
struct Rivals {
    stale: Block,
    good: Block,
    digest: B256,
}

fn rivals(consensus: &Consensus, chain: &Fake, peers: &Others) -> Rivals {
    let (stale, good) = (block(1, GENESIS, b"stale"), block(1, GENESIS, b"good"));
    peers.given.lock().push(good.clone());
    say(consensus, leader(0), Message::Proposal(Box::new(proposal(0, &stale))));
    until("its blocks are asked for", || !peers.asked.lock().is_empty());
    say(consensus, leader(0), certificate(Kind::Skip, 0, B256::ZERO));
    let next = proposal(1, &good);
    let digest = next.checkpoint.digest();
    say(consensus, leader(1), Message::Proposal(Box::new(next)));
    until("it is executed", || chain.head().1 == good.header.hash_slow());
    say(consensus, leader(1), certificate(Kind::Notarize, SETTINGS.term_length, digest));
    until("a view was entered", || consensus.status().view == SETTINGS.term_length + 1);
    Rivals { stale, good, digest }
}

#[test]
fn a_leader_of_the_past_withdraws_nobodys_blocks() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    let consensus = start(folder.path(), &chain, &peers);
    let Rivals { stale, good, .. } = rivals(&consensus, &chain, &peers);
    peers.give(&stale);
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(chain.head().1, good.header.hash_slow(), "what was skipped is executed, in place of the leader's");
    }
    consensus.stop();
}

#[test]
fn only_blocks_of_the_final_branch_are_called_certified() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    let consensus = start(folder.path(), &chain, &peers);
    let Rivals { stale, good, digest } = rivals(&consensus, &chain, &peers);
    chain.set(vec![stale.clone()]);
    say(&consensus, leader(1), certificate(Kind::Finalize, SETTINGS.term_length, digest));
    let hash = good.header.hash_slow();
    until("it is certified", || !chain.certified.lock().is_empty());
    assert_eq!(*chain.certified.lock(), [(hash, Some(hash))], "the chain went there first");
    consensus.stop();

    // It had ended on another branch.
    drop(consensus);
    chain.certified.lock().clear();
    chain.set(vec![stale]);
    let consensus = start(folder.path(), &chain, &peers);
    until("it is certified again", || !chain.certified.lock().is_empty());
    assert_eq!(chain.head().1, hash);
    assert!(chain.certified.lock().iter().all(|one| *one == (hash, Some(hash))));
    consensus.stop();
}

/// Has the worker wait in the execution of a block that its leader has sealed.
fn hold(consensus: &Consensus, chain: &Fake, block: Block) {
    chain.gate.close();
    let (number, hash) = (block.header.number, block.header.hash_slow());
    let statement = SETTINGS.domain.seal_statement(0, 0, number, &hash);
    let seal = Seal { epoch: 0, term: 0, number, hash, signature: signer(leader(0)).sign(&statement) };
    consensus.on_blocks(SealedBlocks { seal, blocks: vec![block] }, |_| {});
    until("a block is executed", || chain.gate.has_somebody());
}

#[test]
fn blocks_are_not_compared_with_a_chain_that_they_do_not_follow() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    let consensus = start(folder.path(), &chain, &peers);
    let parent = block(1, GENESIS, b"parent");
    let child = |extra| block(2, parent.header.hash_slow(), extra);
    let last = child(b"proposed");
    peers.given.lock().extend([parent.clone(), last.clone()]);
    let first = proposal(0, &parent);
    let digest = first.checkpoint.digest();
    say(&consensus, leader(0), Message::Proposal(Box::new(first.clone())));
    until("it is executed", || chain.head().1 == parent.header.hash_slow());
    let Message::Certificate(notarized) = certificate(Kind::Notarize, 0, digest) else { panic!("a certificate") };
    hold(&consensus, &chain, child(b"sealed"));
    let second = after(&first, notarized, &last);
    say(&consensus, leader(0), Message::Proposal(Box::new(second)));
    until("its block is here", || consensus.serve(&ask(&last)).is_some_and(|answer| answer.len() > 8));
    settled(&chain);
    chain.set(vec![block(1, GENESIS, b"rival")]);
    chain.gate.open();
    until("it is executed after all", || chain.head().1 == last.header.hash_slow());
    assert!(!*chain.misled.lock());
    consensus.stop();
}

/// Two checkpoints that are final by the FinalCert of the second; the first, which has none of its own here.
fn overtaken(consensus: &Consensus, chain: &Fake, peers: &Others) -> Proposal {
    let parent = block(1, GENESIS, b"first");
    let last = block(2, parent.header.hash_slow(), b"second");
    peers.given.lock().extend([parent.clone(), last.clone()]);
    let first = proposal(0, &parent);
    say(consensus, leader(0), Message::Proposal(Box::new(first.clone())));
    until("the first is executed", || chain.head().1 == parent.header.hash_slow());
    let notarized = certificate(Kind::Notarize, 0, first.checkpoint.digest());
    let Message::Certificate(notarized) = notarized else { panic!("a certificate") };
    let second = after(&first, notarized, &last);
    let digest = second.checkpoint.digest();
    say(consensus, leader(0), Message::Proposal(Box::new(second)));
    until("the second is executed", || chain.head().1 == last.header.hash_slow());
    say(consensus, leader(0), certificate(Kind::Finalize, 1, digest));
    until("both are final", || consensus.status().height == 2);
    first
}

#[test]
fn a_certificate_that_was_overtaken_is_had_from_peers() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    let consensus = start(folder.path(), &chain, &peers);
    let first = overtaken(&consensus, &chain, &peers);
    let kept = |height| consensus.store().at_height(height).unwrap().unwrap().certificate;
    let (own, later) = (certificate(Kind::Finalize, 0, first.checkpoint.digest()), kept(2).unwrap());
    let Message::Certificate(own) = own else { panic!("a certificate") };
    assert_eq!(kept(1), None);
    let list = |certificates: &[&Certificate]| -> Bytes {
        alloy_rlp::encode(certificates.iter().map(|one| Bytes::from(one.encode())).collect::<Vec<_>>()).into()
    };
    assert_eq!(consensus.serve(&Request::Certificates { first: 1, last: 2 }.encode()), Some(list(&[&later])));

    let forged = Certificate { signature: [7; 48], ..own.clone() };
    let elsewhere = Certificate { epoch: 1, ..own.clone() };
    let answers = [
        (None, Judgement::Idle),
        (Some(list(&[])), Judgement::Idle),
        (Some(Bytes::from_static(b"words")), Judgement::Bad),
        (Some(list(&[&forged])), Judgement::Bad),
        (Some(list(&[&elsewhere])), Judgement::Bad),
        (Some(list(&[&later])), Judgement::Bad),
        (Some(list(&[&own])), Judgement::Good),
    ];
    for (answer, expected) in answers {
        assert_eq!(kept(1), None, "before {expected:?}");
        for _ in 0..2 {
            consensus.look_for_certificates(1, 2).unwrap();
        }
        let mut asked = std::mem::take(&mut *peers.asked_for_certificates.lock());
        let (request, reply) = asked.pop().unwrap();
        assert!(asked.is_empty(), "one question at a time");
        assert_eq!(request, Request::Certificates { first: 1, last: 1 });
        assert_eq!(reply(answer), expected);
    }
    assert_eq!(kept(1).as_ref(), Some(&own));
    consensus.look_for_certificates(1, 2).unwrap();
    assert!(peers.asked_for_certificates.lock().is_empty(), "nothing is lacking");
    let both = Some(list(&[&own, &later]));
    assert_eq!(consensus.serve(&Request::Certificates { first: 1, last: 2 }.encode()), both);
    consensus.stop();
}

#[test]
fn a_chain_that_lost_what_is_final_gets_it_back_or_says_why_not() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    let consensus = start(folder.path(), &chain, &peers);
    overtaken(&consensus, &chain, &peers);
    let last = chain.head();
    consensus.stop();
    drop(consensus);

    // From peers: who have the last first, and then those before it.
    chain.set(Vec::new());
    chain.certified.lock().clear();
    let consensus = start(folder.path(), &chain, &peers);
    until("it is certified again", || chain.certified.lock().contains(&(last.1, Some(last.1))));
    assert_eq!(chain.head(), last);
    assert_eq!(consensus.status().failed, None);
    consensus.stop();
    drop(consensus);

    // What is final is invalid by its own execution: it does not try for ever.
    chain.set(Vec::new());
    *chain.damaged.lock() = true;
    let consensus = start(folder.path(), &chain, &peers);
    until("it stops", || consensus.status().failed.is_some());
    let failed = consensus.status().failed.unwrap();
    assert!(failed.contains("block 1, which validators certified, is invalid here"), "{failed}");
    consensus.stop();
}

#[test]
fn witnesses_wait_for_all_else() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    let consensus = start(folder.path(), &chain, &peers);
    let (sealed, last) = (block(1, GENESIS, b"sealed"), block(1, GENESIS, b"proposed"));
    hold(&consensus, &chain, sealed);
    let good = proposal(0, &last);
    let digest = good.checkpoint.digest();
    say(&consensus, leader(0), Message::Proposal(Box::new(good)));
    until("its blocks are asked for", || !peers.asked.lock().is_empty());
    let headers = vec![last.header.clone()];
    let fraud = Fraud { reason: Reason::Checkpoint, headers, transactions: Vec::new(), state: None };
    let witness = fraud.encode().unwrap();
    let lie = Reject { epoch: 0, view: 0, digest, reason: Reason::Checkpoint as u16, witness };
    for node in (0..4).filter(|node| *node != own()) {
        say(&consensus, node, Message::Reject(Box::new(lie.clone())));
    }
    peers.give(&last);
    settled(&chain);
    chain.gate.open();
    let votes = |kind| {
        let said = peers.said.lock();
        said.iter().filter(|message| matches!(message, Message::Vote(vote) if vote.kind == kind)).count()
    };
    until("it is voted on", || votes(Kind::Buddy) + votes(Kind::Skip) > 0);
    // This chain believes every witness: what was executed before stands.
    assert_eq!((votes(Kind::Buddy), votes(Kind::Skip)), (1, 0));
    consensus.stop();
}

#[test]
fn a_lie_about_whom_l1_convicted_is_refused() {
    // The first checkpoint is the epoch's last.
    let settings = Settings { epoch_length: 1, ..SETTINGS };
    let convicted = signer(0).id;
    let mut members = set().validators().to_vec();
    members.iter_mut().filter(|one| one.id == convicted).for_each(|one| one.weight = WEIGHT_ONE);
    let (truth, lie) = (ValidatorSet::new(members).unwrap(), set());
    for (next, expected) in [(&truth, Kind::Buddy), (&*lie, Kind::Skip)] {
        let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
        chain.convicted.lock().push(convicted);
        let consensus = start_with(settings, folder.path(), &chain, &peers);
        let last = block(1, GENESIS, b"last");
        peers.given.lock().push(last.clone());
        let proposal = proposal_with(0, &last, Some(NextSet::of(next)));
        say(&consensus, leader(0), Message::Proposal(Box::new(proposal)));
        let votes = || {
            let said = peers.said.lock();
            let kinds =
                said.iter().map(|message| if let Message::Vote(vote) = message { Some(vote.kind) } else { None });
            kinds.flatten().collect::<Vec<_>>()
        };
        until("it votes", || !votes().is_empty());
        assert_eq!(votes(), [expected]);
        consensus.stop();
    }
}

#[test]
fn a_peer_that_floods_keeps_nobody_out() {
    let (folder, chain, peers) = (tempfile::tempdir().unwrap(), Arc::<Fake>::default(), Arc::<Others>::default());
    peers.gate.close();
    let consensus = start(folder.path(), &chain, &peers);
    let (flooding, honest) = (leader(0), (0..4).find(|node| ![own(), leader(0)].contains(node)).unwrap());
    for number in 0..10_000_u64 {
        let digest = keccak256(number.to_be_bytes());
        say(&consensus, flooding, Message::Request(jove_avc::Request::Ancestry { digest }));
    }
    say(&consensus, honest, certificate(Kind::Skip, 0, B256::ZERO));
    peers.gate.open();
    until("the honest one is heard", || consensus.status().view == SETTINGS.term_length);
    consensus.stop();
}

#[test]
fn a_validator_without_its_log_does_not_start_unless_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let tip = Tip { height: 0, digest: GENESIS, last_number: 0, last_hash: GENESIS, origin: L1Origin::default() };
    let genesis = Anchor { epoch: 0, start: tip, certificate: None, set: set(), next: set(), seed: [0; 32] };
    let config = Config {
        settings: SETTINGS,
        seeds: Vec::new(),
        genesis,
        folder: folder.path().to_owned(),
        sync: false,
        votes_from: None,
        interval: Duration::ZERO,
    };
    let (chain, peers) = (Arc::<Fake>::default(), Arc::<Others>::default());
    let started = Consensus::start(config, Arc::new(KeyedHash), Some(Arc::new(signer(own()))), chain, peers);
    assert!(matches!(started.err(), Some(Error::NoLog)));
}
