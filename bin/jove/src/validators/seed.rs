//! A Seed Node: others find the network through it, and it reports how reliable validators are.
//!
//! It asks each validator of the epoch for nothing in particular, every [`PROBE`]. A validator's score is the share of these questions that it answered, in
//! thousandths. Once three quarters of an epoch's checkpoints are final, the Seed Node sends the scores as a [`SeedReport`], in a transaction of an account of its own,
//! which has to have what that costs: a few tens of thousands of gas an epoch.

use super::keys::Keys;
use alloy_consensus::TxEip1559;
use alloy_eips::Encodable2718 as _;
use alloy_primitives::B256;
use jove_avc::{
    BlsSigner, Domain, ValidatorSet,
    codec::Wire as _,
    weights::{REPORTS, SCORE_ONE, Score, SeedReport},
};
use jove_consensus::{Consensus, Request};
use jove_network::{Network, To};
use jove_primitives::{Transaction, spec::GenesisSeed};
use jove_sequencer::Node;
use jove_settlement::Key;
use metrics::counter;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::MissedTickBehavior};

/// In a Seed Node's data directory: the secret of its keys.
pub(crate) const KEY_FILE: &str = "seed.hex";
/// Between two questions to a validator, and how long each may take it.
const PROBE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);
/// Least questions to a validator that a score is made of.
const LEAST: u32 = 3;
/// Gas of a report: of any transaction, and for each of its bytes (EIP-7623's floor is 40).
const GAS: u64 = 21_000;
const GAS_OF_BYTE: u64 = 48;
/// In wei a gas, above the base fee.
const TIP: u128 = 1_000_000;

/// A Seed Node, and what it works with.
pub(super) struct Seed {
    pub(super) index: u16,
    signer: BlsSigner,
    account: Key,
    pub(super) domain: Domain,
    pub(super) epoch_length: u64,
    pub(super) network: Network,
    pub(super) node: Arc<Node>,
}

/// How often validators were asked, and answered, in an epoch.
#[derive(Default)]
struct Tally {
    epoch: u64,
    asked: HashMap<B256, (u32, u32)>,
    reported: bool,
}

impl Tally {
    fn note(&mut self, id: B256, answered: bool) {
        let (asked, answers) = self.asked.entry(id).or_default();
        *asked += 1;
        *answers += u32::from(answered);
    }

    fn scores(&self, set: &ValidatorSet) -> Vec<Score> {
        let scores = set.validators().iter().enumerate().filter_map(|(index, validator)| {
            let (asked, answers) = self.asked.get(&validator.id).filter(|(asked, _)| *asked >= LEAST)?;
            let score = u64::from(*answers) * u64::from(SCORE_ONE) / u64::from(*asked);
            Some(Score { validator: index as u16, score: score.min(u64::from(SCORE_ONE)) as u16 })
        });
        scores.collect()
    }
}

impl Seed {
    /// The one of these keys, among those that the chain spec names.
    ///
    /// # Errors
    /// In words: it is not among them.
    pub(super) fn new(
        keys: &Keys,
        seeds: &[GenesisSeed],
        domain: Domain,
        epoch_length: u64,
        network: Network,
        node: Arc<Node>,
    ) -> Result<Self, String> {
        let signer = keys.signer()?;
        let index = seeds.iter().position(|seed| seed.key[..] == signer.public_key()[..]);
        let index = index.ok_or("the chain spec's seeds do not name this one: see `jove validator init --seed`")?;
        Ok(Self { index: index as u16, signer, account: keys.account()?, domain, epoch_length, network, node })
    }

