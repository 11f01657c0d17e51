//! Logs of a call as `eth_simulateV1` shows them: with one more for every transfer of ether, if wanted.

use alloy_primitives::{Address, B256, Log, LogData, U256, address, b256};
use revm::{
    Inspector,
    context::{ContextTr, JournalTr},
    interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter},
};

/// The address that stands for ether itself (ERC-7528).
pub(crate) const ETHER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `keccak256("Transfer(address,address,uint256)")`.
pub(crate) const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects logs frame by frame, so that those of a frame that failed are gone with it.
#[derive(Debug, Default)]
pub(crate) struct TransferLogs {
    frames: Vec<Vec<Log>>,
    logs: Vec<Log>,
}

impl TransferLogs {
    /// The logs of a call that ended.
    pub(crate) fn into_logs(self) -> Vec<Log> {
        self.logs
    }

    fn enter(&mut self, transfer: Option<(Address, Address, U256)>) {
        self.frames.push(Vec::new());
        if let Some((from, to, value)) = transfer {
            self.transfer(from, to, value);
        }
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if value.is_zero() {
            return;
        }
        let topics = vec![TRANSFER, from.into_word(), to.into_word()];
        let data = LogData::new_unchecked(topics, value.to_be_bytes_vec().into());
        self.push(Log { address: ETHER, data });
    }

    fn push(&mut self, log: Log) {
        self.frames.last_mut().unwrap_or(&mut self.logs).push(log);
    }

    fn leave(&mut self, succeeded: bool) {
        let logs = self.frames.pop().unwrap_or_default();
        if succeeded {
            self.frames.last_mut().unwrap_or(&mut self.logs).extend(logs);
        }
    }
}

impl<C: ContextTr> Inspector<C> for TransferLogs {
    fn log(&mut self, _: &mut C, log: Log) {
        self.push(log);
    }

    fn log_full(&mut self, _: &mut Interpreter, _: &mut C, log: Log) {
        self.push(log);
    }

    fn call(&mut self, _: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.enter(inputs.transfer_value().map(|value| (inputs.transfer_from(), inputs.transfer_to(), value)));
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(outcome.result.is_ok());
    }

    fn create(&mut self, context: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let from = inputs.caller();
        // The frame is not made yet: the nonce is still the one that the address follows from.
        let nonce = context.journal_mut().load_account(from).map(|account| account.data.info.nonce);
        self.enter(nonce.ok().map(|nonce| (from, inputs.created_address(nonce), inputs.value())));
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.leave(outcome.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
