//! What a validator says of blocks that are not what their header says: found, shown to others, and believed by nobody where it is false.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_consensus::{SignableTransaction, TxEip1559, proofs};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, hex};
use jove_avc::{Bitmap, Checkpoint, L1Origin as Origin};
use jove_consensus::{Fraud, Reason};
use jove_primitives::{
    ChainSpec, Transaction,
    block::Block,
    l1::L1Origin,
    transaction::{TxDeposit, message_source_hash},
};
use jove_sequencer::{Fault, Imported, InvalidBlock, L1Config, Node, NodeConfig, NodeError, PoolConfig};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use std::{path::Path, sync::Arc, time::Duration};

const BOB: Address = address!("00000000000000000000000000000000000b0b00");
/// The contract that Alice's first transaction makes.
const CONTRACT: Address = address!("5fbdb2315678afecb367f032d93f642f64180aa3");
/// Returns the code `PUSH1 7 PUSH0 SSTORE STOP`.
const INIT: [u8; 13] = hex!("6460075f55005f526005601bf3");

fn config(datadir: &Path, elected: bool) -> NodeConfig {
    NodeConfig {
        datadir: datadir.to_owned(),
        spec: ChainSpec::dev(),
        block_time: Duration::from_millis(10),
        heartbeat: Duration::ZERO,
        sync: true,
        sequencing: true,
        elected,
        dev: true,
        pool: PoolConfig { journal: None, ..Default::default() },
        history: None,
        proof_window: Duration::from_secs(600),
        l1: L1Config::default(),
    }
}

fn maker(datadir: &Path) -> Arc<Node> {
    let node = Node::start(config(datadir, false)).expect("starts");
    node.dev().expect("development").set_automine(false);
    node
}

fn validator(datadir: &Path) -> Arc<Node> {
    Node::start(config(datadir, true)).expect("starts")
}

fn signed(nonce: u64, to: TxKind, input: Bytes, gas_limit: u64) -> Transaction {
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
    Transaction::from(unsigned.into_signed(signature))
}

fn transfer(nonce: u64) -> Transaction {
    signed(nonce, BOB.into(), Bytes::new(), 21_000)
}

fn seal(node: &Node, transactions: &[Transaction]) -> Block {
    let raw: Vec<Bytes> = transactions.iter().map(|one| one.encoded_2718().into()).collect();
    assert!(node.pool().add_raw(&raw).iter().all(Result::is_ok));
    node.dev().expect("development").mine(1, 0).expect("mined");
    block(node, node.head().header.number)
}

fn block(node: &Node, number: u64) -> Block {
    node.storage().view().block(number).expect("readable").expect("there").to_block()
}

/// A checkpoint whose last block this is.
fn checkpoint(last: &Block) -> Checkpoint {
    Checkpoint {
        chain_id: 5683,
        era: 0,
        epoch: 0,
        height: 1,
        view: 0,
        proposer: 0,
        proof: [0; 80],
        parent: B256::ZERO,
        parent_signers: Bitmap::default(),
        last_number: last.header.number,
        last_hash: last.header.hash_slow(),
        state_root: last.header.state_root,
        origin: Origin::default(),
        set_version: 0,
        set_hash: B256::ZERO,
        weight_root: B256::ZERO,
        evidence_root: B256::ZERO,
        next: None,
    }
}

fn refused(node: &Node, blocks: Vec<Block>) -> InvalidBlock {
    match node.import(blocks).expect("executed") {
        Imported::Invalid(invalid) => *invalid,
        Imported::Valid => panic!("the block passes"),
    }
}

fn fraud(reason: Reason, invalid: InvalidBlock, blocks: &[Block]) -> Fraud {
    let index = blocks.iter().position(|block| block.header.number == invalid.number).expect("one of them");
    let headers = blocks[index..].iter().rev().map(|block| block.header.clone()).collect();
    let transactions = blocks[index].body.transactions.clone();
    let fraud = Fraud { reason, headers, transactions, state: invalid.witness };
    let again = Fraud::decode(&fraud.encode().expect("short")).expect("decodes");
    assert_eq!(again, fraud);
    fraud
}

