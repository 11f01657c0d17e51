// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bls} from "./Bls.sol";

/// @title Validator sets' keys, by the hash of the set, in contracts' code.
/// @notice The hash of a set, as `crates/avc` has it, is keccak256("jove/avc/1/set" ‖ for each validator by id: id ‖ compressed key ‖ VRF key ‖
/// sequencer), 161 bytes each. Whoever publishes a set gives uncompressed keys; they are compressed here, so that the hash says that they are the
/// same. Keys that are published are on the curve; that they are in the subgroup, and that their secrets are known, was checked where they
/// came into a set: by `ValidatorRegistry`.
///
/// Code holds a zero byte, so that it can do nothing, and 127 points of 192 bytes, the most that EIP-170 allows; point 0 is the opposite of the sum
/// of all keys, point i + 1 the key of validator i. Sets with more have a second contract. Ids are in a contract of their own.
abstract contract KeySets {
    /// @dev The most validators of a set.
    uint256 private constant MOST = 200;
    /// @dev A validator as it is published: id, key, VRF key, sequencer.
    uint256 internal constant ENTRY = 32 + Bls.KEY + 32 + 1;
    /// @dev And in the hash.
    uint256 internal constant LEAF = 32 + Bls.COMPRESSED + 32 + 1;
    uint256 private constant POINTS = 127;
    /// @dev The size of code that has no room for another point.
    uint256 internal constant FULL = 1 + POINTS * Bls.KEY;

    struct KeySet {
        /// The first 127 points.
        address points;
        /// The other points, if there are any.
        address more;
        /// The ids, 32 bytes each.
        address ids;
    }

    mapping(bytes32 setHash => KeySet) private _sets;

    /// @notice The keys of a set were published.
    event KeysPublished(bytes32 indexed setHash, uint256 size);

    /// @notice The bytes are not 1 to 200 validators.
    error InvalidSetSize(uint256 length);
    /// @notice The ids do not ascend, or a flag is neither 0 nor 1.
    error InvalidSet(uint256 index);
    /// @notice The keys of this set were not published.
    error UnknownSet(bytes32 setHash);
    /// @notice There is no validator with this index.
    error UnknownValidator(uint256 index);
    /// @notice The code could not be created.
    error CreationFailed();

    /// @notice Publishes the keys of a set. Anyone, for any set: what a set is good for is said elsewhere, by its hash.
    /// @param validators By id: id (32) ‖ key (192) ‖ VRF key (32) ‖ sequencer (1).
    function publish(bytes calldata validators) external returns (bytes32 setHash) {
        (setHash,) = _publish(validators);
    }

    /// @notice The contracts with a set's keys; zero if they were not published.
    function keysOf(bytes32 setHash) external view returns (KeySet memory) {
        return _sets[setHash];
    }

    /// @dev Publishes a set, unless it was before.
    /// @return setHash Its hash.
    /// @return leaves The validators as the hash has them.
    function _publish(bytes calldata validators) internal returns (bytes32 setHash, bytes memory leaves) {
        uint256 size = validators.length / ENTRY;
        if (size == 0 || size > MOST || validators.length % ENTRY != 0) {
            revert InvalidSetSize(validators.length);
        }
        leaves = new bytes(size * LEAF);
        bytes memory points = new bytes((size + 1) * Bls.KEY);
        bytes memory ids = new bytes(size * 32);
        bytes memory room = Bls.newRoom();
        bytes32 previous;
        for (uint256 i; i < size; ++i) {
            bytes calldata entry = validators[i * ENTRY:(i + 1) * ENTRY];
            bytes32 id = bytes32(entry);
            if ((i > 0 && id <= previous) || uint8(entry[ENTRY - 1]) > 1) revert InvalidSet(i);
            previous = id;
            uint256 key;
            uint256 leaf = i * LEAF;
            assembly ("memory-safe") {
                mstore(add(add(ids, 32), mul(i, 32)), id)
                key := add(add(points, 224), mul(i, 192))
                calldatacopy(key, add(entry.offset, 32), 192)
                leaf := add(add(leaves, 32), leaf)
                mstore(leaf, id)
                calldatacopy(add(leaf, 128), add(entry.offset, 224), 33)
            }
            Bls.putCompressed(key, leaf + 32);
            Bls.addKey(room, key);
        }
        setHash = keccak256(abi.encodePacked("jove/avc/1/set", leaves));
        if (_sets[setHash].points != address(0)) return (setHash, leaves);
        uint256 first;
        assembly ("memory-safe") {
            first := add(points, 32)
        }
        Bls.putOpposite(room, first);
        uint256 split = size + 1 < POINTS ? points.length : POINTS * Bls.KEY;
        _sets[setHash] = KeySet({
            points: _store(points, 0, split),
            more: split == points.length ? address(0) : _store(points, split, points.length),
            ids: _store(ids, 0, ids.length)
        });
        emit KeysPublished(setHash, size);
    }

    /// @dev The contract with the first points of a set. Reverts if it was not published.
    function _pointsOf(bytes32 setHash) internal view returns (address points) {
        points = _sets[setHash].points;
        if (points == address(0)) revert UnknownSet(setHash);
    }

    /// @dev The contract with the other points of a set.
    function _moreOf(bytes32 setHash) internal view returns (address) {
        return _sets[setHash].more;
    }

    /// @dev The opposite of the sum of the keys of a set but those that are `absent`.
    /// @param points The contract with the first points of the set.
    /// @param more The one with the others, if the first is full.
    /// @param absent Bit i for validator i.
    /// @return room As `Bls.verifyOpposite` wants it.
    /// @return size How many validators the set has.
    /// @return missing How many of them are absent.
    function _present(address points, address more, uint256 absent)
        internal
        view
        returns (bytes memory room, uint256 size, uint256 missing)
    {
        size = points.code.length / Bls.KEY - 1;
        if (more != address(0)) size += more.code.length / Bls.KEY;
        if (absent >> size != 0) revert UnknownValidator(_highest(absent));
        room = Bls.newRoom();
        Bls.setFrom(room, points, 1);
        // Validator i is point i + 1.
        uint256 first = absent & ((1 << (POINTS - 1)) - 1);
        missing = Bls.addFrom(room, points, 1 + Bls.KEY, first);
        if (first != absent) missing += Bls.addFrom(room, more, 1, absent >> (POINTS - 1));
    }

    /// @dev The id of a validator of a published set.
    function _idOf(bytes32 setHash, uint256 index) internal view returns (bytes32 id) {
        address ids = _sets[setHash].ids;
        if (1 + 32 * index >= ids.code.length) revert UnknownValidator(index);
        assembly ("memory-safe") {
            extcodecopy(ids, 0, add(1, mul(32, index)), 32)
            id := mload(0)
        }
    }

    /// @dev The index of the highest bit of a number that is not zero (EIP-7939).
    function _highest(uint256 bits) private pure returns (uint256 index) {
        assembly ("memory-safe") {
            index := sub(255, clz(bits))
        }
    }

    /// @dev Creates a contract whose code is a zero byte and `data` from `start` to `end`.
    function _store(bytes memory data, uint256 start, uint256 end) private returns (address created) {
        uint256 length = end - start;
        // PUSH2 size, DUP1, PUSH1 10, RETURNDATASIZE, CODECOPY, RETURNDATASIZE, RETURN: what follows these ten bytes is the code.
        bytes memory creation = abi.encodePacked(hex"61", uint16(length + 1), hex"80600a3d393df300", new bytes(length));
        assembly ("memory-safe") {
            mcopy(add(creation, 43), add(add(data, 32), start), length)
            created := create(0, add(creation, 32), mload(creation))
        }
        if (created == address(0)) revert CreationFailed();
    }
}
