// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice The life of a chain on L1.
enum Phase {
    /// Not initialized.
    Closed,
    /// Batches, messages and proofs are taken.
    Open,
    /// The escape has begun: the last final roots are frozen for good.
    Halted
}

/// @title What the other contracts ask of `Rollup`.
interface IRollup {
    /// @notice The phase of the chain.
    function phase() external view returns (Phase);
    /// @notice How many queue entries final batches have consumed.
    function finalMessage() external view returns (uint64);
    /// @notice The state root of the last final batch.
    function finalStateRoot() external view returns (bytes32);
    /// @notice Whether a final batch has this outbox root.
    function isFinalOutboxRoot(bytes32 root) external view returns (bool);
}
