//! Whether to believe a quote: off chain, through `dcap-qvl`, with a root and a policy of our choice.
//!
//! [`Policy::check`] goes through these steps; the first that fails names the error. The contracts check the same, and must
//! agree on a shared corpus (`corpus/`, specified in `examples/corpus/main.rs`).
//!
//! 1. Sizes: the quote has at most 16,384 bytes, each part of the collateral at most [`MAX_COLLATERAL`].
//! 2. The quote parses. It is SGX v3 ([`crate::Quote`]), or TDX v4 or v5.
//! 3. Its chain is leaf, intermediate, root, and the root is the policy's, byte for byte. TCB info and QE identity come each
//!    with a chain of a signer and that root. Common names are Intel's.
//! 4. Every certificate, both revocation lists, TCB info and QE identity are current: `from ≤ now < until`.
//! 5. The root's list does not name the intermediate or the signers; the intermediate's list does not name the leaf.
//! 6. The leaf's SGX extension has PPID, CPUSVN, PCESVN, PCE id and FMSPC; TCB info v3 is for that PCE id and FMSPC.
//! 7. `dcap-qvl`: all signatures of certificates and lists; those of TCB info and QE identity; the PCK key's over the quoting
//!    enclave's report, that report's commitment to the attestation key, the quoting enclave's identity and level; the
//!    attestation key's signature over the quote; the machine's level; no `Revoked` level; no debug enclave; and of a trust
//!    domain its module and attributes.
//! 8. Policy: TCB status of machine and quoting enclave together, forbidden attributes, measurement, signer, number of Intel's
//!    evaluation, age of the collateral.
//!
//! Empty lists allow nothing. Nothing switches a step off.
//!
//! The level of a machine is the first of TCB info's, best first, of which all 16 components and the PCESVN are at or below the
//! machine's (Intel PCS API v4, "TCB info"); machine and quoting enclave together have the worse status.

use crate::{
    Error,
    chain::Chains,
    quote::{MAX_QUOTE, Quote},
    source::Kind,
};
use alloy_primitives::{B256, U256, keccak256};
use dcap_qvl::{
    QuoteClaims, QuoteCollateralV3, QuotePolicy, TcbStatus,
    configs::RustCryptoConfig,
    quote::{Quote as AnyQuote, Report as AnyReport},
    verify::QuoteVerifier,
};

/// Intel's root, "Intel SGX Root CA", as DER: the last certificate of every chain of Intel's. It names where its revocation list is,
/// https://certificates.trustedservices.intel.com/IntelSGXRootCA.der.
pub const INTEL_ROOT: &[u8] = include_bytes!("intel_sgx_root.der");
/// Most bytes of each part of the collateral. Intel's longest are about 20,000.
pub const MAX_COLLATERAL: usize = 262_144;

/// What is believed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The root's certificate, DER: [`INTEL_ROOT`], or in development [`crate::Pki::root`].
    pub root: Vec<u8>,
    /// Statuses of machine and quoting enclave together. `Revoked` is refused even here.
    pub statuses: Vec<TcbStatus>,
    /// `ATTRIBUTES.FLAGS` that an SGX enclave must not have. `DEBUG` is refused even without.
    pub forbidden_attributes: u64,
    /// Programs: MRENCLAVE, or the measurement of a trust domain.
    pub measurements: Vec<B256>,
    /// Their signers: MRSIGNER. A trust domain has none; its zero must be listed.
    pub signers: Vec<B256>,
    /// Least `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub min_evaluation: u32,
    /// Most seconds since TCB info, QE identity and revocation lists were issued, also where they are valid for longer.
    pub max_age: u64,
}

/// A quote that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// SGX or TDX; a software quote looks like SGX.
    pub kind: Kind,
    /// MRENCLAVE, or keccak256(MRTD ‖ RTMR0 ‖ RTMR1 ‖ RTMR2 ‖ RTMR3) of a trust domain.
    pub measurement: B256,
    /// MRSIGNER, or zero.
    pub signer: B256,
    /// `ATTRIBUTES.FLAGS`, or a trust domain's `TDATTRIBUTES`.
    pub attributes: u64,
    /// What the program said.
    pub report_data: [u8; 64],
    /// The machine: keccak256(PPID).
    pub platform: B256,
    /// Family, model, stepping, platform type, customization of the machine.
    pub fmspc: [u8; 6],
    /// Security versions of the processor's parts, as the PCK certificate has them.
    pub cpu_svn: [u8; 16],
    /// Security version of the provisioning certification enclave, as the PCK certificate has it.
    pub pce_svn: u16,
    /// Security version of the quoting enclave: ISVSVN of its report.
    pub qe_svn: u16,
    /// keccak256 of the DER of the PCK certificate's issuer name.
    pub pck_issuer: B256,
    /// The PCK certificate's serial number.
    pub pck_serial: U256,
    /// Status of machine and quoting enclave together.
    pub status: TcbStatus,
    /// Intel's advisories that apply.
    pub advisories: Vec<String>,
    /// The lower `tcbEvaluationDataNumber` of TCB info and QE identity.
    pub evaluation: u32,
    /// When the first of certificates and collateral expires, Unix seconds.
    pub expires: u64,
    /// keccak256 of the quote's bytes.
    pub quote_hash: B256,
}

