//! What it takes to prove a load as one batch.
//!
//! A node takes the load; its blocks are then a batch, encoded into blobs, with the witness that the node makes of it. Measured in one process, one after the
//! other, the fastest of [`RUNS`] runs, which others on the machine disturb least:
//! - *plain*: the blocks executed serially on the whole state in memory and folded into its trie, senders known: what the node's engine does;
//! - *recovery*: recovering the senders, on all cores, as a node does that has the batch from L1;
//! - *witness*: [`Node::witness`], which executes the blocks again from the store;
//! - *judging*: [`judge`], all that a prover does: it recovers, decodes, opens the blobs, checks and executes on the witness.

use super::{
    Options, SETUP_BATCH, cpu_model,
    drive::{Target, drive},
    start_node,
    workload::Load,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256, map::B256Map};
use jove_primitives::{
    ChainSpec, ExecutedBlock,
    batch::{BatchHeader, encode, hash::ORDINARY, pack},
    l1::L1Origin,
    spec::{BlobFeeUpdate, Settlement},
};
use jove_proving::{Batch, Committed, Input, judge};
use jove_sequencer::Node;
use jove_settlement::Zstd;
use jove_stf::{
    Rules,
    batch::{Recovered, block_data},
    execute_block,
};
use jove_trie::StateTrie;
use rayon::prelude::*;
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};
use std::{
    convert::Infallible,
    fmt::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// Runs of each measurement.
const RUNS: usize = 15;

/// The table of what was asked for.
///
/// # Errors
/// In words, if a node does not start, a transaction is refused, or the batch is not proven.
pub(super) fn run(options: &Options, dir: &Path, runtime: &Runtime) -> Result<String, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "{}, {cores} cores; {} transactions by {} senders as one batch; the fastest of {RUNS} runs. Bytes and µs are for each transaction.\n\n\
         | workload | blocks | witness bytes | of it state | code | headers | input bytes | plain µs | recovery µs | witness µs | judging µs | judging over plain and recovery | over plain | witness over plain |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        cpu_model(),
        options.transactions,
        options.senders,
    );
    for workload in options.workload.0 {
        eprintln!("{workload}");
        let row = measure(
            options,
            dir,
            runtime,
            Load::sign(*workload, options.transactions as usize, options.senders as usize)?,
        );
        let Row { blocks, bytes: [state, code, headers, input], times: [plain, recovery, witness, judging] } =
            row.map_err(|error| format!("{workload}: {error}"))?;
        // A string takes all.
        let _ = writeln!(
            text,
            "| {workload} | {blocks} | {:.0} | {state:.0} | {code:.0} | {headers:.0} | {input:.0} | {plain:.1} | {recovery:.1} | {witness:.1} | {judging:.1} | {:.2} | {:.2} | {:.2} |",
            state + code + headers,
            judging / (plain + recovery),
            judging / plain,
            witness / plain,
        );
    }
    Ok(text)
}

struct Row {
    blocks: usize,
    /// For each transaction: state, code and headers of the witness; the whole input.
    bytes: [f64; 4],
    /// For each transaction, in µs.
    times: [f64; 4],
}

fn measure(options: &Options, dir: &Path, runtime: &Runtime, mut load: Load) -> Result<Row, String> {
    let folder = tempfile::Builder::new().prefix("jove-bench.").tempdir_in(dir).map_err(|error| error.to_string())?;
    let (count, senders) = (load.transactions.len(), options.senders as usize);
    load.spec.settlement = Some(Settlement {
        blob_fee_updates: vec![BlobFeeUpdate { timestamp: 0, fraction: 5_007_716 }],
        rollup: Address::repeat_byte(1),
        inbox: Address::repeat_byte(2),
        ..Default::default()
    });
    let node = start_node(options, folder.path(), &load.spec, count)?;
    // A chain that settles has an L1 origin, and with it the prices that it was set up with.
    let origin = L1Origin {
        number: 100,
        timestamp: node.now_ms() / 1000 - 1,
        base_fee: U256::from(1_000_000_000),
        hash: B256::repeat_byte(3),
        blob_base_fee: U256::ONE,
        mix_hash: B256::repeat_byte(4),
        messages: 0,
    };
    node.consume(Some(origin), Vec::new()).map_err(|error| error.to_string())?;
    let engine = Target::Engine(node.clone());
    for transactions in &load.setup {
        drive(&node, runtime.handle(), &engine, transactions, 1, SETUP_BATCH, None)
            .map_err(|error| format!("setup: {error}"))?;
    }
    let before = node.head().header.clone();
    drive(&node, runtime.handle(), &engine, &load.transactions, senders, options.batch as usize, None)?;
    let row = prove(&node, &load.spec, &before, origin, count);
    node.stop();
    row
}

