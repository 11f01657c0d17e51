//! What can go wrong with quotes: making them, reading them, believing them.

#[cfg(feature = "verify")]
use dcap_qvl::TcbStatus;
use std::{io, path::PathBuf};
use thiserror::Error;

/// Why a quote was not made, not understood, or not believed.
///
/// The last two groups are shared with the contracts: [`Error::name`] is the name of their error for the same reason.
#[derive(Debug, Error)]
pub enum Error {
    // Making quotes.
    /// A file of the device cannot be read or written. Without the device this is no enclave, or it lacks permission.
    #[error("{path}: {source}")]
    Device {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The device says that it makes no quotes that can be verified here. Configure remote attestation "dcap", or use a TDX guest.
    #[error("the device makes quotes of kind {0:?}, which cannot be verified here")]
    Provider(String),
    /// Others wrote to the device while it made the quote, in every attempt. Let one process at a time ask for quotes.
    #[error("others used the device while it made a quote")]
    Interfered,
    /// The device's quote is for other report data than was asked for. It is broken, or another process uses it.
    #[error("the quote is for other report data than was asked for")]
    ReportData,
    /// The folder's seed cannot be read, or cannot be made. Fix the folder's permissions.
    #[error("development keys at {path}: {reason}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or revocation list with such content cannot be encoded. Fix the parameters.
    #[error("the certificate cannot be made: {0}")]
    Certificate(String),

    // Reading and verifying: what is refused because of its form or its signatures.
    /// The bytes are no quote: cut short, too long, lengths that contradict each other.
    #[error("malformed quote: {0}")]
    QuoteMalformed(&'static str),
    /// A quote of a version, key type, vendor or certification that is not verified here.
    #[error("unsupported quote: {0}")]
    QuoteUnsupported(&'static str),
    /// A certificate chain that is too large, of the wrong length, with wrong names, or no certificates at all.
    #[error("malformed certificate chain: {0}")]
    ChainMalformed(&'static str),
    /// The chain ends at another root than the policy's: a software quote where Intel's are wanted, or the reverse.
    #[error("the certificate chain ends at another root")]
    WrongRoot,
    /// A certificate is not signed by the next one, or is not allowed to sign what it signed.
    #[error("invalid certificate: {0}")]
    CertificateInvalid(String),
    /// The time is outside a certificate's validity.
    #[error("the certificate {0:?} is not valid at this time")]
    CertificateNotCurrent(String),
    /// The PCK certificate's SGX extension is absent or malformed.
    #[error("the PCK certificate's SGX extension is malformed: {0}")]
    PckExtensionMalformed(String),
    /// The machine's PCK certificate was revoked.
    #[error("the PCK certificate is revoked")]
    PckRevoked,
    /// The PCK certificate's issuer was revoked.
    #[error("the issuer of the PCK certificate is revoked")]
    IntermediateRevoked,
    /// The signer of TCB info or QE identity was revoked.
    #[error("the signer of TCB info and QE identity is revoked")]
    TcbSignerRevoked,
    /// A revocation list is too large, malformed, of another issuer, or not signed by it.
    #[error("invalid revocation list: {0}")]
    CrlInvalid(String),
    /// The time is outside a revocation list's validity.
    #[error("a revocation list is not valid at this time")]
    CrlNotCurrent,
    /// TCB info is too large, no TCB info v3 for this kind of quote, or has a status unknown to Intel's specification.
    #[error("malformed TCB info: {0}")]
    TcbInfoMalformed(String),
    /// TCB info was not signed by its signer: edited, or signed by another.
    #[error("the signature of TCB info is invalid")]
    TcbInfoSignature,
    /// The time is outside TCB info's validity.
    #[error("TCB info is not valid at this time")]
    TcbInfoNotCurrent,
    /// QE identity is too large, no QE identity for this kind of quote, or has a status unknown to Intel's specification.
    #[error("malformed QE identity: {0}")]
    QeIdentityMalformed(String),
    /// QE identity was not signed by its signer: edited, or signed by another.
    #[error("the signature of QE identity is invalid")]
    QeIdentitySignature,
    /// The time is outside QE identity's validity.
    #[error("QE identity is not valid at this time")]
    QeIdentityNotCurrent,
    /// The quoting enclave's report was not signed by the machine's PCK key.
    #[error("the signature of the quoting enclave's report is invalid")]
    QeReportSignature,
    /// The quoting enclave does not vouch for the attestation key.
    #[error("the quoting enclave's report does not name the attestation key")]
    AttestationKeyUnbound,
    /// The quoting enclave is not the one that QE identity describes, or it is a debug enclave.
    #[error("the quoting enclave is not the one that QE identity describes")]
    QeIdentityMismatch,
    /// The quote was not signed by the attestation key: edited in any of its header's or report's fields.
    #[error("the quote's signature is invalid")]
    QuoteSignature,
    /// TCB info is for machines of another FMSPC or PCE.
    #[error("TCB info is for other machines")]
    PlatformMismatch,
    /// TCB info has no level that the machine reaches.
    #[error("the machine reaches no level of TCB info")]
    TcbLevelNone,
    /// QE identity has no level that the quoting enclave reaches.
    #[error("the quoting enclave reaches no level of QE identity")]
    QeLevelNone,
    /// The verifier refuses for a reason that has no name of its own.
    #[error("refused: {0}")]
    Refused(String),

    // Policy: what is refused although it is genuine.
    /// The status of machine and quoting enclave together is not allowed. `Revoked` never is.
    #[cfg(feature = "verify")]
    #[error("TCB status {0}")]
    TcbStatus(TcbStatus),
    /// A debug enclave or trust domain: its memory is open to the host. No policy allows it.
    #[error("a debug enclave")]
    Debug,
    /// A trust domain whose attributes open it: profiling, migration, service domains, or reserved bits.
    #[error("refused attributes of a trust domain: {0}")]
    TdAttributes(String),
    /// The enclave has attributes that the policy forbids.
    #[error("the enclave has forbidden attributes {0:#x}")]
    AttributesForbidden(u64),
    /// The enclave's measurement is not on the list.
    #[error("measurement {0} is not allowed")]
    MeasurementNotAllowed(alloy_primitives::B256),
    /// The enclave's signer is not on the list.
    #[error("signer {0} is not allowed")]
    SignerNotAllowed(alloy_primitives::B256),
    /// TCB info or QE identity is from an evaluation before the one that the policy wants: Intel has published a newer one.
    #[error("the collateral is of evaluation {0}, which is too old")]
    EvaluationTooOld(u32),
    /// TCB info, QE identity or a revocation list was issued longer ago than the policy allows, although it has not expired.
    #[error("the collateral was issued {0} seconds ago")]
    CollateralStale(u64),
}

impl Error {
    /// The variant's name: `"PckRevoked"`. The contracts' errors, and the results in the corpus, have the same names.
    pub fn name(&self) -> String {
        // A derived Debug starts with the variant's name.
        format!("{self:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_variants() {
        assert_eq!(Error::PckRevoked.name(), "PckRevoked");
        #[cfg(feature = "verify")]
        assert_eq!(Error::TcbStatus(TcbStatus::OutOfDate).name(), "TcbStatus");
        assert_eq!(Error::Keys { path: "a".into(), reason: "b".into() }.name(), "Keys");
    }
}
