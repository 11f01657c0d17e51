//! A disk that forgets what was not synced.
//!
//! In this test binary `fsync` and `fdatasync` are ours (the linker takes a program's own definition before the C library's). They
//! sync nothing. For files and folders below a watched folder they record what the call would have made durable: of a file the content when it
//! was called, of a folder the names in it. [`Disk::image`] writes what a power failure at this instant leaves.

use super::Rng;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::SystemTime,
};

/// What may be torn: a device writes sectors whole.
const SECTOR: usize = 512;

/// A file or folder, told from others that had its number before.
type Id = (u64, Option<SystemTime>);

fn id(metadata: &fs::Metadata) -> Id {
    (metadata.ino(), metadata.created().ok())
}

/// What is on the platter.
#[derive(Default)]
struct Durable {
    /// Content up to the last byte that is not in a hole, and length.
    files: HashMap<Id, (Vec<u8>, u64)>,
    /// Names, and whether they are of folders.
    folders: HashMap<Id, Vec<(OsString, Id, bool)>>,
}

/// Called before and after each sync.
type Hook = Box<dyn FnMut(&Disk, &mut State) + Send>;

/// What is on the platter, and what to do when that changes.
#[derive(Default)]
pub(crate) struct State {
    durable: Durable,
    /// Syncs so far.
    pub(crate) syncs: u64,
    hook: Option<Hook>,
}

/// A watched folder.
pub(crate) struct Disk {
    root: PathBuf,
    state: Mutex<State>,
}

/// What survives a power failure beyond what was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// Nothing.
    Strict,
    /// All names; of contents nothing.
    Names,
    /// All names; of contents any sectors.
    Torn,
    /// The names that were synced; of contents any sectors.
    TornStrict,
}

pub(crate) const FAILURES: [Failure; 4] = [Failure::Strict, Failure::Names, Failure::Torn, Failure::TornStrict];

static DISKS: Mutex<Vec<Weak<Disk>>> = Mutex::new(Vec::new());

impl Disk {
    /// Watches `root`, whose present content is durable.
    pub(crate) fn watch(root: &Path) -> Arc<Self> {
        let disk = Arc::new(Self { root: root.canonicalize().unwrap(), state: Mutex::default() });
        disk.lock().durable.all(&disk.root);
        DISKS.lock().unwrap().push(Arc::downgrade(&disk));
        disk
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Sets what is called just before and just after each sync takes effect.
    pub(crate) fn on_sync(&self, hook: impl FnMut(&Disk, &mut State) + Send + 'static) {
        self.lock().hook = Some(Box::new(hook));
    }

    /// Writes to the folder `to` what a power failure now leaves.
    pub(crate) fn image(&self, state: &State, failure: Failure, rng: &mut Rng, to: &Path) {
        let root = id(&fs::metadata(&self.root).unwrap());
        fs::create_dir_all(to).unwrap();
        match failure {
            Failure::Strict | Failure::TornStrict => {
                let torn = (failure == Failure::TornStrict).then(|| current(&self.root));
                state.durable.write_synced(root, torn.as_ref(), rng, to);
            }
            Failure::Names | Failure::Torn => state.durable.write_named(&self.root, failure, rng, to),
        }
    }

    fn sync(&self, file: RawFd, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let mut hook = state.hook.take();
        if let Some(hook) = &mut hook {
            hook(self, &mut state);
        }
        state.durable.sync(file, path)?;
        state.syncs += 1;
        if let Some(hook) = &mut hook {
            hook(self, &mut state);
        }
        state.hook = hook;
        Ok(())
    }
}

impl Durable {
    /// Takes all below `path` as durable.
    fn all(&mut self, path: &Path) {
        let file = File::open(path).unwrap();
        self.sync(file.as_raw_fd(), path).unwrap();
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| self.all(&entry.unwrap().path()));
        }
    }

    fn sync(&mut self, file: RawFd, path: &Path) -> io::Result<()> {
        let metadata = fs::metadata(format!("/proc/self/fd/{file}"))?;
        let id = id(&metadata);
        if metadata.is_dir() {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                // A worker may have removed it since.
                let Ok(metadata) = entry.metadata() else { continue };
                names.push((entry.file_name(), self::id(&metadata), metadata.is_dir()));
            }
            self.folders.insert(id, names);
        } else {
            let (content, len) = self.files.entry(id).or_default();
            // Journals are only appended to or cut, so their beginning is known.
            let known = path.extension().is_some_and(|extension| extension == "jnl") && metadata.len() >= *len;
            let from = if known { content.len().saturating_sub(1) / 4096 * 4096 } else { 0 };
            content.truncate(from);
            content.extend(read(&File::open(format!("/proc/self/fd/{file}"))?, from as u64)?);
            *len = metadata.len();
        }
        Ok(())
    }

    /// Writes the folder `folder` with its synced names. `current` has what is to be torn into the files' contents.
    fn write_synced(&self, folder: Id, current: Option<&HashMap<Id, Content>>, rng: &mut Rng, to: &Path) {
        for (name, id, is_folder) in self.folders.get(&folder).into_iter().flatten() {
            let to = to.join(name);
            if *is_folder {
                fs::create_dir(&to).unwrap();
                self.write_synced(*id, current, rng, &to);
            } else {
                self.write_file(*id, current.and_then(|current| current.get(id)), rng, &to);
            }
        }
    }

    /// Writes the folder `from` with its present names.
    fn write_named(&self, from: &Path, failure: Failure, rng: &mut Rng, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            // A worker may have removed it since.
            let Ok(metadata) = entry.metadata() else { continue };
            let to = to.join(entry.file_name());
            if metadata.is_dir() {
                fs::create_dir(&to).unwrap();
                self.write_named(&entry.path(), failure, rng, &to);
            } else {
                let torn = (failure == Failure::Torn).then(|| content(&entry.path())).flatten();
                self.write_file(id(&metadata), torn.as_ref(), rng, &to);
            }
        }
    }

    /// Writes a file's synced content with any sectors of its present one.
    fn write_file(&self, id: Id, current: Option<&Content>, rng: &mut Rng, to: &Path) {
        let (mut content, mut len) = self.files.get(&id).cloned().unwrap_or_default();
        if let Some((now, now_len)) = current
            && (*now != content || *now_len != len)
        {
            if !rng.chance(3) {
                len = *now_len;
            }
            content.resize(content.len().max(now.len()), 0);
            let of = 1 + rng.below(4);
            for (sector, now) in content.chunks_mut(SECTOR).zip(now.chunks(SECTOR)) {
                if rng.below(4) < of {
                    sector[..now.len()].copy_from_slice(now);
                }
            }
        }
        content.truncate(len as usize);
        let file = File::create(to).unwrap();
        file.write_all_at(&content, 0).unwrap();
        file.set_len(len).unwrap();
    }
}

