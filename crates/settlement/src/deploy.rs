//! Puts a chain's contracts on L1 and makes its chain file (docs/settlement.md, "Deploying").
//!
//! Every contract is created by the deterministic deployment proxy that Ethereum's chains have at [`FACTORY`], so its address follows from its code and
//! a salt (EIP-1014), and the salt from the L1, the deployer, the L2's genesis and rules, and the [`Settings`]:
//! salt = keccak256(keccak256("jove.deploy.v1") ‖ L1 chain id ‖ deployer ‖ genesis hash without a bridge ‖ config hash ‖ settings, a word each), and of
//! each contract keccak256(salt ‖ keccak256(its name)). So all addresses are known before the first transaction, L2's genesis can name them, and every step
//! can be looked up:
//!
//! | wave | what | done when |
//! |---|---|---|
//! | 1 | `Timelock`, `Pause`, `Origins`, test verifiers, `Placeholder`, `SequencerAuthority`, five implementations, `Pccs` | there is code |
//! | 2 | six proxies with the placeholder, claimed for the deployer; `DcapVerifier`; the keys of the first set | there is code; `keysOf` |
//! | 3 | `AttestationRegistry`, `TeeVerifier` | there is code |
//! | 4 | the five implementations put in place | the proxy's ERC-1967 slot |
//! | 5 | the implementation of `Rollup`, which asks `Proofs` | there is code |
//! | 6 | it is put in place and opens the chain, with the ETH of genesis | `phase()` |
//!
//! The contracts of attestation are created where [`Enclaves::Attested`] says so; each asks the one before it. A chain with validators has
//! `ValidatorAuthority` in the place of `SequencerAuthority`, perhaps a `RewardVault`, and the keys of its first set are published.
//!
//! The transactions of a wave do not wait for each other. Nothing is kept on disk: a deployment that was interrupted anywhere is the same command again. It first
//! waits for what the account has sent before, then does what is not done. Anyone may create the same contracts at the same addresses; only the
//! deployer can put them in place. Once the chain is open, nothing is sent any more.

use crate::{
    Error, L1,
    attestation::{self, Terms},
    blob_fees,
    contracts::{
        AttestationRegistry, Bridge, DcapVerifier, EscapeHatch, IMPLEMENTATION_SLOT, Inbox, Origins, Outbox, Pause,
        Pccs, Phase, Placeholder, ProofSystem, Proofs, Proxy, RewardVault, Rollup, SequencerAuthority, TeeVerifier,
        TestVerifier, Timelock, ValidatorAuthority, ZkVerifier, ask, creation_code,
    },
    validators,
    wallet::{Call, Key, Wallet, create2_address},
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, TxHash, U256, address, aliases::U48, hex, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use jove_primitives::{
    ChainSpec, predeploys,
    spec::{Attestation, BlobFeeUpdate, Settlement},
};
use jove_trie::StateTrie;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

/// The deterministic deployment proxy, Arachnid's: 32 bytes of salt, then creation code.
pub const FACTORY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
/// What a whole deployment takes, rounded up: 19 million of it is execution, the rest the margin of each transaction.
const DEPLOYMENT_GAS: u64 = 25_000_000;
/// What the contracts of attestation take besides: 9 million of it is execution.
const ATTESTATION_GAS: u64 = 12_000_000;
/// What the contracts of validators take besides, and each validator whose keys are published.
const VALIDATORS_GAS: u64 = 7_000_000;
const VALIDATOR_GAS: u64 = 90_000;
/// Most that `Inbox` takes as a gas target per second.
const MAX_GAS_TARGET: u64 = 1_000_000_000_000_000;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The verifier of proofs from enclaves that a chain begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enclaves {
    /// A test verifier, which is created: it believes everyone.
    Test,
    /// One that is there already.
    Verifier(Address),
    /// `TeeVerifier`, which is created with `Pccs`, `DcapVerifier` and `AttestationRegistry`.
    Attested(Terms),
}

/// The verifier of zero-knowledge proofs that a chain begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZeroKnowledge {
    /// A test verifier, which is created: it believes everyone.
    Test,
    /// One that is there already.
    Verifier(Address),
    /// `ZkVerifier`, which is created, with what it pins.
    Pinned(Pins),
}

/// What `ZkVerifier` pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// The commitment to the guest's image.
    pub program: U256,
    /// The commitment to its virtual machine.
    pub machine: U256,
    /// The circuit's verifying key: 992 bytes, of which the first 128 are s·G2.
    pub key: Bytes,
}

