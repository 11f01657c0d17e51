use super::*;
use crate::evm::tests::rules;
use alloy_consensus::{EthereumTypedTransaction, Header, TxEip1559};
use alloy_primitives::{Address, B256, Bloom, Bytes, LogData, Signature, TxKind};
use jove_primitives::{Fork, block::L1Prices};
use serde_json::{Value, json};

/// Block 7 with a transfer, which paid a tip of 2 gwei, and a contract creation with a log and a tip of 1 gwei.
pub(crate) fn sample_block() -> ExecutedBlock {
    let signed = |tip: u128, gas_limit: u64, to: TxKind| {
        let transaction = TxEip1559 {
            chain_id: 5683,
            nonce: 4,
            gas_limit,
            max_fee_per_gas: 3_000_000_000,
            max_priority_fee_per_gas: tip,
            to,
            value: U256::from(5),
            ..Default::default()
        };
        let signature = Signature::new(U256::from(tip), U256::from(2), true);
        let envelope = jove_primitives::transaction::SignedTransaction::new_unhashed(
            EthereumTypedTransaction::Eip1559(transaction),
            signature,
        );
        RecoveredTransaction::new_unchecked(envelope.into(), Address::repeat_byte(0x11))
    };
    let log = |byte: u8| alloy_primitives::Log {
        address: Address::repeat_byte(byte),
        data: LogData::new_unchecked(vec![B256::repeat_byte(0xaa)], Bytes::from_static(&[1])),
    };
    let receipt = |cumulative_gas_used: u64, logs: Vec<alloy_primitives::Log>| jove_primitives::Receipt {
        tx_type: 2,
        deposit_nonce: None,
        success: true,
        cumulative_gas_used,
        logs,
    };
    let transactions = vec![
        signed(2_000_000_000, 21_000, TxKind::Call(Address::repeat_byte(0x22))),
        signed(1_000_000_000, 100_000, TxKind::Create),
    ];
    let receipts = vec![receipt(21_000, vec![log(0x33)]), receipt(100_000, vec![log(0x44), log(0x33)])];
    let header = Header {
        number: 7,
        timestamp: 1000,
        gas_used: 100_000,
        gas_limit: 100_000_000,
        base_fee_per_gas: Some(1_000_000_000),
        logs_bloom: receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom()),
        withdrawals_root: Some(B256::repeat_byte(9)),
        requests_hash: Some(B256::repeat_byte(8)),
        ..Default::default()
    };
    ExecutedBlock {
        hash: header.hash_slow(),
        header,
        transactions,
        receipts,
        l1_fees: vec![U256::from(10), U256::from(20)],
        l1_prices: L1Prices { base_fee: 30, blob_base_fee: 40 },
    }
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("it serializes")
}

#[test]
fn a_block_has_its_size_and_its_hashes() {
    let sample = sample_block();
    let shown = to_value(&block(&sample, false, false));
    let size = sample.to_block().length();
    assert_eq!(shown["size"], json!(format!("0x{size:x}")), "as the whole block encodes");
    assert_eq!(shown["hash"], to_value(&sample.hash));
    assert_eq!(shown["number"], "0x7");
    assert_eq!(shown["transactions"][1], to_value(sample.transactions[1].inner().tx_hash()));
    assert_eq!((&shown["uncles"], &shown["withdrawals"]), (&json!([]), &json!([])));
    assert_eq!(shown["requestsHash"], to_value(&B256::repeat_byte(8)));
    assert_eq!(shown["baseFeePerGas"], "0x3b9aca00");
    let full = to_value(&block(&sample, true, false));
    assert_eq!(full["transactions"][1]["transactionIndex"], "0x1");
    assert_eq!(full["transactions"][1]["gasPrice"], "0x77359400", "base fee and tip");
    assert_eq!(full["transactions"][0]["blockHash"], shown["hash"]);
    let pending = to_value(&block(&sample, true, true));
    assert_eq!(pending["transactions"][0]["blockHash"], Value::Null);
    assert_eq!(pending["transactions"][0]["blockNumber"], Value::Null);
}

#[test]
fn a_receipt_shows_gas_logs_and_the_data_fee() {
    let sample = sample_block();
    let all = to_value(&receipts(&rules(), &sample, false));
    for index in 0..2 {
        assert_eq!(all[index], to_value(&receipt(&rules(), &sample, index)), "alone as among others");
    }
    let shown = &all[1];
    assert_eq!(shown["type"], "0x2");
    assert_eq!(shown["status"], "0x1");
    assert_eq!(shown["gasUsed"], "0x13498");
    assert_eq!(shown["cumulativeGasUsed"], "0x186a0");
    assert_eq!(shown["effectiveGasPrice"], "0x77359400");
    assert_eq!(shown["to"], Value::Null);
    assert_eq!(shown["contractAddress"], to_value(&Address::repeat_byte(0x11).create(4)));
    assert_eq!(
        (&shown["l1Fee"], &shown["l1GasPrice"], &shown["l1BlobBaseFee"]),
        (&json!("0x14"), &json!("0x1e"), &json!("0x28"))
    );
    let log = &shown["logs"][1];
    assert_eq!(log["logIndex"], "0x2", "counted within the block");
    assert_eq!(log["transactionIndex"], "0x1");
    assert_eq!(log["blockTimestamp"], "0x3e8");
    assert_eq!(log["removed"], false);
    assert_eq!(all[0]["contractAddress"], Value::Null);
}

