//! What a user may set: flags override environment variables, those override the TOML file, that overrides the defaults.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// A span of time as people write it: `10ms`, `60s`, `5m`, `12h`, `7d`; `0` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 =
            number.parse().map_err(|_| format!("{text:?} is not a time such as 10ms, 60s, 5m, 12h or 7d"))?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if number == 0 => 0,
            _ => return Err(format!("{text:?} needs a unit: ms, s, m, h or d")),
        };
        number.checked_mul(ms).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(|| format!("{text:?} is too long"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Makes blocks: on a chain without validators.
    #[default]
    Sequencer,
    /// Takes them from L1.
    Full,
    /// Votes on them, and makes them when its turn comes: on a chain with validators.
    Validator,
    /// Follows validators, helps others to find the network, and reports how reliable validators are.
    Seed,
}

/// Least bytes that the largest request may have: a small transaction is sent in less.
const MIN_REQUEST: usize = 1024;

/// A struct of options that may be absent, from flags, the environment or a TOML file.
macro_rules! options {
    ($(#[$outer:meta])* $struct:ident { $($(#[$attribute:meta])* $name:ident: $type:ty,)* }) => {
        $(#[$outer])*
        #[derive(clap::Args, Clone, Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $struct {
            $($(#[$attribute])* pub(crate) $name: Option<$type>,)*
        }

        impl $struct {
            /// These options, with `other`'s where these are silent.
            fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }
        }
    };
}
pub(crate) use options;

/// The options in a TOML file; without one, all are absent.
///
/// # Errors
/// If the file cannot be read or holds an unknown key or a bad value.
pub(crate) fn from_file<T: DeserializeOwned + Default>(file: Option<&PathBuf>) -> Result<T, String> {
    let Some(path) = file else { return Ok(T::default()) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

options! {
    /// Everything a node can be told. In the TOML file the keys are the flags' names with `_` for `-`.
    Options {
    /// Where everything durable lives [default: ~/.jove/dev, or ~/.jove/CHAINID]
    #[arg(long, env = "JOVE_DATADIR", value_name = "DIR")]
    datadir: PathBuf,
    /// Chain spec, a JSON file [default for dev: the built-in development chain]
    #[arg(long, env = "JOVE_CHAIN", value_name = "FILE")]
    chain: PathBuf,
    /// Time between blocks while there is work [default: 10ms]
    #[arg(long, env = "JOVE_BLOCK_TIME", value_name = "TIME")]
    block_time: Span,
    /// Time between blocks while there is none; 0 for no such blocks [default: 60s]
    #[arg(long, env = "JOVE_HEARTBEAT", value_name = "TIME")]
    heartbeat: Span,
    /// How long state history is kept; 0 for ever [default: 0]
    #[arg(long, env = "JOVE_HISTORY", value_name = "TIME")]
    history: Span,
    /// How far back eth_getProof reaches [default: 10m]
    #[arg(long, env = "JOVE_PROOF_WINDOW", value_name = "TIME")]
    proof_window: Span,
    /// Sync each block to disk before its receipts leave; without, a power cut may lose the last blocks [default: true]
    #[arg(long, env = "JOVE_SYNC", value_name = "BOOL")]
    sync: bool,
    /// Charge no L1 data fee (a new development chain only) [default: false]
    #[arg(long, env = "JOVE_NO_L1_FEE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_l1_fee: bool,
    /// Address that HTTP and WebSocket listen on [default: 127.0.0.1]
    #[arg(long, env = "JOVE_HTTP_ADDR", value_name = "IP")]
    http_addr: IpAddr,
    /// Port of HTTP and WebSocket; 0 for any free one [default: 8545]
    #[arg(long, env = "JOVE_HTTP_PORT", value_name = "PORT")]
    http_port: u16,
    /// Origins that browsers may call from, comma-separated, or *
    #[arg(long, env = "JOVE_HTTP_CORS", value_name = "ORIGINS", value_delimiter = ',')]
    http_cors: Vec<String>,
    /// Host names that requests may name beside IP addresses and localhost, comma-separated, or *
    #[arg(long, env = "JOVE_HTTP_HOSTS", value_name = "HOSTS", value_delimiter = ',')]
    http_hosts: Vec<String>,
    /// Requests per second from one address; 0 for no limit [default: 0]
    #[arg(long, env = "JOVE_RATE_LIMIT", value_name = "N")]
    rate_limit: u32,
    /// Most open connections of HTTP, WebSocket and IPC [default: 1024]
    #[arg(long, env = "JOVE_CONNECTIONS", value_name = "N")]
    connections: usize,
    /// Most open connections from one address; 0 for no such limit, as behind a proxy [default: 512]
    #[arg(long, env = "JOVE_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    connections_per_address: usize,
    /// Most bytes of answers that wait to be read by their clients, in all [default: 268435456]
    #[arg(long, env = "JOVE_MAX_UNREAD", value_name = "BYTES")]
    max_unread: usize,
    /// Most bytes of requests that wait to be answered, in all [default: 268435456]
    #[arg(long, env = "JOVE_MAX_UNANSWERED", value_name = "BYTES")]
    max_unanswered: usize,
    /// Largest request, in bytes [default: 5242880]
    #[arg(long, env = "JOVE_MAX_REQUEST", value_name = "BYTES")]
    max_request: usize,
    /// Longest time a request may take [default: 10s]
    #[arg(long, env = "JOVE_REQUEST_TIME", value_name = "TIME")]
    request_time: Span,
    /// Most transactions in the pool [default: 100000]
    #[arg(long, env = "JOVE_POOL_SIZE", value_name = "N")]
    pool_size: usize,
    /// Most transactions of one sender in the pool [default: 1024]
    #[arg(long, env = "JOVE_POOL_PER_SENDER", value_name = "N")]
    pool_per_sender: usize,
    /// What the node does: sequencer (makes blocks), full (takes them from L1), on a chain with validators validator (votes on them) or seed (helps to find peers, reports on validators) [default: sequencer; with validators: follows them]
    #[arg(long, env = "JOVE_ROLE", value_name = "ROLE")]
    role: Role,
    /// Rebuild the chain from L1 and its blobs alone; what a full node does
    #[arg(long, env = "JOVE_FROM_L1", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    from_l1: bool,
    /// Take the blocks of batches that are final on L1 with what they did from this node's JSON-RPC, in place of executing them: L1's proofs say what is right, and anyone's
    /// node will do; the rest is rebuilt from blobs
    #[arg(long, env = "JOVE_SYNC_BY_PROOF", hide_env_values = true, value_name = "URL")]
    sync_by_proof: String,
    /// Validators of a development chain, all in this process: a quorum of them certifies each checkpoint [default: none]
    #[arg(long, env = "JOVE_VALIDATORS", value_name = "N")]
    validators: usize,
    /// Run each of them but the first in a process of its own, which ends with this one [default: false]
    #[arg(long, env = "JOVE_PROCESSES", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    processes: bool,
    /// How many of them make blocks when their turn comes [default: 2]
    #[arg(long, env = "JOVE_SEQUENCERS", value_name = "N")]
    sequencers: usize,
    /// For dev, checkpoints of an epoch: validators change between epochs [default: 600]
    #[arg(long, env = "JOVE_EPOCH_LENGTH", value_name = "N")]
    epoch_length: u64,
    /// File with the secret of a validator's or Seed Node's keys, 64 hexadecimal digits; made where there is none [default: validator.hex or seed.hex in the data directory]
    #[arg(long, env = "JOVE_VALIDATOR_KEY_FILE", value_name = "FILE")]
    validator_key_file: PathBuf,
    /// The first epoch that a validator without a log of votes may vote in: 0 if it never ran, else one above every epoch that it may have voted in
    #[arg(long, env = "JOVE_VOTES_FROM", value_name = "EPOCH")]
    votes_from: u64,
    /// Addresses that the network of a node on a chain with validators listens on, comma-separated [default: /ip4/0.0.0.0/tcp/9000,/ip4/0.0.0.0/udp/9000/quic-v1]
    #[arg(long, env = "JOVE_P2P_LISTEN", value_name = "MULTIADDRS", value_delimiter = ',')]
    p2p_listen: Vec<jove_network::Multiaddr>,
    /// Addresses that peers are told in place of those, comma-separated: of a node behind a forwarded port
    #[arg(long, env = "JOVE_P2P_EXTERNAL", value_name = "MULTIADDRS", value_delimiter = ',')]
    p2p_external: Vec<jove_network::Multiaddr>,
    /// Peers to find all others through, beside the validators in the chain spec, comma-separated, each ending with /p2p/PEER
    #[arg(long, env = "JOVE_BOOTSTRAP", value_name = "MULTIADDRS", value_delimiter = ',')]
    bootstrap: Vec<jove_network::Multiaddr>,
    /// JSON-RPC of the L1 that the chain settles on [default for dev: an L1 of its own]
    #[arg(long, env = "JOVE_L1_URL", hide_env_values = true, value_name = "URL")]
    l1_url: String,
    /// Where blobs are had from, in the order in which they are asked: beacon nodes, archives, other Jove nodes [default: the L1's URL]
    #[arg(long, env = "JOVE_L1_BEACON_URL", hide_env_values = true, value_name = "URLS", value_delimiter = ',')]
    l1_beacon_url: Vec<String>,
    /// Keep the blobs that this node commits or reads, for ever, and serve them to other nodes, which name it by --l1-beacon-url [default: false]
    #[arg(long, env = "JOVE_BLOB_ARCHIVE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    blob_archive: bool,
    /// L1 blocks from the head down to the one whose messages are taken; 0: the last that L1 has finalized [default: 0; for dev: 1]
    #[arg(long, env = "JOVE_L1_DEPTH", value_name = "N")]
    l1_depth: u64,
    /// Port of the L1 of a development chain's own; 0 for any free one [default: 9545]
    #[arg(long, env = "JOVE_L1_HTTP_PORT", value_name = "PORT")]
    l1_http_port: u16,
    /// File with the private key that batches are committed with [default: the environment variable JOVE_COMMIT_KEY; without, no batch is committed]
    #[arg(long, env = "JOVE_COMMIT_KEY_FILE", value_name = "FILE")]
    commit_key_file: PathBuf,
    /// File with the private key that proofs are sent with: of provers behind --prover-listen, or what test verifiers believe [default: the environment variable JOVE_PROVE_KEY; without, none is sent; for dev: an account of its own]
    #[arg(long, env = "JOVE_PROVE_KEY_FILE", value_name = "FILE")]
    prove_key_file: PathBuf,
    /// Address that provers get batches from, and bring proofs to: put TLS in front where it is reached over a network [default: none; for dev: any port of this machine]
    #[arg(long, env = "JOVE_PROVER_LISTEN", value_name = "IP:PORT")]
    prover_listen: SocketAddr,
    /// File with the secret that provers share with this node, 64 hexadecimal digits; made where there is none [default: prover.hex in the data directory]
    #[arg(long, env = "JOVE_PROVER_SECRET_FILE", value_name = "FILE")]
    prover_secret_file: PathBuf,
    /// Prove by an enclave program of its own, with quotes of the development root; a chain that is begun with false believes this node in place of enclaves, for ever (dev only) [default: true]
    #[arg(long, env = "JOVE_ENCLAVE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    enclave: bool,
    /// Prove in zero knowledge, in the background, on a machine that `jove prover setup` prepared: minutes a batch, and withdrawals wait for it; said where a chain is begun, and so for ever (dev only) [default: false: a test verifier believes this node]
    #[arg(long, env = "JOVE_ZK", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    zk: bool,
    /// File with the private key that this node steps in with for the operators: a full node commits messages that they leave waiting, one on a chain with validators what those certified; another account than the one that proofs are sent with [default: the environment variable JOVE_RESCUE_KEY; without, it does not step in]
    #[arg(long, env = "JOVE_RESCUE_KEY_FILE", value_name = "FILE")]
    rescue_key_file: PathBuf,
    /// File with the private key that a validator's node brings evidence against others to L1 with, and claims of its rewards [default: the environment variable JOVE_DUTY_KEY; without, it brings none; for dev: an account of its own]
    #[arg(long, env = "JOVE_DUTY_KEY_FILE", value_name = "FILE")]
    duty_key_file: PathBuf,
    /// Age at which a block is committed at the latest [default: 1h; for dev: 10m]
    #[arg(long, env = "JOVE_COMMIT_DEADLINE", value_name = "TIME")]
    commit_deadline: Span,
    /// Instructions that a batch takes at most to prove in zero knowledge, about: a prover with little memory or time has it sooner [default: 40000000000]
    #[arg(long, env = "JOVE_MAX_BATCH_INSTRUCTIONS", value_name = "N")]
    max_batch_instructions: u64,
    /// Bytes that provers are given of a batch at most, what its blocks read of the state above all: it ends before the block that is too much [default: 100663296]
    #[arg(long, env = "JOVE_MAX_BATCH_INPUT", value_name = "BYTES")]
    max_batch_input: u64,
    /// Age of the oldest block that is not committed beyond which no transactions are taken; 0 for no limit [default: 12h; for dev: 0]
    #[arg(long, env = "JOVE_MAX_UNCOMMITTED", value_name = "TIME")]
    max_uncommitted: Span,
    /// Bytes of blobs that may wait to be committed before no transactions are taken; 0 for no limit [default: 67108864; for dev: 0]
    #[arg(long, env = "JOVE_MAX_UNCOMMITTED_BYTES", value_name = "BYTES")]
    max_uncommitted_bytes: u64,
    /// Gas of committed blocks that may wait to become final before no transactions are taken; 0 for no limit [default: 0]
    #[arg(long, env = "JOVE_MAX_UNPROVEN", value_name = "GAS")]
    max_unproven: u64,
    /// Settle nowhere (dev only) [default: false]
    #[arg(long, env = "JOVE_NO_SETTLEMENT", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_settlement: bool,
    /// Stop when standard input ends: for whoever starts a node as a child [default: false]
    #[arg(long, env = "JOVE_STOP_WITH_STDIN", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    stop_with_stdin: bool,
    /// What is logged: error, warn, info, debug, trace, or by module (jove_rpc=debug,info) [default: info]
    #[arg(long, env = "JOVE_LOG", value_name = "FILTER")]
    log: String,
}}

impl Options {
    /// Flags and environment, then the TOML file.
    ///
    /// # Errors
    /// If the file cannot be read or holds an unknown key or a bad value, or if with a value no node could work.
    pub(crate) fn with_file(self, file: Option<&PathBuf>) -> Result<Self, String> {
        let options = self.or(from_file(file)?);
        options.check()?;
        Ok(options)
    }

    /// Refuses values with which a node would start and then serve nobody.
    fn check(&self) -> Result<(), String> {
        let spans = [("block-time", self.block_time), ("request-time", self.request_time)];
        for (name, span) in spans {
            if span.is_some_and(|span| span.0.is_zero()) {
                return Err(format!("--{name} must be longer than 0"));
            }
        }
        let least = [
            ("max-request", self.max_request, MIN_REQUEST),
            ("connections", self.connections, 1),
            ("pool-size", self.pool_size, 1),
            ("pool-per-sender", self.pool_per_sender, 1),
        ];
        for (name, value, least) in least {
            if value.is_some_and(|value| value < least) {
                return Err(format!("--{name} must be at least {least}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!("10ms".parse(), Ok(Span(Duration::from_millis(10))));
        assert_eq!("60s".parse(), Ok(Span(Duration::from_secs(60))));
        assert_eq!("7d".parse(), Ok(Span(Duration::from_secs(604_800))));
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        for bad in ["", "10", "ms", "-1s", "1 s", "10parsecs", "99999999999999999999s", "18446744073709551615d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "http_port = 1\nblock_time = \"5ms\"\n").expect("written");
        let flags = Options { http_port: Some(2), ..Default::default() };
        let options = flags.with_file(Some(&file.path().to_owned())).expect("valid");
        assert_eq!(options.http_port, Some(2));
        assert_eq!(options.block_time, Some(Span(Duration::from_millis(5))));
        std::fs::write(file.path(), "http_prot = 1\n").expect("written");
        let error = Options::default().with_file(Some(&file.path().to_owned())).expect_err("refused");
        assert!(error.contains("http_prot"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused_wherever_it_stands() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_owned();
        for (key, value, flag) in [
            ("block_time", "\"0\"", "--block-time"),
            ("request_time", "\"0ms\"", "--request-time"),
            ("max_request", "0", "--max-request"),
            ("max_request", "1023", "--max-request"),
            ("connections", "0", "--connections"),
            ("pool_size", "0", "--pool-size"),
            ("pool_per_sender", "0", "--pool-per-sender"),
        ] {
            std::fs::write(&path, format!("{key} = {value}\n")).expect("written");
            let error = Options::default().with_file(Some(&path)).expect_err("refused");
            assert!(error.contains(flag) && error.contains(" must be "), "{error}");
        }
        let flag = Options { pool_size: Some(0), ..Default::default() };
        assert!(flag.with_file(None).expect_err("refused").contains("--pool-size"));
        let fine = "heartbeat = \"0\"\nhistory = \"0\"\nproof_window = \"0\"\nhttp_port = 0\nrate_limit = 0\nconnections_per_address = 0\nmax_unread = 0\nmax_unanswered = 0\n";
        std::fs::write(&path, fine).expect("written");
        Options::default().with_file(Some(&path)).expect("0 means something there");
    }
}
