//! OpenVM 2.0, by the program `jove-zk`.

use crate::{Backend, Error, MAX_STARK, Pins, Progress, Proven, stage};
use alloy_primitives::{B256, Bytes, U256, hex, keccak256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
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

/// A step of what is done once, the file that is there after it, and what that is.
const SETUP: [(&str, &str, &str); 5] = [
    ("commit", "program.vk", "the program's verifying key"),
    ("params", "params.json", "the parameters"),
    ("root-key", "root.pk", "the root's key"),
    ("sample", "sample.proof", "a sample"),
    ("circuit", "circuit.polys", "the circuit's key for these parameters"),
];
/// What is not there where that of another guest is, or of another build of the program.
const OTHERS: &str = "the verifying key of this guest by this jove-zk, and not of others,";

/// The first bytes of a ceremony's file, before the points.
const DEGREE: u64 = 4;
/// Bytes of the first two points: the generator, and that times the secret.
const POINTS: usize = 128;

/// What programs and machines are known by on L1: numbers below the order of BN254.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitments {
    /// The program and its memory at the start.
    pub program: U256,
    /// The virtual machine, and the circuits of aggregation.
    pub vm: U256,
}

/// What is kept of commitments, and what they are of: guest, machine, and the program that made them.
#[derive(Serialize, Deserialize)]
struct Committed {
    of: B256,
    #[serde(flatten)]
    commitments: Commitments,
}

/// What is known of parameters: `params.json` says it, and `verifier.json` of those that the circuit's key was made with.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    s_g2: [B256; 4],
    ceremony: bool,
}

/// The verifying key of the circuit whose proofs L1 takes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerifyingKey {
    s_g2: [B256; 4],
    fixed: [[B256; 2]; 6],
    permutation: [[B256; 2]; 7],
    digest: B256,
}

