//! A chain with validators, as L1 has it (docs/validators.md): the terms of its contracts, the set that it begins with, and the set at any L1 block.
//!
//! Who validates at first is in the chain spec, with proofs of possession; the `owner`, which may be left out, is who may register on L1 as one of them.
//!
//! The set of epoch e + 2 is the registry's at the L1 origin of the last checkpoint of epoch e. The registry deletes no record, so any later state of
//! L1 tells the set at a block: what is asked for is a function of the block alone, and a node without old states can answer.

use crate::{
    Error, L1,
    contracts::{RewardVault, Rollup, ValidatorAuthority, ValidatorRegistry, ask, ask_at},
    watcher::Batch,
};
use alloy_eips::{BlockNumberOrTag, RpcBlockHash};
use alloy_primitives::{Address, B256, Bytes, U256, aliases::U48};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use jove_avc::{
    BlsSigner, Evidence, L1Origin, MAX_VALIDATORS, PublicKey, Seal, Validator, ValidatorSet, Vote, WEIGHT_ONE, l1,
    verify_possession,
};
use jove_primitives::spec::Validators;

/// The most wei of a bond: `ValidatorRegistry` keeps it in 96 bits.
const MAX_BOND: u128 = (1 << 96) - 1;
/// The longest that a bond is kept: `ValidatorRegistry` refuses more.
const MAX_UNBONDING: u64 = 3_650 * 86_400;
/// In production, the least time that a bond is kept, in seconds.
const PRODUCTION_UNBONDING: u64 = 21 * 86_400;

/// Who lets operators register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The chain's timelock.
    Timelock,
    /// Nobody needs to: a bond is enough.
    Everyone,
    /// This account.
    Account(Address),
}

/// What a chain's validators begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who lets operators register.
    pub admission: Admission,
    /// The least bond, in wei.
    pub min_bond: u128,
    /// How long a bond stays after its validator has left, in seconds.
    pub unbonding: u64,
    /// Who gets what is slashed; none: the timelock.
    pub treasury: Option<Address>,
    /// What the proposer of a batch's last checkpoint is paid, in wei; none: there is no vault.
    pub reward: Option<u128>,
    /// Who validates at first.
    pub founders: Founders,
}

/// Who validates at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founders {
    /// The set of the first two epochs.
    pub set: ValidatorSet,
    /// Who may register as which of them, without being admitted.
    pub owners: Vec<(B256, Address)>,
}

impl Terms {
    /// The timelock admits and gets what is slashed, 32 ETH, 21 days, no reward.
    pub fn new(founders: Founders) -> Self {
        let (min_bond, unbonding) = (32_000_000_000_000_000_000, PRODUCTION_UNBONDING);
        Self { admission: Admission::Timelock, min_bond, unbonding, treasury: None, reward: None, founders }
    }

    /// What the contracts would refuse, and what makes no sense.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn check(&self, production: bool) -> Result<(), Error> {
        let refuse = |bad: bool, why: &'static str| if bad { Err(Error::Settings(why)) } else { Ok(()) };
        refuse(self.min_bond == 0 || self.min_bond > MAX_BOND, "a validator's bond is 1 to 2^96 - 1 wei")?;
        refuse(self.unbonding == 0 || self.unbonding > MAX_UNBONDING, "bonds are kept for 1 second to ten years")?;
        refuse(self.reward == Some(0), "a reward of nothing needs no vault")?;
        let nobody = self.treasury == Some(Address::ZERO) || self.admission == Admission::Account(Address::ZERO);
        refuse(nobody, "no role may be the zero address")?;
        let short = production && self.unbonding < PRODUCTION_UNBONDING;
        refuse(short, "in production validators' bonds are kept for at least 21 days")
    }

    /// The account that admits; zero for everyone.
    fn admitter(&self, timelock: Address) -> Address {
        match self.admission {
            Admission::Timelock => timelock,
            Admission::Everyone => Address::ZERO,
            Admission::Account(account) => account,
        }
    }

    /// As the contract is told them.
    pub(crate) fn to_contract(&self, timelock: Address) -> ValidatorAuthority::Terms {
        ValidatorAuthority::Terms {
            admitter: self.admitter(timelock),
            minBond: U256::from(self.min_bond),
            unbonding: U48::from(self.unbonding),
            treasury: self.treasury.unwrap_or(timelock),
        }
    }

    /// As the contract is told them.
    pub(crate) fn founders(&self) -> Vec<ValidatorAuthority::Founder> {
        self.founders.owners.iter().map(|(id, owner)| ValidatorAuthority::Founder { id: *id, owner: *owner }).collect()
    }

    /// The set's keys, as they are published.
    ///
    /// # Errors
    /// [`Error::Validators`] if one is no key.
    pub(crate) fn published(&self) -> Result<Vec<u8>, Error> {
        l1::set(&self.founders.set).map_err(|error| Error::Validators(error.to_string()))
    }

    /// Of which the addresses of a chain's contracts follow.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let who = match self.admission {
            Admission::Timelock => (0u32, Address::ZERO),
            Admission::Everyone => (1, Address::ZERO),
            Admission::Account(account) => (2, account),
        };
        let money = (self.min_bond, self.unbonding, self.treasury.unwrap_or_default(), self.reward.unwrap_or(0));
        (who, money, self.founders.set.hash(), self.founders.owners.clone()).abi_encode()
    }
}

