//! What a validator's node brings to L1 besides batches: evidence against others, and the certificates that release its own rewards.

use super::{Attempt, Held, Shared, certificates::Certificates, commit::is_seen, next_attempt, unstuck};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use jove_avc::{Anchor, Evidence, codec::Wire as _};
use jove_consensus::Consensus;
use jove_primitives::batch::hash::ORDINARY;
use jove_settlement::{
    committer::Ends as _,
    contracts::{RewardVault, ValidatorAuthority, ask},
    relayer::{Relayer, Request, State},
    status::Stage,
    validators::{claim, slash},
    watcher::{Batch, L1State},
};
use std::collections::HashSet;

/// Proofs of misbehaviour that are looked at at once.
const AT_ONCE: usize = 64;
/// Final batches before the last that rewards are claimed for after a start.
const BATCHES: u64 = 1024;

/// How far it has come.
struct Progress {
    /// The next proof of misbehaviour.
    evidence: u64,
    /// Validators whose bond is gone.
    slashed: HashSet<B256>,
    /// The next batch to be claimed for.
    batch: Option<u64>,
    /// L1's head at the last look.
    looked: B256,
}

/// Sends what is to be sent, one thing after the other.
pub(super) async fn attend(shared: Shared, mut relayer: Relayer) {
    let mut l1 = shared.handle.l1.clone();
    let mut progress = Progress { evidence: 0, slashed: HashSet::new(), batch: None, looked: B256::ZERO };
    loop {
        let outcome = match relayer.step().await {
            Ok(()) => step(&shared, &mut relayer, &mut progress).await,
            Err(error) => Err(error.into()),
        };
        shared.status(Stage::Duties, outcome.and_then(|()| unstuck(&relayer, shared.poll)));
        shared.wait(&mut l1).await;
    }
}

async fn step(shared: &Shared, relayer: &mut Relayer, progress: &mut Progress) -> Result<(), Held> {
    let state = shared.l1_state();
    let Some(consensus) = shared.beside.get().filter(|_| state.latest.open) else { return Ok(()) };
    // One at a time; nothing that is looked at changes before L1's head does, but evidence, which is in no hurry.
    if relayer.is_sending() || progress.looked == state.latest.block.hash {
        return Ok(());
    }
    report(shared, relayer, &state, consensus, progress).await?;
    match shared.settlement.reward_vault {
        Some(vault) => earn(shared, relayer, &state, consensus, vault, progress).await,
        None => Ok(()),
    }?;
    progress.looked = state.latest.block.hash;
    Ok(())
}

/// Takes the bonds of those who signed twice. One proof is enough for a bond; where L1 does not take one, the next may do.
async fn report(
    shared: &Shared,
    relayer: &mut Relayer,
    state: &L1State,
    consensus: &Consensus,
    progress: &mut Progress,
) -> Result<(), Held> {
    let authority = shared.settlement.authority;
    for evidence in consensus.store().evidence(progress.evidence, AT_ONCE)? {
        if let Some(anchor) = consensus.store().anchor(evidence.epoch())?
            && let Some((id, key)) = accused(&evidence, &anchor)
            && !progress.slashed.contains(&id)
        {
            let member = ask(&shared.l1, authority, &ValidatorAuthority::memberOfCall { id }).await?;
            if member.slashed || member.bond.is_zero() {
                progress.slashed.insert(id);
            } else {
                let records = ask(&shared.l1, authority, &ValidatorAuthority::recordsOfCall { id }).await?;
                // Keys that were never registered have no bond behind them.
                if let Some(record) = records.iter().position(|record| record.key == key[..]) {
                    let name = format!("slash/{:x}", keccak256(evidence.encode()));
                    if let Some(State::Refused(revert)) = relayer.state(&name) {
                        tracing::warn!(validator = %id, %revert, "L1 does not take this evidence");
                        progress.evidence += 1;
                        continue;
                    }
                    let data = slash(consensus.era(), &evidence, id, record, &key)?;
                    return send(relayer, state, name, authority, data).await;
                }
            }
        }
        progress.evidence += 1;
    }
    Ok(())
}

/// Whom a proof is against, and with which key it was signed.
fn accused(evidence: &Evidence, anchor: &Anchor) -> Option<(B256, [u8; 96])> {
    let index = match evidence {
        Evidence::Votes(vote, _) => vote.signer,
        Evidence::Seals(seal, _) => anchor.set.leader(&anchor.seed, seal.term),
    };
    anchor.set.validators().get(usize::from(index)).map(|one| (one.id, one.key))
}

/// Claims the reward of each final batch whose last checkpoint this node's validator, or one of this account, proposed.
async fn earn(
    shared: &Shared,
    relayer: &mut Relayer,
    state: &L1State,
    consensus: &Consensus,
    vault: Address,
    progress: &mut Progress,
) -> Result<(), Held> {
    let last = state.latest.last_final;
    let first = progress.batch.get_or_insert(last.saturating_sub(BATCHES).max(1));
    while *first <= last {
        let Some(batch) = state.batch(*first)? else { return Ok(()) };
        if is_own(shared, relayer, consensus, &batch).await?
            && !ask(&shared.l1, vault, &RewardVault::paidCall { batchHash: batch.hash }).await?
        {
            let certificate = Certificates(shared.beside.clone()).certificate(batch.header.last_block)?;
            let data = claim(&batch, certificate);
            return send(relayer, state, format!("claim/{:x}", batch.hash), vault, data).await;
        }
        *first += 1;
    }
    Ok(())
}

async fn is_own(shared: &Shared, relayer: &Relayer, consensus: &Consensus, batch: &Batch) -> Result<bool, Held> {
    if batch.header.version != ORDINARY {
        return Ok(false);
    }
    let kept = consensus.store().of_block(batch.header.last_block)?;
    let Some(kept) = kept.filter(|kept| kept.checkpoint.last_hash == batch.header.last_block_hash) else {
        return Ok(false);
    };
    let Some(anchor) = consensus.store().anchor(kept.checkpoint.epoch)? else { return Ok(false) };
    let Some(proposer) = anchor.set.validators().get(usize::from(kept.checkpoint.proposer)) else { return Ok(false) };
    let call = ValidatorAuthority::memberOfCall { id: proposer.id };
    let member = ask(&shared.l1, shared.settlement.authority, &call).await?;
    let own = consensus.id() == Some(proposer.id) || member.owner == relayer.signer().address();
    Ok(own && !member.owner.is_zero() && !member.slashed && kept.certificate.is_some())
}

async fn send(relayer: &mut Relayer, state: &L1State, key: String, to: Address, data: Bytes) -> Result<(), Held> {
    let Some(Attempt { key, failed }) = next_attempt(relayer, &key, |mined| is_seen(state, mined)) else {
        return Ok(());
    };
    tracing::info!(key, "to L1");
    relayer.submit(Request { key, to, value: Default::default(), data, gas_limit: None, sidecar: None })?;
    relayer.step().await?;
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}
