//! From block tags, numbers and hashes to headers, blocks and states.

use crate::{error::RpcError, methods::Context};
use alloy_consensus::Header;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use jove_primitives::ExecutedBlock;
use jove_sequencer::{Pending, State, Tags};
use jove_storage::View;
use std::sync::Arc;

/// A block's header and the state after it.
pub(crate) struct Resolved {
    /// The block's header; of the pending block it has no roots yet.
    pub(crate) header: Header,
    /// Zero for the pending block.
    pub(crate) hash: B256,
    /// The state after the block.
    pub(crate) state: State,
    /// Whether it is the pending block. Never when the pool holds nothing executable: then `pending` is the head.
    pub(crate) pending: bool,
}

/// A block, sealed or pending.
pub(crate) struct Found {
    pub(crate) block: Arc<ExecutedBlock>,
    pub(crate) pending: bool,
}

/// Number of the sealed block that `tag` names; the head for `pending`. It may lie beyond the head.
pub(crate) fn number(view: &View, tags: Tags, tag: BlockNumberOrTag) -> u64 {
    match tag {
        BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => view.head_number(),
        // The tags may have moved on since the view was opened.
        BlockNumberOrTag::Safe => tags.safe.min(view.head_number()),
        BlockNumberOrTag::Finalized => tags.finalized.min(view.head_number()),
        BlockNumberOrTag::Earliest => 0,
        BlockNumberOrTag::Number(number) => number,
    }
}

/// Number of the sealed block that `id` names, if there is one; the head for `pending`.
pub(crate) fn sealed_number(view: &View, tags: Tags, id: BlockId) -> Result<Option<u64>, RpcError> {
    match id {
        BlockId::Number(tag) => Ok(Some(number(view, tags, tag)).filter(|number| *number <= view.head_number())),
        // Only blocks of the chain are stored, so `requireCanonical` changes nothing.
        BlockId::Hash(hash) => Ok(view.block_number(hash.block_hash)?),
    }
}

impl Context {
    /// The state that `id` names; `latest` without.
    ///
    /// # Errors
    /// -32000 or -32001 for an unknown block, 4444 for a state that was pruned.
    pub(crate) fn state(&self, id: Option<BlockId>) -> Result<Resolved, RpcError> {
        let id = id.unwrap_or_default();
        if id.is_pending()
            && let Some(pending) = self.node.pending()?
        {
            let Pending { block, state } = pending.as_ref().clone();
            return Ok(Resolved { header: block.header.clone(), hash: B256::ZERO, state, pending: true });
        }
        let view = self.node.storage().view();
        let number = sealed_number(&view, self.node.tags(), id)?.ok_or_else(|| RpcError::no_block(id))?;
        let header = view.header(number)?.ok_or_else(RpcError::header_not_found)?;
        let hash = view.block_hash(number)?.ok_or_else(RpcError::header_not_found)?;
        let state = view.state(number)?.into();
        Ok(Resolved { header, hash, state, pending: false })
    }

    /// The sealed block that `id` names, or the pending one where the pool holds something executable.
    ///
    /// # Errors
    /// If the store fails. An unknown block is `None`.
    pub(crate) fn block(&self, id: BlockId) -> Result<Option<Found>, RpcError> {
        if id.is_pending()
            && let Some(pending) = self.node.pending()?
        {
            return Ok(Some(Found { block: pending.block.clone(), pending: true }));
        }
        let view = self.node.storage().view();
        let Some(number) = sealed_number(&view, self.node.tags(), id)? else { return Ok(None) };
        Ok(view.block(number)?.map(|block| Found { block, pending: false }))
    }
}
