//! What a Jove chain knows of its layer 1: the *origin* of each block.
//!
//! A block's origin is the L1 block up to which the chain has consumed messages. It is in the state of [`L1_BLOCK`], whose layout is that of the OP Stack's
//! `L1Block`, with one slot more:
//!
//! | slot | value |
//! |---|---|
//! | 0 | number in the last 8 bytes, timestamp (seconds) in the 8 before |
//! | 1 | base fee, wei |
//! | 2 | hash |
//! | 7 | blob base fee, wei |
//! | 8 | `mixHash` |
//! | 9 | [`Queue`]: messages consumed in the last 8 bytes, messages due in the 8 before |
//!
//! A block that steps to an origin starts with its [attributes](L1Origin::attributes): a deposit from [`DEPOSITOR`] to [`L1_BLOCK`] with 224
//! bytes of input, seven words: number, timestamp, base fee, hash, blob base fee, `mixHash`, messages that the L1 queue held at the end of that
//! block. It runs no code and uses no gas: the state-transition function writes the slots. The messages up to that number are then due: the block and
//! those after it hold them in the queue's order, as many as fit, and nothing else until all are consumed.
//!
//! An entry of the queue is a [`QueueEntry`]; L1's `Inbox` keeps one rolling hash over all of them ([`QueueEntry::queue_hash`]).

use crate::{
    predeploys::{L1_BASE_FEE_SLOT, L1_BLOB_BASE_FEE_SLOT, L1_BLOCK},
    transaction::{TxDeposit, attributes_source_hash, message_source_hash},
};
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// Sends the L1 attributes. Nobody has its key.
pub const DEPOSITOR: Address = address!("DeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001");

/// Slot of [`L1_BLOCK`] with the origin's number and timestamp.
pub const L1_NUMBER_SLOT: U256 = U256::ZERO;
/// Slot of [`L1_BLOCK`] with the origin's hash.
pub const L1_HASH_SLOT: U256 = U256::from_limbs([2, 0, 0, 0]);
/// Slot of [`L1_BLOCK`] with the origin's `mixHash`; zero before there is one.
pub const L1_MIX_HASH_SLOT: U256 = U256::from_limbs([8, 0, 0, 0]);

/// Slot of [`L1_BLOCK`] with the state of the message queue.
pub const L1_QUEUE_SLOT: U256 = U256::from_limbs([9, 0, 0, 0]);

/// Most gas of a message: L1's `Inbox` takes none with more.
pub const MAX_MESSAGE_GAS: u64 = 2_000_000;

/// How far the chain is through the L1 queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Messages consumed since genesis: the index of the next.
    pub consumed: u64,
    /// Messages that the queue held at the end of the origin.
    pub due: u64,
}

impl Queue {
    /// The value of [`L1_QUEUE_SLOT`].
    pub fn slot(self) -> U256 {
        U256::from_limbs([self.consumed, self.due, 0, 0])
    }

    /// Reads the value of [`L1_QUEUE_SLOT`].
    pub fn from_slot(slot: U256) -> Self {
        let [consumed, due, ..] = slot.into_limbs();
        Self { consumed, due }
    }

    /// Whether messages have to be consumed before anything else.
    pub fn is_due(self) -> bool {
        self.consumed < self.due
    }
}

/// An L1 block as a Jove chain sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L1Origin {
    /// Number.
    pub number: u64,
    /// Time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Base fee, in wei per gas.
    pub base_fee: U256,
    /// Hash.
    pub hash: B256,
    /// Blob base fee, in wei per blob gas.
    pub blob_base_fee: U256,
    /// `mixHash`: the beacon chain's randomness.
    pub mix_hash: B256,
    /// Messages that the queue held at the end of the block, since L2's genesis.
    pub messages: u64,
}

