//! What a contract needs to verify the circuit's proofs, and the same verification here.

use crate::{
    Error,
    params::{About, K, hex},
};
use halo2_base::{
    gates::circuit::builder::BaseCircuitBuilder,
    halo2_proofs::{
        halo2curves::{
            bn256::{Bn256, Fr, G1Affine},
            ff::PrimeField,
        },
        plonk::{ProvingKey, VerifyingKey, verify_proof},
        poly::{
            EvaluationDomain, VerificationStrategy,
            kzg::{
                commitment::{KZGCommitmentScheme, ParamsKZG},
                multiopen::VerifierSHPLONK,
                strategy::AccumulatorStrategy,
            },
        },
        transcript::TranscriptReadBuffer,
    },
};
use serde_json::json;
use snark_verifier_sdk::{
    SHPLONK,
    evm::gen_evm_verifier_sol_code,
    snark_verifier::system::halo2::{Config, compile, transcript::evm::EvmTranscript},
};

fn problem(error: impl std::fmt::Debug) -> Error {
    Error::Proof(format!("{error:?}"))
}

/// The verifying key as JSON: the digest that transcripts begin with, the commitments, s·G2.
///
/// # Errors
/// [`Error::Proof`].
pub fn describe(key: &ProvingKey<G1Affine>, about: &About, inputs: Vec<usize>) -> Result<String, Error> {
    let vk = key.get_vk();
    let point = |point: &G1Affine| [hex(&point.x), hex(&point.y)];
    let points = |list: &[G1Affine]| list.iter().map(point).collect::<Vec<_>>();
    // As the proof has their evaluations, which is not as they are numbered.
    let fixed = vk.cs().fixed_queries().iter().map(|(column, _)| &vk.fixed_commitments()[column.index()]);
    let domain = EvaluationDomain::<Fr>::new(vk.cs().degree() as u32, K);
    let text = json!({
        "k": K,
        "inputs": inputs,
        "degree": vk.cs().degree(),
        "omega": hex(&domain.get_omega()),
        "digest": hex(&vk.transcript_repr()),
        "fixed": fixed.map(point).collect::<Vec<_>>(),
        "permutation": points(vk.permutation().commitments()),
        "sG2": about.s_g2,
        "ceremony": about.ceremony,
        "delta": hex(&Fr::DELTA),
    });
    serde_json::to_string_pretty(&text).map_err(problem)
}

/// The contract that the library generates, and the protocol that it is of: to compare with.
///
/// # Errors
/// [`Error::Proof`].
pub fn generated(
    params: &ParamsKZG<Bn256>,
    vk: &VerifyingKey<G1Affine>,
    inputs: Vec<usize>,
) -> Result<(String, String), Error> {
    let protocol = compile(params, vk, Config::kzg().with_num_instance(inputs.clone()));
    let protocol = serde_json::to_string(&protocol).map_err(problem)?;
    Ok((gen_evm_verifier_sol_code::<BaseCircuitBuilder<Fr>, SHPLONK>(params, vk, inputs), protocol))
}

/// Verifies a proof as the contract does.
///
/// # Errors
/// [`Error::Invalid`].
pub fn verify(
    params: &ParamsKZG<Bn256>,
    vk: &VerifyingKey<G1Affine>,
    inputs: &[Fr],
    proof: &[u8],
) -> Result<(), Error> {
    let invalid = |what: &dyn std::fmt::Debug| Error::Invalid(format!("{what:?}"));
    let mut transcript = TranscriptReadBuffer::<_, G1Affine, _>::init(proof);
    let strategy = verify_proof::<
        KZGCommitmentScheme<Bn256>,
        VerifierSHPLONK<'_, Bn256>,
        _,
        EvmTranscript<_, _, _, _>,
        _,
    >(params, vk, AccumulatorStrategy::new(params), &[&[inputs]], &mut transcript)
    .map_err(|error| invalid(&error))?;
    let holds = VerificationStrategy::<_, VerifierSHPLONK<'_, Bn256>>::finalize(strategy);
    if holds { Ok(()) } else { Err(invalid(&"the pairing")) }
}
