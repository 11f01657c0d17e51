//! Messages between two nodes on the loopback interface.
//!
//! `direct::round_trip`: a message there and one back. `direct::stream`: a thousand messages, until the last has arrived. `gossip::one_way`:
//! published, delivered to the other host, accepted.
#![allow(clippy::unwrap_used)]

use alloy_primitives::{B256, U256};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jove_network::{Chain, Config, Event, Events, Identity, Network, Topic, Validator};
use tokio::runtime::Runtime;

const CHAIN: Chain = Chain { id: 7, genesis: B256::ZERO };

struct Node {
    network: Network,
    events: Events,
    id: B256,
}

async fn start(listen: &str) -> Node {
    let identity = Identity::generate();
    let mut config = Config::new(identity.clone(), CHAIN);
    config.listen = vec![listen.parse().unwrap()];
    // the machine's speed is wanted, not the limits'
    config.limits.bandwidth = jove_network::Rate::new(u32::MAX, u32::MAX);
    config.limits.direct = jove_network::Rate::new(u32::MAX, u32::MAX);
    config.limits.gossip = jove_network::Rate::new(u32::MAX, u32::MAX);
    let (network, events) = Network::start(config).await.unwrap();
    Node { id: alloy_primitives::keccak256(identity.peer().to_bytes()), network, events }
}

async fn pair(listen: &str) -> (Node, Node) {
    let (mut a, mut b) = (start(listen).await, start(listen).await);
    let validators: Vec<_> = [&a, &b]
        .map(|node| Validator {
            id: node.id,
            peer: node.network.local_peer(),
            addresses: node.network.listen_addresses(),
        })
        .into();
    for node in [&mut a, &mut b] {
        node.network.set_validators(validators.clone()).await.unwrap();
    }
    for node in [&mut a, &mut b] {
        while !matches!(node.events.recv().await.unwrap(), Event::Connected(_)) {}
    }
    while a.network.stats().mesh == 0 || b.network.stats().mesh == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    (a, b)
}

async fn direct(node: &mut Node) -> Bytes {
    loop {
        if let Event::Direct { bytes, .. } = node.events.recv().await.unwrap() {
            return bytes;
        }
    }
}

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for (transport, listen) in [("tcp", "/ip4/127.0.0.1/tcp/0"), ("quic", "/ip4/127.0.0.1/udp/0/quic-v1")] {
        let (mut a, mut b) = runtime.block_on(pair(listen));
        for size in [200usize, 20_000] {
            let message = Bytes::from(vec![7; size]);
            let mut group = criterion.benchmark_group("network");
            group.bench_function(BenchmarkId::new("direct::round_trip", format!("{transport},size={size}")), |bench| {
                bench.iter(|| {
                    runtime.block_on(async {
                        a.network.send(b.id, message.clone()).unwrap();
                        direct(&mut b).await;
                        b.network.send(a.id, message.clone()).unwrap();
                        direct(&mut a).await
                    })
                });
            });
            group.throughput(Throughput::Bytes(1_000 * size as u64));
            group.sample_size(20);
            group.bench_function(BenchmarkId::new("direct::stream", format!("{transport},size={size}")), |bench| {
                bench.iter(|| {
                    runtime.block_on(async {
                        // within the queue's bytes
                        for _ in 0..5 {
                            (0..200).for_each(|_| a.network.send(b.id, message.clone()).unwrap());
                            for _ in 0..200 {
                                direct(&mut b).await;
                            }
                        }
                    })
                });
            });
            group.finish();
            let mut group = criterion.benchmark_group("network");
            let mut number = U256::ZERO;
            group.bench_function(BenchmarkId::new("gossip::one_way", format!("{transport},size={size}")), |bench| {
                bench.iter(|| {
                    number += U256::ONE;
                    let mut content = vec![size as u8; size];
                    content[..32].copy_from_slice(&number.to_be_bytes::<32>());
                    content[33] = transport.len() as u8;
                    runtime.block_on(async {
                        a.network.publish(Topic::Transactions, content.into()).await.unwrap();
                        loop {
                            if let Event::Gossip { verdict, .. } = b.events.recv().await.unwrap() {
                                return verdict.accept();
                            }
                        }
                    })
                });
            });
            group.finish();
        }
        assert_eq!(a.network.stats().direct_dropped, 0);
    }
}

criterion_group!(loopback, benches);
criterion_main!(loopback);
