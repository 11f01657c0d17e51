//! JSON-RPC 2.0: from the bytes of a request to the bytes of its answer.
//!
//! - A call without `id` is a notification: it runs and is not answered. `id` is a string, a number or null.
//! - The calls of a batch run side by side and are answered in order, at most `max_batch` of them, within one deadline.
//! - Neighbouring `eth_sendRawTransaction` of a batch reach the pool as one call, since recovering senders is a batch operation.
//! - Nesting is bounded before anything is parsed, by a scan that takes no stack.

use crate::{
    backlog::{Backlog, Budget, Held},
    config::ServerConfig,
    error::RpcError,
    io::Inbox,
    methods::Reply,
    session::Link,
};
use axum::body::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, de};
use serde_json::{error::Category, value::RawValue};
use std::{
    borrow::Cow,
    fmt,
    future::Future,
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

/// Longest `id`, in bytes: it comes back in the answer.
const MAX_ID: usize = 1024;
/// Bytes of an answer that is always kept: that of an error that stands for one which does not fit.
const SMALL: usize = MAX_ID + 256;
/// Deepest nesting of arrays and objects; serde_json reads no deeper either.
const MAX_DEPTH: usize = 127;
/// Calls of one batch that run at once.
const BATCH_WIDTH: usize = 16;
/// The method whose neighbours in a batch are sent to the pool together.
const SEND: &str = "eth_sendRawTransaction";

/// What runs the calls. The node's is [`crate::methods::Context`]; tests have their own.
pub(crate) trait Backend: Clone + Send + Sync + 'static {
    fn config(&self) -> &ServerConfig;
    /// What answers that wait for their clients may take.
    fn budget(&self) -> &Budget;
    /// Takes `calls` from the allowance of a client; false once it is used up.
    fn admit(&self, client: IpAddr, calls: usize) -> bool;
    fn run(&self, call: Request) -> impl Future<Output = Reply> + Send;
    /// Runs `eth_sendRawTransaction` many times: one reply each, in order.
    fn send_all(&self, calls: Vec<Request>) -> impl Future<Output = Vec<Reply>> + Send;
}

/// The other end of a connection.
#[derive(Clone)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Client {
    /// Its address; none on IPC.
    pub(crate) ip: Option<IpAddr>,
    /// Whose limits its connection counts against; none on IPC, and where clients are not told apart.
    pub(crate) counts_for: Option<IpAddr>,
    /// What it has not read yet.
    pub(crate) backlog: Backlog,
    /// What it has sent and is not answered.
    pub(crate) inbox: Inbox,
}

/// Who asks.
#[derive(Clone)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Caller {
    pub(crate) client: Client,
    /// The connection.
    pub(crate) link: Option<Link>,
}

/// A well-formed call.
pub(crate) struct Request {
    pub(crate) method: String,
    /// JSON text; empty without.
    pub(crate) params: Bytes,
    /// JSON text; `None` in a notification.
    id: Option<Bytes>,
    pub(crate) deadline: Instant,
    pub(crate) link: Option<Link>,
}

/// The bytes of an answer.
pub(crate) struct Answer {
    /// `None` if nothing asked for an answer.
    pub(crate) body: Option<Vec<u8>>,
    /// The room that it takes until the client has read it.
    pub(crate) held: Vec<Held>,
    /// Whether the client used up its allowance.
    pub(crate) rate_limited: bool,
}

/// Answers the bytes of one request or batch. What is no request costs a client as much as one call.
pub(crate) async fn handle<B: Backend>(backend: &B, body: Bytes, caller: Caller) -> Answer {
    let room = Room::new(backend.config(), &caller.client.backlog);
    let mut rate_limited = false;
    let body = match answer(backend, body, &caller, &room).await {
        Ok(body) => body,
        Err(Refused { id, error, over_rate }) => {
            rate_limited = over_rate || !admitted(backend, &caller.client, 1);
            Some(room.fit(id.as_deref(), Err(if rate_limited { rate_error() } else { *error })))
        }
    };
    Answer { body, held: room.held.into_inner(), rate_limited }
}

/// Why nothing of a body runs.
struct Refused {
    id: Option<Bytes>,
    error: Box<RpcError>,
    /// The client had used up its allowance; otherwise it has not been charged yet.
    over_rate: bool,
}

impl Refused {
    fn unreadable(id: Option<Bytes>, error: RpcError) -> Self {
        Self { id, error: Box::new(error), over_rate: false }
    }

    fn over_rate(id: Option<Bytes>) -> Self {
        Self { id, error: Box::new(rate_error()), over_rate: true }
    }
}

