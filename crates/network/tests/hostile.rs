//! Peers that keep no rules, against honest nodes: they are throttled and dropped, cost bounded room, and the honest go on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use alloy_primitives::B256;
use bytes::Bytes;
use common::{LONG, Node, join, until};
use hostile::{Hostile, protocol, version};
use jove_network::{Config, Event, Rate, To, Topic, Validator};
use libp2p::{
    StreamProtocol,
    futures::{AsyncReadExt, AsyncWriteExt},
    identity::Keypair,
};
use std::time::{Duration, Instant};

/// Validators `nodes` and the hostile one, on both sides of everything.
async fn join_with(nodes: &mut [&mut Node], hostile: &Hostile) -> B256 {
    let mut validators: Vec<_> = nodes.iter().map(|node| node.validator()).collect();
    let id = B256::repeat_byte(0x66);
    validators.push(Validator { id, peer: hostile.peer, addresses: vec![hostile.address.clone()] });
    for node in nodes.iter() {
        node.network.set_validators(validators.clone()).await.unwrap();
    }
    for node in nodes.iter_mut() {
        let others: Vec<_> = validators.iter().map(|v| v.id).filter(|v| *v != node.id && *v != id).collect();
        node.connected(&others).await;
    }
    id
}

async fn exchange(a: &mut Node, b: &mut Node, count: u32) {
    for number in 0..count {
        a.network.send(b.id, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        assert_eq!(b.direct(a.id).await, number.to_be_bytes()[..]);
        b.network.send(a.id, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        assert_eq!(a.direct(b.id).await, number.to_be_bytes()[..]);
    }
}

async fn gossip(from: &Node, to: &mut Node, text: &str) {
    until("a mesh", || from.network.stats().mesh >= 1).await;
    from.network.publish(Topic::Blocks, Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    loop {
        if to.gossip().await == text {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_in_a_validators_name() {
    let (mut a, mut b) = (Node::start(|_| {}).await, Node::start(|_| {}).await);
    join(&mut [&mut a, &mut b]).await;

    // a stranger opens a direct stream and says that it is b
    let stranger = Hostile::start(&version()).await;
    assert!(stranger.dial(&a.addresses()[0]).await);
    let mut stream = stranger.stream(a.network.local_peer(), protocol("direct/1")).await.unwrap();
    let lie = [&[0, 0, 0, 32][..], &b.id[..]].concat();
    drop(stream.write_all(&lie).await);
    drop(stream.flush().await);
    let mut answer = [0; 1];
    assert!(!matches!(stream.read(&mut answer).await, Ok(1)), "no stream is taken from it");
    until("refused", || a.network.stats().direct_refused == 1).await;

    // and at the address of c, whom both know as a validator, the stranger answers
    let c = B256::repeat_byte(0xcc);
    let absent = Keypair::generate_ed25519().public().to_peer_id();
    let claimed = Validator { id: c, peer: absent, addresses: vec![stranger.address.clone()] };
    a.network.set_validators(vec![a.validator(), b.validator(), claimed]).await.unwrap();
    a.network.send(c, Bytes::from_static(b"for c alone")).unwrap();
    exchange(&mut a, &mut b, 100).await;
    let stats = a.network.stats();
    assert_eq!((stats.direct_refused, stats.queued), (1, 1), "nothing was sent to c");
    assert!(a.events.is_empty(), "and nothing came from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_and_cut_direct_messages_end_the_stream_and_then_the_peer() {
    let (mut a, mut b) = (Node::start(|_| {}).await, Node::start(|_| {}).await);
    let hostile = Hostile::start(&version()).await;
    let id = join_with(&mut [&mut a, &mut b], &hostile).await;
    hostile.dial(&a.addresses()[0]).await;
    let target = a.network.local_peer();
    for round in 1..=4 {
        let mut stream = hostile.stream(target, protocol("direct/1")).await.expect("a validator's stream");
        let mut accepted = [0];
        stream.read_exact(&mut accepted).await.unwrap();
        stream.write_all(&[0, 0, 0, 1, round]).await.unwrap();
        stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(a.direct(id).await, [round][..], "what was good counts");
        assert!(!matches!(stream.read(&mut accepted).await, Ok(1)), "the stream is closed");
    }
    until("banned", || a.network.stats().bans == 1).await;
    until("disconnected", || a.network.peers().iter().all(|info| info.peer != hostile.peer)).await;
    let stats = a.network.stats();
    assert_eq!((stats.direct_malformed, stats.banned), (4, 1));
    assert!(!hostile.dial(&a.addresses()[0]).await || hostile.stream(target, protocol("direct/1")).await.is_none());
    exchange(&mut a, &mut b, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_direct_messages_waits_and_others_do_not() {
    let bounded = |config: &mut Config| {
        config.limits.events = 64;
        config.limits.events_size = 1 << 20;
    };
    let (mut a, mut b) = (Node::start(bounded).await, Node::start(|_| {}).await);
    let hostile = Hostile::start(&version()).await;
    let id = join_with(&mut [&mut a, &mut b], &hostile).await;
    hostile.dial(&a.addresses()[0]).await;
    let mut stream = hostile.stream(a.network.local_peer(), protocol("direct/1")).await.unwrap();
    let mut accepted = [0];
    stream.read_exact(&mut accepted).await.unwrap();
    let flood = tokio::spawn(async move {
        let message = [&20_000u32.to_be_bytes()[..], &[7; 20_000]].concat();
        let mut written = 0u64;
        while stream.write_all(&message).await.is_ok() && stream.flush().await.is_ok() {
            written += 1;
            if written == 5_000 {
                break;
            }
        }
        std::future::pending::<()>().await;
        drop(stream);
    });
    // the host takes nothing: what waits is bounded, one message is in its reader's hands, and it is the flood that waits
    let fit = (1 << 20) / 20_000;
    until("full", || a.network.stats().direct_received == fit + 1).await;
    b.network.send(a.id, Bytes::from_static(b"honest")).unwrap();
    until("the honest one waits too", || a.network.stats().direct_received == fit + 2).await;
    let stats = a.network.stats();
    assert!(stats.undelivered <= 1 << 20 && a.events.len() <= 64, "{stats:?}");
    // the honest message has its turn: after what was there, not after the flood
    let mut before = 0;
    loop {
        match a.next().await {
            Event::Direct { from, .. } if from == id => before += 1,
            Event::Direct { from, .. } if from == b.id => break,
            _ => {}
        }
    }
    assert!(before <= 4 * fit, "{before} of the flood's 5,000");
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_loses_messages_and_nobody_else_does() {
    let bounded = |config: &mut Config| {
        config.limits.direct_queue = 50;
        config.limits.direct_queue_size = 4 << 20;
    };
    let (mut a, mut b) = (Node::start(bounded).await, Node::start(|_| {}).await);
    let hostile = Hostile::start(&version()).await;
    let mut incoming = hostile.control.clone().accept(protocol("direct/1")).unwrap();
    // it takes messages, it says, and reads none
    let held = tokio::spawn(async move {
        use libp2p::futures::StreamExt;
        let mut held = vec![];
        while let Some((_, mut stream)) = incoming.next().await {
            drop(stream.write_all(&[1]).await);
            drop(stream.flush().await);
            held.push(stream);
        }
    });
    join_with(&mut [&mut a, &mut b], &hostile).await;
    until("all streams are there", || a.network.stats().validators == 2).await;
    for number in 0..400u32 {
        let message = [&number.to_be_bytes()[..], &[7; 100_000]].concat();
        a.network.broadcast(message.into()).unwrap();
        assert_eq!(b.direct(a.id).await[..4], number.to_be_bytes());
        let stats = a.network.stats();
        assert!(stats.queued <= 2 * 50, "{stats:?}");
    }
    let stats = a.network.stats();
    assert!(stats.direct_dropped > 0 && stats.direct_dropped < 400, "{stats:?}");
    assert!(stats.queued <= 50, "{stats:?}");
    held.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_gossip_is_throttled_and_its_sender_banned() {
    let rate = |config: &mut Config| config.limits.gossip = Rate::new(1, 100);
    let (mut a, mut b) = (Node::start(rate).await, Node::start(|_| {}).await);
    let hostile = Hostile::start(&version()).await;
    join(&mut [&mut a, &mut b]).await;
    // the honest one is known by its place in the set; the hostile one is nobody
    assert!(hostile.dial(&a.addresses()[0]).await);
    until("a mesh", || a.network.stats().mesh == 2 && b.network.stats().mesh >= 1).await;
    let target = a.addresses()[0].clone();
    let began = Instant::now();
    for number in 0..1_000u32 {
        hostile.publish(Topic::Transactions, number.to_be_bytes().to_vec());
    }
    until("banned", || a.network.stats().bans >= 1).await;
    until("dropped", || hostile.connections() == 0).await;
    let stats = a.network.stats();
    let allowed = 101 + began.elapsed().as_secs();
    assert!(stats.gossip_received <= allowed && stats.gossip_throttled >= 99, "{stats:?}");
    assert!(stats.verdicts <= allowed, "{stats:?}");
    // a new connection does not help it
    hostile.dial(&target).await;
    until("refused", || a.network.stats().refused >= 1).await;
    until("dropped", || hostile.connections() == 0).await;
    gossip(&b, &mut a, "honest").await;
    gossip(&a, &mut b, "answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_gossip_bans_whoever_forwards_it() {
    let (mut a, mut b) = (Node::start(|_| {}).await, Node::start(|_| {}).await);
    join(&mut [&mut a, &mut b]).await;
    let hostile = Hostile::start(&version()).await;
    assert!(hostile.dial(&a.addresses()[0]).await);
    until("a mesh", || a.network.stats().mesh == 2).await;
    for number in 0..4u8 {
        hostile.publish(Topic::Blocks, vec![0xff, number]);
        let from = a.find(|event| match event {
            Event::Gossip { from, verdict, .. } => {
                verdict.reject();
                Some(from)
            }
            _ => None,
        });
        assert_eq!(from.await, hostile.peer);
        // its penalty counts in its score meanwhile, and it is heard all the same
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    until("banned", || a.network.stats().bans == 1).await;
    until("dropped", || hostile.connections() == 0).await;
    gossip(&b, &mut a, "honest").await;
    assert_eq!(b.network.stats().gossip_received, 0, "nothing of it was forwarded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_delivered_once() {
    let mut a = Node::start(|_| {}).await;
    let hostiles = [Hostile::start(&version()).await, Hostile::start(&version()).await];
    for hostile in &hostiles {
        assert!(hostile.dial(&a.addresses()[0]).await);
    }
    until("a mesh", || a.network.stats().mesh == 2).await;
    for round in 0..20u8 {
        hostiles[0].publish(Topic::Blocks, vec![1]);
        hostiles[1].publish(Topic::Blocks, vec![1]);
        // what is new shows that all before it has come
        for hostile in &hostiles {
            hostile.publish(Topic::Blocks, [hostile.peer.to_bytes(), vec![round]].concat());
        }
    }
    let mut replays = 0;
    for _ in 0..41 {
        replays += usize::from(a.gossip().await == vec![1]);
    }
    assert_eq!(replays, 1);
    // counted a moment after the host has it
    until("counted", || a.network.stats().gossip_received == 41).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_any_protocol_hurts_nobody_else() {
    let (mut a, mut b) = (Node::start(|_| {}).await, Node::start(|_| {}).await);
    join(&mut [&mut a, &mut b]).await;
    let target = a.network.local_peer();
    let names = ["/meshsub/1.1.0", "/meshsub/1.2.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"];
    let names = names.map(StreamProtocol::new).into_iter();
    for name in names.chain([protocol("kad/1"), protocol("request/1"), protocol("direct/1")]) {
        // a length of 2^63, a length of 64 MiB with nothing behind it, noise
        let junk: [&[u8]; 3] = [
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x80, 0x80, 0x80, 0x20, 1, 2, 3],
            &[0x5a; 4_096],
        ];
        let hostile = Hostile::start(&version()).await;
        assert!(hostile.dial(&a.addresses()[0]).await);
        for junk in junk {
            for _ in 0..5 {
                let Some(mut stream) = hostile.stream(target, name.clone()).await else { continue };
                drop(stream.write_all(junk).await);
                drop(stream.flush().await);
                drop(stream.close().await);
            }
        }
        exchange(&mut a, &mut b, 5).await;
    }
    gossip(&b, &mut a, "honest").await;
    until("all places are free", || a.network.stats().undelivered == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_is_throttled_and_others_are_served() {
    let change = |config: &mut Config| {
        config.limits.requests = Rate::new(1, 100);
        config.limits.serving_per_peer = 4;
        config.limits.stall = Duration::from_secs(5);
    };
    let mut a = Node::start(change).await;
    let honest = Node::start(|config| config.bootstrap = a.addresses()).await;
    let hostile = Hostile::start(&version()).await;
    assert!(hostile.dial(&a.addresses()[0]).await);
    until("connected", || a.network.stats().peers == 2).await;
    let target = a.network.local_peer();
    // half a request each, and they are kept open; four are waited for at a time, until they are given up
    let mut held = vec![];
    while a.network.stats().requests_throttled < 40 {
        let mut stream = hostile.stream(target, protocol("request/1")).await.expect("it is not banned yet");
        drop(stream.write_all(&[0, 0, 0, 9, 1]).await);
        drop(stream.flush().await);
        held.push(stream);
    }
    let serve = async {
        loop {
            if let Event::Request { bytes, responder, .. } = a.events.recv().await.unwrap() {
                responder.answer(bytes).unwrap();
            }
        }
    };
    let ask = async {
        for number in 0..50u8 {
            let (_, answer) = honest.network.request(To::Peer(target), Bytes::from(vec![number])).await.unwrap();
            assert_eq!(answer, [number][..]);
        }
    };
    tokio::select! {
        () = serve => {}
        () = ask => {}
    }
    until("given up", || a.network.stats().requests_failed >= 4).await;
    drop(held);
    // whoever goes on and on is out
    for _ in 0..400 {
        let Some(mut stream) = hostile.stream(target, protocol("request/1")).await else { break };
        drop(stream.close().await);
        if a.network.stats().bans > 0 {
            break;
        }
    }
    until("banned", || a.network.stats().bans >= 1).await;
    until("dropped", || hostile.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_of_answers_hold_bounded_room() {
    let change = |config: &mut Config| {
        config.limits.serving_per_peer = 6;
        config.limits.answers_size = 16 << 20;
        config.limits.stall = Duration::from_secs(5);
    };
    let mut a = Node::start(change).await;
    let honest = Node::start(|config| config.bootstrap = a.addresses()).await;
    let hostile = Hostile::start(&version()).await;
    assert!(hostile.dial(&a.addresses()[0]).await);
    until("connected", || a.network.stats().peers == 2).await;
    let target = a.network.local_peer();
    let mut held = vec![];
    for _ in 0..6 {
        let mut stream = hostile.stream(target, protocol("request/1")).await.unwrap();
        stream.write_all(&[0, 0, 0, 1, 8]).await.unwrap();
        stream.close().await.unwrap();
        held.push(stream);
    }
    let serve = async {
        loop {
            if let Event::Request { bytes, responder, .. } = a.events.recv().await.unwrap() {
                let size = bytes.first().copied().unwrap_or_default();
                responder.answer(Bytes::from(vec![size; usize::from(size) << 20])).unwrap();
            }
        }
    };
    let ask = async {
        // two answers of 8 MiB fill the room: the other four are given up at once, and small answers still fit
        for _ in 0..20 {
            let (_, answer) = honest.network.request(To::Peer(target), Bytes::from_static(&[0])).await.unwrap();
            assert_eq!(answer, Bytes::new());
        }
    };
    tokio::select! {
        () = serve => {}
        () = ask => {}
    }
    drop(held);
    until("given up", || a.network.stats().requests_failed >= 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_another_chain_are_dropped() {
    let a = Node::start(|_| {}).await;
    // one that says so, one that is a node of another chain, one that says nothing
    let foreign = Hostile::start("/jove/8/abababababababab/1").await;
    foreign.dial(&a.addresses()[0]).await;
    until("dropped", || foreign.connections() == 0).await;
    let other = Node::start(|config| {
        config.chain.id = 8;
        config.bootstrap = a.addresses();
    })
    .await;
    until("both", || a.network.stats().foreign >= 2 || other.network.stats().foreign >= 1).await;
    until("dropped", || a.network.stats().peers == 0 && other.network.stats().peers == 0).await;
    assert!(a.network.stats().banned >= 1 && a.network.stats().bans == 0, "out for a while, and no offence");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_who_it_is_is_dropped() {
    let a = Node::start(|config| config.limits.identify = Duration::from_secs(2)).await;
    let good = Node::start(|config| config.bootstrap = a.addresses()).await;
    // a peer without identify: nothing but a transport
    let mut silent = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(libp2p::tcp::Config::default(), libp2p::noise::Config::new, libp2p::yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    silent.dial(a.addresses()[0].clone()).unwrap();
    let closed = async {
        use libp2p::{futures::StreamExt, swarm::SwarmEvent};
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = silent.select_next_some().await {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, closed).await.expect("dropped");
    assert!(a.network.stats().unidentified >= 1);
    let good = good.network.local_peer();
    until("the other stays", || a.network.peers().iter().map(|info| info.peer).eq([good])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_leaves_room_for_the_known() {
    let change = |config: &mut Config| {
        config.limits.inbound = 8;
        config.limits.pending = 32;
        config.limits.per_source = 16;
    };
    let mut a = Node::start(change).await;
    let address = a.addresses()[0].clone();
    // raw sockets from another address, that never say a word
    let port = address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let mut sockets = vec![];
    for _ in 0..100 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.66:0".parse().unwrap()).unwrap();
        sockets.push(socket.connect(([127, 0, 0, 1], port.unwrap()).into()).await.unwrap());
    }
    until("refused", || a.network.stats().refused >= 84).await;
    // many identities, which do speak
    let mut crowd = vec![];
    for _ in 0..24 {
        let hostile = Hostile::start(&version()).await;
        hostile.dial(&address).await;
        crowd.push(hostile);
    }
    until("no more than fit", || crowd.iter().map(Hostile::connections).sum::<usize>() <= 8).await;
    let stats = a.network.stats();
    assert!(stats.peers <= 8 && stats.refused > 84, "{stats:?}");
    // a validator still gets in
    let mut b = Node::start(|_| {}).await;
    join(&mut [&mut a, &mut b]).await;
    exchange(&mut a, &mut b, 100).await;
    assert!(a.network.stats().peers <= 9);
    drop(sockets);
}
