//! Settlement beside a node: the tasks that follow L1, step to its blocks, commit, prove, rebuild, and move the tags.
//!
//! Each task looks at what is there (the store, L1, the relayer's journal) and does the next thing; none keeps anything that a restart would miss. What
//! keeps a task from its work is in `jove_syncStatus`.

mod certificates;
mod commit;
mod derive;
mod duties;
mod enclaves;
mod era;
mod prove;
mod rescue;
mod silence;
mod weigh;

use alloy_primitives::{B256, Bytes};
use certificates::Beside;
use enclaves::Enclaves;
use jove_consensus::Consensus;
use jove_primitives::spec::Settlement;
use jove_prover::{Controller, Queue, Secret, System};
use jove_sequencer::{Node, NodeError, Tags};
use jove_settlement::{
    Archive, BlobError, Blobs, Error, Key, L1, committer,
    origins::{self, Depth, Step},
    outbox::Outbox,
    policy::Policy,
    relayer::{Mined, Relayer, RelayerConfig, State},
    rescue::Ahead,
    status::{Counter, DebtLimits, Handle, Rebuild, Stage, Status},
    test_proofs::Judged,
    watcher::{Batch, L1State, Watcher},
};
use metrics::gauge;
use parking_lot::Mutex;
use prove::Prover;
use rescue::{Rescuer, Sender};
use silence::Silence;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use weigh::Weighed;

/// How a chain settles.
pub(crate) struct Settings {
    /// L1's JSON-RPC.
    pub(crate) l1: L1,
    /// Where blobs are had from.
    pub(crate) blobs: Blobs,
    /// Where they are kept, if this node does.
    pub(crate) archive: Option<Arc<Archive>>,
    /// How deep in L1 an origin is.
    pub(crate) depth: Depth,
    /// Between two looks at L1.
    pub(crate) poll: Duration,
    /// Who commits, if this node does.
    pub(crate) commit: Option<Committing>,
    /// Most bytes that provers are given of a batch which this node commits.
    pub(crate) most_input: usize,
    /// Who sends proofs, if this node does.
    pub(crate) prove: Option<Key>,
    /// Where provers get batches, on a chain whose proofs are made by them.
    pub(crate) enclaves: Option<Serving>,
    /// Who steps in for the operators, if this node does.
    pub(crate) rescue: Option<Rescuing>,
    /// Who brings evidence against validators and claims of rewards to L1, if this node does, beside consensus.
    pub(crate) duties: Option<Key>,
    /// What may wait before the pool is closed.
    pub(crate) limits: DebtLimits,
    /// Who tells what the blocks of final batches did, if they are not to be executed.
    pub(crate) effects: Option<L1>,
    /// Where the relayers keep their journals.
    pub(crate) folder: PathBuf,
    /// Where proofs in zero knowledge are kept, for whoever asks for them.
    pub(crate) proofs: PathBuf,
}

/// Where a controller of provers listens, and what its workers know.
pub(crate) struct Serving {
    /// Whether enclaves prove.
    pub(crate) tee: bool,
    /// Whether provers in zero knowledge do.
    pub(crate) zk: bool,
    pub(crate) listener: std::net::TcpListener,
    pub(crate) secret: Secret,
}

/// Who commits, and when.
pub(crate) struct Committing {
    /// The account.
    pub(crate) signer: Key,
    /// Weighs fees against time.
    pub(crate) policy: Policy,
    /// Instructions that a batch takes at most to prove in zero knowledge, about.
    pub(crate) instructions: u64,
    /// Commits whatever waits at once, if a transaction or message is among it: for development.
    pub(crate) eager: bool,
}

/// Who commits what the operators leave undone: a full node messages, one on a chain with validators what they certified.
pub(crate) struct Rescuing {
    /// The account, its own: L1's nodes take either blob transactions of an account or others, not both.
    pub(crate) signer: Key,
    /// The age at which a certified block is committed, once anyone may.
    pub(crate) deadline: Duration,
    /// As in [`Committing`].
    pub(crate) instructions: u64,
}

