//! What L1 says of the chain: its queue of messages, its batches, and what is proven and final of them.
//!
//! The watcher reads the events of `Rollup` and `Inbox`. What L1 has finalized is applied once and kept in the store, under a cursor; what lies
//! above is read anew whenever L1's head is another, and kept in memory. So a reorganisation of L1 needs no undoing, and a restart goes on at the
//! cursor. Everybody else reads [`L1State`], which belongs to one L1 block and never changes.
//!
//! Events may be left out. So at the last finalized block and at L1's head the queue's rolling hash, computed from them, must be the contract's, and so must the last
//! batch, on whose hash all before it depend. If they are not at the former, what was applied since they last were is read again. No state of older L1 blocks is
//! asked for: nodes of L1 keep none.
//!
//! | key in the store | value, JSON |
//! |---|---|
//! | `l1/cursor` | [`Pointers`] |
//! | `l1/agreed` | [`Pointers`]: the cursor when it was last found to be the contracts' |
//! | `l1/batch/` index in 16 hexadecimal digits | [`Batch`]; above [`Pointers::head`] it is stale |
//! | `l1/message/` index, as above | [`Message`] |

use crate::{
    Error, L1,
    contracts::{Inbox, Phase, Rollup},
    l1::SealedHeader,
};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, TxKind};
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::{SolCall, SolEvent, SolEventInterface};
use jove_primitives::{
    ChainSpec,
    batch::hash::{BatchHeader, ORDINARY},
    l1::{L1Origin, QueueEntry},
    spec::Settlement,
    transaction::TxDeposit,
};
use jove_storage::Storage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// L1 blocks whose events are asked for at once.
const RANGE: u64 = 1_000;
/// The wait before events are read again that did not agree with the contracts; twice as long each time, up to a minute.
const RETREAT: Duration = Duration::from_millis(250);
const MAX_DOUBLINGS: u32 = 8;

/// An L1 block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L1Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp: u64,
}

impl From<&SealedHeader> for L1Block {
    fn from(header: &SealedHeader) -> Self {
        Self { number: header.number, hash: header.hash(), timestamp: header.timestamp }
    }
}

/// Where on L1 something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L1Place {
    /// Number of the block.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: B256,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The transaction.
    pub transaction_hash: B256,
}

impl L1Place {
    /// The block.
    pub fn block(&self) -> L1Block {
        L1Block { number: self.block_number, hash: self.block_hash, timestamp: self.timestamp }
    }
}

/// What is final of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinalBatch {
    /// Where it became final.
    pub place: L1Place,
    /// Its output.
    pub output: B256,
    /// State root after its last block.
    pub state_root: B256,
    /// Root of the messages to L1 after it.
    pub outbox_root: B256,
}

/// A committed batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// What its hash covers.
    pub header: BatchHeader,
    /// Versioned hashes of its blobs.
    pub blobs: Vec<B256>,
    /// Its hash.
    pub hash: B256,
    /// Where it was committed; genesis where the chain was opened.
    pub committed: L1Place,
    /// Where an enclave's proof was first accepted.
    pub attested: Option<L1Place>,
    /// Where a zero-knowledge proof was first accepted.
    pub proven: Option<L1Place>,
    /// Set once it is final by the contract's rule.
    pub settled: Option<FinalBatch>,
}

/// A message in L1's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The L1 block that it came in.
    pub l1_block: u64,
    /// The queue's rolling hash with it.
    pub queue_hash: B256,
    /// What it is on L2.
    pub deposit: TxDeposit,
}

impl Message {
    /// The entry of the queue, as L1 has hashed it.
    pub fn entry(&self) -> QueueEntry {
        QueueEntry::new(self.l1_block, &self.deposit)
    }
}

/// Where the chain stands on L1 at the end of an L1 block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pointers {
    /// The L1 block.
    pub block: L1Block,
    /// Whether the chain is open.
    pub open: bool,
    /// Whether the escape has begun: nothing becomes final any more.
    pub halted: bool,
    /// The last committed batch.
    pub head: u64,
    /// The last final batch.
    pub last_final: u64,
    /// How often queued messages alone were committed.
    pub era: u64,
    /// Messages in the queue.
    pub messages: u64,
    /// The queue's rolling hash.
    pub queue_hash: B256,
}

/// What L1 says of the chain, as of two of its blocks: the last finalized, and the last. Cheap to clone.
#[derive(Clone)]
pub struct L1State {
    storage: Storage,
    /// At the last L1 block that L1 has finalized.
    pub finalized: Pointers,
    /// At the last L1 block.
    pub latest: Pointers,
    overlay: Arc<Overlay>,
}

