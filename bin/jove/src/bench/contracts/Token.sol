// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title The benchmark's token: OpenZeppelin's ERC-20, whose deployer gets the whole supply.
contract Token is ERC20 {
    constructor() ERC20("Bench", "BENCH") {
        _mint(msg.sender, 10 ** 32);
    }

    /// @notice Transfers `amount` of the caller's tokens to each account.
    /// @param accounts Who gets them.
    /// @param amount How much each gets.
    function fund(address[] calldata accounts, uint256 amount) external {
        for (uint256 i = 0; i < accounts.length; i++) {
            _transfer(msg.sender, accounts[i], amount);
        }
    }
}
