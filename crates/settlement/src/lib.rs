//! Blocks on their way to L1: batches cut, compressed and put into blobs.
//!
//! The format of batches is in [`jove_primitives::batch`], with its decoder. Here is what a chain's operator needs besides:
//!
//! | module | what it does |
//! |---|---|
//! | [`batcher`] | collects blocks and cuts them into batches that fill their blobs |
//! | [`zstd`] | compresses columns |

pub mod batcher;
pub mod zstd;

pub use batcher::{Batch, Batcher};
pub use zstd::Zstd;
