//! A chain in memory, its L1 made up around it: batches as a node would commit them, with their inputs.
#![allow(dead_code)] // not every test uses all of it

pub(crate) mod work;

use alloy_consensus::{EMPTY_ROOT_HASH, Header, SignableTransaction, TxEip1559};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{
    Address, B256, Bytes, Signature, TxKind, U256, address, keccak256,
    map::{B256Map, HashMap},
};
use jove_primitives::{
    ChainSpec, ChangeSet,
    batch::{BatchData, BlockData, Compressor, encode, hash::BatchHeader, pack},
    header::time_ms,
    l1::{L1Origin, QueueEntry},
    spec::{BlobFeeUpdate, Settlement},
    transaction::SignedTransaction,
};
use jove_proving::{Batch, Committed, Input};
use jove_stf::{BatchExecutor, BatchInput, Recorder, Rules, batch::Step, seal};
use jove_trie::StateTrie;
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};
use std::{convert::Infallible, sync::Arc};

pub(crate) const BOB: Address = address!("00000000000000000000000000000000000b0b00");
pub(crate) const PAYOUT: Address = address!("0000000000000000000000000000000000009a1d");
const ROLLUP: Address = address!("0000000000000000000000000000000000000123");
const INBOX: Address = address!("0000000000000000000000000000000000000456");
const GWEI: u128 = 1_000_000_000;

/// What it is executed on.
#[derive(Clone)]
struct State {
    trie: StateTrie,
    codes: B256Map<Bytes>,
    hashes: HashMap<u64, B256>,
}

impl DatabaseRef for State {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.trie.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes.get(&hash).map_or_else(Bytecode::default, |code| Bytecode::new_raw(code.clone())))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.trie.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(&number).copied().unwrap_or_default())
    }
}

/// Leaves everything as it is.
struct Stored;

