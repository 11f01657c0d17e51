//! The transports over real sockets, with a backend that needs no node.

use crate::{
    ServerConfig,
    backlog::Budget,
    dispatch::tests::Fake,
    http::{self, Stop},
    ipc,
    limits::Connections,
};
use axum::{Router, routing::get};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};

/// Only a hang is as long.
const LONG: Duration = Duration::from_secs(120);

struct Running {
    address: SocketAddr,
    stop: Stop,
    places: Arc<Connections>,
    budget: Budget,
    unanswered: Budget,
}

async fn start(config: ServerConfig) -> Running {
    start_with(Fake::new(config)).await
}

async fn start_with(backend: Fake) -> Running {
    use crate::dispatch::Backend;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let stop = Stop::default();
    let config = backend.config();
    let places = Connections::new(config.max_connections, config.max_connections_per_address);
    let budget = backend.budget.clone();
    let unanswered_bytes = config.max_unanswered_bytes;
    let extra = Router::new().route("/health", get(|| async { "fine" }));
    let router = http::router(backend, stop.clone(), extra);
    let unanswered = Budget::new(unanswered_bytes);
    tokio::spawn(http::listen(listener, router, budget.clone(), unanswered.clone(), places.clone(), stop.clone()));
    Running { address, stop, places, budget, unanswered }
}

fn echo(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": [id]})
}

/// Sends raw bytes and reads to the end. Who is refused early may find nobody who reads the rest.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8(answer).expect("text")
}

fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

const JSON: &str = "Content-Type: application/json\r\nHost: localhost\r\n";

