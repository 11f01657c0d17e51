//! Blocks do the same with arithmetic of another kind, and for the same gas.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod chain;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Signature, TxKind, U256};
use chain::{ALICE, chain};
use jove_primitives::{ChangeSet, block::RecoveredTransaction};
use jove_stf::{Arithmetic, install_arithmetic};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts what it is asked for.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn count(&self, result: U256) -> U256 {
        self.0.fetch_add(1, Relaxed);
        result
    }
}

impl Arithmetic for Counting {
    fn mul(&self, a: &U256, b: &mut U256) {
        *b = self.count(a.wrapping_mul(*b));
    }
    fn div(&self, a: &U256, b: &mut U256) {
        *b = self.count(a.checked_div(*b).unwrap_or_default());
    }
    fn rem(&self, a: &U256, b: &mut U256) {
        *b = self.count(a.checked_rem(*b).unwrap_or_default());
    }
    fn add_mod(&self, a: &U256, b: &U256, modulus: &mut U256) {
        *modulus = self.count(a.add_mod(*b, *modulus));
    }
    fn mul_mod(&self, a: &U256, b: &U256, modulus: &mut U256) {
        *modulus = self.count(a.mul_mod(*b, *modulus));
    }
    fn pow(&self, base: &U256, exponent: &mut U256) {
        *exponent = self.count(base.pow(*exponent));
    }
}

static COUNTING: Counting = Counting(AtomicUsize::new(0));

/// MUL, DIV, SDIV, MOD, SMOD, ADDMOD, MULMOD, EXP, and how many words each takes.
const OPERATIONS: [(u8, usize); 8] = [(2, 2), (4, 2), (5, 2), (6, 2), (7, 2), (8, 3), (9, 3), (10, 2)];

/// Runs code as a creation's; gas used, and what changed.
fn run(code: &[u8], gas_limit: u64) -> (u64, bool, ChangeSet) {
    let chain = chain();
    let tx = TxEip1559 {
        chain_id: 5683,
        gas_limit,
        max_fee_per_gas: 100_000_000,
        max_priority_fee_per_gas: 1_000,
        to: TxKind::Create,
        input: code.to_vec().into(),
        ..Default::default()
    };
    let signed = tx.into_signed(Signature::test_signature()).into();
    let mut block = chain.block();
    block.execute(&RecoveredTransaction::new_unchecked(signed, ALICE)).expect("it runs");
    let output = block.finish();
    (output.gas_used, output.receipts[0].success, output.changes)
}

#[test]
fn blocks_do_the_same_with_it() {
    let words = [
        U256::ZERO,
        U256::ONE,
        U256::from(7),
        U256::MAX,
        U256::MAX - U256::from(6),
        U256::ONE << 255,
        (U256::ONE << 255) + U256::ONE,
        (U256::ONE << 255) - U256::ONE,
        U256::from(u128::MAX),
    ];
    let mut programs = Vec::new();
    for (operation, takes) in OPERATIONS {
        for a in words {
            let mut code = Vec::new();
            let mut at = 0_u16;
            for b in words {
                for c in if takes == 3 { &words[..] } else { &words[..1] } {
                    // PUSH32 each, the operation, PUSH2 MSTORE
                    for word in [c, &b, &a].into_iter().skip(3 - takes) {
                        code.extend([&[0x7f][..], &word.to_be_bytes::<32>()].concat());
                    }
                    code.extend([&[operation, 0x61][..], &at.to_be_bytes(), &[0x52]].concat());
                    at += 32;
                }
            }
            // PUSH2 PUSH0 KECCAK256 PUSH0 SSTORE PUSH0 PUSH0 RETURN
            code.extend([&[0x61][..], &at.to_be_bytes(), &[0x5f, 0x20, 0x5f, 0x55, 0x5f, 0x5f, 0xf3]].concat());
            programs.push((code, 2_000_000));
        }
        // Too few words; too little gas.
        let few = [vec![0x5f; takes - 1], vec![operation]].concat();
        programs.push((few, 100_000));
        let some = [[0x60, 0xff].repeat(takes), vec![operation, 0]].concat();
        programs.extend((53_150..53_300).map(|gas| (some.clone(), gas)));
    }
    let before: Vec<_> = programs.iter().map(|(code, gas)| run(code, *gas)).collect();
    assert_eq!(COUNTING.0.load(Relaxed), 0);
    assert!(install_arithmetic(&COUNTING));
    let after: Vec<_> = programs.iter().map(|(code, gas)| run(code, *gas)).collect();
    assert!(before == after);
    // Some ran to their end, some had no gas, some no words.
    let ended = before.iter().filter(|(_, success, _)| *success).count();
    assert!(72 < ended && ended < before.len() - OPERATIONS.len(), "{ended}");
    assert!(COUNTING.0.load(Relaxed) > 9 * 9 * 8);
    assert!(!install_arithmetic(&COUNTING), "the first one stays");
}
