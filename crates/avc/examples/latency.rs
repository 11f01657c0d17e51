//! How long a checkpoint takes from its proposal to its certificates, in a simulated network of validators with real keys.
//!
//! `latency [--link MS] [--disk MS] [--block MS] [--whole] [--mbit N] [--checkpoints N] [n …]`
//!
//! Every validator is a [`Core`] with BLS and VRF keys. Each call of it runs here and its CPU time, as this thread's clock counts it, is charged to the validator, whose
//! consensus runs on one core: proposals and certificates verified, votes signed, counted and aggregated. Besides, it executes on another core: `--block` is what one block
//! takes, a hundred of them a checkpoint. Blocks reach validators as they are sealed, every 10 ms, so when a proposal comes the last one is left to execute; with `--whole`
//! all are. Messages take `--link` one way, after their bytes have left through a port of `--mbit` Mbit/s; what must be logged before it is sent waits `--disk` for its sync.
//! A checkpoint is proposed every second.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]
#![allow(clippy::expect_used, reason = "a wrong plan may end with a panic")]

use alloy_primitives::{B256, keccak256};
use jove_avc::codec::Wire;
use jove_avc::{
    Anchor, Bls, BlsSigner, Content, Core, Domain, Effect, Event, L1Origin, Message, Outcome, Record, Scheme, Settings,
    Signer, Tampering, Timer, Timing, Tip, Validator, ValidatorSet, WEIGHT_ONE,
};
use rustix::time::{ClockId, clock_gettime};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// Blocks in a full checkpoint.
const BLOCKS: u64 = 100;
/// Between two proposals, in µs: what sealing so many blocks takes.
const INTERVAL: u64 = 1_000_000;

/// What is simulated; times in µs.
#[derive(Clone, Copy, Debug)]
struct Options {
    link: u64,
    disk: u64,
    block: u64,
    whole: bool,
    mbit: u64,
    checkpoints: usize,
}

enum What {
    Event(Event),
    /// Messages leave once the log is on disk.
    Leave(Vec<(Option<B256>, Arc<Message>)>),
    Build {
        view: u64,
        height: u64,
    },
}

struct Node {
    id: B256,
    core: Core,
    /// Until when consensus, execution, the disk and the port are busy.
    consensus: u64,
    execution: u64,
    disk: u64,
    port: u64,
    sent: u64,
}

