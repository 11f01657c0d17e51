//! What a chain steps to on L1, and how its blocks are cut into batches: with a store of hand-made blocks, and an L1 that the test writes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_consensus::{Header, SignableTransaction, TxLegacy, transaction::Recovered};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use chain::{Chain, GENESIS, Shared, committed, genesis, opened, queued, serve, spec, state, watcher};
use jove_primitives::{
    AccountChange, Change, ChangeSet, ExecutedBlock, Receipt,
    batch::{
        BatchHeader, decode,
        hash::{MESSAGES_ALONE, ORDINARY},
    },
    block::L1Prices,
    header::Extra,
    l1::{L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    transaction::{RecoveredTransaction, Transaction, TxDeposit, deposit},
};
use jove_settlement::{
    Error, L1,
    committer::{Anywhere, Backlog, Commit, Committer, End, Ends, single},
    contracts::{ProofSystem, Rollup, TEST_PROOF_DOMAIN},
    origins::{Depth, Step, next_step, origin_at},
    rescue::Ahead,
    status::{batch_instructions, instructions},
    watcher::{L1State, Watcher, origin},
};
use jove_storage::{Options, Storage};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Milliseconds at which L1 block `number` of these tests was.
fn at(number: u64) -> u64 {
    (1_000 + number) * 1_000
}

/// A chain of hand-made blocks.
struct L2 {
    storage: Storage,
    queue: Queue,
    origin: Option<L1Origin>,
    _folder: TempDir,
}

impl L2 {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Options { sync: false }).unwrap();
        let chain = Self { storage, queue: Queue::default(), origin: None, _folder: folder };
        let genesis = ExecutedBlock {
            header: Header::default(),
            hash: GENESIS,
            transactions: Vec::new(),
            receipts: Vec::new(),
            l1_fees: Vec::new(),
            l1_prices: L1Prices::default(),
        };
        chain.storage.commit(&genesis, &ChangeSet::default()).unwrap();
        chain
    }

    fn push(&mut self, time_ms: u64, deposits: Vec<TxDeposit>, messages: bool, changes: ChangeSet) -> B256 {
        self.seal(time_ms, deposits.into_iter().map(deposit).collect(), messages, changes)
    }

    fn seal(
        &mut self,
        time_ms: u64,
        transactions: Vec<RecoveredTransaction>,
        messages: bool,
        changes: ChangeSet,
    ) -> B256 {
        let view = self.storage.view();
        let number = view.head_number() + 1;
        let extra = Extra { millisecond: (time_ms % 1_000) as u16, excess_gas: 0, messages };
        let header = Header {
            number,
            parent_hash: view.block_hash(number - 1).unwrap().unwrap(),
            timestamp: time_ms / 1_000,
            extra_data: Bytes::copy_from_slice(&extra.encode()),
            ..Default::default()
        };
        let count = transactions.len();
        let block = ExecutedBlock {
            hash: header.hash_slow(),
            header,
            transactions,
            receipts: vec![Receipt::default(); count],
            l1_fees: vec![U256::ZERO; count],
            l1_prices: L1Prices::default(),
        };
        self.storage.commit(&block, &changes).unwrap();
        block.hash
    }

    /// A block with a transaction of this many bytes, which no compression makes fewer.
    fn heavy(&mut self, time_ms: u64, size: usize) -> B256 {
        let number = self.storage.view().head_number();
        let words = (0..size.div_ceil(32) as u64).flat_map(|word| keccak256((number, word).abi_encode()).0);
        let input: Vec<u8> = words.take(size).collect();
        let unsigned =
            TxLegacy { chain_id: Some(spec().chain_id), nonce: number, input: input.into(), ..Default::default() };
        let signed = Transaction::from(unsigned.into_signed(Signature::test_signature()));
        self.seal(time_ms, vec![Recovered::new_unchecked(signed, Address::ZERO)], false, ChangeSet::default())
    }

    /// A block without transactions.
    fn plain(&mut self, time_ms: u64) -> B256 {
        self.push(time_ms, Vec::new(), false, ChangeSet::default())
    }

    /// A block of messages: steps to `origin`, or goes on with the last, and consumes so many.
    fn messages(&mut self, time_ms: u64, origin: Option<L1Origin>, count: u64) -> B256 {
        let number = self.storage.view().head_number() + 1;
        let mut storage = Vec::new();
        let mut deposits = Vec::new();
        let before = self.queue;
        if let Some(origin) = origin {
            let was = self.origin.unwrap_or_default().slots().map(|(_, value)| value);
            storage.extend(origin.slots().into_iter().zip(was));
            deposits.push(origin.attributes(number));
            self.queue.due = origin.messages;
            self.origin = Some(origin);
        }
        deposits.extend((0..count).map(|nonce| TxDeposit { mint: nonce.into(), ..Default::default() }));
        self.queue.consumed += count;
        storage.push(((L1_QUEUE_SLOT, self.queue.slot()), before.slot()));
        let storage = storage.into_iter().map(|((slot, after), before)| (slot, Change { before, after })).collect();
        let change = AccountChange { storage, ..Default::default() };
        let changes = ChangeSet { accounts: [(L1_BLOCK, change)].into(), ..Default::default() };
        self.push(time_ms, deposits, true, changes)
    }

    fn unwind(&mut self, number: u64) {
        self.storage.unwind(number).unwrap();
        let view = self.storage.view();
        let state = view.state(number).unwrap();
        self.queue = Queue::from_slot(state.slot(L1_BLOCK, L1_QUEUE_SLOT).unwrap());
        if origin_at(&view, number).unwrap().0.number == 0 {
            self.origin = None;
        }
    }
}

