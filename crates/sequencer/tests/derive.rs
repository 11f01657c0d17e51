//! A node that has its blocks from L1: batches followed, skipped, replaced, refused; restarts in between; tags.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, hex};
use jove_primitives::{
    ChainSpec, ExecutedBlock, Transaction,
    batch::{BatchData, BatchHeader, DecodeError, hash},
    l1::{L1_HASH_SLOT, L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    transaction::{TxDeposit, message_source_hash},
};
use jove_sequencer::{
    Amendment, Derived, DerivedBatch, Effects, Event, L1Config, Node, NodeConfig, NodeError, PoolConfig, SlotEffect,
    Tags, TooHeavy,
};
use jove_stf::{
    BatchError, BatchInput, ExecuteBatchError, StatelessError, TransactionError, Witness, batch::block_data,
    witness::execute,
};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast::Receiver;

const BOB: Address = address!("00000000000000000000000000000000000b0b00");

fn config(datadir: &Path, sequencing: bool) -> NodeConfig {
    NodeConfig {
        datadir: datadir.to_owned(),
        spec: ChainSpec::dev(),
        block_time: Duration::from_millis(10),
        // One that follows must not seal, whatever its settings are.
        heartbeat: if sequencing { Duration::ZERO } else { Duration::from_millis(10) },
        sync: true,
        sequencing,
        elected: false,
        dev: true,
        pool: PoolConfig { journal: None, ..Default::default() },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    }
}

/// A node that seals what it is asked for.
fn sequencer(datadir: &Path) -> Arc<Node> {
    let node = Node::start(config(datadir, true)).expect("starts");
    node.dev().expect("development").set_automine(false);
    node
}

fn follower(datadir: &Path) -> Arc<Node> {
    Node::start(config(datadir, false)).expect("starts")
}

fn transfer(nonce: u64) -> Bytes {
    signed(nonce, BOB.into(), Bytes::new(), 21_000)
}

/// Signed with the first development account's well-known key.
fn signed(nonce: u64, to: TxKind, input: Bytes, gas_limit: u64) -> Bytes {
    let secret = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let secret = SecretKey::from_secret_bytes(secret).expect("a key");
    let unsigned = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit,
        max_fee_per_gas: 1_000_000_000,
        to,
        value: U256::from(u64::from(gas_limit == 21_000)),
        input,
        ..Default::default()
    };
    let digest = Message::from_digest(unsigned.signature_hash().0);
    let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(digest, &secret).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1);
    Transaction::from(unsigned.into_signed(signature)).encoded_2718().into()
}

/// Seals a block with these of Alice's transfers.
fn seal(node: &Node, nonces: std::ops::Range<u64>) {
    let raw: Vec<Bytes> = nonces.map(transfer).collect();
    assert!(node.pool().add_raw(&raw).iter().all(Result::is_ok));
    mine(node, 1);
    assert_eq!(node.pool().status(), (0, 0));
}

fn mine(node: &Node, count: u64) {
    node.dev().expect("development").mine(count, 0).expect("mined");
}

fn messages(range: std::ops::Range<u64>) -> Vec<TxDeposit> {
    let message = |index| TxDeposit {
        source_hash: message_source_hash(Address::ZERO, index),
        from: BOB,
        to: BOB.into(),
        mint: 5,
        gas_limit: 50_000,
        ..Default::default()
    };
    range.map(message).collect()
}

fn origin(node: &Node, number: u64, messages: u64) -> L1Origin {
    let hash = B256::from(U256::from(number));
    L1Origin { number, timestamp: node.now_ms() / 1000, mix_hash: hash, hash, messages, ..Default::default() }
}

fn blocks(node: &Node, from: u64, to: u64) -> Vec<Arc<ExecutedBlock>> {
    let view = node.storage().view();
    (from..=to).map(|number| view.block(number).expect("readable").expect("there")).collect()
}

