//! Attestation from deployment to proofs that are refused, with real contracts on a layer 1: `jove deploy --tee-root`, `jove attest`, and a service that
//! imitates Intel's.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::get,
};
use client::{
    free_port,
    layer1::{Layer1, chain_file, jove, refused, stdout},
};
use jove_settlement::{
    Key, L1, Wallet,
    attestation::{Registration, Registry, collateral, keeper},
    contracts::{Pccs, TeeVerifier, ask},
};
use jove_tee::{Binding, Bundle, Pki, Platform, QuoteSource, Software, bundle::Statement, pki::pem, software::SIGNER};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Account 1 of the development mnemonic deploys, and is governor.
const DEPLOYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const MEASUREMENT: B256 = B256::repeat_byte(0x4d);
/// Any account does for the rest.
const ANYONE: [&str; 2] = ["--mnemonic-index", "5"];

/// A chain for development that believes software quotes.
struct Chain {
    layer1: Layer1,
    folder: tempfile::TempDir,
}

impl Chain {
    fn deploy(flags: &[&str]) -> Self {
        let chain = Self { layer1: Layer1::start(), folder: tempfile::tempdir().expect("a folder") };
        let keys = chain.path("keys");
        let measurement = MEASUREMENT.to_string();
        let usual =
            ["--mnemonic-index", "1", "--tee-root", "software", "--tee-keys", &keys, "--tee-measurement", &measurement];
        stdout(&chain.layer1.deploy(&chain.file(), &[&usual[..], flags].concat()).output().expect("runs"));
        chain
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a path").to_owned()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("chain.json")
    }

    fn settlement(&self) -> Value {
        chain_file(&self.file())["settlement"].clone()
    }

    fn pki(&self) -> Pki {
        Pki::open(Path::new(&self.path("keys"))).expect("the seed")
    }

    /// `jove attest` with these flags.
    fn attest(&self, flags: &[&str]) -> Output {
        let url = self.layer1.process.url();
        let file = self.path("chain.json");
        let mut command = jove(&["attest", "--chain", &file, "--l1-url", &url, "--log", "warn"]);
        command.env("JOVE_TEE_KEYS", self.path("keys")).args(flags).output().expect("runs")
    }

    fn l1(&self) -> L1 {
        L1::new(&self.layer1.process.url()).expect("a URL")
    }

    async fn registry(&self) -> Registry {
        let proofs = self.settlement()["proofs"].as_str().expect("named").parse().expect("an address");
        Registry::of_chain(&self.l1(), proofs).await.expect("a registry")
    }

    /// A key of this secret with a quote of that machine.
    async fn registration(&self, secret: u8, machine: u64) -> (Key, Registration) {
        let key = Key::new(B256::repeat_byte(secret)).expect("a key");
        let binding = self.registry().await.binding(key.address(), key.address()).await.expect("a binding");
        let source = Software::new(&self.pki(), Platform::development(machine), MEASUREMENT).expect("a source");
        let Binding { key: address, payout, block_number, .. } = binding;
        let quote = source.quote(binding.report_data()).expect("a quote").into();
        (key, Registration { quote, key: address, payout, block_number })
    }

    async fn wallet(&self) -> Wallet {
        Wallet::new(self.l1(), Key::new(B256::from(account(5))).expect("a key")).await.expect("a wallet")
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.layer1.client().call(method, params).expect("answered")
    }

    fn now(&self) -> u64 {
        client::number(&self.call("eth_getBlockByNumber", json!(["latest", false]))["timestamp"])
    }

    fn pass(&self, days: u64) {
        self.call("evm_increaseTime", json!([days * 86_400]));
        self.call("anvil_mine", json!([1]));
    }
}

/// A private key of the development mnemonic.
fn account(index: usize) -> [u8; 32] {
    let (_, key) = jove_rpc::dev_accounts()[index];
    key.0
}

