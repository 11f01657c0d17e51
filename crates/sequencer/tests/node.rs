//! The node, in process: blocks, restarts, unwinding, proofs, pending, budgets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use alloy_consensus::{SignableTransaction, Transaction as _, TxEip1559};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, hex};
use jove_primitives::{
    ChainSpec, Transaction,
    header::{Extra, mix_hash},
    l1::{L1_MIX_HASH_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::L1_BLOCK,
    transaction::{RecoveredTransaction, TxDeposit},
};
use jove_sequencer::{Amendment, Event, L1Config, Node, NodeConfig, NodeError, PoolConfig, Tags};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Only a hang is as long.
const LONG: Duration = Duration::from_secs(120);
const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const BOB: Address = address!("00000000000000000000000000000000000b0b00");

fn config(datadir: &Path) -> NodeConfig {
    NodeConfig {
        datadir: datadir.to_owned(),
        spec: ChainSpec::dev(),
        block_time: Duration::from_millis(10),
        heartbeat: Duration::ZERO,
        sync: true,
        sequencing: true,
        elected: false,
        dev: true,
        pool: PoolConfig { journal: None, ..Default::default() },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    }
}

fn transfer(nonce: u64, value: u64) -> RecoveredTransaction {
    call(nonce, BOB.into(), U256::from(value), Bytes::new(), 21_000)
}

fn call(nonce: u64, to: TxKind, value: U256, input: Bytes, gas_limit: u64) -> RecoveredTransaction {
    let tx = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1_000,
        to,
        value,
        input,
        ..Default::default()
    };
    RecoveredTransaction::new_unchecked(tx.into_signed(Signature::test_signature()).into(), ALICE)
}

/// Alice's first transfer, signed with her well-known key.
fn signed_transfer() -> Bytes {
    let secret = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let secret = SecretKey::from_secret_bytes(secret).expect("a key");
    let unsigned = TxEip1559 {
        chain_id: 5683,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        to: BOB.into(),
        ..Default::default()
    };
    let digest = Message::from_digest(unsigned.signature_hash().0);
    let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(digest, &secret).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1);
    Transaction::from(unsigned.into_signed(signature)).encoded_2718().into()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a block has it, and head and pool know: they learn of a block after the store.
fn included(node: &Node, hash: B256) -> bool {
    node.storage().view().transaction(hash).expect("readable").is_some() && node.pool().get(hash).is_none()
}

fn balance(node: &Node, block: u64, address: Address) -> U256 {
    let state = node.storage().view().state(block).expect("readable");
    state.account(address).expect("readable").unwrap_or_default().balance
}

#[test]
fn blocks_are_sealed_and_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    let mut events = node.events();
    let genesis = node.head();
    assert_eq!(genesis.header.number, 0);
    let hashes: Vec<B256> = (0..5).map(|nonce| node.pool().add(transfer(nonce, 7)).expect("valid")).collect();
    wait("all are included", || hashes.iter().all(|hash| included(&node, *hash)));
    wait("nothing is left in the pool", || node.pool().status() == (0, 0));
    let head = node.head();
    assert_eq!(balance(&node, head.header.number, BOB), U256::from(35));
    let mut transactions = 0;
    while transactions < 5 {
        if let Ok(Event::Block(block)) = events.try_recv() {
            assert_eq!(block.header.hash_slow(), block.hash);
            assert_eq!(block.transactions.len(), block.receipts.len());
            transactions += block.transactions.len();
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(node.head().hash, head.hash, "no block without work, as there is no heartbeat");
    node.stop();
    assert!(!node.is_running());
    drop(node);

    let node = Node::start(config(folder.path())).expect("starts again");
    assert_eq!(node.head().hash, head.hash);
    let hash = node.pool().add(transfer(5, 1)).expect("valid");
    wait("the chain goes on", || included(&node, hash));
    drop(node);

    let other = NodeConfig { spec: ChainSpec::dev().without_l1_fee(), ..config(folder.path()) };
    assert!(matches!(Node::start(other), Err(NodeError::OtherChain { .. })));
    let mut other = config(folder.path());
    other.spec.chain_id += 1;
    assert!(matches!(Node::start(other), Err(NodeError::OtherSpec)), "the genesis block has no chain id");
}

#[test]
fn who_builds_a_block_knows_what_it_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    let put = |nonce, to, input| {
        let hash = node.pool().add(call(nonce, to, U256::ZERO, input, 5_000_000)).expect("valid");
        wait("it is included", || included(&node, hash));
        node.storage().view().transaction(hash).expect("readable").expect("exists").block
    };
    // A contract of 20,000 bytes; another block runs it.
    let made = put(0, TxKind::Create, hex!("614e205ff3").into());
    let run = put(1, ALICE.create(0).into(), Bytes::new());
    assert!(node.reads(made) > 1_000 && node.reads(made) < 20_000, "{}", node.reads(made));
    assert!(node.reads(run) > node.reads(made) + 15_000, "{}", node.reads(run));
    assert_eq!(node.reads(run + 1), 0);
}

