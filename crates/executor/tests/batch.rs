//! Batches: what is sealed, encoded, decoded and derived is the same; what is not so is invalid by name.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_consensus::crypto::SECP256K1N_HALF;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use chain::{BURNER, Chain, Made, call, message, origin, send_to_l1, transfer, with_signature};
use jove_primitives::{
    batch::{BatchData, BlockData, DecodeError, decode, hash},
    l1::L1Origin,
    predeploys::EMPTY_OUTBOX_ROOT,
    transaction::{SignedTransaction, TxDeposit},
};
use jove_stf::{BatchError, ExecuteBatchError, HeaderError, TransactionError, batch::Recovered};

/// A batch with a bit of everything: plain blocks, empty ones, steps of one and of several L1 blocks, runs of messages over several blocks.
fn mixed() -> Made {
    let mut chain = Chain::new();
    chain.transactions(10, vec![transfer(0, 1)]);
    let parent = chain.clone();
    chain.transactions(20, vec![transfer(1, 2), transfer(2, 3)]);
    chain.transactions(20, Vec::new());
    chain.consume(2_000, Some(origin(7, 0)), Vec::new());
    chain.transactions(2_010, vec![transfer(3, 4)]);
    chain.consume(2_500, Some(origin(8, 3)), (0..3).map(|index| message(index, 100_000)).collect());
    chain.transactions(2_505, vec![send_to_l1(4)]);
    chain.consume(5_000, Some(origin(12, 10)), (3..10).map(|index| message(index, 1_900_000)).collect());
    chain.transactions(5_001, vec![transfer(5, 6)]);
    Made::new(parent, &chain)
}

fn invalid(made: &Made) -> BatchError {
    match made.derive().expect_err("refused") {
        ExecuteBatchError::Invalid(error) => error,
        other => panic!("{other}"),
    }
}

/// Position of the first block that `is`.
fn find(made: &Made, is: impl Fn(&BlockData) -> bool) -> usize {
    made.data.blocks.iter().position(is).expect("there is one")
}

#[test]
fn what_was_sealed_is_derived() {
    let made = mixed();
    let (derived, output) = made.derive().expect("valid");
    assert_eq!(derived.blocks, made.sealed.blocks, "to the last receipt");
    let head = &made.sealed.head;
    assert_eq!((output.block_hash, output.state_root), (head.hash_slow(), head.state_root));
    assert_eq!(output.outbox_root, made.sealed.outbox_root());
    assert_ne!(output.outbox_root, EMPTY_OUTBOX_ROOT);
    assert_eq!(output.consumed, 10);
    let expected = hash::output_hash(B256::repeat_byte(1), head.hash_slow(), head.state_root, output.outbox_root);
    assert_eq!(output.hash(B256::repeat_byte(1)), expected);
}

/// Senders that were recovered beforehand change nothing, whatever is given: another transaction's is not taken.
#[test]
fn recovered_beforehand_is_recovered() {
    let made = mixed();
    let (expected, output) = made.derive().expect("valid");
    let signed = made.data.blocks.iter().flat_map(|block| &block.transactions);
    let all: Vec<Option<Recovered>> = signed.map(Recovered::new).collect();
    assert_eq!(all.len(), 5);
    let mut turned = all.clone();
    turned.rotate_left(1);
    let some = all.iter().enumerate().map(|(index, one)| one.clone().filter(|_| index % 2 == 0)).collect();
    let more = [&all[..], &all[..]].concat();
    for given in [all.clone(), turned, some, more, all[..2].to_vec(), vec![None; 9]] {
        let (derived, other) = made.derive_with(&given).expect("valid");
        assert_eq!((derived.blocks, other), (expected.blocks.clone(), output));
    }
    // What has no sender is given none.
    let high =
        |one: &SignedTransaction| with_signature(one, Signature::new(U256::ONE, SECP256K1N_HALF + U256::ONE, false));
    assert!(Recovered::new(&high(&transfer(0, 1))).is_none());
    let mut bad = mixed();
    let block = find(&bad, |block| !block.transactions.is_empty());
    bad.data.blocks[block].transactions[0] = high(&bad.data.blocks[block].transactions[0]);
    assert!(matches!(bad.derive_with(&all), Err(ExecuteBatchError::Invalid(BatchError::Signature { index: 0, .. }))));
}

