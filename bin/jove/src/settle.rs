//! Settlement beside a node: the tasks that follow L1, step to its blocks, commit, prove, rebuild, and move the tags.
//!
//! Each task looks at what is there (the store, L1, the relayer's journal) and does the next thing; none keeps anything that a restart would miss. What
//! keeps a task from its work is in `jove_syncStatus`.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, keccak256};
use jove_primitives::{batch::decode, spec::Settlement};
use jove_sequencer::{Derived, DerivedBatch, Node, NodeError, Tags};
use jove_settlement::{
    BlobOpening, Blobs, Error, Key, L1,
    blobs::opening,
    committer::{Commit, Committer, roots},
    contracts::ProofSystem,
    origins::{self, Depth, Step, origin_at},
    outbox::Outbox,
    policy::{Inputs, Policy, Prices},
    relayer::{Relayer, RelayerConfig, Request, State, sidecar},
    status::{DebtLimits, Handle, Stage, Status},
    test_proofs,
    watcher::{self, Batch, L1State, Watcher},
};
use parking_lot::Mutex;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};

/// L1 blocks whose fees a commit is weighed against: most that a node gives at once.
const FEE_HISTORY: u64 = 1024;
/// Most blobs of a batch.
const BLOBS: usize = 6;

/// How a chain settles.
pub(crate) struct Settings {
    /// L1's JSON-RPC.
    pub(crate) l1: L1,
    /// Where blobs are had from.
    pub(crate) blobs: Blobs,
    /// How deep in L1 an origin is.
    pub(crate) depth: Depth,
    /// Between two looks at L1.
    pub(crate) poll: Duration,
    /// Who commits, if this node does.
    pub(crate) commit: Option<Committing>,
    /// Who sends proofs that test verifiers believe, if this node does.
    pub(crate) prove: Option<Key>,
    /// What may wait before the pool is closed.
    pub(crate) limits: DebtLimits,
    /// Where the relayers keep their journals.
    pub(crate) folder: PathBuf,
}

/// Who commits, and when.
pub(crate) struct Committing {
    /// The account.
    pub(crate) signer: Key,
    /// Weighs fees against time.
    pub(crate) policy: Policy,
    /// Commits whatever waits at once, if a transaction or message is among it: for development.
    pub(crate) eager: bool,
}

/// Why a task does not get on: all of these may pass.
type Held = Box<dyn std::error::Error + Send + Sync>;

/// Settlement, running. Ends when it is dropped.
pub(crate) struct Settle {
    pub(crate) handle: Handle,
    _tasks: JoinSet<()>,
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
}

/// Starts the tasks that this node's role has. They wait for L1: a node starts without.
///
/// # Errors
/// In words for the operator: if the chain settles nowhere, or a journal cannot be opened.
pub(crate) fn start(node: Arc<Node>, settings: Settings) -> Result<Settle, String> {
    let Settings { l1, blobs, depth, poll, commit, prove, limits, folder } = settings;
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
        limits,
    };
    let shared = Shared { node, settlement, l1: l1.clone(), blobs: Arc::new(blobs), handle: handle.clone(), poll };
    let relayer = |signer: Key| Relayer::open(l1.clone(), signer, relayer_config(poll), &folder).map_err(words);

    let mut tasks = JoinSet::new();
    tasks.spawn(watch(shared.clone(), watcher));
    tasks.spawn(tag(shared.clone()));
    match shared.node.is_sequencing() {
        true => tasks.spawn(consume(shared.clone(), depth)),
        false => tasks.spawn(derive(shared.clone())),
    };
    if let Some(Committing { signer, policy, eager }) = commit {
        tasks.spawn(commit_batches(shared.clone(), relayer(signer)?, policy, eager));
    }
    if let Some(signer) = prove {
        tasks.spawn(prove_batches(shared.clone(), relayer(signer)?));
    }
    Ok(Settle { handle, _tasks: tasks })
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
    let now = node.now_ms();
    match origins::next_step(&shared.l1, &shared.settlement, &state, node.storage(), depth, now).await? {
        Step::Wait => return Ok(false),
        Step::Consume { origin, messages } => shared.node(move |node| node.consume(origin, messages)).await?,
        Step::Unwind(number) => {
            tracing::warn!(to = number, "L1 was reorganised below the chain's origin: blocks are withdrawn");
            shared.node(move |node| node.unwind(number)).await?;
        }
    }
    Ok(true)
}

/// Moves `safe` and `finalized`, takes in the messages that are final, and closes the pool when too much waits.
async fn tag(shared: Shared) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        if let Err(error) = move_tags(&shared).await {
            tracing::debug!(%error, "the tags stay");
        }
        if shared.node.is_sequencing() {
            let debt = shared.handle.debt(shared.node.now_ms());
            shared.node.pool().set_closed(debt.as_deref());
        }
        shared.wait(&mut l1).await;
    }
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
        safe = derived(&state, &view)?.map_or(0, |batch| batch.header.last_block);
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