impl Founders {
    /// Those that a chain spec names, every key with its possession proven.
    ///
    /// # Errors
    /// [`Error::Validators`].
    pub fn of(validators: &Validators) -> Result<Self, Error> {
        let refuse = Error::Validators;
        let entries = &validators.genesis;
        if entries.len() > MAX_VALIDATORS {
            return Err(refuse(format!("there are {}, and at most {MAX_VALIDATORS} may be", entries.len())));
        }
        let (mut members, mut owners) = (Vec::with_capacity(entries.len()), Vec::new());
        for one in entries {
            let words = |what: &str| refuse(format!("{}: {what}", one.id));
            let key = <[u8; 96]>::try_from(&one.key[..]).map_err(|_| words("its key is not of 96 bytes"))?;
            let possession = <[u8; 48]>::try_from(&one.possession[..])
                .map_err(|_| words("its proof of possession is not of 48 bytes"))?;
            verify_possession(&key, &possession).map_err(|error| words(&error.to_string()))?;
            if one.id.is_zero() {
                return Err(refuse("an id is zero".into()));
            }
            owners.extend(one.owner.map(|owner| (one.id, owner)));
            members.push(Validator { id: one.id, key, vrf: one.vrf.0, weight: WEIGHT_ONE, sequencer: one.sequencer });
        }
        let set = ValidatorSet::new(members).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { set, owners })
    }
}

/// The registry's set at the end of an L1 block, which L1 must have under this hash. Nothing if it makes no set: nobody validates, or nobody of them leads.
///
/// # Errors
/// [`Error::L1Reorganised`] if L1 has another block there; if L1 cannot be asked, or the contract is another.
pub async fn set_at(l1: &L1, authority: Address, origin: &L1Origin) -> Result<Option<ValidatorSet>, Error> {
    // A head that this node of L1 has: one that is behind another would know fewer records.
    let head = l1.header(BlockNumberOrTag::Latest).await?.ok_or(Error::UnknownL1Block(origin.number))?;
    if head.number < origin.number {
        return Err(Error::UnknownL1Block(origin.number));
    }
    let call = ValidatorAuthority::setAtCall { number: U48::from(origin.number) };
    let members = ask_at(l1, authority, &call, RpcBlockHash::from_hash(head.hash(), Some(true))).await?;
    let found = l1.header(origin.number).await?.ok_or(Error::UnknownL1Block(origin.number))?;
    if found.hash() != origin.hash {
        return Err(Error::L1Reorganised(origin.number));
    }
    let members = members.into_iter().map(|one| {
        let key = <[u8; 96]>::try_from(&one.key[..]).map_err(|_| Error::Malformed {
            method: "eth_call".into(),
            reason: format!("the key of {} is not of 96 bytes", one.id),
        })?;
        Ok(Validator { id: one.id, key, vrf: one.vrf.0, weight: WEIGHT_ONE, sequencer: one.sequencer })
    });
    Ok(ValidatorSet::new(members.collect::<Result<_, Error>>()?).ok())
}

/// The validators whose bonds were taken in the L1 blocks from `first` up to one that L1 must have under this hash; in the order in which it happened.
///
/// # Errors
/// As [`set_at`].
pub async fn slashed(l1: &L1, authority: Address, first: u64, upto: &L1Origin) -> Result<Vec<B256>, Error> {
    if first > upto.number {
        return Ok(Vec::new());
    }
    let filter = Filter::new().address(authority).event_signature(ValidatorAuthority::Slashed::SIGNATURE_HASH);
    let logs = l1.logs_between(&filter, first, upto.number).await?;
    let found = l1.header(upto.number).await?.ok_or(Error::UnknownL1Block(upto.number))?;
    if found.hash() != upto.hash {
        return Err(Error::L1Reorganised(upto.number));
    }
    let ids = logs.iter().map(|log| ValidatorAuthority::Slashed::decode_log(&log.inner).map(|event| event.id));
    ids.collect::<Result<_, _>>().map_err(|_| Error::NotTheContracts("ValidatorAuthority"))
}

