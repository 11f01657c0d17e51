//! Parts of the work: precompiles and signatures, with all that is awkward about them.

use crate::{Folder, Random};
use alloy_primitives::{Address, B256, Bytes, U256, hex, uint};
use jove_proving::check::{Call, Check, Signed};
use proptest::prelude::any;
use revm::precompile::{PrecompileSpecId, Precompiles};
use secp256k1::{PublicKey, SecretKey};

const SECP256K1_ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
const SECP256K1_LAMBDA: U256 = uint!(0x5363AD4CC05C30E0A5261C028812645A122E22EA20816678DF02967C1B23BD72_U256);
const P256_ORDER: U256 = uint!(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551_U256);
const BN254_PRIME: U256 = uint!(0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47_U256);
const BN254_ORDER: U256 = uint!(0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001_U256);
const BLS_ORDER: U256 = uint!(0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256);
const GAS: u64 = 30_000_000;

pub(crate) fn write(folder: &mut Folder, random: &mut Random) {
    folder.check("signatures", &Check::Signatures(signatures(random)));
    type Maker = fn(&mut Random) -> Vec<Call>;
    let kinds: [(&str, Maker); 6] = [
        ("hashes", hashes),
        ("modexp", modexp),
        ("bn254", bn254),
        ("p256", p256),
        ("bls12-381", bls12_381),
        ("kzg", kzg),
    ];
    for (name, calls) in kinds {
        folder.check(name, &Check::Calls(calls(random)));
    }
    let recoveries: Vec<Call> = signatures(random).iter().step_by(7).map(recovery).collect();
    folder.check("ecrecover", &Check::Calls(recoveries));
    for (index, used) in [1, 3, 4095, 4096].into_iter().enumerate() {
        let mut contents: Vec<u8> = (0..used).flat_map(|_| (random.word() % BLS_ORDER).to_be_bytes::<32>()).collect();
        contents.resize(131_072, 0);
        let opening = [random.word().to_be_bytes::<32>().as_slice(), &contents].concat();
        folder.check(format!("opening-{index}"), &Check::Opening(opening.into()));
    }
    let order = [[0; 32].as_slice(), &BLS_ORDER.to_be_bytes::<32>().repeat(4096)].concat();
    folder.check("opening-too-large", &Check::Opening(order.into()));
    folder.check("opening-short", &Check::Opening(vec![0; 131_072].into()));
}

impl Random {
    fn word(&mut self) -> U256 {
        U256::from_be_bytes(self.of(any::<[u8; 32]>()))
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.of(any::<u8>())).collect()
    }
}

fn precompile(number: u16) -> Address {
    Address::left_padding_from(&number.to_be_bytes())
}

fn call(number: u16, input: impl Into<Bytes>) -> Call {
    Call { address: precompile(number), gas: GAS, input: input.into() }
}

/// What a precompile answers here: for points that are made of others.
fn answer(number: u16, input: &[u8]) -> Vec<u8> {
    let precompile = Precompiles::new(PrecompileSpecId::OSAKA).get(&precompile(number)).expect("a precompile");
    precompile.execute(input, GAS, 0).expect("answers").bytes.to_vec()
}

/// Signatures whose R is a known multiple k of G, for keys u1·G + u2·R: those where sums on the way are equal, opposite or nothing; and numbers out of range.
fn signatures(random: &mut Random) -> Vec<Signed> {
    let order = SECP256K1_ORDER;
    let minus = |number: U256| order - number;
    let one = U256::ONE;
    let small = U256::from;
    let half = (order + one) >> 1;
    let multiples = [
        one,
        small(2),
        small(3),
        minus(one),
        minus(small(2)),
        half,
        SECP256K1_LAMBDA,
        minus(SECP256K1_LAMBDA),
        SECP256K1_LAMBDA.add_mod(one, order),
        random.word() % order,
    ];
    let scalars = [
        U256::ZERO,
        one,
        small(2),
        small(3),
        small(5),
        minus(one),
        minus(small(2)),
        SECP256K1_LAMBDA,
        minus(SECP256K1_LAMBDA),
        one << 128,
        (one << 128) - one,
        half,
        random.word() % order,
    ];
    let mut signatures = Vec::new();
    for k in multiples {
        let point = PublicKey::from_secret_key(&SecretKey::from_secret_bytes(k.to_be_bytes()).expect("a key"));
        let point = point.serialize_uncompressed();
        let r = U256::from_be_slice(&point[1..33]) % order;
        for u1 in scalars {
            for u2 in scalars {
                // z = −u1·r, s = u2·r
                let (z, s) = ((order - u1.mul_mod(r, order)) % order, u2.mul_mod(r, order));
                signatures.push(Signed { hash: z.into(), r, s, odd: point[64] & 1 == 1 });
            }
        }
    }
    let limits = [U256::ZERO, one, order - one, order, order + one, U256::MAX];
    for r in limits {
        for s in limits {
            signatures.push(Signed { hash: random.word().into(), r, s, odd: s.bit(0) });
        }
    }
    for index in 0..40 {
        // Of every other r there is no point.
        let (r, s) = (random.word(), random.word() >> (index % 3));
        signatures.push(Signed { hash: random.word().into(), r, s, odd: index % 2 == 0 });
        signatures.push(Signed { hash: B256::repeat_byte(0xff), r, s, odd: index % 2 == 1 });
    }
    signatures
}

