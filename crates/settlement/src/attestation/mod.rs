//! Which enclaves may prove: the contracts of attestation, as those who deploy, use and watch them see them (docs/attestation.md).
//!
//! ```text
//!  Terms ── deploy ──► Pccs · DcapVerifier · AttestationRegistry · TeeVerifier
//!  collateral::upload ──► Pccs                 what Intel publishes; keeper does it before it expires
//!  Registry::register ──► AttestationRegistry  a quote, once a key
//!  change ── Timelock ──► AttestationRegistry  lists and policy
//! ```
//!
//! Which contracts they are is asked of the chain: `Proofs` names the verifier of enclaves' proofs, that its registry, and that the rest. Everything but
//! [`change`] can be done by any account. Where a transaction would fail it is not sent, and the contract's error is named.
//!
//! A key is registered once and ends at a time of its own (`Policy.lifetime`), so nothing renews it: an enclave that goes on proving makes a new key, and registers
//! that. [`Enclave::left`] says how soon.

pub mod change;
pub mod collateral;
pub mod keeper;
pub mod pcs;

use crate::{
    Error, L1, Wallet,
    contracts::{AttestationRegistry, DcapVerifier, Pccs, ProofSystem, Proofs, TeeVerifier, ask},
    wallet::Call,
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, TxHash, U256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use jove_primitives::spec::Attestation;
use jove_tee::{Binding, TcbStatus, verify::INTEL_ROOT};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is believed of a quote besides that it is genuine: `AttestationRegistry.Policy`.
pub type Policy = AttestationRegistry::Policy;

/// The statuses that a policy can allow, in the order of their bits. `Revoked` never can be.
pub const STATUSES: [TcbStatus; 6] = [
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
];
/// The longest that a policy lets a key live, in seconds: `AttestationRegistry.MAX_LIFETIME`.
pub const MAX_LIFETIME: u32 = 180 * 86_400;
/// Blocks that the block of a quote may be old: `AttestationRegistry.RECENT`.
const RECENT: u64 = 900;
/// Blocks before a chain's opening in which its contracts' first events are: a week of Ethereum's.
pub(crate) const DEPLOYMENT_BLOCKS: u64 = 50_400;
/// Most measurements or signers that a chain begins with.
const MAX_LIST: usize = 64;

/// What a chain's contracts of attestation begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The root's certificate, DER: [`INTEL_ROOT`], or for development another. It never changes.
    pub root: Vec<u8>,
    /// What is believed besides genuineness.
    pub policy: Policy,
    /// Programs that may prove: MRENCLAVE.
    pub measurements: Vec<B256>,
    /// Their signers: MRSIGNER.
    pub signers: Vec<B256>,
}

impl Terms {
    /// Only what is up to date, collateral for as long as it is valid, keys for 30 days, and nobody on the lists.
    pub fn new(root: Vec<u8>) -> Self {
        let policy = Policy { statuses: 1, minEvaluation: 0, maxAge: u32::MAX, lifetime: 30 * 86_400 };
        Self { root, policy, measurements: Vec::new(), signers: Vec::new() }
    }

    /// What the contracts would refuse, and what makes no sense.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn check(&self, production: bool) -> Result<(), Error> {
        check_policy(&self.policy)?;
        let refuse = |bad: bool, why: &'static str| if bad { Err(Error::Settings(why)) } else { Ok(()) };
        let long = self.measurements.len().max(self.signers.len()) > MAX_LIST;
        refuse(long, "a chain begins with at most 64 measurements and 64 signers of enclaves")?;
        if !production {
            return Ok(());
        }
        let root =
            "in production, quotes are believed under the root of Intel's alone: anyone can make those of another";
        refuse(self.root != INTEL_ROOT, root)?;
        let lists = "in production, name a measurement and a signer of enclaves (--tee-measurement, --tee-signer): otherwise none could prove before the \
                     timelock's delay is over";
        refuse(self.measurements.is_empty() || self.signers.is_empty(), lists)
    }

    /// Of which the addresses of a chain's contracts follow.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Policy { statuses, minEvaluation, maxAge, lifetime } = self.policy;
        let numbers = [u32::from(statuses), minEvaluation, maxAge, lifetime];
        (keccak256(&self.root), numbers, self.measurements.clone(), self.signers.clone()).abi_encode_params()
    }
}