/// The peer id that each validator of a set registered with the keys that it has in the set, and in which L1 block; those that are not on L1 are left out.
///
/// # Errors
/// As [`L1::request`].
pub async fn peers_of(l1: &L1, authority: Address, set: &ValidatorSet) -> Result<Vec<(B256, u64, Bytes)>, Error> {
    let mut peers = Vec::with_capacity(set.size());
    for one in set.validators() {
        let records = ask(l1, authority, &ValidatorAuthority::recordsOfCall { id: one.id }).await?;
        let record = records.into_iter().rev().find(|record| record.key == one.key[..]);
        peers.extend(record.map(|record| (one.id, record.since.to(), record.peerId)));
    }
    Ok(peers)
}

/// What a validator registers with: its keys, expanded, and the proof that it has them.
///
/// # Errors
/// [`Error::Validators`]; never for keys of [`BlsSigner`].
pub fn keys(signer: &BlsSigner, sequencer: bool, peer: Bytes) -> Result<ValidatorRegistry::Keys, Error> {
    let words = |error: jove_avc::Error| Error::Validators(error.to_string());
    Ok(ValidatorRegistry::Keys {
        key: Bytes::copy_from_slice(&l1::expanded_key(&signer.public_key()).map_err(words)?),
        possession: Bytes::copy_from_slice(&l1::expanded_signature(&signer.prove_possession()).map_err(words)?),
        vrf: signer.vrf_key().into(),
        sequencer,
        peerId: peer,
    })
}

/// The call that takes the bond of a validator which signed twice in an era.
///
/// # Errors
/// [`Error::Validators`] if a key or a signature is none.
pub fn slash(era: u64, evidence: &Evidence, id: B256, record: usize, key: &PublicKey) -> Result<Bytes, Error> {
    let words = |error: jove_avc::Error| Error::Validators(error.to_string());
    let (key, record) = (Bytes::copy_from_slice(&l1::expanded_key(key).map_err(words)?), U256::from(record));
    let signature = |bytes: &jove_avc::Signature| {
        Ok::<_, Error>(Bytes::copy_from_slice(&l1::expanded_signature(bytes).map_err(words)?))
    };
    Ok(match evidence {
        Evidence::Votes(a, b) => {
            let vote = |vote: &Vote| {
                let (kind, digest) = (vote.kind as u8, vote.digest);
                Ok::<_, Error>(ValidatorRegistry::Vote { kind, digest, signature: signature(&vote.signature)? })
            };
            let place = ValidatorRegistry::Place { era, epoch: a.epoch, view_: a.view };
            ValidatorAuthority::slashVotesCall { id, record, key, place, a: vote(a)?, b: vote(b)? }.abi_encode()
        }
        Evidence::Seals(a, b) => {
            let seal = |seal: &Seal| {
                Ok::<_, Error>(ValidatorRegistry::Seal { blockHash: seal.hash, signature: signature(&seal.signature)? })
            };
            let place = ValidatorRegistry::SealPlace { era, epoch: a.epoch, term: a.term, number: a.number };
            ValidatorAuthority::slashSealsCall { id, record, key, place, a: seal(a)?, b: seal(b)? }.abi_encode()
        }
    }
    .into())
}

/// The call that has `RewardVault` pay the proposer of a final batch's last checkpoint.
pub fn claim(batch: &Batch, certificate: Bytes) -> Bytes {
    let arguments = (Rollup::Batch::from(batch.header), batch.blobs.clone(), certificate);
    [RewardVault::claimCall::SELECTOR.as_slice(), &arguments.abi_encode_params()].concat().into()
}

/// What a deployed chain's contract of validators says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// How many validators there are.
    pub size: U256,
    /// Who admits operators; zero: everyone may register.
    pub admitter: Address,
    /// The least bond, in wei.
    pub min_bond: U256,
    /// How long a bond stays, in seconds.
    pub unbonding: u64,
    /// Who gets what is slashed.
    pub treasury: Address,
}

