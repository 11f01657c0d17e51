//! The registry of methods, and what a method is given.
//!
//! A method is a function from a [`Call`] to something that serializes. How it is registered says where it runs:
//! [`Methods::quick`] on the thread that read the request, [`Methods::read`] and [`Methods::heavy`] on the blocking pool, each
//! behind its own bound, [`Methods::wait`] as a future.

use crate::{
    backlog::Budget,
    config::ServerConfig,
    dev::Dev,
    dispatch::{Backend, Request},
    error::RpcError,
    filters::Filters,
    limits::{RateLimiter, Turns},
    session::Link,
    texts::Texts,
    watch::Watch,
};
use axum::body::Bytes;
use jove_sequencer::Node;
use metrics::{Counter, Histogram};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use std::{collections::HashMap, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Instant};
use tokio::sync::{AcquireError, Semaphore};

/// Reads that may be on the blocking pool at once.
const READS: usize = 64;

/// What every method may use.
pub(crate) struct Context {
    pub(crate) node: Arc<Node>,
    pub(crate) config: ServerConfig,
    pub(crate) methods: Methods,
    pub(crate) filters: Filters,
    pub(crate) watch: Arc<Watch>,
    pub(crate) texts: Texts,
    pub(crate) budget: Budget,
    pub(crate) dev: Dev,
    /// Places on the blocking pool for reads.
    pub(crate) reads: Arc<Semaphore>,
    /// Places on the blocking pool for execution, logs and traces.
    heavy: Arc<Turns>,
    limiter: RateLimiter,
}

impl Context {
    pub(crate) fn new(node: Arc<Node>, config: ServerConfig, extensions: Vec<Extension>) -> Arc<Self> {
        Arc::new(Self {
            methods: Methods::all(node.dev().is_some()).with(extensions),
            filters: Filters::new(config.max_filters),
            watch: Arc::default(),
            texts: Texts::default(),
            budget: Budget::new(config.max_unread_bytes),
            dev: Dev::default(),
            reads: Arc::new(Semaphore::new(READS)),
            heavy: Turns::new(config.heavy_places()),
            limiter: RateLimiter::new(config.rate_limit),
            node,
            config,
        })
    }
}

/// What a method answers that was added from outside.
pub type ExtensionAnswer = Result<Value, ExtensionError>;

/// A method that this crate does not know: the binary adds it. It may read from disk.
#[derive(Clone)]
pub struct Extension {
    /// Its name, namespace included.
    pub name: &'static str,
    /// Answers to positional parameters.
    pub run: Arc<dyn Fn(Vec<Value>) -> ExtensionAnswer + Send + std::marker::Sync>,
}

/// Why such a method has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtensionError {
    /// The parameters are not the method's: -32602.
    Params(String),
    /// The store or another part failed: -32603.
    Internal(String),
}

impl From<ExtensionError> for RpcError {
    fn from(error: ExtensionError) -> Self {
        match error {
            ExtensionError::Params(message) => Self::invalid_params(message),
            ExtensionError::Internal(message) => Self::internal(message),
        }
    }
}

/// One call of a method.
pub(crate) struct Call {
    pub(crate) context: Arc<Context>,
    /// JSON text of `params`; empty without.
    pub(crate) params: Bytes,
    /// When the caller is told that it took too long. A long method looks at it and gives up.
    pub(crate) deadline: Instant,
    /// The connection, where the transport can carry subscriptions.
    pub(crate) link: Option<Link>,
}

impl Call {
    /// The positional parameters, as a tuple. Trailing `Option`s may be absent or null.
    ///
    /// # Errors
    /// -32602, naming the argument, if one is missing, of another type, or too many are given.
    pub(crate) fn args<A: Args>(&self) -> Result<A, RpcError> {
        parse_args(&self.params)
    }

    /// Refuses parameters.
    pub(crate) fn no_args(&self) -> Result<(), RpcError> {
        self.args::<()>()
    }

