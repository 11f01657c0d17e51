// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IProofVerifier, Prover} from "../IProofVerifier.sol";
import {AttestationRegistry} from "./AttestationRegistry.sol";

/// @title Proofs by enclaves: a signature by a registered key.
/// @notice A proof is 65 bytes, r ‖ s ‖ v (secp256k1, s in the lower half, v 27 or 28), over
/// keccak256(abi.encode(DOMAIN, chain id of L1, registry, statement)), without any prefix.
contract TeeVerifier is IProofVerifier {
    /// @notice Domain of the signature.
    bytes32 public constant DOMAIN = keccak256("jove.proof.tee.v1");

    /// @notice The registered keys.
    AttestationRegistry public immutable registry;

    /// @notice The proof is no signature.
    error InvalidSignature();

    constructor(AttestationRegistry registry_) {
        registry = registry_;
    }

    /// @inheritdoc IProofVerifier
    function verify(bytes32 statement, bytes calldata proof) external view returns (Prover memory prover) {
        (address key, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digestOf(statement), proof);
        if (problem != ECDSA.RecoverError.NoError) revert InvalidSignature();
        return registry.proverOf(key);
    }

    /// @inheritdoc IProofVerifier
    function isTest() external view returns (bool) {
        return registry.isTest();
    }

    /// @notice What an enclave signs to prove a statement.
    function digestOf(bytes32 statement) public view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, block.chainid, address(registry), statement));
    }
}
