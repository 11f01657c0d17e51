use super::*;
use crate::methods::parse_args;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// A backend with a few methods of its own.
#[derive(Clone)]
pub(crate) struct Fake {
    config: Arc<ServerConfig>,
    pub(crate) budget: Budget,
    /// How many sends reached the pool together.
    pub(crate) sends: Arc<Mutex<Vec<usize>>>,
    pub(crate) notified: Arc<Mutex<usize>>,
    /// Slow calls that have begun.
    pub(crate) begun: Arc<Mutex<usize>>,
    allowance: Arc<Mutex<usize>>,
}

impl Fake {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self {
            budget: Budget::new(config.max_unread_bytes),
            config: Arc::new(config),
            sends: Arc::default(),
            notified: Arc::default(),
            begun: Arc::default(),
            allowance: Arc::new(Mutex::new(usize::MAX)),
        }
    }

    pub(crate) fn allow(self, calls: usize) -> Self {
        *self.allowance.lock() = calls;
        self
    }
}

impl Backend for Fake {
    fn config(&self) -> &ServerConfig {
        &self.config
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn admit(&self, _: IpAddr, calls: usize) -> bool {
        let mut left = self.allowance.lock();
        let admitted = *left >= calls;
        *left = left.saturating_sub(calls);
        admitted
    }

    async fn run(&self, call: Request) -> Reply {
        match call.method.as_str() {
            "echo" => Ok(if call.params.is_empty() { b"null".to_vec() } else { call.params.to_vec() }),
            "typed" => parse_args::<(u64, bool)>(&call.params).map(|_| b"true".to_vec()),
            "big" => Ok(format!("\"{}\"", "x".repeat(1000)).into_bytes()),
            "huge" => Ok(format!("\"{}\"", "x".repeat(4_000_000)).into_bytes()),
            "slow" => {
                *self.begun.lock() += 1;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Ok(b"\"slow\"".to_vec())
            }
            "linger" => {
                tokio::time::sleep(std::time::Duration::from_secs(3)).await;
                Ok(b"\"lingered\"".to_vec())
            }
            "count" => {
                *self.notified.lock() += 1;
                Ok(b"1".to_vec())
            }
            SEND => Ok(b"\"sent alone\"".to_vec()),
            "flood" => {
                let peer = call.link.and_then(|link| link.peer).expect("a connection");
                tokio::spawn(async move {
                    while peer.notify(1, vec![b' '; 10_000].into()) {
                        tokio::task::yield_now().await;
                    }
                });
                Ok(b"true".to_vec())
            }
            "tick" => {
                let link = call.link.as_ref().expect("a connection");
                let peer = link.peer.clone().expect("one that stays open");
                let notified = peer.clone();
                let id = peer.subscribe(link, |id| async move {
                    notified.notify(id, format!(r#"{{"tick":{id}}}"#).into());
                    std::future::pending().await
                });
                id.map(|id| id.to_string().into_bytes()).ok_or_else(|| RpcError::limit("too many subscriptions"))
            }
            other => Err(RpcError::method_not_found(other)),
        }
    }

    async fn send_all(&self, calls: Vec<Request>) -> Vec<Reply> {
        self.sends.lock().push(calls.len());
        calls
            .iter()
            .map(|call| parse_args::<(String,)>(&call.params).map(|(text,)| json!(text).to_string().into_bytes()))
            .collect()
    }
}

fn fake() -> Fake {
    Fake::new(ServerConfig { max_batch: 20, max_response_bytes: 5000, ..Default::default() })
}

async fn ask_with(backend: &Fake, body: impl Into<Bytes>) -> Option<Value> {
    let answer = handle(backend, body.into(), Caller::default()).await;
    answer.body.map(|body| serde_json::from_slice(&body).expect("an answer is JSON"))
}

async fn ask(body: impl Into<Bytes>) -> Option<Value> {
    ask_with(&fake(), body).await
}

async fn code(body: impl Into<Bytes>) -> (i64, Value) {
    let answer = ask(body).await.expect("an answer");
    (answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("an error, not {answer}")), answer["id"].clone())
}

#[tokio::test]
async fn ids_come_back_as_they_were() {
    for id in [json!(1), json!("a"), json!(null), json!(1.5), json!(-7), json!(""), json!("é\n")] {
        let answer = ask(json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": [1]}).to_string()).await;
        assert_eq!(answer, Some(json!({"jsonrpc": "2.0", "id": id, "result": [1]})));
    }
    let big = r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"echo"}"#;
    let answer = handle(&fake(), Bytes::from(big), Caller::default()).await.body.expect("an answer");
    assert_eq!(
        String::from_utf8(answer).expect("text"),
        r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":null}"#
    );
}

#[tokio::test]
async fn malformed_requests_have_their_codes() {
    let null = Value::Null;
    for text in
        ["", " ", "{", "}", "[", "]", "nonsense", "{\"a\":}", "[1,", "\u{0}", "{\"jsonrpc\":\"2.0\"}x", "'a'", "[]]"]
    {
        assert_eq!(code(text.to_owned()).await, (-32700, null.clone()), "{text:?}");
    }
    assert_eq!(code(Bytes::from_static(&[0xff, 0xfe, b'{'])).await, (-32700, null.clone()));
    assert_eq!(code(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}")).await.0, -32700);
    for text in ["1", "\"a\"", "null", "true", "{}", "[]", r#"{"jsonrpc":"2.0"}"#] {
        assert_eq!(code(text.to_owned()).await, (-32600, null.clone()), "{text:?}");
    }
    for (request, id) in [
        (json!({"id": 1, "method": "echo"}), json!(1)),
        (json!({"jsonrpc": "1.0", "id": 1, "method": "echo"}), json!(1)),
        (json!({"jsonrpc": 2, "id": 1, "method": "echo"}), json!(1)),
        (json!({"jsonrpc": "2.0", "id": 1}), json!(1)),
        (json!({"jsonrpc": "2.0", "id": 1, "method": 5}), json!(1)),
        (json!({"jsonrpc": "2.0", "id": 1, "method": null}), json!(1)),
        (json!({"jsonrpc": "2.0", "id": {}, "method": "echo"}), null.clone()),
        (json!({"jsonrpc": "2.0", "id": [1], "method": "echo"}), null.clone()),
        (json!({"jsonrpc": "2.0", "id": true, "method": "echo"}), null.clone()),
    ] {
        assert_eq!(code(request.to_string()).await, (-32600, id), "{request}");
    }
    for (twice, id) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"echo","method":"echo"}"#, json!(1)),
        (r#" {"params":[],"params":[],"id":"a","jsonrpc":"2.0","method":"echo"}"#, json!("a")),
        (r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"echo"}"#, null.clone()),
        (r#"{"jsonrpc":"2.0","id":{},"method":"echo","method":"echo"}"#, null.clone()),
    ] {
        let answer = ask(twice).await.expect("an answer");
        let error = json!({"code": -32600, "message": "invalid request: duplicate field"});
        assert_eq!((&answer["error"], &answer["id"]), (&error, &id), "a repeated member is ambiguous: {twice}");
    }
    let array = ask("[[1]]").await.expect("an answer");
    assert_eq!(array[0]["error"]["message"], "invalid request: not an object");
}

#[tokio::test]
async fn unknown_methods_and_bad_params_have_their_codes() {
    let call = |method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}).to_string()
    };
    assert_eq!(code(call("nope", json!([]))).await, (-32601, json!(9)));
    let answer = ask(call(&"x".repeat(10_000), json!([]))).await.expect("an answer");
    let message = answer["error"]["message"].as_str().expect("text");
    assert!(message.starts_with("the method xxx") && message.len() < 200, "{message}");
    for params in [
        json!([]),
        json!([1]),
        json!(["1", true]),
        json!([1, true, 2]),
        json!({"a": 1}),
        json!(5),
        json!("x"),
        json!([-1, true]),
    ] {
        assert_eq!(code(call("typed", params.clone())).await, (-32602, json!(9)), "{params}");
    }
    assert_eq!(ask(call("typed", json!([1, true]))).await.expect("an answer")["result"], true);
    assert_eq!(
        ask(r#"{"jsonrpc":"2.0","id":1,"method":"\u0065cho"}"#).await.expect("an answer")["result"],
        Value::Null
    );
}

#[tokio::test]
async fn nesting_is_bounded_and_takes_no_stack() {
    let nested = |depth: usize| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    assert!(ask(nested(126)).await.expect("an answer")["result"].is_array());
    assert_eq!(code(nested(127)).await.0, -32700);
    assert_eq!(code(nested(1_000_000)).await.0, -32700);
    assert_eq!(code("[".repeat(1_000_000)).await.0, -32700);
    assert_eq!(code("{\"a\":".repeat(1_000_000)).await.0, -32700);
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": ["[".repeat(1000), "\"[".repeat(300)]});
    assert!(ask(text.to_string()).await.expect("an answer")["result"].is_array(), "brackets in strings do not count");
}

