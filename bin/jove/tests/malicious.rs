//! A worker that lies, with the controller's secret and a key that L1 knows: its proofs get no further than the controller; and where one is on L1 all the same,
//! the contracts bar its key and machine, and the batch is final as it truly is.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod client;

use alloy_primitives::{Address, B256, Bytes, U256, map::HashSet};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolCall, SolEvent};
use client::{Process, free_port, layer1::chain_file};
use jove_enclave::{Attested, Proved, keys};
use jove_primitives::batch::hash::{Roots, output_hash};
use jove_prover::{Challenge, Secret};
use jove_proving::{Input, Judgement, judge};
use jove_settlement::{
    Error, Key, L1, Wallet,
    attestation::Registry,
    blobs::opening,
    contracts::{ProofSystem, Proofs, Rollup, ask},
    http,
    test_proofs::{Judged, with_proof},
    wallet::Call,
};
use jove_tee::{Binding, Pki, Platform, QuoteSource, Software};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

/// Only a hang is as long: a proof, and blocks of L1 upon it, may be waited for.
const PATIENCE: Duration = Duration::from_secs(300);
/// Not the honest one's, which is 0.
const MACHINE: u64 = 1;

/// Asks until there is an answer.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A process that is killed when this is dropped.
struct Prover(Child);

impl Drop for Prover {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker by hand.
struct Liar {
    url: String,
    secret: Secret,
    name: &'static str,
    key: keys::Key,
    /// How it is to be registered.
    path: String,
    attested: Attested,
    session: String,
}

impl Liar {
    async fn new(url: String, secret: Secret, source: &Software) -> Self {
        let attested = Attested { key: Address::ZERO, quote: Bytes::new(), signature: Bytes::new() };
        let (path, session, key) = (String::new(), String::new(), unused(source));
        let mut liar = Self { url, secret, name: "liar", key, path, attested, session };
        liar.prepare(source).await;
        liar
    }

