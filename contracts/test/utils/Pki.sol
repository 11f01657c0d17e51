// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Test} from "./Test.sol";

/// @notice Makes certificates, revocation lists, collateral and quotes of any content, signed with keys that everybody knows.
abstract contract Pki is Test {
    uint256 internal constant ROOT_KEY = uint256(keccak256("root")) >> 1;
    uint256 internal constant CA_KEY = uint256(keccak256("pck ca")) >> 1;
    uint256 internal constant SIGNER_KEY = uint256(keccak256("tcb signing")) >> 1;
    uint256 internal constant PCK_KEY = uint256(keccak256("pck")) >> 1;
    uint256 internal constant ATTESTATION_KEY = uint256(keccak256("attestation")) >> 1;
    uint256 internal constant STRANGER_KEY = uint256(keccak256("stranger")) >> 1;

    string internal constant ROOT_CN = "Intel SGX Root CA";
    string internal constant CA_CN = "Intel SGX PCK Platform CA";
    string internal constant PCK_CN = "Intel SGX PCK Certificate";
    string internal constant SIGNER_CN = "Intel SGX TCB Signing";

    bytes internal constant ALGORITHM = hex"300a06082a8648ce3d040302";
    bytes internal constant SGX = hex"2a864886f84d010d01";
    bytes internal constant CA_USAGE = hex"03020106";
    bytes internal constant LEAF_USAGE = hex"030206c0";
    bytes internal constant IS_CA = hex"30060101ff020100";
    bytes internal constant IS_NO_CA = hex"3000";

    /// 2023-11-14T22:13:20Z, in the middle of what follows.
    uint256 internal constant NOW = 1_700_000_000;
    string internal constant ISSUED = "2023-11-14T00:00:00Z";
    string internal constant UNTIL = "2023-12-14T00:00:00Z";
    uint48 internal constant ISSUED_SECONDS = 1_699_920_000;
    uint48 internal constant UNTIL_SECONDS = ISSUED_SECONDS + 30 days;
    bytes internal constant CRL_ISSUED = "231114000000Z";
    bytes internal constant CRL_UNTIL = "231214000000Z";

    bytes16 internal constant PPID = 0x000102030405060708090a0b0c0d0e0f;
    bytes16 internal constant CPU_SVN = 0x0b0b0202030100ff0000000000000000;
    bytes6 internal constant FMSPC = 0x00906ed50000;
    bytes32 internal constant QE_SIGNER = keccak256("quoting enclave's signer");
    bytes32 internal constant MEASUREMENT = keccak256("measurement");
    bytes32 internal constant SIGNER = keccak256("signer");
    bytes8 internal constant FLAGS = 0x0500000000000000;

    /// @dev A certificate in parts, each as DER.
    struct Parts {
        bytes version;
        bytes serial;
        bytes algorithm;
        bytes issuer;
        bytes validity;
        bytes subject;
        bytes key;
        bytes extensions;
    }

    /// @dev A quote in parts; the builder signs it.
    struct QuoteParts {
        bytes header;
        bytes report;
        bytes qeReport;
        bytes auth;
        bytes chain;
        uint256 pckKey;
        uint256 attestationKey;
        /// What the quoting enclave vouches for; the right thing if it is zero.
        bytes qeSays;
    }

    // --- DER ---

    function tlv(uint8 tag, bytes memory content) internal pure returns (bytes memory) {
        uint256 length = content.length;
        if (length < 0x80) return bytes.concat(bytes1(tag), bytes1(uint8(length)), content);
        if (length < 0x100) return bytes.concat(bytes1(tag), hex"81", bytes1(uint8(length)), content);
        return bytes.concat(bytes1(tag), hex"82", bytes2(uint16(length)), content);
    }

    function seq(bytes memory content) internal pure returns (bytes memory) {
        return tlv(0x30, content);
    }

    function integer(uint256 value) internal pure returns (bytes memory) {
        bytes memory content = abi.encodePacked(value);
        uint256 zeros;
        while (zeros < 31 && content[zeros] == 0) ++zeros;
        bytes memory short = cut(content, zeros, 32);
        return tlv(2, uint8(short[0]) >= 0x80 ? bytes.concat(hex"00", short) : short);
    }

    function cut(bytes memory data, uint256 from, uint256 to) internal pure returns (bytes memory out) {
        out = new bytes(to - from);
        for (uint256 i; i < out.length; ++i) {
            out[i] = data[from + i];
        }
    }

    function name(string memory commonName) internal pure returns (bytes memory) {
        return seq(
            bytes.concat(
                tlv(0x31, seq(bytes.concat(hex"0603550403", tlv(0x0c, bytes(commonName))))),
                tlv(0x31, seq(bytes.concat(hex"060355040a", tlv(0x13, "Nobody"))))
            )
        );
    }

    function validity(bytes memory from, bytes memory until) internal pure returns (bytes memory) {
        return seq(bytes.concat(tlv(0x17, from), tlv(0x17, until)));
    }

    function keyOf(uint256 secret) internal pure returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(secret);
        return bytes.concat(
            hex"3059301306072a8648ce3d020106082a8648ce3d03010703420004", abi.encodePacked(x), abi.encodePacked(y)
        );
    }

    function extension(bytes memory identifier, bool critical, bytes memory value)
        internal
        pure
        returns (bytes memory)
    {
        return seq(bytes.concat(tlv(6, identifier), critical ? bytes(hex"0101ff") : bytes(""), tlv(4, value)));
    }

    function extensions(bytes memory usage, bytes memory constraints, bytes memory more)
        internal
        pure
        returns (bytes memory)
    {
        return bytes.concat(
            extension(hex"551d23", false, hex"3000"),
            extension(hex"551d0f", true, usage),
            extension(hex"551d13", true, constraints),
            more
        );
    }

    function signed(bytes memory tbs, uint256 secret) internal pure returns (bytes memory) {
        return seq(bytes.concat(tbs, ALGORITHM, tlv(3, bytes.concat(hex"00", signature(tbs, secret)))));
    }

    function signature(bytes memory message, uint256 secret) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(secret, sha256(message));
        return seq(bytes.concat(integer(uint256(r)), integer(uint256(s))));
    }

    function certificate(Parts memory parts, uint256 secret) internal pure returns (bytes memory) {
        return signed(
            seq(
                bytes.concat(
                    bytes.concat(parts.version, parts.serial, parts.algorithm, parts.issuer),
                    bytes.concat(parts.validity, parts.subject, parts.key, tlv(0xa3, seq(parts.extensions)))
                )
            ),
            secret
        );
    }

    function rootParts() internal pure returns (Parts memory) {
        return Parts({
            version: hex"a003020102",
            serial: integer(1),
            algorithm: ALGORITHM,
            issuer: name(ROOT_CN),
            validity: validity("200101000000Z", "490101000000Z"),
            subject: name(ROOT_CN),
            key: keyOf(ROOT_KEY),
            extensions: extensions(CA_USAGE, IS_CA, "")
        });
    }

    function caParts() internal pure returns (Parts memory parts) {
        parts = rootParts();
        parts.serial = integer(2);
        parts.subject = name(CA_CN);
        parts.key = keyOf(CA_KEY);
    }

    function signerParts() internal pure returns (Parts memory parts) {
        parts = rootParts();
        parts.serial = integer(3);
        parts.subject = name(SIGNER_CN);
        parts.key = keyOf(SIGNER_KEY);
        parts.extensions = extensions(LEAF_USAGE, IS_NO_CA, "");
    }

    function leafParts() internal pure returns (Parts memory parts) {
        parts = rootParts();
        parts.serial = integer(4);
        parts.issuer = name(CA_CN);
        parts.subject = name(PCK_CN);
        parts.key = keyOf(PCK_KEY);
        parts.extensions = extensions(LEAF_USAGE, IS_NO_CA, extension(SGX, false, sgxExtension()));
    }

    function entry(bytes memory arcs, bytes memory value) internal pure returns (bytes memory) {
        return seq(bytes.concat(tlv(6, bytes.concat(SGX, arcs)), value));
    }

    function tcbEntries(bytes16 cpuSvn, uint256 pceSvn) internal pure returns (bytes memory entries) {
        for (uint256 i; i < 16; ++i) {
            entries =
                bytes.concat(entries, entry(bytes.concat(hex"02", bytes1(uint8(i + 1))), integer(uint8(cpuSvn[i]))));
        }
        return
            bytes.concat(entries, entry(hex"0211", integer(pceSvn)), entry(hex"0212", tlv(4, abi.encodePacked(cpuSvn))));
    }

    function sgxExtension() internal pure returns (bytes memory) {
        return seq(
            bytes.concat(
                entry(hex"01", tlv(4, abi.encodePacked(PPID))),
                entry(hex"02", seq(tcbEntries(CPU_SVN, 13))),
                entry(hex"03", hex"04020000"),
                entry(hex"04", tlv(4, abi.encodePacked(FMSPC))),
                entry(hex"05", hex"0a0100")
            )
        );
    }

    /// @dev A revocation list; `more` are its extensions.
    function crlOf(string memory issuer, bytes memory from, bytes memory until, bytes memory entries, bytes memory more)
        internal
        pure
        returns (bytes memory tbs)
    {
        return seq(
            bytes.concat(
                bytes.concat(hex"020101", ALGORITHM, name(issuer), tlv(0x17, from), tlv(0x17, until)),
                entries.length == 0 ? bytes("") : seq(entries),
                tlv(0xa0, seq(bytes.concat(extension(hex"551d14", false, hex"020101"), more)))
            )
        );
    }

    function revokedEntry(uint256 serial) internal pure returns (bytes memory) {
        return seq(bytes.concat(integer(serial), tlv(0x17, CRL_ISSUED)));
    }

    // --- PEM ---

    function pem(bytes memory der) internal pure returns (bytes memory out) {
        bytes memory text = bytes(Base64.encode(der));
        out = "-----BEGIN CERTIFICATE-----\n";
        for (uint256 i; i < text.length; i += 64) {
            out = bytes.concat(out, cut(text, i, i + 64 < text.length ? i + 64 : text.length), "\n");
        }
        return bytes.concat(out, "-----END CERTIFICATE-----\n");
    }

    function chainOf(bytes memory leaf) internal pure returns (bytes memory) {
        return bytes.concat(
            pem(leaf), pem(certificate(caParts(), ROOT_KEY)), pem(certificate(rootParts(), ROOT_KEY)), hex"00"
        );
    }

    // --- JSON ---

    /// @dev A level that the machine reaches exactly.
    function level(string memory status) internal pure returns (string memory) {
        return string.concat(
            '{"tcb":{"sgxtcbcomponents":[{"svn":11,"category":"BIOS","type":"Early Microcode Update"},{"svn":11},{"svn":2},{"svn":2},',
            '{"svn":3},{"svn":1},{"svn":0},{"svn":255},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0},{"svn":0}],',
            '"pcesvn":13},"tcbDate":"2023-02-15T00:00:00Z","tcbStatus":"',
            status,
            '"}'
        );
    }

    function tcbInfoJson(string memory evaluation, string memory levels) internal pure returns (bytes memory) {
        return abi.encodePacked(
            '{"id":"SGX","version":3,"issueDate":"',
            ISSUED,
            '","nextUpdate":"',
            UNTIL,
            '","fmspc":"00906ED50000","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":',
            evaluation,
            ',"tcbLevels":[',
            levels,
            "]}"
        );
    }

    function qeLevel(string memory svn, string memory status) internal pure returns (string memory) {
        return string.concat('{"tcb":{"isvsvn":', svn, '},"tcbDate":"2023-02-15T00:00:00Z","tcbStatus":"', status, '"}');
    }

    function qeIdentityJson(string memory evaluation, string memory levels) internal pure returns (bytes memory) {
        return abi.encodePacked(
            '{"id":"QE","version":2,"issueDate":"',
            ISSUED,
            '","nextUpdate":"',
            UNTIL,
            '","tcbEvaluationDataNumber":',
            evaluation,
            ',"miscselect":"00000000","miscselectMask":"FFFFFFFF","attributes":"11000000000000000000000000000000",',
            '"attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","mrsigner":"',
            upperHex(QE_SIGNER),
            '","isvprodid":1,"tcbLevels":[',
            levels,
            "]}"
        );
    }

    function upperHex(bytes32 value) internal pure returns (bytes memory out) {
        out = new bytes(64);
        for (uint256 i; i < 64; ++i) {
            out[i] = bytes("0123456789ABCDEF")[uint256(value >> (252 - 4 * i)) & 15];
        }
    }

    /// @dev `text` with the first `from` in it replaced.
    function replace(bytes memory text, bytes memory from, bytes memory to) internal pure returns (bytes memory) {
        for (uint256 i; i + from.length <= text.length; ++i) {
            uint256 same;
            while (same < from.length && text[i + same] == from[same]) ++same;
            if (same == from.length) return bytes.concat(cut(text, 0, i), to, cut(text, i + same, text.length));
        }
        revert(string.concat("not there: ", string(from)));
    }

    // --- quotes ---

    function put(bytes memory data, uint256 position, bytes memory part) internal pure returns (bytes memory) {
        for (uint256 i; i < part.length; ++i) {
            data[position + i] = part[i];
        }
        return data;
    }

    function goodParts(bytes32 said) internal pure returns (QuoteParts memory parts) {
        parts.header = put(new bytes(48), 0, hex"0300020000000000");
        put(parts.header, 12, hex"939a7233f79c4ca9940a0db3957f0607");
        parts.report = put(new bytes(384), 48, abi.encodePacked(FLAGS));
        put(parts.report, 64, abi.encodePacked(MEASUREMENT));
        put(parts.report, 128, abi.encodePacked(SIGNER));
        put(parts.report, 320, abi.encodePacked(said));
        parts.qeReport = put(new bytes(384), 48, hex"1500000000000000");
        put(parts.qeReport, 128, abi.encodePacked(QE_SIGNER));
        put(parts.qeReport, 256, hex"01000800");
        parts.auth = abi.encodePacked(keccak256("authentication data"));
        parts.chain = chainOf(certificate(leafParts(), CA_KEY));
        parts.pckKey = PCK_KEY;
        parts.attestationKey = ATTESTATION_KEY;
    }

    function rawSignature(bytes memory message, uint256 secret) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(secret, sha256(message));
        return abi.encodePacked(r, s);
    }

    function little(uint256 value, uint256 length) internal pure returns (bytes memory out) {
        out = new bytes(length);
        for (uint256 i; i < length; ++i) {
            out[i] = bytes1(uint8(value >> (8 * i)));
        }
    }

    function quoteOf(QuoteParts memory parts) internal pure returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(parts.attestationKey);
        bytes memory key = abi.encodePacked(x, y);
        bytes memory says = parts.qeSays.length > 0
            ? parts.qeSays
            : abi.encodePacked(sha256(bytes.concat(key, parts.auth)), bytes32(0));
        bytes memory qeReport = put(bytes.concat(parts.qeReport), 320, says);
        bytes memory body = bytes.concat(parts.header, parts.report);
        bytes memory data = bytes.concat(
            bytes.concat(rawSignature(body, parts.attestationKey), key, qeReport, rawSignature(qeReport, parts.pckKey)),
            bytes.concat(
                little(parts.auth.length, 2), parts.auth, hex"0500", little(parts.chain.length, 4), parts.chain
            )
        );
        return bytes.concat(body, little(data.length, 4), data);
    }
}
