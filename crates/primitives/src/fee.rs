//! What gas costs, and what data costs.
//!
//! **Gas** is budgeted per second, not per block. Every block carries an *excess*: gas used beyond the target so far, as EIP-4844
//! does for blobs, with time in the place of blocks:
//!
//! ```text
//! excess'  = min(64 s · T, max(0, excess + parent's gas used − T · Δ))      Δ: time since the parent, T: target per second
//! base fee = fake_exponential(floor, excess', 8 s · T)
//! ```
//!
//! So a second of doubled load raises the base fee by e^(1/8) = 1.133, an idle one lowers it by as much, whatever the number of
//! blocks. The same functions serve the state-transition function, the pool and the RPC.
//!
//! **Data** costs what L1 charges for it: an estimate of the bytes that the transaction adds to a batch ([`data_size`]) times
//! L1's prices ([`l1_data_fee`]).

use crate::block::L1Prices;
use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// Seconds of full target load over which the base fee changes by a factor of e.
const RESPONSE_SECONDS: u64 = 8;
/// Seconds of full target load at which the excess saturates.
const SATURATION_SECONDS: u64 = 64;

/// How a chain budgets gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GasParams {
    /// T, gas per second at which the base fee stands still.
    pub target_per_second: u64,
    /// Most gas in one block.
    pub block_gas_limit: u64,
    /// Most gas in one transaction (EIP-7825); absent: no cap but the block's.
    pub transaction_gas_limit_cap: Option<u64>,
    /// Lowest base fee, in wei per gas.
    pub base_fee_floor: u64,
}

impl GasParams {
    /// The largest gas limit a transaction may have.
    pub fn max_transaction_gas(&self) -> u64 {
        self.transaction_gas_limit_cap.unwrap_or(u64::MAX).min(self.block_gas_limit)
    }

    /// The excess at which it saturates and blocks take no more pool transactions: 64 s · T.
    pub fn max_excess(&self) -> u64 {
        self.target_per_second.saturating_mul(SATURATION_SECONDS)
    }

    /// Most gas that the sequencer seals within any second: 2T.
    pub fn max_per_second(&self) -> u64 {
        self.target_per_second.saturating_mul(2)
    }

    /// Excess of a block, from its parent's excess and gas used, `elapsed_ms` after it.
    pub fn next_excess(&self, excess: u64, gas_used: u64, elapsed_ms: u64) -> u64 {
        let paid_off = u128::from(self.target_per_second) * u128::from(elapsed_ms) / 1000;
        let excess = (u128::from(excess) + u128::from(gas_used)).saturating_sub(paid_off);
        u64::try_from(excess).unwrap_or(u64::MAX).min(self.max_excess())
    }

    /// Base fee of a block with this excess, in wei per gas.
    pub fn base_fee(&self, excess: u64) -> u64 {
        let denominator = RESPONSE_SECONDS.saturating_mul(self.target_per_second).max(1);
        let fee = fake_exponential(self.base_fee_floor, excess.min(self.max_excess()), denominator);
        u64::try_from(fee).unwrap_or(u64::MAX)
    }
}

/// `factor · e^(numerator / denominator)` by its Taylor series in integers, as EIP-4844 defines it.
pub(crate) fn fake_exponential(factor: u64, numerator: u64, denominator: u64) -> U256 {
    let (numerator, denominator) = (U256::from(numerator), U256::from(denominator));
    let mut sum = U256::ZERO;
    let mut term = U256::from(factor) * denominator;
    let mut i = U256::ONE;
    while !term.is_zero() {
        sum += term;
        term = term * numerator / (denominator * i);
        i += U256::ONE;
    }
    sum / denominator
}

