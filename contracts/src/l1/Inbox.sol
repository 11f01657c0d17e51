// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Aliasing} from "../common/Aliasing.sol";
import {Bridge} from "./Bridge.sol";
import {FeeMarket, Meter} from "./FeeMarket.sol";
import {Governed} from "./Governed.sol";
import {IRollup, Phase} from "./IRollup.sol";
import {Pause} from "./Pause.sol";

/// @title The queue of messages from L1 to L2.
/// @notice Strict order, one rolling hash: H_0 = 0, H_{n+1} = keccak256(H_n ‖ entryHash_n). Every entry becomes an L2 deposit transaction
/// that needs no signature; one without a mint is a forced transaction. An entry's gas is paid for here (`FeeMarket`).
contract Inbox is Governed, ReentrancyGuardTransient {
    /// @notice The most gas of an entry.
    uint64 public constant MAX_GAS = 2_000_000;
    /// @notice The most bytes of data of an entry.
    uint256 public constant MAX_DATA = 32 * 1024;

    /// @notice The rollup.
    IRollup public immutable rollup;
    /// @notice Where the ETH of deposits is kept.
    Bridge public immutable bridge;
    /// @notice The pause, which stops deposits with a value and no other message.
    Pause public immutable pause;
    /// @notice The chain's gas target per second.
    uint64 public immutable gasTarget;
    /// @notice The lowest price of a unit of gas, in wei.
    uint256 public immutable priceFloor;
    /// @notice Who is paid for the gas.
    address public immutable feeRecipient;

    struct Entry {
        /// The rolling hash with this entry.
        bytes32 queueHash;
        /// Who sent it on L1, not aliased.
        address sender;
        /// The L1 block that it came in.
        uint48 blockNumber;
        /// Its time, in seconds.
        uint48 timestamp;
    }

    Meter private _meter;
    /// @notice The number of entries.
    uint64 public length;
    mapping(uint64 index => Entry) private _entries;

    /// @notice An entry was appended. With `blockNumber` the event's L1 block, it has all that the entry's hash covers.
    event MessageQueued(
        uint64 indexed index,
        address indexed from,
        address indexed to,
        bool isCreation,
        uint256 mint,
        uint256 value,
        uint64 gas,
        bytes data
    );
    /// @notice The price of gas was collected.
    event FeesSwept(uint256 amount);

    /// @notice The chain takes no messages: it is not initialized, or the escape has begun.
    error ChainNotOpen();
    /// @notice Deposits with a value wait for the pause's end.
    error DepositsPaused();
    /// @notice The gas is over `MAX_GAS`, or less than the entry's data alone costs on L2.
    error InvalidGas(uint64 gas, uint256 least);
    /// @notice The data are longer than `MAX_DATA`.
    error DataTooLong(uint256 length);
    /// @notice A contract creation has no recipient.
    error CreationHasRecipient();
    /// @notice The ETH sent is less than the mint and the price of the gas.
    error InsufficientPayment(uint256 needed);
    /// @notice There is no such entry.
    error UnknownMessage(uint64 index);
    /// @notice The gas target or the price floor makes no sense.
    error InvalidSetting();

    constructor(
        address timelock_,
        IRollup rollup_,
        Bridge bridge_,
        Pause pause_,
        uint64 gasTarget_,
        uint256 priceFloor_,
        address feeRecipient_
    ) Governed(timelock_) {
        // The largest entry fits in a block, and no arithmetic below overflows.
        if (FeeMarket.BLOCK_SECONDS * gasTarget_ < MAX_GAS || gasTarget_ > 1e15) revert InvalidSetting();
        if (priceFloor_ == 0 || priceFloor_ > 1 ether || feeRecipient_ == address(0)) revert InvalidSetting();
        rollup = rollup_;
        bridge = bridge_;
        pause = pause_;
        gasTarget = gasTarget_;
        priceFloor = priceFloor_;
        feeRecipient = feeRecipient_;
    }

    /// @notice Appends an entry. What was paid beyond `mint` and the price of the gas comes back.
    /// @param to The L2 recipient; zero for a creation.
    /// @param isCreation Whether `data` is the creation code of a contract.
    /// @param mint Wei to create on L2 for the sender; the bridge keeps as much.
    /// @param value Wei that the L2 transaction carries, from the mint or the sender's L2 balance.
    /// @param gas The gas limit on L2.
    /// @param data The L2 transaction's data.
    /// @return index The entry's position.
    function send(address to, bool isCreation, uint256 mint, uint256 value, uint64 gas, bytes calldata data)
        external
        payable
        nonReentrant
        returns (uint64 index)
    {
        uint256 needed = mint + quote(gas);
        if (msg.value < needed) revert InsufficientPayment(needed);
        index = _append(to, isCreation, mint, value, gas, data);
        if (mint > 0) bridge.lock{value: mint}();
        if (msg.value > needed) Address.sendValue(payable(msg.sender), msg.value - needed);
    }

    /// @notice Deposits the ETH sent, less the price of the gas, to `to` on L2.
    /// @param gas 21,000 is enough for an account without code.
    /// @return index The entry's position.
    function depositETH(address to, uint64 gas) external payable nonReentrant returns (uint64 index) {
        uint256 fee = quote(gas);
        if (msg.value <= fee) revert InsufficientPayment(fee + 1);
        uint256 mint = msg.value - fee;
        index = _append(to, false, mint, mint, gas, "");
        bridge.lock{value: mint}();
    }

    /// @notice Pays the price of the gas so far to its recipient. Anyone may call.
    function sweepFees() external nonReentrant {
        uint256 amount = address(this).balance;
        emit FeesSwept(amount);
        Address.sendValue(payable(feeRecipient), amount);
    }

    /// @notice The price of `gas` now, in wei.
    function quote(uint64 gas) public view returns (uint256) {
        return uint256(gas) * FeeMarket.price(_meter, gasTarget, priceFloor);
    }

    /// @notice The least gas of an entry with this data: what Ethereum charges before execution if no byte is zero (EIP-7623,
    /// EIP-2028, EIP-3860). Zero bytes are not counted: counting would cost more than they save.
    function leastGas(uint256 dataLength, bool isCreation) public pure returns (uint256) {
        uint256 floor = 21_000 + 40 * dataLength;
        if (!isCreation) return floor;
        uint256 creation = 21_000 + 32_000 + 16 * dataLength + 2 * ((dataLength + 31) / 32);
        return creation > floor ? creation : floor;
    }

    /// @notice The rolling hash after `count` entries.
    function queueHash(uint64 count) public view returns (bytes32) {
        if (count == 0) return 0;
        if (count > length) revert UnknownMessage(count - 1);
        return _entries[count - 1].queueHash;
    }

    /// @notice What `Rollup` needs of the entries from `first` up to, without, `end`.
    /// @return hashBefore The rolling hash before them.
    /// @return hashAfter The rolling hash after them.
    /// @return lastBlock The L1 block of the last of them; 0 if there is none.
    /// @return nextBlock The L1 block of the entry after them; the largest number if there is none.
    /// @return nextTime Its time; the largest number if there is none.
    function span(uint64 first, uint64 end)
        external
        view
        returns (bytes32 hashBefore, bytes32 hashAfter, uint64 lastBlock, uint64 nextBlock, uint256 nextTime)
    {
        uint64 count = length;
        if (end > count) revert UnknownMessage(end - 1);
        if (first > end) revert UnknownMessage(first - 1);
        if (first > 0) hashBefore = _entries[first - 1].queueHash;
        hashAfter = hashBefore;
        if (end > first) {
            Entry storage last = _entries[end - 1];
            (hashAfter, lastBlock) = (last.queueHash, last.blockNumber);
        }
        (nextBlock, nextTime) = (type(uint64).max, type(uint256).max);
        if (end < count) {
            Entry storage next = _entries[end];
            (nextBlock, nextTime) = (next.blockNumber, next.timestamp);
        }
    }

    /// @notice The entry at `index`.
    function entry(uint64 index) external view returns (Entry memory) {
        if (index >= length) revert UnknownMessage(index);
        return _entries[index];
    }

    /// @notice The time of the entry at `index`, or the largest number if there is none yet.
    function timestampOf(uint64 index) public view returns (uint256) {
        return index < length ? _entries[index].timestamp : type(uint256).max;
    }

    /// @notice The hash of an entry, a word for each field.
    function entryHash(
        uint64 index,
        uint64 blockNumber,
        address from,
        address to,
        bool isCreation,
        uint256 mint,
        uint256 value,
        uint64 gas,
        bytes32 dataHash
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(index, blockNumber, from, to, isCreation, mint, value, gas, dataHash));
    }

    function _append(address to, bool isCreation, uint256 mint, uint256 value, uint64 gas, bytes memory data)
        private
        returns (uint64 index)
    {
        if (rollup.phase() != Phase.Open) revert ChainNotOpen();
        if (mint > 0 && pause.paused()) revert DepositsPaused();
        if (isCreation && to != address(0)) revert CreationHasRecipient();
        if (data.length > MAX_DATA) revert DataTooLong(data.length);
        uint256 least = leastGas(data.length, isCreation);
        if (gas > MAX_GAS || gas < least) revert InvalidGas(gas, least);

        _meter = FeeMarket.use(_meter, gasTarget, gas);
        index = length;
        address from = msg.sender == tx.origin ? msg.sender : Aliasing.alias_(msg.sender);
        bytes32 hash = entryHash(index, uint64(block.number), from, to, isCreation, mint, value, gas, keccak256(data));
        _entries[index] = Entry({
            queueHash: keccak256(abi.encodePacked(queueHash(index), hash)),
            sender: msg.sender,
            blockNumber: uint48(block.number),
            timestamp: uint48(block.timestamp)
        });
        length = index + 1;
        emit MessageQueued(index, from, to, isCreation, mint, value, gas, data);
    }

    function _halted() internal view override returns (bool) {
        return rollup.phase() == Phase.Halted;
    }
}
