use super::*;
use crate::{Chain, Config, Identity, Rate};

fn limits() -> Limits {
    Limits {
        inbound: 4,
        outbound: 2,
        per_peer: 2,
        per_source: 3,
        pending: 5,
        new_connections: Rate::new(1, 4),
        banned_per_source: 2,
        gossip: Rate::new(1, 10),
        verdicts_per_peer: 2,
        serving_per_peer: 2,
        remembered: 8,
        ..Limits::default()
    }
}

fn peers_with(change: impl FnOnce(&mut Config)) -> Peers {
    let mut config = Config::new(Identity::generate(), Chain { id: 1, genesis: B256::ZERO });
    config.limits = limits();
    change(&mut config);
    Peers::new(&config, HashSet::new(), Arc::new(Counters::new())).unwrap()
}

fn peers() -> Peers {
    peers_with(|_| {})
}

fn at(ip: &str) -> Multiaddr {
    format!("/ip4/{ip}/tcp/9").parse().unwrap()
}

struct Ids(usize);

impl Ids {
    fn next(&mut self) -> ConnectionId {
        self.0 += 1;
        ConnectionId::new_unchecked(self.0)
    }
}

/// Admits and connects.
fn join(
    peers: &mut Peers,
    ids: &mut Ids,
    peer: PeerId,
    ip: &str,
    inbound: bool,
    now: Instant,
) -> Result<ConnectionId, Refusal> {
    peers.admit(&peer, &at(ip), inbound, now)?;
    let id = ids.next();
    peers.connected_by(id, peer, at(ip), inbound, now);
    Ok(id)
}

#[test]
fn sources() {
    let of = |text: &str| source(&text.parse().unwrap());
    assert_eq!(of("/ip4/1.2.3.4/tcp/1"), of("/ip4/1.2.3.4/udp/9/quic-v1"));
    assert_eq!(of("/ip6/2001:db8:1:2:3::1/tcp/1"), of("/ip6/2001:db8:1:2:ffff::9/tcp/1"));
    assert_ne!(of("/ip6/2001:db8:1:2::1/tcp/1"), of("/ip6/2001:db8:1:3::1/tcp/1"));
    assert_eq!(of("/ip6/::ffff:1.2.3.4/tcp/1"), of("/ip4/1.2.3.4/tcp/1"));
    assert_eq!(of("/dns4/example.org/tcp/1"), None);
}

#[test]
fn room_is_limited_in_all_by_peer_and_by_source() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let first = PeerId::random();
    let one = join(&mut peers, &mut ids, first, "1.0.0.1", true, now).unwrap();
    join(&mut peers, &mut ids, first, "1.0.0.1", true, now).unwrap();
    assert_eq!(join(&mut peers, &mut ids, first, "1.0.0.1", true, now), Err(Refusal::PeerFull));
    join(&mut peers, &mut ids, PeerId::random(), "1.0.0.1", true, now).unwrap();
    assert_eq!(join(&mut peers, &mut ids, PeerId::random(), "1.0.0.1", true, now), Err(Refusal::SourceFull));
    join(&mut peers, &mut ids, PeerId::random(), "1.0.0.2", true, now).unwrap();
    assert_eq!(join(&mut peers, &mut ids, PeerId::random(), "1.0.0.3", true, now), Err(Refusal::Full));
    for _ in 0..2 {
        join(&mut peers, &mut ids, PeerId::random(), "1.0.0.1", false, now).unwrap();
    }
    assert!(!peers.outbound_room());
    assert_eq!(join(&mut peers, &mut ids, PeerId::random(), "1.0.0.9", false, now), Err(Refusal::Full));

    // known peers always have room
    let validator = PeerId::random();
    peers.set_validators([(validator, B256::ZERO)].into());
    join(&mut peers, &mut ids, validator, "1.0.0.1", true, now).unwrap();
    // and what closes makes room
    assert!(!peers.disconnected(one, &first));
    join(&mut peers, &mut ids, PeerId::random(), "1.0.0.3", true, now).unwrap();
}

#[test]
fn handshakes_are_limited() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let knocks: Vec<_> = (0..3).map(|_| ids.next()).collect();
    for id in &knocks {
        peers.knock(*id, &at("1.0.0.1"), now).unwrap();
    }
    assert_eq!(peers.knock(ids.next(), &at("1.0.0.1"), now), Err(Refusal::SourceFull));
    peers.knocked(knocks[0]);
    assert_eq!(peers.knock(ids.next(), &at("1.0.0.1"), now), Err(Refusal::SourceFast));
    peers.knock(ids.next(), &at("1.0.0.1"), now + Duration::from_secs(1)).unwrap();
    peers.knock(ids.next(), &at("1.0.0.2"), now).unwrap();
    peers.knock(ids.next(), &at("1.0.0.3"), now).unwrap();
    assert_eq!(peers.knock(ids.next(), &at("1.0.0.4"), now), Err(Refusal::Full));
    assert_eq!(peers.pending.len(), 5);
}