/// What the L1 blocks after the cursor change.
#[derive(Clone, Default)]
struct Overlay {
    batches: BTreeMap<u64, Batch>,
    /// Those from [`L1State::finalized`]'s count on.
    messages: Vec<Message>,
}

impl L1State {
    /// The committed batch at `index`; none above the head.
    ///
    /// # Errors
    /// If the store fails.
    pub fn batch(&self, index: u64) -> Result<Option<Batch>, Error> {
        if !self.latest.open || index > self.latest.head {
            return Ok(None);
        }
        match self.overlay.batches.get(&index) {
            Some(batch) => Ok(Some(batch.clone())),
            None => load(&self.storage, &batch_key(index)),
        }
    }

    /// The batch with L2 block `number`, if it is committed; genesis is batch 0's.
    ///
    /// # Errors
    /// If the store fails.
    pub fn batch_of_block(&self, number: u64) -> Result<Option<Batch>, Error> {
        let last = |index| Ok::<_, Error>(self.batch(index)?.map_or(0, |batch| batch.header.last_block));
        if !self.latest.open || last(self.latest.head)? < number {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.latest.head);
        while low < high {
            let middle = low + (high - low) / 2;
            if last(middle)? < number {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.batch(low)
    }

    /// The message at `index` of the queue.
    ///
    /// # Errors
    /// If the store fails.
    pub fn message(&self, index: u64) -> Result<Option<Message>, Error> {
        if index >= self.latest.messages {
            return Ok(None);
        }
        match index.checked_sub(self.finalized.messages) {
            Some(above) => Ok(self.overlay.messages.get(above as usize).cloned()),
            None => load(&self.storage, &message_key(index)),
        }
    }

    /// How many messages came in L1 blocks up to `l1_block`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn messages_up_to(&self, l1_block: u64) -> Result<u64, Error> {
        let (mut low, mut high) = (0, self.latest.messages);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.message(middle)?.is_some_and(|message| message.l1_block <= l1_block) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The queue's rolling hash before the message at `index`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn queue_hash(&self, index: u64) -> Result<Option<B256>, Error> {
        match index.checked_sub(1) {
            None => Ok(Some(B256::ZERO)),
            Some(last) => Ok(self.message(last)?.map(|message| message.queue_hash)),
        }
    }

    /// The messages from `first` up to, without, `end`, as L2 deposits. Fewer if the queue has no more.
    ///
    /// # Errors
    /// If the store fails.
    pub fn deposits(&self, first: u64, end: u64) -> Result<Vec<TxDeposit>, Error> {
        let messages = (first..end).map_while(|index| self.message(index).transpose());
        messages.map(|message| message.map(|message| message.deposit)).collect()
    }

    /// The last L2 blocks that are committed, and that are final in a finalized L1 block.
    ///
    /// # Errors
    /// If the store fails.
    pub fn tags(&self) -> Result<(u64, u64), Error> {
        let last = |index| Ok::<_, Error>(self.batch(index)?.map_or(0, |batch| batch.header.last_block));
        let safe = last(self.latest.head)?;
        Ok((safe, last(self.finalized.last_final.min(self.latest.head))?))
    }
}

/// The L1 origin that an L1 block is, with so many messages in the queue at its end.
pub fn origin(settlement: &Settlement, header: &SealedHeader, messages: u64) -> L1Origin {
    settlement.origin(header, header.hash(), messages)
}

/// Batch 0.
pub fn genesis_batch(spec: &ChainSpec, settlement: &Settlement, genesis: B256) -> BatchHeader {
    BatchHeader {
        version: ORDINARY,
        chain_id: spec.chain_id,
        rollup: settlement.rollup,
        last_block_hash: genesis,
        config_hash: spec.config_hash(),
        ..Default::default()
    }
}

/// Follows L1.
pub struct Watcher {
    l1: L1,
    spec: Arc<ChainSpec>,
    settlement: Settlement,
    genesis: B256,
    storage: Storage,
    finalized: Pointers,
    /// The last of these that agreed with the contracts.
    agreed: Pointers,
    /// How often in a row it went back there.
    retreats: u32,
    /// Whether L1 was found to be the chain's.
    checked: bool,
    sender: watch::Sender<L1State>,
}

impl Watcher {
    /// A watcher of the chain with this spec and genesis hash, which goes on where the one before it with this store stopped. L1 is not asked yet.
    ///
    /// # Errors
    /// If the spec names no L1, or the store fails.
    pub fn new(l1: L1, spec: Arc<ChainSpec>, genesis: B256, storage: Storage) -> Result<Self, Error> {
        let settlement = spec.settlement.clone().ok_or(Error::NoSettlement)?;
        let before = L1Block { number: settlement.block.saturating_sub(1), ..Default::default() };
        let before = Pointers { block: before, ..Default::default() };
        let finalized = load(&storage, CURSOR_KEY)?.unwrap_or(before);
        let agreed = load(&storage, AGREED_KEY)?.unwrap_or(before);
        // What was read after that is not checked, and may be wrong.
        let known = if finalized == agreed { agreed } else { before };
        let state = L1State { storage: storage.clone(), finalized: known, latest: known, overlay: Arc::default() };
        let sender = watch::Sender::new(state);
        let (retreats, checked) = Default::default();
        Ok(Self { l1, spec, settlement, genesis, storage, finalized, agreed, retreats, checked, sender })
    }