/// Content up to the last byte that is not in a hole, and length.
type Content = (Vec<u8>, u64);

fn content(path: &Path) -> Option<Content> {
    let file = File::open(path).ok()?;
    Some((read(&file, 0).ok()?, file.metadata().ok()?.len()))
}

/// All files below `path`.
fn current(path: &Path) -> HashMap<Id, Content> {
    let mut files = HashMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            files.extend(current(&path));
        } else {
            files.extend(content(&path).map(|content| (id(&metadata), content)));
        }
    }
    files
}

/// The bytes of a file from `from` to its last hole.
fn read(file: &File, from: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut at = from as i64;
    loop {
        // SAFETY: plain calls on a descriptor that `file` holds open.
        let data = unsafe { libc::lseek(file.as_raw_fd(), at, libc::SEEK_DATA) };
        if data < 0 {
            return Ok(content);
        }
        // SAFETY: as above.
        let hole = unsafe { libc::lseek(file.as_raw_fd(), data, libc::SEEK_HOLE) };
        let start = (data - from as i64) as usize;
        content.resize(start + (hole - data).max(0) as usize, 0);
        let mut filled = start;
        while filled < content.len() {
            match file.read_at(&mut content[filled..], from + filled as u64)? {
                0 => break, // it was cut meanwhile
                read => filled += read,
            }
        }
        content.truncate(filled);
        at = hole;
    }
}

fn synced(file: RawFd) -> i32 {
    let Ok(path) = fs::read_link(format!("/proc/self/fd/{file}")) else { return -1 };
    let disk = DISKS.lock().unwrap().iter().filter_map(Weak::upgrade).find(|disk| path.starts_with(&disk.root));
    match disk.map(|disk| disk.sync(file, &path)) {
        None | Some(Ok(())) => 0,
        Some(Err(_)) => -1,
    }
}

// SAFETY: the name and the signature are the C library's, and no other definition is linked statically.
#[unsafe(no_mangle)]
extern "C" fn fsync(file: RawFd) -> i32 {
    synced(file)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: RawFd) -> i32 {
    synced(file)
}

#[test]
fn the_disk_forgets_what_was_not_synced() {
    use std::io::Write;
    let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, rng) = (folder.path(), &mut Rng(1));
    fs::write(root.join("old"), "old").unwrap();
    let disk = Disk::watch(root);
    let mut file = File::create(root.join("new")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_data().unwrap();
    file.write_all(b" and not").unwrap();
    fs::remove_file(root.join("old")).unwrap();
    let mut image = |failure: Failure, name: &str| {
        let to = images.path().join(format!("{failure:?}{}", disk.lock().syncs));
        if !to.exists() {
            disk.image(&disk.lock(), failure, rng, &to);
        }
        fs::read_to_string(to.join(name)).ok()
    };
    assert_eq!(image(Failure::Strict, "new"), None, "its name was not synced");
    assert_eq!(image(Failure::Strict, "old").as_deref(), Some("old"));
    assert_eq!(image(Failure::Names, "new").as_deref(), Some("synced"));
    assert_eq!(image(Failure::Names, "old"), None);
    File::open(root).unwrap().sync_all().unwrap();
    assert_eq!(image(Failure::Strict, "new").as_deref(), Some("synced"));
    assert_eq!(image(Failure::Strict, "old"), None);
    file.sync_all().unwrap();
    assert_eq!(image(Failure::Strict, "new").as_deref(), Some("synced and not"));
}
