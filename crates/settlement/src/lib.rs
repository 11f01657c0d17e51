//! Blocks on their way to L1: batches cut, compressed and put into blobs.
//!
//! The format of batches is in [`jove_primitives::batch`], with its decoder. Here is what a chain's operator needs besides:
//!
//! | module | what it does |
//! |---|---|
//! | [`archive`] | keeps blobs |
//! | [`attestation`] | which enclaves may prove: their keys, and the collateral that quotes are judged by |
//! | [`batcher`] | collects blocks and cuts them into batches that fill their blobs |
//! | [`blob_fees`] | how fast L1's blob base fee moves, by its chain id or by its node |
//! | [`blobs`] | finds the blobs of L1 blocks, checks and opens them |
//! | [`bridge`] | deposits and withdrawals, for those who make them |
//! | [`committer`] | cuts the store's blocks into batches that follow the last one on L1 |
//! | [`contracts`] | the contracts on L1 and L2, as a node calls them |
//! | [`deploy`] | puts the contracts on L1, makes the chain file |
//! | [`escape`] | the way out when nobody runs the chain any more |
//! | [`http`] | HTTPS to L1: which certificates are trusted |
//! | [`l1`] | a JSON-RPC client for L1 |
//! | [`origins`] | which L1 block the chain steps to next |
//! | [`outbox`] | messages to L1, and proofs of them |
//! | [`policy`] | when to commit |
//! | [`relayer`] | gets transactions onto L1: once, whatever breaks |
//! | [`rescue`] | steps in for operators who do not commit, or leave a message waiting |
//! | [`revert`] | why a contract's call failed, by name |
//! | [`risks`] | who can do what on a deployed chain, with which delay |
//! | [`status`] | what settlement is at, and what holds it up |
//! | [`test_proofs`] | proofs that test verifiers believe |
//! | [`validators`] | what a chain with validators is deployed with |
//! | [`wallet`] | plain transactions from one key |
//! | [`watcher`] | follows what L1 says of the chain |
//! | [`zstd`] | compresses columns |

pub mod archive;
pub mod attestation;
pub mod batcher;
pub mod blob_fees;
pub mod blobs;
pub mod bridge;
pub mod committer;
pub mod contracts;
pub mod deploy;
pub mod error;
pub mod escape;
pub mod http;
pub mod l1;
pub mod origins;
pub mod outbox;
pub mod policy;
pub mod relayer;
pub mod rescue;
pub mod revert;
pub mod risks;
pub mod status;
pub mod test_proofs;
pub mod validators;
pub mod wallet;
pub mod watcher;
pub mod zstd;

pub use archive::Archive;
pub use batcher::{Batch, Batcher};
pub use blobs::{BlobError, BlobOpening, BlobSource, Blobs};
pub use error::Error;
pub use l1::{L1, L1Config, SealedHeader};
pub use relayer::{Relayer, RelayerConfig};
pub use revert::Revert;
pub use wallet::{Key, Wallet};
pub use zstd::Zstd;