    /// What L1 says, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<L1State> {
        self.sender.subscribe()
    }

    /// Reads what is new on L1 and publishes it. Says whether anything was.
    ///
    /// # Errors
    /// If L1 cannot be reached, says something else than what its contracts do, or reorganised while it was read: try again.
    /// [`Error::WrongL1`] if the node is on another chain than the spec says. If the store fails.
    pub async fn poll(&mut self) -> Result<bool, Error> {
        if !self.checked {
            let (found, expected) = (self.l1.chain_id().await?, self.settlement.chain_id);
            if found != expected {
                return Err(Error::WrongL1 { found, expected });
            }
            self.checked = true;
        }
        let head = self.l1.header(BlockNumberOrTag::Latest).await?.ok_or(Error::UnknownL1Block(0))?;
        let finalized = self.l1.header(BlockNumberOrTag::Finalized).await?;
        let finalized = finalized.filter(|finalized| finalized.number > self.finalized.block.number);
        if head.hash() == self.sender.borrow().latest.block.hash && finalized.is_none() {
            return Ok(false);
        }
        if let Some(finalized) = finalized {
            if let Err(error) = self.follow_finalized(&finalized).await {
                return Err(self.retreat(error).await?);
            }
            match self.check(&self.finalized, &Overlay::default(), BlockId::from(finalized.hash())).await {
                Ok(()) => self.agree()?,
                Err(error) if is_left_out(&error) => return Err(self.retreat(error).await?),
                // Where L1 has not finalized anything for long, its nodes have no state of that block: the head must do.
                Err(error) => tracing::debug!(%error, "the contracts cannot be asked at the finalized block"),
            }
        }
        if head.number < self.finalized.block.number {
            return Err(Error::L1Behind { number: head.number, finalized: self.finalized.block.number });
        }
        let read = self.read(self.finalized, &head).await;
        let checked = match read {
            Ok((latest, overlay)) => {
                self.check(&latest, &overlay, BlockId::from(head.hash())).await.map(|()| (latest, overlay))
            }
            Err(error) => Err(error),
        };
        let (latest, overlay) = match checked {
            Ok(checked) => checked,
            Err(error) => return Err(self.retreat(error).await?),
        };
        self.agree()?;
        let storage = self.storage.clone();
        let state = L1State { storage, finalized: self.finalized, latest, overlay: Arc::new(overlay) };
        self.sender.send_replace(state);
        Ok(true)
    }

    /// What is kept is what the contracts have.
    fn agree(&mut self) -> Result<(), Error> {
        if self.finalized != self.agreed {
            self.storage.put_metas([(AGREED_KEY.to_owned(), to_json(&self.finalized))])?;
            self.agreed = self.finalized;
        }
        self.retreats = 0;
        Ok(())
    }

    /// Goes back to where what is kept was what the contracts have, if the error says that it is not, and it is not known to be so further on: after a while, as L1's
    /// node is asked for all of it again. The error.
    async fn retreat(&mut self, error: Error) -> Result<Error, Error> {
        if is_left_out(&error) && self.finalized != self.agreed {
            self.storage.put_metas([(CURSOR_KEY.to_owned(), to_json(&self.agreed))])?;
            self.finalized = self.agreed;
            tracing::warn!(%error, block = self.agreed.block.number, "L1's events are read again from here");
            tokio::time::sleep(RETREAT * (1 << self.retreats.min(MAX_DOUBLINGS))).await;
            self.retreats += 1;
        }
        Ok(error)
    }

