// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Messages} from "../common/Messages.sol";
import {Batch, Batches} from "./Batches.sol";
import {Bridge} from "./Bridge.sol";
import {Deployer, Governed} from "./Governed.sol";
import {ICommitAuthority} from "./ICommitAuthority.sol";
import {Inbox} from "./Inbox.sol";
import {Prover} from "./IProofVerifier.sol";
import {IRollup, Phase} from "./IRollup.sol";
import {Kzg, Opening} from "./Kzg.sol";
import {Origins} from "./Origins.sol";
import {Pause} from "./Pause.sol";
import {Proofs, ProofSystem, Submission, Verdict} from "./Proofs.sol";

/// @notice What a chain's rollup never changes but by an upgrade. Times in seconds.
struct Settings {
    /// The L2 chain id.
    uint64 chainId;
    /// Refuses test verifiers and delays below the production ones.
    bool production;
    /// T1: after it without a timely commit by the operators, anyone may commit certified batches.
    uint48 silenceDelay;
    /// T2: after it anyone may commit queued messages alone.
    uint48 messageDelay;
    /// A batch without a proof can be dropped after it.
    uint48 dropDelay;
    /// Z: the escape can begin after it.
    uint48 escapeDelay;
    /// In L1 blocks: a commit with an older origin counts as silence.
    uint64 originLag;
    /// The L2's forks and settings, which every batch names. A fork of the L2 is an upgrade here.
    bytes32 configHash;
}

/// @notice The contracts around a rollup.
struct Parts {
    address timelock;
    Proofs proofs;
    ICommitAuthority authority;
    Inbox inbox;
    Bridge bridge;
    address outbox;
    address escapeHatch;
    Pause pause;
    Origins origins;
}