#[test]
fn heartbeats_come_without_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = NodeConfig { heartbeat: Duration::from_millis(30), ..config(folder.path()) };
    let node = Node::start(config).expect("starts");
    wait("three heartbeats", || node.head().header.number >= 3);
}

#[test]
fn every_block_checks_out_under_the_same_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    // PUSH1 1 PUSH0 SSTORE, then deploy nothing: a creation that writes storage.
    let deploy = call(0, TxKind::Create, U256::ZERO, Bytes::from_static(&[0x60, 1, 0x5f, 0x55, 0x00]), 200_000);
    let mut hashes = vec![node.pool().add(deploy).expect("valid")];
    hashes.extend((1..40).map(|nonce| node.pool().add(transfer(nonce, nonce)).expect("valid")));
    wait("all are included", || hashes.iter().all(|hash| included(&node, *hash)));
    let view = node.storage().view();
    let executor = jove_executor::Executor::new(node.rules().clone());
    for number in 1..=view.head_number() {
        let parent = view.header(number - 1).expect("readable").expect("exists");
        let block = view.block(number).expect("readable").expect("exists");
        let state = view.state(number - 1).expect("readable");
        let output = executor.execute(&parent, &block.header, &block.transactions, &state).expect("a valid block");
        assert_eq!(output.receipts, block.receipts);
        assert_eq!(output.l1_fees, block.l1_fees);
    }
}

#[test]
fn a_revert_withdraws_blocks_and_forgets_their_transactions() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    let dev = node.dev().expect("development");
    let first = node.pool().add(transfer(0, 7)).expect("valid");
    wait("included", || included(&node, first));
    let before = node.head();
    let snapshot = dev.snapshot().expect("taken");
    dev.set_automine(false);
    let second = node.pool().add(transfer(1, 8)).expect("valid");
    dev.mine(1, 0).expect("mined");
    dev.amend(vec![
        Amendment::Balance(BOB, U256::from(1_000)),
        Amendment::Nonce(BOB, 3),
        Amendment::Code(BOB, Bytes::from_static(&[0x5f])),
        Amendment::Slot(BOB, U256::from(1), U256::from(2)),
    ])
    .expect("amended");
    let amended = node.head().header.number;
    assert_eq!(balance(&node, amended, BOB), U256::from(1_000));
    let state = node.storage().view().state(amended).expect("readable");
    assert_eq!(state.slot(BOB, U256::from(1)).expect("readable"), U256::from(2));
    assert_eq!(state.account(BOB).expect("readable").expect("exists").nonce, 3);

    let mut events = node.events();
    assert!(dev.revert(snapshot).expect("reverted"));
    assert_eq!(node.head().hash, before.hash);
    assert!(!included(&node, second));
    assert!(matches!(events.try_recv(), Ok(Event::Unwound(blocks)) if blocks.len() == 2));
    assert!(!dev.revert(snapshot).expect("asked"), "a snapshot is used up");
    assert!(node.pool().get(second).is_none());
    assert_eq!(balance(&node, node.head().header.number, BOB), U256::from(7));
    dev.set_automine(true);
    let again = node.pool().add(transfer(1, 8)).expect("the nonce is free again");
    wait("the chain goes on", || included(&node, again));
    assert_eq!(balance(&node, node.head().header.number, BOB), U256::from(15));
    node.stop();
    drop((state, node));
    let node = Node::start(config(folder.path())).expect("the trie and the store agree after the revert");
    assert!(included(&node, again));
}

