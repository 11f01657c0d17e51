// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Origins} from "../src/l1/Origins.sol";
import {Proofs, ProofSystem} from "../src/l1/Proofs.sol";
import {IRollup, Phase} from "../src/l1/IRollup.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {SequencerAuthority} from "../src/l1/SequencerAuthority.sol";
import {Chain} from "./utils/Chain.sol";

/// @notice Commits, silence (T1, T2), drops and the beginning of the escape.
contract LivenessTest is Chain {
    function refusesCommit(Rollup.Commit memory c, bytes memory reason) internal {
        vm.prank(sequencer);
        vm.expectRevert(reason);
        rollup.commit(c, "");
    }

    function signed(Rollup.Commit memory c, uint256 key) internal view returns (bytes memory) {
        bytes32 digest = keccak256(
            abi.encode(
                keccak256("jove.commit.v1"),
                uint256(CHAIN_ID),
                address(rollup),
                uint256(rollup.era()),
                c.lastBlock,
                c.lastBlockHash
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    // --- commit ---

    function test_commitStoresBatch() public {
        force(alice);
        pass(12);
        uint64 index = commit();
        Rollup.Stored memory stored = rollup.batchAt(index);
        vm.assertEq(stored.batchHash, hashOf(index));
        vm.assertEq(stored.endMessage, 1);
        vm.assertEq(made[index].queueHashAfter, inbox.entry(0).queueHash);
        vm.assertEq(rollup.headIndex(), 1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.WrongBatch.selector, 2));
        rollup.batchAt(2);
    }

    function test_commitOnlyByOperator() public {
        Rollup.Commit memory c = request(0);
        carry(1);
        bytes memory signature = signed(c, SEQUENCER_KEY);
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotOperator.selector, alice));
        rollup.commit(c, signature);
        vm.expectRevert(SequencerAuthority.NotCertified.selector);
        rollup.commit(c, "");
        vm.stopPrank();
        vm.prank(sequencer);
        rollup.commit(c, signature); // a signature is fine from the operator too
    }

    function test_commitFollowsTheNamedParent() public {
        commit();
        Rollup.Commit memory c = request(0);
        c.parentBatchHash = keccak256("x");
        carry(1);
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongParent.selector, hashOf(1)));
    }

    function test_commitTwiceRefused() public {
        Rollup.Commit memory c = request(0);
        carry(1);
        vm.prank(sequencer);
        rollup.commit(c, "");
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongParent.selector, rollup.batchAt(1).batchHash));
    }

    function test_commitBlobCounts() public {
        for (uint256 blobs; blobs <= 7; ++blobs) {
            Rollup.Commit memory c = request(blobs);
            carry(blobs);
            if (blobs == 0 || blobs == 7) {
                refusesCommit(c, abi.encodeWithSelector(Rollup.InvalidBlobCount.selector, blobs));
            } else {
                uint64 index = expectBatch(c, 1, blobs);
                vm.prank(sequencer);
                rollup.commit(c, "");
                vm.assertEq(rollup.batchAt(index).batchHash, hashOf(index));
            }
        }
        // Openings of all blobs of a batch in one proof.
        rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, 1, 6)));
        rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), 1, 6)));
        assertFinal(6);
    }

    function test_commitBlocksAndTime() public {
        carry(1);
        Rollup.Commit memory c = request(0);
        c.lastBlock = 0;
        refusesCommit(c, abi.encodePacked(Rollup.NoBlocks.selector));
        c = request(0);
        c.lastTimestamp = uint64(vm.getBlockTimestamp()) + 1;
        refusesCommit(c, abi.encodeWithSelector(Rollup.FutureTimestamp.selector, c.lastTimestamp));
        c.lastTimestamp = uint64(vm.getBlockTimestamp());
        vm.prank(sequencer);
        rollup.commit(c, "");
    }

    function test_commitOriginChecked() public {
        carry(1);
        Rollup.Commit memory c = request(0);
        c.originHash = keccak256("x");
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongOrigin.selector, c.originNumber, c.originHash));
        c = request(0);
        c.originNumber = uint64(vm.getBlockNumber());
        refusesCommit(c, abi.encodeWithSelector(Origins.UnknownBlock.selector, c.originNumber));
        commit();
        c = request(0);
        c.originNumber -= 5;
        c.originHash = origins.hashOf(c.originNumber);
        carry(1);
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongOrigin.selector, c.originNumber, c.originHash));
    }

    function test_commitSameOriginAgain() public {
        commit();
        commit(); // in the same L1 block
        vm.assertEq(rollup.headIndex(), 2);
    }

    function test_commitTakesExactlyTheMessagesUpToItsOrigin() public {
        force(alice);
        pass(12);
        force(alice);
        carry(1);
        Rollup.Commit memory c = request(0);
        vm.assertEq(c.endMessage, 1);
        c.endMessage = 0; // leaves one of the origin
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongMessages.selector, 0));
        c.endMessage = 2; // takes one after the origin
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongMessages.selector, 2));
        c.endMessage = 3; // takes one that is not there
        refusesCommit(c, abi.encodeWithSelector(Inbox.UnknownMessage.selector, 2));
        commit();
        c = request(0);
        c.endMessage = 0; // gives one back
        carry(1);
        refusesCommit(c, abi.encodeWithSelector(Rollup.WrongMessages.selector, 0));
    }

    function test_oldOriginLeavesLaterMessages() public {
        Rollup.Commit memory c = request(0);
        force(alice);
        pass(12);
        carry(1);
        vm.prank(sequencer);
        rollup.commit(c, ""); // an origin of any age
        vm.assertEq(rollup.batchAt(1).endMessage, 0);
    }

    // --- origins ---

    function test_originsFromHistoryContract() public {
        uint64 number = uint64(vm.getBlockNumber() - 5000);
        vm.expectRevert(abi.encodeWithSelector(Origins.UnknownBlock.selector, number));
        origins.hashOf(number);
        setHistory(number, keccak256("old block"));
        vm.assertEq(origins.hashOf(number), keccak256("old block"));
    }

    function setHistory(uint64 number, bytes32 blockHash) internal {
        vm.store(0x0000F90827F1C53a10cb7A02335B175320002935, bytes32(uint256(number % 8191)), blockHash);
    }

    function test_originsRecordLasts() public {
        uint64 number = uint64(vm.getBlockNumber() - 10);
        bytes32 blockHash = origins.hashOf(number);
        vm.assertTrue(blockHash != 0);
        origins.record(number);
        vm.roll(vm.getBlockNumber() + 9000);
        vm.assertEq(origins.hashOf(number), blockHash);
        vm.expectRevert(abi.encodeWithSelector(Origins.UnknownBlock.selector, number + 1));
        origins.record(number + 1);
        // A batch may name it as its origin.
        Rollup.Commit memory c = request(0);
        c.originNumber = number;
        c.originHash = blockHash;
        carry(1);
        vm.prank(sequencer);
        rollup.commit(c, "");
    }

    function test_originsBelowByHeaders() public {
        // Three headers with a parent hash each; 20 fields more do not matter.
        bytes32 oldest = keccak256("oldest");
        bytes[] memory headers = new bytes[](2);
        headers[1] = header(oldest);
        headers[0] = header(keccak256(headers[1]));
        uint64 known = uint64(vm.getBlockNumber() - 8000);
        setHistory(known, keccak256(headers[0]));
        origins.recordBelow(known, headers);
        vm.assertEq(origins.hashOf(known - 2), oldest);

        headers[1] = header(keccak256("forged"));
        vm.expectRevert(abi.encodeWithSelector(Origins.WrongHeader.selector, known - 1));
        origins.recordBelow(known, headers);
        vm.expectRevert(Origins.InvalidHeaderCount.selector);
        origins.recordBelow(known, new bytes[](0));
        vm.expectRevert(abi.encodeWithSelector(Origins.UnknownBlock.selector, 7));
        origins.recordBelow(7, headers);
    }

    /// @dev RLP of [parent hash, ommers hash].
    function header(bytes32 parent) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"f842a0", parent, hex"a0", keccak256("ommers"));
    }

    // --- T1 ---

    function inSilence(Rollup.Commit memory c, bytes memory certificate) internal {
        uint64 index = expectBatch(c, 1, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        carry(1);
        vm.prank(alice);
        rollup.commitInSilence(c, certificate, p);
        vm.assertEq(rollup.batchAt(index).batchHash, hashOf(index));
    }

    function test_silenceLetsAnyoneCommitWithProof() public {
        pass(T1);
        Rollup.Commit memory c = request(0);
        inSilence(c, signed(c, SEQUENCER_KEY));
        vm.assertEq(rollup.provenIndex(), 1);
        // Others' commits do not end the silence.
        c = request(1);
        inSilence(c, signed(c, SEQUENCER_KEY));
        tee(intel1, 1, 0);
        assertFinal(1);
    }

    function test_noSilenceBeforeT1() public {
        pass(T1 - 1);
        Rollup.Commit memory c = request(0);
        uint64 index = expectBatch(c, 1, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        bytes memory signature = signed(c, SEQUENCER_KEY);
        uint256 until = uint256(rollup.operatorAt()) + T1;
        carry(1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotSilent.selector, until));
        rollup.commitInSilence(c, signature, p);
    }

    function test_silentCommitNeedsTheSequencersSignature() public {
        pass(T1);
        Rollup.Commit memory c = request(0);
        uint64 index = expectBatch(c, 1, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        carry(1);
        bytes[4] memory bad = [signed(c, 42), bytes(""), hex"00", new bytes(65)];
        for (uint256 i; i < 4; ++i) {
            vm.expectRevert(SequencerAuthority.NotCertified.selector);
            rollup.commitInSilence(c, bad[i], p);
        }
        c.lastBlock += 1; // another block than was signed
        bytes memory signature = signed(request(0), SEQUENCER_KEY);
        vm.expectRevert(SequencerAuthority.NotCertified.selector);
        rollup.commitInSilence(c, signature, p);
    }

    function test_silentCommitNeedsItsProof() public {
        pass(T1);
        Rollup.Commit memory c = request(0);
        uint64 index = expectBatch(c, 1, 1);
        bytes memory signature = signed(c, SEQUENCER_KEY);
        carry(1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, INVALID);
        vm.expectRevert(Rollup.ProofDoesNotMatch.selector);
        rollup.commitInSilence(c, signature, p);
        p.claims = new Rollup.Claim[](0);
        vm.expectRevert(Rollup.ProofDoesNotMatch.selector);
        rollup.commitInSilence(c, signature, p);
        vm.assertEq(rollup.headIndex(), 0);
    }

    function test_silentCommitNeedsAProvenPredecessor() public {
        commit(); // the operator's last, which nobody has proven
        pass(T1);
        Rollup.Commit memory c = request(0);
        uint64 index = expectBatch(c, 1, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        bytes memory signature = signed(c, SEQUENCER_KEY);
        carry(1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.UnknownStart.selector, p.start));
        rollup.commitInSilence(c, signature, p);
    }

    function test_staleOriginCountsAsSilence() public {
        Rollup.Commit memory c = request(0);
        origins.record(c.originNumber);
        pass(T1 + 12); // the origin is 3,602 blocks old
        uint48 before = rollup.operatorAt();
        carry(1);
        expectBatch(c, 1, 1);
        vm.prank(sequencer);
        rollup.commit(c, "");
        vm.assertEq(rollup.operatorAt(), before);
        zk(1, 0);
        c = request(1);
        inSilence(c, signed(c, SEQUENCER_KEY));
        commit(); // a timely commit ends it
        vm.assertEq(rollup.operatorAt(), vm.getBlockTimestamp());
    }

    // --- T2 ---

    /// @dev A commit of queued messages on the last proven batch.
    function messagesRequest() internal view returns (Rollup.Commit memory c) {
        c = request(77);
        Rollup.Stored memory parent = rollup.batchAt(rollup.provenIndex());
        c.parentBatchHash = parent.batchHash;
        c.lastBlock = parent.lastBlock + 2;
    }

    function commitMessages() internal returns (uint64 index) {
        Rollup.Commit memory c = messagesRequest();
        index = expectBatchAt(rollup.provenIndex() + 1, rollup.era() + 1, c, 2, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, index, 0);
        carry(1);
        vm.prank(alice);
        rollup.commitMessages(c, p);
        vm.assertEq(rollup.batchAt(index).batchHash, hashOf(index), "forced batch hash");
    }

    function test_overdueMessagesByAnyone() public {
        force(alice);
        pass(T2);
        vm.assertEq(commitMessages(), 1);
        vm.assertEq(rollup.era(), 1);
        vm.assertEq(made[1].version, 2);
        vm.assertEq(rollup.provenIndex(), 1);
        zk(1, 0);
        assertFinal(1);
        vm.assertEq(rollup.finalMessage(), 1);
        // The operators go on in the new era.
        commit();
        vm.assertEq(made[2].era, 1);
    }

    function test_t2ReplacesUnprovenBatches() public {
        uint64 first = commit();
        zk(first, 0);
        force(alice);
        pass(12);
        // The sequencer takes the message into garbage that nobody can prove valid, again and again.
        commit(1);
        pass(1 days);
        rollup.drop();
        commit(2);
        pass(T2);
        commit(3); // head is 3, proven is 1: commits and drops do not reset the clock
        vm.assertEq(commitMessages(), 2);
        vm.assertEq(rollup.headIndex(), 2);
        vm.assertEq(made[2].firstMessage, 0);
        vm.assertEq(made[2].endMessage, 1);
    }

    function test_overdueMessageMustBeTakenNext() public {
        Rollup.Commit memory old = request(0); // of an origin before the messages
        origins.record(old.originNumber);
        force(alice);
        force(alice);
        pass(T2 - 1);
        uint64 waiting = commit(old, 1);
        old.parentBatchHash = hashOf(waiting);
        old.lastBlock += 1;
        pass(1);
        carry(1);
        refusesCommit(old, abi.encodeWithSelector(Rollup.OverdueMessage.selector, 0));
        zk(waiting, 0); // valid, but no parent for another without the message
        refusesCommit(old, abi.encodeWithSelector(Rollup.OverdueMessage.selector, 0));
        pass(T1);
        bytes memory signature = signed(old, SEQUENCER_KEY);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), waiting, 0);
        vm.expectRevert(abi.encodeWithSelector(Rollup.OverdueMessage.selector, 0));
        rollup.commitInSilence(old, signature, p);
        vm.assertEq(commitMessages(), waiting + 1);
        vm.assertEq(made[waiting + 1].endMessage, 2);
    }

    function test_operatorsGoOnWithAnOverdueMessage() public {
        force(alice);
        uint64 between = uint64(vm.getBlockNumber());
        pass(12);
        origins.record(between);
        force(alice);
        pass(T2 + 12);
        // A part of what is overdue is enough, batch by batch.
        Rollup.Commit memory c = request(0);
        c.originNumber = between;
        c.originHash = origins.hashOf(between);
        c.endMessage = 1;
        vm.assertEq(made[commit(c, 1)].endMessage, 1);
        c.parentBatchHash = hashOf(1);
        c.lastBlock += 1;
        carry(1);
        refusesCommit(c, abi.encodeWithSelector(Rollup.OverdueMessage.selector, 1));
        vm.assertEq(made[commit()].endMessage, 2);
        // And nothing is asked where nothing waits.
        vm.assertEq(made[commit()].endMessage, 2);
    }

    function test_t2NotBeforeItsTime() public {
        force(alice);
        uint256 due = vm.getBlockTimestamp() + T2;
        pass(T2 - 1);
        Rollup.Commit memory c = messagesRequest();
        uint64 index = expectBatchAt(1, 1, c, 2, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, index, 0);
        carry(1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NoOverdueMessage.selector, due));
        rollup.commitMessages(c, p);
    }

    function test_t2NotWithoutMessages() public {
        pass(365 days);
        Rollup.Commit memory c = messagesRequest();
        uint64 index = expectBatchAt(1, 1, c, 2, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, index, 0);
        carry(1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NoOverdueMessage.selector, type(uint256).max));
        rollup.commitMessages(c, p);
    }

    function test_t2NotForConsumedMessages() public {
        force(alice);
        pass(12);
        zk(commit(), 0); // an accepted proof, though not final
        pass(T2);
        Rollup.Commit memory c = messagesRequest();
        uint64 index = expectBatchAt(2, 1, c, 2, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, index, 0);
        carry(1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NoOverdueMessage.selector, type(uint256).max));
        rollup.commitMessages(c, p);
    }

    function test_t2MustTakeMessages() public {
        force(alice);
        pass(T2);
        Rollup.Commit memory c = messagesRequest();
        c.endMessage = 0;
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, expectBatchAt(1, 1, c, 2, 1), 0);
        carry(1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.WrongMessages.selector, 0));
        rollup.commitMessages(c, p);
    }

    function test_t2NeedsItsProof() public {
        force(alice);
        pass(T2);
        Rollup.Commit memory c = messagesRequest();
        uint64 index = expectBatchAt(1, 1, c, 2, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, index, INVALID);
        carry(1);
        vm.expectRevert(Rollup.ProofDoesNotMatch.selector);
        rollup.commitMessages(c, p);
        vm.assertEq(rollup.era(), 0);
    }

    function test_provenBatchCommittedAgainAfterDrop() public {
        uint64 first = commit();
        uint64 second = commit();
        rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, first, second)));
        bytes32 hash = hashOf(second);
        // The first turns out invalid, by zero knowledge and another machine; then it is committed again with the same content.
        Rollup.Commit memory c1 = asRequest(first);
        Rollup.Commit memory c2 = asRequest(second);
        zk(first, INVALID);
        tee(amd1, first, INVALID);
        vm.assertEq(rollup.headIndex(), 0);
        vm.assertEq(rollup.provenIndex(), 0);
        carry(1);
        vm.startPrank(sequencer);
        rollup.commit(c1, "");
        vm.assertEq(rollup.provenIndex(), 1); // what was proven is kept by hash
        rollup.commit(c2, "");
        vm.stopPrank();
        vm.assertEq(rollup.batchAt(2).batchHash, hash);
        vm.assertEq(rollup.provenIndex(), 2);
        vm.assertTrue(settles(1, INVALID));
        vm.assertEq(rollup.headIndex(), 0);
    }

    function asRequest(uint64 index) internal view returns (Rollup.Commit memory) {
        return Rollup.Commit({
            parentBatchHash: made[index].parentBatchHash,
            lastBlockHash: made[index].lastBlockHash,
            lastBlock: made[index].lastBlock,
            lastTimestamp: made[index].lastTimestamp,
            endMessage: made[index].endMessage,
            originNumber: made[index].originNumber,
            originHash: made[index].originHash
        });
    }

    // --- drop ---

    function test_dropAfterADay() public {
        commit();
        pass(DROP / 2);
        commit();
        uint256 due = rollup.batchAt(1).committedAt + DROP;
        pass(DROP / 2 - 1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotDroppable.selector, due));
        rollup.drop();
        pass(1);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), 0);
        vm.expectRevert(Rollup.NothingToDrop.selector);
        rollup.drop();
    }

    function test_dropNotWithProof() public {
        zk(commit(), 0);
        pass(30 days);
        vm.expectRevert(Rollup.NothingToDrop.selector);
        rollup.drop();
    }

    function test_dropCountsFromThePredecessorsProof() public {
        commit();
        commit();
        pass(DROP - 1);
        zk(1, 0);
        uint256 due = vm.getBlockTimestamp() + DROP;
        pass(DROP - 1);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotDroppable.selector, due));
        rollup.drop();
        pass(1);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), 1);
    }

    function test_dropWaitsForConflicts() public {
        commit();
        commit();
        zk(1, 0);
        tee(intel1, 1, 1);
        vm.assertEq(rollup.conflictIndex(), 1);
        pass(2 * DROP);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotDroppable.selector, type(uint256).max));
        rollup.drop();
        tee(amd1, 1, 0); // ends it
        assertFinal(1);
        vm.assertEq(rollup.conflictEndedAt(), vm.getBlockTimestamp());
        pass(DROP - 1);
        vm.expectRevert();
        rollup.drop();
        pass(1);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), 1);
        // As does the next one.
        commit();
        commit();
        zk(2, 0);
        tee(amd1, 2, 1);
        vm.assertEq(rollup.conflictIndex(), 2);
        pass(2 * DROP);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotDroppable.selector, type(uint256).max));
        rollup.drop();
    }

    function test_dropNeedNotWaitForAConflictThatEndedInvalid() public {
        commit();
        tee(intel1, 1, 0);
        zk(1, INVALID);
        vm.assertEq(rollup.conflictIndex(), 1);
        tee(amd1, 1, INVALID);
        vm.assertEq(rollup.headIndex(), 0);
        vm.assertEq(rollup.conflictEndedAt(), vm.getBlockTimestamp());
        pass(1);
        commit();
        pass(DROP);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), 0);
    }

    function test_dropReturnsMessages() public {
        force(alice);
        pass(12);
        commit();
        pass(DROP);
        rollup.drop();
        vm.assertEq(commit(1), 1);
        vm.assertEq(made[1].firstMessage, 0);
        vm.assertEq(made[1].endMessage, 1);
    }

    function test_invalidProofAloneDoesNotSaveFromDrop() public {
        zk(commit(), INVALID);
        pass(DROP);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), 0);
    }

    // --- the escape begins ---

    function noRoots() internal pure returns (Rollup.Roots[] memory) {
        return new Rollup.Roots[](0);
    }

    function halts() internal {
        startEscape(noRoots());
        vm.assertEq(uint256(rollup.phase()), uint256(Phase.Halted));
    }

    function test_escapeForAPendingBatch() public {
        commit();
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotDue.selector, vm.getBlockTimestamp() + Z));
        rollup.startEscape(noRoots(), 0, 0);
        pass(Z - 1);
        vm.assertFalse(rollup.escapeDue());
        pass(1);
        halts();
    }

    function test_escapeForAPendingMessage() public {
        force(alice);
        pass(Z);
        halts();
    }

    function test_noEscapeWhileNothingWaits() public {
        pass(3650 days);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotDue.selector, type(uint256).max));
        rollup.startEscape(noRoots(), 0, 0);
    }

    function test_finalityPutsTheEscapeOff() public {
        force(alice);
        Rollup.Commit memory c = request(0); // an origin before the message
        origins.record(c.originNumber);
        pass(T2 - 1);
        commit(c, 1);
        pass(Z - T2);
        zk(1, 0);
        tee(intel1, 1, 0);
        assertFinal(1);
        pass(1);
        vm.assertFalse(rollup.escapeDue()); // the message still waits, but a batch became final meanwhile
        pass(Z);
        halts();
    }

    function test_droppedInvalidBatchesDoNotPutTheEscapeOff() public {
        force(alice);
        pass(Z - 1);
        commit();
        zk(1, INVALID);
        tee(intel1, 1, INVALID);
        pass(1);
        halts();
    }

    function test_escapeFinalizesFirst() public {
        commit();
        zk(1, 0);
        commit();
        pass(Z);
        vm.expectRevert(abi.encodeWithSelector(Rollup.StillFinal.selector, 1));
        rollup.startEscape(noRoots(), 0, 0);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotSettled.selector, 1));
        rollup.startEscape(one(roots(1, 1)), 0, 0);
        vm.prank(council);
        pause.pause(1 days); // no pause stops it
        startEscape(one(roots(1, 0)));
        assertFinal(1);
        vm.assertEq(uint256(rollup.phase()), uint256(Phase.Halted));
    }

    function test_theEscapeFreezesTheLastFinalRoots() public {
        commit();
        zk(1, 0);
        tee(intel1, 1, 0);
        commit();
        pass(Z);
        Rollup.Roots memory r = roots(1, 0);
        bytes memory wrong = abi.encodeWithSelector(Rollup.WrongRoots.selector, 1);
        vm.expectRevert(wrong);
        rollup.startEscape(noRoots(), genesis().stateRoot, genesis().outboxRoot);
        vm.expectRevert(wrong);
        rollup.startEscape(noRoots(), r.outboxRoot, r.stateRoot);
        vm.expectRevert(wrong);
        rollup.startEscape(noRoots(), 0, r.outboxRoot);
        vm.expectRevert(wrong);
        rollup.startEscape(noRoots(), r.stateRoot, 0);
        vm.assertEq(rollup.finalStateRoot(), 0);
        rollup.startEscape(noRoots(), r.stateRoot, r.outboxRoot);
        vm.assertEq(rollup.finalStateRoot(), r.stateRoot);
        vm.assertTrue(rollup.isFinal(1, made[1].lastBlockHash, r.stateRoot, r.outboxRoot));
    }

    function test_theEscapeOfAChainWithoutAFinalBatch() public {
        commit();
        pass(Z);
        startEscape(noRoots());
        vm.assertEq(rollup.finalStateRoot(), genesis().stateRoot);
    }

    function test_dueEscapeStaysDue() public {
        commit();
        commit();
        rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), 1, 1)));
        pass(Z);
        vm.assertTrue(settles(1, 0)); // it could have been final long ago
        vm.assertTrue(rollup.escapeDue());
        halts();
    }

    function test_recoveryEndsADueEscape() public {
        commit();
        zk(1, 0);
        pass(Z);
        vm.assertTrue(rollup.escapeDue());
        tee(intel1, 1, 0);
        assertFinal(1);
        vm.assertFalse(rollup.escapeDue()); // nothing waits
    }

    function test_nothingMovesAfterTheEscape() public {
        commit();
        zk(1, 0);
        commit();
        force(alice);
        pass(Z);
        startEscape(one(roots(1, 0)));
        bytes memory closed = abi.encodeWithSelector(Rollup.NotOpen.selector, Phase.Halted);
        Rollup.Commit memory c = request(0);
        Rollup.Proof memory p = proofOf(ProofSystem.Tee, intel1, 2, 0);
        carry(1);
        refusesCommit(c, closed);
        vm.expectRevert(closed);
        rollup.commitInSilence(c, "", p);
        vm.expectRevert(closed);
        rollup.commitMessages(c, p);
        vm.expectRevert(closed);
        rollup.prove(only(p));
        vm.expectRevert(closed);
        rollup.finalize(one(roots(2, 0)));
        vm.expectRevert(closed);
        rollup.drop();
        vm.expectRevert(closed);
        rollup.startEscape(noRoots(), 0, 0);
        vm.deal(alice, 1 ether);
        vm.prank(alice, alice);
        vm.expectRevert(Inbox.ChainNotOpen.selector);
        inbox.send{value: 1 ether}(bob, false, 0, 0, 21_000, "");
    }

    // --- the sequencer's role ---

    function test_sequencerHandsOn() public {
        vm.prank(sequencer);
        sequencerAuthority().transferOwnership(alice);
        commit(); // until it is taken
        vm.prank(alice);
        sequencerAuthority().acceptOwnership();
        Rollup.Commit memory c = request(0);
        carry(1);
        refusesCommit(c, abi.encodePacked(SequencerAuthority.NotCertified.selector));
        vm.prank(alice);
        rollup.commit(c, "");
    }
}
