//! Executing a batch on what was written down of a state, without a node.
//!
//! [`Recorder`] notes what blocks read of a database. With the state trie before the first of them that becomes a [`Witness`] ([`Recorder::finish`]), and
//! [`execute`] runs a batch on the witness alone: the enclave and the zkVM guest do. All that it believes is the hash of the block before the batch: state and
//! earlier block hashes are checked against that, code against its hash.
//!
//! A witness that lacks something gives an error, and says nothing of the batch. A batch is called invalid only for what the checked state shows.

use crate::{
    batch::{BatchExecutor, BatchInput, BatchOutput, ExecuteBatchError, Recovered, Step},
    block::seal,
    rules::Rules,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256, map::B256Map};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use core::cell::RefCell;
use jove_primitives::{
    ChangeSet,
    l1::{L1_HASH_SLOT, L1_MIX_HASH_SLOT, L1_NUMBER_SLOT, L1_QUEUE_SLOT},
    predeploys::{L1_BLOCK, L2_MESSENGER, OUTBOX_ROOT_SLOT},
};
use jove_trie::{Missing, PartialTrie, Reads, StateTrie, WitnessError};
use revm::{DatabaseRef, bytecode::Bytecode, database_interface::DBErrorMarker, state::AccountInfo};
use thiserror::Error;

/// What a batch is executed on. Its encoding is the RLP of the list of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Witness {
    /// Of the state before the batch, as [`PartialTrie::decode`] reads it.
    pub state: Bytes,
    /// Code that is run or read, and was there before.
    pub codes: Vec<Bytes>,
    /// The header before the batch, and those before it as far back as a block hash is read, the newest first.
    pub headers: Vec<Header>,
}

impl Witness {
    /// Length of the encoding.
    pub fn size(&self) -> usize {
        alloy_rlp::Encodable::length(self)
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    /// Reads an encoding: any bytes give a witness or an error.
    ///
    /// # Errors
    /// [`StatelessError::Encoding`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, StatelessError> {
        match <Self as Decodable>::decode(&mut bytes) {
            Ok(witness) if bytes.is_empty() => Ok(witness),
            _ => Err(StatelessError::Encoding),
        }
    }
}

/// Why a witness is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StatelessError {
    /// Bytes encode no witness.
    #[error("the bytes encode no witness")]
    Encoding,
    /// Its part of the state is none.
    #[error(transparent)]
    State(#[from] WitnessError),
    /// It is of another state.
    #[error("the witness is of the state {found}, the block before the batch has {expected}")]
    Root {
        /// Of the witness.
        found: B256,
        /// In the header before the batch.
        expected: B256,
    },
    /// Its headers are not those before the batch, each the parent of the one before it in the list.
    #[error("header {0} of the witness is not the one that precedes")]
    Headers(usize),
    /// A part of the state is not in it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A code is not in it.
    #[error("the witness lacks the code {0}")]
    Code(B256),
    /// A block's hash is not in it.
    #[error("the witness lacks the header of block {0}")]
    BlockHash(u64),
}

impl DBErrorMarker for StatelessError {}

/// What an account or a slot brings of the state trie into a witness, about, in bytes: a few branches that no other has, of 500 bytes each.
const KEY_WEIGHT: usize = 1024;

/// What blocks have read.
#[derive(Clone, Debug, Default)]
struct Recorded {
    weight: usize,
    reads: Reads,
    codes: BTreeMap<B256, Bytes>,
    /// Hashes of codes that blocks so far have created.
    created: BTreeSet<B256>,
    /// The lowest number whose hash was read.
    oldest: Option<u64>,
}

/// Notes what is read through [`Recorder::over`] databases.
#[derive(Debug, Default)]
pub struct Recorder(RefCell<Recorded>);

impl Recorder {
    /// A recorder for a batch: what [`BatchExecutor`] reads besides its blocks is noted already.
    pub fn of_batch() -> Self {
        let origin = [L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1_HASH_SLOT, L1_MIX_HASH_SLOT].into();
        let reads = [(L1_BLOCK, origin), (L2_MESSENGER, [OUTBOX_ROOT_SLOT].into())].into();
        Self(RefCell::new(Recorded { reads, ..Default::default() }))
    }

