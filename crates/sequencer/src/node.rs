//! The running node: what RPC and the binary hold.

mod proofs;

use crate::{
    blobs::Blobs,
    clock::Clock,
    derive::{Derived, DerivedBatch},
    engine::{Command, Engine},
    folded::Folded,
    pool::{Accounts, Pool, PoolConfig, Returning, Room},
    state::State,
    tags,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use jove_executor::Executor;
use jove_primitives::{
    Account, ChainSpec, ExecutedBlock,
    header::ExtraError,
    l1::{L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    transaction::{RecoveredTransaction, TxDeposit},
};
use jove_stf::{BlockContext, HeaderError, Rules, mix_source, next_header};
use jove_storage::{Options, Storage, StorageError, View};
use jove_trie::StateTrie;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::broadcast;

pub use proofs::TooHeavy;

/// Events that a slow subscriber may be behind before it must read the store instead.
const EVENT_BUFFER: usize = 1024;
/// Where the store keeps the chain spec, its genesis apart.
const SPEC_KEY: &str = "spec";
/// Where the store keeps why the chain does not settle any more.
const DETACHED_KEY: &str = "detached";

/// Blocks of which it is kept what they read.
const READS: usize = 1024;
/// Most that a chain of validators seals in a second, in bytes that its blocks read ([`Node::reads`]), but for the last of them: a batch ends where a checkpoint does, which may have so
/// many blocks, and provers take it whole.
pub const MAX_READS_PER_SECOND: usize = 128 << 20;

/// How a node is run.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where everything durable lives.
    pub datadir: PathBuf,
    /// The chain.
    pub spec: ChainSpec,
    /// Time between blocks while there is work.
    pub block_time: Duration,
    /// Time between blocks while there is none; zero: no block then.
    pub heartbeat: Duration,
    /// Whether each block is synced to disk before anyone learns of it. Off, a power cut may lose the last blocks.
    pub sync: bool,
    /// Whether it seals blocks. One that does not takes no transactions, and gets its blocks from L1 ([`Node::derive`]).
    pub sequencing: bool,
    /// Whether it seals blocks only while it leads ([`Node::lead`]): a validator, whose blocks come from whoever leads ([`Node::import`]). It takes transactions.
    pub elected: bool,
    /// Whether development methods are allowed.
    pub dev: bool,
    /// The pool's limits.
    pub pool: PoolConfig,
    /// How long state history is kept; `None`: for ever.
    pub history: Option<Duration>,
    /// How far back state proofs reach.
    pub proof_window: Duration,
    /// What only a chain under Ethereum's rules has.
    pub l1: L1Config,
}

/// Settings of a chain under Ethereum's rules, a layer 1 for development.
#[derive(Clone, Debug)]
pub struct L1Config {
    /// Blocks from the head down to the safe one.
    pub safe_depth: u64,
    /// Blocks from the head down to the finalized one.
    pub finalized_depth: u64,
    /// How long blobs are kept; `None`: for ever.
    pub blob_window: Option<Duration>,
}

impl Default for L1Config {
    fn default() -> Self {
        Self { safe_depth: 2, finalized_depth: 4, blob_window: None }
    }
}

/// The blocks that the tags `safe` and `finalized` name, by number. Finalized blocks are not withdrawn, so that `finalized` never falls. Under
/// Ethereum's rules this holds for `safe` too; on a Jove chain it falls when L1 goes back, or drops a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// The safe block.
    pub safe: u64,
    /// The finalized block.
    pub finalized: u64,
}

