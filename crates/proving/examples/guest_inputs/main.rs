//! Inputs for a zkVM's guests, and what this machine makes of them: `guest_inputs DIR [SEED] [COUNT]`.
//!
//! Below `DIR` there are three folders: `batch`, inputs of the judge: valid ones, invalid batches, altered bytes; `check`, parts of the work
//! ([`jove_proving::check`]), with signatures and points chosen to be awkward; `figures`, what a budget of instructions is kept for, the same whatever the seed.
//! In each, `NAME.input` is what a guest reads, and `expected.json` has the hash that it reveals, by name: null where it must fail.
#![allow(clippy::unwrap_used, clippy::expect_used)] // it is a test's tool: it may panic

#[path = "../../tests/chain/mod.rs"]
mod chain;
mod checks;
mod figures;

use alloy_primitives::{B256, Bytes, TxKind, U256};
use chain::{
    Chain, small,
    work::{batch, blocks, prepared},
};
use jove_primitives::batch::BlockData;
use jove_proving::{Input, check::Check, judge, opening};
use proptest::{
    prelude::any,
    prop_oneof,
    strategy::{Just, Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{collections::BTreeMap, path::PathBuf};

/// A folder of inputs and what is expected of them.
struct Folder {
    path: PathBuf,
    expected: BTreeMap<String, Option<B256>>,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).expect("a folder");
        Self { path, expected: BTreeMap::new() }
    }

    fn add(&mut self, name: impl Into<String>, bytes: &[u8], expected: Option<B256>) {
        let name = name.into();
        std::fs::write(self.path.join(format!("{name}.input")), bytes).expect("written");
        assert!(self.expected.insert(name, expected).is_none(), "names differ");
    }

    /// An encoding of an input of the judge, or bytes that are none.
    fn judge(&mut self, name: impl Into<String>, bytes: &[u8]) {
        let judgement = Input::decode(bytes).and_then(|input| judge(&input));
        self.add(name, bytes, judgement.ok().map(|judgement| judgement.statement()));
    }

    fn check(&mut self, name: impl Into<String>, check: &Check) {
        let bytes = check.encode();
        let again = Check::decode(&bytes).expect("itself");
        assert_eq!(again, *check);
        self.add(name, &bytes, Some(check.run(opening::open)));
    }

    fn finish(self) {
        let expected = serde_json::to_vec_pretty(&self.expected).expect("JSON");
        std::fs::write(self.path.join("expected.json"), expected).expect("written");
    }
}

/// Numbers that follow from a seed.
struct Random(TestRunner);

impl Random {
    fn new(seed: u64) -> Self {
        let seed = alloy_primitives::keccak256(seed.to_be_bytes());
        Self(TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed.0)))
    }

    fn of<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.0).expect("a value").current()
    }

    fn below(&mut self, limit: usize) -> usize {
        self.of(0..limit)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("guest_inputs DIR [SEED] [COUNT]"));
    let mut number = |default| arguments.next().map_or(default, |number| number.parse().expect("a number"));
    let (seed, count) = (number(1), number(4));
    let mut random = Random::new(seed);

    let mut batches = Folder::new(folder.join("batch"));
    valid(&mut batches, &mut random, count);
    invalid(&mut batches);
    altered(&mut batches, &mut random, count);
    batches.finish();

    let mut parts = Folder::new(folder.join("check"));
    checks::write(&mut parts, &mut random);
    parts.finish();

    let mut figures = Folder::new(folder.join("figures"));
    figures::write(&mut figures);
    figures.finish();
}

/// Random blocks; a range of batches.
fn valid(folder: &mut Folder, random: &mut Random, count: u64) {
    for index in 0..count {
        let (mut chain, benches) = prepared();
        let (_, input) = batch(&mut chain, &benches, &random.of(blocks()));
        folder.judge(format!("random-{index}"), &input.encode());
    }
    for index in 0..count {
        let mut chain = Chain::new(1);
        let genesis = chain.parent.clone();
        chain.l1_block(0);
        let step = chain.step(1_000);
        let transaction = chain.send(0, TxKind::Create, 0, arithmetic(random), 16_000_000);
        let block = chain.block(1_010, vec![transaction]);
        let batch = chain.commit(vec![step, block]);
        let contract = chain.address(0).create(0);
        assert!(chain.parent == batch.committed && !chain.slot(contract, U256::ZERO).is_zero(), "it ran to its end");
        folder.judge(format!("arithmetic-{index}"), &chain.input(genesis, vec![batch]).encode());
    }
    let mut chain = Chain::new(3);
    let genesis = chain.parent.clone();
    let first = small(&mut chain);
    chain.l1_block(3);
    let step = chain.step(2_000);
    let second = chain.commit(vec![step]);
    folder.judge("range", &chain.input(genesis, vec![first, second]).encode());
}

