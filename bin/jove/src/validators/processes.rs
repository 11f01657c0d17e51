//! Validators of a development chain in processes of their own: each is `jove node --role validator` with a data directory, keys, a store and a log of votes of its
//! own. It ends when its standard input does, which this process holds: so it ends with this process, however that ends.

use super::{Development, folder};
use crate::options::Options;
use jove_sequencer::NodeConfig;
use std::{fs::File, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// In the folder of a development chain's validators: the chain spec with them in it.
const CHAIN_FILE: &str = "chain.json";
/// In a validator's data directory: what it logs.
const LOG_FILE: &str = "log";
/// How long one may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Running processes; killed when this is dropped.
#[derive(Default)]
pub(crate) struct Processes {
    children: Vec<(usize, Child)>,
}

impl Processes {
    /// Starts all validators but the first. `l1_url` is that of an L1 of the chain's own.
    ///
    /// # Errors
    /// In words for the operator.
    pub(crate) fn start(
        development: &Development,
        options: &Options,
        config: &NodeConfig,
        l1_url: Option<String>,
    ) -> Result<Self, String> {
        let file = config.datadir.join("validators").join(CHAIN_FILE);
        std::fs::write(&file, config.spec.to_json()).map_err(|error| format!("{}: {error}", file.display()))?;
        let program = std::env::current_exe().map_err(|error| format!("which program is this: {error}"))?;
        let l1_url = options.l1_url.clone().or(l1_url).filter(|_| config.spec.settlement.is_some());
        let mut processes = Self::default();
        for (index, listen) in development.listen.iter().enumerate().skip(1) {
            let folder = folder(&config.datadir, index);
            let log = folder.join(LOG_FILE);
            let failed = |error: std::io::Error| format!("{}: {error}", log.display());
            let log = File::options().create(true).append(true).open(&log).map_err(failed)?;
            let mut command = Command::new(&program);
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"JOVE_")) {
                command.env_remove(name);
            }
            command
                .args(["node", "--role", "validator", "--votes-from", "0", "--http-port", "0", "--stop-with-stdin"])
                .arg(format!("--chain={}", file.display()))
                .arg(format!("--datadir={}", folder.display()))
                .arg(format!("--p2p-listen={listen}"))
                .arg(format!("--block-time={}ms", config.block_time.as_millis()))
                .arg(format!("--heartbeat={}ms", config.heartbeat.as_millis()))
                .arg(format!("--sync={}", config.sync))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true);
            if let Some(url) = &l1_url {
                command.arg(format!("--l1-url={url}")).arg(format!("--l1-depth={}", options.l1_depth.unwrap_or(1)));
            }
            if let Some(log) = &options.log {
                command.arg(format!("--log={log}"));
            }
            let child = command.spawn().map_err(|error| format!("validator {index}: {error}"))?;
            tracing::info!(validator = index, pid = child.id(), datadir = %folder.display(), "a process of its own");
            processes.children.push((index, child));
        }
        Ok(processes)
    }

    /// Says which have ended.
    pub(crate) fn look(&mut self) {
        self.children.retain_mut(|(index, child)| match child.try_wait() {
            Ok(None) => true,
            ended => {
                tracing::error!(validator = *index, ?ended, "its process has ended: its log says why");
                false
            }
        });
    }

    /// Ends all.
    pub(crate) async fn stop(mut self) {
        for (_, child) in &mut self.children {
            drop(child.stdin.take());
        }
        for (index, mut child) in self.children {
            if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                tracing::warn!(validator = index, "its process does not stop: it is killed");
            }
        }
    }
}
