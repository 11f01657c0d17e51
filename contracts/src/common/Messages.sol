// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @title A message from L2 to L1, and the tree that holds such messages.
/// @notice The outbox is an append-only Keccak Merkle tree of depth 32, as in the deposit contract of Ethereum's beacon chain without
/// its length mix-in: an absent leaf is zero, a node is keccak256(left ‖ right). The leaf's position is the message's nonce.
struct Message {
    /// The position in the tree.
    uint64 nonce;
    /// The account that sent it on L2.
    address sender;
    /// The account to call on L1.
    address target;
    /// Wei to send with the call.
    uint256 value;
    /// Gas that the call gets at least.
    uint64 gas;
    /// The call's data.
    bytes data;
}

library Messages {
    /// @notice The depth of the tree.
    uint256 internal constant DEPTH = 32;
    /// @notice The root of the tree without a leaf: Z_0 = 0, Z_{i+1} = keccak256(Z_i ‖ Z_i); this is Z_32.
    bytes32 internal constant EMPTY_ROOT = 0x27ae5ba08d7291c96c8cbddcc148bf48a6d68c7974b94356f53754ef6171d757;

    /// @notice The leaf of a message: nonce, sender, target, value, gas and keccak256(data), a word each.
    function leaf(Message memory message) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                message.nonce, message.sender, message.target, message.value, message.gas, keccak256(message.data)
            )
        );
    }

    /// @notice The root that `leaf_` at `position` has with the siblings in `proof`, from the leaf up.
    function rootOf(bytes32 leaf_, uint64 position, bytes32[32] calldata proof) internal pure returns (bytes32 node) {
        node = leaf_;
        for (uint256 level; level < DEPTH; ++level) {
            node = (position >> level) & 1 == 1
                ? Hashes.efficientKeccak256(proof[level], node)
                : Hashes.efficientKeccak256(node, proof[level]);
        }
    }
}
