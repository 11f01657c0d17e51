//! Keys, certificates and revocation lists of the development root: **Jove development root, not Intel**.
//!
//! What a verifier of Intel's quotes demands is made here as Intel makes it, below a root key of our own, so that every check
//! runs for real and only the root differs:
//!
//! ```text
//! Intel SGX Root CA ─┬─ Intel SGX PCK Processor CA ── Intel SGX PCK Certificate     the machine; signs the QE report
//!   root CRL         ├─ Intel SGX PCK Platform CA  ── Intel SGX PCK Certificate
//!                    │    PCK CRL
//!                    └─ Intel SGX TCB Signing                                       signs TCB info and QE identity
//! ```
//!
//! The common names must be exactly Intel's: verifiers, on chain and off, compare them. Every organization is
//! [`ORGANIZATION`], in certificates and revocation lists alike, so that nobody who looks takes one for the other.
//!
//! All keys follow from a seed of 32 bytes, and ECDSA signatures are deterministic (RFC 6979): a seed gives the same bytes
//! everywhere. Profiles: RFC 5280; Intel SGX PCK Certificate and Certificate Revocation List Profile Specification.

use crate::Error;
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};
use time::OffsetDateTime;

/// The organization in every name of this PKI.
pub const ORGANIZATION: &str = "Jove development root, not Intel";
/// Common name of the root.
pub const ROOT_NAME: &str = "Intel SGX Root CA";
/// Common name of the issuer of machines with one processor package.
pub const PROCESSOR_CA_NAME: &str = "Intel SGX PCK Processor CA";
/// Common name of the issuer of machines with several packages.
pub const PLATFORM_CA_NAME: &str = "Intel SGX PCK Platform CA";
/// Common name of a machine's certificate.
pub const PCK_NAME: &str = "Intel SGX PCK Certificate";
/// Common name of the signer of TCB info and QE identity.
pub const TCB_SIGNING_NAME: &str = "Intel SGX TCB Signing";

/// 2020-01-01 and 2049-01-01 in Unix seconds: development certificates outlive every clock that a test sets.
pub const VALIDITY: (u64, u64) = (1_577_836_800, 2_493_072_000);

/// Arcs of Intel's SGX extension.
const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113741, 1, 13, 1];

/// A P-256 key.
pub struct Key {
    secret: SigningKey,
    /// `4 ‖ x ‖ y`.
    public: [u8; 65],
}

impl Key {
    /// The key that `seed` and `label` give.
    pub fn derive(seed: &[u8; 32], label: &str) -> Self {
        // A hash is no scalar once in 2^32 tries, which the counter then settles.
        for counter in 0u32.. {
            let hash = Sha256::new()
                .chain_update(b"jove.tee.development.v1")
                .chain_update(seed)
                .chain_update(counter.to_be_bytes())
                .chain_update(label)
                .finalize();
            if let Ok(secret) = SigningKey::from_slice(&hash) {
                let mut public = [4; 65];
                public.copy_from_slice(secret.verifying_key().to_sec1_point(false).as_bytes());
                return Self { secret, public };
            }
        }
        unreachable!("2^32 hashes in a row that are no scalars")
    }

    /// ECDSA with SHA-256 over `message`: r ‖ s.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.secret.sign(message);
        signature.to_bytes().into()
    }

    /// x ‖ y.
    pub fn public(&self) -> [u8; 64] {
        let mut xy = [0; 64];
        xy.copy_from_slice(&self.public[1..]);
        xy
    }

    /// The key identifier of RFC 7093, method 1: 20 bytes of SHA-256.
    fn identifier(&self) -> Vec<u8> {
        Sha256::digest(self.public)[..20].to_vec()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.secret.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// What a certificate may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sign certificates and revocation lists, with at most so many certificates of CAs below.
    Ca(u8),
    /// Sign anything else.
    Leaf,
}

/// What is in a certificate, besides keys.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The subject's common name.
    pub name: String,
    /// At most 20 bytes, big-endian.
    pub serial: Vec<u8>,
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// What it may do.
    pub role: Role,
    /// The content of Intel's SGX extension, for PCK certificates.
    pub sgx_extension: Option<Vec<u8>>,
}

