// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {Message, Messages} from "../common/Messages.sol";

/// @title The L2 messenger: messages to L1, in a tree whose root every batch's output carries.
/// @notice A predeploy, without a constructor. Its storage is part of the protocol: slot 0 the number of messages, slot 1 the root (genesis
/// sets it to the empty tree's, `Messages.EMPTY_ROOT`), slots 2 to 33 the last left sibling of each level. The ETH that messages carry stays
/// here: on L1 it leaves the bridge.
contract L2Messenger {
    /// @notice The most bytes of a message's data.
    uint256 public constant MAX_DATA = 32 * 1024;
    /// @notice The most gas that a message may ask for on L1: any L1 transaction can carry it (EIP-7825).
    uint64 public constant MAX_GAS = 10_000_000;

    /// @notice The number of messages.
    uint64 public count;
    /// @notice The root of the tree.
    bytes32 public root;
    bytes32[32] private _branch;

    /// @notice A message was sent; `leaf` is its leaf, `nonce` its position.
    event MessageSent(
        uint64 indexed nonce,
        address indexed sender,
        address indexed target,
        uint256 value,
        uint64 gas,
        bytes data,
        bytes32 leaf
    );

    /// @notice The data are longer than `MAX_DATA`.
    error DataTooLong(uint256 length);
    /// @notice The gas is over `MAX_GAS`.
    error TooMuchGas(uint64 gas);
    /// @notice The tree is full.
    error TreeFull();

    /// @notice Sends a message to L1, with the ETH of this call.
    /// @param target The account that is called on L1.
    /// @param gas The gas that the call gets there at least.
    /// @param data The call's data.
    /// @return nonce The message's position.
    function send(address target, uint64 gas, bytes calldata data) external payable returns (uint64 nonce) {
        if (data.length > MAX_DATA) revert DataTooLong(data.length);
        if (gas > MAX_GAS) revert TooMuchGas(gas);
        nonce = count;
        if (nonce >> Messages.DEPTH != 0) revert TreeFull();
        bytes32 leaf = Messages.leaf(Message(nonce, msg.sender, target, msg.value, gas, data));
        count = nonce + 1;
        root = _append(nonce, leaf);
        emit MessageSent(nonce, msg.sender, target, msg.value, gas, data, leaf);
    }

    /// @dev The root after `leaf` at `position`, the first free one.
    function _append(uint64 position, bytes32 leaf) private returns (bytes32 node) {
        node = leaf;
        bytes32 empty;
        bool kept;
        for (uint256 level; level < Messages.DEPTH; ++level) {
            if ((position >> level) & 1 == 1) {
                node = Hashes.efficientKeccak256(_branch[level], node);
            } else {
                // The lowest level where the new leaf is on the left keeps the subtree; higher ones are still filling.
                if (!kept) {
                    _branch[level] = node;
                    kept = true;
                }
                node = Hashes.efficientKeccak256(node, empty);
            }
            empty = Hashes.efficientKeccak256(empty, empty);
        }
    }
}
