//! A controller and its workers over HTTP, with a chain that is made up.
#![allow(clippy::unwrap_used, missing_docs)]

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use jove_enclave::{Attested, Outcome, Proved, keys};
use jove_primitives::batch::hash::Roots;
use jove_prover::{
    Chain, Challenge, Controller, Job, Link, Queue, Refusal, Secret, State, System, ZkProved, ZkWorker, run_zk,
};
use jove_storage::{Options, Storage};
use jove_tee::{Kind, QuoteSource};
use jove_zk_host::{Backend, Pins, Progress, Proven};
use parking_lot::Mutex;
use reqwest::{Client, Method, Response, StatusCode};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::Semaphore, task::JoinHandle};

/// Only a hang is as long, and a lease that is not to run out.
const LONG: Duration = Duration::from_secs(120);
/// The quote that L1 refuses.
const BAD_QUOTE: &[u8] = b"bad";

/// What L1 and the node say.
#[derive(Default)]
struct Fake {
    registered: Arc<Mutex<BTreeSet<Address>>>,
    /// Batches whose inputs cannot be made.
    poison: BTreeSet<u64>,
    /// How long an input takes.
    slow: Duration,
}

/// A machine with a name.
struct Machine(&'static str);

impl QuoteSource for Machine {
    fn kind(&self) -> Kind {
        Kind::Software
    }

    fn quote(&self, _: [u8; 64]) -> Result<Vec<u8>, jove_tee::Error> {
        Ok(Vec::new())
    }

    fn sealing_key(&self) -> Result<Option<[u8; 32]>, jove_tee::Error> {
        Ok(Some(keccak256(self.0).0))
    }
}

/// A worker's key.
fn key(worker: &'static str) -> keys::Key {
    let domain = jove_enclave::Domain { l1_chain_id: 1, registry: Address::ZERO, number: 0 };
    keys::Root::new(&Machine(worker)).unwrap().key(&domain, Address::ZERO)
}

impl Chain for Fake {
    async fn challenge(&self) -> Result<Challenge, Refusal> {
        let (registry, payout, block_hash) = (Address::ZERO, Address::ZERO, B256::ZERO);
        Ok(Challenge { l1_chain_id: 1, registry, payout, block_number: 7, block_hash, nonce: B256::ZERO })
    }

    async fn register(&self, attested: Attested, block_number: u64) -> Result<(), Refusal> {
        match &attested.quote[..] {
            BAD_QUOTE => Err(Refusal::Wrong("the measurement is not allowed".into())),
            b"old" => Err(Refusal::Over("expired".into())),
            _ if block_number != 7 => Err(Refusal::Later("which block?".into())),
            _ => {
                self.registered.lock().insert(attested.key);
                Ok(())
            }
        }
    }

    async fn machine(&self, key: Address) -> Result<Option<B256>, Refusal> {
        Ok(self.registered.lock().contains(&key).then(|| key.into_word()))
    }

    async fn input(&self, job: Job) -> Result<Vec<u8>, Refusal> {
        tokio::time::sleep(self.slow).await;
        if self.poison.contains(&job.index) {
            Err(Refusal::Wrong("no input".into()))
        } else {
            Ok(vec![job.index as u8])
        }
    }

    async fn check(&self, job: Job, key: Address, proved: Proved) -> Result<(), Refusal> {
        let is_right = proved.outcomes[0].output == output(job.index) && proved.key == key;
        if is_right { Ok(()) } else { Err(Refusal::Wrong("that is not so".into())) }
    }

    async fn check_pins(&self, own: Pins) -> Result<(), Refusal> {
        if own == pins(1) { Ok(()) } else { Err(Refusal::Wrong("L1 pins another program".into())) }
    }

    async fn check_zk(&self, job: Job, proved: ZkProved) -> Result<(), Refusal> {
        let is_right = proved.proof[..] == [job.index as u8] && proved.stark[..] == [7; 300];
        if is_right { Ok(()) } else { Err(Refusal::Wrong("that is not proven".into())) }
    }
}

fn client() -> Client {
    // Fails where it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

fn output(index: u64) -> B256 {
    B256::with_last_byte(index as u8 + 100)
}

fn job(index: u64) -> Job {
    Job { index, batch: B256::with_last_byte(index as u8), start: B256::ZERO }
}

fn proof(worker: &'static str, index: u64) -> Vec<u8> {
    let roots = Roots { state: B256::ZERO, outbox: B256::ZERO };
    let outcome = Outcome { batch: job(index).batch, output: output(index), roots, invalid: String::new() };
    alloy_rlp::encode(Proved {
        key: key(worker).address(),
        signature: Bytes::from_static(&[1; 65]),
        chain_id: 1,
        rollup: Address::ZERO,
        start: B256::ZERO,
        payout: Address::ZERO,
        outcomes: vec![outcome],
        openings: Vec::new(),
    })
}

struct Served {
    registered: Arc<Mutex<BTreeSet<Address>>>,
    controller: Arc<Controller<Fake>>,
    secret: Secret,
    url: String,
    sessions: Mutex<BTreeMap<String, String>>,
    storage: Storage,
    serving: Mutex<JoinHandle<()>>,
    folder: TempDir,
}

async fn serve(fake: Fake, jobs: &[u64], lease: Duration) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path(), Options { sync: false }).unwrap();
    let queue = Queue::open(storage.clone(), System::Tee, lease).unwrap();
    let zk = Queue::open(storage.clone(), System::Zk, lease).unwrap();
    let (registered, secret) = (fake.registered.clone(), Secret::random());
    let controller = Controller::new(fake, secret.clone(), Some(queue), Some(zk));
    controller.want(System::Tee, &jobs.iter().map(|index| job(*index)).collect::<Vec<_>>()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let serving = Mutex::new(tokio::spawn(controller.clone().serve(listener)));
    Served { registered, controller, secret, url, sessions: Mutex::default(), storage, serving, folder }
}

impl Served {
    /// Stops what serves, and serves its queue of proofs in zero knowledge by another controller at the same place.
    async fn begin_anew(&self, lease: Duration) -> Arc<Controller<Fake>> {
        self.serving.lock().abort();
        let zk = Queue::open(self.storage.clone(), System::Zk, lease).unwrap();
        let controller = Controller::new(Fake::default(), self.secret.clone(), None, Some(zk));
        let address = self.url.trim_start_matches("http://").trim_end_matches("/v1/").to_owned();
        let listener = loop {
            match tokio::net::TcpListener::bind(&address).await {
                Ok(listener) => break listener,
                // The one before is about to be dropped.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        *self.serving.lock() = tokio::spawn(controller.clone().serve(listener));
        controller
    }

    async fn ask(&self, worker: &str, path: &str, body: Vec<u8>) -> Response {
        let token = self.secret.token(worker).unwrap();
        let method = if path == "challenge" || path == "jobs" { Method::GET } else { Method::POST };
        let session = self.sessions.lock().get(worker).cloned().unwrap_or_default();
        let request = client().request(method, format!("{}{path}", self.url)).bearer_auth(token);
        request.header("jove-session", session).body(body).send().await.unwrap()
    }

    async fn status(&self, worker: &str, path: &str, body: Vec<u8>) -> u16 {
        self.ask(worker, path, body).await.status().as_u16()
    }

    async fn nonce(&self, worker: &str) -> B256 {
        let challenge: Challenge = self.ask(worker, "challenge", Vec::new()).await.json().await.unwrap();
        challenge.nonce
    }

    async fn register(&self, worker: &'static str, quote: &'static [u8]) -> u16 {
        let (nonce, key) = (self.nonce(worker).await, key(worker));
        let (address, signature) = (key.address(), key.answer(nonce).into());
        self.present(worker, 7, nonce, Attested { key: address, quote: Bytes::from_static(quote), signature }).await
    }

    async fn present(&self, worker: &str, block: u64, nonce: B256, attested: Attested) -> u16 {
        let answer = self.ask(worker, &format!("register/{block}/{nonce}"), alloy_rlp::encode(attested)).await;
        let status = answer.status().as_u16();
        if status == 200 {
            let session = answer.text().await.unwrap();
            self.sessions.lock().insert(worker.into(), session);
        }
        status
    }

    /// The token, and the batch.
    async fn lease(&self, worker: &str) -> (u64, u64) {
        let response = self.ask(worker, "lease", Vec::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let token = response.headers()["jove-lease"].to_str().unwrap().parse().unwrap();
        (token, response.bytes().await.unwrap()[0].into())
    }

    fn states(&self) -> Vec<State> {
        self.controller.jobs(System::Tee).into_iter().map(|job| job.state).collect()
    }
}

#[tokio::test]
async fn nobody_without_a_token_and_an_enclave_gets_work() {
    let served = serve(Fake::default(), &[1], LONG).await;
    for path in [
        "challenge",
        "jobs",
        "lease",
        "register/7/0x00",
        "lease/1/finish",
        "lease/1/fail",
        "lease/1/renew",
        "jobs/1/retry",
    ] {
        let method = if path == "challenge" || path == "jobs" { Method::GET } else { Method::POST };
        for token in [String::new(), Secret::random().token("a").unwrap()] {
            let request = client().request(method.clone(), format!("{}{path}", served.url)).bearer_auth(token);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    assert_eq!(served.status("a", "lease", Vec::new()).await, 428);
    assert_eq!(served.register("a", BAD_QUOTE).await, 422);
    assert_eq!(served.register("a", b"old").await, 410);
    let nonce = served.nonce("a").await;
    assert_eq!(served.status("a", &format!("register/7/{nonce}"), b"junk".into()).await, 422);
    let own = |nonce| {
        let (key, quote) = (key("a").address(), Bytes::new());
        Attested { key, quote, signature: self::key("a").answer(nonce).into() }
    };
    assert_eq!(served.present("a", 8, nonce, own(nonce)).await, 503);
    // A nonce is good once, and none that the controller did not give; a quote is good with its key alone.
    assert_eq!(served.present("a", 7, nonce, own(nonce)).await, 422);
    assert_eq!(served.present("a", 7, B256::ZERO, own(B256::ZERO)).await, 422);
    let nonce = served.nonce("a").await;
    let stolen = Attested { key: key("b").address(), ..own(nonce) };
    assert_eq!(served.present("a", 7, nonce, stolen).await, 422);
    assert_eq!(served.status("a", "lease", Vec::new()).await, 428);
    assert_eq!(served.register("a", b"good").await, 200);
    let (token, batch) = served.lease("a").await;
    assert_eq!(batch, 1);
    // Another worker can neither finish nor lose what is not its own.
    assert_eq!(served.register("b", b"good").await, 200);
    for what in ["renew", "finish", "fail"] {
        assert_eq!(served.status("b", &format!("lease/{token}/{what}"), proof("b", 1)).await, 409);
    }
    // Whatever it is called: a session is of a key.
    let session = served.sessions.lock()["b"].clone();
    served.sessions.lock().insert("a2".into(), session);
    assert_eq!(served.status("a2", &format!("lease/{token}/finish"), proof("b", 1)).await, 409);
    assert_eq!(served.status("a", &format!("lease/{token}/renew"), Vec::new()).await, 200);
    assert_eq!(served.status("a", &format!("lease/{token}/finish"), proof("a", 1)).await, 200);
    assert_eq!(served.status("a", &format!("lease/{token}/finish"), proof("a", 1)).await, 409);
    assert_eq!(served.controller.proofs(System::Tee), [(job(1), Bytes::from_static(&[1; 65]))]);
    // L1 forgets the key: it has to be registered again.
    served.registered.lock().clear();
    assert_eq!(served.status("a", "lease", Vec::new()).await, 428);
}

#[tokio::test]
async fn what_a_malicious_worker_says_is_not_believed() {
    let served = serve(Fake::default(), &[1], LONG).await;
    assert_eq!(served.register("evil", b"good").await, 200);
    assert_eq!(served.register("good", b"good").await, 200);
    for lie in [proof("evil", 2), b"junk".to_vec(), Vec::new()] {
        let (token, _) = served.lease("evil").await;
        assert_eq!(served.status("evil", &format!("lease/{token}/finish"), lie).await, 422);
        assert_eq!(served.states(), [State::Waiting]);
    }
    // It gets nothing any more, and the batch is not blamed.
    assert_eq!(served.status("evil", "lease", Vec::new()).await, 403);
    assert_eq!(served.register("evil", b"good").await, 403);
    assert_eq!(served.controller.jobs(System::Tee)[0].failures, 0);
    let (token, _) = served.lease("good").await;
    assert_eq!(served.status("good", &format!("lease/{token}/finish"), proof("good", 1)).await, 200);
    assert_eq!(served.states(), [State::Proven]);
}

#[tokio::test]
async fn a_worker_that_dies_loses_its_lease() {
    let served = serve(Fake::default(), &[1], Duration::from_secs(5)).await;
    assert_eq!(served.register("dead", b"good").await, 200);
    assert_eq!(served.register("alive", b"good").await, 200);
    let (old, _) = served.lease("dead").await;
    // It waits for the lease to run out.
    let (new, _) = served.lease("alive").await;
    assert!(new > old);
    assert_eq!(served.status("dead", &format!("lease/{old}/finish"), proof("dead", 1)).await, 409);
    // One that begins anew has what it held no more.
    assert_eq!(served.register("alive", b"good").await, 200);
    assert_eq!(served.status("alive", &format!("lease/{new}/finish"), proof("alive", 1)).await, 409);
    let (newest, _) = served.lease("alive").await;
    assert_eq!(served.status("alive", &format!("lease/{newest}/finish"), proof("alive", 1)).await, 200);
}

#[tokio::test]
async fn a_lease_does_not_run_out_while_its_input_is_made() {
    let fake = Fake { slow: Duration::from_secs(7), ..Default::default() };
    let served = serve(fake, &[1], Duration::from_secs(3)).await;
    assert_eq!(served.register("a", b"good").await, 200);
    assert_eq!(served.register("b", b"good").await, 200);
    let (first, second) = tokio::join!(served.lease("a"), async {
        while served.states() == [State::Waiting] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::timeout(Duration::from_secs(5), served.ask("b", "lease", Vec::new())).await
    });
    assert!(second.is_err(), "it is not for another");
    assert_eq!(served.status("a", &format!("lease/{}/finish", first.0), proof("a", 1)).await, 200);
    assert_eq!(served.controller.jobs(System::Tee)[0].losses, 0);
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let served = serve(Fake::default(), &[], LONG).await;
    let address = served.url.trim_start_matches("http://").trim_end_matches("/v1/").to_owned();
    let token = served.secret.token("a").unwrap();
    let half = [
        String::new(),
        "GET /v1/jobs HTTP/1.1\r\nhost: x\r\n".into(),
        format!(
            "POST /v1/lease/1/fail HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\nx"
        ),
    ];
    let cut = half.map(|half| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        tokio::task::spawn_blocking(move || {
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.write_all(half.as_bytes()).unwrap();
            // To the connection's end, which may be a reset.
            let mut said = Vec::new();
            match stream.read_to_end(&mut said) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        })
    });
    for cut in cut {
        assert!(cut.await.unwrap());
    }
}

#[tokio::test]
async fn several_work_side_by_side_past_a_poison_batch() {
    let fake = Fake { poison: [2].into(), ..Default::default() };
    let served = Arc::new(serve(fake, &[1, 2, 3, 4, 5], LONG).await);
    let work = |name: &'static str| {
        let served = served.clone();
        tokio::spawn(async move {
            assert_eq!(served.register(name, b"good").await, 200);
            let mut done = 0;
            while served.controller.proofs(System::Tee).len() < 4 {
                let response = served.ask(name, "lease", Vec::new()).await;
                let token = response.headers().get("jove-lease").map(|token| token.to_str().unwrap().to_owned());
                let (Some(token), StatusCode::OK) = (token, response.status()) else { continue };
                let index = response.bytes().await.unwrap()[0].into();
                assert_eq!(served.status(name, &format!("lease/{token}/finish"), proof(name, index)).await, 200);
                done += 1;
            }
            done
        })
    };
    let (first, second) = (work("a"), work("b"));
    // Whoever waits for the poison batch is not waited for.
    tokio::time::timeout(LONG, async {
        while served.controller.proofs(System::Tee).len() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    first.abort();
    second.abort();
    let proven: Vec<u64> = served.controller.proofs(System::Tee).iter().map(|(job, _)| job.index).collect();
    assert_eq!(proven, [1, 3, 4, 5]);
    let poison = &served.controller.jobs(System::Tee)[1];
    assert!(poison.failures == 0 && poison.reason == "no input", "{poison:?}");
    assert_eq!(served.status("a", "jobs/2/retry", Vec::new()).await, 200);
    assert_eq!(served.status("a", "jobs/9/retry", Vec::new()).await, 404);
    let answer: serde_json::Value = served.ask("a", "jobs", Vec::new()).await.json().await.unwrap();
    assert_eq!((&answer[0]["index"], &answer[0]["state"]), (&1.into(), &"proven".into()));
    assert!(served.folder.path().exists());
}

/// What L1 pins, if its program is the first.
fn pins(program: u64) -> Pins {
    Pins { program: U256::from(program), machine: U256::from(2), key: Bytes::from_static(&[3; 992]) }
}

/// A back end that proves by saying the input again.
struct Echo {
    lacking: bool,
    /// What it was told to forget.
    forgotten: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Backend for Echo {
    async fn prove(
        &self,
        input: &[u8],
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Proven, jove_zk_host::Error> {
        progress(Progress { stage: "app", percent: 50, left: None });
        match input {
            [3] => Err(jove_zk_host::Error::Stage { stage: "app", reason: "out of memory".into() }),
            [4] => Ok(Proven { statement: B256::ZERO, proof: Bytes::from_static(b"wrong"), stark: Bytes::new() }),
            _ => Ok(Proven { statement: B256::ZERO, proof: input.to_vec().into(), stark: vec![7; 300].into() }),
        }
    }

    async fn verify(&self, _: &Path) -> Result<B256, jove_zk_host::Error> {
        Ok(B256::ZERO)
    }

    fn lacking(&self) -> Option<&'static str> {
        self.lacking.then_some("a key")
    }

    fn pins(&self) -> Result<Pins, jove_zk_host::Error> {
        Ok(pins(1))
    }

    fn forget(&self, input: &[u8]) -> Result<(), jove_zk_host::Error> {
        self.forgotten.lock().push(input.to_vec());
        Ok(())
    }
}

fn zk_worker<B>(served: &Served, name: &str, backend: B) -> ZkWorker<B> {
    let controller = served.url.trim_end_matches("/v1/").into();
    let link = Link { controller, secret: served.secret.clone(), name: name.into(), client: client() };
    ZkWorker { link, backend }
}

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
}

#[tokio::test]
async fn provers_in_zero_knowledge_have_a_queue_of_their_own() {
    let served = serve(Fake::default(), &[1], LONG).await;
    served.controller.want(System::Zk, &[job(1), job(2), job(3), job(4)]).unwrap();
    // One that is not set up asks for nothing.
    let forgotten = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let echo = |lacking| Echo { lacking, forgotten: forgotten.clone() };
    let idle = tokio::spawn(run_zk(zk_worker(&served, "idle", echo(true))));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(served.controller.jobs(System::Zk).iter().all(|job| job.state == State::Waiting));
    idle.abort();

    let worker = tokio::spawn(run_zk(zk_worker(&served, "zk", echo(false))));
    until(|| served.controller.proofs(System::Zk).len() == 2 && served.controller.jobs(System::Zk)[2].failures > 0)
        .await;
    // What was wrong is thrown away, and nothing else.
    until(|| !forgotten.lock().is_empty()).await;
    worker.abort();
    assert!(forgotten.lock().iter().all(|input| input[..] == [4_u8]));
    let proof = |index: u8| (job(index.into()), Bytes::from(vec![index]));
    assert_eq!(served.controller.proofs(System::Zk), [proof(1), proof(2)]);
    let jobs = served.controller.jobs(System::Zk);
    assert_eq!(jobs[2].reason, "stage app: out of memory");
    assert_ne!(jobs[3].state, State::Proven);
    // The other system's job is where it was, and its sessions are others.
    assert_eq!(served.states(), [State::Waiting]);
    assert_eq!(served.status("zk", "lease", Vec::new()).await, 428);
    let rejected = served.controller.reject(System::Zk, &job(1), "another verifier");
    assert!(rejected.is_ok() && served.controller.proofs(System::Zk).len() == 1);
}

#[tokio::test]
async fn a_prover_of_what_l1_does_not_pin_gets_no_work() {
    let served = serve(Fake::default(), &[], LONG).await;
    served.controller.want(System::Zk, &[job(1)]).unwrap();
    let other_key = Pins { key: Bytes::from_static(&[4; 992]), ..pins(1) };
    // However often: it is no proof that was wrong.
    for other in [pins(2), other_key, pins(2), pins(2)] {
        let answer = served.ask("zk", "zk/register", alloy_rlp::encode(other)).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.text().await.unwrap(), "L1 pins another program");
    }
    assert_eq!(served.status("zk", "zk/register", Vec::new()).await, 422);
    let answer = served.ask("zk", "zk/register", alloy_rlp::encode(pins(1))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let token = answer.text().await.unwrap();
    served.sessions.lock().insert("zk".into(), token);
    assert_eq!(served.lease("zk").await.1, 1);
}

/// A back end that proves once it is let, and counts how often it began.
struct Slow {
    begun: Arc<AtomicUsize>,
    let_go: Arc<Semaphore>,
}

impl Backend for Slow {
    async fn prove(&self, input: &[u8], _: &(dyn Fn(Progress) + Send + Sync)) -> Result<Proven, jove_zk_host::Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.let_go.acquire().await.unwrap().forget();
        Ok(Proven { statement: B256::ZERO, proof: input.to_vec().into(), stark: vec![7; 300].into() })
    }

    async fn verify(&self, _: &Path) -> Result<B256, jove_zk_host::Error> {
        Ok(B256::ZERO)
    }

    fn lacking(&self) -> Option<&'static str> {
        None
    }

    fn pins(&self) -> Result<Pins, jove_zk_host::Error> {
        Ok(pins(1))
    }

    fn forget(&self, _: &[u8]) -> Result<(), jove_zk_host::Error> {
        Ok(())
    }
}

#[tokio::test]
async fn a_proof_goes_on_while_the_controller_begins_anew() {
    let served = serve(Fake::default(), &[], Duration::from_secs(2)).await;
    served.controller.want(System::Zk, &[job(1)]).unwrap();
    let (begun, let_go) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
    let slow = Slow { begun: begun.clone(), let_go: let_go.clone() };
    let worker = tokio::spawn(run_zk(zk_worker(&served, "zk", slow)));
    let is_leased =
        |controller: &Controller<Fake>| matches!(controller.jobs(System::Zk)[0].state, State::Leased { .. });
    until(|| is_leased(&served.controller) && begun.load(Ordering::SeqCst) == 1).await;
    // The controller's sessions and leases end with it; another has its place and its queue.
    let next = served.begin_anew(Duration::from_secs(2)).await;
    next.want(System::Zk, &[job(1)]).unwrap();
    until(|| is_leased(&next)).await;
    let_go.add_permits(1);
    until(|| next.proofs(System::Zk).len() == 1).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    // Another job than the one that goes on is begun, and that one is given up.
    next.want(System::Zk, &[job(2)]).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 2).await;
    let last = served.begin_anew(Duration::from_secs(2)).await;
    last.want(System::Zk, &[job(3)]).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 3).await;
    let_go.add_permits(1);
    until(|| last.proofs(System::Zk).len() == 1).await;
    worker.abort();
    assert_eq!(last.proofs(System::Zk), [(job(3), Bytes::from_static(&[3]))]);
}

#[tokio::test]
async fn a_system_without_a_queue_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path(), Options { sync: false }).unwrap();
    let queue = Queue::open(storage, System::Tee, LONG).unwrap();
    let secret = Secret::random();
    let controller = Controller::new(Fake::default(), secret.clone(), Some(queue), None);
    assert!(controller.want(System::Zk, &[job(1)]).is_err() && !controller.has(System::Zk));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/zk/register", listener.local_addr().unwrap());
    tokio::spawn(controller.serve(listener));
    let status = |token: String| client().post(url.clone()).bearer_auth(token).send();
    assert_eq!(status(secret.token("zk").unwrap()).await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(status(Secret::random().token("zk").unwrap()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
