//! Which machine the program is on.

use crate::{Error, MANIFEST};
use jove_tee::{Gramine, Pki, Platform, QuoteSource, Software, Tsm, software::measure};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Where quotes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// Nowhere: under the development root of a folder, **which is not Intel's**.
    Software {
        /// Has the development root's seed; made where there is none.
        keys: PathBuf,
        /// Which machine it plays.
        machine: u64,
    },
    /// An SGX enclave in Gramine.
    Gramine,
    /// A TDX trust domain.
    Tsm,
}

impl Quotes {
    /// The source, for the executable that runs.
    ///
    /// # Errors
    /// [`Error::Tee`] if this is no such machine, or the folder cannot be used.
    pub fn open(&self) -> Result<Box<dyn QuoteSource>, Error> {
        Ok(match self {
            Self::Software { keys, machine } => {
                // The name that it was started by may be another file's by now.
                let measurement = measure(Path::new("/proc/self/exe"), MANIFEST.as_bytes())?;
                Box::new(Software::new(&Pki::open(keys)?, Platform::development(*machine), measurement)?)
            }
            Self::Gramine => Box::new(Gramine::open(Gramine::FOLDER)?),
            Self::Tsm => Box::new(Tsm::open(Tsm::FOLDER)?),
        })
    }

    /// Reads `--quotes software|gramine|tsm`, and for the first `--keys DIR` and `--machine N` (0).
    ///
    /// # Errors
    /// [`Error::Arguments`].
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::Arguments(format!("{what}; usage: --quotes software|gramine|tsm [--keys DIR] [--machine N]"))
        };
        let (mut quotes, mut keys, mut machine) = (None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| wrong("an option without a value"))?;
            let place = match name.to_str() {
                Some("--quotes") => &mut quotes,
                Some("--keys") => &mut keys,
                Some("--machine") => &mut machine,
                _ => return Err(wrong("an unknown option")),
            };
            if place.replace(value).is_some() {
                return Err(wrong("an option twice"));
            }
        }
        let software = quotes.as_deref() == Some("software".as_ref());
        if !software && (keys.is_some() || machine.is_some()) {
            return Err(wrong("--keys and --machine are for software quotes"));
        }
        let machine = machine.map_or(Some(0), |machine| machine.to_str()?.parse().ok());
        match quotes.as_ref().and_then(|quotes| quotes.to_str()) {
            Some("software") => Ok(Self::Software {
                keys: keys.ok_or_else(|| wrong("software quotes need --keys"))?.into(),
                machine: machine.ok_or_else(|| wrong("--machine is no number"))?,
            }),
            Some("gramine") => Ok(Self::Gramine),
            Some("tsm") => Ok(Self::Tsm),
            _ => Err(wrong("no source of quotes")),
        }
    }

    /// What [`Self::from_arguments`] reads.
    pub fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Software { keys, machine } => vec![
                "--quotes".into(),
                "software".into(),
                "--keys".into(),
                keys.into(),
                "--machine".into(),
                machine.to_string().into(),
            ],
            Self::Gramine => vec!["--quotes".into(), "gramine".into()],
            Self::Tsm => vec!["--quotes".into(), "tsm".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_back_and_others_refused() {
        let software = Quotes::Software { keys: "some/folder".into(), machine: 7 };
        for quotes in [software, Quotes::Gramine, Quotes::Tsm] {
            assert_eq!(Quotes::from_arguments(quotes.arguments()).expect("its own"), quotes);
        }
        let read = |text: &str| Quotes::from_arguments(text.split_whitespace().map(OsString::from));
        assert_eq!(
            read("--keys k --quotes software").expect("valid"),
            Quotes::Software { keys: "k".into(), machine: 0 }
        );
        for wrong in [
            "",
            "--quotes",
            "--quotes intel",
            "--quotes software",
            "--quotes software --keys k --machine x",
            "--quotes gramine --keys k",
            "--quotes tsm --machine 1",
            "--quotes tsm --quotes tsm",
            "--help me",
        ] {
            assert!(matches!(read(wrong), Err(Error::Arguments(_))), "{wrong}");
        }
    }
}
