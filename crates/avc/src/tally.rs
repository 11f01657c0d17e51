//! Votes on their way to certificates.
//!
//! A vote that its own signer sent is counted unverified: only that validator can spoil it, and the sum of a quorum is verified before it
//! becomes a certificate, one pairing for all. If the sum is wrong, each vote is verified and the wrong ones are dropped; who sent them
//! is a suspect from then on, whose votes are verified one by one before they count.
//! At most two digests are kept per signer, kind and view: two prove misbehaviour, and more prove nothing else.

use crate::{Bitmap, Certificate, Domain, Evidence, Kind, Scheme, Signature, ValidatorSet, Vote};
use alloy_primitives::B256;
use std::collections::BTreeMap;

#[derive(Default)]
struct Ballot {
    digest: B256,
    signers: Bitmap,
    signatures: Vec<(u16, Signature)>,
    certified: bool,
}

/// All votes of the views in the window, and the proposals' signatures, which count only as evidence.
#[derive(Default)]
pub(crate) struct Tally {
    ballots: BTreeMap<(u64, Kind), Vec<Ballot>>,
    accused: Bitmap,
    suspects: Bitmap,
}

/// What became of a vote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It was there already, or one vote too many.
    Known,
    /// It is new.
    New,
}

impl Tally {
    pub(crate) fn add(&mut self, vote: &Vote) -> Counted {
        let ballots = self.ballots.entry((vote.view, vote.kind)).or_default();
        let known = ballots.iter().filter(|ballot| ballot.signers.contains(vote.signer)).count();
        let ballot = match ballots.iter_mut().position(|ballot| ballot.digest == vote.digest) {
            Some(index) => &mut ballots[index],
            None if known >= 2 => return Counted::Known,
            None => {
                ballots.push(Ballot { digest: vote.digest, ..Ballot::default() });
                let last = ballots.len() - 1;
                &mut ballots[last]
            }
        };
        if ballot.signers.contains(vote.signer) || known >= 2 {
            return Counted::Known;
        }
        ballot.signers.insert(vote.signer);
        ballot.signatures.push((vote.signer, vote.signature));
        Counted::New
    }

    /// What a signer's votes of a view prove together with this one, if its signatures are right. One proof per signer and epoch is enough. If they are
    /// not, its votes are verified from now on.
    pub(crate) fn evidence(
        &mut self,
        vote: &Vote,
        domain: &Domain,
        set: &ValidatorSet,
        scheme: &dyn Scheme,
    ) -> Option<Evidence> {
        let same_kind = self.ballots.get(&(vote.view, vote.kind)).into_iter().flatten();
        let known = same_kind.filter(|ballot| ballot.signers.contains(vote.signer)).count();
        if self.accused.contains(vote.signer) || known >= 2 || self.has(vote) {
            return None;
        }
        let kinds = match vote.kind {
            Kind::Skip => &[Kind::Finalize][..],
            Kind::Finalize => &[Kind::Finalize, Kind::Skip],
            _ => &[vote.kind],
        };
        for kind in kinds {
            let Some(ballots) = self.ballots.get(&(vote.view, *kind)) else { continue };
            for ballot in ballots.iter().filter(|b| *kind != vote.kind || b.digest != vote.digest) {
                let Some((_, signature)) = ballot.signatures.iter().find(|(signer, _)| *signer == vote.signer) else {
                    continue;
                };
                let other = Vote { kind: *kind, digest: ballot.digest, signature: *signature, ..vote.clone() };
                let Some(evidence) = Evidence::of_votes(vote, &other) else { continue };
                if verify_evidence(&evidence, domain, set, scheme) {
                    self.accused.insert(vote.signer);
                    return Some(evidence);
                }
                self.suspects.insert(vote.signer);
            }
        }
        None
    }

    /// Whether this vote is counted already.
    pub(crate) fn has(&self, vote: &Vote) -> bool {
        self.ballots.get(&(vote.view, vote.kind)).is_some_and(|ballots| {
            ballots.iter().any(|ballot| ballot.digest == vote.digest && ballot.signers.contains(vote.signer))
        })
    }

    /// Whether a vote of this signer spoiled a sum.
    pub(crate) fn is_suspect(&self, signer: u16) -> bool {
        self.suspects.contains(signer)
    }

    /// Whether a signer was accused.
    pub(crate) fn is_accused(&self, signer: u16) -> bool {
        self.accused.contains(signer)
    }

    /// Notes that a signer was accused by evidence from outside. False if it was already.
    pub(crate) fn accuse(&mut self, signer: u16) -> bool {
        let new = !self.accused.contains(signer);
        self.accused.insert(signer);
        new
    }

