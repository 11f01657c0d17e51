//! Where quotes come from.
//!
//! An enclave program asks a [`QuoteSource`] for a quote over 64 bytes and does not care which machine it runs on:
//!
//! | source | machine | who vouches |
//! |---|---|---|
//! | [`crate::Gramine`] | SGX, in Gramine | Intel |
//! | [`crate::Tsm`] | a TDX guest with Linux 6.7 or later | Intel |
//! | [`crate::Software`] | any | nobody: the development root, which no production chain accepts |
//!
//! A source checks that the quote it hands out is for the report data that it was asked for.

use crate::{
    Error,
    quote::{MAX_QUOTE, said},
};
use alloy_primitives::B256;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

/// What kind of machine makes the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// None: quotes under the Jove development root, not Intel's.
    Software,
    /// An SGX enclave: quotes of version 3.
    Sgx,
    /// A TDX trust domain: quotes of version 4 or 5.
    Tdx,
}

/// Makes quotes.
pub trait QuoteSource: Send + Sync {
    /// The kind of machine.
    fn kind(&self) -> Kind;

    /// A quote over `report_data`, for this program as it runs.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::Interfered`], [`Error::ReportData`] from devices; never from [`crate::Software`].
    fn quote(&self, report_data: [u8; 64]) -> Result<Vec<u8>, Error>;

    /// What quotes say about this program: MRENCLAVE, or a trust domain's measurement as [`said`] has it.
    ///
    /// # Errors
    /// As [`QuoteSource::quote`], which is asked for one over zeros.
    fn measurement(&self) -> Result<B256, Error> {
        Ok(said(&self.quote([0; 64])?)?.measurement)
    }

    /// A secret that this program gets on this machine whenever it asks, and no other program does, nor this one on another machine: what it keeps across restarts
    /// it derives from that. None where the machine has no such key: a trust domain's memory is all that it has.
    ///
    /// # Errors
    /// [`Error::Device`] if it cannot be read.
    fn sealing_key(&self) -> Result<Option<[u8; 32]>, Error> {
        Ok(None)
    }
}

/// Checks that a device's quote is for `report_data`.
pub(crate) fn checked(quote: Vec<u8>, report_data: &[u8; 64]) -> Result<Vec<u8>, Error> {
    if said(&quote)?.report_data == *report_data { Ok(quote) } else { Err(Error::ReportData) }
}

/// What a device is asked to do; a seam, so that tests can stand in for the kernel.
pub(crate) trait Device: Send + Sync {
    /// Makes a folder; the kernel fills it.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder, with what the kernel put into it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Writes a file in one call. The kernel takes what was written when the file is closed.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Reads a file of at most [`MAX_QUOTE`] bytes to its end.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub struct Files;

impl Device for Files {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Neither created nor truncated: a device's file is there, or this is no device.
        OpenOptions::new().write(true).open(path)?.write_all(bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_QUOTE as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_QUOTE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any quote"));
        }
        Ok(bytes)
    }
}

/// Names the file that a device failed at.
pub(crate) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Device { path: path.to_owned(), source })
}
