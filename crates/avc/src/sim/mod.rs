//! A deterministic simulator: whole networks of [`Core`]s in one thread, with an adversary, from one seed.
//!
//! Before the *heal*, messages are delayed, lost, doubled, reordered and cut off by partitions, honest nodes crash with what was not yet on disk, and
//! restart from their logs. Clocks run at different speeds throughout. After the heal messages between honest nodes take at most 60 ms.
//!
//! The adversary has F validators in every epoch's set. It sees every vote when it is sent, whatever the network does with it, and sends any
//! certificate that it can form with its own signatures to whom it likes, when it likes. Its validators are silent, withhold messages, or are twins, which
//! equivocate as leaders and voters; they propose invalid blocks and blocks whose data only some hold, build on parents of long ago, send false witnesses
//! and wrong signatures, and replay old messages, of old epochs too.
//!
//! What must hold: no two FinalCerts that exist *or could be formed* conflict; each is valid, of its epoch, and executed by F+1 honest nodes; no
//! honest node gives evidence against itself; after the heal all honest nodes go on, through the end of an epoch.

#![allow(clippy::expect_used, reason = "a simulation of a wrong plan may end with a panic")]

mod adversary;
mod check;
mod keys;
mod plan;

pub use check::Violation;
pub use plan::{Manner, Plan};

use crate::{
    Anchor, Bitmap, Certificate, Checkpoint, Content, Core, Domain, Effect, Event, Kind, L1Origin, Message, Outcome,
    Record, Scheme, Settings, Signature, Signer, Tampering, Timer, Timing, Tip, Validator, ValidatorSet, WEIGHT_ONE,
};
use alloy_primitives::{B256, keccak256};
use check::{Checker, Fact};
use plan::Random;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

/// How long after the heal all must have gone on, in virtual milliseconds.
pub const PATIENCE: u64 = 400_000;
/// How many past messages the adversary remembers.
const MEMORY: usize = 512;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Why it failed, if it did.
    pub violation: Option<Violation>,
    /// Views that were entered, over all epochs.
    pub views: u64,
    /// The epoch that all honest nodes are in or past.
    pub epoch: u64,
    /// The lowest height that is final at all honest nodes.
    pub height: u64,
    /// Virtual milliseconds.
    pub time: u64,
    /// Virtual milliseconds from the heal to the end.
    pub after_heal: u64,
    /// Views entered, and virtual milliseconds passed, from the heal until every honest node had a final height above all that were final then.
    pub recovery: Option<(u64, u64)>,
    /// Proofs of misbehaviour that honest nodes found.
    pub evidence: u64,
    /// Events.
    pub events: u64,
    /// A hash over all events: equal for equal plans.
    pub trace: u64,
}

enum What {
    Deliver { to: usize, from: usize, message: Arc<Message> },
    Timer { to: usize, life: u32, timer: Timer },
    Disk { to: usize, life: u32 },
    Host { to: usize, life: u32, event: Event },
    Execute { to: usize, life: u32, digest: B256 },
    Crash(usize, bool),
    Restart(usize),
    Transaction,
    Mischief,
    Heal,
}

