// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Bls} from "./Bls.sol";
import {Kinds, Statements} from "./Statements.sol";

/// @notice Under which terms operators validate.
struct Terms {
    /// Who admits operators; zero: everyone may register.
    address admitter;
    /// The least bond, in wei.
    uint256 minBond;
    /// How long a bond stays after its validator has left, in seconds.
    uint48 unbonding;
    /// Who gets what is slashed.
    address treasury;
}

/// @notice An operator that a chain begins with.
struct Founder {
    bytes32 id;
    /// Who may register as it.
    address owner;
}

/// @title Who validates: operators with a bond in ETH, their keys, and what happens to those who sign twice.
/// @notice The *set at an L1 block* is every validator that was registered at its end and had not left by then. Consensus reads it at the L1
/// origin of the last checkpoint of epoch e, for epoch e + 2. Whoever leaves waits for `unbonding` before the bond comes back: until then
/// anyone may show two messages of one key that an honest validator never signs both, and the bond is gone.
///
/// It cannot be upgraded. Records are never deleted, so that the set at any block can be read at any time.
abstract contract ValidatorRegistry {
    /// @notice The most validators at a time.
    uint256 public constant MAX_VALIDATORS = 200;
    /// @notice The longest peer id, in bytes.
    uint256 public constant MAX_PEER_ID = 64;
    /// @notice The share of a slashed bond that goes to who reports, in percent. The rest goes to the treasury.
    uint256 public constant REPORTER_SHARE = 10;

    /// @notice The L2 chain id, which is in all that validators sign.
    uint64 public immutable chainId;
    /// @notice Who admits operators; zero: everyone may register.
    address public immutable admitter;
    /// @notice The least bond, in wei.
    uint256 public immutable minBond;
    /// @notice How long a bond stays after its validator has left, in seconds.
    uint48 public immutable unbonding;
    /// @notice Who gets what is slashed.
    address public immutable treasury;

    /// @notice A validator's keys, as they are given.
    struct Keys {
        /// The BLS key of its votes, 192 bytes (see `Bls`).
        bytes key;
        /// The signature of the compressed key under `Bls.POSSESSION`, 96 bytes.
        bytes possession;
        /// The key of its VRF.
        bytes32 vrf;
        /// Whether it also leads terms.
        bool sequencer;
        /// Its identity as a peer.
        bytes peerId;
    }

    /// @notice An operator.
    struct Member {
        /// Who registered, and is paid.
        address owner;
        /// When the bond can be withdrawn; 0 while it validates.
        uint48 withdrawableAt;
        /// Whether it validates now.
        bool active;
        /// Whether it was slashed; then it never registers again.
        bool slashed;
        /// The account that brings batches to L1, if it is a sequencer.
        address operator;
        /// In wei.
        uint96 bond;
    }

    /// @notice A validator from one L1 block on until another, without it.
    struct Record {
        uint48 since;
        /// The largest number while it stands.
        uint48 until;
        bool sequencer;
        bytes32 vrf;
        /// The BLS key, compressed, 96 bytes.
        bytes key;
        bytes peerId;
    }

    /// @dev How many validators there are from an L1 block on.
    struct Size {
        uint48 since;
        uint16 count;
    }

    /// @notice A validator of a set.
    struct Validator {
        bytes32 id;
        bytes key;
        bytes32 vrf;
        bool sequencer;
        bytes peerId;
        address operator;
        address owner;
    }

    /// @notice Where two votes were cast.
    struct Place {
        uint64 era;
        uint64 epoch;
        uint64 view_;
    }

    /// @notice A vote, as its signer signed it.
    struct Vote {
        uint8 kind;
        bytes32 digest;
        bytes signature;
    }

    /// @notice A leader's seal of a block.
    struct Seal {
        bytes32 blockHash;
        bytes signature;
    }

    /// @notice Where two seals were made.
    struct SealPlace {
        uint64 era;
        uint64 epoch;
        uint64 term;
        uint64 number;
    }

    /// @notice The owner that each id is admitted for, if any. On a chain without an admitter other ids are free.
    mapping(bytes32 id => address) public admitted;
    /// @notice How many validators that sequence name this account as theirs: if there are any, it may bring batches to L1 at any time.
    mapping(address operator => uint256) public sequencesFor;
    /// @notice What can be claimed, in wei: shares of slashed bonds.
    mapping(address account => uint256) public owed;
    /// @notice The sum of all bonds and of all that is owed.
    uint256 public total;

    mapping(bytes32 id => Member) private _members;
    mapping(bytes32 id => Record[]) private _records;
    /// @dev Every id that ever registered.
    bytes32[] private _ids;
    /// @dev A key is its first holder's for ever.
    mapping(bytes32 keyHash => bytes32 id) private _holders;
    /// @dev How many validators there were, by L1 block.
    Size[] private _sizes;

    /// @notice An id may register.
    event Admitted(bytes32 indexed id, address indexed owner);
    /// @notice A validator is in the set, with these keys, from this block on.
    event Registered(
        bytes32 indexed id, address indexed operator, bytes key, bytes32 vrf, bool sequencer, bytes peerId
    );
    /// @notice A validator is not in the set any more, from this block on.
    event Left(bytes32 indexed id, uint48 withdrawableAt);
    /// @notice A bond grew.
    event ToppedUp(bytes32 indexed id, uint256 amount);
    /// @notice A bond was paid back.
    event Withdrawn(bytes32 indexed id, uint256 amount);
    /// @notice A validator signed twice: its bond is gone.
    event Slashed(bytes32 indexed id, address indexed reporter, uint256 amount);
    /// @notice What was owed was paid.
    event Claimed(address indexed account, uint256 amount);

    /// @notice The caller is not the admitter.
    error NotAdmitter();
    /// @notice The id is zero, or not admitted for the caller, or another's, or was slashed, or its last bond is still here.
    error NotAdmitted(bytes32 id);
    /// @notice The caller is not the owner of this validator.
    error NotOwner(bytes32 id);
    /// @notice The validator is not in the set.
    error NotActive(bytes32 id);
    /// @notice The bond is less than `minBond`, or larger than all ETH.
    error InvalidBond(uint256 bond);
    /// @notice There are `MAX_VALIDATORS` already.
    error SetFull();
    /// @notice Another validator has, or had, this key.
    error KeyTaken();
    /// @notice The key's possession is not proven, or it is no key.
    error NotPossessed();
    /// @notice The peer id is empty or longer than `MAX_PEER_ID`.
    error InvalidPeerId();
    /// @notice There is no bond, or it stays for longer.
    error NotWithdrawable(uint256 until);
    /// @notice Nothing is owed to the caller.
    error NothingOwed();
    /// @notice An honest validator may sign both.
    error NoContradiction();
    /// @notice The key is not that of the record.
    error WrongKey();
    /// @notice A signature is not by this key.
    error WrongSignature();
    /// @notice There is no bond to slash: it was withdrawn, or slashed before.
    error NothingToSlash(bytes32 id);
    /// @notice These are not the validators of that block.
    error WrongSnapshot(uint256 index);
    /// @notice A setting makes no sense.
    error InvalidSetting();

    /// @param founders Who is admitted from the beginning.
    constructor(uint64 chainId_, Terms memory terms, Founder[] memory founders) {
        if (
            chainId_ == 0 || terms.minBond == 0 || terms.minBond > type(uint96).max || terms.unbonding == 0
                || terms.unbonding > 3650 days || terms.treasury == address(0)
        ) revert InvalidSetting();
        chainId = chainId_;
        admitter = terms.admitter;
        minBond = terms.minBond;
        unbonding = terms.unbonding;
        treasury = terms.treasury;
        for (uint256 i; i < founders.length; ++i) {
            _admit(founders[i].id, founders[i].owner);
        }
    }

    // --- membership ---

    /// @notice Lets `owner` register as `id`; zero takes that back. The admitter alone. Who is in the set stays there.
    function admit(bytes32 id, address owner) external {
        if (msg.sender != admitter) revert NotAdmitter();
        _admit(id, owner);
    }

    /// @notice Becomes a validator with the ETH sent as its bond.
    /// @param id The operator's id; consensus orders validators by it.
    /// @param operator The account that brings batches to L1.
    function register(bytes32 id, address operator, Keys calldata keys) external payable {
        Member storage member = _members[id];
        bool other = member.owner != address(0) && member.owner != msg.sender;
        if (id == 0 || other || member.slashed || member.bond != 0) revert NotAdmitted(id);
        address expected = admitted[id];
        bool free = admitter == address(0) && expected == address(0);
        if (!free && expected != msg.sender) revert NotAdmitted(id);
        if (msg.value < minBond || msg.value > type(uint96).max) revert InvalidBond(msg.value);
        uint256 count = size();
        if (count >= MAX_VALIDATORS) revert SetFull();
        if (member.owner == address(0)) _ids.push(id);
        member.owner = msg.sender;
        member.withdrawableAt = 0;
        member.active = true;
        member.bond = uint96(msg.value);
        total += msg.value;
        _resize(count + 1);
        _begin(id, member, operator, keys);
    }

    /// @notice Changes keys, operator, peer id or whether it sequences, from this block on. Its owner alone.
    function update(bytes32 id, address operator, Keys calldata keys) external {
        Member storage member = _owned(id);
        if (!member.active) revert NotActive(id);
        _end(id, member);
        _begin(id, member, operator, keys);
    }

    /// @notice Adds the ETH sent to the bond of a validator. Anyone.
    function topUp(bytes32 id) external payable {
        Member storage member = _members[id];
        if (!member.active) revert NotActive(id);
        uint256 bond = member.bond + msg.value;
        if (bond > type(uint96).max) revert InvalidBond(bond);
        member.bond = uint96(bond);
        total += msg.value;
        emit ToppedUp(id, msg.value);
    }

    /// @notice Leaves the set; the bond can be withdrawn after `unbonding`. Its owner alone.
    function exit(bytes32 id) external {
        Member storage member = _owned(id);
        if (!member.active) revert NotActive(id);
        _leave(id, member);
    }

    /// @notice Pays a bond back to the owner of a validator that left. Its owner alone.
    function withdraw(bytes32 id) external {
        Member storage member = _owned(id);
        uint256 until = member.active ? type(uint256).max : member.withdrawableAt;
        uint256 bond = member.bond;
        if (bond == 0 || block.timestamp < until) revert NotWithdrawable(until);
        member.bond = 0;
        total -= bond;
        emit Withdrawn(id, bond);
        Address.sendValue(payable(msg.sender), bond);
    }

    /// @notice Pays the caller what is owed to it.
    function claim() external {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert NothingOwed();
        owed[msg.sender] = 0;
        total -= amount;
        emit Claimed(msg.sender, amount);
        Address.sendValue(payable(msg.sender), amount);
    }

    // --- evidence ---

    /// @notice Slashes a validator that signed two votes of one view that contradict each other: of one kind on two digests, or Finalize and Skip.
    /// Anyone, as long as the bond is here.
    /// @param record Which of its records has the key.
    /// @param key The key, 192 bytes.
    function slashVotes(
        bytes32 id,
        uint256 record,
        bytes calldata key,
        Place calldata place,
        Vote calldata a,
        Vote calldata b
    ) external {
        bool twice = a.kind == b.kind && a.digest != b.digest;
        bool both = a.kind == Kinds.FINALIZE && b.kind == Kinds.SKIP;
        if (!(twice || both) || !_wellFormed(a) || !_wellFormed(b)) revert NoContradiction();
        _checkKey(id, record, key);
        _checkVote(key, place, a);
        _checkVote(key, place, b);
        _slash(id);
    }

    /// @notice Slashes a validator that sealed two blocks of one number in one term. Whether it led the term does not matter: an honest
    /// validator seals none unless it does. Anyone, as long as the bond is here.
    function slashSeals(
        bytes32 id,
        uint256 record,
        bytes calldata key,
        SealPlace calldata place,
        Seal calldata a,
        Seal calldata b
    ) external {
        if (a.blockHash == b.blockHash) revert NoContradiction();
        _checkKey(id, record, key);
        _checkSeal(key, place, a);
        _checkSeal(key, place, b);
        _slash(id);
    }

    // --- views ---

    /// @notice What is known of an operator.
    function memberOf(bytes32 id) external view returns (Member memory) {
        return _members[id];
    }

    /// @notice The records of an operator, oldest first.
    function recordsOf(bytes32 id) external view returns (Record[] memory) {
        return _records[id];
    }

    /// @notice How many validators there are now.
    function size() public view returns (uint256) {
        return _sizes.length == 0 ? 0 : _sizes[_sizes.length - 1].count;
    }

    /// @notice The set now, by id.
    function validators() external view returns (Validator[] memory) {
        return setAt(uint48(block.number));
    }

    /// @notice The set at the end of an L1 block, by id. Operators and owners are those of now.
    function setAt(uint48 number) public view returns (Validator[] memory list) {
        list = new Validator[](_sizeAt(number));
        uint256 count;
        for (uint256 i; i < _ids.length && count < list.length; ++i) {
            bytes32 id = _ids[i];
            (bool found, uint256 index) = _recordAt(id, number);
            if (!found) continue;
            // Insert by id.
            uint256 place = count++;
            for (; place > 0 && list[place - 1].id > id; --place) {
                list[place] = list[place - 1];
            }
            Record storage record = _records[id][index];
            Member storage member = _members[id];
            list[place] = Validator({
                id: id,
                key: record.key,
                vrf: record.vrf,
                sequencer: record.sequencer,
                peerId: record.peerId,
                operator: member.operator,
                owner: member.owner
            });
        }
    }

    // --- within ---

    function _admit(bytes32 id, address owner) private {
        admitted[id] = owner;
        emit Admitted(id, owner);
    }

    /// @dev Reverts unless these are the validators of the set at an L1 block, all of them.
    /// @param leaves For each, by id: id (32) ‖ compressed key (96) ‖ VRF key (32) ‖ sequencer (1), as a set's hash has them.
    function _checkSet(uint48 number, bytes memory leaves) internal view {
        uint256 count = leaves.length / 161;
        if (count != _sizeAt(number)) revert WrongSnapshot(count);
        for (uint256 i; i < count; ++i) {
            bytes32 id;
            bytes32 hash;
            assembly ("memory-safe") {
                let leaf := add(add(leaves, 32), mul(i, 161))
                id := mload(leaf)
                hash := keccak256(leaf, 161)
            }
            (bool found, uint256 index) = _recordAt(id, number);
            if (!found) revert WrongSnapshot(i);
            Record storage record = _records[id][index];
            if (hash != keccak256(abi.encodePacked(id, record.key, record.vrf, record.sequencer))) {
                revert WrongSnapshot(i);
            }
        }
    }

    function _owned(bytes32 id) private view returns (Member storage member) {
        member = _members[id];
        if (msg.sender != member.owner) revert NotOwner(id);
    }

    /// @dev Opens a record with new keys.
    function _begin(bytes32 id, Member storage member, address operator, Keys calldata keys) private {
        if (keys.peerId.length == 0 || keys.peerId.length > MAX_PEER_ID) revert InvalidPeerId();
        bytes memory compressed = Bls.compress(keys.key);
        bytes32 holder = _holders[keccak256(compressed)];
        if (holder != 0 && holder != id) revert KeyTaken();
        _holders[keccak256(compressed)] = id;
        if (!Bls.verify(keys.key, compressed, Bls.POSSESSION, keys.possession)) revert NotPossessed();
        member.operator = operator;
        if (keys.sequencer) ++sequencesFor[operator];
        _records[id].push(
            Record({
                since: uint48(block.number),
                until: type(uint48).max,
                sequencer: keys.sequencer,
                vrf: keys.vrf,
                key: compressed,
                peerId: keys.peerId
            })
        );
        emit Registered(id, operator, compressed, keys.vrf, keys.sequencer, keys.peerId);
    }

    /// @dev Closes the record that stands.
    function _end(bytes32 id, Member storage member) private {
        Record storage record = _records[id][_records[id].length - 1];
        record.until = uint48(block.number);
        if (record.sequencer) --sequencesFor[member.operator];
    }

    function _leave(bytes32 id, Member storage member) private {
        _end(id, member);
        member.active = false;
        member.withdrawableAt = uint48(block.timestamp) + unbonding;
        _resize(size() - 1);
        emit Left(id, member.withdrawableAt);
    }

    function _resize(uint256 count) private {
        uint256 length = _sizes.length;
        if (length > 0 && _sizes[length - 1].since == block.number) _sizes[length - 1].count = uint16(count);
        else _sizes.push(Size(uint48(block.number), uint16(count)));
    }

    /// @dev How many validators there were at the end of an L1 block.
    function _sizeAt(uint48 number) private view returns (uint256) {
        (uint256 low, uint256 high) = (0, _sizes.length);
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_sizes[middle].since <= number) low = middle + 1;
            else high = middle;
        }
        return low == 0 ? 0 : _sizes[low - 1].count;
    }

    /// @dev The record of `id` that stood at the end of an L1 block.
    function _recordAt(bytes32 id, uint48 number) private view returns (bool found, uint256 index) {
        Record[] storage records = _records[id];
        (uint256 low, uint256 high) = (0, records.length);
        // How many begin by then. Of those only the last can stand.
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (records[middle].since <= number) low = middle + 1;
            else high = middle;
        }
        if (low == 0) return (false, 0);
        return (records[low - 1].until > number, low - 1);
    }

    /// @dev Skip alone is on no digest.
    function _wellFormed(Vote calldata vote) private pure returns (bool) {
        return
            vote.kind >= Kinds.PROPOSAL && vote.kind <= Kinds.FINALIZE
                && (vote.kind == Kinds.SKIP) == (vote.digest == 0);
    }

    function _checkKey(bytes32 id, uint256 record, bytes calldata key) private view {
        Record[] storage records = _records[id];
        if (record >= records.length || keccak256(Bls.compress(key)) != keccak256(records[record].key)) {
            revert WrongKey();
        }
    }

    function _checkVote(bytes calldata key, Place calldata place, Vote calldata vote) private view {
        bytes memory statement = Statements.vote(vote.kind, chainId, place.era, place.epoch, place.view_, vote.digest);
        if (!Bls.verify(key, statement, Bls.VOTES, vote.signature)) revert WrongSignature();
    }

    function _checkSeal(bytes calldata key, SealPlace calldata place, Seal calldata seal) private view {
        bytes memory statement =
            Statements.seal(chainId, place.era, place.epoch, place.term, place.number, seal.blockHash);
        if (!Bls.verify(key, statement, Bls.VOTES, seal.signature)) revert WrongSignature();
    }

    /// @dev Takes the whole bond, and the validator out of the set.
    function _slash(bytes32 id) private {
        Member storage member = _members[id];
        uint256 bond = member.bond;
        if (bond == 0) revert NothingToSlash(id);
        if (member.active) _leave(id, member);
        member.slashed = true;
        member.bond = 0;
        uint256 share = bond * REPORTER_SHARE / 100;
        owed[msg.sender] += share;
        owed[treasury] += bond - share;
        emit Slashed(id, msg.sender, bond);
    }
}
