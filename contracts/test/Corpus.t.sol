// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {AttestationErrors} from "../src/l1/tee/AttestationErrors.sol";
import {AttestationRegistry, Policy} from "../src/l1/tee/AttestationRegistry.sol";
import {Attested, DcapVerifier} from "../src/l1/tee/DcapVerifier.sol";
import {Pccs} from "../src/l1/tee/Pccs.sol";
import {Status} from "../src/l1/tee/Tcb.sol";
import {Measure} from "./utils/Measure.sol";

/// @notice The corpus of good and bad quotes that the verifier in Rust shares (crates/tee/corpus; its format is in
/// crates/tee/examples/corpus/main.rs): each case ends here as it says, by error name, at whatever stage.
///
/// The registry's forbidden attributes are constants, so it is stricter than the corpus's policies that forbid none.
contract CorpusTest is Measure {
    /// @dev What each case ends with that is believed: it undoes what the case did.
    error Verified();

    struct Case {
        string quote;
        string root;
        string signer;
        string rootCrl;
        string pckCrl;
        string tcbInfo;
        string qeIdentity;
        string policy;
        uint256 time;
        string result;
    }

    string internal constant CASES = "tee/corpus/cases.json";
    string internal constant COLLATERAL = "tee/corpus/collateral.json";
    string internal constant QUOTES = "tee/corpus/quotes.json";

    // Whom the corpus's quotes are for: report_data.json.
    AttestationRegistry internal registry;
    address internal key;
    address internal payout;
    uint64 internal blockNumber;
    bytes32 internal reportData;

    Pccs internal pccs;
    DcapVerifier internal dcap;

    function setUp() public {
        string memory json = vm.readFile("tee/corpus/report_data.json");
        registry = AttestationRegistry(vm.parseJsonAddress(json, "$.registry"));
        key = vm.parseJsonAddress(json, "$.key");
        payout = vm.parseJsonAddress(json, "$.payout");
        blockNumber = uint64(vm.parseJsonUint(json, "$.blockNumber"));
        bytes memory said = vm.parseJsonBytes(json, "$.reportData");
        vm.assertEq(said.length, 64);
        reportData = bytes32(said);
        vm.chainId(vm.parseJsonUint(json, "$.chainId"));
        vm.roll(blockNumber + 1);
        vm.setBlockhash(blockNumber, vm.parseJsonBytes32(json, "$.blockHash"));
    }

    function test_everyCaseEndsAsItSays() public {
        vm.pauseGasMetering(); // the files are long
        uint256 cases = this.count();
        vm.assertGe(cases, 100, "cases");
        uint256 verified;
        for (uint256 i; i < cases; ++i) {
            (string memory name, string memory result, bool stricter) = this.expected(i);
            try this.attempt(i) {
                vm.assertTrue(false, name);
            } catch (bytes memory reason) {
                if (stricter) result = "AttributesForbidden";
                bytes4 found = bytes4(reason);
                vm.assertEq(bytes32(found), bytes32(selectorOf(result)), string.concat(name, ": not ", result));
                if (found == Verified.selector) ++verified;
            }
        }
        vm.assertGe(verified, 14, "good cases");
        vm.resumeGasMetering();
    }

    /// @dev The number of cases.
    function count() external view returns (uint256 n) {
        string memory json = vm.readFile(CASES);
        while (vm.keyExistsJson(json, string.concat("$.cases[", vm.toString(n), "]"))) ++n;
    }

    /// @dev A case's name and result, and whether the registry never allows what it does.
    function expected(uint256 i) external view returns (string memory name, string memory result, bool stricter) {
        string memory json = vm.readFile(CASES);
        string memory path = string.concat("$.cases[", vm.toString(i), "].");
        name = vm.parseJsonString(json, string.concat(path, "name"));
        result = vm.parseJsonString(json, string.concat(path, "result"));
        if (equal(result, "Verified")) {
            stricter = vm.parseJsonUint(json, string.concat(path, "verified.attributes")) & 0x32 != 0;
        }
    }

    /// @dev Runs a case, and always reverts.
    function attempt(uint256 i) external {
        string memory path = string.concat("$.cases[", vm.toString(i), "]");
        string memory cases = vm.readFile(CASES);
        Case memory c = read(cases, string.concat(path, "."));
        vm.warp(c.time);
        bytes memory quote = this.putIn(c);
        usePolicy(cases, string.concat("$.policies.", c.policy, "."));
        Attested memory attested = dcap.verify(quote);
        if (vm.keyExistsJson(cases, string.concat(path, ".verified"))) {
            checkFacts(cases, string.concat(path, ".verified."), attested);
        }
        registry.register(quote, key, payout, blockNumber);
        vm.assertEq(registry.enclaveOf(key).measurement, attested.measurement);
        vm.assertEq(registry.proverOf(key).platform, attested.platform);
        revert Verified();
    }

    function read(string memory json, string memory path) internal pure returns (Case memory c) {
        c.quote = vm.parseJsonString(json, string.concat(path, "quote"));
        c.root = vm.parseJsonString(json, string.concat(path, "root"));
        c.signer = vm.parseJsonString(json, string.concat(path, "signer"));
        c.rootCrl = vm.parseJsonString(json, string.concat(path, "rootCrl"));
        c.pckCrl = vm.parseJsonString(json, string.concat(path, "pckCrl"));
        c.tcbInfo = vm.parseJsonString(json, string.concat(path, "tcbInfo"));
        c.qeIdentity = vm.parseJsonString(json, string.concat(path, "qeIdentity"));
        c.policy = vm.parseJsonString(json, string.concat(path, "policy"));
        c.time = vm.parseJsonUint(json, string.concat(path, "time"));
        c.result = vm.parseJsonString(json, string.concat(path, "result"));
    }

    /// @dev Deploys the contracts with the case's root and puts its collateral in.
    /// @return quote The case's quote.
    function putIn(Case calldata c) external returns (bytes memory quote) {
        string memory json = vm.readFile(QUOTES);
        string memory chain = vm.parseJsonString(json, string.concat("$.quotes.", c.quote, ".chain"));
        quote = bytes.concat(
            vm.parseJsonBytes(json, string.concat("$.quotes.", c.quote, ".head")),
            vm.parseJsonBytes(json, string.concat("$.chains.", chain, ".pem"))
        );
        string[] memory certificates = vm.parseJsonStringArray(json, string.concat("$.chains.", chain, ".certificates"));

        json = vm.readFile(COLLATERAL);
        pccs = new Pccs(vm.parseJsonBytes(json, string.concat("$.certificates.", c.root)));
        dcap = new DcapVerifier(pccs);
        pccs.putCrl(pccs.ROOT(), vm.parseJsonBytes(json, string.concat("$.crls.", c.rootCrl)));
        // The quote's CA, if our root stands above it; else one that the list can be from.
        string memory ca = "platformCa";
        if (certificates.length == 3 && equal(certificates[2], c.root)) ca = certificates[1];
        uint32 issuer = pccs.addPckCa(vm.parseJsonBytes(json, string.concat("$.certificates.", ca)));
        pccs.putCrl(issuer, vm.parseJsonBytes(json, string.concat("$.crls.", c.pckCrl)));
        uint32 signer = pccs.addTcbSigner(vm.parseJsonBytes(json, string.concat("$.certificates.", c.signer)));
        string memory path = string.concat("$.tcbInfos.", c.tcbInfo);
        (bytes32 r, bytes32 s) = signature(json, path);
        pccs.putTcbInfo(signer, bytes(vm.parseJsonString(json, string.concat(path, ".json"))), r, s);
        path = string.concat("$.qeIdentities.", c.qeIdentity);
        (r, s) = signature(json, path);
        pccs.putQeIdentity(signer, bytes(vm.parseJsonString(json, string.concat(path, ".json"))), r, s);
    }

    function signature(string memory json, string memory path) internal pure returns (bytes32, bytes32) {
        return abi.decode(vm.parseJsonBytes(json, string.concat(path, ".signature")), (bytes32, bytes32));
    }

    /// @dev Puts a registry with this policy where the corpus's quotes want it.
    function usePolicy(string memory json, string memory path) internal {
        string[] memory names = vm.parseJsonStringArray(json, string.concat(path, "statuses"));
        Policy memory policy = Policy({
            statuses: 0,
            minEvaluation: uint32(vm.parseJsonUint(json, string.concat(path, "minEvaluation"))),
            maxAge: uint32(vm.parseJsonUint(json, string.concat(path, "maxAge"))),
            lifetime: 90 days
        });
        for (uint256 i; i < names.length; ++i) {
            Status status = statusOf(names[i]);
            // The policy of a registry cannot even name it.
            if (status != Status.Revoked) policy.statuses |= uint8(1 << uint8(status));
        }
        bytes32[] memory none = new bytes32[](0);
        address made = address(new AttestationRegistry(address(this), dcap, policy, none, none));
        vm.etch(address(registry), made.code);
        registry.setPolicy(policy);
        bytes32[] memory list = vm.parseJsonBytes32Array(json, string.concat(path, "measurements"));
        for (uint256 i; i < list.length; ++i) {
            registry.setMeasurement(list[i], true);
        }
        list = vm.parseJsonBytes32Array(json, string.concat(path, "signers"));
        for (uint256 i; i < list.length; ++i) {
            registry.setSigner(list[i], true);
        }
    }

    function checkFacts(string memory json, string memory path, Attested memory a) internal view {
        vm.assertEq(uint256(a.attributes), vm.parseJsonUint(json, string.concat(path, "attributes")), "attributes");
        vm.assertEq(bytes32(a.tcb.cpuSvn), bytes32(vm.parseJsonBytes(json, string.concat(path, "cpuSvn"))), "cpuSvn");
        vm.assertEq(uint256(a.tcb.pceSvn), vm.parseJsonUint(json, string.concat(path, "pceSvn")), "pceSvn");
        vm.assertEq(uint256(a.tcb.qeSvn), vm.parseJsonUint(json, string.concat(path, "qeSvn")), "qeSvn");
        vm.assertEq(bytes32(a.tcb.fmspc), bytes32(vm.parseJsonBytes(json, string.concat(path, "fmspc"))), "fmspc");
        vm.assertEq(uint256(a.evaluation), vm.parseJsonUint(json, string.concat(path, "evaluation")), "evaluation");
        vm.assertEq(uint256(a.expires), vm.parseJsonUint(json, string.concat(path, "expires")), "expires");
        vm.assertEq(a.measurement, vm.parseJsonBytes32(json, string.concat(path, "measurement")), "measurement");
        vm.assertEq(a.signer, vm.parseJsonBytes32(json, string.concat(path, "signer")), "signer");
        vm.assertEq(a.pckIssuer, vm.parseJsonBytes32(json, string.concat(path, "pckIssuer")), "pckIssuer");
        vm.assertEq(uint256(uint160(a.pck)), vm.parseJsonUint(json, string.concat(path, "pckSerial")), "pckSerial");
        vm.assertEq(a.platform, vm.parseJsonBytes32(json, string.concat(path, "platform")), "platform");
        vm.assertEq(a.quoteHash, vm.parseJsonBytes32(json, string.concat(path, "quoteHash")), "quoteHash");
        vm.assertEq(a.reportData, reportData, "reportData");
        vm.assertEq(a.reportDataRest, 0, "reportData");
        Status status = statusOf(vm.parseJsonString(json, string.concat(path, "status")));
        vm.assertEq(uint256(a.status), uint256(status), "status");
    }

    function statusOf(string memory name) internal pure returns (Status) {
        string[7] memory names = [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            "Revoked"
        ];
        for (uint8 i; i < 7; ++i) {
            if (equal(name, names[i])) return Status(i);
        }
        revert(name);
    }

    /// @dev The custom error of this name.
    function selectorOf(string memory name) internal pure returns (bytes4) {
        string memory arguments = "()";
        if (equal(name, "TcbStatus")) arguments = "(uint8)";
        if (equal(name, "AttributesForbidden")) arguments = "(uint64)";
        if (equal(name, "MeasurementNotAllowed") || equal(name, "SignerNotAllowed")) arguments = "(bytes32)";
        if (equal(name, "EvaluationTooOld")) arguments = "(uint32)";
        if (equal(name, "CollateralStale")) arguments = "(uint256)";
        return bytes4(keccak256(abi.encodePacked(name, arguments)));
    }

    function equal(string memory a, string memory b) internal pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }

    // --- what it costs ---

    /// @dev The corpus's case of real size: 20 levels, of which the machine reaches the seventh, and 100 entries in either list.
    function realSize() internal returns (bytes memory quote) {
        vm.pauseGasMetering();
        string memory cases = vm.readFile(CASES);
        string memory path;
        for (uint256 i;; ++i) {
            path = string.concat("$.cases[", vm.toString(i), "].");
            if (equal(vm.parseJsonString(cases, string.concat(path, "name")), "goodRealSize")) break;
        }
        Case memory c = read(cases, path);
        vm.warp(c.time);
        quote = this.putIn(c);
        usePolicy(cases, string.concat("$.policies.", c.policy, "."));
        vm.resumeGasMetering();
    }

    function test_gasOfRegistration() public {
        bytes memory quote = realSize();
        cold = [address(registry), address(dcap), address(pccs)];
        bytes memory data = abi.encodeCall(AttestationRegistry.register, (quote, key, payout, blockNumber));
        cost = measure(address(1), address(registry), data);
        keep("registration of an enclave, collateral of real size", 2_200_000);
        cost = quote.length;
        vm.assertGe(cost, 4000, "as long as real ones");
    }

    function measurePut(string memory name, bytes memory data, uint256 limit) internal {
        cost = measure(address(1), address(pccs), data);
        keep(name, limit);
    }

    function test_gasOfCollateral() public {
        bytes[6] memory data = this.collateralOfRealSize();
        cold = [address(pccs)];
        uint32 root = pccs.ROOT();
        measurePut("PCK CA", data[0], 600_000);
        measurePut("signer of collateral", data[1], 600_000);
        measurePut("root's revocation list of 100", abi.encodeCall(Pccs.putCrl, (root, data[2])), 4_000_000);
        measurePut("PCK CA's revocation list of 100", abi.encodeCall(Pccs.putCrl, (root + 1, data[3])), 4_000_000);
        measurePut("TCB info of 20 levels", data[4], 4_000_000);
        measurePut("QE identity", data[5], 1_000_000);
    }

    /// @dev A contract with the corpus's root, and what puts its collateral of real size in.
    function collateralOfRealSize() external returns (bytes[6] memory data) {
        vm.pauseGasMetering();
        vm.warp(1_790_086_400);
        string memory json = vm.readFile(COLLATERAL);
        pccs = new Pccs(vm.parseJsonBytes(json, "$.certificates.root"));
        data[0] = abi.encodeCall(Pccs.addPckCa, (vm.parseJsonBytes(json, "$.certificates.platformCa")));
        data[1] = abi.encodeCall(Pccs.addTcbSigner, (vm.parseJsonBytes(json, "$.certificates.signer")));
        data[2] = vm.parseJsonBytes(json, "$.crls.rootLong");
        data[3] = vm.parseJsonBytes(json, "$.crls.platformLong");
        (bytes32 r, bytes32 s) = signature(json, "$.tcbInfos.realSize");
        bytes memory text = bytes(vm.parseJsonString(json, "$.tcbInfos.realSize.json"));
        data[4] = abi.encodeCall(Pccs.putTcbInfo, (3, text, r, s));
        (r, s) = signature(json, "$.qeIdentities.good");
        text = bytes(vm.parseJsonString(json, "$.qeIdentities.good.json"));
        data[5] = abi.encodeCall(Pccs.putQeIdentity, (3, text, r, s));
        vm.resumeGasMetering();
    }

    // --- a real machine ---

    /// @dev Intel's own: a quote and the collateral of 2025-06-20 (crates/tee/tests/samples/README.md).
    function test_aRealQuote() public {
        vm.pauseGasMetering();
        bytes memory quote = vm.readFileBinary("tee/samples/sgx_quote");
        string memory json = vm.readFile("tee/samples/sgx_quote_collateral.json");
        vm.warp(1_750_377_600); // 2025-06-20
        pccs = new Pccs(vm.readFileBinary("tee/intel_sgx_root.der"));
        dcap = new DcapVerifier(pccs);
        vm.assertFalse(pccs.isTest());
        pccs.putCrl(pccs.ROOT(), bare(json, "$.root_ca_crl"));
        uint32 ca = pccs.addPckCa(first(vm.parseJsonString(json, "$.pck_crl_issuer_chain")));
        pccs.putCrl(ca, bare(json, "$.pck_crl"));
        uint32 signer = pccs.addTcbSigner(first(vm.parseJsonString(json, "$.tcb_info_issuer_chain")));
        (bytes32 r, bytes32 s) = abi.decode(bare(json, "$.tcb_info_signature"), (bytes32, bytes32));
        pccs.putTcbInfo(signer, bytes(vm.parseJsonString(json, "$.tcb_info")), r, s);
        (r, s) = abi.decode(bare(json, "$.qe_identity_signature"), (bytes32, bytes32));
        pccs.putQeIdentity(signer, bytes(vm.parseJsonString(json, "$.qe_identity")), r, s);
        vm.assertEq(pccs.tcbInfoOf(0x00a067110000, 0).levels.length, 11);
        vm.assertEq(pccs.qeIdentity().levels.length, 6);

        Attested memory a = dcap.verify(quote);
        vm.assertTrue(a.status == Status.ConfigurationAndSWHardeningNeeded);
        vm.assertEq(bytes32(a.tcb.fmspc), bytes32(hex"00a067110000"));
        vm.assertEq(uint256(uint160(a.pck)), 0x0081b77732b761e98eb9b963a4abd1e5b9bf5dd8d6);
        vm.assertEq(uint256(a.expires), 1_752_919_278); // 2025-07-19T10:01:18Z, QE identity's
        vm.warp(1_752_919_278);
        vm.expectRevert(AttestationErrors.QeIdentityNotCurrent.selector);
        dcap.verify(quote);
        vm.resumeGasMetering();
    }

    /// @dev Bytes in hexadecimal digits without 0x.
    function bare(string memory json, string memory path) internal pure returns (bytes memory out) {
        bytes memory text = bytes(vm.parseJsonString(json, path));
        out = new bytes(text.length / 2);
        for (uint256 i; i < text.length; ++i) {
            uint8 character = uint8(text[i]);
            uint8 digit = character - (character < 0x3a ? 0x30 : 0x57);
            out[i / 2] |= bytes1(i % 2 == 0 ? digit << 4 : digit);
        }
    }

    /// @dev The first certificate of a PEM chain, as DER.
    function first(string memory chain) internal pure returns (bytes memory) {
        bytes memory text = bytes(chain);
        bytes memory body = new bytes(text.length);
        uint256 length;
        for (uint256 i = 28; text[i] != "-"; ++i) {
            if (text[i] != "\n") body[length++] = text[i];
        }
        assembly ("memory-safe") {
            mstore(body, length)
        }
        return Base64.decode(string(body));
    }
}
