//! Jove's peer-to-peer network: authenticated streams among validators, gossip for everybody, requests for who has to catch up.
//!
//! Payloads are bytes. The network knows who sent them and bounds what they cost; the host, which is the consensus engine, gives them meaning.
//!
//! ```text
//!  host     send · broadcast      publish       request            Events, one bounded queue
//!              │                     │             │                   ▲
//!              ▼ direct              ▼ gossip      ▼ exchange          │ events     only what passed the limits
//!            a queue and a task    gossipsub     a stream each         │
//!            for each validator      │             │                   │
//!              └─────────────────────┴──────┬──────┴───────────────────┘
//!                                         node          one task drives the swarm; discovery
//!                                         gate, peers   who is let in; rates, penalties, bans
//!                                         transport     TCP, Noise, yamux; QUIC; throttled
//! ```
//!
//! # Who is who
//! A peer is its Ed25519 key ([`Identity`]), which every connection's handshake proves. The host says which peers are validators
//! ([`Network::set_validators`]); a message comes from a validator only if it came over a stream of that validator's peer.
//!
//! # Protocols
//! Names begin with the chain, `/jove/ID/GENESIS`, so that chains do not mix; a peer that identifies itself with another chain is dropped.
//!
//! | | for | specified in |
//! |---|---|---|
//! | `…/direct/1` | proposals, votes, certificates among validators | `direct` |
//! | `…/request/1` | a request and its answer | `exchange` |
//! | gossipsub, topics `…/blocks/1`, `…/transactions/1`, `…/certificates/1` | what everybody should have | `gossip` |
//! | `…/kad/1` | finding peers | `discovery` |
//! | identify, ping | libp2p's | |
//!
//! What two nodes agree on by content is in [`reconcile`] (sets of hashes, by Bloom filter) and [`crdt`] (what only grows).
//!
//! # What a hostile peer can do
//! Everything that it can make grow has a number in [`Limits`]: connections by source and peer, handshakes, streams and bytes a second (its writes wait), messages
//! and requests a second (charged before the host hears of them), sizes (checked before memory is taken), time, and all queues. Who
//! exceeds them, sends what does not decode, or is [reported](Network::report) by the host collects a penalty, and is disconnected and banned
//! ([`Offence`]). Replays within two minutes are dropped by content; older ones, and stale content, are the host's to ignore.
#![forbid(unsafe_code)]

mod bucket;
mod config;
mod counters;
pub mod crdt;
mod direct;
mod discovery;
mod error;
mod events;
mod exchange;
mod frame;
mod gate;
mod gossip;
mod handle;
mod identity;
mod node;
mod peers;
pub mod reconcile;
mod streams;
mod transport;

pub use config::{Chain, Config, Limits, Rate, Validator};
pub use counters::Stats;
pub use error::Error;
pub use events::{Event, Events};
pub use exchange::Responder;
pub use gossip::{IDONTWANT, Topic, Verdict};
pub use handle::{Network, To};
pub use identity::Identity;
pub use libp2p::{Multiaddr, PeerId};
pub use peers::{Offence, PeerInfo};