/// The batch that L1 would have of these blocks.
fn batch(node: &Node, first: u64, last: u64) -> DerivedBatch {
    let view = node.storage().view();
    let slot = |block, slot| view.state(block).and_then(|state| state.slot(L1_BLOCK, slot)).expect("readable");
    let queue = |block| Queue::from_slot(slot(block, L1_QUEUE_SLOT));
    let (mut last_origin, _) = L1Origin::numbers(slot(first - 1, L1_NUMBER_SLOT));
    let blocks = blocks(node, first, last);
    let data = BatchData {
        first_block: first,
        blocks: blocks.iter().map(|block| block_data(block, &mut last_origin).expect("ours")).collect(),
    };
    let (mut origins, mut messages) = (Vec::new(), Vec::new());
    for block in &blocks {
        for deposit in block.transactions.iter().filter_map(|one| one.inner().as_deposit()) {
            match L1Origin::from_attributes(deposit, block.header.number) {
                Some(origin) => origins.push(origin),
                None => messages.push(deposit.clone()),
            }
        }
    }
    let end = &blocks[blocks.len() - 1];
    let header = BatchHeader {
        version: hash::ORDINARY,
        parent_block_hash: blocks[0].header.parent_hash,
        last_block_hash: end.hash,
        first_block: first,
        last_block: last,
        last_timestamp: end.header.timestamp,
        first_message: queue(first - 1).consumed,
        end_message: queue(last).consumed,
        origin_number: last_origin,
        origin_hash: slot(last, L1_HASH_SLOT).into(),
        ..Default::default()
    };
    DerivedBatch { header, data: Ok(data), origins, messages }
}

fn valid(node: &Node, batch: DerivedBatch) {
    match node.derive(batch.clone()).expect("derived") {
        Derived::Valid(output) => assert_eq!(output.block_hash, batch.header.last_block_hash),
        Derived::Invalid(error) => panic!("{error}"),
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, NodeError>) -> String {
    match result {
        Err(NodeError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Numbers of the blocks that were announced; negative where they were withdrawn.
fn announced(events: &mut Receiver<Event>) -> Vec<i64> {
    let mut numbers = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Block(block) => numbers.push(block.header.number as i64),
            Event::Unwound(blocks) => numbers.extend(blocks.iter().map(|block| -(block.header.number as i64))),
            Event::Transaction(_) => panic!("no transaction is taken here"),
        }
    }
    numbers
}

#[test]
fn a_chain_is_followed_to_the_same_hashes() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = sequencer(folders[0].path());
    seal(&source, 0..3);
    mine(&source, 2);
    let first = origin(&source, 100, 2);
    source.consume(Some(first), messages(0..2)).expect("consumed");
    seal(&source, 3..4);
    let middle = source.head().header.number;
    source.consume(Some(origin(&source, 103, 2)), Vec::new()).expect("stepped");
    source.consume(Some(origin(&source, 104, 5)), messages(2..5)).expect("consumed");
    seal(&source, 4..6);
    let last = source.head().header.number;

    let node = follower(folders[1].path());
    let mut events = node.events();
    assert!(refused(node.derive(batch(&source, middle + 1, last))).contains("has to be derived first"));
    for (from, to) in [(1, middle), (middle + 1, last)] {
        valid(&node, batch(&source, from, to));
        assert_eq!(announced(&mut events), (from as i64..=to as i64).collect::<Vec<_>>());
    }
    assert_eq!(blocks(&node, 1, last), blocks(&source, 1, last), "to the last receipt");
    assert_eq!(node.head().hash, source.head().hash);
    assert_eq!(node.head().queue, Queue { consumed: 5, due: 5 });

    // What it has already is passed, even below the head, and after a restart.
    drop(node);
    let node = follower(folders[1].path());
    assert_eq!(node.head().hash, source.head().hash);
    let mut events = node.events();
    for (from, to) in [(1, middle), (middle + 1, last), (1, last), (2, 3)] {
        valid(&node, batch(&source, from, to));
    }
    assert_eq!(announced(&mut events), [0; 0]);

    // Nothing is sealed here, and nothing taken.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(node.head().hash, source.head().hash);
    let error = node.pool().add_raw(&[transfer(6)]).remove(0).expect_err("refused");
    assert!(error.to_string().contains("does not sequence"), "{error}");
    assert!(refused(node.dev().expect("development").mine(1, 0)).contains("does not sequence"));
    assert!(refused(node.dev().expect("development").amend(Vec::new())).contains("does not sequence"));
}

#[test]
fn a_block_sees_those_before_it_in_the_same_group() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = sequencer(folders[0].path());
    let send = |raw: Bytes| {
        assert!(source.pool().add_raw(&[raw])[0].is_ok());
        mine(&source, 1);
    };
    // A contract that stores the parent's hash in the slot of the block's number.
    let init = hex!("6008600c60003960086000f3" "6001430340435500");
    send(signed(0, TxKind::Create, init.into(), 200_000));
    let contract = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266").create(0);
    (1..6).for_each(|nonce| send(signed(nonce, contract.into(), Bytes::new(), 100_000)));
    let last = source.head().header.number;

    let node = follower(folders[1].path());
    valid(&node, batch(&source, 1, last));
    assert_eq!(blocks(&node, 1, last), blocks(&source, 1, last));
    let view = node.storage().view();
    let state = view.state(last).expect("there");
    for number in 2..=last {
        let parent = view.block_hash(number - 1).expect("readable").expect("there");
        assert_eq!(B256::from(state.slot(contract, U256::from(number)).expect("readable")), parent, "{number}");
    }
    // A batch of which a later block is wrong leaves nothing of its first ones, in the store or in the trie.
    let mut bad = batch(&source, 1, last);
    bad.data.as_mut().expect("decoded").blocks[3].transactions.clear();
    let folder = tempfile::tempdir().expect("a folder");
    let other = follower(folder.path());
    assert!(matches!(
        other.derive(bad).expect("run"),
        Derived::Invalid(BatchError::Differs(_) | BatchError::Transaction { .. })
    ));
    assert_eq!(other.head().header.number, 0);
    valid(&other, batch(&source, 1, last));
}

