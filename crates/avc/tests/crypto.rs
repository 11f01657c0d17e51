//! Signatures and the VRF against known answers.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alloy_primitives::{B256, hex, keccak256};
use jove_avc::{Bls, BlsSigner, Scheme, Signer, verify_possession, vrf};

/// RFC 9381, appendix B.3, examples 16 to 18: secret, public key, input, proof, output.
const VRF: [[&str; 5]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
        "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
        "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
        "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
    ],
];

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn the_vrf_is_that_of_the_rfc() {
    for [secret, public, input, proof, output] in VRF {
        let (key, proof, input) = (vrf::SecretKey::new(&bytes(secret)), bytes(proof), hex::decode(input).unwrap());
        assert_eq!(key.public_key(), bytes(public));
        assert_eq!(key.prove(&input), proof);
        assert_eq!(vrf::verify(&bytes(public), &input, &proof), Some(bytes(output)));
        assert_eq!(vrf::output(&proof), Some(bytes(output)));
    }
}

#[test]
fn no_changed_proof_verifies() {
    let [_, public, input, proof, _] = VRF[2];
    let (public, input, proof): ([u8; 32], _, [u8; 80]) = (bytes(public), hex::decode(input).unwrap(), bytes(proof));
    for bit in 0..640 {
        let mut changed = proof;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vrf::verify(&public, &input, &changed), None, "bit {bit}");
    }
    assert_eq!(vrf::verify(&public, b"another", &proof), None);
    // s + q is the same scalar in another encoding (q of RFC 8032)
    let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let (mut changed, mut carry) = (proof, 0);
    for (byte, add) in changed[48..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(vrf::verify(&public, &input, &changed), None);
    // a key of small order would prove any output
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(vrf::verify(&identity, &input, &proof), None);
}

fn signer(number: u8) -> BlsSigner {
    BlsSigner::new(B256::with_last_byte(number), &keccak256([number]).0, &keccak256([number, 1]).0).unwrap()
}

/// For the secrets `[i; 32]`, i = 1 to 3: public key, signature of "jove known answer", proof of possession. Computed with py_ecc 8, which knows
/// nothing of this code, from the ciphersuite of draft-irtf-cfrg-bls-signature.
const BLS: [[&str; 3]; 3] = [
    [
        "92c5ed2c7ec2b477af30b4a940ff81e367beca0e1cf98da85be7a0552640d7a9083f54e444dde74cd522b20281bea0de1433c8b152f289be588890ae4fd9cfb3a16a39bfe51d52561563c7c57ded262cf19b639c02d5e6696a7a2cf60137d17b",
        "855e9e0569ac7894028460b5a2d4aed57a2acdd485885119c1fcbb664df60813e6a797562f7246dd8c6bbbca759b03f0",
        "b237828b51cd43d42c0c3feea37f7c808ac56f301248dcbf40f4cb7a71a8390b1994b267471416bcc68c2828e6c020ee",
    ],
    [
        "b2a37436b175eaa084925db09c2882e04d3859bfebaf380154a387e75ed6f5875e3a95e33b6b0f3ba13edd764866e2280705721c4ea6fd6aa824c25af64cfc4c8ce6d4bcc943a6e6f6f145b814e5b4732fffd363d29afb87825521cd895664ed",
        "b4f1cf48634461cc70559dfd8e5b09976b09a1d3916f6a688092bc6c0e3df2d785fb2954c6a3886e1b9ae0af494d1660",
        "8b4fd220f95984f7e15d931df9128d0b11d0f8d9bad78ee60dd10b50c67b51fda86a91109e009792885d127a71cf5d90",
    ],
    [
        "842d596812b58770ce81c3073aa1dfa79801d9fb50e05366823e16b726141baeb59a9b9c7b545a14361e9198d1795de917468e8a57f264ceede46c17d9cef1d9ce38889f6defea73bd4ca421fa0c87671f5ca8357f3710622ac03393a92ab9c0",
        "8f75d3c41d0f983067794268c9b8957f317aa87dd8656325573951f3181bfcf66c60080d305b2fdb07e0f2dd0d610860",
        "86990865a16ae5a1a4710e19ee61db574e478655a671661222262d63c6bba429293be2edc5123a1f23f2c01be140d15f",
    ],
];

/// The sum of the three signatures.
const BLS_SUM: &str =
    "85ec35546456cf3b5f76b9bf95de6ca6cdff89bef7725ef8f92d85c19ccda9bc758e1007cb5bee485963ea5502e608f4";

