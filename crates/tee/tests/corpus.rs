//! The corpus that the verifiers in Rust and Solidity share: it is what the example writes, and the verifier agrees with it.
#![allow(missing_docs)]

#[path = "../examples/corpus/cases.rs"]
mod cases;

use std::{fs, path::Path};

#[test]
fn the_files_are_as_made() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut size = 0;
    for (name, text) in cases::files() {
        let found = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(found == text, "{name} is stale: cargo run --release -p jove-tee --example corpus");
        size += text.len();
    }
    assert!(size < 400_000, "{size} bytes");
}

#[test]
fn every_case_ends_as_it_says() {
    let corpus = cases::corpus();
    let mut wrong = vec![];
    for case in &corpus.cases {
        let found = match corpus.check(case) {
            Ok(_) => "Verified".into(),
            Err(error) => error.name(),
        };
        if found != case.result {
            wrong.push(format!("{}: {found} instead of {}: {:?}", case.name, case.result, corpus.check(case).err()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut names: Vec<_> = corpus.cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), corpus.cases.len(), "names are unique");
}
