//! What L1's contracts are given, and the vectors that their tests check: `contracts/test/fixtures/validators.json`. With JOVE_WRITE_VECTORS set, the file is
//! written; otherwise it must be what is computed here.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alloy_primitives::{B256, U256, hex, keccak256};
use jove_avc::codec::Wire;
use jove_avc::{
    Bitmap, Bls, BlsSigner, Certificate, Checkpoint, Domain, Error, Evidence, Kind, L1Origin, NextSet, Scheme, Seal,
    Signature, Signer, Validator, ValidatorSet, Vote, WEIGHT_ONE, l1, verify_certificate, verify_evidence,
    verify_possession,
};
use std::fmt::Write;
use std::ops::Range;

/// The chain id of the contracts' tests.
const CHAIN: u64 = 5683;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/test/fixtures/validators.json");

/// Validators in the order of their ids, so that every range of them is a set.
fn validators() -> Vec<(BlsSigner, Validator)> {
    let mut all: Vec<_> = (0..200)
        .map(|number| {
            let secret = |name: &str| keccak256(format!("{name} {number}"));
            let signer = BlsSigner::new(secret("id"), &secret("votes")[..], &secret("vrf").0).unwrap();
            let (id, key, vrf) = (signer.id(), signer.public_key(), signer.vrf_key());
            (signer, Validator { id, key, vrf, weight: WEIGHT_ONE, sequencer: false })
        })
        .collect();
    all.sort_by_key(|(_, validator)| validator.id);
    for (index, (_, validator)) in all.iter_mut().enumerate() {
        validator.sequencer = index % 3 == 0;
    }
    all
}

struct Chain {
    all: Vec<(BlsSigner, Validator)>,
}

/// A certificate of the contracts' tests: batch `batch` ends with block 10 · `batch`.
struct Case {
    name: &'static str,
    set: Range<usize>,
    era: u64,
    epoch: u64,
    batch: u64,
    absent: Vec<usize>,
    next: Option<Range<usize>>,
}

fn case(name: &'static str, set: Range<usize>, epoch: u64, batch: u64, absent: impl Into<Vec<usize>>) -> Case {
    Case { name, set, era: 0, epoch, batch, absent: absent.into(), next: None }
}

fn cases() -> Vec<Case> {
    let every = |step: usize, count: usize| (0..count).map(|i| i * step).collect::<Vec<_>>();
    let (seven, second) = (0..7, 3..10);
    vec![
        case("first", seven.clone(), 0, 1, [1, 4]),
        case("firstByAll", seven.clone(), 0, 1, []),
        case("firstBelowQuorum", seven.clone(), 0, 1, [0, 1, 2]),
        Case { next: Some(second.clone()), ..case("endOf0", seven.clone(), 0, 2, [6]) },
        Case { next: Some(seven.clone()), ..case("endOf0Otherwise", seven.clone(), 0, 2, []) },
        case("beyond0", seven.clone(), 0, 3, []),
        case("in1", seven.clone(), 1, 3, [0]),
        Case { next: Some(seven.clone()), ..case("endOf1", seven, 1, 4, []) },
        case("in2", second.clone(), 2, 5, [2]),
        Case { era: 1, ..case("inEra1", second, 0, 3, []) },
        case("hundred0", 0..100, 0, 1, []),
        case("hundred10", 0..100, 0, 1, every(9, 10)),
        case("hundred33", 0..100, 0, 1, every(3, 33)),
        case("later10", 0..100, 0, 300, every(9, 10)),
        case("later33", 0..100, 0, 300, every(3, 33)),
        case("largest", 0..200, 0, 1, every(3, 66)),
    ]
}

/// keccak256(abi.encode("block", batch, 0)), as the contracts' tests name blocks.
fn block_hash(batch: u64) -> B256 {
    let mut words = [[0; 32]; 5];
    words[0] = U256::from(96).to_be_bytes();
    words[1] = U256::from(batch).to_be_bytes();
    words[3] = U256::from(5).to_be_bytes();
    words[4][..5].copy_from_slice(b"block");
    keccak256(words.concat())
}

impl Chain {
    fn set(&self, range: &Range<usize>) -> ValidatorSet {
        ValidatorSet::new(self.all[range.clone()].iter().map(|(_, validator)| validator.clone()).collect()).unwrap()
    }

