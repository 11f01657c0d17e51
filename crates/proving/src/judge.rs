//! The one function: see the crate's first page.

use crate::{Batch, Committed, Input, InputError, MAX_BATCHES, opening};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use jove_primitives::{
    ChainSpec,
    batch::{
        BatchData, BatchHeader, decode,
        hash::{Opening, Roots, invalid_output_hash, output_hash, statement},
    },
    l1::{L1_MIX_HASH_SLOT, L1Origin},
    predeploys::{L1_BLOCK, L2_MESSENGER, OUTBOX_ROOT_SLOT},
    spec::Settlement,
    transaction::{SignedTransaction, TxDeposit},
};
use jove_stf::{
    BatchError, BatchInput, ExecuteBatchError, Rules, StatelessState, batch::Recovered, witness::execute_on,
};

/// A way to open a blob: as [`opening::open`].
pub type Open = fn(contents: &[u8], versioned_hash: B256) -> Option<Opening>;

/// What is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The L2 chain id.
    pub chain_id: u64,
    /// `Rollup` on L1.
    pub rollup: Address,
    /// The output before the first batch.
    pub start: B256,
    /// Whom the proof pays.
    pub payout: Address,
    /// Of each batch, in order. Only the last can be invalid.
    pub verdicts: Vec<Verdict>,
    /// Of each blob of each batch, in order.
    pub openings: Vec<Opening>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The batch hash.
    pub batch: B256,
    /// The output hash.
    pub output: B256,
    /// The roots after it, or why it is invalid.
    pub outcome: Result<Roots, BatchError>,
}

impl Judgement {
    /// The hash that a proof is of: `Rollup` computes the same.
    pub fn statement(&self) -> B256 {
        let outputs: Vec<B256> = self.verdicts.iter().map(|verdict| verdict.output).collect();
        statement(self.chain_id, self.rollup, self.start, self.payout, &outputs, &self.openings)
    }
}

/// Judges consecutive batches.
///
/// # Errors
/// [`InputError`]: the input is at fault, and nothing is said of the batches.
pub fn judge(input: &Input) -> Result<Judgement, InputError> {
    judge_with(input, opening::open)
}

/// [`judge`], with what opens blobs: for a machine that has a faster way to what [`opening::open`] does.
///
/// # Errors
/// As [`judge`].
pub fn judge_with(input: &Input, open: Open) -> Result<Judgement, InputError> {
    let spec = Arc::new(ChainSpec::from_config(&input.config)?);
    if input.batches.is_empty() || input.batches.len() > MAX_BATCHES {
        return Err(InputError::Range(input.batches.len()));
    }
    let first = &input.parent.header;
    let known = first.index == 0;
    let genesis = if known { first.last_block_hash } else { B256::ZERO };
    let chain = Chain { rules: Rules::Jove { spec: spec.clone(), genesis }, genesis: known, spec: &spec, open };
    let (mut start, mut parent) = (None, (&input.parent, input.parent.hash()));
    let (mut verdicts, mut openings) = (Vec::new(), Vec::new());
    for batch in &input.batches {
        let index = batch.committed.header.index;
        let in_batch = |error| InputError::Batch(index, Box::new(error));
        let (before, verdict) = chain.judge(parent, batch, &mut openings).map_err(in_batch)?;
        // What the batch before gave, or it is invalid; of the first one, what L1 is to know.
        match verdicts.last().map(|last: &Verdict| last.output) {
            Some(output) if output != before => return Err(in_batch(InputError::AfterInvalid)),
            _ => start = start.or(Some(before)),
        }
        parent = (&batch.committed, verdict.batch);
        verdicts.push(verdict);
    }
    let start = start.unwrap_or_default();
    Ok(Judgement { chain_id: first.chain_id, rollup: first.rollup, start, payout: input.payout, verdicts, openings })
}

struct Chain<'a> {
    rules: Rules,
    /// Whether the rules have the hash of the genesis block.
    genesis: bool,
    spec: &'a ChainSpec,
    open: Open,
}

