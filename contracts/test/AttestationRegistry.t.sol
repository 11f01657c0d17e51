// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Governed} from "../src/l1/Governed.sol";
import {Prover} from "../src/l1/IProofVerifier.sol";
import {AttestationErrors} from "../src/l1/tee/AttestationErrors.sol";
import {AttestationRegistry, Policy} from "../src/l1/tee/AttestationRegistry.sol";
import {DcapVerifier} from "../src/l1/tee/DcapVerifier.sol";
import {Pccs} from "../src/l1/tee/Pccs.sol";
import {Status} from "../src/l1/tee/Tcb.sol";
import {TeeVerifier} from "../src/l1/tee/TeeVerifier.sol";
import {Attestation} from "./utils/Attestation.sol";
import {Vm} from "./utils/Test.sol";

/// @notice Which keys may sign proofs, for how long, and what ends them.
contract AttestationRegistryTest is Attestation {
    bytes32 internal constant STATEMENT = keccak256("statement");
    address internal key = vm.addr(KEY);

    function setUp() public {
        deployAttestation();
        putCollateral();
    }

    function prove(bytes32 statement) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, verifier.digestOf(statement));
        return abi.encodePacked(r, s, v);
    }

    function refuse(QuoteParts memory parts, bytes memory reason) internal {
        bytes memory quote = quoteOf(parts);
        vm.expectRevert(reason);
        registry.register(quote, key, payout, BLOCK);
    }

    function refuseProof(bytes memory reason) internal {
        bytes memory proof = prove(STATEMENT);
        vm.expectRevert(reason);
        verifier.verify(STATEMENT, proof);
    }

    function refusal(bytes4 selector) internal view returns (bytes memory) {
        return abi.encodeWithSelector(selector, key);
    }

    function parts_() internal view returns (QuoteParts memory) {
        return goodParts(said(key));
    }

    // --- registration ---

    function test_register() public {
        bytes memory quote = goodQuote();
        vm.recordLogs();
        registry.register(quote, key, payout, BLOCK);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].topics[0], AttestationRegistry.Registered.selector);
        vm.assertEq(logs[0].topics[1], bytes32(uint256(uint160(key))));
        vm.assertEq(logs[0].topics[2], bytes32(uint256(uint160(payout))));
        bytes32 platform = keccak256(abi.encodePacked(PPID));
        vm.assertEq(logs[0].topics[3], platform);
        (bytes32 measurement, bytes32 enclaveSigner, Status s, uint48 expires, bytes memory kept) =
            abi.decode(logs[0].data, (bytes32, bytes32, Status, uint48, bytes));
        vm.assertEq(measurement, MEASUREMENT);
        vm.assertEq(enclaveSigner, SIGNER);
        vm.assertTrue(s == Status.UpToDate);
        vm.assertEq(uint256(expires), NOW + 90 days);
        vm.assertEq(kept, quote);

        AttestationRegistry.Enclave memory e = registry.enclaveOf(key);
        vm.assertEq(e.measurement, MEASUREMENT);
        vm.assertEq(e.platform, platform);
        vm.assertEq(e.quoteHash, keccak256(quote));
        vm.assertEq(bytes32(e.fmspc), bytes32(FMSPC));
        vm.assertEq(bytes32(e.cpuSvn), bytes32(CPU_SVN));
        vm.assertEq(uint256(e.pceSvn), 13);
        vm.assertEq(uint256(e.qeSvn), 8);
        vm.assertEq(uint256(e.pck), uint256(ca) << 160 | 4);
        vm.assertEq(uint256(e.expires), NOW + 90 days);

        Prover memory prover = verifier.verify(STATEMENT, prove(STATEMENT));
        vm.assertEq(prover.key, key);
        vm.assertEq(prover.platform, platform);
        vm.assertEq(uint256(prover.vendor), 0);
    }

    /// @dev Five words and no sixth.
    function test_fiveWordsAreKept() public {
        registerKey();
        // The mapping is the last variable: find its slot by the measurement.
        for (uint256 slot; slot < 16; ++slot) {
            uint256 start = uint256(keccak256(abi.encode(key, slot)));
            if (vm.load(address(registry), bytes32(start)) != MEASUREMENT) continue;
            for (uint256 i; i < 5; ++i) {
                vm.assertTrue(vm.load(address(registry), bytes32(start + i)) != 0);
            }
            vm.assertEq(vm.load(address(registry), bytes32(start + 5)), 0);
            return;
        }
        vm.assertTrue(false, "no such slot");
    }

    function test_aKeyIsRegisteredOnce() public {
        registerKey();
        refuse(parts_(), refusal(AttestationRegistry.AlreadyRegistered.selector));
        vm.warp(NOW + 90 days);
        refuse(parts_(), refusal(AttestationRegistry.AlreadyRegistered.selector));
        bytes memory quote = quoteOf(goodParts(said(address(0))));
        vm.expectRevert(AttestationRegistry.InvalidKey.selector);
        registry.register(quote, address(0), payout, BLOCK);
    }

    function test_reportData() public {
        bytes memory wrong = abi.encodeWithSelector(AttestationRegistry.WrongReportData.selector);
        refuse(goodParts(said(address(1))), wrong);
        QuoteParts memory parts = parts_();
        put(parts.report, 383, hex"01");
        refuse(parts, wrong);
        refuse(goodParts(0), wrong);
        bytes memory quote = goodQuote();
        vm.expectRevert(AttestationRegistry.WrongReportData.selector);
        registry.register(quote, key, address(this), BLOCK);
        vm.setBlockhash(BLOCK + 1, keccak256("another block"));
        vm.expectRevert(AttestationRegistry.WrongReportData.selector);
        registry.register(quote, key, payout, BLOCK + 1);
        vm.setBlockhash(BLOCK, keccak256("after a reorganisation"));
        vm.expectRevert(AttestationRegistry.WrongReportData.selector);
        registry.register(quote, key, payout, BLOCK);
        vm.setBlockhash(BLOCK, BLOCK_HASH);
        vm.chainId(2);
        vm.expectRevert(AttestationRegistry.WrongReportData.selector);
        registry.register(quote, key, payout, BLOCK);
        vm.chainId(31_337);
        bytes32[] memory list = new bytes32[](2);
        (list[0], list[1]) = (MEASUREMENT, SIGNER);
        AttestationRegistry other = new AttestationRegistry(tl, dcap, goodPolicy(), list, list);
        vm.expectRevert(AttestationRegistry.WrongReportData.selector);
        other.register(quote, key, payout, BLOCK);
        registry.register(quote, key, payout, BLOCK);
    }

    function refuseBlock(uint64 number) internal {
        bytes memory quote = goodQuote();
        vm.expectRevert(abi.encodeWithSelector(AttestationRegistry.BlockNotRecent.selector, number));
        registry.register(quote, key, payout, number);
    }

    function test_theBlockIsRecent() public {
        refuseBlock(20_000_000);
        refuseBlock(20_000_001);
        refuseBlock(type(uint64).max);
        refuseBlock(20_000_000 - 901);
        // In the window, but without a hash: EIP-2935's contract is not there.
        refuseBlock(20_000_000 - 900);
        vm.roll(BLOCK + 901);
        refuseBlock(BLOCK);
        // It is, and the quote is still young enough.
        vm.etch(
            0x0000F90827F1C53a10cb7A02335B175320002935,
            hex"3373fffffffffffffffffffffffffffffffffffffffe14604657602036036042575f35600143038111604257611fff81430311604257611fff9006545f5260205ff35b5f5ffd5b5f35611fff60014303065500"
        );
        vm.store(0x0000F90827F1C53a10cb7A02335B175320002935, bytes32(uint256(BLOCK % 8191)), BLOCK_HASH);
        vm.roll(BLOCK + 900);
        registerKey();
    }

    function test_listsFailClosed() public {
        QuoteParts memory parts = parts_();
        bytes32 other = keccak256("other");
        put(parts.report, 64, abi.encodePacked(other));
        refuse(parts, abi.encodeWithSelector(AttestationErrors.MeasurementNotAllowed.selector, other));
        parts = parts_();
        put(parts.report, 128, abi.encodePacked(other));
        refuse(parts, abi.encodeWithSelector(AttestationErrors.SignerNotAllowed.selector, other));
        // A measurement is no signer, nor the reverse.
        put(parts.report, 64, abi.encodePacked(SIGNER));
        put(parts.report, 128, abi.encodePacked(MEASUREMENT));
        refuse(parts, abi.encodeWithSelector(AttestationErrors.MeasurementNotAllowed.selector, SIGNER));
        vm.prank(tl);
        registry.setMeasurement(MEASUREMENT, false);
        refuse(parts_(), abi.encodeWithSelector(AttestationErrors.MeasurementNotAllowed.selector, MEASUREMENT));
        vm.prank(tl);
        registry.setMeasurement(MEASUREMENT, true);
        vm.prank(tl);
        registry.setSigner(SIGNER, false);
        refuse(parts_(), abi.encodeWithSelector(AttestationErrors.SignerNotAllowed.selector, SIGNER));
        bytes32[] memory none = new bytes32[](0);
        registry = new AttestationRegistry(tl, dcap, goodPolicy(), none, none);
        refuse(parts_(), abi.encodeWithSelector(AttestationErrors.MeasurementNotAllowed.selector, MEASUREMENT));
        registry = new AttestationRegistry(tl, dcap, Policy(0, 0, 0, 0), none, none);
        refuse(parts_(), status(Status.UpToDate));
    }

    function test_attributes() public {
        QuoteParts memory parts = parts_();
        put(parts.report, 48, hex"07");
        refuse(parts, abi.encodeWithSelector(AttestationErrors.Debug.selector));
        put(parts.report, 48, hex"15");
        refuse(parts, abi.encodeWithSelector(AttestationErrors.AttributesForbidden.selector, uint64(0x10)));
        put(parts.report, 48, hex"35");
        refuse(parts, abi.encodeWithSelector(AttestationErrors.AttributesForbidden.selector, uint64(0x30)));
    }

    function test_policy() public {
        Policy memory p = goodPolicy();
        p.minEvaluation = 18;
        vm.prank(tl);
        registry.setPolicy(p);
        refuse(parts_(), abi.encodeWithSelector(AttestationErrors.EvaluationTooOld.selector, uint32(17)));
        putTcbInfo(tcbInfoJson("18", level("UpToDate")));
        refuse(parts_(), abi.encodeWithSelector(AttestationErrors.EvaluationTooOld.selector, uint32(17)));
        putQeIdentity(qeIdentityJson("18", qeLevel("8", "UpToDate")));
        p.maxAge = uint32(NOW - ISSUED_SECONDS - 1);
        vm.prank(tl);
        registry.setPolicy(p);
        refuse(parts_(), abi.encodeWithSelector(AttestationErrors.CollateralStale.selector, NOW - ISSUED_SECONDS));
        p.maxAge += 1;
        p.lifetime = 5;
        vm.prank(tl);
        registry.setPolicy(p);
        registerKey();
        vm.assertEq(uint256(registry.enclaveOf(key).expires), NOW + 5);
    }

    function test_statuses() public {
        putTcbInfo(tcbInfoJson("18", level("SWHardeningNeeded")));
        refuse(parts_(), status(Status.SWHardeningNeeded));
        Policy memory p = goodPolicy();
        p.statuses = 1 << 1;
        vm.prank(tl);
        registry.setPolicy(p);
        registerKey();
        vm.assertTrue(registry.enclaveOf(key).status == Status.SWHardeningNeeded);
        vm.assertEq(verifier.verify(STATEMENT, prove(STATEMENT)).key, key);
        // Allowed no more: proofs are refused at once, and taken again if it is allowed again.
        vm.prank(tl);
        registry.setPolicy(goodPolicy());
        refuseProof(status(Status.SWHardeningNeeded));
        vm.prank(tl);
        registry.setPolicy(p);
        verifier.verify(STATEMENT, prove(STATEMENT));
    }

    function test_policiesRefused() public {
        Policy memory p = goodPolicy();
        p.statuses = 0x40; // revoked
        vm.prank(tl);
        vm.expectRevert(AttestationRegistry.InvalidPolicy.selector);
        registry.setPolicy(p);
        p.statuses = 0x80; // no status at all
        vm.prank(tl);
        vm.expectRevert(AttestationRegistry.InvalidPolicy.selector);
        registry.setPolicy(p);
        p = goodPolicy();
        p.lifetime = 180 days + 1;
        vm.prank(tl);
        vm.expectRevert(AttestationRegistry.InvalidPolicy.selector);
        registry.setPolicy(p);
        bytes32[] memory none = new bytes32[](0);
        vm.expectRevert(AttestationRegistry.InvalidPolicy.selector);
        new AttestationRegistry(tl, dcap, p, none, none);
    }

    function test_onlyTheTimelockSets() public {
        vm.expectRevert(Governed.NotTimelock.selector);
        registry.setPolicy(goodPolicy());
        vm.expectRevert(Governed.NotTimelock.selector);
        registry.setMeasurement(MEASUREMENT, false);
        vm.expectRevert(Governed.NotTimelock.selector);
        registry.setSigner(SIGNER, false);
    }

    // --- proofs ---

    function test_proofs() public {
        registerKey();
        bytes memory proof = prove(STATEMENT);
        verifier.verify(STATEMENT, proof);
        vm.assertEq(
            verifier.digestOf(STATEMENT),
            keccak256(abi.encode(keccak256("jove.proof.tee.v1"), block.chainid, address(registry), STATEMENT))
        );
        // Another statement, chain or registry gives another signer, who is unknown.
        expectUnknown(keccak256("other"), proof, verifier);
        bytes32[] memory none = new bytes32[](0);
        AttestationRegistry other = new AttestationRegistry(tl, dcap, goodPolicy(), none, none);
        expectUnknown(STATEMENT, proof, new TeeVerifier(other));
        vm.chainId(2);
        expectUnknown(STATEMENT, proof, verifier);
        vm.chainId(31_337);
        // No signature, and its other form.
        vm.expectRevert(TeeVerifier.InvalidSignature.selector);
        verifier.verify(STATEMENT, "");
        vm.expectRevert(TeeVerifier.InvalidSignature.selector);
        verifier.verify(STATEMENT, bytes.concat(proof, hex"00"));
        vm.expectRevert(TeeVerifier.InvalidSignature.selector);
        verifier.verify(STATEMENT, new bytes(65));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, verifier.digestOf(STATEMENT));
        uint256 n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        vm.expectRevert(TeeVerifier.InvalidSignature.selector);
        verifier.verify(STATEMENT, abi.encodePacked(r, n - uint256(s), v == 27 ? 28 : 27));
    }

    function expectUnknown(bytes32 statement, bytes memory proof, TeeVerifier by) internal view {
        try by.verify(statement, proof) {
            vm.assertTrue(false, "believed");
        } catch (bytes memory reason) {
            vm.assertEq(bytes32(bytes4(reason)), bytes32(AttestationRegistry.UnknownKey.selector));
        }
    }

    function test_unregisteredKey() public {
        refuseProof(refusal(AttestationRegistry.UnknownKey.selector));
        vm.assertEq(uint256(registry.enclaveOf(key).expires), 0);
    }

    function test_expiry() public {
        registerKey();
        vm.warp(NOW + 90 days - 1);
        verifier.verify(STATEMENT, prove(STATEMENT));
        vm.warp(NOW + 90 days);
        refuseProof(refusal(AttestationRegistry.KeyExpired.selector));
    }

    function test_listsCountAtEachProof() public {
        registerKey();
        vm.prank(tl);
        registry.setMeasurement(MEASUREMENT, false);
        refuseProof(abi.encodeWithSelector(AttestationErrors.MeasurementNotAllowed.selector, MEASUREMENT));
        vm.prank(tl);
        registry.setMeasurement(MEASUREMENT, true);
        verifier.verify(STATEMENT, prove(STATEMENT));
        vm.prank(tl);
        registry.setSigner(SIGNER, false);
        refuseProof(abi.encodeWithSelector(AttestationErrors.SignerNotAllowed.selector, SIGNER));
        vm.prank(tl);
        registry.setSigner(SIGNER, true);
        verifier.verify(STATEMENT, prove(STATEMENT));
        vm.assertEq(uint256(registry.signerCount()), 1);
    }

    function test_revocationCountsAtEachProof() public {
        registerKey();
        putNewerCrl(ca, revokedEntry(4));
        refuseProof(abi.encodeWithSelector(AttestationErrors.PckRevoked.selector));
    }

    function test_revocationOfTheCaCountsAtEachProof() public {
        registerKey();
        putNewerCrl(pccs.ROOT(), revokedEntry(2));
        refuseProof(abi.encodeWithSelector(AttestationErrors.PckRevoked.selector));
    }

    // --- invalidation ---

    function refuseInvalidation(bytes4 reason) internal {
        vm.expectRevert(refusal(reason));
        registry.invalidate(key);
    }

    function endKey() internal {
        vm.prank(account("anyone"));
        registry.invalidate(key);
        vm.assertTrue(registry.enclaveOf(key).invalid);
        refuseProof(refusal(AttestationRegistry.KeyInvalidated.selector));
        refuseInvalidation(AttestationRegistry.KeyInvalidated.selector);
        refuse(parts_(), refusal(AttestationRegistry.AlreadyRegistered.selector));
    }

    function test_whatARevokedSignerSaidEndsNoKey() public {
        registerKey();
        putTcbInfo(tcbInfoJson("18", level("OutOfDate")));
        putNewerCrl(pccs.ROOT(), revokedEntry(3));
        refuseInvalidation(AttestationRegistry.StillValid.selector);
        vm.assertFalse(registry.enclaveOf(key).invalid);
    }

    function test_goodKeysStay() public {
        refuseInvalidation(AttestationRegistry.UnknownKey.selector);
        registerKey();
        refuseInvalidation(AttestationRegistry.StillValid.selector);
        // That collateral has ended is no evidence.
        vm.warp(UNTIL_SECONDS + 1 days);
        refuseInvalidation(AttestationRegistry.StillValid.selector);
        vm.warp(NOW);
        putTcbInfo(tcbInfoJson("18", level("UpToDate")));
        refuseInvalidation(AttestationRegistry.StillValid.selector);
    }

    function test_outOfDateMachines() public {
        registerKey();
        putTcbInfo(tcbInfoJson("18", level("OutOfDate")));
        // Proofs count until somebody says so.
        verifier.verify(STATEMENT, prove(STATEMENT));
        endKey();
        // For good.
        putTcbInfo(tcbInfoJson("19", level("UpToDate")));
        refuseProof(refusal(AttestationRegistry.KeyInvalidated.selector));
    }

    function test_machinesBelowEveryLevel() public {
        registerKey();
        putTcbInfo(tcbInfoJson("18", string(replace(bytes(level("UpToDate")), '"svn":11', '"svn":12'))));
        endKey();
    }

    function test_oldQuotingEnclaves() public {
        registerKey();
        putQeIdentity(qeIdentityJson("18", string.concat(qeLevel("9", "UpToDate"), ",", qeLevel("8", "OutOfDate"))));
        endKey();
    }

    function test_quotingEnclavesBelowEveryLevel() public {
        registerKey();
        putQeIdentity(qeIdentityJson("18", qeLevel("9", "UpToDate")));
        endKey();
    }

    function test_revokedMachines() public {
        registerKey();
        putNewerCrl(ca, revokedEntry(4));
        endKey();
    }

    function test_whatThePolicyAllowsStays() public {
        registerKey();
        Policy memory p = goodPolicy();
        p.statuses = uint8(1 | 1 << uint8(Status.OutOfDate));
        vm.prank(tl);
        registry.setPolicy(p);
        putTcbInfo(tcbInfoJson("18", level("OutOfDate")));
        refuseInvalidation(AttestationRegistry.StillValid.selector);
        putTcbInfo(tcbInfoJson("19", level("Revoked")));
        endKey();
    }

    /// @dev Too little gas for the question is no answer.
    function testFuzz_noGasIsNoEvidence(uint256 gas) public {
        registerKey();
        gas = bound(gas, 2000, 120_000);
        (bool ok,) = address(registry).call{gas: gas}(abi.encodeCall(registry.invalidate, (key)));
        vm.assertFalse(ok);
        vm.assertFalse(registry.enclaveOf(key).invalid);
    }

    // --- the root ---

    function test_developmentRootsAreTests() public {
        vm.assertTrue(verifier.isTest());
        Pccs intel = new Pccs(vm.readFileBinary("tee/intel_sgx_root.der"));
        bytes32[] memory none = new bytes32[](0);
        DcapVerifier quotes = new DcapVerifier(intel);
        AttestationRegistry real = new AttestationRegistry(tl, quotes, goodPolicy(), none, none);
        vm.assertFalse(new TeeVerifier(real).isTest());
    }
}
