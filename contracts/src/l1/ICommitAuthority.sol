// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Who may say which blocks a chain has.
/// @notice A chain without validators has its sequencer's signature (`SequencerAuthority`), one with validators their certificate
/// (`ValidatorAuthority`).
interface ICommitAuthority {
    /// @notice Reverts unless the last block of a batch is certified in `era`. Called by `Rollup` alone.
    /// @param committer The sender of the commit.
    /// @param firstBlock The batch's first block.
    /// @param certificate What certifies it; its form is the implementation's.
    /// @return operator Whether `committer` may commit at any time. Others may only after a silence.
    function check(
        address committer,
        uint64 era,
        uint64 firstBlock,
        uint64 lastBlock,
        bytes32 lastBlockHash,
        bytes calldata certificate
    ) external returns (bool operator);

    /// @notice Queued messages alone were committed: a new era begins. Called by `Rollup` alone.
    /// @param origin The L1 origin of that batch.
    function restart(uint64 era, uint64 origin) external;
}