/// The contract's error, by name, that a refusal ends with.
fn reason(output: &Output) -> String {
    refused(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_registered_and_its_proofs_count_until_its_machine_is_revoked() {
    let chain = Chain::deploy(&[]);
    // The chain file names them, and a second run finds the same.
    let settlement = chain.settlement();
    let named = &settlement["attestation"];
    let registry = chain.registry().await;
    assert_eq!(named["registry"].as_str().expect("named").parse(), Ok(registry.contracts().registry));
    assert_eq!(named["teeVerifier"].as_str().expect("named").parse(), Ok(registry.contracts().tee_verifier));
    let before = chain.layer1.nonce(DEPLOYER);
    assert_eq!(before, 28, "19 contracts less a test verifier, four of attestation, six proxies");
    let mut without = chain_file(&chain.file());
    without["settlement"].as_object_mut().expect("an object").remove("attestation");
    std::fs::write(chain.file(), without.to_string()).expect("written");
    stdout(&chain.layer1.deploy(&chain.file(), &[]).output().expect("runs"));
    assert_eq!(chain.settlement(), settlement, "an older file is completed");
    assert_eq!(chain.layer1.nonce(DEPLOYER), before);

    let status = stdout(&chain.attest(&["status"]));
    for words in [
        "a development root",
        "UpToDate",
        &MEASUREMENT.to_string(),
        &SIGNER.to_string(),
        "0 registered",
        "is not there",
    ] {
        assert!(status.contains(words), "no {words:?} in\n{status}");
    }

    // Without collateral nothing is believed; each part is missed by name.
    let quote = |out: &str, flags: &[&str]| {
        let (out, key) = (chain.path(out), chain.path(&format!("{out}.key")));
        let usual = ["quote", "--software", "--key-out", &key, "--out", &out];
        let said = stdout(&chain.attest(&[&usual[..], flags].concat()));
        assert!(said.contains("proves nothing"), "{said}");
        let registration: Registration = serde_json::from_slice(&std::fs::read(&out).expect("there")).expect("JSON");
        registration
    };
    let measurement = MEASUREMENT.to_string();
    let good = quote("good", &["--measurement", &measurement]);
    let register = |out: &str| chain.attest(&[&["register", &chain.path(out)], &ANYONE[..]].concat());
    let error = reason(&register("good"));
    assert!(error.contains("UnknownIssuer()"), "{error}");

    let uploaded = stdout(&chain.attest(&[&["collateral", "upload", "--software"], &ANYONE[..]].concat()));
    assert_eq!(uploaded.lines().count(), 6, "{uploaded}");
    let again = stdout(&chain.attest(&[&["collateral", "upload", "--software"], &ANYONE[..]].concat()));
    assert!(again.lines().count() <= 4, "certificates are there: {again}");
    let status = stdout(&chain.attest(&["collateral", "status"]));
    assert!(!status.contains("is not there") && status.contains("evaluation 17"), "{status}");

    // What is not allowed, by name.
    quote("other", &["--measurement", &B256::repeat_byte(0x66).to_string()]);
    quote("debug", &["--measurement", &measurement, "--debug"]);
    for (out, name) in [("other", "MeasurementNotAllowed(0x6666"), ("debug", "Debug()")] {
        let error = reason(&register(out));
        assert!(error.contains(name), "{out}: {error}");
    }
    let mut edited = good.clone();
    edited.payout = Address::repeat_byte(1);
    std::fs::write(chain.path("edited"), serde_json::to_string(&edited).expect("JSON")).expect("written");
    assert!(reason(&register("edited")).contains("WrongReportData()"));
    edited.quote = edited.quote.iter().map(|byte| byte ^ 1).collect();
    std::fs::write(chain.path("edited"), serde_json::to_string(&edited).expect("JSON")).expect("written");
    assert!(reason(&register("edited")).contains("Quote"));

    // Registered once, by anyone; again is nothing.
    let said = stdout(&register("good"));
    assert!(said.contains("registered, for") && said.contains(&good.key.to_string()), "{said}");
    assert!(stdout(&register("good")).contains("registered before"));
    let address = good.key.to_string();
    assert!(stdout(&chain.attest(&["status", &address, "--min-left", "29d"])).contains("ends in "));
    let error = refused(&chain.attest(&["status", &address, "--min-left", "31d"]));
    assert!(error.contains("new key"), "{error}");
    assert!(stdout(&chain.attest(&["status"])).contains("1 registered"));
    let error = reason(&chain.attest(&[&["invalidate", &address], &ANYONE[..]].concat()));
    assert!(error.contains("StillValid"), "{error}");

    // Its signature of a statement is a proof.
    let secret = std::fs::read_to_string(chain.path("good.key")).expect("there");
    let key = Key::from_hex(&secret).expect("a key");
    let contracts = registry.contracts();
    let statement = B256::repeat_byte(7);
    let digest =
        ask(&chain.l1(), contracts.tee_verifier, &TeeVerifier::digestOfCall { statement }).await.expect("asked");
    let proof = signature(&key, &secret, digest);
    let verify = TeeVerifier::verifyCall { statement, proof: proof.clone() };
    let prover = ask(&chain.l1(), contracts.tee_verifier, &verify).await.expect("believed");
    assert_eq!((prover.key, prover.vendor), (good.key, 0));
    let wrong = TeeVerifier::verifyCall { statement: B256::repeat_byte(8), proof };
    let error = ask(&chain.l1(), contracts.tee_verifier, &wrong).await.expect_err("refused");
    assert_eq!(error.revert().expect("a revert").name(), Some("UnknownKey"));

    // The machine is revoked: its key's proofs are refused, and it is told why; another machine is not concerned.
    let revoke = ["collateral", "upload", "--software", "--revoke", "0"];
    stdout(&chain.attest(&[&revoke, &ANYONE[..]].concat()));
    let error = ask(&chain.l1(), contracts.tee_verifier, &verify).await.expect_err("refused");
    assert_eq!(error.revert().expect("a revert").name(), Some("PckRevoked"));
    let error = refused(&chain.attest(&["status", &address, "--min-left", "1s"]));
    assert!(error.contains("new key"), "{error}");
    quote("again", &["--measurement", &measurement]);
    assert!(reason(&register("again")).contains("PckRevoked()"));
    quote("second", &["--measurement", &measurement, "--machine", "1"]);
    stdout(&register("second"));
    let ended = stdout(&chain.attest(&[&["invalidate", &address], &ANYONE[..]].concat()));
    assert!(ended.contains("refused: KeyInvalidated"), "{ended}");

    // The risk page tells of it.
    let page = jove(&["risks", "--l1-url", &chain.layer1.process.url(), "--chain", &chain.path("chain.json")]);
    let mut page = page;
    let page = stdout(&page.output().expect("runs"));
    for words in ["## Enclaves", "development root", &MEASUREMENT.to_string(), "UpToDate", "believe everyone"] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }

    // A month later everything has expired, and says so.
    chain.pass(31);
    quote("late", &["--measurement", &measurement, "--machine", "2"]);
    let error = reason(&register("late"));
    assert!(error.contains("CrlNotCurrent()"), "{error}");
    let status = stdout(&chain.attest(&["collateral", "status"]));
    assert!(status.contains("ended 1 d"), "{status}");
}

/// r ‖ s ‖ v over a hash.
fn signature(key: &Key, secret: &str, digest: B256) -> Bytes {
    let secret: [u8; 32] = hex::decode_to_array(secret.trim()).expect("digits");
    let secret = secp256k1::SecretKey::from_secret_bytes(secret).expect("a key");
    let message = secp256k1::Message::from_digest(digest.0);
    let signed = secp256k1::ecdsa::RecoverableSignature::sign_ecdsa_recoverable(message, &secret);
    let (recovery, bytes) = signed.serialize_compact();
    let v = 27 + recovery.to_u8();
    assert_ne!(key.address(), Address::ZERO);
    [&bytes[..], &[v]].concat().into()
}

#[test]
fn a_deployment_with_attestation_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let flags = ["--mnemonic-index", "1", "--tee-root", "software", "--tee-keys", keys.to_str().expect("a path")];
    let whole = Layer1::start();
    let first = folder.path().join("whole.json");
    let printed = stdout(&whole.deploy(&first, &flags).output().expect("runs"));
    for name in ["Pccs", "DcapVerifier", "Registry", "TEE verifier"] {
        assert!(printed.contains(name), "no {name} in {printed}");
    }
    let layer1 = Layer1::start();
    let out = folder.path().join("chain.json");
    let mut kills = 0;
    while !out.exists() && kills < 200 {
        let mut child = layer1
            .deploy(&out, &flags)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("runs");
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("piped")));
        // A run that sends nothing lives to write the file.
        if lines.map_while(Result::ok).any(|line| line.contains("sent: ")) {
            child.kill().expect("a child");
            kills += 1;
        }
        child.wait().expect("a child");
    }
    // A run that is killed late has sent more than one.
    assert!((2..200).contains(&kills), "{kills} kills");
    assert_eq!(layer1.nonce(DEPLOYER), whole.nonce(DEPLOYER), "nothing was sent twice");
    let (mut one, mut two) = (chain_file(&first), chain_file(&out));
    for file in [&mut one, &mut two] {
        file["settlement"]["block"].take();
    }
    assert_eq!(one, two);
    assert!(one["settlement"]["attestation"]["pccs"].is_string());

    // For production the root has to be Intel's, and somebody has to be allowed.
    let template = folder.path().join("template.json");
    let mut spec: Value = serde_json::from_str(&jove_primitives::ChainSpec::dev().to_json()).expect("JSON");
    spec.as_object_mut().expect("an object").remove("development");
    std::fs::write(&template, spec.to_string()).expect("written");
    let nowhere = folder.path().join("production.json");
    let refusal = |flags: &[&str]| {
        let usual = ["--production", "--chain", template.to_str().expect("a path"), "--zk-verifier", DEPLOYER];
        let mut command = layer1.deploy(&nowhere, &[&usual[..], flags].concat());
        refused(&command.env("JOVE_PRIVATE_KEY", hex::encode(account(2))).output().expect("runs"))
    };
    let lists = ["--tee-measurement", &MEASUREMENT.to_string(), "--tee-signer", &MEASUREMENT.to_string()];
    let software = ["--tee-root", "software", "--tee-keys", keys.to_str().expect("a path")];
    assert!(refusal(&[&lists[..], &software].concat()).contains("root of Intel's"));
    assert!(refusal(&[]).contains("--tee-measurement"));
    assert!(refusal(&lists).contains("no code"), "all but the verifier of zero knowledge is as it should be");
    assert!(refusal(&[&lists[..], &["--tee-key-lifetime", "181d"]].concat()).contains("180 days"));
    assert!(refusal(&["--tee-root", template.to_str().expect("a path")]).contains("template.json"));
    assert!(!nowhere.exists());
}

