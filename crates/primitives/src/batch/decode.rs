//! Blobs to data.

use super::{
    BLOB_CAPACITY, BatchData, BlockData, Column, DecodeError, MAX_BLOCKS, MAX_CONTENT, VERSION, blob, column::Reader,
    encode::for_each_word, kind, number::Powers, word_kind,
};
use crate::transaction::SignedTransaction;
use alloc::vec::Vec;
use alloy_consensus::{Signed, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use alloy_rlp::Decodable;

/// The batch of the chain `chain_id` in `blobs`. Senders are not recovered, signatures not checked.
///
/// # Errors
/// If the blobs are not a batch.
pub fn decode(blobs: &[impl AsRef<[u8]>], chain_id: u64) -> Result<BatchData, DecodeError> {
    decode_stream(&blob::unpack(blobs)?, chain_id)
}

/// The batch in a stream, as [`blob::unpack`] has it.
///
/// # Errors
/// If it is not a batch.
pub fn decode_stream(stream: &[u8], chain_id: u64) -> Result<BatchData, DecodeError> {
    let mut reader = Reader::new(stream);
    let Blocks { first_block, times, origin_steps, counts, transactions: n } = read_blocks(&mut reader)?;
    let mut transactions = read_transactions(&mut reader, n, chain_id)?.into_iter();
    let rest = reader.rest();
    // In chunks, so that it is a few instructions for many bytes.
    let zero = rest.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0);
    if rest.len() >= BLOB_CAPACITY || !zero {
        return Err(DecodeError::Trailing);
    }
    let blocks = times.into_iter().zip(origin_steps).zip(counts).map(|((time_ms, origin_steps), count)| BlockData {
        time_ms,
        origin_steps,
        transactions: transactions.by_ref().take(count).collect(),
    });
    Ok(BatchData { first_block, blocks: blocks.collect() })
}

struct Blocks {
    first_block: u64,
    times: Vec<u64>,
    origin_steps: Vec<u32>,
    counts: Vec<usize>,
    /// The sum of `counts`.
    transactions: usize,
}

fn read_blocks(reader: &mut Reader<'_>) -> Result<Blocks, DecodeError> {
    let version = reader.take(Column::Head, 1)?[0];
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let first_block = reader.varint(Column::Head)?;
    let mut time = reader.varint(Column::Head)?;
    let blocks = reader.varint(Column::Head)?;
    if blocks == 0 || blocks > MAX_BLOCKS as u64 || first_block.checked_add(blocks - 1).is_none() {
        return Err(DecodeError::Range(Column::Head));
    }
    let blocks = blocks as usize;
    let mut times = Vec::with_capacity(blocks);
    times.push(time);
    for elapsed in reader.integers::<u64>(Column::Times, blocks - 1)? {
        time = time.checked_add(elapsed).ok_or(DecodeError::Range(Column::Times))?;
        times.push(time);
    }
    let origin_steps = reader.integers::<u64>(Column::OriginSteps, blocks)?.into_iter();
    let origin_steps: Result<Vec<u32>, _> = origin_steps.map(u32::try_from).collect();
    let origin_steps = origin_steps.map_err(|_| DecodeError::Range(Column::OriginSteps))?;
    // No transaction is without its signature: what is left of the stream bounds everything that follows.
    let most = reader.rest().len() / 64;
    let mut transactions = 0;
    let mut counts = Vec::with_capacity(blocks);
    for count in reader.integers::<u64>(Column::Counts, blocks)? {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > most - transactions {
            return Err(DecodeError::Truncated(Column::Signatures));
        }
        transactions += count;
        counts.push(count);
    }
    Ok(Blocks { first_block, times, origin_steps, counts, transactions })
}