    /// Gives up with a timeout error once the deadline has passed.
    pub(crate) fn check_deadline(&self) -> Result<(), RpcError> {
        if Instant::now() >= self.deadline { Err(RpcError::timeout()) } else { Ok(()) }
    }
}

/// Positional parameters from JSON text, as [`Call::args`].
pub(crate) fn parse_args<A: Args>(params: &[u8]) -> Result<A, RpcError> {
    A::parse(&split(params)?)
}

/// The values of a parameter array. No parameters are an empty one.
fn split(params: &[u8]) -> Result<Vec<&RawValue>, RpcError> {
    match params.first() {
        None => Ok(Vec::new()),
        Some(b'[') => serde_json::from_slice(params).map_err(|error| RpcError::invalid_params(error.to_string())),
        Some(b'n') => Ok(Vec::new()),
        Some(_) => Err(RpcError::invalid_params("non-array args")),
    }
}

/// A tuple of positional parameters.
pub(crate) trait Args: Sized {
    fn parse(values: &[&RawValue]) -> Result<Self, RpcError>;
}

/// The parameter at `index`: a missing one reads as null, which only an `Option` accepts.
fn argument<T: DeserializeOwned>(values: &[&RawValue], index: usize) -> Result<T, RpcError> {
    match values.get(index) {
        Some(value) => serde_json::from_str(value.get()).map_err(|error| {
            RpcError::invalid_params(format!("invalid argument {index}: {}", without_position(&error)))
        }),
        None => serde_json::from_str("null")
            .map_err(|_| RpcError::invalid_params(format!("missing value for required argument {index}"))),
    }
}

/// serde_json's message without the position, which would be that within the argument.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

macro_rules! args {
    ($count:literal $($name:ident $index:tt)*) => {
        impl<$($name: DeserializeOwned),*> Args for ($($name,)*) {
            fn parse(values: &[&RawValue]) -> Result<Self, RpcError> {
                if values.len() > $count {
                    return Err(RpcError::invalid_params(concat!("too many arguments, want at most ", $count)));
                }
                Ok(($(argument::<$name>(values, $index)?,)*))
            }
        }
    };
}
args!(0);
args!(1 A 0);
args!(2 A 0 B 1);
args!(3 A 0 B 1 C 2);
args!(4 A 0 B 1 C 2 D 3);
args!(5 A 0 B 1 C 2 D 3 E 4);

/// JSON text of a result, or the error.
pub(crate) type Reply = Result<Vec<u8>, RpcError>;

type Sync = Arc<dyn Fn(&Call) -> Reply + Send + std::marker::Sync>;
type Async = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + std::marker::Sync>;

/// Where a method runs.
#[derive(Clone)]
enum Run {
    Quick(Sync),
    Read(Sync),
    Heavy(Sync),
    Wait(Async),
}

struct Method {
    run: Run,
    requests: Counter,
    seconds: Histogram,
}

/// All methods by name.
pub(crate) struct Methods {
    table: HashMap<&'static str, Method>,
    unknown: Counter,
}

impl Default for Methods {
    fn default() -> Self {
        let unknown = metrics::counter!("jove_rpc_requests_total", "method" => "unknown");
        Self { table: HashMap::new(), unknown }
    }
}

impl Methods {
    /// Every method of a node; the development methods with `dev`.
    pub(crate) fn all(dev: bool) -> Self {
        let mut methods = Self::default();
        crate::eth::register(&mut methods);
        crate::filters::register(&mut methods);
        crate::subscribe::register(&mut methods);
        crate::net::register(&mut methods);
        crate::txpool::register(&mut methods);
        crate::evm::register(&mut methods);
        crate::debug::register(&mut methods);
        if dev {
            crate::accounts::register(&mut methods);
            crate::dev::register(&mut methods);
        }
        methods
    }

    /// With methods that this crate does not know.
    fn with(mut self, extensions: Vec<Extension>) -> Self {
        for Extension { name, run } in extensions {
            let run: Sync = Arc::new(move |call: &Call| {
                let params = split(&call.params)?.into_iter().map(|value| serde_json::from_str(value.get()));
                let params = params.collect::<Result<Vec<Value>, _>>().map_err(RpcError::internal)?;
                to_json(&run(params)?, call.context.config.max_response_bytes)
            });
            self.add(name, Run::Read(run));
        }
        self
    }