/// The last committed batch whose last block this node has.
fn derived(state: &L1State, view: &jove_storage::View) -> Result<Option<Batch>, Error> {
    let mut index = match state.batch_of_block(view.head_number())? {
        Some(batch) => batch.header.index,
        None => state.latest.head,
    };
    loop {
        let Some(batch) = state.batch(index)? else { return Ok(None) };
        if view.block_hash(batch.header.last_block)? == Some(batch.header.last_block_hash) {
            return Ok(Some(batch));
        }
        let Some(before) = index.checked_sub(1) else { return Ok(None) };
        index = before;
    }
}

/// A full node's: blocks from L1.
async fn derive(shared: Shared) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        let outcome = derive_next(&shared).await;
        let again = matches!(outcome, Ok(true));
        shared.status(Stage::Derive, outcome.map(drop));
        if !again {
            shared.wait(&mut l1).await;
        }
    }
}

/// Whether there was something to do.
async fn derive_next(shared: &Shared) -> Result<bool, Held> {
    let state = shared.l1_state();
    if !state.latest.open {
        return Err(Error::NotOpen.into());
    }
    let view = shared.node.storage().view();
    let parent = derived(&state, &view)?.ok_or(Error::WrongChain)?;
    let index = parent.header.index + 1;
    let Some(batch) = state.batch(index)? else {
        let last = parent.header.last_block;
        if view.head_number() > last {
            tracing::warn!(to = last, "batches were dropped on L1: their blocks are withdrawn");
            shared.node(move |node| node.unwind(last)).await?;
            return Ok(true);
        }
        return Ok(false);
    };
    let block = batch.committed.block();
    let contents = shared.blobs.get(block, &batch.blobs).await?;
    let data = decode(&contents, batch.header.chain_id);
    let mut origins = Vec::new();
    let mut number = origin_at(&view, parent.header.last_block)?.0.number;
    for steps in data.iter().flat_map(|data| &data.blocks).map(|block| block.origin_steps).filter(|steps| *steps > 0) {
        number = number.saturating_add(steps.into());
        if number > batch.header.origin_number {
            break;
        }
        let header = shared.l1.header(number).await?.ok_or(Error::UnknownL1Block(number))?;
        origins.push(watcher::origin(&shared.settlement, &header, state.messages_up_to(number)?));
    }
    drop(view);
    let messages = state.deposits(batch.header.first_message, batch.header.end_message)?;
    let header = batch.header;
    let derived = DerivedBatch { header, data, origins, messages };
    match shared.node(move |node| node.derive(derived)).await? {
        Derived::Valid(_) => {
            let (last, all) = (header.last_block, state.latest.head);
            tracing::info!(batch = index, of = all, block = last, "derived from L1");
            Ok(true)
        }
        Derived::Invalid(error) => {
            Err(format!("batch {index} on L1 is invalid ({error}): it waits to be dropped").into())
        }
    }
}

/// How far commits have come.
#[derive(Default)]
struct Progress {
    /// Key and index of the one under way.
    sent: Option<(String, u64)>,
    /// L1's head at the last decision.
    decided: B256,
}

/// Commits batches, one after the other.
async fn commit_batches(shared: Shared, mut relayer: Relayer, policy: Policy, eager: bool) {
    let mut l1 = shared.handle.l1.clone();
    let mut committer = Committer::new(shared.node.storage().clone(), shared.node.spec().chain_id, BLOBS);
    let mut progress = Progress::default();
    loop {
        let stepped = relayer.step().await;
        let outcome = match stepped {
            Ok(()) => commit_next(&shared, &mut relayer, &mut committer, &policy, eager, &mut progress).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Commit, outcome);
        shared.wait(&mut l1).await;
    }
}

