//! Log queries.

use super::convert;
use crate::{
    error::RpcError,
    methods::{Call, Methods},
    resolve,
};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use jove_sequencer::Tags;
use jove_storage::{LogFilter, View};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// Most logs in one answer.
const MAX_LOGS: usize = 10_000;
/// Most addresses, and most topics in one position, of a query, as in geth; of what stands, all of them together.
const MAX_ALTERNATIVES: usize = 1000;

pub(crate) fn register(methods: &mut Methods) {
    methods.heavy("eth_getLogs", |call| {
        let (FilterObject(filter),): (FilterObject,) = call.args()?;
        check(&filter)?;
        let view = call.context.node.storage().view();
        let (from, to) = range(&view, call.context.node.tags(), &filter)?;
        if from > to {
            return Err(invalid_range());
        }
        // As in geth and execution-apis: an empty answer would say that there will be nothing.
        if to > view.head_number() {
            return Err(RpcError::invalid_params("block range extends beyond current head block"));
        }
        query_range(call, &view, &filter, from, to)
    });
}

/// The logs so far that a polling filter names, oldest first. Its range may lie ahead.
///
/// # Errors
/// -32005 if there are more than [`MAX_LOGS`].
pub(crate) fn query_so_far(call: &Call, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    let view = call.context.node.storage().view();
    let (from, to) = range(&view, call.context.node.tags(), filter)?;
    let to = to.min(view.head_number());
    if from > to { Ok(Vec::new()) } else { query_range(call, &view, filter, from, to) }
}

/// A filter as callers write it. Members that it does not know are ignored, as geth does; tools send some of their own.
pub(crate) struct FilterObject(pub(crate) Filter);

impl<'de> Deserialize<'de> for FilterObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const MEMBERS: [&str; 5] = ["fromBlock", "toBlock", "blockHash", "address", "topics"];
        let mut members = Map::deserialize(deserializer)?;
        members.retain(|name, _| MEMBERS.contains(&name.as_str()));
        serde_json::from_value(Value::Object(members)).map(Self).map_err(de::Error::custom)
    }
}

fn invalid_range() -> RpcError {
    RpcError::invalid_params("invalid block range params")
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
        return Err(invalid_range());
    }
    Ok(())
}

/// Refuses filters that may not stand, as polling filters and subscriptions do: each keeps its alternatives in memory.
pub(crate) fn check_standing(filter: &Filter) -> Result<(), RpcError> {
    if alternatives(filter) > MAX_ALTERNATIVES {
        let message = format!("exceed max addresses and topics: at most {MAX_ALTERNATIVES} in all");
        return Err(RpcError::invalid_params(message));
    }
    check(filter)
}

/// Addresses, and topics of all positions.
pub(crate) fn alternatives(filter: &Filter) -> usize {
    filter.address.len() + filter.topics.iter().map(|topic| topic.len()).sum::<usize>()
}

/// First and last block of a filter. Without bounds it is the head, as in geth.
fn range(view: &View, tags: Tags, filter: &Filter) -> Result<(u64, u64), RpcError> {
    Ok(match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = view.block_number(hash)?.ok_or_else(|| RpcError::new(RpcError::NOT_FOUND, "unknown block"))?;
            (number, number)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let number = |block: Option<_>| resolve::number(view, tags, block.unwrap_or_default());
            (number(from_block), number(to_block))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

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
        let of = |topics: usize| {
            let topics: Vec<String> = (0..topics).map(|i| format!("\"0x{i:064x}\"")).collect();
            let json = format!(r#"{{"address":"{:#x}","topics":[null,[{}]]}}"#, Address::ZERO, topics.join(","));
            serde_json::from_str::<Filter>(&json).expect("a filter")
        };
        assert!(check(&of(1000)).is_ok() && check_standing(&of(999)).is_ok());
        let refused = check_standing(&of(1000)).expect_err("more than a filter that stands may have");
        assert_eq!(refused.code, RpcError::INVALID_PARAMS);
        let FilterObject(known) =
            serde_json::from_str(r#"{"fromBlock":"0x1","limit":5,"chain":{"id":[1]}}"#).expect("a filter");
        assert_eq!(known.get_from_block(), Some(1), "what is unknown is ignored");
        for bad in [r#"{"fromBlock":"soon"}"#, r#"["0x1","0x2"]"#, r#"{"topics":[null,null,null,null,null]}"#, "5"] {
            assert!(serde_json::from_str::<FilterObject>(bad).is_err(), "{bad}");
        }
        let fine: Filter = serde_json::from_str(r#"{"fromBlock":"0x5","toBlock":"latest"}"#).expect("a filter");
        assert!(check(&fine).is_ok());
    }
}
