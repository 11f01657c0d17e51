use super::*;
use crate::batch::hash::BatchHeader;
use alloc::{vec, vec::Vec};
use alloy_consensus::{SignableTransaction, Transaction as _, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::{
    Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, b256, keccak256};
use proptest::prelude::*;

const CHAIN_ID: u64 = 0x4a6f;

/// libzstd, as the batcher uses it.
struct Zstd;

impl Compressor for Zstd {
    fn estimate(&mut self, bytes: &[u8]) -> usize {
        zstd::bulk::compress(bytes, 1).expect("zstd compresses").len()
    }

    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let low = zstd::bulk::compress(bytes, 1).expect("zstd compresses");
        let high = zstd::bulk::compress(bytes, 19).expect("zstd compresses");
        Some(if low.len() < high.len() { low } else { high })
    }
}

/// Leaves everything as it is.
struct Stored;

impl Compressor for Stored {
    fn estimate(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn compress(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Any integer of up to `bits` bits, small and round ones and the extremes often.
    fn integer(&mut self, bits: usize) -> U256 {
        let any = U256::from_limbs([self.next(), self.next(), self.next(), self.next()]);
        let max = U256::MAX >> (256 - bits);
        let bits = 1 + self.below(bits as u64) as usize;
        match self.below(8) {
            0 => U256::ZERO,
            1 => max,
            2 => max - U256::from(self.below(3)),
            3 => U256::from(self.below(100)) & max,
            4 => U256::from(10).saturating_pow(U256::from(self.below(78))).min(max),
            5 => U256::from(1 + self.below(7)) << (bits - 1) & max,
            _ => any >> (256 - bits),
        }
    }

    fn u64(&mut self) -> u64 {
        self.integer(64).to()
    }

    fn u128(&mut self) -> u128 {
        self.integer(128).to()
    }

    /// One of a few addresses, or any.
    fn address(&mut self) -> Address {
        match self.below(4) {
            0 => Address::from_slice(&self.bytes(20)),
            1 => Address::with_last_byte(self.below(12) as u8),
            _ => Address::repeat_byte(self.below(5) as u8),
        }
    }

    fn word(&mut self) -> [u8; 32] {
        match self.below(6) {
            0 => self.address().into_word().0,
            1 => self.integer(256).wrapping_neg().to_be_bytes(),
            2 => (U256::MAX << (self.below(256) as usize)).to_be_bytes(),
            3 => [0; 32],
            _ => self.integer(256).to_be_bytes(),
        }
    }

    fn input(&mut self) -> Bytes {
        let length = self.below(9) as usize;
        match self.below(6) {
            0 => {
                let length = self.below(700) as usize;
                self.bytes(length)
            }
            1 => vec![0; length * 60],
            2 => Vec::new(),
            _ => {
                let mut input = vec![self.below(3) as u8, 1, 2, 3];
                for _ in 0..length {
                    input.extend(self.word());
                }
                if self.one_in(8) {
                    input.pop();
                }
                input
            }
        }
        .into()
    }

    fn access_list(&mut self) -> AccessList {
        if !self.one_in(3) {
            return AccessList::default();
        }
        let mut item = || AccessListItem {
            address: self.address(),
            storage_keys: (0..self.below(4)).map(|_| B256::from(self.word())).collect(),
        };
        AccessList(vec![item(), item()])
    }

    fn authorization(&mut self) -> SignedAuthorization {
        let inner = Authorization { chain_id: self.integer(256), address: self.address(), nonce: self.u64() };
        SignedAuthorization::new_unchecked(inner, self.next() as u8, self.integer(256), self.integer(256))
    }

    fn transaction(&mut self) -> SignedTransaction {
        let signature = Signature::new(self.integer(256), self.integer(256), self.one_in(2));
        let (nonce, gas_limit) = (self.u64(), self.u64());
        let (fee, tip) = (self.u128(), self.u128());
        let address = self.address();
        let to = if self.one_in(5) { TxKind::Create } else { address.into() };
        let (value, input, access_list) = (self.integer(256), self.input(), self.access_list());
        match self.below(5) {
            ty @ (0 | 1) => {
                let chain_id = (ty == 1).then_some(CHAIN_ID);
                TxLegacy { chain_id, nonce, gas_price: fee, gas_limit, to, value, input }.into_signed(signature).into()
            }
            2 => TxEip2930 { chain_id: CHAIN_ID, nonce, gas_price: fee, gas_limit, to, value, access_list, input }
                .into_signed(signature)
                .into(),
            3 => TxEip1559 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list,
                input,
            }
            .into_signed(signature)
            .into(),
            _ => TxEip7702 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: tip,
                to: address,
                value,
                access_list,
                authorization_list: (0..self.below(4)).map(|_| self.authorization()).collect(),
                input,
            }
            .into_signed(signature)
            .into(),
        }
    }

