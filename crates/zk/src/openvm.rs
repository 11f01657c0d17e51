//! OpenVM 2.0, by the program `jove-zk`.

use crate::{Backend, Error, MAX_STARK, Progress, Proven, stage};
use alloy_primitives::{B256, Bytes, U256, hex, keccak256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// Bytes of a proof for L1.
const PROOF: u64 = 2_656;
/// Largest file of words that is read.
const MAX_WORDS: u64 = 1 << 20;
/// Jobs whose folders are kept, the latest.
const JOBS: usize = 16;

/// A stage of a job, and the file that is there once it is done.
const STAGES: [(&str, &str); 4] =
    [("app", "revealed.proof"), ("aggregate", "stark.proof"), ("root", "root.proof"), ("wrap", "proof")];

/// A step of what is done once, and the file that is there after it.
const SETUP: [(&str, &str); 5] = [
    ("commit", "program.vk"),
    ("params", "params.json"),
    ("root-key", "root.pk"),
    ("sample", "sample.proof"),
    ("circuit", "circuit.polys"),
];

/// An aggregated proof: what nodes verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stark(pub PathBuf);

/// What programs and machines are known by on L1: numbers below the order of BN254.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitments {
    /// The program and its memory at the start.
    pub program: U256,
    /// The virtual machine, and the circuits of aggregation.
    pub vm: U256,
}

/// What is kept of commitments: of which image they are, and of which machine.
#[derive(Serialize, Deserialize)]
struct Committed {
    image: B256,
    #[serde(flatten)]
    commitments: Commitments,
}

/// The verifying key of the circuit whose proofs L1 takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyingKey {
    s_g2: [B256; 4],
    fixed: [[B256; 2]; 6],
    permutation: [[B256; 2]; 7],
    digest: B256,
    /// Whether its parameters are the ceremony's. If not, anybody can forge proofs.
    pub ceremony: bool,
}

impl VerifyingKey {
    /// As `ZkVerifier`'s constructor takes it: s·G2, the fixed columns' commitments, the permutation's, the digest.
    pub fn encode(&self) -> Bytes {
        let Self { s_g2, fixed, permutation, digest, .. } = self;
        let words = s_g2.iter().chain(fixed.as_flattened()).chain(permutation.as_flattened()).chain([digest]);
        words.flatten().copied().collect::<Vec<u8>>().into()
    }
}

/// The back end.
#[derive(Clone, Debug)]
pub struct OpenVm {
    /// The program `jove-zk`.
    pub program: PathBuf,
    /// The guest's image: an ELF file.
    pub guest: PathBuf,
    /// The virtual machine's configuration: an `openvm.toml`.
    pub vm: PathBuf,
    /// Folder of keys and parameters; jobs are in `jobs` in it.
    pub keys: PathBuf,
    /// Memory for what is large, in GiB; none: what is free.
    pub memory: Option<u32>,
    /// Memory of a segment, in GiB; none: the program's own default.
    pub segment_memory: Option<u32>,
}

