use super::*;
use alloy_primitives::{Selector, aliases::U48};
use alloy_rlp::{Decodable, Header as RlpHeader};
use axum::{Router, routing::post};
use jove_primitives::{AccountChange, Change, ChangeSet, spec::Settlement};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

/// Real proofs, which the contracts' tests check against the Solidity side.
const FIXTURE: &str = include_str!("../../../contracts/test/fixtures/escape.json");
const INBOX: Address = Address::repeat_byte(0x11);
const BRIDGE: Address = Address::repeat_byte(0x12);

fn fixture() -> Value {
    serde_json::from_str(FIXTURE).expect("JSON")
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().expect("a text").parse().expect("valid")
}

fn nodes(value: &Value) -> Vec<Bytes> {
    serde_json::from_value(value.clone()).expect("a proof")
}

/// A node that answers as `answer` says: a result, or an error's text.
async fn node(answer: impl Fn(&str, &Value) -> Result<Value, String> + Send + Sync + 'static) -> L1 {
    let answer = Arc::new(answer);
    let handle = move |body: String| async move {
        let question: Value = serde_json::from_str(&body).expect("JSON");
        let method = question["method"].as_str().expect("a method");
        let mut reply = json!({ "jsonrpc": "2.0", "id": question["id"] });
        match answer(method, &question["params"]) {
            Ok(result) => reply["result"] = result,
            Err(message) => reply["error"] = json!({ "code": -32000, "message": message }),
        }
        reply.to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handle))).await });
    L1::new(&format!("http://{address}")).expect("a URL")
}

async fn silent() -> L1 {
    node(|method, _| Err(format!("{method}: not asked for"))).await
}

fn crossing(l1: L1, l2: L1) -> Crossing {
    let settlement = Settlement { chain_id: 900, inbox: INBOX, bridge: BRIDGE, ..settlement() };
    Crossing { l1, l2, settlement }
}

fn settlement() -> Settlement {
    let address = |byte: u8| Address::repeat_byte(byte);
    serde_json::from_value(json!({
        "chainId": 900, "block": 1, "rollup": address(1), "proofs": address(2), "inbox": address(3), "bridge": address(4),
        "outbox": address(5), "escapeHatch": address(6), "authority": address(7), "pause": address(8), "timelock": address(9),
        "origins": address(10), "blobFeeUpdates": [{ "timestamp": 0, "fraction": 5_007_716 }],
    }))
    .expect("a settlement")
}

fn state() -> FinalState {
    FinalState { block: 77, state_root: parsed(&fixture()["stateRoot"]) }
}

fn standing() -> Standing {
    Standing {
        phase: Phase::Open,
        now: 5_000,
        delay: 100,
        last: LastBatch { index: 3, block: 77, block_hash: B256::ZERO, state_root: None },
        final_at: 1_000,
        head: 3,
        messages: 4..4,
        batch: None,
        message: None,
    }
}

/// What `eth_getProof` answers for an account whose leaf is the proof's last node.
fn answer(address: Address, proof: &Value, storage: Vec<(U256, U256, &Value)>) -> Value {
    let nodes: Vec<Bytes> = nodes(proof);
    let leaf = nodes.last().expect("a leaf");
    let mut rest = RlpHeader::decode_bytes(&mut leaf.as_ref(), true).expect("a list");
    let _path = Bytes::decode(&mut rest).expect("a path");
    let value = Bytes::decode(&mut rest).expect("a value");
    let mut fields = RlpHeader::decode_bytes(&mut &value[..], true).expect("a list");
    let nonce = u64::decode(&mut fields).expect("a nonce");
    let balance = U256::decode(&mut fields).expect("a balance");
    let [storage_hash, code_hash] = [(); 2].map(|()| B256::decode(&mut fields).expect("a hash"));
    let storage = storage.into_iter();
    let storage = storage.map(|(key, value, proof)| json!({ "key": B256::from(key), "value": value, "proof": proof }));
    json!({
        "address": address, "balance": balance, "nonce": format!("{nonce:#x}"), "codeHash": code_hash, "storageHash": storage_hash,
        "accountProof": nodes, "storageProof": storage.collect::<Vec<_>>(),
    })
}

/// A node of the chain whose only answers are these proofs.
async fn prover(answers: HashMap<Address, Value>) -> L1 {
    node(move |method, params| {
        assert_eq!((method, &params[2]), ("eth_getProof", &json!("0x4d")), "the last final block's");
        answers
            .get(&parsed::<Address>(&params[0]))
            .cloned()
            .ok_or_else(|| "block 77 is outside of the proof window".into())
    })
    .await
}

#[test]
fn slots_and_addresses_are_the_contracts() {
    let base = U256::from_be_bytes(keccak256("jove.storage.L2Token").0) - U256::ONE;
    let mut slot = keccak256(base.to_be_bytes::<32>());
    slot[31] = 0; // ERC-7201
    assert_eq!(BALANCES_SLOT, slot);
    let fixture = fixture();
    assert_eq!(l2_token_of(parsed(&fixture["l1Token"])), parsed::<Address>(&fixture["l2Token"]));
    assert_eq!(alias(parsed(&fixture["l1Contract"])), parsed::<Address>(&fixture["contract"]["address"]));
    assert_eq!(alias(Address::repeat_byte(0xff)), address!("1111000000000000000000000000000000001110"), "modulo 2^160");
}

