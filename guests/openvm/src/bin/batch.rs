//! Judges batches: the same function as in the enclave, on the same bytes, after a seed for hash maps.

#[cfg(target_os = "zkvm")]
use jove_proving::Input;

#[cfg(target_os = "zkvm")]
fn main() {
    jove_guest::install();
    let bytes = openvm::io::read_vec();
    let input = match Input::decode(&bytes) {
        Ok(input) => input,
        Err(error) => panic!("{error}"),
    };
    // The input has its own copy of all that is in them.
    drop(bytes);
    match jove_guest::judge(&input) {
        Ok(judgement) => openvm::io::reveal_bytes32(judgement.statement().0),
        Err(error) => panic!("{error}"),
    }
}

#[cfg(not(target_os = "zkvm"))]
fn main() {
    panic!("a guest runs inside its virtual machine");
}
