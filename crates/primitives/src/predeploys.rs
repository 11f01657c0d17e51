//! Addresses that a Jove chain has from block 0. They are the OP Stack's, so that tools recognise them.

use alloy_primitives::{Address, U256, address};

/// Receives priority fees: the `beneficiary` of every block.
pub const SEQUENCER_FEE_VAULT: Address = address!("4200000000000000000000000000000000000011");
/// Receives base fees, which are not burned.
pub const BASE_FEE_VAULT: Address = address!("4200000000000000000000000000000000000019");
/// Receives L1 data fees.
pub const L1_FEE_VAULT: Address = address!("420000000000000000000000000000000000001a");
/// Holds the L1 attributes: what the chain knows of its L1 origin.
pub const L1_BLOCK: Address = address!("4200000000000000000000000000000000000015");

/// Slot of [`L1_BLOCK`] with the L1 base fee, in wei.
pub const L1_BASE_FEE_SLOT: U256 = U256::from_limbs([1, 0, 0, 0]);
/// Slot of [`L1_BLOCK`] with the L1 blob base fee, in wei.
pub const L1_BLOB_BASE_FEE_SLOT: U256 = U256::from_limbs([7, 0, 0, 0]);
