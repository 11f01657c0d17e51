//! What travels and what is kept: checkpoints, votes, certificates, requests, records of the log.

use crate::codec::{MAX_NUMBER, Reader, Wire, write_list};
use crate::{Bitmap, Error, Signature, ValidatorSet, VrfProof};
use alloy_primitives::{B256, keccak256};
use std::sync::Arc;

/// The most blocks in a checkpoint.
pub const MAX_BLOCKS: u64 = 100;
/// The most checkpoints in an answer.
pub const MAX_CHECKPOINTS: usize = 64;
/// The most SkipCerts in an answer.
pub const MAX_SKIPS: usize = 64;
/// The longest witness of invalidity, in bytes.
pub const MAX_WITNESS: usize = 128 * 1024;
/// The longest message on a stream, in bytes; a longer one is refused before it is read.
pub const MAX_MESSAGE: usize = MAX_WITNESS + 4096;

/// What a validator signs. The number is in the statement that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A leader's, on the digest it proposes.
    Proposal = 1,
    /// A buddy's: executed, and the data is held.
    Buddy = 2,
    /// The first vote of the tally.
    Notarize = 3,
    /// For a view and all later ones of its term; the digest is zero.
    Skip = 4,
    /// The second vote of the tally.
    Finalize = 5,
}

impl Wire for Kind {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match u8::read(input)? {
            1 => Self::Proposal,
            2 => Self::Buddy,
            3 => Self::Notarize,
            4 => Self::Skip,
            5 => Self::Finalize,
            tag => return Err(Error::Tag(tag)),
        })
    }
}

/// The chain that signatures belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// The chain id.
    pub chain_id: u64,
    /// How many T2 batches on L1 have become the root of the chain; counts restarts by L1.
    pub era: u64,
}

impl Domain {
    /// The bytes that a vote signs.
    pub fn statement(&self, kind: Kind, epoch: u64, view: u64, digest: &B256) -> [u8; 75] {
        let mut out = [0; 75];
        out[..10].copy_from_slice(b"jove/avc/1");
        out[10] = kind as u8;
        for (index, number) in [self.chain_id, self.era, epoch, view].into_iter().enumerate() {
            out[11 + 8 * index..19 + 8 * index].copy_from_slice(&number.to_be_bytes());
        }
        out[43..].copy_from_slice(digest.as_slice());
        out
    }

    /// The bytes that a seal signs.
    pub fn seal_statement(&self, epoch: u64, term: u64, number: u64, hash: &B256) -> Vec<u8> {
        let mut out = b"jove/avc/1/seal".to_vec();
        [self.chain_id, self.era, epoch, term, number].iter().for_each(|n| out.extend(n.to_be_bytes()));
        out.extend(hash);
        out
    }

    /// The input of the VRF of a view.
    pub fn vrf_input(&self, seed: &[u8; 32], view: u64) -> Vec<u8> {
        let mut out = b"jove/avc".to_vec();
        out.extend(seed);
        out.extend(view.to_be_bytes());
        out
    }
}

/// A block of L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct L1Origin {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

/// The set two epochs on, as the last checkpoint of an epoch fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextSet {
    /// [`ValidatorSet::hash`].
    pub hash: B256,
    /// [`ValidatorSet::weight_root`].
    pub weight_root: B256,
}

impl NextSet {
    /// What a checkpoint says of a set.
    pub fn of(set: &ValidatorSet) -> Self {
        Self { hash: set.hash(), weight_root: set.weight_root() }
    }
}

/// One height: a range of blocks that all validators agree on. Its digest is the hash of its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The chain.
    pub chain_id: u64,
    /// See [`Domain::era`].
    pub era: u64,
    /// The epoch.
    pub epoch: u64,
    /// Heights of epoch e are (eL, (e+1)L]; genesis is height 0.
    pub height: u64,
    /// The view it was first proposed in.
    pub view: u64,
    /// Index of the leader of that view.
    pub proposer: u16,
    /// The VRF proof of that view.
    pub proof: VrfProof,
    /// The parent's digest.
    pub parent: B256,
    /// Who signed the certificate of the parent that the proposal carried; empty where it carried none.
    pub parent_signers: Bitmap,
    /// The last block's number; the first is the parent's last plus one.
    pub last_number: u64,
    /// The last block's hash.
    pub last_hash: B256,
    /// The state root after it.
    pub state_root: B256,
    /// The L1 block that it was derived at.
    pub origin: L1Origin,
    /// The version of the validator set: its epoch.
    pub set_version: u64,
    /// [`ValidatorSet::hash`] of the epoch's set.
    pub set_hash: B256,
    /// [`ValidatorSet::weight_root`] of the epoch's set.
    pub weight_root: B256,
    /// Of the evidence in the blocks: zero, since L1 is given it (a proposal with another value is refused).
    pub evidence_root: B256,
    /// In the last checkpoint of an epoch: the set two epochs on.
    pub next: Option<NextSet>,
}

