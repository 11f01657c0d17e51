//! Pool, block building and the running node.
//!
//! ```text
//!  raw transactions ─► Pool ─► engine thread, every 10 ms while there is work
//!                               │ 1 take candidates from the pool, best first, within the gas budget
//!                               │ 2 executor: run them on the trie's state
//!                               │ 3 trie: fold the changes, level by level
//!                               │ 4 seal the header, commit block and changes, fdatasync
//!                               │ 5 move the head, tell the pool, publish the event
//!                               ▼
//!                    Event::Block ─► receipts, subscriptions
//! ```
//!
//! A chain whose spec says so is under Ethereum's rules, as a layer 1 to develop against: a block in every slot, with work or without, blobs beside the
//! blocks, and tags that follow the head ([`L1Config`]). The engine, the pool and the store are the same.
//!
//! A node that does not sequence has its blocks from L1: [`Node::derive`] takes a batch, and the engine runs it block by block, as
//! [`jove_stf::batch`] says, and through steps 3 to 5.
//!
//! Where validators elect a leader, it alone seals ([`Node::lead`]), and the others import its blocks ([`Node::import`]).
//!
//! [`Node`] is what RPC and the binary hold. One thread, the engine, writes; everyone else reads consistent views of the store. The
//! trie in memory may be one block ahead of the store while that block is being synced; nobody learns of the block before it is durable.

mod adopt;
mod blobs;
mod clock;
mod derive;
mod engine;
mod folded;
mod import;
mod node;
pub mod pool;
mod prune;
mod state;
mod tags;

pub use adopt::{AccountEffect, Effects, SlotEffect};
pub use derive::{Derived, DerivedBatch};
pub use import::{Fault, Imported, InvalidBlock};
pub use node::{
    Amendment, Dev, Event, Head, L1Config, MAX_READS_PER_SECOND, Node, NodeConfig, NodeError, Pending, Tags, TooHeavy,
};
pub use pool::{Pool, PoolConfig, PoolError, PooledTransaction, Returning, Sidecar, transaction_hash};
pub use state::State;
