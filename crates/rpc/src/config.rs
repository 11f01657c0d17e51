//! What the server listens on, and its limits.

use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where the server listens and what it allows. Every field has a default, so a configuration names only what differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address of HTTP and WebSocket. Default `127.0.0.1:8545`.
    pub http_addr: SocketAddr,
    /// Unix socket of IPC. Default none.
    pub ipc_path: Option<PathBuf>,
    /// Most bytes in a request: an HTTP body, a WebSocket message, a JSON value on IPC. Default 5 MiB.
    pub max_body_bytes: usize,
    /// Most calls in a batch. Default 1,000.
    pub max_batch: usize,
    /// Most bytes in an answer, a whole batch's included. Default 25 MB.
    pub max_response_bytes: usize,
    /// Most connections, HTTP, WebSocket and IPC together; further ones are closed at once. Default 1,024.
    pub max_connections: usize,
    /// Most HTTP and WebSocket connections of one client address (of a /64 network in IPv6); 0: no limit but the one before, as a node behind
    /// a proxy needs: then clients are not told apart, and no other limit is by address but the rate. Default 512.
    pub max_connections_per_address: usize,
    /// Most subscriptions of one connection. Default 128.
    pub max_subscriptions: usize,
    /// Most bytes of answers and notifications that wait for their clients to read them, in all, beyond 256 KiB for each connection; one
    /// client address may take an eighth, IPC any part. An answer that finds no room is an error instead; a subscriber is
    /// disconnected, as it is when `max_response_bytes` wait for it alone. Default 256 MiB.
    pub max_unread_bytes: usize,
    /// Most bytes of requests that are not answered yet, in all, from the first byte read; beyond, for each connection, 64 KiB that are
    /// answered and 64 KiB that are not a whole request yet. One client address may take an eighth, IPC any part. An HTTP
    /// request that finds no room is refused (503); a WebSocket or IPC connection is closed. What a WebSocket or IPC connection reads
    /// into keeps the size of its largest request until it ends. Default 256 MiB.
    pub max_unanswered_bytes: usize,
    /// Most polling filters, of which one client address may have 1,000. Their addresses and topics, with those of log subscriptions, take
    /// at most 64 MiB, and what they remember of blocks 64 MiB more; one client address has an eighth of each. Default 10,000.
    pub max_filters: usize,
    /// Milliseconds that a request may take. Default 10,000. It is also the longest that a send may wait for its receipt (EIP-7966).
    pub request_timeout_ms: u64,
    /// Executions, log queries and traces that may run at once, half of them, but at least one, for one client address. Default 0: one for
    /// each core, but at least two.
    pub heavy_calls: usize,
    /// Calls per second that a client address may make (a batch counts each of its calls), with a burst of one second. Default 0: no
    /// limit.
    pub rate_limit: u32,
    /// Origins whose web pages may call, `*` for all. Default none.
    pub cors_origins: Vec<String>,
    /// Host names under which the server answers, `*` for all: a page that rebinds its DNS name to this machine is refused. IP
    /// addresses and `localhost` always pass. Default none.
    pub allowed_hosts: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            http_addr: SocketAddr::from(([127, 0, 0, 1], 8545)),
            ipc_path: None,
            max_body_bytes: 5 * 1024 * 1024,
            max_batch: 1000,
            max_response_bytes: 25_000_000,
            max_connections: 1024,
            max_connections_per_address: 512,
            max_subscriptions: 128,
            max_unread_bytes: 256 * 1024 * 1024,
            max_unanswered_bytes: 256 * 1024 * 1024,
            max_filters: 10_000,
            request_timeout_ms: 10_000,
            heavy_calls: 0,
            rate_limit: 0,
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
        }
    }
}

impl ServerConfig {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// Places on the blocking pool for heavy calls.
    pub(crate) fn heavy_places(&self) -> usize {
        match self.heavy_calls {
            0 => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            places => places,
        }
    }
}
