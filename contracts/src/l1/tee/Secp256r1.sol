// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title ECDSA on P-256, by the precompile of EIP-7951.
/// @notice OpenZeppelin's `P256` refuses signatures with s in the upper half, which Intel's keys make as often as the others. So a
/// signature has two forms here: nothing may be known by its hash.
library Secp256r1 {
    uint256 private constant P256VERIFY = 0x100;
    /// @dev The precompile takes 6,900. The bound leaves room for a dearer one.
    uint256 private constant GAS = 100_000;

    /// @notice Whether r, s is a signature by the key x, y of the digest. The precompile checks the ranges and that the key is on the
    /// curve. It answers a 1 in 32 bytes, or nothing for whatever does not verify; an account without code answers nothing too.
    function verify(bytes32 digest, bytes32 r, bytes32 s, bytes32 x, bytes32 y) internal view returns (bool valid) {
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, digest)
            mstore(add(input, 0x20), r)
            mstore(add(input, 0x40), s)
            mstore(add(input, 0x60), x)
            mstore(add(input, 0x80), y)
            mstore(0, 0)
            let ok := staticcall(GAS, P256VERIFY, input, 0xa0, 0, 0x20)
            valid := and(and(ok, eq(returndatasize(), 0x20)), eq(mload(0), 1))
        }
    }
}
