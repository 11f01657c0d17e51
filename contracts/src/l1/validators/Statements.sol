// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What a validator signs; numbered as in the statement.
library Kinds {
    uint8 internal constant PROPOSAL = 1;
    uint8 internal constant SKIP = 4;
    uint8 internal constant FINALIZE = 5;
}

/// @title The bytes that validators sign, as `crates/avc` has them. Numbers are 8 bytes, big-endian.
library Statements {
    /// @notice Of a vote, 75 bytes.
    function vote(uint8 kind, uint64 chainId, uint64 era, uint64 epoch, uint64 view_, bytes32 digest)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked("jove/avc/1", kind, chainId, era, epoch, view_, digest);
    }

    /// @notice Of a leader's seal of a block.
    function seal(uint64 chainId, uint64 era, uint64 epoch, uint64 term, uint64 number, bytes32 blockHash)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked("jove/avc/1/seal", chainId, era, epoch, term, number, blockHash);
    }
}