impl OpenVm {
    /// Makes what proving needs, going on where that was interrupted: parameters from a ceremony's file, or unsafe ones.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn setup(
        &self,
        ceremony: Option<&Path>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), Error> {
        fs::create_dir_all(&self.keys).map_err(Error::file(&self.keys))?;
        for (step, file) in SETUP {
            if step == "commit" {
                self.commit(progress).await?;
                continue;
            }
            if self.keys.join(file).exists() {
                continue;
            }
            let mut arguments = vec![step.into()];
            match step {
                "params" => {
                    arguments.extend(self.keys_arguments());
                    if let Some(ceremony) = ceremony {
                        arguments.extend(["--file".into(), ceremony.into()]);
                    }
                }
                "circuit" => arguments.extend(self.keys_arguments()),
                _ => arguments.extend([self.guest_arguments(), self.keys_arguments()].concat()),
            }
            self.run(step, arguments, progress).await?;
        }
        Ok(())
    }

    /// Makes what STARKs of this guest are verified with, unless that is there: seconds.
    async fn commit(&self, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Error> {
        if self.is_committed() {
            return Ok(());
        }
        fs::create_dir_all(&self.keys).map_err(Error::file(&self.keys))?;
        let image = self.image()?;
        let key = vec![self.keys.join("program.vk").into()];
        let end = self.run("commit", [vec!["commit".into()], self.guest_arguments(), key].concat(), progress).await?;
        let commitments =
            Commitments::deserialize(&end).map_err(|_| Error::Answer { stage: "commit", said: end.to_string() })?;
        write_json(&self.keys.join("commitments.json"), &Committed { image, commitments })
    }

    /// Whether the folder's verifying key is of this guest, and not of another build of it.
    fn is_committed(&self) -> bool {
        let kept = read_json::<Committed>(&self.keys.join("commitments.json"));
        let is_own = matches!((kept, self.image()), (Ok(kept), Ok(image)) if kept.image == image);
        is_own && self.keys.join("program.vk").exists()
    }

    /// The guest's image and its machine, hashed.
    fn image(&self) -> Result<B256, Error> {
        let hash = |path: &PathBuf| Ok::<_, Error>(keccak256(fs::read(path).map_err(Error::file(path))?));
        Ok(keccak256([hash(&self.guest)?, hash(&self.vm)?].concat()))
    }

    /// The commitments of the guest and of its machine.
    ///
    /// # Errors
    /// [`Error::Lacking`], [`Error::File`], [`Error::Content`].
    pub fn commitments(&self) -> Result<Commitments, Error> {
        read_json(&self.keys.join("commitments.json")).map(|Committed { commitments, .. }| commitments)
    }

    /// The circuit's verifying key.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, Error> {
        read_json(&self.keys.join("verifier.json"))
    }

    /// The STARK of an input, if it was made here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn stark(&self, input: &[u8]) -> Result<Option<Stark>, Error> {
        let path = self.job(input)?.join("stark.proof");
        Ok(path.exists().then_some(Stark(path)))
    }

    /// The folder of an input's job.
    fn job(&self, input: &[u8]) -> Result<PathBuf, Error> {
        let name = keccak256([self.image()?, keccak256(input)].concat());
        Ok(self.keys.join("jobs").join(hex::encode(name)))
    }

    fn guest_arguments(&self) -> Vec<OsString> {
        let mut list: Vec<OsString> =
            vec!["--program".into(), self.guest.clone().into(), "--vm".into(), self.vm.clone().into()];
        if let Some(memory) = self.segment_memory {
            list.extend(["--segment-memory".into(), memory.to_string().into()]);
        }
        list
    }

    fn keys_arguments(&self) -> Vec<OsString> {
        vec!["--keys".into(), self.keys.clone().into()]
    }

    async fn run(
        &self,
        stage: &'static str,
        mut arguments: Vec<OsString>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<serde_json::Value, Error> {
        arguments.extend(["--spill".into(), self.keys.clone().into()]);
        if let Some(memory) = self.memory {
            arguments.extend(["--memory".into(), memory.to_string().into()]);
        }
        let path = self.keys.join("times.json");
        let mut times: BTreeMap<String, f64> = read_json(&path).unwrap_or_default();
        let before = times.get(stage).filter(|time| time.is_finite() && **time >= 0.0);
        let before = before.map(|time| Duration::from_secs_f64(time.min(1e6)));
        tracing::info!(stage, "proving in zero knowledge: a stage begins");
        let end = stage::run(stage, &self.program, &arguments, before, progress).await?;
        let (seconds, peak) = (end["seconds"].as_f64().unwrap_or(0.0), end["peakMiB"].as_u64().unwrap_or(0));
        tracing::info!(stage, seconds, peak_mib = peak, "a stage is done");
        times.insert(stage.into(), seconds);
        write_json(&path, &times)?;
        Ok(end)
    }

    /// Forgets the oldest jobs.
    fn sweep(&self) -> Result<(), Error> {
        let folder = self.keys.join("jobs");
        let list = fs::read_dir(&folder).map_err(Error::file(&folder))?;
        let mut jobs: Vec<_> =
            list.flatten().filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        jobs.sort();
        for (_, path) in &jobs[..jobs.len().saturating_sub(JOBS)] {
            fs::remove_dir_all(path).map_err(Error::file(path))?;
        }
        Ok(())
    }
}

