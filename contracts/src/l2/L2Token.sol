// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title The L2 counterpart of an L1 ERC-20 token.
/// @notice The L2 bridge creates it with the L1 token's address as salt and no arguments, so its address follows from the L1 token's. Its
/// storage begins at the ERC-7201 slot of `jove.storage.L2Token` with the balances: an escape on L1 proves them there.
contract L2Token layout at 0xca5bae621500059bf9a73654ac7a4f07e7ea6beff0522cfaddacb4e534b5ad00 is ERC20 {
    /// @notice The L2 bridge.
    address public immutable bridge = msg.sender;
    /// @notice The L1 token.
    address public l1Token;
    uint8 private _decimals;
    string private _name;
    string private _symbol;

    /// @notice The caller is not the L2 bridge.
    error NotBridge();
    /// @notice The token has its name already.
    error AlreadyInitialized();

    constructor() ERC20("", "") {}

    modifier onlyBridge() {
        if (msg.sender != bridge) revert NotBridge();
        _;
    }

    /// @notice Names the token. The bridge alone, once.
    function initialize(address l1Token_, string calldata name_, string calldata symbol_, uint8 decimals_)
        external
        onlyBridge
    {
        if (l1Token != address(0)) revert AlreadyInitialized();
        l1Token = l1Token_;
        _name = name_;
        _symbol = symbol_;
        _decimals = decimals_;
    }

    /// @notice Creates tokens for a deposit. The bridge alone.
    function mint(address to, uint256 amount) external onlyBridge {
        _mint(to, amount);
    }

    /// @notice Destroys tokens for a withdrawal. The bridge alone.
    function burn(address from, uint256 amount) external onlyBridge {
        _burn(from, amount);
    }

    /// @inheritdoc ERC20
    function name() public view override returns (string memory) {
        return _name;
    }

    /// @inheritdoc ERC20
    function symbol() public view override returns (string memory) {
        return _symbol;
    }

    /// @inheritdoc ERC20
    function decimals() public view override returns (uint8) {
        return _decimals;
    }
}
