//! Addresses that a Jove chain has from block 0. They are the OP Stack's, so that tools recognise them.

use alloy_primitives::{Address, B256, U256, address, b256};

/// Receives priority fees: the `beneficiary` of every block.
pub const SEQUENCER_FEE_VAULT: Address = address!("4200000000000000000000000000000000000011");
/// Receives base fees, which are not burned.
pub const BASE_FEE_VAULT: Address = address!("4200000000000000000000000000000000000019");
/// Receives L1 data fees.
pub const L1_FEE_VAULT: Address = address!("420000000000000000000000000000000000001a");
/// Holds the L1 attributes: what the chain knows of its L1 origin.
pub const L1_BLOCK: Address = address!("4200000000000000000000000000000000000015");
/// Sends messages to L1: keeps their tree (docs/settlement.md).
pub const L2_MESSENGER: Address = address!("4200000000000000000000000000000000000016");
/// The L2 side of the token bridge.
pub const L2_BRIDGE: Address = address!("4200000000000000000000000000000000000010");

/// Slot of [`L2_MESSENGER`] with the number of messages.
pub const OUTBOX_COUNT_SLOT: U256 = U256::ZERO;
/// Slot of [`L2_MESSENGER`] with the root of the tree of messages.
pub const OUTBOX_ROOT_SLOT: U256 = U256::ONE;
/// Root of the tree of messages while there is none: Z_32, with Z_0 = 0 and Z_n+1 = keccak256(Z_n ‖ Z_n).
pub const EMPTY_OUTBOX_ROOT: B256 = b256!("27ae5ba08d7291c96c8cbddcc148bf48a6d68c7974b94356f53754ef6171d757");
/// Slot of [`L2_BRIDGE`] with the address of the bridge on L1.
pub const L1_BRIDGE_SLOT: U256 = U256::ZERO;

/// Slot of [`L1_BLOCK`] with the L1 base fee, in wei.
pub const L1_BASE_FEE_SLOT: U256 = U256::from_limbs([1, 0, 0, 0]);
/// Slot of [`L1_BLOCK`] with the L1 blob base fee, in wei.
pub const L1_BLOB_BASE_FEE_SLOT: U256 = U256::from_limbs([7, 0, 0, 0]);
