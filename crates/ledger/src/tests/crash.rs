//! Power failures: no acknowledged leaf is lost, whatever was not synced is.

use super::{
    Rng,
    disk::{Disk, FAILURES, Failure},
    entries, entry, flag, key,
};
use crate::{Flagged, Ledger};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a power failure left.
#[derive(Debug)]
struct Cut {
    image: PathBuf,
    failure: Failure,
    /// Leaves that were acknowledged before.
    acknowledged: u64,
    /// Leaves whose append was begun, at most.
    begun: u64,
}

/// Watches a folder; the power fails around one in `every` syncs, and what it leaves goes below `images`.
struct Watch {
    acknowledged: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
    cuts: Arc<Mutex<Vec<Cut>>>,
    _disk: Arc<Disk>,
}

impl Watch {
    fn begin(path: &Path, every: u64, seed: u64, images: &Path, size: u64) -> Self {
        static IMAGES: AtomicU64 = AtomicU64::new(0);
        let disk = Disk::watch(path);
        let (acknowledged, begun) = (Arc::new(AtomicU64::new(size)), Arc::new(AtomicU64::new(size)));
        let cuts = Arc::new(Mutex::new(Vec::new()));
        let (out, images, mut rng) = (cuts.clone(), images.to_owned(), Rng(seed));
        let (done, started) = (acknowledged.clone(), begun.clone());
        disk.on_sync(move |disk, state| {
            if rng.below(every) == 0 {
                let failure = FAILURES[rng.below(FAILURES.len() as u64) as usize];
                let image = images.join(IMAGES.fetch_add(1, Ordering::SeqCst).to_string());
                disk.image(state, failure, &mut rng, &image);
                let (acknowledged, begun) = (done.load(Ordering::SeqCst), started.load(Ordering::SeqCst));
                out.lock().unwrap().push(Cut { image, failure, acknowledged, begun });
            }
        });
        Self { acknowledged, begun, cuts, _disk: disk }
    }

    /// One append of so many leaves.
    fn step(&self, count: u64, append: impl FnOnce(u64)) {
        let size = self.acknowledged.load(Ordering::SeqCst);
        self.begun.store(size + count, Ordering::SeqCst);
        append(size);
        self.acknowledged.store(size + count, Ordering::SeqCst);
    }

    fn cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut *self.cuts.lock().unwrap())
    }
}

#[test]
fn no_acknowledged_block_is_lost_with_the_power() {
    let folder = tempfile::tempdir().unwrap();
    let rng = &mut Rng(11);
    let (mut path, mut size) = (folder.path().join("first"), 0);
    std::fs::create_dir(&path).unwrap();
    let (mut failed, mut whole, mut part, mut none, mut kinds) = (0, 0, 0, 0, HashSet::new());
    for life in 0..6 {
        let watch = Watch::begin(&path, 4, life, folder.path(), size);
        let ledger = Ledger::open(&path, key()).unwrap();
        for _ in 0..60 {
            let count = 1 + rng.below(40);
            watch.step(count, |size| drop(ledger.append(&entries(size, count)).unwrap()));
        }
        drop(ledger);
        let cuts = watch.cuts();
        let next = rng.below(cuts.len() as u64) as usize;
        for (index, cut) in cuts.iter().enumerate() {
            let ledger = Ledger::open(&cut.image, key()).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
            let found = ledger.size();
            assert!((cut.acknowledged..=cut.begun).contains(&found), "{cut:?}: {found}");
            assert_eq!(ledger.verify_all().unwrap().size, found);
            assert_eq!(ledger.last(), found.checked_sub(1).map(entry));
            failed += 1;
            kinds.insert(cut.failure);
            if cut.begun > cut.acknowledged {
                whole += usize::from(found == cut.begun);
                none += usize::from(found == cut.acknowledged);
                part += usize::from(found > cut.acknowledged && found < cut.begun);
            }
            // life goes on
            ledger.append(&entries(found, 3)).unwrap();
            drop(ledger);
            assert_eq!(Ledger::open(&cut.image, key()).unwrap().size(), found + 3);
            if index == next {
                (path, size) = (cut.image.clone(), found + 3);
            }
        }
    }
    assert!(failed >= 100, "the power failed {failed} times only");
    assert_eq!(kinds, FAILURES.into());
    assert!(whole > 0 && part > 0 && none > 0, "of unfinished appends, {whole} were there, {part} in part, {none} not");
}

#[test]
fn no_acknowledged_flag_is_lost_with_the_power() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flagged");
    std::fs::create_dir(&path).unwrap();
    let watch = Watch::begin(&path, 3, 5, folder.path(), 0);
    let flagged = Flagged::open(&path, key(), 1 << 20).unwrap();
    for _ in 0..40 {
        watch.step(1, |index| {
            let witness = vec![index as u8; 700];
            assert_eq!(flagged.append(&[(flag(index, &witness), &witness)]).unwrap(), 1);
        });
    }
    drop(flagged);
    let cuts = watch.cuts();
    assert!(cuts.len() > 50, "{}", cuts.len());
    for cut in &cuts {
        let flagged = Flagged::open(&cut.image, key(), 1 << 20).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
        assert!((cut.acknowledged..=cut.begun).contains(&flagged.size()), "{cut:?}: {}", flagged.size());
        flagged.verify_all().unwrap();
        for index in 0..flagged.size() {
            // no flag without its witness
            assert!(flagged.witness(&flagged.flag(index).unwrap().witness).unwrap().is_some(), "{cut:?}: {index}");
        }
    }
}

#[test]
fn a_failed_write_stops_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let ledger = Ledger::open(&path, key()).unwrap();
    ledger.append(&entries(0, 2)).unwrap();
    // the new checkpoint has nowhere to go
    std::fs::create_dir(path.join("checkpoint.new")).unwrap();
    assert!(matches!(ledger.append(&entries(2, 2)), Err(crate::Error::Io(_))));
    std::fs::remove_dir(path.join("checkpoint.new")).unwrap();
    assert!(matches!(ledger.append(&entries(2, 2)), Err(crate::Error::Stopped)));
    assert_eq!(ledger.checkpoint().size, 2);
    drop(ledger);
    let ledger = Ledger::open(&path, key()).unwrap();
    assert_eq!(ledger.size(), 4, "what was written is whole");
    ledger.append(&entries(4, 1)).unwrap();
}
