//! The format: round trips, a pin, and bytes that nobody wrote.

use super::{Model, Rng, TYPES, address, random_block, slot, topic};
use crate::codec::{self, AccountUndo, Body};
use alloy_consensus::Typed2718;
use alloy_primitives::{U256, hex, keccak256};
use jove_primitives::{Account, ChangeSet, ExecutedBlock};

/// Random blocks on one another, with their changes.
fn samples(count: u64) -> Vec<(ExecutedBlock, ChangeSet)> {
    let mut model = Model::default();
    let blocks = (0..count).map(|seed| {
        let (block, changes) = model.next_block(seed);
        let changes = model.completed(&changes);
        model.commit(block.clone(), &changes);
        (block, changes)
    });
    blocks.collect()
}

fn header(block: &ExecutedBlock) -> Vec<u8> {
    let mut value = Vec::new();
    codec::put_header(&block.header, block.hash, &mut value);
    value
}

fn body(block: &ExecutedBlock) -> Vec<u8> {
    let mut value = Vec::new();
    codec::put_body(block, &mut value);
    value
}

fn undo(changes: &ChangeSet) -> Vec<u8> {
    let mut value = Vec::new();
    codec::put_undo(changes, &mut value);
    value
}

fn account(account: &Account) -> Vec<u8> {
    let mut value = Vec::new();
    codec::put_account(Some(account), &mut value);
    value
}

#[test]
fn blocks_survive_a_round_trip() {
    let mut types = std::collections::BTreeSet::new();
    let mut logs = 0;
    for (block, _) in samples(300) {
        let (header, body) = (header(&block), body(&block));
        assert_eq!(codec::decode_header_hash(&header).unwrap(), block.hash);
        let (header, hash) = codec::decode_header(&header).unwrap();
        let body = Body::new(&body).unwrap();
        for (index, transaction) in block.transactions.iter().enumerate() {
            assert_eq!(body.transaction_hash(index).unwrap(), *transaction.tx_hash());
            types.insert(transaction.ty());
        }
        assert!(body.transaction_hash(block.transactions.len()).is_err());
        logs += block.receipts.iter().map(|receipt| receipt.logs.len()).sum::<usize>();
        assert_eq!(body.into_block(header, hash).unwrap(), block);
    }
    assert_eq!(types, TYPES.map(|tx_type| tx_type as u8).into());
    assert!(logs > 100);
}

#[test]
fn change_sets_survive_a_round_trip() {
    for (_, changes) in samples(300) {
        let mut expected = Vec::new();
        for (address, change) in &changes.accounts {
            let slots = change.storage.iter().filter(|(_, value)| value.before != value.after);
            let slots: Vec<_> = slots.map(|(slot, value)| (*slot, value.before)).collect();
            let account = (change.account.before != change.account.after).then_some(change.account.before);
            if account.is_some() || !slots.is_empty() {
                expected.push(AccountUndo { address: *address, account, slots });
            }
        }
        assert_eq!(codec::decode_undo(&undo(&changes)).unwrap(), expected);
    }
}

#[test]
fn accounts_and_numbers_survive_a_round_trip() {
    let rng = &mut Rng(1);
    for value in (0..=256).map(|bit| U256::ONE.checked_shl(bit).map_or(U256::MAX, |value| value)).chain([U256::ZERO]) {
        let mut bytes = Vec::new();
        codec::put_uint_bytes(value, &mut bytes);
        assert_eq!(bytes.len(), value.byte_len());
        assert_eq!(codec::decode_uint(&bytes).unwrap(), value);
        let nonce = u64::try_from(value).unwrap_or(u64::MAX);
        for code_hash in [Account::default().code_hash, rng.word()] {
            let expected = Account { nonce, balance: value, code_hash };
            assert_eq!(codec::decode_account(&account(&expected)).unwrap(), Some(expected));
        }
    }
    assert_eq!(codec::decode_account(&[]).unwrap(), None);
    assert_eq!(account(&Account::default()), [0, 0]);
}

