// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Aliasing} from "../src/common/Aliasing.sol";
import {IL1Bridge} from "../src/common/IL1Bridge.sol";
import {IDepositReceiver, IL2Bridge, TokenMetadata} from "../src/common/IL2Bridge.sol";
import {Message} from "../src/common/Messages.sol";
import {Predeploys} from "../src/common/Predeploys.sol";
import {Bridge} from "../src/l1/Bridge.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Outbox} from "../src/l1/Outbox.sol";
import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {L2Bridge} from "../src/l2/L2Bridge.sol";
import {L2Token} from "../src/l2/L2Token.sol";
import {Chain} from "./utils/Chain.sol";
import {L2} from "./utils/L2.sol";
import {EarlyToken, FeeToken, HostileToken, Token} from "./utils/Tokens.sol";
import {Vm} from "./utils/Test.sol";

/// @notice What a message may call on L1.
contract Target {
    Outbox public immutable outbox;
    bool public fails = true;
    address public lastSender;
    bytes public lastData;
    uint256 public burnt;

    constructor(Outbox outbox_) {
        outbox = outbox_;
    }

    function mend() external {
        fails = false;
    }

    fallback() external payable {
        require(!fails, "not yet");
        lastSender = outbox.l2Sender();
        lastData = msg.data;
    }

    receive() external payable {
        require(!fails, "not yet");
    }

    /// @dev Takes all gas.
    function burn() external payable {
        while (true) ++burnt;
    }

    /// @dev Answers with much.
    function shout() external pure {
        assembly {
            return(0, 1000000)
        }
    }

    /// @dev Tries to have a message executed within a message.
    function reenter(Message calldata message) external {
        outbox.retry(message);
    }
}

/// @notice Takes deposits with data on L2, or does not.
contract Receiver is IDepositReceiver {
    uint256 public way;
    uint256 public got;
    bytes public said;

    function set(uint256 way_) external {
        way = way_;
    }

    function onTokenDeposit(address, address, uint256 amount, bytes calldata data) external returns (bytes4) {
        if (way == 1) revert("no");
        if (way == 2) return 0x12345678;
        if (way == 3) while (true) ++got;
        got += amount;
        said = data;
        return IDepositReceiver.onTokenDeposit.selector;
    }
}

