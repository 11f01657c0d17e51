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
use alloy_primitives::{B256, Bytes};
use jove_sequencer::transaction_hash;
use std::{sync::Arc, time::Duration};

/// How long a synchronous send waits without being told, as EIP-7966 recommends.
const DEFAULT_WAIT_MS: u64 = 2000;
/// How long a missing nonce may stay behind: calls of one batch reach the pool in any order.
const ORDER_PATIENCE: Duration = Duration::from_millis(50);

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
/// is in a block already is answered at once. The longest wait is what a request may take, a whole batch's included; one of 0, or
/// longer, is taken as the default.
async fn send_and_wait(call: Call) -> Result<Receipt, RpcError> {
    let (raw, wait): (Bytes, Option<Quantity>) = call.args()?;
    call.check_deadline()?;
    let start = tokio::time::Instant::now();
    let until = call.deadline.min((start + wait_of(wait, call.context.config.request_timeout_ms)).into_std());
    let hash = transaction_hash(&raw);
    let node = call.context.node.clone();
    let waiting = Waiting { context: call.context.clone(), hash };
    let mut inclusion = call.context.watch.inclusion(hash);

    let context = call.context.clone();
    let sent = on_blocking_pool(call.context.reads.clone().acquire_owned(), until, move || {
        if let Err(refused) = add(&context, raw) {
            if let Some(inclusion) = find(&context, hash)? {
                return Ok(Sent::Included(inclusion));
            }
            if context.node.pool().get(hash).is_none() {
                return Err(refused);
            }
        }
        Ok(if held_back(&context, hash)?.is_some() { Sent::HeldBack } else { Sent::Pooled })
    });
    let mut included = None;
    match sent.await?? {
        Sent::Included((block, index)) => return Ok(convert::receipt(node.rules(), &block, index)),
        Sent::Pooled => {}
        Sent::HeldBack => {
            let soon = until.min(std::time::Instant::now() + ORDER_PATIENCE);
            included = tokio::time::timeout_at(soon.into(), &mut inclusion).await.ok();
            if included.is_none() {
                let context = call.context.clone();
                let place = context.reads.clone().acquire_owned();
                let gap = on_blocking_pool(place, until, move || held_back(&context, hash));
                if let Some(next_nonce) = gap.await?? {
                    return Err(RpcError::nonce_gap(next_nonce));
                }
            }
        }
    }
    if included.is_none() {
        included = tokio::time::timeout_at(until.into(), &mut inclusion).await.ok();
    }
    drop(waiting);
    match included {
        Some(Ok((block, index))) => Ok(convert::receipt(node.rules(), &block, index)),
        Some(Err(_)) => Err(RpcError::server("the node is shutting down")),
        None => Err(RpcError::no_receipt(hash, start.elapsed().as_millis())),
    }
}

/// Where a transaction is once it has been sent.
enum Sent {
    Included(Inclusion),
    Pooled,
    /// In the pool, behind a nonce that is missing.
    HeldBack,
}

/// How long to wait when `wait` is asked for, and a request may take `max_ms`.
fn wait_of(wait: Option<Quantity>, max_ms: u64) -> Duration {
    let asked = wait.map(|wait| wait.0).filter(|ms| (1..=max_ms).contains(ms));
    Duration::from_millis(asked.unwrap_or(DEFAULT_WAIT_MS))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_beyond_what_a_request_may_take_is_the_default() {
        let wait = |ms: Option<u64>| wait_of(ms.map(Quantity), 10_000).as_millis();
        assert_eq!([wait(Some(1)), wait(Some(10_000))], [1, 10_000]);
        assert_eq!([wait(None), wait(Some(0)), wait(Some(10_001)), wait(Some(u64::MAX))], [2000; 4]);
    }
}
