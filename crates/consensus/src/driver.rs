//! The driver: one thread with the core, the log and the timers. What it gossips, and how a node without streams follows, is in `follow`.

mod follow;

use crate::{
    Blocks, Error, Finals, Fraud, Gossip, Judgement, Kept, Request, SealedBlocks, Store,
    chain::{Chain, Peers},
    reports::{Range, SeedNode, Seeds},
    store::Flagged,
    wire::{decode_blocks, encode_blocks},
    worker::{self, Epoch, Job, is_here},
};
use alloy_primitives::{B256, Bytes};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use follow::Following;
use jove_avc::{
    Anchor, Certificate, Checkpoint, Content, Core, Effect, Event, Evidence, Kind, MAX_BLOCKS, MAX_MESSAGE, Message,
    Outcome, Record, Scheme, Seal, Settings, Signer, Timer, Tip, codec::Wire as _, weights,
};
use jove_primitives::block::Block;
use metrics::{counter, gauge, histogram};
use parking_lot::Mutex;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::broadcast;

/// Inputs that may wait for the driver. Peers' messages beyond are dropped: what matters is sent again.
const INPUTS: usize = 4096;
/// Of them, messages of one peer: it cannot keep the others' out.
const INPUTS_OF_PEER: usize = 256;
/// Inputs that are taken before what came of them is written and sent.
const AT_ONCE: usize = 256;
/// Between two looks at the chain for work.
const LOOK: Duration = Duration::from_millis(50);
/// Between two tries to have a block that is lacking, and two to execute what could not be.
const RETRY: Duration = Duration::from_millis(100);
/// After so long a question counts as lost, and is asked again.
const LOST: Duration = Duration::from_secs(1);
/// How far blocks may be ahead of the last certified one before their leader seals no more: what nobody certifies may be withdrawn.
const AHEAD: Duration = Duration::from_secs(30);
/// Proposals whose arrival is remembered.
const PROPOSED: usize = 1024;
/// FinalCerts of checkpoints that are not final here yet, at most.
const FINAL_CERTIFICATES: usize = 1024;
/// Final checkpoints that a slow listener may be behind.
const LISTENERS: usize = 256;

/// How a validator runs.
pub struct Config {
    /// What all validators of the chain agree on, and times.
    pub settings: Settings,
    /// Seed Nodes, the possession of whose keys was proven.
    pub seeds: Vec<SeedNode>,
    /// Where epoch 0 begins.
    pub genesis: Anchor,
    /// The folder of its database.
    pub folder: PathBuf,
    /// Whether its words are synced before they leave; always, but in development.
    pub sync: bool,
    /// The first epoch that it may vote in, where it has no log.
    pub votes_from: Option<u64>,
    /// The least time between two checkpoints that it proposes.
    pub interval: Duration,
}

/// A checkpoint that has become final here.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Its digest.
    pub digest: B256,
    /// The checkpoint.
    pub checkpoint: Arc<Checkpoint>,
    /// Its own FinalCert, if it has one.
    pub certificate: Option<Certificate>,
}

/// Where consensus stands.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The epoch.
    pub epoch: u64,
    /// The view.
    pub view: u64,
    /// The term's leader.
    pub leader: B256,
    /// Whether this node leads.
    pub leading: bool,
    /// This validator's index in the epoch's set, if it is in it.
    pub index: Option<u16>,
    /// Validators, and how many make a quorum.
    pub validators: usize,
    /// See [`Self::validators`].
    pub quorum: usize,
    /// The last final height.
    pub height: u64,
    /// Its last block.
    pub block: u64,
    /// Signers of the last FinalCert.
    pub signers: usize,
    /// Views that were skipped since the start, and why this node was for the last one.
    pub skipped: u64,
    /// See [`Self::skipped`].
    pub why_skipped: Option<&'static str>,
    /// It votes no more: what is certified is invalid by its own execution.
    pub halted: Option<B256>,
    /// Its database failed: it has stopped.
    pub failed: Option<String>,
}

/// Who hears what a message was worth.
type Judge = Box<dyn FnOnce(Judgement) + Send>;

/// What the driver is told.
pub(crate) enum Input {
    Message {
        from: B256,
        message: Arc<Message>,
    },
    Connected(B256),
    Blocks {
        sealed: SealedBlocks,
        judge: Judge,
    },
    Finals {
        finals: Finals,
        judge: Judge,
    },
    /// The blocks down from this one, if anyone gave them.
    Fetched {
        hash: B256,
        blocks: Vec<Block>,
    },
    /// Verified final checkpoints after this node's last, if anyone gave them.
    Synced(Option<Finals>),
    Executed {
        digest: B256,
        outcome: Outcome,
        fraud: Option<Fraud>,
    },
    NotExecuted {
        digest: B256,
    },
    Imported {
        done: bool,
    },
    Built {
        view: u64,
        content: Option<Box<Content>>,
    },
    Witnessed {
        digest: B256,
        checkpoint: Arc<Checkpoint>,
        witness: Vec<u8>,
        invalid: bool,
    },
    Head {
        number: u64,
        hash: B256,
    },
    Withdrawn(Vec<(B256, Block)>),
    Certified {
        digest: B256,
        checkpoint: Arc<Checkpoint>,
        here: bool,
    },
    Stop,
}

