//! Taking over blocks that are proven: what they did, as anyone tells it, in place of executing them.
//!
//! Whoever knows the hash of a valid block, from L1 where a batch is final or from a proof that was verified, knows by it all blocks before, and by each header the
//! transactions, the receipts and the state after it. So what a block did ([`Effects`]) may come from anyone: it is folded into the trie, sealed as if it had been
//! executed here, and has to have the hash. What no hash covers, L1's prices and the fees by them, is computed again.

use crate::{
    engine::Engine,
    import::Candidate,
    node::{Node, NodeError},
};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use jove_primitives::{
    Account, AccountChange, Change, ChangeSet, Receipt,
    block::{Block, L1Prices},
    fee::l1_data_fee,
    predeploys::{L1_BASE_FEE_SLOT, L1_BLOB_BASE_FEE_SLOT, L1_BLOCK},
    transaction::RecoveredTransaction,
};
use jove_stf::BlockOutput;
use jove_storage::{StorageError, View};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Most blocks of a group, and its longest time: then it is written, in one synced write.
const GROUP_BLOCKS: usize = 500;
const GROUP_TIME: Duration = Duration::from_millis(100);

/// A block, and what it did. Its RLP is the list of the fields.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Effects {
    /// The block, sealed.
    pub block: Block,
    /// One receipt a transaction.
    pub receipts: Vec<Receipt>,
    /// Accounts with a change of their own or in their storage.
    pub accounts: Vec<AccountEffect>,
    /// The codes that accounts have since this block.
    pub codes: Vec<Bytes>,
}

/// An account after a block.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct AccountEffect {
    /// Whose.
    pub address: Address,
    /// Whether it exists; if not, the rest is zero or empty.
    pub exists: bool,
    /// Its nonce.
    pub nonce: u64,
    /// Its balance, in wei.
    pub balance: U256,
    /// Keccak-256 of its code.
    pub code_hash: B256,
    /// Its slots that the block changed.
    pub slots: Vec<SlotEffect>,
}

/// A slot after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SlotEffect {
    /// Which.
    pub slot: U256,
    /// Its value.
    pub value: U256,
}

impl Effects {
    /// What block `number` of the store did; none above the head, and of genesis.
    ///
    /// # Errors
    /// [`StorageError::Pruned`] where the state after it is not there any more; the store's.
    pub fn of(view: &View, number: u64) -> Result<Option<Self>, StorageError> {
        if number == 0 {
            return Ok(None);
        }
        let Some(block) = view.block(number)? else { return Ok(None) };
        let changes = view.changes(number)?;
        let accounts = changes.accounts.into_iter().map(|(address, change)| {
            let account = change.account.after;
            let Account { nonce, balance, code_hash } = account.unwrap_or_default();
            let slots = change.storage.into_iter().map(|(slot, change)| SlotEffect { slot, value: change.after });
            let slots = if account.is_some() { slots.collect() } else { Vec::new() };
            AccountEffect { address, exists: account.is_some(), nonce, balance, code_hash, slots }
        });
        Ok(Some(Self {
            block: block.to_block(),
            receipts: block.receipts.clone(),
            accounts: accounts.collect(),
            codes: changes.codes.into_values().collect(),
        }))
    }
}

/// A block that is known by its hash, with senders, and what it is said to have done.
pub(crate) struct Adopted {
    candidate: Candidate,
    receipts: Vec<Receipt>,
    accounts: Vec<AccountEffect>,
    codes: Vec<Bytes>,
}

impl Node {
    /// Makes the chain follow blocks, each the parent of the next, of which the last one's hash is known to be that of a valid block. Others in their place are
    /// withdrawn first. Senders are recovered on all cores.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] if this is not what the blocks did, or they do not lead from a block of this chain to the hash: nothing wrong stays, and what is right
    /// of them may; if a finalized block would have to be withdrawn; if the store fails, or the node is stopping.
    pub fn adopt(&self, blocks: Vec<Effects>, last: B256) -> Result<(), NodeError> {
        let adopted = blocks.into_par_iter().map(|Effects { block, receipts, accounts, codes }| {
            let candidate = Candidate::new(block);
            Adopted { candidate, receipts, accounts, codes }
        });
        let blocks = adopted.collect();
        self.call(|reply| crate::engine::Command::Adopt { blocks, last, reply })
    }
}

