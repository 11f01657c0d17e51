//! The rules of a chain as words: what its config hash covers.
//!
//! Words of 32 bytes, big-endian; what is not said to be an address is an integer of 64 bits:
//!
//! | words | what |
//! |---|---|
//! | 5 | chain id, gas target a second, block gas limit, transaction gas limit cap (0: none), base fee floor |
//! | 2 | greatest age of the L1 origin in seconds; 1 for a development chain, else 0 |
//! | 1 | the address of L1's `Inbox`, which the hashes of messages depend on; zero where there is none |
//! | 1 + 2·n | number n of L1's blob fee updates that hold; time and fraction of each |
//! | 2 for each | forks that hold: number, counted from Berlin = 0, and time |
//! | 1 + 4·m | under Ethereum's rules alone: length of a slot; of each entry of the blob schedule that holds time, target, maximum and update fraction |

use super::{BlobFeeUpdate, ChainSpec, Fork, ForkActivation, Genesis, GenesisL1Prices, Settlement, SpecError};
use crate::fee::GasParams;
use alloc::{string::String, vec::Vec};
use alloy_primitives::{Address, B256, U256, keccak256};

/// Most bytes of a config that is read: a thousand forks and updates.
const MAX_CONFIG: usize = 1 << 16;

impl ChainSpec {
    /// What decides how blocks up to a time (in seconds) are run and is not in the genesis block, as the words above.
    pub fn config(&self, timestamp: u64) -> Vec<u8> {
        let gas = &self.gas;
        let cap = gas.transaction_gas_limit_cap.unwrap_or(0);
        let fixed =
            [self.chain_id, gas.target_per_second, gas.block_gas_limit, cap, gas.base_fee_floor, self.max_origin_age];
        let inbox = self.settlement.as_ref().map_or(Address::ZERO, |settlement| settlement.inbox);
        let forks = self.forks.iter().take_while(|activation| activation.timestamp <= timestamp);
        let forks = forks.flat_map(|activation| [activation.fork as u64, activation.timestamp]);
        let slot = self.ethereum.as_ref().map(|ethereum| ethereum.slot_seconds);
        let blobs = self.ethereum.iter().flat_map(|ethereum| &ethereum.blob_schedule);
        let blobs = blobs.take_while(|at| at.timestamp <= timestamp);
        let blobs = blobs.flat_map(|at| [at.timestamp, at.target, at.max, at.base_fee_update_fraction]);
        let updates = self.settlement.iter().flat_map(|settlement| &settlement.blob_fee_updates);
        let updates = updates.take_while(|update| update.timestamp <= timestamp);
        let count = updates.clone().count() as u64;
        let updates = updates.flat_map(|update| [update.timestamp, update.fraction]);
        let word = |word| B256::from(U256::from::<u64>(word));
        let first = fixed.into_iter().chain([self.development.into()]).map(word).chain([inbox.into_word()]);
        let rest = [count].into_iter().chain(updates).chain(forks).chain(slot).chain(blobs).map(word);
        first.chain(rest).flat_map(|word| word.0).collect()
    }

    /// The configuration hash that batches and `Rollup` name: keccak256 of [`Self::config`] with all forks, those to come too.
    pub fn config_hash(&self) -> B256 {
        keccak256(self.config(u64::MAX))
    }

    /// The rules of a chain that settles on L1, from its [`Self::config`] with all forks: what provers know of a chain. Its name, genesis, and contracts on L1
    /// but the inbox are not in it, and left empty.
    ///
    /// # Errors
    /// [`SpecError::Config`] if the bytes are no such config; as [`Self::from_json`] if a value is outside its range.
    pub fn from_config(config: &[u8]) -> Result<Self, SpecError> {
        if config.len() > MAX_CONFIG || !config.len().is_multiple_of(32) {
            return Err(SpecError::Config("its length is not one of words, or beyond 65536 bytes"));
        }
        let mut words = config.chunks_exact(32).map(B256::from_slice);
        let mut word = || words.next().ok_or(SpecError::Config("it ends early"));
        let number = |word: B256| {
            u64::try_from(U256::from_be_bytes(word.0)).map_err(|_| SpecError::Config("a number above 64 bits"))
        };
        let chain_id = number(word()?)?;
        let gas = GasParams {
            target_per_second: number(word()?)?,
            block_gas_limit: number(word()?)?,
            transaction_gas_limit_cap: Some(number(word()?)?).filter(|cap| *cap > 0),
            base_fee_floor: number(word()?)?,
        };
        let max_origin_age = number(word()?)?;
        let development = number(word()?)? == 1;
        let inbox = Address::from_word(word()?);
        let mut settlement = Settlement { inbox, ..Default::default() };
        for _ in 0..number(word()?)? {
            let (timestamp, fraction) = (number(word()?)?, number(word()?)?);
            settlement.blob_fee_updates.push(BlobFeeUpdate { timestamp, fraction });
        }
        let mut forks = Vec::new();
        while let Some(fork) = words.next() {
            let fork = usize::try_from(number(fork)?).ok().and_then(|fork| FORKS.get(fork)).copied();
            let timestamp = words.next().ok_or(SpecError::Config("it is one of Ethereum's rules"))?;
            let fork = fork.ok_or(SpecError::Config("a fork that is unknown"))?;
            forks.push(ForkActivation { fork, timestamp: number(timestamp)? });
        }
        let timestamp = forks.first().map_or(0, |first| first.timestamp);
        let spec = Self {
            name: String::new(),
            chain_id,
            forks,
            gas,
            development,
            max_origin_age,
            l1_prices: GenesisL1Prices::default(),
            ethereum: None,
            settlement: Some(settlement),
            validators: None,
            seeds: Vec::new(),
            genesis: Genesis { timestamp, alloc: Default::default() },
        };
        spec.check_rules()?;
        // One config for one set of rules: whatever was read otherwise than it is written, such as a flag that is 2.
        if spec.config(u64::MAX) != config {
            return Err(SpecError::Config("it is not as it would be written"));
        }
        Ok(spec)
    }
}

