//! Keys and values, byte for byte. The crate's documentation specifies them; a test pins them.

use crate::StorageError;
use alloy_consensus::Header;
use alloy_eips::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use jove_primitives::{
    Account, ChangeSet, ExecutedBlock,
    block::{L1Prices, Receipt, RecoveredTransaction, Transaction},
};

/// Version of the on-disk format.
pub(crate) const FORMAT: u32 = 1;

/// Flag in an account's first byte: a code hash follows.
const HAS_CODE: u8 = 0x80;
/// Flag in an account's entry in a change set: the account itself changed.
const ACCOUNT_CHANGED: u8 = 1;

// ---- keys

/// Key of a slot's value: `address ‖ slot`.
pub(crate) fn slot_key(address: Address, slot: U256) -> [u8; 52] {
    let mut key = [0; 52];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&slot.to_be_bytes::<32>());
    key
}

/// Key of an account's value before a block: `address ‖ block`.
pub(crate) fn account_history_key(address: Address, block: u64) -> [u8; 28] {
    let mut key = [0; 28];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&block.to_be_bytes());
    key
}

/// Key of a slot's value before a block: `address ‖ slot ‖ block`.
pub(crate) fn slot_history_key(address: Address, slot: U256, block: u64) -> [u8; 60] {
    let mut key = [0; 60];
    key[..52].copy_from_slice(&slot_key(address, slot));
    key[52..].copy_from_slice(&block.to_be_bytes());
    key
}

/// What a posting list is of: the kind, and a topic, or an address with twelve zero bytes before it, or zero.
pub(crate) type LogTerm = (u8, B256);

/// Every block that has a log.
pub(crate) const ANY_LOG: LogTerm = (5, B256::ZERO);

/// Logs of an address.
pub(crate) fn address_term(address: Address) -> LogTerm {
    (0, address.into_word())
}

/// Logs with a topic at a position from 0 to 3.
pub(crate) fn topic_term(position: usize, topic: B256) -> LogTerm {
    // A log has four topics at most.
    (1 + position as u8, topic)
}

/// Key of a posting: `kind ‖ term ‖ block`.
pub(crate) fn posting_key((kind, term): LogTerm, block: u64) -> [u8; 41] {
    let mut key = [0; 41];
    key[0] = kind;
    key[1..33].copy_from_slice(term.as_slice());
    key[33..].copy_from_slice(&block.to_be_bytes());
    key
}

/// The terms of all logs of a block, each once.
pub(crate) fn log_terms(receipts: &[Receipt]) -> Vec<LogTerm> {
    let mut terms = Vec::new();
    for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
        terms.push(ANY_LOG);
        terms.push(address_term(log.address));
        terms.extend(log.topics().iter().take(4).enumerate().map(|(position, topic)| topic_term(position, *topic)));
    }
    terms.sort_unstable();
    terms.dedup();
    terms
}

/// The block number at the end of a key.
pub(crate) fn block_of_key(key: &[u8]) -> Result<u64, StorageError> {
    let bytes = key.last_chunk().ok_or(StorageError::Corrupt("a key without a block number"))?;
    Ok(u64::from_be_bytes(*bytes))
}

/// A value that is one block number.
pub(crate) fn decode_u64(value: &[u8]) -> Result<u64, StorageError> {
    let bytes = value.try_into().map_err(|_| StorageError::Corrupt("a number has other than 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

// ---- primitives

/// A reader that never reads past its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StorageError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(StorageError::Corrupt("a value ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(StorageError::Corrupt("a value ends too early"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, StorageError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Result<u64, StorageError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || shift > 0 && byte == 0 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(StorageError::Corrupt("a varint that is too long"))
    }

    /// A length that the rest of the value has bytes for.
    fn length(&mut self) -> Result<usize, StorageError> {
        let length = self.varint()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.0.len())
            .ok_or(StorageError::Corrupt("a length beyond the value"))
    }

    fn uint(&mut self) -> Result<U256, StorageError> {
        let length = self.byte()?;
        decode_uint(self.take(usize::from(length))?)
    }

    fn end(self) -> Result<(), StorageError> {
        if self.0.is_empty() { Ok(()) } else { Err(StorageError::Corrupt("a value has bytes left over")) }
    }
}

/// Appends LEB128.
fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the big-endian bytes of `value` without leading zeros: nothing for zero.
pub(crate) fn put_uint_bytes(value: U256, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes::<32>()[32 - value.byte_len()..]);
}

