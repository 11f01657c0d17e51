//! Data to a stream.

use super::{
    BlockData, Compressor, EncodeError, MAX_BLOCKS, MAX_CONTENT, VERSION, column::Writer, kind, number, word::Word,
    word_kind,
};
use crate::transaction::SignedTransaction;
use alloc::{collections::BTreeMap, vec::Vec};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U256};
use alloy_rlp::Encodable;

/// The stream of a batch of the chain `chain_id`: consecutive blocks, the first of them number `first_block`. It may be longer than
/// [`super::MAX_STREAM`]: then the batch must be cut.
///
/// # Errors
/// If [`super::decode`] could not give the blocks back.
pub fn encode(
    first_block: u64,
    blocks: &[BlockData],
    chain_id: u64,
    compressor: &mut dyn Compressor,
) -> Result<Vec<u8>, EncodeError> {
    if blocks.is_empty() || blocks.len() > MAX_BLOCKS {
        return Err(EncodeError::BlockCount(blocks.len()));
    }
    if first_block.checked_add(blocks.len() as u64 - 1).is_none() {
        return Err(EncodeError::BlockNumber);
    }
    let mut times = Vec::with_capacity(blocks.len());
    for (index, pair) in blocks.windows(2).enumerate() {
        times.push(pair[1].time_ms.checked_sub(pair[0].time_ms).ok_or(EncodeError::Time(index + 1))?);
    }
    let origin_steps: Vec<u64> = blocks.iter().map(|block| block.origin_steps.into()).collect();
    let counts: Vec<u64> = blocks.iter().map(|block| block.transactions.len() as u64).collect();
    let mut columns = Columns::default();
    let mut content = 0;
    for transaction in blocks.iter().flat_map(|block| &block.transactions) {
        content += content_size(transaction);
        columns.push(transaction, chain_id)?;
    }
    if content > MAX_CONTENT {
        return Err(EncodeError::Content(content));
    }

    let mut writer = Writer::new(compressor);
    writer.bytes(&[VERSION]);
    writer.varint(first_block);
    writer.varint(blocks[0].time_ms);
    writer.varint(blocks.len() as u64);
    writer.integers(&times);
    writer.integers(&origin_steps);
    writer.integers(&counts);
    columns.write(&mut writer);
    Ok(writer.finish())
}

/// Bytes of a transaction's input and lists, of which a batch holds [`MAX_CONTENT`].
pub fn content_size(transaction: &SignedTransaction) -> usize {
    let access_list = transaction.access_list().filter(|list| !list.is_empty()).map_or(0, Encodable::length);
    let authorizations = transaction.authorization_list().map_or(0, alloy_rlp::list_length);
    transaction.input().len() + access_list + authorizations
}

/// What a transaction takes of a stream at most, in bytes: the sum of what it takes of each column of integers in their variable form, and of each strip as it
/// is. Cheap: it looks at no byte of the input.
pub fn size_bound(transaction: &SignedTransaction) -> usize {
    // Kind; signature and parity.
    const FIXED: usize = 1 + 65;
    // A length, then the integer.
    let scalar = |length: usize| 1 + length;
    let fees = scalar(transaction.max_fee_per_gas().length())
        + scalar(transaction.max_priority_fee_per_gas().unwrap_or(0).length());
    // Exponent and mantissa, which is no longer than the value.
    let value = 1 + scalar(transaction.value().length());
    // There are fewer than 2^24 references, and no input is longer.
    let recipient = if transaction.is_create() { 0 } else { 20 + scalar(3) };
    // Selector and size; a word is a kind and at most its bytes.
    let input = scalar(3) + scalar(4) + transaction.input().len() / 32;
    FIXED
        + scalar(transaction.nonce().length())
        + scalar(transaction.gas_limit().length())
        + fees
        + value
        + recipient
        + input
        + content_size(transaction)
}

/// Calls `visit` for each word of the inputs of words, in word order: with the position of the input among them, and the word's in it.
pub(super) fn for_each_word(selectors: &[u32], counts: &[usize], mut visit: impl FnMut(usize, usize)) {
    let key = |input: usize| (selectors[input], counts[input]);
    let mut order: Vec<usize> = (0..selectors.len()).collect();
    order.sort_unstable_by_key(|input| (key(*input), *input));
    for group in order.chunk_by(|a, b| key(*a) == key(*b)) {
        for position in 0..counts[group[0]] {
            for input in group {
                visit(*input, position);
            }
        }
    }
}

#[derive(Default)]
struct Numbers {
    exponents: Vec<u8>,
    mantissas: Vec<U256>,
}

impl Numbers {
    fn push(&mut self, number: U256) {
        let (exponent, mantissa) = number::split(number);
        self.exponents.push(exponent);
        self.mantissas.push(mantissa);
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.strip(&self.exponents);
        writer.integers(&self.mantissas);
    }
}

