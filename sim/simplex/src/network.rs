//! A plan, carried out on validators that run commonware's `simplex` in its deterministic runtime and its simulated network.

use crate::Outcome;
use commonware_actor::Feedback;
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::mocks::scheme;
use commonware_consensus::simplex::types::{Activity, Context as Place, Proposal};
use commonware_consensus::simplex::{self, Config, Engine, Floor, ForwardPolicy, SkipBudget, SkipPolicy};
use commonware_consensus::types::{Epoch, TermLength, ViewDelta};
use commonware_consensus::{Automaton, CertifiableAutomaton, Relay};
use commonware_cryptography::{Hasher, Sha256, ed25519, sha256};
use commonware_p2p::simulated::{self, Link, Oracle, SplitOrigin, SplitTarget};
use commonware_p2p::utils::mocks::inert_channel;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Handle, IoBuf, Quota, Runner, Spawner, Supervisor, deterministic};
use commonware_utils::channel::fallible::OneshotExt;
use commonware_utils::channel::oneshot;
use commonware_utils::sync::Mutex;
use commonware_utils::{NZDuration, NZU16, NZU32, NZUsize, Probability};
use futures_util::future::join_all;
use jove_avc::sim::{Manner, PATIENCE, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

type Context = deterministic::Context;
type Key = ed25519::PublicKey;
type Digest = sha256::Digest;
type Scheme = scheme::Scheme<Key>;
type Channel = (simulated::Sender<Key, Context>, simulated::Receiver<Key>);

/// How often the plan is looked at.
const STEP: Duration = Duration::from_millis(10);
/// What building a block takes, and verifying one.
const WORK: Duration = Duration::from_millis(10);
const LEADER_TIMEOUT: Duration = Duration::from_secs(1);
const CERTIFICATION_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Until a leader that is not heard is skipped at once, and until a term in which nothing becomes final is given up.
const PATIENCE_WITH_LEADERS: Duration = Duration::from_secs(5);
/// Of what a Byzantine node sends this much arrives at all, in a thousand.
const FROM_BYZANTINE: u64 = 850;
/// A payload whose first byte is below this is invalid; honest nodes make none, others one in seven.
const INVALID_BELOW: u8 = 37;
/// Messages that a node may send another on a channel, a second: more than any does.
const QUOTA: Quota = Quota::per_second(NZU32!(4_096));

/// Runs a plan until all honest nodes have gone on after its heal, something is wrong, or patience ends.
pub(crate) fn run(plan: Plan) -> Outcome {
    // each turn of the runtime costs a cycle of virtual time: little enough not to count
    let config = deterministic::Config::new().with_seed(plan.seed).with_cycle(Duration::from_micros(10));
    deterministic::Runner::new(config).start(|context| async move { Network::new(plan, context).await.run().await })
}

/// What honest nodes reported.
#[derive(Default)]
struct Seen {
    /// By node, the highest view that it entered and the highest that is final for it.
    entered: Vec<u64>,
    finalized: Vec<u64>,
    /// By view, what is certified there: the payload, the parent's view.
    certified: BTreeMap<u64, (Digest, u64)>,
    /// Views that are final for anyone.
    finals: BTreeSet<u64>,
    fork: Option<String>,
}

impl Seen {
    /// Two certificates of one view on different payloads are a fork, whatever each of them says.
    fn certified(&mut self, proposal: &Proposal<Digest>) {
        let (view, this) = (proposal.round.view().get(), (proposal.payload, proposal.parent.get()));
        let known = *self.certified.entry(view).or_insert(this);
        if known != this {
            self.fork.get_or_insert(format!("fork at view {view}: {known:?} and {this:?}"));
        }
    }

    /// A fork across views: a final view that the chain of a later one leaves out.
    fn left_out(&self) -> Option<String> {
        self.finals.iter().zip(self.finals.iter().skip(1)).find_map(|(lower, upper)| {
            let mut at = *upper;
            // where a certificate was seen by nobody, nothing is said
            while at > *lower
                && let Some((_, parent)) = self.certified.get(&at)
            {
                at = *parent;
            }
            (at < *lower).then(|| format!("fork: view {upper} is final and leaves out {lower}, which is too"))
        })
    }
}

/// Hears what a node's engine did.
#[derive(Clone)]
struct Reporter {
    node: usize,
    term: TermLength,
    seen: Arc<Mutex<Seen>>,
}

impl commonware_consensus::Reporter for Reporter {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let mut seen = self.seen.lock();
        let entered = match activity {
            Activity::Notarization(notarization) => {
                seen.certified(&notarization.proposal);
                return Feedback::Ok;
            }
            Activity::Certification(notarization) => notarization.proposal.round.view().next(),
            Activity::Nullification(nullification) => nullification.round.view().next_term_start(self.term),
            Activity::Finalization(finalization) => {
                seen.certified(&finalization.proposal);
                let view = finalization.proposal.round.view();
                seen.finals.insert(view.get());
                seen.finalized[self.node] = seen.finalized[self.node].max(view.get());
                view.next()
            }
            _ => return Feedback::Ok,
        };
        seen.entered[self.node] = seen.entered[self.node].max(entered.get());
        Feedback::Ok
    }
}

