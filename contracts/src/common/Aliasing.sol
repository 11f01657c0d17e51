// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The L2 address that an L1 contract speaks from.
/// @notice An L1 contract and an L2 contract at one address may have different owners. So an L1 contract appears on L2 at its
/// address plus a fixed offset (modulo 2^160), and what sits there on L2 belongs to it.
library Aliasing {
    /// @dev The offset, the one that rollups commonly use.
    uint160 internal constant OFFSET = uint160(0x1111000000000000000000000000000000001111);

    /// @notice The L2 address of the L1 contract `account`.
    function alias_(address account) internal pure returns (address) {
        unchecked {
            return address(uint160(account) + OFFSET);
        }
    }
}