#[tokio::test]
async fn ether_and_tokens_are_what_the_proofs_say() {
    let fixture = fixture();
    let (alice, token): (Address, Address) = (parsed(&fixture["alice"]["address"]), parsed(&fixture["l1Token"]));
    let balance = |who: &str| {
        let address: Address = parsed(&fixture[who]["address"]);
        let balance = &fixture["token"][who];
        answer(
            l2_token_of(token),
            &fixture["token"]["proof"],
            vec![(balance_slot(address), parsed(&balance["balance"]), &balance["proof"])],
        )
    };
    let l2 = prover(HashMap::from([
        (alice, answer(alice, &fixture["alice"]["proof"], vec![])),
        (l2_token_of(token), balance("alice")),
    ]));
    let chain = crossing(silent().await, l2.await);
    let ether = chain.holding(&state(), alice, None).await.expect("proven");
    assert_eq!(ether.amount, parsed::<U256>(&fixture["alice"]["balance"]));
    let call = EscapeHatch::escapeETHCall::abi_decode(&ether.call_data(BRIDGE)).expect("the call");
    assert_eq!((call.account, call.recipient, call.proof), (alice, BRIDGE, nodes(&fixture["alice"]["proof"])));

    let tokens = chain.holding(&state(), alice, Some(token)).await.expect("proven");
    assert_eq!(tokens.amount, U256::from(1_000_000));
    let call = EscapeHatch::escapeERC20Call::abi_decode(&tokens.call_data(alice)).expect("the call");
    assert_eq!((call.token, call.account, call.recipient), (token, alice, alice));
    assert_eq!(call.tokenProof, nodes(&fixture["token"]["proof"]));
    assert_eq!(call.balanceProof, nodes(&fixture["token"]["alice"]["proof"]));

    // Nothing of it is proven, too.
    let bob: Address = parsed(&fixture["bob"]["address"]);
    let chain = crossing(silent().await, prover(HashMap::from([(l2_token_of(token), balance("bob"))])).await);
    assert_eq!(chain.holding(&state(), bob, Some(token)).await.expect("proven").amount, U256::ZERO);
    // The answer is about alice's slot, not bob's.
    let chain = crossing(silent().await, prover(HashMap::from([(l2_token_of(token), balance("alice"))])).await);
    let error = chain.holding(&state(), bob, Some(token)).await.expect_err("refused");
    assert!(matches!(error, Error::StateProof { .. }), "{error}");
}

#[tokio::test]
async fn no_word_of_a_node_is_believed() {
    let fixture = fixture();
    let alice: Address = parsed(&fixture["alice"]["address"]);
    let honest = answer(alice, &fixture["alice"]["proof"], vec![]);
    let richer = json!({ "balance": "0xffffffffffffffffffff" });
    let nobody = json!({ "balance": "0x0", "nonce": "0x0", "codeHash": B256::ZERO, "storageHash": B256::ZERO });
    let others = json!({ "accountProof": fixture["bob"]["proof"] });
    let none = json!({ "accountProof": [] });
    let more = json!({ "storageProof": [{ "key": "0x1", "value": "0x1", "proof": [] }] });
    for lie in [richer, nobody, others, none, more] {
        let mut answer = honest.clone();
        lie.as_object().expect("fields").iter().for_each(|(field, value)| answer[field] = value.clone());
        let chain = crossing(silent().await, prover(HashMap::from([(alice, answer)])).await);
        let error = chain.holding(&state(), alice, None).await.expect_err("refused");
        assert!(matches!(error, Error::StateProof { address, .. } if address == alice), "{lie}: {error}");
    }
    // Under another root nothing holds.
    let chain = crossing(silent().await, prover(HashMap::from([(alice, honest)])).await);
    let other = FinalState { state_root: B256::repeat_byte(1), ..state() };
    assert!(matches!(chain.holding(&other, alice, None).await, Err(Error::StateProof { .. })));
    // The node's own words reach the user.
    let error = chain.holding(&state(), BRIDGE, None).await.expect_err("refused");
    assert!(error.to_string().contains("proof window"), "{error}");
}

#[tokio::test]
async fn an_account_that_is_not_there_has_nothing() {
    let fixture = fixture();
    let absent: Address = parsed(&fixture["absent"]["address"]);
    for (code_hash, storage_hash) in [(B256::ZERO, B256::ZERO), (KECCAK256_EMPTY, EMPTY_ROOT_HASH)] {
        let answer = json!({
            "address": absent, "balance": "0x0", "nonce": "0x0", "codeHash": code_hash, "storageHash": storage_hash,
            "accountProof": fixture["absent"]["proof"], "storageProof": [],
        });
        let chain = crossing(silent().await, prover(HashMap::from([(absent, answer)])).await);
        assert_eq!(chain.holding(&state(), absent, None).await.expect("proven").amount, U256::ZERO);
    }
}

