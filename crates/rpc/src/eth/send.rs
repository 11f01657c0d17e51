//! Sending signed transactions.

use super::convert::{self, Receipt};
use crate::{
    dispatch::Request,
    error::RpcError,
    methods::{self, Call, Context, Methods, Reply, on_blocking_pool},
    request::Quantity,
    watch::Inclusion,
};
use alloy_consensus::Transaction;
use alloy_primitives::{B256, Bytes, keccak256};
use std::{sync::Arc, time::Duration};

/// How long a synchronous send waits without being told, as EIP-7966 recommends.
const DEFAULT_WAIT_MS: u64 = 2000;
/// How long it may be told to wait.
const MAX_WAIT_MS: u64 = 60_000;

pub(crate) fn register(methods: &mut Methods) {
    methods.read("eth_sendRawTransaction", |call| {
        let (raw,): (Bytes,) = call.args()?;
        add(&call.context, raw)
    });
    methods.wait("eth_sendRawTransactionSync", send_and_wait);
}

fn add(context: &Context, raw: Bytes) -> Result<B256, RpcError> {
    match context.node.pool().add_raw(&[raw]).pop() {
        Some(result) => Ok(result?),
        None => Err(RpcError::internal("the pool gave no answer")),
    }
}

/// Many `eth_sendRawTransaction` at once: what parses reaches the pool in one call.
pub(crate) fn send_all(context: &Context, requests: &[Request]) -> Vec<Reply> {
    let mut raw = Vec::with_capacity(requests.len());
    let parsed: Vec<Result<(), RpcError>> = requests
        .iter()
        .map(|request| methods::parse_args::<(Bytes,)>(&request.params).map(|(bytes,)| raw.push(bytes)))
        .collect();
    let mut hashes = context.node.pool().add_raw(&raw).into_iter();
    parsed
        .into_iter()
        .map(|parsed| {
            parsed?;
            let hash = hashes.next().ok_or_else(|| RpcError::internal("the pool gave no answer"))??;
            Ok(format!("\"{hash}\"").into_bytes())
        })
        .collect()
}

/// EIP-7966: sends, and answers with the receipt. It starts to wait before it sends, so that no block is missed; a transaction that
/// is in a block already is answered at once. A wait of 0, or beyond the most allowed, is taken as the default.
async fn send_and_wait(call: Call) -> Result<Receipt, RpcError> {
    let (raw, wait): (Bytes, Option<Quantity>) = call.args()?;
    let wait_ms = wait.map(|wait| wait.0).filter(|ms| (1..=MAX_WAIT_MS).contains(ms)).unwrap_or(DEFAULT_WAIT_MS);
    let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
    let hash = keccak256(&raw);
    let waiting = Waiting { context: call.context.clone(), hash };
    let inclusion = call.context.watch.inclusion(hash);

    let context = call.context.clone();
    let sent = on_blocking_pool(&call.context.reads, until.into_std(), move || match add(&context, raw) {
        Ok(_) => match held_back(&context, hash)? {
            Some(next_nonce) => Err(RpcError::held_back(hash, next_nonce)),
            None => Ok(None),
        },
        Err(refused) => match find(&context, hash)? {
            Some(inclusion) => Ok(Some(inclusion)),
            None if context.node.pool().get(hash).is_some() => Ok(None),
            None => Err(refused),
        },
    });
    let (block, index) = match sent.await?? {
        Some(included) => included,
        None => match tokio::time::timeout_at(until, inclusion).await {
            Ok(Ok(included)) => included,
            Ok(Err(_)) => return Err(RpcError::server("the node is shutting down")),
            Err(_) => return Err(RpcError::no_receipt(hash, wait_ms)),
        },
    };
    drop(waiting);
    Ok(convert::receipt(&block, index))
}

/// Takes its place back when the wait ends, however it ends.
struct Waiting {
    context: Arc<Context>,
    hash: B256,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.context.watch.forget(self.hash);
    }
}

fn find(context: &Context, hash: B256) -> Result<Option<Inclusion>, RpcError> {
    let view = context.node.storage().view();
    let Some(position) = view.transaction(hash)? else { return Ok(None) };
    Ok(view.block(position.block)?.map(|block| (block, position.index as usize)))
}

/// The sender's next nonce, if the pool holds the transaction back because it has a later one.
fn held_back(context: &Context, hash: B256) -> Result<Option<u64>, RpcError> {
    let Some(pooled) = context.node.pool().get(hash) else { return Ok(None) };
    let sender = pooled.transaction.signer();
    // The pool first: what leaves it for a block meanwhile shows in the account.
    let in_pool = context.node.pool().next_nonce(sender).unwrap_or_default();
    let in_state = context.state(None)?.state.account(sender)?.map_or(0, |account| account.nonce);
    let next = in_pool.max(in_state);
    Ok((pooled.transaction.nonce() > next).then_some(next))
}
