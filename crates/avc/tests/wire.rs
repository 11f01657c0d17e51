//! Encodings: canonical, bounded, and pinned by a hash over many of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alloy_primitives::{B256, keccak256};
use jove_avc::codec::{MAX_NUMBER, Wire};
use jove_avc::{
    Anchor, Bitmap, Certificate, Checkpoint, Domain, Error, Evidence, Kind, L1Origin, MAX_CHECKPOINTS, MAX_MESSAGE,
    MAX_VALIDATORS, MAX_WITNESS, Message, NextSet, Proposal, Record, Reject, Request, Seal, Tip, Validator,
    ValidatorSet, Vote, WEIGHT_ONE,
};
use proptest::prelude::*;
use std::sync::Arc;

/// Items from a counter: a xorshift generator, so that the pinned hashes depend on nothing else.
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn number(&mut self) -> u64 {
        let shift = self.next() % 48;
        (self.next() & MAX_NUMBER) >> shift
    }
    fn flip(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| (self.next() >> 17) as u8)
    }
    fn hash(&mut self) -> B256 {
        B256::new(self.bytes())
    }
    fn bitmap(&mut self) -> Bitmap {
        let (mut bitmap, count) = (Bitmap::default(), self.next() % 40);
        (0..count).for_each(|_| bitmap.insert((self.next() % MAX_VALIDATORS as u64) as u16));
        bitmap
    }
    fn vote(&mut self, kinds: &[Kind]) -> Vote {
        let kind = kinds[(self.next() % kinds.len() as u64) as usize];
        let digest = if kind == Kind::Skip { B256::ZERO } else { self.hash() };
        let (epoch, view, signer) = (self.number(), self.number(), self.next() as u16);
        Vote { kind, epoch, view, digest, signer, signature: self.bytes() }
    }
    fn certificate(&mut self) -> Certificate {
        let vote = self.vote(&VOTES);
        let signers = self.bitmap();
        let Vote { kind, epoch, view, digest, signature, .. } = vote;
        Certificate { kind, epoch, view, digest, signers, signature }
    }
    fn checkpoint(&mut self) -> Checkpoint {
        Checkpoint {
            chain_id: self.number(),
            era: self.number(),
            epoch: self.number(),
            height: self.number(),
            view: self.number(),
            proposer: self.next() as u16,
            proof: self.bytes(),
            parent: self.hash(),
            parent_signers: self.bitmap(),
            last_number: self.number(),
            last_hash: self.hash(),
            state_root: self.hash(),
            origin: L1Origin { number: self.number(), hash: self.hash() },
            set_version: self.number(),
            set_hash: self.hash(),
            weight_root: self.hash(),
            evidence_root: self.hash(),
            next: if self.flip() { Some(NextSet { hash: self.hash(), weight_root: self.hash() }) } else { None },
        }
    }
    fn proposal(&mut self) -> Proposal {
        Proposal {
            view: self.number(),
            proof: self.bytes(),
            checkpoint: self.checkpoint(),
            justification: if self.flip() { Some(self.certificate()) } else { None },
            signature: self.bytes(),
        }
    }
    fn seal(&mut self) -> Seal {
        let (epoch, term, number) = (self.number(), self.number(), self.number());
        Seal { epoch, term, number, hash: self.hash(), signature: self.bytes() }
    }
    fn evidence(&mut self) -> Evidence {
        if self.flip() {
            let seal = self.seal();
            let other = Seal { hash: self.hash(), signature: self.bytes(), ..seal.clone() };
            return Evidence::of_seals(&seal, &other).unwrap();
        }
        let vote = self.vote(&[Kind::Proposal, Kind::Buddy, Kind::Notarize, Kind::Finalize]);
        let (digest, signature) = (self.hash(), self.bytes());
        let other = if vote.kind == Kind::Finalize && self.flip() {
            Vote { kind: Kind::Skip, digest: B256::ZERO, signature, ..vote.clone() }
        } else {
            Vote { digest, signature, ..vote.clone() }
        };
        Evidence::of_votes(&vote, &other).unwrap()
    }
    fn message(&mut self) -> Message {
        match self.next() % 8 {
            0 => Message::Proposal(Box::new(self.proposal())),
            1 => Message::Vote(self.vote(&VOTES)),
            2 => {
                let (epoch, view, digest, reason) = (self.number(), self.number(), self.hash(), self.next() as u16);
                let witness = (0..self.next() % 64).map(|byte| byte as u8).collect();
                Message::Reject(Box::new(Reject { epoch, view, digest, reason, witness }))
            }
            3 => Message::Certificate(self.certificate()),
            4 => Message::Evidence(Box::new(self.evidence())),
            5 => Message::Seal(self.seal()),
            6 if self.flip() => Message::Request(Request::Certificates { epoch: self.number(), view: self.number() }),
            6 => Message::Request(Request::Ancestry { digest: self.hash() }),
            _ => Message::Checkpoints((0..self.next() % 4).map(|_| self.checkpoint()).collect()),
        }
    }
    fn set(&mut self) -> Arc<ValidatorSet> {
        let validators = (0..1 + self.next() % 5).map(|index| Validator {
            id: B256::with_last_byte(index as u8),
            key: self.bytes(),
            vrf: self.bytes(),
            weight: WEIGHT_ONE + (self.next() % u64::from(WEIGHT_ONE)) as u32,
            sequencer: index == 0 || self.flip(),
        });
        Arc::new(ValidatorSet::new(validators.collect()).unwrap())
    }
    fn record(&mut self) -> Record {
        match self.next() % 6 {
            0 => Record::Anchor(Box::new(Anchor {
                epoch: self.number(),
                start: Tip {
                    height: self.number(),
                    digest: self.hash(),
                    last_number: self.number(),
                    last_hash: self.hash(),
                    origin: L1Origin { number: self.number(), hash: self.hash() },
                },
                certificate: if self.flip() { Some(self.certificate()) } else { None },
                set: self.set(),
                next: self.set(),
                seed: self.bytes(),
            })),
            1 => Record::Vote(self.vote(&VOTES)),
            2 => Record::Proposal(Box::new(self.proposal())),
            3 => Record::Checkpoint(Box::new(self.checkpoint())),
            4 => Record::Certificate(self.certificate()),
            _ => Record::Seal(self.seal()),
        }
    }
}

