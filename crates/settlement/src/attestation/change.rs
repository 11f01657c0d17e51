//! Changes of a registry's lists and policy, through the timelock.
//!
//! A change is one call of the registry, which the timelock makes: proposed by a governor, due after the delay, then made by anyone. An operation of the timelock
//! is known by the hash of call and salt, and is made once; so the salt is the number of times that the same change was made before, and what there is to do next
//! can always be asked: [`Change::step`].

use super::{Policy, Registry, check_policy};
use crate::{
    Error,
    contracts::{AttestationRegistry, Timelock, ask},
    wallet::Call,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;

/// Most times that one change is made: beyond, something else is wrong.
const MAX_TIMES: u64 = 256;
/// OpenZeppelin's `OperationState`.
const UNSET: u8 = 0;
const WAITING: u8 = 1;
const READY: u8 = 2;

/// A change of what a registry believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// MRENCLAVE is put on the list, or taken off, with all keys of such enclaves.
    Measurement(B256, bool),
    /// MRSIGNER is put on the list, or taken off.
    Signer(B256, bool),
    /// There is another policy.
    Policy(Policy),
}

/// What there is to do for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the registry is as wanted.
    Done,
    /// A governor proposes it; it is due so many seconds later.
    Propose(Call, u64),
    /// It was proposed, and is due at this time, Unix seconds.
    Wait(u64),
    /// Anyone makes it.
    Execute(Call),
}

impl Change {
    /// The call that the timelock makes.
    pub fn data(&self) -> Bytes {
        match self.clone() {
            Self::Measurement(measurement, allowed) => {
                AttestationRegistry::setMeasurementCall { measurement, allowed }.abi_encode().into()
            }
            Self::Signer(signer, allowed) => AttestationRegistry::setSignerCall { signer, allowed }.abi_encode().into(),
            Self::Policy(policy) => AttestationRegistry::setPolicyCall { policy_: policy }.abi_encode().into(),
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let allow = |allowed: &bool| if *allowed { "allow" } else { "forbid" };
        match self {
            Self::Measurement(measurement, allowed) => {
                format!("{} enclaves with measurement {measurement}", allow(allowed))
            }
            Self::Signer(signer, allowed) => format!("{} enclaves of signer {signer}", allow(allowed)),
            Self::Policy(_) => "set the policy for enclaves".into(),
        }
    }

    /// Whether the registry is so already.
    async fn is_made(&self, registry: &Registry) -> Result<bool, Error> {
        let (l1, at) = (registry.l1(), registry.contracts().registry);
        match self {
            Self::Measurement(measurement, allowed) => {
                let call = AttestationRegistry::isMeasurementAllowedCall { measurement: *measurement };
                Ok(ask(l1, at, &call).await? == *allowed)
            }
            Self::Signer(signer, allowed) => {
                let call = AttestationRegistry::isSignerAllowedCall { signer: *signer };
                Ok(ask(l1, at, &call).await? == *allowed)
            }
            Self::Policy(policy) => Ok(registry.policy().await? == *policy),
        }
    }

    /// What there is to do next.
    ///
    /// # Errors
    /// [`Error::Settings`] for a policy that the registry would refuse, or as [`crate::L1::request`].
    pub async fn step(&self, registry: &Registry) -> Result<Step, Error> {
        if let Self::Policy(policy) = self {
            check_policy(policy)?;
        }
        let (l1, target) = (registry.l1(), registry.contracts().registry);
        let timelock = ask(l1, target, &AttestationRegistry::timelockCall {}).await?;
        let (data, what) = (self.data(), self.describe());
        let call = |what: String, data: Vec<u8>| Call { what, to: timelock, value: U256::ZERO, data: data.into() };
        // One that waits is told of even where the registry is as wanted: it would come.
        for times in 0..MAX_TIMES {
            let salt = B256::from(U256::from(times));
            let id = operation(l1, timelock, target, &data, salt).await?;
            match ask(l1, timelock, &Timelock::getOperationStateCall { id }).await? {
                UNSET => {
                    if self.is_made(registry).await? {
                        return Ok(Step::Done);
                    }
                    let delay = ask(l1, timelock, &Timelock::getMinDelayCall {}).await?;
                    let schedule = Timelock::scheduleCall {
                        target,
                        value: U256::ZERO,
                        data,
                        predecessor: B256::ZERO,
                        salt,
                        delay,
                    };
                    return Ok(Step::Propose(
                        call(format!("propose to {what}"), schedule.abi_encode()),
                        delay.saturating_to(),
                    ));
                }
                WAITING => {
                    let due = ask(l1, timelock, &Timelock::getTimestampCall { id }).await?;
                    return Ok(Step::Wait(due.saturating_to()));
                }
                READY => {
                    let execute = Timelock::executeCall {
                        target,
                        value: U256::ZERO,
                        payload: data,
                        predecessor: B256::ZERO,
                        salt,
                    };
                    return Ok(Step::Execute(call(what, execute.abi_encode())));
                }
                _ => {} // made before
            }
        }
        Err(Error::Settings("this change was made 256 times: propose it by hand, with a salt of your own"))
    }
}

async fn operation(
    l1: &crate::L1,
    timelock: Address,
    target: Address,
    data: &Bytes,
    salt: B256,
) -> Result<B256, Error> {
    let call =
        Timelock::hashOperationCall { target, value: U256::ZERO, data: data.clone(), predecessor: B256::ZERO, salt };
    ask(l1, timelock, &call).await
}
