//! `jove_`: how far a transaction has climbed, what L1 holds of the chain, and what holds it up.

use crate::verify::BatchProof;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use jove_avc::{WEIGHT_ONE, codec::Wire as _};
use jove_consensus::{Consensus, Kept};
use jove_primitives::{
    header::time_ms,
    l1::{L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
};
use jove_rpc::{Extension, ExtensionError};
use jove_sequencer::{Effects, Node};
use jove_settlement::{
    outbox::{self, FinalRoots},
    status::Handle,
    watcher::{Batch, L1Block, L1Place, L1State, Pointers},
};
use jove_storage::{StorageError, View};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};

/// What the methods read.
#[derive(Clone)]
struct Ladder {
    node: Arc<Node>,
    settlement: Option<Handle>,
    consensus: Option<Arc<Consensus>>,
    /// The folder of proofs in zero knowledge.
    proofs: Option<Arc<PathBuf>>,
}

/// The methods of a node that settles by `settlement`, if it does.
pub(crate) fn methods(
    node: Arc<Node>,
    settlement: Option<Handle>,
    consensus: Option<Arc<Consensus>>,
    proofs: Option<Arc<PathBuf>>,
) -> Vec<Extension> {
    let ladder = Ladder { node, settlement, consensus, proofs };
    let method = |name, run: fn(&Ladder, Vec<Value>) -> Result<Value, Failure>| {
        let ladder = ladder.clone();
        Extension { name, run: Arc::new(move |params| run(&ladder, params).map_err(|failure| failure.0)) }
    };
    vec![
        method("jove_getFinality", |ladder, params| json(ladder.finality(args::<1, B256>(params)?)?)),
        method("jove_getBatch", |ladder, params| json(ladder.batch(args::<1, Selector>(params)?)?)),
        method("jove_getEffects", |ladder, params| json(ladder.effects(&params)?)),
        method("jove_getBatchProof", |ladder, params| json(ladder.batch_proof(args::<1, Selector>(params)?)?)),
        method("jove_syncStatus", |ladder, params| ladder.status(params)),
        method("jove_getWithdrawalProof", |ladder, params| json(ladder.withdrawal_proof(params)?)),
        method("jove_getCheckpoint", |ladder, params| json(ladder.checkpoint(args::<1, _>(params)?)?)),
        method("jove_validators", |ladder, params| json(ladder.validators(params)?)),
    ]
}

/// Why a method has no answer.
struct Failure(ExtensionError);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(ExtensionError::Internal(error.to_string()))
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure(ExtensionError::Params(message.into())))
}

fn json(answer: impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(answer)?)
}

/// The first parameter, of at most so many.
fn args<const MOST: usize, T: DeserializeOwned>(params: Vec<Value>) -> Result<T, Failure> {
    if params.len() > MOST {
        return refuse(format!("too many arguments, want at most {MOST}"));
    }
    argument(params.first(), 0)
}

fn argument<T: DeserializeOwned>(value: Option<&Value>, index: usize) -> Result<T, Failure> {
    let Some(value) = value else { return refuse(format!("missing value for required argument {index}")) };
    T::deserialize(value).or_else(|error| refuse(format!("invalid argument {index}: {error}")))
}

impl Ladder {
    fn settlement(&self) -> Option<(&Handle, L1State)> {
        let handle = self.settlement.as_ref()?;
        let l1 = handle.l1.borrow().clone();
        Some((handle, l1))
    }
}

/// A rung of the ladder that was reached. `at` is in milliseconds since the Unix epoch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rung {
    at: u64,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Place {
    L2 { block_number: u64, block_hash: B256 },
    L1 { l1_block_number: u64, l1_block_hash: B256, l1_transaction_hash: B256 },
    Checkpoint { height: u64, digest: B256 },
}

impl From<L1Place> for Rung {
    fn from(place: L1Place) -> Self {
        let L1Place { block_number, block_hash, timestamp, transaction_hash } = place;
        let place = Place::L1 {
            l1_block_number: block_number,
            l1_block_hash: block_hash,
            l1_transaction_hash: transaction_hash,
        };
        Self { at: timestamp.saturating_mul(1000), place }
    }
}

