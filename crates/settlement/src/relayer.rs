//! Transactions of one account, brought onto L1 once each, whatever breaks.
//!
//! A caller [`submit`](Relayer::submit)s a [`Request`] under a key of its choice and calls [`step`](Relayer::step) now and then;
//! [`state`](Relayer::state) says what became of it. [`send`](Relayer::send) does all of that for one request.
//!
//! # States
//!
//! ```text
//!                  dry run reverts                     another transaction took the nonce
//!            ┌──────────────────────► Refused        ┌──────────────► Displaced ──── it is final ───► Fenced
//!            │                                       │                    │ reorganised away
//!  submit ► Queued ── signed, journalled, sent ► Pending ◄────────────────┘
//!                                                    │  ▲
//!                                              mined │  │ reorganised away: the same bytes again
//!                                                    ▼  │
//!                                                   Mined ─────────── final ─────────► Final
//! ```
//!
//! # What holds
//!
//! - **One transaction a key.** A request is signed with one nonce only, and L1 includes one transaction a nonce. Every transaction is in the journal, on disk,
//!   before any node has it: after a crash at any instant the same ones go on. A transaction once signed is sent until its nonce is used.
//! - **One waits.** The next request is signed when those before it are mined; so its dry run sees what they did, and a revert costs nothing. (A transaction
//!   carries up to six blobs, so this bounds an account to six blobs a block.) After a reorganisation several may wait, in order.
//! - **Bytes do not change.** What a reorganisation drops, or a node has forgotten, is sent again byte for byte. A replacement differs in its fees alone.
//! - **Fees have caps.** After [`RelayerConfig::bump_blocks`] blocks without success a transaction is replaced with fees raised by what pools ask, 12.5 % each,
//!   twice as much with blobs, or the market's if that is more; if one of them would pass its cap, it waits, and [`stuck`](Relayer::stuck) says so.
//! - **Others are noticed.** While a foreign transaction waits at the account's next nonce, nothing is signed for [`RelayerConfig::foreign_blocks`] blocks;
//!   after that it is replaced. If a foreign one is mined at the nonce of a request, the request is *displaced*, and *fenced* once that is final: it never
//!   happened and never will. Whoever submitted it looks at L1 and decides anew, under another key. A commit is guarded once more by the contract, which wants
//!   the parent's hash. A lock file keeps a second relayer off the same journal.
//! - **Final means final.** A mined transaction is watched until its block is below L1's `finalized` tag, or so deep as configured.
//!
//! Logic counts L1 blocks; the machine's clock is only shown.

mod journal;
mod state;
mod transaction;

pub use state::{Mined, Reason, RelayerConfig, State, Stuck};
pub use transaction::{Fees, MAX_DATA, MAX_KEY, Request, Sidecar, sidecar};

use crate::{Error, L1, Revert, SealedHeader, wallet::Key};
use alloy_eips::{BlockNumberOrTag, RpcBlockHash};
use alloy_primitives::B256;
use journal::{Chain, Closed, Journal, Record};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, TryLockError},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use transaction::{Attempt, sign};

/// Most gas of a transaction (EIP-7825).
const MAX_GAS: u64 = 1 << 24;
/// Requests that are done with and remembered.
const REMEMBERED: usize = 16_384;
/// Refusals that are remembered.
const MAX_REFUSED: usize = 256;

/// Where a request stands; what is queued has no attempts.
#[derive(Debug)]
enum Phase {
    Waiting,
    Mined(Mined),
    Displaced,
}

#[derive(Debug)]
struct Entry {
    request: Request,
    digest: B256,
    at_ms: u64,
    /// With one nonce, fees rising.
    attempts: Vec<Attempt>,
    phase: Phase,
    /// The head when the last attempt was first seen waiting.
    waits_since: Option<u64>,
    /// A node said that another transaction pays more at its nonce.
    outbid: bool,
    reason: Reason,
}

impl Entry {
    fn nonce(&self) -> Option<u64> {
        self.attempts.first().map(Attempt::nonce)
    }
}

