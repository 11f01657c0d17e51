//! Stepping in where a chain's operators do not do their work: docs/settlement.md, "Liveness". Anyone may then commit a batch, with a proof in the same transaction.
//!
//! - T1: the operators have not committed in time. A certified batch follows the last one.
//! - T2: a message that no proven batch consumed is older. A batch of queued messages alone follows the last proven one; what was committed after that is replaced,
//!   and a new era begins.

use crate::{
    BlobOpening, Error, L1,
    blobs::opening,
    committer::{Commit, roots, single},
    contracts::{Inbox, ProofSystem, Rollup, ask},
    relayer::{Sidecar, sidecar},
    test_proofs::{Judged, Roots, prove, with_proof},
    watcher::{Batch, L1Place, L1State},
};
use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolCall;
use jove_primitives::{
    ChainSpec,
    batch::{
        BatchHeader,
        hash::{MESSAGES_ALONE, ORDINARY, output_hash},
    },
    spec::Settlement,
};
use jove_storage::View;
use std::sync::Arc;

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

/// The operators' silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// The last batch with an accepted proof: a proof starts from one.
    pub proven: u64,
    /// From when on anyone may commit certified batches: seconds since the Unix epoch.
    pub silent_at: u64,
}

/// How silent the operators are, by the contracts in the state of L1's head.
///
/// # Errors
/// If L1 cannot be reached, or does not have these contracts.
pub async fn silent(l1: &L1, settlement: &Settlement) -> Result<Silent, Error> {
    let proven = ask(l1, settlement.rollup, &Rollup::provenIndexCall {}).await?;
    let last = ask(l1, settlement.rollup, &Rollup::operatorAtCall {}).await?;
    let delay = ask(l1, settlement.rollup, &Rollup::silenceDelayCall {}).await?;
    Ok(Silent { proven, silent_at: last.to::<u64>().saturating_add(delay.to()) })
}

/// A batch that is not on L1, and is to be committed and proven in one transaction.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The batch as `Rollup` will have it, but for where.
    pub batch: Batch,
    /// The output that it starts from.
    pub start: B256,
    /// The blobs.
    pub sidecar: Arc<Sidecar>,
    openings: Vec<BlobOpening>,
    roots: Roots,
    request: Rollup::Commit,
    /// What certifies it; a batch of messages alone needs nothing.
    certificate: Option<Bytes>,
}

impl Ahead {
    /// The batch of all blocks that follow `parent` in `view`: blocks of messages from L1 alone. It takes a second.
    ///
    /// # Errors
    /// If the blocks are no batch, the store or the library of KZG fails.
    pub fn messages(view: &View, spec: &ChainSpec, state: &L1State, parent: &Batch) -> Result<Self, Error> {
        let (request, blobs) = single(view, parent, spec.chain_id)?;
        Self::new(view, spec, state, parent, (request, None), blobs)
    }

    /// A certified batch that follows `parent`, the last one on L1. It takes a second.
    ///
    /// # Errors
    /// If the store or the library of KZG fails.
    pub fn certified(
        view: &View,
        spec: &ChainSpec,
        state: &L1State,
        parent: &Batch,
        commit: Commit,
    ) -> Result<Self, Error> {
        Self::new(view, spec, state, parent, (commit.request, Some(commit.certificate)), commit.blobs)
    }

    fn new(
        view: &View,
        spec: &ChainSpec,
        state: &L1State,
        parent: &Batch,
        (request, certificate): (Rollup::Commit, Option<Bytes>),
        blobs: Vec<Blob>,
    ) -> Result<Self, Error> {
        let settlement = spec.settlement.as_ref().ok_or(Error::NoSettlement)?;
        let openings = blobs.iter().map(|blob| opening(blob.as_slice())).collect::<Result<Vec<BlobOpening>, _>>();
        let openings = openings.map_err(|error| Error::Kzg(error.to_string()))?;
        let queue_hash = |index| {
            let behind = Error::L1Behind { number: state.latest.block.number, finalized: request.originNumber };
            state.queue_hash(index)?.ok_or(behind)
        };
        let (version, era) = match certificate {
            Some(_) => (ORDINARY, state.latest.era),
            None => (MESSAGES_ALONE, state.latest.era + 1),
        };
        let header = BatchHeader {
            version,
            era,
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
        let hash = header.hash(&versioned);
        let committed = L1Place::default();
        let batch = Batch { header, blobs: versioned, hash, committed, attested: None, proven: None, settled: None };
        let roots = roots(view, header.last_block)?;
        let sidecar = Arc::new(sidecar(blobs)?);
        Ok(Self { batch, start, sidecar, openings, roots, request, certificate })
    }

    /// The contents of its blobs, 131,072 bytes each.
    pub fn contents(&self) -> Vec<Bytes> {
        self.sidecar.blobs.iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect()
    }

    fn judged(&self) -> Judged<'_> {
        let roots = Some(self.roots);
        Judged { header: &self.batch.header, blobs: &self.batch.blobs, openings: &self.openings, roots }
    }

    /// The statement of a proof that pays `payout`.
    pub fn statement(&self, payout: Address) -> B256 {
        self.judged().statement(self.start, payout)
    }

    /// The call of `Rollup` that commits and proves it, by a system's proof that pays `payout`; without one, by what that system's test verifier believes.
    pub fn call(&self, system: ProofSystem, payout: Address, proof: Option<Bytes>) -> Bytes {
        let (request, judged) = (self.request.clone(), self.judged());
        let proof = match proof {
            Some(proof) => with_proof(system, self.start, judged, payout, proof),
            None => prove(system, self.start, judged, payout),
        };
        match self.certificate.clone() {
            Some(certificate) => Rollup::commitInSilenceCall { request, certificate, proof }.abi_encode(),
            None => Rollup::commitMessagesCall { request, proof }.abi_encode(),
        }
        .into()
    }
}