#[tokio::test]
async fn http_answers_and_keeps_its_gates() {
    let running = start(ServerConfig { max_body_bytes: 1000, ..Default::default() }).await;
    let address = running.address;
    let call = echo(5).to_string();
    let answer = raw(address, &post(JSON, &call)).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"jsonrpc":"2.0","id":5,"result":[5]}"#),
        "{answer}"
    );
    assert!(answer.to_lowercase().contains("content-type: application/json"), "{answer}");
    let notification = raw(address, &post(JSON, r#"{"jsonrpc":"2.0","method":"echo"}"#)).await;
    assert!(notification.starts_with("HTTP/1.1 200 ") && notification.ends_with("\r\n\r\n"), "{notification}");

    for (headers, status) in [
        ("Content-Type: text/plain\r\nHost: localhost\r\n", "415"),
        ("Host: localhost\r\n", "415"),
        ("Content-Type: application/json; charset=utf-8\r\nHost: localhost:8545\r\n", "200"),
        ("Content-Type: application/json\r\nHost: 10.1.2.3:8545\r\n", "200"),
        ("Content-Type: application/json\r\nHost: [::1]:8545\r\n", "200"),
        ("Content-Type: application/json\r\nHost: evil.example\r\n", "403"),
        ("Content-Type: application/json\r\nHost: localhost.evil.example\r\n", "403"),
    ] {
        let answer = raw(address, &post(headers, &call)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
    }
    let large = raw(address, &post(JSON, &" ".repeat(1001))).await;
    assert!(large.starts_with("HTTP/1.1 413 ") && large.contains("request body too large"), "{large}");
    let chunked = format!(
        "POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{JSON}\r\n7d0\r\n{}\r\n0\r\n\r\n",
        " ".repeat(2000)
    );
    assert!(raw(address, &chunked).await.starts_with("HTTP/1.1 413 "), "a length that is not declared counts too");
    let plain = raw(address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200 "), "{plain}");
    let health = |host: &str| format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for host in ["10.1.2.3:8545", "[::1]:8545", "localhost", "LOCALHOST:8545"] {
        assert!(raw(address, &health(host)).await.ends_with("fine"), "{host}");
    }
    assert!(
        raw(address, &health("evil.example")).await.starts_with("HTTP/1.1 403 "),
        "no path answers to a foreign name"
    );
    assert!(raw(address, "NONSENSE\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn cors_is_as_configured() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\r\n"
        )
    };
    let origins = vec!["http://app.example".to_owned()];
    let running = start(ServerConfig { cors_origins: origins, ..Default::default() }).await;
    let granted = raw(running.address, &preflight("http://app.example")).await.to_lowercase();
    assert!(granted.contains("access-control-allow-origin: http://app.example"), "{granted}");
    let refused = raw(running.address, &preflight("http://evil.example")).await.to_lowercase();
    assert!(!refused.contains("access-control-allow-origin"), "{refused}");
}

#[tokio::test]
async fn a_client_over_its_rate_is_told_so() {
    let running = start_with(Fake::new(ServerConfig::default()).allow(1)).await;
    assert!(raw(running.address, &post(JSON, &echo(1).to_string())).await.starts_with("HTTP/1.1 200 "));
    let answer = raw(running.address, &post(JSON, &echo(1).to_string())).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("-32005"), "{answer}");
}

#[tokio::test]
async fn connections_are_bounded() {
    let running = start(ServerConfig { max_connections: 2, ..Default::default() }).await;
    let held = [
        TcpStream::connect(running.address).await.expect("one"),
        TcpStream::connect(running.address).await.expect("two"),
    ];
    while running.places.free() > 0 {
        tokio::task::yield_now().await;
    }
    let mut third = TcpStream::connect(running.address).await.expect("accepted by the system");
    let read = timeout(LONG, third.read(&mut [0; 1])).await.expect("closed at once");
    assert!(matches!(read, Ok(0) | Err(_)));
    drop(held);
    while running.places.free() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(raw(running.address, &post(JSON, &echo(1).to_string())).await.starts_with("HTTP/1.1 200 "));
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

async fn open(address: SocketAddr) -> Socket {
    tokio_tungstenite::connect_async(format!("ws://{address}/")).await.expect("open").0
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(LONG, socket.next()).await.expect("in time").expect("open").expect("a message");
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

#[tokio::test]
async fn websocket_answers_batches_and_subscriptions() {
    let running = start(ServerConfig { max_subscriptions: 2, ..Default::default() }).await;
    let mut socket = open(running.address).await;
    socket.send(Message::text(echo(1).to_string())).await.expect("sent");
    assert_eq!(next(&mut socket).await["result"], json!([1]));
    socket.send(Message::binary(json!([echo(1), echo(2)]).to_string())).await.expect("sent");
    assert_eq!(next(&mut socket).await.as_array().map(Vec::len), Some(2));
    socket.send(Message::text("nonsense")).await.expect("sent");
    assert_eq!(next(&mut socket).await["error"]["code"], -32700);
    for id in 1..=2 {
        socket
            .send(Message::text(json!({"jsonrpc": "2.0", "id": 1, "method": "tick"}).to_string()))
            .await
            .expect("sent");
        assert_eq!(next(&mut socket).await["result"], id, "the answer comes before the first notification");
        assert_eq!(next(&mut socket).await["params"]["result"]["tick"], id);
    }
    socket.send(Message::text(json!({"jsonrpc": "2.0", "id": 1, "method": "tick"}).to_string())).await.expect("sent");
    assert_eq!(next(&mut socket).await["error"]["code"], -32005);
    socket.send(Message::Ping(vec![1].into())).await.expect("sent");
    let pong = timeout(LONG, socket.next()).await.expect("in time");
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))), "{pong:?}");
}

/// The payload of a message that is read as it comes, and the bytes of each of its frames. The server masks nothing (RFC 6455, section 5.1).
async fn frames(stream: &mut TcpStream) -> (Vec<u8>, Vec<usize>) {
    let (mut payload, mut lengths) = (Vec::new(), Vec::new());
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.expect("a frame");
        let length = match head[1] {
            126 => usize::from(stream.read_u16().await.expect("its length")),
            127 => usize::try_from(stream.read_u64().await.expect("its length")).expect("fits"),
            short => short.into(),
        };
        let opcode = if lengths.is_empty() { 1 } else { 0 };
        assert_eq!(head[0] & 0x7f, opcode, "text, then what continues it");
        let before = payload.len();
        payload.resize(before + length, 0);
        stream.read_exact(&mut payload[before..]).await.expect("its payload");
        lengths.push(length);
        if head[0] & 0x80 != 0 {
            return (payload, lengths);
        }
    }
}

