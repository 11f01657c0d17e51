//! Prints what batches cost, as docs/performance.md has it: transfers a blob on the corpora, zstd's levels, and the decoder's worst cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // an example may panic and print

#[path = "../tests/corpora/mod.rs"]
mod corpora;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, Signature, U256};
use corpora::{CHAIN_ID, Corpus, Random, traffic};
use jove_primitives::{
    batch::{
        BLOB_CAPACITY, BlockData, Compressor, MAX_BLOBS, MAX_BLOCKS, MAX_CONTENT, MAX_STREAM, decode, encode, pack,
    },
    fee::{data_size, fastlz_len},
};
use jove_settlement::{Batch, Batcher, Zstd};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The system's allocator, counting.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's allocator; counters change nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Shortest of five decodings, the peak of memory in MiB and the allocations of one. The result is counted, the blobs are not.
fn decoding(blobs: &[impl AsRef<[u8]>]) -> (Duration, f64, usize) {
    let (before, calls) = (NOW.load(Relaxed), CALLS.load(Relaxed));
    PEAK.store(before, Relaxed);
    let decoded = decode(blobs, CHAIN_ID);
    let peak = (PEAK.load(Relaxed) - before) as f64 / f64::from(1 << 20);
    let calls = CALLS.load(Relaxed) - calls;
    drop(decoded);
    let time = |_| {
        let start = Instant::now();
        let decoded = decode(blobs, CHAIN_ID);
        let time = start.elapsed();
        drop(decoded);
        time
    };
    ((0..5).map(time).min().unwrap_or_default(), peak, calls)
}

fn transactions(blocks: &[BlockData]) -> usize {
    blocks.iter().map(|block| block.transactions.len()).sum()
}

fn full(corpus: Corpus) -> (Batch, u64) {
    let mut batcher = Batcher::new(CHAIN_ID, 1, MAX_BLOBS, Zstd::new().expect("libzstd"));
    let batch =
        traffic(corpus).find_map(|block| batcher.push(block, 0, true).expect("encodes")).expect("traffic never ends");
    (batch, batcher.encodings())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Compresses as badly for the decoder as the format admits: a block for each KiB, each with tables of its own where libzstd makes any.
struct Shredder;

impl Compressor for Shredder {
    fn estimate(&mut self, _: &[u8]) -> usize {
        0
    }

    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 15).ok()?;
        encoder.set_pledged_src_size(Some(bytes.len() as u64)).ok()?;
        encoder.include_contentsize(true).ok()?;
        encoder.window_log(23).ok()?;
        for part in bytes.chunks(1024) {
            encoder.write_all(part).ok()?;
            encoder.flush().ok()?;
        }
        encoder.finish().ok()
    }
}

/// Bytes that compress, but not to nothing: so that they need both of zstd's kinds of tables.
fn texture(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        let from = random.below(1 + bytes.len().min(500) as u64) as usize;
        if random.below(40) == 0 {
            bytes.push(random.below(20) as u8);
        } else {
            let start = bytes.len().saturating_sub(from);
            let run = bytes[start..].iter().copied().take(3 + random.below(60) as usize).collect::<Vec<u8>>();
            bytes.extend(run);
        }
        if bytes.is_empty() {
            bytes.push(1);
        }
    }
    bytes.truncate(length);
    bytes
}

