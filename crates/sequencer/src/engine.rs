//! The engine: the one thread that seals blocks.

use crate::{
    MAX_READS_PER_SECOND,
    adopt::Adopted,
    derive::{Derived, DerivedBatch},
    import::{Candidate, Imported},
    node::{Amendment, Event, Head, NodeError, Shared, Tags, head},
    pool::{Returning, Sidecar},
    prune::{Horizon, Order, Pruner},
};
use alloy_consensus::{Header, Transaction as _};
use alloy_eips::{Typed2718, eip1559::BaseFeeParams};
use alloy_primitives::B256;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use jove_executor::{CodeCache, TrieReader};
use jove_primitives::{
    Account, ChangeSet, ExecutedBlock,
    header::{next_excess, time_ms},
    l1::{L1_MIX_HASH_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    transaction::{RecoveredTransaction, TxDeposit, deposit},
};
use jove_stf::{BlockContext, BlockExecutor, BlockOutput, ExecuteError, next_header, seal};
use jove_storage::StorageError;
use metrics::{counter, gauge, histogram};
use revm::bytecode::Bytecode;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Commands that may wait for the engine.
const COMMAND_BUFFER: usize = 1024;
/// Most blocks that one command may ask for.
const MAX_MINE: u64 = 10_000;
/// Blocks between two looks for history to forget.
const PRUNE_EVERY: u64 = 1_000;
/// Pause before another try after sealing failed.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between looks at transactions that wait for the base fee to fall, as it does with time.
const RECHECK: Duration = Duration::from_millis(100);

/// What others ask of the engine.
pub(crate) enum Command {
    /// The pool has work, or a setting changed.
    Wake,
    Stop,
    Mine {
        count: u64,
        interval: u64,
        reply: Reply<()>,
    },
    Snapshot {
        reply: Reply<u64>,
    },
    Revert {
        id: u64,
        reply: Reply<bool>,
    },
    Reorg {
        depth: u64,
        keep: bool,
        reply: Reply<()>,
    },
    SetNextTimestamp {
        seconds: u64,
        reply: Reply<()>,
    },
    SetInterval {
        seconds: Option<u64>,
        reply: Reply<()>,
    },
    Consume {
        /// Blocks above this one are withdrawn first.
        after: Option<u64>,
        origin: Option<L1Origin>,
        messages: Vec<TxDeposit>,
        reply: Reply<()>,
    },
    Derive {
        batch: Box<DerivedBatch>,
        reply: Reply<Derived>,
    },
    Adopt {
        blocks: Vec<Adopted>,
        last: B256,
        reply: Reply<()>,
    },
    Import {
        blocks: Vec<Candidate>,
        reply: Reply<Imported>,
    },
    /// Whether it leads.
    Lead {
        on: bool,
        reply: Reply<()>,
    },
    Unwind {
        number: u64,
        reply: Reply<()>,
    },
    SetTags {
        tags: Tags,
        reply: Reply<()>,
    },
    Amend {
        amendments: Vec<Amendment>,
        reply: Reply<()>,
    },
}

type Reply<T> = Sender<Result<T, NodeError>>;

pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    commands: Receiver<Command>,
    codes: CodeCache,
    pruner: Pruner,
    /// Gas sealed in the last second, block by block, with their times in ms, and what they read in bytes.
    sealed: VecDeque<(u64, u64, usize)>,
    last_seal: Instant,
    /// No block is tried before: the last try came to nothing.
    not_before: Instant,
    snapshots: Vec<Snapshot>,
    snapshots_taken: u64,
    /// The store failed while committing: what it holds is unknown until a restart reads it.
    pub(crate) failed: bool,
}

/// A block that the trie has and the store has not.
pub(crate) struct Sealed {
    pub(crate) block: Arc<ExecutedBlock>,
    pub(crate) changes: ChangeSet,
    time_ms: u64,
}

struct Snapshot {
    id: u64,
    number: u64,
    hash: B256,
    clock_ahead: i64,
}

/// What becomes of withdrawn blocks' transactions.
#[derive(Clone, Copy)]
pub(crate) enum Transactions {
    /// They return to the pool.
    Return,
    /// They are gone, as tools expect of `evm_revert`.
    Forgotten,
}

