//! The parameters of KZG commitments on BN254: powers of a secret that nobody may know.
//!
//! Those of a ceremony come in a file as halo2 has it (`kzg_bn254_23.srs`, raw bytes): the degree k, little-endian, in 4 bytes; 2^k points g_i = s^i·G1; 2^k points of the
//! Lagrange basis; G2 and s·G2. Coordinates are 32 bytes each, in Montgomery form. Those made here are by a secret that everybody knows: with them any proof can be
//! forged, so a chain that is not for development refuses them.
//!
//! Kept are `params.points`, both lists of points as they are in memory, and `params.json`.

use crate::{
    Error,
    files::{Stage, read, write_whole},
    memory::{map_file, vector},
    vm::Keys,
};
use halo2_base::halo2_proofs::{
    SerdeFormat,
    arithmetic::best_multiexp,
    halo2curves::{
        CurveAffine,
        bn256::{Bn256, Fq, Fq2, Fr, G1, G1Affine, G2, G2Affine},
        ff::{Field, FromUniformBytes, PrimeField},
        group::{Curve, Group, prime::PrimeCurveAffine},
        pairing::Engine,
        serde::SerdeObject,
    },
    poly::{EvaluationDomain, commitment::ParamsProver, kzg::commitment::ParamsKZG},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs::File,
    io::{BufReader, Read, Write},
    path::Path,
};

/// The degree that the circuit needs: 2^23 rows.
pub const K: u32 = 23;
/// Points of each list.
const N: usize = 1 << K;
/// Bytes of a point, in files and in memory.
const POINT: usize = 64;
/// Points that are made or checked together.
const CHUNK: usize = 1 << 14;

/// s·G2 of the Perpetual Powers of Tau after the 85th contribution, x then y, the imaginary part first, as Ethereum has it. Source: the pairing of the verifier
/// contract that OpenVM published (`openvm-solidity-sdk`, v1.6 and v2.0), which has its negative.
pub const CEREMONY: [&str; 4] = [
    "172aa93c41f16e1e04d62ac976a5d945f4be0acab990c6dc19ac4a7cf68bf77b",
    "2ae0c8c3a090f7200ff398ee9845bbae8f8c1445ae7b632212775f60a0e21600",
    "1754a9fc3b7e4da9197c283c7401773208190c5555caf254e644e99c29366704",
    "1459fe6cc8a1222fd4290864ff9e47d4b8cf7a403593c7107c39538ddefd857e",
];

/// What is known of the parameters at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The degree.
    pub k: u32,
    /// s·G2: x then y, the imaginary part first, 32 bytes each in hexadecimal.
    pub s_g2: [String; 4],
    /// Whether they are the ceremony's; if not, anybody can forge proofs.
    pub ceremony: bool,
}

/// A coordinate in big-endian hexadecimal.
pub fn hex(value: &impl PrimeField<Repr: AsRef<[u8]>>) -> String {
    value.to_repr().as_ref().iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

impl About {
    fn new(s_g2: &G2Affine) -> Self {
        let s_g2 = [&s_g2.x.c1, &s_g2.x.c0, &s_g2.y.c1, &s_g2.y.c0].map(hex);
        let ceremony = s_g2 == CEREMONY;
        Self { k: K, s_g2, ceremony }
    }
}

/// The parameters, mapped.
///
/// # Errors
/// [`Error::File`], [`Error::Content`].
pub fn load(keys: &Keys) -> Result<(ParamsKZG<Bn256>, About), Error> {
    let (path, json) = (keys.path("params.points"), keys.path("params.json"));
    let about: About = serde_json::from_slice(&read(&json)?).map_err(Error::content(&json))?;
    let points = map_points(&path)?;
    let (g, lagrange) = points.split_at_mut(N * POINT);
    // SAFETY: `map_points` has looked at the length and at the form; each half is in one vector.
    let (g, lagrange) = unsafe { (vector::<G1Affine>(g), vector::<G1Affine>(lagrange)) };
    let s_g2 = g2(&about.s_g2).ok_or_else(|| Error::content(&json)("s·G2 is no point"))?;
    // A method of any parameters, for no reason.
    let params = ParamsKZG::<Bn256>::new(1).from_parts(K, g, Some(lagrange), G2Affine::generator(), s_g2);
    Ok((params, about))
}

fn map_points(path: &Path) -> Result<&'static mut [u8], Error> {
    let points = map_file(path).map_err(Error::file(path))?;
    // Points in memory are what they are in the file.
    let point = G1Affine::generator();
    const { assert!(size_of::<G1Affine>() == POINT) };
    // SAFETY: a point has no padding: two coordinates of 32 bytes.
    let in_memory = unsafe { std::slice::from_raw_parts((&raw const point).cast::<u8>(), POINT) };
    if points.len() != 2 * N * POINT || point.to_raw_bytes() != in_memory || points[..POINT] != *in_memory {
        return Err(Error::content(path)("it is no list of points of this degree"));
    }
    Ok(points)
}

