//! Errors as a client sees them.

use alloy_eips::BlockId;
use alloy_primitives::{B256, Bytes, U256, hex};
use jove_sequencer::{NodeError, PoolError};
use jove_storage::StorageError;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RpcError {
    /// One of the codes in the crate's table.
    pub(crate) code: i32,
    /// In words for the caller.
    pub(crate) message: Cow<'static, str>,
    /// What a program may need beside the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
}

impl RpcError {
    pub(crate) const PARSE: i32 = -32700;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INVALID_PARAMS: i32 = -32602;
    pub(crate) const INTERNAL: i32 = -32603;
    pub(crate) const SERVER: i32 = -32000;
    pub(crate) const NOT_FOUND: i32 = -32001;
    pub(crate) const TIMEOUT: i32 = -32002;
    pub(crate) const LIMIT: i32 = -32005;
    pub(crate) const REVERTED: i32 = 3;
    pub(crate) const NO_RECEIPT: i32 = 4;
    pub(crate) const NONCE_GAP: i32 = 6;
    pub(crate) const PRUNED: i32 = 4444;

    pub(crate) fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn parse(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::PARSE, message)
    }

    pub(crate) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::INVALID_REQUEST, message)
    }

    pub(crate) fn method_not_found(method: &str) -> Self {
        let shown: String = method.chars().take(100).collect();
        Self::new(Self::METHOD_NOT_FOUND, format!("the method {shown} does not exist/is not available"))
    }

    pub(crate) fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::INVALID_PARAMS, message)
    }

    /// Logs `why`; the caller learns only that the node failed.
    pub(crate) fn internal(why: impl std::fmt::Display) -> Self {
        tracing::error!(%why, "a request failed inside the node");
        Self::new(Self::INTERNAL, "internal error")
    }

    /// Understood and refused: code -32000.
    pub(crate) fn server(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::SERVER, message)
    }

    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::LIMIT, message)
    }

    pub(crate) fn timeout() -> Self {
        Self::new(Self::TIMEOUT, "request timed out")
    }

    /// No such block, where a block is needed, as geth says it.
    pub(crate) fn header_not_found() -> Self {
        Self::server("header not found")
    }

    /// As [`Self::header_not_found`]; for a block named by its hash, the code that EIP-1898 recommends.
    pub(crate) fn no_block(id: BlockId) -> Self {
        match id {
            BlockId::Number(_) => Self::header_not_found(),
            BlockId::Hash(_) => Self::new(Self::NOT_FOUND, "header for hash not found"),
        }
    }

    pub(crate) fn pruned() -> Self {
        Self::new(Self::PRUNED, "pruned history unavailable")
    }

    /// The answer would be one more that its client has not read.
    pub(crate) fn unread() -> Self {
        Self::limit("too many answers wait to be read")
    }

    pub(crate) fn response_too_large() -> Self {
        Self::limit("response too large")
    }

    /// A revert with its return data; the message names the reason where it is `Error(string)` or `Panic(uint256)`.
    pub(crate) fn reverted(output: &Bytes) -> Self {
        let message = match revert_reason(output) {
            Some(reason) => format!("execution reverted: {reason}").into(),
            None => Cow::Borrowed("execution reverted"),
        };
        Self::new(Self::REVERTED, message).with_data(Value::String(hex::encode_prefixed(output)))
    }

    /// EIP-7966: the receipt did not come in time.
    pub(crate) fn no_receipt(hash: B256, ms: u128) -> Self {
        let message = format!("The transaction was added to the mempool but wasn't processed in {ms} ms.");
        Self::new(Self::NO_RECEIPT, message).with_data(Value::String(hash.to_string()))
    }

    /// EIP-7966: the pool holds the transaction back until the sender's earlier ones arrive.
    pub(crate) fn nonce_gap(next_nonce: u64) -> Self {
        let message = format!(
            "The transaction was added to the mempool but cannot be processed yet: the sender's next nonce is {next_nonce}."
        );
        Self::new(Self::NONCE_GAP, message).with_data(Value::String(format!("{next_nonce:#x}")))
    }
}

/// The reason that Solidity encodes in a revert, in words.
pub(crate) fn revert_reason(output: &[u8]) -> Option<String> {
    let (selector, body) = output.split_first_chunk::<4>()?;
    match *selector {
        [0x08, 0xc3, 0x79, 0xa0] => {
            let word = |at: usize| body.get(at..at.checked_add(32)?).map(U256::from_be_slice);
            let offset = usize::try_from(word(0)?).ok()?;
            let length = usize::try_from(word(offset)?).ok()?;
            let start = offset.checked_add(32)?;
            let text = body.get(start..start.checked_add(length)?)?;
            std::str::from_utf8(text).ok().map(str::to_owned)
        }
        [0x4e, 0x48, 0x7b, 0x71] => {
            let code = U256::from_be_slice(body.get(..32)?);
            let meaning = match u8::try_from(code).ok() {
                Some(0x00) => "generic panic",
                Some(0x01) => "assert(false)",
                Some(0x11) => "arithmetic underflow or overflow",
                Some(0x12) => "division or modulo by zero",
                Some(0x21) => "enum overflow",
                Some(0x22) => "invalid encoded storage byte array accessed",
                Some(0x31) => "out-of-bounds array access; popping on an empty array",
                Some(0x32) => "out-of-bounds access of an array or bytesN",
                Some(0x41) => "out of memory",
                Some(0x51) => "uninitialized function",
                _ => return Some(format!("unknown panic code: {code:#x}")),
            };
            Some(meaning.to_owned())
        }
        _ => None,
    }
}

impl From<StorageError> for RpcError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Pruned { .. } => Self::pruned(),
            StorageError::UnknownBlock(_) => Self::header_not_found(),
            StorageError::TooManyResults(_) => Self::limit(error.to_string()),
            StorageError::Timeout => Self::timeout(),
            error => Self::internal(error),
        }
    }
}

impl From<NodeError> for RpcError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Storage(error) => error.into(),
            NodeError::OutsideProofWindow(_) => Self::new(Self::PRUNED, error.to_string()),
            NodeError::Stopped | NodeError::Invalid(_) => Self::server(error.to_string()),
            error => Self::internal(error),
        }
    }
}

impl From<PoolError> for RpcError {
    fn from(error: PoolError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revert_reasons_are_read_and_never_trusted() {
        let text = hex!(
            "08c379a0"
            "0000000000000000000000000000000000000000000000000000000000000020"
            "0000000000000000000000000000000000000000000000000000000000000004"
            "6e6f706500000000000000000000000000000000000000000000000000000000"
        );
        let error = RpcError::reverted(&Bytes::copy_from_slice(&text));
        assert_eq!((error.code, error.message.as_ref()), (3, "execution reverted: nope"));
        assert_eq!(error.data, Some(Value::String(hex::encode_prefixed(text))));

        let mut panic = hex!("4e487b71").to_vec();
        panic.extend_from_slice(&U256::from(0x11).to_be_bytes::<32>());
        assert_eq!(revert_reason(&panic).as_deref(), Some("arithmetic underflow or overflow"));

        let mut huge = text.to_vec();
        huge[4..36].fill(0xff);
        assert_eq!(revert_reason(&huge), None, "an absurd offset is no reason");
        for cut in 0..text.len() - 28 {
            assert_eq!(revert_reason(&text[..cut]), None, "{cut}");
        }
        assert_eq!(RpcError::reverted(&Bytes::new()).message, "execution reverted");
    }
}