/// Makes payloads that nobody has to fetch, and judges them by their first byte.
#[derive(Clone)]
struct Application {
    context: Arc<Context>,
    /// Which engine this is: twins make different payloads.
    name: String,
    honest: bool,
}

impl Application {
    /// An answer that takes some work.
    fn after_work<T: Send + 'static>(&self, answer: T) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        self.context.child("work").spawn(move |context| async move {
            context.sleep(WORK).await;
            sender.send_lossy(answer);
        });
        receiver
    }
}

impl Automaton for Application {
    type Context = Place<Digest, Key>;
    type Digest = Digest;

    async fn propose(&mut self, place: Self::Context) -> oneshot::Receiver<Digest> {
        let view = place.round.view().get().to_be_bytes();
        let mut payload = Sha256::hash(&[self.name.as_bytes(), &view, &place.parent.1.0]);
        if self.honest {
            payload.0[0] = u8::MAX;
        }
        self.after_work(payload)
    }

    async fn verify(&mut self, _: Self::Context, payload: Digest) -> oneshot::Receiver<bool> {
        self.after_work(payload.0[0] >= INVALID_BELOW)
    }
}

impl CertifiableAutomaton for Application {}

impl Relay for Application {
    type Digest = Digest;
    type PublicKey = Key;
    type Plan = simplex::Plan<Key>;

    fn broadcast(&mut self, _: Digest, _: Self::Plan) -> Feedback {
        Feedback::Ok
    }
}

struct Network {
    plan: Arc<Plan>,
    context: Context,
    oracle: Oracle<Key, Context>,
    keys: Arc<[Key]>,
    schemes: Vec<Scheme>,
    seen: Arc<Mutex<Seen>>,
    /// Virtual milliseconds, for those who cannot ask the clock.
    now: Arc<AtomicU64>,
}

impl Network {
    async fn new(plan: Plan, mut context: Context) -> Self {
        let size = plan.validators;
        let fixture = scheme::fixture(&mut context, b"simplex", u32::try_from(size).expect("few validators"));
        let config = simulated::Config {
            max_size: 1 << 20,
            max_peers_per_set: NZUsize!(size),
            disconnect_on_block: false,
            tracked_peer_sets: NZUsize!(1),
        };
        let keys: Arc<[Key]> = fixture.participants.into();
        let (network, oracle) =
            simulated::Network::new_with_peers(context.child("network"), config, keys.iter().cloned()).await;
        network.start();
        let seen = Seen { entered: vec![1; size], finalized: vec![0; size], ..Seen::default() };
        Self {
            plan: Arc::new(plan),
            context,
            oracle,
            keys,
            schemes: fixture.schemes,
            seen: Arc::new(Mutex::new(seen)),
            now: Arc::default(),
        }
    }

