//! What takes long: executing, building, checking. One thread, in the order in which it is asked; witnesses are checked when nothing else is to be done, since peers
//! may send many.

use crate::{
    chain::{Chain, Verdict},
    driver::Input,
    fraud::{Fraud, Reason},
    reports::{Range, Reports, Seeds},
};
use alloy_primitives::B256;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use jove_avc::{
    Checkpoint, Content, L1Origin, Outcome, Tip, ValidatorSet,
    weights::{Record, weigh},
};
use jove_primitives::block::Block;
use std::{collections::VecDeque, sync::Arc};

/// Witnesses that may wait; of more the oldest are forgotten.
const WITNESSES: usize = 64;

/// What the set two epochs after an epoch follows from, the registry aside.
pub(crate) struct Epoch {
    /// Its validators.
    pub(crate) set: Arc<ValidatorSet>,
    /// Those of the next.
    pub(crate) next: Arc<ValidatorSet>,
    /// The L1 origin that it began at.
    pub(crate) start: L1Origin,
    /// What its checkpoints bind, up to the last one's parent, their blocks aside.
    pub(crate) record: Record,
    /// Those blocks.
    pub(crate) blocks: Vec<Range>,
}

/// What the worker is asked.
pub(crate) enum Job {
    /// To execute a checkpoint after its parent's last block (number, hash): these blocks lead to it, none if the chain has it. With the epoch where the checkpoint
    /// ends one.
    Execute {
        digest: B256,
        checkpoint: Arc<Checkpoint>,
        after: (u64, B256),
        blocks: Vec<Block>,
        ends: Option<Box<Epoch>>,
    },
    /// To execute blocks that no proposal names yet.
    Import(Vec<Block>),
    /// To execute blocks that are final.
    Return(Vec<Block>),
    /// To lead, and hand over what is after this parent; an empty block, if there is nothing and one is wanted. With the epoch where the checkpoint ends one.
    Build { view: u64, parent: Tip, lead: bool, empty: bool, ends: Option<Box<Epoch>> },
    /// To end leading.
    Follow,
    /// To check a witness.
    Check { digest: B256, checkpoint: Arc<Checkpoint>, witness: Vec<u8> },
    /// A checkpoint is final; its first block.
    Certified { digest: B256, checkpoint: Arc<Checkpoint>, first: u64 },
}

/// Works until there is nobody left to ask.
pub(crate) fn run(chain: &dyn Chain, seeds: Seeds, jobs: &Receiver<Job>, inputs: &Sender<Input>) {
    let mut reports = Reports::new(seeds);
    let answer = |input| {
        let _ = inputs.send(input);
    };
    let mut checks: VecDeque<(B256, Arc<Checkpoint>, Vec<u8>)> = VecDeque::new();
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => match checks.pop_front() {
                Some((digest, checkpoint, witness)) => {
                    let invalid = is_shown(chain, &checkpoint, &witness);
                    answer(Input::Witnessed { digest, checkpoint, witness, invalid });
                    continue;
                }
                None => match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            },
        };
        match job {
            Job::Execute { digest, checkpoint, after, blocks, ends } => {
                match execute(chain, &reports, &checkpoint, after, blocks, ends) {
                    Ok((outcome, fraud)) => answer(Input::Executed { digest, outcome, fraud }),
                    Err(error) => {
                        tracing::debug!(height = checkpoint.height, %error, "a checkpoint cannot be executed yet");
                        answer(Input::NotExecuted { digest });
                    }
                }
            }
            Job::Import(blocks) => {
                let done = follow(chain, blocks)
                    .inspect_err(|error| tracing::debug!(%error, "sealed blocks are not executed yet"));
                answer(Input::Imported { done: matches!(done, Ok(Verdict::Valid)) });
            }
            Job::Return(blocks) => match follow(chain, blocks) {
                Ok(Verdict::Valid) => {}
                Ok(Verdict::Invalid(fraud)) => {
                    let number = fraud.headers.first().map(|header| header.number).unwrap_or_default();
                    answer(Input::Invalid(number));
                }
                Err(error) => tracing::debug!(%error, "final blocks are not executed yet"),
            },
            Job::Build { view, parent, lead, empty, ends } => {
                chain.lead(lead);
                let content = build(chain, &reports, &parent, empty, ends);
                answer(Input::Built { view, content: content.map(Box::new) });
            }
            Job::Follow => chain.lead(false),
            Job::Check { digest, checkpoint, witness } => {
                if checks.len() == WITNESSES {
                    checks.pop_front();
                }
                checks.push_back((digest, checkpoint, witness));
            }
            Job::Certified { digest, checkpoint, first } => {
                let here = is_here(chain, &checkpoint);
                if here {
                    chain.certified(digest, &checkpoint);
                    let (epoch, last) = (checkpoint.epoch, checkpoint.last_number);
                    reports.look(chain, Range { digest, epoch, first, last });
                }
                answer(Input::Certified { digest, checkpoint, here });
            }
        }
    }
}