#[test]
fn proofs_hold_for_the_head_and_for_older_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    for nonce in 0..6 {
        let hash = node.pool().add(transfer(nonce, 1)).expect("valid");
        wait("included", || included(&node, hash));
    }
    let view = node.storage().view();
    for number in 1..=view.head_number() {
        let header = view.header(number).expect("readable").expect("exists");
        let proof = node.prove(number, BOB, &[U256::ZERO]).expect("in the window");
        assert_eq!(proof.account.unwrap_or_default().balance, U256::from(number));
        proof.verify(header.state_root, BOB).expect("the proof holds");
    }
    assert!(node.prove(view.head_number() + 1, BOB, &[]).is_err());
    drop((view, node));
    let narrow = NodeConfig { proof_window: Duration::ZERO, ..config(folder.path()) };
    let node = Node::start(narrow).expect("starts");
    assert!(matches!(node.prove(1, BOB, &[]), Err(NodeError::OutsideProofWindow(1))));
    node.set_tags(Tags { safe: 3, finalized: 3 }).expect("set");
    let header = node.storage().view().header(3).expect("readable").expect("exists");
    let proof = node.prove(3, BOB, &[]).expect("the finalized block is provable however old it is");
    proof.verify(header.state_root, BOB).expect("the proof holds");
    assert!(matches!(node.prove(2, BOB, &[]), Err(NodeError::OutsideProofWindow(2))));
    node.prove(node.head().header.number, BOB, &[]).expect("the head is always in the window");
}

#[test]
fn pending_is_the_head_with_the_pool_on_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    assert!(node.pending().expect("readable").is_none());
    node.dev().expect("development").set_automine(false);
    node.pool().add(transfer(0, 7)).expect("valid");
    node.pool().add(transfer(1, 8)).expect("valid");
    let pending = node.pending().expect("readable").expect("there is work");
    assert_eq!(pending.block.transactions.len(), 2);
    assert_eq!(pending.block.header.number, 1);
    assert_eq!(pending.state.account(BOB).expect("readable").expect("exists").balance, U256::from(15));
    // It is another in another second.
    let cached = || Arc::ptr_eq(&node.pending().unwrap().unwrap(), &node.pending().unwrap().unwrap());
    wait("it is cached", cached);
    node.pool().add(transfer(2, 9)).expect("valid");
    assert_eq!(node.pending().expect("readable").expect("there is work").block.transactions.len(), 3);
    node.dev().expect("development").mine(1, 0).expect("mined");
    assert!(node.pending().expect("readable").is_none());
}

#[test]
fn time_moves_as_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    let dev = node.dev().expect("development");
    dev.mine(1, 0).expect("mined");
    let now = node.head().header.timestamp;
    dev.increase_time(3_600).expect("moved");
    dev.mine(1, 0).expect("mined");
    // Where the clock goes on, a test may take its time.
    let slack = 600;
    assert!((now + 3_600..now + 3_600 + slack).contains(&node.head().header.timestamp));
    dev.set_next_timestamp(now + 10_000).expect("later");
    assert_eq!(node.next_header().expect("follows").timestamp, now + 10_000);
    dev.amend(vec![Amendment::Balance(BOB, U256::from(1))]).expect("amended");
    assert!(node.head().header.timestamp < now + 10_000, "the time is kept for the next mined block");
    dev.mine(3, 60).expect("mined");
    assert_eq!(node.head().time_ms, (now + 10_120) * 1_000);
    assert!((now + 10_120..now + 10_120 + slack).contains(&(node.now_ms() / 1_000)), "the clock goes on from there");
    dev.set_block_interval(Some(7_000)).expect("set");
    dev.mine(2, 0).expect("mined");
    assert_eq!(node.head().time_ms, (now + 24_120) * 1_000);
    dev.set_block_interval(None).expect("set");
    dev.mine(1, 0).expect("mined");
    assert!((now + 24_120..now + 24_120 + slack).contains(&node.head().header.timestamp));
    assert!(matches!(dev.set_next_timestamp(now), Err(NodeError::Invalid(_))));
    assert!(matches!(dev.mine(u64::MAX, 0), Err(NodeError::Invalid(_))));
    for absurd in [u64::MAX, u64::MAX / 1_000, 100_000_000_000] {
        assert!(matches!(dev.set_next_timestamp(absurd), Err(NodeError::Invalid(_))));
        assert!(matches!(dev.mine(2, absurd), Err(NodeError::Invalid(_))));
    }
    assert!(matches!(dev.set_block_interval(Some(0)), Err(NodeError::Invalid(_))));
    dev.set_block_interval(Some(u64::MAX)).expect("set");
    dev.mine(2, 0).expect("time stands at its end");
    dev.set_block_interval(None).expect("set");
    dev.mine(2, 0).expect("and the chain goes on");
}