#[test]
fn blocks_are_followed_and_branches_changed_up_to_what_is_certified() {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let (a, b) = (maker(folders[0].path()), maker(folders[1].path()));
    let node = validator(folders[2].path());
    assert!(!node.is_leading() && node.seal().is_err(), "another leads");
    let on_a: Vec<Block> = (0..3).map(|nonce| seal(&a, &[transfer(nonce)])).collect();
    assert!(matches!(node.import(on_a.clone()), Ok(Imported::Valid)));
    assert_eq!(node.head().hash, a.head().hash);
    assert!(matches!(node.import(on_a[..2].to_vec()), Ok(Imported::Valid)), "known");
    assert_eq!(node.head().hash, a.head().hash, "and what is above stays");

    let first = seal(&b, &[transfer(0), transfer(1)]);
    assert!(matches!(node.import(vec![first.clone()]), Ok(Imported::Valid)));
    assert_eq!(node.head().hash, b.head().hash);
    assert_eq!(node.pool().status().0, 1, "the third transfer waits again");

    node.set_certified(1);
    let error = node.import(on_a).unwrap_err();
    assert!(matches!(&error, NodeError::Invalid(why) if why.contains("certified")), "{error}");
    assert_eq!(node.head().hash, b.head().hash);
    let unknown = Block { header: alloy_consensus::Header { number: 9, ..first.header.clone() }, ..first };
    assert!(matches!(node.import(vec![unknown]), Err(NodeError::Invalid(_))), "no parent");

    let snapshot = node.dev().expect("development").snapshot().expect("taken");
    // Else the transfer that waits has a block as soon as this node leads, and again once that was withdrawn.
    node.dev().expect("development").set_automine(false);
    node.lead(true).expect("leads");
    node.seal().expect("sealed");
    assert_eq!(node.head().header.number, 2);
    node.set_certified(2);
    let dev = node.dev().expect("development");
    assert!(dev.revert(snapshot).is_err() && dev.reorg(1, true).is_err(), "tools do not take back what is certified");
    let error = node.unwind(1).unwrap_err();
    assert!(matches!(&error, NodeError::Invalid(why) if why.contains("certified")), "nor does L1: {error}");
    assert_eq!((node.head().header.number, node.certified()), (2, 2));
    node.void_certified(1);
    assert!(node.unwind(0).is_err(), "below the root of an era it stays");
    node.unwind(1).expect("withdrawn");
    assert_eq!((node.head().header.number, node.certified()), (1, 1));
    node.lead(false).expect("follows");
    assert!(node.seal().is_err());
}

#[test]
fn every_fault_is_found_and_shown_to_those_who_have_no_state() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (maker, node) = (maker(folders[0].path()), validator(folders[1].path()));
    let rules = node.rules().clone();
    let first = seal(&maker, &[transfer(0)]);
    let good = seal(&maker, &[transfer(1), transfer(2)]);
    let state_root = B256::repeat_byte(7);

    let mut wrong_root = good.clone();
    wrong_root.header.state_root = state_root;
    let mut wrong_gas = good.clone();
    wrong_gas.header.gas_used += 1;
    let mut twice = good.clone();
    twice.body.transactions[1] = twice.body.transactions[0].clone();
    twice.header.transactions_root = proofs::calculate_transaction_root(&twice.body.transactions);
    let mut unsigned = good.clone();
    let Transaction::Signed(signed) = &good.body.transactions[1] else { panic!("signed") };
    let broken = Signature::new(U256::ZERO, U256::from(1), false);
    let alloy_consensus::EthereumTxEnvelope::Eip1559(inner) = signed else { panic!("of EIP-1559") };
    unsigned.body.transactions[1] = Transaction::from(inner.tx().clone().into_signed(broken));
    unsigned.header.transactions_root = proofs::calculate_transaction_root(&unsigned.body.transactions);

    let cases = [
        (wrong_root, Fault::StateRoot, Reason::StateRoot),
        (wrong_gas, Fault::Header, Reason::Header),
        (twice, Fault::Transaction, Reason::Transaction),
        (unsigned, Fault::Signature, Reason::Signature),
    ];
    for (bad, fault, reason) in cases {
        let blocks = [first.clone(), bad.clone()];
        let invalid = refused(&node, blocks.to_vec());
        assert_eq!((invalid.number, invalid.fault), (2, fault), "{}", invalid.reason);
        assert_eq!(node.head().hash, first.header.hash_slow(), "the block before it stands");
        let fraud = fraud(reason, invalid, &blocks);
        assert!(fraud.shows(&rules, &checkpoint(&bad)), "{reason:?}");
        assert!(!fraud.shows(&rules, &checkpoint(&good)), "{reason:?}: of another checkpoint");
        // The same said of the honest block is believed by nobody.
        let headers = vec![good.header.clone()];
        let lie = Fraud { headers, transactions: good.body.transactions.clone(), ..fraud.clone() };
        assert!(!lie.shows(&rules, &checkpoint(&good)), "{reason:?}: a lie");
        let less = Fraud { transactions: Vec::new(), ..fraud };
        assert!(!less.shows(&rules, &checkpoint(&bad)), "{reason:?}: not the block's transactions");
    }
    let parent = first.header.clone();
    assert!(matches!(node.import(vec![first, good.clone()]), Ok(Imported::Valid)));
    assert_eq!(node.head().hash, good.header.hash_slow());
    let own =
        Fraud { reason: Reason::Checkpoint, headers: vec![good.header.clone()], transactions: Vec::new(), state: None };
    assert!(!own.shows(&rules, &checkpoint(&good)));
    let older = Fraud { headers: vec![good.header.clone(), parent], ..own.clone() };
    assert!(!older.shows(&rules, &checkpoint(&good)), "an honest block before the last is no lie of the checkpoint's");
    assert!(own.shows(&rules, &Checkpoint { state_root, ..checkpoint(&good) }), "the checkpoint's own field");
}