/// How long a prover has a batch that it does not say it is still proving.
const LEASE: Duration = Duration::from_secs(30);

/// Why a task does not get on: all of these may pass.
type Held = Box<dyn std::error::Error + Send + Sync>;

/// Settlement, running. Ends when it is dropped.
pub(crate) struct Settle {
    pub(crate) handle: Handle,
    /// Where it settles, and how deep it looks there.
    pub(crate) l1: (L1, Depth),
    /// Where it has blobs from.
    pub(crate) blobs: Arc<Blobs>,
    /// The blobs that it keeps.
    pub(crate) archive: Option<Arc<Archive>>,
    /// Where it keeps proofs in zero knowledge.
    pub(crate) proofs: Arc<PathBuf>,
    /// Consensus beside the node: without, a chain with validators commits nothing.
    beside: Beside,
    /// Whether L1 has begun a new era, and the chain is at its root: all of this is to be started anew.
    begun: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Settle {
    /// Consensus runs beside the node now: what it certifies is committed.
    pub(crate) fn stand_beside(&self, consensus: Arc<Consensus>) {
        let _ = self.beside.set(consensus);
    }

    /// Ends once L1 has begun a new era, and the chain is at its root.
    pub(crate) async fn era(&self) {
        let mut begun = self.begun.clone();
        if begun.wait_for(|begun| *begun).await.is_err() {
            // It has none.
            std::future::pending::<()>().await;
        }
    }

    /// Runs something beside it, and as long.
    pub(crate) fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

/// What every task has.
#[derive(Clone)]
struct Shared {
    node: Arc<Node>,
    settlement: Arc<Settlement>,
    l1: L1,
    blobs: Arc<Blobs>,
    handle: Handle,
    poll: Duration,
    beside: Beside,
    invalid: Arc<Mutex<Option<Invalid>>>,
    /// Whether `Rollup` refused a batch because it leaves an overdue message out.
    overdue: Arc<AtomicBool>,
    /// Who tells what the blocks of final batches did.
    effects: Option<L1>,
    /// The batches that were derived from their blobs, by index.
    derived: Arc<Mutex<BTreeMap<u64, B256>>>,
    /// A batch that is to be committed with its proof: provers are asked for that, though L1 does not have it.
    ahead: Arc<Mutex<Option<Arc<Ahead>>>>,
    /// The folder of proofs in zero knowledge.
    proofs: Arc<PathBuf>,
    /// What provers are given of the batches that this node commits.
    weighed: Arc<Weighed>,
}

/// A committed batch that this node found invalid: it is so for ever.
#[derive(Clone)]
struct Invalid {
    index: u64,
    hash: B256,
    reason: String,
}

/// Starts the tasks that this node's role has. They wait for L1: a node starts without.
///
/// # Errors
/// In words for the operator: if the chain settles nowhere, or a journal cannot be opened.
pub(crate) fn start(node: Arc<Node>, settings: Settings) -> Result<Settle, String> {
    let Settings {
        l1,
        blobs,
        archive,
        depth,
        poll,
        commit,
        most_input,
        prove,
        enclaves,
        rescue,
        duties,
        limits,
        effects,
        folder,
        proofs,
    } = settings;
    let words = |error: Error| error.to_string();
    let spec = node.spec().clone();
    let settlement = Arc::new(spec.settlement.clone().ok_or_else(|| Error::NoSettlement.to_string())?);
    let storage = node.storage().clone();
    let genesis = storage.view().block_hash(0).map_err(|error| error.to_string())?.unwrap_or_default();
    let watcher = Watcher::new(l1.clone(), spec, genesis, storage.clone()).map_err(words)?;
    let handle = Handle {
        l1: watcher.state(),
        status: Status::default(),
        outbox: Outbox::new(storage),
        backlog: Arc::new(Mutex::new(None)),
        unproven: Arc::default(),
        evidence: Arc::default(),
        rebuild: Rebuild::default(),
        limits,
    };
    let blobs = match &archive {
        Some(archive) => blobs.keeping(archive.clone()),
        None => blobs,
    };
    let (blobs, invalid, overdue) = (Arc::new(blobs), Arc::default(), Arc::default());
    let (derived, ahead) = Default::default();
    let proofs = Arc::new(proofs);
    let weighed = Arc::new(Weighed::new(most_input, enclaves.is_some()));
    let beside = Beside::default();
    let shared = Shared {
        node,
        settlement,
        l1: l1.clone(),
        blobs,
        handle: handle.clone(),
        poll,
        beside: beside.clone(),
        invalid,
        overdue,
        effects,
        derived,
        ahead,
        proofs: proofs.clone(),
        weighed,
    };
    let relayer = |signer: Key| Relayer::open(l1.clone(), signer, relayer_config(poll), &folder).map_err(words);

    let mut tasks = JoinSet::new();
    tasks.spawn(watch(shared.clone(), watcher));
    tasks.spawn(tag(shared.clone()));
    if let Some(Committing { signer, policy, eager, instructions }) = commit {
        tasks.spawn(commit::commit_batches(shared.clone(), relayer(signer)?, policy, eager, instructions));
    }
    if let Some(signer) = duties {
        tasks.spawn(duties::attend(shared.clone(), relayer(signer)?));
    }
    let payout = prove.as_ref().map(Key::address).unwrap_or_default();
    let controller = match (&prove, enclaves) {
        (Some(_), Some(Serving { tee, zk, listener, secret })) => {
            let open = |is: bool, system| {
                let queue = is.then(|| Queue::open(shared.node.storage().clone(), system, LEASE));
                queue.transpose().map_err(|error| error.to_string())
            };
            let (tee, zk) = (open(tee, System::Tee)?, open(zk, System::Zk)?);
            let chain = Enclaves::new(shared.clone(), payout);
            let controller = Controller::new(chain, secret, tee, zk);
            listener.set_nonblocking(true).map_err(|error| error.to_string())?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
            tasks.spawn(controller.clone().serve(listener));
            Some(controller)
        }
        _ => None,
    };
    let prover = match prove {
        Some(signer) => {
            // A node on a chain with validators may be behind them: what it does not have yet is no reason to drop a batch.
            let drops = rescue.is_some() && !shared.node.is_sequencing();
            Some(Prover::new(relayer(signer)?, drops, controller.clone()))
        }
        None => None,
    };
    let (mut rescuer, mut silence) = (None, None);
    if let Some(Rescuing { signer, deadline, instructions }) = rescue {
        let sender = Sender::new(relayer(signer)?, controller, payout);
        match shared.node.is_sequencing() {
            true => silence = Some(Silence::new(&shared, sender, deadline, instructions)),
            false => rescuer = Some(Rescuer::new(sender, depth)),
        }
    }
    if let Some(silence) = silence {
        tasks.spawn(silence.stand_by(shared.clone()));
    }
    let (began, begun) = watch::channel(false);
    if shared.node.is_elected() && shared.node.is_sequencing() {
        tasks.spawn(era::follow(shared.clone(), began));
    }
    let blobs = shared.blobs.clone();
    match (shared.node.is_sequencing(), prover) {
        (false, prover) => {
            tasks.spawn(derive::follow(shared, prover, rescuer));
        }
        (true, prover) => {
            tasks.spawn(consume(shared.clone(), depth));
            if let Some(prover) = prover {
                tasks.spawn(prove::prove_batches(shared, prover));
            }
        }
    }
    Ok(Settle { handle, l1: (l1, depth), blobs, archive, proofs, beside, begun, tasks })
}

fn relayer_config(poll: Duration) -> RelayerConfig {
    RelayerConfig { poll, ..Default::default() }
}

impl Shared {
    fn status(&self, stage: Stage, outcome: Result<(), Held>) {
        match outcome {
            Ok(()) => self.handle.status.running(stage),
            Err(error) => self.handle.status.blocked(stage, error),
        }
    }

    fn l1_state(&self) -> L1State {
        self.handle.l1.borrow().clone()
    }

    fn is_invalid(&self, batch: &Batch) -> bool {
        self.invalid.lock().as_ref().is_some_and(|invalid| invalid.hash == batch.hash)
    }

    fn is_derived(&self, batch: &Batch) -> bool {
        self.derived.lock().get(&batch.header.index) == Some(&batch.hash)
    }

    /// Why no batch can be derived: one that is invalid waits to be dropped.
    fn invalid(&self) -> Result<Option<String>, Error> {
        let Some(Invalid { index, hash, reason }) = self.invalid.lock().clone() else { return Ok(None) };
        let waits = self.l1_state().batch(index)?.is_some_and(|batch| batch.hash == hash);
        Ok(waits.then(|| format!("batch {index} on L1 is invalid ({reason}): it waits to be dropped")))
    }

    /// The contents of a batch's blobs: of one on L1, or ahead of it.
    async fn contents(&self, batch: &Batch) -> Result<Vec<Bytes>, BlobError> {
        let ahead = self.ahead.lock().clone();
        match ahead.filter(|ahead| ahead.batch.hash == batch.hash) {
            Some(ahead) => Ok(ahead.contents()),
            None => self.blobs.get(batch.committed.block(), &batch.blobs).await,
        }
    }

    /// Waits until L1 says something new, or for a while.
    async fn wait(&self, l1: &mut watch::Receiver<L1State>) {
        let _ = tokio::time::timeout(self.poll, l1.changed()).await;
        tokio::time::sleep(self.poll / 10).await;
    }

    /// Gives the node something to do that blocks.
    async fn node<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, Held> {
        let node = self.node.clone();
        Ok(spawn_blocking(move || work(&node)).await??)
    }
}

/// The next attempt at something.
struct Attempt {
    /// Its key.
    key: String,
    /// How the last one failed.
    failed: Option<String>,
}

/// What is to be sent for `key`: nothing while an attempt is under way or has succeeded, unless what it did is `undone`. A request is sent once, so one that
/// failed is tried again under another key.
fn next_attempt(relayer: &Relayer, key: &str, undone: impl Fn(&Mined) -> bool) -> Option<Attempt> {
    let mut failed = None;
    for attempt in 0u32.. {
        let key = if attempt == 0 { key.to_owned() } else { format!("{key}/{attempt}") };
        match relayer.state(&key) {
            None => return Some(Attempt { key, failed }),
            // It was never sent: the same again.
            Some(State::Refused(revert)) => {
                return Some(Attempt { failed: Some(format!("{key} would revert: {revert}")), key });
            }
            Some(State::Mined(mined) | State::Final(mined)) if !mined.success => {
                failed = Some(format!("{key} reverted in transaction {}", mined.hash));
            }
            Some(State::Displaced { nonce } | State::Fenced { nonce }) => {
                failed = Some(format!("{key} was displaced: another transaction of the account has nonce {nonce}"));
            }
            Some(State::Mined(mined) | State::Final(mined)) if undone(&mined) => {}
            Some(_) => return None,
        }
    }
    None
}

/// # Errors
/// Why a transaction waits for longer than usual.
fn unstuck(relayer: &Relayer, poll: Duration) -> Result<(), Held> {
    let Some(stuck) = relayer.stuck() else { return Ok(()) };
    let waited = stuck.since.elapsed().unwrap_or_default();
    if waited > 10 * poll { Err(format!("{}: {}", stuck.key, stuck.reason).into()) } else { Ok(()) }
}

async fn watch(shared: Shared, mut watcher: Watcher) {
    loop {
        let polled = watcher.poll().await;
        shared.status(Stage::Watch, polled.map(drop).map_err(Into::into));
        tokio::time::sleep(shared.poll).await;
    }
}

/// A sequencer's: L1 origins and messages.
async fn consume(shared: Shared, depth: Depth) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        // Else its blocks, and what they consume, are the leader's.
        if !shared.node.is_leading() {
            shared.wait(&mut l1).await;
            continue;
        }
        let outcome = step(&shared, depth).await;
        let again = matches!(outcome, Ok(true));
        shared.status(Stage::Consume, outcome.map(drop));
        if !again {
            shared.wait(&mut l1).await;
        }
    }
}