contract BridgeTest is Chain, L2 {
    Token internal token;
    Target internal target;

    function setUp() public override {
        super.setUp();
        deployL2(address(bridge));
        token = new Token("Some Token", "SOME");
        target = new Target(outbox);
    }

    // --- helpers ---

    /// @dev Makes a batch final whose outbox root is that of the messages sent so far.
    function finalizeOutbox() internal returns (Outbox.Final memory) {
        uint64 index = commit();
        otherRoots[index] = roots(index, 0);
        otherRoots[index].outboxRoot = messenger.root();
        for (uint256 i; i < 2; ++i) {
            Rollup.Proof memory p = proofOf(ProofSystem(i), intel1, index, 0);
            p.claims[0].outboxRoot = messenger.root();
            p.start = rollup.finalOutput();
            rollup.prove(only(sealed_(p, ProofSystem(i), intel1)));
        }
        assertFinal(index);
        return finalOf(index);
    }

    function execute(Message memory m) internal returns (bool) {
        Outbox.Final memory last = finalOf(rollup.finalIndex());
        (, bytes32[32] memory proof) = prove(leaves, m.nonce);
        vm.prank(bob);
        return outbox.execute(m, last, proof);
    }

    function depositToken(address from, address to, uint256 amount, bytes memory data) internal returns (uint64) {
        token.mint(from, amount);
        vm.deal(from, from.balance + 1 ether);
        vm.startPrank(from, from);
        token.approve(address(bridge), amount);
        uint64 index = bridge.depositERC20{value: 1 ether}(address(token), to, amount, 100_000, data);
        vm.stopPrank();
        return index;
    }

    struct Queued {
        address from;
        address to;
        uint64 gas;
        bytes data;
    }

    /// @dev The messages in the logs recorded so far.
    function queued() internal returns (Queued[] memory list) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        list = new Queued[](logs.length);
        uint256 count;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != Inbox.MessageQueued.selector) continue;
            Queued memory q = list[count++];
            q.from = address(uint160(uint256(logs[i].topics[2])));
            q.to = address(uint160(uint256(logs[i].topics[3])));
            (,,, q.gas, q.data) = abi.decode(logs[i].data, (bool, uint256, uint256, uint64, bytes));
        }
        assembly {
            mstore(list, count)
        }
    }

    /// @dev Executes a queued message on L2 with its own gas, less what its data cost there.
    function relay(Queued memory q) internal returns (bool ok) {
        uint256 gas = q.gas - inbox.leastGas(q.data.length, false);
        vm.prank(q.from);
        (ok,) = q.to.call{gas: gas}(q.data);
    }

    function l2Token() internal view returns (L2Token) {
        return L2Token(l2Bridge.l2TokenOf(address(token)));
    }

    // --- tokens to L2 ---

    function test_initCodeHash() public pure {
        vm.assertEq(keccak256(type(L2Token).creationCode), Predeploys.L2_TOKEN_INIT_CODE_HASH, "update Predeploys");
        bytes32 slot = keccak256(abi.encode(uint256(keccak256("jove.storage.L2Token")) - 1)) & ~bytes32(uint256(0xff));
        vm.assertEq(slot, Predeploys.L2_TOKEN_BALANCES_SLOT);
    }

    function test_firstDepositDeploysTheCounterpart() public {
        vm.recordLogs();
        depositToken(alice, bob, 1000, "");
        Queued[] memory q = queued();
        vm.assertEq(q.length, 1);
        vm.assertEq(q[0].from, Aliasing.alias_(address(bridge)));
        vm.assertEq(q[0].to, address(l2Bridge));
        vm.assertTrue(relay(q[0]));
        vm.assertEq(l2Token().balanceOf(bob), 1000);
        vm.assertEq(l2Token().name(), "Some Token");
        vm.assertEq(l2Token().symbol(), "SOME");
        vm.assertEq(l2Token().decimals(), 6);
        vm.assertEq(l2Token().l1Token(), address(token));
        vm.assertEq(address(l2Token()), escapeHatch.l2TokenOf(address(token)));
        // Balances are where an escape proves them.
        bytes32 slot = keccak256(abi.encode(bob, Predeploys.L2_TOKEN_BALANCES_SLOT));
        vm.assertEq(uint256(vm.load(address(l2Token()), slot)), 1000);

        vm.recordLogs();
        depositToken(alice, bob, 500, "");
        q = queued();
        (,,,, bytes memory metadata,) = abi.decode(tail(q[0].data), (address, address, address, uint256, bytes, bytes));
        vm.assertEq(metadata.length, 0);
        vm.assertTrue(relay(q[0]));
        vm.assertEq(l2Token().balanceOf(bob), 1500);
        vm.assertEq(bridge.escrow(address(token)), 1500);
    }

    function tail(bytes memory data) internal pure returns (bytes memory out) {
        out = new bytes(data.length - 4);
        for (uint256 i; i < out.length; ++i) {
            out[i] = data[i + 4];
        }
    }

    function test_surplusAndPrice() public {
        uint256 fee = bridge.quote(100_000, true, 0);
        depositToken(alice, bob, 1000, "");
        vm.assertGe(alice.balance, 1 ether - fee, "the quote suffices");
        token.mint(alice, 1);
        vm.deal(alice, 1);
        vm.startPrank(alice, alice);
        token.approve(address(bridge), 1);
        vm.expectRevert();
        bridge.depositERC20{value: 1}(address(token), bob, 1, 0, "");
        vm.stopPrank();
    }

    function test_onlyTheL1BridgeSpeaksToTheL2Bridge() public {
        bytes memory metadata = abi.encode(TokenMetadata("x", "x", 1));
        address[4] memory strangers = [alice, address(bridge), address(messenger), address(l2Bridge)];
        for (uint256 i; i < 4; ++i) {
            vm.startPrank(strangers[i]);
            vm.expectRevert(L2Bridge.NotL1Bridge.selector);
            l2Bridge.finalizeDeposit(address(token), alice, alice, 1, metadata, "");
            vm.expectRevert(L2Bridge.NotL1Bridge.selector);
            l2Bridge.deployToken(address(token), metadata);
            vm.stopPrank();
        }
        vm.expectRevert(L2Bridge.NotSelf.selector);
        l2Bridge.mint(address(token), alice, alice, 1, metadata, "");
        vm.prank(Aliasing.alias_(address(bridge)));
        l2Bridge.deployToken(address(token), metadata);
        L2Token deployed = l2Token();
        vm.expectRevert(L2Token.NotBridge.selector);
        deployed.mint(alice, 1);
        vm.expectRevert(L2Token.NotBridge.selector);
        deployed.burn(alice, 1);
        vm.expectRevert(L2Token.NotBridge.selector);
        deployed.initialize(address(1), "", "", 1);
        vm.prank(address(l2Bridge));
        vm.expectRevert(L2Token.AlreadyInitialized.selector);
        deployed.initialize(address(1), "", "", 1);
    }

    function test_feeOnTransferCreditsWhatArrived() public {
        FeeToken fee = new FeeToken();
        token = fee;
        vm.recordLogs();
        depositToken(alice, bob, 1000, "");
        vm.assertEq(bridge.escrow(address(fee)), 990);
        vm.assertEq(fee.balanceOf(address(bridge)), 990);
        vm.assertTrue(relay(queued()[0]));
        vm.assertEq(l2Token().balanceOf(bob), 990);
    }

    function test_earlyTokens() public {
        EarlyToken early = new EarlyToken();
        early.mint(alice, 7);
        vm.deal(alice, 1 ether);
        vm.recordLogs();
        vm.startPrank(alice, alice);
        early.approve(address(bridge), 7);
        bridge.depositERC20{value: 1 ether}(address(early), bob, 7, 0, "");
        vm.stopPrank();
        vm.assertTrue(relay(queued()[0]));
        L2Token there = L2Token(l2Bridge.l2TokenOf(address(early)));
        vm.assertEq(there.name(), "Early Token");
        vm.assertEq(there.symbol(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        vm.assertEq(there.decimals(), 18);
        // And back, without an answer to `transfer`.
        vm.prank(bob);
        l2Bridge.withdraw(address(there), alice, 7);
        leaves.push(leafOf(withdrawal(0, address(early), alice, 7)));
        finalizeOutbox();
        vm.assertTrue(execute(withdrawal(0, address(early), alice, 7)));
        vm.assertEq(early.balanceOf(alice), 7);
    }

    function test_hostileMetadata() public {
        for (uint256 way; way < 9; ++way) {
            HostileToken hostile = new HostileToken();
            hostile.set(way);
            token = hostile;
            vm.recordLogs();
            uint256 before = gasleft();
            depositToken(alice, bob, 1000, "");
            vm.assertLe(before - gasleft(), 1_000_000, "bounded");
            vm.assertTrue(relay(queued()[0]), "relays");
            vm.assertEq(l2Token().balanceOf(bob), 1000);
            vm.assertLe(bytes(l2Token().name()).length, 64, "bounded name");
            if (way == 7) vm.assertEq(bytes(l2Token().name()).length, 64);
        }
    }

    function test_noTokenNoDeposit() public {
        vm.deal(alice, 10 ether);
        vm.startPrank(alice, alice);
        vm.expectRevert();
        bridge.depositERC20{value: 1 ether}(alice, bob, 1, 0, ""); // no contract
        token.approve(address(bridge), 5);
        vm.expectRevert();
        bridge.depositERC20{value: 1 ether}(address(token), bob, 5, 0, ""); // no balance
        vm.expectRevert(Bridge.NothingArrived.selector);
        bridge.depositERC20{value: 1 ether}(address(token), bob, 0, 0, "");
        vm.expectRevert(abi.encodeWithSelector(Bridge.DataTooLong.selector, 4097));
        bridge.depositERC20{value: 1 ether}(address(token), bob, 0, 0, new bytes(4097));
        vm.expectRevert();
        bridge.depositERC20{value: 1 ether}(address(token), bob, 1, type(uint64).max, "");
        vm.stopPrank();
        vm.prank(council);
        pause.pause(1 days);
        vm.prank(alice, alice);
        vm.expectRevert(Bridge.DepositsPaused.selector);
        bridge.depositERC20{value: 1 ether}(address(token), bob, 1, 0, "");
    }

    function test_announceAgain() public {
        vm.recordLogs();
        depositToken(alice, bob, 1000, "");
        queued(); // and lost: as if the first deposit's gas had not sufficed
        vm.recordLogs();
        depositToken(alice, bob, 200, "");
        vm.assertTrue(relay(queued()[0])); // recorded: there is no token yet
        vm.assertEq(l2Bridge.failedCount(), 1);
        vm.deal(bob, 1 ether);
        vm.recordLogs();
        vm.prank(bob, bob);
        bridge.announce{value: 1 ether}(address(token));
        Queued[] memory q = queued();
        vm.assertTrue(relay(q[0]));
        vm.assertEq(l2Token().name(), "Some Token");
        vm.assertTrue(relay(q[0])); // twice is no harm
        vm.recordLogs();
        depositToken(alice, bob, 300, "");
        vm.assertTrue(relay(queued()[0]));
        vm.assertEq(l2Token().balanceOf(bob), 300);
    }

    // --- deposits with data; failures ---

    function test_depositWithData() public {
        Receiver receiver = new Receiver();
        vm.recordLogs();
        depositToken(alice, address(receiver), 1000, "hello");
        vm.assertTrue(relay(queued()[0]));
        vm.assertEq(receiver.got(), 1000);
        vm.assertEq(receiver.said(), "hello");
        vm.assertEq(l2Token().balanceOf(address(receiver)), 1000);
    }

    function test_failedDepositGoesBack() public {
        for (uint256 way = 1; way < 4; ++way) {
            Receiver receiver = new Receiver();
            receiver.set(way);
            vm.recordLogs();
            depositToken(alice, address(receiver), 1000, "hello");
            vm.assertTrue(relay(queued()[0]), "recorded");
            uint256 id = way - 1;
            vm.assertEq(l2Bridge.failedCount(), way);
            vm.assertTrue(l2Bridge.failed(id) != 0);
            vm.assertEq(
                vm.load(address(l2Bridge), keccak256(abi.encode(id, Predeploys.L2_BRIDGE_FAILED_SLOT))),
                l2Bridge.failed(id),
                "slot"
            );
            vm.expectRevert(abi.encodeWithSelector(L2Bridge.NoSuchFailure.selector, id));
            l2Bridge.sendBack(id, address(token), bob, 1000);
            vm.expectRevert(abi.encodeWithSelector(L2Bridge.NoSuchFailure.selector, id));
            l2Bridge.sendBack(id, address(token), alice, 1001);
            l2Bridge.sendBack(id, address(token), alice, 1000);
            vm.expectRevert(abi.encodeWithSelector(L2Bridge.NoSuchFailure.selector, id));
            l2Bridge.sendBack(id, address(token), alice, 1000);
            leaves.push(leafOf(withdrawal(uint64(id), address(token), alice, 1000)));
            finalizeOutbox();
            vm.assertTrue(execute(withdrawal(uint64(id), address(token), alice, 1000)));
            vm.assertEq(token.balanceOf(alice), 1000 * way);
        }
        vm.assertEq(bridge.escrow(address(token)), 0);
    }

    function test_depositCannotCallTheChainsContracts() public {
        // A recipient that is a predeploy or the token itself does not take deposits with data.
        address[3] memory recipients = [address(messenger), address(l2Bridge), address(l2Token())];
        for (uint256 i; i < 3; ++i) {
            vm.recordLogs();
            depositToken(alice, recipients[i], 10, hex"01");
            vm.assertTrue(relay(queued()[0]));
            vm.assertEq(l2Bridge.failedCount(), i + 1);
        }
    }

    function test_depositToNobodyIsRecorded() public {
        vm.recordLogs();
        depositToken(alice, address(0), 10, "");
        vm.assertTrue(relay(queued()[0]));
        vm.assertEq(l2Bridge.failedCount(), 1);
    }

    // --- tokens to L1 ---

    function withdrawal(uint64 nonce, address l1Token, address to, uint256 amount)
        internal
        view
        returns (Message memory)
    {
        return Message({
            nonce: nonce,
            sender: address(l2Bridge),
            target: address(bridge),
            value: 0,
            gas: 200_000,
            data: abi.encodeCall(IL1Bridge.finalizeWithdrawal, (l1Token, to, amount))
        });
    }

    function test_tokenRoundTrip() public {
        vm.recordLogs();
        depositToken(alice, bob, 1000, "");
        vm.assertTrue(relay(queued()[0]));
        L2Token there = l2Token();
        vm.startPrank(bob);
        vm.expectRevert(L2Bridge.InvalidWithdrawal.selector);
        l2Bridge.withdraw(address(there), alice, 0);
        vm.expectRevert(L2Bridge.InvalidWithdrawal.selector);
        l2Bridge.withdraw(address(there), address(0), 1);
        vm.expectRevert();
        l2Bridge.withdraw(address(there), alice, 1001);
        vm.expectRevert();
        l2Bridge.withdraw(address(token), alice, 1); // an L1 token, not one of ours
        vm.expectRevert(abi.encodeWithSelector(L2Bridge.UnknownToken.selector, alice));
        l2Bridge.withdraw(alice, alice, 1);
        l2Bridge.withdraw(address(there), alice, 400);
        vm.stopPrank();
        vm.assertEq(there.totalSupply(), 600);
        Message memory m = withdrawal(0, address(token), alice, 400);
        leaves.push(leafOf(m));
        finalizeOutbox();
        vm.assertTrue(execute(m));
        vm.assertEq(token.balanceOf(alice), 400);
        vm.assertEq(bridge.escrow(address(token)), 600);
    }

    function test_forgedWithdrawalsRefused() public {
        depositToken(alice, bob, 1000, "");
        vm.expectRevert(abi.encodeWithSelector(Bridge.NotAllowed.selector, address(this)));
        bridge.finalizeWithdrawal(address(token), alice, 1);
        // A message of another L2 account cannot even reach the bridge.
        Message memory m = sendFrom(
            bob, address(bridge), 0, 200_000, abi.encodeCall(IL1Bridge.finalizeWithdrawal, (address(token), bob, 1000))
        );
        Outbox.Final memory batch = finalizeOutbox();
        (, bytes32[32] memory proof) = prove(leaves, 0);
        vm.expectRevert(abi.encodeWithSelector(Outbox.ForbiddenTarget.selector, address(bridge)));
        outbox.execute(m, batch, proof);
        // And if it could, the bridge would see its sender.
        vm.mockCall(address(outbox), abi.encodeCall(Outbox.l2Sender, ()), abi.encode(bob));
        vm.prank(address(outbox));
        vm.expectRevert(abi.encodeWithSelector(Bridge.NotL2Bridge.selector, bob));
        bridge.finalizeWithdrawal(address(token), bob, 1000);
    }

    function test_escrowBoundsEachToken() public {
        depositToken(alice, bob, 1000, "");
        vm.prank(bob);
        token.mint(address(bridge), 5000); // more than was deposited
        Message memory m = withdrawal(0, address(token), alice, 1001);
        vm.prank(address(l2Bridge));
        messenger.send(m.target, m.gas, m.data);
        leaves.push(leafOf(m));
        finalizeOutbox();
        vm.assertFalse(execute(m)); // fails and stays for a retry
        vm.assertEq(uint256(outbox.status(leafOf(m))), uint256(Outbox.Status.Failed));
    }

    // --- messages to L1 ---

    function test_messageWithValue() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 2 ether, 200_000, "hello");
        finalizeOutbox();
        vm.assertTrue(execute(m));
        vm.assertEq(target.lastSender(), alice);
        vm.assertEq(target.lastData(), "hello");
        vm.assertEq(address(target).balance, 2 ether);
        vm.assertEq(address(bridge).balance, SUPPLY - 2 ether);
        vm.assertEq(address(outbox).balance, 0);
        vm.expectRevert(Outbox.NoMessage.selector);
        outbox.l2Sender();
    }

    function test_ethToAnAccount() public {
        Message memory m = sendFrom(alice, account("new"), 3 ether, 0, "");
        finalizeOutbox();
        vm.assertTrue(execute(m));
        vm.assertEq(account("new").balance, 3 ether);
    }

    function test_onceOnly() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 1 ether, 100_000, "");
        Outbox.Final memory batch = finalizeOutbox();
        execute(m);
        (, bytes32[32] memory proof) = prove(leaves, 0);
        vm.expectRevert(abi.encodeWithSelector(Outbox.AlreadyDone.selector, leaves[0]));
        outbox.execute(m, batch, proof);
        vm.expectRevert(abi.encodeWithSelector(Outbox.NotFailed.selector, leaves[0]));
        outbox.retry(m);
        // Nor under a later root.
        sendFrom(alice, address(target), 0, 0, "");
        batch = finalizeOutbox();
        (, proof) = prove(leaves, 0);
        vm.expectRevert(abi.encodeWithSelector(Outbox.AlreadyDone.selector, leaves[0]));
        outbox.execute(m, batch, proof);
    }

    function test_oldRootStaysGood() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 1 ether, 100_000, "");
        Outbox.Final memory batch = finalizeOutbox();
        (, bytes32[32] memory proof) = prove(leaves, 0);
        sendFrom(alice, address(target), 0, 0, "");
        finalizeOutbox();
        vm.assertTrue(outbox.execute(m, batch, proof));
    }

    function test_aRootServesFor256Batches() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 1 ether, 100_000, "");
        Message memory late = sendFrom(alice, address(target), 0, 100_000, "");
        Outbox.Final memory first = finalizeOutbox();
        Outbox.Final memory last;
        for (uint256 i; i < 255; ++i) {
            last = finalizeOutbox();
        }
        (, bytes32[32] memory proof) = prove(leaves, 0);
        vm.assertTrue(outbox.execute(m, first, proof));
        finalizeOutbox();
        (, proof) = prove(leaves, 1);
        bytes memory notFinal = abi.encodeWithSelector(Outbox.NotFinal.selector, first.outboxRoot);
        vm.expectRevert(notFinal);
        outbox.execute(late, first, proof);
        vm.expectRevert(notFinal);
        outbox.keep(first);
        vm.assertTrue(outbox.execute(late, last, proof));
    }

    function test_aKeptRootServesForGood() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 1 ether, 100_000, "");
        Outbox.Final memory first = finalizeOutbox();
        vm.assertFalse(outbox.kept(first.outboxRoot));
        outbox.keep(first);
        vm.assertTrue(outbox.kept(first.outboxRoot));
        sendFrom(alice, address(target), 0, 100_000, "");
        for (uint256 i; i < 257; ++i) {
            finalizeOutbox();
        }
        bytes32[] memory then = new bytes32[](1);
        then[0] = leaves[0];
        (, bytes32[32] memory proof) = prove(then, 0);
        // What is kept is the root.
        first.lastBlockHash = 0;
        vm.assertTrue(outbox.execute(m, first, proof));
    }

    function test_aRootIsOfItsBatch() public {
        Message memory m = sendFrom(alice, address(target), 0, 100_000, "");
        Outbox.Final memory batch = finalizeOutbox();
        (, bytes32[32] memory proof) = prove(leaves, 0);
        bytes memory notFinal = abi.encodeWithSelector(Outbox.NotFinal.selector, batch.outboxRoot);
        for (uint256 field; field < 5; ++field) {
            Outbox.Final memory other =
                Outbox.Final(batch.index, batch.lastBlockHash, batch.stateRoot, batch.outboxRoot);
            if (field == 0) --other.index;
            if (field == 1) ++other.index;
            if (field == 2) other.index += 256;
            if (field == 3) other.lastBlockHash = 0;
            if (field == 4) other.stateRoot = 0;
            vm.expectRevert(notFinal);
            outbox.execute(m, other, proof);
            vm.expectRevert(notFinal);
            outbox.keep(other);
        }
        batch.outboxRoot = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(Outbox.NotFinal.selector, batch.outboxRoot));
        outbox.keep(batch);
    }

    function test_failedCallIsKeptForRetry() public {
        Message memory m = sendFrom(alice, address(target), 2 ether, 100_000, "hello");
        Outbox.Final memory batch = finalizeOutbox();
        vm.assertFalse(execute(m));
        vm.assertEq(uint256(outbox.status(leaves[0])), uint256(Outbox.Status.Failed));
        vm.assertEq(address(bridge).balance, SUPPLY);
        (, bytes32[32] memory proof) = prove(leaves, 0);
        vm.expectRevert(abi.encodeWithSelector(Outbox.AlreadyDone.selector, leaves[0]));
        outbox.execute(m, batch, proof);
        vm.assertFalse(outbox.retry(m));
        target.mend();
        vm.assertTrue(outbox.retry(m));
        vm.assertEq(address(target).balance, 2 ether);
        vm.expectRevert(abi.encodeWithSelector(Outbox.NotFailed.selector, leaves[0]));
        outbox.retry(m);
    }

    function test_callGetsItsGas() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 1 ether, 3_000_000, "hello");
        Outbox.Final memory batch = finalizeOutbox();
        (, bytes32[32] memory proof) = prove(leaves, 0);
        bytes memory data = abi.encodeCall(Outbox.execute, (m, batch, proof));
        (bool ok, bytes memory reason) = address(outbox).call{gas: 2_900_000}(data);
        vm.assertFalse(ok);
        vm.assertEq(bytes32(reason), bytes32(Outbox.InsufficientGas.selector));
        vm.assertEq(uint256(outbox.status(leaves[0])), uint256(Outbox.Status.None));
        (ok,) = address(outbox).call{gas: 4_000_000}(data);
        vm.assertTrue(ok);
    }

    function test_greedyCallLeavesGasForTheRecord() public {
        target.mend();
        uint64[3] memory gases = [uint64(50_000), 1_000_000, 10_000_000];
        for (uint256 i; i < 3; ++i) {
            Message memory m = sendFrom(alice, address(target), 1 ether, gases[i], abi.encodeCall(Target.burn, ()));
            Outbox.Final memory batch = finalizeOutbox();
            (, bytes32[32] memory proof) = prove(leaves, i);
            (bool ok, bytes memory answer) = address(outbox).call{gas: gases[i] + gases[i] / 50 + 400_000}(
                abi.encodeCall(Outbox.execute, (m, batch, proof))
            );
            vm.assertTrue(ok, "recorded");
            vm.assertFalse(abi.decode(answer, (bool)));
            vm.assertEq(uint256(outbox.status(leaves[i])), uint256(Outbox.Status.Failed));
        }
        vm.assertEq(address(bridge).balance, SUPPLY);
    }

    function test_answersAreNotRead() public {
        target.mend();
        Message memory m = sendFrom(alice, address(target), 0, 3_000_000, abi.encodeCall(Target.shout, ()));
        finalizeOutbox();
        vm.assertTrue(execute(m));
    }

    function test_noMessageWithinAMessage() public {
        target.mend();
        Message memory inner = sendFrom(alice, address(0xdead), 0, 0, "");
        Message memory m = sendFrom(alice, address(target), 0, 1_000_000, abi.encodeCall(Target.reenter, (inner)));
        finalizeOutbox();
        vm.assertFalse(execute(m));
    }

    function test_messagesCannotSpeakForTheChain() public {
        address[6] memory forbidden = [
            address(outbox), address(bridge), address(inbox), address(rollup), address(escapeHatch), address(timelock)
        ];
        for (uint256 i; i < 6; ++i) {
            sendFrom(alice, forbidden[i], 0, 0, hex"01");
        }
        Outbox.Final memory batch = finalizeOutbox();
        for (uint64 i; i < 6; ++i) {
            (, bytes32[32] memory proof) = prove(leaves, i);
            Message memory m = Message(i, alice, forbidden[i], 0, 0, hex"01");
            vm.expectRevert(abi.encodeWithSelector(Outbox.ForbiddenTarget.selector, forbidden[i]));
            outbox.execute(m, batch, proof);
        }
    }

    function test_forgedProofsRefused() public {
        Message memory m = sendFrom(alice, address(target), 1 ether, 0, "");
        sendFrom(alice, address(target), 2 ether, 0, "");
        (bytes32 root, bytes32[32] memory proof) = prove(leaves, 0);
        Outbox.Final memory batch = Outbox.Final(1, 0, 0, root);
        vm.expectRevert(abi.encodeWithSelector(Outbox.NotFinal.selector, root));
        outbox.execute(m, batch, proof);
        batch = finalizeOutbox();
        bytes memory reason = abi.encodePacked(Outbox.InvalidProof.selector);
        for (uint256 field; field < 7; ++field) {
            Message memory bad = Message(m.nonce, m.sender, m.target, m.value, m.gas, m.data);
            (, bytes32[32] memory path) = prove(leaves, 0);
            if (field == 0) bad.nonce = 1;
            if (field == 1) bad.sender = bob;
            if (field == 2) bad.target = bob;
            if (field == 3) bad.value += 1;
            if (field == 4) bad.gas += 1;
            if (field == 5) bad.data = hex"00";
            if (field == 6) path[31] = 0;
            vm.expectRevert(reason);
            outbox.execute(bad, batch, path);
        }
        m.nonce = uint64(1) << 32; // the same low bits
        vm.expectRevert(reason);
        outbox.execute(m, batch, proof);
    }

    function test_outboxTakesNoStrayEther() public {
        vm.deal(alice, 1 ether);
        vm.prank(alice);
        (bool ok,) = address(outbox).call{value: 1 ether}("");
        vm.assertFalse(ok);
    }

    function test_releaseIsForTheOutboxAndTheHatch() public {
        vm.expectRevert(abi.encodeWithSelector(Bridge.NotAllowed.selector, address(this)));
        bridge.release(alice, 1);
        vm.prank(address(outbox));
        vm.expectRevert(abi.encodeWithSelector(Bridge.NotAllowed.selector, alice));
        bridge.release(alice, 1);
        vm.expectRevert(abi.encodeWithSelector(Bridge.NotAllowed.selector, address(this)));
        bridge.releaseToken(address(token), alice, 1);
    }
}