#[test]
fn a_skipped_message_from_l1_is_found_and_shown() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (maker, node) = (maker(folders[0].path()), validator(folders[1].path()));
    let hash = B256::repeat_byte(1);
    let origin = L1Origin {
        number: 1,
        timestamp: maker.now_ms() / 1000,
        mix_hash: hash,
        hash,
        messages: 2,
        ..Default::default()
    };
    let message = |index| TxDeposit {
        source_hash: message_source_hash(Address::ZERO, index),
        from: BOB,
        to: BOB.into(),
        mint: 5,
        gas_limit: 50_000,
        ..Default::default()
    };
    maker.consume(Some(origin), vec![message(0), message(1)]).expect("consumed");
    let good = block(&maker, 1);
    assert_eq!(good.body.transactions.len(), 3);
    let mut skips = good.clone();
    skips.body.transactions.pop();
    skips.header.transactions_root = proofs::calculate_transaction_root(&skips.body.transactions);
    let invalid = refused(&node, vec![skips.clone()]);
    assert_eq!((invalid.number, invalid.fault), (1, Fault::MessagesLeft), "{}", invalid.reason);
    let fraud = fraud(Reason::MessagesLeft, invalid, std::slice::from_ref(&skips));
    assert!(fraud.shows(node.rules(), &checkpoint(&skips)));
    assert!(matches!(node.import(vec![good]), Ok(Imported::Valid)));
}

#[test]
fn a_node_whose_state_is_damaged_disagrees_and_convinces_nobody() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (maker, node) = (maker(folders[0].path()), validator(folders[1].path()));
    let first = seal(&maker, &[signed(0, TxKind::Create, Bytes::from_static(&INIT), 200_000)]);
    assert!(matches!(node.import(vec![first.clone()]), Ok(Imported::Valid)));
    node.stop();
    drop(node);
    // Code is not in the state's root but by its hash: a node starts with a damaged one, and finds out what it does.
    let store = folders[1].path().join("db/store");
    {
        let database = fjall::Database::builder(&store).open().expect("opens");
        let codes = database.keyspace("codes", fjall::KeyspaceCreateOptions::default).expect("there");
        let view = maker.storage().view();
        let hash = view.state(1).and_then(|state| state.account(CONTRACT)).expect("readable").expect("there").code_hash;
        let code = codes.get(hash.as_slice()).expect("readable").expect("there").to_vec();
        let mut damaged = code.clone();
        damaged[1] ^= 1;
        codes.insert(hash.as_slice(), damaged).expect("written");
        database.persist(fjall::PersistMode::SyncAll).expect("synced");
    }
    let node = validator(folders[1].path());
    let good = seal(&maker, &[signed(1, CONTRACT.into(), Bytes::new(), 100_000)]);
    let invalid = refused(&node, vec![good.clone()]);
    assert_eq!(invalid.fault, Fault::StateRoot, "{}", invalid.reason);
    let fraud = fraud(Reason::StateRoot, invalid, std::slice::from_ref(&good));
    assert!(!fraud.shows(maker.rules(), &checkpoint(&good)), "its witness is not of the state that the header names");
}