#[test]
fn lists_and_policy_change_by_the_timelock_alone() {
    let chain = Chain::deploy(&["--timelock-delay", "2d"]);
    let hash = B256::repeat_byte(0x77).to_string();
    let change = |flags: &[&str]| chain.attest(&[&["change"], flags].concat());
    let governor = ["--send", "--mnemonic-index", "1"];
    let printed = stdout(&change(&["measurement", &hash]));
    assert!(printed.contains("next: propose to allow") && printed.contains("due 2 d 0 h later"), "{printed}");
    let timelock: Address = chain.settlement()["timelock"].as_str().expect("named").parse().expect("an address");
    assert!(printed.contains(&format!("to   {timelock}")) && printed.contains("data 0x01d5062a"), "{printed}");
    let error = refused(&change(&["measurement", &hash, "--send", "--mnemonic-index", "5"]));
    assert!(error.contains("AccessControlUnauthorizedAccount"), "{error}");

    let sent = stdout(&change(&[&["measurement", &hash][..], &governor].concat()));
    assert!(sent.contains("sent: propose"), "{sent}");
    assert!(stdout(&change(&[&["measurement", &hash][..], &governor].concat())).contains("due at"));
    chain.pass(2);
    let executed = stdout(&change(&["measurement", &hash, "--send", "--mnemonic-index", "5"]));
    assert!(executed.contains("sent: allow"), "{executed}");
    assert!(stdout(&change(&["measurement", &hash])).contains("done"));
    assert!(stdout(&chain.attest(&["status"])).contains(&hash));

    // Off the list, and on it again: another operation of the timelock.
    for forbid in [&["--forbid"][..], &[]] {
        for _ in 0..2 {
            stdout(&change(&[&["measurement", &hash][..], forbid, &governor].concat()));
            chain.pass(2);
        }
        assert!(stdout(&change(&[&["measurement", &hash], forbid].concat())).contains("done"));
        assert_eq!(stdout(&chain.attest(&["status"])).contains(&hash), forbid.is_empty());
    }
    for _ in 0..2 {
        stdout(&change(
            &[&["policy", "--tee-statuses", "UpToDate,OutOfDate", "--tee-key-lifetime", "7d"][..], &governor].concat(),
        ));
        chain.pass(2);
    }
    let status = stdout(&chain.attest(&["status"]));
    assert!(status.contains("UpToDate, OutOfDate") && status.contains("a key lives for 7 d 0 h"), "{status}");
    for _ in 0..2 {
        stdout(&change(&[&["signer", &SIGNER.to_string(), "--forbid"][..], &governor].concat()));
        chain.pass(2);
    }
    assert!(stdout(&chain.attest(&["status"])).contains("signer       none is allowed"));
    let error = refused(&change(&["policy", "--tee-key-lifetime", "181d"]));
    assert!(error.contains("180 days"), "{error}");
}