    /// Registers a method that takes microseconds and touches no disk.
    pub(crate) fn quick<T: Serialize + 'static>(&mut self, name: &'static str, run: fn(&Call) -> Result<T, RpcError>) {
        self.add(name, Run::Quick(sync(run)));
    }

    /// Registers a method that may read from disk.
    pub(crate) fn read<T: Serialize + 'static>(&mut self, name: &'static str, run: fn(&Call) -> Result<T, RpcError>) {
        self.add(name, Run::Read(sync(run)));
    }

    /// Registers a method that may take as long as the deadline allows.
    pub(crate) fn heavy<T: Serialize + 'static>(&mut self, name: &'static str, run: fn(&Call) -> Result<T, RpcError>) {
        self.add(name, Run::Heavy(sync(run)));
    }

    /// Registers a method that waits for something. It looks at the deadline by itself.
    pub(crate) fn wait<T, F>(&mut self, name: &'static str, run: fn(Call) -> F)
    where
        T: Serialize + 'static,
        F: Future<Output = Result<T, RpcError>> + Send + 'static,
    {
        let run: Async = Arc::new(move |call: Call| {
            let limit = call.context.config.max_response_bytes;
            let future = run(call);
            Box::pin(async move { to_json(&future.await?, limit) })
        });
        self.add(name, Run::Wait(run));
    }

    fn add(&mut self, name: &'static str, run: Run) {
        let method = Method {
            run,
            requests: metrics::counter!("jove_rpc_requests_total", "method" => name),
            seconds: metrics::histogram!("jove_rpc_request_seconds", "method" => name),
        };
        let before = self.table.insert(name, method);
        debug_assert!(before.is_none(), "{name} is registered twice");
    }

    /// Names of all methods.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.table.keys().copied()
    }

    /// Runs another method from within a blocking one.
    pub(crate) fn call_within(&self, call: &Call, name: &str, params: &impl Serialize) -> Reply {
        match self.table.get(name).map(|method| &method.run) {
            Some(Run::Quick(run) | Run::Read(run) | Run::Heavy(run)) => {
                let params = serde_json::to_vec(params).map_err(RpcError::internal)?;
                run(&Call {
                    context: call.context.clone(),
                    params: params.into(),
                    deadline: call.deadline,
                    link: call.link.clone(),
                })
            }
            _ => Err(RpcError::method_not_found(name)),
        }
    }
}

impl Backend for Arc<Context> {
    fn config(&self) -> &ServerConfig {
        &self.config
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn admit(&self, client: IpAddr, calls: usize) -> bool {
        self.limiter.take(client, calls, Instant::now())
    }

    async fn run(&self, request: Request) -> Reply {
        let Some(method) = self.methods.table.get(request.method.as_str()) else {
            self.methods.unknown.increment(1);
            return Err(RpcError::method_not_found(&request.method));
        };
        let start = Instant::now();
        let call =
            Call { context: self.clone(), params: request.params, deadline: request.deadline, link: request.link };
        let reply = match &method.run {
            Run::Quick(run) => run(&call),
            Run::Read(run) => blocking(self.reads.clone().acquire_owned(), run.clone(), call).await,
            Run::Heavy(run) => {
                let client = call.link.as_ref().and_then(|link| link.counts_for);
                blocking(self.heavy.clone().take(client), run.clone(), call).await
            }
            Run::Wait(run) => run(call).await,
        };
        method.requests.increment(1);
        method.seconds.record(start.elapsed());
        reply
    }

    async fn send_all(&self, requests: Vec<Request>) -> Vec<Reply> {
        let Some(deadline) = requests.first().map(|request| request.deadline) else { return Vec::new() };
        let (start, count) = (Instant::now(), requests.len());
        let replies = on_blocking_pool(self.reads.clone().acquire_owned(), deadline, {
            let context = self.clone();
            move || crate::eth::send::send_all(&context, &requests)
        });
        let replies = replies.await.unwrap_or_else(|error| vec![Err(error); count]);
        if let Some(method) = self.methods.table.get("eth_sendRawTransaction") {
            method.requests.increment(count as u64);
            method.seconds.record(start.elapsed());
        }
        replies
    }
}

async fn blocking<P: Send + 'static>(
    place: impl Future<Output = Result<P, AcquireError>>,
    run: Sync,
    call: Call,
) -> Reply {
    on_blocking_pool(place, call.deadline, move || call.check_deadline().and_then(|()| run(&call))).await?
}