fn read_transactions(reader: &mut Reader<'_>, n: usize, chain_id: u64) -> Result<Vec<SignedTransaction>, DecodeError> {
    let kinds = reader.strip(Column::Kinds, n)?;
    for kind in &kinds {
        let (ty, lists) = (kind & kind::TYPE, kind & kind::ACCESS_LIST != 0);
        let no_lists = ty <= kind::LEGACY;
        let no_creation = ty == kind::EIP7702;
        if *kind > kind::ALL || ty > kind::EIP7702 || (no_lists && lists) || (no_creation && kind & kind::CREATION != 0)
        {
            return Err(DecodeError::Range(Column::Kinds));
        }
    }
    let count = |which: fn(u8) -> bool| kinds.iter().filter(|kind| which(**kind)).count();
    let creations = count(|kind| kind & kind::CREATION != 0);
    let dynamic = count(|kind| kind & kind::TYPE >= kind::EIP1559);

    let powers = Powers::new();
    let nonces: Vec<u64> = reader.integers(Column::Nonces, n)?;
    let gas_limits: Vec<u64> = reader.integers(Column::GasLimits, n)?;
    let fee_caps: Vec<u128> = reader.integers(Column::FeeCaps, n)?;
    let mut tips = reader.integers::<u128>(Column::Tips, dynamic)?.into_iter();
    let recipients: Vec<u64> = reader.integers(Column::Recipients, n - creations)?;
    let values = read_numbers(reader, Column::Values, n, &powers)?;
    let inputs = read_inputs(reader, &kinds, &powers)?;
    let lists = read_lists(reader, &kinds, inputs.size)?;
    let (mut recipients, word_addresses) = read_addresses(reader, recipients, &inputs.word_addresses)?;
    let mut inputs = inputs.assemble(&kinds, word_addresses);

    let parities = reader.take(Column::Parities, n.div_ceil(8))?;
    if !n.is_multiple_of(8) && parities[n / 8] >> (n % 8) != 0 {
        return Err(DecodeError::Range(Column::Parities));
    }
    let signatures = reader.take(Column::Signatures, 64 * n)?;

    let mut transactions = Vec::with_capacity(n);
    let scalars = nonces.into_iter().zip(gas_limits).zip(fee_caps).zip(values);
    let rest = kinds.iter().zip(signatures.chunks_exact(64)).zip(lists);
    for (index, ((((nonce, gas_limit), fee_cap), value), ((kind, signature), lists))) in scalars.zip(rest).enumerate() {
        let (r, s) = signature.split_at(32);
        let parity = parities[index / 8] >> (index % 8) & 1 == 1;
        let signature = Signature::new(U256::from_be_slice(r), U256::from_be_slice(s), parity);
        let to = match kind & kind::CREATION {
            // There is one of each such transaction.
            0 => TxKind::Call(recipients.next().unwrap_or_default()),
            _ => TxKind::Create,
        };
        let input = inputs.next().unwrap_or_default();
        let Lists { access_list, authorization_list } = lists;
        let transaction = match kind & kind::TYPE {
            ty @ (kind::LEGACY_UNPROTECTED | kind::LEGACY) => {
                let chain_id = (ty == kind::LEGACY).then_some(chain_id);
                let unsigned = TxLegacy { chain_id, nonce, gas_price: fee_cap, gas_limit, to, value, input };
                SignedTransaction::Legacy(Signed::new_unhashed(unsigned, signature))
            }
            kind::EIP2930 => {
                let unsigned =
                    TxEip2930 { chain_id, nonce, gas_price: fee_cap, gas_limit, to, value, access_list, input };
                SignedTransaction::Eip2930(Signed::new_unhashed(unsigned, signature))
            }
            ty => {
                let max_priority_fee_per_gas = tips.next().unwrap_or_default();
                let max_fee_per_gas = fee_cap;
                if ty == kind::EIP1559 {
                    let unsigned = TxEip1559 {
                        chain_id,
                        nonce,
                        gas_limit,
                        max_fee_per_gas,
                        max_priority_fee_per_gas,
                        to,
                        value,
                        access_list,
                        input,
                    };
                    SignedTransaction::Eip1559(Signed::new_unhashed(unsigned, signature))
                } else {
                    let unsigned = TxEip7702 {
                        chain_id,
                        nonce,
                        gas_limit,
                        max_fee_per_gas,
                        max_priority_fee_per_gas,
                        to: to.into_to().unwrap_or_default(),
                        value,
                        access_list,
                        authorization_list,
                        input,
                    };
                    SignedTransaction::Eip7702(Signed::new_unhashed(unsigned, signature))
                }
            }
        };
        transactions.push(transaction);
    }
    Ok(transactions)
}

