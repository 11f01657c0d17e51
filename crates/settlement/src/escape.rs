//! Leaving a chain that nobody runs any more: what the escape waits for, its beginning, and what is whose (PROTOCOL's escape; docs/settlement.md has the
//! contracts' rules, docs/bridge.md the commands).
//!
//! **Begin.** Once a batch or a message has waited for Z and nothing became final in Z, anyone halts the chain on L1 ([`Crossing::start_escape`]). What the
//! proofs on L1 make final has to become so first; the roots of those batches come from a node of the chain. Without such batches none is needed: the roots of
//! the last final one are in L1's events, those of genesis in the chain file. The contracts say whether they are right.
//!
//! **Take.** After that, everyone takes what the last final state says is theirs ([`Crossing::holding`]): by `eth_getProof` of any node of the chain,
//! such as one that was rebuilt from L1. Nothing that it says is believed: a proof is checked against the state root that L1 has before
//! anything is sent. Messages that no final batch consumed go back to their senders ([`Crossing::pending`]), and so do token deposits that failed
//! on the chain ([`Crossing::failed_deposits`]).

use crate::{
    Error, L1,
    bridge::Crossing,
    contracts::{EscapeHatch, Inbox, L2Bridge, L2Token, Phase, Proofs, Rollup, ask},
    outbox::FinalRoots,
    wallet::{Call, Wallet},
};
use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxHash, U256, address, b256, keccak256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, Filter, Log};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use jove_primitives::{
    Account,
    batch::hash::{invalid_output_hash, output_hash},
    predeploys::{EMPTY_OUTBOX_ROOT, L2_BRIDGE, L2_MESSENGER, OUTBOX_ROOT_SLOT},
};
use jove_trie::{AccountProof, SlotProof};
use std::ops::Range;

/// What is added to the address of an L1 contract to have its address on the chain (docs/settlement.md).
const ALIAS_OFFSET: Address = address!("1111000000000000000000000000000000001111");
/// Slot of the mapping of balances in every L2 token: ERC-7201 of `jove.storage.L2Token`.
const BALANCES_SLOT: B256 = b256!("ca5bae621500059bf9a73654ac7a4f07e7ea6beff0522cfaddacb4e534b5ad00");
/// Slot of the mapping of failed deposits in the L2 bridge.
const FAILED_SLOT: U256 = U256::from_limbs([2, 0, 0, 0]);
/// Blocks whose logs are asked for at once: of L1, as public nodes take it, and of the chain, which makes many.
const L1_RANGE: u64 = 1_000;
const L2_RANGE: u64 = 1_000_000;
/// Batches made final by one transaction: 60,000 gas each at most, below EIP-7825's limit.
const FINAL_AT_ONCE: usize = 128;
/// Attempts at a transaction before which others come.
const ATTEMPTS: u32 = 3;

/// Something that is not final yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Index of the batch or message.
    pub index: u64,
    /// When it came to L1, in seconds since the Unix epoch.
    pub since: u64,
}

/// The last final batch, as L1 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Its index.
    pub index: u64,
    /// Its last block.
    pub block: u64,
    /// The hash of that block.
    pub block_hash: B256,
    /// The state root after it; none before the escape has begun.
    pub state_root: Option<B256>,
}

/// The state after a batch's last block: the node of the chain has that block, with the hash that L1 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalState {
    /// The block.
    pub block: u64,
    /// The state root after it.
    pub state_root: B256,
}

/// Where the escape stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the contracts do.
    pub phase: Phase,
    /// Time of L1's head, in seconds since the Unix epoch, as all times here.
    pub now: u64,
    /// Z.
    pub delay: u64,
    /// The last final batch: for ever, once the escape has begun.
    pub last: LastBatch,
    /// When a batch last became final, or the chain was opened.
    pub final_at: u64,
    /// The last committed batch.
    pub head: u64,
    /// Messages that no final batch consumed.
    pub messages: Range<u64>,
    /// The first batch that is not final.
    pub batch: Option<Waiting>,
    /// The first message that no final batch consumed.
    pub message: Option<Waiting>,
}

impl Standing {
    /// When the escape can begin, by what is on L1 now; never if nothing waits.
    pub fn due(&self) -> Option<u64> {
        let since = [self.batch, self.message].into_iter().flatten().map(|waiting| waiting.since).min()?;
        Some(since.max(self.final_at).saturating_add(self.delay))
    }
}

