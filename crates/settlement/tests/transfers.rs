//! Transfers a blob, on whole batches of the corpora, and how batches are cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod corpora;

use corpora::{CHAIN_ID, Corpus, traffic};
use jove_primitives::batch::{BLOB_CAPACITY, MAX_BLOBS, decode, pack};
use jove_settlement::{Batch, Batcher, Zstd};
use std::time::Instant;

/// The first full batch of a corpus.
fn full(corpus: Corpus) -> (Batch, u64) {
    let mut batcher = Batcher::new(CHAIN_ID, 1, MAX_BLOBS, Zstd::new().expect("libzstd"));
    let batch =
        traffic(corpus).find_map(|block| batcher.push(block, 0, true).expect("encodes")).expect("traffic never ends");
    (batch, batcher.encodings())
}

/// Transactions a blob of a full batch, which must come back whole.
fn measure(corpus: Corpus) -> f64 {
    let (batch, encodings) = full(corpus);
    let blobs = pack(&batch.stream);
    assert_eq!(blobs.len(), MAX_BLOBS);
    let fill = batch.stream.len() as f64 / (MAX_BLOBS * BLOB_CAPACITY) as f64;
    assert!(fill > 0.99, "blobs are {fill} full");
    assert!(encodings <= 6, "{encodings} encodings");
    let transactions: usize = batch.blocks.iter().map(|block| block.transactions.len()).sum();
    let start = Instant::now();
    let decoded = decode(&blobs, CHAIN_ID).expect("decodes");
    let decoding = start.elapsed();
    assert_eq!((decoded.first_block, &decoded.blocks), (batch.first_block, &batch.blocks));
    let hashes = |blocks: &[jove_primitives::batch::BlockData]| -> Vec<_> {
        blocks.iter().flat_map(|block| &block.transactions).map(|transaction| *transaction.tx_hash()).collect()
    };
    assert_eq!(hashes(&decoded.blocks), hashes(&batch.blocks));
    let rate = transactions as f64 / MAX_BLOBS as f64;
    let bytes = batch.stream.len() as f64 / transactions as f64;
    println!(
        "| {corpus:?} | {transactions} | {rate:.0} | {bytes:.2} | {fill:.4} | {encodings} | {:.1} ms |",
        decoding.as_secs_f64() * 1e3
    );
    rate
}

#[test]
fn known_recipients() {
    assert!(measure(Corpus::A) >= 1_650.0);
}

#[test]
fn unknown_recipients() {
    assert!(measure(Corpus::B) >= 1_400.0);
}

#[test]
fn a_mix() {
    assert!(measure(Corpus::C) >= 1_150.0);
}