/// The sequencer seals at most twice the target in a second, so the base fee rises by at most 13.3 % and a tenth of margin more than covers it.
#[test]
fn a_quote_outlives_a_second_of_full_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.spec.gas.target_per_second = 2_000_000;
    config.spec.gas.block_gas_limit = 4_000_000;
    let node = Node::start(config).expect("starts");
    let first = node.next_header().expect("follows").base_fee_per_gas.expect("there is one");
    // 500 transfers of 21,000 gas: more than two seconds at full load.
    let hashes: Vec<B256> = (0..500).map(|nonce| node.pool().add(transfer(nonce, 1)).expect("valid")).collect();
    let last = *hashes.last().expect("some");
    wait("all are included", || included(&node, last));
    let view = node.storage().view();
    let headers: Vec<_> =
        (1..=view.head_number()).map(|n| view.header(n).expect("readable").expect("exists")).collect();
    let time = |i: usize| jove_primitives::header::time_ms(&headers[i]).expect("ours");
    for (i, header) in headers.iter().enumerate() {
        let within = (0..=i).rev().take_while(|j| time(*j) + 1000 > time(i));
        let gas: u64 = within.map(|j| headers[j].gas_used).sum();
        assert!(gas <= 4_000_000, "block {}: {gas} gas in a second", header.number);
        if time(i) < time(0) + 1000 {
            assert!(header.base_fee_per_gas.expect("there is one") * 5 <= first * 6);
        }
    }
    let longest = transfer(0, 0).gas_limit();
    let busiest = (0..headers.len())
        .map(|i| {
            headers[i..].iter().zip(i..).take_while(|(_, j)| time(*j) < time(i) + 1000).map(|(h, _)| h.gas_used).sum()
        })
        .max()
        .unwrap_or(0u64);
    assert!(busiest + longest > 2_000_000, "the load was full: {busiest}");
}

#[test]
fn a_transaction_that_waits_for_a_lower_base_fee_is_sealed_when_it_has_fallen() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.spec.gas.target_per_second = 1_000_000;
    config.spec.gas.block_gas_limit = 2_000_000;
    let node = Node::start(config).expect("starts");
    let cap = u128::from(ChainSpec::dev().gas.base_fee_floor);
    let (mut nonce, mut last) = (0, B256::ZERO);
    // It falls again within a second and a half.
    wait("the base fee has risen", || {
        for _ in 0..60 {
            last = node.pool().add(transfer(nonce, 1)).expect("valid");
            nonce += 1;
        }
        wait("all are included", || included(&node, last));
        u128::from(node.next_header().expect("follows").base_fee_per_gas.expect("there is one")) > cap
    });
    let tx = TxEip1559 {
        chain_id: 5683,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: cap,
        to: BOB.into(),
        ..Default::default()
    };
    let tx = RecoveredTransaction::new_unchecked(tx.into_signed(Signature::test_signature()).into(), ALICE);
    let hash = node.pool().add(tx).expect("held");
    wait("it is sealed without another event", || included(&node, hash));
}