fn read_numbers(
    reader: &mut Reader<'_>,
    column: Column,
    count: usize,
    powers: &Powers,
) -> Result<Vec<U256>, DecodeError> {
    let exponents = reader.strip(column, count)?;
    let mut numbers: Vec<U256> = reader.integers(column, count)?;
    for (number, exponent) in numbers.iter_mut().zip(exponents) {
        *number = powers.join(exponent, *number).ok_or(DecodeError::Range(column))?;
    }
    Ok(numbers)
}

/// The inputs' columns.
struct Inputs {
    /// Bytes of all inputs.
    size: usize,
    /// One a transaction: in words or in bytes.
    sizes: Vec<usize>,
    selectors: Vec<u32>,
    word_kinds: Vec<u8>,
    word_addresses: Vec<u64>,
    word_numbers: Vec<U256>,
    words: Vec<u8>,
    inputs: Vec<u8>,
}

fn read_inputs(reader: &mut Reader<'_>, kinds: &[u8], powers: &Powers) -> Result<Inputs, DecodeError> {
    let mut sizes = Vec::with_capacity(kinds.len());
    let (mut selectors, mut words, mut bytes, mut size) = (0usize, 0usize, 0usize, 0usize);
    for (kind, count) in kinds.iter().zip(reader.integers::<u64>(Column::Sizes, kinds.len())?) {
        let count = usize::try_from(count).ok().filter(|count| *count <= MAX_CONTENT).ok_or(DecodeError::Content)?;
        if kind & kind::WORDS != 0 {
            selectors += 1;
            words += count;
            size += 4 + 32 * count;
        } else {
            bytes += count;
            size += count;
        }
        if size > MAX_CONTENT {
            return Err(DecodeError::Content);
        }
        sizes.push(count);
    }
    let selectors = reader.integers::<u64>(Column::Selectors, selectors)?.into_iter();
    let selectors: Result<Vec<u32>, _> = selectors.map(u32::try_from).collect();
    let selectors = selectors.map_err(|_| DecodeError::Range(Column::Selectors))?;
    let word_kinds = reader.strip(Column::WordKinds, words)?;
    let (mut numbers, mut addresses, mut others) = (0, 0, 0);
    for kind in &word_kinds {
        match *kind {
            word_kind::NUMBER | word_kind::NEGATIVE => numbers += 1,
            word_kind::ADDRESS => addresses += 1,
            word_kind::OTHER => others += 1,
            _ => return Err(DecodeError::Range(Column::WordKinds)),
        }
    }
    Ok(Inputs {
        size,
        sizes,
        selectors,
        word_kinds,
        word_addresses: reader.integers(Column::WordAddresses, addresses)?,
        word_numbers: read_numbers(reader, Column::WordNumbers, numbers, powers)?,
        words: reader.strip(Column::Words, 32 * others)?,
        inputs: reader.strip(Column::Inputs, bytes)?,
    })
}