impl Checkpoint {
    /// keccak256 of the domain and the encoding.
    pub fn digest(&self) -> B256 {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend(b"jove/avc/1/checkpoint");
        self.write(&mut bytes);
        keccak256(bytes)
    }
}

impl Wire for L1Origin {
    fn write(&self, out: &mut Vec<u8>) {
        self.number.write(out);
        self.hash.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { number: Wire::read(input)?, hash: Wire::read(input)? })
    }
}

impl Wire for NextSet {
    fn write(&self, out: &mut Vec<u8>) {
        self.hash.write(out);
        self.weight_root.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { hash: Wire::read(input)?, weight_root: Wire::read(input)? })
    }
}

impl Wire for Checkpoint {
    fn write(&self, out: &mut Vec<u8>) {
        [self.chain_id, self.era, self.epoch, self.height, self.view].iter().for_each(|number| number.write(out));
        self.proposer.write(out);
        self.proof.write(out);
        self.parent.write(out);
        self.parent_signers.write(out);
        self.last_number.write(out);
        self.last_hash.write(out);
        self.state_root.write(out);
        self.origin.write(out);
        self.set_version.write(out);
        self.set_hash.write(out);
        self.weight_root.write(out);
        self.evidence_root.write(out);
        self.next.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            chain_id: Wire::read(input)?,
            era: Wire::read(input)?,
            epoch: Wire::read(input)?,
            height: Wire::read(input)?,
            view: Wire::read(input)?,
            proposer: Wire::read(input)?,
            proof: Wire::read(input)?,
            parent: Wire::read(input)?,
            parent_signers: Wire::read(input)?,
            last_number: Wire::read(input)?,
            last_hash: Wire::read(input)?,
            state_root: Wire::read(input)?,
            origin: Wire::read(input)?,
            set_version: Wire::read(input)?,
            set_hash: Wire::read(input)?,
            weight_root: Wire::read(input)?,
            evidence_root: Wire::read(input)?,
            next: Wire::read(input)?,
        })
    }
}

/// A signed word of one validator on one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// What it says.
    pub kind: Kind,
    /// The epoch.
    pub epoch: u64,
    /// The view.
    pub view: u64,
    /// The checkpoint; zero in a Skip.
    pub digest: B256,
    /// Index in the epoch's set.
    pub signer: u16,
    /// Over [`Domain::statement`].
    pub signature: Signature,
}

impl Wire for Vote {
    fn write(&self, out: &mut Vec<u8>) {
        self.kind.write(out);
        self.epoch.write(out);
        self.view.write(out);
        self.digest.write(out);
        self.signer.write(out);
        self.signature.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let vote = Self {
            kind: Wire::read(input)?,
            epoch: Wire::read(input)?,
            view: Wire::read(input)?,
            digest: Wire::read(input)?,
            signer: Wire::read(input)?,
            signature: Wire::read(input)?,
        };
        canonical_digest(vote.kind, &vote.digest)?;
        Ok(vote)
    }
}

fn canonical_digest(kind: Kind, digest: &B256) -> Result<(), Error> {
    if (kind == Kind::Skip) == digest.is_zero() { Ok(()) } else { Err(Error::NotCanonical { what: "digest" }) }
}

/// Votes of one kind on one digest, aggregated: a BuddyCert, NotarizeCert, SkipCert or FinalCert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The kind of its votes; never [`Kind::Proposal`].
    pub kind: Kind,
    /// The epoch.
    pub epoch: u64,
    /// The view.
    pub view: u64,
    /// The checkpoint; zero in a SkipCert.
    pub digest: B256,
    /// Who signed.
    pub signers: Bitmap,
    /// The sum of their signatures.
    pub signature: Signature,
}

