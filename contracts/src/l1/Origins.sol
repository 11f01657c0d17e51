// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {BlockHeader} from "@openzeppelin/contracts/utils/BlockHeader.sol";

/// @title Hashes of L1 blocks of any age.
/// @notice From `BLOCKHASH` and EIP-2935 for the last 8,191 blocks, from a record that anyone made in time, or by a chain of headers below
/// either. Nobody owns it and nothing in it can change.
contract Origins {
    /// @notice The recorded hash of each L1 block; zero if there is none.
    mapping(uint64 number => bytes32 blockHash) public recorded;

    /// @notice A hash was recorded.
    event Recorded(uint64 indexed number, bytes32 blockHash);

    /// @notice The hash of this block is not known: it is not there yet, or it is too old and nobody recorded it.
    error UnknownBlock(uint64 number);
    /// @notice A header is not the one whose hash is known.
    error WrongHeader(uint64 number);
    /// @notice There is no header, or more than there are blocks below.
    error InvalidHeaderCount();

    /// @notice Records the hash of a block of the last 8,191.
    function record(uint64 number) external {
        _record(number, hashOf(number));
    }

    /// @notice Records the hash of the block below a chain of headers.
    /// @param known A block whose hash is known here.
    /// @param headers RLP of its header, of its parent's, and so on. The block recorded is `known - headers.length`.
    function recordBelow(uint64 known, bytes[] calldata headers) external {
        if (headers.length == 0 || headers.length > known) revert InvalidHeaderCount();
        bytes32 blockHash = hashOf(known);
        uint64 number = known;
        for (uint256 i; i < headers.length; ++i) {
            if (keccak256(headers[i]) != blockHash) revert WrongHeader(number);
            blockHash = BlockHeader.getParentHash(headers[i]);
            --number;
        }
        _record(number, blockHash);
    }

    /// @notice The hash of block `number`. Reverts if it is not known.
    function hashOf(uint64 number) public view returns (bytes32 blockHash) {
        blockHash = recorded[number];
        if (blockHash == 0) blockHash = Blockhash.blockHash(number);
        if (blockHash == 0) revert UnknownBlock(number);
    }

    function _record(uint64 number, bytes32 blockHash) private {
        recorded[number] = blockHash;
        emit Recorded(number, blockHash);
    }
}