fn recovery(signed: &Signed) -> Call {
    let parity = U256::from(27 + u8::from(signed.odd));
    let words = [signed.hash.into(), parity, signed.r, signed.s];
    call(1, words.map(|word: U256| word.to_be_bytes::<32>()).concat())
}

fn hashes(random: &mut Random) -> Vec<Call> {
    let mut calls = Vec::new();
    for length in (0..140).chain([191, 192, 255, 256, 1000]) {
        let input = random.bytes(length);
        calls.extend([2, 3, 4].map(|number| call(number, input.clone())));
    }
    for rounds in [0, 1, 12, 100] {
        let mut input = vec![0, 0, 0, rounds];
        input.extend(random.bytes(208));
        input.push(rounds & 1);
        calls.push(call(9, input));
    }
    calls
}

fn modexp(random: &mut Random) -> Vec<Call> {
    let mut calls = Vec::new();
    for (base, exponent, modulus) in [
        (32, 32, 32),
        (0, 0, 0),
        (1, 1, 1),
        (33, 3, 31),
        (64, 2, 64),
        (32, 0, 32),
        (0, 32, 32),
        (256, 1, 256),
        (8, 40, 8),
        (200, 24, 161),
        (300, 40, 65),
    ] {
        for kind in 0..3 {
            let mut input: Vec<u8> =
                [base, exponent, modulus].iter().flat_map(|length| U256::from(*length).to_be_bytes::<32>()).collect();
            input.extend(random.bytes(base + exponent));
            let mut number = random.bytes(modulus);
            match (kind, number.last_mut()) {
                // An even one, a power of two, an odd one.
                (0, Some(last)) => *last &= 0xfe,
                (1, _) => {
                    number.fill(0);
                    number.first_mut().into_iter().for_each(|first| *first = 1);
                }
                (_, Some(last)) => *last |= 1,
                _ => {}
            }
            input.extend(number);
            calls.push(call(5, input));
        }
    }
    calls
}