/// Whether the chain has a checkpoint's last block.
pub(crate) fn is_here(chain: &dyn Chain, checkpoint: &Checkpoint) -> bool {
    chain.hash_at(checkpoint.last_number) == Some(checkpoint.last_hash)
}

fn is_shown(chain: &dyn Chain, checkpoint: &Checkpoint, witness: &[u8]) -> bool {
    Fraud::decode(witness).is_some_and(|fraud| chain.shows(checkpoint, &fraud))
}

/// Executes blocks. What they follow was on the chain when it was asked, and another branch may have come in between: they would be compared with that.
fn follow(chain: &dyn Chain, blocks: Vec<Block>) -> Result<Verdict, crate::ChainError> {
    let parent = blocks.first().and_then(|first| Some((first.header.number.checked_sub(1)?, first.header.parent_hash)));
    match parent {
        Some((number, hash)) if chain.hash_at(number) != Some(hash) => {
            Err(crate::ChainError(format!("block {number} is not on the chain any more")))
        }
        _ => chain.execute(blocks),
    }
}

type Executed = (Outcome, Option<Fraud>);

/// V_{e+2} with W_{e+2}: who is in it, L1 says; what they weigh, the epoch.
fn set_after(
    chain: &dyn Chain,
    reports: &Reports,
    mut epoch: Epoch,
    origin: &L1Origin,
) -> Result<Arc<ValidatorSet>, crate::ChainError> {
    for range in &epoch.blocks {
        reports.of(chain, *range)?.iter().for_each(|report| epoch.record.report(report));
    }
    let set = chain.validators(origin, &epoch.next)?;
    // Whom L1 convicted is not in its own set: somebody of them is left only where the set stays. The question is a long one.
    if Arc::ptr_eq(&set, &epoch.next) {
        for id in chain.convicted(&epoch.start, origin)? {
            if let Some(index) = epoch.set.index(&id) {
                epoch.record.convict(index);
            }
        }
    }
    let mut members = set.validators().to_vec();
    weigh(&mut members, &epoch.set, &epoch.next, &epoch.record, reports.seeds());
    ValidatorSet::new(members).map(Arc::new).map_err(|error| crate::ChainError(error.to_string()))
}

