//! Quotes for development, on any machine: **under the Jove development root, not Intel's**.
//!
//! The quote has everything that an SGX quote has (a quoting enclave's report signed by a PCK key, a PCK chain, an attestation
//! key), so that a verifier does with it all that it does with a real one. It proves nothing: who has the seed makes any
//! quote. A chain for production does not know the root.
//!
//! The measurement is SHA-256(binary ‖ manifest). On SGX, MRENCLAVE is computed from the pages that are loaded, so the two
//! differ for one program; both are reproducible.
//!
//! The sealing key follows from the seed, the machine's number and the measurement, as a processor's does from a secret of its own.

use crate::{
    Error, Pki, Platform, Quote, QuoteSource, Report,
    pki::{Key, pem},
    quote::{ATTRIBUTE_INIT, ATTRIBUTE_MODE64, ATTRIBUTE_PROVISION_KEY},
    source::Kind,
};
use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use std::{fs::File, io, path::Path};

/// MRSIGNER of the development quoting enclave.
pub const QE_SIGNER: [u8; 32] = *b"Jove development QE, not Intel's";
/// Product id and security version of the development quoting enclave.
pub const QE_VERSION: (u16, u16) = (1, 8);

/// MRSIGNER in software quotes: text, where real ones have a hash.
pub const SIGNER: B256 = B256::new(*b"Jove development enclave signer.");

/// Makes quotes without hardware.
pub struct Software {
    attestation_key: Key,
    /// All but report data and signature.
    template: Quote,
    sealing_key: [u8; 32],
}

impl Software {
    /// The source on `platform`, for a program with `measurement`.
    ///
    /// # Errors
    /// [`Error::Certificate`], if ever.
    pub fn new(pki: &Pki, platform: Platform, measurement: B256) -> Result<Self, Error> {
        let chain = pki.pck_chain(&platform)?;
        let mut pck_chain = pem(&[&chain[0], &chain[1], &chain[2]]).into_bytes();
        // As Intel's quoting enclave ends it.
        pck_chain.push(0);
        let pck_key = pki.pck_key(&platform);
        let attestation_key = pki.key(&format!("attestation {}", alloy_primitives::hex::encode(platform.ppid)));
        let report = Report {
            cpu_svn: platform.cpu_svn,
            flags: ATTRIBUTE_INIT | ATTRIBUTE_MODE64,
            xfrm: 7,
            mrenclave: measurement,
            mrsigner: SIGNER,
            ..Report::default()
        };
        let mut qe_report = Report {
            flags: ATTRIBUTE_INIT | ATTRIBUTE_MODE64 | ATTRIBUTE_PROVISION_KEY,
            mrenclave: B256::new(*b"Jove development quoting enclave"),
            mrsigner: B256::new(QE_SIGNER),
            isv_prod_id: QE_VERSION.0,
            isv_svn: QE_VERSION.1,
            ..report
        };
        let qe_auth_data = std::array::from_fn(|index| index as u8);
        qe_report.report_data = bind(&attestation_key.public(), &qe_auth_data);
        let mut user_data = [0; 20];
        user_data[..16].copy_from_slice(&platform.ppid);
        let template = Quote {
            qe_svn: QE_VERSION.1,
            pce_svn: platform.pce_svn,
            user_data,
            report,
            signature: [0; 64],
            attestation_key: attestation_key.public(),
            qe_report,
            qe_report_signature: pck_key.sign(&qe_report.encode()),
            qe_auth_data,
            pck_chain,
        };
        let sealing_key = pki.sealing_key(&platform, measurement);
        Ok(Self { attestation_key, template, sealing_key })
    }

    /// A quote of `edit`ed fields over header and report, properly signed: for tests of what else is refused. Fields that the
    /// quoting enclave or the PCK key vouch for stay as they are.
    pub fn quote_with(&self, report_data: [u8; 64], edit: impl FnOnce(&mut Quote)) -> Quote {
        let mut quote = self.template.clone();
        quote.report.report_data = report_data;
        edit(&mut quote);
        quote.signature = self.attestation_key.sign(&quote.signed());
        quote
    }
}

impl QuoteSource for Software {
    fn kind(&self) -> Kind {
        Kind::Software
    }

    fn quote(&self, report_data: [u8; 64]) -> Result<Vec<u8>, Error> {
        Ok(self.quote_with(report_data, |_| ()).encode())
    }

    fn measurement(&self) -> Result<B256, Error> {
        Ok(self.template.report.mrenclave)
    }

    fn sealing_key(&self) -> Result<Option<[u8; 32]>, Error> {
        Ok(Some(self.sealing_key))
    }
}

/// Report data by which a quoting enclave vouches for an attestation key: SHA-256(key ‖ authentication data) ‖ 0³².
pub fn bind(attestation_key: &[u8; 64], qe_auth_data: &[u8; 32]) -> [u8; 64] {
    let mut report_data = [0; 64];
    report_data[..32]
        .copy_from_slice(&Sha256::new().chain_update(attestation_key).chain_update(qe_auth_data).finalize());
    report_data
}

/// The measurement of the software source: SHA-256(binary ‖ manifest).
///
/// # Errors
/// [`Error::Device`] where the binary cannot be read.
pub fn measure(binary: &Path, manifest: &[u8]) -> Result<B256, Error> {
    let failed = |source| Error::Device { path: binary.to_owned(), source };
    let mut hash = Hasher(Sha256::new());
    io::copy(&mut File::open(binary).map_err(failed)?, &mut hash).map_err(failed)?;
    Ok(B256::from_slice(&hash.0.chain_update(manifest).finalize()))
}

struct Hasher(Sha256);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    #[test]
    fn quotes_are_reproducible_and_parse() {
        let pki = Pki::from_seed(&[1; 32]).unwrap();
        let source = Software::new(&pki, Platform::development(0), B256::repeat_byte(7)).unwrap();
        let quote = source.quote([9; 64]).unwrap();
        assert_eq!(quote, source.quote([9; 64]).unwrap());
        let read = Quote::parse(&quote).unwrap();
        assert_eq!(read.encode(), quote);
        assert_eq!((read.report.report_data, read.report.mrenclave), ([9; 64], source.measurement().unwrap()));
        assert_eq!(source.kind(), Kind::Software);
        assert!((4_000..5_000).contains(&quote.len()), "as long as real ones: {}", quote.len());
    }

    #[test]
    fn another_program_machine_or_seed_has_another_sealing_key() {
        let key = |seed: u8, machine: u64, measurement: u8| {
            let pki = Pki::from_seed(&[seed; 32]).unwrap();
            let source = Software::new(&pki, Platform::development(machine), B256::repeat_byte(measurement)).unwrap();
            source.sealing_key().unwrap().expect("it has one")
        };
        let first = key(1, 0, 7);
        assert_eq!(first, key(1, 0, 7));
        for other in [key(2, 0, 7), key(1, 1, 7), key(1, 0, 8)] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn measures_binary_and_manifest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ab").unwrap();
        // SHA-256("abc"), FIPS 180-2, appendix B.1.
        let abc = b256!("0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(measure(file.path(), b"c").unwrap(), abc);
        assert_ne!(measure(file.path(), b"d").unwrap(), abc);
        assert_eq!(measure(Path::new("absent"), b"").unwrap_err().name(), "Device");
    }
}
