// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable2Step, Ownable} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ICommitAuthority} from "./ICommitAuthority.sol";

/// @title The authority of a chain without validators: its sequencer, who owns this contract and may hand it on.
/// @notice A batch is certified by the sequencer's own transaction, or by its signature (secp256k1, 65 bytes r ‖ s ‖ v) of
/// keccak256(abi.encode(DOMAIN, chain id, rollup, era, last block's number, last block's hash)).
contract SequencerAuthority is ICommitAuthority, Ownable2Step {
    /// @notice Domain of the signature.
    bytes32 public constant DOMAIN = keccak256("jove.commit.v1");
    /// @notice The L2 chain id.
    uint64 public immutable chainId;
    /// @notice The rollup that it speaks for.
    address public immutable rollup;

    /// @notice The last block is not signed by the sequencer.
    error NotCertified();

    constructor(uint64 chainId_, address rollup_, address sequencer) Ownable(sequencer) {
        chainId = chainId_;
        rollup = rollup_;
    }

    /// @inheritdoc ICommitAuthority
    function check(
        address committer,
        uint64 era,
        uint64,
        uint64 lastBlock,
        bytes32 lastBlockHash,
        bytes calldata certificate
    ) external view returns (bool operator) {
        address sequencer = owner();
        operator = committer == sequencer;
        if (operator && certificate.length == 0) return true;
        bytes32 digest = keccak256(abi.encode(DOMAIN, chainId, rollup, era, lastBlock, lastBlockHash));
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, certificate);
        if (problem != ECDSA.RecoverError.NoError || signer != sequencer) revert NotCertified();
    }

    /// @inheritdoc ICommitAuthority
    /// @dev The sequencer signs the era; there is nothing to keep.
    function restart(uint64, uint64) external pure {}
}