/// An open L1 with a message in block 1, two in block 2, none in the next `empty` ones.
fn l1_chain(empty: usize) -> Shared {
    let mut chain = Chain { chain_id: 7, ..Default::default() };
    chain.push(Vec::new());
    chain.push(vec![opened(), queued(0)]);
    chain.push(vec![queued(1), queued(2)]);
    (0..empty).for_each(|_| chain.push(Vec::new()));
    Arc::new(Mutex::new(chain))
}

struct World {
    chain: Shared,
    l1: L1,
    watcher: Watcher,
    l2: L2,
    _folder: TempDir,
}

impl World {
    async fn new(empty: usize) -> Self {
        let (chain, folder) = (l1_chain(empty), tempfile::tempdir().unwrap());
        let l1 = serve(chain.clone()).await;
        let watcher = watcher(&l1, folder.path());
        let mut world = Self { chain, l1, watcher, l2: L2::new(), _folder: folder };
        world.watcher.poll().await.unwrap();
        world
    }

    async fn poll(&mut self) -> L1State {
        self.watcher.poll().await.unwrap();
        state(&self.watcher)
    }

    fn state(&self) -> L1State {
        state(&self.watcher)
    }

    async fn next(&self, depth: u64, now_ms: u64) -> Result<Step, Error> {
        let (spec, state) = (spec(), self.state());
        let settlement = spec.settlement.as_ref().unwrap();
        let depth = if depth == 0 { Depth::Finalized } else { Depth::Blocks(depth) };
        next_step(&self.l1, settlement, &state, &self.l2.storage, None, depth, now_ms).await
    }

    async fn origin(&self, number: u64) -> L1Origin {
        let (spec, state) = (spec(), self.state());
        let header = self.l1.header(number).await.unwrap().unwrap();
        origin(spec.settlement.as_ref().unwrap(), &header, state.messages_up_to(number).unwrap())
    }

    /// Number of the origin, and gas limits of the messages, by which the tests know them.
    async fn step(&self, depth: u64, now_ms: u64) -> (Option<u64>, Vec<u64>) {
        match self.next(depth, now_ms).await.unwrap() {
            Step::Consume { origin, messages } => (
                origin.map(|origin| origin.number),
                messages.iter().map(|message| message.gas_limit - 21_000).collect(),
            ),
            other => panic!("{other:?}"),
        }
    }

    fn commit_l2(&mut self, index: u64, last_block: u64) -> BatchHeader {
        let view = self.l2.storage.view();
        let header = BatchHeader {
            index,
            first_block: 1,
            last_block,
            last_block_hash: view.block_hash(last_block).unwrap().unwrap(),
            parent_batch_hash: self.state().batch(index - 1).unwrap().unwrap().hash,
            ..genesis()
        };
        self.chain.lock().unwrap().push(vec![committed(header)]);
        header
    }
}

