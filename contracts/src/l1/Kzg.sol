// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What a blob holds, as one evaluation of it: provers recompute both words from the contents.
struct Opening {
    /// keccak256 of the blob's 131,072 bytes.
    bytes32 contentsHash;
    /// The evaluation at z, below the field's modulus.
    bytes32 y;
    /// The KZG commitment, 48 bytes.
    bytes commitment;
    /// The KZG proof, 48 bytes.
    bytes proof;
}

/// @title The opening of a blob at z = keccak256(versioned hash ‖ contents hash) mod r (EIP-4844).
library Kzg {
    /// @notice r, the order of the scalar field of BLS12-381.
    uint256 internal constant MODULUS = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
    address private constant POINT_EVALUATION = address(0x0A);
    /// @dev The precompile takes 50,000, and all that it was given if it refuses. The bound leaves room for a dearer one.
    uint256 private constant GAS = 1_000_000;

    /// @notice The opening does not hold: the precompile refused it.
    error InvalidOpening(bytes32 versionedHash);

    /// @notice Reverts unless the blob of `versionedHash` evaluates to `opening.y` at z. Costs 50,000 gas.
    function check(bytes32 versionedHash, Opening calldata opening) internal view {
        uint256 z = uint256(keccak256(abi.encodePacked(versionedHash, opening.contentsHash))) % MODULUS;
        // 192 bytes exactly, or else the precompile refuses: so the lengths need no check of their own.
        (bool ok, bytes memory answer) = POINT_EVALUATION.staticcall{gas: GAS}(
            abi.encodePacked(versionedHash, z, opening.y, opening.commitment, opening.proof)
        );
        // The precompile answers 64 bytes; an account without code answers none.
        if (!ok || answer.length != 64) revert InvalidOpening(versionedHash);
    }
}
