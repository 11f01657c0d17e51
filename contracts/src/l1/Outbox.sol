// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Message, Messages} from "../common/Messages.sol";
import {Predeploys} from "../common/Predeploys.sol";
import {Bridge} from "./Bridge.sol";
import {Governed} from "./Governed.sol";
import {IRollup, Phase} from "./IRollup.sol";

/// @title Executes messages from L2.
/// @notice Anyone may execute a message whose leaf is in the outbox tree of a final batch, once. If the call fails, its ETH goes back to the
/// bridge and anyone may try again, for ever; so it is after a halt too, under the frozen root. A called contract learns the L2 sender from
/// `l2Sender()`. This contract holds nothing between transactions, and no message can call the chain's own contracts, so a message
/// speaks for its sender alone; the L2 bridge's messages to `Bridge` are the exception.
contract Outbox is Governed, ReentrancyGuardTransient {
    /// @notice What happened to a message.
    enum Status {
        /// Not executed yet.
        None,
        /// The call failed and can be tried again.
        Failed,
        /// The call succeeded.
        Executed
    }

    /// @notice What the output of a final batch is made of.
    struct Final {
        uint64 index;
        bytes32 lastBlockHash;
        bytes32 stateRoot;
        bytes32 outboxRoot;
    }

    /// @dev Gas kept for what follows the call: a record, and the way back of the ETH.
    uint256 private constant RESERVE = 80_000;

    /// @notice The rollup.
    IRollup public immutable rollup;
    /// @notice The vault.
    Bridge public immutable bridge;
    /// @notice The queue of messages to L2.
    address public immutable inbox;
    /// @notice What pays after a halt.
    address public immutable escapeHatch;

    address private transient _l2Sender;
    /// @notice What happened to the message with this leaf.
    mapping(bytes32 leaf => Status) public status;
    /// @notice Outbox roots of final batches that are taken for good.
    mapping(bytes32 root => bool) public kept;

    /// @notice An outbox root is taken for good.
    event Kept(bytes32 indexed root, uint64 index);
    /// @notice The message's call succeeded.
    event MessageExecuted(bytes32 indexed leaf, uint64 indexed nonce, address indexed target);
    /// @notice The message's call failed: `retry` tries again.
    event MessageFailed(bytes32 indexed leaf, uint64 indexed nonce, address indexed target);

    /// @notice Neither has one of the last 256 final batches this outbox root, as it is described, nor was the root kept.
    error NotFinal(bytes32 root);
    /// @notice The message is not in the tree of this root.
    error InvalidProof();
    /// @notice The message was executed, or failed and wants `retry`.
    error AlreadyDone(bytes32 leaf);
    /// @notice The message has not failed.
    error NotFailed(bytes32 leaf);
    /// @notice Messages cannot call the chain's own contracts.
    error ForbiddenTarget(address target);
    /// @notice The call would not get the gas that the message asks for.
    error InsufficientGas(uint256 available, uint256 needed);
    /// @notice No message is being executed.
    error NoMessage();
    /// @notice ETH comes from the bridge alone.
    error NotBridge();

    constructor(address timelock_, IRollup rollup_, Bridge bridge_, address inbox_, address escapeHatch_)
        Governed(timelock_)
    {
        rollup = rollup_;
        bridge = bridge_;
        inbox = inbox_;
        escapeHatch = escapeHatch_;
    }

    /// @notice Takes a message's ETH from the bridge.
    receive() external payable {
        if (msg.sender != address(bridge)) revert NotBridge();
    }

    /// @notice Takes the outbox root of a final batch for good: for claims that are sent long after they were signed. Anyone may call.
    function keep(Final calldata batch) external {
        _checkFinal(batch);
        kept[batch.outboxRoot] = true;
        emit Kept(batch.outboxRoot, batch.index);
    }

    /// @notice Executes a message. Anyone may call.
    /// @param batch One of the last 256 final batches, or any with a root that was kept. The tree only grows: each later root has the message too.
    /// @param proof The siblings of the message's leaf, from the leaf up.
    /// @return success Whether the message's call succeeded; if not, `retry` can try again.
    function execute(Message calldata message, Final calldata batch, bytes32[32] calldata proof)
        external
        nonReentrant
        returns (bool success)
    {
        bytes32 root = batch.outboxRoot;
        if (!kept[root]) _checkFinal(batch);
        bytes32 leaf = Messages.leaf(message);
        // A nonce beyond the tree would name another leaf's position by its low bits.
        if (message.nonce >> Messages.DEPTH != 0 || Messages.rootOf(leaf, message.nonce, proof) != root) {
            revert InvalidProof();
        }
        if (status[leaf] != Status.None) revert AlreadyDone(leaf);
        return _deliver(leaf, message);
    }

    /// @notice Tries a failed message again. Anyone may call.
    /// @return success Whether the message's call succeeded now.
    function retry(Message calldata message) external nonReentrant returns (bool success) {
        bytes32 leaf = Messages.leaf(message);
        if (status[leaf] != Status.Failed) revert NotFailed(leaf);
        return _deliver(leaf, message);
    }

    /// @notice The L2 sender of the message that is being executed.
    function l2Sender() external view returns (address) {
        if (_l2Sender == address(0)) revert NoMessage();
        return _l2Sender;
    }

    function _checkFinal(Final calldata batch) private view {
        bool known = rollup.isFinal(batch.index, batch.lastBlockHash, batch.stateRoot, batch.outboxRoot);
        if (!known) revert NotFinal(batch.outboxRoot);
    }

    function _deliver(bytes32 leaf, Message calldata message) private returns (bool success) {
        address target = message.target;
        if (
            target == address(this) || target == address(rollup) || target == inbox || target == escapeHatch
                || target == timelock || (target == address(bridge) && message.sender != Predeploys.L2_BRIDGE)
        ) revert ForbiddenTarget(target);

        status[leaf] = Status.Executed;
        _l2Sender = message.sender;
        if (message.value > 0) bridge.release(address(this), message.value);
        success = _call(target, message.value, message.gas, message.data);
        _l2Sender = address(0);
        if (success) {
            emit MessageExecuted(leaf, message.nonce, target);
        } else {
            status[leaf] = Status.Failed;
            if (message.value > 0) bridge.lock{value: message.value}();
            emit MessageFailed(leaf, message.nonce, target);
        }
    }

    /// @dev Calls with all gas but the reserve, and reads nothing of the answer: it may be megabytes.
    function _call(address target, uint256 value, uint256 gas, bytes memory data) private returns (bool success) {
        uint256 left = gasleft();
        // EIP-150 keeps a 64th; the cold account and the transfer cost at most 36,600.
        uint256 withheld = left / 64 > RESERVE ? left / 64 : RESERVE;
        uint256 needed = gas + withheld + 40_000;
        if (left < needed) revert InsufficientGas(left, needed);
        uint256 forwarded = left - withheld - 40_000;
        assembly ("memory-safe") {
            success := call(forwarded, target, value, add(data, 32), mload(data), 0, 0)
        }
    }

    function _halted() internal view override returns (bool) {
        return rollup.phase() == Phase.Halted;
    }
}
