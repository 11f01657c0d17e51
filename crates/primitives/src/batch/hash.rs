//! Batch hash, output hash, statement and the point at which a blob is opened: what L1's `Rollup`, the nodes and the provers compute alike.
//!
//! A *word* is 32 bytes, big-endian; addresses and smaller integers are padded with zeros on the left, as Solidity's `abi.encode` does.
//!
//! | hash | keccak256 of |
//! |---|---|
//! | batch | the 18 words of [`BatchHeader`] in the order of its fields ‖ the versioned hash of each blob |
//! | output | batch hash ‖ hash of the last block ‖ its state root ‖ outbox root |
//! | output of an invalid batch | [`INVALID_DOMAIN`] ‖ batch hash ‖ previous output hash |
//! | statement | [`STATEMENT_DOMAIN`] ‖ chain id ‖ rollup ‖ output before the first batch ‖ payout ‖ keccak256(each output) ‖ keccak256(each blob's contents hash ‖ y) |
//! | z | versioned hash ‖ contents hash; read as an integer, modulo [`BLS_MODULUS`] |

use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256, keccak256, uint};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use serde::{Deserialize, Serialize};

/// Domain of the output of a batch that breaks the rules: keccak256("jove.output.invalid.v1").
pub const INVALID_DOMAIN: B256 =
    B256::new(alloy_primitives::hex!("55f16085ea3c2e4552631c213fef6f1d606faba8fd8898986548e803e3c8b082"));
/// Domain of a statement: keccak256("jove.statement.v1").
pub const STATEMENT_DOMAIN: B256 =
    B256::new(alloy_primitives::hex!("e56a8c91e1e377b8e817fc6c29164d90d38c35c32ee10150359b7476ff840298"));
/// Order r of BLS12-381's scalar field.
pub const BLS_MODULUS: U256 = uint!(0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256);

/// A batch that the chain's operators sealed.
pub const ORDINARY: u8 = 1;
/// A batch of queued L1 messages alone: a block with a pool transaction makes it invalid.
pub const MESSAGES_ALONE: u8 = 2;

/// What a batch's hash covers besides its blobs, in the order of the hash. Batch 0 is genesis: index 0, last block 0, what is absent is zero, and
/// no blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase")]
pub struct BatchHeader {
    /// [`ORDINARY`] or [`MESSAGES_ALONE`].
    pub version: u8,
    /// How often queued messages alone were committed without the operators so far.
    pub era: u64,
    /// The L2 chain id.
    pub chain_id: u64,
    /// `Rollup` on L1.
    pub rollup: Address,
    /// Position in the chain of batches; 0 is genesis.
    pub index: u64,
    /// Hash of the batch before.
    pub parent_batch_hash: B256,
    /// Hash of the last block before the batch.
    pub parent_block_hash: B256,
    /// Hash of its last block.
    pub last_block_hash: B256,
    /// Number of its first block.
    pub first_block: u64,
    /// Number of its last block.
    pub last_block: u64,
    /// Time of the last block, in seconds.
    pub last_timestamp: u64,
    /// Entries of the L1 queue consumed before the batch.
    pub first_message: u64,
    /// And after it.
    pub end_message: u64,
    /// The queue's rolling hash over the entries before `first_message`.
    pub queue_hash_before: B256,
    /// And before `end_message`.
    pub queue_hash_after: B256,
    /// Number of the last block's L1 origin.
    pub origin_number: u64,
    /// Its hash.
    pub origin_hash: B256,
    /// The chain's forks and settings.
    pub config_hash: B256,
}

impl BatchHeader {
    /// The batch hash, with the versioned hashes of the batch's blobs in order.
    pub fn hash(&self, blobs: &[B256]) -> B256 {
        let words: [B256; 18] = [
            word(self.version.into()),
            word(self.era),
            word(self.chain_id),
            self.rollup.into_word(),
            word(self.index),
            self.parent_batch_hash,
            self.parent_block_hash,
            self.last_block_hash,
            word(self.first_block),
            word(self.last_block),
            word(self.last_timestamp),
            word(self.first_message),
            word(self.end_message),
            self.queue_hash_before,
            self.queue_hash_after,
            word(self.origin_number),
            self.origin_hash,
            self.config_hash,
        ];
        keccak_words(words.iter().chain(blobs))
    }
}

