//! One node at a time: seals, restarts, bounds, and what no peer may do to it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alloy_primitives::{B256, keccak256};
use jove_avc::codec::MAX_NUMBER;
use jove_avc::{
    Anchor, Bitmap, Certificate, Content, Core, Domain, Effect, Event, Evidence, KeyedHash, KeyedHashSigner, Kind,
    L1Origin, Message, Outcome, Proposal, PublicKey, Record, Request, Scheme, Seal, Settings, Signature, Signer,
    Tampering, Timer, Timing, Tip, Validator, ValidatorSet, Vote, VrfKey, VrfOutput, VrfProof, WEIGHT_ONE,
    verify_certificate, verify_evidence, verify_seals,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SETTINGS: Settings = Settings {
    domain: Domain { chain_id: 9, era: 1 },
    epoch_length: 10,
    term_length: 4,
    seats: 4,
    timing: Timing { base: 1_000, cap: 8_000, buddy: 300, empty: 1_000, gap: 100 },
};

fn signer(node: usize) -> KeyedHashSigner {
    KeyedHashSigner { id: B256::with_last_byte(node as u8), number: node as u64 + 1 }
}

fn set() -> Arc<ValidatorSet> {
    let validators = (0..4).map(|node| {
        let signer = signer(node);
        let (key, vrf) = (signer.public_key(), signer.vrf_key());
        Validator { id: signer.id, key, vrf, weight: WEIGHT_ONE, sequencer: true }
    });
    Arc::new(ValidatorSet::new(validators.collect()).unwrap())
}

fn genesis() -> Record {
    let start = Tip {
        height: 0,
        digest: keccak256(b"genesis"),
        last_number: 0,
        last_hash: B256::ZERO,
        origin: L1Origin::default(),
    };
    Record::Anchor(Box::new(Anchor { epoch: 0, start, certificate: None, set: set(), next: set(), seed: [0; 32] }))
}

fn node(index: usize, log: &[Record]) -> Core {
    let signer = Some(Arc::new(signer(index)) as Arc<dyn Signer>);
    Core::new(SETTINGS, Arc::new(KeyedHash), signer, 0, log, Tampering::default()).unwrap()
}

fn started(index: usize, log: &[Record]) -> Core {
    let mut core = node(index, log);
    core.handle(0, Event::Start);
    core
}

fn leader() -> usize {
    usize::from(set().leader(&[0; 32], 0))
}

fn follower() -> usize {
    (0..4).find(|node| *node != leader()).unwrap()
}

fn vote(node: usize, kind: Kind, view: u64, digest: B256) -> Vote {
    let signature = signer(node).sign(&SETTINGS.domain.statement(kind, 0, view, &digest));
    Vote { kind, epoch: 0, view, digest, signer: node as u16, signature }
}

fn from(node: usize, message: Message) -> Event {
    Event::Message { from: B256::with_last_byte(node as u8), message: Arc::new(message) }
}

fn records(effects: &[Effect]) -> Vec<Record> {
    let record =
        |effect: &Effect| if let Effect::Persist(record) = effect { Some(Record::clone(record)) } else { None };
    effects.iter().filter_map(record).collect()
}

fn expire(core: &mut Core, now: u64) -> Vec<Effect> {
    let (epoch, view) = core.position();
    core.handle(now, Event::Timer(Timer::View { epoch, view }))
}

fn seals(effects: &[Effect]) -> Vec<Seal> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Sealed(seal) = effect { Some(seal.clone()) } else { None })
        .collect()
}

#[test]
fn a_number_is_sealed_once_and_two_seals_are_evidence() {
    let mut core = started(leader(), &[genesis()]);
    let effects = core.handle(1, Event::Seal { number: 1, hash: B256::with_last_byte(1) });
    let seal = seals(&effects)[0].clone();
    assert_eq!(records(&effects), [Record::Seal(seal.clone())], "in the log before it leaves");
    let log = [vec![genesis()], records(&effects)].concat();
    for mut core in [core, started(leader(), &log)] {
        assert!(seals(&core.handle(2, Event::Seal { number: 1, hash: B256::with_last_byte(2) })).is_empty());
        assert_eq!(
            seals(&core.handle(2, Event::Seal { number: 1, hash: B256::with_last_byte(1) })),
            std::slice::from_ref(&seal)
        );
    }
    assert!(
        seals(&started(follower(), &[genesis()]).handle(1, Event::Seal { number: 1, hash: B256::ZERO })).is_empty()
    );

    // a twin that does not know the log
    let twin =
        seals(&started(leader(), &[genesis()]).handle(1, Event::Seal { number: 1, hash: B256::with_last_byte(2) }));
    let mut other = started(follower(), &[genesis()]);
    other.handle(3, from(leader(), Message::Seal(seal)));
    let effects = other.handle(3, from(leader(), Message::Seal(twin[0].clone())));
    let Some(Effect::Evidence(evidence)) = effects.first() else { panic!("{effects:?}") };
    assert!(verify_seals(evidence, &SETTINGS.domain, &set(), &[0; 32], &KeyedHash));
    assert!(!verify_seals(evidence, &Domain { era: 2, ..SETTINGS.domain }, &set(), &[0; 32], &KeyedHash));
}