fn bn254(random: &mut Random) -> Vec<Call> {
    let word = |number: U256| number.to_be_bytes::<32>();
    let point = |scalar: U256| answer(7, &[word(U256::ONE), word(U256::from(2)), word(scalar)].concat());
    let (order, prime) = (BN254_ORDER, BN254_PRIME);
    let scalars = [
        U256::ZERO,
        U256::ONE,
        U256::from(2),
        U256::from(3),
        order - U256::ONE,
        order,
        order + U256::ONE,
        order << 1,
        U256::MAX,
        random.word(),
    ];
    let mut calls = Vec::new();
    for a in scalars {
        for b in scalars {
            calls.push(call(6, [point(a), point(b)].concat()));
        }
        calls.push(call(7, [point(random.word()), word(a).to_vec()].concat()));
        calls.push(call(7, [point(U256::ZERO), word(a).to_vec()].concat()));
    }
    // Not on the curve; not below the prime; one coordinate zero; cut.
    let bad = [
        [word(U256::ONE), word(U256::ONE)].concat(),
        [word(prime + U256::ONE), word(U256::from(2))].concat(),
        [word(prime), word(prime)].concat(),
        [word(U256::ZERO), word(U256::from(2))].concat(),
        word(U256::ONE).to_vec(),
    ];
    for bad in &bad {
        calls.push(call(6, [bad.clone(), point(U256::ONE)].concat()));
        calls.push(call(6, [point(U256::ONE), bad.clone()].concat()));
        calls.push(call(7, [bad.clone(), word(U256::from(9)).to_vec()].concat()));
    }
    // EIP-197's generator of the second group, imaginary parts first.
    let generator = hex!(
        "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
        "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
        "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
        "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
    );
    let coordinate = |at: usize| U256::from_be_slice(&generator[32 * at..][..32]);
    let minus = [&generator[..64], &word(prime - coordinate(2)), &word(prime - coordinate(3))].concat();
    let generator = generator.to_vec();
    let zero = vec![0; 128];
    let mut pairing = |pairs: &[(Vec<u8>, &Vec<u8>)]| {
        calls.push(call(8, pairs.iter().flat_map(|(p, q)| [p.clone(), (*q).clone()].concat()).collect::<Vec<u8>>()));
    };
    let a = random.word() % order;
    pairing(&[]);
    pairing(&[(point(U256::ONE), &generator)]);
    pairing(&[(point(U256::ONE), &generator), (point(U256::ONE), &minus)]);
    pairing(&[(point(a), &generator), (point(order - a), &generator)]);
    pairing(&[(point(a), &generator), (point(a + U256::ONE), &minus)]);
    pairing(&[(point(a), &generator), (point(U256::from(2)), &generator), (point(a + U256::from(2)), &minus)]);
    pairing(&[(point(U256::ZERO), &generator), (point(a), &zero)]);
    pairing(&[(point(a), &zero), (point(a), &generator), (point(a), &minus)]);
    let mut off_curve = generator.clone();
    off_curve[127] ^= 1;
    pairing(&[(point(U256::ONE), &off_curve)]);
    pairing(&[(bad[0].clone(), &generator)]);
    // On the twist, outside of the group: x = 1.
    let outside = outside_bn254();
    pairing(&[(point(U256::ONE), &outside)]);
    pairing(&[(point(U256::ZERO), &outside)]);
    calls.push(call(8, vec![0; 191]));
    calls
}

/// A point of BN254's twist y² = x³ + 3 / (9 + i) that is not in the group; imaginary parts first.
fn outside_bn254() -> Vec<u8> {
    let p = BN254_PRIME;
    let mul = |a: (U256, U256), b: (U256, U256)| {
        let real = a.0.mul_mod(b.0, p).add_mod(p - a.1.mul_mod(b.1, p), p);
        (real, a.0.mul_mod(b.1, p).add_mod(a.1.mul_mod(b.0, p), p))
    };
    let root = |a: U256| Some(a.pow_mod((p + U256::ONE) >> 2, p)).filter(|root| root.mul_mod(*root, p) == a);
    let half = |a: U256| a.mul_mod((p + U256::ONE) >> 1, p);
    let inverse = |a: U256| a.inv_mod(p).expect("not zero");
    // 3 / (9 + i) = 3·(9 − i) / 82
    let scale = inverse(U256::from(82));
    let b = (U256::from(27).mul_mod(scale, p), (p - U256::from(3)).mul_mod(scale, p));
    for x in 1..100u64 {
        let x = (U256::from(x), U256::ZERO);
        let cube = mul(mul(x, x), x);
        let square = (cube.0.add_mod(b.0, p), cube.1.add_mod(b.1, p));
        // The square root by the norm.
        let norm = square.0.mul_mod(square.0, p).add_mod(square.1.mul_mod(square.1, p), p);
        let Some(length) = root(norm) else { continue };
        for length in [length, p - length] {
            if let Some(real) = root(half(square.0.add_mod(length, p))) {
                let y = (real, half(square.1.mul_mod(inverse(real), p)));
                assert_eq!(mul(y, y), square);
                return [x.1, x.0, y.1, y.0].map(|number| number.to_be_bytes::<32>()).concat();
            }
        }
    }
    unreachable!("every other x has a point")
}