/// Batches made to cost the decoder much.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let block = |transactions| BlockData { time_ms: 1, origin_steps: 0, transactions };
    let legacy = |input: Vec<u8>| {
        let to = Address::ZERO.into();
        TxLegacy { to, input: input.into(), ..Default::default() }.into_signed(signature).into()
    };
    let mut random = Random(9);
    let mut zstd = Zstd::new().expect("libzstd");
    let mut all = Vec::new();
    let mut add = |name, blocks: &[BlockData], compressor: &mut dyn Compressor| {
        let mut stream = encode(0, blocks, CHAIN_ID, compressor).expect("encodes");
        stream.truncate(MAX_STREAM);
        all.push((name, stream));
    };
    add("65,536 empty blocks", &vec![block(Vec::new()); MAX_BLOCKS], &mut zstd);
    let most = MAX_STREAM / 65;
    add("12,000 empty transactions", &[block(vec![legacy(Vec::new()); most])], &mut zstd);
    let words = MAX_CONTENT - MAX_CONTENT % 32 - 28;
    add("8 MiB of words, all zero", &[block(vec![legacy(vec![0; words])])], &mut zstd);
    let numbers: Vec<u8> = (0..words / 32)
        .flat_map(|_| (U256::from(random.below(3)) << (random.below(3) as usize * 50)).to_be_bytes::<32>())
        .collect();
    let numbers = [vec![0; 4], numbers].concat();
    add("8 MiB of words, numbers", &[block(vec![legacy(numbers.clone())])], &mut zstd);
    add("the same, in blocks of 1 KiB", &[block(vec![legacy(numbers)])], &mut Shredder);
    let addresses: Vec<u8> =
        (0..words / 32).flat_map(|_| Address::repeat_byte(random.below(2) as u8 + 1).into_word().0).collect();
    let addresses = [vec![0; 4], addresses].concat();
    add("8 MiB of words, addresses", &[block(vec![legacy(addresses)])], &mut zstd);
    add(
        "8 MiB of input, one byte repeated but for the first",
        &[block(vec![legacy([vec![1], vec![0; MAX_CONTENT - 2]].concat())])],
        &mut zstd,
    );
    let text = texture(&mut random, MAX_CONTENT - 1);
    add("8 MiB of input, short matches", &[block(vec![legacy(text.clone())])], &mut zstd);
    add("3 MiB of it, in blocks of 1 KiB", &[block(vec![legacy(text[..3 << 20].to_vec())])], &mut Shredder);
    let item = AccessListItem { address: Address::ZERO, storage_keys: Vec::new() };
    let access_list = AccessList(vec![item; (MAX_CONTENT - 8) / 23]);
    let listed = TxEip2930 { chain_id: CHAIN_ID, access_list, ..Default::default() };
    add("8 MiB of access list", &[block(vec![listed.into_signed(signature).into()])], &mut zstd);
    let authorization = SignedAuthorization::new_unchecked(
        Authorization { chain_id: U256::ZERO, address: Address::ZERO, nonce: 0 },
        0,
        U256::ZERO,
        U256::ZERO,
    );
    let authorization_list = vec![authorization; (MAX_CONTENT - 8) / 27];
    let listed = TxEip7702 { chain_id: CHAIN_ID, authorization_list, ..Default::default() };
    add("8 MiB of authorizations", &[block(vec![listed.into_signed(signature).into()])], &mut zstd);
    // Every column of 12,000 transactions is as wide as it can be, and compressed in small blocks.
    let wide = (0..8_000).map(|_| {
        let value = U256::from_limbs([random.below(2), random.below(2), random.below(2), random.below(2) << 63]);
        let unsigned = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: random.below(2) << 63,
            gas_limit: random.below(2) << 63,
            max_fee_per_gas: u128::from(random.below(2)) << 127,
            max_priority_fee_per_gas: u128::from(random.below(2)) << 127,
            to: Address::ZERO.into(),
            value,
            ..Default::default()
        };
        unsigned.into_signed(signature).into()
    });
    add("8,000 transactions, wide columns", &[block(wide.collect())], &mut Shredder);
    all.push(("garbage", Random(1).bytes(MAX_STREAM)));
    all
}

fn main() {
    println!(
        "| corpus | transactions | a blob | bytes each | FastLZ each | charged each | fill | encodings | encoding ms | decoding ms | peak MiB | allocations |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for corpus in [Corpus::A, Corpus::B, Corpus::C] {
        let (batch, encodings) = full(corpus);
        let n = transactions(&batch.blocks);
        let start = Instant::now();
        let stream = encode(1, &batch.blocks, CHAIN_ID, &mut Zstd::new().expect("libzstd")).expect("encodes");
        let encoding = start.elapsed();
        let (decoding, peak, calls) = decoding(&pack(&stream));
        let encoded: Vec<_> =
            batch.blocks.iter().flat_map(|block| &block.transactions).map(Encodable2718::encoded_2718).collect();
        let fastlz: usize = encoded.iter().map(|encoded| fastlz_len(encoded)).sum();
        let charged: u64 = encoded.iter().map(|encoded| data_size(encoded)).sum();
        println!(
            "| {corpus:?} | {n} | {} | {:.2} | {:.2} | {:.2} | {:.2} % | {encodings} | {:.0} | {:.2} | {peak:.1} | {calls} |",
            n / MAX_BLOBS,
            stream.len() as f64 / n as f64,
            fastlz as f64 / n as f64,
            charged as f64 / 1e6 / n as f64,
            100.0 * stream.len() as f64 / (MAX_BLOBS * BLOB_CAPACITY) as f64,
            ms(encoding),
            ms(decoding),
        );
    }
    println!("\n| level | A bytes | A ms | C bytes | C ms |\n|---:|---:|---:|---:|---:|");
    let batches = [full(Corpus::A).0, full(Corpus::C).0];
    for level in [1, 3, 6, 9, 12, 15, 19, 22] {
        let cells = batches.iter().map(|batch| {
            let mut zstd = Zstd::with_level(level).expect("libzstd");
            let start = Instant::now();
            let stream = encode(1, &batch.blocks, CHAIN_ID, &mut zstd).expect("encodes");
            format!(" {} | {:.0} |", stream.len(), ms(start.elapsed()))
        });
        println!("| {level} |{}", cells.collect::<String>());
    }
    println!("\n| hostile batch | stream bytes | decoding ms | peak MiB | |\n|---|---:|---:|---:|---|");
    for (name, stream) in hostile() {
        let blobs = pack(&stream);
        let outcome = decode(&blobs, CHAIN_ID).map_or_else(|error| error.to_string(), |_| "a batch".to_owned());
        let (time, peak, _) = decoding(&blobs);
        println!("| {name} | {} | {:.1} | {peak:.1} | {outcome} |", stream.len(), ms(time));
    }
}
