// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {AttestationErrors} from "../src/l1/tee/AttestationErrors.sol";
import {Attested, DcapVerifier} from "../src/l1/tee/DcapVerifier.sol";
import {Status} from "../src/l1/tee/Tcb.sol";
import {Attestation} from "./utils/Attestation.sol";

/// @notice Which quotes are genuine.
contract DcapTest is Attestation {
    bytes4 internal constant CHAIN = AttestationErrors.ChainMalformed.selector;
    bytes4 internal constant EXTENSION = AttestationErrors.PckExtensionMalformed.selector;
    bytes internal good;

    function setUp() public {
        deployAttestation();
        putCollateral();
        good = goodQuote();
    }

    function refuse(bytes memory quote, bytes4 reason) internal {
        vm.expectRevert(reason);
        dcap.verify(quote);
    }

    function refuse(QuoteParts memory parts, bytes4 reason) internal {
        refuse(quoteOf(parts), reason);
    }

    function parts_() internal view returns (QuoteParts memory) {
        return goodParts(said(vm.addr(KEY)));
    }

    function test_aGoodQuote() public view {
        Attested memory a = dcap.verify(good);
        vm.assertEq(a.measurement, MEASUREMENT);
        vm.assertEq(a.signer, SIGNER);
        vm.assertEq(uint256(a.attributes), 5);
        vm.assertEq(a.reportData, said(vm.addr(KEY)));
        vm.assertEq(a.reportDataRest, 0);
        vm.assertEq(a.platform, keccak256(abi.encodePacked(PPID)));
        vm.assertEq(bytes32(a.tcb.fmspc), bytes32(FMSPC));
        vm.assertEq(bytes32(a.tcb.pceId), 0);
        vm.assertEq(bytes32(a.tcb.cpuSvn), bytes32(CPU_SVN));
        vm.assertEq(uint256(a.tcb.pceSvn), 13);
        vm.assertEq(uint256(a.tcb.qeSvn), 8);
        vm.assertEq(uint256(a.pck), uint256(ca) << 160 | 4);
        vm.assertEq(a.pckIssuer, keccak256(name(CA_CN)));
        vm.assertTrue(a.status == Status.UpToDate);
        vm.assertEq(uint256(a.evaluation), 17);
        vm.assertEq(uint256(a.issued), ISSUED_SECONDS);
        vm.assertEq(uint256(a.expires), UNTIL_SECONDS);
        vm.assertEq(a.quoteHash, keccak256(good));
    }

    // --- layout ---

    function test_layout() public {
        bytes4 malformed = AttestationErrors.QuoteMalformed.selector;
        bytes4 unsupported = AttestationErrors.QuoteUnsupported.selector;
        refuse("", malformed);
        refuse(cut(good, 0, 1051), malformed);
        refuse(cut(good, 0, 1052), malformed);
        refuse(cut(good, 0, good.length - 1), malformed);
        refuse(bytes.concat(good, hex"00"), malformed);
        refuse(new bytes(16_385), malformed);
        refuse(put(bytes.concat(good), 0, hex"04"), unsupported);
        refuse(put(bytes.concat(good), 1, hex"01"), unsupported);
        refuse(put(bytes.concat(good), 2, hex"03"), unsupported);
        refuse(put(bytes.concat(good), 4, hex"81"), unsupported);
        refuse(put(bytes.concat(good), 7, hex"01"), unsupported);
        refuse(put(bytes.concat(good), 12, hex"00"), unsupported);
        refuse(put(bytes.concat(good), 435, hex"01"), malformed);
        refuse(put(bytes.concat(good), 1012, hex"21"), unsupported);
        refuse(put(bytes.concat(good), 1046, hex"06"), unsupported);
        refuse(put(bytes.concat(good), 1048, hex"00"), malformed);
        QuoteParts memory parts = parts_();
        parts.auth = bytes.concat(parts.auth, hex"00");
        refuse(parts, unsupported);
    }

    // --- chain ---

    function test_pem() public {
        bytes memory leaf = pem(certificate(leafParts(), CA_KEY));
        bytes memory issuer = pem(certificate(caParts(), ROOT_KEY));
        bytes memory root = pem(certificate(rootParts(), ROOT_KEY));
        bytes[14] memory chains = [
            bytes(""),
            bytes.concat(leaf, issuer),
            bytes.concat(leaf, issuer, root, root),
            bytes.concat(leaf, issuer, root, hex"0000"),
            bytes.concat(leaf, issuer, root, "\n"),
            bytes.concat(leaf, "\n", issuer, root),
            bytes.concat(" ", leaf, issuer, root),
            bytes.concat(leaf, issuer, cut(root, 0, root.length - 1)),
            bytes.concat(leaf, issuer, replace(root, "\n-----END", "-----END")),
            bytes.concat(replace(leaf, "BEGIN", "begin"), issuer, root),
            // A line of another length, an empty line, one that never ends, none at all.
            bytes.concat(cut(leaf, 0, 40), "\n", cut(leaf, 40, leaf.length), issuer, root),
            bytes.concat(cut(leaf, 0, 28), "\n", cut(leaf, 28, leaf.length), issuer, root),
            bytes.concat(cut(leaf, 0, 70)),
            bytes.concat("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", issuer, root)
        ];
        QuoteParts memory parts = parts_();
        for (uint256 i; i < chains.length; ++i) {
            parts.chain = chains[i];
            refuse(parts, CHAIN);
        }
        // Without the zero byte it is right.
        parts.chain = bytes.concat(leaf, issuer, root);
        dcap.verify(quoteOf(parts));
    }

    function test_base64() public {
        QuoteParts memory parts = parts_();
        bytes1[3] memory characters = [bytes1("!"), "\n", hex"ff"];
        for (uint256 i; i < 3; ++i) {
            parts.chain = put(chainOf(certificate(leafParts(), CA_KEY)), 60, abi.encodePacked(characters[i]));
            bytes memory quote = quoteOf(parts);
            vm.expectRevert(abi.encodeWithSelector(Base64.InvalidBase64Char.selector, characters[i]));
            dcap.verify(quote);
        }
    }

    /// @dev One chain has one text.
    function test_base64IsCanonical() public {
        // Of 3n + 1 and 3n + 2 bytes: the serial number decides.
        QuoteParts memory parts = parts_();
        for (uint256 serial = 4; serial < 1 << 24; serial <<= 8) {
            Parts memory leaf = leafParts();
            leaf.serial = integer(serial);
            parts.chain = chainOf(certificate(leaf, CA_KEY));
            dcap.verify(quoteOf(parts));
            for (uint256 i; i + 1 < parts.chain.length; ++i) {
                if (parts.chain[i] != "=" || parts.chain[i - 1] == "=") continue;
                bytes memory edited = bytes.concat(parts.chain);
                // The lowest bit of the last character says nothing.
                edited[i - 1] = edited[i - 1] == "9" ? bytes1("+") : bytes1(uint8(edited[i - 1]) + 1);
                QuoteParts memory other = parts_();
                other.chain = edited;
                refuse(other, CHAIN);
            }
        }
        // What others write for + / and A.
        bytes memory chain = parts_().chain;
        for (uint256 i = 28; chain[i] != "-"; ++i) {
            bytes1 alias_ = chain[i] == "+" ? bytes1("-") : chain[i] == "/" ? bytes1("_") : bytes1("=");
            if (chain[i] != "+" && chain[i] != "/" && (chain[i] != "A" || i % 8 != 0)) continue;
            parts.chain = put(bytes.concat(chain), i, abi.encodePacked(alias_));
            refuse(parts, CHAIN);
        }
    }

    function leafWith(Parts memory leaf, uint256 key) internal view returns (QuoteParts memory parts) {
        parts = parts_();
        parts.chain = chainOf(certificate(leaf, key));
    }

    function test_leaf() public {
        bytes4 invalid = AttestationErrors.CertificateInvalid.selector;
        bytes4 notCurrent = AttestationErrors.CertificateNotCurrent.selector;
        refuse(leafWith(leafParts(), ROOT_KEY), invalid);
        Parts memory leaf = leafParts();
        leaf.subject = name(SIGNER_CN);
        refuse(leafWith(leaf, CA_KEY), CHAIN);
        leaf = leafParts();
        leaf.issuer = name(ROOT_CN);
        refuse(leafWith(leaf, CA_KEY), CHAIN);
        leaf = leafParts();
        leaf.validity = validity("200101000000Z", "231114221320Z");
        refuse(leafWith(leaf, CA_KEY), notCurrent);
        leaf.validity = validity("231114221321Z", "490101000000Z");
        refuse(leafWith(leaf, CA_KEY), notCurrent);
        leaf = leafParts();
        leaf.extensions = extensions(LEAF_USAGE, IS_CA, extension(SGX, false, sgxExtension()));
        refuse(leafWith(leaf, CA_KEY), invalid);
        leaf.extensions = extensions(CA_USAGE, IS_NO_CA, extension(SGX, false, sgxExtension()));
        refuse(leafWith(leaf, CA_KEY), invalid);
        leaf = leafParts();
        leaf.version = hex"a003020100";
        refuse(leafWith(leaf, CA_KEY), CHAIN);
        // Critical or not, Intel's extension is known.
        leaf = leafParts();
        leaf.extensions = extensions(LEAF_USAGE, IS_NO_CA, extension(SGX, true, sgxExtension()));
        dcap.verify(quoteOf(leafWith(leaf, CA_KEY)));
    }

    function test_issuers() public {
        QuoteParts memory parts = parts_();
        bytes memory leaf = pem(certificate(leafParts(), CA_KEY));
        Parts memory other = caParts();
        other.serial = integer(50);
        bytes memory unknown = pem(certificate(other, ROOT_KEY));
        bytes memory root = pem(certificate(rootParts(), ROOT_KEY));
        parts.chain = bytes.concat(leaf, unknown, root);
        refuse(parts, AttestationErrors.UnknownIssuer.selector);
        parts.chain = bytes.concat(leaf, pem(certificate(signerParts(), ROOT_KEY)), root);
        refuse(parts, AttestationErrors.UnknownIssuer.selector);
        parts.chain = bytes.concat(leaf, root, root);
        refuse(parts, AttestationErrors.UnknownIssuer.selector);
        Parts memory another = rootParts();
        another.key = keyOf(STRANGER_KEY);
        parts.chain = bytes.concat(leaf, pem(certificate(caParts(), ROOT_KEY)), pem(certificate(another, STRANGER_KEY)));
        refuse(parts, AttestationErrors.WrongRoot.selector);
        // Put in, but without a list: of another key, or it would be the same CA.
        other.key = keyOf(STRANGER_KEY);
        leaf = pem(certificate(leafParts(), STRANGER_KEY));
        other.validity = validity("200101000000Z", "231115000000Z");
        uint32 number = pccs.addPckCa(certificate(other, ROOT_KEY));
        parts.chain = bytes.concat(leaf, pem(certificate(other, ROOT_KEY)), root);
        refuse(parts, AttestationErrors.CrlNotCurrent.selector);
        pccs.putCrl(number, signed(crlOf(CA_CN, CRL_ISSUED, CRL_UNTIL, "", ""), STRANGER_KEY));
        vm.assertEq(uint256(dcap.verify(quoteOf(parts)).expires), 1_700_006_400);
        vm.warp(1_700_006_400);
        refuse(parts, AttestationErrors.CertificateNotCurrent.selector);
    }

    // --- the SGX extension ---

    function extensionWith(bytes memory content) internal view returns (QuoteParts memory) {
        Parts memory leaf = leafParts();
        leaf.extensions = extensions(LEAF_USAGE, IS_NO_CA, extension(SGX, false, content));
        return leafWith(leaf, CA_KEY);
    }

    function test_extensionRefused() public {
        Parts memory leaf = leafParts();
        leaf.extensions = extensions(LEAF_USAGE, IS_NO_CA, "");
        refuse(leafWith(leaf, CA_KEY), EXTENSION);
        bytes memory ppid = entry(hex"01", tlv(4, abi.encodePacked(PPID)));
        bytes memory versions = entry(hex"02", seq(tcbEntries(CPU_SVN, 13)));
        bytes memory pceId = entry(hex"03", hex"04020000");
        bytes memory fmspc = entry(hex"04", tlv(4, abi.encodePacked(FMSPC)));
        bytes16 otherSvn = 0x0b0b0202030100ff0000000000000001;
        bytes[17] memory contents = [
            bytes(""),
            bytes.concat(ppid, versions, pceId),
            bytes.concat(versions, ppid, pceId, fmspc),
            bytes.concat(entry(hex"01", tlv(4, new bytes(15))), versions, pceId, fmspc),
            bytes.concat(entry(hex"01", tlv(5, abi.encodePacked(PPID))), versions, pceId, fmspc),
            bytes.concat(ppid, versions, entry(hex"03", hex"0403000000"), fmspc),
            bytes.concat(ppid, versions, pceId, entry(hex"04", tlv(4, new bytes(5)))),
            bytes.concat(ppid, versions, pceId, entry(hex"04", bytes.concat(tlv(4, new bytes(6)), hex"0500"))),
            bytes.concat(ppid, versions, pceId, fmspc, hex"30"),
            bytes.concat(ppid, versions, pceId, fmspc, hex"3005"), // longer than what is around it
            bytes.concat(ppid, entry(hex"02", seq(tcbEntries(CPU_SVN, 0x10000))), pceId, fmspc),
            bytes.concat(ppid, entry(hex"02", seq(bytes.concat(tcbEntries(CPU_SVN, 1), hex"0500"))), pceId, fmspc),
            bytes.concat(
                ppid, entry(hex"02", seq(replace(tcbEntries(CPU_SVN, 1), hex"020200ff", hex"02020100"))), pceId, fmspc
            ),
            // Components that are not the bytes of CPUSVN.
            bytes.concat(
                ppid,
                entry(
                    hex"02", seq(replace(tcbEntries(CPU_SVN, 1), abi.encodePacked(CPU_SVN), abi.encodePacked(otherSvn)))
                ),
                pceId,
                fmspc
            ),
            bytes.concat(ppid, ppid, versions, pceId, fmspc),
            bytes.concat(ppid, entry(hex"02", hex"3000"), pceId, fmspc),
            bytes.concat(ppid, versions, pceId, entry(hex"08", tlv(4, abi.encodePacked(FMSPC))))
        ];
        for (uint256 i; i < contents.length; ++i) {
            refuse(extensionWith(seq(contents[i])), EXTENSION);
        }
        refuse(extensionWith(bytes.concat(sgxExtension(), hex"00")), EXTENSION);
        dcap.verify(quoteOf(extensionWith(seq(bytes.concat(ppid, versions, pceId, fmspc)))));
    }

    // --- signatures ---

    function test_signatures() public {
        QuoteParts memory parts = parts_();
        parts.pckKey = STRANGER_KEY;
        refuse(parts, AttestationErrors.QeReportSignature.selector);
        parts = parts_();
        parts.qeSays = new bytes(64);
        refuse(parts, AttestationErrors.AttestationKeyUnbound.selector);
        (uint256 x, uint256 y) = vm.publicKeyP256(ATTESTATION_KEY);
        parts.qeSays = abi.encodePacked(sha256(abi.encodePacked(x, y, parts.auth)), bytes32(uint256(1)));
        refuse(parts, AttestationErrors.AttestationKeyUnbound.selector);
        bytes memory quote = bytes.concat(good);
        refuse(put(quote, 436, new bytes(64)), AttestationErrors.QuoteSignature.selector);
        // A key that is not on the curve, vouched for and all.
        parts = parts_();
        bytes memory key = abi.encodePacked(uint256(1), uint256(1));
        parts.qeSays = abi.encodePacked(sha256(bytes.concat(key, parts.auth)), bytes32(0));
        refuse(put(quoteOf(parts), 500, key), AttestationErrors.QuoteSignature.selector);
    }

    /// @dev Every byte of a quote counts, and whatever it is, the answer is a name.
    function testFuzz_editedQuotesAreRefused(uint256 position, uint8 difference) public view {
        position = bound(position, 0, good.length - 1);
        bytes memory quote = bytes.concat(good);
        quote[position] ^= bytes1(uint8(bound(difference, 1, 255)));
        assertRefused(quote);
    }

    /// @dev A quote with many bytes changed.
    function testFuzz_garbledQuotesAreRefused(bytes32 seed, uint16 count, uint256 start) public view {
        bytes memory quote = bytes.concat(good);
        start = bound(start, 0, good.length - 1);
        for (uint256 i; i < 1 + count % 64; ++i) {
            seed = keccak256(abi.encode(seed));
            uint256 position = start + uint256(seed) % (good.length - start);
            quote[position] = quote[position] == seed[31] ? ~seed[31] : seed[31];
        }
        assertRefused(quote);
    }

    /// @dev Certificates with a byte changed, in a quote that is otherwise right: signed by nobody, but read before that is known.
    function testFuzz_editedCertificatesAreRefused(uint256 position, uint8 difference) public view {
        bytes memory der = certificate(leafParts(), CA_KEY);
        position = bound(position, 0, der.length - 1);
        der[position] ^= bytes1(uint8(bound(difference, 1, 255)));
        QuoteParts memory parts = parts_();
        parts.chain = chainOf(der);
        assertRefused(quoteOf(parts));
    }

    /// @dev Extensions with bytes changed, signed by the CA.
    function testFuzz_editedExtensions(uint256 position, uint8 difference) public view {
        bytes memory content = sgxExtension();
        position = bound(position, 0, content.length - 1);
        content[position] ^= bytes1(uint8(bound(difference, 1, 255)));
        try dcap.verify(quoteOf(extensionWith(content))) returns (Attested memory a) {
            // It can say something else, but never that it is of the machine and the versions that it is not.
            bool same = a.platform == keccak256(abi.encodePacked(PPID)) && a.tcb.pceSvn == 13 && a.tcb.fmspc == FMSPC
                && a.tcb.cpuSvn == CPU_SVN;
            bool rest = position >= content.length - 17; // the type, which nobody reads
            vm.assertTrue(!same || rest);
        } catch (bytes memory reason) {
            vm.assertTrue(isNamed(reason));
        }
    }

    /// @dev Random bytes as certificate data.
    function testFuzz_randomChains(bytes memory chain) public view {
        QuoteParts memory parts = parts_();
        parts.chain = chain;
        assertRefused(quoteOf(parts));
        parts.chain = chainOf(chain.length == 0 ? bytes(hex"00") : chain);
        assertRefused(quoteOf(parts));
    }

    function assertRefused(bytes memory quote) internal view {
        try dcap.verify(quote) {
            vm.assertTrue(false, "believed");
        } catch (bytes memory reason) {
            vm.assertTrue(isNamed(reason));
        }
    }

    function isNamed(bytes memory reason) internal pure returns (bool) {
        bytes4 s = bytes4(reason);
        return s == AttestationErrors.QuoteMalformed.selector || s == AttestationErrors.QuoteUnsupported.selector
            || s == CHAIN || s == AttestationErrors.WrongRoot.selector || s == AttestationErrors.UnknownIssuer.selector
            || s == AttestationErrors.CertificateInvalid.selector || s == EXTENSION
            || s == AttestationErrors.CertificateNotCurrent.selector
            || s == AttestationErrors.QeReportSignature.selector
            || s == AttestationErrors.AttestationKeyUnbound.selector || s == AttestationErrors.QuoteSignature.selector
            || s == AttestationErrors.PlatformMismatch.selector || s == AttestationErrors.TcbLevelNone.selector
            || s == Base64.InvalidBase64Char.selector;
    }

    // --- collateral ---

    function test_quotingEnclave() public {
        bytes4 mismatch = AttestationErrors.QeIdentityMismatch.selector;
        QuoteParts memory parts = parts_();
        put(parts.qeReport, 48, hex"05"); // not the attribute that is wanted
        refuse(parts, mismatch);
        parts = parts_();
        put(parts.qeReport, 16, hex"01");
        refuse(parts, mismatch);
        parts = parts_();
        put(parts.qeReport, 128, hex"00");
        refuse(parts, mismatch);
        parts = parts_();
        put(parts.qeReport, 256, hex"02");
        refuse(parts, mismatch);
        parts = parts_();
        put(parts.qeReport, 258, hex"07");
        refuse(parts, AttestationErrors.QeLevelNone.selector);
        parts = parts_();
        put(parts.qeReport, 56, hex"07"); // XFRM, which the mask leaves out
        dcap.verify(quoteOf(parts));
        // A debug enclave, also where the mask would let it pass.
        parts = parts_();
        put(parts.qeReport, 48, hex"17");
        refuse(parts, mismatch);
        putQeIdentity(replace(qeIdentityJson("18", qeLevel("8", "UpToDate")), "FBFFFFFFFFFFFFFF", "F9FFFFFFFFFFFFFF"));
        refuse(parts, mismatch);
        // Both sides are masked.
        putQeIdentity(replace(qeIdentityJson("19", qeLevel("8", "UpToDate")), '"attributes":"11', '"attributes":"15'));
        dcap.verify(good);
    }

    function test_collateralEnds() public {
        vm.warp(UNTIL_SECONDS - 1);
        dcap.verify(good);
        vm.warp(UNTIL_SECONDS);
        refuse(good, AttestationErrors.CrlNotCurrent.selector);
        bytes memory crl = signed(crlOf(ROOT_CN, "231201000000Z", "240101000000Z", "", ""), ROOT_KEY);
        pccs.putCrl(pccs.ROOT(), crl);
        refuse(good, AttestationErrors.CrlNotCurrent.selector);
        pccs.putCrl(ca, signed(crlOf(CA_CN, "231201000000Z", "240101000000Z", "", ""), CA_KEY));
        refuse(good, AttestationErrors.QeIdentityNotCurrent.selector);
        putQeIdentity(replace(qeIdentityJson("18", qeLevel("8", "UpToDate")), "2023-12-14", "2024-01-01"));
        refuse(good, AttestationErrors.TcbInfoNotCurrent.selector);
        putTcbInfo(replace(tcbInfoJson("18", level("UpToDate")), "2023-12-14", "2024-01-01"));
        dcap.verify(good);
    }

    function test_collateralMustBeThere() public {
        deployAttestation();
        refuse(good, AttestationErrors.UnknownIssuer.selector);
        ca = pccs.addPckCa(certificate(caParts(), ROOT_KEY));
        signer = pccs.addTcbSigner(certificate(signerParts(), ROOT_KEY));
        refuse(good, AttestationErrors.CrlNotCurrent.selector);
        putCrl(ca, "");
        refuse(good, AttestationErrors.CrlNotCurrent.selector);
        putCrl(pccs.ROOT(), "");
        refuse(good, AttestationErrors.QeIdentityNotCurrent.selector);
        putQeIdentity(qeIdentityJson("18", qeLevel("8", "UpToDate")));
        refuse(good, AttestationErrors.PlatformMismatch.selector);
        putTcbInfo(replace(tcbInfoJson("18", level("UpToDate")), '"pceId":"0000"', '"pceId":"0001"'));
        refuse(good, AttestationErrors.PlatformMismatch.selector);
    }

    function test_rootEnds() public {
        Parts memory parts = caParts();
        parts.validity = validity("200101000000Z", "490301000000Z");
        bytes memory issuer = certificate(parts, ROOT_KEY);
        vm.assertEq(uint256(pccs.addPckCa(issuer)), ca);
        parts = leafParts();
        parts.validity = validity("200101000000Z", "490301000000Z");
        QuoteParts memory quote = parts_();
        quote.chain =
            bytes.concat(pem(certificate(parts, CA_KEY)), pem(issuer), pem(certificate(rootParts(), ROOT_KEY)));
        dcap.verify(quoteOf(quote));
        vm.warp(pccs.rootUntil() - 1);
        pccs.putCrl(pccs.ROOT(), signed(crlOf(ROOT_CN, "481201000000Z", "490301000000Z", "", ""), ROOT_KEY));
        pccs.putCrl(ca, signed(crlOf(CA_CN, "481201000000Z", "490301000000Z", "", ""), CA_KEY));
        refuse(quote, AttestationErrors.QeIdentityNotCurrent.selector); // the chain is right
        vm.warp(pccs.rootUntil());
        refuse(quote, AttestationErrors.CertificateNotCurrent.selector);
    }

    function test_signerEnds() public {
        Parts memory parts = signerParts();
        parts.serial = integer(60);
        parts.key = keyOf(STRANGER_KEY);
        parts.validity = validity("200101000000Z", "231120000000Z");
        uint32 other = pccs.addTcbSigner(certificate(parts, ROOT_KEY));
        bytes memory json = tcbInfoJson("18", level("UpToDate"));
        (bytes32 r, bytes32 s) = vm.signP256(STRANGER_KEY, sha256(json));
        pccs.putTcbInfo(other, json, r, s);
        vm.assertEq(uint256(dcap.verify(good).expires), 1_700_438_400);
        vm.warp(1_700_438_400);
        refuse(good, AttestationErrors.CertificateNotCurrent.selector);
    }

    function test_revocations() public {
        putNewerCrl(ca, revokedEntry(4));
        refuse(good, AttestationErrors.PckRevoked.selector);
        putNewerCrl(pccs.ROOT(), revokedEntry(2));
        refuse(good, AttestationErrors.IntermediateRevoked.selector);
    }

    function test_signerRevoked() public {
        putNewerCrl(pccs.ROOT(), revokedEntry(3));
        refuse(good, AttestationErrors.TcbSignerRevoked.selector);
    }

    function test_serialsOfOtherIssuersDoNotMatter() public {
        putNewerCrl(pccs.ROOT(), revokedEntry(4));
        putNewerCrl(ca, bytes.concat(revokedEntry(2), revokedEntry(3)));
        dcap.verify(good);
    }

    function test_levels() public {
        putTcbInfo(tcbInfoJson("18", level("Revoked")));
        vm.expectRevert(status(Status.Revoked));
        dcap.verify(good);
        putTcbInfo(tcbInfoJson("19", string(replace(bytes(level("UpToDate")), '"svn":11', '"svn":12'))));
        refuse(good, AttestationErrors.TcbLevelNone.selector);
        putTcbInfo(tcbInfoJson("20", level("OutOfDate")));
        vm.assertTrue(dcap.verify(good).status == Status.OutOfDate);
        vm.assertEq(uint256(dcap.verify(good).evaluation), 17); // QE identity's
        putQeIdentity(qeIdentityJson("18", qeLevel("8", "Revoked")));
        vm.expectRevert(status(Status.Revoked));
        dcap.verify(good);
    }

    function test_debug() public {
        QuoteParts memory parts = parts_();
        put(parts.report, 48, hex"07");
        refuse(parts, AttestationErrors.Debug.selector);
    }

    /// @dev Where the precompile is absent, an account answers nothing and nothing verifies; one that answers otherwise is no yes either.
    function test_withoutThePrecompile() public {
        DcapVerifier verifier_ = dcap;
        bytes[4] memory answers = [bytes(""), hex"01", abi.encode(0), abi.encode(2)];
        for (uint256 i; i < answers.length; ++i) {
            vm.mockCall(address(0x100), "", answers[i]);
            vm.expectRevert(AttestationErrors.CertificateInvalid.selector);
            verifier_.verify(good);
        }
        vm.clearMockedCalls();
        verifier_.verify(good);
    }
}
