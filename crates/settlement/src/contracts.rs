//! The settlement contracts as the node calls them: bindings made from `contracts/artifacts`, so that they cannot differ from what is deployed.
//!
//! Each contract is a module: `Rollup::commitCall`, `Rollup::BatchCommitted`, `Rollup::RollupErrors`; of one that `jove deploy` creates, `BYTECODE`
//! and `constructorCall` as well. docs/settlement.md says what they mean. Solidity's enums are here as their values: [`ProofSystem`], [`Phase`],
//! [`MessageStatus`].
#![allow(missing_docs)] // documented in the Solidity sources; what is generated has no place for it

use crate::{Error, L1};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U256, b256, keccak256};
use alloy_sol_types::{SolCall, SolConstructor, SolValue, sol};

/// What the generated modules are kept in.
#[allow(clippy::too_many_arguments, clippy::pub_underscore_fields, unreachable_pub)]
mod generated {
    use super::sol;

    sol!(
        #[sol(all_derives)]
        Rollup,
        "../../contracts/artifacts/Rollup.json"
    );
    sol!(
        #[sol(all_derives)]
        Proofs,
        "../../contracts/artifacts/Proofs.json"
    );
    sol!(
        #[sol(all_derives)]
        Inbox,
        "../../contracts/artifacts/Inbox.json"
    );
    sol!(
        #[sol(all_derives)]
        Bridge,
        "../../contracts/artifacts/Bridge.json"
    );
    sol!(
        #[sol(all_derives)]
        Outbox,
        "../../contracts/artifacts/Outbox.json"
    );
    sol!(
        #[sol(all_derives)]
        EscapeHatch,
        "../../contracts/artifacts/EscapeHatch.json"
    );
    sol!(
        #[sol(all_derives)]
        Origins,
        "../../contracts/artifacts/Origins.json"
    );
    sol!(
        #[sol(all_derives)]
        Pause,
        "../../contracts/artifacts/Pause.json"
    );
    sol!(
        #[sol(all_derives)]
        Timelock,
        "../../contracts/artifacts/Timelock.json"
    );
    sol!(
        #[sol(all_derives)]
        SequencerAuthority,
        "../../contracts/artifacts/SequencerAuthority.json"
    );
    sol!(
        #[sol(all_derives)]
        ValidatorAuthority,
        "../../contracts/artifacts/ValidatorAuthority.json"
    );
    sol!(
        #[sol(all_derives)]
        RewardVault,
        "../../contracts/artifacts/RewardVault.json"
    );
    sol!(
        #[sol(all_derives)]
        TestVerifier,
        "../../contracts/artifacts/TestVerifier.json"
    );
    sol!(
        #[sol(all_derives)]
        ZkVerifier,
        "../../contracts/artifacts/ZkVerifier.json"
    );
    sol!(
        #[sol(all_derives)]
        Placeholder,
        "../../contracts/artifacts/Placeholder.json"
    );
    sol!(
        #[sol(all_derives)]
        Proxy,
        "../../contracts/artifacts/Proxy.json"
    );
    sol!(
        #[sol(all_derives)]
        Pccs,
        "../../contracts/artifacts/Pccs.json"
    );
    sol!(
        #[sol(all_derives)]
        DcapVerifier,
        "../../contracts/artifacts/DcapVerifier.json"
    );
    sol!(
        #[sol(all_derives)]
        AttestationRegistry,
        "../../contracts/artifacts/AttestationRegistry.json"
    );
    sol!(
        #[sol(all_derives)]
        TeeVerifier,
        "../../contracts/artifacts/TeeVerifier.json"
    );
    sol!(
        #[sol(all_derives)]
        L2Messenger,
        "../../contracts/artifacts/L2Messenger.json"
    );
    sol!(
        #[sol(all_derives)]
        L2Bridge,
        "../../contracts/artifacts/L2Bridge.json"
    );
    sol!(
        #[sol(all_derives)]
        L2Token,
        "../../contracts/artifacts/L2Token.json"
    );
    sol! {
        /// ERC-20, as far as the bridge commands need it.
        #[derive(Debug, PartialEq, Eq)]
        interface Erc20 {
            function name() external view returns (string memory);
            function symbol() external view returns (string memory);
            function decimals() external view returns (uint8);
            function balanceOf(address account) external view returns (uint256);
            function allowance(address owner, address spender) external view returns (uint256);
            function approve(address spender, uint256 amount) external returns (bool);
        }
    }
}

pub use generated::{
    AttestationRegistry, Bridge, DcapVerifier, Erc20, EscapeHatch, Inbox, KeySets, L2Bridge, L2Messenger, L2Token,
    Origins, Outbox, Pause, Pccs, Placeholder, Proofs, Proxy, RewardVault, Rollup, SequencerAuthority, TeeVerifier,
    TestVerifier, Timelock, ValidatorAuthority, ValidatorRegistry, ZkVerifier,
};

/// `Proofs.sol`'s `ProofSystem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProofSystem {
    /// Trusted execution environments.
    Tee = 0,
    /// Zero knowledge.
    Zk = 1,
}

/// `IRollup.sol`'s `Phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Not initialized.
    Closed = 0,
    /// Batches, messages and proofs are taken.
    Open = 1,
    /// The escape has begun.
    Halted = 2,
}

impl Phase {
    /// The phase with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Closed, Self::Open, Self::Halted].get(usize::from(number)).copied()
    }
}

/// `Outbox.sol`'s `Status`: what happened to a message from L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageStatus {
    /// Not executed yet.
    None = 0,
    /// The call failed and can be tried again.
    Failed = 1,
    /// The call succeeded.
    Executed = 2,
}

impl MessageStatus {
    /// The status with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::None, Self::Failed, Self::Executed].get(usize::from(number)).copied()
    }
}

