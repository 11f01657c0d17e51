use super::*;
use axum::{Router, http::StatusCode as Status, response::IntoResponse, routing::post};
use serde_json::{Value, json};
use std::sync::Mutex;

/// What the node does with one request.
enum Reply {
    Json(Value),
    /// Status and body.
    Raw(u16, String),
    /// Never answers.
    Silence,
}

/// A node that answers from a list; the questions that it got.
async fn node(replies: Vec<Reply>) -> (String, Arc<Mutex<Vec<Value>>>) {
    let questions = Arc::new(Mutex::new(Vec::new()));
    let replies = Arc::new(Mutex::new(replies.into_iter()));
    let seen = questions.clone();
    let answer = move |body: String| async move {
        let question: Value = serde_json::from_str(&body).expect("JSON");
        let reply = replies.lock().expect("not poisoned").next();
        seen.lock().expect("not poisoned").push(question.clone());
        match reply {
            Some(Reply::Json(mut reply)) => {
                reply["jsonrpc"] = json!("2.0");
                if reply.get("id").is_none() {
                    reply["id"] = question["id"].clone();
                }
                reply.to_string().into_response()
            }
            Some(Reply::Raw(status, body)) => (Status::from_u16(status).expect("a status"), body).into_response(),
            Some(Reply::Silence) => std::future::pending().await,
            None => (Status::NOT_FOUND, "no reply is left").into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/secret", post(answer))).await });
    (format!("http://user:hunter2@{address}/secret"), questions)
}

fn quick() -> L1Config {
    L1Config {
        connect_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(20),
        retries: 2,
        backoff: Duration::from_millis(1),
        max_answer: 4096,
    }
}

async fn client(replies: Vec<Reply>) -> (L1, Arc<Mutex<Vec<Value>>>) {
    client_with(quick(), replies).await
}

async fn client_with(config: L1Config, replies: Vec<Reply>) -> (L1, Arc<Mutex<Vec<Value>>>) {
    let (url, questions) = node(replies).await;
    (L1::with_config(&url, config).expect("a client"), questions)
}

#[test]
fn urls_are_checked_and_never_shown() {
    for bad in ["", "hunter2", "ftp://hunter2@host", "http://", "file:///hunter2", "http://host:99999999/hunter2"] {
        let error = L1::new(bad).expect_err(bad).to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    let l1 = L1::new("http://user:hunter2@node.example/hunter2?key=hunter2").expect("a URL");
    assert_eq!(format!("{l1:?}"), "L1 { host: \"node.example:80\", .. }");
}

#[tokio::test]
async fn questions_are_json_rpc_and_answers_are_typed() {
    let (l1, questions) = client(vec![
        Reply::Json(json!({"result": "0x384"})),
        Reply::Json(json!({"result": null})),
        Reply::Json(json!({"result": "0x2a"})),
        Reply::Json(json!({"result": "0x10000000000000000"})),
    ])
    .await;
    assert_eq!(l1.chain_id().await.expect("a number"), 900);
    assert!(l1.receipt(B256::repeat_byte(1)).await.expect("null").is_none());
    let word = l1.storage(Address::ZERO, U256::from(3), BlockNumberOrTag::Finalized).await.expect("a word");
    assert_eq!(word, B256::with_last_byte(42));
    assert!(matches!(l1.chain_id().await, Err(Error::Malformed { .. })));
    let questions = questions.lock().expect("not poisoned");
    assert_eq!(questions[0]["params"], json!([]));
    assert_eq!(questions[0]["jsonrpc"], "2.0");
    assert_eq!(questions[2]["params"], json!([Address::ZERO, "0x3", "finalized"]));
}

#[tokio::test]
async fn failures_of_transport_are_retried_and_others_are_not() {
    let replies = vec![
        Reply::Raw(503, String::new()),
        Reply::Silence,
        Reply::Json(json!({"result": "0x1"})),
        Reply::Raw(401, "no".into()),
        Reply::Json(json!({"error": {"code": -32000, "message": "nonce too\nlow"}})),
        Reply::Raw(502, String::new()),
        Reply::Raw(502, String::new()),
        Reply::Raw(429, String::new()),
    ];
    // Silence is waited for.
    let (l1, questions) = client_with(L1Config { timeout: Duration::from_secs(3), ..quick() }, replies).await;
    assert_eq!(l1.block_number().await.expect("the third attempt"), 1);
    assert!(matches!(l1.block_number().await, Err(Error::HttpStatus { status: 401, .. })));
    match l1.block_number().await {
        Err(Error::Rpc { code: -32000, message, data: None, .. }) => assert_eq!(message, "nonce too low"),
        other => panic!("{other:?}"),
    }
    let error = l1.block_number().await.expect_err("no attempt is left");
    assert!(matches!(error, Error::HttpStatus { status: 429, .. }) && error.is_transient());
    assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("secret"), "{error}");
    assert_eq!(questions.lock().expect("not poisoned").len(), 8);
}

#[tokio::test]
async fn a_node_that_is_not_there_is_an_error_without_secrets() {
    // A port that is taken, where nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    let l1 = L1::with_config(&format!("http://u:hunter2@{address}/hunter2"), quick()).expect("a client");
    let error = l1.chain_id().await.expect_err("nobody listens");
    assert!(matches!(error, Error::Transport { .. }) && error.is_transient());
    assert!(error.to_string().contains(&address.to_string()) && !error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn hostile_answers_are_errors() {
    let deep = format!("{{\"id\":1,\"result\":{}1{}}}", "[".repeat(2000), "]".repeat(2000));
    let malformed = [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        r#"{"id":1}"#.into(),
        r#"{"id":1,"result":{}}"#.into(),
        r#"{"id":99,"result":"0x1"}"#.into(),
        r#"{"id":1,"error":7}"#.into(),
        "<html>".into(),
        deep,
    ];
    for text in malformed {
        let (l1, questions) = client(vec![Reply::Raw(200, text.clone())]).await;
        let error = l1.chain_id().await.expect_err(&text);
        assert!(matches!(error, Error::Malformed { .. }), "{text}: {error:?}");
        assert_eq!(questions.lock().expect("not poisoned").len(), 1, "{text}");
    }
    let (l1, _) = client(vec![Reply::Raw(200, " ".repeat(5000))]).await;
    assert!(matches!(l1.chain_id().await, Err(Error::TooLarge { limit: 4096, .. })));
}

#[tokio::test]
async fn what_a_revert_returned_is_kept() {
    let bare = json!({"error": {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}});
    let nested = json!({"error": {"code": -32603, "message": "x", "data": {"message": "y", "data": "0x08c379a0"}}});
    let failed = Reply::Raw(400, bare.clone().to_string().replacen('{', "{\"id\":3,", 1));
    let (l1, _) = client(vec![Reply::Json(bare), Reply::Json(nested), failed]).await;
    for _ in 0..3 {
        match l1.call(Address::ZERO, Bytes::new(), BlockNumberOrTag::Latest).await {
            Err(Error::Rpc { data: Some(data), .. }) => assert_eq!(data, Bytes::from_static(&[0x08, 0xc3, 0x79, 0xa0])),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_header_is_what_its_hash_says() {
    let header = Header { number: 7, timestamp: 99, ..Default::default() };
    let good = serde_json::to_value(alloy_rpc_types_eth::Header::new(header.clone())).expect("JSON");
    let mut wrong = good.clone();
    wrong["timestamp"] = json!("0x64");
    let answer = |value: &Value| Reply::Json(json!({"result": value}));
    let (l1, _) = client(vec![
        answer(&good),
        answer(&good),
        answer(&wrong),
        answer(&good),
        answer(&good),
        Reply::Json(json!({"result": null})),
    ])
    .await;
    let hash = header.hash_slow();
    assert_eq!(l1.header(BlockNumberOrTag::Latest).await.expect("good").expect("there").hash(), hash);
    assert_eq!(l1.header(hash).await.expect("good").expect("there").number, 7);
    assert!(matches!(l1.header(7).await, Err(Error::HeaderHash { claimed, .. }) if claimed == hash));
    assert!(matches!(l1.header(B256::ZERO).await, Err(Error::HeaderHash { claimed: B256::ZERO, .. })));
    assert!(matches!(l1.header(8).await, Err(Error::Malformed { .. })));
    assert!(l1.header(9).await.expect("null").is_none());
}

#[tokio::test]
async fn only_logs_that_were_asked_for_are_taken() {
    let address = Address::repeat_byte(7);
    let topic = B256::repeat_byte(9);
    let log = json!({
        "address": address, "topics": [topic], "data": "0x", "blockNumber": "0x5", "blockHash": B256::repeat_byte(1),
        "transactionHash": B256::repeat_byte(2), "transactionIndex": "0x0", "logIndex": "0x0", "removed": false,
    });
    let filter = Filter::new().address(address).event_signature(topic).from_block(5).to_block(6);
    let mut replies = vec![log.clone()];
    for (key, value) in [
        ("address", json!(Address::ZERO)),
        ("topics", json!([B256::ZERO])),
        ("topics", json!([])),
        ("blockNumber", json!("0x7")),
        ("blockNumber", Value::Null),
        ("removed", json!(true)),
    ] {
        let mut bad = log.clone();
        bad[key] = value;
        replies.push(bad);
    }
    let bad = replies.len() - 1;
    let (l1, _) = client(replies.into_iter().map(|log| Reply::Json(json!({"result": [log]}))).collect()).await;
    assert_eq!(l1.logs(&filter).await.expect("good").len(), 1);
    for index in 0..bad {
        assert!(matches!(l1.logs(&filter).await, Err(Error::Malformed { .. })), "{index}");
    }
}

#[tokio::test]
async fn logs_come_in_windows_where_a_node_refuses_more() {
    let refusal = || Reply::Json(json!({ "error": { "code": -32005, "message": "at most 10000 blocks" } }));
    let none = || Reply::Json(json!({ "result": [] }));
    let (l1, questions) = client(vec![none()]).await;
    assert!(l1.logs_between(&Filter::new(), 3, 50_000).await.expect("answered").is_empty());
    assert_eq!(questions.lock().expect("not poisoned").len(), 1);
    let (l1, questions) = client(vec![refusal(), none(), none(), none()]).await;
    assert!(l1.logs_between(&Filter::new(), 3, 20_003).await.expect("answered").is_empty());
    let asked = questions.lock().expect("not poisoned").clone();
    let bounds: Vec<_> =
        asked.iter().map(|asked| (&asked["params"][0]["fromBlock"], &asked["params"][0]["toBlock"])).collect();
    let expected = [("0x3", "0x4e23"), ("0x3", "0x2712"), ("0x2713", "0x4e22"), ("0x4e23", "0x4e23")];
    assert_eq!(bounds.len(), 4);
    for ((from, to), expected) in bounds.into_iter().zip(expected) {
        assert_eq!((from, to), (&json!(expected.0), &json!(expected.1)));
    }
    let (l1, _) = client(vec![refusal(), refusal()]).await;
    assert!(matches!(l1.logs_between(&Filter::new(), 3, 20_003).await, Err(Error::Rpc { .. })));
}