#[test]
fn signatures_and_aggregates_have_known_answers() {
    let message = b"jove known answer";
    let signers: Vec<_> =
        (1..4_u8).map(|i| BlsSigner::new(B256::with_last_byte(i), &[i; 32], &[i; 32]).unwrap()).collect();
    for (signer, [key, signature, possession]) in signers.iter().zip(BLS) {
        assert_eq!(signer.public_key(), bytes(key));
        assert_eq!(signer.sign(message), bytes(signature));
        assert_eq!(signer.prove_possession(), bytes(possession));
        assert_eq!(verify_possession(&bytes(key), &bytes(possession)), Ok(()));
    }
    let scheme = Bls::default();
    let sum = scheme.aggregate(&BLS.map(|[_, signature, _]| bytes(signature)));
    assert_eq!(sum, Some(bytes(BLS_SUM)));
    let keys = BLS.map(|[key, _, _]| bytes(key));
    assert!(scheme.verify_aggregate(&keys.iter().collect::<Vec<_>>(), message, &bytes(BLS_SUM)));
}

#[test]
fn aggregates_are_by_exactly_their_signers() {
    let (scheme, message) = (Bls::default(), b"a checkpoint");
    let signers: Vec<_> = (0..7).map(signer).collect();
    let keys: Vec<_> = signers.iter().map(|signer| signer.public_key()).collect();
    let signatures: Vec<_> = signers.iter().map(|signer| signer.sign(message)).collect();
    let sum = scheme.aggregate(&signatures).unwrap();
    assert!(scheme.verify_aggregate(&keys.iter().collect::<Vec<_>>(), message, &sum));
    assert!(!scheme.verify_aggregate(&keys[..6].iter().collect::<Vec<_>>(), message, &sum));
    assert!(!scheme.verify_aggregate(&keys.iter().collect::<Vec<_>>(), b"another", &sum));
    assert!(scheme.verify(&keys[0], message, &signatures[0]) && !scheme.verify(&keys[1], message, &signatures[0]));
    // the order does not matter, what is no point has no sum, and zero is nobody's signature
    let reversed: Vec<_> = signatures.iter().rev().copied().collect();
    assert_eq!(scheme.aggregate(&reversed), Some(sum));
    assert_eq!(scheme.aggregate(&[signatures[0], [0xFF; 48]]), None);
    let mut infinity = [0; 48];
    infinity[0] = 0xC0;
    assert!(!scheme.verify_aggregate(&keys.iter().collect::<Vec<_>>(), message, &infinity));
}

#[test]
fn a_key_that_cancels_another_has_no_proof_of_possession() {
    use blst::min_sig::{AggregatePublicKey, PublicKey};
    let (scheme, message) = (Bls::default(), b"a checkpoint");
    let (victim, attacker) = (signer(1), signer(2));
    assert_eq!(verify_possession(&victim.public_key(), &victim.prove_possession()), Ok(()));
    // rogue = attacker − victim: its sum with the victim's key is the attacker's
    let point = |key: &[u8; 96]| PublicKey::key_validate(key).unwrap();
    let mut rogue = AggregatePublicKey::from_public_key(&point(&attacker.public_key()));
    rogue.sub_aggregate(&AggregatePublicKey::from_public_key(&point(&victim.public_key())));
    let rogue = rogue.to_public_key().to_bytes();
    let forged = attacker.sign(message);
    assert!(scheme.verify_aggregate(&[&victim.public_key(), &rogue], message, &forged), "which is the danger");
    // all that the attacker can sign with, under any domain it has
    for proof in [attacker.prove_possession(), attacker.sign(&rogue), victim.prove_possession()] {
        assert!(verify_possession(&rogue, &proof).is_err());
    }
    // a vote is no proof of possession, nor the other way round
    assert!(verify_possession(&victim.public_key(), &victim.sign(&victim.public_key())).is_err());
    assert!(!scheme.verify(&victim.public_key(), &victim.public_key(), &victim.prove_possession()));
}

#[test]
fn keys_outside_of_the_subgroup_are_refused() {
    let mut infinity = [0; 96];
    infinity[0] = 0xC0;
    assert!(verify_possession(&infinity, &signer(1).prove_possession()).is_err());
    assert!(verify_possession(&[0xFF; 96], &signer(1).prove_possession()).is_err());
    // x = 0..: the first that is on the curve is not in the subgroup
    let found = (0..50_u8).find_map(|x| {
        let mut key = [0; 96];
        (key[0], key[95]) = (0x80, x);
        blst::min_sig::PublicKey::uncompress(&key).ok().map(|point| (key, point))
    });
    let (key, point) = found.unwrap();
    assert!(point.validate().is_err());
    assert!(verify_possession(&key, &signer(1).prove_possession()).is_err());
    assert!(!Bls::default().verify(&key, b"m", &signer(1).sign(b"m")));
}
