//! HTTPS to L1: a certificate that is trusted is believed, others are refused in words.
//!
//! Which certificates are trusted is read once in a process, from what the environment names: so each case is a process, this test begun again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use jove_settlement::{L1, L1Config, blobs::connect};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use std::{path::Path, process::Command, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `name`, valid until the end of a year; its port.
async fn serve(authority: &Authority, name: &str, until: i32) -> u16 {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 12, 31));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not believe the certificate ends here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                answer(stream).await;
            });
        }
    });
    port
}

/// Answers one request, of JSON-RPC or of the beacon API.
async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        if read == 0 || text.starts_with("GET") && text.ends_with("\r\n\r\n") || text.ends_with('}') {
            break;
        }
    }
    let text = String::from_utf8_lossy(&request);
    let (status, body) = match text.split(' ').nth(1) {
        Some(path) if path.ends_with("/genesis") => ("200 OK", r#"{"data":{"genesis_time":"1"}}"#),
        Some(path) if path.ends_with("/spec") => ("200 OK", r#"{"data":{"SECONDS_PER_SLOT":"12"}}"#),
        Some("/secret") => ("200 OK", r#"{"jsonrpc":"2.0","id":1,"result":"0x384"}"#),
        _ => ("404 Not Found", ""),
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// In a process of its own: what both clients say of a URL.
#[tokio::test]
#[ignore = "the other test runs it, with an environment"]
async fn ask() {
    let url = std::env::var("TEST_URL").unwrap();
    let config = L1Config { retries: 0, timeout: Duration::from_secs(60), ..L1Config::default() };
    let chain_id = match L1::with_config(&format!("{url}/secret"), config) {
        Ok(l1) => l1.chain_id().await,
        Err(error) => Err(error),
    };
    println!("L1: {}", chain_id.map_or_else(|error| error.to_string(), |id| format!("chain {id}")));
    let source = connect(&url).await;
    println!("beacon: {}", source.map_or_else(|error| error.to_string(), |source| format!("source {}", source.name())));
}

/// What both clients say of `url`, in a process that trusts what is in `trusted`.
async fn asked(url: String, trusted: &Path) -> (String, String) {
    let trusted = trusted.to_owned();
    let run = move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "ask", "--ignored", "--nocapture"]).env("TEST_URL", url);
        command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let line = |start: &str| text.lines().find_map(|line| Some(line.split_once(start)?.1.to_owned()));
    (line("L1: ").unwrap_or_else(|| panic!("{text}")), line("beacon: ").unwrap_or_else(|| panic!("{text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_certificate_is_believed_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority("ours"), authority("other"));
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let trusted = file("ours.pem", ours.pem());

    let port = serve(&ours, "localhost", 2099).await;
    let url = format!("https://localhost:{port}");
    let (l1, beacon) = asked(url.clone(), &trusted).await;
    assert_eq!((l1.as_str(), beacon.as_str()), ("chain 900", format!("source localhost:{port}").as_str()));

    // Signed by another; for another name; no longer valid.
    let strange = file("other.pem", other.pem());
    let renamed = format!("https://localhost:{}", serve(&ours, "node.example", 2099).await);
    let expired = format!("https://localhost:{}", serve(&ours, "localhost", 2001).await);
    for (url, trusted, why) in
        [(&url, &strange, "UnknownIssuer"), (&renamed, &trusted, "not valid for name"), (&expired, &trusted, "expired")]
    {
        let (l1, beacon) = asked(url.clone(), trusted).await;
        for said in [l1, beacon] {
            assert!(said.contains("invalid peer certificate") && said.contains(why), "{said}");
        }
    }

    // Nothing is trusted: https is refused at once, and http needs no certificates.
    let empty = file("empty.pem", String::new());
    let (l1, beacon) = asked(url, &empty).await;
    assert!(l1.contains("SSL_CERT_FILE") && beacon.contains("SSL_CERT_FILE"), "{l1} {beacon}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            answer(listener.accept().await.unwrap().0).await;
        }
    });
    let (l1, beacon) = asked(format!("http://127.0.0.1:{port}"), &empty).await;
    assert_eq!((l1.as_str(), beacon.as_str()), ("chain 900", format!("source 127.0.0.1:{port}").as_str()));
}
