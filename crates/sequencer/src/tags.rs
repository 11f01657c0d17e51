//! The tags `safe` and `finalized` in the store.
//!
//! Two values are kept, each two numbers, u64, big-endian: under `tags`, the safe and the finalized block; under `depths`, of a chain whose tags
//! follow its head, how far below the head they are. Those are written when a node is started with other depths, and when blocks are
//! withdrawn: what they are otherwise follows from the head.

use crate::node::{L1Config, Tags};
use jove_storage::{Storage, StorageError};

const TAGS: &str = "tags";
const DEPTHS: &str = "depths";

/// The tags that are kept; block 0 if none are.
pub(crate) fn kept(storage: &Storage) -> Result<Tags, StorageError> {
    Ok(pair(storage, TAGS)?.map_or_else(Tags::default, |[safe, finalized]| Tags { safe, finalized }))
}

/// Keeps the tags, durably.
pub(crate) fn keep(storage: &Storage, tags: Tags) -> Result<(), StorageError> {
    storage.put_meta(TAGS, &bytes([tags.safe, tags.finalized]))
}

/// Where tags that follow the head stood when the node stopped: they do not fall because it is started with other depths.
pub(crate) fn following(storage: &Storage, l1: &L1Config, head: u64) -> Result<Tags, StorageError> {
    let (mut tags, depths) = (kept(storage)?, [l1.safe_depth, l1.finalized_depth]);
    let before = pair(storage, DEPTHS)?;
    if let Some([safe, finalized]) = before {
        tags.safe = tags.safe.max(head.saturating_sub(safe));
        tags.finalized = tags.finalized.max(head.saturating_sub(finalized));
    }
    if before != Some(depths) {
        storage.put_metas([(TAGS, bytes([tags.safe, tags.finalized])), (DEPTHS, bytes(depths))])?;
    }
    Ok(tags)
}

fn bytes(pair: [u64; 2]) -> Vec<u8> {
    pair.map(u64::to_be_bytes).concat()
}

fn pair(storage: &Storage, key: &str) -> Result<Option<[u64; 2]>, StorageError> {
    let Some(kept) = storage.meta(key)? else { return Ok(None) };
    let kept = <[u8; 16]>::try_from(&kept[..]).map_err(|_| StorageError::Corrupt("the tags it keeps"))?;
    Ok(Some([0, 8].map(|at| {
        let mut number = [0; 8];
        number.copy_from_slice(&kept[at..at + 8]);
        u64::from_be_bytes(number)
    })))
}
