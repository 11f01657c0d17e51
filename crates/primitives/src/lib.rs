//! Blocks, fees, chain specs and change sets: what every part of Jove agrees on.
//!
//! This crate has no I/O, no clock and needs no `std`: the node, the enclave and the zkVM guest share it to the byte.
//!
//! | module | what it says |
//! |---|---|
//! | [`transaction`], [`receipt`] | what people sign, what comes from L1, and what both leave behind |
//! | [`block`] | the block as it travels through the house |
//! | [`header`] | Jove's use of the Ethereum header: `extraData`, time in milliseconds, `mixHash` |
//! | [`fee`] | the base fee that moves with time, and the L1 data fee |
//! | [`l1`] | what a chain knows of its layer 1 |
//! | [`beacon`] | slots and block roots of a chain under Ethereum's rules |
//! | [`spec`] | chain specs: chain id, genesis, forks and gas |
//! | [`batch`] | what L1 holds of blocks: batches, their hashes, their encoding in blobs |
//! | [`state`] | accounts and the change sets that blocks leave behind |
//! | [`predeploys`] | addresses that a chain has from block 0 |
#![cfg_attr(not(any(test, feature = "std")), no_std)]

extern crate alloc;

pub mod batch;
pub mod beacon;
pub mod block;
pub mod fee;
pub mod header;
pub mod l1;
pub mod predeploys;
pub mod receipt;
pub mod spec;
pub mod state;
pub mod transaction;

pub use block::{Block, ExecutedBlock, Receipt, Transaction};
pub use spec::{ChainSpec, Fork};
pub use state::{Account, AccountChange, Change, ChangeSet};
