//! What is said between the program and its host.
//!
//! A *frame* is its length (4 bytes, big-endian: that of what follows), its kind (a byte), and a body in RLP: the list of a type's fields, in their order.
//! The host writes requests; the program answers each with one frame, in order.
//!
//! | request | body | answer 0 |
//! |---|---|---|
//! | 0 | nothing | [`Hello`] |
//! | 1 | [`Attest`] | [`Attested`] |
//! | 2 | [`Domain`], then a [`jove_proving::Input`] | [`Proved`] |
//!
//! Answer 1 is a refusal: a [`Reason`] (a byte), then words in UTF-8. After a request that is too long, malformed or of an unknown kind the program goes on with
//! the next frame. It ends when its input does.
//!
//! A request has at most [`MAX_REQUEST`] bytes, an answer at most [`MAX_ANSWER`].

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use jove_primitives::batch::hash::{Opening, Roots, statement};
use jove_proving::{Judgement, MAX_INPUT};
use std::io::{self, Read, Write};

/// Version of this protocol.
pub const VERSION: u64 = 2;
/// Most bytes of a request after its length.
pub const MAX_REQUEST: usize = MAX_INPUT + 256;
/// Most bytes of an answer after its length: a quote has 16,384 at most, 64 verdicts and their 384 openings fewer than 64,000.
pub const MAX_ANSWER: usize = 1 << 20;
/// Most bytes of words, as why a batch is invalid.
const MAX_WORDS: usize = 500;

/// Kinds of requests.
pub mod request {
    /// Who is there.
    pub const HELLO: u8 = 0;
    /// A quote of the key for a use.
    pub const ATTEST: u8 = 1;
    /// A proof.
    pub const PROVE: u8 = 2;
}

/// Kinds of answers.
pub mod answer {
    /// What was asked for.
    pub const OK: u8 = 0;
    /// Why not.
    pub const REFUSAL: u8 = 1;
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It is too long, malformed, or of a kind that is unknown.
    Request = 0,
    /// The input proves nothing ([`jove_proving::InputError`]).
    Input = 1,
    /// The machine makes no quote.
    Device = 2,
    /// The program failed at it, which is an error in the program.
    Failure = 3,
    /// The program does not run, or did not answer: said in its place by [`crate::host`].
    Host = 4,
}

impl Reason {
    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Request, Self::Input, Self::Device, Self::Failure, Self::Host].get(usize::from(number)).copied()
    }
}

/// Where proofs count: each has a key of its own, as has each payout address ([`crate::keys`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Domain {
    /// Chain id of L1.
    pub l1_chain_id: u64,
    /// The `AttestationRegistry`.
    pub registry: Address,
    /// Which of the keys for these: 0, and another where that one's time is over.
    pub number: u64,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u64,
    /// Kind of the machine: 0 none (quotes of the development root), 1 SGX, 2 TDX.
    pub kind: u8,
    /// What quotes say of the program.
    pub measurement: B256,
    /// Whether keys are the same after a restart.
    pub sealed: bool,
}

/// Asks for a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Attest {
    /// Where the key is to be registered.
    pub domain: Domain,
    /// Whom its proofs pay.
    pub payout: Address,
    /// A recent block of L1.
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: B256,
    /// What whoever asks wants signed, so that nobody else's quote will do.
    pub nonce: B256,
}

/// A key and a quote of it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Attested {
    /// The key's address.
    pub key: Address,
    /// The quote, over [`jove_tee::Binding::report_data`].
    pub quote: Bytes,
    /// The key's signature of the nonce ([`keys::session_digest`](crate::keys::session_digest)), 65 bytes.
    pub signature: Bytes,
}

/// A proof, with all that its statement is made of.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Proved {
    /// The key's address.
    pub key: Address,
    /// 65 bytes, for `TeeVerifier`.
    pub signature: Bytes,
    /// The L2 chain id.
    pub chain_id: u64,
    /// `Rollup` on L1.
    pub rollup: Address,
    /// The output before the first batch.
    pub start: B256,
    /// Whom the proof pays.
    pub payout: Address,
    /// Of each batch, in order.
    pub outcomes: Vec<Outcome>,
    /// Of each blob of each batch, in order.
    pub openings: Vec<Opening>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Outcome {
    /// The batch hash.
    pub batch: B256,
    /// The output hash.
    pub output: B256,
    /// The roots after it; zeros if it is invalid.
    pub roots: Roots,
    /// Why it is invalid, in words; empty if it is valid.
    pub invalid: String,
}

