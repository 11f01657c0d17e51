//! Seed Nodes' reports, as blocks carry them: transactions to [`REPORTS`], each of a Seed Node's own account, so that nobody else's cost a signature's check.

use crate::chain::{Chain, ChainError};
use alloy_primitives::{Address, B256, Bytes};
use jove_avc::{
    Domain, PublicKey, Scheme,
    codec::Wire as _,
    weights::{REPORTS, SeedReport},
};
use std::{collections::HashMap, sync::Arc};

/// A Seed Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedNode {
    /// The key of its reports; its possession was proven.
    pub key: PublicKey,
    /// The account that sends them.
    pub account: Address,
}

/// Who may report, and how that is checked.
pub(crate) struct Seeds {
    keys: Vec<PublicKey>,
    accounts: Vec<Address>,
    domain: Domain,
    scheme: Arc<dyn Scheme>,
}

impl Seeds {
    pub(crate) fn new(nodes: Vec<SeedNode>, domain: Domain, scheme: Arc<dyn Scheme>) -> Self {
        let (keys, accounts) = nodes.into_iter().map(|node| (node.key, node.account)).unzip();
        Self { keys, accounts, domain, scheme }
    }

    /// What an account says of an epoch, if it is a Seed Node's and that one signed it.
    fn report(&self, epoch: u64, sender: Address, input: &Bytes) -> Option<SeedReport> {
        let report = SeedReport::decode(input).ok()?;
        let is_own = report.epoch == epoch && self.accounts.get(usize::from(report.seed)) == Some(&sender);
        (is_own && report.verify(&self.domain, &self.keys, &*self.scheme)).then_some(report)
    }
}

/// A checkpoint's blocks: its digest, epoch, first and last block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) digest: B256,
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What checkpoints' blocks carry; read once, where a checkpoint becomes final, so that the end of an epoch does not wait for all of its blocks.
pub(crate) struct Reports {
    seeds: Seeds,
    found: HashMap<B256, (u64, Vec<SeedReport>)>,
}

impl Reports {
    pub(crate) fn new(seeds: Seeds) -> Self {
        Self { seeds, found: HashMap::new() }
    }

    /// How many Seed Nodes there are.
    pub(crate) fn seeds(&self) -> usize {
        self.seeds.keys.len()
    }

    /// Reads a final checkpoint's blocks. What is before the epoch's is forgotten.
    pub(crate) fn look(&mut self, chain: &dyn Chain, range: Range) {
        if self.seeds() > 0 && !self.found.contains_key(&range.digest) {
            self.found.retain(|_, (epoch, _)| *epoch >= range.epoch);
            if let Ok(found) = self.read(chain, range) {
                self.found.insert(range.digest, (range.epoch, found));
            }
        }
    }

    /// The reports about an epoch in a checkpoint of it, whose blocks the chain has.
    ///
    /// # Errors
    /// If it has not.
    pub(crate) fn of(&self, chain: &dyn Chain, range: Range) -> Result<Vec<SeedReport>, ChainError> {
        match self.found.get(&range.digest) {
            Some((_, found)) => Ok(found.clone()),
            None if self.seeds() > 0 => self.read(chain, range),
            None => Ok(Vec::new()),
        }
    }