/// Whether the registry takes a policy, and it lets anyone register.
///
/// # Errors
/// [`Error::Settings`].
pub fn check_policy(policy: &Policy) -> Result<(), Error> {
    let refuse = |bad: bool, why: &'static str| if bad { Err(Error::Settings(why)) } else { Ok(()) };
    refuse(policy.statuses == 0, "no TCB status is allowed: no enclave could be registered")?;
    refuse(policy.statuses >> STATUSES.len() != 0, "there are six TCB statuses that can be allowed")?;
    refuse(policy.lifetime == 0 || policy.lifetime > MAX_LIFETIME, "a key lives for 1 second to 180 days")
}

/// The bits of statuses in a policy.
///
/// # Errors
/// [`Error::Settings`] for one that cannot be allowed.
pub fn status_bits(statuses: &[TcbStatus]) -> Result<u8, Error> {
    statuses.iter().try_fold(0, |bits, status| {
        let bit = STATUSES.iter().position(|known| known == status);
        let bit = bit.ok_or(Error::Settings("the status Revoked is never allowed"))?;
        Ok(bits | 1 << bit)
    })
}

/// The statuses that a policy allows.
pub fn statuses(bits: u8) -> Vec<TcbStatus> {
    STATUSES.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, status)| status).collect()
}

/// The contracts behind a verifier of enclaves' proofs, if it asks a registry.
///
/// # Errors
/// As [`L1::request`].
pub async fn contracts_of(l1: &L1, tee_verifier: Address) -> Result<Option<Attestation>, Error> {
    let Some(registry) = known(ask(l1, tee_verifier, &TeeVerifier::registryCall {}).await)? else { return Ok(None) };
    let Some(dcap) = known(ask(l1, registry, &AttestationRegistry::dcapCall {}).await)? else { return Ok(None) };
    let Some(pccs) = known(ask(l1, dcap, &DcapVerifier::pccsCall {}).await)? else { return Ok(None) };
    Ok(Some(Attestation { pccs, dcap, registry, tee_verifier }))
}

/// What a contract answered; nothing if it is another contract, or none.
fn known<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Error::Malformed { .. }) => Ok(None),
        Err(error) if error.revert().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A quote to be registered, with what its report data are the hash of. In JSON the members are in camel case, bytes hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registration {
    /// The SGX quote.
    pub quote: Bytes,
    /// The enclave's signing key, as an address.
    pub key: Address,
    /// Who is paid for its proofs.
    pub payout: Address,
    /// The L1 block that the enclave named.
    pub block_number: u64,
}

/// A registered key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// The key, as an address.
    pub key: Address,
    /// MRENCLAVE.
    pub measurement: B256,
    /// The machine: keccak256(PPID).
    pub platform: B256,
    /// keccak256 of the quote.
    pub quote_hash: B256,
    /// Kind of machine.
    pub fmspc: [u8; 6],
    /// When it ends, Unix seconds.
    pub expires: u64,
    /// The time on L1 when this was read, Unix seconds.
    pub now: u64,
    /// Why its proofs are refused now, by the contract's error; none if they are not.
    pub refusal: Option<String>,
}

impl Enclave {
    /// Seconds until it ends, if its proofs count now.
    pub fn left(&self) -> Option<u64> {
        if self.refusal.is_some() { None } else { Some(self.expires.saturating_sub(self.now)) }
    }
}

/// A registration that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The key.
    pub key: Address,
    /// Who is paid for its proofs.
    pub payout: Address,
    /// Its program.
    pub measurement: B256,
    /// The L1 block.
    pub block: u64,
}