fn execute(
    chain: &dyn Chain,
    reports: &Reports,
    checkpoint: &Checkpoint,
    (after, parent): (u64, B256),
    blocks: Vec<Block>,
    ends: Option<Box<Epoch>>,
) -> Result<Executed, crate::ChainError> {
    // The blocks follow the parent's, whatever the chain has: else two checkpoints, one the other's parent, could be final on two branches.
    match blocks.iter().find(|block| block.header.number == after + 1) {
        Some(next) if next.header.parent_hash != parent => {
            tracing::warn!(after, %parent, "a checkpoint's blocks do not follow its parent's");
            let fraud =
                Fraud { reason: Reason::Checkpoint, headers: Vec::new(), transactions: Vec::new(), state: None };
            return Ok((Outcome::Invalid { reason: Reason::Checkpoint as u16, witness: Vec::new() }, Some(fraud)));
        }
        Some(_) => {}
        None if chain.hash_at(after) == Some(parent) => {}
        None => return Err(crate::ChainError(format!("the chain does not have block {after} of the parent"))),
    }
    let headers: Vec<_> = blocks.iter().rev().map(|block| block.header.clone()).collect();
    if !blocks.is_empty()
        && let Verdict::Invalid(fraud) = follow(chain, blocks)?
    {
        // The last block's header, and those down to the invalid one.
        let invalid = fraud.headers.first().map(|header| header.number).unwrap_or_default();
        let headers = headers.into_iter().take_while(|header| header.number >= invalid).collect();
        let fraud = Fraud { headers, ..*fraud };
        let witness = fraud.encode().unwrap_or_default();
        return Ok((Outcome::Invalid { reason: fraud.reason as u16, witness }, Some(fraud)));
    }
    let number = checkpoint.last_number;
    let at = chain.hash_at(number).zip(chain.result_at(number));
    let Some((hash, (root, origin))) = at.filter(|(hash, _)| *hash == checkpoint.last_hash) else {
        return Err(crate::ChainError(format!("block {number} is not the checkpoint's")));
    };
    if root != checkpoint.state_root || origin != checkpoint.origin {
        let header = chain.block(number).map(|block| block.header);
        let fraud = Fraud {
            reason: Reason::Checkpoint,
            headers: header.into_iter().collect(),
            transactions: Vec::new(),
            state: None,
        };
        let witness = (root != checkpoint.state_root).then(|| fraud.encode()).flatten().unwrap_or_default();
        tracing::warn!(number, %hash, "a checkpoint says something else than its last block");
        return Ok((Outcome::Invalid { reason: Reason::Checkpoint as u16, witness }, Some(fraud)));
    }
    if !chain.fits(after, number, checkpoint.next.is_some())? {
        tracing::warn!(after, number, "a checkpoint has more than it may, or ends an epoch where no batch ends");
        let fraud = Fraud { reason: Reason::Checkpoint, headers: Vec::new(), transactions: Vec::new(), state: None };
        return Ok((Outcome::Invalid { reason: Reason::Checkpoint as u16, witness: Vec::new() }, Some(fraud)));
    }
    let next = ends.map(|epoch| set_after(chain, reports, *epoch, &checkpoint.origin)).transpose()?;
    Ok((Outcome::Valid { next }, None))
}