#[test]
fn what_l1_holds_of_a_block_is_what_was_signed() {
    let made = mixed();
    let signed = made.data.blocks.iter().flat_map(|block| &block.transactions).map(|one| *one.tx_hash());
    let sealed = made.sealed.blocks.iter().skip(1).flat_map(|block| &block.transactions);
    assert!(signed.eq(sealed.filter_map(|one| one.inner().as_signed()).map(|one| *one.tx_hash())));
    let steps: Vec<u32> = made.data.blocks.iter().map(|block| block.origin_steps).filter(|steps| *steps > 0).collect();
    assert_eq!(steps, [7, 1, 4]);
}

#[test]
fn a_block_of_messages_has_as_many_as_fit() {
    let made = mixed();
    // Each of the last seven burns what it has; the block's 5,000,000 hold two of them.
    let counts: Vec<usize> = made.sealed.blocks[made.sealed.blocks.len() - 5..]
        .iter()
        .map(|block| block.transactions.iter().filter(|one| one.inner().as_deposit().is_some()).count())
        .collect();
    assert_eq!(counts, [3, 2, 2, 1, 0], "the attributes take no place");

    // A chain whose blocks of messages end early has other blocks than the data give.
    let mut chain = Chain::new();
    let parent = chain.clone();
    let messages: Vec<TxDeposit> = (0..2).map(|index| message(index, 100_000)).collect();
    chain.seal_messages(1_000, Some(origin(1, 2)), &messages[..1]);
    chain.seal_messages(1_000, None, &messages[1..]);
    let mut made = Made::new(parent, &chain);
    // The second block's data have nothing left to hold, and become an empty block.
    assert_eq!(invalid(&made), BatchError::Differs("last block hash"));
    made.data.blocks.pop();
    made.header.last_block -= 1;
    assert_eq!(invalid(&made), BatchError::Differs("last block hash"));
}

/// Transactions that ask for the length of long codes: a block takes no more once it has read much, and code that is read again is read once.
#[test]
fn a_block_reads_so_much_and_no_more() {
    let reader = Address::repeat_byte(0xc0);
    let long =
        |index: u8| (Address::repeat_byte(0x10 + index), Bytes::from([&[0xfe, index][..], &[0; 20_000]].concat()));
    let contracts = (0..10).map(long).chain([(reader, hex!("5f353b5000").into())]);
    let ask = |nonce: u64, index: u8| {
        let input = Bytes::copy_from_slice(long(index).0.into_word().as_slice());
        call(nonce, TxKind::Call(reader), 0, input, 100_000)
    };
    let chain = Chain::with(contracts);
    let each: Vec<SignedTransaction> = (0..10).map(|nonce| ask(nonce, nonce as u8)).collect();
    assert_eq!(chain.clone().some(10, each.clone()), 10, "nobody minds so little");

    let mut bounded = chain.with_max_reads(100_000);
    let same = (0..10).map(|nonce| ask(nonce, 0)).collect();
    assert_eq!(bounded.clone().some(10, same), 10);
    let (mut taken, mut blocks) = (0, 0);
    while taken < each.len() {
        let count = bounded.some(20, each[taken..].to_vec());
        assert!((1..=5).contains(&count), "{count} of 20,000 bytes each");
        (taken, blocks) = (taken + count, blocks + 1);
    }
    assert!(blocks >= 2);
}

#[test]
fn a_batch_of_messages_alone_is_valid_without_signed_transactions() {
    let mut chain = Chain::new();
    let parent = chain.clone();
    chain.consume(1_000, Some(origin(3, 4)), (0..4).map(|index| message(index, 1_900_000)).collect());
    chain.transactions(1_010, Vec::new());
    let mut made = Made::new(parent, &chain);
    made.header.version = hash::MESSAGES_ALONE;
    made.derive().expect("valid");

    let mut made = mixed();
    made.header.version = hash::MESSAGES_ALONE;
    assert_eq!(invalid(&made), BatchError::NotAlone { block: 2 });
    made.header.version = 3;
    assert_eq!(invalid(&made), BatchError::Version(3));
}