impl Pins {
    /// Bytes of a verifying key.
    const KEY: usize = 992;
    /// s·G2 of the Perpetual Powers of Tau after 85 contributions, as `ZkVerifier` has it.
    const CEREMONY: [u8; 128] = hex!(
        "172aa93c41f16e1e04d62ac976a5d945f4be0acab990c6dc19ac4a7cf68bf77b"
        "2ae0c8c3a090f7200ff398ee9845bbae8f8c1445ae7b632212775f60a0e21600"
        "1754a9fc3b7e4da9197c283c7401773208190c5555caf254e644e99c29366704"
        "1459fe6cc8a1222fd4290864ff9e47d4b8cf7a403593c7107c39538ddefd857e"
    );

    /// Whether nobody is known to know the secret of the key's parameters: they are the ceremony's.
    fn is_of_ceremony(&self) -> bool {
        self.key.starts_with(&Self::CEREMONY)
    }
}

/// What whoever deploys a chain decides. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether the contracts refuse test verifiers and delays below the production ones.
    pub production: bool,
    /// Who may commit.
    pub sequencer: Address,
    /// The security council.
    pub council: Address,
    /// Who proposes upgrades to the timelock.
    pub governor: Address,
    /// Who is paid for the gas of messages from L1.
    pub fee_recipient: Address,
    /// Who certifies blocks besides the sequencer's key; none: nobody, and the sequencer's signature is enough.
    pub validators: Option<validators::Terms>,
    /// The verifier of proofs from enclaves.
    pub enclaves: Enclaves,
    /// The verifier of zero-knowledge proofs.
    pub zk: ZeroKnowledge,
    /// T1: after it without a timely commit anyone may commit.
    pub silence_delay: u64,
    /// T2: after it anyone may commit queued messages alone.
    pub message_delay: u64,
    /// A batch without a proof can be dropped after it.
    pub drop_delay: u64,
    /// Z: the escape can begin after it.
    pub escape_delay: u64,
    /// W: how long one system's proof stays open to contradiction.
    pub single_proof_delay: u64,
    /// The timelock's delay, and its floor.
    pub timelock_delay: u64,
    /// In L1 blocks: a commit with an older origin counts as silence.
    pub origin_lag: u64,
    /// The lowest price of a unit of L2 gas that is bought on L1, in wei.
    pub price_floor: u64,
    /// How fast L1's blob base fee moves: L1's schedule, in ascending order.
    pub blob_fee_updates: Vec<BlobFeeUpdate>,
}

impl Settings {
    /// The delays of docs/settlement.md with `owner` in every role, on the L1 with this chain id; gas bought there costs at least what it does on L2.
    pub fn new(owner: Address, spec: &ChainSpec, l1: u64) -> Self {
        Self {
            production: false,
            sequencer: owner,
            council: owner,
            governor: owner,
            fee_recipient: owner,
            validators: None,
            enclaves: Enclaves::Test,
            zk: ZeroKnowledge::Test,
            silence_delay: 12 * HOUR,
            message_delay: 3 * DAY,
            drop_delay: DAY,
            escape_delay: 21 * DAY,
            single_proof_delay: 7 * DAY,
            timelock_delay: 30 * DAY,
            origin_lag: 3_600,
            price_floor: spec.gas.base_fee_floor,
            blob_fee_updates: blob_fees::known(l1),
        }
    }

