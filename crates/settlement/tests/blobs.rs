//! Blobs from beacon nodes and from what answers like anvil: found, checked, opened.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use alloy_primitives::{B256, Bytes, hex, keccak256};
use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::BoxFuture;
use jove_primitives::batch::{BLOB_CAPACITY, hash::blob_z, pack};
use jove_settlement::{
    blobs::{BlobError, BlobSource, Blobs, commit, connect, opening, verify_opening},
    watcher::L1Block,
};
use serde_json::{Value, json};
use std::{
    future::IntoFuture,
    sync::{Arc, Mutex},
};

/// What a stand-in for an endpoint has.
#[derive(Clone, Default)]
struct Endpoint {
    /// `/eth/v1/config/spec`; none: it answers 404, as anvil does.
    spec: Option<Value>,
    /// Block (a slot, or a number) and its blobs at `blobs/{block}`; none: there is no such path.
    blobs: Option<(u64, Vec<Bytes>)>,
    /// The same at `blob_sidecars/{slot}`.
    sidecars: Option<(u64, Vec<Bytes>)>,
    /// Paths and queries as they came.
    asked: Arc<Mutex<Vec<String>>>,
}

const GENESIS: u64 = 1_700_000_000;

fn spec() -> Option<Value> {
    Some(json!({"SECONDS_PER_SLOT": "12", "BLOB_SCHEDULE": [], "PRESET_BASE": "mainnet"}))
}

/// A block in slot 101 whose number is 7.
const BLOCK: L1Block = L1Block { number: 7, hash: B256::ZERO, timestamp: GENESIS + 101 * 12 };

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"code": 404, "message": "block not found"}))).into_response()
}

async fn serve(endpoint: Endpoint) -> String {
    let spec = |State(endpoint): State<Endpoint>| async move {
        endpoint.spec.map_or_else(not_found, |spec| Json(json!({ "data": spec })).into_response())
    };
    let blobs = |State(endpoint): State<Endpoint>, Path(block): Path<u64>, RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        endpoint.asked.lock().unwrap().push(format!("blobs/{block}?{query}"));
        match endpoint.blobs {
            Some((number, blobs)) if number == block => Json(json!({ "data": blobs })).into_response(),
            _ => not_found(),
        }
    };
    let sidecars = |State(endpoint): State<Endpoint>, Path(slot): Path<u64>| async move {
        endpoint.asked.lock().unwrap().push(format!("blob_sidecars/{slot}"));
        let Some((_, blobs)) = endpoint.sidecars.filter(|(at, _)| *at == slot) else { return not_found() };
        let sidecar = |blob: &Bytes| json!({"index": "0", "blob": blob, "kzg_commitment": commit(blob).unwrap().0});
        Json(json!({ "data": blobs.iter().map(sidecar).collect::<Vec<_>>() })).into_response()
    };
    let genesis = || async { Json(json!({"data": {"genesis_time": GENESIS.to_string()}})) };
    let router = Router::new()
        .route("/eth/v1/beacon/genesis", get(genesis))
        .route("/eth/v1/config/spec", get(spec))
        .route("/eth/v1/beacon/blobs/{block}", get(blobs))
        .route("/eth/v1/beacon/blob_sidecars/{slot}", get(sidecars))
        .with_state(endpoint);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(axum::serve(listener, router).into_future());
    format!("http://{address}")
}

/// Three blobs and their versioned hashes.
fn three() -> (Vec<Bytes>, Vec<B256>) {
    let stream: Vec<u8> = (0..2 * BLOB_CAPACITY + 5).map(|i| (i * i / 7) as u8).collect();
    let blobs: Vec<Bytes> = pack(&stream).iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect();
    let hashes = blobs.iter().map(|blob| commit(blob).expect("a blob").1).collect();
    (blobs, hashes)
}

async fn get_from(urls: &[&str], hashes: &[B256]) -> Result<Vec<Bytes>, BlobError> {
    Blobs::new(urls.iter().copied()).expect("URLs").get(BLOCK, hashes).await
}

