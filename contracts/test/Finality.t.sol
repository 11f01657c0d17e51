// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Batch} from "../src/l1/Batches.sol";
import {Prover} from "../src/l1/IProofVerifier.sol";
import {Kzg, Opening} from "../src/l1/Kzg.sol";
import {Proofs, ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {TestVerifier} from "../src/l1/testing/TestVerifier.sol";
import {Chain} from "./utils/Chain.sol";

/// @notice Every cell of the finality matrix, with its negative twin.
contract FinalityTest is Chain {
    uint64 internal index;

    function setUp() public override {
        super.setUp();
        index = commit();
    }

    function refuses(Rollup.Proof memory p, bytes memory reason) internal {
        vm.expectRevert(reason);
        rollup.prove(only(p));
    }

    // --- agreement ---

    function test_nothingProvenNeverFinal() public {
        pass(365 days);
        vm.assertFalse(settles(index, 0));
    }

    function test_teeThenZkFinalAtOnce() public {
        tee(intel1, index, 0);
        assertFinal(0);
        zk(index, 0);
        assertFinal(index);
        vm.assertEq(rollup.finalOutput(), output(index, 0));
        vm.assertEq(rollup.finalStateRoot(), 0);
    }

    function test_zkThenTeeFinalAtOnce() public {
        zk(index, 0);
        assertFinal(0);
        tee(amd1, index, 0);
        assertFinal(index);
    }

    function test_zkAloneFinalAfterWeek() public {
        zk(index, 0);
        pass(WEEK - 1);
        vm.assertFalse(settles(index, 0));
        pass(1);
        vm.assertFalse(settles(index, 1));
        vm.assertTrue(settles(index, 0));
        assertFinal(index);
    }

    function test_oneVendorAloneNeverFinal() public {
        tee(intel1, index, 0);
        pass(365 days);
        vm.assertFalse(settles(index, 0));
    }

    function test_secondMachineOfVendorAddsNothing() public {
        tee(intel1, index, 0);
        refuses(proofOf(ProofSystem.Tee, intel2, index, 0), abi.encodePacked(Rollup.NothingNew.selector));
        refuses(proofOf(ProofSystem.Tee, intel1, index, 0), abi.encodePacked(Rollup.NothingNew.selector));
    }

    function test_twoVendorsFinalAfterWeek() public {
        tee(intel1, index, 0);
        pass(3 days);
        tee(amd1, index, 0);
        pass(WEEK - 1);
        vm.assertFalse(settles(index, 0));
        pass(1);
        vm.assertTrue(settles(index, 0));
    }

    function test_thirdVendorDoesNotDelay() public {
        tee(intel1, index, 0);
        tee(amd1, index, 0);
        pass(WEEK - 1);
        tee(arm1, index, 0);
        pass(1);
        vm.assertTrue(settles(index, 0));
    }

    function test_sameZkProofAddsNothing() public {
        zk(index, 0);
        refuses(proofOf(ProofSystem.Zk, noProver(), index, 0), abi.encodePacked(Rollup.NothingNew.selector));
    }

    // --- enclave against zero knowledge ---

    function contradictTeeFirst() internal {
        tee(intel1, index, 1);
        zk(index, 0);
    }

    function test_contradictedEnclaveIsBarred() public {
        contradictTeeFirst();
        assertFinal(0);
        vm.assertTrue(proofs.isBarred(intel1.key, 0, 9));
        vm.assertTrue(proofs.isBarred(address(0), intel1.platform, 9));
        vm.assertFalse(proofs.isBarred(amd1.key, amd1.platform, 1));
        bytes memory reason =
            abi.encodeWithSelector(Proofs.ProverBarred.selector, intel1.key, intel1.platform, intel1.vendor);
        refuses(proofOf(ProofSystem.Tee, intel1, index, 0), reason);
        // Another key of the same machine, and the same key elsewhere.
        Prover memory sameMachine = Prover(account("fresh key"), intel1.platform, 0);
        Prover memory sameKey = Prover(intel1.key, keccak256("fresh machine"), 0);
        refuses(
            proofOf(ProofSystem.Tee, sameMachine, index, 0),
            abi.encodeWithSelector(Proofs.ProverBarred.selector, sameMachine.key, sameMachine.platform, 0)
        );
        refuses(
            proofOf(ProofSystem.Tee, sameKey, index, 0),
            abi.encodeWithSelector(Proofs.ProverBarred.selector, sameKey.key, sameKey.platform, 0)
        );
    }

    function test_contradictedZkFinalOnceAnotherPlatformAgrees() public {
        contradictTeeFirst();
        pass(1 days);
        tee(intel2, index, 0); // another machine, though of the same vendor
        assertFinal(index);
        vm.assertEq(rollup.finalOutput(), output(index, 0));
    }

    function test_contradictionAfterZk() public {
        zk(index, 0);
        tee(intel1, index, 1);
        vm.assertTrue(proofs.isBarred(intel1.key, 0, 9));
        tee(amd1, index, 0);
        assertFinal(index);
    }

    function test_contradictedZkFinalAfterWeekFromConflict() public {
        zk(index, 0);
        pass(6 days);
        tee(intel1, index, 1);
        pass(WEEK - 1);
        vm.assertFalse(settles(index, 0));
        pass(1);
        vm.assertFalse(settles(index, 1));
        vm.assertTrue(settles(index, 0));
    }

    function test_secondContradictionOfVendorDoesNotDelayAgain() public {
        zk(index, 0);
        tee(intel1, index, 1);
        pass(6 days);
        tee(intel2, index, 2);
        pass(1 days);
        vm.assertTrue(settles(index, 0));
    }

    function test_contradictedZkThenAnotherZkBreaksZk() public {
        contradictTeeFirst();
        zk(index, 2);
        vm.assertTrue(proofs.systemOf(ProofSystem.Zk).broken);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        vm.assertFalse(settles(index, 2));
        // The bar rested on the broken system: it is void, and the enclave's word counts again.
        vm.assertFalse(proofs.isBarred(intel1.key, intel1.platform, 0));
        tee(amd1, index, 1);
        pass(WEEK);
        vm.assertTrue(settles(index, 1));
    }

    function test_twoVendorsContradictZkWaitsForCouncil() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        tee(arm1, index, 0); // not even a third vendor's word ends it
        assertFinal(0);
        pass(365 days);
        vm.assertFalse(settles(index, 0));
        vm.assertFalse(settles(index, 1));
    }

    function test_twoVendorsBeforeZk() public {
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        pass(6 days);
        zk(index, 0);
        pass(365 days);
        vm.assertFalse(settles(index, 0));
        vm.assertFalse(settles(index, 1));
    }

    function test_councilUpholds() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        bytes32 batchHash = hashOf(index);
        vm.expectRevert(Proofs.NotCouncil.selector);
        proofs.rule(batchHash, genesisOutput, true);
        vm.prank(council);
        proofs.rule(batchHash, genesisOutput, true);
        vm.assertFalse(settles(index, 0)); // by the usual delay all the same
        pass(WEEK);
        vm.assertTrue(settles(index, 0));
        vm.prank(council);
        vm.expectRevert(Proofs.NothingToRule.selector);
        proofs.rule(batchHash, genesisOutput, false);
    }

    function test_councilUpheldThenAnEnclaveAgrees() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        vm.prank(council);
        proofs.rule(hashOf(index), genesisOutput, true);
        tee(arm1, index, 0);
        assertFinal(index);
    }

    function test_councilRulesAgainstZk() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        vm.prank(council);
        proofs.rule(hashOf(index), genesisOutput, false);
        vm.assertTrue(proofs.systemOf(ProofSystem.Zk).disabled);
        // No proof of a broken system, so no instant replacement.
        TestVerifier fresh = new TestVerifier();
        vm.prank(council);
        vm.expectRevert(abi.encodeWithSelector(Proofs.SystemNotBroken.selector, ProofSystem.Zk));
        proofs.replaceBrokenVerifier(ProofSystem.Zk, fresh);
        refuses(
            proofOf(ProofSystem.Zk, noProver(), index, 1),
            abi.encodeWithSelector(Proofs.SystemIsDisabled.selector, ProofSystem.Zk)
        );
        // The enclaves were right, so they may speak again, for one and a week.
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        vm.assertTrue(settles(index, 1));
    }

    function test_councilCannotRuleWithoutTwoVendors() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(intel2, index, 1); // the same vendor
        vm.startPrank(council);
        vm.expectRevert(Proofs.NothingToRule.selector);
        proofs.rule(hashOf(index), genesisOutput, false);
        vm.expectRevert(Proofs.NothingToRule.selector);
        proofs.rule(hashOf(index), keccak256("nothing"), true);
    }

    function test_vendorBarredAfterThreeStrikes() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(intel2, index, 1);
        Prover memory fresh = Prover(account("key 7"), keccak256("machine 7"), 0);
        vm.assertFalse(proofs.isBarred(fresh.key, fresh.platform, 0));
        tee(intel3, index, 1);
        vm.assertTrue(proofs.isBarred(fresh.key, fresh.platform, 0));
        refuses(
            proofOf(ProofSystem.Tee, fresh, index, 0),
            abi.encodeWithSelector(Proofs.ProverBarred.selector, fresh.key, fresh.platform, 0)
        );
        // The other vendor is heard.
        tee(amd1, index, 0);
        assertFinal(index);
    }

    function test_barredEvidenceCountsNowhere() public {
        uint64 second = commit();
        tee(intel1, index, 0);
        tee(amd1, index, 0);
        // intel1 errs on the second batch, so its word on the first is gone too.
        rollup.prove(only(proofOf(ProofSystem.Tee, intel1, second, 1)));
        rollup.prove(only(proofOf(ProofSystem.Zk, noProver(), second, 0)));
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        tee(intel2, index, 0);
        pass(WEEK);
        vm.assertTrue(settles(index, 0));
    }

    // --- a system against itself ---

    function test_twoMachinesContradictDisableTee() public {
        tee(intel1, index, 0);
        tee(amd1, index, 1);
        Proofs.System memory system = proofs.systemOf(ProofSystem.Tee);
        vm.assertTrue(system.broken && system.disabled);
        vm.assertFalse(proofs.isBarred(intel1.key, intel1.platform, 0)); // who is wrong nobody knows
        refuses(
            proofOf(ProofSystem.Tee, arm1, index, 0),
            abi.encodeWithSelector(Proofs.SystemIsDisabled.selector, ProofSystem.Tee)
        );
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        vm.assertFalse(settles(index, 1));
        // The batch waits for the other system.
        zk(index, 0);
        assertFinal(0);
        pass(WEEK - 1);
        vm.assertFalse(settles(index, 0));
        pass(1);
        vm.assertTrue(settles(index, 0));
    }

    function test_twoMachinesOfOneVendorContradictDisableTee() public {
        tee(intel1, index, 0);
        tee(intel2, index, 1);
        vm.assertTrue(proofs.systemOf(ProofSystem.Tee).broken);
    }

    function test_councilReplacesBrokenTeeAtOnce() public {
        tee(intel1, index, 0);
        tee(amd1, index, 1);
        TestVerifier fresh = new TestVerifier();
        vm.expectRevert(Proofs.NotCouncil.selector);
        proofs.replaceBrokenVerifier(ProofSystem.Tee, fresh);
        vm.startPrank(council);
        vm.expectRevert(abi.encodeWithSelector(Proofs.SystemNotBroken.selector, ProofSystem.Zk));
        proofs.replaceBrokenVerifier(ProofSystem.Zk, fresh);
        proofs.replaceBrokenVerifier(ProofSystem.Tee, fresh);
        vm.expectRevert(abi.encodeWithSelector(Proofs.SystemNotBroken.selector, ProofSystem.Tee));
        proofs.replaceBrokenVerifier(ProofSystem.Tee, fresh);
        vm.stopPrank();
        // What the old verifier accepted counts no more.
        zk(index, 0);
        assertFinal(0);
        tee(amd1, index, 0);
        assertFinal(index);
    }

    function test_oneMachineAgainstItselfIsBarredAlone() public {
        tee(intel1, index, 0);
        Prover memory sameMachine = Prover(account("other key"), intel1.platform, 0);
        tee(sameMachine, index, 1);
        vm.assertFalse(proofs.systemOf(ProofSystem.Tee).disabled);
        vm.assertTrue(proofs.isBarred(intel1.key, 0, 9));
        vm.assertTrue(proofs.isBarred(sameMachine.key, 0, 9));
        // Neither counts: an honest machine may say either.
        tee(intel2, index, 1);
        zk(index, 1);
        assertFinal(index);
    }

    function test_twoZkProofsDisableZk() public {
        zk(index, 0);
        zk(index, 1);
        Proofs.System memory system = proofs.systemOf(ProofSystem.Zk);
        vm.assertTrue(system.broken && system.disabled);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        // The batch waits for the other: two vendors and a week.
        tee(intel1, index, 0);
        assertFinal(0);
        tee(amd1, index, 0);
        pass(WEEK - 1);
        vm.assertFalse(settles(index, 0));
        pass(1);
        vm.assertTrue(settles(index, 0));
    }

    function test_councilReplacesBrokenZkAtOnce() public {
        zk(index, 0);
        zk(index, 1);
        TestVerifier fresh = new TestVerifier();
        vm.prank(council);
        proofs.replaceBrokenVerifier(ProofSystem.Zk, fresh);
        tee(intel1, index, 1);
        assertFinal(0);
        zk(index, 1);
        assertFinal(index);
    }

    function test_twoVendorsAgainstTwoZkProofs() public {
        zk(index, 0);
        tee(intel1, index, 1);
        tee(amd1, index, 1); // both barred by the first proof
        zk(index, 1); // which its system contradicts
        vm.assertTrue(proofs.systemOf(ProofSystem.Zk).broken);
        vm.assertFalse(proofs.isBarred(intel1.key, intel1.platform, 0));
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        vm.assertTrue(settles(index, 1));
    }

    function test_twoVendorsFirstThenTwoZkProofs() public {
        tee(intel1, index, 1);
        tee(amd1, index, 1);
        zk(index, 0);
        pass(6 days);
        zk(index, 2);
        // What the enclaves had said counts again, unopposed from now on.
        pass(WEEK - 1);
        vm.assertFalse(settles(index, 1));
        pass(1);
        vm.assertTrue(settles(index, 1));
    }

    function test_bothSystemsBrokenWaitForTheCouncil() public {
        tee(intel1, index, 0);
        tee(amd1, index, 1);
        zk(index, 0);
        zk(index, 1);
        vm.assertTrue(proofs.systemOf(ProofSystem.Tee).broken && proofs.systemOf(ProofSystem.Zk).broken);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        vm.assertFalse(settles(index, 1));
        TestVerifier fresh = new TestVerifier();
        vm.startPrank(council);
        proofs.replaceBrokenVerifier(ProofSystem.Tee, fresh);
        proofs.replaceBrokenVerifier(ProofSystem.Zk, fresh);
        vm.stopPrank();
        tee(intel1, index, 0);
        zk(index, 0);
        assertFinal(index);
    }

    function test_bothSystemsBrokenEndInTheEscape() public {
        tee(intel1, index, 0);
        tee(amd1, index, 1);
        zk(index, 0);
        zk(index, 1);
        pass(Z);
        startEscape(new Rollup.Roots[](0));
        assertFinal(0);
    }

    function test_oneMachineAgainstItselfThenTwoZkProofs() public {
        tee(intel1, index, 0);
        tee(intel1, index, 1);
        zk(index, 0);
        zk(index, 1);
        vm.assertTrue(proofs.isBarred(intel1.key, intel1.platform, 0)); // its bar does not rest on zero knowledge
        tee(intel2, index, 0);
        tee(amd1, index, 0);
        pass(WEEK);
        vm.assertTrue(settles(index, 0));
    }

    function test_zkContradictionOnFinalBatchBreaksZk() public {
        tee(intel1, index, 0);
        zk(index, 0);
        zk(index, 1);
        vm.assertTrue(proofs.systemOf(ProofSystem.Zk).broken);
        assertFinal(index);
        vm.assertEq(rollup.conflictIndex(), 0);
    }

    function test_timelockReplacementVoidsEvidence() public {
        zk(index, 0);
        TestVerifier fresh = new TestVerifier();
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Zk, fresh);
        pass(WEEK);
        vm.assertFalse(settles(index, 0));
        zk(index, 1); // no contradiction: the old proof counts no more
        vm.assertFalse(proofs.systemOf(ProofSystem.Zk).broken);
        tee(intel1, index, 1);
        assertFinal(index);
    }

    /// @dev A node keeps an output that both systems say once, and by then another.
    function test_outputsOfZkAsVerifiersChange() public {
        tee(intel1, index, 0);
        zk(index, 0);
        assertFinal(index);
        vm.assertEq(proofs.nodeOf(hashOf(index), genesisOutput).zkOutput, output(index, 0));
        for (uint8 i = 1; i < 4; ++i) {
            TestVerifier fresh = new TestVerifier();
            vm.prank(address(timelock));
            proofs.setVerifier(ProofSystem.Zk, fresh);
            zk(index, i % 2);
            Proofs.Node memory node = proofs.nodeOf(hashOf(index), genesisOutput);
            vm.assertEq(node.zkOutput, output(index, i % 2));
            vm.assertEq(uint256(node.zkGeneration), i + 1);
            vm.assertEq(node.tee.length, 1);
            vm.assertEq(node.tee[0].output, output(index, 0));
            vm.assertFalse(proofs.systemOf(ProofSystem.Zk).broken);
        }
        zk(index, 0);
        vm.assertTrue(proofs.systemOf(ProofSystem.Zk).broken);
    }

    function test_barsOutliveVerifiers() public {
        tee(intel1, index, 0);
        tee(intel1, index, 1);
        vm.assertTrue(proofs.isBarred(intel1.key, intel1.platform, 0));
        TestVerifier fresh = new TestVerifier();
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Tee, fresh);
        vm.assertTrue(proofs.isBarred(intel1.key, intel1.platform, 0));
        refuses(
            proofOf(ProofSystem.Tee, intel1, index, 0),
            abi.encodeWithSelector(Proofs.ProverBarred.selector, intel1.key, intel1.platform, 0)
        );
    }

    // --- invalid batches ---

    function test_invalidByBothDropsAtOnce() public {
        commit();
        commit();
        tee(intel1, index, INVALID);
        vm.assertEq(rollup.headIndex(), 3);
        vm.assertEq(rollup.provenIndex(), 0);
        zk(index, INVALID);
        assertFinal(0);
        vm.assertEq(rollup.headIndex(), 0);
        // The place is free again.
        vm.assertEq(commit(1), 1);
        tee(intel1, 1, 0);
        zk(1, 0);
        assertFinal(1);
    }

    function test_invalidByZkAloneAfterWeek() public {
        zk(index, INVALID);
        pass(WEEK - 1);
        vm.assertFalse(settles(index, INVALID));
        pass(1);
        vm.assertTrue(settles(index, INVALID));
        vm.assertEq(rollup.headIndex(), 0);
    }

    function test_invalidAgainstValid() public {
        tee(intel1, index, 0);
        zk(index, INVALID);
        vm.assertTrue(proofs.isBarred(intel1.key, 0, 9));
        vm.assertEq(rollup.headIndex(), 1);
        tee(amd1, index, INVALID);
        vm.assertEq(rollup.headIndex(), 0);
    }

    function test_nothingFollowsAnInvalidBatch() public {
        uint64 second = commit();
        Rollup.Proof memory p = rangeOf(ProofSystem.Zk, noProver(), index, second);
        p.claims[0] = claim(index, INVALID);
        refuses(sealed_(p, ProofSystem.Zk, noProver()), abi.encodeWithSelector(Rollup.InvalidNotLast.selector, index));
        zk(index, INVALID);
        p = proofOf(ProofSystem.Zk, noProver(), second, 0);
        p.start = output(index, INVALID);
        refuses(sealed_(p, ProofSystem.Zk, noProver()), abi.encodeWithSelector(Rollup.UnknownStart.selector, p.start));
    }

    function test_rangeMayEndInvalid() public {
        uint64 second = commit();
        for (uint256 i; i < 2; ++i) {
            ProofSystem system = ProofSystem(i);
            Rollup.Proof memory p = rangeOf(system, intel1, index, second);
            p.claims[1] = claim(second, INVALID);
            rollup.prove(only(sealed_(p, system, intel1)));
        }
        assertFinal(index);
        vm.assertEq(rollup.headIndex(), index);
    }

    function test_sameInvalidBatchAgainIsKnown() public {
        tee(intel1, index, INVALID);
        zk(index, INVALID);
        Rollup.Commit memory c = request(0);
        c.lastTimestamp = made[1].lastTimestamp;
        c.originNumber = made[1].originNumber;
        c.originHash = made[1].originHash;
        carry(1);
        vm.prank(sequencer);
        rollup.commit(c, "");
        vm.assertEq(rollup.batchAt(1).batchHash, hashOf(1));
        vm.assertTrue(settles(1, INVALID));
    }

    // --- ranges, paths, order ---

    function test_rangeFinalAtOnce() public {
        uint64 last = commit();
        last = commit();
        rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, index, last)));
        vm.assertEq(rollup.provenIndex(), last);
        rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), index, last)));
        assertFinal(last);
    }

    function test_proofsOfSeveralBatchesAtOnce() public {
        uint64 second = commit();
        Rollup.Proof[] memory list = new Rollup.Proof[](4);
        list[0] = proofOf(ProofSystem.Tee, intel1, index, 0);
        list[1] = proofOf(ProofSystem.Zk, noProver(), index, 0);
        list[2] = proofOf(ProofSystem.Tee, intel1, second, 0); // starts from what the first says
        list[3] = proofOf(ProofSystem.Zk, noProver(), second, 0);
        // Somebody else was first with two of them.
        zk(index, 0);
        zk(second, 0);
        vm.assertEq(rollup.provenIndex(), second);
        rollup.prove(list);
        vm.assertEq(rollup.finalIndex(), second);
        vm.expectRevert(Rollup.NothingNew.selector);
        rollup.prove(list);
        vm.expectRevert(Rollup.NothingNew.selector);
        rollup.prove(new Rollup.Proof[](0));
    }

    function test_proofsInWrongOrderRefused() public {
        uint64 second = commit();
        Rollup.Proof[] memory list = new Rollup.Proof[](2);
        list[0] = proofOf(ProofSystem.Tee, intel1, second, 0);
        list[1] = proofOf(ProofSystem.Tee, intel1, index, 0);
        vm.expectRevert(abi.encodeWithSelector(Rollup.UnknownStart.selector, output(index, 0)));
        rollup.prove(list);
        vm.assertEq(rollup.provenIndex(), 0);
    }

    function test_oneOfSeveralProofsIsNotValid() public {
        Rollup.Proof[] memory list = new Rollup.Proof[](2);
        list[0] = proofOf(ProofSystem.Tee, intel1, index, 0);
        list[1] = proofOf(ProofSystem.Zk, noProver(), index, 0);
        list[1].proof = "";
        vm.expectRevert();
        rollup.prove(list);
        vm.assertEq(rollup.provenIndex(), 0);
    }

    // --- what counts ---

    /// Whether an enclave's proof of `variant` of the first batch counts, and one by zero knowledge.
    function evidence(uint8 variant) internal view returns (uint256, bool) {
        bytes32[] memory hashes = new bytes32[](1);
        bytes32[] memory outputs = new bytes32[](1);
        hashes[0] = hashOf(index);
        outputs[0] = output(index, variant);
        (uint256[] memory tees, bool[] memory zks) = proofs.evidenceOf(output(index - 1, 0), hashes, outputs);
        return (tees[0], zks[0]);
    }

    function assertEvidence(uint8 variant, uint256 vendors, bool byZk) internal view {
        (uint256 tees, bool zks) = evidence(variant);
        vm.assertEq(tees, vendors);
        vm.assertEq(zks, byZk);
    }

    function test_evidenceIsOfOneOutput() public {
        assertEvidence(0, 0, false);
        tee(intel1, index, 1);
        assertEvidence(0, 0, false);
        assertEvidence(1, 1, false);
        zk(index, 0); // which bars the machine
        assertEvidence(0, 0, true);
        assertEvidence(1, 0, false);
        tee(amd1, index, 0);
        assertEvidence(0, 1, true);
    }

    function test_evidenceAlongAPath() public {
        uint64 second = commit();
        tee(intel1, index, 0);
        tee(intel1, second, 0);
        bytes32[] memory hashes = new bytes32[](2);
        bytes32[] memory outputs = new bytes32[](2);
        (hashes[0], hashes[1]) = (hashOf(index), hashOf(second));
        (outputs[0], outputs[1]) = (output(index, 0), output(second, 0));
        (uint256[] memory tees, bool[] memory zks) = proofs.evidenceOf(output(index - 1, 0), hashes, outputs);
        vm.assertTrue(tees[0] == 1 && tees[1] == 1 && !zks[0] && !zks[1]);
        outputs[0] = output(index, 1);
        (tees,) = proofs.evidenceOf(output(index - 1, 0), hashes, outputs);
        vm.assertTrue(tees[0] == 0 && tees[1] == 0);
    }

    function test_evidenceOfAReplacedVerifierIsNone() public {
        tee(intel1, index, 0);
        assertEvidence(0, 1, false);
        TestVerifier other = new TestVerifier();
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Tee, other);
        assertEvidence(0, 0, false);
    }

    function test_finalOnlyAfterPredecessor() public {
        uint64 second = commit();
        tee(intel1, index, 0);
        tee(intel1, second, 0);
        zk(second, 0); // both systems agree on the second
        assertFinal(0);
        zk(index, 0);
        assertFinal(index); // the proof named the first only
        vm.assertTrue(settles(second, 0));
        assertFinal(second);
    }

    function test_rangesOverlap() public {
        uint64 second = commit();
        uint64 third = commit();
        rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), index, second)));
        rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), second, third)));
        rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, index, third)));
        assertFinal(third);
    }

    function test_proofAfterUnprovenPredecessorRefused() public {
        uint64 second = commit();
        refuses(
            proofOf(ProofSystem.Zk, noProver(), second, 0),
            abi.encodeWithSelector(Rollup.UnknownStart.selector, output(index, 0))
        );
    }

    function test_pathFromAnotherOutputDoesNotCount() public {
        uint64 second = commit();
        tee(intel1, index, 1); // wrong, as will turn out
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, second, 0);
        p.start = output(index, 1);
        rollup.prove(only(sealed_(p, ProofSystem.Tee, intel1)));
        p = proofOf(ProofSystem.Zk, noProver(), second, 0);
        p.start = output(index, 1);
        rollup.prove(only(sealed_(p, ProofSystem.Zk, noProver())));
        zk(index, 0);
        tee(amd1, index, 0);
        assertFinal(index);
        // Both systems proved the second, but from an output that is not the final one.
        vm.assertFalse(settles(second, 0));
        zk(second, 0);
        tee(amd1, second, 0);
        assertFinal(second);
    }

    function test_startMustBeOfThePredecessor() public {
        uint64 second = commit();
        tee(intel1, index, 0);
        tee(intel1, second, 0);
        uint64 third = commit();
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), third, 0);
        p.start = output(index, 0);
        refuses(sealed_(p, ProofSystem.Zk, noProver()), abi.encodeWithSelector(Rollup.UnknownStart.selector, p.start));
    }

    function test_genesisIsNotProven() public {
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0] = claim(0, 0);
        refuses(sealed_(p, ProofSystem.Zk, noProver()), abi.encodeWithSelector(Rollup.UnknownStart.selector, p.start));
    }

    function test_rangeBounds() public {
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims = new Rollup.Claim[](0);
        refuses(p, abi.encodeWithSelector(Rollup.InvalidRange.selector, 0));
        p.claims = new Rollup.Claim[](65);
        refuses(p, abi.encodeWithSelector(Rollup.InvalidRange.selector, 65));
    }

    // --- what a statement binds ---

    function test_statementBindsEveryField() public {
        Rollup.Proof memory good = proofOf(ProofSystem.Zk, noProver(), index, 0);
        bytes memory wrong = abi.encodePacked(TestVerifier.WrongStatement.selector);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.payout = alice;
        refuses(p, wrong);
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0].stateRoot = keccak256("x");
        refuses(p, wrong);
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0].outboxRoot = keccak256("x");
        refuses(p, wrong);
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0].invalid = true;
        refuses(p, wrong);
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0].openings[0].contentsHash = keccak256("x"); // the constant polynomial opens at every point
        refuses(p, wrong);
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0].openings[0].y = bytes32(uint256(5));
        refuses(p, abi.encodeWithSelector(Kzg.InvalidOpening.selector, versionedHash(0)));
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.start = keccak256("x");
        refuses(p, abi.encodeWithSelector(Rollup.UnknownStart.selector, p.start));
        rollup.prove(only(good));
    }

    function test_batchMustBeTheCommittedOne() public {
        bytes memory wrong = abi.encodeWithSelector(Rollup.WrongBatch.selector, index);
        for (uint256 field; field < 18; ++field) {
            Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
            mutate(p.claims[0], field);
            if (field == 4) {
                vm.expectRevert(); // another index, another predecessor
                rollup.prove(only(sealed_(p, ProofSystem.Zk, noProver())));
            } else {
                refuses(sealed_(p, ProofSystem.Zk, noProver()), wrong);
            }
        }
        Rollup.Proof memory q = proofOf(ProofSystem.Zk, noProver(), index, 0);
        q.claims[0].blobs[0] = versionedHash(1);
        refuses(q, wrong);
        q = proofOf(ProofSystem.Zk, noProver(), index, 0);
        q.claims[0].blobs = new bytes32[](0);
        refuses(q, wrong);
    }

    /// @dev Flips a bit of one of the header's 18 words.
    function mutate(Rollup.Claim memory c, uint256 field) internal pure {
        bytes memory words = abi.encode(c.batch);
        words[32 * field + 31] = bytes1(uint8(words[32 * field + 31]) ^ 1);
        c.batch = abi.decode(words, (Batch));
    }

    function test_openingsMustMatchBlobs() public {
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        p.claims[0].openings = new Opening[](0);
        refuses(p, abi.encodeWithSelector(Rollup.WrongOpenings.selector, index));
    }

    function test_proverIdentityMustBeComplete() public {
        bytes memory reason = abi.encodePacked(Proofs.InvalidProver.selector);
        refuses(proofOf(ProofSystem.Tee, Prover(address(0), intel1.platform, 0), index, 0), reason);
        refuses(proofOf(ProofSystem.Tee, Prover(intel1.key, 0, 0), index, 0), reason);
        refuses(proofOf(ProofSystem.Tee, Prover(intel1.key, intel1.platform, 16), index, 0), reason);
    }

    // --- the pause ---

    function test_pauseStopsFinalityOnly() public {
        vm.prank(council);
        pause.pause(7 days);
        tee(intel1, index, 0);
        zk(index, 0);
        assertFinal(0);
        vm.expectRevert(Rollup.FinalityPaused.selector);
        rollup.finalize(one(roots(index, 0)));
        commit();
        pass(7 days);
        vm.assertTrue(settles(index, 0));
    }

    // --- all orders ---

    /// @dev Whatever is proven in whatever order: an output that a live zero-knowledge proof contradicts is never final, nor one that a single
    /// vendor vouches for alone.
    function testFuzz_anyOrder(uint256 seed) public {
        Prover[4] memory provers = [intel1, intel2, amd1, arm1];
        bool[3] memory zkSaid;
        bool[3] memory teeSaid;
        for (uint256 step; step < 8 && rollup.finalIndex() == 0; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint8 variant = uint8(seed % 2);
            if ((seed >> 8) % 3 == 0) {
                try rollup.prove(only(proofOf(ProofSystem.Zk, noProver(), index, variant))) {
                    zkSaid[variant] = true;
                } catch {}
            } else {
                Prover memory prover = provers[(seed >> 16) % 4];
                try rollup.prove(only(proofOf(ProofSystem.Tee, prover, index, variant))) {
                    teeSaid[variant] = true;
                } catch {}
            }
            pass((seed >> 32) % 5 days);
            for (uint8 v; v < 2; ++v) {
                if (rollup.finalIndex() == 0) settles(index, v);
            }
        }
        if (rollup.finalIndex() == 0) return;
        uint8 won = rollup.finalOutput() == output(index, 0) ? 0 : 1;
        vm.assertTrue(zkSaid[won] || teeSaid[won], "final without a proof");
        Proofs.Node memory node = proofs.nodeOf(hashOf(index), genesisOutput);
        bool zkLive = node.zkOutput != 0 && !proofs.systemOf(ProofSystem.Zk).disabled;
        if (zkLive) vm.assertEq(node.zkOutput, output(index, won));
    }
}