struct Shared {
    store: Store,
    blocks: Mutex<Blocks>,
    status: Mutex<Status>,
    certified: broadcast::Sender<Certified>,
    chain: Arc<dyn Chain>,
    /// Messages that wait for the driver, by peer.
    queued: Mutex<HashMap<B256, usize>>,
}

/// A running validator, or a node that follows validators.
pub struct Consensus {
    me: Option<B256>,
    era: u64,
    shared: Arc<Shared>,
    inputs: Sender<Input>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Consensus {
    /// Starts it from what its folder holds. Without a signer it follows and does not vote.
    ///
    /// # Errors
    /// If the database cannot be opened or is damaged; [`Error::NoLog`] if it is new, it is not said whether this validator ran before, and there is a signer.
    pub fn start(
        config: Config,
        scheme: Arc<dyn Scheme>,
        signer: Option<Arc<dyn Signer>>,
        chain: Arc<dyn Chain>,
        peers: Arc<dyn Peers>,
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(&config.folder, config.sync)?;
        let mut log = store.log()?;
        let mut votes_from = 0;
        if log.is_empty() {
            votes_from = match (config.votes_from, &signer) {
                (Some(epoch), _) => epoch,
                (None, None) => 0,
                (None, Some(_)) => return Err(Error::NoLog),
            };
            log.push(Record::Anchor(Box::new(config.genesis.clone())));
            store.append_first(&log, votes_from)?;
        } else {
            votes_from = votes_from.max(store.votes_from()?);
        }
        let (me, domain) = (signer.as_ref().map(|signer| signer.id()), config.settings.domain);
        let following = Following::new(domain, scheme.clone());
        let seeds = Seeds::new(config.seeds, domain, scheme.clone());
        let core = Core::new(config.settings, scheme, signer, votes_from, &log, Default::default())?;
        let (inputs, received) = crossbeam_channel::bounded(INPUTS);
        let (jobs, asked) = crossbeam_channel::unbounded();
        let certified = broadcast::Sender::new(LISTENERS);
        let blocks = Mutex::new(Blocks::default());
        let (status, queued) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { store, blocks, status, certified, chain: chain.clone(), queued });
        // A chain that ended on another branch goes where the core leads it.
        if let Some(last) = shared.store.last()?.filter(|last| is_here(&*chain, &last.checkpoint)) {
            chain.certified(last.digest, &last.checkpoint);
            shared.blocks.lock().certified(last.checkpoint.last_number);
        }
        let mut driver = Driver {
            shared: shared.clone(),
            peers,
            core,
            me,
            interval: config.interval,
            started: Instant::now(),
            timers: BinaryHeap::new(),
            order: 0,
            jobs,
            inputs: inputs.clone(),
            records: Vec::new(),
            out: Vec::new(),
            known: HashMap::new(),
            waiting: Vec::new(),
            strayed: None,
            running: HashMap::new(),
            importing: false,
            import_again: None,
            building: None,
            last_built: None,
            leading: false,
            work: false,
            ahead: None,
            proposed: HashMap::new(),
            final_certificates: HashMap::new(),
            published: 0,
            view: ViewSeen::default(),
            fetching: HashMap::new(),
            following,
        };
        for record in &log {
            if let Record::Certificate(certificate) = record {
                driver.keep_certificate(certificate);
            }
        }
        let answers = inputs.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(run).map_err(Error::Thread)
        };
        let threads = vec![
            spawn("consensus-work", Box::new(move || worker::run(&*chain, seeds, &asked, &answers)))?,
            spawn("consensus", Box::new(move || driver.run(&received)))?,
        ];
        Ok(Arc::new(Self { me, era: domain.era, shared, inputs, threads: Mutex::new(threads) }))
    }

    /// A message of a validator, from its own stream. False if it is none: its sender is to be blamed.
    pub fn on_message(&self, from: B256, bytes: &[u8]) -> bool {
        if bytes.len() > MAX_MESSAGE {
            return false;
        }
        let Ok(message) = Message::decode(bytes) else { return false };
        let mut queued = self.shared.queued.lock();
        let waiting = queued.entry(from).or_default();
        if *waiting < INPUTS_OF_PEER
            && self.inputs.try_send(Input::Message { from, message: Arc::new(message) }).is_ok()
        {
            *waiting += 1;
        } else {
            counter!("jove_consensus_dropped_total").increment(1);
        }
        true
    }

    /// A stream to a validator was opened.
    pub fn on_connected(&self, validator: B256) {
        let _ = self.inputs.try_send(Input::Connected(validator));
    }

    /// Sealed blocks that somebody passes on. `judge` hears what they are worth, unless there is no time for them: only the leader's go on to others.
    pub fn on_blocks(&self, sealed: SealedBlocks, judge: impl FnOnce(Judgement) + Send + 'static) {
        let _ = self.inputs.try_send(Input::Blocks { sealed, judge: Box::new(judge) });
    }

    /// Final checkpoints that somebody passes on; `judge` as in [`Self::on_blocks`].
    pub fn on_finals(&self, finals: Finals, judge: impl FnOnce(Judgement) + Send + 'static) {
        let _ = self.inputs.try_send(Input::Finals { finals, judge: Box::new(judge) });
    }

    /// The answer to a peer's question; none if it is no question, or the store fails.
    pub fn serve(&self, request: &[u8]) -> Option<Bytes> {
        match Request::decode(request)? {
            Request::Blocks { mut number, mut hash, count } => {
                let blocks = (0..count).map_while(|_| {
                    let block = self.shared.block(number, hash)?;
                    (number, hash) = (number.checked_sub(1)?, block.header.parent_hash);
                    Some(block)
                });
                Some(encode_blocks(blocks))
            }
            Request::Finals { after } => match self.shared.finals(after) {
                Ok(finals) => Some(finals.map(|finals| finals.encode()).unwrap_or_default()),
                Err(error) => {
                    tracing::error!(%error, "final checkpoints cannot be read");
                    None
                }
            },
        }
    }

    /// The chain has a new last block.
    pub fn on_head(&self, number: u64, hash: B256) {
        let _ = self.inputs.try_send(Input::Head { number, hash });
    }

    /// The chain withdrew blocks: they may be wanted again.
    pub fn on_withdrawn(&self, blocks: Vec<(B256, Block)>) {
        let _ = self.inputs.send(Input::Withdrawn(blocks));
    }

    /// Final checkpoints from now on.
    pub fn certified(&self) -> broadcast::Receiver<Certified> {
        self.shared.certified.subscribe()
    }

    /// This validator's id, unless it only follows.
    pub fn id(&self) -> Option<B256> {
        self.me
    }

    /// The era, which is in all that is signed.
    pub fn era(&self) -> u64 {
        self.era
    }

    /// What is kept.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.shared.status.lock().clone()
    }

    /// Stops. May be called again.
    pub fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        let _ = self.inputs.send(Input::Stop);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of consensus panicked");
            }
        }
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// A block of whatever branch.
    fn block(&self, number: u64, hash: B256) -> Option<Block> {
        if let Some(block) = self.blocks.lock().get(&hash) {
            return (block.header.number == number).then(|| Block::clone(&block));
        }
        (self.chain.hash_at(number)? == hash).then(|| self.chain.block(number)).flatten()
    }
}

