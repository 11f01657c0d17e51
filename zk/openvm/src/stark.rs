//! From an execution to one STARK.
//!
//! | command | reads | leaves |
//! |---|---|---|
//! | `execute` | `input` | `execution.json`: the statement, instructions, segments |
//! | `app` | `input` | `seed`, which was drawn; `segment-N.proof` of each segment, then `revealed.proof`: what was revealed, against the last segment's memory |
//! | `aggregate` | those, as many as `execution.json` says | `stark.proof`: one proof of all, and `stark.meta` |
//! | `verify` | `stark.proof` | the statement that it proves |

use crate::{
    Error,
    files::{Stage, read, read_encoded, write_encoded, write_whole},
    vm::{Engine, Keys, Program, of},
};
use openvm_circuit::{
    arch::{
        ContinuationVmProof, PreflightExecutionOutput, SystemConfig, VirtualMachineError, VmState,
        execution_mode::Segment, hasher::poseidon2::vm_poseidon2_hasher,
    },
    system::memory::{
        merkle::public_values::{UserPublicValuesProof, extract_public_values},
        online::GuestMemory,
    },
};
use openvm_continuations::CommitBytes;
use openvm_sdk::{
    CpuSdk, F, SC, Sdk, StdIn,
    prover::{AggProver, vm::new_local_prover},
};
use openvm_stark_backend::{StarkEngine, p3_field::PrimeField32, proof::Proof};
use openvm_verify_stark_host::{VmStarkProof, vk::VmStarkVerifyingKey};
use serde_json::{Value, json};
use std::{
    hash::{BuildHasher, RandomState},
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tracing::span;
use tracing_subscriber::{Layer, layer::SubscriberExt};

/// One more layer of the recursive circuit, which makes the proof smaller.
const LAST_LAYERS: usize = 1;

fn program(error: impl Into<VirtualMachineError>) -> Error {
    Error::Program(error.into().to_string())
}

fn proof(error: impl ToString) -> Error {
    Error::Proof(error.to_string())
}

/// What is revealed, in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".into(), |text, byte| format!("{text}{byte:02x}"))
}

/// What the machine is given: the seed of the program's hash maps, and its input.
fn given(seed: u32, input: &[u8]) -> StdIn {
    let mut given = StdIn::from_bytes(&seed.to_le_bytes());
    given.write_bytes(input);
    given
}

/// The seed of a job, which nobody could know who had a hand in its input. The segments' proofs that are there are of the same.
fn seed(job: &Path) -> Result<u32, Error> {
    let path = of(job, "seed");
    if !path.exists() {
        let drawn = RandomState::new().hash_one(0).to_le_bytes();
        write_whole(&path, |writer| writer.write_all(&drawn[..4]))?;
    }
    let seed = read(&path)?.try_into().map_err(|_| Error::content(&path)("it does not have four bytes"))?;
    Ok(u32::from_le_bytes(seed))
}

/// Runs the program on each of these inputs, without proving, and tells what it reveals and how long it is.
///
/// # Errors
/// [`Error`], but not where a program ends with an error: then the line says so, and the next input is run.
pub fn execute(options: &Program, seed: u32, inputs: &[std::path::PathBuf]) -> Result<(), Error> {
    let sdk = options.sdk(None)?;
    let exe = options.exe(&sdk)?;
    let instance =
        new_local_prover::<Engine, _>(*sdk.app_vm_builder(), &sdk.app_pk().app_vm_pk, exe.clone()).map_err(program)?;
    let context = instance.vm.build_metered_ctx(&exe);
    let interpreter = instance.vm.metered_interpreter(&exe).map_err(program)?;
    for path in inputs {
        let stage = Stage::new("execute");
        let input = given(seed, &read(path)?);
        let result = match interpreter.execute_metered(input, context.clone()) {
            Ok((segments, end)) => execution(&revealed(&instance.vm.config().system.config, &end), &segments),
            Err(error) => json!({ "error": error.to_string() }),
        };
        stage.end(result);
    }
    Ok(())
}

fn execution(revealed: &[u8], segments: &[Segment]) -> Value {
    let instructions: u64 = segments.iter().map(|segment| segment.num_insns).sum();
    json!({ "statement": hex(revealed), "instructions": instructions, "segments": segments.len() })
}

