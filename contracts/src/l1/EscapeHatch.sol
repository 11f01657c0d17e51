// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";
import {Memory} from "@openzeppelin/contracts/utils/Memory.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {TrieProof} from "@openzeppelin/contracts/utils/cryptography/TrieProof.sol";
import {Aliasing} from "../common/Aliasing.sol";
import {IL2Bridge} from "../common/IL2Bridge.sol";
import {Predeploys} from "../common/Predeploys.sol";
import {Bridge} from "./Bridge.sol";
import {Governed} from "./Governed.sol";
import {Inbox} from "./Inbox.sol";
import {IRollup, Phase} from "./IRollup.sol";

/// @title The way out when nobody runs the chain any more.
/// @notice After `Rollup.startEscape`, everyone takes what the last final state says is theirs, by proofs that any archive of L1 yields
/// (`eth_getProof`'s). Nobody's key is needed and nobody can stop it.
///
/// Who may take what an L2 account holds: the L1 account that certainly has the same key, that is, the sender of the transaction itself or an
/// account with an EIP-7702 delegation; or the L1 contract whose alias it is. Nobody else: what an L2 contract without an L1
/// counterpart holds stays.
contract EscapeHatch is Governed, ReentrancyGuardTransient {
    /// @notice A queue entry, as in `Inbox.MessageQueued`.
    struct Entry {
        uint64 index;
        uint64 blockNumber;
        address from;
        address to;
        bool isCreation;
        uint256 mint;
        uint256 value;
        uint64 gas;
        bytes data;
    }

    /// @notice The rollup.
    IRollup public immutable rollup;
    /// @notice The vault.
    Bridge public immutable bridge;
    /// @notice The queue.
    Inbox public immutable inbox;

    /// @notice Whether an L2 account's balance of an L1 token was taken; the token is zero for ETH.
    mapping(address token => mapping(address account => bool)) public taken;
    /// @notice Whether a queue entry was refunded.
    mapping(uint64 index => bool) public refunded;
    /// @notice Whether a deposit that failed on L2 was refunded.
    mapping(uint256 id => bool) public failedRefunded;

    /// @notice An account's balance was taken; the token is zero for ETH.
    event Escaped(address indexed token, address indexed account, address indexed recipient, uint256 amount);
    /// @notice A message that no final batch consumed was refunded; the token is zero for ETH.
    event Refunded(uint64 indexed index, address indexed recipient, address token, uint256 amount);
    /// @notice A deposit that failed on L2 was refunded.
    event FailedRefunded(uint256 indexed id, address indexed recipient, address token, uint256 amount);

    /// @notice The escape has not begun.
    error NotHalted();
    /// @notice The caller does not own this L2 account, or names another recipient than the owner.
    error NotOwner(address caller, address owner);
    /// @notice This was paid before.
    error AlreadyTaken();
    /// @notice There is nothing to pay.
    error NothingToTake();
    /// @notice A final batch consumed this message.
    error Consumed(uint64 index);
    /// @notice This is not the entry of the queue at its index, or not the deposit that failed.
    error WrongEntry();
    /// @notice A trie's value is not what it should be.
    error MalformedValue();

    constructor(address timelock_, IRollup rollup_, Bridge bridge_, Inbox inbox_) Governed(timelock_) {
        rollup = rollup_;
        bridge = bridge_;
        inbox = inbox_;
    }

    modifier onlyHalted() {
        if (rollup.phase() != Phase.Halted) revert NotHalted();
        _;
    }

    /// @notice Takes the ETH of the caller's L2 account.
    /// @param account The L2 account: the caller's own address, or its alias if it is a contract.
    /// @param recipient Where the ETH goes.
    /// @param proof The nodes of the state trie from the root to the account.
    function escapeETH(address account, address payable recipient, bytes[] calldata proof)
        external
        nonReentrant
        onlyHalted
    {
        _checkOwner(account);
        (uint256 amount,) = _account(account, proof);
        _take(address(0), account, amount);
        emit Escaped(address(0), account, recipient, amount);
        bridge.release(recipient, amount);
    }

    /// @notice Takes the L2 balance of an L1 token that the caller's L2 account holds.
    /// @param token The L1 token.
    /// @param account The L2 account: the caller's own address, or its alias if it is a contract.
    /// @param recipient Where the tokens go.
    /// @param tokenProof The nodes of the state trie from the root to the token's L2 contract.
    /// @param balanceProof The nodes of that contract's storage trie from its root to the balance.
    function escapeERC20(
        address token,
        address account,
        address recipient,
        bytes[] calldata tokenProof,
        bytes[] calldata balanceProof
    ) external nonReentrant onlyHalted {
        _checkOwner(account);
        (, bytes32 storageRoot) = _account(l2TokenOf(token), tokenProof);
        bytes32 slot = keccak256(abi.encode(account, Predeploys.L2_TOKEN_BALANCES_SLOT));
        uint256 amount = uint256(_slot(storageRoot, slot, balanceProof));
        _take(token, account, amount);
        emit Escaped(token, account, recipient, amount);
        bridge.releaseToken(token, recipient, amount);
    }

    /// @notice Refunds a message that no final batch consumed: its mint, or the tokens of a deposit. Anyone may call; another recipient
    /// than the sender only by the sender.
    function refundMessage(Entry calldata entry, address payable recipient) external nonReentrant onlyHalted {
        if (entry.index < rollup.finalMessage()) revert Consumed(entry.index);
        if (refunded[entry.index]) revert AlreadyTaken();
        Inbox.Entry memory stored = inbox.entry(entry.index);
        bytes32 hash = inbox.entryHash(
            entry.index,
            entry.blockNumber,
            entry.from,
            entry.to,
            entry.isCreation,
            entry.mint,
            entry.value,
            entry.gas,
            keccak256(entry.data)
        );
        if (keccak256(abi.encodePacked(inbox.queueHash(entry.index), hash)) != stored.queueHash) revert WrongEntry();
        refunded[entry.index] = true;

        if (stored.sender == address(bridge)) {
            if (bytes4(entry.data) != IL2Bridge.finalizeDeposit.selector) revert NothingToTake();
            (address token, address from,, uint256 amount) =
                abi.decode(entry.data[4:], (address, address, address, uint256));
            _checkRecipient(from, recipient);
            emit Refunded(entry.index, recipient, token, amount);
            bridge.releaseToken(token, recipient, amount);
        } else {
            if (entry.mint == 0) revert NothingToTake();
            _checkRecipient(stored.sender, recipient);
            emit Refunded(entry.index, recipient, address(0), entry.mint);
            bridge.release(recipient, entry.mint);
        }
    }

    /// @notice Refunds a token deposit that failed on L2 and was not sent back from there. Anyone may call; another recipient than the
    /// depositor only by the depositor.
    /// @param id The number of the failed deposit in the L2 bridge.
    /// @param bridgeProof The nodes of the state trie from the root to the L2 bridge.
    /// @param recordProof The nodes of its storage trie from the root to the record.
    function refundFailed(
        uint256 id,
        address token,
        address from,
        uint256 amount,
        address recipient,
        bytes[] calldata bridgeProof,
        bytes[] calldata recordProof
    ) external nonReentrant onlyHalted {
        if (failedRefunded[id]) revert AlreadyTaken();
        (, bytes32 storageRoot) = _account(Predeploys.L2_BRIDGE, bridgeProof);
        bytes32 slot = keccak256(abi.encode(id, Predeploys.L2_BRIDGE_FAILED_SLOT));
        if (_slot(storageRoot, slot, recordProof) != keccak256(abi.encode(token, from, amount))) revert WrongEntry();
        _checkRecipient(from, recipient);
        failedRefunded[id] = true;
        emit FailedRefunded(id, recipient, token, amount);
        bridge.releaseToken(token, recipient, amount);
    }

    /// @notice The L2 counterpart of an L1 token: the L2 bridge creates it with the token's address as salt (EIP-1014).
    function l2TokenOf(address token) public pure returns (address) {
        return Create2.computeAddress(
            bytes32(uint256(uint160(token))), Predeploys.L2_TOKEN_INIT_CODE_HASH, Predeploys.L2_BRIDGE
        );
    }

    function _take(address token, address account, uint256 amount) private {
        if (taken[token][account]) revert AlreadyTaken();
        if (amount == 0) revert NothingToTake();
        taken[token][account] = true;
    }

    /// @dev A contract at the caller's address on L2 may be another's. So the caller must be an account with a key, which no contract's
    /// address has, or the L1 contract that speaks from `account`.
    function _checkOwner(address account) private view {
        if (account == Aliasing.alias_(msg.sender)) return;
        if (account != msg.sender || !(msg.sender == tx.origin || _isDelegated(msg.sender))) {
            revert NotOwner(msg.sender, account);
        }
    }

    /// @dev EIP-7702: the code of a delegated account is 0xef0100 ‖ address, which no contract can have (EIP-3541).
    function _isDelegated(address account) private view returns (bool) {
        bytes memory code = account.code;
        return code.length == 23 && bytes3(code) == 0xef0100;
    }

    function _checkRecipient(address owner, address recipient) private view {
        if (recipient != owner && msg.sender != owner) revert NotOwner(msg.sender, owner);
    }

    /// @dev Balance and storage root of an account in the frozen state.
    function _account(address account, bytes[] calldata proof)
        private
        view
        returns (uint256 balance, bytes32 storageRoot)
    {
        bytes32 key = keccak256(abi.encodePacked(account));
        bytes memory value = TrieProof.traverse(rollup.finalStateRoot(), abi.encodePacked(key), proof);
        Memory.Slice[] memory fields = RLP.decodeList(value);
        if (fields.length != 4) revert MalformedValue();
        return (RLP.readUint256(fields[1]), RLP.readBytes32(fields[2]));
    }

    /// @dev A storage slot that is not zero.
    function _slot(bytes32 storageRoot, bytes32 slot, bytes[] calldata proof) private pure returns (bytes32) {
        bytes memory key = abi.encodePacked(keccak256(abi.encodePacked(slot)));
        return bytes32(RLP.decodeUint256(TrieProof.traverse(storageRoot, key, proof)));
    }

    function _halted() internal view override returns (bool) {
        return rollup.phase() == Phase.Halted;
    }
}