    /// Applies and keeps what lies between the cursor and `finalized`.
    async fn follow_finalized(&mut self, finalized: &SealedHeader) -> Result<(), Error> {
        while self.finalized.block.number < finalized.number {
            let number = finalized.number.min(self.finalized.block.number + RANGE);
            let header = match number == finalized.number {
                true => finalized.clone(),
                false => self.l1.header(number).await?.ok_or(Error::UnknownL1Block(number))?,
            };
            let (pointers, overlay) = self.read(self.finalized, &header).await?;
            let first = self.finalized.messages;
            let batches = overlay.batches.iter().map(|(index, batch)| (batch_key(*index), to_json(batch)));
            let messages = overlay.messages.iter().zip(first..);
            let messages = messages.map(|(message, index)| (message_key(index), to_json(message)));
            let cursor = [(CURSOR_KEY.to_owned(), to_json(&pointers))];
            self.storage.put_metas(batches.chain(messages).chain(cursor))?;
            self.finalized = pointers;
            tracing::debug!(l1_block = number, batches = pointers.head, messages = pointers.messages, "L1 finalized");
        }
        Ok(())
    }

    /// What the blocks after `from` up to `head` say.
    async fn read(&self, from: Pointers, head: &SealedHeader) -> Result<(Pointers, Overlay), Error> {
        let mut overlay = Overlay::default();
        let mut pointers = from;
        let (mut number, mut length) = (from.block.number + 1, RANGE);
        while number <= head.number {
            let last = head.number.min(number + length - 1);
            let filter = Filter::new()
                .address(vec![self.settlement.rollup, self.settlement.inbox])
                .from_block(number)
                .to_block(last);
            let logs = match self.l1.logs(&filter).await {
                // Too many events, in the node's own words.
                Err(Error::Rpc { .. } | Error::TooLarge { .. }) if length > 1 => {
                    length /= 2;
                    continue;
                }
                logs => logs?,
            };
            for log in logs {
                self.apply(&mut pointers, &mut overlay, &log).await?;
            }
            number = last + 1;
        }
        pointers.block = head.into();
        // All of it was of one chain.
        if self.l1.header(head.number).await?.map(|now| now.hash()) != Some(head.hash()) {
            return Err(Error::L1Reorganised(head.number));
        }
        Ok((pointers, overlay))
    }

    /// Checks that the contracts stand at a block where their events say: no message, commit, drop or era was left out.
    async fn check(&self, pointers: &Pointers, overlay: &Overlay, block: BlockId) -> Result<(), Error> {
        async fn read<C: SolCall>(watcher: &Watcher, call: C, block: BlockId) -> Result<C::Return, Error> {
            let answer = watcher.l1.call(watcher.settlement.rollup, call.abi_encode().into(), block).await?;
            C::abi_decode_returns(&answer).map_err(|_| Error::NotTheContracts("Rollup"))
        }
        if !pointers.open {
            return match read(self, Rollup::phaseCall {}, block).await {
                Ok(0) => Ok(()),
                Ok(_) => Err(Error::Batches { block: pointers.block.number, found: 0, head: pointers.head }),
                // There may be no contract yet, or another that holds its place.
                Err(Error::NotTheContracts(_)) => Ok(()),
                Err(error) if error.revert().is_some() => Ok(()),
                Err(error) => Err(error),
            };
        }
        let call = |data: Vec<u8>| self.l1.call(self.settlement.inbox, Bytes::from(data), block);
        let length = call(Inbox::lengthCall {}.abi_encode()).await?;
        let length = Inbox::lengthCall::abi_decode_returns(&length).map_err(|_| Error::NotTheContracts("Inbox"))?;
        let count = pointers.messages;
        let hash = match call(Inbox::queueHashCall { count }.abi_encode()).await {
            Ok(hash) => Inbox::queueHashCall::abi_decode_returns(&hash).ok(),
            // There are not so many.
            Err(error) if error.revert().is_some() => None,
            Err(error) => return Err(error),
        };
        if length != count || hash != Some(pointers.queue_hash) {
            return Err(Error::Queue { block: pointers.block.number, found: count, length });
        }
        let head = read(self, Rollup::headIndexCall {}, block).await?;
        let last_final = read(self, Rollup::finalIndexCall {}, block).await?;
        let era = u64::from(read(self, Rollup::eraCall {}, block).await?);
        let halted = read(self, Rollup::phaseCall {}, block).await? == Phase::Halted as u8;
        let found = (pointers.head, pointers.last_final, pointers.era, pointers.halted);
        let hash = read(self, Rollup::batchAtCall { index: head }, block).await?.batchHash;
        let known = self.known(overlay, head)?.map(|batch| batch.hash);
        if found == (head, last_final, era, halted) && known == Some(hash) {
            return Ok(());
        }
        Err(Error::Batches { block: pointers.block.number, found: pointers.head, head })
    }