/// What an account of the chain has in the last final state, with the proof that `EscapeHatch` takes. The proof was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The account.
    pub account: Address,
    /// The token on L1; none for ether.
    pub token: Option<Address>,
    /// How much, in the smallest unit.
    pub amount: U256,
    account_proof: Vec<Bytes>,
    balance_proof: Vec<Bytes>,
}

impl Holding {
    /// The data of the call of `EscapeHatch` that pays it to `recipient`. The owner alone can make it.
    pub fn call_data(&self, recipient: Address) -> Bytes {
        let Self { account, token, account_proof, balance_proof, .. } = self.clone();
        let data = match token {
            None => EscapeHatch::escapeETHCall { account, recipient, proof: account_proof }.abi_encode(),
            Some(token) => EscapeHatch::escapeERC20Call {
                token,
                account,
                recipient,
                tokenProof: account_proof,
                balanceProof: balance_proof,
            }
            .abi_encode(),
        };
        data.into()
    }
}

/// A message that no final batch consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// As it was queued.
    pub entry: EscapeHatch::Entry,
    /// Whom it is refunded to: its sender on L1, or the depositor of its tokens.
    pub owner: Address,
    /// The token on L1; none for ether.
    pub token: Option<Address>,
    /// How much, in the smallest unit; zero if it brings nothing.
    pub amount: U256,
}

impl Pending {
    /// The data of the call of `EscapeHatch` that refunds it. Anyone can make it for its owner, and the owner for any recipient.
    pub fn call_data(&self, recipient: Address) -> Bytes {
        EscapeHatch::refundMessageCall { entry: self.entry.clone(), recipient }.abi_encode().into()
    }
}

/// A token deposit that failed on the chain and was not sent back, with its proof, which was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDeposit {
    /// Its number in the L2 bridge.
    pub id: U256,
    /// The token on L1.
    pub token: Address,
    /// The depositor on L1.
    pub owner: Address,
    /// How much, in the token's smallest unit.
    pub amount: U256,
    bridge_proof: Vec<Bytes>,
    record_proof: Vec<Bytes>,
}

impl FailedDeposit {
    /// The data of the call of `EscapeHatch` that refunds it. Anyone can make it for its owner, and the owner for any recipient.
    pub fn call_data(&self, recipient: Address) -> Bytes {
        let Self { id, token, owner: from, amount, bridge_proof, record_proof } = self.clone();
        let call = EscapeHatch::refundFailedCall {
            id,
            token,
            from,
            amount,
            recipient,
            bridgeProof: bridge_proof,
            recordProof: record_proof,
        };
        call.abi_encode().into()
    }
}

/// The address on the chain of an L1 contract.
pub fn alias(contract: Address) -> Address {
    let sum = U256::from_be_bytes(contract.into_word().0) + U256::from_be_bytes(ALIAS_OFFSET.into_word().0);
    Address::from_word(sum.into()) // modulo 2^160
}

/// The counterpart on the chain of an L1 token, deployed or not: the L2 bridge creates it with the token's address as salt (EIP-1014).
pub fn l2_token_of(token: Address) -> Address {
    L2_BRIDGE.create2(token.into_word(), keccak256(&L2Token::BYTECODE))
}

/// Slot of an account's balance in an L2 token.
fn balance_slot(account: Address) -> U256 {
    keccak256((account, BALANCES_SLOT).abi_encode()).into()
}

/// Slot of the record of a failed deposit in the L2 bridge.
fn failed_slot(id: U256) -> U256 {
    keccak256((id, FAILED_SLOT).abi_encode()).into()
}

