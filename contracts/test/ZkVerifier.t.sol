// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Proofs, ProofSystem} from "../src/l1/Proofs.sol";
import {IProofVerifier, Prover} from "../src/l1/IProofVerifier.sol";
import {Rollup} from "../src/l1/Rollup.sol";
import {ZkVerifier} from "../src/l1/zk/ZkVerifier.sol";
import {Chain} from "./utils/Chain.sol";
import {Measure} from "./utils/Measure.sol";

/// @notice Has a proof verified for the statement that it proves, whatever it is asked: for what the rollup adds to the cost.
contract OneStatement is IProofVerifier {
    ZkVerifier private immutable _verifier;
    bytes32 private immutable _statement;

    constructor(ZkVerifier verifier_, bytes32 statement_) {
        _verifier = verifier_;
        _statement = statement_;
    }

    function verify(bytes32, bytes calldata proof) external view returns (Prover memory) {
        return _verifier.verify(_statement, proof);
    }

    function isTest() external pure returns (bool) {
        return true;
    }
}

/// @notice A proof, and a chain that asks about it.
abstract contract ZkFixture is Chain, Measure {
    uint256 internal constant R = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;
    uint256 internal constant Q = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;
    /// Enough for a verification; what a precompile refuses takes all that it is given.
    uint256 internal constant GAS = 1_000_000;

    uint256 internal program;
    uint256 internal machine;
    bytes internal key;
    bytes32 internal statement;
    bytes internal proof;
    ZkVerifier internal verifier;
    OneStatement internal asked;
    /// Batches that wait for the proof, an enclave's is there.
    uint64 internal firstIndex;
    uint64 internal lastIndex;

    /// @dev The file with the proof, and what it is of.
    function fixture() internal pure virtual returns (string memory);

    function setUp() public virtual override {
        super.setUp();
        string memory json = vm.readFile(fixture());
        program = uint256(vm.parseJsonBytes32(json, ".program"));
        machine = uint256(vm.parseJsonBytes32(json, ".machine"));
        key = vm.parseJsonBytes(json, ".key");
        statement = readStatement(json);
        proof = vm.parseJsonBytes(json, ".proof");
        verifier = new ZkVerifier(program, machine, key);
        past();
        // Here, and not by the tests: what they touch first is cold, as it is to a transaction.
        asked = new OneStatement(verifier, statement);
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Zk, asked);
        commitFinalByBoth();
        firstIndex = commit();
        lastIndex = commit();
        // The openings of the blobs are paid for by the other system's proofs.
        tee(intel1, firstIndex, 0);
        tee(intel1, lastIndex, 0);
        pass(12);
    }

    /// @dev What the chain has behind it.
    function past() internal virtual {}

    /// @dev A batch before, since the first after genesis costs less.
    function commitFinalByBoth() private {
        uint64 index = commit();
        tee(intel1, index, 0);
        rollup.prove(only(zkRange(index, index)));
        assertFinal(index);
    }

    /// @dev The proof, as one of these batches.
    function zkRange(uint64 first, uint64 last) internal view returns (Rollup.Proof memory p) {
        p = rangeOf(ProofSystem.Zk, noProver(), first, last);
        p.proof = proof;
    }

    /// @dev What the proof is of.
    function readStatement(string memory json) internal virtual returns (bytes32) {
        return vm.parseJsonBytes32(json, ".statement");
    }

    /// @dev The cost of `prove`, less what `OneStatement` adds, which no chain has: a cold account (EIP-2929), and its own work.
    function costOf(uint64 first, uint64 last) internal {
        cost = measure(bob, address(rollup), abi.encodeCall(Rollup.prove, (only(zkRange(first, last)))));
        assertFinal(last);
        bytes memory data = abi.encodeCall(verifier.verify, (statement, proof));
        uint256 withIt = measure(bob, address(asked), data);
        // Its account is warm by now.
        cost -= withIt - measure(bob, address(verifier), data) + 2500;
    }
}

