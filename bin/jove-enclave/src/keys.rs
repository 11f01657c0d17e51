//! Keys and signatures.
//!
//! A key is for one use: an L1 chain, a registry, a payout address, and a number by which a new one is had where the old one has expired or was ended. It is
//! keccak256("jove.enclave.key.v1" ‖ root secret ‖ L1 chain id (8 bytes) ‖ registry ‖ payout ‖ number (8) ‖ tries (4)), all big-endian, after as many tries as
//! it takes for the hash to be a scalar of secp256k1: practically none.
//!
//! A proof is r ‖ s ‖ v over keccak256(keccak256("jove.proof.tee.v1") ‖ L1 chain id ‖ registry ‖ statement), a word each, as `TeeVerifier` has it: s in the lower
//! half, v 27 or 28, the nonce as RFC 6979 has it. That a key is at hand is shown by one over keccak256(keccak256("jove.enclave.session.v1") ‖ a nonce of whoever
//! asks).

use crate::{Error, protocol::Domain};
use alloy_primitives::{Address, B256, U256, keccak256};
use jove_tee::QuoteSource;
use k256::ecdsa::{SigningKey, VerifyingKey};
use std::fmt;

/// Domain of a proof's signature: keccak256("jove.proof.tee.v1").
const PROOF_DOMAIN: B256 =
    B256::new(alloy_primitives::hex!("bc642071a2b19d95350562270f8eb4976681c1ff08a00023dd7611e4df238ca3"));

/// Domain of the signature of a nonce: keccak256("jove.enclave.session.v1").
const SESSION_DOMAIN: B256 =
    B256::new(alloy_primitives::hex!("92d892cea53698027f18be2ea32bea62989461a81a02762efa79382f9ce4d79a"));

