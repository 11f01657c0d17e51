//! AVC, Jove's consensus: a quorum of validators executes and certifies every checkpoint of the chain.
//!
//! A [`Core`] is one node's consensus without I/O: it takes [`Event`]s, each with a time, and gives [`Effect`]s. It has no clock, no socket, no disk and
//! no thread, and the same events give the same effects. This page is the protocol's specification; encodings are in [`codec`] and beside
//! the types, the VRF's is in [`vrf`], the feature `sim` has the simulator (`sim`) and the rules it breaks on purpose ([`Mutation`]).
//!
//! ```text
//!  messages, timers, what the host executed          codec, types     what travels, to the byte
//!        │ handle(now, event)                        crypto, bls, vrf keys, aggregates, proofs of possession
//!        ▼                                           set              validator sets, quorums, the weighted draw
//!  inbox ─► tally ─► core ◄─► chain                  tally            votes, certificates, evidence
//!        │                                           core, rules      views, certificates, timers, epochs, the log
//!        ▼ effects, in order                         chain            proposals: which may follow which, votes on them
//!  log, messages, timers, execution                  inbox            messages, questions, answers
//!                                           l1               what contracts on L1 are given
//! ```
//!
//! # What is agreed on
//! A *checkpoint* is one height: a range of at most [`MAX_BLOCKS`] blocks after its parent's. Its digest is the hash of its preimage, [`Checkpoint`]. A
//! checkpoint that is *certified* has a FinalCert of its own or of a descendant; the digest of one fixes all before it. Genesis is
//! height 0; of a later *era*, which is in all that is signed, the root that L1 gave the chain is.
//!
//! Heights come in *epochs* of L: epoch e has the heights (eL, (e+1)L]. Each epoch has its validators V_e, n of them, with weights W_e, and a seed.
//! F = ⌊(n−1)/3⌋ may be Byzantine; a quorum is Q = n − F. Views count from 0 in each epoch; T of them are a *term* with one *leader*: view v is in term ⌊v/T⌋.
//!
//! # Randomness
//! The leader of a term is a weighted draw from SHA-256("jove/avc/1/leader" ‖ seed_e ‖ term) among validators that registered to sequence. The leader of a
//! view publishes π, its VRF's proof on "jove/avc" ‖ seed_e ‖ view (numbers are 8 bytes, big-endian); the output β_v draws the committee C_v of
//! min(k, n) distinct *buddies*, by weight, one after another: [`ValidatorSet::committee`]. Then
//! seed_{e+1} = SHA-256(seed_e ‖ β of the proof in each final checkpoint of e, by height). All draws use SHA-256 in counter mode and integers with
//! rejection. Every node draws for itself; a committee it cannot draw certifies nothing.
//!
//! Weights are in \[1, 2\] ([`WEIGHT_ONE`]); they steer these draws and never count in a quorum. W_{e+2} follows from W_{e+1} and from what the final digests of e bind: who signed
//! NotarizeCerts, evidence, and the median of what at least two thirds of the Seed Nodes report, by a twentieth an epoch at most: [`weights`].
//!
//! # Messages
//! Votes sign 75 bytes: "jove/avc/1", kind, chain id, era, epoch, view, digest ([`Domain::statement`]). A certificate is the sum of their signatures and
//! a bitmap of the signers.
//!
//! | message | by | carries |
//! |---|---|---|
//! | Proposal | the leader | view, π of the view, the checkpoint, the certificate of its parent |
//! | Buddy | buddies | view, digest: executed, and the data is held; ⌈2k/3⌉ make a BuddyCert, the soft confirmation |
//! | Reject | buddies | view, digest, a witness of invalidity |
//! | Notarize | validators | view, digest; Q make a NotarizeCert |
//! | Skip | validators | view; for it and the term's later views; Q make a SkipCert |
//! | Finalize | validators | view, digest; Q make a FinalCert |
//! | Evidence | anyone | two votes of one kind and view on different digests, Finalize and Skip of one view, or two seals of one number |
//! | Seal | the leader | one block of its term: what it may not sign twice |
//! | Request, Checkpoints | anyone | what is missing, and the answer |
//!
//! # Rules
//! 0. **One word.** One Proposal and one Buddy vote per view. [`Effect::Persist`] is on disk before a later message of the list leaves. A restarted node goes on from
//!    its log, at the highest view that it voted in or was led to. A node that lost its log does not vote in any epoch that it
//!    may have voted in before (`votes_from` of [`Core::new`]).
//! 1. **Notarize(v, d)**, once, in the current view v, if this node has executed the checkpoint to exactly d, its parent is justified, no Skip(u), u ≤ v, of
//!    this term was sent, and BuddyCert(v, d) is held or T_buddy has passed since the proposal was accepted. Of several valid
//!    proposals the first is accepted. A node that finds d invalid, or verifies a Reject's witness, sends Skip(v) under rule 3; buddies also send Reject.
//!    A parent is *justified* in view v: within a term, if it is certified in v−1. For the first view of a term, if it is certified in p,
//!    where p is its term's last view or SkipCert(u), u ≤ p+1, of p's term is held, and for every term between the SkipCert of its first
//!    view is held. Certified means a NotarizeCert, or a FinalCert, which proves more.
//! 2. **Finalize(v, d)**, once, with NotarizeCert(v, d), if no Skip(u), u ≤ v, of this term was sent.
//! 3. **Skip(v)**, in the current view v, on its timer or by rule 1, if no Finalize(w), w ≥ v, and no Notarize(w), w > v, of this term was sent. It speaks
//!    for all later views of the term: a node that skipped and is led to a later view of the term sends Skip there at once.
//! 4. **Moving on.** NotarizeCert(w) and FinalCert(w), w ≥ v, lead to w+1. SkipCert(u), u ≥ v or of the term of v, leads to the first view of the
//!    next term. A node relays the certificate that leads it on. At every expiry of its view's timer it sends again: its proposal and votes of the view, its latest
//!    Finalize, its highest NotarizeCert, FinalCert and SkipCert; and asks for what it misses, each time another peer; for that also when it is led on, if its timer has not run out for long. Who sends a Skip of a lower
//!    view, a vote twice, or anything of a lower epoch, is answered with the certificates that lead on from there. Peers
//!    exchange these on connecting. Kept above the last FinalCert: the lowest SkipCert of each term, the NotarizeCerts.
//! 5. **Timers.** A view's timer runs only while something is known that no *final* checkpoint covers: the host's work, a proposal of this view, a
//!    NotarizeCert, a FinalCert not yet executed. It grows by half at each expiry, to a cap, and shrinks by a third with each final height. A leader whose parent is not final after a
//!    second, with nothing to seal, proposes an empty block.
//! 6. **Epochs.** No checkpoint of e is above (e+1)L. Until the one at (e+1)L is final, leaders of e propose it again unchanged, with it as its own
//!    parent under rule 1: at once in the first view of a term, after a second within one. The epoch ends with its FinalCert, which the node relays; it
//!    never votes in e again. The first checkpoint of e+1 has it as its parent, carries no certificate of it (everyone in e+1 holds the FinalCert; the bitmap
//!    in the preimage is empty), is the first of its term, and needs every earlier term of e+1 skipped from its first view.
//!    V_{e+2} and W_{e+2} are in the last checkpoint of e; executing it gives them. Who enters an epoch asks everyone for what leads on from there: on
//!    an idle chain nobody else would say that there are later ones.
//!
//! # Why it is safe
//! With at most F Byzantine validators, whatever the network and the draws do. Two quorums share an honest validator. So a view has one NotarizeCert. In one term, SkipCert(u)
//! excludes FinalCert(v), v ≥ u, and NotarizeCert(v), v > u: the validator in both would have broken rules 1 to 3 by its log alone. So each proposal after
//! FinalCert(v, d) builds on d: within the term, view by view; after it, because only the certified checkpoint of u−1 or u can be
//! followed, where u is the lowest view with a SkipCert. And a final checkpoint was executed by the honest signers of its NotarizeCert, F+1 at least.
//! Committees are no part of this: they confirm softly, and after T_buddy nobody waits for them.
//!
//! Which of the rules that takes was checked by visiting every state of four validators, one Byzantine, within a few views, terms and epochs (`examples/model`, `tests/model.rs`), with the functions
//! that the core itself asks (module `rules`). There is a fork without: one Notarize a view; the parent of v in v−1; the ends of the terms between; no
//! Finalize after a Skip; no Skip after a later vote; the skips before an epoch's first checkpoint; the FinalCert that ends an epoch; its end. There is none without rule 1's "no
//! Skip(u) was sent": rules 2 and 3 suffice, and the clause only spares NotarizeCerts that nothing can be built on. Nor is there one if Finalize does not wait
//! for the NotarizeCert, or Skip is sent for the next view: those stall.
//!
//! # What the host does
//! Executes, stores and serves blocks and final checkpoints; keeps the log; authenticates peers. A vote from its signer's own stream is counted before its
//! signature is checked, so a stream's peer must be who it says; a proposal is taken from its leader's own alone, since its certificate is not under its signature. What is
//! executed only for a view of the past ([`Core::wants`]) must not take the place of other blocks. Messages are decoded with [`codec::Wire::decode`], at most [`MAX_MESSAGE`]
//! bytes. Seals travel with blocks; at the first view of a term the new leader proposes first the sealed blocks that it holds, and what it does not
//! propose is withdrawn. Work ([`Event::Work`]) is a sealed block, a transaction pooled for a second, or a forced message that no final checkpoint covers.
//!
//! # Bounds
//! Votes are kept for 64 views around the current one, and the first views of four terms ahead; two digests per signer, kind and view. Two proposals a view, one
//! witness a peer and view, 4,096 seals a term, the highest, 512 NotarizeCerts, 16 questions. One answer and one question per peer in each [`Timing::gap`].
//! A validator whose vote spoiled a sum has its votes verified one by one from then on. From one that sent a wrong signature, nothing that would have to be
//! verified is taken for a minute.
#![forbid(unsafe_code)]

