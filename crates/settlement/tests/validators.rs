//! What L1 says of validators, at an L1 block that the test writes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_primitives::{Address, B256, LogData, U256};
use alloy_sol_types::SolEvent;
use chain::{Chain, serve};
use jove_avc::L1Origin;
use jove_settlement::{Error, contracts::ValidatorAuthority, validators};
use std::sync::{Arc, Mutex};

const AUTHORITY: Address = Address::repeat_byte(3);

fn slashed(id: u8) -> (Address, LogData) {
    let event =
        ValidatorAuthority::Slashed { id: B256::repeat_byte(id), reporter: Address::ZERO, amount: U256::from(1) };
    (AUTHORITY, event.encode_log_data())
}

#[tokio::test]
async fn who_was_convicted_is_a_function_of_two_l1_blocks() {
    let mut chain = Chain { chain_id: 7, ..Default::default() };
    for logs in [vec![], vec![slashed(1)], vec![], vec![slashed(3), slashed(2)], vec![slashed(4)]] {
        chain.push(logs);
    }
    let origin = |number: usize| L1Origin { number: number as u64, hash: chain.blocks[number].0.hash_slow() };
    let (second, third, fourth) = (origin(2), origin(3), origin(4));
    let shared = Arc::new(Mutex::new(chain));
    let l1 = serve(shared.clone()).await;
    let convicted = async |first: u64, upto: &L1Origin| {
        let ids = validators::slashed(&l1, AUTHORITY, first, upto).await;
        ids.map(|ids| ids.iter().map(|id| id[0]).collect::<Vec<_>>())
    };
    assert_eq!(convicted(1, &second).await.unwrap(), [1]);
    assert_eq!(convicted(2, &second).await.unwrap(), [0; 0]);
    assert_eq!(convicted(3, &third).await.unwrap(), [3, 2]);
    assert_eq!(convicted(1, &fourth).await.unwrap(), [1, 3, 2, 4]);
    assert_eq!(convicted(5, &fourth).await.unwrap(), [0; 0], "no block");

    // An L1 that has another block there, or none yet, says nothing.
    shared.lock().unwrap().reorganise(1);
    let error = convicted(1, &fourth).await.unwrap_err();
    assert!(matches!(error, Error::L1Reorganised(4)), "{error}");
    assert_eq!(convicted(1, &third).await.unwrap(), [1, 3, 2]);
    shared.lock().unwrap().blocks.truncate(4);
    let error = convicted(1, &fourth).await.unwrap_err();
    assert!(matches!(error, Error::UnknownL1Block(4)), "{error}");
}
