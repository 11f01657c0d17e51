//! JSON-RPC over HTTP, WebSocket and IPC.
//!
//! ```text
//!   HTTP POST ─┐                       ┌─ quick   answered where it is read (numbers, pool look-ups)
//!   WebSocket ─┼─ dispatch ─ methods ──┼─ read    blocking pool: blocks, receipts, state
//!   IPC ───────┘                       ├─ heavy   blocking pool, few at a time: execution, logs, traces
//!                                      └─ wait    asynchronous: sends that wait for a receipt, subscriptions
//! ```
//!
//! One [JSON-RPC 2.0](https://www.jsonrpc.org/specification) dispatcher serves the three transports the same way; a method is a
//! function from a call to something that serializes. The methods conform to Ethereum's
//! [execution-apis](https://github.com/ethereum/execution-apis).
//!
//! **Hostile input.** Bodies, nesting, batches, answers, what waits to be read, connections, subscriptions, filters and time are
//! bounded by [`ServerConfig`]; what passes a bound is answered with an error that names it. A client that takes nothing of what
//! waits for it for 20 seconds is disconnected.
//!
//! **Block tags.** `latest` is the last sealed block. `pending` is the head plus the pool's executable transactions, or the head's
//! state when there are none. `earliest` is block 0; so are `safe` and `finalized` as long as the chain has no L1. On a layer 1 for
//! development they follow the head.
//!
//! **Layer 1.** A chain under Ethereum's rules also answers what its clients ask a beacon node ([`beacon_router`]). Another may keep blobs for
//! its own kind ([`archive_router`]).
//!
//! **Error codes.**
//!
//! | code | meaning |
//! |---|---|
//! | -32700 | not JSON, or nested too deeply |
//! | -32600 | not a request; an empty or oversized batch |
//! | -32601 | no such method |
//! | -32602 | the parameters do not fit |
//! | -32603 | the node failed; its log says why |
//! | -32000 | the request was understood and refused; no block of such a number |
//! | -32001 | no block of such a hash |
//! | -32002 | the request took too long |
//! | -32005 | a limit was exceeded: results, answer size, rate, answers not read |
//! | 3 | execution reverted; `data` holds the return data |
//! | 4 | EIP-7966: no receipt in time; `data` holds the transaction's hash |
//! | 6 | EIP-7966: held back for a gap in the sender's nonces; `data` holds the next nonce |
//! | 4444 | history that was pruned |

mod accounts;
mod archive;
mod backlog;
mod beacon;
mod config;
mod debug;
mod dev;
mod dispatch;
mod error;
mod eth;
mod evm;
mod filters;
mod follow;
mod http;
mod io;
mod ipc;
mod limits;
mod methods;
mod net;
mod request;
mod resolve;
mod server;
mod session;
mod subscribe;
mod texts;
#[cfg(test)]
mod transport_tests;
mod txpool;
mod watch;

pub use accounts::dev_accounts;
pub use archive::archive_router;
pub use beacon::beacon_router;
pub use config::ServerConfig;
pub use methods::{Extension, ExtensionAnswer, ExtensionError};
pub use server::{RpcServerError, Server};
