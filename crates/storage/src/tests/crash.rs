//! Power failures: whatever was not synced is lost, and no acknowledged write is.

use super::{
    Model, Rng,
    disk::{Disk, FAILURES, Failure, State as DiskState},
    property::{TINY, commit, commit_all},
};
use crate::{Options, Storage};
use alloy_primitives::{Bytes, keccak256};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What a power failure left.
#[derive(Debug)]
struct Cut {
    image: PathBuf,
    failure: Failure,
    /// Steps that were acknowledged before.
    acknowledged: usize,
    /// Steps that were begun at most.
    begun: usize,
}

/// A store on a disk that fails now and then.
struct Life {
    storage: Option<Storage>,
    disk: Arc<Disk>,
    /// The model before the first step and after each.
    history: Vec<Model>,
    steps: Arc<AtomicUsize>,
    cuts: Arc<Mutex<Vec<Cut>>>,
}

impl Life {
    /// Opens the store in `path`; one in `every` syncs, the power fails just before or after it, and images go below `images`.
    fn begin(
        path: &Path,
        options: Options,
        model: Model,
        failures: &'static [Failure],
        every: u64,
        images: &Path,
    ) -> Self {
        let disk = Disk::watch(path);
        let steps = Arc::new(AtomicUsize::new(0));
        let cuts = Arc::new(Mutex::new(Vec::new()));
        let (counted, out, images) = (steps.clone(), cuts.clone(), images.to_owned());
        let mut rng = Rng(every ^ model.head().unwrap_or(0) << 8);
        disk.on_sync(move |disk, state| {
            if rng.below(2 * every) == 0 {
                let failure = failures[rng.below(failures.len() as u64) as usize];
                out.lock().unwrap().push(cut(disk, state, failure, &counted, &mut rng, &images));
            }
        });
        let storage = Some(Storage::open_with_memtables(path, options, TINY).unwrap());
        Self { storage, disk, history: vec![model], steps, cuts }
    }

    /// One write, on the store and on the model.
    fn step(&mut self, write: impl FnOnce(&Storage, &mut Model)) {
        let mut model = self.history.last().unwrap().clone();
        write(self.storage.as_ref().unwrap(), &mut model);
        self.history.push(model);
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    fn random_step(&mut self, rng: &mut Rng) {
        self.step(|storage, model| {
            let back = rng.below(8);
            match (rng.below(10), model.head()) {
                (0 | 1, Some(head)) if head.saturating_sub(back) >= model.oldest => {
                    storage.unwind(head.saturating_sub(back)).unwrap();
                    model.unwind(head.saturating_sub(back));
                }
                (2, Some(head)) => {
                    while !storage.prune_history(head.saturating_sub(back + 8)).unwrap() {}
                    model.prune(head.saturating_sub(back + 8));
                }
                (3 | 4, _) => {
                    let seeds: Vec<u64> = (0..2 + back).map(|_| rng.next()).collect();
                    commit_all(storage, model, &seeds);
                }
                _ => commit(storage, model, rng.next()),
            }
        });
    }

    /// The power fails a last time, and the process ends. All that the failures left.
    fn end(mut self, failure: Failure, rng: &mut Rng, images: &Path) -> (Vec<Cut>, Vec<Model>) {
        let last = cut(&self.disk, &mut self.disk.lock(), failure, &self.steps, rng, images);
        let mut cuts = std::mem::take(&mut *self.cuts.lock().unwrap());
        drop(self.storage.take());
        cuts.push(last);
        (cuts, self.history)
    }
}

fn cut(disk: &Disk, state: &mut DiskState, failure: Failure, steps: &AtomicUsize, rng: &mut Rng, images: &Path) -> Cut {
    static IMAGES: AtomicUsize = AtomicUsize::new(0);
    let image = images.join(IMAGES.fetch_add(1, Ordering::SeqCst).to_string());
    let acknowledged = steps.load(Ordering::SeqCst);
    disk.image(state, failure, rng, &image);
    let begun = steps.load(Ordering::SeqCst) + 1;
    Cut { image, failure, acknowledged, begun }
}

/// The step after which `storage` is, and an assertion that it is after one.
fn step_of(storage: &Storage, history: &[Model], cut: &Cut) -> usize {
    let view = storage.view();
    let hash = view.block_hash(view.head_number()).unwrap();
    let is = |model: &Model| model.oldest == view.oldest_state() && model.blocks.last().map(|block| block.hash) == hash;
    let step = (0..history.len()).rev().find(|step| *step <= cut.begun && is(&history[*step]));
    let step = step.unwrap_or_else(|| panic!("{cut:?}: head {hash:?} was never"));
    history[step].check(&view, step as u64);
    history[step].check_stream(storage, &mut Rng(step as u64));
    step
}

#[test]
fn no_acknowledged_write_is_lost_with_the_power() {
    let folder = tempfile::tempdir().unwrap();
    let rng = &mut Rng(3);
    let (mut path, mut model) = (folder.path().join("first"), Model::default());
    std::fs::create_dir(&path).unwrap();
    drop(Storage::open_with_memtables(&path, Options::default(), TINY).unwrap());
    let (mut failed, mut unfinished, mut kinds) = (0, 0, HashSet::new());
    for _ in 0..8 {
        let mut life = Life::begin(&path, Options::default(), model, &FAILURES, 12, folder.path());
        for _ in 0..60 {
            life.random_step(rng);
        }
        let (cuts, history) = life.end(Failure::Strict, rng, folder.path());
        let next = rng.below(cuts.len() as u64) as usize;
        (path, model) = Default::default();
        for (index, cut) in cuts.iter().enumerate() {
            let storage = Storage::open_with_memtables(&cut.image, Options::default(), TINY);
            let storage = storage.unwrap_or_else(|error| panic!("{cut:?}: {error}"));
            let step = step_of(&storage, &history, cut);
            assert!(step >= cut.acknowledged, "{cut:?}: at step {step}");
            failed += 1;
            kinds.insert(cut.failure);
            unfinished += usize::from(step == cut.acknowledged && step < history.len() - 1);
            let mut after = history[step].clone();
            commit(&storage, &mut after, rng.next());
            after.check(&storage.view(), step as u64);
            if index == next {
                (path, model) = (cut.image.clone(), after);
            }
        }
    }
    assert!(failed >= 50, "the power failed {failed} times only");
    assert_eq!(kinds, FAILURES.into());
    assert!(unfinished > 0, "none of {failed} failures hit a write");
}

/// The same failures find what is lost without syncing: the test above is able to fail.
#[test]
fn without_sync_the_same_failures_lose_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let options = Options { sync: false };
    std::fs::create_dir(&path).unwrap();
    drop(Storage::open_with_memtables(&path, options, TINY).unwrap());
    let rng = &mut Rng(4);
    let mut life = Life::begin(&path, options, Model::default(), &[Failure::Strict], 1, folder.path());
    for _ in 0..60 {
        life.random_step(rng);
    }
    let (cuts, history) = life.end(Failure::Strict, rng, folder.path());
    // What is left need not even be whole.
    let lost = cuts.iter().filter(|cut| {
        let Ok(storage) = Storage::open_with_memtables(&cut.image, options, TINY) else { return true };
        let view = storage.view();
        let hash = view.block_hash(view.head_number()).unwrap();
        let is = |model: &Model| model.blocks.last().map(|block| block.hash) == hash;
        !history[cut.acknowledged..].iter().any(is)
    });
    assert!(lost.count() > 0);
}