/// Runs `work` on the blocking pool, once it has its `place`. Work that outlives the deadline keeps its place until it notices.
///
/// # Errors
/// A timeout once the deadline has passed, or an internal error if `work` panics.
pub(crate) async fn on_blocking_pool<T: Send + 'static, P: Send + 'static>(
    place: impl Future<Output = Result<P, AcquireError>>,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RpcError> {
    let run = async {
        let place = place.await.map_err(|_| RpcError::server("the node is shutting down"))?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        task.await.map_err(RpcError::internal)
    };
    tokio::time::timeout_at(deadline.into(), run).await.unwrap_or_else(|_| Err(RpcError::timeout()))
}

fn sync<T: Serialize + 'static>(run: fn(&Call) -> Result<T, RpcError>) -> Sync {
    Arc::new(move |call: &Call| to_json(&run(call)?, call.context.config.max_response_bytes))
}

/// JSON text of `value`, of at most `limit` bytes.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T, limit: usize) -> Reply {
    let mut bounded = Bounded { bytes: Vec::with_capacity(128), limit };
    match serde_json::to_writer(&mut bounded, value) {
        Ok(()) => Ok(bounded.bytes),
        Err(error) if error.is_io() => Err(RpcError::response_too_large()),
        Err(error) => Err(RpcError::internal(error)),
    }
}

/// A buffer that refuses to grow beyond its limit, so that an oversized answer is never held.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.limit.saturating_sub(self.bytes.len()) {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

    fn args<A: Args>(params: &str) -> Result<A, String> {
        parse_args(params.as_bytes()).map_err(|error| {
            assert_eq!(error.code, RpcError::INVALID_PARAMS);
            error.message.into_owned()
        })
    }

    #[test]
    fn arguments_are_positional_and_errors_name_them() {
        type Two = (u64, Option<String>);
        assert_eq!(args::<Two>("[1]"), Ok((1, None)));
        assert_eq!(args::<Two>("[1,null]"), Ok((1, None)));
        assert_eq!(args::<Two>(r#"[1,"a"]"#), Ok((1, Some("a".into()))));
        assert_eq!(args::<Two>(""), Err("missing value for required argument 0".into()));
        assert_eq!(args::<Two>("null"), Err("missing value for required argument 0".into()));
        assert_eq!(args::<Two>(r#"[1,"a",2]"#), Err("too many arguments, want at most 2".into()));
        assert_eq!(args::<Two>(r#"{"a":1}"#), Err("non-array args".into()));
        assert_eq!(args::<()>("[]"), Ok(()));
        assert_eq!(args::<()>("[1]"), Err("too many arguments, want at most 0".into()));
        let error = args::<(Address,)>(r#"["0x12"]"#).expect_err("too short");
        assert!(error.starts_with("invalid argument 0: "), "{error}");
        assert!(!error.contains("line"), "{error}");
    }

    #[test]
    fn an_answer_never_outgrows_its_limit() {
        assert_eq!(to_json(&[1, 2, 3], 7), Ok(b"[1,2,3]".to_vec()));
        assert_eq!(to_json(&[1, 2, 3], 6), Err(RpcError::response_too_large()));
    }

    #[test]
    fn deep_nesting_in_an_argument_is_an_error() {
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert!(args::<(serde_json::Value,)>(&deep).expect_err("too deep").contains("recursion limit"));
    }
}