impl Certificate {
    /// One with a serial number that follows from the key, valid as long as the PKI.
    pub fn new(name: &str, key: &Key, role: Role) -> Self {
        let mut serial = key.identifier();
        // Positive, and 20 bytes long, as Intel's.
        serial[0] = serial[0] & 0x3f | 0x40;
        Self { name: name.into(), serial, validity: VALIDITY, role, sgx_extension: None }
    }

    fn params(&self, key: &Key) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = time(self.validity.0);
        params.not_after = time(self.validity.1);
        params.serial_number = Some(SerialNumber::from_slice(&self.serial));
        params.distinguished_name = distinguished_name(&self.name);
        (params.is_ca, params.key_usages) = match self.role {
            Role::Ca(below) => (
                IsCa::Ca(BasicConstraints::Constrained(below)),
                vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            ),
            Role::Leaf => {
                (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment])
            }
        };
        // There is nothing to be had there; Intel's have one, and sizes should be Intel's.
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec!["https://jove.invalid/development-root-not-intel/crl.der".into()] }];
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
        if let Some(content) = &self.sgx_extension {
            params.custom_extensions.push(CustomExtension::from_oid_content(&SGX_EXTENSION, content.clone()));
        }
        params
    }

    /// The DER of this certificate for `key`, signed by `issuer_key` in the name `issuer`.
    ///
    /// # Errors
    /// [`Error::Certificate`] where the fields cannot be encoded.
    pub fn sign(&self, key: &Key, issuer: &str, issuer_key: &Key) -> Result<Vec<u8>, Error> {
        let issuer = Self::new(issuer, issuer_key, Role::Ca(1)).params(issuer_key);
        let issuer = Issuer::from_params(&issuer, issuer_key);
        let certificate = self.params(key).signed_by(key, &issuer).map_err(encoding)?;
        Ok(certificate.der().to_vec())
    }
}

/// What is in a revocation list.
#[derive(Clone, Debug)]
pub struct Crl {
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// Grows with each list.
    pub number: u64,
    /// Serial numbers, big-endian.
    pub revoked: Vec<Vec<u8>>,
}

impl Crl {
    /// The DER of this list, signed by `issuer_key` in the name `issuer`.
    ///
    /// # Errors
    /// [`Error::Certificate`] where the fields cannot be encoded.
    pub fn sign(&self, issuer: &str, issuer_key: &Key) -> Result<Vec<u8>, Error> {
        let revoked = self.revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: time(self.validity.0),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: time(self.validity.0),
            next_update: time(self.validity.1),
            crl_number: SerialNumber::from(self.number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::PreSpecified(issuer_key.identifier()),
        };
        let issuer = Certificate::new(issuer, issuer_key, Role::Ca(1)).params(issuer_key);
        let list = list.signed_by(&Issuer::from_params(&issuer, issuer_key)).map_err(encoding)?;
        Ok(list.der().to_vec())
    }
}

fn encoding(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, ORGANIZATION);
    name
}

