//! `jove l1`: the node in layer-1 mode, the Ethereum that a rollup under development settles on.

use crate::{
    node::{self, Mode},
    options::{self, Span, from_file, options},
};
use jove_primitives::ChainSpec;
use jove_sequencer::L1Config;
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// EIP-155 chain id unless another is given.
pub(crate) const CHAIN_ID: u64 = 900;
/// How long blobs are kept unless another time is given: as Ethereum does, 4,096 epochs of 32 slots of 12 seconds.
const BLOB_WINDOW: Duration = Duration::from_secs(4096 * 32 * 12);
/// Port of everything that is served.
pub(crate) const PORT: u16 = 9545;

options! {
    /// Everything a layer 1 can be told. In the TOML file the keys are the flags' names with `_` for `-`.
    Options {
    /// Where everything durable lives [default: ~/.jove/l1]
    #[arg(long, env = "JOVE_L1_DATADIR", value_name = "DIR")]
    datadir: PathBuf,
    /// Time between blocks, the length of a slot: whole seconds [default: 1s]
    #[arg(long, env = "JOVE_L1_BLOCK_TIME", value_name = "TIME")]
    block_time: Span,
    /// EIP-155 chain id [default: 900]
    #[arg(long, env = "JOVE_L1_CHAIN_ID", value_name = "ID")]
    chain_id: u64,
    /// Chain spec under Ethereum's rules, a JSON file, in the place of block time and chain id
    #[arg(long, env = "JOVE_L1_CHAIN", value_name = "FILE", conflicts_with_all = ["block_time", "chain_id"])]
    chain: PathBuf,
    /// Blocks from the head down to the one that `safe` names [default: 2]
    #[arg(long, env = "JOVE_L1_SAFE_DEPTH", value_name = "N")]
    safe_depth: u64,
    /// Blocks from the head down to the one that `finalized` names [default: 4]
    #[arg(long, env = "JOVE_L1_FINALIZED_DEPTH", value_name = "N")]
    finalized_depth: u64,
    /// How long blobs are kept, as "30d"; 0 for ever [default: 18 days, as on Ethereum]
    #[arg(long, env = "JOVE_L1_BLOBS", value_name = "TIME")]
    blobs: Span,
    /// Sync each block and its blobs to disk before anyone learns of them [default: true]
    #[arg(long, env = "JOVE_L1_SYNC", value_name = "BOOL")]
    sync: bool,
    /// Address that HTTP and WebSocket listen on [default: 127.0.0.1]
    #[arg(long, env = "JOVE_L1_HTTP_ADDR", value_name = "IP")]
    http_addr: IpAddr,
    /// Port of JSON-RPC and beacon endpoints; 0 for any free one [default: 9545]
    #[arg(long, env = "JOVE_L1_HTTP_PORT", value_name = "PORT")]
    http_port: u16,
    /// Host names that requests may name beside IP addresses and localhost, comma-separated, or *
    #[arg(long, env = "JOVE_L1_HTTP_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
    http_hosts: Vec<String>,
    /// What is logged: error, warn, info, debug, trace, or by module [default: info]
    #[arg(long, env = "JOVE_L1_LOG", value_name = "FILTER")]
    log: String,
}}

impl Options {
    /// Flags and environment, then the TOML file.
    ///
    /// # Errors
    /// If the file cannot be read or holds an unknown key or a bad value.
    pub(crate) fn with_file(self, file: Option<&PathBuf>) -> Result<Self, String> {
        Ok(self.or(from_file(file)?))
    }

    fn spec(&self) -> Result<ChainSpec, String> {
        if self.chain.is_some() && (self.block_time.is_some() || self.chain_id.is_some()) {
            return Err("--chain says block time and chain id: leave --block-time and --chain-id out".into());
        }
        let time = self.block_time.map_or(Duration::from_secs(1), |span| span.0);
        if time.is_zero() || time.subsec_nanos() > 0 || time > Duration::from_secs(3600) {
            return Err("--block-time must be whole seconds, from 1s to an hour: blocks have times in seconds".into());
        }
        Ok(ChainSpec::l1(self.chain_id.unwrap_or(CHAIN_ID), time.as_secs()))
    }

    fn depths(&self) -> Result<L1Config, String> {
        let default = L1Config::default();
        let safe_depth = self.safe_depth.unwrap_or(default.safe_depth);
        let finalized_depth = self.finalized_depth.unwrap_or(default.finalized_depth.max(safe_depth));
        if finalized_depth < safe_depth {
            return Err("--finalized-depth must not be below --safe-depth: what is final is safe".into());
        }
        let blob_window = Some(self.blobs.map_or(BLOB_WINDOW, |span| span.0)).filter(|window| !window.is_zero());
        Ok(L1Config { safe_depth, finalized_depth, blob_window })
    }
}

/// Runs a layer 1 until it is told to stop.
///
/// # Errors
/// In words for the operator, if it cannot start or has failed.
pub(crate) fn run(options: Options) -> Result<(), String> {
    let mode = Mode::L1(Box::new(options.spec()?), options.depths()?);
    let run = options::Options {
        datadir: options.datadir,
        chain: options.chain,
        sync: options.sync,
        http_addr: options.http_addr,
        http_port: Some(options.http_port.unwrap_or(PORT)),
        http_hosts: options.http_hosts,
        log: options.log,
        ..Default::default()
    };
    node::run(run, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_whole_seconds() {
        let spec = |text: &str| {
            let block_time = Some(text.parse().expect("a time"));
            Options { block_time, ..Default::default() }.spec().map(|spec| spec.ethereum.expect("set").slot_seconds)
        };
        assert_eq!((spec("1s"), spec("12s"), spec("1000ms")), (Ok(1), Ok(12), Ok(1)));
        for bad in ["0", "500ms", "1500ms", "2h"] {
            assert!(spec(bad).expect_err("refused").contains("--block-time"), "{bad}");
        }
        assert_eq!(Options::default().spec().expect("valid").chain_id, 900);
        let both = Options { chain: Some("spec.json".into()), chain_id: Some(1), ..Default::default() };
        assert!(both.spec().is_err());
    }

    #[test]
    fn what_is_final_is_safe() {
        let depths = |safe_depth, finalized_depth| {
            let options = Options { safe_depth, finalized_depth, ..Default::default() };
            options.depths().map(|l1| (l1.safe_depth, l1.finalized_depth))
        };
        assert_eq!(depths(None, None), Ok((2, 4)));
        assert_eq!(depths(Some(64), None), Ok((64, 64)), "deeper than the default");
        assert_eq!(depths(None, Some(2)), Ok((2, 2)));
        assert!(depths(Some(5), Some(4)).is_err());
    }

    #[test]
    fn blobs_are_kept_as_long_as_on_ethereum_unless_told_otherwise() {
        let window = |text: Option<&str>| {
            let blobs = text.map(|text| text.parse().expect("a time"));
            Options { blobs, ..Default::default() }.depths().expect("valid").blob_window
        };
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert!(window(None).is_some_and(|window| window > days(18) && window < days(19)));
        assert_eq!((window(Some("0")), window(Some("30d"))), (None, Some(days(30))));
    }
}
