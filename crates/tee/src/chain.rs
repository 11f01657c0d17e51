//! Certificates and collateral, looked at before their signatures are: lengths, names, times, revocation.
//!
//! `dcap-qvl` checks most of this again, with signatures, but tells little of which check failed, and takes chains and names
//! that Intel never issues.

use crate::{
    Error,
    pki::{PCK_NAME, PLATFORM_CA_NAME, PROCESSOR_CA_NAME, ROOT_NAME, TCB_SIGNING_NAME},
    verify::MAX_COLLATERAL,
};
use alloy_primitives::{B256, U256, hex, keccak256};
use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo, intel::parse_pck_extension};
use x509_cert::{
    Certificate,
    certificate::Rfc5280,
    crl::CertificateList,
    der::{DateTime, Decode, Encode},
};

/// What the chains say, if their signatures hold.
#[derive(Debug)]
pub(crate) struct Chains {
    /// keccak256 of the DER of the PCK certificate's issuer name.
    pub(crate) pck_issuer: B256,
    /// The PCK certificate's serial number.
    pub(crate) pck_serial: U256,
    /// When the oldest of TCB info, QE identity and revocation lists was issued, Unix seconds.
    pub(crate) oldest: u64,
}

impl Chains {
    /// Looks at the quote's chain and at the collateral: steps 1 and 3 to 6 of [`crate::verify`].
    pub(crate) fn read(root: &[u8], pck_chain: &[u8], collateral: &QuoteCollateralV3, now: u64) -> Result<Self, Error> {
        let [leaf_der, ca_der, chain_root] = ders(pck_chain)?;
        let [signer_der, signer_root] = ders(collateral.tcb_info_issuer_chain.as_bytes())?;
        let [qe_signer_der, qe_signer_root] = ders(collateral.qe_identity_issuer_chain.as_bytes())?;
        if [&chain_root, &signer_root, &qe_signer_root].iter().any(|der| *der != root) {
            return Err(Error::WrongRoot);
        }
        let leaf = certificate(&leaf_der, &[PCK_NAME], now)?;
        let ca = certificate(&ca_der, &[PROCESSOR_CA_NAME, PLATFORM_CA_NAME], now)?;
        certificate(root, &[ROOT_NAME], now)?;
        let signer = certificate(&signer_der, &[TCB_SIGNING_NAME], now)?;
        let qe_signer = certificate(&qe_signer_der, &[TCB_SIGNING_NAME], now)?;

        let root_crl = crl(&collateral.root_ca_crl, now)?;
        let pck_crl = crl(&collateral.pck_crl, now)?;
        if revoked(&root_crl, &ca) {
            return Err(Error::IntermediateRevoked);
        }
        if revoked(&root_crl, &signer) || revoked(&root_crl, &qe_signer) {
            return Err(Error::TcbSignerRevoked);
        }
        if revoked(&pck_crl, &leaf) {
            return Err(Error::PckRevoked);
        }

        let pck = parse_pck_extension(&leaf_der).map_err(|error| Error::PckExtensionMalformed(format!("{error:#}")))?;
        if pck.ppid.len() != 16 || pck.pce_id.len() != 2 {
            return Err(Error::PckExtensionMalformed("PPID or PCE id of a wrong length".into()));
        }
        let tcb_info = tcb_info(collateral, now)?;
        let qe_issued = qe_identity_issued(collateral, now)?;
        let is = |text: &str, bytes: &[u8]| hex::decode(text).is_ok_and(|decoded| decoded == bytes);
        if !is(&tcb_info.fmspc, &pck.fmspc) || !is(&tcb_info.pce_id, &pck.pce_id) {
            return Err(Error::PlatformMismatch);
        }
        let tcb_issued = seconds(&tcb_info.issue_date).unwrap_or(0);

        let tbs = leaf.tbs_certificate();
        let issuer = tbs.issuer().to_der().map_err(|_| Error::ChainMalformed("a name that cannot be encoded"))?;
        Ok(Self {
            pck_issuer: keccak256(issuer),
            pck_serial: serial(&leaf)?,
            oldest: tcb_issued.min(qe_issued).min(root_crl.validity.0).min(pck_crl.validity.0),
        })
    }
}

/// Whether `now` is in a validity: from its start until before its end.
pub(crate) fn current((from, until): (u64, u64), now: u64) -> bool {
    from <= now && now < until
}

/// The certificates of a PEM chain, which must be `N`. Text around them says nothing and is skipped.
fn ders<const N: usize>(pem: &[u8]) -> Result<[Vec<u8>; N], Error> {
    if pem.len() > MAX_COLLATERAL {
        return Err(Error::ChainMalformed("too long"));
    }
    let parts = pem::parse_many(pem).map_err(|_| Error::ChainMalformed("not PEM"))?;
    if parts.iter().any(|part| part.tag() != "CERTIFICATE") {
        return Err(Error::ChainMalformed("not of certificates"));
    }
    let ders: Vec<_> = parts.into_iter().map(pem::Pem::into_contents).collect();
    ders.try_into().map_err(|_| Error::ChainMalformed("not of the right length"))
}