#[test]
fn sources_are_forgotten() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    for number in 0..200u8 {
        let id = ids.next();
        peers.knock(id, &at(&format!("1.0.0.{number}")), now).unwrap();
        peers.knocked(id);
    }
    assert_eq!(peers.sources.len(), 200);
    peers.tick(now + Duration::from_secs(10));
    assert_eq!(peers.sources.len(), 0);
}

#[test]
fn penalties_fade_and_bans_outlive_connections() {
    let (mut peers, mut ids, mut now) = (peers(), Ids(0), Instant::now());
    let peer = PeerId::random();
    let id = join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
    for _ in 0..3 {
        peers.report(&peer, Offence::Invalid, now);
    }
    now += Duration::from_secs(300);
    assert!((peers.infos(now)[0].penalty - 45.0).abs() < 0.1, "half is forgotten");
    peers.report(&peer, Offence::Malformed, now);
    assert_eq!(peers.refused(&peer, now), None);
    peers.report(&peer, Offence::Malformed, now);
    assert_eq!(peers.refused(&peer, now), Some(Refusal::Banned));
    assert_eq!(peers.take_closing(Waker::noop()), [peer]);
    assert!(peers.disconnected(id, &peer));
    peers.tick(now);
    now += Duration::from_secs(599);
    peers.tick(now);
    assert_eq!(join(&mut peers, &mut ids, peer, "1.0.0.1", true, now), Err(Refusal::Banned));
    now += Duration::from_secs(2);
    join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
    // the second ban is twice as long
    peers.report(&peer, Offence::Forged, now);
    assert_eq!(peers.refused(&peer, now + Duration::from_secs(1_199)), Some(Refusal::Banned));
    assert_eq!(peers.refused(&peer, now + Duration::from_secs(1_201)), None);
}

#[test]
fn validators_are_banned_for_seconds_only() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let peer = PeerId::random();
    peers.set_validators([(peer, B256::ZERO)].into());
    join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
    peers.report(&peer, Offence::Forged, now);
    assert_eq!(peers.refused(&peer, now + Duration::from_secs(29)), Some(Refusal::Banned));
    assert_eq!(peers.refused(&peer, now + Duration::from_secs(31)), None);
}

#[test]
fn a_flood_is_a_ban() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let peer = PeerId::random();
    join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
    assert_eq!((0..19).filter(|_| peers.spend(&peer, Spending::Gossip, now)).count(), 10);
    assert_eq!(peers.refused(&peer, now), None);
    assert!(!peers.spend(&peer, Spending::Gossip, now));
    assert_eq!(peers.refused(&peer, now), Some(Refusal::Banned), "a burst's worth too many");
    assert!(!peers.spend(&PeerId::random(), Spending::Gossip, now), "nobody knows it");
}

#[test]
fn a_new_connection_is_no_new_allowance() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let peer = PeerId::random();
    let mut passed = 0;
    for _ in 0..5 {
        let id = join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
        passed += (0..10).take_while(|_| peers.spend(&peer, Spending::Gossip, now)).count();
        peers.disconnected(id, &peer);
        peers.tick(now);
    }
    assert_eq!(passed, 10);
    peers.tick(now + Duration::from_secs(3_000));
    assert_eq!(peers.records.len(), 0);
}

#[test]
fn many_identities_of_one_source_close_it() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    for _ in 0..2 {
        let peer = PeerId::random();
        let id = join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
        peers.report(&peer, Offence::Forged, now);
        peers.disconnected(id, &peer);
    }
    assert_eq!(join(&mut peers, &mut ids, PeerId::random(), "1.0.0.1", true, now), Err(Refusal::SourceBanned));
    join(&mut peers, &mut ids, PeerId::random(), "1.0.0.2", true, now).unwrap();
    let later = now + Duration::from_secs(601);
    join(&mut peers, &mut ids, PeerId::random(), "1.0.0.1", true, later).unwrap();
}