impl VerifyingKey {
    /// As `ZkVerifier`'s constructor takes it: s·G2, the fixed columns' commitments, the permutation's, the digest.
    fn encode(&self) -> Bytes {
        let Self { s_g2, fixed, permutation, digest } = self;
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
    /// [`Error`]; [`Error::Content`] too where there are parameters that are not of that file.
    pub async fn setup(
        &self,
        ceremony: Option<&Path>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), Error> {
        fs::create_dir_all(&self.keys).map_err(Error::file(&self.keys))?;
        if let Some(file) = ceremony.filter(|_| self.ceremony().is_some()) {
            self.check_parameters(file)?;
        }
        for (step, file, _) in SETUP {
            if self.is_made(step, file) {
                continue;
            }
            let mut arguments = vec![step.into()];
            match step {
                "commit" => {
                    self.commit(progress).await?;
                    continue;
                }
                "params" => {
                    arguments.extend(self.keys_arguments());
                    if let Some(ceremony) = ceremony {
                        arguments.extend(["--file".into(), ceremony.into()]);
                    }
                }
                "circuit" => {
                    // The file that says that all are there: what is there of other parameters' is replaced one by one.
                    remove(&self.keys.join(file))?;
                    arguments.extend(self.keys_arguments());
                }
                _ => arguments.extend([self.guest_arguments(), self.keys_arguments()].concat()),
            }
            self.run(step, arguments, progress).await?;
        }
        Ok(())
    }

    /// Whether a step has been done, and with what is there now.
    fn is_made(&self, step: &str, file: &str) -> bool {
        let parameters = |name: &str| read_json::<Parameters>(&self.keys.join(name)).ok();
        self.keys.join(file).exists()
            && match step {
                "commit" => self.committed().is_some(),
                "params" => self.ceremony().is_some(),
                "circuit" => {
                    let own = parameters("params.json");
                    own.is_some() && own == parameters("verifier.json")
                }
                _ => true,
            }
    }

    /// Whether the parameters that are there are the ceremony's; nothing if there are none. If not, whoever knows their secret can forge proofs.
    pub fn ceremony(&self) -> Option<bool> {
        let Parameters { ceremony, .. } = read_json(&self.keys.join("params.json")).ok()?;
        self.keys.join("params.points").exists().then_some(ceremony)
    }

    /// Fails unless the parameters that are there are of this file: the second of their points tells secrets apart.
    fn check_parameters(&self, ceremony: &Path) -> Result<(), Error> {
        let first = |path: &Path, skip: u64| {
            let mut points = [0; POINTS];
            let read = fs::File::open(path).and_then(|mut file| {
                file.seek(SeekFrom::Start(skip))?;
                file.read_exact(&mut points)
            });
            read.map(|()| points).map_err(Error::file(path))
        };
        let own = self.keys.join("params.points");
        if first(&own, 0)? == first(ceremony, DEGREE)? {
            return Ok(());
        }
        Err(Error::content(&own)(format!(
            "these parameters are not of {}: delete this file and params.json beside it, and setup makes them and the circuit's key anew",
            ceremony.display()
        )))
    }

    /// Makes what STARKs of this guest are verified with, unless that is there: seconds.
    async fn commit(&self, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Error> {
        if self.committed().is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.keys).map_err(Error::file(&self.keys))?;
        let (of, path) = (self.origin()?, self.keys.join("commitments.json"));
        // First: whatever interrupts this, no key is taken for that of what was here before.
        remove(&path)?;
        let key = vec![self.keys.join("program.vk").into()];
        let end = self.run("commit", [vec!["commit".into()], self.guest_arguments(), key].concat(), progress).await?;
        let commitments =
            Commitments::deserialize(&end).map_err(|_| Error::Answer { stage: "commit", said: end.to_string() })?;
        write_json(&path, &Committed { of, commitments })
    }

    /// What the folder's verifying key commits to, if it is of this guest and of this build of the program.
    fn committed(&self) -> Option<Commitments> {
        let Committed { of, commitments } = read_json(&self.keys.join("commitments.json")).ok()?;
        let is_own = self.origin().is_ok_and(|own| own == of) && self.keys.join("program.vk").exists();
        is_own.then_some(commitments)
    }

    /// What proofs come of: the guest's image, its machine, and the program that makes them, hashed.
    fn origin(&self) -> Result<B256, Error> {
        let hash = |path: &Path| Ok::<_, Error>(keccak256(fs::read(path).map_err(Error::file(path))?));
        Ok(keccak256([hash(&self.guest)?, hash(&self.vm)?, hash_of_program(&self.program)?].concat()))
    }

    /// The commitments of the guest and of its machine.
    ///
    /// # Errors
    /// [`Error::Lacking`], also where those at hand are of another guest, or of another build of the program.
    pub fn commitments(&self) -> Result<Commitments, Error> {
        self.committed().ok_or_else(|| Error::Lacking(self.key_name()))
    }

    /// What [`Self::committed`] lacks, in words.
    fn key_name(&self) -> &'static str {
        if self.keys.join("commitments.json").exists() { OTHERS } else { SETUP[0].2 }
    }

    /// The folder of an input's job. All that decides what is in it is in its name: files of two jobs never mix.
    fn job(&self, input: &[u8]) -> Result<PathBuf, Error> {
        let key = read(&self.keys.join("verifier.json"), MAX_WORDS)?;
        let cuts = B256::from(U256::from(self.segment_memory.unwrap_or_default()));
        let name = keccak256([self.origin()?, keccak256(key), cuts, keccak256(input)].concat());
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
        arguments.extend(["--stop-with-stdin".into(), "--spill".into(), self.keys.clone().into()]);
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
        // They are for estimates: the stage is done all the same.
        if let Err(error) = write_json(&path, &times) {
            tracing::debug!(%error, "a stage's time cannot be kept");
        }
        Ok(end)
    }