#[test]
fn finalize_and_skip_of_one_view_are_evidence_and_an_honest_pair_is_not() {
    let (digest, other) = (B256::with_last_byte(1), B256::with_last_byte(2));
    let mut core = started(0, &[genesis()]);
    let guilty = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Evidence(_)));
    for honest in
        [vote(1, Kind::Notarize, 0, digest), vote(1, Kind::Finalize, 0, other), vote(2, Kind::Notarize, 1, digest)]
    {
        assert!(!guilty(&core.handle(1, from(usize::from(honest.signer), Message::Vote(honest)))));
    }
    let wrong = Vote { signature: [1; 48], ..vote(1, Kind::Skip, 0, B256::ZERO) };
    assert!(!guilty(&core.handle(1, from(1, Message::Vote(wrong)))), "a wrong signature accuses nobody");
    let mut core = started(0, &[genesis()]);
    core.handle(1, from(1, Message::Vote(vote(1, Kind::Finalize, 0, other))));
    let effects = core.handle(1, from(1, Message::Vote(vote(1, Kind::Skip, 0, B256::ZERO))));
    assert!(guilty(&effects));
    let pair = Evidence::of_votes(&vote(1, Kind::Finalize, 0, other), &vote(1, Kind::Skip, 0, B256::ZERO)).unwrap();
    assert!(verify_evidence(&pair, &SETTINGS.domain, &set(), &KeyedHash));
}

#[test]
fn wrong_signatures_do_not_spoil_a_quorum() {
    let mut core = started(0, &[genesis()]);
    core.handle(1, Event::Work(true));
    let spoiled = Vote { signature: [9; 48], ..vote(1, Kind::Skip, 0, B256::ZERO) };
    core.handle(2, from(1, Message::Vote(spoiled)));
    core.handle(2, from(2, Message::Vote(vote(2, Kind::Skip, 0, B256::ZERO))));
    let effects = expire(&mut core, 1_000);
    assert_eq!(core.position(), (0, 0), "two right ones and a wrong one are no quorum");
    assert!(records(&effects).iter().any(|record| matches!(record, Record::Vote(vote) if vote.kind == Kind::Skip)));
    let effects = core.handle(1_001, from(3, Message::Vote(vote(3, Kind::Skip, 0, B256::ZERO))));
    assert_eq!(core.position(), (0, 4), "the next term");
    let certificate = records(&effects).into_iter().find_map(|record| match record {
        Record::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificate = certificate.unwrap();
    assert!(verify_certificate(&certificate, &SETTINGS.domain, &set(), &KeyedHash));
    assert!(!certificate.signers.contains(1));
    // someone else's vote is verified before it counts
    let forged = Vote { signature: [9; 48], ..vote(2, Kind::Skip, 4, B256::ZERO) };
    core.handle(1_002, from(1, Message::Vote(forged)));
    core.handle(1_002, from(2, Message::Vote(vote(2, Kind::Skip, 4, B256::ZERO))));
    core.handle(1_002, from(3, Message::Vote(vote(3, Kind::Skip, 4, B256::ZERO))));
    expire(&mut core, 3_000);
    assert_eq!(core.position(), (0, 8));
}

#[test]
fn a_restarted_node_knows_what_it_said() {
    let mut core = started(0, &[genesis()]);
    core.handle(1, Event::Work(true));
    let mut log = vec![genesis()];
    log.extend(records(&expire(&mut core, 1_000)));
    for other in [1, 2] {
        log.extend(records(&core.handle(1_001, from(other, Message::Vote(vote(other, Kind::Skip, 0, B256::ZERO))))));
    }
    assert_eq!(core.position(), (0, 4));
    let mut again = started(0, &log);
    assert_eq!(again.position(), (0, 4));
    again.handle(5, Event::Work(true));
    let first = records(&expire(&mut again, 1_000));
    log.extend(first);
    let mut third = started(0, &log);
    third.handle(5, Event::Work(true));
    assert!(
        records(&expire(&mut third, 1_000)).is_empty(),
        "Skip of view 4 is in the log: it is sent again, not made again"
    );
    assert!(Core::new(SETTINGS, Arc::new(KeyedHash), None, 0, &[], Tampering::default()).is_err());
}

#[test]
fn an_idle_node_has_no_timer_and_answers_are_rationed() {
    let mut core = node(0, &[genesis()]);
    let effects = core.handle(0, Event::Start);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::SetTimer { .. })));
    let effects = core.handle(1, Event::Work(true));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::SetTimer { after: 1_000, .. })));
    for other in [1, 2, 3] {
        core.handle(2, from(other, Message::Vote(vote(other, Kind::Skip, 0, B256::ZERO))));
    }
    let ask = Message::Request(Request::Certificates { epoch: 0, view: 0 });
    let sent: usize = (0..1_000).map(|_| core.handle(200, from(1, ask.clone())).len()).sum();
    assert_eq!(sent, 1, "one SkipCert, once");
    assert_eq!(core.handle(300, from(1, ask)).len(), 1);
}

