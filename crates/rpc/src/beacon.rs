//! What clients of a layer 1 ask a beacon node: the [beacon API](https://ethereum.github.io/beacon-APIs/)'s answers to where blobs are.
//!
//! | path | what |
//! |---|---|
//! | `/eth/v1/beacon/genesis` | the time of slot 0 |
//! | `/eth/v1/config/spec` | lengths of slots and epochs, forks, limits |
//! | `/eth/v1/node/version` | this program's |
//! | `/eth/v1/node/health` | 200, without a body |
//! | `/eth/v1/node/syncing` | the head's slot: there is nothing to catch up with |
//! | `/eth/v1/beacon/headers` | the head's slot and roots in a list, or those of the block that `slot` or `parent_root` names |
//! | `/eth/v1/beacon/headers/{block}` | slot and roots of a block |
//! | `/eth/v1/beacon/blobs/{block}` | its blobs in order, or those that `versioned_hashes` names |
//!
//! A block is named by its slot, its root, `head`, `genesis` or `finalized`. A slot without a block is answered 404, as are blobs that are not kept any
//! more. Any other path below `/eth/` is 404 too. An answer counts among what its client has not read ([`crate::backlog`]): one that finds no room is
//! 503. There is no beacon chain behind it: [`jove_primitives::beacon`] says what stands in for its slots and roots. A header's `state_root` is that of
//! the execution state, its `body_root` the hash of the execution block, its signature zero.

