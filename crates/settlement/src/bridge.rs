//! What a user of the bridge does: deposits on L1, withdrawals on L2, and what became of them (docs/bridge.md).
//!
//! **In.** A deposit is an entry of `Inbox`'s queue on L1, and from its event follows the deposit transaction that L2 runs for it, hash included
//! ([`deposits`]). **Out.** A withdrawal is a message of the L2 messenger ([`messages`]). When a batch that holds it is final, the L2 node proves it against the outbox
//! root of the last final batch; the proof is checked here, and anyone gives it to `Outbox` on L1 ([`Crossing::withdrawal`], [`Crossing::claim`]).

use crate::{
    Error, L1,
    contracts::{Bridge, Erc20, Inbox, L2Bridge, L2Messenger, MessageStatus, Outbox, Rollup, ask, message_leaf},
    escape::l2_token_of,
    outbox::FinalRoots,
    wallet::{Call, Receipt, Wallet},
};
use alloy_primitives::{Address, B256, Bytes, TxHash, TxKind, U64, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent};
use jove_primitives::{
    predeploys,
    spec::Settlement,
    transaction::{TxDeposit, message_source_hash},
};
use serde::Deserialize;

/// Depth of the outbox tree.
const DEPTH: usize = 32;

/// A chain's two sides.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// A node of L1.
    pub l1: L1,
    /// A node of L2.
    pub l2: L1,
    /// The contracts on L1.
    pub settlement: Settlement,
}

/// A message from L1 that was queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Its position in the queue.
    pub index: u64,
    /// Its transaction on L2.
    pub transaction: TxDeposit,
    /// The hash of that transaction.
    pub hash: TxHash,
}

/// The messages that a transaction on L1 queued.
pub fn deposits(inbox: Address, receipt: &Receipt) -> Vec<Deposit> {
    let events = receipt.logs.iter().filter(|log| log.address() == inbox);
    let events = events.filter_map(|log| Inbox::MessageQueued::decode_log_validate(&log.inner).ok());
    events
        .filter_map(|event| {
            let Inbox::MessageQueued { index, from, to, isCreation, mint, value, gas, data } = event.data;
            let transaction = TxDeposit {
                source_hash: message_source_hash(inbox, index),
                from,
                to: if isCreation { TxKind::Create } else { to.into() },
                mint: mint.try_into().ok()?, // there is less ether than 2^128 wei
                value,
                gas_limit: gas,
                is_system_transaction: false,
                input: data,
            };
            Some(Deposit { index, hash: transaction.tx_hash(), transaction })
        })
        .collect()
}

/// The messages to L1 that a transaction on L2 sent.
pub fn messages(receipt: &Receipt) -> Vec<Outbox::Message> {
    let events = receipt.logs.iter().filter(|log| log.address() == predeploys::L2_MESSENGER);
    let events = events.filter_map(|log| L2Messenger::MessageSent::decode_log_validate(&log.inner).ok());
    events
        .map(|event| {
            let L2Messenger::MessageSent { nonce, sender, target, value, gas, data, leaf: _ } = event.data;
            Outbox::Message { nonce, sender, target, value, gas, data }
        })
        .collect()
}

/// The root of the outbox tree in which `leaf` is at `position` with these siblings, from the leaf up.
pub fn outbox_root(leaf: B256, position: u64, siblings: &[B256; DEPTH]) -> B256 {
    siblings.iter().enumerate().fold(leaf, |node, (level, sibling)| {
        let pair = if position >> level & 1 == 1 { [*sibling, node] } else { [node, *sibling] };
        keccak256(pair.concat())
    })
}

/// A message with the proof that it is in the outbox tree of a final batch. The proof was checked, and L1 takes the root: as long as it remembers the batch, the last
/// 256 final ones, or was told to keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The message.
    pub message: Outbox::Message,
    /// The batch.
    pub batch: FinalRoots,
    /// The siblings of the message's leaf, from the leaf up.
    pub siblings: [B256; DEPTH],
}

impl Proven {
    /// The data of the call of `Outbox` that executes it. Anyone can make it.
    pub fn call_data(&self) -> Bytes {
        let Self { message, batch, siblings } = self.clone();
        Outbox::executeCall { message, batch: batch.into(), proof: siblings }.abi_encode().into()
    }
}