/// Proves each segment of the execution, but those whose proofs are there.
///
/// # Errors
/// [`Error`].
pub fn app(options: &Program, job: &Path) -> Result<(), Error> {
    let stage = Stage::new("app");
    let sdk = options.sdk(None)?;
    let exe = options.exe(&sdk)?;
    let input = given(seed(job)?, &read(&of(job, "input"))?);
    let mut instance =
        new_local_prover::<Engine, _>(*sdk.app_vm_builder(), &sdk.app_pk().app_vm_pk, exe.clone()).map_err(program)?;
    let (segments, end) = {
        let context = instance.vm.build_metered_ctx(&exe);
        let interpreter = instance.vm.metered_interpreter(&exe).map_err(program)?;
        interpreter.execute_metered(input.clone(), context).map_err(program)?
    };
    let revealed = revealed(&instance.vm.config().system.config, &end);
    drop(end);
    let execution = execution(&revealed, &segments);
    write_whole(&of(job, "execution.json"), |writer| write!(writer, "{execution}"))?;

    instance.reset_state(input);
    let mut state = instance.state_mut().take();
    for (index, segment) in segments.iter().enumerate() {
        stage.progress(index, segments.len());
        let from = state.take().ok_or_else(|| proof("the state is lost"))?;
        let path = of(job, &format!("segment-{index}.proof"));
        let (is_last, is_proven) = (index + 1 == segments.len(), path.exists());
        instance.vm.transport_init_memory_to_device(&from.memory);
        let PreflightExecutionOutput { system_records, record_arenas, to_state } = instance
            .vm
            .execute_preflight(&mut instance.interpreter, from, Some(segment.num_insns), &segment.trace_heights)
            .map_err(program)?;
        state = Some(to_state);
        // The last segment's traces have the tree of the memory that the revealed bytes are in.
        if is_proven && !is_last {
            continue;
        }
        let context = instance.vm.generate_proving_ctx(system_records, record_arenas).map_err(proof)?;
        if !is_proven {
            let made =
                instance.vm.engine.prove(instance.vm.pk(), context).map_err(|error| proof(format!("{error:?}")))?;
            write_encoded(&path, &made)?;
        }
    }
    let end = state.ok_or_else(|| proof("the state is lost"))?;
    let tree = instance.vm.memory_top_tree().ok_or_else(|| proof("there is no tree of the memory"))?;
    let config = &instance.vm.config().system.config;
    let revealed = UserPublicValuesProof::compute(
        config.memory_config.memory_dimensions(),
        config.num_public_values,
        &vm_poseidon2_hasher::<F>(),
        &end.memory.memory,
        tree,
    );
    write_whole(&of(job, "revealed.proof"), |writer| revealed.encode::<SC, _>(writer))?;
    stage.end(execution);
    Ok(())
}

/// What an execution has revealed at its end.
fn revealed<T>(config: &SystemConfig, end: &VmState<T, GuestMemory>) -> Vec<u8> {
    extract_public_values(config.num_public_values, &end.memory.memory)
}

/// What there is to aggregate, by `execution.json`.
#[derive(serde::Deserialize)]
struct Execution {
    segments: usize,
}

/// Makes one proof of those of the segments, and verifies it.
///
/// # Errors
/// [`Error`].
pub fn aggregate(options: &Program, job: &Path) -> Result<(), Error> {
    let stage = Stage::new("aggregate");
    let sdk = options.sdk(None)?;
    let path = of(job, "execution.json");
    let Execution { segments } = serde_json::from_slice(&read(&path)?).map_err(Error::content(&path))?;
    if segments == 0 {
        return Err(Error::content(&path)("it has no segments"));
    }
    let of_segment = |index| read_encoded(&of(job, &format!("segment-{index}.proof")));
    let per_segment = (0..segments).map(of_segment).collect::<Result<Vec<Proof<SC>>, Error>>()?;
    let path = of(job, "revealed.proof");
    let user_public_values =
        UserPublicValuesProof::decode::<SC, _>(&mut &read(&path)?[..]).map_err(Error::content(&path))?;
    let verifying = verifying_key(options, &sdk)?;
    let prover = sdk.agg_prover();
    let counter = Counter { done: AtomicUsize::new(0), of: nodes(&prover, per_segment.len()), stage };
    let counter = Arc::new(counter);
    let heard = tracing_subscriber::registry().with(Heard(counter.clone()));
    let (proven, metadata) = tracing::subscriber::with_default(heard, || {
        let (mut proven, mut metadata) =
            prover.prove_vm(ContinuationVmProof { per_segment, user_public_values }).map_err(proof)?;
        for _ in 0..LAST_LAYERS {
            proven = prover.wrap_proof(proven, &mut metadata).map_err(proof)?;
        }
        Ok::<_, Error>((proven, metadata))
    })?;
    Sdk::verify_proof(verifying.mvk, verifying.baseline, &proven).map_err(|error| Error::Invalid(error.to_string()))?;
    write_encoded(&of(job, "stark.meta"), &metadata)?;
    write_encoded(&of(job, "stark.proof"), &proven)?;
    let statement = statement(&proven)?;
    if let Ok(counter) = Arc::try_unwrap(counter) {
        counter.stage.end(json!({ "statement": statement }));
    }
    Ok(())
}

