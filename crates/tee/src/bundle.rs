//! Collateral as it is published: in parts, from anywhere, sorted here by who has signed what.
//!
//! Intel's Provisioning Certification Service (API v4), the caches of it (PCCS) and tools each hand the same parts out in forms of their own.
//! A [`Bundle`] takes any of them, in any order:
//!
//! | form | what it is |
//! |---|---|
//! | PEM | certificates and revocation lists, any number |
//! | DER, or its hexadecimal digits (a PCCS's `rootcacrl`) | a certificate, or a revocation list |
//! | `{"tcbInfo":{…},"signature":"…"}` | TCB info (`tcb?fmspc=…`) |
//! | `{"enclaveIdentity":{…},"signature":"…"}` | QE identity (`qe/identity`) |
//! | `{"tcb_info":"…","qe_identity":"…",…}` | everything for one kind of machine: [`Collateral`] |
//!
//! What is signed in JSON is kept byte for byte. Nothing is believed here: a bundle only knows which of its certificates has signed which of
//! its parts. Machines' certificates may come along, and are passed over.

use crate::{
    Collateral, Error, PckCa, Pki, Platform,
    chain::validity,
    collateral::{COLLATERAL_SECONDS, QeIdentity, TcbInfo},
    pki::{Crl as NewCrl, PCK_NAME, PLATFORM_CA_NAME, PROCESSOR_CA_NAME, ROOT_NAME, TCB_SIGNING_NAME},
    verify::MAX_COLLATERAL,
};
use alloy_primitives::hex;
use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use x509_cert::{
    certificate::Rfc5280,
    crl::CertificateList,
    der::{Decode, Encode},
};

/// Most parts of a bundle. Whatever is beyond is refused: a machine needs seven.
pub const MAX_PARTS: usize = 256;

/// What a certificate is for, by its common name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Everything starts from it.
    Root,
    /// It certifies machines.
    PckCa,
    /// It signs TCB info and QE identity.
    TcbSigner,
}

/// A certificate of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerCertificate {
    /// What it is for.
    pub place: Place,
    /// The subject's common name.
    pub name: String,
    /// DER.
    pub der: Vec<u8>,
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// The subject's name, DER.
    subject: Vec<u8>,
    /// `4 ‖ x ‖ y`.
    key: Vec<u8>,
}

impl IssuerCertificate {
    fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_sec1_bytes(&self.key).is_ok_and(|key| key.verify(message, signature).is_ok())
    }
}

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// DER.
    pub der: Vec<u8>,
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// Serial numbers, big-endian, without leading zeros.
    pub revoked: Vec<Vec<u8>>,
    /// The issuer's name, DER.
    issuer: Vec<u8>,
    /// What is signed, and the signature, DER.
    signed: (Vec<u8>, Vec<u8>),
}

/// Signed JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The bytes that are signed.
    pub json: String,
    /// r ‖ s.
    pub signature: [u8; 64],
    /// From and until, Unix seconds.
    pub validity: (u64, u64),
    /// `tcbEvaluationDataNumber`.
    pub evaluation: u32,
    /// Of TCB info, FMSPC and PCE id of the machines meant; of QE identity, zeros.
    pub machines: ([u8; 6], [u8; 2]),
}

/// Parts of collateral, without order and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Certificates of issuers.
    pub certificates: Vec<IssuerCertificate>,
    /// Revocation lists.
    pub lists: Vec<RevocationList>,
    /// TCB infos.
    pub tcb_infos: Vec<Statement>,
    /// QE identities.
    pub qe_identities: Vec<Statement>,
}

/// The body of an answer with signed JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    tcb_info: Option<&'a RawValue>,
    #[serde(borrow)]
    enclave_identity: Option<&'a RawValue>,
    signature: Option<String>,
}

/// What is read of signed JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    #[serde(default)]
    fmspc: String,
    #[serde(default)]
    pce_id: String,
}

