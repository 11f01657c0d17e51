// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bls} from "../src/l1/validators/Bls.sol";
import {KeySets} from "../src/l1/validators/KeySets.sol";
import {ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {ValidatorAuthority} from "../src/l1/validators/ValidatorAuthority.sol";
import {ValidatorRegistry} from "../src/l1/validators/ValidatorRegistry.sol";
import {Validators} from "./utils/Validators.sol";

/// @notice Commits with FinalCerts: epochs, sets, eras, silence; and all that is refused.
contract CertificatesTest is Validators {
    function setUp() public override {
        super.setUp();
        register(0); // names the committer
        pass(12);
    }

    function test_aQuorumCommits() public {
        vm.assertEq(commitCertified("first"), 1);
        vm.assertEq(rollup.headIndex(), 1);
    }

    function test_allCommit() public {
        commitCertified("firstByAll");
    }

    function test_oneLessThanAQuorumDoesNot() public {
        refuses(certificate("firstBelowQuorum"), abi.encodeWithSelector(ValidatorAuthority.NoQuorum.selector, 3, 2));
    }

    /// @dev Claiming that the absent signed, or that signers are absent, is another sum of keys.
    function test_theBitmapIsTheSigners() public {
        bytes memory data = certificate("first");
        for (uint256 i; i < 7; ++i) {
            bytes memory other = bytes.concat(data);
            other[39] ^= bytes1(uint8(1 << i));
            bool more = i != 1 && i != 4;
            refuses(
                other,
                more
                    ? abi.encodeWithSelector(ValidatorAuthority.NoQuorum.selector, 3, 2)
                    : abi.encodePacked(ValidatorAuthority.NotCertified.selector)
            );
        }
        data[39] = 0x06; // 1 and 2 instead of 1 and 4
        refuses(data, abi.encodePacked(ValidatorAuthority.NotCertified.selector));
    }

    function test_bitsBeyondTheSetAreRefused(uint256 bit) public {
        bit = bound(bit, 7, 255);
        bytes memory data = certificate("firstByAll");
        data[8 + 31 - bit / 8] |= bytes1(uint8(1 << (bit % 8)));
        refuses(data, abi.encodeWithSelector(KeySets.UnknownValidator.selector, bit));
    }

    /// @dev Every bit of the certificate is signed, or is checked, or is the signature.
    function test_anyOtherBitIsRefused(uint256 bit) public {
        bytes memory data = certificate("first");
        bit = bound(bit, 0, data.length * 8 - 1);
        data[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        Rollup.Commit memory c = request(0);
        carry(1);
        vm.prank(committer);
        vm.expectRevert();
        rollup.commit(c, data);
    }

    function test_anyOtherLengthIsRefused(uint256 length, bytes memory tail) public {
        bytes memory data = certificate("first");
        length = bound(length, 0, data.length);
        vm.assume(length < data.length || tail.length > 0);
        Rollup.Commit memory c = request(0);
        bytes memory other = bytes.concat(slice(data, 0, length), tail);
        vm.assume(keccak256(other) != keccak256(data));
        carry(1);
        vm.prank(committer);
        vm.expectRevert();
        rollup.commit(c, other);
    }

    function test_malformedCertificatesAreRefused() public {
        bytes memory malformed = abi.encodePacked(ValidatorAuthority.MalformedCertificate.selector);
        refuses("", malformed);
        bytes memory data = certificate("first");
        refuses(slice(data, 0, 274), malformed);
        refuses(slice(data, 0, 275), malformed);
        refuses(slice(data, 0, data.length - 1), malformed);
        refuses(bytes.concat(data, hex"00"), malformed);
        bytes memory other = bytes.concat(data);
        other[274] = 0x1a; // 26 bytes of signers
        refuses(bytes.concat(other, new bytes(25)), malformed);
        other = bytes.concat(data);
        other[data.length - 1] = 0x02; // neither with nor without a next set
        refuses(other, malformed);
        other[data.length - 1] = 0x01; // with one, which is not there
        refuses(other, malformed);
        other = bytes.concat(data);
        other[276 + 79] = 0x01; // version 1 in epoch 0
        refuses(other, malformed);
    }

    /// @dev The certificate is for one block, of one number.
    function test_anotherBlockIsNotCertified() public {
        bytes memory data = certificate("first");
        bytes memory reason = abi.encodePacked(ValidatorAuthority.NotCertified.selector);
        Rollup.Commit memory c = request(1);
        carry(1);
        vm.startPrank(committer);
        vm.expectRevert(reason);
        rollup.commit(c, data);
        c = request(0);
        ++c.lastBlock;
        vm.expectRevert(reason);
        rollup.commit(c, data);
        vm.stopPrank();
    }

    function test_pointsOutsideOfTheSubgroupAreNotCertified() public {
        bytes memory data = certificate("first");
        bytes memory point = vm.parseJsonBytes(json, "$.signatureOutside");
        bytes memory reason = abi.encodePacked(ValidatorAuthority.NotCertified.selector);
        refuses(bytes.concat(slice(data, 0, 40), point, slice(data, 136, data.length)), reason);
        refuses(bytes.concat(slice(data, 0, 40), new bytes(96), slice(data, 136, data.length)), reason);
    }

    // --- who ---

    function test_onlyOperatorsCommit() public {
        bytes memory data = certificate("first");
        refuses(alice, data, abi.encodeWithSelector(Rollup.NotOperator.selector, alice));
        // An operator that leaves is none any more.
        bytes32 id = idOf(0);
        vm.prank(ownerOf(0));
        validators.exit(id);
        refuses(data, abi.encodeWithSelector(Rollup.NotOperator.selector, committer));
        // Validator 1 does not lead.
        register(1);
        refuses(data, abi.encodeWithSelector(Rollup.NotOperator.selector, committer));
        register(3);
        commitCertified("first");
    }

    function test_anyoneAfterASilenceWithAProof() public {
        bytes memory data = certificate("first");
        Rollup.Commit memory c = request(0);
        uint64 index = expectBatch(c, 1, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        carry(1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Rollup.NotSilent.selector, uint256(rollup.operatorAt()) + T1));
        rollup.commitInSilence(c, data, p);
        pass(T1);
        c = request(0);
        index = expectBatch(c, 1, 1);
        p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        carry(1);
        bytes memory bad = certificate("firstBelowQuorum");
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(ValidatorAuthority.NoQuorum.selector, 3, 2));
        rollup.commitInSilence(c, bad, p);
        carry(1);
        vm.prank(alice);
        rollup.commitInSilence(c, data, p);
        vm.assertEq(rollup.provenIndex(), 1);
    }

    function test_theRollupAloneAsks() public {
        bytes memory data = certificate("first");
        vm.expectRevert(ValidatorAuthority.NotRollup.selector);
        validators.check(committer, 0, 1, 10, keccak256("a block"), data);
        vm.expectRevert(ValidatorAuthority.NotRollup.selector);
        validators.restart(1, 1);
    }

    // --- epochs ---

    function test_epochsChain() public {
        commitCertified("first");
        ValidatorAuthority.Epoch memory epoch = validators.epochAt(0, 1);
        vm.assertEq(epoch.setHash, hashOfSet("seven"));
        vm.assertEq(epoch.firstBlock, 0);
        commitCertified("endOf0");
        vm.assertEq(validators.epochAt(0, 0).lastBlock, 20);
        vm.assertEq(validators.epochAt(0, 1).firstBlock, 21);
        vm.assertEq(validators.epochAt(0, 2).setHash, hashOfSet("second"));
        commitCertified("in1");
        commitCertified("endOf1");
        // The keys of epoch 2's set are not here yet.
        bytes memory data = certificate("in2");
        refuses(data, abi.encodeWithSelector(KeySets.UnknownSet.selector, hashOfSet("second")));
        vm.assertEq(validators.publish(setOf(3, 10)), hashOfSet("second"));
        commitCertified("in2");
        vm.assertEq(validators.epochAt(0, 3).setHash, hashOfSet("seven"));
    }

    function test_aBatchDoesNotCrossAnEpoch() public {
        commitCertified("first");
        // Epoch 1 is not known to have begun.
        bytes memory data = certificate("in1");
        Rollup.Commit memory c = request(0);
        (c.lastBlock, c.lastBlockHash) = (30, keccak256(abi.encode("block", uint64(3), uint256(0))));
        carry(1);
        vm.prank(committer);
        vm.expectRevert(abi.encodeWithSelector(ValidatorAuthority.UnknownEpoch.selector, 0, 1));
        rollup.commit(c, data);
        // Once it is: the batch from within epoch 0 to within epoch 1.
        commitCertified("endOf0");
        drop();
        c = request(0);
        (c.lastBlock, c.lastBlockHash) = (30, keccak256(abi.encode("block", uint64(3), uint256(0))));
        carry(1);
        vm.prank(committer);
        vm.expectRevert(abi.encodeWithSelector(ValidatorAuthority.OutsideEpoch.selector, 0, 1));
        rollup.commit(c, data);
        commitAgain("first");
        commitAgain("endOf0");
        commitAgain("in1");
    }

    /// @dev Validators of an epoch that has ended, whose bonds may be gone, certify nothing more.
    function test_nothingIsCertifiedBeyondTheEndOfAnEpoch() public {
        commitCertified("first");
        commitCertified("endOf0");
        refuses(certificate("beyond0"), abi.encodeWithSelector(ValidatorAuthority.OutsideEpoch.selector, 0, 0));
        commitCertified("in1");
    }

    function test_anEpochHasOneEnd() public {
        commitCertified("first");
        commitCertified("endOf0");
        drop();
        commitAgain("first");
        refuses(
            certificate("endOf0Otherwise"), abi.encodeWithSelector(ValidatorAuthority.ContradictingEnds.selector, 0, 0)
        );
        commitAgain("endOf0");
    }

    function drop() internal {
        pass(DROP);
        rollup.drop();
        vm.assertEq(rollup.headIndex(), 0);
    }

    /// @dev Batches of other times and origins with the same blocks.
    function commitAgain(string memory name) internal {
        commitCertified(name);
    }

    // --- eras ---

    /// @dev Batch 1, then a batch of messages alone with its proof: era 1.
    function restart() internal returns (uint64 origin) {
        commitCertified("first");
        rollup.prove(only(proofOf(ProofSystem.Zk, noProver(), 1, 0)));
        force(alice);
        for (uint256 i = 3; i < 10; ++i) {
            register(i);
        }
        bytes32 id = idOf(0);
        vm.prank(ownerOf(0));
        validators.exit(id);
        pass(T2);
        Rollup.Commit memory c = request(0);
        origin = c.originNumber;
        uint64 index = expectBatchAt(2, 1, c, 2, 1);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), index, 0);
        carry(1);
        rollup.commitMessages(c, p);
        vm.assertEq(rollup.era(), 1);
        vm.assertEq(validators.originOf(1), origin);
    }

    function test_anEraBeginsWithTheRegistrysSet() public {
        restart();
        bytes memory data = certificate("inEra1");
        refuses(data, abi.encodeWithSelector(ValidatorAuthority.UnknownEpoch.selector, 1, 0));
        // What happened after its origin does not matter.
        register(1);
        bytes32 id = idOf(4);
        vm.prank(ownerOf(4));
        validators.exit(id);
        pass(12);
        validators.begin(1, setOf(3, 10));
        vm.assertEq(validators.epochAt(1, 0).setHash, hashOfSet("second"));
        vm.assertEq(validators.epochAt(1, 1).setHash, hashOfSet("second"));
        vm.expectRevert(abi.encodeWithSelector(ValidatorAuthority.NothingToBegin.selector, 1));
        validators.begin(1, setOf(3, 10));
        // A certificate of the old era is void.
        refuses(certificate("beyond0"), abi.encodePacked(ValidatorAuthority.NotCertified.selector));
        commitCertified("inEra1");
    }

    function test_anEraBeginsWithNoOtherSet() public {
        vm.expectRevert(abi.encodeWithSelector(ValidatorAuthority.NothingToBegin.selector, 1));
        validators.begin(1, setOf(3, 10));
        restart();
        vm.expectRevert(abi.encodeWithSelector(ValidatorAuthority.NothingToBegin.selector, 0));
        validators.begin(0, setOf(0, 7));
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.WrongSnapshot.selector, 6));
        validators.begin(1, setOf(3, 9)); // one is missing
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.WrongSnapshot.selector, 0));
        validators.begin(1, setOf(2, 9)); // one that is not registered
        bytes memory other = setOf(3, 10);
        other[256] ^= 0x01; // whether the first leads
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.WrongSnapshot.selector, 0));
        validators.begin(1, other);
        bytes memory twice = bytes.concat(setOf(3, 9), setOf(8, 9));
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSet.selector, 6));
        validators.begin(1, twice);
    }

    /// @dev A certificate of era 1 in era 0.
    function test_anEraCannotBeAnticipated() public {
        commitCertified("first");
        commitCertified("endOf0");
        refuses(certificate("inEra1"), abi.encodePacked(ValidatorAuthority.NotCertified.selector));
    }

    // --- sets ---

    function test_setsArePublishedByHash() public {
        bytes memory set = setOf(0, 100);
        vm.assertEq(validators.keysOf(hashOfSet("hundred")).points, address(0));
        vm.assertEq(validators.publish(set), hashOfSet("hundred"));
        KeySets.KeySet memory keys = validators.keysOf(hashOfSet("hundred"));
        vm.assertEq(keys.points.code.length, 1 + 192 * 101);
        vm.assertEq(keys.more, address(0));
        vm.assertEq(keys.ids.code.length, 1 + 32 * 100);
        vm.assertEq(uint256(uint8(keys.points.code[0])), 0, "code that does nothing");
        vm.assertEq(slice(keys.points.code, 1 + 192 * 5, 1 + 192 * 6), keyOf(4));
        vm.assertEq(slice(keys.ids.code, 1 + 32 * 4, 1 + 32 * 5), abi.encodePacked(idOf(4)));
        // For good: again changes nothing.
        validators.publish(set);
        vm.assertEq(validators.keysOf(hashOfSet("hundred")).points, keys.points);
    }

    function test_theLargestSetHasTwoContracts() public {
        validators.publish(everyone);
        KeySets.KeySet memory keys = validators.keysOf(hashOfSet("largest"));
        vm.assertEq(keys.points.code.length, 24_385);
        vm.assertEq(keys.more.code.length, 1 + 192 * 74);
        vm.assertEq(slice(keys.more.code, 1, 193), keyOf(126));
    }

    function test_wrongSetsAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSetSize.selector, 0));
        validators.publish("");
        bytes memory part = slice(everyone, 0, 256);
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSetSize.selector, 256));
        validators.publish(part);
        bytes memory large = bytes.concat(everyone, setOf(0, 1));
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSetSize.selector, 201 * 257));
        validators.publish(large);
        // In the order of their ids, each once.
        bytes memory swapped = bytes.concat(setOf(1, 2), setOf(0, 1));
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSet.selector, 1));
        validators.publish(swapped);
        bytes memory twice = bytes.concat(setOf(0, 2), setOf(1, 2));
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSet.selector, 2));
        validators.publish(twice);
        bytes memory flag = setOf(0, 7);
        flag[256] = 0x02;
        vm.expectRevert(abi.encodeWithSelector(KeySets.InvalidSet.selector, 0));
        validators.publish(flag);
    }

    /// @dev A key that is not on the curve is refused; the same key with the other sign has another hash.
    function test_publishedKeysAreThoseOfTheHash() public {
        bytes memory set = setOf(0, 1);
        set[32 + 191] ^= 0x01;
        vm.expectRevert(Bls.InvalidPoint.selector);
        validators.publish(set);
        set = setOf(0, 1);
        bytes32 hash = keccak256(abi.encodePacked("jove/avc/1/set", leafOf(set)));
        vm.assertEq(validators.publish(set), hash);
        bytes memory opposite = bytes.concat(slice(set, 0, 128), negated(slice(set, 128, 224)), slice(set, 224, 257));
        vm.assertTrue(validators.publish(opposite) != hash);
    }

    function leafOf(bytes memory entry) internal pure returns (bytes memory) {
        bytes memory key = Bls.compress(slice(entry, 32, 224));
        return bytes.concat(slice(entry, 0, 32), key, slice(entry, 224, 257));
    }

    /// @dev p - c for both parts of a coordinate.
    function negated(bytes memory y) internal pure returns (bytes memory) {
        return bytes.concat(minus(slice(y, 0, 48)), minus(slice(y, 48, 96)));
    }

    function minus(bytes memory c) internal pure returns (bytes memory out) {
        bytes memory p =
            hex"1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
        out = new bytes(48);
        uint256 borrow;
        for (uint256 i = 48; i > 0; --i) {
            uint256 digit = 256 + uint8(p[i - 1]) - uint8(c[i - 1]) - borrow;
            borrow = digit < 256 ? 1 : 0;
            out[i - 1] = bytes1(uint8(digit));
        }
    }

    /// @dev By the precompile for powers (EIP-198).
    function test_reduceIsTheRemainder(uint256 high, uint256 low) public view {
        if (low % 3 == 0) high = type(uint256).max - (high % 4);
        bytes memory p =
            hex"1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
        bytes memory input = abi.encodePacked(uint256(64), uint256(1), uint256(64), high, low, uint8(1), bytes16(0), p);
        (bool ok, bytes memory answer) = address(5).staticcall(input);
        (uint256 a, uint256 b) = Bls.reduce(high, low);
        vm.assertTrue(ok);
        vm.assertEq(answer, abi.encode(a, b));
    }
}

/// @notice With the largest set, whose keys are in two contracts.
contract LargestSetTest is Validators {
    function genesisSet() internal pure override returns (string memory, uint256, uint256) {
        return ("largest", 0, 200);
    }

    function test_aQuorumCommits() public {
        register(0);
        pass(12);
        bytes memory data = certificate("largest");
        bytes memory other = bytes.concat(data);
        other[8 + 31 - 25] |= 0x01; // 200
        refuses(other, abi.encodeWithSelector(KeySets.UnknownValidator.selector, 200));
        other = bytes.concat(data);
        other[8 + 31 - 24] |= 0x80; // 199 as well
        refuses(other, abi.encodeWithSelector(ValidatorAuthority.NoQuorum.selector, 67, 66));
        commitCertified("largest");
    }
}