impl Proved {
    /// A judgement that a key has signed.
    pub fn new(key: Address, signature: [u8; 65], judgement: &Judgement) -> Self {
        let outcomes = judgement.verdicts.iter().map(|verdict| Outcome {
            batch: verdict.batch,
            output: verdict.output,
            roots: verdict.outcome.clone().unwrap_or(Roots { state: B256::ZERO, outbox: B256::ZERO }),
            invalid: verdict.outcome.as_ref().err().map_or(String::new(), |error| words(&error.to_string())),
        });
        Self {
            key,
            signature: Bytes::copy_from_slice(&signature),
            chain_id: judgement.chain_id,
            rollup: judgement.rollup,
            start: judgement.start,
            payout: judgement.payout,
            outcomes: outcomes.collect(),
            openings: judgement.openings.clone(),
        }
    }

    /// The statement that is proven.
    pub fn statement(&self) -> B256 {
        let outputs: Vec<B256> = self.outcomes.iter().map(|outcome| outcome.output).collect();
        statement(self.chain_id, self.rollup, self.start, self.payout, &outputs, &self.openings)
    }
}

/// At most [`MAX_WORDS`] bytes of a text.
pub(crate) fn words(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_WORDS)].to_owned()
}

/// A body, if it is one value and nothing more.
pub fn decode<T: Decodable>(mut body: &[u8]) -> Option<T> {
    let value = T::decode(&mut body).ok()?;
    body.is_empty().then_some(value)
}

/// Writes a frame. One above 4 GiB, which neither side makes, is an error.
///
/// # Errors
/// If the other side is gone.
pub fn write_frame(writer: &mut impl Write, kind: u8, bodies: &[&[u8]]) -> io::Result<()> {
    let length = 1 + bodies.iter().map(|body| body.len()).sum::<usize>();
    let length = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    writer.write_all(&length.to_be_bytes())?;
    writer.write_all(&[kind])?;
    bodies.iter().try_for_each(|body| writer.write_all(body))?;
    writer.flush()
}

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A frame's kind and body.
    Body(u8, Vec<u8>),
    /// One without a kind, or with more than the bytes that are taken: so many. They are skipped.
    Skipped(u32),
    /// The other side has ended, between frames.
    End,
}

/// Reads a frame of at most `limit` bytes.
///
/// # Errors
/// If the other side ends in the middle of one, or cannot be read.
pub fn read_frame(reader: &mut impl Read, limit: usize) -> io::Result<Frame> {
    let mut length = [0; 4];
    loop {
        match reader.read(&mut length[..1]) {
            Ok(0) => return Ok(Frame::End),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    reader.read_exact(&mut length[1..])?;
    let length = u32::from_be_bytes(length);
    let mut rest = reader.take(length.into());
    if length == 0 || length as usize > limit {
        let skipped = io::copy(&mut rest, &mut io::sink())?;
        return if skipped == u64::from(length) {
            Ok(Frame::Skipped(length))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
    }
    let mut kind = [0];
    rest.read_exact(&mut kind)?;
    // It grows with what comes: a length alone takes no memory.
    let mut body = Vec::new();
    rest.read_to_end(&mut body)?;
    if body.len() + 1 != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame::Body(kind[0], body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_come_back() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 7, &[b"ab", b"", b"c"]).expect("memory");
        write_frame(&mut bytes, 8, &[]).expect("memory");
        assert_eq!(bytes, b"\0\0\0\x04\x07abc\0\0\0\x01\x08");
        let mut reader = &bytes[..];
        assert_eq!(read_frame(&mut reader, 4).expect("whole"), Frame::Body(7, b"abc".to_vec()));
        assert_eq!(read_frame(&mut reader, 4).expect("whole"), Frame::Body(8, Vec::new()));
        assert_eq!(read_frame(&mut reader, 4).expect("whole"), Frame::End);
        // Too long, or without a kind: the next one is read.
        let mut reader = &bytes[..];
        assert_eq!(read_frame(&mut reader, 3).expect("whole"), Frame::Skipped(4));
        assert_eq!(read_frame(&mut reader, 3).expect("whole"), Frame::Body(8, Vec::new()));
        assert_eq!(read_frame(&mut &[0; 4][..], 9).expect("whole"), Frame::Skipped(0));
        for length in 1..8 {
            assert!(read_frame(&mut &bytes[..length], 4).is_err(), "{length}");
            assert!(read_frame(&mut &bytes[..length], 3).is_err(), "{length}");
        }
        assert!(read_frame(&mut &b"\xff\xff\xff\xff\0"[..], usize::MAX).is_err(), "and takes no memory");
    }

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(words("ab"), "ab");
        let long = words(&"ä".repeat(1_000));
        assert_eq!((long.len(), long.chars().count()), (500, 250));
        assert_eq!(words(&format!("a{}", "ä".repeat(1_000))).len(), 499);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_body_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Attest>(&bytes).is_some();
            let _ = decode::<Proved>(&bytes).is_some();
            let _ = read_frame(&mut &bytes[..], 1 << 20).is_ok();
        }
    }
}
