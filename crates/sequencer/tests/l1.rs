//! The node under Ethereum's rules, in process: slots, blobs, tags, reorganisations, restarts.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod blob;

use alloy_consensus::{BlockHeader as _, Transaction as _};
use alloy_eips::eip4788;
use alloy_primitives::{Address, B256, U256, address};
use jove_primitives::{ChainSpec, ExecutedBlock, beacon::block_root, spec::BlobSchedule};
use jove_sequencer::{Amendment, Event, L1Config, Node, NodeConfig, NodeError, PoolConfig, Tags};
use revm::DatabaseRef;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const BLOB: u64 = 131_072;

fn config(datadir: &Path, slot_seconds: u64) -> NodeConfig {
    NodeConfig {
        datadir: datadir.to_owned(),
        spec: ChainSpec::l1(900, slot_seconds),
        block_time: Duration::from_millis(10),
        heartbeat: Duration::ZERO,
        sync: true,
        sequencing: true,
        elected: false,
        dev: true,
        pool: PoolConfig { journal: Some(datadir.join("pool.rlp")), ..Default::default() },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    }
}

/// A node that seals only what it is asked for.
fn start(datadir: &Path) -> Arc<Node> {
    let node = Node::start(config(datadir, 3_600)).expect("the node starts");
    // Its first block may be under way: it is an hour until the next.
    wait("block 1", || node.head().header.number >= 1);
    node
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        // only a hang is as long
        assert!(started.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn mine(node: &Node, count: u64) {
    node.dev().expect("development").mine(count, 0).expect("mined");
}

fn block(node: &Node, number: u64) -> Arc<ExecutedBlock> {
    node.storage().view().block(number).expect("readable").expect("there")
}

fn send(node: &Node, nonce: u64, seeds: &[u8]) -> B256 {
    let (hash, raw) = blob::signed(nonce, seeds);
    assert_eq!(node.pool().add_raw(&[raw]), [Ok(hash)]);
    hash
}

#[test]
fn every_slot_has_a_block_with_work_or_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path(), 1)).expect("the node starts");
    wait("four blocks", || node.head().header.number >= 4);
    let slots = node.spec().slots().expect("it has slots");
    let headers: Vec<_> = (1..=4).map(|number| block(&node, number).header.clone()).collect();
    for (parent, header) in headers.iter().zip(&headers[1..]) {
        assert!(slots.at(header.timestamp) > slots.at(parent.timestamp));
        assert_eq!(slots.time(slots.at(header.timestamp)), header.timestamp);
        assert_ne!(header.mix_hash, parent.mix_hash);
        assert_eq!(header.parent_beacon_block_root, Some(block_root(parent.hash_slow())));
        assert!(header.base_fee_per_gas < parent.base_fee_per_gas, "empty blocks make gas cheaper");
    }
    let now = node.now_ms() / 1000;
    assert!(headers[3].timestamp <= now && now - headers[3].timestamp < 120, "slots follow the clock");
}

#[test]
fn asked_for_blocks_take_the_next_slots_and_the_clock_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    let first = node.head().header.clone();
    mine(&node, 3);
    let head = node.head();
    assert_eq!((head.header.number, head.header.timestamp), (4, first.timestamp + 3 * 3_600));
    assert!(node.now_ms() >= head.time_ms);
    let dev = node.dev().expect("development");
    dev.amend(vec![Amendment::Balance(ALICE, U256::from(5))]).expect("amended");
    assert_eq!(node.head().header.timestamp, first.timestamp + 4 * 3_600);
    // A time within a slot is the next slot's.
    let last = node.head().header.timestamp;
    assert!(dev.set_next_timestamp(last).is_err(), "not after the head");
    dev.set_next_timestamp(last + 3_601).expect("later");
    mine(&node, 2);
    assert_eq!(node.head().header.timestamp, last + 3 * 3_600);
}

#[test]
fn more_blobs_fit_from_the_time_that_the_schedule_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path(), 3_600);
    let slots = config.spec.slots().expect("it has slots");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let change = slots.time(slots.at(now) + 4);
    let bpo = BlobSchedule { timestamp: change, target: 10, max: 15, base_fee_update_fraction: 8_346_193 };
    config.spec.ethereum.as_mut().expect("a layer 1").blob_schedule = vec![bpo];
    let node = Node::start(config).expect("the node starts");
    wait("block 1", || node.head().header.number >= 1);
    while node.head().header.timestamp < change - 7_200 {
        mine(&node, 1);
    }
    // In the last slot before it nine blobs fit, in the first of it fifteen.
    for (nonce, seeds) in
        (0..5).zip([&[0, 1, 2, 3, 4, 5][..], &[0, 1, 2], &[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4], &[3, 4, 5, 0]])
    {
        send(&node, nonce, seeds);
    }
    mine(&node, 2);
    let number = node.head().header.number;
    let (last, first) = (block(&node, number - 1), block(&node, number));
    assert_eq!((last.header.timestamp, last.header.blob_gas_used), (change - 3_600, Some(9 * BLOB)));
    assert_eq!((first.header.timestamp, first.header.blob_gas_used), (change, Some(15 * BLOB)));
    assert_eq!(first.header.excess_blob_gas, Some(0), "nine blobs are below the new target");
}

