// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Aliasing} from "../src/common/Aliasing.sol";
import {Message} from "../src/common/Messages.sol";
import {EscapeHatch} from "../src/l1/EscapeHatch.sol";
import {Governed} from "../src/l1/Governed.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Outbox} from "../src/l1/Outbox.sol";
import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {Caller} from "./utils/Caller.sol";
import {Chain} from "./utils/Chain.sol";
import {L2} from "./utils/L2.sol";
import {Vm} from "./utils/Test.sol";
import {Token} from "./utils/Tokens.sol";

/// @notice The escape, against the real proofs in fixtures/escape.json.
contract EscapeTest is Chain, L2 {
    string internal json;
    Token internal token;
    Caller internal l1Contract;
    Message internal pending;

    function setUp() public override {
        super.setUp();
        deployL2(address(bridge));
        json = vm.readFile("test/fixtures/escape.json");
        token = Token(address_("$.l1Token"));
        vm.etch(address(token), address(new Token("", "")).code);
        l1Contract = Caller(payable(address_("$.l1Contract")));
        vm.etch(address(l1Contract), address(new Caller()).code);
        // What the bridge holds when the chain halts: a deposit that is consumed, two that are not.
        token.mint(alice, 2_000_000);
        vm.deal(alice, 10 ether);
        vm.startPrank(alice, alice);
        token.approve(address(bridge), type(uint256).max);
        bridge.depositERC20{value: 1 ether}(address(token), alice, 1_500_000, 0, "");
        vm.stopPrank();
        pending = sendFrom(alice, address(0xbeef), 2 ether, 0, "");
        pass(12);
        finalizeState();
    }

    function address_(string memory path) internal view returns (address) {
        return vm.parseJsonAddress(json, path);
    }

    function nodes(string memory path) internal view returns (bytes[] memory) {
        return vm.parseJsonBytesArray(json, path);
    }

    function finalizeState() internal {
        uint64 index = commit();
        otherRoots[index] = Rollup.Roots(false, vm.parseJsonBytes32(json, "$.stateRoot"), messenger.root());
        for (uint256 i; i < 2; ++i) {
            Rollup.Proof memory p = proofOf(ProofSystem(i), intel1, index, 0);
            (p.claims[0].stateRoot, p.claims[0].outboxRoot) =
            (otherRoots[index].stateRoot, otherRoots[index].outboxRoot);
            rollup.prove(only(sealed_(p, ProofSystem(i), intel1)));
        }
        assertFinal(index);
    }

    function halt() internal {
        force(bob);
        pass(Z);
        startEscape(new Rollup.Roots[](0));
    }

    function escapeETH(string memory who, address recipient) internal {
        escapeHatch.escapeETH(
            address_(string.concat("$.", who, ".address")),
            payable(recipient),
            nodes(string.concat("$.", who, ".proof"))
        );
    }

    function escapeToken(string memory who, address recipient) internal {
        escapeHatch.escapeERC20(
            address(token),
            address_(string.concat("$.", who, ".address")),
            recipient,
            nodes("$.token.proof"),
            nodes(string.concat("$.token.", who, ".proof"))
        );
    }

    function test_fixtureIsOfThisCode() public view {
        vm.assertEq(escapeHatch.l2TokenOf(address(token)), address_("$.l2Token"));
        vm.assertEq(address_("$.contract.address"), Aliasing.alias_(address(l1Contract)));
    }

    function test_notBeforeTheHalt() public {
        vm.startPrank(alice, alice);
        bytes[] memory proof = nodes("$.alice.proof");
        vm.expectRevert(EscapeHatch.NotHalted.selector);
        escapeHatch.escapeETH(alice, payable(alice), proof);
        vm.expectRevert(EscapeHatch.NotHalted.selector);
        escapeHatch.escapeERC20(address(token), alice, alice, proof, proof);
        EscapeHatch.Entry memory entry;
        vm.expectRevert(EscapeHatch.NotHalted.selector);
        escapeHatch.refundMessage(entry, payable(alice));
        vm.expectRevert(EscapeHatch.NotHalted.selector);
        escapeHatch.refundFailed(0, address(token), alice, 1, alice, proof, proof);
        vm.stopPrank();
    }

    function test_ethOnce() public {
        halt();
        address fresh = account("fresh");
        vm.startPrank(alice, alice);
        escapeETH("alice", fresh);
        vm.assertEq(fresh.balance, 7 ether);
        bytes[] memory proof = nodes("$.alice.proof");
        vm.expectRevert(EscapeHatch.AlreadyTaken.selector);
        escapeHatch.escapeETH(alice, payable(fresh), proof);
        vm.stopPrank();
        vm.prank(bob, bob);
        escapeETH("bob", fresh);
        vm.assertEq(fresh.balance, 7 ether + 1);
    }

    function test_tokenOnce() public {
        halt();
        vm.startPrank(alice, alice);
        escapeToken("alice", bob);
        vm.assertEq(token.balanceOf(bob), 1_000_000);
        bytes[] memory tokenProof = nodes("$.token.proof");
        bytes[] memory balanceProof = nodes("$.token.alice.proof");
        vm.expectRevert(EscapeHatch.AlreadyTaken.selector);
        escapeHatch.escapeERC20(address(token), alice, bob, tokenProof, balanceProof);
        escapeETH("alice", alice); // another nullifier
        vm.stopPrank();
    }

    function test_contractTakesWhatItsAliasHolds() public {
        halt();
        address holder = address_("$.contract.address");
        bytes memory data =
            abi.encodeCall(EscapeHatch.escapeETH, (holder, payable(address(l1Contract)), nodes("$.contract.proof")));
        l1Contract.call(address(escapeHatch), 0, data);
        vm.assertEq(address(l1Contract).balance, 3 ether);
        vm.prank(address(l1Contract));
        escapeToken("contract", alice);
        vm.assertEq(token.balanceOf(alice), 500_000 + 5);
    }

    function test_onlyTheOwner() public {
        halt();
        bytes[] memory proof = nodes("$.alice.proof");
        vm.prank(bob, bob);
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, bob, alice));
        escapeHatch.escapeETH(alice, payable(bob), proof);
        // A contract at alice's address, as a factory may place one: not the sender of the transaction, no delegation.
        vm.etch(alice, hex"00");
        vm.prank(alice, bob);
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, alice, alice));
        escapeHatch.escapeETH(alice, payable(bob), proof);
        vm.etch(alice, abi.encodePacked(hex"600000", bob)); // as long as a delegation
        vm.prank(alice, bob);
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, alice, alice));
        escapeHatch.escapeETH(alice, payable(bob), proof);
        vm.etch(alice, "");
        vm.prank(alice, bob); // no code, as in a constructor
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, alice, alice));
        escapeHatch.escapeETH(alice, payable(bob), proof);
        // The alias of an L1 contract is nobody else's.
        address holder = address_("$.contract.address");
        proof = nodes("$.contract.proof");
        vm.prank(holder, alice);
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, holder, holder));
        escapeHatch.escapeETH(holder, payable(bob), proof);
    }

    function test_delegatedAccountIsNoContract() public {
        halt();
        vm.etch(alice, abi.encodePacked(hex"ef0100", bob));
        vm.prank(alice, bob); // called by a relayer
        escapeETH("alice", account("fresh"));
        vm.assertEq(account("fresh").balance, 7 ether);
    }

    function test_forgedProofs() public {
        halt();
        bytes[] memory mine = nodes("$.alice.proof");
        bytes[] memory other = nodes("$.bob.proof");
        vm.startPrank(alice, alice);
        vm.expectRevert(); // another account's proof
        escapeHatch.escapeETH(alice, payable(alice), other);
        vm.expectRevert();
        escapeHatch.escapeETH(alice, payable(alice), new bytes[](0));
        for (uint256 i; i < mine.length; ++i) {
            bytes[] memory bad = nodes("$.alice.proof");
            bad[i][bad[i].length - 1] ^= 0x01;
            vm.expectRevert();
            escapeHatch.escapeETH(alice, payable(alice), bad);
            bytes[] memory short = new bytes[](i);
            for (uint256 j; j < i; ++j) {
                short[j] = mine[j];
            }
            vm.expectRevert();
            escapeHatch.escapeETH(alice, payable(alice), short);
        }
        bytes[] memory long = new bytes[](mine.length + 1);
        for (uint256 j; j < mine.length; ++j) {
            long[j] = mine[j];
        }
        long[mine.length] = mine[0];
        vm.expectRevert();
        escapeHatch.escapeETH(alice, payable(alice), long);
        vm.stopPrank();
        // An account that is not there.
        address absent = address_("$.absent.address");
        bytes[] memory proof = nodes("$.absent.proof");
        vm.prank(absent, absent);
        vm.expectRevert();
        escapeHatch.escapeETH(absent, payable(absent), proof);
        // No balance: the proof of its absence is no proof.
        bytes[] memory tokenProof = nodes("$.token.proof");
        bytes[] memory balanceProof = nodes("$.token.bob.proof");
        vm.prank(bob, bob);
        vm.expectRevert();
        escapeHatch.escapeERC20(address(token), bob, bob, tokenProof, balanceProof);
        // Another token's balance.
        balanceProof = nodes("$.token.alice.proof");
        vm.prank(alice, alice);
        vm.expectRevert();
        escapeHatch.escapeERC20(address(0x1234), alice, alice, tokenProof, balanceProof);
    }

    /// @dev A byte of a proof changed anywhere never pays out.
    function testFuzz_mutatedProof(uint256 node, uint256 at_, uint8 flip) public {
        vm.assume(flip != 0);
        halt();
        bytes[] memory bad = nodes("$.alice.proof");
        node = bound(node, 0, bad.length - 1);
        at_ = bound(at_, 0, bad[node].length - 1);
        bad[node][at_] ^= bytes1(flip);
        vm.prank(alice, alice);
        vm.expectRevert();
        escapeHatch.escapeETH(alice, payable(alice), bad);
    }

    // --- messages that no final batch consumed ---

    function queueETH() internal returns (EscapeHatch.Entry memory entry) {
        entry = EscapeHatch.Entry({
            index: inbox.length(),
            blockNumber: uint64(vm.getBlockNumber()),
            from: alice,
            to: bob,
            isCreation: false,
            mint: 3 ether,
            value: 2 ether,
            gas: 50_000,
            data: hex"0102"
        });
        vm.deal(alice, 10 ether);
        vm.prank(alice, alice);
        inbox.send{value: 10 ether}(bob, false, 3 ether, 2 ether, 50_000, hex"0102");
    }

    function test_refundETH() public {
        EscapeHatch.Entry memory entry = queueETH();
        halt();
        uint256 before = alice.balance;
        vm.prank(bob, bob);
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, bob, alice));
        escapeHatch.refundMessage(entry, payable(bob));
        escapeHatch.refundMessage(entry, payable(alice)); // anyone, to the sender
        vm.assertEq(alice.balance, before + 3 ether);
        vm.expectRevert(EscapeHatch.AlreadyTaken.selector);
        escapeHatch.refundMessage(entry, payable(alice));
    }

    function test_refundToTheSendersRecipient() public {
        EscapeHatch.Entry memory entry = queueETH();
        halt();
        vm.prank(alice, alice);
        escapeHatch.refundMessage(entry, payable(account("fresh")));
        vm.assertEq(account("fresh").balance, 3 ether);
    }

    function test_refundToAContract() public {
        // The L1 sender, not its alias.
        EscapeHatch.Entry memory entry = queueETH();
        entry.index = inbox.length();
        entry.from = Aliasing.alias_(address(l1Contract));
        vm.deal(address(l1Contract), 5 ether);
        l1Contract.call(
            address(inbox), 5 ether, abi.encodeCall(Inbox.send, (bob, false, 3 ether, 2 ether, 50_000, hex"0102"))
        );
        halt();
        uint256 before = address(l1Contract).balance;
        escapeHatch.refundMessage(entry, payable(address(l1Contract)));
        vm.assertEq(address(l1Contract).balance, before + 3 ether);
    }

    function test_refundOfForgedEntries() public {
        EscapeHatch.Entry memory entry = queueETH();
        halt();
        for (uint256 field; field < 8; ++field) {
            EscapeHatch.Entry memory bad = EscapeHatch.Entry(
                entry.index,
                entry.blockNumber,
                entry.from,
                entry.to,
                entry.isCreation,
                entry.mint,
                entry.value,
                entry.gas,
                entry.data
            );
            if (field == 0) bad.blockNumber += 1;
            if (field == 1) bad.from = bob;
            if (field == 2) bad.to = alice;
            if (field == 3) bad.isCreation = true;
            if (field == 4) bad.mint += 1;
            if (field == 5) bad.value += 1;
            if (field == 6) bad.gas += 1;
            if (field == 7) bad.data = "";
            vm.expectRevert(EscapeHatch.WrongEntry.selector);
            escapeHatch.refundMessage(bad, payable(alice));
        }
        entry.index = 0;
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.Consumed.selector, 0));
        escapeHatch.refundMessage(entry, payable(alice));
        entry.index = 100;
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownMessage.selector, 100));
        escapeHatch.refundMessage(entry, payable(alice));
    }

    function test_forcedMessageHasNothingToRefund() public {
        uint64 index = inbox.length();
        halt(); // which queues one of bob's
        EscapeHatch.Entry memory entry = EscapeHatch.Entry({
            index: index,
            blockNumber: inbox.entry(index).blockNumber,
            from: bob,
            to: bob,
            isCreation: false,
            mint: 0,
            value: 0,
            gas: 21_000,
            data: ""
        });
        vm.expectRevert(EscapeHatch.NothingToTake.selector);
        escapeHatch.refundMessage(entry, payable(bob));
    }

    function test_refundToken() public {
        uint64 index = inbox.length();
        vm.recordLogs();
        vm.prank(alice, alice);
        bridge.depositERC20{value: 1 ether}(address(token), bob, 400_000, 0, "");
        EscapeHatch.Entry memory entry;
        entry.index = index;
        entry.blockNumber = uint64(vm.getBlockNumber());
        entry.from = Aliasing.alias_(address(bridge));
        entry.to = address(l2Bridge);
        (entry.gas, entry.data) = lastQueued();
        halt();
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, address(this), alice));
        escapeHatch.refundMessage(entry, payable(bob));
        escapeHatch.refundMessage(entry, payable(alice));
        vm.assertEq(token.balanceOf(alice), 500_000);
        vm.expectRevert(EscapeHatch.AlreadyTaken.selector);
        escapeHatch.refundMessage(entry, payable(alice));
    }

    function test_announcementHasNothingToRefund() public {
        uint64 index = inbox.length();
        vm.recordLogs();
        vm.prank(alice, alice);
        bridge.announce{value: 1 ether}(address(token));
        EscapeHatch.Entry memory entry;
        entry.index = index;
        entry.blockNumber = uint64(vm.getBlockNumber());
        entry.from = Aliasing.alias_(address(bridge));
        entry.to = address(l2Bridge);
        (entry.gas, entry.data) = lastQueued();
        halt();
        vm.expectRevert(EscapeHatch.NothingToTake.selector);
        escapeHatch.refundMessage(entry, payable(alice));
    }

    function lastQueued() internal returns (uint64 gas, bytes memory data) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != Inbox.MessageQueued.selector) continue;
            (,,, gas, data) = abi.decode(logs[i].data, (bool, uint256, uint256, uint64, bytes));
        }
    }

    // --- deposits that failed on L2 ---

    function test_refundFailedDeposit() public {
        halt();
        bytes[] memory bridgeProof = nodes("$.failed.proof");
        bytes[] memory record = nodes("$.failed.1.proof");
        vm.expectRevert(EscapeHatch.WrongEntry.selector);
        escapeHatch.refundFailed(1, address(token), bob, 102, bob, bridgeProof, record);
        vm.expectRevert(EscapeHatch.WrongEntry.selector);
        escapeHatch.refundFailed(1, address(token), alice, 101, alice, bridgeProof, record);
        vm.expectRevert(abi.encodeWithSelector(EscapeHatch.NotOwner.selector, address(this), bob));
        escapeHatch.refundFailed(1, address(token), bob, 101, alice, bridgeProof, record);
        escapeHatch.refundFailed(1, address(token), bob, 101, bob, bridgeProof, record);
        vm.assertEq(token.balanceOf(bob), 101);
        vm.expectRevert(EscapeHatch.AlreadyTaken.selector);
        escapeHatch.refundFailed(1, address(token), bob, 101, bob, bridgeProof, record);
        vm.expectRevert(); // another record's proof
        escapeHatch.refundFailed(2, address(token), bob, 102, bob, bridgeProof, record);
        record = nodes("$.failed.3.proof");
        vm.expectRevert(); // none failed under this number
        escapeHatch.refundFailed(3, address(token), bob, 103, bob, bridgeProof, record);
    }

    // --- the outbox, and the keys ---

    function test_messagesUnderTheFrozenRootStayGood() public {
        halt();
        (, bytes32[32] memory proof) = prove(leaves, 0);
        vm.assertTrue(outbox.execute(pending, finalOf(rollup.finalIndex()), proof));
        vm.assertEq(address(0xbeef).balance, 2 ether);
    }

    function test_noKeyChangesAnything() public {
        halt();
        address[6] memory proxies =
            [address(rollup), address(proofs), address(inbox), address(bridge), address(outbox), address(escapeHatch)];
        address implementation = address(new Outbox(address(timelock), rollup, bridge, address(inbox), address(0)));
        for (uint256 i; i < 6; ++i) {
            vm.prank(address(timelock));
            vm.expectRevert(Governed.ChainHalted.selector);
            Outbox(payable(proxies[i])).upgradeToAndCall(implementation, "");
        }
        vm.prank(council);
        pause.pause(7 days);
        vm.prank(alice, alice);
        escapeETH("alice", alice); // no pause stops it
    }
}
