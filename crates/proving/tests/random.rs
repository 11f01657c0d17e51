//! Random blocks: executed by a node and on their witness they do the same, and without a part of the witness nothing is said of them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_primitives::Address;
use chain::{
    Chain,
    work::{Act, batch, blocks, prepared, workbench},
};
use jove_proving::{Batch, Input, InputError, Judgement, judge};
use jove_stf::StatelessError;
use jove_trie::PartialTrie;
use proptest::prelude::*;

/// What the chain has of the batch.
fn agrees(chain: &Chain, judgement: &Judgement) {
    let (state, _) = chain.head();
    let roots = judgement.verdicts[0].outcome.as_ref().expect("a node took these blocks");
    assert_eq!(roots.state, state);
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
        // The slots of the L1 attributes are read where there is a step.
        prop_assert!(missed > 10 && spare <= 4, "{missed} needed, {spare} not");
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
