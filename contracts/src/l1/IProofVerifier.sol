// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Who made a proof. A zero-knowledge proof has no maker: all fields are zero.
struct Prover {
    /// The enclave's signing key, as an address.
    address key;
    /// The machine: keccak256 of its PPID (SGX, TDX) or chip id (SNP).
    bytes32 platform;
    /// The maker of the machine, below 16.
    uint8 vendor;
}

/// @title What `Rollup` asks of a proof system.
interface IProofVerifier {
    /// @notice Reverts unless `proof` proves `statement` (see `Batches.statement`).
    /// @return prover Who made the proof.
    function verify(bytes32 statement, bytes calldata proof) external view returns (Prover memory prover);

    /// @notice Whether this verifier accepts proofs that prove nothing. A production chain refuses it.
    function isTest() external view returns (bool);
}
