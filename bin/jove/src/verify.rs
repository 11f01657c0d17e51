//! `jove verify batch`: the aggregated STARK of a batch, checked by whoever wants to, with what it is of. docs/zero-knowledge.md is the guide.
//!
//! A node that sends zero-knowledge proofs keeps a file of each ([`BatchProof`]), and gives it away by `jove_getBatchProof`. Nothing in it is believed:
//!
//! 1. header and versioned hashes give the batch hash; with the roots, the output; with the start, the openings and the payout, the *statement*;
//! 2. each opening holds: the blob of this versioned hash has this value, if its contents have this hash;
//! 3. the STARK holds, for the guest at hand, and reveals that statement.
//!
//! So the blobs of the batch with that hash hold blocks that lead from the start, which is the output of the batch before, to the roots. That L1 has this batch, and
//! pins this guest, is asked of L1, where that is named.

use crate::{deploy::runtime, zk};
use alloy_primitives::{Address, B256, Bytes, FixedBytes, U64};
use jove_primitives::{
    ChainSpec,
    batch::{
        BatchHeader,
        hash::{Opening, blob_z},
    },
};
use jove_settlement::{
    BlobOpening, L1,
    blobs::verify_opening,
    contracts::{Rollup, ZkVerifier, ask},
    deploy,
    test_proofs::{Judged, Roots},
};
use jove_zk_host::{Backend, Commitments};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Files that are kept, those of the latest batches.
const KEPT: usize = 256;
/// Most bytes of a file.
const MAX_FILE: u64 = 16 << 20;

/// What is proven of a batch in zero knowledge, with all that is needed to check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchProof {
    /// As it was committed.
    pub(crate) header: BatchHeader,
    /// The versioned hashes of its blobs.
    pub(crate) blobs: Vec<B256>,
    /// Of each blob.
    pub(crate) openings: Vec<Opened>,
    /// The output before it.
    pub(crate) start: B256,
    /// Whom the proof pays.
    pub(crate) payout: Address,
    /// What the state's root and the outbox's are after it; none if it is invalid.
    pub(crate) roots: Option<After>,
    /// The proof for L1.
    pub(crate) proof: Bytes,
    /// The aggregated STARK.
    pub(crate) stark: Bytes,
}

/// An opening of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Opened {
    /// Hash of the contents, and the value.
    #[serde(flatten)]
    opening: Opening,
    /// The KZG commitment.
    commitment: FixedBytes<48>,
    /// The KZG proof of the value.
    proof: FixedBytes<48>,
}

/// The roots after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct After {
    state: B256,
    outbox: B256,
}

impl From<&BlobOpening> for Opened {
    fn from(opened: &BlobOpening) -> Self {
        let BlobOpening { opening, commitment, proof, .. } = *opened;
        Self { opening, commitment, proof }
    }
}

impl From<Roots> for After {
    fn from(Roots { state, outbox }: Roots) -> Self {
        Self { state, outbox }
    }
}

/// What a batch's proof has to be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    batch: B256,
    output: B256,
    statement: B256,
}

impl BatchProof {
    /// The statement that these fields give, if the openings hold.
    ///
    /// # Errors
    /// In words, if one does not, or there are not as many as blobs.
    fn claim(&self) -> Result<Claim, String> {
        if self.openings.len() != self.blobs.len() {
            return Err(format!("{} blobs, and {} openings", self.blobs.len(), self.openings.len()));
        }
        let opened = |(hash, opened): (&B256, &Opened)| {
            let Opened { opening, commitment, proof } = *opened;
            let z = blob_z(*hash, opening.contents_hash).into();
            let opened = BlobOpening { versioned_hash: *hash, z, opening, commitment, proof };
            verify_opening(&opened).map(|()| opened).map_err(|error| error.to_string())
        };
        let openings: Vec<_> = self.blobs.iter().zip(&self.openings).map(opened).collect::<Result<_, _>>()?;
        let roots = self.roots.map(|After { state, outbox }| Roots { state, outbox });
        let judged = Judged { header: &self.header, blobs: &self.blobs, openings: &openings, roots };
        let (output, statement) = (judged.output(self.start), judged.statement(self.start, self.payout));
        Ok(Claim { batch: self.header.hash(&self.blobs), output, statement })
    }

    fn path(folder: &Path, index: u64, batch: B256) -> PathBuf {
        // In order of their names as of their numbers.
        folder.join(format!("{index:020}-{batch:x}.json"))
    }