/// Why a node does not start, or does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The store failed, or does not hold what was asked for.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The pool's journal could not be opened.
    #[error("transaction pool: {0}")]
    Pool(String),
    /// The data directory belongs to a chain with another genesis. Use another directory, or that chain's spec.
    #[error("the data directory holds another chain: its genesis is {found}, this chain spec's {expected}")]
    OtherChain {
        /// Genesis hash on disk.
        found: B256,
        /// Genesis hash of the chain spec.
        expected: B256,
    },
    /// The data directory's blocks were made under a chain spec of the same genesis that differs in what [`ChainSpec::config`] names. Use that spec.
    #[error(
        "the data directory's blocks have another chain id, gas setting, maxOriginAge, development setting or past fork than this chain spec"
    )]
    OtherSpec,
    /// The state on disk has another root than the head names: the disk has lost or changed data.
    #[error("the state on disk has root {found}, block {number} names {expected}")]
    StateRoot {
        /// The head.
        number: u64,
        /// Root of what is on disk.
        found: B256,
        /// Root in the header.
        expected: B256,
    },
    /// A stored header is not a Jove header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A blob could not be written or read.
    #[error("blobs: {0}")]
    Blobs(std::io::Error),
    /// The engine's thread could not be started.
    #[error("cannot start the engine: {0}")]
    Thread(std::io::Error),
    /// The node is stopping, or its engine has failed (the log says why).
    #[error("the node is not running")]
    Stopped,
    /// Proofs do not reach back that far.
    #[error("block {0} is outside of the proof window")]
    OutsideProofWindow(u64),
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl From<ExtraError> for NodeError {
    fn from(error: ExtraError) -> Self {
        Self::Header(error.into())
    }
}

/// The last sealed block.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// Its time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The source of `mixHash` in the blocks after it ([`jove_stf::mix_source`]).
    pub mix_source: B256,
    /// How far it is through the L1 queue.
    pub queue: Queue,
}

impl Head {
    /// The header of a block of signed transactions after it, before execution.
    ///
    /// # Errors
    /// If no block can follow.
    pub(crate) fn next_header(&self, rules: &Rules, time_ms: u64) -> Result<Header, NodeError> {
        let context = BlockContext { time_ms, mix_source: self.mix_source, messages: false };
        Ok(next_header(rules, &self.header, self.hash, context)?)
    }
}

/// What happened. It is durable when it is published.
#[derive(Clone, Debug)]
pub enum Event {
    /// A block was sealed.
    Block(Arc<ExecutedBlock>),
    /// Blocks were withdrawn, newest first.
    Unwound(Arc<Vec<ExecutedBlock>>),
    /// A transaction became executable in the pool.
    Transaction(Arc<RecoveredTransaction>),
}

/// The head plus the pool's executable transactions, run but not sealed.
#[derive(Clone)]
pub struct Pending {
    /// The block. Its roots are those of an empty block, its hash is zero.
    pub block: Arc<ExecutedBlock>,
    /// The state after it.
    pub state: State,
}

/// What the engine and its readers share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) executor: Executor,
    pub(crate) storage: Storage,
    pub(crate) pool: Arc<Pool>,
    pub(crate) folded: RwLock<Folded>,
    pub(crate) head: ArcSwap<Head>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) clock: Clock,
    pub(crate) automine: AtomicBool,
    pub(crate) leading: AtomicBool,
    /// The last block that a quorum of validators certified.
    pub(crate) certified: AtomicU64,
    detached: OnceLock<String>,
    /// Whoever works for long looks at it in between.
    pub(crate) stopping: AtomicBool,
    /// Under Ethereum's rules only.
    pub(crate) blobs: Option<Blobs>,
    safe: AtomicU64,
    finalized: AtomicU64,
    pending: Mutex<Option<(PendingKey, Option<Arc<Pending>>)>>,
    /// What the last blocks that were built here read, by number.
    reads: Mutex<BTreeMap<u64, usize>>,
}

impl Shared {
    /// Whether it may seal blocks now.
    pub(crate) fn is_leading(&self) -> bool {
        self.config.sequencing && self.leading.load(Ordering::Relaxed)
    }

    /// The time of a block after `head` that is sealed at `time`, both in ms: under Ethereum's rules, the start of a slot, later than the head's.
    pub(crate) fn slot_time(&self, head: &Head, time: u64) -> u64 {
        let Some(slots) = self.spec.slots() else { return time };
        let slot = slots.at(time / 1000).max(slots.at(head.header.timestamp) + 1);
        slots.time(slot).saturating_mul(1000)
    }

