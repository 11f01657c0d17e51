// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {StorageSlot} from "@openzeppelin/contracts/utils/StorageSlot.sol";

/// @title The account that deploys a chain, kept by each proxy from its construction on.
library Deployer {
    /// @dev ERC-7201 of `jove.storage.Deployer`: away from the storage of what follows the placeholder.
    bytes32 internal constant SLOT =
        keccak256(abi.encode(uint256(keccak256("jove.storage.Deployer")) - 1)) & ~bytes32(uint256(0xff));

    /// @notice The deployer.
    function get() internal view returns (address) {
        return StorageSlot.getAddressSlot(SLOT).value;
    }

    /// @notice Keeps the deployer.
    function set(address deployer) internal {
        StorageSlot.getAddressSlot(SLOT).value = deployer;
    }
}

/// @title What a proxy runs before its contract is there.
/// @notice The proxies come first, so that every contract can have the others' addresses in its code and L2's genesis can name them.
/// Only the deployer can put the contract in place; from then on only the timelock can replace it.
contract Placeholder is UUPSUpgradeable {
    /// @notice The proxy has its deployer already.
    error AlreadyClaimed();
    /// @notice The caller is not the deployer.
    error NotDeployer();

    /// @notice Names the deployer; the proxy's constructor calls it.
    function claim(address deployer_) external {
        if (Deployer.get() != address(0)) revert AlreadyClaimed();
        Deployer.set(deployer_);
    }

    /// @notice The account that may put the contract in place.
    function deployer() external view returns (address) {
        return Deployer.get();
    }

    function _authorizeUpgrade(address) internal view override {
        if (msg.sender != Deployer.get()) revert NotDeployer();
    }
}

/// @title A contract behind a proxy that only the timelock upgrades, and nobody after the escape has begun.
abstract contract Governed is UUPSUpgradeable {
    /// @notice The timelock: its delay is longer than the time that users need to leave.
    address public immutable timelock;

    /// @notice The caller is not the timelock.
    error NotTimelock();
    /// @notice The escape has begun: nothing changes any more.
    error ChainHalted();

    constructor(address timelock_) {
        timelock = timelock_;
    }

    modifier onlyTimelock() {
        _onlyTimelock();
        _;
    }

    function _onlyTimelock() internal view {
        if (msg.sender != timelock) revert NotTimelock();
    }

    /// @dev Whether the escape has begun.
    function _halted() internal view virtual returns (bool);

    function _authorizeUpgrade(address) internal view override onlyTimelock {
        if (_halted()) revert ChainHalted();
    }
}