    /// Bytes of the witness of all that was read so far, about: code is counted by its length.
    pub fn weight(&self) -> usize {
        self.0.borrow().weight
    }

    fn read_account(&self, address: Address) {
        let Recorded { reads, weight, .. } = &mut *self.0.borrow_mut();
        reads.entry(address).or_insert_with(|| {
            *weight += KEY_WEIGHT;
            BTreeSet::new()
        });
    }

    fn read_slot(&self, address: Address, slot: U256) {
        let Recorded { reads, weight, .. } = &mut *self.0.borrow_mut();
        if reads.entry(address).or_default().insert(slot) {
            *weight += KEY_WEIGHT;
        }
    }

    fn read_code(&self, hash: B256, code: &Bytecode) {
        let Recorded { codes, created, weight, .. } = &mut *self.0.borrow_mut();
        if !created.contains(&hash) && !codes.contains_key(&hash) {
            let code = code.original_bytes();
            *weight += code.len();
            codes.insert(hash, code);
        }
    }

    /// A database that reads from `db`, and is noted here.
    pub fn over<DB>(&self, db: DB) -> Recording<'_, DB> {
        Recording { db, recorder: self }
    }

    /// A block has done this, and the next one comes: code that it created is read from there on without being part of the witness. One that was read before is
    /// part of it, though the block creates the same.
    pub fn advance(&self, changes: &ChangeSet) {
        self.0.borrow_mut().created.extend(changes.codes.keys());
    }

    /// The witness of all that was read, and of `changes`, block by block: `trie` is the state before, `header` gives the headers of blocks, from the one
    /// before the batch backwards.
    ///
    /// # Errors
    /// Those of `header`.
    pub fn finish<E>(
        self,
        trie: &StateTrie,
        changes: &[ChangeSet],
        parent: Header,
        mut header: impl FnMut(u64) -> Result<Header, E>,
    ) -> Result<Witness, E> {
        let Recorded { reads, codes, oldest, .. } = self.0.into_inner();
        let mut headers = Vec::from([parent]);
        let first = headers[0].number;
        for number in (oldest.unwrap_or(first).min(first)..first).rev() {
            headers.push(header(number)?);
        }
        let state = trie.witness(&reads, changes).into();
        Ok(Witness { state, codes: codes.into_values().collect(), headers })
    }
}

/// A database whose reads are noted.
#[derive(Debug)]
pub struct Recording<'a, DB> {
    db: DB,
    recorder: &'a Recorder,
}

