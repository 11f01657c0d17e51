//! The relayer on a layer 1 that is one: Jove's own, with its pool, its blobs and its reorganisations.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use jove_primitives::ChainSpec;
use jove_rpc::{Server, ServerConfig, dev_accounts};
use jove_sequencer::{L1Config, Node, NodeConfig, PoolConfig};
use jove_settlement::{
    Key, L1, Relayer, RelayerConfig,
    relayer::{Fees, Mined, Request, State, sidecar},
};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};

struct Chain {
    node: Arc<Node>,
    server: Server,
    l1: L1,
    folder: tempfile::TempDir,
}

impl Chain {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(NodeConfig {
            datadir: folder.path().join("l1"),
            // It seals what it is asked for: the next slot is in an hour.
            spec: ChainSpec::l1(900, 3600),
            block_time: Duration::from_millis(10),
            heartbeat: Duration::from_secs(3600),
            sync: false,
            sequencing: true,
            elected: false,
            dev: true,
            pool: PoolConfig { journal: None, ..Default::default() },
            history: None,
            proof_window: Duration::from_secs(600),
            l1: L1Config { safe_depth: 3, finalized_depth: 4, blob_window: None },
        })
        .unwrap();
        let config = ServerConfig { http_addr: ([127, 0, 0, 1], 0).into(), ..Default::default() };
        let server = Server::start(node.clone(), config, Vec::new(), axum::Router::new()).unwrap();
        let l1 = L1::new(&format!("http://{}", server.local_addr())).unwrap();
        // The first slot's block comes by itself.
        while l1.block_number().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { node, server, l1, folder }
    }

    fn relayer(&self, config: RelayerConfig) -> Relayer {
        let signer = Key::new(dev_accounts()[0].1).unwrap();
        let folder: &Path = self.folder.path();
        Relayer::open(self.l1.clone(), signer, config, folder).unwrap()
    }

    async fn mine(&self, blocks: u64) {
        let _: Value = self.l1.request("anvil_mine", [blocks]).await.unwrap();
    }

    async fn stop(self) {
        self.server.stop().await;
        tokio::task::spawn_blocking(move || self.node.stop()).await.unwrap();
    }
}

fn request(key: &str, to: Address) -> Request {
    Request {
        key: key.into(),
        to,
        value: U256::ZERO,
        data: Bytes::from_static(b"data"),
        gas_limit: None,
        sidecar: None,
    }
}

fn mined(relayer: &Relayer, key: &str) -> Mined {
    match relayer.state(key) {
        Some(State::Mined(mined) | State::Final(mined)) => mined,
        other => panic!("{other:?}, {:?}", relayer.stuck()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_mined_survive_a_reorganisation_and_become_final() {
    let chain = Chain::start().await;
    let mut relayer = chain.relayer(RelayerConfig::default());
    let blobs = tokio::task::spawn_blocking(|| sidecar(vec![Blob::ZERO]).unwrap()).await.unwrap();
    relayer.submit(Request { sidecar: Some(Arc::new(blobs)), ..request("a", Address::repeat_byte(0xb0)) }).unwrap();
    relayer.step().await.unwrap();
    chain.mine(1).await;
    relayer.step().await.unwrap();
    let first = mined(&relayer, "a");
    assert!(first.success && first.cost > u128::from(first.gas_used));
    // The transaction is in no block and no pool.
    let _: Value = chain.l1.request("anvil_reorg", json!([1, []])).await.unwrap();
    assert!(chain.l1.transaction(first.hash).await.unwrap().is_none());
    relayer.step().await.unwrap();
    assert_eq!(relayer.state("a"), Some(State::Pending { nonce: 0, hashes: vec![first.hash] }));
    chain.mine(1).await;
    relayer.step().await.unwrap();
    let second = mined(&relayer, "a");
    assert_eq!(second.hash, first.hash, "the same bytes");
    assert_ne!(second.block_hash, first.block_hash);
    chain.mine(4).await;
    relayer.step().await.unwrap();
    assert_eq!(relayer.state("a"), Some(State::Final(second)));
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn low_caps_hold_it_back_and_higher_ones_free_it() {
    let chain = Chain::start().await;
    let low = Fees { max_fee_per_gas: 1000, max_priority_fee_per_gas: 10, max_fee_per_blob_gas: 1 };
    let mut relayer = chain.relayer(RelayerConfig { caps: low, bump_blocks: 2, ..Default::default() });
    relayer.submit(request("a", Address::repeat_byte(0xb0))).unwrap();
    for _ in 0..4 {
        relayer.step().await.unwrap();
        chain.mine(1).await;
    }
    let Some(State::Pending { nonce: 0, hashes }) = relayer.state("a") else { panic!("{:?}", relayer.state("a")) };
    assert!(relayer.stuck().is_some());
    drop(relayer);
    let mut relayer = chain.relayer(RelayerConfig { bump_blocks: 2, ..Default::default() });
    for _ in 0..4 {
        relayer.step().await.unwrap();
        chain.mine(1).await;
    }
    relayer.step().await.unwrap();
    let mined = mined(&relayer, "a");
    assert!(mined.success && mined.nonce == 0 && !hashes.contains(&mined.hash));
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reverts_are_named_before_they_cost_anything() {
    let chain = Chain::start().await;
    let contract = Address::repeat_byte(0xc0);
    // Returns WrongParent(0x…07): mstore(0, selector << 224), mstore(4, 7), revert(0, 36).
    let selector = &keccak256("WrongParent(bytes32)")[..4];
    let code: Bytes =
        [&[0x63][..], selector, &[0x60, 0xe0, 0x1b, 0x5f, 0x52, 0x60, 7, 0x60, 4, 0x52, 0x60, 36, 0x5f, 0xfd]]
            .concat()
            .into();
    let _: Value = chain.l1.request("anvil_setCode", (contract, code)).await.unwrap();
    let mut relayer = chain.relayer(RelayerConfig::default());
    relayer.submit(request("a", contract)).unwrap();
    relayer.step().await.unwrap();
    let Some(State::Refused(revert)) = relayer.state("a") else { panic!("{:?}", relayer.state("a")) };
    assert_eq!(revert.name(), Some("WrongParent"));
    assert!(revert.to_string().ends_with("07)"), "{revert}");
    assert_eq!(chain.l1.nonce(relayer.signer().address(), alloy_eips::BlockNumberOrTag::Pending).await.unwrap(), 0);
    chain.stop().await;
}