impl Backend for OpenVm {
    async fn prove(&self, input: &[u8], progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<Proven, Error> {
        if let Some(what) = self.lacking() {
            return Err(Error::Lacking(what));
        }
        let job = self.job(input)?;
        fs::create_dir_all(&job).map_err(Error::file(&job))?;
        self.sweep()?;
        if !job.join("input").exists() {
            write_whole(&job.join("input"), input)?;
        }
        for (stage, file) in STAGES {
            if job.join(file).exists() {
                continue;
            }
            let mut arguments = vec![stage.into()];
            match stage {
                "app" | "aggregate" => arguments.extend(self.guest_arguments()),
                "root" => arguments.extend([self.guest_arguments(), self.keys_arguments()].concat()),
                _ => arguments.extend(self.keys_arguments()),
            }
            arguments.push(job.clone().into());
            self.run(stage, arguments, progress).await?;
        }
        #[derive(Deserialize)]
        struct Execution {
            statement: B256,
        }
        let Execution { statement } = read_json(&job.join("execution.json"))?;
        let path = job.join("proof");
        let proof = read(&path, PROOF)?;
        if proof.len() as u64 != PROOF {
            return Err(Error::content(&path)("it is not as long as a proof"));
        }
        let path = job.join("stark.proof");
        let stark = read(&path, MAX_STARK as u64)?;
        if stark.len() > MAX_STARK {
            return Err(Error::content(&path)("it is longer than such a proof is"));
        }
        Ok(Proven { statement, proof: proof.into(), stark: stark.into() })
    }

    async fn verify(&self, proof: &Path) -> Result<B256, Error> {
        self.commit(&|_| ()).await?;
        let arguments = vec!["verify".into(), "--key".into(), self.keys.join("program.vk").into(), proof.into()];
        let end = self.run("verify", arguments, &|_| ()).await?;
        #[derive(Deserialize)]
        struct Verified {
            statement: B256,
        }
        let verified = Verified::deserialize(&end);
        Ok(verified.map_err(|_| Error::Answer { stage: "verify", said: end.to_string() })?.statement)
    }

    fn lacking(&self) -> Option<&'static str> {
        let names =
            ["the program's verifying key", "the parameters", "the root's key", "a sample", "the circuit's key"];
        if !self.is_committed() {
            return Some(names[0]);
        }
        let missing = SETUP.iter().zip(names).find(|((_, file), _)| !self.keys.join(file).exists());
        missing.map(|(_, name)| name)
    }
}

/// At most so many bytes, and one more.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(Error::file(path))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(Error::file(path))?;
    Ok(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_json::from_slice(&read(path, MAX_WORDS)?).map_err(Error::content(path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    write_whole(path, &serde_json::to_vec_pretty(value).map_err(Error::content(path))?)
}

/// Under another name, synced, renamed.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_added_extension("part");
    let written = (|| {
        let mut file = fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    })();
    written.map_err(Error::file(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A program that does what `jove-zk` does to files, and keeps count.
    const SCRIPT: &str = r#"#!/bin/sh
echo "$1" >> "$(dirname "$0")/log"
stage="$1"
for last; do case "$last" in */jobs/*) job="$last";; */program.vk) key="$last";; esac; done
case "$stage" in
  commit) : > "$key";;
  app) echo '{"statement":"0x0101010101010101010101010101010101010101010101010101010101010101"}' > "$job/execution.json"; : > "$job/revealed.proof";;
  aggregate) : > "$job/stark.proof";;
  root) [ -e "$(dirname "$0")/fails" ] && { echo "out of memory" >&2; exit 137; }; : > "$job/root.proof";;
  wrap) head -c 2656 /dev/zero > "$job/proof";;