/// Lists of a registry as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// MRENCLAVE that are allowed.
    pub measurements: Vec<B256>,
    /// MRSIGNER that are allowed.
    pub signers: Vec<B256>,
    /// Whether the events name every signer that ever was on the list. If not, the registry is older than them, and there may be more of both.
    pub complete: bool,
}

/// A chain's contracts of attestation.
#[derive(Clone, Debug)]
pub struct Registry {
    l1: L1,
    chain_id: u64,
    contracts: Attestation,
}

impl Registry {
    /// Those of the verifier that is in force for the chain with this `Proofs`.
    ///
    /// # Errors
    /// [`Error::NoRegistry`] if that is none of attestation, or as [`L1::request`].
    pub async fn of_chain(l1: &L1, proofs: Address) -> Result<Self, Error> {
        let system = ask(l1, proofs, &Proofs::systemOfCall { system: ProofSystem::Tee as u8 }).await?;
        Self::of_verifier(l1, system.verifier).await
    }

    /// Those of a verifier, in force or not.
    ///
    /// # Errors
    /// [`Error::NoRegistry`] if it is none of attestation, or as [`L1::request`].
    pub async fn of_verifier(l1: &L1, verifier: Address) -> Result<Self, Error> {
        let contracts = contracts_of(l1, verifier).await?.ok_or(Error::NoRegistry { verifier })?;
        Ok(Self { l1: l1.clone(), chain_id: l1.chain_id().await?, contracts })
    }

    /// The contracts.
    pub fn contracts(&self) -> Attestation {
        self.contracts
    }

    /// The client of L1.
    pub fn l1(&self) -> &L1 {
        &self.l1
    }

