// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Batch, Batches} from "../Batches.sol";
import {Rollup} from "../Rollup.sol";
import {ValidatorAuthority} from "./ValidatorAuthority.sol";

/// @title Pays those who lead: for each final batch, once, a fixed sum to the owner of the validator that proposed its last checkpoint.
/// @notice The FinalCert releases it: whoever shows the one of a batch has the sum paid, to that owner and nobody else. Anyone funds it, by
/// sending ETH; while it holds too little it pays nothing, and claims wait. A validator that was slashed is not paid.
contract RewardVault {
    /// @notice The chain of batches.
    Rollup public immutable rollup;
    /// @notice What verifies FinalCerts, and knows who is paid.
    ValidatorAuthority public immutable authority;
    /// @notice The sum for a batch, in wei.
    uint256 public immutable reward;

    /// @notice The batches that were paid for.
    mapping(bytes32 batchHash => bool) public paid;

    /// @notice The vault was funded.
    event Funded(address indexed from, uint256 amount);
    /// @notice The proposer of a batch was paid.
    event Paid(bytes32 indexed batchHash, bytes32 indexed id, address indexed owner, uint256 amount);

    /// @notice A setting makes no sense.
    error InvalidSetting();
    /// @notice The batch is not a final one with a FinalCert.
    error NotFinal(uint64 index);
    /// @notice The batch was paid for.
    error AlreadyPaid(bytes32 batchHash);
    /// @notice The proposer has no owner here, or was slashed.
    error NobodyToPay(bytes32 id);
    /// @notice The vault holds too little.
    error Empty();

    constructor(Rollup rollup_, ValidatorAuthority authority_, uint256 reward_) {
        if (reward_ == 0) revert InvalidSetting();
        rollup = rollup_;
        authority = authority_;
        reward = reward_;
    }

    receive() external payable {
        emit Funded(msg.sender, msg.value);
    }

    /// @notice Pays for a final batch. Anyone.
    /// @param batch Its header.
    /// @param blobs Its blobs' versioned hashes.
    /// @param certificate The FinalCert of its last checkpoint, as a commit carries it.
    function claim(Batch calldata batch, bytes32[] calldata blobs, bytes calldata certificate) external {
        bytes32 batchHash = Batches.hash(batch, blobs);
        if (
            batch.version != Batches.ORDINARY || batch.index == 0 || batch.index > rollup.finalIndex()
                || rollup.batchAt(batch.index).batchHash != batchHash
        ) revert NotFinal(batch.index);
        if (paid[batchHash]) revert AlreadyPaid(batchHash);
        bytes32 id = authority.proposerOf(batch.era, batch.lastBlock, batch.lastBlockHash, certificate);
        ValidatorAuthority.Member memory member = authority.memberOf(id);
        if (member.owner == address(0) || member.slashed) revert NobodyToPay(id);
        if (address(this).balance < reward) revert Empty();
        paid[batchHash] = true;
        emit Paid(batchHash, id, member.owner, reward);
        Address.sendValue(payable(member.owner), reward);
    }
}
