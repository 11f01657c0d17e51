//! Stepping in where a chain's operators leave a message from L1 waiting: docs/settlement.md, "Liveness".
//!
//! Once a message that no proven batch consumed is older than T2, anyone may commit a batch of queued messages alone, on the last proven batch, with a
//! proof in the same transaction. What was committed after that batch is replaced, and a new era begins.

use crate::{
    BlobOpening, Error, L1,
    blobs::opening,
    committer::{roots, single},
    contracts::{Inbox, ProofSystem, Rollup, ask},
    relayer::{Sidecar, sidecar},
    test_proofs::{Judged, prove},
    watcher::{Batch, L1State},
};
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolCall;
use jove_primitives::{
    ChainSpec,
    batch::{
        BatchHeader,
        hash::{MESSAGES_ALONE, output_hash},
    },
    spec::Settlement,
};
use jove_storage::View;

/// The oldest message that no proven batch consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The last batch with an accepted proof.
    pub proven: u64,
    /// From when on anyone may commit: seconds since the Unix epoch.
    pub overdue_at: u64,
}

/// The message that waits, by the contracts in the state of L1's head; nothing if none does.
///
/// # Errors
/// If L1 cannot be reached, or does not have these contracts.
pub async fn waiting(l1: &L1, settlement: &Settlement, state: &L1State) -> Result<Option<Waiting>, Error> {
    let proven = ask(l1, settlement.rollup, &Rollup::provenIndexCall {}).await?;
    let Some(batch) = state.batch(proven)? else { return Ok(None) };
    let first = batch.header.end_message;
    if first >= state.latest.messages {
        return Ok(None);
    }
    let since = ask(l1, settlement.inbox, &Inbox::timestampOfCall { index: first }).await?;
    let delay = ask(l1, settlement.rollup, &Rollup::messageDelayCall {}).await?;
    let overdue_at = since.saturating_add(delay.to()).saturating_to();
    Ok(Some(Waiting { proven, overdue_at }))
}

/// The transaction that commits all blocks after `parent`, and proves them to test verifiers.
#[derive(Clone, Debug)]
pub struct Rescue {
    /// The call of `Rollup`.
    pub call: Bytes,
    /// The blobs.
    pub sidecar: Sidecar,
    /// What is committed.
    pub header: BatchHeader,
}

/// Makes the batch of all blocks that follow `parent` in `view`: blocks of messages from L1 alone. The proof is by `system`, and pays `payout`. It takes a second.
///
/// # Errors
/// If the blocks are no batch, the store or the library of KZG fails.
pub fn rescue(
    view: &View,
    spec: &ChainSpec,
    state: &L1State,
    parent: &Batch,
    system: ProofSystem,
    payout: Address,
) -> Result<Rescue, Error> {
    let settlement = spec.settlement.as_ref().ok_or(Error::NoSettlement)?;
    let (request, blobs) = single(view, parent, spec.chain_id)?;
    let openings = blobs.iter().map(|blob| opening(blob.as_slice())).collect::<Result<Vec<BlobOpening>, _>>();
    let openings = openings.map_err(|error| Error::Kzg(error.to_string()))?;
    let queue_hash = |index| {
        let behind = Error::L1Behind { number: state.latest.block.number, finalized: request.originNumber };
        state.queue_hash(index)?.ok_or(behind)
    };
    let header = BatchHeader {
        version: MESSAGES_ALONE,
        era: state.latest.era + 1,
        chain_id: spec.chain_id,
        rollup: settlement.rollup,
        index: parent.header.index + 1,
        parent_batch_hash: parent.hash,
        parent_block_hash: parent.header.last_block_hash,
        last_block_hash: request.lastBlockHash,
        first_block: parent.header.last_block + 1,
        last_block: request.lastBlock,
        last_timestamp: request.lastTimestamp,
        first_message: parent.header.end_message,
        end_message: request.endMessage,
        queue_hash_before: queue_hash(parent.header.end_message)?,
        queue_hash_after: queue_hash(request.endMessage)?,
        origin_number: request.originNumber,
        origin_hash: request.originHash,
        config_hash: spec.config_hash(),
    };
    let start = match parent.settled {
        Some(settled) => settled.output,
        None => {
            let after = roots(view, parent.header.last_block)?;
            output_hash(parent.hash, parent.header.last_block_hash, after.state, after.outbox)
        }
    };
    let versioned: Vec<B256> = openings.iter().map(|opening| opening.versioned_hash).collect();
    let roots = Some(roots(view, header.last_block)?);
    let judged = Judged { header: &header, blobs: &versioned, openings: &openings, roots };
    let proof = prove(system, start, judged, payout);
    let call = Rollup::commitMessagesCall { request, proof }.abi_encode().into();
    Ok(Rescue { call, sidecar: sidecar(blobs)?, header })
}