#[test]
fn an_emptied_account_takes_its_storage_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    let dev = node.dev().expect("development");
    let code = |code: &'static [u8]| vec![Amendment::Code(BOB, Bytes::from_static(code))];
    dev.amend(code(&[0x5f])).expect("amended");
    dev.amend(vec![Amendment::Slot(BOB, U256::from(1), U256::from(2))]).expect("amended");
    dev.amend(code(&[])).expect("amended");
    dev.amend(code(&[0x5f])).expect("amended");
    let state = node.storage().view().state(node.head().header.number).expect("readable");
    assert_eq!(state.slot(BOB, U256::from(1)).expect("readable"), U256::ZERO);
    drop((state, node));
    Node::start(config(folder.path())).expect("trie and flat state agree");
}

#[test]
fn a_chain_ahead_of_the_clock_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(config(folder.path())).expect("starts");
    node.dev().expect("development").increase_time(86_400).expect("moved");
    node.dev().expect("development").mine(1, 0).expect("mined");
    let before = node.head().time_ms;
    drop(node);
    // Without development, the clock of the machine counts; the chain is a day ahead of it.
    let mut narrow = NodeConfig { dev: false, ..config(folder.path()) };
    narrow.heartbeat = Duration::from_millis(20);
    let node = Node::start(narrow).expect("starts");
    wait("time passes on the chain", || node.head().time_ms >= before + 100);
    drop(node);
    let node = Node::start(config(folder.path())).expect("starts");
    assert!(node.now_ms() >= before);
}

#[test]
fn a_contract_may_send_on_a_development_chain_only() {
    let contract_sends = |development: bool| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        config.spec.development = development;
        let node = Node::start(config).expect("starts");
        node.dev()
            .expect("development")
            .amend(vec![Amendment::Code(ALICE, Bytes::from_static(&[0x5f]))])
            .expect("amended");
        let hash = node.pool().add(transfer(0, 7)).expect("the pool takes any sender that it is told");
        wait("it is sealed or refused", || node.pool().get(hash).is_none());
        included(&node, hash)
    };
    assert!(contract_sends(true));
    assert!(!contract_sends(false));
}

#[test]
fn a_crash_does_not_bring_back_what_a_revert_forgot() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("pool");
    let with_journal = || NodeConfig {
        pool: PoolConfig { journal: Some(journal.clone()), ..Default::default() },
        ..config(folder.path())
    };
    let node = Node::start(with_journal()).expect("starts");
    let dev = node.dev().expect("development");
    let snapshot = dev.snapshot().expect("taken");
    let hash = node.pool().add_raw(&[signed_transfer()]).remove(0).expect("valid");
    wait("included", || included(&node, hash));
    assert!(dev.revert(snapshot).expect("reverted"));
    // What a crash would leave of the journal.
    let left = std::fs::read(&journal).expect("readable");
    drop(node);
    std::fs::write(&journal, left).expect("written");
    let node = Node::start(with_journal()).expect("starts");
    assert_eq!(node.pool().status(), (0, 0));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!included(&node, hash));
}

#[test]
fn history_is_forgotten_beside_the_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = NodeConfig { history: Some(Duration::from_millis(1)), ..config(folder.path()) };
    let node = Node::start(config).expect("starts");
    node.dev().expect("development").mine(1_000, 1).expect("mined");
    wait("all but the latest is forgotten", || node.storage().view().oldest_state() == 1_000);
}

#[test]
fn what_l1_may_take_back_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = NodeConfig { history: Some(Duration::from_millis(1)), ..config(folder.path()) };
    config.spec.settlement = Some(Default::default());
    let node = Node::start(config).expect("starts");
    let dev = node.dev().expect("development");
    dev.mine(1_000, 1).expect("mined");
    node.set_tags(Tags { safe: 900, finalized: 800 }).expect("set");
    dev.mine(1_000, 1).expect("mined");
    wait("all but what may be withdrawn is forgotten", || node.storage().view().oldest_state() == 799);
    node.unwind(800).expect("history reaches back");
}

