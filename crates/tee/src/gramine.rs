//! Quotes of an SGX enclave that runs in Gramine.
//!
//! Gramine shows the enclave three files (Gramine documentation, "Attestation and secret provisioning", `/dev/attestation`):
//!
//! - `attestation_type`: `dcap`, `epid` or `none`. Only `dcap` quotes can be verified; the manifest asks for them with
//!   `sgx.remote_attestation = "dcap"`.
//! - `user_report_data`: 64 bytes, written before
//! - `quote` is read. Reading makes the quote, of the report data last written by anyone in the enclave.
//!
//! A fourth, `keys/_sgx_mrenclave`, has the 16 bytes of the processor's sealing key for this MRENCLAVE (`EGETKEY`, policy MRENCLAVE). It differs by
//! machine, by security version of the machine and in a debug enclave. The manifest must not use this key for a mount as well.

use crate::{
    Error, QuoteSource,
    source::{Device, Files, Kind, at, checked},
};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Gramine's attestation device.
#[derive(Debug)]
pub struct Gramine {
    folder: PathBuf,
    /// Held from the write to the read.
    turn: Mutex<()>,
}

impl Gramine {
    /// Where Gramine puts the files.
    pub const FOLDER: &str = "/dev/attestation";

    /// The device in `folder`: [`Gramine::FOLDER`].
    ///
    /// # Errors
    /// [`Error::Device`] outside Gramine, [`Error::Provider`] where the manifest asks for no DCAP quotes.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref().to_owned();
        let path = folder.join("attestation_type");
        let found = at(&path, Files.read(&path))?;
        match found.trim_ascii_end() {
            b"dcap" => Ok(Self { folder, turn: Mutex::new(()) }),
            other => Err(Error::Provider(String::from_utf8_lossy(other).chars().take(40).collect())),
        }
    }
}

impl QuoteSource for Gramine {
    fn kind(&self) -> Kind {
        Kind::Sgx
    }

    fn quote(&self, report_data: [u8; 64]) -> Result<Vec<u8>, Error> {
        // The mutex guards no data that a panic could leave broken.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, quote) = (self.folder.join("user_report_data"), self.folder.join("quote"));
        at(&asked, Files.write(&asked, &report_data))?;
        checked(at(&quote, Files.read(&quote))?, &report_data)
    }

    fn sealing_key(&self) -> Result<Option<[u8; 32]>, Error> {
        let path = self.folder.join("keys/_sgx_mrenclave");
        let key = at(&path, Files.read(&path))?;
        // All zeros is what a device without the key would answer, if anything.
        if key.len() != 16 || key.iter().all(|byte| *byte == 0) {
            return Err(Error::Provider("no sealing key of 16 bytes".into()));
        }
        let hash = Sha256::new().chain_update(b"jove.tee.gramine.sealing.v1").chain_update(&key).finalize();
        Ok(Some(hash.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pki, Platform, Software};
    use alloy_primitives::B256;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::{fs, thread};

    fn software() -> Software {
        let pki = Pki::from_seed(&[1; 32]).unwrap();
        Software::new(&pki, Platform::development(0), B256::repeat_byte(7)).unwrap()
    }

    /// A folder with named pipes for the two files that answer each other: as with the device, the quote is made when it is
    /// read, of the report data last written. `edit` makes a broken device.
    fn device(turns: usize, edit: fn(&mut [u8; 64])) -> (tempfile::TempDir, thread::JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("attestation_type"), "dcap").unwrap();
        let (asked, quote) = (folder.path().join("user_report_data"), folder.path().join("quote"));
        for path in [&asked, &quote] {
            mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
        }
        let answers = thread::spawn(move || {
            for _ in 0..turns {
                let mut report_data: [u8; 64] = fs::read(&asked).unwrap().try_into().expect("64 bytes, in one go");
                edit(&mut report_data);
                fs::write(&quote, software().quote(report_data).unwrap()).unwrap();
            }
        });
        (folder, answers)
    }

    #[test]
    fn asks_and_gets() {
        let (folder, answers) = device(3, |_| ());
        let source = Gramine::open(folder.path()).unwrap();
        assert_eq!(source.kind(), Kind::Sgx);
        for byte in [1, 2] {
            assert_eq!(source.quote([byte; 64]).unwrap(), software().quote([byte; 64]).unwrap());
        }
        assert_eq!(source.measurement().unwrap(), B256::repeat_byte(7));
        answers.join().unwrap();
    }

    #[test]
    fn the_sealing_key_is_the_devices() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("attestation_type"), "dcap").unwrap();
        let source = Gramine::open(folder.path()).unwrap();
        assert_eq!(source.sealing_key().unwrap_err().name(), "Device");
        let path = folder.path().join("keys");
        fs::create_dir(&path).unwrap();
        let path = path.join("_sgx_mrenclave");
        let mut keys = Vec::new();
        for (key, valid) in [(&[1; 16][..], true), (&[2; 16], true), (&[0; 16], false), (&[1; 15], false), (&[], false)]
        {
            fs::write(&path, key).unwrap();
            assert_eq!(source.sealing_key().is_ok(), valid);
            keys.extend(source.sealing_key().ok().flatten());
        }
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key[..16] != [1; 16]), "it is hashed");
    }

    #[test]
    fn threads_take_turns() {
        let (folder, answers) = device(20, |_| ());
        let source = &Gramine::open(folder.path()).unwrap();
        thread::scope(|scope| {
            for byte in 0..20 {
                scope.spawn(move || source.quote([byte; 64]).unwrap());
            }
        });
        answers.join().unwrap();
    }

    #[test]
    fn a_quote_of_other_report_data_is_refused() {
        let (folder, answers) = device(1, |report_data| report_data[63] ^= 1);
        assert_eq!(Gramine::open(folder.path()).unwrap().quote([1; 64]).unwrap_err().name(), "ReportData");
        answers.join().unwrap();
    }

    #[test]
    fn says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Gramine::open(folder.path()).unwrap_err().name(), "Device");
        for (kind, shown) in [("none", "none"), ("epid", "epid"), (&*"x".repeat(500), &*"x".repeat(40))] {
            fs::write(folder.path().join("attestation_type"), kind).unwrap();
            match Gramine::open(folder.path()).unwrap_err() {
                Error::Provider(name) => assert_eq!(name, shown),
                other => panic!("{other}"),
            }
        }
        fs::write(folder.path().join("attestation_type"), "dcap\n").unwrap();
        let source = Gramine::open(folder.path()).unwrap();
        assert!(source.quote([0; 64]).unwrap_err().to_string().contains("user_report_data"));
        // A device that answers without end, or with nothing.
        fs::write(folder.path().join("user_report_data"), "").unwrap();
        fs::write(folder.path().join("quote"), vec![0; crate::quote::MAX_QUOTE + 1]).unwrap();
        assert!(source.quote([0; 64]).unwrap_err().to_string().contains("longer than any quote"));
        fs::write(folder.path().join("quote"), "").unwrap();
        assert_eq!(source.quote([0; 64]).unwrap_err().name(), "QuoteMalformed");
    }
}