    async fn run(self) -> Outcome {
        let mut engines: Vec<Option<Handle<()>>> = Vec::new();
        for node in 0..self.keys.len() {
            engines.push(match self.plan.byzantine.get(node) {
                Some(Manner::Silent) => None,
                Some(Manner::Twins) => {
                    self.start_twins(node).await;
                    None
                }
                Some(Manner::Withholding) | None => Some(self.start(node, 0).await),
            });
        }
        let mut links = vec![None; self.keys.len() * self.keys.len()];
        let mut crashes = self.plan.crashes.clone();
        // those to come, the next one last
        crashes.sort_unstable_by_key(|crash| std::cmp::Reverse(*crash));
        let mut restarts: Vec<(u64, usize)> = Vec::new();
        let mut lives = vec![0; self.keys.len()];
        // at the heal: the highest view that is final, the highest that was entered
        let mut healed = None;
        loop {
            let since = self.context.current().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let now = since.as_millis() as u64;
            self.now.store(now, Ordering::Relaxed);
            self.relink(now, &mut links).await;
            while let Some((at, node, down)) = crashes.pop_if(|crash| crash.0 <= now) {
                if let Some(engine) = engines.get_mut(node).and_then(Option::take) {
                    engine.abort();
                    let _ = engine.await;
                    // its journal is gone: the next one is another
                    lives[node] += u32::from(self.plan.lost_log == Some(node));
                    restarts.push(((at + down).min(self.plan.heal + 1), node));
                }
            }
            for (_, node) in restarts.extract_if(.., |restart| restart.0 <= now) {
                engines[node] = Some(self.start(node, lives[node]).await);
            }
            if now >= self.plan.heal {
                let honest = self.plan.byzantine.len();
                let seen = self.seen.lock();
                let entered = seen.entered[honest..].iter().max().copied().unwrap_or(0);
                let finalized = &seen.finalized[honest..];
                let (height, views) =
                    *healed.get_or_insert_with(|| (finalized.iter().max().copied().unwrap_or(0), entered));
                let fork = seen.fork.clone().or_else(|| seen.left_out());
                let recovered = finalized.iter().all(|view| *view > height);
                if fork.is_some() || recovered || now > self.plan.heal + PATIENCE {
                    let stalled = (!recovered).then(|| format!("no progress above {height}: {finalized:?}"));
                    return Outcome {
                        fork: fork.is_some(),
                        failure: fork.or(stalled),
                        recovery: recovered.then(|| (entered - views, now - self.plan.heal)),
                    };
                }
            }
            self.context.sleep(STEP).await;
        }
    }

    /// Brings the links to what the plan has at this time. Of each is known whether it is one of before the heal or after, if there is one.
    async fn relink(&self, now: u64, links: &mut [Option<bool>]) {
        let size = self.keys.len();
        let mut changes = Vec::new();
        for (place, link) in links.iter_mut().enumerate() {
            let (from, to) = (place / size, place % size);
            let wanted = (!self.plan.cut(now, from, to)).then_some(now >= self.plan.heal);
            if from != to && *link != wanted {
                changes.push(self.change(from, to, link.is_some(), wanted));
                *link = wanted;
            }
        }
        join_all(changes).await;
    }

    async fn change(&self, from: usize, to: usize, linked: bool, wanted: Option<bool>) {
        let (sender, receiver) = (&self.keys[from], &self.keys[to]);
        if linked {
            self.oracle.remove_link(sender.clone(), receiver.clone()).await.expect("they are linked");
        }
        if let Some(healed) = wanted {
            let link = self.link(from, healed);
            self.oracle.add_link(sender.clone(), receiver.clone(), link).await.expect("they are not linked");
        }
    }

    fn link(&self, from: usize, healed: bool) -> Link {
        let arriving = if from < self.plan.byzantine.len() { FROM_BYZANTINE } else { 1_000 };
        let (latency, jitter, kept) = if healed {
            (32, 16, 1_000)
        } else {
            // one message in five takes up to the longest delay, the others up to 80 ms
            let mean = (2 + (self.plan.delay + 4 * self.plan.delay.min(80)) / 5) / 2;
            (mean, mean / 2, 1_000 - self.plan.loss)
        };
        Link {
            latency: Duration::from_millis(latency),
            jitter: Duration::from_millis(jitter),
            success_rate: Probability::new(arriving * kept, 1_000_000).expect("at most one"),
        }
    }

    async fn channels(&self, node: usize) -> [Channel; 3] {
        let control = self.oracle.control(self.keys[node].clone());
        let [votes, certificates, requests] = [0, 1, 2].map(|channel| control.register(channel, QUOTA));
        [votes.await, certificates.await, requests.await].map(|channel| channel.expect("the network runs"))
    }