impl Wire for Certificate {
    fn write(&self, out: &mut Vec<u8>) {
        self.kind.write(out);
        self.epoch.write(out);
        self.view.write(out);
        self.digest.write(out);
        self.signers.write(out);
        self.signature.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let certificate = Self {
            kind: Wire::read(input)?,
            epoch: Wire::read(input)?,
            view: Wire::read(input)?,
            digest: Wire::read(input)?,
            signers: Wire::read(input)?,
            signature: Wire::read(input)?,
        };
        if certificate.kind == Kind::Proposal {
            return Err(Error::Tag(Kind::Proposal as u8));
        }
        canonical_digest(certificate.kind, &certificate.digest)?;
        Ok(certificate)
    }
}

/// A leader's proposal of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The view it is for; the checkpoint's own, unless the end of an epoch is proposed again.
    pub view: u64,
    /// The VRF proof of this view.
    pub proof: VrfProof,
    /// The preimage of the digest.
    pub checkpoint: Checkpoint,
    /// The NotarizeCert, or the FinalCert, of the parent; none where the parent is the start of the epoch.
    pub justification: Option<Certificate>,
    /// The leader's, over the statement of kind [`Kind::Proposal`].
    pub signature: Signature,
}

impl Wire for Proposal {
    fn write(&self, out: &mut Vec<u8>) {
        self.view.write(out);
        self.proof.write(out);
        self.checkpoint.write(out);
        self.justification.write(out);
        self.signature.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            view: Wire::read(input)?,
            proof: Wire::read(input)?,
            checkpoint: Wire::read(input)?,
            justification: Wire::read(input)?,
            signature: Wire::read(input)?,
        })
    }
}

/// A buddy's finding that a checkpoint is invalid, with what shows it. Not signed: the witness speaks for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The epoch.
    pub epoch: u64,
    /// The view.
    pub view: u64,
    /// The checkpoint.
    pub digest: B256,
    /// What is wrong, in the executor's numbering.
    pub reason: u16,
    /// What the host can check; at most [`MAX_WITNESS`] bytes.
    pub witness: Vec<u8>,
}

impl Wire for Reject {
    fn write(&self, out: &mut Vec<u8>) {
        self.epoch.write(out);
        self.view.write(out);
        self.digest.write(out);
        self.reason.write(out);
        (self.witness.len() as u32).write(out);
        out.extend(&self.witness);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let (epoch, view, digest) = (Wire::read(input)?, Wire::read(input)?, Wire::read(input)?);
        let reason = Wire::read(input)?;
        let count = u32::read(input)? as usize;
        if count > MAX_WITNESS {
            return Err(Error::Bound { what: "witness" });
        }
        Ok(Self { epoch, view, digest, reason, witness: input.take(count)?.to_vec() })
    }
}

/// A term's leader's signature on one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The epoch.
    pub epoch: u64,
    /// The term.
    pub term: u64,
    /// The block's number.
    pub number: u64,
    /// The block's hash.
    pub hash: B256,
    /// Over [`Domain::seal_statement`].
    pub signature: Signature,
}

impl Wire for Seal {
    fn write(&self, out: &mut Vec<u8>) {
        [self.epoch, self.term, self.number].iter().for_each(|number| number.write(out));
        self.hash.write(out);
        self.signature.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            epoch: Wire::read(input)?,
            term: Wire::read(input)?,
            number: Wire::read(input)?,
            hash: Wire::read(input)?,
            signature: Wire::read(input)?,
        })
    }
}

/// Two words of one validator that an honest one never gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes of one kind, epoch and view on different digests, the smaller digest first; or a Finalize, then a Skip, of one view.
    Votes(Vote, Vote),
    /// Two seals of one number in one term, the smaller hash first.
    Seals(Seal, Seal),
}

