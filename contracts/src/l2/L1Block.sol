// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The L1 attributes: what L2 knows of its L1 origin.
/// @notice A predeploy, without a constructor. Nothing here writes: a block that steps to the next origin begins with a deposit whose words the
/// state-transition function itself puts into these slots. Slots and getters are the OP Stack's where it has them, so that tools understand them.
contract L1Block {
    /// @notice The origin's number (slot 0, low 64 bits).
    uint64 public number;
    /// @notice The origin's time, in seconds (slot 0, next 64 bits).
    uint64 public timestamp;
    /// @notice The origin's base fee, in wei (slot 1).
    uint256 public basefee;
    /// @notice The origin's hash (slot 2).
    bytes32 public hash;
    uint256[4] private _unused;
    /// @notice The origin's blob base fee, in wei (slot 7).
    uint256 public blobBaseFee;
    /// @notice The origin's mixHash (slot 8).
    bytes32 public mixHash;
    /// @notice Messages of the L1 queue that this chain has consumed (slot 9, low 64 bits).
    uint64 public messagesConsumed;
    /// @notice Messages that the queue held at the end of the origin (slot 9, next 64 bits).
    uint64 public messagesDue;
}
