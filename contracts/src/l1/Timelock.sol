// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The delay before any change of the contracts.
/// @notice OpenZeppelin's timelock with a floor that it cannot lower itself. Proposers are the governors; anyone executes what is due.
contract Timelock is TimelockController {
    /// @notice The delay can never be less than this, in seconds.
    uint256 public immutable floor;

    /// @notice The delay is below the floor.
    error DelayBelowFloor(uint256 delay, uint256 floor);

    /// @param delay The delay, in seconds; it is the floor too.
    /// @param proposers Who may propose and cancel.
    constructor(uint256 delay, address[] memory proposers) TimelockController(delay, proposers, _anyone(), address(0)) {
        floor = delay;
    }

    /// @inheritdoc TimelockController
    function updateDelay(uint256 newDelay) public override {
        super.updateDelay(newDelay); // checks the caller
        if (newDelay < floor) revert DelayBelowFloor(newDelay, floor);
    }

    function _anyone() private pure returns (address[] memory executors) {
        executors = new address[](1);
    }
}
