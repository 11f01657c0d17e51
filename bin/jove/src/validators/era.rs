//! Eras: how often L1 has begun the chain of validators anew, from a batch of messages alone.
//!
//! What belongs to an era is apart from what belongs to another: the log of votes, since words of one count nothing in another; the ledger, since what it has above
//! the root was withdrawn; the network, since its peers would take each other for liars. Era 0 begins at genesis. In which era a node is, and where that began, is in the node's
//! store: written once its chain is at the root.

use alloy_primitives::{B256, keccak256};
use jove_avc::{Anchor, L1Origin, Tip, ValidatorSet, codec::Wire as _};
use jove_consensus::Store;
use jove_sequencer::Node;
use jove_settlement::watcher::Batch;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where the store keeps it: the number (u64, big-endian), and the anchor of epoch 0.
const KEY: &str = "validators/era";
/// And the last one in which this node's log of votes was begun, its number (u64, big-endian): where that is gone, it was lost.
const BEGUN: &str = "validators/begun";

/// An era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Era {
    /// Its number.
    pub(crate) number: u64,
    /// Where its epoch 0 begins.
    pub(crate) start: Anchor,
}

impl Era {
    /// The first, of a chain with this genesis block, whose spec has these validators.
    pub(super) fn first(chain_id: u64, genesis: B256, set: &Arc<ValidatorSet>) -> Self {
        let start = Tip { height: 0, digest: genesis, last_number: 0, last_hash: genesis, origin: L1Origin::default() };
        let seed = keccak256([b"jove/avc/genesis".as_slice(), &chain_id.to_be_bytes(), genesis.as_slice()].concat()).0;
        let start = Anchor { epoch: 0, start, certificate: None, set: set.clone(), next: set.clone(), seed };
        Self { number: 0, start }
    }

    /// The one that a batch on L1 began, with the registry's set at its origin. Its root is called by the batch's hash. Whoever commits that can choose among many; so
    /// the seed is of the L1 block too that has it, which is final.
    pub(crate) fn of_batch(root: &Batch, set: ValidatorSet) -> Self {
        let (header, set) = (&root.header, Arc::new(set));
        let start = Tip {
            height: 0,
            digest: root.hash,
            last_number: header.last_block,
            last_hash: header.last_block_hash,
            origin: L1Origin { number: header.origin_number, hash: header.origin_hash },
        };
        let numbers = [header.chain_id, header.era].map(u64::to_be_bytes).concat();
        let hashes = [root.hash, root.committed.block_hash].concat();
        let seed = keccak256([b"jove/avc/era".as_slice(), &numbers, &hashes].concat()).0;
        let start = Anchor { epoch: 0, start, certificate: None, set: set.clone(), next: set, seed };
        Self { number: header.era, start }
    }

    /// The one that a node is in, if it is not the first.
    ///
    /// # Errors
    /// If the store fails, or holds something else.
    pub(super) fn kept(node: &Node) -> Result<Option<Self>, String> {
        let Some(bytes) = node.storage().meta(KEY).map_err(|error| error.to_string())? else { return Ok(None) };
        let read = bytes.split_first_chunk::<8>().and_then(|(number, start)| {
            Some(Self { number: u64::from_be_bytes(*number), start: Anchor::decode(start).ok()? })
        });
        read.map(Some).ok_or_else(|| format!("what the store keeps under {KEY} is damaged"))
    }