/// What the imitation of Intel's service hands out, and how often it was asked.
#[derive(Default)]
struct Published {
    bundle: Option<Bundle>,
    fail: bool,
    asked: usize,
}

type Service = Arc<Mutex<Published>>;

fn encoded(certificates: &[&[u8]]) -> HeaderValue {
    let text: String = pem(certificates)
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    HeaderValue::from_str(&text).expect("a value")
}

fn signed(name: &str, statement: &Statement) -> String {
    format!("{{\"{name}\":{},\"signature\":\"{}\"}}", statement.json, hex::encode(statement.signature))
}

/// Intel's PCS v4, as far as SGX's collateral goes, and a cache's `rootcacrl`.
async fn service(published: Service, pki: Pki) -> String {
    let pki = Arc::new(pki);
    type Answer = Result<(HeaderMap, Vec<u8>), StatusCode>;
    let answer = move |part: &'static str| {
        let (published, pki) = (published.clone(), pki.clone());
        move |State(()): State<()>, RawQuery(query): RawQuery| async move {
            let mut published = published.lock().expect("not poisoned");
            published.asked += 1;
            if published.fail {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            let bundle = published.bundle.as_ref().ok_or(StatusCode::NOT_FOUND)?;
            let query = query.unwrap_or_default();
            let mut headers = HeaderMap::new();
            let body = match part {
                "pckcrl" if query == "ca=platform&encoding=der" => {
                    headers.insert("SGX-PCK-CRL-Issuer-Chain", encoded(&[&pki.platform_ca, &pki.root]));
                    bundle.lists[1].der.clone()
                }
                "tcb" if query.starts_with("fmspc=FF4A4F564500") => {
                    headers.insert("TCB-Info-Issuer-Chain", encoded(&[&pki.tcb_signer, &pki.root]));
                    signed("tcbInfo", &bundle.tcb_infos[0]).into_bytes()
                }
                "identity" => {
                    headers.insert("SGX-Enclave-Identity-Issuer-Chain", encoded(&[&pki.tcb_signer, &pki.root]));
                    signed("enclaveIdentity", &bundle.qe_identities[0]).into_bytes()
                }
                "rootcacrl" => hex::encode(&bundle.lists[0].der).into_bytes(),
                _ => return Err(StatusCode::NOT_FOUND),
            };
            Answer::Ok((headers, body))
        }
    };
    let router = Router::new()
        .route("/sgx/certification/v4/pckcrl", get(answer("pckcrl")))
        .route("/sgx/certification/v4/tcb", get(answer("tcb")))
        .route("/sgx/certification/v4/qe/identity", get(answer("identity")))
        .route("/sgx/certification/v4/rootcacrl", get(answer("rootcacrl")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_renews_before_the_end_and_puts_in_what_must_not_wait() {
    let chain = Chain::deploy(&[]);
    let published = Service::default();
    let machine = Platform::development(0);
    let publish = |revoked: &[Platform], evaluation: Option<u32>| {
        let pki = chain.pki();
        let mut bundle = pki.bundle(std::slice::from_ref(&machine), revoked, chain.now()).expect("a bundle");
        if let Some(evaluation) = evaluation {
            let mut info = jove_tee::collateral::TcbInfo::new(&machine, chain.now());
            info.evaluation = evaluation;
            let signature = hex::encode(pki.tcb_key.sign(info.json().as_bytes()));
            bundle.tcb_infos.clear();
            bundle
                .add(format!("{{\"tcbInfo\":{},\"signature\":\"{signature}\"}}", info.json()).as_bytes())
                .expect("one");
        }
        published.lock().expect("not poisoned").bundle = Some(bundle);
    };
    let url = service(published.clone(), chain.pki()).await;
    let registry = chain.registry().await;
    let wallet = chain.wallet().await;
    let source =
        |url: &str| keeper::Source::Service(jove_settlement::attestation::pcs::Pcs::new(url, None).expect("a URL"));
    let margin = Duration::from_secs(7 * 86_400);
    let keeper = keeper::Keeper::new(registry.clone(), source(&url), &[machine.fmspc], 0, margin);
    let nothing = |_: &jove_settlement::wallet::Call, _| {};

    // The service has nothing, then fails: both are said, nothing is sent.
    let error = keeper.round(&wallet, nothing).await.expect_err("nothing there").to_string();
    assert!(error.contains("revocation lists of PCK CAs: it has none"), "{error}");
    published.lock().expect("not poisoned").fail = true;
    assert!(keeper.round(&wallet, nothing).await.expect_err("failing").to_string().contains("HTTP 503"));
    published.lock().expect("not poisoned").fail = false;
    assert_eq!(chain.layer1.nonce("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"), 0);

    // From nothing to everything.
    publish(&[], None);
    let round = keeper.round(&wallet, nothing).await.expect("a round");
    assert_eq!(round.uploaded.len(), 6, "{:?}", round.uploaded);
    assert_eq!(round.stored.ending(margin.as_secs()).count(), 0, "{:?}", round.stored);
    let (_, registration) = chain.registration(1, 0).await;
    registry.register(&wallet, &registration, nothing).await.expect("registered");

    // What Intel merely issues again waits.
    chain.pass(2);
    publish(&[], None);
    assert!(keeper.round(&wallet, nothing).await.expect("a round").uploaded.is_empty());
    // A later evaluation does not; nor does a revocation.
    publish(&[], Some(18));
    let uploaded = keeper.round(&wallet, nothing).await.expect("a round").uploaded;
    assert!(uploaded.iter().any(|part| part.what.contains("TCB info")), "{uploaded:?}");
    chain.pass(1);
    publish(&[Platform::development(4)], Some(18));
    let uploaded = keeper.round(&wallet, nothing).await.expect("a round").uploaded;
    assert!(uploaded.iter().any(|part| part.what.contains("PCK Platform CA")), "{uploaded:?}");
    assert!(keeper.round(&wallet, nothing).await.expect("a round").uploaded.is_empty(), "known by now");

    // 24 days later it is renewed, before it ends.
    chain.pass(24);
    publish(&[Platform::development(4)], Some(18));
    let round = keeper.round(&wallet, nothing).await.expect("a round");
    assert_eq!(round.uploaded.len(), 4, "{:?}", round.uploaded);
    assert_eq!(round.stored.ending(margin.as_secs()).count(), 0, "{:?}", round.stored);

    // The command does the same, and the development root needs no service.
    chain.pass(25);
    publish(&[Platform::development(4)], Some(18));
    let once = ["keep", "--once", "--pccs-url", &url];
    let said = stdout(&chain.attest(&[&once[..], &ANYONE].concat()));
    assert_eq!(said.lines().count(), 4, "{said}");
    let said = stdout(&chain.attest(&[&once[..], &ANYONE].concat()));
    assert!(said.contains("nothing was sent"), "{said}");
    chain.pass(25);
    let error =
        refused(&chain.attest(&[&["keep", "--once", "--pccs-url", "http://127.0.0.1:9"], &ANYONE[..]].concat()));
    assert!(error.contains("127.0.0.1:9"), "{error}");
    // Evaluation 17 is what the development root issues, and 18 is in.
    let said = chain.attest(&[&["keep", "--once", "--software"], &ANYONE[..]].concat());
    assert!(stdout(&said).lines().count() == 3, "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("TCB info of FF4A4F564500"), "{said:?}");

    // As a service it goes on until it is told to stop, and serves metrics.
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (file, l1, keys) = (chain.path("chain.json"), chain.layer1.process.url(), chain.path("keys"));
    let usual =
        ["attest", "--chain", &file, "--l1-url", &l1, "--log", "warn", "keep", "--software", "--tee-keys", &keys];
    let mut keep = jove(&[&usual[..], &["--metrics", &address], &ANYONE].concat()).spawn().expect("runs");
    let started = Instant::now();
    let text = loop {
        let text = client::Client::at(port).get("/metrics").map(|(_, text)| text).unwrap_or_default();
        if text.contains("jove_collateral_expires_seconds{part=\"QE identity\"}") {
            break text;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(text.contains("jove_collateral_failures_total 0"), "{text}");
    let asked = std::process::Command::new("kill").args(["-TERM", &keep.id().to_string()]).status().expect("kill runs");
    assert!(asked.success() && keep.wait().expect("a child").success());

    // Another root's collateral is none here.
    let other = Pki::from_seed(&[1; 32]).expect("a PKI");
    let foreign = other.bundle(std::slice::from_ref(&machine), &[], chain.now()).expect("a bundle");
    let error = collateral::upload(&registry, &wallet, &foreign, nothing).await.expect_err("refused").to_string();
    assert!(error.contains("WrongRoot"), "{error}");
    let intel: &[u8] = include_bytes!("../../../crates/tee/tests/samples/sgx_quote_collateral.json");
    std::fs::write(chain.path("intel.json"), intel).expect("written");
    let error = refused(&chain.attest(&[&["collateral", "upload", &chain.path("intel.json")], &ANYONE[..]].concat()));
    assert!(error.contains("WrongRoot"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_revocation_list_goes_in_by_parts() {
    let chain = Chain::deploy(&[]);
    let registry = chain.registry().await;
    let wallet = chain.wallet().await;
    let machine = Platform::development(0);
    let many: Vec<Platform> = (100..900).map(Platform::development).collect();
    let bundle = chain.pki().bundle(std::slice::from_ref(&machine), &many, chain.now()).expect("a bundle");
    let uploaded = collateral::upload(&registry, &wallet, &bundle, |_, _| {}).await.expect("uploaded");
    let parts = uploaded.iter().filter(|part| part.what.starts_with("revoke entries")).count();
    assert_eq!((parts, uploaded.len()), (2, 8), "{uploaded:?}");
    assert!(uploaded.iter().all(|part| part.gas < 16_777_216), "{uploaded:?}");
    let l1 = chain.l1();
    let call = Pccs::issuerNumberCall { hash: keccak256(&chain.pki().platform_ca) };
    let number = ask(&l1, registry.contracts().pccs, &call).await.expect("asked");
    for machine in [&many[0], &many[799]] {
        let serial = U256::try_from_be_slice(&chain.pki().pck(machine).serial).expect("20 bytes");
        let id: U256 = U256::from(number) << 160 | serial;
        let revoked = ask(&chain.l1(), registry.contracts().pccs, &Pccs::isRevokedCall { id: id.to() }).await;
        assert!(revoked.expect("asked"));
    }
}