#[test]
fn a_sequencer_follows_what_others_committed_and_keeps_its_transactions() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let node = sequencer(folders[0].path());
    seal(&node, 0..1);
    let stranger = follower(folders[1].path());
    valid(&stranger, batch(&node, 1, 1));
    seal(&node, 1..3);

    // Who follows L1 may step in with the queue's messages, and goes back where they were not taken.
    stranger.consume(Some(origin(&stranger, 100, 2)), messages(0..2)).expect("consumed");
    let theirs = batch(&stranger, 2, stranger.head().header.number);

    // An invalid batch in that place changes nothing, as long as none of it was executed.
    let head = node.head().hash;
    let garbage = DerivedBatch { data: Err(DecodeError::Version(9)), ..theirs.clone() };
    assert!(matches!(node.derive(garbage).expect("run"), Derived::Invalid(BatchError::Decode(_))));
    assert_eq!(node.head().hash, head);

    valid(&node, theirs.clone());
    assert_eq!(node.head().hash, stranger.head().hash);
    assert_eq!(node.pool().status(), (2, 0), "its own transactions are back");
    mine(&node, 1);
    assert_eq!(node.pool().status(), (0, 0));
    valid(&node, theirs.clone());
    assert_eq!(node.head().header.number, stranger.head().header.number + 1, "its blocks on top stay");

    // Of one that is found out later, nothing stays.
    let mut bad = theirs;
    bad.header.last_block_hash = B256::ZERO;
    bad.data.as_mut().expect("decoded").blocks[0].time_ms += 1;
    assert!(matches!(node.derive(bad).expect("run"), Derived::Invalid(BatchError::Differs("last block hash"))));
    assert_eq!(node.head().header.number, 1);
    assert_eq!(node.pool().status(), (2, 0));
}

