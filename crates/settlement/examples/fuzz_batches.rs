//! Decodes mutated batches, as long as it is told, and says what came of it: `fuzz_batches [seconds] [seed]`.
//!
//! Each run takes a batch of corpus C, changes bits, bytes, runs or the length of its stream anywhere but in the signatures, and decodes
//! it. A panic ends the program with the seed. What decodes is encoded and decoded again and must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // an example may panic and print

#[path = "../tests/corpora/mod.rs"]
mod corpora;

use corpora::{CHAIN_ID, Corpus, Random, traffic};
use jove_primitives::batch::{BlockData, decode_stream, encode};
use jove_settlement::Zstd;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a number"));
    let seconds = Duration::from_secs(arguments.next().unwrap_or(10));
    let first = arguments.next().unwrap_or(0);
    let mut zstd = Zstd::new().expect("libzstd");
    let blocks: Vec<BlockData> = traffic(Corpus::C).take(200).collect();
    let streams: Vec<(Vec<u8>, usize)> = (0..200)
        .map(|index| {
            let count = 1 + index % 5 * (index % 3);
            let blocks = &blocks[index % 180..][..count];
            let signatures = 64 * blocks.iter().map(|block| block.transactions.len()).sum::<usize>();
            let stream = encode(7, blocks, CHAIN_ID, &mut zstd).expect("encodes");
            let changed = stream.len() - signatures;
            (stream, changed)
        })
        .collect();

    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    let mut seed = first;
    while start.elapsed() < seconds {
        let mut random = Random(seed);
        let (stream, changed) = &streams[random.below(streams.len() as u64) as usize];
        let mut stream = stream.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(*changed as u64) as usize;
            match random.below(6) {
                0 => stream[at] = random.next() as u8,
                1 => stream[at] ^= 1 << random.below(8),
                2 => stream[at] = [0, 1, 2, 127, 128, 255][random.below(6) as usize],
                3 => {
                    let end = (at + random.below(16) as usize).min(*changed);
                    stream[at..end].fill(random.next() as u8);
                }
                4 => {
                    let from = random.below(*changed as u64) as usize;
                    let length = (random.below(64) as usize).min(changed - at.max(from));
                    stream.copy_within(from..from + length, at);
                }
                _ => {
                    stream.remove(at);
                    stream.push(0);
                }
            }
        }
        if random.below(50) == 0 {
            stream.truncate(random.below(stream.len() as u64) as usize);
        }
        let begin = Instant::now();
        let decoded = catch_unwind(AssertUnwindSafe(|| decode_stream(&stream, CHAIN_ID)));
        slowest = slowest.max(begin.elapsed());
        let outcome = match decoded.unwrap_or_else(|_| panic!("seed {seed} panics")) {
            Err(error) => format!("{error:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
            Ok(batch) => {
                if random.below(20) == 0 {
                    let again = encode(batch.first_block, &batch.blocks, CHAIN_ID, &mut zstd).expect("encodes");
                    assert_eq!(decode_stream(&again, CHAIN_ID).as_ref(), Ok(&batch), "seed {seed} does not come back");
                }
                "batch".to_owned()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
        seed += 1;
    }
    println!("{} streams from seed {first}, the slowest took {slowest:?}: {outcomes:?}", seed - first);
}