    fn certified(&self, case: &Case) -> (Checkpoint, Certificate, ValidatorSet) {
        let set = self.set(&case.set);
        let mut parent_signers = Bitmap::default();
        (0..set.quorum()).for_each(|index| parent_signers.insert(index as u16));
        // The end of an epoch is proposed again: the view of its FinalCert is a later one.
        let view = if case.next.is_some() { 12 } else { 10 };
        let proposer = case.set.clone().position(|index| index % 3 == 0).unwrap();
        let checkpoint = Checkpoint {
            chain_id: CHAIN,
            era: case.era,
            epoch: case.epoch,
            height: 1000 + case.batch,
            view: 10,
            proposer: proposer as u16,
            proof: self.all[case.set.start + proposer].0.vrf_prove(b"a view"),
            parent: keccak256("parent"),
            parent_signers,
            last_number: 10 * case.batch,
            last_hash: block_hash(case.batch),
            state_root: keccak256("state"),
            origin: L1Origin { number: 20_000_000, hash: keccak256("origin") },
            set_version: case.epoch,
            set_hash: set.hash(),
            weight_root: set.weight_root(),
            evidence_root: keccak256("evidence"),
            next: case.next.as_ref().map(|next| NextSet::of(&self.set(next))),
        };
        let domain = Domain { chain_id: CHAIN, era: case.era };
        let digest = checkpoint.digest();
        let statement = domain.statement(Kind::Finalize, case.epoch, view, &digest);
        let mut signers = Bitmap::default();
        let mut signatures = Vec::new();
        for index in (0..set.size()).filter(|index| !case.absent.contains(index)) {
            signers.insert(index as u16);
            signatures.push(self.all[case.set.start + index].0.sign(&statement));
        }
        let signature = Bls::default().aggregate(&signatures).unwrap();
        let certificate = Certificate { kind: Kind::Finalize, epoch: case.epoch, view, digest, signers, signature };
        (checkpoint, certificate, set)
    }
}

fn vectors(chain: &Chain) -> String {
    let mut out = String::from("{\n");
    let domain = Domain { chain_id: CHAIN, era: 0 };
    let largest = chain.set(&(0..200));
    writeln!(out, " \"validators\": \"{}\",", hex::encode_prefixed(l1::set(&largest).unwrap())).unwrap();
    for (name, range) in [("seven", 0..7), ("second", 3..10), ("hundred", 0..100), ("largest", 0..200)] {
        writeln!(out, " \"{name}\": \"{}\",", chain.set(&range).hash()).unwrap();
    }
    out.push_str(" \"certificates\": {\n");
    let cases = cases();
    for (place, case) in cases.iter().enumerate() {
        let (checkpoint, certificate, set) = chain.certified(case);
        let good = verify_certificate(&certificate, &Domain { era: case.era, ..domain }, &set, &Bls::default());
        assert_eq!(good, case.name != "firstBelowQuorum", "{}", case.name);
        let bytes = hex::encode_prefixed(l1::certificate(&checkpoint, &certificate, set.size()).unwrap());
        let comma = if place + 1 < cases.len() { "," } else { "" };
        writeln!(out, "  \"{}\": \"{bytes}\"{comma}", case.name).unwrap();
    }
    out.push_str(" },\n \"possessions\": [\n");
    for (place, (signer, validator)) in chain.all[..12].iter().enumerate() {
        let proof = signer.prove_possession();
        verify_possession(&validator.key, &proof).unwrap();
        let comma = if place < 11 { "," } else { "" };
        writeln!(out, "  \"{}\"{comma}", hex::encode_prefixed(l1::expanded_signature(&proof).unwrap())).unwrap();
    }
    out.push_str(" ],\n");
    bad_keys(chain, &mut out);
    evidence(chain, &domain, &mut out);
    out.push_str("}\n");
    out
}

/// A key whose holder knows no secret; points of the curves that are not in their subgroups.
fn bad_keys(chain: &Chain, out: &mut String) {
    use blst::min_sig;
    let point = |key: &[u8; 96]| min_sig::PublicKey::from_bytes(key).unwrap();
    let (attacker, victim) = (&chain.all[10], &chain.all[11]);
    let mut negated = victim.1.key;
    negated[0] ^= 0x20; // the sign
    let keys = [&point(&attacker.1.key), &point(&negated)];
    let rogue = min_sig::AggregatePublicKey::aggregate(&keys, false).unwrap().to_public_key().to_bytes();
    // All that the attacker can sign with.
    let proof = attacker.0.prove_possession();
    assert!(verify_possession(&rogue, &proof).is_err());
    writeln!(out, " \"rogue\": \"{}\",", hex::encode_prefixed(l1::expanded_key(&rogue).unwrap())).unwrap();

    let outside = (1u8..).find_map(|x| {
        let mut bytes = [0; 96];
        (bytes[0], bytes[95]) = (0x80, x);
        min_sig::PublicKey::uncompress(&bytes).ok().map(|point| (bytes, point))
    });
    let (bytes, point) = outside.unwrap();
    assert!(point.validate().is_err());
    assert_eq!(l1::expanded_key(&bytes), Err(Error::Crypto("no valid key")));
    let usual = point.serialize();
    let expanded = [&usual[48..96], &usual[..48], &usual[144..], &usual[96..144]].concat();
    writeln!(out, " \"keyOutside\": \"{}\",", hex::encode_prefixed(expanded)).unwrap();

    let outside = (1u8..).find_map(|x| {
        let mut bytes = [0; 48];
        (bytes[0], bytes[47]) = (0x80, x);
        let point = min_sig::Signature::uncompress(&bytes).ok()?;
        point.validate(true).is_err().then_some((bytes, point))
    });
    let (bytes, point) = outside.unwrap();
    assert_eq!(l1::expanded_signature(&bytes), Err(Error::Crypto("no valid signature")));
    writeln!(out, " \"signatureOutside\": \"{}\",", hex::encode_prefixed(point.serialize())).unwrap();
}

