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
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
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
    /// `program`; without it, for software quotes this executable itself ([`Self::own`]), for others the file `jove-enclave` beside it. In Gramine it is
    /// `gramine-sgx jove-enclave`, in the program's folder, which has the signed manifest.
    ///
    /// # Errors
    /// [`Error::Start`] if there is no program.
    pub fn find(program: Option<&Path>, quotes: &Quotes) -> Result<Self, Error> {
        let failed = |source| Error::Start { program: PROGRAM.into(), source };
        let program = match (program, quotes) {
            (Some(program), _) => program.to_owned(),
            (None, Quotes::Software { .. }) => return Ok(Self::own(quotes)),
            (None, Quotes::Gramine | Quotes::Tsm) => {
                let beside = env::current_exe().map_err(failed)?.with_file_name(PROGRAM);
                if !beside.is_file() {
                    return Err(failed(io::ErrorKind::NotFound.into()));
                }
                beside
            }
        };
        Ok(match quotes {
            Quotes::Gramine => {
                let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned);
                let name = program.file_name().unwrap_or(PROGRAM.as_ref());
                Self { program: "gramine-sgx".into(), arguments: vec![name.into()], folder }
            }
            Quotes::Software { .. } | Quotes::Tsm => Self { program, arguments: quotes.arguments(), folder: None },
        })
    }

    /// This executable itself with the arguments `enclave --inside`, which `jove` understands. It is the one that runs, whatever file has its name by now.
    pub fn own(quotes: &Quotes) -> Self {
        let arguments = ["enclave".into(), "--inside".into()].into_iter().chain(quotes.arguments());
        Self { program: "/proc/self/exe".into(), arguments: arguments.collect(), folder: None }
    }

    fn start(&self) -> Result<(Running, Pipes), Error> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let failed = |source| Error::Start { program: self.program.display().to_string(), source };
        let mut running = Running(command.spawn().map_err(failed)?);
        let pipes = running.0.stdin.take().zip(running.0.stdout.take());
        Ok((running, pipes.ok_or_else(ended)?))
    }
}

type Pipes = (ChildStdin, ChildStdout);

/// A process. It is killed when this is dropped.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process, while there is one; whoever stops it does not wait for what it does.
#[derive(Debug, Default)]
struct Slot {
    running: Option<Running>,
    stopped: bool,
}

type Shared = Arc<Mutex<Slot>>;

fn lock(slot: &Shared) -> MutexGuard<'_, Slot> {
    // What is in it is right whoever panicked.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended() -> Error {
    Error::Ended(io::ErrorKind::BrokenPipe.into())
}

/// When this is dropped, the program is killed, whatever it does, and not started again: what waits for its answer goes on with an error.
#[derive(Debug)]
pub struct Stopper(Shared);

impl Drop for Stopper {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        (slot.running, slot.stopped) = (None, true);
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
    slot: Shared,
    pipes: Option<Pipes>,
}

impl Drop for Enclave {
    fn drop(&mut self) {
        lock(&self.slot).running = None;
    }
}

impl Enclave {
    /// The program started like this, which is killed where an answer takes longer than `deadline`.
    pub fn new(launch: Launch, deadline: Duration) -> Self {
        Self { launch, deadline, slot: Shared::default(), pipes: None }
    }

    /// Ends it for good when dropped, also while another thread waits for an answer.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.slot.clone())
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
        let (mut stdin, mut stdout) = self.pipes()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        // It ends with the answer, or when the process is killed.
        thread::spawn(move || {
            let sent = write_frame(&mut stdin, kind, &[&body]);
            let answer = sent.and_then(|()| read_frame(&mut stdout, MAX_ANSWER));
            // Nobody waits any more after the deadline.
            let _ = sender.send((answer, stdin, stdout));
        });
        let error = match receiver.recv_timeout(self.deadline) {
            Ok((Ok(Frame::Body(kind, body)), stdin, stdout)) => {
                self.pipes = Some((stdin, stdout));
                return Ok((kind, body));
            }
            Ok((Ok(Frame::Skipped(_)), ..)) => Error::Answer,
            Ok((Ok(Frame::End), ..)) => ended(),
            Ok((Err(error), ..)) => Error::Ended(error),
            Err(mpsc::RecvTimeoutError::Timeout) => Error::Deadline(self.deadline),
            Err(mpsc::RecvTimeoutError::Disconnected) => ended(),
        };
        lock(&self.slot).running = None;
        Err(error)
    }

    /// To and from the process that runs; one is started where none does.
    fn pipes(&mut self) -> Result<Pipes, Error> {
        let mut slot = lock(&self.slot);
        if slot.stopped {
            return Err(ended());
        }
        let lives = slot.running.as_mut().is_some_and(|running| matches!(running.0.try_wait(), Ok(None)));
        if let Some(pipes) = self.pipes.take().filter(|_| lives) {
            return Ok(pipes);
        }
        // One that ended since has nothing to lose.
        let (running, pipes) = self.launch.start()?;
        slot.running = Some(running);
        Ok(pipes)
    }

    /// The process's number, while there is one.
    pub fn process(&self) -> Option<u32> {
        lock(&self.slot).running.as_ref().map(|running| running.0.id())
    }
}
