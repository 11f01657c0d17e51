//! What stands in for a beacon chain on a layer 1 for development.
//!
//! Such a chain is under Ethereum's rules, but no one attests it. What a beacon node would be asked is answered from its blocks:
//! - time is cut into slots of equal length, and a block's timestamp is the start of its slot. Slots in which no block was sealed stay empty. Block 0
//!   is in slot [`Slots::FIRST`], so that slots and block numbers differ from the start;
//! - the root of a beacon block is the hash of its execution block with every bit inverted: no hash of anything, but unlike the hash, unique, and known
//!   from it. `parentBeaconBlockRoot` (EIP-4788) is that of the parent.

use alloy_primitives::B256;

/// The slots of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Time of block 0, in seconds since the Unix epoch.
    pub genesis: u64,
    /// Length of a slot, in seconds; not 0.
    pub seconds: u64,
}

impl Slots {
    /// The slot of block 0.
    pub const FIRST: u64 = 7;

    /// The start of slot 0, in seconds since the Unix epoch.
    pub fn start(&self) -> u64 {
        self.genesis.saturating_sub(Self::FIRST.saturating_mul(self.seconds))
    }

    /// The slot that a time (in seconds since the Unix epoch) is in.
    pub fn at(&self, time: u64) -> u64 {
        time.saturating_sub(self.start()) / self.seconds.max(1)
    }

    /// When a slot starts, in seconds since the Unix epoch.
    pub fn time(&self, slot: u64) -> u64 {
        self.start().saturating_add(slot.saturating_mul(self.seconds))
    }
}

/// The root of the beacon block that carries the execution block with this hash, and the other way round.
pub fn block_root(hash: B256) -> B256 {
    !hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_numbered_from_before_genesis() {
        let slots = Slots { genesis: 1_000_000, seconds: 12 };
        assert_eq!(slots.start(), 1_000_000 - 84);
        assert_eq!((slots.at(1_000_000), slots.at(1_000_011), slots.at(1_000_012)), (7, 7, 8));
        assert_eq!(slots.at(0), 0);
        for slot in [7, 8, 1_000] {
            assert_eq!(slots.at(slots.time(slot)), slot);
        }
        assert_eq!(slots.time(u64::MAX), u64::MAX, "no overflow");
    }

    #[test]
    fn roots_are_no_hashes_and_lead_back_to_them() {
        let hash = B256::repeat_byte(0x5a);
        assert_eq!(block_root(hash), B256::repeat_byte(0xa5));
        assert_eq!(block_root(block_root(hash)), hash);
    }
}