/// Millionths of a byte of a batch for each byte of FastLZ output, and for the transaction: fitted to a mix of traffic, whose calls' words a batch has
/// mostly seen before.
const USUAL: (u64, u64) = (260_000, 50_200_000);
/// The same, the second subtracted, of data beyond what usual transactions have: they do not compress, and FastLZ expands them by 33/32.
const LONG: (u64, u64) = (970_000, 304_800_000);
/// L1 gas for each million bytes of a batch: 156,000 for a commitment of a full batch, 780,288 bytes. It takes 143,000; the rest is for its tip and for
/// blobs that are not quite full.
const L1_GAS_PER_MEGABYTE: u64 = 200_000;
/// L1 blob gas for each million bytes of a batch: 131,072 for a full blob.
const L1_BLOB_GAS_PER_MEGABYTE: u64 = 1_008_000;

/// Millionths of a byte by which a transaction, in its EIP-2718 encoding, is taken to lengthen a batch: the larger of two linear functions of its FastLZ
/// length, of the form of OP's Fjord estimator.
pub fn data_size(encoded: &[u8]) -> u64 {
    let length = fastlz_len(encoded) as u64;
    let usual = length.saturating_mul(USUAL.0).saturating_add(USUAL.1);
    usual.max(length.saturating_mul(LONG.0).saturating_sub(LONG.1))
}

/// The L1 data fee in wei of a transaction in its EIP-2718 encoding, rounded down.
pub fn l1_data_fee(encoded: &[u8], prices: L1Prices) -> U256 {
    if prices == L1Prices::default() {
        return U256::ZERO;
    }
    data_fee(data_size(encoded), prices)
}

/// The L1 data fee in wei of so many millionths of a byte ([`data_size`]), rounded down.
pub fn data_fee(size: u64, prices: L1Prices) -> U256 {
    if prices == L1Prices::default() {
        return U256::ZERO;
    }
    let price = U256::from(prices.base_fee) * U256::from(L1_GAS_PER_MEGABYTE)
        + U256::from(prices.blob_base_fee) * U256::from(L1_BLOB_GAS_PER_MEGABYTE);
    U256::from(size).saturating_mul(price) / U256::from(1_000_000_000_000u64)
}