#[tokio::test]
async fn failed_deposits_are_proven() {
    let fixture = fixture();
    let owner: Address = parsed(&fixture["bob"]["address"]);
    let token: Address = parsed(&fixture["l1Token"]);
    // Of the fixture's deposits, number 1 is bob's, of 101; number 3 does not exist.
    let event = |id: u64, amount: u64| {
        let amount = U256::from(amount);
        let event = L2Bridge::DepositFailed { id: U256::from(id), l1Token: token, from: owner, to: BRIDGE, amount };
        let data = event.encode_log_data();
        json!({
            "address": L2_BRIDGE, "topics": data.topics(), "data": data.data, "blockNumber": "0x9", "blockHash": B256::ZERO,
            "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
        })
    };
    let logs = [event(1, 101), event(1, 102), event(3, 103)];
    let failed = fixture["failed"].clone();
    let l2 = node(move |method, params| match method {
        "eth_getLogs" => {
            assert_eq!(params[0]["topics"][3], json!(owner.into_word()));
            Ok(json!(logs))
        }
        _ => {
            let id = [1, 3].into_iter().find(|id| json!([B256::from(failed_slot(U256::from(*id)))]) == params[1]);
            let id = id.expect("a slot of one of them");
            let record = &failed[id.to_string()];
            let slot = (failed_slot(U256::from(id)), parsed(&record["value"]), &record["proof"]);
            Ok(answer(L2_BRIDGE, &failed["proof"], vec![slot]))
        }
    });
    let l1 = node(|_, _| Ok(json!(Bytes::from(true.abi_encode()))));
    let found = crossing(l1.await, l2.await).failed_deposits(&state(), owner).await.expect("proven");
    assert_eq!(found.len(), 1, "what was sent back, or never was, is not there");
    let (deposit, refunded) = &found[0];
    assert!(*refunded && deposit.id == U256::ONE && deposit.amount == U256::from(101));
    let call = EscapeHatch::refundFailedCall::abi_decode(&deposit.call_data(owner)).expect("the call");
    assert_eq!((call.from, call.recipient, call.token), (owner, owner, token));
}

#[test]
fn it_is_due_when_the_oldest_has_waited_with_nothing_final_meanwhile() {
    let at = |index, since| Some(Waiting { index, since });
    assert_eq!(standing().due(), None, "nothing waits");
    let cases = [
        (at(4, 2_000), None, 1_000, 2_100),
        (None, at(4, 1_500), 1_000, 1_600),
        (at(4, 2_000), at(4, 1_500), 1_000, 1_600),
        (at(4, 1_500), at(4, 2_000), 1_000, 1_600),
        (at(4, 2_000), at(4, 1_500), 1_800, 1_900),
        (at(4, u64::MAX), None, 0, u64::MAX),
    ];
    for (batch, message, final_at, due) in cases {
        let standing = Standing { batch, message, final_at, ..standing() };
        assert_eq!(standing.due(), Some(due), "{batch:?} {message:?} {final_at}");
    }
}

/// L1 as `eth_call` shows it: by the selector, what a function returns.
fn contracts(answers: HashMap<Selector, View>) -> impl Fn(&str, &Value) -> Result<Value, String> {
    move |method, params| {
        assert_eq!(method, "eth_call");
        let data: Bytes = parsed(&params[0]["input"]);
        let answer = answers.get(&data[..4]).unwrap_or_else(|| panic!("asked {data}"));
        Ok(json!(Bytes::from(answer(&data))))
    }
}

type View = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

fn on<C: SolCall>(answer: impl Fn(C) -> Vec<u8> + Send + Sync + 'static) -> (Selector, View) {
    (C::SELECTOR.into(), Box::new(move |data| answer(C::abi_decode(data).expect("the call"))))
}

/// Blocks of the chain that all have this state.
fn block(number: u64, state_root: B256) -> (B256, Value) {
    let header = alloy_consensus::Header { number, state_root, ..Default::default() };
    (header.hash_slow(), serde_json::to_value(alloy_rpc_types_eth::Header::new(header)).expect("JSON"))
}

/// A chain whose blocks all have one state, the messenger alone with this outbox root: the state root, and what a node of it answers.
fn messenger_chain(
    outbox_root: B256,
) -> (B256, impl Fn(&str, &Value) -> Result<Value, String> + Clone + Send + Sync + 'static) {
    let mut trie = jove_trie::StateTrie::default();
    let messenger = AccountChange {
        account: Change { before: None, after: Some(Account { nonce: 1, ..Default::default() }) },
        storage: [(OUTBOX_ROOT_SLOT, Change { before: U256::ZERO, after: outbox_root.into() })].into(),
        ..Default::default()
    };
    let root = trie.apply(&ChangeSet { accounts: [(L2_MESSENGER, messenger)].into(), ..Default::default() });
    let proof = trie.prove(L2_MESSENGER, &[OUTBOX_ROOT_SLOT]);
    let answer = json!({
        "address": L2_MESSENGER, "balance": "0x0", "nonce": "0x1", "codeHash": KECCAK256_EMPTY, "storageHash": proof.storage_root,
        "accountProof": proof.proof,
        "storageProof": [{ "key": B256::from(OUTBOX_ROOT_SLOT), "value": outbox_root, "proof": proof.slots[0].proof }],
    });
    let node = move |method: &str, params: &Value| match method {
        "eth_getBlockByNumber" => Ok(block(parsed::<U256>(&params[0]).to(), root).1),
        "eth_getProof" => Ok(answer.clone()),
        _ => Err("not asked for".into()),
    };
    (root, node)
}

