//! The risk page of a deployed chain: who can do what, with which delay, as its contracts on L1 say, in Markdown.
//!
//! Everything is read from L1, nothing from the chain file but the rollup's address: roles, delays, verifiers, implementations. What the contracts do not
//! keep as such, the timelock's roles, is collected from its events and confirmed by its state.

use crate::{
    Error, L1,
    attestation::{Lists, Policy, Registry, first_block, statuses},
    contracts::{
        AttestationRegistry, IMPLEMENTATION_SLOT, Inbox, Pause, Phase, ProofSystem, Proofs, Rollup, SequencerAuthority,
        TestVerifier, Timelock, ask,
    },
    deploy::look_up,
    validators,
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, U256, keccak256, utils::format_ether};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent;
use jove_primitives::spec::Settlement;
use std::{collections::BTreeSet, fmt::Write};

const DAY: u64 = 24 * 3600;

/// Who holds a role.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    address: Address,
    kind: &'static str,
}

impl Holder {
    async fn of(l1: &L1, address: Address) -> Result<Self, Error> {
        let code = l1.code(address, BlockNumberOrTag::Latest).await?;
        // EIP-7702: 0xef0100 and an address.
        let kind = match code.as_ref() {
            [] if address.is_zero() => "nobody",
            [] => "one key",
            [0xef, 0x01, 0x00, rest @ ..] if rest.len() == 20 => "one key, with delegated code",
            _ => "a contract",
        };
        Ok(Self { address, kind })
    }

    fn is_key(&self) -> bool {
        self.kind.starts_with("one key")
    }
}

/// A proof system.
#[derive(Clone, Debug)]
struct System {
    name: &'static str,
    verifier: Address,
    is_test: bool,
    broken: bool,
    disabled: bool,
}

impl System {
    async fn read(l1: &L1, proofs: Address, system: ProofSystem, name: &'static str) -> Result<Self, Error> {
        let state = ask(l1, proofs, &Proofs::systemOfCall { system: system as u8 }).await?;
        let is_test = ask(l1, state.verifier, &TestVerifier::isTestCall {}).await?;
        Ok(Self { name, verifier: state.verifier, is_test, broken: state.broken, disabled: state.disabled })
    }
}

/// Which enclaves may prove.
#[derive(Clone, Debug)]
struct Enclaves {
    registry: Address,
    /// Who changes lists and policy.
    timelock: Address,
    development_root: bool,
    policy: Policy,
    lists: Lists,
}

impl Enclaves {
    async fn read(l1: &L1, settlement: &Settlement) -> Result<Option<Self>, Error> {
        let Some(contracts) = settlement.attestation else { return Ok(None) };
        let registry = Registry::of_verifier(l1, contracts.tee_verifier).await?;
        Ok(Some(Self {
            registry: contracts.registry,
            timelock: ask(l1, contracts.registry, &AttestationRegistry::timelockCall {}).await?,
            development_root: registry.is_test().await?,
            policy: registry.policy().await?,
            lists: registry.lists(first_block(settlement.block)).await?,
        }))
    }
}

/// A contract of the chain: its proxy's address, and the code that it runs now; none if it cannot be replaced.
#[derive(Clone, Debug)]
struct Contract {
    name: &'static str,
    address: Address,
    implementation: Option<Address>,
}

/// What a chain's contracts say of its risks.
#[derive(Clone, Debug)]
pub struct Risks {
    l1: u64,
    block: u64,
    chain_id: u64,
    phase: Phase,
    settlement: Settlement,
    production: bool,
    silence: u64,
    message: u64,
    drop: u64,
    escape: u64,
    single_proof: u64,
    origin_lag: u64,
    timelock_delay: U256,
    timelock_floor: U256,
    sequencer: Option<Holder>,
    validators: Option<(validators::Registry, Holder)>,
    next_sequencer: Option<Holder>,
    council: Holder,
    pauser: Holder,
    paused_until: U256,
    governors: Vec<Holder>,
    cancellers: Vec<Holder>,
    executors_open: bool,
    admins: Vec<Holder>,
    roles_complete: bool,
    fee_recipient: Holder,
    systems: [System; 2],
    enclaves: Option<Enclaves>,
    contracts: Vec<Contract>,
    holdings: U256,
    genesis_supply: U256,
    batches: (u64, u64, u64),
    escape_due: bool,
}

