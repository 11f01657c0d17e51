//! Gossip: messages that everybody should have, forwarded by each node that finds them good.
//!
//! libp2p's gossipsub, with these choices:
//! - **Anonymous.** A message has no author, sequence number or signature; its id is the first 20 bytes of SHA-256(topic ‖ 0 ‖ bytes), so the same bytes are the same
//!   message whoever sends them. Blocks, transactions and certificates carry their own signatures: one more would cost 64 bytes and a
//!   verification a hop, prove nothing, and tell who sent a transaction first. Blame goes to the peer that forwarded.
//! - **Validated first.** Nothing is forwarded before the host's [`Verdict`].
//! - **Scored.** Invalid messages and broken promises lower a peer's score, being the first with good ones raises it. The penalty of
//!   [`Offence`](crate::Offence) counts in it, a little, and a score at the bottom is a penalty. Rates of delivery are not scored: topics may be silent for hours.
//! - **Topics** are named by chain and fixed; subscriptions to others are refused.
//! - From [`IDONTWANT`] bytes on, a node that has a message says so (gossipsub 1.2) before duplicates of it are sent.

use crate::{Chain, Error, Limits};
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter, MessageAcceptance,
    MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash, TopicScoreParams, ValidationMode,
    WhitelistSubscriptionFilter,
};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, time::Duration};
use tokio::sync::mpsc;

/// Messages above this size are announced before duplicates are sent.
pub const IDONTWANT: usize = 1_024;
/// How long a message's id is remembered: the same bytes are not delivered again before.
const REMEMBERED: Duration = Duration::from_secs(120);
/// The score below which gossipsub listens to a peer no more.
pub(crate) const GRAYLIST: f64 = -80.0;
/// Messages waiting for one peer.
const QUEUE: usize = 256;

/// What gossip is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Sealed blocks.
    Blocks,
    /// Transactions.
    Transactions,
    /// Certificates, for those who are no validators.
    Certificates,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 3] = [Self::Blocks, Self::Transactions, Self::Certificates];

    /// Its name, without the chain.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Transactions => "transactions",
            Self::Certificates => "certificates",
        }
    }

    pub(crate) fn ident(self, chain: &Chain) -> IdentTopic {
        IdentTopic::new(format!("{}/{}/1", chain.prefix(), self.name()))
    }
}

pub(crate) type Gossip =
    gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>>;

/// Gossipsub, subscribed to `topics`; and which hash is which topic.
pub(crate) fn build(
    chain: &Chain,
    topics: &[Topic],
    limits: &Limits,
) -> Result<(Gossip, HashMap<TopicHash, Topic>), Error> {
    let hashes: HashMap<_, _> = Topic::ALL.iter().map(|topic| (topic.ident(chain).hash(), *topic)).collect();
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| id(message.topic.as_str(), &message.data))
        // the envelope around the bytes is less than this
        .max_transmit_size(limits.gossip_size + 4_096)
        .duplicate_cache_time(REMEMBERED)
        .idontwant_message_size_threshold(IDONTWANT)
        .connection_handler_queue_len(QUEUE)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .flood_publish(false)
        .build()
        .map_err(|error| Error::Config(error.to_string()))?;
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(hashes.keys().cloned().collect()),
        max_subscribed_topics: Topic::ALL.len(),
        max_subscriptions_per_request: Topic::ALL.len() * 2,
    };
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
        .map_err(|error| Error::Config(error.to_owned()))?;
    let (params, thresholds) = scores(hashes.keys());
    gossip.with_peer_score(params, thresholds).map_err(Error::Config)?;
    for topic in topics {
        gossip.subscribe(&topic.ident(chain)).map_err(|error| Error::Config(error.to_string()))?;
    }
    Ok((gossip, hashes))
}

fn scores<'a>(topics: impl Iterator<Item = &'a TopicHash>) -> (PeerScoreParams, PeerScoreThresholds) {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: 0.95,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -5.0,
        invalid_message_deliveries_decay: 0.98,
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: topics.map(|hash| (hash.clone(), topic.clone())).collect(),
        topic_score_cap: 20.0,
        app_specific_weight: 1.0,
        // the gate counts connections by address
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 4.0,
        behaviour_penalty_decay: 0.9,
        retain_score: Duration::from_secs(600),
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: -40.0,
        graylist_threshold: GRAYLIST,
        accept_px_threshold: 100.0,
        opportunistic_graft_threshold: 1.0,
    };
    (params, thresholds)
}

fn id(topic: &str, data: &[u8]) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(topic.as_bytes());
    hash.update([0]);
    hash.update(data);
    MessageId::new(&hash.finalize()[..20])
}

/// A verdict on its way: which message, and what is said of it.
pub(crate) type Given = (u64, MessageAcceptance);

/// What the host says of a gossip message, once. Dropped, it means [`ignore`](Self::ignore); later than [`Limits::verdict`](crate::Limits::verdict) it has
/// no effect.
#[derive(Debug)]
pub struct Verdict {
    key: u64,
    verdicts: Option<mpsc::Sender<Given>>,
}

impl Verdict {
    pub(crate) fn new(key: u64, verdicts: mpsc::Sender<Given>) -> Self {
        Self { key, verdicts: Some(verdicts) }
    }

    /// The message is good: it goes on to other peers.
    pub fn accept(mut self) {
        self.give(MessageAcceptance::Accept);
    }

    /// The message goes no further, and nobody is to blame: it is old, known, or cannot be judged.
    pub fn ignore(mut self) {
        self.give(MessageAcceptance::Ignore);
    }

    /// The message breaks a rule that every honest node checks before it forwards: the peer is to blame.
    pub fn reject(mut self) {
        self.give(MessageAcceptance::Reject);
    }

    fn give(&mut self, acceptance: MessageAcceptance) {
        if let Some(verdicts) = self.verdicts.take() {
            // there is room for a verdict on everything that waits for one; what the deadline took is decided already
            let _ = verdicts.try_send((self.key, acceptance));
        }
    }
}

impl Drop for Verdict {
    fn drop(&mut self) {
        self.give(MessageAcceptance::Ignore);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    #[test]
    fn builds_and_names_topics_by_chain() {
        let chain = Chain { id: 1, genesis: B256::ZERO };
        let (gossip, hashes) = build(&chain, &Topic::ALL, &Limits::default()).unwrap();
        assert_eq!(gossip.topics().count(), 3);
        assert_eq!(hashes.len(), 3);
        let other = Chain { id: 2, genesis: B256::ZERO };
        assert!(Topic::ALL.iter().all(|topic| !hashes.contains_key(&topic.ident(&other).hash())));
    }

    #[test]
    fn ids_are_of_the_content() {
        assert_eq!(id("t", b"a"), id("t", b"a"));
        assert_ne!(id("t", b"a"), id("t", b"b"));
        assert_ne!(id("t", b"a"), id("u", b"a"));
        assert_eq!(id("t", b"a").0.len(), 20);
    }

    #[test]
    fn a_verdict_is_given_once() {
        let (sender, mut receiver) = mpsc::channel(4);
        Verdict::new(1, sender.clone()).accept();
        Verdict::new(2, sender.clone()).reject();
        drop(Verdict::new(3, sender.clone()));
        Verdict::new(4, sender.clone()).ignore();
        Verdict::new(5, sender).accept();
        let given: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).map(|(key, _)| key).collect();
        assert_eq!(given, [1, 2, 3, 4], "beyond the room there is none");
    }
}