#[test]
fn whatever_peers_send_nothing_breaks() {
    let mut state = 0x0DDB_1A5E_5BAD_5EED_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut core = started(follower(), &[genesis()]);
    core.handle(0, Event::Work(true));
    let views = [0, 1, 3, 4, 63, 64, 65, 1_000, MAX_NUMBER - 1, MAX_NUMBER];
    let kinds = [Kind::Buddy, Kind::Notarize, Kind::Skip, Kind::Finalize];
    let mut effects = 0;
    for step in 0..50_000 {
        let (view, kind) = (views[(next() % 10) as usize], kinds[(next() % 4) as usize]);
        let epoch = [0, 0, 0, 1, MAX_NUMBER][(next() % 5) as usize];
        let digest = if kind == Kind::Skip { B256::ZERO } else { B256::with_last_byte((next() % 3) as u8 + 1) };
        let signer = [0, 1, 2, 3, 4, 199, 200, u16::MAX][(next() % 8) as usize];
        let mut signature = [0; 48];
        signature[0] = next() as u8;
        let hash = B256::with_last_byte(next() as u8);
        let message = match next() % 6 {
            0 | 1 => Message::Vote(Vote { kind, epoch, view, digest, signer, signature }),
            2 => {
                let signers = [Bitmap::first(3), Bitmap::first(4), Bitmap::first(200), Bitmap::default()];
                let signers = signers[(next() % 4) as usize];
                Message::Certificate(Certificate { kind, epoch, view, digest, signers, signature })
            }
            3 => Message::Seal(Seal { epoch, term: view, number: view, hash, signature }),
            4 => Message::Request(Request::Certificates { epoch, view }),
            _ => Message::Request(Request::Ancestry { digest: hash }),
        };
        effects += core.handle(step, from((next() % 6) as usize, message)).len();
    }
    assert_eq!(core.position(), (0, 0), "nothing of it verified");
    assert!(effects < 50_000, "{effects} effects");
}

fn certificate(kind: Kind, view: u64, digest: B256) -> Certificate {
    let signatures: Vec<_> = (1..4).map(|node| vote(node, kind, view, digest).signature).collect();
    let mut signers = Bitmap::default();
    (1..4).for_each(|node| signers.insert(node));
    Certificate { kind, epoch: 0, view, digest, signers, signature: KeyedHash.aggregate(&signatures).unwrap() }
}

/// Has the leader of the first term propose a block in its current view.
fn proposal(core: &mut Core, number: u64, evidence_root: B256, next: Option<Arc<ValidatorSet>>) -> Proposal {
    core.handle(1, Event::Work(true));
    let (_, view) = core.position();
    let content = Content {
        last_number: number,
        last_hash: B256::with_last_byte(number as u8),
        state_root: B256::ZERO,
        origin: L1Origin::default(),
        evidence_root,
        next,
    };
    let effects = core.handle(2, Event::Built { view, content: Box::new(content) });
    let proposals = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(message) => match &**message {
            Message::Proposal(proposal) => Some(Proposal::clone(proposal)),
            _ => None,
        },
        _ => None,
    });
    { proposals }.next().unwrap()
}

fn proposed(proposal: &Proposal) -> Event {
    from(leader(), Message::Proposal(Box::new(proposal.clone())))
}

fn executes(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Execute { .. }))
}