    /// Notes what the next block reads.
    pub(crate) fn note_reads(&self, number: u64, reads: usize) {
        let mut kept = self.reads.lock();
        kept.split_off(&number);
        kept.insert(number, reads);
        if kept.len() > READS {
            kept.pop_first();
        }
    }

    /// See [`Node::reads`].
    pub(crate) fn reads(&self, number: u64) -> usize {
        self.reads.lock().get(&number).copied().unwrap_or_default()
    }

    /// What a block with this header, from [`next_header`], takes from the pool, with at most so much gas.
    pub(crate) fn room(&self, header: &Header, gas: u64) -> Room {
        let params = self.executor.rules().blob_params(header.timestamp);
        Room {
            base_fee: header.base_fee_per_gas.unwrap_or(0),
            gas,
            blob_base_fee: params.calc_blob_fee(header.excess_blob_gas.unwrap_or(0)),
            blob_gas: params.max_blob_gas_per_block(),
        }
    }

    pub(crate) fn tags(&self) -> Tags {
        Tags { safe: self.safe.load(Ordering::Relaxed), finalized: self.finalized.load(Ordering::Relaxed) }
    }

    /// The tags follow the head.
    pub(crate) fn move_tags(&self, head: u64) {
        if self.spec.ethereum.is_some() {
            let L1Config { safe_depth, finalized_depth, .. } = self.config.l1;
            self.safe.fetch_max(head.saturating_sub(safe_depth), Ordering::Relaxed);
            self.finalized.fetch_max(head.saturating_sub(finalized_depth), Ordering::Relaxed);
        }
    }

    /// Sets the tags, durably.
    pub(crate) fn set_tags(&self, tags: Tags) -> Result<(), StorageError> {
        tags::keep(&self.storage, tags)?;
        self.safe.store(tags.safe, Ordering::Relaxed);
        self.finalized.store(tags.finalized, Ordering::Relaxed);
        Ok(())
    }

    /// The head has moved on: what was pending on the last one only keeps the store from forgetting. Whoever is building it now leaves it there
    /// until the next block.
    pub(crate) fn forget_pending(&self) {
        if let Some(mut pending) = self.pending.try_lock() {
            *pending = None;
        }
    }
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    engine: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever goes back to an older block for a proof: one at a time, since each holds memory.
    rewinding: Mutex<()>,
}

/// What the pending block depends on: the head, the pool's version, the second.
type PendingKey = (B256, u64, u64);

/// Reads accounts at the head from the store.
struct HeadAccounts(Storage);

impl Accounts for HeadAccounts {
    fn account(&self, address: Address) -> Account {
        let view = self.0.view();
        let account = view.state(view.head_number()).and_then(|state| state.account(address));
        account
            .unwrap_or_else(|error| {
                tracing::error!(%error, "cannot read an account");
                None
            })
            .unwrap_or_default()
    }

    fn is_included(&self, transaction: B256) -> bool {
        matches!(self.0.view().transaction(transaction), Ok(Some(_)))
    }

    fn code(&self, hash: B256) -> Bytes {
        let view = self.0.view();
        let code = view.state(view.head_number()).and_then(|state| state.code(hash));
        code.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read code");
            Bytes::new()
        })
    }
}