impl Crossing {
    /// Where the escape stands, by L1's head.
    ///
    /// # Errors
    /// As [`L1::request`]; [`Error::WrongL1`] if the node is on another chain.
    pub async fn standing(&self) -> Result<Standing, Error> {
        let (l1, rollup, inbox) = (&self.l1, self.settlement.rollup, self.settlement.inbox);
        let (found, expected) = (l1.chain_id().await?, self.settlement.chain_id);
        if found != expected {
            return Err(Error::WrongL1 { found, expected });
        }
        let head = l1.header(BlockNumberOrTag::Latest).await?.ok_or(Error::UnknownL1Block(0))?;
        let phase = Phase::from_number(ask(l1, rollup, &Rollup::phaseCall {}).await?);
        let phase = phase.filter(|phase| *phase != Phase::Closed).ok_or(Error::NotOpen)?;
        let index = ask(l1, rollup, &Rollup::finalIndexCall {}).await?;
        let stored = ask(l1, rollup, &Rollup::batchAtCall { index }).await?;
        let state_root = match phase {
            Phase::Halted => Some(ask(l1, rollup, &Rollup::finalStateRootCall {}).await?),
            _ => None,
        };
        let last = LastBatch { index, block: stored.lastBlock, block_hash: stored.lastBlockHash, state_root };
        let final_at = ask(l1, rollup, &Rollup::finalAtCall {}).await?.to();
        let delay = ask(l1, rollup, &Rollup::escapeDelayCall {}).await?.to();
        let committed = ask(l1, rollup, &Rollup::headIndexCall {}).await?;
        let batch = match committed > index {
            true => {
                let next = ask(l1, rollup, &Rollup::batchAtCall { index: index + 1 }).await?;
                Some(Waiting { index: index + 1, since: next.committedAt })
            }
            false => None,
        };
        let messages = stored.endMessage..ask(l1, inbox, &Inbox::lengthCall {}).await?;
        let message = match messages.is_empty() {
            true => None,
            false => {
                let first = ask(l1, inbox, &Inbox::entryCall { index: messages.start }).await?;
                Some(Waiting { index: messages.start, since: first.timestamp.to() })
            }
        };
        let now = head.timestamp;
        Ok(Standing { phase, now, delay, last, final_at, head: committed, messages, batch, message })
    }

    /// The roots of the batches that the rules allow to become final now, in order: what `startEscape` and `finalize` make final. The contracts say of which
    /// batches and outputs that holds, the node of the chain what the outputs are made of.
    ///
    /// # Errors
    /// [`Error::ChainBehind`] or [`Error::Diverged`] if that node has not the block that a batch ends with; [`Error::OtherOutput`] if another output than that of
    /// its blocks is to be final; or as [`L1::request`].
    pub async fn settled_roots(&self, standing: &Standing) -> Result<Vec<Rollup::Roots>, Error> {
        let (l1, rollup, proofs) = (&self.l1, self.settlement.rollup, self.settlement.proofs);
        let mut previous = ask(l1, rollup, &Rollup::finalOutputCall {}).await?;
        let mut roots = Vec::new();
        for index in standing.last.index + 1..=standing.head {
            let stored = ask(l1, rollup, &Rollup::batchAtCall { index }).await?;
            let batch_hash = stored.batchHash;
            if !ask(l1, proofs, &Proofs::anySettledCall { batchHash: batch_hash, previous }).await? {
                break;
            }
            let settled = async |output| {
                ask(l1, proofs, &Proofs::isSettledCall { batchHash: batch_hash, previous, output }).await
            };
            if settled(invalid_output_hash(batch_hash, previous)).await? {
                // It is dropped, and all after it.
                roots.push(Rollup::Roots { invalid: true, stateRoot: B256::ZERO, outboxRoot: B256::ZERO });
                break;
            }
            let state = self.chain_state(index, stored.lastBlock, stored.lastBlockHash).await?;
            let valid = self.roots(&state).await?;
            let output = output_hash(batch_hash, stored.lastBlockHash, valid.stateRoot, valid.outboxRoot);
            if !settled(output).await? {
                return Err(Error::OtherOutput { index });
            }
            roots.push(valid);
            previous = output;
        }
        Ok(roots)
    }

    /// The roots of the valid batch that ends with this state, the outbox root by proof.
    async fn roots(&self, state: &FinalState) -> Result<Rollup::Roots, Error> {
        let outbox = self.proof(state, L2_MESSENGER, &[OUTBOX_ROOT_SLOT]).await?;
        let outbox_root = B256::from(outbox.slots.first().map_or(U256::ZERO, |slot| slot.value));
        Ok(Rollup::Roots { invalid: false, stateRoot: state.state_root, outboxRoot: outbox_root })
    }

    /// The roots of the last final batch: by L1, or by the chain's node if L1's does not show them. `genesis` is the state root of genesis.
    async fn last_roots(&self, standing: &Standing, genesis: B256) -> Result<Rollup::Roots, Error> {
        match self.roots_on_l1(standing, genesis).await {
            Ok(roots) => Ok(roots),
            Err(error) => {
                tracing::warn!(%error, "L1's node does not show the roots of the last final batch: the chain's node is asked");
                self.roots(&self.final_state(&standing.last).await?).await
            }
        }
    }