#[tokio::test]
async fn what_can_be_final_is_found_in_order() {
    let outbox_root = keccak256("outbox");
    let (root, l2) = messenger_chain(outbox_root);

    // Batches 4, 5, 6 wait, which end with blocks 82, 83, 84.
    let batch_hash = |index: u64| keccak256([index as u8]);
    let output = move |index: u64| output_hash(batch_hash(index), block(78 + index, root).0, root, outbox_root);
    let previous = move |index: u64| if index == 4 { keccak256("final") } else { output(index - 1) };
    // An L1 on which the batches up to `settled` can be final, the one at `invalid` as invalid, the one at `other` with another output.
    let l1 = move |settled: u64, invalid: u64, other: u64| {
        contracts(HashMap::from([
            on(move |_: Rollup::finalOutputCall| previous(4).abi_encode()),
            on(move |call: Rollup::batchAtCall| {
                let stored = Rollup::Stored {
                    batchHash: batch_hash(call.index),
                    lastBlockHash: block(78 + call.index, root).0,
                    committedAt: 0,
                    lastBlock: 78 + call.index,
                    endMessage: 0,
                    originNumber: 0,
                };
                stored.abi_encode()
            }),
            on(move |call: Proofs::anySettledCall| {
                let asked = |index: &u64| (batch_hash(*index), previous(*index)) == (call.batchHash, call.previous);
                (4..=settled).any(|index| asked(&index)).abi_encode()
            }),
            on(move |call: Proofs::isSettledCall| {
                let truth = |index| match index {
                    _ if index == invalid => invalid_output_hash(batch_hash(index), previous(index)),
                    _ if index == other => B256::repeat_byte(1),
                    _ => output(index),
                };
                let index = (4..=6).find(|index| batch_hash(*index) == call.batchHash).expect("one of them");
                (call.output == truth(index)).abi_encode()
            }),
        ]))
    };
    let waits = Standing { head: 6, ..standing() };
    let valid = || Rollup::Roots { invalid: false, stateRoot: root, outboxRoot: outbox_root };
    let invalid = || Rollup::Roots { invalid: true, stateRoot: B256::ZERO, outboxRoot: B256::ZERO };
    let cases = [
        (3, 0, vec![]),
        (4, 0, vec![valid()]),
        (6, 0, vec![valid(), valid(), valid()]),
        (6, 5, vec![valid(), invalid()]),
    ];
    for (settled, at, expected) in cases {
        let chain = crossing(node(l1(settled, at, 0)).await, node(l2.clone()).await);
        assert_eq!(chain.settled_roots(&waits).await.expect("found"), expected, "{settled} {at}");
    }
    // The chain's node is asked only where its blocks matter.
    let chain = crossing(node(l1(3, 0, 0)).await, silent().await);
    assert_eq!(chain.settled_roots(&waits).await.expect("found"), []);
    let chain = crossing(node(l1(4, 4, 0)).await, silent().await);
    assert_eq!(chain.settled_roots(&waits).await.expect("found"), [invalid()]);
    // L1 knows another output.
    let chain = crossing(node(l1(5, 0, 5)).await, node(l2.clone()).await);
    assert!(matches!(chain.settled_roots(&waits).await, Err(Error::OtherOutput { index: 5 })));
    // The node has not the blocks, or others.
    let behind = node(|method, _| match method {
        "eth_getBlockByNumber" => Ok(Value::Null),
        "eth_blockNumber" => Ok(json!("0x7")),
        _ => Err("not asked for".into()),
    });
    let chain = crossing(node(l1(4, 0, 0)).await, behind.await);
    assert!(matches!(chain.settled_roots(&waits).await, Err(Error::ChainBehind { block: 82, head: 7 })));
    let fork = node(|_, params| Ok(block(parsed::<U256>(&params[0]).to(), B256::ZERO).1));
    let chain = crossing(node(l1(4, 0, 0)).await, fork.await);
    assert!(matches!(chain.settled_roots(&waits).await, Err(Error::Diverged { index: 4, block: 82 })));
    let last = LastBatch { block_hash: block(77, root).0, ..standing().last };
    assert!(matches!(chain.final_state(&last).await, Err(Error::Diverged { index: 3, block: 77 })));
    // The block's hash binds the state root; after the halt L1 has that too.
    let chain = crossing(silent().await, node(l2).await);
    let expected = FinalState { block: 77, state_root: root };
    for state_root in [None, Some(root)] {
        assert_eq!(chain.final_state(&LastBatch { state_root, ..last }).await.expect("it has it"), expected);
    }
    let other = LastBatch { state_root: Some(B256::repeat_byte(1)), ..last };
    assert!(matches!(chain.final_state(&other).await, Err(Error::Diverged { index: 3, block: 77 })));
}