/// What validator 2 should not have signed, in epoch 4, view 17, and in term 2 for block 1000.
fn evidence(chain: &Chain, domain: &Domain, out: &mut String) {
    let signer = &chain.all[2].0;
    let digest = |name: &str| keccak256(name);
    let vote = |kind: Kind, view: u64, digest: B256| Vote {
        kind,
        epoch: 4,
        view,
        digest,
        signer: 2,
        signature: signer.sign(&domain.statement(kind, 4, view, &digest)),
    };
    let kinds = [
        ("proposal", Kind::Proposal),
        ("buddy", Kind::Buddy),
        ("notarize", Kind::Notarize),
        ("finalize", Kind::Finalize),
    ];
    let set = chain.set(&(0..7));
    let show = |signature: &Signature| hex::encode_prefixed(l1::expanded_signature(signature).unwrap());
    out.push_str(" \"votes\": {\n");
    for (name, kind) in kinds {
        let (a, b) = (vote(kind, 17, digest("a")), vote(kind, 17, digest("b")));
        assert!(verify_evidence(&Evidence::of_votes(&a, &b).unwrap(), domain, &set, &Bls::default()));
        writeln!(out, "  \"{name}A\": \"{}\",\n  \"{name}B\": \"{}\",", show(&a.signature), show(&b.signature))
            .unwrap();
    }
    let later = vote(Kind::Notarize, 18, digest("b"));
    assert!(Evidence::of_votes(&vote(Kind::Notarize, 17, digest("a")), &later).is_none());
    writeln!(out, "  \"notarizeLater\": \"{}\",", show(&later.signature)).unwrap();
    writeln!(out, "  \"skip\": \"{}\"\n }},", show(&vote(Kind::Skip, 17, B256::ZERO).signature)).unwrap();
    let seal = |hash: B256| signer.sign(&domain.seal_statement(4, 2, 1000, &hash));
    let seals =
        [digest("a"), digest("b")].map(|hash| Seal { epoch: 4, term: 2, number: 1000, hash, signature: seal(hash) });
    assert!(Evidence::of_seals(&seals[0], &seals[1]).is_some());
    let [a, b] = seals.map(|item| show(&item.signature));
    writeln!(out, " \"seals\": {{\n  \"a\": \"{a}\",\n  \"b\": \"{b}\"\n }}").unwrap();
}

#[test]
fn vectors_are_those_of_the_contracts() {
    let computed = vectors(&Chain { all: validators() });
    if std::env::var_os("JOVE_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, &computed).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap();
    assert!(kept == computed, "{FILE} is not what is computed: JOVE_WRITE_VECTORS=1 cargo test -p jove-avc --test l1");
}

#[test]
fn a_commit_carries_the_checkpoint_but_what_the_contract_knows() {
    let chain = Chain { all: validators() };
    let case = case("a", 0..7, 0, 1, [1, 4]);
    let (checkpoint, certificate, set) = chain.certified(&case);
    let bytes = l1::certificate(&checkpoint, &certificate, 7).unwrap();
    assert_eq!(bytes[..8], 10u64.to_be_bytes());
    assert_eq!(U256::from_be_slice(&bytes[8..40]), U256::from(0b10010));
    assert_eq!(bytes[40..136], l1::expanded_signature(&certificate.signature).unwrap());
    let mut encoding = [&CHAIN.to_be_bytes()[..], &[0; 8], &bytes[136..276]].concat();
    encoding.extend(10u64.to_be_bytes());
    encoding.extend(block_hash(1));
    encoding.extend(&bytes[276..]);
    assert_eq!(Checkpoint::decode(&encoding).unwrap(), checkpoint);
    // Another checkpoint's certificate, or one of another kind, is not taken.
    let other = Checkpoint { height: 1, ..checkpoint.clone() };
    assert!(l1::certificate(&other, &certificate, 7).is_err());
    let notarized = Certificate { kind: Kind::Notarize, ..certificate.clone() };
    assert!(l1::certificate(&checkpoint, &notarized, 7).is_err());
    assert_eq!(l1::set(&set).unwrap().len(), 7 * 257);
}

#[test]
fn what_is_no_point_is_not_expanded() {
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    assert!(l1::expanded_key(&infinity).is_err());
    assert!(l1::expanded_key(&[0; 96]).is_err());
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    assert!(l1::expanded_signature(&infinity).is_err());
    assert!(l1::expanded_signature(&[0xff; 48]).is_err());
}