#[tokio::test]
async fn a_chain_steps_as_deep_as_it_is_told_and_takes_all_messages_up_to_there() {
    let mut world = World::new(3).await; // L1's head is block 5
    assert_eq!(world.next(0, at(9)).await.unwrap(), Step::Wait, "nothing is finalized");
    assert_eq!(world.step(1, at(9)).await, (Some(5), vec![0, 1, 2]));
    assert_eq!(world.step(4, at(9)).await, (Some(2), vec![0, 1, 2]));
    assert_eq!(world.step(5, at(9)).await, (Some(1), vec![0]));
    world.chain.lock().unwrap().finalized = 1;
    world.chain.lock().unwrap().push(Vec::new());
    world.poll().await;
    assert_eq!(world.step(0, at(9)).await, (Some(1), vec![0]));

    // A block of the chain is not before its origin: L1's clock may be ahead.
    assert_eq!(world.step(1, at(4)).await, (Some(4), vec![0, 1, 2]));
    assert_eq!(world.step(1, at(5) - 1).await, (Some(4), vec![0, 1, 2]));
    assert_eq!(world.next(1, at(0)).await.unwrap(), Step::Wait);

    // What is due of the last origin comes first; then the next one.
    let second = world.origin(2).await;
    world.l2.messages(at(2), Some(second), 1);
    assert_eq!(world.step(1, at(9)).await, (None, vec![1, 2]));
    world.l2.messages(at(2), None, 2);
    assert_eq!(world.step(1, at(9)).await, (Some(6), vec![]));
    assert_eq!(world.next(5, at(9)).await.unwrap(), Step::Wait, "it is there already");
}

#[tokio::test]
async fn what_l1_takes_back_below_its_origins_a_chain_takes_back() {
    let mut world = World::new(3).await;
    let first = world.origin(1).await;
    world.l2.plain(at(0));
    world.l2.messages(at(1), Some(first), 1);
    let fourth = world.origin(4).await;
    world.l2.plain(at(4));
    world.l2.messages(at(5), Some(fourth), 2);
    world.l2.plain(at(5));

    // Above its origin it is nobody's matter.
    world.chain.lock().unwrap().reorganise(1);
    world.poll().await;
    assert_eq!(world.step(1, at(9)).await, (Some(5), vec![]));
    // Before the watcher has seen it, too: the origin is asked for.
    world.chain.lock().unwrap().reorganise(2);
    assert_eq!(world.next(1, at(9)).await.unwrap(), Step::Unwind(3));
    world.poll().await;
    assert_eq!(world.next(1, at(9)).await.unwrap(), Step::Unwind(3));
    world.chain.lock().unwrap().reorganise(4); // from block 2 on: its messages are gone
    world.poll().await;
    assert_eq!(world.next(1, at(9)).await.unwrap(), Step::Unwind(3));
    world.l2.unwind(3);
    assert_eq!(world.step(1, at(9)).await, (Some(5), vec![]), "the first origin stands");
    world.chain.lock().unwrap().blocks[1].1.truncate(1);
    world.chain.lock().unwrap().reorganise(4);

    // An L1 that is behind says nothing.
    let mut world = World::new(3).await;
    let last = world.origin(5).await;
    world.l2.messages(at(5), Some(last), 3);
    world.chain.lock().unwrap().blocks.truncate(5);
    world.poll().await;
    let error = world.next(1, at(9)).await.unwrap_err();
    assert!(matches!(error, Error::L1Behind { number: 4, finalized: 5 }), "{error}");
}

fn collect(committer: &mut Committer, state: &L1State) -> Backlog {
    committer.collect(state, u64::MAX).unwrap().expect("all blocks are read")
}

fn committer(world: &World) -> Committer {
    Committer::new(world.l2.storage.clone(), Box::new(Anywhere), spec().chain_id, 6)
}