/// Whether there was something to do.
async fn step(shared: &Shared, depth: Depth) -> Result<bool, Held> {
    if let Some(reason) = shared.node.detached() {
        return Err(reason.into());
    }
    let (node, state) = (&shared.node, shared.l1_state());
    if others_have_committed(shared, &state)? && derive::next(shared).await? {
        return Ok(true);
    }
    let now = node.now_ms();
    if shared.overdue.swap(false, Ordering::Relaxed)
        && let Some(number) = origins::before_message(&state, &node.storage().view(), depth)?
    {
        let (l1, storage) = (&shared.l1, node.storage());
        let step = origins::next_step(l1, &shared.settlement, &state, storage, Some(number), depth, now).await?;
        if let Step::Consume { origin, messages } = step
            && !messages.is_empty()
        {
            tracing::warn!(to = number, "blocks are withdrawn that leave an overdue message waiting: it comes first");
            shared.node(move |node| node.consume_after(number, origin, messages)).await?;
            return Ok(true);
        }
    }
    match origins::next_step(&shared.l1, &shared.settlement, &state, node.storage(), None, depth, now).await? {
        Step::Wait => return Ok(false),
        Step::Consume { origin, messages } => shared.node(move |node| node.consume(origin, messages)).await?,
        Step::Unwind(number) => {
            tracing::warn!(to = number, "L1 was reorganised below the chain's origin: blocks are withdrawn");
            shared.node(move |node| node.unwind(number)).await?;
        }
    }
    Ok(true)
}

