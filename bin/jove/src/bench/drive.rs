//! Sends a load to a node and watches its blocks.
//!
//! Senders are split among a few lanes, each a thread that hands over one batch after the other: to the pool, or over its own
//! keep-alive connection. A transaction's latency runs from the moment its batch is handed over until the event of its block, which comes
//! after the block is durable.

use super::workload::Signed;
use alloy_primitives::{B256, Bytes, hex};
use jove_primitives::ExecutedBlock;
use jove_sequencer::{Event, Node};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::Arc,
    thread::ScopedJoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::broadcast::{Receiver, error::RecvError},
};

/// Connections, or threads that feed the pool.
const LANES: usize = 4;
/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before a batch's refused transactions are sent again.
const RETRY: Duration = Duration::from_millis(5);
/// Refusals that pass when the pool has room again.
const BUSY: [&str; 3] = ["txpool is full", "transaction underpriced", "future transaction tries to replace pending"];
/// How another one of them begins.
const SENDER_BUSY: &str = "account limit exceeded";

/// Where transactions are handed over.
pub(super) enum Target {
    Engine(Arc<Node>),
    Http(String),
}

/// What came of a load.
pub(super) struct Outcome {
    /// From the first batch handed over to the last block.
    pub(super) elapsed: Duration,
    /// Of each transaction, ascending.
    pub(super) latencies: Vec<Duration>,
    /// Blocks with transactions.
    pub(super) blocks: usize,
}

/// Sends transactions in batches of at most `batch`, as fast as they are taken or `rate` each second, and waits until all are in blocks.
/// Transaction `i` is that of sender `i % senders`.
///
/// # Errors
/// If one is refused or fails, or nothing happens for 30 seconds.
pub(super) fn drive(
    node: &Node,
    runtime: &Handle,
    target: &Target,
    transactions: &[Signed],
    senders: usize,
    batch: usize,
    rate: Option<u64>,
) -> Result<Outcome, String> {
    if transactions.is_empty() {
        return Ok(Outcome { elapsed: Duration::ZERO, latencies: Vec::new(), blocks: 0 });
    }
    let lanes: Vec<Vec<Batch>> = (0..LANES.min(senders))
        .map(|lane| {
            let own: Vec<Signed> = (0..transactions.len())
                .filter(|i| i % senders % LANES == lane)
                .map(|i| transactions[i].clone())
                .collect();
            own.chunks(batch).map(|chunk| Batch::new(chunk.to_vec(), target)).collect()
        })
        .collect();
    let count = lanes.len() as u32;
    // Time between two batches of all lanes together.
    let pace = rate.map(|rate| Duration::from_secs_f64(batch as f64 / rate as f64));
    let events = node.events();
    let next = node.head().header.number + 1;
    let total = transactions.len();

    let start = Instant::now();
    let (sent, blocks) = std::thread::scope(|scope| {
        let watcher = scope.spawn(move || runtime.block_on(watch(node, events, next, total)));
        let threads: Vec<_> = lanes
            .iter()
            .enumerate()
            .map(|(lane, batches)| {
                let due = pace.map(|pace| (start + pace * lane as u32, pace * count));
                scope.spawn(move || submit(runtime, target, batches, due))
            })
            .collect();
        let sent: Result<Vec<Vec<Instant>>, String> = threads.into_iter().map(join).collect();
        (sent, join(watcher))
    });
    // A refusal comes first: it is why transactions are missing.
    let (sent, blocks) = (sent?, blocks?);

    let mut handed: HashMap<B256, Instant> = HashMap::with_capacity(total);
    for (batches, times) in lanes.iter().zip(&sent) {
        for (batch, time) in batches.iter().zip(times) {
            handed.extend(batch.transactions.iter().map(|transaction| (transaction.hash, *time)));
        }
    }
    let first = handed.values().min().copied().unwrap_or(start);
    let mut last = first;
    let mut latencies = Vec::with_capacity(total);
    for (time, block) in &blocks {
        last = last.max(*time);
        for (transaction, receipt) in block.transactions.iter().zip(&block.receipts) {
            let hash = *transaction.tx_hash();
            if !receipt.success {
                return Err(format!("transaction {hash} failed in block {}", block.header.number));
            }
            // Each once: what was not sent, or comes twice, is an error.
            let handed = handed.remove(&hash).ok_or_else(|| format!("transaction {hash} was not expected"))?;
            latencies.push(time.saturating_duration_since(handed));
        }
    }
    latencies.sort_unstable();
    Ok(Outcome { elapsed: last.saturating_duration_since(first), latencies, blocks: blocks.len() })
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
}

/// Transactions that are handed over together.
struct Batch {
    transactions: Vec<Signed>,
    payload: Payload,
}

enum Payload {
    Raw(Vec<Bytes>),
    /// A JSON-RPC batch.
    Json(Bytes),
}

