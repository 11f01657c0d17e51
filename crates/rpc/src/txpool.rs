//! The `txpool_` namespace, as geth has it.

use crate::{
    eth::convert::{self, RpcTransaction},
    methods::Methods,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use jove_sequencer::PooledTransaction;
use serde::Serialize;
use std::collections::BTreeMap;

/// By sender, in its checksummed form, and nonce.
type ByAccount<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Serialize)]
struct Content<T> {
    pending: T,
    queued: T,
}

pub(crate) fn register(methods: &mut Methods) {
    methods.quick("txpool_status", |call| {
        call.no_args()?;
        let (pending, queued) = call.context.node.pool().status();
        Ok(Content { pending: U64::from(pending), queued: U64::from(queued) })
    });
    methods.heavy("txpool_content", |call| {
        call.no_args()?;
        let (pending, queued) = call.context.node.pool().content();
        Ok(Content { pending: by_account(&pending, whole), queued: by_account(&queued, whole) })
    });
    methods.heavy("txpool_contentFrom", |call| {
        let (sender,): (Address,) = call.args()?;
        let (pending, queued) = call.context.node.pool().content_from(sender);
        Ok(Content { pending: by_nonce(&pending), queued: by_nonce(&queued) })
    });
    methods.heavy("txpool_inspect", |call| {
        call.no_args()?;
        let (pending, queued) = call.context.node.pool().content();
        Ok(Content { pending: by_account(&pending, summary), queued: by_account(&queued, summary) })
    });
}

fn by_account<T>(transactions: &[PooledTransaction], show: fn(&PooledTransaction) -> T) -> ByAccount<T> {
    let mut accounts = ByAccount::new();
    for pooled in transactions {
        let account = accounts.entry(pooled.transaction.signer().to_checksum(None)).or_default();
        account.insert(pooled.transaction.nonce().to_string(), show(pooled));
    }
    accounts
}

fn by_nonce(transactions: &[PooledTransaction]) -> BTreeMap<String, RpcTransaction> {
    transactions.iter().map(|pooled| (pooled.transaction.nonce().to_string(), whole(pooled))).collect()
}

fn whole(pooled: &PooledTransaction) -> RpcTransaction {
    convert::pooled(&pooled.transaction)
}

fn summary(pooled: &PooledTransaction) -> String {
    let transaction = &pooled.transaction;
    let to = transaction.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_checksum(None));
    let (value, gas, price) = (transaction.value(), transaction.gas_limit(), transaction.max_fee_per_gas());
    format!("{to}: {value} wei + {gas} gas × {price} wei")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::convert::tests::sample_block;
    use std::sync::Arc;

    #[test]
    fn the_pool_is_shown_by_sender_and_nonce() {
        let block = sample_block();
        let transaction = block.transactions[0].clone();
        let pooled = PooledTransaction {
            hash: *transaction.inner().tx_hash(),
            transaction: Arc::new(transaction),
            data_size: 0,
        };
        let sender = pooled.transaction.signer();
        let shown = by_account(std::slice::from_ref(&pooled), summary);
        let nonce = pooled.transaction.nonce().to_string();
        assert_eq!(
            shown[&sender.to_checksum(None)][&nonce],
            "0x2222222222222222222222222222222222222222: 5 wei + 21000 gas × 3000000000 wei"
        );
        assert_eq!(by_nonce(&[pooled]).into_keys().collect::<Vec<_>>(), ["4"]);
    }
}
