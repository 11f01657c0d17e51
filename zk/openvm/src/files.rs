//! Files that are whole or not there, and what a stage says while it works.

use crate::{Error, memory};
use openvm_stark_backend::codec::{Decode, Encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    fs::{self, File, TryLockError},
    io::{BufReader, BufWriter, Read, Write},
    os::fd::FromRawFd,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Largest file of a job: inputs have up to 1 GiB, proofs of segments some MiB.
const MAX_FILE: u64 = 2 << 30;

/// Takes a folder for this process alone, until what this gives is dropped: two that write there would write the same files.
///
/// # Errors
/// [`Error::File`]; [`Error::Content`] if another process has it, and for longer than this.
pub fn lock(folder: &Path, patience: Duration) -> Result<File, Error> {
    let (path, start) = (folder.join("lock"), Instant::now());
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::file(&path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::file(&path)(error)),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                return Err(Error::content(&path)("another jove-zk is at work in this folder"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Writes a file under another name, syncs it, and gives it its name.
///
/// # Errors
/// [`Error::File`].
pub fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), Error> {
    let part = path.with_added_extension("part");
    let written = (|| {
        let mut writer = BufWriter::with_capacity(1 << 20, File::create(&part)?);
        write(&mut writer)?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        fs::rename(&part, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.map_err(Error::file(path))
}

/// Writes a small value whole.
///
/// # Errors
/// [`Error::File`].
pub fn write_encoded(path: &Path, value: &impl Encode) -> Result<(), Error> {
    write_whole(path, |writer| value.encode(writer))
}

/// Reads what [`write_encoded`] wrote, and nothing after it.
///
/// # Errors
/// [`Error::File`], [`Error::Content`].
pub fn read_encoded<T: Decode>(path: &Path) -> Result<T, Error> {
    let bytes = read(path)?;
    T::decode_from_bytes(&bytes).map_err(Error::content(path))
}

/// Writes a value in bitcode.
///
/// # Errors
/// [`Error::File`], [`Error::Content`].
pub fn write_bitcode(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let bytes = bitcode::serialize(value).map_err(Error::content(path))?;
    write_whole(path, |writer| writer.write_all(&bytes))
}

/// Reads what [`write_bitcode`] wrote.
///
/// # Errors
/// [`Error::File`], [`Error::Content`].
pub fn read_bitcode<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    bitcode::deserialize(&read(path)?).map_err(Error::content(path))
}

/// All of a file of at most 2 GiB.
///
/// # Errors
/// [`Error::File`].
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let read = || {
        let file = File::open(path)?;
        if file.metadata()?.len() > MAX_FILE {
            return Err(std::io::Error::other("the file is too long"));
        }
        let mut bytes = Vec::new();
        BufReader::new(file).take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(Error::file(path))
}

/// A stage: what it says goes to standard output, a JSON object a line.
pub struct Stage {
    name: &'static str,
    start: Instant,
}

impl Stage {
    /// One that begins now.
    pub fn new(name: &'static str) -> Self {
        Self { name, start: Instant::now() }
    }

    /// So many of its equal parts are done.
    pub fn progress(&self, done: usize, of: usize) {
        say(&json!({ "stage": self.name, "done": done, "of": of }));
    }

    /// It has ended: what came of it, an object, with its seconds and its peak of memory.
    pub fn end(self, mut result: serde_json::Value) {
        result["stage"] = self.name.into();
        result["seconds"] = ((self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0).into();
        result["peakMiB"] = memory::peak().into();
        say(&result);
    }
}

/// Standard output, once it is this program's alone.
static OUTPUT: OnceLock<File> = OnceLock::new();

/// Keeps standard output for what [`say`] says: what libraries print there goes to standard error from now on.
///
/// # Errors
/// If there is no standard output, or no standard error.
pub fn take_output() -> std::io::Result<()> {
    // SAFETY: descriptors are numbers; the new one is nobody else's.
    let own = unsafe {
        let own = libc::dup(libc::STDOUT_FILENO);
        if own < 0 || libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        File::from_raw_fd(own)
    };
    OUTPUT.set(own).map_err(|_| std::io::Error::other("it was taken before"))
}

/// Standard output as it was when the program began.
pub fn output() -> impl Write {
    OUTPUT.get().map_or_else(|| Box::new(std::io::stdout()) as Box<dyn Write>, |file| Box::new(file))
}

/// Whoever started this may be gone: then nobody hears it, and the work goes on.
pub fn say(value: &serde_json::Value) {
    let _ = writeln!(output(), "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_of_one_process() {
        let folder = std::env::temp_dir().join(format!("jove-zk-lock-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let held = lock(&folder, Duration::ZERO).unwrap();
        assert!(matches!(lock(&folder, Duration::ZERO), Err(Error::Content { .. })));
        // Whoever is about to end is waited for.
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        assert!(lock(&folder, Duration::from_secs(60)).is_ok());
        ending.join().unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_are_whole_or_not_there() {
        let folder = std::env::temp_dir().join(format!("jove-zk-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("value");
        assert!(write_whole(&path, |_| Err(std::io::Error::other("no"))).is_err());
        assert!(!path.exists());
        write_encoded(&path, &7_u32).unwrap();
        assert_eq!(read_encoded::<u32>(&path).unwrap(), 7);
        // One byte more or less is another file.
        for length in [3, 5] {
            fs::write(&path, vec![0; length]).unwrap();
            assert!(matches!(read_encoded::<u32>(&path), Err(Error::Content { .. })));
        }
        write_bitcode(&path, &vec![1_u64, 2]).unwrap();
        assert_eq!(read_bitcode::<Vec<u64>>(&path).unwrap(), [1, 2]);
        fs::remove_dir_all(folder).unwrap();
    }
}
