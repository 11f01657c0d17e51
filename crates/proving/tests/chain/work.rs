//! Random work for a chain: transfers, calls of a workbench contract, creations, precompiles.

use super::{BOB, Chain};
use alloy_primitives::{Address, Bytes, TxKind, hex};
use jove_primitives::transaction::SignedTransaction;
use jove_proving::{Batch, Input};
use proptest::prelude::*;

/// What a transaction does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
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
pub(crate) const PROGRAMS: [&[u8]; 7] = [
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
pub(crate) fn workbench() -> Vec<u8> {
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
pub(crate) fn creation() -> Bytes {
    let code = workbench();
    let length = code.len() as u8;
    // PUSH1 length PUSH1 10 PUSH0 CODECOPY PUSH1 length PUSH0 RETURN
    [&[0x60, length, 0x60, 10, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3][..], &code].concat().into()
}

pub(crate) fn word(value: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[31] = value;
    word
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
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
pub(crate) fn transaction(chain: &mut Chain, account: usize, bench: Address, act: &Act) -> SignedTransaction {
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
pub(crate) fn prepared() -> (Chain, [Address; 2]) {
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
pub(crate) fn batch(chain: &mut Chain, benches: &[Address], blocks: &[Vec<(u8, u8, Act)>]) -> (Batch, Input) {
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

pub(crate) fn blocks() -> impl Strategy<Value = Vec<Vec<(u8, u8, Act)>>> {
    let block = proptest::collection::vec((0..3u8, 0..2u8, act()), 0..6);
    proptest::collection::vec(block, 1..4)
}