fn p256(random: &mut Random) -> Vec<Call> {
    use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
    let order = P256_ORDER;
    let one = U256::ONE;
    let mut calls = Vec::new();
    let mut verify = |hash: U256, r: U256, s: U256, key: &[u8]| {
        let words = [hash, r, s].map(|word| word.to_be_bytes::<32>()).concat();
        calls.push(call(256, [&words, key].concat()));
    };
    for secret in [one, U256::from(2), order - one, order - U256::from(2), random.word() % order] {
        let key = SigningKey::from_slice(&secret.to_be_bytes::<32>()).expect("a key");
        let public = key.verifying_key().to_sec1_point(false);
        let public = &public.as_bytes()[1..];
        for hash in [U256::ZERO, one, order, U256::MAX, random.word()] {
            let signature: Signature = key.sign_prehash(&hash.to_be_bytes::<32>()).expect("signs");
            let bytes = signature.to_bytes();
            let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..]));
            verify(hash, r, s, public);
            verify(hash, r, order - s, public);
            verify(hash ^ one, r, s, public);
            verify(hash, s, r, public);
            verify(hash, r, s, &[&public[32..], &public[..32]].concat());
        }
        // Sums of multiples that meet on the way, or are nothing: z = u1·s, r = u2·s.
        for u1 in [U256::ZERO, one, U256::from(2), order - one, secret, order - secret] {
            for u2 in [one, U256::from(2), order - one] {
                let s = random.word() % order;
                verify(u1.mul_mod(s, order), u2.mul_mod(s, order), s, public);
            }
        }
        for number in [U256::ZERO, order, U256::MAX] {
            verify(one, number, one, public);
            verify(one, one, number, public);
        }
    }
    verify(one, one, one, &[0; 64]);
    verify(one, one, one, &[0xff; 64]);
    calls.push(call(256, vec![1; 159]));
    calls
}

fn bls12_381(random: &mut Random) -> Vec<Call> {
    const G1_ADD: u16 = 0x0b;
    const G1_MSM: u16 = 0x0c;
    const G2_ADD: u16 = 0x0d;
    const G2_MSM: u16 = 0x0e;
    const PAIRING: u16 = 0x0f;
    const MAP_G1: u16 = 0x10;
    const MAP_G2: u16 = 0x11;
    let padded = |number: [u8; 48]| [[0; 16].as_slice(), &number].concat();
    // EIP-2537's generators.
    let g1 = [
        padded(hex!(
            "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
        )),
        padded(hex!(
            "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
        )),
    ]
    .concat();
    let g2 = [
        padded(hex!(
            "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
        )),
        padded(hex!(
            "13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
        )),
        padded(hex!(
            "0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801"
        )),
        padded(hex!(
            "0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be"
        )),
    ]
    .concat();
    let word = |number: U256| number.to_be_bytes::<32>();
    let first = |scalar: U256| answer(G1_MSM, &[&g1[..], &word(scalar)].concat());
    let second = |scalar: U256| answer(G2_MSM, &[&g2[..], &word(scalar)].concat());
    let order = BLS_ORDER;
    let scalars = [U256::ZERO, U256::ONE, U256::from(2), order - U256::ONE, random.word()];
    let mut calls = Vec::new();
    for a in scalars {
        for b in scalars {
            calls.push(call(G1_ADD, [first(a), first(b)].concat()));
            calls.push(call(G2_ADD, [second(a), second(b)].concat()));
        }
        for scalar in [a, order, order + U256::from(2), U256::MAX] {
            calls.push(call(G1_MSM, [first(a), word(scalar).to_vec()].concat()));
        }
        calls.push(call(G2_MSM, [second(a), word(a).to_vec()].concat()));
    }
    calls.push(call(G2_MSM, [second(U256::ONE), word(order).to_vec()].concat()));
    calls.push(call(G2_MSM, [second(U256::from(3)), word(U256::MAX).to_vec()].concat()));
    let (a, b) = (random.word() % order, random.word() % order);
    calls.push(call(G1_MSM, [first(a), word(b).to_vec(), first(b), word(order - a).to_vec()].concat()));
    calls.push(call(G2_MSM, [second(a), word(b).to_vec(), second(b), word(order - a).to_vec()].concat()));
    let product = a.mul_mod(b, order);
    calls.push(call(PAIRING, [first(a), second(b), first(order - product), second(U256::ONE)].concat()));
    calls.push(call(PAIRING, [first(a), second(b), first(product), second(U256::ONE)].concat()));
    calls.push(call(PAIRING, [first(a), second(U256::ZERO), first(U256::ZERO), second(b)].concat()));
    calls.push(call(PAIRING, [first(a), second(b)].concat()));
    // Maps give points; before the cofactor is cleared there are points outside of the group: x = 0 for the first, y² = 4.
    for _ in 0..2 {
        let mut number = random.bytes(48);
        number[0] &= 0x0f;
        let number = padded(number.try_into().expect("48"));
        calls.push(call(MAP_G1, number.clone()));
        calls.push(call(MAP_G2, [number.clone(), number].concat()));
    }
    calls.push(call(MAP_G1, padded([0xff; 48])));
    let mut two = [0; 48];
    two[47] = 2;
    let outside = [padded([0; 48]), padded(two)].concat();
    calls.push(call(G1_ADD, [outside.clone(), outside.clone()].concat()));
    calls.push(call(G1_ADD, [outside.clone(), g1.clone()].concat()));
    calls.push(call(G1_MSM, [outside.clone(), word(U256::from(3)).to_vec()].concat()));
    calls.push(call(PAIRING, [outside, g2.clone()].concat()));
    // Off the curve; not below the prime; with something in the padding; cut.
    for at in [127, 64, 0, 20] {
        let mut bad = g1.clone();
        bad[at] ^= 0xf0;
        calls.push(call(G1_ADD, [bad.clone(), g1.clone()].concat()));
        calls.push(call(G1_MSM, [bad.clone(), word(U256::ONE).to_vec()].concat()));
        let mut bad = g2.clone();
        bad[at] ^= 0xf0;
        calls.push(call(G2_ADD, [bad.clone(), g2.clone()].concat()));
        calls.push(call(PAIRING, [g1.clone(), bad].concat()));
    }
    calls.push(call(G1_ADD, vec![0; 255]));
    calls.push(call(PAIRING, Vec::new()));
    calls
}

