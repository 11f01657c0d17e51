//! Why a stage does not go on.

use std::{io, path::PathBuf};
use thiserror::Error;

/// Why a stage does not go on. Nothing that it leaves in its folders is half there.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be: of another version, cut off, or no such thing.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Memory cannot be set aside.
    #[error("memory: {0}")]
    Memory(io::Error),
    /// The VM refuses the program or the input, or the program ended with an error: there is nothing to prove.
    #[error("the program: {0}")]
    Program(String),
    /// A proof could not be made.
    #[error("the proof: {0}")]
    Proof(String),
    /// A proof is wrong.
    #[error("the proof does not hold: {0}")]
    Invalid(String),
}

impl Error {
    /// For `map_err`: a file's.
    pub fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// For `map_err`: of what is in a file.
    pub fn content<T: ToString>(path: &std::path::Path) -> impl FnOnce(T) -> Self + use<T> {
        let path = path.to_owned();
        move |problem| Self::Content { path, problem: problem.to_string() }
    }
}