    /// The roots of the last final batch by the chain file or L1's event, once the contract has said that they are.
    async fn roots_on_l1(&self, standing: &Standing, genesis: B256) -> Result<Rollup::Roots, Error> {
        let LastBatch { index, block_hash: last_block_hash, .. } = standing.last;
        let (state_root, outbox_root) = match index {
            0 => (genesis, EMPTY_OUTBOX_ROOT),
            _ => {
                let event = self.final_event(index, standing.final_at).await?;
                (event.stateRoot, event.outboxRoot)
            }
        };
        match self.is_final(&FinalRoots { index, last_block_hash, state_root, outbox_root }).await? {
            true => Ok(Rollup::Roots { invalid: false, stateRoot: state_root, outboxRoot: outbox_root }),
            false => Err(Error::NotTheContracts("Rollup")),
        }
    }

    /// The event of the last final batch: it is in the first L1 block that is not before `final_at`, or, if an escape was due already, in a later one.
    async fn final_event(&self, index: u64, final_at: u64) -> Result<Rollup::BatchFinal, Error> {
        let head = self.l1.header(BlockNumberOrTag::Latest).await?.ok_or(Error::UnknownL1Block(0))?.number;
        let (mut first, mut last) = (self.settlement.block, head);
        while first < last {
            let middle = first + (last - first) / 2;
            let header = self.l1.header(middle).await?.ok_or(Error::UnknownL1Block(middle))?;
            match header.timestamp < final_at {
                true => first = middle + 1,
                false => last = middle,
            }
        }
        let filter = Filter::new().address(self.settlement.rollup).event_signature(Rollup::BatchFinal::SIGNATURE_HASH);
        let filter = filter.topic1(U256::from(index));
        while first <= head {
            let end = head.saturating_add(1).min(first.saturating_add(L1_RANGE));
            let logs = all_logs(&self.l1, &filter, first..end, L1_RANGE).await?;
            let mut events = logs.iter().filter_map(|log| Rollup::BatchFinal::decode_log_validate(&log.inner).ok());
            if let Some(event) = events.find(|event| event.index == index) {
                return Ok(event.data);
            }
            first = end;
        }
        Err(Error::NotTheContracts("Rollup"))
    }