impl Engine {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<(Sender<Command>, JoinHandle<()>), NodeError> {
        let (sender, commands) = crossbeam_channel::bounded(COMMAND_BUFFER);
        let (events, wake) = (shared.events.clone(), sender.clone());
        shared.pool.set_listener(move |transactions: &[Arc<RecoveredTransaction>]| {
            for transaction in transactions {
                let _ = events.send(Event::Transaction(transaction.clone()));
            }
            // A full channel wakes the engine as well.
            let _ = wake.try_send(Command::Wake);
        });
        let pruner = Pruner::start(shared.storage.clone(), shared.blobs.clone()).map_err(NodeError::Thread)?;
        let mut engine = Self {
            shared,
            pruner,
            commands,
            codes: CodeCache::default(),
            sealed: VecDeque::new(),
            last_seal: Instant::now(),
            not_before: Instant::now(),
            snapshots: Vec::new(),
            snapshots_taken: 0,
            failed: false,
        };
        let thread = std::thread::Builder::new().name("engine".into());
        let handle = thread.spawn(move || engine.run()).map_err(NodeError::Thread)?;
        Ok((sender, handle))
    }

    fn run(&mut self) {
        self.recall_sealed();
        self.set_pool_fees();
        while !self.failed {
            let command = match self.next_seal() {
                Some(at) => match self.commands.recv_deadline(at) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match self.commands.recv() {
                    Ok(command) => Some(command),
                    Err(_) => return,
                },
            };
            match command {
                Some(Command::Stop) => return,
                Some(command) => self.obey(command),
                None => {
                    if let Err(error) = self.seal_due() {
                        tracing::error!(%error, "cannot seal a block");
                        self.not_before = Instant::now() + RETRY;
                    }
                }
            }
        }
        tracing::error!("the store failed while a block was committed: the engine stops; restart to recover");
    }

    /// Gas that blocks before a restart sealed in the last second still counts.
    fn recall_sealed(&mut self) {
        let view = self.shared.storage.view();
        let since = self.shared.head.load().time_ms.saturating_sub(1000);
        for number in (1..=view.head_number()).rev() {
            let Ok(Some(header)) = view.header(number) else { return };
            match time_ms(&header) {
                Ok(time) if time > since => self.sealed.push_front((time, header.gas_used, 0)),
                _ => return,
            }
        }
    }

    /// Until the first block, the pool knows no fees but genesis'.
    fn set_pool_fees(&self) {
        let view = self.shared.storage.view();
        if let Ok(Some(head)) = view.block(view.head_number())
            && head.header.number > 0
        {
            self.shared.pool.set_fees(self.next_base_fee(), head.l1_prices);
            self.set_blob_base_fee();
        }
    }

    /// Tells the pool what blobs cost in the next block.
    fn set_blob_base_fee(&self) {
        if self.shared.spec.ethereum.is_some() {
            let head = self.shared.head.load();
            let time = self.shared.slot_time(&head, head.time_ms) / 1000;
            let params = self.shared.executor.rules().blob_params(time);
            self.shared.pool.set_blob_base_fee(head.header.next_block_blob_fee(params).unwrap_or(1));
        }
    }

    /// When the next block is due, unless something happens: none while there is no work and no heartbeat.
    fn next_seal(&self) -> Option<Instant> {
        let waits_for_messages = self.shared.head.load().queue.is_due();
        if !self.shared.is_leading() || !self.shared.automine.load(Ordering::Relaxed) || waits_for_messages {
            return None;
        }
        if let Some(slots) = self.shared.spec.slots() {
            return Some(self.next_slot(Duration::from_secs(slots.seconds)));
        }
        let config = &self.shared.config;
        let due = if self.has_work() {
            Some(self.last_seal + config.block_time)
        } else {
            let heartbeat = (!config.heartbeat.is_zero()).then(|| self.last_seal + config.heartbeat);
            let recheck = self.shared.pool.highest_fee_cap().map(|_| Instant::now() + RECHECK);
            heartbeat.into_iter().chain(recheck).min()
        };
        due.map(|due| due.max(self.not_before))
    }

    /// When the slot after the head's starts; not later than a slot from the last seal, should the machine's clock have been set back.
    fn next_slot(&self, slot: Duration) -> Instant {
        let start = self.shared.head.load().time_ms.saturating_add(slot.as_millis() as u64);
        let wait = Duration::from_millis(start.saturating_sub(self.shared.clock.now())).min(slot);
        (Instant::now() + wait).min(self.last_seal + slot).max(self.not_before)
    }

