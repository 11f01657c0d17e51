// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Batch} from "../src/l1/Batches.sol";
import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {RewardVault} from "../src/l1/validators/RewardVault.sol";
import {ValidatorAuthority} from "../src/l1/validators/ValidatorAuthority.sol";
import {ValidatorRegistry} from "../src/l1/validators/ValidatorRegistry.sol";
import {Validators} from "./utils/Validators.sol";

/// @notice The reward of those who propose. Validator 0 of the first seven proposed all checkpoints.
contract RewardVaultTest is Validators {
    function setUp() public override {
        super.setUp();
        register(0);
        pass(12);
        fund(1 ether);
    }

    function fund(uint256 amount) internal {
        vm.deal(address(this), amount);
        (bool ok,) = address(vault).call{value: amount}("");
        vm.assertTrue(ok);
    }

    function settle(uint64 index) internal {
        tee(intel1, index, 0);
        zk(index, 0);
        assertFinal(index);
    }

    function refusesClaim(uint64 index, string memory name, bytes memory reason) internal {
        (Batch memory batch, bytes32[] memory blobs, bytes memory data) =
            (made[index], blobsOf[index], certificate(name));
        vm.expectRevert(reason);
        vault.claim(batch, blobs, data);
    }

    function test_aFinalBatchIsPaidForOnce() public {
        uint64 index = commitCertified("first");
        bytes memory notFinal = abi.encodeWithSelector(RewardVault.NotFinal.selector, index);
        refusesClaim(index, "first", notFinal);
        settle(index);
        uint256 before = ownerOf(0).balance;
        vm.prank(alice); // whoever calls
        vault.claim(made[index], blobsOf[index], certificate("first"));
        vm.assertEq(ownerOf(0).balance - before, REWARD);
        vm.assertEq(address(vault).balance, 1 ether - REWARD);
        refusesClaim(index, "first", abi.encodeWithSelector(RewardVault.AlreadyPaid.selector, hashOf(index)));
        // Nor by another certificate of the same checkpoint.
        refusesClaim(index, "firstByAll", abi.encodeWithSelector(RewardVault.AlreadyPaid.selector, hashOf(index)));
    }

    function test_onlyTheBatchThatIsFinal() public {
        uint64 index = commitCertified("first");
        settle(index);
        bytes memory notFinal = abi.encodeWithSelector(RewardVault.NotFinal.selector, index);
        ++made[index].lastTimestamp;
        refusesClaim(index, "first", notFinal);
        --made[index].lastTimestamp;
        made[index].version = 2;
        refusesClaim(index, "first", notFinal);
        made[index].version = 1;
        refusesClaim(0, "first", abi.encodeWithSelector(RewardVault.NotFinal.selector, 0));
        refusesClaim(index, "endOf0", abi.encodePacked(ValidatorAuthority.NotCertified.selector));
        refusesClaim(index, "firstBelowQuorum", abi.encodeWithSelector(ValidatorAuthority.NoQuorum.selector, 3, 2));
        vault.claim(made[index], blobsOf[index], certificate("first"));
    }

    /// @dev A batch far below the last final one, of an epoch that has ended.
    function test_oldBatchesArePaidFor() public {
        commitCertified("first");
        commitCertified("endOf0");
        commitCertified("in1");
        for (uint64 i = 1; i < 4; ++i) {
            settle(i);
        }
        uint256 before = ownerOf(0).balance;
        // Another checkpoint with the last block of batch 3, by validators of an epoch that ended before it.
        refusesClaim(3, "beyond0", abi.encodeWithSelector(ValidatorAuthority.OutsideEpoch.selector, 0, 0));
        vault.claim(made[1], blobsOf[1], certificate("first"));
        vault.claim(made[2], blobsOf[2], certificate("endOf0"));
        vault.claim(made[3], blobsOf[3], certificate("in1"));
        vm.assertEq(ownerOf(0).balance - before, 3 * REWARD);
    }

    function test_anEmptyVaultPaysLater() public {
        uint64 index = commitCertified("first");
        settle(index);
        vm.deal(address(vault), REWARD - 1);
        refusesClaim(index, "first", abi.encodePacked(RewardVault.Empty.selector));
        fund(1);
        vault.claim(made[index], blobsOf[index], certificate("first"));
        vm.assertEq(address(vault).balance, 0);
    }

    function test_whoWasNeverHereOrIsSlashedIsNotPaid() public {
        uint64 index = commitCertified("first");
        settle(index);
        bytes32 id = idOf(0);
        ValidatorRegistry.Member memory member = validators.memberOf(id);
        member.slashed = true;
        vm.mockCall(address(validators), abi.encodeCall(validators.memberOf, (id)), abi.encode(member));
        bytes memory nobody = abi.encodeWithSelector(RewardVault.NobodyToPay.selector, id);
        refusesClaim(index, "first", nobody);
        member.slashed = false;
        member.owner = address(0);
        vm.mockCall(address(validators), abi.encodeCall(validators.memberOf, (id)), abi.encode(member));
        refusesClaim(index, "first", nobody);
        vm.clearMockedCalls();
        vault.claim(made[index], blobsOf[index], certificate("first"));
    }
}