    /// Keeps it in a folder, and lets go of the oldest beyond [`KEPT`].
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn keep(&self, folder: &Path) -> io::Result<()> {
        let path = Self::path(folder, self.header.index, self.header.hash(&self.blobs));
        deploy::write_file(&path, &serde_json::to_string(self)?)?;
        let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        files[..files.len().saturating_sub(KEPT)].iter().try_for_each(fs::remove_file)
    }

    /// The one that a folder has of a batch, if it has.
    ///
    /// # Errors
    /// The file system's, or if the file is no such proof.
    pub(crate) fn kept(folder: &Path, index: u64, batch: B256) -> io::Result<Option<Value>> {
        match read(&Self::path(folder, index, batch)) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE { Err(io::Error::other("the file is too long")) } else { Ok(bytes) }
}

/// What is verified.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Verify a batch's aggregated proof, and print what it proves
    Batch(Box<Batch>),
}

#[derive(clap::Args, Clone, Debug)]
struct Batch {
    /// Its index
    index: u64,
    /// JSON-RPC of a node that has the proof
    #[arg(
        long,
        env = "JOVE_L2_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8545"
    )]
    l2_url: String,
    /// A file that --save wrote, in place of a node: without any network
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Keep what the node gave, for --file
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    save: Option<PathBuf>,
    /// L1's JSON-RPC: ask whether it has this batch, and pins this guest
    #[arg(long, env = "JOVE_L1_URL", hide_env_values = true, value_name = "URL", requires = "chain")]
    l1_url: Option<String>,
    /// The chain file
    #[arg(long, env = "JOVE_CHAIN", value_name = "FILE")]
    chain: Option<PathBuf>,
    #[command(flatten)]
    program: zk::Program,
}

/// Verifies.
///
/// # Errors
/// In words, if something does not hold, or cannot be had.
pub(crate) fn run(Options { command: Command::Batch(batch) }: &Options) -> Result<(), String> {
    runtime()?.block_on(verify(batch))
}