/// The transactions by column.
#[derive(Default)]
struct Columns<'a> {
    kinds: Vec<u8>,
    nonces: Vec<u64>,
    gas_limits: Vec<u64>,
    fee_caps: Vec<u128>,
    tips: Vec<u128>,
    recipients: Vec<Address>,
    values: Numbers,
    sizes: Vec<u64>,
    selectors: Vec<u32>,
    /// Inputs of words without their selectors, and of how many words each is.
    worded: Vec<&'a [u8]>,
    counts: Vec<usize>,
    inputs: Vec<u8>,
    lists: Vec<u8>,
    parities: Vec<u8>,
    signatures: Vec<u8>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, transaction: &'a SignedTransaction, chain_id: u64) -> Result<(), EncodeError> {
        let mut kind = match transaction {
            SignedTransaction::Legacy(legacy) if legacy.tx().chain_id.is_none() => kind::LEGACY_UNPROTECTED,
            SignedTransaction::Legacy(_) => kind::LEGACY,
            SignedTransaction::Eip2930(_) => kind::EIP2930,
            SignedTransaction::Eip1559(_) => kind::EIP1559,
            SignedTransaction::Eip7702(_) => kind::EIP7702,
            SignedTransaction::Eip4844(_) => return Err(EncodeError::BlobTransaction),
        };
        if let Some(signed_for) = transaction.chain_id().filter(|id| *id != chain_id) {
            return Err(EncodeError::ChainId(signed_for, chain_id));
        }
        match transaction.to() {
            Some(to) => self.recipients.push(to),
            None => kind |= kind::CREATION,
        }
        let input = &transaction.input()[..];
        if let Some((selector, words)) = input.split_first_chunk()
            && words.len() % 32 == 0
            && !transaction.is_create()
        {
            kind |= kind::WORDS;
            self.selectors.push(u32::from_be_bytes(*selector));
            self.worded.push(words);
            self.counts.push(words.len() / 32);
            self.sizes.push(words.len() as u64 / 32);
        } else {
            self.inputs.extend_from_slice(input);
            self.sizes.push(input.len() as u64);
        }
        if let Some(list) = transaction.access_list().filter(|list| !list.is_empty()) {
            kind |= kind::ACCESS_LIST;
            list.encode(&mut self.lists);
        }
        if let Some(list) = transaction.authorization_list() {
            alloy_rlp::encode_list(list, &mut self.lists);
        }
        let index = self.kinds.len();
        self.kinds.push(kind);
        self.nonces.push(transaction.nonce());
        self.gas_limits.push(transaction.gas_limit());
        self.fee_caps.push(transaction.max_fee_per_gas());
        self.tips.extend(transaction.max_priority_fee_per_gas());
        self.values.push(transaction.value());
        let signature = transaction.signature();
        if index.is_multiple_of(8) {
            self.parities.push(0);
        }
        self.parities[index / 8] |= u8::from(signature.v()) << (index % 8);
        self.signatures.extend_from_slice(&signature.r().to_be_bytes::<32>());
        self.signatures.extend_from_slice(&signature.s().to_be_bytes::<32>());
        Ok(())
    }

    fn write(&self, writer: &mut Writer<'_>) {
        let (mut word_kinds, mut word_addresses) = (Vec::new(), Vec::new());
        let (mut word_numbers, mut words) = (Numbers::default(), Vec::new());
        for_each_word(&self.selectors, &self.counts, |input, position| {
            let word = &self.worded[input][32 * position..][..32];
            let number = U256::from_be_slice(word);
            let length = number.length();
            word_kinds.push(if length <= MAX_NUMBER_LENGTH {
                word_numbers.push(number);
                word_kind::NUMBER
            } else if length <= 20 {
                word_addresses.push(Address::from_slice(&word[12..]));
                word_kind::ADDRESS
            } else if number.wrapping_neg().length() <= MAX_NUMBER_LENGTH {
                word_numbers.push(number.wrapping_neg());
                word_kind::NEGATIVE
            } else {
                words.extend_from_slice(word);
                word_kind::OTHER
            });
        });
        let repeated = repeated(self.recipients.iter().chain(&word_addresses));
        let reference = |address: &Address| repeated.get(address).copied().unwrap_or(0);
        let mut addresses = alloc::vec![Address::ZERO; repeated.len()];
        for (address, reference) in &repeated {
            addresses[*reference as usize - 1] = *address;
        }
        let once = self.recipients.iter().chain(&word_addresses).filter(|address| reference(address) == 0);
        addresses.extend(once);
        let addresses: Vec<u8> = addresses.iter().flat_map(|address| address.0.0).collect();

        writer.strip(&self.kinds);
        writer.integers(&self.nonces);
        writer.integers(&self.gas_limits);
        writer.integers(&self.fee_caps);
        writer.integers(&self.tips);
        writer.integers(&self.recipients.iter().map(reference).collect::<Vec<u64>>());
        self.values.write(writer);
        writer.integers(&self.sizes);
        writer.integers(&self.selectors.iter().copied().map(u64::from).collect::<Vec<u64>>());
        writer.strip(&word_kinds);
        writer.integers(&word_addresses.iter().map(reference).collect::<Vec<u64>>());
        word_numbers.write(writer);
        writer.strip(&words);
        writer.strip(&self.inputs);
        writer.varint(self.lists.len() as u64);
        writer.strip(&self.lists);
        writer.varint(repeated.len() as u64);
        writer.strip(&addresses);
        writer.bytes(&self.parities);
        writer.bytes(&self.signatures);
    }
}

/// Longest word, in bytes, that is taken for a number: it is more than any amount in wei, and few addresses start with six zeros.
const MAX_NUMBER_LENGTH: usize = 14;

/// References to the addresses that occur more than once, from 1: the most frequent first.
fn repeated<'a>(addresses: impl Iterator<Item = &'a Address>) -> BTreeMap<Address, u64> {
    let mut counts: BTreeMap<Address, (usize, usize)> = BTreeMap::new();
    for (at, address) in addresses.enumerate() {
        counts.entry(*address).or_insert((0, at)).0 += 1;
    }
    let mut order: Vec<(usize, usize, Address)> = counts
        .into_iter()
        .filter(|(_, (count, _))| *count > 1)
        .map(|(address, (count, first))| (usize::MAX - count, first, address))
        .collect();
    order.sort_unstable();
    (1..).zip(order).map(|(reference, (_, _, address))| (address, reference)).collect()
}