    /// Forgets the oldest jobs, but not this one.
    fn sweep(&self, present: &Path) -> Result<(), Error> {
        let folder = self.keys.join("jobs");
        let list = fs::read_dir(&folder).map_err(Error::file(&folder))?;
        let others = list.flatten().filter(|entry| entry.path() != present);
        let mut jobs: Vec<_> =
            others.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        jobs.sort();
        for (_, path) in &jobs[..jobs.len().saturating_sub(JOBS - 1)] {
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
        self.sweep(&job)?;
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
        let (step, _, what) = SETUP.into_iter().find(|(step, file, _)| !self.is_made(step, file))?;
        Some(if step == "commit" { self.key_name() } else { what })
    }

    fn pins(&self) -> Result<Pins, Error> {
        let Commitments { program, vm } = self.commitments()?;
        let key: VerifyingKey = read_json(&self.keys.join("verifier.json"))?;
        Ok(Pins { program, machine: vm, key: key.encode() })
    }

    fn forget(&self, input: &[u8]) -> Result<(), Error> {
        let job = self.job(input)?;
        if job.exists() { fs::remove_dir_all(&job).map_err(Error::file(&job)) } else { Ok(()) }
    }
}

/// The program's hash: it has some hundred megabytes, so it is read again only where its length or its time is another.
fn hash_of_program(path: &Path) -> Result<B256, Error> {
    static KNOWN: Mutex<BTreeMap<PathBuf, (u64, SystemTime, B256)>> = Mutex::new(BTreeMap::new());
    let about = fs::metadata(path).and_then(|about| Ok((about.len(), about.modified()?)));
    let (length, time) = about.map_err(Error::file(path))?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, hash)) = known().get(path).filter(|known| (known.0, known.1) == (length, time)) {
        return Ok(*hash);
    }
    let hash = keccak256(fs::read(path).map_err(Error::file(path))?);
    known().insert(path.to_owned(), (length, time, hash));
    Ok(hash)
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path)(error)),
        _ => Ok(()),
    }
}

/// At most so many bytes, and one more.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
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
here="$(dirname "$0")"
echo "$1" >> "$here/log"
stage="$1"
for last; do
  case "$last" in */jobs/*) job="$last";; */program.vk) key="$last";; esac
  case "$before" in --keys) keys="$last";; --file) file="$last";; esac
  before="$last"
done
secret="$(printf %064d 1)"
case "$stage" in
  commit) : > "$key";;
  params)
    if [ "$file" ]; then tail -c +5 "$file"; secret="$(printf %064d 2)"; else head -c 128 /dev/zero; fi > "$keys/params.points"
    echo "{\"sG2\":[\"$secret\",\"$secret\",\"$secret\",\"$secret\"],\"ceremony\":false}" > "$keys/params.json";;
  root-key) : > "$keys/root.pk";;
  sample) : > "$keys/sample.proof";;
  circuit) cp "$keys/params.json" "$keys/verifier.json"; : > "$keys/circuit.polys";;
  app) echo '{"statement":"0x0101010101010101010101010101010101010101010101010101010101010101"}' > "$job/execution.json"; : > "$job/revealed.proof";;
  aggregate) : > "$job/stark.proof";;
  wrap) head -c 2656 /dev/zero > "$job/proof";;