impl Risks {
    /// Reads the contracts around `rollup`.
    ///
    /// # Errors
    /// [`Error::NotDeployed`], or as [`L1::request`].
    pub async fn read(l1: &L1, rollup: Address) -> Result<Self, Error> {
        let block = l1.block_number().await?;
        let (settlement, _) = look_up(l1, rollup).await?;
        let Settlement { proofs, inbox, bridge, authority, timelock, pause, .. } = settlement;
        let phase = Phase::from_number(ask(l1, rollup, &Rollup::phaseCall {}).await?);
        let phase =
            phase.ok_or_else(|| Error::Malformed { method: "eth_call".into(), reason: "an unknown phase".into() })?;
        let council = ask(l1, proofs, &Proofs::councilCall {}).await?;
        let pauser = ask(l1, pause, &Pause::councilCall {}).await?;

        // The authority may be another contract than the one for a chain without validators.
        let owner = match ask(l1, authority, &SequencerAuthority::ownerCall {}).await {
            Ok(owner) => Some(owner),
            Err(Error::Rpc { .. } | Error::Malformed { .. }) => None,
            Err(error) => return Err(error),
        };
        let (mut sequencer, mut next_sequencer) = (None, None);
        if let Some(owner) = owner {
            sequencer = Some(Holder::of(l1, owner).await?);
            let next = ask(l1, authority, &SequencerAuthority::pendingOwnerCall {}).await?;
            if !next.is_zero() {
                next_sequencer = Some(Holder::of(l1, next).await?);
            }
        }
        let validators = match sequencer {
            Some(_) => None,
            None => validators::Registry::read(l1, authority).await?,
        };
        let validators = match validators {
            Some(registry) => Some((registry.clone(), Holder::of(l1, registry.admitter).await?)),
            None => None,
        };
        let roles = Roles::read(l1, timelock, settlement.block, block).await?;
        let systems = [
            System::read(l1, proofs, ProofSystem::Tee, "trusted execution").await?,
            System::read(l1, proofs, ProofSystem::Zk, "zero knowledge").await?,
        ];
        let mut contracts = Vec::new();
        let proxies = [
            ("Rollup", rollup),
            ("Proofs", proofs),
            ("Inbox", inbox),
            ("Bridge", bridge),
            ("Outbox", settlement.outbox),
            ("EscapeHatch", settlement.escape_hatch),
        ];
        for (name, address) in proxies {
            let slot = l1.storage(address, IMPLEMENTATION_SLOT.into(), BlockNumberOrTag::Latest).await?;
            contracts.push(Contract { name, address, implementation: Some(Address::from_word(slot)) });
        }
        let fixed =
            [("Authority", authority), ("Timelock", timelock), ("Pause", pause), ("Origins", settlement.origins)];
        contracts.extend(fixed.map(|(name, address)| Contract { name, address, implementation: None }));

        if let Some(attestation) = settlement.attestation {
            let fixed = [
                ("Pccs", attestation.pccs),
                ("DcapVerifier", attestation.dcap),
                ("AttestationRegistry", attestation.registry),
            ];
            contracts.extend(fixed.map(|(name, address)| Contract { name, address, implementation: None }));
        }
        let enclaves = Enclaves::read(l1, &settlement).await?;

        Ok(Self {
            l1: settlement.chain_id,
            block,
            chain_id: ask(l1, rollup, &Rollup::chainIdCall {}).await?,
            phase,
            settlement,
            production: ask(l1, proofs, &Proofs::productionCall {}).await?,
            silence: ask(l1, rollup, &Rollup::silenceDelayCall {}).await?.to(),
            message: ask(l1, rollup, &Rollup::messageDelayCall {}).await?.to(),
            drop: ask(l1, rollup, &Rollup::dropDelayCall {}).await?.to(),
            escape: ask(l1, rollup, &Rollup::escapeDelayCall {}).await?.to(),
            single_proof: ask(l1, proofs, &Proofs::singleProofDelayCall {}).await?.to(),
            origin_lag: ask(l1, rollup, &Rollup::originLagCall {}).await?,
            timelock_delay: ask(l1, timelock, &Timelock::getMinDelayCall {}).await?,
            timelock_floor: ask(l1, timelock, &Timelock::floorCall {}).await?,
            sequencer,
            validators,
            next_sequencer,
            council: Holder::of(l1, council).await?,
            pauser: Holder::of(l1, pauser).await?,
            paused_until: ask(l1, pause, &Pause::untilCall {}).await?,
            governors: roles.holders(l1, "PROPOSER_ROLE").await?,
            cancellers: roles.holders(l1, "CANCELLER_ROLE").await?,
            executors_open: roles.has(l1, "EXECUTOR_ROLE", Address::ZERO).await?,
            admins: roles.holders(l1, "").await?,
            roles_complete: roles.complete,
            fee_recipient: Holder::of(l1, ask(l1, inbox, &Inbox::feeRecipientCall {}).await?).await?,
            systems,
            enclaves,
            contracts,
            holdings: l1.balance(bridge, BlockNumberOrTag::Latest).await?,
            genesis_supply: ask(l1, rollup, &Rollup::genesisSupplyCall {}).await?,
            batches: (
                ask(l1, rollup, &Rollup::headIndexCall {}).await?,
                ask(l1, rollup, &Rollup::provenIndexCall {}).await?,
                ask(l1, rollup, &Rollup::finalIndexCall {}).await?,
            ),
            escape_due: ask(l1, rollup, &Rollup::escapeDueCall {}).await?,
        })
    }

