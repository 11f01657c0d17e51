//! `jove enclave`: this executable alone is enough, and the program is started anew when it is gone.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use jove_enclave::{
    Hello, MANIFEST,
    protocol::{Frame, decode, read_frame, request, write_frame},
};
use std::{
    fs,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Session {
    fn hello(&mut self) -> Hello {
        write_frame(&mut self.stdin, request::HELLO, &[]).expect("taken");
        match read_frame(&mut self.stdout, 1_000) {
            Ok(Frame::Body(0, body)) => decode(&body).expect("a hello"),
            other => panic!("{other:?}"),
        }
    }

    /// The processes that it started.
    fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("Linux");
        children.split_whitespace().map(|child| child.parse().expect("a number")).collect()
    }
}

#[test]
fn one_executable_is_enough_and_keeps_the_program_alive() {
    // A link: what a copy is written through, another test's child may hold while this one starts it.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    // There is no jove-enclave beside it.
    let jove = folder.path().join("jove");
    fs::hard_link(env!("CARGO_BIN_EXE_jove"), &jove).expect("linked");
    let keys = folder.path().join("keys");
    let command = |more: &[&str]| {
        let mut command = Command::new(&jove);
        command.args(["enclave", "--keys"]).arg(&keys).args(more);
        command
    };
    let expected = jove_tee::software::measure(&jove, MANIFEST.as_bytes()).expect("readable");
    let printed = command(&["--measurement"]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&printed.stdout).trim(), expected.to_string());

    let mut child = command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut session = Session { child, stdin, stdout };
    let hello = session.hello();
    assert_eq!((hello.measurement, hello.kind, hello.sealed), (expected, 0, true));
    let [program] = session.children()[..] else { panic!("one program") };
    assert!(Command::new("kill").args(["-9", &program.to_string()]).status().expect("there is kill").success());
    // A killed child stays until its parent asks; what matters is that the next request is answered.
    let killed = Instant::now();
    while fs::read_to_string(format!("/proc/{program}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(killed.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    assert_eq!(session.hello(), hello);
    assert_ne!(session.children(), [program]);
    // It ends with its input, and leaves nothing behind.
    let children = session.children();
    drop(session.stdin);
    assert!(session.child.wait().expect("ended").success());
    for child in children {
        let stat = fs::read_to_string(format!("/proc/{child}/stat"));
        assert!(stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z")), "{child} is gone");
    }
}

#[test]
fn other_machines_are_said_to_be_absent() {
    for quotes in ["gramine", "tsm"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jove"));
        let output = command.args(["enclave", "--inside", "--quotes", quotes]).output().expect("it runs");
        assert!(!output.status.success(), "this is no such machine");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/dev/attestation") || said.contains("/sys/kernel/config/tsm"), "{said}");
    }
}