#[derive(Default, Serialize)]
struct Rungs {
    executed: Option<Rung>,
    /// Absent on a chain without validators.
    #[serde(skip_serializing_if = "Option::is_none")]
    certified: Option<Option<Rung>>,
    committed: Option<Rung>,
    attested: Option<Rung>,
    proven: Option<Rung>,
    r#final: Option<Rung>,
}

#[derive(Serialize)]
struct Finality {
    rung: &'static str,
    rungs: Rungs,
    batch: Option<u64>,
}

impl Ladder {
    /// The rungs of a transaction or block, by its hash; null for an unknown one. What was executed once and then withdrawn stands on none.
    fn finality(&self, hash: B256) -> Result<Option<Finality>, Failure> {
        let view = self.node.storage().view();
        let number = match view.transaction(hash)? {
            Some(position) => Some(position.block),
            None => view.block_number(hash)?,
        };
        let Some(number) = number else {
            let unwound = Finality { rung: "unwound", rungs: Rungs::default(), batch: None };
            return Ok(view.is_unwound(hash)?.then_some(unwound));
        };
        let header = view.header(number)?.ok_or(StorageError::UnknownBlock(number))?;
        let block_hash = view.block_hash(number)?.ok_or(StorageError::UnknownBlock(number))?;
        let at = time_ms(&header)?;
        let executed = Rung { at, place: Place::L2 { block_number: number, block_hash } };
        let mut rungs = Rungs { executed: Some(executed), ..Default::default() };
        rungs.certified = self.certified(number)?;
        let reached = if matches!(rungs.certified, Some(Some(_))) { "certified" } else { "executed" };
        let Some((handle, l1)) = self.settlement() else {
            return Ok(Some(Finality { rung: reached, rungs, batch: None }));
        };
        let batch = committed(&view, &l1, number)?.map(|batch| handle.with_evidence(batch));
        if let Some(batch) = &batch {
            rungs.committed = Some(batch.committed.into());
            rungs.attested = batch.attested.map(Into::into);
            rungs.proven = batch.proven.map(Into::into);
            rungs.r#final = final_at(batch, &l1).map(Into::into);
        }
        let rung = match (&rungs.r#final, &rungs.committed) {
            (Some(_), _) => "final",
            (None, Some(_)) => "committed",
            (None, None) => reached,
        };
        Ok(Some(Finality { rung, rungs, batch: batch.map(|batch| batch.header.index) }))
    }
}

impl Ladder {
    /// When the checkpoint that holds a block became final here; none on a chain without validators.
    fn certified(&self, number: u64) -> Result<Option<Option<Rung>>, Failure> {
        let Some(consensus) = &self.consensus else { return Ok(None) };
        let kept = consensus.store().of_block(number)?;
        // The chain may be on another branch for a moment, which it leaves.
        let view = self.node.storage().view();
        let is_here = |kept: &Kept| {
            Ok::<_, StorageError>(view.block_hash(kept.checkpoint.last_number)? == Some(kept.checkpoint.last_hash))
        };
        let kept = match kept {
            Some(kept) if is_here(&kept)? => Some(kept),
            _ => None,
        };
        Ok(Some(kept.map(|Kept { at_ms, digest, checkpoint, .. }| Rung {
            at: at_ms,
            place: Place::Checkpoint { height: checkpoint.height, digest },
        })))
    }

