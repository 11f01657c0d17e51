// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bls} from "../src/l1/validators/Bls.sol";
import {RewardVault} from "../src/l1/validators/RewardVault.sol";
import {ValidatorAuthority} from "../src/l1/validators/ValidatorAuthority.sol";
import {Founder, Terms, ValidatorRegistry} from "../src/l1/validators/ValidatorRegistry.sol";
import {Caller} from "./utils/Caller.sol";
import {Validators} from "./utils/Validators.sol";

/// @notice Who is in the set at which block, bonds, keys, evidence.
contract ValidatorRegistryTest is Validators {
    /// Where validator 2 signed twice: see `crates/avc/tests/l1.rs`.
    ValidatorRegistry.Place internal votePlace = ValidatorRegistry.Place(0, 4, 17);
    ValidatorRegistry.SealPlace internal sealPlace = ValidatorRegistry.SealPlace(0, 4, 2, 1000);
    address internal reporter = account("reporter");

    function now_() internal view returns (uint48) {
        return uint48(vm.getBlockNumber());
    }

    function assertSet(uint48 number, uint256[] memory indexes) internal view {
        ValidatorRegistry.Validator[] memory list = validators.setAt(number);
        vm.assertEq(list.length, indexes.length, "size");
        for (uint256 i; i < list.length; ++i) {
            vm.assertEq(list[i].id, idOf(indexes[i]));
            vm.assertEq(list[i].key, Bls.compress(keyOf(indexes[i])));
        }
    }

    function those() internal pure returns (uint256[] memory list) {}

    function those(uint256 a) internal pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = a;
    }

    function those(uint256 a, uint256 b) internal pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function those(uint256 a, uint256 b, uint256 c) internal pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function exit(uint256 index) internal {
        bytes32 id = idOf(index);
        vm.prank(ownerOf(index));
        validators.exit(id);
    }

    function withdraw(uint256 index) internal {
        bytes32 id = idOf(index);
        vm.prank(ownerOf(index));
        validators.withdraw(id);
    }

    function update(uint256 index, ValidatorRegistry.Keys memory keys) internal {
        bytes32 id = idOf(index);
        vm.prank(ownerOf(index));
        validators.update(id, committer, keys);
    }

    // --- sets ---

    /// @dev The set at a block is what it was at that block's end, whatever happens later, in the order of ids.
    function test_setsAtBlocks() public {
        uint48 start = now_();
        register(5);
        register(3);
        pass(12);
        register(4);
        exit(5);
        pass(12);
        exit(3);
        pass(12);
        register(6);
        exit(6); // never at a block's end
        assertSet(start - 1, those());
        assertSet(start, those(3, 5));
        assertSet(start + 1, those(3, 4));
        assertSet(start + 2, those(4));
        assertSet(start + 3, those(4));
        vm.assertEq(validators.size(), 1);
        pass(UNBONDING);
        withdraw(5);
        withdraw(3);
        assertSet(start, those(3, 5));
        register(5);
        assertSet(now_(), those(4, 5));
        assertSet(now_() - 1, those(4));
        vm.assertEq(validators.validators().length, 2);
    }

    function test_aValidatorAsItRegistered() public {
        register(3);
        ValidatorRegistry.Validator memory v = validators.validators()[0];
        vm.assertEq(v.vrf, keysOf(3).vrf);
        vm.assertTrue(v.sequencer);
        vm.assertEq(v.peerId, "peer 3");
        vm.assertEq(v.operator, committer);
        vm.assertEq(v.owner, ownerOf(3));
        vm.assertEq(validators.sequencesFor(committer), 1);
        ValidatorRegistry.Member memory member = validators.memberOf(idOf(3));
        vm.assertTrue(member.active && !member.slashed && member.bond == BOND);
        ValidatorRegistry.Record[] memory records = validators.recordsOf(idOf(3));
        vm.assertTrue(records.length == 1 && records[0].since == now_() && records[0].until == type(uint48).max);
    }

    /// @dev 200 seats, of which this has 12 proofs of possession: the others are filled by storing the count.
    function test_theSetIsBounded() public {
        register(0);
        bytes32 slot = keccak256(abi.encode(sizesSlot()));
        uint256 word = uint256(vm.load(address(validators), slot));
        vm.assertEq(word >> 48, 1, "one validator");
        vm.store(address(validators), slot, bytes32(uint256(now_()) | 199 << 48));
        vm.assertEq(validators.size(), 199);
        register(1);
        ValidatorRegistry.Keys memory keys = keysOf(2);
        bytes32 id = idOf(2);
        vm.deal(alice, BOND);
        vm.prank(alice);
        vm.expectRevert(ValidatorRegistry.SetFull.selector);
        validators.register{value: BOND}(id, committer, keys);
    }

    /// @dev The slot of the list of sizes: the one whose length has grown to one.
    function sizesSlot() internal view returns (uint256 slot) {
        uint256 since = now_();
        for (; slot < 32; ++slot) {
            if (uint256(vm.load(address(validators), bytes32(slot))) != 1) continue;
            uint256 word = uint256(vm.load(address(validators), keccak256(abi.encode(slot))));
            if (word == (since | 1 << 48)) return slot;
        }
        revert("no sizes");
    }

    // --- registration ---

    function refusesToRegister(
        address owner,
        bytes32 id,
        uint256 bond,
        ValidatorRegistry.Keys memory keys,
        bytes memory reason
    ) internal {
        vm.deal(owner, bond);
        vm.prank(owner);
        vm.expectRevert(reason);
        validators.register{value: bond}(id, committer, keys);
    }

    function test_bondsHaveBounds() public {
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes32 id = idOf(0);
        refusesToRegister(
            alice, id, BOND - 1, keys, abi.encodeWithSelector(ValidatorRegistry.InvalidBond.selector, BOND - 1)
        );
        uint256 most = type(uint96).max;
        refusesToRegister(
            alice, id, most + 1, keys, abi.encodeWithSelector(ValidatorRegistry.InvalidBond.selector, most + 1)
        );
        vm.deal(alice, most);
        vm.prank(alice);
        validators.register{value: most}(id, committer, keys);
        vm.deal(bob, 1);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.InvalidBond.selector, most + 1));
        validators.topUp{value: 1}(id);
    }

    function test_idsAreTheirFirstOwners() public {
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes32 id = idOf(0);
        refusesToRegister(
            alice, bytes32(0), BOND, keys, abi.encodeWithSelector(ValidatorRegistry.NotAdmitted.selector, bytes32(0))
        );
        register(0);
        bytes memory refused = abi.encodeWithSelector(ValidatorRegistry.NotAdmitted.selector, id);
        refusesToRegister(alice, id, BOND, keysOf(1), refused);
        refusesToRegister(ownerOf(0), id, BOND, keys, refused);
        exit(0);
        refusesToRegister(ownerOf(0), id, BOND, keys, refused); // the bond is still here
        pass(UNBONDING);
        withdraw(0);
        refusesToRegister(alice, id, BOND, keysOf(1), refused);
        register(0);
    }

    function test_keysAreOneHoldersForEver() public {
        register(0);
        bytes memory taken = abi.encodePacked(ValidatorRegistry.KeyTaken.selector);
        refusesToRegister(alice, idOf(1), BOND, keysOf(0), taken);
        exit(0);
        pass(UNBONDING);
        withdraw(0);
        refusesToRegister(alice, idOf(1), BOND, keysOf(0), taken);
    }

    function test_possessionIsProven() public {
        bytes32 id = idOf(0);
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes memory refused = abi.encodePacked(ValidatorRegistry.NotPossessed.selector);
        // Another's proof.
        keys.possession = keysOf(1).possession;
        refusesToRegister(alice, id, BOND, keys, refused);
        // A key made of others', to cancel one in a sum: its holder can sign for its own part alone.
        keys = keysOf(10);
        keys.key = vm.parseJsonBytes(json, "$.rogue");
        refusesToRegister(alice, id, BOND, keys, refused);
        // A vote is no proof: another domain.
        keys = keysOf(2);
        keys.possession = vm.parseJsonBytes(json, "$.votes.skip");
        refusesToRegister(alice, id, BOND, keys, refused);
        // Points at infinity, outside of their subgroup, off the curve, or of other lengths.
        keys = keysOf(0);
        keys.possession = new bytes(96);
        refusesToRegister(alice, id, BOND, keys, refused);
        keys.possession = vm.parseJsonBytes(json, "$.signatureOutside");
        refusesToRegister(alice, id, BOND, keys, refused);
        keys.possession = bytes.concat(keysOf(0).possession, hex"00");
        refusesToRegister(alice, id, BOND, keys, refused);
        keys = keysOf(0);
        keys.key = new bytes(192);
        refusesToRegister(alice, id, BOND, keys, refused);
        keys.possession = new bytes(96);
        refusesToRegister(alice, id, BOND, keys, refused);
        keys = keysOf(0);
        keys.key = vm.parseJsonBytes(json, "$.keyOutside");
        refusesToRegister(alice, id, BOND, keys, refused);
        keys = keysOf(0);
        keys.key[191] ^= 0x01;
        refusesToRegister(alice, id, BOND, keys, refused);
        keys.key = new bytes(191);
        refusesToRegister(alice, id, BOND, keys, abi.encodePacked(Bls.InvalidPoint.selector));
        keys = keysOf(0);
        vm.deal(alice, BOND);
        vm.prank(alice);
        validators.register{value: BOND}(id, committer, keys);
    }

    /// @dev No other bit of key or proof will do.
    function test_anyOtherBitOfTheKeysIsRefused(uint256 bit) public {
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bit = bound(bit, 0, 288 * 8 - 1);
        if (bit < 192 * 8) keys.key[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        else keys.possession[bit / 8 - 192] ^= bytes1(uint8(1 << (bit % 8)));
        refusesToRegister(alice, idOf(0), BOND, keys, abi.encodePacked(ValidatorRegistry.NotPossessed.selector));
    }

    function test_peerIdsAreBounded() public {
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes memory refused = abi.encodePacked(ValidatorRegistry.InvalidPeerId.selector);
        keys.peerId = "";
        refusesToRegister(alice, idOf(0), BOND, keys, refused);
        keys.peerId = new bytes(65);
        refusesToRegister(alice, idOf(0), BOND, keys, refused);
    }

    // --- admission ---

    function test_anAdmitterAdmits() public {
        Founder[] memory founders = new Founder[](1);
        founders[0] = Founder(idOf(3), ownerOf(3));
        validators = new ValidatorAuthority(
            CHAIN_ID, address(rollup), keccak256("set"), Terms(council, BOND, UNBONDING, treasury), founders
        );
        bytes32 id = idOf(0);
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes memory refused = abi.encodeWithSelector(ValidatorRegistry.NotAdmitted.selector, id);
        refusesToRegister(ownerOf(0), id, BOND, keys, refused);
        vm.prank(alice);
        vm.expectRevert(ValidatorRegistry.NotAdmitter.selector);
        validators.admit(id, alice);
        vm.prank(council);
        validators.admit(id, ownerOf(0));
        refusesToRegister(alice, id, BOND, keys, refused);
        register(0);
        register(3); // from the beginning
        exit(3);
        // Taken back: it stays in the set, but does not come back.
        vm.prank(council);
        validators.admit(id, address(0));
        vm.assertEq(validators.size(), 1);
        exit(0);
        pass(UNBONDING);
        withdraw(0);
        refusesToRegister(ownerOf(0), id, BOND, keys, refused);
    }

    /// @dev Where everyone may register, the ids of those that the chain began with are still theirs.
    function test_foundersIdsAreReserved() public {
        Founder[] memory founders = new Founder[](1);
        founders[0] = Founder(idOf(3), ownerOf(3));
        validators = new ValidatorAuthority(CHAIN_ID, address(rollup), keccak256("set"), terms(), founders);
        bytes memory refused = abi.encodeWithSelector(ValidatorRegistry.NotAdmitted.selector, idOf(3));
        refusesToRegister(alice, idOf(3), BOND, keysOf(3), refused);
        register(3);
        register(4);
    }

    function test_settingsMakeSense() public {
        bytes4 invalid = ValidatorRegistry.InvalidSetting.selector;
        Terms[5] memory bad = [
            Terms(council, 0, UNBONDING, treasury),
            Terms(council, uint256(type(uint96).max) + 1, UNBONDING, treasury),
            Terms(council, BOND, 0, treasury),
            Terms(council, BOND, 3651 days, treasury),
            Terms(council, BOND, UNBONDING, address(0))
        ];
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(invalid);
            new ValidatorAuthority(CHAIN_ID, address(rollup), keccak256("set"), bad[i], nobody());
        }
        vm.expectRevert(invalid);
        new ValidatorAuthority(0, address(rollup), keccak256("set"), terms(), nobody());
        vm.expectRevert(invalid);
        new ValidatorAuthority(CHAIN_ID, address(0), keccak256("set"), terms(), nobody());
        vm.expectRevert(invalid);
        new ValidatorAuthority(CHAIN_ID, address(rollup), 0, terms(), nobody());
        vm.expectRevert(RewardVault.InvalidSetting.selector);
        new RewardVault(rollup, validators, 0);
    }

    // --- changes ---

    function test_keysRotate() public {
        register(0);
        vm.assertEq(validators.sequencesFor(committer), 1);
        pass(12);
        ValidatorRegistry.Keys memory keys = keysOf(7);
        keys.sequencer = false;
        update(0, keys);
        vm.assertEq(validators.sequencesFor(committer), 0);
        ValidatorRegistry.Validator memory v = validators.setAt(now_())[0];
        vm.assertEq(v.id, idOf(0));
        vm.assertEq(v.key, Bls.compress(keyOf(7)));
        vm.assertEq(v.sequencer, false);
        v = validators.setAt(now_() - 1)[0];
        vm.assertEq(v.key, Bls.compress(keyOf(0)));
        vm.assertEq(v.sequencer, true);
        // Twice in one block, and back to the key that it had.
        update(0, keysOf(0));
        vm.assertEq(validators.setAt(now_())[0].key, Bls.compress(keyOf(0)));
        vm.assertEq(validators.sequencesFor(committer), 1);
        vm.assertEq(validators.recordsOf(idOf(0)).length, 3);
        // Another operator.
        bytes32 id = idOf(0);
        keys = keysOf(0);
        vm.prank(ownerOf(0));
        validators.update(id, alice, keys);
        vm.assertEq(validators.sequencesFor(committer), 0);
        vm.assertEq(validators.sequencesFor(alice), 1);
    }

    function test_onlyTheOwnerChanges() public {
        register(0);
        bytes32 id = idOf(0);
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes memory refused = abi.encodeWithSelector(ValidatorRegistry.NotOwner.selector, id);
        vm.startPrank(alice);
        vm.expectRevert(refused);
        validators.update(id, alice, keys);
        vm.expectRevert(refused);
        validators.exit(id);
        vm.expectRevert(refused);
        validators.withdraw(id);
        vm.stopPrank();
    }

    function test_whoHasLeftChangesNothing() public {
        register(0);
        exit(0);
        bytes32 id = idOf(0);
        ValidatorRegistry.Keys memory keys = keysOf(0);
        bytes memory refused = abi.encodeWithSelector(ValidatorRegistry.NotActive.selector, id);
        vm.deal(ownerOf(0), 1);
        vm.startPrank(ownerOf(0));
        vm.expectRevert(refused);
        validators.update(id, committer, keys);
        vm.expectRevert(refused);
        validators.exit(id);
        vm.expectRevert(refused);
        validators.topUp{value: 1}(id);
        vm.stopPrank();
    }

    function test_bondsComeBackAfterTheUnbonding() public {
        register(0);
        bytes32 id = idOf(0);
        vm.deal(alice, 1 ether);
        vm.prank(alice);
        validators.topUp{value: 1 ether}(id);
        vm.prank(ownerOf(0));
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.NotWithdrawable.selector, type(uint256).max));
        validators.withdraw(id);
        exit(0);
        uint256 until = vm.getBlockTimestamp() + UNBONDING;
        vm.warp(until - 1);
        vm.prank(ownerOf(0));
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.NotWithdrawable.selector, until));
        validators.withdraw(id);
        vm.warp(until);
        withdraw(0);
        vm.assertEq(ownerOf(0).balance, BOND + 1 ether);
        vm.assertEq(address(validators).balance, 0);
        vm.prank(ownerOf(0));
        vm.expectRevert(abi.encodeWithSelector(ValidatorRegistry.NotWithdrawable.selector, until));
        validators.withdraw(id);
    }

    // --- evidence ---

    function vote(string memory name, uint8 kind, bytes32 digest)
        internal
        view
        returns (ValidatorRegistry.Vote memory)
    {
        return ValidatorRegistry.Vote(kind, digest, vm.parseJsonBytes(json, string.concat("$.votes.", name)));
    }

    function seal(string memory name) internal view returns (ValidatorRegistry.Seal memory) {
        return ValidatorRegistry.Seal(keccak256(bytes(name)), vm.parseJsonBytes(json, string.concat("$.seals.", name)));
    }

    function slash(ValidatorRegistry.Vote memory a, ValidatorRegistry.Vote memory b) internal {
        bytes32 id = idOf(2);
        bytes memory key = keyOf(2);
        vm.prank(reporter);
        validators.slashVotes(id, 0, key, votePlace, a, b);
    }

    function refusesToSlash(ValidatorRegistry.Vote memory a, ValidatorRegistry.Vote memory b, bytes4 reason) internal {
        refusesToSlash(a, b, abi.encodePacked(reason));
    }

    function refusesToSlash(ValidatorRegistry.Vote memory a, ValidatorRegistry.Vote memory b, bytes memory reason)
        internal
    {
        bytes32 id = idOf(2);
        bytes memory key = keyOf(2);
        vm.expectRevert(reason);
        validators.slashVotes(id, 0, key, votePlace, a, b);
    }

    function assertSlashed(uint256 bond) internal {
        ValidatorRegistry.Member memory member = validators.memberOf(idOf(2));
        vm.assertTrue(member.slashed && !member.active && member.bond == 0, "slashed");
        vm.assertEq(validators.owed(reporter), bond / 10);
        vm.assertEq(validators.owed(treasury), bond - bond / 10);
        vm.assertEq(validators.sequencesFor(committer), 0);
        bytes32 id = idOf(2);
        bytes memory refused = abi.encodeWithSelector(ValidatorRegistry.NotAdmitted.selector, id);
        refusesToRegister(ownerOf(2), id, BOND, keysOf(2), refused);
        vm.prank(reporter);
        validators.claim();
        vm.prank(treasury);
        validators.claim();
        vm.assertEq(reporter.balance, bond / 10);
        vm.assertEq(treasury.balance, bond - bond / 10);
        vm.assertEq(address(validators).balance, 0);
        vm.prank(reporter);
        vm.expectRevert(ValidatorRegistry.NothingOwed.selector);
        validators.claim();
    }

    function test_twoVotesOfOneKind() public {
        string[4] memory names = ["proposal", "buddy", "notarize", "finalize"];
        uint8[4] memory kinds = [1, 2, 3, 5];
        for (uint256 i; i < 4; ++i) {
            makeAuthority();
            register(2);
            ValidatorRegistry.Vote memory a = vote(string.concat(names[i], "A"), kinds[i], keccak256("a"));
            ValidatorRegistry.Vote memory b = vote(string.concat(names[i], "B"), kinds[i], keccak256("b"));
            refusesToSlash(a, a, ValidatorRegistry.NoContradiction.selector);
            slash(b, a);
            vm.assertTrue(validators.memberOf(idOf(2)).slashed);
            refusesToSlash(a, b, abi.encodeWithSelector(ValidatorRegistry.NothingToSlash.selector, idOf(2)));
        }
        assertSlashed(BOND);
    }

    function test_finalizeAndSkip() public {
        register(2);
        ValidatorRegistry.Vote memory finalize = vote("finalizeA", 5, keccak256("a"));
        ValidatorRegistry.Vote memory skip = vote("skip", 4, 0);
        refusesToSlash(skip, finalize, ValidatorRegistry.NoContradiction.selector); // in this order
        slash(finalize, skip);
        assertSlashed(BOND);
    }

    function test_twoSeals() public {
        register(2);
        bytes32 id = idOf(2);
        bytes memory key = keyOf(2);
        vm.expectRevert(ValidatorRegistry.NoContradiction.selector);
        validators.slashSeals(id, 0, key, sealPlace, seal("a"), seal("a"));
        ValidatorRegistry.SealPlace memory other = sealPlace;
        ++other.number;
        vm.expectRevert(ValidatorRegistry.WrongSignature.selector);
        validators.slashSeals(id, 0, key, other, seal("a"), seal("b"));
        vm.prank(reporter);
        validators.slashSeals(id, 0, key, sealPlace, seal("a"), seal("b"));
        assertSlashed(BOND);
    }

    /// @dev What an honest validator may sign.
    function test_whatIsNoEvidence() public {
        register(2);
        bytes4 none = ValidatorRegistry.NoContradiction.selector;
        ValidatorRegistry.Vote memory notarizeA = vote("notarizeA", 3, keccak256("a"));
        // Different kinds.
        refusesToSlash(notarizeA, vote("finalizeB", 5, keccak256("b")), none);
        refusesToSlash(notarizeA, vote("skip", 4, 0), none);
        // Another view.
        refusesToSlash(notarizeA, vote("notarizeLater", 3, keccak256("b")), ValidatorRegistry.WrongSignature.selector);
        // Kinds that there are not; a Skip of something; a vote on nothing.
        ValidatorRegistry.Vote memory a = vote("notarizeA", 0, keccak256("a"));
        ValidatorRegistry.Vote memory b = vote("notarizeB", 0, keccak256("b"));
        refusesToSlash(a, b, none);
        (a.kind, b.kind) = (6, 6);
        refusesToSlash(a, b, none);
        (a.kind, b.kind) = (4, 4);
        refusesToSlash(a, b, none);
        (a.kind, b.kind, b.digest) = (3, 3, 0);
        refusesToSlash(a, b, none);
        // A signature by another, or under another domain.
        b = vote("notarizeB", 3, keccak256("b"));
        b.signature = keysOf(2).possession;
        refusesToSlash(notarizeA, b, ValidatorRegistry.WrongSignature.selector);
        vm.assertEq(validators.memberOf(idOf(2)).bond, BOND);
    }

    function test_evidenceIsByTheKeyOfARecord() public {
        register(2);
        register(1);
        ValidatorRegistry.Vote memory a = vote("notarizeA", 3, keccak256("a"));
        ValidatorRegistry.Vote memory b = vote("notarizeB", 3, keccak256("b"));
        (bytes32 id1, bytes32 id2) = (idOf(1), idOf(2));
        (bytes memory key1, bytes memory key2) = (keyOf(1), keyOf(2));
        vm.expectRevert(ValidatorRegistry.WrongKey.selector);
        validators.slashVotes(id1, 0, key2, votePlace, a, b);
        vm.expectRevert(ValidatorRegistry.WrongKey.selector);
        validators.slashVotes(id2, 1, key2, votePlace, a, b);
        vm.expectRevert(ValidatorRegistry.WrongSignature.selector);
        validators.slashVotes(id1, 0, key1, votePlace, a, b);
        // A rotation does not wash: the old record has the old key.
        update(2, keysOf(7));
        bytes memory key7 = keyOf(7);
        vm.expectRevert(ValidatorRegistry.WrongKey.selector);
        validators.slashVotes(id2, 1, key2, votePlace, a, b);
        vm.expectRevert(ValidatorRegistry.WrongSignature.selector);
        validators.slashVotes(id2, 1, key7, votePlace, a, b);
        slash(a, b);
        vm.assertTrue(validators.memberOf(id2).slashed);
        vm.assertEq(validators.size(), 1);
    }

    /// @dev Until the bond is withdrawn, and no longer.
    function test_evidenceWithinTheUnbonding() public {
        ValidatorRegistry.Vote memory a = vote("notarizeA", 3, keccak256("a"));
        ValidatorRegistry.Vote memory b = vote("notarizeB", 3, keccak256("b"));
        register(2);
        exit(2);
        pass(UNBONDING);
        uint256 before = vm.getBlockTimestamp();
        slash(a, b);
        assertSlashed(BOND);
        vm.warp(before);
        bytes32 id = idOf(2);
        vm.prank(ownerOf(2));
        vm.expectRevert();
        validators.withdraw(id);
    }

    function test_evidenceAfterTheBondIsGone() public {
        register(2);
        exit(2);
        pass(UNBONDING);
        withdraw(2);
        refusesToSlash(
            vote("notarizeA", 3, keccak256("a")),
            vote("notarizeB", 3, keccak256("b")),
            abi.encodeWithSelector(ValidatorRegistry.NothingToSlash.selector, idOf(2))
        );
    }

    /// @dev Who takes no ETH holds up nobody but itself.
    function test_anOwnerThatTakesNothing() public {
        Caller owner = new Caller();
        ValidatorRegistry.Keys memory keys = keysOf(0);
        vm.deal(address(this), BOND);
        owner.call{value: BOND}(
            address(validators), BOND, abi.encodeCall(validators.register, (idOf(0), committer, keys))
        );
        owner.call(address(validators), 0, abi.encodeCall(validators.exit, (idOf(0))));
        pass(UNBONDING);
        owner.close();
        bytes memory data = abi.encodeCall(validators.withdraw, (idOf(0)));
        vm.expectRevert();
        owner.call(address(validators), 0, data);
        vm.assertEq(validators.total(), BOND);
    }
}