impl Chain<'_> {
    /// Judges a batch after its parent, given with its hash: the parent's output, and what came of the batch.
    fn judge(
        &self,
        parent: (&Committed, B256),
        batch: &Batch,
        openings: &mut Vec<Opening>,
    ) -> Result<(B256, Verdict), InputError> {
        let Batch { committed, contents, origins, witness, .. } = batch;
        let header = &committed.header;
        self.follows(parent, committed)?;
        if contents.len() != committed.blobs.len() {
            return Err(InputError::BlobCount { hashes: committed.blobs.len(), contents: contents.len() });
        }
        for (index, (contents, hash)) in contents.iter().zip(&committed.blobs).enumerate() {
            openings.push((self.open)(contents, *hash).ok_or(InputError::NotABlob(index))?);
        }
        let settlement = self.spec.settlement.as_ref().ok_or(InputError::Incomplete("the chain's L1"))?;
        let origins = check_origins(&parent.0.header, batch, origins, settlement)?;
        let deposits = check_messages(batch, settlement)?;

        let (state, last) = StatelessState::new(witness, header.parent_block_hash)?;
        let outbox: B256 = state.slot(L2_MESSENGER, OUTBOX_ROOT_SLOT)?.into();
        let start = output_hash(parent.1, header.parent_block_hash, last.state_root, outbox);
        let hash = committed.hash();
        let invalid = |error| {
            let output = invalid_output_hash(hash, start);
            (start, Verdict { batch: hash, output, outcome: Err(error) })
        };
        let data = match decode(contents, header.chain_id) {
            Ok(data) => data,
            Err(error) => return Ok(invalid(error.into())),
        };
        if !self.genesis {
            let mix_hash: B256 = state.slot(L1_BLOCK, L1_MIX_HASH_SLOT)?.into();
            if mix_hash.is_zero() || origins.iter().any(|origin| origin.mix_hash.is_zero()) {
                return Err(InputError::Randomness);
            }
        }
        let recovered = recover(&data);
        let input = BatchInput { header, data: &data, origins: &origins, messages: &deposits };
        match execute_on(&self.rules, input, state, &last, &recovered) {
            Ok(output) => {
                let roots = Roots { state: output.state_root, outbox: output.outbox_root };
                Ok((start, Verdict { batch: hash, output: output.hash(hash), outcome: Ok(roots) }))
            }
            Err(ExecuteBatchError::Invalid(error)) => Ok(invalid(error)),
            Err(ExecuteBatchError::Incomplete(what)) => Err(InputError::Incomplete(what)),
            Err(ExecuteBatchError::Database(error)) => Err(error.into()),
        }
    }

    /// Whether L1 can have committed this batch after its parent.
    fn follows(&self, (parent, parent_hash): (&Committed, B256), batch: &Committed) -> Result<(), InputError> {
        let (parent, batch) = (&parent.header, &batch.header);
        let checks = [
            ("the index", parent.index.checked_add(1) == Some(batch.index)),
            ("the parent batch's hash", parent_hash == batch.parent_batch_hash),
            ("the chain id", batch.chain_id == self.spec.chain_id && parent.chain_id == batch.chain_id),
            ("the rollup", parent.rollup == batch.rollup),
            ("the config hash", batch.config_hash == self.spec.config_hash()),
            ("the era", parent.era <= batch.era),
            ("the parent block's hash", parent.last_block_hash == batch.parent_block_hash),
            ("the first block", parent.last_block.checked_add(1) == Some(batch.first_block)),
            ("the first message", parent.end_message == batch.first_message),
            ("the queue's hash before", parent.queue_hash_after == batch.queue_hash_before),
            ("the end message", batch.first_message <= batch.end_message),
            ("the L1 origin", parent.origin_number <= batch.origin_number),
        ];
        match checks.into_iter().find(|(_, follows)| !follows) {
            Some((field, _)) => Err(InputError::Differs(field)),
            None => Ok(()),
        }
    }
}

/// The origins that L1's headers are, if these lead to the batch's from its parent's. A parent without one has zeros there.
fn check_origins(
    parent: &BatchHeader,
    batch: &Batch,
    headers: &[Header],
    settlement: &Settlement,
) -> Result<Vec<L1Origin>, InputError> {
    let header = &batch.committed.header;
    let mut last = (parent.origin_number > 0).then_some((parent.origin_number, parent.origin_hash));
    let mut origins = Vec::with_capacity(headers.len());
    for l1 in headers {
        if let Some((number, hash)) = last
            && (number.checked_add(1) != Some(l1.number) || l1.parent_hash != hash)
        {
            return Err(InputError::Origins("one is not the next one's parent"));
        }
        let hash = l1.hash_slow();
        last = Some((l1.number, hash));
        let held = batch.messages.partition_point(|message| message.l1_block <= l1.number);
        // There are no more than the batch's range.
        let held = header.first_message.saturating_add(held as u64);
        origins.push(settlement.origin(l1, hash, held));
    }
    match last {
        Some((number, _)) if number != header.origin_number => Err(InputError::Origins("they end elsewhere")),
        Some((_, hash)) if !headers.is_empty() && hash != header.origin_hash => {
            Err(InputError::Origins("they end with another hash"))
        }
        _ => Ok(origins),
    }
}

/// The deposits that the batch's messages are, if the queue's hash is theirs.
fn check_messages(batch: &Batch, settlement: &Settlement) -> Result<Vec<TxDeposit>, InputError> {
    let header = &batch.committed.header;
    let mut hash = header.queue_hash_before;
    let mut index = header.first_message;
    let mut deposits = Vec::with_capacity(batch.messages.len());
    for message in &batch.messages {
        hash = message.queue_hash(hash, index);
        deposits.push(message.deposit(settlement.inbox, index));
        index = index.checked_add(1).ok_or(InputError::Messages)?;
    }
    let all = index == header.end_message && hash == header.queue_hash_after;
    if all { Ok(deposits) } else { Err(InputError::Messages) }
}

/// The senders of all signed transactions, in order.
fn recover(data: &BatchData) -> Vec<Option<Recovered>> {
    let transactions: Vec<&SignedTransaction> = data.blocks.iter().flat_map(|block| &block.transactions).collect();
    #[cfg(feature = "std")]
    {
        use rayon::prelude::*;
        transactions.into_par_iter().map(Recovered::new).collect()
    }
    #[cfg(not(feature = "std"))]
    transactions.into_iter().map(Recovered::new).collect()
}
