//! Append-only ledgers of what became final and of what was refused, with proofs that anyone can check.
//!
//! [`Ledger`] has an [`Entry`] for every final block, in order; [`Flagged`] a [`Flag`] for every transaction, block or checkpoint that was refused, and
//! for every validator that was convicted, with a reason and what shows it. Both are Merkle trees of [RFC 6962](https://www.rfc-editor.org/rfc/rfc6962)
//! that only grow. Their owner signs each state as a checkpoint of [C2SP](https://c2sp.org/tlog-checkpoint), so whoever has two checkpoints can hold it
//! to the one history: an [inclusion proof](check_inclusion) says that a leaf is in the tree, a [consistency proof](check_consistency) that an older
//! tree is the beginning of a newer one. [`ProofFile`] carries both and is checked without a node.
//!
//! ```text
//!  Entry, Flag ──► log: leaves and hashes, one file ──► note: size and root, signed
//!                        │                                  │
//!                        └───────► proofs ──► ProofFile ◄───┘        checked by anyone who has the key
//! ```
//!
//! # Format
//! A ledger is a folder with `lock`, held while it is open, `log`, and `checkpoint`. Integers are big-endian.
//!
//! `log` has a record for each leaf: the leaf's bytes, always as many, and after them the hashes of all subtrees that the leaf completes: its own, SHA-256(0x00 ‖
//! leaf), then, as long as the subtree is a right child, its parent's, SHA-256(0x01 ‖ left ‖ right). So the place of every leaf and every
//! hash follows from its number, and nothing in the file ever changes.
//!
//! | leaf | bytes |
//! |---|---|
//! | [`Entry`], 113 bytes | 0x01, block (u64), hash, state root, checkpoint's height (u64), checkpoint's digest |
//! | [`Flag`], 88 bytes | 0x02, kind (u8), reason (u16), subject, Keccak-256 of the witness, its length (u32), time (u64, ms since the Unix epoch), height (u64) |
//!
//! `checkpoint` is a [signed note](https://c2sp.org/signed-note) of three lines and a signature: the key's name, the size in decimal, the root in base64. It is
//! replaced by renaming `checkpoint.new` to it. `witnesses` has the witnesses of flags, each in a file named by its hash.
//!
//! # Crashes and alterations
//! An append is written to `log` and synced, then the checkpoint is, and then it is acknowledged. At a start whole records above the checkpoint are kept if
//! their hashes are right, and what is left over, a write that was cut short, is removed: so an append that was not acknowledged may be there in
//! part, from its beginning, and the host goes on from what the ledger has. What the checkpoint covers must be there: a shorter file, a stored root other than the
//! signed one, or a leaf among the last [`TAIL`] that has another hash is an error, and the ledger stays shut. [`Ledger::verify_all`]
//! hashes everything again, and [`Ledger::audit`] does for whoever has the folder and the verifying key. Nothing removes a leaf.
//!
//! What no ledger can see on its own is that its whole folder was replaced by an older copy: whoever has a newer checkpoint can, by a consistency proof.
#![cfg_attr(not(test), forbid(unsafe_code))] // tests have a disk that forgets, which replaces functions of the C library

mod blocks;
mod check;
mod error;
mod flagged;
mod log;
mod note;
#[cfg(test)]
mod tests;

pub use blocks::{Entry, Ledger};
pub use check::{MAX_PROOF, MAX_PROOF_FILE, Older, ProofFile, check_consistency, check_inclusion};
pub use error::Error;
pub use flagged::{Flag, FlagKind, Flagged, MAX_WITNESS};
pub use log::TAIL;
pub use note::{Checkpoint, Key, VerifyingKey};