/// Code that calculates with random words, and stores the hash of all that comes of it.
fn arithmetic(random: &mut Random) -> Vec<u8> {
    // MUL, DIV, SDIV, MOD, SMOD, ADDMOD, MULMOD, EXP, and how many words each takes.
    let operations = [(2, 2), (4, 2), (5, 2), (6, 2), (7, 2), (8, 3), (9, 3), (10, 2)];
    let mut code = Vec::new();
    let count = 400;
    for at in 0..count {
        let (operation, words) = operations[random.below(operations.len())];
        // PUSH32 each, the operation, PUSH2 MSTORE
        for _ in 0..words {
            code.extend([&[0x7f][..], &word(random)].concat());
        }
        code.extend([operation, 0x61]);
        code.extend((32 * at as u16).to_be_bytes());
        code.push(0x52);
    }
    // PUSH2 PUSH0 KECCAK256 PUSH0 SSTORE PUSH0 PUSH0 RETURN
    let [high, low] = (32 * count as u16).to_be_bytes();
    code.extend([0x61, high, low, 0x5f, 0x20, 0x5f, 0x55, 0x5f, 0x5f, 0xf3]);
    code
}

/// A word of random limbs, of ones and zeros, or near a power of two, moved down or not.
fn word(random: &mut Random) -> [u8; 32] {
    let limb = prop_oneof![any::<u64>(), Just(0), Just(1), Just(u64::MAX), Just(1 << 63)];
    let limbs = random.of([limb.clone(), limb.clone(), limb.clone(), limb]);
    let word = match random.below(4) {
        0 => (U256::ONE << random.below(256)).wrapping_sub(U256::from(random.below(4))),
        1 => U256::from_limbs(limbs) >> random.below(256),
        _ => U256::from_limbs(limbs),
    };
    word.to_be_bytes()
}

/// Batches that break the rules: their output is INVALID.
fn invalid(folder: &mut Folder) {
    let mut add = |name: &str, edit: &dyn Fn(&mut Chain) -> Option<Vec<BlockData>>, contents: Option<u8>| {
        let mut chain = Chain::new(3);
        let genesis = chain.parent.clone();
        let mut batch = match edit(&mut chain) {
            Some(blocks) => chain.commit(blocks),
            None => small(&mut chain),
        };
        if let Some(byte) = contents {
            batch.contents[0] = vec![byte; 131_072].into();
        }
        let input = chain.input(genesis, vec![batch]);
        let verdict = judge(&input).expect("an input").verdicts.pop().expect("one");
        assert!(verdict.outcome.is_err(), "{name}");
        folder.judge(format!("invalid-{name}"), &input.encode());
    };
    add("empty-blob", &|_| None, Some(0));
    add("garbage", &|_| None, Some(0x55));
    add("no-such-version", &|_| None, Some(0x07));
    let nonce = |chain: &mut Chain| {
        chain.transfer(0, chain::BOB);
        let later = chain.transfer(0, chain::BOB);
        Some(vec![chain.block(10, vec![later])])
    };
    add("nonce", &nonce, None);
    let mixed = |chain: &mut Chain| {
        chain.l1_block(2);
        let transfer = chain.transfer(0, chain::BOB);
        Some(vec![BlockData { transactions: vec![transfer], ..chain.step(1_000) }])
    };
    add("mixed", &mixed, None);
}

/// Bytes of a good input, changed: of another statement, or of none.
fn altered(folder: &mut Folder, random: &mut Random, count: u64) {
    let mut chain = Chain::new(3);
    let genesis = chain.parent.clone();
    let batch = small(&mut chain);
    let input = chain.input(genesis, vec![batch]);
    let bytes = input.encode();
    for index in 0..3 * count {
        let mut altered = bytes.clone();
        // The blob is most of it, and what follows is most of what counts.
        let at = if index % 3 == 0 { random.below(bytes.len()) } else { bytes.len() - 1 - random.below(4_000) };
        altered[at] ^= 1 << random.below(8);
        folder.judge(format!("altered-{index}"), &altered);
    }
    folder.judge("cut", &bytes[..bytes.len() - 1]);
    folder.judge("nothing", &[]);
    let mut not_canonical = input.clone();
    let mut contents = input.batches[0].contents[0].to_vec();
    contents[32 * 4095..].copy_from_slice(&jove_primitives::batch::hash::BLS_MODULUS.to_be_bytes::<32>());
    not_canonical.batches[0].contents[0] = Bytes::from(contents);
    folder.judge("not-canonical", &not_canonical.encode());
}
