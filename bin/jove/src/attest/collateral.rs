//! `jove attest collateral` and `jove attest keep`.

use super::{Chain, SoftwareKeys, read_bounded};
use crate::{
    bridge::{log_sent, say, words},
    key,
    node::{render_metrics, shutdown_signal, start_metrics},
    options::Span,
};
use alloy_primitives::hex;
use axum::{Router, routing::get};
use jove_settlement::{
    Wallet,
    attestation::{
        collateral::{Stored, Uploaded, machines, stored, upload},
        keeper::{Keeper, Source},
        pcs::Pcs,
    },
    deploy::write_file,
    error::in_words,
};
use jove_tee::{
    Bundle, Platform,
    bundle::{MAX_PARTS, Statement},
    pki::pem,
    verify::MAX_COLLATERAL,
};
use std::{
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    time::{Duration, SystemTime},
};

/// The first wait after a round that failed; doubled with each, up to the usual one.
const RETRY: Duration = Duration::from_secs(60);

#[derive(clap::Subcommand, Clone, Debug)]
pub(super) enum Command {
    /// Put collateral in, as far as it is newer than what is there
    Upload(Upload),
    /// Say what is in, and when it ends
    Status,
    /// Write collateral to files, for `upload` on another machine
    Fetch(Fetch),
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Upload {
    #[command(flatten)]
    key: key::Options,
    #[command(flatten)]
    from: From,
    /// Files with parts of collateral, as Intel's service or a PCCS gives them, or whole; folders of such files
    #[arg(value_name = "PATH", conflicts_with_all = ["software", "pccs_url"], required_unless_present_any = ["software", "pccs_url"])]
    paths: Vec<PathBuf>,
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Fetch {
    #[command(flatten)]
    from: From,
    /// Folder to write the files to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Keeps collateral fresh.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Keep {
    #[command(flatten)]
    key: key::Options,
    #[command(flatten)]
    from: From,
    /// Put collateral in so long before it ends
    #[arg(long, value_name = "TIME", default_value = "7d")]
    margin: Span,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1h")]
    every: Span,
    /// Look once
    #[arg(long)]
    once: bool,
    /// Serve Prometheus metrics at http://ADDRESS/metrics
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

/// Where collateral is had from.
#[derive(clap::Args, Clone, Debug)]
struct From {
    /// Intel's service, https://api.trustedservices.intel.com, or a cache of it (PCCS)
    #[arg(long, env = "JOVE_PCCS_URL", hide_env_values = true, value_name = "URL", conflicts_with = "software")]
    pccs_url: Option<String>,
    /// Where the root's revocation list is [default: the cache, or else where Intel publishes it]
    #[arg(long, value_name = "URL", requires = "pccs_url")]
    root_crl_url: Option<String>,
    /// Kinds of machines, 12 hexadecimal digits each [default: those that the chain has TCB info of]
    #[arg(long, value_name = "FMSPC", value_delimiter = ',')]
    fmspc: Vec<Fmspc>,
    /// The development root makes it: not Intel's
    #[arg(long)]
    software: bool,
    #[command(flatten)]
    keys: SoftwareKeys,
    /// Numbers of imagined machines whose certificates the development root revokes
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "software")]
    revoke: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fmspc([u8; 6]);

impl FromStr for Fmspc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hex::decode_to_array(text).map(Self).map_err(|_| format!("{text:?} is not 12 hexadecimal digits"))
    }
}

impl From {
    fn source(&self) -> Result<Source, String> {
        if self.software {
            let revoked = self.revoke.iter().map(|number| Platform::development(*number)).collect();
            return Ok(Source::Software { pki: Box::new(self.keys.pki()?), revoked });
        }
        let url = self.pccs_url.as_deref().ok_or("where from? --pccs-url URL, or for development --software")?;
        Pcs::new(url, self.root_crl_url.as_deref()).map(Source::Service).map_err(|error| format!("--pccs-url: {error}"))
    }

    fn fmspcs(&self) -> Vec<[u8; 6]> {
        self.fmspc.iter().map(|fmspc| fmspc.0).collect()
    }
}

