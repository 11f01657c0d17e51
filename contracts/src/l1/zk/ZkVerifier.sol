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
/// The verifying key is 31 words: s·G2 (x then y, the imaginary part first), 6 fixed commitments (constants, table, the gates' selectors), 7 of the permutation,
/// the digest. Constants of the circuit's form are in the code.
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
    // Once the inputs are hashed and read, numbers lie where they were but for the first two: those to be inverted, and then their inverses, in this order: what
    // tells x from the last usable row, from the six blinded ones (a product), from the first, from those of the inputs but the first (a product); x^n - 1, x,
    // u - w^-7x, u - w^-1x.
    uint256 private constant INV_LAST_ROW = 33 * 32;
    uint256 private constant INV_BLIND_ROWS = 34 * 32;
    uint256 private constant INV_FIRST_ROW = 35 * 32;
    uint256 private constant INV_INPUT_ROWS = 36 * 32;
    uint256 private constant INV_XN = 37 * 32;
    uint256 private constant INV_X = 38 * 32;
    uint256 private constant INV_LAST = 39 * 32;
    uint256 private constant INV_PREV = 40 * 32;
    uint256 private constant PREFIXES = 41 * 32;
    uint256 private constant MODEXP = 49 * 32;
    // After the inversion, in place of its prefixes.
    uint256 private constant L_FIRST = 41 * 32;
    uint256 private constant L_LAST = 42 * 32;
    uint256 private constant ACTIVE = 43 * 32;
    uint256 private constant INSTANCE = 44 * 32;
    uint256 private constant H = 45 * 32;
    uint256 private constant COEF_B = 46 * 32;
    uint256 private constant COEF_C = 47 * 32;
    uint256 private constant COEF_D = 48 * 32;
    uint256 private constant COEF_E = 49 * 32;
    uint256 private constant REST = 50 * 32;
    // A sum, and a point to be added to it.
    uint256 private constant SUM = 51 * 32;
    uint256 private constant TERM = 53 * 32;
    // Numbers that are used far apart: u - w^i x, x^n.
    uint256 private constant E_0 = 55 * 32;
    uint256 private constant E_1 = 56 * 32;
    uint256 private constant E_2 = 57 * 32;
    uint256 private constant E_3 = 58 * 32;
    uint256 private constant E_LAST = 59 * 32;
    uint256 private constant E_PREV = 60 * 32;
    uint256 private constant XN = 61 * 32;
    // A point and its factor.
    uint256 private constant ROW = 62 * 32;
    uint256 private constant FACTOR = 64 * 32;

    // w, a root of unity of order n = 2^23, some of its powers, and 1/n.
    uint256 private constant OMEGA = 0x1283ba6f4b7b1a76ba2008fe823128bea4adb9269cbfd7c41c223be65bc60863;
    uint256 private constant OMEGA_LAST = 0x09f6c7546cff282692bf117d54f521efa03dfbd77cb222e3e0efd7b21f2ba873;
    uint256 private constant OMEGA_7 = 0x2924ff629bd1ed10993f0b98cac916ff80a3033064b97eb0f57166b5faa44e28;
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
    // The verifying key's words: an array cannot be immutable.
    uint256 private immutable _key0;
    uint256 private immutable _key1;
    uint256 private immutable _key2;
    uint256 private immutable _key3;
    uint256 private immutable _key4;
    uint256 private immutable _key5;
    uint256 private immutable _key6;
    uint256 private immutable _key7;
    uint256 private immutable _key8;
    uint256 private immutable _key9;
    uint256 private immutable _key10;
    uint256 private immutable _key11;
    uint256 private immutable _key12;
    uint256 private immutable _key13;
    uint256 private immutable _key14;
    uint256 private immutable _key15;
    uint256 private immutable _key16;
    uint256 private immutable _key17;
    uint256 private immutable _key18;
    uint256 private immutable _key19;
    uint256 private immutable _key20;
    uint256 private immutable _key21;
    uint256 private immutable _key22;
    uint256 private immutable _key23;
    uint256 private immutable _key24;
    uint256 private immutable _key25;
    uint256 private immutable _key26;
    uint256 private immutable _key27;
    uint256 private immutable _key28;
    uint256 private immutable _key29;
    uint256 private immutable _key30;
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
        _key0 = _word(key_, 0);
        _key1 = _word(key_, 1);
        _key2 = _word(key_, 2);
        _key3 = _word(key_, 3);
        _key4 = _word(key_, 4);
        _key5 = _word(key_, 5);
        _key6 = _word(key_, 6);
        _key7 = _word(key_, 7);
        _key8 = _word(key_, 8);
        _key9 = _word(key_, 9);
        _key10 = _word(key_, 10);
        _key11 = _word(key_, 11);
        _key12 = _word(key_, 12);
        _key13 = _word(key_, 13);
        _key14 = _word(key_, 14);
        _key15 = _word(key_, 15);
        _key16 = _word(key_, 16);
        _key17 = _word(key_, 17);
        _key18 = _word(key_, 18);
        _key19 = _word(key_, 19);
        _key20 = _word(key_, 20);
        _key21 = _word(key_, 21);
        _key22 = _word(key_, 22);
        _key23 = _word(key_, 23);
        _key24 = _word(key_, 24);
        _key25 = _word(key_, 25);
        _key26 = _word(key_, 26);
        _key27 = _word(key_, 27);
        _key28 = _word(key_, 28);
        _key29 = _word(key_, 29);
        _key30 = _word(key_, 30);
    }

    /// @notice The verifying key.
    function key() external view returns (bytes memory) {
        _load();
        assembly {
            // What `abi.encode` gives; the key makes room for the two words before it.
            mcopy(64, 0, KEY)
            mstore(0, 32)
            mstore(32, KEY)
            return(0, add(64, KEY))
        }
    }

    /// @notice Whether anybody can forge proofs: the key is by parameters that are not the ceremony's.
    function isTest() external view returns (bool) {
        return _isTest;
    }

    /// @inheritdoc IProofVerifier
    function verify(bytes32 statement, bytes calldata proof) external view returns (Prover memory) {
        if (proof.length != PROOF) revert InvalidProof();
        _load();
        // Takes all of the memory, and ends the call. Sums are reduced where they could pass 2^256, which is over 5r, or are said to be below r.
        assembly {
            function fail() {
                mstore(0, REFUSAL)
                revert(28, 4)
            }
            // The point in ROW becomes FACTOR · itself + a point, for each from `point` down to `last`; what lies behind each is lost.
            function fold(point, last) -> ok {
                ok := 1
                for {} iszero(lt(point, last)) { point := sub(point, 64) } {
                    ok := and(staticcall(gas(), 7, ROW, 96, add(point, 64), 64), ok)
                    ok := and(staticcall(gas(), 6, point, 128, ROW, 64), ok)
                }
            }
            // SUM += factor · the point in ROW.
            function add_row(factor) -> ok {
                mstore(FACTOR, factor)
                ok := staticcall(gas(), 7, ROW, 96, TERM, 64)
                ok := and(staticcall(gas(), 6, SUM, 128, SUM, 64), ok)
            }
            // SUM += factor · the point at `point`.
            function add_term(point, factor) -> ok {
                mcopy(ROW, point, 64)
                ok := add_row(factor)
            }

            // On the stack: a constant of this size would be read from the code each time.
            let p := R
            // The inputs and the proof.
            {
                let bytesLeft := statement
                for { let at := add(INPUTS, 64) } lt(at, ADVICE) { at := add(at, 256) } {
                    mstore(at, byte(0, bytesLeft))
                    mstore(add(at, 32), byte(1, bytesLeft))
                    mstore(add(at, 64), byte(2, bytesLeft))
                    mstore(add(at, 96), byte(3, bytesLeft))
                    mstore(add(at, 128), byte(4, bytesLeft))
                    mstore(add(at, 160), byte(5, bytesLeft))
                    mstore(add(at, 192), byte(6, bytesLeft))
                    mstore(add(at, 224), byte(7, bytesLeft))
                    bytesLeft := shl(64, bytesLeft)
                }
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

            // Evaluations are below r, as x before them is: 48 words.
            {
                let below := 1
                for { let cursor := X } lt(cursor, MU) { cursor := add(cursor, 256) } {
                    below := and(below, lt(mload(cursor), p))
                    below := and(below, lt(mload(add(cursor, 32)), p))
                    below := and(below, lt(mload(add(cursor, 64)), p))
                    below := and(below, lt(mload(add(cursor, 96)), p))
                    below := and(below, lt(mload(add(cursor, 128)), p))
                    below := and(below, lt(mload(add(cursor, 160)), p))
                    below := and(below, lt(mload(add(cursor, 192)), p))
                    below := and(below, lt(mload(add(cursor, 224)), p))
                }
                if iszero(below) { fail() }
            }

            // x^n, Lagrange polynomials at x, and all that is inverted. With y = x / w^i, l_i = (x^n - 1) / n · 1 / (y - 1).
            {
                let x := mload(X)
                let negOne := sub(p, 1)
                let back := OMEGA_PREV
                // Of the last usable row; then, as a fraction, the sum for the blinded rows.
                let y := mulmod(x, OMEGA_7, p)
                let lastRow := add(y, negOne)
                y := mulmod(y, back, p)
                let blind := 1
                let blindRows := add(y, negOne)
                for { let i := 0 } lt(i, 5) { i := add(i, 1) } {
                    y := mulmod(y, back, p)
                    let row := add(y, negOne)
                    blind := add(mulmod(blind, row, p), blindRows)
                    blindRows := mulmod(blindRows, row, p)
                }
                // Of the first row, where y is x; then, as a fraction, input · 1 / (y - 1) for the other inputs.
                let inputs := 0
                let inputRows := 1
                y := x
                for { let input := add(INPUTS, 32) } lt(input, ADVICE) { input := add(input, 96) } {
                    y := mulmod(y, back, p)
                    let row := add(y, negOne)
                    inputs := add(mulmod(inputs, row, p), mulmod(inputRows, mload(input), p))
                    inputRows := mulmod(inputRows, row, p)
                    y := mulmod(y, back, p)
                    row := add(y, negOne)
                    inputs := add(mulmod(inputs, row, p), mulmod(inputRows, mload(add(input, 32)), p))
                    inputRows := mulmod(inputRows, row, p)
                    y := mulmod(y, back, p)
                    row := add(y, negOne)
                    inputs := add(mulmod(inputs, row, p), mulmod(inputRows, mload(add(input, 64)), p))
                    inputRows := mulmod(inputRows, row, p)
                }
                mstore(INV_LAST_ROW, lastRow)
                mstore(INV_BLIND_ROWS, blindRows)
                mstore(INV_FIRST_ROW, add(x, negOne))
                mstore(INV_INPUT_ROWS, inputRows)
                mstore(INV_X, x)

                // x^(2^23).
                let xn := mulmod(x, x, p)
                xn := mulmod(xn, xn, p)
                xn := mulmod(xn, xn, p)
                for { let i := 0 } lt(i, 4) { i := add(i, 1) } {
                    xn := mulmod(xn, xn, p)
                    xn := mulmod(xn, xn, p)
                    xn := mulmod(xn, xn, p)
                    xn := mulmod(xn, xn, p)
                    xn := mulmod(xn, xn, p)
                }
                mstore(XN, xn)
                xn := add(xn, negOne)
                mstore(INV_XN, xn)

                // u - w^i x for the rotations i that something is opened at.
                {
                    let u := mload(U)
                    let neg := sub(p, x)
                    mstore(E_0, addmod(u, neg, p))
                    let value := addmod(u, mulmod(neg, OMEGA_LAST, p), p)
                    mstore(E_LAST, value)
                    mstore(INV_LAST, value)
                    value := addmod(u, mulmod(neg, back, p), p)
                    mstore(E_PREV, value)
                    mstore(INV_PREV, value)
                    let omega := OMEGA
                    neg := mulmod(neg, omega, p)
                    mstore(E_1, addmod(u, neg, p))
                    neg := mulmod(neg, omega, p)
                    mstore(E_2, addmod(u, neg, p))
                    mstore(E_3, addmod(u, mulmod(neg, omega, p), p))
                }

                // One inversion for all.
                let product := 1
                for { let cursor := INV_LAST_ROW } lt(cursor, PREFIXES) { cursor := add(cursor, 32) } {
                    mstore(add(cursor, 256), product)
                    product := mulmod(product, mload(cursor), p)
                }
                // A challenge that is a root of unity, or where something is opened, has probability 2^-220.
                if iszero(product) { fail() }
                mstore(MODEXP, 32)
                mstore(add(MODEXP, 32), 32)
                mstore(add(MODEXP, 64), 32)
                mstore(add(MODEXP, 96), product)
                mstore(add(MODEXP, 128), sub(p, 2))
                mstore(add(MODEXP, 160), p)
                if iszero(staticcall(gas(), 5, MODEXP, 192, MODEXP, 32)) { fail() }
                product := mload(MODEXP)
                for { let cursor := INV_PREV } gt(cursor, sub(INV_LAST_ROW, 1)) { cursor := sub(cursor, 32) } {
                    let value := mload(cursor)
                    mstore(cursor, mulmod(product, mload(add(cursor, 256)), p))
                    product := mulmod(product, value, p)
                }

                // The factor that all rows have.
                xn := mulmod(xn, N_INV, p)
                let last := mulmod(xn, mload(INV_LAST_ROW), p)
                mstore(L_LAST, last)
                blind := add(last, mulmod(mulmod(blind, xn, p), mload(INV_BLIND_ROWS), p))
                mstore(ACTIVE, addmod(1, sub(shl(1, p), blind), p))
                let first := mulmod(xn, mload(INV_FIRST_ROW), p)
                mstore(L_FIRST, first)
                inputs := mulmod(mulmod(inputs, xn, p), mload(INV_INPUT_ROWS), p)
                mstore(INSTANCE, add(inputs, mulmod(first, mload(INPUTS), p)))
            }

            // The constraints at x, combined by powers of y: what the quotient has to be.
            {
                let y := mload(Y)
                let first := mload(L_FIRST)
                // Gates: selector · (a + b · c - d), at four rows of one column.
                let gate := add(mulmod(mload(add(EVALS, 32)), mload(add(EVALS, 64)), p), mload(EVALS))
                let sum := mulmod(mload(add(EVALS, 608)), add(gate, sub(p, mload(add(EVALS, 96)))), p)
                gate := add(mulmod(mload(add(EVALS, 160)), mload(add(EVALS, 192)), p), mload(add(EVALS, 128)))
                gate := mulmod(mload(add(EVALS, 640)), add(gate, sub(p, mload(add(EVALS, 224)))), p)
                sum := add(mulmod(sum, y, p), gate)
                gate := add(mulmod(mload(add(EVALS, 288)), mload(add(EVALS, 320)), p), mload(add(EVALS, 256)))
                gate := mulmod(mload(add(EVALS, 672)), add(gate, sub(p, mload(add(EVALS, 352)))), p)
                sum := add(mulmod(sum, y, p), gate)
                gate := add(mulmod(mload(add(EVALS, 416)), mload(add(EVALS, 448)), p), mload(add(EVALS, 384)))
                gate := mulmod(mload(add(EVALS, 704)), add(gate, sub(p, mload(add(EVALS, 480)))), p)
                sum := add(mulmod(sum, y, p), gate)
                // Permutation: the products begin with 1, end with 0 or 1, and go on one after the other.
                let step := add(1, sub(p, mload(add(EVALS, 992))))
                sum := add(mulmod(sum, y, p), mulmod(first, step, p))
                let z3 := mload(add(EVALS, 1280))
                step := add(mulmod(z3, z3, p), sub(p, z3))
                sum := add(mulmod(sum, y, p), mulmod(mload(L_LAST), step, p))
                step := add(mload(add(EVALS, 1088)), sub(p, mload(add(EVALS, 1056))))
                sum := add(mulmod(sum, y, p), mulmod(first, step, p))
                step := add(mload(add(EVALS, 1184)), sub(p, mload(add(EVALS, 1152))))
                sum := add(mulmod(sum, y, p), mulmod(first, step, p))
                step := add(z3, sub(p, mload(add(EVALS, 1248))))
                sum := add(mulmod(sum, y, p), mulmod(first, step, p))
                mstore(H, sum)
            }
            {
                // Its products, of value + beta · label + gamma, take two columns each: constants and a, b and c, d and e, the inputs.
                let y := mload(Y)
                let beta := mload(BETA)
                let gamma := mload(GAMMA)
                let active := mload(ACTIVE)
                let delta := DELTA
                let sum := mload(H)
                let label := mulmod(mload(X), beta, p)
                let cell := add(mload(add(EVALS, 544)), gamma)
                let left := mulmod(mload(add(EVALS, 1024)), add(cell, mulmod(beta, mload(add(EVALS, 768)), p)), p)
                let right := mulmod(mload(add(EVALS, 992)), add(cell, label), p)
                label := mulmod(label, delta, p)
                cell := add(mload(EVALS), gamma)
                left := mulmod(left, add(cell, mulmod(beta, mload(add(EVALS, 800)), p)), p)
                right := mulmod(right, add(cell, label), p)
                sum := add(mulmod(sum, y, p), mulmod(active, add(left, sub(p, right)), p))
                label := mulmod(label, delta, p)
                cell := add(mload(add(EVALS, 128)), gamma)
                left := mulmod(mload(add(EVALS, 1120)), add(cell, mulmod(beta, mload(add(EVALS, 832)), p)), p)
                right := mulmod(mload(add(EVALS, 1088)), add(cell, label), p)
                label := mulmod(label, delta, p)
                cell := add(mload(add(EVALS, 256)), gamma)
                left := mulmod(left, add(cell, mulmod(beta, mload(add(EVALS, 864)), p)), p)
                right := mulmod(right, add(cell, label), p)
                sum := add(mulmod(sum, y, p), mulmod(active, add(left, sub(p, right)), p))
                label := mulmod(label, delta, p)
                cell := add(mload(add(EVALS, 384)), gamma)
                left := mulmod(mload(add(EVALS, 1216)), add(cell, mulmod(beta, mload(add(EVALS, 896)), p)), p)
                right := mulmod(mload(add(EVALS, 1184)), add(cell, label), p)
                label := mulmod(label, delta, p)
                cell := add(mload(add(EVALS, 512)), gamma)
                left := mulmod(left, add(cell, mulmod(beta, mload(add(EVALS, 928)), p)), p)
                right := mulmod(right, add(cell, label), p)
                sum := add(mulmod(sum, y, p), mulmod(active, add(left, sub(p, right)), p))
                label := mulmod(label, delta, p)
                cell := add(mload(INSTANCE), gamma)
                left := mulmod(mload(add(EVALS, 1312)), add(cell, mulmod(beta, mload(add(EVALS, 960)), p)), p)
                right := mulmod(mload(add(EVALS, 1280)), add(cell, label), p)
                sum := add(mulmod(sum, y, p), mulmod(active, add(left, sub(p, right)), p))
                // Lookup of e in the table: product, A and S.
                let first := mload(L_FIRST)
                let z := mload(add(EVALS, 1344))
                sum := add(mulmod(sum, y, p), mulmod(first, add(1, sub(p, z)), p))
                sum := add(mulmod(sum, y, p), mulmod(mload(L_LAST), add(mulmod(z, z, p), sub(p, z)), p))
                right := mulmod(z, add(mload(add(EVALS, 512)), beta), p)
                right := mulmod(right, add(mload(add(EVALS, 576)), gamma), p)
                let a := mload(add(EVALS, 1408))
                let s := mload(add(EVALS, 1472))
                left := mulmod(mload(add(EVALS, 1376)), add(a, beta), p)
                left := mulmod(left, add(s, gamma), p)
                sum := add(mulmod(sum, y, p), mulmod(active, add(left, sub(p, right)), p))
                s := add(a, sub(p, s))
                sum := add(mulmod(sum, y, p), mulmod(first, s, p))
                s := mulmod(s, add(a, sub(p, mload(add(EVALS, 1440)))), p)
                sum := add(mulmod(sum, y, p), mulmod(active, s, p))
                mstore(H, mulmod(sum, mload(INV_XN), p))
            }

            // SHPLONK: the sets of rotations are A {0, 1, 2, 3} (a to d), B {0} (e, S, fixed, permutation, h, random), C {0, 1, -7} (z0 to z2),
            // D {0, 1} (z3, lookup product), E {0, -1} (A). Each set's factor is v^i · (u - the rotations not in it) / (u - those not in A).
            // What the combined openings are at u goes into REST.
            {
                let mu := mload(MU)
                let e0 := mload(E_0)
                let e1 := mload(E_1)
                let e23 := mulmod(mload(E_2), mload(E_3), p)
                let x1 := mload(INV_X)
                let rest
                // A.
                {
                    let r := add(mulmod(mload(add(EVALS, 384)), mu, p), mload(add(EVALS, 256)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 128)))
                    r := add(mulmod(r, mu, p), mload(EVALS))
                    rest := mulmod(mulmod(r, A_0, p), mulmod(e1, e23, p), p)
                    r := add(mulmod(mload(add(EVALS, 416)), mu, p), mload(add(EVALS, 288)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 160)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 32)))
                    rest := add(rest, mulmod(mulmod(r, A_1, p), mulmod(e0, e23, p), p))
                    let e01 := mulmod(e0, e1, p)
                    r := add(mulmod(mload(add(EVALS, 448)), mu, p), mload(add(EVALS, 320)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 192)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 64)))
                    rest := add(rest, mulmod(mulmod(r, A_2, p), mulmod(mload(E_3), e01, p), p))
                    r := add(mulmod(mload(add(EVALS, 480)), mu, p), mload(add(EVALS, 352)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 224)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 96)))
                    rest := add(rest, mulmod(mulmod(r, A_3, p), mulmod(mload(E_2), e01, p), p))
                    rest := mulmod(rest, mulmod(x1, mulmod(x1, x1, p), p), p)
                }
                // B: random, h, permutation and fixed columns backwards, S, e.
                let factor := mload(V)
                {
                    let r := add(mulmod(mload(add(EVALS, 736)), mu, p), mload(H))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 960)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 928)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 896)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 864)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 832)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 800)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 768)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 704)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 672)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 640)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 608)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 576)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 544)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 1472)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 512)))
                    let coef := mulmod(factor, mulmod(e1, e23, p), p)
                    mstore(COEF_B, coef)
                    rest := add(rest, mulmod(coef, r, p))
                }
                // C.
                factor := mulmod(factor, mload(V), p)
                {
                    let eLast := mload(E_LAST)
                    let r := add(mulmod(mload(add(EVALS, 1184)), mu, p), mload(add(EVALS, 1088)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 992)))
                    let all := mulmod(mulmod(r, C_0, p), mulmod(e1, eLast, p), p)
                    r := add(mulmod(mload(add(EVALS, 1216)), mu, p), mload(add(EVALS, 1120)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 1024)))
                    all := add(all, mulmod(mulmod(r, C_1, p), mulmod(e0, eLast, p), p))
                    r := add(mulmod(mload(add(EVALS, 1248)), mu, p), mload(add(EVALS, 1152)))
                    r := add(mulmod(r, mu, p), mload(add(EVALS, 1056)))
                    all := add(all, mulmod(mulmod(r, C_LAST, p), mulmod(e0, e1, p), p))
                    let coef := mulmod(mulmod(factor, e23, p), mload(INV_LAST), p)
                    mstore(COEF_C, coef)
                    rest := add(rest, mulmod(mulmod(all, coef, p), mulmod(x1, x1, p), p))
                }
                // D.
                factor := mulmod(factor, mload(V), p)
                {
                    let r := add(mulmod(mload(add(EVALS, 1344)), mu, p), mload(add(EVALS, 1280)))
                    let all := mulmod(mulmod(r, D_0, p), e1, p)
                    r := add(mulmod(mload(add(EVALS, 1376)), mu, p), mload(add(EVALS, 1312)))
                    all := add(all, mulmod(mulmod(r, D_1, p), e0, p))
                    let coef := mulmod(factor, e23, p)
                    mstore(COEF_D, coef)
                    rest := add(rest, mulmod(mulmod(all, coef, p), x1, p))
                }
                // E.
                factor := mulmod(factor, mload(V), p)
                {
                    let all := mulmod(mulmod(mload(add(EVALS, 1408)), E_SET_0, p), mload(E_PREV), p)
                    all := add(all, mulmod(mulmod(mload(add(EVALS, 1440)), E_SET_PREV, p), e0, p))
                    let coef := mulmod(mulmod(factor, mulmod(e1, e23, p), p), mload(INV_PREV), p)
                    mstore(COEF_E, coef)
                    rest := addmod(rest, mulmod(mulmod(all, coef, p), x1, p), p)
                }
                mstore(REST, rest)
            }

            // The combined commitment less what it is at u: it has to be the opening at u, (s - u) · W'. Sets by Horner's rule, so that no point is copied: a
            // factor takes the place of what was added before. A precompile that refuses a point is remembered to the end.
            {
                let mu := mload(MU)
                mstore(FACTOR, mu)
                // A.
                mcopy(ROW, add(ADVICE, 192), 64)
                let ok := fold(add(ADVICE, 128), ADVICE)
                mcopy(SUM, ROW, 64)
                // E, before its point is lost: it lies behind that of e.
                ok := and(add_term(LOOKUP, mload(COEF_E)), ok)
                // B: h of its pieces; random, h, permutation and fixed columns, S, e.
                mcopy(ROW, add(QUOTIENT, 128), 64)
                mstore(FACTOR, mload(XN))
                ok := and(fold(add(QUOTIENT, 64), QUOTIENT), ok)
                mcopy(QUOTIENT, ROW, 64)
                mcopy(ROW, RANDOM, 64)
                mstore(FACTOR, mu)
                ok := and(fold(QUOTIENT, QUOTIENT), ok)
                ok := and(fold(sub(DIGEST, 64), FIXED), ok)
                ok := and(fold(add(LOOKUP, 64), add(LOOKUP, 64)), ok)
                ok := and(fold(add(ADVICE, 256), add(ADVICE, 256)), ok)
                ok := and(add_row(mload(COEF_B)), ok)
                // C.
                mcopy(ROW, add(PRODUCTS, 128), 64)
                mstore(FACTOR, mu)
                ok := and(fold(add(PRODUCTS, 64), PRODUCTS), ok)
                ok := and(add_row(mload(COEF_C)), ok)
                // D.
                mcopy(ROW, add(PRODUCTS, 256), 64)
                mstore(FACTOR, mu)
                ok := and(fold(add(PRODUCTS, 192), add(PRODUCTS, 192)), ok)
                ok := and(add_row(mload(COEF_D)), ok)
                // The generator is (1, 2).
                mstore(ROW, 1)
                mstore(add(ROW, 32), 2)
                ok := and(add_row(sub(p, mload(REST))), ok)
                let factor := mulmod(mulmod(mload(E_0), mload(E_1), p), mulmod(mload(E_2), mload(E_3), p), p)
                ok := and(add_term(W, sub(p, factor)), ok)
                ok := and(add_term(W2, mload(U)), ok)
                if iszero(ok) { fail() }
            }

            // e(SUM, G2) · e(-W', s·G2) = 1.
            mcopy(ADVICE, SUM, 64)
            mstore(add(ADVICE, 64), 0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2)
            mstore(add(ADVICE, 96), 0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed)
            mstore(add(ADVICE, 128), 0x090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b)
            mstore(add(ADVICE, 160), 0x12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa)
            mstore(add(ADVICE, 192), mload(W2))
            // W' was multiplied above, so y is below q.
            mstore(add(ADVICE, 224), mod(sub(Q, mload(add(W2, 32))), Q))
            mcopy(add(ADVICE, 256), 0, 128)
            if iszero(staticcall(gas(), 8, ADVICE, 384, ADVICE, 32)) { fail() }
            if iszero(mload(ADVICE)) { fail() }
            // No prover: three zeros.
            calldatacopy(0, calldatasize(), 96)
            return(0, 96)
        }
    }

    /// @dev Puts the key and the first inputs into memory, where nothing else is yet.
    function _load() private view {
        _put(INPUTS, program);
        _put(INPUTS + 32, machine);
        _put(0, _key0);
        _put(32, _key1);
        _put(64, _key2);
        _put(96, _key3);
        _put(128, _key4);
        _put(160, _key5);
        _put(192, _key6);
        _put(224, _key7);
        _put(256, _key8);
        _put(288, _key9);
        _put(320, _key10);
        _put(352, _key11);
        _put(384, _key12);
        _put(416, _key13);
        _put(448, _key14);
        _put(480, _key15);
        _put(512, _key16);
        _put(544, _key17);
        _put(576, _key18);
        _put(608, _key19);
        _put(640, _key20);
        _put(672, _key21);
        _put(704, _key22);
        _put(736, _key23);
        _put(768, _key24);
        _put(800, _key25);
        _put(832, _key26);
        _put(864, _key27);
        _put(896, _key28);
        _put(928, _key29);
        _put(960, _key30);
    }

    function _put(uint256 place, uint256 word) private pure {
        assembly {
            mstore(place, word)
        }
    }

    function _word(bytes memory words, uint256 index) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(words, mul(32, add(index, 1))))
        }
    }
}