/// Where a message to L1 stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// No batch with it is final, as far as the L2 node knows.
    Waiting,
    /// The L2 node proves it by a batch whose root L1 does not take: it has let go of that, or does not know it yet.
    Behind {
        /// The batch.
        index: u64,
    },
    /// It can be executed on L1.
    Ready(Box<Proven>),
    /// Its call failed on L1 and can be tried again.
    CallFailed,
    /// Done.
    Executed,
}

/// What of `jove_getWithdrawalProof` is read; the message itself is in the transaction's receipt.
#[derive(Deserialize)]
struct ProofAnswer {
    #[serde(default)]
    r#final: Option<FinalRoots>,
    #[serde(default)]
    proof: Option<Vec<B256>>,
}

impl Crossing {
    /// The call on L1 that deposits exactly `amount` wei to `to`, whatever the price of gas will be: what is paid beyond it comes back. `gas` is for the
    /// L2 transaction; 21,000 is enough for an account without code.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn deposit_ether(&self, to: Address, amount: U256, gas: u64) -> Result<Call, Error> {
        let inbox = self.settlement.inbox;
        let price = ask(&self.l1, inbox, &Inbox::quoteCall { gas }).await?;
        let send =
            Inbox::sendCall { to, isCreation: false, mint: amount, value: amount, gas, data: Default::default() };
        Ok(Call {
            what: "deposit".into(),
            to: inbox,
            value: amount.saturating_add(price.saturating_mul(U256::from(2))),
            data: send.abi_encode().into(),
        })
    }

    /// The calls on L1 that deposit `amount` of `token` from `owner` to `to`: approvals of exactly as much if less is allowed, each to be mined before the
    /// next, and the deposit. Some tokens take an approval only after the last one was taken back.
    ///
    /// # Errors
    /// As [`L1::request`].
    pub async fn deposit_token(
        &self,
        owner: Address,
        token: Address,
        to: Address,
        amount: U256,
    ) -> Result<(Vec<Call>, Call), Error> {
        let bridge = self.settlement.bridge;
        let allowance = ask(&self.l1, token, &Erc20::allowanceCall { owner, spender: bridge }).await?;
        let announced = ask(&self.l1, bridge, &Bridge::announcedCall { token }).await?;
        let quote = Bridge::quoteCall { callGas: 0, first: !announced, dataLength: U256::ZERO };
        let price = ask(&self.l1, bridge, &quote).await?;
        let approve = |amount| Call {
            what: "approve".into(),
            to: token,
            value: U256::ZERO,
            data: Erc20::approveCall { spender: bridge, amount }.abi_encode().into(),
        };
        let approvals = match allowance {
            enough if enough >= amount => vec![],
            none if none.is_zero() => vec![approve(amount)],
            _ => vec![approve(U256::ZERO), approve(amount)],
        };
        let deposit = Bridge::depositERC20Call { token, to, amount, callGas: 0, data: Default::default() };
        let deposit = Call {
            what: "deposit".into(),
            to: bridge,
            value: price.saturating_mul(U256::from(2)),
            data: deposit.abi_encode().into(),
        };
        Ok((approvals, deposit))
    }

    /// The call on L2 that sends `amount` wei to `to` on L1, where the call gets at least `gas`.
    pub fn withdraw_ether(&self, to: Address, amount: U256, gas: u64) -> Call {
        let data = L2Messenger::sendCall { target: to, gas, data: Default::default() }.abi_encode().into();
        Call { what: "withdraw".into(), to: predeploys::L2_MESSENGER, value: amount, data }
    }

    /// The call on L2 that burns `amount` of the counterpart of the L1 token `token` and releases as much to `to` on L1. Which token that is follows from its
    /// address: the node is not asked, or it could name another.
    pub fn withdraw_token(&self, token: Address, to: Address, amount: U256) -> Call {
        let data = L2Bridge::withdrawCall { l2Token: l2_token_of(token), to, amount }.abi_encode().into();
        Call { what: "withdraw".into(), to: predeploys::L2_BRIDGE, value: U256::ZERO, data }
    }

    /// Where a message stands: the one at `position` among those that the L2 transaction `hash` sent.
    ///
    /// # Errors
    /// [`Error::Proof`] if the L2 node's proof is none, or as [`L1::request`].
    pub async fn withdrawal(
        &self,
        hash: TxHash,
        position: usize,
        message: &Outbox::Message,
    ) -> Result<Withdrawal, Error> {
        let leaf = message_leaf(message);
        let status = ask(&self.l1, self.settlement.outbox, &Outbox::statusCall { leaf }).await?;
        match MessageStatus::from_number(status) {
            Some(MessageStatus::Executed) => return Ok(Withdrawal::Executed),
            Some(MessageStatus::Failed) => return Ok(Withdrawal::CallFailed),
            _ => {}
        }
        let params = (hash, U64::from(position));
        let answer: Option<ProofAnswer> = self.l2.request("jove_getWithdrawalProof", params).await?;
        let Some(ProofAnswer { r#final: Some(batch), proof: Some(siblings) }) = answer else {
            return Ok(Withdrawal::Waiting);
        };
        let wrong = Error::Proof { nonce: message.nonce };
        let Ok(siblings) = <[B256; DEPTH]>::try_from(siblings) else { return Err(wrong) };
        if outbox_root(leaf, message.nonce, &siblings) != batch.outbox_root {
            return Err(wrong);
        }
        if !self.is_final(&batch).await? && !self.is_kept(&batch).await? {
            return Ok(Withdrawal::Behind { index: batch.index });
        }
        Ok(Withdrawal::Ready(Box::new(Proven { message: message.clone(), batch, siblings })))
    }

    /// Whether L1 has this of one of the last 256 final batches.
    pub(crate) async fn is_final(&self, batch: &FinalRoots) -> Result<bool, Error> {
        let FinalRoots { index, last_block_hash, state_root, outbox_root } = *batch;
        let call = Rollup::isFinalCall {
            index,
            lastBlockHash: last_block_hash,
            stateRoot: state_root,
            outboxRoot: outbox_root,
        };
        ask(&self.l1, self.settlement.rollup, &call).await
    }

    /// Whether L1 takes the batch's outbox root for good.
    async fn is_kept(&self, batch: &FinalRoots) -> Result<bool, Error> {
        ask(&self.l1, self.settlement.outbox, &Outbox::keptCall { root: batch.outbox_root }).await
    }

    /// Has L1 take the outbox root of a final batch for good; anyone's key will do. False if L1 does so already: nothing is sent then.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn keep(
        &self,
        wallet: &Wallet,
        batch: FinalRoots,
        sent: impl FnMut(&Call, TxHash),
    ) -> Result<bool, Error> {
        if self.is_kept(&batch).await? {
            return Ok(false);
        }
        let data = Outbox::keepCall { batch: batch.into() }.abi_encode().into();
        let call = Call { what: "keep".into(), to: self.settlement.outbox, value: U256::ZERO, data };
        wallet.send(&[call], sent).await?;
        Ok(true)
    }

    /// Executes a message on L1; anyone's key will do. Whether its call succeeded: if not, [`retry`](Self::retry) tries again.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn claim(
        &self,
        wallet: &Wallet,
        proven: &Proven,
        sent: impl FnMut(&Call, TxHash),
    ) -> Result<bool, Error> {
        self.deliver(wallet, proven.call_data(), sent).await
    }

    /// Tries a message again whose call failed on L1. Whether it succeeded.
    ///
    /// # Errors
    /// As [`Wallet::send`].
    pub async fn retry(
        &self,
        wallet: &Wallet,
        message: &Outbox::Message,
        sent: impl FnMut(&Call, TxHash),
    ) -> Result<bool, Error> {
        self.deliver(wallet, Outbox::retryCall { message: message.clone() }.abi_encode().into(), sent).await
    }

    async fn deliver(&self, wallet: &Wallet, data: Bytes, sent: impl FnMut(&Call, TxHash)) -> Result<bool, Error> {
        let outbox = self.settlement.outbox;
        let call = Call { what: "claim".into(), to: outbox, value: U256::ZERO, data };
        let receipts = wallet.send(&[call], sent).await?;
        let executed = |log: &alloy_rpc_types_eth::Log| {
            log.address() == outbox && log.topic0() == Some(&Outbox::MessageExecuted::SIGNATURE_HASH)
        };
        Ok(receipts.iter().flat_map(|receipt| &receipt.logs).any(executed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolEvent;
    use serde_json::{Value, json};

    const FORMATS: &str = include_str!("../../../contracts/test/fixtures/formats.json");

    fn formats() -> Value {
        serde_json::from_str(FORMATS).expect("JSON")
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
        value.as_str().expect("a text").parse().expect("valid")
    }

    fn receipt(logs: Vec<(Address, alloy_primitives::LogData)>) -> Receipt {
        let logs: Vec<Value> = logs
            .into_iter()
            .map(|(address, data)| {
                let place = ["blockHash", "blockNumber", "transactionHash", "transactionIndex", "logIndex"];
                let mut log =
                    json!({ "address": address, "topics": data.topics(), "data": data.data, "removed": false });
                place.iter().for_each(|field| log[field] = Value::Null);
                log
            })
            .collect();
        let receipt = json!({
            "transactionHash": B256::ZERO, "status": "0x1", "blockNumber": "0x7", "gasUsed": "0x5208", "type": "0x7e", "logs": logs,
        });
        serde_json::from_value(receipt).expect("a receipt")
    }

    #[test]
    fn a_queued_message_is_the_deposit_that_l2_runs() {
        let formats = formats();
        let inbox: Address = parsed(&formats["inbox"]);
        let entries = formats["entries"].as_array().expect("a list");
        let events = entries.iter().map(|entry| {
            let event = Inbox::MessageQueued {
                index: entry["index"].as_u64().expect("a number"),
                from: parsed(&entry["from"]),
                to: parsed(&entry["to"]),
                isCreation: entry["isCreation"].as_bool().expect("a flag"),
                mint: parsed(&entry["mint"]),
                value: parsed(&entry["value"]),
                gas: entry["gas"].as_u64().expect("a number"),
                data: parsed(&entry["data"]),
            };
            (inbox, event.encode_log_data())
        });
        let mut logs: Vec<_> = events.collect();
        let strangers = (Address::repeat_byte(9), logs[0].1.clone());
        logs.push(strangers);
        let found = deposits(inbox, &receipt(logs));
        assert_eq!(found.len(), entries.len(), "an event of another contract is none");
        for (deposit, entry) in found.iter().zip(entries) {
            assert_eq!(deposit.transaction.source_hash, parsed::<B256>(&entry["sourceHash"]));
            assert_eq!(deposit.transaction.to.is_create(), entry["isCreation"]);
            assert_eq!(deposit.hash, deposit.transaction.tx_hash());
        }
    }

    #[test]
    fn a_proof_leads_to_the_root() {
        let formats = formats();
        let list = formats["messages"].as_array().expect("a list");
        let leaves: Vec<B256> = list.iter().map(|message| parsed(&message["leaf"])).collect();
        let mut zeros = [B256::ZERO; DEPTH];
        for level in 1..DEPTH {
            zeros[level] = keccak256([zeros[level - 1], zeros[level - 1]].concat());
        }
        // The siblings of leaf 1 among the first four.
        let right = keccak256([leaves[2], leaves[3]].concat());
        let mut siblings = zeros;
        (siblings[0], siblings[1]) = (leaves[0], right);
        let root: B256 = parsed(&list[3]["rootAfter"]);
        assert_eq!(outbox_root(leaves[1], 1, &siblings), root);
        assert_ne!(outbox_root(leaves[1], 0, &siblings), root);
        assert_ne!(outbox_root(leaves[0], 1, &siblings), root);
        assert_eq!(outbox_root(B256::ZERO, 0, &zeros), predeploys::EMPTY_OUTBOX_ROOT);
    }

    #[test]
    fn a_sent_message_is_read_from_the_messenger_alone() {
        let event = L2Messenger::MessageSent {
            nonce: 3,
            sender: Address::repeat_byte(1),
            target: Address::repeat_byte(2),
            value: U256::from(4),
            gas: 5,
            data: vec![6].into(),
            leaf: B256::ZERO,
        };
        let log = event.encode_log_data();
        let found = messages(&receipt(vec![(predeploys::L2_MESSENGER, log.clone()), (Address::ZERO, log)]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].nonce, found[0].value), (3, U256::from(4)));
    }
}
