// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ZkVerifierCases} from "./ZkVerifier.t.sol";

/// @notice Proven, by all stages of the prover (fixtures/proven.cjs): nobody who makes it knows the parameters' secret, nor uses it.
contract ZkProvenTest is ZkVerifierCases {
    function fixture() internal pure override returns (string memory) {
        return "test/fixtures/proven.json";
    }
}