    /// A final checkpoint of the era: by height, by tag (`latest`), or by one of its blocks; with the first FinalCert from it on, which certifies it. Null if there is none.
    fn checkpoint(&self, selector: Selector) -> Result<Option<Value>, Failure> {
        let Some(consensus) = &self.consensus else { return refuse("this chain has no validators") };
        let store = consensus.store();
        let kept = match selector {
            Selector::Index(height) => store.at_height(height)?,
            Selector::Quantity(height) => store.at_height(height.to())?,
            Selector::Block { block_number } => store.of_block(block_number.to())?,
            Selector::Tag(BlockNumberOrTag::Latest) => store.last()?,
            Selector::Tag(tag) => return refuse(format!("no checkpoint has the tag {tag}")),
        };
        let Some(kept) = kept else { return Ok(None) };
        let by = store.certified_from(kept.checkpoint.height)?;
        let checkpoint = &kept.checkpoint;
        Ok(Some(json!({
            "era": checkpoint.era,
            "height": checkpoint.height,
            "digest": kept.digest,
            "at": kept.at_ms,
            "epoch": checkpoint.epoch,
            "view": checkpoint.view,
            "proposer": checkpoint.proposer,
            "parent": checkpoint.parent,
            "lastBlock": checkpoint.last_number,
            "lastBlockHash": checkpoint.last_hash,
            "stateRoot": checkpoint.state_root,
            "l1Origin": { "number": checkpoint.origin.number, "hash": checkpoint.origin.hash },
            "validatorSet": { "version": checkpoint.set_version, "hash": checkpoint.set_hash, "weightRoot": checkpoint.weight_root },
            "preimage": Bytes::from(checkpoint.encode()),
            "certificate": by.as_ref().and_then(|by| by.certificate.as_ref().map(|certificate| json!({
                "height": by.checkpoint.height,
                "digest": by.digest,
                "epoch": certificate.epoch,
                "view": certificate.view,
                "signers": certificate.signers.iter().collect::<Vec<_>>(),
                "signature": Bytes::copy_from_slice(&certificate.signature),
            }))),
        })))
    }

    /// The validators of an epoch of the era that was entered, the current one without; and where consensus stands. Null for an epoch that was not.
    fn validators(&self, params: Vec<Value>) -> Result<Option<Value>, Failure> {
        let Some(consensus) = &self.consensus else { return refuse("this chain has no validators") };
        let epoch: Option<U64> = match params.first() {
            None | Some(Value::Null) => None,
            Some(epoch) => Some(argument(Some(epoch), 0)?),
        };
        let store = consensus.store();
        let anchor = match epoch {
            Some(epoch) => store.anchor(epoch.to())?,
            None => store.last_anchor()?,
        };
        let Some(anchor) = anchor else { return Ok(None) };
        let status = consensus.status();
        let members = anchor.set.validators().iter().enumerate().map(|(index, one)| {
            json!({
                "index": index,
                "id": one.id,
                "key": Bytes::copy_from_slice(&one.key),
                "vrf": B256::from(one.vrf),
                "weight": f64::from(one.weight) / f64::from(WEIGHT_ONE),
                "sequencer": one.sequencer,
            })
        });
        Ok(Some(json!({
            "era": consensus.era(),
            "epoch": anchor.epoch,
            "setHash": anchor.set.hash(),
            "quorum": anchor.set.quorum(),
            "validators": members.collect::<Vec<_>>(),
            "status": {
                "epoch": status.epoch,
                "view": status.view,
                "leader": status.leader,
                "leading": status.leading,
                "index": status.index,
                "height": status.height,
                "block": status.block,
                "signers": status.signers,
                "skipped": status.skipped,
                "whySkipped": status.why_skipped,
                "halted": status.halted,
                "failed": status.failed,
            },
        })))
    }
}

/// The batch that has a block of this node's chain: not one of other blocks with such a number.
fn committed(view: &View, l1: &L1State, number: u64) -> Result<Option<Batch>, Failure> {
    let Some(batch) = l1.batch_of_block(number)? else { return Ok(None) };
    let is_ours = view.block_hash(batch.header.last_block)? == Some(batch.header.last_block_hash);
    Ok(is_ours.then_some(batch))
}

