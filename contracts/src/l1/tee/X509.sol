// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Der} from "./Der.sol";
import {Secp256r1} from "./Secp256r1.sol";

/// @notice A certificate, as far as it is looked at here.
struct Certificate {
    /// SHA-256 of what is signed.
    bytes32 digest;
    bytes32 r;
    bytes32 s;
    uint160 serial;
    /// keccak256 of the DER of the issuer's name.
    bytes32 issuer;
    /// keccak256 of the DER of the subject's name.
    bytes32 subject;
    /// keccak256 of the subject's common name.
    bytes32 commonName;
    /// Unix seconds; valid before `until`.
    uint48 from;
    uint48 until;
    /// The subject's key on P-256.
    bytes32 x;
    bytes32 y;
    /// Whether it may sign certificates, by its basic constraints.
    bool ca;
    /// The first byte of its key usage.
    uint8 usage;
    /// The content of Intel's SGX extension, an empty range if there is none.
    Der.Cursor sgx;
}

/// @notice A revocation list, as far as it is looked at here.
struct Crl {
    bytes32 digest;
    bytes32 r;
    bytes32 s;
    /// keccak256 of the DER of the issuer's name.
    bytes32 issuer;
    /// Unix seconds; valid before `until`.
    uint48 from;
    uint48 until;
    /// The revoked certificates: `X509.nextRevoked` reads one.
    Der.Cursor entries;
}

