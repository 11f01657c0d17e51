// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {TokenMetadata} from "../common/IL2Bridge.sol";

/// @title Reads the name, symbol and decimals of any token.
/// @notice A token may not have them, revert, answer a bytes32 as early tokens do, or megabytes: each question has 100,000 gas, and at most
/// 128 bytes of the answer are read. What cannot be read is empty, and 18 decimals.
library Metadata {
    uint256 private constant GAS = 100_000;
    /// @dev The most bytes of a name or symbol; the rest is cut off.
    uint256 private constant LONGEST = 64;

    /// @notice The token's metadata.
    function read(address token) internal view returns (TokenMetadata memory) {
        return TokenMetadata(
            _readString(token, IERC20Metadata.name.selector),
            _readString(token, IERC20Metadata.symbol.selector),
            _readDecimals(token)
        );
    }

    function _readDecimals(address token) private view returns (uint8) {
        (uint256 size, bytes memory answer) = _ask(token, IERC20Metadata.decimals.selector);
        if (size < 32) return 18;
        uint256 decimals = uint256(_word(answer, 0));
        return decimals <= type(uint8).max ? uint8(decimals) : 18;
    }

    function _readString(address token, bytes4 selector) private view returns (string memory) {
        (uint256 size, bytes memory answer) = _ask(token, selector);
        uint256 start;
        uint256 length;
        if (size == 32) {
            while (length < 32 && answer[length] != 0) ++length; // a bytes32, padded with zeros
        } else if (size >= 64 && uint256(_word(answer, 0)) == 32) {
            start = 64;
            length = uint256(_word(answer, 32));
            if (length > LONGEST) length = LONGEST;
            if (length > answer.length - 64) length = answer.length - 64;
        }
        bytes memory text = new bytes(length);
        for (uint256 i; i < length; ++i) {
            text[i] = answer[start + i];
        }
        return string(text);
    }

    /// @dev The size of the answer, 0 if the call failed, and its first 128 bytes.
    function _ask(address token, bytes4 selector) private view returns (uint256 size, bytes memory answer) {
        answer = new bytes(64 + LONGEST);
        bool ok;
        assembly ("memory-safe") {
            mstore(0, selector)
            ok := staticcall(GAS, token, 0, 4, 0, 0)
            size := returndatasize()
            if gt(size, 128) { returndatacopy(add(answer, 32), 0, 128) }
            if iszero(gt(size, 128)) { returndatacopy(add(answer, 32), 0, size) }
        }
        if (!ok) size = 0;
        if (size < answer.length) {
            assembly ("memory-safe") {
                mstore(answer, size)
            }
        }
    }

    function _word(bytes memory answer, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(add(answer, 32), offset))
        }
    }
}