/// @title The chain of batches: committed, proven, final.
/// @notice A batch is committed with its data in blobs, proven by anyone by one of two systems, and final by the rules of `Proofs`, in order.
/// There are three pointers, `finalIndex` ≤ `provenIndex` ≤ `headIndex`; dropping batches moves them back, in constant time. What was proven
/// is kept by batch hash, so it survives a drop. docs/settlement.md has every rule and format.
contract Rollup is IRollup, Governed, Initializable {
    /// @notice The most blobs of a batch (a transaction of EIP-7594's fork carries no more).
    uint256 public constant MAX_BLOBS = 6;
    /// @notice The most batches of a proof.
    uint256 public constant MAX_RANGE = 64;
    /// @dev Slots for the details of batches that are used again once these are final, and for outputs of final batches: a slot's second use costs a quarter of the
    /// first.
    uint64 private constant RING = 256;

    /// @notice What was proven.
    Proofs public immutable proofs;
    /// @notice Who says which blocks the chain has.
    ICommitAuthority public immutable authority;
    /// @notice The queue of messages.
    Inbox public immutable inbox;
    /// @notice The vault.
    Bridge public immutable bridge;
    /// @notice What executes messages from L2.
    address public immutable outbox;
    /// @notice What pays after a halt.
    address public immutable escapeHatch;
    /// @notice The pause, which stops finality.
    Pause public immutable pause;
    /// @notice Hashes of L1 blocks.
    Origins public immutable origins;

    /// @notice The L2 chain id.
    uint64 public immutable chainId;
    /// @notice T1, in seconds.
    uint48 public immutable silenceDelay;
    /// @notice T2, in seconds.
    uint48 public immutable messageDelay;
    /// @notice After this many seconds without a proof a batch can be dropped.
    uint48 public immutable dropDelay;
    /// @notice Z, in seconds.
    uint48 public immutable escapeDelay;
    /// @notice A commit with an origin that is more L1 blocks old counts as silence.
    uint64 public immutable originLag;
    /// @notice The forks and settings that new batches name.
    bytes32 public immutable configHash;

    /// @notice What a committer says of a batch; the rest is known here.
    struct Commit {
        /// The batch that it follows: guards against another commit that came first.
        bytes32 parentBatchHash;
        bytes32 lastBlockHash;
        uint64 lastBlock;
        uint64 lastTimestamp;
        uint64 endMessage;
        uint64 originNumber;
        bytes32 originHash;
    }

    /// @notice What a prover says of a batch.
    struct Claim {
        Batch batch;
        bytes32[] blobs;
        Opening[] openings;
        /// Whether the batch breaks the rules; then the roots are not read.
        bool invalid;
        bytes32 stateRoot;
        bytes32 outboxRoot;
    }

    /// @notice A proof of consecutive batches.
    struct Proof {
        ProofSystem system;
        /// The output before the first batch: final, or proven.
        bytes32 start;
        /// Whom the prover wants paid; part of the statement, so that nobody can take the proof.
        address payout;
        Claim[] claims;
        bytes proof;
    }

    /// @notice What an output is made of besides its batch.
    struct Roots {
        bool invalid;
        bytes32 stateRoot;
        bytes32 outboxRoot;
    }

    /// @notice The genesis of the L2.
    struct Genesis {
        bytes32 blockHash;
        bytes32 stateRoot;
        bytes32 outboxRoot;
        /// The sum of all balances, in wei: sent along and locked.
        uint256 supply;
    }

    /// @notice A committed batch.
    struct Stored {
        bytes32 batchHash;
        bytes32 lastBlockHash;
        uint64 committedAt;
        uint64 lastBlock;
        uint64 endMessage;
        uint64 originNumber;
    }

    /// @dev What is kept of a batch besides its hash, as long as it is not below the last final one.
    struct Details {
        bytes32 lastBlockHash;
        /// Five numbers of 48 bits, see `INDEX` and what follows it.
        uint256 numbers;
    }

    // The numbers of `Details`, by their lowest bit.
    uint256 private constant INDEX = 0;
    uint256 private constant COMMITTED_AT = 48;
    uint256 private constant LAST_BLOCK = 96;
    uint256 private constant END_MESSAGE = 144;
    uint256 private constant ORIGIN = 192;

    // One slot: all that a commit asks, and that becomes another when a batch is final. No number of a batch is larger than 48 bits: there are not as many L1 blocks.
    /// @inheritdoc IRollup
    Phase public phase;
    /// @dev See `headIndex`, `provenIndex`, `finalIndex`, `era`, `finalAt`.
    uint48 private _head;
    uint48 private _proven;
    uint48 private _final;
    uint16 private _era;
    uint40 private _finalAt;
    /// @notice When the operators last committed in time.
    uint40 public operatorAt;
    /// @dev Whether `conflictIndex` is above the last final batch: if not, it need not be read.
    bool private _conflict;

    /// @notice The highest batch whose proofs contradict each other, or 0; open while above `finalIndex`.
    uint64 public conflictIndex;
    /// @notice When the last conflict was over.
    uint48 public conflictEndedAt;

    /// @dev Outputs of the last final batches, each at its index modulo `RING`. What needs a root brings what an output is made of.
    bytes32[RING] private _finalOutputs;
    /// @inheritdoc IRollup
    bytes32 public finalStateRoot;

    /// @notice The sum of the genesis balances, in wei.
    uint256 public genesisSupply;

    mapping(uint64 index => bytes32 batchHash) private _batches;
    /// @dev By place, see `_placeFor`.
    mapping(uint256 place => Details) private _details;
    /// @notice When a valid output of this batch was first proven; 0 if none was.
    mapping(bytes32 batchHash => uint48) public firstProofAt;
    /// @notice The batch whose valid output this is, once it was proven: a proof of the next batch may start from it.
    mapping(bytes32 output => bytes32 batchHash) public outputBatch;
    /// @notice Blob openings that the precompile has accepted.
    mapping(bytes32 opening => bool) private _opened;

    /// @notice The chain has begun.
    event Opened(bytes32 indexed batchHash, Genesis genesis);
    /// @notice A batch was committed.
    event BatchCommitted(uint64 indexed index, bytes32 indexed batchHash, Batch batch, bytes32[] blobs);
    /// @notice All batches from `index` on were dropped.
    event BatchesDropped(uint64 indexed index, uint64 head);
    /// @notice A batch is final.
    event BatchFinal(
        uint64 indexed index, bytes32 indexed batchHash, bytes32 output, bytes32 stateRoot, bytes32 outboxRoot
    );
    /// @notice A batch breaks the rules, finally; it and all after it were dropped.
    event BatchInvalid(uint64 indexed index, bytes32 indexed batchHash);
    /// @notice Batches were proven by `payout`'s prover.
    event ProofAccepted(ProofSystem indexed system, uint64 first, uint64 last, address indexed payout, Prover prover);
    /// @notice Queued messages alone were committed: a new era.
    event EraBegun(uint32 indexed era, uint64 index);
    /// @notice The escape has begun. Nothing becomes final any more.
    event EscapeStarted(uint64 finalIndex, bytes32 stateRoot, uint64 finalMessage);

    /// @notice A delay makes no sense, or is below the production one.
    error InvalidSetting();
    /// @notice The caller is not the deployer.
    error NotDeployer();
    /// @notice The ETH sent is not the sum of the genesis balances.
    error GenesisNotCovered(uint256 supply, uint256 sent);
    /// @notice A genesis hash or root is missing.
    error InvalidGenesis();
    /// @notice A contract around the rollup is not in place, or belongs to another one.
    error PartMissing(address part);
    /// @notice The chain is not open.
    error NotOpen(Phase phase);
    /// @notice The caller is not an operator.
    error NotOperator(address caller);
    /// @notice The operators are not silent for long enough.
    error NotSilent(uint256 until);
    /// @notice No queued message is that old.
    error NoOverdueMessage(uint256 until);
    /// @notice The batch does not follow the last one.
    error WrongParent(bytes32 parentBatchHash);
    /// @notice The batch has no block, or its last block's number is over 48 bits.
    error NoBlocks();
    /// @notice The batch's last block is of the future.
    error FutureTimestamp(uint64 timestamp);
    /// @notice The L1 origin goes back, or its hash is not this.
    error WrongOrigin(uint64 number, bytes32 blockHash);
    /// @notice The batch consumes a message of an L1 block after its origin, leaves one of a block up to it, or gives one back.
    error WrongMessages(uint64 endMessage);
    /// @notice The batch takes no message, though the next has waited for T2.
    error OverdueMessage(uint64 index);
    /// @notice The batch has no blob, or more than `MAX_BLOBS`.
    error InvalidBlobCount(uint256 count);
    /// @notice A proof has no batch, or more than `MAX_RANGE`.
    error InvalidRange(uint256 count);
    /// @notice This batch is not the committed one.
    error WrongBatch(uint64 index);
    /// @notice The output that the proof starts from is not proven.
    error UnknownStart(bytes32 start);
    /// @notice A batch after an invalid one has no output.
    error InvalidNotLast(uint64 index);
    /// @notice As many openings as blobs are needed.
    error WrongOpenings(uint64 index);
    /// @notice All of this was proven before.
    error NothingNew();
    /// @notice The commit needs a proof of itself, and of a valid batch.
    error ProofDoesNotMatch();
    /// @notice Batches become final after the pause.
    error FinalityPaused();
    /// @notice The next batch is not final with these roots.
    error NotSettled(uint64 index);
    /// @notice No batch waits for its first proof.
    error NothingToDrop();
    /// @notice A conflict below is open, or the batch has time left.
    error NotDroppable(uint256 until);
    /// @notice The escape cannot begin yet.
    error NotDue(uint256 until);
    /// @notice Give the roots of this batch too: it can be final.
    error StillFinal(uint64 index);
    /// @notice The last final batch has other roots.
    error WrongRoots(uint64 index);

    modifier onlyOpen() {
        if (phase != Phase.Open) revert NotOpen(phase);
        _;
    }

    constructor(Settings memory settings, Parts memory parts) Governed(parts.timelock) {
        uint256 week = parts.proofs.singleProofDelay();
        if (settings.chainId == 0 || settings.dropDelay == 0 || settings.escapeDelay <= 2 * week) {
            revert InvalidSetting();
        }
        if (settings.production) {
            if (
                week < 7 days || !parts.proofs.production() || settings.escapeDelay < 21 days
                    || settings.dropDelay < 24 hours || settings.silenceDelay < 1 hours
                    || settings.silenceDelay > 7 days || settings.messageDelay < 1 days
                    || settings.messageDelay > 14 days || settings.originLag > 7200
                    || TimelockController(payable(parts.timelock)).getMinDelay() < settings.escapeDelay + 9 days
            ) revert InvalidSetting();
        }
        chainId = settings.chainId;
        silenceDelay = settings.silenceDelay;
        messageDelay = settings.messageDelay;
        dropDelay = settings.dropDelay;
        escapeDelay = settings.escapeDelay;
        originLag = settings.originLag;
        configHash = settings.configHash;
        authority = parts.authority;
        proofs = parts.proofs;
        inbox = parts.inbox;
        bridge = parts.bridge;
        outbox = parts.outbox;
        escapeHatch = parts.escapeHatch;
        pause = parts.pause;
        origins = parts.origins;
        _disableInitializers();
    }

    /// @notice Opens the chain: the last step of a deployment. The deployer alone, once, with the sum of the genesis balances.
    function initialize(Genesis calldata genesis) external payable initializer {
        if (msg.sender != Deployer.get()) revert NotDeployer();
        if (msg.value != genesis.supply) revert GenesisNotCovered(genesis.supply, msg.value);
        if (genesis.blockHash == 0 || genesis.stateRoot == 0 || genesis.outboxRoot != Messages.EMPTY_ROOT) {
            revert InvalidGenesis();
        }
        address[5] memory parts = [address(inbox), address(bridge), address(proofs), outbox, escapeHatch];
        for (uint256 i; i < 5; ++i) {
            // All name their rollup; a placeholder reverts.
            if (address(Inbox(parts[i]).rollup()) != address(this)) revert PartMissing(parts[i]);
        }
        if (address(proofs.systemOf(ProofSystem.Tee).verifier) == address(0)) revert PartMissing(address(proofs));
        if (address(authority).code.length == 0) revert PartMissing(address(authority));

        Batch memory batch;
        batch.version = Batches.ORDINARY;
        batch.chainId = chainId;
        batch.rollup = address(this);
        batch.lastBlockHash = genesis.blockHash;
        batch.configHash = configHash;
        bytes32 batchHash = Batches.hash(batch, new bytes32[](0));
        bytes32 output = Batches.output(batchHash, genesis.blockHash, genesis.stateRoot, genesis.outboxRoot);

        _batches[0] = batchHash;
        Details storage details = _details[RING];
        details.lastBlockHash = genesis.blockHash;
        details.numbers = block.timestamp << COMMITTED_AT;
        firstProofAt[batchHash] = uint48(block.timestamp);
        outputBatch[output] = batchHash;
        _finalOutputs[0] = output;
        _finalAt = uint40(block.timestamp);
        operatorAt = uint40(block.timestamp);
        genesisSupply = genesis.supply;
        phase = Phase.Open;
        emit Opened(batchHash, genesis);
        if (genesis.supply > 0) bridge.lock{value: genesis.supply}();
    }

    // --- committing ---

    /// @notice Commits a certified batch whose data are in this transaction's blobs. An operator alone.
    /// @param certificate What certifies the last block, for `authority`.
    function commit(Commit calldata request, bytes calldata certificate) external onlyOpen {
        if (uint256(request.originNumber) + originLag >= block.number) operatorAt = uint40(block.timestamp);
        Details storage parent = _at(_head);
        if (!_isCertified(parent, request, certificate)) revert NotOperator(msg.sender);
        _commit(parent, request, Batches.ORDINARY);
    }

    /// @notice Commits a certified batch and proves it. Anyone, after the operators were silent for T1.
    function commitInSilence(Commit calldata request, bytes calldata certificate, Proof calldata proof)
        external
        onlyOpen
    {
        uint256 until = uint256(operatorAt) + silenceDelay;
        if (block.timestamp < until) revert NotSilent(until);
        Details storage parent = _at(_head);
        _isCertified(parent, request, certificate);
        _commit(parent, request, Batches.ORDINARY);
        _proveHead(proof);
    }

    /// @dev Reverts unless the batch after `parent` is certified.
    /// @return Whether the caller is an operator.
    function _isCertified(Details storage parent, Commit calldata request, bytes calldata certificate)
        private
        returns (bool)
    {
        uint64 firstBlock = _number(parent.numbers, LAST_BLOCK) + 1;
        return authority.check(msg.sender, _era, firstBlock, request.lastBlock, request.lastBlockHash, certificate);
    }

    /// @notice Commits a batch of queued messages alone and proves it, on the last batch with a proof; batches after that one are
    /// dropped, and a new era begins. Anyone, once the oldest message that no proven batch consumed is older than T2.
    function commitMessages(Commit calldata request, Proof calldata proof) external onlyOpen {
        uint64 parent = _proven;
        uint64 first = _number(_at(parent).numbers, END_MESSAGE);
        uint256 since = inbox.timestampOf(first);
        if (since == type(uint256).max) revert NoOverdueMessage(since);
        if (!_overdue(since)) revert NoOverdueMessage(since + messageDelay);
        if (request.endMessage <= first) revert WrongMessages(request.endMessage);
        if (_head > parent) _dropFrom(parent + 1);
        emit EraBegun(++_era, parent + 1);
        _commit(_at(parent), request, Batches.MESSAGES_ALONE);
        _proveHead(proof);
        authority.restart(_era, request.originNumber);
    }

    function _commit(Details storage parent, Commit calldata request, uint8 version) private {
        Batch memory batch;
        batch.index = _head + 1;
        uint256 numbers = parent.numbers;
        batch.parentBatchHash = _batches[batch.index - 1];
        if (request.parentBatchHash != batch.parentBatchHash) revert WrongParent(batch.parentBatchHash);
        batch.firstBlock = _number(numbers, LAST_BLOCK) + 1;
        batch.firstMessage = _number(numbers, END_MESSAGE);
        if (request.lastBlock < batch.firstBlock || request.lastBlock >= type(uint48).max) revert NoBlocks();
        if (request.lastTimestamp > block.timestamp) revert FutureTimestamp(request.lastTimestamp);
        // Most origins are among the last 8,191 blocks, and need no call.
        bytes32 originHash = Blockhash.blockHash(request.originNumber);
        if (originHash == 0) originHash = origins.hashOf(request.originNumber);
        if (request.originNumber < _number(numbers, ORIGIN) || originHash != request.originHash) {
            revert WrongOrigin(request.originNumber, request.originHash);
        }
        _checkMessages(batch, request);

        batch.version = version;
        batch.era = _era;
        batch.chainId = chainId;
        batch.rollup = address(this);
        batch.parentBlockHash = parent.lastBlockHash;
        batch.lastBlockHash = request.lastBlockHash;
        batch.lastBlock = request.lastBlock;
        batch.lastTimestamp = request.lastTimestamp;
        batch.endMessage = request.endMessage;
        batch.originNumber = request.originNumber;
        batch.originHash = request.originHash;
        batch.configHash = configHash;
        bytes32[] memory blobs = _blobs();
        bytes32 batchHash = Batches.hash(batch, blobs);

        _batches[batch.index] = batchHash;
        Details storage details = _details[_placeFor(batch.index)];
        details.lastBlockHash = request.lastBlockHash;
        // None is larger than 48 bits: the last block was checked, and there are not as many messages or L1 blocks.
        details.numbers = uint256(batch.index) | block.timestamp << COMMITTED_AT | uint256(request.lastBlock)
            << LAST_BLOCK | uint256(request.endMessage) << END_MESSAGE | uint256(request.originNumber) << ORIGIN;
        _head = uint48(batch.index);
        // The same batch may have been committed, proven and dropped before.
        if (_proven + 1 == batch.index && firstProofAt[batchHash] != 0) _proven = uint48(batch.index);
        _emitCommitted(batchHash, batch, blobs);
    }

    /// @dev `BatchCommitted`, whose encoding copies what is in memory as it is (see `Batches.hash`).
    function _emitCommitted(bytes32 batchHash, Batch memory batch, bytes32[] memory blobs) private {
        bytes32 topic = BatchCommitted.selector;
        uint256 index = batch.index;
        assembly ("memory-safe") {
            let start := mload(0x40)
            let size := mul(mload(blobs), 32)
            mcopy(start, batch, 576)
            mstore(add(start, 576), 608) // where the blobs are
            mcopy(add(start, 608), blobs, add(32, size))
            log3(start, add(640, size), topic, index, batchHash)
        }
    }

    /// @dev A batch consumes exactly the messages of L1 blocks up to its origin, and at least one if the first has waited for T2: valid
    /// batches of an old origin could leave it out for ever otherwise, and each, once proven, be a new parent before a T2 batch lands.
    function _checkMessages(Batch memory batch, Commit calldata request) private view {
        if (request.endMessage < batch.firstMessage) revert WrongMessages(request.endMessage);
        uint64 lastBlock;
        uint64 nextBlock;
        uint256 nextTime;
        (batch.queueHashBefore, batch.queueHashAfter, lastBlock, nextBlock, nextTime) =
            inbox.span(batch.firstMessage, request.endMessage);
        if (lastBlock > request.originNumber || nextBlock <= request.originNumber) {
            revert WrongMessages(request.endMessage);
        }
        if (request.endMessage == batch.firstMessage && _overdue(nextTime)) revert OverdueMessage(batch.firstMessage);
    }

    /// @dev Whether a message that has waited since then is older than T2; none has the largest number.
    function _overdue(uint256 since) private view returns (bool) {
        return since != type(uint256).max && block.timestamp >= since + messageDelay;
    }

    function _blobs() private view returns (bytes32[] memory blobs) {
        uint256 count;
        while (count <= MAX_BLOBS && blobhash(count) != 0) ++count;
        if (count == 0 || count > MAX_BLOBS) revert InvalidBlobCount(count);
        blobs = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            blobs[i] = blobhash(i);
        }
    }

    // --- proving ---

    /// @notice Takes proofs, each of consecutive batches, in this order, and makes final what is final by them. Anyone. Those of what was
    /// proven before are passed over: a prover that came first costs the others no more than them.
    function prove(Proof[] calldata list) external onlyOpen {
        bool news;
        for (uint256 i; i < list.length; ++i) {
            Judged memory judged = _prove(list[i]);
            if (!judged.news) continue;
            news = true;
            _finalizeProven(list[i], judged);
        }
        if (!news) revert NothingNew();
    }

    function _finalizeProven(Proof calldata proof, Judged memory judged) private {
        for (uint256 i; i < judged.outputs.length; ++i) {
            if (judged.first + i != _final + 1) continue;
            bytes32 previous = i == 0 ? proof.start : judged.outputs[i - 1];
            if ((judged.settled >> i) & 1 == 0 || previous != finalOutput() || pause.paused()) break;
            Claim calldata claim = proof.claims[i];
            Roots memory roots = Roots(claim.invalid, claim.stateRoot, claim.outboxRoot);
            _makeFinal(judged.batchHashes[i], judged.outputs[i], roots);
            if (claim.invalid) break;
        }
    }

    function _proveHead(Proof calldata proof) private {
        if (proof.claims.length != 1 || proof.claims[0].batch.index != _head || proof.claims[0].invalid) {
            revert ProofDoesNotMatch();
        }
        // The same batch may have been proven, and dropped, before: then there is nothing new.
        if (_proven != _head) _prove(proof);
        if (_proven != _head) revert ProofDoesNotMatch();
    }

    /// @dev What a proof says, judged.
    struct Judged {
        /// Whether anything of it was not proven before; if not, the rest counts for nothing.
        bool news;
        /// The index of the first batch.
        uint64 first;
        bytes32[] batchHashes;
        bytes32[] outputs;
        /// A bit for each output that is final by what was proven, if the one before it is.
        uint256 settled;
    }

    function _prove(Proof calldata proof) private returns (Judged memory judged) {
        uint256 count = proof.claims.length;
        if (count == 0 || count > MAX_RANGE) revert InvalidRange(count);
        uint64 first = proof.claims[0].batch.index;
        // Most start from the last final output, which is the last final batch's.
        if (first != _final + 1 || proof.start != finalOutput()) {
            bytes32 parent = outputBatch[proof.start];
            if (first == 0 || parent == 0 || parent != _batches[first - 1]) revert UnknownStart(proof.start);
        }

        judged.first = first;
        bytes32[] memory batchHashes = judged.batchHashes = new bytes32[](count);
        bytes32[] memory outputs = judged.outputs = new bytes32[](count);
        bytes32[] memory openings = new bytes32[](2 * MAX_BLOBS * count);
        uint256 words;
        for (uint256 i; i < count; ++i) {
            Claim calldata claim = proof.claims[i];
            uint64 index = first + uint64(i);
            bytes32 batchHash = Batches.hashOf(claim.batch, claim.blobs);
            // The hash covers index, version, chain and rollup.
            if (index > _head || batchHash != _batches[index]) revert WrongBatch(index);
            if (claim.invalid && i + 1 < count) revert InvalidNotLast(index);
            batchHashes[i] = batchHash;
            outputs[i] = claim.invalid
                ? Batches.invalidOutput(batchHash, i == 0 ? proof.start : outputs[i - 1])
                : Batches.output(batchHash, claim.batch.lastBlockHash, claim.stateRoot, claim.outboxRoot);
            words = _checkOpenings(claim, openings, words);
        }
        assembly ("memory-safe") {
            mstore(openings, words)
        }
        _record(proof, judged, openings);
    }

    /// @dev Has a proof judged, and keeps what stands.
    function _record(Proof calldata proof, Judged memory judged, bytes32[] memory openings) private {
        (uint64 first, bytes32[] memory outputs) = (judged.first, judged.outputs);
        bytes32 statement = Batches.statement(chainId, address(this), proof.start, proof.payout, outputs, openings);
        Verdict memory verdict = proofs.record(
            Submission(proof.system, statement, proof.proof, first, proof.start, judged.batchHashes, outputs)
        );
        if (!verdict.news) return;
        (judged.news, judged.settled) = (true, verdict.settled);
        for (uint256 i; i < verdict.standing; ++i) {
            if (proof.claims[i].invalid) break;
            bytes32 batchHash = judged.batchHashes[i];
            // What was evidence before is there.
            if ((verdict.known >> i) & 1 == 0) outputBatch[outputs[i]] = batchHash;
            // All up to `provenIndex` have their first proof.
            if (first + i <= _proven) continue;
            if (firstProofAt[batchHash] == 0) firstProofAt[batchHash] = uint48(block.timestamp);
            _proven = uint48(first + i);
        }
        if (verdict.conflict > _final && verdict.conflict > conflictIndex) {
            conflictIndex = verdict.conflict;
            _conflict = true;
        }
        emit ProofAccepted(proof.system, first, first + uint64(outputs.length) - 1, proof.payout, verdict.prover);
    }

    function _checkOpenings(Claim calldata claim, bytes32[] memory words, uint256 next) private returns (uint256) {
        uint256 count = claim.blobs.length;
        if (claim.openings.length != count) revert WrongOpenings(claim.batch.index);
        for (uint256 i; i < count; ++i) {
            Opening calldata opening = claim.openings[i];
            bytes32 key = keccak256(abi.encode(claim.blobs[i], opening.contentsHash, opening.y));
            if (!_opened[key]) {
                Kzg.check(claim.blobs[i], opening);
                _opened[key] = true;
            }
            words[next++] = opening.contentsHash;
            words[next++] = opening.y;
        }
        return next;
    }

    // --- finality ---

    /// @notice Makes the next batches final, in order. Anyone.
    /// @param roots What the outputs of the batches after `finalIndex` are made of.
    function finalize(Roots[] calldata roots) external onlyOpen {
        if (pause.paused()) revert FinalityPaused();
        for (uint256 i; i < roots.length; ++i) {
            if (!_finalizeNext(roots[i])) revert NotSettled(_final + 1);
        }
    }

    /// @return Whether the rules allow it.
    function _finalizeNext(Roots memory roots) private returns (bool) {
        uint64 index = _final + 1;
        if (index > _head) return false;
        bytes32 batchHash = _batches[index];
        bytes32 previous = finalOutput();
        bytes32 output = roots.invalid
            ? Batches.invalidOutput(batchHash, previous)
            : Batches.output(batchHash, _at(index).lastBlockHash, roots.stateRoot, roots.outboxRoot);
        if (!proofs.isSettled(batchHash, previous, output)) return false;
        _makeFinal(batchHash, output, roots);
        return true;
    }

    /// @dev Makes the next batch final, or drops it if it is finally invalid.
    function _makeFinal(bytes32 batchHash, bytes32 output, Roots memory roots) private {
        uint48 index = _final + 1;
        if (roots.invalid) {
            emit BatchInvalid(index, batchHash);
            _dropFrom(index);
            return;
        }
        // An escape that is due stays due: nobody puts it off by making final what could have been so for long.
        if (block.timestamp < uint256(_finalAt) + escapeDelay || !escapeDue()) _finalAt = uint40(block.timestamp);
        _final = index;
        _finalOutputs[index % RING] = output;
        if (_conflict && conflictIndex == index) {
            _conflict = false;
            conflictEndedAt = uint48(block.timestamp);
        }
        emit BatchFinal(index, batchHash, output, roots.stateRoot, roots.outboxRoot);
    }

    /// @notice Drops the first batch without a proof, and all after it, once it had its time. Anyone.
    function drop() external onlyOpen {
        uint64 index = _proven + 1;
        if (index > _head) revert NothingToDrop();
        if (_conflict) revert NotDroppable(type(uint256).max);
        uint256 since = _number(_at(index).numbers, COMMITTED_AT);
        uint256 predecessor = firstProofAt[_batches[index - 1]];
        if (predecessor > since) since = predecessor;
        if (conflictEndedAt > since) since = conflictEndedAt;
        if (proofs.replacedAt() > since) since = proofs.replacedAt();
        if (block.timestamp < since + dropDelay) revert NotDroppable(since + dropDelay);
        _dropFrom(index);
    }

    /// @dev Pointers move; what lies above them is written over by later commits.
    function _dropFrom(uint64 index) private {
        emit BatchesDropped(index, _head);
        _head = uint48(index - 1);
        if (_proven >= index) _proven = uint48(index - 1);
        if (_conflict && conflictIndex >= index) {
            _conflict = false;
            conflictIndex = 0;
            conflictEndedAt = uint48(block.timestamp);
        }
    }

    // --- the escape ---

    /// @notice Begins the escape, for good: the last final state, outbox and message index are frozen. Anyone, once a batch or a message has
    /// waited for Z with nothing final meanwhile.
    /// @param roots What the outputs of the batches are made of that can be final: those become so first, pause or not.
    /// @param stateRoot The state root of the batch that then is the last final one.
    /// @param outboxRoot Its outbox root.
    function startEscape(Roots[] calldata roots, bytes32 stateRoot, bytes32 outboxRoot) external onlyOpen {
        if (!escapeDue()) revert NotDue(_escapeAt());
        for (uint256 i; i < roots.length; ++i) {
            if (!_finalizeNext(roots[i])) revert NotSettled(_final + 1);
        }
        uint64 next = _final + 1;
        if (next <= _head && proofs.anySettled(_batches[next], finalOutput())) revert StillFinal(next);
        if (!isFinal(_final, _at(_final).lastBlockHash, stateRoot, outboxRoot)) revert WrongRoots(_final);
        finalStateRoot = stateRoot;
        phase = Phase.Halted;
        emit EscapeStarted(_final, stateRoot, finalMessage());
    }

    /// @notice Whether the escape can begin.
    function escapeDue() public view returns (bool) {
        return block.timestamp >= _escapeAt();
    }

    /// @dev When it can begin; the largest number if nothing waits.
    function _escapeAt() private view returns (uint256) {
        uint256 since = inbox.timestampOf(finalMessage());
        if (_head > _final) {
            uint256 committedAt = _number(_at(_final + 1).numbers, COMMITTED_AT);
            if (committedAt < since) since = committedAt;
        }
        if (since == type(uint256).max) return since;
        return (since > _finalAt ? since : _finalAt) + escapeDelay;
    }

    // --- views ---

    /// @notice The last committed batch.
    function headIndex() external view returns (uint64) {
        return _head;
    }

    /// @notice The last batch with an accepted proof.
    function provenIndex() external view returns (uint64) {
        return _proven;
    }

    /// @notice The last final batch.
    function finalIndex() external view returns (uint64) {
        return _final;
    }

    /// @notice The output of the last final batch.
    function finalOutput() public view returns (bytes32) {
        return _finalOutputs[_final % RING];
    }

    /// @inheritdoc IRollup
    function isFinal(uint64 index, bytes32 lastBlockHash, bytes32 stateRoot, bytes32 outboxRoot)
        public
        view
        returns (bool)
    {
        return index <= _final && index + RING > _final
            && _finalOutputs[index % RING] == Batches.output(_batches[index], lastBlockHash, stateRoot, outboxRoot);
    }

    /// @notice When a batch last became final.
    function finalAt() external view returns (uint48) {
        return _finalAt;
    }

    /// @notice How often queued messages alone were committed.
    function era() public view returns (uint32) {
        return _era;
    }

    /// @inheritdoc IRollup
    function finalMessage() public view returns (uint64) {
        return _number(_at(_final).numbers, END_MESSAGE);
    }

    /// @notice The committed batch at `index`; of one below the last final batch, but for genesis, only the hash. Reverts above `headIndex`.
    function batchAt(uint64 index) external view returns (Stored memory stored) {
        if (index > _head || phase == Phase.Closed) revert WrongBatch(index);
        stored.batchHash = _batches[index];
        if (index > 0 && index < _final) return stored;
        Details storage details = _at(index);
        stored.lastBlockHash = details.lastBlockHash;
        uint256 numbers = details.numbers;
        stored.committedAt = _number(numbers, COMMITTED_AT);
        stored.lastBlock = _number(numbers, LAST_BLOCK);
        stored.endMessage = _number(numbers, END_MESSAGE);
        stored.originNumber = _number(numbers, ORIGIN);
    }

    // --- details of batches ---

    /// @dev Where the details of a new batch go: to its slots of the ring, unless those have another batch whose details are still needed.
    function _placeFor(uint64 index) private view returns (uint256 place) {
        place = index % RING;
        uint64 there = _number(_details[place].numbers, INDEX);
        // What is above the head was dropped.
        if (there != 0 && there >= _final && there <= _head) place = RING + index;
    }

    /// @dev The details of a batch that is not below the last final one. Genesis has a place outside of the ring.
    function _at(uint64 index) private view returns (Details storage details) {
        details = _details[index % RING];
        if (index == 0 || _number(details.numbers, INDEX) != index) details = _details[uint256(RING) + index];
    }

    function _number(uint256 numbers, uint256 lowest) private pure returns (uint64) {
        return uint48(numbers >> lowest);
    }

    function _halted() internal view override returns (bool) {
        return phase == Phase.Halted;
    }
}
