//! Honest nodes on the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::{Node, QUIC, TCP, join, until};
use jove_network::{Error, Event, Network, PeerId, To, Topic, Validator};
use libp2p::futures::future::join_all;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn direct_messages_arrive_in_order_over_tcp_and_quic() {
    for listen in [TCP, QUIC] {
        let start = |config: &mut jove_network::Config| config.listen = vec![listen.parse().unwrap()];
        let (mut a, mut b) = (Node::start(start).await, Node::start(start).await);
        join(&mut [&mut a, &mut b]).await;
        for number in 0..2_000u32 {
            a.network.send(b.id, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        }
        let large = Bytes::from(vec![7; 1 << 20]);
        a.network.broadcast(large.clone()).unwrap();
        a.network.send(b.id, Bytes::new()).unwrap();
        for number in 0..2_000u32 {
            assert_eq!(b.direct(a.id).await, number.to_be_bytes()[..]);
        }
        assert_eq!(b.direct(a.id).await, large);
        assert_eq!(b.direct(a.id).await, Bytes::new());
        b.network.send(a.id, Bytes::from_static(b"back")).unwrap();
        assert_eq!(a.direct(b.id).await, "back");

        let stats = (a.network.stats(), b.network.stats());
        assert_eq!((stats.0.direct_sent, stats.1.direct_received, stats.0.direct_dropped), (2_002, 2_002, 0));
        let info = &a.network.peers()[0];
        assert_eq!((info.validator, info.penalty), (Some(b.id), 0.0));

        assert!(matches!(a.network.send(a.id, Bytes::new()), Err(Error::UnknownValidator(_))));
        let huge = Bytes::from(vec![0; (1 << 20) + 1]);
        assert!(matches!(a.network.broadcast(huge), Err(Error::TooLarge { .. })));
    }
}

/// These validators, without addresses: whoever is not found by discovery is not found.
fn unplaced(nodes: &[Node]) -> Vec<Validator> {
    let mut validators: Vec<_> = nodes.iter().map(Node::validator).collect();
    validators.iter_mut().for_each(|validator| validator.addresses.clear());
    validators
}

/// A node that all know, and so many validators that have found each other through it.
async fn found(count: usize) -> (Node, Vec<Node>) {
    let seed = Node::start(|_| {}).await;
    let mut nodes = vec![];
    for _ in 0..count {
        nodes.push(Node::start(|config| config.bootstrap = seed.addresses()).await);
    }
    let validators = unplaced(&nodes);
    for node in &nodes {
        node.network.set_validators(validators.clone()).await.unwrap();
    }
    for node in &mut nodes {
        let others: Vec<_> = validators.iter().map(|one| one.id).filter(|id| *id != node.id).collect();
        node.connected(&others).await;
    }
    (seed, nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_find_each_other_through_one_and_one_comes_back() {
    let (seed, mut nodes) = found(7).await;
    let bootstrap = seed.addresses();
    let validators = unplaced(&nodes);
    let ids: Vec<_> = nodes.iter().map(|node| node.id).collect();
    until("a mesh", || nodes.iter().all(|node| node.network.stats().mesh >= 3)).await;
    for node in &nodes {
        node.network.broadcast(Bytes::copy_from_slice(&node.id[..])).unwrap();
    }
    for node in &mut nodes {
        let me = node.id;
        let mut missing: Vec<_> = ids.iter().filter(|id| **id != me).copied().collect();
        while !missing.is_empty() {
            if let Event::Direct { from, bytes } = node.next().await {
                assert_eq!(bytes, from[..], "each id stands for its own peer");
                missing.retain(|id| *id != from);
            }
        }
    }
    nodes[2].network.publish(Topic::Blocks, Bytes::from_static(b"block")).await.unwrap();
    // at once: what one has is for it to accept, or others may not have it
    let heard = nodes.iter_mut().enumerate().filter(|(index, _)| *index != 2).map(|(_, node)| node.gossip());
    assert!(join_all(heard).await.iter().all(|bytes| bytes == "block"));

    // one dies, and the others notice; it comes back elsewhere under its key, and knows nobody but the seed
    let Node { network, events, identity, id } = nodes.remove(4);
    drop((network, events));
    for node in &mut nodes {
        node.disconnected(id).await;
    }
    nodes[0].network.send(id, Bytes::from_static(b"while you were away")).unwrap();
    let mut back = Node::start_as(identity, |config| config.bootstrap = bootstrap.clone()).await;
    back.network.set_validators(validators).await.unwrap();
    for node in &mut nodes {
        node.connected(&[id]).await;
    }
    assert_eq!(back.direct(nodes[0].id).await, "while you were away");
    until("a mesh", || back.network.stats().mesh >= 1).await;
    nodes[5].network.publish(Topic::Certificates, Bytes::from_static(b"certificate")).await.unwrap();
    // it is new to the mesh: what was published before may be offered to it again, and comes first then
    let heard = back.find(|event| match event {
        Event::Gossip { topic: Topic::Certificates, bytes, .. } => Some(bytes),
        _ => None,
    });
    let others = join_all(nodes[..5].iter_mut().map(Node::gossip));
    let (heard, _) = tokio::join!(heard, others);
    assert_eq!(heard, "certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_that_are_gone_are_looked_for_with_pauses() {
    let (_seed, mut nodes) = found(5).await;
    // three go, and everybody who is asked still has their addresses: a search that fails must not begin the next
    let gone: Vec<_> = nodes.drain(..3).map(|node| node.id).collect();
    for node in &mut nodes {
        let mut missing = gone.clone();
        while !missing.is_empty() {
            if let Event::Disconnected(id) = node.next().await {
                missing.retain(|missing| *missing != id);
            }
        }
    }
    until("dials", || nodes.iter().all(|node| node.network.stats().dials_failed >= 3)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for node in &nodes {
        // each pause is longer than the last; without pauses there are thousands a second
        let failed = node.network.stats().dials_failed;
        assert!(failed < 300, "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_goes_on_only_where_it_is_accepted() {
    // a line: the first and the last never meet
    let mut last = Node::start(|_| {}).await;
    let mut middle = Node::start(|config| config.bootstrap = last.addresses()).await;
    let first = Node::start(|config| {
        config.bootstrap = middle.addresses();
        config.deny = vec![last.network.local_peer()];
    })
    .await;
    until("a mesh", || [&first, &middle, &last].iter().all(|node| node.network.stats().mesh >= 1)).await;
    until("the line", || middle.network.stats().peers == 2 && middle.network.stats().mesh == 2).await;

    for text in ["ignored", "rejected", "dropped", "accepted"] {
        first.network.publish(Topic::Transactions, Bytes::from_static(text.as_bytes())).await.unwrap();
        let from = middle
            .find(|event| match event {
                Event::Gossip { topic: Topic::Transactions, bytes, verdict, from } => {
                    match &bytes[..] {
                        b"ignored" => verdict.ignore(),
                        b"rejected" => verdict.reject(),
                        b"accepted" => verdict.accept(),
                        _ => drop(verdict),
                    }
                    Some(from)
                }
                _ => None,
            })
            .await;
        assert_eq!(from, first.network.local_peer());
    }
    assert_eq!(last.gossip().await, "accepted", "what came before was not forwarded");
    let stats = middle.network.stats();
    assert_eq!((stats.gossip_received, stats.gossip_accepted, stats.gossip_rejected), (4, 1, 1));
    let info = middle.network.peers().into_iter().find(|info| info.peer == first.network.local_peer()).unwrap();
    assert!(info.penalty > 15.0 && info.penalty <= 30.0, "half is forgotten in five minutes: {}", info.penalty);

    // the same bytes again are the same message
    let again = first.network.publish(Topic::Transactions, Bytes::from_static(b"accepted")).await;
    assert!(matches!(again, Err(Error::Duplicate)));
    let huge = Bytes::from(vec![0; (1 << 20) + 1]);
    assert!(matches!(first.network.publish(Topic::Blocks, huge).await, Err(Error::TooLarge { .. })));
    let large = Bytes::from(vec![1; 1 << 20]);
    first.network.publish(Topic::Blocks, large.clone()).await.unwrap();
    assert_eq!(middle.gossip().await, large);
    assert_eq!(last.gossip().await, large);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_refused_or_fail_by_name() {
    let mut server = Node::start(|_| {}).await;
    let client = Node::start(|config| config.bootstrap = server.addresses()).await;
    assert!(matches!(
        client.network.request(To::Peer(PeerId::random()), Bytes::new()).await,
        Err(Error::NotConnected(_))
    ));
    assert!(matches!(
        client.network.request(To::Validator(server.id), Bytes::new()).await,
        Err(Error::UnknownValidator(_))
    ));
    let peer = server.network.local_peer();
    client.network.set_validators(vec![server.validator()]).await.unwrap();
    until("identified", || client.network.peers().iter().any(|info| info.agent.starts_with("jove/"))).await;
    let id = server.id;
    let serve = async {
        loop {
            let Event::Request { bytes, responder, .. } = server.next().await else { continue };
            match &bytes[..] {
                b"refuse" => responder.refuse(),
                b"drop" => drop(responder),
                b"huge" => assert!(matches!(
                    responder.answer(Bytes::from(vec![0; (8 << 20) + 1])),
                    Err(Error::TooLarge { .. })
                )),
                b"large" => responder.answer(Bytes::from(vec![3; 8 << 20])).unwrap(),
                _ => responder.answer(bytes).unwrap(),
            }
        }
    };
    let ask = async {
        for to in [To::Any, To::Peer(peer), To::Validator(id)] {
            let (from, answer) = client.network.request(to, Bytes::from_static(b"echo")).await.unwrap();
            assert_eq!((from, answer), (peer, Bytes::from_static(b"echo")));
        }
        assert_eq!(client.network.request(To::Any, Bytes::new()).await.unwrap().1, Bytes::new());
        for word in ["refuse", "drop", "huge"] {
            let answer = client.network.request(To::Any, Bytes::from_static(word.as_bytes())).await;
            assert!(matches!(answer, Err(Error::Refused)), "{word}: {answer:?}");
        }
        let (_, answer) = client.network.request(To::Any, Bytes::from_static(b"large")).await.unwrap();
        assert_eq!(answer, vec![3; 8 << 20]);
        let long = Bytes::from(vec![0; (64 << 10) + 1]);
        assert!(matches!(client.network.request(To::Any, long).await, Err(Error::TooLarge { .. })));
    };
    tokio::select! {
        () = serve => unreachable!(),
        () = ask => {}
    }
    let stats = client.network.stats();
    assert_eq!((stats.requests_answered, client.network.peers()[0].answered.0), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_set_is_no_longer_heard() {
    let (mut a, mut b, mut c) = (Node::start(|_| {}).await, Node::start(|_| {}).await, Node::start(|_| {}).await);
    join(&mut [&mut a, &mut b, &mut c]).await;
    a.network.set_validators(vec![a.validator(), b.validator()]).await.unwrap();
    c.disconnected(a.id).await;
    until("refused", || a.network.stats().direct_refused >= 1).await;
    assert!(matches!(a.network.send(c.id, Bytes::new()), Err(Error::UnknownValidator(_))));
    c.network.broadcast(Bytes::from_static(b"from c")).unwrap();
    assert_eq!(b.direct(c.id).await, "from c");
    b.network.broadcast(Bytes::from_static(b"from b")).unwrap();
    let first = a.find(|event| match event {
        Event::Direct { from, bytes } => Some((from, bytes)),
        _ => None,
    });
    assert_eq!(first.await, (b.id, Bytes::from_static(b"from b")));

    let twice = vec![a.validator(), a.validator()];
    assert!(matches!(a.network.set_validators(twice).await, Err(Error::Config(_))));
    // back in the set: redialled without anybody's help
    let all = vec![a.validator(), b.validator(), c.validator()];
    a.network.set_validators(all).await.unwrap();
    a.connected(&[c.id]).await;
    c.connected(&[a.id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_work_while_running_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let lists = Some(folder.path().join("lists"));
    // an address of its own: nobody takes its port while it is restarted
    let a = Node::start(|config| {
        config.lists = lists.clone();
        config.listen = vec!["/ip4/127.0.0.9/tcp/0".parse().unwrap()];
    })
    .await;
    let b = Node::start(|config| config.bootstrap = a.addresses()).await;
    let peer = b.network.local_peer();
    until("connected", || a.network.stats().peers == 1).await;
    a.network.deny(peer).unwrap();
    until("disconnected", || a.network.stats().peers == 0).await;
    until("refused", || a.network.stats().refused >= 1).await;
    assert_eq!(a.network.lists(), (vec![], vec![peer]));

    let Node { network, events, identity, .. } = a;
    let address = network.listen_addresses().remove(0);
    drop((network, events));
    let restarted = Node::start_as(identity, |config| {
        config.lists = lists;
        config.listen = vec![address.clone()];
    });
    let a = restarted.await;
    until("refused again", || a.network.stats().refused >= 1).await;
    a.network.unlist(peer).unwrap();
    until("let in again", || a.network.stats().peers == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_at_start() {
    let config = || jove_network::Config::new(jove_network::Identity::generate(), common::CHAIN);
    let mut without_peer = config();
    without_peer.bootstrap = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    assert!(matches!(Network::start(without_peer).await, Err(Error::BootstrapWithoutPeer(_))));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut busy = config();
    busy.listen = vec![format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port()).parse().unwrap()];
    assert!(matches!(Network::start(busy).await, Err(Error::Listen { .. })));
    let mut nonsense = config();
    nonsense.limits.gossip_size = 0;
    assert!(matches!(Network::start(nonsense).await, Err(Error::Config(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_the_last_handle_goes() {
    let mut a = Node::start(|_| {}).await;
    let mut b = Node::start(|_| {}).await;
    join(&mut [&mut a, &mut b]).await;
    let copy = a.network.clone();
    drop(a.network);
    copy.broadcast(Bytes::from_static(b"still here")).unwrap();
    assert_eq!(b.direct(a.id).await, "still here");
    drop(copy);
    while a.events.recv().await.is_some() {}
    b.disconnected(a.id).await;
}
