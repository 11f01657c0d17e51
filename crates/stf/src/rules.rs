//! Which rules a block is under, and what they mean to the EVM.

use alloc::{sync::Arc, vec::Vec};
use alloy_consensus::Header;
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{B256, U256};
use jove_primitives::{ChainSpec, Fork, spec::BlobSchedule};
use revm::{
    context::{BlockEnv, CfgEnv},
    primitives::hardfork::SpecId,
};

/// The rules of a block.
#[derive(Clone, Debug)]
pub enum Rules {
    /// Jove's, as a chain spec sets them.
    Jove {
        /// The chain.
        spec: Arc<ChainSpec>,
        /// Hash of its block 0.
        genesis: B256,
    },
    /// Ethereum's at one fork: blob transactions, base fee burned, no L1 data fee.
    Ethereum {
        /// EIP-155 chain id.
        chain_id: u64,
        /// The fork.
        fork: Fork,
        /// A chain to develop on: accounts with code may send (EIP-3607 is off).
        development: bool,
        /// Changes of blob parameters alone (EIP-7892), in ascending order; before the first, the fork's hold.
        blobs: Vec<BlobSchedule>,
    },
}

impl Rules {
    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        match self {
            Self::Jove { spec, .. } => spec.chain_id,
            Self::Ethereum { chain_id, .. } => *chain_id,
        }
    }

    /// The fork at a block time, in seconds.
    pub fn fork(&self, timestamp: u64) -> Fork {
        match self {
            Self::Jove { spec, .. } => spec.fork(timestamp),
            Self::Ethereum { fork, .. } => *fork,
        }
    }

    /// The source of `mixHash` in blocks of an L1 origin with this `mixHash`: zero before there is an origin.
    pub fn mix_source(&self, origin: B256) -> B256 {
        match self {
            Self::Jove { genesis, .. } if origin.is_zero() => *genesis,
            _ => origin,
        }
    }

    /// What blobs cost and how many a block may have, at a block time in seconds. Jove's blocks have none, which cost what Ethereum's first do.
    pub fn blob_params(&self, timestamp: u64) -> BlobParams {
        if let Some(at) = self.scheduled_blobs(timestamp) {
            return BlobParams {
                target_blob_count: at.target,
                max_blob_count: at.max,
                update_fraction: at.base_fee_update_fraction.into(),
                ..BlobParams::osaka()
            };
        }
        match self.fork(timestamp) {
            Fork::Osaka => BlobParams::osaka(),
            Fork::Prague => BlobParams::prague(),
            _ => BlobParams::cancun(),
        }
    }

    fn scheduled_blobs(&self, timestamp: u64) -> Option<&BlobSchedule> {
        let Self::Ethereum { blobs, .. } = self else { return None };
        blobs.iter().rfind(|at| at.timestamp <= timestamp)
    }

    /// revm's configuration at a block time, in seconds.
    pub fn cfg_env(&self, timestamp: u64) -> CfgEnv {
        let fork = self.fork(timestamp);
        let mut cfg = CfgEnv::new_with_spec(spec_id(fork)).with_chain_id(self.chain_id());
        // EIP-7594 keeps a transaction at six blobs when blocks have more (EIP-7691).
        cfg.set_max_blobs_per_tx(if fork == Fork::Prague { 9 } else { 6 });
        cfg.blob_base_fee_update_fraction = self.scheduled_blobs(timestamp).map(|at| at.base_fee_update_fraction);
        match self {
            Self::Jove { spec, .. } => {
                // None would mean EIP-7825's own cap.
                cfg.tx_gas_limit_cap = Some(spec.gas.transaction_gas_limit_cap.unwrap_or(u64::MAX));
                cfg.disable_eip3607 = spec.development;
            }
            Self::Ethereum { development, .. } => cfg.disable_eip3607 = *development,
        }
        cfg
    }

    /// revm's view of a header, of which only the fields known before execution are read.
    pub fn block_env(&self, header: &Header) -> BlockEnv {
        let fork = self.fork(header.timestamp);
        let mut env = BlockEnv {
            number: U256::from(header.number),
            beneficiary: header.beneficiary,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or(0),
            difficulty: header.difficulty,
            prevrandao: (fork >= Fork::Paris).then_some(header.mix_hash),
            blob_excess_gas_and_price: None,
            slot_num: 0,
        };
        if fork >= Fork::Cancun {
            let fraction = self.cfg_env(header.timestamp).blob_base_fee_update_fraction();
            env.set_blob_excess_gas_and_price(header.excess_blob_gas.unwrap_or(0), fraction);
        }
        env
    }
}

fn spec_id(fork: Fork) -> SpecId {
    match fork {
        Fork::Berlin => SpecId::BERLIN,
        Fork::London => SpecId::LONDON,
        Fork::Paris => SpecId::MERGE,
        Fork::Shanghai => SpecId::SHANGHAI,
        Fork::Cancun => SpecId::CANCUN,
        Fork::Prague => SpecId::PRAGUE,
        Fork::Osaka => SpecId::OSAKA,
    }
}
