//! The program as a process: keys, quotes, proofs, bad requests, restarts, hangs.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

#[path = "../../../crates/proving/tests/chain/mod.rs"]
mod chain;

use alloy_primitives::{Address, B256, Signature};
use chain::{Chain, PAYOUT, small};
use jove_enclave::{
    Attest, Domain, Enclave, Error, Launch, MANIFEST, Proved, Quotes, keys,
    protocol::{Frame, MAX_REQUEST, Reason, answer, read_frame, request, write_frame},
};
use jove_proving::{Input, judge};
use jove_tee::{Binding, Pki, Platform, Policy, TcbStatus, software};
use std::{
    io::{ErrorKind, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_jove-enclave");
const DOMAIN: Domain = Domain { l1_chain_id: 900, registry: Address::repeat_byte(0x11), number: 0 };
const NONCE: B256 = B256::repeat_byte(9);
const ATTEST: Attest =
    Attest { domain: DOMAIN, payout: PAYOUT, block_number: 7, block_hash: B256::repeat_byte(8), nonce: NONCE };
/// For what is quick.
const DEADLINE: Duration = Duration::from_secs(120);

fn quotes(folder: &Path, machine: u64) -> Quotes {
    Quotes::Software { keys: folder.to_owned(), machine }
}

fn enclave(folder: &Path, machine: u64) -> Enclave {
    let launch = Launch::find(Some(PROGRAM.as_ref()), &quotes(folder, machine)).expect("it is there");
    Enclave::new(launch, DEADLINE)
}

fn input() -> Input {
    let mut chain = Chain::new(3);
    let parent = chain.parent.clone();
    let batch = small(&mut chain);
    chain.input(parent, vec![batch])
}

fn signer(proved: &Proved, domain: &Domain) -> Address {
    let signature = Signature::from_raw(&proved.signature).expect("65 bytes");
    signature.recover_address_from_prehash(&keys::digest(domain, proved.statement())).expect("a signature")
}

#[test]
fn a_key_is_attested_and_proves() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut enclave = enclave(folder.path(), 0);
    let hello = enclave.hello().expect("answered");
    let measurement = software::measure(PROGRAM.as_ref(), MANIFEST.as_bytes()).expect("readable");
    assert_eq!((hello.version, hello.kind, hello.measurement, hello.sealed), (2, 0, measurement, true));

    // The quote holds, for this key, place, payout and block; under the development root alone.
    let attested = enclave.attest(&ATTEST).expect("attested");
    assert_eq!(keys::signer(keys::session_digest(NONCE), &attested.signature), Some(attested.key));
    let pki = Pki::open(folder.path()).expect("the program's");
    let collateral = pki.collateral(&Platform::development(0), 1_800_000_000).expect("made");
    let policy = Policy::strict(pki.root.clone(), measurement, software::SIGNER);
    let verified = policy.check(&attested.quote, &collateral, 1_800_000_001).expect("genuine");
    assert_eq!(verified.status, TcbStatus::UpToDate);
    let Attest { payout, block_number, block_hash, .. } = ATTEST;
    let Domain { l1_chain_id: chain_id, registry, .. } = DOMAIN;
    let binding = Binding { chain_id, registry, key: attested.key, payout, block_number, block_hash };
    assert_eq!(verified.report_data, binding.report_data());
    let intel = Policy { root: jove_tee::verify::INTEL_ROOT.to_vec(), ..policy };
    assert_eq!(intel.check(&attested.quote, &collateral, 1_800_000_001).expect_err("not Intel's").name(), "WrongRoot");

    // What is proven is what the same function says here, signed by the attested key.
    let input = input();
    let proved = enclave.prove(&DOMAIN, &input).expect("proven");
    let judgement = judge(&input).expect("valid");
    assert_eq!(proved.statement(), judgement.statement());
    assert_eq!((proved.key, signer(&proved, &DOMAIN)), (attested.key, attested.key));
    let roots = judgement.verdicts[0].outcome.as_ref().expect("valid");
    assert_eq!((proved.outcomes[0].roots, proved.outcomes[0].invalid.as_str()), (*roots, ""));
    // Another payout, or another place, is another key: it is registered nowhere.
    let other = enclave.prove(&DOMAIN, &Input { payout: Address::ZERO, ..input.clone() }).expect("proven");
    assert!(other.key != proved.key && signer(&other, &DOMAIN) == other.key);
    let elsewhere = Domain { l1_chain_id: 1, ..DOMAIN };
    assert_ne!(enclave.prove(&elsewhere, &input).expect("proven").key, proved.key);
    // An invalid batch is proven so.
    let mut garbage = input.clone();
    garbage.batches[0].contents[0] = vec![0; 131_072].into();
    let proved = enclave.prove(&DOMAIN, &garbage).expect("proven");
    assert!(proved.outcomes[0].invalid.contains("version"), "{}", proved.outcomes[0].invalid);
    assert_eq!(proved.statement(), judge(&garbage).expect("judged").statement());
    assert_eq!(signer(&proved, &DOMAIN), attested.key);
}

#[test]
fn keys_survive_restarts_and_belong_to_a_program_on_a_machine() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let key = |enclave: &mut Enclave| enclave.attest(&ATTEST).expect("attested").key;
    let mut first = enclave(folders[0].path(), 0);
    let before = key(&mut first);
    // Killed from outside, and started anew by the next request.
    let process = first.process().expect("it runs");
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().expect("there is kill").success());
    let killed = Instant::now();
    while Path::new(&format!("/proc/{process}/stat")).exists()
        && !std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default().contains(") Z")
    {
        assert!(killed.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    assert_eq!(key(&mut first), before);
    assert_ne!(first.process(), Some(process));
    assert_eq!(key(&mut enclave(folders[0].path(), 0)), before);
    assert_ne!(key(&mut enclave(folders[0].path(), 1)), before, "another machine");
    assert_ne!(key(&mut enclave(folders[1].path(), 0)), before, "another root");
    // The same program with a byte more at its end is another program.
    let copy = folders[1].path().join("jove-enclave");
    std::fs::copy(PROGRAM, &copy).expect("copied");
    std::fs::OpenOptions::new().append(true).open(&copy).expect("ours").write_all(&[0]).expect("written");
    // What it was written through, another test's child may hold until it runs.
    while Command::new(&copy).output().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy) {
        std::thread::yield_now();
    }
    let launch = Launch::find(Some(&copy), &quotes(folders[0].path(), 0)).expect("it is there");
    let mut other = Enclave::new(launch, DEADLINE);
    assert_ne!(other.hello().expect("answered").measurement, first.hello().expect("answered").measurement);
    assert_ne!(key(&mut other), before);
}

