//! Proofs in zero knowledge: what a prover does with an input, whatever the back end.
//!
//! A [`Backend`] proves what the guest makes of an encoded [`Input`](https://docs.rs/jove-proving): the statement that it reveals, and so batch, outputs and payout. There is one,
//! [`OpenVm`]. Its stages are commands of the program `jove-zk` (the workspace `zk/`, compiled for the machine that it runs on), each a process of its own:
//!
//! ```text
//! input ─► app ─► aggregate ─► root ─► wrap ─► proof
//!           │         │          │       └ KZG on BN254, for `ZkVerifier`
//!           │         │          └ the STARK again, under a hash that circuits on BN254 know
//!           │         └ stark.proof: one STARK of the whole execution
//!           └ segment-N.proof
//! ```
//!
//! # A job's folder
//! One for each input and all that decides what is made of it: guest, machine, the build of `jove-zk`, the circuit's key, the memory of a segment. It is named by the hash of
//! these. A file is written under another name, synced and renamed: what is there is whole, and the stage that leaves it is not run again. So a job goes on where it was,
//! whatever was killed. `app` goes on within itself: a segment's proof that is there is not made again.
//!
//! | file | by | what |
//! |---|---|---|
//! | `input` | the host | what the guest reads after the seed |
//! | `seed` | `app` | what the guest's hash maps are seeded with: drawn once, so the segments are of that too; no part of the statement |
//! | `execution.json` | `app` | statement, instructions, segments |
//! | `segment-N.proof`, `revealed.proof` | `app` | a STARK each; what was revealed, against the memory at the end |
//! | `stark.proof`, `stark.meta` | `aggregate` | one STARK; how deep it is |
//! | `root.proof` | `root` | |
//! | `proof`, `proof.json` | `wrap` | 2,656 bytes for the contract; the same with the public inputs, in words |
//!
//! # What a stage says
//! A line of JSON each: `{"stage", "done", "of"}` while it works, and at its end an object with `seconds` and `peakMiB` and what came of it. The end of its standard error says why it
//! failed. It is killed where the future that waits for it is dropped, and stops when its standard input ends, as it does with this process, however that is killed. While it
//! works it holds a lock on the folder that it writes into (its file `lock`): no two stages write the same files.

mod error;
mod openvm;
mod stage;

pub use error::Error;
pub use openvm::{Commitments, OpenVm};
pub use stage::Progress;

use alloy_primitives::{B256, Bytes, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use std::future::Future;

/// A proof for L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// What it proves.
    pub statement: B256,
    /// What the contract is given.
    pub proof: Bytes,
    /// The aggregated STARK, which nodes verify: of at most [`MAX_STARK`] bytes.
    pub stark: Bytes,
}

/// What a verifier on L1 pins: no other proofs than of these does it take.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Pins {
    /// The guest.
    pub program: U256,
    /// The machine that it runs in.
    pub machine: U256,
    /// What proofs are verified with.
    pub key: Bytes,
}

/// Most bytes of an aggregated STARK.
pub const MAX_STARK: usize = 2 << 20;

/// A proof system.
pub trait Backend: Send + Sync + 'static {
    /// Proves what the guest makes of an input, going on where that was interrupted.
    fn prove(
        &self,
        input: &[u8],
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> impl Future<Output = Result<Proven, Error>> + Send;
    /// The statement that an aggregated proof proves, if it holds.
    fn verify(&self, proof: &std::path::Path) -> impl Future<Output = Result<B256, Error>> + Send;
    /// What is to be set up before anything can be proven; nothing if all is there.
    fn lacking(&self) -> Option<&'static str>;
    /// What L1 has to pin to take these proofs.
    fn pins(&self) -> Result<Pins, Error>;
    /// Throws away what was made of an input: a proof that was refused is not to come back.
    fn forget(&self, input: &[u8]) -> Result<(), Error>;
}