/// Reads what [`put_uint_bytes`] wrote.
pub(crate) fn decode_uint(bytes: &[u8]) -> Result<U256, StorageError> {
    match bytes {
        [0, ..] => Err(StorageError::Corrupt("a number with a leading zero")),
        bytes => U256::try_from_be_slice(bytes).ok_or(StorageError::Corrupt("a number longer than 32 bytes")),
    }
}

fn put_uint(value: U256, out: &mut Vec<u8>) {
    out.push(value.byte_len() as u8);
    put_uint_bytes(value, out);
}

// ---- state

/// Appends an account; nothing for an absent one.
pub(crate) fn put_account(account: Option<&Account>, out: &mut Vec<u8>) {
    let Some(account) = account else { return };
    let has_code = account.code_hash != KECCAK256_EMPTY;
    out.push(account.balance.byte_len() as u8 | if has_code { HAS_CODE } else { 0 });
    put_varint(account.nonce, out);
    put_uint_bytes(account.balance, out);
    if has_code {
        out.extend_from_slice(account.code_hash.as_slice());
    }
}

/// Reads what [`put_account`] wrote.
pub(crate) fn decode_account(value: &[u8]) -> Result<Option<Account>, StorageError> {
    if value.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader(value);
    let first = reader.byte()?;
    let nonce = reader.varint()?;
    let balance = decode_uint(reader.take(usize::from(first & !HAS_CODE))?)?;
    let code_hash = if first & HAS_CODE == 0 { KECCAK256_EMPTY } else { B256::from(reader.array()?) };
    reader.end()?;
    Ok(Some(Account { nonce, balance, code_hash }))
}

/// What undoes a block's change of one account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccountUndo {
    pub(crate) address: Address,
    /// The account before the block, if the block changed it.
    pub(crate) account: Option<Option<Account>>,
    /// Slots that the block changed, with their values before.
    pub(crate) slots: Vec<(U256, U256)>,
}

/// Appends what undoes `changes`: keys and values before. What did not change is left out.
pub(crate) fn put_undo(changes: &ChangeSet, out: &mut Vec<u8>) {
    for (address, change) in &changes.accounts {
        let changed = change.account.before != change.account.after;
        let slots = || change.storage.iter().filter(|(_, value)| value.before != value.after);
        let count = slots().count();
        if !changed && count == 0 {
            continue;
        }
        out.extend_from_slice(address.as_slice());
        out.push(if changed { ACCOUNT_CHANGED } else { 0 });
        if changed {
            let at = out.len();
            out.push(0);
            put_account(change.account.before.as_ref(), out);
            out[at] = (out.len() - at - 1) as u8; // an account has 75 bytes at most
        }
        put_varint(count as u64, out);
        for (slot, value) in slots() {
            put_uint(*slot, out);
            put_uint(value.before, out);
        }
    }
}

/// Reads what [`put_undo`] wrote.
pub(crate) fn decode_undo(value: &[u8]) -> Result<Vec<AccountUndo>, StorageError> {
    let mut reader = Reader(value);
    let mut undo = Vec::new();
    while !reader.0.is_empty() {
        let address = Address::from(reader.array()?);
        let account = match reader.byte()? {
            0 => None,
            ACCOUNT_CHANGED => {
                let length = usize::from(reader.byte()?);
                Some(decode_account(reader.take(length)?)?)
            }
            _ => return Err(StorageError::Corrupt("an unknown flag in a change set")),
        };
        let count = reader.length()?;
        let slots = (0..count).map(|_| Ok((reader.uint()?, reader.uint()?))).collect::<Result<_, StorageError>>()?;
        undo.push(AccountUndo { address, account, slots });
    }
    Ok(undo)
}

// ---- blocks

/// Appends a header: its hash, then its RLP.
pub(crate) fn put_header(header: &Header, hash: B256, out: &mut Vec<u8>) {
    out.extend_from_slice(hash.as_slice());
    header.encode(out);
}

/// The hash in a stored header.
pub(crate) fn decode_header_hash(value: &[u8]) -> Result<B256, StorageError> {
    Ok(B256::from(Reader(value).array()?))
}