#[test]
fn a_bad_request_is_refused_and_the_next_one_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut enclave = enclave(folder.path(), 0);
    let process = |enclave: &mut Enclave| {
        enclave.hello().expect("it goes on");
        enclave.process()
    };
    let running = process(&mut enclave);
    let refused = |enclave: &mut Enclave, kind, body: &[u8]| {
        let (kind, body) = enclave.forward(kind, body.to_vec()).expect("answered");
        assert_eq!(kind, answer::REFUSAL);
        Reason::from_number(body[0]).expect("a reason")
    };
    for (kind, body) in [
        (request::HELLO, &b"x"[..]),
        (request::ATTEST, b""),
        (request::ATTEST, b"\xc0"),
        (request::PROVE, b""),
        (request::PROVE, b"\xc0"),
        (9, b""),
        (255, b"anything"),
    ] {
        assert_eq!(refused(&mut enclave, kind, body), Reason::Request, "{kind}");
    }
    let with = |input: &[u8]| [&alloy_rlp::encode(DOMAIN)[..], input].concat();
    assert_eq!(refused(&mut enclave, request::PROVE, &with(b"\xc0")), Reason::Input);
    let mut input = input();
    let whole = input.encode();
    assert_eq!(refused(&mut enclave, request::PROVE, &with(&whole[..whole.len() - 1])), Reason::Input);
    input.batches[0].messages.clear();
    match enclave.prove(&DOMAIN, &input).expect_err("refused") {
        Error::Refused { reason: Reason::Input, text } => assert!(text.contains("messages"), "{text}"),
        other => panic!("{other}"),
    }
    assert!(matches!(enclave.forward(0, vec![0; MAX_REQUEST]), Err(Error::TooLong(_))));
    assert_eq!(process(&mut enclave), running, "it is the same process");
}