/// The output of a valid batch.
pub fn output_hash(batch_hash: B256, last_block_hash: B256, state_root: B256, outbox_root: B256) -> B256 {
    keccak_words(&[batch_hash, last_block_hash, state_root, outbox_root])
}

/// The output of a batch that breaks the rules, after the output `previous`.
pub fn invalid_output_hash(batch_hash: B256, previous: B256) -> B256 {
    keccak_words(&[INVALID_DOMAIN, batch_hash, previous])
}

/// State root and outbox root after a batch's last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Roots {
    /// Of the state.
    pub state: B256,
    /// Of the messages to L1.
    pub outbox: B256,
}

/// What a proof says of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, RlpEncodable, RlpDecodable)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// Keccak-256 of the blob's 131,072 bytes.
    pub contents_hash: B256,
    /// The value of the blob's polynomial at [`blob_z`], as a word.
    pub y: B256,
}

/// Where the polynomial of a blob is opened.
pub fn blob_z(versioned_hash: B256, contents_hash: B256) -> U256 {
    let hash: U256 = keccak_words(&[versioned_hash, contents_hash]).into();
    hash % BLS_MODULUS
}

/// What a proof proves: after the output `start`, consecutive batches have `outputs`, and their blobs, batch by batch, open as in `openings`.
/// `payout` is whom the proof pays.
pub fn statement(
    chain_id: u64,
    rollup: Address,
    start: B256,
    payout: Address,
    outputs: &[B256],
    openings: &[Opening],
) -> B256 {
    let openings = openings.iter().flat_map(|opening| [&opening.contents_hash, &opening.y]);
    keccak_words(&[
        STATEMENT_DOMAIN,
        word(chain_id),
        rollup.into_word(),
        start,
        payout.into_word(),
        keccak_words(outputs),
        keccak_words(openings),
    ])
}

fn word(value: u64) -> B256 {
    U256::from(value).into()
}