    /// Has the node be in it from its next start on. Its chain is at the root.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn keep(&self, node: &Node) -> Result<(), String> {
        let bytes = [&self.number.to_be_bytes()[..], &self.start.encode()].concat();
        node.storage().put_meta(KEY, &bytes).map_err(|error| error.to_string())
    }

    /// Whether this node's log of votes was begun in it.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) fn is_begun(&self, node: &Node) -> Result<bool, String> {
        let begun = node.storage().meta(BEGUN).map_err(|error| error.to_string())?;
        Ok(begun.as_deref() == Some(&self.number.to_be_bytes()[..]))
    }

    /// Notes that it was.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) fn begin(&self, node: &Node) -> Result<(), String> {
        node.storage().put_meta(BEGUN, &self.number.to_be_bytes()).map_err(|error| error.to_string())
    }

    /// The place of something that belongs to it.
    pub(super) fn place(&self, folder: &Path, name: &str) -> PathBuf {
        place(folder, name, self.number)
    }

    /// The first epoch that a validator without a log in this era may vote in, by its log in the last one that it was in: 0, unless it had lost one before. None if it was in none.
    ///
    /// # Errors
    /// If that log cannot be read.
    pub(super) fn votes_from(&self, folder: &Path, sync: bool) -> Result<Option<u64>, String> {
        let before = (0..self.number).rev().map(|era| place(folder, LOG, era)).find(|path| path.exists());
        let Some(path) = before else { return Ok(None) };
        let read = || {
            let store = Store::open(&path, sync)?;
            if store.log()?.is_empty() {
                return Ok::<_, jove_consensus::Error>(None);
            }
            // It was said of that era's epochs, if the log got there: else the folder was lost since, and begins again with that log.
            let from = store.votes_from()?;
            let reached = store.last_anchor()?.is_some_and(|anchor| anchor.epoch >= from);
            Ok(Some(if reached { 0 } else { from }))
        };
        read().map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The folder of a validator's log.
pub(super) const LOG: &str = "avc";

fn place(folder: &Path, name: &str, era: u64) -> PathBuf {
    match era {
        0 => folder.join(name),
        era => folder.join(format!("{name}-{era}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jove_avc::{BlsSigner, Validator, WEIGHT_ONE};
    use jove_primitives::batch::BatchHeader;
    use jove_settlement::watcher::L1Place;

    fn set() -> ValidatorSet {
        let id = B256::repeat_byte(1);
        let signer = BlsSigner::new(id, &[2; 32], &[3; 32]).expect("a key");
        let (key, vrf) = (signer.public_key(), signer.vrf_key());
        ValidatorSet::new(vec![Validator { id, key, vrf, weight: WEIGHT_ONE, sequencer: true }]).expect("a set")
    }

    fn root(era: u64, block_hash: B256) -> Batch {
        let header = BatchHeader { chain_id: 7, era, last_block: 9, origin_number: 5, ..Default::default() };
        let committed = L1Place { block_hash, ..Default::default() };
        let hash = header.hash(&[]);
        Batch { header, blobs: Vec::new(), hash, committed, attested: None, proven: None, settled: None }
    }

    #[test]
    fn an_era_is_a_function_of_its_root_and_the_block_that_has_it() {
        let one = Era::of_batch(&root(1, B256::repeat_byte(1)), set());
        assert_eq!(one, Era::of_batch(&root(1, B256::repeat_byte(1)), set()));
        assert_eq!((one.number, one.start.epoch, one.start.start.height), (1, 0, 0));
        assert_eq!((one.start.start.last_number, one.start.start.origin.number), (9, 5));
        let elsewhere = Era::of_batch(&root(1, B256::repeat_byte(2)), set());
        assert_eq!(elsewhere.start.start, one.start.start, "the root is the batch");
        assert_ne!(elsewhere.start.seed, one.start.seed);
        let two = Era::of_batch(&root(2, B256::repeat_byte(1)), set());
        assert_ne!((two.start.start.digest, two.start.seed), (one.start.start.digest, one.start.seed));
    }

    #[test]
    fn what_belongs_to_an_era_is_apart() {
        let folder = Path::new("data");
        let places: Vec<PathBuf> = [0, 1, 12].map(|era| place(folder, "avc", era)).into();
        assert_eq!(places, ["data/avc", "data/avc-1", "data/avc-12"].map(PathBuf::from));
        let set = Arc::new(set());
        assert_eq!(Era::first(7, B256::repeat_byte(4), &set).place(folder, "ledger"), Path::new("data/ledger"));
    }

    #[test]
    fn who_has_no_log_of_an_earlier_era_is_not_taken_for_silent() {
        let folder = tempfile::tempdir().expect("a folder");
        let era = Era::of_batch(&root(2, B256::ZERO), set());
        assert_eq!(era.votes_from(folder.path(), false), Ok(None), "it was in none");
        drop(Store::open(&folder.path().join("avc"), false).expect("opens"));
        assert_eq!(era.votes_from(folder.path(), false), Ok(None), "an empty one says nothing");
    }
}