impl Node {
    /// Opens the store, creates genesis in an empty one, rebuilds the trie, checks its root, and starts the engine.
    ///
    /// # Errors
    /// If the store cannot be opened, holds another chain, or is damaged.
    pub fn start(config: NodeConfig) -> Result<Arc<Self>, NodeError> {
        // The first to need KZG would wait for its tables, or have revm make larger ones, which takes seconds.
        std::thread::spawn(|| c_kzg::ethereum_kzg_settings(0));
        let storage = Storage::open(&config.datadir.join("db"), Options { sync: config.sync })?;
        let spec = Arc::new(config.spec.clone());
        let mut trie = StateTrie::default();
        let genesis_changes = spec.genesis_changes();
        let genesis = spec.genesis_header(trie.apply(&genesis_changes));
        let genesis_hash = genesis.hash_slow();
        if storage.head_number().is_none() {
            let block = ExecutedBlock {
                header: genesis,
                hash: genesis_hash,
                transactions: Vec::new(),
                receipts: Vec::new(),
                l1_fees: Vec::new(),
                l1_prices: Default::default(),
            };
            storage.commit(&block, &genesis_changes)?;
        }
        let view = storage.view();
        let found = view.block_hash(0)?.unwrap_or_default();
        if found != genesis_hash {
            return Err(NodeError::OtherChain { found, expected: genesis_hash });
        }
        let rules = match &spec.ethereum {
            None => Rules::Jove { spec: spec.clone(), genesis: genesis_hash },
            Some(ethereum) => {
                let fork = spec.fork(spec.genesis.timestamp);
                let blobs = ethereum.blob_schedule.clone();
                Rules::Ethereum { chain_id: spec.chain_id, fork, development: spec.development, blobs }
            }
        };
        let number = view.head_number();
        let head = head(&view, &rules, number)?;
        check_spec(&storage, &spec, head.header.timestamp)?;
        let started = Instant::now();
        let trie = rebuild_trie(&storage)?;
        if trie.root() != head.header.state_root {
            return Err(NodeError::StateRoot { number, found: trie.root(), expected: head.header.state_root });
        }
        tracing::info!(block = number, hash = %head.hash, seconds = started.elapsed().as_secs_f64(), "state loaded");

        let head_time = head.time_ms;
        let accounts = Arc::new(HeadAccounts(storage.clone()));
        let pool = Pool::new(spec.clone(), config.pool.clone(), accounts)
            .map_err(|error| NodeError::Pool(error.to_string()))?;
        if !config.sequencing {
            pool.set_closed(Some("this node does not sequence: send them to the sequencer"));
        }
        let window = u64::try_from(config.proof_window.as_millis()).unwrap_or(u64::MAX);
        let blobs = match &spec.ethereum {
            None => None,
            Some(_) => Some(Blobs::open(config.datadir.join("blobs"), config.sync).map_err(NodeError::Blobs)?),
        };
        let kept = match &spec.ethereum {
            None => tags::kept(&storage)?,
            Some(_) => tags::following(&storage, &config.l1, number)?,
        };
        let detached = OnceLock::new();
        if let Some(reason) = storage.meta(DETACHED_KEY)? {
            let _ = detached.set(String::from_utf8_lossy(&reason).into_owned());
        }
        let shared = Arc::new(Shared {
            blobs,
            safe: AtomicU64::new(kept.safe),
            finalized: AtomicU64::new(kept.finalized),
            spec,
            executor: Executor::new(rules),
            storage,
            pool,
            folded: RwLock::new(Folded::new(trie, number, window)),
            head: ArcSwap::from_pointee(head),
            events: broadcast::Sender::new(EVENT_BUFFER),
            clock: Clock::default(),
            automine: AtomicBool::new(true),
            leading: AtomicBool::new(!config.elected),
            certified: AtomicU64::new(0),
            detached,
            stopping: AtomicBool::new(false),
            pending: Mutex::new(None),
            reads: Mutex::default(),
            config,
        });
        shared.move_tags(number);
        if shared.config.dev {
            // A chain whose clock was moved goes on from where it was.
            let behind = head_time.saturating_sub(shared.clock.now());
            shared.clock.advance(i64::try_from(behind).unwrap_or(i64::MAX));
        }
        let (commands, engine) = Engine::start(shared.clone())?;
        Ok(Arc::new(Self { shared, commands, engine: Mutex::new(Some(engine)), rewinding: Mutex::new(()) }))
    }

    /// Whether it seals blocks.
    pub fn is_sequencing(&self) -> bool {
        self.shared.config.sequencing
    }

    /// Whether it may seal blocks now: always, unless validators elect who does.
    pub fn is_leading(&self) -> bool {
        self.shared.is_leading()
    }

    /// Whether validators elect who seals blocks.
    pub fn is_elected(&self) -> bool {
        self.shared.config.elected
    }

