//! HTTP and HTTPS to L1's nodes.
//!
//! TLS is rustls with ring. Certificates are checked against those that the system trusts, or, as with OpenSSL and curl, against those of the PEM file that
//! `SSL_CERT_FILE` names and of the directories in `SSL_CERT_DIR`: that is how a private CA is trusted. Nothing turns the check off. What the system
//! trusts is read once, when the first client is made.

use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{
    error::Error,
    sync::{Arc, OnceLock},
};

/// Most characters of an error.
const MAX_TEXT: usize = 1024;

/// A client's builder that speaks HTTPS. Not every default of reqwest's is there: it needs the TLS that this one has.
pub fn client() -> ClientBuilder {
    match tls() {
        Some(config) => Client::builder().tls_backend_preconfigured(config.clone()),
        None => Client::builder(),
    }
}

/// Why HTTPS cannot be used here, if it cannot.
pub(crate) fn no_tls() -> Option<&'static str> {
    match tls() {
        None => Some("it is https, and TLS cannot be set up"),
        Some(_) if trusted().is_empty() => Some(
            "it is https, and this system trusts no certificate: install its CA certificates, or name a file of them in SSL_CERT_FILE",
        ),
        Some(_) => None,
    }
}

fn trusted() -> &'static Arc<RootCertStore> {
    static TRUSTED: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    TRUSTED.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "CA certificates cannot be read");
        }
        let mut trusted = RootCertStore::empty();
        trusted.add_parsable_certificates(found.certs);
        Arc::new(trusted)
    })
}

fn tls() -> Option<&'static ClientConfig> {
    static TLS: OnceLock<Option<ClientConfig>> = OnceLock::new();
    let make = || {
        let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?;
        Some(versions.with_root_certificates(trusted().clone()).with_no_client_auth())
    };
    TLS.get_or_init(make).as_ref()
}

/// A client's error with its causes, on one line. The URL must be off it ([`reqwest::Error::without_url`]): it may hold a key.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    printable(&text)
}

/// A stranger's words, fit for a log.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