const VOTES: [Kind; 4] = [Kind::Buddy, Kind::Notarize, Kind::Skip, Kind::Finalize];

/// The hash over the encodings of 65,536 items; each decodes to itself.
fn pin<T: Wire + PartialEq + std::fmt::Debug>(make: fn(&mut Source) -> T) -> String {
    let (mut source, mut hash) = (Source(0x1234_5678_9ABC_DEF1), B256::ZERO);
    for _ in 0..65_536 {
        let item = make(&mut source);
        let bytes = item.encode();
        assert_eq!(T::decode(&bytes).as_ref(), Ok(&item));
        hash = keccak256([hash.as_slice(), &bytes].concat());
    }
    hash.to_string()
}

#[test]
fn messages_are_pinned() {
    assert_eq!(pin(Source::message), "0xcf14e22cfa525a4312c4a6d47fc95ab0b832591d4161a95c01b9a534cfcd2929");
}

#[test]
fn records_are_pinned() {
    assert_eq!(pin(Source::record), "0xd9b501e958623c28d7eb75402786c240fae964458ee869d92a90ab4b6846ece7");
}

#[test]
fn digests_and_statements_are_pinned() {
    let mut source = Source(77);
    let (mut hash, domain) = (B256::ZERO, Domain { chain_id: 7, era: 2 });
    for _ in 0..10_000 {
        let (checkpoint, vote, seal) = (source.checkpoint(), source.vote(&VOTES), source.seal());
        let set = source.set();
        let parts = [
            hash.to_vec(),
            checkpoint.digest().to_vec(),
            domain.statement(vote.kind, vote.epoch, vote.view, &vote.digest).to_vec(),
            domain.seal_statement(seal.epoch, seal.term, seal.number, &seal.hash),
            domain.vrf_input(&source.bytes(), vote.view),
            set.hash().to_vec(),
            set.weight_root().to_vec(),
        ];
        hash = keccak256(parts.concat());
    }
    assert_eq!(hash.to_string(), "0xc8eca8c210efa915f8c9ab57ea1f51323ca4fe0c787eac248131116b18f259df");
}

#[test]
fn statements_differ_in_every_part() {
    let (domain, digest) = (Domain { chain_id: 1, era: 1 }, B256::with_last_byte(1));
    let base = domain.statement(Kind::Notarize, 1, 1, &digest);
    let others = [
        Domain { chain_id: 2, era: 1 }.statement(Kind::Notarize, 1, 1, &digest),
        Domain { chain_id: 1, era: 2 }.statement(Kind::Notarize, 1, 1, &digest),
        domain.statement(Kind::Finalize, 1, 1, &digest),
        domain.statement(Kind::Notarize, 2, 1, &digest),
        domain.statement(Kind::Notarize, 1, 2, &digest),
        domain.statement(Kind::Notarize, 1, 1, &B256::with_last_byte(2)),
    ];
    assert!(others.iter().all(|other| *other != base));
}