#[tokio::test]
async fn notifications_run_and_are_not_answered() {
    let backend = fake();
    assert_eq!(ask_with(&backend, r#"{"jsonrpc":"2.0","method":"count"}"#).await, None);
    let all = r#"[{"jsonrpc":"2.0","method":"count"},{"jsonrpc":"2.0","method":"nope"}]"#;
    assert_eq!(ask_with(&backend, all).await, None);
    assert_eq!(*backend.notified.lock(), 2);
}

#[tokio::test]
async fn batches_are_answered_in_order() {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "slow"},
        {"jsonrpc": "2.0", "method": "echo"},
        7,
        {"jsonrpc": "2.0", "id": "b", "method": "nope"},
        [],
        {"jsonrpc": "2.0", "id": 3, "method": "echo", "params": ["x"]},
    ]);
    let answers = ask(batch.to_string()).await.expect("answers");
    let seen: Vec<(Value, Value)> = answers
        .as_array()
        .expect("an array")
        .iter()
        .map(|answer| (answer["id"].clone(), answer["error"]["code"].clone()))
        .collect();
    let (null, none) = (Value::Null, Value::Null);
    let expected = [
        (json!(1), none.clone()),
        (null.clone(), json!(-32600)),
        (json!("b"), json!(-32601)),
        (null, json!(-32600)),
        (json!(3), none),
    ];
    assert_eq!(seen, expected);
    let padded = format!(" \n{batch} ");
    assert!(ask(padded).await.expect("answers").is_array());
}

