// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Addresses that a Jove chain has from block 0, and what L1 must know of them.
library Predeploys {
    /// @notice The L2 messenger, which holds the outbox tree.
    address internal constant L2_MESSENGER = 0x4200000000000000000000000000000000000016;
    /// @notice The L2 side of the ERC-20 bridge.
    address internal constant L2_BRIDGE = 0x4200000000000000000000000000000000000010;
    /// @notice The L1 attributes: what L2 knows of its L1 origin.
    address internal constant L1_BLOCK = 0x4200000000000000000000000000000000000015;

    /// @notice keccak256 of `L2Token`'s creation code. It fixes every L2 token's address (EIP-1014); a test compares it with the
    /// compiled code.
    bytes32 internal constant L2_TOKEN_INIT_CODE_HASH =
        0xc7f8c751fd07257b6711a5b8e1af2a41b65c9fbafc9296fe82f80c1d7eea293e;
    /// @notice The slot of the `balances` mapping in every L2 token: ERC-7201 of `jove.storage.L2Token`.
    bytes32 internal constant L2_TOKEN_BALANCES_SLOT =
        0xca5bae621500059bf9a73654ac7a4f07e7ea6beff0522cfaddacb4e534b5ad00;
    /// @notice The slot of the `failed` mapping in the L2 bridge.
    uint256 internal constant L2_BRIDGE_FAILED_SLOT = 2;
}