    /// Begins to seal blocks, or ends it: after the return no block is sealed until it begins again.
    ///
    /// # Errors
    /// If the node is stopping.
    pub fn lead(&self, on: bool) -> Result<(), NodeError> {
        self.call(|reply| Command::Lead { on, reply })
    }

    /// Seals a block now, whatever the pool holds.
    ///
    /// # Errors
    /// If it does not lead, or messages from L1 are due first; if the store fails, or the node is stopping.
    pub fn seal(&self) -> Result<(), NodeError> {
        self.call(|reply| Command::Mine { count: 1, interval: 0, reply })
    }

    /// What a block read that was built here lately, in bytes of a prover's witness, about ([`jove_stf::Recorder::weight`]); zero if others built it. Only
    /// an estimate: after an unwinding, it may be that of another block of this number.
    pub fn reads(&self, number: u64) -> usize {
        self.shared.reads(number)
    }

    /// The last block that validators certified: no import goes back below it.
    pub fn certified(&self) -> u64 {
        self.shared.certified.load(Ordering::Relaxed)
    }

    /// Notes that a block is certified. Whoever certifies keeps that, and says it again after a restart.
    pub fn set_certified(&self, number: u64) {
        self.shared.certified.fetch_max(number, Ordering::Relaxed);
    }

    /// Notes that certificates above a block are void: L1 has begun a new era there. Blocks above it can be withdrawn then.
    pub fn void_certified(&self, number: u64) {
        self.shared.certified.fetch_min(number, Ordering::Relaxed);
    }

    /// Finishes the block in hand and stops. What was published is durable already. May be called again.
    pub fn stop(&self) {
        let Some(engine) = self.engine.lock().take() else { return };
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = self.commands.send(Command::Stop);
        if engine.join().is_err() {
            tracing::error!("the engine panicked");
        }
        self.shared.pool.save(&Returning::default());
    }

    /// Whether the engine runs.
    pub fn is_running(&self) -> bool {
        self.engine.lock().as_ref().is_some_and(|engine| !engine.is_finished())
    }