#[tokio::test]
async fn batches_are_bounded() {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "echo"});
    assert!(ask(json!(vec![call.clone(); 20]).to_string()).await.expect("answers").is_array());
    assert_eq!(code(json!(vec![call; 21]).to_string()).await, (-32600, Value::Null));
    assert_eq!(code(format!("[{}1]", "1,".repeat(1_000_000))).await, (-32600, Value::Null));
}

#[tokio::test]
async fn the_answer_to_a_batch_is_bounded() {
    let calls: Vec<Value> = (0..10).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "big"})).collect();
    let answers = ask(json!(calls).to_string()).await.expect("answers");
    let answers = answers.as_array().expect("an array");
    assert_eq!(answers.len(), 10);
    assert!(answers[..4].iter().all(|answer| answer["result"].is_string()));
    for (id, answer) in answers.iter().enumerate().skip(4) {
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32005)));
    }
}

#[tokio::test]
async fn neighbouring_sends_reach_the_pool_together() {
    let send = |id: u64, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": SEND, "params": params});
    let backend = fake();
    let batch = json!([
        send(1, json!(["a"])),
        send(2, json!([])),
        {"jsonrpc": "2.0", "method": SEND, "params": ["silent"]},
        send(3, json!(["c"])),
        {"jsonrpc": "2.0", "id": 4, "method": "echo"},
        send(5, json!(["e"])),
    ]);
    let answers = ask_with(&backend, batch.to_string()).await.expect("answers");
    let ids: Vec<&Value> = answers.as_array().expect("an array").iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2), &json!(3), &json!(4), &json!(5)]);
    assert_eq!((&answers[0]["result"], &answers[2]["result"]), (&json!("a"), &json!("c")));
    assert_eq!(answers[1]["error"]["code"], -32602);
    let mut sends = backend.sends.lock().clone();
    sends.sort_unstable();
    assert_eq!(sends, [1, 4]);
}

/// One that has an allowance.
fn client() -> Client {
    Client { ip: Some([127, 0, 0, 1].into()), ..Default::default() }
}

#[tokio::test]
async fn an_allowance_is_counted_by_call() {
    let backend = fake().allow(3);
    let caller = || Caller { client: client(), link: None };
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"echo"}"#;
    let batch = format!("[{call},{call}]");
    assert!(!handle(&backend, batch.clone().into(), caller()).await.rate_limited);
    let refused = handle(&backend, batch.into(), caller()).await;
    assert!(refused.rate_limited);
    let answer: Value = serde_json::from_slice(&refused.body.expect("an answer")).expect("JSON");
    assert_eq!(answer["error"]["code"], -32005);
    assert!(handle(&backend, Bytes::from(call), caller()).await.rate_limited);
    assert!(!handle(&backend, Bytes::from(call), Caller::default()).await.rate_limited, "IPC has no limit");
}

#[tokio::test]
async fn what_is_no_request_costs_as_much_as_a_call() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"echo"}"#;
    let deep = "[".repeat(200);
    for body in ["nonsense", "{}", "[]", "[1,", deep.as_str(), r#"{"jsonrpc":"2.0","id":1}"#] {
        let backend = fake().allow(2);
        let caller = || Caller { client: client(), link: None };
        let refused = handle(&backend, Bytes::from(body.to_owned()), caller()).await;
        assert!(!refused.rate_limited, "{body}");
        assert!(!handle(&backend, Bytes::from(call), caller()).await.rate_limited, "{body} costs one call");
        assert!(handle(&backend, Bytes::from(call), caller()).await.rate_limited, "{body} costs a call");
        let refused = handle(&backend, Bytes::from(body.to_owned()), caller()).await;
        assert!(refused.rate_limited, "{body}");
        let answer: Value = serde_json::from_slice(&refused.body.expect("an answer")).expect("JSON");
        assert_eq!(answer["error"]["code"], -32005);
    }
}

