// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {Chain} from "./utils/Chain.sol";

/// @notice What transactions cost, whole: 21,000, calldata (EIP-2028, EIP-7623) and execution with everything cold. The figures are in
/// snapshots/GasTest.json; the bounds here are the promises.
contract GasTest is Chain {
    uint256 internal cost;
    uint256 internal payment;

    function setUp() public override {
        super.setUp();
        for (uint256 i; i < 3; ++i) {
            force(alice);
            pass(12);
            commit();
        }
        rollup.prove(rangeOf(ProofSystem.Tee, intel1, 1, 2));
        rollup.prove(rangeOf(ProofSystem.Zk, noProver(), 1, 2));
        force(alice);
        pass(12);
    }

    /// @dev The gas of a whole transaction.
    function measure(address from, address to, bytes memory data) internal returns (uint256) {
        uint256 zeros;
        for (uint256 i; i < data.length; ++i) {
            if (data[i] == 0) ++zeros;
        }
        uint256 tokens = zeros + 4 * (data.length - zeros);
        address[10] memory all = [
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
        for (uint256 i; i < all.length; ++i) {
            vm.cool(address(uint160(uint256(vm.load(all[i], IMPLEMENTATION)))));
            vm.cool(all[i]); // after it was read
        }
        vm.deal(from, 10 ether);
        vm.prank(from, from);
        uint256 before = gasleft();
        (bool ok,) = to.call{value: payment}(data);
        uint256 execution = before - gasleft();
        vm.assertTrue(ok);
        uint256 charged = execution + 4 * tokens;
        return 21_000 + (charged > 10 * tokens ? charged : 10 * tokens);
    }

    /// @dev Keeps the figure, and the promise.
    function keep(string memory name, uint256 limit) internal {
        vm.snapshotValue(name, cost);
        vm.assertLe(cost, limit, name);
    }

    bytes32 private constant IMPLEMENTATION = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

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

    function test_firstProof() public {
        bytes memory data = abi.encodeCall(Rollup.prove, (proofOf(ProofSystem.Zk, noProver(), 3, 0)));
        cost = measure(bob, address(rollup), data);
        keep("first proof, with the opening of a blob", 330_000);
    }

    function test_secondProofAndFinality() public {
        rollup.prove(proofOf(ProofSystem.Zk, noProver(), 3, 0));
        bytes memory data = abi.encodeCall(Rollup.prove, (proofOf(ProofSystem.Tee, intel1, 3, 0)));
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