#[tokio::test]
async fn a_beacon_node_is_asked_by_slot() {
    let (blobs, hashes) = three();
    let endpoint = Endpoint { spec: spec(), blobs: Some((101, blobs.clone())), ..Default::default() };
    let url = serve(endpoint.clone()).await;
    // In the order asked for, each as often as asked for.
    let wanted = [hashes[2], hashes[0], hashes[2]];
    let found = get_from(&[&format!("{url}/")], &wanted).await.expect("there");
    assert_eq!(found, [blobs[2].clone(), blobs[0].clone(), blobs[2].clone()]);
    let asked = endpoint.asked.lock().unwrap().clone();
    let mut sorted = [hashes[0], hashes[2]];
    sorted.sort();
    assert_eq!(asked, [format!("blobs/101?versioned_hashes={},{}", sorted[0], sorted[1])]);
    assert!(get_from(&[&url], &[]).await.expect("nothing is asked for").is_empty());

    // Newer nodes name the length of slots in milliseconds.
    let spec = Some(json!({"SLOT_DURATION_MS": "6000"}));
    let url = serve(Endpoint { spec, blobs: Some((202, blobs.clone())), ..Default::default() }).await;
    assert_eq!(get_from(&[&url], &hashes).await.expect("there"), blobs);
}

#[tokio::test]
async fn an_older_beacon_node_has_sidecars() {
    let (blobs, hashes) = three();
    let endpoint = Endpoint { spec: spec(), sidecars: Some((101, blobs.clone())), ..Default::default() };
    let url = serve(endpoint.clone()).await;
    assert_eq!(get_from(&[&url], &hashes[1..]).await.expect("there"), blobs[1..]);
    assert_eq!(endpoint.asked.lock().unwrap()[1], "blob_sidecars/101");
}

#[tokio::test]
async fn what_answers_like_anvil_is_asked_by_number() {
    let (blobs, hashes) = three();
    let url = serve(Endpoint { blobs: Some((7, blobs.clone())), ..Default::default() }).await;
    assert_eq!(get_from(&[&url], &hashes).await.expect("there"), blobs);
    assert_eq!(connect(&url).await.expect("connected").name(), url.trim_start_matches("http://"));
}

/// Has what it is given, for every block.
struct Archive(Vec<Bytes>);

impl BlobSource for Archive {
    fn name(&self) -> &str {
        "archive"
    }

