//! What a prover checks: from committed batches, their blobs and a witness to the statement of a proof.
//!
//! [`judge`] is the one function that the enclave and a zkVM's guest run. There is no I/O, no clock, and it needs no std. Its [`Input`] comes from a
//! host that is not believed; what it says of the chain is bound to what L1's `Rollup` has stored, since `Rollup` compares the statement with its own.
//!
//! ```text
//!  parent ──── its hash, and the state before ────► start ─┐
//!  batches ─┬─ header, versioned hashes: the batch hash ───┤
//!           ├─ contents ──► openings (contents hash, y) ───┤   Statement: start, outputs, openings, payout
//!           │     └► decoded ──► blocks ─┐                 ├──►  keccak256, as docs/settlement.md has it
//!           ├─ L1 headers ───► origins ──┼► stf ► output ──┤
//!           ├─ messages ─────────────────┤                 │
//!           └─ witness: the state before ┘         payout ─┘
//! ```
//!
//! # What is checked
//! 1. The config is the preimage of the batches' config hash, and a valid one: chain id, forks, gas, L1's blob fee updates, the inbox.
//! 2. Each batch follows the one before it, field by field as `Rollup.commit` sets them; the first follows the *parent*, whose hash it names.
//! 3. Each blob has 131,072 bytes, in 4,096 elements below r. Contents hash and y are computed here ([`opening`]); L1 checks that the blob has them.
//! 4. The L1 headers are a chain by `parentHash` from the parent's origin to the batch's, whose hash L1 has checked. (There is no such chain to the first
//!    batch's parent, which has no origin: there it may begin anywhere.)
//! 5. The messages have the rolling hash of the batch's range. Each hash has the message's L1 block: so it is known how many the queue held at each origin.
//! 6. The witness is of the state of the block before the batch: the state root of the header whose hash the batch names.
//! 7. *Start* is the output of the parent, computed from its hash and the state before: a batch follows no output with other roots.
//! 8. The blobs are decoded and the blocks executed, as the chain's nodes do ([`jove_stf::witness`]).
//!
//! If step 8 finds that the batch breaks a rule, its output is INVALID; this includes blobs that hold nothing, and a last block with another hash than
//! the committed one. Whatever else fails is an [`InputError`]: the input is at fault, and nothing is said of the batch.
//!
//! Not bound to L1 by any of that is the hash of the genesis block, which stands in for the randomness of an L1 origin whose `mixHash` is zero. It is
//! known where the input begins at the first batch. Elsewhere a `mixHash` of zero, which a beacon chain never has, is [`InputError::Randomness`].
#![cfg_attr(not(any(test, feature = "std")), no_std)]

extern crate alloc;

#[cfg(feature = "check")]
pub mod check;
mod error;
mod input;
mod judge;
pub mod opening;

pub use error::InputError;
pub use input::{Batch, Committed, Input, MAX_BATCHES, MAX_INPUT};
pub use judge::{Judgement, Open, Verdict, judge, judge_with};
