//! How batches are cut.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod corpora;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Signature, U256};
use corpora::{CHAIN_ID, Corpus, Random, traffic};
use jove_primitives::{
    batch::{BLOB_CAPACITY, BlockData, EncodeError, MAX_BLOBS, MAX_BLOCKS, MAX_CONTENT, decode, pack},
    transaction::SignedTransaction,
};
use jove_settlement::{Batch, Batcher, Zstd, batcher::SLACK};

fn batcher(blobs: usize) -> Batcher {
    Batcher::new(CHAIN_ID, 100, blobs, Zstd::new().expect("libzstd"))
}

fn with_input(input: Vec<u8>) -> SignedTransaction {
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    TxLegacy { to: Address::ZERO.into(), input: input.into(), ..Default::default() }.into_signed(signature).into()
}

fn block(transactions: Vec<SignedTransaction>) -> BlockData {
    BlockData { time_ms: 1, origin_steps: 0, transactions }
}

/// Pushes all blocks and flushes; checks that each batch fits and comes back, and that together they are the blocks.
fn cut(batcher: &mut Batcher, blobs: usize, blocks: Vec<BlockData>) -> Vec<Batch> {
    let mut batches = Vec::new();
    for block in blocks.clone() {
        batches.extend(batcher.push(block, 0, true).expect("encodes"));
    }
    while let Some(batch) = batcher.flush().expect("encodes") {
        batches.push(batch);
    }
    assert!(batcher.is_empty());
    let mut next = 100;
    for batch in &batches {
        assert_eq!(batch.first_block, next);
        next += batch.blocks.len() as u64;
        let packed = pack(&batch.stream);
        assert!(packed.len() <= blobs);
        let decoded = decode(&packed, CHAIN_ID).expect("decodes");
        assert_eq!((decoded.first_block, &decoded.blocks), (batch.first_block, &batch.blocks));
    }
    assert!(batches.iter().flat_map(|batch| &batch.blocks).eq(&blocks));
    batches
}

#[test]
fn batches_are_full_and_nothing_is_lost() {
    for corpus in [Corpus::A, Corpus::B, Corpus::C] {
        for blobs in [1, 2] {
            let mut batcher = batcher(blobs);
            let batches = cut(&mut batcher, blobs, traffic(corpus).take(300).collect());
            assert!(batches.len() >= 2);
            for batch in &batches[..batches.len() - 1] {
                let room = blobs * BLOB_CAPACITY - batch.stream.len();
                // What is left is less than the next block and what is not worth a try.
                assert!(room < SLACK + 20 * 400, "{room} bytes of {blobs} blobs are left");
            }
            let encodings = batcher.encodings() as usize;
            assert!(encodings <= 6 * batches.len(), "{encodings} encodings for {} batches", batches.len());
        }
    }
}

#[test]
fn blocks_that_do_not_compress_are_cut_where_they_must_be() {
    let mut random = Random(1);
    let large = |random: &mut Random| block((0..3).map(|_| with_input(random.bytes(BLOB_CAPACITY - 1_000))).collect());
    let blocks = (0..5).map(|_| large(&mut random)).collect();
    let batches = cut(&mut batcher(MAX_BLOBS), MAX_BLOBS, blocks);
    assert_eq!(batches.iter().map(|batch| batch.blocks.len()).collect::<Vec<_>>(), [2, 2, 1]);

    let mut small = batcher(1);
    let error = small.push(large(&mut random), 0, true).expect_err("three blobs do not fit into one");
    assert_eq!(error, EncodeError::BlockSize(100));
}