/// @notice Plays owners, reporters and the treasury, and keeps its own books.
contract RegistryHandler is Validators {
    uint256 public bonds;
    uint256 public owedSum;
    uint256 public slashes;
    uint256 public withdrawals;
    uint256 internal constant COUNT = 6;
    address[] internal reporters;

    constructor() {
        setUp();
        reporters.push(account("reporter"));
        reporters.push(treasury);
    }

    function registerOne(uint256 seed, uint256 extra) external {
        uint256 index = seed % COUNT;
        ValidatorRegistry.Member memory member = validators.memberOf(idOf(index));
        bool can = !member.slashed && member.bond == 0;
        uint256 bond = BOND + extra % 5 ether;
        bytes32 id = idOf(index);
        ValidatorRegistry.Keys memory keys = keysOf(index);
        vm.deal(ownerOf(index), bond);
        vm.prank(ownerOf(index));
        try validators.register{value: bond}(id, committer, keys) {
            vm.assertTrue(can, "registered twice");
            bonds += bond;
        } catch {
            vm.assertFalse(can, "cannot register");
        }
    }

    function updateOne(uint256 seed) external {
        uint256 index = seed % COUNT;
        if (!validators.memberOf(idOf(index)).active) return;
        ValidatorRegistry.Keys memory keys = keysOf(index);
        keys.sequencer = seed % 7 < 4;
        bytes32 id = idOf(index);
        vm.prank(ownerOf(index));
        validators.update(id, committer, keys);
    }

    function topUp(uint256 seed, uint256 amount) external {
        bytes32 id = idOf(seed % COUNT);
        if (!validators.memberOf(id).active) return;
        amount = amount % 3 ether;
        vm.deal(alice, amount);
        vm.prank(alice);
        validators.topUp{value: amount}(id);
        bonds += amount;
    }

    function exit(uint256 seed) external {
        uint256 index = seed % COUNT;
        bytes32 id = idOf(index);
        bool can = validators.memberOf(id).active;
        vm.prank(ownerOf(index));
        try validators.exit(id) {
            vm.assertTrue(can, "left twice");
        } catch {
            vm.assertFalse(can, "cannot leave");
        }
    }

    function withdraw(uint256 seed) external {
        uint256 index = seed % COUNT;
        bytes32 id = idOf(index);
        ValidatorRegistry.Member memory member = validators.memberOf(id);
        bool can = member.bond > 0 && !member.active && vm.getBlockTimestamp() >= member.withdrawableAt;
        uint256 before = ownerOf(index).balance;
        vm.prank(ownerOf(index));
        try validators.withdraw(id) {
            vm.assertTrue(can, "withdrawn too early");
            vm.assertEq(ownerOf(index).balance - before, member.bond);
            bonds -= member.bond;
            ++withdrawals;
        } catch {
            vm.assertFalse(can, "cannot withdraw");
        }
    }

    function slash() external {
        bytes32 id = idOf(2);
        bytes memory key = keyOf(2);
        uint256 bond = validators.memberOf(id).bond;
        ValidatorRegistry.Vote memory a =
            ValidatorRegistry.Vote(3, keccak256("a"), vm.parseJsonBytes(json, "$.votes.notarizeA"));
        ValidatorRegistry.Vote memory b =
            ValidatorRegistry.Vote(3, keccak256("b"), vm.parseJsonBytes(json, "$.votes.notarizeB"));
        vm.prank(reporters[0]);
        try validators.slashVotes(id, 0, key, ValidatorRegistry.Place(0, 4, 17), a, b) {
            vm.assertTrue(bond > 0);
            bonds -= bond;
            owedSum += bond;
            ++slashes;
        } catch {
            vm.assertEq(bond, 0, "cannot slash");
        }
    }

    function claim(uint256 seed) external {
        address who = reporters[seed % 2];
        uint256 amount = validators.owed(who);
        vm.prank(who);
        try validators.claim() {
            owedSum -= amount;
        } catch {
            vm.assertEq(amount, 0, "cannot claim");
        }
    }

    function wait(uint256 time) external {
        pass(bound(time, 1, 14 days));
    }

    // --- what must hold ---

    function check() external view {
        vm.assertEq(address(validators).balance, bonds + owedSum, "bonds and what is owed are what it holds");
        vm.assertEq(validators.total(), bonds + owedSum, "total");
        uint256 bonded;
        uint256 active;
        uint256 sequencers;
        for (uint256 i; i < COUNT; ++i) {
            ValidatorRegistry.Member memory member = validators.memberOf(idOf(i));
            bonded += member.bond;
            if (member.active) ++active;
            vm.assertTrue(!member.active || member.bond >= BOND, "a validator without a bond");
            vm.assertTrue(!member.slashed || member.bond == 0, "a bond after slashing");
        }
        vm.assertEq(bonded, bonds);
        ValidatorRegistry.Validator[] memory set = validators.validators();
        vm.assertEq(set.length, active, "the set");
        vm.assertEq(validators.size(), active, "size");
        for (uint256 i; i < set.length; ++i) {
            if (set[i].sequencer) ++sequencers;
            vm.assertTrue(i == 0 || set[i - 1].id < set[i].id, "order");
        }
        vm.assertEq(validators.sequencesFor(committer), sequencers, "sequencers");
    }
}