    async fn apply(&self, pointers: &mut Pointers, overlay: &mut Overlay, log: &Log) -> Result<(), Error> {
        if log.address() == self.settlement.inbox {
            if let Ok(event) = Inbox::MessageQueued::decode_log(&log.inner) {
                self.queue(pointers, overlay, &event.data, log.block_number.unwrap_or(0))?;
            }
            return Ok(());
        }
        let Ok(event) = Rollup::RollupEvents::decode_log(&log.inner) else { return Ok(()) };
        let place = self.place(log).await?;
        use Rollup::RollupEvents as Event;
        match event.data {
            Event::Opened(event) => {
                let header = genesis_batch(&self.spec, &self.settlement, self.genesis);
                let hash = header.hash(&[]);
                if hash != event.batchHash {
                    return Err(Error::WrongChain);
                }
                let output = jove_primitives::batch::hash::output_hash(
                    hash,
                    self.genesis,
                    event.genesis.stateRoot,
                    event.genesis.outboxRoot,
                );
                let (state_root, outbox_root) = (event.genesis.stateRoot, event.genesis.outboxRoot);
                let settled = Some(FinalBatch { place, output, state_root, outbox_root });
                let batch =
                    Batch { header, blobs: Vec::new(), hash, committed: place, attested: None, proven: None, settled };
                overlay.batches.insert(0, batch);
                pointers.open = true;
            }
            Event::BatchCommitted(event) => {
                let header = BatchHeader::from(&event.batch);
                let hash = header.hash(&event.blobs);
                if hash != event.batchHash || header.index != event.index {
                    return Err(Error::NotTheContracts("Rollup"));
                }
                let known = self.known(overlay, header.index)?.filter(|known| known.hash == hash);
                // The same batch may have been committed, proven and dropped before.
                let (attested, proven) = known.map_or((None, None), |known| (known.attested, known.proven));
                let batch =
                    Batch { header, blobs: event.blobs, hash, committed: place, attested, proven, settled: None };
                if header.index != pointers.head + 1 {
                    return Err(Error::Batches { block: place.block_number, found: pointers.head, head: header.index });
                }
                pointers.head = header.index;
                overlay.batches.insert(header.index, batch);
            }
            Event::BatchesDropped(event) => pointers.head = event.index.saturating_sub(1),
            Event::BatchFinal(event) => {
                // Each is final after the one before: none was left out.
                if event.index != pointers.last_final + 1 {
                    return Err(Error::Batches {
                        block: place.block_number,
                        found: pointers.last_final,
                        head: event.index,
                    });
                }
                let settled = FinalBatch {
                    place,
                    output: event.output,
                    state_root: event.stateRoot,
                    outbox_root: event.outboxRoot,
                };
                self.edit(overlay, event.index, |batch| batch.settled = Some(settled))?;
                pointers.last_final = event.index;
            }
            Event::ProofAccepted(event) => {
                for index in event.first..=event.last {
                    self.edit(overlay, index, |batch| {
                        let proof = if event.system == TEE { &mut batch.attested } else { &mut batch.proven };
                        proof.get_or_insert(place);
                    })?;
                }
            }
            Event::EraBegun(event) => pointers.era = event.era.into(),
            Event::EscapeStarted(_) => pointers.halted = true,
            Event::BatchInvalid(_) | Event::Initialized(_) | Event::Upgraded(_) => {}
        }
        Ok(())
    }

    /// A node that gives logs without times (it may) is asked for their blocks.
    async fn place(&self, log: &Log) -> Result<L1Place, Error> {
        let (block_number, block_hash) = (log.block_number.unwrap_or(0), log.block_hash.unwrap_or_default());
        let timestamp = match log.block_timestamp {
            Some(timestamp) => timestamp,
            None => {
                let header = self.l1.header(block_hash).await?;
                header.ok_or(Error::L1Reorganised(block_number))?.timestamp
            }
        };
        let transaction_hash = log.transaction_hash.unwrap_or_default();
        Ok(L1Place { block_number, block_hash, timestamp, transaction_hash })
    }