struct Network {
    options: Options,
    nodes: Vec<Node>,
    index: HashMap<B256, usize>,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    pending: HashMap<u64, What>,
    order: u64,
    next_proposal: u64,
    /// When each checkpoint's proposal was handed to its leader.
    proposed: HashMap<B256, u64>,
    soft: Vec<u64>,
    certified: Vec<u64>,
    finals: usize,
    cpu: u64,
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Network {
    fn new(size: usize, options: Options) -> Self {
        let scheme: Arc<dyn Scheme> = Arc::new(Bls::default());
        let mut signers: Vec<Arc<dyn Signer>> = Vec::new();
        let mut members = Vec::new();
        for number in 0..size {
            let id = keccak256((number as u64).to_be_bytes());
            let signer =
                BlsSigner::new(id, &keccak256(id).0, &keccak256([id.0, [1; 32]].concat()).0).expect("32 bytes");
            let (key, vrf) = (signer.public_key(), signer.vrf_key());
            members.push(Validator { id, key, vrf, weight: WEIGHT_ONE, sequencer: true });
            signers.push(Arc::new(signer));
        }
        let set = Arc::new(ValidatorSet::new(members).expect("a set"));
        let settings = Settings {
            domain: Domain { chain_id: 5_683, era: 0 },
            epoch_length: 1_000,
            term_length: 256,
            seats: size.min(64),
            timing: Timing { base: 2_000, cap: 8_000, buddy: 800, empty: 1_000, gap: 100 },
        };
        let start = Tip {
            height: 0,
            digest: keccak256(b"genesis"),
            last_number: 0,
            last_hash: B256::ZERO,
            origin: L1Origin::default(),
        };
        let anchor = Anchor { epoch: 0, start, certificate: None, set: set.clone(), next: set, seed: [3; 32] };
        let log = [Record::Anchor(Box::new(anchor))];
        let nodes: Vec<Node> = signers
            .into_iter()
            .map(|signer| Node {
                id: signer.id(),
                core: Core::new(settings, scheme.clone(), Some(signer), 0, &log, Tampering::default())
                    .expect("an anchor"),
                consensus: 0,
                execution: 0,
                disk: 0,
                port: 0,
                sent: 0,
            })
            .collect();
        let index = nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
        let mut network = Self {
            options,
            nodes,
            index,
            queue: BinaryHeap::new(),
            pending: HashMap::new(),
            order: 0,
            next_proposal: INTERVAL,
            proposed: HashMap::new(),
            soft: Vec::new(),
            certified: Vec::new(),
            finals: 0,
            cpu: 0,
        };
        for node in 0..size {
            network.schedule(0, node, What::Event(Event::Start));
            network.schedule(1, node, What::Event(Event::Work(true)));
        }
        network
    }

    fn schedule(&mut self, at: u64, node: usize, what: What) {
        self.order += 1;
        self.pending.insert(self.order, what);
        self.queue.push(Reverse((at, self.order, node)));
    }

    fn run(&mut self) {
        let wanted = (self.options.checkpoints + 2) * self.nodes.len();
        while self.finals < wanted
            && let Some(Reverse((at, order, node))) = self.queue.pop()
        {
            match self.pending.remove(&order) {
                Some(What::Event(event)) => self.event(at, node, event),
                Some(What::Leave(messages)) => self.leave(at, node, messages),
                Some(What::Build { view, height }) => {
                    let content = Content {
                        last_number: height * BLOCKS,
                        last_hash: keccak256(height.to_be_bytes()),
                        state_root: keccak256(b"state"),
                        origin: L1Origin::default(),
                        evidence_root: B256::ZERO,
                        next: None,
                    };
                    self.event(at, node, Event::Built { view, content: Box::new(content) });
                }
                None => {}
            }
        }
    }

    fn event(&mut self, at: u64, node: usize, event: Event) {
        let built = matches!(event, Event::Built { .. });
        let begin = at.max(self.nodes[node].consensus);
        let before = cpu_ns();
        let effects = self.nodes[node].core.handle(begin / 1_000, event);
        let spent = (cpu_ns() - before) / 1_000;
        self.cpu += spent;
        let now = begin + spent;
        self.nodes[node].consensus = now;
        let (mut logged, mut out) = (false, Vec::new());
        for effect in effects {
            match effect {
                Effect::Persist(_) => logged = true,
                Effect::Broadcast(message) => {
                    if let (true, Message::Proposal(proposal)) = (built, &*message) {
                        self.proposed.insert(proposal.checkpoint.digest(), begin);
                    }
                    out.push((None, message));
                }
                Effect::Send { to, message } => out.push((Some(to), message)),
                // the timers of views that go well are many, and all in vain
                Effect::SetTimer { timer: Timer::Empty { .. }, .. } => {}
                Effect::SetTimer { timer, after } => {
                    self.schedule(now + after * 1_000, node, What::Event(Event::Timer(timer)));
                }
                Effect::Build { view, height, .. } => {
                    let at = now.max(self.next_proposal);
                    self.next_proposal = at + INTERVAL;
                    self.schedule(at, node, What::Build { view, height });
                }
                Effect::Execute { digest, .. } => {
                    let blocks = if self.options.whole { BLOCKS } else { 1 };
                    let done = now.max(self.nodes[node].execution) + blocks * self.options.block;
                    self.nodes[node].execution = done;
                    let outcome = Outcome::Valid { next: None };
                    self.schedule(done, node, What::Event(Event::Executed { digest, outcome }));
                }
                Effect::Soft { digest, .. } => {
                    if let Some(proposed) = self.proposed.get(&digest) {
                        self.soft.push(now - proposed);
                    }
                }
                Effect::Final { digest, .. } => {
                    self.finals += 1;
                    if let Some(proposed) = self.proposed.get(&digest) {
                        self.certified.push(now - proposed);
                    }
                }
                _ => {}
            }
        }
        if logged {
            let synced = now.max(self.nodes[node].disk) + self.options.disk;
            self.nodes[node].disk = synced;
            self.schedule(synced, node, What::Leave(out));
        } else if !out.is_empty() {
            // in the order in which it was said
            let after = now.max(self.nodes[node].disk);
            self.schedule(after, node, What::Leave(out));
        }
    }

    fn leave(&mut self, at: u64, node: usize, messages: Vec<(Option<B256>, Arc<Message>)>) {
        let from = self.nodes[node].id;
        for (to, message) in messages {
            let bytes = message.encode().len() as u64 + 4;
            let peers: Vec<usize> = match to {
                Some(to) => self.index.get(&to).copied().into_iter().collect(),
                None => (0..self.nodes.len()).filter(|peer| *peer != node).collect(),
            };
            for peer in peers {
                let gone = at.max(self.nodes[node].port) + (bytes * 8).div_ceil(self.options.mbit.max(1));
                self.nodes[node].port = gone;
                self.nodes[node].sent += bytes;
                let event = Event::Message { from, message: message.clone() };
                self.schedule(gone + self.options.link, peer, What::Event(event));
            }
        }
    }
}

/// The value below which so many of a hundred are, in ms.
fn percentile(times: &mut [u64], of: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * of).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(f64::NAN, |time| *time as f64 / 1_000.0)
}

fn main() {
    let mut options = Options { link: 50_000, disk: 1_000, block: 2_400, whole: false, mbit: 1_000, checkpoints: 20 };
    let mut sizes = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut ms = || arguments.next().and_then(|number| number.parse::<f64>().ok());
        let known = match argument.as_str() {
            "--whole" => {
                options.whole = true;
                Some(())
            }
            "--link" => ms().map(|ms| options.link = (ms * 1_000.0) as u64),
            "--disk" => ms().map(|ms| options.disk = (ms * 1_000.0) as u64),
            "--block" => ms().map(|ms| options.block = (ms * 1_000.0) as u64),
            "--mbit" => ms().map(|number| options.mbit = number as u64),
            "--checkpoints" => ms().map(|number| options.checkpoints = number as usize),
            size => size.parse().ok().filter(|size| (1..=200).contains(size)).map(|size| sizes.push(size)),
        };
        if known.is_none() {
            println!("latency [--link MS] [--disk MS] [--block MS] [--whole] [--mbit N] [--checkpoints N] [n ...]");
            std::process::exit(2);
        }
    }
    if sizes.is_empty() {
        sizes = vec![7, 21, 100];
    }
    println!("{options:?}");
    println!(
        "| n | soft p50 ms | p99 | final p50 ms | p99 | bytes a node and checkpoint | CPU ms a node and checkpoint |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for size in sizes {
        let mut network = Network::new(size, options);
        network.run();
        let checkpoints = (network.finals / size) as u64;
        let each = size as u64 * checkpoints.max(1);
        let sent: u64 = network.nodes.iter().map(|node| node.sent).sum();
        println!(
            "| {size} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {:.1} |",
            percentile(&mut network.soft, 50),
            percentile(&mut network.soft, 99),
            percentile(&mut network.certified, 50),
            percentile(&mut network.certified, 99),
            sent / each,
            network.cpu as f64 / 1_000.0 / each as f64,
        );
    }
}
