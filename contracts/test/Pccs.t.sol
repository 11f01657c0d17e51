// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AttestationErrors} from "../src/l1/tee/AttestationErrors.sol";
import {Calendar} from "../src/l1/tee/Calendar.sol";
import {Json, QeIdentity, TcbInfo} from "../src/l1/tee/Json.sol";
import {Issuer, Pccs, Period, Role, Standing} from "../src/l1/tee/Pccs.sol";
import {Levels, Status, Tcb} from "../src/l1/tee/Tcb.sol";
import {Attestation} from "./utils/Attestation.sol";

/// @notice What is put in as collateral, and what is refused.
contract PccsTest is Attestation {
    bytes4 internal constant MALFORMED = AttestationErrors.ChainMalformed.selector;
    bytes4 internal constant INVALID = AttestationErrors.CertificateInvalid.selector;
    bytes4 internal constant NOT_CURRENT = AttestationErrors.CertificateNotCurrent.selector;

    function setUp() public {
        deployAttestation();
        putCollateral();
    }

    function tcb() internal pure returns (Tcb memory) {
        return Tcb(FMSPC, 0, CPU_SVN, 13, 8);
    }

    // --- the root ---

    function test_root() public {
        bytes memory root = certificate(rootParts(), ROOT_KEY);
        (uint256 x, uint256 y) = vm.publicKeyP256(ROOT_KEY);
        vm.assertEq(pccs.rootHash(), keccak256(root));
        vm.assertEq(pccs.rootKeyHash(), keccak256(abi.encode(x, y)));
        vm.assertEq(uint256(pccs.rootUntil()), 2_493_072_000); // 2049-01-01
        vm.assertTrue(pccs.isTest());
        Pccs intel = new Pccs(vm.readFileBinary("tee/intel_sgx_root.der"));
        vm.assertFalse(intel.isTest());
        vm.assertEq(intel.rootKeyHash(), intel.INTEL_ROOT_KEY());
        vm.assertEq(uint256(intel.rootUntil()), 2_524_607_999); // 2049-12-31T23:59:59Z
    }

    function refuseRoot(bytes memory root, bytes4 reason) internal {
        vm.expectRevert(reason);
        new Pccs(root);
    }

    function test_rootsRefused() public {
        Parts memory parts = rootParts();
        refuseRoot(certificate(parts, STRANGER_KEY), INVALID);
        parts.subject = name("Intel SGX Root");
        parts.issuer = parts.subject;
        refuseRoot(certificate(parts, ROOT_KEY), MALFORMED);
        parts = rootParts();
        parts.issuer = name(CA_CN);
        refuseRoot(certificate(parts, ROOT_KEY), MALFORMED);
        parts = rootParts();
        parts.validity = validity("200101000000Z", "231114221320Z"); // ends now
        refuseRoot(certificate(parts, ROOT_KEY), NOT_CURRENT);
        parts.validity = validity("231114221321Z", "490101000000Z"); // begins in a second
        refuseRoot(certificate(parts, ROOT_KEY), NOT_CURRENT);
        parts = rootParts();
        parts.extensions = extensions(CA_USAGE, IS_NO_CA, "");
        refuseRoot(certificate(parts, ROOT_KEY), INVALID);
        parts.extensions = extensions(hex"03020102", IS_CA, ""); // lists, but not certificates
        refuseRoot(certificate(parts, ROOT_KEY), INVALID);
    }

    // --- certificates ---

    function test_certificates() public {
        Issuer memory issuer = pccs.issuerOf(ca);
        (uint256 x, uint256 y) = vm.publicKeyP256(CA_KEY);
        vm.assertEq(issuer.x, bytes32(x));
        vm.assertEq(issuer.y, bytes32(y));
        vm.assertEq(issuer.name, keccak256(name(CA_CN)));
        vm.assertEq(uint256(issuer.serial), 2);
        vm.assertTrue(issuer.role == Role.PckCa);
        vm.assertTrue(pccs.issuerOf(signer).role == Role.TcbSigner);
        vm.assertTrue(pccs.issuerOf(pccs.ROOT()).role == Role.Root);
        vm.assertTrue(pccs.issuerOf(0).role == Role.None);
        // Again: nothing happens.
        vm.assertEq(uint256(pccs.addPckCa(certificate(caParts(), ROOT_KEY))), ca);
        vm.assertEq(uint256(pccs.issuerCount()), 3);
        // As another thing than it is.
        refuseSigner(certificate(caParts(), ROOT_KEY), MALFORMED);
        refuseCa(certificate(signerParts(), ROOT_KEY), MALFORMED);
        refuseCa(certificate(rootParts(), ROOT_KEY), MALFORMED);
        Parts memory parts = caParts();
        parts.subject = name("Intel SGX PCK Processor CA");
        vm.assertEq(uint256(pccs.addPckCa(certificate(parts, ROOT_KEY))), 4);
    }

    /// @dev A certificate's signature has another form, with other bytes: it must not give the CA a second, empty revocation list.
    function test_aCaHasOneListWhateverItsCertificates() public {
        Parts memory parts = caParts();
        bytes memory first = certificate(parts, ROOT_KEY);
        bytes memory tbs = tbsOf(first);
        (bytes32 r, bytes32 s) = vm.signP256(ROOT_KEY, sha256(tbs));
        uint256 n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
        bytes memory twin = bytes.concat(
            tbs,
            ALGORITHM,
            tlv(3, bytes.concat(hex"00", seq(bytes.concat(integer(uint256(r)), integer(n - uint256(s))))))
        );
        twin = seq(twin);
        vm.assertTrue(keccak256(twin) != keccak256(first));
        vm.assertEq(uint256(pccs.addPckCa(twin)), ca);
        vm.assertEq(uint256(pccs.issuerNumber(keccak256(twin))), ca);
        // Issued again, for longer: the same CA, with the later certificate.
        parts.serial = integer(20);
        parts.validity = validity("210101000000Z", "490201000000Z");
        vm.assertEq(uint256(pccs.addPckCa(certificate(parts, ROOT_KEY))), ca);
        vm.assertEq(uint256(pccs.issuerOf(ca).serial), 20);
        parts.serial = integer(21);
        parts.validity = validity("210101000000Z", "480201000000Z");
        vm.assertEq(uint256(pccs.addPckCa(certificate(parts, ROOT_KEY))), ca);
        vm.assertEq(uint256(pccs.issuerOf(ca).serial), 20);
        vm.assertEq(uint256(pccs.issuerCount()), 3);
        refuseCrl(crlOf(CA_CN, CRL_ISSUED, CRL_UNTIL, "", ""), CA_KEY, AttestationErrors.NotNewer.selector);
        // The first certificate's revocation is no longer the CA's, the last one's is.
        putNewerCrl(pccs.ROOT(), revokedEntry(2));
        vm.assertFalse(pccs.isRevoked(pccs.pckId(ca, 4)));
        pccs.putCrl(pccs.ROOT(), signed(crlOf(ROOT_CN, "231114000002Z", CRL_UNTIL, revokedEntry(20), ""), ROOT_KEY));
        vm.assertTrue(pccs.isRevoked(pccs.pckId(ca, 4)));
    }

    /// @dev What is signed of a certificate; both lengths have two bytes.
    function tbsOf(bytes memory der) internal pure returns (bytes memory) {
        return cut(der, 4, 8 + uint256(uint8(der[6])) * 256 + uint8(der[7]));
    }

    function refuseCa(bytes memory der, bytes4 reason) internal {
        vm.expectRevert(reason);
        pccs.addPckCa(der);
    }

    function refuseSigner(bytes memory der, bytes4 reason) internal {
        vm.expectRevert(reason);
        pccs.addTcbSigner(der);
    }

    function test_certificatesRefusedForWhatTheySay() public {
        Parts memory parts = caParts();
        parts.serial = integer(100);
        refuseCa(certificate(parts, CA_KEY), INVALID);
        parts.issuer = name(CA_CN);
        refuseCa(certificate(parts, ROOT_KEY), MALFORMED);
        parts = caParts();
        parts.subject = name("Intel SGX PCK CA");
        refuseCa(certificate(parts, ROOT_KEY), MALFORMED);
        parts = caParts();
        parts.extensions = extensions(CA_USAGE, IS_NO_CA, "");
        refuseCa(certificate(parts, ROOT_KEY), INVALID);
        parts.extensions = extensions(hex"03020204", IS_CA, ""); // certificates, but not lists
        refuseCa(certificate(parts, ROOT_KEY), INVALID);
        parts = caParts();
        parts.validity = validity("200101000000Z", "231114221320Z");
        refuseCa(certificate(parts, ROOT_KEY), NOT_CURRENT);
        parts.validity = validity("231114221321Z", "490101000000Z");
        refuseCa(certificate(parts, ROOT_KEY), NOT_CURRENT);

        parts = signerParts();
        parts.serial = integer(100);
        refuseSigner(certificate(parts, CA_KEY), INVALID);
        parts.extensions = extensions(CA_USAGE, IS_CA, "");
        refuseSigner(certificate(parts, ROOT_KEY), INVALID);
        parts.extensions = extensions(CA_USAGE, IS_NO_CA, "");
        refuseSigner(certificate(parts, ROOT_KEY), INVALID);
        parts = signerParts();
        parts.subject = name(PCK_CN);
        refuseSigner(certificate(parts, ROOT_KEY), MALFORMED);
        parts = signerParts();
        parts.validity = validity("200101000000Z", "231114221320Z");
        refuseSigner(certificate(parts, ROOT_KEY), NOT_CURRENT);
    }

    function test_certificatesRefusedForTheirForm() public {
        Parts memory p = caParts();
        refuseCa("", MALFORMED);
        refuseCa(hex"30", MALFORMED);
        refuseCa(bytes.concat(certificate(p, ROOT_KEY), hex"00"), MALFORMED);
        p.version = hex"a003020101";
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.version = "";
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p = caParts();
        p.serial = hex"0201ff"; // negative
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.serial = hex"02020001"; // not minimal
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.serial = hex"0200";
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.serial = integer(1 << 160); // 21 bytes
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.serial = hex"02810107"; // a long length that could be short
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.serial = hex"028007"; // an indefinite length
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.serial = hex"0284000000010700"; // a length of four bytes
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p = caParts();
        p.algorithm = hex"300a06082a8648ce3d040303"; // with SHA-384
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p = caParts();
        p.subject = seq(tlv(0x31, seq(bytes.concat(hex"060355040a", tlv(0x13, "no common name")))));
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        bytes memory cn = tlv(0x31, seq(bytes.concat(hex"0603550403", tlv(0x0c, bytes(CA_CN)))));
        p.subject = seq(bytes.concat(cn, cn));
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p = caParts();
        p.key = put(keyOf(CA_KEY), 26, hex"03"); // compressed
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p = caParts();
        p.extensions = extensions(CA_USAGE, IS_CA, extension(hex"551d1e", true, hex"3000")); // critical, unknown
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.extensions = extensions(CA_USAGE, IS_CA, extension(hex"551d13", true, IS_CA)); // twice
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.extensions = extensions(CA_USAGE, hex"300301017f", ""); // a true that is not DER's
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.extensions = extensions(CA_USAGE, hex"30060101ff040100", "");
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.extensions = extensions(hex"030100", IS_CA, "");
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        // Signatures: unused bits, none, another type, something after it.
        bytes memory tbs = tbsOf(certificate(caParts(), ROOT_KEY));
        bytes memory good = signature(tbs, ROOT_KEY);
        bytes[5] memory signatures = [
            tlv(3, bytes.concat(hex"01", good)),
            tlv(3, ""),
            tlv(3, bytes.concat(hex"00", tlv(0x31, hex"020101020101"))),
            tlv(3, bytes.concat(hex"00", good, hex"00")),
            tlv(3, bytes.concat(hex"00", seq(hex"020101020101020101")))
        ];
        for (uint256 i; i < 5; ++i) {
            refuseCa(seq(bytes.concat(tbs, ALGORITHM, signatures[i])), MALFORMED);
        }
        bytes[5] memory times = [
            bytes("230229000000Z"),
            bytes("231114220000+"),
            bytes("2311142200Z00"),
            bytes("231314220000Z"),
            bytes("23111422000 Z")
        ];
        for (uint256 i; i < 5; ++i) {
            p = caParts();
            p.validity = validity(times[i], "490101000000Z");
            refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        }
        p.validity = seq(bytes.concat(tlv(0x18, "20200101000000Z"), tlv(0x17, "490101000000Z"))); // before 2050
        refuseCa(certificate(p, ROOT_KEY), MALFORMED);
        p.validity = seq(bytes.concat(tlv(0x17, "200101000000Z"), tlv(0x18, "20500101000000Z")));
        pccs.addPckCa(certificate(p, ROOT_KEY));
        vm.assertEq(uint256(pccs.issuerOf(ca).until), 2_524_608_000);
    }

    function test_revokedCertificatesAreRefused() public {
        putNewerCrl(pccs.ROOT(), bytes.concat(revokedEntry(77), revokedEntry(100)));
        Parts memory parts = caParts();
        parts.serial = integer(100);
        refuseCa(certificate(parts, ROOT_KEY), AttestationErrors.IntermediateRevoked.selector);
        parts = signerParts();
        parts.serial = integer(77);
        refuseSigner(certificate(parts, ROOT_KEY), AttestationErrors.TcbSignerRevoked.selector);
    }

    // --- revocation lists ---

    function refuseCrl(bytes memory tbs, uint256 key, bytes4 reason) internal {
        bytes memory crl = signed(tbs, key);
        vm.expectRevert(reason);
        pccs.putCrl(ca, crl);
    }

    function test_crlsRefused() public {
        bytes4 invalid = AttestationErrors.CrlInvalid.selector;
        bytes4 notCurrent = AttestationErrors.CrlNotCurrent.selector;
        bytes memory newer = "231114000001Z";
        refuseCrl(crlOf(CA_CN, newer, CRL_UNTIL, "", ""), ROOT_KEY, invalid);
        refuseCrl(crlOf(ROOT_CN, newer, CRL_UNTIL, "", ""), CA_KEY, invalid);
        refuseCrl(crlOf(CA_CN, newer, "231114221320Z", "", ""), CA_KEY, notCurrent);
        refuseCrl(crlOf(CA_CN, "231114221321Z", CRL_UNTIL, "", ""), CA_KEY, notCurrent);
        refuseCrl(crlOf(CA_CN, CRL_ISSUED, CRL_UNTIL, "", ""), CA_KEY, AttestationErrors.NotNewer.selector);
        refuseCrl(crlOf(CA_CN, "231113235959Z", CRL_UNTIL, "", ""), CA_KEY, AttestationErrors.NotNewer.selector);
        // Parts of lists, and differences of lists, say so in critical extensions.
        refuseCrl(crlOf(CA_CN, newer, CRL_UNTIL, "", extension(hex"551d1c", true, hex"3000")), CA_KEY, invalid);
        refuseCrl(crlOf(CA_CN, newer, CRL_UNTIL, seq(hex"0201ff"), ""), CA_KEY, invalid);
        refuseCrl(crlOf(CA_CN, newer, CRL_UNTIL, seq(integer(7)), ""), CA_KEY, invalid);
        refuseCrl(crlOf(CA_CN, newer, CRL_UNTIL, bytes.concat(revokedEntry(7), hex"00"), ""), CA_KEY, invalid);
        refuseCrl(hex"3003020101", CA_KEY, invalid);
        bytes memory good = signed(crlOf(CA_CN, newer, CRL_UNTIL, "", ""), CA_KEY);
        vm.expectRevert(AttestationErrors.UnknownIssuer.selector);
        pccs.putCrl(signer, good);
        vm.expectRevert(AttestationErrors.UnknownIssuer.selector);
        pccs.putCrl(9, good);
        pccs.putCrl(ca, good);
        Period memory period = pccs.crlOf(ca);
        vm.assertEq(uint256(period.from), ISSUED_SECONDS + 1);
        vm.assertEq(uint256(period.until), UNTIL_SECONDS);
    }

    function test_revocationStays() public {
        uint192 machine = pccs.pckId(ca, 4);
        vm.assertFalse(pccs.isRevoked(machine));
        putNewerCrl(ca, bytes.concat(revokedEntry(3), revokedEntry(4)));
        vm.assertTrue(pccs.isRevoked(machine));
        vm.assertFalse(pccs.isRevoked(pccs.pckId(ca, 5)));
        vm.assertFalse(pccs.isRevoked(pccs.pckId(ca + 1, 4)));
        pccs.putCrl(ca, signed(crlOf(CA_CN, "231114000002Z", CRL_UNTIL, "", ""), CA_KEY));
        vm.assertTrue(pccs.isRevoked(machine));
    }

    function test_aRevokedCaRevokesItsMachines() public {
        putNewerCrl(pccs.ROOT(), revokedEntry(2));
        vm.assertTrue(pccs.isRevoked(pccs.pckId(ca, 4)));
    }

    function test_longListsComeInParts() public {
        bytes memory entries;
        for (uint256 i; i < 30; ++i) {
            entries = bytes.concat(entries, revokedEntry(1000 + i));
        }
        bytes memory crl = signed(crlOf(CA_CN, "231114000001Z", CRL_UNTIL, entries, ""), CA_KEY);
        pccs.revoke(ca, crl, 5, 10);
        vm.assertFalse(pccs.isRevoked(pccs.pckId(ca, 1004)));
        vm.assertTrue(pccs.isRevoked(pccs.pckId(ca, 1005)));
        vm.assertTrue(pccs.isRevoked(pccs.pckId(ca, 1014)));
        vm.assertFalse(pccs.isRevoked(pccs.pckId(ca, 1015)));
        vm.assertEq(uint256(pccs.crlOf(ca).from), ISSUED_SECONDS); // it is not the list yet
        pccs.revoke(ca, crl, 100, 10);
        pccs.putCrl(ca, crl);
        vm.assertTrue(pccs.isRevoked(pccs.pckId(ca, 1029)));
        // An old list still revokes, another's or a forged one does not.
        bytes memory old = signed(crlOf(CA_CN, "230101000000Z", "230201000000Z", revokedEntry(7), ""), CA_KEY);
        pccs.revoke(ca, old, 0, 1);
        vm.assertTrue(pccs.isRevoked(pccs.pckId(ca, 7)));
        bytes memory forged = signed(crlOf(CA_CN, "230101000000Z", "230201000000Z", revokedEntry(8), ""), ROOT_KEY);
        vm.expectRevert(AttestationErrors.CrlInvalid.selector);
        pccs.revoke(ca, forged, 0, 1);
    }

    // --- TCB info ---

    function test_tcbInfo() public view {
        TcbInfo memory info = pccs.tcbInfoOf(FMSPC, 0);
        vm.assertEq(uint256(info.from), ISSUED_SECONDS);
        vm.assertEq(uint256(info.until), UNTIL_SECONDS);
        vm.assertEq(uint256(info.evaluation), 17);
        vm.assertEq(info.levels.length, 1);
        vm.assertEq(info.levels[0], Levels.pack(uint128(CPU_SVN), 13, Status.UpToDate));
        vm.assertEq(uint256(pccs.tcbInfoOf(FMSPC, 0x0001).until), 0);
    }

    function refuseTcbInfo(bytes memory json, bytes4 reason) internal {
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        vm.expectRevert(reason);
        pccs.putTcbInfo(signer, json, r, s);
    }

    function test_tcbInfoRefusedForItsForm() public {
        bytes memory good = tcbInfoJson("18", level("UpToDate"));
        string[2][26] memory edits = [
            ['"id":"SGX"', '"id":"TDX"'],
            ['"version":3', '"version":2'],
            ['{"id"', '{ "id"'],
            ["2023-11-14T00:00:00Z", "2023-11-14T00:00:00z"],
            ["2023-11-14T00:00:00Z", "2023-02-29T00:00:00Z"],
            ["2023-12-14T00:00:00Z", "2023-12-14T24:00:00Z"],
            ["2023-12-14T00:00:00Z", "2023-12-14T00:00:0Z0"],
            ['"fmspc":"00906ED50000"', '"fmspc":"00906ed50000"'],
            ['"fmspc":"00906ED50000"', '"fmspc":"00906ED5000"'],
            ['"fmspc":"00906ED50000"', '"fmspc":"00906ED5000G"'],
            ['"pceId":"0000"', '"pceId":0'],
            ['"tcbType":0', '"tcbType":1'],
            ['DataNumber":18', 'DataNumber":018'],
            ['DataNumber":18', 'DataNumber":-1'],
            ['DataNumber":18', 'DataNumber":4294967296'],
            ['DataNumber":18', 'DataNumber":'],
            ['{"svn":255}', '{"svn":256}'],
            ['{"svn":255}', '{"svn":255,"other":"x"}'],
            ['{"svn":255},', ""],
            ['{"svn":255}', '{"svn":255},{"svn":0}'],
            ['"pcesvn":13', '"pcesvn":65536'],
            ['"tcbStatus":"UpToDate"', '"tcbStatus":"Unknown"'],
            ['"tcbStatus":"UpToDate"', '"tcbStatus":"TDRelaunchAdvised"'],
            ["Early Microcode", "Early\\nMicrocode"],
            ['"UpToDate"}', '"UpToDate","advisoryIDs":[]}'],
            ['"}]}', '"}]} ']
        ];
        for (uint256 i; i < edits.length; ++i) {
            bytes memory json = replace(good, bytes(edits[i][0]), bytes(edits[i][1]));
            refuseTcbInfo(json, AttestationErrors.TcbInfoMalformed.selector);
        }
        refuseTcbInfo(tcbInfoJson("18", ""), AttestationErrors.TcbInfoMalformed.selector);
        refuseTcbInfo("", AttestationErrors.TcbInfoMalformed.selector);
        for (uint256 length = 1; length < good.length; length += 7) {
            refuseTcbInfo(cut(good, 0, length), AttestationErrors.TcbInfoMalformed.selector);
        }
        putTcbInfo(good);
    }

    function test_tooManyLevelsAreRefused() public {
        string memory levels = level("OutOfDate");
        for (uint256 i = 1; i < Json.MAX_LEVELS; ++i) {
            levels = string.concat(levels, ",", level("OutOfDate"));
        }
        putTcbInfo(tcbInfoJson("18", levels));
        vm.assertEq(pccs.tcbInfoOf(FMSPC, 0).levels.length, Json.MAX_LEVELS);
        levels = string.concat(levels, ",", level("OutOfDate"));
        refuseTcbInfo(tcbInfoJson("19", levels), AttestationErrors.TcbInfoMalformed.selector);
        // Fewer than before leave nothing of those.
        putTcbInfo(tcbInfoJson("20", string.concat(level("Revoked"), ",", level("UpToDate"))));
        vm.assertEq(pccs.tcbInfoOf(FMSPC, 0).levels.length, 2);
    }

    function test_everyStatus() public {
        string[7] memory names = [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            "Revoked"
        ];
        for (uint256 i; i < 7; ++i) {
            putTcbInfo(tcbInfoJson(vm.toString(18 + i), level(names[i])));
            Standing memory standing = pccs.standingOf(tcb());
            vm.assertEq(uint256(standing.status), i);
        }
    }

    function test_tcbInfoMustBeSignedAndCurrent() public {
        bytes memory json = tcbInfoJson("18", level("UpToDate"));
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        bytes4 badSignature = AttestationErrors.TcbInfoSignature.selector;
        vm.expectRevert(badSignature);
        pccs.putTcbInfo(signer, json, s, r);
        vm.expectRevert(badSignature);
        pccs.putTcbInfo(signer, json, 0, 0);
        bytes memory edited = tcbInfoJson("19", level("UpToDate"));
        vm.expectRevert(badSignature);
        pccs.putTcbInfo(signer, edited, r, s);
        vm.expectRevert(AttestationErrors.UnknownIssuer.selector);
        pccs.putTcbInfo(ca, json, r, s);
        vm.expectRevert(AttestationErrors.UnknownIssuer.selector);
        pccs.putTcbInfo(0, json, r, s);
        vm.warp(ISSUED_SECONDS - 1);
        vm.expectRevert(AttestationErrors.TcbInfoNotCurrent.selector);
        pccs.putTcbInfo(signer, json, r, s);
        vm.warp(UNTIL_SECONDS);
        vm.expectRevert(AttestationErrors.TcbInfoNotCurrent.selector);
        pccs.putTcbInfo(signer, json, r, s);
        vm.warp(2_493_072_000); // the signer's end
        vm.expectRevert(NOT_CURRENT);
        pccs.putTcbInfo(signer, json, r, s);
        vm.warp(NOW);
        pccs.putTcbInfo(signer, json, r, s);
        putNewerCrl(pccs.ROOT(), revokedEntry(3));
        vm.expectRevert(AttestationErrors.TcbSignerRevoked.selector);
        pccs.putTcbInfo(signer, json, r, s);
        vm.assertTrue(pccs.standingOf(tcb()).signerRevoked);
    }

    /// @dev The same with s in the other half: Intel's keys make both.
    function test_bothFormsOfASignature() public {
        bytes memory json = tcbInfoJson("18", level("UpToDate"));
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        uint256 n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
        pccs.putTcbInfo(signer, json, r, bytes32(n - uint256(s)));
    }

    function test_tcbInfoNeverGoesBack() public {
        bytes4 notNewer = AttestationErrors.NotNewer.selector;
        bytes memory same = tcbInfoJson("17", level("UpToDate"));
        refuseTcbInfo(same, notNewer);
        refuseTcbInfo(replace(same, "2023-11-14T00", "2023-11-13T00"), notNewer);
        refuseTcbInfo(replace(tcbInfoJson("16", level("UpToDate")), "2023-11-14T00", "2023-11-14T01"), notNewer);
        putTcbInfo(replace(same, "2023-11-14T00", "2023-11-14T01"));
        // A later evaluation, even one issued before.
        putTcbInfo(tcbInfoJson("18", level("OutOfDate")));
        refuseTcbInfo(replace(same, "2023-11-14T00", "2023-11-14T02"), notNewer);
        // Other machines are another matter.
        putTcbInfo(replace(same, "00906ED50000", "00906ED50001"));
        putTcbInfo(replace(same, '"pceId":"0000"', '"pceId":"0001"'));
        vm.assertTrue(pccs.standingOf(tcb()).status == Status.OutOfDate);
    }

    /// @dev A stolen key can say that nothing will ever be newer, until it is revoked.
    function test_whatARevokedSignerSaidIsReplaced() public {
        putTcbInfo(tcbInfoJson("4294967295", level("UpToDate")));
        putQeIdentity(qeIdentityJson("4294967295", qeLevel("8", "UpToDate")));
        Parts memory parts = signerParts();
        parts.serial = integer(30);
        parts.key = keyOf(STRANGER_KEY);
        uint32 second = pccs.addTcbSigner(certificate(parts, ROOT_KEY));
        bytes memory json = tcbInfoJson("18", level("UpToDate"));
        (bytes32 r, bytes32 s) = vm.signP256(STRANGER_KEY, sha256(json));
        vm.expectRevert(AttestationErrors.NotNewer.selector);
        pccs.putTcbInfo(second, json, r, s);
        putNewerCrl(pccs.ROOT(), revokedEntry(3));
        pccs.putTcbInfo(second, json, r, s);
        vm.assertTrue(pccs.standingOf(tcb()).signerRevoked); // QE identity's is
        bytes memory qe = qeIdentityJson("18", qeLevel("8", "UpToDate"));
        (bytes32 r2, bytes32 s2) = vm.signP256(STRANGER_KEY, sha256(qe));
        pccs.putQeIdentity(second, qe, r2, s2);
        vm.assertFalse(pccs.standingOf(tcb()).signerRevoked);
        vm.assertEq(uint256(pccs.standingOf(tcb()).evaluation), 18);
        vm.expectRevert(AttestationErrors.NotNewer.selector);
        pccs.putTcbInfo(second, json, r, s);
    }

    // --- QE identity ---

    function test_qeIdentity() public view {
        QeIdentity memory qe = pccs.qeIdentity();
        vm.assertEq(qe.mrsigner, QE_SIGNER);
        vm.assertEq(bytes32(qe.attributes), bytes32(hex"11"));
        vm.assertEq(bytes32(qe.attributesMask), bytes32(hex"fbffffffffffffff"));
        vm.assertEq(bytes32(qe.miscselect), 0);
        vm.assertEq(bytes32(qe.miscselectMask), bytes32(hex"ffffffff"));
        vm.assertEq(uint256(qe.isvprodid), 1);
        vm.assertEq(uint256(qe.from), ISSUED_SECONDS);
        vm.assertEq(uint256(qe.until), UNTIL_SECONDS);
        vm.assertEq(uint256(qe.evaluation), 17);
        vm.assertEq(qe.levels.length, 1);
        vm.assertEq(qe.levels[0], Levels.pack(0, 8, Status.UpToDate));
    }

    function refuseQe(bytes memory json, bytes4 reason) internal {
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        vm.expectRevert(reason);
        pccs.putQeIdentity(signer, json, r, s);
    }

    function test_qeIdentityRefusedForItsForm() public {
        bytes memory good = qeIdentityJson("18", qeLevel("8", "UpToDate"));
        string[2][11] memory edits = [
            ['"id":"QE"', '"id":"TD_QE"'],
            ['"version":2', '"version":3'],
            ['"miscselect":"00000000"', '"miscselect":"0000000"'],
            ['"miscselectMask":"FFFFFFFF"', '"miscselectMask":"ffffffff"'],
            ['"attributes":"11', '"attributes":"1100'],
            ['"isvprodid":1', '"isvprodid":65536'],
            ['"isvsvn":8', '"isvsvn":"8"'],
            ['"UpToDate"', '"SWHardeningNeeded"'],
            ['"UpToDate"', '"ConfigurationNeeded"'],
            ['"UpToDate"', '"OutOfDateConfigurationNeeded"'],
            ["]}", "]}}"]
        ];
        for (uint256 i; i < edits.length; ++i) {
            bytes memory json = replace(good, bytes(edits[i][0]), bytes(edits[i][1]));
            refuseQe(json, AttestationErrors.QeIdentityMalformed.selector);
        }
        for (uint256 length; length < good.length; length += 7) {
            refuseQe(cut(good, 0, length), AttestationErrors.QeIdentityMalformed.selector);
        }
        putQeIdentity(good);
    }

    function test_qeIdentityMustBeSignedCurrentAndNewer() public {
        bytes memory json = qeIdentityJson("18", qeLevel("8", "UpToDate"));
        (bytes32 r, bytes32 s) = vm.signP256(STRANGER_KEY, sha256(json));
        vm.expectRevert(AttestationErrors.QeIdentitySignature.selector);
        pccs.putQeIdentity(signer, json, r, s);
        refuseQe(qeIdentityJson("17", qeLevel("8", "UpToDate")), AttestationErrors.NotNewer.selector);
        bytes memory older = replace(qeIdentityJson("16", qeLevel("8", "UpToDate")), "14T00", "14T01");
        refuseQe(older, AttestationErrors.NotNewer.selector);
        vm.warp(UNTIL_SECONDS);
        refuseQe(json, AttestationErrors.QeIdentityNotCurrent.selector);
        vm.warp(NOW);
        putQeIdentity(replace(qeIdentityJson("17", qeLevel("8", "UpToDate")), "14T00", "14T01"));
        putQeIdentity(json);
    }

    // --- levels ---

    function test_theFirstLevelReachedCounts() public {
        bytes memory higher = replace(bytes(level("UpToDate")), '"svn":2', '"svn":3');
        bytes memory pceHigher = replace(bytes(level("SWHardeningNeeded")), '"pcesvn":13', '"pcesvn":14');
        bytes memory below = replace(bytes(level("OutOfDate")), '"svn":11', '"svn":10');
        putTcbInfo(
            tcbInfoJson(
                "18", string(bytes.concat(higher, ",", pceHigher, ",", bytes(level("ConfigurationNeeded")), ",", below))
            )
        );
        vm.assertTrue(pccs.standingOf(tcb()).status == Status.ConfigurationNeeded);
        Tcb memory t = tcb();
        t.pceSvn = 14;
        vm.assertTrue(pccs.standingOf(t).status == Status.SWHardeningNeeded);
        t.cpuSvn = 0x0b0b0302030100ff0000000000000000;
        vm.assertTrue(pccs.standingOf(t).status == Status.UpToDate);
        t.cpuSvn = 0x0a0b0202030100ff0000000000000000;
        vm.assertTrue(pccs.standingOf(t).status == Status.OutOfDate);
        t.cpuSvn = 0x0b0a0202030100ff0000000000000000;
        vm.assertFalse(pccs.standingOf(t).machine);
        t = tcb();
        t.qeSvn = 7;
        vm.assertFalse(pccs.standingOf(t).qe);
        t.fmspc = 0x000000000001;
        vm.expectRevert(AttestationErrors.PlatformMismatch.selector);
        pccs.standingOf(t);
    }

    function test_quotingEnclaveCountsToo() public {
        string[3] memory qe = ["UpToDate", "OutOfDate", "Revoked"];
        string[7] memory machine = [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            "Revoked"
        ];
        // Intel's convergeTcbStatuses.
        uint8[7][3] memory expected = [[0, 1, 2, 3, 4, 5, 6], [4, 4, 5, 5, 4, 5, 6], [6, 6, 6, 6, 6, 6, 6]];
        for (uint256 i; i < 3; ++i) {
            putQeIdentity(qeIdentityJson(vm.toString(18 + i), qeLevel("8", qe[i])));
            for (uint256 j; j < 7; ++j) {
                putTcbInfo(tcbInfoJson(vm.toString(18 + 7 * i + j), level(machine[j])));
                vm.assertEq(uint256(pccs.standingOf(tcb()).status), expected[i][j]);
            }
        }
    }

    /// @dev A level is reached by components and PCE SVN at or above it, all of them.
    function testFuzz_levels(bytes16 have, bytes16 want, uint16 svn, uint16 wantSvn, uint8 same) public pure {
        // Most bytes the same, or a random machine hardly ever reaches a random level.
        for (uint256 i; i < 16; ++i) {
            if (i != same % 16) want = want & ~(bytes16(hex"ff") >> (8 * i)) | have & (bytes16(hex"ff") >> (8 * i));
        }
        bool reached = svn >= wantSvn;
        for (uint256 i; i < 16; ++i) {
            reached = reached && have[i] >= want[i];
        }
        uint256 packed = Levels.pack(uint128(want), wantSvn, Status.OutOfDate);
        vm.assertEq(Levels.reached(packed, have, svn), reached);
        vm.assertTrue(Levels.statusOf(packed) == Status.OutOfDate);
    }

    // --- any bytes ---

    /// @dev Random bytes are refused by name, whatever they claim to be.
    function testFuzz_randomBytes(bytes memory data) public {
        assertRefused(abi.encodeCall(Pccs.addPckCa, (data)), MALFORMED);
        assertRefused(abi.encodeCall(Pccs.addTcbSigner, (seq(seq(data)))), MALFORMED);
        bytes4 invalid = AttestationErrors.CrlInvalid.selector;
        assertRefused(abi.encodeCall(Pccs.putCrl, (ca, data)), invalid);
        assertRefused(abi.encodeCall(Pccs.revoke, (ca, seq(seq(data)), 0, 9)), invalid);
    }

    /// @dev Lists with a byte changed: not signed, but read before that is known.
    function testFuzz_editedCrls(uint256 position, uint8 difference) public {
        bytes memory entries = bytes.concat(revokedEntry(7), revokedEntry(1 << 150));
        bytes memory crl = signed(crlOf(CA_CN, "231114000001Z", CRL_UNTIL, entries, ""), CA_KEY);
        position = bound(position, 0, crl.length - 1);
        crl[position] ^= bytes1(uint8(bound(difference, 1, 255)));
        bytes4 invalid = AttestationErrors.CrlInvalid.selector;
        assertRefused(abi.encodeCall(Pccs.putCrl, (ca, crl)), invalid);
    }

    /// @dev Collateral with a byte changed, and signed: it can say something else, or is refused by name.
    function testFuzz_editedCollateral(uint256 position, uint8 difference, bool qe) public {
        bytes memory json = qe ? qeIdentityJson("18", qeLevel("8", "UpToDate")) : tcbInfoJson("18", level("UpToDate"));
        position = bound(position, 0, json.length - 1);
        json[position] ^= bytes1(uint8(bound(difference, 1, 255)));
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        bytes memory data = qe
            ? abi.encodeCall(Pccs.putQeIdentity, (signer, json, r, s))
            : abi.encodeCall(Pccs.putTcbInfo, (signer, json, r, s));
        (bool ok, bytes memory reason) = address(pccs).call(data);
        if (ok) {
            // A digit, or a letter of the component's category and type, which nobody reads.
            bytes1 c = json[position];
            bool digit = (c >= "0" && c <= "9") || (c >= "A" && c <= "F");
            vm.assertTrue(digit || (!qe && position >= 237 && position < 273));
        } else {
            bytes4 found = bytes4(reason);
            bytes4 malformed = AttestationErrors.TcbInfoMalformed.selector;
            bytes4 notCurrent = AttestationErrors.TcbInfoNotCurrent.selector;
            if (qe) malformed = AttestationErrors.QeIdentityMalformed.selector;
            if (qe) notCurrent = AttestationErrors.QeIdentityNotCurrent.selector;
            bool named = found == malformed || found == notCurrent;
            vm.assertTrue(named || found == AttestationErrors.NotNewer.selector);
        }
    }

    function assertRefused(bytes memory data, bytes4 reason) internal {
        (bool ok, bytes memory answer) = address(pccs).call(data);
        vm.assertFalse(ok);
        vm.assertEq(bytes32(bytes4(answer)), bytes32(reason));
    }

    /// @dev Days are counted one by one here.
    function testFuzz_calendar(uint256 time) public pure {
        time = bound(time, 1, 253_402_300_799); // to the end of 9999
        uint256 day = time / 1 days;
        uint256 year = 1970;
        while (day >= (isLeap(year) ? 366 : 365)) day -= isLeap(year++) ? 366 : 365;
        uint8[12] memory lengths = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        uint256 month;
        while (day >= lengths[month]) day -= lengths[month++];
        (uint256 hour, uint256 minute, uint256 second) = (time / 3600 % 24, time / 60 % 60, time % 60);
        vm.assertEq(uint256(Calendar.unix(year, month + 1, day + 1, hour, minute, second)), time);
        vm.assertEq(uint256(Calendar.unix(year, month + 1, lengths[month] + 1, hour, minute, second)), 0);
    }

    function isLeap(uint256 year) internal pure returns (bool) {
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    }
}
