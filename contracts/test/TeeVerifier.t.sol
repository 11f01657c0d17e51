// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Proofs, ProofSystem} from "../src/l1/Proofs.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {AttestationRegistry} from "../src/l1/tee/AttestationRegistry.sol";
import {DcapVerifier} from "../src/l1/tee/DcapVerifier.sol";
import {Pccs} from "../src/l1/tee/Pccs.sol";
import {TeeVerifier} from "../src/l1/tee/TeeVerifier.sol";
import {Attestation} from "./utils/Attestation.sol";
import {Chain} from "./utils/Chain.sol";
import {Measure} from "./utils/Measure.sol";

/// @notice Enclaves' proofs on a whole chain, and what attestation costs: transactions whole, with everything cold, as in Gas.t.sol.
contract TeeVerifierTest is Chain, Attestation, Measure {
    uint256 internal constant SECOND_KEY = uint256(keccak256("second key"));

    function setUp() public override {
        super.setUp();
        deployAttestation();
        putCollateral();
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Tee, verifier);
        registerKey();
        cold = [
            address(rollup),
            address(proofs),
            address(bridge),
            address(pause),
            address(teeVerifier),
            address(verifier),
            address(registry),
            address(pccs)
        ];
        coolBehind();
    }

    /// @dev A proof of one batch by an enclave's key.
    function enclaveProof(uint256 key, uint64 index, uint8 variant) internal view returns (Rollup.Proof memory p) {
        p = proofOf(ProofSystem.Tee, noProver(), index, variant);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, verifier.digestOf(statementOf(p)));
        p.proof = abi.encodePacked(r, s, v);
    }

    function test_anEnclavesProofAndAZkProofAreFinal() public {
        uint64 index = commit();
        Rollup.Proof memory p = enclaveProof(KEY, index, 0);
        vm.recordLogs();
        rollup.prove(only(p));
        Proofs.Node memory node = proofs.nodeOf(hashOf(index), genesisOutput);
        vm.assertEq(node.tee.length, 1);
        vm.assertEq(node.tee[0].key, vm.addr(KEY));
        vm.assertEq(node.tee[0].platform, keccak256(abi.encodePacked(PPID)));
        vm.assertEq(uint256(node.tee[0].vendor), 0);
        vm.assertEq(node.tee[0].output, output(index, 0));
        zk(index, 0);
        assertFinal(index);
    }

    function test_theProofIsForOneStatement() public {
        uint64 index = commit();
        Rollup.Proof memory p = enclaveProof(KEY, index, 0);
        p.payout = alice; // somebody else wants the pay
        (bool ok, bytes memory reason) = address(rollup).call(abi.encodeCall(Rollup.prove, (only(p))));
        vm.assertFalse(ok);
        vm.assertEq(bytes32(bytes4(reason)), bytes32(AttestationRegistry.UnknownKey.selector));
        p = enclaveProof(SECOND_KEY, index, 0);
        vm.expectRevert(abi.encodeWithSelector(AttestationRegistry.UnknownKey.selector, vm.addr(SECOND_KEY)));
        rollup.prove(only(p));
    }

    function test_anEndedKeyProvesNothing() public {
        uint64 index = commit();
        putTcbInfo(tcbInfoJson("18", level("OutOfDate")));
        registry.invalidate(vm.addr(KEY));
        Rollup.Proof memory p = enclaveProof(KEY, index, 0);
        vm.expectRevert(abi.encodeWithSelector(AttestationRegistry.KeyInvalidated.selector, vm.addr(KEY)));
        rollup.prove(only(p));
    }

    /// @dev A machine that zero knowledge contradicts is out, with every key it has or gets.
    function test_aBarredMachine() public {
        uint64 index = commit();
        rollup.prove(only(enclaveProof(KEY, index, 1)));
        zk(index, 0);
        address second = vm.addr(SECOND_KEY);
        registry.register(quoteOf(goodParts(said(second))), second, payout, BLOCK);
        bytes32 platform = keccak256(abi.encodePacked(PPID));
        vm.assertTrue(proofs.isBarred(second, platform, 0));
        Rollup.Proof memory p = enclaveProof(SECOND_KEY, index, 0);
        vm.expectRevert(abi.encodeWithSelector(Proofs.ProverBarred.selector, second, platform, uint8(0)));
        rollup.prove(only(p));
    }

    function test_productionRefusesTheDevelopmentRoot() public {
        Proofs production = new Proofs(address(this), rollup, council, true, WEEK);
        vm.expectRevert(abi.encodeWithSelector(Proofs.VerifierRefused.selector, verifier));
        production.setVerifier(ProofSystem.Tee, verifier);
        bytes32[] memory none = new bytes32[](0);
        Pccs intel = new Pccs(vm.readFileBinary("tee/intel_sgx_root.der"));
        DcapVerifier quotes = new DcapVerifier(intel);
        AttestationRegistry keys = new AttestationRegistry(tl, quotes, goodPolicy(), none, none);
        TeeVerifier real = new TeeVerifier(keys);
        production.setVerifier(ProofSystem.Tee, real);
        vm.assertEq(address(production.systemOf(ProofSystem.Tee).verifier), address(real));
    }

    /// @dev What an enclave's proof costs over one that is believed without a look.
    function test_gasOfAProof() public {
        uint64 index = commit();
        cost = measure(bob, address(rollup), abi.encodeCall(Rollup.prove, (only(enclaveProof(KEY, index, 0)))));
        vm.snapshotValue("first proof by an enclave, with the opening of a blob", cost);
        // The others have the same blob, which is open now.
        index = commit();
        cost = measure(bob, address(rollup), abi.encodeCall(Rollup.prove, (only(enclaveProof(KEY, index, 0)))));
        index = commit();
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Tee, teeVerifier);
        Rollup.Proof memory believed = proofOf(ProofSystem.Tee, intel1, index, 0);
        cost -= measure(bob, address(rollup), abi.encodeCall(Rollup.prove, (only(believed))));
        keep("an enclave's proof over one that is believed", 60_000);
        // All of it, without the base.
        bytes memory data = abi.encodeCall(TeeVerifier.verify, (keccak256("statement"), sign(keccak256("statement"))));
        cost = measure(bob, address(verifier), data) - 21_000;
        keep("verification of an enclave's proof", 60_000);
    }

    function sign(bytes32 statement) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, verifier.digestOf(statement));
        return abi.encodePacked(r, s, v);
    }
}
