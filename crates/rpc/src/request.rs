//! Parameters as callers write them.

use crate::error::RpcError;
use alloy_primitives::U256;
use alloy_rpc_types_eth::TransactionRequest;
use serde::{Deserialize, Deserializer, de};

/// A number below 2^64: a hexadecimal string as the specification has it, or a JSON number as development tools write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity(pub(crate) u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = U256::deserialize(deserializer)?;
        number.try_into().map(Self).map_err(|_| de::Error::custom("number is too large"))
    }
}

/// Moves the call data to `input`. `data` is its old name; both are accepted together when they are equal, since some tools send
/// both.
///
/// # Errors
/// -32602 if they differ.
pub(crate) fn normalize_input(request: &mut TransactionRequest) -> Result<(), RpcError> {
    let differ = matches!((&request.input.input, &request.input.data), (Some(input), Some(data)) if input != data);
    if differ {
        return Err(RpcError::invalid_params(
            r#"both "data" and "input" are set and not equal. Please use "input" to pass transaction call data"#,
        ));
    }
    request.input.normalize_input();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<TransactionRequest, RpcError> {
        let mut request: TransactionRequest = serde_json::from_str(json).expect("a request");
        normalize_input(&mut request).map(|()| request)
    }

    #[test]
    fn quantities_are_bounded() {
        let parse = |json: &str| serde_json::from_str::<Quantity>(json).map(|quantity| quantity.0).ok();
        assert_eq!(parse("\"0x10\""), Some(16));
        assert_eq!(parse("16"), Some(16));
        assert_eq!(parse("\"0xffffffffffffffff\""), Some(u64::MAX));
        for bad in ["\"0x10000000000000000\"", "-1", "1.5", "null", "\"0xzz\"", "true", "[]"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn data_and_input_are_one_thing() {
        for json in [r#"{"data":"0x01"}"#, r#"{"input":"0x01"}"#, r#"{"data":"0x01","input":"0x01"}"#] {
            let request = parse(json).expect("accepted");
            assert_eq!(request.input.input, Some(alloy_primitives::Bytes::from_static(&[1])), "{json}");
            assert_eq!(request.input.data, None, "{json}");
        }
        let error = parse(r#"{"data":"0x01","input":"0x02"}"#).expect_err("they differ");
        assert_eq!(error.code, RpcError::INVALID_PARAMS);
        assert_eq!(parse("{}").expect("accepted").input.input, None);
    }
}