    /// A quote and an answer to the controller's nonce, which is good for one registration.
    async fn prepare(&mut self, source: &Software) {
        let challenge: Challenge = self.ask(Method::GET, "challenge", Vec::new()).await.json().await.expect("JSON");
        let Challenge { l1_chain_id: chain_id, registry, payout, block_number, block_hash, nonce } = challenge;
        self.key = keys::Root::new(source).expect("a secret").key(&challenge.domain(0), payout);
        let key = self.key.address();
        let binding = Binding { chain_id, registry, key, payout, block_number, block_hash };
        let quote = source.quote(binding.report_data()).expect("a quote").into();
        self.path = format!("register/{block_number}/{nonce}");
        self.attested = Attested { key, quote, signature: self.key.answer(nonce).into() };
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Response {
        let client = http::client().build().expect("a client");
        let request = client.request(method, format!("{}/v1/{path}", self.url)).timeout(PATIENCE);
        let request = request.bearer_auth(self.secret.token(self.name).expect("a token"));
        request.header("jove-session", &self.session).body(body).send().await.expect("an answer")
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> (u16, String) {
        let response = self.ask(Method::POST, path, body).await;
        (response.status().as_u16(), response.text().await.expect("words"))
    }

    async fn register(&mut self) -> (u16, String) {
        let (status, answer) = self.post(&self.path, alloy_rlp::encode(&self.attested)).await;
        if status == 200 {
            self.session = answer.clone();
        }
        (status, answer)
    }

    /// The lease's token, and what is to be proven.
    async fn lease(&self) -> (String, Input) {
        loop {
            let response = self.ask(Method::POST, "lease", Vec::new()).await;
            match response.status().as_u16() {
                200 => {
                    let token = response.headers()["jove-lease"].to_str().expect("text").to_owned();
                    let input = response.bytes().await.expect("an input");
                    return (token, Input::decode(&input).expect("an input"));
                }
                204 | 503 => tokio::time::sleep(Duration::from_millis(100)).await,
                status => panic!("{status}: {:?}", response.text().await),
            }
        }
    }
}

/// Until there is a challenge.
fn unused(source: &Software) -> keys::Key {
    let domain = jove_enclave::Domain { l1_chain_id: 0, registry: Address::ZERO, number: 0 };
    keys::Root::new(source).expect("a secret").key(&domain, Address::ZERO)
}

/// What is true of a batch, and a lie about it.
fn lie(input: &Input) -> (Judgement, Judgement) {
    let truth = judge(input).expect("the input is good");
    let committed = &input.batches[0].committed;
    let roots = Roots { state: B256::repeat_byte(0x66), ..*truth.verdicts[0].outcome.as_ref().expect("valid") };
    let mut lie = truth.clone();
    lie.verdicts[0].outcome = Ok(roots);
    lie.verdicts[0].output = output_hash(committed.hash(), committed.header.last_block_hash, roots.state, roots.outbox);
    (truth, lie)
}

/// The call that brings a lie to L1, past the controller.
fn prove_call(rollup: Address, input: &Input, lie: &Judgement, key: &keys::Key) -> Call {
    let batch = &input.batches[0];
    let openings: Vec<_> = batch.contents.iter().map(|contents| opening(contents).expect("a blob")).collect();
    let roots = lie.verdicts[0].outcome.clone().ok();
    let judged = Judged { header: &batch.committed.header, blobs: &batch.committed.blobs, openings: &openings, roots };
    let signature = Bytes::copy_from_slice(&key.prove(lie.statement()));
    let proof = with_proof(ProofSystem::Tee, lie.start, judged, lie.payout, signature);
    let data = Rollup::proveCall { list: vec![proof] }.abi_encode().into();
    Call { what: "prove".into(), to: rollup, value: U256::ZERO, data }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_output_that_an_enclave_signed_goes_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (l1_port, prover_port) = (free_port().to_string(), free_port());
    let (listen, url) = (format!("127.0.0.1:{prover_port}"), format!("http://127.0.0.1:{prover_port}"));
    let flags = ["--l1-http-port", &l1_port, "--prover-listen", &listen];

    // The chain begins with an honest enclave, and goes on without.
    let mut node = Process::run("dev", folder.path(), &flags);
    let l1 = L1::new(&format!("http://127.0.0.1:{l1_port}")).expect("a URL");
    let settlement = chain_file(&path("chain.json"))["settlement"].clone();
    let named = |name: &str| -> Address { settlement[name].as_str().expect("named").parse().expect("an address") };
    let (rollup, proofs) = (named("rollup"), named("proofs"));
    let registry = Registry::of_chain(&l1, proofs).await.expect("a registry");
    let honest =
        until("no enclave is registered", async || registry.registrations(0).await.ok()?.into_iter().next()).await;
    assert_eq!(node.interrupt(), Some(0));
    let node = Process::run("dev", folder.path(), &[&flags[..], &["--enclave", "false"]].concat());

    // Whoever has the development root's seed makes quotes of the honest program, on another machine.
    let pki = Pki::open(&path("tee")).expect("the seed");
    let source = Software::new(&pki, Platform::development(MACHINE), honest.measurement).expect("a source");
    let secret = Secret::of_file(&path("prover.hex"), false).expect("the secret");
    let stranger = Liar::new(url.clone(), secret.clone(), &source).await;
    let mut stranger = Liar { secret: Secret::random(), ..stranger };
    assert_eq!(stranger.register().await.0, 401);
    let mut liar = Liar::new(url.clone(), secret, &source).await;
    // An honest enclave's key and quote are public: they are good for nothing without the key.
    let own = liar.attested.clone();
    liar.attested = Attested { key: honest.key, ..own.clone() };
    assert_eq!(liar.register().await.0, 422);
    assert_eq!(liar.post("lease", Vec::new()).await.0, 428);
    // Nor is a nonce good twice.
    liar.attested = own;
    assert_eq!(liar.register().await.0, 422);
    liar.prepare(&source).await;
    assert_eq!(liar.register().await.0, 200);
    assert_ne!(liar.key.address(), honest.key);

    let client = node.client();
    let transfer = json!([{
        "from": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "to": "0x00000000000000000000000000000000000b0b00",
        "value": "0x1", "gas": "0x5208",
    }]);
    let hash = client.call("eth_sendTransaction", transfer).expect("sent");
    let finality = || client.call("jove_getFinality", json!([hash])).expect("answered");

    // The controller's own execution says another output.
    let mut leased = None;
    for _ in 0..3 {
        let (token, input) = liar.lease().await;
        let finish = format!("lease/{token}/finish");
        assert_eq!(liar.post(&finish, vec![0; 3 << 20]).await.0, 413);
        let (_, lie) = lie(&input);
        let proved = Proved::new(liar.key.address(), liar.key.prove(lie.statement()), &lie);
        let (status, words) = liar.post(&finish, alloy_rlp::encode(&proved)).await;
        assert!(status == 422 && words.contains("is not this node's"), "{status}: {words}");
        leased = Some(input);
    }
    assert_eq!(liar.post("lease", Vec::new()).await.0, 403, "three are enough");
    liar.prepare(&source).await;
    assert_eq!(liar.register().await.0, 403);
    let (_, metrics) = client.get("/metrics").expect("answered");
    assert!(metrics.contains("jove_prover_wrong_total 3"), "{metrics}");

    // None of it came to L1.
    let input = leased.expect("leased");
    let (truth, lie) = lie(&input);
    let (batch, start, output) = (truth.verdicts[0].batch, truth.start, truth.verdicts[0].output);
    let at =
        async || ask(&l1, proofs, &Proofs::nodeOfCall { batchHash: batch, previous: start }).await.expect("a node");
    until("no zero-knowledge proof", async || Some(at().await).filter(|node| node.zkOutput == output)).await;
    assert!(at().await.tee.is_empty());

    // By hand it does, and costs the key and its machine.
    let (_, account) = jove_rpc::dev_accounts()[5];
    let wallet = Wallet::new(l1.clone(), Key::new(account).expect("a key")).await.expect("a wallet");
    let call = prove_call(rollup, &input, &lie, &liar.key);
    let receipts = wallet.send(std::slice::from_ref(&call), |_, _| ()).await.expect("taken");
    let barred: Vec<_> =
        receipts[0].logs.iter().filter_map(|log| Proofs::Barred::decode_log(&log.inner).ok()).collect();
    let platform = registry.enclave(liar.key.address()).await.expect("answered").expect("registered").platform;
    let [barred] = &barred[..] else { panic!("{barred:?}") };
    assert_eq!((barred.key, barred.platform), (liar.key.address(), platform));
    assert_eq!(barred.output, lie.verdicts[0].output);
    let is_barred = async |key, platform| {
        ask(&l1, proofs, &Proofs::isBarredCall { key, platform, vendor: 0 }).await.expect("answered")
    };
    assert!(is_barred(liar.key.address(), B256::ZERO).await && is_barred(Address::ZERO, platform).await);
    assert!(!is_barred(honest.key, B256::ZERO).await);
    let again = wallet.send(std::slice::from_ref(&call), |_, _| ()).await.expect_err("refused");
    assert!(matches!(&again, Error::Reverts { reason, .. } if reason.contains("ProverBarred")), "{again}");
    // Under no name does it get work any more.
    liar.name = "another";
    liar.prepare(&source).await;
    let (status, words) = liar.register().await;
    assert!(status == 422 && words.contains("barred"), "{status}: {words}");

    // The node does not take the lie for a proof of its batch: an honest prover's makes it final.
    let landed: u64 = receipts[0].block_number.to();
    let status = || client.call("jove_syncStatus", json!([])).expect("answered");
    let seen = async || status()["l1"]["latest"]["number"].as_u64().filter(|head| *head > landed);
    until("L1's block is not seen", seen).await;
    assert_eq!(finality()["rungs"]["attested"], Value::Null);
    let _prover = Prover(
        Command::new(env!("CARGO_BIN_EXE_jove"))
            .args(["prover", "--log", "warn", "--name", "honest", "--controller", &url, "--secret-file"])
            .arg(path("prover.hex"))
            .arg("--keys")
            .arg(path("tee"))
            .spawn()
            .expect("the binary runs"),
    );
    until("it is not final", async || Some(finality()).filter(|finality| finality["rung"] == "final")).await;
    let node = at().await;
    assert_eq!(
        node.tee.iter().map(|evidence| (evidence.key, evidence.output)).collect::<Vec<_>>(),
        [(honest.key, output)]
    );
    let filter = Filter::new().address(rollup).event_signature(Rollup::BatchFinal::SIGNATURE_HASH);
    let last = l1.block_number().await.expect("answered");
    let events = l1.logs_between(&filter, 0, last).await.expect("answered");
    let events = events.iter().filter_map(|log| Rollup::BatchFinal::decode_log(&log.inner).ok());
    let outputs: HashSet<B256> = events.filter(|event| event.batchHash == batch).map(|event| event.output).collect();
    assert_eq!(outputs, HashSet::from_iter([output]));
}
