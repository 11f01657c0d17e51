//! FinalCerts that this node lacks, of checkpoints that a descendant's made final here: who catches up gets one certificate for many. L1 wants that of the
//! checkpoint with which a batch ends.

use super::{Consensus, Shared};
use crate::{
    Error, Judgement, Kept, MAX_FINALS, Request,
    wire::{MAX_CERTIFICATES, decode_certificates},
};
use alloy_primitives::Bytes;
use jove_avc::{Certificate, Kind, verify_certificate};
use metrics::counter;
use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// Heights of one question, and final checkpoints that are looked at for its answer.
const HEIGHTS: u64 = 1024;
/// After so long a question counts as lost.
const LOST: Duration = Duration::from_secs(30);

/// Who is asked for certificates.
#[derive(Default)]
pub(super) struct Looking {
    /// Since when a question waits for its answer.
    asked: Option<Instant>,
    /// How often somebody was asked.
    turn: usize,
}

impl Consensus {
    /// Looks for the FinalCerts that are lacking of the final checkpoints with blocks from one to another: asks a peer, each time another. What it gives is verified
    /// and kept. Whoever needs one asks again until it is there.
    ///
    /// # Errors
    /// The database's, or that it is damaged.
    pub fn look_for_certificates(&self, first: u64, last: u64) -> Result<(), Error> {
        let Some(heights) = self.shared.without_certificates(first, last)? else { return Ok(()) };
        let Some(anchor) = self.shared.store.last_anchor()? else { return Ok(()) };
        // Validators first, then whoever may have them.
        let ids = anchor.set.validators().iter().map(|one| one.id).filter(|id| Some(*id) != self.me);
        let peers: Vec<_> = ids.map(Some).chain([None]).collect();
        let of = {
            let mut looking = self.shared.looking.lock();
            if looking.asked.is_some_and(|since| since.elapsed() < LOST) {
                return Ok(());
            }
            looking.asked = Some(Instant::now());
            looking.turn += 1;
            peers[looking.turn % peers.len()]
        };
        counter!("jove_consensus_certificates_asked_total").increment(1);
        let request = Request::Certificates { first: *heights.start(), last: *heights.end() }.encode();
        let shared = self.shared.clone();
        let reply = Box::new(move |answer: Option<Bytes>| {
            shared.looking.lock().asked = None;
            let Some(answer) = answer else { return Judgement::Idle };
            let Some(certificates) = decode_certificates(&answer) else { return Judgement::Bad };
            shared.take_certificates(&heights, certificates).unwrap_or_else(|error| {
                tracing::error!(%error, "a certificate cannot be kept");
                Judgement::Idle
            })
        });
        self.peers.request(of, request, reply);
        Ok(())
    }
}

impl Shared {
    /// From the lowest to the highest of these blocks' final checkpoints without a certificate of its own, as far as one question goes.
    fn without_certificates(&self, first: u64, last: u64) -> Result<Option<RangeInclusive<u64>>, Error> {
        let Some(lowest) = self.store.of_block(first)? else { return Ok(None) };
        let mut lacking: Option<RangeInclusive<u64>> = None;
        for kept in self.store.finals(lowest.checkpoint.height).take(MAX_FINALS) {
            let Kept { checkpoint, certificate, .. } = kept?;
            let asked = lacking.as_ref().map_or(0, |lacking| checkpoint.height - lacking.start());
            if checkpoint.last_number > last || asked >= HEIGHTS {
                break;
            }
            if certificate.is_none() {
                lacking = Some(lacking.map_or(checkpoint.height, |lacking| *lacking.start())..=checkpoint.height);
            }
        }
        Ok(lacking)
    }

    /// The FinalCerts of these heights that are here, the lowest first, at most so many.
    pub(super) fn certificates(&self, first: u64, last: u64) -> Result<Vec<Certificate>, Error> {
        let mut found = Vec::new();
        for kept in self.store.finals(first).take(HEIGHTS as usize) {
            let kept = kept?;
            if kept.checkpoint.height > last || found.len() == MAX_CERTIFICATES {
                break;
            }
            found.extend(kept.certificate);
        }
        Ok(found)
    }

    /// Keeps certificates that somebody gave, of checkpoints of these heights.
    fn take_certificates(
        &self,
        heights: &RangeInclusive<u64>,
        certificates: Vec<Certificate>,
    ) -> Result<Judgement, Error> {
        let mut judgement = Judgement::Idle;
        for certificate in certificates {
            let kept = self.store.by_digest(certificate.digest)?;
            let Some(kept) = kept.filter(|kept| heights.contains(&kept.checkpoint.height)) else {
                return Ok(Judgement::Bad);
            };
            // Known: nothing is verified again.
            if kept.certificate.is_some() {
                continue;
            }
            let Some(anchor) = self.store.anchor(kept.checkpoint.epoch)? else { return Ok(Judgement::Idle) };
            let is_its = certificate.kind == Kind::Finalize && certificate.epoch == kept.checkpoint.epoch;
            if !is_its || !verify_certificate(&certificate, &self.domain, &anchor.set, &*self.scheme) {
                return Ok(Judgement::Bad);
            }
            self.store.put_final(&Kept { certificate: Some(certificate), ..kept })?;
            judgement = Judgement::Good;
        }
        Ok(judgement)
    }
}