#[test]
fn signatures_are_checked() {
    let made = mixed();
    let first = made.data.blocks[0].transactions[0].clone();
    let SignedTransaction::Eip1559(signed) = &first else { panic!("a transfer") };
    let signature = *signed.signature();
    let order = SECP256K1N_HALF * U256::from(2) + U256::ONE;
    let broken = [
        ("no point", Signature::new(U256::MAX, signature.s(), signature.v())),
        ("zero", Signature::new(U256::ZERO, U256::ZERO, false)),
        ("a high s, of the same sender", Signature::new(signature.r(), order - signature.s(), !signature.v())),
    ];
    for (why, signature) in broken {
        let mut made = made.clone();
        made.data.blocks[0].transactions[0] = with_signature(&first, signature);
        assert_eq!(invalid(&made), BatchError::Signature { block: 2, index: 0 }, "{why}");
    }
    // Another signature is another's, who has sent nothing before.
    let mut other = made;
    let flipped = Signature::new(signature.r(), signature.s(), !signature.v());
    other.data.blocks[0].transactions[0] = with_signature(&first, flipped);
    assert!(matches!(invalid(&other), BatchError::Transaction { block: 2, index: 0, .. }));
}

#[test]
fn transactions_must_be_valid_where_they_stand() {
    let mut made = mixed();
    made.data.blocks[0].transactions.remove(0);
    let BatchError::Transaction { block: 2, index: 0, error: TransactionError::Evm(error) } = invalid(&made) else {
        panic!("a gap in the nonces");
    };
    assert!(error.to_string().contains("nonce"), "{error}");

    let mut made = mixed();
    made.data.blocks[0].transactions.swap(0, 1);
    assert!(matches!(invalid(&made), BatchError::Transaction { block: 2, index: 0, .. }));

    // What fits into two blocks need not fit into one.
    let mut chain = Chain::new();
    let parent = chain.clone();
    for nonce in 0..2 {
        chain.transactions(10, vec![call(nonce, TxKind::Call(BURNER), 0, Bytes::new(), 3_000_000)]);
    }
    let mut made = Made::new(parent, &chain);
    made.derive().expect("valid as it is");
    let second = made.data.blocks.remove(1);
    made.data.blocks[0].transactions.extend(second.transactions);
    made.header.last_block -= 1;
    let error = TransactionError::BlockGas { limit: 3_000_000, left: 2_000_000 };
    assert_eq!(invalid(&made), BatchError::Transaction { block: 1, index: 1, error });
}

#[test]
fn signed_transactions_wait_for_messages() {
    let made = mixed();
    let step = find(&made, |block| block.origin_steps == 4);
    let block = made.header.first_block + step as u64;
    for (at, number) in [(step, block), (step + 2, block + 2)] {
        let mut made = made.clone();
        made.data.blocks[at].transactions.push(transfer(5, 6));
        assert_eq!(invalid(&made), BatchError::Mixed { block: number });
    }
    // A step where messages are due comes too early.
    let mut early = made.clone();
    early.data.blocks[step + 1].origin_steps = 1;
    early.header.origin_number += 1;
    early.origins.push(origin(13, 10));
    let error = TransactionError::Attributes("before the messages of the last origin");
    assert_eq!(invalid(&early), BatchError::Transaction { block: block + 1, index: 0, error });
    // The batch ends while messages are due.
    let mut cut = made;
    cut.data.blocks.truncate(step + 2);
    cut.header.last_block = block + 1;
    assert_eq!(invalid(&cut), BatchError::MessagesLeft(3));
}

#[test]
fn the_queue_is_as_long_as_the_header_says() {
    let mut made = mixed();
    made.header.end_message = 9;
    assert_eq!(invalid(&made), BatchError::Differs("end message"));
    let mut made = mixed();
    made.header.end_message = 11;
    assert_eq!(invalid(&made), BatchError::Differs("end message"));
    let mut made = mixed();
    made.header.first_message = 1;
    assert_eq!(invalid(&made), BatchError::Differs("first message"));
    // What the caller keeps back says nothing of the batch.
    let mut made = mixed();
    made.messages.pop();
    assert!(matches!(made.derive(), Err(ExecuteBatchError::Incomplete("messages of the L1 queue"))));
    // Another message gives other blocks.
    let mut made = mixed();
    made.messages[9].mint += 1;
    assert_eq!(invalid(&made), BatchError::Differs("last block hash"));
}

