//! Why a call of a contract failed, by name.
//!
//! Solidity returns 4 bytes of selector and arguments in ABI encoding: a custom error of a contract, `Error(string)` of a `require`, or `Panic(uint256)` of
//! a failed check of its own. The errors of all of Jove's contracts are known from their artifacts.

use alloy_dyn_abi::{DynSolType, DynSolValue, JsonAbiExt};
use alloy_json_abi::{ContractObject, Error as AbiError};
use alloy_primitives::{Bytes, Selector, U256, hex};
use std::{collections::HashMap, fmt, sync::LazyLock};

/// Longest return data that is decoded, in bytes. Jove's errors have at most a few words.
const MAX_DECODED: usize = 16 * 1024;
/// Most characters of a text, a list or bytes that are shown.
const MAX_SHOWN: usize = 256;

/// The errors whose argument is when something is possible.
const TIMES: [&str; 4] = ["NotSilent", "NoOverdueMessage", "NotDroppable", "NotDue"];

/// `Error(string)`.
const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// `Panic(uint256)`.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

macro_rules! artifact {
    ($name:literal) => {
        include_str!(concat!("../../../contracts/artifacts/", $name, ".json"))
    };
}

/// The contracts that may revert.
const ARTIFACTS: [&str; 23] = [
    artifact!("Rollup"),
    artifact!("Proofs"),
    artifact!("Inbox"),
    artifact!("Outbox"),
    artifact!("Bridge"),
    artifact!("EscapeHatch"),
    artifact!("Origins"),
    artifact!("Pause"),
    artifact!("Timelock"),
    artifact!("SequencerAuthority"),
    artifact!("ValidatorAuthority"),
    artifact!("RewardVault"),
    artifact!("Proxy"),
    artifact!("Placeholder"),
    artifact!("TestVerifier"),
    artifact!("ZkVerifier"),
    artifact!("TeeVerifier"),
    artifact!("AttestationRegistry"),
    artifact!("DcapVerifier"),
    artifact!("Pccs"),
    artifact!("L2Messenger"),
    artifact!("L2Bridge"),
    artifact!("L2Token"),
];

static ERRORS: LazyLock<HashMap<Selector, AbiError>> = LazyLock::new(|| {
    let contracts = ARTIFACTS.iter().filter_map(|artifact| serde_json::from_str::<ContractObject>(artifact).ok());
    let errors = contracts.filter_map(|contract| contract.abi).flat_map(|abi| abi.errors.into_values().flatten());
    errors.map(|error| (error.selector(), error)).collect()
});

/// What a call that reverted returned.
#[derive(Clone, Debug, PartialEq)]
pub enum Revert {
    /// An error of Jove's contracts.
    Custom {
        /// Its name, such as `WrongParent`.
        name: String,
        /// Its arguments.
        arguments: Vec<DynSolValue>,
    },
    /// A `require` with a text.
    Message(String),
    /// A failed check of Solidity's own, by its code.
    Panic(u64),
    /// An error of a contract that is not known here, or return data that is none.
    Unknown(Bytes),
    /// Nothing was returned: out of gas, an invalid opcode, a `revert` without reason, or the node does not say.
    Empty,
}