impl Engine {
    pub(crate) fn adopt(&mut self, blocks: Vec<Adopted>, last: B256) -> Result<(), NodeError> {
        let wrong = |what: &str| Err(NodeError::Invalid(what.into()));
        if self.shared.spec.ethereum.is_some() {
            return wrong("a layer 1 takes no blocks from another");
        }
        let follows = |pair: &[Adopted]| {
            let [one, next] = pair else { return false };
            next.candidate.header.parent_hash == one.candidate.hash
                && Some(next.candidate.header.number) == one.candidate.header.number.checked_add(1)
        };
        if !blocks.windows(2).all(follows) || blocks.last().is_none_or(|block| block.candidate.hash != last) {
            return wrong("the blocks do not lead to the known hash");
        }
        let view = self.shared.storage.view();
        let mut known = 0;
        for block in &blocks {
            if view.block_hash(block.candidate.header.number)? != Some(block.candidate.hash) {
                break;
            }
            known += 1;
        }
        let Some(first) = blocks.get(known) else { return Ok(()) };
        let Some(parent) = first.candidate.header.number.checked_sub(1) else { return wrong("genesis is known") };
        if view.block_hash(parent)? != Some(first.candidate.header.parent_hash) {
            return wrong("their parent is not here");
        }
        drop(view);
        self.check_certified(parent)?;
        self.unwind(parent, self.withdrawn())?;

        let (mut group, mut begun) = (Vec::new(), Instant::now());
        for block in blocks.into_iter().skip(known) {
            if self.shared.stopping.load(Ordering::Relaxed) {
                self.persist(group)?;
                return Err(NodeError::Stopped);
            }
            let Adopted { candidate, receipts, accounts, codes } = block;
            let Candidate { header, hash, transactions } = candidate;
            let (Some(transactions), Some(changes)) = (transactions, self.changes(accounts, codes)) else {
                self.persist(group)?;
                return wrong("a signature is none, or a code is missing");
            };
            // What an account's wipe erases is looked up in the store.
            let wipes = changes.accounts.values().any(|change| change.wiped);
            if (wipes || group.len() >= GROUP_BLOCKS || begun.elapsed() >= GROUP_TIME) && !group.is_empty() {
                self.persist(std::mem::take(&mut group))?;
            }
            if group.is_empty() {
                begun = Instant::now();
            }
            let l1_prices = self.l1_prices(&changes);
            let output = BlockOutput {
                l1_fees: transactions.iter().map(|one| l1_fee(one, l1_prices)).collect(),
                l1_prices,
                gas_used: receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used),
                blob_gas_used: header.blob_gas_used.unwrap_or(0),
                receipts,
                changes,
            };
            if output.receipts.len() != transactions.len() {
                self.persist(group)?;
                return wrong("there is not one receipt a transaction");
            }
            let before = header.number - 1;
            let sealed = match self.fold(header, transactions, output) {
                Ok(sealed) => sealed,
                Err(error) => {
                    self.persist(group)?;
                    return Err(error);
                }
            };
            if sealed.block.hash != hash {
                // The trie has it already.
                self.shared.folded.write().unwind(&sealed.changes.reversed(), before);
                self.persist(group)?;
                return wrong("that is not what the blocks did");
            }
            group.push(sealed);
        }
        self.persist(group)
    }

    /// What accounts are to become, with what they are; none if a new code is not among these.
    fn changes(&self, accounts: Vec<AccountEffect>, codes: Vec<Bytes>) -> Option<ChangeSet> {
        let codes: BTreeMap<B256, Bytes> = codes.into_iter().map(|code| (keccak256(&code), code)).collect();
        let folded = self.shared.folded.read();
        let mut changes = ChangeSet::default();
        for AccountEffect { address, exists, nonce, balance, code_hash, slots } in accounts {
            let before = folded.trie.account(address);
            let after = exists.then_some(Account { nonce, balance, code_hash });
            if before.is_none() && after.is_none() {
                continue;
            }
            let mut storage = BTreeMap::new();
            if after.is_some() {
                storage.extend(slots.into_iter().map(|SlotEffect { slot, value }| {
                    (slot, Change { before: folded.trie.slot(address, slot), after: value })
                }));
                let is_new = code_hash != KECCAK256_EMPTY && before.map(|account| account.code_hash) != Some(code_hash);
                if is_new {
                    changes.codes.insert(code_hash, codes.get(&code_hash)?.clone());
                }
            }
            let account = Change { before, after };
            changes.accounts.insert(address, AccountChange { account, wiped: after.is_none(), storage });
        }
        Some(changes)
    }

    /// L1's prices in a block with these changes: its first transaction alone may set them.
    fn l1_prices(&self, changes: &ChangeSet) -> L1Prices {
        let folded = self.shared.folded.read();
        let price = |slot: U256| {
            let changed = changes.accounts.get(&L1_BLOCK).and_then(|change| change.storage.get(&slot));
            changed.map_or_else(|| folded.trie.slot(L1_BLOCK, slot), |change| change.after).saturating_to()
        };
        L1Prices { base_fee: price(L1_BASE_FEE_SLOT), blob_base_fee: price(L1_BLOB_BASE_FEE_SLOT) }
    }
}

/// The L1 data fee that a transaction of a valid block paid.
fn l1_fee(transaction: &RecoveredTransaction, prices: L1Prices) -> U256 {
    match transaction.inner().as_deposit() {
        Some(_) => U256::ZERO,
        None => l1_data_fee(&transaction.inner().encoded_2718(), prices),
    }
}