    /// The chain.
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.shared.spec
    }

    /// The rules its blocks are under.
    pub fn rules(&self) -> &Rules {
        self.shared.executor.rules()
    }

    /// The store.
    pub fn storage(&self) -> &Storage {
        &self.shared.storage
    }

    /// The transaction pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.shared.pool
    }

    /// The last sealed block.
    pub fn head(&self) -> Arc<Head> {
        self.shared.head.load_full()
    }

    /// What the tags `safe` and `finalized` name; block 0 as long as the chain has no L1 and is none.
    pub fn tags(&self) -> Tags {
        self.shared.tags()
    }

    /// The blob with this versioned hash, of a block that was ever sealed, if it is still kept: 131,072 bytes.
    ///
    /// # Errors
    /// If the disk fails, or has damaged it.
    pub fn blob(&self, hash: B256) -> Result<Option<Bytes>, NodeError> {
        self.shared.blobs.as_ref().map_or(Ok(None), |blobs| blobs.get(hash).map_err(NodeError::Blobs))
    }

    /// The chain's clock, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.shared.clock.now()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// The header that a block sealed now would have, before execution.
    ///
    /// # Errors
    /// If no block can follow the head.
    pub fn next_header(&self) -> Result<Header, NodeError> {
        let head = self.head();
        let time = self.shared.clock.block_time(head.time_ms).max(head.time_ms);
        head.next_header(self.rules(), self.shared.slot_time(&head, time))
    }

    /// The pending block, or nothing when the pool has no executable transaction: then pending is the head.
    ///
    /// # Errors
    /// If the store fails.
    pub fn pending(&self) -> Result<Option<Arc<Pending>>, NodeError> {
        let shared = &self.shared;
        let mut cache = shared.pending.lock();
        let head = shared.head.load();
        let key = (head.hash, shared.pool.version(), shared.clock.block_time(head.time_ms) / 1000);
        if let Some((cached, pending)) = &*cache
            && *cached == key
        {
            return Ok(pending.clone());
        }
        let pending = self.build_pending()?.map(Arc::new);
        *cache = Some((key, pending.clone()));
        Ok(pending)
    }

    fn build_pending(&self) -> Result<Option<Pending>, NodeError> {
        let shared = &self.shared;
        let view = shared.storage.view();
        let head = head(&view, self.rules(), view.head_number())?;
        let time = shared.clock.block_time(head.time_ms).max(head.time_ms);
        let header = head.next_header(self.rules(), shared.slot_time(&head, time))?;
        let candidates = shared.pool.candidates(shared.room(&header, header.gas_limit));
        if candidates.is_empty() {
            return Ok(None);
        }
        let state = view.state(head.header.number)?;
        let built = shared.executor.build(&header, &candidates, header.gas_limit, usize::MAX, &state)?;
        if built.transactions.is_empty() {
            return Ok(None);
        }
        let (transactions, mut output) = (built.transactions, built.output);
        let header = Header { gas_used: output.gas_used, blob_gas_used: Some(output.blob_gas_used), ..header };
        let changes = std::mem::take(&mut output.changes);
        let block = Arc::new(ExecutedBlock {
            header,
            hash: B256::ZERO,
            transactions,
            receipts: output.receipts,
            l1_fees: output.l1_fees,
            l1_prices: output.l1_prices,
        });
        Ok(Some(Pending { block, state: State::with_changes(state, changes) }))
    }

    /// Steps to an L1 origin, if one is given, and consumes messages from L1, in the queue's order: in blocks of their own, sealed and durable when this
    /// returns. All messages that are due are given: where a block ends depends on the next. After a crash in between, the head says how many are still to
    /// be consumed ([`Head::queue`]): they are given again without an origin, and until then no block of another kind is sealed.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if the origin does not follow, or more or fewer messages are due; if one cannot be part of a block: blocks before it stand. If
    /// the store fails, or the node is stopping.
    pub fn consume(&self, origin: Option<L1Origin>, messages: Vec<TxDeposit>) -> Result<(), NodeError> {
        self.call(|reply| Command::Consume { after: None, origin, messages, reply })
    }

    /// As [`Self::consume`], right after block `number`: blocks above it are withdrawn, as by [`Self::unwind`], and none is sealed in between.
    ///
    /// # Errors
    /// As those two; the blocks may have been withdrawn.
    pub fn consume_after(
        &self,
        number: u64,
        origin: Option<L1Origin>,
        messages: Vec<TxDeposit>,
    ) -> Result<(), NodeError> {
        self.call(|reply| Command::Consume { after: Some(number), origin, messages, reply })
    }

    /// Makes the chain follow a batch that L1 has: its blocks, where the chain does not have them already, are executed, kept and announced as sealed ones are.
    /// Other blocks in their place are withdrawn first; where the node sequences, their transactions return to the pool. Of a batch that turns out invalid
    /// nothing stays, nor of what is above its parent; a sequencer keeps its blocks if none of the batch was executed in their place.
    ///
    /// Blocks are made durable in groups, and announced then. A stop or a crash leaves the first blocks: derive the same batch again.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if the batch's parent is not here yet, its origins or messages are not complete, or a finalized block would have to be
    /// withdrawn; if the store fails, or the node is stopping.
    pub fn derive(&self, batch: DerivedBatch) -> Result<Derived, NodeError> {
        self.call(|reply| Command::Derive { batch: Box::new(batch), reply })
    }

    /// Withdraws the blocks above block `number`; on a node that sequences, their transactions return to the pool. `safe` falls with them.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if a finalized or certified block is among them, [`StorageError::Pruned`] if history does not reach back; if the store fails, or the node is
    /// stopping.
    pub fn unwind(&self, number: u64) -> Result<(), NodeError> {
        self.call(|reply| Command::Unwind { number, reply })
    }

    /// Sets the tags, durably: what L1 says of the chain's blocks.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if `finalized` would fall, `safe` be below it, or above the head; if the chain's tags follow its head; if the store fails, or the
    /// node is stopping.
    pub fn set_tags(&self, tags: Tags) -> Result<(), NodeError> {
        self.call(|reply| Command::SetTags { tags, reply })
    }

    pub(crate) fn call<T>(
        &self,
        command: impl FnOnce(Sender<Result<T, NodeError>>) -> Command,
    ) -> Result<T, NodeError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.commands.send(command(reply)).map_err(|_| NodeError::Stopped)?;
        answer.recv().map_err(|_| NodeError::Stopped)?
    }

    /// Why this chain does not settle any more, if it was changed from outside of its rules: no batch of it could be proven.
    pub fn detached(&self) -> Option<&str> {
        self.shared.detached.get().map(String::as_str)
    }

    /// Development methods; `None` unless the node was started for development.
    pub fn dev(&self) -> Option<Dev<'_>> {
        self.shared.config.dev.then_some(Dev { node: self })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn head(view: &View, rules: &Rules, number: u64) -> Result<Head, NodeError> {
    let header = view.header(number)?.ok_or(StorageError::UnknownBlock(number))?;
    let time_ms = jove_primitives::header::time_ms(&header)?;
    let state = view.state(number)?;
    let mix_source = mix_source(rules, &state)?;
    let queue = Queue::from_slot(state.slot(L1_BLOCK, L1_QUEUE_SLOT)?);
    Ok(Head { hash: header.hash_slow(), header, time_ms, mix_source, queue })
}