#[test]
fn logs_are_matched_within_a_block() {
    let sample = sample_block();
    let matching = |json: Value| matching_logs(&sample, &serde_json::from_value(json).expect("a filter"));
    assert_eq!(matching(json!({})).len(), 3);
    let logs = matching(json!({"address": Address::repeat_byte(0x33)}));
    assert_eq!(logs.iter().map(|log| log.log_index).collect::<Vec<_>>(), [Some(0), Some(2)]);
    assert_eq!(matching(json!({"topics": [B256::repeat_byte(0xaa)]})).len(), 3);
    assert_eq!(matching(json!({"topics": [null, B256::repeat_byte(0xaa)]})).len(), 0);
    assert_eq!(matching(json!({"address": Address::repeat_byte(0x55)})).len(), 0);
    assert_eq!(matching(json!({"fromBlock": "0x8"})).len(), 0);
}

#[test]
fn a_pooled_transaction_is_in_no_block() {
    let shown = to_value(&pooled(&sample_block().transactions[0]));
    for field in ["blockHash", "blockNumber", "transactionIndex"] {
        assert_eq!(shown[field], Value::Null, "{field}");
    }
    assert_eq!(shown["gasPrice"], "0xb2d05e00", "the most it pays");
    assert_eq!(shown["from"], to_value(&Address::repeat_byte(0x11)));
}

#[test]
fn a_message_from_l1_is_shown_as_the_op_stack_shows_it() {
    let mut sample = sample_block();
    let message = jove_primitives::transaction::TxDeposit {
        source_hash: B256::repeat_byte(1),
        from: Address::repeat_byte(2),
        to: TxKind::Create,
        mint: 5,
        value: U256::from(6),
        gas_limit: 100_000,
        ..Default::default()
    };
    sample.transactions[1] = jove_primitives::transaction::deposit(message);
    let nonce = Some(9);
    sample.receipts[1] = jove_primitives::Receipt { tx_type: 0x7e, deposit_nonce: nonce, ..sample.receipts[1].clone() };
    let shown = to_value(&transaction(&sample, 1, false));
    let expected = json!({
        "type": "0x7e", "nonce": "0x9", "depositReceiptVersion": "0x1", "mint": "0x5", "value": "0x6", "gas": "0x186a0",
        "sourceHash": B256::repeat_byte(1), "from": Address::repeat_byte(2), "input": "0x", "gasPrice": "0x0", "r": "0x0", "s": "0x0",
    });
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&shown[field], value, "{field}");
    }
    let shown = to_value(&receipt(&rules(), &sample, 1));
    assert_eq!((&shown["type"], &shown["depositNonce"]), (&json!("0x7e"), &json!("0x9")));
    assert_eq!((&shown["depositReceiptVersion"], &shown["effectiveGasPrice"]), (&json!("0x1"), &json!("0x0")));
    assert_eq!(shown["contractAddress"], to_value(&Address::repeat_byte(2).create(9)));
}

#[test]
fn under_ethereums_rules_blobs_have_a_price_and_data_has_none() {
    let mut sample = sample_block();
    sample.header.excess_blob_gas = Some(10 << 20);
    let tx = alloy_consensus::TxEip4844 { blob_versioned_hashes: vec![B256::repeat_byte(1); 2], ..Default::default() };
    let signature = Signature::new(U256::ONE, U256::from(2), true);
    let envelope =
        jove_primitives::transaction::SignedTransaction::new_unhashed(EthereumTypedTransaction::Eip4844(tx), signature);
    sample.transactions[0] = RecoveredTransaction::new_unchecked(envelope.into(), Address::ZERO);
    let ethereum = Rules::Ethereum { chain_id: 5683, fork: Fork::Osaka, development: false, blobs: Vec::new() };
    let shown = to_value(&receipt(&ethereum, &sample, 0));
    assert_eq!((&shown["blobGasUsed"], &shown["blobGasPrice"]), (&json!("0x40000"), &json!("0x8")));
    assert_eq!(shown.get("l1Fee"), None);
    let other = to_value(&receipt(&ethereum, &sample, 1));
    assert_eq!((other.get("blobGasUsed"), other.get("blobGasPrice")), (None, None));
    assert!(to_value(&receipt(&rules(), &sample, 1)).get("l1Fee").is_some());
}
