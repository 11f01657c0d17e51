//! A chain that seals as the sequencer does, in memory, and derives as everyone does.

use alloy_consensus::{Header, SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, hex, keccak256, map::B256Map};
use jove_executor::{Built, Executor, TrieReader};
use jove_primitives::{
    ChainSpec, ExecutedBlock,
    batch::{BatchData, BatchHeader, Compressor, decode, encode, hash, pack},
    header::time_ms,
    l1::{L1_NUMBER_SLOT, L1_QUEUE_SLOT, L1Origin, Queue},
    predeploys::{L1_BLOCK, L2_MESSENGER, OUTBOX_ROOT_SLOT},
    spec::GenesisAccount,
    transaction::{RecoveredTransaction, SignedTransaction, TxDeposit, deposit, message_source_hash},
};
use jove_stf::{
    BatchExecutor, BatchInput, BatchOutput, BlockContext, BlockOutput, ExecuteBatchError, Rules,
    batch::Recovered,
    batch::{DerivedBlock, Step, block_data},
    mix_source, next_header, seal,
};
use jove_trie::StateTrie;
use revm::{DatabaseRef, bytecode::Bytecode};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};
use std::{convert::Infallible, sync::Arc};

const ALICE: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
/// Sends messages from L1.
const CAROL: Address = address!("0000000000000000000000000000000000ca4010");
/// Uses all the gas that it is given.
pub(crate) const BURNER: Address = address!("00000000000000000000000000000000000b0b00");

const CHAIN_ID: u64 = 5683;
const GENESIS_TIME: u64 = 1_767_225_600;

/// A chain with all of its blocks but genesis.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    executor: Executor,
    trie: StateTrie,
    codes: B256Map<Bytecode>,
    hashes: Vec<B256>,
    pub(crate) head: Header,
    pub(crate) blocks: Vec<ExecutedBlock>,
}

impl Chain {
    /// The development chain with blocks of 5,000,000 gas.
    pub(crate) fn new() -> Self {
        Self::with([])
    }

    /// The same with these contracts.
    pub(crate) fn with(contracts: impl IntoIterator<Item = (Address, Bytes)>) -> Self {
        let mut spec = ChainSpec::dev();
        spec.gas.block_gas_limit = 5_000_000;
        spec.gas.transaction_gas_limit_cap = Some(4_000_000);
        let code = Bytes::from_static(&[0xfe]); // INVALID
        for (address, code) in contracts.into_iter().chain([(BURNER, code)]) {
            spec.genesis.alloc.insert(address, GenesisAccount { code, ..Default::default() });
        }
        let (mut trie, changes) = (StateTrie::default(), spec.genesis_changes());
        let head = spec.genesis_header(trie.apply(&changes));
        let rules = Rules::Jove { spec: Arc::new(spec), genesis: head.hash_slow() };
        let codes = changes.codes.into_iter().map(|(hash, code)| (hash, Bytecode::new_raw(code))).collect();
        let hashes = vec![head.hash_slow()];
        Self { executor: Executor::new(rules), trie, codes, hashes, head, blocks: Vec::new() }
    }

    /// The same, whose blocks take no further transaction once they have read so much.
    pub(crate) fn with_max_reads(self, max_reads: usize) -> Self {
        Self { executor: self.executor.with_max_reads(max_reads), ..self }
    }