/// Begins the escape from a chain with this state root of genesis.
async fn start(l1: L1, l2: L1, genesis: B256) -> Result<u64, Error> {
    let key = crate::Key::new(B256::repeat_byte(1)).expect("a key");
    let wallet = Wallet::new(l1.clone(), key).await.expect("a wallet");
    crossing(l1, l2).start_escape(&wallet, genesis, |_, _| ()).await
}

#[tokio::test]
async fn the_escape_begins_neither_early_nor_twice() {
    let outbox_root = keccak256("outbox");
    let (root, l2) = messenger_chain(outbox_root);
    // Batch 3 is final; batch 4, if there is one, can be. Then the node of the chain has not the block of batch 3: nobody asks for it.
    let l1 = move |phase: u8, now: u64, waiting: bool, settled: bool| {
        let calls = contracts(HashMap::from([
            on(move |_: Rollup::phaseCall| U256::from(phase).abi_encode()),
            on(|_: Rollup::finalIndexCall| 3u64.abi_encode()),
            on(|_: Rollup::finalOutputCall| B256::ZERO.abi_encode()),
            on(move |_: Rollup::headIndexCall| (3 + u64::from(settled)).abi_encode()),
            on(|_: Rollup::finalAtCall| 1_000u64.abi_encode()),
            on(|_: Rollup::escapeDelayCall| 100u64.abi_encode()),
            on(|_: Rollup::finalStateRootCall| B256::ZERO.abi_encode()),
            on(move |call: Rollup::batchAtCall| {
                let number = 74 + call.index;
                let stored = Rollup::Stored {
                    batchHash: B256::ZERO,
                    lastBlockHash: if settled && call.index == 3 { B256::ZERO } else { block(number, root).0 },
                    committedAt: 900,
                    lastBlock: number,
                    endMessage: 4,
                    originNumber: 0,
                };
                stored.abi_encode()
            }),
            on(|_: Proofs::anySettledCall| true.abi_encode()),
            on(move |call: Proofs::isSettledCall| {
                let output = output_hash(B256::ZERO, block(78, root).0, root, outbox_root);
                (call.output == output).abi_encode()
            }),
            on(move |_: Inbox::lengthCall| (4 + u64::from(waiting)).abi_encode()),
            on(|_: Inbox::entryCall| {
                let entry = Inbox::Entry {
                    queueHash: B256::ZERO,
                    sender: Address::ZERO,
                    blockNumber: U48::from(5),
                    timestamp: U48::from(1_500),
                };
                entry.abi_encode()
            }),
        ]));
        let head = alloy_consensus::Header { number: 50, timestamp: now, ..Default::default() };
        let head = serde_json::to_value(alloy_rpc_types_eth::Header::new(head)).expect("JSON");
        move |method: &str, params: &Value| match method {
            "eth_chainId" => Ok(json!("0x384")),
            "eth_getBlockByNumber" => Ok(head.clone()),
            "eth_maxPriorityFeePerGas" | "eth_getTransactionCount" => Ok(json!("0x1")),
            "eth_estimateGas" => {
                let call = Rollup::startEscapeCall::abi_decode(&parsed::<Bytes>(&params[0]["input"])).expect("it");
                assert_eq!(call.roots.len(), usize::from(settled));
                assert_eq!((call.stateRoot, call.outboxRoot), (root, outbox_root));
                Err("execution reverted: as asked".into())
            }
            _ => calls(method, params),
        }
    };
    let begin = async |phase, now, waiting, settled| {
        let l1 = node(l1(phase, now, waiting, settled)).await;
        start(l1, node(l2.clone()).await, B256::ZERO).await.expect_err("refused")
    };
    assert!(matches!(begin(2, 9_000, true, false).await, Error::Halted));
    assert!(matches!(begin(0, 9_000, true, false).await, Error::NotOpen));
    assert!(matches!(begin(1, 9_000, false, false).await, Error::NothingWaits));
    let early = begin(1, 1_599, true, false).await;
    assert!(matches!(early, Error::NotDue { until: 1_600, left: 1 }), "{early}");
    assert!(early.to_string().contains("in 1 s"), "{early}");
    // Due: it would be sent now, with the roots of the batch that is the last final one then. This L1 does not show its blocks: the chain's node has them.
    for settled in [false, true] {
        let sent = begin(1, 1_600, true, settled).await;
        assert!(matches!(&sent, Error::Reverts { what, .. } if what == "startEscape"), "{settled}: {sent}");
    }
}

