//! Blobs that a node keeps, for nodes that rebuild the chain when beacon nodes have let go of them.
//!
//! | path | what |
//! |---|---|
//! | `/eth/v1/beacon/genesis` | a time of zero: there are no slots here |
//! | `/eth/v1/beacon/blobs/{block}?versioned_hashes=` | those of these blobs that are here, whatever the block |
//!
//! This is the beacon API as anvil has it, without `/eth/v1/config/spec`. Any other path below `/eth/` is 404. Answers are bounded as those of [`crate::beacon`].

use crate::{
    beacon::{PLACES, Refusal, answer, wanted_hashes},
    dispatch::Client,
};
use alloy_primitives::{B256, Bytes};
use axum::{
    Extension, Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
    routing::{any, get},
};
use serde_json::{Value, json};
use std::{io, sync::Arc};
use tokio::sync::Semaphore;

/// Most blobs in an answer: as many as a transaction of L1 has, several times over.
const MAX_BLOBS: usize = 24;

/// How a blob is read, by its versioned hash.
type Read = Arc<dyn Fn(B256) -> io::Result<Option<Bytes>> + Send + Sync>;

#[derive(Clone)]
struct Archive {
    read: Read,
    places: Arc<Semaphore>,
}

/// The routes of a node that keeps blobs, each of which `read` finds by its versioned hash.
pub fn archive_router(read: impl Fn(B256) -> io::Result<Option<Bytes>> + Send + Sync + 'static) -> Router {
    Router::new()
        .route("/eth/v1/beacon/genesis", get(genesis))
        .route("/eth/v1/beacon/blobs/{block}", get(blobs))
        .route("/eth/{*path}", any(Refusal(StatusCode::NOT_FOUND, "not found: there is no such endpoint here")))
        .with_state(Archive { read: Arc::new(read), places: Arc::new(Semaphore::new(PLACES)) })
}

async fn genesis() -> Json<Value> {
    Json(json!({ "data": { "genesis_time": "0" } }))
}

async fn blobs(
    State(archive): State<Archive>,
    Extension(client): Extension<Client>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let wanted = wanted_hashes(query.as_deref().unwrap_or_default())?;
    let refused = Refusal(StatusCode::BAD_REQUEST, "invalid query: up to 24 versioned_hashes");
    let wanted = wanted.filter(|wanted| wanted.len() <= MAX_BLOBS).ok_or(refused)?;
    let place = archive.places.acquire_owned().await.map_err(|_| Refusal::INTERNAL)?;
    let task = tokio::task::spawn_blocking(move || {
        let found = wanted.into_iter().filter_map(|hash| (archive.read)(hash).transpose());
        let blobs = found.collect::<io::Result<Vec<_>>>().map_err(|error| {
            tracing::error!(%error, "the archive of blobs cannot be read");
            Refusal::INTERNAL
        })?;
        let answer = match blobs.is_empty() {
            true => Err(Refusal(StatusCode::NOT_FOUND, "none of these blobs is here")),
            false => answer(&client, &json!({ "data": blobs })),
        };
        drop(place);
        answer
    });
    task.await.map_err(|_| Refusal::INTERNAL)?
}
