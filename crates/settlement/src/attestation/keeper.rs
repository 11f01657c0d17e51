//! The collateral keeper: puts collateral in before it expires, for those who must be able to register at any time.
//!
//! A [`Keeper::round`] looks at what is on chain. If a part ends within the margin, or is missing, or the service has what must not wait, the newest of everything is
//! put in. What must not wait is a revocation that is not on chain, and a later evaluation of TCB info or QE identity; mere reissues, which Intel makes all the
//! time, do. Time is L1's.
//!
//! Several keepers do no harm: the contract takes what is newer from whoever is first, and the others find nothing to do.
//!
//! | metric | meaning |
//! |---|---|
//! | `jove_collateral_expires_seconds{part}` | time until a part on chain ends; 0 if it has, or is not there |
//! | `jove_collateral_uploads_total` | transactions that put collateral in |
//! | `jove_collateral_failures_total` | rounds that failed |

use super::{
    Registry,
    collateral::{Machines, Stored, Uploaded, issuer_number, machines, stored, upload},
    pcs::Pcs,
};
use crate::{
    Error, Wallet,
    contracts::{Pccs, ask},
    wallet::Call,
};
use alloy_primitives::{FixedBytes, TxHash, U256, aliases::U192};
use jove_tee::{Bundle, Pki, Platform};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use std::{collections::BTreeSet, time::Duration};

/// Where collateral is had from.
pub enum Source {
    /// The development root makes it, with these machines' certificates revoked: **not Intel's**.
    Software {
        /// The root and what it certified.
        pki: Box<Pki>,
        /// Whose certificates it revokes.
        revoked: Vec<Platform>,
    },
    /// Intel, or a cache.
    Service(Pcs),
}

impl Source {
    /// The newest for these kinds of machines; the development root has one kind alone, and issues at `now`.
    ///
    /// # Errors
    /// [`Error::Collateral`] from a service; [`Error::Tee`], if ever, from the development root.
    pub async fn bundle(&self, fmspcs: &[[u8; 6]], now: u64) -> Result<Bundle, Error> {
        match self {
            Self::Software { pki, revoked } => Ok(pki.bundle(&[Platform::development(0)], revoked, now)?),
            Self::Service(pcs) => pcs.bundle(fmspcs).await,
        }
    }

    /// Whether it may have what nobody here knows of.
    fn has_news(&self) -> bool {
        matches!(self, Self::Service(_))
    }
}

/// Keeps the collateral of one chain fresh.
pub struct Keeper {
    registry: Registry,
    source: Source,
    machines: Vec<Machines>,
    first: u64,
    margin: Duration,
    /// Revocations that are known to be on chain.
    revoked: Mutex<BTreeSet<U192>>,
}

/// What a round found and did.
#[derive(Clone, Debug)]
pub struct Round {
    /// The collateral on chain after it.
    pub stored: Stored,
    /// What was put in.
    pub uploaded: Vec<Uploaded>,
}

impl Keeper {
    /// One that puts collateral in `margin` before it ends. It is for machines of these FMSPCs, and for those that events since L1 block `first` show
    /// to have TCB info already.
    pub fn new(registry: Registry, source: Source, fmspcs: &[[u8; 6]], first: u64, margin: Duration) -> Self {
        // Intel's provisioning certification enclave has been number 0 since there are machines.
        let mut machines: Vec<Machines> = fmspcs.iter().map(|fmspc| (*fmspc, [0, 0])).collect();
        if matches!(source, Source::Software { .. }) {
            let machine = Platform::development(0);
            machines = vec![(machine.fmspc, machine.pce_id)];
        }
        Self { registry, source, machines, first, margin, revoked: Mutex::default() }
    }

