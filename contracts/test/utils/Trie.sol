// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";

/// @notice A state trie of a few accounts without code or storage: a branch, and a leaf below each of its children. The accounts' hashed
/// addresses must begin with different nibbles.
library Trie {
    using RLP for RLP.Encoder;

    bytes32 private constant EMPTY_TRIE = 0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421;

    /// @notice The root node: a hash in each child that has an account.
    function root(address[] memory accounts, uint256[] memory balances) internal pure returns (bytes memory) {
        bytes[] memory items = new bytes[](17);
        for (uint256 i; i < 17; ++i) {
            items[i] = hex"80";
        }
        for (uint256 i; i < accounts.length; ++i) {
            uint256 child = nibble(accounts[i]);
            require(items[child].length == 1, "two accounts in one child");
            items[child] = RLP.encode(abi.encodePacked(keccak256(leaf(accounts[i], balances[i]))));
        }
        return RLP.encode(items);
    }

    /// @notice The leaf of an account.
    function leaf(address account, uint256 balance) internal pure returns (bytes memory) {
        bytes[] memory fields = new bytes[](4);
        fields[0] = RLP.encode(uint256(0));
        fields[1] = RLP.encode(balance);
        fields[2] = RLP.encode(abi.encodePacked(EMPTY_TRIE));
        fields[3] = RLP.encode(abi.encodePacked(keccak256("")));
        bytes memory key = abi.encodePacked(keccak256(abi.encodePacked(account)));
        key[0] = bytes1(uint8(0x30) | (uint8(key[0]) & 0x0f)); // a leaf with an odd number of nibbles
        bytes[] memory items = new bytes[](2);
        items[0] = RLP.encode(key);
        items[1] = RLP.encode(RLP.encode(fields));
        return RLP.encode(items);
    }

    /// @notice The first nibble of the account's key.
    function nibble(address account) internal pure returns (uint256) {
        return uint256(keccak256(abi.encodePacked(account))) >> 252;
    }
}
