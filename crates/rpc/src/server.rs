//! The server: listeners, and an orderly end.

use crate::{
    backlog::Budget,
    config::ServerConfig,
    http::{self, Stop},
    ipc,
    limits::Connections,
    methods::{Context, Extension},
};
use jove_sequencer::Node;
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// How long requests in hand may take to finish once the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum RpcServerError {
    /// The HTTP address cannot be bound: it is in use, or not this machine's. Choose another.
    #[error("cannot listen on {address}: {source}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The IPC socket cannot be bound: another node listens on it, or its directory cannot be written. Choose another path.
    #[error("cannot listen on {}: {source}", path.display())]
    Ipc {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A running server.
pub struct Server {
    local_addr: SocketAddr,
    ipc_path: Option<PathBuf>,
    context: Arc<Context>,
    connections: Arc<Connections>,
    stop: Stop,
}

impl Server {
    /// Binds HTTP, WebSocket and IPC, and serves `node` on them, with methods of the caller's own. `extra` has further routes of the HTTP port (`/health`, `/metrics`). It must be
    /// called within a tokio runtime, after the metrics recorder is installed.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub fn start(
        node: Arc<Node>,
        config: ServerConfig,
        extensions: Vec<Extension>,
        extra: axum::Router,
    ) -> Result<Self, RpcServerError> {
        let address = config.http_addr;
        let http_error = |source| RpcServerError::Http { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(http_error)?;
        listener.set_nonblocking(true).map_err(http_error)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(http_error)?;
        let local_addr = listener.local_addr().map_err(http_error)?;
        let ipc_path = config.ipc_path.clone();
        let ipc = match &ipc_path {
            Some(path) => Some(ipc::bind(path).map_err(|source| RpcServerError::Ipc { path: path.clone(), source })?),
            None => None,
        };

        let connections = Connections::new(config.max_connections, config.max_connections_per_address);
        let stop = Stop::default();
        let unanswered = Budget::new(config.max_unanswered_bytes);
        let context = Context::new(node, config, extensions);
        tokio::spawn(crate::watch::run(context.clone(), context.node.events(), stop.graceful.clone()));
        let router = http::router(context.clone(), stop.clone(), extra);
        let unread = context.budget.clone();
        tokio::spawn(http::listen(listener, router, unread, unanswered.clone(), connections.clone(), stop.clone()));
        if let Some(listener) = ipc {
            tokio::spawn(ipc::listen(listener, context.clone(), unanswered, connections.clone(), stop.clone()));
        }
        tracing::info!(http = %local_addr, ipc = ipc_path.as_deref().map(|path| path.display().to_string()), "JSON-RPC server started");
        Ok(Self { local_addr, ipc_path, context, connections, stop })
    }

    /// The address of HTTP and WebSocket, its port chosen by the system if the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections, lets requests in hand finish for at most five seconds, closes the rest, and removes the IPC
    /// socket.
    pub async fn stop(self) {
        self.stop.graceful.cancel();
        self.context.dev.stop();
        if tokio::time::timeout(GRACE, self.connections.ended()).await.is_err() {
            tracing::warn!("closing connections whose requests are still running");
        }
        self.stop.now.cancel();
        if let Some(path) = &self.ipc_path {
            // Someone may have removed it before us.
            let _ = std::fs::remove_file(path);
        }
    }
}