    /// Whether a chain can be opened with them: the contracts would say the same, later and in fewer words.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn check(&self, spec: &ChainSpec) -> Result<(), Error> {
        let refuse = |bad: bool, why: &'static str| if bad { Err(Error::Settings(why)) } else { Ok(()) };
        refuse(spec.ethereum.is_some(), "a chain under Ethereum's rules settles nowhere")?;
        refuse(spec.settlement.is_some(), "the chain spec has a settlement already: it is a deployed chain's file")?;
        refuse(spec.gas.target_per_second > MAX_GAS_TARGET, "gas.targetPerSecond must be at most 10^15")?;
        let roles = [self.sequencer, self.council, self.governor, self.fee_recipient];
        refuse(roles.contains(&Address::ZERO), "no role may be the zero address")?;
        let delays = [
            self.silence_delay,
            self.message_delay,
            self.drop_delay,
            self.escape_delay,
            self.single_proof_delay,
            self.timelock_delay,
        ];
        refuse(delays.iter().any(|delay| *delay > 36_500 * DAY), "delays must be at most a hundred years")?;
        refuse(self.drop_delay == 0, "the drop delay must not be 0")?;
        refuse(self.price_floor == 0, "the price floor must not be 0")?;
        let twice = 2 * self.single_proof_delay;
        refuse(self.escape_delay <= twice, "the escape delay (Z) must be longer than two single-proof delays (W)")?;
        let unknown = spec.validators.is_some() && self.validators.is_none();
        refuse(unknown, "the chain spec names validators: on which terms do they validate?")?;
        self.validators.as_ref().map_or(Ok(()), |terms| terms.check(self.production))?;
        let terms = match &self.enclaves {
            Enclaves::Attested(terms) => Some(terms),
            Enclaves::Test | Enclaves::Verifier(_) => None,
        };
        let pins = match &self.zk {
            ZeroKnowledge::Pinned(pins) => Some(pins),
            ZeroKnowledge::Test | ZeroKnowledge::Verifier(_) => None,
        };
        refuse(pins.is_some_and(|pins| pins.key.len() != Pins::KEY), "a verifying key has 992 bytes")?;
        if !self.production {
            return terms.map_or(Ok(()), |terms| terms.check(false));
        }
        let unsafe_key = pins.is_some_and(|pins| !pins.is_of_ceremony());
        refuse(
            unsafe_key,
            "the key to verify zero-knowledge proofs with is by parameters for development: anybody can forge proofs",
        )?;
        refuse(spec.development, "a development chain is not for production: its accounts' keys are public")?;
        let real = "a production chain needs real verifiers for both proof systems: test verifiers believe everyone";
        refuse(self.enclaves == Enclaves::Test || self.zk == ZeroKnowledge::Test, real)?;
        terms.map_or(Ok(()), |terms| terms.check(true))?;
        refuse(self.single_proof_delay < 7 * DAY, "in production the single-proof delay (W) is at least 7 days")?;
        refuse(self.drop_delay < DAY, "in production the drop delay is at least 24 hours")?;
        refuse(self.escape_delay < 21 * DAY, "in production the escape delay (Z) is at least 21 days")?;
        let silence = HOUR..=7 * DAY;
        refuse(!silence.contains(&self.silence_delay), "in production the silence delay (T1) is 1 hour to 7 days")?;
        let message = DAY..=14 * DAY;
        refuse(!message.contains(&self.message_delay), "in production the message delay (T2) is 1 to 14 days")?;
        refuse(self.origin_lag > 7_200, "in production the origin lag is at most 7200 L1 blocks")?;
        let late = self.timelock_delay < self.escape_delay + 9 * DAY;
        refuse(late, "in production the timelock's delay is at least the escape delay (Z) and 9 days")
    }

    /// A word each, in the order of the fields; the terms of attestation, which have any length, come after them, those of validators last.
    fn words(&self) -> Vec<u8> {
        let (tee, terms) = match &self.enclaves {
            Enclaves::Test => (Address::ZERO, Vec::new()),
            Enclaves::Verifier(verifier) => (*verifier, Vec::new()),
            Enclaves::Attested(terms) => (Address::ZERO, terms.encode()),
        };
        let (zk, pins) = match &self.zk {
            ZeroKnowledge::Test => (Address::ZERO, Vec::new()),
            ZeroKnowledge::Verifier(verifier) => (*verifier, Vec::new()),
            ZeroKnowledge::Pinned(Pins { program, machine, key }) => {
                (Address::ZERO, (*program, *machine, key.clone()).abi_encode())
            }
        };
        let fixed = (self.production, self.sequencer, self.council, self.governor, self.fee_recipient, tee, zk);
        let delays = [self.silence_delay, self.message_delay, self.drop_delay, self.escape_delay];
        let rest = [self.single_proof_delay, self.timelock_delay, self.origin_lag, self.price_floor];
        let validators = self.validators.as_ref().map_or(Vec::new(), validators::Terms::encode);
        [fixed.abi_encode(), delays.abi_encode(), rest.abi_encode(), pins, terms, validators].concat()
    }
}

/// The genesis of a chain, as `Rollup` is told it.
pub fn genesis(spec: &ChainSpec) -> Rollup::Genesis {
    let root = StateTrie::default().apply(&spec.genesis_changes());
    Rollup::Genesis {
        blockHash: spec.genesis_header(root).hash_slow(),
        stateRoot: root,
        outboxRoot: predeploys::EMPTY_OUTBOX_ROOT,
        supply: spec.genesis_supply(),
    }
}

