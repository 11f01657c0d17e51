// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Batch, Batches} from "../src/l1/Batches.sol";
import {ProofSystem} from "../src/l1/Proofs.sol";
import {ZkFixture, ZkVerifierCases} from "./ZkVerifier.t.sol";

/// @notice A batch with a deposit, transfers, an ERC-20 and a withdrawal, proven by all stages of the prover (fixtures/proven.cjs): nobody who makes it knows the
/// parameters' secret, nor uses it. The program is the guest as it was then.
abstract contract ProvenFixture is ZkFixture {
    Batch internal batch;
    bytes32[] internal blobs;
    bytes32[] internal openings;
    bytes32 internal start;
    address internal payout;
    bytes32 internal stateRoot;
    bytes32 internal outboxRoot;

    function fixture() internal pure override returns (string memory) {
        return "test/fixtures/proven.json";
    }

    /// @dev The statement is nowhere written down: it is made of what the batch is.
    function readStatement(string memory json) internal virtual override returns (bytes32) {
        batch = abi.decode(vm.parseJsonBytes(json, ".header"), (Batch));
        blobs = vm.parseJsonBytes32Array(json, ".blobs");
        openings = vm.parseJsonBytes32Array(json, ".openings");
        start = vm.parseJsonBytes32(json, ".start");
        payout = vm.parseJsonAddress(json, ".payout");
        stateRoot = vm.parseJsonBytes32(json, ".stateRoot");
        outboxRoot = vm.parseJsonBytes32(json, ".outboxRoot");
        return said(batch, blobs, openings, start, payout, stateRoot, outboxRoot);
    }

    /// @dev As `Rollup` makes it.
    function said(
        Batch memory header,
        bytes32[] memory inBlobs,
        bytes32[] memory opened,
        bytes32 from,
        address to,
        bytes32 state,
        bytes32 outbox_
    ) internal pure returns (bytes32) {
        bytes32[] memory outputs = new bytes32[](1);
        outputs[0] = Batches.output(Batches.hash(header, inBlobs), header.lastBlockHash, state, outbox_);
        return Batches.statement(header.chainId, header.rollup, from, to, outputs, opened);
    }
}

/// @notice What the proof holds for, and for nothing else.
contract ZkProvenTest is ProvenFixture, ZkVerifierCases {
    function readStatement(string memory json) internal override(ZkFixture, ProvenFixture) returns (bytes32) {
        return ProvenFixture.readStatement(json);
    }

    function flip(bytes32 word) private pure returns (bytes32) {
        return word ^ bytes32(uint256(1));
    }

    function test_everyWordOfTheBatchCounts() public view {
        bytes memory encoded = abi.encode(batch);
        for (uint256 i; i < 18; ++i) {
            bytes memory changed = bytes.concat(encoded);
            uint256 offset = 32 + 32 * i;
            assembly {
                mstore(add(changed, offset), xor(mload(add(changed, offset)), 1))
            }
            Batch memory other = abi.decode(changed, (Batch));
            bytes32 changedStatement = said(other, blobs, openings, start, payout, stateRoot, outboxRoot);
            vm.assertFalse(holds(verifier, changedStatement, proof), vm.toString(i));
        }
    }

    function test_blobsOpeningsRootsStartAndPayoutCount() public view {
        for (uint256 i; i < blobs.length; ++i) {
            bytes32[] memory others = blobs;
            others[i] = flip(others[i]);
            vm.assertFalse(holds(verifier, said(batch, others, openings, start, payout, stateRoot, outboxRoot), proof));
        }
        for (uint256 i; i < openings.length; ++i) {
            bytes32[] memory others = openings;
            others[i] = flip(others[i]);
            vm.assertFalse(holds(verifier, said(batch, blobs, others, start, payout, stateRoot, outboxRoot), proof));
        }
        Batch memory same = batch;
        vm.assertFalse(
            holds(verifier, said(same, blobs, openings, flip(start), payout, stateRoot, outboxRoot), proof), "start"
        );
        vm.assertFalse(
            holds(verifier, said(same, blobs, openings, start, alice, stateRoot, outboxRoot), proof), "payout"
        );
        vm.assertFalse(
            holds(verifier, said(same, blobs, openings, start, payout, flip(stateRoot), outboxRoot), proof), "state"
        );
        vm.assertFalse(
            holds(verifier, said(same, blobs, openings, start, payout, stateRoot, flip(outboxRoot)), proof), "outbox"
        );
    }
}

/// @notice Whole transactions on a chain that is older than 256 batches, where places for outputs are used again.
contract ZkGasTest is ProvenFixture {
    function past() internal override {
        for (uint64 i; i < 4; ++i) {
            for (uint64 j; j < 64; ++j) {
                commit();
            }
            rollup.prove(only(rangeOf(ProofSystem.Tee, intel1, 64 * i + 1, 64 * i + 64)));
            rollup.prove(only(rangeOf(ProofSystem.Zk, noProver(), 64 * i + 1, 64 * i + 64)));
            pass(12);
        }
    }

    function test_costThroughTheRollup() public {
        costOf(firstIndex, firstIndex);
        keep("proof in zero knowledge, through the rollup, final", 500_000);
    }

    /// @dev One proof of two.
    function test_costOfTwoBatches() public {
        costOf(firstIndex, lastIndex);
        keep("proof in zero knowledge, through the rollup, two batches final", 560_000);
    }
}