/// First blocks that compress to nothing, then blocks that do not compress: what has been measured misleads.
#[test]
fn a_wrong_estimate_costs_only_encodings() {
    let mut random = Random(2);
    let zeros = (0..60).map(|_| block(vec![with_input(vec![0; 10_000])]));
    let mut blocks: Vec<BlockData> = zeros.collect();
    blocks.extend((0..60).map(|_| block(vec![with_input(random.bytes(10_000))])));
    let mut batcher = batcher(1);
    let batches = cut(&mut batcher, 1, blocks);
    assert!((5..9).contains(&batches.len()), "{} batches", batches.len());
    assert!(batcher.encodings() < 60, "{} encodings", batcher.encodings());
}

#[test]
fn batches_stay_within_the_formats_limits() {
    let blocks = vec![block(vec![with_input(vec![0; 100_000])]); 200];
    let batches = cut(&mut batcher(1), 1, blocks);
    assert_eq!(batches[0].blocks.len(), MAX_CONTENT / 100_000);
    let batches = cut(&mut batcher(1), 1, vec![block(Vec::new()); MAX_BLOCKS + 1]);
    assert_eq!(batches.iter().map(|batch| batch.blocks.len()).collect::<Vec<_>>(), [MAX_BLOCKS, 1]);
}

/// Units of three blocks with 30,000 bytes each: a blob has room for one block more than a unit, and is not given it.
#[test]
fn a_batch_is_cut_between_units() {
    let mut random = Random(3);
    let mut batcher = batcher(1);
    let blocks: Vec<_> = (0..9).map(|_| block(vec![with_input(random.bytes(30_000))])).collect();
    let mut batches = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        batches.extend(batcher.push(block.clone(), 0, index % 3 == 2).expect("encodes"));
    }
    batches.extend(batcher.flush().expect("encodes"));
    assert_eq!(
        batches.iter().map(|batch| (batch.first_block, batch.blocks.len())).collect::<Vec<_>>(),
        [(100, 3), (103, 3), (106, 3)]
    );
    assert_eq!(batcher.push(blocks[0].clone(), 0, false), Ok(None));
    assert_eq!(batcher.flush(), Ok(None), "a unit under way does not leave");
    assert_eq!((batcher.len(), batcher.next_block()), (1, 110));
}

/// Units of two blocks that cost 3 each: two units are within a bound of 13, three are not; one that costs more is alone.
#[test]
fn a_batch_is_cut_before_it_costs_too_much() {
    let mut batcher = batcher(1).bounded(13);
    let mut batches = Vec::new();
    for index in 0..12 {
        let cost = if index == 8 { 20 } else { 3 };
        batches.extend(batcher.push(block(Vec::new()), cost, index % 2 == 1).expect("encodes"));
    }
    batches.extend(batcher.flush().expect("encodes"));
    assert_eq!(
        batches.iter().map(|batch| (batch.first_block, batch.blocks.len())).collect::<Vec<_>>(),
        [(100, 4), (104, 4), (108, 2), (110, 2)]
    );
}

#[test]
fn without_blocks_there_is_no_batch() {
    assert_eq!(batcher(1).flush(), Ok(None));
}

#[test]
fn a_batch_ends_before_the_block_that_it_is_told() {
    // Twelve blocks in units of three, from block 100 on.
    let cut = |bar: u64| {
        let mut batcher = batcher(1).ending_before(bar);
        let push = |index: u64| batcher.push(block(Vec::new()), 0, index % 3 == 2).expect("encodes");
        let mut batches: Vec<Batch> = (0..12).filter_map(push).collect();
        batches.extend(batcher.flush().expect("encodes"));
        assert!(batcher.is_empty());
        batches.iter().map(|batch| (batch.first_block, batch.blocks.len(), batch.units)).collect::<Vec<_>>()
    };
    for none in [0, 100, 112, u64::MAX] {
        assert_eq!(cut(none), [(100, 12, 4)]);
    }
    assert_eq!(cut(106), [(100, 6, 2), (106, 6, 2)]);
    assert_eq!(cut(107), [(100, 6, 2), (106, 3, 1), (109, 3, 1)], "the unit of the block is alone");
    assert_eq!(cut(101), [(100, 3, 1), (103, 9, 3)]);
}