/// One account's way to L1.
#[derive(Debug)]
pub struct Relayer {
    l1: L1,
    signer: Key,
    config: RelayerConfig,
    journal: Journal,
    _lock: File,
    chain: Option<Chain>,
    /// Whether L1 was found to be `chain` since the start.
    checked: bool,
    /// Requests under way, in the order of their submission, which is that of their nonces.
    entries: BTreeMap<u64, Entry>,
    closed: BTreeMap<u64, Closed>,
    keys: HashMap<String, u64>,
    refused: HashMap<String, Revert>,
    next_id: u64,
    /// Bytes of the journal about requests that are done with, about.
    dead_bytes: u64,
    /// The head when a foreign transaction was first seen waiting.
    foreign_since: Option<u64>,
    /// The head of the last step that came to its end.
    seen: Option<B256>,
}

impl Relayer {
    /// Opens the account's journal in `folder`, or begins one. L1 is not asked yet.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Journal`], [`Error::JournalDamaged`], [`Error::OtherJournal`].
    pub fn open(l1: L1, signer: Key, config: RelayerConfig, folder: &Path) -> Result<Self, Error> {
        let named = |ending: &str| folder.join(format!("relayer-{:x}.{ending}", signer.address()));
        let (path, lock_path) = (named("journal"), named("lock"));
        let failure =
            |error: std::io::Error| Error::Journal { path: lock_path.display().to_string(), reason: error.to_string() };
        fs::create_dir_all(folder).map_err(failure)?;
        let lock = File::options().create(true).write(true).truncate(false).open(&lock_path).map_err(failure)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Locked { path: lock_path.display().to_string() },
            TryLockError::Error(error) => failure(error),
        })?;
        let (journal, records) = Journal::open(path)?;
        let mut relayer = Self {
            l1,
            signer,
            config,
            journal,
            _lock: lock,
            chain: None,
            checked: false,
            entries: BTreeMap::new(),
            closed: BTreeMap::new(),
            keys: HashMap::new(),
            refused: HashMap::new(),
            next_id: 0,
            dead_bytes: 0,
            foreign_since: None,
            seen: None,
        };
        for record in records {
            relayer.replay(record);
        }
        if let Some(chain) = relayer.chain.filter(|chain| chain.account != relayer.signer.address()) {
            let account = relayer.signer.address();
            return Err(other_chain(chain, Chain { account, ..chain }));
        }
        if !relayer.entries.is_empty() {
            tracing::info!(requests = relayer.entries.len(), "the relayer goes on with what its journal holds");
        }
        Ok(relayer)
    }

    /// What the journal says.
    fn replay(&mut self, record: Record) {
        match record {
            Record::Chain(chain) => self.chain = Some(chain),
            Record::Queued { id, at_ms, request } => self.insert(id, at_ms, *request),
            Record::Signed { id, attempt } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.attempts.push(attempt);
                    entry.reason = Reason::NotMined;
                }
            }
            Record::Forgotten { id } => self.forget(id),
            Record::Closed(closed) => self.close_entry(closed),
        }
    }

    fn insert(&mut self, id: u64, at_ms: u64, request: Request) {
        self.next_id = self.next_id.max(id.saturating_add(1));
        self.keys.insert(request.key.clone(), id);
        self.refused.remove(&request.key);
        let entry = Entry {
            digest: request.digest(),
            request,
            at_ms,
            attempts: Vec::new(),
            phase: Phase::Waiting,
            waits_since: None,
            outbid: false,
            reason: Reason::Turn,
        };
        self.entries.insert(id, entry);
    }

    fn forget(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.keys.remove(&entry.request.key);
            self.count_dead(&entry);
        }
    }

    fn close_entry(&mut self, closed: Closed) {
        self.next_id = self.next_id.max(closed.id.saturating_add(1));
        if let Some(entry) = self.entries.remove(&closed.id) {
            self.count_dead(&entry);
        }
        self.keys.insert(closed.key.clone(), closed.id);
        self.closed.insert(closed.id, closed);
        while self.closed.len() > REMEMBERED
            && let Some((_, oldest)) = self.closed.pop_first()
        {
            self.keys.remove(&oldest.key);
        }
    }

    fn count_dead(&mut self, entry: &Entry) {
        let blobs = entry.request.sidecar.as_ref().map_or(0, |sidecar| sidecar.size());
        self.dead_bytes += (entry.request.data.len() + blobs) as u64 + 512 * (1 + entry.attempts.len() as u64);
    }

    /// The account that sends.
    pub fn signer(&self) -> &Key {
        &self.signer
    }

    /// Takes a request; it is on disk when this returns. A request that was taken before is not taken again, so this may be repeated.
    ///
    /// # Errors
    /// [`Error::Request`], [`Error::KeyTaken`], [`Error::Full`], [`Error::Journal`]. It was not taken; after the last, it may have been.
    pub fn submit(&mut self, request: Request) -> Result<(), Error> {
        request.check()?;
        if let Some(id) = self.keys.get(&request.key) {
            let known =
                self.entries.get(id).map(|entry| entry.digest).or(self.closed.get(id).map(|closed| closed.digest));
            return if known == Some(request.digest()) { Ok(()) } else { Err(Error::KeyTaken(request.key)) };
        }
        if self.entries.len() >= self.config.max_open {
            return Err(Error::Full(self.entries.len()));
        }
        let (id, at_ms) = (self.next_id, now_ms());
        self.journal.append(&Record::Queued { id, at_ms, request: Box::new(request.clone()) })?;
        self.insert(id, at_ms, request);
        Ok(())
    }

    /// Takes a request back for which no transaction is signed yet. Whether there was one.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn withdraw(&mut self, key: &str) -> Result<bool, Error> {
        let queued = |id: &u64| self.entries.get(id).is_some_and(|entry| entry.attempts.is_empty());
        let Some(id) = self.keys.get(key).copied().filter(queued) else { return Ok(false) };
        self.journal.append(&Record::Forgotten { id })?;
        self.forget(id);
        Ok(true)
    }

    /// What became of the request with a key; none if it was never taken, was taken back, or was done with long ago.
    pub fn state(&self, key: &str) -> Option<State> {
        if let Some(revert) = self.refused.get(key) {
            return Some(State::Refused(revert.clone()));
        }
        let id = self.keys.get(key)?;
        if let Some(closed) = self.closed.get(id) {
            return Some(match closed.hash.is_zero() {
                true => State::Fenced { nonce: closed.nonce },
                false => State::Final(closed.into()),
            });
        }
        let entry = self.entries.get(id)?;
        let Some(nonce) = entry.nonce() else { return Some(State::Queued) };
        Some(match &entry.phase {
            Phase::Waiting => {
                State::Pending { nonce, hashes: entry.attempts.iter().map(|attempt| attempt.hash).collect() }
            }
            Phase::Mined(mined) => State::Mined(mined.clone()),
            Phase::Displaced => State::Displaced { nonce },
        })
    }

    /// Requests that are neither final nor fenced.
    pub fn open_requests(&self) -> usize {
        self.entries.len()
    }

    /// Whether a request waits to be signed or mined.
    pub fn is_sending(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.phase, Phase::Waiting))
    }

    /// The request that waits longest without being mined.
    pub fn stuck(&self) -> Option<Stuck> {
        let entry = self.entries.values().find(|entry| !matches!(entry.phase, Phase::Mined(_)))?;
        Some(Stuck {
            key: entry.request.key.clone(),
            since: UNIX_EPOCH + Duration::from_millis(entry.at_ms),
            reason: entry.reason.clone(),
        })
    }

    /// Submits a request and steps until it is mined, displaced or refused. To stop waiting, drop the future: nothing is lost, and the same request goes on
    /// when it is sent again.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); [`Error::OtherJournal`]. While L1 cannot be asked, it waits: put a time limit around it.
    pub async fn send(&mut self, request: Request) -> Result<State, Error> {
        let key = request.key.clone();
        self.submit(request)?;
        loop {
            match self.step().await {
                Err(error @ (Error::OtherJournal { .. } | Error::Journal { .. })) => return Err(error),
                Err(error) => tracing::warn!(%error, "the relayer tries again"),
                Ok(()) => {}
            }
            match self.state(&key) {
                Some(state) if state.is_settled() => return Ok(state),
                _ => tokio::time::sleep(self.config.poll).await,
            }
        }
    }

    /// Looks at L1 once, and does what is to be done: follows what was sent, sends again, replaces, signs the next. To be called about once an L1 block.
    /// May be dropped at any point.
    ///
    /// # Errors
    /// L1's, [`Error::AccountBehind`], [`Error::OtherJournal`], [`Error::Journal`]. What was to be done is done by a later step.
    pub async fn step(&mut self) -> Result<(), Error> {
        let result = self.advance().await;
        if let Err(error) = &result {
            metrics::counter!("jove_relayer_failures_total", "kind" => "step").increment(1);
            let reason = Reason::L1(error.to_string());
            if let Some(entry) = self.entries.values_mut().find(|entry| !matches!(entry.phase, Phase::Mined(_))) {
                entry.reason = reason;
            }
        }
        self.measure();
        result
    }

    async fn advance(&mut self) -> Result<(), Error> {
        if self.journal.failed() {
            // Says why.
            return self.journal.append(&Record::Forgotten { id: u64::MAX });
        }
        self.check_chain().await?;
        let head = self.l1.header(BlockNumberOrTag::Latest).await?.ok_or_else(|| missing("latest"))?;
        let nonce = self.l1.nonce(self.signer.address(), RpcBlockHash::from_hash(head.hash(), Some(true))).await?;
        // What is final cannot go back.
        let expected = self.closed.values().map(|closed| closed.nonce + 1).max().unwrap_or(0);
        if nonce < expected {
            return Err(Error::AccountBehind { nonce, expected });
        }
        self.follow(&head, nonce).await?;
        self.settle(&head).await?;
        self.sign_next(&head, nonce).await?;
        self.seen = Some(head.hash());
        Ok(())
    }

    /// L1 must be the chain that the journal is about.
    async fn check_chain(&mut self) -> Result<(), Error> {
        if self.checked {
            return Ok(());
        }
        let chain_id = self.l1.chain_id().await?;
        let genesis = self.l1.header(BlockNumberOrTag::Number(0)).await?.ok_or_else(|| missing("genesis"))?.hash();
        let found = Chain { chain_id, genesis, account: self.signer.address() };
        match self.chain {
            Some(chain) if chain != found => return Err(other_chain(chain, found)),
            Some(_) => {}
            None => {
                self.journal.append(&Record::Chain(found))?;
                self.chain = Some(found);
            }
        }
        self.checked = true;
        Ok(())
    }

    /// Finds out about everything that is signed. `nonce` is how many transactions of the account are in the chain up to `head`.
    async fn follow(&mut self, head: &SealedHeader, nonce: u64) -> Result<(), Error> {
        let signed: Vec<(u64, u64)> =
            self.entries.iter().filter_map(|(id, entry)| Some((*id, entry.nonce()?))).collect();
        for (id, entry_nonce) in signed {
            if entry_nonce >= nonce {
                self.keep_alive(id, head, entry_nonce == nonce).await?;
                continue;
            }
            let entry = &self.entries[&id];
            if self.seen == Some(head.hash()) && matches!(entry.phase, Phase::Mined(_)) {
                continue;
            }
            let found = self.find_mined(id).await?;
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.waits_since = None;
            let key = &entry.request.key;
            match (found, &entry.phase) {
                (Some(mined), Phase::Mined(known)) if mined == *known => {}
                (Some(mined), _) => {
                    tracing::info!(key, hash = %mined.hash, block = mined.block_number, success = mined.success, "mined");
                    if !mined.success {
                        metrics::counter!("jove_relayer_failures_total", "kind" => "reverted").increment(1);
                    }
                    entry.phase = Phase::Mined(mined);
                }
                (None, Phase::Displaced) => {}
                (None, _) => {
                    tracing::warn!(key, nonce = entry_nonce, "a transaction that is not ours was mined in its place");
                    metrics::counter!("jove_relayer_failures_total", "kind" => "displaced").increment(1);
                    (entry.phase, entry.reason) = (Phase::Displaced, Reason::Displaced(entry_nonce));
                }
            }
        }
        Ok(())
    }

    /// Whichever attempt is in a block.
    async fn find_mined(&self, id: u64) -> Result<Option<Mined>, Error> {
        let entry = &self.entries[&id];
        let known = match &entry.phase {
            Phase::Mined(mined) => Some(mined.hash),
            _ => None,
        };
        let latest_first = entry.attempts.iter().rev().map(|attempt| attempt.hash);
        for hash in known.into_iter().chain(latest_first) {
            if let Some(receipt) = self.l1.receipt(hash).await? {
                return Ok(Some(Mined::new(entry.nonce().unwrap_or_default(), &receipt)));
            }
        }
        Ok(None)
    }

    /// A transaction that is signed and in no block is sent again if the node does not have it, and replaced if it waited long. `first`: nothing else keeps it
    /// from being mined.
    async fn keep_alive(&mut self, id: u64, head: &SealedHeader, first: bool) -> Result<(), Error> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        if !matches!(entry.phase, Phase::Waiting) {
            tracing::warn!(key = entry.request.key, "L1 was reorganised: it waits again");
            metrics::counter!("jove_relayer_reorganised_total").increment(1);
            (entry.phase, entry.waits_since, entry.outbid) = (Phase::Waiting, None, false);
        }
        entry.reason = if first { Reason::NotMined } else { Reason::Turn };
        let since = *entry.waits_since.get_or_insert(head.number);
        let Some(last) = entry.attempts.last() else { return Ok(()) };
        let hash = last.hash;
        let due = head.number.saturating_sub(since) >= self.config.bump_blocks || entry.outbid;
        if first && due && self.replace(id, head).await? {
            return Ok(());
        }
        if self.l1.transaction(hash).await?.is_none() {
            metrics::counter!("jove_relayer_rebroadcasts_total").increment(1);
            self.broadcast(id).await?;
        }
        Ok(())
    }

    /// Replaces a transaction by one that pays more. Whether the caps allow it.
    async fn replace(&mut self, id: u64, head: &SealedHeader) -> Result<bool, Error> {
        let market = self.market(head, self.entries[&id].request.sidecar.is_some()).await?;
        let Some(chain) = self.chain else { return Ok(false) };
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(false) };
        let Some(last) = entry.attempts.last() else { return Ok(false) };
        let blobs = entry.request.sidecar.is_some();
        let Some(fees) = last.fees().bumped(market, &self.config.caps, blobs) else {
            entry.reason = Reason::Caps(last.fees());
            return Ok(false);
        };
        let gas_limit = alloy_consensus::Transaction::gas_limit(&last.transaction);
        let attempt = sign(&self.signer, &entry.request, chain.chain_id, last.nonce(), gas_limit, fees);
        tracing::info!(key = entry.request.key, hash = %attempt.hash, ?fees, "replaced by one that pays more");
        metrics::counter!("jove_relayer_bumps_total").increment(1);
        self.journal.append(&Record::Signed { id, attempt: attempt.clone() })?;
        entry.attempts.push(attempt);
        (entry.waits_since, entry.outbid) = (Some(head.number), false);
        self.broadcast(id).await?;
        Ok(true)
    }

    /// Gives the latest attempt to the node.
    async fn broadcast(&mut self, id: u64) -> Result<(), Error> {
        let entry = &self.entries[&id];
        let Some(last) = entry.attempts.last() else { return Ok(()) };
        let sent = self.l1.send_raw(&last.network_form(entry.request.sidecar.as_ref())).await;
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        match sent {
            Ok(_) => entry.reason = Reason::NotMined,
            Err(Error::Rpc { message, .. }) => {
                let text = message.to_ascii_lowercase();
                // The node has it; or it, or another, is mined: the next step looks. The words are geth's and others'. "Address already reserved" is a refusal.
                let known = ["already known", "alreadyknown", "already imported", "known transaction", "nonce too low"];
                if known.iter().any(|words| text.contains(words)) {
                    return Ok(());
                }
                tracing::warn!(key = entry.request.key, %message, "the node refuses it");
                metrics::counter!("jove_relayer_failures_total", "kind" => "rejected").increment(1);
                entry.outbid = text.contains("underpriced");
                entry.reason = Reason::Rejected(message);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Closes what is final.
    async fn settle(&mut self, head: &SealedHeader) -> Result<(), Error> {
        if self.entries.values().all(|entry| matches!(entry.phase, Phase::Waiting)) {
            return Ok(());
        }
        let number = match self.config.confirmations {
            Some(depth) => head.number.checked_sub(depth),
            // A chain that is young has none, and some nodes call that an error.
            None => match self.l1.header(BlockNumberOrTag::Finalized).await {
                Ok(header) => header.map(|header| header.number),
                Err(Error::Rpc { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        let Some(number) = number else { return Ok(()) };
        let ids: Vec<u64> = self.entries.keys().copied().collect();
        for id in ids {
            let entry = &self.entries[&id];
            let (Some(nonce), key, digest) = (entry.nonce(), entry.request.key.clone(), entry.digest) else { continue };
            let mut closed = Closed {
                id,
                key,
                digest,
                nonce,
                hash: B256::ZERO,
                block_number: 0,
                block_hash: B256::ZERO,
                success: false,
                gas_used: 0,
                cost: 0,
            };
            match &entry.phase {
                Phase::Mined(mined) if mined.block_number <= number => {
                    let header = self.l1.header(mined.block_number).await?;
                    if header.is_none_or(|header| header.hash() != mined.block_hash) {
                        // The receipt is of a block that is no longer in the chain.
                        self.seen = None;
                        continue;
                    }
                    closed.hash = mined.hash;
                    (closed.block_number, closed.block_hash) = (mined.block_number, mined.block_hash);
                    (closed.success, closed.gas_used) = (mined.success, mined.gas_used);
                    closed.cost = mined.cost;
                }
                Phase::Displaced => {
                    if self.l1.nonce(self.signer.address(), number).await? <= nonce
                        || self.find_mined(id).await?.is_some()
                    {
                        continue;
                    }
                    tracing::error!(key = closed.key, nonce, "fenced: another sender uses this account");
                    metrics::counter!("jove_relayer_failures_total", "kind" => "fenced").increment(1);
                }
                _ => continue,
            }
            self.journal.append(&Record::Closed(closed.clone()))?;
            self.close_entry(closed);
        }
        self.compact()
    }

    /// Signs and sends the next request, unless one waits.
    async fn sign_next(&mut self, head: &SealedHeader, nonce: u64) -> Result<(), Error> {
        let waits = |entry: &Entry| entry.nonce().is_some() && !matches!(entry.phase, Phase::Mined(_));
        if self.entries.values().any(waits) {
            return Ok(());
        }
        let queued = self.entries.iter().find(|(_, entry)| entry.attempts.is_empty());
        let Some((&id, entry)) = queued else { return Ok(()) };
        let Some(chain) = self.chain else { return Ok(()) };
        let (call, blobs) = (entry.request.call(self.signer.address()), entry.request.sidecar.is_some());

        if self.l1.nonce(self.signer.address(), BlockNumberOrTag::Pending).await? > nonce {
            let since = *self.foreign_since.get_or_insert(head.number);
            if head.number.saturating_sub(since) < self.config.foreign_blocks {
                self.explain(id, Reason::Foreign(nonce));
                return Ok(());
            }
        }
        self.foreign_since = None;

        let estimate = match self.l1.estimate_gas(&call).await {
            Ok(estimate) => estimate,
            Err(error @ Error::Rpc { .. }) => match error.revert() {
                Some(revert) => return self.refuse(id, revert),
                None => {
                    metrics::counter!("jove_relayer_failures_total", "kind" => "rejected").increment(1);
                    self.explain(id, Reason::Rejected(error.to_string()));
                    return Ok(());
                }
            },
            Err(error) => return Err(error),
        };
        let gas_limit = call.gas.unwrap_or(estimate.saturating_add(estimate / 4)).min(MAX_GAS);
        let fees = self.market(head, blobs).await?.capped(&self.config.caps);
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let attempt = sign(&self.signer, &entry.request, chain.chain_id, nonce, gas_limit, fees);
        tracing::info!(key = entry.request.key, hash = %attempt.hash, nonce, ?fees, "signed");
        self.journal.append(&Record::Signed { id, attempt: attempt.clone() })?;
        entry.attempts.push(attempt);
        (entry.waits_since, entry.reason) = (Some(head.number), Reason::NotMined);
        self.broadcast(id).await
    }

    fn explain(&mut self, id: u64, reason: Reason) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.reason != reason
        {
            tracing::warn!(key = entry.request.key, %reason, "it waits");
            entry.reason = reason;
        }
    }

    fn refuse(&mut self, id: u64, revert: Revert) -> Result<(), Error> {
        let Some(entry) = self.entries.get(&id) else { return Ok(()) };
        let key = entry.request.key.clone();
        tracing::warn!(key, %revert, "it would revert: nothing is sent");
        metrics::counter!("jove_relayer_failures_total", "kind" => "refused").increment(1);
        self.journal.append(&Record::Forgotten { id })?;
        self.forget(id);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(key, revert);
        Ok(())
    }

    /// Fees with which a transaction is likely in the next blocks: twice the base fees, so that they may double first.
    async fn market(&self, head: &SealedHeader, blobs: bool) -> Result<Fees, Error> {
        let tip = match self.l1.priority_fee().await {
            Ok(tip) => tip.max(self.config.min_priority_fee),
            Err(Error::Rpc { .. }) => self.config.min_priority_fee,
            Err(error) => return Err(error),
        };
        let base = u128::from(head.base_fee_per_gas.unwrap_or(0));
        let max_fee_per_blob_gas = if blobs { self.l1.blob_base_fee().await?.max(1).saturating_mul(2) } else { 0 };
        Ok(Fees {
            max_fee_per_gas: base.saturating_mul(2).saturating_add(tip),
            max_priority_fee_per_gas: tip,
            max_fee_per_blob_gas,
        })
    }

    /// Writes the journal anew when most of it is about what is done with.
    fn compact(&mut self) -> Result<(), Error> {
        if self.journal.len() <= self.config.journal_bytes || self.dead_bytes < self.journal.len() / 2 {
            return Ok(());
        }
        let chain = self.chain.into_iter().map(Record::Chain);
        let closed = self.closed.values().cloned().map(Record::Closed);
        let open = self.entries.iter().flat_map(|(&id, entry)| {
            let queued = Record::Queued { id, at_ms: entry.at_ms, request: Box::new(entry.request.clone()) };
            let signed = entry.attempts.iter().map(move |attempt| Record::Signed { id, attempt: attempt.clone() });
            std::iter::once(queued).chain(signed)
        });
        self.journal.rewrite(chain.chain(closed).chain(open))?;
        self.dead_bytes = 0;
        Ok(())
    }

    fn measure(&self) {
        let age = |stuck: Stuck| stuck.since.elapsed().unwrap_or_default().as_secs_f64();
        metrics::gauge!("jove_relayer_pending_seconds").set(self.stuck().map_or(0.0, age));
        metrics::gauge!("jove_relayer_open_requests").set(self.entries.len() as f64);
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn missing(block: &str) -> Error {
    Error::Malformed { method: "eth_getBlockByNumber".into(), reason: format!("there is no {block} block") }
}

fn other_chain(journal: Chain, found: Chain) -> Error {
    let describe =
        |chain: Chain| format!("chain {} with genesis {} and account {}", chain.chain_id, chain.genesis, chain.account);
    Error::OtherJournal { journal: describe(journal), found: describe(found) }
}
