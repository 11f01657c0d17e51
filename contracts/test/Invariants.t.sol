// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Message} from "../src/common/Messages.sol";
import {EscapeHatch} from "../src/l1/EscapeHatch.sol";
import {Outbox} from "../src/l1/Outbox.sol";
import {Phase} from "../src/l1/IRollup.sol";
import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {Chain} from "./utils/Chain.sol";
import {L2} from "./utils/L2.sol";
import {Trie} from "./utils/Trie.sol";

/// @notice Counts how often each message reaches it, and refuses when it is told to.
contract Counter {
    mapping(uint256 tag => uint256) public reached;
    bool public refuses;

    function refuse(bool refuses_) external {
        refuses = refuses_;
    }

    function hit(uint256 tag) external payable {
        require(!refuses);
        ++reached[tag];
    }
}

/// @notice Plays users, sequencer, provers and an L2 of four accounts, and keeps its own books of who owns what.
contract Handler is Chain, L2 {
    struct Deposit {
        address user;
        uint64 blockNumber;
        uint256 mint;
        bytes32 hash;
        bool refunded;
    }

    struct Exit {
        Message message;
        bytes32 leaf;
        bool final_;
        bool done;
    }

    address[] public users;
    Counter public counter;

    /// What users own on L2 by the last final batch, and by the messages that they have sent since.
    mapping(address => uint256) public balances;
    mapping(address => bool) public escaped;
    Deposit[] internal deposits;
    Exit[] internal exits;

    /// Withdrawals that the next final batch takes.
    struct Wish {
        address user;
        uint256 amount;
        bool counted;
    }

    Wish[] internal wishes;
    uint64 public consumed;
    uint256 public paidOut;
    uint256 public locked;
    uint64 internal salt;

    constructor() {
        Chain.setUp();
        deployL2(address(bridge));
        counter = new Counter();
        // Accounts whose hashed addresses begin with different nibbles.
        uint256 seen;
        for (uint256 i; users.length < 4; ++i) {
            address user = account(string.concat("user ", vm.toString(i)));
            if ((seen >> Trie.nibble(user)) & 1 == 1) continue;
            seen |= 1 << Trie.nibble(user);
            users.push(user);
        }
        locked = SUPPLY;
    }

    modifier whenOpen() {
        if (rollup.phase() == Phase.Open) _;
    }

    modifier whenHalted() {
        if (rollup.phase() == Phase.Halted) _;
    }

    function userAt(uint256 seed) internal view returns (address) {
        return users[seed % users.length];
    }

    function deposit(uint256 seed, uint256 mint) external whenOpen {
        address user = userAt(seed);
        mint = seed % 3 == 0 ? 0 : bound(mint, 1, 100 ether);
        uint256 fee = inbox.quote(21_000);
        vm.deal(user, user.balance + fee + mint);
        vm.prank(user, user);
        uint64 index = inbox.send{value: fee + mint}(user, false, mint, mint, 21_000, "");
        bytes32 hash = keccak256(
            abi.encode(index, uint64(vm.getBlockNumber()), user, user, false, mint, mint, uint64(21_000), keccak256(""))
        );
        deposits.push(Deposit(user, uint64(vm.getBlockNumber()), mint, hash, false));
        locked += mint;
    }

    function wish(uint256 seed, uint256 amount, bool counted) external whenOpen {
        wishes.push(Wish(userAt(seed), amount, counted));
    }

    /// @dev A batch that takes everything queued and becomes final.
    function settle() external whenOpen {
        pass(12);
        Rollup.Commit memory c = request(++salt);
        for (uint64 i = consumed; i < c.endMessage; ++i) {
            balances[deposits[i].user] += deposits[i].mint;
        }
        consumed = c.endMessage;
        for (uint256 i; i < wishes.length; ++i) {
            withdraw(wishes[i]);
        }
        delete wishes;
        uint256[] memory amounts = new uint256[](users.length);
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = balances[users[i]];
        }
        uint64 index = expectBatch(c, 1, 1);
        carry(1);
        vm.prank(sequencer);
        rollup.commit(c, "");
        otherRoots[index] = Rollup.Roots(false, keccak256(Trie.root(users, amounts)), messenger.root());
        for (uint256 i; i < 2; ++i) {
            Rollup.Proof memory p = proofOf(ProofSystem(i), intel1, index, 0);
            p.start = rollup.finalOutput();
            (p.claims[0].stateRoot, p.claims[0].outboxRoot) =
            (otherRoots[index].stateRoot, otherRoots[index].outboxRoot);
            rollup.prove(only(sealed_(p, ProofSystem(i), intel1)));
        }
        assertFinal(index);
        for (uint256 i; i < exits.length; ++i) {
            exits[i].final_ = true;
        }
    }

    function withdraw(Wish memory w) internal {
        uint256 amount = balances[w.user] == 0 ? 0 : w.amount % (balances[w.user] + 1);
        balances[w.user] -= amount;
        bytes memory data = w.counted ? abi.encodeCall(Counter.hit, (exits.length)) : bytes("");
        Message memory m = sendFrom(w.user, w.counted ? address(counter) : w.user, amount, 60_000, data);
        exits.push();
        Exit storage e = exits[exits.length - 1];
        e.message = m;
        e.leaf = leafOf(m);
    }

    /// @dev A batch that the rules break, or that nobody proves: its messages go back.
    function waste(uint256 seed) external whenOpen {
        pass(12);
        Rollup.Commit memory c = request(++salt);
        uint64 index = expectBatch(c, 1, 1);
        carry(1);
        vm.prank(sequencer);
        rollup.commit(c, "");
        if (seed % 2 == 0) {
            pass(DROP);
            rollup.drop();
        } else {
            for (uint256 i; i < 2; ++i) {
                Rollup.Proof memory p = proofOf(ProofSystem(i), intel1, index, INVALID);
                p.start = rollup.finalOutput();
                rollup.prove(only(sealed_(p, ProofSystem(i), intel1)));
            }
        }
        vm.assertEq(rollup.headIndex(), index - 1);
    }

    function claimExit(uint256 seed, bool refuse) external {
        if (exits.length == 0) return;
        Exit storage e = exits[seed % exits.length];
        if (!e.final_) return;
        counter.refuse(refuse);
        Outbox.Final memory last = finalOf(rollup.finalIndex());
        if (e.done || outbox.status(e.leaf) == Outbox.Status.Failed) {
            (, bytes32[32] memory proof) = prove(leaves, e.message.nonce);
            try outbox.execute(e.message, last, proof) {
                revert("twice");
            } catch {}
        }
        if (e.done) {
            try outbox.retry(e.message) {
                revert("twice");
            } catch {}
            return;
        }
        bool success;
        if (outbox.status(e.leaf) == Outbox.Status.Failed) {
            success = outbox.retry(e.message);
        } else {
            // The leaves that the last final root covers.
            (, bytes32[32] memory proof) = prove(leaves, e.message.nonce);
            success = outbox.execute(e.message, last, proof);
        }
        if (success) {
            e.done = true;
            paidOut += e.message.value;
        }
    }

    function wait(uint256 time) external {
        pass(bound(time, 1, 9 days));
    }

    function halt() external whenOpen {
        if (rollup.escapeDue()) startEscape(new Rollup.Roots[](0));
    }

    function escape(uint256 seed) external whenHalted {
        address user = userAt(seed);
        uint256[] memory amounts = new uint256[](users.length);
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = balances[users[i]];
        }
        bytes[] memory proof = new bytes[](2);
        proof[0] = Trie.root(users, amounts);
        proof[1] = Trie.leaf(user, balances[user]);
        bool can = !escaped[user] && balances[user] > 0 && rollup.finalIndex() > 0;
        vm.prank(user, user);
        try escapeHatch.escapeETH(user, payable(user), proof) {
            vm.assertTrue(can, "escaped twice, or out of nothing");
            escaped[user] = true;
            paidOut += balances[user];
        } catch {
            vm.assertFalse(can, "cannot escape");
        }
    }

    function refund(uint256 seed) external whenHalted {
        if (deposits.length == 0) return;
        uint64 index = uint64(seed % deposits.length);
        Deposit storage d = deposits[index];
        bool can = !d.refunded && d.mint > 0 && index >= rollup.finalMessage();
        EscapeHatch.Entry memory entry =
            EscapeHatch.Entry(index, d.blockNumber, d.user, d.user, false, d.mint, d.mint, 21_000, "");
        try escapeHatch.refundMessage(entry, payable(d.user)) {
            vm.assertTrue(can, "refunded twice, or what was consumed");
            d.refunded = true;
            paidOut += d.mint;
        } catch {
            vm.assertFalse(can, "cannot refund");
        }
    }

    // --- what must hold ---

    /// @dev All that users can still claim, in whatever way.
    function owed() public view returns (uint256 sum) {
        sum = SUPPLY; // of the genesis accounts, which stay
        for (uint256 i; i < users.length; ++i) {
            if (!escaped[users[i]]) sum += balances[users[i]];
        }
        for (uint256 i; i < exits.length; ++i) {
            if (!exits[i].done) sum += exits[i].message.value;
        }
        for (uint64 i = consumed; i < deposits.length; ++i) {
            if (!deposits[i].refunded) sum += deposits[i].mint;
        }
    }

    function checkSolvent() external view {
        vm.assertEq(address(bridge).balance, locked - paidOut, "books");
        vm.assertEq(address(bridge).balance, owed(), "the bridge owes what it holds");
        vm.assertEq(address(outbox).balance, 0, "the outbox holds nothing");
    }

    function checkOnce() external view {
        for (uint256 i; i < exits.length; ++i) {
            uint256 count = counter.reached(i);
            vm.assertLe(count, 1, "executed twice");
            if (exits[i].message.target == address(counter)) vm.assertEq(count, exits[i].done ? 1 : 0, "executed");
            vm.assertEq(outbox.status(exits[i].leaf) == Outbox.Status.Executed, exits[i].done);
        }
    }

    function checkQueue() external view {
        vm.assertEq(inbox.length(), deposits.length, "length");
        bytes32 rolling;
        for (uint64 i; i < deposits.length; ++i) {
            rolling = keccak256(abi.encodePacked(rolling, deposits[i].hash));
            vm.assertEq(inbox.queueHash(i + 1), rolling, "queue hash");
        }
    }

    function checkPointers() external view {
        vm.assertLe(rollup.finalIndex(), rollup.provenIndex(), "final beyond proven");
        vm.assertLe(rollup.provenIndex(), rollup.headIndex(), "proven beyond head");
        vm.assertLe(rollup.finalMessage(), inbox.length(), "messages that are not there");
        vm.assertEq(rollup.finalMessage(), consumed, "messages consumed");
    }
}