    /// Begins the escape, for good, from any account: what the rules allow becomes final, in more than one transaction if there is much of it, and nothing
    /// after that. `genesis` is the state root of the chain's genesis. The number of batches that became final.
    ///
    /// # Errors
    /// [`Error::Halted`], [`Error::NothingWaits`] or [`Error::NotDue`] if it cannot begin; as [`settled_roots`](Self::settled_roots),
    /// [`final_state`](Self::final_state) and [`Wallet::send`].
    pub async fn start_escape(
        &self,
        wallet: &Wallet,
        genesis: B256,
        mut sent: impl FnMut(&Call, TxHash),
    ) -> Result<u64, Error> {
        let (mut made_final, mut attempts) = (0, ATTEMPTS);
        loop {
            let standing = self.standing().await?;
            if standing.phase == Phase::Halted {
                return Err(Error::Halted);
            }
            let until = standing.due().ok_or(Error::NothingWaits)?;
            if until > standing.now {
                return Err(Error::NotDue { until, left: until - standing.now });
            }
            let outcome = match self.escape_call(&standing, genesis).await {
                Ok((call, count, begins)) => wallet.send(&[call], &mut sent).await.map(|_| (count, begins)),
                Err(error) => Err(error),
            };
            match outcome {
                Ok((count, begins)) => {
                    made_final += count;
                    if begins {
                        return Ok(made_final);
                    }
                    attempts = ATTEMPTS;
                }
                // Others may have made batches final, or proven some, since L1 was read.
                Err(error) => {
                    attempts -= 1;
                    let stale = match error {
                        Error::Reverts { .. } | Error::Failed { .. } => true,
                        // It may be mined yet.
                        Error::NotMined { .. } => false,
                        _ => {
                            let index = ask(&self.l1, self.settlement.rollup, &Rollup::finalIndexCall {}).await;
                            index.is_ok_and(|index| index != standing.last.index)
                        }
                    };
                    if attempts == 0 || !stale {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The next call of `Rollup` on the way into the escape, how many batches it makes final, and whether the escape begins with it.
    async fn escape_call(&self, standing: &Standing, genesis: B256) -> Result<(Call, u64, bool), Error> {
        let mut roots = self.settled_roots(standing).await?;
        let begins = roots.len() <= FINAL_AT_ONCE;
        roots.truncate(FINAL_AT_ONCE);
        let count = roots.iter().filter(|roots| !roots.invalid).count() as u64;
        let (what, data) = if begins {
            // Those of the batch that is the last final one then.
            let frozen = match roots.iter().rfind(|roots| !roots.invalid) {
                Some(frozen) => frozen.clone(),
                None => self.last_roots(standing, genesis).await?,
            };
            let Rollup::Roots { stateRoot, outboxRoot, .. } = frozen;
            ("startEscape", Rollup::startEscapeCall { roots, stateRoot, outboxRoot }.abi_encode())
        } else {
            ("finalize", Rollup::finalizeCall { roots }.abi_encode())
        };
        let call = Call { what: what.into(), to: self.settlement.rollup, value: U256::ZERO, data: data.into() };
        Ok((call, count, begins))
    }

    /// What an account of the chain has in the last final state: ether, or an L1 token's counterpart. Zero is proven, too.
    ///
    /// # Errors
    /// [`Error::ChainBehind`], [`Error::Diverged`] or [`Error::StateProof`] if the node of the chain does not prove it; or as [`L1::request`].
    pub async fn holding(
        &self,
        state: &FinalState,
        account: Address,
        token: Option<Address>,
    ) -> Result<Holding, Error> {
        let Some(token) = token else {
            let AccountProof { account: found, proof, .. } = self.proof(state, account, &[]).await?;
            let amount = found.map_or(U256::ZERO, |found| found.balance);
            return Ok(Holding { account, token, amount, account_proof: proof, balance_proof: Vec::new() });
        };
        let mut proven = self.proof(state, l2_token_of(token), &[balance_slot(account)]).await?;
        let slot = proven.slots.pop();
        let (amount, balance_proof) = slot.map_or_else(Default::default, |slot| (slot.value, slot.proof));
        Ok(Holding { account, token: Some(token), amount, account_proof: proven.proof, balance_proof })
    }

    /// The L1 tokens whose counterparts the chain has, by its bridge's events. A node may leave some out; it cannot add any, for what an account has of it is
    /// proven.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn tokens(&self, state: &FinalState) -> Result<Vec<Address>, Error> {
        let filter = Filter::new().address(L2_BRIDGE).event_signature(L2Bridge::TokenDeployed::SIGNATURE_HASH);
        let logs = all_logs(&self.l2, &filter, 0..state.block.saturating_add(1), L2_RANGE).await?;
        let events = logs.iter().filter_map(|log| L2Bridge::TokenDeployed::decode_log_validate(&log.inner).ok());
        Ok(events.map(|event| event.l1Token).collect())
    }

    /// Whether what an account had was taken; `token` is none for ether.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn is_taken(&self, account: Address, token: Option<Address>) -> Result<bool, Error> {
        let token = token.unwrap_or_default();
        ask(&self.l1, self.settlement.escape_hatch, &EscapeHatch::takenCall { token, account }).await
    }

    /// The message at `index` of L1's queue, as it was queued.
    ///
    /// # Errors
    /// [`Error::Reverts`] if the queue has none there; [`Error::NotTheContracts`] if L1's node does not give its event; or as [`L1::request`].
    pub async fn pending(&self, index: u64) -> Result<Pending, Error> {
        let inbox = self.settlement.inbox;
        let entry = ask(&self.l1, inbox, &Inbox::entryCall { index }).await;
        let entry = entry.map_err(|error| match error.revert() {
            Some(revert) => Error::Reverts { what: format!("reading message {index}"), reason: revert.to_string() },
            None => error,
        })?;
        let block: u64 = entry.blockNumber.to();
        let filter = Filter::new().address(inbox).event_signature(Inbox::MessageQueued::SIGNATURE_HASH);
        let filter = filter.topic1(U256::from(index)).from_block(block).to_block(block);
        let logs = self.l1.logs(&filter).await?;
        let found = logs.iter().find_map(|log| self.read_pending(log, entry.sender));
        found.filter(|found| found.entry.index == index).ok_or(Error::NotTheContracts("Inbox"))
    }

    /// The messages that no final batch consumed, that bring something, and that are refunded to `owner`, with whether they were.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn pending_of(&self, standing: &Standing, owner: Address) -> Result<Vec<(Pending, bool)>, Error> {
        let Range { start, end } = standing.messages;
        let Some(last) = end.checked_sub(1).filter(|last| *last >= start) else { return Ok(Vec::new()) };
        let (l1, inbox, hatch) = (&self.l1, self.settlement.inbox, self.settlement.escape_hatch);
        let entry = async |index| ask(l1, inbox, &Inbox::entryCall { index }).await;
        let first_block: u64 = entry(start).await?.blockNumber.to();
        let last_block: u64 = entry(last).await?.blockNumber.to();
        let senders = [owner, alias(owner), alias(self.settlement.bridge)].map(|sender| sender.into_word());
        let filter = Filter::new().address(inbox).event_signature(Inbox::MessageQueued::SIGNATURE_HASH);
        let filter = filter.topic2(senders.to_vec());
        let mut found = Vec::new();
        for log in all_logs(l1, &filter, first_block..last_block.saturating_add(1), L1_RANGE).await? {
            // Whose it is: of a token deposit the event says it, else the queue.
            let Some(mut pending) = self.read_pending(&log, owner) else { continue };
            let index = pending.entry.index;
            if !standing.messages.contains(&index) || pending.amount.is_zero() {
                continue;
            }
            if pending.token.is_none() {
                pending.owner = entry(index).await?.sender;
            }
            if pending.owner == owner {
                let refunded = ask(l1, hatch, &EscapeHatch::refundedCall { index }).await?;
                found.push((pending, refunded));
            }
        }
        Ok(found)
    }

    /// A queued message, of which `sender` is the sender on L1; nothing if the log is none.
    fn read_pending(&self, log: &Log, sender: Address) -> Option<Pending> {
        let event = Inbox::MessageQueued::decode_log_validate(&log.inner).ok()?.data;
        let Inbox::MessageQueued { index, from, to, isCreation, mint, value, gas, data } = event;
        let is_tokens = from == alias(self.settlement.bridge);
        let deposit = L2Bridge::finalizeDepositCall::abi_decode_validate(&data).ok().filter(|_| is_tokens);
        let block = log.block_number?;
        let entry = EscapeHatch::Entry { index, blockNumber: block, from, to, isCreation, mint, value, gas, data };
        Some(match deposit {
            Some(deposit) => Pending { entry, owner: deposit.from, token: Some(deposit.token), amount: deposit.amount },
            None => Pending { entry, owner: sender, token: None, amount: mint },
        })
    }

    /// The token deposits of `owner` that failed on the chain and were not sent back up to the last final state, with whether they were refunded.
    ///
    /// # Errors
    /// As [`holding`](Self::holding).
    pub async fn failed_deposits(
        &self,
        state: &FinalState,
        owner: Address,
    ) -> Result<Vec<(FailedDeposit, bool)>, Error> {
        let filter = Filter::new().address(L2_BRIDGE).event_signature(L2Bridge::DepositFailed::SIGNATURE_HASH);
        let filter = filter.topic3(owner);
        let mut found = Vec::new();
        for log in all_logs(&self.l2, &filter, 0..state.block.saturating_add(1), L2_RANGE).await? {
            let Ok(event) = L2Bridge::DepositFailed::decode_log_validate(&log.inner) else { continue };
            let L2Bridge::DepositFailed { id, l1Token: token, from, to: _, amount } = event.data;
            if from != owner {
                continue;
            }
            let mut proven = self.proof(state, L2_BRIDGE, &[failed_slot(id)]).await?;
            let Some(SlotProof { value, proof: record_proof, .. }) = proven.slots.pop() else { continue };
            if B256::from(value) != keccak256((token, from, amount).abi_encode()) {
                continue; // it was sent back, or the event is made up
            }
            let refunded = EscapeHatch::failedRefundedCall { id };
            let refunded = ask(&self.l1, self.settlement.escape_hatch, &refunded).await?;
            let bridge_proof = proven.proof;
            found.push((FailedDeposit { id, token, owner: from, amount, bridge_proof, record_proof }, refunded));
        }
        Ok(found)
    }

    /// Has `EscapeHatch` pay. The call would fail, and is not sent, if it is not its time, or paid already, or another's.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn take(
        &self,
        wallet: &Wallet,
        what: &str,
        data: Bytes,
        sent: impl FnMut(&Call, TxHash),
    ) -> Result<(), Error> {
        let call = Call { what: what.into(), to: self.settlement.escape_hatch, value: U256::ZERO, data };
        wallet.send(&[call], sent).await.map(drop)
    }

    /// The last final state, once it is certain that the node of the chain has it.
    ///
    /// # Errors
    /// [`Error::ChainBehind`] or [`Error::Diverged`] if not; or as [`L1::request`].
    pub async fn final_state(&self, last: &LastBatch) -> Result<FinalState, Error> {
        let LastBatch { index, block, block_hash, state_root } = *last;
        let found = self.chain_state(index, block, block_hash).await?;
        match state_root {
            Some(frozen) if frozen != found.state_root => Err(Error::Diverged { index, block }),
            _ => Ok(found),
        }
    }

    /// The state after the last block of a batch, from the chain's node: its header has the hash that L1 has.
    async fn chain_state(&self, batch: u64, block: u64, block_hash: B256) -> Result<FinalState, Error> {
        let Some(header) = self.l2.header(block).await? else {
            return Err(Error::ChainBehind { block, head: self.l2.block_number().await? });
        };
        if header.hash() != block_hash {
            return Err(Error::Diverged { index: batch, block });
        }
        Ok(FinalState { block, state_root: header.state_root })
    }

    async fn proof(&self, state: &FinalState, address: Address, slots: &[U256]) -> Result<AccountProof, Error> {
        let keys: Vec<B256> = slots.iter().map(|slot| B256::from(*slot)).collect();
        let block = BlockNumberOrTag::Number(state.block);
        let answer: EIP1186AccountProofResponse = self.l2.request("eth_getProof", (address, keys, block)).await?;
        let wrong = |reason: String| Error::StateProof { address, host: self.l2.host().into(), reason };
        let proof = account_proof(answer, slots).ok_or_else(|| wrong("it is about other slots".into()))?;
        proof.verify(state.state_root, address).map_err(|error| wrong(error.to_string()))?;
        Ok(proof)
    }
}

/// An answer of `eth_getProof` about these slots. Nothing of it is checked but that.
fn account_proof(answer: EIP1186AccountProofResponse, slots: &[U256]) -> Option<AccountProof> {
    let keys = answer.storage_proof.iter().map(|slot| U256::from_be_bytes(slot.key.as_b256().0));
    if !keys.eq(slots.iter().copied()) {
        return None;
    }
    let EIP1186AccountProofResponse { balance, nonce, code_hash, storage_hash, account_proof, storage_proof, .. } =
        answer;
    // Of an account that is not there, some nodes say zeros, others the hashes of nothing.
    let absent = balance.is_zero() && nonce == 0 && [B256::ZERO, KECCAK256_EMPTY].contains(&code_hash);
    let storage_root = if absent && storage_hash.is_zero() { EMPTY_ROOT_HASH } else { storage_hash };
    let slots = slots.iter().zip(storage_proof);
    Some(AccountProof {
        account: (!absent).then_some(Account { nonce, balance, code_hash }),
        storage_root,
        proof: account_proof,
        slots: slots.map(|(slot, proof)| SlotProof { slot: *slot, value: proof.value, proof: proof.proof }).collect(),
    })
}

/// The logs of blocks that may be more than a node gives at once: asked for in parts, in smaller ones where it refuses.
async fn all_logs(node: &L1, filter: &Filter, blocks: Range<u64>, most: u64) -> Result<Vec<Log>, Error> {
    let (mut next, mut length, mut logs) = (blocks.start, most, Vec::new());
    while next < blocks.end {
        let last = blocks.end.min(next.saturating_add(length)) - 1;
        match node.logs(&filter.clone().from_block(next).to_block(last)).await {
            Ok(part) => {
                logs.extend(part);
                next = last + 1;
                length = most.min(length.saturating_mul(2));
            }
            // Too many, in the node's own words.
            Err(Error::Rpc { .. } | Error::TooLarge { .. }) if length > 1 => length /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(logs)
}

#[cfg(test)]
#[path = "escape_tests.rs"]
mod tests;