impl L1Origin {
    /// The deposit that starts L2 block `number`, which steps to this origin.
    pub fn attributes(&self, number: u64) -> TxDeposit {
        let words: [U256; 7] = [
            U256::from(self.number),
            U256::from(self.timestamp),
            self.base_fee,
            self.hash.into(),
            self.blob_base_fee,
            self.mix_hash.into(),
            U256::from(self.messages),
        ];
        let input: Vec<u8> = words.into_iter().flat_map(|word| word.to_be_bytes::<32>()).collect();
        TxDeposit {
            source_hash: attributes_source_hash(self.hash, number),
            from: DEPOSITOR,
            to: L1_BLOCK.into(),
            input: input.into(),
            ..Default::default()
        }
    }

    /// The origin that a deposit in L2 block `number` steps to, if it is its attributes to the byte.
    pub fn from_attributes(deposit: &TxDeposit, number: u64) -> Option<Self> {
        let input: &Bytes = &deposit.input;
        if input.len() != 224 {
            return None;
        }
        let word = |index: usize| U256::from_be_slice(&input[32 * index..32 * (index + 1)]);
        let origin = Self {
            number: word(0).try_into().ok()?,
            timestamp: word(1).try_into().ok()?,
            base_fee: word(2),
            hash: word(3).into(),
            blob_base_fee: word(4),
            mix_hash: word(5).into(),
            messages: word(6).try_into().ok()?,
        };
        (origin.attributes(number) == *deposit).then_some(origin)
    }

    /// The slots of [`L1_BLOCK`] that hold it, the queue's apart.
    pub fn slots(&self) -> [(U256, U256); 5] {
        let numbers = U256::from(self.timestamp) << 64 | U256::from(self.number);
        [
            (L1_NUMBER_SLOT, numbers),
            (L1_BASE_FEE_SLOT, self.base_fee),
            (L1_HASH_SLOT, self.hash.into()),
            (L1_BLOB_BASE_FEE_SLOT, self.blob_base_fee),
            (L1_MIX_HASH_SLOT, self.mix_hash.into()),
        ]
    }

    /// Number and timestamp in the value of [`L1_NUMBER_SLOT`].
    pub fn numbers(slot: U256) -> (u64, u64) {
        let [number, timestamp, ..] = slot.into_limbs();
        (number, timestamp)
    }
}

/// A message in L1's queue, as `Inbox` has hashed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct QueueEntry {
    /// The L1 block that it came in.
    pub l1_block: u64,
    /// Who sent it, aliased if it is a contract.
    pub from: Address,
    /// Whom it goes to on L2, or that it creates a contract.
    pub to: TxKind,
    /// Wei that it creates on L2. There is less ether than 2¹²⁸ wei.
    pub mint: u128,
    /// Wei that it carries.
    pub value: U256,
    /// Its gas limit on L2.
    pub gas: u64,
    /// Its input.
    pub data: Bytes,
}

impl QueueEntry {
    /// The entry that came in this L1 block and is this deposit on L2.
    pub fn new(l1_block: u64, deposit: &TxDeposit) -> Self {
        let TxDeposit { from, to, mint, value, gas_limit, input, .. } = deposit.clone();
        Self { l1_block, from, to, mint, value, gas: gas_limit, data: input }
    }

    /// The deposit that it is on L2, at this position in the queue of the contract `inbox`.
    pub fn deposit(&self, inbox: Address, index: u64) -> TxDeposit {
        let Self { from, to, mint, value, gas, ref data, .. } = *self;
        let source_hash = message_source_hash(inbox, index);
        TxDeposit {
            source_hash,
            from,
            to,
            mint,
            value,
            gas_limit: gas,
            is_system_transaction: false,
            input: data.clone(),
        }
    }