fn build(chain: &dyn Chain, reports: &Reports, parent: &Tip, empty: bool, ends: Option<Box<Epoch>>) -> Option<Content> {
    let ends_epoch = ends.is_some();
    let mut content = chain.content(parent, ends_epoch);
    if content.is_none() && empty {
        chain.seal_empty();
        content = chain.content(parent, ends_epoch);
    }
    let mut content = content?;
    if let Some(epoch) = ends {
        match set_after(chain, reports, *epoch, &content.origin) {
            Ok(set) => content.next = Some(set),
            Err(error) => {
                tracing::warn!(%error, "it is not known yet who the validators are two epochs on: nothing is proposed");
                return None;
            }
        }
    }
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChainError;
    use alloy_primitives::{Address, Bytes};
    use jove_avc::{Bitmap, Domain, KeyedHash, KeyedHashSigner, Validator, WEIGHT_ONE};

    /// A chain whose block 9 is `[9; 32]`, with L1 origin 5; checkpoints after block 7 fit.
    #[derive(Default)]
    struct Fake {
        set: Option<Arc<ValidatorSet>>,
        /// With the L1 blocks in which they were convicted.
        convicted: Vec<(u64, B256)>,
    }

    impl Chain for Fake {
        fn head(&self) -> (u64, B256) {
            (9, B256::repeat_byte(9))
        }
        fn hash_at(&self, number: u64) -> Option<B256> {
            Some(B256::repeat_byte(number as u8))
        }
        fn block(&self, _: u64) -> Option<Block> {
            None
        }
        fn sent_to(&self, _: u64, _: Address) -> Option<Vec<(Address, Bytes)>> {
            None
        }
        fn result_at(&self, _: u64) -> Option<(B256, L1Origin)> {
            Some((B256::repeat_byte(2), L1Origin { number: 5, hash: B256::repeat_byte(5) }))
        }
        fn execute(&self, _: Vec<Block>) -> Result<Verdict, ChainError> {
            Ok(Verdict::Valid)
        }
        fn lead(&self, _: bool) {}
        fn seal_empty(&self) {}
        fn has_work(&self, _: bool) -> bool {
            false
        }
        fn content(&self, _: &Tip, _: bool) -> Option<Content> {
            None
        }
        fn fits(&self, after: u64, _: u64, ends_epoch: bool) -> Result<bool, ChainError> {
            Ok(after >= 7 && (!ends_epoch || after == 8))
        }
        fn validators(&self, _: &L1Origin, before: &Arc<ValidatorSet>) -> Result<Arc<ValidatorSet>, ChainError> {
            Ok(self.set.clone().unwrap_or_else(|| before.clone()))
        }
        fn convicted(&self, after: &L1Origin, upto: &L1Origin) -> Result<Vec<B256>, ChainError> {
            let within = |number: u64| number > after.number && number <= upto.number;
            Ok(self.convicted.iter().filter(|(number, _)| within(*number)).map(|(_, id)| *id).collect())
        }
        fn shows(&self, _: &Checkpoint, _: &Fraud) -> bool {
            false
        }
        fn certified(&self, _: B256, _: &Checkpoint) {}
    }

    fn set(number: u64) -> Arc<ValidatorSet> {
        let signer = KeyedHashSigner { id: B256::repeat_byte(number as u8), number };
        let (id, key, vrf) = (signer.id, signer.public_key(), signer.vrf_key());
        let validator = Validator { id, key, vrf, weight: WEIGHT_ONE, sequencer: true };
        Arc::new(ValidatorSet::new(vec![validator]).expect("a set"))
    }

    fn checkpoint(next: Option<&ValidatorSet>) -> Checkpoint {
        Checkpoint {
            chain_id: 1,
            era: 0,
            epoch: 0,
            height: 1,
            view: 0,
            proposer: 0,
            proof: [0; 80],
            parent: B256::ZERO,
            parent_signers: Bitmap::default(),
            last_number: 9,
            last_hash: B256::repeat_byte(9),
            state_root: B256::repeat_byte(2),
            origin: L1Origin { number: 5, hash: B256::repeat_byte(5) },
            set_version: 0,
            set_hash: B256::ZERO,
            weight_root: B256::ZERO,
            evidence_root: B256::ZERO,
            next: next.map(jove_avc::NextSet::of),
        }
    }

    fn reports() -> Reports {
        Reports::new(Seeds::new(Vec::new(), Domain { chain_id: 1, era: 0 }, Arc::new(KeyedHash)))
    }

    /// An epoch of the same validators as the next, of whom nothing is known.
    fn epoch(set: &Arc<ValidatorSet>) -> Option<Box<Epoch>> {
        let (record, start) = (Record::new(set.size()), L1Origin { number: 3, hash: B256::repeat_byte(3) });
        Some(Box::new(Epoch { set: set.clone(), next: set.clone(), start, record, blocks: Vec::new() }))
    }

    fn hash(number: u64) -> B256 {
        B256::repeat_byte(number as u8)
    }

    #[test]
    fn a_checkpoints_blocks_follow_its_parents() {
        let fake = Fake::default();
        let outcome = |parent: B256, blocks: &[(u64, B256)]| {
            let block = |(number, parent_hash): &(u64, B256)| Block {
                header: alloy_consensus::Header { number: *number, parent_hash: *parent_hash, ..Default::default() },
                ..Default::default()
            };
            let blocks = blocks.iter().map(block).collect();
            execute(&fake, &reports(), &checkpoint(None), (8, parent), blocks, None).map(|(outcome, _)| outcome)
        };
        let valid = Outcome::Valid { next: None };
        let other = hash(80);
        assert_eq!(outcome(hash(8), &[(9, hash(8))]).expect("an outcome"), valid);
        // From below the parent's last block on, and back to it: the chain was elsewhere.
        assert_eq!(outcome(other, &[(8, hash(7)), (9, other)]).expect("an outcome"), valid);
        // A branch beside the parent's last block.
        let invalid = Outcome::Invalid { reason: Reason::Checkpoint as u16, witness: Vec::new() };
        assert_eq!(outcome(hash(8), &[(8, hash(7)), (9, other)]).expect("an outcome"), invalid);
        assert!(outcome(other, &[]).is_err(), "the chain has the blocks, and not their parent");
    }

    #[test]
    fn a_checkpoint_that_no_batch_could_hold_is_invalid() {
        let (fake, before) = (Fake { set: Some(set(2)), ..Default::default() }, set(1));
        let outcome = |checkpoint: &Checkpoint, after| {
            let ends = checkpoint.next.and_then(|_| epoch(&before));
            execute(&fake, &reports(), checkpoint, (after, hash(after)), Vec::new(), ends).expect("an outcome").0
        };
        assert_eq!(outcome(&checkpoint(None), 7), Outcome::Valid { next: None });
        let invalid = Outcome::Invalid { reason: Reason::Checkpoint as u16, witness: Vec::new() };
        assert_eq!(outcome(&checkpoint(None), 6), invalid);
        let ends = checkpoint(Some(&set(2)));
        assert_eq!(outcome(&ends, 7), invalid, "messages are due where it ends the epoch");
        assert_eq!(outcome(&ends, 8), Outcome::Valid { next: Some(set(2)) });
    }

    #[test]
    fn the_set_two_epochs_on_is_the_registrys_or_stays() {
        let (before, checkpoint) = (set(1), checkpoint(Some(&set(2))));
        for found in [Some(set(2)), None] {
            let fake = Fake { set: found.clone(), ..Default::default() };
            let ends = epoch(&before);
            let (outcome, _) =
                execute(&fake, &reports(), &checkpoint, (8, hash(8)), Vec::new(), ends).expect("an outcome");
            assert_eq!(outcome, Outcome::Valid { next: Some(found.unwrap_or_else(|| before.clone())) });
        }
    }

    #[test]
    fn whom_l1_convicted_in_the_epoch_weighs_least_at_once() {
        let heavy = |number: u64| Validator { weight: 2 * WEIGHT_ONE, ..set(number).validators()[0].clone() };
        let before = Arc::new(ValidatorSet::new((1..=5).map(heavy).collect()).expect("a set"));
        let id = |number: u8| B256::repeat_byte(number);
        // In blocks before the epoch, of it, and after its end; and somebody who is not in it.
        let convicted = vec![(3, id(1)), (4, id(2)), (5, id(3)), (5, id(9)), (6, id(4))];
        let weights = |fake: &Fake| {
            let ends = checkpoint(Some(&before));
            let (outcome, _) =
                execute(fake, &reports(), &ends, (8, hash(8)), Vec::new(), epoch(&before)).expect("an outcome");
            let next = match outcome {
                Outcome::Valid { next: Some(next) } => next,
                other => panic!("{other:?}"),
            };
            // A proposer that leaves it out says another root.
            assert_ne!(jove_avc::NextSet::of(&next), jove_avc::NextSet::of(&before));
            next.validators().iter().map(|one| one.weight).collect::<Vec<_>>()
        };
        let (one, two) = (WEIGHT_ONE, 2 * WEIGHT_ONE);
        let mut reversed = convicted.clone();
        reversed.reverse();
        for convicted in [convicted, reversed] {
            assert_eq!(weights(&Fake { convicted, ..Default::default() }), [two, one, one, two, two]);
        }
    }
}