/// If this fails, stores on people's disks can no longer be read: raise [`codec::FORMAT`] and convert them, or undo the change.
#[test]
fn the_format_is_pinned() {
    let mut all = Vec::new();
    let mut put = |bytes: &[u8]| {
        all.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        all.extend_from_slice(bytes);
    };
    for (block, changes) in samples(1000) {
        put(&header(&block));
        put(&body(&block));
        put(&undo(&changes));
        for change in changes.accounts.values() {
            change.account.after.iter().for_each(|after| put(&account(after)));
        }
        for term in codec::log_terms(&block.receipts) {
            put(&codec::posting_key(term, block.header.number));
        }
    }
    put(&codec::slot_key(address(1), slot(3)));
    put(&codec::account_history_key(address(2), 0x0102_0304_0506_0708));
    put(&codec::slot_history_key(address(3), slot(4), u64::MAX));
    put(&codec::posting_key(codec::topic_term(3, topic(1)), 9));
    put(&codec::posting_key(codec::address_term(address(5)), 9));
    put(&codec::posting_key(codec::ANY_LOG, 9));
    put(&codec::position_value(77, 3));
    assert_eq!(codec::FORMAT, 1);
    assert_eq!(keccak256(&all), hex!("d398a9556a20d3e7a7bff634299052df032b96c521a53d52e2fa5c0752d59f8f"));
}

/// Decodes as every kind of value; what matters is that it returns.
fn decode_all(bytes: &[u8]) -> usize {
    let block = || {
        let (header, hash) = codec::decode_header(bytes)?;
        Body::new(bytes)?.into_block(header, hash)
    };
    let body = || Body::new(bytes).and_then(|body| Ok((body.transaction_hash(0)?, body.transaction_hash(7)?)));
    [
        codec::decode_account(bytes).is_ok(),
        codec::decode_undo(bytes).is_ok(),
        codec::decode_uint(bytes).is_ok(),
        codec::decode_u64(bytes).is_ok(),
        codec::decode_position(bytes).is_ok(),
        codec::block_of_key(bytes).is_ok(),
        codec::decode_header(bytes).is_ok(),
        Body::new(bytes).and_then(|body| body.into_block(Default::default(), Default::default())).is_ok(),
        block().is_ok(),
        body().is_ok(),
    ]
    .into_iter()
    .filter(|decoded| *decoded)
    .count()
}

#[test]
fn damaged_values_are_refused() {
    let rng = &mut Rng(2);
    for (block, changes) in samples(60) {
        let body_of =
            |bytes: &[u8]| Body::new(bytes).and_then(|body| body.into_block(block.header.clone(), block.hash));
        let (header, body, undo) = (header(&block), body(&block), undo(&changes));
        for value in [&header, &body, &undo] {
            for end in 0..value.len() {
                decode_all(&value[..end]);
            }
            for _ in 0..200.min(value.len()) {
                let mut damaged = value.clone();
                damaged[rng.below(value.len() as u64) as usize] ^= 1 << rng.below(8);
                decode_all(&damaged);
            }
            let mut longer = value.clone();
            longer.push(0);
            decode_all(&longer);
        }
        assert!((0..header.len()).all(|end| codec::decode_header(&header[..end]).is_err()));
        assert!((0..body.len()).all(|end| body_of(&body[..end]).is_err()));
        assert!(codec::decode_header(&[&header[..], &[0]].concat()).is_err());
        assert!(body_of(&[&body[..], &[0]].concat()).is_err());
    }
    for _ in 0..20_000 {
        decode_all(&rng.bytes(90));
    }
    let account = |bytes: &[u8]| codec::decode_account(bytes).is_err();
    assert!(account(&[1, 0]) && account(&[1, 0, 0]) && account(&[0, 0, 0]) && account(&[33, 0]));
    assert!(account(&[0, 0x80, 0]), "a varint with a last byte of zero");
    assert!(account(&[0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]), "a varint beyond 64 bits");
    assert!(!account(&[0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]));
    let many_slots = [&[0; 21][..], &[255, 255, 255, 255, 15]].concat();
    assert!(codec::decode_undo(&many_slots).is_err(), "and no memory is taken for them");
}

#[test]
fn the_same_seed_gives_the_same_block() {
    assert_eq!(random_block(5, None, &Default::default()), random_block(5, None, &Default::default()));
}
