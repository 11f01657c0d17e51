// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IProofVerifier, Prover} from "../IProofVerifier.sol";

/// @title Proofs by zero knowledge: a KZG proof on BN254 that a STARK of the pinned program was verified, which reveals the statement.
/// @notice The circuit (halo2, 2^23 rows, constraints of degree 4) verifies the root of OpenVM's aggregation. Its 34 public inputs are the program's commitment, the
/// virtual machine's, and the 32 bytes that the program reveals: the first two are this contract's, the others the statement that the rollup gives. From the proof
/// itself nothing is believed.
///
/// A proof is 83 words: points of G1 (x, y) and numbers below r, in the order of the transcript.
///
/// | words | what | then |
/// |---|---|---|
/// | 0 | commitments of the columns a, b, c, d (gates) and e (looked up) | |
/// | 10 | permuted lookup: input A, table S | challenges beta, gamma |
/// | 14 | permutation products z0 to z3, lookup product, random polynomial | challenge y |
/// | 26 | quotient h in three pieces | challenge x |
/// | 32 | evaluations: a to d at x, wx, w^2x, w^3x each; e; 6 fixed columns; random; 7 of the permutation; z0 to z3 (x, wx and, but for z3, w^-7x); lookup product (x, wx), A (x, w^-1x), S | challenges mu, v |
/// | 79 | SHPLONK: W | challenge u |
/// | 81 | SHPLONK: W' | |
///
/// The transcript is keccak256 over the key's digest, the inputs and the words so far; each challenge is its hash mod r, and the hash begins what is hashed next (alone, it
/// has the byte 1 after it). Scheme: PLONK as halo2 has it, openings by SHPLONK (https://eprint.iacr.org/2020/081).
///
/// The verifying key is a data contract's code after a byte 0, 31 words: s·G2 (x then y, the imaginary part first), 6 fixed commitments (constants, table, the gates'
/// selectors), 7 of the permutation, the digest. Constants of the circuit's form are in the code.
contract ZkVerifier is IProofVerifier {
    /// @dev Order of the groups of BN254, and of the field that their coordinates are in.
    uint256 private constant R = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;
    uint256 private constant Q = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;
    /// @dev keccak256 of s·G2 of the Perpetual Powers of Tau after 85 contributions.
    bytes32 private constant CEREMONY = keccak256(
        hex"172aa93c41f16e1e04d62ac976a5d945f4be0acab990c6dc19ac4a7cf68bf77b"
        hex"2ae0c8c3a090f7200ff398ee9845bbae8f8c1445ae7b632212775f60a0e21600"
        hex"1754a9fc3b7e4da9197c283c7401773208190c5555caf254e644e99c29366704"
        hex"1459fe6cc8a1222fd4290864ff9e47d4b8cf7a403593c7107c39538ddefd857e"
    );
    /// @dev The selector of InvalidProof.
    uint256 private constant REFUSAL = 0x09bde339;
    /// @dev Bytes of a proof.
    uint256 private constant PROOF = 83 * 32;
    /// @dev Bytes of a verifying key.
    uint256 private constant KEY = 31 * 32;

    // Where things lie in memory: all of it is this contract's, words in the order of the transcript.
    uint256 private constant FIXED = 4 * 32;
    uint256 private constant SIGMA = 16 * 32;
    uint256 private constant DIGEST = 30 * 32;
    uint256 private constant INPUTS = 31 * 32;
    uint256 private constant ADVICE = 65 * 32;
    uint256 private constant THETA = 75 * 32;
    uint256 private constant LOOKUP = 76 * 32;
    uint256 private constant BETA = 80 * 32;
    uint256 private constant GAMMA = 81 * 32;
    uint256 private constant PRODUCTS = 82 * 32;
    uint256 private constant RANDOM = 92 * 32;
    uint256 private constant Y = 94 * 32;
    uint256 private constant QUOTIENT = 95 * 32;
    uint256 private constant X = 101 * 32;
    uint256 private constant EVALS = 102 * 32;
    uint256 private constant MU = 149 * 32;
    uint256 private constant V = 150 * 32;
    uint256 private constant W = 151 * 32;
    uint256 private constant U = 153 * 32;
    uint256 private constant W2 = 154 * 32;
    // Numbers to be inverted, and then their inverses: x - w^i for i from -7 to 33, x^n - 1, x, u - w^-7x, u - w^-1x.
    uint256 private constant INVERSES = 160 * 32;
    uint256 private constant INV_XN = 201 * 32;
    uint256 private constant INV_X = 202 * 32;
    uint256 private constant INV_LAST = 203 * 32;
    uint256 private constant INV_PREV = 204 * 32;
    uint256 private constant INVERSES_END = 205 * 32;
    uint256 private constant PREFIXES = 205 * 32;
    // Scratch: a sum, a point and its factor.
    uint256 private constant SUM = 256 * 32;
    uint256 private constant TERM = 258 * 32;
    uint256 private constant FACTOR = 260 * 32;
    uint256 private constant MODEXP = 262 * 32;
    // Numbers that are used far apart.
    uint256 private constant XN = 270 * 32;
    uint256 private constant H = 271 * 32;
    uint256 private constant L_FIRST = 272 * 32;
    uint256 private constant L_LAST = 273 * 32;
    uint256 private constant ACTIVE = 274 * 32;
    uint256 private constant INSTANCE = 275 * 32;
    uint256 private constant COEF_B = 276 * 32;
    uint256 private constant COEF_C = 277 * 32;
    uint256 private constant COEF_D = 278 * 32;
    uint256 private constant COEF_E = 279 * 32;
    uint256 private constant REST = 280 * 32;
    uint256 private constant E_0 = 281 * 32;
    uint256 private constant E_1 = 282 * 32;
    uint256 private constant E_2 = 283 * 32;
    uint256 private constant E_3 = 284 * 32;
    uint256 private constant E_LAST = 285 * 32;
    uint256 private constant E_PREV = 286 * 32;
    uint256 private constant E_23 = 287 * 32;
    uint256 private constant E_123 = 288 * 32;

    // w, a root of unity of order n = 2^23, some of its powers, and 1/n.
    uint256 private constant OMEGA = 0x1283ba6f4b7b1a76ba2008fe823128bea4adb9269cbfd7c41c223be65bc60863;
    uint256 private constant OMEGA_LAST = 0x09f6c7546cff282692bf117d54f521efa03dfbd77cb222e3e0efd7b21f2ba873;
    uint256 private constant OMEGA_PREV = 0x1589862c1cf3f8b59954774980cc9361c568bcabd9cb7d0858de685794d4772b;
    uint256 private constant N_INV = 0x30644e121894ba67550ff245e0f5eb5a25832df811e8df9dd100d30c2c14d821;
    /// @dev A generator of the cosets that the permutation tells columns apart by: 7^(2^28).
    uint256 private constant DELTA = 0x09226b6e22c6f0ca64ec26aad4c86e715b5f898e5e963f25870e56bbe533e9a2;
    // 1 over the product of w^i - w^k over the other k of a set of rotations: {0, 1, 2, 3}, {0, 1, -7}, {0, 1}, {0, -1}.
    uint256 private constant A_0 = 0x245058b09469a675b03ab4ca135eb45127b5b33b69f8d8901be5376b25482f77;
    uint256 private constant A_1 = 0x049ffc097bbfbf469bed905af68e8351b58875a08321ed6fa5a62587f32e84d1;
    uint256 private constant A_2 = 0x22fed116b7c5e6045dbe5c3b6e5db7c16b36264225c97d159ce3eccf95533d63;
    uint256 private constant A_3 = 0x14d97714fa73f492c6b9ea0c8ab7c15607f38172e08e9e0d2954a16532360e57;
    uint256 private constant C_0 = 0x035416722d6f12be4a0afa0d3f768981416e57046268f06d02dfc823d9e48d1a;
    uint256 private constant C_1 = 0x29d1a8efbbd97819156203a5f07ebe4327aa1c5c1aef09bdaa1c8f8b3b39e06d;
    uint256 private constant C_LAST = 0x033e8f10f7e9155258e34803518c1098bf1b74e7fc61766696e59de4dae1927a;
    uint256 private constant D_0 = 0x1346172434cec1d0c63ea4569760658da97c1f16e0869539c56446c05065a1a1;
    uint256 private constant D_1 = 0x1d1e374eac62de58f211a15fea20f2cf7eb7c9319932db577e7daed39f9a5e60;
    uint256 private constant E_SET_0 = 0x1d1e374eac62de58f211a15fea20f2cf7eb7c9319932db577e7daed39f9a5e61;
    uint256 private constant E_SET_PREV = 0x1346172434cec1d0c63ea4569760658da97c1f16e0869539c56446c05065a1a0;

    /// @notice Commitment to the program and its initial memory.
    uint256 public immutable program;
    /// @notice Commitment to the virtual machine's and the aggregation's verifying keys.
    uint256 public immutable machine;
    /// @notice The data contract with the verifying key.
    address public immutable key;
    bool private immutable _isTest;

    /// @notice The key is not as long as a key, or a commitment not below r.
    error InvalidKey();
    /// @notice The proof does not prove the statement.
    error InvalidProof();

    /// @param program_ The program's commitment.
    /// @param machine_ The virtual machine's.
    /// @param key_ The circuit's verifying key, as described above.
    constructor(uint256 program_, uint256 machine_, bytes memory key_) {
        if (key_.length != KEY || program_ >= R || machine_ >= R) revert InvalidKey();
        program = program_;
        machine = machine_;
        bytes32 ceremony;
        assembly ("memory-safe") {
            ceremony := keccak256(add(key_, 32), 128)
        }
        _isTest = ceremony != CEREMONY;
        // Ten bytes of code that return what follows them.
        bytes memory code = abi.encodePacked(hex"6103e180600a5f395ff300", key_);
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        if (made.code.length != KEY + 1) revert InvalidKey();
        key = made;
    }

    /// @notice Whether anybody can forge proofs: the key is by parameters that are not the ceremony's.
    function isTest() external view returns (bool) {
        return _isTest;
    }

    /// @inheritdoc IProofVerifier
    function verify(bytes32 statement, bytes calldata proof) external view returns (Prover memory) {
        if (proof.length != PROOF) revert InvalidProof();
        _load();
        // Takes all of the memory, and ends the call.
        assembly {
            function fail() {
                mstore(0, REFUSAL)
                revert(28, 4)
            }
            // SUM += factor · the point at `point`.
            function add_term(point, factor) {
                mcopy(TERM, point, 64)
                mstore(FACTOR, factor)
                if iszero(staticcall(gas(), 7, TERM, 96, TERM, 64)) { fail() }
                if iszero(staticcall(gas(), 6, SUM, 128, SUM, 64)) { fail() }
            }
            // SUM += Σ factor · mu^i · point i, for the points from `point` to `end`; the next factor.
            function add_terms(point, end, factor, mu, q) -> next {
                next := factor
                for {} lt(point, end) { point := add(point, 64) } {
                    add_term(point, next)
                    next := mulmod(next, mu, q)
                }
            }
            // Whether a cell of the permutation is as it was: product of value + beta · label + gamma.
            function cell(value, label, beta, gamma, q) -> result {
                result := add(addmod(value, gamma, q), mulmod(beta, label, q))
            }

            // On the stack: a constant of this size would be read from the code each time.
            let p := R
            // The inputs and the proof.
            for { let i := 0 } lt(i, 32) { i := add(i, 1) } {
                mstore(add(add(INPUTS, 64), shl(5, i)), byte(i, statement))
            }
            calldatacopy(ADVICE, proof.offset, 320)
            calldatacopy(LOOKUP, add(proof.offset, 320), 128)
            calldatacopy(PRODUCTS, add(proof.offset, 448), 384)
            calldatacopy(QUOTIENT, add(proof.offset, 832), 192)
            calldatacopy(EVALS, add(proof.offset, 1024), 1504)
            calldatacopy(W, add(proof.offset, 2528), 64)
            calldatacopy(W2, add(proof.offset, 2592), 64)

            // The transcript. What is hashed on is the whole hash; after that, challenges are below r.
            mstore(THETA, keccak256(DIGEST, 1440))
            mstore(BETA, keccak256(THETA, 160))
            mstore8(GAMMA, 1)
            mstore(GAMMA, keccak256(BETA, 33))
            mstore(Y, keccak256(GAMMA, 416))
            mstore(X, keccak256(Y, 224))
            mstore(MU, keccak256(X, 1536))
            mstore8(V, 1)
            mstore(V, keccak256(MU, 33))
            mstore(U, mod(keccak256(V, 96), p))
            mstore(V, mod(mload(V), p))
            mstore(MU, mod(mload(MU), p))
            mstore(X, mod(mload(X), p))
            mstore(Y, mod(mload(Y), p))
            mstore(GAMMA, mod(mload(GAMMA), p))
            mstore(BETA, mod(mload(BETA), p))

            for { let cursor := EVALS } lt(cursor, MU) { cursor := add(cursor, 32) } {
                if iszero(lt(mload(cursor), p)) { fail() }
            }

            // x^n, and all that is inverted.
            {
                let x := mload(X)
                let u := mload(U)
                let xn := x
                for { let i := 0 } lt(i, 23) { i := add(i, 1) } { xn := mulmod(xn, xn, p) }
                mstore(XN, xn)
                let root := OMEGA_LAST
                for { let cursor := INVERSES } lt(cursor, INV_XN) { cursor := add(cursor, 32) } {
                    mstore(cursor, addmod(x, sub(p, root), p))
                    root := mulmod(root, OMEGA, p)
                }
                mstore(INV_XN, addmod(xn, sub(p, 1), p))
                mstore(INV_X, x)
                // u - w^i x for the rotations i that something is opened at.
                let neg := sub(p, x)
                mstore(E_0, addmod(u, neg, p))
                mstore(E_LAST, addmod(u, mulmod(neg, OMEGA_LAST, p), p))
                mstore(E_PREV, addmod(u, mulmod(neg, OMEGA_PREV, p), p))
                neg := mulmod(neg, OMEGA, p)
                mstore(E_1, addmod(u, neg, p))
                neg := mulmod(neg, OMEGA, p)
                mstore(E_2, addmod(u, neg, p))
                neg := mulmod(neg, OMEGA, p)
                mstore(E_3, addmod(u, neg, p))
                mstore(INV_LAST, mload(E_LAST))
                mstore(INV_PREV, mload(E_PREV))

                let product := 1
                let prefix := PREFIXES
                for { let cursor := INVERSES } lt(cursor, INVERSES_END) { cursor := add(cursor, 32) } {
                    mstore(prefix, product)
                    prefix := add(prefix, 32)
                    product := mulmod(product, mload(cursor), p)
                }
                mstore(MODEXP, 32)
                mstore(add(MODEXP, 32), 32)
                mstore(add(MODEXP, 64), 32)
                mstore(add(MODEXP, 96), product)
                mstore(add(MODEXP, 128), sub(p, 2))
                mstore(add(MODEXP, 160), p)
                if iszero(staticcall(gas(), 5, MODEXP, 192, MODEXP, 32)) { fail() }
                // A challenge that is a root of unity, or where something is opened, has probability 2^-220.
                if iszero(product) { fail() }
                let inverse := mload(MODEXP)
                for { let cursor := sub(INVERSES_END, 32) } gt(cursor, sub(INVERSES, 32)) { cursor := sub(cursor, 32) }
                {
                    prefix := sub(prefix, 32)
                    let value := mload(cursor)
                    mstore(cursor, mulmod(inverse, mload(prefix), p))
                    inverse := mulmod(inverse, value, p)
                }
            }

            // Lagrange polynomials at x, l_i = w^i (x^n - 1) / (n (x - w^i)): of the last usable row, of the blinded ones, of the inputs'.
            {
                let root := mulmod(mulmod(addmod(mload(XN), sub(p, 1), p), N_INV, p), OMEGA_LAST, p)
                let cursor := INVERSES
                let last := mulmod(root, mload(cursor), p)
                mstore(L_LAST, last)
                let blind := last
                for { let i := 0 } lt(i, 6) { i := add(i, 1) } {
                    cursor := add(cursor, 32)
                    root := mulmod(root, OMEGA, p)
                    blind := addmod(blind, mulmod(root, mload(cursor), p), p)
                }
                mstore(ACTIVE, addmod(1, sub(p, blind), p))
                cursor := add(cursor, 32)
                root := mulmod(root, OMEGA, p)
                let first := mulmod(root, mload(cursor), p)
                mstore(L_FIRST, first)
                let sum := mulmod(first, mload(INPUTS), p)
                for { let input := add(INPUTS, 32) } lt(input, ADVICE) { input := add(input, 32) } {
                    cursor := add(cursor, 32)
                    root := mulmod(root, OMEGA, p)
                    sum := addmod(sum, mulmod(mulmod(root, mload(cursor), p), mload(input), p), p)
                }
                mstore(INSTANCE, sum)
            }

            // The constraints at x, combined by powers of y: what the quotient has to be.
            {
                let y := mload(Y)
                let beta := mload(BETA)
                let gamma := mload(GAMMA)
                let first := mload(L_FIRST)
                // Gates: selector · (a + b · c - d), at four rows of one column.
                let sum := 0
                for { let i := 0 } lt(i, 4) { i := add(i, 1) } {
                    let cursor := add(EVALS, shl(7, i))
                    let gate := add(mulmod(mload(add(cursor, 32)), mload(add(cursor, 64)), p), mload(cursor))
                    gate := addmod(gate, sub(p, mload(add(cursor, 96))), p)
                    let selector := mload(add(add(EVALS, 608), shl(5, i)))
                    sum := addmod(mulmod(sum, y, p), mulmod(selector, gate, p), p)
                }
                // Permutation: the products begin with 1, end with 0 or 1, and go on one after the other.
                let z := add(EVALS, 992)
                sum := addmod(mulmod(sum, y, p), mulmod(first, addmod(1, sub(p, mload(z)), p), p), p)
                {
                    let z3 := mload(add(z, 288))
                    let end := addmod(mulmod(z3, z3, p), sub(p, z3), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(L_LAST), end, p), p)
                }
                for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                    let step := addmod(mload(add(z, 96)), sub(p, mload(add(z, 64))), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(first, step, p), p)
                    z := add(z, 96)
                }
                // Its products take two columns each, in the order: constants, a, b, c, d, e, inputs.
                let label := mulmod(mload(X), beta, p)
                let sigma := add(EVALS, 768)
                z := add(EVALS, 992)
                {
                    let left := mulmod(mload(add(z, 32)), cell(mload(add(EVALS, 544)), mload(sigma), beta, gamma, p), p)
                    left := mulmod(left, cell(mload(EVALS), mload(add(sigma, 32)), beta, gamma, p), p)
                    let right := mulmod(mload(z), cell(mload(add(EVALS, 544)), label, 1, gamma, p), p)
                    label := mulmod(label, DELTA, p)
                    right := mulmod(right, cell(mload(EVALS), label, 1, gamma, p), p)
                    label := mulmod(label, DELTA, p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(ACTIVE), addmod(left, sub(p, right), p), p), p)
                }
                for { let cursor := add(EVALS, 128) } lt(cursor, add(EVALS, 513)) { cursor := add(cursor, 256) } {
                    z := add(z, 96)
                    sigma := add(sigma, 64)
                    // b and c; then d and e, which are 128 bytes apart as well.
                    let left := mulmod(mload(add(z, 32)), cell(mload(cursor), mload(sigma), beta, gamma, p), p)
                    left := mulmod(left, cell(mload(add(cursor, 128)), mload(add(sigma, 32)), beta, gamma, p), p)
                    let right := mulmod(mload(z), cell(mload(cursor), label, 1, gamma, p), p)
                    label := mulmod(label, DELTA, p)
                    right := mulmod(right, cell(mload(add(cursor, 128)), label, 1, gamma, p), p)
                    label := mulmod(label, DELTA, p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(ACTIVE), addmod(left, sub(p, right), p), p), p)
                }
                {
                    z := add(z, 96)
                    let left :=
                        mulmod(mload(add(z, 32)), cell(mload(INSTANCE), mload(add(sigma, 64)), beta, gamma, p), p)
                    let right := mulmod(mload(z), cell(mload(INSTANCE), label, 1, gamma, p), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(ACTIVE), addmod(left, sub(p, right), p), p), p)
                }
                // Lookup of e in the table: product, A and S.
                {
                    z := mload(add(EVALS, 1344))
                    let a := mload(add(EVALS, 1408))
                    let s := mload(add(EVALS, 1472))
                    sum := addmod(mulmod(sum, y, p), mulmod(first, addmod(1, sub(p, z), p), p), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(L_LAST), addmod(mulmod(z, z, p), sub(p, z), p), p), p)
                    let left := mulmod(mload(add(EVALS, 1376)), add(a, beta), p)
                    left := mulmod(left, add(s, gamma), p)
                    let right := mulmod(z, add(mload(add(EVALS, 512)), beta), p)
                    right := mulmod(right, add(mload(add(EVALS, 576)), gamma), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(ACTIVE), addmod(left, sub(p, right), p), p), p)
                    let step := addmod(a, sub(p, s), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(first, step, p), p)
                    step := mulmod(step, addmod(a, sub(p, mload(add(EVALS, 1440))), p), p)
                    sum := addmod(mulmod(sum, y, p), mulmod(mload(ACTIVE), step, p), p)
                }
                mstore(H, mulmod(sum, mload(INV_XN), p))
            }

            // SHPLONK: the sets of rotations are A {0, 1, 2, 3} (a to d), B {0} (e, S, fixed, permutation, h, random), C {0, 1, -7} (z0 to z2),
            // D {0, 1} (z3, lookup product), E {0, -1} (A). Each set's factor is v^i · (u - the rotations not in it) / (u - those not in A).
            {
                let v := mload(V)
                let e23 := mulmod(mload(E_2), mload(E_3), p)
                let e123 := mulmod(mload(E_1), e23, p)
                mstore(E_23, e23)
                mstore(E_123, e123)
                mstore(COEF_B, mulmod(v, e123, p))
                let factor := mulmod(v, v, p)
                mstore(COEF_C, mulmod(mulmod(factor, e23, p), mload(INV_LAST), p))
                factor := mulmod(factor, v, p)
                mstore(COEF_D, mulmod(factor, e23, p))
                factor := mulmod(factor, v, p)
                mstore(COEF_E, mulmod(mulmod(factor, e123, p), mload(INV_PREV), p))
            }

            // What the combined openings are at u.
            {
                // A: the last column first, Horner's way.
                let mu := mload(MU)
                let r0
                let r1
                let r2
                let r3
                for { let cursor := add(EVALS, 384) } gt(cursor, sub(EVALS, 1)) { cursor := sub(cursor, 128) } {
                    r0 := addmod(mulmod(r0, mu, p), mload(cursor), p)
                    r1 := addmod(mulmod(r1, mu, p), mload(add(cursor, 32)), p)
                    r2 := addmod(mulmod(r2, mu, p), mload(add(cursor, 64)), p)
                    r3 := addmod(mulmod(r3, mu, p), mload(add(cursor, 96)), p)
                }
                let e01 := mulmod(mload(E_0), mload(E_1), p)
                r0 := mulmod(mulmod(r0, A_0, p), mload(E_123), p)
                r0 := add(r0, mulmod(mulmod(r1, A_1, p), mulmod(mload(E_0), mload(E_23), p), p))
                r0 := add(r0, mulmod(mulmod(r2, A_2, p), mulmod(mload(E_3), e01, p), p))
                r0 := addmod(r0, mulmod(mulmod(r3, A_3, p), mulmod(mload(E_2), e01, p), p), p)
                let x1 := mload(INV_X)
                mstore(REST, mulmod(r0, mulmod(x1, mulmod(x1, x1, p), p), p))
            }
            {
                // B: random, h, permutation and fixed columns backwards, S, e.
                let mu := mload(MU)
                let r := addmod(mulmod(mload(add(EVALS, 736)), mu, p), mload(H), p)
                for { let cursor := add(EVALS, 960) } gt(cursor, add(EVALS, 767)) { cursor := sub(cursor, 32) } {
                    r := addmod(mulmod(r, mu, p), mload(cursor), p)
                }
                for { let cursor := add(EVALS, 704) } gt(cursor, add(EVALS, 543)) { cursor := sub(cursor, 32) } {
                    r := addmod(mulmod(r, mu, p), mload(cursor), p)
                }
                r := addmod(mulmod(r, mu, p), mload(add(EVALS, 1472)), p)
                r := addmod(mulmod(r, mu, p), mload(add(EVALS, 512)), p)
                mstore(REST, addmod(mload(REST), mulmod(mload(COEF_B), r, p), p))
            }
            {
                // C.
                let mu := mload(MU)
                let z := add(EVALS, 992)
                let r0 := addmod(mulmod(mload(add(z, 192)), mu, p), mload(add(z, 96)), p)
                r0 := addmod(mulmod(r0, mu, p), mload(z), p)
                let r1 := addmod(mulmod(mload(add(z, 224)), mu, p), mload(add(z, 128)), p)
                r1 := addmod(mulmod(r1, mu, p), mload(add(z, 32)), p)
                let last := addmod(mulmod(mload(add(z, 256)), mu, p), mload(add(z, 160)), p)
                last := addmod(mulmod(last, mu, p), mload(add(z, 64)), p)
                r0 := mulmod(mulmod(r0, C_0, p), mulmod(mload(E_1), mload(E_LAST), p), p)
                r0 := add(r0, mulmod(mulmod(r1, C_1, p), mulmod(mload(E_0), mload(E_LAST), p), p))
                r0 := addmod(r0, mulmod(mulmod(last, C_LAST, p), mulmod(mload(E_0), mload(E_1), p), p), p)
                r0 := mulmod(r0, mulmod(mload(INV_X), mload(INV_X), p), p)
                mstore(REST, addmod(mload(REST), mulmod(mload(COEF_C), r0, p), p))
            }
            {
                // D and E.
                let mu := mload(MU)
                let r0 := addmod(mulmod(mload(add(EVALS, 1344)), mu, p), mload(add(EVALS, 1280)), p)
                let r1 := addmod(mulmod(mload(add(EVALS, 1376)), mu, p), mload(add(EVALS, 1312)), p)
                let r := mulmod(mulmod(r0, D_0, p), mload(E_1), p)
                r := addmod(r, mulmod(mulmod(r1, D_1, p), mload(E_0), p), p)
                r := mulmod(mload(COEF_D), r, p)
                r0 := mulmod(mulmod(mload(add(EVALS, 1408)), E_SET_0, p), mload(E_PREV), p)
                r0 := addmod(r0, mulmod(mulmod(mload(add(EVALS, 1440)), E_SET_PREV, p), mload(E_0), p), p)
                r := addmod(r, mulmod(mload(COEF_E), r0, p), p)
                mstore(REST, addmod(mload(REST), mulmod(r, mload(INV_X), p), p))
            }

            // The combined commitment less what it is at u: it has to be the opening at u, (s - u) · W'.
            {
                let mu := mload(MU)
                mcopy(SUM, ADVICE, 64)
                pop(add_terms(add(ADVICE, 64), add(ADVICE, 256), mu, mu, p))
                // e; S; fixed and permutation; h in its pieces; random.
                let factor := mload(COEF_B)
                add_term(add(ADVICE, 256), factor)
                factor := mulmod(factor, mu, p)
                add_term(add(LOOKUP, 64), factor)
                factor := add_terms(FIXED, DIGEST, mulmod(factor, mu, p), mu, p)
                pop(add_terms(QUOTIENT, X, factor, mload(XN), p))
                add_term(RANDOM, mulmod(factor, mu, p))
                pop(add_terms(PRODUCTS, add(PRODUCTS, 192), mload(COEF_C), mu, p))
                pop(add_terms(add(PRODUCTS, 192), RANDOM, mload(COEF_D), mu, p))
                add_term(LOOKUP, mload(COEF_E))
                // The generator is (1, 2).
                mstore(E_LAST, 1)
                mstore(E_PREV, 2)
                add_term(E_LAST, sub(p, mload(REST)))
                factor := mulmod(mulmod(mload(E_0), mload(E_1), p), mulmod(mload(E_2), mload(E_3), p), p)
                add_term(W, sub(p, factor))
                add_term(W2, mload(U))
            }

            // e(SUM, G2) · e(-W', s·G2) = 1.
            mcopy(INVERSES, SUM, 64)
            mstore(add(INVERSES, 64), 0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2)
            mstore(add(INVERSES, 96), 0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed)
            mstore(add(INVERSES, 128), 0x090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b)
            mstore(add(INVERSES, 160), 0x12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa)
            mstore(add(INVERSES, 192), mload(W2))
            // W' was multiplied above, so y is below q.
            mstore(add(INVERSES, 224), mod(sub(Q, mload(add(W2, 32))), Q))
            mcopy(add(INVERSES, 256), 0, 128)
            if iszero(staticcall(gas(), 8, INVERSES, 384, INVERSES, 32)) { fail() }
            if iszero(mload(INVERSES)) { fail() }
            // No prover: three zeros.
            calldatacopy(0, calldatasize(), 96)
            return(0, 96)
        }
    }

    /// @dev Puts the key and the first inputs into memory, where nothing else is yet.
    function _load() private view {
        uint256 program_ = program;
        uint256 machine_ = machine;
        address key_ = key;
        assembly {
            extcodecopy(key_, 0, 1, KEY)
            mstore(INPUTS, program_)
            mstore(add(INPUTS, 32), machine_)
        }
    }
}
