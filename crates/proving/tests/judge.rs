//! Inputs and what they prove: valid batches, invalid ones, altered inputs.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use chain::{BOB, Chain, PAYOUT, small, versioned};
use jove_primitives::{
    batch::{
        BlockData, DecodeError,
        hash::{BLS_MODULUS, invalid_output_hash, output_hash, statement},
    },
    predeploys::EMPTY_OUTBOX_ROOT,
};
use jove_proving::{Batch, Input, InputError, Judgement, MAX_BATCHES, judge};
use jove_stf::{BatchError, StatelessError};

/// What L1 compares a proof with: what it has of the batches, and the blobs' openings, which it checks.
type Accepted = (B256, Vec<B256>, Vec<B256>, Address);

fn accepted(judgement: &Judgement) -> Accepted {
    let batches = judgement.verdicts.iter().map(|verdict| verdict.batch).collect();
    let openings = judgement.openings.iter().flat_map(|opening| [opening.contents_hash, opening.y]).collect();
    (judgement.start, batches, openings, judgement.payout)
}

fn why(input: &Input) -> InputError {
    match judge(input).expect_err("the input is at fault") {
        InputError::Batch(_, error) => *error,
        error => error,
    }
}

fn invalid(input: &Input) -> BatchError {
    let judgement = judge(input).expect("an input");
    let verdict = &judgement.verdicts[0];
    let error = verdict.outcome.clone().expect_err("invalid");
    assert_eq!(verdict.output, invalid_output_hash(input.batches[0].committed.hash(), judgement.start));
    error
}

#[test]
fn a_range_of_batches_has_the_outputs_of_the_chain() {
    let mut chain = Chain::new(3);
    let genesis = chain.parent.clone();
    let first = small(&mut chain);
    let (root, hash) = chain.head();
    chain.l1_block(0);
    chain.l1_block(3);
    let step = chain.step(2_000);
    let second = chain.commit(vec![step]);
    let after = chain.transfer(2, BOB);
    let third = chain.block(10, vec![after]);
    let third = chain.commit(vec![third]);

    let one = judge(&chain.input(genesis.clone(), vec![first.clone()])).expect("valid");
    assert_eq!(
        one.start,
        output_hash(genesis.hash(), genesis.header.last_block_hash, chain.genesis_root(), EMPTY_OUTBOX_ROOT)
    );
    let output = output_hash(first.committed.hash(), hash, root, EMPTY_OUTBOX_ROOT);
    assert_eq!(one.verdicts[0].output, output);
    assert_eq!(one.payout, PAYOUT);
    let expected = statement(5683, one.rollup, one.start, PAYOUT, &[output], &one.openings);
    assert_eq!(one.statement(), expected);

    let input = chain.input(genesis, vec![first.clone(), second.clone(), third.clone()]);
    let all = judge(&Input::decode(&input.encode()).expect("itself")).expect("valid");
    assert!(all.verdicts.iter().all(|verdict| verdict.outcome.is_ok()));
    assert_eq!((all.start, &all.verdicts[0]), (one.start, &one.verdicts[0]));
    assert_eq!(all.openings.len(), 3);
    // Any part of the range begins at the output of what is before.
    let rest = judge(&chain.input(first.committed.clone(), vec![second.clone(), third])).expect("valid");
    assert_eq!((rest.start, &rest.verdicts[..]), (output, &all.verdicts[1..]));

    let Input { batches, parent, .. } = input;
    let many = |batches| why(&chain.input(parent.clone(), batches));
    assert!(matches!(many(Vec::new()), InputError::Range(0)));
    assert!(matches!(many(vec![Batch::default(); MAX_BATCHES + 1]), InputError::Range(65)));
    assert!(matches!(many(vec![batches[1].clone()]), InputError::Differs("the index")));
    assert!(matches!(many(vec![batches[0].clone(), batches[2].clone()]), InputError::Differs("the index")));
    assert!(matches!(many(vec![batches[0].clone(), batches[0].clone()]), InputError::Differs("the index")));
}