impl Registry {
    /// Reads it; nothing if the authority is another contract.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn read(l1: &L1, authority: Address) -> Result<Option<Self>, Error> {
        let size = match ask(l1, authority, &ValidatorAuthority::sizeCall {}).await {
            Ok(size) => size,
            Err(Error::Rpc { .. } | Error::Malformed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self {
            size,
            admitter: ask(l1, authority, &ValidatorAuthority::admitterCall {}).await?,
            min_bond: ask(l1, authority, &ValidatorAuthority::minBondCall {}).await?,
            unbonding: ask(l1, authority, &ValidatorAuthority::unbondingCall {}).await?.to(),
            treasury: ask(l1, authority, &ValidatorAuthority::treasuryCall {}).await?,
        }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use jove_avc::Signer as _;
    use jove_primitives::{batch::BatchHeader, spec::GenesisValidator};

    fn entry(number: u64) -> GenesisValidator {
        let secret = |name: &str| keccak256(format!("{name} {number}"));
        let signer = BlsSigner::new(secret("id"), &secret("votes")[..], &secret("vrf").0).expect("32 bytes");
        GenesisValidator {
            id: signer.id(),
            key: Bytes::copy_from_slice(&signer.public_key()),
            possession: Bytes::copy_from_slice(&signer.prove_possession()),
            vrf: signer.vrf_key().into(),
            sequencer: number == 0,
            peer: String::new(),
            addresses: Vec::new(),
            owner: (number == 1).then(|| Address::repeat_byte(3)),
        }
    }

    fn spec(genesis: Vec<GenesisValidator>) -> Validators {
        Validators { epoch_length: 8, term_length: 4, seats: 4, genesis }
    }

    /// A set of this many.
    pub(crate) fn validators(count: u64) -> Validators {
        spec((0..count).map(entry).collect())
    }

    #[test]
    fn sets_are_read() {
        let founders = Founders::of(&validators(4)).expect("good");
        let set = &founders.set;
        assert_eq!((set.size(), set.quorum()), (4, 3));
        assert!(set.validators().windows(2).all(|pair| pair[0].id < pair[1].id));
        assert_eq!(founders.owners.len(), 1, "those that are named");
        let terms = Terms::new(founders);
        assert_eq!(terms.founders()[0].owner, Address::repeat_byte(3));
        assert_eq!(terms.published().expect("keys").len(), 4 * 257);
        terms.check(true).expect("the defaults are production's");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let edited = |edit: fn(&mut GenesisValidator)| {
            let mut entry = entry(0);
            edit(&mut entry);
            vec![entry]
        };
        let cases = [
            (vec![], "its size"),
            (vec![entry(0), entry(0)], "an id twice"),
            (vec![entry(1)], "nobody to lead"),
            (edited(|one| one.possession = entry(1).possession), "possession is not proven"),
            (edited(|one| one.key = Bytes::from([0; 96])), "no valid key"),
            (edited(|one| one.key = Bytes::from([0; 95])), "not of 96 bytes"),
            (edited(|one| one.possession = Bytes::new()), "not of 48 bytes"),
            (edited(|one| one.id = B256::ZERO), "zero"),
            (vec![entry(0); 201], "at most 200"),
        ];
        for (list, words) in cases {
            let error = Founders::of(&spec(list)).expect_err("refused").to_string();
            assert!(error.contains(words), "{error} has no {words:?}");
        }
    }

    #[test]
    fn a_claim_is_the_contracts_call() {
        let header = BatchHeader { index: 7, last_block: 9, ..Default::default() };
        let (blobs, hash) = (vec![B256::repeat_byte(1)], B256::ZERO);
        let committed =
            crate::watcher::L1Place { block_number: 1, block_hash: hash, timestamp: 2, transaction_hash: hash };
        let batch =
            Batch { header, blobs: blobs.clone(), hash, committed, attested: None, proven: None, settled: None };
        let call = RewardVault::claimCall::abi_decode(&claim(&batch, Bytes::from_static(b"it"))).expect("the call");
        assert_eq!((call.batch.index, call.batch.lastBlock, call.blobs), (7, 9, blobs));
        assert_eq!(call.certificate, Bytes::from_static(b"it"));
    }

    #[test]
    fn terms_are_those_that_the_contract_takes() {
        let good = Terms::new(Founders::of(&validators(4)).expect("good"));
        let bad: [fn(&mut Terms); 8] = [
            |terms| terms.min_bond = 0,
            |terms| terms.min_bond = 1 << 96,
            |terms| terms.unbonding = 0,
            |terms| terms.unbonding = MAX_UNBONDING + 1,
            |terms| terms.unbonding -= 1,
            |terms| terms.reward = Some(0),
            |terms| terms.treasury = Some(Address::ZERO),
            |terms| terms.admission = Admission::Account(Address::ZERO),
        ];
        for (place, edit) in bad.into_iter().enumerate() {
            let mut terms = good.clone();
            edit(&mut terms);
            assert!(terms.check(true).is_err(), "{place}");
        }
        let timelock = Address::repeat_byte(9);
        let told = Terms { admission: Admission::Everyone, ..good.clone() }.to_contract(timelock);
        assert_eq!((told.admitter, told.treasury), (Address::ZERO, timelock));
        assert_eq!(good.to_contract(timelock).admitter, timelock);
    }
}
