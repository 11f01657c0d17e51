// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {Chain} from "./utils/Chain.sol";
import {Measure} from "./utils/Measure.sol";

/// @notice What transactions cost, whole: 21,000, calldata (EIP-2028, EIP-7623) and execution with everything cold. The figures are in
/// snapshots/GasTest.json; the bounds here are the promises.
contract GasTest is Chain, Measure {
    function setUp() public override {
        super.setUp();
        cold = [
            address(rollup),
            address(proofs),
            address(inbox),
            address(bridge),
            address(outbox),
            address(origins),
            address(authority),
            address(pause),
            address(zkVerifier),
            address(teeVerifier)
        ];
        coolBehind();
        for (uint256 i; i < 3; ++i) {
            force(alice);
            pass(12);
            commit();
        }
        rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, 1, 2)));
        rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), 1, 2)));
        force(alice);
        pass(12);
    }

    function test_commitOneBlob() public {
        Rollup.Commit memory c = request(0);
        carry(1);
        cost = measure(sequencer, address(rollup), abi.encodeCall(Rollup.commit, (c, "")));
        keep("commit of one blob", 150_000);
    }

    function test_commitSixBlobs() public {
        Rollup.Commit memory c = request(0);
        carry(6);
        cost = measure(sequencer, address(rollup), abi.encodeCall(Rollup.commit, (c, "")));
        keep("commit of six blobs", 155_000);
    }

    /// @dev Once places for batches' details are used again: 256 batches later.
    function test_commitOneBlobLater() public {
        for (uint64 i = 4; i < 300; ++i) {
            commit();
            if (i % 50 != 0 && i < 298) continue;
            uint64 first = rollup.finalIndex() + 1;
            rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, first, i)));
            rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), first, i)));
        }
        force(alice);
        pass(12);
        Rollup.Commit memory c = request(0);
        carry(1);
        cost = measure(sequencer, address(rollup), abi.encodeCall(Rollup.commit, (c, "")));
        keep("commit of one blob, after 256 batches", 115_000);
    }

    function test_firstProof() public {
        bytes memory data = abi.encodeCall(Rollup.prove, (only(proofOf(ProofSystem.Zk, noProver(), 3, 0))));
        cost = measure(bob, address(rollup), data);
        keep("first proof, with the opening of a blob", 330_000);
    }

    function test_secondProofAndFinality() public {
        rollup.prove(only(proofOf(ProofSystem.Zk, noProver(), 3, 0)));
        bytes memory data = abi.encodeCall(Rollup.prove, (only(proofOf(ProofSystem.Tee, intel1, 3, 0))));
        cost = measure(bob, address(rollup), data);
        keep("second proof, final", 330_000);
    }

    function test_forcedMessage() public {
        payment = 0.1 ether;
        cost = measure(alice, address(inbox), abi.encodeCall(inbox.send, (bob, false, 0, 0, 21_000, "")));
        keep("forced message", 160_000);
    }

    function test_depositETH() public {
        payment = 1 ether;
        cost = measure(alice, address(inbox), abi.encodeCall(inbox.depositETH, (bob, 21_000)));
        keep("deposit of ETH", 170_000);
    }

    function test_dropIsConstant() public {
        for (uint256 i; i < 40; ++i) {
            commit();
        }
        pass(DROP);
        cost = measure(bob, address(rollup), abi.encodeCall(Rollup.drop, ()));
        keep("drop", 70_000);
        vm.assertEq(rollup.headIndex(), 2);
    }
}