#[test]
fn memory_of_peers_is_bounded_and_bans_go_last() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let banned = PeerId::random();
    let id = join(&mut peers, &mut ids, banned, "1.0.0.1", true, now).unwrap();
    peers.report(&banned, Offence::Forged, now);
    peers.disconnected(id, &banned);
    for number in 0..100u8 {
        let peer = PeerId::random();
        let id = join(&mut peers, &mut ids, peer, &format!("2.0.0.{number}"), true, now).unwrap();
        peers.report(&peer, Offence::Invalid, now);
        peers.disconnected(id, &peer);
        peers.tick(now);
        assert!(peers.records.len() <= 8);
    }
    assert_eq!(peers.refused(&banned, now), Some(Refusal::Banned));
    peers.tick(now + Duration::from_secs(3_600));
    assert_eq!(peers.records.len(), 0, "penalties and bans are forgotten in the end");
}

#[test]
fn lists_persist_and_deny_is_stronger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists");
    let (friend, foe) = (PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut ids = Ids(0);
    {
        let mut peers = peers_with(|config| config.lists = Some(path.clone()));
        join(&mut peers, &mut ids, foe, "1.0.0.1", true, now).unwrap();
        peers.list(foe, Some(false)).unwrap();
        assert_eq!(peers.take_closing(Waker::noop()), [foe]);
        peers.list(friend, Some(true)).unwrap();
    }
    let mut peers = peers_with(|config| {
        config.lists = Some(path.clone());
        config.private = true;
        config.allow = vec![foe];
    });
    assert_eq!(
        peers.lists(),
        (vec![friend, foe].into_iter().collect::<BTreeSet<_>>().into_iter().collect(), vec![foe])
    );
    assert_eq!(peers.refused(&foe, now), Some(Refusal::Denied));
    assert_eq!(peers.refused(&friend, now), None);
    assert_eq!(peers.refused(&PeerId::random(), now), Some(Refusal::Private));
    peers.list(foe, None).unwrap();
    assert_eq!(peers.refused(&foe, now), None);

    std::fs::write(&path, "allow me\n").unwrap();
    let mut config = Config::new(Identity::generate(), Chain { id: 1, genesis: B256::ZERO });
    config.lists = Some(path);
    let counters = Arc::new(Counters::new());
    assert!(matches!(Peers::new(&config, HashSet::new(), counters), Err(Error::Lists { line: 1, .. })));
}

#[test]
fn allowing_ends_a_ban() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let peer = PeerId::random();
    let id = join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
    peers.report(&peer, Offence::Forged, now);
    peers.disconnected(id, &peer);
    peers.list(peer, Some(true)).unwrap();
    join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
}

#[test]
fn who_does_not_identify_itself_is_dropped() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let (silent, known) = (PeerId::random(), PeerId::random());
    join(&mut peers, &mut ids, silent, "1.0.0.1", true, now).unwrap();
    join(&mut peers, &mut ids, known, "1.0.0.1", true, now).unwrap();
    peers.identified(&known, "jove/1\n\u{7}\u{202e}evil");
    peers.tick(now + Duration::from_secs(14));
    assert_eq!(peers.take_closing(Waker::noop()), []);
    peers.tick(now + Duration::from_secs(16));
    assert_eq!(peers.take_closing(Waker::noop()), [silent]);
    let info = peers.infos(now).into_iter().find(|info| info.peer == known).unwrap();
    assert_eq!(info.agent, "jove/1evil", "printable only");
}

#[test]
fn places_are_given_back() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let peer = PeerId::random();
    join(&mut peers, &mut ids, peer, "1.0.0.1", true, now).unwrap();
    assert_eq!((0..5).filter(|_| peers.hold_gossip(&peer)).count(), 2);
    assert_eq!((0..5).filter(|_| peers.hold_serving(&peer)).count(), 2);
    peers.release_gossip(&peer);
    peers.release_serving(&peer);
    assert!(peers.hold_gossip(&peer) && peers.hold_serving(&peer));
}

#[test]
fn the_best_peer_is_asked() {
    let (mut peers, mut ids, now) = (peers(), Ids(0), Instant::now());
    let [quick, slow, silent] = [PeerId::random(), PeerId::random(), PeerId::random()];
    for (peer, ip) in [(quick, "1.0.0.1"), (slow, "1.0.0.2"), (silent, "1.0.0.3")] {
        join(&mut peers, &mut ids, peer, ip, true, now).unwrap();
    }
    assert_eq!(peers.best(now), None, "nobody said who it is");
    peers.identified(&quick, "");
    peers.identified(&slow, "");
    peers.latency(&quick, Duration::from_millis(5));
    peers.latency(&slow, Duration::from_millis(500));
    assert_eq!(peers.best(now), Some(quick));
    peers.asking(&quick);
    assert_eq!(peers.best(now), Some(slow), "questions are spread");
    peers.asked(&quick, None);
    assert_eq!(peers.best(now), Some(slow), "who fails is asked less");
    peers.report(&slow, Offence::Malformed, now);
    assert_eq!(peers.best(now), Some(quick));
}