impl Bundle {
    /// Takes a part, or several, in any of the forms above.
    ///
    /// # Errors
    /// [`Error::ChainMalformed`], [`Error::CrlInvalid`], [`Error::TcbInfoMalformed`], [`Error::QeIdentityMalformed`]: it is none of them, or too long. Parts
    /// before it, of the same input, may have been taken.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // Hexadecimal digits, and JSON with such, are twice as long as what they say; a collateral has four parts.
        if bytes.len() > 8 * MAX_COLLATERAL {
            return Err(Error::ChainMalformed("a part of collateral that is too long"));
        }
        let text = bytes.trim_ascii();
        if text.starts_with(b"{") {
            return self.add_json(text);
        }
        if text.starts_with(b"-----BEGIN ") {
            return self.add_pem(text);
        }
        match hex::decode(text) {
            Ok(der) if !der.is_empty() => self.add_der(&der),
            _ => self.add_der(bytes),
        }
    }

    /// Takes all parts of a collateral.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_collateral(&mut self, collateral: &Collateral) -> Result<(), Error> {
        let chains =
            [&collateral.pck_crl_issuer_chain, &collateral.tcb_info_issuer_chain, &collateral.qe_identity_issuer_chain];
        for chain in chains {
            self.add_pem(chain.as_bytes())?;
        }
        self.add_der(&collateral.root_ca_crl)?;
        self.add_der(&collateral.pck_crl)?;
        self.add_tcb_info(&collateral.tcb_info, &collateral.tcb_info_signature)?;
        self.add_qe_identity(&collateral.qe_identity, &collateral.qe_identity_signature)
    }

    /// The certificate of the issuer that has signed a revocation list, if it is here.
    pub fn issuer_of(&self, list: &RevocationList) -> Option<&IssuerCertificate> {
        let signature = Signature::from_der(&list.signed.1).ok()?;
        let may = |issuer: &&IssuerCertificate| issuer.place != Place::TcbSigner && issuer.subject == list.issuer;
        self.certificates.iter().filter(may).find(|issuer| issuer.has_signed(&list.signed.0, &signature))
    }

    /// The certificate of the signer of TCB info or QE identity, if it is here.
    pub fn signer_of(&self, statement: &Statement) -> Option<&IssuerCertificate> {
        let signature = Signature::from_slice(&statement.signature).ok()?;
        let may = |issuer: &&IssuerCertificate| issuer.place == Place::TcbSigner;
        self.certificates.iter().filter(may).find(|signer| signer.has_signed(statement.json.as_bytes(), &signature))
    }

    fn has_room(&self) -> Result<(), Error> {
        let parts = self.certificates.len() + self.lists.len() + self.tcb_infos.len() + self.qe_identities.len();
        if parts < MAX_PARTS { Ok(()) } else { Err(Error::ChainMalformed("too many parts of collateral")) }
    }

    fn add_json(&mut self, text: &[u8]) -> Result<(), Error> {
        if let Ok(collateral) = serde_json::from_slice::<Collateral>(text) {
            return self.add_collateral(&collateral);
        }
        let malformed = |reason: &str| Error::TcbInfoMalformed(reason.into());
        let body: Body<'_> = serde_json::from_slice(text).map_err(|error| malformed(&error.to_string()))?;
        let signature = hex::decode(body.signature.unwrap_or_default());
        let signature = signature.map_err(|_| malformed("the signature is not hexadecimal"))?;
        match (body.tcb_info, body.enclave_identity) {
            (Some(json), None) => self.add_tcb_info(json.get(), &signature),
            (None, Some(json)) => self.add_qe_identity(json.get(), &signature),
            _ => Err(malformed("neither tcbInfo nor enclaveIdentity, nor a whole collateral")),
        }
    }

    fn add_pem(&mut self, text: &[u8]) -> Result<(), Error> {
        let parts = pem::parse_many(text).map_err(|_| Error::ChainMalformed("not PEM"))?;
        if parts.is_empty() {
            return Err(Error::ChainMalformed("not PEM"));
        }
        for part in parts {
            match part.tag() {
                "CERTIFICATE" => self.add_certificate(part.contents())?,
                "X509 CRL" => self.add_list(part.contents())?,
                _ => return Err(Error::ChainMalformed("neither certificates nor revocation lists")),
            }
        }
        Ok(())
    }

    fn add_der(&mut self, der: &[u8]) -> Result<(), Error> {
        match self.add_certificate(der) {
            Err(Error::ChainMalformed("not a certificate")) => self.add_list(der),
            other => other,
        }
    }

    fn add_certificate(&mut self, der: &[u8]) -> Result<(), Error> {
        self.has_room()?;
        let not = |_| Error::ChainMalformed("not a certificate");
        let certificate = x509_cert::Certificate::from_der(der).map_err(not)?;
        let tbs = certificate.tbs_certificate();
        let name = tbs.subject().common_name().ok().flatten().map(String::from).unwrap_or_default();
        let place = match name.as_str() {
            ROOT_NAME => Place::Root,
            PROCESSOR_CA_NAME | PLATFORM_CA_NAME => Place::PckCa,
            TCB_SIGNING_NAME => Place::TcbSigner,
            PCK_NAME => return Ok(()),
            _ => return Err(Error::ChainMalformed("a common name that is not Intel's")),
        };
        let subject = tbs.subject().to_der().map_err(not)?;
        let key = tbs.subject_public_key_info().subject_public_key.raw_bytes().to_vec();
        let times = tbs.validity();
        let validity = (times.not_before.to_unix_duration().as_secs(), times.not_after.to_unix_duration().as_secs());
        let found = IssuerCertificate { place, name, der: der.to_vec(), validity, subject, key };
        push(&mut self.certificates, found);
        Ok(())
    }

    fn add_list(&mut self, der: &[u8]) -> Result<(), Error> {
        self.has_room()?;
        let invalid = |reason: String| Error::CrlInvalid(reason);
        if der.len() > MAX_COLLATERAL {
            return Err(invalid("too long".into()));
        }
        let list = CertificateList::<Rfc5280>::from_der(der).map_err(|error| invalid(error.to_string()))?;
        let message = list.tbs_cert_list.to_der().map_err(|error| invalid(error.to_string()))?;
        let issuer = list.tbs_cert_list.issuer.to_der().map_err(|error| invalid(error.to_string()))?;
        let until = list.tbs_cert_list.next_update.ok_or_else(|| invalid("without a next update".into()))?;
        let from = list.tbs_cert_list.this_update.to_unix_duration().as_secs();
        let entries = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        let trimmed = |serial: &[u8]| serial.iter().copied().skip_while(|byte| *byte == 0).collect();
        let found = RevocationList {
            der: der.to_vec(),
            validity: (from, until.to_unix_duration().as_secs()),
            revoked: entries.iter().map(|entry| trimmed(entry.serial_number.as_bytes())).collect(),
            issuer,
            signed: (message, list.signature.raw_bytes().to_vec()),
        };
        push(&mut self.lists, found);
        Ok(())
    }

    fn add_tcb_info(&mut self, json: &str, signature: &[u8]) -> Result<(), Error> {
        self.has_room()?;
        let found = statement(json, signature, true).map_err(Error::TcbInfoMalformed)?;
        push(&mut self.tcb_infos, found);
        Ok(())
    }

    fn add_qe_identity(&mut self, json: &str, signature: &[u8]) -> Result<(), Error> {
        self.has_room()?;
        let found = statement(json, signature, false).map_err(Error::QeIdentityMalformed)?;
        push(&mut self.qe_identities, found);
        Ok(())
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, part: T) {
    if !list.contains(&part) {
        list.push(part);
    }
}