use crate::{backlog::held_bytes, dispatch::Client};
use alloy_consensus::{Header, Transaction as _};
use alloy_primitives::{B256, Bytes, FixedBytes};
use axum::{
    Extension, Json, Router,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use jove_primitives::{
    beacon::{Slots, block_root},
    spec::BlobSchedule,
};
use jove_sequencer::{Node, NodeError};
use jove_storage::{StorageError, View};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Answers with blobs that are made at once: each is of up to 2.4 MB.
pub(crate) const PLACES: usize = 16;
/// Slots of an epoch.
const SLOTS_PER_EPOCH: u64 = 32;
/// Most versioned hashes in a query: more than a block can have.
const MAX_HASHES: usize = 128;
/// Of a genesis without validators.
const FORK_VERSION: &str = "0x90000075";

#[derive(Clone)]
struct Beacon {
    node: Arc<Node>,
    slots: Slots,
    places: Arc<Semaphore>,
}

/// The routes; none unless the chain is under Ethereum's rules.
pub fn beacon_router(node: Arc<Node>) -> Router {
    let Some(slots) = node.spec().slots() else { return Router::new() };
    Router::new()
        .route("/eth/v1/beacon/genesis", get(genesis))
        .route("/eth/v1/config/spec", get(spec))
        .route("/eth/v1/node/version", get(version))
        .route("/eth/v1/node/health", get(StatusCode::OK))
        .route("/eth/v1/node/syncing", get(syncing))
        .route("/eth/v1/beacon/headers", get(headers))
        .route("/eth/v1/beacon/headers/{block}", get(header_of))
        .route("/eth/v1/beacon/blobs/{block}", get(blobs))
        .route("/eth/{*path}", any(Refusal(StatusCode::NOT_FOUND, "not found: there is no such endpoint here")))
        .with_state(Beacon { node, slots, places: Arc::new(Semaphore::new(PLACES)) })
}

/// An error as the beacon API shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str);

impl Refusal {
    pub(crate) const NOT_FOUND: Self = Self(StatusCode::NOT_FOUND, "block not found");
    pub(crate) const INTERNAL: Self = Self(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        (status, Json(json!({ "code": status.as_u16(), "message": message }))).into_response()
    }
}

impl From<NodeError> for Refusal {
    fn from(error: NodeError) -> Self {
        tracing::error!(%error, "a beacon request failed inside the node");
        Self::INTERNAL
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        NodeError::from(error).into()
    }
}

async fn genesis(State(beacon): State<Beacon>) -> Json<Value> {
    Json(json!({ "data": {
        "genesis_time": beacon.slots.start().to_string(),
        "genesis_validators_root": B256::ZERO,
        "genesis_fork_version": FORK_VERSION,
    }}))
}

async fn version() -> Json<Value> {
    Json(json!({ "data": { "version": concat!("jove/v", env!("CARGO_PKG_VERSION")) } }))
}

async fn spec(State(beacon): State<Beacon>) -> Json<Value> {
    let params = beacon.node.rules().blob_params(beacon.slots.genesis);
    let chain_id = beacon.node.spec().chain_id.to_string();
    let mut data = json!({
        "CONFIG_NAME": "jove-l1",
        "PRESET_BASE": "mainnet",
        "SECONDS_PER_SLOT": beacon.slots.seconds.to_string(),
        "SLOT_DURATION_MS": (1000 * beacon.slots.seconds).to_string(),
        "SLOTS_PER_EPOCH": SLOTS_PER_EPOCH.to_string(),
        "GENESIS_FORK_VERSION": FORK_VERSION,
        "GENESIS_DELAY": "0",
        "MIN_GENESIS_TIME": beacon.slots.start().to_string(),
        "DEPOSIT_CHAIN_ID": chain_id,
        "DEPOSIT_NETWORK_ID": chain_id,
        "FIELD_ELEMENTS_PER_BLOB": "4096",
        "NUMBER_OF_COLUMNS": "128",
        "MAX_BLOBS_PER_BLOCK": params.max_blob_count.to_string(),
        "MAX_BLOBS_PER_BLOCK_ELECTRA": params.max_blob_count.to_string(),
        "BLOB_SCHEDULE": blob_schedule(&beacon),
    });
    // All forks up to Fulu, Osaka's name on this side, hold from the start.
    for (version, fork) in (1u8..).zip(["ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU"]) {
        data[format!("{fork}_FORK_EPOCH")] = "0".into();
        data[format!("{fork}_FORK_VERSION")] = format!("0x9{version}000075").into();
    }
    Json(json!({ "data": data }))
}

/// Changes of the most blobs that a block has (EIP-7892), by the epoch in which they begin.
fn blob_schedule(beacon: &Beacon) -> Vec<Value> {
    let schedule = beacon.node.spec().ethereum.iter().flat_map(|ethereum| &ethereum.blob_schedule);
    let entry = |at: &BlobSchedule| {
        let epoch = beacon.slots.at(at.timestamp) / SLOTS_PER_EPOCH;
        json!({ "EPOCH": epoch.to_string(), "MAX_BLOBS_PER_BLOCK": at.max.to_string() })
    };
    schedule.map(entry).collect()
}

async fn syncing(State(beacon): State<Beacon>) -> Json<Value> {
    Json(json!({ "data": {
        "head_slot": beacon.slots.at(beacon.node.head().header.timestamp).to_string(),
        "sync_distance": "0",
        "is_syncing": false,
        "is_optimistic": false,
        "el_offline": !beacon.node.is_running(),
    }}))
}

async fn headers(
    State(beacon): State<Beacon>,
    Extension(client): Extension<Client>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    beacon.run(client, move |beacon| beacon.headers(query.as_deref().unwrap_or_default())).await
}

async fn header_of(
    State(beacon): State<Beacon>,
    Extension(client): Extension<Client>,
    Path(block): Path<String>,
) -> Result<Response, Refusal> {
    beacon.run(client, move |beacon| beacon.header(&block)).await
}

async fn blobs(
    State(beacon): State<Beacon>,
    Extension(client): Extension<Client>,
    Path(block): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    beacon.run(client, move |beacon| beacon.blobs(&block, query.as_deref().unwrap_or_default())).await
}

/// What is asked for, and how far it is final.
#[derive(Serialize)]
struct Answer<T> {
    execution_optimistic: bool,
    finalized: bool,
    data: T,
}

/// An answer that holds room until its client has read it.
pub(crate) fn answer(client: &Client, value: &impl Serialize) -> Result<Response, Refusal> {
    let text = serde_json::to_vec(value).map_err(|_| Refusal::INTERNAL)?;
    let no_room = Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many answers wait to be read");
    let held = client.backlog.hold(text.len()).ok_or(no_room)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], held_bytes(text, vec![held])).into_response())
}

