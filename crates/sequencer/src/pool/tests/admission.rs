//! What the pool takes, what it refuses and with which words, and what it evicts.

use super::*;
use alloy_consensus::{TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::{eip2930::AccessListItem, eip7702::Authorization};

fn authorization() -> alloy_eips::eip7702::SignedAuthorization {
    Authorization { chain_id: U256::ZERO, address: Address::ZERO, nonce: 0 }.into_signed(Signature::test_signature())
}

fn set_code() -> TxEip7702 {
    TxEip7702 {
        chain_id: CHAIN_ID,
        gas_limit: 46_000,
        max_fee_per_gas: u128::from(FLOOR),
        authorization_list: vec![authorization()],
        ..Default::default()
    }
}

fn legacy() -> TxLegacy {
    TxLegacy {
        chain_id: Some(CHAIN_ID),
        gas_price: u128::from(FLOOR),
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    }
}

fn encode(transaction: Transaction) -> Bytes {
    transaction.encoded_2718().into()
}

#[test]
fn every_rejection_has_geths_words() {
    let chain = chain();
    let alice = key(1);
    let base = || transfer(0, 1, 2);
    let signed = |transaction: TxEip1559| encode(alice.sign(transaction));
    let known = alice.transfer(0, 1, 2);
    chain.insert(known.clone());

    let poor = key(1000);
    chain.set(poor.address, Account { balance: U256::from(5), ..Account::default() });
    let used = key(1001);
    chain.set(used.address, Account { nonce: 5, balance: ETHER, ..Account::default() });
    let contract = key(1002);
    chain.set(contract.address, Account { balance: ETHER, ..Account::default() });
    chain.set_code(contract.address, &[0x60, 0x00, 0x00]);
    // Two transfers at twice the floor cost at most 42,000 gas · 20,000,000 wei each, and a wei.
    let tight = key(1003);
    chain.set(tight.address, Account { balance: U256::from(700_000_000_000u64), ..Account::default() });
    chain.insert(tight.transfer(0, 1, 2));

    let mut high_s = alice.sign(base());
    if let Transaction::Signed(jove_primitives::transaction::SignedTransaction::Eip1559(signed)) = &mut high_s {
        let order = U256::from_be_bytes(secp256k1::constants::CURVE_ORDER);
        let low = *signed.signature();
        *signed = base().into_signed(Signature::new(low.r(), order - low.s(), !low.v()));
    }
    let zero_r = Transaction::from(base().into_signed(Signature::new(U256::ZERO, U256::ONE, false)));
    let mut blob_with_sidecar = vec![3u8];
    blob_with_sidecar.resize(200_000, 0xff);
    let blob = TxEip4844 { chain_id: CHAIN_ID, gas_limit: 21_000, ..Default::default() };
    // An EIP-7702 transaction whose recipient is the empty string, by hand: chain id, nonce, two fees, gas limit, none.
    let set_code_create = vec![4, 0xc6, 0x01, 0x80, 0x01, 0x02, 0x03, 0x80];
    let mut trailing = signed(base()).to_vec();
    trailing.push(0);
    let create = |input: Vec<u8>, gas_limit| TxEip1559 { to: TxKind::Create, input: input.into(), gas_limit, ..base() };
    let contract_address = contract.address;

    let table: Vec<(&str, Bytes, String)> = vec![
        ("known", known, "already known".into()),
        ("nothing", Bytes::new(), "typed transaction too short".into()),
        ("a type alone", vec![2].into(), "typed transaction too short".into()),
        ("deposit", vec![0x7e, 0xc0].into(), "transaction type not supported".into()),
        ("type 0", vec![0, 0xc0].into(), "transaction type not supported".into()),
        ("no list", vec![0x80].into(), "rlp: unexpected string".into()),
        ("empty list", vec![0xc0].into(), "rlp: input too short".into()),
        ("cut off", signed(base()).slice(..50), "rlp: input too short".into()),
        ("trailing", trailing.into(), "rlp: unexpected length".into()),
        (
            "blobs, sidecar",
            blob_with_sidecar.into(),
            "transaction type not supported: blob transactions (EIP-4844) are not accepted on this chain".into(),
        ),
        (
            "blobs",
            encode(alice.sign(blob)),
            "transaction type not supported: blob transactions (EIP-4844) are not accepted on this chain".into(),
        ),
        ("7702 create", set_code_create.into(), "EIP-7702 transaction cannot be used to create contract".into()),
        (
            "7702 empty",
            encode(alice.sign(TxEip7702 { authorization_list: Vec::new(), ..set_code() })),
            "EIP-7702 transaction with empty auth list".into(),
        ),
        (
            "7702 gas",
            encode(alice.sign(TxEip7702 { gas_limit: 45_999, ..set_code() })),
            "intrinsic gas too low: gas 45999, minimum needed 46000".into(),
        ),
        (
            "oversized",
            signed(TxEip1559 { input: vec![0; 131_072].into(), gas_limit: 10_000_000, ..base() }),
            "oversized data: transaction size 131188, limit 131072".into(),
        ),
        (
            "init code",
            signed(create(vec![0; 49_153], 10_000_000)),
            "max initcode size exceeded: code size 49153, limit 49152".into(),
        ),
        (
            "gas cap",
            signed(TxEip1559 { gas_limit: 16_777_217, ..base() }),
            "transaction gas limit too high (cap: 16777216, tx: 16777217)".into(),
        ),
        (
            "tip above cap",
            signed(TxEip1559 { max_priority_fee_per_gas: 1 + 2 * u128::from(FLOOR), ..base() }),
            "max priority fee per gas higher than max fee per gas".into(),
        ),
        (
            "unprotected",
            encode(alice.sign(TxLegacy { chain_id: None, ..legacy() })),
            "only replay-protected (EIP-155) transactions allowed over RPC".into(),
        ),
        (
            "chain id",
            signed(TxEip1559 { chain_id: 1, ..base() }),
            "invalid sender: invalid chain id for signer: have 1 want 5683".into(),
        ),
        (
            "legacy chain id",
            encode(alice.sign(TxLegacy { chain_id: Some(1), ..legacy() })),
            "invalid sender: invalid chain id for signer: have 1 want 5683".into(),
        ),
        ("high s", encode(high_s), "invalid sender: invalid transaction v, r, s values".into()),
        ("zero r", encode(zero_r), "invalid sender: invalid transaction v, r, s values".into()),
        ("nonce max", signed(TxEip1559 { nonce: u64::MAX, ..base() }), "nonce has max value".into()),
        ("nonce low", used.transfer(3, 1, 2), "nonce too low: next nonce 5, tx nonce 3".into()),
        (
            "intrinsic",
            signed(TxEip1559 { gas_limit: 20_999, ..base() }),
            "intrinsic gas too low: gas 20999, minimum needed 21000".into(),
        ),
        (
            "intrinsic, create",
            signed(create(vec![0; 32], 53_000)),
            "intrinsic gas too low: gas 53000, minimum needed 53130".into(),
        ),
        (
            "intrinsic, access list",
            signed(TxEip1559 {
                access_list: vec![AccessListItem { address: Address::ZERO, storage_keys: vec![B256::ZERO; 2] }].into(),
                ..base()
            }),
            "intrinsic gas too low: gas 21000, minimum needed 27200".into(),
        ),
        (
            "floor",
            signed(TxEip1559 { input: vec![1; 1000].into(), gas_limit: 40_000, ..base() }),
            "insufficient gas for floor data gas cost: gas 40000, minimum needed 61000".into(),
        ),
        (
            "below floor",
            signed(TxEip1559 { max_fee_per_gas: 9_999_999, max_priority_fee_per_gas: 0, ..base() }),
            "transaction underpriced: max fee per gas 9999999, minimum needed 10000000".into(),
        ),
        ("replacement", alice.transfer(0, 1, 3), "replacement transaction underpriced".into()),
        (
            "funds",
            poor.transfer(0, 1, 2),
            "insufficient funds for gas * price + value: balance 5, tx cost 420000000001, overshot 419999999996".into(),
        ),
        (
            "funds for both",
            tight.transfer(1, 1, 2),
            "insufficient funds for gas * price + value: balance 700000000000, queued cost 420000000001, tx cost 420000000001, \
             overshot 140000000002"
                .into(),
        ),
        (
            "contract",
            contract.transfer(0, 1, 2),
            format!("sender not an eoa: address {contract_address}, len(code): 3"),
        ),
    ];
    for (name, raw, text) in table {
        let error = chain.add(raw).expect_err(name);
        assert_eq!(error.to_string(), text, "{name}");
        assert_eq!(error.code(), -32000, "{name}");
        assert!(!error.kind().is_empty());
    }
    assert_eq!(chain.pool.status(), (2, 0), "nothing else was taken");
}

#[test]
fn a_closed_pool_says_why_and_keeps_what_it_has() {
    let chain = chain();
    let first = chain.insert(key(1).transfer(0, 1, 2));
    chain.pool.set_closed(Some("max_uncommitted: 3 MB wait for L1"));
    let error = chain.add(key(2).transfer(0, 1, 2)).expect_err("closed");
    assert_eq!(error.to_string(), "transactions are not accepted: max_uncommitted: 3 MB wait for L1");
    assert_eq!(chain.best(1), [first]);
    chain.pool.set_closed(None);
    chain.insert(key(2).transfer(0, 1, 2));
}

#[test]
fn a_block_gas_limit_below_the_cap_is_the_limit() {
    let mut spec = ChainSpec::dev().without_l1_fee();
    spec.gas.block_gas_limit = 2_000_000;
    let chain = chain_of(spec, PoolConfig::default());
    let raw = encode(key(1).sign(TxEip1559 { gas_limit: 2_000_001, ..transfer(0, 1, 2) }));
    assert_eq!(chain.add(raw).expect_err("too much gas").to_string(), "exceeds block gas limit");
}

#[test]
fn a_replacement_that_the_balance_cannot_bear_beside_the_others_is_refused() {
    let chain = chain();
    let sender = key(2000);
    chain.set(sender.address, Account { balance: U256::from(1_000_000_000_000u64), ..Account::default() });
    chain.insert(sender.transfer(0, 1, 2));
    chain.insert(sender.transfer(1, 1, 2));
    let error = chain.add(sender.transfer(0, 2, 4)).expect_err("too dear");
    assert_eq!(
        error.to_string(),
        "insufficient funds for gas * price + value: balance 1000000000000, queued cost 840000000002, tx bumped 420000000000, \
         overshot 260000000002"
    );
}

#[test]
fn every_type_of_transaction_is_taken() {
    let chain = chain();
    chain.insert(encode(key(1).sign(legacy())));
    chain.insert(encode(key(2).sign(set_code())));
    chain.insert(key(3).transfer(0, 1, 2));
    let access = alloy_consensus::TxEip2930 {
        chain_id: CHAIN_ID,
        gas_price: u128::from(FLOOR),
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    };
    chain.insert(encode(key(4).sign(access)));
    assert_eq!(chain.pool.status(), (4, 0));
}

#[test]
fn a_delegated_account_may_send() {
    let chain = chain();
    let sender = key(1);
    let mut delegation = vec![0xef, 0x01, 0x00];
    delegation.extend([0x11; 20]);
    chain.set_code(sender.address, &delegation);
    chain.insert(sender.transfer(0, 1, 2));
}

#[test]
fn an_impersonated_contract_may_send() {
    let chain = chain();
    let contract = Address::repeat_byte(0xcc);
    chain.set(contract, Account { balance: ETHER, ..Account::default() });
    chain.set_code(contract, &[0xfe]);
    let unsigned = Transaction::from(transfer(0, 1, 2).into_signed(Signature::test_signature()));
    let hash = chain.pool.add(RecoveredTransaction::new_unchecked(unsigned.clone(), contract)).expect("admitted");
    let pooled = chain.pool.get(hash).expect("held");
    assert_eq!((pooled.transaction.signer(), pooled.hash), (contract, *unsigned.tx_hash()));
    let again = chain.pool.add(RecoveredTransaction::new_unchecked(unsigned, contract));
    assert_eq!(again, Err(PoolError::AlreadyKnown));
    let blob = Transaction::from(
        TxEip4844 { chain_id: CHAIN_ID, gas_limit: 21_000, ..Default::default() }
            .into_signed(Signature::test_signature()),
    );
    let refused = chain.pool.add(RecoveredTransaction::new_unchecked(blob, contract));
    assert_eq!(refused, Err(PoolError::BlobsNotAccepted));
}

#[test]
fn a_replacement_raises_both_fees_by_a_tenth() {
    let chain = chain();
    let alice = key(1);
    let with = |tip: u128, cap: u128| {
        encode(alice.sign(TxEip1559 { max_priority_fee_per_gas: tip, max_fee_per_gas: cap, ..transfer(0, 0, 0) }))
    };
    let first = chain.insert(with(39, 100_000_019));
    for (tip, cap) in [(41, 200_000_000), (1000, 110_000_019), (39, 200_000_000), (1000, 100_000_019)] {
        assert_eq!(chain.add(with(tip, cap)), Err(PoolError::ReplacementUnderpriced), "{tip} {cap}");
    }
    // 39 · 1.1 = 42.9 is rounded down to 42, and 110,000,020.9 to 110,000,020.
    let second = chain.insert(with(42, 110_000_020));
    assert_eq!(chain.best(1), [second]);
    assert!(chain.pool.get(first).is_none());
    assert_eq!(chain.pool.status(), (1, 0));

    // A tip of zero cannot be raised by a tenth of it: it has to rise all the same.
    let bob = key(2);
    let zero = |cap: u64, tip: u64| bob.transfer(0, tip, cap);
    chain.insert(zero(2, 0));
    assert_eq!(chain.add(zero(3, 0)), Err(PoolError::ReplacementUnderpriced));
    chain.insert(zero(3, 1));
}

#[test]
fn a_gap_is_held_until_it_is_filled() {
    let chain = chain();
    let alice = key(1);
    let third = chain.insert(alice.transfer(2, 5, 9));
    let second = chain.insert(alice.transfer(1, 1, 9));
    assert_eq!(chain.pool.status(), (0, 2));
    assert_eq!(chain.pool.next_nonce(alice.address), Some(0));
    assert!(chain.best(1).is_empty());
    let first = chain.insert(alice.transfer(0, 3, 9));
    assert_eq!(chain.pool.status(), (3, 0));
    assert_eq!(chain.pool.next_nonce(alice.address), Some(3));
    assert_eq!(chain.best(1), [first, second, third]);
    assert_eq!(chain.pool.next_nonce(key(2).address), None);

    chain.pool.discard(second);
    assert_eq!(chain.pool.status(), (1, 1));
    let (executable, held) = chain.pool.content();
    assert_eq!((hashes(&executable), hashes(&held)), (vec![first], vec![third]));
    assert!(chain.pool.drop_transaction(third));
    assert!(!chain.pool.drop_transaction(third));
    assert_eq!(chain.pool.next_nonce(alice.address), Some(1));
}

#[test]
fn content_is_by_sender_and_nonce() {
    let chain = chain();
    let mut expected = Vec::new();
    for n in [7, 3, 5] {
        let sender = key(n);
        for nonce in [1, 0, 4] {
            chain.insert(sender.transfer(nonce, nonce, 9));
            expected.push((sender.address, nonce));
        }
    }
    expected.sort_unstable();
    let place = |pooled: &PooledTransaction| {
        (pooled.transaction.signer(), alloy_consensus::Transaction::nonce(&**pooled.transaction))
    };
    let (executable, held) = chain.pool.content();
    let of = |gap: bool| expected.iter().copied().filter(|(_, nonce)| (*nonce == 4) == gap).collect::<Vec<_>>();
    assert_eq!(executable.iter().map(place).collect::<Vec<_>>(), of(false));
    assert_eq!(held.iter().map(place).collect::<Vec<_>>(), of(true));
    let (executable, held) = chain.pool.content_from(key(3).address);
    assert_eq!((executable.len(), held.len()), (2, 1));
    assert!(chain.pool.content_from(key(4).address).0.is_empty());
}

#[test]
fn a_sender_has_a_limit_but_may_fill_its_gap() {
    let chain = chain_with(PoolConfig { max_per_sender: 3, ..PoolConfig::default() });
    let alice = key(1);
    for nonce in [1, 2, 3] {
        chain.insert(alice.transfer(nonce, 1, 9));
    }
    let error = chain.add(alice.transfer(4, 1, 9)).expect_err("one too many");
    assert_eq!(error.to_string(), "account limit exceeded: pooled 3 txs");
    chain.insert(alice.transfer(0, 1, 9));
    assert_eq!(chain.pool.status(), (3, 0));
    assert_eq!(chain.pool.next_nonce(alice.address), Some(3), "nonce 3 made room");
    assert_eq!(chain.add(alice.transfer(3, 9, 9)), Err(PoolError::AccountLimit { pooled: 3 }));
    chain.insert(alice.transfer(2, 2, 10));
    chain.insert(key(2).transfer(0, 1, 9));
}

#[test]
fn a_full_pool_evicts_the_cheapest_and_never_for_a_cheaper_one() {
    let chain = chain_with(PoolConfig { max_transactions: 3, ..PoolConfig::default() });
    let cheap = chain.insert(key(1).transfer(0, 1, 9));
    let middle = chain.insert(key(2).transfer(0, 2, 9));
    let held = chain.insert(key(3).transfer(7, 5, 9));

    // A held newcomer displaces a held one only if it pays more.
    assert_eq!(chain.add(key(4).transfer(7, 5, 9)), Err(PoolError::Underpriced));
    let held_dearer = chain.insert(key(4).transfer(7, 6, 9));
    assert!(chain.pool.get(held).is_none());
    // An executable newcomer displaces a held one at any price.
    let cheapest = chain.insert(key(5).transfer(0, 0, 9));
    assert!(chain.pool.get(held_dearer).is_none());
    assert_eq!(chain.best(1), [middle, cheap, cheapest]);
    // A held newcomer displaces no executable one.
    let error = chain.add(key(4).transfer(7, 8, 9)).expect_err("full");
    assert_eq!(error.to_string(), "future transaction tries to replace pending");
    // An executable newcomer displaces the cheapest, if it pays more.
    let error = chain.add(key(6).transfer(0, 0, 9)).expect_err("full");
    assert_eq!(error.to_string(), "transaction underpriced");
    let dear = chain.insert(key(6).transfer(0, 3, 9));
    assert_eq!(chain.best(1), [dear, middle, cheap]);
    // At another base fee another is the cheapest: of two equal ones, the later.
    chain.pool.set_fees(8 * FLOOR, L1Prices::default());
    assert_eq!(chain.add(key(7).transfer(0, 9, 9)), Err(PoolError::Underpriced), "all tip 1");
    let capped = chain.insert(key(7).transfer(0, 2, 10));
    assert!(chain.pool.get(dear).is_none());
    assert_eq!(chain.best(8), [capped, cheap, middle]);
}

#[test]
fn a_transaction_does_not_evict_what_it_stands_on() {
    let chain = chain_with(PoolConfig { max_transactions: 1, ..PoolConfig::default() });
    chain.insert(key(1).transfer(0, 1, 9));
    let error = chain.add(key(1).transfer(1, 8, 9)).expect_err("full");
    assert_eq!(error.to_string(), "txpool is full");
    assert_eq!(chain.pool.status(), (1, 0));
    // A replacement needs no room.
    chain.insert(key(1).transfer(0, 2, 10));
    let none = chain_with(PoolConfig { max_transactions: 0, ..PoolConfig::default() });
    assert_eq!(none.add(key(1).transfer(0, 1, 9)), Err(PoolError::Full));
}

#[test]
fn bytes_are_limited_and_a_newcomer_that_does_not_fit_evicts_nothing() {
    // Room for 8 MiB: 64 transactions of 128 KiB, less their encodings' few bytes.
    let chain = chain_with(PoolConfig { max_transactions: 1000, ..PoolConfig::default() });
    let large = |n: u64, nonce: u64, tip: u64| {
        let input = vec![0; 130_900].into();
        encode(key(n).sign(TxEip1559 { input, gas_limit: 1_400_000, ..transfer(nonce, tip, 99) }))
    };
    for n in 1..=64 {
        chain.insert(large(n, 0, n));
    }
    assert_eq!(chain.pool.status(), (64, 0));
    let before = chain.best(1);
    assert_eq!(chain.add(large(70, 0, 1)), Err(PoolError::Underpriced));
    assert_eq!(chain.best(1), before);
    chain.insert(large(70, 0, 2));
    assert_eq!(chain.pool.status(), (64, 0));
    assert!(chain.pool.next_nonce(key(1).address).is_none(), "the cheapest went");
    // Small ones fit in what is left; to make room for a large one of the same price, one that is dearer would have to go.
    let small: Vec<B256> = (0..30).map(|nonce| chain.insert(key(80).transfer(nonce, 1, 99))).collect();
    let before = chain.best(1);
    assert_eq!(chain.add(large(71, 0, 2)), Err(PoolError::Underpriced));
    assert_eq!(chain.best(1), before, "what was evicted in vain is back");
    assert!(small.iter().all(|hash| chain.pool.get(*hash).is_some()));
    chain.insert(large(71, 0, 3));
    assert!(small.iter().all(|hash| chain.pool.get(*hash).is_none()), "cheaper ones went");
}

#[test]
fn the_l1_data_fee_must_be_covered() {
    let chain = chain_of(ChainSpec::dev(), PoolConfig::default());
    let sender = key(3000);
    let raw = sender.transfer(0, 1, 2);
    let prices = L1Prices { base_fee: 1_000_000_000, blob_base_fee: 1_000_000 };
    let fee = jove_primitives::fee::l1_data_fee(&raw, prices);
    assert!(!fee.is_zero());
    let cost = U256::from(420_000_000_001u64) + fee;
    chain.set(sender.address, Account { balance: cost - U256::ONE, ..Account::default() });
    let error = chain.add(raw.clone()).expect_err("a wei is missing").to_string();
    assert_eq!(
        error,
        format!("insufficient funds for gas * price + value: balance {}, tx cost {cost}, overshot 1", cost - U256::ONE)
    );
    chain.set(sender.address, Account { balance: cost, ..Account::default() });
    let hash = chain.insert(raw);
    // Dearer data holds it, cheaper data frees it.
    let dearer = L1Prices { base_fee: prices.base_fee * 2, ..prices };
    chain.seal(&[], &[], dearer);
    assert_eq!(chain.pool.status(), (0, 1));
    chain.seal(&[], &[], prices);
    assert_eq!(chain.pool.status(), (1, 0));
    assert_eq!(chain.best(1), [hash]);
}

#[test]
fn one_batch_holds_good_and_bad_together() {
    let chain = chain();
    let mut raw: Vec<Bytes> = (0..600).map(|i| key(i % 50).transfer(i / 50, 1, 2)).collect();
    raw.push(raw[17].clone());
    raw.push(vec![1, 2, 3].into());
    let results = chain.pool.add_raw(&raw);
    assert_eq!(results.len(), 602);
    for (i, result) in results[..600].iter().enumerate() {
        assert_eq!(*result, Ok(keccak256(&raw[i])), "{i}");
    }
    assert_eq!(results[600], Err(PoolError::AlreadyKnown));
    assert!(matches!(results[601], Err(PoolError::Rlp(_))));
    assert_eq!(chain.pool.status(), (600, 0));
    assert!(chain.pool.add_raw(&[]).is_empty());
}

#[test]
fn a_transaction_keeps_its_hash_and_data_size() {
    let chain = chain();
    let raw = key(1).transfer(0, 1, 2);
    let hash = chain.insert(raw.clone());
    let pooled = chain.pool.get(hash).expect("held");
    assert_eq!(hash, keccak256(&raw));
    assert_eq!(pooled.data_size, jove_primitives::fee::data_size(&raw));
    assert_eq!(pooled.transaction.signer(), key(1).address);
}