#[test]
fn origins_are_those_that_the_header_allows() {
    let made = mixed();
    let step = find(&made, |block| block.origin_steps == 4);
    let block = made.header.first_block + step as u64;
    for steps in [5, u32::MAX] {
        let mut beyond = made.clone();
        beyond.data.blocks[step].origin_steps = steps;
        assert_eq!(invalid(&beyond), BatchError::OriginSteps { block, steps });
    }
    let mut missing = made.clone();
    missing.origins.remove(1);
    assert!(matches!(missing.derive(), Err(ExecuteBatchError::Incomplete("an L1 origin"))));
    // Origins that the batch steps over change nothing.
    let mut more = made.clone();
    more.origins.insert(2, L1Origin { hash: B256::repeat_byte(9), ..origin(9, 3) });
    more.derive().expect("valid");
    let mut other = made.clone();
    other.header.origin_hash = B256::repeat_byte(9);
    assert_eq!(invalid(&other), BatchError::Differs("origin hash"));
    let mut other = made.clone();
    other.header.origin_number += 1;
    assert_eq!(invalid(&other), BatchError::Differs("origin number"));

    // A block is not earlier than its origin, even if it is later than its parent.
    let mut early = made.clone();
    early.data.blocks[step].time_ms -= 1_500;
    let error = TransactionError::Attributes("of an L1 block that is later than this one");
    assert_eq!(invalid(&early), BatchError::Transaction { block, index: 0, error });
    let mut falling = made;
    falling.data.blocks[step].time_ms -= 3_000;
    assert!(matches!(invalid(&falling), BatchError::Header { error: HeaderError::Time { .. }, .. }));
}

#[test]
fn the_header_names_the_chain_before_and_after() {
    let made = mixed();
    type Edit = fn(&mut Made);
    let edits: [(&str, Edit); 9] = [
        ("parent block hash", |made| made.header.parent_block_hash = B256::ZERO),
        ("first block", |made| made.header.first_block += 1),
        ("first block of the data", |made| made.data.first_block += 1),
        ("last block", |made| made.header.last_block += 1),
        ("last block", |made| made.data.blocks.clear()),
        ("last timestamp", |made| made.header.last_timestamp += 1),
        ("last timestamp", |made| made.data.blocks[1].time_ms += 1 << 40),
        ("last block hash", |made| made.header.last_block_hash = B256::ZERO),
        ("last block hash", |made| made.data.blocks[1].time_ms += 1),
    ];
    for (field, edit) in edits {
        let mut made = made.clone();
        edit(&mut made);
        assert_eq!(invalid(&made), BatchError::Differs(field));
    }
    let garbage = decode(&[vec![0x3f; 131_072]], 5683).expect_err("no batch");
    assert_eq!(BatchError::from(garbage), BatchError::Decode(DecodeError::Version(0x3f)));
}

/// Small numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn any_chain_is_derived_and_nothing_panics() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let mut chain = Chain::new();
        let (mut nonce, mut time, mut number, mut queued) = (0, 0, 0, 0);
        let mut parent = chain.clone();
        for block in 0..numbers.below(12) + 4 {
            if block == 3 {
                parent = chain.clone();
            }
            time += numbers.below(3) * numbers.below(800);
            if numbers.below(3) == 0 {
                number += 1 + numbers.below(4);
                let count = numbers.below(9);
                let mut gas = || [30_000, 700_000, 2_000_000][numbers.below(3) as usize];
                let messages = (queued..queued + count).map(|index| message(index, gas())).collect();
                queued += count;
                // Not before the origin.
                time = time.max(1_000 * (number / 3));
                chain.consume(time, Some(origin(number, queued)), messages);
            } else {
                let count = numbers.below(4);
                chain.transactions(time, (nonce..nonce + count).map(|nonce| transfer(nonce, nonce + 1)).collect());
                nonce += count;
            }
        }
        let made = Made::new(parent, &chain);
        let (derived, _) = made.derive().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(derived.blocks, made.sealed.blocks, "seed {seed}");
        for _ in 0..6 {
            let mut made = made.clone();
            disturb(&mut made.data, &mut numbers);
            if let Err(ExecuteBatchError::Database(never)) = made.derive() {
                match never {}
            }
        }
    }
}

/// Any change of what blobs could say.
fn disturb(data: &mut BatchData, numbers: &mut Numbers) {
    let at = numbers.below(data.blocks.len() as u64) as usize;
    let block = &mut data.blocks[at];
    match numbers.below(6) {
        0 => block.time_ms = numbers.below(u32::MAX.into()).wrapping_mul(1 << 32),
        1 => block.origin_steps = numbers.below(6) as u32,
        2 => block.origin_steps = u32::MAX,
        3 => block.transactions.reverse(),
        4 => block.transactions.push(transfer(numbers.below(20), 0)),
        _ => {
            data.blocks.remove(at);
        }
    }
}