fn g2(coordinates: &[String; 4]) -> Option<G2Affine> {
    let number = |text: &String| -> Option<_> {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().rev().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Option::from(Fq::from_repr(bytes.into()))
    };
    let [x1, x0, y1, y0] = coordinates;
    let part = |c0, c1| Some(Fq2 { c0: number(c0)?, c1: number(c1)? });
    Option::from(G2Affine::from_xy(part(x0, x1)?, part(y0, y1)?))
}

/// Takes a ceremony's file, checks all of it, and keeps it.
///
/// # Errors
/// [`Error::Content`] if it is none, or not of this degree; [`Error::File`].
pub fn import(keys: &Keys, path: &Path) -> Result<(), Error> {
    let stage = Stage::new("params");
    let wrong = |what: &str| Error::content(path)(what);
    let file = File::open(path).map_err(Error::file(path))?;
    let length = file.metadata().map_err(Error::file(path))?.len();
    if length != (4 + 2 * N * POINT + 2 * 128) as u64 {
        return Err(wrong("its length is not that of parameters of degree 23"));
    }
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut degree = [0; 4];
    reader.read_exact(&mut degree).map_err(Error::file(path))?;
    if u32::from_le_bytes(degree) != K {
        return Err(wrong("they are not of degree 23"));
    }
    let points = keys.path("params.points");
    write_whole(&points, |writer| std::io::copy(&mut reader.by_ref().take((2 * N * POINT) as u64), writer).map(drop))?;
    let mut g2_points = [G2Affine::generator(); 2];
    for point in &mut g2_points {
        let mut bytes = [0; 128];
        reader.read_exact(&mut bytes).map_err(Error::file(path))?;
        *point = G2Affine::from_raw_bytes(&bytes).ok_or_else(|| wrong("a point of G2 is none"))?;
    }
    let [g2, s_g2] = g2_points;
    let checked = if g2 != G2Affine::generator() { Err(wrong("its point of G2 is not the generator")) } else { Ok(()) };
    let checked = checked.and_then(|()| check(&points, &s_g2, &stage).map_err(|what| wrong(&what)));
    if checked.is_err() {
        std::fs::remove_file(&points).map_err(Error::file(&points))?;
    }
    checked?;
    finish(keys, About::new(&s_g2), stage)
}

