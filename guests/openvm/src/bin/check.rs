//! For tests: parts of a batch's work, to be compared with the host's; of no bytes, what hash maps are seeded with.

#[cfg(target_os = "zkvm")]
use jove_proving::check::Check;

#[cfg(target_os = "zkvm")]
fn main() {
    jove_guest::install();
    let bytes = openvm::io::read_vec();
    if bytes.is_empty() {
        return openvm::io::reveal_bytes32(jove_guest::seeds());
    }
    match Check::decode(&bytes) {
        Ok(check) => openvm::io::reveal_bytes32(check.run(jove_guest::open).0),
        Err(error) => panic!("{error}"),
    }
}

#[cfg(not(target_os = "zkvm"))]
fn main() {
    panic!("a guest runs inside its virtual machine");
}