pub(super) async fn run(chain: &Chain, command: &Command) -> Result<(), String> {
    match command {
        Command::Upload(options) => put_in(chain, options).await,
        Command::Status => {
            print(&stored(&chain.registry, &[], chain.first()).await.map_err(words)?);
            Ok(())
        }
        // Needs no chain.
        Command::Fetch(options) => fetch(options).await,
    }
}

/// Says when each part ends.
pub(super) fn print(stored: &Stored) {
    for part in &stored.parts {
        let when = match (part.until, part.left(stored.now)) {
            (0, _) => "is not there".to_owned(),
            (_, 0) => format!("ended {} ago", in_words(stored.now - part.until)),
            (_, left) => format!("ends in {}", in_words(left)),
        };
        let evaluation = part.evaluation.filter(|_| part.until > 0);
        let evaluation = evaluation.map_or_else(String::new, |number| format!(", evaluation {number}"));
        say(&format!("  {:<32} {when}{evaluation}", part.name));
    }
}

async fn put_in(chain: &Chain, options: &Upload) -> Result<(), String> {
    let wallet = chain.wallet(&options.key).await?;
    let bundle = if options.paths.is_empty() {
        let mut fmspcs = options.from.fmspcs();
        if fmspcs.is_empty() {
            let known = machines(&chain.registry, chain.first()).await.map_err(words)?;
            fmspcs.extend(known.iter().map(|(fmspc, _)| *fmspc));
        }
        if fmspcs.is_empty() && !options.from.software {
            return Err("for which machines? --fmspc: the chain has TCB info of none yet".into());
        }
        // What is issued by the development root begins now, by L1's clock.
        let now = stored(&chain.registry, &[], chain.first()).await.map_err(words)?.now;
        options.from.source()?.bundle(&fmspcs, now).await.map_err(words)?
    } else {
        read(&options.paths)?
    };
    let uploaded = upload(&chain.registry, &wallet, &bundle, log_sent).await.map_err(words)?;
    report(&uploaded);
    Ok(())
}

fn report(uploaded: &[Uploaded]) {
    if uploaded.is_empty() {
        say("everything is there: nothing was sent");
    }
    for Uploaded { what, gas } in uploaded {
        say(&format!("{what}: {gas} gas"));
    }
}

/// Parts from files, and from folders' files.
fn read(paths: &[PathBuf]) -> Result<Bundle, String> {
    let mut bundle = Bundle::default();
    for path in paths {
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            let entries = std::fs::read_dir(path).map_err(failed)?.take(MAX_PARTS + 1);
            files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
            files.sort();
        }
        for file in files {
            let failed = |error: jove_tee::Error| format!("{}: {}: {error}", file.display(), error.name());
            bundle.add(&read_bounded(&file, 8 * MAX_COLLATERAL as u64)?).map_err(failed)?;
        }
    }
    Ok(bundle)
}

/// Writes the parts of collateral to a folder's files.
pub(super) async fn fetch(options: &Fetch) -> Result<(), String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    let fmspcs = options.from.fmspcs();
    if fmspcs.is_empty() && !options.from.software {
        return Err("for which machines? --fmspc".into());
    }
    let bundle = options.from.source()?.bundle(&fmspcs, now.as_secs()).await.map_err(words)?;
    for (name, text) in files(&bundle) {
        let path = options.out.join(name);
        write_file(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        say(&path.display().to_string());
    }
    Ok(())
}

/// A bundle as files: names and contents.
fn files(bundle: &Bundle) -> Vec<(String, String)> {
    let certificates: Vec<&[u8]> = bundle.certificates.iter().map(|certificate| certificate.der.as_slice()).collect();
    let mut files = vec![("certificates.pem".to_owned(), pem(&certificates))];
    for (number, list) in (1..).zip(&bundle.lists) {
        files.push((format!("revoked-{number}.hex"), hex::encode(&list.der)));
    }
    let body = |name: &str, statement: &Statement| {
        format!("{{\"{name}\":{},\"signature\":\"{}\"}}", statement.json, hex::encode(statement.signature))
    };
    for info in &bundle.tcb_infos {
        files.push((format!("tcb-info-{}.json", hex::encode_upper(info.machines.0)), body("tcbInfo", info)));
    }
    for (number, identity) in (1..).zip(&bundle.qe_identities) {
        files.push((format!("qe-identity-{number}.json"), body("enclaveIdentity", identity)));
    }
    files
}

