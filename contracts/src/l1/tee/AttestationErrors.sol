// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Status} from "./Tcb.sol";

/// @title Why collateral or a quote is refused.
/// @notice The verifier off chain (crates/tee) has the same names for the same reasons.
interface AttestationErrors {
    /// @notice The bytes are no quote: cut short, too long, lengths that contradict each other.
    error QuoteMalformed();
    /// @notice A quote of a version, key type, vendor or certification that is not verified here.
    error QuoteUnsupported();
    /// @notice A certificate or chain that is not of the expected form, length or names.
    error ChainMalformed();
    /// @notice The chain ends at another root: a software quote where Intel's are wanted, or the reverse.
    error WrongRoot();
    /// @notice The certificate's issuer is not known here: it must be put in first.
    error UnknownIssuer();
    /// @notice A certificate is not signed by its issuer, or is not allowed to do what it is there for.
    error CertificateInvalid();
    /// @notice The time is outside a certificate's validity.
    error CertificateNotCurrent();
    /// @notice The PCK certificate's SGX extension is absent or malformed.
    error PckExtensionMalformed();
    /// @notice The machine's PCK certificate was revoked.
    error PckRevoked();
    /// @notice The PCK certificate's issuer was revoked.
    error IntermediateRevoked();
    /// @notice The signer of TCB info or QE identity was revoked.
    error TcbSignerRevoked();
    /// @notice A revocation list is malformed, of another issuer, or not signed by it.
    error CrlInvalid();
    /// @notice The time is outside a revocation list's validity, or there is none.
    error CrlNotCurrent();
    /// @notice TCB info is not of the expected form.
    error TcbInfoMalformed();
    /// @notice TCB info was not signed by its signer.
    error TcbInfoSignature();
    /// @notice The time is outside TCB info's validity.
    error TcbInfoNotCurrent();
    /// @notice QE identity is not of the expected form.
    error QeIdentityMalformed();
    /// @notice QE identity was not signed by its signer.
    error QeIdentitySignature();
    /// @notice The time is outside QE identity's validity, or there is none.
    error QeIdentityNotCurrent();
    /// @notice What is there is as new.
    error NotNewer();
    /// @notice The quoting enclave's report was not signed by the machine's PCK key.
    error QeReportSignature();
    /// @notice The quoting enclave does not vouch for the attestation key.
    error AttestationKeyUnbound();
    /// @notice The quoting enclave is not the one that QE identity describes, or it is a debug enclave.
    error QeIdentityMismatch();
    /// @notice The quote was not signed by the attestation key.
    error QuoteSignature();
    /// @notice There is no TCB info for machines of this FMSPC and PCE.
    error PlatformMismatch();
    /// @notice The machine reaches no level of TCB info.
    error TcbLevelNone();
    /// @notice The quoting enclave reaches no level of QE identity.
    error QeLevelNone();
    /// @notice The status of machine and quoting enclave together is not allowed. `Revoked` never is.
    error TcbStatus(Status status);
    /// @notice A debug enclave: its memory is open to the host.
    error Debug();
    /// @notice The enclave has attributes that are never allowed.
    error AttributesForbidden(uint64 attributes);
    /// @notice The enclave's measurement is not on the list.
    error MeasurementNotAllowed(bytes32 measurement);
    /// @notice The enclave's signer is not on the list.
    error SignerNotAllowed(bytes32 signer);
    /// @notice TCB info or QE identity is from an evaluation before the one that the policy wants.
    error EvaluationTooOld(uint32 evaluation);
    /// @notice TCB info, QE identity or a revocation list was issued longer ago than the policy allows.
    error CollateralStale(uint256 age);
}