#[tokio::test]
async fn a_commit_names_what_the_contract_checks() {
    let mut world = World::new(3).await;
    world.l2.plain(at(0) + 250);
    let mut cutter = committer(&world);
    let waits = collect(&mut cutter, &world.state());
    assert_eq!((waits.blocks, waits.since_ms, waits.busy), (1, Some(at(0) + 250), false));
    assert_eq!(cutter.next_commit().unwrap(), None, "the chain knows no L1 block yet");

    let second = world.origin(2).await;
    world.l2.messages(at(2), Some(second), 1);
    assert!(collect(&mut cutter, &world.state()).busy);
    world.l2.messages(at(2), None, 2);
    let last = world.l2.plain(at(3));
    // L1's head is of second 1,005: this one is of its future.
    world.l2.plain(at(6));
    let waits = collect(&mut cutter, &world.state());
    assert!(waits.blocks == 5 && waits.bytes > 0, "{waits:?}");
    let commit = cutter.next_commit().unwrap().unwrap();
    assert_eq!((commit.index, commit.first_block, commit.last_block, commit.blobs.len()), (1, 1, 4, 1));
    let call = Rollup::commitCall::abi_decode(&commit.call()).unwrap();
    let parent = world.state().batch(0).unwrap().unwrap();
    let expected = Rollup::Commit {
        parentBatchHash: parent.hash,
        lastBlockHash: last,
        lastBlock: 4,
        lastTimestamp: 1_003,
        endMessage: 3,
        originNumber: 2,
        originHash: second.hash,
    };
    assert_eq!(call, Rollup::commitCall { request: expected.clone(), certificate: Bytes::new() });
    let contents: Vec<Bytes> = commit.blobs.iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect();
    let data = decode(&contents, spec().chain_id).unwrap();
    assert_eq!(data.blocks.iter().map(|block| block.origin_steps).collect::<Vec<_>>(), [0, 2, 0, 0]);
    assert_eq!(data.blocks[0].time_ms, at(0) + 250);

    // The same again, also from another committer: it is sent once.
    assert_eq!(cutter.next_commit().unwrap().unwrap(), commit);
    let mut other = committer(&world);
    collect(&mut other, &world.state());
    assert_eq!(other.next_commit().unwrap().unwrap(), commit);

    // All blocks in one, by whoever steps in.
    world.l2.unwind(4);
    let (request, blobs) = single(&world.l2.storage.view(), &parent, spec().chain_id).unwrap();
    assert_eq!((request, blobs), (expected, commit.blobs));
}

#[tokio::test]
async fn what_anyone_commits_is_that_batch_with_its_proof() {
    let mut world = World::new(3).await;
    let second = world.origin(2).await;
    world.l2.messages(at(2), Some(second), 3);
    let last = world.l2.plain(at(3));
    let mut cutter = committer(&world);
    let (state, payout) = (world.state(), Address::repeat_byte(5));
    collect(&mut cutter, &state);
    let commit = Commit { certificate: vec![7].into(), ..cutter.next_commit().unwrap().unwrap() };
    let (view, parent) = (world.l2.storage.view(), state.batch(0).unwrap().unwrap());
    let start = parent.settled.unwrap().output;

    // A certified batch.
    let ahead = Ahead::certified(&view, &spec(), &state, &parent, commit.clone()).unwrap();
    let header = ahead.batch.header;
    assert_eq!((header.version, header.era, header.index), (ORDINARY, 0, 1));
    assert_eq!((header.first_block, header.last_block, header.last_block_hash), (1, 2, last));
    assert_eq!((header.parent_batch_hash, header.parent_block_hash), (parent.hash, GENESIS));
    assert_eq!((header.first_message, header.end_message), (0, 3));
    assert_eq!((header.queue_hash_before, Some(header.queue_hash_after)), (B256::ZERO, state.queue_hash(3).unwrap()));
    assert_eq!((header.origin_number, header.origin_hash, ahead.start), (2, second.hash, start));
    let contents: Vec<Bytes> = commit.blobs.iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect();
    assert_eq!(ahead.contents(), contents);
    assert_eq!(ahead.batch.hash, header.hash(&ahead.batch.blobs));
    let data = ahead.call(ProofSystem::Zk, payout, Some(vec![1, 2].into()));
    let call = Rollup::commitInSilenceCall::abi_decode(&data).unwrap();
    assert_eq!((&call.request, &call.certificate), (&commit.request, &commit.certificate));
    let claim = &call.proof.claims[0];
    assert_eq!((&claim.batch, &claim.blobs), (&Rollup::Batch::from(header), &ahead.batch.blobs));
    assert_eq!((call.proof.system, call.proof.start, call.proof.payout), (1, start, payout));
    assert_eq!(call.proof.proof[..], [1, 2], "a prover's");
    let data = ahead.call(ProofSystem::Tee, payout, None);
    let proof = Rollup::commitInSilenceCall::abi_decode(&data).unwrap().proof;
    assert_eq!((proof.system, &proof.claims), (0, &call.proof.claims));
    let believed = keccak256([TEST_PROOF_DOMAIN, ahead.statement(payout)].concat());
    assert_eq!(proof.proof[..32], believed[..], "what a test verifier believes");

    // The same blocks as messages alone, of which they are.
    let ahead = Ahead::messages(&view, &spec(), &state, &parent).unwrap();
    let header = ahead.batch.header;
    assert_eq!((header.version, header.era, header.index, header.last_block_hash), (MESSAGES_ALONE, 1, 1, last));
    let call = Rollup::commitMessagesCall::abi_decode(&ahead.call(ProofSystem::Tee, payout, None)).unwrap();
    assert_eq!((&call.request, &call.proof.claims[0].batch), (&commit.request, &Rollup::Batch::from(header)));
}

