// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

interface IInbox {
    function send(address to, bool isCreation, uint256 mint, uint256 value, uint64 gas, bytes calldata data)
        external
        payable
        returns (uint64 index);
}

/// Queues messages of the most gas that one may have, as many as the queue takes.
contract Flood {
    uint64 private constant GAS = 2_000_000;
    /// JUMPDEST, PUSH1 0, JUMP: creation code that uses up its gas.
    bytes4 private constant LOOP = 0x5b600056;

    /// So many messages were queued, the last one at `last`; `refusal` is what the queue said to the next, if it said anything.
    event Queued(uint256 count, uint64 last, bytes refusal);

    /// What was paid in excess.
    receive() external payable {}

    /// Every second message uses all of its gas, the others are calls of an account without code.
    function fill(IInbox inbox, uint256 most) external payable {
        uint64 last;
        for (uint256 i; i < most; ++i) {
            bool burns = i % 2 == 0;
            bytes memory data = burns ? abi.encodePacked(LOOP, i) : abi.encodePacked(i);
            address to = burns ? address(0) : address(uint160(0xf1000d + i));
            try inbox.send{value: address(this).balance}(to, burns, 0, 0, GAS, data) returns (uint64 index) {
                last = index;
            } catch (bytes memory refusal) {
                emit Queued(i, last, refusal);
                return;
            }
        }
        emit Queued(most, last, "");
    }
}
