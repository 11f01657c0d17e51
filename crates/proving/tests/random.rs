//! Random blocks: executed by a node and on their witness they do the same, and without a part of the witness nothing is said of them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_primitives::{Address, Bytes, TxKind, hex};
use chain::{BOB, Chain};
use jove_primitives::transaction::SignedTransaction;
use jove_proving::{Batch, Input, InputError, Judgement, judge};
use jove_stf::StatelessError;
use jove_trie::PartialTrie;
use proptest::prelude::*;

/// What a transaction does.
#[derive(Clone, Debug)]
enum Act {
    /// Pays one of a few accounts, one of them new.
    Pay(u8),
    /// Calls a workbench with one of [`PROGRAMS`] and a value.
    Work(u8, u8),
    /// Creates another workbench.
    Create,
    /// A creation that fails.
    CreateBadly,
    /// A call with too little gas for what it does.
    Short(u8),
    /// Calls a precompile with some bytes.
    Precompile(u8, u8),
}

/// What a workbench can do, each with the second word of its input, v.
const PROGRAMS: [&[u8]; 7] = [
    // Adds 1 to slot v: PUSH1 32 CALLDATALOAD DUP1 SLOAD PUSH1 1 ADD SWAP1 SSTORE
    &hex!("60203580546001019055"),
    // Clears slot v: PUSH0 PUSH1 32 CALLDATALOAD SSTORE
    &hex!("5f60203555"),
    // Stores the hash of the block v back in slot 100: PUSH1 32 CALLDATALOAD NUMBER SUB BLOCKHASH PUSH1 100 SSTORE
    &hex!("60203543034060645500"),
    // Destroys itself, in favour of v: PUSH1 32 CALLDATALOAD SELFDESTRUCT
    &hex!("602035ff"),
    // Creates with 1 wei what destroys itself at once (CALLER SELFDESTRUCT), and stores its address in slot 103: PUSH2 33ff PUSH0 MSTORE PUSH1 2
    // PUSH1 30 PUSH1 1 CREATE PUSH1 103 SSTORE
    &hex!("6133ff5f526002601e6001f0606755"),
    // Stores balance and code size of v in slots 101 and 102: PUSH1 32 CALLDATALOAD DUP1 BALANCE PUSH1 101 SSTORE EXTCODESIZE PUSH1 102 SSTORE
    &hex!("6020358031606555" "3b606655"),
    // Writes slot 104 and reverts: PUSH1 1 PUSH1 104 SSTORE PUSH0 PUSH0 REVERT
    &hex!("60016068555f5ffd"),
];

/// Code that runs the program that the first word of its input names.
fn workbench() -> Vec<u8> {
    // PUSH0 CALLDATALOAD; for each: DUP1 PUSH1 n EQ PUSH1 label JUMPI; STOP; then each behind a JUMPDEST, with a STOP.
    let mut label = 3 + 7 * PROGRAMS.len();
    let mut code = vec![0x5f, 0x35];
    for (number, program) in PROGRAMS.iter().enumerate() {
        code.extend([0x80, 0x60, number as u8, 0x14, 0x60, label as u8, 0x57]);
        label += program.len() + 2;
    }
    code.push(0);
    PROGRAMS.iter().for_each(|program| code.extend([&[0x5b], *program, &[0]].concat()));
    assert!(code.len() < 256);
    code
}

/// Creation code that leaves a [`workbench`].
fn creation() -> Bytes {
    let code = workbench();
    let length = code.len() as u8;
    // PUSH1 length PUSH1 10 PUSH0 CODECOPY PUSH1 length PUSH0 RETURN
    [&[0x60, length, 0x60, 10, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3][..], &code].concat().into()
}

fn word(value: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[31] = value;
    word
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..6u8).prop_map(Act::Pay),
        8 => (0..7u8, 0..12u8).prop_map(|(program, value)| Act::Work(program, value)),
        1 => Just(Act::Create),
        1 => Just(Act::CreateBadly),
        1 => (0..7u8).prop_map(Act::Short),
        1 => (1..18u8, 0..200u8).prop_map(|(which, length)| Act::Precompile(which, length)),
    ]
}

/// The transaction of an account that does it. `bench` is a workbench that is there, or was.
fn transaction(chain: &mut Chain, account: usize, bench: Address, act: &Act) -> SignedTransaction {
    let work = |program: u8, value: u8| [word(program), word(value)].concat();
    match act {
        Act::Pay(to) => {
            let to = if *to < 3 { chain.address(*to as usize) } else { BOB.create(u64::from(*to)) };
            chain.transfer(account, to)
        }
        Act::Work(program, value) => chain.send(account, bench.into(), 7, work(*program, *value), 300_000),
        Act::Create => chain.send(account, TxKind::Create, 0, creation(), 300_000),
        Act::CreateBadly => chain.send(account, TxKind::Create, 0, vec![0xfe], 100_000),
        Act::Short(program) => chain.send(account, bench.into(), 0, work(*program, 1), 23_000),
        Act::Precompile(which, length) => {
            let input = vec![*which; usize::from(*length)];
            chain.send(account, Address::with_last_byte(*which).into(), 0, input, 200_000)
        }
    }
}

/// A chain with an origin and two workbenches, which have filled some slots.
fn prepared() -> (Chain, [Address; 2]) {
    let mut chain = Chain::new(3);
    chain.l1_block(1);
    let step = chain.step(1_000);
    let benches = [0, 1].map(|account: usize| chain.address(account).create(0));
    let create = [0, 1].map(|account| chain.send(account, TxKind::Create, 9, creation(), 300_000)).to_vec();
    let create = chain.block(1_010, create);
    let mut fill = Vec::new();
    for value in 0..9 {
        let act = Act::Work(0, value);
        fill.push(transaction(&mut chain, usize::from(value) % 3, benches[usize::from(value) % 2], &act));
    }
    let fill = chain.block(1_020, fill);
    let committed = chain.commit(vec![step, create, fill]);
    assert!(chain.parent == committed.committed, "valid");
    (chain, benches)
}