#[test]
fn a_batch_is_executed_on_its_witness_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = sequencer(folder.path());
    seal(&source, 0..3);
    mine(&source, 2);
    source.consume(Some(origin(&source, 100, 2)), messages(0..2)).expect("consumed");
    seal(&source, 3..40);
    source.consume(Some(origin(&source, 104, 5)), messages(2..5)).expect("consumed");
    mine(&source, 300);
    seal(&source, 40..41);
    let last = source.head().header.number;
    for (from, to) in [(1, 4), (4, last - 1), (last, last), (1, last)] {
        let DerivedBatch { header, data, origins, messages } = batch(&source, from, to);
        let data = data.expect("decoded");
        let witness = source.witness(from, to).expect("recorded");
        assert_eq!(source.witness_of(&batch(&source, from, to)).expect("recorded"), witness);
        let witness = Witness::decode(&witness.encode()).expect("itself");
        let input = BatchInput { header: &header, data: &data, origins: &origins, messages: &messages };
        let output = execute(source.rules(), input, &witness).expect("valid");
        let end = &blocks(&source, to, to)[0];
        assert_eq!((output.block_hash, output.state_root), (end.hash, end.header.state_root), "{from} to {to}");
        assert!(witness.state.len() < 6_000, "{}", witness.state.len());

        // Without a part, or with another, nothing is said of the batch.
        let unknown = |witness: &Witness| match execute(source.rules(), input, witness) {
            Err(ExecuteBatchError::Database(error)) => error,
            other => panic!("{other:?}"),
        };
        let other = source.witness(1, 1).expect("recorded");
        if from > 1 {
            assert_eq!(unknown(&other), StatelessError::Headers(0));
            let state = other.state.clone();
            assert!(matches!(unknown(&Witness { state, ..witness.clone() }), StatelessError::Root { .. }));
        }
        assert_eq!(unknown(&Witness { headers: Vec::new(), ..witness.clone() }), StatelessError::Headers(0));
        if !witness.codes.is_empty() {
            assert!(matches!(unknown(&Witness { codes: Vec::new(), ..witness.clone() }), StatelessError::Code(_)));
        }
        let hidden = [vec![1], witness.headers[0].state_root.to_vec()].concat();
        assert!(matches!(unknown(&Witness { state: hidden.into(), ..witness.clone() }), StatelessError::Missing(_)));

        // An invalid batch is so here, too.
        let mut bad = header;
        bad.last_block_hash = B256::ZERO;
        let input = BatchInput { header: &bad, ..input };
        let found = execute(source.rules(), input, &witness).expect_err("another last block");
        assert!(matches!(found, ExecuteBatchError::Invalid(BatchError::Differs("last block hash"))), "{found}");
    }
}

/// Blocks that ask for the length of long codes, and others.
#[test]
fn blocks_whose_witness_is_too_long_end_where_it_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut source = sequencer(folder.path());
    let reader = Address::repeat_byte(0xc0);
    let long = |index: u8| Address::repeat_byte(0x10 + index);
    let mut amendments = vec![Amendment::Code(reader, hex!("5f353b5000").into())];
    for index in 0..8u8 {
        let code = [&[0xfe, index][..], &[0; 20_000]].concat();
        amendments.push(Amendment::Code(long(index), code.into()));
    }
    source.dev().expect("development").amend(amendments).expect("amended");
    let first = source.head().header.number + 1;
    for nonce in 0..8u8 {
        let input = Bytes::copy_from_slice(long(nonce).into_word().as_slice());
        let raw = signed(nonce.into(), reader.into(), input, 100_000);
        assert!(source.pool().add_raw(&[raw])[0].is_ok());
        mine(&source, 1);
    }
    seal(&source, 8..12);
    let last = source.head().header.number;
    assert_eq!(last, first + 8);

    let whole = source.witness(first, last).expect("recorded");
    assert!(whole.size() > 8 * 20_000);
    assert_eq!(whole.size(), whole.encode().len());
    let within = |node: &Node, last, most| node.witness_within(first, last, most, Duration::MAX).expect("recorded");
    assert_eq!(within(&source, last, whole.size()), Ok(whole.clone()));
    let cut = |node: &Node, most| {
        let mut last = last;
        loop {
            match within(node, last, most) {
                Ok(witness) => {
                    assert!(witness.size() <= most);
                    return (last, witness);
                }
                Err(TooHeavy { size, fits }) => {
                    assert!(size > most && fits < last, "{size} bytes, {fits} of {last}");
                    last = fits;
                }
            }
        }
    };
    for most in [60_000, 100_000, whole.size() - 1] {
        let (end, witness) = cut(&source, most);
        // Two of the codes less at most, and a sixteenth.
        assert!(witness.size() + 45_000 + most / 16 > most, "{} of {most}", witness.size());
        assert_eq!(witness, source.witness(first, end).expect("recorded"));
    }
    // One block alone is too much; and far too much, so that the others are not looked at.
    assert!(matches!(within(&source, first, 10_000), Err(TooHeavy { fits, .. }) if fits == first - 1));
    assert!(matches!(within(&source, last, 3_000), Err(TooHeavy { fits, size }) if fits == first - 1 && size < 40_000));
    // Without time, one block is run.
    let late = source.witness_within(first, last, usize::MAX, Duration::ZERO).expect("recorded");
    assert!(matches!(late, Err(TooHeavy { fits, .. }) if fits == first), "{late:?}");
    assert!(source.witness_within(first, first, usize::MAX, Duration::ZERO).expect("recorded").is_ok());

    let before = cut(&source, 100_000);
    drop(source);
    source = sequencer(folder.path());
    assert_eq!(cut(&source, 100_000), before, "after a restart it is the same");
}

