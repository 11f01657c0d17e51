//! What becomes final: kept, given away, and where the chain is brought if it is elsewhere; and what others have done wrong.

use super::{Driver, Out, PROPOSED, RETRY, Waiting, whose};
use crate::{
    Certified, Error, Kept,
    store::Flagged,
    worker::{Job, is_here},
};
use alloy_primitives::B256;
use jove_avc::{Certificate, Checkpoint, Evidence, Kind, Message};
use metrics::{counter, gauge, histogram};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

/// FinalCerts of checkpoints that are not final here yet, at most.
const FINAL_CERTIFICATES: usize = 1024;

impl Driver {
    pub(super) fn finalized(
        &mut self,
        digest: B256,
        checkpoint: Arc<Checkpoint>,
        certificate: Option<Certificate>,
    ) -> Result<(), Error> {
        let at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let overtaken = self.final_certificates.remove(&digest);
        let certificate = certificate.or(overtaken);
        let kept = self.shared.store.at_height(checkpoint.height)?;
        // After a restart the core says again what is kept.
        if kept.as_ref().is_none_or(|kept| kept.certificate.is_none() && certificate.is_some()) {
            let at_ms = kept.as_ref().map_or(at_ms, |kept| kept.at_ms);
            let checkpoint = Checkpoint::clone(&checkpoint);
            self.shared.store.put_final(&Kept { at_ms, digest, certificate: certificate.clone(), checkpoint })?;
        }
        self.ahead = None;
        self.known.retain(|_, known| known.height > checkpoint.height);
        self.running.retain(|_, known| known.height > checkpoint.height);
        self.waiting.retain(|waiting| waiting.checkpoint.height > checkpoint.height);
        self.following.heard.retain(|_, heard| heard.height > checkpoint.height);
        if kept.is_none() {
            self.give_final_away(&checkpoint, certificate.as_ref());
        }
        if let Some((since, own)) = self.proposed.remove(&digest)
            && kept.is_none()
        {
            histogram!("jove_consensus_final_seconds", "proposal" => whose(own)).record(since.elapsed());
        }
        if self.proposed.len() >= PROPOSED {
            self.proposed.clear();
        }
        self.strayed = None;
        self.say_certified(digest, checkpoint.clone())?;
        gauge!("jove_consensus_height").set(checkpoint.height as f64);
        let mut status = self.shared.status.lock();
        (status.height, status.block) = (checkpoint.height, checkpoint.last_number);
        if let Some(certificate) = &certificate {
            status.signers = certificate.signers.count();
            gauge!("jove_consensus_participation").set(status.signers as f64 / status.validators.max(1) as f64);
        }
        drop(status);
        if kept.is_none() {
            let _ = self.shared.certified.send(Certified { digest, checkpoint, certificate });
        }
        Ok(())
    }

    /// A FinalCert may be overtaken by that of a descendant before its checkpoint is executed: L1 wants it yet, where a batch ends there.
    pub(super) fn keep_certificate(&mut self, certificate: &Certificate) {
        if certificate.kind == Kind::Finalize {
            if self.final_certificates.len() >= FINAL_CERTIFICATES {
                self.final_certificates.clear();
            }
            self.final_certificates.insert(certificate.digest, certificate.clone());
        }
    }

    /// Tells the chain of a final checkpoint.
    pub(super) fn say_certified(&mut self, digest: B256, checkpoint: Arc<Checkpoint>) -> Result<(), Error> {
        let parent = match checkpoint.height {
            0 | 1 => None,
            height => self.shared.store.at_height(height - 1)?,
        };
        let first = parent.map_or(0, |parent| parent.checkpoint.last_number) + 1;
        let _ = self.jobs.send(Job::Certified { digest, checkpoint, first });
        Ok(())
    }

    /// Takes the chain to the branch of the last final checkpoint, which it left for another that was executed later, or has lost: a checkpoint at a time, since of
    /// many blocks there is no room for all.
    pub(super) fn return_to_final(&mut self, now: Instant) -> Result<(), Error> {
        let Some(mut strayed) = self.strayed.take_if(|strayed| strayed.not_before <= now) else { return Ok(()) };
        let (after, number, hash) = self.first_absent(&strayed.checkpoint)?;
        match self.gather(number, hash) {
            Ok(blocks) => {
                let Waiting { digest, checkpoint, .. } = strayed;
                let _ = self.jobs.send(Job::Return(blocks));
                self.say_certified(digest, checkpoint)?;
            }
            Err(lacking) => {
                self.fetch(lacking, after, None);
                strayed.not_before = now + RETRY;
                self.strayed = Some(strayed);
            }
        }
        Ok(())
    }

    /// Of the final checkpoints up to one, the first that the chain does not have: its last block's number and hash, after the number of its parent's.
    fn first_absent(&self, upto: &Checkpoint) -> Result<(u64, u64, B256), Error> {
        let store = &self.shared.store;
        let mut after = store.anchor(0)?.map_or(0, |genesis| genesis.start.last_number);
        let (mut here, mut absent) = (0, (upto.height, upto.last_number, upto.last_hash));
        while absent.0 - here > 1 {
            let middle = here + (absent.0 - here) / 2;
            let kept = store.at_height(middle)?.ok_or(Error::Corrupt("a final checkpoint is missing"))?;
            let checkpoint = &kept.checkpoint;
            if is_here(&*self.shared.chain, checkpoint) {
                (here, after) = (middle, checkpoint.last_number);
            } else {
                absent = (middle, checkpoint.last_number, checkpoint.last_hash);
            }
        }
        Ok((after, absent.1, absent.2))
    }

    pub(super) fn serve_ancestry(&mut self, to: B256, digest: B256) -> Result<(), Error> {
        let mut checkpoints = Vec::new();
        let Some(newest) = self.shared.store.by_digest(digest)? else { return Ok(()) };
        let mut next = Some(newest);
        while let Some(kept) = next
            && checkpoints.len() < jove_avc::MAX_CHECKPOINTS
        {
            next = match kept.checkpoint.height {
                0 | 1 => None,
                height => self.shared.store.at_height(height - 1)?,
            };
            checkpoints.push(kept.checkpoint);
        }
        self.out.push(Out::One(to, Arc::new(Message::Checkpoints(checkpoints))));
        Ok(())
    }

    pub(super) fn accuse(&mut self, evidence: &Evidence) -> Result<(), Error> {
        tracing::warn!(?evidence, "a validator misbehaved");
        counter!("jove_consensus_evidence_total").increment(1);
        self.shared.store.put_evidence(evidence)
    }

    pub(super) fn flag(&mut self, checkpoint: &Checkpoint, reason: u16, witness: Vec<u8>) -> Result<(), Error> {
        tracing::warn!(height = checkpoint.height, proposer = checkpoint.proposer, reason, "a checkpoint is invalid");
        counter!("jove_consensus_invalid_total").increment(1);
        let at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.shared.store.put_flagged(&Flagged { at_ms, reason, checkpoint: checkpoint.clone(), witness })
    }
}