/// Whether the last batch on L1 is not of this chain: a stranger committed in the operators' place, or this node is behind.
fn others_have_committed(shared: &Shared, state: &L1State) -> Result<bool, Error> {
    let Some(head) = state.batch(state.latest.head)? else { return Ok(false) };
    let hash = shared.node.storage().view().block_hash(head.header.last_block)?;
    Ok(hash != Some(head.header.last_block_hash) && !shared.is_invalid(&head))
}

/// Moves `safe` and `finalized`, takes in the messages that are final, and closes the pool when too much waits.
async fn tag(shared: Shared) {
    let mut l1 = shared.handle.l1.clone();
    let mut counter = Counter::default();
    let mut looked = B256::ZERO;
    loop {
        let head = l1.borrow_and_update().latest.block.hash;
        if head != looked {
            match count_evidence(&shared).await {
                Ok(()) => looked = head,
                Err(error) => tracing::debug!(%error, "L1 does not say which proofs count"),
            }
        }
        if let Err(error) = move_tags(&shared).await {
            tracing::debug!(%error, "the tags stay");
        }
        if let Err(error) = count_debts(&shared, &mut counter) {
            tracing::warn!(%error, "what waits for proofs cannot be counted");
        }
        if shared.node.is_sequencing() {
            let closed = match begun(&shared) {
                true => shared.handle.debt(shared.node.now_ms()),
                false => Some("the chain has not seen its first L1 block yet: try again soon".into()),
            };
            shared.node.pool().set_closed(closed.as_deref());
        }
        shared.wait(&mut l1).await;
    }
}