esac
echo '{"seconds":1,"peakMiB":1,"program":"0x1","vm":"0x2","statement":"0x0101010101010101010101010101010101010101010101010101010101010101"}'
"#;

    fn backend() -> (tempfile::TempDir, OpenVm) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("script"), SCRIPT).unwrap();
        // Copied by another process: what this one wrote, another test's child could hold open while it is started.
        let mut install = std::process::Command::new("install");
        assert!(install.args(["-m", "755"]).args([at("script"), at("jove-zk")]).status().unwrap().success());
        fs::write(at("guest"), "guest").unwrap();
        fs::write(at("vm"), "vm").unwrap();
        fs::create_dir(at("keys")).unwrap();
        let backend = OpenVm {
            program: at("jove-zk"),
            guest: at("guest"),
            vm: at("vm"),
            keys: at("keys"),
            memory: None,
            segment_memory: Some(3),
        };
        (folder, backend)
    }

    fn log(folder: &tempfile::TempDir) -> Vec<String> {
        let text = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        text.lines().map(Into::into).collect()
    }

    fn set_up(backend: &OpenVm) {
        for (_, file) in SETUP {
            fs::write(backend.keys.join(file), "").unwrap();
        }
        let commitments = Commitments { program: U256::from(1), vm: U256::from(2) };
        let kept = Committed { image: backend.image().unwrap(), commitments };
        write_json(&backend.keys.join("commitments.json"), &kept).unwrap();
    }

    #[tokio::test]
    async fn a_job_goes_on_where_it_was() {
        let (folder, backend) = backend();
        assert!(matches!(backend.prove(b"input", &|_| ()).await, Err(Error::Lacking(_))));
        set_up(&backend);
        fs::write(folder.path().join("fails"), "").unwrap();
        let failed = backend.prove(b"input", &|_| ()).await;
        assert!(matches!(failed, Err(Error::Stage { stage: "root", reason }) if reason == "out of memory"));
        fs::remove_file(folder.path().join("fails")).unwrap();
        let proven = backend.prove(b"input", &|_| ()).await.unwrap();
        assert_eq!((proven.statement, proven.proof.len()), (B256::repeat_byte(1), 2_656));
        assert_eq!(log(&folder), ["app", "aggregate", "root", "root", "wrap"]);
        // Nothing is made twice; another input is another job.
        assert_eq!(backend.prove(b"input", &|_| ()).await.unwrap(), proven);
        assert_eq!(log(&folder).len(), 5);
        assert!(backend.stark(b"input").unwrap().is_some() && backend.stark(b"other").unwrap().is_none());
        backend.prove(b"other", &|_| ()).await.unwrap();
        assert_eq!(log(&folder).len(), 9);
        // A proof of another length is none.
        let job = backend.job(b"input").unwrap();
        fs::write(job.join("proof"), [0; 2_657]).unwrap();
        assert!(matches!(backend.prove(b"input", &|_| ()).await, Err(Error::Content { .. })));
    }

    #[tokio::test]
    async fn old_jobs_are_forgotten() {
        let (_folder, backend) = backend();
        set_up(&backend);
        for number in 0..JOBS as u8 + 4 {
            backend.prove(&[number], &|_| ()).await.unwrap();
        }
        let left = fs::read_dir(backend.keys.join("jobs")).unwrap().count();
        assert!((JOBS..=JOBS + 1).contains(&left), "{left}");
        assert!(backend.stark(&[JOBS as u8 + 3]).unwrap().is_some());
    }

    #[tokio::test]
    async fn statements_of_starks_are_told() {
        let (folder, backend) = backend();
        for _ in 0..2 {
            assert_eq!(backend.verify(Path::new("x")).await.unwrap(), B256::repeat_byte(1));
        }
        // What it is verified with is made where it is not there, and again for another build of the guest.
        assert_eq!(log(&folder), ["commit", "verify", "verify"]);
        set_up(&backend);
        assert_eq!(backend.lacking(), None);
        let Commitments { program, vm } = backend.commitments().unwrap();
        assert_eq!((program, vm), (U256::from(1), U256::from(2)));
        fs::write(&backend.guest, "another build").unwrap();
        assert_eq!(backend.lacking(), Some("the program's verifying key"));
        backend.verify(Path::new("x")).await.unwrap();
        assert_eq!(log(&folder)[3..], ["commit", "verify"]);
    }

    #[test]
    fn a_verifying_key_has_31_words() {
        let word = |byte: u8| format!("{:02x}", byte).repeat(32);
        let pair = |byte| [word(byte), word(byte + 1)];
        let text = serde_json::json!({
            "sG2": [word(1), word(2), word(3), word(4)],
            "fixed": [pair(5), pair(7), pair(9), pair(11), pair(13), pair(15)],
            "permutation": [pair(17), pair(19), pair(21), pair(23), pair(25), pair(27), pair(29)],
            "digest": word(31),
            "ceremony": false,
        });
        let key: VerifyingKey = serde_json::from_value(text).unwrap();
        let words: Vec<u8> = key.encode().chunks(32).map(|word| word[0]).collect();
        assert_eq!(words, (1..=31).collect::<Vec<u8>>());
    }
}