/// One transaction of a deployment.
#[derive(Clone, Debug)]
enum Step {
    /// Creates a contract.
    Create { name: &'static str, address: Address, salt: B256, code: Bytes },
    /// Publishes the keys of a set of validators.
    Publish { authority: Address, set: B256, validators: Bytes },
    /// Puts an implementation in the place of the placeholder.
    Place { name: &'static str, proxy: Address, implementation: Address, call: Bytes, value: U256 },
}

impl Step {
    fn call(&self) -> Call {
        match self {
            Self::Create { name, salt, code, .. } => Call {
                what: format!("create {name}"),
                to: FACTORY,
                value: U256::ZERO,
                data: [&salt[..], code].concat().into(),
            },
            Self::Publish { authority, validators, .. } => Call {
                what: "publish the validators' keys".into(),
                to: *authority,
                value: U256::ZERO,
                data: ValidatorAuthority::publishCall { validators: validators.clone() }.abi_encode().into(),
            },
            Self::Place { name, proxy, implementation, call, value } => Call {
                what: format!("put {name} in place"),
                to: *proxy,
                value: *value,
                data: Placeholder::upgradeToAndCallCall { newImplementation: *implementation, data: call.clone() }
                    .abi_encode()
                    .into(),
            },
        }
    }
}

/// A deployment: everything about it is known before its first transaction.
#[derive(Clone, Debug)]
pub struct Plan {
    spec: ChainSpec,
    settings: Settings,
    deployer: Address,
    placeholder: Address,
    genesis: Rollup::Genesis,
    waves: [Vec<Step>; 6],
}

impl Plan {
    /// The deployment of a chain on the L1 with this chain id by this account.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(template: &ChainSpec, settings: Settings, l1: u64, deployer: Address) -> Result<Self, Error> {
        settings.check(template)?;
        let rules = Settlement { blob_fee_updates: settings.blob_fee_updates.clone(), ..Default::default() };
        let unnamed = ChainSpec { settlement: Some(rules), ..template.clone() };
        let words = (keccak256("jove.deploy.v1"), U256::from(l1), deployer, genesis(&unnamed).blockHash);
        let salt = [words.abi_encode(), unnamed.config_hash().to_vec(), settings.words()].concat();
        let mut creations = Creations { salt: keccak256(salt), steps: Vec::new() };

        let Settings { governor, council, .. } = settings;
        let timelock =
            Timelock::constructorCall { delay: U256::from(settings.timelock_delay), proposers: vec![governor] };
        let timelock = creations.add("Timelock", creation_code(&Timelock::BYTECODE, &timelock));
        let pause = creation_code(&Pause::BYTECODE, &Pause::constructorCall { council_: council });
        let pause = creations.add("Pause", pause);
        let origins = creations.add("Origins", Origins::BYTECODE.clone());
        let mut later = [(); 2].map(|()| Creations { salt: creations.salt, steps: Vec::new() });
        let (tee, attestation) = match &settings.enclaves {
            Enclaves::Test => (creations.add("tee TestVerifier", TestVerifier::BYTECODE.clone()), None),
            Enclaves::Verifier(verifier) => (*verifier, None),
            Enclaves::Attested(terms) => {
                let attestation = attest(terms, timelock, &mut creations, &mut later);
                (attestation.tee_verifier, Some(attestation))
            }
        };
        let zk = match &settings.zk {
            ZeroKnowledge::Test => creations.add("zk TestVerifier", TestVerifier::BYTECODE.clone()),
            ZeroKnowledge::Verifier(verifier) => *verifier,
            ZeroKnowledge::Pinned(Pins { program, machine, key }) => {
                let call = ZkVerifier::constructorCall { program_: *program, machine_: *machine, key_: key.clone() };
                creations.add("ZkVerifier", creation_code(&ZkVerifier::BYTECODE, &call))
            }
        };
        let [mut proxies, attested] = later;
        let placeholder = creations.add("Placeholder", Placeholder::BYTECODE.clone());

        let claim = Placeholder::claimCall { deployer_: deployer }.abi_encode().into();
        let proxy = Proxy::constructorCall { implementation: placeholder, data: claim };
        let proxy = creation_code(&Proxy::BYTECODE, &proxy);
        let [rollup, proofs, inbox, bridge, outbox, escape_hatch] =
            ["Rollup", "Proofs", "Inbox", "Bridge", "Outbox", "EscapeHatch"]
                .map(|name| proxies.add(name, proxy.clone()));

        let (authority, reward_vault) = match &settings.validators {
            None => {
                let authority = SequencerAuthority::constructorCall {
                    chainId_: template.chain_id,
                    rollup_: rollup,
                    sequencer: settings.sequencer,
                };
                let code = creation_code(&SequencerAuthority::BYTECODE, &authority);
                (creations.add("SequencerAuthority", code), None)
            }
            Some(terms) => {
                let authority = ValidatorAuthority::constructorCall {
                    chainId_: template.chain_id,
                    rollup_: rollup,
                    genesisSet: terms.founders.set.hash(),
                    terms: terms.to_contract(timelock),
                    founders: terms.founders(),
                };
                let code = creation_code(&ValidatorAuthority::BYTECODE, &authority);
                let authority = creations.add("ValidatorAuthority", code);
                let (set, validators) = (terms.founders.set.hash(), terms.published()?.into());
                proxies.steps.push(Step::Publish { authority, set, validators });
                let vault = terms.reward.map(|reward| {
                    let reward_ = U256::from(reward);
                    let vault = RewardVault::constructorCall { rollup_: rollup, authority_: authority, reward_ };
                    creations.add("RewardVault", creation_code(&RewardVault::BYTECODE, &vault))
                });
                (authority, vault)
            }
        };

        let mut placements = Vec::new();
        let mut place = |name, proxy, address, call: Vec<u8>| {
            placements.push(Step::Place { name, proxy, implementation: address, call: call.into(), value: U256::ZERO });
        };
        let code = creation_code(
            &Inbox::BYTECODE,
            &Inbox::constructorCall {
                timelock_: timelock,
                rollup_: rollup,
                bridge_: bridge,
                pause_: pause,
                gasTarget_: template.gas.target_per_second,
                priceFloor_: U256::from(settings.price_floor),
                feeRecipient_: settings.fee_recipient,
            },
        );
        place("Inbox", inbox, creations.add("Inbox implementation", code), vec![]);
        let code = creation_code(
            &Bridge::BYTECODE,
            &Bridge::constructorCall {
                timelock_: timelock,
                rollup_: rollup,
                inbox_: inbox,
                outbox_: outbox,
                escapeHatch_: escape_hatch,
                pause_: pause,
            },
        );
        place("Bridge", bridge, creations.add("Bridge implementation", code), vec![]);
        let code = creation_code(
            &Outbox::BYTECODE,
            &Outbox::constructorCall {
                timelock_: timelock,
                rollup_: rollup,
                bridge_: bridge,
                inbox_: inbox,
                escapeHatch_: escape_hatch,
            },
        );
        place("Outbox", outbox, creations.add("Outbox implementation", code), vec![]);
        let code = creation_code(
            &EscapeHatch::BYTECODE,
            &EscapeHatch::constructorCall { timelock_: timelock, rollup_: rollup, bridge_: bridge, inbox_: inbox },
        );
        place("EscapeHatch", escape_hatch, creations.add("EscapeHatch implementation", code), vec![]);
        let code = creation_code(
            &Proofs::BYTECODE,
            &Proofs::constructorCall {
                timelock_: timelock,
                rollup_: rollup,
                council_: council,
                production_: settings.production,
                singleProofDelay_: U48::from(settings.single_proof_delay),
            },
        );
        let initialize = Proofs::initializeCall { tee, zk }.abi_encode();
        place("Proofs", proofs, creations.add("Proofs implementation", code), initialize);

        let settlement = Settlement {
            chain_id: l1,
            blob_fee_updates: settings.blob_fee_updates.clone(),
            block: 0,
            rollup,
            proofs,
            inbox,
            bridge,
            outbox,
            escape_hatch,
            authority,
            reward_vault,
            timelock,
            pause,
            origins,
            attestation,
        };
        let spec = ChainSpec { settlement: Some(settlement), ..template.clone() };
        ChainSpec::from_json(&spec.to_json())
            .map_err(|_| Error::Settings("the blob fee updates must ascend, with fractions from 2^16 to 2^40"))?;
        let genesis = genesis(&spec);
        let code = creation_code(
            &Rollup::BYTECODE,
            &Rollup::constructorCall {
                settings: Rollup::Settings {
                    chainId: spec.chain_id,
                    production: settings.production,
                    silenceDelay: U48::from(settings.silence_delay),
                    messageDelay: U48::from(settings.message_delay),
                    dropDelay: U48::from(settings.drop_delay),
                    escapeDelay: U48::from(settings.escape_delay),
                    originLag: settings.origin_lag,
                    configHash: spec.config_hash(),
                },
                parts: Rollup::Parts {
                    timelock,
                    proofs,
                    authority,
                    inbox,
                    bridge,
                    outbox,
                    escapeHatch: escape_hatch,
                    pause,
                    origins,
                },
            },
        );
        let mut last = Creations { salt: creations.salt, steps: Vec::new() };
        let implementation = last.add("Rollup implementation", code);
        let call = Rollup::initializeCall { genesis: genesis.clone() }.abi_encode().into();
        let open = Step::Place { name: "Rollup", proxy: rollup, implementation, call, value: genesis.supply };
        let waves = [creations.steps, proxies.steps, attested.steps, placements, last.steps, vec![open]];
        Ok(Self { spec, settings, deployer, placeholder, genesis, waves })
    }

    /// The chain spec with the contracts' addresses; the block of [`Settlement`] is 0 until the chain is open.
    pub fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    fn settlement(&self) -> Result<Settlement, Error> {
        self.spec.settlement.clone().ok_or(Error::Settings("the chain spec has no settlement"))
    }

    /// Does what is not done yet, and returns the chain spec of the open chain. `progress` hears of each transaction as it is
    /// sent.
    ///
    /// # Errors
    /// [`Error::NoFactory`], [`Error::Unfunded`] and [`Error::VerifierRefused`] before anything is sent; [`Error::UnknownImplementation`]; as
    /// [`Wallet::send`]. Run again, it goes on.
    pub async fn run(&self, l1: &L1, key: Key, mut progress: impl FnMut(&str, TxHash)) -> Result<ChainSpec, Error> {
        let settlement = self.settlement()?;
        let wallet = Wallet::new(l1.clone(), key).await?;
        if wallet.chain_id() != settlement.chain_id || wallet.address() != self.deployer {
            return Err(Error::Settings("the plan is for another L1 or another account"));
        }
        wallet.settle().await?;
        if phase(l1, settlement.rollup).await? == Phase::Closed {
            self.check_means(&wallet).await?;
            for wave in &self.waves {
                let mut calls = Vec::new();
                for step in wave {
                    if !self.is_done(l1, step).await? {
                        calls.push(step.call());
                    }
                }
                match wallet.send(&calls, |call, hash| progress(&call.what, hash)).await {
                    Ok(_) => {}
                    Err(error @ (Error::Failed { .. } | Error::Reverts { .. })) => {
                        // Someone else may have created the same contract at the same address first.
                        for step in wave {
                            if !self.is_done(l1, step).await? {
                                return Err(error);
                            }
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let (found, genesis) = look_up(l1, settlement.rollup).await?;
        if genesis != self.genesis {
            return Err(Error::OtherGenesis { opened: genesis.blockHash, expected: self.genesis.blockHash });
        }
        let Settlement { blob_fee_updates, reward_vault, .. } = settlement;
        let settlement = Settlement { blob_fee_updates, reward_vault, ..found };
        Ok(ChainSpec { settlement: Some(settlement), ..self.spec.clone() })
    }

    /// What can be known to fail before anything is sent.
    async fn check_means(&self, wallet: &Wallet) -> Result<(), Error> {
        let l1 = wallet.node();
        if l1.code(FACTORY, BlockNumberOrTag::Latest).await?.is_empty() {
            return Err(Error::NoFactory { address: FACTORY });
        }
        let tee = match self.settings.enclaves {
            Enclaves::Verifier(verifier) => Some(verifier),
            Enclaves::Test | Enclaves::Attested(_) => None,
        };
        let zk = match self.settings.zk {
            ZeroKnowledge::Verifier(verifier) => Some(verifier),
            ZeroKnowledge::Test | ZeroKnowledge::Pinned(_) => None,
        };
        for verifier in tee.into_iter().chain(zk) {
            if l1.code(verifier, BlockNumberOrTag::Latest).await?.is_empty() {
                return Err(Error::VerifierRefused { verifier, reason: "it has no code" });
            }
            if self.settings.production && ask(l1, verifier, &TestVerifier::isTestCall {}).await? {
                return Err(Error::VerifierRefused { verifier, reason: "it is a test verifier" });
            }
        }
        check_blob_fee(l1, &self.settlement()?).await?;
        let (max_fee, _) = wallet.fees().await?;
        let attested = matches!(self.settings.enclaves, Enclaves::Attested(_));
        let size = self.settings.validators.as_ref().map(|terms| terms.founders.set.size() as u64);
        let validators = size.map_or(0, |size| VALIDATORS_GAS + size * VALIDATOR_GAS);
        let gas = DEPLOYMENT_GAS + if attested { ATTESTATION_GAS } else { 0 } + validators;
        let gas = U256::from(max_fee).saturating_mul(U256::from(gas));
        let needed = self.genesis.supply.saturating_add(gas);
        let balance = l1.balance(self.deployer, BlockNumberOrTag::Latest).await?;
        // A deployment that was under way has paid for a part; what it lacks for the rest, the next transaction says.
        let mut begun = false;
        for step in &self.waves[0] {
            begun = begun || self.is_done(l1, step).await?;
        }
        let least = if begun { self.genesis.supply } else { needed };
        if balance < least {
            let supply = self.genesis.supply;
            let (balance, supply, needed) = (balance.into(), supply.into(), least.into());
            return Err(Error::Unfunded { address: self.deployer, balance, supply, needed });
        }
        Ok(())
    }

    async fn is_done(&self, l1: &L1, step: &Step) -> Result<bool, Error> {
        match step {
            Step::Create { address, .. } => Ok(!l1.code(*address, BlockNumberOrTag::Latest).await?.is_empty()),
            Step::Publish { authority, set, .. } => {
                // Before the wave of its creation is done, nothing answers.
                match ask(l1, *authority, &ValidatorAuthority::keysOfCall { setHash: *set }).await {
                    Ok(keys) => Ok(!keys.points.is_zero()),
                    Err(Error::Malformed { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Step::Place { proxy, implementation, .. } => {
                let slot = l1.storage(*proxy, IMPLEMENTATION_SLOT.into(), BlockNumberOrTag::Latest).await?;
                let found = Address::from_word(slot);
                match found {
                    found if found == *implementation => Ok(true),
                    found if found == self.placeholder => Ok(false),
                    _ => Err(Error::UnknownImplementation { proxy: *proxy, implementation: found }),
                }
            }
        }
    }
}

/// The contracts of attestation, each in the wave after the one that it asks.
fn attest(terms: &Terms, timelock: Address, first: &mut Creations, later: &mut [Creations; 2]) -> Attestation {
    let pccs = Pccs::constructorCall { root: terms.root.clone().into() };
    let pccs = first.add("Pccs", creation_code(&Pccs::BYTECODE, &pccs));
    let [second, third] = later;
    let dcap = DcapVerifier::constructorCall { pccs_: pccs };
    let dcap = second.add("DcapVerifier", creation_code(&DcapVerifier::BYTECODE, &dcap));
    let registry = AttestationRegistry::constructorCall {
        timelock_: timelock,
        dcap_: dcap,
        policy_: terms.policy.clone(),
        measurements: terms.measurements.clone(),
        signers: terms.signers.clone(),
    };
    let registry = third.add("AttestationRegistry", creation_code(&AttestationRegistry::BYTECODE, &registry));
    let verifier = TeeVerifier::constructorCall { registry_: registry };
    let tee_verifier = third.add("TeeVerifier", creation_code(&TeeVerifier::BYTECODE, &verifier));
    Attestation { pccs, dcap, registry, tee_verifier }
}

/// Whether the blob fee updates give the blob base fee of L1's head, as far as one block can tell.
async fn check_blob_fee(l1: &L1, settlement: &Settlement) -> Result<(), Error> {
    let Some(head) = l1.header(BlockNumberOrTag::Latest).await? else { return Err(malformed("there is no head")) };
    let history = l1.fee_history(1, BlockNumberOrTag::Number(head.number), &[]).await?;
    let computed = settlement.blob_base_fee(head.timestamp, head.excess_blob_gas.unwrap_or(0));
    match history.base_fee_per_blob_gas.first() {
        Some(found) if *found != computed => Err(Error::BlobFee { computed, found: *found }),
        _ => Ok(()),
    }
}

/// Contracts to be created, with their salts.
struct Creations {
    salt: B256,
    steps: Vec<Step>,
}

impl Creations {
    fn add(&mut self, name: &'static str, code: Bytes) -> Address {
        let salt = keccak256([self.salt, keccak256(name)].concat());
        let address = create2_address(FACTORY, salt, &code);
        self.steps.push(Step::Create { name, address, salt, code });
        address
    }
}

/// The phase of the chain whose rollup this is; closed where there is no rollup yet.
async fn phase(l1: &L1, rollup: Address) -> Result<Phase, Error> {
    // A placeholder has no such function, nor has an empty account.
    match ask(l1, rollup, &Rollup::phaseCall {}).await {
        Ok(phase) => Phase::from_number(phase).ok_or_else(|| malformed("there is no such phase")),
        Err(Error::Malformed { .. }) => Ok(Phase::Closed),
        Err(Error::Rpc { message, .. }) if message.contains("revert") => Ok(Phase::Closed),
        Err(error) => Err(error),
    }
}

/// The contracts of an open chain and the genesis that it was opened with, from nothing but its rollup's address. What no contract keeps, the blob fee
/// updates and the vault of rewards, is empty.
///
/// # Errors
/// [`Error::NotDeployed`] if no chain was opened there, or as [`L1::request`].
pub async fn look_up(l1: &L1, rollup: Address) -> Result<(Settlement, Rollup::Genesis), Error> {
    if phase(l1, rollup).await? == Phase::Closed {
        return Err(Error::NotDeployed { rollup, host: l1.host().into() });
    }
    let (block, genesis) = opened(l1, rollup).await?;
    let proofs = ask(l1, rollup, &Rollup::proofsCall {}).await?;
    let [tee, _] = verifiers(l1, proofs).await?;
    let settlement = Settlement {
        chain_id: l1.chain_id().await?,
        blob_fee_updates: Vec::new(),
        block,
        rollup,
        proofs,
        inbox: ask(l1, rollup, &Rollup::inboxCall {}).await?,
        bridge: ask(l1, rollup, &Rollup::bridgeCall {}).await?,
        outbox: ask(l1, rollup, &Rollup::outboxCall {}).await?,
        escape_hatch: ask(l1, rollup, &Rollup::escapeHatchCall {}).await?,
        authority: ask(l1, rollup, &Rollup::authorityCall {}).await?,
        reward_vault: None,
        timelock: ask(l1, rollup, &Rollup::timelockCall {}).await?,
        pause: ask(l1, rollup, &Rollup::pauseCall {}).await?,
        origins: ask(l1, rollup, &Rollup::originsCall {}).await?,
        attestation: attestation::contracts_of(l1, tee).await?,
    };
    Ok((settlement, genesis))
}

/// Whether the contracts that a chain file names are those of its rollup on this L1. The spec with the block of its opening and the contracts of attestation as
/// they are now: a reorganisation may have changed the one, the timelock the others.
///
/// # Errors
/// [`Error::WrongL1`], [`Error::OtherGenesis`], [`Error::OtherRules`], [`Error::OtherValidators`] or [`Error::OtherContracts`] if not; as [`look_up`].
pub async fn verify(l1: &L1, spec: &ChainSpec) -> Result<ChainSpec, Error> {
    let Some(named) = spec.settlement.clone() else {
        return Err(Error::Settings("the chain spec has no settlement: jove deploy makes one that has"));
    };
    let chain_id = l1.chain_id().await?;
    if chain_id != named.chain_id {
        return Err(Error::WrongL1 { expected: named.chain_id, found: chain_id });
    }
    let (found, opened) = look_up(l1, named.rollup).await?;
    let expected = genesis(spec);
    if opened != expected {
        return Err(Error::OtherGenesis { opened: opened.blockHash, expected: expected.blockHash });
    }
    let config = ask(l1, named.rollup, &Rollup::configHashCall {}).await?;
    if config != spec.config_hash() {
        return Err(Error::OtherRules { rollup: named.rollup, found: config, expected: spec.config_hash() });
    }
    if let Some(validators) = &spec.validators {
        let named_set = validators::Founders::of(validators)?.set.hash();
        let begins = ask(l1, found.authority, &ValidatorAuthority::epochAtCall { era: 0, epoch: 0 }).await?.setHash;
        if begins != named_set {
            return Err(Error::OtherValidators { authority: found.authority, found: begins, expected: named_set });
        }
    }
    let (block, attestation) = (found.block, found.attestation);
    let found = Settlement {
        block: named.block,
        blob_fee_updates: named.blob_fee_updates.clone(),
        attestation: named.attestation,
        reward_vault: named.reward_vault,
        ..found
    };
    if found != named {
        return Err(Error::OtherContracts { rollup: named.rollup });
    }
    Ok(ChainSpec { settlement: Some(Settlement { block, attestation, ..named }), ..spec.clone() })
}

/// The block and content of the event `Opened`. Nodes refuse to search a whole chain for it, but the rollup knows its time, and times ascend.
async fn opened(l1: &L1, rollup: Address) -> Result<(u64, Rollup::Genesis), Error> {
    let first = ask(l1, rollup, &Rollup::batchAtCall { index: 0 }).await?;
    let time = async |number: u64| {
        let header = l1.header(BlockNumberOrTag::Number(number)).await?;
        header.map(|header| header.timestamp).ok_or_else(|| malformed(&format!("block {number} is not there")))
    };
    let (mut low, mut high) = (0, l1.block_number().await?);
    while low < high {
        let middle = low + (high - low) / 2;
        if time(middle).await? < first.committedAt { low = middle + 1 } else { high = middle }
    }
    let filter =
        Filter::new().address(rollup).event_signature(Rollup::Opened::SIGNATURE_HASH).from_block(low).to_block(low);
    let logs = l1.logs(&filter).await?;
    let Some(log) = logs.first() else { return Err(malformed("the rollup's opening is not where its time says")) };
    let event = Rollup::Opened::decode_log_validate(&log.inner).map_err(|error| malformed(&error.to_string()))?;
    if event.batchHash != first.batchHash {
        return Err(malformed("the rollup's first batch is not the one of its opening"));
    }
    Ok((low, event.data.genesis))
}

fn malformed(reason: &str) -> Error {
    Error::Malformed { method: "eth_call".into(), reason: reason.into() }
}

/// The verifiers of proofs from enclaves, and of zero-knowledge proofs.
///
/// # Errors
/// As [`L1::request`].
pub async fn verifiers(l1: &L1, proofs: Address) -> Result<[Address; 2], Error> {
    let tee = ask(l1, proofs, &Proofs::systemOfCall { system: ProofSystem::Tee as u8 }).await?;
    let zk = ask(l1, proofs, &Proofs::systemOfCall { system: ProofSystem::Zk as u8 }).await?;
    Ok([tee.verifier, zk.verifier])
}

/// Names and addresses of a deployed chain's contracts, for people.
pub fn addresses(settlement: &Settlement) -> BTreeMap<&'static str, Address> {
    let attestation = settlement.attestation.map(|attestation| {
        [("Pccs", attestation.pccs), ("DcapVerifier", attestation.dcap), ("Registry", attestation.registry)]
    });
    let vault = settlement.reward_vault;
    let settlement = [
        ("Rollup", settlement.rollup),
        ("Proofs", settlement.proofs),
        ("Inbox", settlement.inbox),
        ("Bridge", settlement.bridge),
        ("Outbox", settlement.outbox),
        ("EscapeHatch", settlement.escape_hatch),
        ("Authority", settlement.authority),
        ("Timelock", settlement.timelock),
        ("Pause", settlement.pause),
        ("Origins", settlement.origins),
    ];
    let vault = vault.map(|vault| ("RewardVault", vault));
    settlement.into_iter().chain(attestation.into_iter().flatten()).chain(vault).collect()
}

/// Writes a file so that a crash leaves the old content or the new: under another name beside it, synced, then renamed.
///
/// # Errors
/// The file system's.
pub fn write_file(path: &Path, content: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "deploy_tests.rs"]
mod tests;