fn raw(folder: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(quotes(folder, 0).arguments());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

#[test]
fn frames_that_are_too_long_are_skipped_and_one_that_ends_early_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = raw(folder.path());
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let long = MAX_REQUEST as u32 + 1;
    let writer = std::thread::spawn(move || {
        stdin.write_all(&long.to_be_bytes()).expect("taken");
        std::io::copy(&mut std::io::repeat(2).take(long.into()), &mut stdin).expect("taken");
        write_frame(&mut stdin, request::HELLO, &[]).expect("taken");
    });
    assert!(matches!(read_frame(&mut stdout, 1000), Ok(Frame::Body(answer::REFUSAL, _))));
    assert!(matches!(read_frame(&mut stdout, 1000), Ok(Frame::Body(answer::OK, _))));
    writer.join().expect("written");
    assert!(child.wait().expect("ended").success());

    let mut child = raw(folder.path());
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    stdin.write_all(&[0, 0, 0, 0]).expect("taken");
    assert!(matches!(read_frame(&mut stdout, 1000), Ok(Frame::Body(answer::REFUSAL, _))));
    write_frame(&mut stdin, request::HELLO, &[]).expect("taken");
    assert!(matches!(read_frame(&mut stdout, 1000), Ok(Frame::Body(answer::OK, _))));
    stdin.write_all(&[0, 0, 0, 9, 0]).expect("taken");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("requests and answers"));

    // It ends well where requests end.
    let mut child = raw(folder.path());
    drop(child.stdin.take());
    assert!(child.wait().expect("ended").success());
}

#[test]
fn a_program_that_hangs_is_killed_and_one_that_ends_is_said() {
    let launch = |program: &str, arguments: &[&str]| Launch {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        folder: None,
    };
    // It reads nothing and answers nothing; the request is longer than any pipe.
    let mut hangs = Enclave::new(launch("sleep", &["1000"]), Duration::from_millis(200));
    for _ in 0..2 {
        assert!(matches!(hangs.forward(0, vec![0; 1 << 22]), Err(Error::Deadline(_))));
        assert_eq!(hangs.process(), None);
    }
    let mut ends = Enclave::new(launch("true", &[]), DEADLINE);
    assert!(matches!(ends.hello(), Err(Error::Ended(_))));
    let mut babbles = Enclave::new(
        launch("sh", &["-c", "printf '\\377\\377\\377\\377'; exec sleep 1000"]),
        Duration::from_millis(500),
    );
    assert!(matches!(babbles.hello(), Err(Error::Deadline(_) | Error::Ended(_))));
    let mut echoes = Enclave::new(launch("cat", &[]), DEADLINE);
    assert!(matches!(echoes.hello(), Err(Error::Answer)));
    let mut absent = Enclave::new(launch("no such program", &[]), DEADLINE);
    assert!(matches!(absent.hello(), Err(Error::Start { .. })));
}

#[test]
fn the_measurement_is_printed_and_wrong_arguments_are_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[std::ffi::OsString]| Command::new(PROGRAM).args(arguments).output().expect("it runs");
    let mut arguments = quotes(folder.path(), 0).arguments();
    arguments.insert(0, "--measurement".into());
    let measurement = software::measure(PROGRAM.as_ref(), MANIFEST.as_bytes()).expect("readable");
    assert_eq!(String::from_utf8_lossy(&run(&arguments).stdout).trim(), measurement.to_string());
    for wrong in [&["--quotes".into(), "gramine".into()][..], &["--help".into()], &[]] {
        let output = run(wrong);
        assert!(!output.status.success() && output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
}
