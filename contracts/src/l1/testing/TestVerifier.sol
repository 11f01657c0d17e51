// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IProofVerifier, Prover} from "../IProofVerifier.sol";

/// @title A verifier for development: it believes everyone.
/// @notice A proof is abi.encode(keccak256(DOMAIN ‖ statement), Prover): anyone can make one, but only of the statement that `Rollup` computes.
/// A production chain refuses this contract.
contract TestVerifier is IProofVerifier {
    /// @notice Domain of a test proof.
    bytes32 public constant DOMAIN = keccak256("jove.proof.test.v1");

    /// @notice The proof is of another statement.
    error WrongStatement();

    /// @inheritdoc IProofVerifier
    function verify(bytes32 statement, bytes calldata proof) external pure returns (Prover memory prover) {
        bytes32 word;
        (word, prover) = abi.decode(proof, (bytes32, Prover));
        if (word != keccak256(abi.encodePacked(DOMAIN, statement))) revert WrongStatement();
    }

    /// @inheritdoc IProofVerifier
    function isTest() external pure returns (bool) {
        return true;
    }
}
