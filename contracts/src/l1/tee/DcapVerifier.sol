// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
import {AttestationErrors} from "./AttestationErrors.sol";
import {Der} from "./Der.sol";
import {QeIdentity} from "./Json.sol";
import {Issuer, Pccs, Period, Standing} from "./Pccs.sol";
import {Secp256r1} from "./Secp256r1.sol";
import {Status, Tcb} from "./Tcb.sol";
import {Certificate, X509} from "./X509.sol";

/// @notice A quote that is genuine: what it says, and about which machine.
struct Attested {
    /// MRENCLAVE.
    bytes32 measurement;
    /// MRSIGNER.
    bytes32 signer;
    /// `ATTRIBUTES.FLAGS`.
    uint64 attributes;
    /// The 64 bytes that the enclave says.
    bytes32 reportData;
    bytes32 reportDataRest;
    /// The machine: keccak256 of its PPID.
    bytes32 platform;
    Tcb tcb;
    /// The machine's certificate: `Pccs.pckId`.
    uint192 pck;
    /// keccak256 of the DER of its issuer's name.
    bytes32 pckIssuer;
    /// Status of machine and quoting enclave together.
    Status status;
    /// The lower evaluation of TCB info and QE identity.
    uint32 evaluation;
    /// When the oldest of TCB info, QE identity and revocation lists was issued, Unix seconds.
    uint48 issued;
    /// When the first of certificates and collateral ends, Unix seconds.
    uint48 expires;
    /// keccak256 of the quote. Signatures have two forms, so one attestation can have several hashes.
    bytes32 quoteHash;
}