    /// What a user should know before anything else, worst first; empty if nothing is out of the ordinary.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |bad: bool, text: String| {
            if bad {
                warnings.push(text);
            }
        };
        warn(
            self.phase == Phase::Halted,
            "The escape has begun: nothing becomes final any more. Take out what is yours.".into(),
        );
        warn(self.escape_due && self.phase == Phase::Open, "The escape is due: anyone can begin it.".into());
        let all_test = self.systems.iter().all(|system| system.is_test);
        warn(
            all_test,
            "Both verifiers are for tests and believe everyone: no proof protects the chain. Whoever commits can make any state final and take \
             everything; anyone can have a valid batch dropped."
                .into(),
        );
        for system in &self.systems {
            let System { name, is_test, broken, disabled, .. } = system;
            warn(
                *is_test && !all_test,
                format!(
                    "The verifier of {name} is for tests: it believes everyone, so the other system alone protects the chain."
                ),
            );
            warn(
                *broken,
                format!(
                    "The proof system of {name} contradicted itself: the council may replace its verifier at once."
                ),
            );
            warn(*disabled && !*broken, format!("The proof system of {name} takes no proofs."));
        }
        if let Some(enclaves) = &self.enclaves {
            warn(
                enclaves.development_root,
                "Quotes of enclaves are believed under a development root, not Intel's: whoever has its seed can register any key.".into(),
            );
            warn(
                enclaves.timelock != self.settlement.timelock,
                format!("Which enclaves may prove is decided by `{}`, not by the chain's timelock.", enclaves.timelock),
            );
            warn(
                !enclaves.lists.complete,
                "The lists of enclaves could not be read in whole: the registry is older than the chain by more than a week.".into(),
            );
            let nobody = enclaves.lists.measurements.is_empty() || enclaves.lists.signers.is_empty();
            warn(
                enclaves.lists.complete && nobody,
                "No enclave can be registered: no measurement, or no signer, is on the registry's list.".into(),
            );
        }
        warn(
            !self.production,
            "The chain was not deployed for production: its contracts accept test verifiers and short delays.".into(),
        );
        warn(
            self.single_proof < 7 * DAY,
            format!("One proof system alone makes a batch final after {}, less than a week.", span(self.single_proof)),
        );
        let exit = U256::from(self.escape.saturating_add(9 * DAY));
        warn(
            self.timelock_delay < exit,
            format!(
                "Upgrades take effect after {}: sooner than users can be sure to have left by themselves (Z and 9 days: {}).",
                span_of(self.timelock_delay),
                span_of(exit)
            ),
        );
        warn(
            !self.admins_are_the_timelock(),
            "Someone besides the timelock can grant its roles without any delay.".into(),
        );
        warn(
            !self.roles_complete,
            "The timelock's roles could not be read in full: its first events were not found.".into(),
        );
        warn(
            self.pauser.address != self.council.address,
            "The pause and the proof systems have different councils.".into(),
        );
        for (role, holder) in
            [("council", &self.council)].into_iter().chain(self.governors.iter().map(|holder| ("governor", holder)))
        {
            warn(holder.is_key(), format!("The {role} is a single key ({}).", holder.address));
        }
        if let Some(sequencer) = &self.sequencer {
            let same = self.governors.contains(sequencer) || *sequencer == self.council;
            warn(same, format!("The sequencer holds another role as well ({}).", sequencer.address));
        }
        warnings
    }

    fn write_enclaves(&self, page: &mut String, enclaves: &Enclaves) -> std::fmt::Result {
        let Enclaves { registry, timelock, development_root, policy, lists } = enclaves;
        writeln!(page, "\n## Enclaves\n\n| what | is |\n|---|---|")?;
        writeln!(page, "| registry of keys | `{registry}`; anyone registers a key that a quote vouches for |")?;
        let root = if *development_root { "**a development root, not Intel's**" } else { "Intel's, for good" };
        writeln!(page, "| root of quotes | {root} |")?;
        let names: Vec<String> = statuses(policy.statuses).iter().map(ToString::to_string).collect();
        writeln!(page, "| allowed TCB statuses | {} |", names.join(", "))?;
        let age = match policy.maxAge {
            u32::MAX => "while it is valid".into(),
            age => format!("while it is valid, and for {} at most", span(age.into())),
        };
        writeln!(page, "| collateral counts | {age}, from evaluation {} on |", policy.minEvaluation)?;
        writeln!(page, "| a key counts for | {} |", span(policy.lifetime.into()))?;
        for (name, list) in [("measurement", &lists.measurements), ("signer", &lists.signers)] {
            for hash in list {
                writeln!(page, "| allowed {name} | `{hash}` |")?;
            }
            if list.is_empty() {
                writeln!(page, "| allowed {name} | none |")?;
            }
        }
        let delay = if *timelock == self.settlement.timelock { span_of(self.timelock_delay) } else { "unknown".into() };
        writeln!(page, "| lists and policy are changed by | `{timelock}`, after {delay} |")
    }

    fn admins_are_the_timelock(&self) -> bool {
        self.admins.iter().all(|holder| holder.address == self.settlement.timelock)
    }

    /// The page.
    pub fn to_markdown(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "# Risks of chain {}\n", self.chain_id)?;
        writeln!(page, "Read from its contracts on the L1 with chain id {} at block {}.\n", self.l1, self.block)?;
        let warnings = self.warnings();
        writeln!(page, "## Out of the ordinary\n")?;
        if warnings.is_empty() {
            writeln!(page, "Nothing.")?;
        }
        for warning in &warnings {
            writeln!(page, "- {warning}")?;
        }

        writeln!(page, "\n## Who can do what\n\n| role | held by | can | delay |\n|---|---|---|---|")?;
        let anyone = "prove, finalize, drop, queue messages, execute messages from L2, commit after the operators' silence, begin a due escape";
        writeln!(page, "| anyone | | {anyone} | none |")?;
        if let Some((registry, admitter)) = &self.validators {
            let validators::Registry { size, min_bond, unbonding, .. } = registry;
            let bond = format_ether(*min_bond);
            let unbonding = span(*unbonding);
            writeln!(
                page,
                "| validators | {size}, each with a bond of {bond} ETH or more, kept for {unbonding} | certify blocks, by more than two thirds; those that \
                 sequence order and delay transactions and commit batches | none |"
            )?;
            let (who, can) = match registry.admitter.is_zero() {
                true => ("anyone".into(), "become a validator with a bond"),
                false => (held_by(admitter), "admit operators, who may then become validators with a bond"),
            };
            writeln!(page, "| admission | {who} | {can} | none |")?;
        } else {
            let operator = match &self.sequencer {
                Some(sequencer) => held_by(sequencer),
                None => format!("`{}`, a contract of another kind", self.settlement.authority),
            };
            writeln!(
                page,
                "| sequencer | {operator} | commit batches, order and delay transactions; hand the role on | none |"
            )?;
        }
        if let Some(next) = &self.next_sequencer {
            writeln!(page, "| next sequencer | {} | take the role over | none |", held_by(next))?;
        }
        let pause = "pause finality and deposits with a value for 7 days at most, then not for 30; never withdrawals, forced messages or the escape";
        writeln!(page, "| council | {} | {pause} | none |", held_by(&self.pauser))?;
        let rule = "replace the verifier of a proof system that provably contradicted itself; rule on a zero-knowledge output that enclaves of two vendors contradict";
        writeln!(page, "| council | {} | {rule} | none |", held_by(&self.council))?;
        let upgrade = if self.phase == Phase::Halted {
            "set verifiers; upgrades ended with the escape"
        } else {
            "replace the code of every contract below that can be replaced, and any verifier: with it everything"
        };
        let delay = span_of(self.timelock_delay);
        for governor in &self.governors {
            writeln!(page, "| governor | {} | {upgrade} | {delay} |", held_by(governor))?;
        }
        for canceller in &self.cancellers {
            writeln!(page, "| canceller | {} | cancel proposed upgrades | none |", held_by(canceller))?;
        }
        let executor = if self.executors_open { "anyone" } else { "chosen accounts alone" };
        writeln!(page, "| executor | {executor} | carry out a proposed upgrade once its delay is over | none |")?;
        for admin in self.admins.iter().filter(|admin| admin.address != self.settlement.timelock) {
            writeln!(page, "| timelock's admin | {} | make anyone governor | none |", held_by(admin))?;
        }
        writeln!(
            page,
            "| fee recipient | {} | receive the price of messages' gas | none |",
            held_by(&self.fee_recipient)
        )?;

        writeln!(page, "\n## Delays\n\n| what | after |\n|---|---|")?;
        let delays = [
            ("a batch with proofs of both systems is final", "at once".to_owned()),
            ("a batch with one system's proof, unopposed, is final (W)", span(self.single_proof)),
            ("anyone may commit after the operators' last timely commit (T1)", span(self.silence)),
            ("anyone may commit queued messages alone after the oldest was queued (T2)", span(self.message)),
            ("anyone may drop a batch without a proof", span(self.drop)),
            (
                "anyone may begin the escape after the oldest waiting batch or message, with nothing final meanwhile (Z)",
                span(self.escape),
            ),
            ("an upgrade takes effect after it was proposed", delay),
            ("and never sooner, whatever the governor sets, than", span_of(self.timelock_floor)),
        ];
        for (what, after) in delays {
            writeln!(page, "| {what} | {after} |")?;
        }
        writeln!(
            page,
            "| a commit counts as silence if its L1 origin is older than | {} L1 blocks |",
            self.origin_lag
        )?;

        writeln!(page, "\n## Proof systems\n\n| system | verifier | for tests | state |\n|---|---|---|---|")?;
        for System { name, verifier, is_test, broken, disabled } in &self.systems {
            let test = if *is_test { "**yes**" } else { "no" };
            let state = match (broken, disabled) {
                (true, _) => "broken",
                (false, true) => "disabled",
                (false, false) => "in force",
            };
            writeln!(page, "| {name} | `{verifier}` | {test} | {state} |")?;
        }

        if let Some(enclaves) = &self.enclaves {
            self.write_enclaves(page, enclaves)?;
        }
        writeln!(page, "\n## Contracts\n\n| contract | address | code can be replaced |\n|---|---|---|")?;
        for Contract { name, address, implementation } in &self.contracts {
            let replaced = match implementation {
                Some(code) if self.phase == Phase::Halted => format!("no more; it runs `{code}`"),
                Some(code) => format!("by the timelock, until an escape begins; it runs `{code}`"),
                None => "never".into(),
            };
            writeln!(page, "| {name} | `{address}` | {replaced} |")?;
        }

        writeln!(page, "\n## State\n")?;
        let (head, proven, last) = self.batches;
        let phase = match self.phase {
            Phase::Closed => "not open",
            Phase::Open => "open",
            Phase::Halted => "halted: the escape has begun",
        };
        writeln!(page, "- The chain is {phase}. Batches: {head} committed, {proven} proven, {last} final.")?;
        writeln!(
            page,
            "- The bridge holds {} ether; {} were locked for genesis.",
            format_ether(self.holdings),
            format_ether(self.genesis_supply)
        )?;
        if self.paused_until.is_zero() {
            writeln!(page, "- There was no pause so far.")?;
        } else {
            writeln!(page, "- The last pause ends or ended at {} (seconds since 1970).", self.paused_until)?;
        }
        writeln!(page, "- What an L2 contract without an L1 counterpart holds cannot leave by the escape.")
    }
}

