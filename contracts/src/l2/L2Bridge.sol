// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Aliasing} from "../common/Aliasing.sol";
import {IDepositReceiver, IL2Bridge, TokenMetadata} from "../common/IL2Bridge.sol";
import {IL1Bridge} from "../common/IL1Bridge.sol";
import {Predeploys} from "../common/Predeploys.sol";
import {L2Messenger} from "./L2Messenger.sol";
import {L2Token} from "./L2Token.sol";

/// @title The L2 side of the ERC-20 bridge.
/// @notice A predeploy, without a constructor. Its storage is part of the protocol: slot 0 the L1 bridge (genesis sets it), slot 1 the number of
/// failed deposits, slot 2 the mapping of failed deposits, which an escape on L1 proves.
contract L2Bridge is IL2Bridge, ReentrancyGuardTransient {
    /// @dev Gas that a deposit keeps for the record of its failure.
    uint256 private constant RECORD_GAS = 90_000;
    /// @dev L1 gas of a token's release.
    uint64 private constant RELEASE_GAS = 200_000;

    /// @notice The bridge on L1.
    address public l1Bridge;
    /// @notice The number of deposits that have failed here.
    uint256 public failedCount;
    /// @notice Of each failed deposit keccak256(L1 token ‖ L1 depositor ‖ amount), a word each; zero once it was sent back.
    mapping(uint256 id => bytes32) public failed;

    /// @notice A token's counterpart was deployed.
    event TokenDeployed(address indexed l1Token, address indexed l2Token);
    /// @notice A deposit was minted.
    event DepositFinalized(
        address indexed l1Token, address indexed l2Token, address indexed to, address from, uint256 amount
    );
    /// @notice A deposit failed: `sendBack` returns it to its depositor on L1.
    event DepositFailed(uint256 indexed id, address indexed l1Token, address indexed from, address to, uint256 amount);
    /// @notice A failed deposit is on its way back, as message `nonce`.
    event DepositSentBack(uint256 indexed id, uint64 nonce);
    /// @notice Tokens were burned for a withdrawal, message `nonce`.
    event WithdrawalStarted(
        address indexed l1Token, address indexed from, address indexed to, uint256 amount, uint64 nonce
    );

    /// @notice The caller is not the L1 bridge.
    error NotL1Bridge();
    /// @notice The caller is not this contract.
    error NotSelf();
    /// @notice There is no such token here.
    error UnknownToken(address token);
    /// @notice The recipient did not take the deposit.
    error DepositRefused();
    /// @notice No deposit of this content failed under this number, or it was sent back.
    error NoSuchFailure(uint256 id);
    /// @notice Nothing is withdrawn to nobody.
    error InvalidWithdrawal();

    modifier onlyL1Bridge() {
        if (msg.sender != Aliasing.alias_(l1Bridge)) revert NotL1Bridge();
        _;
    }

    /// @inheritdoc IL2Bridge
    function finalizeDeposit(
        address token,
        address from,
        address to,
        uint256 amount,
        bytes calldata metadata,
        bytes calldata data
    ) external nonReentrant onlyL1Bridge {
        uint256 forwarded = gasleft() > RECORD_GAS ? gasleft() - RECORD_GAS : 0;
        try this.mint{gas: forwarded}(token, from, to, amount, metadata, data) {
            emit DepositFinalized(token, l2TokenOf(token), to, from, amount);
        } catch {
            uint256 id = failedCount++;
            failed[id] = keccak256(abi.encode(token, from, amount));
            emit DepositFailed(id, token, from, to, amount);
        }
    }

    /// @inheritdoc IL2Bridge
    function deployToken(address token, bytes calldata metadata) external nonReentrant onlyL1Bridge {
        _deploy(token, metadata);
    }

    /// @notice What of a deposit may fail. This contract alone.
    function mint(address token, address from, address to, uint256 amount, bytes calldata metadata, bytes calldata data)
        external
    {
        if (msg.sender != address(this)) revert NotSelf();
        if (metadata.length > 0) _deploy(token, metadata);
        address l2Token = l2TokenOf(token);
        if (l2Token.code.length == 0) revert UnknownToken(l2Token);
        L2Token(l2Token).mint(to, amount);
        if (data.length > 0) {
            bytes4 answer = IDepositReceiver(to).onTokenDeposit(l2Token, from, amount, data);
            if (answer != IDepositReceiver.onTokenDeposit.selector) revert DepositRefused();
        }
    }

    /// @notice Returns a failed deposit to its depositor on L1. Anyone may call.
    /// @return nonce The position of the message to L1.
    function sendBack(uint256 id, address token, address from, uint256 amount)
        external
        nonReentrant
        returns (uint64 nonce)
    {
        if (failed[id] != keccak256(abi.encode(token, from, amount))) revert NoSuchFailure(id);
        failed[id] = 0;
        nonce = _sendRelease(token, from, amount);
        emit DepositSentBack(id, nonce);
    }

    /// @notice Burns the caller's tokens and releases as many to `to` on L1.
    /// @param l2Token The L2 token.
    /// @return nonce The position of the message to L1.
    function withdraw(address l2Token, address to, uint256 amount) external nonReentrant returns (uint64 nonce) {
        if (to == address(0) || amount == 0) revert InvalidWithdrawal();
        if (l2Token.code.length == 0) revert UnknownToken(l2Token);
        address l1Token = L2Token(l2Token).l1Token();
        if (l2TokenOf(l1Token) != l2Token) revert UnknownToken(l2Token);
        L2Token(l2Token).burn(msg.sender, amount);
        nonce = _sendRelease(l1Token, to, amount);
        emit WithdrawalStarted(l1Token, msg.sender, to, amount, nonce);
    }

    /// @notice The L2 counterpart of an L1 token, deployed or not.
    function l2TokenOf(address token) public view returns (address) {
        return Create2.computeAddress(_salt(token), Predeploys.L2_TOKEN_INIT_CODE_HASH, address(this));
    }

    function _deploy(address token, bytes calldata metadata) private {
        if (l2TokenOf(token).code.length > 0) return;
        TokenMetadata memory words = abi.decode(metadata, (TokenMetadata));
        L2Token l2Token = new L2Token{salt: _salt(token)}();
        l2Token.initialize(token, words.name, words.symbol, words.decimals);
        emit TokenDeployed(token, address(l2Token));
    }

    function _salt(address token) private pure returns (bytes32) {
        return bytes32(uint256(uint160(token)));
    }

    function _sendRelease(address token, address to, uint256 amount) private returns (uint64) {
        return L2Messenger(Predeploys.L2_MESSENGER)
            .send(l1Bridge, RELEASE_GAS, abi.encodeCall(IL1Bridge.finalizeWithdrawal, (token, to, amount)));
    }
}
