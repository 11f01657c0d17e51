//! Receipts.

use crate::transaction::DEPOSIT_TX_TYPE_ID;
use alloc::vec::Vec;
use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::{Encodable2718, Typed2718};
use alloy_primitives::{Bloom, Log, logs_bloom};
use alloy_rlp::{BufMut, Decodable, Encodable, Header};

/// What a transaction left behind. `receiptsRoot` commits to its EIP-2718 encoding, which is Ethereum's, and the OP Stack's (since Canyon) for a
/// message from L1.
///
/// Its plain RLP is the list of its fields, the bloom left out: how it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// EIP-2718 type of the transaction.
    pub tx_type: u8,
    /// Whether it was not reverted.
    pub success: bool,
    /// Gas used in the block up to and with this transaction.
    pub cumulative_gas_used: u64,
    /// Logs, in order.
    pub logs: Vec<Log>,
    /// The sender's nonce before the transaction: only of a message from L1, which names none.
    pub deposit_nonce: Option<u64>,
}

/// `depositReceiptVersion` of the OP Stack since Canyon.
pub const DEPOSIT_RECEIPT_VERSION: u8 = 1;

impl Receipt {
    /// Bloom filter of the logs.
    pub fn bloom(&self) -> Bloom {
        logs_bloom(&self.logs)
    }

    /// The receipt with its bloom, which is costly to compute, in its EIP-2718 encoding.
    pub fn with_bloom(&self, bloom: Bloom) -> ReceiptWithBloom<'_> {
        ReceiptWithBloom { receipt: self, bloom }
    }
}

impl Receipt {
    fn header(&self) -> Header {
        let Self { tx_type, success, cumulative_gas_used, logs, deposit_nonce } = self;
        let fields = tx_type.length() + success.length() + cumulative_gas_used.length() + logs.length();
        Header { list: true, payload_length: fields + deposit_nonce.map_or(0, |nonce| nonce.length()) }
    }
}

impl Encodable for Receipt {
    fn length(&self) -> usize {
        self.header().length_with_payload()
    }

    fn encode(&self, out: &mut dyn BufMut) {
        self.header().encode(out);
        self.tx_type.encode(out);
        self.success.encode(out);
        self.cumulative_gas_used.encode(out);
        self.logs.encode(out);
        // Not an optional field as RLP's derive has it, in which zero would be none.
        if let Some(nonce) = self.deposit_nonce {
            nonce.encode(out);
        }
    }
}

impl Decodable for Receipt {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut fields = Header::decode_bytes(buf, true)?;
        let receipt = Self {
            tx_type: Decodable::decode(&mut fields)?,
            success: Decodable::decode(&mut fields)?,
            cumulative_gas_used: Decodable::decode(&mut fields)?,
            logs: Decodable::decode(&mut fields)?,
            deposit_nonce: (!fields.is_empty()).then(|| Decodable::decode(&mut fields)).transpose()?,
        };
        if fields.is_empty() { Ok(receipt) } else { Err(alloy_rlp::Error::UnexpectedLength) }
    }
}

impl TxReceipt for Receipt {
    type Log = Log;

    fn status_or_post_state(&self) -> alloy_consensus::Eip658Value {
        self.success.into()
    }

    fn status(&self) -> bool {
        self.success
    }

    fn bloom(&self) -> Bloom {
        Self::bloom(self)
    }

    fn cumulative_gas_used(&self) -> u64 {
        self.cumulative_gas_used
    }

    fn logs(&self) -> &[Log] {
        &self.logs
    }
}

/// A receipt and the bloom filter of its logs.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptWithBloom<'a> {
    receipt: &'a Receipt,
    /// Bloom filter of the logs.
    pub bloom: Bloom,
}