/// Checks that the points are powers of one secret, which s·G2 has, in both bases: by random combinations, each of which a wrong list passes with probability 2^-250.
fn check(points: &Path, s_g2: &G2Affine, stage: &Stage) -> Result<(), String> {
    let words = |error: Error| error.to_string();
    if bool::from(s_g2.is_identity()) || !bool::from(s_g2.is_on_curve()) || !is_torsion_free(s_g2) {
        return Err("s·G2 is not in the group".into());
    }
    let bytes = map_points(points).map_err(words)?;
    let is_wrong = |chunk: &[u8]| !chunk.chunks(POINT).all(|point| G1Affine::from_raw_bytes(point).is_some());
    if bytes.par_chunks(CHUNK * POINT).any(is_wrong) {
        return Err("a point is not on the curve".into());
    }
    let (g, lagrange) = bytes.split_at_mut(N * POINT);
    // SAFETY: looked at above; each half is in one vector.
    let (g, lagrange) = unsafe { (vector::<G1Affine>(g), vector::<G1Affine>(lagrange)) };
    stage.progress(1, 4);
    let mut rng = ChaCha20Rng::from_entropy();
    let scalars: Vec<Fr> = (0..N - 1).map(|_| Fr::random(&mut rng)).collect();
    let low = best_multiexp(&scalars, &g[..N - 1]).to_affine();
    stage.progress(2, 4);
    let high = best_multiexp(&scalars, &g[1..]).to_affine();
    if Bn256::pairing(&high, &G2Affine::generator()) != Bn256::pairing(&low, s_g2) {
        return Err("its points are not the powers of the secret".into());
    }
    stage.progress(3, 4);
    let values: Vec<Fr> = (0..N).map(|_| Fr::random(&mut rng)).collect();
    let by_values = best_multiexp(&values, &lagrange);
    let domain = EvaluationDomain::<Fr>::new(1, K);
    let coefficients = domain.lagrange_to_coeff(domain.lagrange_from_vec(values));
    if by_values != best_multiexp(&coefficients, &g) {
        return Err("its Lagrange basis is not that of its powers".into());
    }
    Ok(())
}

fn is_torsion_free(point: &G2Affine) -> bool {
    // r·P = (r − 1)·P + P.
    bool::from((G2::from(*point) * (Fr::ZERO - Fr::ONE) + point).is_identity())
}

/// Makes parameters for development, by a secret that everybody knows.
///
/// # Errors
/// [`Error::File`].
pub fn make(keys: &Keys) -> Result<(), Error> {
    let stage = Stage::new("params");
    let mut seed = [0; 64];
    let words = b"jove: parameters for development, whose secret is public";
    seed[..words.len()].copy_from_slice(words);
    let secret = Fr::from_uniform_bytes(&seed);
    let table = Table::new();
    let chunks = N / CHUNK;
    write_whole(&keys.path("params.points"), |writer| {
        let mut write = |list: &[G1Affine]| list.iter().try_for_each(|point| writer.write_all(&point.to_raw_bytes()));
        let group = rayon::current_num_threads() * 4;
        for first in (0..chunks).step_by(group) {
            stage.progress(first, 2 * chunks);
            let last = (first + group).min(chunks);
            let made: Vec<Vec<G1Affine>> = (first..last).into_par_iter().map(|at| table.powers(secret, at)).collect();
            made.iter().try_for_each(|list| write(list))?;
        }
        for first in (0..chunks).step_by(group) {
            stage.progress(chunks + first, 2 * chunks);
            let last = (first + group).min(chunks);
            let made: Vec<Vec<G1Affine>> = (first..last).into_par_iter().map(|at| table.lagrange(secret, at)).collect();
            made.iter().try_for_each(|list| write(list))?;
        }
        Ok(())
    })?;
    let s_g2 = (G2::generator() * secret).to_affine();
    finish(keys, About::new(&s_g2), stage)
}

fn finish(keys: &Keys, about: About, stage: Stage) -> Result<(), Error> {
    let path = keys.path("params.json");
    let text = serde_json::to_string_pretty(&about).map_err(Error::content(&path))?;
    write_whole(&path, |writer| writer.write_all(text.as_bytes()))?;
    stage.end(json!({ "ceremony": about.ceremony }));
    Ok(())
}

/// Multiples of the generator: d·2^(16i)·G1.
struct Table(Vec<Vec<G1Affine>>);

/// Digits that a table has multiples for.
const DIGITS: usize = 1 << 16;

impl Table {
    fn new() -> Self {
        let mut base = G1::generator();
        let mut rows = Vec::with_capacity(16);
        for _ in 0..16 {
            let mut row = vec![G1::identity(); DIGITS];
            for index in 1..DIGITS {
                row[index] = row[index - 1] + base;
            }
            base += row[DIGITS - 1];
            rows.push(affine(&row));
        }
        Self(rows)
    }