#[test]
fn nobody_puts_another_justification_under_a_leaders_proposal() {
    let mut maker = started(leader(), &[genesis()]);
    let first = proposal(&mut maker, 1, B256::ZERO, None);
    let notarized = certificate(Kind::Notarize, 0, first.checkpoint.digest());
    maker.handle(3, from(follower(), Message::Certificate(notarized.clone())));
    let second = proposal(&mut maker, 2, B256::ZERO, None);
    assert_eq!((second.view, &second.justification), (1, &Some(notarized.clone())));

    let mut core = started(follower(), &[genesis()]);
    core.handle(1, proposed(&first));
    core.handle(2, Event::Executed { digest: first.checkpoint.digest(), outcome: Outcome::Valid { next: None } });
    core.handle(3, from(leader(), Message::Certificate(notarized)));
    let other = (0..4).find(|node| ![leader(), follower()].contains(node)).unwrap();
    let altered = Proposal { justification: None, ..second.clone() };
    assert!(!executes(&core.handle(4, from(other, Message::Proposal(Box::new(altered))))));
    assert!(executes(&core.handle(5, proposed(&second))), "the leader's own word has its place");
}

#[test]
fn what_blocks_do_not_carry_is_not_signed_as_their_evidence() {
    for (root, accepted) in [(B256::ZERO, true), (B256::with_last_byte(1), false)] {
        let of = proposal(&mut started(leader(), &[genesis()]), 1, root, None);
        let mut core = started(follower(), &[genesis()]);
        assert_eq!(executes(&core.handle(1, proposed(&of))), accepted);
    }
}

#[test]
fn a_skipped_proposal_is_no_work_and_is_executed_only_if_it_is_certified_after_all() {
    let of = proposal(&mut started(leader(), &[genesis()]), 1, B256::ZERO, None);
    let digest = of.checkpoint.digest();
    let mut core = started(follower(), &[genesis()]);
    let timer = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::SetTimer { timer: Timer::View { .. }, .. }))
    };
    assert!(timer(&core.handle(1, proposed(&of))) && core.wants(&digest));
    let effects = core.handle(2, from(1, Message::Certificate(certificate(Kind::Skip, 0, B256::ZERO))));
    assert_eq!(core.position(), (0, 4));
    assert!(!timer(&effects) && !core.wants(&digest), "nobody waits for it: an idle view has no timer");
    let effects = core.handle(3, from(1, Message::Certificate(certificate(Kind::Notarize, 0, digest))));
    assert!(timer(&effects) && core.wants(&digest));
}

#[test]
fn the_end_of_an_epoch_is_a_time_to_ask_whether_there_are_later_ones() {
    let settings = Settings { epoch_length: 1, ..SETTINGS };
    let start = |index| {
        let signer = Some(Arc::new(signer(index)) as Arc<dyn Signer>);
        let log = [genesis()];
        let mut core = Core::new(settings, Arc::new(KeyedHash), signer, 0, &log, Tampering::default()).unwrap();
        core.handle(0, Event::Start);
        core
    };
    let of = proposal(&mut start(leader()), 1, B256::ZERO, Some(set()));
    let (digest, mut core) = (of.checkpoint.digest(), start(follower()));
    core.handle(1, proposed(&of));
    core.handle(2, Event::Executed { digest, outcome: Outcome::Valid { next: Some(set()) } });
    let effects = core.handle(3, from(1, Message::Certificate(certificate(Kind::Finalize, 0, digest))));
    assert_eq!(core.position(), (1, 0));
    let asks = |effect: &Effect| match effect {
        Effect::Broadcast(message) => **message == Message::Request(Request::Certificates { epoch: 1, view: 0 }),
        _ => false,
    };
    assert!(effects.iter().any(asks));
}

#[test]
fn of_a_terms_seals_the_highest_are_kept() {
    let mut core = started(follower(), &[genesis()]);
    let seal = |term: u64, number: u64| {
        let hash = B256::with_last_byte(1);
        let leader = usize::from(set().leader(&[0; 32], term));
        let signature = signer(leader).sign(&SETTINGS.domain.seal_statement(0, term, number, &hash));
        Seal { epoch: 0, term, number, hash, signature }
    };
    let first = seal(0, 1);
    core.handle(1, from(1, Message::Seal(first.clone())));
    for number in 2..=5_000 {
        core.handle(1, from(1, Message::Seal(seal(1, number))));
    }
    assert!(core.has_seal(&first), "another term's leave it alone");
    assert!(core.has_seal(&seal(1, 5_000)) && core.has_seal(&seal(1, 905)) && !core.has_seal(&seal(1, 904)));
}