impl Policy {
    /// A policy for `root` and one program: up to date, none of DEBUG, PROVISION_KEY and EINITTOKEN_KEY, collateral of any
    /// evaluation for as long as it is valid.
    pub fn strict(root: Vec<u8>, measurement: B256, signer: B256) -> Self {
        Self {
            root,
            statuses: vec![TcbStatus::UpToDate],
            forbidden_attributes: crate::quote::ATTRIBUTE_DEBUG
                | crate::quote::ATTRIBUTE_PROVISION_KEY
                | crate::quote::ATTRIBUTE_EINITTOKEN_KEY,
            measurements: vec![measurement],
            signers: vec![signer],
            min_evaluation: 0,
            max_age: u64::MAX,
        }
    }

    /// Checks `quote` at `now` (Unix seconds) by the steps of this module.
    ///
    /// Of `collateral`, the issuer chain of the PCK revocation list is not used, since the quote has it; nor is the PCK chain
    /// that it may hold.
    ///
    /// # Errors
    /// The name of the first check that fails: the last two groups of [`Error`].
    pub fn check(&self, quote: &[u8], collateral: &QuoteCollateralV3, now: u64) -> Result<Verified, Error> {
        let pck_chain = pck_chain(quote)?;
        let chains = Chains::read(&self.root, &pck_chain, collateral, now)?;
        let collateral = QuoteCollateralV3 { pck_certificate_chain: None, ..collateral.clone() };
        let claims = QuoteVerifier::new(self.root.clone())
            .with_config::<RustCryptoConfig>()
            .verify_with_policy(quote, collateral, now, &QuotePolicy::claims_only(now))
            .map_err(|error| refusal(&format!("{error:#}")))?;
        let verified = verified(quote, &chains, &claims)?;
        self.allow(&verified, now.saturating_sub(chains.oldest))?;
        Ok(verified)
    }

    fn allow(&self, verified: &Verified, age: u64) -> Result<(), Error> {
        let forbidden = verified.attributes & self.forbidden_attributes;
        if !self.statuses.contains(&verified.status) {
            return Err(Error::TcbStatus(verified.status));
        }
        if verified.kind != Kind::Tdx && forbidden != 0 {
            return Err(Error::AttributesForbidden(forbidden));
        }
        if !self.measurements.contains(&verified.measurement) {
            return Err(Error::MeasurementNotAllowed(verified.measurement));
        }
        if !self.signers.contains(&verified.signer) {
            return Err(Error::SignerNotAllowed(verified.signer));
        }
        if verified.evaluation < self.min_evaluation {
            return Err(Error::EvaluationTooOld(verified.evaluation));
        }
        if age > self.max_age {
            return Err(Error::CollateralStale(age));
        }
        Ok(())
    }
}

/// The PEM chain of a quote of any kind that is verified here.
fn pck_chain(quote: &[u8]) -> Result<Vec<u8>, Error> {
    if quote.len() > MAX_QUOTE {
        return Err(Error::QuoteMalformed("too long"));
    }
    let (Some(version), Some(tee)) = (quote.get(..2), quote.get(4..8)) else {
        return Err(Error::QuoteMalformed("cut short"));
    };
    // An SGX quote of version 4 or 5 would be for another parser; Intel's SGX quoting enclave makes version 3.
    if tee == [0; 4] || version == [3, 0] {
        return Ok(Quote::parse(quote)?.pck_chain);
    }
    if tee != [0x81, 0, 0, 0] || !matches!(version, [4 | 5, 0]) {
        return Err(Error::QuoteUnsupported("neither SGX version 3 nor TDX version 4 or 5"));
    }
    let quote = AnyQuote::parse(quote).map_err(|_| Error::QuoteMalformed("a TDX quote that cannot be read"))?;
    let chain = quote
        .raw_cert_chain()
        .map_err(|_| Error::QuoteUnsupported("the certification data is no PCK certificate chain"))?;
    Ok(chain.to_vec())
}

fn verified(quote: &[u8], chains: &Chains, claims: &QuoteClaims) -> Result<Verified, Error> {
    let (kind, measurement, signer, attributes, report_data) = match &claims.report {
        AnyReport::SgxEnclave(report) => {
            let [flags, _] = halves(report.attributes);
            (Kind::Sgx, B256::new(report.mr_enclave), B256::new(report.mr_signer), flags, report.report_data)
        }
        AnyReport::TD10(td) => domain(&claims.report, td),
        AnyReport::TD15(td) => domain(&claims.report, &td.base),
        AnyReport::TD15Ex(td) => domain(&claims.report, &td.base.base),
    };
    let pck = &claims.platform.pck;
    Ok(Verified {
        kind,
        measurement,
        signer,
        attributes,
        report_data,
        platform: keccak256(&pck.ppid),
        fmspc: pck.fmspc,
        cpu_svn: pck.cpu_svn,
        pce_svn: pck.pce_svn,
        qe_svn: claims.qe.report.isv_svn,
        pck_issuer: chains.pck_issuer,
        pck_serial: chains.pck_serial,
        status: claims.tcb.status,
        advisories: claims.tcb.advisory_ids.clone(),
        evaluation: claims.tcb.eval_data_number,
        expires: claims.earliest_expiration_date,
        quote_hash: keccak256(quote),
    })
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let value = u128::from_le_bytes(bytes);
    [value as u64, (value >> 64) as u64]
}