impl Compressor for Stored {
    fn estimate(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn compress(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A chain and its L1.
pub(crate) struct Chain {
    pub(crate) spec: Arc<ChainSpec>,
    rules: Rules,
    state: State,
    headers: Vec<Header>,
    /// L1's blocks from 1,000 on.
    pub(crate) l1: Vec<Header>,
    pub(crate) queue: Vec<QueueEntry>,
    /// The last batch.
    pub(crate) parent: Committed,
    /// L1 number of its origin.
    origin: u64,
    keys: Vec<(SecretKey, Address, u64)>,
}

impl Chain {
    /// At its genesis, with so many funded accounts.
    pub(crate) fn new(accounts: usize) -> Self {
        Self::with_codes(accounts, [])
    }

    /// The same, with contracts that are there from the beginning.
    pub(crate) fn with_codes(accounts: usize, codes: impl IntoIterator<Item = (Address, Bytes)>) -> Self {
        let mut spec = ChainSpec::dev();
        for (address, code) in codes {
            spec.genesis.alloc.entry(address).or_default().code = code;
        }
        let keys: Vec<_> = (0..accounts).map(key).collect();
        for (_, address, _) in &keys {
            let ether = U256::from(10).pow(U256::from(21));
            spec.genesis.alloc.entry(*address).or_default().balance = ether;
        }
        spec.settlement = Some(Settlement {
            chain_id: 900,
            blob_fee_updates: vec![BlobFeeUpdate { timestamp: 0, fraction: 5_007_716 }],
            rollup: ROLLUP,
            inbox: INBOX,
            ..Default::default()
        });
        let spec = Arc::new(spec);
        let changes = spec.genesis_changes();
        let mut state = State { trie: StateTrie::default(), codes: B256Map::default(), hashes: HashMap::default() };
        let root = state.trie.apply(&changes);
        state.codes.extend(changes.codes);
        let genesis = spec.genesis_header(root);
        let hash = genesis.hash_slow();
        state.hashes.insert(0, hash);
        let parent = BatchHeader {
            version: 1,
            chain_id: spec.chain_id,
            rollup: ROLLUP,
            last_block_hash: hash,
            config_hash: spec.config_hash(),
            ..Default::default()
        };
        let l1 = Header {
            number: 1_000,
            timestamp: genesis.timestamp,
            base_fee_per_gas: Some(7),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            mix_hash: B256::repeat_byte(9),
            ..Default::default()
        };
        Self {
            rules: Rules::Jove { spec: spec.clone(), genesis: hash },
            spec,
            state,
            headers: vec![genesis],
            l1: vec![l1],
            queue: Vec::new(),
            parent: Committed { header: parent, blobs: Vec::new() },
            origin: 0,
            keys,
        }
    }

    /// The address of an account.
    pub(crate) fn address(&self, account: usize) -> Address {
        self.keys[account].1
    }

    /// What a slot holds.
    pub(crate) fn slot(&self, address: Address, slot: U256) -> U256 {
        self.state.trie.slot(address, slot)
    }

    /// A transaction of an account, with its next nonce.
    pub(crate) fn send(
        &mut self,
        account: usize,
        to: TxKind,
        value: u64,
        input: impl Into<Bytes>,
        gas_limit: u64,
    ) -> SignedTransaction {
        let (key, _, nonce) = &mut self.keys[account];
        let unsigned = TxEip1559 {
            chain_id: self.spec.chain_id,
            nonce: *nonce,
            gas_limit,
            max_fee_per_gas: GWEI,
            max_priority_fee_per_gas: 1,
            to,
            value: U256::from(value),
            input: input.into(),
            ..Default::default()
        };
        *nonce += 1;
        let digest = Message::from_digest(unsigned.signature_hash().0);
        let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(digest, key).serialize_compact();
        unsigned.into_signed(Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1)).into()
    }

    pub(crate) fn transfer(&mut self, account: usize, to: Address) -> SignedTransaction {
        self.send(account, to.into(), 1, Bytes::new(), 21_000)
    }

    /// The next L1 block, with so many messages.
    pub(crate) fn l1_block(&mut self, messages: u64) {
        let last = self.l1.last().expect("the first");
        let (number, parent_hash) = (last.number + 1, last.hash_slow());
        let mix_hash = keccak256(number.to_be_bytes());
        self.l1.push(Header { number, parent_hash, mix_hash, ..last.clone() });
        for index in 0..messages {
            self.queue.push(QueueEntry {
                l1_block: number,
                from: BOB,
                to: Address::with_last_byte(index as u8 + 1).into(),
                mint: 5,
                value: U256::from(3),
                gas: 60_000,
                data: vec![7; index as usize].into(),
            });
        }
    }

    /// A block some milliseconds after the one before, of these transactions.
    pub(crate) fn block(&self, after_ms: u64, transactions: Vec<SignedTransaction>) -> BlockData {
        BlockData { time_ms: self.time() + after_ms, origin_steps: 0, transactions }
    }

    /// A block that steps to L1's head.
    pub(crate) fn step(&self, after_ms: u64) -> BlockData {
        let head = self.l1.last().expect("the first").number;
        let origin_steps = (head - self.origin) as u32;
        BlockData { time_ms: self.time() + after_ms, origin_steps, transactions: Vec::new() }
    }

    fn time(&self) -> u64 {
        time_ms(self.headers.last().expect("genesis")).expect("ours")
    }

    /// Commits these blocks as a batch, with all that proves it. The chain goes on after it if it is valid; of an invalid one the header says what the last
    /// valid block gave.
    pub(crate) fn commit(&mut self, blocks: Vec<BlockData>) -> Batch {
        let (parent, first) = (self.parent.header, self.headers.len() as u64);
        let stepped: u64 = blocks.iter().map(|block| u64::from(block.origin_steps)).sum();
        let origin = self.origin + stepped;
        let l1 = |number: u64| &self.l1[(number - 1_000) as usize];
        let origins = match stepped {
            0 => Vec::new(),
            _ => (if self.origin == 0 { origin } else { self.origin + 1 }..=origin)
                .map(|number| l1(number).clone())
                .collect(),
        };
        let held = |number: u64| self.queue.partition_point(|entry| entry.l1_block <= number) as u64;
        let end = if origin == 0 { 0 } else { held(origin) };
        let messages = self.queue[parent.end_message as usize..end as usize].to_vec();
        let queue_hash_after = (parent.end_message..).zip(&messages);
        let queue_hash_after =
            queue_hash_after.fold(parent.queue_hash_after, |hash, (index, entry)| entry.queue_hash(hash, index));
        let mut header = BatchHeader {
            index: parent.index + 1,
            parent_batch_hash: self.parent.hash(),
            parent_block_hash: parent.last_block_hash,
            first_block: first,
            last_block: first + blocks.len() as u64 - 1,
            last_timestamp: blocks.last().expect("a block").time_ms / 1000,
            first_message: parent.end_message,
            end_message: end,
            queue_hash_before: parent.queue_hash_after,
            queue_hash_after,
            origin_number: origin,
            origin_hash: if stepped == 0 { parent.origin_hash } else { l1(origin).hash_slow() },
            ..parent
        };
        let settlement = self.spec.settlement.as_ref().expect("set");
        let l1_origins: Vec<L1Origin> =
            origins.iter().map(|l1| settlement.origin(l1, l1.hash_slow(), held(l1.number))).collect();
        let deposits: Vec<_> =
            (parent.end_message..).zip(&messages).map(|(index, entry)| entry.deposit(INBOX, index)).collect();
        let contents = pack(&encode(first, &blocks, self.spec.chain_id, &mut Stored).expect("encodes"));
        let data = BatchData { first_block: first, blocks };

        // Executed as a node does, and noted.
        let (mut state, recorder, mut changes) = (self.state.clone(), Recorder::of_batch(), Vec::<ChangeSet>::new());
        let mut headers = self.headers.clone();
        let input = BatchInput { header: &header, data: &data, origins: &l1_origins, messages: &deposits };
        let mut executor = BatchExecutor::new(&self.rules, &headers[first as usize - 1], input).expect("follows");
        let mut valid = true;
        while valid && !executor.is_empty() {
            match executor.execute(&recorder.over(&state)) {
                Ok(Step::Block(block)) => {
                    let root = state.trie.apply(&block.output.changes);
                    let sealed = seal(block.header, &block.transactions, &block.output, root);
                    executor.advance(&sealed);
                    state.hashes.insert(sealed.number, sealed.hash_slow());
                    state.codes.extend(block.output.changes.codes.clone());
                    recorder.advance(&block.output.changes);
                    changes.push(block.output.changes);
                    headers.push(sealed);
                }
                Ok(Step::End(_)) => unreachable!("blocks are left"),
                Err(_) => valid = false,
            }
        }
        header.last_block_hash = headers.last().expect("genesis").hash_slow();
        let before = self.headers[first as usize - 1].clone();
        let witness = recorder.finish(&self.state.trie, &changes, before, |number| {
            Ok::<_, Infallible>(self.headers[number as usize].clone())
        });
        let Ok(witness) = witness;
        let blobs = contents.iter().map(|blob| versioned(blob.as_slice())).collect();
        let committed = Committed { header, blobs };
        let contents = contents.iter().map(|blob| Bytes::copy_from_slice(blob.as_slice())).collect();
        if valid {
            (self.state, self.headers, self.origin) = (state, headers, origin);
            self.parent = committed.clone();
        }
        Batch { committed, contents, origins, messages, witness }
    }

    /// The input of batches after `parent`.
    pub(crate) fn input(&self, parent: Committed, batches: Vec<Batch>) -> Input {
        Input { payout: PAYOUT, config: self.spec.config(u64::MAX).into(), parent, batches }
    }

    pub(crate) fn genesis_root(&self) -> B256 {
        self.headers[0].state_root
    }

    /// Queues messages in L1's head block that no single block has room for: each uses all its gas. How many a block leaves.
    pub(crate) fn big_messages(&mut self) -> u64 {
        let entry = QueueEntry {
            l1_block: self.l1.last().expect("the first").number,
            from: BOB,
            to: TxKind::Create,
            gas: 2_000_000,
            data: vec![0xfe].into(),
            ..Default::default()
        };
        let room = self.spec.gas.block_gas_limit / entry.gas;
        self.queue.extend(std::iter::repeat_n(entry, room as usize + 3));
        3
    }

    /// State root and hash of the last block.
    pub(crate) fn head(&self) -> (B256, B256) {
        let head = self.headers.last().expect("genesis");
        (head.state_root, head.hash_slow())
    }
}

/// What stands for a blob's versioned hash: a prover takes L1's word for it.
pub(crate) fn versioned(contents: &[u8]) -> B256 {
    let mut hash = keccak256(contents);
    hash.0[0] = 1;
    hash
}

fn key(index: usize) -> (SecretKey, Address, u64) {
    let seed = keccak256([b"jove proving test".as_slice(), &index.to_be_bytes()].concat());
    let key = SecretKey::from_secret_bytes(seed.0).expect("a key");
    let public = PublicKey::from_secret_key(&key).serialize_uncompressed();
    (key, Address::from_slice(&keccak256(&public[1..])[12..]), 0)
}

/// A batch of everything that batches have: two transfers, a step to an origin with messages, a transfer after it.
pub(crate) fn small(chain: &mut Chain) -> Batch {
    let transfers = vec![chain.transfer(0, BOB), chain.transfer(1, BOB)];
    let first = chain.block(10, transfers);
    chain.l1_block(2);
    let mut step = chain.step(1_000);
    step.time_ms += 10;
    let transfer = chain.transfer(0, BOB);
    let last = chain.block(1_020, vec![transfer]);
    chain.commit(vec![first, step, last])
}