#[test]
fn an_invalid_batch_is_found_so_on_its_witness() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = sequencer(folders[0].path());
    seal(&source, 0..2);
    let node = follower(folders[1].path());
    valid(&node, batch(&source, 1, 1));
    seal(&source, 2..4);
    source.consume(Some(origin(&source, 100, 2)), messages(0..2)).expect("consumed");
    seal(&source, 4..6);
    let good = batch(&source, 2, source.head().header.number);
    let invalid = |edit: &dyn Fn(&mut DerivedBatch)| {
        let mut bad = good.clone();
        edit(&mut bad);
        // The node that made these blocks, and one that has those before them.
        let witness = source.witness_of(&bad).expect("recorded");
        assert_eq!(node.witness_of(&bad).expect("recorded"), witness);
        let Ok(data) = &bad.data else { return None };
        let input = BatchInput { header: &bad.header, data, origins: &bad.origins, messages: &bad.messages };
        match execute(source.rules(), input, &witness) {
            Err(ExecuteBatchError::Invalid(error)) => Some(error),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(invalid(&|bad| bad.data = Err(DecodeError::Version(9))), None);
    let swapped = invalid(&|bad| bad.data.as_mut().expect("decoded").blocks[2].transactions.swap(0, 1));
    assert!(matches!(swapped, Some(BatchError::Transaction { block: 4, index: 0, .. })), "{swapped:?}");
    let without = invalid(&|bad| drop(bad.data.as_mut().expect("decoded").blocks[0].transactions.pop()));
    assert!(matches!(without, Some(BatchError::Transaction { .. } | BatchError::Differs(_))), "{without:?}");
    let mixed = invalid(&|bad| bad.data.as_mut().expect("decoded").blocks[0].origin_steps = 1_000);
    assert!(matches!(mixed, Some(BatchError::OriginSteps { .. })), "{mixed:?}");
    assert_eq!(invalid(&|bad| bad.header.version = 9), Some(BatchError::Version(9)));
    assert_eq!(invalid(&|bad| bad.header.last_block_hash.0[0] ^= 1), Some(BatchError::Differs("last block hash")));
    let elsewhere =
        DerivedBatch { header: BatchHeader { parent_block_hash: B256::ZERO, ..good.header }, ..good.clone() };
    assert!(refused(source.witness_of(&elsewhere)).contains("not the one before"));
    let lacking = DerivedBatch { messages: Vec::new(), ..good.clone() };
    assert!(refused(source.witness_of(&lacking)).contains("without"));
}

#[test]
fn a_restart_in_the_middle_of_a_batch_goes_on() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = Node::start(NodeConfig { sync: false, ..config(folders[0].path(), true) }).expect("starts");
    source.dev().expect("development").set_automine(false);
    seal(&source, 0..3);
    mine(&source, 3_000);
    source.consume(Some(origin(&source, 100, 2)), messages(0..2)).expect("consumed");
    mine(&source, 3_000);
    // Many groups.
    let whole = batch(&source, 1, source.head().header.number);
    let mut stops = 0;
    loop {
        let node = follower(folders[1].path());
        let before = node.head().header.number;
        let deriving = std::thread::spawn({
            let (node, whole) = (node.clone(), whole.clone());
            move || node.derive(whole)
        });
        let started = Instant::now();
        while node.head().header.number == before && !deriving.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(120), "blocks come");
            std::thread::yield_now();
        }
        node.stop();
        match deriving.join().expect("no panic") {
            Ok(derived) => {
                assert!(matches!(derived, Derived::Valid(_)), "{derived:?}");
                break;
            }
            Err(error) => assert!(matches!(error, NodeError::Stopped), "{error}"),
        }
        stops += 1;
        assert!(node.head().header.number > before, "every start gets on");
    }
    assert!(stops > 1);
    let node = follower(folders[1].path());
    assert_eq!(node.head().hash, source.head().hash);
    valid(&node, whole);
}