#[test]
fn the_state_holds_the_beacon_roots() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    let head = node.head();
    let view = node.storage().view();
    let state = view.state(head.header.number).expect("there");
    let slot = U256::from(head.header.timestamp % 8_191);
    let stored = |slot| state.storage_ref(eip4788::BEACON_ROOTS_ADDRESS, slot).expect("readable");
    assert_eq!(stored(slot), U256::from(head.header.timestamp));
    let root = block_root(head.header.parent_hash());
    assert_eq!(stored(slot + U256::from(8_191)), U256::from_be_bytes(root.0));
}

#[test]
fn blobs_are_included_priced_and_served_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    let first = send(&node, 0, &[0, 1, 2, 3, 4, 5]);
    let second = send(&node, 1, &[0, 1, 2]);
    let third = send(&node, 2, &[5]);
    mine(&node, 1);
    let number = node.head().header.number;
    let sealed = block(&node, number);
    let included: Vec<B256> = sealed.transactions.iter().map(|tx| *tx.tx_hash()).collect();
    assert_eq!(included, [first, second], "nine blobs are all that fit");
    assert_eq!(sealed.header.blob_gas_used, Some(9 * BLOB));
    mine(&node, 1);
    assert_eq!(block(&node, number + 1).header.excess_blob_gas, Some(3 * BLOB), "EIP-7918");
    assert_eq!(*block(&node, number + 1).transactions[0].tx_hash(), third);

    let waiting = send(&node, 3, &[4]);
    node.stop();
    drop(node);
    let node = start(folder.path());
    assert!(node.pool().sidecar(&waiting).is_some() || node.pool().get(waiting).is_none());
    for (seed, hash) in (0..6).zip(blob::hashes(&[0, 1, 2, 3, 4, 5])) {
        let found = node.blob(hash).expect("readable").expect("kept");
        assert_eq!(found[..], blob::blob(seed)[..]);
    }
    assert_eq!(node.blob(B256::ZERO).expect("readable"), None);
    wait("the pool survives too", || {
        node.storage().view().transaction(waiting).expect("readable").is_some() || {
            mine(&node, 1);
            false
        }
    });
}

#[test]
fn a_blob_that_pays_too_little_waits_until_the_fee_has_fallen() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    // An excess at which blob gas costs 2 wei: blocks full of blobs while the base fee makes EIP-7918 keep it.
    let mut nonce = 0;
    while node.next_header().expect("follows").excess_blob_gas.expect("set") < 3_500_000 {
        send(&node, nonce, &[0, 1, 2, 3, 4, 5]);
        send(&node, nonce + 1, &[0, 1, 2]);
        nonce += 2;
        mine(&node, 1);
    }
    let mut tx = blob::transaction(nonce, &[0]);
    tx.max_fee_per_blob_gas = 1;
    let (hash, raw) = blob::network_form(tx, blob::sidecar(&[0]));
    assert_eq!(node.pool().add_raw(&[raw]), [Ok(hash)]);
    mine(&node, 1);
    assert!(node.pool().get(hash).is_some(), "it waits");
    assert!(node.pending().expect("built").is_none());
    // The excess falls once the base fee is low enough for EIP-7918 to let it.
    wait("the fee falls", || {
        mine(&node, 50);
        node.pool().get(hash).is_none()
    });
    assert!(node.storage().view().transaction(hash).expect("readable").is_some());
}

#[test]
fn tags_follow_the_head_and_never_fall() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    mine(&node, 9);
    let head = node.head().header.number;
    assert_eq!(node.tags(), Tags { safe: head - 2, finalized: head - 4 });
    let dev = node.dev().expect("development");
    let refused = dev.reorg(3, false).expect_err("the safe block is among them");
    assert!(matches!(&refused, NodeError::Invalid(text) if text.contains("is safe")), "{refused}");
    assert!(dev.reorg(0, false).is_err());
    assert_eq!(node.head().header.number, head);

    let snapshot = dev.snapshot().expect("taken");
    mine(&node, 2);
    assert!(dev.revert(snapshot).expect("above the safe block"));
    let kept = Tags { safe: head, finalized: head - 2 };
    assert_eq!((node.head().header.number, node.tags()), (head, kept));
    let snapshot = dev.snapshot().expect("taken");
    mine(&node, 3);
    assert!(dev.revert(snapshot).is_err(), "below the safe block");
    dev.reorg(2, false).expect("above it");

    let before = node.tags();
    node.stop();
    drop(node);
    let node = start(folder.path());
    assert!(node.tags().safe >= before.safe && node.tags().finalized >= before.finalized);
}

