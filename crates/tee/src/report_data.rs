//! What an enclave puts into the 64 bytes that its quote signs.
//!
//! `keccak256(abi.encode(chain id, registry, key, payout, block number, block hash)) ‖ 0³²`: six words, 192 bytes, then a
//! Keccak hash in the first half of the report data and zeros in the second. The registry gets the six values in calldata and
//! computes the same. So a quote registers one key, for one payout address, at one registry, and only while the named L1 block
//! is recent.

use alloy_primitives::{Address, B256, keccak256};

/// What a quote binds its enclave's key to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The chain id of the registry's chain: L1.
    pub chain_id: u64,
    /// The `AttestationRegistry`.
    pub registry: Address,
    /// The enclave's signing key, as an address. Its secret has never left the enclave.
    pub key: Address,
    /// Who is paid for the enclave's proofs.
    pub payout: Address,
    /// A recent block of L1.
    pub block_number: u64,
    /// That block's hash: the quote is younger than the block.
    pub block_hash: B256,
}

impl Binding {
    /// The 64 bytes of report data.
    pub fn report_data(&self) -> [u8; 64] {
        let mut words = [0; 192];
        words[24..32].copy_from_slice(&self.chain_id.to_be_bytes());
        words[44..64].copy_from_slice(self.registry.as_slice());
        words[76..96].copy_from_slice(self.key.as_slice());
        words[108..128].copy_from_slice(self.payout.as_slice());
        words[152..160].copy_from_slice(&self.block_number.to_be_bytes());
        words[160..].copy_from_slice(self.block_hash.as_slice());
        let mut data = [0; 64];
        data[..32].copy_from_slice(keccak256(words).as_slice());
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, b256};

    const EXAMPLE: Binding = Binding {
        chain_id: 1,
        registry: address!("0x1111111111111111111111111111111111111111"),
        key: address!("0x2222222222222222222222222222222222222222"),
        payout: address!("0x3333333333333333333333333333333333333333"),
        block_number: 20_000_000,
        block_hash: b256!("0x4444444444444444444444444444444444444444444444444444444444444444"),
    };

    /// `cast keccak $(cast abi-encode 'f(uint256,address,address,address,uint256,bytes32)' 1 0x1111… 0x2222… 0x3333… 20000000 0x4444…)`.
    #[test]
    fn is_pinned() {
        let mut expected = [0; 64];
        expected[..32]
            .copy_from_slice(b256!("0x7ea4fddd02c79a9755acd8621c2f59679a4b82bb21eafea4a26b4b83005fced2").as_slice());
        assert_eq!(EXAMPLE.report_data(), expected);
    }

    #[test]
    fn every_field_counts() {
        let data = EXAMPLE.report_data();
        let one = address!("0x0000000000000000000000000000000000000001");
        let others = [
            Binding { chain_id: 2, ..EXAMPLE },
            Binding { registry: one, ..EXAMPLE },
            Binding { key: one, ..EXAMPLE },
            Binding { payout: one, ..EXAMPLE },
            Binding { block_number: 1, ..EXAMPLE },
            Binding { block_hash: B256::ZERO, ..EXAMPLE },
            Binding { key: EXAMPLE.payout, payout: EXAMPLE.key, ..EXAMPLE },
        ];
        for other in others {
            assert_ne!(other.report_data(), data, "{other:?}");
            assert_eq!(other.report_data()[32..], [0; 32]);
        }
    }
}
