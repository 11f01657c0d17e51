//! Blobs of L1 blocks: where they are had from, and how they are opened for a proof.
//!
//! L1's execution nodes keep no blobs; its beacon nodes do, for 18 days. Two forms of asking for them are spoken, and [`connect`] finds out which:
//! - [`BeaconNode`], the [beacon API](https://ethereum.github.io/beacon-APIs/). It addresses blocks by slot: an L1 block's timestamp is the start of its
//!   slot, so slots that were missed do not matter. `/eth/v1/beacon/genesis` and `/eth/v1/config/spec` have the start and the length of slots;
//!   `/eth/v1/beacon/blobs/{slot}` has the blobs, and of a node without it the older `/eth/v1/beacon/blob_sidecars/{slot}`;
//! - [`BlockNumbers`], as anvil has it: `/eth/v1/beacon/blobs/{block number}`, and no `/eth/v1/config/spec`.
//!
//! [`Blobs`] asks one source after the other until it has all. No source is believed: a blob counts if its KZG commitment, computed here, gives its
//! versioned hash (EIP-4844). Answers are bounded in time and length.

use crate::{archive::Archive, http, watcher::L1Block};
use alloy_eips::eip4844::{BYTES_PER_BLOB, kzg_to_versioned_hash};
use alloy_primitives::{B256, Bytes, FixedBytes, keccak256};
use futures_util::future::BoxFuture;
use jove_primitives::batch::hash::{Opening, blob_z};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fmt::{self, Write as _},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::sync::OnceCell;

/// Longest that a source may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest that it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a short answer.
const MAX_ANSWER: usize = 1 << 20;
/// Most blobs of one answer that are looked at: several times what an L1 block may have.
const MAX_BLOBS: usize = 128;
/// Most bytes of an answer with blobs: in hexadecimal, with commitments and proofs.
const MAX_BLOBS_ANSWER: usize = MAX_BLOBS * (2 * BYTES_PER_BLOB + 4096);

