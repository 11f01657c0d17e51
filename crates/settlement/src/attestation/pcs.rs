//! Collateral from Intel's Provisioning Certification Service (API v4), or from a cache of it (PCCS) that serves the same.
//!
//! | path below `/sgx/certification/v4/` | answer | header with the issuers' certificates, URL-encoded PEM |
//! |---|---|---|
//! | `pckcrl?ca=platform&encoding=der`, `ca=processor` | a revocation list: DER, or its hexadecimal digits | `SGX-PCK-CRL-Issuer-Chain` |
//! | `tcb?fmspc=…&update=standard` | TCB info | `TCB-Info-Issuer-Chain`, of older caches `SGX-TCB-Info-Issuer-Chain` |
//! | `qe/identity?update=standard` | QE identity | `SGX-Enclave-Identity-Issuer-Chain` |
//! | `rootcacrl` (caches alone) | the root's revocation list | |
//!
//! Intel's own service has the root's list elsewhere ([`INTEL_ROOT_CRL`]). Answers are bounded in size and time and believed in nothing: the contract checks every
//! signature.

use crate::{
    Error,
    http::{self, describe},
};
use alloy_primitives::hex;
use jove_tee::{Bundle, bundle::Place, verify::MAX_COLLATERAL};
use reqwest::{Client, StatusCode, Url, redirect};
use std::{fmt, time::Duration};

/// Intel's service.
pub const INTEL: &str = "https://api.trustedservices.intel.com/";
/// Where Intel publishes the revocation list of its root: the distribution point in the root's certificate.
pub const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// Where the API begins, if the URL does not say.
const PATH: &str = "/sgx/certification/v4/";
/// For a connection, and for a whole answer.
const TIMES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// Most bytes of a header with certificates. Intel's have some 4,000.
const MAX_HEADER: usize = 32_768;
/// Most bytes of an answer: a revocation list may come in hexadecimal digits.
const MAX_ANSWER: usize = 2 * MAX_COLLATERAL + 1024;

/// A service of collateral. Printing it shows host and port alone: a URL may hold a key.
#[derive(Clone)]
pub struct Pcs {
    client: Client,
    base: Url,
    root_crl: Option<Url>,
    host: String,
}

impl fmt::Debug for Pcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pcs").field(&self.host).finish()
    }
}

/// An answer's body, and the certificates that came in its header.
struct Answer {
    body: Vec<u8>,
    chain: Option<Vec<u8>>,
}

