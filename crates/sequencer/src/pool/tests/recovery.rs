//! Sender recovery against alloy's, and decoding of arbitrary bytes.

use super::{super::recover_sender, *};
use alloy_consensus::transaction::SignerRecoverable;
use proptest::prelude::*;

fn signature(order: U256) -> impl Strategy<Value = Option<(U256, U256, bool)>> {
    let word = any::<[u8; 32]>().prop_map(U256::from_be_bytes);
    let edge = prop_oneof![
        Just(U256::ZERO),
        Just(U256::ONE),
        Just(order),
        Just(order - U256::ONE),
        Just(order / U256::from(2)),
        Just(order / U256::from(2) + U256::ONE),
        Just(U256::MAX),
        word
    ];
    // Often the true one.
    prop_oneof![2 => Just(None), 1 => (edge.clone(), edge, any::<bool>()).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn recovery_is_alloys(
        n in any::<u64>(),
        nonce in any::<u64>(),
        forged in signature(U256::from_be_bytes(secp256k1::constants::CURVE_ORDER)),
        flip in any::<bool>(),
    ) {
        let order = U256::from_be_bytes(secp256k1::constants::CURVE_ORDER);
        let key = key(n);
        let unsigned = TxEip1559 { nonce, ..transfer(0, 1, 2) };
        let true_one = key.sign_hash(unsigned.signature_hash());
        let signature = match forged {
            Some((r, s, parity)) => Signature::new(r, s, parity),
            // The same signature's other form, with a high s.
            None if flip => Signature::new(true_one.r(), order - true_one.s(), !true_one.v()),
            None => true_one,
        };
        let transaction = Transaction::from(unsigned.into_signed(signature));
        let recovered = recover_sender(&transaction);
        prop_assert_eq!(recovered.clone().ok(), transaction.as_signed().and_then(|signed| signed.recover_signer().ok()));
        if forged.is_none() {
            prop_assert_eq!(recovered, if flip { Err(PoolError::InvalidSignature) } else { Ok(key.address) });
        }
    }

    #[test]
    fn what_is_decoded_is_encoded_the_same(
        n in 0u64..3,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        what in 0..4,
    ) {
        let chain = chain();
        let mut raw = key(n).transfer(n, 1, 2).to_vec();
        if n == 2 {
            let legacy = alloy_consensus::TxLegacy { chain_id: Some(CHAIN_ID), gas_limit: 21_000, gas_price: u128::from(FLOOR), ..Default::default() };
            raw = key(n).sign(legacy).encoded_2718();
        }
        let at = at.index(raw.len());
        match what {
            0 => raw[at] = byte,
            1 => raw.insert(at, byte),
            2 => { raw.remove(at); }
            _ => raw.truncate(cut.index(raw.len() + 1)),
        }
        if let Ok(hash) = chain.add(raw.clone().into()) {
            let pooled = chain.pool.get(hash).expect("held");
            prop_assert_eq!(pooled.transaction.encoded_2718(), raw);
        }
    }

    #[test]
    fn any_bytes_are_answered(raw in prop::collection::vec(any::<u8>(), 0..300), first in 0u8..6) {
        let chain = chain();
        let mut raw = raw;
        if let Some(byte) = raw.first_mut().filter(|_| first < 5) {
            *byte = first;
        }
        prop_assert!(chain.add(raw.into()).is_err());
    }
}