/// @title Whether an SGX quote, version 3, is genuine: signed by a machine that Intel has certified, and that newest collateral does not
/// condemn.
/// @notice Layout, integers little-endian (Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4; report body: Software Developer's
/// Manual 3D, table 38-21):
///
///        0   2  version, 3                       header: 48 bytes
///        2   2  attestation key type, 2: ECDSA with P-256
///        4   4  TEE type, 0: SGX
///       12  16  QE vendor, Intel's UUID
///       48 384  report body of the enclave       signed, with the header, by the attestation key
///      432   4  length of what follows
///      436  64  signature
///      500  64  attestation key
///      564 384  report body of the quoting enclave; its report data is SHA-256(attestation key ‖ QE authentication data) ‖ 0³²
///      948  64  signature of that report by the machine's PCK key
///     1012   2  length of the QE authentication data, 32
///     1014  32  QE authentication data
///     1046   2  certification data type, 5: the PCK certificate chain
///     1048   4  its length
///     1052      PEM: leaf, intermediate, root; Intel's quoting enclave ends it with a zero byte
///
/// The PEM is as Intel's quoting enclave writes it: lines of 64 characters ended by a line feed, nothing between the three certificates.
/// The SGX extension's first four entries are PPID, TCB, PCE id and FMSPC in this order, the TCB's are in order too, and the components are
/// the bytes of CPUSVN.
///
/// Nothing here is stored or can be changed; what a policy decides is not decided here, but that a debug enclave and a revoked level are
/// never genuine enough.
contract DcapVerifier is AttestationErrors {
    using Der for Der.Cursor;
    using X509 for Certificate;

    /// @notice The most bytes of a quote. Intel's have about 5,000.
    uint256 public constant MAX_QUOTE = 16_384;
    /// @notice The attribute of an enclave whose memory is open to the host.
    uint64 public constant ATTRIBUTE_DEBUG = 0x2;

    uint256 private constant REPORT = 48;
    uint256 private constant QE_REPORT = 564;
    uint256 private constant CHAIN = 1052;
    /// @dev 939a7233-f79c-4ca9-940a-0db3957f0607, the vendor of Intel's quoting enclave.
    bytes16 private constant INTEL = 0x939a7233f79c4ca9940a0db3957f0607;
    bytes32 private constant PCK_NAME = keccak256("Intel SGX PCK Certificate");
    bytes32 private constant BEGIN = keccak256("-----BEGIN CERTIFICATE-----\n");
    bytes32 private constant END = keccak256("-----END CERTIFICATE-----\n");
    /// @dev 1.2.840.113741.1.13.1, as `Der.word` gives its content without the length.
    uint256 private constant SGX = 0x2a864886f84d010d01;

    /// @notice The collateral.
    Pccs public immutable pccs;
    /// @notice keccak256 of the root's certificate.
    bytes32 public immutable rootHash;

    constructor(Pccs pccs_) {
        pccs = pccs_;
        rootHash = pccs_.rootHash();
    }

    /// @notice Reverts unless the quote is genuine now.
    function verify(bytes calldata quote) external view returns (Attested memory attested) {
        _checkLayout(quote);
        Certificate memory leaf = _checkChain(quote[CHAIN:], attested);
        _readExtension(leaf.sgx, attested);
        _checkSignatures(quote, leaf);
        attested.tcb.qeSvn = _u16(quote, QE_REPORT + 258);
        _checkQe(quote);
        _readStanding(attested);
        attested.attributes = _flags(quote, REPORT);
        if (attested.attributes & ATTRIBUTE_DEBUG != 0) revert Debug();
        attested.measurement = bytes32(quote[REPORT + 64:]);
        attested.signer = bytes32(quote[REPORT + 128:]);
        attested.reportData = bytes32(quote[REPORT + 320:]);
        attested.reportDataRest = bytes32(quote[REPORT + 352:]);
        attested.quoteHash = keccak256(quote);
    }

    /// @dev That it is such a quote, and its lengths are right.
    function _checkLayout(bytes calldata quote) private pure {
        if (quote.length < CHAIN || quote.length > MAX_QUOTE) revert QuoteMalformed();
        // Version, key type, TEE type; then the vendor.
        if (bytes8(quote) != 0x0300020000000000 || bytes16(quote[12:]) != INTEL) revert QuoteUnsupported();
        if (_u32(quote, 432) != quote.length - 436) revert QuoteMalformed();
        if (_u16(quote, 1012) != 32 || _u16(quote, 1046) != 5) revert QuoteUnsupported();
        if (_u32(quote, 1048) != quote.length - CHAIN) revert QuoteMalformed();
    }

    /// @dev That the machine's certificate is, below our root, current and not revoked.
    function _checkChain(bytes calldata pem, Attested memory attested) private view returns (Certificate memory leaf) {
        bytes memory leafDer;
        bytes memory caDer;
        bytes memory rootDer;
        (leafDer, pem) = _certificate(pem);
        (caDer, pem) = _certificate(pem);
        (rootDer, pem) = _certificate(pem);
        if (pem.length > 1 || (pem.length == 1 && pem[0] != 0)) revert ChainMalformed();
        if (keccak256(rootDer) != rootHash) revert WrongRoot();
        uint32 number;
        Issuer memory ca;
        (number, ca, attested.issued, attested.expires) = pccs.pckCa(keccak256(caDer));
        leaf = X509.certificate(leafDer, ChainMalformed.selector);
        if (leaf.commonName != PCK_NAME || leaf.issuer != ca.name) revert ChainMalformed();
        if (leaf.from > block.timestamp || leaf.until <= block.timestamp) revert CertificateNotCurrent();
        if (leaf.ca || leaf.usage & X509.DIGITAL_SIGNATURE == 0 || !leaf.isSignedBy(ca.x, ca.y)) {
            revert CertificateInvalid();
        }
        attested.expires = _least(attested.expires, leaf.until);
        attested.pckIssuer = ca.name;
        attested.pck = pccs.pckId(number, leaf.serial);
        if (pccs.isRevoked(attested.pck)) revert PckRevoked();
    }

    /// @dev The DER of the next certificate of a chain, and the rest of the chain.
    function _certificate(bytes calldata pem) private pure returns (bytes memory der, bytes calldata rest) {
        if (pem.length < 28 || keccak256(pem[:28]) != BEGIN) revert ChainMalformed();
        rest = pem[28:];
        bytes memory text = new bytes(rest.length);
        uint256 length;
        uint256 line = 64;
        // Every line but the last has 64 characters; the end begins with one that Base64 does not have.
        while (line == 64) {
            if (rest.length > 0 && rest[0] == "-") break;
            if (rest.length < 65) {
                line = _lineFeed(rest);
            } else if (rest[64] != "\n") {
                line = _lineFeed(rest[:64]);
            }
            assembly ("memory-safe") {
                calldatacopy(add(add(text, 0x20), length), rest.offset, line)
            }
            length += line;
            rest = rest[line + 1:];
        }
        if (length == 0 || length % 4 != 0 || rest.length < 26 || keccak256(rest[:26]) != END) revert ChainMalformed();
        rest = rest[26:];
        assembly ("memory-safe") {
            mstore(text, length) // shorter than it was allocated
        }
        // Reverts with Base64's own error for a character that it does not have. It takes some characters for others, and bits that say nothing:
        // one certificate has one text.
        der = Base64.decode(string(text));
        if (keccak256(bytes(Base64.encode(der))) != keccak256(text)) revert ChainMalformed();
    }

    /// @dev The position of the first line feed, which must not be the first character.
    function _lineFeed(bytes calldata text) private pure returns (uint256 position) {
        while (position < text.length && text[position] != "\n") ++position;
        if (position == 0 || position == text.length) revert ChainMalformed();
    }

    /// @dev The machine and its versions, from the SGX extension of its certificate.
    function _readExtension(Der.Cursor memory extension, Attested memory attested) private pure {
        if (extension.end == 0) revert PckExtensionMalformed();
        extension.refusal = PckExtensionMalformed.selector;
        Der.Cursor memory entries = extension.enter(Der.SEQUENCE);
        extension.close();
        Der.Cursor memory entry = _entry(entries, 10 << 248 | SGX << 8 | 1);
        (uint256 start, uint256 length) = entry.read(Der.OCTET_STRING);
        entry.close();
        if (length != 16) entry.refuse();
        attested.platform = Der.keccak(entry.data, start, length);
        entry = _entry(entries, 10 << 248 | SGX << 8 | 2);
        _readTcb(entry.enter(Der.SEQUENCE), attested.tcb);
        entry.close();
        attested.tcb.pceId = bytes2(uint16(_octets(_entry(entries, 10 << 248 | SGX << 8 | 3), 2)));
        attested.tcb.fmspc = bytes6(uint48(_octets(_entry(entries, 10 << 248 | SGX << 8 | 4), 6)));
        while (entries.next < entries.end) {
            entries.skip();
        }
    }

    function _readTcb(Der.Cursor memory entries, Tcb memory tcb) private pure {
        uint256 components;
        for (uint256 i = 1; i < 18; ++i) {
            Der.Cursor memory entry = _entry(entries, 11 << 248 | SGX << 16 | 0x200 | i);
            if (i < 17) {
                components = components << 8 | entry.integer(1);
            } else {
                tcb.pceSvn = uint16(entry.integer(2));
            }
            entry.close();
        }
        tcb.cpuSvn = bytes16(uint128(_octets(_entry(entries, 11 << 248 | SGX << 16 | 0x212), 16)));
        entries.close();
        if (uint128(tcb.cpuSvn) != components) entries.refuse();
    }

    /// @dev A cursor before the value of the next entry, which must have this object identifier.
    function _entry(Der.Cursor memory entries, uint256 identifier) private pure returns (Der.Cursor memory entry) {
        entry = entries.enter(Der.SEQUENCE);
        if (entry.word(Der.OBJECT_IDENTIFIER) != identifier) entry.refuse();
    }

    /// @dev The only value, an OCTET STRING of this length.
    function _octets(Der.Cursor memory entry, uint256 length) private pure returns (uint256 content) {
        content = entry.word(Der.OCTET_STRING);
        if (content >> 248 != length) entry.refuse();
        entry.close();
    }

    /// @dev That the machine vouches for the quoting enclave, this for the attestation key, and this signed the quote.
    function _checkSignatures(bytes calldata quote, Certificate memory leaf) private view {
        bytes32 digest = sha256(quote[QE_REPORT:QE_REPORT + 384]);
        if (!Secp256r1.verify(digest, bytes32(quote[948:]), bytes32(quote[980:]), leaf.x, leaf.y)) {
            revert QeReportSignature();
        }
        digest = sha256(bytes.concat(quote[500:564], quote[1014:1046]));
        if (bytes32(quote[QE_REPORT + 320:]) != digest || bytes32(quote[QE_REPORT + 352:]) != 0) {
            revert AttestationKeyUnbound();
        }
        digest = sha256(quote[:REPORT + 384]);
        if (!Secp256r1.verify(
                digest, bytes32(quote[436:]), bytes32(quote[468:]), bytes32(quote[500:]), bytes32(quote[532:])
            )) {
            revert QuoteSignature();
        }
    }

    /// @dev That the quoting enclave is the one of QE identity.
    function _checkQe(bytes calldata quote) private view {
        QeIdentity memory qe = pccs.qeIdentity();
        if (qe.until <= block.timestamp) revert QeIdentityNotCurrent();
        bytes4 miscselect = bytes4(quote[QE_REPORT + 16:]);
        bytes16 attributes = bytes16(quote[QE_REPORT + 48:]);
        if (
            (miscselect ^ qe.miscselect) & qe.miscselectMask != 0
                || (attributes ^ qe.attributes) & qe.attributesMask != 0
                || bytes32(quote[QE_REPORT + 128:]) != qe.mrsigner || _u16(quote, QE_REPORT + 256) != qe.isvprodid
                || _flags(quote, QE_REPORT) & ATTRIBUTE_DEBUG != 0
        ) revert QeIdentityMismatch();
    }

    /// @dev What the newest TCB info and QE identity say, if they are current.
    function _readStanding(Attested memory attested) private view {
        Standing memory standing = pccs.standingOf(attested.tcb);
        Period memory tcbInfo = standing.tcbInfo;
        if (tcbInfo.until <= block.timestamp) revert TcbInfoNotCurrent();
        if (standing.signerUntil <= block.timestamp) revert CertificateNotCurrent();
        if (standing.signerRevoked) revert TcbSignerRevoked();
        if (!standing.machine) revert TcbLevelNone();
        if (!standing.qe) revert QeLevelNone();
        if (standing.status == Status.Revoked) revert TcbStatus(standing.status);
        attested.status = standing.status;
        attested.evaluation = standing.evaluation;
        attested.issued = _least(attested.issued, _least(tcbInfo.from, standing.qeIdentity.from));
        attested.expires =
            _least(_least(attested.expires, standing.signerUntil), _least(tcbInfo.until, standing.qeIdentity.until));
    }

    /// @dev `ATTRIBUTES.FLAGS` of the report at a position.
    function _flags(bytes calldata quote, uint256 report) private pure returns (uint64) {
        return uint64(Bytes.reverseBytes8(bytes8(quote[report + 48:])));
    }

    function _u16(bytes calldata quote, uint256 position) private pure returns (uint16) {
        return uint16(Bytes.reverseBytes2(bytes2(quote[position:])));
    }

    function _u32(bytes calldata quote, uint256 position) private pure returns (uint32) {
        return uint32(Bytes.reverseBytes4(bytes4(quote[position:])));
    }

    function _least(uint48 a, uint48 b) private pure returns (uint48) {
        return a < b ? a : b;
    }
}