/// Domain of a proof that `TestVerifier` believes: keccak256("jove.proof.test.v1").
pub const TEST_PROOF_DOMAIN: B256 = b256!("889d8e9c245caa96182cd8ee2283de70841d868b779c8b7c73d4cfebb9e72992");

/// The slot that names a proxy's implementation (ERC-1967).
pub const IMPLEMENTATION_SLOT: B256 = b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");

/// Creation code with its constructor's arguments: what EIP-1014 hashes.
pub fn creation_code(bytecode: &Bytes, arguments: &impl SolConstructor) -> Bytes {
    [bytecode.as_ref(), &arguments.abi_encode()].concat().into()
}

/// What a view returns in the head's state.
///
/// # Errors
/// As [`L1::call`]; [`Error::Malformed`] if what comes back is not what the function returns, as where there is no such contract.
pub async fn ask<C: SolCall>(node: &L1, to: Address, call: &C) -> Result<C::Return, Error> {
    ask_at(node, to, call, BlockNumberOrTag::Latest).await
}

/// What a view returns in the state after a block.
///
/// # Errors
/// As [`ask`].
pub async fn ask_at<C: SolCall>(
    node: &L1,
    to: Address,
    call: &C,
    block: impl Into<BlockId>,
) -> Result<C::Return, Error> {
    let answer = node.call(to, call.abi_encode().into(), block).await?;
    C::abi_decode_returns_validate(&answer).map_err(|error| Error::Malformed {
        method: "eth_call".into(),
        reason: format!("{to} has no {}: {error}", C::SIGNATURE),
    })
}

/// The leaf of a message from L2 in the outbox tree.
pub fn message_leaf(message: &Outbox::Message) -> B256 {
    let Outbox::Message { nonce, sender, target, value, gas, data } = message;
    keccak256((*nonce, *sender, *target, *value, *gas, keccak256(data)).abi_encode())
}

/// A proof of `statement` that `TestVerifier` believes. A zero-knowledge proof has no maker: all its fields are zero.
pub fn test_proof(statement: B256, key: Address, platform: B256, vendor: u8) -> Bytes {
    let word = keccak256([TEST_PROOF_DOMAIN, statement].concat());
    (word, key, platform, U256::from(vendor)).abi_encode().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;
    use alloy_sol_types::{SolCall, SolEvent};

    const FORMATS: &str = include_str!("../../../contracts/test/fixtures/formats.json");

    #[test]
    fn constants_are_what_they_say() {
        assert_eq!(TEST_PROOF_DOMAIN, keccak256("jove.proof.test.v1"));
        let slot = U256::from_be_bytes(keccak256("eip1967.proxy.implementation").0) - U256::ONE;
        assert_eq!(IMPLEMENTATION_SLOT, B256::from(slot));
        assert_eq!(Phase::from_number(1), Some(Phase::Open));
        assert_eq!((Phase::from_number(3), MessageStatus::from_number(3)), (None, None));
    }

    #[test]
    fn signatures_are_the_contracts() {
        // Pinned: nodes of other versions read these, and a change of them is a change of the protocol.
        assert_eq!(
            Rollup::BatchCommitted::SIGNATURE,
            "BatchCommitted(uint64,bytes32,(uint8,uint64,uint64,address,uint64,bytes32,bytes32,bytes32,uint64,uint64,uint64,uint64,uint64,\
             bytes32,bytes32,uint64,bytes32,bytes32),bytes32[])"
        );
        assert_eq!(
            Inbox::MessageQueued::SIGNATURE,
            "MessageQueued(uint64,address,address,bool,uint256,uint256,uint64,bytes)"
        );
        assert_eq!(
            Outbox::executeCall::SIGNATURE,
            "execute((uint64,address,address,uint256,uint64,bytes),(uint64,bytes32,bytes32,bytes32),bytes32[32])"
        );
        assert_eq!(L2Messenger::sendCall::SIGNATURE, "send(address,uint64,bytes)");
        assert_eq!(Erc20::approveCall::SELECTOR, hex!("095ea7b3"));
    }

    #[test]
    fn leaves_are_the_contracts() {
        let formats: serde_json::Value = serde_json::from_str(FORMATS).expect("JSON");
        let messages = formats["messages"].as_array().expect("a list");
        assert!(messages.len() >= 4);
        for message in messages {
            let text = |field: &str| message[field].as_str().unwrap_or_else(|| panic!("{field}"));
            let number = |field: &str| message[field].as_u64().unwrap_or_else(|| panic!("{field}"));
            let decoded = Outbox::Message {
                nonce: number("nonce"),
                sender: text("sender").parse().expect("an address"),
                target: text("target").parse().expect("an address"),
                value: text("value").parse().expect("a number"),
                gas: number("gas"),
                data: text("data").parse().expect("bytes"),
            };
            assert_eq!(message_leaf(&decoded), text("leaf").parse::<B256>().expect("a hash"));
        }
    }

    #[test]
    fn a_test_proof_is_the_word_and_the_prover() {
        let (statement, key, platform) = (B256::repeat_byte(1), Address::repeat_byte(2), B256::repeat_byte(3));
        let proof = test_proof(statement, key, platform, 4);
        let call = TestVerifier::verifyCall { statement, proof: proof.clone() };
        assert_eq!(TestVerifier::verifyCall::abi_decode(&call.abi_encode()).expect("itself"), call);
        let (word, prover) =
            <(B256, TestVerifier::Prover)>::abi_decode_params(&proof).expect("what the contract decodes");
        assert_eq!(word, keccak256([TEST_PROOF_DOMAIN, statement].concat()));
        assert_eq!(prover, TestVerifier::Prover { key, platform, vendor: 4 });
    }
}