#[test]
fn of_an_invalid_batch_nothing_stays() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = sequencer(folders[0].path());
    seal(&source, 0..2);
    seal(&source, 2..4);
    source.consume(Some(origin(&source, 100, 2)), messages(0..2)).expect("consumed");
    seal(&source, 4..6);
    let (good, next) = (batch(&source, 1, 1), batch(&source, 2, 4));
    let node = follower(folders[1].path());
    valid(&node, good);
    let parent = node.head().hash;

    let mut events = node.events();
    let mut bad = next.clone();
    bad.data.as_mut().expect("decoded").blocks[2].transactions.swap(0, 1);
    let Derived::Invalid(BatchError::Transaction { block: 4, index: 0, error }) = node.derive(bad).expect("run") else {
        panic!("a gap in the nonces");
    };
    assert!(matches!(error, TransactionError::Evm(_)));
    assert_eq!(announced(&mut events), [2, 3, -3, -2]);
    assert_eq!(node.head().hash, parent);
    let third = *blocks(&source, 2, 2)[0].transactions[0].tx_hash();
    assert!(node.storage().view().transaction(third).expect("readable").is_none());
    assert_eq!(node.pool().status(), (0, 0));

    // What only the end shows, after a whole batch: another last block was committed.
    let mut bad = next.clone();
    bad.header.last_block_hash = B256::ZERO;
    let invalid = |error| Derived::Invalid(error);
    assert_eq!(node.derive(bad.clone()).expect("run"), invalid(BatchError::Differs("last block hash")));
    assert_eq!(node.head().hash, parent);
    // So it does where the blocks are there already.
    valid(&node, next.clone());
    assert_eq!(node.derive(bad).expect("run"), invalid(BatchError::Differs("last block hash")));
    assert_eq!(node.head().hash, parent);
    let garbage = DerivedBatch { data: Err(DecodeError::Version(9)), ..next.clone() };
    valid(&node, next.clone());
    assert_eq!(node.derive(garbage).expect("run"), invalid(BatchError::Decode(DecodeError::Version(9))));
    assert_eq!(node.head().hash, parent);

    // A batch whose input is not complete says nothing: what could be run stands, and goes on with the rest.
    let mut incomplete = next.clone();
    incomplete.messages.pop();
    assert!(refused(node.derive(incomplete)).contains("messages of the L1 queue"));
    assert_eq!(node.head().header.number, 2);
    valid(&node, next);
    assert_eq!(node.head().hash, source.head().hash);
}

#[test]
fn messages_can_be_consumed_before_what_was_sealed() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = sequencer(folder.path());
    seal(&source, 0..1);
    seal(&source, 1..2);
    let sealed = source.head().hash;
    source.consume_after(1, Some(origin(&source, 100, 2)), messages(0..2)).expect("consumed");
    assert_eq!(source.head().header.number, 2);
    assert_ne!(source.head().hash, sealed);
    assert_eq!(blocks(&source, 2, 2)[0].transactions.len(), 3, "the L1 attributes and two messages");
    assert_eq!(source.pool().status(), (1, 0), "the transfer waits");
    mine(&source, 1);
    assert_eq!(source.pool().status(), (0, 0));
    assert!(source.consume_after(9, None, Vec::new()).is_err(), "there is no such block");
}