impl Beacon {
    /// Runs `work`, which reads from disk, on the blocking pool.
    async fn run<T: Serialize>(
        self,
        client: Client,
        work: impl FnOnce(&Self) -> Result<Answer<T>, Refusal> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| Refusal::INTERNAL)?;
        let task = tokio::task::spawn_blocking(move || {
            let answer = work(&self).and_then(|value| answer(&client, &value));
            drop(place);
            answer
        });
        task.await.map_err(|_| Refusal::INTERNAL)?
    }

    /// An answer about a block.
    fn about<T>(&self, block: &Header, data: T) -> Answer<T> {
        Answer { execution_optimistic: false, finalized: block.number <= self.node.tags().finalized, data }
    }

    fn headers(&self, query: &str) -> Result<Answer<Vec<Value>>, Refusal> {
        let view = self.node.storage().view();
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let (header, hash) = match (value("slot"), value("parent_root")) {
            (None, None) => self.find(&view, "head")?,
            (Some(slot), None) => {
                let number = self.number_at(&view, slot_number(slot)?)?.ok_or(Refusal::NOT_FOUND)?;
                numbered(&view, number)?
            }
            (None, Some(root)) if root.starts_with("0x") => {
                numbered(&view, self.find(&view, root)?.0.number.saturating_add(1))?
            }
            _ => return Err(Refusal(StatusCode::BAD_REQUEST, "invalid query: a slot or a parent_root")),
        };
        let data = vec![self.header_data(&header, hash)];
        Ok(self.about(&header, data))
    }

    fn header(&self, block: &str) -> Result<Answer<Value>, Refusal> {
        let (header, hash) = self.find(&self.node.storage().view(), block)?;
        let data = self.header_data(&header, hash);
        Ok(self.about(&header, data))
    }

    fn header_data(&self, header: &Header, hash: B256) -> Value {
        json!({
            "root": block_root(hash),
            "canonical": true,
            "header": {
                "message": {
                    "slot": self.slots.at(header.timestamp).to_string(),
                    "proposer_index": "0",
                    "parent_root": header.parent_beacon_block_root,
                    "state_root": header.state_root,
                    "body_root": hash,
                },
                "signature": FixedBytes::<96>::ZERO,
            },
        })
    }

    fn blobs(&self, block: &str, query: &str) -> Result<Answer<Vec<Bytes>>, Refusal> {
        let wanted = wanted_hashes(query)?;
        let view = self.node.storage().view();
        let (header, _) = self.find(&view, block)?;
        let block = view.block(header.number)?.ok_or(Refusal::NOT_FOUND)?;
        let hashes = block.transactions.iter().flat_map(|one| one.blob_versioned_hashes().unwrap_or_default());
        let hashes = hashes.filter(|hash| wanted.as_ref().is_none_or(|wanted| wanted.contains(hash)));
        let mut blobs: Vec<Bytes> = Vec::new();
        for hash in hashes {
            let blob = self.node.blob(*hash)?;
            blobs.push(blob.ok_or(Refusal(StatusCode::NOT_FOUND, "the block's blobs are not kept any more"))?);
        }
        Ok(self.about(&header, blobs))
    }

    /// The block that a path names, and its hash.
    fn find(&self, view: &View, block: &str) -> Result<(Header, B256), Refusal> {
        let number = match block {
            "head" => view.head_number(),
            "genesis" => 0,
            "finalized" => self.node.tags().finalized.min(view.head_number()),
            root if root.starts_with("0x") => {
                let root: B256 = root.parse().map_err(|_| invalid_block())?;
                view.block_number(block_root(root))?.ok_or(Refusal::NOT_FOUND)?
            }
            slot => self.number_at(view, slot_number(slot)?)?.ok_or(Refusal::NOT_FOUND)?,
        };
        numbered(view, number)
    }

    /// The number of the block in a slot, if there is one.
    fn number_at(&self, view: &View, slot: u64) -> Result<Option<u64>, Refusal> {
        let slot_of = |number| -> Result<u64, Refusal> {
            let header = view.header(number)?.ok_or(Refusal::NOT_FOUND)?;
            Ok(self.slots.at(header.timestamp))
        };
        // Slots ascend with numbers, and at least as fast.
        let (mut low, mut high) = (0, view.head_number());
        while low < high {
            let middle = low + (high - low) / 2;
            if slot_of(middle)? < slot { low = middle + 1 } else { high = middle }
        }
        Ok((slot_of(low)? == slot).then_some(low))
    }
}

