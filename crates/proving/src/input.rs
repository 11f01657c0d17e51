//! What a prover is given, and its encoding.

use crate::InputError;
use alloc::vec::Vec;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use jove_primitives::{batch::BatchHeader, l1::QueueEntry};
use jove_stf::Witness;

/// Most bytes of an encoded input. A batch of full blobs has about 1 MiB of contents and 1 to 10 of witness; a header of L1 has 600 bytes. But one transaction of
/// 2^24 gas can read 157 MiB of code, and nodes cut batches into single blocks at most: a block that has read 32 MiB takes no further one.
pub const MAX_INPUT: usize = 256 << 20;
/// Most batches of a proof, as `Rollup` has it.
pub const MAX_BATCHES: usize = 64;

/// What [`judge`](crate::judge) is given. Its encoding is RLP: a list of the fields in their order, and so on inwards; [`BatchHeader`] and
/// [`QueueEntry`] are lists of their fields, [`Witness`] too, and the L1 headers are as Ethereum encodes them.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Input {
    /// Whom the proof pays.
    pub payout: Address,
    /// [`ChainSpec::config`](jove_primitives::ChainSpec::config) with all forks.
    pub config: Bytes,
    /// The batch before the first one.
    pub parent: Committed,
    /// Consecutive batches.
    pub batches: Vec<Batch>,
}

/// What the hash of a batch covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Committed {
    /// The header.
    pub header: BatchHeader,
    /// The versioned hashes of its blobs.
    pub blobs: Vec<B256>,
}

impl Committed {
    /// The batch hash.
    pub fn hash(&self) -> B256 {
        self.header.hash(&self.blobs)
    }
}

/// A batch, and all that is needed to judge it.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Batch {
    /// As it was committed.
    pub committed: Committed,
    /// The contents of its blobs, 131,072 bytes each.
    pub contents: Vec<Bytes>,
    /// L1's headers after the parent's origin up to its own. After a parent without an origin: from its first origin on.
    pub origins: Vec<Header>,
    /// The entries of the queue in its range.
    pub messages: Vec<QueueEntry>,
    /// What it is executed on. Of an invalid batch: up to where that shows.
    pub witness: Witness,
}

impl Input {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads an encoding: any bytes give an input or an error, in time proportional to them, and memory of some thirty times as much at worst.
    ///
    /// # Errors
    /// [`InputError::Encoding`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, InputError> {
        if bytes.len() > MAX_INPUT {
            return Err(InputError::Encoding("it is longer than 256 MiB"));
        }
        match <Self as Decodable>::decode(&mut bytes) {
            Ok(input) if bytes.is_empty() => Ok(input),
            Ok(_) => Err(InputError::Encoding("bytes follow it")),
            Err(_) => Err(InputError::Encoding("malformed")),
        }
    }
}