#[test]
fn other_blocks_of_l1_take_the_place_of_those_that_are_there() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = sequencer(folders[0].path());
    seal(&source, 0..1);
    seal(&source, 1..2);
    source.consume(Some(origin(&source, 100, 1)), messages(0..1)).expect("consumed");
    seal(&source, 2..3);
    let node = follower(folders[1].path());
    valid(&node, batch(&source, 1, 4));

    // The sequencer goes back to before the message, and does otherwise.
    let mut sealed = source.events();
    source.unwind(2).expect("above what is final");
    assert!(matches!(sealed.try_recv(), Ok(Event::Unwound(blocks)) if blocks.len() == 2));
    assert_eq!(source.pool().status(), (1, 0), "the transfer is back");
    mine(&source, 1);
    assert_eq!(source.pool().status(), (0, 0));
    source.consume(Some(origin(&source, 101, 2)), messages(0..2)).expect("consumed");
    mine(&source, 3);
    let mut events = node.events();
    valid(&node, batch(&source, 1, 6));
    assert_eq!(announced(&mut events), [-4, -3, 3, 4, 5, 6]);
    assert_eq!(blocks(&node, 1, 6), blocks(&source, 1, 6));
    assert_eq!(node.pool().status(), (0, 0), "a node that does not sequence has no use for them");

    // What is final does not give way.
    node.set_tags(Tags { safe: 4, finalized: 3 }).expect("set");
    source.unwind(2).expect("not final there");
    mine(&source, 2);
    assert!(refused(node.derive(batch(&source, 1, 4))).contains("is finalized"));
    assert_eq!(node.head().header.number, 6);
}

#[test]
fn tags_say_what_may_be_withdrawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = sequencer(folder.path());
    for nonce in 0..6 {
        seal(&node, nonce..nonce + 1);
    }
    node.set_tags(Tags { safe: 5, finalized: 2 }).expect("set");
    for (safe, finalized) in [(5, 1), (1, 2), (7, 2), (2, 3)] {
        refused(node.set_tags(Tags { safe, finalized }));
    }
    node.set_tags(Tags { safe: 4, finalized: 2 }).expect("a batch was dropped");
    let dev = node.dev().expect("development");
    assert!(refused(dev.reorg(3, false)).contains("is safe"), "development does not touch what L1 has");
    assert!(refused(node.unwind(1)).contains("is finalized"));
    assert!(node.unwind(7).is_err(), "above the head");
    assert_eq!((node.head().header.number, node.tags()), (6, Tags { safe: 4, finalized: 2 }));
    drop(node);

    let node = sequencer(folder.path());
    assert_eq!(node.tags(), Tags { safe: 4, finalized: 2 });
    node.unwind(3).expect("above what is final");
    assert_eq!((node.head().header.number, node.tags()), (3, Tags { safe: 3, finalized: 2 }));
    assert_eq!(node.pool().status(), (3, 0), "transactions return");
    node.unwind(3).expect("nothing to do");
    mine(&node, 1);
    assert_eq!(blocks(&node, 4, 4)[0].transactions.len(), 3);
    drop(node);
    let node = sequencer(folder.path());
    assert_eq!(node.tags(), Tags { safe: 3, finalized: 2 });

    let folder = tempfile::tempdir().expect("a folder");
    let layer_1 = Node::start(NodeConfig { spec: ChainSpec::l1(900, 3_600), ..config(folder.path(), true) });
    let layer_1 = layer_1.expect("starts");
    assert!(refused(layer_1.set_tags(Tags::default())).contains("follow its head"));
}

/// What blocks of the source did.
fn effects(node: &Node, from: u64, to: u64) -> Vec<Effects> {
    let view = node.storage().view();
    (from..=to).map(|number| Effects::of(&view, number).expect("readable").expect("there")).collect()
}