/// A certificate that is current and whose common name is one of `names`.
fn certificate(der: &[u8], names: &[&str], now: u64) -> Result<Certificate, Error> {
    let certificate = Certificate::from_der(der).map_err(|_| Error::ChainMalformed("not a certificate"))?;
    let tbs = certificate.tbs_certificate();
    let name = tbs.subject().common_name().ok().flatten().map(String::from).unwrap_or_default();
    if !names.contains(&name.as_str()) {
        return Err(Error::ChainMalformed("a common name that is not Intel's for its place"));
    }
    let validity = tbs.validity();
    let validity = (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs());
    if !current(validity, now) {
        return Err(Error::CertificateNotCurrent(name));
    }
    Ok(certificate)
}

struct Revoked {
    serials: Vec<Vec<u8>>,
    validity: (u64, u64),
}

/// A revocation list that is current.
fn crl(der: &[u8], now: u64) -> Result<Revoked, Error> {
    if der.len() > MAX_COLLATERAL {
        return Err(Error::CrlInvalid("too long".into()));
    }
    let list = CertificateList::<Rfc5280>::from_der(der).map_err(|error| Error::CrlInvalid(error.to_string()))?;
    let list = list.tbs_cert_list;
    let until = list.next_update.ok_or_else(|| Error::CrlInvalid("without a next update".into()))?;
    let validity = (list.this_update.to_unix_duration().as_secs(), until.to_unix_duration().as_secs());
    if !current(validity, now) {
        return Err(Error::CrlNotCurrent);
    }
    let serials = list.revoked_certificates.unwrap_or_default();
    Ok(Revoked {
        serials: serials.iter().map(|entry| trim(entry.serial_number.as_bytes()).to_vec()).collect(),
        validity,
    })
}

fn revoked(list: &Revoked, certificate: &Certificate) -> bool {
    let serial = trim(certificate.tbs_certificate().serial_number().as_bytes());
    list.serials.iter().any(|revoked| revoked == serial)
}

fn trim(serial: &[u8]) -> &[u8] {
    &serial[serial.iter().take_while(|byte| **byte == 0).count()..]
}

fn serial(certificate: &Certificate) -> Result<U256, Error> {
    let serial = trim(certificate.tbs_certificate().serial_number().as_bytes());
    U256::try_from_be_slice(serial).ok_or(Error::ChainMalformed("a serial number of over 20 bytes"))
}

/// TCB info, if it is of version 3, current, and its signature of the right length.
fn tcb_info(collateral: &QuoteCollateralV3, now: u64) -> Result<TcbInfo, Error> {
    let malformed = |text: String| Error::TcbInfoMalformed(text);
    if collateral.tcb_info.len() > MAX_COLLATERAL {
        return Err(malformed("too long".into()));
    }
    let info: TcbInfo = serde_json::from_str(&collateral.tcb_info).map_err(|error| malformed(error.to_string()))?;
    if info.version != 3 {
        return Err(malformed("not version 3".into()));
    }
    let validity = validity(&info.issue_date, &info.next_update).ok_or_else(|| malformed("times".into()))?;
    if !current(validity, now) {
        return Err(Error::TcbInfoNotCurrent);
    }
    if collateral.tcb_info_signature.len() != 64 {
        return Err(Error::TcbInfoSignature);
    }
    Ok(info)
}

/// When QE identity was issued, if it is current, and its signature of the right length.
fn qe_identity_issued(collateral: &QuoteCollateralV3, now: u64) -> Result<u64, Error> {
    let malformed = |text: String| Error::QeIdentityMalformed(text);
    if collateral.qe_identity.len() > MAX_COLLATERAL {
        return Err(malformed("too long".into()));
    }
    let identity: QeIdentity =
        serde_json::from_str(&collateral.qe_identity).map_err(|error| malformed(error.to_string()))?;
    let validity = validity(&identity.issue_date, &identity.next_update).ok_or_else(|| malformed("times".into()))?;
    if !current(validity, now) {
        return Err(Error::QeIdentityNotCurrent);
    }
    if collateral.qe_identity_signature.len() != 64 {
        return Err(Error::QeIdentitySignature);
    }
    Ok(validity.0)
}

/// From and until of Intel's JSON, as Unix seconds.
pub(crate) fn validity(from: &str, until: &str) -> Option<(u64, u64)> {
    Some((seconds(from)?, seconds(until)?))
}

/// `2026-11-21T19:08:00Z` as Unix seconds.
fn seconds(time: &str) -> Option<u64> {
    Some(time.parse::<DateTime>().ok()?.unix_duration().as_secs())
}