#[test]
fn what_breaks_the_rules_is_invalid() {
    let build = || {
        let mut chain = Chain::new(3);
        let genesis = chain.parent.clone();
        (small(&mut chain), genesis, chain)
    };
    // Garbage: of a field element that no batch has, of another version, of nothing.
    let (batch, genesis, chain) = build();
    let garbage = |contents: Vec<u8>| {
        let mut batch = batch.clone();
        batch.committed.blobs = vec![versioned(&contents)];
        batch.contents = vec![contents.into()];
        invalid(&chain.input(genesis.clone(), vec![batch]))
    };
    let element = |element: U256| element.to_be_bytes::<32>().repeat(4096);
    assert_eq!(garbage(element(U256::ZERO)), DecodeError::Version(0).into());
    assert_eq!(garbage(element(BLS_MODULUS - U256::ONE)), DecodeError::FieldElement.into());
    let mut cut = batch.contents[0].to_vec();
    cut[131_071] = 1;
    assert_eq!(garbage(cut), DecodeError::Trailing.into());

    // Another last block, another end.
    let altered = |edit: fn(&mut Batch)| {
        let (mut batch, genesis, chain) = build();
        edit(&mut batch);
        invalid(&chain.input(genesis, vec![batch]))
    };
    let differs = |field| BatchError::Differs(field);
    assert_eq!(altered(|batch| batch.committed.header.last_block_hash.0[0] ^= 1), differs("last block hash"));
    assert_eq!(altered(|batch| batch.committed.header.last_block += 1), differs("last block"));
    assert_eq!(altered(|batch| batch.committed.header.last_timestamp += 1), differs("last timestamp"));
    assert_eq!(altered(|batch| batch.committed.header.version = 3), BatchError::Version(3));
    assert_eq!(altered(|batch| batch.committed.header.version = 2), BatchError::NotAlone { block: 1 });

    // Transactions that cannot be in a block; steps where L1 says another origin.
    let run = |blocks: fn(&mut Chain) -> Vec<BlockData>| {
        let mut chain = Chain::new(3);
        let genesis = chain.parent.clone();
        chain.l1_block(2);
        let blocks = blocks(&mut chain);
        let batch = chain.commit(blocks);
        invalid(&chain.input(genesis, vec![batch]))
    };
    let nonce = run(|chain| {
        chain.transfer(0, BOB);
        let later = chain.transfer(0, BOB);
        vec![chain.block(10, vec![later])]
    });
    assert!(matches!(nonce, BatchError::Transaction { block: 1, index: 0, .. }), "{nonce}");
    let mixed = run(|chain| {
        let transfer = chain.transfer(0, BOB);
        vec![BlockData { transactions: vec![transfer], ..chain.step(1_000) }]
    });
    assert_eq!(mixed, BatchError::Mixed { block: 1 });

    // A batch that has a message due at its end.
    let mut chain = Chain::new(1);
    let genesis = chain.parent.clone();
    chain.l1_block(0);
    let big = chain.big_messages();
    let step = chain.step(1_000);
    let batch = chain.commit(vec![step]);
    assert_eq!(invalid(&chain.input(genesis, vec![batch])), BatchError::MessagesLeft(big));

    // Nothing follows an invalid batch.
    let mut chain = Chain::new(3);
    let genesis = chain.parent.clone();
    let (first, second) = (small(&mut chain), chain.block(10, Vec::new()));
    let second = chain.commit(vec![second]);
    let mut bad = first.clone();
    bad.contents[0] = vec![0; 131_072].into();
    let input = chain.input(genesis, vec![bad, second]);
    assert!(matches!(why(&input), InputError::AfterInvalid));
}

#[test]
fn an_input_at_fault_says_nothing_of_the_batch() {
    let mut chain = Chain::new(3);
    let genesis = chain.parent.clone();
    let first = small(&mut chain);
    let parent = chain.parent.clone();
    chain.l1_block(1);
    chain.l1_block(2);
    let step = chain.step(2_000);
    let batch = chain.commit(vec![step]);
    let good = chain.input(parent, vec![batch]);
    judge(&good).expect("valid");
    let error = |edit: &dyn Fn(&mut Input)| {
        let mut input = good.clone();
        edit(&mut input);
        why(&input)
    };
    let batch = |edit: fn(&mut Batch)| error(&|input| edit(&mut input.batches[0]));

    assert!(matches!(error(&|input| input.config = Bytes::new()), InputError::Config(_)));
    let other = jove_primitives::ChainSpec { chain_id: 1, ..(*chain.spec).clone() };
    let other = Bytes::from(other.config(u64::MAX));
    assert!(matches!(error(&|input| input.config = other.clone()), InputError::Differs("the chain id")));
    let mut other = (*chain.spec).clone();
    other.settlement.as_mut().unwrap().inbox = BOB;
    let other = Bytes::from(other.config(u64::MAX));
    assert!(matches!(error(&|input| input.config = other.clone()), InputError::Differs("the config hash")));
    assert!(matches!(error(&|input| input.parent = genesis.clone()), InputError::Differs("the index")));
    assert!(matches!(error(&|input| input.parent.blobs.clear()), InputError::Differs("the parent batch's hash")));

    assert!(matches!(batch(|batch| batch.contents.clear()), InputError::BlobCount { hashes: 1, contents: 0 }));
    assert!(matches!(batch(|batch| batch.contents[0] = Bytes::new()), InputError::NotABlob(0)));
    let not_canonical = batch(|batch| {
        let mut contents = batch.contents[0].to_vec();
        contents[32 * 4095..].copy_from_slice(&BLS_MODULUS.to_be_bytes::<32>());
        batch.contents[0] = contents.into();
    });
    assert!(matches!(not_canonical, InputError::NotABlob(0)));
    assert!(matches!(batch(|batch| batch.origins.clear()), InputError::Origins(_)));
    assert!(matches!(batch(|batch| drop(batch.origins.remove(0))), InputError::Origins(_)));
    assert!(matches!(batch(|batch| drop(batch.origins.pop())), InputError::Origins(_)));
    assert!(matches!(batch(|batch| batch.origins[0].timestamp += 1), InputError::Origins(_)));
    assert!(matches!(batch(|batch| batch.origins[1].timestamp += 1), InputError::Origins(_)));
    assert!(matches!(batch(|batch| drop(batch.messages.pop())), InputError::Messages));
    assert!(matches!(batch(|batch| batch.messages.swap(0, 1)), InputError::Messages));
    assert!(matches!(batch(|batch| batch.messages[0].l1_block += 1), InputError::Messages));
    assert!(matches!(batch(|batch| batch.messages[2].mint += 1), InputError::Messages));
    let state = |error| matches!(error, InputError::Witness(StatelessError::Headers(0)));
    assert!(state(batch(|batch| batch.witness.headers.clear())));
    assert!(state(error(&|input| input.batches[0].witness = first.witness.clone())));
    let foreign = error(&|input| input.batches[0].witness.state = first.witness.state.clone());
    assert!(matches!(foreign, InputError::Witness(StatelessError::Root { .. })));

    // The first batch's first origin is anywhere; a step before it lacks something.
    let mut input = chain.input(genesis, vec![first]);
    input.batches[0].origins.clear();
    assert!(matches!(why(&input), InputError::Incomplete("an L1 origin")));
    // Where the genesis hash is unknown, an origin needs randomness.
    let mut chain = Chain::new(1);
    small_of_one(&mut chain);
    let parent = chain.parent.clone();
    chain.l1_block(0);
    chain.l1.last_mut().unwrap().mix_hash = B256::ZERO;
    let step = chain.step(2_000);
    let batch = chain.commit(vec![step]);
    assert!(matches!(why(&chain.input(parent, vec![batch])), InputError::Randomness));
}

