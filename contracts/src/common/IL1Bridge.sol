// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What the L2 bridge says to the L1 bridge.
interface IL1Bridge {
    /// @notice Pays out tokens that were burned on L2, or whose deposit failed there.
    function finalizeWithdrawal(address token, address to, uint256 amount) external;
}
