// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {ValidatorRegistry} from "../src/l1/validators/ValidatorRegistry.sol";
import {Measure} from "./utils/Measure.sol";
import {Validators} from "./utils/Validators.sol";

/// @notice What validators cost on L1, as whole transactions with everything cold; the figures are in snapshots/ValidatorsGasTest.json.
contract ValidatorsGasTest is Validators, Measure {
    function genesisSet() internal pure override returns (string memory, uint256, uint256) {
        return ("hundred", 0, 100);
    }

    function setUp() public override {
        super.setUp();
        register(0);
        cold = [
            address(rollup),
            address(proofs),
            address(inbox),
            address(bridge),
            address(outbox),
            address(origins),
            address(validators),
            address(vault),
            address(pause),
            address(zkVerifier),
            address(teeVerifier),
            validators.keysOf(hashOfSet("hundred")).points,
            validators.keysOf(hashOfSet("hundred")).ids
        ];
        coolBehind();
        pass(12);
    }

    function commitOf(string memory name) internal returns (uint256) {
        Rollup.Commit memory c = request(0);
        carry(1);
        return measure(committer, address(rollup), abi.encodeCall(Rollup.commit, (c, certificate(name))));
    }

    /// @dev Batches up to 299, final, all but the last. The authority is asked for the first alone, and keeps where the keys of the epoch are.
    function later() internal {
        commitCertified("hundred0");
        bytes memory ask = abi.encodeWithSelector(validators.check.selector);
        vm.mockCall(address(validators), ask, abi.encode(true));
        for (uint64 i = 2; i < 300; ++i) {
            if (i > 290) {
                force(alice);
                pass(12);
            }
            Rollup.Commit memory c = request(0);
            expectBatch(c, 1, 1);
            carry(1);
            rollup.commit(c, "");
            if (i % 50 != 0 && i != 298) continue;
            uint64 first = rollup.finalIndex() + 1;
            rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, first, i)));
            rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), first, i)));
        }
        vm.assertEq(rollup.finalIndex(), 298);
        vm.clearMockedCalls();
        force(alice);
        pass(12);
    }

    function test_firstCommits() public {
        cost = commitOf("hundred10");
        vm.snapshotValue("the first commit of one blob, 100 validators, 10 absent", cost);
    }

    function test_commitWithTenAbsent() public {
        later();
        cost = commitOf("later10");
        keep("commit of one blob, 100 validators, 10 absent", 250_000);
    }

    function test_commitWithThirtyThreeAbsent() public {
        later();
        cost = commitOf("later33");
        keep("commit of one blob, 100 validators, 33 absent", 280_000);
    }
}
