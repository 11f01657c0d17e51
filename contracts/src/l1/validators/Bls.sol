// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title BLS12-381 signatures, in G1, with keys in G2, by the precompiles of EIP-2537.
/// @notice The ciphersuite is BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_ of draft-irtf-cfrg-bls-signature; messages are hashed to the curve
/// as RFC 9380 says. Outside of this library a signature is x ‖ y, 96 bytes, and a key x.c0 ‖ x.c1 ‖ y.c0 ‖ y.c1, 192 bytes: what the
/// precompiles take without the padding of each 48 bytes to 64.
///
/// The addition of points checks that they are on their curve, the pairing also that they are in the subgroup.
///
/// All work is done in a *room* of 1,216 bytes, made by `newRoom`; padded points, but for the last:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 128 | the signature |
/// | 128 | 256 | the generator of G2 |
/// | 384 | 128 | the message on the curve |
/// | 512 | 256 | the key; a sum of keys |
/// | 768 | 256 | the next key of the sum |
/// | 1024 | 192 | that key as it was read |
library Bls {
    /// @notice The domain of votes' signatures.
    bytes internal constant VOTES = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
    /// @notice The domain of proofs of possession.
    bytes internal constant POSSESSION = "BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
    /// @notice Bytes of a key.
    uint256 internal constant KEY = 192;
    /// @notice Bytes of a signature.
    uint256 internal constant SIGNATURE = 96;
    /// @notice Bytes of a compressed key.
    uint256 internal constant COMPRESSED = 96;

    // The field's modulus p, its upper 125 bits and the lower 256; and half of p - 1.
    uint256 private constant P_HIGH = 0x1a0111ea397fe69a4b1ba7b6434bacd7;
    uint256 private constant P_LOW = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;
    uint256 private constant HALF_HIGH = 0x0d0088f51cbff34d258dd3db21a5d66b;
    uint256 private constant HALF_LOW = 0xb23ba5c279c2895fb39869507b587b120f55ffff58a9ffffdcff7fffffffd555;

    // The precompiles take this much, and all that they were given if they refuse. The bounds leave room for dearer ones.
    uint256 private constant ADD_GAS = 20_000;
    uint256 private constant MAP_GAS = 100_000;
    uint256 private constant PAIRING_GAS = 2_000_000;

    /// @notice These bytes are no point of the curve.
    error InvalidPoint();

    /// @notice A room whose sum is zero.
    function newRoom() internal pure returns (bytes memory) {
        return new bytes(1216);
    }

    // --- signatures ---

    /// @notice Whether `signature` is by the holder of `key`. Not if either is zero, or outside of its subgroup.
    function verify(bytes calldata key, bytes memory message, bytes memory domain, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        if (key.length != KEY || _isZero(key)) return false;
        bytes memory room = newRoom();
        assembly ("memory-safe") {
            calldatacopy(add(room, 560), key.offset, 48)
            calldatacopy(add(room, 624), add(key.offset, 48), 48)
            calldatacopy(add(room, 688), add(key.offset, 96), 48)
            calldatacopy(add(room, 752), add(key.offset, 144), 48)
        }
        return verifyOpposite(room, message, domain, signature, true);
    }

    /// @notice Whether `signature` is by the holders of keys whose sum is the opposite of the room's; or, if `negate`, the room's itself.
    function verifyOpposite(
        bytes memory room,
        bytes memory message,
        bytes memory domain,
        bytes calldata signature,
        bool negate
    ) internal view returns (bool valid) {
        if (signature.length != SIGNATURE) return false;
        uint256 y;
        uint256 any;
        assembly ("memory-safe") {
            calldatacopy(add(room, 48), signature.offset, 48)
            calldatacopy(add(room, 112), add(signature.offset, 48), 48)
            y := add(room, 96)
            any := or(or(mload(add(room, 32)), mload(add(room, 64))), or(mload(y), mload(add(room, 128))))
            // x.c0, x.c1, y.c0, y.c1 of the generator.
            mstore(add(room, 160), 0x024aa2b2f08f0a91260805272dc51051)
            mstore(add(room, 192), 0xc6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8)
            mstore(add(room, 224), 0x13e02b6052719f607dacd3a088274f65)
            mstore(add(room, 256), 0x596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e)
            mstore(add(room, 288), 0x0ce5d527727d6e118cc9cdc6da2e351a)
            mstore(add(room, 320), 0xadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801)
            mstore(add(room, 352), 0x0606c4a02ea734cc32acd2b02bc28b99)
            mstore(add(room, 384), 0xcb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be)
        }
        // The product of the pairings is 1 for the opposite of the key, or of the signature.
        if (any == 0 || (negate && !_negate(y))) return false;
        _hashToCurve(room, message, domain);
        assembly ("memory-safe") {
            valid := staticcall(PAIRING_GAS, 0x0f, add(room, 32), 768, 0, 32)
            valid := and(and(valid, eq(returndatasize(), 32)), mload(0))
        }
    }

    // --- sums of keys ---

    /// @notice Makes the key at `offset` of a contract's code the sum.
    function setFrom(bytes memory room, address code, uint256 offset) internal view {
        assembly ("memory-safe") {
            let key := add(room, 1056)
            extcodecopy(code, key, offset, 192)
            mcopy(add(room, 560), key, 48)
            mcopy(add(room, 624), add(key, 48), 48)
            mcopy(add(room, 688), add(key, 96), 48)
            mcopy(add(room, 752), add(key, 144), 48)
        }
    }

    /// @notice Adds keys of a contract's code to the sum: for each bit i of `bits` that at `offset` + 192 · i.
    /// @return count How many bits there are.
    function addFrom(bytes memory room, address code, uint256 offset, uint256 bits)
        internal
        view
        returns (uint256 count)
    {
        bool ok = true;
        assembly ("memory-safe") {
            let sum := add(room, 544)
            let key := add(room, 1056)
            for {} bits {} {
                let bit := sub(255, clz(bits))
                bits := xor(bits, shl(bit, 1))
                extcodecopy(code, key, add(offset, mul(bit, 192)), 192)
                mcopy(add(room, 816), key, 48)
                mcopy(add(room, 880), add(key, 48), 48)
                mcopy(add(room, 944), add(key, 96), 48)
                mcopy(add(room, 1008), add(key, 144), 48)
                ok := and(ok, staticcall(ADD_GAS, 0x0d, sum, 512, sum, 256))
                count := add(count, 1)
            }
        }
        if (!ok) revert InvalidPoint();
    }

    /// @notice Adds a key, 192 bytes in memory, to the sum. Reverts with `InvalidPoint` if it is not on the curve.
    function addKey(bytes memory room, uint256 key) internal view {
        bool ok;
        assembly ("memory-safe") {
            let sum := add(room, 544)
            mcopy(add(room, 816), key, 48)
            mcopy(add(room, 880), add(key, 48), 48)
            mcopy(add(room, 944), add(key, 96), 48)
            mcopy(add(room, 1008), add(key, 144), 48)
            ok := staticcall(ADD_GAS, 0x0d, sum, 512, sum, 256)
            ok := and(ok, eq(returndatasize(), 256))
        }
        if (!ok) revert InvalidPoint();
    }

    /// @notice Writes the opposite of the sum, 192 bytes. The sum of no keys is its own.
    function putOpposite(bytes memory room, uint256 to) internal pure {
        uint256 y;
        assembly ("memory-safe") {
            y := add(room, 672)
        }
        _negate(y);
        _negate(y + 64);
        assembly ("memory-safe") {
            mcopy(to, add(room, 560), 48)
            mcopy(add(to, 48), add(room, 624), 48)
            mcopy(add(to, 96), add(room, 688), 48)
            mcopy(add(to, 144), add(room, 752), 48)
        }
    }

    // --- encodings ---

    /// @notice Writes the compressed form of a key, 96 bytes: x.c1 with the flags, x.c0. That the key is on the curve is not looked at.
    /// @param key Where its 192 bytes are in memory.
    function putCompressed(uint256 key, uint256 to) internal pure {
        uint256 high;
        uint256 low;
        assembly ("memory-safe") {
            high := shr(128, mload(add(key, 144)))
            low := mload(add(key, 160))
            if iszero(or(high, low)) {
                high := shr(128, mload(add(key, 96)))
                low := mload(add(key, 112))
            }
        }
        // Compressed; and the sign, which is set if y, by c1, then c0, is the larger of the two.
        uint256 flags = high > HALF_HIGH || (high == HALF_HIGH && low > HALF_LOW) ? 0xa0 : 0x80;
        assembly ("memory-safe") {
            mcopy(to, add(key, 48), 48)
            mcopy(add(to, 48), key, 48)
            mstore8(to, or(byte(0, mload(to)), flags))
        }
    }

    /// @notice The compressed form of a key.
    function compress(bytes memory key) internal pure returns (bytes memory compressed) {
        if (key.length != KEY) revert InvalidPoint();
        compressed = new bytes(COMPRESSED);
        uint256 from;
        uint256 to;
        assembly ("memory-safe") {
            from := add(key, 32)
            to := add(compressed, 32)
        }
        putCompressed(from, to);
    }

    /// @dev Whether all of some words are zero: the encoding of the point at infinity.
    function _isZero(bytes calldata point) private pure returns (bool zero) {
        assembly ("memory-safe") {
            let all := 0
            for { let i := 0 } lt(i, point.length) { i := add(i, 32) } {
                all := or(all, calldataload(add(point.offset, i)))
            }
            zero := iszero(all)
        }
    }

    // --- the field ---

    /// @notice high · 2^256 + low, modulo p.
    function reduce(uint256 high, uint256 low) internal pure returns (uint256, uint256) {
        assembly ("memory-safe") {
            // high / (P_HIGH + 1) is the quotient or less, by 2^-124 of it: some hundred the first time, one at most the second.
            for { let i := 0 } lt(i, 2) { i := add(i, 1) } {
                let quotient := div(high, add(P_HIGH, 1))
                // The product with p, of which what mulmod leaves gives the upper half.
                let product := mul(quotient, P_LOW)
                let rest := mulmod(quotient, P_LOW, not(0))
                rest := add(sub(sub(rest, product), lt(rest, product)), mul(quotient, P_HIGH))
                high := sub(sub(high, rest), lt(low, product))
                low := sub(low, product)
            }
            for {} or(gt(high, P_HIGH), and(eq(high, P_HIGH), iszero(lt(low, P_LOW)))) {} {
                high := sub(sub(high, P_HIGH), lt(low, P_LOW))
                low := sub(low, P_LOW)
            }
        }
        return (high, low);
    }

    /// @dev p less the 64 bytes at `place`, there; zero stays. Nothing is done, and false returned, if they are not below p.
    function _negate(uint256 place) private pure returns (bool) {
        uint256 high;
        uint256 low;
        assembly ("memory-safe") {
            high := mload(place)
            low := mload(add(place, 32))
        }
        if (high | low == 0) return true;
        if (high > P_HIGH || (high == P_HIGH && low >= P_LOW)) return false;
        unchecked {
            high = P_HIGH - high - (P_LOW < low ? 1 : 0);
            low = P_LOW - low;
        }
        assembly ("memory-safe") {
            mstore(place, high)
            mstore(add(place, 32), low)
        }
        return true;
    }

    // --- hash to the curve ---

    /// @dev RFC 9380's hash_to_curve of suite BLS12381G1_XMD:SHA-256_SSWU_RO_, into the room. The domain has 43 bytes.
    function _hashToCurve(bytes memory room, bytes memory message, bytes memory domain) private view {
        uint256 high;
        uint256 low;
        uint256 high2;
        uint256 low2;
        bool ok;
        assembly ("memory-safe") {
            // expand_message_xmd: b_0 = H(64 zero bytes ‖ message ‖ 128, 0 as 3 bytes ‖ domain ‖ its length)
            let free := mload(0x40)
            let length := mload(message)
            let end := add(add(free, 64), length)
            mstore(free, 0)
            mstore(add(free, 32), 0)
            mcopy(add(free, 64), add(message, 32), length)
            mstore(end, shl(232, 0x008000))
            mcopy(add(end, 3), add(domain, 32), 43)
            mstore8(add(end, 46), 43)
            ok := staticcall(gas(), 2, free, add(length, 111), 0, 32)
            let b0 := mload(0)
            // b_i = H(b_0 xor b_{i-1} ‖ i ‖ domain ‖ its length), b_1 without the b_{i-1}.
            mstore(free, b0)
            mcopy(add(free, 33), add(end, 3), 44)
            mstore8(add(free, 32), 1)
            ok := and(ok, staticcall(gas(), 2, free, 77, 0, 32))
            high := mload(0)
            mstore(free, xor(b0, high))
            mstore8(add(free, 32), 2)
            ok := and(ok, staticcall(gas(), 2, free, 77, 0, 32))
            low := mload(0)
            mstore(free, xor(b0, low))
            mstore8(add(free, 32), 3)
            ok := and(ok, staticcall(gas(), 2, free, 77, 0, 32))
            high2 := mload(0)
            mstore(free, xor(b0, high2))
            mstore8(add(free, 32), 4)
            ok := and(ok, staticcall(gas(), 2, free, 77, 0, 32))
            low2 := mload(0)
        }
        (high, low) = reduce(high, low);
        (high2, low2) = reduce(high2, low2);
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, high)
            mstore(add(free, 32), low)
            mstore(add(free, 64), high2)
            mstore(add(free, 96), low2)
            // Both to the curve, the cofactor cleared; then their sum.
            ok := and(ok, staticcall(MAP_GAS, 0x10, add(free, 64), 64, add(free, 128), 128))
            ok := and(ok, staticcall(MAP_GAS, 0x10, free, 64, free, 128))
            ok := and(ok, staticcall(ADD_GAS, 0x0b, free, 256, add(room, 416), 128))
            ok := and(ok, eq(returndatasize(), 128))
        }
        if (!ok) revert InvalidPoint();
    }
}
