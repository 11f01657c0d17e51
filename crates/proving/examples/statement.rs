//! What an input's proof is of: `statement FILE`, as JSON. For fixtures of proofs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // it is a test's tool: it may panic

use jove_proving::{Input, judge};

fn main() {
    let path = std::env::args().nth(1).expect("statement FILE");
    let judgement =
        judge(&Input::decode(&std::fs::read(path).expect("a file")).expect("an input")).expect("a judgement");
    let json = serde_json::json!({
        "statement": judgement.statement(),
        "chainId": judgement.chain_id,
        "rollup": judgement.rollup,
        "start": judgement.start,
        "payout": judgement.payout,
        "outputs": judgement.verdicts.iter().map(|verdict| verdict.output).collect::<Vec<_>>(),
        "openings": judgement.openings,
    });
    println!("{}", serde_json::to_string_pretty(&json).expect("JSON"));
}