/// Why blobs cannot be had or opened.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The URL of a source cannot be used. It is not shown, since it may hold a key. Fix the configuration.
    #[error("the URL of a source of blobs cannot be used: {0}")]
    Url(&'static str),
    /// A source cannot be reached, or ends its answer early. Try again later.
    #[error("{}", http::describe(.0))]
    Http(#[from] reqwest::Error),
    /// A source has answered with an error. 404: it does not know the block, or has let go of its blobs.
    #[error("{path} is answered with status {status}")]
    Status {
        /// What was asked for, without the query.
        path: String,
        /// HTTP's status.
        status: u16,
    },
    /// A source's answer is longer than any should be.
    #[error("{path} is answered with more than {limit} bytes")]
    TooLong {
        /// What was asked for, without the query.
        path: String,
        /// Most bytes.
        limit: usize,
    },
    /// A source's answer is not what the API says.
    #[error("{path}: {why}")]
    Malformed {
        /// What was asked for, without the query.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// No source has the blob: configure one that keeps blobs for longer.
    #[error("no source has blob {hash} of L1 block {block}{tried}")]
    Missing {
        /// The blob's versioned hash.
        hash: B256,
        /// The block's number.
        block: u64,
        /// What each source has said.
        tried: String,
    },
    /// The bytes are not a blob: 131,072 of them, in elements below the field's order.
    #[error("these bytes are not a blob: {0}")]
    NotABlob(String),
    /// Somebody says that a blob has a value where it has not, or names another blob's commitment.
    #[error("the opening of blob {0} does not hold")]
    NotOpened(B256),
    /// This node's archive cannot be read.
    #[error("the archive of blobs cannot be read: {0}")]
    Archive(#[source] io::Error),
    /// The program's own work was cut off: it is stopping.
    #[error("the blobs could not be checked: the program is stopping")]
    Stopping,
}

/// Where blobs are had from.
pub trait BlobSource: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> &str;

    /// The blobs of a block that have these versioned hashes, as far as they are there, or more of the block's blobs, in any order. Nobody has checked them.
    fn blobs<'a>(&'a self, block: L1Block, hashes: &'a [B256]) -> BoxFuture<'a, Result<Vec<Bytes>, BlobError>>;
}

/// A beacon node, or what answers like one.
#[derive(Debug)]
pub struct BeaconNode {
    http: Http,
    /// Time of slot 0, in seconds since the Unix epoch.
    genesis: u64,
    /// Length of a slot, in milliseconds; not 0.
    slot_ms: u64,
}

/// An endpoint that addresses blobs by the number of the execution block.
#[derive(Debug)]
pub struct BlockNumbers {
    http: Http,
}

/// All sources of blobs.
#[derive(Clone)]
pub struct Blobs {
    sources: Vec<Source>,
    /// What is found is kept here, and looked for first.
    archive: Option<Arc<Archive>>,
}

/// A source that is connected to when it is first asked.
#[derive(Clone)]
struct Source {
    name: String,
    url: String,
    connected: OnceCell<Arc<dyn BlobSource>>,
}

/// What `Rollup.prove` needs of a blob, and what it is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobOpening {
    /// The blob's versioned hash (EIP-4844).
    pub versioned_hash: B256,
    /// Where its polynomial is opened: [`blob_z`], as a word.
    pub z: B256,
    /// Hash of the contents, and the value at z.
    pub opening: Opening,
    /// The KZG commitment.
    pub commitment: FixedBytes<48>,
    /// The KZG proof that the value at z is y.
    pub proof: FixedBytes<48>,
}

/// Finds out in which form an endpoint is to be asked.
///
/// # Errors
/// If it is no URL, cannot be reached, or answers in no form that is known here.
pub async fn connect(url: &str) -> Result<Arc<dyn BlobSource>, BlobError> {
    let http = Http::new(url)?;
    let genesis: Data<Genesis> = http.get("/eth/v1/beacon/genesis", "", MAX_ANSWER).await?;
    match http.get::<Data<Spec>>("/eth/v1/config/spec", "", MAX_ANSWER).await {
        Ok(spec) => Ok(Arc::new(BeaconNode::new(http, &genesis.data, &spec.data)?)),
        Err(BlobError::Status { status: 404, .. }) => Ok(Arc::new(BlockNumbers { http })),
        Err(error) => Err(error),
    }
}

#[derive(Debug, Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct Genesis {
    genesis_time: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Spec {
    seconds_per_slot: Option<String>,
    slot_duration_ms: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sidecar {
    blob: Bytes,
    kzg_commitment: FixedBytes<48>,
}

impl BeaconNode {
    fn new(http: Http, genesis: &Genesis, spec: &Spec) -> Result<Self, BlobError> {
        let malformed = |path: &str, why: &str| BlobError::Malformed { path: path.into(), why: why.into() };
        let start = genesis.genesis_time.parse();
        let start = start.map_err(|_| malformed("/eth/v1/beacon/genesis", "genesis_time is no number"))?;
        let number = |value: &Option<String>| value.as_ref()?.parse::<u64>().ok();
        let seconds = number(&spec.seconds_per_slot).and_then(|seconds| seconds.checked_mul(1000));
        let slot_ms = number(&spec.slot_duration_ms).or(seconds).filter(|ms| *ms > 0);
        let slot_ms = slot_ms.ok_or_else(|| malformed("/eth/v1/config/spec", "it has no length of slots"))?;
        Ok(Self { http, genesis: start, slot_ms })
    }

    /// The slot that starts at a time, in seconds since the Unix epoch.
    fn slot(&self, timestamp: u64) -> u64 {
        timestamp.saturating_sub(self.genesis).saturating_mul(1000) / self.slot_ms
    }

    async fn sidecars(&self, slot: u64, hashes: &[B256]) -> Result<Vec<Bytes>, BlobError> {
        let path = format!("/eth/v1/beacon/blob_sidecars/{slot}");
        let sidecars: Data<Vec<Sidecar>> = self.http.get(&path, "", MAX_BLOBS_ANSWER).await?;
        let wanted = |sidecar: &Sidecar| hashes.contains(&kzg_to_versioned_hash(sidecar.kzg_commitment.as_slice()));
        Ok(sidecars.data.into_iter().filter(wanted).map(|sidecar| sidecar.blob).collect())
    }
}

impl BlobSource for BeaconNode {
    fn name(&self) -> &str {
        &self.http.host
    }

    fn blobs<'a>(&'a self, block: L1Block, hashes: &'a [B256]) -> BoxFuture<'a, Result<Vec<Bytes>, BlobError>> {
        Box::pin(async move {
            let slot = self.slot(block.timestamp);
            match self.http.blobs(slot, hashes).await {
                Err(refusal @ BlobError::Status { .. }) => match self.sidecars(slot, hashes).await {
                    Err(BlobError::Status { .. }) => Err(refusal),
                    answer => answer,
                },
                answer => answer,
            }
        })
    }
}

impl BlobSource for BlockNumbers {
    fn name(&self) -> &str {
        &self.http.host
    }

    fn blobs<'a>(&'a self, block: L1Block, hashes: &'a [B256]) -> BoxFuture<'a, Result<Vec<Bytes>, BlobError>> {
        Box::pin(self.http.blobs(block.number, hashes))
    }
}

impl Blobs {
    /// These endpoints, in the order in which they are asked: beacon nodes first, archives after them. They are connected to when they are needed.
    ///
    /// # Errors
    /// [`BlobError::Url`] if one is no URL.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, BlobError> {
        let mut sources = Vec::new();
        for url in urls {
            let url = url.into();
            let name = Http::new(&url)?.host;
            sources.push(Source { name, url, connected: OnceCell::new() });
        }
        Ok(Self { sources, archive: None })
    }

    /// Keeps what it finds.
    #[must_use]
    pub fn keeping(mut self, archive: Arc<Archive>) -> Self {
        let source = Source {
            name: archive.name().into(),
            url: String::new(),
            connected: OnceCell::new_with(Some(archive.clone())),
        };
        self.sources.insert(0, source);
        self.archive = Some(archive);
        self
    }

    /// Keeps blobs with these versioned hashes, where it keeps any. Where it cannot, it says so: the rest goes on.
    pub async fn keep(&self, blobs: Vec<(B256, Bytes)>) {
        let Some(archive) = self.archive.clone() else { return };
        let put = move || blobs.iter().try_for_each(|(hash, blob)| archive.put(*hash, blob));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(put).await {
            metrics::counter!("jove_blob_archive_failures_total").increment(1);
            tracing::error!(%error, "blobs cannot be kept");
        }
    }

    /// One more source, which is asked after the others.
    #[must_use]
    pub fn with(mut self, source: Arc<dyn BlobSource>) -> Self {
        let name = source.name().into();
        self.sources.push(Source { name, url: String::new(), connected: OnceCell::new_with(Some(source)) });
        self
    }

    /// The blobs of a block that have these versioned hashes, in order, checked; 131,072 bytes each.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if no source has one of them.
    pub async fn get(&self, block: L1Block, hashes: &[B256]) -> Result<Vec<Bytes>, BlobError> {
        let mut found: Vec<Option<Bytes>> = vec![None; hashes.len()];
        let mut tried = String::new();
        let mut new = Vec::new();
        for (number, source) in self.sources.iter().enumerate() {
            let is_archive = number == 0 && self.archive.is_some();
            let lacking = hashes.iter().zip(&found).filter(|(_, blob)| blob.is_none());
            let mut lacking: Vec<B256> = lacking.map(|(hash, _)| *hash).collect();
            lacking.sort_unstable();
            lacking.dedup();
            if lacking.is_empty() {
                break;
            }
            let said = match source.blobs(block, &lacking).await {
                Ok(blobs) => {
                    let count = blobs.len();
                    let checked = tokio::task::spawn_blocking(move || check(blobs, lacking)).await;
                    for (hash, blob) in checked.map_err(|_| BlobError::Stopping)? {
                        if !is_archive {
                            new.push((hash, blob.clone()));
                        }
                        let places = hashes.iter().zip(&mut found).filter(|(one, _)| **one == hash);
                        places.for_each(|(_, place)| *place = Some(blob.clone()));
                    }
                    format!("has {count} blobs, not this one")
                }
                Err(error) => error.to_string(),
            };
            tracing::debug!(source = source.name, block = block.number, said, "asked for blobs");
            // A string takes all.
            let _ = write!(tried, "; {}: {said}", source.name);
        }
        self.keep(new).await;
        let missing = |(hash, blob): (&B256, Option<Bytes>)| {
            blob.ok_or_else(|| BlobError::Missing { hash: *hash, block: block.number, tried: tried.clone() })
        };
        hashes.iter().zip(found).map(missing).collect()
    }
}

impl Source {
    async fn blobs(&self, block: L1Block, hashes: &[B256]) -> Result<Vec<Bytes>, BlobError> {
        self.connected.get_or_try_init(|| connect(&self.url)).await?.blobs(block, hashes).await
    }
}

/// Those of `blobs` that have one of the hashes, with it.
fn check(blobs: Vec<Bytes>, mut lacking: Vec<B256>) -> Vec<(B256, Bytes)> {
    let mut found = Vec::new();
    for blob in blobs.into_iter().take(MAX_BLOBS) {
        if lacking.is_empty() {
            break;
        }
        let Ok((_, hash)) = commit(&blob) else { continue };
        if let Some(at) = lacking.iter().position(|one| *one == hash) {
            lacking.swap_remove(at);
            found.push((hash, blob));
        }
    }
    found
}

/// KZG commitment and versioned hash of a blob (EIP-4844). It takes tens of milliseconds.
///
/// # Errors
/// [`BlobError::NotABlob`].
pub fn commit(blob: &[u8]) -> Result<(FixedBytes<48>, B256), BlobError> {
    let blob = parse(blob)?;
    let commitment = c_kzg::ethereum_kzg_settings(0).blob_to_kzg_commitment(&blob).map_err(not_a_blob)?;
    let commitment = FixedBytes(commitment.to_bytes().into_inner());
    Ok((commitment, kzg_to_versioned_hash(commitment.as_slice())))
}

/// Opens a blob where `Rollup.prove` has it opened. It takes a tenth of a second.
///
/// # Errors
/// [`BlobError::NotABlob`].
pub fn opening(blob: &[u8]) -> Result<BlobOpening, BlobError> {
    let (commitment, versioned_hash) = commit(blob)?;
    let parsed = parse(blob)?;
    let contents_hash = keccak256(blob);
    let z = B256::from(blob_z(versioned_hash, contents_hash));
    let settings = c_kzg::ethereum_kzg_settings(0);
    let (proof, y) = settings.compute_kzg_proof(&parsed, &c_kzg::Bytes32::new(z.0)).map_err(not_a_blob)?;
    Ok(BlobOpening {
        versioned_hash,
        z,
        opening: Opening { contents_hash, y: B256::new(*y) },
        commitment,
        proof: FixedBytes(proof.to_bytes().into_inner()),
    })
}

/// Checks what [`opening`] gives, without the blob: that the one with this versioned hash has the value there, if its contents have that hash.
///
/// # Errors
/// [`BlobError::NotOpened`].
pub fn verify_opening(opened: &BlobOpening) -> Result<(), BlobError> {
    let BlobOpening { versioned_hash, z, opening, commitment, proof } = opened;
    let is_its = kzg_to_versioned_hash(commitment.as_slice()) == *versioned_hash
        && *z == B256::from(blob_z(*versioned_hash, opening.contents_hash));
    let bytes = |point: &FixedBytes<48>| c_kzg::Bytes48::new(point.0);
    let number = |word: &B256| c_kzg::Bytes32::new(word.0);
    let settings = c_kzg::ethereum_kzg_settings(0);
    let holds = settings.verify_kzg_proof(&bytes(commitment), &number(z), &number(&opening.y), &bytes(proof));
    if is_its && matches!(holds, Ok(true)) { Ok(()) } else { Err(BlobError::NotOpened(*versioned_hash)) }
}

fn parse(blob: &[u8]) -> Result<Box<c_kzg::Blob>, BlobError> {
    c_kzg::Blob::from_bytes(blob).map(Box::new).map_err(not_a_blob)
}

fn not_a_blob(error: c_kzg::Error) -> BlobError {
    BlobError::NotABlob(format!("{error:?}"))
}

/// An endpoint.
#[derive(Clone)]
struct Http {
    client: reqwest::Client,
    /// The URL without a slash at its end. It may hold a key: nothing prints it.
    base: String,
    /// Host and port.
    host: String,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Http {
    fn new(url: &str) -> Result<Self, BlobError> {
        let parsed = reqwest::Url::parse(url).map_err(|_| BlobError::Url("it is malformed"))?;
        match parsed.scheme() {
            "http" => {}
            "https" => http::no_tls().map_or(Ok(()), |why| Err(BlobError::Url(why)))?,
            _ => return Err(BlobError::Url("its scheme is neither http nor https")),
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(BlobError::Url("paths are put to its end: it may have no query"));
        }
        let host = parsed.host_str().ok_or(BlobError::Url("it has no host"))?;
        let host = parsed.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let client = http::client().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Self { client, base: url.trim_end_matches('/').into(), host })
    }

    /// `/eth/v1/beacon/blobs/{block}`.
    async fn blobs(&self, block: u64, hashes: &[B256]) -> Result<Vec<Bytes>, BlobError> {
        let hashes: Vec<String> = hashes.iter().map(B256::to_string).collect();
        let query = format!("?versioned_hashes={}", hashes.join(","));
        let blobs: Data<Vec<Bytes>> =
            self.get(&format!("/eth/v1/beacon/blobs/{block}"), &query, MAX_BLOBS_ANSWER).await?;
        Ok(blobs.data)
    }

    /// The JSON that a path is answered with, of at most `limit` bytes.
    async fn get<T: DeserializeOwned>(&self, path: &str, query: &str, limit: usize) -> Result<T, BlobError> {
        let request = self.client.get(format!("{}{path}{query}", self.base)).header("accept", "application/json");
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        let path = || path.to_owned();
        if response.status() != reqwest::StatusCode::OK {
            return Err(BlobError::Status { path: path(), status: response.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > limit {
                return Err(BlobError::TooLong { path: path(), limit });
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| BlobError::Malformed { path: path(), why: error.to_string() })
    }
}