#[test]
fn messages_from_l1_have_blocks_of_their_own_and_come_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.spec.gas.block_gas_limit = 2_000_000;
    let node = Node::start(config.clone()).expect("starts");
    let message = |i: u64, gas_limit| TxDeposit {
        source_hash: B256::from(U256::from(i)),
        from: BOB,
        to: ALICE.into(),
        mint: 5,
        value: U256::from(3),
        gas_limit,
        ..Default::default()
    };
    let origin = L1Origin {
        number: 9,
        timestamp: node.now_ms() / 1000,
        mix_hash: B256::repeat_byte(4),
        messages: 5,
        ..Default::default()
    };
    // One fills what the block has left after nothing else.
    let messages = |range: std::ops::Range<u64>| range.map(|i| message(i, 1_990_000)).collect::<Vec<_>>();
    let refused = |origin, messages| match node.consume(origin, messages) {
        Err(NodeError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    // Where a block ends depends on the message after it: all are given.
    assert_eq!(refused(Some(origin), messages(0..3)), "5 messages from L1 are due, 3 are given");
    // The fourth has no place in any block; what was sealed before it stands.
    let broken = |mut messages: Vec<TxDeposit>| {
        messages[3].gas_limit = 2_000_001;
        messages
    };
    assert!(refused(Some(origin), broken(messages(0..5))).contains("gas limit 2000001"));
    let view = node.storage().view();
    let blocks: Vec<_> = (1..=view.head_number()).map(|n| view.block(n).expect("readable").expect("exists")).collect();
    assert!(blocks.iter().all(|block| Extra::decode(&block.header.extra_data).expect("ours").messages));
    let counts: Vec<usize> = blocks.iter().map(|block| block.transactions.len()).collect();
    assert_eq!(counts, [2, 1, 1], "the attributes take no place");
    assert_eq!(balance(&node, view.head_number(), BOB), U256::from(6));
    assert_eq!(node.head().mix_source, origin.mix_hash);
    assert!((1..=3).all(|number| node.reads(number) > 2_000), "sender and receiver");

    // Two are due still: nothing else is sealed, and a restart knows it.
    let dev = node.dev().expect("development");
    assert!(matches!(dev.mine(1, 0), Err(NodeError::Invalid(why)) if why.contains("due first")));
    let hash = node.pool().add(transfer(0, 1)).expect("valid");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!included(&node, hash));
    let early = L1Origin { number: 10, ..origin };
    assert!(refused(Some(early), Vec::new()).contains("due first"));
    drop((view, node));
    let node = Node::start(config).expect("starts again");
    let state = node.storage().view().state(node.head().header.number).expect("readable");
    let queue = Queue::from_slot(state.slot(L1_BLOCK, L1_QUEUE_SLOT).expect("readable"));
    assert_eq!(queue, Queue { consumed: 3, due: 5 });
    drop(state);
    node.consume(None, messages(3..5)).expect("consumed");
    let refused = node.consume(None, messages(5..6)).expect_err("none is due");
    assert_eq!(refused.to_string(), "0 messages from L1 are due, 1 are given");
    let hash = node.pool().add(transfer(0, 1)).expect("valid");
    wait("signed transactions have their turn again", || included(&node, hash));

    // An amendment of the attributes themselves is seen as well; zero means none.
    let dev = node.dev().expect("development");
    dev.amend(vec![Amendment::Slot(L1_BLOCK, L1_MIX_HASH_SLOT, U256::ZERO)]).expect("amended");
    dev.mine(1, 0).expect("mined");
    let genesis = node.storage().view().block_hash(0).expect("readable").expect("exists");
    assert_eq!(node.head().header.mix_hash, mix_hash(genesis, node.head().header.number));

    // What was built checks out under the one rule.
    let view = node.storage().view();
    let executor = jove_executor::Executor::new(node.rules().clone());
    for number in 1..=view.head_number() {
        let parent = view.header(number - 1).expect("readable").expect("exists");
        let block = view.block(number).expect("readable").expect("exists");
        let state = view.state(number - 1).expect("readable");
        let output = executor.execute(&parent, &block.header, &block.transactions, &state).expect("a valid block");
        assert_eq!(output.receipts, block.receipts);
    }
}