fn prove(node: &Arc<Node>, spec: &ChainSpec, before: &Header, origin: L1Origin, count: usize) -> Result<Row, String> {
    let head = node.head().header.number;
    let view = node.storage().view();
    let block = |number| -> Result<Arc<ExecutedBlock>, String> {
        view.block(number).map_err(|error| error.to_string())?.ok_or_else(|| format!("block {number} is gone"))
    };
    let all: Vec<_> = (1..=head).map(block).collect::<Result<_, _>>()?;
    let (setup, blocks) = all.split_at(before.number as usize);
    let last = blocks.last().ok_or("there is no block")?;

    let mut number = origin.number;
    let data: Vec<_> = blocks
        .iter()
        .map(|block| block_data(block, &mut number))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let mut zstd = Zstd::new().map_err(|error| error.to_string())?;
    let stream = encode(before.number + 1, &data, spec.chain_id, &mut zstd).map_err(|error| error.to_string())?;
    let contents: Vec<Bytes> = pack(&stream).iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect();
    let parent = BatchHeader {
        version: ORDINARY,
        chain_id: spec.chain_id,
        rollup: Address::repeat_byte(1),
        index: 1,
        last_block_hash: before.hash_slow(),
        last_block: before.number,
        origin_number: origin.number,
        origin_hash: origin.hash,
        config_hash: spec.config_hash(),
        ..Default::default()
    };
    let parent = Committed { header: parent, blobs: Vec::new() };
    let header = BatchHeader {
        index: 2,
        parent_batch_hash: parent.hash(),
        parent_block_hash: parent.header.last_block_hash,
        last_block_hash: last.hash,
        first_block: before.number + 1,
        last_block: head,
        last_timestamp: last.header.timestamp,
        ..parent.header
    };
    // What L1 would have computed with KZG: no prover looks behind it.
    let blobs = contents.iter().map(keccak256).collect();
    let witness = node.witness(before.number + 1, head).map_err(|error| error.to_string())?;
    let sizes = [
        witness.state.len(),
        witness.codes.iter().map(|code| code.len()).sum(),
        alloy_rlp::encode(&witness.headers).len(),
    ];
    let batch = Batch { committed: Committed { header, blobs }, contents, witness, ..Default::default() };
    let input =
        Input { payout: Address::ZERO, config: spec.config(u64::MAX).into(), parent, batches: vec![batch] }.encode();

    let judging = fastest(|| {
        let judgement = Input::decode(&input).and_then(|input| judge(&input)).map_err(|error| error.to_string())?;
        let outcome = judgement.verdicts[0].outcome.as_ref().map_err(|error| error.to_string())?;
        if outcome.state == last.header.state_root { Ok(()) } else { Err("another root".into()) }
    })?;
    let making = fastest(|| node.witness(before.number + 1, head).map(drop).map_err(|error| error.to_string()))?;
    let signed: Vec<_> = data.iter().flat_map(|block| &block.transactions).collect();
    let recovery = fastest(|| {
        let recovered: Vec<_> = signed.par_iter().map(|one| Recovered::new(one)).collect();
        if recovered.iter().all(Option::is_some) { Ok(()) } else { Err("a signature is none".into()) }
    })?;
    let start =
        State::genesis(spec).run(node.rules(), &spec.genesis_header(State::genesis(spec).trie.root()), setup)?;
    let plain = fastest(|| {
        let end = start.clone().run(node.rules(), before, blocks)?;
        if end.trie.root() == last.header.state_root { Ok(()) } else { Err("another root".into()) }
    })?;

    let each = |value: f64| value / count as f64;
    let [state, code, headers] = sizes.map(|size| each(size as f64));
    let times = [plain, recovery, making, judging].map(|time: Duration| each(time.as_secs_f64() * 1e6));
    Ok(Row { blocks: blocks.len(), bytes: [state, code, headers, each(input.len() as f64)], times })
}

fn fastest(mut work: impl FnMut() -> Result<(), String>) -> Result<Duration, String> {
    let mut least = Duration::MAX;
    for _ in 0..RUNS {
        let started = Instant::now();
        work()?;
        least = least.min(started.elapsed());
    }
    Ok(least)
}

/// The whole state in memory.
#[derive(Clone)]
struct State {
    trie: StateTrie,
    codes: B256Map<Bytecode>,
    hashes: Vec<B256>,
}

impl State {
    fn genesis(spec: &ChainSpec) -> Self {
        let mut state = Self { trie: StateTrie::default(), codes: B256Map::default(), hashes: Vec::new() };
        let changes = spec.genesis_changes();
        state.trie.apply(&changes);
        state.codes.extend(changes.codes.into_iter().map(|(hash, code)| (hash, Bytecode::new_raw(code))));
        state.hashes.push(spec.genesis_header(state.trie.root()).hash_slow());
        state
    }

    /// Executes and folds sealed blocks after `parent`.
    fn run(mut self, rules: &Rules, parent: &Header, blocks: &[Arc<ExecutedBlock>]) -> Result<Self, String> {
        let mut parent = parent;
        for block in blocks {
            let output = execute_block(rules, parent, &block.header, &block.transactions, &self);
            let changes = output.map_err(|error| error.to_string())?.changes;
            self.trie.apply(&changes);
            self.codes.extend(changes.codes.into_iter().map(|(hash, code)| (hash, Bytecode::new_raw(code))));
            self.hashes.push(block.hash);
            parent = &block.header;
        }
        Ok(self)
    }
}

impl DatabaseRef for State {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.trie.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes.get(&hash).cloned().unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.trie.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(number as usize).copied().unwrap_or_default())
    }
}
