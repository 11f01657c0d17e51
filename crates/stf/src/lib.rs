//! The state-transition function: what a block does.
//!
//! [`execute_block`] is the one rule: a parent header, a block and a database in; receipts and a change set out, or the reason why the
//! block is invalid. The sequencer, a validator, the enclave and the zkVM guest all call it, or are tested equal to it. There is no
//! I/O, no clock and no thread here.
//!
//! ```text
//! next_header ──► BlockExecutor::new ──► execute (each transaction) ──► finish ──► seal
//!  all that is      EIP-2935 write        receipt, or why it is          BlockOutput   roots, gas,
//!  known before                           invalid; then nothing                        bloom
//!  execution                              happened
//! ```
//!
//! A builder walks that path and skips the transactions that turn out invalid; [`execute_block`] walks it with the transactions of
//! a sealed block and compares. [`batch`] says which blocks follow from what L1 holds, and walks it block by block; [`witness`] does on what was written down of a state, without a node.
//!
//! # Rules
//! [`Rules`] are Ethereum's at a fork, or Jove's:
//! - blob transactions are refused by name;
//! - the base fee moves with time ([`jove_primitives::fee`]) and goes to [`BASE_FEE_VAULT`], priority fees to the block's beneficiary;
//! - an L1 data fee, apart from gas, is charged before execution and goes to [`L1_FEE_VAULT`]; the sender's balance must cover it beyond gas and value;
//! - no transaction is taken once the excess and the gas used in the block pass 64 seconds of the target;
//! - a message from L1 is a deposit of the OP Stack's: its gas is bought on L1, and where it fails, even because it is invalid, what it minted stands, its
//!   sender's nonce rises, and nothing else happens;
//! - a block is of messages or of signed transactions. One of messages that steps to an L1 origin starts with the origin's attributes
//!   ([`jove_primitives::l1`]), which say how many messages are due: they are consumed, in blocks of their own with as many as fit, before anything else. A block much later than its origin takes no signed transaction;
//! - every block stores its parent's hash (EIP-2935); no other system contract runs.
//!
//! Ethereum's blocks are run at every fork from Berlin on, and made at Osaka, for a layer 1 to develop against. The base fee (EIP-1559) is burned; blobs
//! have a market of their own (EIP-4844, with the amounts of EIP-7691, the floor of EIP-7918 and at most six a transaction, EIP-7594); a block stores
//! its parent's hash and its parent's beacon root (EIP-4788); withdrawals and requests are empty. What a beacon chain would decide follows
//! from the parent: its beneficiary and gas limit stay, `mixHash` is keccak256(parent's hash ‖ number), and the beacon root is as
//! [`jove_primitives::beacon`] says.
//!
//! [`BASE_FEE_VAULT`]: jove_primitives::predeploys::BASE_FEE_VAULT
//! [`L1_FEE_VAULT`]: jove_primitives::predeploys::L1_FEE_VAULT
#![cfg_attr(not(any(test, feature = "std")), no_std)]

extern crate alloc;

mod arithmetic;
pub mod batch;
mod block;
mod rules;
mod state;
mod transaction;
pub mod witness;

pub use arithmetic::{Arithmetic, install_arithmetic};
pub use batch::{BatchError, BatchExecutor, BatchInput, BatchOutput, ExecuteBatchError};
pub use block::{
    BlockContext, BlockError, BlockExecutor, BlockOutput, Evm, HeaderError, execute_block, mix_source, next_header,
    seal,
};
pub use rules::Rules;
pub use state::BlockState;
pub use transaction::{ExecuteError, Executed, TransactionError, deposit_env, tx_env};
pub use witness::{Recorder, StatelessError, StatelessState, Witness};