/// @notice Bonds and what is owed are what the contract holds; the set is who is active: after any sequence of the handler's actions.
contract RegistryInvariantsTest is Validators {
    RegistryHandler internal handler;

    function setUp() public override {
        handler = new RegistryHandler();
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
        list[0].selectors = new bytes4[](9);
        list[0].selectors[0] = RegistryHandler.registerOne.selector;
        list[0].selectors[1] = RegistryHandler.updateOne.selector;
        list[0].selectors[2] = RegistryHandler.topUp.selector;
        list[0].selectors[3] = RegistryHandler.exit.selector;
        list[0].selectors[4] = RegistryHandler.withdraw.selector;
        list[0].selectors[5] = RegistryHandler.slash.selector;
        list[0].selectors[6] = RegistryHandler.claim.selector;
        list[0].selectors[7] = RegistryHandler.wait.selector;
        list[0].selectors[8] = RegistryHandler.registerOne.selector;
    }

    /// forge-config: default.invariant.runs = 12
    /// forge-config: default.invariant.depth = 40
    function invariant_booksAndSet() public view {
        handler.check();
    }

    /// @dev The handler reaches what the invariant is about.
    function test_handlerReachesEverything() public {
        for (uint256 i; i < 6; ++i) {
            handler.registerOne(i, i);
            handler.updateOne(i);
            handler.topUp(i, 1 ether);
        }
        handler.registerOne(0, 0);
        handler.exit(0);
        handler.exit(0);
        handler.exit(2);
        handler.slash();
        handler.slash();
        handler.claim(0);
        handler.claim(0);
        handler.withdraw(0);
        handler.wait(14 days - 1);
        handler.wait(14 days - 1);
        handler.withdraw(0);
        handler.registerOne(0, 0);
        handler.registerOne(2, 0);
        handler.check();
        vm.assertEq(handler.slashes(), 1);
        vm.assertEq(handler.withdrawals(), 1);
    }
}