/// Looks, puts in, waits.
pub(super) async fn keep(chain: &Chain, options: &Keep) -> Result<(), String> {
    if options.every.0.is_zero() {
        return Err("--every must not be 0".into());
    }
    let wallet = chain.wallet(&options.key).await?;
    if let Some(address) = options.metrics {
        serve_metrics(address).await?;
    }
    let source = options.from.source()?;
    let margin = options.margin.0;
    let keeper = Keeper::new(chain.registry.clone(), source, &options.from.fmspcs(), chain.first(), margin);
    if options.once {
        return round(&keeper, &wallet, margin).await;
    }
    let mut stop = std::pin::pin!(shutdown_signal()?);
    let mut failures = 0;
    loop {
        // A round that is broken off is gone on with by the next.
        let outcome = tokio::select! {
            outcome = round(&keeper, &wallet, margin) => outcome,
            () = &mut stop => return Ok(()),
        };
        let wait = match outcome {
            Ok(()) => {
                failures = 0;
                options.every.0
            }
            Err(error) => {
                tracing::warn!(%error, "collateral could not be kept fresh");
                failures += 1;
                RETRY.saturating_mul(1 << (failures - 1).min(16)).min(options.every.0)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut stop => return Ok(()),
        }
    }
}

async fn round(keeper: &Keeper, wallet: &Wallet, margin: Duration) -> Result<(), String> {
    let round = keeper.round(wallet, log_sent).await.map_err(words)?;
    report(&round.uploaded);
    let stored = &round.stored;
    for part in stored.ending(margin.as_secs()) {
        let left = part.left(stored.now);
        tracing::warn!(part = %part.name, seconds = left, "collateral ends soon, or is not there, and there is none newer");
    }
    if let Some(first) = stored.parts.iter().min_by_key(|part| part.until) {
        let left = in_words(first.left(stored.now));
        tracing::info!(part = %first.name, "the first part of the collateral ends in {left}");
    }
    Ok(())
}

async fn serve_metrics(address: SocketAddr) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("--metrics {address}: {error}");
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let router = Router::new().route("/metrics", get(render_metrics)).with_state(start_metrics()?);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "metrics are served no more");
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jove_tee::Pki;

    #[test]
    fn files_are_read_as_they_were_written() {
        let pki = Pki::from_seed(&[5; 32]).expect("a PKI");
        let machines = [0, 3].map(Platform::development);
        let bundle = pki.bundle(&machines[..1], &machines[1..], 1_790_000_000).expect("a bundle");
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files(&bundle) {
            write_file(&folder.path().join(name), &text).expect("written");
        }
        assert_eq!(read(&[folder.path().to_owned()]).expect("read"), bundle);
        let each: Vec<PathBuf> = files(&bundle).iter().map(|(name, _)| folder.path().join(name)).collect();
        assert_eq!(read(&each).expect("read"), bundle);
        std::fs::write(folder.path().join("note.txt"), "hello").expect("written");
        let error = read(&[folder.path().to_owned()]).expect_err("refused");
        assert!(error.contains("note.txt") && error.contains("CrlInvalid"), "{error}");
        assert!(read(&[folder.path().join("absent")]).is_err());
    }

    #[test]
    fn an_fmspc_is_six_bytes() {
        assert_eq!("00606A000000".parse(), Ok(Fmspc([0, 0x60, 0x6a, 0, 0, 0])));
        for bad in ["", "00606A", "00606A00000000", "zz606A000000"] {
            assert!(bad.parse::<Fmspc>().is_err(), "{bad}");
        }
    }
}