fn held_by(holder: &Holder) -> String {
    format!("`{}`, {}", holder.address, holder.kind)
}

/// Seconds as people say them: the largest unit that is exact.
fn span(seconds: u64) -> String {
    let units = [(DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let exact = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match exact.map(|(unit, name)| (seconds / unit, name)) {
        None => "at once".into(),
        Some((1, name)) => format!("1 {name}"),
        Some((count, name)) => format!("{count} {name}s"),
    }
}

fn span_of(seconds: U256) -> String {
    u64::try_from(seconds).map_or_else(|_| format!("{seconds} seconds"), span)
}

/// Who was ever granted a role of a timelock.
struct Roles {
    timelock: Address,
    granted: BTreeSet<(B256, Address)>,
    /// Whether the events reach back to the timelock's creation.
    complete: bool,
}

impl Roles {
    async fn read(l1: &L1, timelock: Address, opened: u64, head: u64) -> Result<Self, Error> {
        let first = first_block(opened);
        let filter = Filter::new().address(timelock).event_signature(Timelock::RoleGranted::SIGNATURE_HASH);
        let logs = l1.logs_between(&filter, first, head).await?;
        let events = logs.iter().filter_map(|log| Timelock::RoleGranted::decode_log_validate(&log.inner).ok());
        let granted: BTreeSet<(B256, Address)> = events.map(|event| (event.role, event.account)).collect();
        // Its constructor begins with making it its own admin.
        let complete = granted.contains(&(B256::ZERO, timelock));
        Ok(Self { timelock, granted, complete })
    }

    /// Who holds a role now; the admins' has no name.
    async fn holders(&self, l1: &L1, name: &str) -> Result<Vec<Holder>, Error> {
        let mut holders = Vec::new();
        for (role, account) in &self.granted {
            if *role == role_id(name) && self.has(l1, name, *account).await? {
                holders.push(Holder::of(l1, *account).await?);
            }
        }
        Ok(holders)
    }

    async fn has(&self, l1: &L1, name: &str, account: Address) -> Result<bool, Error> {
        ask(l1, self.timelock, &Timelock::hasRoleCall { role: role_id(name), account }).await
    }
}

fn role_id(name: &str) -> B256 {
    if name.is_empty() { B256::ZERO } else { keccak256(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolCall;

    #[test]
    fn spans_are_exact() {
        let words: Vec<String> = [0, 1, 90, 3600, 43_200, DAY, 7 * DAY, 7 * DAY + 1].map(span).into();
        let expected = ["at once", "1 second", "90 seconds", "1 hour", "12 hours", "1 day", "7 days", "604801 seconds"];
        assert_eq!(words, expected);
        assert_eq!(span_of(U256::MAX), format!("{} seconds", U256::MAX));
    }

    #[test]
    fn roles_have_openzeppelins_ids() {
        assert_eq!(role_id(""), B256::ZERO);
        let proposer = Timelock::PROPOSER_ROLECall {}.abi_encode();
        assert_eq!(proposer[..], keccak256("PROPOSER_ROLE()")[..4], "the role's own getter");
        assert_eq!(role_id("PROPOSER_ROLE"), keccak256("PROPOSER_ROLE"));
    }
}