/// Length of `input` compressed by FastLZ, level 1, with a table of 8,192 positions hashed from three bytes.
///
/// It walks the input as the compressor would: a literal run of n bytes costs n and one more for each 32 begun, a match of n bytes costs 3 for
/// each 262, and 2 or 3 for the rest. The last 13 bytes start no match, the last 4 are in none.
pub fn fastlz_len(input: &[u8]) -> usize {
    const TABLE: usize = 1 << 13;
    const MAX_DISTANCE: usize = TABLE - 1;
    const MAX_MATCH: usize = 262;
    let three = |at: usize| u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
    let hash = |three: u32| (three.wrapping_mul(2_654_435_769) >> 19) as usize % TABLE;
    let literals = |run: usize| run + run.div_ceil(32);

    let limit = input.len().saturating_sub(13);
    let mut table = [0u32; TABLE];
    let mut out = 0;
    let mut anchor = 0;
    let mut at = 2;
    while at < limit {
        let bytes = three(at);
        let candidate = core::mem::replace(&mut table[hash(bytes)], at as u32) as usize;
        if at - candidate > MAX_DISTANCE || three(candidate) != bytes {
            at += 1;
            continue;
        }
        if at + 1 >= limit {
            break;
        }
        out += literals(at - anchor);
        // The byte that ends a match counts as its part: FastLZ compares with a post-increment.
        let end = limit + 9;
        let same = (at + 3..end).take_while(|i| input[*i] == input[candidate + i - at]).count();
        let length = (same + 1).min(end - at - 3);
        let rest = length - 1;
        out += 3 * (rest / MAX_MATCH) + if rest % MAX_MATCH >= 6 { 3 } else { 2 };
        at += length;
        for _ in 0..2 {
            table[hash(three(at))] = at as u32;
            at += 1;
        }
        anchor = at;
    }
    out + literals(input.len() - anchor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use alloy_primitives::hex;

    const GAS: GasParams = GasParams {
        target_per_second: 500_000_000,
        block_gas_limit: 100_000_000,
        transaction_gas_limit_cap: Some(1 << 24),
        base_fee_floor: 10_000_000,
    };

    #[test]
    fn a_second_of_doubled_load_raises_the_base_fee_by_an_eighth() {
        let (mut excess, mut by_one) = (0, 0);
        for _ in 0..100 {
            excess = GAS.next_excess(excess, 10_000_000, 10);
        }
        by_one = GAS.next_excess(by_one, 1_000_000_000, 1000);
        assert_eq!(excess, by_one, "the number of blocks does not matter");
        assert_eq!(GAS.base_fee(0), 10_000_000);
        assert_eq!(GAS.base_fee(excess), 11_331_484); // floor · e^(1/8)
        assert_eq!(GAS.next_excess(excess, 0, 1000), 0);
        assert!(GAS.base_fee(excess) * 5 < GAS.base_fee(0) * 6, "a quote with a 1.2x margin outlives it");
    }

    #[test]
    fn the_excess_saturates_and_never_overflows() {
        assert_eq!(GAS.next_excess(u64::MAX, u64::MAX, 0), GAS.max_excess());
        assert_eq!(GAS.base_fee(u64::MAX), GAS.base_fee(GAS.max_excess()));
        assert_eq!(GAS.base_fee(GAS.max_excess()), 29_809_579_870); // floor · e^8
        assert_eq!(GAS.next_excess(7, 0, u64::MAX), 0);
        let extreme = GasParams { target_per_second: u64::MAX, base_fee_floor: u64::MAX, ..GAS };
        assert_eq!(extreme.base_fee(u64::MAX), u64::MAX);
        assert_eq!(GasParams { target_per_second: 0, ..GAS }.base_fee(9), GAS.base_fee_floor);
    }

    /// An EIP-1559 contract call from op-geth's tests.
    const CONTRACT_CALL: &[u8] = &hex!(
        "02f901550a758302df1483be21b88304743f94f80e51afb613d764fa61751affd3313c190a86bb870151bd62fd12adb8"
        "e41ef24f3f000000000000000000000000000000000000000000000000000000000000006e0000000000000000000000"
        "00af88d065e77c8cc2239327c5edb3a432268e5831000000000000000000000000000000000000000000000000000000"
        "000003c1e500000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000a0000000000000000000000000000000000000000000000000000000"
        "00000000148c89ed219d02f1a5be012c689b4f5b731827bebe000000000000000000000000c001a033fd89cb37c31b2c"
        "ba46b6466e040c61fc9b2a3675a7f5f493ebd5ad77c497f8a07cdf65680e238392693019b4092f610222e71b7cec0644"
        "9cb922b93b6a12744e"
    );

    /// Lengths that op-geth's tests pin for the same walk.
    #[test]
    fn fastlz_lengths_are_those_of_op_geth() {
        assert_eq!(fastlz_len(&[]), 0);
        assert_eq!(fastlz_len(&[1]), 2);
        assert_eq!(fastlz_len(&[0; 1000]), 21);
        assert_eq!(fastlz_len(&[42; 1000]), 21);
        assert_eq!(fastlz_len(CONTRACT_CALL), 202);
    }

    #[test]
    fn the_data_fee_is_pinned() {
        let prices = L1Prices { base_fee: 1_000_000_000, blob_base_fee: 1_000_000 };
        assert_eq!(data_size(&[0; 10]), 53_060_000);
        assert_eq!(l1_data_fee(&[0; 10], prices), U256::from(10_665_484_480u64));
        assert_eq!(data_size(CONTRACT_CALL), 102_720_000);
        assert_eq!(l1_data_fee(CONTRACT_CALL, prices), U256::from(20_647_541_760u64));
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let random: Vec<u8> = (0..100_000).map(|_| next()).collect();
        assert!(data_size(&random) > 99_000_000_000, "what does not compress pays for itself");
        assert_eq!(l1_data_fee(CONTRACT_CALL, L1Prices::default()), U256::ZERO);
    }
}