/// What all keys follow from. It is never shown.
pub struct Root {
    secret: [u8; 32],
    sealed: bool,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

impl Root {
    /// The machine's sealing key, or where it has none a random secret.
    ///
    /// # Errors
    /// If the device fails, or there is no randomness.
    pub fn new(source: &dyn QuoteSource) -> Result<Self, Error> {
        if let Some(secret) = source.sealing_key()? {
            return Ok(Self { secret, sealed: true });
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(Error::Random)?;
        Ok(Self { secret, sealed: false })
    }

    /// Whether keys are the same after a restart.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The key for a use.
    pub fn key(&self, domain: &Domain, payout: Address) -> Key {
        for tries in 0u32.. {
            let parts: [&[u8]; 7] = [
                b"jove.enclave.key.v1",
                &self.secret,
                &domain.l1_chain_id.to_be_bytes(),
                domain.registry.as_slice(),
                payout.as_slice(),
                &domain.number.to_be_bytes(),
                &tries.to_be_bytes(),
            ];
            if let Ok(secret) = SigningKey::from_slice(keccak256(parts.concat()).as_slice()) {
                return Key { domain: *domain, secret };
            }
        }
        unreachable!("2^32 hashes in a row that are no scalars")
    }
}

/// A signing key.
pub struct Key {
    domain: Domain,
    secret: SigningKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Key {
    /// What L1 knows it by.
    pub fn address(&self) -> Address {
        address(self.secret.verifying_key())
    }

    /// The 65 bytes that prove a statement.
    pub fn prove(&self, statement: B256) -> [u8; 65] {
        self.sign(digest(&self.domain, statement))
    }

    /// The 65 bytes that show that the key is at hand.
    pub fn answer(&self, nonce: B256) -> [u8; 65] {
        self.sign(session_digest(nonce))
    }

    fn sign(&self, digest: B256) -> [u8; 65] {
        #[allow(clippy::expect_used)] // the digest has 32 bytes, and a nonce that does not do is followed by another
        let (signature, parity) = self.secret.sign_prehash_recoverable(digest.as_slice()).expect("a digest is signed");
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + u8::from(parity.is_y_odd());
        bytes
    }
}

/// What is signed to prove a statement.
pub fn digest(domain: &Domain, statement: B256) -> B256 {
    let chain_id = B256::from(U256::from(domain.l1_chain_id));
    keccak256([PROOF_DOMAIN, chain_id, domain.registry.into_word(), statement].concat())
}

/// What is signed to show that a key is at hand.
pub fn session_digest(nonce: B256) -> B256 {
    keccak256([SESSION_DOMAIN, nonce].concat())
}

/// Whose signature of a digest this is, if it is in the one form that `TeeVerifier` takes: 65 bytes, s in the lower half, v 27 or 28.
pub fn signer(digest: B256, signature: &[u8]) -> Option<Address> {
    let form = signature.len() == 65 && matches!(signature[64], 27 | 28);
    let parsed = k256::ecdsa::Signature::from_slice(signature.get(..64)?).ok()?;
    if !form || parsed.normalize_s().is_some() {
        return None;
    }
    let parity = k256::ecdsa::RecoveryId::new(signature[64] == 28, false);
    let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &parsed, parity).ok()?;
    Some(address(&key))
}

fn address(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Signature;
    use alloy_sol_types::SolValue;
    use jove_tee::Kind;
    use k256::elliptic_curve::{Curve, bigint::Encoding};

    const DOMAIN: Domain = Domain { l1_chain_id: 900, registry: Address::repeat_byte(0x11), number: 0 };

    struct Machine(Option<[u8; 32]>);

    impl QuoteSource for Machine {
        fn kind(&self) -> Kind {
            Kind::Tdx
        }

        fn quote(&self, _: [u8; 64]) -> Result<Vec<u8>, jove_tee::Error> {
            Err(jove_tee::Error::Interfered)
        }

        fn sealing_key(&self) -> Result<Option<[u8; 32]>, jove_tee::Error> {
            Ok(self.0)
        }
    }

    #[test]
    fn a_use_has_a_key_of_its_own_and_keeps_it() {
        let root = |byte| Root::new(&Machine(Some([byte; 32]))).expect("sealed");
        let payout = Address::repeat_byte(0x33);
        let key = |root: &Root, domain: Domain, payout| root.key(&domain, payout).address();
        let (first, again) = (root(1), root(1));
        assert!(first.is_sealed());
        assert_eq!(key(&first, DOMAIN, payout), key(&again, DOMAIN, payout));
        let others = [
            key(&root(2), DOMAIN, payout),
            key(&first, Domain { l1_chain_id: 901, ..DOMAIN }, payout),
            key(&first, Domain { registry: payout, ..DOMAIN }, payout),
            key(&first, Domain { number: 1, ..DOMAIN }, payout),
            key(&first, DOMAIN, Address::ZERO),
        ];
        assert!(others.iter().all(|other| *other != key(&first, DOMAIN, payout)));
        // Without a sealing key they are random.
        let [a, b] = [Root::new(&Machine(None)).expect("random"), Root::new(&Machine(None)).expect("random")];
        assert!(!a.is_sealed());
        assert_ne!(key(&a, DOMAIN, payout), key(&b, DOMAIN, payout));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let root = Root::new(&Machine(Some([0xab; 32]))).expect("sealed");
        let key = root.key(&DOMAIN, Address::ZERO);
        let secret: String = key.secret.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for shown in [format!("{root:?}"), format!("{key:?}")] {
            assert!(!shown.contains("171") && !shown.contains("abab") && !shown.contains(&secret), "{shown}");
        }
    }

    #[test]
    fn a_proof_is_what_the_verifier_takes() {
        assert_eq!(PROOF_DOMAIN, keccak256("jove.proof.tee.v1"));
        assert_eq!(SESSION_DOMAIN, keccak256("jove.enclave.session.v1"));
        let root = Root::new(&Machine(Some([1; 32]))).expect("sealed");
        let key = root.key(&DOMAIN, Address::ZERO);
        for byte in 0..20 {
            let statement = B256::repeat_byte(byte);
            let proof = key.prove(statement);
            let encoded = (PROOF_DOMAIN, U256::from(900), DOMAIN.registry, statement).abi_encode();
            let signature = Signature::from_raw(&proof).expect("65 bytes");
            assert!(proof[64] == 27 || proof[64] == 28);
            assert!(signature.normalize_s().is_none(), "s is in the lower half");
            let digest = keccak256(encoded);
            let recovered = signature.recover_address_from_prehash(&digest).expect("a signature");
            assert_eq!(recovered, key.address());
            assert_eq!(proof, key.prove(statement), "deterministic");
            let digest = super::digest(&DOMAIN, statement);
            assert_eq!(signer(digest, &proof), Some(key.address()));
            assert_eq!(signer(session_digest(statement), &key.answer(statement)), Some(key.address()));
            assert_ne!(signer(digest, &key.answer(statement)), Some(key.address()), "one is not the other");
            // The same signature in other forms.
            let order = k256::Secp256k1::ORDER;
            let high = order.wrapping_sub(&k256::U256::from_be_slice(&proof[32..64]));
            let mut other = proof;
            other[32..64].copy_from_slice(&high.to_be_bytes());
            other[64] ^= 27 ^ 28;
            let mut short = proof;
            short[64] -= 27;
            for bad in [&other[..], &short, &proof[..64], &[], &[0; 65]] {
                assert_eq!(signer(digest, bad), None);
            }
        }
    }
}