/// A batch with an origin alone.
fn small_of_one(chain: &mut Chain) {
    chain.l1_block(0);
    let step = chain.step(1_000);
    chain.commit(vec![step]);
}

/// Each byte, flipped: an error, or what L1 takes for the same batches has the same outputs.
#[test]
fn no_altered_input_proves_another_output_of_the_same_batches() {
    let mut chain = Chain::new(3);
    small(&mut chain);
    let parent = chain.parent.clone();
    chain.l1_block(2);
    let (step, transfer) = (chain.step(2_000), chain.transfer(0, BOB));
    let after = chain.block(2_010, vec![transfer]);
    let batch = chain.commit(vec![step, after]);
    let input = chain.input(parent, vec![batch]);
    let (good, bytes) = (judge(&input).expect("valid"), input.encode());
    let contents = input.batches[0].contents[0].to_vec();
    let blob = bytes.windows(64).position(|window| *window == contents[..64]).expect("the blob is in it");
    // Of a blob's zeros some are enough.
    let flipped = (0..bytes.len()).filter(|at| !(blob + 2_000..blob + 131_072).contains(at) || at % 4_999 == 0);
    let (mut errors, mut others, mut same) = (0, 0, 0);
    for at in flipped {
        for bit in [1, 0x80] {
            let mut altered = bytes.clone();
            altered[at] ^= bit;
            let Ok(judgement) = Input::decode(&altered).and_then(|input| judge(&input)) else {
                errors += 1;
                continue;
            };
            if accepted(&judgement) == accepted(&good) {
                assert_eq!(judgement, good, "byte {at}");
                same += 1;
            } else {
                assert_ne!(judgement.statement(), good.statement(), "byte {at}");
                // Only the batch itself can have another start.
                others += 1;
            }
        }
    }
    println!("{errors} errors, {others} of other batches or blobs, {same} the same");
    assert!(errors > 1_000 && others > 1_000);
    // The payout and what is in the blob are anyone's to change: L1 finds no such statement. Nothing else is.
    for length in (0..bytes.len()).step_by(997) {
        assert!(Input::decode(&bytes[..length]).is_err());
    }
    assert!(Input::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_contract_of_the_chain_is_in_the_witness_and_in_no_batch_that_makes_it() {
    let mut chain = Chain::new(1);
    let genesis = chain.parent.clone();
    // Stores the parent's hash in the slot of the block's number.
    let init = hex!("6008600c60003960086000f3" "6001430340435500");
    let contract = chain.address(0).create(0);
    let create = chain.send(0, TxKind::Create, 0, init.to_vec(), 200_000);
    let create = chain.block(10, vec![create]);
    let call = chain.send(0, contract.into(), 0, Bytes::new(), 100_000);
    let call = chain.block(20, vec![call]);
    let first = chain.commit(vec![create, call]);
    let code = |batch: &Batch| batch.witness.codes.iter().any(|code| code[..] == hex!("6001430340435500"));
    assert!(!code(&first));
    let parent = chain.parent.clone();
    let call = chain.send(0, contract.into(), 0, Bytes::new(), 100_000);
    let call = chain.block(20, vec![call]);
    let second = chain.commit(vec![call]);
    assert!(code(&second));
    assert!(judge(&chain.input(genesis, vec![first])).expect("an input").verdicts[0].outcome.is_ok());
    let mut input = chain.input(parent, vec![second]);
    assert!(judge(&input).expect_err("an origin is needed, or its randomness").to_string().contains("mixHash"));
    input.batches[0].witness.codes.clear();
    assert!(matches!(why(&input), InputError::Randomness));
}
