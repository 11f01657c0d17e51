//! `jove enclave`: the enclave program, started and kept alive; or, in this executable, the program itself.
//!
//! What comes on standard input goes to the program, and its answers to standard output ([`jove_enclave::protocol`]). Where it ends or hangs, the request under
//! way is refused, and the next one finds it started anew. docs/enclave.md is the guide.

use jove_enclave::{
    Enclave, Launch, Quotes,
    protocol::{Frame, MAX_REQUEST, Reason, answer, read_frame, write_frame},
};
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// Where quotes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// Nowhere: the development root, which is not Intel's
    Software,
    /// SGX, in Gramine
    Gramine,
    /// TDX, by Linux
    Tsm,
}

/// What to start.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    program: Program,
    /// Be the program instead of starting it
    #[arg(long, conflicts_with = "program")]
    inside: bool,
    /// Print what quotes say of the program (MRENCLAVE), and end
    #[arg(long, conflicts_with = "inside")]
    measurement: bool,
}

/// The program.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Program {
    /// The program [default: for software quotes this one itself, else the file jove-enclave beside it]
    #[arg(long, env = "JOVE_ENCLAVE_PROGRAM", value_name = "FILE")]
    program: Option<PathBuf>,
    /// What makes the quotes
    #[arg(long, env = "JOVE_ENCLAVE_QUOTES", value_enum, default_value_t = Source::Software)]
    quotes: Source,
    /// Folder with the seed of the development root, made where there is none [default: ~/.jove/tee]
    #[arg(long, env = "JOVE_ENCLAVE_KEYS", value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Which machine software quotes are of
    #[arg(long, value_name = "N", default_value_t = 0)]
    machine: u64,
    /// Longest that an answer may take, in seconds: then the program is killed
    #[arg(long, env = "JOVE_ENCLAVE_DEADLINE", value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
}

/// Runs until standard input ends.
///
/// # Errors
/// In words, if the program cannot be started, or this is no machine for such quotes.
#[allow(clippy::print_stdout)] // a measurement is the result
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if options.inside {
        return jove_enclave::run(&options.program.quotes()?).map_err(|error| error.to_string());
    }
    let mut enclave = options.program.start()?;
    if options.measurement {
        let hello = enclave.hello().map_err(|error| error.to_string())?;
        println!("{}", hello.measurement);
        return Ok(());
    }
    serve(&mut enclave).map_err(|error| format!("requests and answers: {error}"))
}

impl Program {
    /// The program, which is started once it is asked something.
    ///
    /// # Errors
    /// In words, if there is none.
    pub(crate) fn start(&self) -> Result<Enclave, String> {
        let launch = Launch::find(self.program.as_deref(), &self.quotes()?).map_err(|error| error.to_string())?;
        Ok(Enclave::new(launch, Duration::from_secs(self.deadline)))
    }

    fn quotes(&self) -> Result<Quotes, String> {
        Ok(match self.quotes {
            Source::Gramine => Quotes::Gramine,
            Source::Tsm => Quotes::Tsm,
            Source::Software => {
                let home = || std::env::home_dir().map(|home| home.join(".jove").join("tee"));
                let keys = self.keys.clone().or_else(home);
                let keys = keys.ok_or("there is no home directory: --keys says where the development root is")?;
                Quotes::Software { keys, machine: self.machine }
            }
        })
    }
}

fn serve(enclave: &mut Enclave) -> io::Result<()> {
    let (mut reader, mut writer) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let (kind, body) = match read_frame(&mut reader, MAX_REQUEST)? {
            Frame::End => return writer.flush(),
            Frame::Skipped(length) => {
                refusal(Reason::Request, &format!("a request has 1 to {MAX_REQUEST} bytes, not {length}"))
            }
            Frame::Body(kind, body) => match enclave.forward(kind, body) {
                Ok(answer) => answer,
                Err(error) => {
                    eprintln!("jove enclave: {error}");
                    refusal(Reason::Host, &error.to_string())
                }
            },
        };
        write_frame(&mut writer, kind, &[&body])?;
    }
}

fn refusal(reason: Reason, text: &str) -> (u8, Vec<u8>) {
    (answer::REFUSAL, [&[reason as u8], text.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use toml::Value;

    /// What Gramine is told, with something in the places that it fills in itself.
    #[test]
    fn the_manifest_is_one_and_leaves_the_host_no_choice() {
        let mut text = String::new();
        let mut rest = jove_enclave::MANIFEST;
        while let Some((before, after)) = rest.split_once("{{") {
            let (_, after) = after.split_once("}}").expect("closed");
            text.extend([before, "/filled"]);
            rest = after;
        }
        text.push_str(rest);
        let manifest: Value = toml::from_str(&text).expect("TOML");
        let at = |path: &str| path.split('.').fold(&manifest, |value, name| &value[name]);
        assert_eq!(at("libos.entrypoint").as_str(), Some("/jove-enclave"));
        let arguments: Vec<_> = at("loader.argv").as_array().expect("a list").iter().map(Value::as_str).collect();
        assert_eq!(arguments, ["jove-enclave", "--quotes", "gramine"].map(Some));
        assert_eq!(at("sgx.debug").as_bool(), Some(false));
        assert_eq!(at("sgx.remote_attestation").as_str(), Some("dcap"));
        // What would let the host in.
        for (table, names) in [
            ("loader", &["insecure__use_cmdline_argv", "insecure__use_host_env", "argv_src_file", "env_src_file"][..]),
            ("sgx", &["allowed_files", "file_check_policy"]),
        ] {
            let table = at(table).as_table().expect("a table");
            assert!(names.iter().all(|name| !table.contains_key(*name)));
        }
        let mounted = at("fs.mounts").as_array().expect("a list");
        let trusted: Vec<_> = at("sgx.trusted_files").as_array().expect("a list").iter().map(Value::as_str).collect();
        for mount in mounted {
            let uri = mount["uri"].as_str().expect("text");
            assert!(trusted.iter().flatten().any(|file| file.trim_end_matches('/') == uri), "{uri} is not measured");
        }
    }
}