    fn blobs<'a>(&'a self, _: L1Block, _: &'a [B256]) -> BoxFuture<'a, Result<Vec<Bytes>, BlobError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

#[tokio::test]
async fn what_one_source_lacks_another_has() {
    let (blobs, hashes) = three();
    let part = Endpoint { spec: spec(), blobs: Some((101, blobs[..1].to_vec())), ..Default::default() };
    let part = serve(part).await;
    let forgetful = serve(Endpoint { spec: spec(), ..Default::default() }).await;
    let urls = ["http://127.0.0.1:9", forgetful.as_str(), part.as_str()];
    let sources = || Blobs::new(urls).expect("URLs");
    let error = sources().get(BLOCK, &hashes).await.expect_err("two are missing");
    let BlobError::Missing { hash, block: 7, tried } = error else { panic!("{error}") };
    assert_eq!(hash, hashes[1]);
    for said in ["127.0.0.1:9: ", "is answered with status 404", "has 1 blobs, not this one"] {
        assert!(tried.contains(said), "{tried}");
    }
    let all = sources().with(Arc::new(Archive(blobs.clone())));
    assert_eq!(all.get(BLOCK, &hashes).await.expect("the archive has them"), blobs);
}

#[tokio::test]
async fn no_source_is_believed() {
    let (mut blobs, hashes) = three();
    let right = blobs.clone();
    let mut altered = blobs[1].to_vec();
    altered[77] ^= 1;
    blobs[1] = altered.into();
    // No field elements; no blob at all; another's.
    blobs.extend([Bytes::from(vec![0xff; 131_072]), Bytes::from_static(b"blob"), Bytes::new(), right[0].clone()]);
    let lying = serve(Endpoint { spec: spec(), blobs: Some((101, blobs)), ..Default::default() }).await;
    let missing = get_from(&[&lying], &hashes).await.expect_err("altered");
    assert!(matches!(missing, BlobError::Missing { hash, .. } if hash == hashes[1]), "{missing}");
    let honest = serve(Endpoint { blobs: Some((7, right.clone())), ..Default::default() }).await;
    assert_eq!(get_from(&[&lying, &honest], &hashes).await.expect("there"), right);
}

#[tokio::test]
async fn answers_are_bounded_and_strict() {
    let (_, hashes) = three();
    let tried = |error: BlobError| match error {
        BlobError::Missing { tried, .. } => tried,
        other => panic!("{other}"),
    };
    let long = vec![Bytes::from(vec![0; 40 << 20])];
    let long = serve(Endpoint { spec: spec(), blobs: Some((101, long)), ..Default::default() }).await;
    assert!(tried(get_from(&[&long], &hashes).await.expect_err("too long")).contains("is answered with more than"));
    for spec in [json!({"SECONDS_PER_SLOT": "0"}), json!({"SECONDS_PER_SLOT": "-1"}), json!({}), json!([])] {
        let url = serve(Endpoint { spec: Some(spec), ..Default::default() }).await;
        assert!(tried(get_from(&[&url], &hashes).await.expect_err("no slots")).contains("/eth/v1/config/spec"));
    }
    for url in ["", "beacon.example.org", "ftp://beacon.example.org", "http://beacon.example.org/?key=secret"] {
        let error = Blobs::new([url]).map(|_| ()).expect_err(url);
        assert!(matches!(error, BlobError::Url(_)) && !error.to_string().contains("secret"), "{error}");
    }
}

/// The blob of zeros commits to the point at infinity: its versioned hash is in EIP-4844's own tests (`c00…00`, hashed).
#[test]
fn commitments_are_those_of_eip_4844() {
    let (commitment, hash) = commit(&[0; 131_072]).expect("a blob");
    assert_eq!(commitment[..], [&[0xc0][..], &[0; 47]].concat());
    assert_eq!(hash.0, hex!("010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014"));
    assert!(matches!(commit(&[0; 131_071]), Err(BlobError::NotABlob(_))));
    assert!(matches!(commit(&[0xff; 131_072]), Err(BlobError::NotABlob(_))));
}

#[test]
fn an_opening_is_what_the_precompile_accepts() {
    let (blobs, hashes) = three();
    for (blob, hash) in blobs.iter().zip(hashes) {
        let opened = opening(blob).expect("a blob");
        assert_eq!((opened.versioned_hash, opened.opening.contents_hash), (hash, keccak256(blob)));
        assert_eq!(opened.z, B256::from(blob_z(hash, keccak256(blob))));
        let bytes = |word: B256| c_kzg::Bytes32::new(word.0);
        let (commitment, proof) = (c_kzg::Bytes48::new(opened.commitment.0), c_kzg::Bytes48::new(opened.proof.0));
        let verify =
            |y| c_kzg::ethereum_kzg_settings(0).verify_kzg_proof(&commitment, &bytes(opened.z), &bytes(y), &proof);
        assert!(verify(opened.opening.y).expect("well-formed"));
        assert!(!verify(B256::with_last_byte(1)).expect("well-formed"));
        verify_opening(&opened).expect("it holds");
        let mut others = [opened; 5];
        others[0].opening.y = B256::with_last_byte(1);
        others[1].versioned_hash = B256::ZERO;
        others[2].z = B256::ZERO;
        others[3].proof = opened.commitment;
        others[4].opening.y = B256::repeat_byte(0xff);
        for other in others {
            assert!(matches!(verify_opening(&other), Err(BlobError::NotOpened(_))));
        }
    }
    assert!(opening(&[0xff; 131_072]).is_err());
}

#[tokio::test]
async fn what_is_found_is_kept_and_what_is_kept_is_not_believed() {
    let (blobs, hashes) = three();
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint { spec: spec(), blobs: Some((101, blobs.clone())), ..Default::default() };
    let url = serve(endpoint.clone()).await;
    let open = || {
        let archive = Arc::new(jove_settlement::Archive::open(folder.path()).unwrap());
        Blobs::new([url.as_str()]).unwrap().keeping(archive)
    };
    assert_eq!(open().get(BLOCK, &hashes).await.expect("there"), blobs);
    // From then on nobody else is asked, whatever the block.
    let elsewhere = L1Block { number: 8, timestamp: GENESIS, ..BLOCK };
    assert_eq!(open().get(elsewhere, &hashes).await.expect("kept"), blobs);
    assert_eq!(endpoint.asked.lock().unwrap().len(), 1);
    // A damaged file is made anew, a torn one and an unfinished one too.
    let file = |hash: B256| folder.path().join(hex::encode(hash));
    let mut damaged = blobs[0].to_vec();
    damaged[5] ^= 1;
    std::fs::write(file(hashes[0]), damaged).unwrap();
    std::fs::write(file(hashes[1]), &blobs[1][..100]).unwrap();
    std::fs::write(folder.path().join("half.new"), "").unwrap();
    assert_eq!(open().get(BLOCK, &hashes).await.expect("there"), blobs);
    assert!(hashes.iter().zip(&blobs).all(|(hash, blob)| std::fs::read(file(*hash)).unwrap() == blob[..]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
