//! Transactions: what people sign, and what comes from L1.

use alloy_consensus::{EthereumTxEnvelope, Sealable, Sealed, TransactionEnvelope, TxEip4844, transaction::Recovered};
use alloy_primitives::{Address, B256};
use op_alloy_consensus::{L1InfoDepositSource, UserDepositSource};

pub use op_alloy_consensus::{DEPOSIT_TX_TYPE_ID, TxDeposit};

/// A signed transaction of Ethereum's, blobs without their sidecar. A Jove block has no blob transaction; Ethereum's do.
pub type SignedTransaction = EthereumTxEnvelope<TxEip4844>;

/// A transaction with its sender.
pub type RecoveredTransaction = Recovered<Transaction>;

/// A transaction, as blocks carry it.
#[derive(Clone, Debug, TransactionEnvelope)]
#[envelope(tx_type_name = TransactionType)]
pub enum Transaction {
    /// Signed by its sender.
    #[envelope(flatten)]
    Signed(SignedTransaction),
    /// A message from L1, or the L1 attributes: the OP Stack's type 0x7E, byte for byte. It has no signature.
    #[envelope(ty = 126)]
    #[serde(serialize_with = "op_alloy_consensus::serde_deposit_tx_rpc")]
    Deposit(Sealed<TxDeposit>),
}

impl Transaction {
    /// Keccak-256 of the EIP-2718 encoding.
    pub fn tx_hash(&self) -> &B256 {
        match self {
            Self::Signed(transaction) => transaction.tx_hash(),
            Self::Deposit(deposit) => deposit.hash_ref(),
        }
    }

    /// The message from L1, if it is one.
    pub fn as_deposit(&self) -> Option<&TxDeposit> {
        match self {
            Self::Signed(_) => None,
            Self::Deposit(deposit) => Some(deposit),
        }
    }

    /// What its sender signed, if anyone did.
    pub fn as_signed(&self) -> Option<&SignedTransaction> {
        match self {
            Self::Signed(transaction) => Some(transaction),
            Self::Deposit(_) => None,
        }
    }
}

impl<T: Into<SignedTransaction>> From<T> for Transaction {
    fn from(transaction: T) -> Self {
        Self::Signed(transaction.into())
    }
}

/// A message from L1 with its sender, as blocks carry it.
pub fn deposit(deposit: TxDeposit) -> RecoveredTransaction {
    let from = deposit.from;
    Recovered::new_unchecked(Transaction::Deposit(deposit.seal_slow()), from)
}

/// `sourceHash` of the message at `index` of the L1 queue in the contract `inbox`:
/// keccak256(0 ‖ keccak256(inbox ‖ index)), each a word. No two deposits of a chain have one hash.
pub fn message_source_hash(inbox: Address, index: u64) -> B256 {
    UserDepositSource::new(inbox.into_word(), index).source_hash()
}

/// `sourceHash` of the L1 attributes in block `number`, which steps to the L1 block with hash `origin`: keccak256(1 ‖ keccak256(origin ‖ number)), each a
/// word.
pub fn attributes_source_hash(origin: B256, number: u64) -> B256 {
    L1InfoDepositSource::new(origin, number).source_hash()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::Typed2718;
    use alloy_eips::{Decodable2718, Encodable2718};
    use alloy_primitives::{Bytes, TxKind, U256, address, hex, keccak256};

    /// A user deposit of OP Mainnet and its hash, as its explorers show them (op-alloy's own test has the same).
    #[test]
    fn a_deposit_is_the_op_stacks_to_the_byte() {
        let raw = hex!(
            "7ef9015aa044bae9d41b8380d781187b426c6fe43df5fb2fb57bd4466ef6a701e1f01e015694deaddeaddeaddeaddeaddeaddeaddeaddead000194420000000000000000000000000000000000001580808408f0d18001b90104015d8eb900000000000000000000000000000000000000000000000000000000008057650000000000000000000000000000000000000000000000000000000063d96d10000000000000000000000000000000000000000000000000000000000009f35273d89754a1e0387b89520d989d3be9c37c1f32495a88faf1ea05c61121ab0d1900000000000000000000000000000000000000000000000000000000000000010000000000000000000000002d679b567db6187c0c8323fa982cfb88b74dbcc7000000000000000000000000000000000000000000000000000000000000083400000000000000000000000000000000000000000000000000000000000f4240"
        );
        let transaction = Transaction::decode_2718_exact(&raw).expect("a deposit");
        assert_eq!(transaction.encoded_2718(), raw);
        assert_eq!(transaction.ty(), DEPOSIT_TX_TYPE_ID);
        assert_eq!(*transaction.tx_hash(), keccak256(raw));
        let deposit = transaction.as_deposit().expect("a deposit");
        assert_eq!(deposit.from, address!("deaddeaddeaddeaddeaddeaddeaddeaddead0001"));
        assert!(transaction.as_signed().is_none());
    }

    #[test]
    fn source_hashes_are_pinned_and_differ() {
        let inbox = address!("00000000000000000000000000000000000000aa");
        let first = message_source_hash(inbox, 0);
        assert_ne!(first, message_source_hash(inbox, 1));
        assert_ne!(first, attributes_source_hash(inbox.into_word(), 0));
        let words = [B256::ZERO, keccak256([inbox.into_word(), B256::ZERO].concat())];
        assert_eq!(first, keccak256(words.concat()));
    }

    #[test]
    fn a_deposit_says_who_sends_it() {
        let from = address!("00000000000000000000000000000000000000bb");
        let sent = deposit(TxDeposit {
            from,
            to: TxKind::Create,
            value: U256::from(3),
            input: Bytes::new(),
            ..Default::default()
        });
        assert_eq!(sent.signer(), from);
    }
}