/// Where a batch became final, once L1 has finalized that.
fn final_at(batch: &Batch, l1: &L1State) -> Option<L1Place> {
    let place = batch.settled?.place;
    (place.block_number <= l1.finalized.block.number).then_some(place)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Selector {
    Index(u64),
    Quantity(U64),
    Tag(BlockNumberOrTag),
    Block {
        #[serde(rename = "blockNumber")]
        block_number: U64,
    },
}

impl Ladder {
    /// A committed batch: by index, by tag (`latest`, `safe`: the last committed; `finalized`: the last final; `earliest`: genesis), or by one of its L2
    /// blocks; null if there is none.
    fn batch(&self, selector: Selector) -> Result<Option<Batch>, Failure> {
        let Some((handle, l1)) = self.settlement() else { return Ok(None) };
        let index = match selector {
            Selector::Index(index) => index,
            Selector::Quantity(index) => index.to(),
            Selector::Block { block_number } => {
                let batch = l1.batch_of_block(block_number.to())?;
                return Ok(batch.map(|batch| handle.with_evidence(batch)));
            }
            Selector::Tag(BlockNumberOrTag::Latest | BlockNumberOrTag::Safe) => l1.latest.head,
            Selector::Tag(BlockNumberOrTag::Finalized) => l1.finalized.last_final,
            Selector::Tag(BlockNumberOrTag::Earliest) => 0,
            Selector::Tag(tag) => return refuse(format!("no batch has the tag {tag}")),
        };
        Ok(l1.batch(index)?.map(|batch| handle.with_evidence(batch)))
    }

    /// What is proven of a batch in zero knowledge, as `jove verify batch` takes it; null if this node has no proof of it.
    fn batch_proof(&self, selector: Selector) -> Result<Option<Value>, Failure> {
        let (Some(batch), Some(folder)) = (self.batch(selector)?, &self.proofs) else { return Ok(None) };
        Ok(BatchProof::kept(folder, batch.header.index, batch.hash)?)
    }
}

/// Most blocks, and most bytes after which no other is begun, of one answer about effects.
const EFFECTS_BLOCKS: u64 = 256;
const EFFECTS_BYTES: usize = 2 << 20;

impl Ladder {
    /// Consecutive blocks with what they did, RLP, from a number on: as many as one answer has room for, none from above the head.
    fn effects(&self, params: &[Value]) -> Result<Vec<Bytes>, Failure> {
        if params.len() > 2 {
            return refuse("too many arguments, want at most 2");
        }
        let (first, count): (U64, U64) = (argument(params.first(), 0)?, argument(params.get(1), 1)?);
        let (first, count) = (first.to::<u64>(), count.to::<u64>().min(EFFECTS_BLOCKS));
        let view = self.node.storage().view();
        let (mut list, mut bytes) = (Vec::new(), 0);
        for number in first..first.saturating_add(count) {
            let Some(effects) = Effects::of(&view, number)? else { break };
            let encoded = Bytes::from(alloy_rlp::encode(effects));
            bytes += encoded.len();
            list.push(encoded);
            if bytes >= EFFECTS_BYTES {
                break;
            }
        }
        Ok(list)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct L2Status {
    head: u64,
    head_hash: B256,
    head_at: u64,
    safe: u64,
    finalized: u64,
}

impl Ladder {
    /// Where the chain stands on L2 and on L1, which stage is blocked, since when and why, and what is owed.
    fn status(&self, params: Vec<Value>) -> Result<Value, Failure> {
        if !params.is_empty() {
            return refuse("too many arguments, want at most 0");
        }
        let node = &self.node;
        let (head, tags) = (node.head(), node.tags());
        let l2 = L2Status {
            head: head.header.number,
            head_hash: head.hash,
            head_at: head.time_ms,
            safe: tags.safe,
            finalized: tags.finalized,
        };
        let Some((handle, l1)) = self.settlement() else {
            return Ok(json!({ "l2": l2, "l1": null, "stages": {}, "detached": node.detached() }));
        };
        let view = node.storage().view();
        let state = view.state(view.head_number())?;
        let (origin, origin_at) = L1Origin::numbers(state.slot(L1_BLOCK, L1_NUMBER_SLOT)?);
        let queue = Queue::from_slot(state.slot(L1_BLOCK, L1_QUEUE_SLOT)?);
        let stage = |pointers: &Pointers| {
            let Pointers { block: L1Block { number, hash, timestamp }, head, last_final, era, messages, .. } =
                *pointers;
            json!({
                "number": number, "hash": hash, "timestamp": timestamp,
                "batches": head, "finalBatches": last_final, "era": era, "messages": messages,
            })
        };
        let backlog = *handle.backlog.lock();
        let unproven = *handle.unproven.lock();
        Ok(json!({
            "l2": l2,
            "l1": {
                "chainId": node.spec().settlement.as_ref().map(|settlement| settlement.chain_id),
                "latest": stage(&l1.latest),
                "finalized": stage(&l1.finalized),
                "origin": { "number": origin, "timestamp": origin_at },
                "messagesConsumed": queue.consumed,
                "open": l1.latest.open,
                "halted": l1.latest.halted,
            },
            "stages": handle.status.stages(),
            "rebuild": handle.progress(head.header.number),
            "detached": node.detached(),
            "debts": {
                "uncommitted": backlog.map(|backlog| json!({
                    "blocks": backlog.blocks, "bytes": backlog.bytes, "since": backlog.since_ms,
                })),
                "unproven": {
                    "batches": unproven.batches, "blocks": unproven.blocks, "bytes": unproven.bytes, "gas": unproven.gas,
                    "instructions": unproven.instructions(), "since": unproven.since_ms,
                },
                "limits": handle.limits,
                "closed": handle.debt(node.now_ms()),
            },
        }))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    nonce: u64,
    sender: Address,
    target: Address,
    value: U256,
    gas: u64,
    data: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithdrawalProof {
    message: Message,
    leaf: B256,
    batch: Option<u64>,
    /// `executed`, `committed` or `final`: the last two fields are there once it is final.
    status: &'static str,
    /// The batch whose outbox root the proof leads to: the last final one.
    r#final: Option<FinalRoots>,
    proof: Option<Vec<B256>>,
}

impl Ladder {
    /// The message to L1 that a transaction sent (the one at a position among them; the first without), and once its batch is final what
    /// `Outbox.execute` takes. Null if the transaction is unknown or sent none.
    fn withdrawal_proof(&self, params: Vec<Value>) -> Result<Option<WithdrawalProof>, Failure> {
        let position = match params.get(1) {
            None | Some(Value::Null) => 0,
            Some(position) => argument::<U64>(Some(position), 1)?.to::<usize>(),
        };
        let hash: B256 = args::<2, _>(params)?;
        let view = self.node.storage().view();
        let Some(at) = view.transaction(hash)? else { return Ok(None) };
        let block = view.block(at.block)?.ok_or(StorageError::UnknownBlock(at.block))?;
        let receipt = block.receipts.get(at.index as usize).ok_or(StorageError::UnknownBlock(at.block))?;
        let Some((message, leaf)) = receipt.logs.iter().filter_map(outbox::message).nth(position) else {
            return Ok(None);
        };
        let nonce = message.nonce;
        let message = Message {
            nonce: message.nonce,
            sender: message.sender,
            target: message.target,
            value: message.value,
            gas: message.gas,
            data: message.data,
        };
        let mut answer = WithdrawalProof { message, leaf, batch: None, status: "executed", r#final: None, proof: None };
        let Some((handle, l1)) = self.settlement() else { return Ok(Some(answer)) };
        let Some(batch) = committed(&view, &l1, at.block)? else { return Ok(Some(answer)) };
        answer.batch = Some(batch.header.index);
        answer.status = "committed";
        // The tree holds the messages of batches that are final on a finalized L1 block; the root of the last of them proves all that came before, and L1 knows it
        // longest. It needs no state, which may be pruned.
        let (reached, count) = handle.outbox.cursor()?;
        let last = l1.batch_of_block(reached)?.filter(|last| last.header.last_block == reached && at.block <= reached);
        let Some((header, settled)) = last.and_then(|last| Some((last.header, last.settled?))) else {
            return Ok(Some(answer));
        };
        let (root, proof) = handle.outbox.prove(nonce, count)?;
        if root != settled.outbox_root {
            return Err(jove_settlement::Error::Kept("tree of messages".into()).into());
        }
        let (index, last_block_hash) = (header.index, header.last_block_hash);
        let roots = FinalRoots { index, last_block_hash, state_root: settled.state_root, outbox_root: root };
        (answer.status, answer.r#final, answer.proof) = ("final", Some(roots), Some(proof.to_vec()));
        Ok(Some(answer))
    }
}