    fn state(&self) -> impl DatabaseRef<Error = Infallible> + '_ {
        let code = |hash: B256| Ok(self.codes.get(&hash).cloned().unwrap_or_default());
        let block_hash = |number: u64| Ok(self.hashes.get(number as usize).copied().unwrap_or_default());
        TrieReader { trie: &self.trie, code, block_hash }
    }

    fn queue(&self) -> Queue {
        Queue::from_slot(self.trie.slot(L1_BLOCK, L1_QUEUE_SLOT))
    }

    pub(crate) fn outbox_root(&self) -> B256 {
        self.trie.slot(L2_MESSENGER, OUTBOX_ROOT_SLOT).into()
    }

    fn origin(&self) -> u64 {
        L1Origin::numbers(self.trie.slot(L1_BLOCK, L1_NUMBER_SLOT)).0
    }

    fn header(&self, after_ms: u64, origin: Option<&L1Origin>, messages: bool) -> Header {
        let rules = self.executor.rules();
        let mix_source = match origin {
            Some(origin) => rules.mix_source(origin.mix_hash),
            None => mix_source(rules, &self.state()).expect("in memory"),
        };
        let context = BlockContext { time_ms: GENESIS_TIME * 1000 + after_ms, mix_source, messages };
        next_header(rules, &self.head, self.head.hash_slow(), context).expect("follows")
    }

    fn append(&mut self, header: Header, transactions: Vec<RecoveredTransaction>, mut output: BlockOutput) {
        let changes = std::mem::take(&mut output.changes);
        let root = self.trie.apply(&changes);
        self.codes.extend(changes.codes.into_iter().map(|(hash, code)| (hash, Bytecode::new_raw(code))));
        let header = seal(header, &transactions, &output, root);
        let hash = header.hash_slow();
        self.hashes.push(hash);
        self.head = header.clone();
        let BlockOutput { receipts, l1_fees, l1_prices, .. } = output;
        self.blocks.push(ExecutedBlock { header, hash, transactions, receipts, l1_fees, l1_prices });
    }

    /// Seals a block of signed transactions, so long after genesis.
    pub(crate) fn transactions(&mut self, after_ms: u64, signed: Vec<SignedTransaction>) {
        let count = signed.len();
        assert_eq!(self.some(after_ms, signed), count);
    }

    /// Seals a block of the first of these transactions, as many as it takes; returns how many.
    pub(crate) fn some(&mut self, after_ms: u64, signed: Vec<SignedTransaction>) -> usize {
        let header = self.header(after_ms, None, false);
        let recovered = |one: SignedTransaction| Arc::new(RecoveredTransaction::new_unchecked(one.into(), ALICE));
        let candidates: Vec<_> = signed.into_iter().map(recovered).collect();
        let Built { transactions, output, rejected, .. } =
            self.executor.build(&header, &candidates, header.gas_limit, usize::MAX, self.state()).expect("in memory");
        assert!(rejected.is_empty(), "{rejected:?}");
        assert!(transactions.iter().zip(&candidates).all(|(taken, given)| taken.tx_hash() == given.tx_hash()));
        let count = transactions.len();
        self.append(header, transactions, output);
        count
    }

    /// Seals blocks of messages, so long after genesis, until all are consumed.
    pub(crate) fn consume(&mut self, after_ms: u64, mut origin: Option<L1Origin>, mut messages: Vec<TxDeposit>) {
        while origin.is_some() || !messages.is_empty() {
            let taken = self.seal_messages(after_ms, origin.take(), &messages);
            messages.drain(..taken);
        }
        assert!(!self.queue().is_due());
    }

    /// Seals a block of messages; returns how many it holds.
    pub(crate) fn seal_messages(&mut self, after_ms: u64, origin: Option<L1Origin>, messages: &[TxDeposit]) -> usize {
        let header = self.header(after_ms, origin.as_ref(), true);
        let attributes = origin.map(|origin| origin.attributes(header.number));
        let all: Vec<_> = attributes.into_iter().chain(messages.iter().cloned()).map(deposit).collect();
        let Built { transactions, output, .. } =
            self.executor.build_messages(&header, &all, self.state()).expect("they have their place");
        let taken = transactions.len() - usize::from(origin.is_some());
        self.append(header, transactions, output);
        taken
    }
}

/// A batch, and the chain it was made of.
#[derive(Clone)]
pub(crate) struct Made {
    parent: Chain,
    pub(crate) sealed: Chain,
    pub(crate) header: BatchHeader,
    pub(crate) data: BatchData,
    pub(crate) origins: Vec<L1Origin>,
    pub(crate) messages: Vec<TxDeposit>,
}

impl Made {
    /// A batch of the blocks by which `sealed` is ahead of `parent`, through blobs and back.
    pub(crate) fn new(parent: Chain, sealed: &Chain) -> Self {
        let blocks = &sealed.blocks[parent.blocks.len()..];
        let mut origin = parent.origin();
        let data: Vec<_> = blocks.iter().map(|block| block_data(block, &mut origin).expect("ours")).collect();
        let first_block = parent.head.number + 1;
        let stream = encode(first_block, &data, CHAIN_ID, &mut Plain).expect("encodes");
        let decoded = decode(&pack(&stream), CHAIN_ID).expect("a batch");
        assert_eq!(decoded, BatchData { first_block, blocks: data });

        let deposits = blocks.iter().flat_map(|block| {
            block.transactions.iter().filter_map(|one| Some((block.header.number, one.inner().as_deposit()?)))
        });
        let (mut origins, mut messages) = (Vec::new(), Vec::new());
        for (number, deposit) in deposits {
            match L1Origin::from_attributes(deposit, number) {
                Some(origin) => origins.push(origin),
                None => messages.push(deposit.clone()),
            }
        }
        let header = BatchHeader {
            version: hash::ORDINARY,
            parent_block_hash: parent.head.hash_slow(),
            last_block_hash: sealed.head.hash_slow(),
            first_block,
            last_block: sealed.head.number,
            last_timestamp: sealed.head.timestamp,
            first_message: parent.queue().consumed,
            end_message: sealed.queue().consumed,
            origin_number: sealed.origin(),
            origin_hash: sealed.trie.slot(L1_BLOCK, jove_primitives::l1::L1_HASH_SLOT).into(),
            ..Default::default()
        };
        assert!(time_ms(&sealed.head).is_ok());
        Self { parent, sealed: sealed.clone(), header, data: decoded, origins, messages }
    }

