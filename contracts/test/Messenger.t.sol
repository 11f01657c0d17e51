// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Message, Messages} from "../src/common/Messages.sol";
import {Predeploys} from "../src/common/Predeploys.sol";
import {L2Messenger} from "../src/l2/L2Messenger.sol";
import {L2} from "./utils/L2.sol";

/// @notice The L2 messenger's tree and the L1 attributes.
contract MessengerTest is L2 {
    function setUp() public {
        deployL2(account("bridge"));
    }

    function test_emptyRoot() public view {
        bytes32 empty;
        for (uint256 i; i < 32; ++i) {
            empty = keccak256(abi.encodePacked(empty, empty));
        }
        vm.assertEq(messenger.root(), empty);
        vm.assertEq(Messages.EMPTY_ROOT, empty);
    }

    function testFuzz_rootByDefinition(uint8 count, bytes32 seed) public {
        uint256 n = bound(count, 1, 70);
        for (uint256 i; i < n; ++i) {
            seed = keccak256(abi.encode(seed));
            sendFrom(
                address(uint160(uint256(seed) | 1 << 100)),
                address(uint160(uint256(seed) >> 3)),
                uint256(seed) % 1 ether,
                uint64(uint256(seed) % 10_000_000),
                abi.encode(seed)
            );
            (bytes32 root,) = prove(leaves, 0);
            vm.assertEq(messenger.root(), root);
        }
        uint256 position = uint256(seed) % n;
        (bytes32 whole, bytes32[32] memory proof) = prove(leaves, position);
        vm.assertEq(this.rootOf(leaves[position], uint64(position), proof), whole);
        vm.assertEq(messenger.count(), n);
    }

    function rootOf(bytes32 leaf, uint64 position, bytes32[32] calldata proof) external pure returns (bytes32) {
        return Messages.rootOf(leaf, position, proof);
    }

    function test_slotsAreProtocol() public {
        sendFrom(account("x"), account("y"), 1 ether, 5, "data");
        vm.assertEq(uint256(vm.load(address(messenger), 0)), 1);
        vm.assertEq(vm.load(address(messenger), bytes32(uint256(1))), messenger.root());
        vm.assertEq(vm.load(address(messenger), bytes32(uint256(2))), leaves[0]);
        vm.assertEq(address(messenger).balance, 1 ether);
    }

    function test_bounds() public {
        vm.expectRevert(abi.encodeWithSelector(L2Messenger.DataTooLong.selector, 32 * 1024 + 1));
        messenger.send(account("y"), 0, new bytes(32 * 1024 + 1));
        vm.expectRevert(abi.encodeWithSelector(L2Messenger.TooMuchGas.selector, 10_000_001));
        messenger.send(account("y"), 10_000_001, "");
        messenger.send(account("y"), 10_000_000, new bytes(32 * 1024));
        vm.store(address(messenger), 0, bytes32(uint256(1) << 32));
        vm.expectRevert(L2Messenger.TreeFull.selector);
        messenger.send(account("y"), 0, "");
        vm.store(address(messenger), 0, bytes32((uint256(1) << 32) - 1));
        messenger.send(account("y"), 0, "");
    }

    function test_l1Block() public {
        address at = address(l1Block);
        vm.store(at, 0, bytes32(1 | uint256(2) << 64));
        vm.store(at, bytes32(uint256(1)), bytes32(uint256(3)));
        vm.store(at, bytes32(uint256(2)), bytes32(uint256(5)));
        vm.store(at, bytes32(uint256(7)), bytes32(uint256(4)));
        vm.store(at, bytes32(uint256(8)), bytes32(uint256(6)));
        vm.store(at, bytes32(uint256(9)), bytes32(7 | uint256(8) << 64));
        vm.assertEq(l1Block.number(), 1);
        vm.assertEq(l1Block.timestamp(), 2);
        vm.assertEq(l1Block.basefee(), 3);
        vm.assertEq(l1Block.blobBaseFee(), 4);
        vm.assertEq(uint256(l1Block.hash()), 5);
        vm.assertEq(uint256(l1Block.mixHash()), 6);
        vm.assertEq(l1Block.messagesConsumed(), 7);
        vm.assertEq(l1Block.messagesDue(), 8);
    }
}