    fn batch(&mut self, blocks: u64, transactions: u64) -> BatchData {
        let mut time_ms = self.below(1 << 42);
        let mut block = || {
            time_ms += if self.one_in(3) { self.below(1 << 40) } else { 10 };
            let origin_steps = if self.one_in(9) { self.next() as u32 } else { 0 };
            let count = if transactions == 0 { 0 } else { self.below(2 * transactions) };
            BlockData { time_ms, origin_steps, transactions: (0..count).map(|_| self.transaction()).collect() }
        };
        let blocks = (0..blocks).map(|_| block()).collect();
        BatchData { first_block: self.below(1 << 40), blocks }
    }
}

fn encoded(batch: &BatchData, compressor: &mut dyn Compressor) -> Vec<u8> {
    encode(batch.first_block, &batch.blocks, CHAIN_ID, compressor).expect("encodes")
}

fn hashes(batch: &BatchData) -> Vec<B256> {
    batch.blocks.iter().flat_map(|block| &block.transactions).map(|transaction| *transaction.tx_hash()).collect()
}

fn check_round_trip(batch: &BatchData) {
    for compressor in [&mut Zstd as &mut dyn Compressor, &mut Stored] {
        let stream = encoded(batch, compressor);
        let blocks =
            batch.blocks.iter().map(|block| BLOCK_OVERHEAD + block.transactions.iter().map(size_bound).sum::<usize>());
        let bound = STREAM_OVERHEAD + blocks.sum::<usize>();
        assert!(stream.len() <= bound, "{} bytes, bound {bound}", stream.len());
        let decoded = decode(&pack(&stream), CHAIN_ID).expect("decodes");
        assert_eq!(decoded, *batch);
        assert_eq!(hashes(&decoded), hashes(batch));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn batches_come_back(seed: u64, blocks in 1u64..12, transactions in 0u64..12) {
        check_round_trip(&Random(seed).batch(blocks, transactions));
    }

    #[test]
    fn a_single_block_stays_within_its_bound(seed: u64, transactions in 1u64..3) {
        check_round_trip(&Random(seed).batch(1, transactions));
    }

    /// Garbage of any kind: an error or a batch, never a panic.
    #[test]
    fn garbage_is_answered(seed: u64, length in 0usize..3000, head in 0usize..40) {
        let mut random = Random(seed);
        let mut stream = random.bytes(length);
        // Few garbage streams get past their head: give them a plausible one.
        let plausible = encoded(&random.batch(3, 4), &mut Zstd);
        let head = head.min(length).min(plausible.len());
        stream[..head].copy_from_slice(&plausible[..head]);
        let _ = decode_stream(&stream, CHAIN_ID);
    }

    /// What is changed of a valid stream is either refused, or another batch, which comes back itself.
    #[test]
    fn mutations_are_answered(seed: u64, edits in 1usize..6) {
        let mut random = Random(seed);
        let batch = random.batch(3, 6);
        let mut stream = encoded(&batch, &mut Zstd);
        let (end, _) = stream.split_at(stream.len().saturating_sub(batch_signatures(&batch)));
        let end = end.len();
        for _ in 0..edits {
            let at = random.below(end as u64) as usize;
            match random.below(3) {
                0 => stream[at] = random.next() as u8,
                1 => stream[at] ^= 1 << random.below(8),
                _ => stream[at] = stream[at].wrapping_add(1),
            }
        }
        if let Ok(other) = decode_stream(&stream, CHAIN_ID) {
            let again = encoded(&other, &mut Zstd);
            prop_assert_eq!(decode_stream(&again, CHAIN_ID), Ok(other));
        }
    }
}

fn batch_signatures(batch: &BatchData) -> usize {
    64 * hashes(batch).len()
}

#[test]
fn every_truncation_is_refused() {
    let batch = Random(7).batch(4, 6);
    let stream = encoded(&batch, &mut Zstd);
    for length in 0..stream.len() {
        let error = decode_stream(&stream[..length], CHAIN_ID).expect_err("truncated");
        assert!(matches!(error, DecodeError::Truncated(_)), "{error}");
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    let batch = Random(7).batch(4, 6);
    let stream = encoded(&batch, &mut Zstd);
    let padded = |zeros: usize| [&stream[..], &vec![0; zeros]].concat();
    assert_eq!(decode_stream(&padded(BLOB_CAPACITY - 1), CHAIN_ID), Ok(batch));
    assert_eq!(decode_stream(&padded(BLOB_CAPACITY), CHAIN_ID), Err(DecodeError::Trailing));
    let mut dirty = padded(100);
    dirty[stream.len() + 99] = 1;
    assert_eq!(decode_stream(&dirty, CHAIN_ID), Err(DecodeError::Trailing));
}

/// A format never changes by accident: any change of the encoding shows here.
#[test]
fn encodings_are_pinned() {
    let mut all = Vec::new();
    for seed in 0..256 {
        let stream = encoded(&Random(seed).batch(1 + seed % 7, seed % 11), &mut Stored);
        for blob in pack(&stream) {
            all.extend(keccak256(blob));
        }
    }
    assert_eq!(keccak256(all), b256!("cb1a2ee534c2be731509616007b5e8f50dc8adf74e98bd2e30f0b58d15625ad6"));
}

/// What libzstd made of batches once is read for good.
#[test]
fn a_compressed_stream_is_pinned() {
    // Without its 90 signatures, which are all alike.
    let head = alloy_primitives::hex!(
        "010580d095ffbc31030001010a0001000000010001011e0113000102306d0100a2450a87223112218b9784021b8a700a55a9"
        "014e8595bfe8f443a3a8c064747cf505a93da1873253d614050e000002016001ea0000000000010101010000000001010200"
        "0401bb019c010501a9020f6500001802000002000526b409b0010001021dd50000a285058300210b5a2a022323ae6004be4f"
        "8217510b1519a23500021dd50000f2c10287000000217cf2c03f910304004438cc942ebc87f0001100020007305f0af1849f"
        "ba64714f10da887c3f844353d661c11cfb10dbdbcbba740fcbc888935b072f4c11b07f6587f3350d1829add84701249dd91d"
        "a99c243c030c8da95c1a3d4081016824bbb18d18126e9243c618f91979af133cce0221f50000a28506823210c10da53ec892"
        "06a4c830fc14acaf327230830b3625620400000402127d000028cc030201010410001e262c91e40a99dac429c49803ace259"
        "3e00"
    );
    let signatures = [U256::from(1), U256::from(2)].repeat(90);
    let signatures = signatures.iter().flat_map(|word| word.to_be_bytes::<32>());
    let stream: Vec<u8> = head.into_iter().chain(signatures).collect();
    let batch = decode_stream(&stream, CHAIN_ID).expect("decodes");
    assert_eq!(batch, repetitive());
}

/// A batch of which zstd makes all kinds of blocks.
fn repetitive() -> BatchData {
    let mut random = Random(1);
    let transaction = |random: &mut Random| {
        let mut input = b"\xa9\x05\x9c\xbb".to_vec();
        input.extend(Address::repeat_byte(random.below(3) as u8 + 1).into_word());
        input.extend(U256::from(random.below(1_000) * 1_000_000).to_be_bytes::<32>());
        let to = Address::repeat_byte(0xcc).into();
        let signature = Signature::new(U256::from(1), U256::from(2), random.one_in(2));
        TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: random.below(9),
            gas_limit: 60_000,
            to,
            input: input.into(),
            ..Default::default()
        }
        .into_signed(signature)
        .into()
    };
    let mut block = |index: u64| BlockData {
        time_ms: 1_700_000_000_000 + 10 * index,
        origin_steps: u32::from(index == 2),
        transactions: (0..30).map(|_| transaction(&mut random)).collect(),
    };
    BatchData { first_block: 5, blocks: (0..3).map(&mut block).collect() }
}

#[test]
fn what_cannot_come_back_is_not_encoded() {
    let encode = |blocks: &[BlockData], first| encode(first, blocks, CHAIN_ID, &mut Stored);
    assert_eq!(encode(&[], 1), Err(EncodeError::BlockCount(0)));
    let block = BlockData { time_ms: 5, ..Default::default() };
    let earlier = BlockData { time_ms: 4, ..Default::default() };
    assert_eq!(encode(&[block.clone(), earlier], 1), Err(EncodeError::Time(1)));
    assert_eq!(encode(&[block.clone(), block.clone()], u64::MAX), Err(EncodeError::BlockNumber));
    assert_eq!(encode(&vec![block.clone(); MAX_BLOCKS + 1], 1), Err(EncodeError::BlockCount(MAX_BLOCKS + 1)));
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let with = |transaction| [BlockData { transactions: vec![transaction], ..block.clone() }];
    let blob = TxEip4844 { chain_id: CHAIN_ID, ..Default::default() }.into_signed(signature).into();
    assert_eq!(encode(&with(blob), 1), Err(EncodeError::BlobTransaction));
    let other = TxLegacy { chain_id: Some(1), ..Default::default() }.into_signed(signature).into();
    assert_eq!(encode(&with(other), 1), Err(EncodeError::ChainId(1, CHAIN_ID)));
    let input = Bytes::from(vec![0; MAX_CONTENT + 1]);
    let large = TxLegacy { input, ..Default::default() }.into_signed(signature).into();
    assert_eq!(encode(&with(large), 1), Err(EncodeError::Content(MAX_CONTENT + 1)));
}

#[test]
fn the_largest_of_everything_comes_back() {
    let signature = Signature::new(U256::MAX, U256::MAX, true);
    let input: Vec<u8> = Random(3).bytes(128 * 1024);
    let transaction: SignedTransaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce: u64::MAX,
        gas_limit: u64::MAX,
        max_fee_per_gas: u128::MAX,
        max_priority_fee_per_gas: u128::MAX,
        to: Address::repeat_byte(255).into(),
        value: U256::MAX,
        access_list: Default::default(),
        input: input.into(),
    }
    .into_signed(signature)
    .into();
    let block = BlockData { time_ms: u64::MAX, origin_steps: u32::MAX, transactions: vec![transaction; 5] };
    check_round_trip(&BatchData { first_block: u64::MAX, blocks: vec![block] });
    let empty = BlockData { time_ms: 0, ..Default::default() };
    check_round_trip(&BatchData { first_block: 0, blocks: vec![empty; MAX_BLOCKS] });
    let zeros = TxLegacy { input: vec![0; MAX_CONTENT].into(), ..Default::default() }.into_signed(signature).into();
    let batch =
        BatchData { first_block: 0, blocks: vec![BlockData { transactions: vec![zeros], ..Default::default() }] };
    let stream = encoded(&batch, &mut Zstd);
    assert_eq!(decode_stream(&stream, CHAIN_ID), Ok(batch));
}

/// The bound that blocks are refused by holds for the costliest transaction of 128 KiB.
#[test]
fn a_transaction_of_128_kib_fits_into_a_block() {
    let signature = Signature::new(U256::MAX, U256::MAX, true);
    let mut transaction = TxEip1559 { chain_id: CHAIN_ID, ..Default::default() };
    transaction.input = Random(3).bytes(128 * 1024).into();
    let signed: SignedTransaction = transaction.into_signed(signature).into();
    assert!(signed.encode_2718_len() > 128 * 1024);
    assert!(BLOCK_OVERHEAD + size_bound(&signed) < MAX_BLOCK_SIZE / 3);
    assert_eq!(content_size(&signed), signed.input().len());
}

#[test]
fn a_genesis_header_has_a_hash_of_its_own() {
    assert_ne!(BatchHeader::default().hash(&[]), BatchHeader { chain_id: 1, ..Default::default() }.hash(&[]));
}
