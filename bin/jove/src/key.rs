//! Keys of commands that send transactions: from a file, the environment, or the development mnemonic; never from the command line.

use jove_settlement::Key;
use std::{io::Read, path::PathBuf};

/// The variable that may hold the key. Not one of clap's, which shows values.
const VARIABLE: &str = "JOVE_PRIVATE_KEY";
/// Most bytes of a key file: a key is 64 digits, and white space may surround it.
const MAX_FILE: u64 = 4096;

/// Where the key is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// File with the private key, 64 hexadecimal digits [default: the environment variable JOVE_PRIVATE_KEY]
    #[arg(long, env = "JOVE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Account 0 to 9 of the development mnemonic, whose keys are public, in the place of a key
    #[arg(long, value_name = "N", conflicts_with = "key_file")]
    mnemonic_index: Option<usize>,
}

impl Options {
    /// Whether the key is public knowledge.
    pub(crate) fn is_public(&self) -> bool {
        self.mnemonic_index.is_some()
    }

    /// The key.
    ///
    /// # Errors
    /// In words, which never repeat it.
    pub(crate) fn key(&self) -> Result<Key, String> {
        if let Some(index) = self.mnemonic_index {
            let accounts = jove_rpc::dev_accounts();
            let (_, key) = accounts.get(index).ok_or("--mnemonic-index is from 0 to 9")?;
            return Key::new(*key).map_err(|error| error.to_string());
        }
        let (text, source) = match &self.key_file {
            Some(path) => {
                let failed = |error: std::io::Error| format!("{}: {error}", path.display());
                let mut text = String::new();
                std::fs::File::open(path).map_err(failed)?.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
                (text, path.display().to_string())
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) => (text, VARIABLE.to_owned()),
                Err(_) => {
                    return Err(format!(
                        "which key? --key-file FILE, the environment variable {VARIABLE}, or --mnemonic-index N"
                    ));
                }
            },
        };
        Key::from_hex(&text).map_err(|error| format!("{source}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_from_a_file_or_the_mnemonic() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        std::fs::write(file.path(), format!("{text}\n")).expect("written");
        let options = Options { key_file: Some(file.path().to_owned()), mnemonic_index: None };
        let first = Options { key_file: None, mnemonic_index: Some(0) };
        assert_eq!(options.key().expect("a key").address(), first.key().expect("a key").address());
        assert!(first.is_public() && !options.is_public());
        let none = Options { key_file: None, mnemonic_index: Some(10) };
        assert!(none.key().expect_err("refused").contains("0 to 9"));
        std::fs::write(file.path(), &text[..65]).expect("written");
        let error = options.key().expect_err("refused");
        assert!(error.contains("private key") && !error.contains("ac0974"), "{error}");
    }
}