fn statement(json: &str, signature: &[u8], of_machines: bool) -> Result<Statement, String> {
    if json.len() > MAX_COLLATERAL {
        return Err("too long".into());
    }
    let said: Said = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let mut machines = ([0; 6], [0; 2]);
    if of_machines {
        hex::decode_to_slice(&said.fmspc, &mut machines.0).map_err(|_| "fmspc is not 6 bytes")?;
        hex::decode_to_slice(&said.pce_id, &mut machines.1).map_err(|_| "pceId is not 2 bytes")?;
    }
    Ok(Statement {
        json: json.to_owned(),
        signature: signature.try_into().map_err(|_| "the signature is not 64 bytes")?,
        validity: validity(&said.issue_date, &said.next_update).ok_or("times that are none")?,
        evaluation: said.tcb_evaluation_data_number,
        machines,
    })
}

impl Pki {
    /// Collateral by which `platforms` are up to date, valid for [`COLLATERAL_SECONDS`] from `issued` on; the certificates of `revoked` are named by their
    /// issuers' lists.
    ///
    /// # Errors
    /// [`Error::Certificate`], if ever.
    pub fn bundle(&self, platforms: &[Platform], revoked: &[Platform], issued: u64) -> Result<Bundle, Error> {
        let mut bundle = Bundle::default();
        let until = issued.saturating_add(COLLATERAL_SECONDS);
        // Numbers only have to grow, as times do.
        let list = |revoked| NewCrl { validity: (issued, until), number: issued, revoked };
        for der in [&self.root, &self.tcb_signer] {
            bundle.add_certificate(der)?;
        }
        bundle.add_list(&list(vec![]).sign(ROOT_NAME, &self.root_key)?)?;
        let cas = [
            (PckCa::Processor, &self.processor_ca, PROCESSOR_CA_NAME, &self.processor_key),
            (PckCa::Platform, &self.platform_ca, PLATFORM_CA_NAME, &self.platform_key),
        ];
        for (ca, der, name, key) in cas {
            if platforms.iter().chain(revoked).any(|platform| platform.ca == ca) {
                bundle.add_certificate(der)?;
                let serials =
                    revoked.iter().filter(|platform| platform.ca == ca).map(|platform| self.pck(platform).serial);
                bundle.add_list(&list(serials.collect()).sign(name, key)?)?;
            }
        }
        let mut kinds = BTreeSet::new();
        for platform in platforms {
            if kinds.insert((platform.fmspc, platform.pce_id)) {
                let json = TcbInfo::new(platform, issued).json();
                bundle.add_tcb_info(&json, &self.tcb_key.sign(json.as_bytes()))?;
            }
        }
        let json = QeIdentity::new(issued).json();
        bundle.add_qe_identity(&json, &self.tcb_key.sign(json.as_bytes()))?;
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::pem;

    const ISSUED: u64 = 1_790_000_000;

    fn pki() -> Pki {
        Pki::from_seed(&[3; 32]).unwrap()
    }

    fn bundle() -> Bundle {
        pki().bundle(&[Platform::development(0)], &[Platform::development(7)], ISSUED).unwrap()
    }

    #[test]
    fn every_part_knows_its_issuer() {
        let (pki, bundle) = (pki(), bundle());
        assert_eq!((bundle.certificates.len(), bundle.lists.len()), (3, 2));
        let [root_list, pck_list] = &bundle.lists[..] else { panic!("two lists") };
        assert_eq!(bundle.issuer_of(root_list).unwrap().der, pki.root);
        assert_eq!(bundle.issuer_of(pck_list).unwrap().der, pki.platform_ca);
        assert_eq!(pck_list.revoked, [pki.pck(&Platform::development(7)).serial]);
        assert_eq!(pck_list.validity, (ISSUED, ISSUED + COLLATERAL_SECONDS));
        for statement in bundle.tcb_infos.iter().chain(&bundle.qe_identities) {
            assert_eq!(bundle.signer_of(statement).unwrap().der, pki.tcb_signer);
            assert_eq!((statement.validity.0, statement.evaluation), (ISSUED, crate::collateral::EVALUATION));
        }
        assert_eq!(bundle.tcb_infos[0].machines, (Platform::development(0).fmspc, [0, 0]));

        // Not by name alone: another root's certificates have the same names.
        let mut other = Bundle::default();
        let stranger = Pki::from_seed(&[4; 32]).unwrap();
        for der in [&stranger.root, &stranger.platform_ca, &stranger.tcb_signer] {
            other.add(der).unwrap();
        }
        assert!(bundle.lists.iter().all(|list| other.issuer_of(list).is_none()));
        assert!(other.signer_of(&bundle.tcb_infos[0]).is_none());
    }

    #[test]
    fn all_forms_give_the_same() {
        let (pki, expected) = (pki(), bundle());
        let mut parts = Bundle::default();
        parts.add(pem(&[&pki.root, &pki.tcb_signer]).as_bytes()).unwrap();
        parts.add(hex::encode(&expected.lists[0].der).as_bytes()).unwrap();
        parts.add(&pki.platform_ca).unwrap();
        let list = ::pem::encode(&::pem::Pem::new("X509 CRL", expected.lists[1].der.clone()));
        parts.add(format!("\n{list}").as_bytes()).unwrap();
        for (name, statement) in [("tcbInfo", &expected.tcb_infos[0]), ("enclaveIdentity", &expected.qe_identities[0])]
        {
            let signature = hex::encode(statement.signature);
            let body = format!("{{\"{name}\":{},\"signature\":\"{signature}\"}}\n", statement.json);
            parts.add(body.as_bytes()).unwrap();
            // Twice is once.
            parts.add(body.as_bytes()).unwrap();
        }
        assert_eq!(parts, expected);

        // A whole collateral, with a machine's certificate along.
        let machine = Platform::development(0);
        let mut collateral = pki.collateral(&machine, ISSUED).unwrap();
        let [leaf, _, _] = pki.pck_chain(&machine).unwrap();
        collateral.pck_crl_issuer_chain += &pem(&[&leaf]);
        let mut whole = Bundle::default();
        whole.add(&serde_json::to_vec(&collateral).unwrap()).unwrap();
        assert_eq!((whole.certificates.len(), whole.lists.len()), (3, 2));
        assert_eq!((&whole.tcb_infos, &whole.qe_identities), (&expected.tcb_infos, &expected.qe_identities));
        assert!(whole.lists.iter().all(|list| whole.issuer_of(list).is_some()));
    }

    #[test]
    fn intels_own_is_understood() {
        let mut bundle = Bundle::default();
        bundle.add(include_bytes!("../tests/samples/sgx_quote_collateral.json")).unwrap();
        assert_eq!(bundle.certificates.len(), 3);
        let issuers: Vec<_> = bundle.lists.iter().map(|list| bundle.issuer_of(list).unwrap().place).collect();
        assert_eq!(issuers, [Place::Root, Place::PckCa]);
        assert_eq!(bundle.certificates[1].der, crate::verify::INTEL_ROOT);
        assert!(bundle.signer_of(&bundle.tcb_infos[0]).is_some());
        assert!(bundle.signer_of(&bundle.qe_identities[0]).is_some());
    }

    #[test]
    fn what_is_no_collateral_is_refused_by_name() {
        let error = |bytes: &[u8]| Bundle::default().add(bytes).unwrap_err().name();
        let pki = pki();
        for bytes in [&b""[..], b"zz", b"30", &[0x30, 0x82, 0xff, 0xff], &[0xff; 100], &pki.root[..pki.root.len() - 1]]
        {
            assert_eq!(error(bytes), "CrlInvalid", "{bytes:?}");
        }
        for text in ["-----BEGIN CERTIFICATE-----", "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n"] {
            assert_eq!(error(text.as_bytes()), "ChainMalformed", "{text}");
        }
        assert_eq!(error(&vec![b' '; 8 * MAX_COLLATERAL + 1]), "ChainMalformed");
        for text in ["{}", "{\"signature\":\"\"}", "{\"tcbInfo\":{},\"enclaveIdentity\":{}}", "{\"tcbInfo\":{}}", "{"] {
            assert_eq!(error(text.as_bytes()), "TcbInfoMalformed", "{text}");
        }
        let identity = bundle().qe_identities[0].json.clone();
        let short = format!("{{\"enclaveIdentity\":{identity},\"signature\":\"00\"}}");
        assert_eq!(error(short.as_bytes()), "QeIdentityMalformed");
        // QE identity names no machines, so it is no TCB info.
        let wrong = format!("{{\"tcbInfo\":{identity},\"signature\":\"{}\"}}", "00".repeat(64));
        assert_eq!(error(wrong.as_bytes()), "TcbInfoMalformed");
        let key = pki.key("x");
        let named = crate::pki::Certificate::new("Another CA", &key, crate::pki::Role::Ca(1)).sign(&key, "x", &key);
        assert_eq!(error(&named.unwrap()), "ChainMalformed");
    }

    #[test]
    fn a_bundle_has_a_bound() {
        let (pki, mut bundle) = (pki(), Bundle::default());
        for issued in 0..MAX_PARTS as u64 {
            let list = NewCrl { validity: (issued, issued + 1), number: issued, revoked: vec![] };
            bundle.add(&list.sign(ROOT_NAME, &pki.root_key).unwrap()).unwrap();
        }
        assert_eq!(bundle.add(&pki.root).unwrap_err().name(), "ChainMalformed");
    }
}
