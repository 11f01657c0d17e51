// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {Chain} from "./utils/Chain.sol";

/// @notice What `Rollup` keeps of each batch, while places are used again, too few, and left by dropped batches.
contract RingTest is Chain {
    uint64 internal constant RING = 256;
    mapping(uint64 index => uint256) internal committedAt;
    uint256 internal salt;

    function commitMany(uint256 count) internal {
        for (uint256 i; i < count; ++i) {
            if ((salt + i) % 5 == 0) {
                force(alice);
                pass(12);
            }
            uint64 index = commit(request(++salt), 1);
            committedAt[index] = vm.getBlockTimestamp();
        }
    }

    /// @dev Makes final all batches up to `last`.
    function finalize(uint64 last) internal {
        while (rollup.finalIndex() < last) {
            uint64 first = rollup.finalIndex() + 1;
            uint64 end = last - first < 64 ? last : first + 63;
            rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, first, end)));
            rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), first, end)));
        }
        assertFinal(last);
    }

    function dropAll() internal {
        uint64 proven = rollup.provenIndex();
        pass(DROP);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), proven);
    }

    /// @dev Every batch from the last final one on is as it was committed; below it there is the hash alone.
    function check() internal view {
        (uint64 last, uint64 head) = (rollup.finalIndex(), rollup.headIndex());
        for (uint64 i; i <= head; ++i) {
            Rollup.Stored memory stored = rollup.batchAt(i);
            vm.assertEq(stored.batchHash, hashOf(i));
            bool kept = i == 0 || i >= last;
            vm.assertEq(stored.lastBlockHash, kept ? made[i].lastBlockHash : bytes32(0));
            vm.assertEq(stored.lastBlock, kept ? made[i].lastBlock : 0);
            vm.assertEq(stored.endMessage, kept ? made[i].endMessage : 0);
            vm.assertEq(stored.originNumber, kept ? made[i].originNumber : 0);
            if (i > 0) vm.assertEq(stored.committedAt, kept ? committedAt[i] : 0);
        }
        vm.assertEq(rollup.finalMessage(), made[last].endMessage);
    }

    function test_placesAreUsedAgain() public {
        commitMany(RING + 10); // more than there are places: the last ten have their own
        check();
        finalize(5);
        commitMany(20); // places 11 to 15 of which are free, 16 on are not
        check();
        dropAll(); // of all but five
        check();
        commitMany(RING); // again, in places that others left
        check();
        finalize(RING + 5);
        commitMany(RING - 3);
        check();
        finalize(rollup.headIndex());
        commitMany(3);
        check();
    }

    /// @dev Random walks, shorter than the ring and longer.
    /// forge-config: default.fuzz.runs = 12
    function test_anyWalk(uint256 seed) public {
        for (uint256 step; step < 6; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint64 head = rollup.headIndex();
            uint64 last = rollup.finalIndex();
            if (seed % 4 < 2) commitMany(bound(seed >> 8, 1, 150));
            else if (seed % 4 == 2 && head > last) finalize(uint64(bound(seed >> 8, last + 1, head)));
            else if (head > rollup.provenIndex()) dropAll();
        }
        check();
    }
}