    fn multiples(&self, scalars: &[Fr]) -> Vec<G1Affine> {
        let multiple = |scalar: &Fr| {
            let bytes = scalar.to_repr();
            let digits = bytes.as_ref().chunks_exact(2).map(|two| usize::from(two[0]) | usize::from(two[1]) << 8);
            let terms = self.0.iter().zip(digits).filter(|(_, digit)| *digit > 0);
            terms.fold(G1::identity(), |sum, (row, digit)| sum + row[digit])
        };
        affine(&scalars.iter().map(multiple).collect::<Vec<_>>())
    }

    /// s^i·G1 for the i of a chunk.
    fn powers(&self, secret: Fr, chunk: usize) -> Vec<G1Affine> {
        let first = secret.pow_vartime([(chunk * CHUNK) as u64]);
        self.multiples(&geometric(first, secret))
    }

    /// L_i(s)·G1 for the i of a chunk: L_i(s) = ω^i·(s^n − 1) / (n·(s − ω^i)).
    fn lagrange(&self, secret: Fr, chunk: usize) -> Vec<G1Affine> {
        let omega = (K..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
        let roots = geometric(omega.pow_vartime([(chunk * CHUNK) as u64]), omega);
        let mut inverses: Vec<Fr> = roots.iter().map(|root| (secret - root) * Fr::from(N as u64)).collect();
        invert(&mut inverses);
        let numerator = secret.pow_vartime([N as u64]) - Fr::ONE;
        let values: Vec<Fr> = roots.iter().zip(&inverses).map(|(root, inverse)| *root * inverse * numerator).collect();
        self.multiples(&values)
    }
}

/// A chunk of a geometric series.
fn geometric(first: Fr, ratio: Fr) -> Vec<Fr> {
    std::iter::successors(Some(first), |last| Some(*last * ratio)).take(CHUNK).collect()
}

/// Inverts numbers that are not zero, by one inversion.
fn invert(numbers: &mut [Fr]) {
    let mut product = Fr::ONE;
    let before: Vec<Fr> = numbers
        .iter()
        .map(|number| {
            let before = product;
            product *= number;
            before
        })
        .collect();
    let mut inverse = product.invert().unwrap_or(Fr::ZERO);
    for (number, before) in numbers.iter_mut().zip(before).rev() {
        let old = *number;
        *number = inverse * before;
        inverse *= old;
    }
}

fn affine(points: &[G1]) -> Vec<G1Affine> {
    let mut affine = vec![G1Affine::identity(); points.len()];
    G1::batch_normalize(points, &mut affine);
    affine
}

/// The format of keys.
pub const FORMAT: SerdeFormat = SerdeFormat::RawBytes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceremonys_point_is_in_the_group_and_development_is_not_the_ceremony() {
        let point = g2(&CEREMONY.map(Into::into)).unwrap();
        assert!(is_torsion_free(&point) && About::new(&point).ceremony);
        let other = (G2::generator() * Fr::from(5)).to_affine();
        assert!(!About::new(&other).ceremony);
        assert_eq!(g2(&About::new(&other).s_g2), Some(other));
        // A changed digit is no point.
        let mut wrong = CEREMONY.map(String::from);
        wrong[0].replace_range(63.., "c");
        assert_eq!(g2(&wrong), None);
    }

    #[test]
    fn points_are_those_of_the_definition() {
        let (table, secret) = (Table::new(), Fr::from(0x1234_5678));
        assert_eq!(
            table.multiples(&[Fr::ZERO, Fr::ONE, secret]),
            [G1Affine::identity(), G1Affine::generator(), (G1::generator() * secret).to_affine()]
        );
        let powers = table.powers(secret, 1);
        assert_eq!(powers[3], (G1::generator() * secret.pow_vartime([(CHUNK + 3) as u64])).to_affine());
        // Σ L_i(s) = 1 over all i; a chunk's values are checked against the formula.
        let omega = (K..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
        let root = omega.pow_vartime([(2 * CHUNK + 5) as u64]);
        let numerator = root * (secret.pow_vartime([N as u64]) - Fr::ONE);
        let value = numerator * ((secret - root) * Fr::from(N as u64)).invert().unwrap();
        assert_eq!(table.lagrange(secret, 2)[5], (G1::generator() * value).to_affine());
    }
}