impl Batch {
    fn new(transactions: Vec<Signed>, target: &Target) -> Self {
        let payload = match target {
            Target::Engine(_) => Payload::Raw(transactions.iter().map(|transaction| transaction.raw.clone()).collect()),
            Target::Http(_) => Payload::Json(json_batch(&transactions).into()),
        };
        Self { transactions, payload }
    }
}

fn json_batch(transactions: &[Signed]) -> Vec<u8> {
    let calls: Vec<String> = transactions
        .iter()
        .enumerate()
        .map(|(id, transaction)| {
            let raw = hex::encode_prefixed(&transaction.raw);
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["{raw}"]}}"#)
        })
        .collect();
    format!("[{}]", calls.join(",")).into_bytes()
}

/// Hands batches over, the first at `due.0` and one each `due.1`, or as fast as they are taken. Answers when each was.
fn submit(
    runtime: &Handle,
    target: &Target,
    batches: &[Batch],
    due: Option<(Instant, Duration)>,
) -> Result<Vec<Instant>, String> {
    let client = jove_settlement::http::client()
        .no_proxy()
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("HTTP client: {error}"))?;
    let mut times = Vec::with_capacity(batches.len());
    for (i, batch) in batches.iter().enumerate() {
        if let Some((first, every)) = due {
            std::thread::sleep((first + every * i as u32).saturating_duration_since(Instant::now()));
        }
        let handed = Instant::now();
        times.push(handed);
        let mut again: Option<Batch> = None;
        loop {
            let current = again.as_ref().unwrap_or(batch);
            let busy = send(runtime, target, &client, current)?;
            if busy.is_empty() {
                break;
            }
            if handed.elapsed() > PATIENCE {
                return Err(format!("the pool had no room for {PATIENCE:?}"));
            }
            let left = busy.into_iter().map(|position| current.transactions[position].clone()).collect();
            again = Some(Batch::new(left, target));
            std::thread::sleep(RETRY);
        }
    }
    Ok(times)
}

#[derive(Deserialize)]
struct Answer {
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    message: String,
}

/// Hands a batch over. Answers with the positions of those that must be sent again.
fn send(runtime: &Handle, target: &Target, client: &reqwest::Client, batch: &Batch) -> Result<Vec<usize>, String> {
    let refusals: Vec<Option<String>> = match (target, &batch.payload) {
        (Target::Engine(node), Payload::Raw(raw)) => {
            node.pool().add_raw(raw).into_iter().map(|result| result.err().map(|error| error.to_string())).collect()
        }
        (Target::Http(url), Payload::Json(body)) => {
            let answer = runtime.block_on(async {
                let request = client.post(url.as_str()).header("content-type", "application/json");
                request.body(body.0.clone()).send().await?.error_for_status()?.bytes().await
            });
            let answer = answer.map_err(|error| format!("HTTP: {error}"))?;
            let answers: Vec<Answer> = serde_json::from_slice(&answer)
                .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&answer[..answer.len().min(300)])))?;
            answers.into_iter().map(|answer| answer.error.map(|error| error.message)).collect()
        }
        _ => return Err("a batch was made for another target".to_owned()),
    };
    if refusals.len() != batch.transactions.len() {
        return Err(format!("{} answers to {} transactions", refusals.len(), batch.transactions.len()));
    }
    let mut busy = Vec::new();
    for (position, refusal) in refusals.into_iter().enumerate() {
        match refusal {
            None => {}
            Some(text) if BUSY.contains(&text.as_str()) || text.starts_with(SENDER_BUSY) => busy.push(position),
            Some(text) => return Err(format!("transaction {}: {text}", batch.transactions[position].hash)),
        }
    }
    Ok(busy)
}

/// Blocks from number `next` until they hold `total` transactions, each with the time of its event.
async fn watch(
    node: &Node,
    mut events: Receiver<Event>,
    mut next: u64,
    total: usize,
) -> Result<Vec<(Instant, Arc<ExecutedBlock>)>, String> {
    let mut blocks = Vec::new();
    let mut included = 0;
    while included < total {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        let event = event.map_err(|_| format!("{included} of {total} transactions in blocks, then nothing"))?;
        let now = Instant::now();
        let (last, arrived) = match event {
            Ok(Event::Block(block)) => (block.header.number, Some(block)),
            Ok(_) => continue,
            // Events were lost: the store has the blocks.
            Err(RecvError::Lagged(_)) => (node.head().header.number, None),
            Err(RecvError::Closed) => return Err("the node stopped".to_owned()),
        };
        for number in next..=last {
            let block = match &arrived {
                Some(block) if block.header.number == number => block.clone(),
                _ => {
                    let block = node.storage().view().block(number).map_err(|error| error.to_string())?;
                    block.ok_or_else(|| format!("block {number} is missing"))?
                }
            };
            included += block.transactions.len();
            blocks.push((now, block));
        }
        next = next.max(last + 1);
    }
    Ok(blocks)
}