impl Revert {
    /// Reads what a call returned. Any bytes are one of the variants.
    pub fn decode(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Empty;
        }
        Self::known(data).unwrap_or_else(|| Self::Unknown(Bytes::copy_from_slice(&data[..data.len().min(MAX_DECODED)])))
    }

    fn known(data: &[u8]) -> Option<Self> {
        let (selector, arguments) = data.split_first_chunk::<4>()?;
        if data.len() > MAX_DECODED {
            return None;
        }
        match *selector {
            ERROR => {
                let arguments = DynSolType::Tuple(vec![DynSolType::String]).abi_decode_params(arguments).ok()?;
                Some(Self::Message(arguments.as_tuple()?.first()?.as_str()?.to_owned()))
            }
            PANIC => {
                let word: &[u8; 32] = arguments.try_into().ok()?;
                U256::from_be_bytes(*word).try_into().ok().map(Self::Panic)
            }
            selector => {
                let error = ERRORS.get(&Selector::from(selector))?;
                let arguments = error.abi_decode_input(arguments).ok()?;
                Some(Self::Custom { name: error.name.clone(), arguments })
            }
        }
    }

    /// The name of a custom error.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Custom { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom { name, arguments } => {
                let never = |argument: &DynSolValue| argument.as_uint().is_some_and(|(value, _)| value == U256::MAX);
                match arguments.iter().any(never) && TIMES.contains(&name.as_str()) {
                    true => write!(f, "{name}(never)"),
                    false => {
                        write!(f, "{name}(")?;
                        write_list(f, arguments)?;
                        f.write_str(")")
                    }
                }
            }
            Self::Message(text) => write_text(f, text),
            Self::Panic(code) => {
                // docs.soliditylang.org, "Panic via assert and Error via require".
                let meaning = match code {
                    0x01 => "assert",
                    0x11 => "arithmetic overflow",
                    0x12 => "division by zero",
                    0x21 => "no such enum value",
                    0x22 => "malformed storage",
                    0x31 => "pop of an empty array",
                    0x32 => "index out of bounds",
                    0x41 => "too much memory",
                    0x51 => "call of a null function",
                    _ => "unknown",
                };
                write!(f, "Panic({code:#04x}): {meaning}")
            }
            Self::Unknown(data) => write_bytes(f, data),
            Self::Empty => f.write_str("reverted without a reason"),
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, values: &[DynSolValue]) -> fmt::Result {
    for (index, value) in values.iter().take(MAX_SHOWN).enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_value(f, value)?;
    }
    if values.len() > MAX_SHOWN { f.write_str(", …") } else { Ok(()) }
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &DynSolValue) -> fmt::Result {
    match value {
        DynSolValue::Bool(value) => write!(f, "{value}"),
        DynSolValue::Int(value, _) => write!(f, "{value}"),
        DynSolValue::Uint(value, _) => write!(f, "{value}"),
        DynSolValue::FixedBytes(word, size) => write_bytes(f, &word[..*size]),
        DynSolValue::Address(address) => write!(f, "{address}"),
        DynSolValue::Function(function) => write_bytes(f, function.as_slice()),
        DynSolValue::Bytes(bytes) => write_bytes(f, bytes),
        DynSolValue::String(text) => write_text(f, text),
        other => {
            f.write_str("[")?;
            write_list(f, other.as_array().or(other.as_fixed_array()).or(other.as_tuple()).unwrap_or_default())?;
            f.write_str("]")
        }
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str(&hex::encode_prefixed(&bytes[..bytes.len().min(MAX_SHOWN)]))?;
    if bytes.len() > MAX_SHOWN { f.write_str("…") } else { Ok(()) }
}

/// A contract's text, on one line.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let shown: String = text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    write!(f, "\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, keccak256};

    fn custom(signature: &str, words: &[B256]) -> Vec<u8> {
        [&keccak256(signature)[..4], &words.concat()].concat()
    }

    #[test]
    fn every_artifact_is_read() {
        for artifact in ARTIFACTS {
            let contract: ContractObject = serde_json::from_str(artifact).expect("an artifact");
            assert!(contract.abi.is_some());
        }
        assert!(ERRORS.len() > 60, "{} errors", ERRORS.len());
    }

    #[test]
    fn errors_of_the_contracts_have_names() {
        let parent = B256::repeat_byte(0xab);
        let revert = Revert::decode(&custom("WrongParent(bytes32)", &[parent]));
        assert_eq!(revert.name(), Some("WrongParent"));
        assert_eq!(revert.to_string(), format!("WrongParent({parent})"));
        let words = [U256::from(7).into(), parent];
        assert_eq!(
            Revert::decode(&custom("WrongOrigin(uint64,bytes32)", &words)).to_string(),
            format!("WrongOrigin(7, {parent})")
        );
        assert_eq!(Revert::decode(&custom("NotCertified()", &[])).to_string(), "NotCertified()");
        assert_eq!(Revert::decode(&custom("NotOpen(uint8)", &[B256::with_last_byte(2)])).to_string(), "NotOpen(2)");
    }

    #[test]
    fn texts_and_panics_are_read() {
        let text = DynSolValue::String("not\nenough".into());
        let data = [&ERROR[..], &DynSolValue::Tuple(vec![text]).abi_encode_params()].concat();
        assert_eq!(Revert::decode(&data), Revert::Message("not\nenough".into()));
        assert_eq!(Revert::decode(&data).to_string(), "\"not enough\"");
        let data = [&PANIC[..], B256::with_last_byte(0x11).as_slice()].concat();
        assert_eq!(Revert::decode(&data).to_string(), "Panic(0x11): arithmetic overflow");
    }

    #[test]
    fn anything_else_is_shown_as_it_is() {
        assert_eq!(Revert::decode(&[]), Revert::Empty);
        let huge = vec![0xff; 100_000];
        let unknown: [&[u8]; 7] = [
            &[1],
            &[1, 2, 3, 4],
            &ERROR,
            &PANIC,
            // A text whose length is absurd.
            &[&ERROR[..], B256::with_last_byte(32).as_slice(), &[0xff; 32]].concat(),
            // A custom error without its argument.
            &keccak256("WrongParent(bytes32)")[..4],
            &huge,
        ];
        for data in unknown {
            assert!(matches!(Revert::decode(data), Revert::Unknown(_)), "{}", data.len());
            assert!(Revert::decode(data).to_string().len() < 1000);
        }
        assert_eq!(Revert::decode(&[1, 2]).to_string(), "0x0102");
    }
}