#[tokio::test]
async fn a_batch_ends_only_where_no_message_is_due() {
    let mut world = World::new(3).await;
    let second = world.origin(2).await;
    world.l2.plain(at(1));
    world.l2.messages(at(2), Some(second), 1);
    let mut cutter = committer(&world);
    collect(&mut cutter, &world.state());
    assert_eq!(cutter.next_commit().unwrap(), None, "block 1 is before any origin");
    world.l2.messages(at(2), None, 1);
    collect(&mut cutter, &world.state());
    assert_eq!(cutter.next_commit().unwrap(), None);
    world.l2.messages(at(2), None, 1);
    collect(&mut cutter, &world.state());
    assert_eq!(cutter.next_commit().unwrap().unwrap().last_block, 4);
}

/// Checkpoints end with these blocks, and epochs with those; further ones are known after somebody looked for them among these blocks.
#[derive(Default)]
struct Checkpoints {
    ends: Vec<u64>,
    epochs: Vec<u64>,
    lacking: Mutex<Vec<u64>>,
    looked: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Ends for Checkpoints {
    fn end(&self, block: u64) -> Result<End, Error> {
        let found = !self.looked.lock().unwrap().is_empty() && self.lacking.lock().unwrap().contains(&block);
        Ok(match (found || self.ends.contains(&block), self.epochs.contains(&block)) {
            (false, _) => End::No,
            (true, false) => End::May,
            (true, true) => End::Must,
        })
    }

    fn certificate(&self, block: u64) -> Result<Bytes, Error> {
        Ok(vec![block as u8].into())
    }

    fn look_for(&self, first: u64, last: u64) -> Result<(), Error> {
        self.looked.lock().unwrap().push((first, last));
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_ends_with_a_checkpoint_and_does_not_cross_an_epoch() {
    let mut world = World::new(8).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    for second in 2..=7 {
        world.l2.plain(at(second));
    }
    let checkpoints = Checkpoints { ends: vec![2, 3, 4, 6], epochs: vec![3], ..Default::default() };
    let mut cutter = Committer::new(world.l2.storage.clone(), Box::new(checkpoints), spec().chain_id, 6);
    let cut = |cutter: &mut Committer| {
        let commit = cutter.next_commit().unwrap().unwrap();
        let certificate = Rollup::commitCall::abi_decode(&commit.call()).unwrap().certificate;
        (commit.first_block, commit.last_block, certificate.to_vec())
    };
    collect(&mut cutter, &world.state());
    assert_eq!(cut(&mut cutter), (1, 3, vec![3]), "the epoch's end");
    world.commit_l2(1, 3);
    let state = world.poll().await;
    collect(&mut cutter, &state);
    assert_eq!(cut(&mut cutter), (4, 6, vec![6]), "two checkpoints; nothing certifies the last block");
    world.commit_l2(2, 6);
    let state = world.poll().await;
    collect(&mut cutter, &state);
    assert_eq!(cutter.next_commit().unwrap(), None);
}

/// Most bytes of a transaction.
const HEAVY: usize = 120_000;

#[tokio::test]
async fn a_batch_ends_where_it_has_room_once_that_is_known_to_be_certified() {
    let mut world = World::new(24).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    for second in 2..=16 {
        world.l2.heavy(at(second), HEAVY);
    }
    // Six blobs hold six such blocks: not those after the first end, 8 to 16.
    let looked = Arc::<Mutex<Vec<(u64, u64)>>>::default();
    let ends =
        Checkpoints { ends: vec![7, 16], lacking: vec![9, 12].into(), looked: looked.clone(), ..Default::default() };
    let mut cutter = Committer::new(world.l2.storage.clone(), Box::new(ends), spec().chain_id, 6);
    collect(&mut cutter, &world.state());
    let cut = |cutter: &mut Committer| {
        let commit = cutter.next_commit().unwrap().unwrap();
        (commit.first_block, commit.last_block)
    };
    assert_eq!(cut(&mut cutter), (1, 7), "what is cut is committed");
    assert!(looked.lock().unwrap().is_empty());
    world.commit_l2(1, 7);
    let state = world.poll().await;
    collect(&mut cutter, &state);
    let error = cutter.next_commit().unwrap_err();
    assert!(matches!(error, Error::NoRoom { first: 8, last: 16, .. }), "{error}");
    assert_eq!(*looked.lock().unwrap(), [(8, 16)]);
    collect(&mut cutter, &state);
    assert_eq!(cut(&mut cutter), (8, 12), "as many as have room, now that ends are known");
}

#[tokio::test]
async fn what_has_no_room_keeps_nothing_that_is_cut() {
    let mut world = World::new(24).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    for second in 2..=16 {
        world.l2.heavy(at(second), HEAVY);
    }
    world.l2.plain(at(17));
    let looked = Arc::<Mutex<Vec<(u64, u64)>>>::default();
    let ends = Checkpoints { ends: vec![7, 16, 17], looked: looked.clone(), ..Default::default() };
    let mut cutter = Committer::new(world.l2.storage.clone(), Box::new(ends), spec().chain_id, 6);
    for _ in 0..2 {
        let waits = collect(&mut cutter, &world.state());
        assert_eq!((waits.blocks, waits.busy), (17, true));
        assert_eq!(cutter.next_commit().unwrap().unwrap().last_block, 7);
    }
    assert_eq!(*looked.lock().unwrap(), [(8, 17)]);
    // Where it is on L1, the others are read again; nothing certifies an end among them.
    world.commit_l2(1, 7);
    let state = world.poll().await;
    for times in 2..4 {
        let error = cutter.collect(&state, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::NoRoom { first: 8, .. }), "{error}");
        assert_eq!(looked.lock().unwrap().len(), times);
    }
}

#[tokio::test]
async fn a_batch_ends_before_it_takes_too_long_to_prove() {
    let mut world = World::new(8).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    for second in 2..=7 {
        world.l2.plain(at(second));
    }
    // Without gas each block is as dear as any; the one with the message is dearer.
    let mut cutter = committer(&world).bounded(batch_instructions(6) + instructions(3, 0));
    collect(&mut cutter, &world.state());
    let commit = cutter.next_commit().unwrap().unwrap();
    assert!(commit.last_block < 4, "{}", commit.last_block);
    let mut whole = committer(&world);
    collect(&mut whole, &world.state());
    assert!(whole.next_commit().unwrap().unwrap().last_block > 4);
}

/// As whoever weighs what provers would be given has it cut.
#[tokio::test]
async fn a_batch_is_cut_anew_before_a_block() {
    let mut world = World::new(8).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    for second in 2..=7 {
        world.l2.plain(at(second));
    }
    let next = |cutter: &mut Committer, state: &L1State| {
        collect(cutter, state);
        cutter.next_commit().unwrap().unwrap()
    };
    let mut cutter = committer(&world);
    assert!(!cutter.end_before(4), "nothing is cut yet");
    let whole = next(&mut cutter, &world.state());
    assert_eq!((whole.first_block, whole.last_block), (1, 7));
    assert!(!cutter.end_before(8), "it ends there already");
    assert!(cutter.end_before(5));
    assert_eq!(next(&mut cutter, &world.state()).last_block, 4);
    assert!(cutter.end_before(3));
    let short = next(&mut cutter, &world.state());
    assert_eq!((short.first_block, short.last_block), (1, 2));
    assert_eq!(next(&mut cutter, &world.state()), short, "it stays so");

    // Whoever begins anew does the same.
    let mut other = committer(&world);
    assert_eq!(next(&mut other, &world.state()), whole);
    assert!(other.end_before(3));
    assert_eq!(next(&mut other, &world.state()), short);
    assert!(other.end_before(2));
    assert_eq!(next(&mut other, &world.state()).last_block, 1);
    assert!(!other.end_before(1), "one block is a batch");

    world.commit_l2(1, 2);
    let state = world.poll().await;
    let rest = next(&mut cutter, &state);
    assert_eq!((rest.first_block, rest.last_block), (3, 7), "what follows is cut as ever");
}

/// Says where batches end only when it is asked again.
struct Late(std::cell::Cell<bool>);

impl Ends for Late {
    fn end(&self, _: u64) -> Result<End, Error> {
        if self.0.replace(false) { Err(Error::Certificate("not yet".into())) } else { Ok(End::May) }
    }

    fn certificate(&self, _: u64) -> Result<Bytes, Error> {
        Ok(Bytes::new())
    }
}

#[tokio::test]
async fn a_block_whose_end_was_not_known_is_read_again_as_it_is() {
    let mut world = World::new(6).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    world.l2.plain(at(2));
    let ends = Box::new(Late(true.into()));
    let mut cutter = Committer::new(world.l2.storage.clone(), ends, spec().chain_id, 6);
    assert!(cutter.collect(&world.state(), u64::MAX).is_err());
    collect(&mut cutter, &world.state());
    let commit = cutter.next_commit().unwrap().unwrap();
    let contents: Vec<Bytes> = commit.blobs.iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect();
    let data = decode(&contents, spec().chain_id).unwrap();
    assert_eq!(data.blocks.iter().map(|block| block.origin_steps).collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test]
async fn the_next_batch_follows_the_last_one_on_l1() {
    let mut world = World::new(6).await;
    let first = world.origin(1).await;
    world.l2.messages(at(1), Some(first), 1);
    world.l2.plain(at(2));
    world.l2.plain(at(3));
    let mut cutter = committer(&world);
    collect(&mut cutter, &world.state());
    assert_eq!(cutter.next_commit().unwrap().unwrap().last_block, 3);

    // Another cut than this committer's came first: it goes on after that.
    world.commit_l2(1, 2);
    let state = world.poll().await;
    let waits = collect(&mut cutter, &state);
    assert_eq!((waits.blocks, waits.since_ms, waits.busy), (1, Some(at(3)), false));
    let commit = cutter.next_commit().unwrap().unwrap();
    assert_eq!((commit.index, commit.first_block, commit.last_block), (2, 3, 3));

    // Blocks that were withdrawn are not committed; those in their place are.
    world.l2.unwind(2);
    let other = world.l2.plain(at(3) + 5);
    let waits = collect(&mut cutter, &state);
    assert_eq!(waits.since_ms, Some(at(3) + 5));
    let call = Rollup::commitCall::abi_decode(&cutter.next_commit().unwrap().unwrap().call()).unwrap();
    assert_eq!(call.request.lastBlockHash, other);

    // Nothing waits.
    world.commit_l2(2, 3);
    let state = world.poll().await;
    assert_eq!(collect(&mut cutter, &state).blocks, 0);
    assert_eq!(cutter.next_commit().unwrap(), None);

    // Someone else's block is on L1.
    world.l2.unwind(2);
    world.l2.plain(at(4));
    let error = cutter.collect(&state, u64::MAX).unwrap_err();
    assert!(matches!(error, Error::Diverged { index: 2, block: 3 }), "{error}");
}
