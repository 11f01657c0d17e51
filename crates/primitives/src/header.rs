//! Jove's use of the Ethereum header.
//!
//! The header is Ethereum's, field for field. Three fields carry more than on Ethereum:
//! - `extraData` is [`Extra`]: `0x01 ‖ millisecond (u16, big-endian) ‖ excess gas (u64, big-endian)`, with `0x02` in a block of messages from L1;
//! - `mixHash` is [`mix_hash`];
//! - `timestamp` is in seconds and never falls, but may be equal within a second.
//!
//! A chain under Ethereum's rules has empty `extraData`, and times in whole seconds.

use crate::fee::GasParams;
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, keccak256};
use thiserror::Error;

const VERSION: u8 = 1;
/// Version of a block of messages from L1.
const VERSION_MESSAGES: u8 = 2;

/// The contents of `extraData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Millisecond within the second that `timestamp` names, below 1,000.
    pub millisecond: u16,
    /// Gas used beyond the target so far ([`crate::fee`]).
    pub excess_gas: u64,
    /// Whether the block is of messages from L1, whose gas was bought there and does not count here. Such a block has no other transaction, and
    /// no other block has a message.
    pub messages: bool,
}

/// Why an `extraData` is not Jove's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExtraError {
    /// It has another length than 11 bytes.
    #[error("extraData has {0} bytes, not 11")]
    Length(usize),
    /// It starts with an unknown version.
    #[error("extraData has version {0}, not {VERSION} or {VERSION_MESSAGES}")]
    Version(u8),
    /// The millisecond is 1,000 or more.
    #[error("extraData has millisecond {0}, not below 1000")]
    Millisecond(u16),
}

impl Extra {
    /// The 11 bytes of `extraData`.
    pub fn encode(self) -> Bytes {
        let mut bytes = [0; 11];
        bytes[0] = if self.messages { VERSION_MESSAGES } else { VERSION };
        bytes[1..3].copy_from_slice(&self.millisecond.to_be_bytes());
        bytes[3..].copy_from_slice(&self.excess_gas.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }

    /// Reads `extraData`, strictly.
    ///
    /// # Errors
    /// If the length, the version or the millisecond is not Jove's.
    pub fn decode(bytes: &[u8]) -> Result<Self, ExtraError> {
        let Ok([version, m0, m1, excess @ ..]) = <[u8; 11]>::try_from(bytes) else {
            return Err(ExtraError::Length(bytes.len()));
        };
        let messages = match version {
            VERSION => false,
            VERSION_MESSAGES => true,
            other => return Err(ExtraError::Version(other)),
        };
        let millisecond = u16::from_be_bytes([m0, m1]);
        if millisecond >= 1000 {
            return Err(ExtraError::Millisecond(millisecond));
        }
        Ok(Self { millisecond, excess_gas: u64::from_be_bytes(excess), messages })
    }
}

/// A block's time in milliseconds since the Unix epoch.
///
/// # Errors
/// If the header's `extraData` is neither Jove's nor empty.
pub fn time_ms(header: &Header) -> Result<u64, ExtraError> {
    let millisecond =
        if header.extra_data.is_empty() { 0 } else { Extra::decode(&header.extra_data)?.millisecond.into() };
    Ok(header.timestamp.saturating_mul(1000).saturating_add(millisecond))
}

/// Excess gas of a block `elapsed_ms` after `parent`.
///
/// # Errors
/// If the parent's `extraData` is not Jove's.
pub fn next_excess(gas: &GasParams, parent: &Header, elapsed_ms: u64) -> Result<u64, ExtraError> {
    let Extra { excess_gas, messages, .. } = Extra::decode(&parent.extra_data)?;
    Ok(gas.next_excess(excess_gas, if messages { 0 } else { parent.gas_used }, elapsed_ms))
}

/// `mixHash` of a block: keccak256(source ‖ number as u64, big-endian). The source is the `mixHash` of the block's L1 origin; the hash of the genesis
/// block while there is no origin, and then it is no randomness that anyone may rely on.
pub fn mix_hash(source: B256, number: u64) -> B256 {
    let mut bytes = [0; 40];
    bytes[..32].copy_from_slice(source.as_slice());
    bytes[32..].copy_from_slice(&number.to_be_bytes());
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn the_gas_of_messages_does_not_count() {
        let gas = GasParams {
            target_per_second: 1_000,
            block_gas_limit: 1_000,
            transaction_gas_limit_cap: None,
            base_fee_floor: 1,
        };
        let parent = |messages| {
            let extra = Extra { excess_gas: 5_000, messages, millisecond: 0 };
            Header { gas_used: 700, extra_data: extra.encode(), ..Default::default() }
        };
        assert_eq!(next_excess(&gas, &parent(false), 1_000), Ok(4_700));
        assert_eq!(next_excess(&gas, &parent(true), 1_000), Ok(4_000));
    }

    #[test]
    fn times_are_in_milliseconds_or_whole_seconds() {
        let header = |extra_data| Header { timestamp: 7, extra_data, ..Default::default() };
        let extra = Extra { millisecond: 12, ..Default::default() };
        assert_eq!(time_ms(&header(extra.encode())), Ok(7_012));
        assert_eq!(time_ms(&header(Bytes::new())), Ok(7_000));
        assert_eq!(time_ms(&header(Bytes::from_static(b"geth"))), Err(ExtraError::Length(4)));
    }

    #[test]
    fn extra_data_is_pinned_and_strict() {
        let extra = Extra { millisecond: 987, excess_gas: 0x0102_0304_0506_0708, messages: false };
        assert_eq!(extra.encode()[..], hex!("0103db0102030405060708"));
        assert_eq!(Extra::decode(&extra.encode()), Ok(extra));
        let messages = Extra { messages: true, ..extra };
        assert_eq!(messages.encode()[..], hex!("0203db0102030405060708"));
        assert_eq!(Extra::decode(&messages.encode()), Ok(messages));
        assert_eq!(Extra::decode(&[]), Err(ExtraError::Length(0)));
        assert_eq!(Extra::decode(&hex!("0303db0102030405060708")), Err(ExtraError::Version(3)));
        assert_eq!(Extra::decode(&hex!("0103e80102030405060708")), Err(ExtraError::Millisecond(1000)));
    }
}