fn keccak_words<'a>(words: impl IntoIterator<Item = &'a B256>) -> B256 {
    let bytes: Vec<u8> = words.into_iter().flat_map(|word| word.0).collect();
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    fn hash(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    fn header() -> BatchHeader {
        BatchHeader {
            version: ORDINARY,
            era: 2,
            chain_id: 3,
            rollup: Address::repeat_byte(4),
            index: 5,
            parent_batch_hash: hash(6),
            parent_block_hash: hash(7),
            last_block_hash: hash(8),
            first_block: 9,
            last_block: 10,
            last_timestamp: 11,
            first_message: 12,
            end_message: 13,
            queue_hash_before: hash(14),
            queue_hash_after: hash(15),
            origin_number: 16,
            origin_hash: hash(17),
            config_hash: hash(18),
        }
    }

    #[test]
    fn domains_are_the_hashes_of_their_names() {
        assert_eq!(INVALID_DOMAIN, keccak256("jove.output.invalid.v1"));
        assert_eq!(STATEMENT_DOMAIN, keccak256("jove.statement.v1"));
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vectors {
        batches: Vec<BatchVector>,
        openings: Vec<OpeningVector>,
        statement: StatementVector,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct BatchVector {
        #[serde(flatten)]
        header: BatchHeader,
        blobs: Vec<B256>,
        batch_hash: B256,
        state_root: B256,
        outbox_root: B256,
        output: B256,
        invalid_output: Option<B256>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OpeningVector {
        #[serde(flatten)]
        opening: Opening,
        versioned_hash: B256,
        z: B256,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct StatementVector {
        chain_id: u64,
        rollup: Address,
        start: B256,
        payout: Address,
        hash: B256,
    }

    /// The vectors that the contracts' tests made.
    #[test]
    fn the_contracts_compute_the_same() {
        let vectors = include_str!("../../../../contracts/test/fixtures/formats.json");
        let Vectors { batches, openings, statement: expected } = serde_json::from_str(vectors).expect("vectors");
        assert!(batches.len() > 2 && openings.len() > 2);
        let mut previous = B256::ZERO;
        for batch in &batches {
            assert_eq!(batch.header.hash(&batch.blobs), batch.batch_hash);
            let (block, state, outbox) = (batch.header.last_block_hash, batch.state_root, batch.outbox_root);
            assert_eq!(output_hash(batch.batch_hash, block, state, outbox), batch.output);
            if let Some(invalid) = batch.invalid_output {
                assert_eq!(invalid_output_hash(batch.batch_hash, previous), invalid);
            }
            previous = batch.output;
        }
        for opening in &openings {
            assert_eq!(B256::from(blob_z(opening.versioned_hash, opening.opening.contents_hash)), opening.z);
        }
        let StatementVector { chain_id, rollup, start, payout, hash } = expected;
        assert_eq!(start, batches[0].output);
        let outputs: Vec<B256> = batches[1..].iter().map(|batch| batch.output).collect();
        let openings: Vec<Opening> = openings.iter().map(|opening| opening.opening).collect();
        assert_eq!(statement(chain_id, rollup, start, payout, &outputs, &openings), hash);
    }

    /// Computed by an implementation that shares no code with this one.
    #[test]
    fn hashes_are_pinned() {
        let blobs = [hash(0x21), hash(0x22)];
        assert_eq!(header().hash(&blobs), b256!("b4a5fceea6cfabdab980dc990824a37f797747b36b4cbde07181f08273cffa0f"));
        assert_eq!(
            output_hash(hash(1), hash(2), hash(3), hash(4)),
            b256!("3fdc9032c16d440f6c96be209c36d3d0e1aed61a2531490fe0ca475eb615c40a")
        );
        assert_eq!(
            invalid_output_hash(hash(1), hash(2)),
            b256!("fecafa50dc08bf7a4caf7996a7bb43bac0ab4b35206acb88366bd48f02146c28")
        );
        let openings =
            [Opening { contents_hash: hash(7), y: hash(8) }, Opening { contents_hash: hash(9), y: hash(10) }];
        assert_eq!(
            statement(3, Address::repeat_byte(4), hash(5), Address::repeat_byte(6), &[hash(1), hash(2)], &openings),
            b256!("ed4b166ecc4175b278e245e74ad288a79020bbc80fbc0eef72eb2879423a1a44")
        );
        assert_eq!(
            B256::from(blob_z(hash(0xfe), hash(0xff))),
            b256!("07bebad98daad160b0a7459a6a0d131bcb859dc2953c5526783c115dfc11512a")
        );
    }

    #[test]
    fn every_field_counts() {
        let edits: [fn(&mut BatchHeader); 18] = [
            |h| h.version = MESSAGES_ALONE,
            |h| h.era += 1,
            |h| h.chain_id += 1,
            |h| h.rollup = Address::ZERO,
            |h| h.index += 1,
            |h| h.parent_batch_hash = B256::ZERO,
            |h| h.parent_block_hash = B256::ZERO,
            |h| h.last_block_hash = B256::ZERO,
            |h| h.first_block += 1,
            |h| h.last_block += 1,
            |h| h.last_timestamp += 1,
            |h| h.first_message += 1,
            |h| h.end_message += 1,
            |h| h.queue_hash_before = B256::ZERO,
            |h| h.queue_hash_after = B256::ZERO,
            |h| h.origin_number += 1,
            |h| h.origin_hash = B256::ZERO,
            |h| h.config_hash = B256::ZERO,
        ];
        let mut seen = vec![header().hash(&[]), header().hash(&[hash(1)]), header().hash(&[hash(2)])];
        for edit in edits {
            let mut edited = header();
            edit(&mut edited);
            seen.push(edited.hash(&[]));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn z_is_a_field_element() {
        for byte in 0..=255 {
            assert!(blob_z(hash(byte), hash(byte)) < BLS_MODULUS);
        }
    }
}