/// A message that leaves once what it says is on disk.
enum Out {
    All(Arc<Message>),
    One(B256, Arc<Message>),
    Sealed(Seal),
}

/// A checkpoint that waits for blocks, or for the chain to be able to execute it.
struct Waiting {
    digest: B256,
    checkpoint: Arc<Checkpoint>,
    not_before: Instant,
}

/// A question for blocks to propose.
struct Building {
    view: u64,
    parent: Tip,
    empty: bool,
    /// Whether it ends its epoch.
    last: bool,
    asked: bool,
    not_before: Instant,
}

/// What this node saw of the current view: why it skips it, if it does.
#[derive(Default)]
struct ViewSeen {
    digest: Option<B256>,
    executed: bool,
    invalid: bool,
}

struct Driver {
    shared: Arc<Shared>,
    peers: Arc<dyn Peers>,
    core: Core,
    me: Option<B256>,
    interval: Duration,
    started: Instant,
    timers: BinaryHeap<Reverse<(Instant, u64, HashedTimer)>>,
    order: u64,
    jobs: Sender<Job>,
    inputs: Sender<Input>,
    records: Vec<Record>,
    out: Vec<Out>,
    /// Checkpoints above the last final one, by digest.
    known: HashMap<B256, Arc<Checkpoint>>,
    waiting: Vec<Waiting>,
    /// The last final checkpoint, while the chain is on another branch.
    strayed: Option<Waiting>,
    running: HashMap<B256, Arc<Checkpoint>>,
    importing: bool,
    /// When sealed blocks are tried again that could not be executed.
    import_again: Option<Instant>,
    building: Option<Building>,
    last_built: Option<Instant>,
    leading: bool,
    work: bool,
    /// Since when there are blocks that are not certified, and nothing became final.
    ahead: Option<Instant>,
    /// When proposals came or were made, by digest; and whether they are this node's own.
    proposed: HashMap<B256, (Instant, bool)>,
    /// FinalCerts of checkpoints that are not final here yet, by digest.
    final_certificates: HashMap<B256, Certificate>,
    /// The last block that was given away.
    published: u64,
    view: ViewSeen,
    /// Since when blocks are asked for, by the newest one's hash.
    fetching: HashMap<B256, Instant>,
    following: Following,
}

/// A timer in a heap: only its time and order compare.
struct HashedTimer(Timer);

impl PartialEq for HashedTimer {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for HashedTimer {}
impl PartialOrd for HashedTimer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for HashedTimer {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn whose(own: bool) -> &'static str {
    if own { "own" } else { "another's" }
}

impl Driver {
    fn run(mut self, received: &Receiver<Input>) {
        let outcome = self.drive(received);
        self.shared.chain.lead(false);
        if let Err(error) = outcome {
            tracing::error!(%error, "consensus stops: restart to recover");
            self.shared.status.lock().failed = Some(error.to_string());
        }
    }

