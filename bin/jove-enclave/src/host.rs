//! The program as those outside see it: started, asked, killed where it hangs, started anew.

use crate::{
    Attest, Attested, Domain, Error, Hello, Proved, Quotes,
    protocol::{Frame, MAX_ANSWER, MAX_REQUEST, Reason, answer, decode, read_frame, request, write_frame},
};
use jove_proving::Input;
use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The file name of the program.
pub const PROGRAM: &str = "jove-enclave";

/// How the program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// What is executed.
    pub program: PathBuf,
    /// With these arguments.
    pub arguments: Vec<OsString>,
    /// In this folder, if in another.
    pub folder: Option<PathBuf>,
}

impl Launch {
    /// `program`; without it, the file `jove-enclave` beside this executable; if there is none and quotes are software's, this executable itself with the
    /// arguments `enclave --inside`, which `jove` understands. In Gramine it is `gramine-sgx jove-enclave`, in the program's folder, which has the signed
    /// manifest.
    ///
    /// # Errors
    /// [`Error::Start`] if there is no program.
    pub fn find(program: Option<&Path>, quotes: &Quotes) -> Result<Self, Error> {
        let failed = |source| Error::Start { program: PROGRAM.into(), source };
        let own = env::current_exe().map_err(failed)?;
        let beside = own.with_file_name(PROGRAM);
        let found = program.map(Path::to_owned).or_else(|| beside.is_file().then_some(beside));
        match (found, quotes) {
            (Some(program), Quotes::Gramine) => {
                let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned);
                let name = program.file_name().unwrap_or(PROGRAM.as_ref());
                Ok(Self { program: "gramine-sgx".into(), arguments: vec![name.into()], folder })
            }
            (Some(program), _) => Ok(Self { program, arguments: quotes.arguments(), folder: None }),
            (None, Quotes::Software { .. }) => {
                let arguments = ["enclave".into(), "--inside".into()].into_iter().chain(quotes.arguments());
                Ok(Self { program: own, arguments: arguments.collect(), folder: None })
            }
            (None, _) => Err(failed(io::ErrorKind::NotFound.into())),
        }
    }

    fn start(&self) -> Result<Running, Error> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let failed = |source| Error::Start { program: self.program.display().to_string(), source };
        let mut child = command.spawn().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let running = Running { child, pipes };
        Ok(running)
    }
}

/// A process. It is killed when this is dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    pipes: Option<(ChildStdin, ChildStdout)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A handle to the program. It is started with the first request, and anew after it ended or was killed; it keeps no state that is lost by that, if its keys
/// are sealed ([`Hello::sealed`]).
///
/// Requests wait for their answers: in an async program, ask from a thread of its own.
#[derive(Debug)]
pub struct Enclave {
    launch: Launch,
    deadline: Duration,
    running: Option<Running>,
}

impl Enclave {
    /// The program started like this, which is killed where an answer takes longer than `deadline`.
    pub fn new(launch: Launch, deadline: Duration) -> Self {
        Self { launch, deadline, running: None }
    }

    /// Who is there.
    ///
    /// # Errors
    /// As [`Self::forward`]; [`Error::Refused`].
    pub fn hello(&mut self) -> Result<Hello, Error> {
        let body = self.ask(request::HELLO, Vec::new())?;
        decode(&body).ok_or(Error::Answer)
    }

    /// A quote for a key.
    ///
    /// # Errors
    /// As [`Self::forward`]; [`Error::Refused`] where the machine makes none.
    pub fn attest(&mut self, attest: &Attest) -> Result<Attested, Error> {
        let body = self.ask(request::ATTEST, alloy_rlp::encode(attest))?;
        decode(&body).ok_or(Error::Answer)
    }

    /// A proof of batches.
    ///
    /// # Errors
    /// As [`Self::forward`]; [`Error::Refused`] if the input proves nothing.
    pub fn prove(&mut self, domain: &Domain, input: &Input) -> Result<Proved, Error> {
        let mut body = alloy_rlp::encode(domain);
        alloy_rlp::Encodable::encode(input, &mut body);
        let body = self.ask(request::PROVE, body)?;
        let proved: Proved = decode(&body).ok_or(Error::Answer)?;
        // That it is of these batches L1 says; a proof that lacks one is no answer.
        if proved.outcomes.len() == input.batches.len() { Ok(proved) } else { Err(Error::Answer) }
    }

    fn ask(&mut self, kind: u8, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (kind, mut body) = self.forward(kind, body)?;
        match kind {
            answer::OK => Ok(body),
            answer::REFUSAL if !body.is_empty() => {
                let reason = Reason::from_number(body.remove(0)).ok_or(Error::Answer)?;
                Err(Error::Refused { reason, text: String::from_utf8_lossy(&body).into_owned() })
            }
            _ => Err(Error::Answer),
        }
    }

    /// Brings a frame to the program, and the answer back.
    ///
    /// # Errors
    /// [`Error::Start`], [`Error::Ended`], [`Error::Deadline`], [`Error::TooLong`], [`Error::Answer`].
    pub fn forward(&mut self, kind: u8, body: Vec<u8>) -> Result<(u8, Vec<u8>), Error> {
        if body.len() >= MAX_REQUEST {
            return Err(Error::TooLong(body.len() + 1));
        }
        let lives = self.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None)));
        let mut running = match self.running.take() {
            Some(running) if lives => running,
            // One that ended since has nothing to lose.
            _ => self.launch.start()?,
        };
        let ended = || Error::Ended(io::ErrorKind::BrokenPipe.into());
        let (mut stdin, mut stdout) = running.pipes.take().ok_or_else(ended)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        // It ends with the answer, or when the process is killed.
        thread::spawn(move || {
            let sent = write_frame(&mut stdin, kind, &[&body]);
            let answer = sent.and_then(|()| read_frame(&mut stdout, MAX_ANSWER));
            // Nobody waits any more after the deadline.
            let _ = sender.send((answer, stdin, stdout));
        });
        match receiver.recv_timeout(self.deadline) {
            Ok((Ok(Frame::Body(kind, body)), stdin, stdout)) => {
                running.pipes = Some((stdin, stdout));
                self.running = Some(running);
                Ok((kind, body))
            }
            Ok((Ok(Frame::Skipped(_)), ..)) => Err(Error::Answer),
            Ok((Ok(Frame::End), ..)) => Err(ended()),
            Ok((Err(error), ..)) => Err(Error::Ended(error)),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Error::Deadline(self.deadline)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// The process's number, while there is one.
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }
}