/// An L1 of 5,000 blocks, one in ten seconds, on which a message has waited for long enough and nothing became final since block 3,000, by the contract. Batch n has
/// the roots `roots(n)`; the event of the last final one is in block `at`, and says `said(n)`. `tried` hears of a start: it would fail, or is mined and succeeds or not.
fn due(
    last: Arc<AtomicU64>,
    at: u64,
    roots: impl Fn(u64) -> [B256; 2] + Copy + Send + Sync + 'static,
    said: impl Fn(u64) -> [B256; 2] + Send + Sync + 'static,
    tried: impl Fn(Rollup::startEscapeCall) -> Result<bool, String> + Send + Sync + 'static,
) -> impl Fn(&str, &Value) -> Result<Value, String> + Send + Sync + 'static {
    let block_hash = move |index: u64| block(77, roots(index)[0]).0;
    let [finals, committed] = [(); 2].map(|()| last.clone());
    let calls = contracts(HashMap::from([
        on(|_: Rollup::phaseCall| U256::ONE.abi_encode()),
        on(move |_: Rollup::finalIndexCall| finals.load(Relaxed).abi_encode()),
        on(|_: Rollup::finalOutputCall| B256::ZERO.abi_encode()),
        on(move |_: Rollup::headIndexCall| committed.load(Relaxed).abi_encode()),
        on(|_: Rollup::finalAtCall| 30_000u64.abi_encode()),
        on(|_: Rollup::escapeDelayCall| 100u64.abi_encode()),
        on(move |call: Rollup::batchAtCall| {
            // Of those before the last final one it has the hash alone.
            let known = call.index >= last.load(Relaxed);
            let stored = Rollup::Stored {
                batchHash: B256::ZERO,
                lastBlockHash: if known { block_hash(call.index) } else { B256::ZERO },
                committedAt: 0,
                lastBlock: if known { 77 } else { 0 },
                endMessage: if known { 4 } else { 0 },
                originNumber: 0,
            };
            stored.abi_encode()
        }),
        on(move |call: Rollup::isFinalCall| {
            let Rollup::isFinalCall { index, lastBlockHash, stateRoot, outboxRoot } = call;
            let is_final = (lastBlockHash, [stateRoot, outboxRoot]) == (block_hash(index), roots(index));
            is_final.abi_encode()
        }),
        on(|_: Proofs::anySettledCall| false.abi_encode()),
        on(|_: Inbox::lengthCall| 5u64.abi_encode()),
        on(|_: Inbox::entryCall| {
            let entry = Inbox::Entry {
                queueHash: B256::ZERO,
                sender: Address::ZERO,
                blockNumber: U48::from(5),
                timestamp: U48::from(1_500),
            };
            entry.abi_encode()
        }),
    ]));
    let succeeds = AtomicBool::new(false);
    move |method: &str, params: &Value| match method {
        "eth_chainId" => Ok(json!("0x384")),
        "eth_getBlockByNumber" => {
            let latest = params[0] == "latest";
            let number = if latest { 5_000 } else { parsed::<U256>(&params[0]).to::<u64>() };
            let header = alloy_consensus::Header { number, timestamp: 10 * number, ..Default::default() };
            Ok(serde_json::to_value(alloy_rpc_types_eth::Header::new(header)).expect("JSON"))
        }
        "eth_getLogs" => {
            let number = |value: &Value| parsed::<U256>(value).to::<u64>();
            let (from, to) = (number(&params[0]["fromBlock"]), number(&params[0]["toBlock"]));
            assert!(
                (from - 3_000).is_multiple_of(L1_RANGE) && to - from < L1_RANGE,
                "from {from} to {to}: not from then on"
            );
            assert!(from <= at, "it was found before");
            let index = number(&params[0]["topics"][1]);
            assert!(index > 0, "genesis has none");
            let [state_root, outbox_root] = said(index);
            let event = Rollup::BatchFinal {
                index,
                batchHash: B256::ZERO,
                output: B256::ZERO,
                stateRoot: state_root,
                outboxRoot: outbox_root,
            };
            let data = event.encode_log_data();
            let log = json!({
                "address": Address::repeat_byte(1), "topics": data.topics(), "data": data.data, "blockNumber": format!("{at:#x}"),
                "blockHash": B256::ZERO, "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
            });
            Ok(if (from..=to).contains(&at) { json!([log]) } else { json!([]) })
        }
        "eth_maxPriorityFeePerGas" | "eth_getTransactionCount" => Ok(json!("0x1")),
        "eth_estimateGas" => {
            let call = Rollup::startEscapeCall::abi_decode(&parsed::<Bytes>(&params[0]["input"])).expect("it");
            assert!(call.roots.is_empty());
            succeeds.store(tried(call)?, Relaxed);
            Ok(json!("0x5208"))
        }
        "eth_sendRawTransaction" => Ok(json!(keccak256(parsed::<Bytes>(&params[0])))),
        "eth_getTransactionReceipt" => Ok(json!({
            "transactionHash": params[0], "status": if succeeds.load(Relaxed) { "0x1" } else { "0x0" }, "blockNumber": "0x1389",
            "gasUsed": "0x5208", "logs": [],
        })),
        _ => calls(method, params),
    }
}

