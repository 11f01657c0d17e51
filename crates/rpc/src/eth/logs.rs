//! Log queries.

use super::convert;
use crate::{
    error::RpcError,
    methods::{Call, Methods},
    resolve,
};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use jove_storage::{LogFilter, View};

/// Most logs in one answer.
const MAX_LOGS: usize = 10_000;
/// Most addresses, and most topics in one position, as in geth.
const MAX_ALTERNATIVES: usize = 1000;

pub(crate) fn register(methods: &mut Methods) {
    methods.heavy("eth_getLogs", |call| {
        let (filter,): (Filter,) = call.args()?;
        query(call, &filter)
    });
}

/// The logs that `filter` names, oldest first.
///
/// # Errors
/// -32005 if there are more than [`MAX_LOGS`], -32602 for a range that ends before it starts.
pub(crate) fn query(call: &Call, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    check(filter)?;
    let view = call.context.node.storage().view();
    match range(&view, filter)? {
        Some((from, to)) => query_range(call, &view, filter, from, to),
        None => Ok(Vec::new()),
    }
}

/// The logs of `filter` in the blocks `from..=to`.
pub(crate) fn query_range(call: &Call, view: &View, filter: &Filter, from: u64, to: u64) -> Result<Vec<Log>, RpcError> {
    let topics = [0, 1, 2, 3].map(|position: usize| filter.topics[position].iter().copied().collect());
    let filter = LogFilter { from, to, addresses: filter.address.iter().copied().collect(), topics };
    let entries = view.logs(&filter, MAX_LOGS, call.deadline)?;
    Ok(entries.into_iter().map(convert::log).collect())
}

/// Refuses filters with absurdly many alternatives.
pub(crate) fn check(filter: &Filter) -> Result<(), RpcError> {
    if filter.address.len() > MAX_ALTERNATIVES || filter.topics.iter().any(|topic| topic.len() > MAX_ALTERNATIVES) {
        return Err(RpcError::invalid_params("exceed max addresses or topics per search position"));
    }
    if filter.block_option.ensure_valid_block_range().is_err() {
        return Err(RpcError::invalid_params("invalid block range params"));
    }
    Ok(())
}

/// First and last block of a filter, within the chain. Without bounds it is the head, as in geth.
fn range(view: &View, filter: &Filter) -> Result<Option<(u64, u64)>, RpcError> {
    let (from, to) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = view.block_number(hash)?.ok_or_else(|| RpcError::new(RpcError::NOT_FOUND, "unknown block"))?;
            (number, number)
        }
        FilterBlockOption::Range { from_block, to_block } => (
            resolve::number(view, from_block.unwrap_or_default()),
            resolve::number(view, to_block.unwrap_or_default()).min(view.head_number()),
        ),
    };
    Ok((from <= to).then_some((from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let filter: Filter = serde_json::from_str(json).expect("a filter");
        let error = check(&filter).expect_err("refused");
        assert_eq!(error.code, RpcError::INVALID_PARAMS);
        error.message.into_owned()
    }

    #[test]
    fn absurd_filters_are_refused() {
        assert_eq!(refusal(r#"{"fromBlock":"0x5","toBlock":"0x3"}"#), "invalid block range params");
        let topics: Vec<String> = (0..1001).map(|i| format!("\"0x{i:064x}\"")).collect();
        let many = refusal(&format!(r#"{{"topics":[null,[{}]]}}"#, topics.join(",")));
        assert_eq!(many, "exceed max addresses or topics per search position");
        let fine: Filter = serde_json::from_str(r#"{"fromBlock":"0x5","toBlock":"latest"}"#).expect("a filter");
        assert!(check(&fine).is_ok());
    }
}