/// Blocks of these acts, committed.
fn batch(chain: &mut Chain, benches: &[Address], blocks: &[Vec<(u8, u8, Act)>]) -> (Batch, Input) {
    let parent = chain.parent.clone();
    let mut data = Vec::new();
    for (position, acts) in blocks.iter().enumerate() {
        let transactions = acts
            .iter()
            .map(|(account, bench, act)| {
                transaction(chain, usize::from(*account), benches[usize::from(*bench) % benches.len()], act)
            })
            .collect();
        data.push(chain.block(10 * position as u64 + 10, transactions));
    }
    let batch = chain.commit(data);
    let input = chain.input(parent, vec![batch.clone()]);
    (batch, input)
}

/// What the chain has of the batch.
fn agrees(chain: &Chain, judgement: &Judgement) {
    let (state, _) = chain.head();
    let roots = judgement.verdicts[0].outcome.as_ref().expect("a node took these blocks");
    assert_eq!(roots.state, state);
}

fn blocks() -> impl Strategy<Value = Vec<Vec<(u8, u8, Act)>>> {
    let block = proptest::collection::vec((0..3u8, 0..2u8, act()), 0..6);
    proptest::collection::vec(block, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The last block's hash is compared: it covers state, receipts and transactions of every block.
    #[test]
    fn the_same_on_a_witness(first in blocks(), second in blocks()) {
        let (mut chain, benches) = prepared();
        for acts in [first, second] {
            let (_, input) = batch(&mut chain, &benches, &acts);
            let judgement = judge(&Input::decode(&input.encode()).expect("itself")).expect("an input");
            agrees(&chain, &judgement);
        }
    }

    /// Each node hidden in turn, each byte of some altered, each code and header left out: an error, or for a node that was not needed the same.
    #[test]
    fn nothing_without_a_part_of_it(acts in blocks(), flips in proptest::collection::vec(any::<prop::sample::Index>(), 40)) {
        let (mut chain, benches) = prepared();
        let (batch, input) = batch(&mut chain, &benches, &acts);
        let good = judge(&input).expect("an input");
        agrees(&chain, &good);
        let with = |state: Vec<u8>| {
            let mut input = input.clone();
            input.batches[0].witness.state = state.into();
            judge(&input)
        };
        let part = PartialTrie::decode(&batch.witness.state).expect("a trie");
        let (mut missed, mut spare) = (0, 0);
        for index in 0.. {
            let Some(bytes) = part.hiding(index) else { break };
            if bytes[..] == batch.witness.state[..] {
                continue;
            }
            match with(bytes) {
                Err(InputError::Batch(_, error)) => {
                    prop_assert!(matches!(*error, InputError::Witness(StatelessError::Missing(_))), "{}", error);
                    missed += 1;
                }
                Err(error) => prop_assert!(false, "{}", error),
                Ok(judgement) => {
                    prop_assert_eq!(&judgement, &good);
                    spare += 1;
                }
            }
        }
        // Siblings of what may be removed are shown on suspicion; the slots of the L1 attributes are read where there is a step.
        prop_assert!(missed > 10 && spare <= missed / 2, "{missed} needed, {spare} not");
        for flip in flips {
            let mut state = batch.witness.state.to_vec();
            let at = flip.index(state.len());
            state[at] ^= 1;
            prop_assert!(with(state).is_err(), "byte {at}");
        }
        for index in 0..batch.witness.codes.len() {
            let mut input = input.clone();
            input.batches[0].witness.codes.remove(index);
            let refused = judge(&input);
            let lacks = matches!(&refused, Err(InputError::Batch(_, error)) if matches!(**error, InputError::Witness(StatelessError::Code(_))));
            prop_assert!(lacks, "code {}", index);
        }
        for index in 0..batch.witness.headers.len() {
            let mut input = input.clone();
            input.batches[0].witness.headers[index].gas_used += 1;
            prop_assert!(judge(&input).is_err());
            input.batches[0].witness.headers.remove(index);
            prop_assert!(judge(&input).is_err(), "header {}", index);
        }
    }
}

#[test]
fn the_workbench_does_what_it_says() {
    let (mut chain, benches) = prepared();
    let acts = (0..7).map(|program| (0, 0, Act::Work(program, 3))).collect();
    let (batch, input) = batch(&mut chain, &benches, &[acts]);
    assert!(chain.parent == batch.committed, "a node takes it");
    agrees(&chain, &judge(&input).expect("an input"));
    // A code that is called, and then created again, comes from before.
    let (batch, input) = batch_of(&mut chain, &benches, &[Act::Work(0, 1), Act::Create, Act::Work(0, 1)]);
    assert!(batch.witness.codes.iter().any(|code| code[..] == workbench()));
    agrees(&chain, &judge(&input).expect("an input"));
    // A block hash before the batch makes its header part of the witness.
    let (batch, input) = batch_of(&mut chain, &benches, &[Act::Work(2, 3), Act::Work(4, 0), Act::Work(3, 200)]);
    assert!(batch.witness.headers.len() > 1, "{}", batch.witness.headers.len());
    agrees(&chain, &judge(&input).expect("an input"));
}

fn batch_of(chain: &mut Chain, benches: &[Address], acts: &[Act]) -> (Batch, Input) {
    let acts = acts.iter().map(|act| (1, 1, act.clone())).collect();
    batch(chain, benches, &[acts])
}
