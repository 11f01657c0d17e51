//! What L1's contracts are given: points as EIP-2537's precompiles take them, without the padding, since a contract has no cheap square root.
//!
//! | item | bytes |
//! |---|---|
//! | key | x.c0 ‖ x.c1 ‖ y.c0 ‖ y.c1, 48 each, big-endian |
//! | signature | x ‖ y, 48 each |
//! | set | for each validator: id (32) ‖ key (192) ‖ VRF key (32) ‖ sequencer (1) |
//! | certificate of a checkpoint | view of the FinalCert (8) ‖ who did not sign, as a 256-bit number with bit i for index i (32) ‖ signature (96) ‖ the checkpoint's encoding without chain id, era, last block's number and hash |
//!
//! The four fields left out are known to the contract; it puts them back, and has the digest. [`crate::ValidatorSet::hash`] is over compressed keys: the
//! contract compresses what it is given and compares.

use crate::codec::Wire;
use crate::{Certificate, Checkpoint, Error, Kind, PublicKey, Signature, ValidatorSet};
use blst::min_sig;

/// A key, expanded. Errors: [`Error::Crypto`] if it is no point of the subgroup, or zero.
pub fn expanded_key(key: &PublicKey) -> Result<[u8; 192], Error> {
    let point = min_sig::PublicKey::key_validate(key).map_err(|_| Error::Crypto("no valid key"))?;
    // The usual form has c1 before c0.
    let usual = point.serialize();
    let mut out = [0; 192];
    for (place, part) in [1, 0, 3, 2].into_iter().enumerate() {
        out[48 * place..48 * (place + 1)].copy_from_slice(&usual[48 * part..48 * (part + 1)]);
    }
    Ok(out)
}

/// A signature, expanded. Errors: [`Error::Crypto`] if it is no point of the subgroup, or zero.
pub fn expanded_signature(signature: &Signature) -> Result<[u8; 96], Error> {
    let point = min_sig::Signature::sig_validate(signature, true).map_err(|_| Error::Crypto("no valid signature"))?;
    Ok(point.serialize())
}

/// A set, as its keys are published on L1. Errors: as [`expanded_key`].
pub fn set(set: &ValidatorSet) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(257 * set.size());
    for validator in set.validators() {
        out.extend(validator.id);
        out.extend(expanded_key(&validator.key)?);
        out.extend(validator.vrf);
        out.push(u8::from(validator.sequencer));
    }
    Ok(out)
}

/// A final checkpoint with its FinalCert by a set of `size`, as a commit carries it. Errors: [`Error::Crypto`] if the certificate is not a FinalCert of this checkpoint, or as
/// [`expanded_signature`].
pub fn certificate(checkpoint: &Checkpoint, certificate: &Certificate, size: usize) -> Result<Vec<u8>, Error> {
    let fits = certificate.kind == Kind::Finalize
        && certificate.epoch == checkpoint.epoch
        && certificate.digest == checkpoint.digest();
    if !fits {
        return Err(Error::Crypto("no FinalCert of this checkpoint"));
    }
    let mut absent = [0; 32];
    for index in (0..size).filter(|index| !certificate.signers.contains(*index as u16)) {
        absent[31 - index / 8] |= 1 << (index % 8);
    }
    let encoding = checkpoint.encode();
    // chain id, era: 16. Then epoch, height, view, proposer, proof, parent: 138, and the bitmap.
    let known = 16 + 138 + 1 + usize::from(encoding[16 + 138]);
    let mut out = certificate.view.to_be_bytes().to_vec();
    out.extend(absent);
    out.extend(expanded_signature(&certificate.signature)?);
    out.extend(&encoding[16..known]);
    out.extend(&encoding[known + 40..]);
    Ok(out)
}