/// @title Certificates and revocation lists (RFC 5280) of the profile that Intel's attestation has.
/// @notice Version 3 and 2; ECDSA with SHA-256 on P-256; one common name; extensions that are critical and not known here refuse the whole.
/// Signatures are read, not verified. (Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.)
library X509 {
    using Der for Der.Cursor;

    /// @notice Key usage: signatures over other things than certificates and lists.
    uint8 internal constant DIGITAL_SIGNATURE = 0x80;
    /// @notice Key usage: signatures over certificates and over revocation lists.
    uint8 internal constant CERTIFICATES_AND_LISTS = 0x06;

    // Object identifiers, as `Der.word` gives them.
    uint256 private constant COMMON_NAME = 3 << 248 | 0x550403; // 2.5.4.3
    uint256 private constant KEY_USAGE = 3 << 248 | 0x551d0f; // 2.5.29.15
    uint256 private constant BASIC_CONSTRAINTS = 3 << 248 | 0x551d13; // 2.5.29.19
    uint256 private constant SGX = 9 << 248 | 0x2a864886f84d010d01; // 1.2.840.113741.1.13.1
    /// @dev The content of the AlgorithmIdentifier of ECDSA with SHA-256, 1.2.840.10045.4.3.2.
    uint256 private constant ECDSA_WITH_SHA256 = 10 << 248 | 0x06082a8648ce3d040302;
    /// @dev What precedes x and y in a SubjectPublicKeyInfo's content: 1.2.840.10045.2.1, prime256v1, uncompressed.
    uint256 private constant P256_KEY = 0x301306072a8648ce3d020106082a8648ce3d03010703420004;

    /// @notice Reads a certificate. Reverts with `refusal` if it is not of the profile.
    function certificate(bytes memory der, bytes4 refusal) internal view returns (Certificate memory c) {
        Der.Cursor memory tbs;
        (tbs, c.digest, c.r, c.s) = _signed(der, refusal);
        Der.Cursor memory version = tbs.enter(0xa0);
        if (version.integer(1) != 2) tbs.refuse(); // version 3
        version.close();
        c.serial = uint160(tbs.integer(20));
        _algorithm(tbs);
        uint256 start = tbs.next;
        tbs.read(Der.SEQUENCE);
        c.issuer = Der.keccak(der, start, tbs.next - start);
        (c.from, c.until) = _validity(tbs.enter(Der.SEQUENCE));
        start = tbs.next;
        c.commonName = _commonName(tbs.enter(Der.SEQUENCE));
        c.subject = Der.keccak(der, start, tbs.next - start);
        (c.x, c.y) = _key(tbs);
        _extensions(tbs, c);
        tbs.close();
    }

    /// @notice Reads a revocation list. Reverts with `refusal` if it is not of the profile.
    function crl(bytes memory der, bytes4 refusal) internal view returns (Crl memory c) {
        Der.Cursor memory tbs;
        (tbs, c.digest, c.r, c.s) = _signed(der, refusal);
        if (tbs.integer(1) != 1) tbs.refuse(); // version 2
        _algorithm(tbs);
        uint256 start = tbs.next;
        tbs.read(Der.SEQUENCE);
        c.issuer = Der.keccak(der, start, tbs.next - start);
        c.from = tbs.time();
        c.until = tbs.time();
        c.entries = tbs.peek() == Der.SEQUENCE ? tbs.enter(Der.SEQUENCE) : Der.Cursor(der, 0, 0, refusal);
        if (tbs.peek() == 0xa0) {
            Der.Cursor memory explicit_ = tbs.enter(0xa0);
            Der.Cursor memory extensions = explicit_.enter(Der.SEQUENCE);
            explicit_.close();
            while (extensions.next < extensions.end) {
                (, bool critical, Der.Cursor memory value) = _extension(extensions);
                // A critical one says that the list is a part, a difference, or of several issuers.
                if (critical) value.refuse();
            }
        }
        tbs.close();
    }

    /// @notice The next serial number of a list's `entries`.
    function nextRevoked(Der.Cursor memory entries) internal pure returns (uint160 serial) {
        Der.Cursor memory entry = entries.enter(Der.SEQUENCE);
        serial = uint160(entry.integer(20));
        entry.skip(); // when
        if (entry.peek() == Der.SEQUENCE) entry.skip(); // why
        entry.close();
    }

    /// @notice Whether the key x, y signed the certificate.
    function isSignedBy(Certificate memory c, bytes32 x, bytes32 y) internal view returns (bool) {
        return Secp256r1.verify(c.digest, c.r, c.s, x, y);
    }

    /// @notice Whether the key x, y signed the revocation list.
    function isSignedBy(Crl memory c, bytes32 x, bytes32 y) internal view returns (bool) {
        return Secp256r1.verify(c.digest, c.r, c.s, x, y);
    }

    /// @dev What certificates and lists have in common: SEQUENCE { what is signed, algorithm, signature }.
    function _signed(bytes memory der, bytes4 refusal)
        private
        view
        returns (Der.Cursor memory tbs, bytes32 digest, bytes32 r, bytes32 s)
    {
        Der.Cursor memory all = Der.open(der, refusal);
        Der.Cursor memory outer = all.enter(Der.SEQUENCE);
        all.close();
        uint256 start = outer.next;
        tbs = outer.enter(Der.SEQUENCE);
        digest = Der.sha(der, start, tbs.end - start);
        _algorithm(outer);
        Der.Cursor memory bits = outer.enter(Der.BIT_STRING);
        outer.close();
        if (bits.peek() != 0) bits.refuse(); // unused bits
        if (bits.next == bits.end) bits.refuse();
        ++bits.next;
        Der.Cursor memory signature = bits.enter(Der.SEQUENCE);
        bits.close();
        r = bytes32(signature.integer(32));
        s = bytes32(signature.integer(32));
        signature.close();
    }

    function _algorithm(Der.Cursor memory cursor) private pure {
        if (cursor.word(Der.SEQUENCE) != ECDSA_WITH_SHA256) cursor.refuse();
    }

    function _validity(Der.Cursor memory validity) private pure returns (uint48 from, uint48 until) {
        from = validity.time();
        until = validity.time();
        validity.close();
    }

    /// @dev keccak256 of the one common name.
    function _commonName(Der.Cursor memory name) private pure returns (bytes32 hash) {
        while (name.next < name.end) {
            Der.Cursor memory set = name.enter(Der.SET);
            Der.Cursor memory attribute = set.enter(Der.SEQUENCE);
            set.close();
            uint256 kind = attribute.word(Der.OBJECT_IDENTIFIER);
            if (kind == COMMON_NAME) {
                if (hash != 0) name.refuse();
                bool printable = attribute.peek() == Der.PRINTABLE_STRING;
                (uint256 start, uint256 length) = attribute.read(printable ? Der.PRINTABLE_STRING : Der.UTF8_STRING);
                hash = Der.keccak(name.data, start, length);
            } else {
                attribute.skip();
            }
            attribute.close();
        }
        if (hash == 0) name.refuse();
    }

    function _key(Der.Cursor memory tbs) private pure returns (bytes32 x, bytes32 y) {
        (uint256 start, uint256 length) = tbs.read(Der.SEQUENCE);
        if (length != 89 || Der.load(tbs.data, start) >> 56 != P256_KEY) tbs.refuse();
        x = bytes32(Der.load(tbs.data, start + 25));
        y = bytes32(Der.load(tbs.data, start + 57));
    }

    function _extensions(Der.Cursor memory tbs, Certificate memory c) private pure {
        Der.Cursor memory explicit_ = tbs.enter(0xa3);
        Der.Cursor memory extensions = explicit_.enter(Der.SEQUENCE);
        explicit_.close();
        uint256 seen;
        while (extensions.next < extensions.end) {
            (uint256 kind, bool critical, Der.Cursor memory value) = _extension(extensions);
            uint256 bit;
            if (kind == KEY_USAGE) {
                bit = 1;
                uint256 bits = value.word(Der.BIT_STRING);
                if (bits >> 248 == 2) {
                    c.usage = uint8(bits);
                } else if (bits >> 248 == 3) {
                    c.usage = uint8(bits >> 8);
                } else {
                    value.refuse();
                }
                value.close();
            } else if (kind == BASIC_CONSTRAINTS) {
                bit = 2;
                Der.Cursor memory constraints = value.enter(Der.SEQUENCE);
                value.close();
                c.ca = constraints.isTrue();
                // How many CAs may be below: there are none below those that the root signs.
                if (constraints.peek() == Der.INTEGER) constraints.integer(1);
                constraints.close();
            } else if (kind == SGX) {
                bit = 4;
                c.sgx = value;
            } else if (critical) {
                extensions.refuse();
            }
            if (seen & bit != 0) extensions.refuse();
            seen |= bit;
        }
    }

    /// @dev The next extension: its kind, whether it is critical, and a cursor before its value.
    function _extension(Der.Cursor memory extensions)
        private
        pure
        returns (uint256 kind, bool critical, Der.Cursor memory value)
    {
        Der.Cursor memory extension = extensions.enter(Der.SEQUENCE);
        kind = extension.word(Der.OBJECT_IDENTIFIER);
        critical = extension.isTrue();
        value = extension.enter(Der.OCTET_STRING);
        extension.close();
    }
}