#[test]
fn what_is_not_canonical_is_refused() {
    let mut source = Source(5);
    let vote = source.vote(&[Kind::Notarize]);
    let bytes = Message::Vote(vote.clone()).encode();
    assert_eq!(Message::decode(&bytes[..bytes.len() - 1]), Err(Error::Short));
    assert_eq!(Message::decode(&[bytes.clone(), vec![0]].concat()), Err(Error::Trailing(1)));
    let mut large = bytes.clone();
    large[2] = 1; // the first byte of the epoch
    assert_eq!(Message::decode(&large), Err(Error::Bound { what: "number" }));
    let with = |change: fn(&mut Vote)| {
        let mut vote = vote.clone();
        change(&mut vote);
        Message::decode(&Message::Vote(vote).encode())
    };
    assert_eq!(with(|vote| vote.digest = B256::ZERO), Err(Error::NotCanonical { what: "digest" }));
    assert_eq!(with(|vote| vote.kind = Kind::Skip), Err(Error::NotCanonical { what: "digest" }));
    assert_eq!(with(|vote| vote.kind = Kind::Proposal), Err(Error::Tag(1)), "proposals come whole");
    assert_eq!(Bitmap::decode(&[2, 1, 0]), Err(Error::NotCanonical { what: "bitmap" }));
    assert_eq!(Bitmap::decode(&[[26].as_slice(), &[1; 26]].concat()), Err(Error::Bound { what: "bitmap" }));
    assert_eq!(Option::<u16>::decode(&[2]), Err(Error::Tag(2)));
    // evidence in the other order, or that is none
    let Evidence::Votes(a, b) =
        Evidence::of_votes(&vote, &Vote { digest: B256::with_last_byte(1), ..vote.clone() }).unwrap()
    else {
        unreachable!()
    };
    for wrong in [Evidence::Votes(b.clone(), a.clone()), Evidence::Votes(a.clone(), a)] {
        assert_eq!(Evidence::decode(&wrong.encode()), Err(Error::NotCanonical { what: "evidence" }));
    }
}

#[test]
fn the_largest_messages_fit() {
    let mut source = Source(6);
    let (digest, witness) = (source.hash(), vec![7; MAX_WITNESS]);
    let reject = Reject { epoch: 1, view: 2, digest, reason: 3, witness };
    let checkpoints =
        (0..MAX_CHECKPOINTS).map(|_| Checkpoint { parent_signers: Bitmap::first(200), ..source.checkpoint() });
    for message in [Message::Reject(Box::new(reject.clone())), Message::Checkpoints(checkpoints.collect())] {
        let bytes = message.encode();
        assert!(bytes.len() <= MAX_MESSAGE);
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
    let longer = Reject { witness: vec![7; MAX_WITNESS + 1], ..reject };
    assert_eq!(Reject::decode(&longer.encode()), Err(Error::Bound { what: "witness" }));
    let many: Vec<Checkpoint> = (0..=MAX_CHECKPOINTS).map(|_| source.checkpoint()).collect();
    assert_eq!(Message::decode(&Message::Checkpoints(many).encode()), Err(Error::Bound { what: "checkpoints" }));
}

#[test]
fn sets_are_checked() {
    let set = Source(9).set();
    assert_eq!(ValidatorSet::decode(&set.encode()).as_ref(), Ok(&*set));
    let with = |change: fn(&mut Vec<Validator>)| {
        let mut validators: Vec<Validator> = (0..4_u8)
            .map(|index| Validator {
                id: B256::with_last_byte(index),
                key: [index; 96],
                vrf: [0; 32],
                weight: WEIGHT_ONE,
                sequencer: index == 1,
            })
            .collect();
        change(&mut validators);
        ValidatorSet::new(validators).map(|set| (set.size(), set.faults(), set.quorum()))
    };
    assert_eq!(with(|_| {}), Ok((4, 1, 3)));
    assert!(with(|validators| validators.clear()).is_err());
    assert!(with(|validators| validators[0].id = validators[1].id).is_err());
    assert!(with(|validators| validators[0].key = validators[1].key).is_err());
    assert!(with(|validators| validators[0].weight = WEIGHT_ONE - 1).is_err());
    assert!(with(|validators| validators[0].weight = 2 * WEIGHT_ONE + 1).is_err());
    assert!(with(|validators| validators[1].sequencer = false).is_err());
}

proptest! {
    #[test]
    fn bytes_decode_to_one_encoding_or_to_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400), tag in 0_u8..8) {
        let bytes = [[tag].as_slice(), &bytes].concat();
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn changed_messages_decode_to_one_encoding_or_to_an_error(seed in 1_u64.., at in any::<prop::sample::Index>(), value: u8) {
        let mut bytes = Source(seed).message().encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