/// Batches that are asked about at once, and so often: of more it is not known which proofs count.
const BATCHES: u64 = 256;
const QUESTIONS: u64 = 16;

/// Keeps which proofs L1 counts of the outputs that this node says.
async fn count_evidence(shared: &Shared) -> Result<(), Held> {
    let (state, view) = (shared.l1_state(), shared.node.storage().view());
    let mut counted = BTreeMap::new();
    let last = state.latest.last_final;
    let Some(settled) = state.batch(last)?.and_then(|parent| parent.settled) else { return Ok(()) };
    let (mut start, mut next) = (settled.output, last + 1);
    for _ in 0..QUESTIONS {
        let (mut outputs, mut any) = (Vec::new(), false);
        for index in next..=state.latest.head.min(next + BATCHES - 1) {
            let Some(batch) = state.batch(index)? else { break };
            let block = batch.header.last_block;
            if view.block_hash(block)? != Some(batch.header.last_block_hash) {
                break;
            }
            let roots = Some(committer::roots(&view, block)?);
            let judged = Judged { header: &batch.header, blobs: &batch.blobs, openings: &[], roots };
            any |= batch.attested.or(batch.proven).is_some();
            outputs.push((batch.hash, judged.output(B256::ZERO)));
        }
        // Batches are proven in order.
        if !any {
            break;
        }
        let evidence = prove::evidence(shared, start, &outputs).await?;
        counted.extend(outputs.iter().map(|(hash, _)| *hash).zip(evidence));
        next += outputs.len() as u64;
        start = outputs.last().map_or(start, |(_, output)| *output);
    }
    *shared.handle.evidence.lock() = counted;
    Ok(())
}