struct Scheduled {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

enum Out {
    All(Arc<Message>),
    One(usize, Arc<Message>),
}

struct Instance {
    node: usize,
    /// Of twins, which one; both hear all, and each is heard by its own half.
    twin: Option<u64>,
    core: Core,
    up: bool,
    life: u32,
    log: Vec<Record>,
    disk: VecDeque<(Vec<Record>, Vec<Out>)>,
    finals: HashMap<B256, Arc<Checkpoint>>,
    ends: BTreeMap<u64, Certificate>,
    /// Blocks asked for, when there is nothing to put into them yet: view, height, parent, last.
    waiting: Option<(u64, u64, B256, bool)>,
    speed: u64,
    offset: u64,
    work: bool,
    reached: u64,
    views: BTreeMap<u64, u64>,
    votes_from: u64,
}

/// Honest votes, by what they say.
type Signatures = HashMap<(Kind, u64, u64, B256), Vec<(u16, Signature)>>;

/// One run under way.
pub struct Simulation {
    plan: Plan,
    random: Random,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    instances: Vec<Instance>,
    settings: Settings,
    scheme: Arc<dyn Scheme>,
    signers: Vec<Arc<dyn Signer>>,
    members: Vec<Validator>,
    sets: Vec<Arc<ValidatorSet>>,
    checker: Checker,
    signatures: Signatures,
    committees: HashMap<(u64, u64), Bitmap>,
    memory: Vec<Arc<Message>>,
    downtime: HashMap<(usize, bool), u64>,
    transactions: u64,
    target: Option<u64>,
    /// At the heal: the highest final height, and the views entered.
    healed: Option<(u64, u64)>,
    recovery: Option<(u64, u64)>,
    evidence: u64,
    events: u64,
    trace: u64,
}

/// Runs a plan to its end.
pub fn run(plan: Plan) -> Report {
    Simulation::new(plan).run()
}

impl Simulation {
    /// Sets a plan up.
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x5EED);
        let settings = Settings {
            domain: Domain { chain_id: 5_683, era: 1 },
            epoch_length: plan.epoch_length,
            term_length: plan.term_length,
            seats: plan.seats,
            timing: Timing { base: 1_500, cap: 8_000, buddy: 400, empty: 700, gap: 100 },
        };
        let (scheme, keys) = keys::keys(&plan);
        let mut members = Vec::new();
        let mut signers: Vec<Arc<dyn Signer>> = Vec::new();
        for (signer, key, vrf) in keys {
            members.push(Validator {
                id: signer.id(),
                key,
                vrf,
                weight: random.within(u64::from(WEIGHT_ONE), 2 * u64::from(WEIGHT_ONE)) as u32,
                sequencer: members.len() < plan.byzantine.len() || random.chance(700),
            });
            signers.push(signer);
        }
        let checker = Checker::new(&plan);
        let mut simulation = Self {
            random,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            instances: Vec::new(),
            settings,
            scheme,
            signers,
            members,
            sets: Vec::new(),
            checker,
            signatures: HashMap::new(),
            committees: HashMap::new(),
            memory: Vec::new(),
            downtime: HashMap::new(),
            transactions: 1,
            target: None,
            healed: None,
            recovery: None,
            evidence: 0,
            events: 0,
            trace: 0xCBF2_9CE4_8422_2325,
            plan,
        };
        for node in 0..simulation.plan.nodes() {
            match simulation.plan.byzantine.get(node) {
                Some(Manner::Silent) => {}
                Some(Manner::Twins) => (0..2).for_each(|twin| simulation.add(node, Some(twin))),
                Some(Manner::Withholding) | None => simulation.add(node, None),
            }
        }
        for (at, node, down) in simulation.plan.crashes.clone() {
            let lost = simulation.plan.lost_log == Some(node);
            let instance = simulation.instances.iter().position(|instance| instance.node == node);
            if let Some(instance) = instance {
                simulation.schedule(at, What::Crash(instance, lost));
                simulation.downtime.insert((instance, lost), down);
            }
        }
        simulation.schedule(simulation.plan.heal, What::Heal);
        simulation.schedule(1, What::Transaction);
        simulation.schedule(100, What::Mischief);
        simulation
    }

    /// V_e of this run: all Byzantine nodes, and the honest ones but for the spares, which change with the epoch.
    fn set(&mut self, epoch: u64) -> Arc<ValidatorSet> {
        while self.sets.len() <= epoch as usize {
            let byzantine = self.plan.byzantine.len();
            let honest = self.plan.nodes() - byzantine;
            let out: Vec<usize> =
                (0..self.plan.spares).map(|spare| byzantine + (self.sets.len() + spare) % honest).collect();
            let mut members: Vec<Validator> = Vec::new();
            for (node, member) in self.members.iter().enumerate() {
                if !out.contains(&node) {
                    let mut member = member.clone();
                    member.weight = WEIGHT_ONE + (member.weight + 7_919 * self.sets.len() as u32) % WEIGHT_ONE;
                    members.push(member);
                }
            }
            let leaders = members.iter().filter(|member| member.sequencer && node_of(&member.id) >= byzantine).count();
            if leaders < 2 {
                members.iter_mut().for_each(|member| member.sequencer = true);
            }
            let set = ValidatorSet::new(members).expect("ids and keys are distinct, weights in their range");
            self.sets.push(Arc::new(set));
        }
        self.sets[epoch as usize].clone()
    }

    fn genesis(&mut self) -> Record {
        let start = Tip {
            height: 0,
            digest: keccak256(b"genesis"),
            last_number: 0,
            last_hash: keccak256(b"block 0"),
            origin: L1Origin::default(),
        };
        let (set, next) = (self.set(0), self.set(1));
        Record::Anchor(Box::new(Anchor { epoch: 0, start, certificate: None, set, next, seed: [7; 32] }))
    }

    fn add(&mut self, node: usize, twin: Option<u64>) {
        let log = vec![self.genesis()];
        let core = self.core(node, &log, 0).expect("the log has an anchor");
        let index = self.instances.len();
        let instance = Instance {
            node,
            twin,
            core,
            up: true,
            life: 0,
            log,
            disk: VecDeque::new(),
            finals: HashMap::new(),
            ends: BTreeMap::new(),
            waiting: None,
            speed: self.random.within(900, 1_100),
            offset: self.random.below(5_000),
            work: false,
            reached: 0,
            views: BTreeMap::new(),
            votes_from: 0,
        };
        self.instances.push(instance);
        let at = self.random.below(300);
        self.schedule(at, What::Host { to: index, life: 0, event: Event::Start });
    }

    fn core(&self, node: usize, log: &[Record], votes_from: u64) -> Result<Core, crate::Error> {
        let byzantine = node < self.plan.byzantine.len();
        let tampering = Tampering { mutation: self.plan.mutation, oldest_parent: byzantine && self.plan.oldest_parent };
        let signer = Some(self.signers[node].clone());
        Core::new(self.settings, self.scheme.clone(), signer, votes_from, log, tampering)
    }

    fn schedule(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, what }));
    }

    /// Runs until all honest nodes went on past the end of an epoch after the heal, something is wrong, or patience ends.
    pub fn run(mut self) -> Report {
        while let Some(Reverse(Scheduled { at, order, what })) = self.queue.pop() {
            self.now = at;
            self.events += 1;
            self.trace = (self.trace ^ at ^ (order << 20)).wrapping_mul(0x0000_0100_0000_01B3);
            self.step(what);
            if self.checker.violation.is_some() {
                break;
            }
            if let Some(target) = self.target
                && self.events.is_multiple_of(64)
            {
                let honest = self.instances.iter().filter(|instance| self.checker.is_honest(instance.node));
                let lowest = honest.map(|instance| instance.reached).min().unwrap_or(0);
                if self.recovery.is_none()
                    && let Some((height, views)) = self.healed
                    && lowest > height
                {
                    self.recovery = Some((self.views() - views, self.now - self.plan.heal));
                }
                if lowest >= target {
                    break;
                }
                if self.now > self.plan.heal + PATIENCE {
                    let reached: Vec<_> =
                        self.instances.iter().map(|i| (i.node, i.reached, i.core.position(), i.up)).collect();
                    self.checker.violate(Violation::Stall(format!("target {target}, reached {reached:?}")));
                    break;
                }
            }
        }
        let views = self.views();
        let honest: Vec<&Instance> = self.instances.iter().filter(|i| self.checker.is_honest(i.node)).collect();
        Report {
            views,
            epoch: honest.iter().map(|instance| instance.core.position().0).min().unwrap_or(0),
            height: honest.iter().map(|instance| instance.reached).min().unwrap_or(0),
            time: self.now,
            after_heal: self.now.saturating_sub(self.plan.heal),
            recovery: self.recovery,
            evidence: self.evidence,
            events: self.events,
            trace: self.trace,
            violation: self.checker.violation,
        }
    }

    /// Views that honest nodes entered, over all epochs.
    fn views(&self) -> u64 {
        let mut views: BTreeMap<u64, u64> = BTreeMap::new();
        for instance in self.instances.iter().filter(|instance| self.checker.is_honest(instance.node)) {
            for (epoch, view) in &instance.views {
                let highest = views.entry(*epoch).or_default();
                *highest = (*highest).max(*view + 1);
            }
        }
        views.values().sum()
    }

    fn step(&mut self, what: What) {
        match what {
            What::Deliver { to, from, message } => {
                if self.instances[to].up {
                    self.event(to, Event::Message { from: id_of(from), message });
                }
            }
            What::Timer { to, life, timer } => self.event_of(to, life, Event::Timer(timer)),
            What::Host { to, life, event } => self.event_of(to, life, event),
            What::Execute { to, life, digest } => self.execute(to, life, digest),
            What::Disk { to, life } => {
                if self.instances[to].life == life
                    && let Some((records, out)) = self.instances[to].disk.pop_front()
                {
                    for record in records {
                        if matches!(record, Record::Anchor(_)) {
                            self.instances[to].log.clear();
                        }
                        self.instances[to].log.push(record);
                    }
                    out.into_iter().for_each(|out| self.leave(to, out));
                }
            }
            // at the worst time: while something is on its way to the disk
            What::Crash(to, lost) if self.instances[to].disk.is_empty() && self.now + 1_000 < self.plan.heal => {
                self.schedule(self.now + 1, What::Crash(to, lost));
            }
            What::Crash(to, lost) => {
                if !self.instances[to].up {
                    return;
                }
                let epoch = self.instances[to].core.position().0;
                let instance = &mut self.instances[to];
                instance.up = false;
                instance.life += 1;
                instance.disk.clear();
                instance.waiting = None;
                instance.work = false;
                if lost {
                    let genesis = self.genesis();
                    let votes_from =
                        if self.plan.mutation == Some(crate::Mutation::VoteWithoutLog) { 0 } else { epoch + 1 };
                    let instance = &mut self.instances[to];
                    instance.log = vec![genesis];
                    instance.votes_from = instance.votes_from.max(votes_from);
                    instance.finals.clear();
                    instance.ends.clear();
                    instance.reached = 0;
                }
                let down = self.downtime.get(&(to, lost)).copied().unwrap_or(0);
                self.schedule((self.now + down).min(self.plan.heal.max(self.now) + 1), What::Restart(to));
            }
            What::Restart(to) => self.restart(to),
            What::Transaction => {
                self.transactions += 1;
                for to in 0..self.instances.len() {
                    self.refresh_work(to);
                    if let Some((view, height, parent, last)) = self.instances[to].waiting.take() {
                        self.build(to, view, height, parent, false, last);
                    }
                }
                let next = if self.plan.sparse { self.random.within(50, 4_000) } else { self.random.within(50, 150) };
                self.schedule(self.now + next, What::Transaction);
            }
            What::Mischief => self.mischief(),
            What::Heal => {
                let honest = self.instances.iter().filter(|instance| self.checker.is_honest(instance.node));
                let highest = honest.map(|instance| instance.reached).max().unwrap_or(0);
                let length = self.plan.epoch_length;
                self.target = Some(((highest / length + 1) * length + 3).max(20));
                self.healed = Some((highest, self.views()));
                for to in 0..self.instances.len() {
                    let peers: Vec<usize> = (0..self.plan.nodes()).filter(|n| *n != self.instances[to].node).collect();
                    for peer in peers {
                        self.event(to, Event::Connected(id_of(peer)));
                    }
                }
            }
        }
    }

    fn restart(&mut self, to: usize) {
        if self.instances[to].up {
            return;
        }
        let (node, votes_from) = (self.instances[to].node, self.instances[to].votes_from);
        match self.core(node, &self.instances[to].log, votes_from) {
            Ok(core) => {
                let instance = &mut self.instances[to];
                instance.core = core;
                instance.up = true;
                self.event(to, Event::Start);
                self.refresh_work(to);
            }
            Err(error) => self.checker.violate(Violation::Broken(format!("node {node}: {error}"))),
        }
    }

    fn event_of(&mut self, to: usize, life: u32, event: Event) {
        if self.instances[to].life == life {
            self.event(to, event);
        }
    }

    fn event(&mut self, to: usize, event: Event) {
        if !self.instances[to].up {
            return;
        }
        let instance = &mut self.instances[to];
        let clock = instance.offset + self.now * instance.speed / 1_000;
        let effects = instance.core.handle(clock, event);
        self.follow(to, effects);
    }

    // --- effects ---

    fn follow(&mut self, to: usize, effects: Vec<Effect>) {
        let (mut records, mut out) = (Vec::new(), Vec::new());
        let (node, life) = (self.instances[to].node, self.instances[to].life);
        for effect in effects {
            match effect {
                Effect::Persist(record) => records.push(*record),
                Effect::Broadcast(message) if records.is_empty() => self.leave(to, Out::All(message)),
                Effect::Broadcast(message) => out.push(Out::All(message)),
                Effect::Send { to: peer, message } => out.push(Out::One(node_of(&peer), message)),
                Effect::SetTimer { timer, after } => {
                    let at = self.now + after * 1_000 / self.instances[to].speed;
                    self.schedule(at, What::Timer { to, life, timer });
                }
                Effect::Build { view, height, parent, empty, last, .. } => {
                    self.build(to, view, height, parent, empty, last);
                }
                Effect::Execute { digest, .. } => {
                    let at = self.now + self.random.within(1, 20);
                    self.schedule(at, What::Execute { to, life, digest });
                }
                Effect::CheckWitness { digest, .. } => {
                    let invalid = self.checker.facts.get(&digest).is_some_and(|fact| !fact.valid);
                    let event = Event::Witnessed { digest, invalid };
                    self.schedule(self.now + 2, What::Host { to, life, event });
                }
                Effect::Entered { epoch, view, .. } => {
                    self.instances[to].waiting = None;
                    let highest = self.instances[to].views.entry(epoch).or_default();
                    *highest = (*highest).max(view);
                }
                Effect::Final { digest, checkpoint, .. } => {
                    self.instances[to].reached = self.instances[to].reached.max(checkpoint.height);
                    self.instances[to].finals.insert(digest, checkpoint);
                    if self.checker.is_honest(node) {
                        self.checker.is_final(digest);
                    }
                    let work = self.has_work(to);
                    self.instances[to].work = work;
                    self.schedule(self.now, What::Host { to, life, event: Event::Work(work) });
                }
                Effect::Evidence(evidence) => {
                    if self.checker.is_honest(node) {
                        self.evidence += 1;
                    }
                    let crate::Evidence::Votes(vote, _) = &*evidence else { continue };
                    let set = self.set(vote.epoch);
                    let accused = node_of(&set.validators()[usize::from(vote.signer)].id);
                    if self.checker.is_honest(accused) && self.plan.mutation.is_none() {
                        self.checker.violate(Violation::Equivocation(format!("evidence against {accused}")));
                    }
                }
                Effect::Epoch(anchor) => {
                    if let Some(certificate) = anchor.certificate {
                        self.instances[to].ends.insert(anchor.epoch - 1, certificate);
                    }
                }
                Effect::ServeAncestry { to: peer, digest } => {
                    let finals = &self.instances[to].finals;
                    let mut checkpoints = Vec::new();
                    let mut next = digest;
                    while let Some(checkpoint) = finals.get(&next)
                        && checkpoints.len() < crate::MAX_CHECKPOINTS
                    {
                        checkpoints.push(Checkpoint::clone(checkpoint));
                        next = checkpoint.parent;
                    }
                    if !checkpoints.is_empty() {
                        out.push(Out::One(node_of(&peer), Arc::new(Message::Checkpoints(checkpoints))));
                    }
                }
                Effect::ServeEpochEnd { to: peer, epoch } => {
                    if let Some(certificate) = self.instances[to].ends.get(&epoch) {
                        out.push(Out::One(node_of(&peer), Arc::new(Message::Certificate(certificate.clone()))));
                    }
                }
                Effect::Halt { digest } => {
                    if self.checker.is_honest(node) {
                        self.checker.violate(Violation::Broken(format!("node {node} halts at {digest}")));
                    }
                }
                Effect::Soft { .. } | Effect::Sealed(_) => {}
            }
        }
        if records.is_empty() && self.instances[to].disk.is_empty() {
            out.into_iter().for_each(|out| self.leave(to, out));
        } else {
            let wait = self.random.below(8);
            // one write after another
            self.instances[to].disk.push_back((records, out));
            self.schedule(self.now + 8 + wait / 4, What::Disk { to, life });
        }
    }

    fn leave(&mut self, to: usize, out: Out) {
        let from = self.instances[to].node;
        let message = match &out {
            Out::All(message) | Out::One(_, message) => message.clone(),
        };
        self.observe(from, &message);
        if self.memory.len() < MEMORY {
            self.memory.push(message.clone());
        } else if self.random.chance(20) {
            let slot = self.random.below(MEMORY as u64) as usize;
            self.memory[slot] = message.clone();
        }
        let twin = self.instances[to].twin;
        for peer in 0..self.instances.len() {
            let node = self.instances[peer].node;
            if node == from || matches!(out, Out::One(only, _) if only != node) {
                continue;
            }
            if !self.checker.is_honest(from) {
                let side = self.plan.side(self.now, node);
                let hidden = match &*message {
                    Message::Proposal(_) => 150,
                    Message::Certificate(_) => 400,
                    _ => 100,
                };
                let astray = self.random.chance(match &*message {
                    Message::Proposal(_) => 500,
                    _ => 200,
                });
                if (twin.is_some_and(|twin| twin != side) && !astray) || self.random.chance(hidden) {
                    continue;
                }
            }
            self.deliver(from, peer, &message);
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: &Arc<Message>) {
        let node = self.instances[to].node;
        let soft = match &**message {
            Message::Vote(vote) => vote.kind == Kind::Buddy,
            Message::Certificate(certificate) => certificate.kind == Kind::Buddy,
            _ => false,
        };
        if soft && self.plan.mute_buddies {
            return;
        }
        let copies = 1 + u64::from(self.random.chance(self.plan.duplicates));
        for _ in 0..copies {
            let delay = if self.now >= self.plan.heal {
                self.random.within(5, 60)
            } else {
                if self.plan.cut(self.now, from, node) || self.random.chance(self.plan.loss) {
                    continue;
                }
                let slow = match &**message {
                    Message::Vote(vote) => self.plan.slow == Some(vote.kind),
                    Message::Certificate(certificate) => self.plan.slow == Some(certificate.kind),
                    _ => false,
                };
                let long = self.random.chance(if slow { 800 } else { 200 });
                let most = if long { self.plan.delay } else { self.plan.delay.min(80) };
                self.random.within(2, most.max(2))
            };
            self.schedule(self.now + delay, What::Deliver { to, from, message: message.clone() });
        }
    }

    // --- the host: blocks, execution, transactions ---

    fn has_work(&self, to: usize) -> bool {
        let tip = self.instances[to].core.tip().digest;
        let covered = self.checker.facts.get(&tip).map_or(0, |fact| fact.transactions);
        self.transactions > covered
    }

    fn refresh_work(&mut self, to: usize) {
        let work = self.has_work(to);
        if self.instances[to].up && self.instances[to].work != work {
            self.instances[to].work = work;
            self.event(to, Event::Work(work));
        }
    }

    fn build(&mut self, to: usize, view: u64, height: u64, parent: B256, empty: bool, last: bool) {
        let (node, life) = (self.instances[to].node, self.instances[to].life);
        let covered = self.checker.facts.get(&parent).map_or(0, |fact| fact.transactions);
        if covered >= self.transactions && !empty {
            self.instances[to].waiting = Some((view, height, parent, last));
            return;
        }
        let (number, origin) = self
            .checker
            .facts
            .get(&parent)
            .map_or((0, 0), |fact| (fact.checkpoint.last_number, fact.checkpoint.origin.number));
        let last_hash = keccak256([self.random.next().to_be_bytes(), height.to_be_bytes()].concat());
        let invalid = !self.checker.is_honest(node) && self.random.chance(150);
        let epoch = self.instances[to].core.position().0;
        let content = Content {
            last_number: number + self.random.within(1, 5),
            last_hash,
            state_root: if invalid { B256::ZERO } else { state_of(&last_hash) },
            origin: L1Origin { number: origin + self.random.below(2), hash: B256::ZERO },
            evidence_root: B256::ZERO,
            next: last.then(|| self.set(epoch + 2)),
        };
        let event = Event::Built { view, content: Box::new(content) };
        let at = self.now + self.random.within(1, 20);
        self.schedule(at, What::Host { to, life, event });
    }

    fn learn(&mut self, node: usize, checkpoint: &Checkpoint) {
        let digest = checkpoint.digest();
        if self.checker.facts.contains_key(&digest) {
            return;
        }
        let honest = self.checker.is_honest(node);
        let held = if honest || !self.random.chance(250) { u64::MAX } else { self.random.next() | 1 << node };
        let fact = Fact {
            checkpoint: Arc::new(checkpoint.clone()),
            valid: checkpoint.state_root == state_of(&checkpoint.last_hash),
            held,
            executed: if honest { 1 << node } else { 0 },
            transactions: self.transactions,
        };
        self.checker.facts.insert(digest, fact);
    }

    fn execute(&mut self, to: usize, life: u32, digest: B256) {
        if self.instances[to].life != life || !self.instances[to].up {
            return;
        }
        let node = self.instances[to].node;
        let honest = self.checker.is_honest(node);
        let Some(fact) = self.checker.facts.get_mut(&digest) else {
            return self.schedule(self.now + 50, What::Execute { to, life, digest });
        };
        if fact.held >> node & 1 == 0 && fact.executed == 0 {
            return self.schedule(self.now + 200, What::Execute { to, life, digest });
        }
        let (valid, epoch, last) = (fact.valid, fact.checkpoint.epoch, fact.checkpoint.next.is_some());
        if valid && honest {
            fact.executed |= 1 << node;
        }
        let outcome = if valid {
            Outcome::Valid { next: last.then(|| self.set(epoch + 2)) }
        } else {
            Outcome::Invalid { reason: 1, witness: vec![1] }
        };
        self.event(to, Event::Executed { digest, outcome });
    }
}

fn id_of(node: usize) -> B256 {
    // scattered, so that indices change when sets do
    let mut id = keccak256([node as u8]);
    id.0[31] = node as u8;
    id
}

fn node_of(id: &B256) -> usize {
    usize::from(id.0[31])
}

fn state_of(last_hash: &B256) -> B256 {
    let mut root = *last_hash;
    root.0[0] ^= 0xFF;
    root
}