/// By their numbers.
const FORKS: [Fork; 7] =
    [Fork::Berlin, Fork::London, Fork::Paris, Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloy_primitives::address;

    fn settled() -> ChainSpec {
        let update = |timestamp, fraction| BlobFeeUpdate { timestamp, fraction };
        let settlement = Settlement {
            inbox: address!("00000000000000000000000000000000000000aa"),
            blob_fee_updates: vec![update(0, 5_007_716), update(1000, 8_346_193)],
            ..Default::default()
        };
        ChainSpec { settlement: Some(settlement), ..ChainSpec::dev() }
    }

    #[test]
    fn a_config_is_all_that_blocks_so_far_depend_on() {
        let spec = ChainSpec::dev();
        let (now, later) = (1_000, 5_000);
        let mut upgraded = spec.clone();
        upgraded.forks.push(ForkActivation { fork: Fork::Osaka, timestamp: later });
        assert_eq!(spec.config(now), upgraded.config(now));
        assert_ne!(spec.config(later), upgraded.config(later));
        let edits: [fn(&mut ChainSpec); 8] = [
            |spec| spec.max_origin_age += 1,
            |spec| spec.chain_id += 1,
            |spec| spec.gas.target_per_second += 1,
            |spec| spec.gas.block_gas_limit += 1,
            |spec| spec.gas.transaction_gas_limit_cap = None,
            |spec| spec.gas.base_fee_floor += 1,
            |spec| spec.development = !spec.development,
            |spec| spec.forks[0].fork = Fork::Prague,
        ];
        for edit in edits {
            let mut other = spec.clone();
            edit(&mut other);
            assert_ne!(spec.config(now), other.config(now));
        }
    }

    #[test]
    fn the_inbox_is_part_of_the_rules() {
        let mut other = settled();
        if let Some(settlement) = &mut other.settlement {
            settlement.inbox = Address::ZERO;
        }
        assert_ne!(other.config_hash(), settled().config_hash());
    }

    #[test]
    fn forks_have_their_numbers() {
        for (number, fork) in FORKS.into_iter().enumerate() {
            assert_eq!(fork as usize, number);
        }
    }

    #[test]
    fn rules_are_read_back_from_a_config_and_nothing_else_is() {
        let mut spec = settled();
        let read = |spec: &ChainSpec| ChainSpec::from_config(&spec.config(u64::MAX));
        let found = read(&spec).expect("a config");
        assert_eq!((found.config_hash(), found.gas, &found.forks), (spec.config_hash(), spec.gas, &spec.forks));
        spec.gas.transaction_gas_limit_cap = None;
        spec.development = false;
        let found = read(&spec).expect("a config");
        assert_eq!((found.gas, found.development), (spec.gas, false));
        assert_eq!(found.settlement.map(|found| found.inbox), spec.settlement.as_ref().map(|ours| ours.inbox));

        assert!(read(&ChainSpec::dev()).is_err(), "it settles nowhere");
        assert!(read(&ChainSpec::l1(900, 12)).is_err());
        let config = spec.config(u64::MAX);
        for length in (0..config.len()).filter(|length| *length != config.len() - 64) {
            assert!(ChainSpec::from_config(&config[..length]).is_err(), "{length}");
        }
        assert!(ChainSpec::from_config(&[&config[..], &[0; 32]].concat()).is_err());
        assert!(ChainSpec::from_config(&vec![0; MAX_CONFIG + 32]).is_err());
        // Any other byte is another config, or none.
        for at in 0..config.len() {
            for bit in [1, 2, 0x80] {
                let mut altered = config.clone();
                altered[at] ^= bit;
                if let Ok(other) = ChainSpec::from_config(&altered) {
                    assert_eq!(other.config(u64::MAX), altered, "byte {at}");
                }
            }
        }
    }
}
