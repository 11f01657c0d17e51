// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// One slot, one event, and every way to fail.
contract Probe {
    /// Slot 0.
    uint256 public value;

    event Set(address indexed by, uint256 indexed value, string note);

    error TooLarge(uint256 value, uint256 limit);

    receive() external payable {}

    function set(uint256 to) external returns (uint256 before) {
        if (to > 1e18) revert TooLarge(to, 1e18);
        before = value;
        value = to;
        emit Set(msg.sender, to, "set");
    }

    function refuse() external pure {
        revert("refused on purpose");
    }

    function overflow(uint256 to) external pure returns (uint256) {
        return type(uint256).max + to;
    }

    function spin() external pure {
        while (true) {}
    }

    /// What a contract sees of its block and caller.
    function context() external view returns (uint256 chain, uint256 number, uint256 time, address sender) {
        return (block.chainid, block.number, block.timestamp, msg.sender);
    }
}