#[tokio::test]
async fn the_roots_of_the_last_final_batch_are_on_l1() {
    let last = |index| Arc::new(AtomicU64::new(index));
    let (root, l2) = messenger_chain(keccak256("outbox"));
    let right = move |_: u64| [root, keccak256("outbox")];
    let starts = move |call: Rollup::startEscapeCall| {
        assert_eq!([call.stateRoot, call.outboxRoot], right(3));
        Ok(true)
    };
    // It became final then; or later, for the escape was due already. No node of the chain is asked.
    for at in [3_000, 3_999, 4_500, 5_000] {
        let l1 = node(due(last(3), at, right, right, starts)).await;
        assert_eq!(start(l1, silent().await, B256::ZERO).await.expect("it begins"), 0, "{at}");
    }
    // L1's node has another event, which the contract does not confirm, or none: then the chain's node is asked.
    for (at, said) in [(3_000, [B256::ZERO; 2]), (9_000, right(3))] {
        let l1 = async || node(due(last(3), at, right, move |_| said, starts)).await;
        assert_eq!(start(l1().await, node(l2.clone()).await, B256::ZERO).await.expect("it begins"), 0, "{at}");
        let error = start(l1().await, silent().await, B256::ZERO).await.expect_err("nobody has them");
        assert!(error.to_string().contains("not asked for"), "{error}");
    }
    // Those of genesis are in the chain file.
    let genesis = move |_: u64| [root, EMPTY_OUTBOX_ROOT];
    let starts = move |call: Rollup::startEscapeCall| {
        assert_eq!([call.stateRoot, call.outboxRoot], genesis(0));
        Ok(true)
    };
    let l1 = node(due(last(0), 3_000, genesis, genesis, starts)).await;
    assert_eq!(start(l1, silent().await, root).await.expect("it begins"), 0);
}

#[tokio::test]
async fn what_others_do_before_the_start_is_read_anew() {
    let roots = |index: u64| [keccak256([index as u8]), keccak256([index as u8, 0])];
    // Batch 4 becomes final once the roots of batch 3 were read: the transaction would fail, or it fails.
    for first in [Err("execution reverted: WrongRoots(4)".to_owned()), Ok(false)] {
        let last = Arc::new(AtomicU64::new(3));
        let moves = last.clone();
        let tried = move |call: Rollup::startEscapeCall| {
            let index = moves.swap(4, Relaxed);
            assert_eq!([call.stateRoot, call.outboxRoot], roots(index));
            if index == 3 { first.clone() } else { Ok(true) }
        };
        let l1 = node(due(last, 3_000, roots, roots, tried)).await;
        assert_eq!(start(l1, silent().await, B256::ZERO).await.expect("it begins"), 0);
    }
    // Or while L1 is read.
    let last = Arc::new(AtomicU64::new(3));
    let starts = move |call: Rollup::startEscapeCall| {
        assert_eq!([call.stateRoot, call.outboxRoot], roots(4));
        Ok(true)
    };
    let l1 = due(last.clone(), 3_000, roots, roots, starts);
    let moving = move |method: &str, params: &Value| {
        let answer = l1(method, params);
        if method == "eth_call" && parsed::<Bytes>(&params[0]["input"])[..4] == Rollup::finalIndexCall::SELECTOR {
            last.store(4, Relaxed);
        }
        answer
    };
    assert_eq!(start(node(moving).await, silent().await, B256::ZERO).await.expect("it begins"), 0);
    // What always fails is given up.
    let tries = Arc::new(AtomicU64::new(0));
    let count = tries.clone();
    let refused = move |_: Rollup::startEscapeCall| {
        count.fetch_add(1, Relaxed);
        Err("execution reverted: StillFinal(4)".to_owned())
    };
    let l1 = node(due(Arc::new(AtomicU64::new(3)), 3_000, roots, roots, refused)).await;
    let error = start(l1, silent().await, B256::ZERO).await.expect_err("refused");
    assert!(matches!(&error, Error::Reverts { what, .. } if what == "startEscape"), "{error}");
    assert_eq!(tries.load(Relaxed), 3);
}

#[test]
fn timeouts_and_limits_of_a_node_may_pass() {
    let refused = |code| Error::Rpc { method: "eth_call".into(), code, message: "no".into(), data: None };
    assert!([-32002, -32005].into_iter().all(|code| refused(code).is_transient()));
    assert!([3, -32000, -32602].into_iter().all(|code| !refused(code).is_transient()));
}

#[test]
fn spans_are_said_in_two_units() {
    let said = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 21 * 86_400].map(crate::error::in_words);
    assert_eq!(said, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 0 h", "21 d 0 h"]);
}

