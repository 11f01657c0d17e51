// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ICommitAuthority} from "../../src/l1/ICommitAuthority.sol";
import {Rollup} from "../../src/l1/Rollup.sol";
import {RewardVault} from "../../src/l1/validators/RewardVault.sol";
import {ValidatorAuthority} from "../../src/l1/validators/ValidatorAuthority.sol";
import {Founder, Terms, ValidatorRegistry} from "../../src/l1/validators/ValidatorRegistry.sol";
import {Chain} from "./Chain.sol";

/// @notice A chain with validators, and their keys and signatures as `crates/avc/tests/l1.rs` made them.
abstract contract Validators is Chain {
    uint256 internal constant ENTRY = 257;
    uint256 internal constant BOND = 32 ether;
    uint48 internal constant UNBONDING = 21 days;
    uint256 internal constant REWARD = 0.01 ether;

    string internal json;
    /// All 200 of them, as sets are published.
    bytes internal everyone;
    address internal treasury = account("treasury");
    address internal committer = account("committer");

    ValidatorAuthority internal validators;
    RewardVault internal vault;

    function setUp() public virtual override {
        json = vm.readFile("test/fixtures/validators.json");
        everyone = vm.parseJsonBytes(json, "$.validators");
        super.setUp();
        vault = new RewardVault(rollup, validators, REWARD);
    }

    /// @dev The set that the chain begins with: its name, and from which validator until before which.
    function genesisSet() internal pure virtual returns (string memory, uint256, uint256) {
        return ("seven", 0, 7);
    }

    function nobody() internal pure returns (Founder[] memory) {}

    function terms() internal view virtual returns (Terms memory) {
        return Terms({admitter: address(0), minBond: BOND, unbonding: UNBONDING, treasury: treasury});
    }

    function makeAuthority() internal virtual override returns (ICommitAuthority) {
        (string memory name, uint256 from, uint256 until) = genesisSet();
        validators = new ValidatorAuthority(CHAIN_ID, address(rollup), hashOfSet(name), terms(), nobody());
        validators.publish(slice(everyone, ENTRY * from, ENTRY * until));
        return validators;
    }

    // --- vectors ---

    function hashOfSet(string memory name) internal view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat("$.", name));
    }

    function setOf(uint256 from, uint256 until) internal view returns (bytes memory) {
        return slice(everyone, ENTRY * from, ENTRY * until);
    }

    function certificate(string memory name) internal view returns (bytes memory) {
        return vm.parseJsonBytes(json, string.concat("$.certificates.", name));
    }

    function idOf(uint256 index) internal view returns (bytes32) {
        return bytes32(slice(everyone, ENTRY * index, ENTRY * index + 32));
    }

    function keyOf(uint256 index) internal view returns (bytes memory) {
        return slice(everyone, ENTRY * index + 32, ENTRY * index + 224);
    }

    /// @dev What a validator registers with; the first twelve have proofs of possession.
    function keysOf(uint256 index) internal view returns (ValidatorRegistry.Keys memory keys) {
        keys.key = keyOf(index);
        keys.possession = vm.parseJsonBytes(json, string.concat("$.possessions[", vm.toString(index), "]"));
        keys.vrf = bytes32(slice(everyone, ENTRY * index + 224, ENTRY * index + 256));
        keys.sequencer = index % 3 == 0;
        keys.peerId = abi.encodePacked("peer ", vm.toString(index));
    }

    function ownerOf(uint256 index) internal pure returns (address) {
        return account(string.concat("owner ", vm.toString(index)));
    }

    function register(uint256 index) internal {
        address owner = ownerOf(index);
        vm.deal(owner, owner.balance + BOND);
        ValidatorRegistry.Keys memory keys = keysOf(index);
        bytes32 id = idOf(index);
        vm.prank(owner);
        validators.register{value: BOND}(id, committer, keys);
    }

    function slice(bytes memory data, uint256 start, uint256 end) internal pure returns (bytes memory part) {
        part = new bytes(end - start);
        assembly ("memory-safe") {
            mcopy(add(part, 32), add(add(data, 32), start), sub(end, start))
        }
    }

    // --- commits ---

    /// @dev Commits the next batch with a certificate, by the operator.
    function commitCertified(string memory name) internal returns (uint64 index) {
        Rollup.Commit memory c = request(0);
        index = expectBatch(c, 1, 1);
        bytes memory data = certificate(name);
        carry(1);
        vm.prank(committer);
        rollup.commit(c, data);
        vm.assertEq(rollup.batchAt(index).batchHash, hashOf(index), "batch hash");
    }

    /// @dev Expects that the next commit with this certificate is refused.
    function refuses(bytes memory data, bytes memory reason) internal {
        refuses(committer, data, reason);
    }

    function refuses(address from, bytes memory data, bytes memory reason) internal {
        Rollup.Commit memory c = request(0);
        carry(1);
        vm.prank(from);
        vm.expectRevert(reason);
        rollup.commit(c, data);
    }
}
