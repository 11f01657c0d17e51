// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ICommitAuthority} from "../ICommitAuthority.sol";
import {Bls} from "./Bls.sol";
import {KeySets} from "./KeySets.sol";
import {Kinds, Statements} from "./Statements.sol";
import {Founder, Terms, ValidatorRegistry} from "./ValidatorRegistry.sol";

/// @title The authority of a chain with validators: a batch ends at a checkpoint that a quorum of its epoch's set has finalized.
/// @notice A commit brings the checkpoint and its FinalCert (`crates/avc/src/l1.rs` has the bytes):
///
/// | bytes | what |
/// |---|---|
/// | 8 | the view of the FinalCert |
/// | 32 | who did not sign, bit i for validator i |
/// | 96 | the sum of the signatures |
/// | 8, 8, 8, 2, 80, 32 | of the checkpoint: epoch, height, view, proposer, VRF proof, parent's digest |
/// | 1, and that many (at most 25) | who signed the parent's certificate |
/// | 32, 40, 8, 32, 32, 32 | state root, L1 origin, set version, set hash, weight root, evidence root |
/// | 1, or 65 | 0; or 1, in an epoch's last checkpoint, and hash and weight root of the set two epochs on |
///
/// Chain id, era, number and hash of the last block are known, and put back. *Epochs*: epochs 0 and 1 of era 0 have the set of the deployment. The last
/// checkpoint of epoch e says what set epoch e + 2 has, where e ends and e + 1 begins; once such a commit has landed, that is kept for good, whatever
/// becomes of the batch: no other checkpoint can be final there. A batch lies within one epoch. *Eras*: after a batch of messages alone, at L1 origin o, epochs
/// 0 and 1 of the next era have the registry's set at o, which anyone brings here.
contract ValidatorAuthority is ICommitAuthority, KeySets, ValidatorRegistry {
    // Where the parts of a certificate are.
    uint256 private constant ABSENT = 8;
    uint256 private constant SIGNATURE = 40;
    uint256 private constant CHECKPOINT = 136;
    uint256 private constant PROPOSER = 160;
    uint256 private constant SIGNERS = 274;
    uint256 private constant MAX_SIGNERS = 25;
    // And what follows the signers of the parent's certificate.
    uint256 private constant VERSION = 72;
    uint256 private constant NEXT = 176;

    /// @notice The rollup that it speaks for.
    address public immutable rollup;

    /// @notice What is known of an epoch.
    struct Epoch {
        /// The first block that it can have; 0 if that is not known yet.
        uint48 firstBlock;
        /// Its last block; 0 if that is not known yet.
        uint48 lastBlock;
        /// The keys of its set, once they were needed.
        address points;
        /// Its set; 0 if that is not known yet.
        bytes32 setHash;
    }

    /// @dev A checkpoint whose FinalCert was verified.
    struct Certified {
        uint64 epoch;
        /// The blocks of that epoch, as far as they are known.
        uint48 firstBlock;
        uint48 lastBlock;
        /// Where the keys of its set are, if that is news.
        address points;
        uint16 proposer;
        /// Whether it ends its epoch, and then the set two epochs on.
        bool ends;
        bytes32 next;
    }

    mapping(uint256 eraAndEpoch => Epoch) private _epochs;
    /// @notice The L1 origin whose set an era begins with; 0 for era 0.
    mapping(uint64 era => uint64) public originOf;

    /// @notice An epoch has ended, with this block; the epoch after the next has this set.
    event EpochEnded(uint64 indexed era, uint64 indexed epoch, uint64 lastBlock, bytes32 setHash);
    /// @notice An era has begun; its epochs 0 and 1 have the registry's set at this L1 block.
    event EraBegun(uint64 indexed era, uint64 origin);
    /// @notice The set that an era begins with is here.
    event EraReady(uint64 indexed era, bytes32 setHash);

    /// @notice The caller is not the rollup.
    error NotRollup();
    /// @notice The bytes are no checkpoint and FinalCert, or its version is not its epoch.
    error MalformedCertificate();
    /// @notice The epoch's set, or where it begins, is not known here: a batch before must land first, or `begin` be called.
    error UnknownEpoch(uint64 era, uint64 epoch);
    /// @notice The batch is not within the epoch of its checkpoint.
    error OutsideEpoch(uint64 era, uint64 epoch);
    /// @notice More are absent than may be.
    error NoQuorum(uint256 absent, uint256 most);
    /// @notice The signature is not by these validators on this checkpoint.
    error NotCertified();
    /// @notice Another end of this epoch was certified before: validators signed both.
    error ContradictingEnds(uint64 era, uint64 epoch);
    /// @notice The era is not one that waits for its set.
    error NothingToBegin(uint64 era);
    /// @notice No validator of the set leads.
    error NoSequencer();

    /// @param genesisSet The hash of the set of epochs 0 and 1.
    constructor(uint64 chainId_, address rollup_, bytes32 genesisSet, Terms memory terms, Founder[] memory founders)
        ValidatorRegistry(chainId_, terms, founders)
    {
        if (rollup_ == address(0) || genesisSet == 0) revert InvalidSetting();
        rollup = rollup_;
        _start(0, genesisSet);
    }

    modifier onlyRollup() {
        if (msg.sender != rollup) revert NotRollup();
        _;
    }

    /// @inheritdoc ICommitAuthority
    function check(
        address committer,
        uint64 era,
        uint64 firstBlock,
        uint64 lastBlock,
        bytes32 lastBlockHash,
        bytes calldata certificate
    ) external onlyRollup returns (bool operator) {
        Certified memory certified = _verify(era, lastBlock, lastBlockHash, certificate);
        _checkWithin(era, certified, firstBlock, lastBlock);
        if (certified.points != address(0)) _epochs[_key(era, certified.epoch)].points = certified.points;
        if (certified.ends) _end(era, certified.epoch, lastBlock, certified.next);
        return sequencesFor[committer] != 0;
    }

    /// @inheritdoc ICommitAuthority
    function restart(uint64 era, uint64 origin) external onlyRollup {
        originOf[era] = origin;
        emit EraBegun(era, origin);
    }

    /// @notice Brings the set that an era begins with: the registry's at the origin of the batch that began the era. Anyone.
    /// @param validators As `publish` takes them.
    function begin(uint64 era, bytes calldata validators) external {
        uint64 origin = originOf[era];
        if (origin == 0 || _epochs[_key(era, 0)].firstBlock != 0) revert NothingToBegin(era);
        (bytes32 setHash, bytes memory leaves) = _publish(validators);
        _checkSet(uint48(origin), leaves);
        bool led;
        for (uint256 i = LEAF; i <= leaves.length; i += LEAF) {
            led = led || leaves[i - 1] != 0;
        }
        if (!led) revert NoSequencer();
        _start(era, setHash);
        emit EraReady(era, setHash);
    }

    /// @notice What is known of an epoch.
    function epochAt(uint64 era, uint64 epoch) external view returns (Epoch memory) {
        return _epochs[_key(era, epoch)];
    }

    /// @notice The id of the validator that proposed a final checkpoint. Reverts if it is not final.
    function proposerOf(uint64 era, uint64 lastBlock, bytes32 lastBlockHash, bytes calldata certificate)
        external
        view
        returns (bytes32 id)
    {
        Certified memory certified = _verify(era, lastBlock, lastBlockHash, certificate);
        _checkWithin(era, certified, lastBlock, lastBlock);
        return _idOf(_epochs[_key(era, certified.epoch)].setHash, certified.proposer);
    }

    /// @dev Reverts unless these blocks are within the epoch of a checkpoint, as far as that is known.
    function _checkWithin(uint64 era, Certified memory certified, uint64 firstBlock, uint64 lastBlock) private pure {
        (uint48 first, uint48 last) = (certified.firstBlock, certified.lastBlock);
        if (first == 0) revert UnknownEpoch(era, certified.epoch);
        if (firstBlock < first || (last != 0 && lastBlock > last)) revert OutsideEpoch(era, certified.epoch);
    }

    function _key(uint64 era, uint64 epoch) private pure returns (uint256) {
        return uint256(era) << 64 | epoch;
    }

    /// @dev Epochs 0 and 1 of an era.
    function _start(uint64 era, bytes32 setHash) private {
        Epoch storage epoch = _epochs[_key(era, 0)];
        epoch.firstBlock = 1; // a batch's parent says the rest
        epoch.setHash = setHash;
        _epochs[_key(era, 1)].setHash = setHash;
    }

    function _end(uint64 era, uint64 epoch, uint64 lastBlock, bytes32 setHash) private {
        Epoch storage ended = _epochs[_key(era, epoch)];
        Epoch storage later = _epochs[_key(era, epoch + 2)];
        if (ended.lastBlock == 0) {
            ended.lastBlock = uint48(lastBlock);
            _epochs[_key(era, epoch + 1)].firstBlock = uint48(lastBlock) + 1;
            later.setHash = setHash;
            emit EpochEnded(era, epoch, lastBlock, setHash);
        } else if (ended.lastBlock != lastBlock || later.setHash != setHash) {
            revert ContradictingEnds(era, epoch);
        }
    }

    /// @dev Reverts unless the checkpoint that ends with this block is final in its epoch. Whether the epoch has this block is not looked at.
    function _verify(uint64 era, uint64 lastBlock, bytes32 lastBlockHash, bytes calldata certificate)
        private
        view
        returns (Certified memory certified)
    {
        uint256 rest;
        (certified, rest) = _parse(certificate);
        bytes memory statement = Statements.vote(
            Kinds.FINALIZE,
            chainId,
            era,
            certified.epoch,
            uint64(_word(certificate, 0) >> 192),
            _digest(era, lastBlock, lastBlockHash, certificate, rest)
        );
        bytes memory room = _signers(era, certified, _word(certificate, ABSENT));
        if (!Bls.verifyOpposite(room, statement, Bls.VOTES, certificate[SIGNATURE:CHECKPOINT], false)) {
            revert NotCertified();
        }
    }

    /// @dev What a certificate says.
    /// @return certified That.
    /// @return rest Where its second part of the checkpoint begins.
    function _parse(bytes calldata certificate) private pure returns (Certified memory certified, uint256 rest) {
        unchecked {
            if (certificate.length <= SIGNERS) revert MalformedCertificate();
            uint256 signers = _word(certificate, SIGNERS) >> 248;
            rest = SIGNERS + 1 + signers;
            if (signers > MAX_SIGNERS || certificate.length <= rest + NEXT) revert MalformedCertificate();
            uint64 epoch = uint64(_word(certificate, CHECKPOINT) >> 192);
            uint256 flag = _word(certificate, rest + NEXT) >> 248;
            if (
                flag > 1 || certificate.length != rest + NEXT + 1 + 64 * flag
                    || _word(certificate, rest + VERSION) >> 192 != epoch
            ) revert MalformedCertificate();
            certified.epoch = epoch;
            certified.proposer = uint16(_word(certificate, PROPOSER) >> 240);
            certified.ends = flag == 1;
            if (flag == 1) certified.next = bytes32(_word(certificate, rest + NEXT + 1));
        }
    }

    /// @dev The digest of the checkpoint of which a certificate has the parts before and after the last block.
    /// @param rest Where the second part begins.
    function _digest(uint64 era, uint64 lastBlock, bytes32 lastBlockHash, bytes calldata certificate, uint256 rest)
        private
        view
        returns (bytes32 digest)
    {
        uint64 chain = chainId;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, "jove/avc/1/checkpoint")
            mstore(add(free, 21), shl(192, chain))
            mstore(add(free, 29), shl(192, era))
            let length := sub(rest, CHECKPOINT)
            calldatacopy(add(free, 37), add(certificate.offset, CHECKPOINT), length)
            let place := add(add(free, 37), length)
            mstore(place, shl(192, lastBlock))
            mstore(add(place, 8), lastBlockHash)
            length := sub(certificate.length, rest)
            calldatacopy(add(place, 40), add(certificate.offset, rest), length)
            digest := keccak256(free, sub(add(add(place, 40), length), free))
        }
    }

    /// @dev The opposite of the sum of the keys of an epoch's set but those of the absent. Reverts if there is no quorum. Notes what is known of the epoch.
    function _signers(uint64 era, Certified memory certified, uint256 absent) private view returns (bytes memory room) {
        Epoch storage known = _epochs[_key(era, certified.epoch)];
        address points;
        (certified.firstBlock, certified.lastBlock, points) = (known.firstBlock, known.lastBlock, known.points);
        if (points == address(0)) {
            bytes32 setHash = known.setHash;
            if (setHash == 0) revert UnknownEpoch(era, certified.epoch);
            points = _pointsOf(setHash);
            certified.points = points;
        }
        address more = points.code.length == FULL ? _moreOf(known.setHash) : address(0);
        uint256 size;
        uint256 missing;
        (room, size, missing) = _present(points, more, absent);
        uint256 faults = (size - 1) / 3;
        if (missing > faults) revert NoQuorum(missing, faults);
    }

    function _word(bytes calldata data, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(data.offset, offset))
        }
    }
}
