// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// @title The proxy of every L1 contract (ERC-1967); it starts as a `Placeholder`.
contract Proxy is ERC1967Proxy {
    /// @param implementation The placeholder.
    /// @param data The call that names the deployer.
    constructor(address implementation, bytes memory data) ERC1967Proxy(implementation, data) {}
}
