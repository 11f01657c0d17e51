//! What can go wrong, inside and outside.

use std::{io, time::Duration};
use thiserror::Error;

/// Why the program does not run, or does not answer.
#[derive(Debug, Error)]
pub enum Error {
    /// Quotes cannot be made, or the sealing key cannot be had. Not on this machine, or without permission.
    #[error(transparent)]
    Tee(#[from] jove_tee::Error),
    /// The arguments make no sense.
    #[error("{0}")]
    Arguments(String),
    /// Standard input or output failed, or the input ends in the middle of a request.
    #[error("requests and answers: {0}")]
    Io(#[from] io::Error),
    /// The machine has no randomness.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// The program cannot be started. It is not there, or not executable.
    #[error("the enclave program {program} cannot be started: {source}")]
    Start {
        /// What was started.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The program ended, or closed its output, before it answered; it is started anew for the next request.
    #[error("the enclave program ended without an answer: {0}")]
    Ended(io::Error),
    /// The program did not answer in time, and was killed; it is started anew for the next request.
    #[error("the enclave program did not answer within {0:?}")]
    Deadline(Duration),
    /// What came is no answer, as from another version of the program.
    #[error("the enclave program's answer is malformed")]
    Answer,
    /// The request is longer than the program takes: prove fewer batches at once.
    #[error("the request has {0} bytes, more than the enclave program takes")]
    TooLong(usize),
    /// The program refuses the request.
    #[error("the enclave program refuses: {text}")]
    Refused {
        /// What kind of reason.
        reason: crate::protocol::Reason,
        /// The reason in words.
        text: String,
    },
}
