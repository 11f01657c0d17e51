//! HTTP POST and WebSocket on one port.
//!
//! `POST /` answers a request or a batch; `GET /` with an upgrade opens a WebSocket. Other paths are the caller's. As in geth, the content
//! type must be JSON, so that a web page cannot call without CORS's preflight, and the `Host` must be one of ours on every
//! path, so that a page cannot rebind its name to this machine. An IP address and `localhost` always are: no name can be rebound to
//! either.

use crate::{
    backlog::{Budget, UNANSWERED, UNREAD, held_bytes},
    config::ServerConfig,
    dispatch::{self, Backend, Caller, Client},
    error::RpcError,
    io::{self, Inbox, READ_TIMEOUT, Socket},
    limits::Connections,
    session::{self, Link, Outbox},
};
use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::server::create_response_with_body,
        protocol::{
            Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Bytes that a connection is read into: of a request's headers, and of a WebSocket beside a large message.
const READ_BUFFER: usize = UNANSWERED;
/// Most bytes of a WebSocket frame that the server sends; a longer message goes out in several (RFC 6455, section 5.4). What a frame is written
/// from is kept until the connection ends.
pub(crate) const FRAME: usize = 64 * 1024;
/// A WebSocket client that is silent for one interval is asked for a sign of life, and disconnected after another.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// When connections end.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// No new requests; those in hand are answered.
    pub(crate) graceful: CancellationToken,
    /// At once.
    pub(crate) now: CancellationToken,
}

#[derive(Clone)]
struct App<B> {
    backend: B,
    stop: Stop,
}

/// The routes of the server.
pub(crate) fn router<B: Backend>(backend: B, stop: Stop, extra: Router) -> Router {
    let config = backend.config();
    let origins = if config.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(config.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .max_age(Duration::from_secs(600));
    let app = App { backend, stop };
    let rpc = Router::new().route("/", get(open::<B>).post(post::<B>)).layer(cors).with_state(app.clone());
    rpc.merge(extra).layer(middleware::from_fn_with_state(app, known_host::<B>))
}

/// Lets only requests through that name one of our hosts, whatever they ask for.
async fn known_host<B: Backend>(State(app): State<App<B>>, request: Request, next: Next) -> Response {
    if host_allowed(app.backend.config(), request.headers()) {
        next.run(request).await
    } else {
        refused(StatusCode::FORBIDDEN, "invalid host specified")
    }
}

/// Accepts connections until `stop`. `unread` and `unanswered` are the budgets of answers and requests.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    unread: Budget,
    unanswered: Budget,
    connections: Arc<Connections>,
    stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.graceful.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => match connections.admit(Some(address.ip())) {
                Ok(place) => {
                    // Answers are small and awaited: Nagle's algorithm would only delay them.
                    let _ = stream.set_nodelay(true);
                    let counts_for = place.client();
                    let client = Client {
                        ip: Some(address.ip()),
                        counts_for,
                        backlog: unread.connection(UNREAD, counts_for),
                        inbox: Inbox::new(&unanswered, counts_for),
                    };
                    let socket = Socket::new(stream, client.inbox.clone(), place);
                    tokio::spawn(connection(socket, client, router.clone(), stop.clone()));
                }
                Err(why) => tracing::warn!(%address, why, "refusing a connection"),
            },
            Err(error) => {
                // Out of file descriptors, most likely: others will close.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(socket: Socket<TcpStream>, client: Client, router: Router, stop: Stop) {
    let ip = client.ip;
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client.clone());
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.graceful.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => ended,
                () = stop.now.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?ip, %error, "connection ended");
    }
}

fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn refused(status: StatusCode, message: &'static str) -> Response {
    let error = match status {
        StatusCode::SERVICE_UNAVAILABLE => RpcError::limit(message),
        _ => RpcError::invalid_request(message),
    };
    json(status, dispatch::refusal(&error).into())
}

async fn post<B: Backend>(
    State(app): State<App<B>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Response {
    let read = timeout(READ_TIMEOUT, read_body(request, app.backend.config().max_body_bytes, &client.inbox)).await;
    let body = match read.unwrap_or(Err((StatusCode::REQUEST_TIMEOUT, "request body took too long"))) {
        Ok(body) => body,
        // It is a call as far as the client's allowance goes: it took as much work.
        Err((status, message)) if dispatch::admitted(&app.backend, &client, 1) => return refused(status, message),
        Err(_) => {
            return json(StatusCode::TOO_MANY_REQUESTS, dispatch::refusal(&dispatch::rate_error()).into());
        }
    };
    let link = Some(Link::new(&client, None));
    let answer = dispatch::handle(&app.backend, body, Caller { client, link }).await;
    let status = if answer.rate_limited { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
    json(status, held_bytes(answer.body.unwrap_or_default(), answer.held))
}

/// The body, which holds room from its first byte on, or how the request is refused.
async fn read_body(request: Request, limit: usize, inbox: &Inbox) -> Result<Bytes, (StatusCode, &'static str)> {
    if !is_json(request.headers()) {
        let message = "invalid content type, only application/json is supported";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "request body too large");
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large);
    }
    let (mut text, mut held) = (Vec::new(), Some(inbox.body()));
    let (mut body, mut length) = (request.into_body(), 0usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, "request body cannot be read"))?;
        // Trailers mean nothing here.
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limit {
            return Err(too_large);
        }
        if held.as_mut().is_some_and(|held| held.grow(data.len())) {
            text.extend_from_slice(&data);
        } else {
            // The rest is read and forgotten: a client that still sends would not see the answer.
            (text, held) = (Vec::new(), None);
        }
    }
    let Some(held) = held else {
        io::no_room();
        return Err((StatusCode::SERVICE_UNAVAILABLE, "too many requests wait to be answered"));
    };
    // It may wait long: only what it needs is kept.
    text.shrink_to_fit();
    Ok(held_bytes(text, vec![held]))
}

