//! Why nothing is proven.

use std::{io, path::PathBuf};
use thiserror::Error;

/// Why a back end does not do what it is asked to.
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
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The back end's program cannot be started: it is not where it was, or not for this machine.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stage failed, or was killed: what it says of it, at its end. Whoever asks again goes on before it.
    #[error("stage {stage}: {reason}")]
    Stage {
        /// Which.
        stage: &'static str,
        /// The end of what it said on standard error.
        reason: String,
    },
    /// The keys are not made yet: `jove prover setup` makes them.
    #[error("{0} is not there yet: `jove prover setup` makes it")]
    Lacking(&'static str),
    /// What a stage says is not what it is to say: the program is of another version.
    #[error("stage {stage} says {said:?}")]
    Answer {
        /// Which.
        stage: &'static str,
        /// What it said.
        said: String,
    },
}

impl Error {
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub(crate) fn content<T: ToString>(path: &std::path::Path) -> impl FnOnce(T) -> Self + use<T> {
        let path = path.to_owned();
        move |problem| Self::Content { path, problem: problem.to_string() }
    }
}