/// Counts what is verified.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn spent(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Scheme for Counting {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        KeyedHash.verify(key, message, signature)
    }
    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        KeyedHash.aggregate(signatures)
    }
    fn verify_aggregate(&self, keys: &[&PublicKey], message: &[u8], signature: &Signature) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        KeyedHash.verify_aggregate(keys, message, signature)
    }
    fn vrf_verify(&self, key: &VrfKey, input: &[u8], proof: &VrfProof) -> Option<VrfOutput> {
        self.0.fetch_add(1, Ordering::Relaxed);
        KeyedHash.vrf_verify(key, input, proof)
    }
    fn vrf_output(&self, proof: &VrfProof) -> Option<VrfOutput> {
        KeyedHash.vrf_output(proof)
    }
}

#[test]
fn wrong_signatures_cost_little_however_many_come() {
    let scheme = Arc::new(Counting::default());
    let counted = || {
        let signer = Some(Arc::new(signer(0)) as Arc<dyn Signer>);
        let mut core = Core::new(SETTINGS, scheme.clone(), signer, 0, &[genesis()], Tampering::default()).unwrap();
        core.handle(0, Event::Start);
        core
    };
    let mut core = counted();
    let digest = |number: u64| keccak256(number.to_be_bytes());
    let wrong = |node: usize, kind, view, digest| Vote { signature: [9; 48], ..vote(node, kind, view, digest) };
    let of = proposal(&mut started(leader(), &[genesis()]), 1, B256::ZERO, None);
    type Make = fn(&Proposal, u64) -> (usize, Message);
    let make: [Make; 4] = [
        |_, n| (1, Message::Vote(Vote { signature: [9; 48], ..vote(2, Kind::Notarize, n % 60, keccak256([n as u8])) })),
        |_, n| {
            let right = certificate(Kind::Notarize, n % 1_000, keccak256([n as u8]));
            (2, Message::Certificate(Certificate { signature: [n as u8; 48], ..right }))
        },
        |_, n| {
            let pair = [1, 2].map(|digest| vote(3, Kind::Buddy, n, B256::with_last_byte(digest)));
            let [a, b] = pair.map(|vote| Vote { signature: [9; 48], ..vote });
            (3, Message::Evidence(Box::new(Evidence::Votes(a, b))))
        },
        |of, n| {
            let mut of = of.clone();
            of.checkpoint.last_number = n + 1;
            (leader(), Message::Proposal(Box::new(of)))
        },
    ];
    for (time, make) in (1..).zip(make) {
        // each from its own liar: earlier ones are forgiven by then
        let now = time * 100_000;
        for n in 0..1_000 {
            let (node, message) = make(&of, n);
            core.handle(now + n, from(node, message));
        }
        assert!((1..4).contains(&scheme.spent()));
        let (node, message) = make(&of, 1);
        core.handle(now + 62_000, from(node, message));
        assert!((1..4).contains(&scheme.spent()), "a minute later it has another chance");
    }

    // its own words are counted before they are verified, until one spoils a sum
    let (mut core, now) = (counted(), 1_000_000);
    core.handle(now, from(2, Message::Vote(vote(2, Kind::Notarize, 0, digest(0)))));
    core.handle(now, from(3, Message::Vote(vote(3, Kind::Notarize, 0, digest(0)))));
    for n in 0..1_000 {
        core.handle(now + n, from(1, Message::Vote(wrong(1, Kind::Notarize, 0, digest(0)))));
        core.handle(now + n, from(1, Message::Vote(wrong(1, Kind::Notarize, 1, digest(n)))));
    }
    let spent = scheme.spent();
    assert!((4..10).contains(&spent), "{spent}: once the sum and its three votes, then this signer's alone, once");
}

#[test]
fn what_is_missing_is_asked_for_again_though_others_always_come_first() {
    let asks = |effects: &[Effect]| {
        let ask = |effect: &Effect| match effect {
            Effect::Send { message, .. } => matches!(**message, Message::Request(Request::Ancestry { .. })),
            _ => false,
        };
        effects.iter().any(ask)
    };
    let mut core = started(0, &[genesis()]);
    core.handle(1, Event::Work(true));
    let missing = certificate(Kind::Notarize, 0, B256::with_last_byte(1));
    assert!(asks(&core.handle(2, from(1, Message::Certificate(missing)))), "once, and the question is lost");
    for other in [1, 2] {
        assert!(!asks(&core.handle(3, from(other, Message::Vote(vote(other, Kind::Skip, 1, B256::ZERO))))));
    }
    let effects = expire(&mut core, 1_003);
    assert_eq!(core.position(), (0, 4), "its own Skip makes the quorum");
    assert!(asks(&effects));
    let skip = |view| from(1, Message::Certificate(certificate(Kind::Skip, view, B256::ZERO)));
    assert!(!asks(&core.handle(1_500, skip(4))), "it was asked for just now");
    assert!(asks(&core.handle(2_100, skip(8))), "others lead it on before its timer runs out");
}