    /// A certificate, once enough of those who count have voted; each only once.
    #[allow(clippy::too_many_arguments, reason = "what a certificate is made of")]
    pub(crate) fn certificate(
        &mut self,
        epoch: u64,
        view: u64,
        kind: Kind,
        digest: &B256,
        counted: &Bitmap,
        quorum: usize,
        domain: &Domain,
        set: &ValidatorSet,
        scheme: &dyn Scheme,
    ) -> Option<Certificate> {
        let ballots = self.ballots.get_mut(&(view, kind))?;
        let ballot = ballots.iter_mut().find(|ballot| ballot.digest == *digest && !ballot.certified)?;
        let statement = domain.statement(kind, epoch, view, digest);
        loop {
            let signers = ballot.signers.and(counted);
            if signers.count() < quorum {
                return None;
            }
            let votes = ballot.signatures.iter().filter(|(signer, _)| counted.contains(*signer));
            let signatures: Vec<Signature> = votes.map(|(_, signature)| *signature).collect();
            if let Some(signature) = scheme.aggregate(&signatures) {
                let certificate = Certificate { kind, epoch, view, digest: *digest, signers, signature };
                if verify_signature(&certificate, domain, set, scheme) {
                    ballot.certified = true;
                    return Some(certificate);
                }
            }
            let validators = set.validators();
            let before = ballot.signatures.len();
            ballot.signatures.retain(|(signer, signature)| {
                let right = scheme.verify(&validators[usize::from(*signer)].key, &statement, signature);
                if !right {
                    self.suspects.insert(*signer);
                }
                right
            });
            ballot.signers = Bitmap::default();
            ballot.signatures.iter().for_each(|(signer, _)| ballot.signers.insert(*signer));
            if ballot.signatures.len() == before {
                return None;
            }
        }
    }

    /// Forgets views below.
    pub(crate) fn prune(&mut self, below: u64) {
        self.ballots = self.ballots.split_off(&(below, Kind::Proposal));
    }
}

/// Whether a certificate's sum of signatures is that of its signers, all of whom are in the set.
pub(crate) fn verify_signature(
    certificate: &Certificate,
    domain: &Domain,
    set: &ValidatorSet,
    scheme: &dyn Scheme,
) -> bool {
    let validators = set.validators();
    let mut keys = Vec::with_capacity(certificate.signers.count());
    for signer in certificate.signers.iter() {
        match validators.get(usize::from(signer)) {
            Some(validator) => keys.push(&validator.key),
            None => return false,
        }
    }
    let statement = domain.statement(certificate.kind, certificate.epoch, certificate.view, &certificate.digest);
    !keys.is_empty() && scheme.verify_aggregate(&keys, &statement, &certificate.signature)
}

/// Whether a FinalCert, NotarizeCert or SkipCert is by a quorum of the set. What L1, light clients and full nodes check.
pub fn verify_certificate(certificate: &Certificate, domain: &Domain, set: &ValidatorSet, scheme: &dyn Scheme) -> bool {
    matches!(certificate.kind, Kind::Notarize | Kind::Skip | Kind::Finalize)
        && certificate.signers.count() >= set.quorum()
        && verify_signature(certificate, domain, set, scheme)
}

/// Whether both signatures of evidence are by the validator that it accuses. For seals, that is who led the term, and the caller checks
/// with [`verify_seals`].
pub fn verify_evidence(evidence: &Evidence, domain: &Domain, set: &ValidatorSet, scheme: &dyn Scheme) -> bool {
    let Evidence::Votes(a, b) = evidence else { return false };
    let Some(validator) = set.validators().get(usize::from(a.signer)) else { return false };
    Evidence::of_votes(a, b).is_some()
        && [a, b].into_iter().all(|vote| {
            let statement = domain.statement(vote.kind, vote.epoch, vote.view, &vote.digest);
            scheme.verify(&validator.key, &statement, &vote.signature)
        })
}

/// Whether both seals of evidence are by the term's leader.
pub fn verify_seals(
    evidence: &Evidence,
    domain: &Domain,
    set: &ValidatorSet,
    seed: &[u8; 32],
    scheme: &dyn Scheme,
) -> bool {
    let Evidence::Seals(a, b) = evidence else { return false };
    let key = &set.validators()[usize::from(set.leader(seed, a.term))].key;
    Evidence::of_seals(a, b).is_some()
        && [a, b].into_iter().all(|seal| {
            let statement = domain.seal_statement(seal.epoch, seal.term, seal.number, &seal.hash);
            scheme.verify(key, &statement, &seal.signature)
        })
}