    /// What an enclave has to say in its report data to have `key` registered: it names an L1 block that is unlikely to be withdrawn, and recent enough.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn binding(&self, key: Address, payout: Address) -> Result<Binding, Error> {
        let head = self.l1.block_number().await?;
        // The contract takes none that is not a parent of the block it runs in; where nothing is finalized for long, the newest has to do.
        let newest = head.saturating_sub(1);
        let finalized = self.l1.header(BlockNumberOrTag::Finalized).await.ok().flatten().map(|header| header.number);
        let number = finalized.filter(|number| head - number.min(&head) <= RECENT / 2).unwrap_or(newest).min(newest);
        let header = self.l1.header(BlockNumberOrTag::Number(number)).await?;
        let block_hash = header.ok_or(Error::UnknownL1Block(number))?.hash();
        let registry = self.contracts.registry;
        Ok(Binding { chain_id: self.chain_id, registry, key, payout, block_number: number, block_hash })
    }

    /// Registers a key with its quote and waits until that is done. A key that is registered already is left as it is.
    ///
    /// # Errors
    /// [`Error::Reverts`] with the contract's reason, before anything is sent; as [`Wallet::send`].
    pub async fn register(
        &self,
        wallet: &Wallet,
        registration: &Registration,
        sent: impl FnMut(&Call, TxHash),
    ) -> Result<(Enclave, Option<u64>), Error> {
        let Registration { quote, key, payout, block_number } = registration;
        if let Some(enclave) = self.enclave(*key).await? {
            return Ok((enclave, None));
        }
        let data = AttestationRegistry::registerCall {
            quote: quote.clone(),
            key: *key,
            payout: *payout,
            blockNumber: *block_number,
        };
        let call = self.call(format!("register {key}"), data.abi_encode());
        let outcome = wallet.send(&[call], sent).await;
        let gas = outcome.as_ref().ok().and_then(|receipts| receipts.first()).map(|receipt| receipt.gas_used.to());
        match (self.enclave(*key).await?, outcome) {
            // Whoever registered it: it is.
            (Some(enclave), _) => Ok((enclave, gas)),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(Error::UnknownKey(*key)),
        }
    }

    /// Ends a key that newer collateral condemns.
    ///
    /// # Errors
    /// [`Error::Reverts`], such as with `StillValid`; as [`Wallet::send`].
    pub async fn invalidate(
        &self,
        wallet: &Wallet,
        key: Address,
        sent: impl FnMut(&Call, TxHash),
    ) -> Result<Enclave, Error> {
        let call = self.call(format!("end {key}"), AttestationRegistry::invalidateCall { key }.abi_encode());
        wallet.send(&[call], sent).await?;
        self.enclave(key).await?.ok_or(Error::UnknownKey(key))
    }

    /// A key, if it ever was registered.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn enclave(&self, key: Address) -> Result<Option<Enclave>, Error> {
        let registry = self.contracts.registry;
        let found = ask(&self.l1, registry, &AttestationRegistry::enclaveOfCall { key }).await?;
        if found.expires.is_zero() {
            return Ok(None);
        }
        let refusal = match ask(&self.l1, registry, &AttestationRegistry::proverOfCall { key }).await {
            Ok(_) => None,
            Err(error) => Some(error.revert().ok_or(error)?.to_string()),
        };
        Ok(Some(Enclave {
            key,
            measurement: found.measurement,
            platform: found.platform,
            quote_hash: found.quoteHash,
            fmspc: found.fmspc.0,
            expires: found.expires.to(),
            now: self.now().await?,
            refusal,
        }))
    }

    /// The policy.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn policy(&self) -> Result<Policy, Error> {
        let policy = ask(&self.l1, self.contracts.registry, &AttestationRegistry::policyCall {}).await?;
        let AttestationRegistry::policyReturn { statuses, minEvaluation, maxAge, lifetime } = policy;
        Ok(Policy { statuses, minEvaluation, maxAge, lifetime })
    }

    /// Measurements and signers that are allowed, of those that events since block `first` name.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn lists(&self, first: u64) -> Result<Lists, Error> {
        let registry = self.contracts.registry;
        let measurements: BTreeSet<B256> =
            self.events(registry, first, |event: AttestationRegistry::MeasurementSet| event.measurement).await?;
        let signers: BTreeSet<B256> =
            self.events(registry, first, |event: AttestationRegistry::SignerSet| event.signer).await?;
        let count = ask(&self.l1, registry, &AttestationRegistry::signerCountCall {}).await?;
        let mut lists = Lists { complete: signers.len() == count as usize, ..Default::default() };
        for measurement in measurements {
            if ask(&self.l1, registry, &AttestationRegistry::isMeasurementAllowedCall { measurement }).await? {
                lists.measurements.push(measurement);
            }
        }
        for signer in signers {
            if ask(&self.l1, registry, &AttestationRegistry::isSignerAllowedCall { signer }).await? {
                lists.signers.push(signer);
            }
        }
        Ok(lists)
    }

    /// All registrations since block `first`, oldest first.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn registrations(&self, first: u64) -> Result<Vec<Registered>, Error> {
        let filter = Filter::new()
            .address(self.contracts.registry)
            .event_signature(AttestationRegistry::Registered::SIGNATURE_HASH);
        let logs = self.l1.logs_between(&filter, first, self.l1.block_number().await?).await?;
        let read = |log: &alloy_rpc_types_eth::Log| {
            let event = AttestationRegistry::Registered::decode_log_validate(&log.inner).ok()?;
            let AttestationRegistry::Registered { key, payout, measurement, .. } = event.data;
            Some(Registered { key, payout, measurement, block: log.block_number? })
        };
        Ok(logs.iter().filter_map(read).collect())
    }

    /// Whether the root is one for development, under which anyone makes quotes.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn is_test(&self) -> Result<bool, Error> {
        ask(&self.l1, self.contracts.pccs, &Pccs::isTestCall {}).await
    }

    /// The time on L1, Unix seconds: that of its head.
    pub(crate) async fn now(&self) -> Result<u64, Error> {
        let head = self.l1.header(BlockNumberOrTag::Latest).await?;
        head.map(|head| head.timestamp).ok_or(Error::UnknownL1Block(0))
    }

    /// What events of a kind since block `first` name, each once.
    async fn events<E: SolEvent, T: Ord>(
        &self,
        from: Address,
        first: u64,
        read: impl Fn(E) -> T,
    ) -> Result<BTreeSet<T>, Error> {
        let filter = Filter::new().address(from).event_signature(E::SIGNATURE_HASH);
        let logs = self.l1.logs_between(&filter, first, self.l1.block_number().await?).await?;
        Ok(logs
            .iter()
            .filter_map(|log| E::decode_log_validate(&log.inner).ok())
            .map(|event| read(event.data))
            .collect())
    }

    fn call(&self, what: String, data: Vec<u8>) -> Call {
        Call { what, to: self.contracts.registry, value: U256::ZERO, data: data.into() }
    }
}

