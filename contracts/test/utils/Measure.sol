// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Test} from "./Test.sol";

/// @notice Measures what transactions cost, whole: 21,000, calldata (EIP-2028, EIP-7623) and execution with everything cold.
abstract contract Measure is Test {
    bytes32 private constant IMPLEMENTATION = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    uint256 internal cost;
    uint256 internal payment;
    /// The contracts whose slots are to be cold. Accounts are so where a test has not touched them: forge cannot cool them.
    address[] internal cold;

    /// @dev Adds what is behind the proxies among them. In `setUp`, since it touches them.
    function coolBehind() internal {
        uint256 count = cold.length;
        for (uint256 i; i < count; ++i) {
            address behind = address(uint160(uint256(vm.load(cold[i], IMPLEMENTATION))));
            if (behind != address(0)) cold.push(behind);
        }
    }

    /// @dev The gas of a whole transaction.
    function measure(address from, address to, bytes memory data) internal returns (uint256) {
        uint256 zeros;
        for (uint256 i; i < data.length; ++i) {
            if (data[i] == 0) ++zeros;
        }
        uint256 tokens = zeros + 4 * (data.length - zeros);
        for (uint256 i; i < cold.length; ++i) {
            vm.cool(cold[i]);
        }
        vm.deal(from, 10 ether);
        // A transaction's own account is warm.
        vm.assertTrue(to.code.length > 0);
        vm.prank(from, from);
        uint256 value = payment;
        bool ok;
        uint256 execution = gasleft();
        assembly ("memory-safe") {
            ok := call(gas(), to, value, add(data, 32), mload(data), 0, 0)
        }
        execution -= gasleft();
        vm.assertTrue(ok);
        uint256 charged = execution + 4 * tokens;
        return 21_000 + (charged > 10 * tokens ? charged : 10 * tokens);
    }

    /// @dev Keeps the figure, and the promise.
    function keep(string memory name, uint256 limit) internal {
        vm.snapshotValue(name, cost);
        vm.assertLe(cost, limit, name);
    }
}