async fn answer<B: Backend>(
    backend: &B,
    body: Bytes,
    caller: &Caller,
    room: &Room<'_>,
) -> Result<Option<Vec<u8>>, Refused> {
    if nested_deeper_than(&body, MAX_DEPTH) {
        return Err(Refused::unreadable(None, RpcError::parse("parse error: nested too deeply")));
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return batch(backend, &body, caller, room).await;
    }
    let deadline = Instant::now() + backend.config().request_timeout();
    let call = parse_call(&body, &body, deadline, caller)?;
    let id = call.id.clone();
    if !admitted(backend, &caller.client, 1) {
        return Err(Refused::over_rate(id));
    }
    let reply = backend.run(call).await;
    Ok(id.map(|id| room.fit(Some(&id), reply)))
}

/// Takes `calls` from the client's allowance.
pub(crate) fn admitted<B: Backend>(backend: &B, client: &Client, calls: usize) -> bool {
    client.ip.is_none_or(|ip| backend.admit(ip, calls))
}

pub(crate) fn rate_error() -> RpcError {
    RpcError::limit("rate limit exceeded")
}

/// What of a batch runs together.
enum Unit {
    /// Answered without running.
    Refused(Refused),
    Call(Request),
    Sends(Vec<Request>),
}

async fn batch<B: Backend>(
    backend: &B,
    body: &Bytes,
    caller: &Caller,
    room: &Room<'_>,
) -> Result<Option<Vec<u8>>, Refused> {
    let config = backend.config();
    let calls = split_batch(body, config.max_batch).map_err(|error| Refused::unreadable(None, error))?;
    if !admitted(backend, &caller.client, calls.len()) {
        return Err(Refused::over_rate(None));
    }
    let deadline = Instant::now() + config.request_timeout();
    let mut units: Vec<Unit> = Vec::with_capacity(calls.len());
    for call in calls {
        match parse_call(call.get().as_bytes(), body, deadline, caller) {
            Err(refused) => units.push(Unit::Refused(refused)),
            Ok(call) if call.method == SEND => match units.last_mut() {
                Some(Unit::Sends(sends)) => sends.push(call),
                _ => units.push(Unit::Sends(vec![call])),
            },
            Ok(call) => units.push(Unit::Call(call)),
        }
    }

    let mut answers =
        std::pin::pin!(stream::iter(units).map(|unit| run_unit(backend, unit, room)).buffered(BATCH_WIDTH));
    let mut out = Vec::with_capacity(256);
    while let Some(answers) = answers.next().await {
        for answer in answers {
            out.push(if out.is_empty() { b'[' } else { b',' });
            out.extend_from_slice(&answer);
        }
    }
    if out.is_empty() {
        return Ok(None);
    }
    out.push(b']');
    // It may wait long: only what it needs is kept.
    out.shrink_to_fit();
    Ok(Some(out))
}

/// What an answer may take: of a batch, all answers together. They wait for those before them, so the room is taken as they are
/// made.
struct Room<'a> {
    limit: usize,
    taken: AtomicUsize,
    backlog: &'a Backlog,
    held: Mutex<Vec<Held>>,
}

impl<'a> Room<'a> {
    fn new(config: &ServerConfig, backlog: &'a Backlog) -> Self {
        let (taken, held) = (AtomicUsize::new(0), Mutex::default());
        Self { limit: config.max_response_bytes, taken, backlog, held }
    }

    fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.limit
    }

    /// The answer, or if it does not fit, a small error in its place.
    fn fit(&self, id: Option<&[u8]>, reply: Reply) -> Vec<u8> {
        let answer = encode(id, reply.as_deref());
        let before = self.taken.fetch_add(answer.len(), Ordering::Relaxed);
        let replaceable = reply.is_ok() || answer.len() > SMALL;
        if before > 0 && replaceable && before.saturating_add(answer.len()) > self.limit {
            return encode(id, Err(&RpcError::response_too_large()));
        }
        match self.backlog.hold(answer.len()) {
            Some(held) => self.held.lock().push(held),
            None if answer.len() > SMALL => return encode(id, Err(&RpcError::unread())),
            None => {}
        }
        answer
    }
}

async fn run_unit<B: Backend>(backend: &B, unit: Unit, room: &Room<'_>) -> Vec<Vec<u8>> {
    match unit {
        Unit::Refused(Refused { id, error, .. }) => vec![room.fit(id.as_deref(), Err(*error))],
        Unit::Call(call) => {
            let id = call.id.clone();
            let reply = if room.is_full() { Err(RpcError::response_too_large()) } else { backend.run(call).await };
            id.map(|id| room.fit(Some(&id), reply)).into_iter().collect()
        }
        Unit::Sends(calls) => {
            let ids: Vec<Option<Bytes>> = calls.iter().map(|call| call.id.clone()).collect();
            let replies = backend.send_all(calls).await;
            ids.into_iter().zip(replies).filter_map(|(id, reply)| Some(room.fit(Some(&id?), reply))).collect()
        }
    }
}

