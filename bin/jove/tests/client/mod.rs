//! The real process, and a small JSON-RPC client for it.
#![allow(dead_code)] // each test uses a part

pub(crate) mod chain;
pub(crate) mod layer1;

use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for a start, which may be that of a chain with its L1 and its contracts; and for an answer.
const START: Duration = Duration::from_secs(240);
const PATIENCE: Duration = Duration::from_secs(120);

/// A port that is free, and stays so until whoever it is for listens: it is below those that the system gives to whoever asks for any, and is given once.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = std::process::id().wrapping_mul(128).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (next % 6_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running node; killed when dropped.
pub(crate) struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// Starts `jove dev` without an L1 on a data directory and waits until it answers.
    pub(crate) fn start(datadir: &Path, flags: &[&str]) -> Self {
        Self::run("dev", datadir, &[&["--no-settlement"], flags].concat())
    }

    /// Starts a command that runs a node, as [`Self::start`].
    pub(crate) fn run(command: &str, datadir: &Path, flags: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_jove"))
            .args([command, "--log", "warn", "--datadir"])
            .arg(datadir)
            .args(["--http-port", &port.to_string()])
            .args(flags)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut process = Self { child, port };
        let started = Instant::now();
        while process.client().call("eth_chainId", json!([])).is_err() {
            if let Some(status) = process.child.try_wait().expect("a child") {
                panic!("jove ended at start: {status}");
            }
            assert!(started.elapsed() < START, "jove does not answer");
            thread::sleep(Duration::from_millis(5));
        }
        process
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client { port: self.port }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Ctrl-C; its exit code.
    pub(crate) fn interrupt(&mut self) -> Option<i32> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls JSON-RPC over HTTP, a connection a call.
#[derive(Clone)]
pub(crate) struct Client {
    port: u16,
}

impl Client {
    /// Of whatever listens at this port.
    pub(crate) fn at(port: u16) -> Self {
        Self { port }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The result, or an I/O error; a JSON-RPC error is one too.
    pub(crate) fn call(&self, method: &str, params: Value) -> io::Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let (_, answer) = self.http(&format!("{head}{body}"))?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        match answer.get("result") {
            Some(_) => Ok(answer["result"].take()),
            None => Err(io::Error::other(answer.to_string())),
        }
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn http(&self, request: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut length = None;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let mut body = vec![0; length.ok_or_else(|| io::Error::other("no content length"))?];
        reader.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The receipt of a transaction, once a block has it.
    pub(crate) fn receipt(&self, hash: &Value) -> Value {
        let started = Instant::now();
        loop {
            let receipt = self.call("eth_getTransactionReceipt", json!([hash])).expect("answered");
            if !receipt.is_null() {
                return receipt;
            }
            assert!(started.elapsed() < PATIENCE, "{hash} is in no block");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Number of the head.
    pub(crate) fn block_number(&self) -> u64 {
        number(&self.call("eth_blockNumber", json!([])).expect("answered"))
    }

    /// Hash of a block that exists.
    pub(crate) fn block_hash(&self, number: u64) -> String {
        let block = self.call("eth_getBlockByNumber", json!([format!("{number:#x}"), false])).expect("answered");
        block["hash"].as_str().unwrap_or_else(|| panic!("block {number} is gone")).to_owned()
    }
}

/// A hexadecimal quantity.
pub(crate) fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(text.expect("a quantity"), 16).expect("a quantity")
}