fn time(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// PEM of certificates, one after the other, with line feeds.
pub fn pem(certificates: &[&[u8]]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates.iter().map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", *der), config)).collect()
}

/// The development root and what it certified.
pub struct Pki {
    seed: [u8; 32],
    /// Signs the CAs, the TCB signer and the root CRL.
    pub root_key: Key,
    /// Signs machines with one package, and their CRL.
    pub processor_key: Key,
    /// Signs machines with several packages, and their CRL.
    pub platform_key: Key,
    /// Signs TCB info and QE identity.
    pub tcb_key: Key,
    /// DER of the root: what a verifier is told to trust.
    pub root: Vec<u8>,
    /// DER.
    pub processor_ca: Vec<u8>,
    /// DER.
    pub platform_ca: Vec<u8>,
    /// DER.
    pub tcb_signer: Vec<u8>,
}

impl Pki {
    /// The PKI that a seed gives. Who knows the seed can make any quote under its root.
    ///
    /// # Errors
    /// [`Error::Certificate`], if ever.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let [root_key, processor_key, platform_key, tcb_key] =
            ["root", "processor ca", "platform ca", "tcb signing"].map(|label| Key::derive(seed, label));
        let sign = |name: &str, key: &Key, role| Certificate::new(name, key, role).sign(key, ROOT_NAME, &root_key);
        Ok(Self {
            root: sign(ROOT_NAME, &root_key, Role::Ca(1))?,
            processor_ca: sign(PROCESSOR_CA_NAME, &processor_key, Role::Ca(0))?,
            platform_ca: sign(PLATFORM_CA_NAME, &platform_key, Role::Ca(0))?,
            tcb_signer: sign(TCB_SIGNING_NAME, &tcb_key, Role::Leaf)?,
            seed: *seed,
            root_key,
            processor_key,
            platform_key,
            tcb_key,
        })
    }

    /// The PKI of the seed in `folder`; the seed is made, readable by its owner alone, where there is none.
    ///
    /// # Errors
    /// [`Error::Keys`] where the folder cannot be used, or the seed in it is not 32 bytes.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tee-development-seed");
        let failed = |reason: String| Error::Keys { path: path.clone(), reason };
        if !path.try_exists().map_err(|error| failed(error.to_string()))? {
            fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| failed(error.to_string()))?;
            // Whole or not at all, and the first of several processes wins.
            let part = folder.join(format!("tee-development-seed.{}", std::process::id()));
            let write = || {
                let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
                file.write_all(&seed)?;
                file.sync_all()?;
                match fs::hard_link(&part, &path) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                    other => other,
                }
            };
            let written = write();
            // Gone already where it was never made.
            let _ = fs::remove_file(&part);
            written.map_err(|error| failed(error.to_string()))?;
        }
        let seed = fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let seed = seed.try_into().map_err(|_| failed("not 32 bytes".into()))?;
        Self::from_seed(&seed)
    }

    /// What stands for the sealing key of a program on a machine.
    pub fn sealing_key(&self, platform: &crate::Platform, measurement: alloy_primitives::B256) -> [u8; 32] {
        let hash = Sha256::new().chain_update(b"jove.tee.development.sealing.v1").chain_update(self.seed);
        hash.chain_update(platform.ppid).chain_update(measurement).finalize().into()
    }

    /// The key that the seed gives for `label`.
    pub fn key(&self, label: &str) -> Key {
        Key::derive(&self.seed, label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use x509_cert::{
        crl::CertificateList,
        der::{Decode, Encode},
    };

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_others() {
        let (a, b) = (Pki::from_seed(&[1; 32]).unwrap(), Pki::from_seed(&[1; 32]).unwrap());
        assert_eq!((&a.root, &a.platform_ca, &a.tcb_signer), (&b.root, &b.platform_ca, &b.tcb_signer));
        assert_ne!(a.root, Pki::from_seed(&[2; 32]).unwrap().root);
        assert_ne!(a.key("x").public(), a.key("y").public());
    }

    #[test]
    fn every_certificate_and_list_says_that_it_is_not_intels() {
        let pki = Pki::from_seed(&[1; 32]).unwrap();
        let crl = Crl { validity: (1_700_000_000, 1_800_000_000), number: 1, revoked: vec![vec![0x81; 20]] };
        let crl = crl.sign(PLATFORM_CA_NAME, &pki.platform_key).unwrap();
        let label =
            |der: &[u8]| der.windows(ORGANIZATION.len()).filter(|part| *part == ORGANIZATION.as_bytes()).count();
        for der in [&pki.root, &pki.processor_ca, &pki.platform_ca, &pki.tcb_signer] {
            let certificate = x509_cert::Certificate::from_der(der).unwrap();
            assert_eq!(label(&certificate.tbs_certificate().subject().to_der().unwrap()), 1);
            assert_eq!(label(&certificate.tbs_certificate().issuer().to_der().unwrap()), 1);
        }
        assert_eq!(label(&crl), 1);
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&crl).unwrap();
        let serial = list.tbs_cert_list.revoked_certificates.unwrap().remove(0).serial_number;
        // A zero byte keeps the number positive.
        assert_eq!(serial.as_bytes(), [&[0][..], &[0x81; 20]].concat());
        assert_eq!(list.tbs_cert_list.this_update.to_unix_duration().as_secs(), 1_700_000_000);
    }

    #[test]
    fn a_folder_keeps_its_seed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("keys");
        let pki = Pki::open(&inner).unwrap();
        assert_eq!(Pki::open(&inner).unwrap().root, pki.root);
        let files: Vec<_> = fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files, [inner.join("tee-development-seed")]);
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(Pki::open(folder.path()).unwrap().root, pki.root, "seeds are random");
        fs::write(&files[0], [0; 31]).unwrap();
        assert_eq!(Pki::open(&inner).err().unwrap().name(), "Keys");
    }
}
