// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AttestationErrors} from "../../src/l1/tee/AttestationErrors.sol";
import {AttestationRegistry, Policy} from "../../src/l1/tee/AttestationRegistry.sol";
import {DcapVerifier} from "../../src/l1/tee/DcapVerifier.sol";
import {Pccs} from "../../src/l1/tee/Pccs.sol";
import {Status} from "../../src/l1/tee/Tcb.sol";
import {TeeVerifier} from "../../src/l1/tee/TeeVerifier.sol";
import {Pki} from "./Pki.sol";

/// @notice The contracts of attestation, with the collateral by which one machine is up to date.
abstract contract Attestation is Pki {
    uint256 internal constant KEY = uint256(keccak256("enclave's key"));
    uint64 internal constant BLOCK = 19_999_990;
    bytes32 internal constant BLOCK_HASH = keccak256("block");
    address internal tl = account("timelock of the registry");
    address internal payout = account("payout");

    Pccs internal pccs;
    DcapVerifier internal dcap;
    AttestationRegistry internal registry;
    TeeVerifier internal verifier;
    uint32 internal ca;
    uint32 internal signer;

    function deployAttestation() internal {
        vm.warp(NOW);
        vm.roll(20_000_000);
        vm.setBlockhash(BLOCK, BLOCK_HASH);
        pccs = new Pccs(certificate(rootParts(), ROOT_KEY));
        dcap = new DcapVerifier(pccs);
        bytes32[] memory measurements = new bytes32[](1);
        measurements[0] = MEASUREMENT;
        bytes32[] memory signers = new bytes32[](1);
        signers[0] = SIGNER;
        registry = new AttestationRegistry(tl, dcap, goodPolicy(), measurements, signers);
        verifier = new TeeVerifier(registry);
    }

    function putCollateral() internal {
        ca = pccs.addPckCa(certificate(caParts(), ROOT_KEY));
        signer = pccs.addTcbSigner(certificate(signerParts(), ROOT_KEY));
        putCrl(pccs.ROOT(), "");
        putCrl(ca, "");
        putTcbInfo(tcbInfoJson("17", level("UpToDate")));
        putQeIdentity(qeIdentityJson("17", qeLevel("8", "UpToDate")));
    }

    function goodPolicy() internal pure returns (Policy memory) {
        return Policy({statuses: 1, minEvaluation: 17, maxAge: 30 days, lifetime: 90 days});
    }

    function putCrl(uint32 issuer, bytes memory entries) internal {
        (string memory cn, uint256 key) = issuer == pccs.ROOT() ? (ROOT_CN, ROOT_KEY) : (CA_CN, CA_KEY);
        pccs.putCrl(issuer, signed(crlOf(cn, CRL_ISSUED, CRL_UNTIL, entries, ""), key));
    }

    /// @dev A list that is newer than the first.
    function putNewerCrl(uint32 issuer, bytes memory entries) internal {
        (string memory cn, uint256 key) = issuer == pccs.ROOT() ? (ROOT_CN, ROOT_KEY) : (CA_CN, CA_KEY);
        pccs.putCrl(issuer, signed(crlOf(cn, "231114000001Z", CRL_UNTIL, entries, ""), key));
    }

    function putTcbInfo(bytes memory json) internal {
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        pccs.putTcbInfo(signer, json, r, s);
    }

    function putQeIdentity(bytes memory json) internal {
        (bytes32 r, bytes32 s) = vm.signP256(SIGNER_KEY, sha256(json));
        pccs.putQeIdentity(signer, json, r, s);
    }

    /// @dev What an enclave says to register `key`.
    function said(address key) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(registry), key, payout, uint256(BLOCK), BLOCK_HASH));
    }

    function goodQuote() internal view returns (bytes memory) {
        return quoteOf(goodParts(said(vm.addr(KEY))));
    }

    function registerKey() internal returns (address key) {
        key = vm.addr(KEY);
        registry.register(goodQuote(), key, payout, BLOCK);
    }

    function status(Status s) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(AttestationErrors.TcbStatus.selector, s);
    }
}