impl Inputs {
    /// Each transaction's input: slices of one allocation.
    fn assemble(self, kinds: &[u8], addresses: impl Iterator<Item = Address>) -> impl Iterator<Item = Bytes> {
        let mut all = alloc::vec![0; self.size];
        let mut ends = Vec::with_capacity(kinds.len());
        // Of inputs of words: where their words start, and how many they are.
        let (mut starts, mut counts) =
            (Vec::with_capacity(self.selectors.len()), Vec::with_capacity(self.selectors.len()));
        let mut selectors = self.selectors.iter();
        let (mut end, mut taken) = (0, 0);
        for (kind, size) in kinds.iter().zip(self.sizes) {
            if kind & kind::WORDS != 0 {
                // There is one of each such transaction.
                let selector = selectors.next().copied().unwrap_or_default();
                all[end..end + 4].copy_from_slice(&selector.to_be_bytes());
                starts.push(end + 4);
                counts.push(size);
                end += 4 + 32 * size;
            } else {
                all[end..end + size].copy_from_slice(&self.inputs[taken..taken + size]);
                taken += size;
                end += size;
            }
            ends.push(end);
        }
        let (mut kinds, mut numbers) = (self.word_kinds.into_iter(), self.word_numbers.into_iter());
        let (mut addresses, mut words) = (addresses, self.words.chunks_exact(32));
        for_each_word(&self.selectors, &counts, |input, position| {
            let word = &mut all[starts[input] + 32 * position..][..32];
            // There is one word of each kind that is named.
            match kinds.next() {
                Some(word_kind::ADDRESS) => word[12..].copy_from_slice(addresses.next().unwrap_or_default().as_slice()),
                Some(word_kind::OTHER) => word.copy_from_slice(words.next().unwrap_or(&[0; 32])),
                kind => {
                    let number = numbers.next().unwrap_or_default();
                    let negative = kind == Some(word_kind::NEGATIVE);
                    let number = if negative { number.wrapping_neg() } else { number };
                    word.copy_from_slice(&number.to_be_bytes::<32>());
                }
            }
        });
        let all = Bytes::from(all);
        let mut start = 0;
        ends.into_iter().map(move |end| all.slice(core::mem::replace(&mut start, end)..end))
    }
}

#[derive(Default)]
struct Lists {
    access_list: AccessList,
    authorization_list: Vec<SignedAuthorization>,
}

/// One a transaction. Inputs have `inputs` bytes.
fn read_lists(reader: &mut Reader<'_>, kinds: &[u8], inputs: usize) -> Result<Vec<Lists>, DecodeError> {
    let length = reader.varint(Column::Lists)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_CONTENT - inputs);
    let bytes = reader.strip(Column::Lists, length.ok_or(DecodeError::Content)?)?;
    let mut rest = &bytes[..];
    let mut lists = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let mut of_one = Lists::default();
        if kind & kind::ACCESS_LIST != 0 {
            of_one.access_list = AccessList::decode(&mut rest).map_err(|_| DecodeError::Lists)?;
            if of_one.access_list.is_empty() {
                return Err(DecodeError::Lists);
            }
        }
        if kind & kind::TYPE == kind::EIP7702 {
            of_one.authorization_list = Vec::decode(&mut rest).map_err(|_| DecodeError::Lists)?;
        }
        lists.push(of_one);
    }
    if rest.is_empty() { Ok(lists) } else { Err(DecodeError::Lists) }
}

/// What recipients and words refer to.
fn read_addresses(
    reader: &mut Reader<'_>,
    recipients: Vec<u64>,
    words: &[u64],
) -> Result<(alloc::vec::IntoIter<Address>, alloc::vec::IntoIter<Address>), DecodeError> {
    let references = recipients.len() + words.len();
    let repeated = reader.varint(Column::Addresses)?;
    let repeated = usize::try_from(repeated).ok().filter(|repeated| *repeated <= references);
    let repeated = repeated.ok_or(DecodeError::Range(Column::Addresses))?;
    let once = recipients.iter().chain(words).filter(|reference| **reference == 0).count();
    let bytes = reader.strip(Column::Addresses, 20 * (repeated + once))?;
    let (repeated, once) = bytes.split_at(20 * repeated);
    let mut once = once.chunks_exact(20);
    let mut resolve = |references: &[u64], column| -> Result<Vec<Address>, DecodeError> {
        let address = |reference: &u64| {
            let bytes = match usize::try_from(*reference).ok()?.checked_sub(1) {
                None => once.next()?,
                Some(index) => repeated.chunks_exact(20).nth(index)?,
            };
            Some(Address::from_slice(bytes))
        };
        references.iter().map(address).collect::<Option<_>>().ok_or(DecodeError::Index(column))
    };
    let recipients = resolve(&recipients, Column::Recipients)?;
    let words = resolve(words, Column::WordAddresses)?;
    Ok((recipients.into_iter(), words.into_iter()))
}