    /// Looks once, and puts in what has to be put in.
    ///
    /// # Errors
    /// As [`Source::bundle`] and [`upload`]; [`Error::Settings`] if it is for no machines. Nothing is lost: the next round goes on.
    pub async fn round(&self, wallet: &Wallet, sent: impl FnMut(&Call, TxHash)) -> Result<Round, Error> {
        let outcome = self.try_round(wallet, sent).await;
        match &outcome {
            Ok(round) => {
                counter!("jove_collateral_uploads_total").increment(round.uploaded.len() as u64);
                counter!("jove_collateral_failures_total").increment(0);
                for part in &round.stored.parts {
                    let left = part.left(round.stored.now) as f64;
                    gauge!("jove_collateral_expires_seconds", "part" => part.name.clone()).set(left);
                }
            }
            Err(_) => counter!("jove_collateral_failures_total").increment(1),
        }
        outcome
    }

    async fn try_round(&self, wallet: &Wallet, sent: impl FnMut(&Call, TxHash)) -> Result<Round, Error> {
        let mut known: BTreeSet<Machines> = self.machines.iter().copied().collect();
        if self.source.has_news() {
            known.extend(machines(&self.registry, self.first).await?);
        }
        let known: Vec<Machines> = known.into_iter().collect();
        if known.is_empty() {
            return Err(Error::Settings("for which machines? name an FMSPC: the chain has TCB info of none yet"));
        }
        let before = stored(&self.registry, &known, self.first).await?;
        // Certificates of issuers end when they do: nothing newer is put in for them.
        let due = before.ending(self.margin.as_secs()).any(|part| part.until == 0 || part.from > 0);
        if !due && !self.source.has_news() {
            return Ok(Round { stored: before, uploaded: Vec::new() });
        }
        let fmspcs: Vec<[u8; 6]> = known.iter().map(|(fmspc, _)| *fmspc).collect();
        let bundle = self.source.bundle(&fmspcs, before.now).await?;
        if !due && !self.is_news(&bundle).await? {
            return Ok(Round { stored: before, uploaded: Vec::new() });
        }
        let uploaded = upload(&self.registry, wallet, &bundle, sent).await?;
        let stored = stored(&self.registry, &known, self.first).await?;
        Ok(Round { stored, uploaded })
    }

    /// Whether a bundle has what must not wait.
    async fn is_news(&self, bundle: &Bundle) -> Result<bool, Error> {
        let (l1, pccs) = (self.registry.l1(), self.registry.contracts().pccs);
        for info in &bundle.tcb_infos {
            let (fmspc, pce_id) = info.machines;
            let call = Pccs::tcbInfoOfCall { fmspc: FixedBytes(fmspc), pceId: FixedBytes(pce_id) };
            if ask(l1, pccs, &call).await?.evaluation < info.evaluation {
                return Ok(true);
            }
        }
        let identity = ask(l1, pccs, &Pccs::qeIdentityCall {}).await?;
        if bundle.qe_identities.iter().any(|newer| newer.evaluation > identity.evaluation) {
            return Ok(true);
        }
        for list in &bundle.lists {
            let issuer = bundle.issuer_of(list).ok_or_else(|| Error::Unsigned("revocation list".into()))?;
            let number = issuer_number(&self.registry, issuer).await?;
            for serial in &list.revoked {
                let Some(id) = pck_id(number, serial) else { continue };
                if self.revoked.lock().contains(&id) {
                    continue;
                }
                if !ask(l1, pccs, &Pccs::isRevokedCall { id }).await? {
                    return Ok(true);
                }
                self.revoked.lock().insert(id);
            }
        }
        Ok(false)
    }
}

/// `Pccs.pckId`: 32 bits of issuer, 160 of serial number; none for a serial number that no certificate here has.
fn pck_id(issuer: u32, serial: &[u8]) -> Option<U192> {
    let serial = U256::try_from_be_slice(serial).filter(|serial| serial.bit_len() <= 160)?;
    let id: U256 = U256::from(issuer) << 160 | serial;
    Some(id.to())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificates_id_is_the_contracts() {
        let expected = (U192::from(7) << 160) | U192::from(0x0102);
        assert_eq!(pck_id(7, &[1, 2]), Some(expected));
        assert_eq!(pck_id(u32::MAX, &[0xff; 20]), Some(U192::MAX));
        assert_eq!(pck_id(1, &[1; 21]), None);
        assert_eq!(pck_id(1, &[1; 40]), None);
    }
}
