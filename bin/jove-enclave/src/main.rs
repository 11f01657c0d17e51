//! See the library's first page: this reads the arguments.

use jove_enclave::{Program, Quotes, run};
use std::{ffi::OsString, io::Write, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Prints the measurement and ends.
    let measure = arguments.first().is_some_and(|first| first == "--measurement");
    if measure {
        arguments.remove(0);
    }
    let outcome = Quotes::from_arguments(arguments).and_then(|quotes| match measure {
        true => {
            let measurement = Program::new(quotes.open()?)?.measurement();
            Ok(writeln!(std::io::stdout(), "{measurement}")?)
        }
        false => run(&quotes),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jove-enclave: {error}");
            ExitCode::FAILURE
        }
    }
}
