//! What can go wrong.

use alloy_primitives::B256;
use libp2p::{Multiaddr, PeerId};
use std::{io, path::PathBuf};

/// What the network could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the node's identity or lists could not be read or written. Raised at start, and when a list changes.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An identity file does not hold a key. Raised at start; restore the file, or remove it to become a new peer.
    #[error("{0}: no key of a peer in it")]
    IdentityDamaged(PathBuf),
    /// Others than its owner may read an identity file. Raised at start; `chmod 600` it.
    #[error("{0}: readable by others than its owner (mode must be 600)")]
    IdentityExposed(PathBuf),
    /// A line of the file of lists is not one. Raised at start.
    #[error("{path}, line {line}: want 'allow PEER' or 'deny PEER'")]
    Lists {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A setting cannot work. Raised at start.
    #[error("{0}")]
    Config(String),
    /// A bootstrap address lacks its peer: `/p2p/PEER` at the end says who must answer there. Raised at start.
    #[error("{0}: a bootstrap address ends with /p2p/PEER")]
    BootstrapWithoutPeer(Multiaddr),
    /// An address could not be listened on. Raised at start.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: Multiaddr,
        /// Why.
        reason: String,
    },
    /// The transport could not be set up. Raised at start.
    #[error("transport: {0}")]
    Transport(String),
    /// No validator of the present set has this id, or it is this node itself.
    #[error("no validator {0}")]
    UnknownValidator(B256),
    /// There is no connection to the peer. Validators are redialled by themselves: try again later.
    #[error("not connected to {0}")]
    NotConnected(PeerId),
    /// No connected peer could be asked.
    #[error("no peer to ask")]
    NoPeer,
    /// No peer hears the topic; the message went nowhere.
    #[error("no peer subscribes to the topic")]
    NoSubscriber,
    /// The message is larger than the limit. Nothing was sent.
    #[error("{size} bytes, more than {max}")]
    TooLarge {
        /// Bytes offered, or announced by the peer.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// This message was published, or came from others, a short time ago.
    #[error("already published")]
    Duplicate,
    /// The queues to all peers are full.
    #[error("the peers do not keep up")]
    Congested,
    /// The peer did not answer in time. Ask another.
    #[error("no answer in time")]
    Timeout,
    /// The peer will not answer this request.
    #[error("refused")]
    Refused,
    /// The peer closed without an answer: busy, or this node asks too often.
    #[error("closed without an answer")]
    Busy,
    /// The peer does not speak the protocol: another version, or no node of this chain.
    #[error("the peer does not speak this protocol")]
    Unsupported,
    /// The connection failed under way.
    #[error("connection: {0}")]
    Connection(#[from] io::Error),
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}
