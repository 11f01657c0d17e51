//! Quotes of a TDX guest, through Linux's configfs-tsm.
//!
//! Each request makes a folder of its own under `/sys/kernel/config/tsm/report`; the kernel fills it with files (Linux 6.7,
//! `Documentation/ABI/testing/configfs-tsm`; the errors are those of `drivers/virt/coco/tsm.c` and `fs/configfs/file.c`):
//!
//! - `inblob`, written: up to 64 bytes of report data, taken when the file is closed. More is refused with `EFBIG`.
//! - `outblob`, read: the quote, made when it is read; `EINVAL` while `inblob` is empty.
//! - `provider`, read: `tdx_guest` or `sev_guest`. Only TDX is verified here: AMD's reports are signed with P-384.
//! - `generation`, read: grows by one with every write to the folder. If it has grown by more than our one write, another
//!   process wrote to the folder, and the quote is thrown away.
//!
//! The folder is removed afterwards, whatever happened. The guest's quoting service pads quotes with zeros; that is kept.

use crate::{
    Error, QuoteSource,
    source::{Device, Files, Kind, at, checked},
};
use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// How often a quote is asked for before others' writes are an error.
const ATTEMPTS: usize = 3;

/// Linux's interface to the trust domain it runs in.
#[derive(Debug)]
pub struct Tsm {
    folder: PathBuf,
}

impl Tsm {
    /// Where Linux puts it.
    pub const FOLDER: &str = "/sys/kernel/config/tsm/report";

    /// The interface in `folder`: [`Tsm::FOLDER`].
    ///
    /// # Errors
    /// [`Error::Device`] outside a trust domain or without permission, [`Error::Provider`] where the machine is not TDX.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let tsm = Self { folder: folder.as_ref().to_owned() };
        Request::new(&Files, &tsm.folder)?.provider()?;
        Ok(tsm)
    }
}

impl QuoteSource for Tsm {
    fn kind(&self) -> Kind {
        Kind::Tdx
    }

    fn quote(&self, report_data: [u8; 64]) -> Result<Vec<u8>, Error> {
        quote(&Files, &self.folder, report_data)
    }
}

fn quote(device: &dyn Device, folder: &Path, report_data: [u8; 64]) -> Result<Vec<u8>, Error> {
    for _ in 0..ATTEMPTS {
        let request = Request::new(device, folder)?;
        request.provider()?;
        let before = request.generation()?;
        request.write("inblob", &report_data)?;
        let quote = request.read("outblob")?;
        if request.generation()? == before.wrapping_add(1) {
            return checked(quote, &report_data);
        }
    }
    Err(Error::Interfered)
}

/// A folder of the kernel's, removed when dropped.
struct Request<'a> {
    device: &'a dyn Device,
    folder: PathBuf,
}

impl<'a> Request<'a> {
    fn new(device: &'a dyn Device, parent: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = parent.join(format!("jove-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        at(&folder, device.make_folder(&folder))?;
        Ok(Self { device, folder })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.folder.join(name);
        at(&path, self.device.read(&path))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        at(&path, self.device.write(&path, bytes))
    }

    fn provider(&self) -> Result<(), Error> {
        match self.read("provider")?.trim_ascii_end() {
            b"tdx_guest" => Ok(()),
            other => Err(Error::Provider(String::from_utf8_lossy(other).chars().take(40).collect())),
        }
    }