/// A block and its hash.
fn numbered(view: &View, number: u64) -> Result<(Header, B256), Refusal> {
    let header = view.header(number)?.ok_or(Refusal::NOT_FOUND)?;
    let hash = view.block_hash(number)?.ok_or(Refusal::NOT_FOUND)?;
    Ok((header, hash))
}

/// A slot in decimal digits, and nothing else.
fn slot_number(text: &str) -> Result<u64, Refusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(invalid_block)
}

fn invalid_block() -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, "invalid block id: a slot, a root, head, genesis or finalized")
}

/// The versioned hashes that a query asks for, repeated or comma-separated; none: all.
pub(crate) fn wanted_hashes(query: &str) -> Result<Option<Vec<B256>>, Refusal> {
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("versioned_hashes="));
    // A browser may have encoded the commas.
    let values: Vec<String> = values.map(|value| value.replace("%2C", ",").replace("%2c", ",")).collect();
    let mut wanted = Vec::new();
    for hash in values.iter().flat_map(|value| value.split(',')) {
        let invalid = Refusal(StatusCode::BAD_REQUEST, "invalid versioned_hashes: at most 128 hashes of 32 bytes");
        match hash.parse() {
            Ok(hash) if wanted.len() < MAX_HASHES => wanted.push(hash),
            _ => return Err(invalid),
        }
    }
    Ok((!values.is_empty()).then_some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_holds_room_until_it_is_read() {
        use crate::{
            backlog::{Budget, UNREAD},
            io::Inbox,
        };
        let budget = Budget::new(3 * UNREAD);
        let client = |last: u8| {
            let ip = Some([10, 0, 0, last].into());
            Client { ip, counts_for: None, backlog: budget.connection(UNREAD, None), inbox: Inbox::default() }
        };
        let data = "x".repeat(2 * UNREAD);
        let value = Answer { execution_optimistic: false, finalized: true, data: &data };
        let (one, other) = (client(1), client(2));
        let response = answer(&one, &value).expect("room");
        let left = budget.left();
        assert!(left < UNREAD);
        assert_eq!(answer(&other, &value).expect_err("no room").0, StatusCode::SERVICE_UNAVAILABLE);
        answer(&other, &"small").expect("its own room");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("whole");
        assert!(body.starts_with(br#"{"execution_optimistic":false,"finalized":true,"data":"xxx"#));
        drop(body);
        assert_eq!(budget.left(), 3 * UNREAD, "it is given back");
    }

    #[test]
    fn a_slot_is_digits() {
        assert_eq!((slot_number("0"), slot_number("18446744073709551615")), (Ok(0), Ok(u64::MAX)));
        for bad in ["", "+7", "-7", " 7", "7 ", "0x7", "18446744073709551616", "soon"] {
            assert_eq!(slot_number(bad), Err(invalid_block()), "{bad}");
        }
    }

    #[test]
    fn queries_name_hashes_in_either_form() {
        let (a, b) = (B256::repeat_byte(1), B256::repeat_byte(2));
        assert_eq!(wanted_hashes(""), Ok(None));
        assert_eq!(wanted_hashes("other=1"), Ok(None));
        let both = Ok(Some(vec![a, b]));
        assert_eq!(wanted_hashes(&format!("versioned_hashes={a},{b}")), both);
        assert_eq!(wanted_hashes(&format!("versioned_hashes={a}%2C{b}")), both);
        assert_eq!(wanted_hashes(&format!("versioned_hashes={a}&x=1&versioned_hashes={b}")), both);
        let many = vec![a.to_string(); MAX_HASHES + 1].join(",");
        for bad in ["versioned_hashes=", "versioned_hashes=0x12", &format!("versioned_hashes={many}")] {
            assert_eq!(wanted_hashes(bad).map_err(|refusal| refusal.0), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
    }
}
