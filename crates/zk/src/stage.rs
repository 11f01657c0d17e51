//! A stage: a process that is watched.

use crate::Error;
use serde::Deserialize;
use serde_json::Value;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
    time::Instant,
};

/// Longest line that is read.
const MAX_LINE: u64 = 1 << 16;
/// What is kept of standard error.
const MAX_WORDS: usize = 600;

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub stage: &'static str,
    /// Of its work, in percent.
    pub percent: u8,
    /// What it needs still, as far as that can be told.
    pub left: Option<Duration>,
}

/// A line of a stage.
#[derive(Deserialize)]
struct Line {
    done: Option<u64>,
    of: Option<u64>,
    seconds: Option<f64>,
}

/// Runs a stage until its end, and gives what came of it.
///
/// `before` is how long it took the last time: by that it tells how far it is where it does not say.
///
/// # Errors
/// [`Error::Start`], [`Error::Stage`], [`Error::Answer`].
pub(crate) async fn run(
    stage: &'static str,
    program: &Path,
    arguments: &[std::ffi::OsString],
    before: Option<Duration>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Value, Error> {
    let start = Instant::now();
    let failed = |reason: String| Error::Stage { stage, reason };
    // Low priority: proofs wait for blocks, not blocks for proofs. Nothing of the environment but where programs are.
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(program).args(arguments).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    // Its standard input stays open as long as this process lives and waits: a stage that is told to stops with it.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| Error::Start { program: program.into(), source })?;
    let (Some(out), Some(words)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("it has no output".into()));
    };
    // Taken out, since waiting for a child would close it.
    let input = child.stdin.take();
    let words = tokio::spawn(tail(words));
    let mut lines = BufReader::new(out);
    let (mut last, mut end) = ((0, 1), None);
    loop {
        // A line, or the time to say how far it is.
        let mut line = Vec::new();
        let mut limited = (&mut lines).take(MAX_LINE);
        let read = tokio::time::timeout(Duration::from_secs(10), limited.read_until(b'\n', &mut line)).await;
        match read {
            Ok(Ok(0)) => break,
            Ok(Ok(_)) => {
                let value: Value = serde_json::from_slice(&line).map_err(|_| Error::Answer {
                    stage,
                    said: String::from_utf8_lossy(&line[..line.len().min(80)]).into(),
                })?;
                let Line { done, of, seconds } =
                    Line::deserialize(&value).unwrap_or(Line { done: None, of: None, seconds: None });
                if seconds.is_some() {
                    end = Some(value);
                } else if let (Some(done), Some(of)) = (done, of) {
                    last = (done, of.max(1));
                }
            }
            Ok(Err(error)) => return Err(failed(error.to_string())),
            // What was read of a line is lost: stages write lines at once, and small ones.
            Err(_) => {}
        }
        progress(estimate(stage, start.elapsed(), last, before));
    }
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    drop(input);
    let words = words.await.unwrap_or_default();
    match end {
        Some(end) if status.success() => Ok(end),
        _ if words.is_empty() => Err(failed(format!("it ended with {status}"))),
        _ => Err(failed(words)),
    }
}

/// By its own count, or by the last time's length; never done before it is.
fn estimate(stage: &'static str, elapsed: Duration, (done, of): (u64, u64), before: Option<Duration>) -> Progress {
    let counted = done as f64 / of as f64;
    let timed = before.map_or(0.0, |before| elapsed.as_secs_f64() / before.as_secs_f64().max(1.0));
    let part = counted.max(timed.min(0.99)).clamp(0.0, 0.99);
    let left = match before {
        Some(before) if done == 0 => Some(before.saturating_sub(elapsed)),
        _ if done > 0 => Some(elapsed.mul_f64((1.0 - counted).max(0.0) / counted)),
        _ => None,
    };
    Progress { stage, percent: (part * 100.0) as u8, left }
}

/// The end of what somebody says.
async fn tail(mut words: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = words.read(&mut piece).await {
        kept.extend_from_slice(&piece[..length]);
        let extra = kept.len().saturating_sub(MAX_WORDS);
        kept.drain(..extra);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    async fn shell(script: &str) -> (Result<Value, Error>, Vec<Progress>) {
        let said = Mutex::new(Vec::new());
        let arguments = ["-c".into(), script.into()];
        let result =
            run("app", Path::new("/bin/sh"), &arguments, None, &|progress| said.lock().unwrap().push(progress)).await;
        (result, said.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_stage_says_how_far_it_is_and_what_came_of_it() {
        let (end, said) = shell(r#"echo '{"done":1,"of":4}'; echo '{"seconds":1.5,"statement":"x"}'"#).await;
        assert_eq!(end.unwrap()["statement"], "x");
        assert_eq!(said[0].percent, 25);
        assert!(said[0].left.is_some());
    }

    #[tokio::test]
    async fn what_fails_says_why_and_its_environment_is_empty() {
        let (end, _) = shell("echo no memory >&2; exit 1").await;
        assert!(matches!(end, Err(Error::Stage { reason, .. }) if reason == "no memory"));
        // An end without success, and success without an end, are none.
        assert!(matches!(shell(r#"echo '{"seconds":1}'; exit 3"#).await.0, Err(Error::Stage { .. })));
        assert!(matches!(shell("exit 0").await.0, Err(Error::Stage { .. })));
        assert!(matches!(shell("echo nonsense").await.0, Err(Error::Answer { .. })));
        let (end, _) = shell(r#"echo "{\"seconds\":1,\"home\":\"$HOME$CARGO_HOME\"}""#).await;
        assert_eq!(end.unwrap()["home"], "");
        let missing = run("app", Path::new("/nothing"), &[], None, &|_| ()).await;
        assert!(missing.is_err());
    }

    #[tokio::test]
    async fn a_stages_input_is_open_until_it_has_ended() {
        // Also once it says nothing more: 124 is a time that ran out, and an input that had ended would end `cat` before.
        let script = r#"echo '{"seconds":1}'; exec >&- 2>&-; timeout 0.5 cat >/dev/null 2>&1; [ $? = 124 ]"#;
        assert!(shell(script).await.0.is_ok());
    }

    #[tokio::test]
    async fn a_stage_ends_with_whoever_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", file.display());
        let begun = async {
            loop {
                match std::fs::read_to_string(&file) {
                    Ok(pid) if pid.ends_with('\n') => return pid,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let pid = tokio::select! {
            _ = shell(&script) => panic!("it ends by itself"),
            pid = begun => pid,
        };
        for _ in 0..1_000 {
            if !Path::new("/proc").join(pid.trim()).join("fd").read_dir().is_ok_and(|mut list| list.next().is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it works on");
    }

    #[test]
    fn estimates_go_by_count_and_by_time() {
        let second = Duration::from_secs(1);
        assert_eq!(estimate("x", second, (0, 1), None), Progress { stage: "x", percent: 0, left: None });
        let timed = estimate("x", second, (0, 1), Some(4 * second));
        assert_eq!((timed.percent, timed.left), (25, Some(3 * second)));
        let counted = estimate("x", 2 * second, (1, 2), Some(100 * second));
        assert_eq!((counted.percent, counted.left), (50, Some(2 * second)));
        assert_eq!(estimate("x", 9 * second, (1, 1), Some(second)).percent, 99);
    }
}