async fn commit_next(
    shared: &Shared,
    relayer: &mut Relayer,
    committer: &mut Committer,
    policy: &Policy,
    eager: bool,
    progress: &mut Progress,
) -> Result<(), Held> {
    if let Some(reason) = shared.node.detached() {
        return Err(reason.into());
    }
    let state = shared.l1_state();
    if !state.latest.open {
        return Err(Error::NotOpen.into());
    }
    if state.latest.halted {
        return Err("the escape has begun: no batch is taken any more".into());
    }
    let backlog = tokio::task::block_in_place(|| committer.collect(&state))?;
    let Some(backlog) = backlog else { return Ok(()) };
    *shared.handle.backlog.lock() = Some(backlog);
    if let Some((key, index)) = progress.sent.clone() {
        match relayer.state(&key) {
            // The watcher has not seen it yet, or a reorganisation has taken it back: then the relayer sends it again.
            Some(State::Mined(mined) | State::Final(mined)) if mined.success => {
                if state.latest.head < index {
                    return Ok(());
                }
                progress.sent = None;
            }
            Some(State::Refused(revert)) => {
                progress.sent = None;
                return Err(format!("the commit would revert: {revert}").into());
            }
            Some(State::Mined(_) | State::Final(_)) => {
                tracing::warn!(key, "a commit reverted");
                progress.sent = None;
            }
            Some(State::Displaced { .. } | State::Fenced { .. }) => {
                tracing::warn!(key, "a commit was displaced");
                progress.sent = None;
            }
            Some(State::Queued | State::Pending { .. }) | None => {}
        }
    }
    // One at a time: also one from before a restart.
    if let Some(stuck) = relayer.stuck() {
        let patience = 10 * shared.poll;
        let waited = stuck.since.elapsed().unwrap_or_default();
        return if waited > patience { Err(format!("{}: {}", stuck.key, stuck.reason).into()) } else { Ok(()) };
    }
    // Nothing that the decision depends on changes before L1's head does.
    if backlog.blocks == 0 || progress.decided == state.latest.block.hash {
        return Ok(());
    }
    let now = shared.node.now_ms();
    let history = shared.l1.fee_history(FEE_HISTORY, BlockNumberOrTag::Latest, &[]).await?;
    let fees = history.base_fee_per_gas.iter().zip(&history.base_fee_per_blob_gas);
    let mut recent: Vec<Prices> =
        fees.map(|(base_fee, blob_base_fee)| Prices { base_fee: *base_fee, blob_base_fee: *blob_base_fee }).collect();
    let decision = policy.decide(&Inputs {
        now: recent.pop().unwrap_or_default(),
        recent: &recent,
        waiting: backlog.bytes as u64,
        age: Duration::from_millis(backlog.since_ms.map_or(0, |since| now.saturating_sub(since))),
        due_in: None,
    });
    progress.decided = state.latest.block.hash;
    tracing::debug!(%decision, blocks = backlog.blocks, bytes = backlog.bytes, "commit policy");
    if !(decision.commits() || eager && backlog.busy) {
        return Ok(());
    }
    let commit = tokio::task::block_in_place(|| committer.next_commit())?;
    let Some(Commit { key, index, first_block, last_block, call, blobs }) = commit else { return Ok(()) };
    let count = blobs.len();
    let sidecar = spawn_blocking(move || sidecar(blobs)).await??;
    let (to, sidecar) = (shared.settlement.rollup, Some(Arc::new(sidecar)));
    let request = Request { key: key.clone(), to, value: Default::default(), data: call, gas_limit: None, sidecar };
    relayer.submit(request)?;
    tracing::info!(batch = index, first_block, last_block, blobs = count, why = %decision, "committing");
    progress.sent = Some((key, index));
    Ok(relayer.step().await?)
}

/// Proves batches to test verifiers, one after the other, by both systems.
async fn prove_batches(shared: Shared, mut relayer: Relayer) {
    let mut l1 = shared.handle.l1.clone();
    loop {
        let stepped = relayer.step().await;
        let outcome = match stepped {
            Ok(()) => prove_next(&shared, &mut relayer).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Prove, outcome);
        shared.wait(&mut l1).await;
    }
}

async fn prove_next(shared: &Shared, relayer: &mut Relayer) -> Result<(), Held> {
    let state = shared.l1_state();
    let index = state.latest.last_final + 1;
    let (Some(parent), Some(batch)) = (state.batch(index - 1)?, state.batch(index)?) else { return Ok(()) };
    let settled = parent.settled.ok_or(Error::NotFinal)?;
    let view = shared.node.storage().view();
    if view.block_hash(batch.header.last_block)? != Some(batch.header.last_block_hash) {
        return Err(Error::Diverged { index, block: batch.header.last_block }.into());
    }
    let roots = roots(&view, batch.header.last_block)?;
    let systems = [(ProofSystem::Tee, batch.attested), (ProofSystem::Zk, batch.proven)];
    let mut opened: Option<Vec<BlobOpening>> = None;
    for (system, done) in systems {
        let key = format!("prove/{index}/{system:?}/{:x}", keccak256([batch.hash, settled.output].concat()));
        match relayer.state(&key) {
            _ if done.is_some() => continue,
            Some(State::Refused(revert)) => return Err(format!("the proof would revert: {revert}").into()),
            Some(_) => continue,
            None => {}
        }
        let openings = match &mut opened {
            Some(openings) => openings,
            none => none.insert(openings(shared, &batch).await?),
        };
        let payout = relayer.signer().address();
        let data = test_proofs::prove(system, &batch, settled.output, roots, openings, payout);
        let to = shared.settlement.rollup;
        relayer.submit(Request { key, to, value: Default::default(), data, gas_limit: None, sidecar: None })?;
    }
    Ok(relayer.step().await?)
}

async fn openings(shared: &Shared, batch: &Batch) -> Result<Vec<BlobOpening>, Held> {
    let block = batch.committed.block();
    let contents = shared.blobs.get(block, &batch.blobs).await?;
    let work = move || contents.iter().map(|contents| opening(contents)).collect::<Result<Vec<_>, _>>();
    Ok(spawn_blocking(work).await??)
}
