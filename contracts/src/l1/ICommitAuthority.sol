// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Who may say which blocks a chain has.
/// @notice A chain without validators has its sequencer's signature (`SequencerAuthority`); one with validators puts its certificate
/// check here.
interface ICommitAuthority {
    /// @notice Reverts unless the last block of a batch is certified in `era`. Called by `Rollup` alone.
    /// @param committer The sender of the commit.
    /// @param certificate What certifies it; its form is the implementation's.
    /// @return operator Whether `committer` may commit at any time. Others may only after a silence.
    function check(address committer, uint64 era, uint64 lastBlock, bytes32 lastBlockHash, bytes calldata certificate)
        external
        returns (bool operator);
}
