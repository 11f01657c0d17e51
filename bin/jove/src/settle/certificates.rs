//! What certifies a batch on a chain with validators: the FinalCert of the checkpoint that it ends with.

use super::{Attempt, Held, Shared, commit::is_seen, next_attempt};
use alloy_primitives::{B256, Bytes};
use alloy_sol_types::SolCall as _;
use jove_avc::{ValidatorSet, l1};
use jove_consensus::{Consensus, Kept, Store};
use jove_settlement::{
    Error,
    committer::{End, Ends},
    contracts::{ValidatorAuthority, ask},
    relayer::{Relayer, Request},
    watcher::L1State,
};
use std::sync::{Arc, OnceLock};

/// Consensus beside the node, once it runs.
pub(super) type Beside = Arc<OnceLock<Arc<Consensus>>>;

fn words(error: impl std::fmt::Display) -> Error {
    Error::Certificate(error.to_string())
}

/// The final checkpoints that consensus keeps.
pub(super) struct Certificates(pub(super) Beside);

impl Certificates {
    fn consensus(&self) -> Result<&Consensus, Error> {
        Ok(self.0.get().ok_or_else(|| words("consensus has not started"))?)
    }

    fn store(&self) -> Result<&Store, Error> {
        Ok(self.consensus()?.store())
    }

    /// The final checkpoint that ends with a block, if one with a certificate of its own does.
    fn ending(&self, block: u64) -> Result<Option<Kept>, Error> {
        let kept = self.store()?.of_block(block).map_err(words)?;
        Ok(kept.filter(|kept| kept.checkpoint.last_number == block && kept.certificate.is_some()))
    }

    fn set(&self, epoch: u64) -> Result<Arc<ValidatorSet>, Error> {
        let anchor = self.store()?.anchor(epoch).map_err(words)?;
        Ok(anchor.ok_or_else(|| words(format!("where epoch {epoch} begins is not here")))?.set)
    }

    /// The set whose validators certified the checkpoint that ends with a block.
    fn signers(&self, block: u64) -> Result<Arc<ValidatorSet>, Error> {
        let kept = self.ending(block)?.ok_or_else(|| words(format!("no checkpoint ends with block {block}")))?;
        self.set(kept.checkpoint.epoch)
    }
}

impl Ends for Certificates {
    fn end(&self, block: u64) -> Result<End, Error> {
        Ok(match self.ending(block)? {
            None => End::No,
            Some(kept) if kept.checkpoint.next.is_some() => End::Must,
            Some(_) => End::May,
        })
    }

    fn certificate(&self, block: u64) -> Result<Bytes, Error> {
        let Some(Kept { checkpoint, certificate: Some(certificate), .. }) = self.ending(block)? else {
            return Err(words(format!("no checkpoint ends with block {block}")));
        };
        let set = self.set(checkpoint.epoch)?;
        Ok(l1::certificate(&checkpoint, &certificate, set.size()).map_err(words)?.into())
    }

    fn look_for(&self, first: u64, last: u64) -> Result<(), Error> {
        tracing::debug!(first, last, "peers are asked for the certificates of these blocks' checkpoints");
        self.consensus()?.look_for_certificates(first, last).map_err(words)
    }
}

/// Whether this node's certificates count on L1.
///
/// # Errors
/// That L1 is in another era than consensus here, which goes there once that is final: certificates of this one count no more.
pub(super) fn check_era(shared: &Shared, state: &L1State) -> Result<(), Held> {
    let (own, era) = (Certificates(shared.beside.clone()).consensus()?.era(), state.latest.era);
    if own == era { Ok(()) } else { Err(format!("L1 has begun era {era}: it begins here once that is final").into()) }
}

/// Publishes the keys that L1 needs to believe a batch which ends with a block, unless they are there. Whether they are.
///
/// # Errors
/// If L1 cannot be asked, or does not take them.
pub(super) async fn publish(
    shared: &Shared,
    relayer: &mut Relayer,
    state: &L1State,
    block: u64,
    published: &mut Option<B256>,
) -> Result<bool, Held> {
    let certificates = Certificates(shared.beside.clone());
    let (set, era) = (certificates.signers(block)?, certificates.consensus()?.era());
    let (hash, authority) = (set.hash(), shared.settlement.authority);
    if *published == Some(hash) {
        return Ok(true);
    }
    let keys = ask(&shared.l1, authority, &ValidatorAuthority::keysOfCall { setHash: hash }).await?;
    let first = ask(&shared.l1, authority, &ValidatorAuthority::epochAtCall { era, epoch: 0 }).await?;
    let (name, data) = if keys.points.is_zero() {
        let validators = l1::set(&set).map_err(words)?.into();
        (format!("keys/{hash:x}"), ValidatorAuthority::publishCall { validators }.abi_encode())
    } else if first.firstBlock.is_zero() {
        // L1 has yet to be shown with whom the era begins. Of a large set that takes too much gas where it creates their keys too.
        let validators = l1::set(&*certificates.set(0)?).map_err(words)?.into();
        (format!("begin/{era}"), ValidatorAuthority::beginCall { era, validators }.abi_encode())
    } else {
        *published = Some(hash);
        return Ok(true);
    };
    let attempt = next_attempt(relayer, &name, |mined| is_seen(state, mined));
    let Some(Attempt { key, failed }) = attempt else { return Ok(false) };
    let data = data.into();
    relayer.submit(Request { key, to: authority, value: Default::default(), data, gas_limit: None, sidecar: None })?;
    tracing::info!(key = name, set = %hash, validators = set.size(), "showing L1 who an epoch's validators are");
    relayer.step().await?;
    failed.map_or(Ok(false), |failed| Err(failed.into()))
}
