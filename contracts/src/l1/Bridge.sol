// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IL1Bridge} from "../common/IL1Bridge.sol";
import {IL2Bridge} from "../common/IL2Bridge.sol";
import {Predeploys} from "../common/Predeploys.sol";
import {Governed} from "./Governed.sol";
import {Inbox} from "./Inbox.sol";
import {IRollup, Phase} from "./IRollup.sol";
import {Metadata} from "./Metadata.sol";
import {Outbox} from "./Outbox.sol";
import {Pause} from "./Pause.sol";

/// @title The vault: all ETH and tokens that exist on L2 lie here.
/// @notice ETH comes in through `Inbox` and goes out through `Outbox` and `EscapeHatch`; the bridge itself calls no address that a user
/// names, so no message can speak for it. An ERC-20 token's first deposit carries its name, symbol and decimals, and L2 deploys its
/// counterpart. A deposit is worth what arrived, so tokens that keep a fee are exact; tokens whose balances change by
/// themselves are not supported: what they gain stays here, what they lose is missing for the last who leave.
contract Bridge is IL1Bridge, Governed, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice L2 gas of a token deposit without a call: the mint, or the record of its failure.
    uint64 public constant DEPOSIT_GAS = 300_000;
    /// @notice L2 gas of deploying a token's counterpart.
    uint64 public constant DEPLOY_GAS = 1_200_000;
    /// @notice The most bytes of data that a token deposit carries to its recipient.
    uint256 public constant MAX_DATA = 4096;

    /// @notice The rollup.
    IRollup public immutable rollup;
    /// @notice The queue that deposits go through.
    Inbox public immutable inbox;
    /// @notice What executes messages from L2.
    Outbox public immutable outbox;
    /// @notice What pays after a halt.
    address public immutable escapeHatch;
    /// @notice The pause, which stops deposits.
    Pause public immutable pause;

    /// @notice How much of each token L2 holders own, at most.
    mapping(address token => uint256 amount) public escrow;
    /// @notice Whether L2 was told the token's name, symbol and decimals.
    mapping(address token => bool) public announced;

    /// @notice ETH came in.
    event Locked(address indexed from, uint256 amount);
    /// @notice ETH went out.
    event Released(address indexed to, uint256 amount);
    /// @notice A token deposit was queued as message `index`.
    event TokenDeposited(
        address indexed token, address indexed from, address indexed to, uint256 amount, uint64 index, bytes data
    );
    /// @notice A token's name, symbol and decimals were sent to L2 as message `index`.
    event TokenAnnounced(address indexed token, uint64 index);
    /// @notice Tokens went out.
    event TokenReleased(address indexed token, address indexed to, uint256 amount);

    /// @notice The caller may not do this.
    error NotAllowed(address caller);
    /// @notice The message comes from another L2 account than the bridge.
    error NotL2Bridge(address sender);
    /// @notice Deposits wait for the pause's end.
    error DepositsPaused();
    /// @notice The data are longer than `MAX_DATA`.
    error DataTooLong(uint256 length);
    /// @notice No token arrived.
    error NothingArrived();
    /// @notice More tokens than were ever deposited.
    error EscrowExceeded(address token, uint256 escrow, uint256 amount);
    /// @notice The ETH sent is less than the price of the gas.
    error InsufficientPayment(uint256 needed);

    constructor(address timelock_, IRollup rollup_, Inbox inbox_, Outbox outbox_, address escapeHatch_, Pause pause_)
        Governed(timelock_)
    {
        rollup = rollup_;
        inbox = inbox_;
        outbox = outbox_;
        escapeHatch = escapeHatch_;
        pause = pause_;
    }

    /// @notice Takes in ETH: of a deposit, of genesis, or back from a call that failed.
    function lock() external payable {
        if (msg.sender != address(inbox) && msg.sender != address(rollup) && msg.sender != address(outbox)) {
            revert NotAllowed(msg.sender);
        }
        emit Locked(msg.sender, msg.value);
    }

    /// @notice Deposits `amount` of `token` to `to` on L2. What was paid beyond the price of the gas comes back.
    /// @param callGas L2 gas for the recipient's `onTokenDeposit`, if there are data.
    /// @param data If not empty, `to` must take the deposit by `onTokenDeposit`; if it does not, the deposit has failed on L2, and anyone
    /// can send it back there.
    /// @return index The position in the queue.
    function depositERC20(address token, address to, uint256 amount, uint64 callGas, bytes calldata data)
        external
        payable
        nonReentrant
        returns (uint64 index)
    {
        if (pause.paused()) revert DepositsPaused();
        if (data.length > MAX_DATA) revert DataTooLong(data.length);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 arrived = IERC20(token).balanceOf(address(this)) - before;
        if (arrived == 0) revert NothingArrived();
        escrow[token] += arrived;

        bool first = !announced[token];
        announced[token] = true;
        bytes memory metadata = first ? abi.encode(Metadata.read(token)) : bytes("");
        bytes memory message =
            abi.encodeCall(IL2Bridge.finalizeDeposit, (token, msg.sender, to, arrived, metadata, data));
        index = _send(DEPOSIT_GAS + callGas + (first ? DEPLOY_GAS : 0), message);
        emit TokenDeposited(token, msg.sender, to, arrived, index, data);
        if (first) emit TokenAnnounced(token, index);
    }

    /// @notice Tells L2 a token's name, symbol and decimals again, should the first deposit have failed there. Anyone may call.
    /// @return index The position in the queue.
    function announce(address token) external payable nonReentrant returns (uint64 index) {
        announced[token] = true;
        bytes memory message = abi.encodeCall(IL2Bridge.deployToken, (token, abi.encode(Metadata.read(token))));
        index = _send(DEPOSIT_GAS + DEPLOY_GAS, message);
        emit TokenAnnounced(token, index);
    }

    /// @notice The ETH that a deposit costs now.
    /// @param first Whether the token is not announced yet.
    function quote(uint64 callGas, bool first, uint256 dataLength) external view returns (uint256) {
        // 640 bytes hold the arguments and the longest metadata.
        return inbox.quote(_gas(DEPOSIT_GAS + callGas + (first ? DEPLOY_GAS : 0), 640 + dataLength));
    }

    /// @inheritdoc IL1Bridge
    /// @dev A message of the L2 bridge alone.
    function finalizeWithdrawal(address token, address to, uint256 amount) external nonReentrant {
        if (msg.sender != address(outbox)) revert NotAllowed(msg.sender);
        address sender = outbox.l2Sender();
        if (sender != Predeploys.L2_BRIDGE) revert NotL2Bridge(sender);
        _releaseToken(token, to, amount);
    }

    /// @notice Pays out ETH: to `Outbox` for a message's call, or by `EscapeHatch`.
    function release(address to, uint256 amount) external {
        if (msg.sender == address(outbox)) {
            if (to != address(outbox)) revert NotAllowed(to);
        } else if (msg.sender != escapeHatch) {
            revert NotAllowed(msg.sender);
        }
        emit Released(to, amount);
        Address.sendValue(payable(to), amount);
    }

    /// @notice Pays out tokens after a halt. `EscapeHatch` alone.
    function releaseToken(address token, address to, uint256 amount) external nonReentrant {
        if (msg.sender != escapeHatch) revert NotAllowed(msg.sender);
        _releaseToken(token, to, amount);
    }

    function _releaseToken(address token, address to, uint256 amount) private {
        uint256 held = escrow[token];
        if (amount > held) revert EscrowExceeded(token, held, amount);
        escrow[token] = held - amount;
        emit TokenReleased(token, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @dev Queues a message to the L2 bridge, paid by the caller, whose surplus comes back.
    function _send(uint64 executionGas, bytes memory message) private returns (uint64 index) {
        uint64 gas = _gas(executionGas, message.length);
        uint256 fee = inbox.quote(gas);
        if (msg.value < fee) revert InsufficientPayment(fee);
        index = inbox.send{value: fee}(Predeploys.L2_BRIDGE, false, 0, 0, gas, message);
        if (msg.value > fee) Address.sendValue(payable(msg.sender), msg.value - fee);
    }

    /// @dev The data are paid for on top: 40 gas a byte is the most that Ethereum charges (EIP-7623).
    function _gas(uint64 executionGas, uint256 dataLength) private pure returns (uint64) {
        return executionGas + uint64(40 * dataLength);
    }

    function _halted() internal view override returns (bool) {
        return rollup.phase() == Phase.Halted;
    }
}