#[tokio::test]
async fn an_array_of_members_is_no_request() {
    // In the order of the members: serde would read a struct from it.
    let members = r#"["2.0",7,"count",[]]"#;
    let backend = fake();
    let answers = ask_with(&backend, format!("[{members},{members}]")).await.expect("answers");
    for answer in answers.as_array().expect("an array") {
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &Value::Null), "{answer}");
    }
    // Alone it is a batch, of four that are no requests.
    let answers = ask_with(&backend, members).await.expect("answers");
    let codes: Vec<&Value> = answers.as_array().expect("an array").iter().map(|one| &one["error"]["code"]).collect();
    assert_eq!(codes, [-32600; 4]);
    assert_eq!(*backend.notified.lock(), 0, "nothing ran");
}

#[tokio::test]
async fn an_id_is_bounded() {
    let with = |id: String| json!({"jsonrpc": "2.0", "id": id, "method": "echo"}).to_string();
    assert_eq!(ask(with("x".repeat(MAX_ID - 2))).await.expect("an answer")["result"], Value::Null);
    assert_eq!(code(with("x".repeat(MAX_ID - 1))).await, (-32600, Value::Null));
}

#[tokio::test]
async fn an_answer_that_finds_no_room_is_an_error() {
    let backend = fake();
    let backlog = Backlog::default();
    let _all = backlog.hold(256 * 1024).expect("a connection's own room");
    let caller = || Caller { client: Client { backlog: backlog.clone(), ..Default::default() }, link: None };
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 5, "method": method}).to_string();
    let answer = handle(&backend, ask("huge").into(), caller()).await;
    assert!(answer.held.is_empty());
    let refused: Value = serde_json::from_slice(&answer.body.expect("an answer")).expect("JSON");
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(5), &json!(-32005)));
    let answer = handle(&backend, ask("echo").into(), caller()).await;
    let small: Value = serde_json::from_slice(&answer.body.expect("an answer")).expect("JSON");
    assert_eq!(small.get("error"), None, "a small answer needs no room");
    let batch = format!("[{},{}]", ask("echo"), ask("huge"));
    let answer = handle(&backend, batch.into(), caller()).await;
    let answers: Value = serde_json::from_slice(&answer.body.expect("answers")).expect("JSON");
    assert_eq!((answers[0].get("error"), &answers[1]["error"]["code"]), (None, &json!(-32005)));
    drop(_all);
    let answer = handle(&backend, ask("big").into(), caller()).await;
    assert_eq!(answer.held.len(), 1, "its room is held until it is read");
}

/// Whatever comes in: no panic, and an answer that is a JSON-RPC answer, or none.
fn is_answered(body: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let answer = runtime.block_on(handle(&fake(), body.into(), Caller::default()));
    let Some(answer) = answer.body else { return };
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    for answer in answer.as_array().unwrap_or(&vec![answer.clone()]) {
        assert_eq!(answer["jsonrpc"], "2.0");
        assert!(answer.get("id").is_some());
        assert!(answer.get("result").is_some() != answer.get("error").is_some(), "{answer}");
    }
}

const VALID: &str = r#"[{"jsonrpc":"2.0","id":"é\u00e9\\","method":"echo","params":[{"a":[1,2.5e3,null,true]},"x\"["]},{"jsonrpc":"2.0","id":2,"method":"typed","params":[7,false]},{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":["0x00"]}]"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        is_answered(body);
    }

    #[test]
    fn random_json_like_text_is_answered(body in r#"[\[\]\{\}",:0-9a-z\\ \n]{0,200}"#) {
        is_answered(body.into_bytes());
    }

    #[test]
    fn mutated_requests_are_answered(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..8)) {
        let mut body = VALID.as_bytes().to_vec();
        for (at, byte, edit) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match edit {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => drop(body.remove(at)),
                _ => body.truncate(at),
            }
        }
        is_answered(body);
    }

    #[test]
    fn depth_is_that_of_serde(text in r#"[\[\]"\\a]{0,60}"#) {
        // Where the text is JSON, its depth is counted right.
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            fn depth(value: &Value) -> usize {
                value.as_array().map_or(0, |items| 1 + items.iter().map(depth).max().unwrap_or(0))
            }
            let depth = depth(&value);
            prop_assert!(!nested_deeper_than(text.as_bytes(), depth));
            prop_assert!(depth == 0 || nested_deeper_than(text.as_bytes(), depth - 1));
        }
    }
}