/// @notice A proof against the verifier.
abstract contract ZkVerifierCases is ZkFixture {
    function holds(ZkVerifier v, bytes32 statement_, bytes memory proof_) internal view returns (bool) {
        try v.verify{gas: GAS}(statement_, proof_) returns (Prover memory prover) {
            vm.assertTrue(prover.key == address(0) && prover.platform == 0 && prover.vendor == 0);
            return true;
        } catch {
            return false;
        }
    }

    function test_aProofHoldsForItsStatement() public view {
        vm.assertTrue(holds(verifier, statement, proof));
        vm.assertTrue(verifier.isTest());
    }

    function test_everyByteOfTheStatementCounts() public view {
        for (uint256 i; i < 32; ++i) {
            vm.assertFalse(holds(verifier, statement ^ bytes32(uint256(1) << (8 * i)), proof));
        }
        vm.assertFalse(holds(verifier, ~statement, proof));
    }

    function test_anotherProgramOrMachineIsNotProven() public {
        vm.assertFalse(holds(new ZkVerifier(program + 1, machine, key), statement, proof));
        vm.assertFalse(holds(new ZkVerifier(program, machine + 1, key), statement, proof));
        vm.assertFalse(holds(new ZkVerifier(machine, program, key), statement, proof));
    }

    function test_everyWordOfTheProofCounts() public view {
        for (uint256 i; i < 83; ++i) {
            bytes memory changed = bytes.concat(proof);
            uint256 offset = 32 + 32 * i;
            uint256 word;
            assembly {
                word := mload(add(changed, offset))
                mstore(add(changed, offset), xor(word, 1))
            }
            vm.assertFalse(holds(verifier, statement, changed), vm.toString(i));
            // The same number, or coordinate, in another form.
            uint256 modulus = i >= 32 && i < 79 ? R : Q;
            assembly {
                mstore(add(changed, offset), add(word, modulus))
            }
            vm.assertFalse(holds(verifier, statement, changed), vm.toString(i));
            assembly {
                mstore(add(changed, offset), 0)
            }
            vm.assertFalse(word != 0 && holds(verifier, statement, changed), vm.toString(i));
        }
    }

    function test_aPointIsNotItsOpposite() public view {
        for (uint256 i; i < 83; ++i) {
            if (i >= 32 && i < 79) continue;
            bytes memory changed = bytes.concat(proof);
            uint256 offset = 32 + 32 * i;
            assembly {
                mstore(add(changed, offset), sub(Q, mload(add(changed, offset))))
            }
            vm.assertFalse(holds(verifier, statement, changed), vm.toString(i));
        }
    }

    function test_aProofHasItsLength() public view {
        vm.assertFalse(holds(verifier, statement, ""));
        vm.assertFalse(holds(verifier, statement, bytes.concat(proof, hex"00")));
        bytes memory shorter = bytes.concat(proof);
        assembly {
            mstore(shorter, sub(mload(shorter), 1))
        }
        vm.assertFalse(holds(verifier, statement, shorter));
        vm.assertFalse(holds(verifier, statement, new bytes(2656)));
    }

    function test_everyWordOfTheKeyCounts() public {
        for (uint256 i; i < 31; ++i) {
            bytes memory changed = bytes.concat(key);
            uint256 offset = 32 + 32 * i;
            assembly {
                mstore(add(changed, offset), xor(mload(add(changed, offset)), 1))
            }
            vm.assertFalse(holds(new ZkVerifier(program, machine, changed), statement, proof), vm.toString(i));
        }
    }

    function test_aKeyHasItsLengthAndCommitmentsAreBelowR() public {
        vm.expectRevert(ZkVerifier.InvalidKey.selector);
        new ZkVerifier(program, machine, bytes.concat(key, hex"00"));
        vm.expectRevert(ZkVerifier.InvalidKey.selector);
        new ZkVerifier(program + R, machine, key);
        vm.expectRevert(ZkVerifier.InvalidKey.selector);
        new ZkVerifier(program, machine + R, key);
    }

    function test_keysOfTheCeremonyAreNoTests() public {
        bytes memory ceremony = bytes.concat(key);
        bytes memory point = hex"172aa93c41f16e1e04d62ac976a5d945f4be0acab990c6dc19ac4a7cf68bf77b"
            hex"2ae0c8c3a090f7200ff398ee9845bbae8f8c1445ae7b632212775f60a0e21600"
            hex"1754a9fc3b7e4da9197c283c7401773208190c5555caf254e644e99c29366704"
            hex"1459fe6cc8a1222fd4290864ff9e47d4b8cf7a403593c7107c39538ddefd857e";
        assembly {
            mcopy(add(ceremony, 32), add(point, 32), 128)
        }
        vm.assertFalse(new ZkVerifier(program, machine, ceremony).isTest());
    }

    /// @dev A proof of another chain, of another batch, or for another payout is one of another statement.
    function test_aProofOfAnotherStatementIsNoneForTheRollup() public {
        vm.prank(address(timelock));
        proofs.setVerifier(ProofSystem.Zk, verifier);
        Rollup.Proof memory p = proofOf(ProofSystem.Zk, noProver(), commit(), 0);
        p.proof = proof;
        vm.assertTrue(statementOf(p) != statement);
        vm.expectRevert(ZkVerifier.InvalidProof.selector);
        rollup.prove(only(p));
    }

    function test_costAlone() public {
        cost = measure(alice, address(verifier), abi.encodeCall(verifier.verify, (statement, proof)));
        keep("proof in zero knowledge, the verifier alone", 408_000);
    }

    function test_costThroughTheRollup() public {
        costOf(firstIndex, firstIndex);
        keep("proof in zero knowledge, through the rollup, final, one of the first 256 batches", 516_000);
    }

    function test_theKeyCanBeRead() public view {
        vm.assertEq(verifier.key(), key);
    }
}

/// @notice Forged, by parameters whose secret is known (fixtures/forged.cjs): to the verifier it is as any other.
contract ZkVerifierTest is ZkVerifierCases {
    function fixture() internal pure override returns (string memory) {
        return "test/fixtures/forged.json";
    }
}