/// @notice Solvency, once only, the queue's hash, the pointers: after any sequence of the handler's actions.
contract InvariantsTest is Chain {
    Handler internal handler;

    function setUp() public override {
        handler = new Handler();
    }

    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        list = new FuzzSelector[](1);
        list[0].addr = address(handler);
        list[0].selectors = new bytes4[](10);
        list[0].selectors[0] = Handler.deposit.selector;
        list[0].selectors[1] = Handler.wish.selector;
        list[0].selectors[2] = Handler.settle.selector;
        list[0].selectors[3] = Handler.waste.selector;
        list[0].selectors[4] = Handler.claimExit.selector;
        list[0].selectors[5] = Handler.wait.selector;
        list[0].selectors[6] = Handler.halt.selector;
        list[0].selectors[7] = Handler.escape.selector;
        list[0].selectors[8] = Handler.refund.selector;
        list[0].selectors[9] = Handler.deposit.selector;
    }

    function invariant_solventOnceOnlyInOrder() public view {
        handler.checkSolvent();
        handler.checkOnce();
        handler.checkQueue();
        handler.checkPointers();
    }

    /// @dev The handler reaches what the invariants are about: a walk through all of its actions.
    function test_handlerReachesEverything() public {
        for (uint256 i; i < 8; ++i) {
            handler.deposit(i, 10 ether * (i + 1));
        }
        handler.settle();
        handler.wish(0, 3 ether, true);
        handler.wish(1, 5 ether, false);
        handler.waste(0);
        handler.waste(1);
        handler.settle();
        handler.claimExit(0, true);
        handler.claimExit(0, false);
        handler.claimExit(0, false);
        handler.claimExit(1, false);
        for (uint256 i; i < 8; ++i) {
            handler.deposit(i, 1 ether);
        }
        for (uint256 i; i < 3; ++i) {
            handler.wait(9 days - 1);
        }
        handler.halt();
        for (uint256 i; i < 16; ++i) {
            handler.escape(i);
            handler.refund(i);
        }
        invariant_solventOnceOnlyInOrder();
        vm.assertTrue(handler.paidOut() > 100 ether);
        for (uint256 i; i < 4; ++i) {
            vm.assertTrue(handler.balances(handler.users(i)) == 0 || handler.escaped(handler.users(i)));
        }
        vm.assertEq(handler.owed(), SUPPLY);
    }
}