impl Evidence {
    /// What two votes prove, if anything; signatures are not looked at.
    pub fn of_votes(a: &Vote, b: &Vote) -> Option<Self> {
        if (a.epoch, a.view, a.signer) != (b.epoch, b.view, b.signer) {
            return None;
        }
        match (a.kind, b.kind) {
            (Kind::Finalize, Kind::Skip) => Some(Self::Votes(a.clone(), b.clone())),
            (Kind::Skip, Kind::Finalize) => Some(Self::Votes(b.clone(), a.clone())),
            (x, y) if x == y && a.digest < b.digest => Some(Self::Votes(a.clone(), b.clone())),
            (x, y) if x == y && a.digest > b.digest => Some(Self::Votes(b.clone(), a.clone())),
            _ => None,
        }
    }

    /// What two seals prove, if anything; signatures are not looked at.
    pub fn of_seals(a: &Seal, b: &Seal) -> Option<Self> {
        if (a.epoch, a.term, a.number) != (b.epoch, b.term, b.number) || a.hash == b.hash {
            return None;
        }
        let (a, b) = if a.hash < b.hash { (a, b) } else { (b, a) };
        Some(Self::Seals(a.clone(), b.clone()))
    }

    /// The epoch it happened in.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Votes(a, _) => a.epoch,
            Self::Seals(a, _) => a.epoch,
        }
    }
}

impl Wire for Evidence {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Votes(a, b) => {
                out.push(0);
                a.write(out);
                b.write(out);
            }
            Self::Seals(a, b) => {
                out.push(1);
                a.write(out);
                b.write(out);
            }
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        let (read, again) = match u8::read(input)? {
            0 => {
                let (a, b) = (Vote::read(input)?, Vote::read(input)?);
                (Self::of_votes(&a, &b), Self::Votes(a, b))
            }
            1 => {
                let (a, b) = (Seal::read(input)?, Seal::read(input)?);
                (Self::of_seals(&a, &b), Self::Seals(a, b))
            }
            tag => return Err(Error::Tag(tag)),
        };
        if read.as_ref() == Some(&again) { Ok(again) } else { Err(Error::NotCanonical { what: "evidence" }) }
    }
}

/// What a node asks of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// "I am at this view": the certificates that lead on from it.
    Certificates {
        /// The asker's epoch.
        epoch: u64,
        /// The asker's view, or the first view of an earlier term whose SkipCert it lacks.
        view: u64,
    },
    /// A checkpoint and its ancestors, newest first, at most [`MAX_CHECKPOINTS`].
    Ancestry {
        /// The newest one's digest.
        digest: B256,
    },
}

impl Wire for Request {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Certificates { epoch, view } => {
                out.push(0);
                epoch.write(out);
                view.write(out);
            }
            Self::Ancestry { digest } => {
                out.push(1);
                digest.write(out);
            }
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match u8::read(input)? {
            0 => Self::Certificates { epoch: Wire::read(input)?, view: Wire::read(input)? },
            1 => Self::Ancestry { digest: Wire::read(input)? },
            tag => return Err(Error::Tag(tag)),
        })
    }
}

/// What validators send each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A leader's proposal.
    Proposal(Box<Proposal>),
    /// A vote; never of kind [`Kind::Proposal`].
    Vote(Vote),
    /// A finding of invalidity.
    Reject(Box<Reject>),
    /// A certificate.
    Certificate(Certificate),
    /// A proof of misbehaviour.
    Evidence(Box<Evidence>),
    /// A seal of a block.
    Seal(Seal),
    /// A question.
    Request(Request),
    /// The answer to [`Request::Ancestry`].
    Checkpoints(Vec<Checkpoint>),
}

impl Wire for Message {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Proposal(item) => {
                out.push(0);
                item.write(out);
            }
            Self::Vote(item) => {
                out.push(1);
                item.write(out);
            }
            Self::Reject(item) => {
                out.push(2);
                item.write(out);
            }
            Self::Certificate(item) => {
                out.push(3);
                item.write(out);
            }
            Self::Evidence(item) => {
                out.push(4);
                item.write(out);
            }
            Self::Seal(item) => {
                out.push(5);
                item.write(out);
            }
            Self::Request(item) => {
                out.push(6);
                item.write(out);
            }
            Self::Checkpoints(items) => {
                out.push(7);
                write_list(items, out);
            }
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match u8::read(input)? {
            0 => Self::Proposal(Box::new(Wire::read(input)?)),
            1 => {
                let vote = Vote::read(input)?;
                if vote.kind == Kind::Proposal {
                    return Err(Error::Tag(Kind::Proposal as u8));
                }
                Self::Vote(vote)
            }
            2 => Self::Reject(Box::new(Wire::read(input)?)),
            3 => Self::Certificate(Wire::read(input)?),
            4 => Self::Evidence(Box::new(Wire::read(input)?)),
            5 => Self::Seal(Wire::read(input)?),
            6 => Self::Request(Wire::read(input)?),
            7 => Self::Checkpoints(input.list(MAX_CHECKPOINTS, "checkpoints")?),
            tag => return Err(Error::Tag(tag)),
        })
    }
}

