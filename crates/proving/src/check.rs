//! Parts of a batch's work whose outcome is one hash: for tests that a zkVM's guest, with cryptography of its own, does what the host does.
//!
//! A [`Check`] is encoded as its kind, one byte, and the RLP of the list of its fields.

use alloc::{boxed::Box, collections::BTreeMap, string::ToString, vec::Vec};
use alloy_consensus::{Header, crypto::secp256k1::recover_signer_unchecked, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, Signature, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use jove_primitives::{
    ChangeSet, Fork,
    batch::decode,
    transaction::{RecoveredTransaction, SignedTransaction},
};
use jove_stf::{BlockExecutor, Rules, StatelessState, Witness};
use revm::precompile::{PrecompileSpecId, Precompiles};

/// The forks that blocks may be of.
pub const FORKS: [Fork; 7] =
    [Fork::Berlin, Fork::London, Fork::Paris, Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka];

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A block of one transaction, by Ethereum's rules.
    Block(Box<Block>),
    /// Calls of precompiles, at Osaka.
    Calls(Vec<Call>),
    /// Signatures and whose they are.
    Signatures(Vec<Signed>),
    /// The opening of a blob: the versioned hash, then the contents.
    Opening(Bytes),
    /// Blobs decoded.
    Decoding(Blobs),
}

/// A block of one transaction and what it is executed on. Block n has the hash of its number in decimal, as in the state tests of execution-spec-tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Block {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The fork's position in [`FORKS`].
    pub fork: u8,
    /// What is known before execution.
    pub header: Header,
    /// The transaction's EIP-2718 encoding.
    pub transaction: Bytes,
    /// Root of the state before.
    pub root: B256,
    /// That state.
    pub witness: Witness,
}

/// The blobs of a batch.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Blobs {
    /// The chain's id.
    pub chain_id: u64,
    /// Their contents.
    pub contents: Vec<Bytes>,
}

/// A call of a precompile.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Call {
    /// The precompile.
    pub address: Address,
    /// Gas that it gets.
    pub gas: u64,
    /// What it is given.
    pub input: Bytes,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Signed {
    /// Of the message.
    pub hash: B256,
    /// r.
    pub r: U256,
    /// s, high ones included.
    pub s: U256,
    /// Whether y of R is odd.
    pub odd: bool,
}

impl Check {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, fields): (u8, &dyn Encodable) = match self {
            Self::Block(block) => (0, block),
            Self::Calls(calls) => (1, calls),
            Self::Signatures(signatures) => (2, signatures),
            Self::Opening(blob) => (3, blob),
            Self::Decoding(blobs) => (4, blobs),
        };
        let mut bytes = Vec::from([kind]);
        fields.encode(&mut bytes);
        bytes
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &[u8]) -> alloy_rlp::Result<Self> {
        let (kind, mut fields) = bytes.split_first().ok_or(alloy_rlp::Error::InputTooShort)?;
        match kind {
            0 => Ok(Self::Block(Decodable::decode(&mut fields)?)),
            1 => Ok(Self::Calls(Decodable::decode(&mut fields)?)),
            2 => Ok(Self::Signatures(Decodable::decode(&mut fields)?)),
            3 => Ok(Self::Opening(Decodable::decode(&mut fields)?)),
            4 => Ok(Self::Decoding(Decodable::decode(&mut fields)?)),
            _ => Err(alloy_rlp::Error::Custom("an unknown kind of check")),
        }
    }

    /// The hash of all that comes of it.
    pub fn run(&self, open: crate::Open) -> B256 {
        let mut outcome = Vec::new();
        match self {
            Self::Block(block) => match block.execute() {
                Some((root, logs)) => {
                    outcome.extend_from_slice(root.as_slice());
                    logs.encode(&mut outcome);
                }
                None => outcome.push(0),
            },
            Self::Calls(calls) => {
                let precompiles = Precompiles::new(PrecompileSpecId::OSAKA);
                calls.iter().for_each(|call| call.run(precompiles, &mut outcome));
            }
            Self::Signatures(signatures) => signatures.iter().for_each(|signed| {
                let signature = Signature::new(signed.r, signed.s, signed.odd);
                // Zeros stand for nobody.
                let signer = recover_signer_unchecked(&signature, signed.hash).unwrap_or_default();
                outcome.extend_from_slice(signer.as_slice());
            }),
            Self::Opening(blob) => {
                let (hash, contents) = blob.split_at(blob.len().min(32));
                match open(contents, B256::right_padding_from(hash)) {
                    Some(opening) => outcome.extend_from_slice(&[opening.contents_hash.0, opening.y.0].concat()),
                    None => outcome.push(0),
                }
            }
            Self::Decoding(blobs) => match decode(&blobs.contents, blobs.chain_id) {
                Ok(data) => {
                    for block in &data.blocks {
                        outcome.extend_from_slice(&block.time_ms.to_be_bytes());
                        outcome.extend_from_slice(&(block.transactions.len() as u64).to_be_bytes());
                    }
                }
                Err(_) => outcome.push(0),
            },
        }
        keccak256(outcome)
    }
}

impl Call {
    fn run(&self, precompiles: &Precompiles, outcome: &mut Vec<u8>) {
        let output = precompiles.get(&self.address).map(|precompile| precompile.execute(&self.input, self.gas, 0));
        match output {
            Some(Ok(output)) => {
                outcome.push(output.status.is_success().into());
                outcome.extend_from_slice(&output.gas_used.to_be_bytes());
                output.bytes.encode(outcome);
            }
            Some(Err(_)) => outcome.push(2),
            None => outcome.push(3),
        }
    }
}

impl Block {
    /// The state root after it and its logs; none if the transaction cannot be in a block, or the witness is of no use.
    pub fn execute(&self) -> Option<(B256, Vec<Log>)> {
        let fork = *FORKS.get(usize::from(self.fork))?;
        let rules = Rules::Ethereum { chain_id: self.chain_id, fork, development: false, blobs: Vec::new() };
        let number = self.header.number;
        let hashes: BTreeMap<u64, B256> =
            (number.saturating_sub(256)..number).map(|number| (number, keccak256(number.to_string()))).collect();
        let mut state = StatelessState::with_hashes(&self.witness, self.root, hashes).ok()?;
        let (changes, logs) = self.changes(&rules, &state)?;
        Some((state.apply(&changes).ok()?, logs))
    }

    fn changes(&self, rules: &Rules, state: &StatelessState) -> Option<(ChangeSet, Vec<Log>)> {
        let transaction = SignedTransaction::decode_2718_exact(&self.transaction).ok()?;
        let signer = transaction.recover_signer().ok()?;
        let mut block = BlockExecutor::new(rules, &self.header, state).ok()?;
        block.execute(&RecoveredTransaction::new_unchecked(transaction.into(), signer)).ok()?;
        let output = block.finish();
        Some((output.changes, output.receipts.into_iter().flat_map(|receipt| receipt.logs).collect()))
    }
}
