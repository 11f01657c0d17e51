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
    /// @notice The state root of the last final batch, once the escape has begun; 0 before.
    function finalStateRoot() external view returns (bytes32);
    /// @notice Whether the batch at `index` is final with these, and one of the last 256 that are.
    function isFinal(uint64 index, bytes32 lastBlockHash, bytes32 stateRoot, bytes32 outboxRoot)
        external
        view
        returns (bool);
}