/// Counts what waits, for whoever asks.
fn count_debts(shared: &Shared, counter: &mut Counter) -> Result<(), Error> {
    let view = shared.node.storage().view();
    let unproven = tokio::task::block_in_place(|| counter.count(&shared.l1_state(), &view))?;
    *shared.handle.unproven.lock() = unproven;
    let now = shared.node.now_ms();
    let age = |since: Option<u64>| since.map_or(0, |since| now.saturating_sub(since)) as f64 / 1e3;
    if let Some(backlog) = *shared.handle.backlog.lock() {
        gauge!("jove_uncommitted_blocks").set(backlog.blocks as f64);
        gauge!("jove_uncommitted_bytes").set(backlog.bytes as f64);
        gauge!("jove_uncommitted_seconds").set(age(backlog.since_ms));
    }
    gauge!("jove_unproven_batches").set(unproven.batches as f64);
    gauge!("jove_unproven_blocks").set(unproven.blocks as f64);
    gauge!("jove_unproven_gas").set(unproven.gas as f64);
    gauge!("jove_unproven_instructions").set(unproven.instructions() as f64);
    gauge!("jove_unproven_seconds").set(age(unproven.since_ms));
    Ok(())
}

/// Whether the chain's blocks can be committed: they name an L1 block. A development chain's do in a moment.
fn begun(shared: &Shared) -> bool {
    let view = shared.node.storage().view();
    shared.node.dev().is_some()
        || origins::origin_at(&view, view.head_number()).is_ok_and(|(origin, _)| origin.number > 0)
}

async fn move_tags(shared: &Shared) -> Result<(), Held> {
    let state = shared.l1_state();
    let node = &shared.node;
    let view = node.storage().view();
    let is_ours = |batch: &Batch| -> Result<bool, Error> {
        Ok(view.block_hash(batch.header.last_block)? == Some(batch.header.last_block_hash))
    };
    let last = |index: u64| -> Result<u64, Error> {
        Ok(state
            .batch(index)?
            .filter(|batch| is_ours(batch).unwrap_or(false))
            .map_or(0, |batch| batch.header.last_block))
    };
    let mut safe = last(state.latest.head)?;
    if safe == 0 {
        // A node that is still being rebuilt: as far as it has come.
        safe = derive::derived(&state, &view)?.map_or(0, |batch| batch.header.last_block);
    }
    let now = node.tags();
    let finalized = last(state.finalized.last_final.min(state.latest.head))?.max(now.finalized);
    let tags = Tags { safe: safe.max(finalized), finalized };
    if tags != now {
        shared.node(move |node| node.set_tags(tags)).await?;
    }
    let outbox = shared.handle.outbox.clone();
    Ok(spawn_blocking(move || outbox.extend(finalized)).await??)
}
