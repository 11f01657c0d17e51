//! `jove attest quote`: a key and a quote of the development root, to try registration with. **Not Intel's: it proves nothing.**

use super::{Chain, SoftwareKeys};
use crate::bridge::{say, words};
use alloy_primitives::{Address, B256};
use jove_settlement::{Key, attestation::Registration};
use jove_tee::{Platform, Software, quote::ATTRIBUTE_DEBUG};
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What is quoted.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Under the development root: the quote proves nothing, and only chains for development take it
    #[arg(long, required = true)]
    software: bool,
    #[command(flatten)]
    keys: SoftwareKeys,
    /// Measurement that the quote claims
    #[arg(long, value_name = "HASH")]
    measurement: B256,
    /// Who is paid for the key's proofs [default: the key itself]
    #[arg(long, value_name = "ADDRESS")]
    payout: Option<Address>,
    /// Number of the imagined machine
    #[arg(long, value_name = "N", default_value_t = 0)]
    machine: u64,
    /// Say that the enclave is a debug enclave, which is refused everywhere
    #[arg(long)]
    debug: bool,
    /// File to write the new key to, which a real enclave would never let out
    #[arg(long, value_name = "FILE")]
    key_out: PathBuf,
    /// File to write the registration to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) async fn run(chain: &Chain, options: &Options) -> Result<(), String> {
    let failed = |error: jove_tee::Error| format!("{}: {error}", error.name());
    let pki = options.keys.pki()?;
    let source = Software::new(&pki, Platform::development(options.machine), options.measurement).map_err(failed)?;
    let mut secret = B256::ZERO;
    getrandom::fill(secret.as_mut_slice()).map_err(|error| format!("no randomness: {error}"))?;
    let key = Key::new(secret).map_err(words)?.address();
    let payout = options.payout.unwrap_or(key);
    let binding = chain.registry.binding(key, payout).await.map_err(words)?;
    let quote = source.quote_with(binding.report_data(), |quote| {
        if options.debug {
            quote.report.flags |= ATTRIBUTE_DEBUG;
        }
    });
    let registration = Registration { quote: quote.encode().into(), key, payout, block_number: binding.block_number };
    let json = serde_json::to_string(&registration).map_err(|error| error.to_string())?;
    write_secret(&options.key_out, &format!("{secret}\n"))?;
    jove_settlement::deploy::write_file(&options.out, &json)
        .map_err(|error| format!("{}: {error}", options.out.display()))?;
    say(&format!("{key}  a software quote, under the development root: it proves nothing"));
    Ok(())
}

/// Writes a file that must not be there, readable by its owner alone.
fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_its_owners_alone_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write_secret(&path, "first").expect("written");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert!(write_secret(&path, "second").is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "first");
    }
}
