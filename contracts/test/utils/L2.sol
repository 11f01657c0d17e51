// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Aliasing} from "../../src/common/Aliasing.sol";
import {Message, Messages} from "../../src/common/Messages.sol";
import {Predeploys} from "../../src/common/Predeploys.sol";
import {L1Block} from "../../src/l2/L1Block.sol";
import {L2Bridge} from "../../src/l2/L2Bridge.sol";
import {L2Messenger} from "../../src/l2/L2Messenger.sol";
import {Test} from "./Test.sol";

/// @notice The L2 predeploys, in the same EVM as L1: as genesis puts them there, without their constructors.
abstract contract L2 is Test {
    L2Messenger internal constant messenger = L2Messenger(Predeploys.L2_MESSENGER);
    L2Bridge internal constant l2Bridge = L2Bridge(Predeploys.L2_BRIDGE);
    L1Block internal constant l1Block = L1Block(Predeploys.L1_BLOCK);

    /// Leaves in the order they were sent.
    bytes32[] internal leaves;

    function deployL2(address l1Bridge) internal {
        vm.etch(address(messenger), address(new L2Messenger()).code);
        vm.etch(address(l2Bridge), address(new L2Bridge()).code);
        vm.etch(address(l1Block), address(new L1Block()).code);
        vm.store(address(messenger), bytes32(uint256(1)), Messages.EMPTY_ROOT);
        vm.store(address(l2Bridge), 0, bytes32(uint256(uint160(l1Bridge))));
    }

    /// @dev The proof of a leaf and the root of all, computed level by level from the definition.
    function prove(bytes32[] memory all, uint256 position)
        internal
        pure
        returns (bytes32 root, bytes32[32] memory proof)
    {
        bytes32[] memory level = all;
        bytes32 empty;
        for (uint256 i; i < 32; ++i) {
            uint256 sibling = position ^ 1;
            proof[i] = sibling < level.length ? level[sibling] : empty;
            bytes32[] memory above = new bytes32[]((level.length + 1) / 2);
            for (uint256 j; j < above.length; ++j) {
                bytes32 right = 2 * j + 1 < level.length ? level[2 * j + 1] : empty;
                above[j] = keccak256(abi.encodePacked(level[2 * j], right));
            }
            level = above;
            position /= 2;
            empty = keccak256(abi.encodePacked(empty, empty));
        }
        root = level.length == 0 ? empty : level[0];
    }

    function leafOf(Message memory m) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                uint256(m.nonce),
                uint256(uint160(m.sender)),
                uint256(uint160(m.target)),
                m.value,
                uint256(m.gas),
                keccak256(m.data)
            )
        );
    }

    /// @dev Sends a message on L2 as `from`.
    function sendFrom(address from, address target, uint256 value, uint64 gas, bytes memory data)
        internal
        returns (Message memory m)
    {
        vm.deal(from, from.balance + value);
        vm.prank(from);
        uint64 nonce = messenger.send{value: value}(target, gas, data);
        m = Message(nonce, from, target, value, gas, data);
        vm.assertEq(nonce, leaves.length);
        leaves.push(leafOf(m));
    }
}