    fn has_work(&self) -> bool {
        self.shared.pool.has_executable(self.next_base_fee())
    }

    fn next_base_fee(&self) -> u64 {
        let head = self.shared.head.load();
        if self.shared.spec.ethereum.is_some() {
            return head.header.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or(0);
        }
        let elapsed = self.shared.clock.block_time(head.time_ms).saturating_sub(head.time_ms);
        let gas = &self.shared.spec.gas;
        gas.base_fee(next_excess(gas, &head.header, elapsed).unwrap_or(0))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Wake | Command::Stop => {}
            Command::Mine { count, interval, reply } => {
                let _ = reply.send(self.mine(count, interval));
            }
            Command::Snapshot { reply } => {
                let head = self.shared.head.load_full();
                self.snapshots_taken += 1;
                let id = self.snapshots_taken;
                let clock_ahead = self.shared.clock.ahead();
                self.snapshots.push(Snapshot { id, number: head.header.number, hash: head.hash, clock_ahead });
                let _ = reply.send(Ok(id));
            }
            Command::Revert { id, reply } => {
                let _ = reply.send(self.revert(id));
            }
            Command::Reorg { depth, keep, reply } => {
                let _ = reply.send(self.reorg(depth, keep));
            }
            Command::SetNextTimestamp { seconds, reply } => {
                let _ = reply.send(self.set_next_timestamp(seconds));
            }
            Command::SetInterval { seconds, reply } => {
                let _ = reply.send(self.shared.clock.set_interval(seconds.map(|seconds| seconds.saturating_mul(1000))));
            }
            Command::Consume { after, origin, messages, reply } => {
                let withdrawn = after.map_or(Ok(()), |number| self.withdraw(number));
                let _ = reply.send(withdrawn.and_then(|()| self.consume(origin, messages)));
            }
            Command::Derive { batch, reply } => {
                let _ = reply.send(self.derive(&batch));
            }
            Command::Adopt { blocks, last, reply } => {
                let _ = reply.send(self.adopt(blocks, last));
            }
            Command::Import { blocks, reply } => {
                let _ = reply.send(self.import(&blocks));
            }
            Command::Lead { on, reply } => {
                self.shared.leading.store(on, Ordering::Relaxed);
                let _ = reply.send(Ok(()));
            }
            Command::Unwind { number, reply } => {
                let _ = reply.send(self.withdraw(number));
            }
            Command::SetTags { tags, reply } => {
                let _ = reply.send(self.set_tags(tags));
            }
            Command::Amend { amendments, reply } => {
                let _ = reply.send(self.amend(&amendments));
            }
        }
    }

    /// # Errors
    /// If this node does not sequence, or another leads.
    fn check_sequencing(&self) -> Result<(), NodeError> {
        let why = match (self.shared.config.sequencing, self.shared.is_leading()) {
            (false, _) => "this node does not sequence: its blocks come from L1",
            (true, false) => "another validator leads: its blocks are followed",
            (true, true) => return Ok(()),
        };
        Err(NodeError::Invalid(why.into()))
    }

    /// # Errors
    /// If certified blocks are above `number`: no other validator's word takes them back.
    pub(crate) fn check_certified(&self, number: u64) -> Result<(), NodeError> {
        if number < self.shared.certified.load(Ordering::Relaxed) {
            return Err(NodeError::Invalid(format!("block {} is certified: it is not withdrawn", number + 1)));
        }
        Ok(())
    }

    fn mine(&mut self, count: u64, interval: u64) -> Result<(), NodeError> {
        if count > MAX_MINE {
            return Err(NodeError::Invalid(format!("at most {MAX_MINE} blocks at once")));
        }
        for i in 0..count {
            if i > 0 && interval > 0 {
                let time = self.shared.head.load().time_ms.saturating_add(interval.saturating_mul(1000));
                self.shared.clock.ask(time)?;
            }
            self.seal_from_pool(true)?;
        }
        Ok(())
    }

    fn set_next_timestamp(&mut self, seconds: u64) -> Result<(), NodeError> {
        let head = self.shared.head.load();
        let seconds = match self.shared.spec.slots() {
            Some(slots) => {
                if seconds <= head.header.timestamp {
                    let (asked, last) = (seconds, head.header.timestamp);
                    return Err(NodeError::Invalid(format!("timestamp {asked} is not after the last block's, {last}")));
                }
                // Blocks are sealed at the start of a slot: the next one from then on.
                slots.time(slots.at(seconds.saturating_add(slots.seconds - 1)))
            }
            None => seconds,
        };
        if seconds < head.header.timestamp {
            let (asked, last) = (seconds, head.header.timestamp);
            return Err(NodeError::Invalid(format!("timestamp {asked} is before the last block's, {last}")));
        }
        self.shared.clock.ask(seconds.saturating_mul(1000).max(head.time_ms))
    }

    fn revert(&mut self, id: u64) -> Result<bool, NodeError> {
        let Some(position) = self.snapshots.iter().position(|snapshot| snapshot.id == id) else { return Ok(false) };
        let snapshot = self.snapshots.swap_remove(position);
        self.snapshots.truncate(position);
        if self.shared.storage.view().block_hash(snapshot.number)? != Some(snapshot.hash) {
            return Ok(false);
        }
        self.check_safe(snapshot.number)?;
        self.check_certified(snapshot.number)?;
        self.unwind(snapshot.number, Transactions::Forgotten)?;
        self.shared.clock.set_ahead(snapshot.clock_ahead);
        Ok(true)
    }

    /// Another history of the last blocks, later than they were: so no block comes back as it was.
    fn reorg(&mut self, depth: u64, keep: bool) -> Result<(), NodeError> {
        let shared = self.shared.clone();
        let head = shared.head.load_full();
        if depth == 0 || depth > MAX_MINE.min(head.header.number) {
            let most = MAX_MINE.min(head.header.number);
            return Err(NodeError::Invalid(format!("depth {depth}: at least 1 and at most {most} blocks")));
        }
        let time = shared.slot_time(&head, shared.clock.now().max(head.time_ms.saturating_add(1)));
        self.check_sequencing()?;
        self.check_safe(head.header.number - depth)?;
        self.check_certified(head.header.number - depth)?;
        let transactions = if keep { Transactions::Return } else { Transactions::Forgotten };
        self.unwind(head.header.number - depth, transactions)?;
        shared.clock.ask(time)?;
        self.mine(depth, 0)
    }

    /// What returns to the pool when the blocks above `number` are withdrawn.
    fn returning(&self, number: u64) -> Result<Returning, NodeError> {
        let view = self.shared.storage.view();
        let mut blocks = Vec::new();
        for number in number.saturating_add(1)..=view.head_number() {
            blocks.push(view.block(number)?.ok_or(StorageError::UnknownBlock(number))?);
        }
        Ok(self.shared.pool.returning(&blocks, |transaction| {
            let hashes = transaction.blob_versioned_hashes()?;
            let found = self.shared.blobs.as_ref()?.sidecar(hashes);
            found.inspect_err(|error| tracing::warn!(%error, "a withdrawn block's blobs cannot be read")).ok()?
        }))
    }

    /// # Errors
    /// If safe blocks are above `number`: development does not take them back.
    fn check_safe(&self, number: u64) -> Result<(), NodeError> {
        if number < self.shared.tags().safe {
            return Err(NodeError::Invalid(format!("block {} is safe: it is not withdrawn", number + 1)));
        }
        Ok(())
    }

    /// Goes back to a block because L1 says so. What validators certified it takes back with a new era alone.
    fn withdraw(&mut self, number: u64) -> Result<(), NodeError> {
        if self.shared.spec.ethereum.is_some() {
            self.check_safe(number)?;
        }
        self.check_certified(number)?;
        self.unwind(number, self.withdrawn())
    }

    /// What becomes of the transactions of blocks that L1 has taken back: a node that makes blocks tries them again.
    pub(crate) fn withdrawn(&self) -> Transactions {
        if self.shared.config.sequencing { Transactions::Return } else { Transactions::Forgotten }
    }

    fn set_tags(&self, tags: Tags) -> Result<(), NodeError> {
        let refuse = |why: String| Err(NodeError::Invalid(why));
        let (now, head) = (self.shared.tags(), self.shared.head.load().header.number);
        if self.shared.spec.ethereum.is_some() {
            return refuse("the tags of this chain follow its head".into());
        }
        if tags.finalized < now.finalized {
            return refuse(format!("block {} is finalized already", now.finalized));
        }
        if tags.safe < tags.finalized || tags.safe > head {
            return refuse(format!("safe block {}: not from finalized {} to head {head}", tags.safe, tags.finalized));
        }
        if tags == now { Ok(()) } else { Ok(self.shared.set_tags(tags)?) }
    }

    /// Goes back to a block: store first, in one atomic step; then trie, pool and everyone else. What the withdrawn blocks had of transactions is
    /// written down before if it returns, so that a crash in between loses none of it.
    pub(crate) fn unwind(&mut self, number: u64, transactions: Transactions) -> Result<(), NodeError> {
        let shared = self.shared.clone();
        if shared.head.load().header.number == number {
            return Ok(());
        }
        let tags = shared.tags();
        if number < tags.finalized {
            return Err(NodeError::Invalid(format!("block {} is finalized: it is not withdrawn", number + 1)));
        }
        shared.storage.view().state(number)?;
        // Tags that follow the head stay where they are, and a restart must not take them back with it.
        if shared.spec.ethereum.is_some() || number < tags.safe {
            let safe = if shared.spec.ethereum.is_some() { tags.safe } else { number };
            shared.set_tags(Tags { safe, ..tags })?;
        }
        let returning = match transactions {
            Transactions::Return => self.returning(number)?,
            Transactions::Forgotten => Returning::default(),
        };
        // Else a crash in the next moment would bring the forgotten back, or lose what returns.
        shared.pool.save(&returning);
        let unwound = match shared.storage.unwind(number) {
            Ok(unwound) => unwound,
            Err(refusal @ (StorageError::Pruned { .. } | StorageError::UnknownBlock(_))) => return Err(refusal.into()),
            Err(error) => {
                self.failed = true;
                return Err(error.into());
            }
        };
        let head = head(&shared.storage.view(), shared.executor.rules(), number).inspect_err(|_| self.failed = true)?;
        {
            let mut folded = shared.folded.write();
            let root = folded.unwind(&unwound.changes, number);
            if root != head.header.state_root {
                self.failed = true;
                return Err(NodeError::StateRoot { number, found: root, expected: head.header.state_root });
            }
        }
        self.sealed.retain(|(time, ..)| *time <= head.time_ms);
        shared.head.store(Arc::new(head));
        shared.forget_pending();
        counter!("jove_unwound_blocks_total").increment(unwound.blocks.len() as u64);
        let blocks = Arc::new(unwound.blocks);
        let _ = shared.events.send(Event::Unwound(blocks.clone()));
        if let Some(oldest) = blocks.last() {
            shared.pool.on_unwound(oldest.l1_prices, self.next_base_fee());
        }
        self.set_blob_base_fee();
        shared.pool.readmit(returning);
        Ok(())
    }

    /// A block whose time has come: of the pool's transactions, or an empty heartbeat.
    fn seal_due(&mut self) -> Result<(), NodeError> {
        let heartbeat = self.shared.config.heartbeat;
        let force =
            self.shared.spec.ethereum.is_some() || !heartbeat.is_zero() && self.last_seal.elapsed() >= heartbeat;
        let sealed = self.seal_from_pool(force)?;
        if !sealed {
            self.not_before = Instant::now() + self.shared.config.block_time;
        }
        Ok(())
    }

    fn next_header(&self) -> Result<Header, NodeError> {
        let head = self.shared.head.load_full();
        head.next_header(self.shared.executor.rules(), self.block_time(&head))
    }

    /// The time of a block sealed now.
    fn block_time(&self, head: &Head) -> u64 {
        // While the machine's clock is behind the chain's, time goes on all the same: gas is budgeted by it.
        let since = u64::try_from(self.last_seal.elapsed().as_millis()).unwrap_or(u64::MAX);
        let time = self.shared.clock.block_time(head.time_ms);
        let time = if time < head.time_ms { head.time_ms.saturating_add(since) } else { time };
        self.shared.slot_time(head, time)
    }

    /// Forgets the gas of blocks that were sealed a second before `time`, or longer ago.
    fn forget_sealed(&mut self, time: u64) {
        while self.sealed.front().is_some_and(|(sealed, ..)| sealed.saturating_add(1000) <= time) {
            self.sealed.pop_front();
        }
    }

    /// Gas that may still be sealed: no second gets more than twice the target. Ethereum's rules limit each block alone.
    fn gas_left(&mut self, time: u64) -> u64 {
        self.forget_sealed(time);
        if self.shared.spec.ethereum.is_some() {
            return u64::MAX;
        }
        let used = self.sealed.iter().map(|(_, gas, _)| gas).sum();
        self.shared.spec.gas.max_per_second().saturating_sub(used)
    }

    /// What blocks may still read before the oldest of `sealed` are a second old.
    fn reads_left(&self) -> usize {
        match self.shared.config.elected {
            true => MAX_READS_PER_SECOND.saturating_sub(self.sealed.iter().map(|(_, _, reads)| reads).sum()),
            false => usize::MAX,
        }
    }

    fn seal_from_pool(&mut self, force: bool) -> Result<bool, NodeError> {
        self.check_sequencing()?;
        if self.shared.head.load().queue.is_due() {
            return Err(NodeError::Invalid("messages from L1 are due first".into()));
        }
        let header = self.next_header()?;
        let gas = self.gas_left(time_ms(&header)?).min(header.gas_limit);
        let mut candidates = self.shared.pool.candidates(self.shared.room(&header, gas));
        let sidecars = self.sidecars(&mut candidates);
        if candidates.is_empty() && !force {
            return Ok(false);
        }
        let started = Instant::now();
        let reads = self.reads_left();
        let built = self.read(|reader| self.shared.executor.build(&header, &candidates, gas, reads, reader))?;
        histogram!("jove_execution_seconds").record(started.elapsed());
        for (hash, error) in &built.rejected {
            tracing::debug!(%hash, %error, "transaction dropped");
            self.shared.pool.discard(*hash);
        }
        if built.transactions.is_empty() && !force {
            return Ok(false);
        }
        if let Some(blobs) = &self.shared.blobs {
            for transaction in &built.transactions {
                if let Some(sidecar) = sidecars.get(transaction.tx_hash()) {
                    let hashes = transaction.blob_versioned_hashes().unwrap_or_default();
                    blobs.put(hashes, sidecar).map_err(NodeError::Blobs)?;
                }
            }
        }
        self.shared.note_reads(header.number, built.reads);
        self.seal(header, built.transactions, built.output)?;
        Ok(true)
    }

    /// Seals blocks of messages from L1 until all of them are consumed.
    fn consume(&mut self, mut origin: Option<L1Origin>, messages: Vec<TxDeposit>) -> Result<(), NodeError> {
        if self.shared.spec.ethereum.is_some() {
            return Err(NodeError::Invalid("a layer 1 takes no messages from another".into()));
        }
        // A node that follows L1 may step in with them, on any chain; of those that validators elect the leader alone.
        if self.shared.config.elected && self.shared.config.sequencing {
            self.check_sequencing()?;
        }
        let queue = self.shared.head.load().queue;
        if origin.is_some() && queue.is_due() {
            return Err(NodeError::Invalid("messages of the last L1 origin are due first".into()));
        }
        let due = origin.map_or(queue.due, |origin| origin.messages).saturating_sub(queue.consumed);
        if due != messages.len() as u64 {
            let given = messages.len();
            return Err(NodeError::Invalid(format!("{due} messages from L1 are due, {given} are given")));
        }
        let mut messages: Vec<RecoveredTransaction> = messages.into_iter().map(deposit).collect();
        while origin.is_some() || !messages.is_empty() {
            let head = self.shared.head.load_full();
            let mut time_ms = self.block_time(&head);
            let mut mix_source = head.mix_source;
            if let Some(origin) = origin.take() {
                time_ms = time_ms.max(origin.timestamp.saturating_mul(1000));
                mix_source = self.shared.executor.rules().mix_source(origin.mix_hash);
                messages.insert(0, deposit(origin.attributes(head.header.number.saturating_add(1))));
            }
            let context = BlockContext { time_ms, mix_source, messages: true };
            let header = next_header(self.shared.executor.rules(), &head.header, head.hash, context)?;
            let built = self.read(|reader| match self.shared.executor.build_messages(&header, &messages, reader) {
                Ok(built) => Ok(Ok(built)),
                Err(ExecuteError::Transaction(error)) => Ok(Err(error)),
                Err(ExecuteError::Database(error)) => Err(error),
            })?;
            let built = built.map_err(|error| NodeError::Invalid(error.to_string()))?;
            messages.drain(..built.transactions.len());
            self.shared.note_reads(header.number, built.reads);
            self.seal(header, built.transactions, built.output)?;
        }
        Ok(())
    }

    /// The sidecars of blob transactions by hash. Those that have left the pool meanwhile are no candidates any more.
    fn sidecars(&self, candidates: &mut Vec<Arc<RecoveredTransaction>>) -> HashMap<B256, Arc<Sidecar>> {
        let mut sidecars = HashMap::new();
        candidates.retain(|candidate| {
            if !candidate.is_eip4844() {
                return true;
            }
            let sidecar = self.shared.pool.sidecar(candidate.tx_hash());
            let found = sidecar.is_some();
            sidecars.extend(sidecar.map(|sidecar| (*candidate.tx_hash(), sidecar)));
            found
        });
        sidecars
    }

    fn amend(&mut self, amendments: &[Amendment]) -> Result<(), NodeError> {
        self.check_sequencing()?;
        let asked = self.shared.clock.take_asked();
        let header = match asked {
            // The time that was asked for is the next mined block's; it must not be late for it.
            Some(_) => {
                let head = self.shared.head.load();
                head.next_header(self.shared.executor.rules(), self.shared.slot_time(&head, head.time_ms))?
            }
            None => self.next_header()?,
        };
        let amended = self.seal_amended(amendments, header);
        if let Some(time) = asked {
            self.shared.clock.ask(time)?;
        }
        amended
    }

    fn seal_amended(&mut self, amendments: &[Amendment], header: Header) -> Result<(), NodeError> {
        let output = self.read(|reader| {
            let mut block = BlockExecutor::new(self.shared.executor.rules(), &header, reader)?;
            let state = block.state();
            for amendment in amendments {
                match amendment {
                    Amendment::Balance(address, balance) => {
                        let account = state.account(*address)?.unwrap_or_default();
                        state.set_account(*address, Account { balance: *balance, ..account })?;
                    }
                    Amendment::Nonce(address, nonce) => {
                        let account = state.account(*address)?.unwrap_or_default();
                        state.set_account(*address, Account { nonce: *nonce, ..account })?;
                    }
                    Amendment::Code(address, code) => {
                        let code = Bytecode::new_raw_checked(code.clone());
                        let Ok(code) = code else { return Ok(None) };
                        state.set_code(*address, code)?;
                    }
                    Amendment::Slot(address, slot, value) => {
                        // Storage needs an account that exists.
                        if state.account(*address)?.is_none() {
                            state.set_account(*address, Account { nonce: 1, ..Default::default() })?;
                        }
                        state.set_slot(*address, *slot, *value)?;
                    }
                }
            }
            Ok(Some(block.finish()))
        })?;
        let output = output.ok_or_else(|| NodeError::Invalid("the code is malformed".into()))?;
        self.seal(header, Vec::new(), output)
    }

    /// Gives `run` the head state.
    pub(crate) fn read<T>(&self, run: impl FnOnce(StateReader<'_>) -> Result<T, StorageError>) -> Result<T, NodeError> {
        self.read_after(&[], run)
    }

    /// Gives `run` the state after blocks that are folded and not persisted yet.
    pub(crate) fn read_after<T>(
        &self,
        sealed: &[Sealed],
        run: impl FnOnce(StateReader<'_>) -> Result<T, StorageError>,
    ) -> Result<T, NodeError> {
        let view = self.shared.storage.view();
        let state = view.state(view.head_number())?;
        let folded = self.shared.folded.read();
        let code = |hash: B256| {
            let new = || sealed.iter().find_map(|sealed| sealed.changes.codes.get(&hash)).cloned();
            self.codes.get(hash, || new().map_or_else(|| state.code(hash), Ok))
        };
        let block_hash = |number: u64| match sealed.iter().find(|sealed| sealed.block.header.number == number) {
            Some(sealed) => Ok(sealed.block.hash),
            None => Ok(view.block_hash(number)?.unwrap_or_default()),
        };
        Ok(run(TrieReader { trie: &folded.trie, code: &code, block_hash: &block_hash })?)
    }

    /// Folds, seals, persists and publishes a block.
    pub(crate) fn seal(
        &mut self,
        header: Header,
        transactions: Vec<RecoveredTransaction>,
        output: BlockOutput,
    ) -> Result<(), NodeError> {
        let sealed = self.fold(header, transactions, output)?;
        self.persist(vec![sealed])
    }

    /// Folds and seals a block. The trie has it then, the store and everyone else has not: [`Self::persist`] must follow, before anything else is done.
    pub(crate) fn fold(
        &mut self,
        header: Header,
        transactions: Vec<RecoveredTransaction>,
        mut output: BlockOutput,
    ) -> Result<Sealed, NodeError> {
        let shared = self.shared.clone();
        let mut changes = std::mem::take(&mut output.changes);
        if changes.accounts.values().any(|change| change.wiped) {
            shared.storage.complete_wipes(&mut changes)?;
        }

        let started = Instant::now();
        let time_ms = time_ms(&header)?;
        let root = shared.folded.write().fold(&changes, header.number, time_ms);
        histogram!("jove_root_seconds").record(started.elapsed());

        let header = seal(header, &transactions, &output, root);
        let hash = header.hash_slow();
        let BlockOutput { receipts, l1_fees, l1_prices, .. } = output;
        let block = Arc::new(ExecutedBlock { header, hash, transactions, receipts, l1_fees, l1_prices });
        Ok(Sealed { block, changes, time_ms })
    }

    /// Persists sealed blocks in one synced write, and publishes them.
    pub(crate) fn persist(&mut self, sealed: Vec<Sealed>) -> Result<(), NodeError> {
        if sealed.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let blocks: Vec<_> = sealed.iter().map(|sealed| (&*sealed.block, &sealed.changes)).collect();
        if let Err(error) = self.shared.storage.commit_all(&blocks) {
            self.failed = true;
            return Err(error.into());
        }
        histogram!("jove_persist_seconds").record(started.elapsed());
        sealed.into_iter().for_each(|sealed| self.publish(sealed));
        Ok(())
    }

    fn publish(&mut self, sealed: Sealed) {
        let Sealed { block, changes, time_ms } = sealed;
        let shared = self.shared.clone();
        let (hash, gas_used) = (block.hash, block.header.gas_used);
        let number = block.header.number;
        let parent = shared.head.load();
        shared.clock.sealed(parent.time_ms, time_ms);
        if shared.spec.ethereum.is_some() {
            shared.clock.reach(time_ms);
        }
        let l1_slot = |slot| Some(changes.accounts.get(&L1_BLOCK)?.storage.get(&slot)?.after);
        let mix_source =
            l1_slot(L1_MIX_HASH_SLOT).map_or(parent.mix_source, |slot| shared.executor.rules().mix_source(slot.into()));
        let queue = l1_slot(L1_QUEUE_SLOT).map_or(parent.queue, Queue::from_slot);
        shared.head.store(Arc::new(Head { header: block.header.clone(), hash, time_ms, mix_source, queue }));
        shared.move_tags(number);
        shared.forget_pending();
        self.forget_sealed(time_ms);
        self.sealed.push_back((time_ms, gas_used, shared.reads(number)));
        histogram!("jove_block_interval_seconds").record(self.last_seal.elapsed());
        self.last_seal = Instant::now();
        let changed =
            changes.accounts.iter().map(|(address, change)| (*address, change.account.after.unwrap_or_default()));
        shared.pool.on_block(&block, changed, self.next_base_fee());
        self.set_blob_base_fee();
        gauge!("jove_height").set(number as f64);
        gauge!("jove_base_fee_wei").set(block.header.base_fee_per_gas.unwrap_or(0) as f64);
        counter!("jove_gas_used_total").increment(gas_used);
        counter!("jove_transactions_total").increment(block.transactions.len() as u64);
        let _ = shared.events.send(Event::Block(block));
        if number.is_multiple_of(PRUNE_EVERY) {
            let before = |keep: Duration| time_ms.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
            // L1 may take back what is not final there.
            let settles = shared.spec.settlement.is_some();
            let block = if settles { shared.tags().finalized.saturating_sub(1) } else { number };
            let states = shared.config.history.map(|keep| Horizon { time_ms: before(keep), block });
            self.pruner.forget(Order { states, blobs_older_than: shared.config.l1.blob_window });
        }
    }
}

pub(crate) type StateReader<'a> =
    TrieReader<'a, &'a dyn Fn(B256) -> Result<Bytecode, StorageError>, &'a dyn Fn(u64) -> Result<B256, StorageError>>;
