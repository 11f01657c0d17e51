//! The driver: one thread with the core, the log and the timers. What it does with blocks is in `blocks`, how it leads in `lead`, what becomes final in
//! `finality`; what it gossips, and how a node without streams follows, in `follow`; how certificates are found that it lacks, in `certificates`.

mod blocks;
mod certificates;
mod finality;
mod follow;
mod lead;

use crate::{
    Blocks, Error, Finals, Fraud, Judgement, Kept, Request, SealedBlocks, Store,
    chain::{Chain, Peers},
    reports::{SeedNode, Seeds},
    wire::{encode_blocks, encode_certificates},
    worker::{self, Job, is_here},
};
use alloy_primitives::{B256, Bytes};
use certificates::Looking;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use follow::Following;
use jove_avc::{
    Anchor, Certificate, Checkpoint, Content, Core, Domain, Effect, Event, Kind, MAX_MESSAGE, Message, Outcome, Record,
    Scheme, Seal, Settings, Signer, Timer, Tip, codec::Wire as _,
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
    time::{Duration, Instant},
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
/// Proposals whose arrival is remembered.
const PROPOSED: usize = 1024;
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
    /// A block that is final is invalid here.
    Invalid(u64),
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
    domain: Domain,
    scheme: Arc<dyn Scheme>,
    /// Messages that wait for the driver, by peer.
    queued: Mutex<HashMap<B256, usize>>,
    looking: Mutex<Looking>,
}

/// A running validator, or a node that follows validators.
pub struct Consensus {
    me: Option<B256>,
    shared: Arc<Shared>,
    peers: Arc<dyn Peers>,
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
        let following = Following::new();
        let seeds = Seeds::new(config.seeds, domain, scheme.clone());
        let core = Core::new(config.settings, scheme.clone(), signer, votes_from, &log, Default::default())?;
        let (inputs, received) = crossbeam_channel::bounded(INPUTS);
        let (jobs, asked) = crossbeam_channel::unbounded();
        let certified = broadcast::Sender::new(LISTENERS);
        let blocks = Mutex::new(Blocks::default());
        let (status, queued, looking) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { store, blocks, status, certified, chain, domain, scheme, queued, looking });
        let chain = shared.chain.clone();
        let mut strayed = None;
        match shared.store.last()? {
            Some(last) if is_here(&*chain, &last.checkpoint) => {
                chain.certified(last.digest, &last.checkpoint);
                shared.blocks.lock().certified(last.checkpoint.last_number);
            }
            // It ended on another branch, or has lost blocks.
            Some(Kept { digest, checkpoint, .. }) => {
                strayed = Some(Waiting { digest, checkpoint: Arc::new(checkpoint), not_before: Instant::now() });
            }
            None => {}
        }
        let mut driver = Driver {
            shared: shared.clone(),
            peers: peers.clone(),
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
            strayed,
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
        Ok(Arc::new(Self { me, shared, peers, inputs, threads: Mutex::new(threads) }))
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
            Request::Certificates { first, last } => match self.shared.certificates(first, last) {
                Ok(certificates) => Some(encode_certificates(&certificates)),
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
        self.shared.domain.era
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
    /// The last final checkpoint, while the chain does not have it.
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
            Input::Invalid(number) => Err(Error::Invalid(number)),
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
}
