//! IPC: JSON values one after another on a Unix socket, as geth's `.ipc` has them. An answer is followed by a newline.

use crate::{
    backlog::{Budget, UNREAD},
    dispatch::{Backend, Client},
    http::Stop,
    io::{Inbox, Socket},
    limits::Connections,
    session::{self, Outbox},
};
use axum::body::Bytes;
use futures_util::StreamExt;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, WriteHalf},
    net::{UnixListener, UnixStream},
};
use tokio_util::{
    bytes::{Buf, BytesMut},
    codec::{Decoder, FramedRead},
};

/// Binds the socket at `path`, which only its owner may use. A socket that nobody listens on is replaced.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // Bound under another name, so that it has its permissions before anyone can find it.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&fresh)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    UnixListener::from_std(listener)
}

/// Accepts connections until `stop`. `unanswered` is the budget of requests.
pub(crate) async fn listen<B: Backend>(
    listener: UnixListener,
    backend: B,
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
            Ok((stream, _)) => match connections.admit(None) {
                Ok(place) => {
                    let backlog = backend.budget().connection(UNREAD, None);
                    let inbox = Inbox::new(&unanswered, None);
                    inbox.count(None);
                    let socket = Socket::new(stream, inbox.clone(), place);
                    let client = Client { ip: None, counts_for: None, backlog, inbox };
                    tokio::spawn(connection(socket, client, backend.clone(), stop.clone()));
                }
                Err(why) => tracing::warn!(why, "refusing an IPC connection"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<B: Backend>(socket: Socket<UnixStream>, client: Client, backend: B, stop: Stop) {
    let (reader, writer) = tokio::io::split(socket);
    let values = Values { limit: backend.config().max_body_bytes, ..Values::default() };
    let inbox = client.inbox.clone();
    let requests = FramedRead::new(reader, values).map(move |value| inbox.message(&value.ok()?));
    let serve = session::serve(backend, client, &stop.graceful, requests, move |outbox| write(outbox, writer));
    tokio::select! {
        () = serve => {}
        () = stop.now.cancelled() => {}
    }
}

async fn write(mut outbox: Outbox, mut writer: WriteHalf<Socket<UnixStream>>) {
    while let Some(mut message) = outbox.next().await {
        message.text.reserve_exact(1);
        message.text.push(b'\n');
        // Dropped once it is written: only then is its room given back, and the client's next request read.
        if writer.write_all(&message.text).await.is_err() {
            return;
        }
    }
}

/// Cuts a stream of bytes into JSON values. It only counts brackets: whether a value is valid, the dispatcher says. What is neither
/// array nor object ends with its line.
#[derive(Default)]
struct Values {
    limit: usize,
    /// Bytes looked at already.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Values {
    /// The length of the first value, if `bytes`, which start with it, hold it whole.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                b'\n' if self.depth == 0 => return Some(self.at),
                _ => {}
            }
        }
        None
    }

    fn take(&mut self, bytes: &mut BytesMut, length: usize) -> Bytes {
        *self = Self { limit: self.limit, ..Self::default() };
        bytes.split_to(length).freeze()
    }
}

impl Decoder for Values {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Bytes>> {
        if self.at == 0 {
            let space = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            bytes.advance(space);
        }
        match self.end(bytes) {
            Some(length) => Ok(Some(self.take(bytes, length))),
            None if bytes.len() > self.limit => {
                tracing::info!("disconnecting an IPC client: its request is too large");
                Err(io::ErrorKind::InvalidData.into())
            }
            None => Ok(None),
        }
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Bytes>> {
        match self.decode(bytes)? {
            None if !bytes.is_empty() => {
                let length = bytes.len();
                Ok(Some(self.take(bytes, length)))
            }
            value => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&str]) -> Vec<String> {
        let mut values = Values { limit: 1000, ..Values::default() };
        let mut bytes = BytesMut::new();
        let mut out = Vec::new();
        for chunk in chunks {
            bytes.extend_from_slice(chunk.as_bytes());
            while let Some(value) = values.decode(&mut bytes).expect("within the limit") {
                out.push(String::from_utf8(value.to_vec()).expect("text"));
            }
        }
        while let Some(value) = values.decode_eof(&mut bytes).expect("within the limit") {
            out.push(String::from_utf8(value.to_vec()).expect("text"));
        }
        out
    }

    #[test]
    fn values_are_cut_wherever_the_chunks_end() {
        let text = r#" {"a":"}\"]"}[1,{"b":[]}]
            garbage
            {"c":1}{"d":"#;
        let expected = [r#"{"a":"}\"]"}"#, r#"[1,{"b":[]}]"#, "garbage\n", r#"{"c":1}"#, r#"{"d":"#];
        assert_eq!(cut(&[text]), expected);
        for at in 0..text.len() {
            assert_eq!(cut(&[&text[..at], &text[at..]]), expected, "cut at {at}");
        }
    }

    #[test]
    fn a_value_that_never_ends_is_an_error() {
        let mut values = Values { limit: 1000, ..Values::default() };
        let mut bytes = BytesMut::from("[".repeat(1001).as_str());
        assert!(values.decode(&mut bytes).is_err());
    }

    #[test]
    fn the_socket_is_private_and_a_stale_one_is_replaced() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _context = runtime.enter();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jove.ipc");
        let listener = bind(&path).expect("bound");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        bind(&path).expect("the stale socket is replaced");
    }
}
