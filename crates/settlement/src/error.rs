//! What can go wrong between a chain's operator and L1.

use crate::Revert;
use alloy_primitives::{Address, B256, Bytes, TxHash, U256, utils::format_ether};
use jove_primitives::{batch::EncodeError, header::ExtraError};
use jove_storage::StorageError;
use thiserror::Error;

/// Why something was not done, or cannot be.
#[derive(Debug, Error)]
pub enum Error {
    /// The URL of L1 is no HTTP URL. It is not shown, since it may hold a key. Fix the configuration.
    #[error("the URL of L1 cannot be used: {0}")]
    Url(&'static str),
    /// No connection, a timeout, or an answer that broke off, in every attempt. L1 may have done what it was asked to.
    #[error("{method}: L1 at {host} cannot be reached: {reason}")]
    Transport {
        /// The JSON-RPC method.
        method: String,
        /// Host and port of L1.
        host: String,
        /// The last attempt's failure.
        reason: String,
    },
    /// An HTTP status that is not a success, without a JSON-RPC error in the body: often a wrong key, or a limit on requests.
    #[error("{method}: L1 at {host} answers HTTP {status}")]
    HttpStatus {
        /// The JSON-RPC method.
        method: String,
        /// Host and port of L1.
        host: String,
        /// The status code.
        status: u16,
    },
    /// The answer is longer than what is taken. Ask for less.
    #[error("{method}: the answer is longer than {limit} bytes")]
    TooLarge {
        /// The JSON-RPC method.
        method: String,
        /// Most bytes of an answer.
        limit: usize,
    },
    /// The answer is not what the method returns, or contradicts itself or the question. The node at the URL is broken, hostile or no Ethereum node.
    #[error("{method}: L1's answer is malformed: {reason}")]
    Malformed {
        /// The JSON-RPC method.
        method: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header's fields do not hash to what the node says, or to what was asked for.
    #[error("L1 gave a header with hash {computed} as {claimed}")]
    HeaderHash {
        /// What was claimed or asked for.
        claimed: B256,
        /// The hash of the fields.
        computed: B256,
    },
    /// The node understood and refused.
    #[error("{method}: {message} (code {code})")]
    Rpc {
        /// The JSON-RPC method.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// The node's words, printable and cut to 1,024 characters.
        message: String,
        /// What came with it: of a call that reverted, what it returned.
        data: Option<Bytes>,
    },
    /// The chain spec names no contracts on L1. `jove deploy` writes one that does.
    #[error("the chain spec names no L1 to settle on")]
    NoSettlement,
    /// The node at the URL is on another chain than the chain spec names.
    #[error("L1 has chain id {found}, the chain spec says {expected}")]
    WrongL1 {
        /// Chain id of the node.
        found: u64,
        /// Chain id in the chain spec.
        expected: u64,
    },
    /// The chain on L1 was opened with another genesis, or with other settings, than the chain spec has.
    #[error("the chain on L1 has another genesis or other settings than the chain spec")]
    WrongChain,
    /// The chain is not opened on L1 yet: `jove deploy` has not finished.
    #[error("the chain is not open on L1")]
    NotOpen,
    /// The node does not have an L1 block that others name. It is still syncing, or has lost it to a reorganisation.
    #[error("L1 does not have block {0} (yet)")]
    UnknownL1Block(u64),
    /// The node is at an earlier block than it, or another node, was before.
    #[error("L1's head is block {number}, before {finalized}, which was known already")]
    L1Behind {
        /// Its head.
        number: u64,
        /// What was known already.
        finalized: u64,
    },
    /// L1 was reorganised while it was read. Reading again helps.
    #[error("L1 was reorganised at block {0} while it was read")]
    L1Reorganised(u64),
    /// Events are not those that the contract emits: the chain spec names another, or the node at the URL is broken.
    #[error("what L1 has at the address of {0} does not behave as that contract")]
    NotTheContracts(&'static str),
    /// The events are not the queue that the contract has: the node at the URL leaves some out.
    #[error("the queue has {length} messages at L1 block {block}, its events show {found}, or others")]
    Queue {
        /// The L1 block.
        block: u64,
        /// Messages by events.
        found: u64,
        /// Messages by the contract.
        length: u64,
    },
    /// The events are not the batches that the contract has: the node at the URL leaves some out. It is asked again.
    #[error("the last batch is {head} at L1 block {block}, its events show {found}, or others: some are missing")]
    Batches {
        /// The L1 block.
        block: u64,
        /// The last batch by events.
        found: u64,
        /// The last batch by the contract.
        head: u64,
    },
    /// This node's chain is not the one that L1 has: it must be rebuilt from L1 (`--from-l1`) before it goes on.
    #[error("block {block} is not the one that batch {index} on L1 ends with")]
    Diverged {
        /// The batch.
        index: u64,
        /// The block.
        block: u64,
    },
    /// A batch has no room for these blocks, and may end nowhere among them, as far as this node knows what is certified: it looks for that.
    #[error(
        "a batch from block {first} on has no room for block {last}, and no end before it is certified here: {error}"
    )]
    NoRoom {
        /// The batch's first block.
        first: u64,
        /// The block that does not fit.
        last: u64,
        /// What its encoding says.
        error: EncodeError,
    },
    /// It is not final yet, or this node has not seen that.
    #[error("it is not final yet")]
    NotFinal,
    /// What the store keeps of settlement is damaged.
    #[error("the store's {0} is damaged")]
    Kept(String),
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Blocks cannot be encoded. `stf` accepts none such.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A block's header is not Jove's.
    #[error(transparent)]
    Header(#[from] ExtraError),
    /// The system failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The private key is not one of secp256k1's. It is not shown.
    #[error("the private key is not a number that secp256k1 takes as one")]
    Key,
    /// A request to the relayer is not within its bounds. It was not taken.
    #[error("the request cannot be sent: {0}")]
    Request(&'static str),
    /// A request with this key, but other contents, was taken before. Find out what became of that one.
    #[error("the key {0:?} stands for another request")]
    KeyTaken(String),
    /// Too many requests are under way. Send again when some are done with.
    #[error("{0} requests are under way")]
    Full(usize),
    /// A blob is none: an element is not below the field's modulus.
    #[error("KZG: {0}")]
    Kzg(String),
    /// Another process has the relayer's journal open.
    #[error("{path} is locked: another relayer of this account runs here")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// The journal cannot be read or written. The relayer does nothing more: free the disk, then start it again.
    #[error("{path}: {reason}")]
    Journal {
        /// The journal.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// The journal is damaged before its end. Restore it; or, once no transaction of the account waits on L1, remove it.
    #[error("{path} is damaged at byte {offset}")]
    JournalDamaged {
        /// The journal.
        path: String,
        /// Where.
        offset: usize,
    },
    /// L1 is not the chain that the journal is about, or the account is another. Use the right L1, or another data directory.
    #[error("the journal is about {journal}, L1 is {found}")]
    OtherJournal {
        /// What the journal is about.
        journal: String,
        /// What was found.
        found: String,
    },
    /// L1 says that the account has sent fewer transactions than are final: the node is far behind, or the chain is another.
    #[error("L1 has {nonce} transactions of the account, but {expected} are final")]
    AccountBehind {
        /// What L1 says.
        nonce: u64,
        /// What it must say at least.
        expected: u64,
    },
    /// A call would fail, so it was not sent. The contract's or the node's reason says what to change.
    #[error("{what} would fail: {reason}")]
    Reverts {
        /// What the call does.
        what: String,
        /// The contract's error by name, or the node's words.
        reason: String,
    },
    /// A transaction was mined and failed, though it would have succeeded before: the chain changed meanwhile. Look again.
    #[error("{what} failed in transaction {hash}")]
    Failed {
        /// What the call does.
        what: String,
        /// The transaction.
        hash: TxHash,
    },
    /// A transaction that the node took is in no block. Its fee may be too low now, or the node have lost it. Run again: what waits is waited for first.
    #[error("transaction {hash} is in no block after {seconds} s, says {host}")]
    NotMined {
        /// The transaction.
        hash: TxHash,
        /// The node asked.
        host: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Transactions of the account wait in the node's pool and are not mined: replace them with higher fees, or wait.
    #[error("{count} transactions of {address} wait in the pool and are not mined")]
    Waiting {
        /// The account.
        address: Address,
        /// How many wait.
        count: u64,
    },
    /// What is asked for makes no sense, or the contracts would refuse it.
    #[error("{0}")]
    Settings(&'static str),
    /// A batch has no FinalCert here, or what is certified cannot be read.
    #[error("what certifies a batch: {0}")]
    Certificate(String),
    /// The chain file's validators are not the set that the chain's contract began with.
    #[error("the set of {authority} at first is {found}, not {expected} as the chain file's validators make")]
    OtherValidators {
        /// The contract.
        authority: Address,
        /// Hash of the set that it began with.
        found: B256,
        /// Hash of the set in the chain file.
        expected: B256,
    },
    /// The validators that a chain spec names make no set, or a key is none: whoever wrote it puts it right.
    #[error("the validators: {0}")]
    Validators(String),
    /// The verifier of enclaves' proofs asks no registry, as a test verifier: there is nothing to register with. Deploy with `--tee-root`.
    #[error("the verifier {verifier} of enclaves' proofs asks no registry of enclaves")]
    NoRegistry {
        /// The verifier.
        verifier: Address,
    },
    /// Collateral or a quote is not what it should be, for a reason that verifiers on chain have too.
    #[error("{name}: {0}", name = .0.name())]
    Tee(#[from] jove_tee::Error),
    /// Collateral without the certificate of whoever has signed it. Take all of it from one source.
    #[error("no certificate that came along has signed the {0}")]
    Unsigned(String),
    /// A service of collateral cannot be reached, or gives something else.
    #[error("{host}: {what}: {reason}")]
    Collateral {
        /// Its host and port.
        host: String,
        /// What it was asked for.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// The key was never registered.
    #[error("the key {0} is not registered")]
    UnknownKey(Address),
    /// The L1 has no deterministic deployment proxy. Its owner can put it there with the transaction that its authors signed.
    #[error("L1 has no deterministic deployment proxy at {address}, which creates the contracts")]
    NoFactory {
        /// Where it should be.
        address: Address,
    },
    /// The deployer cannot lock the genesis balances and pay for gas. Give it more, or genesis less.
    #[error(
        "{address} has {} ether and needs {}: {} to lock as the L2's genesis balances, the rest for gas",
        format_ether(**balance), format_ether(**needed), format_ether(**supply)
    )]
    Unfunded {
        /// The deployer.
        address: Address,
        /// What it has, in wei.
        balance: Box<U256>,
        /// The sum of the genesis balances, in wei.
        supply: Box<U256>,
        /// What it needs, in wei.
        needed: Box<U256>,
    },
    /// A verifier cannot be used.
    #[error("the verifier {verifier} cannot be used: {reason}")]
    VerifierRefused {
        /// The verifier.
        verifier: Address,
        /// Why.
        reason: &'static str,
    },
    /// A proxy of a deployment under way runs code that this version does not know: another version began it, and has to end it.
    #[error(
        "the proxy {proxy} runs {implementation}, which this version of jove did not make: end the deployment with the version that began it"
    )]
    UnknownImplementation {
        /// The proxy.
        proxy: Address,
        /// What it runs.
        implementation: Address,
    },
    /// No chain was opened at this address. The chain file names another L1, or the deployment has not ended.
    #[error("no chain is open at {rollup}, says {host}")]
    NotDeployed {
        /// The rollup.
        rollup: Address,
        /// The node asked.
        host: String,
    },
    /// The chain on L1 was opened with another genesis than the chain file's.
    #[error("the chain on L1 was opened with genesis block {opened}, the chain spec has {expected}")]
    OtherGenesis {
        /// On L1.
        opened: B256,
        /// Of the spec.
        expected: B256,
    },
    /// The rollup names another configuration than the chain file's rules have: the chain was upgraded, and needs its new chain file.
    #[error("the rollup at {rollup} has the configuration {found}, the chain spec's rules are {expected}")]
    OtherRules {
        /// The rollup.
        rollup: Address,
        /// On L1.
        found: B256,
        /// Of the spec.
        expected: B256,
    },
    /// L1's blob base fee is not what the blob fee updates give: they are another network's, or old.
    #[error("L1's blob base fee is {found} wei, the blob fee updates give {computed}: they are not this L1's")]
    BlobFee {
        /// From the updates.
        computed: u128,
        /// What L1 says.
        found: u128,
    },
    /// The rollup names other contracts than the chain file.
    #[error("the rollup at {rollup} has other contracts around it than the chain file names")]
    OtherContracts {
        /// The rollup.
        rollup: Address,
    },
    /// A transaction is no deposit and no withdrawal of this chain.
    #[error("transaction {hash} {reason}")]
    NotOurs {
        /// The transaction.
        hash: TxHash,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Every batch and message is final: there is nothing to escape from.
    #[error("nothing waits to become final: the escape cannot begin")]
    NothingWaits,
    /// What waits has not waited for long enough, or something became final meanwhile. Try again then.
    #[error("the escape cannot begin yet: in {} at the earliest, at {until} s of Unix time", in_words(*.left))]
    NotDue {
        /// When it can begin, in seconds since the Unix epoch.
        until: u64,
        /// Seconds until then, by L1's clock.
        left: u64,
    },
    /// The escape has begun: nothing is committed, proven or final any more, and what is left is to take what is one's own.
    #[error("the escape has begun already")]
    Halted,
    /// The escape has not begun: nothing is paid by proof of the last final state.
    #[error("the escape has not begun")]
    NotHalted,
    /// The chain's node does not have a block that L1 names: it is still being rebuilt. Wait, or ask another.
    #[error("the chain's node has blocks up to {head}, and {block} is needed: is it still being rebuilt?")]
    ChainBehind {
        /// The block.
        block: u64,
        /// The node's head.
        head: u64,
    },
    /// L1 would make another output of a batch final than that of this node's blocks: the node is broken, or the proofs are. Ask another node.
    #[error("batch {index} can be made final, but with another output than this node's blocks have: ask another node")]
    OtherOutput {
        /// The batch.
        index: u64,
    },
    /// What the chain's node gave does not prove what it says of an account in the last final state. The node is broken or hostile: ask another.
    #[error("{host} does not prove what it says of {address} in the last final state: {reason}")]
    StateProof {
        /// The account.
        address: Address,
        /// The node asked.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// A proof that the L2 node gave does not prove its message. The node is broken or hostile: ask another.
    #[error("the proof of message {nonce} is wrong")]
    Proof {
        /// The message.
        nonce: u64,
    },
}

/// A time span for people: its two largest units.
pub fn in_words(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

impl Error {
    /// Whether L1 may answer differently if it is asked again later: nothing was learned about the question itself.
    pub fn is_transient(&self) -> bool {
        // EIP-1474: -32002 resource unavailable, which nodes say of what took too long; -32005 limit exceeded.
        matches!(self, Self::Transport { .. } | Self::HttpStatus { .. } | Self::Rpc { code: -32002 | -32005, .. })
    }

    /// What a call that reverted returned, if that is the failure.
    pub fn revert(&self) -> Option<Revert> {
        let Self::Rpc { code, message, data, .. } = self else { return None };
        let data = data.as_ref().map_or(&[][..], |data| data);
        // 3 is geth's code for it; others have only the text.
        let reverted = *code == 3 || message.to_ascii_lowercase().contains("revert");
        (reverted || data.len() >= 4).then(|| Revert::decode(data))
    }
}