fn kzg(random: &mut Random) -> Vec<Call> {
    // c-kzg-4844's test verify_kzg_proof_case_correct_proof_4_4.
    let commitment =
        hex!("8f59a8d2a1a625a17f3fea0fe5eb8c896db3764f3185481bc22f91b4aaffcca25f26936857bc3a7c2539ea8ec3a952b7");
    let z = hex!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000");
    let y = hex!("1522a4a7f34e1ea350ae07c29c96c7e79655aa926122e95fe69fcbd932ca49e9");
    let proof =
        hex!("a62ad71d14c5719385c0686f1871430475bf3a00f0aa3f7b8dd99a9abc2160744faf0070725e00b60ad9a026a15b1a8c");
    let input = |commitment: &[u8], z: &[u8], y: &[u8], proof: &[u8]| {
        let mut hash = answer(2, commitment);
        hash[0] = 1;
        call(0x0a, [&hash, z, y, commitment, proof].concat())
    };
    let mut calls = vec![input(&commitment, &z, &y, &proof), input(&proof, &z, &y, &commitment)];
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    calls.push(input(&infinity, &z, &[0; 32], &infinity));
    calls.push(input(&infinity, &z, &y, &infinity));
    calls.push(input(&commitment, &BLS_ORDER.to_be_bytes::<32>(), &y, &proof));
    calls.push(input(&commitment, &z, &[0xff; 32], &proof));
    for first in [0x00, 0x20, 0x40, 0xe0, 0xc0, 0x80, 0xa0, 0x9f, 0xbf] {
        let mut other = proof;
        other[0] = first;
        calls.push(input(&commitment, &z, &y, &other));
        let mut other = infinity;
        other[0] = first;
        calls.push(input(&commitment, &z, &y, &other));
    }
    // The other root; bytes that are mostly no point.
    let mut other = proof;
    other[0] ^= 0x20;
    calls.push(input(&commitment, &z, &y, &other));
    for _ in 0..4 {
        let mut other = random.bytes(48);
        other[0] = other[0] & 0x1f | 0x80;
        calls.push(input(&other, &z, &y, &proof));
    }
    // Blobs committed to here, opened.
    let settings = c_kzg::ethereum_kzg_settings(0);
    let contents: Vec<u8> = (0..4096).flat_map(|_| (random.word() % BLS_ORDER).to_be_bytes::<32>()).collect();
    let blob = c_kzg::Blob::from_bytes(&contents).expect("a blob");
    let commitment = settings.blob_to_kzg_commitment(&blob).expect("commits").to_bytes();
    let z = (random.word() % BLS_ORDER).to_be_bytes::<32>();
    let (proof, y) = settings.compute_kzg_proof(&blob, &c_kzg::Bytes32::new(z)).expect("opens");
    calls.push(input(commitment.as_slice(), &z, y.as_slice(), proof.to_bytes().as_slice()));
    calls.push(input(commitment.as_slice(), &y[..], &z, proof.to_bytes().as_slice()));
    calls
}