/// Reads what [`put_header`] wrote.
pub(crate) fn decode_header(value: &[u8]) -> Result<(Header, B256), StorageError> {
    let mut reader = Reader(value);
    let hash = B256::from(reader.array()?);
    let header = Header::decode(&mut reader.0).map_err(|_| StorageError::Corrupt("a header that is not RLP"))?;
    reader.end()?;
    Ok((header, hash))
}

/// Appends all of a block but its header. The receipts come first, so that logs are read without the transactions.
pub(crate) fn put_body(block: &ExecutedBlock, out: &mut Vec<u8>) {
    block.receipts.encode(out);
    out.extend_from_slice(&block.l1_prices.base_fee.to_be_bytes());
    out.extend_from_slice(&block.l1_prices.blob_base_fee.to_be_bytes());
    for (transaction, l1_fee) in block.transactions.iter().zip(&block.l1_fees) {
        out.extend_from_slice(transaction.signer().as_slice());
        put_uint(*l1_fee, out);
        put_varint(transaction.inner().encode_2718_len() as u64, out);
        transaction.inner().encode_2718(out);
    }
}

/// A stored body, its receipts read and its transactions not yet.
pub(crate) struct Body<'a> {
    pub(crate) receipts: Vec<Receipt>,
    l1_prices: L1Prices,
    transactions: Reader<'a>,
}

/// A transaction of a stored body: sender, L1 data fee, EIP-2718 encoding.
type EncodedTransaction<'a> = (Address, U256, &'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Result<Self, StorageError> {
        let mut reader = Reader(value);
        let receipts = Vec::decode(&mut reader.0).map_err(|_| StorageError::Corrupt("receipts that are not RLP"))?;
        let base_fee = u128::from_be_bytes(reader.array()?);
        let blob_base_fee = u128::from_be_bytes(reader.array()?);
        Ok(Self { receipts, l1_prices: L1Prices { base_fee, blob_base_fee }, transactions: reader })
    }

    /// Each transaction in turn, one for each receipt.
    fn encoded(&self) -> impl Iterator<Item = Result<EncodedTransaction<'a>, StorageError>> {
        let mut reader = Reader(self.transactions.0);
        let last = self.receipts.len();
        (1..=last).map(move |position| {
            let sender = Address::from(reader.array()?);
            let l1_fee = reader.uint()?;
            let length = reader.length()?;
            let encoded = reader.take(length)?;
            if position == last && !reader.0.is_empty() {
                return Err(StorageError::Corrupt("a body has bytes left over"));
            }
            Ok((sender, l1_fee, encoded))
        })
    }

    /// Hash of the transaction at `index`.
    pub(crate) fn transaction_hash(&self, index: usize) -> Result<B256, StorageError> {
        let transaction = self.encoded().nth(index).ok_or(StorageError::Corrupt("a body without a transaction"))?;
        transaction.map(|(_, _, encoded)| keccak256(encoded))
    }

    /// The block, with the header that belongs to it.
    pub(crate) fn into_block(self, header: Header, hash: B256) -> Result<ExecutedBlock, StorageError> {
        if self.receipts.is_empty() && !self.transactions.0.is_empty() {
            return Err(StorageError::Corrupt("a body has bytes left over"));
        }
        let mut transactions = Vec::with_capacity(self.receipts.len());
        let mut l1_fees = Vec::with_capacity(self.receipts.len());
        for transaction in self.encoded() {
            let (sender, l1_fee, encoded) = transaction?;
            let decoded = Transaction::decode_2718_exact(encoded)
                .map_err(|_| StorageError::Corrupt("a transaction that is not EIP-2718"))?;
            transactions.push(RecoveredTransaction::new_unchecked(decoded, sender));
            l1_fees.push(l1_fee);
        }
        let Self { receipts, l1_prices, .. } = self;
        Ok(ExecutedBlock { header, hash, transactions, receipts, l1_fees, l1_prices })
    }
}

/// Where a transaction is: `block ‖ index`.
pub(crate) fn position_value(block: u64, index: u32) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&block.to_be_bytes());
    value[8..].copy_from_slice(&index.to_be_bytes());
    value
}

/// Reads what [`position_value`] made.
pub(crate) fn decode_position(value: &[u8]) -> Result<(u64, u32), StorageError> {
    let mut reader = Reader(value);
    let position = (u64::from_be_bytes(reader.array()?), u32::from_be_bytes(reader.array()?));
    reader.end()?;
    Ok(position)
}
