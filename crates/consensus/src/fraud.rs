//! What shows that a checkpoint is invalid, to anyone who knows the rules and no state.
//!
//! The checkpoint names its last block by its hash. From there headers lead down to the invalid one, whose transactions its header names, and whose parent's
//! header names the state that it is executed on. A witness has what is read of that state. Where a block is compared with L1, the checker looks at its own.

use alloy_consensus::{Header, proofs, transaction::SignerRecoverable as _};
use alloy_primitives::Bytes;
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use jove_avc::{Checkpoint, MAX_BLOCKS, MAX_WITNESS};
use jove_primitives::transaction::{RecoveredTransaction, Transaction, deposit};
use jove_stf::{BlockError, Rules, StatelessState, Witness, batch::Recovered, execute_block};

/// What is wrong with a checkpoint: the executor's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Reason {
    /// A field of a block's header is not what parent and execution give.
    Header = 1,
    /// A transaction cannot be part of its block.
    Transaction = 2,
    /// A signature is none, or has a high s (EIP-2).
    Signature = 3,
    /// A block leaves messages from L1 that are due: a forced transaction is skipped.
    MessagesLeft = 4,
    /// A block's state root.
    StateRoot = 5,
    /// An L1 origin, or messages from there, that this node's own L1 does not have so.
    L1 = 6,
    /// The checkpoint's own fields are not its last block's.
    Checkpoint = 7,
}

impl Reason {
    /// Of its number.
    pub fn of(number: u16) -> Option<Self> {
        let all = [
            Self::Header,
            Self::Transaction,
            Self::Signature,
            Self::MessagesLeft,
            Self::StateRoot,
            Self::L1,
            Self::Checkpoint,
        ];
        all.into_iter().find(|reason| *reason as u16 == number)
    }
}

/// What shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fraud {
    /// What is wrong.
    pub reason: Reason,
    /// The header of the checkpoint's last block, and those before it down to the invalid block's.
    pub headers: Vec<Header>,
    /// The invalid block's transactions.
    pub transactions: Vec<Transaction>,
    /// What it is executed on; none where no state is needed.
    pub state: Option<Witness>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct Encoded {
    reason: u16,
    headers: Vec<Header>,
    transactions: Vec<Transaction>,
    state: Bytes,
}

impl Fraud {
    /// The encoding, if it is short enough to be sent: the RLP of the list of reason, headers, transactions and the witness's encoding.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let state = self.state.as_ref().map_or_else(Bytes::new, |state| state.encode().into());
        let (headers, transactions) = (self.headers.clone(), self.transactions.clone());
        let bytes = alloy_rlp::encode(Encoded { reason: self.reason as u16, headers, transactions, state });
        (bytes.len() <= MAX_WITNESS).then_some(bytes)
    }

    /// Reads an encoding.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_WITNESS {
            return None;
        }
        let Encoded { reason, headers, transactions, state } = Encoded::decode(&mut bytes).ok()?;
        let state = if state.is_empty() { None } else { Some(Witness::decode(&state).ok()?) };
        (bytes.is_empty()).then_some(())?;
        Some(Self { reason: Reason::of(reason)?, headers, transactions, state })
    }

    /// The invalid block's header and its parent's hash are the checkpoint's, and the transactions are its own.
    fn is_of(&self, checkpoint: &Checkpoint) -> bool {
        let Some((first, last)) = self.headers.first().zip(self.headers.last()) else { return false };
        let is_chain = self.headers.windows(2).all(|pair| pair[0].parent_hash == pair[1].hash_slow());
        // The checkpoint's own fields are those of its last block, and of no other.
        let is_whole = if self.reason == Reason::Checkpoint {
            self.headers.len() == 1
        } else {
            proofs::calculate_transaction_root(&self.transactions) == last.transactions_root
        };
        self.headers.len() as u64 <= MAX_BLOCKS && first.hash_slow() == checkpoint.last_hash && is_chain && is_whole
    }

    /// The header and the transactions of the invalid block, if it is one of the checkpoint's: what is compared with L1.
    pub fn block(&self, checkpoint: &Checkpoint) -> Option<(&Header, &[Transaction])> {
        self.is_of(checkpoint).then_some(())?;
        Some((self.headers.last()?, &self.transactions))
    }

    /// Whether it shows that the checkpoint is invalid. What is compared with L1 ([`Reason::L1`]) is not shown here.
    pub fn shows(&self, rules: &Rules, checkpoint: &Checkpoint) -> bool {
        let Some((header, transactions)) = self.block(checkpoint) else { return false };
        match self.reason {
            Reason::Checkpoint => header.number != checkpoint.last_number || header.state_root != checkpoint.state_root,
            Reason::L1 => false,
            Reason::Signature => {
                transactions.iter().filter_map(Transaction::as_signed).any(|signed| signed.recover_signer().is_err())
            }
            Reason::Header | Reason::Transaction | Reason::MessagesLeft | Reason::StateRoot => {
                self.state.as_ref().is_some_and(|state| fails(rules, header, transactions, state))
            }
        }
    }
}

/// Whether a block is not what its header says, on the state that its parent's header names.
fn fails(rules: &Rules, header: &Header, transactions: &[Transaction], state: &Witness) -> bool {
    let recovered: Option<Vec<RecoveredTransaction>> = transactions
        .iter()
        .map(|transaction| match transaction {
            Transaction::Signed(signed) => Recovered::new(signed).map(Recovered::into_inner),
            Transaction::Deposit(sealed) => Some(deposit(sealed.inner().clone())),
        })
        .collect();
    let (Some(recovered), Ok((mut state, parent))) = (recovered, StatelessState::new(state, header.parent_hash)) else {
        return false;
    };
    match execute_block(rules, &parent, header, &recovered, &state) {
        Err(BlockError::Database(_)) => false,
        Err(_) => true,
        Ok(output) => state.apply(&output.changes).is_ok_and(|root| root != header.state_root),
    }
}