impl<DB: DatabaseRef> DatabaseRef for Recording<'_, DB> {
    type Error = DB::Error;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DB::Error> {
        self.recorder.read_account(address);
        let info = self.db.basic_ref(address)?;
        if let Some(AccountInfo { code: Some(code), code_hash, .. }) = &info
            && !code.is_empty()
        {
            self.recorder.read_code(*code_hash, code);
        }
        Ok(info)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DB::Error> {
        let code = self.db.code_by_hash_ref(code_hash)?;
        if !code.is_empty() {
            self.recorder.read_code(code_hash, &code);
        }
        Ok(code)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, DB::Error> {
        self.recorder.read_slot(address, slot);
        self.db.storage_ref(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DB::Error> {
        let mut recorded = self.recorder.0.borrow_mut();
        recorded.oldest = Some(recorded.oldest.map_or(number, |oldest| oldest.min(number)));
        self.db.block_hash_ref(number)
    }
}

/// A state of which a witness is all that is known.
#[derive(Debug)]
pub struct StatelessState {
    trie: PartialTrie,
    codes: B256Map<Bytecode>,
    hashes: BTreeMap<u64, B256>,
}

impl StatelessState {
    /// The state before a batch, checked against the hash of the block before it; and that block's header.
    ///
    /// # Errors
    /// [`StatelessError`].
    pub fn new(witness: &Witness, parent_hash: B256) -> Result<(Self, Header), StatelessError> {
        let mut hashes = BTreeMap::new();
        let mut expected = parent_hash;
        for (index, header) in witness.headers.iter().enumerate() {
            if header.hash_slow() != expected {
                return Err(StatelessError::Headers(index));
            }
            hashes.insert(header.number, expected);
            expected = header.parent_hash;
        }
        let parent = witness.headers.first().ok_or(StatelessError::Headers(0))?;
        let state = Self::with_hashes(witness, parent.state_root, hashes)?;
        Ok((state, parent.clone()))
    }

    /// The state with this root, and these hashes of blocks.
    ///
    /// # Errors
    /// [`StatelessError::State`], [`StatelessError::Root`].
    pub fn with_hashes(witness: &Witness, expected: B256, hashes: BTreeMap<u64, B256>) -> Result<Self, StatelessError> {
        let trie = PartialTrie::decode(&witness.state)?;
        if trie.root() != expected {
            return Err(StatelessError::Root { found: trie.root(), expected });
        }
        let codes = witness.codes.iter().map(|code| (keccak256(code), bytecode(code))).collect();
        Ok(Self { trie, codes, hashes })
    }

    /// The value of an account's slot.
    ///
    /// # Errors
    /// [`StatelessError::Missing`].
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, StatelessError> {
        Ok(self.trie.slot(address, slot)?)
    }

    /// Takes over what a block did, and returns the state root after it.
    ///
    /// # Errors
    /// [`StatelessError::Missing`]: the state is of no use then.
    pub fn apply(&mut self, changes: &ChangeSet) -> Result<B256, StatelessError> {
        self.codes.extend(changes.codes.iter().map(|(hash, code)| (*hash, bytecode(code))));
        Ok(self.trie.apply(changes)?)
    }
}

/// Bytes that begin like a delegation of EIP-7702 and are none are code as any other: older than that, or of a hostile witness.
fn bytecode(code: &Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code.clone()))
}

impl DatabaseRef for StatelessState {
    type Error = StatelessError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StatelessError> {
        Ok(self.trie.account(address)?.map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StatelessError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        self.codes.get(&code_hash).cloned().ok_or(StatelessError::Code(code_hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StatelessError> {
        self.slot(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StatelessError> {
        self.hashes.get(&number).copied().ok_or(StatelessError::BlockHash(number))
    }
}

/// Runs a whole batch on a witness: the one rule, as a prover walks it.
///
/// # Errors
/// [`ExecuteBatchError::Invalid`] if the batch is, for everyone. Else nothing is known of it: the witness or the input lacks something.
pub fn execute(
    rules: &Rules,
    input: BatchInput<'_>,
    witness: &Witness,
) -> Result<BatchOutput, ExecuteBatchError<StatelessError>> {
    let stateless = StatelessState::new(witness, input.header.parent_block_hash);
    let (state, parent) = stateless.map_err(ExecuteBatchError::Database)?;
    execute_on(rules, input, state, &parent, &[])
}

/// As [`execute`], on what [`StatelessState::new`] gave, and with senders that were recovered beforehand ([`BatchExecutor::set_recovered`]).
///
/// # Errors
/// As [`execute`].
pub fn execute_on(
    rules: &Rules,
    input: BatchInput<'_>,
    mut state: StatelessState,
    parent: &Header,
    recovered: &[Option<Recovered>],
) -> Result<BatchOutput, ExecuteBatchError<StatelessError>> {
    let mut executor = BatchExecutor::new(rules, parent, input)?;
    executor.set_recovered(recovered);
    loop {
        let block = match executor.execute(&state)? {
            Step::Block(block) => *block,
            Step::End(output) => return Ok(output),
        };
        let root = state.apply(&block.output.changes).map_err(ExecuteBatchError::Database)?;
        let header = seal(block.header, &block.transactions, &block.output, root);
        executor.advance(&header);
        state.hashes.insert(header.number, header.hash_slow());
    }
}