    fn drive(&mut self, received: &Receiver<Input>) -> Result<(), Error> {
        let anchor = self.core.anchor();
        self.peers.set_validators(&anchor.set, &anchor.next);
        self.handle(Event::Start)?;
        self.flush()?;
        loop {
            let due = self.timers.peek().map(|Reverse((at, _, _))| *at);
            let look = Instant::now() + LOOK;
            let first = match received.recv_deadline(due.map_or(look, |due| due.min(look))) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let mut head = None;
            for input in first.into_iter().chain(received.try_iter().take(AT_ONCE)) {
                match input {
                    Input::Stop => return Ok(()),
                    Input::Head { number, hash } => head = Some((number, hash)),
                    input => self.take(input)?,
                }
            }
            if let Some((number, hash)) = head {
                self.new_head(number, hash)?;
            }
            while let Some(Reverse((at, _, _))) = self.timers.peek()
                && *at <= Instant::now()
            {
                if let Some(Reverse((_, _, HashedTimer(timer)))) = self.timers.pop() {
                    self.handle(Event::Timer(timer))?;
                }
            }
            self.look_for_work()?;
            self.retry()?;
            if self.import_again.take_if(|again| *again <= Instant::now()).is_some() {
                self.import_next();
            }
            self.build()?;
            self.follow_on();
            self.flush()?;
        }
    }