/// The first block in which events of a chain's contracts are looked for.
pub fn first_block(opened: u64) -> u64 {
    opened.saturating_sub(DEPLOYMENT_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Edit = fn(&mut Terms);

    fn terms() -> Terms {
        let lists = (vec![B256::repeat_byte(1)], vec![B256::repeat_byte(2)]);
        Terms { measurements: lists.0, signers: lists.1, ..Terms::new(INTEL_ROOT.to_vec()) }
    }

    #[test]
    fn terms_that_no_enclave_could_meet_are_refused() {
        terms().check(true).expect("the defaults are production's");
        let always: [(Edit, &str); 5] = [
            (|terms| terms.policy.statuses = 0, "no TCB status"),
            (|terms| terms.policy.statuses = 1 << 6, "six TCB statuses"),
            (|terms| terms.policy.lifetime = 0, "180 days"),
            (|terms| terms.policy.lifetime = MAX_LIFETIME + 1, "180 days"),
            (|terms| terms.signers = vec![B256::ZERO; MAX_LIST + 1], "at most 64"),
        ];
        let production: [(Edit, &str); 3] = [
            (|terms| terms.root[0] ^= 1, "root of Intel's"),
            (|terms| terms.measurements.clear(), "--tee-measurement"),
            (|terms| terms.signers.clear(), "--tee-signer"),
        ];
        for (edit, words) in always.into_iter().chain(production) {
            let mut terms = terms();
            edit(&mut terms);
            let error = terms.check(true).expect_err("refused").to_string();
            assert!(error.contains(words), "{error} has no {words:?}");
        }
        for (edit, _) in production {
            let mut terms = terms();
            edit(&mut terms);
            terms.check(false).expect("for development");
        }
    }

    #[test]
    fn statuses_are_the_contracts_bits() {
        // `Tcb.sol`'s enum.
        let names: Vec<String> = STATUSES.iter().map(ToString::to_string).collect();
        let expected = "UpToDate,SWHardeningNeeded,ConfigurationNeeded,ConfigurationAndSWHardeningNeeded,OutOfDate,OutOfDateConfigurationNeeded";
        assert_eq!(names.join(","), expected);
        assert_eq!(status_bits(&[TcbStatus::UpToDate, TcbStatus::OutOfDate]).expect("bits"), 0b1_0001);
        assert_eq!(statuses(0b1_0001), [TcbStatus::UpToDate, TcbStatus::OutOfDate]);
        assert!(status_bits(&[TcbStatus::Revoked]).is_err());
    }

    #[test]
    fn a_registration_is_json() {
        let json = r#"{"quote":"0x0102","key":"0x1111111111111111111111111111111111111111","payout":"0x2222222222222222222222222222222222222222","blockNumber":7}"#;
        let read: Registration = serde_json::from_str(json).expect("a registration");
        assert_eq!((read.quote.as_ref(), read.block_number), (&[1, 2][..], 7));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), json);
        for bad in [json.replace("0102", "01"), json.replace("\"key\"", "\"keys\""), json.replace(":7", ":-7")] {
            assert_eq!(serde_json::from_str::<Registration>(&bad).is_err(), !bad.contains("\"0x01\""), "{bad}");
        }
    }
}
