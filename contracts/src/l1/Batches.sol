// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice The header of a batch: what its hash covers besides its blobs, in the order of the hash.
struct Batch {
    /// `Batches.ORDINARY` or `Batches.MESSAGES_ALONE`.
    uint8 version;
    /// How often queued messages alone were committed without the operators so far.
    uint64 era;
    /// The L2 chain id.
    uint64 chainId;
    /// The `Rollup` on L1.
    address rollup;
    /// 0 is genesis.
    uint64 index;
    bytes32 parentBatchHash;
    /// The last block before the batch.
    bytes32 parentBlockHash;
    bytes32 lastBlockHash;
    uint64 firstBlock;
    uint64 lastBlock;
    /// Of the last block, in seconds.
    uint64 lastTimestamp;
    /// How many queue entries are consumed before the batch.
    uint64 firstMessage;
    /// And after it.
    uint64 endMessage;
    bytes32 queueHashBefore;
    bytes32 queueHashAfter;
    /// The L1 block that the last block names as its origin.
    uint64 originNumber;
    bytes32 originHash;
    /// The chain's forks and settings.
    bytes32 configHash;
}

/// @title Batch hash, output hash and statement, to the byte.
library Batches {
    /// @notice A batch that the chain's operators sealed.
    uint8 internal constant ORDINARY = 1;
    /// @notice A batch of queued L1 messages alone: a block with a pool transaction makes it invalid.
    uint8 internal constant MESSAGES_ALONE = 2;
    /// @notice Domain of the output of a batch that breaks the rules.
    bytes32 internal constant INVALID_DOMAIN = keccak256("jove.output.invalid.v1");
    /// @notice Domain of a statement.
    bytes32 internal constant STATEMENT_DOMAIN = keccak256("jove.statement.v1");

    /// @notice keccak256(18 words of the header ‖ blob versioned hashes).
    function hash(Batch memory batch, bytes32[] memory blobs) internal pure returns (bytes32 result) {
        // In memory a struct of value types is its fields, a word each, and an array a length and its words.
        assembly ("memory-safe") {
            let start := mload(0x40)
            let size := mul(mload(blobs), 32)
            mcopy(start, batch, 576)
            mcopy(add(start, 576), add(blobs, 32), size)
            result := keccak256(start, add(576, size))
        }
    }

    /// @notice The same of calldata, whatever its words are: only those of a batch have its hash.
    function hashOf(Batch calldata batch, bytes32[] calldata blobs) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            let start := mload(0x40)
            let size := mul(blobs.length, 32)
            calldatacopy(start, batch, 576)
            calldatacopy(add(start, 576), blobs.offset, size)
            result := keccak256(start, add(576, size))
        }
    }

    /// @notice The output of a valid batch.
    function output(bytes32 batchHash, bytes32 lastBlockHash, bytes32 stateRoot, bytes32 outboxRoot)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(batchHash, lastBlockHash, stateRoot, outboxRoot));
    }

    /// @notice The output of a batch that breaks the rules when it follows the output `previous`.
    function invalidOutput(bytes32 batchHash, bytes32 previous) internal pure returns (bytes32) {
        return keccak256(abi.encode(INVALID_DOMAIN, batchHash, previous));
    }

    /// @notice What a proof proves: from the output `start`, the batches have `outputs`.
    /// @param openings For each blob of each batch in order: the hash of its contents, then y.
    function statement(
        uint64 chainId,
        address rollup,
        bytes32 start,
        address payout,
        bytes32[] memory outputs,
        bytes32[] memory openings
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                STATEMENT_DOMAIN,
                chainId,
                rollup,
                start,
                payout,
                keccak256(abi.encodePacked(outputs)),
                keccak256(abi.encodePacked(openings))
            )
        );
    }
}