impl Pcs {
    /// The service at `url`: Intel's, a cache, or anything that imitates them; without a path, the API is at `/sgx/certification/v4/`. `root_crl` says where the root's
    /// list is; otherwise a cache is asked for it, and Intel's list taken where it has none.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str, root_crl: Option<&str>) -> Result<Self, Error> {
        let mut base = parse(url)?;
        match base.path().trim_end_matches('/') {
            "" => base.set_path(PATH),
            path => {
                let path = format!("{path}/");
                base.set_path(&path);
            }
        }
        base.set_query(None);
        let host = base.host_str().ok_or(Error::Url("it names no host"))?;
        let host = base.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let client = http::client()
            .connect_timeout(TIMES.0)
            .timeout(TIMES.1)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| Error::Url("no HTTP client can be made for it"))?;
        Ok(Self { client, base, root_crl: root_crl.map(parse).transpose()?, host })
    }

    /// Host and port: what may be shown of its URL.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Everything for machines with these FMSPCs. A service may know one of the two PCK CAs alone, but must know one.
    ///
    /// # Errors
    /// [`Error::Collateral`].
    pub async fn bundle(&self, fmspcs: &[[u8; 6]]) -> Result<Bundle, Error> {
        let mut bundle = Bundle::default();
        let mut found = false;
        for ca in ["platform", "processor"] {
            let what = format!("the revocation list of the {ca} CA");
            if let Some(answer) =
                self.get(&what, &format!("pckcrl?ca={ca}&encoding=der"), &["SGX-PCK-CRL-Issuer-Chain"]).await?
            {
                self.take(&mut bundle, &what, answer)?;
                found = true;
            }
        }
        if !found {
            return Err(self.failed("revocation lists of PCK CAs", "it has none".into()));
        }
        for fmspc in fmspcs {
            let fmspc = hex::encode_upper(fmspc);
            let what = format!("TCB info of {fmspc}");
            let headers = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
            let answer = self.get(&what, &format!("tcb?fmspc={fmspc}&update=standard"), &headers).await?;
            let answer = answer.ok_or_else(|| self.failed(&what, "it knows no such machines".into()))?;
            self.take(&mut bundle, &what, answer)?;
        }
        let what = "QE identity";
        let answer = self.get(what, "qe/identity?update=standard", &["SGX-Enclave-Identity-Issuer-Chain"]).await?;
        let answer = answer.ok_or_else(|| self.failed(what, "it has none".into()))?;
        self.take(&mut bundle, what, answer)?;
        let answer = self.root_list().await?;
        self.take(&mut bundle, "the root's revocation list", answer)?;
        if !bundle.certificates.iter().any(|certificate| certificate.place == Place::Root) {
            return Err(self.failed("certificates", "the root's is missing".into()));
        }
        Ok(bundle)
    }

    async fn root_list(&self) -> Result<Answer, Error> {
        let what = "the root's revocation list";
        let missing = || self.failed(what, "it is not there".into());
        if let Some(url) = &self.root_crl {
            return self.fetch(what, url.clone(), &[]).await?.ok_or_else(missing);
        }
        match self.get(what, "rootcacrl", &[]).await? {
            Some(answer) => Ok(answer),
            None => self.fetch(what, parse(INTEL_ROOT_CRL)?, &[]).await?.ok_or_else(missing),
        }
    }

    fn take(&self, bundle: &mut Bundle, what: &str, answer: Answer) -> Result<(), Error> {
        for part in answer.chain.iter().chain([&answer.body]) {
            bundle.add(part).map_err(|error| self.failed(what, format!("{}: {error}", error.name())))?;
        }
        Ok(())
    }

    async fn get(&self, what: &str, path: &str, chain: &[&str]) -> Result<Option<Answer>, Error> {
        let url = self.base.join(path).map_err(|_| Error::Url("no path can be put behind it"))?;
        self.fetch(what, url, chain).await
    }

    /// What is at `url`, with the certificates of the first of these headers that is there; none if nothing is (404).
    async fn fetch(&self, what: &str, url: Url, chain: &[&str]) -> Result<Option<Answer>, Error> {
        let failed = |reason: String| self.failed(what, reason);
        let broken = |error: reqwest::Error| failed(describe(&error.without_url()));
        let mut response = self.client.get(url).send().await.map_err(broken)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(failed(format!("HTTP {}", status.as_u16()))),
        }
        let header = chain.iter().find_map(|name| response.headers().get(*name));
        let chain = match header {
            Some(value) if value.len() > MAX_HEADER => return Err(failed("its certificates are too long".into())),
            Some(value) => {
                let decoded = decode(value.as_bytes());
                Some(decoded.ok_or_else(|| failed("its certificates are not URL-encoded".into()))?)
            }
            None if chain.is_empty() => None,
            None => return Err(failed("it came without certificates".into())),
        };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if chunk.len() > MAX_ANSWER - body.len() {
                return Err(failed(format!("longer than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(Answer { body, chain }))
    }

    fn failed(&self, what: &str, reason: String) -> Error {
        Error::Collateral { host: self.host.clone(), what: what.to_owned(), reason: http::printable(&reason) }
    }
}

fn parse(url: &str) -> Result<Url, Error> {
    let url = Url::parse(url.trim()).map_err(|_| Error::Url("it does not parse"))?;
    match url.scheme() {
        "http" => Ok(url),
        "https" => http::no_tls().map_or(Ok(url), |why| Err(Error::Url(why))),
        _ => Err(Error::Url("it does not start with http:// or https://")),
    }
}

/// Percent-decoding (RFC 3986, 2.1). A plus sign is one: base64 has it.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        bytes.push(if byte == b'%' { digit(rest.next()?)? << 4 | digit(rest.next()?)? } else { byte });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Router,
        extract::{Request, State},
        http::{HeaderValue, Response as Reply},
        routing::get,
    };
    use jove_tee::{Pki, Platform, pki::pem};
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    const ISSUED: u64 = 1_790_000_000;

    /// Status, header and body of an answer.
    #[derive(Clone)]
    struct Said(u16, Option<(&'static str, String)>, Vec<u8>);

    type Answers = Arc<Mutex<BTreeMap<String, Said>>>;

    fn encode(text: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        text.bytes()
            .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    }

    /// What a cache of Intel's service answers, by path and query.
    fn answers() -> BTreeMap<String, Said> {
        let pki = Pki::from_seed(&[9; 32]).expect("a PKI");
        let machine = Platform::development(0);
        let bundle = pki.bundle(std::slice::from_ref(&machine), &[], ISSUED).expect("a bundle");
        let chain = |ca: &[u8]| encode(&pem(&[ca, &pki.root]));
        let body = |name: &str, statement: &jove_tee::bundle::Statement| {
            format!("{{\"{name}\":{},\"signature\":\"{}\"}}", statement.json, hex::encode(statement.signature))
                .into_bytes()
        };
        let fmspc = hex::encode_upper(machine.fmspc);
        let signer = chain(&pki.tcb_signer);
        let ca = Some(("SGX-PCK-CRL-Issuer-Chain", chain(&pki.platform_ca)));
        let below = |path: &str| format!("/sgx/certification/v4/{path}");
        BTreeMap::from([
            (below("pckcrl?ca=platform&encoding=der"), Said(200, ca, bundle.lists[1].der.clone())),
            (
                below(&format!("tcb?fmspc={fmspc}&update=standard")),
                Said(200, Some(("TCB-Info-Issuer-Chain", signer.clone())), body("tcbInfo", &bundle.tcb_infos[0])),
            ),
            (
                below("qe/identity?update=standard"),
                Said(
                    200,
                    Some(("SGX-Enclave-Identity-Issuer-Chain", signer)),
                    body("enclaveIdentity", &bundle.qe_identities[0]),
                ),
            ),
            (below("rootcacrl"), Said(200, None, hex::encode(&bundle.lists[0].der).into_bytes())),
        ])
    }

    async fn answer(State(answers): State<Answers>, request: Request) -> Reply<axum::body::Body> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let said = answers.lock().expect("not poisoned").get(&path).cloned();
        let Said(status, header, body) = said.unwrap_or(Said(404, None, vec![]));
        let mut reply = Reply::new(body.into());
        *reply.status_mut() = axum::http::StatusCode::from_u16(status).expect("a status");
        if let Some((name, value)) = header {
            reply.headers_mut().insert(name, HeaderValue::from_str(&value).expect("a value"));
        }
        reply
    }

    async fn service(answers: BTreeMap<String, Said>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/{*path}", get(answer)).with_state(Arc::new(Mutex::new(answers)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn fmspcs() -> [[u8; 6]; 1] {
        [Platform::development(0).fmspc]
    }

    #[tokio::test]
    async fn a_service_gives_everything_for_a_machine() {
        let url = service(answers()).await;
        for url in [url.clone(), format!("{url}/sgx/certification/v4"), format!("{url}/sgx/certification/v4/?x=y")] {
            let bundle = Pcs::new(&url, None).expect("a service").bundle(&fmspcs()).await.expect("a bundle");
            let expected = Pki::from_seed(&[9; 32]).expect("a PKI");
            let expected = expected.bundle(&[Platform::development(0)], &[], ISSUED).expect("a bundle");
            assert_eq!((bundle.certificates.len(), bundle.lists.len()), (3, 2));
            assert!(bundle.lists.iter().all(|list| expected.lists.contains(list) && bundle.issuer_of(list).is_some()));
            assert_eq!((bundle.tcb_infos, bundle.qe_identities), (expected.tcb_infos, expected.qe_identities));
        }
        // The root's list from elsewhere; older caches name the header after SGX.
        let mut older = answers();
        let list = older.remove("/sgx/certification/v4/rootcacrl").expect("there");
        older.insert("/root.crl".into(), Said(200, None, hex::decode(list.2).expect("hexadecimal")));
        for said in older.values_mut() {
            if let Some((name @ "TCB-Info-Issuer-Chain", _)) = &mut said.1 {
                *name = "SGX-TCB-Info-Issuer-Chain";
            }
        }
        let url = service(older).await;
        let pcs = Pcs::new(&url, Some(&format!("{url}/root.crl"))).expect("a service");
        assert_eq!(pcs.bundle(&fmspcs()).await.expect("a bundle").lists.len(), 2);
    }

    #[tokio::test]
    async fn whatever_else_a_service_gives_is_refused_in_words() {
        type Edit = fn(&mut Said);
        let cases: [(&str, Edit, &str); 12] = [
            ("pckcrl", |said| said.0 = 404, "revocation lists of PCK CAs: it has none"),
            ("tcb", |said| said.0 = 404, "knows no such machines"),
            ("qe/identity", |said| said.0 = 500, "HTTP 500"),
            ("qe/identity", |said| said.0 = 302, "HTTP 302"),
            ("tcb", |said| said.1 = None, "without certificates"),
            ("tcb", |said| said.1 = Some(("TCB-Info-Issuer-Chain", "%4".into())), "not URL-encoded"),
            ("tcb", |said| said.1 = Some(("TCB-Info-Issuer-Chain", "%41".into())), "CrlInvalid"),
            ("tcb", |said| said.1 = Some(("TCB-Info-Issuer-Chain", "a".repeat(MAX_HEADER + 1))), "too long"),
            ("tcb", |said| said.2 = b"{}".to_vec(), "TcbInfoMalformed"),
            ("pckcrl", |said| said.2.truncate(50), "CrlInvalid"),
            ("rootcacrl", |said| said.2 = vec![b'a'; MAX_ANSWER + 1], "longer than"),
            ("rootcacrl", |said| said.2 = b"<html>".to_vec(), "CrlInvalid"),
        ];
        for (part, edit, words) in cases {
            let mut answers = answers();
            let path = answers.keys().find(|path| path.contains(part)).cloned().expect("there");
            edit(answers.get_mut(&path).expect("there"));
            let url = service(answers).await;
            let pcs = Pcs::new(&url, None).expect("a service");
            let error = pcs.bundle(&fmspcs()).await.expect_err("refused").to_string();
            assert!(error.contains(words), "{part}: {error} has no {words:?}");
        }
        // A port that is taken, where nobody listens.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let nobody = socket.local_addr().expect("an address");
        let pcs = Pcs::new(&format!("http://secret:hunter2@{nobody}"), None).expect("a service");
        let error = pcs.bundle(&fmspcs()).await.expect_err("refused").to_string();
        assert!(error.starts_with("127.0.0.1:") && !error.contains("hunter2"), "{error}");
        assert!(!format!("{pcs:?}").contains("hunter2"));
    }

    #[test]
    fn urls_and_headers_are_checked() {
        for bad in ["", "ftp://host/", "file:///x", "host", "http://"] {
            assert!(Pcs::new(bad, None).is_err(), "{bad}");
            assert!(Pcs::new("http://host", Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(decode(b"a+%2B%0a%C3").as_deref(), Some(&b"a++\n\xc3"[..]));
        for bad in [&b"%"[..], b"%2", b"%2g", b"%+1"] {
            assert_eq!(decode(bad), None);
        }
    }
}