type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Opens a WebSocket; to a plain GET it only says that it is there, as load balancers ask.
async fn open<B: Backend>(
    State(app): State<App<B>>,
    Extension(client): Extension<Client>,
    mut request: Request,
) -> Response {
    let config = app.backend.config();
    let headers = request.headers();
    if !headers.contains_key(header::UPGRADE) {
        return StatusCode::OK.into_response();
    }
    if !origin_allowed(config, headers) {
        return refused(StatusCode::FORBIDDEN, "origin not allowed");
    }
    let Ok(response) = create_response_with_body(&request, Body::empty) else {
        return refused(StatusCode::BAD_REQUEST, "invalid WebSocket handshake");
    };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(config.max_body_bytes))
        .max_frame_size(Some(config.max_body_bytes))
        .read_buffer_size(READ_BUFFER)
        // A frame is written when it is there: nothing gathers.
        .write_buffer_size(0);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let socket = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits)).await;
                websocket(app.backend, client, app.stop, socket).await;
            }
            Err(error) => tracing::debug!(%error, "a connection ended before it became a WebSocket"),
        }
    });
    response
}

async fn websocket<B: Backend>(backend: B, client: Client, stop: Stop, socket: WebSocket) {
    let (sink, messages) = socket.split();
    let heard = Arc::new(AtomicBool::new(true));
    let (hearing, inbox) = (heard.clone(), client.inbox.clone());
    inbox.count(Some(READ_TIMEOUT));
    let requests = messages.filter_map(move |message| {
        hearing.store(true, Ordering::Relaxed);
        std::future::ready(match message {
            Ok(Message::Text(text)) => Some(inbox.message(text.as_bytes())),
            Ok(Message::Binary(bytes)) => Some(inbox.message(&bytes)),
            Ok(Message::Ping(payload) | Message::Pong(payload)) => {
                inbox.control(payload.len());
                None
            }
            // Frames are put together before they come here.
            Ok(Message::Frame(_)) => None,
            Ok(Message::Close(_)) | Err(_) => Some(None),
        })
    });
    session::serve(backend, client, &stop.graceful, requests, move |outbox| write(outbox, sink, heard)).await;
}

async fn write(mut outbox: Outbox, mut sink: SplitSink<WebSocket, Message>, heard: Arc<AtomicBool>) {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        let sent = tokio::select! {
            message = outbox.next() => match message {
                Some(message) => {
                    let sent = send_text(&mut sink, message.text.into()).await;
                    // Only now is its room given back, and the client's next request read.
                    drop((message.held, message.place));
                    sent
                }
                None => {
                    // The other side may be gone already.
                    let _ = sink.send(Message::Close(None)).await;
                    return;
                }
            },
            _ = pings.tick() => {
                if !heard.swap(false, Ordering::Relaxed) {
                    tracing::debug!("disconnecting a silent WebSocket client");
                    outbox.end();
                    return;
                }
                sink.send(Message::Ping(Bytes::new())).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Sends JSON text in frames of at most [`FRAME`] bytes.
async fn send_text(sink: &mut SplitSink<WebSocket, Message>, mut text: Bytes) -> Result<(), tungstenite::Error> {
    let mut kind = Data::Text;
    loop {
        let frame = text.split_to(text.len().min(FRAME));
        let last = text.is_empty();
        sink.send(Message::Frame(Frame::message(frame, OpCode::Data(kind), last))).await?;
        if last {
            return Ok(());
        }
        kind = Data::Continue;
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/json-rpc", "application/jsonrequest"]
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
}

/// Host name without port, or the address of an IPv6 literal.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn host_allowed(config: &ServerConfig, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let host = host_of(host);
    host.is_empty()
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok()
        || config.allowed_hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host))
}

/// Whether a page of this origin may open a WebSocket, which CORS does not cover. Programs send no origin; pages from this machine
/// may.
fn origin_allowed(config: &ServerConfig, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if config.cors_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = origin.split_once("://").map_or("", |(_, authority)| host_of(authority));
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