#[test]
fn a_reorganisation_gives_other_blocks_and_serves_their_blobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = start(folder.path());
    let old = send(&node, 0, &[0]);
    mine(&node, 2);
    let (head, parent) = (node.head(), block(&node, node.head().header.number - 2));
    let mut events = node.events();
    let dev = node.dev().expect("development");
    dev.reorg(2, false).expect("not yet safe");
    assert_eq!(node.head().header.number, head.header.number);
    for number in head.header.number - 1..=head.header.number {
        assert!(block(&node, number).header.timestamp > head.header.timestamp, "its slot comes after the old head's");
    }
    assert_eq!(block(&node, head.header.number - 1).header.parent_hash, parent.hash);
    assert!(
        matches!(events.try_recv(), Ok(Event::Unwound(blocks)) if blocks.len() == 2 && blocks[0].hash == head.hash)
    );
    assert!(node.pool().get(old).is_none(), "forgotten");
    assert_eq!(node.storage().view().transaction(old).expect("readable"), None);

    let new = send(&node, 0, &[1]);
    mine(&node, 1);
    let sealed = block(&node, node.head().header.number);
    assert_eq!(sealed.transactions[0].blob_versioned_hashes(), Some(&blob::hashes(&[1])[..]));
    assert!(node.blob(blob::hashes(&[1])[0]).expect("readable").is_some());

    // With its transactions kept, another block has them.
    let place = node.storage().view().transaction(new).expect("readable").expect("included").block;
    dev.reorg(1, true).expect("not yet safe");
    let again = node.storage().view().transaction(new).expect("readable").expect("included again");
    assert_eq!(again.block, place);
    assert_ne!(block(&node, place).hash, sealed.hash);
}

#[test]
fn tags_do_not_fall_when_the_depths_are_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |safe_depth, finalized_depth| {
        let l1 = L1Config { safe_depth, finalized_depth, ..L1Config::default() };
        Node::start(NodeConfig { l1, ..config(folder.path(), 3_600) }).expect("the node starts")
    };
    let node = with(2, 4);
    wait("block 1", || node.head().header.number >= 1);
    mine(&node, 30);
    let before = node.tags();
    assert_eq!(before, Tags { safe: 29, finalized: 27 });
    drop(node);
    // Deeper, twice, and then less deep.
    for _ in 0..2 {
        let node = with(10, 20);
        assert!(node.tags().safe >= before.safe && node.tags().finalized >= before.finalized, "{:?}", node.tags());
        assert!(node.tags().safe <= 31 - 2, "{:?}", node.tags());
    }
    let node = with(0, 1);
    let (tags, head) = (node.tags(), node.head().header.number);
    assert!(tags.safe >= head.min(31) && tags.finalized >= 30, "{tags:?}");
}

#[test]
fn withdrawn_blobs_return_without_being_proven_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path(), 3_600);
    config.l1 = L1Config { safe_depth: 64, finalized_depth: 64, ..L1Config::default() };
    let node = Node::start(config).expect("the node starts");
    wait("block 1", || node.head().header.number >= 1);
    let mut sent = Vec::new();
    for nonce in 0..20 {
        sent.push(send(&node, nonce, &[0, 1, 2, 3, 4, 5]));
        mine(&node, 1);
    }
    // Another blob in the file of one: what is read is not proven again, or this one would not come back.
    let path = folder.path().join("blobs").join(alloy_primitives::hex::encode(blob::hashes(&[3])[0]));
    let mut file = std::fs::read(&path).expect("readable");
    file[31] ^= 1;
    std::fs::write(&path, file).expect("written");
    node.dev().expect("development").reorg(20, true).expect("not yet safe");
    let place = |hash: &B256| node.storage().view().transaction(*hash).expect("readable").map(|place| place.block);
    let first = node.head().header.number - 19;
    // More of them than a sender may send anew.
    assert!(sent.iter().zip(first..).all(|(hash, number)| place(hash) == Some(number)));
}

#[test]
fn another_slot_length_is_another_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    start(folder.path()).stop();
    let error = Node::start(config(folder.path(), 12)).map(|_| ()).expect_err("refused");
    assert!(matches!(error, NodeError::OtherSpec), "{error}");
}