    /// Starts a node on the journal of one of its lives.
    async fn start(&self, node: usize, life: u32) -> Handle<()> {
        let [votes, certificates, requests] = self.channels(node).await;
        self.engine(node, format!("{node}_{life}"), votes, certificates, requests)
    }

    /// Starts both twins of a node: both hear all, and each is heard by its own half.
    async fn start_twins(&self, node: usize) {
        let [votes, certificates, _] = self.channels(node).await;
        let (keys, plan, now) = (self.keys.clone(), self.plan.clone(), self.now.clone());
        let forward = move |origin: SplitOrigin, to: &Recipients<Key>, _: &IoBuf| -> Option<Recipients<Key>> {
            let side = match origin {
                SplitOrigin::Primary => 0,
                SplitOrigin::Secondary => 1,
            };
            let now = now.load(Ordering::Relaxed);
            let heard = keys.iter().enumerate().filter(|(peer, key)| {
                let meant = match to {
                    Recipients::All => true,
                    Recipients::Some(keys) => keys.contains(key),
                    Recipients::One(only) => only == *key,
                };
                meant && plan.side(now, *peer) == side
            });
            Some(Recipients::Some(heard.map(|(_, key)| key.clone()).collect()))
        };
        let split = |channel: Channel, label: &'static str| {
            let senders = channel.0.split_with(forward.clone());
            let receivers = channel.1.split_with(self.context.child(label), |_| SplitTarget::Both);
            [(senders.0, receivers.0), (senders.1, receivers.1)]
        };
        let sides = split(votes, "votes").into_iter().zip(split(certificates, "certificates"));
        for (side, (votes, certificates)) in sides.enumerate() {
            self.engine(node, format!("{node}_twin_{side}"), votes, certificates, inert_channel(&self.keys[..]));
        }
    }

    fn engine(
        &self,
        node: usize,
        name: String,
        votes: (impl Sender<PublicKey = Key>, impl Receiver<PublicKey = Key>),
        certificates: (impl Sender<PublicKey = Key>, impl Receiver<PublicKey = Key>),
        requests: (impl Sender<PublicKey = Key>, impl Receiver<PublicKey = Key>),
    ) -> Handle<()> {
        let honest = node >= self.plan.byzantine.len();
        let length = NonZeroU32::new(self.plan.term_length as u32).expect("a term has views");
        let term = TermLength::new(length);
        let context = self.context.child("validator").with_attribute("node", &name);
        let application = Application { context: Arc::new(context.child("application")), name: name.clone(), honest };
        let mut elector: RoundRobin = RoundRobin::shuffled(&self.plan.seed.to_be_bytes());
        if self.plan.term_length > 1 {
            elector = elector.with_term(term, PATIENCE_WITH_LEADERS, ViewDelta::zero());
        }
        let config = Config {
            scheme: self.schemes[node].clone(),
            elector,
            blocker: self.oracle.control(self.keys[node].clone()),
            automaton: application.clone(),
            relay: application,
            reporter: honest.then(|| Reporter { node, term, seen: self.seen.clone() }),
            track_historical_votes: false,
            strategy: Sequential,
            partition: name,
            mailbox_size: NZUsize!(1_024),
            epoch: Epoch::new(0),
            floor: Floor::Genesis(Sha256::hash(&[b"genesis"])),
            replay_buffer: NZUsize!(64 * 1_024),
            write_buffer: NZUsize!(64 * 1_024),
            page_cache: CacheRef::new(NZU16!(1_024), NZUsize!(10)),
            leader_timeout: LEADER_TIMEOUT,
            certification_timeout: CERTIFICATION_TIMEOUT,
            timeout_retry: CERTIFICATION_TIMEOUT,
            view_retention: ViewDelta::new(64),
            skip: SkipPolicy::Enabled { timeout: PATIENCE_WITH_LEADERS, budget: SkipBudget::Participants },
            fetch_timeout: NZDuration!(Duration::from_secs(1)),
            fetch_retry_delay: Duration::from_millis(100),
            forward: ForwardPolicy::Disabled,
        };
        Engine::new(context.child("engine"), config).start(votes, certificates, requests)
    }
}
