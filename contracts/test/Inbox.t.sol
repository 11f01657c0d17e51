// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Aliasing} from "../src/common/Aliasing.sol";
import {FeeMarket} from "../src/l1/FeeMarket.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Bridge} from "../src/l1/Bridge.sol";
import {Caller} from "./utils/Caller.sol";
import {Chain} from "./utils/Chain.sol";

contract InboxTest is Chain {
    function send(address from, uint256 paid, uint256 mint, uint64 gas, bytes memory data) internal returns (uint64) {
        vm.deal(from, paid);
        vm.prank(from, from);
        return inbox.send{value: paid}(bob, false, mint, mint, gas, data);
    }

    function test_queueHashByDefinition() public {
        bytes32 rolling;
        for (uint64 i; i < 5; ++i) {
            bytes memory data = new bytes(i * 7);
            uint256 mint = i * 1 ether;
            uint256 fee = inbox.quote(100_000);
            send(alice, fee + mint, mint, 100_000, data);
            bytes32 hash = keccak256(
                abi.encodePacked(
                    uint256(i),
                    vm.getBlockNumber(),
                    uint256(uint160(alice)),
                    uint256(uint160(bob)),
                    uint256(0),
                    mint,
                    mint,
                    uint256(100_000),
                    keccak256(data)
                )
            );
            rolling = keccak256(abi.encodePacked(rolling, hash));
            vm.assertEq(inbox.queueHash(i + 1), rolling);
            vm.assertEq(inbox.entry(i).queueHash, rolling);
            vm.assertEq(inbox.entry(i).sender, alice);
            pass(12);
        }
        vm.assertEq(inbox.queueHash(0), 0);
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownMessage.selector, 5));
        inbox.queueHash(6);
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownMessage.selector, 5));
        inbox.entry(5);
        vm.assertEq(address(bridge).balance, SUPPLY + 10 ether);
    }

    function test_contractsAreAliased() public {
        Caller caller = new Caller();
        uint256 fee = inbox.quote(21_000);
        vm.deal(alice, 1 ether);
        vm.recordLogs();
        vm.prank(alice, alice);
        caller.call{value: fee}(address(inbox), fee, abi.encodeCall(Inbox.send, (bob, false, 0, 0, 21_000, "")));
        address expected =
            address(uint160(uint256(uint160(address(caller))) + 0x001111000000000000000000000000000000001111));
        vm.assertEq(Aliasing.alias_(address(caller)), expected);
        vm.assertEq(address(uint160(uint256(vm.getRecordedLogs()[0].topics[2]))), expected);
        vm.assertEq(inbox.entry(0).sender, address(caller));
        // Wraps around.
        vm.assertEq(
            Aliasing.alias_(address(type(uint160).max)), address(uint160(0x001111000000000000000000000000000000001110))
        );
    }

    function test_ownAccountIsNotAliased() public {
        vm.recordLogs();
        force(alice);
        vm.assertEq(address(uint160(uint256(vm.getRecordedLogs()[0].topics[2]))), alice);
    }

    function test_depositETH() public {
        uint256 fee = inbox.quote(21_000);
        vm.deal(alice, 5 ether);
        vm.prank(alice, alice);
        inbox.depositETH{value: 5 ether}(bob, 21_000);
        vm.assertEq(address(bridge).balance, SUPPLY + 5 ether - fee);
        vm.assertEq(address(inbox).balance, fee);
        vm.deal(alice, 1 ether);
        fee = inbox.quote(21_000);
        vm.prank(alice, alice);
        vm.expectRevert(abi.encodeWithSelector(Inbox.InsufficientPayment.selector, fee + 1));
        inbox.depositETH{value: fee}(bob, 21_000);
    }

    function test_surplusComesBack() public {
        uint256 fee = inbox.quote(50_000);
        send(alice, 3 ether, 1 ether, 50_000, "");
        vm.assertEq(alice.balance, 2 ether - fee);
        // Not to a contract that does not take it: then all is undone.
        Caller caller = new Caller();
        caller.close();
        vm.deal(address(this), 10 ether);
        vm.expectRevert();
        caller.call{value: 1 ether}(address(inbox), 1 ether, abi.encodeCall(Inbox.send, (bob, false, 0, 0, 21_000, "")));
    }

    function test_paymentCoversMintAndGas() public {
        uint256 fee = inbox.quote(21_000);
        vm.deal(alice, 2 ether);
        vm.prank(alice, alice);
        vm.expectRevert(abi.encodeWithSelector(Inbox.InsufficientPayment.selector, fee + 1 ether));
        inbox.send{value: fee + 1 ether - 1}(bob, false, 1 ether, 0, 21_000, "");
    }

    function test_gasBounds() public {
        vm.deal(alice, 100 ether);
        vm.startPrank(alice, alice);
        vm.expectRevert(abi.encodeWithSelector(Inbox.InvalidGas.selector, 20_999, 21_000));
        inbox.send{value: 1 ether}(bob, false, 0, 0, 20_999, "");
        vm.expectRevert(abi.encodeWithSelector(Inbox.InvalidGas.selector, 2_000_001, 21_000));
        inbox.send{value: 1 ether}(bob, false, 0, 0, 2_000_001, "");
        vm.expectRevert(abi.encodeWithSelector(Inbox.InvalidGas.selector, 21_039, 21_040));
        inbox.send{value: 1 ether}(bob, false, 0, 0, 21_039, hex"01");
        vm.expectRevert(abi.encodeWithSelector(Inbox.InvalidGas.selector, 53_000, 53_018));
        inbox.send{value: 1 ether}(address(0), true, 0, 0, 53_000, hex"01");
        inbox.send{value: 1 ether}(address(0), true, 0, 0, 53_018, hex"01");
        inbox.send{value: 1 ether}(bob, false, 0, 0, 2_000_000, "");
        vm.stopPrank();
    }

    function test_dataBounds() public {
        vm.deal(alice, 100 ether);
        vm.startPrank(alice, alice);
        inbox.send{value: 1 ether}(bob, false, 0, 0, 2_000_000, new bytes(32 * 1024));
        vm.expectRevert(abi.encodeWithSelector(Inbox.DataTooLong.selector, 32 * 1024 + 1));
        inbox.send{value: 1 ether}(bob, false, 0, 0, 2_000_000, new bytes(32 * 1024 + 1));
        vm.expectRevert(Inbox.CreationHasRecipient.selector);
        inbox.send{value: 1 ether}(bob, true, 0, 0, 2_000_000, "");
        vm.stopPrank();
    }

    function test_pauseStopsValueOnly() public {
        vm.prank(council);
        pause.pause(7 days);
        force(alice);
        vm.deal(alice, 2 ether);
        vm.startPrank(alice, alice);
        vm.expectRevert(Inbox.DepositsPaused.selector);
        inbox.depositETH{value: 1 ether}(bob, 21_000);
        vm.expectRevert(Inbox.DepositsPaused.selector);
        inbox.send{value: 2 ether}(bob, false, 1, 0, 21_000, "");
        inbox.send{value: 1 ether}(bob, false, 0, 1 ether, 21_000, ""); // a value from the L2 balance
        vm.stopPrank();
        pass(7 days);
        send(alice, 2 ether, 1 ether, 21_000, "");
    }

    function test_feesGoToTheirRecipient() public {
        force(alice);
        uint256 fee = address(inbox).balance;
        vm.assertTrue(fee > 0);
        inbox.sweepFees();
        vm.assertEq(feeRecipient.balance, fee);
        vm.assertEq(address(bridge).balance, SUPPLY);
    }

    function test_onlyPartsLock() public {
        vm.deal(alice, 1 ether);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Bridge.NotAllowed.selector, alice));
        bridge.lock{value: 1 ether}();
        vm.prank(alice);
        (bool ok,) = address(bridge).call{value: 1 ether}("");
        vm.assertFalse(ok);
    }

    // --- the price ---

    function test_priceRisesAndFalls() public {
        vm.assertEq(inbox.quote(1), PRICE_FLOOR);
        vm.deal(alice, 1000 ether);
        uint256 before = PRICE_FLOOR;
        // Fill L1 blocks: 1,500 entries of 2 M gas are 6 s of 500 M a second.
        for (uint256 i; i < 3; ++i) {
            vm.startPrank(alice, alice);
            for (uint256 j; j < 1500; ++j) {
                inbox.send{value: 1 ether}(bob, false, 0, 0, 2_000_000, "");
            }
            vm.expectRevert(abi.encodeWithSelector(FeeMarket.BlockGasExceeded.selector, 3_000_021_000, 3_000_000_000));
            inbox.send{value: 1 ether}(bob, false, 0, 0, 21_000, "");
            vm.stopPrank();
            pass(12);
            uint256 price = inbox.quote(1);
            vm.assertGe(price * 100, before * 140, "rises");
            vm.assertLe(price * 100, before * 150, "by less than half");
            before = price;
        }
        pass(60);
        vm.assertEq(inbox.quote(1), PRICE_FLOOR);
    }

    function test_blockLimitIsForTheBlock() public {
        vm.deal(alice, 1000 ether);
        vm.startPrank(alice, alice);
        for (uint256 j; j < 1500; ++j) {
            inbox.send{value: 1 ether}(bob, false, 0, 0, 2_000_000, "");
        }
        vm.stopPrank();
        pass(12);
        force(alice);
    }

    function test_settingsMakeSense() public {
        vm.expectRevert(Inbox.InvalidSetting.selector);
        new Inbox(address(timelock), rollup, bridge, pause, 300_000, 1, feeRecipient); // the largest entry would never fit
        vm.expectRevert(Inbox.InvalidSetting.selector);
        new Inbox(address(timelock), rollup, bridge, pause, 1e15 + 1, 1, feeRecipient);
        vm.expectRevert(Inbox.InvalidSetting.selector);
        new Inbox(address(timelock), rollup, bridge, pause, GAS_TARGET, 0, feeRecipient);
        vm.expectRevert(Inbox.InvalidSetting.selector);
        new Inbox(address(timelock), rollup, bridge, pause, GAS_TARGET, 1, address(0));
        new Inbox(address(timelock), rollup, bridge, pause, 333_334, 1, feeRecipient);
    }

    function test_fakeExponentialVectors() public pure {
        // From EIP-4844's function, as computed with Python integers.
        vm.assertEq(FeeMarket.fakeExponential(1, 0, 1), 1);
        vm.assertEq(FeeMarket.fakeExponential(38_493, 0, 1000), 38_493);
        vm.assertEq(FeeMarket.fakeExponential(1, 2, 1), 6);
        vm.assertEq(FeeMarket.fakeExponential(1, 4, 2), 6);
        vm.assertEq(FeeMarket.fakeExponential(10, 8, 2), 542);
        vm.assertEq(FeeMarket.fakeExponential(11, 8, 2), 596);
        vm.assertEq(FeeMarket.fakeExponential(2, 5, 2), 23);
        vm.assertEq(FeeMarket.fakeExponential(1, 50_000_000, 2_225_652), 5_709_098_764);
    }

    /// @dev Whatever the use, the price stays within its bounds, so that nobody can make messages impossible.
    function testFuzz_priceBounded(uint96 excess) public pure {
        uint256 saturated = bound(excess, 0, 64 * uint256(GAS_TARGET));
        uint256 price = FeeMarket.fakeExponential(PRICE_FLOOR, saturated, 8 * uint256(GAS_TARGET));
        vm.assertGe(price, PRICE_FLOOR, "floor");
        vm.assertLe(price, 2981 * PRICE_FLOOR, "ceiling");
    }

    function testFuzz_leastGasCoversEthereum(uint16 length, bool isCreation) public view {
        uint256 n = bound(length, 0, 32 * 1024);
        uint256 least = inbox.leastGas(n, isCreation);
        vm.assertGe(least, 21_000 + 40 * n, "EIP-7623");
        uint256 intrinsic = 21_000 + 16 * n + (isCreation ? 32_000 + 2 * ((n + 31) / 32) : 0);
        vm.assertGe(least, intrinsic, "intrinsic");
        vm.assertLe(least, inbox.MAX_GAS(), "the longest data fit");
    }
}