/// Journals of more than 64 MB are sealed, and deleted when all of them is in tables.
#[test]
fn the_power_may_fail_while_journals_are_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::create_dir(&path).unwrap();
    drop(Storage::open_with_memtables(&path, Options::default(), TINY).unwrap());
    let rng = &mut Rng(5);
    let mut life = Life::begin(&path, Options::default(), Model::default(), &FAILURES, 25, folder.path());
    let mut rotated = false;
    for _ in 0..36 {
        life.step(|storage, model| {
            let (block, mut changes) = model.next_block(rng.next());
            storage.complete_wipes(&mut changes).unwrap();
            let code: Bytes = (0..250_000).flat_map(|_| rng.next().to_be_bytes()).collect();
            changes.codes.insert(keccak256(&code), code);
            storage.commit(&block, &changes).unwrap();
            model.commit(block, &changes);
        });
        rotated |= path.join("store/1.jnl").exists();
    }
    assert!(rotated);
    let (cuts, history) = life.end(Failure::Torn, rng, folder.path());
    assert!(cuts.len() > 2);
    for cut in &cuts {
        let storage = Storage::open_with_memtables(&cut.image, Options::default(), TINY);
        let storage = storage.unwrap_or_else(|error| panic!("{cut:?}: {error}"));
        assert!(step_of(&storage, &history, cut) >= cut.acknowledged, "{cut:?}");
        drop(storage);
        std::fs::remove_dir_all(&cut.image).unwrap();
    }
}

#[test]
fn the_power_may_fail_while_the_store_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::create_dir(&path).unwrap();
    let life = Life::begin(&path, Options::default(), Model::default(), &FAILURES, 6, folder.path());
    let (cuts, history) = life.end(Failure::Strict, &mut Rng(6), folder.path());
    assert!(cuts.len() > 10, "{}", cuts.len());
    for cut in &cuts {
        let storage = Storage::open_with_memtables(&cut.image, Options::default(), TINY);
        let storage = storage.unwrap_or_else(|error| panic!("{cut:?}: {error}"));
        assert_eq!(step_of(&storage, &history, cut), 0);
        commit(&storage, &mut Model::default(), 1);
    }
}