/// The JSON text of an answer.
pub(crate) fn encode(id: Option<&[u8]>, reply: Result<&[u8], &RpcError>) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + reply.map_or(128, <[u8]>::len));
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.unwrap_or(b"null"));
    match reply {
        Ok(result) => {
            out.extend_from_slice(br#","result":"#);
            out.extend_from_slice(result);
        }
        Err(error) => {
            out.extend_from_slice(br#","error":"#);
            match serde_json::to_vec(error) {
                Ok(error) => out.extend_from_slice(&error),
                Err(_) => out.extend_from_slice(br#"{"code":-32603,"message":"internal error"}"#),
            }
        }
    }
    out.push(b'}');
    out
}

/// The answer to what is no request.
pub(crate) fn refusal(error: &RpcError) -> Vec<u8> {
    encode(None, Err(error))
}

/// The members of a request, not yet looked at.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// Tells a null from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one call from `text`, a part of `body`. The error is the answer.
fn parse_call(text: &[u8], body: &Bytes, deadline: Instant, caller: &Caller) -> Result<Request, Refused> {
    let refuse = |id: Option<Bytes>, message: &'static str| Refused::unreadable(id, RpcError::invalid_request(message));
    let object = text.trim_ascii_start().first() == Some(&b'{');
    let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(|error| match error.classify() {
        // Its members can be of any type: all that an object can have wrong is one of them twice.
        Category::Data if object => {
            let id = serde_json::from_slice::<OnlyId<'_>>(text).ok().and_then(|only| id_of(body, only.id).ok()?);
            refuse(id, "invalid request: duplicate field")
        }
        _ => Refused::unreadable(None, unreadable(&error)),
    })?;
    // serde reads a struct from an array of its members, too.
    if !object {
        return Err(refuse(None, "invalid request: not an object"));
    }
    let id = id_of(body, envelope.id).map_err(|message| refuse(None, message))?;
    if envelope.jsonrpc.map(RawValue::get) != Some(r#""2.0""#) {
        return Err(refuse(id, r#"invalid request: jsonrpc must be "2.0""#));
    }
    let Some(method) = envelope.method else { return Err(refuse(id, "invalid request: method is missing")) };
    let method = match serde_json::from_str::<Text<'_>>(method.get()) {
        Ok(Text(method)) => method.into_owned(),
        Err(_) => return Err(refuse(id, "invalid request: method must be a string")),
    };
    let params = envelope.params.map_or_else(Bytes::new, |params| part(body, params));
    Ok(Request { method, params, id, deadline, link: caller.link.clone() })
}

/// The id of a request whose other members are not looked at.
#[derive(Deserialize)]
struct OnlyId<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// The id as it comes back in the answer, or what is wrong with it.
fn id_of(body: &Bytes, id: Option<&RawValue>) -> Result<Option<Bytes>, &'static str> {
    match id {
        Some(id) if matches!(id.get().as_bytes().first(), Some(b'{' | b'[' | b't' | b'f')) => {
            Err("invalid request: id must be a string, a number or null")
        }
        Some(id) if id.get().len() > MAX_ID => Err("invalid request: id is too long"),
        id => Ok(id.map(|id| part(body, id))),
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The bytes of a value, shared with the body that it was read from.
fn part(body: &Bytes, value: &RawValue) -> Bytes {
    body.slice_ref(value.get().as_bytes())
}

fn unreadable(error: &serde_json::Error) -> RpcError {
    match error.classify() {
        Category::Data => RpcError::invalid_request("invalid request: not an object"),
        _ => RpcError::parse(format!("parse error: {error}")),
    }
}

/// The members of a batch, at least one and at most `max`.
fn split_batch(body: &[u8], max: usize) -> Result<Vec<&RawValue>, RpcError> {
    struct Calls(usize);

    impl<'de> de::Visitor<'de> for Calls {
        type Value = (Vec<&'de RawValue>, bool);

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a batch")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut calls: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            let mut more = false;
            while kept.len() < self.0 {
                match calls.next_element()? {
                    Some(call) => kept.push(call),
                    None => return Ok((kept, more)),
                }
            }
            while calls.next_element::<de::IgnoredAny>()?.is_some() {
                more = true;
            }
            Ok((kept, more))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = deserializer.deserialize_seq(Calls(max)).and_then(|calls| deserializer.end().map(|()| calls));
    match parsed {
        Err(error) => Err(unreadable(&error)),
        Ok((_, true)) => Err(RpcError::invalid_request(format!("batch too large: at most {max} calls"))),
        Ok((calls, _)) if calls.is_empty() => Err(RpcError::invalid_request("empty batch")),
        Ok((calls, _)) => Ok(calls),
    }
}

/// Whether arrays and objects nest deeper than `limit`. The text need not be valid JSON.
fn nested_deeper_than(text: &[u8], limit: usize) -> bool {
    let mut depth = 0usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
pub(crate) mod tests;