esac
[ -e "$here/$stage-fails" ] && { echo "out of memory" >&2; exit 137; }
case "$stage" in root) : > "$job/root.proof";; esac
echo '{"seconds":1,"peakMiB":1,"program":"0x1","vm":"0x2","statement":"0x0101010101010101010101010101010101010101010101010101010101010101"}'
"#;

    /// Copied by another process: what this one wrote, another test's child could hold open while it is started.
    fn install(script: &str, folder: &Path) {
        fs::write(folder.join("script"), script).unwrap();
        let mut install = std::process::Command::new("install");
        let status = install.args(["-m", "755"]).args([folder.join("script"), folder.join("jove-zk")]).status();
        assert!(status.unwrap().success());
    }

    fn backend() -> (tempfile::TempDir, OpenVm) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        install(SCRIPT, folder.path());
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

    /// Sets up, and forgets that in the log.
    async fn set_up(folder: &tempfile::TempDir, backend: &OpenVm) {
        backend.setup(None, &|_| ()).await.unwrap();
        assert_eq!(backend.lacking(), None);
        fs::remove_file(folder.path().join("log")).unwrap();
    }

    #[tokio::test]
    async fn a_job_goes_on_where_it_was() {
        let (folder, backend) = backend();
        assert!(matches!(backend.prove(b"input", &|_| ()).await, Err(Error::Lacking(_))));
        set_up(&folder, &backend).await;
        fs::write(folder.path().join("root-fails"), "").unwrap();
        let failed = backend.prove(b"input", &|_| ()).await;
        assert!(matches!(failed, Err(Error::Stage { stage: "root", reason }) if reason == "out of memory"));
        fs::remove_file(folder.path().join("root-fails")).unwrap();
        let proven = backend.prove(b"input", &|_| ()).await.unwrap();
        assert_eq!((proven.statement, proven.proof.len()), (B256::repeat_byte(1), 2_656));
        assert_eq!(log(&folder), ["app", "aggregate", "root", "root", "wrap"]);
        // Nothing is made twice; another input is another job.
        assert_eq!(backend.prove(b"input", &|_| ()).await.unwrap(), proven);
        assert_eq!(log(&folder).len(), 5);
        backend.prove(b"other", &|_| ()).await.unwrap();
        assert_eq!(log(&folder).len(), 9);
        // What was refused is made again, from the beginning.
        backend.forget(b"input").unwrap();
        backend.forget(b"unknown").unwrap();
        backend.prove(b"input", &|_| ()).await.unwrap();
        backend.prove(b"other", &|_| ()).await.unwrap();
        assert_eq!(log(&folder).len(), 13);
        // A proof of another length is none.
        let job = backend.job(b"input").unwrap();
        fs::write(job.join("proof"), [0; 2_657]).unwrap();
        assert!(matches!(backend.prove(b"input", &|_| ()).await, Err(Error::Content { .. })));
    }

    #[tokio::test]
    async fn files_of_two_ways_to_prove_never_mix() {
        let (folder, backend) = backend();
        set_up(&folder, &backend).await;
        let own = backend.job(b"input").unwrap();
        let mut jobs = vec![own.clone()];
        // Other cuts: proofs of segments that do not meet.
        for segment_memory in [None, Some(5)] {
            jobs.push(OpenVm { segment_memory, ..backend.clone() }.job(b"input").unwrap());
        }
        // Memory alone decides nothing.
        assert_eq!(OpenVm { memory: Some(9), ..backend.clone() }.job(b"input").unwrap(), own);
        let verifier = backend.keys.join("verifier.json");
        let key = fs::read(&verifier).unwrap();
        fs::write(&verifier, [&key[..], b" "].concat()).unwrap();
        jobs.push(backend.job(b"input").unwrap());
        fs::write(&verifier, key).unwrap();
        // Another build of the program: what it made before is not gone on with, and its own verifying key is made.
        install(&format!("{SCRIPT}\n"), folder.path());
        assert_eq!(backend.lacking(), Some(OTHERS));
        jobs.push(backend.job(b"input").unwrap());
        fs::write(&backend.vm, "another machine").unwrap();
        jobs.push(backend.job(b"input").unwrap());
        assert_eq!(jobs.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
        // What took hours is not made again.
        backend.setup(None, &|_| ()).await.unwrap();
        assert_eq!((log(&folder), backend.lacking()), (vec!["commit".into()], None));
    }

    #[tokio::test]
    async fn old_jobs_are_forgotten_but_not_the_one_that_goes_on() {
        let (folder, backend) = backend();
        set_up(&folder, &backend).await;
        fs::write(folder.path().join("root-fails"), "").unwrap();
        assert!(backend.prove(b"old", &|_| ()).await.is_err());
        fs::remove_file(folder.path().join("root-fails")).unwrap();
        let old = backend.job(b"old").unwrap();
        for number in 0..JOBS as u8 + 4 {
            fs::create_dir(old.with_file_name(number.to_string())).unwrap();
        }
        fs::File::open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        backend.prove(b"old", &|_| ()).await.unwrap();
        assert_eq!(log(&folder), ["app", "aggregate", "root", "root", "wrap"]);
        let left = || fs::read_dir(backend.keys.join("jobs")).unwrap().count();
        assert_eq!(left(), JOBS);
        backend.prove(b"new", &|_| ()).await.unwrap();
        assert_eq!(left(), JOBS);
    }

    #[tokio::test]
    async fn statements_of_starks_are_told() {
        let (folder, backend) = backend();
        for _ in 0..2 {
            assert_eq!(backend.verify(Path::new("x")).await.unwrap(), B256::repeat_byte(1));
        }
        // What it is verified with is made where it is not there, and again for another build of the guest.
        assert_eq!(log(&folder), ["commit", "verify", "verify"]);
        set_up(&folder, &backend).await;
        let Commitments { program, vm } = backend.commitments().unwrap();
        assert_eq!((program, vm), (U256::from(1), U256::from(2)));
        fs::write(&backend.guest, "another build").unwrap();
        assert_eq!(backend.lacking(), Some(OTHERS));
        // Nothing is said of this guest by what is known of the other.
        assert!(matches!(backend.commitments(), Err(Error::Lacking(OTHERS))));
        assert!(matches!(backend.pins(), Err(Error::Lacking(OTHERS))));
        backend.verify(Path::new("x")).await.unwrap();
        assert_eq!(log(&folder), ["commit", "verify"]);
        assert!(backend.commitments().is_ok());
    }

    #[tokio::test]
    async fn a_key_is_never_taken_for_another_guests() {
        let (folder, backend) = backend();
        set_up(&folder, &backend).await;
        // Killed once the key of another guest was there; then the first guest is back.
        fs::write(&backend.guest, "another build").unwrap();
        fs::write(folder.path().join("commit-fails"), "").unwrap();
        assert!(backend.setup(None, &|_| ()).await.is_err());
        fs::remove_file(folder.path().join("commit-fails")).unwrap();
        fs::write(&backend.guest, "guest").unwrap();
        assert_eq!(backend.lacking(), Some(SETUP[0].2));
        backend.setup(None, &|_| ()).await.unwrap();
        assert_eq!((log(&folder), backend.lacking()), (vec!["commit".into(), "commit".into()], None));
    }

    #[tokio::test]
    async fn parameters_are_those_of_the_file_that_is_named() {
        let (folder, backend) = backend();
        let file = folder.path().join("ceremony");
        fs::write(&file, [[23_u8, 0, 0, 0].as_slice(), &[7; POINTS], &[8; 64]].concat()).unwrap();
        assert_eq!(backend.ceremony(), None);
        set_up(&folder, &backend).await;
        assert_eq!(backend.ceremony(), Some(false));
        // Others are there already, and are not passed off as these.
        let refused = backend.setup(Some(&file), &|_| ()).await;
        assert!(matches!(refused, Err(Error::Content { problem, .. }) if problem.contains("delete")));
        assert_eq!(log(&folder).len(), 0);
        fs::remove_file(backend.keys.join("params.points")).unwrap();
        assert_eq!(backend.lacking(), Some("the parameters"));
        // The circuit's key is made with them, so again. Killed meanwhile, it is not taken for whole.
        fs::write(folder.path().join("params-fails"), "").unwrap();
        assert!(backend.setup(Some(&file), &|_| ()).await.is_err());
        assert_eq!(backend.lacking(), Some("the circuit's key for these parameters"));
        fs::remove_file(folder.path().join("params-fails")).unwrap();
        backend.setup(Some(&file), &|_| ()).await.unwrap();
        assert_eq!((log(&folder), backend.lacking()), (vec!["params".into(), "circuit".into()], None));
        backend.setup(Some(&file), &|_| ()).await.unwrap();
        backend.setup(None, &|_| ()).await.unwrap();
        assert_eq!(log(&folder).len(), 2);
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