    /// Its hash at this position: keccak256 of index, L1 block, from, to (zero for a creation), whether it creates, mint, value, gas and keccak256(data),
    /// each a word.
    pub fn hash(&self, index: u64) -> B256 {
        let word = |number: u64| B256::from(U256::from(number));
        let words: [B256; 9] = [
            word(index),
            word(self.l1_block),
            self.from.into_word(),
            self.to.to().copied().unwrap_or_default().into_word(),
            word(self.to.is_create().into()),
            U256::from(self.mint).into(),
            self.value.into(),
            word(self.gas),
            keccak256(&self.data),
        ];
        keccak256(words.concat())
    }

    /// The queue's rolling hash with this entry at position `index`, `before` being the one without: keccak256(before ‖ the entry's hash). It begins with zero.
    pub fn queue_hash(&self, before: B256, index: u64) -> B256 {
        keccak256([before, self.hash(index)].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that the contracts' tests made.
    #[test]
    fn entries_hash_as_the_contracts_have_it() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../contracts/test/fixtures/formats.json")).expect("JSON");
        let text = |value: &serde_json::Value, field: &str| value[field].as_str().expect("text").to_owned();
        let inbox: Address = text(&vectors, "inbox").parse().expect("an address");
        let entries = vectors["entries"].as_array().expect("a list");
        assert!(entries.len() > 3);
        let mut before = B256::ZERO;
        for (index, expected) in entries.iter().enumerate() {
            let number = |field: &str| expected[field].as_u64().expect("a number");
            let to: Address = text(expected, "to").parse().expect("an address");
            let entry = QueueEntry {
                l1_block: number("blockNumber"),
                from: text(expected, "from").parse().expect("an address"),
                to: if expected["isCreation"] == true { TxKind::Create } else { TxKind::Call(to) },
                mint: text(expected, "mint").parse::<U256>().expect("a number").to(),
                value: text(expected, "value").parse().expect("a number"),
                gas: number("gas"),
                data: text(expected, "data").parse().expect("bytes"),
            };
            let index = index as u64;
            assert_eq!(entry.hash(index).to_string(), text(expected, "entryHash"));
            before = entry.queue_hash(before, index);
            assert_eq!(before.to_string(), text(expected, "queueHash"));
            let deposit = entry.deposit(inbox, index);
            assert_eq!(deposit.source_hash.to_string(), text(expected, "sourceHash"));
            assert_eq!(QueueEntry::new(entry.l1_block, &deposit), entry);
            let encoded = alloy_rlp::encode(&entry);
            assert_eq!(alloy_rlp::decode_exact::<QueueEntry>(&encoded).expect("itself"), entry);
        }
    }

    #[test]
    fn attributes_are_read_back_and_no_others() {
        let origin = L1Origin {
            number: 7,
            timestamp: 1_700_000_000,
            base_fee: U256::from(9),
            hash: B256::repeat_byte(1),
            blob_base_fee: U256::MAX,
            mix_hash: B256::repeat_byte(2),
            messages: 3,
        };
        let deposit = origin.attributes(5);
        assert_eq!(L1Origin::from_attributes(&deposit, 5), Some(origin));
        assert_eq!(L1Origin::from_attributes(&deposit, 6), None, "they belong to one block");
        let queue = Queue { consumed: 4, due: u64::MAX };
        assert_eq!(Queue::from_slot(queue.slot()), queue);
        assert!(queue.is_due() && !Queue { consumed: 4, due: 4 }.is_due());
        assert_eq!(L1Origin::numbers(origin.slots()[0].1), (7, 1_700_000_000));
        let edits: [fn(&mut TxDeposit); 5] = [
            |deposit| deposit.gas_limit = 1,
            |deposit| deposit.mint = 1,
            |deposit| deposit.from = Address::ZERO,
            |deposit| deposit.input = deposit.input.slice(..223),
            |deposit| deposit.input = [&[1], &deposit.input[1..]].concat().into(),
        ];
        for edit in edits {
            let mut other = deposit.clone();
            edit(&mut other);
            assert_eq!(L1Origin::from_attributes(&other, 5), None);
        }
    }
}