/// Proofs that are made of this many segments' proofs.
fn nodes(prover: &AggProver, segments: usize) -> usize {
    let tree = &prover.agg_tree_config;
    let leaves = segments.div_ceil(tree.num_children_leaf);
    let mut row = leaves.div_ceil(tree.num_children_internal);
    let mut all = leaves + row;
    loop {
        row = row.div_ceil(tree.num_children_internal);
        all += row;
        if row == 1 {
            return all + LAST_LAYERS;
        }
    }
}

/// Counts the proofs of an aggregation.
struct Counter {
    done: AtomicUsize,
    of: usize,
    stage: Stage,
}

/// Hears of spans.
struct Heard(Arc<Counter>);

impl<S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for Heard {
    fn on_close(&self, id: span::Id, context: tracing_subscriber::layer::Context<'_, S>) {
        let name = context.span(&id).map_or("", |span| span.name());
        if matches!(name, "single_leaf_agg" | "single_internal_agg") {
            let done = self.0.done.fetch_add(1, Relaxed) + 1;
            self.0.stage.progress(done.min(self.0.of), self.0.of);
        }
    }
}

/// What an aggregated proof of this program is verified with.
fn verifying_key(options: &Program, sdk: &CpuSdk) -> Result<VmStarkVerifyingKey, Error> {
    let prover = sdk.prover(options.exe(sdk)?).map_err(program_error)?;
    Ok(VmStarkVerifyingKey { mvk: sdk.agg_vk().as_ref().clone(), baseline: prover.generate_baseline() })
}

fn program_error(error: openvm_sdk::SdkError) -> Error {
    Error::Program(error.to_string())
}

/// Writes what aggregated proofs are verified with, and tells the commitments of program and VM.
///
/// # Errors
/// [`Error`].
pub fn commit(options: &Program, verifying: &Path) -> Result<(), Error> {
    let stage = Stage::new("commit");
    let sdk = options.sdk(None)?;
    let key = verifying_key(options, &sdk)?;
    crate::files::write_bitcode(verifying, &key)?;
    let prover = sdk.agg_prover();
    stage.end(json!({
        "program": hex(CommitBytes::from(key.baseline.app_exe_commit).as_slice()),
        "vm": hex(CommitBytes::from(prover.vm_or_hook_commit()).as_slice()),
    }));
    Ok(())
}

/// Verifies an aggregated proof, by the program's verifying key.
///
/// # Errors
/// [`Error::Invalid`] if it does not hold; [`Error`].
pub fn verify(verifying: &Path, path: &Path) -> Result<(), Error> {
    let stage = Stage::new("verify");
    let key: VmStarkVerifyingKey = crate::files::read_bitcode(verifying)?;
    let proven: VmStarkProof = read_encoded(path)?;
    Sdk::verify_proof(key.mvk, key.baseline, &proven).map_err(|error| Error::Invalid(error.to_string()))?;
    stage.end(json!({ "statement": statement(&proven)? }));
    Ok(())
}

/// What a proof reveals.
fn statement(proven: &VmStarkProof) -> Result<String, Error> {
    let bytes = proven.user_pvs_proof.public_values.iter().map(|value| u8::try_from(value.as_canonical_u32()));
    let bytes = bytes.collect::<Result<Vec<u8>, _>>();
    Ok(hex(&bytes.map_err(|_| Error::Invalid("what it reveals is no bytes".into()))?))
}

/// The root's key, made once: it is the same whatever the program.
///
/// # Errors
/// [`Error`].
pub fn root_key(options: &Program, keys: &Keys) -> Result<(), Error> {
    let stage = Stage::new("rootKey");
    if keys.root()?.is_none() {
        crate::files::write_bitcode(&keys.path("root.pk"), &options.sdk(None)?.root_pk())?;
    }
    stage.end(json!({}));
    Ok(())
}

/// Proves the aggregated proof's verification once more, with the hash that the KZG proof's circuit is made for.
///
/// # Errors
/// [`Error`].
pub fn root(options: &Program, keys: &Keys, job: &Path) -> Result<(), Error> {
    let stage = Stage::new("root");
    let sdk = options.sdk(keys.root()?)?;
    let proven: VmStarkProof = read_encoded(&of(job, "stark.proof"))?;
    let mut metadata = read_encoded(&of(job, "stark.meta"))?;
    let (aggregation, root) = (sdk.agg_prover(), sdk.root_prover());
    let made = root
        .prove(proven, &root.create_engine(), RETRIES, |proven| aggregation.wrap_proof(proven, &mut metadata))
        .map_err(proof)?;
    write_encoded(&of(job, "root.proof"), &made)?;
    stage.end(json!({}));
    Ok(())
}

/// More layers at most, until the proof has the heights that the root takes.
const RETRIES: usize = 8;