#[tokio::test]
async fn a_long_answer_goes_out_in_frames_that_leave_no_long_buffer() {
    let running = start(ServerConfig::default()).await;
    let mut socket = open(running.address).await;
    socket.send(Message::text(HUGE)).await.expect("sent");
    socket.send(Message::text(echo(1).to_string())).await.expect("sent");
    let tokio_tungstenite::MaybeTlsStream::Plain(mut stream) = socket.into_inner() else {
        panic!("it is not encrypted")
    };
    let read = timeout(LONG, async { [frames(&mut stream).await, frames(&mut stream).await] });
    for (payload, lengths) in read.await.expect("in time") {
        let answer: Value = serde_json::from_slice(&payload).expect("JSON");
        let (last, full) = lengths.split_last().expect("a frame");
        assert!(full.iter().all(|length| *length == http::FRAME) && (1..=http::FRAME).contains(last), "{lengths:?}");
        match answer["id"].as_u64() {
            Some(77) => assert!(answer["result"].as_str().expect("text").len() == 4_000_000 && full.len() == 61),
            _ => assert!(answer["result"] == json!([1]) && full.is_empty(), "{answer}"),
        }
    }
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let running = start(ServerConfig::default()).await;
    let get = |more: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let whole = "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    for wrong in [
        "Connection: close, Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA==\r\n",
        "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AA==\r\n",
        whole,
    ] {
        let answer = raw(running.address, &get(wrong)).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid WebSocket handshake"), "{answer}");
    }
    // The key and what it is answered with are RFC 6455's, section 1.3.
    let mut stream = TcpStream::connect(running.address).await.expect("connected");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    stream.write_all(get(&format!("{whole}{key}")).as_bytes()).await.expect("sent");
    let mut answer = vec![0; 1000];
    let length = timeout(LONG, stream.read(&mut answer)).await.expect("in time").expect("read");
    let answer = String::from_utf8_lossy(&answer[..length]).to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
}