    fn take(&mut self, input: Input) -> Result<(), Error> {
        match input {
            Input::Message { from, message } => {
                if let Entry::Occupied(mut queued) = self.shared.queued.lock().entry(from) {
                    *queued.get_mut() -= 1;
                    if *queued.get() == 0 {
                        queued.remove();
                    }
                }
                if let Message::Proposal(proposal) = &*message
                    && self.proposed.len() < PROPOSED
                {
                    self.proposed.entry(proposal.checkpoint.digest()).or_insert_with(|| (Instant::now(), false));
                }
                self.handle(Event::Message { from, message })
            }
            Input::Connected(peer) => self.handle(Event::Connected(peer)),
            Input::Blocks { sealed, judge } => self.on_blocks(sealed, judge),
            Input::Finals { finals, judge } => {
                judge(self.on_finals(finals)?);
                Ok(())
            }
            Input::Synced(finals) => self.on_synced(finals),
            Input::Fetched { hash, blocks } => {
                self.fetching.remove(&hash);
                if blocks.is_empty() {
                    return Ok(());
                }
                let mut cache = self.shared.blocks.lock();
                for block in blocks {
                    cache.insert(block.header.hash_slow(), block);
                }
                drop(cache);
                self.waiting.iter_mut().for_each(|waiting| waiting.not_before = Instant::now());
                Ok(())
            }
            Input::Executed { digest, outcome, fraud } => self.on_executed(digest, outcome, fraud),
            Input::NotExecuted { digest } => {
                if let Some(checkpoint) = self.running.remove(&digest) {
                    self.waiting.push(Waiting { digest, checkpoint, not_before: Instant::now() + RETRY });
                }
                Ok(())
            }
            Input::Imported { done } => {
                self.importing = false;
                // What cannot be executed yet, as where L1 is not as deep yet, is not tried again at once.
                self.import_again = (!done).then(|| Instant::now() + RETRY);
                self.import_next();
                Ok(())
            }
            Input::Built { view, content } => self.on_built(view, content),
            Input::Witnessed { digest, checkpoint, witness, invalid } => {
                if invalid {
                    let reason = Fraud::decode(&witness).map_or(0, |fraud| fraud.reason as u16);
                    self.flag(&checkpoint, reason, witness)?;
                }
                self.handle(Event::Witnessed { digest, invalid })
            }
            Input::Withdrawn(blocks) => {
                let mut cache = self.shared.blocks.lock();
                for (hash, block) in blocks {
                    self.published = self.published.min(block.header.number.saturating_sub(1));
                    cache.insert(hash, block);
                }
                Ok(())
            }
            Input::Certified { checkpoint, here: true, .. } => {
                self.shared.blocks.lock().certified(checkpoint.last_number);
                Ok(())
            }
            Input::Certified { digest, checkpoint, here: false } => {
                if checkpoint.height >= self.core.tip().height {
                    tracing::debug!(height = checkpoint.height, "the chain is not on the final branch: it goes there");
                    self.strayed = Some(Waiting { digest, checkpoint, not_before: Instant::now() + RETRY });
                }
                Ok(())
            }
            Input::Head { .. } | Input::Stop => Ok(()),
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Error> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut next = Some(event);
        while let Some(event) = next {
            for effect in self.core.handle(now, event) {
                self.follow(effect)?;
            }
            let answer = self.following.answers.pop_front();
            next = answer.map(|message| Event::Message { from: B256::ZERO, message });
        }
        Ok(())
    }

    fn follow(&mut self, effect: Effect) -> Result<(), Error> {
        match effect {
            Effect::Persist(record) => {
                self.note(&record);
                self.records.push(*record);
            }
            Effect::Broadcast(message) => self.out.push(Out::All(message)),
            Effect::Send { to, message } => match &*message {
                Message::Request(jove_avc::Request::Ancestry { digest }) if self.following.answer(digest) => {}
                _ => self.out.push(Out::One(to, message)),
            },
            Effect::Sealed(seal) => self.out.push(Out::Sealed(seal)),
            Effect::SetTimer { timer, after } => {
                self.order += 1;
                let at = Instant::now() + Duration::from_millis(after);
                self.timers.push(Reverse((at, self.order, HashedTimer(timer))));
            }
            Effect::Build { epoch: _, view, height: _, parent, empty, last } => {
                let Some(parent) = self.tip_of(&parent) else { return Ok(()) };
                let soonest = self.last_built.map_or_else(Instant::now, |last| last + self.interval);
                let not_before = if empty { Instant::now() } else { soonest };
                self.building = Some(Building { view, parent, empty, last, asked: false, not_before });
            }
            Effect::Execute { digest, checkpoint } => {
                self.known.insert(digest, checkpoint.clone());
                self.waiting.push(Waiting { digest, checkpoint, not_before: Instant::now() });
            }
            Effect::CheckWitness { digest, checkpoint, witness, .. } => {
                let _ = self.jobs.send(Job::Check { digest, checkpoint, witness });
            }
            Effect::Entered { epoch, view, leader } => self.entered(epoch, view, leader),
            Effect::Soft { digest, .. } => {
                if let Some((since, own)) = self.proposed.get(&digest) {
                    histogram!("jove_consensus_soft_seconds", "proposal" => whose(*own)).record(since.elapsed());
                }
            }
            Effect::Final { digest, checkpoint, certificate } => self.finalized(digest, checkpoint, certificate)?,
            Effect::Evidence(evidence) => self.accuse(&evidence)?,
            Effect::Epoch(anchor) => {
                tracing::info!(epoch = anchor.epoch, validators = anchor.set.size(), "an epoch begins");
                self.peers.set_validators(&anchor.set, &anchor.next);
            }
            Effect::ServeAncestry { to, digest } => self.serve_ancestry(to, digest)?,
            Effect::ServeEpochEnd { to, epoch } => {
                let end = self.shared.store.anchor(epoch + 1)?.and_then(|anchor| anchor.certificate);
                if let Some(certificate) = end {
                    self.out.push(Out::One(to, Arc::new(Message::Certificate(certificate))));
                }
            }
            Effect::Halt { digest } => {
                tracing::error!(%digest, "what is certified is invalid by this node's own execution: it votes no more");
                self.shared.status.lock().halted = Some(digest);
            }
        }
        Ok(())
    }

    /// What this node's own words say of the view.
    fn note(&mut self, record: &Record) {
        match record {
            Record::Proposal(proposal) => {
                let (digest, checkpoint) = (proposal.checkpoint.digest(), Arc::new(proposal.checkpoint.clone()));
                self.view.digest = Some(digest);
                self.view.executed = true;
                self.known.insert(digest, checkpoint);
                self.proposed.entry(digest).or_insert_with(|| (Instant::now(), true));
            }
            Record::Checkpoint(checkpoint) => self.view.digest = Some(checkpoint.digest()),
            Record::Certificate(certificate) => self.keep_certificate(certificate),
            Record::Vote(vote) if vote.kind == Kind::Skip => {
                let why = match &self.view {
                    ViewSeen { invalid: true, .. } => "an invalid checkpoint",
                    ViewSeen { digest: None, .. } => "no proposal",
                    ViewSeen { executed: false, .. } => "blocks were not executed in time",
                    _ => "no quorum in time",
                };
                tracing::debug!(view = vote.view, why, "this node skips a view");
                counter!("jove_consensus_skips_total", "why" => why).increment(1);
                let mut status = self.shared.status.lock();
                status.skipped += 1;
                status.why_skipped = Some(why);
            }
            _ => {}
        }
    }

    /// A FinalCert may be overtaken by that of a descendant before its checkpoint is executed: L1 wants it yet, where a batch ends there.
    fn keep_certificate(&mut self, certificate: &Certificate) {
        if certificate.kind == Kind::Finalize {
            if self.final_certificates.len() >= FINAL_CERTIFICATES {
                self.final_certificates.clear();
            }
            self.final_certificates.insert(certificate.digest, certificate.clone());
        }
    }

    fn tip_of(&self, digest: &B256) -> Option<Tip> {
        if self.core.tip().digest == *digest {
            return Some(*self.core.tip());
        }
        self.known.get(digest).map(|checkpoint| Tip::of(checkpoint, *digest))
    }

    fn entered(&mut self, epoch: u64, view: u64, leader: B256) {
        self.building = None;
        self.view = ViewSeen::default();
        if self.me != Some(leader) {
            self.stop_leading();
        }
        gauge!("jove_consensus_epoch").set(epoch as f64);
        gauge!("jove_consensus_view").set(view as f64);
        let set = &self.core.anchor().set;
        let mut status = self.shared.status.lock();
        (status.epoch, status.view, status.leader) = (epoch, view, leader);
        status.leading = self.me == Some(leader);
        status.index = self.me.and_then(|me| set.index(&me));
        (status.validators, status.quorum) = (set.size(), set.quorum());
        gauge!("jove_consensus_validators").set(status.validators as f64);
        gauge!("jove_consensus_quorum").set(status.quorum as f64);
    }

    fn stop_leading(&mut self) {
        if std::mem::take(&mut self.leading) {
            let _ = self.jobs.send(Job::Follow);
        }
    }

    // --- final checkpoints, evidence ---

    fn finalized(
        &mut self,
        digest: B256,
        checkpoint: Arc<Checkpoint>,
        certificate: Option<Certificate>,
    ) -> Result<(), Error> {
        let at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let overtaken = self.final_certificates.remove(&digest);
        let certificate = certificate.or(overtaken);
        let kept = self.shared.store.at_height(checkpoint.height)?;
        // After a restart the core says again what is kept.
        if kept.as_ref().is_none_or(|kept| kept.certificate.is_none() && certificate.is_some()) {
            let at_ms = kept.as_ref().map_or(at_ms, |kept| kept.at_ms);
            let checkpoint = Checkpoint::clone(&checkpoint);
            self.shared.store.put_final(&Kept { at_ms, digest, certificate: certificate.clone(), checkpoint })?;
        }
        self.ahead = None;
        self.known.retain(|_, known| known.height > checkpoint.height);
        self.running.retain(|_, known| known.height > checkpoint.height);
        self.waiting.retain(|waiting| waiting.checkpoint.height > checkpoint.height);
        self.following.heard.retain(|_, heard| heard.height > checkpoint.height);
        if kept.is_none() {
            self.give_final_away(&checkpoint, certificate.as_ref());
        }
        if let Some((since, own)) = self.proposed.remove(&digest)
            && kept.is_none()
        {
            histogram!("jove_consensus_final_seconds", "proposal" => whose(own)).record(since.elapsed());
        }
        if self.proposed.len() >= PROPOSED {
            self.proposed.clear();
        }
        self.strayed = None;
        self.say_certified(digest, checkpoint.clone())?;
        gauge!("jove_consensus_height").set(checkpoint.height as f64);
        let mut status = self.shared.status.lock();
        (status.height, status.block) = (checkpoint.height, checkpoint.last_number);
        if let Some(certificate) = &certificate {
            status.signers = certificate.signers.count();
            gauge!("jove_consensus_participation").set(status.signers as f64 / status.validators.max(1) as f64);
        }
        drop(status);
        if kept.is_none() {
            let _ = self.shared.certified.send(Certified { digest, checkpoint, certificate });
        }
        Ok(())
    }

    fn accuse(&mut self, evidence: &Evidence) -> Result<(), Error> {
        tracing::warn!(?evidence, "a validator misbehaved");
        counter!("jove_consensus_evidence_total").increment(1);
        self.shared.store.put_evidence(evidence)
    }

    fn flag(&mut self, checkpoint: &Checkpoint, reason: u16, witness: Vec<u8>) -> Result<(), Error> {
        tracing::warn!(height = checkpoint.height, proposer = checkpoint.proposer, reason, "a checkpoint is invalid");
        counter!("jove_consensus_invalid_total").increment(1);
        let at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.shared.store.put_flagged(&Flagged { at_ms, reason, checkpoint: checkpoint.clone(), witness })
    }

    fn serve_ancestry(&mut self, to: B256, digest: B256) -> Result<(), Error> {
        let mut checkpoints = Vec::new();
        let Some(newest) = self.shared.store.by_digest(digest)? else { return Ok(()) };
        let mut next = Some(newest);
        while let Some(kept) = next
            && checkpoints.len() < jove_avc::MAX_CHECKPOINTS
        {
            next = match kept.checkpoint.height {
                0 | 1 => None,
                height => self.shared.store.at_height(height - 1)?,
            };
            checkpoints.push(kept.checkpoint);
        }
        self.out.push(Out::One(to, Arc::new(Message::Checkpoints(checkpoints))));
        Ok(())
    }

    // --- blocks ---

    fn on_blocks(&mut self, sealed: SealedBlocks, judge: Judge) -> Result<(), Error> {
        let SealedBlocks { seal, blocks } = sealed;
        self.handle(Event::Message { from: B256::ZERO, message: Arc::new(Message::Seal(seal.clone())) })?;
        if !self.core.has_seal(&seal) {
            judge(if self.core.is_forged(&seal) { Judgement::Bad } else { Judgement::Idle });
            return Ok(());
        }
        judge(Judgement::Good);
        let mut cache = self.shared.blocks.lock();
        let mut new = false;
        for block in blocks {
            new |= cache.insert(block.header.hash_slow(), block);
        }
        drop(cache);
        let (_, view) = self.core.position();
        if new && !self.follows() && seal.term == view / self.core.term_length() {
            self.import_next();
        }
        Ok(())
    }

    /// Has the leader's blocks executed that follow the chain's last, before a proposal names them.
    fn import_next(&mut self) {
        let Some((number, hash)) = self.core.last_seal() else { return };
        let (head, head_hash) = self.shared.chain.head();
        let waits = self.importing || self.import_again.is_some_and(|again| again > Instant::now());
        if self.leading || waits || number <= head || number - head > MAX_BLOCKS {
            return;
        }
        if let Ok(blocks) = self.gather(number, hash)
            && blocks.first().is_some_and(|first| first.header.parent_hash == head_hash)
        {
            self.importing = true;
            let _ = self.jobs.send(Job::Import(blocks));
        }
    }

    /// The blocks from the chain to this one, oldest first; else the number and hash of one that is lacking.
    fn gather(&self, number: u64, hash: B256) -> Result<Vec<Block>, (u64, B256)> {
        let cache = self.shared.blocks.lock();
        let (mut blocks, mut number, mut hash) = (Vec::new(), number, hash);
        while self.shared.chain.hash_at(number) != Some(hash) {
            let block = cache.get(&hash).filter(|block| block.header.number == number).ok_or((number, hash))?;
            (number, hash) = (number.checked_sub(1).ok_or((number, hash))?, block.header.parent_hash);
            blocks.push(Block::clone(&block));
        }
        blocks.reverse();
        Ok(blocks)
    }

    /// Asks for blocks from this one down to the last final one, unless that was asked just now.
    fn fetch(&mut self, (number, hash): (u64, B256), of: Option<B256>) {
        if self.fetching.get(&hash).is_some_and(|since| since.elapsed() < LOST) {
            return;
        }
        self.fetching.retain(|_, since| since.elapsed() < LOST);
        self.fetching.insert(hash, Instant::now());
        counter!("jove_consensus_fetches_total").increment(1);
        let inputs = self.inputs.clone();
        let count = number.saturating_sub(self.core.tip().last_number).clamp(1, MAX_BLOCKS);
        let request = Request::Blocks { number, hash, count }.encode();
        let reply = Box::new(move |answer: Option<Bytes>| {
            let (blocks, judgement) = match answer.map(|answer| decode_blocks(&answer, hash)) {
                Some(Some(blocks)) if !blocks.is_empty() => (blocks, Judgement::Good),
                Some(None) => (Vec::new(), Judgement::Bad),
                _ => (Vec::new(), Judgement::Idle),
            };
            let _ = inputs.try_send(Input::Fetched { hash, blocks });
            judgement
        });
        self.peers.request(of, request, reply);
    }

    /// Executes what waits and has its blocks; asks for those that are lacking.
    fn retry(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        for mut one in std::mem::take(&mut self.waiting) {
            if one.not_before > now || !self.core.wants(&one.digest) {
                self.waiting.push(one);
                continue;
            }
            let Some(parent) = self.tip_of(&one.checkpoint.parent) else {
                one.not_before = now + RETRY;
                self.waiting.push(one);
                continue;
            };
            match self.gather(one.checkpoint.last_number, one.checkpoint.last_hash) {
                Ok(blocks) => {
                    let Waiting { digest, checkpoint, .. } = one;
                    let ends = match checkpoint.next {
                        Some(_) => Some(self.epoch_until(checkpoint.parent)?),
                        None => None,
                    };
                    self.running.insert(digest, checkpoint.clone());
                    let _ =
                        self.jobs.send(Job::Execute { digest, checkpoint, after: parent.last_number, blocks, ends });
                }
                Err(lacking) => {
                    let lacking = self.with_those_after(lacking);
                    let proposer = self.core.anchor().set.validators().get(usize::from(one.checkpoint.proposer));
                    // The proposer first, then whoever may have it.
                    let fresh = self.proposed.get(&one.digest).is_some_and(|(since, _)| since.elapsed() < 2 * RETRY);
                    let of = proposer.map(|one| one.id).filter(|id| fresh && Some(*id) != self.me);
                    self.fetch(lacking, of);
                    one.not_before = now + RETRY;
                    self.waiting.push(one);
                }
            }
        }
        self.return_to_final(now)
    }

    /// Tells the chain of a final checkpoint.
    fn say_certified(&mut self, digest: B256, checkpoint: Arc<Checkpoint>) -> Result<(), Error> {
        let parent = match checkpoint.height {
            0 | 1 => None,
            height => self.shared.store.at_height(height - 1)?,
        };
        let first = parent.map_or(0, |parent| parent.checkpoint.last_number) + 1;
        let _ = self.jobs.send(Job::Certified { digest, checkpoint, first });
        Ok(())
    }

    /// Takes the chain to the branch of the last final checkpoint, which it left for another that was executed later.
    fn return_to_final(&mut self, now: Instant) -> Result<(), Error> {
        let Some(mut strayed) = self.strayed.take_if(|strayed| strayed.not_before <= now) else { return Ok(()) };
        match self.gather(strayed.checkpoint.last_number, strayed.checkpoint.last_hash) {
            Ok(blocks) => {
                let Waiting { digest, checkpoint, .. } = strayed;
                let _ = self.jobs.send(Job::Import(blocks));
                self.say_certified(digest, checkpoint)?;
            }
            Err(lacking) => {
                self.fetch(lacking, None);
                strayed.not_before = now + RETRY;
                self.strayed = Some(strayed);
            }
        }
        Ok(())
    }

    fn on_executed(&mut self, digest: B256, outcome: Outcome, fraud: Option<Fraud>) -> Result<(), Error> {
        if let Some(checkpoint) = self.running.remove(&digest)
            && let Outcome::Invalid { reason, witness } = &outcome
        {
            debug_assert!(fraud.is_some());
            self.view.invalid |= self.view.digest == Some(digest);
            self.flag(&checkpoint, *reason, witness.clone())?;
        }
        self.view.executed |= self.view.digest == Some(digest);
        self.handle(Event::Executed { digest, outcome })
    }

    // --- leading ---

    fn build(&mut self) -> Result<(), Error> {
        let stalled = self.is_stalled();
        let Some(building) = &mut self.building else { return Ok(()) };
        if building.asked || building.not_before > Instant::now() {
            return Ok(());
        }
        let Building { view, parent, empty, last, .. } = *building;
        if self.shared.chain.hash_at(parent.last_number) == Some(parent.last_hash) {
            building.asked = true;
            let ends = if last { Some(self.epoch_until(parent.digest)?) } else { None };
            let lead = !stalled;
            if lead && !self.leading {
                self.published = parent.last_number;
            }
            self.leading = lead;
            let _ = self.jobs.send(Job::Build { view, parent, lead, empty, ends });
        } else {
            building.not_before = Instant::now() + RETRY;
            // The parent was executed once, and another branch since.
            match self.gather(parent.last_number, parent.last_hash) {
                Ok(_) if self.importing => {}
                Ok(blocks) => {
                    self.importing = true;
                    let _ = self.jobs.send(Job::Import(blocks));
                }
                Err(lacking) => self.fetch(lacking, None),
            }
        }
        Ok(())
    }

    /// The epoch up to a checkpoint of it, whose ancestors are all known or kept here.
    fn epoch_until(&self, parent: B256) -> Result<Box<Epoch>, Error> {
        let anchor = self.core.anchor();
        let mut record = weights::Record::new(anchor.set.size());
        let mut blocks: Vec<Range> = Vec::new();
        let mut digest = parent;
        while digest != anchor.start.digest {
            let kept = match self.known.get(&digest) {
                Some(_) => None,
                None => self.shared.store.by_digest(digest)?,
            };
            let checkpoint =
                self.known.get(&digest).map(|known| &**known).or(kept.as_ref().map(|kept| &kept.checkpoint));
            let checkpoint = checkpoint.ok_or(Error::Corrupt("a checkpoint of the epoch is missing"))?;
            record.checkpoint(checkpoint);
            let (epoch, last) = (anchor.epoch, checkpoint.last_number);
            if let Some(child) = blocks.last_mut() {
                child.first = last + 1;
            }
            blocks.push(Range { digest, epoch, first: last, last });
            digest = checkpoint.parent;
        }
        if let Some(lowest) = blocks.last_mut() {
            lowest.first = anchor.start.last_number + 1;
        }
        let (set, next) = (anchor.set.clone(), anchor.next.clone());
        Ok(Box::new(Epoch { set, next, record, blocks }))
    }

    fn on_built(&mut self, view: u64, content: Option<Box<Content>>) -> Result<(), Error> {
        let Some(building) = self.building.as_mut().filter(|building| building.view == view) else { return Ok(()) };
        match content {
            Some(content) => {
                self.building = None;
                self.last_built = Some(Instant::now());
                self.handle(Event::Built { view, content })
            }
            None => {
                building.asked = false;
                building.not_before = Instant::now() + LOOK;
                Ok(())
            }
        }
    }

    fn new_head(&mut self, number: u64, hash: B256) -> Result<(), Error> {
        if let Some(building) = &mut self.building {
            let soonest = self.last_built.map_or_else(Instant::now, |last| last + self.interval);
            building.not_before = building.not_before.min(soonest);
        }
        if self.leading && number > self.published {
            self.handle(Event::Seal { number, hash })?;
        }
        Ok(())
    }

    fn look_for_work(&mut self) -> Result<(), Error> {
        if self.follows() {
            return Ok(());
        }
        let (head, _) = self.shared.chain.head();
        let is_ahead = head > self.core.tip().last_number;
        self.ahead = if is_ahead { self.ahead.or_else(|| Some(Instant::now())) } else { None };
        if self.leading && self.is_stalled() {
            tracing::warn!(block = head, "no quorum has certified a block for 30 s: no more are sealed until one does");
            self.stop_leading();
        }
        let work = is_ahead || self.shared.chain.has_work(self.status_leads());
        if work != self.work {
            self.work = work;
            self.handle(Event::Work(work))?;
        }
        Ok(())
    }

    fn is_stalled(&self) -> bool {
        self.ahead.is_some_and(|since| since.elapsed() >= AHEAD)
    }

    fn status_leads(&self) -> bool {
        self.shared.status.lock().leading
    }

    // --- what leaves ---

    fn flush(&mut self) -> Result<(), Error> {
        if !self.records.is_empty() {
            let started = Instant::now();
            self.shared.store.append(&std::mem::take(&mut self.records))?;
            histogram!("jove_consensus_log_seconds").record(started.elapsed());
        }
        let follows = self.follows();
        for out in std::mem::take(&mut self.out) {
            match out {
                // There is no stream to anyone.
                Out::All(_) | Out::One(..) if follows => {}
                Out::All(message) => self.peers.broadcast(message.encode().into()),
                Out::One(to, message) => self.peers.send(to, message.encode().into()),
                Out::Sealed(seal) => self.give_away(seal),
            }
        }
        Ok(())
    }

    /// Gives away the blocks up to a sealed one that were not given away before.
    fn give_away(&mut self, seal: Seal) {
        let first = (self.published + 1).max(seal.number.saturating_sub(MAX_BLOCKS - 1));
        let blocks: Option<Vec<Block>> = (first..=seal.number).map(|number| self.shared.chain.block(number)).collect();
        if let Some(blocks) = blocks
            && blocks.last().is_some_and(|last| last.header.hash_slow() == seal.hash)
        {
            self.published = seal.number;
            self.peers.publish(Gossip::Blocks, SealedBlocks { seal, blocks }.encode());
        }
    }
}