mod bls;
mod chain;
pub mod codec;
mod core;
mod crypto;
mod error;
mod event;
mod inbox;
pub mod l1;
mod mutation;
#[cfg(not(feature = "sim"))]
mod rules;
#[cfg(feature = "sim")]
pub mod rules;
mod set;
#[cfg(feature = "sim")]
pub mod sim;
mod tally;
mod types;
pub mod vrf;
pub mod weights;

pub use crate::core::{Core, Settings, Timing};
pub use bls::{Bls, BlsSigner, verify_possession};
pub use crypto::{KeyedHash, KeyedHashSigner, PublicKey, Scheme, Signature, Signer, VrfKey, VrfOutput, VrfProof};
pub use error::Error;
pub use event::{Content, Effect, Event, Outcome, Timer};
pub use mutation::{Mutation, Tampering};
pub use set::{Bitmap, MAX_VALIDATORS, Validator, ValidatorSet, WEIGHT_ONE, buddy_quorum};
pub use tally::{verify_certificate, verify_evidence, verify_seals};
pub use types::{
    Anchor, Certificate, Checkpoint, Domain, Evidence, Kind, L1Origin, MAX_BLOCKS, MAX_CHECKPOINTS, MAX_MESSAGE,
    MAX_SKIPS, MAX_WITNESS, Message, NextSet, Proposal, Record, Reject, Request, Seal, Tip, Vote,
};