    fn queue(
        &self,
        pointers: &mut Pointers,
        overlay: &mut Overlay,
        event: &Inbox::MessageQueued,
        l1_block: u64,
    ) -> Result<(), Error> {
        let message = message(self.settlement.inbox, pointers.queue_hash, event, l1_block);
        let message = message.filter(|_| event.index == pointers.messages).ok_or(Error::NotTheContracts("Inbox"))?;
        pointers.messages += 1;
        pointers.queue_hash = message.queue_hash;
        overlay.messages.push(message);
        Ok(())
    }

    fn known(&self, overlay: &Overlay, index: u64) -> Result<Option<Batch>, Error> {
        match overlay.batches.get(&index) {
            Some(batch) => Ok(Some(batch.clone())),
            None => load(&self.storage, &batch_key(index)),
        }
    }

    fn edit(&self, overlay: &mut Overlay, index: u64, edit: impl FnOnce(&mut Batch)) -> Result<(), Error> {
        let mut batch = self.known(overlay, index)?.ok_or(Error::NotTheContracts("Rollup"))?;
        edit(&mut batch);
        overlay.batches.insert(index, batch);
        Ok(())
    }
}

/// Whether an error says that events were left out.
fn is_left_out(error: &Error) -> bool {
    matches!(error, Error::Queue { .. } | Error::Batches { .. } | Error::NotTheContracts(_))
}

/// `ProofSystem.Tee` in `Proofs`.
const TEE: u8 = 0;

const CURSOR_KEY: &str = "l1/cursor";
const AGREED_KEY: &str = "l1/agreed";

fn batch_key(index: u64) -> String {
    format!("l1/batch/{index:016x}")
}

fn message_key(index: u64) -> String {
    format!("l1/message/{index:016x}")
}

fn load<T: DeserializeOwned>(storage: &Storage, key: &str) -> Result<Option<T>, Error> {
    let Some(bytes) = storage.meta(key)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|_| Error::Kept(key.to_owned()))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // These types have no maps and no failing serializers.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The L2 deposit of an entry of the queue, and the rolling hash with it; nothing if there is no such ETH.
fn message(inbox: Address, before: B256, event: &Inbox::MessageQueued, l1_block: u64) -> Option<Message> {
    let entry = QueueEntry {
        l1_block,
        from: event.from,
        to: if event.isCreation { TxKind::Create } else { TxKind::Call(event.to) },
        mint: event.mint.try_into().ok()?,
        value: event.value,
        gas: event.gas,
        data: event.data.clone(),
    };
    let queue_hash = entry.queue_hash(before, event.index);
    Some(Message { l1_block, queue_hash, deposit: entry.deposit(inbox, event.index) })
}

impl From<&Rollup::Batch> for BatchHeader {
    fn from(batch: &Rollup::Batch) -> Self {
        Self {
            version: batch.version,
            era: batch.era,
            chain_id: batch.chainId,
            rollup: batch.rollup,
            index: batch.index,
            parent_batch_hash: batch.parentBatchHash,
            parent_block_hash: batch.parentBlockHash,
            last_block_hash: batch.lastBlockHash,
            first_block: batch.firstBlock,
            last_block: batch.lastBlock,
            last_timestamp: batch.lastTimestamp,
            first_message: batch.firstMessage,
            end_message: batch.endMessage,
            queue_hash_before: batch.queueHashBefore,
            queue_hash_after: batch.queueHashAfter,
            origin_number: batch.originNumber,
            origin_hash: batch.originHash,
            config_hash: batch.configHash,
        }
    }
}

impl From<BatchHeader> for Rollup::Batch {
    fn from(header: BatchHeader) -> Self {
        Self {
            version: header.version,
            era: header.era,
            chainId: header.chain_id,
            rollup: header.rollup,
            index: header.index,
            parentBatchHash: header.parent_batch_hash,
            parentBlockHash: header.parent_block_hash,
            lastBlockHash: header.last_block_hash,
            firstBlock: header.first_block,
            lastBlock: header.last_block,
            lastTimestamp: header.last_timestamp,
            firstMessage: header.first_message,
            endMessage: header.end_message,
            queueHashBefore: header.queue_hash_before,
            queueHashAfter: header.queue_hash_after,
            originNumber: header.origin_number,
            originHash: header.origin_hash,
            configHash: header.config_hash,
        }
    }
}