/// Checks that blocks up to `head_time` (seconds) were made under this spec, and keeps it: later forks may be added.
fn check_spec(storage: &Storage, spec: &ChainSpec, head_time: u64) -> Result<(), NodeError> {
    if let Some(kept) = storage.meta(SPEC_KEY)? {
        let kept = std::str::from_utf8(&kept).ok().and_then(|kept| ChainSpec::from_json(kept).ok());
        let kept = kept.ok_or(StorageError::Corrupt("the chain spec it keeps"))?;
        if kept.config(head_time) != spec.config(head_time) {
            return Err(NodeError::OtherSpec);
        }
        if kept.forks == spec.forks {
            return Ok(());
        }
    }
    let mut kept = spec.clone();
    kept.genesis.alloc.clear();
    Ok(storage.put_meta(SPEC_KEY, kept.to_json().as_bytes())?)
}

/// Accounts and slots that are put into the trie at once while it is rebuilt.
const REBUILD_CHUNK: usize = 10_000;

fn rebuild_trie(storage: &Storage) -> Result<StateTrie, StorageError> {
    use jove_primitives::{AccountChange, Change, ChangeSet};
    let mut trie = StateTrie::default();
    let (mut chunk, mut size) = (ChangeSet::default(), 0);
    storage.for_each_account(|address, account, slots| {
        let mut change = AccountChange { account: Change { before: None, after: Some(account) }, ..Default::default() };
        for slot in slots {
            let (slot, value) = slot?;
            change.storage.insert(slot, Change { before: U256::ZERO, after: value });
            if change.storage.len() == REBUILD_CHUNK {
                let storage = std::mem::take(&mut change.storage);
                let part = AccountChange { storage, ..change.clone() };
                trie.apply(&ChangeSet { accounts: [(address, part)].into(), ..Default::default() });
            }
        }
        size += 1 + change.storage.len();
        chunk.accounts.insert(address, change);
        if size >= REBUILD_CHUNK {
            trie.apply(&std::mem::take(&mut chunk));
            size = 0;
        }
        Ok(())
    })?;
    trie.apply(&chunk);
    Ok(trie)
}

/// What only a development chain lets a caller do. Each call returns when it is done and durable.
pub struct Dev<'a> {
    node: &'a Node,
}

/// A change to the state from outside of any transaction.
#[derive(Clone, Debug)]
pub enum Amendment {
    /// Sets a balance, in wei.
    Balance(Address, U256),
    /// Sets a nonce.
    Nonce(Address, u64),
    /// Sets the code.
    Code(Address, Bytes),
    /// Sets a storage slot.
    Slot(Address, U256, U256),
}