impl ReceiptWithBloom<'_> {
    fn deposit_fields(&self) -> Option<(u64, u8)> {
        let is_deposit = self.receipt.tx_type == DEPOSIT_TX_TYPE_ID;
        is_deposit.then(|| (self.receipt.deposit_nonce.unwrap_or_default(), DEPOSIT_RECEIPT_VERSION))
    }

    fn header(&self) -> Header {
        let Receipt { success, cumulative_gas_used, logs, .. } = self.receipt;
        let ethereum = success.length() + cumulative_gas_used.length() + self.bloom.length() + logs.length();
        let deposit = self.deposit_fields().map_or(0, |(nonce, version)| nonce.length() + version.length());
        Header { list: true, payload_length: ethereum + deposit }
    }
}

impl Typed2718 for ReceiptWithBloom<'_> {
    fn ty(&self) -> u8 {
        self.receipt.tx_type
    }
}

impl Encodable2718 for ReceiptWithBloom<'_> {
    fn encode_2718_len(&self) -> usize {
        usize::from(!self.is_legacy()) + self.header().length_with_payload()
    }

    fn encode_2718(&self, out: &mut dyn BufMut) {
        if !self.is_legacy() {
            out.put_u8(self.receipt.tx_type);
        }
        self.header().encode(out);
        self.receipt.success.encode(out);
        self.receipt.cumulative_gas_used.encode(out);
        self.bloom.encode(out);
        self.receipt.logs.encode(out);
        if let Some((nonce, version)) = self.deposit_fields() {
            nonce.encode(out);
            version.encode(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloy_consensus::{EthereumReceipt, TxType};
    use alloy_primitives::{Address, B256, Bytes};
    use op_alloy_consensus::{OpDepositReceipt, OpReceiptEnvelope};

    fn receipt(tx_type: u8, logs: usize) -> Receipt {
        let log = Log::new_unchecked(Address::repeat_byte(1), vec![B256::repeat_byte(2)], Bytes::from_static(b"data"));
        Receipt { tx_type, success: true, cumulative_gas_used: 123_456, logs: vec![log; logs], deposit_nonce: None }
    }

    #[test]
    fn it_is_encoded_as_ethereum_encodes_it() {
        for (tx_type, logs) in [(0, 0), (1, 1), (2, 3), (4, 200)] {
            let ours = receipt(tx_type, logs);
            let Receipt { success, cumulative_gas_used, ref logs, .. } = ours;
            let ethereum: EthereumReceipt = EthereumReceipt {
                tx_type: TxType::try_from(tx_type).expect("a type"),
                success,
                cumulative_gas_used,
                logs: logs.clone(),
            };
            assert_eq!(alloy_rlp::encode(&ours), alloy_rlp::encode(&ethereum), "as it is stored");
            let encoded = ours.with_bloom(ours.bloom()).encoded_2718();
            assert_eq!(encoded.len(), ours.with_bloom(ours.bloom()).encode_2718_len());
            assert_eq!(encoded, ethereum.into_with_bloom().encoded_2718());
        }
    }

    #[test]
    fn a_deposits_is_encoded_as_the_op_stack_encodes_it() {
        let ours = Receipt { deposit_nonce: Some(7), ..receipt(DEPOSIT_TX_TYPE_ID, 2) };
        let inner = alloy_consensus::Receipt {
            status: true.into(),
            cumulative_gas_used: ours.cumulative_gas_used,
            logs: ours.logs.clone(),
        };
        let deposit = OpDepositReceipt { inner, deposit_nonce: Some(7), deposit_receipt_version: Some(1) };
        let theirs = OpReceiptEnvelope::Deposit(deposit.with_bloom());
        assert_eq!(ours.with_bloom(ours.bloom()).encoded_2718(), theirs.encoded_2718());
        for nonce in [None, Some(0), Some(7)] {
            let ours = Receipt { deposit_nonce: nonce, ..ours.clone() };
            let stored = alloy_rlp::encode(&ours);
            assert_eq!(stored.len(), ours.length());
            assert_eq!(alloy_rlp::decode_exact::<Receipt>(&stored), Ok(ours));
        }
    }
}
