//! What subscribers are sent of the last blocks, as JSON text: made once, by whoever needs it first, and shared by all.

use crate::{error::RpcError, eth::convert, methods::to_json};
use alloy_primitives::B256;
use alloy_rpc_types_eth::Log;
use axum::body::Bytes;
use jove_primitives::ExecutedBlock;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Blocks whose texts are kept.
const MAX_BLOCKS: usize = 64;
/// Most bytes of texts that are kept, of heads and of logs each, the newest block's aside.
const MAX_BYTES: usize = 16 << 20;

/// A log, and its text.
#[derive(Debug)]
pub(crate) struct SharedLog {
    pub(crate) log: Log,
    pub(crate) text: Bytes,
}

/// The texts of the last blocks.
#[derive(Default)]
pub(crate) struct Texts {
    heads: Recent<Bytes>,
    logs: Recent<Arc<[Arc<SharedLog>]>>,
}

impl Texts {
    /// The header that `newHeads` sends.
    ///
    /// # Errors
    /// An internal error if it does not serialize.
    pub(crate) fn head(&self, block: &ExecutedBlock) -> Result<Bytes, RpcError> {
        self.heads.of(block.hash, || {
            let head = alloy_rpc_types_eth::Header { size: None, ..convert::header(block) };
            let text = Bytes::from(to_json(&head, usize::MAX)?);
            let bytes = text.len();
            Ok((text, bytes))
        })
    }

    /// All logs of the block.
    ///
    /// # Errors
    /// An internal error if one does not serialize.
    pub(crate) fn logs(&self, block: &ExecutedBlock) -> Result<Arc<[Arc<SharedLog>]>, RpcError> {
        self.logs.of(block.hash, || {
            let shared = |log: Log| {
                let text = Bytes::from(to_json(&log, usize::MAX)?);
                Ok::<_, RpcError>(Arc::new(SharedLog { log, text }))
            };
            let logs: Arc<[_]> = convert::logs(block).into_iter().map(shared).collect::<Result<_, _>>()?;
            // The text is twice the data, and more.
            let bytes = logs.iter().map(|log| 2 * log.text.len()).sum();
            Ok((logs, bytes))
        })
    }
}

/// What was made of the last blocks, newest last.
struct Recent<T>(Mutex<Made<T>>);

struct Made<T> {
    blocks: VecDeque<(B256, T, usize)>,
    bytes: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(Made { blocks: VecDeque::new(), bytes: 0 }))
    }
}

impl<T: Clone> Recent<T> {
    /// What was made of a block; `make` makes it, and says how many bytes it takes, while everyone else waits.
    fn of(&self, hash: B256, make: impl FnOnce() -> Result<(T, usize), RpcError>) -> Result<T, RpcError> {
        let mut made = self.0.lock();
        if let Some((_, known, _)) = made.blocks.iter().rev().find(|(block, ..)| *block == hash) {
            return Ok(known.clone());
        }
        let (new, bytes) = make()?;
        made.blocks.push_back((hash, new.clone(), bytes));
        made.bytes += bytes;
        while made.blocks.len() > MAX_BLOCKS || (made.blocks.len() > 1 && made.bytes > MAX_BYTES) {
            if let Some((.., bytes)) = made.blocks.pop_front() {
                made.bytes -= bytes;
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::convert::tests::sample_block;

    #[test]
    fn subscribers_share_one_text() {
        let (texts, block) = (Texts::default(), sample_block());
        let (one, other) = (texts.head(&block).expect("text"), texts.head(&block).expect("text"));
        assert_eq!(one.as_ptr(), other.as_ptr(), "made once");
        let head: serde_json::Value = serde_json::from_slice(&one).expect("JSON");
        assert_eq!((head["number"].as_str(), head.get("size")), (Some("0x7"), None));
        let (one, other) = (texts.logs(&block).expect("texts"), texts.logs(&block).expect("texts"));
        assert!(Arc::ptr_eq(&one, &other), "made once");
        assert_eq!(one.len(), 3);
        let last: serde_json::Value = serde_json::from_slice(&one[2].text).expect("JSON");
        assert_eq!((&last["logIndex"], &last["removed"]), (&"0x2".into(), &false.into()));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = Recent::default();
        for number in 0..1000u64 {
            let hash = B256::from(alloy_primitives::U256::from(number));
            assert_eq!(recent.of(hash, || Ok((number, 1 << 20))), Ok(number));
            let made = recent.0.lock();
            assert!(made.blocks.len() <= MAX_BLOCKS && made.bytes <= MAX_BYTES);
        }
        recent.of(B256::ZERO, || Ok((0, 2 * MAX_BYTES))).expect("made");
        assert_eq!(recent.0.lock().blocks.len(), 1, "the newest is always kept");
        for byte in 1..=200 {
            recent.of(B256::repeat_byte(byte), || Ok((0, 1))).expect("made");
        }
        assert_eq!(recent.0.lock().blocks.len(), MAX_BLOCKS);
    }
}