impl Dev<'_> {
    /// From now on the chain does not settle, since `method` changes it as its rules do not allow. It is kept before anything changes.
    ///
    /// # Errors
    /// If the store fails.
    pub fn detach(&self, method: &str) -> Result<(), NodeError> {
        let shared = &self.node.shared;
        if shared.spec.settlement.is_none() || shared.detached.get().is_some() {
            return Ok(());
        }
        let reason =
            format!("detached: {method} has changed the chain from outside of its rules, so it settles no more");
        shared.storage.put_meta(DETACHED_KEY, reason.as_bytes())?;
        tracing::warn!("{reason}");
        let _ = shared.detached.set(reason);
        Ok(())
    }

    /// Seals `count` blocks now, whatever the pool holds, at least `interval` seconds apart.
    ///
    /// # Errors
    /// If the node is stopping.
    pub fn mine(&self, count: u64, interval: u64) -> Result<(), NodeError> {
        self.node.call(|reply| Command::Mine { count, interval, reply })
    }

    /// Sets whether blocks are sealed without being asked for.
    pub fn set_automine(&self, on: bool) {
        self.node.shared.automine.store(on, Ordering::Relaxed);
        let _ = self.node.commands.send(Command::Wake);
    }

    /// Whether blocks are sealed without being asked for.
    pub fn automine(&self) -> bool {
        self.node.shared.automine.load(Ordering::Relaxed)
    }

    /// Remembers the head, and returns a name for it.
    ///
    /// # Errors
    /// If the node is stopping.
    pub fn snapshot(&self) -> Result<u64, NodeError> {
        self.node.call(|reply| Command::Snapshot { reply })
    }

    /// Goes back to a snapshot; false if there is none of that name. It and those after it are used up.
    ///
    /// # Errors
    /// If the store fails.
    pub fn revert(&self, id: u64) -> Result<bool, NodeError> {
        self.detach("evm_revert")?;
        self.node.call(|reply| Command::Revert { id, reply })
    }

    /// Withdraws the last `depth` blocks and seals as many others in their place, later than they were. The withdrawn transactions are forgotten, or with `keep`
    /// return to the pool first.
    ///
    /// # Errors
    /// If there are no so many blocks, or the safe block is among them; if the store fails.
    pub fn reorg(&self, depth: u64, keep: bool) -> Result<(), NodeError> {
        self.detach("anvil_reorg")?;
        self.node.call(|reply| Command::Reorg { depth, keep, reply })
    }

    /// Moves the clock forward by seconds; returns how far it is ahead in all.
    ///
    /// # Errors
    /// If the store fails.
    pub fn increase_time(&self, seconds: u64) -> Result<i64, NodeError> {
        self.detach("evm_increaseTime")?;
        Ok(self.node.shared.clock.advance(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)) / 1000)
    }

    /// Sets the time of the next block, be it a heartbeat, in seconds since the Unix epoch; the clock goes on from there.
    ///
    /// # Errors
    /// If the time is before the head's, or more than a thousand years ahead.
    pub fn set_next_timestamp(&self, seconds: u64) -> Result<(), NodeError> {
        self.detach("evm_setNextBlockTimestamp")?;
        self.node.call(|reply| Command::SetNextTimestamp { seconds, reply })
    }

    /// Sets the time from each block to the next, in seconds, whatever the clock says; `None`: as the clock goes.
    ///
    /// # Errors
    /// If it is zero, or the node is stopping.
    pub fn set_block_interval(&self, seconds: Option<u64>) -> Result<(), NodeError> {
        self.detach("anvil_setBlockTimestampInterval")?;
        self.node.call(|reply| Command::SetInterval { seconds, reply })
    }

    /// Changes the state, in a block of its own without transactions.
    ///
    /// # Errors
    /// If the store fails.
    pub fn amend(&self, amendments: Vec<Amendment>) -> Result<(), NodeError> {
        self.detach("anvil_set*")?;
        self.node.call(|reply| Command::Amend { amendments, reply })
    }
}
