// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {Token} from "./Token.sol";

/// A token of six decimals: other than what whoever does not ask takes for granted.
contract Coin is Token {
    constructor(uint256 supply) Token("Coin of L1", "COIN", supply) {}

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