#[tokio::test]
async fn websocket_keeps_its_gates() {
    let running = start(ServerConfig { max_body_bytes: 1000, ..Default::default() }).await;
    let address = running.address;
    let with = |name: &'static str, value: &'static str| async move {
        let mut request = format!("ws://{address}/").into_client_request().expect("a request");
        request.headers_mut().insert(name, value.parse().expect("a value"));
        match tokio_tungstenite::connect_async(request).await {
            Ok(_) => 101,
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(with("origin", "http://evil.example").await, 403);
    assert_eq!(with("origin", "http://localhost:3000").await, 101);
    assert_eq!(with("host", "evil.example").await, 403);
    let mut socket = open(address).await;
    // The server closes once it has seen the length: the rest may find nobody.
    let _ = socket.send(Message::text(" ".repeat(1_000_000))).await;
    let end = timeout(LONG, async { while let Some(Ok(_)) = socket.next().await {} });
    end.await.expect("an oversized message ends the connection");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_disconnected() {
    let config = ServerConfig { max_response_bytes: 1 << 20, ..Default::default() };
    let running = start(config).await;
    let mut socket = open(running.address).await;
    socket.send(Message::text(json!({"jsonrpc": "2.0", "id": 1, "method": "flood"}).to_string())).await.expect("sent");
    let ended = timeout(LONG, async {
        while running.places.free() < ServerConfig::default().max_connections {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    ended.await.expect("its place is free again, though it never closed");
    drop(socket);
}

#[tokio::test]
async fn a_stop_answers_what_is_in_hand_and_closes_the_rest() {
    let backend = Fake::new(ServerConfig::default());
    let begun = backend.begun.clone();
    let running = start_with(backend).await;
    let mut socket = open(running.address).await;
    let slow = json!({"jsonrpc": "2.0", "id": 1, "method": "slow"}).to_string();
    let request = tokio::spawn({
        let (address, body) = (running.address, post(JSON, &slow));
        async move { raw(address, &body).await }
    });
    until("it is in hand", || *begun.lock() == 1).await;
    running.stop.graceful.cancel();
    assert!(request.await.expect("no panic").ends_with(r#""result":"slow"}"#));
    let closed = timeout(LONG, async { while let Some(Ok(_)) = socket.next().await {} });
    closed.await.expect("the WebSocket is closed");
    timeout(LONG, running.places.ended()).await.expect("every connection ended");
    let nobody = async { while TcpStream::connect(running.address).await.is_ok() {} };
    timeout(LONG, nobody).await.expect("nobody listens");
}

#[tokio::test]
async fn ipc_answers_a_stream_of_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jove.ipc");
    let listener = ipc::bind(&path).expect("bound");
    let (backend, stop) = (Fake::new(ServerConfig { max_body_bytes: 1000, ..Default::default() }), Stop::default());
    tokio::spawn(ipc::listen(listener, backend, Budget::new(0), Connections::new(10, 0), stop.clone()));

    let mut stream = UnixStream::connect(&path).await.expect("connected");
    let requests =
        format!("{}{}\nnonsense\n{}", echo(1), json!([echo(2)]), json!({"jsonrpc": "2.0", "id": 3, "method": "slow"}));
    stream.write_all(requests.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("closed one half");
    let mut answers = String::new();
    timeout(LONG, stream.read_to_string(&mut answers)).await.expect("in time").expect("read");
    let mut answers: Vec<&str> = answers.lines().collect();
    answers.sort_unstable();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert_eq!(answers[0], r#"[{"jsonrpc":"2.0","id":2,"result":[2]}]"#);
    assert_eq!(answers[1], r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#);
    assert_eq!(answers[2], r#"{"jsonrpc":"2.0","id":3,"result":"slow"}"#, "asked for before the end, answered after");
    assert!(answers[3].contains("-32700"));

    let mut stream = UnixStream::connect(&path).await.expect("connected");
    stream.write_all(json!({"jsonrpc": "2.0", "id": 1, "method": "tick"}).to_string().as_bytes()).await.expect("sent");
    let mut buffer = [0; 1000];
    let mut seen = String::new();
    while !seen.contains("tick") {
        let read = timeout(LONG, stream.read(&mut buffer)).await.expect("in time").expect("read");
        seen.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
    }
    assert_eq!(seen.lines().next(), Some(r#"{"jsonrpc":"2.0","id":1,"result":1}"#));
    stop.graceful.cancel();
    assert_eq!(timeout(LONG, stream.read(&mut buffer)).await.expect("closed").expect("read"), 0);
}

/// A WebSocket client that asks for big answers for as long as anyone listens, and never reads.
async fn ask_deaf(address: SocketAddr) {
    let mut socket = open(address).await;
    while socket.send(Message::text(HUGE)).await.is_ok() {}
}

/// Asks for an answer of 4 MB.
const HUGE: &str = r#"{"jsonrpc":"2.0","id":77,"method":"huge"}"#;

#[tokio::test]
async fn what_clients_leave_unread_is_bounded_in_all() {
    // Room for four answers, beside 256 KiB for each connection.
    let room = 16_500_000;
    let config = ServerConfig { max_unread_bytes: room, max_connections_per_address: 0, ..Default::default() };
    let running = start(config).await;
    let deaf: Vec<_> = (0..6).map(|_| tokio::spawn(ask_deaf(running.address))).collect();
    let used_up = timeout(LONG, async {
        let mut full = 0;
        while full < 20 {
            full = if running.budget.left() < 4_000_000 { full + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    used_up.await.expect("unread answers draw on the budget");

    // Others still get what is small; what is not is refused, with its id.
    let small = raw(running.address, &post(JSON, &echo(1).to_string())).await;
    assert!(small.ends_with(r#""result":[1]}"#), "{small}");
    let seen = raw(running.address, &post(JSON, HUGE)).await;
    assert!(seen.contains(r#""id":77,"error":{"code":-32005"#), "{}", &seen[..seen.len().min(300)]);

    deaf.iter().for_each(tokio::task::JoinHandle::abort);
    let free = timeout(LONG, async {
        while running.budget.left() < room {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    free.await.expect("the room is given back");
}

#[tokio::test]
async fn an_answer_over_http_holds_room_until_it_is_read() {
    let config = ServerConfig { max_unread_bytes: 20_000_000, max_connections_per_address: 0, ..Default::default() };
    let running = start(config).await;
    // Too much for the system's buffers.
    let batch = format!("[{}]", [HUGE; 4].join(","));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1 << 16).expect("set");
    let mut stream = socket.connect(running.address).await.expect("connected");
    stream.write_all(post(JSON, &batch).as_bytes()).await.expect("sent");
    timeout(LONG, async {
        while running.budget.left() == 20_000_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it draws on the budget");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(running.budget.left() < 20_000_000, "nobody has read it yet");
    let mut answer = Vec::new();
    timeout(LONG, stream.read_to_end(&mut answer)).await.expect("in time").expect("read");
    assert!(answer.len() > 16_000_000);
    timeout(LONG, async {
        while running.budget.left() < 20_000_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("and gives it back");
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let running = start(ServerConfig { max_connections_per_address: 2, ..Default::default() }).await;
    let held = [
        TcpStream::connect(running.address).await.expect("one"),
        TcpStream::connect(running.address).await.expect("two"),
    ];
    while running.places.free() + 2 > ServerConfig::default().max_connections {
        tokio::task::yield_now().await;
    }
    let mut third = TcpStream::connect(running.address).await.expect("accepted by the system");
    let read = timeout(LONG, third.read(&mut [0; 1])).await.expect("closed at once");
    assert!(matches!(read, Ok(0) | Err(_)));
    drop(held);
}

#[tokio::test]
async fn what_is_no_request_is_charged_too() {
    let config = || ServerConfig { max_body_bytes: 1000, ..Default::default() };
    let status = |answer: String| answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default();
    let large = post(JSON, &" ".repeat(1001));
    let (malformed, foreign) = (post(JSON, "nonsense"), post("Content-Type: text/plain\r\nHost: localhost\r\n", "{}"));
    for (request, first) in [(large, "413"), (malformed, "200"), (foreign, "415")] {
        let running = start_with(Fake::new(config()).allow(1)).await;
        assert_eq!(status(raw(running.address, &request).await), first);
        assert_eq!(status(raw(running.address, &request).await), "429", "after {first}");
        assert_eq!(status(raw(running.address, &post(JSON, &echo(1).to_string())).await), "429", "after {first}");
    }
}

/// Waits until `ready`, a little while.
async fn until(what: &str, ready: impl Fn() -> bool) {
    let waiting = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// A call that takes seconds, in a request of `bytes`.
fn lingering(bytes: usize) -> String {
    let call = |padding: &str| format!(r#"{{"jsonrpc":"2.0","id":9,"method":"linger","params":["{padding}"]}}"#);
    call(&"x".repeat(bytes - call("").len()))
}

/// Opens a WebSocket and sends a frame of `bytes`, but for its last byte.
async fn begin(address: SocketAddr, bytes: usize) -> TcpStream {
    let tokio_tungstenite::MaybeTlsStream::Plain(mut stream) = open(address).await.into_inner() else {
        panic!("it is not encrypted")
    };
    // A binary frame with a length of eight bytes and a mask of zeros (RFC 6455, section 5.2).
    let mut frame = [&[0x82, 0xff][..], &(bytes as u64).to_be_bytes(), &[0; 4]].concat();
    frame.resize(frame.len() + bytes - 1, b' ');
    // The server may close before it has read all.
    let _ = stream.write_all(&frame).await;
    stream
}

const MIB: usize = 1 << 20;

#[tokio::test]
async fn what_clients_have_begun_to_send_is_bounded_in_all() {
    let config = ServerConfig { max_unanswered_bytes: 5 * MIB, max_connections_per_address: 0, ..Default::default() };
    let running = start(config).await;
    let (address, budget) = (running.address, &running.unanswered);
    let one = begin(address, 2 * MIB).await;
    let two = begin(address, 2 * MIB).await;
    until("unfinished messages draw on the budget", || budget.left() < MIB + MIB / 4).await;

    let mut refused = begin(address, 2 * MIB).await;
    let end = timeout(LONG, async { while matches!(refused.read(&mut [0; 64]).await, Ok(1..)) {} });
    end.await.expect("what finds no room ends its connection");
    let body = raw(address, &post(JSON, &lingering(2 * MIB))).await;
    assert!(body.starts_with("HTTP/1.1 503 ") && body.contains(r#""error":{"code":-32005"#), "{body}");
    let small = raw(address, &post(JSON, &format!("{}{}", echo(1), " ".repeat(50_000)))).await;
    assert!(small.ends_with(r#""result":[1]}"#), "{small}");
    let mut socket = open(address).await;
    socket.send(Message::text(echo(1).to_string())).await.expect("sent");
    assert_eq!(next(&mut socket).await["result"], json!([1]), "what is small needs no room");

    drop((one, two));
    until("the room is given back", || budget.left() == 5 * MIB).await;
    assert!(raw(address, &post(JSON, &lingering(2 * MIB))).await.ends_with(r#""result":"lingered"}"#));
}

#[tokio::test]
async fn a_request_holds_room_until_it_is_answered() {
    let config = ServerConfig { max_unanswered_bytes: 8 * MIB, max_connections_per_address: 0, ..Default::default() };
    let running = start(config).await;
    let (address, budget) = (running.address, &running.unanswered);
    let asked = tokio::spawn(async move { raw(address, &post(JSON, &lingering(MIB))).await });
    until("a body draws on the budget", || budget.left() <= 7 * MIB + 64 * 1024).await;
    assert!(asked.await.expect("no panic").ends_with(r#""result":"lingered"}"#));
    until("and gives it back", || budget.left() == 8 * MIB).await;

    // One buffer of a MiB, and three requests of as much that run.
    let mut socket = open(address).await;
    for _ in 0..3 {
        socket.send(Message::text(lingering(MIB))).await.expect("sent");
    }
    until("messages draw on the budget", || budget.left() <= 4 * MIB + 128 * 1024).await;
    for _ in 0..3 {
        assert_eq!(next(&mut socket).await["result"], "lingered");
    }
    until("and give it back", || budget.left() >= 7 * MIB - 128 * 1024).await;
    // More than there is room for: the connection ends, once those that had room are answered.
    let (mut sink, mut answers) = socket.split();
    let sending = tokio::spawn(async move { while sink.send(Message::text(lingering(2 * MIB))).await.is_ok() {} });
    let end = timeout(LONG, async { while let Some(Ok(_)) = answers.next().await {} });
    end.await.expect("the connection ends");
    sending.await.expect("no panic");
    drop(answers);
    until("nothing is held", || budget.left() == 8 * MIB).await;
}

#[tokio::test]
async fn what_is_sent_over_ipc_draws_on_the_same_budget() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jove.ipc");
    let (backend, budget) = (Fake::new(ServerConfig::default()), Budget::new(4 * MIB));
    let listener = ipc::bind(&path).expect("bound");
    tokio::spawn(ipc::listen(listener, backend, budget.clone(), Connections::new(10, 0), Stop::default()));
    let mut held = UnixStream::connect(&path).await.expect("connected");
    held.write_all(&vec![b'['; 3 * MIB]).await.expect("sent");
    until("an unfinished value draws on the budget", || budget.left() <= MIB + 64 * 1024).await;
    let mut refused = UnixStream::connect(&path).await.expect("connected");
    let _ = refused.write_all(&vec![b'['; 3 * MIB]).await;
    let end = timeout(LONG, async { while matches!(refused.read(&mut [0; 64]).await, Ok(1..)) {} });
    end.await.expect("what finds no room ends its connection");
    drop(held);
    until("the room is given back", || budget.left() == 4 * MIB).await;
}

/// Connects from an address of this machine.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("bound");
    socket.set_recv_buffer_size(1 << 16).expect("set");
    socket.connect(to).await.expect("connected")
}

#[tokio::test]
async fn one_address_cannot_fill_what_is_unread() {
    // Each answer is too much for the system's buffers; an eighth is room for two.
    let running = start(ServerConfig { max_unread_bytes: 260_000_000, ..Default::default() }).await;
    let batch = post(JSON, &format!("[{}]", [HUGE; 4].join(",")));
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = connect_from([127, 0, 0, 2], running.address).await;
        stream.write_all(batch.as_bytes()).await.expect("sent");
        // It reads, a little: the status line.
        let mut status = [0; 12];
        timeout(LONG, stream.read_exact(&mut status)).await.expect("in time").expect("read");
        slow.push(stream);
    }
    let held = 260_000_000 - running.budget.left();
    assert!((16_000_000..=32_500_000).contains(&held), "{held}");
    let seen = raw(running.address, &post(JSON, HUGE)).await;
    assert!(seen.len() > 4_000_000, "another client has its answer: {}", &seen[..seen.len().min(300)]);
    drop(slow);
    until("the room is given back", || running.budget.left() == 260_000_000).await;
}
