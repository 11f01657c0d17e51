//! The judge of batches inside OpenVM: cryptography on the machine's accelerators, behind the hooks that alloy, revm and `jove_proving` have for it.
//!
//! | | of | here |
//! |---|---|---|
//! | Keccak-256 | alloy's `native-keccak` | `keccak`: the permutation |
//! | senders, ECRECOVER | alloy's provider, revm's `Crypto` | `ecdsa`: curve and modular instructions |
//! | P-256 | revm's | `ecdsa` |
//! | BN254 | revm's | `bn254`: curve, quadratic extension and pairing instructions |
//! | BLS12-381 but maps to the curve, KZG proofs | revm's | `bls12_381`: likewise |
//! | SHA-256 | revm's | the compression function |
//! | blobs | `jove_proving::judge_with` | `blob`: modular instructions |
//! | MUL, DIV, MOD and their kin, EXP, modular exponentiation | `jove_stf::install_arithmetic`, revm's | `words`: instructions for 256 bits, and `guests/words` |
//!
//! The rest is software: RIPEMD-160, BLAKE2, maps to BLS12-381's curve, zstd, RLP, and the EVM with what costs it little: sums, comparisons, bits, division by up to 64 bits.
//!
//! Which instructions there are, by number, is in `openvm.toml`.

#[cfg(target_os = "zkvm")]
extern crate alloc;

#[cfg(target_os = "zkvm")]
mod machine;

#[cfg(target_os = "zkvm")]
pub use machine::{install, judge, open, seeds};