    /// Asks and reports, for as long as this runs.
    pub(super) async fn run(self, consensus: Arc<Consensus>) {
        tracing::info!(seed = self.index, account = %self.account.address(), "a Seed Node");
        let mut tally = Tally::default();
        let mut tick = tokio::time::interval(PROBE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let anchor = match consensus.store().last_anchor() {
                Ok(Some(anchor)) => anchor,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%error, "it is not known who the validators are");
                    continue;
                }
            };
            if anchor.epoch != tally.epoch {
                tally = Tally { epoch: anchor.epoch, ..Tally::default() };
            }
            for (id, answered) in self.probe(&anchor.set).await {
                counter!("jove_seed_probes_total", "answered" => if answered { "yes" } else { "no" }).increment(1);
                tally.note(id, answered);
            }
            let due = anchor.epoch * self.epoch_length + self.epoch_length * 3 / 4;
            if !tally.reported && consensus.status().height >= due {
                match self.report(&tally, &anchor.set) {
                    Ok(hash) => {
                        tracing::info!(epoch = tally.epoch, %hash, "the validators are reported on");
                        counter!("jove_seed_reports_total").increment(1);
                        tally.reported = true;
                    }
                    Err(error) => {
                        tracing::warn!(epoch = tally.epoch, account = %self.account.address(), error, "no report");
                    }
                }
            }
        }
    }

    /// Which validators answer now.
    async fn probe(&self, set: &ValidatorSet) -> Vec<(B256, bool)> {
        let mut questions = JoinSet::new();
        for validator in set.validators() {
            let (network, id) = (self.network.clone(), validator.id);
            questions.spawn(async move {
                // Nobody has what is after the last of all heights: the answer is empty.
                let request = Request::Finals { after: u64::MAX }.encode();
                let answer = tokio::time::timeout(PATIENCE, network.request(To::Validator(id), request.0)).await;
                (id, matches!(answer, Ok(Ok(_))))
            });
        }
        questions.join_all().await
    }

    /// Sends the report, through this node's pool; its transaction's hash.
    fn report(&self, tally: &Tally, set: &ValidatorSet) -> Result<B256, String> {
        let scores = tally.scores(set);
        if scores.is_empty() {
            return Err("validators were not asked often enough".into());
        }
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let input = SeedReport::new(&self.domain, tally.epoch, self.index, scores, &self.signer).encode();
        let view = self.node.storage().view();
        let state = view.state(view.head_number()).map_err(|error| words(&error))?;
        let account = state.account(self.account.address()).map_err(|error| words(&error))?.unwrap_or_default();
        let header = self.node.next_header().map_err(|error| words(&error))?;
        let base_fee = u128::from(header.base_fee_per_gas.unwrap_or(0));
        let transaction = TxEip1559 {
            chain_id: self.domain.chain_id,
            nonce: account.nonce,
            gas_limit: GAS + GAS_OF_BYTE * input.len() as u64,
            max_fee_per_gas: 2 * base_fee + TIP,
            max_priority_fee_per_gas: TIP,
            to: REPORTS.into(),
            input: input.into(),
            ..Default::default()
        };
        let raw = Transaction::from(self.account.sign(transaction)).encoded_2718();
        let added = self.node.pool().add_raw(&[raw.into()]).pop();
        added.ok_or("the pool gives no answer")?.map_err(|error| words(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jove_avc::{Validator, WEIGHT_ONE};

    #[test]
    fn a_score_is_the_share_of_questions_that_were_answered() {
        let member = |index: u8| Validator {
            id: B256::repeat_byte(index),
            key: [index; 96],
            vrf: [index; 32],
            weight: WEIGHT_ONE,
            sequencer: true,
        };
        let set = ValidatorSet::new((1..=4).map(member).collect()).expect("a set");
        let mut tally = Tally::default();
        for round in 0..7 {
            tally.note(B256::repeat_byte(1), true);
            tally.note(B256::repeat_byte(2), round % 2 == 0);
            tally.note(B256::repeat_byte(3), false);
        }
        (1..LEAST).for_each(|_| tally.note(B256::repeat_byte(4), true));
        let scores: Vec<_> = tally.scores(&set).iter().map(|score| (score.validator, score.score)).collect();
        assert_eq!(scores, [(0, 1000), (1, 571), (2, 0)], "of the fourth too little is known");
    }
}