    fn read(&self, chain: &dyn Chain, range: Range) -> Result<Vec<SeedReport>, ChainError> {
        let mut found = Vec::new();
        for number in range.first..=range.last {
            let sent = chain.sent_to(number, REPORTS);
            let sent = sent.ok_or_else(|| ChainError(format!("block {number} is not here")))?;
            found.extend(sent.iter().filter_map(|(sender, input)| self.seeds.report(range.epoch, *sender, input)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use jove_avc::{Checkpoint, Content, KeyedHash, KeyedHashSigner, L1Origin, Tip, ValidatorSet, weights::Score};
    use jove_primitives::block::Block;

    /// What was sent to the place of reports, by block.
    struct Sent(Vec<Vec<(Address, Bytes)>>);

    impl Chain for Sent {
        fn sent_to(&self, number: u64, to: Address) -> Option<Vec<(Address, Bytes)>> {
            assert_eq!(to, REPORTS);
            self.0.get(usize::try_from(number).ok()?).cloned()
        }
        fn block(&self, _: u64) -> Option<Block> {
            None
        }
        fn head(&self) -> (u64, B256) {
            (0, B256::ZERO)
        }
        fn hash_at(&self, _: u64) -> Option<B256> {
            None
        }
        fn result_at(&self, _: u64) -> Option<(B256, L1Origin)> {
            None
        }
        fn execute(&self, _: Vec<Block>) -> Result<Verdict, ChainError> {
            Ok(Verdict::Valid)
        }
        fn lead(&self, _: bool) {}
        fn seal_empty(&self) {}
        fn has_work(&self, _: bool) -> bool {
            false
        }
        fn content(&self, _: &Tip, _: bool) -> Option<Content> {
            None
        }
        fn fits(&self, _: u64, _: u64, _: bool) -> Result<bool, ChainError> {
            Ok(true)
        }
        fn validators(&self, _: &L1Origin, before: &Arc<ValidatorSet>) -> Result<Arc<ValidatorSet>, ChainError> {
            Ok(before.clone())
        }
        fn convicted(&self, _: &L1Origin, _: &L1Origin) -> Result<Vec<B256>, ChainError> {
            Ok(Vec::new())
        }
        fn shows(&self, _: &Checkpoint, _: &crate::Fraud) -> bool {
            false
        }
        fn certified(&self, _: B256, _: &Checkpoint) {}
    }

    #[test]
    fn reports_are_of_seed_nodes_about_the_epoch_and_sent_by_their_accounts() {
        let domain = Domain { chain_id: 7, era: 0 };
        let signer = |index: u8| KeyedHashSigner { id: B256::repeat_byte(index), number: u64::from(index) };
        let account = Address::repeat_byte;
        let report = |epoch, seed: u16, by: u8| {
            let scores = vec![Score { validator: 0, score: 900 }];
            SeedReport::new(&domain, epoch, seed, scores, &signer(by))
        };
        let sent = |report: &SeedReport, by: u8| (account(by), Bytes::from(report.encode()));
        let (good, other_epoch, forged) = (report(3, 1, 1), report(4, 1, 1), report(3, 1, 0));
        let chain = Sent(vec![
            vec![sent(&good, 1), (account(1), Bytes::from_static(&[1, 2, 3]))],
            vec![sent(&good, 0), sent(&other_epoch, 1)],
            vec![sent(&forged, 1), sent(&report(3, 0, 0), 0), sent(&report(3, 2, 0), 0)],
        ]);
        let seeds = || {
            let nodes = (0..2).map(|index| SeedNode { key: signer(index).public_key(), account: account(index) });
            Seeds::new(nodes.collect(), domain, Arc::new(KeyedHash))
        };
        let mut reports = Reports::new(seeds());
        let range = |digest: u8, first, last| Range { digest: B256::repeat_byte(digest), epoch: 3, first, last };
        let expected = vec![good.clone(), report(3, 0, 0)];
        assert_eq!(reports.of(&chain, range(1, 0, 2)).expect("read"), expected);
        assert!(reports.of(&chain, range(1, 2, 3)).is_err(), "a block that nobody has");
        // Once read, they are known; until the next epoch.
        let nothing = Sent(Vec::new());
        reports.look(&chain, range(2, 0, 0));
        assert_eq!(reports.of(&nothing, range(2, 0, 0)).expect("known"), [good]);
        reports.look(&chain, Range { epoch: 4, ..range(3, 1, 1) });
        assert!(reports.of(&nothing, range(2, 0, 0)).is_err(), "forgotten");
        assert_eq!(reports.of(&chain, Range { epoch: 4, ..range(3, 1, 1) }).expect("known"), [other_epoch]);
        let nobody = Reports::new(Seeds::new(Vec::new(), domain, Arc::new(KeyedHash)));
        assert_eq!(nobody.of(&nothing, range(1, 0, 9)).expect("nothing is read"), []);
    }
}