#[tokio::test]
async fn logs_are_asked_for_in_parts_that_the_node_takes() {
    let l2 = node(|_, params| {
        let number = |name: &str| u64::from_str_radix(&parsed::<String>(&params[0][name])[2..], 16).expect("hex");
        let (from, to) = (number("fromBlock"), number("toBlock"));
        if to - from >= 30 {
            return Err("query returned more than 10000 results".into());
        }
        let log = |block: u64| {
            json!({
                "address": L2_BRIDGE, "topics": [B256::ZERO], "data": "0x", "blockNumber": format!("{block:#x}"), "blockHash": B256::ZERO,
                "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
            })
        };
        Ok(json!((from..=to).map(log).collect::<Vec<_>>()))
    })
    .await;
    let logs = all_logs(&l2, &Filter::new(), 5..255, 1_000).await.expect("in parts");
    let blocks: Vec<u64> = logs.iter().filter_map(|log| log.block_number).collect();
    assert_eq!(blocks, (5..255).collect::<Vec<_>>());
    assert!(all_logs(&l2, &Filter::new(), 5..5, 1_000).await.expect("nothing").is_empty());
    let refuses = silent().await;
    assert!(
        all_logs(&refuses, &Filter::new(), 0..9, 1_000).await.is_err(),
        "a node that always refuses is no endless loop"
    );
}

#[tokio::test]
async fn pending_messages_are_those_of_their_owner() {
    let (me, contract, token) = (Address::repeat_byte(0xaa), Address::repeat_byte(0xcc), Address::repeat_byte(0x70));
    let deposit = |from: Address, amount: u64| -> Bytes {
        let (metadata, data) = (Bytes::new(), Bytes::new());
        let amount = U256::from(amount);
        L2Bridge::finalizeDepositCall { token, from, to: me, amount, metadata, data }.abi_encode().into()
    };
    let queued = |index: u64, from: Address, mint: u64, data: Bytes| {
        let event = Inbox::MessageQueued {
            index,
            from,
            to: L2_BRIDGE,
            isCreation: false,
            mint: U256::from(mint),
            value: U256::ZERO,
            gas: 21_000,
            data,
        };
        let data = event.encode_log_data();
        json!({
            "address": INBOX, "topics": data.topics(), "data": data.data, "blockNumber": format!("{:#x}", 10 + index), "blockHash": B256::ZERO,
            "transactionHash": B256::ZERO, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
        })
    };
    let logs = [
        queued(3, me, 9, Bytes::new()),                     // consumed
        queued(4, me, 7, Bytes::new()),                     // mine
        queued(5, alias(BRIDGE), 0, deposit(me, 50)),       // my tokens
        queued(6, alias(BRIDGE), 0, deposit(contract, 51)), // another's tokens
        queued(7, me, 0, Bytes::new()),                     // forced: brings nothing
        queued(8, me, 0, deposit(me, 52)),                  // looks like tokens, and is not of the bridge
        queued(9, alias(me), 6, Bytes::new()),              // queue says: of another
    ];
    let l1 = |method: &str, params: &Value| -> Result<Value, String> {
        assert_eq!(method, "eth_call");
        let data: Bytes = parsed(&params[0]["input"]);
        if let Ok(call) = EscapeHatch::refundedCall::abi_decode(&data) {
            return Ok(json!(Bytes::from((call.index == 5).abi_encode())));
        }
        let index = Inbox::entryCall::abi_decode(&data).expect("the only other question").index;
        if index > 9 {
            return Err("execution reverted".into());
        }
        let me = Address::repeat_byte(0xaa);
        let sender = if index == 9 { Address::repeat_byte(0xdd) } else { me };
        let (block, time) = (U48::from(10 + index), U48::ZERO);
        let entry = Inbox::Entry { queueHash: B256::ZERO, sender, blockNumber: block, timestamp: time };
        Ok(json!(Bytes::from(entry.abi_encode())))
    };
    let answer = move |method: &str, params: &Value| match method {
        "eth_getLogs" => {
            let number = |name: &str| u64::from_str_radix(&parsed::<String>(&params[0][name])[2..], 16).expect("hex");
            let inside = |log: &&Value| (number("fromBlock")..=number("toBlock")).contains(&(10 + logs_index(log)));
            let named = |log: &&Value| params[0]["topics"][1].is_null() || params[0]["topics"][1] == log["topics"][1];
            Ok(json!(logs.iter().filter(inside).filter(named).collect::<Vec<_>>()))
        }
        _ => l1(method, params),
    };
    let chain = crossing(node(answer).await, silent().await);
    let found = chain.pending_of(&Standing { messages: 3..10, ..standing() }, me).await.expect("found");
    let found: Vec<_> =
        found.iter().map(|(one, refunded)| (one.entry.index, one.token, one.amount.to(), *refunded)).collect();
    assert_eq!(found, [(3, None, 9u64, false), (4, None, 7, false), (5, Some(token), 50, true)]);
    let later = chain.pending_of(&Standing { messages: 4..10, ..standing() }, me).await.expect("found");
    assert_eq!(later.len(), 2, "what was consumed is not there");
    assert!(chain.pending_of(&standing(), me).await.expect("none").is_empty());
    let others = chain.pending(6).await.expect("found");
    assert_eq!((others.owner, others.token, others.entry.blockNumber), (contract, Some(token), 16));
    let call = EscapeHatch::refundMessageCall::abi_decode(&others.call_data(contract)).expect("the call");
    assert_eq!((call.entry, call.recipient), (others.entry, contract));
    assert!(matches!(chain.pending(10).await, Err(Error::Reverts { .. })));
}

fn logs_index(log: &Value) -> u64 {
    parsed::<U256>(&log["topics"][1]).to()
}