/// Where an epoch begins: all that a node needs to take part in it from its first view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The epoch.
    pub epoch: u64,
    /// The last checkpoint of the epoch before; genesis in epoch 0.
    pub start: Tip,
    /// Its FinalCert, by the set of the epoch before; none in epoch 0.
    pub certificate: Option<Certificate>,
    /// V_e and W_e.
    pub set: Arc<ValidatorSet>,
    /// V_{e+1} and W_{e+1}.
    pub next: Arc<ValidatorSet>,
    /// seed_e.
    pub seed: [u8; 32],
}

/// What a child must know of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The height.
    pub height: u64,
    /// The digest.
    pub digest: B256,
    /// The last block's number.
    pub last_number: u64,
    /// The last block's hash.
    pub last_hash: B256,
    /// The L1 origin.
    pub origin: L1Origin,
}

impl Tip {
    /// Of a checkpoint whose digest is known.
    pub fn of(checkpoint: &Checkpoint, digest: B256) -> Self {
        Self {
            height: checkpoint.height,
            digest,
            last_number: checkpoint.last_number,
            last_hash: checkpoint.last_hash,
            origin: checkpoint.origin,
        }
    }
}

impl Wire for Tip {
    fn write(&self, out: &mut Vec<u8>) {
        self.height.write(out);
        self.digest.write(out);
        self.last_number.write(out);
        self.last_hash.write(out);
        self.origin.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            height: Wire::read(input)?,
            digest: Wire::read(input)?,
            last_number: Wire::read(input)?,
            last_hash: Wire::read(input)?,
            origin: Wire::read(input)?,
        })
    }
}

impl Wire for Anchor {
    fn write(&self, out: &mut Vec<u8>) {
        self.epoch.write(out);
        self.start.write(out);
        self.certificate.write(out);
        self.set.write(out);
        self.next.write(out);
        self.seed.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            epoch: Wire::read(input)?,
            start: Wire::read(input)?,
            certificate: Wire::read(input)?,
            set: Arc::new(Wire::read(input)?),
            next: Arc::new(Wire::read(input)?),
            seed: Wire::read(input)?,
        })
    }
}

/// One line of a node's log, in the order in which they were made. All before the last [`Record::Anchor`] may be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An epoch was entered.
    Anchor(Box<Anchor>),
    /// A vote of this node's own.
    Vote(Vote),
    /// A proposal of this node's own.
    Proposal(Box<Proposal>),
    /// A checkpoint that votes or certificates are about.
    Checkpoint(Box<Checkpoint>),
    /// A certificate.
    Certificate(Certificate),
    /// A seal of this node's own.
    Seal(Seal),
}

impl Wire for Record {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Anchor(item) => {
                out.push(0);
                item.write(out);
            }
            Self::Vote(item) => {
                out.push(1);
                item.write(out);
            }
            Self::Proposal(item) => {
                out.push(2);
                item.write(out);
            }
            Self::Checkpoint(item) => {
                out.push(3);
                item.write(out);
            }
            Self::Certificate(item) => {
                out.push(4);
                item.write(out);
            }
            Self::Seal(item) => {
                out.push(5);
                item.write(out);
            }
        }
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match u8::read(input)? {
            0 => Self::Anchor(Box::new(Wire::read(input)?)),
            1 => Self::Vote(Wire::read(input)?),
            2 => Self::Proposal(Box::new(Wire::read(input)?)),
            3 => Self::Checkpoint(Box::new(Wire::read(input)?)),
            4 => Self::Certificate(Wire::read(input)?),
            5 => Self::Seal(Wire::read(input)?),
            tag => return Err(Error::Tag(tag)),
        })
    }
}

const _: () = assert!(MAX_NUMBER < u64::MAX / 1024, "sums of a few numbers never overflow");