#[allow(clippy::print_stdout)] // the result is what it prints
async fn verify(options: &Batch) -> Result<(), String> {
    let words = |error: jove_settlement::Error| error.to_string();
    let proven: BatchProof = match &options.file {
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let json = read(path).map_err(|error| failed(&error))?;
            serde_json::from_slice(&json).map_err(|error| failed(&error))?
        }
        None => {
            let node = L1::new(&options.l2_url).map_err(words)?;
            let found: Option<_> =
                node.request("jove_getBatchProof", (U64::from(options.index),)).await.map_err(words)?;
            found.ok_or(format!("the node has no zero-knowledge proof of batch {}", options.index))?
        }
    };
    let BatchProof { header, start, roots, stark, .. } = &proven;
    if header.index != options.index {
        return Err(format!("it is of batch {}", header.index));
    }
    let claim = proven.claim()?;
    let backend = options.program.verifier()?;
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    fs::write(file.path(), stark).map_err(|error| error.to_string())?;
    let statement = backend.verify(file.path()).await.map_err(|error| error.to_string())?;
    if statement != claim.statement {
        return Err(format!(
            "the proof holds, but is of another statement, {statement}: not of this batch and this output"
        ));
    }
    let commitments = backend.commitments().map_err(|error| error.to_string())?;
    if let (Some(url), Some(chain)) = (&options.l1_url, &options.chain) {
        on_l1(&L1::new(url).map_err(words)?, chain, header, (*start, claim.batch), commitments).await?;
    }
    if let Some(path) = &options.save {
        let json = serde_json::to_string(&proven).map_err(|error| error.to_string())?;
        deploy::write_file(path, &json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let BatchHeader { chain_id, rollup, index, first_block, last_block, last_block_hash, .. } = header;
    let after = match roots {
        Some(After { state, outbox }) => {
            format!(
                "its blocks {first_block} to {last_block} end in {last_block_hash}, state root {state}, outbox root {outbox}"
            )
        }
        None => "it breaks the rules of the chain: it is invalid".into(),
    };
    println!("batch {index} {} of chain {chain_id}, rollup {rollup}: {after}", claim.batch);
    println!("from output {start} to output {}", claim.output);
    println!("proven by guest {:#x} in machine {:#x}", commitments.program, commitments.vm);
    println!(
        "{}",
        if options.l1_url.is_some() {
            "L1 has this batch, and pins this guest"
        } else {
            "L1 was not asked: --l1-url and --chain do"
        }
    );
    Ok(())
}

/// Asks L1 whether it has this batch, with the output before it proven, and pins what it was verified with.
///
/// # Errors
/// In words, if not, or it cannot be asked.
async fn on_l1(
    l1: &L1,
    chain: &Path,
    header: &BatchHeader,
    (start, batch): (B256, B256),
    own: Commitments,
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", chain.display());
    let json = fs::read_to_string(chain).map_err(|error| failed(&error))?;
    let spec = ChainSpec::from_json(&json).map_err(|error| failed(&error))?;
    let settlement = spec.settlement.ok_or_else(|| failed(&"the chain settles nowhere"))?;
    if (header.chain_id, header.rollup) != (spec.chain_id, settlement.rollup) {
        return Err("the proof is of another chain's batch".into());
    }
    let words = |error: jove_settlement::Error| error.to_string();
    let stored = ask(l1, settlement.rollup, &Rollup::batchAtCall { index: header.index }).await.map_err(words)?;
    if stored.batchHash != batch {
        return Err(format!("L1 has another batch {}: {}", header.index, stored.batchHash));
    }
    // Else it may lead on from an output that never was.
    let before = ask(l1, settlement.rollup, &Rollup::outputBatchCall { output: start }).await.map_err(words)?;
    if before != header.parent_batch_hash {
        return Err(format!("L1 knows of no proof that the batch before has the output {start}"));
    }
    let [_, verifier] = deploy::verifiers(l1, settlement.proofs).await.map_err(words)?;
    let program = ask(l1, verifier, &ZkVerifier::programCall {}).await.map_err(words)?;
    let machine = ask(l1, verifier, &ZkVerifier::machineCall {}).await.map_err(words)?;
    let Commitments { program: own_program, vm } = own;
    if (program, machine) != (own_program, vm) {
        return Err(format!("L1 pins another guest: {program:#x} in machine {machine:#x}"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jove_settlement::blobs::opening;

    fn proven() -> BatchProof {
        let blob = [[0; 131_071].as_slice(), &[9]].concat();
        let opened = opening(&blob).unwrap();
        let header = BatchHeader { version: 1, chain_id: 5, index: 3, last_block: 9, ..Default::default() };
        let roots = Roots { state: B256::repeat_byte(1), outbox: B256::repeat_byte(2) };
        BatchProof {
            header,
            blobs: vec![opened.versioned_hash],
            openings: vec![(&opened).into()],
            start: B256::repeat_byte(3),
            payout: Address::repeat_byte(4),
            roots: Some(roots.into()),
            proof: Bytes::from_static(b"proof"),
            stark: Bytes::from_static(b"stark"),
        }
    }

    #[test]
    fn a_claim_is_of_all_its_fields() {
        let right = proven();
        let claim = right.claim().unwrap();
        type Edit = fn(&mut BatchProof);
        let edits: [Edit; 7] = [
            |proven| proven.header.index += 1,
            |proven| proven.header.rollup = Address::repeat_byte(9),
            |proven| proven.header.chain_id += 1,
            |proven| proven.start = B256::ZERO,
            |proven| proven.payout = Address::ZERO,
            |proven| proven.roots = None,
            |proven| proven.roots = Some(After { state: B256::repeat_byte(1), outbox: B256::ZERO }),
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            let mut other = right.clone();
            edit(&mut other);
            assert_ne!(other.claim().unwrap().statement, claim.statement, "{number}");
        }
        // An opening that does not hold is none.
        let wrong: [Edit; 5] = [
            |proven| proven.blobs[0].0[31] ^= 1,
            |proven| proven.openings[0].opening.y.0[31] ^= 1,
            |proven| proven.openings[0].opening.contents_hash.0[31] ^= 1,
            |proven| proven.openings[0].commitment = proven.openings[0].proof,
            |proven| proven.openings.clear(),
        ];
        for (number, edit) in wrong.into_iter().enumerate() {
            let mut other = right.clone();
            edit(&mut other);
            assert!(other.claim().is_err(), "{number}");
        }
    }

    #[test]
    fn files_are_kept_and_the_oldest_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = proven();
        for index in 1..=KEPT as u64 + 2 {
            one.header.index = index;
            one.keep(folder.path()).unwrap();
        }
        let hash = |index| BatchHeader { index, ..one.header }.hash(&one.blobs);
        let kept = |index| BatchProof::kept(folder.path(), index, hash(index)).unwrap();
        assert!(kept(2).is_none() && kept(3).is_some());
        let last = KEPT as u64 + 2;
        assert_eq!(serde_json::from_value::<BatchProof>(kept(last).unwrap()).unwrap(), one);
        assert!(BatchProof::kept(folder.path(), last, B256::ZERO).unwrap().is_none());
        fs::write(BatchProof::path(folder.path(), 1, B256::ZERO), "{").unwrap();
        assert!(BatchProof::kept(folder.path(), 1, B256::ZERO).is_err());
    }
}
