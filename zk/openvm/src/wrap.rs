//! From the root's proof to the proof that Ethereum verifies: a KZG proof that the root's verifier accepts.
//!
//! | command | reads | leaves |
//! |---|---|---|
//! | `circuit` | the root's key, parameters | `circuit.*`: the circuit's key, and `verifier.json`, what the contract is given |
//! | `wrap` | those, `root.proof` | `proof`: 32-byte words, those that the contract reads after the public inputs |
//!
//! The circuit is fixed: the root's verifying key and the heights of its traces are in it. Program and VM are public inputs; so one key serves all programs.
//!
//! The key's polynomials are in `circuit.polys` as they are in memory, and mapped: proving takes the memory that it works on, and no copy of the key.

use crate::{
    Error,
    files::{Stage, read, read_bitcode, read_encoded, write_bitcode, write_encoded, write_whole},
    memory::{map_file, vector},
    params::{self, FORMAT, K, hex},
    vm::{Engine, Keys, Program, of},
};
use halo2_base::{
    gates::circuit::{CircuitBuilderStage, builder::BaseCircuitBuilder},
    halo2_proofs::{
        halo2curves::bn256::{Bn256, Fr, G1Affine},
        plonk::{ProvingKey, VerifyingKey, create_proof_from_advice, keygen_pk2, permutation},
        poly::{
            Basis, Polynomial,
            kzg::{commitment::KZGCommitmentScheme, multiopen::ProverSHPLONK},
        },
        transcript::TranscriptWriterBuffer,
    },
};
use openvm_continuations::RootSC;
use openvm_sdk::keygen::dummy::generate_dummy_root_proof;
use openvm_stark_backend::proof::Proof;
use openvm_static_verifier::{
    Halo2ProvingMetadata, Halo2ProvingPinning, StaticVerifierCircuit, StaticVerifierProvingKey, StaticVerifierShape,
    compute_dag_onion_commit, log_heights_per_air_from_proof,
    tracegen::graph_executor::{GraphExecutorState, GraphProgram},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::json;
use snark_verifier_sdk::snark_verifier::system::halo2::transcript::evm::EvmTranscript;
use std::io::Write;

/// Rows of the circuit.
const ROWS: usize = 1 << K;

/// Proves the root of a program that does nothing: what the circuit is made from.
///
/// # Errors
/// [`Error`].
pub fn sample(options: &Program, keys: &Keys) -> Result<(), Error> {
    let stage = Stage::new("sample");
    let sdk = options.sdk(keys.root()?)?;
    let key = &sdk.app_pk().app_vm_pk;
    let setup = openvm_sdk::DeferralSetup::Disabled;
    let proof =
        generate_dummy_root_proof::<Engine, _>(*sdk.app_vm_builder(), key, sdk.agg_prover(), setup, sdk.root_prover());
    write_bitcode(&keys.path("internal.vk"), sdk.agg_vk().as_ref())?;
    write_encoded(&keys.path("sample.proof"), &proof)?;
    stage.end(json!({}));
    Ok(())
}

fn problem(error: impl std::fmt::Debug) -> Error {
    Error::Proof(format!("{error:?}"))
}

/// Makes the circuit's key.
///
/// # Errors
/// [`Error`].
pub fn circuit(keys: &Keys) -> Result<(), Error> {
    let stage = Stage::new("circuit");
    let root = keys.root()?.ok_or_else(|| Error::content(&keys.path("root.pk"))("the root's key is not made"))?;
    let root_vk = root.root_pk.get_vk();
    drop(root);
    let proof: Proof<RootSC> = read_encoded(&keys.path("sample.proof"))?;
    let internal = read_bitcode(&keys.path("internal.vk"))?;
    let (params, about) = params::load(keys)?;
    let shape = StaticVerifierShape { k: K as usize, ..StaticVerifierShape::default() };
    let heights = log_heights_per_air_from_proof(&proof);
    let circuit = StaticVerifierCircuit::try_new(root_vk, compute_dag_onion_commit(&internal), &heights);
    let circuit = circuit.map_err(problem)?;
    stage.progress(1, 6);
    let program = GraphProgram::new(&circuit, shape.lookup_bits, &proof);
    write_bitcode(&keys.path("circuit.program"), &program)?;
    drop(program);
    stage.progress(2, 6);
    let mut builder = StaticVerifierCircuit::builder(CircuitBuilderStage::Keygen, &shape);
    circuit.populate(&mut builder, &proof);
    let config_params = builder.calculate_params(Some(shape.minimum_rows));
    stage.progress(3, 6);
    // One synthesis for both keys.
    let key = keygen_pk2(&params, &builder, false).map_err(problem)?;
    stage.progress(4, 6);
    let num_pvs: Vec<usize> = builder.assigned_instances.iter().map(Vec::len).collect();
    let metadata = Halo2ProvingMetadata { config_params, break_points: builder.break_points(), num_pvs };
    drop(builder);
    write_bitcode(&keys.path("circuit.metadata"), &(&circuit, &shape, &metadata))?;
    write_whole(&keys.path("circuit.vk"), |writer| key.get_vk().write(writer, FORMAT))?;
    let verifier = crate::verifier::describe(&key, &about, metadata.num_pvs.clone())?;
    write_whole(&keys.path("verifier.json"), |writer| writer.write_all(verifier.as_bytes()))?;
    stage.progress(5, 6);
    // The last: where it is whole, all are.
    write_whole(&keys.path("circuit.polys"), |writer| {
        let mut write = |values: &[Fr]| writer.write_all(bytes(values));
        for poly in [key.l0(), key.l_last(), key.l_active_row()] {
            write(poly)?;
        }
        key.fixed_values().iter().try_for_each(|poly| write(poly))?;
        key.fixed_polys().iter().try_for_each(|poly| write(poly))?;
        key.permutation().permutations().iter().try_for_each(|poly| write(poly))?;
        key.permutation().polys().iter().try_for_each(|poly| write(poly))
    })?;
    stage.end(json!({}));
    // What is left need not be freed piece by piece.
    std::process::exit(0)
}

/// Numbers as they are in memory: in Montgomery form.
fn bytes(values: &[Fr]) -> &[u8] {
    const { assert!(size_of::<Fr>() == 32) };
    // SAFETY: a number is four words, without padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The circuit's key, its polynomials mapped.
fn load(keys: &Keys) -> Result<StaticVerifierProvingKey, Error> {
    let path = keys.path("circuit.polys");
    let (circuit, shape, metadata): (_, StaticVerifierShape, Halo2ProvingMetadata) =
        read_bitcode(&keys.path("circuit.metadata"))?;
    let vk_path = keys.path("circuit.vk");
    let params = metadata.config_params.clone();
    let vk = VerifyingKey::<G1Affine>::read::<_, BaseCircuitBuilder<Fr>>(&mut &read(&vk_path)?[..], FORMAT, params)
        .map_err(Error::file(&vk_path))?;
    let (fixed, permuted) = (vk.fixed_commitments().len(), vk.permutation().commitments().len());
    let mut rest = map_file(&path).map_err(Error::file(&path))?;
    if rest.len() != (3 + 2 * fixed + 2 * permuted) * ROWS * size_of::<Fr>() {
        return Err(Error::content(&path)("it is not as long as the circuit's polynomials"));
    }
    let mut next = || {
        let (poly, after) = std::mem::take(&mut rest).split_at_mut(ROWS * size_of::<Fr>());
        rest = after;
        poly
    };
    fn poly<B: Basis>(bytes: &'static mut [u8]) -> Polynomial<Fr, B> {
        // SAFETY: mapped, in one polynomial each; four words, whatever they are, are a number's form. This program wrote them.
        Polynomial::from_backing(unsafe { vector::<Fr>(bytes) })
    }
    let (l0, l_last, l_active) = (poly(next()), poly(next()), poly(next()));
    let fixed_values = (0..fixed).map(|_| poly(next())).collect();
    let fixed_polys = (0..fixed).map(|_| poly(next())).collect();
    let permutations = (0..permuted).map(|_| poly(next())).collect();
    let permuted_polys = (0..permuted).map(|_| poly(next())).collect();
    let permutation = permutation::ProvingKey::from_parts(permutations, permuted_polys);
    let pk = ProvingKey::from_parts(vk, l0, l_last, l_active, fixed_values, fixed_polys, permutation);
    let graph_program = read_bitcode(&keys.path("circuit.program"))?;
    Ok(StaticVerifierProvingKey { circuit, pinning: Halo2ProvingPinning { pk, metadata }, shape, graph_program })
}

/// Makes the KZG proof, and verifies it.
///
/// # Errors
/// [`Error`].
pub fn wrap(keys: &Keys, job: &std::path::Path) -> Result<(), Error> {
    let stage = Stage::new("wrap");
    let proof: Proof<RootSC> = read_encoded(&of(job, "root.proof"))?;
    let key = load(keys)?;
    let (params, _) = params::load(keys)?;
    stage.progress(1, 4);
    let mut state = GraphExecutorState::new(&key.graph_program);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (advice, instances) = key.generate_witness(&proof, threads, &mut state);
    drop(state);
    let StaticVerifierProvingKey { pinning, graph_program, .. } = key;
    drop(graph_program);
    stage.progress(2, 4);
    let columns: Vec<&[Fr]> = instances.iter().map(Vec::as_slice).collect();
    let mut transcript = TranscriptWriterBuffer::<_, G1Affine, _>::init(Vec::new());
    create_proof_from_advice::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, _>, _, _, EvmTranscript<_, _, _, _>>(
        &params,
        &pinning.pk,
        &columns,
        advice,
        ChaCha20Rng::from_entropy(),
        &mut transcript,
    )
    .map_err(problem)?;
    let made = transcript.finalize();
    stage.progress(3, 4);
    crate::verifier::verify(&params, pinning.pk.get_vk(), &instances[0], &made)?;
    write_whole(&of(job, "proof"), |writer| writer.write_all(&made))?;
    let inputs: Vec<String> = instances[0].iter().map(hex).collect();
    let text = json!({ "inputs": inputs, "proof": made.iter().map(|byte| format!("{byte:02x}")).collect::<String>() });
    write_whole(&of(job, "proof.json"), |writer| write!(writer, "{text}"))?;
    stage.end(json!({ "program": inputs.first(), "vm": inputs.get(1) }));
    std::process::exit(0)
}

/// Prints the contract that the library generates, or its protocol.
///
/// # Errors
/// [`Error`].
pub fn generated(keys: &Keys, protocol: bool) -> Result<(), Error> {
    let key = load(keys)?;
    let (params, _) = params::load(keys)?;
    let inputs = key.pinning.metadata.num_pvs.clone();
    let (contract, described) = crate::verifier::generated(&params, key.pinning.pk.get_vk(), inputs)?;
    let text = if protocol { described } else { contract };
    crate::files::output().write_all(text.as_bytes()).map_err(Error::file(std::path::Path::new("standard output")))
}