    /// Runs the batch on its parent.
    pub(crate) fn derive(&self) -> Result<(Chain, BatchOutput), ExecuteBatchError<Infallible>> {
        self.derive_with(&[])
    }

    pub(crate) fn derive_with(
        &self,
        recovered: &[Option<Recovered>],
    ) -> Result<(Chain, BatchOutput), ExecuteBatchError<Infallible>> {
        let mut chain = self.parent.clone();
        let rules = chain.executor.rules().clone();
        let Self { header, data, origins, messages, .. } = self;
        let mut batch = BatchExecutor::new(&rules, &chain.head, BatchInput { header, data, origins, messages })?;
        batch.set_recovered(recovered);
        loop {
            let step = batch.execute(&chain.state())?;
            match step {
                Step::Block(block) => {
                    let DerivedBlock { header, transactions, output } = *block;
                    chain.append(header, transactions, output);
                    batch.advance(&chain.head);
                }
                Step::End(output) => return Ok((chain, output)),
            }
        }
    }
}

/// Leaves everything as it is.
struct Plain;

impl Compressor for Plain {
    fn estimate(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn compress(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// L1 block `number`, with so many messages in the queue.
pub(crate) fn origin(number: u64, messages: u64) -> L1Origin {
    L1Origin {
        number,
        timestamp: GENESIS_TIME + number / 3,
        base_fee: U256::from(1_000_000_000 + number),
        hash: B256::from(U256::from(number)),
        blob_base_fee: U256::from(number),
        mix_hash: B256::repeat_byte(number as u8),
        messages,
    }
}

/// Entry `index` of the queue. It burns its gas.
pub(crate) fn message(index: u64, gas_limit: u64) -> TxDeposit {
    TxDeposit {
        source_hash: message_source_hash(Address::ZERO, index),
        from: CAROL,
        to: TxKind::Call(BURNER),
        mint: u128::from(index) + 1,
        gas_limit,
        ..Default::default()
    }
}

pub(crate) fn transfer(nonce: u64, value: u64) -> SignedTransaction {
    call(nonce, TxKind::Call(Address::repeat_byte(0xca)), value, Bytes::new(), 21_000)
}

/// Sends a message without data to L1: `send(address,uint64,bytes)`.
pub(crate) fn send_to_l1(nonce: u64) -> SignedTransaction {
    let selector = &keccak256("send(address,uint64,bytes)")[..4];
    let words: [U256; 4] = [U256::from(7), U256::from(100_000), U256::from(96), U256::ZERO];
    let words = words.iter().flat_map(|word| word.to_be_bytes::<32>());
    let input: Vec<u8> = selector.iter().copied().chain(words).collect();
    call(nonce, TxKind::Call(L2_MESSENGER), 1, input.into(), 500_000)
}

/// Signed with Alice's well-known key.
pub(crate) fn call(nonce: u64, to: TxKind, value: u64, input: Bytes, gas_limit: u64) -> SignedTransaction {
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1_000,
        to,
        value: U256::from(value),
        input,
        ..Default::default()
    };
    let secret = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let secret = SecretKey::from_secret_bytes(secret).expect("a key");
    let digest = Message::from_digest(transaction.signature_hash().0);
    let (parity, rs) = RecoverableSignature::sign_ecdsa_recoverable(digest, &secret).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&rs, parity.to_u8() == 1);
    transaction.into_signed(signature).into()
}

/// The same under another signature.
pub(crate) fn with_signature(transaction: &SignedTransaction, signature: Signature) -> SignedTransaction {
    match transaction {
        SignedTransaction::Eip1559(signed) => signed.tx().clone().into_signed(signature).into(),
        _ => panic!("of type 2"),
    }
}
