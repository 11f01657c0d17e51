//! Writes the corpus of good and bad quotes on which the verifiers in Rust and in Solidity must agree.
//!
//! ```sh
//! cargo run --release -p jove-tee --example corpus             # writes crates/tee/corpus/*.json
//! cargo run --release -p jove-tee --example corpus -- --check  # fails where the files are not what it would write
//! ```
//!
//! Everything is under the **Jove development root, not Intel's**, and follows from a fixed seed: the same bytes everywhere.
//! Bytes are hexadecimal strings with `0x`. Items that several cases use are kept once and referred to by name; names are
//! letters and digits. Objects' members are sorted.
//!
//! `collateral.json`
//!
//! - `certificates`: name → DER. The roots are `root` and, for cases of a wrong one, `otherRoot`.
//! - `crls`: name → DER.
//! - `tcbInfos`, `qeIdentities`: name → `json`, the text that is signed, and `signature`, r ‖ s.
//!
//! `quotes.json`
//!
//! - `chains`: name → `pem`, a quote's certification data, and `certificates`, the names of the certificates in it, leaf
//!   first; empty where it is not of certificates.
//! - `quotes`: name → `head` and `chain`. The quote is `head ‖ chains[chain].pem`; a `head` is the quote's first 1,052 bytes
//!   unless the case is about its length. `chain` is `none`, and adds nothing, where the quote ends in its head.
//!
//! `cases.json`
//!
//! - `policies`: name → `statuses` (Intel's names), `forbiddenAttributes` (bits of `ATTRIBUTES.FLAGS`), `measurements`,
//!   `signers`, `minEvaluation` (least `tcbEvaluationDataNumber` of TCB info and QE identity), `maxAge` (most seconds since
//!   TCB info, QE identity and both revocation lists were issued).
//! - `cases`, in order:
//!   - `name`;
//!   - `quote`, `policy`; `root` (the trusted certificate), `signer` (of TCB info and QE identity), `rootCrl`, `pckCrl`,
//!     `tcbInfo`, `qeIdentity`: names;
//!   - `time`: Unix seconds;
//!   - `result`: `Verified`, or the name of the error, a variant of `jove_tee::Error` and a custom error in Solidity. At
//!     whatever stage a verifier refuses, when collateral is put in or when the quote comes, it is for this reason. Each case
//!     has one fault;
//!   - `verified`, where it is: what both must read from the quote. `pckIssuer` is keccak256 of the issuer name's DER in the
//!     PCK certificate, `platform` keccak256 of the 16 bytes of PPID, `expires` the earliest end of anything used; `pckSerial`
//!     is a number, in hexadecimal digits like bytes, but without leading zeros.
//!
//! `report_data.json`: the six values of `jove_tee::Binding` and the 64 bytes they give.
//!
//! All validities are `from ≤ time < until`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod cases;

use std::{fs, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let check = std::env::args().any(|argument| argument == "--check");
    let mut stale = false;
    for (name, text) in cases::files() {
        let path = folder.join(name);
        if check {
            let same = fs::read_to_string(&path).is_ok_and(|found| found == text);
            println!("{name}: {}", if same { "as made" } else { "DIFFERS" });
            stale |= !same;
        } else {
            fs::create_dir_all(&folder).expect("a folder for the corpus");
            fs::write(&path, &text).expect("the corpus is written");
            println!("{name}: {} bytes", text.len());
        }
    }
    if stale { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
