//! The program itself.

use crate::{
    Attest, Attested, Domain, Error, Hello, Proved, Quotes,
    keys::Root,
    protocol::{Frame, MAX_REQUEST, Reason, VERSION, answer, decode, read_frame, request, words, write_frame},
};
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use jove_proving::{Input, judge};
use jove_tee::{Binding, Kind, QuoteSource};
use std::{
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The program, on a machine.
pub struct Program {
    source: Box<dyn QuoteSource>,
    root: Root,
    measurement: B256,
}

/// Why a request is refused, in a kind and in words.
type Refusal = (Reason, String);

/// Runs the program on standard input and output, until the input ends.
///
/// # Errors
/// If this is no such machine, or input or output fails.
pub fn run(quotes: &Quotes) -> Result<(), Error> {
    let program = Program::new(quotes.open()?)?;
    program.serve(&mut io::stdin().lock(), &mut io::stdout().lock())
}

impl Program {
    /// The program with quotes from here.
    ///
    /// # Errors
    /// If the machine does not say what runs, or its sealing key cannot be had.
    pub fn new(source: Box<dyn QuoteSource>) -> Result<Self, Error> {
        let measurement = source.measurement()?;
        let root = Root::new(&*source)?;
        Ok(Self { source, root, measurement })
    }

    /// What quotes say of it.
    pub fn measurement(&self) -> B256 {
        self.measurement
    }

    /// Answers requests until they end.
    ///
    /// # Errors
    /// If they end in the middle of one, or nobody takes the answers.
    pub fn serve(&self, reader: &mut impl Read, writer: &mut impl Write) -> Result<(), Error> {
        loop {
            let answered = match read_frame(reader, MAX_REQUEST)? {
                Frame::End => return Ok(()),
                Frame::Skipped(length) => {
                    Err((Reason::Request, format!("a request has 1 to {MAX_REQUEST} bytes, not {length}")))
                }
                Frame::Body(kind, body) => self.answer(kind, &body),
            };
            match answered {
                Ok(body) => write_frame(writer, answer::OK, &[&body])?,
                Err((reason, text)) => {
                    write_frame(writer, answer::REFUSAL, &[&[reason as u8], words(&text).as_bytes()])?
                }
            }
        }
    }

    fn answer(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        // Requests share nothing that one could leave broken.
        catch_unwind(AssertUnwindSafe(|| match kind {
            request::HELLO if body.is_empty() => Ok(alloy_rlp::encode(self.hello())),
            request::ATTEST => self.attest(&decode(body).ok_or_else(malformed)?).map(alloy_rlp::encode),
            request::PROVE => self.prove(body).map(alloy_rlp::encode),
            request::HELLO => Err(malformed()),
            _ => Err((Reason::Request, format!("a request of the unknown kind {kind}"))),
        }))
        .unwrap_or_else(|_| Err((Reason::Failure, "the program failed at this request".into())))
    }

    fn hello(&self) -> Hello {
        let kind = match self.source.kind() {
            Kind::Software => 0,
            Kind::Sgx => 1,
            Kind::Tdx => 2,
        };
        Hello { version: VERSION, kind, measurement: self.measurement, sealed: self.root.is_sealed() }
    }

    fn attest(&self, attest: &Attest) -> Result<Attested, Refusal> {
        let Attest { domain, payout, block_number, block_hash, nonce } = *attest;
        let secret = self.root.key(&domain, payout);
        let key = secret.address();
        let Domain { l1_chain_id: chain_id, registry, .. } = domain;
        let binding = Binding { chain_id, registry, key, payout, block_number, block_hash };
        let quote = self.source.quote(binding.report_data());
        let quote = quote.map_err(|error| (Reason::Device, error.to_string()))?;
        Ok(Attested { key, quote: quote.into(), signature: secret.answer(nonce).into() })
    }

    fn prove(&self, mut body: &[u8]) -> Result<Proved, Refusal> {
        let domain = Domain::decode(&mut body).map_err(|_| malformed())?;
        let refused = |error: jove_proving::InputError| (Reason::Input, error.to_string());
        let input = Input::decode(body).map_err(refused)?;
        let judgement = judge(&input).map_err(refused)?;
        let key = self.root.key(&domain, judgement.payout);
        Ok(Proved::new(key.address(), key.prove(judgement.statement()), &judgement))
    }
}

fn malformed() -> Refusal {
    (Reason::Request, "a malformed request".into())
}