/// Messages, transfers, a contract that is created and one that writes and clears slots: a node that is told what they did has the same blocks, fees, state and
/// history as the one that executed them, and executes what comes after.
#[test]
fn proven_blocks_are_taken_over_without_being_executed() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = sequencer(folders[0].path());
    source.consume(Some(origin(&source, 1, 2)), messages(0..2)).expect("consumed");
    seal(&source, 0..3);
    // Each call: storage[NUMBER] = NUMBER; storage[NUMBER - 1] = 0.
    let init = hex!("69" "4343555f600143035500" "5f52600a6016f3");
    let raw = signed(3, TxKind::Create, Bytes::copy_from_slice(&init), 200_000);
    assert!(source.pool().add_raw(&[raw])[0].is_ok());
    mine(&source, 1);
    let contract = Address::create(&address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"), 3);
    for nonce in 4..9 {
        let raw = signed(nonce, contract.into(), Bytes::new(), 100_000);
        assert!(source.pool().add_raw(&[raw])[0].is_ok());
        mine(&source, 1);
    }
    let last = source.head().header.number;
    let hash = source.head().hash;

    let node = follower(folders[1].path());
    let told = effects(&source, 1, last);
    for one in &told {
        assert_eq!(&alloy_rlp::decode_exact::<Effects>(alloy_rlp::encode(one)).expect("decodes"), one);
    }
    // Not what they did, or not the blocks: nothing wrong stays.
    let write = told
        .iter()
        .position(|one| one.accounts.iter().any(|account| account.address == contract && !account.slots.is_empty()));
    let write = write.expect("a call writes");
    let create = told.iter().position(|one| !one.codes.is_empty()).expect("a contract is created");
    type Edit = Box<dyn Fn(&mut Vec<Effects>)>;
    let edits: Vec<Edit> = vec![
        Box::new(|told| told[2].accounts[0].balance += U256::from(1)),
        Box::new(|told| told[2].accounts[0].nonce += 1),
        Box::new(|told| drop(told[2].accounts.pop())),
        Box::new(|told| told[2].accounts[0].exists = false),
        Box::new(|told| told[2].receipts[0].success = false),
        Box::new(|told| drop(told[2].receipts.pop())),
        Box::new(|told| drop(told[2].block.body.transactions.pop())),
        Box::new(move |told| told[create].codes.clear()),
        Box::new(move |told| {
            let account = told[write].accounts.iter_mut().find(|account| account.address == contract).expect("written");
            account.slots[0].value += U256::from(1);
        }),
        Box::new(move |told| {
            let account = told[write].accounts.iter_mut().find(|account| account.address == contract).expect("written");
            account.slots.push(SlotEffect { slot: U256::from(77), value: U256::from(1) });
        }),
        Box::new(|told| told[2].block.header.timestamp += 1),
        Box::new(|told| drop(told.pop())),
        Box::new(|told| drop(told.remove(1))),
        Box::new(Vec::clear),
    ];
    for (number, edit) in edits.iter().enumerate() {
        let mut other = told.clone();
        edit(&mut other);
        refused(node.adopt(other, hash));
        let head = node.head();
        assert!(head.header.number < last, "{number}");
        assert_eq!(
            source.storage().view().block_hash(head.header.number).expect("readable"),
            Some(head.hash),
            "{number}"
        );
    }
    refused(node.adopt(told.clone(), B256::ZERO));

    node.adopt(told.clone(), hash).expect("adopted");
    assert_eq!(blocks(&node, 1, last), blocks(&source, 1, last));
    node.adopt(told, hash).expect("once more: nothing to do");
    let (ours, theirs) = (node.storage().view(), source.storage().view());
    for number in 1..=last {
        assert_eq!(ours.changes(number).expect("readable"), theirs.changes(number).expect("readable"), "{number}");
    }
    // The store has the state that the trie has: it starts from it.
    drop((ours, theirs));
    node.stop();
    drop(node);
    let node = follower(folders[1].path());
    assert_eq!(node.head().hash, hash);
    // What comes after is executed on it.
    let raw = signed(9, contract.into(), Bytes::new(), 100_000);
    assert!(source.pool().add_raw(&[raw])[0].is_ok());
    mine(&source, 1);
    valid(&node, batch(&source, last + 1, last + 1));
    assert_eq!(node.head().hash, source.head().hash);
}