fn domain(report: &AnyReport, td: &dcap_qvl::quote::TDReport10) -> (Kind, B256, B256, u64, [u8; 64]) {
    let measurement = td_measurement(report).unwrap_or_default();
    (Kind::Tdx, measurement, B256::ZERO, u64::from_le_bytes(td.td_attributes), td.report_data)
}

/// keccak256(MRTD ‖ RTMR0 ‖ RTMR1 ‖ RTMR2 ‖ RTMR3) of a trust domain's report; none for an enclave's.
pub(crate) fn td_measurement(report: &AnyReport) -> Option<B256> {
    let td = match report {
        AnyReport::SgxEnclave(_) => return None,
        AnyReport::TD10(td) => td,
        AnyReport::TD15(td) => &td.base,
        AnyReport::TD15Ex(td) => &td.base.base,
    };
    Some(keccak256([td.mr_td, td.rt_mr0, td.rt_mr1, td.rt_mr2, td.rt_mr3].concat()))
}

/// The name of `dcap-qvl`'s reason. It has no types for them, so this goes by its texts, which the tests pin for the version
/// in use: a text that changes gives [`Error::Refused`], never a pass.
fn refusal(text: &str) -> Error {
    type Named = fn(&str) -> Error;
    const NAMES: [(&str, Named); 37] = [
        ("Failed to load root ca", |_| Error::WrongRoot),
        ("Failed to parse root CA CRL", |text| Error::CrlInvalid(text.into())),
        ("Failed to parse PCK CRL", |text| Error::CrlInvalid(text.into())),
        ("Failed to decode quote", |_| Error::QuoteMalformed("it cannot be read")),
        ("InvalidCrlSignatureForPublicKey", |text| Error::CrlInvalid(text.into())),
        ("IssuerNotCrlSigner", |text| Error::CrlInvalid(text.into())),
        ("UnknownRevocationStatus", |text| Error::CrlInvalid(text.into())),
        ("Failed to verify certificate chain", |text| Error::CertificateInvalid(text.into())),
        ("must be issued directly by the root", |text| Error::CertificateInvalid(text.into())),
        ("Signature is invalid for tcb_info", |_| Error::TcbInfoSignature),
        ("Signature is invalid for qe_identity", |_| Error::QeIdentitySignature),
        ("Failed to decode QeIdentity", |text| Error::QeIdentityMalformed(text.into())),
        ("Unsupported QE Identity id/version", |text| Error::QeIdentityMalformed(text.into())),
        ("in QE Identity", |text| Error::QeIdentityMalformed(text.into())),
        ("Failed to decode TcbInfo", |text| Error::TcbInfoMalformed(text.into())),
        ("TCB info in the collateral", |text| Error::TcbInfoMalformed(text.into())),
        ("in TCB Info", |text| Error::TcbInfoMalformed(text.into())),
        ("component count mismatch", |text| Error::TcbInfoMalformed(text.into())),
        ("Signature is invalid for qe_report", |_| Error::QeReportSignature),
        ("QE report hash mismatch", |_| Error::AttestationKeyUnbound),
        ("QE report validation failed", |_| Error::QeIdentityMismatch),
        ("QE MRSIGNER mismatch", |_| Error::QeIdentityMismatch),
        ("QE ISVPRODID mismatch", |_| Error::QeIdentityMismatch),
        ("QE MISCSELECT mismatch", |_| Error::QeIdentityMismatch),
        ("QE ATTRIBUTES mismatch", |_| Error::QeIdentityMismatch),
        ("is below minimum required", |_| Error::QeLevelNone),
        ("ISV enclave report signature is invalid", |_| Error::QuoteSignature),
        ("Fmspc mismatch", |_| Error::PlatformMismatch),
        ("No matching TCB level found", |_| Error::TcbLevelNone),
        ("TCB status is invalid: Revoked", |_| Error::TcbStatus(TcbStatus::Revoked)),
        ("Debug mode is enabled", |_| Error::Debug),
        ("TD profiling is enabled", |text| Error::TdAttributes(text.into())),
        ("Reserved bits in TD attributes", |text| Error::TdAttributes(text.into())),
        ("TD migration is enabled", |text| Error::TdAttributes(text.into())),
        ("SERVTD_EXT is enabled", |text| Error::TdAttributes(text.into())),
        ("SEPT_VE_DISABLE is not enabled", |text| Error::TdAttributes(text.into())),
        ("Invalid MR service TD", |text| Error::TdAttributes(text.into())),
    ];
    let found = NAMES.iter().find(|(part, _)| text.contains(part));
    found.map_or_else(|| Error::Refused(text.into()), |(_, name)| name(text))
}
