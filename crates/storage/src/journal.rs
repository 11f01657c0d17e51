//! Repairs the end of fjall's journal before fjall reads it.
//!
//! A power failure in the middle of a commit can leave any of the pages that were not synced: fjall's journal is a file of
//! 64 MiB of zeros that batches are written into, so a page that was lost reads as zeros *before* pages that were kept. Where such a hole lies
//! within one long value, the batch still has its end marker and only its checksum is wrong. fjall 3.1 refuses to open
//! such a journal; yet the batch was never acknowledged, and the state before it is whole. So it is cut off here.
//!
//! A batch is only cut if no whole batch follows it: each batch is synced before the next one is begun, so damage further up is
//! not of a power failure, and is reported. (A store that is opened without syncing has asked for less and is cut at the
//! first damage.)
//!
//! The format, as fjall 3.1 writes it (integers little-endian):
//!
//! ```text
//! batch = 0x01 items: u32 seqno: u64 · entry × items · 0x03 xxh3(entries): u64 "FJL\x03"
//! entry = 0x02 type: u8 compression: u8 keyspace: u64 key length: u16 length: u32 stored length: u32 key value
//!       | 0x04 keyspace: u64
//! ```

use crate::StorageError;
use std::{fs, path::Path};
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
/// No compression, in an entry.
const UNCOMPRESSED: u8 = 0;

/// Cuts a batch that was not written to its end off the newest journal in fjall's folder `store`.
pub(crate) fn repair(store: &Path, synced: bool) -> Result<(), StorageError> {
    let mut newest = None;
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        newest = newest.max(id.map(|id| (id, path)));
    }
    let Some((_, path)) = newest else { return Ok(()) };
    let journal = fs::read(&path)?;
    let used = journal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut end = 0;
    while let Some(next) = batch_end(&journal, end) {
        end = next;
    }
    if end >= used {
        return Ok(());
    }
    if synced && (end + 1..used).any(|at| journal[at] == START && batch_end(&journal, at).is_some()) {
        return Err(StorageError::Corrupt("the journal is damaged before its last batch"));
    }
    tracing::warn!(at = end, bytes = used - end, "cutting an unfinished batch off the journal");
    let file = fs::File::options().write(true).open(&path)?;
    file.set_len(end as u64)?;
    file.sync_all()?;
    Ok(())
}

/// Where the batch at `at` ends, if a whole one is there.
fn batch_end(journal: &[u8], at: usize) -> Option<usize> {
    let mut rest = journal.get(at..)?;
    if byte(&mut rest)? != START {
        return None;
    }
    let items = u32::from_le_bytes(array(&mut rest)?);
    let _seqno: [u8; 8] = array(&mut rest)?;
    let first = rest;
    for _ in 0..items {
        entry(&mut rest)?;
    }
    let entries = &first[..first.len() - rest.len()];
    if byte(&mut rest)? != END || u64::from_le_bytes(array(&mut rest)?) != xxh3_64(entries) {
        return None;
    }
    let rest = rest.strip_prefix(TRAILER)?;
    Some(journal.len() - rest.len())
}

/// Passes over one entry.
fn entry(rest: &mut &[u8]) -> Option<()> {
    match byte(rest)? {
        ITEM => {
            let _type = byte(rest)?;
            if byte(rest)? != UNCOMPRESSED {
                return None;
            }
            let _keyspace: [u8; 8] = array(rest)?;
            let key = usize::from(u16::from_le_bytes(array(rest)?));
            let _length: [u8; 4] = array(rest)?;
            let value = u32::from_le_bytes(array(rest)?) as usize;
            *rest = rest.get(key.checked_add(value)?..)?;
        }
        CLEAR => {
            let _keyspace: [u8; 8] = array(rest)?;
        }
        _ => return None,
    }
    Some(())
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    array::<1>(rest).map(|[byte]| byte)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}