    fn generation(&self) -> Result<u64, Error> {
        let text = self.read("generation")?;
        let number = str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
        number.ok_or_else(|| Error::Provider("a generation that is no number".into()))
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // A folder that stays costs a few bytes of the kernel's memory; the quote counts.
        let _ = self.device.remove_folder(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs, io,
        sync::atomic::{AtomicBool, AtomicUsize},
    };

    /// A real TDX quote, whose report data the kernel below replaces: see `tests/samples/README.md`.
    const INTEL: &[u8] = include_bytes!("../tests/samples/tdx_quote");
    /// Header, then a TD report, whose last 64 bytes are report data.
    const REPORT_DATA: usize = 48 + 584 - 64;

    /// The kernel's side, on a tree of plain files: what `mkdir` makes appear, and what reads and writes do.
    #[derive(Default)]
    struct Kernel {
        provider: &'static str,
        /// How many of the next requests another process writes to, between our write and our read.
        intruders: AtomicUsize,
        broken: AtomicBool,
    }

    const EINVAL: i32 = 22;
    const EFBIG: i32 = 27;

    impl Kernel {
        fn tdx() -> Self {
            Self { provider: "tdx_guest\n", ..Self::default() }
        }

        fn advance(&self, folder: &Path) -> io::Result<()> {
            let generation: u64 = fs::read_to_string(folder.join("generation"))?.trim().parse().unwrap();
            fs::write(folder.join("generation"), format!("{}\n", generation + 1))
        }
    }

    impl Device for Kernel {
        fn make_folder(&self, path: &Path) -> io::Result<()> {
            fs::create_dir(path)?;
            fs::write(path.join("generation"), "0\n")?;
            fs::write(path.join("provider"), self.provider)?;
            fs::write(path.join("inblob"), "")?;
            fs::write(path.join("outblob"), "")
        }

        fn remove_folder(&self, path: &Path) -> io::Result<()> {
            fs::remove_dir_all(path)
        }

        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            if path.file_name().unwrap() != "inblob" {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            if bytes.len() > 64 {
                return Err(io::Error::from_raw_os_error(EFBIG));
            }
            fs::write(path, bytes)?;
            self.advance(path.parent().unwrap())
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let folder = path.parent().unwrap();
            match path.file_name().unwrap().to_str().unwrap() {
                "inblob" => Err(io::ErrorKind::PermissionDenied.into()),
                "outblob" => {
                    let subtract = |left: usize| left.checked_sub(1);
                    if self.intruders.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract).is_ok() {
                        self.write(&folder.join("inblob"), &[0xee; 64])?;
                    }
                    let report_data = fs::read(folder.join("inblob"))?;
                    if report_data.is_empty() {
                        return Err(io::Error::from_raw_os_error(EINVAL));
                    }
                    let mut quote = INTEL.to_vec();
                    quote[REPORT_DATA..REPORT_DATA + report_data.len()].copy_from_slice(&report_data);
                    quote[REPORT_DATA] ^= u8::from(self.broken.load(Ordering::Relaxed));
                    Ok(quote)
                }
                _ => Files.read(path),
            }
        }
    }

    fn empty(folder: &Path) -> bool {
        fs::read_dir(folder).unwrap().next().is_none()
    }

    #[test]
    fn the_kernel_stands_in_as_documented() {
        let (kernel, root) = (Kernel::tdx(), tempfile::tempdir().unwrap());
        let request = Request::new(&kernel, root.path()).unwrap();
        let error = |result: Result<(), Error>| match result.unwrap_err() {
            Error::Device { source, .. } => source.raw_os_error(),
            other => panic!("{other}"),
        };
        assert_eq!(error(request.read("outblob").map(drop)), Some(EINVAL));
        assert_eq!(error(request.write("inblob", &[0; 65])), Some(EFBIG));
        assert_eq!(request.generation().unwrap(), 0);
        request.write("inblob", &[]).unwrap();
        assert_eq!(error(request.read("outblob").map(drop)), Some(EINVAL));
        request.write("inblob", &[1; 64]).unwrap();
        assert_eq!(request.generation().unwrap(), 2);
        request.read("outblob").unwrap();
        assert!(!empty(root.path()));
        drop(request);
        assert!(empty(root.path()));
    }

    #[test]
    fn asks_and_gets() {
        let (kernel, root) = (Kernel::tdx(), tempfile::tempdir().unwrap());
        for byte in [1, 2] {
            let made = quote(&kernel, root.path(), [byte; 64]).unwrap();
            assert_eq!(made[REPORT_DATA..REPORT_DATA + 64], [byte; 64]);
            assert_eq!(made[..REPORT_DATA], INTEL[..REPORT_DATA]);
        }
        assert!(empty(root.path()), "the folders are removed");
    }

    #[test]
    fn tries_again_when_others_write() {
        let (kernel, root) = (Kernel::tdx(), tempfile::tempdir().unwrap());
        kernel.intruders.store(ATTEMPTS - 1, Ordering::Relaxed);
        assert_eq!(quote(&kernel, root.path(), [1; 64]).unwrap()[REPORT_DATA], 1);
        kernel.intruders.store(ATTEMPTS, Ordering::Relaxed);
        assert_eq!(quote(&kernel, root.path(), [1; 64]).unwrap_err().name(), "Interfered");
        kernel.broken.store(true, Ordering::Relaxed);
        assert_eq!(quote(&kernel, root.path(), [1; 64]).unwrap_err().name(), "ReportData");
        assert!(empty(root.path()));
    }

    #[test]
    fn says_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let amd = Kernel { provider: "sev_guest\n", ..Kernel::default() };
        assert_eq!(
            quote(&amd, root.path(), [0; 64]).unwrap_err().to_string(),
            Error::Provider("sev_guest".into()).to_string()
        );
        assert!(empty(root.path()));
        // Plain folders are no device: the files do not appear.
        assert!(Tsm::open(root.path()).unwrap_err().to_string().contains("provider"));
        assert!(empty(root.path()));
        assert_eq!(Tsm::open(root.path().join("absent")).unwrap_err().name(), "Device");
    }
}
