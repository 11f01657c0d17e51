// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What a token says of itself.
struct TokenMetadata {
    string name;
    string symbol;
    uint8 decimals;
}

/// @title What the L1 bridge says to the L2 bridge.
interface IL2Bridge {
    /// @notice Tokens were deposited on L1.
    /// @param token The L1 token.
    /// @param from The L1 depositor, to whom a failed deposit goes back.
    /// @param to The L2 recipient.
    /// @param metadata abi.encode(TokenMetadata) on the first deposit, else empty.
    /// @param data If not empty, `to` must take the deposit by `onTokenDeposit`.
    function finalizeDeposit(
        address token,
        address from,
        address to,
        uint256 amount,
        bytes calldata metadata,
        bytes calldata data
    ) external;

    /// @notice Deploys the L2 counterpart of `token` if it is not there.
    function deployToken(address token, bytes calldata metadata) external;
}

/// @title An L2 contract that takes token deposits with data.
interface IDepositReceiver {
    /// @notice Called by the L2 bridge after the tokens are minted to this contract.
    /// @param l2Token The L2 token.
    /// @param from The L1 depositor.
    /// @return This function's selector; anything else, and the deposit has failed.
    function onTokenDeposit(address l2Token, address from, uint256 amount, bytes calldata data)
        external
        returns (bytes4);
}
